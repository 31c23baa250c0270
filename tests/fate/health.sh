#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# A channel that goes on: slates, clips that take too long, devices that fail, what a monitor is told, frames of another
# process, which may die.
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
nothing="turbodiff=from=$tmp/nobody:s=64x48:pace=live"  # no clip is there before the first frame
# lines FORMAT: the colours in the middle of some lines of the slate
lines() {
    for y in 0 4 12 24 35 43 47; do
        made -f lavfi -i "$nothing:$slate:first=slate,format=$1,scale,format=gbrp,format=rgb24,crop=1:1:32:$y" \
            -frames:v 1 -f rawvideo - | od -A n -t u1 | awk '{ printf "%s", ($1 > 240 && $2 < 10 && $3 < 10) ? "red " : ($1 + $2 + $3 < 6) ? "black " : "other " }'
    done
}
for format in yuv420p yuv444p10 nv12 p010 gbrp; do
    equal "a slate in $format: whole, in the middle of black" "$(lines $format)" "black black red red red black black "
done
# a clock that no CPU keeps up with: 0.0125 s are 12 frames
printf '%s\n' 'frames=81:steps=4 | a cat' 'a dog' 'a bird' > "$tmp/slow"
states "$base:programme=$tmp/slow:pace=live:r=960:$slate:slate_after=0.0125:first=slate" > "$tmp/states"
equal "first=slate: before the first clip" "$(sed 's/^ [0-9]* \([a-z]*\),.*/\1/' "$tmp/states")" slate
equal "late=slate: after slate_after of the last frame, and new frames are all there" \
    "$(tr , '\n' < "$tmp/states" | sed 1d | awk '/play/ { p += $1 } /hold/ { if ($1 > 12) bad++ } /slate/ { if (last != "12 hold") bad++; s = 1 }
        { last = $1 " " $2 } END { print p, s + 0, bad + 0 }')" "99 1 0"
equal "slate_after: a hold that is shorter has none" "$(states "$channel:pace=live:r=960:$slate:slate_after=1000" | grep -c slate)$(states \
    "$channel:pace=live:r=960:$slate:slate_after=1000" | grep -c hold)" "01"
write "$tmp/film.mkv" -f lavfi -i "color=blue:s=64x48:r=16:d=1" -c:v ffv1
equal "a film: its first frame" "$(made -f lavfi -i "$nothing:late=slate:slate=$tmp/film.mkv:first=slate,format=rgb24,crop=1:1" -frames:v 1 \
    -f rawvideo - | od -A n -t u1 | awk '{ print ($1 < 10 && $2 < 10 && $3 > 240) }')" 1
wrong "late=slate without one" "expected a picture as slate" "pace=live:late=slate"
wrong "a slate that nothing shows" "slate: expected late=slate or first=slate" "pace=live:slate=$tmp/red.ppm"
wrong "slate_after without a slate" "slate_after: expected late=slate" "slate_after=2:pace=live"
wrong "a slate that is not there" "slate '$tmp/none.png' cannot be read: No such file" "pace=live:late=slate:slate=$tmp/none.png"
head -c 100 "$tmp/red.ppm" > "$tmp/cut.ppm"
wrong "a slate that is cut short" "slate '$tmp/cut.ppm' cannot be read" "pace=live:late=slate:slate=$tmp/cut.ppm"
printf 'no picture' > "$tmp/text.png"
wrong "a slate that is none" "slate '$tmp/text.png' cannot be read" "pace=live:late=slate:slate=$tmp/text.png"
wrong "a slate that is a directory" "slate '$tmp' is no regular file" "pace=live:late=slate:slate=$tmp"

# ---- the same in CUDA frames ----

