#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Checks the style of all sources, those that git does not know yet too, and closes with counts: style.sh
set -u
LC_ALL=C
export LC_ALL
cd "$(dirname "$0")/.." || exit 1
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

# rule NAME: standard input has the offences
rule() {
    cat > "$tmp/seen"
    if [ -s "$tmp/seen" ]; then
        head -n 20 "$tmp/seen" | cut -c 1-200 | sed 's/^/  /'
        echo "  ($(wc -l < "$tmp/seen") in all)"
        echo "FAIL $1"
    else
        echo "ok $1"
    fi | tee -a "$tmp/results"
}

# those of these forms that are there
files() {
    git ls-files --cached --others --exclude-standard -- "$@" | while read -r f; do [ ! -f "$f" ] || echo "$f"; done
}
ours=$(files '*.c' '*.h' '*.cu' '*.cuh')
engine=$(echo "$ours" | grep '^engine/\|^cuda/')
scripts=$(files '*.sh' configure .ci/run .ci/full .ci/common)
texts="$ours $scripts $(files '*.md' '*.texi' '*.py' Makefile)"

# lists of files
# shellcheck disable=SC2086
{
grep -nP '\t' $ours $scripts < /dev/null | rule "no tabs"
grep -nP '[ \t]+$' $texts < /dev/null | rule "no space at line ends"
grep -nP '\r' $texts < /dev/null | rule "no carriage returns"
# continuation bytes of UTF-8 take no column
for f in $(echo "$ours" | grep -v '^libavfilter/\|entities\|_table'); do
    awk -v f="$f" '{ gsub(/[\200-\277]/, ""); if (length($0) > 120) print f ":" NR ": " length($0) " columns" }' "$f"
done | rule "at most 120 columns"
for f in $ours; do
    n=$(wc -l < "$f")
    case $f in *entities*|*_table*) continue ;; esac
    [ "$n" -le 800 ] || echo "$f: $n lines"
done | rule "at most 800 lines a file"
for f in $ours $scripts $(files '*.py'); do
    case $f in libavfilter/*) want='GNU Lesser General Public' ;; *) want='SPDX-License-Identifier: BSD-2-Clause' ;; esac
    head -n 20 "$f" | grep -q "$want" || echo "$f: no '$want'"
done | rule "licence in each file"
grep -nE '\b(printf|fprintf|puts|fopen|exit|abort|assert|getenv|system|popen|rand|strtok|gets|sprintf|strcat)\(' $engine < /dev/null |
    grep -v 'static_assert(' | rule "no stdio, exit, environment or unsafe string functions in the library"
grep -nE '^typedef .*\b[a-z0-9_]+_t;' $ours < /dev/null | rule "no type names in _t"
grep -nE '^(static )?(int|char|float|double|void|size_t|uint[0-9]+_t|unsigned)[ *]+[a-z_]+( = [^(]*)?;$' $engine < /dev/null |
    rule "no mutable globals in the library"
grep -l __global__ cuda/*.cu | grep -v '^cuda/kernels.cu' | while read -r f; do
    name="F($(basename "$f" .cu))"
    grep -qF "$name" cuda/device.h || echo "$f: no $name in cuda/device.h"
done | rule "kernels are loaded when a device is opened"
# tests/rooms.sh reads the first form alone; out of engine/ a file has those beside it as "file.h", and what is installed
# is <turbodiff.h>
own=$(echo "$ours" | grep '^\(engine\|cuda\|tools\|libavfilter\)/')
{
    grep -nE '(#|%:|\?\?=)[[:space:]]*(include|import)' $own < /dev/null |
        grep -vE '^[^:]*:[0-9]*:#include ("([a-z0-9_]+/)?[a-z0-9_]+\.(c|h|cuh)"|<[a-z0-9_/]+\.h>)'
    grep -nE '^#include "[^/]*"' $own < /dev/null | grep '^engine/'
    grep -noE '^#include <[^>]*' $own < /dev/null | while IFS='<' read -r at name; do
        for room in . engine cuda tools libavfilter; do
            [ ! -e "$room/$name" ] || echo "$at<$name>"
        done
    done
} | rule "own headers are included as \"room/file.h\""
grep -nE '\b(TODO|FIXME|XXX|HACK)\b' $texts < /dev/null | grep -v '^tools/style.sh' | rule "no unfinished business"
grep -nE '\b(if|for|while|switch)\(' $ours < /dev/null | rule "a space after if, for, while, switch"
grep -nE '\)\{$' $ours < /dev/null | rule "a space before braces"
for f in $scripts; do
    sh -n "$f" 2>&1 || echo "$f"
done | rule "scripts parse"
for f in $scripts $(files '*.py'); do
    first=$(head -c 2 "$f")
    if [ -x "$f" ]; then
        [ "$first" = '#!' ] || echo "$f: can be run, and has no #! line"
    else
        [ "$first" != '#!' ] || echo "$f: has a #! line, and cannot be run"
    fi
done | rule "what has a #! line can be run, and nothing else"
# each is in a list of what runs it, or sourced by those that are
for f in $(echo "$ours" | grep '^tests/unit/.*\.c$'); do
    case $f in */test_*) ;; *) echo "$f: not named test_*, so nothing runs it" ;; esac
