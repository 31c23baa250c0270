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

# interrupted NAME PID LOG: SIGINT to a child; it has to end within a second, with status 255
interrupted() {
    start=$(date +%s%N)
    if ! kill -INT "$2" 2> /dev/null; then
        wait "$2"
        fail "$1" "ended before it could be interrupted, status $?" "$(tail -n 3 "$3")"
        return
    fi
    wait "$2"
    code=$?
    ms=$((($(date +%s%N) - start) / 1000000))
    if [ $code -eq 255 ] && [ $ms -lt 1000 ]; then ok "$1 ($ms ms)"; else fail "$1" "status $code after $ms ms"; fi
}

# refused NAME PATTERN ADDED CODE: the filter wrote one line, with PATTERN, to $tmp/err; ADDED: what FFmpeg adds to it.
# CODE is no success, nor the death by a signal of abort(), a bus error, a kill or a segmentation fault.
refused() {
    grep -i 'turbodiff' "$tmp/err" | grep -v "$3" > "$tmp/lines"
    case $4 in
    0|134|135|137|139) ;;
    *)
        if [ "$(grep -c . "$tmp/lines")" = 1 ] && grep -q "$2" "$tmp/lines"; then
            ok "error: $1"
            return
        fi ;;
    esac
    fail "error: $1" "status $4, expected one line with '$2':" "$(cat "$tmp/err")"
}