if "$ffmpeg" -hide_banner -v error -filters | grep -q ' hwdownload '; then
    claim h100:1000:900
    # still OPTIONS FILTERS: the checksum of what is sent before the first clip; in CUDA frames where the options say backend=cuda
    still() {
        made -init_hw_device cuda=gpu:0 -filter_hw_device gpu -filter_complex "$channel:pace=live:$1,$2" -frames:v 1 -f hash -hash md5 -
    }
    for format in nv12 yuv420p yuv444p p010; do
        for first in "slate:$slate" black; do
            equal "first=${first%%:*} in CUDA frames of $format" \
                "$(still "first=$first:backend=cuda:hw_format=$format" "hwdownload,format=$format")" \
                "$(still "first=$first:backend=cpu" "format=$format")"
        done
    done
    for late in "slate:slate=$tmp/red.ppm:slate_after=0.0125" black; do
        made -init_hw_device cuda=gpu:0 -filter_hw_device gpu -filter_complex \
            "$channel:pace=live:r=960:backend=cuda:late=$late,hwdownload,format=nv12,metadata=print:key=lavfi.turbodiff.state:file=-" -f null - > "$tmp/told"
        equal "late=${late%%:*} in CUDA frames" "$(grep -c 'state=play' "$tmp/told") $(grep -c "state=${late%%:*}" "$tmp/told" |
            awk '{ print ($1 > 0) }') $(grep -c "$failure" "$tmp/told")" "27 1 0"
    done
    # faded OPTIONS FILTERS: the frames of a programme whose clips fade into each other
    faded() {
        frames -init_hw_device cuda=gpu:0 -filter_hw_device gpu -filter_complex "$channel:transition=fade/3:$1,$2"
    }
    for format in nv12 yuv420p yuv444p p010; do
        equal "a fade in CUDA frames of $format" "$(faded "backend=cuda:hw_format=$format" "hwdownload,format=$format")" \
            "$(faded backend=cpu "format=$format")"
    done
    run -init_hw_device cuda=gpu:0 -filter_hw_device gpu -filter_complex "$channel:backend=cuda:on_error=restart:fallback=cpu,hwdownload,format=nv12" -f null -
    refused "fallback with CUDA frames" "fallback: expected frames in memory, not CUDA frames" 'Error\|Failed' $?
    claim none
else
    echo "skip CUDA frames (not in this ffmpeg)"
fi

# ---- clips that take too long, devices that fail ----

# aired CARDS OPTIONS: status, the clips that were on air, the devices that were opened; what was said in $tmp/log
aired() {
    # shellcheck disable=SC2086
    claim $1
    rm -f "$tmp/clips"
    timeout 60 "$ffmpeg" -hide_banner -nostdin -y -v warning -f lavfi -i "$channel:$2,metadata=print:key=lavfi.turbodiff.clip:file=$tmp/clips" \
        -f null - 2> "$tmp/log"
    echo "$(($? != 0)), $(sed -n 's/.*clip=//p' "$tmp/clips" | uniq -c | sed 's/^ *//' | tr '\n' ,) $(opened)"
}
# told NAME N PATTERN: so many lines of it
told() {
    equal "$1" "$(grep -c "$3" "$tmp/log")" "$2"
}
two="h100:1000:900 h100:1000:900"
equal "timeout, on_error=stop: the end, with its error" "$(aired h100:1000:900:lag2 timeout=2)" "1, 9 0, 0 ."
told "one line says so" 1 'clip 1 has 0 of its 9 frames after the 2 s that timeout allows: it is given up'
equal "timeout, on_error=skip: the clips after it, too" "$(aired h100:1000:900:lag2 timeout=2:on_error=skip)" "0, 9 0,9 2, 0 ."
equal "timeout, on_error=restart: the same, on the device again" "$(aired h100:1000:900:lag2 timeout=2:on_error=restart)" "0, 9 0,9 2, 0 0 ."
equal "a clip that is in time" "$(aired h100:1000:900 timeout=20)" "0, 9 0,9 1,9 2, 0 ."
equal "a device fault, on_error=skip: the end" "$(aired h100:1000:900:die2 on_error=skip)" "1, 9 0, 0 ."
equal "a device fault, on_error=restart: the device again" "$(aired h100:1000:900:die2 on_error=restart)" "0, 9 0,9 2, 0 0 ."
told "after a pause" 1 'The clip is left out: Input/output error; the next try is in 1 s'
equal "fallback=1: another device" "$(aired "h100:1000:900:stick2 h100:1000:900" device=0:on_error=restart:fallback=1)" "0, 9 0,9 2, 0 1 ."
told "a line says which" 1 'The clip is left out: Input/output error; device 1 is next'
equal "fallback by UUID" "$(aired "h100:1000:900:die2 h100:1000:900" "device=0:on_error=restart:fallback=MIG-00000000-1111-2222-3333-000000000001")" \
    "0, 9 0,9 2, 0 1 ."
