#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Tests of the demo model, which was trained: what its prompts say can be counted in its frames. demo.sh DIR
#
# 1. DIR has ffmpeg and ffprobe, and DIR or the directory above it share/turbodiff/demo-model. No case names a model.
# 2. Prompts are in the words of tools/demo-model/language.py and wordings.py, of combinations that are in the training data.
# 3. Limits are wide. In clips as the training data has them, a shape takes 3 to 17 % of the picture, what is behind it
#    the rest, it travels 42 to 52 % of the side and grows to 2.4 to 3.4 times its area.
# 4. Output as that of run.sh.
set -u
LC_ALL=C
export LC_ALL

dir=$1
ffmpeg=$dir/ffmpeg
ffprobe=$dir/ffprobe
case $dir in
*/small-*) suite=fate-demo-${dir##*/small-} ;;
*)         suite=fate-demo ;;
esac
. "$(dirname "$0")/cases.sh"

side=48
demo() { printf "turbodiff=prompt='%s':seed=%s" "$1" "$2"; }
# clip PROMPT SEED: small frames of its clip, as bytes of RGB, to $tmp/clip
clip() {
    write "$tmp/clip" -f lavfi -i "$(demo "$1" "$2"),format=rgb24,scale=$side:$side:flags=area" -f rawvideo
}
# share COLOUR: over $tmp/clip, its share of all pixels in per cent; of the first and of the last frame, how many pixels
# have it and their centre in per cent of the side: "SHARE N X Y N X Y"
share() {
    [ -s "$tmp/clip" ] || { echo "$failure"; return; }
    od -An -v -tu1 -w3 "$tmp/clip" | awk -v side=$side -v want="$1" '
        function has(r, g, b) {
            if (want == "red") return r > 110 && r > 2 * g && r > 2 * b
            if (want == "green") return g > 90 && g > 1.6 * r && g > 1.6 * b
            if (want == "blue") return b > 110 && b > 2 * r && b > 2 * g
            if (want == "yellow") return r > 150 && g > 150 && b < 110
            if (want == "black") return r < 60 && g < 60 && b < 60
            if (want == "grey") return r > 80 && r < 140 && g > 80 && g < 140 && b > 80 && b < 140
            return r > 200 && g > 200 && b > 200
        }
        function centre(f) {
            return n[f] ? sprintf("%d %d %d", n[f], 100 * x[f] / n[f] / side, 100 * y[f] / n[f] / side) : "0 0 0"
        }
        {
            f = int((NR - 1) / side / side)
            if (has($1, $2, $3)) {
                all++
                n[f]++
                x[f] += (NR - 1) % side
                y[f] += int((NR - 1) / side) % side
            }
        }
        END { printf "%d %s %s\n", NR ? 100 * all / NR + 0.5 : 0, centre(0), centre(f) }'
}
# holds NAME CONDITION VALUE...: CONDITION is one of awk, where $1 is the first value
holds() {
    holds_name=$1
    condition=$2
    shift 2
    case $* in
    ''|*"$failure"*) ;;
    *)
        if [ "$(echo "$@" | awk "{ print ($condition) }")" = 1 ]; then
            ok "$holds_name"
            return
        fi ;;
    esac
    fail "$holds_name" "values: $*" "expected: $condition"
}

# ---- no model is named ----

write "$tmp/1.mkv" -v info -f lavfi -i "$(demo "a red circle grows on black" 1):steps=1" -c:v ffv1
equal "one line says that it is the demo model" \
    "$(grep -c 'no model given: using the small demo model in .*share/turbodiff/demo-model' "$tmp/err")" 1
write "$tmp/4.mkv" -f lavfi -i "$(demo "a red circle grows on black" 1):steps=4" -c:v ffv1
for steps in 1 4; do
    equal "a video in $steps steps" "$("$ffprobe" -v error -count_frames -show_entries \
        stream=width,height,r_frame_rate,nb_read_frames -of csv=p=0 "$tmp/$steps.mkv")" "192,192,16/1,17"
done
differ "steps count" "$(sum -i "$tmp/1.mkv")" "$(sum -i "$tmp/4.mkv")"

# ---- the frames show what the prompt says ----

# shows PROMPT SEED COLOUR BACKGROUND MOTION: the colour of the shape and of what is behind, and a condition on the
# first and the last frame: $2 $5 pixels of the shape, $3 $6 and $4 $7 their place across and down
shows() {
    clip "$1" "$2"
    for colour in red green blue yellow; do
        if [ "$colour" = "$3" ]; then
            holds "$1: $colour" '$1 >= 2 && $1 <= 20' "$(share "$colour")"
        else
            holds "$1: no $colour" '$1 <= 1' "$(share "$colour")"
        fi
    done
    holds "$1: on $4" '$1 >= 70' "$(share "$4")"
    holds "$1: so it moves" "\$2 > 0 && \$5 > 0 && $5" "$(share "$3")"
}
shows "a big red circle moves quickly to the right on a black background" 1 red black '$6 - $3 >= 20'
shows "a big blue square moves quickly to the left on a white background" 1 blue white '$3 - $6 >= 20'
shows "a big blue square on the right moves slowly to the left on a white background" 1 blue white '$3 >= 55 && $3 - $6 >= 10'
shows "a big yellow star moves quickly upwards on a grey background" 1 yellow grey '$4 - $7 >= 20'
shows "a green triangle grows on a white background" 1 green white '$5 >= 1.6 * $2'

