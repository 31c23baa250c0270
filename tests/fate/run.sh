#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Tests of the turbodiff source as a user of ffmpeg meets it: run.sh DIR MODEL
#
# 1. DIR has ffmpeg and ffprobe; MODEL is a model directory made by tdsynth, so pictures mean nothing: what is compared is
#    frame counts, times, sizes, formats, tags, equality and difference of pictures, and messages.
# 2. Each case prints "ok NAME" or, after what it saw, "FAIL NAME"; the last line has the counts.
set -u
LC_ALL=C
export LC_ALL

dir=$1
model=$2
ffmpeg=$dir/ffmpeg
ffprobe=$dir/ffprobe
case $dir in
*/small-*) suite=fate-${dir##*/small-} ;;
*)         suite=fate ;;
esac
. "$(dirname "$0")/cases.sh"

base="turbodiff=model=$model:prompt=a cat:s=64x48:frames=9:seed=1"

# md5 GRAPH [OUTPUT OPTION]...: one checksum over all frames
md5() {
    sum -f lavfi -i "$@"
}
# probe ENTRIES GRAPH: comma-separated values of the first frame or stream; one with side data has a comma at its end
probe() {
    "$ffprobe" -v error -f lavfi -i "$2" -read_intervals '%+#1' -show_entries "$1" -of csv=p=0 2>&1 | sed 's/,$//; q'
}

# ---- frames, times, sizes ----

equal "number of frames" "$(count -f lavfi -i "$base")" 9
equal "one frame" "$(count -f lavfi -i "$base:frames=1")" 1
equal "times" "$(made -f lavfi -i "$base:frames=5" -f framecrc - | grep "^#tb\|^0,\|$failure" | cut -d , -f 1-4 | tr -d ' ' | tr '\n' ' ')" \
    "#tb0:1/16 0,0,0,1 0,1,1,1 0,2,2,1 0,3,3,1 0,4,4,1 "
equal "rate" "$(probe stream=r_frame_rate,time_base "$base:r=24000/1001")" "24000/1001,1001/24000"
equal "duration" "$(count -f lavfi -i "turbodiff=model=$model:prompt=a cat:s=64x48:seed=1:d=0.5")" 8
equal "duration, other rate" "$(count -f lavfi -i "turbodiff=model=$model:prompt=a cat:s=64x48:seed=1:d=0.3:r=10")" 3
equal "duration is cut from the longer clip" \
    "$(md5 "turbodiff=model=$model:prompt=a cat:s=64x48:seed=1:d=0.5")" "$(md5 "$base" -frames:v 8)"
equal "default number of frames" "$(count -f lavfi -i "turbodiff=model=$model:prompt=a cat:s=32x32:seed=1:steps=1")" 81
equal "default size" "$("$ffprobe" -v error -nofind_stream_info -f lavfi -i "turbodiff=model=$model:prompt=a cat" \
    -show_entries stream=width,height -of csv=p=0)" "832,480"
for want in 480p,16/9,832,480 480p,9/16,480,832 480p,4/3,640,480 480p,3/4,480,640 480p,1/1,640,640 \
            720p,16/9,1280,720 720p,9/16,720,1280 720p,4/3,960,720 720p,3/4,720,960 720p,1/1,960,960; do
    size=${want%%,*}
    rest=${want#*,}
    equal "size $size ${rest%%,*}" "$("$ffprobe" -v error -nofind_stream_info -f lavfi \
        -i "turbodiff=model=$model:prompt=a cat:s=$size:aspect=${rest%%,*}" \
        -show_entries stream=width,height -of csv=p=0 2>&1)" "${rest#*,}"
done
for want in 70x50,70,50 hd1080,1920,1080 333x251,333,251; do
    equal "size ${want%%,*}" "$("$ffprobe" -v error -nofind_stream_info -f lavfi \
        -i "turbodiff=model=$model:prompt=a cat:s=${want%%,*}" -show_entries stream=width,height -of csv=p=0 2>&1)" \
        "${want#*,}"
done
tiny="turbodiff=model=$model:prompt=a cat:frames=5:seed=1:steps=1"
for fmt in yuv420p rgb24 p010le; do
    equal "a size between is cut from the next one, $fmt" "$(md5 "$tiny:s=50x36,format=$fmt")" \
        "$(md5 "$tiny:s=64x48,format=$fmt,crop=50:36:0:0:exact=1")"
done
equal "aspect with a colon" "$("$ffprobe" -v error -nofind_stream_info -f lavfi \
    -i "turbodiff=model=$model:prompt=a cat:aspect=9\\\\\\:16" -show_entries stream=width,height -of csv=p=0 2>&1)" "480,832"
equal "sample aspect ratio" "$(probe frame=sample_aspect_ratio "$base")" "1:1"

# ---- files ----

equal "~/ is the home directory" "$(HOME=$(cd "$(dirname "$model")" && pwd) && export HOME &&
    md5 "turbodiff=model=~/$(basename "$model"):prompt=a cat:s=64x48:frames=9:seed=1")" "$(md5 "$base")"

# ---- formats and tags ----

entries=frame=width,height,pix_fmt,color_range,color_space,color_primaries,color_transfer
for fmt in yuv420p yuv444p yuv420p10le yuv444p10le nv12 p010le; do
    equal "format $fmt" "$(probe $entries "$base,format=$fmt")" "64,48,$fmt,tv,bt709,bt709,bt709"
done
for fmt in rgb24 gbrp; do
    equal "format $fmt" "$(probe $entries "$base,format=$fmt")" "64,48,$fmt,pc,gbr,bt709,iec61966-2-1"
