#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Tests of image to video as a user of ffmpeg meets it, the filter turbodiff_i2v and image= of the source:
# i2v.sh DIR MODEL T2V_MODEL
#
# 1. DIR has ffmpeg and ffprobe; the models are made by tdsynth, so pictures mean nothing: what is compared is frame
#    counts, times, sizes, formats, tags, equality and difference of pictures, and messages.
# 2. Each case prints "ok NAME" or, after what it saw, "FAIL NAME"; the last line has the counts.
set -u
LC_ALL=C
export LC_ALL

dir=$1
model=$2
t2v=$3
ffmpeg=$dir/ffmpeg
ffprobe=$dir/ffprobe
case $dir in
*/small-*) suite=fate-i2v-${dir##*/small-} ;;
*)         suite=fate-i2v ;;
esac
. "$(dirname "$0")/cases.sh"

# md5 INPUT FILTERS [OUTPUT OPTION]...: one checksum over all frames
md5() {
    md5_in=$1
    shift
    sum -f lavfi -i "$md5_in" -vf "$@"
}
# crc INPUT FILTERS: number, time, duration and checksum of each frame
crc() {
    frames -copyts -f lavfi -i "$1" -vf "$2" -fps_mode passthrough
}
stamps() {
    crc "$1" "$2" | cut -d , -f 3 | tr '\n' ' '
}
# number INPUT FILTERS: of frames
number() {
    count -copyts -f lavfi -i "$1" -vf "$2" -fps_mode passthrough
}
# values OPTION...: of frames, comma-separated; one with side data has a comma at its end
values() {
    "$ffprobe" -v error -f lavfi "$@" -of csv=p=0 2>&1 | sed 's/,$//'
}
# probe ENTRIES INPUT FILTERS: values of the last frame
probe() {
    values -i "$2,$3" -show_entries "$1" | grep . | tail -n 1
}

opts="model=$model:prompt=a cat:seed=1:frames=5:steps=2:topk=1"
f="turbodiff_i2v=$opts:s=64x48"
in="testsrc2=s=70x50:r=25:d=0.2"

# ---- replace ----

ref=$(md5 "$in" "$f")
equal "replace: frames and times" "$(stamps "$in" "$f")" "0 1 2 3 4 "
equal "replace: size, format and colours" \
    "$(probe frame=width,height,pix_fmt,color_range,color_space,color_primaries,color_transfer,sample_aspect_ratio "$in" "$f")" \
    "64,48,yuv420p,1:1,tv,bt709,bt709,bt709"
equal "replace: the same again" "$(md5 "$in" "$f")" "$ref"
equal "replace: only the first frame matters" "$(md5 "$in,trim=end_frame=1" "$f")" "$ref"
equal "replace: an input without an end" "$(md5 "testsrc2=s=70x50:r=25" "$f")" "$ref"
differ "replace: another picture" "$(md5 "$in,reverse" "$f")" "$ref"
differ "replace: another prompt" "$(md5 "$in" "$f:prompt=a dog")" "$ref"
differ "replace: another seed" "$(md5 "$in" "$f:seed=2")" "$ref"
differ "boundary" "$(md5 "$in" "$f:boundary=1")" "$ref"
equal "boundary=0.9 is the default" "$(md5 "$in" "$f:boundary=0.9")" "$ref"
lora "$tmp/a.safetensors" head.head.diff_b 64
both="$f:boundary=0.99"
differ "lora of each transformer" "$(md5 "$in" "$both:lora=$tmp/a.safetensors")" \
    "$(md5 "$in" "$both:lora_low=$tmp/a.safetensors")" "$(md5 "$in" "$both:lora=$tmp/a.safetensors:lora_low=$tmp/a.safetensors")" \
    "$(md5 "$in" "$both")"
unipc="$f:sampler=unipc:steps=3"
differ "guidance of each transformer" "$(md5 "$in" "$unipc:guidance=4|3")" "$(md5 "$in" "$unipc:guidance=4")"
equal "guidance of two transformers alike" "$(md5 "$in" "$unipc:guidance=4|4")" "$(md5 "$in" "$unipc:guidance=4")"
equal "sigma_max=200 is the default" "$(md5 "$in" "$f:sigma_max=200")" "$ref"
differ "ode" "$(md5 "$in" "$f:ode=1")" "$ref"
equal "residency=stage" "$(md5 "$in" "$f:residency=stage")" "$ref"
equal "duration" "$(number "$in" "turbodiff_i2v=model=$model:prompt=a cat:seed=1:steps=1:s=32x32:d=0.2:r=10")" 2
equal "filter_complex" "$(sum -f lavfi -i "$in" -filter_complex "[0:v]$f")" "$ref"
equal "in a graph beside its input" \
    "$(count -filter_complex "$in,split[a][b];[a]$f[c];[b]scale=64:48,format=yuv420p,fps=16[d];[d][c]hstack=shortest=1")" 3

