#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The turbodiff source as a channel: programmes, pacing, commands. channel.sh DIR MODEL, as run.sh
set -u
LC_ALL=C
export LC_ALL

dir=$1
model=$2
ffmpeg=$dir/ffmpeg
case $dir in
*/small-*) suite=fate-channel-${dir##*/small-} ;;
*)         suite=fate-channel ;;
esac
. "$(dirname "$0")/cases.sh"

base="turbodiff=model=$model:s=64x48:frames=9:seed=1:steps=1"
clip() {                                         # clip OPTIONS PROMPT: its frames' checksums
    frames -f lavfi -i "turbodiff=model=$model:s=64x48:steps=1:$1:prompt=$2" | cut -d , -f 6
}
sums() {                                         # of a channel's frames
    frames -f lavfi -i "$@" | cut -d , -f 6
}
# states GRAPH OPTION...: what metadata KEY says of each frame, one a line
told() {
    key=$1
    shift
    made -f lavfi -i "$1,metadata=print:key=lavfi.turbodiff.$key:file=-" -f null - | sed -n "s/.*turbodiff.$key=//p"
}
programme() {                                    # programme LINE...: to $tmp/p
    printf '%s\n' "$@" > "$tmp/p"
}

# ---- programmes ----

programme '# a comment' 'a cat' '' 'seed=7:frames=5:id=x | a dog, "quickly": now' 'repeat=1:d=0.25 | a bird'
{
    clip frames=9:seed=1 'a cat'
    clip frames=5:seed=7 'a dog\, "quickly"\\: now'
    clip d=0.25:seed=3 'a bird'
    clip d=0.25:seed=3 'a bird'
} > "$tmp/want"
equal "a programme's frames are those of its clips" "$(sums "$base:programme=$tmp/p")" "$(cat "$tmp/want")"
equal "times count on" "$(frames -f lavfi -i "$base:programme=$tmp/p" | cut -d , -f 3 | tr '\n' ' ')" \
    "$(seq -s ' ' 0 21) "
equal "lookahead changes no frame" "$(sums "$base:programme=$tmp/p:lookahead=0")$(sums "$base:programme=$tmp/p:lookahead=4")" \
    "$(cat "$tmp/want")$(cat "$tmp/want")"
equal "threads change no frame" "$(sums "$base:programme=$tmp/p" -filter_threads 1)" "$(cat "$tmp/want")"
equal "clip and id of each frame" "$(told clip "$base:programme=$tmp/p" | uniq -c | tr -s ' ' | tr '\n' ,)$(told id \
    "$base:programme=$tmp/p" | uniq -c | tr -s ' ')" " 9 0, 5 1, 8 2, 5 x"
equal "loop: as many rounds more" "$(count -f lavfi -i "$base:programme=$tmp/p:loop=2")" 66
equal "loop: a line with a seed is the same again, one without is not" \
    "$(sums "$base:programme=$tmp/p:loop=1" | sed -n '10,14p;32,36p' | sort | uniq -c | awk '{print $1}' | uniq)" 2
equal "loop: for ever" "$(count -f lavfi -i "$base:programme=$tmp/p:loop=-1" -frames:v 100)" 100
equal "idle=repeat: the prompt goes on, with other seeds" "$(told seed "$base:prompt=a cat:idle=repeat,trim=end_frame=27" |
    uniq | tr '\n' ' ')" "1 2 3 "
printf '\357\273\277seed=3 | a cat\r\nid=a\\:b\\|c|a dog' > "$tmp/p"
equal "a mark at the start, line ends of two bytes, none at the end; escapes" \
    "$(told seed "$base:programme=$tmp/p" | uniq | tr '\n' ' ')$(told id "$base:programme=$tmp/p" | uniq)" "3 2 a:b|c"

mkfifo "$tmp/fifo"
timeout 20 sh -c 'exec > "$1"; printf "id=a | a cat\n"; sleep 1; printf "nonsense=1 | a\nid=b | a dog"' sh "$tmp/fifo" &
told id "$base:programme=$tmp/fifo" | uniq -c | tr -s ' ' > "$tmp/told"
wait $!
equal "a pipe: lines as they come, an error is skipped" "$(cat "$tmp/told")" " 9 a
 9 b"
