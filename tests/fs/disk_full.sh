#!/usr/bin/env bash
# A full disk under the vault: the writer gets ENOSPC, nothing that was there is lost, deleting works and makes room, work goes on, a
# remount and check find all in order; full of data, full of names, filled by somebody else, killed. On a small tmpfs and a small
# ext4. An ordinary user gets the tmpfs in a namespace of his own, where the kernel lets him.
set -u
if [[ $(id -u) -ne 0 && -z ${OBSCURAFS_TEST_OWN_SPACE-} ]]; then
  if unshare -Urm true 2>/dev/null; then
    OBSCURAFS_TEST_OWN_SPACE=1 exec unshare -Urm "$0" "$@"
  fi
  echo 'skipped: a small disk needs root, or a user namespace of our own, which this system does not give' >&2
  echo '0 passed, 0 failed, 1 skipped'
  exit 0
fi
. "$(dirname "$0")/lib.sh"
size=64 # MiB

make_disk() { # KIND DIR
  mkdir -p "$2"
  case $1 in
    tmpfs) mount -t tmpfs -o size=${size}m obscurafs-test "$2" ;;
    ext4) truncate -s ${size}M "$2.image" && mkfs.ext4 -q -m 0 "$2.image" && mount -o loop "$2.image" "$2" ;;
  esac
}
free_kib() { df -k --output=avail "$1" | tail -1; }
no_space() { # COMMAND ...: it must fail, and for want of room
  "$@" >"$work/out" 2>"$work/err" && return 1
  grep -qi 'no space left' "$work/err"
}
kept_well() { (cd "$m/keep" && sha256sum --quiet -c "$work/sums") >/dev/null 2>&1 || bad "$1: what was there is lost"; ok; }
fill() { head -c $((size * 1100000)) /dev/urandom >"$m/$1"; }
# The kernel tells a failed write-back once more, to the first that syncs the file system; that one is not the test's.
told() { sync -f "$m" 2>/dev/null; }
# room [PART]: without the large files this part of the disk gets free, the half if not said.
room() { rm -f "$m"/fill* && wait_for 20 test_room "$@" && { told; sync -f "$m"; }; }
test_room() { [[ $(free_kib "$work/$kind") -gt $((size * 1024 / ${1-2})) ]]; }
# Folders, links, files and attributes until one cannot be made; prints how many, and the error on standard error.
names_until_full() {
  python3 - "$1" <<'END'
import os, sys
n = 0
try:
    while n < 1000000:
        d = f"{sys.argv[1]}/d{n}"
        os.mkdir(d)
        os.symlink("t" * 1000, d + "/link")
        with open(d + "/file", "w") as f:
            f.write(str(n))
        os.setxattr(d + "/file", "user.note", b"x" * 500)
        os.rename(d + "/file", d + "/renamed")
        n += 1
except OSError as e:
    print(n)
    sys.exit(e.strerror)
END
}
# sync -f hands cached bytes over; after fsync of the folder a kill takes nothing.
durable() { sync -f "$m" 2>/dev/null; sync "$m" || bad "$kind: fsync of a folder"; }
# changed OLD NEW FILE: each page of FILE is that of OLD or that of NEW.
changed() {
  python3 - "$@" <<'END'
import sys
old, new, now = (open(p, "rb").read() for p in sys.argv[1:4])
sys.exit(len(now) != len(old) or any(now[i:i + 4096] not in (old[i:i + 4096], new[i:i + 4096]) for i in range(0, len(now), 4096)))
END
}
# mapped NEW FILE: writes NEW over FILE through a shared mapping; 0 if msync said that all is there, 28 (ENOSPC) or another errno.
mapped() {
  python3 - "$@" <<'END'
import mmap, sys
new = open(sys.argv[1], "rb").read()
try:
    with open(sys.argv[2], "r+b") as f, mmap.mmap(f.fileno(), len(new)) as m:
        m[:] = new
        m.flush()
except OSError as e:
    sys.exit(e.errno)
END
}
# Leaves KIB of the disk free, by a file in the mount.
leave() { # KIB NAME
  head -c $((($(free_kib "$work/$kind") - $1) * 1024)) /dev/urandom >"$m/$2" && sync -f "$m"
}
# The disk as others see it while nobody is there.
fill_other() { dd if=/dev/zero of="$work/$kind/other" bs=64k count=$((size * 32)) 2>/dev/null; dd if=/dev/zero of="$work/$kind/other2" bs=1k 2>/dev/null; }
# The same in the middle of deleting. Not on ext4, which has been seen to give nothing back to who deletes then (README).
others_take() { [[ $kind == ext4 ]] || fill_other; }
empty_other() { rm -f "$work/$kind"/other*; }
again() { check "$1: umount" umount_vault v && check "$1: mount" mount_vault v; }
clean() { check "$1: check" "$obscurafs" check -q --passfile "$work/pass" "$work/v"; }

