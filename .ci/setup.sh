# Sourced by ./run and ./test: installs what is missing and builds. Needs bash; sets $here, $build and $obscurafs.
# shellcheck shell=bash

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

packages_build="build-essential meson ninja-build pkg-config libfuse3-dev libsodium-dev libcurl4-openssl-dev libsqlite3-dev
  libssl-dev libxml2-dev libcjson-dev libqrencode-dev libzxcvbn-dev fuse3 ca-certificates"
packages_demo="apache2 apache2-utils rsync python3"
packages_test="apache2 apache2-utils lighttpd lighttpd-mod-webdav swift-proxy swift-account swift-container swift-object memcached
  python3 argon2 rsync git attr acl sqlite3 clang clang-format clang-tidy cppcheck mandoc shellcheck libfuse3-3 openssl strace"

say() { printf '%s\n' "== $*" >&2; }
die() { printf '%s\n' "$*" >&2; exit 1; }

# need PACKAGE ...: installs those that are missing; a clear message where that is not possible.
need() {
  local missing=() p
  for p in "$@"; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
  done
  [[ ${#missing[@]} -eq 0 ]] && return 0
  local as=()
  if [[ $(id -u) -ne 0 ]]; then
    if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [[ -t 0 ]]; }; then
      as=(sudo)
    else
      die "Packages are missing and this user cannot install them. Ask an administrator to run:
  apt-get install ${missing[*]}"
    fi
  fi
  say "installing ${#missing[@]} packages: ${missing[*]}"
  local log
  log=$(mktemp)
  if ! { "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update &&
         "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -20 "$log" >&2
    die "The packages could not be installed; the whole output is in $log"
  fi
  rm -f "$log"
}

# build_in DIR [meson options]: configures, builds. The log is shown when it fails. An option that the folder was configured without is
# added: ./run makes a build without tests where there is none, and ./test wants them.
build_in() {
  local dir=$1
  shift
  if [[ ! -f $dir/build.ninja ]]; then
    meson setup "$dir" "$here" "$@" >"$dir.setup.log" 2>&1 || { tail -30 "$dir.setup.log" >&2; die "The build could not be set up."; }
  elif [[ $# -gt 0 ]]; then
    meson configure "$dir" "$@" >"$dir.setup.log" 2>&1 || { tail -30 "$dir.setup.log" >&2; die "The build could not be set up."; }
  fi
  ninja -C "$dir" >"$dir.build.log" 2>&1 || { tail -40 "$dir.build.log" >&2; die "The build failed; its log is $dir.build.log"; }
}

# Where builds go: inside the clone, or, where that is not ours to write, in the user's cache.
build_root=$here
if [[ ! -w $here ]]; then
  build_root=${XDG_CACHE_HOME:-$HOME/.cache}/obscurafs/$(printf '%s' "$here" | cksum | cut -d' ' -f1)
  mkdir -p "$build_root"
  git config --global --get-all safe.directory 2>/dev/null | grep -qxF "$here" || true
fi
build=$build_root/build
obscurafs=$build/cli/obscurafs
