#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Builds ffmpeg and ffprobe with the turbodiff filters: build_ffmpeg.sh SERIES full|small DIR
#
# 1. DIR/src gets the FFmpeg sources, our patch and our filters, and is built in place; DIR/ffmpeg and DIR/ffprobe result.
# 2. Sources are unpacked anew when the patch or the tarball changes; configure runs again when its arguments change.
# 3. "small" leaves out everything that the filter tests do not need; "full" is meant for use.
# 4. Settings come from the environment, as the Makefile passes them: FFMPEG_SRC (directory or tarball), FFMPEG_EXTRA,
#    FFMPEG_GPL, CC, JOBS, PKG_CONFIG_PATH (finds turbodiff.pc), TD_LIB (relink when newer), HAVE_NASM, HAVE_ZLIB,
#    HAVE_X264, HAVE_VPX, HAVE_ZMQ, HAVE_ZIMG, HAVE_FREETYPE, HAVE_HARFBUZZ, HAVE_FONTCONFIG, HAVE_FFNVCODEC, HAVE_X265,
#    HAVE_SVTAV1, HAVE_DAV1D, HAVE_OPUS, HAVE_MP3LAME, HAVE_GNUTLS, HAVE_SRT, HAVE_SDL2 (each yes or no).
set -eu

die() {
    echo "build_ffmpeg: $*" >&2
    exit 1
}

[ $# -eq 3 ] || die "usage: build_ffmpeg.sh SERIES full|small DIR"
series=$1
set=$2
dir=$3
top=$(cd "$(dirname "$0")/.." && pwd)
patch=$top/patches/ffmpeg-$series.patch
[ -f "$patch" ] || die "no patch for FFmpeg series $series"
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
src=$dir/src
given=${FFMPEG_SRC:-}

# ---- sources ----

if [ -z "$given" ]; then
    given=$("$top/tools/fetch_ffmpeg.sh" "$series")
fi
stamp="$given $(sha256sum < "$patch")"
if [ -d "$given" ]; then
    stamp="$stamp $(cat "$given/RELEASE" 2> /dev/null || true)"
else
    stamp="$stamp $(sha256sum < "$given")"
fi
if [ "$(cat "$dir/stamp.src" 2> /dev/null || true)" != "$stamp" ]; then
    rm -rf "$src" "$dir/stamp.src" "$dir/stamp.configure"
    mkdir -p "$src"
    if [ -d "$given" ]; then
        (cd "$given" && tar cf - --exclude=.git .) | tar xf - --no-same-owner -C "$src"
    else
        tar xf "$given" --no-same-owner --strip-components=1 -C "$src" || die "$given: not a tarball that tar can read"
    fi
    [ -f "$src/RELEASE" ] || die "$given: not an FFmpeg source (no file RELEASE in it)"
    release=$(cat "$src/RELEASE")
    case $release in
    "$series"|"$series".*) ;;
    *) die "$given is FFmpeg $release, expected series $series (see --ffmpeg-series)" ;;
    esac
    if ! (cd "$src" && patch -p1 -s --no-backup-if-mismatch) < "$patch"; then
        rm -rf "$src"
        die "$patch does not apply to FFmpeg $release"
    fi
    echo "$stamp" > "$dir/stamp.src"
fi

