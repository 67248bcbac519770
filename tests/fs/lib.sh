# Sourced by the scripts of tests/fs and tests/sync that use obscurafs as a person would.
# A private directory, mounts taken off at the end, checks that are counted.
# shellcheck shell=bash

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
obscurafs=${OBSCURAFS:-$here/build/cli/obscurafs}
export OBSCURAFS_TEST_FAST_KDF=1
work=$(mktemp -d "${TMPDIR:-/tmp}/obscurafs test.XXXXXX")
export XDG_RUNTIME_DIR=$work/run
mkdir -m 700 "$work/run"
passed=0 failed=0 skipped=0
at_end=() # commands for the end, run in reverse order

end() {
  local rc=$? i m
  # a script that bash gave up has not made all its checks
  [[ $rc -eq 0 ]] || bad "the script ended early, with $rc"
  # deepest first; a mount whose process was killed is taken off lazily
  while read -r m; do
    "$obscurafs" umount --no-wait "$m" >/dev/null 2>&1 || fusermount3 -uz "$m" 2>/dev/null || umount -l "$m" 2>/dev/null
  done < <(awk -v w="$work" '{gsub(/\\040/, " ", $5); if (index($5, w) == 1) print $5}' /proc/self/mountinfo | sort -r)
  for ((i = ${#at_end[@]} - 1; i >= 0; i--)); do eval "${at_end[i]}"; done
  rm -rf "$work"
  printf '%d passed, %d failed' "$passed" "$failed"
  [[ $skipped -gt 0 ]] && printf ', %d skipped' "$skipped"
  printf '\n'
  [[ $failed -eq 0 && $((passed + skipped)) -gt 0 ]] || exit 1
  exit 0
}
trap end EXIT
trap 'exit 1' INT TERM HUP

ok() { passed=$((passed + 1)); }
bad() { failed=$((failed + 1)); printf 'failed: %s\n' "$*" >&2; }
skip() { skipped=$((skipped + 1)); printf 'skipped: %s\n' "$*" >&2; }
# check WHAT COMMAND ...: counts whether the command succeeds.
check() {
  local what=$1
  shift
  if "$@" >"$work/check.log" 2>&1; then ok; else bad "$what"; tail -15 "$work/check.log" >&2; fi
}
# check_not WHAT COMMAND ...: counts whether it fails.
check_not() {
  local what=$1
  shift
  if "$@" >"$work/check.log" 2>&1; then bad "$what"; tail -15 "$work/check.log" >&2; else ok; fi
}
same() { [[ $2 == "$3" ]] && ok || bad "$1: '$2', expected '$3'"; }
# expect CODE PATTERN COMMAND ...: the exit code, one line on standard error that matches, nothing else there.
expect() {
  local code=$1 pattern=$2 rc=0 lines
  shift 2
  "$@" >"$work/out" 2>"$work/err" </dev/null || rc=$?
  lines=$(wc -l <"$work/err")
  if [[ $rc -eq $code ]] && { [[ -z $pattern ]] || { [[ $lines -eq 1 ]] && grep -q -- "$pattern" "$work/err"; }; }; then
    ok
  else
    bad "exit code $rc (expected $code), $lines lines (expected 1 with '$pattern'): $*"
    head -5 "$work/err" >&2
  fi
}
# wait_for SECONDS COMMAND ...: until it succeeds.
wait_for() {
  local limit=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [[ $SECONDS -lt $limit ]] || return 1
    sleep 0.05
  done
}

echo 'garden gate under third stone' >"$work/pass"
# new_vault NAME: makes $work/NAME with its code in $work/NAME.code.
new_vault() { "$obscurafs" init -q --passfile "$work/pass" --code-file "$work/$1.code" "$work/$1"; }
# mount_vault NAME [options]: at $work/NAME.mnt.
mount_vault() {
  local name=$1
  shift
  mkdir -p "$work/$name.mnt"
  "$obscurafs" mount --passfile "$work/pass" "$@" "$work/$name" "$work/$name.mnt"
}
umount_vault() { "$obscurafs" umount "$work/$1.mnt"; }
# The process that serves a mount.
pid_of() { "$obscurafs" status --json "$work/$1.mnt" | sed 's/.*"pid":\([0-9]*\).*/\1/'; }
# new_store NAME VAULT: a folder store.
new_store() { mkdir -p "$work/$1" && "$obscurafs" store add --passfile "$work/pass" "$work/$2" "file://$work/$1"; }
# clone_vault STORE VAULT NAME: a second device from a folder store.
clone_vault() { "$obscurafs" clone -q --passfile "$work/pass" --code-file "$work/$2.code" "file://$work/$1" "$work/$3"; }
# same_tree A B: contents, names, times, modes, links, xattrs, sparse files.
same_tree() {
  local flags=-naciH out
  [[ $(id -u) -eq 0 ]] && flags=-naciHX
  out=$(rsync $flags --delete "$1/" "$2/" 2>&1) && [[ -z $out ]] || { printf '%s\n' "$out" | head -20; return 1; }
}
