#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# How a clip of a channel comes after the one before: transition.sh DIR MODEL I2V_MODEL, as i2v.sh
set -u
LC_ALL=C
export LC_ALL

dir=$1
model=$2
i2v=$3
ffmpeg=$dir/ffmpeg
case $dir in
*/small-*) suite=fate-transition-${dir##*/small-} ;;
*)         suite=fate-transition ;;
esac
. "$(dirname "$0")/cases.sh"

base="turbodiff=model=$model:s=64x48:frames=9:seed=1:steps=1"
sums() {                                         # checksums of a channel's frames
    frames -f lavfi -i "$@" | cut -d , -f 6
}
lines() {                                        # lines FROM TO: of what comes
    sed -n "$1,$2p"
}
# told KEY GRAPH: what the metadata says of each frame, one a line
told() {
    made -f lavfi -i "$2,metadata=print:key=lavfi.turbodiff.$1:file=-" -f null - | sed -n "s/.*turbodiff.$1=//p"
}
programme() {                                    # programme LINE...: to $tmp/p
    printf '%s\n' "$@" > "$tmp/p"
}
p="programme=$tmp/p"

# ---- fades ----

programme 'a cat' 'a dog' 'a bird'
sums "$base:$p" > "$tmp/cut"
sums "$base:$p:transition=fade/4" > "$tmp/fade"
equal "fade/4: three clips of 9 frames are 19" "$(grep -c . "$tmp/fade")" 19
equal "fade/4: times count on" "$(frames -f lavfi -i "$base:$p:transition=fade/4" | cut -d , -f 3 | tr '\n' ' ')" "$(seq -s ' ' 0 18) "
equal "fade/4: what is outside of a fade is as it was" "$(lines 1 5 < "$tmp/fade"; lines 10 10 < "$tmp/fade"; lines 15 19 < "$tmp/fade")" \
    "$(lines 1 5 < "$tmp/cut"; lines 14 14 < "$tmp/cut"; lines 23 27 < "$tmp/cut")"
equal "fade/4: what is inside is new" "$( (lines 6 9 < "$tmp/fade"; lines 11 14 < "$tmp/fade") | grep -cvFf "$tmp/cut")" 8
equal "fade/4: its frames are of the clip that comes" "$(told clip "$base:$p:transition=fade/4" | uniq -c | tr -s ' ' | tr '\n' ,)" " 5 0, 5 1, 9 2,"
for how in lookahead=0 lookahead=4 pace=live; do
    equal "fade/4: $how changes no frame" "$(sums "$base:$p:transition=fade/4:$how" | uniq)" "$(cat "$tmp/fade")"
done
equal "fade/4: threads change no frame" "$(sums "$base:$p:transition=fade/4" -filter_threads 1)" "$(cat "$tmp/fade")"
equal "fade/4: a channel that goes on" "$(sums "$base:$p:loop=-1:transition=fade/4" -frames:v 14)" "$(lines 1 14 < "$tmp/fade")"

# light FILE: R, G and B of all pixels, one a line
light() {
    od -A n -t u1 -v "$1" | tr -s ' ' '\n' | grep .
}
raw() {                                          # raw FILE GRAPH FRAMES
    write "$1" -f lavfi -i "$2,format=gbrp" -frames:v "$3" -f rawvideo
}
raw "$tmp/a.raw" "$base:$p,trim=start_frame=5" 4
raw "$tmp/b.raw" "$base:$p,trim=start_frame=9" 4
raw "$tmp/mix.raw" "$base:$p:transition=fade/4,trim=start_frame=5" 4
for file in a b mix; do
    light "$tmp/$file.raw" > "$tmp/$file.txt"
done
equal "fade/4: each value is what linear light makes it, to one step" "$(paste "$tmp/a.txt" "$tmp/b.txt" "$tmp/mix.txt" | awk '
    function light(v) { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ^ 2.4 }
    function value(l) { return 255 * (l <= 0.0031308 ? 12.92 * l : 1.055 * l ^ (1 / 2.4) - 0.055) }
    { w = (int((NR - 1) / (3 * 64 * 48)) + 1) / 5; d = $3 - value((1 - w) * light($1) + w * light($2)); n++
      bad += (d > 1 || d < -1); far += ($1 - $2 > 8 || $2 - $1 > 8) }
    END { print n, bad, (far > 1000) }')" "36864 0 1"