# unchanged files keep their time
put() {
    cmp -s "$1" "$2" || cp "$1" "$2"
}
for file in "$top"/libavfilter/*.[ch]; do
    put "$file" "$src/libavfilter/$(basename "$file")"
done
put "$top/doc/filters.texi" "$src/doc/turbodiff.texi"
put "$top/doc/filters_i2v.texi" "$src/doc/turbodiff_i2v.texi"

# ---- configure ----

set -- --disable-everything --disable-autodetect --disable-doc --disable-debug \
    --cc="${CC:-cc}" --enable-libturbodiff --enable-indev=lavfi --enable-protocol=file,pipe,fd

video=scale,format,noformat,fps,setpts,settb,trim,copy,null,nullsrc,color,testsrc2,split,select,metadata,showinfo
video=$video,sendcmd,hstack,psnr,tpad,setsar,setparams,reverse,crop,nullsink,buffer,buffersink,turbodiff,turbodiff_i2v
audio=aformat,anull,aresample,abuffer,abuffersink,anullsrc,apad
muxers=framecrc,framemd5,hash,null,rawvideo,mp4,matroska,nut,ffmetadata
codecs=rawvideo,wrapped_avframe,mpeg4,ffv1,ppm,pgm,pcm_s16le,pcm_u8
decoders=
parsers=mpeg4video,pnm
demuxers=mov,matroska,nut,rawvideo,image_ppm_pipe,image_pgm_pipe
bsfs=null

if [ "$set" = small ]; then
    set -- "$@" --enable-protocol=unix --disable-ffplay
else
    video=$video,testsrc,smptebars,gradients,concat,overlay,pad,hflip,vflip,transpose,rotate,tile,tinterlace
    video=$video,minterpolate,blend,tblend,vstack,xstack,loop,eq,hue,colorspace,colormatrix,setdar
    video=$video,palettegen,paletteuse,thumbnail,ssim,signalstats,framestep,framerate,fade,xfade,zoompan,realtime,drawbox
    video=$video,drawgrid,curves,colorbalance,colorlevels,vibrance,unsharp,gblur,boxblur,avgblur,deflicker,hqdn3d,noise
    video=$video,vignette,alphamerge,alphaextract,chromakey,colorkey,extractplanes,mergeplanes,interleave,untile
    video=$video,setrange,bbox,blackdetect,freezedetect,scdet,cropdetect,lut,lutrgb,lutyuv,lut3d,haldclut,negate
    video=$video,mpdecimate,decimate,shuffleframes,streamselect,perms,swapuv,geq,lagfun,mix,amplify,edgedetect,pixelize
    # interlaced and telecined video
    video=$video,bwdif,yadif,idet,w3fdif,estdif,setfield,fieldorder,field,fieldmatch,separatefields,weave,il,telecine
    video=$video,detelecine,dejudder,kerndeint,pullup
    # colours, sharpness, shapes
    video=$video,tonemap,colorchannelmixer,colortemperature,colorcontrast,colorize,exposure,monochrome,selectivecolor
    video=$video,hsvkey,hsvhold,colorhold,chromahold,despill,histeq,normalize,limiter,deband,nlmeans,bilateral,cas
    video=$video,smartblur,convolution,sobel,erosion,dilation,tmix,deshake,perspective,stereo3d,lenscorrection,v360
    video=$video,chromashift,rgbashift,scroll,fillborders,displace,remap,maskedmerge,premultiply,unpremultiply
    video=$video,freezeframes,scale2ref
    # sources, and what shows a video or a sound
    video=$video,rgbtestsrc,yuvtestsrc,smptehdbars,allrgb,colorspectrum,mandelbrot,life,cellauto,sierpinski,haldclutsrc
    video=$video,movie,amovie,histogram,waveform,vectorscope,showpalette,drawgraph,sidedata,identity,vif,xpsnr
    video=$video,showwaves,showwavespic,showspectrum,showspectrumpic,showcqt,showfreqs,showvolume,avectorscope
    audio=$audio,sine,atrim,asetpts,asettb,volume,afade,amix,amerge,aconcat,aloop,asplit,ametadata,areverse
    audio=$audio,aevalsrc,anoisesrc,anullsink,aselect,asendcmd,ainterleave,arealtime,asegment,segment,asetrate
    audio=$audio,asetnsamples,pan,join,channelmap,channelsplit,atempo,acrossfade,adelay,aecho,chorus,tremolo,vibrato
    audio=$audio,highpass,lowpass,bandpass,equalizer,bass,treble,acompressor,alimiter,agate,compand,afftdn,deesser
    audio=$audio,loudnorm,dynaudnorm,ebur128,volumedetect,silencedetect,silenceremove,astats,stereotools,apulsator
    muxers=$muxers,mov,webm,image2,image2pipe,gif,apng,avi,md5,crc,framehash,streamhash,wav,yuv4mpegpipe,mpegts,segment
    codecs=$codecs,mpeg2video,png,apng,mjpeg,gif,bmp,ppm,pam,huffyuv,ffvhuff,prores,pcm_f32le,aac,flac,webvtt
    codecs=$codecs,pcm_s16be,pcm_s24le,pcm_s32le,alac,tiff,targa,qoi,utvideo,qtrle
    # what cameras, phones, editors and the net hand out
    decoders=$decoders,h264,hevc,mpeg1video,mpegvideo,h263,flv,vp6,vp6f,vp8,vp9,theora,msmpeg4v1,msmpeg4v2,msmpeg4v3
    decoders=$decoders,wmv1,wmv2,wmv3,vc1,svq1,svq3,rv30,rv40,cinepak,dvvideo,dnxhd,cfhd,hap,magicyuv,v210,r210
    decoders=$decoders,mjpegb,jpeg2000,jpegls,webp,pbm,pgm,pgmyuv,pfm,phm,exr,dpx,sgi,psd,hdr,xbm,dds,sunrast,pcx
    # no *: there are some of other systems, such as pcm_alaw_at
    decoders=$decoders,pcm_[bdflsuv]*,pcm_alaw,pcm_mulaw,adpcm_ima_qt,adpcm_ima_wav,adpcm_ms,adpcm_swf,gsm_ms
    decoders=$decoders,nellymoser,amrnb,amrwb
    decoders=$decoders,mp1,mp1float,mp2,mp2float,mp3,mp3float,aac_latm,ac3,eac3,dca,truehd,opus,vorbis,alac,wavpack
    decoders=$decoders,ape,tta,cook,wmav1,wmav2,wmapro,wmalossless
    parsers=$parsers,h264,hevc,h263,mpegvideo,mjpeg,png,gif,webp,bmp,pnm,qoi,hdr,xbm,dpx,jpeg2000,dnxhd,vp3,vp8,vp9,vc1
    parsers=$parsers,rv34,aac,aac_latm,ac3,mlp,dca,flac,mpegaudio,opus,vorbis,amr
    demuxers=$demuxers,image2,image2pipe,image_*_pipe,gif,apng,avi,concat,ffmetadata,wav,yuv4mpegpipe,mpegts,mpegps
    demuxers=$demuxers,mpegvideo,m4v,h264,hevc,mjpeg,ivf,flv,ogg,asf,rm,mxf,dv,ico,mp3,aac,ac3,eac3,dts,truehd,flac
    demuxers=$demuxers,w64,aiff,au,caf,amr,wv,ape,tta
    bsfs=$bsfs,h264_mp4toannexb,h264_metadata,extract_extradata,aac_adtstoasc,vp9_superframe,vp9_superframe_split,setts
    bsfs=$bsfs,hevc_mp4toannexb,hevc_metadata,mpeg4_unpack_bframes,dump_extradata,pcm_rechunk
    # what goes out to others: mixers and servers, tape formats, pictures of a channel
    muxers=$muxers,flv,hls,dash,tee,fifo,rtp,rtp_mpegts,rtsp,mxf,mxf_opatom,mp2,mp3,ac3,adts,ogg,opus,ivf,h264,hevc,obu
    muxers=$muxers,sup,stream_segment,data,flac,mpegps,vob
    codecs=$codecs,mp2,ac3,eac3,dnxhd,pcm_alaw,pcm_mulaw,opus
    demuxers=$demuxers,hls,rtsp,sdp,rtp,live_flv,obu,av1
    parsers=$parsers,av1
    decoders=$decoders,av1
    bsfs=$bsfs,av1_metadata,aac_adtstoasc,filter_units,trace_headers,h264_redundant_pps,mpeg2_metadata
    set -- "$@" --enable-encoder=prores_ks --enable-protocol=data,concat,tee
    set -- "$@" --enable-protocol=tcp,udp,udplite,rtp,srtp,http,httpproxy,rtmp,rtmpt,crypto,unix,pipe,async,cache
    if [ "$HAVE_GNUTLS" = yes ]; then
        set -- "$@" --enable-gnutls --enable-protocol=tls,https,rtmps,rtmpts
    fi
    if [ "$HAVE_SRT" = yes ]; then
        set -- "$@" --enable-libsrt --enable-protocol=libsrt
    fi
    if [ "$HAVE_SVTAV1" = yes ]; then
        set -- "$@" --enable-libsvtav1 --enable-encoder=libsvtav1
    fi
    if [ "$HAVE_DAV1D" = yes ]; then
        set -- "$@" --enable-libdav1d --enable-decoder=libdav1d
    fi
    if [ "$HAVE_OPUS" = yes ]; then
        set -- "$@" --enable-libopus --enable-encoder=libopus
    fi
    if [ "$HAVE_MP3LAME" = yes ]; then
        set -- "$@" --enable-libmp3lame --enable-encoder=libmp3lame
    fi
    if [ "$HAVE_SDL2" = yes ]; then
        set -- "$@" --enable-sdl2 --enable-ffplay
    else
        set -- "$@" --disable-ffplay
    fi

    if [ "$HAVE_ZLIB" = yes ]; then
        set -- "$@" --enable-zlib
    fi
    if [ "$FFMPEG_GPL" = yes ]; then
        set -- "$@" --enable-gpl
        if [ "$HAVE_X264" = yes ]; then
            set -- "$@" --enable-libx264 --enable-encoder=libx264,libx264rgb
        fi
        if [ "$HAVE_X265" = yes ]; then
            set -- "$@" --enable-libx265 --enable-encoder=libx265
        fi
    fi
    if [ "$HAVE_VPX" = yes ]; then
        set -- "$@" --enable-libvpx --enable-encoder=libvpx_vp8,libvpx_vp9 --enable-decoder=libvpx_vp8,libvpx_vp9
    fi
    if [ "$HAVE_ZMQ" = yes ]; then
        set -- "$@" --enable-libzmq
        video=$video,zmq
        audio=$audio,azmq
    fi
    if [ "$HAVE_ZIMG" = yes ]; then
        set -- "$@" --enable-libzimg
        video=$video,zscale
    fi
    if [ "$HAVE_FREETYPE$HAVE_HARFBUZZ" = yesyes ]; then
        set -- "$@" --enable-libfreetype --enable-libharfbuzz
        if [ "$HAVE_FONTCONFIG" = yes ]; then
            set -- "$@" --enable-libfontconfig
        fi
        video=$video,drawtext
    fi
fi
if [ "$HAVE_FFNVCODEC" = yes ]; then
    set -- "$@" --enable-ffnvcodec
    video=$video,hwupload,hwdownload
    if [ "$set" = full ]; then
        set -- "$@" --enable-nvenc --enable-encoder=h264_nvenc,hevc_nvenc
        if pkg-config --atleast-version=12 ffnvcodec; then
            set -- "$@" --enable-encoder=av1_nvenc
        fi
        set -- "$@" --enable-nvdec --enable-hwaccel=h264_nvdec,hevc_nvdec,vp9_nvdec
        # a clang that compiles CUDA to PTX
        if echo '__attribute__((global)) void f() {}' | clang -S -nocudalib -nocudainc --cuda-gpu-arch=sm_30 \
            --cuda-device-only -x cuda - -o /dev/null > /dev/null 2>&1; then
            set -- "$@" --enable-cuda-llvm
            video=$video,scale_cuda
        fi
    fi
fi
if [ "$HAVE_NASM" != yes ] || [ "$set" = small ]; then
    set -- "$@" --disable-x86asm
fi
set -- "$@" --enable-filter="$video,$audio" --enable-muxer="$muxers" --enable-demuxer="$demuxers" \
    --enable-encoder="$codecs" --enable-decoder="$codecs$decoders" --enable-parser="$parsers" --enable-bsf="$bsfs"

cd "$src"
args="$* ${FFMPEG_EXTRA:-} $PKG_CONFIG_PATH"
if [ "$(cat "$dir/stamp.configure" 2> /dev/null || true)" != "$args" ]; then
    echo "build_ffmpeg: configuring FFmpeg $(cat RELEASE) ($set)"
    # FFMPEG_EXTRA is a list of arguments
    # shellcheck disable=SC2086
    ./configure "$@" ${FFMPEG_EXTRA:-} > "$dir/configure.log" 2>&1 || {
        tail -n 15 "$dir/configure.log" >&2
        die "FFmpeg's configure failed; details: $src/ffbuild/config.log"
    }
    grep '^WARNING' "$dir/configure.log" >&2 || true
    for filter in TURBODIFF TURBODIFF_I2V; do
        grep -q "CONFIG_${filter}_FILTER yes\|^CONFIG_${filter}_FILTER=yes" ffbuild/config.mak ||
            die "FFmpeg's configure left the $filter filter out; details: $src/ffbuild/config.log"
    done
    echo "$args" > "$dir/stamp.configure"
fi

# ---- build ----

if [ -f ffmpeg_g ] && [ -n "$(find "$TD_LIB" -newer ffmpeg_g)" ]; then
    rm -f ffmpeg_g ffprobe_g
fi
echo "build_ffmpeg: building FFmpeg $(cat RELEASE) ($set)"
# shellcheck disable=SC2046
MAKEFLAGS='' make -j"${JOBS:-2}" ffmpeg ffprobe $(grep -qs '^CONFIG_FFPLAY=yes' ffbuild/config.mak && echo ffplay) \
    $(grep -qs '^CONFIG_LIBZMQ=yes' ffbuild/config.mak && echo tools/zmqsend) > "$dir/build.log" 2>&1 || {
    grep -B 2 -A 8 'error\|Error' "$dir/build.log" | head -n 40 >&2
    die "FFmpeg's build failed; log: $dir/build.log"
}
cp -f ffmpeg ffprobe "$dir/"                      # -f: of one that runs, too, which keeps the old file
for program in ffplay tools/zmqsend; do
    if [ -f $program ]; then
        cp -f $program "$dir/"
    fi
done
