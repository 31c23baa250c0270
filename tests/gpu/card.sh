#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The first test on somebody's own card (make check-gpu): no weights, no Python, less than five minutes. What it prints is
# meant to be pasted into a report. usage, from the repository's top: card.sh BUILD [PRESET [SIZE...]]
#
# 1. Every operation against the CPU backend; what mma.sync reaches on this card, and the large operations' share of it;
#    a step and a decode of a model of PRESET's shape (1.3B) with random weights; a clip of the demo model.
# 2. SIZE, WxHxFRAMES, is the first of these that the card has memory for: 832x480x81 and smaller ones.
# 3. No GPU that can be used, or no module, is one line and status 1. A tool that fails is a row of the table and counted;
#    the last line is "gpu: N passed, N failed".
set -u
LC_ALL=C
export LC_ALL
build=$(realpath "$1")
preset=${2:-1.3B}
[ $# -gt 2 ] && shift 2 || set -- 832x480x81 640x368x49 480x272x33 320x192x17
CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES:-0}
export CUDA_VISIBLE_DEVICES
started=$(date +%s)
dir=$build/card-model
tmp=$(mktemp -d) || exit 1
synth=
trap 'rm -rf "$tmp" "$dir"' EXIT
trap 'kill $synth 2> /dev/null; exit 1' HUP INT TERM
passed=0
failed=0

# one NAME CODE: counted; a failure has the last line of what the tool said
one() {
    if [ "$2" -eq 0 ]; then
        passed=$((passed + 1))
        return
    fi
    failed=$((failed + 1))
    row "$1" "FAILED (status $2): $(grep . "$tmp/err" | tail -n 1 | cut -c1-150)"
}
row() { printf '%-44s %s\n' "$1" "$2"; }
# limited SECONDS COMMAND...: its output in $tmp/out, what it says in $tmp/err, its status in $code
limited() {
    seconds=$1
    shift
    timeout "$seconds" "$@" > "$tmp/out" 2> "$tmp/err"
    code=$?
    [ $code -ne 124 ] || echo "not done after $seconds s" > "$tmp/err"
}
latents() { echo "$1" | awk -Fx '{ print ($3 - 1) / 4 + 1 "x" $2 / 8 "x" $1 / 8 }'; }
# sized COMMAND...: with the latents of the first size that there is memory for in place of LATENTS; $size is that one
sized() {
    command=$*
    for size in $sizes; do
        # a list
        # shellcheck disable=SC2046,SC2086
        limited 60 $(echo "$command" | sed "s/LATENTS/$(latents "$size")/")
        [ $code -ne 0 ] && grep -q 'bytes for .* wanted\|out of memory' "$tmp/err" || return
    done
}
# share OPERATIONS MS: "RATE TOPS, N %": TYPE=N words, by the peaks of the types
share() {
    echo "$1" | tr ' ' '\n' | sed "s/^pv=/$pv=/" | tr '=' ' ' | awk -v ms="$2" '
        FILENAME != "-" { peak[$1] = $2; next }
        { n += $2; if (peak[$1] > 0) least += $2 / peak[$1] * 1e-9; else unknown = 1 }
        END {
            if (ms <= 0) { print "no time that can be told"; exit }
            printf "%.1f TOPS", n / ms * 1e-9
            if (!unknown) printf ", %.0f %%", 100 * least / ms
        }' "$tmp/peaks" -
}

# network NAME: a line of stage's, its best time and what of the card is in use
network() {
    one "$1" $code
    [ $code -ne 0 ] || row "$1, $size" "$(awk '
        /^ms/ { for (i = 2; i <= NF; i++) if (i == 2 || $i < ms) ms = $i + 0 }
        /^MiB/ { mib = $2 }
        END { printf "%.1f ms, %d MiB of the card in use", ms, mib }' "$tmp/out")"
}

# ---- the card ----

if [ ! -e "$build/libturbodiff-cuda.so" ]; then
    echo "check-gpu: $build has no libturbodiff-cuda.so: ./configure found no CUDA compiler (nvcc), or make was not run" >&2
    exit 1
