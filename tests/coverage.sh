#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Lines that the tests ran, of a build with --coverage: a table of directories, and the files under 90 %. coverage.sh BUILD
set -u
LC_ALL=C
export LC_ALL
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
find "$1" -name '*.gcda' ! -path '*/src/*' > "$tmp/data"
find "$1"/small-*/src/libavfilter -name '*turbodiff*.gcda' >> "$tmp/data" 2> /dev/null
# "File 'PATH'" and "Lines executed:P% of N"; each source is compiled once, headers count where they were run most
while read -r data; do
    gcov -n "$data" 2> /dev/null
done < "$tmp/data" | awk -v top="$PWD/" '
    /^File / { file = substr($0, 7, length($0) - 7); sub(top, "", file); sub(/^.*\/src\/libavfilter/, "libavfilter", file) }
    /^Lines executed/ && file ~ /^(engine|tools)\/|turbodiff.*\.[ch]$/ {
        split($0, part, /[:% ]+/)
        ran = part[3] * part[5] / 100
        if (!(file in lines) || ran / part[5] > hit[file] / lines[file]) { lines[file] = part[5]; hit[file] = ran }
        file = ""
    }
    END {
        for (f in lines) {
            d = f; sub(/\/[^\/]*$/, "", d)
            n[d] += lines[f]; ran_in[d] += hit[f]
            if (hit[f] < 0.9 * lines[f])
                printf "2 %5.1f %% of %5d  %s\n", 100 * hit[f] / lines[f], lines[f], f
        }
        for (d in n)
            printf "1 %5.1f %% of %5d  %s/\n", 100 * ran_in[d] / n[d], n[d], d
    }' > "$tmp/table"
for room in engine/ libavfilter/ tools/; do
    grep -q "^1 .* $room" "$tmp/table" || { echo "coverage: nothing of $room was run" >&2; exit 1; }
done
echo "lines that the tests run"
grep '^1' "$tmp/table" | sort -k 6 | cut -c 3-
echo "files under 90 %"
grep '^2' "$tmp/table" | sort | cut -c 3-
