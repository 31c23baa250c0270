#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The command line programs as a person at a terminal meets them: run.sh DIR MODEL
#
# 1. DIR has td, tdinfo and tdsynth; MODEL is a small model directory.
# 2. Each case prints "ok NAME" or, after what it saw, "FAIL NAME"; the last line has the counts.
set -u
LC_ALL=C
export LC_ALL
dir=$1
model=$2
. "$(dirname "$0")/../fate/cases.sh"

# status PROGRAM [ARGUMENT]...: prints the exit status; what was written is in $tmp/out and $tmp/err
status() {
    program=$1
    shift
    timeout 60 "$dir/$program" "$@" > "$tmp/out" 2> "$tmp/err" < /dev/null
    echo $?
}
# line NAME STATUS PATTERN PROGRAM [ARGUMENT]...: this status, and one line of errors that has PATTERN
line() {
    name=$1
    want=$2
    pattern=$3
    shift 3
    code=$(status "$@")
    if [ "$code" = "$want" ] && [ "$(grep -c . "$tmp/err")" = 1 ] && grep -q -e "$pattern" "$tmp/err"; then
        ok "$name"
    else
        fail "$name" "status $code, expected $want and one line with '$pattern':" "$(cat "$tmp/err")"
    fi
}

for program in td tdinfo tdsynth; do
    for option in --help -h; do
        code=$(status $program $option)
        equal "$program $option" "$code $(wc -c < "$tmp/err") $(head -n 1 "$tmp/out" | cut -d ' ' -f 1,2)" "0 0 usage: $program"
    done
    for option in --version -V; do
        code=$(status $program $option)
        equal "$program $option" "$code $(cat "$tmp/err" "$tmp/out")" "0 $program $("$dir/td" -V | cut -d ' ' -f 2)"
    done
    code=$(status $program --nonsense)
    case $code$(wc -l < "$tmp/err") in
        11|21) ok "$program: an unknown option" ;;
        *)     fail "$program: an unknown option" "status $code, $(wc -l < "$tmp/err") lines" ;;
    esac
    for option in --help --version; do
        "$dir/$program" $option > /dev/full 2> "$tmp/err"
        equal "$program $option to a full disk" "$? $(grep -c 'cannot be written' "$tmp/err")" "1 1"
    done
done

# ---- td ----