# every: 5 frames of 1/25 s are 3.2 frames of 1/16 s; the clip of the first one is cut where the input ends
equal "every=1000: up to the input's end" "$(stamps "$in" "$f:every=1000")" "0 1 2 "
equal "every=1000: as the first one only" "$(md5 "$in" "$f:every=1000")" "$(md5 "$in" "$f" -frames:v 3)"
equal "every=1000: a picture's clip is whole" "$(md5 "$in,trim=end_frame=1" "$f:every=1000:clips=2:overlap=0")" \
    "$(md5 "$in" "$f:clips=2:overlap=0")"
# 2 s: ticks 0 to 31 of 1/16 s. Clips begin at 0, 0.4, 0.8 ... s, which is ticks 0, 6 (6.4), 13 (12.8), 19 (19.2), 26 (25.6)
long="testsrc2=s=70x50:r=25:d=2"
g="turbodiff_i2v=model=$model:prompt=a cat:seed=1:steps=1:topk=1:s=32x32"
# seeds INPUT FILTERS: of the frames, run lengths and values
seeds() {
    values -i "$1,$2" -show_entries frame_tags=lavfi.turbodiff.seed | uniq -c |
        awk '{ printf "%s*%s ", $1, $2 }'
}
ticks=$(seq -s ' ' 0 31)
crc "$long" "$g:frames=9:every=10" > "$tmp/every"
equal "every=10: pictures end with the input" "$(cut -d , -f 3 "$tmp/every" | tr '\n' ' ')" "$ticks "
equal "every=10: all frames last the same" "$(cut -d , -f 4 "$tmp/every" | sort -u)" 1
equal "every=10: a clip begins at its frame's time and is cut at the next one's" "$(seeds "$long" "$g:frames=9:every=10")" \
    "6*1 7*2 6*3 7*4 6*5 "
equal "every=10: the clip is of that frame" "$(sed -n 14,19p "$tmp/every" | cut -d , -f 6)" \
    "$(crc "$long,trim=start_frame=20" "$g:frames=9:seed=3" | head -n 6 | cut -d , -f 6)"
equal "every=10: statistics of the clips that are cut, too" \
    "$(run -f lavfi -i "$long" -vf "$g:frames=9:every=10:stats=$tmp/stats" -f null - && grep -c '"seed"' "$tmp/stats")" 5
crc "$long" "$g:frames=5:every=25" > "$tmp/every"
equal "every=25: a clip shorter than the time to the next one" "$(cut -d , -f 3 "$tmp/every" | tr '\n' ' ')" "$ticks "
equal "every=25: stays at its last frame" "$(sed -n 6,16p "$tmp/every" | cut -d , -f 6 | uniq)" \
    "$(sed -n 5p "$tmp/every" | cut -d , -f 6)"
equal "every=25: seeds" "$(seeds "$long" "$g:frames=5:every=25")" "16*1 16*2 "
equal "every=25:clips=2:overlap=0" "$(seeds "$long" "$g:frames=5:every=25:clips=2:overlap=0")" "5*1 11*2 5*3 11*4 "
equal "every: times of the input need not begin at 0" "$(stamps "$in,setpts=PTS+100" "$f:every=2")" "64 65 66 "
equal "every: a hole in the input" "$(seeds "$long,select='lt(n,3)+gte(n,40)'" "$g:frames=5:every=3" | cut -d ' ' -f 1,2)" \
    "26*1 2*2"
# the last one begins at 1.8 s and lasts 0.04 s
equal "every: input frames far apart" "$(stamps "$long,select='not(mod(n,5))'" "$g:frames=5:every=2" | wc -w)" 29
equal "every=1: more clips than frames" "$(stamps "$in" "$f:every=1")" "0 1 2 "
equal "clips=2: frames and times" "$(stamps "$in" "$f:clips=2:overlap=0")" "0 1 2 3 4 5 6 7 8 9 "
equal "clips=2: the first clip is the same" "$(md5 "$in" "$f:clips=2:overlap=0" -frames:v 5)" "$ref"
differ "clips=2: the second clip is another" \
    "$(md5 "$in" "$f:clips=2:overlap=0,trim=start_frame=5")" "$ref"
