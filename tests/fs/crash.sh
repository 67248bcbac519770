#!/usr/bin/env bash
# kill -9 of the serving process at random moments under load. After each: the vault needs no repair, check finds nothing, all that was
# fsynced is there, every file is in its old or a later state (crash_load.py). At the end a second device made from the store is the same.
# OBSCURAFS_TEST_ROUNDS (12), OBSCURAFS_TEST_SEED (random, printed).
set -u
. "$(dirname "$0")/lib.sh"
load=$here/tests/fs/crash_load.py
rounds=${OBSCURAFS_TEST_ROUNDS:-12}
seed=${OBSCURAFS_TEST_SEED:-$RANDOM}
RANDOM=$seed
echo "crash.sh: seed $seed"

new_vault v || exit 1
m=$work/v.mnt
durable=0
mkdir "$m"

a_moment() { sleep "$(awk -v n="$RANDOM" -v max="$1" 'BEGIN {printf "%.3f", n / 32768 * max}')"; }

# The process that serves dies, and with it the mount; the programs on it see errors and end.
crash() {
  local pid
  pid=$(pid_of v)
  [[ -n $pid ]] || { bad "round $1: nothing serves the mount"; return 1; }
  kill -9 "$pid"
  wait_for 10 bash -c "! kill -0 $pid" || bad "round $1: the process is still there"
}

# Killed while it starts: also what a start does after a crash can be cut short.
crash_at_start() {
  "$obscurafs" mount -f --passfile "$work/pass" "$work/v" "$m" 2>>"$work/start.log" &
  local pid=$!
  a_moment 0.12
  kill -9 "$pid" 2>/dev/null
  wait "$pid" 2>/dev/null
  "$obscurafs" umount "$m" >/dev/null 2>&1
  return 0
}

for ((round = 1; round <= rounds; round++)); do
  mount_vault v || { bad "round $round: it does not mount"; break; }
  check "round $round: what is there" python3 "$load" verify "$m/load" "$work/promises"
  : >"$work/load.log"
  python3 "$load" run "$m/load" "$work/promises" "$seed.$round" >"$work/load.log" 2>"$work/load.err" &
  worker=$!
  wait_for 20 grep -q ready "$work/load.log" || { bad "round $round: the load does not start"; cat "$work/load.err" >&2; }
  a_moment 2
  crash "$round" || break
  wait "$worker"
  durable=$((durable + $(sed -n 's/ durable$//p' "$work/load.log")))
  [[ -s $work/load.err ]] && { bad "round $round: the load"; tail -5 "$work/load.err" >&2; }
  check "round $round: the dead mount is taken off" "$obscurafs" umount "$m"
  [[ $((round % 3)) -eq 0 ]] && crash_at_start
  check "round $round: check" "$obscurafs" check -q --passfile "$work/pass" "$work/v"
done
check "something was made durable between the crashes" test "$durable" -gt $((rounds * 5))

if mount_vault v; then
  check "at the end: what is there" python3 "$load" verify "$m/load" "$work/promises"
  new_store store v && check "sync" "$obscurafs" sync -q "$m"
  check "clone" clone_vault store v second
  mount_vault second && check "the second device is the same" same_tree "$m" "$work/second.mnt"
  check "umount" umount_vault v
  check "check, with the store" "$obscurafs" check -q --store --passfile "$work/pass" "$work/v"
else
  bad "it does not mount at the end"
fi
