#!/usr/bin/env bash
# A table: pushing to WebDAV (Apache) over a slow network, obscurafs beside rclone copy to a crypt remote (its default of 4 transfers).
# usage: sync.sh [--quick] [--rounds N] [--delay MS] [--dir DIR] [--systems "rclone obscurafs"] [--rows "small-push ..."]
# Everything goes through a proxy that adds half of --delay (default 40: the round trip in milliseconds) each way. Same run, same data,
# in turn, median of the rounds. Needs rclone, apache2, python3. The obscurafs is that of OBSCURAFS, default build/cli/obscurafs.
# What is timed: *-push: obscurafs: "store add" and "sync", with the files in the mount before; rclone: "copy" of the plain files.
# *-rename: renaming the folder and getting that to the store. *-back: all files on a second device: obscurafs: clone, mount, read all;
# rclone: copy. The last column says how many times faster obscurafs is than rclone.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
obscurafs=${OBSCURAFS:-$here/../../build/cli/obscurafs}
servers=$here/../sync/servers
small=2000 photos=60 rounds=3 delay=40 dir=/dev/shm systems="rclone obscurafs" rows=
while [[ $# -gt 0 ]]; do
  case $1 in
    --quick) small=400 photos=12 rounds=1; shift ;;
    --rounds) rounds=$2; shift 2 ;;
    --delay) delay=$2; shift 2 ;;
    --dir) dir=$2; shift 2 ;;
    --systems) systems=$2; shift 2 ;;
    --rows) rows=$2; shift 2 ;;
    *) sed -n '2,8s/^# //p' "$0"; exit 1 ;;
  esac
done
all_rows="small-push small-rename small-back photos-push photos-rename photos-back"
[[ -n $rows ]] || rows=$all_rows
work=$(mktemp -d "$dir/obscurafs-bench.XXXXXX")
chmod 711 "$work" # the server, started by root, is somebody else
export XDG_RUNTIME_DIR=$work/run OBSCURAFS_TEST_FAST_KDF=1 RCLONE_CONFIG=$work/rclone.conf
mkdir -m 700 "$XDG_RUNTIME_DIR"
pids=()
finish() {
  local m
  for m in "$work"/*.mnt; do mountpoint -q "$m" && "$obscurafs" umount --no-wait "$m" >/dev/null 2>&1; done
  [[ ${#pids[@]} -eq 0 ]] || kill "${pids[@]}" 2>/dev/null
  wait
  rm -rf "$work"
}
trap finish EXIT

"$here/mkdata.py" files "$work/small" "$small" 4096
"$here/mkdata.py" files "$work/photos" "$photos" 5000000
echo 'bench passphrase of four words' >"$work/pass"
printf 'alice\nsesame\n' >"$work/login"

mkfifo "$work/server.in" "$work/proxy.in" "$work/server.out" "$work/proxy.out"
exec 3<>"$work/server.in" 4<>"$work/proxy.in" 5<>"$work/server.out" 6<>"$work/proxy.out"
python3 "$servers/servers.py" apache "$work/server" --user alice --secret sesame <"$work/server.in" >"$work/server.out" &
pids+=($!)
read -r -t 30 url <&5
address=$(sed 's|http://\([^/]*\).*|\1|' <<<"$url")
python3 "$servers/proxy.py" "$address" --delay "$(awk -v d="$delay" 'BEGIN {print d / 2}')" <"$work/proxy.in" >"$work/proxy.out" &
pids+=($!)
read -r -t 30 through <&6
url=${url/$address/$through}
cat >"$RCLONE_CONFIG" <<END
[dav]
type = webdav
url = $url
vendor = other
user = alice
pass = $(rclone obscure sesame)
END

seconds() { # of a command
  local a b
  a=$(date +%s.%N)
  "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
  b=$(date +%s.%N)
  awk -v a="$a" -v b="$b" 'BEGIN {printf "%.3f\n", b - a}'
}
note() { echo "$3" >>"$work/result.$1.$2"; }
same() { diff -r "$1" "$2" >"$work/log" 2>&1 || { echo "what came back differs" >&2; head -3 "$work/log" >&2; exit 1; }; }

# ---- rclone ----
run_rclone() { # ROUND KIND
  local crypt=crypt$1$2
  rclone config create "$crypt" crypt "remote=dav:$crypt" password=bench-pass password2=bench-salt --obscure >/dev/null
  note rclone "$2-push" "$(seconds rclone copy "$work/$2" "$crypt:$2")"
  note rclone "$2-rename" "$(seconds rclone moveto "$crypt:$2" "$crypt:renamed")"
  note rclone "$2-back" "$(seconds rclone copy "$crypt:renamed" "$work/back")"
  same "$work/$2" "$work/back"
  rm -rf "$work/back"
}

# ---- obscurafs ----
push() { "$obscurafs" store add --login-file "$work/login" "$work/vault.mnt" "$1" && "$obscurafs" sync -q "$work/vault.mnt"; }
rename() { mv "$work/vault.mnt/$1" "$work/vault.mnt/renamed" && "$obscurafs" sync -q "$work/vault.mnt"; }
bring_back() {
  "$obscurafs" clone -q --passfile "$work/pass" --code-file "$work/code" --login-file "$work/login" "$1" "$work/second" &&
    "$obscurafs" mount --passfile "$work/pass" "$work/second" "$work/second.mnt" &&
    cp -r "$work/second.mnt/renamed" "$work/back"
}
run_obscurafs() { # ROUND KIND
  local store=$url/obscurafs$1$2
  mkdir -p "$work/vault.mnt" "$work/second.mnt"
  "$obscurafs" init -q --passfile "$work/pass" --code-file "$work/code" "$work/vault"
  "$obscurafs" mount --passfile "$work/pass" "$work/vault" "$work/vault.mnt"
  cp -r "$work/$2" "$work/vault.mnt/$2"
  sync -f "$work/vault.mnt"
  note obscurafs "$2-push" "$(seconds push "$store")"
  note obscurafs "$2-rename" "$(seconds rename "$2")"
  note obscurafs "$2-back" "$(seconds bring_back "$store")"
  same "$work/$2" "$work/back"
  "$obscurafs" umount "$work/vault.mnt"
  "$obscurafs" umount "$work/second.mnt"
  rm -rf "$work/back" "$work/vault" "$work/second" "$work/code"
}

for ((r = 1; r <= rounds; r++)); do
  for s in $systems; do
    for kind in small photos; do
      [[ $rows == *$kind* ]] || continue
      echo "round $r of $rounds: $s, $kind" >&2
      "run_$s" "$r" "$kind"
      rm -rf "$work/server/root/base"/*
    done
  done
done

median() { sort -n "$work/result.$1.$2" 2>/dev/null | awk '{v[NR] = $1} END {if (NR) print (NR % 2 ? v[(NR+1)/2] : (v[NR/2] + v[NR/2+1]) / 2); else print "-"}'; }
echo "$small files of 4 KiB, $photos of 5 MB; round trip $delay ms; median of $rounds" >&2
printf '%-14s %6s' row unit
for s in $systems; do printf ' %12s' "$s"; done
printf ' %8s\n' ratio
for row in $rows; do
  printf '%-14s %6s' "$row" s
  for s in $systems; do printf ' %12s' "$(median "$s" "$row")"; done
  awk -v a="$(median obscurafs "$row")" -v b="$(median rclone "$row")" \
    'BEGIN {if (a + 0 == 0 || b + 0 == 0) print "        -"; else printf " %8.2f\n", b / a}'
done
