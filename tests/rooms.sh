#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The rooms of engine/, from the repository's top: rooms.sh BUILD
#
# 1. No circle among the library's objects.
# 2. The table of rooms in doc/design.md is their order: an object needs its own room and those below it, and so do the
#    headers that it includes; make style wants these as "room/file.h". api/turbodiff.h is for all, as its types are.
# 3. A backend is behind the seam: of cpu/ nothing is called from outside but what opens it.
set -u
LC_ALL=C
export LC_ALL
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
# rule NAME: standard input has the offences
rule() {
    if grep . > "$tmp/seen"; then
        head -n 10 "$tmp/seen" | sed 's/^/  /'
        echo "FAIL rooms: $1"
    else
        echo "ok rooms: $1"
    fi | tee -a "$tmp/results"
}
nm -A "$1"/engine/*/*.o | sed 's|^.*/engine/||' | awk '
    { split($1, at, ":"); symbol = $NF }
    NF == 3 && $2 ~ /^[A-TV-Z]$/ { home[symbol] = at[1] }
    / U / { uses[at[1] " " symbol] = 1 }
    END {
        for (u in uses) {
            split(u, p, " ")
            if (p[2] in home && home[p[2]] != p[1])
                print p[1], home[p[2]], p[2]
        }
    }' | sort > "$tmp/calls"
cut -d ' ' -f 1,2 "$tmp/calls" | sort -u > "$tmp/objects"
grep -o '^#include "[a-z_0-9]*/[a-z_0-9]*\.[ch]"' engine/*/*.[ch] | sed 's|^engine/||; s|:#include "| |; s|"$||' |
    grep -v ' api/turbodiff\.h$' > "$tmp/includes"
sed -n '/^## Rooms of engine/,/^## /s/^| \([a-z]*\)\/ |.*/\1/p' doc/design.md > "$tmp/order"
for list in objects includes order; do
    [ "$(wc -l < "$tmp/$list")" -ge 10 ] || echo "too few $list"
done | rule "there is something to check"
tsort "$tmp/objects" 2>&1 > "$tmp/sorted" | sed 's/^tsort: //' | rule "no circle of objects"
(cd engine && for room in *; do
    [ ! -d "$room" ] || grep -qx "$room" "$tmp/order" || echo "$room/ is not in the table"
done) | rule "doc/design.md has all rooms"
awk 'FILENAME == ARGV[1] { level[$1] = NR; next }
    { split($1, from, "/"); split($2, to, "/"); if (level[from[1]] > level[to[1]]) print $1 " needs " $2 (NF > 2 ? ": " $3 "()" : "") }' \
    "$tmp/order" "$tmp/calls" "$tmp/includes" | rule "none needs a room above it"
grep -v '^cpu/' "$tmp/calls" | grep ' cpu/' | grep -v ' td_cpu_open$' | sed 's/\([^ ]*\) \([^ ]*\) \(.*\)/\1 needs \2: \3()/' |
    rule "no way around the seam"
! grep -q '^FAIL' "$tmp/results"
