#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The filters turbodiff and turbodiff_i2v on a GPU as a user of ffmpeg meets them:
# ffmpeg.sh BUILD FFMPEG MODEL I2V_MODEL
#
# 1. FFMPEG is a build of `make ffmpeg`; BUILD has libturbodiff-cuda.so, to which a link is put beside FFMPEG where it has
#    none. The models may be of random weights: pictures are compared with each other.
# 2. Cases print "ok NAME", "FAIL NAME" after what was seen, or "skip NAME (why)"; the last line has the counts.
set -u
LC_ALL=C
build=$(realpath "$1")
export LC_ALL
ffmpeg=$(realpath "$2")
beside=$(dirname "$ffmpeg")/libturbodiff-cuda.so
[ -e "$beside" ] || ln -s "$build/libturbodiff-cuda.so" "$beside" || exit 1
model=$(realpath "$3")
i2v_model=$(realpath "$4")
. "$(dirname "$0")/../fate/cases.sh"

run() {
    timeout 120 "$ffmpeg" -hide_banner -nostdin -y -v error "$@" 2> "$tmp/err"
}
# md5 [OPTION]... GRAPH: one checksum over all frames, or what went wrong
md5() {
    for graph; do :; done
    n=$#
    while [ "$n" -gt 1 ]; do                     # the graph goes to where it belongs
        set -- "$@" "$1"
        shift
        n=$((n - 1))
    done
    shift
    sum "$@" -filter_complex "$graph"
}
has() {
    "$ffmpeg" -hide_banner -v error -filters 2>&1 | grep -q " $1 "
}

base="turbodiff=model=$model:prompt=a cat:s=320x192:frames=17:seed=1:backend=cuda"
cuda="-init_hw_device cuda=gpu:0 -filter_hw_device gpu"
# the options of cuda are a list
# shellcheck disable=SC2086
on_gpu() {
    md5 $cuda "$@"
}

# ---- pictures ----

equal "frames of a software chain" "$(count -f lavfi -i "$base")" 17
for fmt in nv12 yuv420p yuv444p p010le; do
    want=$(md5 "$base,format=$fmt")
    equal "CUDA frames of $fmt" "$(on_gpu "$base:hw_format=$fmt,hwdownload,format=$fmt")" "$want"
    equal "a CUDA device in the graph, software frames of $fmt" "$(on_gpu "$base,format=$fmt")" "$want"
    case $want in MD5=*) ;; *) fail "software frames of $fmt" "$want" ;; esac
done
differ "formats differ" "$(md5 "$base,format=nv12")" "$(md5 "$base,format=yuv420p")" "$(md5 "$base,format=yuv444p")" \
    "$(md5 "$base,format=p010le")"
equal "CUDA frames, format=cuda" "$(on_gpu "$base,format=cuda,hwdownload,format=nv12")" "$(md5 "$base,format=nv12")"
equal "where any will do, software frames" \
    "$(on_gpu "$base")" "$(md5 "$base,format=yuv420p")"
equal "CUDA frames, up and down again" "$(on_gpu "$base,hwdownload,format=nv12,hwupload,hwdownload,format=nv12")" \
    "$(md5 "$base,format=nv12")"
if has scale_cuda; then
    equal "scale_cuda takes CUDA frames" "$(on_gpu "$base,scale_cuda=format=yuv444p,hwdownload,format=yuv444p" | cut -c1-4)" "MD5="
    # scaled on the GPU and by swscale: not the same bytes, but the same picture
    worst=$(timeout 120 "$ffmpeg" -hide_banner -nostdin -init_hw_device cuda=gpu:0 -filter_hw_device gpu -filter_complex \
        "$base,split[a][b];[a]format=nv12,hwupload,scale_cuda=160:96:interp_algo=bicubic,hwdownload,format=nv12[c];
         [b]scale=160:96:flags=bicubic,format=nv12[d];[c][d]psnr" -f null - 2>&1 |
         sed -n 's/.*PSNR.* min:\([0-9inf.]*\).*/\1/p')
    equal "scale_cuda scales as swscale does" "$(echo "${worst:-0}" | awk '{ print ($1 == "inf" || $1 > 30) ? "yes" : "no: " $1 }')" yes
else
    echo "skip scale_cuda (not in this ffmpeg)"
fi
two="$base,format=yuv420p[a];${base%seed=*}seed=2:backend=cuda,format=yuv420p[b];[a][b]hstack"
equal "two sources side by side: the left one" "$(md5 "$two,crop=320:192:0:0")" "$(md5 "$base,format=yuv420p")"
two="$base,hwdownload,format=nv12[a];${base%seed=*}seed=2:backend=cuda,hwdownload,format=nv12[b];[a][b]hstack"
equal "two sources of CUDA frames: the left one" "$(on_gpu "$two,crop=320:192:0:0")" "$(md5 "$base,format=nv12")"
equal "two sources of CUDA frames: the right one" "$(on_gpu "$two,crop=320:192:320:0")" \
    "$(md5 "${base%seed=*}seed=2:backend=cuda,format=nv12")"