clip="--backend=cpu --size=32x32 --frames=1 --steps=1"
"$dir/tdsynth" --only=vae --vae=tiny "$tmp/tae"
# options are lists
# shellcheck disable=SC2086
{
equal "td: long options" "$(status td $clip --seed=3 "$model" "a cat" "$tmp/long") $(wc -c < "$tmp/long")" "0 3072"
equal "td: short options" "$(status td -B cpu -s 32x32 -n 1 -i 1 -r 3 "$model" "a cat" "$tmp/short")" 0
equal "td: they are the same" "$(md5sum < "$tmp/long")" "$(md5sum < "$tmp/short")"
equal "td: an empty prompt is one" "$(status td $clip "$model" "" "$tmp/empty") $(wc -c < "$tmp/empty") $(grep -c 'the prompt is empty' "$tmp/err")" "0 3072 1"
line "td: a file without a name" 1 'the name of a file is empty; usage: td .* PROMPT OUT.rgb' td $clip "$model" ""
line "td: a number with a tail"   2 '--frames 5x: want a whole number' td -n 5x "$model" a "$tmp/x"
line "td: no number"              2 '--frames abc: want a whole number' td --frames=abc "$model" a "$tmp/x"
line "td: an empty number"        2 '--steps : want a whole number' td -i "" "$model" a "$tmp/x"
for option in --device --timesteps --vae --image --lora --lora-low --stats; do
    line "td: an empty $option" 2 "td: $option is empty: want [A-Z|.]*: ..*" td $option= "$model" a "$tmp/x"
done
for option in "-j -" --stats=-; do
    line "td: no statistics to standard output: $option" 2 '^td: --stats -: want the name of a file' td $clip $option "$model" a "$tmp/x"
done
equal "td: and none to a file of that name" "$(test -e ./-; echo $?)" 1
equal "td: an empty negative prompt is one" "$(status td $clip -S unipc --negative-prompt= "$model" a "$tmp/x")" 0
line "td: a model without a name" 1 '^error: model= is empty, want a directory' td $clip "" a "$tmp/x"
line "td: the same of a list" 1 '^error: model= is empty, want a directory' td --devices ""
line "td: prompts without a name" 1 'the name of a file is empty' td -P "$model" "" "$tmp/x"
line "td: a number out of range"  2 '--frames 99999999999: want' td -n 99999999999 "$model" a "$tmp/x"
# limits NAME HIGHEST NUMBER...: each number is refused with the limits
limits() {
    limits_name=$1
    limits_high=$2
    shift 2
    for number; do
        line "td: --$limits_name $number" 2 "^td: --$limits_name $number: want a whole number from 0 to $limits_high$" \
            td "--$limits_name=$number" "$model" a "$tmp/x"
    done
}
limits threads 256 -1 257 99999999999
limits frames 509 -1 510 99999999999
limits steps 1000 -1 1001 99999999999
line "td: no clips"               2 '--clips 0: want' td -c 0 "$model" a "$tmp/x"
line "td: topk is no number"      2 '--topk 0.1x: want a number' td -k 0.1x "$model" a "$tmp/x"
line "td: guidance is no number"  2 '--guidance nan: want a number, or two: HIGH|LOW' td -g nan "$model" a "$tmp/x"
line "td: the second guidance is no number" 2 '--guidance 4|x: want a number, or two: HIGH|LOW' td -g "4|x" "$model" a "$tmp/x"
for guidance in 0 0.5 101 "4|0" "4|0.5"; do
    line "td: guidance $guidance" 2 "--guidance $guidance: want 1 to 100, or two of them: HIGH|LOW" td -g "$guidance" "$model" a "$tmp/x"
done
line "td: no first guidance"      2 '--guidance |4: want a number, or two: HIGH|LOW' td -g "|4" "$model" a "$tmp/x"
line "td: no second guidance"     2 '--guidance 4|: want a number, or two: HIGH|LOW' td -g "4|" "$model" a "$tmp/x"
line "td: a seed below -1"        2 '--seed -2: want a whole number from 0 to 18446744073709551615, or -1 for a random one' td -r -2 "$model" a "$tmp/x"
code=$(status td $clip -S unipc -g "4|3" "$model" a "$tmp/x")
equal "td: two guidances for one transformer" "$code $(grep -c '^error: guidance: one for each of two experts' "$tmp/err")" "1 1"
line "td: a seed of 2^64"         2 '--seed 18446744073709551616: want' td -r 18446744073709551616 "$model" a "$tmp/x"
line "td: a seed below -1"        2 '--seed -2: want' td -r -2 "$model" a "$tmp/x"
line "td: a word"                 2 '--quant fp3: want one of auto none int8' td -q fp3 "$model" a "$tmp/x"
line "td: a word of a long option" 2 '--vae-dtype f16: want one of auto bf16' td --vae-dtype f16 "$model" a "$tmp/x"
line "td: half a size"            2 '--size 832x: want WxH' td -s 832x "$model" a "$tmp/x"
line "td: a size with a tail"     2 '--size 32x32x: want WxH' td -s 32x32x "$model" a "$tmp/x"
for size in 4294967488x64 64x4294967488 99999999999x64 99999999999999999999x64; do
    line "td: a size that is no int: $size" 2 "--size $size: want sides from 16 to 2048" td -s $size "$model" a "$tmp/x"
done
line "td: a size below 0"         2 '--size -16x64: want WxH' td -s -16x64 "$model" a "$tmp/x"
line "td: nothing to do"          2 'usage: td .*MODEL_DIR.* PROMPT OUT.rgb' td
code=$(status td -B cpu -n 4 "$model" a "$tmp/x")
equal "td: a library's refusal is one line" "$code $(grep -v '^load: ' "$tmp/err")" \
    "1 error: frames: 4, want 4k+1 from 1 to 509 (such as 5)"
for option in "--shift 1000" "--sigma-max=1e9"; do
    # shellcheck disable=SC2086
    code=$(status td $clip $option "$model" a "$tmp/x")
    equal "td: an option of the library's, by its name: $option" "$code $(grep -c '^error: s[a-z_]*: [0-9e+]*, want 0.01 to 1' "$tmp/err")" "1 1"
done
code=$(status td $clip -T "1|1.5" "$model" a "$tmp/x")
equal "td: times that are none" "$code $(grep -c "^error: timesteps: '1|1.5': time 2 is no number above 0, up to 1; want 1 to 1000" "$tmp/err")" "1 1"
rm -f "$tmp/stats"
code=$(status td $clip -i 8 -T "1|0.99|0.97|0.94|0.87|0.82|0.75|0.63" -j "$tmp/stats" "$model" a "$tmp/x")
equal "td: eight times" "$code $(grep -c '"steps": 8,' "$tmp/stats")" "0 1"
rm -f "$tmp/stats"
lora "$tmp/a.safetensors" head.head.diff_b 64
status td $clip -l "$tmp/a.safetensors" "$model" "a cat" "$tmp/with" > /dev/null
status td $clip --lora="$tmp/a.safetensors*0.5" "$model" "a cat" "$tmp/half" > /dev/null
status td $clip -l "$tmp/a.safetensors*0" "$model" "a cat" "$tmp/none" > /dev/null
status td $clip "$model" "a cat" "$tmp/plain" > /dev/null
equal "td: LoRA: with it, half of it, and none are three clips; strength 0 is none" \
    "$(cat "$tmp/with" "$tmp/half" "$tmp/none" "$tmp/plain" | wc -c) $(md5sum "$tmp/with" "$tmp/half" "$tmp/none" "$tmp/plain" |
        cut -c 1-32 | sort -u | wc -l) $(cmp "$tmp/none" "$tmp/plain" && echo same)" "$(($(wc -c < "$tmp/plain") * 4)) 3 same"
