#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# A channel whose files are on a disk that keeps everybody for seconds: the picture goes on. disk.sh DIR MODEL
#
# 1. DIR has ffmpeg; machine.c makes the disk slow, for the ffmpeg of the channel alone.
# 2. Output as that of run.sh.
set -u
LC_ALL=C
export LC_ALL
dir=$1
model=$2
case $dir in
*/small-*) suite=fate-disk-${dir##*/small-} ;;
*)         suite=fate-disk ;;
esac
. "$(dirname "$0")/cases.sh"
ffmpeg=$dir/ffmpeg
${CC:-cc} -std=c11 -O2 -Wall -shared -fPIC "$(dirname "$0")/machine.c" -o "$tmp/machine.so" -ldl || exit 1
slow=$tmp/slow
mkdir "$slow"
base="turbodiff@ch=model=$model:s=64x48:frames=9:seed=1:steps=1"

# on_slow OPTION...: ffmpeg on that machine; what it says goes to $tmp/log
on_slow() {
    LD_PRELOAD=$tmp/machine.so TD_TEST_SLOW=$slow/ timeout 60 "$ffmpeg" -hide_banner -nostdin -nostats -y -v info "$@" 2> "$tmp/log"
}
# arrivals: each frame of 64x48 that arrives, with the time of its arrival in milliseconds
arrivals() {
    "$ffmpeg" -hide_banner -nostdin -y -v error -use_wallclock_as_timestamps 1 -f rawvideo -video_size 64x48 -framerate 1000 -i - \
        -c copy -copyts -flush_packets 1 -f framecrc "$tmp/times"
}
# begun FILE PATTERN: waits for the first frame, by what the file says of it
begun() {
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
        grep -q "$2" "$1" && return
        sleep 0.2
    done
}
# metric NAME LABELS: its value
metric() {
    awk -v want="turbodiff_$1{channel=\"turbodiff@ch\"${2:-}}" 'index($0, want " ") == 1 { print $NF }' "$slow/m"
}

# ---- a file that is written each second, one that is written for each clip, one that is read for each round ----

printf '%s\n' 'a cat' 'a dog' 'a bird' > "$slow/p"
: > "$tmp/times"
{
    on_slow -f lavfi -i "$base:pace=live:programme=$slow/p:loop=2:metrics=$slow/m:stats=$slow/stats" -f rawvideo -flush_packets 1 -
    echo $? > "$tmp/status"
} | arrivals &
reader=$!
begun "$tmp/times" '^0,'
echo 'a cow' >> "$slow/p"
wait $reader
equal "a slow disk: the programme goes on to its end, and is read again" \
    "$(cat "$tmp/status") $(grep -c "programme '$slow/p' has changed: 4 clips" "$tmp/log")" "0 1"
equal "it was slow" "$(grep 'late: ' "$tmp/log" | grep -c .)" 1
awk -F , '/^0,/ { if (n++ && $3 - last > most) most = $3 - last; last = $3 } END { print n, most }' "$tmp/times" > "$tmp/gap"
read -r n gap < "$tmp/gap"
equal "no gap above 0.2 s in what arrives ($n frames, $gap ms)" "$((n > 80 && gap <= 200))" 1
equal "the metrics at the end are the last ones" "$(metric state ',state="end"') $(metric frames_total)" "1 $n"
equal "a line of statistics for each clip" "$(grep -c . "$slow/stats")" "$(metric clips_total ',result="made"')"
equal "nothing is left beside them" "$(cd "$slow" && echo ./*)" "./m ./p ./stats"

# ---- a command that comes while the disk is asked ----

printf '%s\n' 'id=old | a cat' > "$slow/p"
printf '%s\n' 'id=new | a dog' > "$tmp/p"
# of each clip a round: the file is looked at, in vain, before the command comes and until after it
echo "2.0 turbodiff@ch programme $tmp/p;" > "$tmp/commands"
: > "$tmp/ids"
on_slow -filter_complex "$base:pace=live:programme=$slow/p:loop=-1,sendcmd=f=$tmp/commands,metadata=print:key=lavfi.turbodiff.id:file=$tmp/ids:direct=1[v]" \
    -map '[v]' -t 6 -f null - &
channel=$!
begun "$tmp/ids" id=old
echo '# more' >> "$slow/p"
wait $channel
equal "a programme by a command stays, whatever the disk says later" "$? $(sed -n 's/.*id=//p' "$tmp/ids" | uniq | tr '\n' ,) $(grep -c 'has changed' "$tmp/log")" "0 old,new, 0"

# ---- no thread to be had ----

printf '%s\n' 'a cat' 'a dog' 'a bird' > "$tmp/p"
# unthreaded N: status and frames where the Nth thread is missing
unthreaded() {
    : > "$slow/m"
    LD_PRELOAD=$tmp/machine.so TD_TEST_NO_THREAD=$1 run -f lavfi -i "$base:threads=1:programme=$tmp/p:metrics=$slow/m" -f framecrc "$tmp/crc"
    echo "$? $(grep -c '^0,' "$tmp/crc") $(metric frames_total)"
}
n=1
while [ $n -lt 20 ] && [ "$(unthreaded $n)" = "0 27 27" ]; do
    n=$((n + 1))
done
# the first one that it cannot do without is that which makes clips, and is begun after that which writes
unthreaded $n > "$tmp/got"
equal "without any thread before that of the clips ($((n - 1))) the metrics are written all the same" \
    "$((n > 1)) $(grep -c "^[1-9]" "$tmp/got") $(grep -c 'Failed to configure output pad' "$tmp/err")" "1 1 1"

echo "$suite: $passed passed, $failed failed"
[ $failed -eq 0 ]
