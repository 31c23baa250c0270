#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Whether programs that were built with one turbodiff.h run with a library of another: abi.sh OLD NEW
# Says what is not so. Functions keep their words, enumerators their values, fields their places, sizes and types (of a
# callback those of all its arguments), structs all their fields; only those that are passed with their size grow, and
# not into the padding of what older programs have.
set -u
LC_ALL=C
export LC_ALL
cc=${CC:-cc}
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
sized='TDSettings|TDParams|TDInfo|TDDeviceInfo'

# names HEADER: lines of "E enumerator", "B struct body", "F struct field", "S struct", "P prototype"
names() {
    # cc may be a list
    # shellcheck disable=SC2086
    grep -v '^#include' "$1" | $cc -std=c99 -E -P -DTD_API= -x c - | tr -s '\n\t ' ' ' | awk '
        function fields(name, body,   n, part, i, m, one, j, f) {
            print "B", name, body
            n = split(body, part, ";")
            for (i = 1; i < n; i++) {
                if (part[i] ~ /\(\*/) {
                    f = part[i]; sub(/^[^(]*\(\* */, "", f); sub(/\).*/, "", f); print "F", name, f
                    continue
                }
                m = split(part[i], one, ",")
                for (j = 1; j <= m; j++) {
                    f = one[j]; sub(/\[.*/, "", f); sub(/ +$/, "", f); sub(/.*[ *]/, "", f); print "F", name, f
                }
            }
            print "S", name
        }
        {
            depth = 0; text = ""
            for (i = 1; i <= length($0); i++) {
                c = substr($0, i, 1)
                depth += (c == "{") - (c == "}")
                if (c != ";" || depth) {
                    text = text c
                    continue
                }
                sub(/^ +/, "", text)
                body = text; sub(/^[^{]*\{/, "", body); sub(/\}[^}]*$/, "", body)
                if (text ~ /^enum /) {
                    n = split(body, one, ",")
                    for (j = 1; j <= n; j++) { sub(/=.*/, "", one[j]); gsub(/ /, "", one[j]); if (one[j] != "") print "E", one[j] }
                } else if (text ~ /^typedef struct .*\{/) {
                    name = text; sub(/.*\} */, "", name); fields(name, body)
                } else if (text ~ /\(/) {
                    gsub(/ *\* */, " *", text); gsub(/\( +/, "(", text); gsub(/ +\)/, ")", text); print "P", text
                }
                text = ""
            }
        }'
}

# layout NAMES HEADER: what the header makes of these names. The compiler compares each field with that of the same body
# in a struct of another name, whose types are the header's.
layout() {
    {
        echo '#include <stdio.h>'
        echo "#include \"$(realpath "$2")\""
        echo 'int main(void) {'
        awk '$1 == "E" { printf "printf(\"%s is %%d\\n\", (int)%s);\n", $2, $2 }
             $1 == "B" { name = $2; sub(/^B [^ ]* /, ""); printf "struct was_%s {%s};\n", name, $0; next }
             $1 == "F" {
                 is = "((" $2 " *)0)->" $3; was = "((struct was_" $2 " *)0)->" $3
                 printf "printf(\"%s.%s at %%zu, %%zu bytes%%s\\n\",\n", $2, $3
                 printf "       offsetof(%s, %s), sizeof(%s),\n", $2, $3, is
                 printf "       __builtin_types_compatible_p(__typeof__(%s),\n", is
                 printf "           __typeof__(%s)) ? \"\" : \", another type\");\n", was
             }
             $1 == "S" { printf "printf(\"%s has %%zu bytes\\n\", sizeof(%s));\n", $2, $2 }' "$1"
        echo 'return 0; }'
    } > "$tmp/layout.c"
    # shellcheck disable=SC2086
    $cc -std=c99 "$tmp/layout.c" -o "$tmp/layout" && "$tmp/layout"
}

names "$1" > "$tmp/old" && names "$2" > "$tmp/new" || exit 1
for kind in E F S P; do
    grep -q "^$kind" "$tmp/old" || { echo "$1: nothing found of kind $kind"; exit 1; }
done
layout "$tmp/old" "$1" > "$tmp/was" || exit 1
if ! layout "$tmp/old" "$2" > "$tmp/is" 2> "$tmp/log"; then
    grep -o "error: .*" "$tmp/log"
    exit 1
fi
{
    for f in was is; do grep -vE "^($sized) has" "$tmp/$f" > "$tmp/$f.fixed"; done
    diff "$tmp/was.fixed" "$tmp/is.fixed" | grep '^[<>]'
    grep '^P' "$tmp/old" | grep -vxFf "$tmp/new" | sed 's/^P/is not there any more:/'
    layout "$tmp/new" "$2" | grep -vxFf "$tmp/is" > "$tmp/added"
    sed -n 's/ has\(.*\) bytes$/\1/p' "$tmp/was" | while read -r name size; do
        case $name in
        TDInfo) continue ;;                      # is written to programs, whose padding may be
        TDSettings|TDParams|TDDeviceInfo) ;;
        *) size=$((1 << 20)) ;;
        esac
        sed -n "s/^\($name\.[a-z_0-9]*\) at \([0-9]*\),.*/\1 \2/p" "$tmp/added" | awk -v size="$size" \
            '$2 < size { print $1, "at byte", $2, "may hold anything where it is not known" }'
    done
} > "$tmp/broken"
cat "$tmp/broken"
[ ! -s "$tmp/broken" ]
