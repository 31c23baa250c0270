#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The sanitizers of the CUDA Toolkit over more than check.sh has time for: sanitize.sh BUILD, from the repository's top
#
# 1. racecheck over every operation, Hopper's kernels and the portable ones (on a GPU with compute capability 8.9 or
#    later); memcheck, initcheck and synccheck over whole clips, of the demo model and of a small model from a picture.
# 2. BUILD holds td, tdsynth, libturbodiff-cuda.so and what make racecheck makes. About five minutes on an H100.
# 3. Each case prints "ok NAME", or what was found and "FAIL NAME"; the last line has the counts.
set -u
LC_ALL=C
build=$(realpath "$1")
LD_LIBRARY_PATH=$build${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LC_ALL LD_LIBRARY_PATH
. "$(dirname "$0")/../fate/cases.sh"

# sanitize NAME TOOL PROGRAM...
sanitize() {
    name=$1
    tool=$2
    shift 2
    if compute-sanitizer --tool "$tool" --error-exitcode 9 "$@" > "$tmp/log" 2>&1 &&
        grep -q 'SUMMARY: 0 \(errors\|hazards\)' "$tmp/log"; then
        ok "$name: $tool"
    else
        fail "$name: $tool" "$(grep '=========\|^FAIL\|^error' "$tmp/log" | head -n 20)"
    fi
}

[ -x "$build/racecheck/checkops" ] || { echo "sanitize.sh: no $build/racecheck/checkops; make racecheck" >&2; exit 1; }
command -v compute-sanitizer > /dev/null || { echo "sanitize.sh: no compute-sanitizer here" >&2; exit 1; }
"$build/tdsynth" --seed=1 --spiece=tests/data/spiece.model --preset=tiny --in-dim=36 "$tmp/i2v" || exit 1
for impl in cuda rtx4090; do
    sanitize "operations, $impl" racecheck "$build/racecheck/checkops" --impl=$impl --fills=1
done
for tool in memcheck initcheck synccheck; do
    sanitize "demo clip" $tool "$build/td" -B cuda -i 2 -r 1 tools/demo-model/model "a red circle moves up on white" /dev/null
    sanitize "clip from a picture" $tool "$build/td" -B cuda -s 64x48 -n 9 -i 2 -r 1 -I tests/fuzz/seeds/jpeg/plain \
        "$tmp/i2v" "a cat" /dev/null
done
echo "sanitize: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