equal "tdinfo: a LoRA" "$(status tdinfo -s "$tmp/a.safetensors") $(grep -c 'LoRA, for lora=, differences: 1 tensors' "$tmp/out")" "0 1"
line "td: a shape without a picture" 2 '--adaptive without --image: want both' td --adaptive "$model" a "$tmp/x"
line "td: the same of a bench" 2 '--adaptive without --image' td --bench --adaptive "$model"
# idle OPTION BESIDE OPTION...: a warning that it has no effect beside what comes after it
idle() {
    idle_option=$1
    idle_beside=$2
    shift 2
    code=$(status td $clip "$idle_option" "$@" "$model" a "$tmp/x")
    equal "td: ${idle_option%=*} with $idle_beside" \
        "$code $(grep -c '^warning: .* has no effect' "$tmp/err") $(grep -cx "warning: ${idle_option%=*} has no effect with $idle_beside" "$tmp/err")" "0 1 1"
}
for option in --guidance=4 --negative-prompt=x --shift=3; do
    idle $option "sampler rcm"
done
for option in --sigma-max=80 --ode; do
    idle $option "sampler unipc" -S unipc
done
for option in --topk=0.5 --sla-block=64x128; do
    idle $option "dense attention" -a dense
done
"$dir/tdsynth" --preset=tiny --no-sla "$tmp/dense" 2> "$tmp/err" || fail "a dense model" "$(cat "$tmp/err")"
rm -f "$tmp"/dense/*-quant.pth
for option in --topk=0.5 --sla-block=64x128; do
    code=$(status td $clip $option "$tmp/dense" a "$tmp/x")
    equal "td: ${option%=*} with a dense model" \
        "$code $(grep -c '^warning: .* has no effect' "$tmp/err") $(grep -cx "warning: ${option%=*} has no effect with dense attention" "$tmp/err")" "0 1 1"
done
idle --negative-prompt=x "guidance 1" --sampler=unipc --guidance=1
idle --boundary=0.5 "one transformer"
line "td: no such file of prompts" 1 'td: /nonexistent/p: No such file' td -P "$model" /nonexistent/p "$tmp/x"
printf 'a cat\n\n \t\na dog\n\n' > "$tmp/prompts"
code=$(status td $clip -P "$model" "$tmp/prompts" "$tmp/x")
equal "td: blank lines of a file of prompts" "$code $(wc -c < "$tmp/x") $(grep -c 'prompt is empty' "$tmp/err")" "0 $((2 * 32 * 32 * 3)) 0"
printf '\n \n' > "$tmp/blank"
for file in /dev/null /tmp "$tmp/blank"; do
    code=$(status td $clip -P "$model" $file "$tmp/x")
    equal "td: a file of prompts that has none: ${file##*/}" "$code $(grep -c '^td: .*\(no prompt in it\|cannot be read\)' "$tmp/err")" "1 1"
