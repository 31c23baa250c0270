#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Every command of README.md runs: readme.sh DIR, which has ffmpeg, ffprobe, the tools and share/turbodiff/demo-model
#
# 1. Commands are its indented lines, and what begins with the name of a program in a table's cell. Each is run as it
#    stands, in a directory where small models by tdsynth have the names that README gives to large ones, and files that
#    it reads have stand-ins. The output has the frames of a clip, or more, and there is no warning.
# 2. Left out is what `left_out` names, and why. A command that is neither run nor left out is a failure.
# 3. Cells that are options, NAME=...: the filters have them.
# 4. Output as that of run.sh.
set -u
LC_ALL=C
export LC_ALL
dir=$(realpath "$1")
readme=$(realpath "$(dirname "$0")/../../README.md")
ffmpeg=$dir/ffmpeg
ffprobe=$dir/ffprobe
suite=fate-readme
. "$(dirname "$0")/cases.sh"

left_out() {
    case $1 in
    "make demo" | "make check" | ./configure | "make -j"* | "make ffmpeg "*) ;;   # what made DIR; on a fresh machine tests/debootstrap.sh
    "hf download "*) ;;                                                           # tens of gigabytes
    "sudo make install "*) ;;                                                     # tests/build.sh installs, without sudo
    *) return 1 ;;
    esac
}

# ---- what README's commands name ----

here=$tmp/here
mkdir "$here" "$tmp/programs"
small_model "$here/TurboWan" --lora=4
mv "$here/TurboWan/lora.safetensors" "$here/style.safetensors"
"$dir/tdsynth" --preset=tiny --only=vae --vae=tiny "$tmp/tiny" 2> "$tmp/err" || fail "a tiny VAE" "$(cat "$tmp/err")"
mv "$tmp"/tiny/* "$here/TurboWan/"
small_model "$here/TurboWan-I2V" --in-dim=36
echo "a lighthouse" > "$here/prompt.txt"
printf 'a cat surfing a wave\na lighthouse\n' > "$here/clips.txt"
for file in cat.jpg star.png; do
    write "$here/$file" -f lavfi -i "testsrc2=s=48x32:d=0.04" -update 1
done
write "$here/up.mp4" -f lavfi -i "testsrc2=s=48x32:r=16:d=0.5" -pix_fmt yuv420p
if [ ! -s "$here/up.mp4" ]; then
    fail "what the commands read" "$(cat "$tmp/err")"
    echo "$suite: $passed passed, $failed failed"
    exit 1
fi
ln -s "$dir/td" "$dir/tdinfo" "$tmp/programs/"
printf '#!/bin/sh\nexec "%s" -hide_banner -nostdin -y -v warning "$@"\n' "$ffmpeg" > "$tmp/programs/ffmpeg"
chmod +x "$tmp/programs/ffmpeg"

# ---- the commands ----

# small: sizes that README gives are for large models
small() { sed 's/s=480x832/s=32x48/; s/frames=49/frames=9/'; }
awk '
    /^    / {
        sub(/^ */, "")
        line = line $0
        if (sub(/\\$/, "", line)) next
        print line
        line = ""
    }
    /^\|/ {
        n = split($0, cell, "`")
        for (i = 2; i <= n; i += 2)
            if (cell[i] ~ /^(ffmpeg|td|tdinfo) /) {
                gsub(/\\\|/, "|", cell[i])
                print cell[i]
            }
    }' "$readme" > "$tmp/commands"
while IFS= read -r command <&3; do
    left_out "$command" && continue
    case $command in
    "ffmpeg -h "*)
        check "$command" sh -c "cd '$here' && PATH='$tmp/programs:$PATH' && $command | grep -q ' prompt  *<string>'" ;;
    ffmpeg\ *)
        out=${command##* }
        (cd "$here" && PATH=$tmp/programs:$PATH && eval "$(printf '%s\n' "$command" | small)") > "$tmp/log" 2>&1
        code=$?
        case $command in *clips.txt:*fade/4*) want=14 ;; *clips.txt*) want=18 ;; *" -i up.mp4 "* | *" -i cat.mp4 "*) want=17 ;; *) want=9 ;; esac
        case $out in
        *%03d.png) n=$(cd "$here" && printf '%s\n' "${out%%%*}"[0-9]*.png | wc -l) ;;
        *) n=$("$ffprobe" -v error -count_frames -select_streams v -show_entries stream=nb_read_frames -of csv=p=0 "$here/$out" 2>&1) ;;
        esac
        if [ $code -eq 0 ] && ! grep -v 'deprecated pixel format' "$tmp/log" && [ "${n:-0}" -ge $want ] 2> /dev/null; then
            ok "$command"
        else
            fail "$command" "status $code, frames: $n" "$(head -n 5 "$tmp/log")"
        fi ;;
    td\ * | tdinfo\ *)
        check "$command" sh -c "cd '$here' && PATH='$tmp/programs:$PATH' && $command" ;;
    *)
        fail "$command" "neither run nor left out" ;;
    esac
done 3< "$tmp/commands"
[ "$(grep -c '^ffmpeg ' "$tmp/commands")" -ge 10 ] ||
    fail "commands of README" "found few:" "$(cat "$tmp/commands")"

# ---- options ----

{ "$ffmpeg" -hide_banner -h filter=turbodiff; "$ffmpeg" -hide_banner -h filter=turbodiff_i2v; } > "$tmp/options" 2> "$tmp/err"
awk '/^\|/ {
    n = split($0, cell, "`")
    for (i = 2; i <= n; i += 2)
        if (cell[i] ~ /^[a-z_0-9]+=/) {
            m = split(cell[i], option, ":")
            for (j = 1; j <= m; j++)
                if (option[j] ~ /^[a-z_0-9]+=/) {
                    sub(/=.*/, "", option[j])
                    print option[j]
                }
        }
    }' "$readme" | sort -u > "$tmp/named"
lacking=$(while read -r name; do grep -q "^  *$name  *<" "$tmp/options" || echo "$name"; done < "$tmp/named")
empty "options that it names" "$lacking"

echo "$suite: $passed passed, $failed failed"
[ $failed -eq 0 ]
