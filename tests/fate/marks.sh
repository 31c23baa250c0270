#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# What says that a picture is generated, and where it arrives: marks.sh DIR MODEL I2V_MODEL
#
# 1. DIR has ffmpeg and, where that has libx264 and what a channel is sent in, ffprobe: rows of the tables in doc/marks.md
#    are then made by files of each kind, and commands of its recipes run as they stand there.
# 2. Output as that of run.sh.
set -u
LC_ALL=C
export LC_ALL

dir=$1
model=$(realpath "$2")
i2v=$3
ffmpeg=$dir/ffmpeg
ffprobe=$dir/ffprobe
doc=$(realpath "$(dirname "$0")/../../doc/marks.md")
case $dir in
*/small-*) suite=fate-marks-${dir##*/small-} ;;
*)         suite=fate-marks ;;
esac
. "$(dirname "$0")/cases.sh"

uuid=fd1259d1-1acc-44ed-acb7-280712089af1
base="turbodiff=model=$model:s=64x48:seed=1:steps=1"
clip="$base:prompt=a cat:frames=33"

# seen OPTION...: what showinfo says of what ffmpeg is given
seen() {
    "$ffmpeg" -hide_banner -nostdin -y -v info "$@" -f null - 2>&1 || echo "$failure"
}
# numbers: of the frames that are marked, from what showinfo says
numbers() {
    awk -v uuid="UUID=$uuid" '/'"$failure"'/ { print } / n: *[0-9]+ pts:/ { sub(/.* n: */, ""); n = $1 } index($0, uuid) { printf "%s ", n }'
}
# marks GRAPH: numbers of its frames that are marked
marks() {
    seen -f lavfi -i "$1,showinfo" | numbers
}
# texts GRAPH: of the marks
texts() {
    seen -f lavfi -i "$1,showinfo=udu_sei_as_ascii=1" | sed -n 's/.*User Data=//p; /'"$failure"'/p'
}

equal "the first frame and one of each second" "$(marks "$clip")" "0 16 32 "
equal "at a rate that is no whole number" "$(marks "$base:prompt=a cat:frames=65:r=ntsc")" "0 30 60 "
version=$(sed -n 's/^VERSION *:= *//p' "$(dirname "$0")/../../config.mak")
start='{"digitalSourceType":"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia","generator":"turbodiff '$version'"'
name='Wan-T2V-dim256-blocks2'
equal "the text" "$(texts "$clip" | uniq)" "$start,\"model\":\"$name\",\"seed\":\"1\"}"
equal "mark=0" "$(marks "$clip:mark=0") $(marks "$clip:mark=1")" " 0 16 32 "
equal "metadata: the prompt as the model sees it" "$(printf '\357\273\277a  cat\r\n in\tthe\302\240rain\n' > "$tmp/prompt"
    made -f lavfi -i "$base:frames=1:textfile=$tmp/prompt,metadata=print:file=-" -f null - | sed -n 's/.*turbodiff.prompt=//p')" "a cat in the rain"
printf '%s\n' 'id=a"b\\c | a cat' 'a dog' 'a bird' > "$tmp/p"
channel="$base:frames=9:programme=$tmp/p"
equal "a channel: its seconds count on over clips" "$(marks "$channel:loop=1")" "0 16 32 48 "
printf '%s\n' 'frames=49:steps=4 | a cat' 'a dog' > "$tmp/slow"
seen -f lavfi -i "$base:frames=9:programme=$tmp/slow:pace=live:first=black:r=240,metadata=print:key=lavfi.turbodiff.state:file=$tmp/states,showinfo" > "$tmp/seen"
equal "no mark on a picture that is not generated, and one on the first that is" \
    "$(numbers < "$tmp/seen") $(sed -n 's/.*state=//p' "$tmp/states" | head -n 1)" \
    "$(awk '/^frame/ { split($1, a, ":") } /state=play/ { print a[2]; exit }' "$tmp/states")  black"
