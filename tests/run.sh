#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Runs test programs, shows what failed and closes with counts: run.sh SUITE PROGRAM... ("PROGRAM OPTION" for options)
# A program prints a line "ok NAME" or "FAIL NAME" per case and exits 0 or 1.
set -u
suite=$1
shift
out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT
passed=0
failed=0
for program; do
    name=${program##*/}
    $program > "$out" 2>&1
    code=$?
    ok=$(grep -c '^ok ' "$out")
    bad=$(grep -c '^FAIL ' "$out")
    if [ "$code" -ne 0 ] && [ "$bad" -eq 0 ]; then
        echo "FAIL $name: exit status $code" >> "$out"
        bad=1
    elif [ "$code" -eq 0 ] && [ "$ok" -eq 0 ]; then
        echo "FAIL $name: ran no case" >> "$out"
        bad=1
    fi
    if [ "$bad" -ne 0 ]; then
        grep -v '^ok ' "$out"
    fi
    echo "$suite: $name: $ok passed, $bad failed"
    passed=$((passed + ok))
    failed=$((failed + bad))
done
echo "$suite: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
