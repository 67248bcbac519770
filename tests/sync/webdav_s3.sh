#!/usr/bin/env bash
# As a person would, with real servers (Apache, lighttpd: WebDAV; Swift: S3 that checks signatures) over a bad network: push, a second
# device, wrong logins, delays, connections that are cut, a server that goes away, kill -9 in the middle of a push.
# webdav_s3.sh [apache | lighttpd | swift ...]
set -u
. "$(dirname "$0")/../fs/lib.sh"
. "$here/tests/sync/servers/servers.sh"
o=$obscurafs
mib=1048576
kinds=("$@")
[[ $# -gt 0 ]] || kinds=(apache lighttpd swift)

add_store() { "$o" store add --passfile "$work/pass" --login-file "$1" "$work/$k" "$url"; }
clone() { "$o" clone -q --passfile "$work/pass" --code-file "$work/$k.code" --login-file "$1" "$url" "$work/$2"; }
noise() { head -c "$2" /dev/urandom >"$m/$1"; } # NAME BYTES
store_is_complete() { check "$1: the store is complete" "$o" check -q --store "$m"; }
# How much more than ${2} bytes went up since ${1}; the rest of requests and small objects is allowed for.
sent_again() { echo $((($(proxy_up) - $1 - $2 * 103 / 100) / mib)); }

# A place whose names are none of ours is not empty, and gets nothing.
foreign_names() {
  local base=$server_dir/root/base
  mkdir -p "$base/Photos"
  echo x >"$base/Photos/IMG 1.JPG"
  expect 16 'not empty.*Photos/.*choose an empty folder' add_store "$work/$k.server.login"
  same "$k: what is there" "$(cd "$base" && find . -name .DAV -prune -o -print | sort)" $'.\n./Photos\n./Photos/IMG 1.JPG'
  rm -r "$base/Photos"
  touch "$base/.DS_Store"
}

first_push() {
  printf 'bob\nwrong\n' >"$work/wrong.login"
  expect 14 'refused the login\|login' add_store "$work/wrong.login"
  [[ $k == swift ]] || foreign_names
  expect 0 '' add_store "$work/$k.server.login"
  check_not "$k: no folder of the trial" test -e "$server_dir/root/base/try"
  mkdir -p "$m/folder é/deep"
  for ((i = 0; i < 60; i++)); do noise "folder é/deep/small $i" $((i * 97)); done
  noise one 3000000
  noise two 9000000
  ln "$m/one" "$m/folder é/hard link"
  check "$k: sync" "$o" sync -q "$m"
  store_is_complete "$k"
  expect 14 'refused the login\|login' clone "$work/wrong.login" "$k.second"
  check_not "$k: nothing is left of a clone that was refused" test -e "$work/$k.second"
  check "$k: clone" clone "$work/$k.server.login" "$k.second"
  check "$k: the second device mounts" mount_vault "$k.second"
  check "$k: it has the same" same_tree "$m" "$n"
  check_not "$k: no name and no content on the server" grep -rqa 'folder\|small [0-9]\|hard link' "$server_dir"
}

# Both ways, with 25 ms each way.
latency() {
  proxy delay 25
  mv "$m/folder é" "$m/renamed"
  echo 'from here' >"$m/renamed/deep/letter"
  check "$k: sync with delays" "$o" sync -q "$m"
  check "$k: sync there, with delays" "$o" sync -q "$n"
  same "$k: the letter" "$(cat "$n/renamed/deep/letter")" 'from here'
  rm "$n/two"
  echo 'an answer' >>"$n/renamed/deep/letter"
  check "$k: sync there again" "$o" sync -q "$n"
  check "$k: sync here" "$o" sync -q "$m"
  check "$k: both the same" same_tree "$m" "$n"
  proxy delay 2
}

# One connection is cut while a pack goes up: that pack is sent again, the others are not.
cut_once() {
  local before more
  for i in 1 2 3 4; do noise "cut $i" $((6 * mib)); done
  before=$(proxy_up)
  proxy close # so that a new connection meets it
  proxy cut $((2 * mib)) up 1
  "$o" sync -q "$m" 2>/dev/null || check "$k: sync after a cut" "$o" sync -q "$m"
  proxy clear
  more=$(sent_again "$before" $((24 * mib)))
  check "$k: a connection was cut" test "$more" -ge 1
  check "$k: and at most one pack sent again ($more MiB)" test "$more" -le 8
  store_is_complete "$k, after a cut"
}

# The server goes away in the middle; what arrived before is not sent again.
go_away() {
  local before rc more
  for i in 1 2 3 4 5 6; do noise "away $i" $((6 * mib)); done
  before=$(proxy_up)
  proxy rate $((6 * mib)) # slow enough to be met in the middle
  "$o" sync -q "$m" 2>"$work/err" &
  wait_for 30 went_up $((before + 12 * mib)) || bad "$k: the push does not get on"
  proxy refuse
  proxy close
  wait $!
  rc=$?
  same "$k: a server that went away" "$rc" 19
  same "$k: one line says so" "$(wc -l <"$work/err")" 1
  proxy clear
  proxy rate 0
  check "$k: sync when it is back" "$o" sync -q "$m"
  # packs go up side by side: those that were on their way, and nothing else
  more=$(sent_again "$before" $((36 * mib)))
  check "$k: only what was on its way is sent again ($more MiB)" test "$more" -le 32
  store_is_complete "$k, after the server went away"
}

killed() {
  local before pid more
  for i in 1 2 3 4 5 6; do noise "killed $i" $((6 * mib)); done
  sync -f "$m"
  before=$(proxy_up)
  proxy rate $((6 * mib))
  "$o" sync -q "$m" >/dev/null 2>&1 &
  wait_for 30 went_up $((before + 16 * mib)) || bad "$k: the push does not get on"
  pid=$(pid_of "$k")
  kill -9 "$pid"
  wait $!
  proxy rate 0
  check "$k: the dead mount is taken off" wait_for 10 "$o" umount "$m"
  check "$k: mounts after a kill" mount_vault "$k"
  check "$k: sync after a kill" "$o" sync -q "$m"
  more=$(sent_again "$before" $((36 * mib)))
  check "$k: only what was on its way is sent again ($more MiB)" test "$more" -le 32
  store_is_complete "$k, after a kill"
}

for k in "${kinds[@]}"; do
  started=$SECONDS
  m=$work/$k.mnt
  n=$work/$k.second.mnt
  start_server "$k" "$k.server" || continue
  start_proxy "$k.proxy" || continue
  new_vault "$k" && mount_vault "$k" || { bad "$k: no vault"; continue; }
  for part in first_push latency cut_once go_away killed; do "$part"; done
  check "$k: sync of the second device" "$o" sync -q "$n"
  check "$k: both the same at the end" same_tree "$m" "$n"
  check "$k: umount" "$o" umount "$m"
  check "$k: umount of the second" "$o" umount "$n"
  echo "$k: $((SECONDS - started)) s"
done