done
equal "default format" "$(probe frame=pix_fmt "$base")" "yuv420p"
equal "negotiation takes the nearest format" "$(probe frame=pix_fmt "$base,format=gray|rgb24")" "rgb24"
equal "rgb24 and gbrp have the same pictures" "$(md5 "$base,format=rgb24" -pix_fmt rgb24)" \
    "$(md5 "$base,format=gbrp,scale=flags=neighbor+accurate_rnd" -pix_fmt rgb24)"
equal "nv12 and yuv420p have the same pictures" "$(md5 "$base,format=nv12,scale=flags=neighbor,format=yuv420p")" \
    "$(md5 "$base,format=yuv420p")"
equal "p010 and yuv420p10 have the same pictures" "$(md5 "$base,format=p010le,scale=flags=neighbor,format=yuv420p10le")" \
    "$(md5 "$base,format=yuv420p10le")"
psnr() {
    "$ffmpeg" -hide_banner -nostdin -f lavfi -i "$1" -f lavfi -i "$2" -lavfi psnr -f null - 2>&1 |
        sed -n 's/.*PSNR.* min:\([0-9inf.]*\).*/\1/p' | head -n 1
}
at_least() {
    if [ "$2" = inf ] || [ "$(echo "${2:-0}" | awk -v m="$3" '{ print ($1 >= m) }')" = 1 ]; then
        ok "$1"
    else
        fail "$1" "worst PSNR ${2:-none} dB, expected at least $3"
    fi
}
to_yuv="scale=out_color_matrix=bt709:out_range=limited:flags=bicubic+accurate_rnd+full_chroma_int"
at_least "yuv444p agrees with rgb24" "$(psnr "$base,format=yuv444p" "$base,format=rgb24,$to_yuv,format=yuv444p")" 50
at_least "yuv444p10 agrees with rgb24" \
    "$(psnr "$base,format=yuv444p10,scale,format=yuv444p" "$base,format=rgb24,$to_yuv,format=yuv444p")" 48
# chroma is averaged by other filters here and there; the matrix of BT.601 would give 25 dB
at_least "yuv420p agrees with rgb24" "$(psnr "$base,format=yuv420p" "$base,format=rgb24,$to_yuv,format=yuv420p")" 35
at_least "yuv420p10 agrees with yuv420p" "$(psnr "$base,format=yuv420p10,scale,format=yuv420p" "$base,format=yuv420p")" 48

"$ffprobe" -v error -f lavfi -i "$base" -show_entries frame_tags -of flat > "$tmp/tags" 2>&1
for tag in 'seed="1"' 'steps="4"' 'prompt="a cat"' 'digital_source_type="trainedAlgorithmicMedia"'; do
    equal "metadata ${tag%%=*} on each frame" "$(grep -c "lavfi[._]turbodiff[._]$tag" "$tmp/tags")" 9
done
equal "metadata model on each frame" "$(grep -c 'lavfi[._]turbodiff[._]model="..*"' "$tmp/tags")" 9

# ---- determinism, and what each option changes ----

ref=$(md5 "$base")
equal "same seed, same video" "$(md5 "$base")" "$ref"
differ "other seed" "$(md5 "$base:seed=2")" "$ref"
differ "other prompt" "$(md5 "$base:prompt=a dog on the moon")" "$ref"
equal "threads do not change it" "$(md5 "$base:threads=1")" "$(md5 "$base:threads=3")"
equal "a large seed" "$(probe frame_tags=lavfi.turbodiff.seed "$base:seed=9007199254740991")" "9007199254740991"
for seed in 0 9007199254740993 9223372036854775808 18446744073709551615; do
    rm -f "$tmp/seeds"
    equal "seed $seed, exactly" "$(probe frame_tags=lavfi.turbodiff.seed "$base:stats=$tmp/seeds:seed=$seed") $(
        sed 's/.*"seed": \([0-9]*\),.*/\1/' "$tmp/seeds")" "$seed $seed"
done
differ "seeds that are one number as double" "$(md5 "$base:seed=9007199254740993")" "$(md5 "$base:seed=9007199254740992")"
"${dir%/small-*}/td" -r 18446744073709551615 -s 64x48 -n 9 "$model" "a cat" - > "$tmp/td.rgb" 2> /dev/null
write "$tmp/filter.rgb" -f lavfi -i "$base:seed=18446744073709551615,format=rgb24" -f rawvideo
equal "the seed of td is that of the filter" "$(wc -c < "$tmp/td.rgb" | tr -d ' ') $(cmp "$tmp/td.rgb" "$tmp/filter.rgb" 2>&1)" \
    "$((64 * 48 * 3 * 9)) "
differ "random seeds" "$(md5 "$base:seed=-1")" "$(md5 "$base:seed=-1")"
sum -v info -f lavfi -i "$base:seed=-1" > "$tmp/random"
seed=$(sed -n 's/.*seed=\([0-9]*\)$/\1/p' "$tmp/err" | head -n 1)
equal "the logged random seed gives the same video" "$(md5 "$base:seed=$seed")" "$(cat "$tmp/random")"
printf 'a cat' > "$tmp/prompt.txt"
equal "textfile" "$(md5 "turbodiff=model=$model:textfile=$tmp/prompt.txt:s=64x48:frames=9:seed=1")" "$ref"
file="turbodiff=model=$model:s=64x48:frames=9:seed=1:textfile"
equal "textfile: standard input" "$(printf 'a cat' | md5 "$file=/dev/stdin")" "$ref"
equal "textfile: standard input, filter_complex" \
    "$(printf 'a cat' | sum -filter_complex "$file=/dev/stdin")" "$ref"
