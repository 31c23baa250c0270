#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# What the compiled CUDA kernels ask of a card, on a machine without one: kernels.sh BUILD
#
# 1. Read are what ptxas said of each kernel (BUILD/cuda/*.use, kept by the Makefile) and the module's own lists of dynamic
#    shared memory. A kernel that is not for Hopper alone has to run on every card: static and dynamic shared memory
#    together are at most 101,376 bytes, which 8.6, 8.9 and 12.x have for a block, and no register is spilled, but for
#    what tests/kernels.spills lists. A number there may shrink, and has to where less is spilled.
# 2. Spills are ptxas's doing: they are judged where nvcc is the one that the list was made with, for its architectures.
# 3. The last cases change what was read, and want the rule that is broken then to be told.
set -u
LC_ALL=C
export LC_ALL
build=$1
. "$(dirname "$0")/fate/cases.sh"
list=$(dirname "$0")/kernels.spills
wanted=$(sed -n 's/^# nvcc //p' "$list")
nvcc=$(sed -n 's/^NVCC *:= *//p' config.mak)
release=$($nvcc --version 2> /dev/null | sed -n 's/.*release \([0-9.]*\),.*/\1/p')

# address, bytes, hopper -> name, bytes, hopper: a kernel's function on the host has the name that ptxas uses
"$build/tests/test_device" --kernels "$build/libturbodiff-cuda.so" | sort > "$tmp/lists"
nm "$build/libturbodiff-cuda.so" | awk 'NF == 3 { print $1, $3 }' | sort | join - "$tmp/lists" | cut -d ' ' -f 2- > "$tmp/dynamic"
# a line for each kernel and architecture: "ARCH NAME STATIC SPILLED"; SPILLED counts bytes stored and loaded
cat "$build"/cuda/*.use | tr -d "'," | awk '
    function tell() { if (name != "") print arch, name, bytes, spilled }
    / Compiling entry function / { tell(); name = $7; arch = $9; bytes = spilled = 0 }
    / bytes spill stores/ { spilled += $5 + $9 }
    / bytes smem/ { for (i = 2; i < NF; i++) if ($i == "bytes" && $(i + 1) ~ /^smem/) bytes = $(i - 1) }
    END { tell() }' | sort > "$tmp/use"
grep '^sm_' "$list" > "$tmp/spills"
judged=
[ "$release" != "$wanted" ] || judged=$(sed -n 's/^# \(sm_.*\)/\1/p' "$list")

# judge USE: a line for each rule that is broken
judge() {
    awk -v judged=" $judged " '
        { with_spills = index(judged, " " $1 " ") }
        FILENAME == ARGV[1] { dynamic[$1] = $2; hopper[$1] = $3; next }
        FILENAME == ARGV[2] { limit[$1 " " $3] = $2; next }
        hopper[$2] {
            if ($3 + dynamic[$2] > 232448) print $1, $2, "wants", $3 + dynamic[$2], "bytes of shared memory, Hopper has 232448"
            next
        }
        { if ($3 + dynamic[$2] > 101376) print $1, $2, "wants", $3 + dynamic[$2], "bytes of shared memory, a card may have 101376" }
        with_spills && $4 > limit[$1 " " $2] + 0 { print $1, $2, "spills", $4, "bytes, at most", limit[$1 " " $2] + 0 }
        with_spills && $4 < limit[$1 " " $2] + 0 { print $1, $2, "spills", $4, "bytes, less than tests/kernels.spills has:", limit[$1 " " $2] + 0 }
    ' "$tmp/dynamic" "$tmp/spills" "$1" > "$tmp/broken"
    cat "$tmp/broken"
}

n_lists=$(wc -l < "$tmp/lists")
equal "each kernel of the lists has a name" "$(cut -d ' ' -f 1 "$tmp/lists" | sort -u | wc -l) $(awk '{ print $2, $3 }' "$tmp/dynamic" | wc -l)" \
    "$n_lists $n_lists"
for arch in $(sed -n 's/^CUDA_GENCODE *:= *//p' config.mak | grep -o 'code=sm_[0-9a-z]*' | cut -d = -f 2); do
    n=$(grep -c "^$arch " "$tmp/use")
    missing=$(cut -d ' ' -f 1 "$tmp/dynamic" | while read -r name; do grep -q "^$arch $name " "$tmp/use" || echo "$name"; done)
    equal "$arch: ptxas told of all kernels of the lists" "$([ "$n" -ge "$n_lists" ] && echo more) $missing" "more "
done
empty "shared memory and spills" "$(judge "$tmp/use" | c++filt)"
[ "$release" = "$wanted" ] || echo "  spills are not judged: nvcc is $release, tests/kernels.spills was made with $wanted"

# ---- what is read decides ----

kernel=$(awk '$3 == 0 && $2 > 0 { print $1; exit }' "$tmp/dynamic")
dynamic=$(awk -v k="$kernel" '$1 == k { print $2 }' "$tmp/dynamic")
for at in 1 0; do
    awk -v k="$kernel" -v value="$((101376 + at - dynamic))" '$2 == k { $3 = value } 1' "$tmp/use" > "$tmp/changed"
    judge "$tmp/changed" > "$tmp/told"
    if [ $at = 1 ]; then
        check "a byte of shared memory too many is seen" grep " $kernel wants 101377 bytes" "$tmp/told"
    else
        empty "and none too many is not" "$(cat "$tmp/told")"
    fi
done
if [ "$release" = "$wanted" ]; then
    awk -v k="$kernel" '$2 == k { $4 += 4 } 1' "$tmp/use" > "$tmp/changed"
    judge "$tmp/changed" > "$tmp/told"
    check "a spill is seen" grep " $kernel spills" "$tmp/told"
    awk '{ $4 = 0 } 1' "$tmp/use" > "$tmp/changed"
    judge "$tmp/changed" > "$tmp/told"
    equal "and one of the list that is gone" "$(grep -c 'less than' "$tmp/told")" \
        "$(awk '{ print $1 }' "$tmp/use" | sort -u | while read -r arch; do grep "^$arch " "$tmp/spills"; done | wc -l)"
fi

echo "kernels: $passed passed, $failed failed"
[ $failed -eq 0 ]