# psnr GRAPH GRAPH: the worst frame
psnr() {
    "$ffmpeg" -hide_banner -nostdin -f lavfi -i "$1" -f lavfi -i "$2" -lavfi psnr -f null - 2>&1 |
        sed -n 's/.*PSNR.* min:\([0-9inf.]*\).*/\1/p' | head -n 1
}
# the demo model's pictures, whose colours are not finer than chroma that is halved
printf '%s\n' 'a yellow circle moves to the right' 'a red square moves quickly to the left' > "$tmp/demo"
demo="turbodiff=programme=$tmp/demo:frames=9:seed=1:transition=fade/4"
for format in yuv444p yuv444p10 yuv420p yuv420p10 nv12 p010 rgb24; do
    worst=$(psnr "$demo,format=$format,scale=flags=accurate_rnd+full_chroma_int+full_chroma_inp,format=gbrp" "$demo,format=gbrp")
    if [ "$(echo "${worst:-0}" | awk '{ print ($1 == "inf" || $1 >= 38) }')" = 1 ]; then
        ok "fade/4: $format is as RGB"
    else
        fail "fade/4: $format is as RGB" "worst PSNR ${worst:-none} dB, expected at least 38"
    fi
done
for format in yuv420p yuv444p10 gbrp; do
    programme 'seed=5 | a cat' 'seed=5 | a cat'
    equal "fade to the same frame of a still: $format" "$(psnr "turbodiff=model=$model:s=64x48:frames=1:steps=1:$p:transition=fade/1,format=$format" \
        "turbodiff=model=$model:s=64x48:frames=1:steps=1:$p,format=$format" | awk '{ print ($1 == "inf" || $1 >= 48) }')" 1
done

programme 'a cat' 'in=fade/2 | a dog' 'a bird'
equal "in=fade/2: of this clip alone" "$(sums "$base:$p" | grep -c .) $(told clip "$base:$p" | uniq -c | tr -s ' ' | tr '\n' ,)" "25  7 0, 9 1, 9 2,"
programme 'a cat' 'in=cut | a dog' 'a bird'
equal "in=cut: in a channel that fades" "$(told clip "$base:$p:transition=fade/2" | uniq -c | tr -s ' ' | tr '\n' ,)" " 9 0, 7 1, 9 2,"
programme 'repeat=1 | a cat' 'a dog'
equal "repeat: it is the last time that fades" "$(told clip "$base:$p:transition=fade/2" | uniq -c | tr -s ' ' | tr '\n' ,)" " 16 0, 9 1,"
programme 'a cat' 'frames=5 | a dog' 'a bird'
equal "a fade longer than what is left of a clip" "$(told clip "$base:$p:transition=fade/3" | uniq -c | tr -s ' ' | tr '\n' ,)" " 6 0, 3 1, 9 2,"
programme 'frames=1 | a cat' 'a dog'
equal "a clip of one frame stands under the fade" "$(told clip "$base:$p:transition=fade/3" | uniq -c | tr -s ' ' | tr '\n' ,)" " 1 0, 9 1,"
mkfifo "$tmp/fifo"
timeout 20 sh -c 'exec > "$1"; printf "a cat\na dog\nin=cut | a bird\n"' sh "$tmp/fifo" &
equal "fades of lines from a pipe" "$(told clip "$base:programme=$tmp/fifo:transition=fade/4" | uniq -c | tr -s ' ' | tr '\n' ,)" " 5 0, 9 1, 9 2,"
wait $!
programme 'a cat' 'a dog' 'a bird'
for late in hold repeat pingpong; do
    equal "late=$late: all frames of the fades are there" "$(told state "$base:$p:pace=live:r=240:late=$late:transition=fade/4" | grep -c play)" 19
done

# say COMMANDS OPTIONS: whether the first of two clips is cut short, how many frames the other one has, and the first of them
say() {
    echo "$1" > "$tmp/commands"
    made -filter_complex "turbodiff@ch=model=$model:s=64x48:frames=17:seed=1:steps=1:$2,sendcmd=f=$tmp/commands,metadata=print:key=lavfi.turbodiff.clip:file=$tmp/clips[v]" \
        -map '[v]' -f framecrc - > "$tmp/crc"
    grep "$failure" "$tmp/crc"
    said=$(grep -c 'clip=0' "$tmp/clips")
    echo "$((said < 17)) $(grep -c 'clip=1' "$tmp/clips") $(grep '^0,' "$tmp/crc" | lines $((said + 1)) $((said + 1)) | tr -d ' ' | cut -d , -f 6)"
}
programme 'a cat' 'a dog'
first=$(sums "turbodiff=model=$model:s=64x48:frames=17:steps=1:seed=2:prompt=a dog" | head -n 1)
equal "next cut: the clip on air ends" "$(say '0.4 turbodiff@ch next cut' "$p:pace=live:transition=fade/4:lookahead=2:r=8")" "1 17 $first"
say '0.4 turbodiff@ch next' "$p:pace=live:transition=fade/4:lookahead=2:r=8" > "$tmp/said"
equal "next: it fades away" "$(cut -d ' ' -f 1,2 "$tmp/said") $(grep -c "$first" "$tmp/said")" "1 17 0"