equal "seeds of two clips" "$(values -i "$in,$f:clips=2:overlap=0" -show_entries frame_tags=lavfi.turbodiff.seed | tr '\n' ' ')" "1 1 1 1 1 2 2 2 2 2 "
equal "seeds of two clips: 0 follows the largest one" "$(values \
    -i "$in,$f:clips=2:overlap=0:seed=18446744073709551615" -show_entries frame_tags=lavfi.turbodiff.seed |
    uniq | tr '\n' ' ')" "18446744073709551615 0 "
equal "-frames within the clip" "$(count -f lavfi -i "$in" -vf "$f:frames=81" -frames:v 3)" 3
equal "adaptive" "$(probe frame=width,height "testsrc2=s=100x100" "trim=end_frame=1,$f:s=128x32:adaptive=1")" "64,64"
equal "adaptive: the shape as it is shown" \
    "$(probe frame=width,height "testsrc2=s=100x100,setsar=4/1" "trim=end_frame=1,$f:s=64x64:adaptive=1")" "128,32"
equal "empty input" "$(count -v warning -f lavfi -i "testsrc2=s=70x50:d=0.2,trim=end_frame=0" -vf "$f") $(
    grep -c 'no frame to start a clip from' "$tmp/err")" "0 1"

# the same picture in other formats, matrices and ranges gives nearly the same first frame; colours would be off by far
psnr() {
    "$ffmpeg" -hide_banner -nostdin -f lavfi -i "$1" -f lavfi -i "$2" -lavfi psnr -f null - 2>&1 |
        sed -n 's/.*PSNR.* min:\([0-9inf.]*\).*/\1/p' | head -n 1
}
still="testsrc2=s=64x48:d=0.04,format=gbrp"
one="$f:frames=1:steps=1"
for how in format=yuv444p,bt709,tv format=yuv444p,smpte170m,tv format=yuv444p,bt709,pc format=yuv444p16le,bt2020,tv; do
    rest=${how#*,}
    worst=$(psnr "$still,$one" \
        "$still,scale=out_color_matrix=${rest%,*}:out_range=${rest#*,}:flags=accurate_rnd+full_chroma_int,${how%%,*},$one")
    case $worst in
    inf) ok "input $how" ;;
    *)  if [ "$(echo "${worst:-0}" | awk '{ print ($1 >= 38) }')" = 1 ]; then ok "input $how"
        else fail "input $how" "worst PSNR ${worst:-none} dB, expected at least 38"; fi ;;
    esac
done
for fmt in gray rgb565le pal8 ya8 bgra yuv410p nv12 p010le gbrapf32le; do
    equal "input in $fmt" "$(number "$in,scale,format=$fmt" "$one")" 1
done

# ---- extend ----

e="turbodiff_i2v=mode=extend:overlap=0:$opts"
src="testsrc2=s=64x48:r=25:d=0.2,format=yuv420p"
crc "$src" null > "$tmp/plain"
crc "$src" "$e:s=64x48:r=25" > "$tmp/longer"
equal "extend: number of frames" "$(grep -c . "$tmp/longer")" 10
equal "extend: the input's frames are the same" "$(head -n 5 "$tmp/longer")" "$(cat "$tmp/plain")"
equal "extend: times go on" "$(cut -d , -f 3 "$tmp/longer" | tr '\n' ' ')" "0 1 2 3 4 5 6 7 8 9 "
equal "extend: times at another rate" "$(stamps "$src" "$e:s=64x48:r=5")" "0 1 2 3 4 5 10 15 20 25 "
equal "extend: a time base too coarse for the clip" \
    "$(stamps "testsrc2=s=64x48:r=2:d=1,format=yuv420p" "$e:s=64x48:r=8")" "0 4 8 9 10 11 12 "
equal "extend: times of the input need not begin at 0" "$(stamps "$src,setpts=PTS+100" "$e:s=64x48:r=25")" \
    "100 101 102 103 104 105 106 107 108 109 "
