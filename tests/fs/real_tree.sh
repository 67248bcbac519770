#!/usr/bin/env bash
# A real tree in the mount: git works in it, it is pushed, and a second device made from the store is the same to the byte.
set -u
. "$(dirname "$0")/lib.sh"

new_vault v && new_store store v && mount_vault v || exit 1
m=$work/v.mnt

# the project's own repository, or one made up where this is no clone
export GIT_CONFIG_GLOBAL=$work/gitconfig GIT_CONFIG_SYSTEM=/dev/null
git config --global user.name Test
git config --global user.email test@example.org
git config --global --add safe.directory '*'
if ! git clone -q --no-hardlinks "$here" "$work/project" 2>/dev/null; then
  git init -q "$work/project" && cp -r "$here/fs" "$here/README.md" "$work/project/" && git -C "$work/project" add -A &&
    git -C "$work/project" commit -qm made
fi
check "the repository is copied in" cp -a "$work/project" "$m/project"
check "git fsck" git -C "$m/project" fsck --strict
same "git status is clean" "$(git -C "$m/project" status --porcelain)" ""
echo more >>"$m/project/README.md"
check "a commit" git -C "$m/project" commit -qam more
check "git gc" git -C "$m/project" gc -q
check "a clone inside the mount" git clone -q "$m/project" "$m/clone"
check "git fsck after all that" git -C "$m/project" fsck --strict

# odd things
long=$(printf 'n%.0s' $(seq 255))
echo long >"$m/$long"
printf 'odd' >"$m/"$'not UTF-8 \xff\xfe name'
printf 'odd' >"$m/"$'new\nline and \x01'
: >"$m/empty"
mkdir "$m/empty dir"
truncate -s 5G "$m/sparse"
printf middle | dd of="$m/sparse" bs=1 seek=3000000000 conv=notrunc status=none
check "a sparse file costs little" test "$(stat -c %b "$m/sparse")" -lt 2048
echo linked >"$m/link a"
ln "$m/link a" "$m/link b"
mkdir "$m/sub"
ln "$m/link a" "$m/sub/link c"
ln -s "nowhere/$long" "$m/dangling"
ln -s 'link a' "$m/symlink"
mkfifo "$m/fifo"
echo x >"$m/with xattr"
setfattr -n user.note -v 'holiday' "$m/with xattr"
setfattr -n user.big -v "$(head -c 3000 /dev/zero | tr '\0' b)" "$m/with xattr"
setfattr -n user.on-dir -v yes "$m/sub"
echo times >"$m/times"
touch -d '1999-12-31 23:59:59.123456789' "$m/times"
touch -d '2038-01-20 00:00:00.000000001' "$m/empty dir"
chmod 0640 "$m/times"
[[ $(id -u) -eq 0 ]] && { chown 1234:4321 "$m/times"; chmod 4711 "$m/empty"; }
same "times in nanoseconds" "$(stat -c %y "$m/times" | cut -c1-29)" "$(TZ=$(date +%Z) date -d '1999-12-31 23:59:59.123456789' '+%F %T.%N')"

check "sync" "$obscurafs" sync -q "$m"
check "clone" clone_vault store v second
mount_vault second || exit 1
n=$work/second.mnt
check "the second device is the same" same_tree "$m" "$n"
same "the sparse file is sparse there" "$(stat -c %b "$n/sparse")" "$(stat -c %b "$m/sparse")"
same "hard links there" "$(stat -c %h "$n/link a")" 3
same "one inode behind them" "$(stat -c %i "$n/link a")" "$(stat -c %i "$n/sub/link c")"
same "an xattr there" "$(getfattr --only-values -n user.note "$n/with xattr" 2>/dev/null)" holiday
same "its long one" "$(getfattr --only-values -n user.big "$n/with xattr" 2>/dev/null | wc -c)" 3000
same "one of a directory" "$(getfattr --only-values -n user.on-dir "$n/sub" 2>/dev/null)" yes
check "git fsck there" git -C "$n/project" fsck --strict
same "git status there" "$(git -C "$n/project" status --porcelain)" ""

# and back: a change there arrives here
echo 'from the second device' >"$n/reply"
rm "$n/link b"
mv "$n/sub" "$n/moved"
check "sync there" "$obscurafs" sync -q "$n"
check "sync here" "$obscurafs" sync -q "$m"
check "both are the same again" same_tree "$n" "$m"
same "the reply" "$(cat "$m/reply")" 'from the second device'

check "umount" umount_vault v
check "umount there" umount_vault second
check "check, with the store" "$obscurafs" check -q --store --passfile "$work/pass" "$work/v"
check "check there" "$obscurafs" check -q --passfile "$work/pass" "$work/second"
mount_vault v
check "the same after a remount" same_tree "$m" "$m"
same "the commit is there" "$(git -C "$m/project" log -1 --format=%s)" more