done
# bytes of one line: as the library says it of a prompt that is no file
for n in 65536 65537 65545 1048577; do
    head -c $n /dev/zero | tr '\0' a > "$tmp/long_line"
    code=$(status td $clip -P "$model" "$tmp/long_line" "$tmp/x")
    equal "td: a prompt of a file, $n bytes" "$code $(grep -cx 'td: a prompt of more than 65536 bytes, want at most 65536' "$tmp/err") $(grep -c 'error' "$tmp/err")" \
        "$((n > 65536)) $((n > 65536)) 0"
done
line "td: no such directory to write to" 1 'td: /nonexistent/x: No such file' td "$model" a /nonexistent/x
echo kept > "$tmp/kept"
line "td: a file to write to, and no model" 1 "No such file" td --backend=cpu /nonexistent/m a "$tmp/kept"
equal "td: the file is as it was" "$(cat "$tmp/kept")" kept
code=$(status td $clip "$model" a "$tmp/kept")
equal "td: a clip takes its place" "$code $(wc -c < "$tmp/kept")" "0 $((32 * 32 * 3))"
# what td reads is never written to: a model of its own, for where it is
cp -r "$model" "$tmp/own"
echo x > "$tmp/own/old.rgb"
mkdir "$tmp/set"
echo '{"weight_map":{"a":"a-00001-of-00001.safetensors"}}' > "$tmp/set/vae.safetensors.index.json"
lora "$tmp/set/a-00001-of-00001.safetensors" a 64
ln -s "$tmp/prompts" "$tmp/prompts.link"
ln -s own/Wan2.1_VAE.pth "$tmp/weights.link"
printf 'width = 32\nheight = 32\n' > "$tmp/own/turbodiff.conf"
echo '{}' > "$tmp/own/model_index.json"
cp "$tmp/tae/taew2_1.pth" "$tmp/picture"
files="$tmp/prompts $tmp/picture $tmp/a.safetensors $(find "$tmp/own" "$tmp/tae" "$tmp/set" -type f)"
md5sum $files > "$tmp/sums"
# own NAME WHAT OUT OPTION...: the error line; nothing that is read has changed
own() {
    own_name=$1
    own_what=$2
    own_out=$3
    shift 3
    line "td: OUT is $own_name" 1 "^td: $own_out is $own_what, want another file to write to" td $clip "$@" "$own_out"
    equal "td: OUT is $own_name: it is as it was" "$(md5sum $files | cmp - "$tmp/sums" && echo same)" same
}
own "the file of prompts" "the file of --prompts" "$tmp/prompts" -P "$tmp/own" "$tmp/prompts"
own "a link to it" "the file of --prompts" "$tmp/prompts.link" -P "$tmp/own" "$tmp/prompts"
own "the picture" "the file of --image" "$tmp/picture" -I "$tmp/picture" "$tmp/own" a
own "the VAE" "the file of --vae" "$tmp/tae/taew2_1.pth" -W "$tmp/tae/taew2_1.pth" "$tmp/own" a
own "a shard of it" "the file of --vae" "$tmp/set/a-00001-of-00001.safetensors" -W "$tmp/set/vae.safetensors.index.json" "$tmp/own" a
own "a LoRA" "a file of --lora" "$tmp/a.safetensors" -l "$tmp/a.safetensors" "$tmp/own" a
own "the second LoRA, with a strength" "a file of --lora" "$tmp/a.safetensors" -l "x*2|$tmp/a.safetensors*0.5" "$tmp/own" a
own "a LoRA of the low-noise expert" "a file of --lora-low" "$tmp/a.safetensors" -w "$tmp/a.safetensors" "$tmp/own" a
for file in "$tmp/own/"*.pth "$tmp/own/turbodiff.conf" "$tmp/own/model_index.json" "$tmp/own/google/umt5-xxl/spiece.model" "$tmp/weights.link"; do
    own "of the model: ${file##*/}" "a file of the model" "$file" "$tmp/own" a
