#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# A channel on air, slower than its clock: onair.sh BUILD SECONDS. Needs nginx with its rtmp module, which it starts.
#
# 1. A programme of ten prompts for the demo model, looped, which two cores make at a quarter of its rate, goes with a
#    sound to an RTMP server, as MPEG-TS of a constant rate to UDP and as HLS at once.
# 2. Seen at the receivers, but for the first and the last 5 s: no gap of more than 0.2 s and PCRs within 0.1 s of the
#    clock (tests/tsclock.c); as many pictures of the RTMP server, and of HLS, as were sent in that time. Of the sender: at
#    the most as much memory, and as many threads, in the last tenth as in the second one (a clip takes more while it is
#    decoded than before), and metrics that account for each frame: new ones as many as clips have, all others held.
# 3. Each case prints "ok NAME", or what was seen and "FAIL NAME"; the last line has the counts. Status 77: no nginx.
set -u
LC_ALL=C
export LC_ALL
build=$1
seconds=$2
ffmpeg=$build/ffmpeg
ffprobe=$build/ffprobe
. "$(dirname "$0")/fate/cases.sh"
module=/usr/lib/nginx/modules/ngx_rtmp_module.so
if ! command -v nginx > /dev/null || [ ! -e $module ]; then
    echo "onair.sh: no nginx with $module here (Debian: nginx-light libnginx-mod-rtmp)" >&2
    exit 77
fi
${CC:-cc} -std=c11 -D_GNU_SOURCE -O2 -Wall "$(dirname "$0")/tsclock.c" -o "$tmp/tsclock" || exit 1
rtmp=$((21000 + $$ % 10000))
udp=$((rtmp + 10000))
pids=
trap 'kill $pids 2> /dev/null; rm -rf "$tmp"' EXIT

mkdir "$tmp/hls"
cat > "$tmp/nginx.conf" << END
load_module $module;
daemon off;
user root;
error_log $tmp/nginx.log;
pid $tmp/nginx.pid;
events { }
rtmp { server { listen 127.0.0.1:$rtmp; application live { live on; } } }
END
nginx -p "$tmp" -c "$tmp/nginx.conf" > "$tmp/nginx.out" 2>&1 &
pids="$pids $!"
for what in "a red circle moves to the right on white" "a blue square grows on black" "two green stars move up at night" \
    "a yellow ring bounces on grey" "a purple triangle spins on the sea" "three red squares move left on black" \
    "an orange cross shrinks on grass" "a pink star moves down on grey" "a white circle grows at sunset" "a green ring moves left on sand"; do
    echo "$what"
done > "$tmp/day.txt"

"$tmp/tsclock" $udp $((seconds - 5)) > "$tmp/clock" 2>&1 &
pids="$pids $!"
clock=$!
"$ffmpeg" -hide_banner -nostdin -y -v error -re -f lavfi -i anullsrc -filter_complex \
    "turbodiff@on=programme=$tmp/day.txt:loop=-1:pace=live:late=pingpong:first=black:seed=1:metrics=$tmp/on.prom[v]" \
    -map "[v]" -map 0:a -t "$seconds" -c:v libx264 -preset veryfast -g 32 -bf 0 -b:v 500k -pix_fmt yuv420p -c:a aac -f tee \
    "[f=fifo:fifo_format=flv:attempt_recovery=1:drop_pkts_on_overflow=1]rtmp://127.0.0.1:$rtmp/live/on|[f=mpegts:muxrate=2M:pcr_period=40]udp://127.0.0.1:$udp?pkt_size=1316|[f=fifo:fifo_format=hls:format_opts=hls_time=4\\\\:hls_list_size=0:queue_size=1000:drop_pkts_on_overflow=1]$tmp/hls/on.m3u8" \
    2> "$tmp/log" &
