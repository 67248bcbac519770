#!/usr/bin/env bash
# What another device changed shows in a mount that has the old state in the kernel's caches: sizes, data, times, names, absent names,
# lists; also in files that are open. What a program wrote, but the kernel still holds back, is merged and not mixed in, cut off or dropped.
set -u
. "$(dirname "$0")/lib.sh"

# A program with open files: ask COMMAND ARGUMENT ... (open_file.py) gives its answer.
coproc prog { exec python3 "$here/tests/fs/open_file.py" 2>"$work/prog.err"; }
prog_pid=$prog_PID
at_end+=("kill $prog_pid 2>/dev/null")
ask() {
  local IFS=$'\t'
  printf '%s\n' "$*" >&"${prog[1]}"
  IFS= read -r -t 30 answer <&"${prog[0]}" || answer="no answer"
  printf '%s\n' "$answer"
}
told() { same "$*" "$(ask "$@")" ok; }
answers() { [[ $(ask "${@:2}") == "$1" ]]; }
# eventually WHAT ANSWER COMMAND ...
eventually() { wait_for 10 answers "${@:2}" && ok || bad "$1: '$(ask "${@:3}")', expected '$2'"; }
# shows WHAT PATH CONTENT, in the first mount
shows() {
  wait_for 10 bash -c '[[ $(cat "$1") == "$2" ]]' - "$m/$2" "$3" && ok || bad "$1: '$(tr -d '\0' <"$m/$2")', expected '$3'"
}
sync_first() { check "sync of the first" "$obscurafs" sync -q "$m"; }
# The same as the mount's own thread does it: nobody makes the kernel write before.
pull_first() { check "pull of the first" background "$m"; }
background() {
  python3 - "$1" "$XDG_RUNTIME_DIR" <<'END'
import glob, json, socket, sys
def call(path, what):
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    s.sendall(json.dumps({"do": what}).encode() + b"\n")
    for line in s.makefile():
        answer = json.loads(line)
        if "code" in answer:
            return answer
for path in glob.glob(sys.argv[2] + "/**/*.sock", recursive=True):
    if call(path, "status")["mountpoint"] == sys.argv[1]:
        sys.exit(call(path, "sync")["code"])
sys.exit("no mount")
END
}
sync_second() { check "sync of the second" "$obscurafs" sync -q "$n"; }
gone() { [[ ! -e $1 ]]; }
# The one other version beside PATH, in the first mount.
beside() { cat "${m:?}/$1 (conflict"* 2>/dev/null; }

new_vault v && new_store store v && mount_vault v || exit 1
m=$work/v.mnt
mkdir "$m/d" "$m/d/sub" "$m/e"
for f in grow shrink same opened shorter readonly ends deleted unsent kept appended chmod mapped written; do
  printf 'first content' >"$m/$f"
done
chmod 0444 "$m/readonly"
ln "$m/grow" "$m/d/link of grow"
ln "$m/grow" "$m/e/link of grow"
ln "$m/shrink" "$m/e/link of shrink"
echo 1 >"$m/d/one"
echo 2 >"$m/d/moved"
check "sync" "$obscurafs" sync -q "$m"
check "clone" clone_vault store v w
mount_vault w || exit 1
n=$work/w.mnt

# ---- what nobody has open, and what is only read ----