grep -q "fifo:2: 'nonsense'" "$tmp/err" && ok "a pipe: the line at fault" || fail "a pipe: the line at fault" "$(cat "$tmp/err")"

for line in '\n\n\n' '# no clip\n' ''; do
    timeout 5 sh -c 'exec > "$1"; printf "$2"' sh "$tmp/fifo" "$line" &
    run -f lavfi -i "$base:programme=$tmp/fifo" -f null -
    refused "a pipe without a clip: '$line'" "programme .*fifo' ended without a clip" 'Error\|Failed' $?
    wait $!
done
run -f lavfi -i "$base:programme=/dev/null" -f null -
refused "a device without a clip" "programme '/dev/null' ended without a clip" 'Error\|Failed' $?
timeout 5 sh -c 'exec > "$1"; printf "id=a | a cat\nid=b | a\0dog\n\0\nid=c | a bird\n"' sh "$tmp/fifo" &
told id "$base:programme=$tmp/fifo" | uniq | tr '\n' ' ' > "$tmp/told"
wait $!
equal "a pipe: a line with a NUL byte is left out, and named" "$(cat "$tmp/told") $(grep -c "fifo:[23]: a line with a NUL byte" "$tmp/err")" "a c  2"
# what never ends a line, or has nothing in them, keeps nobody
for endless in 'cat /dev/zero' "yes ''" "yes '#'"; do
    timeout 9 sh -c 'exec > "$1"; eval "$2"' sh "$tmp/fifo" "$endless" 2> /dev/null &
    "$ffmpeg" -hide_banner -nostdin -v error -f lavfi -i "$base:programme=$tmp/fifo" -f null - 2> "$tmp/log" &
    pid=$!
    sleep 2
    interrupted "SIGINT while a pipe says nothing for ever: $endless" $pid "$tmp/log"
done

programme 'id=old | a cat'
(sleep 1.5; printf 'id=new | a dog\n' > "$tmp/p2"; mv "$tmp/p2" "$tmp/p") &
told id "$base:programme=$tmp/p:loop=-1:pace=live,trim=end_frame=70" | uniq > "$tmp/told"
wait $!
equal "a file that is replaced is read in the next round" "$(cat "$tmp/told" | tr '\n' ' ')" "old new "

# wrong NAME PATTERN OPTIONS: one line of the filter, and no success
wrong() {
    run -f lavfi -i "$3" -f null -
    refused "$1" "$2" 'Error\|Failed' $?
}
programme 'a cat' 'seed=x | a dog'
wrong "a programme's value" "p:2: seed 'x': expected 0 to" "$base:programme=$tmp/p"
programme 'speed=1 | a dog'
wrong "a programme's key" "p:1: 'speed': expected one of seed" "$base:programme=$tmp/p"
programme 'frames=600 | a dog'
wrong "a programme's frames" "frames '600': expected 1 to 509" "$base:programme=$tmp/p"
programme "negative=$(printf '\377') | a dog"
wrong "a programme's negative" "p:1: negative: is not UTF-8" "$base:programme=$tmp/p"
programme "id=$(seq -s . 100) | a dog"
wrong "a programme's name" "p:1: id '1.2.3.4.*': expected at most 200 bytes" "$base:programme=$tmp/p"
programme 'steps=2 | a dog'
wrong "a programme's steps beside timesteps" "steps '2': expected as many as timesteps has" "$(echo "$base" | sed 's/:steps=1//'):timesteps=1:programme=$tmp/p"
programme 'steps=5 | a dog'
wrong "a programme's steps" "steps '5': expected 1 to 4" "$base:programme=$tmp/p"
programme 'frames=5:d=1 | a dog'
wrong "a programme's frames and duration" "p:1: both frames and d: expected one of them" "$base:programme=$tmp/p"
programme 'a cat' 'seed=1:steps=1:seed=2 | a dog'
wrong "a programme's seed, twice" "p:2: seed is there twice: expected it once" "$base:programme=$tmp/p"
programme 'seed=1 |'
wrong "a programme's prompt" "p:1: the prompt is empty" "$base:programme=$tmp/p"
programme '# nothing'
wrong "a programme without a clip" "has no clip" "$base:programme=$tmp/p"
printf 'a\0b\n' > "$tmp/p"
wrong "a programme that is no text" "NUL byte" "$base:programme=$tmp/p"
wrong "no programme" "No such file" "$base:programme=$tmp/none"
wrong "a directory" "Is a directory" "$base:programme=$tmp"
programme 'a cat'
wrong "programme and prompt" "expected one of them" "$base:programme=$tmp/p:prompt=a cat"
wrong "programme is empty" "programme is empty: expected a file or pipe with the prompt of a clip in each line" "$base:programme="
wrong "slate is empty" "slate is empty: expected the picture file of late=slate" "$base:prompt=a cat:pace=live:late=slate:slate="
wrong "loop without a programme" "loop: expected a programme" "$base:prompt=a cat:loop=1"
wrong "late without a clock" "late: expected pace=live" "$base:prompt=a cat:late=black"
wrong "lookahead of one clip" "lookahead: expected" "$base:prompt=a cat:lookahead=2"