mkfifo "$tmp/fifo"
(sleep 0.3; printf 'a '; sleep 0.3; printf 'cat') > "$tmp/fifo" &
equal "textfile: a FIFO whose writer comes later" "$(md5 "$file=$tmp/fifo")" "$ref"
kill $! 2> /dev/null                             # nobody has opened it for reading where ffmpeg failed
printf 'a cat' > "$tmp/fifo" &
equal "textfile: a FIFO, filter_complex" "$(sum -filter_complex "$file=$tmp/fifo")" "$ref"
kill $! 2> /dev/null
# as $(...) and <(...) of other shells are: a pipe among the open files
equal "textfile: a pipe under /dev/fd" "$(printf 'a cat' | md5 "$file=/dev/fd/3" 3<&0)" "$ref"
printf '\357\273\277 a\r\n\tcat\n' > "$tmp/messy.txt"
equal "textfile: byte order mark and line ends" "$(md5 "$file=$tmp/messy.txt")" "$ref"
: > "$tmp/hollow.txt"
for none in "textfile=$tmp/hollow.txt" textfile=/dev/null "textfile=$tmp/blank.txt" prompt=; do
    printf '\357\273\277 \n' > "$tmp/blank.txt"
    equal "an empty prompt warns: ${none%%[/=]*} ${none##*/}" "$(count -v warning -f lavfi -i "${file%:textfile}:$none") $(
        grep -c 'The prompt is empty' "$tmp/err")" "9 1"
done
equal "an empty negative prompt is one" "$(count -v warning -f lavfi -i "$base:sampler=unipc:negative_prompt=") $(grep -c 'negative' "$tmp/err")" "9 0"
equal "another prompt does not warn" "$(count -v warning -f lavfi -i "$base") $(grep -c 'is empty' "$tmp/err")" "9 0"
# metadata: one line, as the model sees it
printf 'a cat\r\nlavfi.turbodiff.seed=7\nlavfi.x=\033[31m\302\220red\302\235\007\177' > "$tmp/forged.txt"
run -f lavfi -i "$file=$tmp/forged.txt,metadata=print:file=$tmp/printed" -frames:v 1 -f null -
equal "a prompt forges no metadata" "$(grep -c '^lavfi\.turbodiff\.seed=1$' "$tmp/printed") $(
    grep -c 'seed=7$\|^lavfi\.x' "$tmp/printed") $(sed -n 's/^lavfi.turbodiff.prompt=//p' "$tmp/printed")" \
    "1 0 a cat lavfi.turbodiff.seed=7 lavfi.x=red"
seq -s ' ' 400 > "$tmp/long.txt"
run -f lavfi -i "$file=$tmp/long.txt,metadata=print:file=$tmp/printed" -frames:v 1 -f null -
equal "a long prompt is printed as it is" "$(sed -n 's/^lavfi.turbodiff.prompt=//p' "$tmp/printed")" "$(cat "$tmp/long.txt")"
dit=$(find "$model" -name 'TurboWan*.pth' ! -name '*quant*')
dit_int8=$(find "$model" -name 'TurboWan*-quant.pth')
files="vae=$model/Wan2.1_VAE.pth:text_encoder=$model/models_t5_umt5-xxl-enc-bf16.pth"
files="$files:tokenizer=$model/google/umt5-xxl/spiece.model"
equal "files given one by one" "$(md5 "turbodiff=dit=$dit:$files:prompt=a cat:s=64x48:frames=9:seed=1")" "$(md5 "$base:dit=$dit")"
differ "quantised file" "$(md5 "$base:dit=$dit_int8")" "$(md5 "$base:dit=$dit")"
equal "quant=int8 makes of the file what the quantised file is" "$(md5 "$base:dit=$dit:quant=int8")" "$(md5 "$base:dit=$dit_int8")"
equal "quant=none keeps the file as it is" "$(md5 "$base:dit=$dit:quant=none")" "$(md5 "$base:dit=$dit")"
"${dir%/small-*}/tdsynth" --only=vae --vae=tiny "$tmp/tae"
equal "a tiny VAE: number of frames" "$(count -f lavfi -i "$base:vae=$tmp/tae/taew2_1.pth")" 9
differ "a tiny VAE: other pictures" "$(md5 "$base:vae=$tmp/tae/taew2_1.pth")" "$(md5 "$base")"

wide="turbodiff=model=$model:dit=$dit:prompt=a cat:s=256x160:frames=5:seed=1:steps=1"
dense=$(md5 "$wide:attention=dense" -frames:v 1)
sla=$(md5 "$wide:attention=sla" -frames:v 1)
differ "attention=sla" "$sla" "$dense"
differ "attention=sagesla" "$(md5 "$wide:attention=sagesla" -frames:v 1)" "$sla"
equal "attention=auto is sagesla, as the file was trained" "$(md5 "$wide" -frames:v 1)" "$(md5 "$wide:attention=sagesla" -frames:v 1)"
differ "topk" "$(md5 "$wide:attention=sla:topk=0.5" -frames:v 1)" "$sla"
equal "topk=0 is 0.1 where the model does not say" "$(md5 "$wide:attention=sla:topk=0.1" -frames:v 1)" "$sla"
differ "sla_block" "$(md5 "$wide:attention=sla:sla_block=64x128:topk=0.3" -frames:v 1)" "$(md5 "$wide:attention=sla:topk=0.3" -frames:v 1)"
equal "sla_block=auto is 128x64" "$(md5 "$wide:attention=sla:sla_block=128x64" -frames:v 1)" "$sla"
differ "norm=exact" "$(md5 "$base:norm=exact")" "$ref"
differ "noise=cpu" "$(md5 "$base:noise=cpu")" "$ref"
equal "noise=auto is h100 on a CPU" "$(md5 "$base:noise=h100")" "$ref"
for noise in rtx5090 rtx4090 a100; do
    equal "noise=$noise is that of h100 in a small clip" "$(md5 "$base:noise=$noise")" "$ref"