# everything into the caches of the first; of the links, each directory is the last one once
cat "$m"/* "$m"/e/* "$m"/d/link* >/dev/null 2>&1
stat "$m/grow" "$m/e/link of shrink" "$m/shrink" >/dev/null
ls -lR "$m" >/dev/null
check_not "not there yet" stat "$m/d/new"
for f in opened shorter readonly ends; do told open "$f" "$m/$f" r; done
same "read" "$(ask read shorter)" 'first content'
told open mapped "$m/mapped" w
told map mapped

printf ', and more' >>"$n/grow"
printf short >"$n/shrink"
printf 'other content' >"$n/same"
printf 'longer than the first content' >"$n/opened"
printf shorter >"$n/shorter"
touch -d @1000000000 "$n/shorter"
(chmod 0644 "$n/readonly" && printf changed >"$n/readonly" && chmod 0444 "$n/readonly")
: >"$n/ends"
truncate -s 5 "$n/mapped"
touch -d 1999-01-01 "$n/d/one"
chmod 0600 "$n/d/one"
echo new >"$n/d/new"
mv "$n/d/moved" "$n/d/sub/moved"
sync_second
sync_first
eventually "the size of an open file that grew" 29 size opened
eventually "its content" 'longer than the first content' read opened
eventually "the size of an open file that shrank" 7 size shorter
eventually "its content" shorter read shorter
eventually "its time" 1000000000 mtime shorter
shows "the same, opened again" shorter shorter
eventually "the size of one that may only be read" 7 size readonly
same "its content" "$(ask read readonly)" changed
same "its mode" "$(stat -c %a "$m/readonly")" 444
eventually "an open file that is empty now" 0 size ends
eventually "one that is mapped" 5 size mapped
same "its content" "$(ask read mapped)" first
shows "a file that grew" grow 'first content, and more'
shows "its name in a folder" "d/link of grow" 'first content, and more'
shows "its name in another" "e/link of grow" 'first content, and more'
shows "a file that shrank" shrink short
shows "its other name" "e/link of shrink" short
same "their size" "$(stat -c %s "$m/shrink" "$m/e/link of shrink" | sort -u)" 5
shows "a file of the same size" same 'other content'
shows "a new name" d/new new
shows "a moved file" d/sub/moved 2
same "a list" "$(ls -m "$m/d")" "link of grow, new, one, sub"
same "a list below" "$(ls "$m/d/sub")" moved
same "time and mode" "$(stat -c '%y %a' "$m/d/one" | cut -c1-4,36-)" "1999 600"
for f in opened shorter readonly ends mapped; do told close "$f"; done

# ---- what programs wrote, and the kernel holds back ----

for f in kept appended chmod written; do told open "$f" "$m/$f" w; done
printf 'their content, which is longer' >"$n/kept"
printf their >"$n/appended"
chmod 0600 "$n/chmod"
printf their >"$n/written"
sync_second
told write kept 0 OURS
told write appended 13 ' and our end'
told write chmod 13 ' and our end'
pull_first
shows "a write that was not sent" kept 'OURSt content'
same "what came is beside it" "$(beside kept)" 'their content, which is longer'
shows "an append to what was shortened" appended 'first content and our end'
same "what came is beside it" "$(beside appended)" their
shows "an append where the mode came" chmod 'first content and our end'
same "the mode" "$(stat -c %a "$m/chmod")" 600
same "is all" "$(find "$m" -name 'chmod (conflict*' | wc -l)" 0
eventually "the open file has the new content" their read written
told write written 5 ' and ours'
eventually "and goes on from there" 'their and ours' read written
for f in kept appended chmod written; do told close "$f"; done
shows "after it was closed" written 'their and ours'

# ---- what was deleted elsewhere ----

for f in deleted unsent; do told open "$f" "$m/$f" w; done
told open opened "$m/opened" r
rm "$n/deleted" "$n/unsent" "$n/opened"
sync_second
told write unsent 0 OURS
pull_first
shows "a write that was not sent keeps the file" unsent 'OURSt content'
wait_for 10 gone "$m/deleted" && ok || bad "a deleted file is still there"
same "but can be read where it is open" "$(ask read deleted)" 'first content'
told write deleted 0 OURS
told fsync deleted
shows "a write brings it back" deleted 'OURSt content'
for f in deleted unsent opened; do told close "$f"; done
wait_for 10 gone "$m/opened" && ok || bad "a deleted file that was only read is back"
sync_first
sync_second
sync_first
check "both have the same" same_tree "$m" "$n"
same "the rescued ones" "$(cat "$n/deleted" "$n/unsent")" "OURSt contentOURSt content"

# ---- a contradiction turns the vault read-only: what was written before is kept ----

check "umount of the second" umount_vault w
cp -a "$work/w" "$work/older"
mount_vault w || exit 1
echo one >"$n/one side"
sync_second
check "umount of the second" umount_vault w
rm -rf "$work/w"
mv "$work/older" "$work/w" # a backup that was put back: the store has a later batch of ours
mount_vault w || exit 1
coproc other { exec python3 "$here/tests/fs/open_file.py"; }
printf 'open\tx\t%s\tw\nwrite\tx\t0\tLAST\n' "$n/kept" >&"${other[1]}"
for _ in 1 2; do IFS= read -r -t 30 -u "${other[0]}" answer || answer=none; same "write" "$answer" ok; done
check_not "sync of a copy" background "$n"
check "which is read-only" bash -c '"$1" status --json "$2" | grep -q "read_only\": *true"' - "$obscurafs" "$n"
printf 'close\tx\n' >&"${other[1]}"
IFS= read -r -t 30 -u "${other[0]}" answer
same "the write was kept" "$answer" ok
same "and shows" "$(head -c 4 "$n/kept")" LAST

check "umount" umount_vault v
check "umount of the second" umount_vault w
check "nothing is left over" "$obscurafs" check -q --passfile "$work/pass" "$work/v"
check "on the second" "$obscurafs" check -q --passfile "$work/pass" "$work/w"
mount_vault w || exit 1
same "after it was mounted again" "$(head -c 4 "$n/kept")" LAST
check "umount of the second" umount_vault w
