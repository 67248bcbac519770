#!/usr/bin/env bash
# Power cuts. First power_cut, which opens a thousand states of a disk in its own process; then a mount under load by many threads is
# recorded, and states of that disk are mounted: what was fsynced must be there, every file in its old or a later state, check content.
# OBSCURAFS_TEST_SEED (random, printed), OBSCURAFS_TEST_WORKLOADS (60), OBSCURAFS_TEST_STATES (12 for each of them),
# OBSCURAFS_TEST_ROUNDS (6 mounts).
set -u
. "$(dirname "$0")/../fs/lib.sh"
bin=$(dirname "$obscurafs")/../tests/fault
load=$here/tests/fs/crash_load.py
rounds=${OBSCURAFS_TEST_ROUNDS:-6}
seed=${OBSCURAFS_TEST_SEED:-$RANDOM}
disk=$work/disk log=$work/log m=$work/mnt
echo "power_cut.sh: seed $seed"
mkdir "$disk" "$m"

"$bin/power_cut" --seed "$seed" --workloads "${OBSCURAFS_TEST_WORKLOADS:-60}" --states "${OBSCURAFS_TEST_STATES:-12}" ||
  bad "power_cut --seed $seed"

# A program under the recorder; one that only has its quick stand-in for Argon2 (power_kdf.c).
# The library by its name: a path with a space in it cannot be preloaded.
recorded() { LD_LIBRARY_PATH=$bin LD_PRELOAD=libpower_record.so OBSCURAFS_POWER_LOG=$log OBSCURAFS_POWER_ROOT=$disk "$@"; }
quick() { LD_LIBRARY_PATH=$bin LD_PRELOAD=libpower_record.so "$@"; }

# The load writes what it was promised to a file at the top of the disk: the recorder has it in its place among the daemon's calls.
record() {
  local pid worker
  : >"$log"
  recorded "$obscurafs" init -q --passfile "$work/pass" --code-file "$work/code" "$disk/vault" || return 1
  recorded "$obscurafs" mount --passfile "$work/pass" "$disk/vault" "$m" || return 1
  pid=$("$obscurafs" status --json "$m" | sed 's/.*"pid":\([0-9]*\).*/\1/')
  recorded python3 "$load" run "$m/load" "$disk/promises" "$seed" >"$work/load.log" 2>&1 &
  worker=$!
  wait_for 20 grep -q ready "$work/load.log" || return 1
  # enough to have been promised, also more than one commit of the index
  wait_for 20 bash -c "[[ \$(grep -c ^done '$disk/promises') -gt 120 ]]" || return 1
  : >"$log.die" # it dies at once, but with its last call in the log
  wait_for 20 bash -c "! kill -0 $pid" || return 1
  wait "$worker"
  "$obscurafs" umount "$m"
}

check "a mount is recorded" record
check "the log explains the directory" "$bin/power_state" --compare "$log" "$disk"
for ((round = 1; round <= rounds; round++)); do
  rm -rf "$disk"
  mkdir "$disk"
  cut=$("$bin/power_state" "$log" "$((seed * 1000 + round))" "$disk") || { bad "round $round: no state"; continue; }
  check "round $round: check ($cut)" quick "$obscurafs" check -q --passfile "$work/pass" "$disk/vault"
  check "round $round: mount ($cut)" quick "$obscurafs" mount --passfile "$work/pass" "$disk/vault" "$m" || continue
  check "round $round: what is there ($cut)" python3 "$load" verify "$m/load" "$disk/promises"
  check "round $round: umount" "$obscurafs" umount "$m"
done