done
# 299,520 numbers: more than any of these GPUs draws before its sequence is another
large="turbodiff=model=$model:prompt=a cat:s=832x480:frames=9:seed=1:steps=1"
differ "noise of each GPU in a large clip" "$(md5 "$large:noise=h100" -frames:v 1)" "$(md5 "$large:noise=rtx5090" -frames:v 1)" \
    "$(md5 "$large:noise=rtx4090" -frames:v 1)" "$(md5 "$large:noise=a100" -frames:v 1)"
for steps in 1 2 3; do
    differ "steps=$steps" "$(md5 "$base:steps=$steps")" "$ref"
done
equal "steps=4 is the default" "$(md5 "$base:steps=4")" "$ref"
differ "sigma_max" "$(md5 "$base:sigma_max=200")" "$ref"
equal "sigma_max=80 is the default" "$(md5 "$base:sigma_max=80")" "$ref"
differ "ode" "$(md5 "$base:ode=1")" "$ref"
by_hand="$(md5 "$base:timesteps=1|0.9375|0.8333|0.625")"
differ "timesteps" "$by_hand" "$ref"
differ "timesteps with ode" "$(md5 "$base:timesteps=1|0.9375|0.8333|0.625:ode=1")" "$by_hand" "$(md5 "$base:ode=1")"
equal "timesteps and as many steps" "$(md5 "$base:timesteps=1|0.9375|0.8333|0.625:steps=4")" "$by_hand"
eight="timesteps=1|0.9882|0.9655|0.9355|0.8661|0.8198|0.75|0.6316"
eight_steps="$(md5 "$base:$eight")"
differ "eight timesteps" "$eight_steps" "$by_hand" "$ref"
equal "eight timesteps and as many steps" "$(md5 "$base:$eight:steps=8")" "$eight_steps"
lora "$tmp/a.safetensors" head.head.diff_b 64
lora "$tmp/b.safetensors" transformer.proj_out.diff_b 64
with=$(md5 "$base:lora=$tmp/a.safetensors")
half=$(md5 "$base:lora=$tmp/a.safetensors*0.5")
differ "lora" "$with" "$half" "$ref"
equal "lora: several, by another project's names" "$(md5 "$base:lora=$tmp/a.safetensors*0.25|$tmp/b.safetensors*0.25")" "$half"
equal "lora of strength 0" "$(md5 "$base:lora=$tmp/a.safetensors*0")" "$ref"
equal "lora: ~/ is the home directory" "$(HOME=$tmp && export HOME &&
    md5 "$base:lora=~/a.safetensors*0.25|~/b.safetensors*0.25")" "$half"
equal "backend=cpu" "$(md5 "$base:backend=cpu")" "$ref"
equal "residency=stage" "$(md5 "$base:residency=stage")" "$ref"
equal "residency=all" "$(md5 "$base:residency=all")" "$ref"
equal "max_bytes=1Gi" "$(md5 "$base:max_bytes=1Gi")" "$ref"
unipc="$base:sampler=unipc:steps=3"
differ "sampler=unipc" "$(md5 "$unipc")" "$(md5 "$base:steps=3")"
differ "guidance" "$(md5 "$unipc:guidance=1")" "$(md5 "$unipc")"
differ "shift" "$(md5 "$unipc:shift=3")" "$(md5 "$unipc")"
equal "shift=5 is the default" "$(md5 "$unipc:shift=5")" "$(md5 "$unipc")"
differ "negative_prompt" "$(md5 "$unipc:negative_prompt=blurry and dark")" "$(md5 "$unipc")"
# warns NAME TEXT N OPTIONS: warnings with TEXT of the filter, in both forms of input
warns() {
    seen="$(count -v warning -f lavfi -i "turbodiff=model=$model:prompt=a cat:frames=1:seed=1:$4") $(grep -c "$2" "$tmp/err")"
    seen="$seen $(count -v warning -filter_complex "turbodiff=model=$model:prompt=a cat:frames=1:seed=1:$4") $(
        grep -c "$2" "$tmp/err")"
    equal "$1" "$seen" "1 $3 1 $3"
}
for opt in negative_prompt=dark guidance=3 shift=3; do
    warns "${opt%=*} with rcm warns" "${opt%=*} has no effect with sampler rcm" 1 "s=64x48:$opt"
    warns "${opt%=*} with unipc does not" "has no effect" 0 "s=64x48:sampler=unipc:steps=1:$opt"
done
for opt in sigma_max=20 ode=1; do
    warns "${opt%=*} with unipc warns" "${opt%=*} has no effect with sampler unipc" 1 "s=64x48:sampler=unipc:steps=1:$opt"
done
warns "negative_prompt with guidance 1 warns" "negative_prompt has no effect with guidance 1" 1 "s=64x48:sampler=unipc:steps=1:guidance=1:negative_prompt=x"
for opt in topk=0.5 sla_block=64x128; do
    warns "${opt%=*} with dense attention warns" "${opt%=*} has no effect with dense attention" 1 "s=64x48:attention=dense:$opt"
