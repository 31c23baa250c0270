#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The kernels of other cards, on the GPU at hand: every operation and every network at its official size as each CARD of
# tests/cards.h, with the time, and how far its values are from those of the GPU's own kernels on the same weights and
# inputs (at blocks of 128x64: other blocks choose other keys). Then what mma.sync reaches here, for shares of it.
# With CLIPS=1 instead whole clips at the model's official size, and how many dB they are from the GPU's own (81 frames, four
# steps, the same noise); BUILD has ffmpeg then, and of the A14B IMAGE is a JPEG to begin with.
# usage, from the repository's top: [CLIPS=1] tests/gpu/profiles.sh BUILD [1.3B|14B|A14B] [CARD...]
# Last line: "profiles: N passed, N failed".
set -u
build=$(realpath "$1")
size=${2:-1.3B}
[ $# -gt 2 ] && shift 2 || set -- rtx3090 rtx4090 rtx5090 a100
dir=${TMPDIR:-/tmp}/turbodiff-profiles-$size
passed=0
failed=0

one() {                                          # one NAME CODE
    if [ "$2" -eq 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAIL $1"; fi
}

ln -sfn "$build/libturbodiff-cuda.so" "$build/tests/gpu/" || exit 1

# clip CARD OPTION...: a clip of the GPU as that card to $dir/clip.CARD, and its distance from its own kernels'
clip() {
    card=$1
    shift
    out=$(TD_AS=$card "$build/tests/gpu/td_as" -B cuda -v -s "$frame" -n 81 -r 1 -R h100 -b 128x64 "$@" "$dir/clip.$card" 2>&1)
    code=$?
    out=$(echo "$out" | sed -n 's/^\(denoise\|decode\): .*\( [0-9.]* s\).*/\1\2/p' | tr '\n' ' ')$(echo "$out" | grep '^error')
    if [ $code -eq 0 ] && [ "$card" != cuda ]; then
        db=$("$build/ffmpeg" -hide_banner -nostdin -f rawvideo -pixel_format rgb24 -video_size "$frame" -i "$dir/clip.$card" \
            -f rawvideo -pixel_format rgb24 -video_size "$frame" -i "$dir/clip.cuda" -lavfi psnr -f null - 2>&1 |
            sed -n 's/.*PSNR.* average:\([0-9inf.]*\).*/\1/p')
        out="$out${db:-no picture} dB from the GPU's own"
        [ -n "$db" ]
        code=$?
        rm -f "$dir/clip.$card"
    fi
    echo "$card clip of the $size, $frame: $out"
    one "$card clip" $code
}
if [ "${CLIPS:-}" = 1 ]; then
    case $size in
    1.3B) frame=832x480 ;;
    *) frame=1280x720 ;;
    esac
    [ -d "$dir" ] || "$build/tdsynth" --seed=1 --spiece=tests/data/spiece.model --preset="$size" --dit=int8 "$dir" || exit 1
    prompt="a cat walks on a beach at sunset, waves roll in"
    for card in cuda "$@"; do
        if [ "$size" = A14B ]; then
            clip "$card" -I "${IMAGE:?a JPEG}" "$dir" "$prompt"
        else
            clip "$card" "$dir" "$prompt"
        fi
    done
    rm -f "$dir/clip.cuda"
    echo "profiles: $passed passed, $failed failed"
    [ "$failed" -eq 0 ]
    exit
fi

case $size in
1.3B) latents=21x60x104 ;;
*) latents=21x90x160 ;;
esac
[ -d "$dir" ] || { mkdir "$dir" &&
    "$build/tdsynth" --seed=1 --preset="$size" --dit=int8 --only=dit "$dir" &&
    "$build/tdsynth" --seed=1 --preset="$size" --only=vae "$dir" &&
    "$build/tdsynth" --seed=1 --preset="$size" --only=vae --vae=tiny "$dir" &&
    "$build/tdsynth" --seed=1 --vae-dim=24 --only=vae "$dir/light"; } || exit 1
dit=$(find "$dir" -name 'TurboWan*')
vae=$dir/Wan2.1_VAE.pth

# network CARD NAME MOST ARGUMENT...: its time; its distance from the GPU's own, at most MOST
network() {
    card=$1
    name=$2
    most=$3
    shift 3
    out=$("$build/tests/gpu/stage" -B "$card" -n 3 "$@" "$dir/$name.$card")
    code=$?
    if [ $code -eq 0 ] && [ "$card" != cuda ]; then
        out="$out, $("$build/tests/gpu/stage" compare "$dir/$name.$card.f32" "$dir/$name.cuda.f32" "$most")"
        code=$?
        rm -f "$dir/$name.$card".*
    fi
    echo "$card $name: $out"
    one "$card $name" $code
}

for card in cuda "$@"; do
    if [ "$card" != cuda ]; then
        "$build/checkops" --impl="$card" > "$dir/log" 2>&1
        code=$?
        if grep 'cannot run as' "$dir/log"; then
            echo "skip $card"
            continue
        fi
        grep '^FAIL' "$dir/log"
        one "checkops $card" $code
    fi
    network "$card" decode 2e-2 vae "$vae" $latents
    network "$card" encode 1e-2 encode "$vae" $latents
    network "$card" tiny-decode 1e-2 vae "$dir/taew2_1.pth" $latents
    network "$card" tiny-encode 1e-2 encode "$dir/taew2_1.pth" $latents
    network "$card" light-decode 2e-2 vae "$dir/light/Wan2.1_VAE.pth" $latents
    for attention in sagesla sla dense; do
        network "$card" "step-$attention" 4e-2 -a $attention dit "$dit" $latents
    done
done
if [ -x "$build/tests/gpu/peak" ]; then
    "$build/tests/gpu/peak"
    one peak $?
fi
rm -f "$dir"/*.cuda.*
echo "profiles: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
