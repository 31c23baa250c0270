#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Runs make targets that are test suites and closes with the sum of their counts: check.sh BUILD TARGET...
# A suite ends with a line "NAME: N passed, N failed".
set -u
log=$1/check.log
shift
: > "$log"
for target; do
    ${MAKE:-make} --no-print-directory "$target" > "$log.part" 2>&1
    code=$?
    cat "$log.part"
    if [ $code -ne 0 ] && ! grep -q '^[a-z0-9.-]*: [0-9]* passed, [1-9][0-9]* failed$' "$log.part"; then
        echo "$target: 0 passed, 1 failed" | tee -a "$log.part"
    fi
    grep '^[a-z0-9.-]*: [0-9]* passed, [0-9]* failed$' "$log.part" >> "$log"
    rm -f "$log.part"
done
awk '{ p += $2; f += $4 } END { printf "%d passed, %d failed\n", p, f; exit f > 0 || p == 0 }' "$log"
