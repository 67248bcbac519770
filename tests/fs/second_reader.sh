#!/usr/bin/env bash
# The format page is complete: a reader in Python that was written from it reads a store with the vault code and a vault with its
# passphrase, finds the files just as they were, and refuses what was changed. And every tag of the page stands in the code and the other
# way round.
set -u
. "$(dirname "$0")/lib.sh"
vectors=$here/tests/vectors
reader() { python3 -B "$vectors/second_reader.py" "$@"; }

# ---- tags ----
# Comments are searched, for words in brackets that are not an index.
tags_of_code() {
  cat "$here"/{crypto,fs,sync,cli}/*.[ch] |
    python3 -B -c 'import re, sys
text = sys.stdin.read()
comments = re.findall(r"/\*.*?\*/|//[^\n]*", text, re.S)
tags = {t for c in comments for t in re.findall(r"(?<![\w\])>])\[([a-z][a-z0-9]*(?:-[a-z0-9]+)*)\]", c)}
print("\n".join(sorted(tags)))'
}
tags_of_page() { # .Bq in text, [..] in displays
  python3 -B -c 'import re, sys
text = open(sys.argv[1]).read()
tags = set(re.findall(r"(?:^\.| )Bq ([a-z][a-z0-9]*(?:-[a-z0-9]+)*)", text, re.M)) | set(re.findall(r" \[([a-z][a-z0-9]*(?:-[a-z0-9]+)*)\]$", text, re.M))
print("\n".join(sorted(tags)))' "$here/man/obscurafs-format.5"
}
tags_of_code >"$work/tags.code"
tags_of_page >"$work/tags.page"
same "tags of the code that the page lacks" "$(comm -23 "$work/tags.code" "$work/tags.page" | xargs)" ""
same "tags of the page that the code lacks" "$(comm -13 "$work/tags.code" "$work/tags.page" | xargs)" ""
same "tags that no test has" "$(while read -r t; do grep -rqF "[$t]" "$here/tests" || echo "$t"; done <"$work/tags.page" | xargs)" ""
# The tables of small things in the index, by their headers.
sed -n 's/^ \*   "\([a-z-]*\)" .*/\1/p' "$here"/sync/{ledger,chain,merge}.h | sort -u >"$work/spaces.code"
sed -n 's/^"\([a-z-]*\)" .*/\1/p' "$here/man/obscurafs-format.5" | sort -u >"$work/spaces.page"
same "spaces of headers and page" "$(comm -3 "$work/spaces.code" "$work/spaces.page" | xargs)" ""
for page in "$here"/man/*.[157]; do
  check "$(basename "$page") is clean mdoc" bash -c '[[ -z $(mandoc -T lint -W warning "$1" 2>&1) ]]' _ "$page"
done

# ---- the manual has the options and exit codes that there are ----
python3 -B - "$here" "$obscurafs" >"$work/manual" 2>&1 <<'PYTHON'
import re, subprocess, sys
here, program = sys.argv[1:]
page = open(here + '/man/obscurafs.1').read()
synopsis = page[page.index('.Sh SYNOPSIS'):page.index('.Sh DESCRIPTION')]
said = {}
for block in synopsis.split('.Nm\n')[1:]:
    command = re.match(r'\.Cm (\w+)', block).group(1)
    said.setdefault(command, set()).update(re.findall(r'Fl -([a-z-]+)', block))
for command, options in said.items():
    text = subprocess.run([program, command, '--help'], capture_output=True, text=True, check=True).stdout
    # --quiet, --foreground and the like are there as single letters
    there = {o for short, o in re.findall(r'^ +(-\w, )?--([a-z-]+)', text, re.M) if not short} - {'version'}
    if there != options:
        print(command, 'options that differ:', *sorted(there ^ options))
codes = set(re.findall(r'EXIT_\w+ = (\d+)', open(here + '/cli/cmd.h').read()))
listed = set(re.findall(r'^\.It (\d+)$', page[page.index('.Sh EXIT'):page.index('.Sh EXAMPLES')], re.M))
if codes != listed:
    print('exit codes that differ:', *sorted(codes ^ listed))
PYTHON
same "the manual" "$(cat "$work/manual")" ""
# README names nothing that is not there.
same "paths of README" "$(grep -oE '\]\([^)#:]+\)|tests/[a-z_/]+\.(sh|py)' "$here/README.md" | sed 's/^](\(.*\))$/\1/' | sort -u |
  while read -r f; do [[ -e $here/$f ]] || echo "$f"; done | xargs)" ""

# ---- frozen values ----
reader vectors "$vectors" >"$work/out" 2>&1 || cat "$work/out" >&2
same "frozen values" "$(python3 -c 'import json, sys; print(sum(json.load(open(sys.argv[1])).values()))' "$work/out")" \
  "$(awk 'BEGIN { RS = "" } !/^#/ { n++ } END { print n }' "$vectors"/*.txt)"

# ---- two devices and a store ----
new_vault a && new_store store a && mount_vault a || exit 1
a=$work/a.mnt
mkdir -p "$a/photos/2026" "$a/empty folder"
head -c 150000 /dev/urandom >"$a/photos/2026/one.jpg"
head -c 16384 /dev/urandom >"$a/photos/block"
printf x >"$a/photos/x"
: >"$a/photos/nothing"
printf 'a name that is not UTF-8' >"$a/photos/"$'caf\xe9'
printf long >"$a/$(printf 'n%.0s' {1..255})"
truncate -s 64M "$a/sparse"
printf end | dd of="$a/sparse" bs=1 seek=49999999 conv=notrunc status=none
ln "$a/photos/x" "$a/photos/x again"
ln -s "photos/2026/one.jpg" "$a/link"
mkfifo "$a/fifo"
setfattr -n user.colour -v green "$a/photos/x"
setfattr -n user.empty "$a/photos/2026"
touch -d '1969-07-20 20:17:40.123456789 UTC' "$a/photos/block"
chmod 4751 "$a/photos/block"
if [[ $(id -u) -eq 0 ]]; then
  mknod "$a/device" b 259 70000
  chown 12345:54321 "$a/link" "$a/device"
fi
check "first sync" "$obscurafs" sync -q "$a"
check "second device" clone_vault store a b
mount_vault b || exit 1
b=$work/b.mnt
printf changed | dd of="$b/photos/2026/one.jpg" bs=1 seek=70000 conv=notrunc status=none
truncate -s 10000 "$b/photos/block"
mv "$b/photos/2026" "$b/empty folder/moved"
rm "$b/photos/nothing" "$b/fifo"
setfattr -x user.colour "$b/photos/x"
setfattr -n user.other -v "$(head -c 3000 /dev/zero | tr '\0' v)" "$b/photos/x"
mkdir "$b/of b" && printf 'made on b' >"$b/of b/file"
check "second device syncs" "$obscurafs" sync -q "$b"
check "first device sees it" bash -c '"$1" sync -q "$2" && grep -q "made on b" "$2/of b/file"' _ "$obscurafs" "$a"
# both change the same file: one content keeps the name
printf 'one is longer' >"$a/of b/file"
printf 'the other one' >"$b/of b/file"
check "both sync" bash -c 'for m in "$2" "$3" "$2" "$3" "$2"; do "$1" sync -q "$m" || exit 1; done' _ "$obscurafs" "$a" "$b"
printf 'last words' >>"$a/photos/x"
check "last sync" "$obscurafs" sync -q "$a"
umount_vault a && mount_vault a || exit 1

check "the store is read" reader store "$work/store" "$work/a.code" "$work/from-store"
if grep -q '"copies": 1' "$work/check.log"; then ok; else bad "no conflict copy: $(cat "$work/check.log")"; fi
same "both contents of the file" "$(cat "$work/from-store/of b/"* | fold -w 13 | sort | xargs)" "one is longer the other one"
check "the store has the files of the first device" same_tree "$a" "$work/from-store"

read_vault() { # NAME OUT [STORE]
  reader vault "$work/$1" "$work/pass" "$work/$2" ${3:+"$work/$3"} >"$work/said" 2>"$work/err"
  case $? in 0) ok ;; 77) skip "Argon2id cannot be computed here"; return 1 ;; *) bad "$2: $(cat "$work/err")"; return 1 ;; esac
}
said() { python3 -c 'import json, sys; print(eval("d" + sys.argv[2], {"d": json.load(open(sys.argv[1]))}))' "$work/said" "$1"; }

# ---- a mount that was killed: the log in the segments says what the index does not have ----
pid=$(pid_of a)
cp "$a/photos/x" "$a/photos/late"
mv "$a/link" "$a/link renamed"
truncate -s 3 "$a/photos/block"
setfattr -n user.late -v 1 "$a/photos/late"
rm "$a/photos/x again"
sync "$a/photos/late" "$a/photos/block" "$a" # fsync of each
# at once, before a commit can take it out of the log
python3 -c 'import os, sys
f = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
os.write(f, b"in the log only"); os.fsync(f); os.kill(int(sys.argv[2]), 9)' "$a/photos/late 2" "$pid"
fusermount3 -uz "$a" 2>/dev/null || umount -l "$a"
if read_vault a from-killed store; then
  same "a file that only the log knows" "$(cat "$work/from-killed/photos/late 2")" "in the log only"
  same "what else the log says" "$(readlink "$work/from-killed/link renamed")$(stat -c %s "$work/from-killed/photos/block")" "photos/2026/one.jpg3"
  if [[ $(said '["replayed"]') -gt 0 ]]; then ok; else bad "nothing was replayed: $(cat "$work/said")"; fi
fi

# ---- closed in order ----
check "umount" umount_vault b
mount_vault a || exit 1
[[ -d $work/from-killed ]] && check "the killed vault opens, and is what was read" same_tree "$a" "$work/from-killed"
check "sync" "$obscurafs" sync -q "$a"
cp -a "$a" "$work/copy"
check "umount" umount_vault a
if read_vault a from-vault store; then
  check "a vault has its files" same_tree "$work/copy" "$work/from-vault"
  same "nothing to replay" "$(said '["replayed"]')" 0
  if [[ $(said '["outbox"]') -ge 3 ]]; then ok; else bad "$(cat "$work/said")"; fi
fi
# What the second device never read is only on the store.
if read_vault b from-b store; then ok; fi
check_not "without the store it cannot be read" reader vault "$work/b" "$work/pass" "$work/from-b-alone"

# ---- what was changed is refused ----
flip() { # FILE OFFSET: one bit
  python3 -c 'import sys
f = open(sys.argv[1], "r+b"); n = int(sys.argv[2]); f.seek(n, 2 if n < 0 else 0); at = f.tell(); c = f.read(1)[0]; f.seek(at); f.write(bytes([c ^ 1]))' "$1" "$2"
}
refused() { # WHAT FILE OFFSET: the store with that bit changed
  flip "$2" "$3"
  rm -rf "$work/bad"
  check_not "$1 was changed" reader store "$work/store" "$work/a.code" "$work/bad"
  flip "$2" "$3"
}
first() { find "$work/store/$1" -type f -printf '%s %p\n' | sort -n | tail -1 | cut -d' ' -f2-; }
refused "the header" "$work/store/vault" 20
refused "keys/recovery" "$work/store/keys/recovery" 60
for at in 5 9 50 100 -1; do refused "a batch at $at" "$(first journal)" $at; done
for at in 5 80 -1; do refused "a roster record at $at" "$(first roster)" $at; done
for at in 20 100 -1 -60; do refused "a pack at $at" "$(first packs)" $at; done
journal=$(first journal)
mv "$journal" "$work/held"
check_not "a batch is missing" reader store "$work/store" "$work/a.code" "$work/bad2"
mv "$work/held" "$journal"
check "the store is as it was" reader store "$work/store" "$work/a.code" "$work/from-store-again"

# ---- the store is lost, and another one takes its place: extents are in new packs [lost-packs] ----
mount_vault a || exit 1
check "the first device has all bytes" find "$a" -type f -exec cat {} +
umount_vault a
rm -rf "$work/store"
for v in a b; do # each has its own journal
  check "$v: the lost store is taken off" "$obscurafs" store remove --passfile "$work/pass" "$work/$v" "file://$work/store"
  check "$v: another one is added" new_store store2 "$v"
done
for v in a b a; do "$obscurafs" sync -q --passfile "$work/pass" "$work/$v" >"$work/check.log" 2>&1; done
check "the other store is read" reader store "$work/store2" "$work/a.code" "$work/from-store2"
check "it has the files" same_tree "$work/copy" "$work/from-store2"