equal "extend: clips=2:overlap=0" "$(stamps "$src" "$e:s=64x48:r=25:clips=2:overlap=0")" "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 "
equal "extend: the clip is made of the last frame" "$(crc "$src,trim=start_frame=4" "$e:s=64x48:r=25" | tail -n 5 |
    cut -d , -f 6)" "$(tail -n 5 "$tmp/longer" | cut -d , -f 6)"
# last_times FILE: of the last 7 packets, in microseconds, and how long the last one lasts
last_times() {
    "$ffprobe" -v error -show_entries packet=pts_time,duration_time -of csv=p=0 "$1" | tail -n 7 |
        awk -F , '{ printf "%.0f ", $1 * 1e6 } END { printf "%.0f\n", $2 * 1e6 }'
}
# near NAME TOLERANCE GOT WANT: numbers that differ by no more than that
near() {
    if echo "$3 $4" | awk -v most="$2" '{ n = NF / 2; for (i = 1; i <= n; i++) if (($i - $(n + i)) ^ 2 > most ^ 2) exit 1 }
                                        NF % 2 || !NF { exit 1 }'; then
        ok "$1"
    else
        fail "$1" "got:      $3" "expected: $4"
    fi
}
# 6 frames of another rate than the clip's, which begins at the end of the last one: frames 1/16 s apart in the file, too
for want in 24,166667,208333,250000 25,160000,200000,240000 30,133333,166667,200000 30000/1001,133467,166833,200200 \
            24000/1001,166833,208542,250250; do
    rate=${want%%,*}
    want=${want#*,}
    end=${want##*,}
    want=$(echo "${want%,*}" | tr , ' ')
    for i in 0 62500 125000 187500 250000; do
        want="$want $((end + i))"
    done
    write "$tmp/in.mp4" -f lavfi -i "testsrc2=s=64x48:r=$rate" -frames:v 6 -c:v mpeg4 -q:v 2
    write "$tmp/out.mp4" -i "$tmp/in.mp4" -vf "$e:s=64x48" -c:v mpeg4 -q:v 2
    equal "extend: $rate frames a second, times in mp4" "$(last_times "$tmp/out.mp4")" "$want 62500"
    write "$tmp/out.mp4" -i "$tmp/in.mp4" -vf "settb=1/90000,$e:s=64x48" -c:v mpeg4 -q:v 2
    near "extend: $rate frames a second, a time base too fine for MPEG-4" 20 "$(last_times "$tmp/out.mp4")" "$want 62500"
    # Matroska has milliseconds
    write "$tmp/out.mkv" -i "$tmp/in.mp4" -vf "$e:s=64x48" -c:v mpeg4 -q:v 2
    near "extend: $rate frames a second, times in Matroska" 1000 "$(last_times "$tmp/out.mkv")" "$want 62500"
done
equal "extend: where a constant rate is wanted it is the input's" "$(run -i "$tmp/in.mp4" -vf "$e:s=64x48" -pix_fmt gray -f rawvideo "$tmp/raw" &&
    wc -c < "$tmp/raw" | awk '{ print $1 / 64 / 48 }') $(grep -c 25fps "$tmp/err")" "13 0"
equal "extend: 48 frames a second and 16 are 48" "$("$ffprobe" -v error -f lavfi -i "testsrc2=s=64x48:r=48:d=0.1,$e:s=64x48" \
    -show_entries stream=avg_frame_rate -of csv=p=0)" "48/1"
# the encoder's rate control knows the film's rate: two seconds of film in as many bytes as without the clip
bytes() {
    "$ffprobe" -v error -read_intervals %+2 -show_entries packet=size -of csv=p=0 "$1" | head -n 50 | awk '{ n += $1 } END { print n }'
}
film="testsrc2=s=320x240:r=25:d=2"
write "$tmp/plain.mp4" -f lavfi -i "$film" -c:v mpeg4 -b:v 300k
write "$tmp/in.mp4" -f lavfi -i "$film" -c:v mpeg4 -q:v 2
write "$tmp/out.mp4" -i "$tmp/in.mp4" -vf "$e:s=64x48" -c:v mpeg4 -b:v 300k
if [ "$(echo "$(bytes "$tmp/plain.mp4") $(bytes "$tmp/out.mp4")" | awk '{ print ($2 > 0.8 * $1 && $2 < 1.25 * $1) }')" = 1 ]; then
    ok "extend: the encoder's rate control"
else
    fail "extend: the encoder's rate control" "bytes of the film: $(bytes "$tmp/out.mp4"), without the clip $(bytes "$tmp/plain.mp4")"
fi
for fmt in yuv420p yuv444p10le rgb24 yuvj420p gray nv12 bgra; do
    crc "testsrc2=s=70x50:r=25:d=0.08,format=$fmt" null > "$tmp/plain"
    crc "testsrc2=s=70x50:r=25:d=0.08,format=$fmt" "$e:s=64x48:r=25" > "$tmp/longer"
    equal "extend: $fmt of another size than the model's" \
        "$(grep -c . "$tmp/longer") $(head -n 2 "$tmp/longer")" "7 $(cat "$tmp/plain")"
done
equal "extend: a film of about the model's size goes on pixel for pixel" \
    "$(md5 testsrc2=s=70x54:d=0.2 "$e:s=64x48:adaptive=1" -pix_fmt rgb24)" "$(md5 testsrc2=s=70x54:d=0.2 "$e:s=70x54" -pix_fmt rgb24)"
differ "extend: one of another size is scaled" \
    "$(md5 testsrc2=s=140x108:d=0.2 "$e:s=64x48:adaptive=1" -pix_fmt rgb24)" "$(md5 testsrc2=s=140x108:d=0.2 "$e:s=140x108" -pix_fmt rgb24)"
equal "extend: size, format and colours stay" \
    "$(probe frame=width,height,pix_fmt,color_range,color_space,sample_aspect_ratio \
        "testsrc2=s=70x50:r=25:d=0.08,format=yuv422p,setsar=2/3,setparams=colorspace=smpte170m:range=pc" "$e:s=64x48")" \
    "70,50,yuv422p,2:3,pc,smpte170m"
# colours go there and back: the clip's frames in BT.601 full range are those of BT.709 limited range
a="testsrc2=s=64x48:r=25:d=0.04,format=gbrp,scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int,format=yuv444p"
b="testsrc2=s=64x48:r=25:d=0.04,format=gbrp,scale=out_color_matrix=smpte170m:out_range=pc:flags=accurate_rnd+full_chroma_int,format=yuv444p"
worst=$(psnr "$a,$e:s=64x48:steps=1,trim=start_frame=1,scale=flags=accurate_rnd+full_chroma_int,format=gbrp" \
    "$b,$e:s=64x48:steps=1,trim=start_frame=1,scale=flags=accurate_rnd+full_chroma_int,format=gbrp")
if [ "$(echo "${worst:-0}" | awk '{ print ($1 == "inf" || $1 >= 36) }')" = 1 ]; then ok "extend: matrix and range"
else fail "extend: matrix and range" "worst PSNR ${worst:-none} dB, expected at least 36"; fi
equal "extend: empty input" "$(count -f lavfi -i "testsrc2=s=64x48:d=0.2,trim=end_frame=0" -vf "$e:s=64x48")" 0
equal "extend: -frames within the input" \
    "$(count -f lavfi -i "$src" -vf "$e:s=64x48" -frames:v 2)" 2

# the film outlives its sound: silence of the duration of the clip, 5/16 s
write "$tmp/in.mkv" -f lavfi -i "testsrc2=s=64x48:r=25:d=0.4" -f lavfi -i "anullsrc=r=8000:d=0.4" -c:v mpeg4 -c:a pcm_s16le
# ends FILE: of pictures and of sound, in hundredths of a second
ends() {
    for stream in v a; do
        "$ffprobe" -v error -select_streams $stream -show_entries packet=pts_time,duration_time -of csv=p=0 "$1" | tail -n 1 |
            awk -F , '{ printf "%s%.0f ", s, ($1 + $2) * 100 }'
    done
}
write "$tmp/out.mkv" -i "$tmp/in.mkv" -vf "$e:s=64x48" -c:v mpeg4 -c:a pcm_s16le
equal "extend: the film outlives its sound" "$(ends "$tmp/out.mkv")" "71 40 "
write "$tmp/out.mkv" -i "$tmp/in.mkv" -vf "$e:s=64x48" -af apad=pad_dur=0.3125 -c:v mpeg4 -c:a pcm_s16le
equal "extend: sound with apad" "$(ends "$tmp/out.mkv")" "71 71 "

# ---- colours and fields that need a word ----

# says NAME COUNT PATTERN INPUT FILTERS: how many lines of the filter have the pattern; it goes on
says() {
    equal "$1" "$(count -v warning -f lavfi -i "$4" -vf "$5" | sed 's/^[1-9][0-9]*$/frames/') $(
        grep 'turbodiff_i2v' "$tmp/err" | grep -c "$3")" "frames $2"
}
hdr="$in,format=yuv420p10le,setparams=colorspace=bt2020nc:color_primaries=bt2020"
for trc in smpte2084 arib-std-b67 linear log100; do
    says "extend: $trc is passed on, and said" 1 "has the transfer $trc" "$hdr:color_trc=$trc" "$e:s=64x48"