echo "0.5 turbodiff@ch enqueue 'in=fade/4|a bird'; 0.5 turbodiff@ch enqueue 'in=cut:frames=5|a fish'; 0.5 turbodiff@ch enqueue 'a dog'" > "$tmp/commands"
"$ffmpeg" -hide_banner -nostdin -y -v verbose -filter_complex "turbodiff@ch=model=$model:s=64x48:frames=17:seed=1:steps=1:prompt=a cat:idle=hold:pace=live:transition=fade/2,sendcmd=f=$tmp/commands,trim=end_frame=12[v]" \
    -map '[v]' -f null - 2> "$tmp/log"
# 17 - 4, then 17, then 5 - 2 frames of a sixteenth of a second
equal "enqueue: when it is on air at the earliest, with the fades" "$(sed -n 's/.*Command reply.*at=\([0-9.]*\).*/\1/p' "$tmp/log" | tr '\n' ' ')" \
    "0.81 1.88 2.06 "

# ---- clips that go on from the one before ----

{ printf 'P6\n64 48\n255\n'; head -c $((64 * 48 * 3)) "$tmp/a.raw"; } > "$tmp/a.ppm"
image="turbodiff=model=$i2v:image=$tmp/a.ppm:s=64x48:frames=9:seed=1:steps=1:topk=1"
programme 'a cat' 'a dog' 'a bird'
sums "$image:$p" > "$tmp/cut"
sums "$image:$p:transition=continue" > "$tmp/on"
equal "continue: three clips of 9 frames are 25" "$(grep -c . "$tmp/on")" 25
equal "continue: times count on" "$(frames -f lavfi -i "$image:$p:transition=continue" | cut -d , -f 3 | tr '\n' ' ')" "$(seq -s ' ' 0 24) "
equal "continue: clips" "$(told clip "$image:$p:transition=continue" | uniq -c | tr -s ' ' | tr '\n' ,)" " 9 0, 8 1, 8 2,"
equal "continue: the first clip is as it was" "$(lines 1 9 < "$tmp/on")" "$(lines 1 9 < "$tmp/cut")"
equal "continue: those after it are not" "$(lines 10 25 < "$tmp/on" | grep -cvFf "$tmp/cut")" 16
for how in lookahead=0 lookahead=3 pace=live; do
    equal "continue: $how changes no frame" "$(sums "$image:$p:transition=continue:$how" | uniq)" "$(cat "$tmp/on")"
done
equal "continue: threads change no frame" "$(sums "$image:$p:transition=continue" -filter_threads 1)" "$(cat "$tmp/on")"
# the clip is nearly that of the same frame as a picture of 8 bits, and not that of any other
write "$tmp/last.raw" -f lavfi -i "$image:$p,trim=start_frame=8,format=rgb24" -frames:v 1 -f rawvideo
{ printf 'P6\n64 48\n255\n'; cat "$tmp/last.raw"; } > "$tmp/last.ppm"
second="${image%%:frames*}:frames=9:steps=1:topk=1:seed=2:prompt=a dog"
near=$(psnr "$image:$p:transition=continue,trim=start_frame=9:end_frame=17,setpts=N,format=gbrp" \
    "$(echo "$second" | sed 's/a\.ppm/last.ppm/'),trim=start_frame=1,setpts=N,format=gbrp")
far=$(psnr "$image:$p:transition=continue,trim=start_frame=9:end_frame=17,setpts=N,format=gbrp" \
    "$second,trim=start_frame=1,setpts=N,format=gbrp")
equal "continue: from the last frame, to more than 8 bits" "$(echo "${near:-0} ${far:-99}" | awk '{ print ($1 != "inf" && $1 > 35 && $2 < 30) }')" 1
equal "chain=2: a cut after two" "$(told clip "$image:$p:transition=continue:chain=2" | uniq -c | tr -s ' ' | tr '\n' ,)" " 9 0, 8 1, 9 2,"
equal "chain=2: it begins with the image" "$(sums "$image:$p:transition=continue:chain=2" | lines 18 26)" "$(lines 19 27 < "$tmp/cut")"
equal "chain=0: none" "$(count -f lavfi -i "$image:$p:loop=2:transition=continue:chain=0")" 73
equal "chain: six by default" "$(count -f lavfi -i "$image:$p:loop=2:transition=continue")" 74
sums "$image:$p:transition=continue:match=1" > "$tmp/match"
equal "match: the chain's first two clips stay, the third is another" \
    "$(lines 1 17 < "$tmp/match") $(lines 18 25 < "$tmp/match" | grep -cvFf "$tmp/on")" "$(lines 1 17 < "$tmp/on") 8"
