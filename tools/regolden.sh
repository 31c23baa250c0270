#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# After a change of numerics that is meant: writes anew what the tests know of the CPU backend's numbers, and shows old and
# new side by side: regolden.sh BUILD
#
# 1. tests/golden/apart: how far goldens' tensors are from the official code's (tests/unit/golden.h); "unfused": with kernels
#    that round a product before they add it, where that is another number. BUILD runs on a machine with AVX2.
# 2. tests/golden/ops.sums: checksums of the operators that have the same bits everywhere (tests/checkops/checkops.h). The
#    portable kernels and one thread must give the same.
# 3. Only what changed is worth reading; it belongs into the commit's message, with the reason. What the official code
#    computes (tests/golden/*.safetensors) is written by tools/dump_golden.py and tools/golden/gpu_golden.py from a
#    checkout of it, as tests/golden/manifest tells; references of checkops round where doc/numerics.md says, by hand.
set -u
LC_ALL=C
export LC_ALL
build=$1
golden=tests/golden
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

echo "# FILE TENSOR: relative distance from the official code, or dB of PSNR; written by tools/regolden.sh" > "$tmp/apart"
for test in $(grep -lE 'golden_(check|apart|psnr)\(' tests/unit/test_*.c | sed 's|.*/||; s|\.c$||'); do
    for backend in cpu base; do
        if ! TD_TEST_BACKEND=$backend TD_APART=$tmp/lines.$backend TD_BUILD=$build TD_MODELS=$build/models \
            "$build/tests/$test" > "$tmp/out"; then
            # by the rules that do not depend on what is written here, the change is wrong
            grep -v '^ok ' "$tmp/out"
            echo "regolden: $test fails: nothing is written" >&2
            exit 1
        fi
    done
done
for backend in cpu base; do
    sort -u "$tmp/lines.$backend" > "$tmp/sorted.$backend"
done
{ cat "$tmp/sorted.cpu"; comm -13 "$tmp/sorted.cpu" "$tmp/sorted.base" | sed 's/$/ unfused/'; } | sort >> "$tmp/apart"
echo "# SUM SLOT: CASE; written by tools/regolden.sh" > "$tmp/ops.sums"
"$build/checkops" --sums >> "$tmp/ops.sums" || exit 1
"$build/checkops" --impl=base --threads=1 --sums > "$tmp/base" || exit 1
if ! tail -n +2 "$tmp/ops.sums" | diff - "$tmp/base" > "$tmp/diff"; then
    sed 's/^/  /' "$tmp/diff"
    echo "regolden: other kernels or threads have other bits: nothing is written" >&2
    exit 1
fi

# compare FILE KEY: lines that changed; KEY is the awk program that splits a line into key and value
compare() {
    echo "$1:"
    : >> "$golden/$1"
    awk -v file="$1" "$2"'
        /^#/ { next }
        FILENAME == ARGV[1] { old[key()] = value(); next }
        {
            k = key()
            n++
            if (!(k in old)) { printf "  new      %-60s %16s\n", k, value(); changed++ }
            else if (old[k] != value()) { printf "  changed  %-60s %16s -> %s\n", k, old[k], value(); changed++ }
            delete old[k]
        }
        END {
            for (k in old) { printf "  gone     %-60s %16s\n", k, old[k]; changed++ }
            printf "  %d of %d lines changed\n", changed, n
        }' "$golden/$1" "$tmp/$1"
    cp "$tmp/$1" "$golden/$1"
}
compare apart 'function key() { return $1 " " $2 " " $4 } function value() { return $3 }'
compare ops.sums 'function key() { return substr($0, 18) } function value() { return $1 }'
