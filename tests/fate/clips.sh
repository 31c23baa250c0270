#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Clips of turbodiff_i2v that follow each other or the input: what they share, whose prompts they have, and how they go along
# with a live input. clips.sh DIR MODEL, as i2v.sh
set -u
LC_ALL=C
export LC_ALL

dir=$1
model=$2
ffmpeg=$dir/ffmpeg
ffprobe=$dir/ffprobe
case $dir in
*/small-*) suite=fate-clips-${dir##*/small-} ;;
*)         suite=fate-clips ;;
esac
. "$(dirname "$0")/cases.sh"

in="testsrc2=s=64x48:r=25:d=0.2"
o="model=$model:seed=1:frames=9:steps=1:topk=1:s=64x48"
f="turbodiff_i2v=$o:prompt=a cat"
# crc INPUT FILTERS: number, time, duration, bytes and checksum of each frame
crc() {
    frames -copyts -f lavfi -i "$1" -vf "$2" -fps_mode passthrough
}
sums() {
    crc "$1" "$2" | cut -d , -f 6
}
stamps() {
    crc "$1" "$2" | cut -d , -f 3 | tr '\n' ' '
}
lines() {                                        # lines FROM TO: of what comes
    sed -n "$1,$2p"
}
# told KEY INPUT FILTERS: what the frames say, run lengths and values
told() {
    made -f lavfi -i "$2,$3,metadata=print:key=lavfi.turbodiff.$1:file=-" -f null - | sed -n "s/.*turbodiff.$1=//p" | uniq -c |
        awk '{ n = $1; $1 = ""; printf "%s*%s,", n, substr($0, 2) }'
}

# ---- overlap ----

sums "$in" "$f" > "$tmp/one"
sums "$in" "$f:clips=3" > "$tmp/three"
sums "$in" "$f:clips=3:overlap=0" > "$tmp/twice"
equal "overlap=1, the default: three clips of 9 frames are 25" "$(grep -c . "$tmp/three") $(stamps "$in" "$f:clips=3")" "25 $(seq -s ' ' 0 24) "
equal "overlap=0: they are 27" "$(grep -c . "$tmp/twice") $(stamps "$in" "$f:clips=3:overlap=0")" "27 $(seq -s ' ' 0 26) "
equal "overlap=1: the first clip is as alone" "$(lines 1 9 < "$tmp/three")" "$(cat "$tmp/one")"
equal "overlap=1: of the others the first frame alone is left out" "$(lines 10 25 < "$tmp/three")" \
    "$(lines 11 18 < "$tmp/twice"; lines 20 27 < "$tmp/twice")"
equal "overlap=1: one clip is as it was" "$(sums "$in" "$f:overlap=0")" "$(cat "$tmp/one")"
sums "$in" "$f:clips=3:overlap=4" > "$tmp/mixed"
equal "overlap=4: 9 frames and 5 for each more" "$(stamps "$in" "$f:clips=3:overlap=4")" "$(seq -s ' ' 0 18) "
equal "overlap=4: a clip goes on from the frame that the mixed ones follow" "$(lines 1 6 < "$tmp/mixed")" "$(lines 1 6 < "$tmp/one")"
equal "overlap=4: what is mixed is neither" "$(lines 7 9 < "$tmp/mixed" | grep -cvFf "$tmp/three")" 3
equal "overlap=8: all but one of 9" "$(stamps "$in" "$f:clips=5:overlap=8")" "$(seq -s ' ' 0 12) "
# the values of the frame in the middle of four: as much of the one as of the other, in linear light
mixed() {                                        # mixed FILE FILTERS FRAME: its R, G and B, one a line
    write "$tmp/raw" -f lavfi -i "$in" -vf "$2,trim=start_frame=$3,format=gbrp" -frames:v 1 -f rawvideo
    od -A n -t u1 -v "$tmp/raw" | tr -s ' ' '\n' | grep . > "$1"
}
mixed "$tmp/a" "$f" 7
mixed "$tmp/mix" "$f:clips=2:overlap=4" 7
equal "overlap=4: it is a mixture in linear light" "$(paste "$tmp/a" "$tmp/mix" | awk '
    function light(v) { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ^ 2.4 }
    { n++; l = 2 * light($2) - light($1); bad += (l < -0.02 || l > 1.02); same += ($1 == $2) }
    END { print n, (bad < n / 100), (same < n / 2) }')" "9216 1 1"