i2v_clip="turbodiff_i2v=model=$i2v:prompt=a cat:s=64x48:frames=17:seed=1:steps=1"
equal "turbodiff_i2v" "$(marks "testsrc2=s=64x48:d=0.3:r=10,$i2v_clip")" "0 16 "
equal "extend: none on frames of the input" "$(marks "testsrc2=s=64x48:d=0.5:r=16,$i2v_clip:mode=extend:overlap=0")" "8 24 "
equal "every" "$(marks "testsrc2=s=64x48:d=4:r=16,$i2v_clip:every=32")" "0 16 32 48 "

# ---- where it arrives ----

if "$ffmpeg" -hide_banner -v error -encoders | grep -q ' libx264 ' && "$ffmpeg" -hide_banner -v error -muxers | grep -q ' flv '; then
    # arrives FILE: how many marks a receiver finds
    arrives() {
        seen -i "$1" -map v:0 -vf showinfo | numbers | wc -w
    }
    # inside FILE: the texts of marks in the coded video
    inside() {
        run -i "$1" -map v:0 -c copy -f rawvideo - | grep -a -o '{"digitalSourceType":[^}]*}'
    }
    # tag FILE NAME: yes or no
    tag() {
        if "$ffprobe" -v error -show_entries "format_tags=$2:stream_tags=$2" -of default=nk=1:nw=1 "$1" | grep -qx "mark \"of\" $2"; then
            echo yes
        else
            echo no
        fi
    }
    # row NAME FILE MUX_OPTION...: the row of doc/marks.md for files of this kind
    row() {
        row_name=$1
        row_file=$tmp/$2
        shift 2
        write "$row_file" -f lavfi -i "$clip" -c:v libx264 -udu_sei 1 -g 16 -bf 2 -pix_fmt yuv420p -metadata comment='mark "of" comment' \
            -metadata AIGC='mark "of" AIGC' "$@"
        row_aigc=$(tag "$row_file" AIGC)
        case $row_name in
        mp4|mov)
            write "$tmp/keys-${row_file##*/}" -i "$row_file" -c copy -metadata AIGC='mark "of" AIGC' -movflags use_metadata_tags
            row_aigc="$row_aigc; $(tag "$tmp/keys-${row_file##*/}" AIGC) with \`-movflags use_metadata_tags\`" ;;
        esac
        row_marks=$(arrives "$row_file")
        [ "$row_marks" = 3 ] && row_marks=yes
        row_got="| $row_name | $(tag "$row_file" comment) | $row_aigc | $row_marks |"
        equal "the row of $row_name" "$(grep -F "| $row_name |" "$doc" | head -n 1)" "$row_got"
    }
    write "$tmp/channel.mp4" -f lavfi -i "$channel:loop=1" -c:v libx264 -udu_sei 1 -pix_fmt yuv420p
    equal "a channel: clip and id" "$(inside "$tmp/channel.mp4" | head -n 2)" "$start,\"model\":\"$name\",\"seed\":\"1\",\"clip\":\"0\",\"id\":\"a\\\"b\\\\c\"}