done
line "td: the statistics are a file of the model" 1 "^td: $tmp/own/Wan2.1_VAE.pth is a file of the model, want another" \
    td $clip -j "$tmp/own/Wan2.1_VAE.pth" "$tmp/own" a "$tmp/x"
line "td: the statistics are the prompts" 1 "^td: $tmp/prompts is the file of --prompts, want another" \
    td $clip -j "$tmp/prompts" -P "$tmp/own" "$tmp/prompts" "$tmp/x"
echo '{}' > "$tmp/lines"
for file in "$tmp/lines" "$tmp/fresh"; do
    line "td: OUT is the file of statistics: ${file##*/}" 1 "^td: $file is the file of --stats, want another" \
        td $clip -j "$file" "$tmp/own" a "$file"
done
equal "td: what was read is as it was" "$(md5sum $files | cmp - "$tmp/sums" && cat "$tmp/lines")" '{}'
mkdir -p "$tmp/place/share/turbodiff"
cp "$dir/td" "$tmp/place"
cp -r "$tmp/own" "$tmp/place/share/turbodiff/demo-model"
"$tmp/place/td" $clip a "$tmp/place/share/turbodiff/demo-model/Wan2.1_VAE.pth" 2> "$tmp/err"
equal "td: OUT is of the demo model" "$? $(grep -c 'is a file of the model' "$tmp/err") \
$(cmp "$tmp/own/Wan2.1_VAE.pth" "$tmp/place/share/turbodiff/demo-model/Wan2.1_VAE.pth" && echo same)" "1 1 same"
code=$(status td $clip "$tmp/own" a "$tmp/own/old.rgb")
equal "td: an old clip beside the weights is none of them" "$code $(wc -c < "$tmp/own/old.rgb")" "0 3072"
rm -r "$tmp/own" "$tmp/place"
# a clip stays until there is a frame to take its place
for file in "$model" "$tmp/blank"; do
    echo kept > "$tmp/kept"
    code=$(status td $clip -P "$model" "$file" "$tmp/kept")
    equal "td: no prompt: the old clip stays: ${file##*/}" "$code $(cat "$tmp/kept")" "1 kept"
done
code=$(status td $clip "$model" "$(printf '\377')" "$tmp/kept")
equal "td: a prompt that is no text: the old clip stays" "$code $(cat "$tmp/kept")" "1 kept"
code=$(status td $clip -r 18446744073709551615 -j "$tmp/stats" "$model" "a cat" "$tmp/x")
equal "td: the largest seed" "$code $(sed -n 's/.*"seed": *\([-0-9]*\).*/\1/p' "$tmp/stats")" "0 18446744073709551615"
equal "td: a random seed" "$(status td $clip -r -1 "$model" "a cat" "$tmp/x") $(grep -c '^seed=[0-9]*$' "$tmp/err")" "0 1"
status td $clip "$model" "a cat" /dev/full > /dev/null
equal "td: a full disk" "$(grep -c '/dev/full\|cannot be written' "$tmp/err") $(grep -c 'device fault' "$tmp/err")" "1 0"
status td $clip -j "$tmp/stats" "$model" "a cat" "$tmp/x" > /dev/null
equal "td: statistics are appended" "$(wc -l < "$tmp/stats")" 2
rm -f "$tmp/x"
equal "td: statistics that cannot be opened: no clip is made" "$(status td $clip -j "$tmp/none/stats" "$model" "a cat" "$tmp/x") $(test -e "$tmp/x"; echo $?)" "1 1"
equal "td: statistics on a full disk: the first line ends it" \
    "$(status td $clip -c 9 -j /dev/full "$model" "a cat" "$tmp/x") $(grep -c '^clip: ' "$tmp/err")" "1 1"
