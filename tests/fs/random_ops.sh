#!/usr/bin/env bash
# The random-operation tester in a mount: as it is; with the mount taken off and put back between, and (as root) caches dropped; and with
# the serving process killed at random moments.
# usage: random_ops.sh PROGRAM      PROGRAM: random_ops of the build
# OBSCURAFS_TEST_SEED: one seed instead of the fixed ones and a fresh one. OBSCURAFS_TEST_SECONDS: a long run of about that time, a fresh seed every
# minute. OBSCURAFS_TEST_KILLS: only the kills, so many.
set -u
. "$(dirname "$0")/lib.sh"
program=$(realpath "$1")
m=$work/v.mnt
fresh=${OBSCURAFS_TEST_SEED:-$((RANDOM * 32768 + RANDOM + 1))}

# What the tester runs between: the server ends, or was killed, and another one serves the same.
cat >"$work/remount" <<END
#!/usr/bin/env bash
"$obscurafs" umount "$m" || { [[ \$1 == killed ]] && fusermount3 -uz "$m" 2>/dev/null; }
if [[ \$1 == killed ]]; then
  "$obscurafs" check -q --passfile "$work/pass" "$work/v" >/dev/null || exit 1
fi
"$obscurafs" mount --passfile "$work/pass" "$work/v" "$m"
END
cat >"$work/kill" <<END
#!/usr/bin/env bash
pid=\$("$obscurafs" status --json "$m" | sed 's/.*"pid":\([0-9]*\).*/\1/')
[[ -n \$pid ]] && kill -9 "\$pid" || exit 1
while kill -0 "\$pid" 2>/dev/null; do sleep 0.01; done
END
cat >"$work/drop" <<END
#!/usr/bin/env bash
sync -f "$m"
echo 3 >/proc/sys/vm/drop_caches
END
chmod +x "$work/remount" "$work/kill" "$work/drop"

# run WHAT [options]: one run; what it printed is shown if it fails.
run() {
  local what=$1
  shift
  if "$program" "$@" "$m" >"$work/run.log" 2>&1; then
    ok
    printf '%s: %s\n' "$what" "$(grep -E '^seed|operations' "$work/run.log" | tr '\n' ' ')"
  else
    bad "$what: random_ops $*"
    tail -90 "$work/run.log" >&2
    return 1
  fi
}

# Directories of a run that failed would be in the way of the next one.
start_over() {
  umount_vault v >/dev/null 2>&1 || fusermount3 -uz "$m"
  rm -rf "$work/v"
  new_vault v && mount_vault v
}

kills() { run "$1 kills" --seed "$fresh" --rounds "$1" --kill "'$work/kill'" --between "'$work/remount' killed"; }

# A minute or less with one seed, each of the three ways.
minute() {
  run "as it is" --seed "$1" --seconds "$2" || start_over
  run "mounted again and again" --seed $(($1 + 1)) --seconds "$2" --between "'$work/remount' clean" --between-ops 3000 || start_over
  if [[ -w /proc/sys/vm/drop_caches ]]; then
    run "caches dropped" --seed $(($1 + 2)) --seconds "$2" --between "'$work/drop'" --between-ops 1000 || start_over
  fi
}

new_vault v && mount_vault v || exit 1
if [[ -n ${OBSCURAFS_TEST_KILLS:-} ]]; then
  kills "$OBSCURAFS_TEST_KILLS"
elif [[ -n ${OBSCURAFS_TEST_SECONDS:-} ]]; then
  end=$((SECONDS + OBSCURAFS_TEST_SECONDS))
  for ((seed = fresh; SECONDS < end; seed += 3)); do minute "$seed" 20; done
  kills $((OBSCURAFS_TEST_SECONDS / 20 + 1))
else
  for seed in ${OBSCURAFS_TEST_SEED:-1 2 3 4}; do
    run "fixed" --seed "$seed" --ops 2500 || start_over
  done
  run "fresh" --seed "$fresh" --ops 2500 || start_over
  run "mounted again" --seed "$fresh" --ops 2400 --between "'$work/remount' clean" --between-ops 800 || start_over
  [[ -w /proc/sys/vm/drop_caches ]] && { run "caches dropped" --seed "$fresh" --ops 2000 --between "'$work/drop'" --between-ops 500 || start_over; }
  kills 4
fi
check "umount" umount_vault v
check "check" "$obscurafs" check -q --passfile "$work/pass" "$work/v"