done
equal "extend: HDR frames keep their tags, those of the clip have them" "$(values \
    -i "$hdr:color_trc=smpte2084,$e:s=64x48" -show_entries frame=pix_fmt,color_space,color_primaries,color_transfer |
    sort | uniq -c | tr -s ' ')" " 10 yuv420p10le,bt2020nc,bt2020,smpte2084"
for primaries in bt2020 smpte431 smpte432; do
    says "replace: primaries $primaries" 1 "has the primaries $primaries" "$in,setparams=color_primaries=$primaries" "$f:every=2"
    says "extend: primaries $primaries stay" 0 "primaries" "$in,setparams=color_primaries=$primaries" "$e:s=64x48"
done
says "replace: nothing to say of BT.601" 0 "transfer\|primaries\|matrix\|interlaced" "$in,setparams=colorspace=smpte170m:color_primaries=smpte170m:color_trc=smpte170m" "$f"
says "replace: interlaced" 1 "interlaced.*bwdif" "$in,setparams=field_mode=tff" "$f:every=2"
says "extend: interlaced" 1 "interlaced.*bwdif" "$in,setparams=field_mode=bff" "$e:s=64x48"
says "replace: not interlaced" 0 "interlaced" "$in" "$f"
# grey and RGB have no matrix, whatever is said of it
equal "grey said to be YCgCo" "$(number "$in,format=gray,setparams=colorspace=ycgco" "$one")" 1