done
warns "boundary with one transformer warns" "boundary has no effect with one transformer" 1 "s=64x48:boundary=0.5"
warns "hw_format without CUDA frames warns" "hw_format has no effect where no CUDA frames are made" 1 "s=64x48:hw_format=p010"
warns "nothing to warn of" "has no effect\|far from" 0 "s=832x480:steps=1:noise=cpu"
warns "a small size warns" "64x48 is far from the area of 832x480" 1 "s=64x48"
warns "half the area does not" "far from" 0 "s=416x480:steps=1"
# help shows real ranges
"$ffmpeg" -hide_banner -h filter=turbodiff > "$tmp/help" 2>&1
equal "help: steps" "$(grep -c ' steps .*1 to 4 with rcm, 1 to 1000 with unipc (0: 4 or 50) (from 0 to 1000) (default 0)' "$tmp/help")" 1
equal "help: frames" "$(grep -c ' frames .*4k+1 up to 509 .*(from 0 to 509) (default 0)' "$tmp/help")" 1
equal "help: duration" "$(grep -c ' d\(uration\)\{0,1\}  .*up to 31.8 s at 16 fps (-1: not set) (default -1)' "$tmp/help")" 2
equal "help: seed" "$(grep -c ' seed .*0 to 18446744073709551615 (-1: random, logged) (default "-1")' "$tmp/help")" 1
"$ffmpeg" -hide_banner -h filter=turbodiff_i2v >> "$tmp/help" 2>&1
equal "help: no default of a microsecond below zero" "$(grep -c ' d\(uration\)\{0,1\}  .*(default -1)' "$tmp/help") $(
    grep -c -e '-0\.0' "$tmp/help")" "4 0"

# ---- times and memory ----

# field KEY LINE: a number of a line of JSON
field() { printf '%s\n' "$2" | sed -n "s/.*\"$1\": \([0-9.]*\).*/\1/p"; }
# adds_up LINE: whether the times are there and add up to the wall time
adds_up() {
    printf '%s\n' "$1" | awk '{
        n = split("load text image denoise decode copy caller", k, " ")
        for (i = 1; i <= n; i++) {
            if (!match($0, "\"" k[i] "_seconds\": [0-9.]+")) exit
            v = substr($0, RSTART, RLENGTH); sub(/.* /, "", v); s += v
        }
        if (!match($0, /"wall_seconds": [0-9.]+/)) exit
        w = substr($0, RSTART, RLENGTH); sub(/.* /, "", w)
        if (w > 0 && s - w < 1e-4 && w - s < 1e-4) print "yes" }'
}
equal "stats" "$(count -f lavfi -i "$base:stats=$tmp/stats") $(wc -l < "$tmp/stats" | tr -d ' ')" "9 1"
line=$(cat "$tmp/stats")
equal "stats: times add up" "$(adds_up "$line")" "yes"
equal "stats: frames" "$(field frames "$line") $(field frames_out "$line") $(field seed "$line")" "9 9 1"
equal "stats: memory" "$([ "$(field peak_bytes "$line")" -le "$(field predicted_bytes "$line")" ] && echo fits)" "fits"
rm "$tmp/stats"
run -f lavfi -i "$base:frames=33:stats=$tmp/stats" -frames:v 3 -f null -
equal "stats of a clip that ends early" "$(adds_up "$(cat "$tmp/stats")") $(wc -l < "$tmp/stats" | tr -d ' ') $(
    [ "$(field frames_out "$(cat "$tmp/stats")")" -lt 33 ] && echo early)" "yes 1 early"
rm "$tmp/stats"
run -filter_complex "${base}:stats=$tmp/stats[a];${base}:seed=2:stats=$tmp/stats2[b];[a][b]hstack" -v info -f null -
equal "two sources share the weights" "$(grep -c 'shares the weights of' "$tmp/err") $(
    cat "$tmp/stats" "$tmp/stats2" | grep -c wall_seconds)" "1 2"
# whole FILE: lines of JSON from { to }, and others
whole() { echo "$(grep -c '^{"model".*}$' "$1") $(grep -vc '^{"model".*}$' "$1")"; }
rm "$tmp/stats"
for n in 1 2; do
    run -filter_complex "${base}:stats=$tmp/stats[a];${base}:seed=2:stats=$tmp/stats[b];[a][b]hstack" -f null - &
done
wait
equal "stats: two filters and two programs append to one file" "$(whole "$tmp/stats")" "4 0"
for to in /dev/full "$tmp/none/x" "$tmp"; do
    equal "stats=${to##*/} cannot be written: every frame, one line" "$(md5 "$base:stats=$to" -v warning) $(
        grep -c "stats '$to' cannot be written: .*; the video goes on without" "$tmp/err")" "$ref 1"
    equal "stats=${to##*/} cannot be written, filter_complex" "$(
        sum -v warning -filter_complex "$base:stats=$to") $(
        grep -c "stats '$to' cannot be written" "$tmp/err")" "$ref 1"
done
equal "stats: a FIFO that nobody reads" "$(md5 "$base:stats=$tmp/fifo" -v warning) $(grep -c 'cannot be written' "$tmp/err")" "$ref 1"
run -v info -f lavfi -i "$base" -f null -
equal "one summary line" "$(grep -c 'clip: 9 frames 64x48, 4 steps: load .* wall .* memory' "$tmp/err")" 1
"$ffprobe" -v error -f lavfi -i "$base" -show_entries frame_tags -of flat > "$tmp/tags"
equal "times in the last frame's metadata only" "$(grep -c 'wall_seconds\|denoise_seconds\|peak_bytes' "$tmp/tags") $(
    grep -c 'frame.8.*wall_seconds="[0-9]*\.[0-9]*"' "$tmp/tags")" "3 1"

# ---- in filtergraphs, and ends ----