crc "testsrc2=s=64x48:r=25:d=2" "$f:every=25:clips=2:overlap=3" > "$tmp/every"
equal "overlap with every: the output keeps its times" "$(cut -d , -f 3 "$tmp/every" | tr '\n' ' ')" "$(seq -s ' ' 0 31) "
equal "overlap with every: a cut in the middle of a fade" "$(told seed "testsrc2=s=64x48:r=25:d=1.2" "$f:every=12:clips=4:overlap=3")" \
    "7*1,1*2,7*3,4*4,"

e="turbodiff_i2v=mode=extend:$o:prompt=a cat"
film="testsrc2=s=64x48:r=16:d=0.3125,format=yuv420p"
equal "extend: the input's last frame is the clip's first one, and not seen twice" "$(stamps "$film" "$e") $(sums "$film" "$e" | lines 6 13)" \
    "$(seq -s ' ' 0 12)  $(sums "$film" "$e:overlap=0" | lines 7 14)"
equal "extend: clips=2" "$(stamps "$film" "$e:clips=2")" "$(seq -s ' ' 0 20) "
# the clip's frames are a sixteenth of a second after the input's last one, and after each other
for rate in 24 25 30 30000/1001 24000/1001; do
    write "$tmp/in.mp4" -f lavfi -i "testsrc2=s=64x48:r=$rate" -frames:v 6 -c:v mpeg4 -q:v 2
    write "$tmp/out.mp4" -i "$tmp/in.mp4" -vf "$e" -c:v mpeg4 -q:v 2
    equal "extend: $rate frames a second, even steps in mp4" "$("$ffprobe" -v error -show_entries packet=pts_time -of csv=p=0 "$tmp/out.mp4" |
        awk -v rate=$rate 'BEGIN { split(rate, r, "/"); in_step = (r[2] ? r[2] : 1) / r[1] }
            NR > 1 { d = $1 - last; want = NR <= 6 ? in_step : 0.0625; n++; bad += (d - want > 2e-5 || want - d > 2e-5) } { last = $1 } END { print n, bad + 0 }')" "13 0"
done

# a constant rate, as doc/filters_i2v.texi has it: the film's frames as they are, and each of the clip's times with a picture of its own
for smooth in framerate=fps=25:interp_start=0:interp_end=255:scene=100 minterpolate=fps=25:scd=none; do
    "$ffmpeg" -hide_banner -v error -h filter="${smooth%%=*}" | grep -q '^Filter' || continue
    write "$tmp/in.nut" -f lavfi -i "testsrc2=s=64x48:r=25" -frames:v 12 -c:v ffv1
    frames -i "$tmp/in.nut" | cut -d , -f 6 > "$tmp/film"
    frames -i "$tmp/in.nut" -vf "$e:frames=33,$smooth" > "$tmp/smooth"
    equal "extend: ${smooth%%=*} at the film's rate" "$(cut -d , -f 6 "$tmp/smooth" | lines 1 12) $(lines 13 58 < "$tmp/smooth" |
        cut -d , -f 6 | uniq | grep -c .) $(awk -F , 'NR > 1 { bad += $3 != n + 1 } { n = $3 } END { print bad + 0 }' "$tmp/smooth")" "$(cat "$tmp/film") 46 0"
done

# ---- prompts ----

programme() {                                    # programme LINE...: to $tmp/p
    printf '%s\n' "$@" > "$tmp/p"
}
g="turbodiff_i2v=$o:prompts=$tmp/p"
programme 'a cat' '# no clip' 'seed=7:frames=5:id=x | a dog, "quickly": now' 'a bird'
equal "prompts: as many clips as lines" "$(told prompt "$in" "$g")" '9*a cat,4*a dog, "quickly": now,8*a bird,'
equal "prompts: seeds" "$(told seed "$in" "$g")" '9*1,4*7,8*3,'
equal "prompts: id" "$(told id "$in" "$g")" '4*x,'
equal "prompts: the first clip is that of its prompt" "$(sums "$in" "$g" | lines 1 9)" "$(cat "$tmp/one")"
equal "prompts: clips=1" "$(sums "$in" "$g:clips=1")" "$(cat "$tmp/one")"
equal "prompts: after the last one the first one" "$(told prompt "$in" "$g:clips=4" | tr -d '"')" '9*a cat,4*a dog, quickly: now,8*a bird,8*a cat,'
equal "prompts: a line for each clip that every begins" "$(told prompt "testsrc2=s=64x48:r=25:d=1.5" "$g:every=12" | tr -d '"')" \
    '8*a cat,7*a dog, quickly: now,8*a bird,1*a cat,'