# ---- a size that changes in mid-stream: ffmpeg builds the graph anew, or with -reinit_filter 0 leaves it ----

# neighbor: the other scalers of FFmpeg 7.1 make other bytes in each run when their size changes
change="testsrc2=s=70x50:r=25:d=0.24,scale=w='if(lt(n,3),70,100)':h='if(lt(n,3),50,100)':eval=frame:flags=neighbor,format=yuv420p"
# changed REINIT FILTERS: time, bytes and checksum of each frame
changed() {
    frames -copyts -reinit_filter "$1" -f lavfi -i "$change" -vf "$2" -fps_mode passthrough | cut -d , -f 3,5,6
}
equal "change of size: the test has one" "$(changed 0 null | cut -d , -f 2 | sort -n | uniq | tr '\n' ' ')" "5250 15000 "
for reinit in 1 0; do
    name="change of size, reinit_filter=$reinit"
    equal "$name: replace" "$(changed $reinit "$f" | cut -d , -f 1 | tr '\n' ' ')" "0 1 2 3 4 "
    equal "$name: the clip is of the first frame" "$(changed $reinit "$f" | cut -d , -f 3)" \
        "$(crc "$change,trim=end_frame=1" "$f" | cut -d , -f 6)"
    equal "$name: clips=2:overlap=0" "$(changed $reinit "$f:clips=2:overlap=0" | cut -d , -f 1 | tr '\n' ' ')" "0 1 2 3 4 5 6 7 8 9 "
    # 6 frames of 1/25 s, the size of the last 3 is another
    equal "$name: every=2, times go on" "$(changed $reinit "$f:every=2" | cut -d , -f 1 | tr '\n' ' ')" "0 1 2 3 "
    changed $reinit null > "$tmp/plain"
    changed $reinit "$e:s=64x48:r=25" > "$tmp/longer"
    equal "$name: extend, times" "$(cut -d , -f 1 "$tmp/longer" | tr '\n' ' ')" "0 1 2 3 4 5 6 7 8 9 10 "
    equal "$name: extend, size of the clip" "$(tail -n 5 "$tmp/longer" | cut -d , -f 2 | uniq)" \
        "$(tail -n 1 "$tmp/plain" | cut -d , -f 2)"
