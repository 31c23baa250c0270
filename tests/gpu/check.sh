#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# What only a GPU can show: every slot against the CPU backend, every stage and whole clips against the official goldens,
# and the sanitizers of the CUDA Toolkit. usage, from the repository's top: tests/gpu/check.sh BUILD
# BUILD holds checkops, tdsynth, libturbodiff-cuda.so, tests/ and, if it is to be tested, ffmpeg.
# Last line: "gpu: N passed, N failed".
set -u
build=$(realpath "$1")
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT INT TERM
passed=0
failed=0

count() {
    passed=$((passed + $(grep -c '^ok ' "$1")))
    failed=$((failed + $(grep -c '^FAIL ' "$1")))
    grep -v '^ok ' "$1" | cut -c1-220
}

one() {                                          # one NAME CODE
    if [ "$2" -eq 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAIL $1"; fi
}

TD_MODELS=$tmp
TD_TEST_BACKEND=cuda
TD_BUILD=$build
for dir in "$build/tests" "$build/tests/gpu"; do  # a program finds the module beside itself
    ln -sfn "$(realpath "$build")/libturbodiff-cuda.so" "$dir/" || exit 1
done
CUDA_VISIBLE_DEVICES_ALL=${CUDA_VISIBLE_DEVICES-}
CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES:-0}  # tests that fill a card's memory want no other one to go to
export TD_MODELS TD_TEST_BACKEND TD_BUILD CUDA_VISIBLE_DEVICES
"$build/tdsynth" --seed=1 --spiece=tests/data/spiece.model --vocab=2048 "$tmp/tiny" &&
    "$build/tdsynth" --seed=1 --spiece=tests/data/spiece.model --dim=384 --ffn=640 --only=dit "$tmp/wide" &&
    "$build/tdsynth" --seed=1 --spiece=tests/data/spiece.model --in-dim=36 --only=dit "$tmp/i2v" &&
    "$build/tdsynth" --seed=1 --spiece=tests/data/spiece.model --preset=tiny --in-dim=36 "$tmp/tiny-i2v" &&
    "$build/tdsynth" --seed=1 --spiece=tests/data/spiece.model --only=vae --vae=tiny "$tmp/tae" &&
    "$build/tdsynth" --seed=1 --spiece=tests/data/spiece.model --only=vae --vae-dim=24 "$tmp/light" || exit 1
# the GPU's own kernels, and those of cards that it can run as: without e4m3, without clusters, without Hopper's, without
# page-locked memory; side by side, as most of the time is the CPU's
for impl in cuda rtx3090 rtx4090 wsl2; do
    fills=5
    [ $impl != wsl2 ] || fills=1
    ("$build/checkops" --impl=$impl --fills=$fills > "$tmp/log.$impl" 2>&1; echo $? > "$tmp/code.$impl") &
done
wait
for impl in cuda rtx3090 rtx4090 wsl2; do
    if grep 'cannot run as' "$tmp/log.$impl"; then
        echo "skip checkops $impl"
        continue
    fi
    one "checkops $impl" "$(cat "$tmp/code.$impl")"
    count "$tmp/log.$impl"
done
for test in device text_keys golden_text golden_dit golden_sage golden_vae golden_encode golden_tiny clip i2v runtime sizes mapping views forms frame_memory gpu_memory; do
    "$build/tests/test_$test" > "$tmp/log" 2>&1
    one "test_$test" $?
    count "$tmp/log"
done
for card in rtx3090 rtx4090; do                  # its kernels against the official goldens
    for test in golden_text golden_dit golden_sage golden_vae golden_encode; do
        TD_TEST_BACKEND=$card "$build/tests/test_$test" > "$tmp/log" 2>&1
        one "test_$test as $card" $?
        count "$tmp/log"
    done
done
# small VAEs, whose widths the goldens have not: against the CPU
for file in tae/taew2_1 light/Wan2.1_VAE; do
    for stage in vae encode; do
        "$build/tests/gpu/stage" -B cpu $stage "$tmp/$file.pth" 3x18x34 "$tmp/cpu" > /dev/null
        for impl in cuda rtx4090; do
            "$build/tests/gpu/stage" -B $impl $stage "$tmp/$file.pth" 3x18x34 "$tmp/gpu" > "$tmp/log" 2>&1 &&
                "$build/tests/gpu/stage" compare "$tmp/gpu.f32" "$tmp/cpu.f32" 2e-2 >> "$tmp/log" 2>&1
            one "$stage of ${file##*/}, $impl" $?
            echo "$stage of ${file##*/}, $impl: $(tr '\n' ' ' < "$tmp/log")"
        done
    done
done
tests/gpu/memory.sh "$build" "$tmp/tiny" > "$tmp/log" 2>&1
one "memory" $?
count "$tmp/log"
if [ -n "$CUDA_VISIBLE_DEVICES_ALL" ]; then
    CUDA_VISIBLE_DEVICES=$CUDA_VISIBLE_DEVICES_ALL tests/gpu/devices.sh "$build" > "$tmp/log" 2>&1
else
    env -u CUDA_VISIBLE_DEVICES tests/gpu/devices.sh "$build" > "$tmp/log" 2>&1
fi
one "devices" $?
count "$tmp/log"
if [ -x "$build/ffmpeg" ]; then
    tests/gpu/ffmpeg.sh "$build" "$build/ffmpeg" "$tmp/tiny" "$tmp/tiny-i2v" > "$tmp/log" 2>&1
    one "ffmpeg" $?
    count "$tmp/log"
else
    echo "skip ffmpeg.sh (no $build/ffmpeg)"
fi
if command -v compute-sanitizer > /dev/null; then
    for tool in memcheck synccheck initcheck; do
        (compute-sanitizer --tool $tool --error-exitcode 9 "$build/checkops" --impl=cuda --fills=1 > "$tmp/log.$tool" 2>&1
         echo $? > "$tmp/code.$tool") &
    done
    wait
    for tool in memcheck synccheck initcheck; do
        one "$tool" "$(cat "$tmp/code.$tool")"
        grep 'ERROR SUMMARY' "$tmp/log.$tool"
    done
fi
echo "gpu: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
