#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Every command of doc/live.md runs: live.sh DIR, which has the ffmpeg of the full build, ffprobe, zmqsend, the tools and
# share/turbodiff/demo-model
#
# 1. Commands are its indented lines, and what of a command stands in the text: `-f ...` in place of the last part of the
#    one before, options in place of others. Each is run as it stands, for some seconds, in a directory where small models by
#    tdsynth have the names of large ones. The receivers and the camera are ffmpeg, at ports of this machine.
# 2. Left out here: the services, which health.sh runs and has systemd-analyze verify; the table of frame rates, which
#    streams.sh runs. An indented line that is neither run nor left out is a failure, and so is a number of commands that is
#    not that of the list below.
# 3. Options and metrics that it names are there. Output as that of run.sh.
set -u
LC_ALL=C
export LC_ALL
dir=$(realpath "$1")
doc=$(realpath "$(dirname "$0")/../../doc/live.md")
ffmpeg=$dir/ffmpeg
ffprobe=$dir/ffprobe
suite=fate-live
. "$(dirname "$0")/cases.sh"
here=$tmp/here
programs=$tmp/programs
mkdir "$here" "$programs" "$tmp/www"
pids=
trap 'kill $pids 2> /dev/null; rm -rf "$tmp"' EXIT

# ---- what the commands name ----

small_model "$here/TurboWan"
small_model "$here/TurboWan-I2V" --in-dim=36
printf 'a red circle moves to the right\na green star shrinks\n' > "$here/day.txt"
for file in harbour.jpg break.png; do
    write "$here/$file" -f lavfi -i "testsrc2=s=48x32:d=0.04" -update 1
done
ln -s "$dir/zmqsend" "$programs/"
# a command ends after some seconds: an option before its output, which is the last argument
cat > "$programs/ffmpeg" << END
#!/bin/sh
n=\$#
i=0
for argument; do
    i=\$((i + 1))
    [ \$i -lt \$n ] || set -- "\$@" -t 4
    set -- "\$@" "\$argument"
done
shift \$n
exec "$ffmpeg" -hide_banner -nostdin -y -v info "\$@"
END
chmod +x "$programs/ffmpeg"
port=$((22000 + $$ % 20000))
camera=$((port + 100))
# placed: with the addresses of this machine
placed() {
    sed "s|//server/|//127.0.0.1:$port/|g; s|//server:9000|//127.0.0.1:$port?latency=1000000\&linger=3|; s|//camera/|//127.0.0.1:$camera/|; \
        s|//239.0.0.1:1234|//127.0.0.1:$port|; s|/srv/www|$tmp/www|"
}
# command TEXT: in the directory; what it says is in $tmp/log; its status
command() {
    (cd "$here" && PATH=$programs:$PATH && export PATH && eval "exec timeout 120 $(printf '%s\n' "$1" | placed)") > "$tmp/log" 2>&1
}
# next_port: one that nothing has listened at
next_port() {
    port=$((port + 1))
}
# listen FILE OPTION... URL: a receiver, in the background, that is there
listen() {
    listen_to=$1
    shift
    # one SIGINT, not another one to the group: two are an exit at once
    timeout --foreground 150 "$ffmpeg" -hide_banner -nostdin -y -v error "$@" -c copy "$listen_to" 2> "$tmp/receive" &
    receiver=$!
    pids="$pids $receiver"
    sleep 1
}
# received FILE: its pictures, and streams of sound
received() {
    "$ffprobe" -v error -count_packets -show_entries stream=codec_type,nb_read_packets -of csv=p=0 "$1" 2> "$tmp/probe" |
        awk -F , '/video/ { n = $2 } /audio/ { s = 1 } END { print n + 0, s + 0 }'
}
# arrived NAME FILE CODE LEAST: so many pictures, and a sound
arrived() {
    arrived_got=$(received "$2")
    if [ "$3" -eq 0 ] && [ "${arrived_got% *}" -ge "$4" ] && [ "${arrived_got#* }" = 1 ]; then
        ok "$1"
    else
        fail "$1" "status $3, pictures and sounds: $arrived_got" "$(tail -n 4 "$tmp/log")" "$(tail -n 2 "$tmp/receive")"
    fi
}
# by_rtmp NAME LEAST: $line, to a receiver of its own
by_rtmp() {
    next_port
    listen "$tmp/rtmp.flv" -listen 1 -i "rtmp://127.0.0.1:$port/live/key"
    command "$line"
    code=$?
    wait $receiver
    arrived "$1" "$tmp/rtmp.flv" $code "$2"
}

# ---- the commands ----

awk '
    /^    \[Unit\]/ { unit = 1 }
    /^[^ ]/ { unit = 0 }
    /^    / && !unit {
        sub(/^ */, "")
        line = line $0
        if (sub(/\\$/, "", line)) next
        print line
        line = ""
    }' "$doc" > "$tmp/commands"