done
# a second output that wants the input's frames: those of the other size come while the clip is under way
rm -f "$tmp/crc"
run -copyts -f lavfi -i "$change" -map 0:v -vf "$f:frames=33" -fps_mode passthrough -f framecrc "$tmp/crc" -map 0:v -vf scale=70:50 -f null -
equal "change of size: the clip under way is whole" "$(sed -n 's/^0, *\([0-9]*\),.*/\1/p' "$tmp/crc" | tr '\n' ' ')" "$(seq -s ' ' 0 32) "
equal "change of size: extend, the input's frames are the same" "$(head -n 6 "$tmp/longer")" "$(cat "$tmp/plain")"

# ---- statistics ----

i2v_stats() {
    count -v warning -f lavfi -i "$in" -vf "$f:clips=2:overlap=0:stats=$1"
}
rm -f "$tmp/stats"
equal "stats: a line a clip" "$(i2v_stats "$tmp/stats") $(grep -c '^{"model".*}$' "$tmp/stats")" "10 2"
equal "stats: appended" "$(i2v_stats "$tmp/stats") $(grep -c '^{"model".*}$' "$tmp/stats")" "10 4"
for to in /dev/full "$tmp/none/x"; do
    equal "stats=${to##*/} cannot be written: every frame, one line" \
        "$(i2v_stats "$to") $(grep -c "stats '$to' cannot be written" "$tmp/err")" "10 1"
done
rm -f "$tmp/stats"
changed 1 "$f:every=2:stats=$tmp/stats" > /dev/null
equal "stats: a graph that is built anew appends" "$([ "$(grep -c '^{"model".*}$' "$tmp/stats")" -ge 3 ] && echo all)" all

# ---- image= of the source ----

if "$ffmpeg" -hide_banner -v error -h encoder=mjpeg | grep -q '^Encoder mjpeg'; then
    write "$tmp/a.jpg" -f lavfi -i "testsrc2=s=70x50" -frames:v 1 -q:v 2 -pix_fmt yuvj444p -update 1 -f image2
else
    cp tests/fuzz/seeds/jpeg/plain "$tmp/a.jpg"
fi
s="turbodiff=$opts:image=$tmp/a.jpg"
equal "image: number of frames" "$(number "$s:s=64x48" null)" 5
differ "image: another picture" "$(md5 "$s:s=64x48:image=tests/fuzz/seeds/jpeg/grey" null)" "$(md5 "$s:s=64x48" null)"
equal "image: adaptive" "$(probe frame=width,height "turbodiff=$opts:image=tests/fuzz/seeds/jpeg/turned:s=64x64:adaptive=1:frames=1" null)" "48,80"
# other formats, through libavcodec
write "$tmp/a.raw" -f lavfi -i "testsrc2=s=70x50,format=rgb24" -frames:v 1 -f rawvideo
{ printf 'P6\n70 50\n255\n'; cat "$tmp/a.raw"; } > "$tmp/a%d:b.ppm"
equal "image: PPM gives the clip that the filter makes of the same pixels" \
    "$(md5 "turbodiff=$opts:s=64x48:image='$tmp/a%d\:b.ppm'" null)" "$(md5 "testsrc2=s=70x50,format=rgb24" "$f,format=yuv420p")"
