#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Stage times of whole clips at the official sizes, random weights. usage: tests/gpu/bench.sh BUILD [1.3B|14B|A14B]
# [RESIDENCY] [PICTURE]. Three clips in one process; the later two are warm. Prints a line of JSON for each (td_stats_json)
# and the highest use of device memory, sampled every half second. RESIDENCY is auto, all or stage; A14B, image to video,
# wants a PICTURE (JPEG).
set -eu
build=$1
size=${2:-1.3B}
dir=${TMPDIR:-/tmp}/turbodiff-bench-$size
[ -d "$dir" ] || "$build/tdsynth" --seed=1 --spiece=tests/data/spiece.model --preset="$size" --dit=int8 "$dir"
case $size in
1.3B) frame=832x480 ;;
*) frame=1280x720 ;;
esac
if [ "$size" = A14B ]; then
    set -- "$1" "$size" "${3:-auto}" -I "${4:?a JPEG as the first frame}"
else
    set -- "$1" "$size" "${3:-auto}"
fi
residency=$3
shift 3
prompt='a cat walks on a beach at sunset, waves roll in, an old sailor reads a letter in a comfortable kitchen'
nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits -lms 500 > "$dir.memory" &
sampler=$!
rm -f "$dir.json"
"$build/td" -B cuda -M "$residency" -s $frame -n 81 -c 3 "$@" -j "$dir.json" -v "$dir" "$prompt" /dev/null
kill $sampler
cat "$dir.json"
echo "device memory, peak MiB: $(sort -n "$dir.memory" | tail -n 1)"
