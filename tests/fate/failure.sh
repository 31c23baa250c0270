#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# A generation that fails ends ffmpeg with a status that is not 0, and the reason is among the last lines:
# failure.sh DIR MODEL I2V_MODEL
#
# 1. DIR has ffmpeg. What fails: the device, files, memory, the picture, the first frame and a later one (weights that
#    are not finite, in copies of models that tdsynth makes), as an input (-f lavfi), also behind other filters, in
#    -filter_complex and in -vf.
# 2. Each case prints "ok NAME" or, after what it saw, "FAIL NAME"; the last line has the counts.
set -u
LC_ALL=C
export LC_ALL

dir=$1
t2v=$2
i2v=$3
ffmpeg=$dir/ffmpeg
limit=unlimited
tdsynth=${dir%/small-*}/tdsynth
case $dir in
*/small-*) suite=fate-failure-${dir##*/small-} ;;
*)         suite=fate-failure ;;
esac
. "$(dirname "$0")/cases.sh"

# fails NAME REASON OPTION...: ffmpeg with these inputs and filters, to a file
fails() {
    name=$1
    reason=$2
    shift 2
    (ulimit -v $limit; exec timeout 60 "$ffmpeg" -hide_banner -nostdin -y -nostats "$@" "$tmp/out.mp4" > /dev/null 2> "$tmp/err")
    code=$?
    case $code in
    0|124|134|135|137|139) ;;
    *)
        # libx264 has statistics to tell when it is closed
        if grep -v '^\[libx264' "$tmp/err" | tail -n 20 | grep -i turbodiff | grep -q "$reason"; then
            ok "$name"
            return
        fi ;;
    esac
    fail "$name" "status $code, expected another than 0 and '$reason' in the last lines:" "$(tail -n 20 "$tmp/err")"
}
# everywhere NAME REASON OPTIONS I2V_OPTIONS: both filters in each form of input
everywhere() {
    fails "$1: input" "$2" -f lavfi -i "turbodiff=$3"
    fails "$1: input, -xerror" "$2" -xerror -f lavfi -i "turbodiff=$3"
    fails "$1: input, behind another filter" "$2" -f lavfi -i "turbodiff=$3,scale=32:32"
    fails "$1: input, behind filters that take several" "$2" -f lavfi -i "turbodiff=$3,split[a][b];[a][b]hstack"
    fails "$1: input beside another" "$2" -f lavfi -i testsrc2=s=64x48:d=1 -f lavfi -i "turbodiff=$3" -map 0 -map 1
    fails "$1: filter_complex" "$2" -filter_complex "turbodiff=$3,scale=32:32"
    fails "$1: i2v, input" "$2" -f lavfi -i "color=s=64x48:d=0.2,turbodiff_i2v=$4"
    fails "$1: i2v, input, behind another filter" "$2" -f lavfi -i "color=s=64x48:d=0.2,turbodiff_i2v=$4,scale=32:32"
    fails "$1: i2v extend, input" "$2" -f lavfi -i "color=s=64x48:d=0.2,turbodiff_i2v=$4:mode=extend,scale=32:32"
    fails "$1: i2v, vf" "$2" -f lavfi -i color=s=64x48:d=0.2 -vf "turbodiff_i2v=$4"
    fails "$1: i2v extend, vf" "$2" -f lavfi -i color=s=64x48:d=0.2 -vf "turbodiff_i2v=$4:mode=extend"
    fails "$1: i2v, filter_complex" "$2" -filter_complex "color=s=64x48:d=0.2,turbodiff_i2v=$4"
}

for kind in first later; do
    "$tdsynth" --format=safetensors --dit=bf16 --seed=3 "$tmp/$kind" > /dev/null
    "$tdsynth" --in-dim=36 --format=safetensors --dit=bf16 --seed=3 "$tmp/$kind-i2v" > /dev/null
done
for file in "$tmp"/first*/TurboWan*; do
    poison "$file" head.head.weight
done
# the frames after the first one alone pass through it
for file in "$tmp"/later*/Wan2.1_VAE*; do
    poison "$file" decoder.upsamples.7.time_conv.weight huge
done
opts="prompt=a cat:s=64x48:frames=9:seed=1:steps=1"
everywhere "first frame" "denoise: the latent is not finite" "model=$tmp/first:$opts" "model=$tmp/first-i2v:$opts"
everywhere "later frame" "decode: the picture is not finite" "model=$tmp/later:$opts" "model=$tmp/later-i2v:$opts"
everywhere "files" "$tmp/none" "model=$tmp/none:$opts" "model=$tmp/none:$opts"
# less memory than such a clip takes
limit=4000000
everywhere "memory" "cannot allocate" "model=$t2v:$opts:s=2048x2048:frames=509" "model=$i2v:$opts:s=2048x2048:frames=509"
limit=unlimited
if [ ! -e /dev/nvidiactl ]; then
    everywhere "device" "cuda" "model=$t2v:$opts:backend=cuda" "model=$i2v:$opts:backend=cuda"
fi
head -c 500 tests/fuzz/seeds/jpeg/plain > "$tmp/cut.jpg"
fails "picture: input" "cut.jpg: Premature end of JPEG file" -f lavfi -i "turbodiff=model=$i2v:$opts:image=$tmp/cut.jpg"
fails "picture: filter_complex" "cut.jpg: Premature end of JPEG file" -filter_complex "turbodiff=model=$i2v:$opts:image=$tmp/cut.jpg"

rm -f "$tmp/out.mp4"
fails "an input that fails at its first frame" "not finite" -f lavfi -i "turbodiff=model=$tmp/first:$opts"
equal "leaves no output" "$(grep -o 'not finite' "$tmp/err" | head -n 1) $(find "$tmp" -name out.mp4)" "not finite "

echo "$suite: $passed passed, $failed failed"
[ $failed -eq 0 ]
