#!/usr/bin/env bash
# A line in fstab: mount(8) and systemd call us as mount.fuse.obscurafs, with their own options among ours. The calls are those that
# mount(8) makes, spelled out, so that an ordinary user can run this; as root also mount(8) itself, where it finds the helper.
source "$(dirname "$0")/lib.sh"

helper=$work/mount.fuse.obscurafs
vault="$work/my vault"
mkdir "$work/mnt"
ln -s "$obscurafs" "$helper"
printf 'garden gate under third stone\n' >"$work/pass"
check "a vault" "$obscurafs" init -q --passfile "$work/pass" --code-file "$work/code" "$vault"

on() { "$helper" "$vault" "$work/mnt" "$@"; }
off() {
  if [[ $EUID -eq 0 ]]; then umount "$work/mnt"; else fusermount3 -u "$work/mnt"; fi
}

expect 0 '' on -o "rw,noauto,nofail,x-systemd.automount,x-systemd.idle-timeout=5,_netdev,user=$USER,passfile=$work/pass"
check "it is mounted" mountpoint -q "$work/mnt"
echo hello >"$work/mnt/file"
check "it is taken off like any mount" off
# at once again: the last mount may still be writing what it owes
expect 0 '' on -v -n -s -t fuse.obscurafs -o "defaults,ro,extpass=cat '$work/pass'"
same "what was written is there" "$(cat "$work/mnt/file")" hello
check_not "ro is obeyed" touch "$work/mnt/x"
check "and off" off
expect 0 '' "$helper" -o "passfile=$work/pass" "$vault" "$work/mnt"
check "options may come first" test -f "$work/mnt/file"
expect 13 "is mounted at $work/mnt" on -o "passfile=$work/pass"
check "and off again" off
expect 0 '' on -f -o "passfile=$work/pass"
check_not "a fake mount mounts nothing" mountpoint -q "$work/mnt"
expect 10 'nonsense' on -o "nonsense,passfile=$work/pass"
expect 9 'nopass' on -o "passfile=$work/nopass"
expect 1 'usage' "$helper" "$vault"
expect 1 'usage' "$helper" "$vault" "$work/mnt" too-many
expect 1 'namespace' on -N 1 -o "passfile=$work/pass"

# The helper must lie where mount(8) looks for it; a private mount namespace has it there without touching the system.
by_mount() {
  unshare -m bash -c '
    set -e
    mkdir -p "$1/over" "$1/upper"
    cp -a "$2" "$1/upper/mount.fuse.obscurafs"
    dir=$(readlink -f /sbin)
    mount -t overlay -o "lowerdir=$1/upper:$dir" none "$dir"
    printf "%s %s fuse.obscurafs noauto,passfile=%s 0 0\n" "${3// /\\040}" "${4// /\\040}" "${5// /\\040}" >"$1/fstab"
    mount -T "$1/fstab" "$4"
    cat "$4/file"
    umount "$4"' - "$work" "$helper" "$vault" "$work/mnt" "$work/pass"
}
if [[ $EUID -eq 0 ]] && unshare -m bash -c 'd=$(readlink -f /sbin); mkdir "$1/u" && mount -t overlay -o "lowerdir=$1/u:$d" none "$d"' - "$work" 2>/dev/null; then
  check "mount(8) with a line of fstab" by_mount
  same "what it showed" "$(cat "$work/check.log")" hello
else
  skip "mount(8) itself: needs root and overlay"
fi
