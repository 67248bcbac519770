#!/usr/bin/env bash
# The tour of ./run --demo: photos in, ciphertext out to a folder and to a WebDAV server, a second device made from the store
# alone, a comparison, clean-up. Takes a built obscurafs and the project's folder; touches nothing but a temporary directory.
set -euo pipefail
obscurafs=$1 here=$2
started=$SECONDS
work=$(mktemp -d "${TMPDIR:-/tmp}/obscurafs demo.XXXXXX")
chmod 711 "$work" # so that a WebDAV server under another user finds its folder
export XDG_RUNTIME_DIR=$work/run
mkdir -m 700 "$work/run" "$work/keys"
server=

step() { printf '\n\033[1m[%3d s] %s\033[0m\n' $((SECONDS - started)) "$*"; }

clean_up() {
  rc=$?
  set +e
  for m in "$work/Private" "$work/Private on the second device"; do
    mountpoint -q "$m" && "$obscurafs" umount --no-wait "$m"
  done
  [[ -n $server ]] && kill "$server" 2>/dev/null && wait "$server" 2>/dev/null
  rm -rf "$work"
  [[ $rc -eq 0 ]] && printf '\nAll is cleaned up. The tour took %d seconds.\n' $((SECONDS - started))
  [[ $rc -eq 0 ]] || printf '\nThe tour failed.\n' >&2
  exit $rc
}
trap clean_up EXIT
trap 'exit 130' INT TERM

step "A passphrase and a vault. Its code is what opens it on another device; here it goes to a file."
head -c 18 /dev/urandom | base64 >"$work/keys/passphrase"
"$obscurafs" init --passfile "$work/keys/passphrase" --code-file "$work/keys/code" "$work/vault"

step "Mounted: a folder like any other."
mkdir "$work/Private"
"$obscurafs" mount --passfile "$work/keys/passphrase" "$work/vault" "$work/Private"

step "Two stores: a folder, as a cloud client would sync it, and a WebDAV server on this machine."
mkdir "$work/cloud folder"
"$obscurafs" store add "$work/vault" "file://$work/cloud folder"
coproc SERVER { exec "$here/tests/sync/servers/servers.py" apache "$work/webdav"; }
server=$SERVER_PID
read -r -t 30 url <&"${SERVER[0]}" || { echo "the WebDAV server did not start" >&2; exit 1; }
printf 'alice\nsesame\n' >"$work/keys/login"
"$obscurafs" store add --login-file "$work/keys/login" "$work/vault" "$url/photos"
"$obscurafs" store list "$work/vault"

step "Photos go in: 24 of 2 MB in two albums, and a note."
mkdir -p "$work/Private/Holiday in Utopia" "$work/Private/Birthday"
for i in $(seq 12); do
  for album in "Holiday in Utopia" Birthday; do
    { printf 'GEHEIMNIS-%s-%d ' "$album" "$i"; head -c 2000000 /dev/urandom; } >"$work/Private/$album/IMG_SECRETNAME_$i.JPG"
  done
done
echo "GEHEIMNIS: the garden gate key lies under the third stone" >"$work/Private/note.txt"
ls -R "$work/Private" | head -8

step "Only ciphertext is pushed."
"$obscurafs" sync "$work/Private"
"$obscurafs" status "$work/Private"

step "What the cloud sees: no name, no content, sizes that say nothing."
find "$work/cloud folder" -type f -printf '%10s  %P\n' | head -12
for where in "$work/cloud folder" "$work/webdav" "$work/vault"; do
  if grep -rqa -e GEHEIMNIS -e SECRETNAME -e Utopia "$where" || find "$where" | grep -q -e SECRETNAME -e Utopia; then
    echo "a name or content was found in $where" >&2
    exit 1
  fi
done
echo "grep found none of the names and contents in either store nor in the vault directory."

step "A second device, from the WebDAV store and the vault code alone."
head -c 18 /dev/urandom | base64 >"$work/keys/passphrase 2"
"$obscurafs" clone --passfile "$work/keys/passphrase 2" --code-file "$work/keys/code" --login-file "$work/keys/login" "$url/photos" "$work/second vault"
mkdir "$work/Private on the second device"
"$obscurafs" mount --passfile "$work/keys/passphrase 2" "$work/second vault" "$work/Private on the second device"

step "Every byte, name and time compared; photos come as they are read."
differences=$(rsync -naci --delete "$work/Private/" "$work/Private on the second device/")
[[ -z $differences ]] || { printf 'they differ:\n%s\n' "$differences" >&2; exit 1; }
echo "No difference."