equal "fallback=cpu" "$(aired h100:1000:900:stick2 on_error=restart:fallback=cpu)" "0, 9 0,9 2, 0 ."
equal "an order of devices: past one that cannot be opened, or is not there" \
    "$(aired "h100:1000:900:stick2 h100:1000:900:full" "device=0:on_error=restart:fallback=1|7|cpu")" "0, 9 0,9 2, 0 1 ."
told "each has its line" 2 'The model is not loaded: .*; device \(7\|cpu\) is next'
printf '%s\n' 1 2 3 4 5 > "$tmp/p"
equal "the next fault moves on" "$(aired "h100:1000:900:stick2 h100:1000:900:stick2" "device=0:on_error=restart:fallback=1|cpu")" \
    "0, 9 0,9 2,9 4, 0 1 ."
equal "a clip that fails for another reason moves nothing" \
    "$(aired "h100:1000:900:lag2 h100:1000:900" device=0:timeout=2:on_error=restart:fallback=1)" "0, 9 0,9 2,9 3,9 4, 0 0 ."
claim h100:1000:900:stick1
"$ffmpeg" -hide_banner -nostdin -y -v error -f lavfi -i "$channel:loop=-1:on_error=restart" -f null - 2> "$tmp/log" &
sleep 2
interrupted "SIGINT while a dead device is tried again" $! "$tmp/log"
claim none
for fallback in x '1|' '|cpu' auto '1,cpu' ''; do
    wrong "fallback '$fallback'" "fallback '$fallback': expected cpu, or a GPU's number" "on_error=restart:fallback='$fallback'"
done
wrong "fallback without on_error=restart" "fallback: expected on_error=restart" "on_error=skip:fallback=cpu"
run -f lavfi -i "$base:prompt=a cat:timeout=5" -f null -
refused "timeout of one clip" "timeout: expected programme, idle or pace" 'Error\|Failed' $?

# ---- metrics ----

# strict FILE: a file in the text format of Prometheus, of one channel: families in one piece with help and type, names and
# labels as the format wants them, each sample once, numbers, an end of line at the end; counters end in _total
strict() {
    [ -s "$1" ] && [ -z "$(tail -c 1 "$1")" ] || { echo "no text"; return; }
    awk '
    function bad(why) { print FILENAME ":" NR ": " why ": " $0; errors++ }
    /^# HELP / { if (!match($0, /^# HELP [a-zA-Z_:][a-zA-Z0-9_:]* [^ ].*$/)) bad("help"); if (helped[$3]++) bad("a second help"); help = $3; next }
    /^# TYPE / { if (NF != 4 || $3 != help || $4 !~ /^(counter|gauge|summary)$/) bad("type"); family = $3; type = $4
                 if (seen_family[family]++) bad("a second piece"); if (type == "counter" && family !~ /_total$/) bad("counter"); next }
    /^#/ || NF == 0 { bad("line"); next }
    { if (!match($0, /^[a-zA-Z_:][a-zA-Z0-9_:]*([{]([a-zA-Z_][a-zA-Z0-9_]*="([^"\\]|\\["\\n])*",?)+[}])? -?[0-9][0-9.]*(e[-+][0-9]+)?$/)) { bad("sample"); next }
      name = $0; sub(/[{ ].*/, "", name); series = $0; sub(/ [^ ]*$/, "", series)
      plain = name; if (type == "summary") sub(/_(sum|count)$/, "", plain)
      if (plain != family) bad("not of the family"); if (series_seen[series]++) bad("twice"); n++
      if (type == "counter" && $NF < 0) bad("negative") }
    END { if (errors) exit 1; print (n > 20) ? "strict" : "few" }' "$1"
}
# metric NAME LABELS: its value
metric() {
    awk -v want="turbodiff_$1{$2}" 'index($0, want " ") == 1 { print $NF }' "$tmp/m"
}
printf '%s\n' 'a cat' 'a dog' 'a bird' > "$tmp/p"
claim h100:1000:900:lag2
"$ffmpeg" -hide_banner -nostdin -y -v warning -f lavfi -i "turbodiff@a=model=$model:s=64x48:frames=9:seed=1:steps=1:programme=$tmp/p:pace=live:late=slate:slate_after=0.5:slate=$tmp/red.ppm:timeout=2:on_error=restart:metrics=$tmp/m,metadata=print:key=lavfi.turbodiff.state:file=$tmp/states" \
    -f null - 2> "$tmp/log" &
