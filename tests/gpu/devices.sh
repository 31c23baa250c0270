#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Which GPU makes a clip, on a machine that has them: devices.sh BUILD
#
# 1. BUILD holds td, tdsynth, tests/gpu/hog, libturbodiff-cuda.so and, if it is to be tested, ffmpeg.
# 2. What takes two GPUs is left out where there is one; tests/tools/devices.sh has it with GPUs that are claimed.
# 3. Cases print "ok NAME", "FAIL NAME" after what was seen, or "skip NAME (why)"; the last line has the counts.
set -u
LC_ALL=C
export LC_ALL
build=$(realpath "$1")
ln -sfn "$build/libturbodiff-cuda.so" "$build/tests/gpu/" || exit 1   # a program finds the module beside itself
. "$(dirname "$0")/../fate/cases.sh"
"$build/tdsynth" --preset=tiny --spiece=tests/data/spiece.model "$tmp/tiny" > /dev/null || exit 1

# td_at DIR OPTION...: that td; $code, lines in $tmp/err, the clip in $tmp/out, seconds in $seconds
td_at() {
    td_dir=$1
    shift
    rm -f "$tmp/out"
    began=$(date +%s%N)
    timeout 120 "$td_dir/td" -s 320x192 -n 17 -i 1 -r 1 "$@" "$tmp/tiny" "a cat" "$tmp/out" 2> "$tmp/err" 9>&-
    code=$?
    ms=$((($(date +%s%N) - began) / 1000000))
}
# line NAME STATUS PATTERN: of td_at, what was logged
line() {
    if [ "$code" = "$2" ] && grep -q "$3" "$tmp/err"; then
        ok "$1"
        grep "$3" "$tmp/err" | sed 's/^/  /'
    else
        fail "$1" "status $code, expected $2 and a line with '$3':" "$(cat "$tmp/err")"
    fi
}
# hog NUMBER: leave 64 MiB of that GPU, until let_go
hog() {
    rm -f "$tmp/held"
    mkfifo "$tmp/held"
    CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES=$1 "$build/tests/gpu/hog" 64 < "$tmp/held" > "$tmp/hog" 2>&1 &
    hog=$!
    exec 9> "$tmp/held"
    waited=0
    until grep -q . "$tmp/hog" || [ $waited -ge 300 ] || ! kill -0 $hog 2> /dev/null; do
        sleep 0.1
        waited=$((waited + 1))
    done
    grep -q ' MiB left' "$tmp/hog" || fail "hold the memory of GPU $1" "$(cat "$tmp/hog")"
}
let_go() {
    exec 9>&-
    wait $hog
}

CUDA_DEVICE_ORDER=PCI_BUS_ID                     # the numbers of nvidia-smi
export CUDA_DEVICE_ORDER
"$build/td" --devices "$tmp/tiny" > "$tmp/list" 2> "$tmp/err"
check "td --devices" test $? -eq 0
n=$(grep -c '^device [0-9]*: .*GB free of .*compute capability .*driver .*[GM][PI][UG]-[0-9a-f-]*, [0-9A-F]*:' "$tmp/list")
sed 's/^/  /' "$tmp/list"
if [ "$n" -eq 0 ]; then
    fail "a GPU" "$(cat "$tmp/list")"
    echo "devices: $passed passed, $failed failed"
    exit 1
fi
equal "one card is chosen" "$(grep -c 'auto takes it' "$tmp/list")" 1
"$build/tdinfo" -s "$tmp/tiny" > "$tmp/info"
equal "tdinfo has a line for each" "$(grep -c ': device [0-9]*: .*all weights and the clip fit' "$tmp/info")" "$n"

td_at "$build" -D "$n"
line "device=$n is an error that lists the cards" 1 "^error: device $n, want 0..$((n - 1)) (0: "
check "and takes less than a second ($ms ms)" test "$ms" -lt 1000
td_at "$build" -D 0
line "device=0" 0 '^load: .* on cuda (.*device 0), '
want=$(md5sum < "$tmp/out")
uuid=$(sed -n 's/^device 0: .*, \([GM][PI][UG]-[0-9a-f-]*\), \([0-9A-F:.]*\).*/\1/p' "$tmp/list")
pci=$(sed -n 's/^device 0: .*, \([GM][PI][UG]-[0-9a-f-]*\), \([0-9A-F:.]*\).*/\2/p' "$tmp/list")
if command -v nvidia-smi > /dev/null; then
    check "its UUID is that of nvidia-smi" sh -c "nvidia-smi -L | grep -i '$uuid'"
    check "its PCI bus id is that of nvidia-smi" sh -c "nvidia-smi --query-gpu=pci.bus_id --format=csv,noheader | grep -i '$pci'"
fi
for name in "$uuid" "$pci" "${pci#*:}"; do
    td_at "$build" -D "$name"
    equal "device=$name" "$code $(md5sum < "$tmp/out")" "0 $want"