channel=$!
pids="$pids $!"
sleep 10
"$ffmpeg" -hide_banner -nostdin -y -v error -rw_timeout 20000000 -i "rtmp://127.0.0.1:$rtmp/live/on" -c copy -f flv "$tmp/rtmp.flv" 2> "$tmp/rtmp.log" &
pids="$pids $!"
receiver=$!

status() { sed -n "s/^$1:[^0-9]*\([0-9]*\).*/\1/p" "/proc/$channel/status" 2> /dev/null; }
while kill -0 $channel 2> /dev/null; do
    echo "$(status VmRSS) $(status Threads)" >> "$tmp/taken"
    sleep 1
done
# most FROM TO: kB and threads, of these tenths of the time
most() {
    awk -v from="$1" -v to="$2" -v n="$(wc -l < "$tmp/taken")" '
        NF == 2 && NR > n * from / 10 && NR <= n * to / 10 { if ($1 > kb) kb = $1; if ($2 > threads) threads = $2 }
        END { print kb + 0, threads + 0 }' "$tmp/taken"
}
early=$(most 1 2)
late=$(most 9 10)
wait $channel
code=$?
wait $clock
wait $receiver

metric() { awk -v name="turbodiff_$1" 'index($1, name "{") == 1 || index($1, name) == 1 && index($1, "{") == length(name) + 1 { n += $2 } END { printf "%d\n", n }' "$tmp/on.prom"; }
sent=$(metric frames_total)
held=$(metric held_frames_total)
made=$(awk '/^turbodiff_clips_total.*result="made"/ { print $2 }' "$tmp/on.prom")
echo "sent $sent frames, $held of them held, of $made clips; udp: $(cat "$tmp/clock"); kB and threads: $early, at the end $late"
if [ $code -eq 0 ] && [ ! -s "$tmp/log" ]; then ok "the channel ends well, and says nothing"; else
    fail "the channel ends well, and says nothing" "status $code" "$(tail -n 5 "$tmp/log")"; fi
least=$((seconds * 16 - 32))
if [ "$sent" -ge $least ]; then ok "16 frames a second"; else fail "16 frames a second" "$sent, want $least"; fi
set -- $(cat "$tmp/clock")
within() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a <= b) }'; }
if [ $# -eq 9 ] && [ "$3" -gt $((seconds * 10)) ] && within "$5" 0.1 && within "$7" 0.1; then ok "PCR within 0.1 s of the clock"; else
    fail "PCR within 0.1 s of the clock" "$*"; fi
if [ $# -eq 9 ] && within "$9" 0.2; then ok "no gap of more than 0.2 s"; else fail "no gap of more than 0.2 s" "$*"; fi
pictures() { "$ffprobe" -v error -count_packets -select_streams v -show_entries stream=nb_read_packets -of csv=p=0 "$1" | head -n 1; }
n=$(pictures "$tmp/hls/on.m3u8")
if [ "${n:-0}" -ge $least ]; then ok "HLS has all of them"; else fail "HLS has all of them" "$n of $sent"; fi
n=$(pictures "$tmp/rtmp.flv")
if [ "${n:-0}" -ge $(((seconds - 20) * 16)) ]; then ok "the RTMP server passes them on"; else
    fail "the RTMP server passes them on" "${n:-0}" "$(tail -n 3 "$tmp/rtmp.log" "$tmp/nginx.log")"; fi
# at the end a clip that is not counted yet may be on air in part
if [ "$held" -gt 0 ] && [ $((sent - held)) -lt $(((made + 1) * 17)) ] && [ $((sent - held)) -gt $(((made - 4) * 17)) ]; then
    ok "frames are new, or held"; else fail "frames are new, or held" "$sent, $held, $made clips of 17"; fi
if [ "${early% *}" -gt 0 ] && [ "${late% *}" -le $((${early% *} + ${early% *} / 10 + 4096)) ] && [ "${late#* }" -le "${early#* }" ]; then
    ok "memory and threads stay"; else fail "memory and threads stay" "$early" "$late"; fi
echo "onair: $passed passed, $failed failed"
[ $failed -eq 0 ]