pid=$!
sleep 3
cp "$tmp/m" "$tmp/during"
wait $pid
claim none
# broken NAME SED: what the parser has to find, in a file that it takes
broken() {
    sed "$2" "$tmp/m" > "$tmp/broken"
    equal "the parser finds $1" "$(strict "$tmp/broken" | grep -c "broken:")" 1
}
equal "a file that monitors read" "$(strict "$tmp/m")" strict
equal "and while it is written" "$(strict "$tmp/during")" strict
broken "a value that is no number" 's/^\(turbodiff_frames_total.*\) .*/\1 nan%/'
broken "a label without an end" 's/^\(turbodiff_frames_total{.*\)"}/\1}/'
broken "a sample that is there twice" '/^turbodiff_frames_total/p'
broken "a counter that is not named so" 's/^# TYPE turbodiff_queued_clips gauge/# TYPE turbodiff_queued_clips counter/'
broken "a type that is not there" '/^# TYPE turbodiff_queued_clips/d'
if command -v promtool > "$tmp/which"; then check "promtool takes it" promtool check metrics < "$tmp/m"; fi
label='channel="turbodiff@a"'
equal "clips: made, failed" "$(metric clips_total "$label,result=\"made\"") $(metric clips_total "$label,result=\"failed\"") $(metric clip_seconds_count "$label")" "2 1 2"
equal "frames: all" "$(metric frames_total "$label")" "$(grep -c '^frame:' "$tmp/states")"
for kind in hold slate repeat; do
    equal "frames: $kind" "$(metric held_frames_total "$label,kind=\"$kind\"")" "$(grep -c "state=$kind" "$tmp/states")"
done
equal "lateness, restarts, the end" "$(metric late_events_total "$label") $(metric restarts_total "$label") $(metric state "$label,state=\"end\"")" "$(grep -c 'late: ' "$tmp/log") 1 1"
equal "seconds and bytes are there" "$(awk -v s="$(metric clip_seconds_sum "$label")" -v b="$(metric device_bytes "$label")" -v r="$(metric rate_vs_realtime "$label")" \
    -v t="$(metric last_frame_timestamp_seconds "$label")" -v now="$(date +%s)" 'BEGIN { print (s > 0 && s < 60), (b > 1e6), (r > 0), (t > now - 60 && t <= now + 1) }')" "1 1 1 1"
equal "nothing is left beside it" "$(cd "$tmp" && echo m*)" m
mkdir "$tmp/d"
run -v warning -f lavfi -i "$channel:metrics=$tmp/d" -f framecrc "$tmp/crc"
equal "a file that cannot be written: one warning, and the video goes on" "$? $(grep -c "metrics '$tmp/d' cannot be written: .*; the video goes on without" "$tmp/err") $(grep -c '^0,' "$tmp/crc")" "0 1 27"
if [ -c /dev/full ]; then
    ln -s /dev/full "$tmp/full.tmp"
    run -v warning -f lavfi -i "$channel:metrics=$tmp/full" -f null -
    equal "a disk that is full" "$? $(grep -c "metrics '$tmp/full' cannot be written: No space left" "$tmp/err")" "0 1"
