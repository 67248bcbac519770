#!/usr/bin/env bash
# What a hostile store can do to two devices, and what they make of it: published attacks, by their numbers in obscurafs-design(7). The store
# is a folder, so that anything can be done to it with cp and mv.
set -u
. "$(dirname "$0")/../fs/lib.sh"
s=$work/store

# ---- two devices, each of which wrote and read what the other wrote ----
put() { # VAULT NAME TEXT: a file, through a mount that pushes when it ends
  mount_vault "$1" && printf '%s' "$3" >"$work/$1.mnt/$2" && umount_vault "$1"
}
sync_() { "$obscurafs" sync -q --passfile "$work/pass" "$work/$1"; }
new_vault a && new_store store a && new_vault evil && new_store evil-store evil && put evil bad 'not ours' && put a one 'first of a' && sync_ a || exit 1
ja=$(echo "$s"/journal/*)
clone_vault store a b && put b two 'first of b' && sync_ b && sync_ a && put a three 'second of a' && sync_ a && sync_ b && put b four 'second of b' &&
  sync_ b && sync_ a && put a five 'third of a' && sync_ a && sync_ b || exit 1
for jb in "$s"/journal/*; do [[ $jb == "$ja" ]] || break; done
batches() { find "$1" -type f | sort; }
if [[ $(batches "$ja" | wc -l) -ge 3 && $(batches "$jb" | wc -l) -ge 2 ]]; then ok; else bad "fewer batches than were written"; fi

for x in store a b; do cp -a "$work/$x" "$work/$x.base"; done
again() { for x in store a b; do rm -rf "${work:?}/$x" && cp -a "$work/$x.base" "$work/$x"; done; }
state() { (cd "$s" && find . -type f -exec sha256sum {} + | sort); }
holds() { # VAULT NAMES: exactly these files, read from a mount that changes nothing
  mount_vault "$1" --ro || return 1
  local names
  names=$(ls "$work/$1.mnt" | xargs)
  umount_vault "$1"
  [[ $names == "$2" ]] || { echo "there: $names"; return 1; }
}
# ends CODES WHAT VAULT: sync ends with one of these codes, puts nothing on the store, and the tree stays what it was.
ends() {
  local rc=0 before
  before=$(state)
  sync_ "$3" >"$work/out" 2>&1 || rc=$?
  if [[ " $1 " == *" $rc "* ]]; then ok; else bad "$2: $3 ended with $rc, not one of $1: $(tail -1 "$work/out")"; fi
  if [[ $(state) == "$before" ]]; then ok; else bad "$2: something was put on the store"; fi
}
all='five four one three two'
clone_fails() { # CODES WHAT: a new device is refused, and nothing is left of it
  local rc=0
  clone_vault store a c >"$work/out" 2>&1 || rc=$?
  if [[ " $1 " == *" $rc "* ]]; then ok; else bad "$2: clone ended with $rc, not one of $1: $(tail -1 "$work/out")"; fi
  if ls -d "$work"/c* 2>/dev/null | grep -qv 'check.log'; then bad "$2: something is left of the clone"; rm -rf "$work"/c "$work"/c.clone-*; else ok; fi
}

# ---- A1: another vault's objects, well-formed, for ours ----
rm -rf "$s" && cp -a "$work/evil-store" "$s"
ends "16 20 21 25" "A1 the whole store is another vault's" a
check "A1: the tree is what it was" holds a "$all"
clone_fails "16 17" "A1 the whole store is another vault's"
again
cp "$work/evil-store/keys/recovery" "$s/keys/recovery"
clone_fails "17" "A1 the recovery slot of another vault"
again
cp "$work"/evil-store/roster/* "$s/roster/"
ends "0 21" "A1 roster records of another vault beside ours" a
again
rm "$s"/roster/00000000-* && cp "$work"/evil-store/roster/* "$s/roster/"
clone_fails "8 11 16 19 21" "A1 another genesis"

# ---- A3: formats from nowhere ----
again
for byte in 4 5; do
  printf '\x09' | dd of="$(batches "$jb" | tail -1)" bs=1 seek=$byte conv=notrunc status=none
  rm -rf "$work/a" && cp -a "$work/a.base" "$work/a"
  ends "0 21 25" "A3 another version or suite of a batch" a
done

# ---- A11: what no member has signed ----
again
next=$(printf '%016x' $(($(batches "$jb" | wc -l) + 1)))
cp "$(find "$work/evil-store/journal" -type f | head -1)" "$jb/$next"
ends "21" "A11 a batch of another vault as the next one" a
check "A11: the tree is what it was" holds a "$all"
again
cp "$(batches "$jb" | head -1)" "$jb/$next"
ends "21" "A11 an old batch under a new number" a
again
cp "$(batches "$ja" | tail -1)" "$jb/$next"
ends "21" "A11 a batch of the other device" a

# ---- A12, A13: everything, or the newest k batches of a device, as they were; A15: and back again ----
n=$(batches "$ja" | wc -l)
for k in $(seq 1 "$n"); do
  again
  mkdir -p "$work/hidden"
  batches "$ja" | tail -"$k" | xargs -d '\n' mv -t "$work/hidden"
  ends "21" "A13 the newest $k batches of a, shown to b" b
  ends "21" "A12 the newest $k batches of a, shown to a" a
  mv "$work"/hidden/* "$ja/"
  check "A15: they were only late, for b" sync_ b
  check "A15: they were only late, for a" sync_ a
done
check "A13: the tree is what it was" holds b "$all"
again
mkdir -p "$work/hidden"
batches "$ja" | tail -1 | xargs -d '\n' mv -t "$work/hidden"
put b six 'after that' >/dev/null 2>&1
clone_vault store a c >/dev/null 2>&1
rc=0
sync_ c >"$work/out" 2>&1 || rc=$?
same "A13: a new device hears of the hidden batch from the heads of the other" "$rc" 21
rm -rf "$work/c" "$work/c.mnt"

# ---- A14: two stores that were one; neither device loses anything when they meet again ----
again
cp -a "$s" "$work/fork"
put a seven 'on one side'
sync_ a
mv "$s" "$work/one-side" && mv "$work/fork" "$s"
put b eight 'on the other'
sync_ b
cp -an "$work/one-side/." "$s/"
check "A14: both sides again, b" sync_ b
check "A14: both sides again, a" sync_ a
check "A14: b has both" holds b "eight five four one seven three two"
check "A14: a has both" holds a "eight five four one seven three two"
rm -rf "$work/one-side"

# ---- A18: a device restored from a backup, which then writes something else ----
again
put a nine 'forgotten'
sync_ a
rm -rf "$work/a" && cp -a "$work/a.base" "$work/a"
put a ten 'instead' >/dev/null 2>&1
ends "20" "A18 a restored device" a
check "A18: the others see no second history" sync_ b
check "A18: and have what was written first" holds b "five four nine one three two"

# ---- A16: a passphrase that was changed comes back ----
# Slots are on the device only: no store has anything to put back, and changing the passphrase sends nothing.
again
old=$work/pass
printf 'meadow lamp of nine otters\n' >"$work/pass2"
cp "$work"/a/slots/* "$work/old-slot"
slot=$(basename "$work"/a/slots/*)
before=$(state)
check "A16: the passphrase is changed" bash -c 'cat "$2" "$3" | "$1" passwd "$4"' _ "$obscurafs" "$old" "$work/pass2" "$work/a"
same "A16: nothing is sent" "$(state)" "$before"
with() { # PASSFILE: syncs a with it
  "$obscurafs" sync -q --passfile "$1" "$work/a"
}
expect 12 'wrong passphrase' with "$old"
check "A16: the new one opens" with "$work/pass2"
rm -rf "$s" && cp -a "$work/store.base" "$s"
expect 12 'wrong passphrase' with "$old"
found() { # WHERE: files in which there is something of the old slot: its salt, or its commitment
  python3 - "$work/old-slot" "$1" <<'END'
import os, sys
slot = open(sys.argv[1], "rb").read()
for base, _, files in os.walk(sys.argv[2]):
    for f in files:
        b = open(os.path.join(base, f), "rb").read()
        if slot[24:40] in b or slot[72:104] in b or b"OBSSLOT" in b:
            print(os.path.relpath(os.path.join(base, f), sys.argv[2]))
END
}
same "A16: no slot is on the store" "$(found "$s")" ""
same "A16: of the old slot nothing is left on the device" "$(found "$work/a" | grep -vx "slots/$slot")" ""
if cmp -s "$work/old-slot" "$work/a/slots/$slot"; then bad "A16: the slot is still the old one"; else ok; fi
# Beside the new one, under another number, it does not count. In its own place it does: who can write to the disk can do that (and has the
# old keys already); obscurafs-design(7) says so.
for i in 0 1 2 3 7; do [[ -e $work/a/slots/$i ]] || cp "$work/old-slot" "$work/a/slots/$i"; done
expect 12 'wrong passphrase' with "$old"
check "A16: the new one still opens" with "$work/pass2"
cp "$work/old-slot" "$work/a/slots/$slot"
check "A16: the old slot in its own place opens: not prevented" with "$old"

# ---- A9, A30: packs exchanged, or gone ----
again
mount_vault a && head -c 20000 /dev/urandom >"$work/a.mnt/big" && head -c 20000 /dev/urandom >"$work/a.mnt/other" && "$obscurafs" sync -q "$work/a.mnt" &&
  umount_vault a || exit 1
mapfile -t packs < <(find "$s/packs" -type f -printf '%s %p\n' | sort -n | cut -d' ' -f2-)
mv "${packs[0]}" "$work/held" && mv "${packs[1]}" "${packs[0]}" && mv "$work/held" "${packs[1]}"
expect 26 "" "$obscurafs" check -q --store --passfile "$work/pass" "$work/a"
again
victim=$(find "$s/packs" -type f | sort | head -1)
rm "$victim"
rc=0
"$obscurafs" check -q --store --passfile "$work/pass" "$work/a" >"$work/out" 2>&1 || rc=$?
same "A30: check finds the missing pack" "$rc" 26
if grep -qE 'one|two|three|four|five' "$work/out"; then ok; else bad "A30: check names no file: $(head -3 "$work/out")"; fi
check "A30: a device without the bytes can still be made" clone_vault store a c
mount_vault c || exit 1
read_ok=0
for f in one two three four five; do timeout 60 cat "$work/c.mnt/$f" >/dev/null 2>&1 && read_ok=$((read_ok + 1)); done
umount_vault c
rm -rf "$work/c" "$work/c.mnt"
if [[ $read_ok -ge 3 && $read_ok -lt 5 ]]; then ok; else bad "A30: $read_ok of 5 files could be read"; fi

# ---- A26: objects far larger than they can be ----
again
truncate -s 8G "$jb/$next"
truncate -s 8G "$s/roster/00000009-0123456789abcdef"
check_not "A26: a batch of 8 GiB" timeout 60 bash -c 'ulimit -v 4000000; exec "$@"' _ "$obscurafs" sync -q --passfile "$work/pass" "$work/a"
check "A26: the tree is what it was" holds a "$all"
again
truncate -s 8G "$s/keys/recovery"
clone_fails "8 11 16 17 19 21" "A26 a recovery slot of 8 GiB"