done > "$tmp/lone"
for f in $(echo "$scripts" | grep '^tests/fate/'); do
    suite=$(basename "$f" .sh)
    case $suite in all|cases|selftest) continue ;; esac
    grep -q "^FATE.*[ =]$suite\( \|$\)" Makefile || echo "$f: in none of the lists FATE of the Makefile"
done >> "$tmp/lone"
for f in $(echo "$scripts" | grep '^tests/[^/]*\.sh$\|^tests/\(tools\|api\)/'); do
    grep -q "$f" Makefile .ci/* CODING.md || grep -q "/$(basename "$f") " tests/api/run.sh ||
        echo "$f: neither the Makefile, .ci nor CODING.md names it"
done >> "$tmp/lone"
rule "every test is run by something" < "$tmp/lone"
}

# what the mutations change is there
tests/mutate.sh --find | grep '^FAIL ' | rule "changes of tests/mutations/list are found"

# every option of the filter is documented
sed -n 's/^ *{ "\([a-z_0-9]*\)", .*OFFSET.*/\1/p' libavfilter/*turbodiff*.[ch] | sort -u | while read -r opt; do
    grep -q "^@itemx\? .*\b$opt\b" doc/filters.texi doc/filters_i2v.texi || echo "option $opt is not in doc/filters*.texi"
done | rule "filter options are documented"

# the filter's words, and the fields they are for, are those of the library's table, and so are types, defaults and
# limits; 0 is the library's default, which the filter takes where a row's numbers begin above it, too. threads is no
# option of the filter, it counts frames otherwise, reads the two numbers of guidance from a text, and has a word where
# the library has NULL for device; files and prompts are chosen by no name
grep -o '\[TD_[A-Z0-9_]*\] = "[^"]*"' engine/base/options.c | tr -d '[]="' | tr -s ' ' | sort > "$tmp/words"
sed -n 's/.*TD_CONST("\([^"]*\)",.* \(TD_[A-Z0-9_]*\), .*/\2 \1/p' libavfilter/turbodiff_common.h | sort > "$tmp/consts"
sed -n 's/^ *SETTING("\([a-z_]*\)", \([a-z_]*\),.*/\1 settings.\2/p; s/^ *PARAM("\([a-z_]*\)", \([a-z_]*\),.*/\1 params.\2/p' \
    engine/base/options.c | grep -v '^\(threads\|frames\|guidance\) ' | sort > "$tmp/rows"
sed -n 's/^ *{ "\([a-z_]*\)", .*TD_OFFSET(\([a-z_.]*\)).*/\1 \2/p' libavfilter/turbodiff_common.h | sort > "$tmp/options"
grep ' \(params\|settings\)\.' "$tmp/options" |
    grep -v '^\(model\|dit\|dit_low\|vae\|text_encoder\|tokenizer\|prompt\|negative_prompt\) ' > "$tmp/named"
sed -n 's/^#define \(TD_M[A-Z_]*\)  *\([0-9][0-9]*\)\(\.0\)*\( .*\)*$/s,\1,\2,/p' engine/base/wan.h > "$tmp/values"
# WORDS FIRST LAST of the enum
tr '\n' ' ' < engine/base/options.c | grep -o '[a-z_]*\[\] = { \[[^}]*}' |
    sed 's/\[\] = { \[\([A-Z0-9_]*\)\].*\[\([A-Z0-9_]*\)\][^[]*$/ \1 \2/' > "$tmp/enums"
# OPTION TYPE DEFAULT LOWEST HIGHEST, the last one - where the row has none: who uses it checks it
tr '\n' ' ' < engine/base/options.c | sed 's/ \(SETTING\|PARAM\)("/\n&/g' | sed -f "$tmp/values" |
    sed -n 's/^ [A-Z]*("\([a-z_]*\)", [a-z_]*, \([A-Z0-9]*\), /\1 \2 /p' | grep -v '^\(threads\|guidance\) ' | awk '
    function value(name,   n) {
        n = length(name) + 4
        return match($0, "\\." name " = [^ ,)]*") ? substr($0, RSTART + n, RLENGTH - n) : ""
    }
    FILENAME != "-" { first[$1] = $2; last[$1] = $3; next }
    $2 == "WORD"    { print $1, "INT", first[value("words")], first[value("words")], last[value("words")]; next }
    $2 == "FLAG"    { print $1, "BOOL 0 0 1"; next }
    $2 == "TEXT"    { print $1, "STRING", $1 == "device" ? "\"auto\"" : "NULL", "0 0"; next }
    { low = value("low"); high = value(/\.high/ ? "high" : "named_high") }
    { print $1, $2 == "U64" ? "UINT64" : $2, 0, low + 0 < 0 ? low : 0, high == "" ? "-" : high }
    ' "$tmp/enums" - > "$tmp/limits"
