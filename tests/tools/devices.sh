#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Which GPU td takes, what it says of it, and the lists of GPUs: devices.sh BUILD MODEL
#
# 1. GPUs are claimed (tests/cards/module.c), and compute with the CPU's kernels: clips are the CPU's to the bit.
# 2. Of the tiny model's clip about 8 MiB are wanted by stage, 9 at once.
set -u
LC_ALL=C
export LC_ALL
build=$(realpath "$1")
model=$(realpath "$2")
. "$(dirname "$0")/../fate/cases.sh"
. "$(dirname "$0")/../cards/place.sh"
place "$build" "$build/td" "$build/tdinfo" "$build/tests/cards/devices"

# td OPTION...: the status; lines in $tmp/err, the clip in $tmp/clip
td() {
    rm -f "$tmp/clip" "$tmp/opened"
    timeout 120 "$here/td" -s 64x48 -n 5 -i 1 "$@" "$model" "a cat" "$tmp/clip" 2> "$tmp/err"
    code=$?
}
# on NAME NUMBER PATTERN OPTION...: that GPU makes the clip, no other is opened, the load line has PATTERN, no warning
on() {
    on_name=$1
    on_number=$2
    on_pattern=$3
    shift 3
    td "$@"
    if [ "$(opened)" = "$on_number ." ] && grep -q "^load: .* on cuda (.*device $on_number$on_pattern" "$tmp/err" &&
        ! grep '^warning: [^a]' "$tmp/err"; then
        equal "$on_name" "$code $(md5sum < "$tmp/clip")" "0 $want"
    else
        fail "$on_name" "opened: $(opened)" "$(cat "$tmp/err")"
    fi
}
# refused_td NAME PATTERN OPTION...: status 1, one line, no clip
refused_td() {
    refused_name=$1
    refused_pattern=$2
    shift 2
    td "$@"
    if [ $code -eq 1 ] && [ "$(grep -c . "$tmp/err")" = 1 ] && grep -q "^error: $refused_pattern" "$tmp/err" &&
        [ ! -s "$tmp/clip" ]; then
        ok "$refused_name"
    else
        fail "$refused_name" "status $code, expected one line with '$refused_pattern':" "$(cat "$tmp/err")"
    fi
}
# on_cpu NAME PATTERN OPTION...: the CPU makes the clip, after one warning before the first stage
on_cpu() {
    cpu_name=$1
    cpu_pattern=$2
    shift 2
    td "$@"
    if [ "$(sed '/^text: /q' "$tmp/err" | grep -c '^warning: ')" = 1 ] && grep -q '^load: .* on cpu (' "$tmp/err" &&
        grep -q "^warning: the CPU makes the clip, which takes about [0-9]* s: $cpu_pattern" "$tmp/err"; then
        equal "$cpu_name" "$code $(md5sum < "$tmp/clip")" "0 $want"
    else
        fail "$cpu_name" "expected one warning with '$cpu_pattern':" "$(cat "$tmp/err")"
    fi
}

td -B cpu
want=$(md5sum < "$tmp/clip")
check "the CPU's clip" test $code -eq 0

# ---- a named device is an order ----

claim h100:1000:900 h100:1000:900
refused_td "a device that is not there, with those that are" 'device 2, want 0..1 (0: Claimed h100, GPU-.*; 1: Claimed h100, MIG-' -D 2
equal "and none is opened" "$(opened)" .
refused_td "two devices" "device: '0+1', but a clip is made on one card" -D 0+1
refused_td "no name of a device" "device: 'first', want auto, a number, a UUID" -D first
refused_td "a device with the CPU" 'device: 1 with backend cpu' -B cpu -D 1
on "by number" 1 ")" -D 1
on "by number, the first" 0 ")" -D 0 -B cuda
on "by the UUID of an instance" 1 ")" -D MIG-00000000-1111-2222-3333-000000000001
on "by UUID" 0 ")" --device=GPU-00000000-1111-2222-3333-000000000000
on "by PCI bus id" 1 ")" -D 00000000:3C:00.0
on "by a short PCI bus id" 1 ")" -D 3c:00.0
refused_td "a UUID that is not there" 'device: no GPU-7 here, want one of 0: ' -D GPU-7
claim h100:1000:900 h100:1000:900:old h100:1000:900:full h100:1000:900:nocode
refused_td "a card that is too old" 'device=1: Claimed h100 cannot be used (it has compute capability 7.5' -D 1
refused_td "a card without memory" 'device=2: no memory for a context' -D 2
refused_td "a card without code" 'device=3: this build has no code for' -D 3
eight() { claim "$1 $1 $1 $1 $1 $1 $1 $1"; }
eight h100:1000:900
refused_td "of many GPUs whole entries, and how many more" 'device 8, want 0..7 (0: .*; [3-6]: [^;]*[0-9A-F]:00\.0; [1-4] more)$' -D 8
claim olddriver
refused_td "a driver that is too old" 'device=0: the driver supports CUDA 11.4' -D 0
refused_td "a driver that is too old, backend=cuda" 'backend=cuda: the driver supports CUDA 11.4' -B cuda
take_module
refused_td "a module that is missing" 'device=0: libturbodiff-cuda.so, which uses the GPU, is in none of: /' -D 0
put_module

