#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# What make check-gpu prints and counts, on a machine without a GPU: card.sh BUILD
#
# 1. GPUs are claimed (tests/cards/module.c), and compute with the CPU's kernels. Programs that only a GPU can run, or that
#    would take long, are scripts in their places; each of them, and each real one, fails once.
set -u
LC_ALL=C
export LC_ALL
build=$(realpath "$1")
. "$(dirname "$0")/../fate/cases.sh"
. "$(dirname "$0")/../cards/place.sh"
place "$build" "$build/td" "$build/tdsynth"
mkdir -p "$here/tests/gpu"
unset CUDA_VISIBLE_DEVICES

# script PROGRAM LINE...: a shell script of these lines in the program's place
script() {
    script_at=$here/$1
    shift
    rm -f "$script_at"
    printf '%s\n' '#!/bin/sh' "$@" > "$script_at"
    chmod +x "$script_at"
}
# programs: those that do their work; of the clip smaller pictures, as its time is limited
programs() {
    cp -L "$build/tdsynth" "$here/"
    cp -L "$build/td" "$here/td-real"
    script td "case \$1 in -V|--devices) exec '$here/td-real' \"\$@\" ;; esac" "exec '$here/td-real' --size=64x48 \"\$@\""
    cp -L "$build/tests/gpu/stage" "$build/tests/gpu/ops" "$here/tests/gpu/"
    script checkops 'test "$*" = "--impl=cuda --fills=1" && echo "ok linear: a" && echo "ok attn: b"'
    script tests/gpu/peak 'if [ $# -gt 0 ]; then echo "7 multiprocessors, 8 MHz"; else echo "int8 100"; echo "bf16 50"; echo "f16 50"; echo "f16-sums-f16 25"; echo "e4m3-sums-f16 50"; fi'
}
# quick: and a clip without computing it
quick() {
    script td "case \$1 in -V|--devices) exec '$here/td-real' \"\$@\" ;; esac" 'while [ "$1" != -j ]; do shift; done' \
        'echo "{\"width\": 1, \"height\": 2, \"frames\": 3, \"wall_seconds\": 4.5}" > "$2"' \
        'for out; do :; done' 'echo frames > "$out"'
}
# quicker: nor anything else
quicker() {
    quick
    script tests/gpu/ops 'echo "product-up 2 int8=100"'
    script tests/gpu/stage 'echo "ms 3 2"; echo "MiB 1"'
}
# card SIZE...: the status; lines in $tmp/out and $tmp/err, the last one in $last
card() {
    TMPDIR=$tmp timeout 300 tests/gpu/card.sh "$here" tiny "$@" > "$tmp/out" 2> "$tmp/err"
    code=$?
    last=$(tail -n 1 "$tmp/out")
}
# alone NAME PATTERN: status 1, one line with PATTERN, and no table
alone() {
    if [ $code -eq 1 ] && [ "$(grep -c . "$tmp/err")" = 1 ] && grep -q "^check-gpu: $2" "$tmp/err" && ! [ -s "$tmp/out" ]; then
        ok "$1"
    else
        fail "$1" "status $code, expected one line with '$2':" "$(cat "$tmp/err" "$tmp/out")"
    fi
}

programs
claim rtx4090:24000:20000
card 64x48x5
equal "all is well" "$code $last $(wc -c < "$tmp/err")" "0 gpu: 8 passed, 0 failed 0"
check "the card" grep -x 'card  *Claimed rtx4090, 20.97 GB free of 25.17 GB, compute capability 8.9, driver 999.10' "$tmp/out"
check "what it is" grep -x ' *7 multiprocessors, 8 MHz' "$tmp/out"
check "its kernels" grep -x 'kernels  *portable' "$tmp/out"
check "operations" grep -x 'operations as on the CPU  *2 of 2' "$tmp/out"
check "the size" grep '^at 64x48x5 ' "$tmp/out"
for name in "int8 product, 1536 to 8960" "int8 product, 8960 to 1536" "conv3d, 4 pictures, 96 channels"; do
    check "a row with a share: $name" grep -x "$name  *[0-9.]*, [0-9.]* TOPS, [0-9]* %" "$tmp/out"