equal "prompts: overlap" "$(told seed "$in" "$g:overlap=3")" '7*1,2*7,8*3,'
programme 'steps=2:negative=x | a cat'
equal "prompts: steps of a line" "$(told steps "$in" "$g")" '9*2,'
mkfifo "$tmp/fifo"
timeout 20 sh -c 'exec > "$1"; sleep 0.5; printf "a cat\na dog\n"' sh "$tmp/fifo" &
equal "prompts from a pipe: the last one stays" "$(told prompt "$in" "turbodiff_i2v=$o:clips=3:prompts=$tmp/fifo")" '9*a cat,16*a dog,'
wait $!

# ---- live: the input is read while clips are made ----

# live INPUT FILTERS [OPTION]...: the input at its own pace; checksums go to $tmp/sums, times to $tmp/times, clip and state of each
# frame to $tmp/clips
live() {
    live_in=$1
    live_filters=$2
    shift 2
    made "$@" -copyts -re -f lavfi -i "$live_in" -filter_complex "$live_filters,metadata=print:file=$tmp/live" -fps_mode passthrough \
        -f framecrc - > "$tmp/crc"
    grep "$failure" "$tmp/crc"
    grep '^0,' "$tmp/crc" | tr -d ' ' > "$tmp/frames"
    cut -d , -f 3 "$tmp/frames" > "$tmp/times"
    cut -d , -f 6 "$tmp/frames" > "$tmp/sums"
    sed -n 's/.*turbodiff.clip=//p' "$tmp/live" > "$tmp/clip"
    sed -n 's/.*turbodiff.state=//p' "$tmp/live" > "$tmp/state"
}
# even FIRST LAST: times that go by one from more than FIRST to LAST
even() {
    awk -v first="$1" -v last="$2" 'NR > 1 { bad += $1 != n + 1 } { n = $1; if (NR == 1) early = $1 <= first }
        END { print (NR > 1), bad + 0, early + 0, n == last }' "$tmp/times"
}
still="color=red:s=64x48:r=25"
l="turbodiff_i2v=$o:live=1"
live "$still:d=3" "$l:prompt=a cat" > "$tmp/said"
equal "live: frames without a gap to the input's end" "$(cat "$tmp/said")$(even 0 47)" "1 0 0 1"
paste -d ' ' "$tmp/clip" "$tmp/state" "$tmp/sums" | awk '$2 == "play" { print $1, $3 }' > "$tmp/played"
equal "live: each clip whole, one after the other, but for the last one" "$(cut -d ' ' -f 1 "$tmp/played" | uniq -c |
    awk '{ n[$2] = $1; last = $2 } END { for (i = 0; i < last; i++) bad += n[i] != 9; print bad + 0, (last > 0) }')" "0 1"
for n in 0 1; do
    equal "live: clip $n is that of its frame and seed" "$(sed -n "s/^$n //p" "$tmp/played")" \
        "$(sums "$still" "turbodiff_i2v=$o:prompt=a cat:seed=$((n + 1))")"
done
# clips that take longer to make than to show
slow="turbodiff_i2v=$o:live=1:prompt=a cat:s=256x256"
start=$(date +%s%N)
live "testsrc2=s=64x48:r=25:d=6" "$slow" > "$tmp/said"
ms=$((($(date +%s%N) - start) / 1000000))
equal "live: frames without a gap where clips are late" "$(cat "$tmp/said")$(even 0 95) $(grep -c hold "$tmp/state" | awk '{ print ($1 > 0) }')" "1 0 0 1 1"
[ -s "$tmp/times" ] && [ ! -s "$tmp/said" ] && [ $ms -lt 9000 ] && ok "live: the input is not kept waiting" || fail "live: the input is not kept waiting" "$ms ms for 6 s"
equal "live: a picture's clip is whole" "$(sums "$still,trim=end_frame=1" "$l:prompt=a cat")" "$(sums "$still" "$f")"
equal "live: so is that of an input that is over before it is made" "$(count -f lavfi -i "$still:d=0.1" -vf "$l:prompt=a cat")" 9
equal "live: empty input" "$(count -v warning -f lavfi -i "$still:d=1,trim=end_frame=0" -vf "$l:prompt=a cat") $(
    grep -c 'no frame to start a clip from' "$tmp/err")" "0 1"
