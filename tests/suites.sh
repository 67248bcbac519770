# Sourced by ./test: the suites, in the order in which they run. A suite is a function suite_NAME; it may print any number of lines
# "N passed, N failed[, N skipped]", which are added up. $here, $build, $obscurafs come from .ci/setup.sh.
# shellcheck shell=bash

suites=(unit format attacks posix real_tree remote_changes leaks bad_input fstab crash random_ops power_cut disk_full webdav_s3 tidy gcc_clang sanitize)
declare -A suite_limit=([power_cut]=600 [unit]=900 [sanitize]=1500 [gcc_clang]=900 [webdav_s3]=400 [tidy]=900)

# count_results LOG: sums the result lines.
count_results() {
  awk 'match($0, /^([A-Za-z0-9_\/ .-]+: )?[0-9]+ passed, [0-9]+ failed/) {
         s = $0; sub(/^[^0-9]*: /, "", s)
         n = split(s, w, /[ ,]+/)
         for (i = 1; i < n; i++) { if (w[i+1] == "passed") p += w[i]; if (w[i+1] == "failed") f += w[i]; if (w[i+1] == "skipped") k += w[i] }
       } END { print p + 0, f + 0, k + 0 }' "$1"
}

# Runs meson's tests of a build folder one program after the other and shows their result lines; fails if one fails.
run_meson_tests() {
  local dir=$1 rc=0
  shift
  meson test -C "$dir" --no-rebuild --print-errorlogs --num-processes 2 "$@" >"$dir/meson-test.log" 2>&1 || rc=$?
  tail -60 "$dir/meson-test.log"
  grep -aE '^[0-9]+ passed, [0-9]+ failed' "$dir/meson-logs/testlog.txt"
  return $rc
}

suite_unit() { run_meson_tests "$build"; }

# obscurafs-format(5) against the code: a second reader written from it, tags, frozen values.
suite_format() { OBSCURAFS=$obscurafs "$here/tests/fs/second_reader.sh"; }

# What a hostile store can do, as a person would see it.
suite_attacks() { OBSCURAFS=$obscurafs "$here/tests/sync/attacks.sh"; }

# POSIX, operation by operation and errno by errno, in a mount.
suite_posix() { OBSCURAFS=$obscurafs "$here/tests/fs/run_posix.sh" "$build/tests/fs/posix_battery"; }

# git and odd names in the mount, and the same on a second device made from the store.
suite_real_tree() { OBSCURAFS=$obscurafs "$here/tests/fs/real_tree.sh"; }

# What other devices did shows in a mount, also in files that are open, and what programs write meanwhile is kept.
suite_remote_changes() { OBSCURAFS=$obscurafs "$here/tests/fs/remote_changes.sh"; }

# Nothing readable leaves the mount; sizes on the store say nothing.
suite_leaks() { OBSCURAFS=$obscurafs "$here/tests/fs/leaks.sh"; }

# What bad input gets: one line, the right exit code, nothing lost.
suite_bad_input() { OBSCURAFS=$obscurafs "$here/tests/fs/bad_input.sh"; }

# Mounting the way mount(8) and systemd do.
suite_fstab() { OBSCURAFS=$obscurafs "$here/tests/fs/fstab.sh"; }

# kill -9 under load.
suite_crash() { OBSCURAFS=$obscurafs "$here/tests/fs/crash.sh"; }

# Random operations against a model, by several processes; mounted again, caches dropped, killed between.
suite_random_ops() { OBSCURAFS=$obscurafs "$here/tests/fs/random_ops.sh" "$build/tests/fs/random_ops"; }

# Power cuts: writes lost, torn or reordered, at any point.
suite_power_cut() { OBSCURAFS=$obscurafs "$here/tests/fault/power_cut.sh"; }

# A full disk: writes are refused, deleting works, nothing is lost, and it goes on.
suite_disk_full() { OBSCURAFS=$obscurafs "$here/tests/fs/disk_full.sh"; }

# Push, clone and resume with real servers over a bad network.
suite_webdav_s3() { OBSCURAFS=$obscurafs "$here/tests/sync/webdav_s3.sh"; }

# The sources, looked at without running them.
suite_tidy() { "$here/tests/tidy.sh" "$build"; }

# Both compilers, all warnings, no unchecked result.
suite_gcc_clang() {
  CC=clang build_in "$build_root/build-clang" -Dwerror=true && echo "1 passed, 0 failed"
}

# The unit tests again under address and undefined-behaviour sanitizers.
suite_sanitize() {
  CC=clang build_in "$build_root/build-asan" -Dwerror=true -Db_sanitize=address,undefined -Db_lundef=false &&
    OBSCURAFS_TEST_SEEDS=4 ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
      run_meson_tests "$build_root/build-asan" --timeout-multiplier 4 --no-suite servers
}