equal "filter_complex" "$(sum -filter_complex "$base")" "$ref"
equal "-t within the clip" "$(count -f lavfi -i "$base:frames=33" -t 0.5)" 8
equal "-t longer than the clip" "$(count -f lavfi -i "$base" -t 2) $(count -t 2 -f lavfi -i "$base")" "9 9"
equal "a longer end, as documented" "$(count -f lavfi -i "$base,tpad=stop_mode=clone:stop_duration=1")" 25
equal "-ss within the clip" "$(count -ss 0.25 -f lavfi -i "$base") $(
    count -f lavfi -i "$base,trim=start=0.25,setpts=PTS-STARTPTS")" "5 5"
run -stream_loop 2 -f lavfi -i "$base" -f null -
case $? in
0|124|134|135|137|139) code="taken, or died" ;;
*)                     code="refused" ;;
esac
equal "-stream_loop is refused" "$code: $(grep -o 'Invalid argument' "$tmp/err" | head -n 1)" "refused: Invalid argument"
if "$ffmpeg" -hide_banner -filters 2>&1 | grep -q ' loop  *V->V'; then
    equal "repetition, as documented" "$(count -f lavfi -i "$base,loop=loop=2:size=9")" 27
fi
equal "-frames within the clip" "$(count -f lavfi -i "$base:frames=33" -frames:v 3)" 3
equal "trim within the clip" "$(count -f lavfi -i "$base:frames=33,trim=end_frame=6")" 6
equal "select keeps times" "$(frames -copyts -f lavfi -i "$base,select=gte(n\\,7)" -fps_mode passthrough |
    cut -d , -f 3 | tr -d '\n')" "78"
equal "two sources in one graph" "$(count -filter_complex "${base}[a];${base}:seed=2[b];[a][b]hstack")" 9
run -filter_complex "$base,split[a][b]" -map '[a]' -f hash -hash md5 "$tmp/a" -map '[b]' -f hash -hash md5 "$tmp/b"
equal "split to two outputs" "$(cat "$tmp/a") $(cat "$tmp/b")" "$ref $ref"
write "$tmp/a.mkv" -f lavfi -i "$base" -c:v ffv1
equal "through a file" "$(sum -i "$tmp/a.mkv")" "$ref"
write "$tmp/a.mp4" -f lavfi -i "$base" -c:v mpeg4
equal "mp4" "$("$ffprobe" -v error -count_frames -show_entries \
    stream=width,height,pix_fmt,color_range,color_space,color_transfer,color_primaries,nb_read_frames,r_frame_rate \
    -of csv=p=0 "$tmp/a.mp4" | tr , '\n' | sort | tr '\n' ' ')" "16/1 48 64 9 bt709 bt709 bt709 tv yuv420p "
if "$ffmpeg" -hide_banner -v error -h encoder=libx264 | grep -q '^Encoder libx264'; then
    write "$tmp/b.mp4" -f lavfi -i "$base"
    equal "h264 in mp4 by default" "$("$ffprobe" -v error -show_entries stream=codec_name,color_space,color_range \
        -of csv=p=0 "$tmp/b.mp4")" "h264,tv,bt709"
fi
equal "nothing is logged at level error" "$(count -f lavfi -i "$base") $(cat "$tmp/err")" "9 "

# interrupt NAME SECONDS OPTION...: SIGINT after so long; ends within a second, with status 255
interrupt() {
    name=$1
    delay=$2
    shift 2
    "$ffmpeg" -hide_banner -nostdin -y -v error "$@" -f null - > "$tmp/err" 2>&1 &
    pid=$!
    sleep "$delay"
    interrupted "$name" $pid "$tmp/err"
}
long="turbodiff=model=$model:prompt=a cat:seed=1:frames=161"
interrupt "SIGINT while denoising" 1 -f lavfi -i "$long:attention=dense"
interrupt "SIGINT while denoising, filter_complex" 1 -filter_complex "$long:attention=dense"
interrupt "SIGINT while decoding" 3 -f lavfi -i "$long:s=320x192:steps=1"
interrupt "SIGINT while decoding, filter_complex" 3 -filter_complex "$long:s=320x192:steps=1"

interrupt "SIGINT while waiting for the writer of a FIFO" 1 -f lavfi -i "$file=$tmp/fifo"
interrupt "SIGINT while waiting for the writer of a FIFO, filter_complex" 1 -filter_complex "$file=$tmp/fifo"
# ---- errors: one line of the filter that says what was wrong and what was expected ----

