#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Whether tests hold what they should: mutate.sh [--find | NAME...]
#
# 1. Each change of tests/mutations/list (or those named), one at a time, is made to a copy of the tree; what needs it is
#    built again, and every test that the list names must fail. Without a change they all pass, which is tried first.
# 2. A text that is no longer found, or is found twice, is a failure: the list follows the code. No name comes twice.
# 3. Prints "ok mutation NAME: caught by TESTS" or "FAIL mutation NAME: why"; the last line has the counts.
# 4. --find: just whether the texts and the tests are there, in a second (make style).
# 5. CC, if set, compiles; a ccache is used where there is one. 17 minutes on two cores.
set -u
LC_ALL=C
export LC_ALL
cd "$(dirname "$0")/.." || exit 1
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
find=
[ "${1:-}" = --find ] && find=yes && shift
only=$*
n_ok=0
n_bad=0
jobs=$(nproc 2> /dev/null || echo 2)
if [ -z "${CC:-}" ]; then
    CC=cc
    command -v ccache > /dev/null && CC="ccache cc"
fi
CCACHE_NOHASHDIR=1                               # the copy has another path in each run
export CCACHE_NOHASHDIR

ok() {
    echo "ok mutation $1"
    n_ok=$((n_ok + 1))
}
bad() {
    echo "FAIL mutation $1"
    n_bad=$((n_bad + 1))
}

twice=$(sed -n 's/^\[\([^]]*\)\].*/\1/p' tests/mutations/list | sort | uniq -d | tr '\n' ' ')
[ -z "$twice" ] || { echo "FAIL mutation names that come twice: $twice"; exit 1; }

# a copy, built
git ls-files -z --cached --others --exclude-standard | xargs -0 sh -c 'for f; do [ -f "$f" ] && printf "%s\0" "$f"; done' sh |
    tar -c --null -T - | tar -x -C "$dir" || exit 1
cd "$dir" || exit 1
[ -n "$find" ] || ./configure --disable-cuda --disable-ffmpeg --cc="$CC" > configure.log 2>&1 || { cat configure.log >&2; exit 1; }
TD_BUILD=$dir/build
TD_MODELS=$dir/build/models
export TD_BUILD TD_MODELS
[ -n "$find" ] || make -s -j"$jobs" lib tools build/models/stamp > make.log 2>&1 || { tail -n 20 make.log >&2; exit 1; }

# build TEST; run_test TEST: as the list writes them
build() {
    case $1 in
    ops:*)  make -s -j"$jobs" build/checkops ;;
    unit:*) make -s -j"$jobs" "build/tests/${1#unit:}" ;;
    esac > make.log 2>&1
}
run_test() {
    case $1 in
    ops:*)  timeout 300 build/checkops --test="${1#ops:}" ;;
    unit:*) timeout 300 "build/tests/${1#unit:}" ;;
    *)      echo "unknown kind of test" >&2; return 0 ;;
    esac > test.log 2>&1
}

is_there() {
    case $1 in
    ops:*)  grep -q "^ *{ \"${1#ops:}\", " tests/checkops/*.c ;;
    unit:*) [ -f "tests/unit/${1#unit:}.c" ] ;;
    *)      false ;;
    esac
}

# change FILE OLD NEW: literally; fails where OLD is not there exactly once
change() {
    OLD=$2 NEW=$3 awk '
        BEGIN { old = ENVIRON["OLD"]; new = ENVIRON["NEW"] }
        {
            at = index($0, old)
            if (at) {
                n++
                if (index(substr($0, at + 1), old)) n++
                $0 = substr($0, 1, at - 1) new substr($0, at + length(old))
            }
            print
        }
        END { exit n != 1 }' "$1" > changed && cp changed "$1"
}

# a mutation as it was read: name, title, file, old, new, tests
mutate() {
    if [ -n "$only" ]; then
        case " $only " in *" $name "*) ;; *) return ;; esac
    fi
    if [ ! -f "$file" ] || ! cp -p "$file" kept || ! change "$file" "$old" "$new"; then
        bad "$name: not once in $file: $old"
        return
    fi
    if [ -n "$find" ]; then
        cp kept "$file"
        for test in $tests; do
            is_there "$test" || { bad "$name: no test $test"; return; }
        done
        ok "$name: found"
        return
    fi
    caught=
    missed=
    for test in $tests; do
        if ! build "$test"; then
            missed="$missed; it does not compile: $(grep -m 1 'error' make.log)"
            break
        fi
        run_test "$test"
        case $? in
        0)   missed="$missed; survives $test" ;;
        124) missed="$missed; $test does not end" ;;
        *)   caught="$caught $test" ;;
        esac
    done
    cp kept "$file"                              # newer than what was built
    if [ -n "$missed" ] || [ -z "$caught" ]; then
        bad "$name${missed:-; no test is named} ($title)"
    else
        ok "$name: caught by$caught"
    fi
}

# what passes without a change
for test in $(sed -n 's/^test  *//p' tests/mutations/list | tr ' ' '\n' | sort -u); do
    if [ -n "$only" ]; then
        needed=$(awk -v only=" $only " -v test="$test" '
            /^\[/ { name = $1; gsub(/[][]/, "", name) }
            $1 == "test" && index(only, " " name " ") { for (i = 2; i <= NF; i++) if ($i == test) print "yes" }' \
            tests/mutations/list)
        [ -n "$needed" ] || continue
    fi
    [ -z "$find" ] || break
    if ! build "$test" || ! run_test "$test"; then
        cat make.log test.log 2> /dev/null | grep -v '^ok ' | tail -n 20
        bad "of nothing: $test fails without a change"
    fi
done

name=
while IFS= read -r line; do
    value=${line#* }
    value=${value#"${value%%[! ]*}"}
    case $line in
    '#'*|'') ;;
    '['*)
        name=${line#'['}
        title=${name#*'] '}
        name=${name%%']'*}
        file='' old='' new='' tests='' ;;
    'file '*) file=$value ;;
    'old '*)  old=$value ;;
    'new '*)  new=$value ;;
    'test '*)
        tests=$value
        mutate < /dev/null ;;
    *)
        bad "$name: not understood: $line" ;;
    esac
done < tests/mutations/list
[ $((n_ok + n_bad)) -gt 0 ] || bad "$only: none of that name"
echo "mutate: $n_ok passed, $n_bad failed"
[ $n_bad -eq 0 ]
