#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Which GPU the filters take, and what they say of it: devices.sh DIR BUILD MODEL I2V
#
# 1. DIR has ffmpeg, BUILD the module that claims GPUs (tests/cards/module.c): they compute with the CPU's kernels, so
#    clips are the CPU's to the bit.
# 2. Output as that of run.sh.
set -u
LC_ALL=C
export LC_ALL
dir=$1
build=$(realpath "$2")
model=$3
i2v=$4
case $dir in
*/small-*) suite=fate-devices-${dir##*/small-} ;;
*)         suite=fate-devices ;;
esac
. "$(dirname "$0")/cases.sh"
. "$(dirname "$0")/../cards/place.sh"
place "$build" "$dir/ffmpeg"
ffmpeg=$here/ffmpeg

clip="turbodiff=model=$model:prompt=a cat:s=64x48:frames=5:steps=1:seed=1"
# made_by OPTIONS: the checksum of the clip with these, and the GPUs that were opened; lines of level info in $tmp/lines
made_by() {
    rm -f "$tmp/opened"
    "$ffmpeg" -hide_banner -nostdin -y -v info -f lavfi -i "$clip$1" -f hash -hash md5 - > "$tmp/sum" 2> "$tmp/lines"
    echo "$? $(cat "$tmp/sum") $(opened)"
}
# said NAME N PATTERN: so many lines have PATTERN, of a filter that has said what it loaded
said() {
    grep -q 'load: ' "$tmp/lines" || { fail "$1" "$(cat "$tmp/lines")"; return; }
    equal "$1" "$(grep -c "$3" "$tmp/lines")" "$2"
}
# bad NAME PATTERN OPTIONS: refused, and no GPU is opened
bad() {
    rm -f "$tmp/opened"
    run -f lavfi -i "$clip$3" -f null -
    code=$?
    [ "$(opened)" = . ] || { fail "$1" "opened: $(opened)"; return; }
    refused "$1" "$2" 'Failed to configure output\|Error opening input\|^Error \|Error setting option' $code
}

claim h100:1000:900 h100:1000:900
want=$(made_by ":backend=cpu")
case $want in
"0 MD5="*" .") ok "the CPU's clip" ;;
*)             fail "the CPU's clip" "$want" "$(cat "$tmp/lines")" ;;
esac
want=$(expr "$want" : '0 \(MD5=[0-9a-f]*\) \.$')
want=${want:-none}

# ---- a named device is an order ----

bad "a device that is not there" 'device 2, want 0..1 (0: Claimed h100, GPU-' ":device=2"
bad "a device with the CPU" 'device: 1 with backend cpu, want auto or cuda' ":device=1:backend=cpu"
bad "two devices" "device: '0+1', but a clip is made on one card" ":device=0+1"
equal "by number" "$(made_by ":device=1")" "0 $want 1 ."
said "the load line has the number" 1 'load: .* on cuda (Claimed h100, sm_90, device 1), '
equal "by UUID" "$(made_by ":device=MIG-00000000-1111-2222-3333-000000000001")" "0 $want 1 ."
equal "by PCI bus id" "$(made_by ":device='00000000\:3C\:00.0'")" "0 $want 1 ."
take_module
bad "a device without the module" 'device=0: libturbodiff-cuda.so, which uses the GPU, is in none of: ' ":device=0"
bad "backend=cuda without the module" 'backend=cuda: libturbodiff-cuda.so, which uses the GPU, is in none of: ' ":backend=cuda"
put_module

# ---- auto chooses ----

equal "the first of two alike" "$(made_by "")" "0 $want 0 ."
equal "device=auto" "$(made_by ":device=auto")" "0 $want 0 ."
equal "device=-1 is auto, as it was" "$(made_by ":device=-1")" "0 $want 0 ."
claim h100:1000:1 h100:1000:900
equal "the first is full" "$(made_by "")" "0 $want 1 ."
said "the load line says why not the first" 1 'load: .*, device 1, since device 0 has .* MB free, and .* MB are wanted), '
said "and it is no warning" 0 'the CPU makes'
claim h100:1000:40 h100:1000:900
made_by ":s=256x256:frames=17" > "$tmp/out"
equal "it is chosen for the filter's clip" "$(cut -d ' ' -f 3- "$tmp/out")" "1 ."
ffmpeg_two() {
    rm -f "$tmp/opened"
    "$ffmpeg" -hide_banner -nostdin -y -v info -filter_complex "$clip$1[a];$clip:seed=2$2[b];[a][b]hstack" \
        -f hash -hash md5 - > "$tmp/sum" 2> "$tmp/lines"
    echo "$? $(opened)"
}
claim h100:1000:700 h100:1000:720
equal "two sources with the same weights share a card" "$(ffmpeg_two "" "")" "0 1 1 ."
said "and load them once" 1 'load: .*shares the weights of '
claim h100:1000:100 h100:1000:110
equal "also where the other one has more free by now" "$(ffmpeg_two "" "")" "0 1 1 ."
said "and the load line says so" 1 'device 1, which has the weights already), '
equal "unless device says otherwise" "$(ffmpeg_two ":device=0" ":device=1")" "0 0 1 ."
# two sources whose devices sleep for four seconds: a try more, as the machine may have other work
claim h100:1000:900:sleep2000 h100:1000:900:sleep2000
# took GRAPH: milliseconds
took() {
    took_start=$(date +%s%N)
    made -filter_complex "$1" -f null - > "$tmp/out"
    echo $((($(date +%s%N) - took_start) / 1000000))
}
two_clip="turbodiff=model=$model:prompt=a cat:s=64x48:frames=5:steps=2:seed=1"
for try in 1 2; do
    one=$(took "$two_clip:device=0")
    both=$(took "$two_clip:device=0[a];$two_clip:device=1[b];[a][b]hstack")
    [ $((100 * both)) -gt $((115 * one)) ] || break