fi
mkfifo "$tmp/fifo"
run -v warning -f lavfi -i "$channel:metrics=$tmp/fifo" -f null -
equal "a pipe is left as it is, with one warning" "$? $(grep -c "metrics '$tmp/fifo' is a device or a pipe, expected a file" "$tmp/err") $(test -p "$tmp/fifo"; echo $?)" "0 1 0"
: > "$tmp/target"
ln -s target "$tmp/leads"
run -f lavfi -i "$channel:metrics=$tmp/leads" -f null -
equal "of a link, what it leads to is written" "$? $(readlink "$tmp/leads") $(grep -c '^turbodiff_frames_total' "$tmp/target")" "0 target 1"
# gone NAME COMMAND LINE: a looped programme to which that is done after its first rounds; the lines that are logged of it
gone() {
    printf '%s\n' 'a cat' 'a dog' > "$tmp/gone"
    (sleep 1.5; eval "$2") &
    run -v warning -f lavfi -i "turbodiff=model=$model:s=64x48:frames=5:seed=1:steps=1:pace=live:programme=$tmp/gone:loop=-1" -t 5 -f null -
    equal "$1: it is said once, and the clips before stay" "$? $(grep -c "$3" "$tmp/err") $(grep -c 'its 2 clips before stay' "$tmp/err")" "0 1 1"
    wait $!
    rm -rf "$tmp/gone"
}
gone "a programme that is removed" 'rm "$tmp/gone"' "programme '$tmp/gone' cannot be read: No such file"
gone "a programme that becomes a pipe" 'rm "$tmp/gone"; mkfifo "$tmp/gone"' "programme '$tmp/gone' is a pipe now, expected a file"
gone "a programme that is wrong" 'printf "%s\n" "nonsense=1 | a cat" > "$tmp/q"; mv "$tmp/q" "$tmp/gone"' "nonsense"
# two TAIL: two channels in one graph, with these files
two() {
    run -filter_complex "turbodiff@a=${channel#*=}:metrics=$1[a];turbodiff@b=${channel#*=}:metrics=$2[b];[a][b]hstack" -f null -
}
for other in "$tmp/own" "$tmp/d/../own"; do
    two "$tmp/own" "$other"
    refused "two channels with one file of metrics" "metrics '$other': turbodiff@a writes it already, expected a file of its own" 'Error\|Failed' $?
done
two "$tmp/own" "$tmp/d/own"
equal "a file each" "$? $(grep -l 'frames_total{channel="turbodiff@[ab]"} 27$' "$tmp/own" "$tmp/d/own" | wc -l)" "0 2"
echo "a cat" > "$tmp/programme"
wrong "metrics over a programme" "metrics '$tmp/programme': is the file of programme, expected another one" "programme=$tmp/programme:metrics=$tmp/programme"
wrong "metrics to standard output" "metrics '-': expected a file" "metrics=-"
run -f lavfi -i "$base:prompt=a cat:metrics=$tmp/m" -f null -
refused "metrics of one clip" "metrics: expected programme, idle or pace" 'Error\|Failed' $?

# the default limit is a minute at least: these go on beside the cases that follow
printf '%s\n' 'a cat' 'a dog' 'a bird' > "$tmp/three"
printf '%s\n' 'frames=1 | a cat' 'frames=33 | a dog' 'a bird' > "$tmp/longer"
# hung NAME OPTIONS: a device that hangs for 65 s in the second clip
hung() {
    TD_TEST_CARDS=h100:1000:900:hang2 TD_TEST_CARDS_LOG=$tmp/$1.opened "$ffmpeg" -hide_banner -nostdin -y -v error -f lavfi -i \
        "$base:programme=$2:on_error=skip,metadata=print:key=lavfi.turbodiff.clip:file=$tmp/$1.clips" -f null - 2> "$tmp/$1.log" &
}
hung third "$tmp/three"
hung_third=$!
hung none "$tmp/three:timeout=0"
hung_none=$!
hung longer "$tmp/longer"
hung_longer=$!
# unhung NAME STATUS: it and the clips that were on air
unhung() {
    echo "$2, $(sed -n 's/.*clip=//p' "$tmp/$1.clips" | uniq -c | sed 's/^ *//' | tr '\n' ,)"
}

