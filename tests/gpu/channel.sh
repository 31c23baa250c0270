#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# A channel on real GPUs: channel.sh BUILD MODEL [BIG_MODEL [two]]
#
# 1. BUILD has ffmpeg, libturbodiff-cuda.so and tests/gpu/fault.so, which kills a context for good. MODEL is small; with
#    BIG_MODEL, of which a clip of 832x480 takes a second or more, two cards at once are timed against one; two: only that.
# 2. Cases print "ok NAME", "FAIL NAME" after what was seen, or "skip NAME (why)"; the last line has the counts.
set -u
LC_ALL=C
export LC_ALL
build=$(realpath "$1")
model=$(realpath "$2")
big=${3:+$(realpath "$3")}
ffmpeg=$build/ffmpeg
. "$(dirname "$0")/../fate/cases.sh"
CUDA_DEVICE_ORDER=PCI_BUS_ID                     # the numbers of nvidia-smi
export CUDA_DEVICE_ORDER

clip="model=$model:s=320x192:frames=17:seed=1:prompt=a cat"

# ---- a context that is dead for good ----

# ends_well STATUS: an error, and neither a timeout nor a signal
ends_well() {
    case $1 in 0|124|13?) return 1 ;; esac
}
# faulty OPTION...: ffmpeg whose device dies when $tmp/die is there, which is after two seconds, or $wait
faulty() {
    rm -f "$tmp/die"
    (sleep "${wait:-2}"; : > "$tmp/die") &
    LD_PRELOAD=$build/tests/gpu/fault.so TD_FAULT=$tmp/die timeout 100 "$ffmpeg" -hide_banner -nostdin -y -v error "$@" 2> "$tmp/err"
    code=$?
    wait $!
    grep -q '^fault: cudaError' "$tmp/err" || fail "the context is killed" "$(cat "$tmp/err")"
    grep -v '^fault: ' "$tmp/err" > "$tmp/said"
    sed 's/^/  /' "$tmp/said" | cut -c1-200 | head -n 6
}
dead_context() {
    faulty -f lavfi -i "turbodiff=$clip:device=0:idle=repeat" -f null -
    check "on_error=stop: it ends by itself with an error ($code)" ends_well $code
    check "that names the device's fault" grep -i 'cuda: ' "$tmp/said"
    for fallback in cpu "1|cpu"; do
        faulty -f lavfi -i "turbodiff=$clip:device=0:idle=repeat:pace=live:late=hold:on_error=restart:fallback=$fallback:stats=$tmp/stats" \
            -t 20 -f framecrc "$tmp/crc"
        equal "fallback=$fallback: the channel goes on for all of its 20 seconds" "$code $(grep -c '^0,' "$tmp/crc")" "0 320"
        equal "with clips of the GPU, then of the CPU" "$(sed 's/.*"backend": "\([a-z]*\)".*/\1/' "$tmp/stats" | uniq | tr '\n' ' ')" "cuda cpu "
        rm -f "$tmp/stats"
    done

    # the worker's process ends, and is started again; the playout's picture stands meanwhile
    timeout 100 "$ffmpeg" -hide_banner -nostdin -y -v verbose -filter_complex \
        "turbodiff=from=$tmp/s:s=320x192:pace=live:late=hold:first=black,metadata=print:key=lavfi.turbodiff.state:file=$tmp/states[v]" \
        -map '[v]' -t 24 -f framecrc "$tmp/crc" 2> "$tmp/log" &
    playout=$!
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        [ -S "$tmp/s" ] && break
        sleep 0.3
    done
    wait=4
    faulty -f lavfi -i "turbodiff=$clip:device=0:idle=repeat" -c:v rawvideo -f nut "unix:$tmp/s"
    died=$code
    sleep 4                                          # longer than what the playout has of its frames
    timeout 60 "$ffmpeg" -hide_banner -nostdin -v error -f lavfi -i "turbodiff=$clip:device=0:idle=repeat" -c:v rawvideo -f nut \
        "unix:$tmp/s" 2> "$tmp/err" &
    worker=$!
    wait $playout
    equal "two processes: the playout sends all of its 24 seconds" "$? $(grep -c '^0,' "$tmp/crc")" "0 384"
    kill $worker 2> /dev/null
    wait $worker
    check "the worker ended with an error ($died)" ends_well $died
    sed -n 's/.*state=//p' "$tmp/states" | uniq -c | awk '{ printf "%s %s, ", $1, $2 } END { print "" }' > "$tmp/kinds"
    check "and its picture stood until the next worker was there: $(cat "$tmp/kinds")" grep 'play, [0-9]* hold, [0-9]* play' "$tmp/kinds"
}
[ "${4:-}" = two ] || dead_context

# ---- two cards at once ----

cards=$("$build/td" --devices | grep -c '^device ')
# seconds CLIPS DEVICE...: of a graph with a source on each of these cards
seconds() {
    clips=$1
    shift
    graph=
    ends=
    for device; do
        graph="${graph}turbodiff=model=$big:s=832x480:frames=81:seed=1:loop=$((clips - 1)):programme=$tmp/day:device=$device[v$device];"
        ends="$ends -map [v$device] -f null -"
    done
    began=$(date +%s%N)
    # a list
    # shellcheck disable=SC2086
    timeout 300 "$ffmpeg" -hide_banner -nostdin -v error -filter_complex "${graph%;}" $ends 2> "$tmp/err" || echo "$failure: $(head -n 2 "$tmp/err")" >&2
    echo $((($(date +%s%N) - began) / 1000000))
}
if [ "$cards" -lt 2 ] || [ -z "$big" ]; then
    echo "skip two cards ($cards here, model ${big:-none})"
else
    echo "a cat" > "$tmp/day"
    seconds 1 0 > /dev/null                      # its files come to the page cache
    seconds 1 1 > /dev/null
    one=$((($(seconds 10 0) - $(seconds 2 0)) / 8))
    two=$((($(seconds 10 0 1) - $(seconds 2 0 1)) / 8))
    check "a clip on each of two cards at once takes $two ms, where one alone takes $one (1.15 times)" \
        awk -v a=$two -v b=$one 'BEGIN { exit !(b > 300 && a <= 1.15 * b) }'
fi
echo "gpu channel: $passed passed, $failed failed"
[ $failed -eq 0 ]