equal "td: statistics on a full disk" "$(status td $clip -j /dev/full "$model" "a cat" "$tmp/x") $(grep -c 'td: /dev/full: ' "$tmp/err")" "1 1"
}

# ---- td --bench ----

bench="--bench --backend=cpu --size=48x32 --frames=5 --steps=2"
# options are lists
# shellcheck disable=SC2086
{
rm -f "$tmp/stats"
equal "td: a bench without prompt and output" "$(status td $bench -j "$tmp/stats" "$model") $(wc -l < "$tmp/out") $(wc -l < "$tmp/stats")" "0 12 2"
cp "$tmp/out" "$tmp/table"
for row in 'turbodiff  *[0-9.]*' 'device  .* on cpu' 'model  *[^,]*, quant int8, sagesla, topk 0.1' 'clip  *48x32, 5 frames, 2 steps' \
    'load  *[0-9.]* s, of [0-9.]* GB' 'prompt  *[0-9.]* s' 'denoise  *[0-9.]* s, [0-9.]* s a step' \
    'decode  *[0-9.]* s, [0-9.]* ms a frame' 'memory, at most  *[0-9.]* GiB of weights and clip.*' \
    'host memory, at most  *[0-9.]* GiB.*'; do
    check "td: a row of the bench: $row" grep -x "$row" "$tmp/table"
done
# in thousandths: as the statistics have it
of() { sed -n "$1s/.*\"$2\": \([0-9.]*\).*/\1/p" "$tmp/stats" | awk '{ printf "%.3f", $1 }'; }
shown() { sed -n "s/^$1  *\([0-9.]*\) s.*/\1/p" "$tmp/table"; }
equal "td: the bench's load is the first clip's" "$(shown load)" "$(of 1 load_seconds)"
equal "td: what follows is the second one's" "$(shown prompt) $(shown denoise) $(shown decode)" \
    "$(of 2 text_seconds) $(of 2 denoise_seconds) $(of 2 decode_seconds)"
equal "td: its prompt was not known" "$(grep -c '"text_cached": 0' "$tmp/stats")" 2
rm -f "$tmp/stats"
equal "td: a bench of more clips" "$(status td $bench -c 3 -j "$tmp/stats" "$model") $(grep -c '"text_cached": 0' "$tmp/stats")" "0 4"
cp "$tmp/out" "$tmp/table"
equal "td: the fastest of them is told" "$(shown 'clip, prompt to last frame')" \
    "$(sed -n '2,$s/.*"wall_seconds": \([0-9.]*\).*/\1/p' "$tmp/stats" | sort -n | head -n 1 | awk '{ printf "%.3f", $1 }')"
line "td: two models for a list" 2 'usage: td --devices' td --devices "$model" a
line "td: a list with a prompt and a file" 2 'usage: td --devices' td --devices "$model" a "$tmp/x"
line "td: a list of no model"     1 '^error: model=/nonexistent' td --devices /nonexistent
line "td: a list with no LoRA"    1 '^error: /nonexistent: no such file' td --devices -l /nonexistent "$model"
line "td: a bench with a prompt"  2 'usage: td --bench' td $bench "$model" a "$tmp/x"
line "td: a bench with prompts"   2 '--bench with --prompts' td $bench -P "$model"
line "td: a bench of no model"    1 '^error: model=/nonexistent' td $bench /nonexistent
"$dir/td" $bench "$model" > /dev/full 2> "$tmp/err"
equal "td: a bench to a full disk" "$? $(grep -c 'standard output cannot be written' "$tmp/err")" "1 1"
}
# a tiny VAE instead of the model's
# shellcheck disable=SC2086
for vae in "-W $tmp/tae/taew2_1.pth" "--vae=$tmp/tae/taew2_1.pth"; do
    code=$(status td $clip --frames=5 --seed=3 $vae "$model" "a cat" "$tmp/tiny")
    equal "td ${vae%% *}: a tiny VAE" "$code $(wc -c < "$tmp/tiny")" "0 15360"