# ---- auto chooses ----

claim h100:1000:900 h100:1000:900
on "two alike: the first, and no word why" 0 "), "
on "device=auto" 0 "), " -D auto
on "backend=cuda" 0 "), " -B cuda
on "device=auto with the CPU is the CPU" 0 "), " -D auto
claim h100:1000:1 h100:1000:900
on "the first is full" 1 ", since device 0 has [0-9.]* MB free, and [0-9.]* MB are wanted), "
on "the first is full, backend=cuda" 1 ", since device 0 has " -B cuda
claim h100:1000:500 h100:1000:900
on "more memory free" 1 ", which has more memory free than device 0), "
claim rtx4090:1000:900 h100:1000:500
on "the faster one" 1 ", which is faster than device 0), "
claim h100:1000:11 rtx4090:1000:900
on "room for all before speed" 1 ", since device 0 has [0-9]* MB free, too little for all weights and the clip at once), "
claim h100:1000:900:old rtx4090:1000:900
on "the first is too old" 1 ", since device 0 cannot be used (it has compute capability 7.5"
claim h100:1000:1 h100:1000:9
on "nowhere room for all: by stage" 1 ", since .*by stage"
check "and the load line says that" grep '^load: .* by stage, as it does not fit at once, ' "$tmp/err"
td -q none
check "in bf16 also what takes less" \
    grep '^load: .* by stage, as it does not fit at once (quant=int8 halves the transformer), ' "$tmp/err"
claim h100:1000:900:full h100:1000:900:nocode rtx4090:1000:900
td
equal "what fails when it is opened gives way to the next" "$code $(opened) $(md5sum < "$tmp/clip")" "0 0 1 2 . $want"
check "and the load line says so" grep '^load: .*device 2, since device 0 cannot be used (no memory for a context' "$tmp/err"
claim h100:1000:2:unknown h100:1000:900:unknown
td
equal "what is free is known when it is opened" "$code $(opened) $(md5sum < "$tmp/clip")" "0 0 1 . $want"
claim h100:1000:40 h100:1000:900
td -s 256x256 -n 17
check "it is chosen for the clip at hand" grep '^load: .*device 1, since device 0 has ' "$tmp/err"

# LoRAs are beside the int8 weights: 4 MiB of them at rank 256
"$build/tdsynth" --only=dit --lora=256 "$tmp/lora" > "$tmp/out" 2>&1
plain=$want
claim h100:1000:900 rtx4090:1000:900
td -B cpu -l "$tmp/lora/lora.safetensors"
want=$(md5sum < "$tmp/clip")
check "a LoRA's clip" test "$code $want" != "0 $plain"
claim h100:1000:15 rtx4090:1000:900
on "with a LoRA: room for all before speed" 1 ", since device 0 has [0-9]* MB free, too little for all weights and the clip at once), " \
    -l "$tmp/lora/lora.safetensors"
"$here/td" --devices -s 64x48 -n 5 -l "$tmp/lora/lora.safetensors" "$model" > "$tmp/out" 2> "$tmp/err"
equal "td --devices reckons with it" "$(sed 's/, .*; /: /' "$tmp/out")" "$(printf '%s\n' \
    "device 0: Claimed h100: the weights fit by stage: 0.01 GB, and 0.02 GB at once" \
    "device 1: Claimed rtx4090: auto takes it")"
refused_td "a LoRA that is not there" '.*none.safetensors: no such file' -l "$tmp/none.safetensors"
equal "and none is opened" "$(opened)" .
want=$plain
on "without it, the faster one" 0 "), "

# ---- a bench ----

claim rtx4090:1000:900 h100:1000:900
"$here/td" --bench -D 1 -s 64x48 -n 5 -i 1 "$model" > "$tmp/out" 2> "$tmp/err"
equal "td --bench takes the GPU that is named" "$? $(opened)" "0 1 ."
check "and tells it" grep -x 'device  *Claimed h100, sm_90 on cuda' "$tmp/out"
check "what it loaded, and how fast" grep -x 'load  *[0-9.]* s, 0.01 GB, [0-9.]* GB/s' "$tmp/out"
check "and how much of the card was in use" grep -x "the card's in use, at most  *[0-9.]* GiB with .*" "$tmp/out"

