#!/usr/bin/env bash
# What bad input gets: one line on standard error that names the thing and the remedy, its exit code, and nothing lost or half-made.
set -u
. "$(dirname "$0")/lib.sh"
o=$obscurafs
mkdir "$work/empty"

# expect_in STDIN CODE PATTERN COMMAND ...: as expect, with standard input.
expect_in() {
  local text=$1 code=$2 pattern=$3 rc=0 lines
  shift 3
  printf '%s' "$text" | "$@" >"$work/out" 2>"$work/err" || rc=$?
  lines=$(wc -l <"$work/err")
  if [[ $rc -eq $code && $lines -eq $([[ $code -eq 0 ]] && echo 0 || echo 1) ]] && grep -q -- "$pattern" "$work/err" "$work/out"; then
    ok
  else
    bad "exit code $rc (expected $code), $lines lines, with '$pattern': $*"
    head -5 "$work/err" >&2
  fi
}
not_there() { [[ ! -e $2 ]] && ok || bad "$1: $2 was left behind"; }
with_pass() { "$@" --passfile "$work/pass"; }
put_byte() { # FILE OFFSET: changes one bit of the byte there
  local b
  b=$(dd if="$1" bs=1 skip="$2" count=1 status=none | od -An -tu1)
  printf '%b' "$(printf '\\%03o' $((b ^ 16)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
size_of() { stat -c %s "$1"; }

words_and_options() {
  local c
  expect 1 'frobnicate' "$o" frobnicate
  for c in init mount umount lock store sync status clone passwd info check; do
    expect 1 'nonsense' "$o" "$c" --nonsense "$work/v" x
    expect 0 '' "$o" "$c" --help
    expect 0 '' "$o" "$c" --version
  done
  for c in init mount umount store sync clone passwd info check; do expect 1 'usage' "$o" "$c"; done
  expect 1 'passfile' "$o" init --passfile
  expect 1 'wait' "$o" umount --wait soon "$work"
  expect 0 '' "$o" --help
  expect 0 '' "$o" --version
}

making() {
  local v=$work/made
  echo x >"$work/empty/x"
  expect 7 'not empty' with_pass "$o" init --code-file "$work/made.code" "$work/empty"
  rm "$work/empty/x"
  expect_in '' 9 'no passphrase' "$o" init "$v"
  expect_in $'\n' 22 'empty' "$o" init "$v"
  expect_in $'\n' 22 'empty' "$o" init --allow-weak "$v"
  expect_in $'password1\n' 22 '--allow-weak' "$o" init "$v"
  expect 9 'nowhere' "$o" init --passfile "$work/nowhere" "$v"
  expect 9 'extpass' "$o" init --extpass false "$v"
  touch "$work/old.code"
  expect 1 'old.code' with_pass "$o" init --code-file "$work/old.code" "$v"
  not_there "a vault that was not made" "$v"
  same "the old code file" "$(size_of "$work/old.code")" 0
  expect 11 'no such file' with_pass "$o" init -q --code-file "$work/made.code" "$work/no/where"
  not_there "a code of no vault" "$work/made.code"
  echo x >"$work/a file"
  expect 7 'directory' with_pass "$o" init -q --code-file "$work/made.code" "$work/a file"
  same "the file in the way" "$(cat "$work/a file")" x
  expect_in $'password1\n' 0 'Made' "$o" init --allow-weak --code-file "$work/made.code" "$v"
  same "the code is for its owner only" "$(stat -c %a "$work/made.code")" 600
  expect 7 'already' with_pass "$o" init --code-file "$work/second.code" "$v"
  not_there "a second code" "$work/second.code"
}

mount_points() {
  local v=$work/v
  expect 6 'no vault' with_pass "$o" mount "$work/nowhere" "$work/empty"
  expect 6 'no vault' with_pass "$o" mount "$work/empty" "$work/empty"
  expect 6 'no vault' with_pass "$o" mount "$work/a file" "$work/empty"
  for c in sync passwd info check; do expect 6 '' "$o" $c "$work/empty"; done
  expect 6 '' with_pass "$o" store list "$work/empty"
  expect 10 'mkdir' with_pass "$o" mount "$v" "$work/nowhere"
  expect 10 'not a directory' with_pass "$o" mount "$v" "$work/a file"
  mkdir "$work/full" "$v/inside"
  touch "$work/full/x"
  expect 10 'not empty' with_pass "$o" mount "$v" "$work/full"
  expect 10 'inside the vault' with_pass "$o" mount "$v" "$v/inside"
  expect 10 'inside' with_pass "$o" mount "$v" "$work"
  rmdir "$v/inside"
  expect 10 'nonsense' with_pass "$o" mount -o nonsense_option "$v" "$work/empty"
  expect 10 'no vault' "$o" umount "$work/empty"
  expect 10 'no vault' "$o" umount "$work/nowhere"
  check_not "none of it left a mount" mountpoint -q "$work/empty"
}

passphrases() {
  local v=$work/v c wrong
  echo 'another gate under fourth stone' >"$work/wrong"
  expect_in $'another gate under fourth stone\n' 12 'wrong passphrase' "$o" mount "$v" "$work/empty"
  expect_in $'another gate under fourth stone\nnot a passphrase yet either\n' 12 'wrong passphrase' "$o" passwd "$v"
  for c in sync check; do expect 12 'wrong passphrase' "$o" $c --passfile "$work/wrong" "$v"; done
  expect 12 'wrong passphrase' "$o" store list --passfile "$work/wrong" "$v"
  expect 12 'wrong passphrase' "$o" mount --passfile "$work/wrong" "$v" "$work/empty"
  wrong=$(cat "$work/err")
  # a damaged slot cannot be told from a wrong passphrase
  cp "$v/slots/0" "$work/slot"
  for damage in 0 8 60 110 170 cut empty; do
    cp "$work/slot" "$v/slots/0"
    case $damage in
      cut) truncate -s 20 "$v/slots/0" ;;
      empty) : >"$v/slots/0" ;;
      *) put_byte "$v/slots/0" "$damage" ;;
    esac
    expect 12 'wrong passphrase' with_pass "$o" mount "$v" "$work/empty"
    same "damaged slot ($damage): the same line" "$(cat "$work/err")" "$wrong"
  done
  rm "$v/slots/0"
  expect 8 'slot' with_pass "$o" mount "$v" "$work/empty"
  cp "$work/slot" "$v/slots/0"
  # passwd
  expect_in $'garden gate under third stone\npassword1\n' 22 '--allow-weak' "$o" passwd "$v"
  expect_in $'garden gate under third stone\n\n' 22 'empty' "$o" passwd "$v"
  expect_in $'garden gate under third stone\n' 9 'no passphrase' "$o" passwd "$v"
  expect_in $'garden gate under third stone\nmeadow lamp of nine otters\n' 0 'changed' "$o" passwd "$v"
  expect 12 'wrong passphrase' with_pass "$o" check "$v"
  expect 0 '' "$o" mount --extpass 'echo meadow lamp of nine otters' "$v" "$work/empty"
  expect_in $'meadow lamp of nine otters\ngarden gate under third stone\n' 0 'changed' "$o" passwd "$v" # while mounted
  expect 0 '' "$o" umount "$work/empty"
  expect 12 'wrong passphrase' "$o" check --passfile "$work/wrong" "$v"
  expect 0 '' with_pass "$o" check -q "$v"
}