# ---- pace ----

programme 'a cat' 'a dog' 'a bird'
start=$(date +%s%N)
equal "pace=live: all frames" "$(told state "$base:programme=$tmp/p:pace=live" | sort | uniq -c | grep -c play)" 1
ms=$((($(date +%s%N) - start) / 1000000))
[ $ms -ge 1600 ] && ok "pace=live: not before their time" || fail "pace=live: not before their time" "$ms ms for 27 frames at 16 a second"

# a clock that no CPU keeps up with; a second of it
for late in hold repeat pingpong black; do
    "$ffmpeg" -hide_banner -nostdin -y -v warning -f lavfi -i "$base:programme=$tmp/p:pace=live:r=960:late=$late,metadata=print:key=lavfi.turbodiff.state:file=$tmp/states" \
        -f framecrc "$tmp/crc" 2> "$tmp/log"
    played=$(grep -c state=play "$tmp/states")
    other=$(grep -c "state=$late" "$tmp/states")
    # of a clip that goes on air before it is whole there is nothing to repeat
    case $late in repeat | pingpong) held=$(grep -c state=hold "$tmp/states") ;; *) held=0 ;; esac
    if [ "$played" = 27 ] && [ "$other" -gt 0 ] && [ $((played + other + held)) = "$(grep -c '^0,' "$tmp/crc")" ]; then
        ok "late=$late: 27 frames of clips, others in between"
    else
        fail "late=$late: 27 frames of clips, others in between" "$played, $other, $held" "$(cat "$tmp/log")"
    fi
    # each lateness has one line at its start and one at its end
    late_lines=$(grep -c 'late: clip\|late: no clip' "$tmp/log")
    equal "late=$late: what is said" "$((late_lines > 0)) $(grep -c 'on time again\|end came while' "$tmp/log")" "1 $late_lines"
done
timeout 20 sh -c 'exec > "$1"; echo "a cat"; sleep 3' sh "$tmp/fifo" &
"$ffmpeg" -hide_banner -nostdin -y -v warning -f lavfi -i "$base:programme=$tmp/fifo:pace=live:r=960:late=black" -f null - 2> "$tmp/log"
wait $!
equal "late at the end: what is said" "$(sed -n 's/.*\(late: no clip is there\|the end came while it was late, after\).*/\1/p' "$tmp/log" | tail -n 2)" \
    "late: no clip is there
the end came while it was late, after"
grep -A 1000 '^frame:' "$tmp/states" | grep -c 'state=black' > "$tmp/black"
equal "late=black: black frames are all the same" "$(awk '/^frame/{split($1,a,":");n=a[2]} /state=black/{print n}' "$tmp/states" |
    while read -r n; do grep '^0,' "$tmp/crc" | sed -n "$((n + 1))p"; done | cut -d , -f 6 | sort -u | grep -c .)" 1
echo 'frames=81:steps=4 | a cat' > "$tmp/slow"
equal "first=black: a picture before the first clip" "$(told state "$base:programme=$tmp/slow:pace=live:r=240:first=black" | head -n 1)" black

# ---- commands ----

