#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The ffmpeg that is meant for use sends a channel where channels go: streams.sh DIR MODEL
#
# 1. DIR has ffmpeg and ffprobe of the full build; MODEL is made by tdsynth. The receivers are ffmpeg itself: it listens
#    for RTMP and SRT, and reads UDP and HLS.
# 2. Output as that of run.sh.
set -u
LC_ALL=C
export LC_ALL

dir=$1
model=$2
ffmpeg=$dir/ffmpeg
ffprobe=$dir/ffprobe
suite=fate-streams
. "$(dirname "$0")/cases.sh"

# module NAME: whether this machine has a library, as configure asks for it
module() { pkg-config --exists "$1" 2> /dev/null; }

has muxer flv hls dash tee fifo rtp rtp_mpegts rtsp mxf mpegts mp2 mp3 ac3 adts ogg h264 hevc
has protocol tcp udp rtp rtmp rtmpt http crypto unix
has encoder mp2 ac3 eac3 dnxhd mpeg2video pcm_s24le pcm_alaw aac
has filter bwdif tinterlace setfield fieldorder interleave movie amovie acrossfade aevalsrc realtime sendcmd
if module gnutls; then has protocol tls https rtmps; fi
if module srt; then has protocol srt; fi
if module x265 && "$ffmpeg" -hide_banner -version | grep -q enable-gpl; then has encoder libx265; fi
if module SvtAv1Enc; then has encoder libsvtav1; fi
if module dav1d; then has decoder libdav1d; fi
if module opus; then has encoder libopus; fi
if [ -e /usr/include/lame/lame.h ]; then has encoder libmp3lame; fi
if module libzmq; then has filter zmq azmq; fi

# a port that nothing listens at
port=$((20000 + $$ % 20000))
printf 'id=a | a cat\nid=b | a dog\nid=c | a bird\n' > "$tmp/p"
video=mpeg4
"$ffmpeg" -hide_banner -v error -encoders | grep -q ' libx264 ' && video="libx264 -udu_sei 1"
channel="turbodiff=model=$model:s=64x48:frames=9:seed=1:steps=1:programme=$tmp/p:pace=live"
# send OPTION...: the channel, 27 frames at 16 a second, with a key frame in each clip and a sound
send() {
    timeout 60 "$ffmpeg" -hide_banner -nostdin -y -v error -f lavfi -i "$channel" -f lavfi -i sine=220 -map 0:v -map 1:a -shortest \
        -c:v $video -g 9 -bf 0 -pix_fmt yuv420p -c:a aac "$@" 2> "$tmp/send"
}
# the same three times over
send_longer() {
    channel="$channel:loop=2"
    send "$@"
    channel=${channel%:loop=2}
}
# received FILE: its number of pictures
received() {
    "$ffprobe" -v error -count_packets -select_streams v -show_entries stream=nb_read_packets -of csv=p=0 "$1" 2> "$tmp/probe" |
        head -n 1
}
# arrived NAME FILE LEAST: pictures but those that were sent before the receiver knew what they are, and after it was stopped
arrived() {
    n=$(received "$2")
    if [ "${n:-0}" -ge "$3" ]; then ok "$1"; else fail "$1" "$n pictures" "$(tail -n 2 "$tmp/send")" "$(tail -n 2 "$tmp/receive")"; fi
}

# marked NAME FILE: it has marks in the coded video, one a second; mpeg4 has no place for them
marked() {
    [ "$video" = mpeg4 ] || equal "$1: marks" "$("$ffmpeg" -hide_banner -nostdin -v error -i "$2" -map v -c copy -f rawvideo - |
        grep -a -o '{"digitalSourceType":"http://cv.iptc.org/[a-zA-Z/]*","generator":"turbodiff ' | wc -l | awk '{ print ($1 >= 1) }')" 1
}

