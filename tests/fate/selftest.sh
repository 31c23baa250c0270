#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# No case of the suites here passes with an ffmpeg that does not do its work: selftest.sh BUILD MODEL I2V_MODEL
#
# 1. Two programs stand for ffmpeg and ffprobe: one that writes what looks like frames and a checksum, says something of
#    the filter and fails, as a crash at the end would; one that is silent and succeeds (not for firsthour.sh, whose
#    cases ask for just that).
# 2. A case that passes all the same is a failure of this test, which names it.
set -u
LC_ALL=C
export LC_ALL
build=$(realpath "$1")
model=$(realpath "$2")
i2v=$(realpath "$3")
here=$(dirname "$0")
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
n_ok=0
n_bad=0

# result NAME OFFENCES
result() {
    if [ -z "$2" ]; then
        echo "ok $1"
        n_ok=$((n_ok + 1))
    else
        printf '%s\n' "$2" | sed 's/^/  passes all the same: /'
        echo "FAIL $1"
        n_bad=$((n_bad + 1))
    fi
}

# ---- what decides about a case ----

ffmpeg=$dir/fails/ffmpeg
mkdir -p "$dir/fails" "$dir/silent"
cat > "$ffmpeg" << 'END'
#!/bin/sh
echo "[turbodiff @ 0x1] something is wrong" >&2
case "$*" in
*' md5 '*) echo MD5=00000000000000000000000000000000 ;;
*)         echo "#tb 0: 1/16"; for i in 0 1 2 3 4 5 6 7 8; do echo "0, $i, $i, 1, 4608, 0x00000000"; done ;;
esac
exit 1
END
printf '#!/bin/sh\nexit 0\n' > "$dir/silent/ffmpeg"
for kind in fails silent; do
    chmod +x "$dir/$kind/ffmpeg"
    cp "$dir/$kind/ffmpeg" "$dir/$kind/ffprobe"
    for file in share td tdsynth; do
        ln -s "$build/$file" "$dir/$kind/"
    done
done

# judged WANT COMMAND...: whether a case comes out as wanted
judged() {
    want=$1
    shift
    got=$(. "$here/cases.sh"; "$@" > /dev/null; echo "$passed $failed")
    [ "$got" = "$want" ] || wrong="$wrong $* ($got);"
}
a=MD5=0123456789abcdef0123456789abcdef
b=MD5=fedcba9876543210fedcba9876543210
wrong=
judged "1 0" differ "" "$a" "$b"
judged "1 0" differ "" "$a" "$b" MD5=00000000000000000000000000000000
judged "1 0" equal "" "$a" "$a"
judged "1 0" empty "" ""
judged "0 1" differ "" "$a" "$a"
judged "0 1" differ "" "$a" "$b" "$a"
judged "0 1" differ "" "$a"
judged "0 1" differ "" "" "$a"
judged "0 1" differ "" "$a" ""
judged "0 1" differ "" "Cannot open the model" "$a"
judged "0 1" differ "" "$a
ffmpeg-failed: status 1" "$b"
judged "0 1" equal "" "" ""
judged "0 1" equal "" "$a" "$b"
judged "0 1" empty "" "$a"
failing() {
    equal "" "$(sum -f lavfi -i x)" "$(sum -f lavfi -i x)"
    differ "" "$(sum -f lavfi -i x)" "$a"
    equal "" "$(count -f lavfi -i x)" 9
    equal "" "$(frames -f lavfi -i x)" "$(frames -f lavfi -i x)"
}
judged "0 4" failing
result "the judges of a case" "$wrong"

# ---- whole suites ----

for kind in fails silent; do
    d=$dir/$kind
    for suite in "run.sh $d $model" "i2v.sh $d $i2v $model" "failure.sh $d $model $i2v" "channel.sh $d $model" "transition.sh $d $model $i2v" "clips.sh $d $i2v" \
        "marks.sh $d $model $i2v" "health.sh $d $build $model" "streams.sh $d $model" "disk.sh $d $model" "demo.sh $d" "readme.sh $d" "live.sh $d" "firsthour.sh $d $i2v" \
        "devices.sh $d $build $model $i2v"; do
        [ "$kind ${suite%% *}" = "silent firsthour.sh" ] && continue
        # shellcheck disable=SC2086
        timeout 300 sh "$here"/$suite > "$dir/out" 2>&1
        code=$?
        offences=$(grep '^ok ' "$dir/out" | sed 's/^ok //')
        [ $code -eq 1 ] && grep -q ': 0 passed, [1-9][0-9]* failed$' "$dir/out" || offences="${offences:-status $code}"
        result "${suite%% *} with an ffmpeg: $kind" "$offences"
    done
done
echo "fate-selftest: $n_ok passed, $n_bad failed"
[ $n_bad -eq 0 ]