# alone OPTION OPTIONS: the status, how many warnings there are of the option, and frames
alone() {
    rm -f "$tmp/one"
    run -v warning -f lavfi -i "$image:$p:$1$2" -frames:v 1 -f framecrc "$tmp/one"
    echo "$? $(grep -c "${1%=*} has no effect without transition=continue or in=continue" "$tmp/err") $(grep -c '^0,' "$tmp/one")"
}
for opt in match=1 chain=0 chain=7; do
    programme 'a cat' 'a dog' 'a bird'
    equal "$opt where no clip continues: one warning; and none where all do" "$(alone $opt "") $(alone $opt :transition=continue)" "0 1 1 0 0 1"
    programme 'a cat' 'in=continue | a dog' 'a bird'
    equal "$opt where a line continues: none" "$(alone $opt "")" "0 0 1"
done
equal "in=continue: of this clip alone" "$(sums "$image:$p" | lines 10 26)" "$(lines 10 17 < "$tmp/on"; lines 19 27 < "$tmp/cut")"
programme 'a cat' 'a dog' 'a bird'
echo '0.2 turbodiff prompt_now fish' > "$tmp/commands"
made -filter_complex "$image:$p:transition=continue:pace=live:lookahead=2,sendcmd=f=$tmp/commands,trim=end_frame=50,metadata=print:key=lavfi.turbodiff.seed:file=$tmp/seeds[v]" \
    -map '[v]' -f framecrc - | grep '^0,' | tr -d ' ' | cut -d , -f 6 | uniq > "$tmp/now"     # a frame may stand
programme 'a cat' "seed=$(sed -n 's/.*seed=//p' "$tmp/seeds" | uniq | sed -n 2p) | fish"
equal "prompt_now: it goes on from the clip on air, not from one that was dropped" "$(lines 1 17 < "$tmp/now")" "$(sums "$image:$p:transition=continue")"
# as fast as it can, a clip is seen while it is made; what ends it leaves a frame to go on from
echo '0.2 turbodiff next' > "$tmp/commands"
made -filter_complex "$image:frames=33:prompt=a cat:idle=repeat:transition=continue,sendcmd=f=$tmp/commands,trim=end_frame=60,metadata=print:key=lavfi.turbodiff.clip:file=$tmp/clips[v]" \
    -map '[v]' -f null - > "$tmp/said"
equal "next: a clip that is cut short goes on, too" "$(cat "$tmp/said")$(sed -n 's/.*clip=//p' "$tmp/clips" | uniq -c |
    awk '{ print ($1 < 32) $2 }' | head -n 2 | tr '\n' ' ')" "10 01 "

# ---- what is wrong ----

wrong() {                                        # wrong NAME PATTERN OPTIONS
    run -f lavfi -i "$3" -f null -
    refused "$1" "$2" 'Error\|Failed' $?
}
for bad in fade fade/ fade/0 fade/509 fade/x fade/3x wipe/3; do
    wrong "transition=$bad" "transition '$bad': expected cut, fade/FRAMES" "$base:$p:transition=$bad"
done
wrong "transition is empty" "transition is empty: expected how .*: cut, fade/FRAMES" "$base:$p:transition="
wrong "a transition of one clip" "transition: expected programme" "$base:prompt=a cat:transition=fade/3"
wrong "text to video cannot continue" "expected an image-to-video model" "$base:$p:transition=continue"
programme 'a cat' 'in=fade/x | a dog'
wrong "a programme's transition" "p:2: in 'fade/x': expected cut, fade/FRAMES" "$base:$p"
programme '# a comment' 'a cat' '' 'in=continue | a dog'
wrong "a line that text to video cannot continue" "p:4: in: .* expected an image-to-video model" "$base:$p"

programme 'a cat' 'a dog'
wrong "image to video without an image" "no image" "turbodiff=model=$i2v:s=64x48:frames=9:$p:transition=continue"
wrong "chain of one clip" "chain, match: expected programme" "$base:prompt=a cat:chain=3"
wrong "match of one clip" "chain, match: expected programme" "$base:prompt=a cat:match=1"

echo "$suite: $passed passed, $failed failed"
[ $failed -eq 0 ]