# ---- another process makes the clips ----

wrong "from without a clock" "from: expected pace=live" "pace=off:from=$tmp/s"
run -f lavfi -i "turbodiff=from=$tmp/s:pace=live" -f null -
refused "from without a size" "from: expected a size" 'Error\|Failed' $?
wrong "from and clips of one's own" "from: the other process makes the clips" "from=$tmp/s:pace=live"
run -f lavfi -i "turbodiff=from=$tmp/s:s=64x48:pace=live:late=repeat" -f null -
refused "from and clips that are repeated" "from: expected late=hold, black or slate" 'Error\|Failed' $?
run -f lavfi -i "turbodiff=from=$(printf '%0108d' 0):s=64x48:pace=live" -f null -
refused "a path that no socket can have" "from: expected the path of a socket, of 1 to 107 bytes" 'Error\|Failed' $?
# unfit NAME PATH PATTERN: the error comes at once
unfit() {
    timeout 5 "$ffmpeg" -hide_banner -nostdin -y -v error -f lavfi -i "turbodiff=from=$2:s=64x48:pace=live:first=black" -t 2 -f null - 2> "$tmp/err"
    refused "from: $1" "$3" 'Error\|Failed' $?
}
printf 'a text' > "$tmp/text"
ln -sf "$tmp/nowhere" "$tmp/link"
unfit "a directory" "$tmp" "from '$tmp' is a directory: expected a socket, or a path where one can be made"
unfit "a regular file" "$tmp/text" "from '$tmp/text' is a regular file: expected a socket"
equal "and it is left as it was" "$(grep -c 'is a regular file' "$tmp/err") $(cat "$tmp/text")" "1 a text"
unfit "a symbolic link" "$tmp/link" "from '$tmp/link' is a symbolic link: expected a socket"
unfit "a device" /dev/null "from '/dev/null' is no socket: expected a socket"
unfit "a directory that does not exist" "$tmp/none/s" "from '$tmp/none/s': No such file or directory: expected a path where a socket can be made"
unfit "a file as directory" "$tmp/text/s" "from '$tmp/text/s': Not a directory: expected a path where a socket can be made"
if [ -d /proc/self ]; then
    unfit "/proc" /proc "from '/proc' is a directory"
    unfit "a path in /proc" /proc/s "from '/proc/s': .*: expected a path where a socket can be made"
fi

# playout OPTIONS SECONDS: it listens at $tmp/s, in the background, and is there
playout() {
    echo '1 turbodiff@out prompt x; 1 turbodiff@out status' > "$tmp/commands"
    timeout 40 "$ffmpeg" -hide_banner -nostdin -y -v verbose -filter_complex "turbodiff@out=from=$tmp/s:s=64x48:pace=live:$1,sendcmd=f=$tmp/commands,metadata=print:key=lavfi.turbodiff.state:file=$tmp/states[v]" \
        -map '[v]' -t "$2" -f framecrc "$tmp/crc" 2> "$tmp/log" &
    playout=$!
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        [ -S "$tmp/s" ] && break
        sleep 0.3
    done
}
# worker OPTION...: sends a channel there, as fast as it can
worker() {
    "$ffmpeg" -hide_banner -nostdin -v error -f lavfi -i "$base:prompt=a cat:idle=repeat" "$@" -c:v rawvideo -f nut "unix:$tmp/s" 2> "$tmp/err"
}
frames -f lavfi -i "$base:prompt=a cat:idle=repeat" -frames:v 90 | cut -d , -f 6 | sort -u > "$tmp/sums"
# sums: of all frames that were on air, that are none of the worker's
strange() {
    grep '^0,' "$tmp/crc" | tr -d ' ' | cut -d , -f 6 | sort -u | comm -23 - "$tmp/sums" | wc -l
}
# kinds: what was on air, in order; counts are of play alone
kinds() {
    sed -n 's/.*state=//p' "$tmp/states" | uniq -c | awk '{ printf $2 == "play" ? $1 " play," : $2 "," }'
}
# a device that is dead for the process: that one ends, and the next one goes on
playout late=hold 9
claim h100:1000:900:stick3
worker
died=$?
claim h100:1000:900
sleep 2
worker -frames:v 27
again=$?
wait $playout
claim none
equal "a worker whose device is dead ends, and the next one goes on; the picture holds" "$((died != 0)) $again $(kinds)" "1 0 18 play,hold,27 play,hold,"
equal "all of nine seconds, at its rate" "$(grep -c '^0,' "$tmp/crc") $(strange)" "144 0"
equal "one line for each that goes" "$(grep -c "from '$tmp/s': the process has gone; waiting for the next one" "$tmp/log")" 2
grep -q 'prompt.*ret:Function not implemented\|ret:Function not implemented.*from: clips are made by another process' "$tmp/log" &&
    grep -q 'state=play' "$tmp/log" && ok "commands: its own alone" || fail "commands: its own alone" "$(grep 'Command reply' "$tmp/log")"