live "$still:d=4" "$l:prompt=a cat:overlap=3" > "$tmp/said"
sums "$still" "turbodiff_i2v=$o:prompt=a cat:seed=2" > "$tmp/second"
equal "live: overlap fades from clip to clip" "$(cat "$tmp/said")$(paste -d ' ' "$tmp/clip" "$tmp/state" "$tmp/sums" | sed -n 's/^1 play //p' |
    lines 1 9 | grep -nFf "$tmp/second" | cut -d : -f 1 | lines 1 1)" 4
programme 'a cat' 'a dog'
live "$still:d=3" "$l:prompts=$tmp/p" > "$tmp/said"
equal "live: prompts" "$(cat "$tmp/said")$(sed -n 's/.*turbodiff.prompt=//p' "$tmp/live" | uniq | lines 1 3 | tr '\n' ,)" "a cat,a dog,a cat,"
programme 'a cat' 'a dog'
sums "$still" "turbodiff_i2v=$o:prompts=$tmp/p" > "$tmp/continued"
programme 'a cat' 'in=continue | a dog'
live "$still:d=3" "$l:prompts=$tmp/p" > "$tmp/said"
equal "live: a line with in=continue goes on from the end of the clip before" "$(cat "$tmp/said")$(paste -d ' ' "$tmp/clip" "$tmp/state" "$tmp/sums" |
    sed -n 's/^[01] play //p')" "$(cat "$tmp/continued")"
echo "0.2 turbodiff_i2v prompt 'a bird'; 0.4 turbodiff_i2v status" > "$tmp/commands"
"$ffmpeg" -hide_banner -nostdin -y -v verbose -re -f lavfi -i "$still:d=4" -filter_complex "$l:prompt=a cat,setpts=PTS-STARTPTS,sendcmd=f=$tmp/commands,metadata=print:file=$tmp/live" \
    -f null - 2> "$tmp/log"
equal "live: commands" "$(sed -n 's/.*turbodiff.prompt=//p' "$tmp/live" | uniq | tr '\n' ,) $(grep -c 'Command reply.*state=' "$tmp/log")" "a cat,a bird, 1"
equal "live: an interlaced input is told how" "$(count -v warning -f lavfi -i "$still:d=0.1,setparams=field_mode=tff" -vf "$l:prompt=a cat") $(
    grep -c 'interlaced.*bwdif' "$tmp/err")" "9 1"
change="testsrc2=s=70x50:r=25:d=3,scale=w='if(lt(n,38),70,100)':h='if(lt(n,38),50,100)':eval=frame:flags=neighbor,format=yuv420p"
# gaps: how many times are left out
gaps() {
    awk 'NR > 1 { bad += $1 != n + 1 } { n = $1 } END { print bad + 0 }' "$tmp/times"
}
for reinit in 1 0; do
    live "$change" "$l:prompt=a cat" -reinit_filter $reinit > "$tmp/said"
    equal "live: time goes on without a gap after a change of size, reinit_filter=$reinit" "$(cat "$tmp/said")$(gaps) $(tail -n 1 "$tmp/times") $(
        grep -c . "$tmp/times" | awk '{ print ($1 > 20) }')" "0 47 1"
done
live "$change" "$l:prompt=a cat:metrics=$tmp/metrics" > "$tmp/said"
equal "live: metrics after a change of size" "$(cat "$tmp/said")$(grep -c 'state="end"} 1$' "$tmp/metrics")" 1
# spoiled COMMAND OPTIONS: a live stream whose size changes some time after COMMAND: whether it goes on to its end, with clips; the
# prompts of those, as the graph is built anew
spoiled() {
    (sleep 1.5; eval "$1") &
    live "testsrc2=s=70x50:r=25:d=7,scale=w='if(lt(n,75),70,100)':h='if(lt(n,75),50,100)':eval=frame:flags=neighbor,format=yuv420p" \
        "$l:$2" -v warning > "$tmp/said"
    wait $!
    cat "$tmp/said"
    played=$(grep -c 'state=play' "$tmp/live")
    printf '%d %d ' $((${played:-0} > 5)) "$(tail -n 1 "$tmp/times")"
    awk '/turbodiff.prompt=/ { prompt = substr($0, index($0, "=") + 1) } /state=play/ { print prompt }' "$tmp/live" | sort -u | tr '\n' ,
}
programme 'a cat'
equal "live: a change of size while a line of prompts is wrong" "$(spoiled "echo 'seed=x | a dog' > '$tmp/p'" "prompts=$tmp/p")" "1 111 a cat,"
grep -q "prompts '$tmp/p': its 1 clips before stay" "$tmp/err" && ok "live: a warning says so" || fail "live: a warning says so" "$(cat "$tmp/err")"
programme 'a cat'
equal "live: the same while the file is gone" "$(spoiled "rm '$tmp/p'" "prompts=$tmp/p")" "1 111 a cat,"
echo 'a cat' > "$tmp/text"
equal "live: while a textfile is gone" "$(spoiled "rm '$tmp/text'" "textfile=$tmp/text")" "1 111 a cat,"
grep -q "textfile '$tmp/text': the prompt before stays" "$tmp/err" && ok "live: a warning says that, too" ||
    fail "live: a warning says that, too" "$(cat "$tmp/err")"
