#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# td and ffmpeg on a GPU whose memory another program holds: memory.sh BUILD MODEL
#
# 1. BUILD holds td, tests/gpu/hog, libturbodiff-cuda.so and, if it is to be tested, ffmpeg. MODEL is small.
# 2. Cases print "ok NAME", "FAIL NAME" after what was seen, or "skip NAME (why)"; the last line has the counts.
# 3. Of several GPUs the first one, or what CUDA_VISIBLE_DEVICES says.
# 4. What a context takes for itself differs from GPU to GPU: 64 MiB are too few for one, 4 GiB are plenty.
set -u
LC_ALL=C
build=$(realpath "$1")
model=$(realpath "$2")
ln -sfn "$build/libturbodiff-cuda.so" "$build/tests/gpu/" || exit 1   # a program finds the module beside itself
CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES:-0}  # no other card to go to
export LC_ALL CUDA_VISIBLE_DEVICES
. "$(dirname "$0")/../fate/cases.sh"

# hog MIB: leave that much, until let_go
hog() {
    rm -f "$tmp/held"
    mkfifo "$tmp/held"
    "$build/tests/gpu/hog" "$1" < "$tmp/held" > "$tmp/hog" 2>&1 &
    hog=$!
    exec 9> "$tmp/held"
    waited=0
    until grep -q . "$tmp/hog" || [ $waited -ge 300 ] || ! kill -0 $hog 2> /dev/null; do
        sleep 0.1
        waited=$((waited + 1))
    done
    grep -q ' MiB left' "$tmp/hog" || fail "hold the GPU's memory" "$(cat "$tmp/hog")"
}
let_go() {
    exec 9>&-
    wait $hog
}
# td_run NAME OPTION...: frames to $tmp/out, lines to $tmp/err; prints the exit status
td_run() {
    rm -f "$tmp/out"
    timeout 60 "$build/td" "$@" "$model" "a cat" "$tmp/out" 2> "$tmp/err" 9>&-
    echo $?
}
# td_refused NAME STATUS PATTERN: status 1, one error line that says how much is free, no frame
td_refused() {
    if [ "$2" = 1 ] && [ "$(grep -c '^error: ' "$tmp/err")" = 1 ] && grep '^error: ' "$tmp/err" | grep -q "$3" &&
        [ ! -s "$tmp/out" ]; then
        ok "$1"
        [ -z "${TD_VERBOSE-}" ] || sed 's/^/  /' "$tmp/err"
    else
        fail "$1" "status $2, $(wc -c < "$tmp/out") bytes, expected one error line with '$3':" "$(cat "$tmp/err")"
    fi
}
# ff_run SIZE FRAMES: a clip to $tmp/out.mkv, lines to $tmp/err
ff_run() {
    rm -f "$tmp/out.mkv"
    timeout 60 "$build/ffmpeg" -hide_banner -nostdin -y -v error -filter_complex \
        "turbodiff=model=$model:prompt=a cat:s=$1:frames=$2:steps=1:seed=1:backend=cuda,format=yuv420p" \
        -c:v rawvideo "$tmp/out.mkv" 2> "$tmp/err" 9>&-
}
# ff_refused NAME PATTERN: as td_refused, with the lines that FFmpeg adds
ff_refused() {
    ff_run 2048x2048 81
    code=$?
    refused "$1" "$2" 'Failed to configure output\|Error opening input\|^Error \|Error .*filter' $code
    empty "$1: no file" "$(test -s "$tmp/out.mkv" && echo "a file of $(wc -c < "$tmp/out.mkv") bytes")"
}

none='cuda: the GPU is out of memory\|for kernels and their stacks wanted\|are [0-9]* more than the free [0-9]*'
big="-s 2048x2048 -n 509 -i 1"
small="-s 320x192 -n 17 -i 1 -r 1"
# options are lists
# shellcheck disable=SC2086
{
    code=$(td_run -B cuda $small)
    equal "td: with all memory" "$code" 0
    want=$(md5sum < "$tmp/out")
    hog 64
    code=$(td_run -B cuda $small)
    td_refused "td: no memory for a context" "$code" "$none"
    code=$(td_run -s 32x32 -n 1 -i 1)
    equal "td: no memory for a context, backend=auto takes the CPU" "$code $(grep -c '^warning: the CPU makes the clip, which takes about .*: device 0 ' "$tmp/err")" "0 1"
    if [ -x "$build/ffmpeg" ]; then
        ff_refused "ffmpeg: no memory for a context" "$none"
    fi
    let_go
    hog 4096
    code=$(td_run -B cuda $big)
    td_refused "td: no memory for a clip" "$code" 'clip: .* are [0-9]* more than the free [0-9]*'
    code=$(td_run -B cuda $small)
    equal "td: room for a small clip" "$code $(md5sum < "$tmp/out")" "0 $want"
    if [ -x "$build/ffmpeg" ]; then
        ff_refused "ffmpeg: no memory for a clip" 'clip: .* are [0-9]* more than the free [0-9]*'
        ff_run 320x192 17
        equal "ffmpeg: room for a small clip" "$?" 0
    fi
    let_go
    code=$(td_run -B cuda $small)
    equal "td: memory is back" "$code $(md5sum < "$tmp/out")" "0 $want"
}
echo "gpu memory: $passed passed, $failed failed"
[ $failed -eq 0 ]