# say COMMANDS OPTIONS: a channel that sendcmd speaks to; what its frames say
say() {
    echo "$1" > "$tmp/commands"
    made -filter_complex "turbodiff@ch=model=$model:s=64x48:frames=9:seed=1:steps=1:$2,sendcmd=f=$tmp/commands,metadata=print:file=-[v]" \
        -map '[v]' -f null - > "$tmp/said"
    grep "$failure" "$tmp/said"
    cat "$tmp/said"
}
equal "prompt: the next clip" "$(say '0.2 turbodiff@ch prompt '\''a dog'\''' "prompt=a cat:idle=hold:pace=live,trim=end_frame=24" |
    sed -n 's/lavfi.turbodiff.prompt=//p' | uniq | tr '\n' ,)" "a cat,a dog,"
equal "enqueue: a line of a programme" "$(say '0.2 turbodiff@ch enqueue '\''seed=9:id=z|a dog'\''' "prompt=a cat:idle=hold:pace=live,trim=end_frame=24" |
    sed -n 's/lavfi.turbodiff.seed=//p' | uniq | tr '\n' ,)" "1,9,"
say '0.2 turbodiff@ch stop' "prompt=a cat:idle=repeat:pace=live" > "$tmp/said2"
equal "stop: the end, after the clip on air" "$(grep -c '^frame:' "$tmp/said2")" 9
equal "seed: of the next clip that is not begun" "$(say '0.1 turbodiff@ch seed 100' "prompt=a cat:idle=repeat:pace=live:lookahead=0,trim=end_frame=27" |
    sed -n 's/lavfi.turbodiff.seed=//p' | uniq | tr '\n' ,)" "1,100,101,"
equal "repeat: the clip on air again" "$(say '0.2 turbodiff@ch repeat 2' "prompt=a cat:idle=end:pace=live" |
    grep -c '^frame:')" 27
equal "prompt_now: after the clip on air, ahead of what was made" "$(say "0.2 turbodiff@ch prompt_now 'a dog'" \
    "prompt=a cat:idle=repeat:pace=live:lookahead=2,trim=end_frame=27" | sed -n 's/lavfi.turbodiff.prompt=//p' | uniq -c | tr -s ' ' | tr '\n' ,)" \
    " 9 a cat, 18 a dog,"
# a clip of a second and more, which is still being made
equal "prompt_now: the clip at work ends at once" "$(say "0.1 turbodiff@ch prompt_now 'a dog'" \
    "prompt=a cat:idle=repeat:pace=live:frames=17:s=96x96,trim=end_frame=110" | sed -n 's/lavfi.turbodiff.prompt=//p' | uniq | tr '\n' ,)" "a cat,a dog,"
equal "next cut: the clip on air ends" "$(say '0.2 turbodiff@ch next cut' "programme=$tmp/p:pace=live:idle=end" |
    sed -n 's/lavfi.turbodiff.clip=//p' | uniq -c | awk '{ print ($1 < 9) $2 }' | tr '\n' ' ')" "10 01 02 "
equal "hold and resume" "$(say '0.2 turbodiff@ch hold; 0.6 turbodiff@ch resume' "prompt=a cat:pace=live" |
    sed -n 's/lavfi.turbodiff.state=//p' | uniq | tr '\n' ,)" "play,hold,play,"