sed -n 's/^ *{ "\([a-z_]*\)", *"[^"]*", [^,]*, AV_OPT_TYPE_\([A-Z0-9_]*, .*\), TD_FLAGS.*/\1 \2/p' \
    libavfilter/turbodiff_common.h | sed 's/, { \.[a-z0-9]* = \([^ ]*\) }, /, \1, /; s/,//g' > "$tmp/has"
{
    [ -s "$tmp/words" ] && [ -s "$tmp/rows" ] || echo "engine/base/options.c: nothing found"
    grep -lE '"(sagesla|rtx5090|128x64|unipc)"' engine/*/*.[ch] tools/*.[ch] libavfilter/*.[ch] |
        grep -v '^engine/base/options\.c$\|^engine/api/turbodiff\.h$\|^libavfilter/turbodiff_common\.h$' | sed 's/$/ has words of its own/'
    diff "$tmp/words" "$tmp/consts" | grep '^[<>]'
    comm -23 "$tmp/rows" "$tmp/options" | sed 's/$/ is no option of the filter/'
    comm -13 "$tmp/rows" "$tmp/named" | sed 's/$/ is no row of engine\/base\/options.c/'
    # frames is no row there
    [ "$(wc -l < "$tmp/limits")" = $(($(wc -l < "$tmp/rows") + 1)) ] || echo "engine/base/options.c: too few limits"
    awk 'FILENAME == ARGV[1] { option = $1; $1 = ""; has[option] = $0; next }
        { split(has[$1], h, " "); if ($5 == "-") $5 = h[4]; option = $1; $1 = "" }
        $0 != has[option] { print option ": the filter has" has[option] ", want" $0 }' "$tmp/has" "$tmp/limits"
} | rule "options have one table of words"

# what is exported is defined in engine/api
sed -n 's/^TD_API .*\b\(td_[a-z_0-9]*\)(.*/\1/p' engine/api/turbodiff.h | while read -r name; do
    grep -lE "^[a-z][a-z ]*[ *(]$name\)?\(" engine/api/*.c | grep -q . || echo "$name is not defined in engine/api"
done | rule "what is exported is defined in engine/api"

# targets: those without a file, those that make calls phony, and those that help tells of
named() { sed 's/\$(ALL_SERIES:%=\([a-z-]*-\)%)/\1N/g' | tr -s ' \\\t' '\n\n\n' | grep -v '^FORCE$' | sort -u; }
grep -o '^[a-z][a-z0-9 -]*:\( \|$\)' Makefile | tr -d ':' | named > "$tmp/targets"
awk '/^\.PHONY:/ { on = 1 } on { print } !/\\$/ { on = 0 }' Makefile | sed 's/^\.PHONY://' | named | grep . > "$tmp/phony"
make -s help | cut -c 1-16 | named | grep . > "$tmp/helped"
{
    comm -23 "$tmp/targets" "$tmp/phony" | sed 's/$/ is not in .PHONY/'
    comm -23 "$tmp/phony" "$tmp/helped" | sed 's/$/ is not in make help/'
    comm -13 "$tmp/phony" "$tmp/helped" | sed 's/$/ is in make help, and no target/'
} | rule "make help lists every target"

# what a text links to is there
files '*.md' | while read -r f; do
    grep -o '](\([^)#]*\)' "$f" | sed 's/^](//' | grep -v '^https://' | grep . | while read -r link; do
        [ -e "$(dirname "$f")/$link" ] || echo "$f: no $link"
    done
done | rule "links lead to files"

# every clone has it
find tools/demo-model/model tools/demo-model/model-i2v -type f -exec stat -c %s {} + |
    awk '{ n += $1 } END { if (n < 1 || n > 40000000) print n + 0 " bytes, want 1 to 40000000" }' |
    rule "the demo models are there, and at most 40 MB"

failed=$(grep -c '^FAIL ' "$tmp/results")
echo "style: $(grep -c '^ok ' "$tmp/results") passed, $failed failed"
[ "$failed" -eq 0 ]
