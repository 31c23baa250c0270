# SPDX-License-Identifier: BSD-2-Clause
# Sourced by the tests that run ffmpeg: a case prints "ok NAME" or, after what it saw, "FAIL NAME"; both are counted.
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
passed=0
failed=0

ok() {
    echo "ok $1"
    passed=$((passed + 1))
}
# fail NAME LINE...
fail() {
    failed_name=$1
    shift
    printf '  %s\n' "$@"
    echo "FAIL $failed_name"
    failed=$((failed + 1))
}
# equal NAME GOT WANT
equal() {
    if [ "$2" = "$3" ]; then ok "$1"; else fail "$1" "got:      $2" "expected: $3"; fi
}
# differ NAME A B
differ() {
    if [ -n "$2" ] && [ "$2" != "$3" ]; then ok "$1"; else fail "$1" "twice the same: $2"; fi
}