in_use() {
  local v=$work/v
  mount_vault v
  expect 13 "mounted at $work/v.mnt" with_pass "$o" mount "$v" "$work/empty"
  expect 13 "mounted at $work/v.mnt" with_pass "$o" mount "$v" "$work/v.mnt"
  expect 0 '' "$o" check -q "$v"
  expect 0 '' "$o" status "$v"
  # killed: the mount is dead, umount takes it off; a new mount does what is needed by itself
  kill -9 "$(pid_of v)"
  wait_for 10 bash -c "! '$o' status --json '$v' | grep -q '\"mounted\":true'"
  expect 10 "obscurafs umount" with_pass "$o" mount "$v" "$work/v.mnt"
  expect 0 '' "$o" umount "$work/v.mnt"
  check_not "the dead mount is gone" mountpoint -q "$work/v.mnt"
  expect 0 '' mount_vault v
  same "the file after a kill" "$(cat "$work/v.mnt/file")" "hello"
  expect 0 '' "$o" lock "$v"
  expect 10 'no vault' "$o" umount "$work/v.mnt"
  mkdir "$work/ro"
  expect 0 '' with_pass "$o" mount --ro "$v" "$work/ro"
  check_not "a read-only mount takes nothing" touch "$work/ro/x"
  same "a read-only mount shows" "$(cat "$work/ro/file")" hello
  expect 0 '' "$o" umount "$work/ro"
  # libfuse wants the size of reads said twice; before we did, this mount never answered
  expect 0 '' with_pass timeout 60 "$o" mount -o max_read=65536 "$v" "$work/ro"
  same "a mount with small reads shows" "$(cat "$work/ro/file")" hello
  expect 0 '' "$o" umount "$work/ro"
}