# bad NAME PATTERN GRAPH
bad() {
    run -f lavfi -i "$3" -f null -
    refused "$1" "$2" 'Failed to configure output\|Error opening input\|^Error \|Error setting option\|Undefined constant' $?
}
t=turbodiff
mkdir "$tmp/empty"
printf 'a\0b' > "$tmp/nul.txt"
: > "$tmp/empty.txt"
head -c 100000 "$model/Wan2.1_VAE.pth" > "$tmp/cut.pth"
echo "this is no checkpoint" > "$tmp/text.pth"
bad "no prompt"               "No prompt: expected"                "$t=model=$model"
bad "prompt and textfile"     "expected one of the options"        "$t=model=$model:prompt=a:textfile=$tmp/prompt.txt"
bad "no textfile"             "cannot be read: No such file"       "$t=model=$model:textfile=$tmp/none.txt"
bad "textfile is a directory"    "cannot be read: Is a directory"    "$t=model=$model:textfile=$tmp"
head -c 1200000 /dev/zero | tr '\0' a > "$tmp/long.txt"
bad "textfile too long"       "more than 1048576 bytes"            "$t=model=$model:textfile=$tmp/long.txt"
bad "textfile without an end" "more than 1048576 bytes"            "$t=model=$model:textfile=/dev/zero"
printf 'a \377' > "$tmp/latin.txt"
bad "textfile not UTF-8"      "is not UTF-8"                       "$t=model=$model:textfile=$tmp/latin.txt"
bad "textfile with NUL"       "is not text"                        "$t=model=$model:textfile=$tmp/nul.txt"
bad "no transformer"          "no transformer: set model="         "$t=prompt=a:vae=$model/Wan2.1_VAE.pth"
bad "stats to stdout"         "expected a file"                    "$base:stats=-"
bad "stats over a text"       "stats '$tmp/latin.txt': is the file of textfile, expected another one to write to" "$t=model=$model:textfile=$tmp/latin.txt:stats=$tmp/latin.txt"
bad "model without files"     "model=$tmp/empty: no file of a transformer; want e.g. "                         "$t=prompt=a:model=$tmp/empty"
bad "model does not exist"    "model=$tmp/none: No such file or directory, want a directory"                          "$t=prompt=a:model=$tmp/none"
bad "size too large"          "expected 480p, 720p, WxH or a name" "$base:s=2049x480"
bad "size too small"          "with sides from 16 to 2048"         "$base:s=832x15"
bad "size that wraps"         "size '4294967488x64': expected 480p, 720p, WxH or a name" "$base:s=4294967488x64"
bad "height that wraps"       "expected 480p, 720p, WxH or a name" "$base:s=64x-4294967232"
bad "size unknown"            "expected 480p, 720p, WxH or a name" "$base:s=4k8"
bad "aspect unknown"          "expected 16:9, 9:16"                "$base:s=480p:aspect=2/1"
bad "aspect of a WxH size"    "works with a named size only"       "$base:aspect=16/9"
bad "frames not 4k+1"         "frames 80: expected 4k+1"           "$base:frames=80"
bad "frames and duration"     "expected one of them"               "$base:d=1"
bad "no duration"             "expected at least 1"                "$t=model=$model:prompt=a:d=0"
n="$t=model=$model:prompt=a:s=64x48"
bad "frames over 509"         "'frames' out of range \[0 - 509\]" "$base:frames=513"
bad "duration too long"       "duration 60 s: .* at most 509, 31.81 s at 16 fps" "$n:d=60"
bad "duration too long, other rate" "duration 17 s: .* at most 509, 16.98 s at 29.97 fps" "$n:d=17:r=ntsc"
bad "negative duration"       "duration -0.5 s: expected at least 1 frame" "$n:d=-0.5"
bad "duration under -1"       "'d' out of range"                   "$n:d=-2"
bad "timesteps that rise"     "timesteps: '0.5|1': time 2 is not below the one before it; want 1 to 1000" "$base:timesteps=0.5|1"
# of all options that are text, but for those that say more
for opt in model dit dit_low vae lora lora_low text_encoder tokenizer size aspect timesteps device stats image; do
    bad "$opt is empty"       "$opt is empty: expected [a-zA-Z]"    "$base:$opt="
done
bad "textfile is empty"       "textfile is empty: expected a file to read the prompt from" "$t=model=$model:textfile="
bad "timesteps too many"      "time 1001 is too many" \
    "$base:timesteps=$(awk 'BEGIN { for (i = 1001; i > 0; i--) printf "%s0.%04d", i < 1001 ? "|" : "", i }')"
bad "timesteps and steps"     "timesteps: 2 of them, but steps=4"  "$base:timesteps=1|0.5:steps=4"
bad "timesteps and sigma_max" "timesteps and sigma_max: want one of the two" "$base:timesteps=1|0.5:sigma_max=80"
bad "timesteps with unipc"    "timesteps: with sampler unipc, want rcm" "$base:timesteps=1|0.5:sampler=unipc"
lora "$tmp/other.safetensors" text_model.final_layer_norm.diff_b 64
bad "lora that is not there"  "none.safetensors: no such file"     "$base:lora=$tmp/none.safetensors"
bad "lora: strength"          "lora: strength 'nan' of file 1, want a number such as 0.8, up to 1e+06, after the star" "$base:lora=$tmp/a.safetensors*nan"
bad "lora: separator"         "lora: file 2 has no name, want FILE or FILE\*STRENGTH, several joined with |" "$base:lora=$tmp/a.safetensors|"
bad "lora of another model"   "no tensor of it fits .*, such as text_model.final_layer_norm.diff_b; want a LoRA of this model" \
    "$base:lora=$tmp/other.safetensors"
bad "lora_low of one transformer" "lora_low: Wan-T2V-.* is one transformer, want lora" "$base:lora_low=$tmp/a.safetensors"
bad "lora as the transformer" "a LoRA and no transformer; want it as lora=, beside the model's own file" "$base:dit=$tmp/a.safetensors"
bad "steps with rcm"          "expected 1 to 4"                    "$base:steps=5"
bad "steps"                   "'steps' out of range"               "$base:steps=2000"
for seed in -2 -0 +1 18446744073709551616 99999999999999999999 1.5 1e3 0x10 '1 2' seven ''; do
    bad "seed '$seed'"        "seed '$seed': expected 0 to 18446744073709551615, or -1" "$base:seed='$seed'"
done
bad "topk -0.1"               "'topk' out of range"                "$base:topk=-0.1"
bad "topk 2"                  "'topk' out of range"                "$base:topk=2"
for guidance in 0 -1 101 nan x '' '4|' '|3' '4|0' '4|3|2' '4,3'; do
    bad "guidance '$guidance'" "guidance '$guidance': expected 1 to 100, or two of them: HIGH|LOW" "$base:guidance='$guidance'"