done

# a program without the module beside it
mkdir "$tmp/alone"
cp "$build/td" "$tmp/alone/"
td_at "$tmp/alone" -s 64x48 -n 5
line "td without the module: a warning with the file and where it was looked for" 0 \
    "^warning: the CPU makes the clip, which takes about .*: libturbodiff-cuda.so, which uses the GPU, is in none of: $tmp/alone, "
td_at "$tmp/alone" -D 0
line "and with a device an error" 1 '^error: device=0: libturbodiff-cuda.so'
if [ -x "$build/ffmpeg" ]; then
    cp "$build/ffmpeg" "$tmp/alone/"
    "$tmp/alone/ffmpeg" -hide_banner -nostdin -v warning -f lavfi -i \
        "turbodiff=model=$tmp/tiny:prompt=a cat:s=64x48:frames=5:steps=1:seed=1" -f null - 2> "$tmp/err"
    code=$?
    line "ffmpeg without the module" 0 'the CPU makes the clip, .*: libturbodiff-cuda.so, which uses the GPU, is in none of: '
    "$build/ffmpeg" -hide_banner -nostdin -v warning -f lavfi -i \
        "turbodiff=model=$tmp/tiny:prompt=a cat:s=64x48:frames=5:steps=1:seed=1:device=$n" -f null - 2> "$tmp/err"
    code=$?
    check "ffmpeg: device=$n fails" test $code -ne 0
    check "and lists the cards" grep "device $n, want 0..$((n - 1)) (0: " "$tmp/err"
fi

if [ "$n" -lt 2 ]; then
    hog 0
    td_at "$build" -s 64x48 -n 5
    line "the only card is full: the CPU, with a warning" 0 '^warning: the CPU makes the clip, which takes about .*: device 0 '
    td_at "$build" -D 0
    line "and with a device an error" 1 '^error: device=0: cuda: \(the GPU is out of memory\|.* free\)'
    let_go
    echo "skip two cards (this machine has one GPU)"
    echo "devices: $passed passed, $failed failed"
    [ $failed -eq 0 ]
    exit
fi

td_at "$build" -D 1
line "device=1" 0 '^load: .* on cuda (.*device 1), '
if [ "$(sed 's/^device [0-9]*: \([^,]*\),.*/\1/' "$tmp/list" | sort -u | wc -l)" = 1 ]; then
    equal "cards that are alike make the same clip" "$(md5sum < "$tmp/out")" "$want"
fi
CUDA_VISIBLE_DEVICES=1 "$build/td" --devices > "$tmp/one"
equal "CUDA_VISIBLE_DEVICES=1 leaves one" "$(grep -c . "$tmp/one")" 1
equal "the second one, as device 0" "$(grep -o '[GM][PI][UG]-[0-9a-f-]*' "$tmp/one")" \
    "$(sed -n 2p "$tmp/list" | grep -o '[GM][PI][UG]-[0-9a-f-]*')"
hog 0
td_at "$build"
line "card 0 is full: the clip is made on another one" 0 '^load: .* on cuda (.*device [1-9][0-9]*, since device 0 has .* free, and '
check "without a warning" sh -c "! grep 'the CPU makes' '$tmp/err'"
td_at "$build" -B cuda
line "backend=cuda, too" 0 '^load: .* on cuda (.*device [1-9]'
td_at "$build" -D 0
line "device=0 is an error" 1 '^error: device=0: cuda: \(the GPU is out of memory\|.* free\)'
let_go
if [ -x "$build/ffmpeg" ]; then
    frames="turbodiff=model=$tmp/tiny:prompt=a cat:s=64x48:frames=5:steps=1:seed=1"
    "$build/ffmpeg" -hide_banner -nostdin -v info -init_hw_device cuda=gpu:1 -filter_hw_device gpu -filter_complex \
        "$frames,format=cuda,hwdownload,format=nv12" -f null - 2> "$tmp/err"
    code=$?
    line "CUDA frames of card 1 are made there" 0 'load: .* on cuda (.*device 1), '
    "$build/ffmpeg" -hide_banner -nostdin -v error -init_hw_device cuda=gpu:1 -filter_hw_device gpu -filter_complex \
        "$frames:device=0,format=cuda,hwdownload,format=nv12" -f null - 2> "$tmp/err"
    check "device=0 beside them is refused" grep 'device 0, but the context given is of device 1' "$tmp/err"
    "$build/ffmpeg" -hide_banner -nostdin -v info -filter_complex "$frames[a];$frames:seed=2[b];[a][b]hstack" \
        -f null - 2> "$tmp/err"
    equal "two sources with the same weights are on one card" \
        "$(grep -o 'device [0-9]*' "$tmp/err" | sort -u | wc -l) $(grep -c 'shares the weights of' "$tmp/err")" "1 1"
fi
echo "devices: $passed passed, $failed failed"
[ $failed -eq 0 ]