# ---- the CPU only with its reason ----

claim h100:1000:1 h100:1000:2
on_cpu "no memory on any card" "device 0 has [0-9.]* MB free, and [0-9.]* MB are wanted; device 1 has .*; end what else uses it"
equal "and none is opened" "$(opened)" .
td -B cuda
equal "backend=cuda is no matter for the CPU" "$code $(grep -c '^error: clip: .* more than the free' "$tmp/err")" "1 1"
check "whose line does not ask for a smaller clip where the weights have no room" \
    grep '^error: clip: .* more than the free [0-9]*; end what else uses the memory$' "$tmp/err"
td -s 2048x2048 -n 81
equal "nor is a clip that is too large for an empty card" "$code $(grep -c '^error: clip: .* more than the free' "$tmp/err")" "1 1"
claim h100:1000:900
td -s 2048x2048 -n 81
check "but for one where only the clip has none" \
    grep '^error: clip: .* more than the free [0-9]*; want a smaller size or fewer frames$' "$tmp/err"
eight h100:1000:1
on_cpu "no memory on any of many" "device 0 has .*; [1-7] more; end what else uses it, or make a smaller or shorter clip$"
eight h100:1000:900:full
on_cpu "no memory for a context on any of many" "device 0 cannot .*); [5-7] more$"
claim h100:1000:900:full h100:1000:900:nocode
on_cpu "no card can be opened" "device 0 cannot be used (no memory for a context.*; device 1 cannot be used (this build has no code for"
claim h100:1000:900:old
on_cpu "no card can be used" "device 0 cannot be used (it has compute capability 7.5, want 8.0 or later)"
claim olddriver
on_cpu "a driver that is too old" "the driver supports CUDA 11.4, this build wants 13.0; install a newer driver"
claim none
on_cpu "a driver without a GPU" "no usable GPU"
claim h100:1000:900
take_module
on_cpu "no module" "libturbodiff-cuda.so, which uses the GPU, is in none of: $here, .*; install it in one of them"
echo nothing > "$here/libturbodiff-cuda.so"
on_cpu "a module that is none" "$here/libturbodiff-cuda.so cannot be loaded (file too short); install it anew with this program$"
put_module
claim h100:1000:900:full
td -v
check "where an error was is told at level debug" grep '^cuda: module.c: GPU 0 is being opened' "$tmp/err"
td
check "no line has a source file or the name of an error" sh -c "! grep -E '[a-z]\.cu?:|cudaError' '$tmp/err'"

# ---- by the library's functions ----

timeout 120 "$here/devices" "$model" > "$tmp/out" 2> "$tmp/err"
equal "the library's functions" "$? $(wc -c < "$tmp/err") $(grep -v '^ok ' "$tmp/out")" "0 0 "
passed=$((passed + $(grep -c '^ok ' "$tmp/out")))

# ---- lists ----

claim h100:1000:1 h100:1000:900 rtx4090:1000:9 rtx3090:1000:900:old
"$here/td" --devices > "$tmp/out" 2> "$tmp/err"
equal "td --devices" "$? $(grep -c . "$tmp/out") $(wc -c < "$tmp/err") $(opened)" "0 4 0 ."
check "what it says of a card" grep -x 'device 1: Claimed h100, 0.94 GB free of 1.05 GB, compute capability 9.0, driver 999.10, MIG-00000000-1111-2222-3333-000000000001, 00000000:3C:00.0' "$tmp/out"
"$here/td" --devices -s 64x48 -n 5 "$model" > "$tmp/out" 2> "$tmp/err"
equal "td --devices MODEL" "$? $(grep -c . "$tmp/out") $(wc -c < "$tmp/err") $(opened)" "0 4 0 ."
check "a card without room"       grep '^device 0: .*; the clip does not fit: it takes 0.01 GB by stage, 0.01 GB at once$' "$tmp/out"
check "a card with room"          grep '^device 1: .*; all weights and the clip fit: 0.01 GB; auto takes it$' "$tmp/out"
check "a card with room by stage" grep '^device 2: .*; the weights fit by stage: 0.01 GB, and 0.01 GB at once$' "$tmp/out"
check "a card that is no use"     grep '^device 3: .*; cannot be used: it has compute capability 7.5' "$tmp/out"
"$here/td" --devices "$tmp/none" > "$tmp/out" 2> "$tmp/err"
equal "td --devices of no model" "$? $(grep -c . "$tmp/err")" "1 1"
# listed NAME WANT OPTION...: status, the numbers of the cards that are listed, and a point
listed() {
    listed_name=$1
    listed_want=$2
    shift 2
    "$here/td" --devices "$@" > "$tmp/out" 2> "$tmp/err"
    equal "$listed_name" "$? $(sed 's/^device \([0-9]*\): .*/\1/' "$tmp/out" | tr '\n' ' ')." "$listed_want"
}
listed "td --devices -D lists that one alone" "0 2 ." -D 2
listed "by its UUID, with a model"            "0 1 ." -D MIG-00000000-1111-2222-3333-000000000001 "$model"
check "with what fits there"                  grep '^device 1: .*; all weights and the clip fit' "$tmp/out"
listed "td --devices -D auto -B cuda lists all" "0 0 1 2 3 ." -D auto -B cuda
# unlisted NAME STATUS PATTERN OPTION...: one line of errors that has PATTERN, and no list
unlisted() {
    unlisted_name=$1
    unlisted_status=$2
    unlisted_pattern=$3
    shift 3
    "$here/td" --devices "$@" > "$tmp/out" 2> "$tmp/err"
    equal "$unlisted_name" "$? $(wc -c < "$tmp/out") $(grep -c . "$tmp/err") $(grep -c -e "$unlisted_pattern" "$tmp/err")" "$unlisted_status 0 1 1"
}
unlisted "a card that is not there"    1 'device 4, want 0..3 (0: Claimed h100' -D 4
unlisted "no name of a card"           1 "device: 'first', want auto, a number" -D first
unlisted "the CPU has no list"         1 'devices: backend cpu has no GPU, want auto or cuda' -B cpu
unlisted "a card with the CPU"         1 'device: 1 with backend cpu' -B cpu -D 1
for option in --clips=2 --stats=x --prompts --image=x --adaptive --bench; do
    unlisted "td --devices $option" 2 "td: --devices with ${option%=*}: want one of the two" $option "$model"
