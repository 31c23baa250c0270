# SPDX-License-Identifier: BSD-2-Clause
# Sourced by the tests in shell; those that run ffmpeg set $ffmpeg: a case prints "ok NAME" or, after what it saw, "FAIL NAME"; both are
# counted. A case must be called by the shell that sources this, not in a pipe: what a subshell counts is lost.
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
# equal NAME GOT WANT: two texts; nothing and what a failed run leaves are equal to nothing
equal() {
    case $2$3 in
    *"$failure"*) fail "$1" "got:      $2" "expected: $3"; return ;;
    esac
    case $2 in
    *[![:space:]]*) [ "$2" = "$3" ] && { ok "$1"; return; } ;;
    esac
    fail "$1" "got:      $2" "expected: $3"
}
# check NAME COMMAND...: one that ends with status 0; else what it said
check() {
    check_name=$1
    shift
    if "$@" > "$tmp/log" 2>&1; then ok "$check_name"; else fail "$check_name" "$(cat "$tmp/log")"; fi
}
# lora FILE TENSOR N: a LoRA file of one tensor, N numbers of 0.747
lora() {
    lora_header="{\"$2\":{\"dtype\":\"F32\",\"shape\":[$3],\"data_offsets\":[0,$((4 * $3))]}}"
    {
        # shellcheck disable=SC2059
        printf "\\$(printf '%03o' ${#lora_header})\\0\\0\\0\\0\\0\\0\\0"
        printf '%s' "$lora_header"
        head -c $((4 * $3)) /dev/zero | tr '\0' '?'
    } > "$1"
}
# empty NAME TEXT
empty() {
    if [ -z "$2" ]; then ok "$1"; else fail "$1" "got:      $2" "expected: nothing"; fi
}
# is_sum TEXT: one checksum and nothing else
is_sum() {
    expr "$1" : 'MD5=[0-9a-f]\{32\}$' > /dev/null
}
# differ NAME SUM SUM...: checksums, no two of them the same; what a failed run leaves is none
differ() {
    differ_name=$1
    shift
    for sum; do
        is_sum "$sum" || { fail "$differ_name" "no checksum: $sum"; return; }
    done
    if [ $# -ge 2 ] && [ "$(printf '%s\n' "$@" | sort -u | wc -l)" -eq $# ]; then
        ok "$differ_name"
    else
        fail "$differ_name" "the same:" "$@"
    fi
}

# what a run that failed leaves in place of its result: no case takes it for one
failure=ffmpeg-failed
# run OPTION...: ffmpeg; what it says goes to $tmp/err
run() {
    "$ffmpeg" -hide_banner -nostdin -y -v error "$@" 2> "$tmp/err"
}
# made OPTION...: as run, for its output
made() {
    run "$@" || echo "$failure: status $?: $(head -n 2 "$tmp/err")"
}
# sum OPTION...: one checksum over all frames
sum() {
    made "$@" -f hash -hash md5 -
}
# frames OPTION...: number, time, duration, bytes and checksum of each frame
frames() {
    made "$@" -f framecrc - > "$tmp/framecrc"
    grep -q '^#' "$tmp/framecrc" || echo "$failure: no header" >> "$tmp/framecrc"
    grep "$failure" "$tmp/framecrc" || grep '^0,' "$tmp/framecrc" | tr -d ' '
}
# count OPTION...: how many frames come out
count() {
    frames "$@" > "$tmp/frames"
    grep "$failure" "$tmp/frames" || grep -c . "$tmp/frames"
}
# has KIND NAME...: ffmpeg -KINDs lists each
has() {
    has_kind=$1
    shift
    # a name is the second word, where it has no properties before it the only one
    "$ffmpeg" -hide_banner -v error "-${has_kind}s" | awk '{ print $(NF > 1 ? 2 : 1) }' | tr , '\n' | sort -u > "$tmp/list"
    has_not=
    for name; do
        grep -qx "$name" "$tmp/list" || has_not="$has_not $name"
    done
    equal "$has_kind: all of $#" "lacks:$has_not" "lacks:"
}
# write FILE OPTION...: FILE is what ffmpeg makes, and where that fails there is none
write() {
    file_made=$1
    shift
    rm -f "$file_made"
    run "$@" "$file_made" || { rm -f "$file_made"; echo "  $failure: $(head -n 2 "$tmp/err")" >&2; }
}

# poison FILE TENSOR [huge]: make 16 values of an f32 tensor in a safetensors file NaN, or so large that sums of them are
poison() {
    size=$(head -c 8 "$1" | od -A n -t u8 | tr -d ' ')
    at=$(tail -c +9 "$1" | head -c "$size" | grep -o "\"$2\":[^}]*}" | sed 's/.*\[ *\([0-9]*\), *[0-9]* *\] *}$/\1/')
    bytes='\377\377\377\377'
    [ $# -lt 3 ] || bytes='\377\377\141\177'
    # shellcheck disable=SC2059
    printf "$bytes%.0s" 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 | dd of="$1" bs=1 seek=$((8 + size + at)) conv=notrunc 2> /dev/null
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

# small_model DIRECTORY OPTION...: one by tdsynth of "$dir", whose weights say nothing, with a small clip as its own
small_model() {
    model_dir=$1
    shift
    "$dir/tdsynth" --preset=tiny --spiece="$(dirname "$0")/../data/spiece.model" "$@" "$model_dir" 2> "$tmp/err" || fail "a small model" "$(cat "$tmp/err")"
    printf 'width = 48\nheight = 32\nframes = 9\ntopk = 1\n' > "$model_dir/turbodiff.conf"
}