# one that is killed while it writes: what it had begun is not seen
playout late=slate:slate="$tmp/red.ppm":slate_after=0.5:first=slate 6
"$ffmpeg" -hide_banner -nostdin -v error -f lavfi -i "$base:prompt=a cat:idle=repeat" -c:v rawvideo -f nut "unix:$tmp/s" 2> "$tmp/err" &
killed=$!
sleep 2
kill -KILL $killed
wait $killed 2> "$tmp/killed"
wait $playout
equal "a worker that is killed: its frames, then the slate" "$(kinds | sed 's/[0-9]* play/play/')" "slate,play,hold,slate,"
equal "and none of its frames in part" "$(strange)" 1    # the slate
# other NAME FILTERS [OPTION]...: a playout that sends another format than the worker's, whose frames are the same in it
other() {
    other_name=$1
    other_filters=$2
    shift 2
    timeout 40 "$ffmpeg" -hide_banner -nostdin -y -v error "$@" -filter_complex \
        "turbodiff=from=$tmp/s:s=64x48:pace=live:first=black:late=black,$other_filters,metadata=print:key=lavfi.turbodiff.state:file=$tmp/states[v]" \
        -map '[v]' -t 4 -f framecrc "$tmp/crc" 2> "$tmp/log" &
    playout=$!
    sleep 1
    worker -frames:v 18
    wait $playout
    frames -f lavfi -i "$base:prompt=a cat:idle=repeat,format=nv12" -frames:v 18 | cut -d , -f 6 > "$tmp/nv12"
    equal "$other_name" "$(kinds) $(grep '^0,' "$tmp/crc" | tr -d ' ' | cut -d , -f 6 | grep -cFf "$tmp/nv12")" "black,18 play,black, 18"
}
other "frames of a worker in another format keep their colours" format=nv12
if "$ffmpeg" -hide_banner -v error -filters | grep -q ' hwdownload '; then
    claim h100:1000:900
    other "frames of a worker become CUDA frames" hwdownload,format=nv12 -init_hw_device cuda=gpu:0 -filter_hw_device gpu
    claim none
