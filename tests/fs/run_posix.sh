#!/usr/bin/env bash
# Makes a vault, mounts it, runs the POSIX battery inside, unmounts, and runs a part of it again on the same vault.
# usage: run_posix.sh BATTERY [TOPIC...]      OBSCURAFS: the program (default: obscurafs from PATH)
# As root the mount gets dev, suid and allow_other, so that device nodes, set-ID bits and other users are tried too.
set -u
battery=$(realpath "$1")
shift
obscurafs=${OBSCURAFS:-obscurafs}
dir=$(mktemp -d "${TMPDIR:-/tmp}/obscurafs-posix-XXXXXX")
mnt=$dir/mnt
umount_all() {
    mountpoint -q "$mnt" && { "$obscurafs" umount "$mnt" || fusermount3 -uz "$mnt"; }
    rm -rf "$dir"
}
trap umount_all EXIT
die() {
    echo "run_posix.sh: $*" >&2
    exit 1
}

mkdir "$mnt"
(umask 077 && echo 'correct horse battery staple 42' >"$dir/pass")
[ "$(id -u)" = 0 ] && chmod 755 "$dir"
options=()
[ "$(id -u)" = 0 ] && options=(-o allow_other,dev,suid)

export OBSCURAFS_TEST_FAST_KDF=1
"$obscurafs" init --passfile "$dir/pass" --code-file "$dir/code" "$dir/vault" >"$dir/init.log" 2>&1 ||
    die "init failed: $(cat "$dir/init.log")"
"$obscurafs" mount "${options[@]}" --passfile "$dir/pass" "$dir/vault" "$mnt" || die "mount failed"
"$battery" "$mnt" "$@"
result=$?
"$obscurafs" umount "$mnt" || die "umount failed"
mountpoint -q "$mnt" && die "still mounted after umount"

# What the battery left in the vault (nothing) must open again, and hold more of the same.
"$obscurafs" mount "${options[@]}" --passfile "$dir/pass" "$dir/vault" "$mnt" || die "mounting again failed"
left=$(find "$mnt" -mindepth 1 | head -3)
[ -z "$left" ] || { echo "run_posix.sh: left behind: $left" >&2; result=1; }
"$battery" "$mnt" rename dirs unlinked >/dev/null || result=1
"$obscurafs" umount "$mnt" || die "umount failed"
exit $result