# replies OPTIONS: a channel, or a clip, that is sent the lines of $tmp/commands, each to be answered; its log in $tmp/log
replies() {
    sed 's/^/0.3 turbodiff@ch /; s/$/;/' "$tmp/commands" > "$tmp/timed"
    "$ffmpeg" -hide_banner -nostdin -y -v repeat+verbose -filter_complex "turbodiff@ch=model=$model:s=64x48:frames=9:seed=1:prompt=a cat:$1,sendcmd=f=$tmp/timed,trim=end_frame=20[v]" \
        -map '[v]' -f null - 2> "$tmp/log"
}
# answered NAME PATTERN: a reply; one that refuses is a warning, too
answered() {
    reply=$(sed -n 's/.*Command reply for command .*: ret:\(.*\) res:/\1: /p' "$tmp/log" | grep "^$2")
    case $reply in
    ''|Success:*) [ -n "$reply" ] ;;
    *) [ "$(sed -n 's/^\[turbodiff@ch [^]]*\] //p' "$tmp/log" | grep -cxF "${reply#*: }")" = 1 ] ;;
    esac
    if [ $? -eq 0 ]; then ok "$1"; else fail "$1" "expected: $2" "$(grep 'Command reply\|^.turbodiff@ch' "$tmp/log")"; fi
}
programme 'a cat' 'speed=1 | a dog'
cat > "$tmp/commands" << END
status
steps 9
nonsense
enqueue 'seed=x | a dog'
enqueue 'speed=1 | a dog'
enqueue 'frames=5 |'
enqueue '# a comment'
enqueue 'in=continue | a dog'
prompt ''
prompt_now '$(printf '\377')'
programme $tmp/none
programme $tmp/p
programme $tmp/nothing
programme ''
programme /dev/null
guidance 700
guidance 5|4
guidance 7
negative_prompt '$(printf '\377')'
negative_prompt blurred
enqueue 'negative=blurred | a dog'
seed x
repeat x
next x
clear now
hold 5
resume 'at once'
status all
stop x
prompt_now 'a dog'
END
: > "$tmp/nothing"
replies "idle=repeat:pace=live:steps=1"
answered "status: a line" 'Success: state=play clip=0 frame=[0-9]* ready=[01] building=[0-9-]* done=[0-9]*/[0-9]* queue=0'
answered "steps out of range" "Numerical result out of range: steps '9': expected 1 to 4 with sampler rcm"
answered "an unknown command" "Function not implemented: 'nonsense': expected one of prompt, prompt_now, .*, guidance, .*, stop$"
answered "enqueue: a value" "Invalid argument: enqueue: seed 'x': expected 0 to "
answered "enqueue: a key" "Invalid argument: enqueue: 'speed': expected one of seed, "
answered "enqueue: no prompt" "Invalid argument: enqueue: the prompt is empty, expected "
answered "enqueue: a comment" "Invalid argument: enqueue: no prompt: expected KEY=VALUE | PROMPT"
answered "enqueue: a transition" "Invalid argument: enqueue: in: .*cannot continue a clip, expected an image-to-video model"
answered "prompt: none" "Invalid argument: prompt: no prompt: expected one"
answered "prompt_now: not UTF-8" "Invalid argument: prompt: is not UTF-8"
answered "programme: no file" "No such file or directory: programme '$tmp/none' cannot be read: No such file or directory, expected a file or a pipe"
answered "programme: a line" "Invalid argument: p:2: 'speed': expected one of seed"
answered "programme: an empty file" "Invalid data .*: programme '$tmp/nothing' has no clip, expected a prompt in each line"
answered "programme: an empty name" "No such file or directory: programme '' cannot be read: "
answered "programme: a device without a clip" "Invalid data .*: programme '/dev/null' ended without a clip, expected a prompt in each line"
answered "guidance out of range" "Numerical result out of range: guidance '700': expected 1 to 100"
answered "guidance of two transformers" "Invalid argument: guidance '5|4': expected one number, as the model has one transformer"
answered "negative_prompt: not UTF-8" "Invalid argument: negative_prompt: is not UTF-8"
answered "guidance with rcm" "Success: clip=[0-9]*, but guidance has no effect with sampler rcm"
answered "negative_prompt with rcm" "Success: clip=[0-9]*, but negative_prompt has no effect with sampler rcm"
answered "a line's negative with rcm" "Success: clip=[0-9]* at=[0-9.]*, but negative has no effect with sampler rcm"
equal "what has no effect is in the log once" "$(grep -c '^.turbodiff@ch [^]]*. .*[a-z] has no effect with sampler rcm' "$tmp/log")" 3
equal "an answer is in the log, too" "$(grep -c '^.turbodiff@ch [^]]*. status: state=play clip=0 ' "$tmp/log")" 1
answered "seed" "Invalid argument: seed 'x': expected 0 to "
answered "repeat" "Numerical result out of range: repeat 'x': expected 0 to 1000000"
answered "next" "Invalid argument: next 'x': expected nothing, or cut"
for command in "clear 'now'" "hold '5'" "resume 'at once'" "status 'all'" "stop 'x'"; do
    answered "$command" "Invalid argument: $command: expected no argument"
done
answered "prompt_now: its clip" 'Success: clip=[0-9]* at=[0-9.]*$'
echo 'guidance 7' > "$tmp/commands"
replies "idle=repeat:pace=live:steps=1:sampler=unipc"
answered "guidance with unipc" 'Success: clip=[0-9]*$'
printf 'programme %s\n' "$tmp/p" "$tmp/fifo" > "$tmp/commands"
programme 'a cat' 'a dog'
replies "idle=repeat:pace=live:steps=1"
answered "programme: how many clips" 'Success: lines=2$'
answered "programme: a pipe" 'Success: a pipe: its lines are taken as they come$'
echo 'steps 1' > "$tmp/commands"
replies "idle=repeat:pace=live:timesteps=1|0.8"
answered "steps beside timesteps" "Numerical result out of range: steps '1': expected as many as timesteps has"
echo 'status' > "$tmp/commands"
replies "steps=1"
answered "a clip is no channel" "Function not implemented: commands: expected programme, idle or pace"
programme 'negative=a | a cat' 'negative=b | a dog'
run -v warning -f lavfi -i "$base:programme=$tmp/p" -f null -
equal "negative of a programme with rcm: one warning" "$(grep -c 'p:1: negative has no effect with sampler rcm' "$tmp/err") $(grep -c 'no effect' "$tmp/err")" "1 1"
"$ffmpeg" -hide_banner -h filter=turbodiff > "$tmp/help" 2>&1
equal "help marks what a command may change" "$(grep -c '^ *\(seed\|steps\|negative_prompt\|guidance\) .*T\.* ' "$tmp/help")" 4

# ---- clips that fail ----

# a model whose frames after the first one are not finite
"${dir%/small-*}/tdsynth" --format=safetensors --dit=bf16 --seed=3 "$tmp/later" > /dev/null
poison "$(find "$tmp/later" -name 'Wan2.1_VAE*')" decoder.upsamples.7.time_conv.weight huge
programme 'frames=1 | a cat' 'a dog' 'frames=1 | a bird'
bad="turbodiff=model=$tmp/later:s=64x48:frames=9:seed=1:steps=1:programme=$tmp/p"
for on_error in stop skip restart; do
    "$ffmpeg" -hide_banner -nostdin -y -v warning -f lavfi -i "$bad:on_error=$on_error,metadata=print:key=lavfi.turbodiff.clip:file=$tmp/clips" \
        -f null - 2> "$tmp/log"
    echo "status $?, $(sed -n 's/.*clip=//p' "$tmp/clips" | uniq | tr '\n' ' '), $(grep -c 'The clip is left out' "$tmp/log")" > "$tmp/$on_error"
done
equal "on_error=stop: frames before it, and its status" "$(cut -d , -f 2- "$tmp/stop") $(grep -c 'status 0' "$tmp/stop")" \
    " 0 1 , 0 0"
equal "on_error=skip: the clips after it, too" "$(cat "$tmp/skip")" "status 0, 0 1 2 , 1"
equal "on_error=restart: the same" "$(cat "$tmp/restart")" "status 0, 0 1 2 , 1"
programme 'a cat'
run -v warning -f lavfi -i "$bad:on_error=skip" -f null -
equal "on_error=skip: after the last clip nothing is tried" "$(grep -c 'left out' "$tmp/err") $(grep -c 'next try' "$tmp/err")" "1 0"
"$ffmpeg" -hide_banner -nostdin -y -v error -f lavfi -i "$bad:on_error=skip:loop=-1" -f null - 2> "$tmp/log" &
sleep 1.5
interrupted "SIGINT while the next try is waited for" $! "$tmp/log"

# ---- an end that comes from outside ----

"$ffmpeg" -hide_banner -nostdin -y -v error -f lavfi -i "$base:prompt=a cat:idle=repeat:pace=live" -f null - 2> "$tmp/log" &
sleep 1
interrupted "SIGINT on air" $! "$tmp/log"
"$ffmpeg" -hide_banner -nostdin -y -v error -f lavfi -i "turbodiff=model=$model:prompt=a cat:idle=hold:frames=9:s=64x48:pace=live" -f null - 2> "$tmp/log" &
sleep 1.5
interrupted "SIGINT while a picture is held" $! "$tmp/log"

echo "$suite: $passed passed, $failed failed"
[ $failed -eq 0 ]
