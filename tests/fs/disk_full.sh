#!/usr/bin/env bash
# A full disk under the vault: the writer gets ENOSPC, nothing that was there is lost, deleting works and makes room, work goes on, a
# remount and check find all in order. On a small tmpfs and a small ext4, which only root can make.
set -u
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
room() { rm -f "$m"/fill* && wait_for 20 test_room && { told; sync -f "$m"; }; }
test_room() { [[ $(free_kib "$work/$kind") -gt $((size * 1024 / 2)) ]]; }
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
again() { check "$1: umount" umount_vault v && check "$1: mount" mount_vault v; }
clean() { check "$1: check" "$obscurafs" check -q --passfile "$work/pass" "$work/v"; }

battery() {
  local kind=$1 n
  ln -sfn "$work/$kind" "$work/v.disk"
  "$obscurafs" init -q --passfile "$work/pass" --code-file "$work/$kind.code" "$work/$kind/vault" || { bad "$kind: init"; return; }
  ln -sfn "$work/$kind/vault" "$work/v"
  m=$work/v.mnt
  mount_vault v || { bad "$kind: mount"; return; }
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

  # unmounted and mounted while full
  no_space fill fill2 || bad "$kind: filled again"
  again "$kind, while full"
  kept_well "$kind: remounted while full"
  check "$kind: truncating makes room too" truncate -s 0 "$m/fill2"
  check "$kind: room again" room
  clean "$kind, mounted"

  # filled by somebody else; killed while full
  dd if=/dev/zero of="$work/$kind/other" bs=64k count=$((size * 32)) 2>/dev/null
  no_space dd if=/dev/urandom of="$m/fill3" bs=128k count=80 conv=fsync && ok || bad "$kind: ENOSPC when another fills the disk"
  kept_well "$kind: another filled it"
  kill -9 "$(pid_of v)"
  check "$kind: the dead mount is taken off" wait_for 10 "$obscurafs" umount "$m"
  check "$kind: mounts on a full disk after a kill" mount_vault v
  kept_well "$kind: after a kill"
  rm "$work/$kind/other"
  check "$kind: goes on by itself when another made room" wait_for 20 cp "$m/keep/7" "$m/later"
  told
  check "$kind: and durably" sync -f "$m"
  check "$kind: room" room

  # many small things
  mkdir "$m/many"
  head -c $((size * 1000 * 750)) /dev/urandom >"$m/fill4" # most by something big, so that the test is short
  n=$(names_until_full "$m/many" 2>"$work/err")
  check "$kind: names end in ENOSPC, not in anything else" grep -qi 'no space left' "$work/err"
  check "$kind: many could be made" test "${n:-0}" -gt 500
  kept_well "$kind: full of names"
  again "$kind, full of names"
  check "$kind: the names are there" test "$(find "$m/many" -name renamed | wc -l)" -eq "$n"
  check "$kind: all the names can be deleted" rm -rf "$m/many"
  check "$kind: room after that" room
  check "$kind: names again" mkdir "$m/new"
  check "$kind: durable" sync -f "$m"
  again "$kind, at the end"
  check "$kind: the last folder" test -d "$m/new"
  kept_well "$kind: at the end"
  check "$kind: umount" umount_vault v
  clean "$kind, locked"
}

if [[ $(id -u) -ne 0 ]]; then
  skip "a small disk can be made by root only"
  exit 0
fi
for kind in tmpfs ext4; do
  if make_disk "$kind" "$work/$kind" 2>"$work/err"; then
    battery "$kind"
    rm -f "$work/v"
    umount -l "$work/$kind"
  else
    skip "no small $kind can be mounted here: $(head -1 "$work/err")"
  fi
done