done
equal "two sources on two devices work at the same time" "$((one >= 4000)) $((100 * both <= 115 * one))" "1 1"
echo "  $one ms for one, $both ms for two"
# turbodiff_i2v: of a source in the graph, of one input for both, of an input each
i2v_clip="turbodiff_i2v=model=$i2v:prompt=a cat:s=64x48:frames=5:steps=2:topk=1"
still="testsrc2=s=64x48:d=1:r=1"
a="$i2v_clip:seed=1:device=0[a]"
b="$i2v_clip:seed=2:device=1[b];[a][b]hstack"
for shape in "sources:$still,$a;$still,$b" "one input:[0:v]split[x][y];[x]$a;[y]$b" "an input each:[0:v]$a;[1:v]$b"; do
    graph=${shape#*:}
    for try in 1 2; do
        one=$(took "$still,$i2v_clip:seed=1:device=0")
        both_start=$(date +%s%N)
        both_sum=$(sum -f lavfi -i "$still" -f lavfi -i "$still" -filter_complex "$graph")
        both=$((($(date +%s%N) - both_start) / 1000000))
        [ $((100 * both)) -gt $((115 * one)) ] || break
    done
    equal "two filters on two devices work at the same time: ${shape%%:*}" "$((one >= 4000)) $((100 * both <= 115 * one))" "1 1"
    echo "  $one ms for one, $both ms for two"
    equal "and their frames are the CPU's" "$both_sum" "$(sum -f lavfi -i "$still" -f lavfi -i "$still" -filter_complex \
        "$(echo "$graph" | sed 's/device=[01]/backend=cpu/g')")"
done
# live=1: a clip of four seconds' work, of an input that is over or of a source, beside an input of four seconds: that one is
# read, and made clips of, meanwhile
live="turbodiff_i2v=$(echo "$i2v_clip" | sed 's/[^=]*=//'):live=1:seed"
for shape in "a picture:[0:v]$live=1:device=0[a]" "a source:$two_clip:pace=live:device=0[a]"; do
    for try in 1 2; do
        start=$(date +%s%N)
        made -f lavfi -i "$still:d=0.5" -re -f lavfi -i "testsrc2=s=64x48:r=25:d=4" -filter_complex \
            "${shape#*:};[1:v]$live=2:device=1:steps=1:frames=9[b]" -map '[a]' -map '[b]' -f framecrc - > "$tmp/crc"
        ms=$((($(date +%s%N) - start) / 1000000))
        [ $ms -gt 6000 ] || break
    done
    equal "live: ${shape%%:*} keeps no input of another filter waiting" "$((ms <= 6000)) $(grep -c '^0,' "$tmp/crc") $(grep '^1,' "$tmp/crc" |
        cut -d , -f 3 | awk 'NR > 1 { bad += $1 != n + 1 } { n = $1 } END { print bad + 0, n, (NR > 9) }')" "1 5 0 63 1"
    echo "  $ms ms"
done
# a fault where adaptive has set the size, and the model's own is another one
cp -r "$i2v" "$tmp/wide"
printf 'width = 64\nheight = 32\nframes = 5\ntopk = 1\n' > "$tmp/wide/turbodiff.conf"
{ printf 'P6\n60 60\n255\n'; head -c 10800 /dev/zero; } > "$tmp/square.ppm"
printf '%s\n' 'a cat' 'a dog' 'a bird' > "$tmp/p"
claim h100:1000:900:die2
run -v info -f lavfi -i "turbodiff=model=$tmp/wide:image=$tmp/square.ppm:adaptive=1:steps=1:programme=$tmp/p:on_error=restart,showinfo" -f null -
equal "on_error=restart: the size that adaptive has set stays" "$(sed -n 's/.*showinfo.* s:\([0-9x]*\) .*/\1/p' "$tmp/err" | uniq -c | tr -s ' ')" " 10 48x48"
claim h100:1000:900
if "$ffmpeg" -hide_banner -v error -filters | grep -q ' hwdownload '; then
    # mixed OPTIONS FILTERS: clips that share frames
    mixed() {
        frames -init_hw_device cuda=gpu:0 -filter_hw_device gpu -filter_complex "$still,$i2v_clip:seed=1:clips=3:overlap=3:$1,$2"
    }
    equal "turbodiff_i2v, overlap=3 in CUDA frames" "$(mixed backend=cuda hwdownload,format=nv12)" "$(mixed backend=cpu format=nv12)"