echo 'a cat' > "$tmp/text"
equal "live: a textfile that has changed is read again" "$(spoiled "echo 'a dog' > '$tmp/text'" "textfile=$tmp/text")" "1 111 a dog,"
# on a change of size nobody writes to the pipe again; who does so would be seen
timeout 20 sh -c 'echo "a cat" > "$1"' sh "$tmp/fifo" &
equal "live: a textfile that is a pipe is read once" \
    "$(spoiled "timeout 6 sh -c 'echo a dog > \"\$1\"' sh '$tmp/fifo'" "textfile=$tmp/fifo")" "1 111 a cat,"
# a model that is not there when the graph is built anew; it comes back
away="mv '$tmp/model' '$tmp/away'; sleep 3; mv '$tmp/away' '$tmp/model'"
cp -r "$model" "$tmp/model"
for on_error in skip restart; do
    equal "live: a change of size while the model is gone, on_error=$on_error" "$(spoiled "$away" "prompt=a cat:model=$tmp/model:on_error=$on_error")" "1 111 a cat,"
    equal "live: meanwhile the last picture stands" "$(gaps) $(head -n 1 "$tmp/state")" "0 hold"
    equal "live: a warning says when it is tried again" "$(grep -c 'The model is not loaded: .*; the next try is in 1 s' "$tmp/err")" 1
done
# one of another kind in its place, for a while
"${dir%/small-*}/tdsynth" --preset=tiny --format=pth --spiece="$(dirname "$0")/../data/spiece.model" "$tmp/text-model" 2> "$tmp/err" ||
    fail "a text-to-video model" "$(cat "$tmp/err")"
for on_error in skip restart; do
    other="mv '$tmp/model' '$tmp/away'; cp -r '$tmp/text-model' '$tmp/model'; sleep 3; rm -r '$tmp/model'; mv '$tmp/away' '$tmp/model'"
    equal "live: a change of size while the model is one of another kind, on_error=$on_error" \
        "$(spoiled "$other" "prompt=a cat:model=$tmp/model:on_error=$on_error")" "1 111 a cat,"
    equal "live: a line says what was expected" "$(grep -c 'is a text-to-video model: expected an image-to-video model' "$tmp/err" |
        awk '{ print ($1 > 0) }') $(grep -c 'The model is not loaded: .*; the next try is in 1 s' "$tmp/err")" "1 1"
done
for on_error in skip restart; do
    began=$(date +%s)
    spoiled "mv '$tmp/model' '$tmp/away'" "prompt=a cat:model=$tmp/model:on_error=$on_error" > "$tmp/spoiled"
    equal "live: where the model stays away the input's end is the end, on_error=$on_error" \
        "$(grep -c "$failure" "$tmp/spoiled") $(($(date +%s) - began < 20)) $(grep -c . "$tmp/times" | awk '{ print ($1 > 20) }')" "1 1 1"
    mv "$tmp/away" "$tmp/model"
done
spoiled "$away" "prompt=a cat:model=$tmp/model" > "$tmp/spoiled"
equal "live: the same with on_error=stop: the end, with one line" "$(grep -c "$failure" "$tmp/spoiled") $(grep -c "^.Parsed_turbodiff_i2v.*$tmp/model" "$tmp/err")" "1 1"
# a shape that adaptive has no size for, for a while
strip="testsrc2=s=70x50:r=25:d=7,scale=w='if(between(n,75,120),1024,70)':h='if(between(n,75,120),4,50)':eval=frame:flags=neighbor,format=yuv420p"
no_shape='adaptive: no size of about 64x48 pixels has the shape 256x1'
live "$strip" "$l:prompt=a cat:adaptive=1:on_error=skip" -v warning > "$tmp/said"
equal "live: a shape that adaptive has no size for, on_error=skip" "$(cat "$tmp/said")$(gaps) $(tail -n 1 "$tmp/times") $(
    grep "$no_shape" "$tmp/err" | head -n 1 | wc -l)" "0 111 1"
