#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# No circle among the library's objects, and none among the folders of engine/: rooms.sh BUILD
set -u
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
nm -A "$1"/engine/*/*.o | sed 's|^.*/engine/||' | awk '
    { split($1, at, ":"); symbol = $NF }
    NF == 3 && $2 ~ /^[A-TV-Z]$/ { home[symbol] = at[1] }
    / U / { uses[at[1] " " symbol] = 1 }
    END {
        for (u in uses) {
            split(u, p, " ")
            if (p[2] in home && home[p[2]] != p[1])
                print p[1], home[p[2]]
        }
    }' | sort -u > "$tmp/objects"
sed 's|/[^ ]*||g' "$tmp/objects" | awk '$1 != $2' | sort -u > "$tmp/rooms"
failed=0
for level in objects rooms; do
    if [ "$(wc -l < "$tmp/$level")" -lt 10 ]; then
        echo "FAIL rooms: too few references between $level"
    elif tsort "$tmp/$level" > /dev/null 2> "$tmp/loop"; then
        echo "ok rooms: no circle of $level"
        continue
    else
        echo "FAIL rooms: a circle of $level: $(grep -v loop "$tmp/loop" | sed 's/^tsort: //' | tr '\n' ' ')"
    fi
    failed=1
done
exit $failed