fi
for options in clips=3 clips=3:overlap=3 clips=2:overlap=0 every=3 mode=extend mode=extend:clips=2:overlap=2; do
    equal "turbodiff_i2v, $options: frames are the CPU's" "$(frames -f lavfi -i "testsrc2=s=64x48:d=1:r=8" -vf "$i2v_clip:seed=1:$options")" \
        "$(frames -f lavfi -i "testsrc2=s=64x48:d=1:r=8" -vf "$i2v_clip:seed=1:$options:backend=cpu")"
done
# live: what a channel does after a fault, or a clip that takes too long
# aired OPTIONS: status, the first clips that were on air, the devices that were opened
aired() {
    rm -f "$tmp/opened" "$tmp/aired"
    timeout 60 "$ffmpeg" -hide_banner -nostdin -y -v error -re -f lavfi -i "testsrc2=s=64x48:d=${2:-7}:r=25" -vf \
        "turbodiff_i2v=model=$i2v:prompt=a cat:s=64x48:frames=5:steps=1:topk=1:seed=1:live=1:$1,metadata=print:key=lavfi.turbodiff.clip:file=$tmp/aired" \
        -f null - 2> "$tmp/err"
    echo "$(($? != 0)) $(sed -n 's/.*clip=//p' "$tmp/aired" | uniq | head -n 2 | tr '\n' ' ')$(opened)"
}
claim h100:1000:900:die2 h100:1000:900
equal "live: a device fault ends it" "$(aired device=0)" "1 0 0 ."
claim h100:1000:900:die2 h100:1000:900
equal "live: on_error=restart" "$(aired device=0:on_error=restart)" "0 0 2 0 0 ."
claim h100:1000:900:stick2 h100:1000:900
equal "live: fallback" "$(aired device=0:on_error=restart:fallback=1:metrics="$tmp/m")" "0 0 2 0 1 ."
equal "live: metrics" "$(grep -c '^turbodiff_restarts_total{.*} 1$' "$tmp/m")" 1
claim h100:1000:900:lag2
equal "live: timeout" "$(aired timeout=3:on_error=skip 14)" "0 0 2 0 ."
claim h100:1000:1 h100:1000:900
rm -f "$tmp/opened"
run -f lavfi -i "testsrc2=s=64x48:d=1:r=1" -vf "turbodiff_i2v=model=$i2v:prompt=a cat:s=64x48:frames=5:steps=1:seed=1" -f null -
equal "turbodiff_i2v" "$? $(opened)" "0 1 ."

# ---- the CPU only with its reason ----

# on_cpu NAME PATTERN: one warning, before the first stage
on_cpu() {
    cpu_got=$(made_by "")
    cpu_warned=$(sed '/ text: /q' "$tmp/lines" | grep -c "the CPU makes the clip, which takes about [0-9]* s: $2")
    equal "$1" "$cpu_got $cpu_warned" "0 $want $3 1"
    run -v warning -f lavfi -i "$clip" -f null -
    grep -q 'the CPU makes the clip' "$tmp/err" && ok "$1: at level warning" || fail "$1: at level warning" "$(cat "$tmp/err")"
}
claim h100:1000:1 h100:1000:2
on_cpu "no memory on any card" 'device 0 has .* MB free, .*; device 1 has .* MB free, .*; end what else uses it' .
claim h100:1000:900:full
on_cpu "no memory for a context" 'device 0 cannot be used (no memory for a context' "0 ."
claim h100:1000:900:nocode
on_cpu "no code for the card" 'device 0 cannot be used (this build has no code' "0 ."
claim olddriver
on_cpu "a driver that is too old" 'the driver supports CUDA 11.4, this build wants 13.0; install a newer driver' .
claim h100:1000:900
take_module
on_cpu "no module beside ffmpeg" "libturbodiff-cuda.so, which uses the GPU, is in none of: $here, " .
said "no line has the name of an error, or of a source file" 0 'cudaError\|[a-z]\.cu\?:[0-9]'
put_module
if ! PATH=$PATH:/sbin:/usr/sbin ldconfig -p | grep -q 'libcuda\.so\.1'; then
    unset LD_LIBRARY_PATH
    equal "no driver" "$(made_by "")" "0 $want ."
    said "one line of information" 1 'there is no NVIDIA driver (libcuda.so.1) on this machine: the CPU makes the clip'
    run -v warning -f lavfi -i "$clip" -f hash -hash md5 "$tmp/sum"
    equal "and no warning" "$? $(cat "$tmp/sum") $(grep -c 'GPU\|CPU\|driver' "$tmp/err")" "0 $want 0"
fi

echo "$suite: $passed passed, $failed failed"
[ $failed -eq 0 ]