fi
ln -sfn "$build/libturbodiff-cuda.so" "$build/tests/gpu/" || exit 1
"$build/td" --devices > "$tmp/out" 2>&1
card=$(sed -n 's/^device 0: //p' "$tmp/out")
case $card in
"") echo "check-gpu: $(head -n 1 "$tmp/out")" >&2; exit 1 ;;
*"cannot be used: "*) echo "check-gpu: $card" >&2; exit 1 ;;
esac
capability=$(echo "$card" | sed -n 's/.*compute capability \([0-9]*\)\.\([0-9]*\).*/\1\2/p')
case $capability in
90) kernels="Hopper's (wgmma: they may pass what mma.sync reaches)" ;;
1*) kernels="portable, norms in clusters" ;;
*)  kernels="portable" ;;
esac
pv=e4m3-sums-f16
[ "$capability" -ge 89 ] || pv=f16-sums-f16

"$build/tdsynth" --seed=1 --preset="$preset" --dit=int8 --only=dit,vae "$dir" > "$tmp/synth" 2>&1 &
synth=$!
limited 20 "$build/tests/gpu/peak" --card
echo "turbodiff $("$build/td" -V | cut -d ' ' -f 2), make check-gpu, $(date -u +%Y-%m-%d), $(uname -srm)"
row "card" "$(echo "$card" | sed 's/, \(GPU\|MIG\)-.*//')"
row "" "$([ $code -eq 0 ] && cat "$tmp/out")"
row "kernels" "$kernels"
limited 150 "$build/checkops" --impl=cuda --fills=1
passed=$((passed + $(grep -c '^ok ' "$tmp/out")))
failed=$((failed + $(grep -c '^FAIL ' "$tmp/out")))
row "operations as on the CPU" "$(grep -c '^ok ' "$tmp/out") of $(grep -c '^ok \|^FAIL ' "$tmp/out")"
grep '^FAIL ' "$tmp/out" | cut -c1-150
if [ $code -ne 0 ] && ! grep -q '^FAIL ' "$tmp/out"; then
    one "operations as on the CPU" $code
elif ! grep -q '^ok ' "$tmp/out"; then
    echo "no operation was checked" > "$tmp/err"
    one "operations as on the CPU" 1
fi

# ---- times ----

limited 30 "$build/tests/gpu/peak"
cp "$tmp/out" "$tmp/peaks"
one "mma.sync" $code
row "mma.sync reaches, TOPS" "$(tr '\n' ' ' < "$tmp/peaks")"
wait $synth
code=$?
synth=
cp "$tmp/synth" "$tmp/err"
one "random weights of the $preset" $code
dit=$(find "$dir" -name 'TurboWan*' 2> /dev/null)
vae=$(find "$dir" -name 'Wan2.1_VAE*' 2> /dev/null)

sizes=$*
sized "$build/tests/gpu/ops" -B cuda LATENTS
one "large operations" $code
echo
row "at $size" "ms, rate, share of mma.sync's"
while read -r name ms operations; do
    case $name in
    product-up)   name="int8 product, 1536 to 8960" ;;
    product-down) name="int8 product, 8960 to 1536" ;;
    attention)    name="attention with its preparation" ;;
    sage)         name="of it sage, for two tenths more of the keys" ;;
    conv3d)       name="conv3d, 4 pictures, 96 channels" ;;
    conv3d-f16)   name="conv3d of f16, as behind a norm" ;;
    esac
    row "$name" "$ms, $(share "$operations" "$ms")"
done < "$tmp/out"
sized "$build/tests/gpu/stage" -B cuda -n 3 -m 1 -a sagesla dit "$dit" LATENTS "$tmp/step"
network "a step of the $preset"
rm -f "$tmp"/step.*
sized "$build/tests/gpu/stage" -B cuda -n 2 -m 1 vae "$vae" LATENTS "$tmp/decode"
network "decode"
rm -f "$tmp"/decode.*
limited 60 "$build/td" -B cuda -D 0 -r 1 -c 2 -j "$tmp/stats" tools/demo-model/model "a red circle moves up on white" "$tmp/clip"
if [ $code -eq 0 ] && ! [ -s "$tmp/clip" ]; then
    echo "no pictures" > "$tmp/err"
    code=1
fi
one "clip of the demo model" $code
[ $code -ne 0 ] || row "clip of the demo model" "$(sed -n '$s/.*"width": \([0-9]*\), "height": \([0-9]*\), "frames": \([0-9]*\).*"wall_seconds": \([0-9.]*\).*/\1x\2x\3: \4 s/p' "$tmp/stats")"

echo
echo "took $(($(date +%s) - started)) s"
echo "gpu: $passed passed, $failed failed"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
