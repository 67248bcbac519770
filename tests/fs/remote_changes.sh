#!/usr/bin/env bash
# What another device changed shows in a mount that has the old state in the kernel's caches: sizes, data, times, names, absent names,
# lists; also of files that are open. And what a program wrote, but the kernel still holds back, is merged and not mixed in.
set -u
. "$(dirname "$0")/lib.sh"

new_vault v && new_store store v && mount_vault v || exit 1
m=$work/v.mnt
mkdir "$m/d" "$m/d/sub"
for f in grow shrink same opened busy; do printf 'first content' >"$m/$f"; done
ln "$m/grow" "$m/d/link of grow"
echo 1 >"$m/d/one"
echo 2 >"$m/d/moved"
check "sync" "$obscurafs" sync -q "$m"
check "clone" clone_vault store v w
mount_vault w || exit 1
n=$work/w.mnt

# everything into the caches of the first
cat "$m"/* >/dev/null 2>&1
ls -lR "$m" >/dev/null
check_not "not there yet" stat "$m/d/new"
exec 5<"$m/opened"
head -c 1 <&5 >/dev/null

printf ', and more' >>"$n/grow"
printf short >"$n/shrink"
printf 'other content' >"$n/same"
printf 'longer than the first content' >"$n/opened"
touch -d 1999-01-01 "$n/d/one"
chmod 0600 "$n/d/one"
echo new >"$n/d/new"
mv "$n/d/moved" "$n/d/sub/moved"
printf 'their content, which is longer' >"$n/busy"
check "sync of the second" "$obscurafs" sync -q "$n"
# a program that never closes: the kernel holds back what it wrote (a shell's redirection would close a copy, which writes)
python3 -c 'import os, sys, time
fd = os.open(sys.argv[1], os.O_WRONLY)
os.write(fd, b"OURS")
print("written", flush=True)
time.sleep(60)' "$m/busy" >"$work/writer" &
writer=$!
at_end+=("kill $writer 2>/dev/null")
wait_for 5 grep -q written "$work/writer" || bad "the writer"
check "sync of the first" "$obscurafs" sync -q "$m"

shows() { # WHAT FILE CONTENT
  wait_for 5 bash -c '[[ $(cat "$1") == "$2" ]]' - "$m/$2" "$3" && ok || bad "$1: '$(tr -d '\0' <"$m/$2")'"
}
shows "a file that grew" grow 'first content, and more'
shows "its other name" "d/link of grow" 'first content, and more'
shows "a file that shrank" shrink short
same "its size" "$(stat -c %s "$m/shrink")" 5
shows "a file of the same size" same 'other content'
shows "a file that is open" opened 'longer than the first content'
shows "a new name" d/new new
shows "a moved file" d/sub/moved 2
same "a list" "$(ls -m "$m/d")" "link of grow, new, one, sub"
same "a list below" "$(ls "$m/d/sub")" moved
same "time and mode" "$(stat -c '%y %a' "$m/d/one" | cut -c1-4,36-)" "1999 600"
exec 5<&-
kill "$writer"
wait "$writer" 2>/dev/null
shows "a file that was open" opened 'longer than the first content'
cat "$m"/busy* >"$work/busy"
check "what was written meanwhile is there" grep -q 'OURSt content' "$work/busy"
check "beside what came" grep -q 'their content, which is longer' "$work/busy"
check "umount" umount_vault v
check "umount of the second" umount_vault w