fi
# a socket that a process has left is no obstacle; frames of another size are scaled
"$ffmpeg" -hide_banner -nostdin -v error -f lavfi -i "turbodiff=from=$tmp/s:s=64x48:pace=live" -f null - 2> "$tmp/err" &
killed=$!
sleep 1
kill -KILL $killed
wait $killed 2> "$tmp/killed"
[ -S "$tmp/s" ]
equal "a playout that is killed leaves its socket" $? 0
playout late=hold 3
worker -s 32x32 -frames:v 9
wait $playout
equal "a socket that was left; frames of another size" "$(kinds) $(grep '^0,' "$tmp/crc" | tr -d ' ' | cut -d , -f 5 | sort -u)" "9 play,hold, 4608"
# a second playout is refused, while the first one waits and while a process sends to it, and takes nothing from it
playout late=hold 7
[ -S "$tmp/s" ]
had=$?
unfit "in use, while nobody sends" "$tmp/s" "from '$tmp/s' is in use by another process"
worker -frames:v 27
sleep 3
worker &
worker=$!
sleep 1
unfit "in use, while a process sends" "$tmp/s" "from '$tmp/s' is in use by another process"
wait $playout
first=$?
wait $worker
equal "the first one is sent to as before" "$first $(kinds | sed 's/^27 play,hold,[0-9]* play,$/both/') $(strange)" "0 both 0"
equal "one that looked was no process that has gone" "$(grep -c "the process has gone" "$tmp/log")" 1
[ -e "$tmp/s" ]
equal "its socket goes with it" "$had $?" "0 1"
# what another has put at the path is not removed; a path that was removed is made again
playout late=hold 4
rm "$tmp/s"
sleep 3
[ -S "$tmp/s" ] && rm "$tmp/s" && printf 'a text' > "$tmp/s"
equal "a path that was removed is made again" $? 0
kill $playout
wait $playout
equal "a path that is another's is left" "$(cat "$tmp/s")" "a text"
rm -f "$tmp/s"
# the units of doc/live.md, in order; their commands with what this machine has
awk -v dir="$tmp" '/^    \[Unit\]/ { n++ } /^    / && n { print substr($0, 5) > (dir "/unit" n ".service") } /^[^ ]/ { if (n > 1) exit }' \
    "$(dirname "$0")/../../doc/live.md"
if command -v systemd-analyze > "$tmp/which"; then
    sed -i "s|/usr/local/bin/ffmpeg|$ffmpeg|" "$tmp"/unit?.service
    check "the units of the text" sh -c "'$ffmpeg' -hide_banner -v error -protocols | grep -qx ' *unix' &&
        systemd-analyze verify '$tmp/unit1.service' '$tmp/unit2.service'"
fi
# unit N: its command, for a few seconds
unit() {
    sed -n 's/^ExecStart=[^ ]* //p' "$tmp/unit$1.service" | sed "s|/run/turbodiff.sock|$tmp/s|; s|/run/turbodiff.prom|$tmp/m|; \
        s|turbodiff=programme=[^ ]*:s=832x480|$channel:loop=-1|; s|s=832x480|s=64x48|; s|/etc/turbodiff/break.png|$tmp/red.ppm|; \
        s|-f flv rtmp:.*|-t 4 $tmp/unit.mkv|; s|libx264 -udu_sei 1 -preset veryfast|$video|; s|-c:a aac|-c:a $audio|" > "$tmp/command"
    # shellcheck disable=SC2046
    timeout 20 "$ffmpeg" -y $(cat "$tmp/command") 2> "$tmp/unit$1.log"
}
video=mpeg4
audio=pcm_s16le
"$ffmpeg" -hide_banner -v error -encoders | grep -q ' aac ' && audio=aac
"$ffmpeg" -hide_banner -v error -encoders | grep -q ' libx264 ' && video="libx264 -udu_sei 1 -preset veryfast"
unit 2 &
playout=$!
sleep 1
unit 1
worked=$?
wait $playout
equal "the commands of the units: the playout's end ends the worker" "$? $((worked != 0)) $("$ffmpeg" -hide_banner -nostdin -v error \
    -i "$tmp/unit.mkv" -map v -f framecrc - | grep -c '^0,')" "0 1 64"
"$ffmpeg" -hide_banner -nostdin -y -v error -f lavfi -i "turbodiff=from=$tmp/s:s=64x48:pace=live" -f null - 2> "$tmp/log" &
sleep 1
interrupted "SIGINT while nobody is there" $! "$tmp/log"

# ---- clips that have no limit of their own ----

wait $hung_third
equal "the default timeout: ten times what a clip before it took, and a minute at least" "$(unhung third $?) $(
    grep -c 'clip 1 has 0 of its 9 frames after the 60 s that timeout allows: it is given up' "$tmp/third.log")" "0, 9 0,9 2, 1"
wait $hung_none
equal "timeout=0: no limit" "$(unhung none $?)" "0, 9 0,9 1,9 2,"
wait $hung_longer
equal "the default timeout: of a longer clip as much longer" "$(unhung longer $?)" "0, 1 0,33 1,9 2,"

echo "$suite: $passed passed, $failed failed"
[ $failed -eq 0 ]