done
equal "td: its pictures are others" "$(head -c 3072 "$tmp/tiny" | cmp -s - "$tmp/long"; echo $?)" 1
# shellcheck disable=SC2086
code=$(status td $clip -W taew "$model" "a cat" "$tmp/x")
equal "td: no such VAE" "$code $(grep -c '^error: vae=taew: no such file, and it is in no name of model=' "$tmp/err")" "1 1"

# ---- tdinfo, tdsynth ----

equal "tdinfo: short option" "$(status tdinfo -s "$model") $(wc -l < "$tmp/out")" \
    "$(status tdinfo --summary "$model") $(wc -l < "$tmp/out")"
equal "tdinfo: an option behind the directory" "$(status tdinfo "$model" -s) $(wc -l < "$tmp/out")" \
    "$(status tdinfo -s "$model") $(wc -l < "$tmp/out")"
"$dir/tdinfo" "$model" > /dev/full 2> "$tmp/err"
equal "tdinfo: a full disk" "$? $(grep -c 'cannot be written' "$tmp/err")" "1 1"
line "tdinfo: a file without a name" 1 'tdinfo: the name of a file is empty, want a weight file' tdinfo ""
line "tdinfo: a vocabulary without one" 1 'tdinfo: the name of a file is empty, want a SentencePiece model' tdinfo -t ""
for option in -s --summary; do
    line "tdinfo: $option beside --tokenize" 2 'usage: tdinfo \[--summary\] FILE|DIR' tdinfo $option --tokenize tests/data/spiece.model
done
head -c 40000000 /dev/zero | tr '\0' 'a' | (ulimit -v 60000; "$dir/tdinfo" --tokenize tests/data/spiece.model) > "$tmp/out" 2> "$tmp/err"
equal "tdinfo: an endless prompt" "$? $(cat "$tmp/out") $(grep -c 'a prompt of more than 65536 bytes' "$tmp/err")" "1 error 1"
{ head -c 70000 /dev/zero | tr '\0' 'a'; printf '\0a cat'; } | "$dir/tdinfo" --tokenize tests/data/spiece.model > "$tmp/out" 2> "$tmp/err"
equal "tdinfo: a prompt that is too long, and another" "$? $(head -n 1 "$tmp/out") $(wc -l < "$tmp/out") $(wc -l < "$tmp/err")" "1 error 2 1"
line "tdsynth: no such VAE" 1 '--vae=large: want wan or tiny' tdsynth --vae=large "$tmp/x"
code=$(status tdsynth --only=dit --lora=3 "$tmp/synth")
equal "tdsynth: a LoRA" "$code $("$dir/tdinfo" -s "$tmp/synth/lora.safetensors" | grep -c 'LoRA, for lora=, 20 pairs of rank 3 to 3: 40 tensors')" "0 1"
# a vocabulary that is in its place already is not written again: here nothing can be
"$dir/tdsynth" --only=text --vocab=2048 "$tmp/again"
spiece=$tmp/again/google/umt5-xxl/spiece.model
ln -s "$spiece" "$tmp/spiece.link"
for file in "$spiece" "$tmp/spiece.link"; do
    code=$(trap '' XFSZ; ulimit -f 0; "$dir/tdsynth" --only=text --vocab=2048 --spiece="$file" "$tmp/again" 2> /dev/null; echo $?)
    equal "tdsynth: a vocabulary in its place stays: ${file##*/}" "$code $(cmp tests/data/spiece.model "$spiece" && echo same)" "1 same"
done
line "tdsynth: no directory" 1 'no directory to write to' tdsynth
line "tdsynth: a directory without a name" 1 'no directory to write to' tdsynth ""
line "tdsynth: a vocabulary without one" 1 'the name of a file is empty, want a SentencePiece model' tdsynth --spiece= "$tmp/nameless"
line "tdsynth: an endless vocabulary" 1 '/dev/zero: is no regular file, want a SentencePiece model' \
    tdsynth --spiece=/dev/zero "$tmp/endless"
line "tdsynth: a number with a tail" 1 '--dim=128x: want' tdsynth --dim=128x "$tmp/x"
echo "tools: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