done
for option in --size=64x48 --quant=none --max-bytes=1 --vae=x --shift=3; do
    unlisted "td --devices $option without a model" 2 "td: --devices with ${option%=*}, .* want a MODEL_DIR" $option
done
# wrong ON: what of a model, a clip and LoRAs is wrong is told where there is no card to plan for, too
wrong() {
    unlisted "no model$1"                    1 "^error: model=$tmp/none: " "$tmp/none"
    unlisted "a model without a VAE$1"       1 '^error: .*: no file of a VAE; want ' "$tmp/half"
    unlisted "a LoRA that is not there$1"    1 '^error: .*none.safetensors: no such file' -l "$tmp/none.safetensors" "$model"
    unlisted "a LoRA of bf16 that is not there$1" 1 '^error: .*none.safetensors: no such file' -q none -l "$tmp/none.safetensors" "$model"
    unlisted "a LoRA of another model$1"     1 '^error: .*spiece.model: ' -l "$model/google/umt5-xxl/spiece.model" "$model"
    unlisted "a LoRA of a second expert$1"   1 '^error: lora_low: .* is one transformer, want lora' -w x "$model"
    unlisted "a side that is no size$1"      1 '^error: size: 8x8, want sides from 16' -s 8x8 "$model"
    unlisted "frames that are no clip$1"     1 '^error: frames: 6, want 4k+1' -n 6 "$model"
    unlisted "two lists of times$1"          1 '^error: timesteps and sigma_max: want one' -T 1 --sigma-max=5 "$model"
}
mkdir "$tmp/half"
cp -r "$model"/[!W]* "$tmp/half"
claim h100:1000:900
wrong ", on a card"
claim h100:1000:900:old
wrong ", on a card that is no use"
claim none
wrong ", where the driver knows no card"
listed "a model that is right, where the driver knows no card" "0 no GPU: no usable GPU (no CUDA-capable device is detected) ." "$model"
claim h100:1000:1 h100:1000:900 rtx4090:1000:9 rtx3090:1000:900:old
"$here/tdinfo" -s "$model" > "$tmp/out" 2> "$tmp/err"
equal "tdinfo MODEL has a line for each card" "$? $(grep -c "^$model: device [0-3]: Claimed" "$tmp/out")" "0 4"
claim olddriver
"$here/td" --devices > "$tmp/out" 2> "$tmp/err"
equal "td --devices says why there is none" "$? $(cat "$tmp/out" "$tmp/err")" \
    "0 no GPU: the driver supports CUDA 11.4, this build wants 13.0; install a newer driver"
unlisted "td --devices -B cuda without one is an error" 1 '^error: backend=cuda: the driver supports CUDA 11.4' -B cuda
unlisted "and so is -D" 1 '^error: device=0: the driver supports CUDA 11.4' -D 0
"$here/tdinfo" -s "$model" > "$tmp/out" 2> "$tmp/err"
equal "tdinfo MODEL without a GPU" "$? $(grep -c device "$tmp/out") $(wc -c < "$tmp/err")" "0 0 0"

echo "devices: $passed passed, $failed failed"
[ $failed -eq 0 ]