live "$strip" "$l:prompt=a cat:adaptive=1" -v warning > "$tmp/said"
equal "live: the same with on_error=stop: the end, with one line" "$(grep -c "$failure" "$tmp/said") $(grep -c "^.Parsed_turbodiff_i2v.*$no_shape" "$tmp/err")" "1 1"
# what no clip can begin with: the error of each clip
for bad in color_trc=smpte2084 colorspace=ycgco; do
    for on_error in stop skip; do
        run -v warning -f lavfi -i "$still:d=1,format=yuv420p,setparams=$bad" -vf "$l:prompt=a cat:on_error=$on_error" -f null -
        equal "live: $bad, on_error=$on_error" "$(($? != 0)) $(grep 'The input .* expected' "$tmp/err" | head -n 1 | wc -l) $(
            grep 'The clip is left out: Invalid' "$tmp/err" | head -n 1 | wc -l)" "1 1 $([ $on_error = skip ] && echo 1 || echo 0)"
    done
done
"$ffmpeg" -hide_banner -nostdin -y -v error -re -f lavfi -i "$still" -vf "$slow" -f null - 2> "$tmp/log" &
sleep 1.5
interrupted "live: SIGINT" $! "$tmp/log"

# ---- what is wrong ----

bad() {                                          # bad NAME PATTERN FILTERS
    run -f lavfi -i "$in" -vf "$3" -f null -
    refused "$1" "$2" 'Failed to configure output\|Error opening input\|^Error \|Error setting option\|Error applying option\|Error reinitializing\|Error while filtering' $?
}
bad "overlap of a whole clip"  "overlap 9: expected less than the 9 frames" "$f:clips=2:overlap=9"
bad "overlap"                  "'overlap' out of range"     "$f:overlap=-1"
programme 'frames=5 | a cat' 'a dog'
bad "overlap of a line's clip" "overlap 5: expected less than the 5 frames" "$g:overlap=5"
bad "prompts and a prompt"     "expected one of them"       "$g:prompt=a"
bad "prompts is empty"         "prompts is empty: expected a file or pipe" "turbodiff_i2v=$o:prompts="
bad "no file of prompts"       "prompts '$tmp/none' cannot be read: No such file"               "turbodiff_i2v=$o:prompts=$tmp/none"
programme 'a cat' '' 'repeat=2 | a dog'
bad "repeat in prompts"        "p:3: repeat and in are for a channel" "$g"
programme 'a cat' 'in=cut | a dog'
bad "in in prompts"            "p:2: repeat and in are for a channel" "$g"
programme 'a cat' 'speed=1 | a dog'
bad "a line of prompts"        "p:2: 'speed': expected one of seed" "$g"

for other in mode=extend every=5 clips=2; do
    bad "live with $other" "live: expected mode replace" "$f:live=1:$other"
done
: > "$tmp/p"
for other in prompts live=1:prompts; do
    bad "prompts without a clip, $other" "prompts '$tmp/p' has no clip, expected a prompt in each line" "turbodiff_i2v=$o:$other=$tmp/p"
done
bad "a device without prompts, live" "prompts '/dev/null' ended without a clip" "turbodiff_i2v=$o:live=1:prompts=/dev/null"
mkfifo "$tmp/empty_pipe"
timeout 5 sh -c ': > "$1"' sh "$tmp/empty_pipe" &
bad "a pipe without prompts, live" "prompts '$tmp/empty_pipe' ended without a clip" "turbodiff_i2v=$o:live=1:prompts=$tmp/empty_pipe"
bad "no file of prompts, live" "prompts '$tmp/none' cannot be read: No such file" "turbodiff_i2v=$o:live=1:prompts=$tmp/none"
for other in on_error=skip timeout=5 metrics=$tmp/m; do
    bad "${other%%=*} without live" "${other%%=*}: expected live=1" "$f:$other"
done
bad "fallback without on_error" "fallback: expected on_error=restart" "$f:live=1:fallback=cpu"
bad "live without a prompt" "No prompt: expected" "turbodiff_i2v=$o:live=1"

echo "$suite: $passed passed, $failed failed"
[ $failed -eq 0 ]
