#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Runs make targets that are test suites and closes with the sum of their counts: check.sh BUILD TARGET...
# 1. A suite ends with a line "NAME: N passed, N failed". What it says is shown when it is done.
# 2. CHECK_JOBS suites run at a time (1): what they need must be there before. `make check` sees to that.
set -u
if [ "$1" = --one ]; then
    log=$2.$3
    ${MAKE:-make} --no-print-directory "$3" > "$log" 2>&1
    code=$?
    counts='^[a-z0-9.-]*: [0-9]* passed, [0-9]* failed$'
    if [ $code -ne 0 ] && ! grep "$counts" "$log" | grep -qv ', 0 failed$'; then
        echo "$3: 0 passed, 1 failed" >> "$log"
    fi
    grep "$counts" "$log" >> "$2"                # a line is one write
    cat "$log"
    rm -f "$log"
    exit 0
fi
log=$1/check.log
shift
: > "$log"
printf '%s\n' "$@" | xargs -P "${CHECK_JOBS:-1}" -I '{}' "$0" --one "$log" '{}'
awk '{ p += $2; f += $4 } END { printf "%d passed, %d failed\n", p, f; exit f > 0 || p == 0 }' "$log"