done
check "a step" grep -x 'a step of the tiny, 64x48x5  *[0-9.]* ms, [0-9]* MiB of the card in use' "$tmp/out"
check "a decode" grep -x 'decode, 64x48x5  *[0-9.]* ms, [0-9]* MiB of the card in use' "$tmp/out"
check "a clip" grep -x 'clip of the demo model  *[0-9]*x[0-9]*x17: [0-9.]* s' "$tmp/out"
check "how long it took" grep -x 'took [0-9]* s' "$tmp/out"
equal "nothing is left" "$(find "$tmp" -mindepth 1 -name card-model -o -mindepth 1 -name 'tmp.*' | grep -c .)" 0

# ---- shares ----

quicker
script tests/gpu/ops 'echo "product-up 2 int8=100000000000"; echo "product-down 1 int8=100000000000"; echo "attention 3 int8=1 pv=1"' \
    'echo "sage 4 int8=100000000000 pv=100000000000"; echo "conv3d 0 bf16=1"'
card 64x48x5
equal "shares are of each type's peak, by its operations" "$(sed -n 's/^int8 product, [0-9 to]*  *//p; s/^of it sage.*more of the keys  *//p; s/^conv3d.*channels  *//p' "$tmp/out")" \
    "2, 50.0 TOPS, 50 %
1, 100.0 TOPS, 100 %
4, 50.0 TOPS, 75 %
0, no time that can be told"
claim rtx3090:24000:20000
card 64x48x5
check "P V in f16 before 8.9" grep -x 'of it sage.*  *4, 50.0 TOPS, 125 %' "$tmp/out"
claim h100:80000:70000
card 64x48x5
check "a card with kernels of its own" grep "^kernels  *Hopper's" "$tmp/out"

# ---- memory ----

programs
quick
claim rtx4090:1000:40
card 320x192x9 64x48x5
equal "a size that there is no memory for gives way to a smaller one" "$code $(grep -c '^at 64x48x5 ' "$tmp/out") $last" \
    "0 1 gpu: 8 passed, 0 failed"
card 640x384x9 320x192x9
equal "and where there is none, that is a failure" "$code $(grep -c '^large operations  *FAILED (status 1): .*bytes for .* wanted' "$tmp/out")" "1 1"

# ---- failures are counted ----

# failing NAME FAILED PATTERN: after its script is in place
failing() {
    card 64x48x5
    if [ $code -eq 1 ] && expr "$last" : "gpu: [0-9]* passed, $2 failed\$" > /dev/null && grep -q "$3" "$tmp/out"; then
        ok "$1"
    else
        fail "$1" "status $code, $last, expected $2 failures and '$3':" "$(cat "$tmp/out")"
    fi
    programs
    quicker
}
claim rtx4090:24000:20000
quicker
script checkops 'echo "ok a: b"; echo "FAIL c: d"; exit 1'
failing "an operation fails" 1 '^FAIL c: d$'
script checkops 'echo "ok a: b"; kill -SEGV $$'
failing "operations end in a crash" 1 '^operations as on the CPU  *FAILED (status 139)'
script checkops 'exit 0'
failing "no operation is checked" 1 '^operations as on the CPU  *FAILED .*no operation'
script tests/gpu/peak '[ $# -gt 0 ] && exit 0; echo "peak: none" >&2; exit 1'
failing "mma.sync" 1 '^mma.sync  *FAILED (status 1): peak: none$'
cp -L "$build/tests/gpu/stage" "$here/tests/gpu/"
script tdsynth 'echo "no room" >&2; exit 1'
failing "no weights" 3 '^random weights of the tiny  *FAILED (status 1): no room$'
script tests/gpu/ops 'echo "product-up 2 int8=100"; echo "ops: what" >&2; exit 1'
failing "large operations" 1 '^large operations  *FAILED (status 1): ops: what$'
script tests/gpu/stage 'echo "stage: what" >&2; exit 1'
failing "networks" 2 '^decode  *FAILED (status 1): stage: what$'
script td 'case "$1" in -V) echo "td 0" ;; --devices) echo "device 0: X, 1 GB free of 1 GB, compute capability 8.9" ;; *) exit 0 ;; esac'
failing "a clip without pictures" 1 '^clip of the demo model  *FAILED (status 1): no pictures$'

# ---- no card ----

claim none
card 64x48x5
alone "no GPU" "no GPU: no usable GPU"
claim olddriver
card 64x48x5
alone "a driver that is too old" "no GPU: the driver supports CUDA 11.4"
claim rtx3090:1000:900:old
card 64x48x5
alone "a card that is too old" "Claimed rtx3090, .*cannot be used: it has compute capability 7.5"
take_module
card 64x48x5
alone "no module" "$here has no libturbodiff-cuda.so"

echo "card: $passed passed, $failed failed"
[ $failed -eq 0 ]