done
bad "two guidances of one transformer" "guidance: one for each of two experts, but" "$base:sampler=unipc:guidance=4|3"
bad "shift"                   "'shift' out of range"               "$base:shift=-1"
bad "shift too small"         "shift: 0.001, want 0.01 to 100"     "$base:sampler=unipc:shift=0.001"
bad "sigma_max"               "'sigma_max' out of range"           "$base:sigma_max=-1"
bad "rate"                    "Unable to parse .*option value \"0\" as video rate" "$base:r=0"
bad "device"                  "device: '-2', want auto, a number, a UUID (GPU-...) or a PCI bus id" "$base:device=-2"
bad "two devices"             "device: '0+1', but a clip is made on one card" "$base:device=0+1"
bad "device that is not there" "device.100[,:]"                    "$base:device=100"
bad "device with the CPU"     "device: 0 with backend cpu, want auto or cuda" "$base:backend=cpu:device=0"
bad "max_bytes"               "more than the limit of 1000$"        "$base:max_bytes=1k"
bad "hw_format unknown"       "Unable to parse .*option value \"nonsense\"" "$base:hw_format=nonsense"
bad "hw_format of no CUDA frame" "hw_format rgb24: expected nv12" "$base:hw_format=rgb24"
for opt in attention quant vae_dtype norm noise sampler backend residency sla_block; do
    bad "$opt unknown"        "Unable to parse .*option value \"nonsense\"" "$base:$opt=nonsense"
done
bad "no dit file"             "$tmp/none.pth: no such file"         "$base:dit=$tmp/none.pth"
bad "no vae file"             "$tmp/none.pth: no such file"         "$base:vae=$tmp/none.pth"
bad "no text_encoder file"    "$tmp/none.pth: no such file"         "$base:text_encoder=$tmp/none.pth"
bad "no tokenizer file"       "$tmp/none.model: no such file"       "$base:tokenizer=$tmp/none.model"
bad "truncated vae"           "cut.pth: no end of zip directory in its 100000 bytes: truncated" "$base:vae=$tmp/cut.pth"
bad "vae is text"             "text.pth: starts with 74 68 69 73, want a .pth" "$base:vae=$tmp/text.pth"
bad "dit is a vae"            "Wan2.1_VAE.pth: tensor patch_embedding.weight is missing; not a Wan transformer" "$base:dit=$model/Wan2.1_VAE.pth"
bad "vae is a dit"            "TurboWan.*: tensor decoder.conv1.weight is missing; it has those of a transformer, want a VAE" "$base:vae=$dit"
bad "tokenizer is text"       "text.pth: damaged at byte 1 of 22, want a SentencePiece model" "$base:tokenizer=$tmp/text.pth"
bad "tokenizer is empty"      "empty.txt: 0 bytes, want a SentencePiece model of 1 to " "$base:tokenizer=$tmp/empty.txt"
if [ ! -e /dev/nvidiactl ]; then
    bad "no CUDA device"      "backend=cuda: \|cuda: "              "$base:backend=cuda"
fi

# ---- no model given: the demo model of the prefix that the program is in ----

demo=$tmp/prefix/share/turbodiff/demo-model
built=$ffmpeg
mkdir -p "$tmp/prefix/bin" "$demo"
cp "$ffmpeg" "$tmp/prefix/bin/ffmpeg"            # a link would be looked through: the program is where its file is
for file in "$model"/*; do
    ln -s "$(realpath "$file")" "$demo/"
done
printf '# as in the other tests\nwidth = 64\nheight = 48\nframes = 9\n' > "$demo/turbodiff.conf"
ffmpeg=$tmp/prefix/bin/ffmpeg
equal "the demo model, and the size and frames it says" "$(md5 "$t=prompt=a cat:seed=1")" "$ref"
run -v info -f lavfi -i "$t=prompt=a cat:seed=1" -f null -
equal "one line says which model it is" "$(grep -c "no model given: using .* in $tmp/prefix/bin/../share/" "$tmp/err")" 1
equal "size is given" "$(md5 "$t=prompt=a cat:seed=1:s=96x64")" "$(md5 "$base:s=96x64")"
equal "frames are given" "$(count -f lavfi -i "$t=prompt=a cat:seed=1:frames=5")" 5
equal "duration is given" "$(count -f lavfi -i "$t=prompt=a cat:seed=1:d=0.2")" 4
equal "a model is given" "$(md5 "$base")" "$ref"
echo 'topk = 0.5' > "$demo/turbodiff.conf"
own="$t=dit=$demo/${dit##*/}:model=$demo:prompt=a cat:s=256x160:frames=5:seed=1:steps=1:attention=sla"
rm "$tmp/stats"
half=$(md5 "$own:stats=$tmp/stats" -frames:v 1)
equal "topk that the model says" "$half" "$(md5 "$wide:attention=sla:topk=0.5" -frames:v 1)"
equal "stats tell it" "$(field topk "$(cat "$tmp/stats")")" "0.500000"
equal "topk is given" "$(md5 "$own:topk=0.1" -frames:v 1)" "$sla"
printf 'width = 64\nheight = 8\n' > "$demo/turbodiff.conf"
bad "height in turbodiff.conf" "turbodiff.conf:2: height = 8, want 16 to 2048" "$t=prompt=a"
rm -r "$demo"
if [ -d "$(sed -n 's/^DATADIR *:= *//p' config.mak)/turbodiff/demo-model" ]; then
    echo "skip no demo model (one is installed where configure said)"
else
    bad "no demo model" "no model given, and the demo model is not installed" "$t=prompt=a"
fi
ffmpeg=$built

run -f lavfi -i "$base:bogus=1" -f null -
equal "error: unknown option" "$? $(grep -c "'bogus'\\|bogus.*not found" "$tmp/err")" "8 1"

echo "$suite: $passed passed, $failed failed"
[ $failed -eq 0 ]
