#!/usr/bin/env bash
# Looks at the sources without running them: format, warnings of cppcheck and clang-tidy, the manual pages, the shell scripts.
# tidy.sh BUILD    BUILD: a build folder that was set up by meson (its compile_commands.json is read)
set -uo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
build=$(cd "${1:?usage: tidy.sh BUILD}" && pwd)
cd "$here" || exit 1
passed=0 failed=0 skipped=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# look WHAT TOOL COMMAND ...: the command must succeed and say nothing.
look() {
  local what=$1 tool=$2
  shift 2
  if ! command -v "$tool" >/dev/null; then
    skipped=$((skipped + 1))
    echo "skipped: $what: $tool is not installed"
  elif "$@" >"$log" 2>&1 && [[ ! -s $log ]]; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "failed: $what"
    head -40 "$log"
  fi
}
own() { find crypto fs sync cli tests -name "$1" -not -path '*/.*' -print0 | sort -z; }
format() { own '*.[ch]' | xargs -0 clang-format --dry-run -Werror; }
# Not the error "Uninitialized": it does not see that what a function that failed has not set is not read.
lint_c() {
  cppcheck -j2 --quiet --std=c11 --language=c --enable=warning,portability --inline-suppr --error-exitcode=1 \
    --suppress=missingIncludeSystem --suppress=uninitvar --suppress=legacyUninitvar --suppress=uninitStructMember \
    --suppress='memleak:sync/http.c' -I. -D_GNU_SOURCE crypto fs sync cli
}
# What it counts and suppresses is no finding.
tidy() {
  find crypto fs sync cli -name '*.c' -print0 | sort -z | xargs -0 -P2 -n6 clang-tidy -p "$build" --quiet 2>&1 |
    sed '/^[0-9]* warnings* generated\.$/d; /^Suppressed /d; /^Use -header-filter/d'
}
manual() { mandoc -T lint -W warning man/*.[1-9]; }
scripts() { { own '*.sh'; printf '%s\0' run test .ci/*.sh cli/*.sh; } | sort -zu | xargs -0 shellcheck -S error -s bash; }

look "clang-format" clang-format format
look "cppcheck" cppcheck lint_c
look "clang-tidy" clang-tidy tidy
look "mandoc" mandoc manual
look "shellcheck" shellcheck scripts
printf '%d passed, %d failed' "$passed" "$failed"
[[ $skipped -gt 0 ]] && printf ', %d skipped' "$skipped"
printf '\n'
[[ $failed -eq 0 ]]
