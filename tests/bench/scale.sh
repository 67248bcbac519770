#!/usr/bin/env bash
# How obscurafs does with ever more files: rates of making, looking at, listing and reading them, the time to mount (without deriving the key
# from the passphrase), the daemon's memory, bytes of index for a file. A table, and with gnuplot a picture.
# usage: scale.sh [--files "1000 10000 100000 1000000"] [--dir DIR] [--plot FILE.png]
# DIR (default /dev/shm) should be on tmpfs. Needs gcc; gnuplot for the picture. The obscurafs is that of OBSCURAFS, default build/cli/obscurafs.
# Every look comes after a fresh mount, at whole directories here and there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
obscurafs=${OBSCURAFS:-$here/../../build/cli/obscurafs}
steps="1000 10000 100000 1000000" dir=/dev/shm plot=
while [[ $# -gt 0 ]]; do
  case $1 in
    --files) steps=$2; shift 2 ;;
    --dir) dir=$2; shift 2 ;;
    --plot) plot=$2; shift 2 ;;
    *) sed -n '2,7s/^# //p' "$0"; exit 1 ;;
  esac
done
work=$(mktemp -d "$dir/obscurafs-scale.XXXXXX")
export XDG_RUNTIME_DIR=$work/run OBSCURAFS_TEST_FAST_KDF=1
mkdir -m 700 "$XDG_RUNTIME_DIR"
mkdir "$work/mnt"
trap '"$obscurafs" umount --no-wait "$work/mnt" 2>/dev/null; rm -rf "$work"' EXIT
printf 'bench passphrase of four words\n' >"$work/pass"
gcc -O2 -o "$work/files" "$here/files.c"

up() { "$obscurafs" mount --passfile "$work/pass" "$work/vault" "$work/mnt"; }
daemon() { pgrep -f -- "obscurafs mount .*$work/mnt" | head -1; }
again() {
  "$obscurafs" umount --no-wait "$work/mnt"
  up
  echo 5 >"/proc/$(daemon)/clear_refs" # the peak counts from here: unlocking takes memory on purpose
}
seconds() {
  local a b
  a=$(date +%s.%N)
  "$@" >/dev/null
  b=$(date +%s.%N)
  awk -v a="$a" -v b="$b" 'BEGIN {printf "%.2f", b - a}'
}
peak() { awk '/VmHWM/ {printf "%.1f", $2 / 1024}' "/proc/$(daemon)/status"; }

measure() { # FROM TO: files
  local created stat list read mount mem index n=$(($2 < 10000 ? $2 : 10000))
  created=$("$work/files" create "$work/mnt" "$1" "$2")
  "$obscurafs" umount --no-wait "$work/mnt"
  mount=$(seconds up)
  again
  stat=$("$work/files" stat "$work/mnt" "$2" "$n")
  again
  list=$("$work/files" list "$work/mnt" "$2" "$n")
  again
  read=$("$work/files" read "$work/mnt" "$2" "$n")
  mem=$(peak)
  index=$(du -bc "$work/vault"/index* | awk -v n="$2" 'END {printf "%.0f", $1 / n}')
  printf '%9d %9s %9s %9s %9s %8s %8s %8s\n' "$2" "$created" "$stat" "$list" "$read" "$mount" "$mem" "$index" | tee -a "$work/rows"
}

"$obscurafs" init -q --passfile "$work/pass" --code-file "$work/code" "$work/vault"
up
printf '%9s %9s %9s %9s %9s %8s %8s %8s\n' files create/s stat/s list/s read/s mount-s MiB B/file
from=0
for n in $steps; do
  measure "$from" "$n"
  from=$n
done
if [[ -n $plot ]]; then
  gnuplot <<PLOT
set terminal pngcairo size 900,600
set output "$plot"
set logscale xy
set xlabel "files"
set ylabel "a second"
set key bottom left
plot "$work/rows" using 1:2 with linespoints title "create", "" using 1:3 with linespoints title "stat", \
  "" using 1:4 with linespoints title "list", "" using 1:5 with linespoints title "read"
PLOT
fi