if [ "$video" != mpeg4 ]; then
    timeout 60 "$ffmpeg" -hide_banner -nostdin -y -v error -listen 1 -i "rtmp://127.0.0.1:$port/live/x" -c copy "$tmp/rtmp.flv" \
        2> "$tmp/receive" &
    sleep 1
    send -f flv "rtmp://127.0.0.1:$port/live/x"
    wait $!
    arrived "RTMP" "$tmp/rtmp.flv" 20
    marked "RTMP" "$tmp/rtmp.flv"
fi
if module srt; then
    timeout 60 "$ffmpeg" -hide_banner -nostdin -y -v error -analyzeduration 500k -i "srt://127.0.0.1:$port?mode=listener&latency=1000000" -c copy "$tmp/srt.ts" 2> "$tmp/receive" &
    sleep 1
    send_longer -f mpegts "srt://127.0.0.1:$port?latency=1000000&linger=3"
    wait $!
    arrived "SRT" "$tmp/srt.ts" 40
    marked "SRT" "$tmp/srt.ts"
fi
timeout 60 "$ffmpeg" -hide_banner -nostdin -y -v error -i "udp://127.0.0.1:$port?timeout=3000000" -c copy "$tmp/udp.ts" 2> "$tmp/receive" &
sleep 1
send -f mpegts -muxrate 2M "udp://127.0.0.1:$port?pkt_size=1316"
wait $!
arrived "UDP, a transport stream of a constant rate" "$tmp/udp.ts" 20
marked "UDP" "$tmp/udp.ts"

mkdir "$tmp/hls"
send -f tee "[f=hls:hls_time=0.5:hls_list_size=0]$tmp/hls/x.m3u8|[f=fifo:fifo_format=mpegts]$tmp/tee.ts"
equal "HLS and a file at once, by tee" "$(received "$tmp/hls/x.m3u8") $(received "$tmp/tee.ts")" "27 27"
marked "HLS" "$tmp/hls/x.m3u8"
equal "HLS: segments begin at key frames" "$(find "$tmp/hls" -name '*.ts' | wc -l | awk '{ print ($1 >= 3) }')" 1
video=mpeg4
send -c:v dnxhd -profile:v dnxhr_lb -pix_fmt yuv422p -s 256x192 -r 25 -c:a pcm_s24le -ar 48000 -f mxf "$tmp/x.mxf"
equal "MXF with DNxHR" "$("$ffprobe" -v error -show_entries stream=codec_name -of csv=p=0 "$tmp/x.mxf" 2>&1 | tr '\n' ' ')" "dnxhd pcm_s24le "

# ---- frame rates: the table of doc/live.md ----

sed -n '/^## Frame rates/,/^## From/s/^| \([0-9/]*\) | `\([^`]*\)` .*/\1 \2/p' "$(dirname "$0")/../../doc/live.md" > "$tmp/rates"
while read -r rate filters <&3; do
    write "$tmp/rate.nut" -f lavfi -i "${channel%:pace=live}" -vf "$filters" -c:v ffv1
    at=$("$ffprobe" -v error -count_packets -show_entries stream=r_frame_rate,nb_read_packets -of csv=p=0 "$tmp/rate.nut")
    # 27 frames are 1.69 s
    least=$(echo "$rate" | awk -F/ '{ printf "%d", $1 / ($2 ? $2 : 1) * 1.55 }')
    if [ "${at%,*}" = "$rate" ] || [ "${at%,*}" = "$rate/1" ] && [ "${at#*,}" -ge "$least" ]; then ok "$filters: $rate a second"; else
        fail "$filters: $rate a second" "rate and frames $at, want at least $least" "$(head -n 2 "$tmp/err")"; fi
done 3< "$tmp/rates"
[ "$(grep -c . "$tmp/rates")" -ge 8 ] || fail "frame rates of doc/live.md" "found few: $(cat "$tmp/rates")"

echo "$suite: $passed passed, $failed failed"
[ $failed -eq 0 ]
