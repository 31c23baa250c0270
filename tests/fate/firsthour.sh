#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Tests of the ffmpeg that is meant for use: inputs, filters and recipes of a user's first hour: firsthour.sh DIR MODEL
#
# 1. DIR has ffmpeg and ffprobe of the full build; MODEL is an image-to-video model made by tdsynth, so pictures mean
#    nothing: what is seen is that things run, and what they are.
# 2. What an encoder of that build writes is read back; formats that it only reads are here as bytes, or looked up.
# 3. Output as that of run.sh.
set -u
LC_ALL=C
export LC_ALL

dir=$1
model=$2
ffmpeg=$dir/ffmpeg
ffprobe=$dir/ffprobe
suite=fate-firsthour
. "$(dirname "$0")/cases.sh"

# works NAME COMMAND...: status 0, and nothing to say
works() {
    works_name=$1
    shift
    if "$@" && [ ! -s "$tmp/err" ]; then ok "$works_name"; else fail "$works_name" "$(head -n 3 "$tmp/err")"; fi
}
offers() {
    "$ffmpeg" -hide_banner -v error "-${1}s" | awk '{ print $2 }' | tr , '\n' | grep -qx "$2"
}

# the same model, made for the size of the clips: nothing to warn of
mkdir "$tmp/model"
ln -s "$(realpath "$model")"/* "$tmp/model"
printf 'width = 32\nheight = 32\n' > "$tmp/model/turbodiff.conf"
model=$tmp/model
f="turbodiff_i2v=model=$model:prompt=a cat:seed=1:steps=1:topk=1:frames=5:s=32x32"
still="testsrc2=s=48x32:r=25:d=0.04"
film="testsrc2=s=48x32:r=25:d=0.4"

# ---- lists ----

has decoder h264 hevc mpeg1video mpeg2video mpeg4 msmpeg4v2 msmpeg4 h263 flv vp6 vp8 vp9 theora wmv1 wmv2 wmv3 vc1 \
    mjpeg mjpegb dvvideo dnxhd prores cfhd huffyuv ffvhuff ffv1 utvideo magicyuv v210 qtrle cinepak rawvideo \
    png apng gif bmp tiff webp targa ppm pgm pbm pam exr dpx sgi psd qoi hdr jpeg2000 jpegls dds pcx \
    pcm_u8 pcm_s8 pcm_s16le pcm_s16be pcm_s24le pcm_s24be pcm_s32le pcm_s32be pcm_f32le pcm_f32be pcm_f64le pcm_alaw \
    pcm_mulaw pcm_bluray pcm_dvd adpcm_ms adpcm_ima_wav adpcm_ima_qt amrnb amrwb \
    mp1 mp2 mp3 aac aac_latm ac3 eac3 dca truehd opus vorbis flac alac wavpack ape wmav1 wmav2 wmapro
has demuxer mov matroska avi flv mpegts mpeg ogg asf mxf dv ivf m4v h264 hevc mp3 aac ac3 eac3 flac wav w64 aiff au caf \
    amr ape wv gif apng image2 image2pipe ico concat webp_pipe png_pipe jpeg_pipe bmp_pipe tiff_pipe gif_pipe ppm_pipe \
    exr_pipe dpx_pipe psd_pipe qoi_pipe svg_pipe yuv4mpegpipe ffmetadata
has filter bwdif yadif idet setfield fieldorder fieldmatch telecine tonemap scale format fps setpts concat overlay crop \
    pad transpose rotate hstack vstack xstack tile fade xfade zoompan minterpolate reverse loop select trim drawbox eq \
    hue curves unsharp gblur deband nlmeans lut3d colorchannelmixer colortemperature deshake v360 palettegen paletteuse \
    thumbnail ssim psnr movie amovie anullsrc aevalsrc anoisesrc sine apad atrim atempo volume volumedetect loudnorm \
    afade acrossfade amix amerge join pan channelmap aresample asetrate highpass lowpass equalizer acompressor adelay \
    silencedetect silenceremove astats ebur128 showwaves showwavespic showspectrum showspectrumpic showcqt avectorscope
has bsf h264_mp4toannexb hevc_mp4toannexb aac_adtstoasc extract_extradata mpeg4_unpack_bframes

# ---- sound ----

works "a silent track" run -f lavfi -i "$film" -f lavfi -i anullsrc -shortest -c:v mpeg4 -c:a aac "$tmp/silent.mp4"
for codec in pcm_u8,wav pcm_s16le,wav pcm_s24le,wav pcm_s32le,mov pcm_f32le,wav pcm_s16be,mov alac,mov flac,matroska aac,mpegts; do
    muxer=${codec#*,}
    codec=${codec%,*}
    write "$tmp/sound" -f lavfi -i "sine=d=0.2:r=48000" -c:a "$codec" -strict -2 -f "$muxer"
    works "sound in $codec" run -i "$tmp/sound" -f null -
done
# ten frames of silence: MPEG 2.5 layer III, 8 kb/s, 8 kHz, mono
for i in 0 1 2 3 4 5 6 7 8 9; do
    printf '\377\343\030\304'
    head -c 68 /dev/zero
done > "$tmp/silence.mp3"
works "sound in mp3" run -i "$tmp/silence.mp3" -f null -
works "filters of sound" run -f lavfi -i "aevalsrc=sin(440*2*PI*t):d=0.3" -af \
    "atempo=1.5,apad=pad_dur=0.1,highpass=f=100,loudnorm,aresample=48000,pan=stereo|c0=c0|c1=c0,volumedetect" -f null -
works "a picture of a sound" run -f lavfi -i "sine=d=0.2,asplit[a][b];[a]showwaves=s=64x32[c];[b]showspectrum=s=64x32,scale=64:32[d];[c][d]vstack" \
    -frames:v 2 -f null -

# ---- pictures ----

# a lossless and a lossy one of 16x16
printf 'RIFF*\000\000\000WEBPVP8L\035\000\000\000/\017\300\003\000\017p\024\373S\320^\210{\376\203\007b\301d\376\322\335\031D\364?t\001\000' > "$tmp/lossless.webp"
printf 'RIFF8\000\000\000WEBPVP8\040,\000\000\000\220\001\000\235\001*\020\000\020\000\002\300L\045\240\002t\272\000\003\230\000\376\357\204\177\034\377\377\244\326\361\377I\254\241\327\257\334w^\200\000\000' > "$tmp/lossy.webp"
for picture in lossless lossy; do
    works "image to video of a $picture WebP" run -i "$tmp/$picture.webp" -vf "$f:adaptive=1" -c:v mpeg4 "$tmp/out.mp4"
    equal "$picture WebP: frames" "$("$ffprobe" -v error -count_packets -show_entries stream=nb_read_packets -of csv=p=0 "$tmp/out.mp4")" 5
done
for picture in png jpg bmp gif tiff tga ppm pam qoi; do
    write "$tmp/picture.$picture" -f lavfi -i "$still" -update 1
    works "image to video of a picture in $picture" run -i "$tmp/picture.$picture" -vf "$f" -f null -
done

# ---- films ----

for codec in mpeg4,avi mpeg2video,mpegts huffyuv,avi ffv1,matroska prores,mov mjpeg,mov utvideo,avi qtrle,mov \
             libx264,mp4 libx264,matroska libvpx,webm libvpx-vp9,webm; do
    muxer=${codec#*,}
    codec=${codec%,*}
    offers encoder "$codec" || continue
    works "a film in $codec, $muxer" run -f lavfi -i "$film" -c:v "$codec" -f "$muxer" "$tmp/film"
    works "extended: $codec, $muxer" run -i "$tmp/film" -vf "$f:mode=extend" -c:v mpeg4 -q:v 2 "$tmp/out.mp4"
    equal "extended: $codec, $muxer: the clip's times" "$("$ffprobe" -v error -show_entries packet=pts_time -of csv=p=0 "$tmp/out.mp4" |
        tail -n 5 | awk 'NR > 1 { printf "%.1f ", ($1 - t) * 1000 } { t = $1 }')" "62.5 62.5 62.5 62.5 "
done
write "$tmp/film.mp4" -f lavfi -i "$film" -c:v mpeg4 -q:v 2
works "extended, as pictures" run -i "$tmp/film.mp4" -vf "$f:mode=extend" "$tmp/frame%02d.png"
works "extended, at a constant rate" run -i "$tmp/film.mp4" -vf "$f:mode=extend" "$tmp/out.y4m"
equal "extended, at a constant rate: the input's" "$("$ffprobe" -v error -show_entries stream=r_frame_rate -of csv=p=0 "$tmp/out.y4m")" "25/1"
if offers encoder libx264; then
    # that of a film of 25 frames a second, not of as many as the time base has
    write "$tmp/out.mp4" -i "$tmp/film.mp4" -vf "$f:mode=extend" -c:v libx264
    equal "extended, as H.264: the level" "$("$ffprobe" -v error -show_entries stream=level -of csv=p=0 "$tmp/out.mp4")" 10
fi

# the picture ends with the sound; so it does where the size changes, when ffmpeg builds the graph anew
write "$tmp/two.mp4" -f lavfi -i "testsrc2=s=48x32:r=25:d=2" -f lavfi -i "sine=d=2" -c:v mpeg4 -c:a aac
works "a clip every second" run -i "$tmp/two.mp4" -vf "$f:every=25:frames=17" -c:v mpeg4 -c:a copy "$tmp/out.mp4"
equal "a clip every second: 2 s" "$("$ffprobe" -v error -select_streams v -show_entries stream=duration,nb_frames -of csv=p=0 "$tmp/out.mp4")" "2.000000,32"
for size in 48x32 64x64; do
    write "$tmp/$size.mkv" -f lavfi -i "testsrc2=s=$size:r=25:d=0.4" -c:v mjpeg -q:v 2
    echo "file $size.mkv"
done > "$tmp/list.txt"
works "a clip every 5 frames, a size that changes" run -f concat -i "$tmp/list.txt" -vf "$f:every=5" -c:v mpeg4 "$tmp/out.mp4"
equal "a clip every 5 frames, a size that changes: 0.8 s" "$("$ffprobe" -v error -show_entries packet=pts_time -of csv=p=0 "$tmp/out.mp4" |
    awk '{ printf "%.0f ", $1 * 16 }')" "$(seq -s ' ' 0 12) "

write "$tmp/still.tiff" -f lavfi -i "$still" -c:v tiff -frames:v 1
works "image=: a TIFF picture" run -f lavfi -i "turbodiff=model=$model:prompt=a cat:seed=1:steps=1:topk=1:frames=1:s=32x32:image=$tmp/still.tiff" \
    -f null -

# ---- what the filter says to put in front of it ----

works "interlaced: bwdif" run -v warning -f lavfi -i "$film,tinterlace=4,setfield=tff" -vf "bwdif,$f" -f null -
works "interlaced: yadif" run -v warning -f lavfi -i "$film,tinterlace=4,setfield=tff" -vf "yadif,$f" -f null -
hdr="$film,format=yuv420p10le,setparams=colorspace=bt2020nc:color_primaries=bt2020:color_trc"
for trc in smpte2084 arib-std-b67; do
    run -f lavfi -i "$hdr=$trc" -vf "$f" -f null -
    chain=$(sed -n 's/.*; put \(.*\) before this filter.*/\1/p' "$tmp/err")
    case $chain in
    "")       fail "HDR, $trc: a recipe" "$(cat "$tmp/err")"; continue ;;
    zscale*)  offers filter zscale || continue ;;
    esac
    works "HDR, $trc: $chain" run -v warning -f lavfi -i "$hdr=$trc" -vf "$chain,$f" -f null -
done
if offers filter zscale; then
    works "HDR with zscale" run -v warning -f lavfi -i "$hdr=smpte2084" -vf \
        "zscale=t=linear:npl=100,tonemap=hable,zscale=p=709:t=709:m=709:r=tv,format=yuv420p,$f" -f null -
fi

echo "$suite: $passed passed, $failed failed"
[ $failed -eq 0 ]