# A process that hangs: the others are not held up, and it is named.
hung() {
  local v=$work/v pid
  new_vault beside && mount_vault beside && mount_vault v || bad "two mounts"
  pid=$(pid_of v)
  kill -STOP "$pid"
  expect 0 '' timeout 30 "$o" status
  check "status names the one that hangs" grep -q "process that serves it ($pid) does not answer" "$work/out"
  check "and shows the other" grep -q "mounted at  $work/beside.mnt" "$work/out"
  expect 0 '' timeout 30 "$o" status --json "$work/v.mnt"
  check "as JSON" grep -q "\"vault\":\"$v\",\"mountpoint\":\"$work/v.mnt\",\"pid\":$pid,\"state\":\"silent\"" "$work/out"
  expect 0 '' timeout 30 "$o" store list "$work/beside.mnt"
  for c in sync check umount; do expect 11 "v: the process that serves it ($pid) does not answer" timeout 30 "$o" $c "$v"; done
  expect 11 "v.mnt: the process that serves it ($pid) does not answer" timeout 30 "$o" umount "$work/v.mnt"
  expect 11 'does not answer' timeout 30 "$o" store list "$v"
  expect 13 "mounted at $work/v.mnt" timeout 30 "$o" mount --passfile "$work/pass" "$v" "$work/empty"
  kill -CONT "$pid"
  expect 0 '' "$o" status --json "$v"
  check "it answers again" grep -q '"mounted":true' "$work/out"
  umount_vault v
  umount_vault beside
  check "no file says where it was" test -z "$(find "$work/run" -name '*.where')"
}

local_damage() {
  local v=$work/v n size place
  cp -a "$v" "$work/good"
  back() { rm -rf "$v" && cp -a "$work/good" "$v"; }
  size=$(size_of "$v/index")
  for place in 5 100 $((size / 2)) cut empty gone; do
    case $place in
      cut) truncate -s $((size / 2)) "$v/index" ;;
      empty) : >"$v/index" ;;
      gone) rm "$v/index" ;;
      *) put_byte "$v/index" "$place" ;;
    esac
    rm -f "$v"/index-*
    n=0
    with_pass "$o" mount "$v" "$work/empty" >"$work/out" 2>"$work/err" || n=$?
    if [[ $n -eq 0 ]]; then
      # a page that no read has met yet: then what is read is right or refused
      if [[ $(cat "$work/empty/file" 2>/dev/null) == hello || ! -e $work/empty/file ]]; then ok; else bad "index damaged at $place: wrong data"; fi
      "$o" umount --no-wait "$work/empty" 2>/dev/null
      expect 26 '' with_pass "$o" check -q "$v"
    else
      same "index damaged at $place: code" "$n" 8
      same "index damaged at $place: one line" "$(wc -l <"$work/err")" 1
      check "index damaged at $place: it names the index and the remedy" grep -q 'index.*clone' "$work/err"
      expect 26 'index' with_pass "$o" check -q "$v"
    fi
    back
  done
  put_byte "$v/keyring" 200
  expect 8 'keyring.*clone' with_pass "$o" mount "$v" "$work/empty"
  truncate -s 30 "$v/keyring"
  expect 8 'keyring.*clone' with_pass "$o" mount "$v" "$work/empty"
  back
  put_byte "$v/vault" 3 # the magic
  expect 8 'vault.*damaged.*clone' with_pass "$o" mount "$v" "$work/empty"
  for c in info status; do expect 8 'vault.*damaged.*clone' "$o" $c "$v"; done
  expect 8 'vault.*damaged.*clone' with_pass "$o" passwd "$v"
  expect 26 'vault.*damaged.*clone' with_pass "$o" check "$v"
  truncate -s 10 "$v/vault"
  expect 8 'damaged' with_pass "$o" mount "$v" "$work/empty"
  back
  printf '\011' | dd of="$v/vault" bs=1 seek=8 conv=notrunc status=none # format 9
  expect 25 'newer version' with_pass "$o" mount "$v" "$work/empty"
  for c in sync check; do expect 25 'newer version' with_pass "$o" $c "$v"; done
  expect 25 'newer version' "$o" info "$v"
  expect 25 'newer version' "$o" status "$v"
  back
  # a bit in the data of a file
  mount_vault v
  head -c 300000 /dev/urandom >"$work/v.mnt/damaged one"
  sync -f "$work/v.mnt"
  head -c 300000 /dev/urandom >"$work/v.mnt/sound"
  umount_vault v
  cp -a "$v/seg" "$work/good.seg"
  n=$(cd "$v/seg" && ls -S | head -1)
  put_byte "$v/seg/$n" $(($(size_of "$v/seg/$n") - 480000)) # of two files of 300,000 bytes at the end, in the first
  expect 26 '' with_pass "$o" check -q "$v"
  same "check names the file, and no other" "$(grep -v 'DAMAGE' "$work/out" | sed 's/: .*//')" "damaged one"
  mount_vault v
  expect 1 'Input/output error' cat "$work/v.mnt/damaged one"
  check "the others are read" cat "$work/v.mnt/sound" "$work/v.mnt/file"
  umount_vault v
  back
  rm -rf "$work/good" "$work/good.seg"
  expect 0 '' with_pass "$o" check -q "$v"
}