for grey in 'P5 1' 'P6 3'; do
    { printf '%s\n64 48\n255\n' "${grey% *}"; head -c $((64 * 48 * ${grey#* })) /dev/zero | tr '\0' '\350'; } > "$tmp/${grey% *}"
done
equal "image: grey is of full range" "$(md5 "turbodiff=$opts:s=64x48:image=$tmp/P5" null)" \
    "$(md5 "turbodiff=$opts:s=64x48:image=$tmp/P6" null)"
equal "image: adaptive, PPM" "$(probe frame=width,height "turbodiff=$opts:image=$tmp/P6:s=64x64:adaptive=1:frames=1" null)" "80,48"
for pair in png:rgb24 bmp:bgr24; do
    if "$ffmpeg" -hide_banner -v error -h encoder="${pair%:*}" | grep -q '^Encoder'; then
        write "$tmp/a.${pair%:*}" -f lavfi -i "testsrc2=s=70x50,format=${pair#*:}" -frames:v 1 -update 1 -f image2
        equal "image: ${pair%:*}" "$(md5 "turbodiff=$opts:s=64x48:image=$tmp/a.${pair%:*}" null)" \
            "$(md5 "testsrc2=s=70x50,format=rgb24" "$f,format=yuv420p")"
    fi
done
write "$tmp/film.mkv" -f lavfi -i "testsrc2=s=70x50:r=5:d=1" -c:v ffv1
equal "image: the first frame of a film" "$(md5 "turbodiff=$opts:s=64x48:image=$tmp/film.mkv" null)" \
    "$(sum -i "$tmp/film.mkv" -vf "$f,format=yuv420p")"
head -c 5000 "$tmp/P6" > "$tmp/cut.ppm"
printf 'no picture' > "$tmp/text.jpg"
head -c 500 "$tmp/a.jpg" > "$tmp/cut.jpg"

# ---- errors: one line of the filter that says what was wrong and what was expected ----

# bad NAME PATTERN INPUT FILTERS
bad() {
    run -f lavfi -i "$3" -vf "$4" -f null -
    refused "$1" "$2" 'Failed to configure output\|Error opening input\|^Error \|Error setting option\|Undefined constant\|Error applying option\|Error reinitializing\|Error while filtering' $?
}
high=$(find "$model" -name '*-high-720P.pth')
bad "text-to-video model"        "expected an image-to-video model"  "$in" "$f:model=$t2v"
bad "no prompt"                  "No prompt: expected"               "$in" "turbodiff_i2v=model=$model"
bad "every with extend"          "expected with mode replace only"   "$in" "$e:every=2"
bad "clips"                      "'clips' out of range"              "$in" "$f:clips=-1"
bad "seed"                       "seed '-2': expected 0 to"          "$in" "$f:seed=-2"
bad "mode"                       "Unable to parse .*option value \"nonsense\"" "$in" "$f:mode=nonsense"
bad "boundary"                   "'boundary' out of range"           "$in" "$f:boundary=2"
bad "size too large"             "sides from 16 to 2048"             "$in" "$f:s=2050x50"
bad "a shape too narrow"         "adaptive: no size"                 "testsrc2=s=1000x16" "$f:s=1280x720:adaptive=1"
for matrix in ycgco ictcp bt2020c chroma-derived-nc gbr; do
    bad "replace: matrix $matrix"  "matrix $matrix, .*: expected RGB, bt709" "$in,format=yuv444p,setparams=colorspace=$matrix" "$f"
    bad "extend: matrix $matrix"   "matrix $matrix, .*: expected RGB, bt709" "$in,format=yuv444p,setparams=colorspace=$matrix" "$e"
done
for trc in smpte2084 arib-std-b67 linear log100; do
    bad "replace: transfer $trc"   "transfer $trc, .*: expected .*; put " "$hdr:color_trc=$trc" "$f"
done
bad "no low-noise file"          "$tmp/none.pth: no such file"        "$in" "$f:dit_low=$tmp/none.pth"
bad "experts of different models" "two experts of one model"         "$in" "$f:dit_low=$(find "$t2v" -name 'TurboWan*480P.pth')"
bad "one expert alone"           "one of two experts"                "$in" \
    "turbodiff_i2v=dit=$high:vae=$model/Wan2.1_VAE.pth:text_encoder=$model/models_t5_umt5-xxl-enc-bf16.pth:tokenizer=$model/google/umt5-xxl/spiece.model:prompt=a"
bad "source without an image"    "no image"                          "turbodiff=$opts:s=64x48" null
bad "image for a text-to-video model" "text-to-video model"          "turbodiff=$opts:s=64x48:model=$t2v:image=$tmp/a.jpg" null
bad "image does not exist"       "$tmp/none.jpg"                     "turbodiff=$opts:s=64x48:image=$tmp/none.jpg" null
bad "image is empty"             "image '/dev/null' is no regular file" "turbodiff=$opts:s=64x48:image=/dev/null" null
bad "image is a directory"       "image '$tmp' is no regular file"   "turbodiff=$opts:s=64x48:image=$tmp" null
bad "image cut short, PPM"       "image '$tmp/cut.ppm' cannot be read" "turbodiff=$opts:s=64x48:image=$tmp/cut.ppm" null
bad "image is text"              "image '$tmp/text.jpg' cannot be read: Invalid data" "turbodiff=$opts:s=64x48:image=$tmp/text.jpg" null
bad "image cut short"            "cut.jpg: Premature end of JPEG file"                           "turbodiff=$opts:s=64x48:image=$tmp/cut.jpg" null
bad "adaptive without an image"  "expected an image"                 "turbodiff=$opts:s=64x48:adaptive=1" null

echo "$suite: $passed passed, $failed failed"
[ $failed -eq 0 ]