equal "device of no CUDA frame" "$(on_gpu "$base:device=100,hwdownload,format=nv12" | grep -o 'device 100' | head -n 1)" \
    "device 100"

# ---- image to video ----

src="testsrc2=size=320x192:rate=16:duration=1"
i2v="turbodiff_i2v=model=$i2v_model:prompt=a cat:s=320x192:frames=9:seed=1:backend=cuda"
extend="$i2v:mode=extend"
# same NAME GOT WANT: as equal, of checksums only
same() {
    case $3 in
    MD5=*) equal "$@" ;;
    *)     fail "$1: software frames" "$3" ;;
    esac
}
for fmt in nv12 yuv420p yuv444p p010le; do
    up="$src,format=$fmt,hwupload"
    same "i2v: CUDA frames of $fmt in, software frames out" "$(on_gpu "$up,$i2v,format=nv12")" \
        "$(md5 "$src,format=$fmt,$i2v,format=nv12")"
    same "extend: CUDA frames of $fmt" "$(on_gpu "$up,$extend,hwdownload,format=$fmt")" "$(md5 "$src,format=$fmt,$extend")"
    same "extend: CUDA frames of $fmt, the input's are the same" \
        "$(on_gpu "$up,$extend,hwdownload,format=$fmt,trim=end_frame=16")" "$(md5 "$src,format=$fmt")"
done
up="$src,format=nv12,hwupload"
same "i2v: CUDA frames in and out" "$(on_gpu "$up,$i2v,format=cuda,hwdownload,format=nv12")" \
    "$(md5 "$src,format=nv12,$i2v,format=nv12")"
for more in every=8 clips=2; do
    same "i2v: $more" "$(on_gpu "$up,$i2v:$more,format=nv12")" "$(md5 "$src,format=nv12,$i2v:$more,format=nv12")"
done
# 16, and 9 without the first one, which is the picture's own
# the options of cuda are a list
# shellcheck disable=SC2086
equal "extend: number of CUDA frames" \
    "$(count $cuda -filter_complex "$up,$extend,hwdownload,format=nv12")" 24
# as above; with the colours of the model's frames; of another size
for in in "$src" "$src,setparams=colorspace=bt709:range=tv" "testsrc2=size=352x224:rate=16:duration=1"; do
    same "extend: clips=2 from $in" "$(on_gpu "$in,format=nv12,hwupload,$extend:clips=2,hwdownload,format=nv12")" \
        "$(md5 "$in,format=nv12,$extend:clips=2")"
done

# ---- input that the GPU decoded ----

# H.264 says what each pixel is
decoded="hwaccel cuda: extend"
if "$ffmpeg" -hide_banner -encoders 2>&1 | grep -q ' libx264 ' && "$ffmpeg" -hide_banner -decoders 2>&1 | grep -q ' h264 '; then
    write "$tmp/in.mp4" -f lavfi -i "$src,format=yuv420p" -c:v libx264
    got=$(sum -hwaccel cuda -hwaccel_output_format cuda -i "$tmp/in.mp4" -vf "$extend,hwdownload,format=nv12")
    case $got in
    *nvcuvid*) echo "skip $decoded (no libnvcuvid.so.1)" ;;
    *) same "$decoded" "$got" "$(sum -i "$tmp/in.mp4" -vf "format=nv12,$extend,format=nv12")" ;;
    esac
else
    echo "skip $decoded (no encoder libx264, or no decoder of it)"
fi

# ---- ends ----

long="turbodiff=model=$model:prompt=a cat:s=640x480:seed=1:backend=cuda:frames=161"
equal "-t 1" "$(count -filter_complex "$long:steps=1" -t 1)" 16

# interrupt NAME LINE GRAPH: SIGINT as soon as a line of the log matches; ffmpeg has to end within a second
interrupt() {
    "$ffmpeg" -hide_banner -nostdin -y -v verbose -filter_complex "$3" -f null - > "$tmp/log" 2>&1 &
    pid=$!
    waited=0
    until grep -q "$2" "$tmp/log" || [ $waited -ge 600 ] || ! kill -0 $pid 2> /dev/null; do
        sleep 0.1
        waited=$((waited + 1))
    done
    interrupted "$1" $pid "$tmp/log"
}
interrupt "SIGINT while denoising" "text: " "$long:sampler=unipc:steps=1000"
interrupt "SIGINT while decoding" "denoise: " "$long:steps=1"
size=$(du -sLm "$model" | cut -f 1)
if [ "$size" -gt 2000 ]; then
    interrupt "SIGINT while loading" "memory\|hardware\|Stream mapping\|turbodiff" "$long"
else
    echo "skip SIGINT while loading (a model of $size MB is there at once)"
fi
echo "gpu ffmpeg: $passed passed, $failed failed"
[ $failed -eq 0 ]