wrong_stores() {
  local v=$work/v
  expect 1 '' with_pass "$o" store add "$v" "file://$work/nowhere"
  expect 1 '' with_pass "$o" store add "$v" "gopher://host/dir"
  expect 1 'http' with_pass "$o" store add "$v" "http://store.example.org/dir"
  expect 19 '' with_pass "$o" store add "$v" "http://127.0.0.1:1/dir"
  expect 14 'AWS_ACCESS_KEY_ID' env -u AWS_ACCESS_KEY_ID -u AWS_SECRET_ACCESS_KEY "$o" store add --passfile "$work/pass" "$v" 's3://bucket/x?endpoint=http://127.0.0.1:1'
  expect 11 'store add' with_pass "$o" sync "$v"
  mkdir "$work/foreign"
  echo 'a letter' >"$work/foreign/letter.txt"
  expect 16 'foreign: is not empty.*letter.txt.*choose an empty folder' with_pass "$o" store add "$v" "file://$work/foreign"
  same "what was there" "$(cd "$work/foreign" && find .)" $'.\n./letter.txt'
  # names that are not of the form of ours are there all the same
  mkdir -p "$work/photos/Photos"
  echo x >"$work/photos/Photos/IMG 1.JPG"
  expect 16 'photos: is not empty.*Photos/.*choose an empty folder' with_pass "$o" store add "$v" "file://$work/photos"
  same "what was there" "$(cd "$work/photos" && find . | sort)" $'.\n./Photos\n./Photos/IMG 1.JPG'
  # what desktop programs put into every folder is nothing; a store that cannot be written gets nothing
  mkdir -p "$work/clutter/.stfolder"
  touch "$work/clutter/"{.DS_Store,desktop.ini,.dropbox,._x,Thumbs.db,.nextcloudsync.log}
  find "$work/clutter" | sort >"$work/before"
  if [[ $(id -u) -ne 0 ]]; then
    chmod 555 "$work/clutter"
    expect 19 'writing' with_pass "$o" store add "$v" "file://$work/clutter"
    chmod 755 "$work/clutter"
  fi
  check "nothing was written there" cmp "$work/before" <(find "$work/clutter" | sort)
  expect 0 '' with_pass "$o" store add "$v" "file://$work/clutter"
  expect 0 '' with_pass "$o" sync -q "$v"
  check "what was there stays" test -z "$(comm -23 "$work/before" <(find "$work/clutter" | sort))"
  check_not "no folder of the trial" test -e "$work/clutter/try"
  expect 0 '' with_pass "$o" store remove "$v" "file://$work/clutter"
  new_vault other && new_store other.store other
  find "$work/other.store" -printf '%P %s %T@\n' | sort >"$work/before"
  expect 16 'other.store' with_pass "$o" store add "$v" "file://$work/other.store"
  expect 12 '' "$o" sync --passfile "$work/wrong" "$work/other"
  find "$work/other.store" -type f -printf '%P %s %T@\n' | sort >"$work/after"
  grep -v '^[^ ]* [0-9]* [0-9.]*$' "$work/before" >/dev/null
  check "another vault's store is as it was" cmp <(cut -d' ' -f1,2 "$work/after") <(cd "$work/other.store" && find . -type f -printf '%P %s\n' | sort)
  expect 0 '' new_store store v
  expect 1 'already' with_pass "$o" store add "$v" "file://$work/store"
  expect 1 'no store' with_pass "$o" store remove "$v" "file://$work/foreign"
  same "one store" "$(with_pass "$o" store list "$v" | cut -f2)" "file://$work/store"
  expect 0 '' with_pass "$o" sync -q "$v"
}

