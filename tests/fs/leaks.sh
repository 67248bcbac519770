#!/usr/bin/env bash
# Nothing readable leaves the mount: names and contents are searched for in all that was written, while mounted, after a kill and
# locked; and the sizes of objects on the store do not depend on the sizes of files.
set -u
. "$(dirname "$0")/lib.sh"
export TMPDIR=$work/tmp SQLITE_TMPDIR=$work/tmp
mkdir "$TMPDIR"

new_vault v && new_store store v && mount_vault v || exit 1
m=$work/v.mnt
# What could carry keys to a disk: core dumps are off, and memory is locked where this user may lock some.
same "no core dumps of the process that serves a mount" "$(awk '/^Max core file size/ {print $5, $6}' "/proc/$(pid_of v)/limits")" "0 0"
if [[ $(ulimit -l) == unlimited || $(ulimit -l) -ge 64 ]]; then
  if [[ $(awk '/^VmLck:/ {print $2}' "/proc/$(pid_of v)/status") -ge 40 ]]; then ok; else bad "no memory is locked"; fi
fi
marks=(MARKNAME MARKCONTENT MARKTARGET MARKXATTR MARKDIR)
search() { # WHEN
  local mark where
  for mark in "${marks[@]}"; do
    for where in "$work/v" "$work/store" "$work/tmp" "$work/run" "$work/log"; do
      [[ -e $where ]] || continue
      if grep -rqa -- "$mark" "$where" || find "$where" | grep -q -- "$mark"; then bad "$1: $mark in $where"; else ok; fi
    done
  done
}

mkdir "$m/MARKDIR"
for i in $(seq 300); do
  { echo "MARKCONTENT $i"; head -c $((i * 211 % 9000)) /dev/zero | tr '\0' x; } >"$m/MARKDIR/MARKNAME $i"
done
ln -s MARKTARGET "$m/link"
setfattr -n user.MARKXATTR -v MARKXATTR "$m/MARKDIR/MARKNAME 1"
mv "$m/MARKDIR/MARKNAME 2" "$m/MARKNAME moved"
rm "$m/MARKDIR/MARKNAME 3"
yes MARKCONTENT | head -c 3000000 >"$m/MARKNAME big"
search "while mounted"
check "sync" "$obscurafs" sync -q "$m"
"$obscurafs" status "$m" >"$work/log"
search "after a sync"
echo MARKCONTENT >>"$m/MARKNAME big"
sync -f "$m"
kill -9 "$(pid_of v)"
wait_for 10 bash -c "! '$obscurafs' status --json '$m' 2>/dev/null | grep -q pid"
search "after a kill"
fusermount3 -uz "$m"
mount_vault v
check "the file is there after the kill" grep -q MARKCONTENT "$m/MARKDIR/MARKNAME 1"
check "umount" umount_vault v
search "locked"
check_not "no socket is left" ls "$work/run/obscurafs/"*.sock

# Sizes: full packs, else Padmé values of at least 4 KiB; the same for files that differ a little.
padme() { # is SIZE a Padmé value?
  python3 -c 'import sys
n = int(sys.argv[1]); e = n.bit_length() - 1; s = e.bit_length()
sys.exit(0 if n >= 4096 and n & ((1 << (e - s)) - 1) == 0 else 1)' "$1"
}
while read -r size; do
  if padme "$size"; then ok; else bad "a pack of $size bytes"; fi
done < <(find "$work/store/packs" -type f -printf '%s\n' | sort -u)
while read -r size; do
  if [[ $size -ge 4096 ]]; then ok; else bad "a batch of $size bytes"; fi
done < <(find "$work/store/journal" -type f -printf '%s\n' | sort -u)

one_file() { # NAME BYTES: sizes of the packs and batches of a vault with one file
  new_vault "$1" && new_store "$1.store" "$1" && mount_vault "$1" && head -c "$2" /dev/zero >"$work/$1.mnt/file" &&
    "$obscurafs" sync -q "$work/$1.mnt" && umount_vault "$1" &&
    find "$work/$1.store/packs" "$work/$1.store/journal" -type f -printf '%s\n' | sort -n | tr '\n' ' '
}
a=$(one_file a 100)
same "100 bytes and 1 byte look the same" "$(one_file b 1)" "$a"
same "100 bytes and 2000 bytes look the same" "$(one_file c 2000)" "$a"
a=$(one_file d 700000)
same "700,000 and 701,234 bytes look the same" "$(one_file e 701234)" "$a"
same "zeroes and noise look the same" "$(f() { new_vault f && new_store f.store f && mount_vault f && head -c 700000 /dev/urandom >"$work/f.mnt/file" &&
  "$obscurafs" sync -q "$work/f.mnt" && umount_vault f && find "$work/f.store/packs" "$work/f.store/journal" -type f -printf '%s\n' | sort -n | tr '\n' ' '; }; f)" "$a"