clip "a red circle above a blue square on a white background, nothing moves" 1
holds "two shapes: one above the other" '$2 > 0 && $9 > 0 && $11 - $4 >= 15' "$(share red)" "$(share blue)"
holds "one above the other: nothing moves" '$2 > 0 && $5 > 0 && ($3 - $6) ^ 2 + ($4 - $7) ^ 2 <= 36' "$(share red)"

clip "a blue circle to the left of a red square on a white background, nothing moves" 2
holds "two shapes: one beside the other" '$2 > 0 && $9 > 0 && $10 - $3 >= 15' "$(share blue)" "$(share red)"
holds "one beside the other: nothing moves" '$2 > 0 && $5 > 0 && ($3 - $6) ^ 2 + ($4 - $7) ^ 2 <= 36' "$(share blue)"

# ---- image to video ----

# its first frame, in which a red circle is in the middle, and what becomes of it
write "$tmp/still.mkv" -f lavfi -i "$(demo "a big red circle stays still in the centre on a white background" 3)" -frames:v 1 -c:v ffv1
i2v() { printf "turbodiff_i2v=prompt='%s':seed=%s" "$1" "$2"; }
write "$tmp/clip" -v info -i "$tmp/still.mkv" -vf "$(i2v "a red circle moves quickly to the right on a white background" 1),format=rgb24,scale=$side:$side:flags=area" -f rawvideo
equal "one line says that it is the demo model of image to video" \
    "$(grep -c 'no model given: using the small demo model in .*share/turbodiff/demo-model-i2v' "$tmp/err")" 1
holds "from a picture: on white" '$1 >= 70' "$(share white)"
holds "from a picture: it begins there, and moves" '$2 > 0 && $5 > 0 && ($3 - 50) ^ 2 <= 25 && $6 - $3 >= 15' "$(share red)"
write "$tmp/clip" -i "$tmp/still.mkv" -vf "$(i2v "a red circle gets smaller on white" 1),format=rgb24,scale=$side:$side:flags=area" -f rawvideo
holds "from a picture: it shrinks" '$5 > 0 && $5 <= 0.6 * $2' "$(share red)"
# apart N PICTURE: of the first N bytes of $tmp/clip those that are not the picture's, and by how much
apart() {
    head -c "$1" "$tmp/clip" | cmp -l - "$2" | awk '
        function octal(t, n, i) { for (i = 1; i <= length(t); i++) n = 8 * n + substr(t, i, 1); return n }
        { print octal($2) - octal($3) }'
}
bytes=$((3 * side * side))
write "$tmp/still.rgb" -i "$tmp/still.mkv" -vf "format=rgb24,scale=$side:$side:flags=area" -f rawvideo
holds "from a picture: the first frame is the picture" '$1 <= 3' \
    "$(apart $bytes "$tmp/still.rgb" | awk '{ s += $1 < 0 ? -$1 : $1 } END { if (NR) print s / '$bytes' }')"

# a red square at night: small stars are what an encoder loses first
awk 'BEGIN {
    for (y = 0.5; y < 192; y++)
        for (x = 0.5; x < 192; x++) {
            i = int(x / 32)
            j = int(y / 32)
            far = sqrt((x - 32 * i - 4 - (5 * i + 9 * j) % 25) ^ 2 + (y - 32 * j - 4 - (13 * i + 3 * j) % 25) ^ 2)
            star = (7 * i + 11 * j + i * j) % 10 >= 7 || far >= 3.6 ? 0 : far <= 2.6 ? 1 : 3.6 - far
            if (x > 70 && x < 122 && y > 70 && y < 122) printf "%c%c%c", 220, 25, 25
            else printf "%c%c%c", 10 + 235 * star, 12 + 233 * star, 45 + 185 * star
        }
}' > "$tmp/night.rgb"
write "$tmp/clip" -f rawvideo -pix_fmt rgb24 -s 192x192 -r 16 -i "$tmp/night.rgb" -vf "$(i2v "a red square stays still at night" 1),format=rgb24" -f rawvideo
bytes=$((3 * 192 * 192))
holds "from a picture with small stars: the first frame is the picture, at 28 dB or more" '$1 >= 28' \
    "$(apart $bytes "$tmp/night.rgb" | awk '{ s += $1 * $1 } END { if (NR) print 10 * log(255 ^ 2 * '$bytes' / s) / log(10) }')"
write "$tmp/longer.mkv" -i "$tmp/1.mkv" -vf "$(i2v "a red circle gets smaller on black" 1):mode=extend" -c:v ffv1
equal "a clip goes on where it ends" "$("$ffprobe" -v error -count_frames -show_entries stream=nb_read_frames -of csv=p=0 "$tmp/longer.mkv")" 33

# ---- words ----

# warned PROMPT: number of frames, and what the one warning about words says
warned() {
    count -v warning -f lavfi -i "$(demo "$1" 1):s=32x32:frames=1:steps=1"
    sed -n "s/.*the model does not know \(.*\); its words are those in .*spiece.model$/\1/p" "$tmp/err"
}
equal "words it knows" "$(warned "a red circle moves up, on white (slowly).")" "1"
equal "capitals and marks" "$(warned "A Red Circle moves to the right, slowly.")" "1"
equal "synonyms, digits, articles left out" "$(warned "2 TINY BALLS, Drifting Upwards over ocean!")" "1"
equal "odd capitals" "$(warned "a rEd circle moves up on white" | tr '\n' ' ')" "1 'rEd' (write red) "
equal "words it does not know, once each" "$(warned "a zebra dances on the zebra sea" | tr '\n' ' ')" "1 'zebra', 'dances' "
echo "$suite: $passed passed, $failed failed"
[ $failed -eq 0 ]
