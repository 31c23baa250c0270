#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# A long video through turbodiff_i2v, a clip for every five frames: all frames come out, a line of statistics for each clip,
# and memory does not grow. stream.sh BUILD SECONDS
set -u
LC_ALL=C
export LC_ALL
build=$1
frames=$(($2 * 16))
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
"$build/ffmpeg" -v error -nostdin -f lavfi -i "testsrc2=s=64x48:r=16" -vf \
    "turbodiff_i2v=model=$build/model-tiny-i2v:prompt=a cat:size=64x48:frames=5:steps=1:every=5:seed=1:stats=$tmp/stats" \
    -frames:v "$frames" -flush_packets 1 -f framecrc "$tmp/frames" 2> "$tmp/log" &
pid=$!
while kill -0 $pid 2> /dev/null; do
    echo "$(cat "$tmp/frames" 2> /dev/null | wc -l) $(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' /proc/$pid/status 2> /dev/null)" >> "$tmp/taken"
    sleep 1
done
# most FROM TO: kB, of these tenths of the frames; what there is to allocate has been after the first
most() {
    awk -v from=$((frames / 10 * $1)) -v to=$((frames / 10 * $2)) 'NF == 2 && $1 > from && $1 <= to + 10 && $2 > most { most = $2 }
        END { print most + 0 }' "$tmp/taken"
}
early=$(most 1 2)
late=$(most 9 10)
wait $pid
code=$?
got=$(grep -vc '^#' "$tmp/frames")
clips=$(wc -l < "$tmp/stats")
echo "stream: status $code, $got of $frames frames, $clips clips, at the most $early kB in the second tenth, $late kB in the last"
cat "$tmp/log"
[ $code -eq 0 ] && [ "$got" -eq "$frames" ] && [ "$clips" -ge $((frames / 5)) ] && [ "$early" -gt 0 ] && [ "$late" -gt 0 ] &&
    [ "$late" -le $((early + early / 10 + 4096)) ]