$start,\"model\":\"$name\",\"seed\":\"2\",\"clip\":\"1\"}"
    row mp4 x.mp4
    row mov x.mov
    row mkv x.mkv
    row "MPEG-TS" x.ts
    row HLS x.m3u8 -hls_time 1 -hls_list_size 0
    row FLV x.flv
    # coded NAME ENCODER EXTENSION OPTION...: the row for an encoder
    coded() {
        coded_name=$1
        coded_file=$tmp/coded.$3
        "$ffmpeg" -hide_banner -v error -encoders | grep -q " $2 " || { echo "skip $coded_name ($2 is not in this build)"; return; }
        coded_encoder=$2
        shift 3
        write "$coded_file" -f lavfi -i "$clip,scale=128:96" -c:v "$coded_encoder" "$@"
        coded_n=$(arrives "$coded_file")
        coded_texts=$(inside "$coded_file" | wc -l)
        case "$([ -s "$coded_file" ] && echo file) $coded_n $coded_texts" in
        "file 3 3") coded_got=yes ;;
        "file 0 3") coded_got="its text, behind another UUID" ;;
        "file 0 0") coded_got=no ;;
        *)          coded_got="$failure" ;;
        esac
        equal "the row of $coded_name" "$(grep -F "$coded_name" "$doc" | sed -n 's/^| .* | \([a-zA-Z, ]*\) |$/\1/p')" "$coded_got"
    }
    coded '`libx264` with `-udu_sei 1`' libx264 mp4 -udu_sei 1 -pix_fmt yuv420p
    coded '`libx265` with `-udu_sei 1`' libx265 mp4 -udu_sei 1 -x265-params log-level=error -pix_fmt yuv420p
    coded '`libx264`, `libx265` without' libx264 mp4 -pix_fmt yuv420p
    coded '`libx264`, `libx265` without' libx265 mp4 -x265-params log-level=error -pix_fmt yuv420p
    coded '`libsvtav1`' libsvtav1 mp4 -svtav1-params preset=12 -pix_fmt yuv420p
    coded '`libvpx-vp9`' libvpx-vp9 webm -pix_fmt yuv420p
    coded '`mpeg2video`' mpeg2video ts -r 25
    coded '`mpeg4`' mpeg4 mp4
    coded '`prores_ks`' prores_ks mov
    coded '`ffv1`' ffv1 mkv

    # ---- the recipes, as they stand in the text ----

    # recipe N: the N-th block of commands
    mkdir -p "$tmp/bin" "$tmp/work"
    printf '#!/bin/sh\nexec "%s" -hide_banner -nostdin -v error "$@"\n' "$(realpath "$ffmpeg")" > "$tmp/bin/ffmpeg"
    printf '#!/bin/sh\nexec "%s" "$@"\n' "$(realpath "$ffprobe")" > "$tmp/bin/ffprobe"
    chmod +x "$tmp/bin/ffmpeg" "$tmp/bin/ffprobe"
    recipe() {
        awk -v want="$1" '/^    / { if (!inside) n++; inside = 1; if (n == want) print substr($0, 5); next } { inside = 0 }' "$doc" |
            sed "s|turbodiff=prompt=a yellow circle|$clip|" > "$tmp/recipe"
        (cd "$tmp/work" && PATH=$tmp/bin:$PATH timeout 60 sh ../recipe) 2> "$tmp/log"
    }
    recipe 1
    equal "recipe: a file with all marks" "$(arrives "$tmp/work/marked.mp4") $("$ffprobe" -v error -show_entries format_tags=comment \
        -of default=nk=1:nw=1 "$tmp/work/marked.mp4")" "3 made by turbodiff: trainedAlgorithmicMedia"
    equal "recipe: to read marks" "$(recipe 2 | sort -u)" "$start,\"model\":\"$name\",\"seed\":\"1\"}"
    recipe 3
    equal "recipe: kept by another encoder" "$(arrives "$tmp/work/smaller.mp4")" 3
    recipe 4
    equal "recipe: China's key" "$("$ffprobe" -v error -show_entries format_tags=AIGC -of default=nk=1:nw=1 "$tmp/work/cn.mp4")" \
        "$(sed -n "s/.*-metadata AIGC='\(.*\)' .*/\1/p" "$doc")"
    # the text that is drawn, on black: its height, and that it is there for two seconds
    draw=$(sed -n 's/.*-vf "\(drawtext=[^"]*\)".*/\1/p' "$doc")
    equal "recipe: the label is there, and ends" "$(sum -i "$tmp/work/cn.mp4" -vf trim=end_frame=1 | grep -c MD5)$(made -f lavfi \
        -i "color=black:s=832x480:r=1:d=3,$draw,bbox=min_val=60,metadata=print:key=lavfi.bbox.h:file=-" -f null - |
        awk '/^frame/ { split($1, a, ":"); n = a[2] } /bbox.h/ { split($1, b, "="); printf " %d:%d", n, (b[2] >= 24) }')" "1 0:1 1:1"
fi

echo "$suite: $passed passed, $failed failed"
[ $failed -eq 0 ]
