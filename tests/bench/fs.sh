#!/usr/bin/env bash
# A table: obscurafs beside gocryptfs and the plain directory; same run, same data, in turn, median of the rounds.
# usage: fs.sh [--quick] [--rounds N] [--dir DIR] [--systems "plain gocryptfs obscurafs"] [--rows "write read ..."]
# DIR (default /dev/shm) should be on tmpfs, which takes the disk's noise out. Needs gocryptfs, gcc, python3, tar.
# The obscurafs is that of OBSCURAFS, default build/cli/obscurafs. Reads come after a fresh mount. The last column says how many times better
# obscurafs is than gocryptfs.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
obscurafs=${OBSCURAFS:-$here/../../build/cli/obscurafs}
scale=8 rounds=3 dir=/dev/shm systems="plain gocryptfs obscurafs" rows=
while [[ $# -gt 0 ]]; do
  case $1 in
    --quick) scale=1 rounds=1; shift ;;
    --rounds) rounds=$2; shift 2 ;;
    --dir) dir=$2; shift 2 ;;
    --systems) systems=$2; shift 2 ;;
    --rows) rows=$2; shift 2 ;;
    *) sed -n '2,6s/^# //p' "$0"; exit 1 ;;
  esac
done
all_rows="write read untar md5sum ls-lR rm-r photos-in photos-read randread randwrite write+fsync memory"
[[ -n $rows ]] || rows=$all_rows
work=$(mktemp -d "$dir/obscurafs-bench.XXXXXX")
export XDG_RUNTIME_DIR=$work/run
mkdir -m 700 "$XDG_RUNTIME_DIR"
mount=$work/mount
trap 'down "$S" 2>/dev/null; rm -rf "$work"' EXIT
S=plain
printf 'bench passphrase of four words\n' >"$work/pass"

gcc -O2 -o "$work/io" "$here/io.c"
"$here/mkdata.py" tree "$work/tree" $((scale * 1500))
tar -C "$work" -cf "$work/tree.tar" tree
(cd "$work/tree" && find . -type f -print0 | xargs -0 md5sum) >"$work/tree.md5"
rm -rf "$work/tree"
"$here/mkdata.py" photos "$work/photos" $((scale * 128 * 1024 * 1024))
big=$((scale * 128 * 1024 * 1024))

make() {
  rm -rf "$work/cipher" && mkdir -p "$work/cipher" "$mount"
  case $1 in
    plain) rmdir "$mount" && ln -sfn "$work/cipher" "$mount" ;;
    gocryptfs) gocryptfs -q -init -scryptn 10 -passfile "$work/pass" "$work/cipher" ;;
    obscurafs) rm -f "$work/code"; OBSCURAFS_TEST_FAST_KDF=1 "$obscurafs" init -q --passfile "$work/pass" --code-file "$work/code" "$work/cipher/vault" ;;
  esac
}
up() {
  case $1 in
    gocryptfs) gocryptfs -q -passfile "$work/pass" "$work/cipher" "$mount" ;;
    obscurafs) "$obscurafs" mount --passfile "$work/pass" "$work/cipher/vault" "$mount" ;;
  esac
}
down() {
  case $1 in
    plain) ;;
    gocryptfs) mountpoint -q "$mount" && fusermount3 -u "$mount" && while pgrep -f "gocryptfs.*$work/cipher" >/dev/null; do sleep 0.05; done ;;
    obscurafs) mountpoint -q "$mount" && "$obscurafs" umount --no-wait "$mount" ;;
  esac
}
again() { down "$1"; up "$1"; }
pid_of() { pgrep -f -- "$1.*$mount" | head -1; }
peak() { # the daemon's largest resident size, MiB
  local pid
  pid=$(pid_of "$1") && awk '/VmHWM/ {printf "%.1f\n", $2 / 1024}' "/proc/$pid/status"
}
seconds() { # of a command
  local a b
  a=$(date +%s.%N)
  "$@" >/dev/null
  b=$(date +%s.%N)
  awk -v a="$a" -v b="$b" 'BEGIN {printf "%.3f\n", b - a}'
}
untar() { tar -C "$mount" -xf "$work/tree.tar" && sync -f "$mount"; }
check_sums() { (cd "$mount/tree" && md5sum --quiet -c "$work/tree.md5"); }
remove() { rm -r "$mount/tree" && sync -f "$mount"; }
import() { cp -r "$work/photos" "$mount/" && sync -f "$mount"; }
look() { find "$mount/photos" -type f -exec cat {} +; }
note() { echo "$3" >>"$work/result.$1.$2"; }

# Every step runs, since the later need the earlier; --rows chooses what is shown.
round() {
  S=$1
  make "$S"
  up "$S"
  note "$S" write "$("$work/io" write "$mount/big" $big)"
  again "$S"
  note "$S" read "$("$work/io" read "$mount/big")"
  note "$S" untar "$(seconds untar)"
  again "$S"
  note "$S" md5sum "$(seconds check_sums)"
  again "$S"
  note "$S" ls-lR "$(seconds ls -lR "$mount/tree")"
  note "$S" rm-r "$(seconds remove)"
  note "$S" photos-in "$(seconds import)"
  again "$S"
  note "$S" photos-read "$(seconds look)"
  again "$S"
  # what follows and all of it read once more: the peak counts from here, since unlocking takes memory on purpose
  [[ $S == plain ]] || echo 5 >"/proc/$(pid_of "$S")/clear_refs"
  note "$S" randread "$("$work/io" randread "$mount/big" $((scale * 2500)))"
  note "$S" randwrite "$("$work/io" randwrite "$mount/big" $((scale * 2500)))"
  note "$S" write+fsync "$("$work/io" fsync "$mount/big" $((scale * 1000)))"
  "$work/io" write "$mount/again" $big >/dev/null
  untar && check_sums && look >/dev/null
  [[ $S == plain ]] || note "$S" memory "$(peak "$S")"
  down "$S"
  [[ $S != plain ]] || rm -f "$mount"
  rm -rf "$work/cipher"
}
for ((r = 1; r <= rounds; r++)); do
  for s in $systems; do
    echo "round $r of $rounds: $s" >&2
    round "$s"
  done
done

median() { sort -n "$work/result.$1.$2" 2>/dev/null | awk '{v[NR] = $1} END {if (NR) print (NR % 2 ? v[(NR+1)/2] : (v[NR/2] + v[NR/2+1]) / 2); else print "-"}'; }
declare -A unit=([write]=MB/s [read]=MB/s [untar]=s [md5sum]=s [ls-lR]=s [rm-r]=s [photos-in]=s [photos-read]=s
  [randread]=op/s [randwrite]=op/s [write+fsync]=op/s [memory]=MiB)
printf '%-14s %6s' row unit
for s in $systems; do printf ' %12s' "$s"; done
printf ' %8s\n' ratio
for row in $rows; do
  printf '%-14s %6s' "$row" "${unit[$row]}"
  for s in $systems; do printf ' %12s' "$(median "$s" "$row")"; done
  awk -v a="$(median obscurafs "$row")" -v b="$(median gocryptfs "$row")" -v u="${unit[$row]}" \
    'BEGIN {if (a + 0 == 0 || b + 0 == 0) print "        -"; else printf " %8.2f\n", (u ~ /\/s$/) ? a / b : b / a}'
done
