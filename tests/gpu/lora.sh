#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# What a LoRA beside int8 weights costs, and how long merging one takes: lora.sh BUILD [1.3B|14B] [RANK]. Random weights of
# the official sizes, 8 blocks of them, 81 frames. Prints the seconds of the denoise stage of a warm clip without and with it,
# and the log lines of loads, one of them of a LoRA merged into bf16. Run `BUILD/checkops --impl=cuda --test=linear`,
# and the same for linear_gelu and linear_residual, before: they have the terms that LoRAs add.
set -eu
build=$1
size=${2:-14B}
rank=${3:-32}
dir=${TMPDIR:-/tmp}/turbodiff-lora-$size-$rank
[ -d "$dir" ] || "$build/tdsynth" --seed=1 --spiece=tests/data/spiece.model --preset="$size" --blocks=8 --text-blocks=2 \
    --dit=both --lora="$rank" "$dir"
case $size in
1.3B) frame=832x480 ;;
*) frame=1280x720 ;;
esac
denoise() {
    awk -F '"denoise_seconds": ' 'NR > 1 { split($2, a, /[,}]/); n++; s += a[1] } END { printf "%.4f", s / n }' "$1"
}
# clips NAME OPTION...: three clips, of which the first warms up
clips() {
    name=$1
    shift
    rm -f "$dir.$name.json"
    "$build/td" -B cuda -s $frame -n 81 -c 3 -j "$dir.$name.json" -v "$@" "$dir" "a cat walks on a beach at sunset" \
        /dev/null 2> "$dir.$name.log"
    grep '^load: ' "$dir.$name.log" || true
}
clips int8 -q int8
clips int8-lora -q int8 -l "$dir/lora.safetensors"
clips bf16-lora -q none -l "$dir/lora.safetensors"
plain=$(denoise "$dir.int8.json")
with=$(denoise "$dir.int8-lora.json")
echo "denoise, int8: $plain s; with a LoRA of rank $rank beside it: $with s, $(
    awk -v a="$plain" -v b="$with" 'BEGIN { printf "%+.1f", (b / a - 1) * 100 }') %"
