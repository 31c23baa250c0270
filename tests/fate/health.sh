#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# A channel that goes on: slates.
# health.sh DIR BUILD MODEL
#
# 1. DIR has ffmpeg, BUILD the module that claims GPUs and whose GPUs fail when asked to (tests/cards/module.c).
# 2. Output as that of run.sh.
set -u
LC_ALL=C
export LC_ALL
dir=$1
build=$(realpath "$2")
model=$3
case $dir in
*/small-*) suite=fate-health-${dir##*/small-} ;;
*)         suite=fate-health ;;
esac
. "$(dirname "$0")/cases.sh"
. "$(dirname "$0")/../cards/place.sh"
place "$build" "$dir/ffmpeg"
ffmpeg=$here/ffmpeg
claim none

printf '%s\n' 'a cat' 'a dog' 'a bird' > "$tmp/p"
base="turbodiff=model=$model:s=64x48:frames=9:seed=1:steps=1"
channel="$base:programme=$tmp/p"
# wrong NAME PATTERN OPTIONS: one line of the filter, and no success
wrong() {
    run -f lavfi -i "$channel:$3" -f null -
    refused "$1" "$2" 'Error\|Failed' $?
}
# states GRAPH: what is on air, each with its number of frames
states() {
    made -f lavfi -i "$1,metadata=print:key=lavfi.turbodiff.state:file=-" -f null - | sed -n 's/.*state=//p; /'"$failure"'/p' |
        uniq -c | tr -s ' ' | tr '\n' ,
}

# ---- a slate ----

# red, twice as wide as high: in a frame of 64x48, 64x32 of it with 8 lines of black above and below
{
    printf 'P6\n100 50\n255\n'
    head -c 5000 /dev/zero | sed 's/\x00/\xff\x00\x00/g'
} > "$tmp/red.ppm"
slate="late=slate:slate=$tmp/red.ppm"
# lines FORMAT: the colours in the middle of some lines of the slate
lines() {
    for y in 0 4 12 24 35 43 47; do
        made -f lavfi -i "$channel:pace=live:$slate:first=slate,format=$1,scale,format=gbrp,format=rgb24,crop=1:1:32:$y" \
            -frames:v 1 -f rawvideo - | od -A n -t u1 | awk '{ printf "%s", ($1 > 240 && $2 < 10 && $3 < 10) ? "red " : ($1 + $2 + $3 < 6) ? "black " : "other " }'
    done
}
for format in yuv420p yuv444p10 nv12 p010 gbrp; do
    equal "a slate in $format: whole, in the middle of black" "$(lines $format)" "black black red red red black black "
done
# a clock that no CPU keeps up with: 0.05 s are 12 frames
states "$channel:pace=live:r=240:$slate:slate_after=0.05:first=slate" > "$tmp/states"
equal "first=slate: before the first clip" "$(sed 's/^ [0-9]* \([a-z]*\),.*/\1/' "$tmp/states")" slate
equal "late=slate: after slate_after of the last frame, and new frames are all there" \
    "$(tr , '\n' < "$tmp/states" | sed 1d | awk '/play/ { p += $1 } /hold/ { if ($1 > 12) bad++ } /slate/ { if (last != "12 hold") bad++; s = 1 }
        { last = $1 " " $2 } END { print p, s + 0, bad + 0 }')" "27 1 0"
equal "slate_after: a hold that is shorter has none" "$(states "$channel:pace=live:r=240:$slate:slate_after=1000" | grep -c slate)$(states \
    "$channel:pace=live:r=240:$slate:slate_after=1000" | grep -c hold)" "01"
write "$tmp/film.mkv" -f lavfi -i "color=blue:s=64x48:r=16:d=1" -c:v ffv1
equal "a film: its first frame" "$(made -f lavfi -i "$channel:pace=live:late=slate:slate=$tmp/film.mkv:first=slate,format=rgb24,crop=1:1" -frames:v 1 \
    -f rawvideo - | od -A n -t u1 | awk '{ print ($1 < 10 && $2 < 10 && $3 > 240) }')" 1
wrong "late=slate without one" "expected a picture as slate" "pace=live:late=slate"
wrong "a slate that nothing shows" "slate: expected late=slate or first=slate" "pace=live:slate=$tmp/red.ppm"
wrong "a slate that is not there" "slate '$tmp/none.png' cannot be read: No such file" "pace=live:late=slate:slate=$tmp/none.png"
head -c 100 "$tmp/red.ppm" > "$tmp/cut.ppm"
wrong "a slate that is cut short" "slate '$tmp/cut.ppm' cannot be read" "pace=live:late=slate:slate=$tmp/cut.ppm"
printf 'no picture' > "$tmp/text.png"
wrong "a slate that is none" "slate '$tmp/text.png' cannot be read" "pace=live:late=slate:slate=$tmp/text.png"
wrong "a slate that is a directory" "slate '$tmp' is no regular file" "pace=live:late=slate:slate=$tmp"

echo "$suite: $passed passed, $failed failed"
[ $failed -eq 0 ]