sed -n '/^## To servers/,/^## Frame/p' "$doc" | tr '\n' ' ' | grep -o '`-f [^`]*`' | tr -d '`' > "$tmp/ends"
bind=$(grep -o '`bind_address=[^`]*`' "$doc" | tr -d '`')
n=0
to_server=
zmq=
: > "$tmp/day"
while IFS= read -r line <&3; do
    n=$((n + 1))
    case $line in
    *'[0:v]turbodiff_i2v=live=1'*"-f flv rtmp://"*)
        timeout 150 "$ffmpeg" -hide_banner -nostdin -v error -re -f lavfi -i "testsrc2=s=64x48:r=25" -f lavfi -i sine -c:v libx264 -g 5 -bf 0 \
            -pix_fmt yuv420p -c:a aac -f flv -listen 1 "rtmp://127.0.0.1:$camera/live/key" 2> "$tmp/camera" &
        pids="$pids $!"
        by_rtmp "from a camera: $line" 20 ;;
    "ffmpeg "*"-f flv rtmp://"*)
        to_server=$line
        by_rtmp "$line" 40 ;;
    "-map "*" -f tee "*)
        # one that fails: nobody listens yet
        next_port
        (sleep 8; exec timeout 60 "$ffmpeg" -hide_banner -nostdin -y -v error -listen 1 -i "rtmp://127.0.0.1:$port/live/key" -c copy "$tmp/tee.flv") \
            2> "$tmp/receive" &
        receiver=$!
        pids="$pids $receiver"
        command "${to_server%-f flv *}$line"
        code=$?
        kill $receiver 2> "$tmp/killed"
        wait $receiver 2> "$tmp/killed"
        arrived "$line" "$tmp/www/x.m3u8" $code 60 ;;
    *"transition=continue"*" ...")
        command "${line%...}out.mkv"
        equal "$line" "$? $(received "$here/out.mkv")" "0 64 0" ;;
    *",zmq[v]"*" ...")
        zmq=$line ;;
    "echo "*"| zmqsend")
        for where in "" "$bind"; do
            graph="${zmq%,zmq\[v]*},zmq${where:+=$where}[v]${zmq#*,zmq\[v]}"
            command "${graph%...}-f null -" &
            channel=$!
            pids="$pids $channel"
            (cd "$here" && PATH=$programs:$PATH && export PATH && PATH=$PATH timeout 100 sh -c "$line") > "$tmp/reply" 2>&1
            wait $channel
            equal "$line: ${where:-zmq}" "$? $(grep -c '^0 Success' "$tmp/reply") $(grep -c '^clip=[0-9]* at=' "$tmp/reply") $(
                grep -c 'prompt a cat surfing, slowly: clip=' "$tmp/log")" "0 1 1 1"
        done ;;
    "in="*" | "*)
        printf '%s\n' "$line" >> "$tmp/day" ;;
    *)
        fail "$line" "neither run nor left out" ;;
    esac
done 3< "$tmp/commands"
found="$n, $(grep -c . "$tmp/ends") in the text, zmq: ${zmq:+1}, bind_address: ${bind:+1}"
[ "$found" = "8, 2 in the text, zmq: 1, bind_address: 1" ] || fail "commands of doc/live.md" "found: $found"

equal "lines of a programme" "$(count -f lavfi -i "turbodiff=model=$here/TurboWan:programme=$tmp/day:loop=1")" 28   # 4 clips of 9, one fade of 8
while IFS= read -r end <&3; do
    next_port
    case $end in
    *udp:*) listen "$tmp/end.ts" -analyzeduration 500k -i "udp://127.0.0.1:$port?timeout=100000000" ;;
    *)      listen "$tmp/end.ts" -analyzeduration 500k -i "srt://127.0.0.1:$port?mode=listener&latency=1000000" ;;
    esac
    command "${to_server%-f flv *}$end"
    code=$?
    case $end in *udp:*) sleep 2; kill -INT $receiver ;; esac
    wait $receiver
    arrived "$end" "$tmp/end.ts" $code 20
done 3< "$tmp/ends"

# ---- options and metrics ----

for component in filter=turbodiff filter=turbodiff_i2v muxer=tee muxer=fifo; do
    "$ffmpeg" -hide_banner -h $component
done > "$tmp/options" 2> "$tmp/err"
sed '/^## Frame rates/,/^## From clip/d' "$doc" | grep -v '^    ' | grep -o '`[a-z_0-9]*=[^`]*`' | tr -d '`' | tr : '\n' |
    sed -n 's/^\([a-z_0-9]*\)=.*/\1/p' | grep -vx 'bind_address\|in' | sort -u > "$tmp/named"
lacking=$(while read -r name; do grep -q "^  *-\{0,1\}$name  *<" "$tmp/options" || echo "$name"; done < "$tmp/named")
empty "options that it names" "$lacking"
[ "$(grep -c . "$tmp/named")" -gt 10 ] || fail "options of doc/live.md" "found few:" "$(cat "$tmp/named")"
made -f lavfi -i "turbodiff=model=$here/TurboWan:programme=$tmp/day:metrics=$tmp/m.prom" -f null - > "$tmp/out"
sed -n '/^## Metrics/,$s/^| \(`[^|]*\) |.*/\1/p' "$doc" | grep -o '`[a-z_]*' | tr -d '`' | grep . | grep -vx 'turbodiff_' > "$tmp/metrics"
lacking=$(while read -r name; do
    case $name in _*) name=${before%_*}$name ;; esac
    before=$name
    grep -q "^turbodiff_$name[{ ]" "$tmp/m.prom" || echo "$name"
done < "$tmp/metrics")
empty "metrics that it names" "$lacking"
[ "$(grep -c . "$tmp/metrics")" -gt 10 ] || fail "metrics of doc/live.md" "found few:" "$(cat "$tmp/metrics")"

echo "$suite: $passed passed, $failed failed"
[ $failed -eq 0 ]