battery() {
  local kind=$1 n used
  ln -sfn "$work/$kind" "$work/v.disk"
  "$obscurafs" init -q --passfile "$work/pass" --code-file "$work/$kind.code" "$work/$kind/vault" || { bad "$kind: init"; return; }
  ln -sfn "$work/$kind/vault" "$work/v"
  m=$work/v.mnt
  mount_vault v || { bad "$kind: mount"; return; }
  used=$(du -sk "$work/$kind" | cut -f1)
  mkdir "$m/keep"
  for n in 1 2 3 4 5 6 7 8; do head -c $((n * 70001)) /dev/urandom >"$m/keep/$n"; done
  sync -f "$m"
  (cd "$m/keep" && sha256sum ./*) >"$work/sums"

  # one big file
  check "$kind: a writer gets ENOSPC" no_space fill fill1
  check "$kind: so does one that only closes" no_space dd if=/dev/urandom of="$m/fill0" bs=128k count=80
  check "$kind: and one that syncs" no_space dd if=/dev/urandom of="$m/fill00" bs=128k count=80 conv=fsync
  kept_well "$kind: full"
  check "$kind: names and attributes can be read" ls -lR "$m"
  check "$kind: it is full, and statfs says so" test "$(free_kib "$m")" -lt 8192
  check "$kind: deleting works on a full disk" rm "$m/fill1"
  check "$kind: and makes room" wait_for 20 test_room
  told
  check "$kind: work goes on" cp "$m/keep/8" "$m/after"
  check "$kind: durably" sync -f "$m"
  check "$kind: the same bytes" cmp "$m/keep/8" "$m/after"
  again "$kind, after room was made"
  kept_well "$kind: after a remount"
  check "$kind: the new file after a remount" cmp "$m/keep/8" "$m/after"

  # what is there is changed while the disk is full
  cp "$m/keep/7" "$m/over"
  cp "$m/keep/7" "$m/map"
  head -c "$(stat -c %s "$m/over")" /dev/urandom >"$work/new"
  durable
  no_space fill fill1 || bad "$kind: full for changes"
  dd if="$work/new" of="$m/over" bs=64k conv=notrunc,fsync 2>"$work/err" || grep -q 'No space left' "$work/err" || bad "$kind: overwriting"
  mapped "$work/new" "$m/map"
  n=$?
  check "$kind: a mapping is written or says ENOSPC" test $n -eq 0 -o $n -eq 28
  mv "$m/over" "$m/moved" 2>"$work/err" || grep -q 'No space left' "$work/err" || bad "$kind: renaming"
  kill -9 "$(pid_of v)"
  check "$kind: the dead mount" wait_for 10 "$obscurafs" umount "$m"
  check "$kind: mounted after changes and a kill" mount_vault v
  [[ -e $m/moved ]] && mv "$m/moved" "$m/over"
  check "$kind: overwritten pages are old or new" changed "$m/keep/7" "$work/new" "$m/over"
  check "$kind: mapped pages are old or new" changed "$m/keep/7" "$work/new" "$m/map"
  kept_well "$kind: changed while full"
  check "$kind: the changed ones can be deleted" rm "$m/over" "$m/map"
  check "$kind: room after changes" room

  # unmounted and mounted while full
  no_space fill fill2 || bad "$kind: filled again"
  again "$kind, while full"
  kept_well "$kind: remounted while full"
  check "$kind: truncating makes room too" truncate -s 0 "$m/fill2"
  check "$kind: room again" room
  clean "$kind, mounted"

  # filled by somebody else; killed while full
  fill_other
  no_space dd if=/dev/urandom of="$m/fill3" bs=128k count=80 conv=fsync && ok || bad "$kind: ENOSPC when another fills the disk"
  kept_well "$kind: another filled it"
  kill -9 "$(pid_of v)"
  check "$kind: the dead mount is taken off" wait_for 10 "$obscurafs" umount "$m"
  check "$kind: mounts on a full disk after a kill" mount_vault v
  kept_well "$kind: after a kill"
  empty_other
  check "$kind: goes on by itself when another made room" wait_for 20 cp "$m/keep/7" "$m/later"
  told
  check "$kind: and durably" sync -f "$m"
  check "$kind: room" room

  # many small things, a kill, and somebody else who takes the rest
  mkdir "$m/many"
  leave 12000 fill4 # most by something big, so that the test is short
  n=$(names_until_full "$m/many" 2>"$work/err")
  check "$kind: names end in ENOSPC, not in anything else" grep -qi 'no space left' "$work/err"
  check "$kind: many could be made" test "${n:-0}" -gt 500
  kept_well "$kind: full of names"
  again "$kind, full of names"
  check "$kind: the names are there" test "$(find "$m/many" -name renamed | wc -l)" -eq "$n"
  fill_other
  check "$kind: some can be deleted when others have the rest" rm -rf "$m"/many/d1*
  durable
  fill_other
  kill -9 "$(pid_of v)"
  check "$kind: the dead mount, full of names" wait_for 10 "$obscurafs" umount "$m"
  fill_other
  check "$kind: mounts, full of names" mount_vault v
  check "$kind: what was deleted is gone" test -z "$(find "$m/many" -maxdepth 1 -name 'd1*')"
  check "$kind: the others are there" test "$(find "$m/many" -name renamed | wc -l)" -eq "$(seq 0 $((n - 1)) | grep -vc '^1')"
  check "$kind: umount, full of names" umount_vault v
  others_take
  check "$kind: mounts again, full of names" mount_vault v
  check "$kind: all the names can be deleted" rm -rf "$m/many"
  durable
  others_take
  check "$kind: and the big one" rm "$m/fill4"
  empty_other
  kept_well "$kind: all the others deleted"
  check "$kind: room after that" room 3 # the database stays as large as the names made it
  check "$kind: names again" mkdir "$m/new"
  check "$kind: durable" sync -f "$m"
  again "$kind, at the end"
  check "$kind: the last folder" test -d "$m/new"
  kept_well "$kind: at the end"
  rm -rf "${m:?}"/*
  check "$kind: nothing is left" test -z "$(ls -A "$m")"
  check "$kind: umount" umount_vault v
  clean "$kind, locked"
  # the database keeps what it had grown to
  check "$kind: the room is back" test "$(du -sk "$work/$kind" | cut -f1)" -lt $((used + $(du -k "$work/v/index" | cut -f1)))
}

kinds=(tmpfs)
if [[ -z ${OBSCURAFS_TEST_OWN_SPACE-} ]]; then
  kinds+=(ext4)
else
  skip "only root can mount an ext4"
fi
for kind in "${kinds[@]}"; do
  if make_disk "$kind" "$work/$kind" 2>"$work/err"; then
    battery "$kind"
    rm -f "$work/v"
    umount -l "$work/$kind"
  else
    skip "no small $kind can be mounted here: $(head -1 "$work/err")"
  fi
done
