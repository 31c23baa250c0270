#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Each fuzzer for some time: run.sh BUILD SECONDS SEED JOBS FUZZER...
# 1. JOBS of them at a time. Seeds are in tests/fuzz/seeds/NAME, dictionaries in tests/fuzz/NAME.dict.
# 2. What is found goes to BUILD, what reaches new code to BUILD/corpus_NAME.
# 3. The last line has the counts; of one that fails the end of its log is shown.
set -u
LC_ALL=C
export LC_ALL
if [ "$1" = --one ]; then
    build=$2
    seconds=$3
    seed=$4
    fuzzer=$5
    name=${fuzzer##*/fuzz_}
    dictionary=tests/fuzz/$name.dict
    [ -f "$dictionary" ] || dictionary=
    mkdir -p "$build/corpus_$name"
    if "$fuzzer" -max_total_time="$seconds" -rss_limit_mb=4096 -timeout=20 -artifact_prefix="$build/" -verbosity=0 \
        -print_final_stats=1 -seed="$seed" ${dictionary:+-dict="$dictionary"} "$build/corpus_$name" "tests/fuzz/seeds/$name" \
        > "$fuzzer.log" 2>&1; then
        echo "ok fuzz $name, $seconds s:$(sed -n 's/^stat::number_of_executed_units: *\([0-9]*\)/ \1 inputs/p' "$fuzzer.log")"
    else
        tail -n 60 "$fuzzer.log"
        echo "FAIL fuzz $name"
    fi
    exit 0
fi
log=$1/fuzz.log
build=$1
seconds=$2
seed=$3
jobs=$4
shift 4
printf '%s\n' "$@" | xargs -P "$jobs" -I '{}' "$0" --one "$build" "$seconds" "$seed" '{}' | tee "$log"
passed=$(grep -c '^ok ' "$log")
echo "fuzz: $passed passed, $(($# - passed)) failed"
[ "$passed" -eq $# ]