wrong_codes() {
  local code third
  code=$(cat "$work/v.code")
  clone() { "$o" clone -q --passfile "$work/pass" --code-file "$work/code" "file://$work/$1" "$work/new"; }
  # one character of the third group
  third=${code:12:1}
  echo "${code:0:12}$([[ $third == 7 ]] && echo 8 || echo 7)${code:13}" >"$work/code"
  expect 17 'mistyped in group 3' clone store
  cp "$work/other.code" "$work/code"
  expect 17 'not the vault code' clone store
  echo "${code:0:30}" >"$work/code"
  expect 17 'group\|eight' clone store
  echo 'what is a vault code' >"$work/code"
  expect 17 '' clone store
  : >"$work/code"
  expect 9 '' clone store
  echo "$code" | tr 'A-Z-' 'a-z ' >"$work/code"
  expect 16 'foreign' clone foreign
  expect 16 'empty' clone empty
  expect 1 'nowhere' clone nowhere
  expect 1 'no such file' "$o" clone -q --ca-file "$work/nowhere/pem" --passfile "$work/pass" --code-file "$work/code" "file://$work/store" "$work/new"
  expect_in $'password1\n' 22 'allow-weak' "$o" clone -q --code-file "$work/code" "file://$work/store" "$work/new"
  expect 19 '' "$o" clone -q --passfile "$work/pass" --code-file "$work/code" "http://127.0.0.1:1/x" "$work/new"
  not_there "a clone that was not made" "$work/new"
  mkdir "$work/new" && touch "$work/new/x"
  expect 7 'not empty' clone store
  same "what was in the way" "$(ls "$work/new")" x
  rm "$work/new/x"
  expect 0 '' clone store # lower case, spaces, into an empty directory
  rm -rf "$work/new"
}

# One file a pack, so that each can be damaged by itself.
damaged_packs() {
  local name n m=$work/v.mnt
  declare -A pack
  mount_vault v
  find "$work/store/packs" -type f | sort >"$work/packs"
  for name in cut swapped-a swapped-b flipped foreign missing padded sound; do
    head -c 1200000 /dev/urandom >"$m/$name"
    "$o" sync -q "$m" || bad "sync"
    find "$work/store/packs" -type f | sort >"$work/packs.now"
    pack[$name]=$(comm -13 "$work/packs" "$work/packs.now")
    mv "$work/packs.now" "$work/packs"
  done
  check "a clone" clone_vault store v second
  cp -a "$work/store" "$work/store.good"
  truncate -s 500000 "${pack[cut]}"
  cp "${pack[swapped-a]}" "$work/x" && cp "${pack[swapped-b]}" "${pack[swapped-a]}" && cp "$work/x" "${pack[swapped-b]}"
  put_byte "${pack[flipped]}" 700000
  head -c "$(size_of "${pack[foreign]}")" /dev/urandom >"$work/x" && cp "$work/x" "${pack[foreign]}"
  rm "${pack[missing]}"
  put_byte "${pack[padded]}" $(($(size_of "${pack[padded]}") - 100)) # behind the data

  mkdir "$work/second.mnt"
  "$o" mount -f --passfile "$work/pass" "$work/second" "$work/second.mnt" 2>"$work/second.log" &
  wait_for 10 mountpoint -q "$work/second.mnt"
  for name in cut swapped-a swapped-b flipped foreign missing; do
    expect 1 "$([[ $name == missing ]] && echo 'Remote I/O' || echo 'Input/output') error" cat "$work/second.mnt/$name"
    n=$(cmp "$m/$name" <(cat "$work/second.mnt/$name" 2>/dev/null) 2>&1 | grep -c differ)
    same "$name: no byte that is wrong" "$n" 0
  done
  for name in sound padded file; do check "$name is read" cmp "$m/$name" "$work/second.mnt/$name"; done
  check "the log speaks of it" test -s "$work/second.log"
  names="cut flipped foreign missing swapped-a swapped-b "
  umount_vault v
  for where in second.mnt v; do # through the process that serves, and here
    expect 26 '' with_pass "$o" check -q --store "$work/$where"
    same "check --store names the files, $where" "$(grep 'bytes of it' "$work/out" | sed 's/: .*//' | sort -u | tr '\n' ' ')" "$names"
    same "and all the packs, $where" "$(grep -c '^(no name): packs/.*damaged' "$work/out")" 6
    same "and the one that is gone, $where" "$(grep -c '^(no name): packs/.*missing' "$work/out")" 1
  done
  mount_vault v
  # what is put right is read at once
  rm -rf "$work/store" && cp -a "$work/store.good" "$work/store"
  for name in cut swapped-a swapped-b flipped foreign missing sound padded; do check "$name is read again" cmp "$m/$name" "$work/second.mnt/$name"; done
  expect 0 '' "$o" check -q --store "$work/second.mnt"
  rm -rf "$work/store.good"
}

damaged_journal() {
  local m=$work/v.mnt n=$work/second.mnt last damage
  "$o" sync -q "$n"
  for damage in flip cut empty foreign; do
    find "$work/store/journal" -type f | sort >"$work/batches"
    echo "$damage" >"$m/note $damage"
    rm -f "$m/gone" && echo "$damage" >"$m/gone"
    "$o" sync -q "$m"
    last=$(find "$work/store/journal" -type f | sort | comm -13 "$work/batches" - | head -1)
    cp "$last" "$work/batch"
    case $damage in
      flip) put_byte "$last" 3000 ;;
      cut) truncate -s 1000 "$last" ;;
      empty) : >"$last" ;;
      foreign) cp "$(head -1 "$work/batches")" "$last" ;;
    esac
    "$o" sync -q "$n" >"$work/out" 2>"$work/err"
    case $? in
      0 | 8 | 20 | 21) ok ;;
      *) bad "journal, $damage: sync: $(cat "$work/err")" ;;
    esac
    check_not "journal, $damage: not applied" test -e "$n/note $damage"
    check "journal, $damage: the mount goes on" sh -c 'echo x >"$1/own $2" && ls "$1"' _ "$n" "$damage"
    "$o" sync -q "$m" 2>/dev/null
    expect 26 '' "$o" check -q --store "$m"
    cp "$work/batch" "$last"
    expect 0 '' "$o" sync -q "$n"
    same "journal, $damage: healed" "$(cat "$n/note $damage" 2>&1)" "$damage"
    expect 0 '' "$o" sync -q "$m"
    check "journal, $damage: the other way too" test -e "$m/own $damage"
  done
  expect 0 '' "$o" check -q --store "$m"
}

store_goes_away() {
  local m=$work/v.mnt i
  mv "$work/store" "$work/away"
  echo kept >"$m/kept"
  expect 19 '' "$o" sync -q "$m"
  same "the mount goes on" "$(cat "$m/kept")" kept
  same "the store's place is not made anew" "$(ls -A "$work/store" 2>/dev/null)" ""
  mv "$work/away" "$work/store"
  expect 0 '' "$o" sync -q "$m"
  # in the middle of a push
  for i in $(seq 12); do head -c 4000000 /dev/urandom >"$m/big $i"; done
  find "$work/store/packs" -type f | wc -l >"$work/count"
  "$o" sync -q "$m" 2>/dev/null &
  wait_for 20 bash -c '[[ $(find "$1/store/packs" -type f | wc -l) -gt $(cat "$1/count") ]]' _ "$work"
  mv "$work/store" "$work/away"
  wait $!
  case $? in 0 | 19) ok ;; *) bad "sync ended with another code when the store went away" ;; esac
  [[ -d $work/store ]] && rm -r "$work/store"
  mv "$work/away" "$work/store"
  expect 0 '' "$o" sync -q "$m"
  expect 0 '' "$o" check -q --store "$m"
  expect 0 '' "$o" sync -q "$work/second.mnt"
  check "the other device has it all" same_tree "$m" "$work/second.mnt"
}

new_vault v && mount_vault v && echo hello >"$work/v.mnt/file" && umount_vault v || exit 1
for part in words_and_options making mount_points passphrases in_use hung local_damage wrong_stores wrong_codes damaged_packs damaged_journal store_goes_away; do
  before=$failed
  "$part"
  [[ $failed -eq $before ]] || echo "^^ in $part" >&2
done
umount_vault v
umount_vault second
expect 0 '' with_pass "$o" check -q "$work/v"
