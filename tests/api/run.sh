#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Installs into an empty directory and uses what is there as another program would: run.sh BUILD MODEL
set -u
LC_ALL=C
export LC_ALL

build=$1
model=$2
make=${MAKE:-make}
cc=${CC:-cc}
. "$(dirname "$0")/../fate/cases.sh"

check "make install" $make --no-print-directory BUILD="$build" DESTDIR="$tmp/root" install
pc=$(find "$tmp/root" -name turbodiff.pc)
lib=$(dirname "$(dirname "${pc:-/none/none}")")
export PKG_CONFIG_PATH="$lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$tmp/root"
export LD_LIBRARY_PATH="$lib"
header=$(find "$tmp/root" -name turbodiff.h)
flags=$(pkg-config --cflags turbodiff)
libs=$(pkg-config --libs turbodiff)

version=$(awk '$1 == "#define" && $2 ~ /^TD_API_(MAJOR|MINOR|PATCH)$/ { v = v s $3; s = "." } END { print v }' "$header")
check "pkg-config version" test "$(pkg-config --modversion turbodiff)" = "$version"
check "soname" sh -c "readelf -d '$lib/libturbodiff.so' | grep -q 'SONAME.*\[libturbodiff.so.${version%%.*}\]'"

grep -o '\btd_[a-z0-9_]*(' "$header" | tr -d '(' | sort -u > "$tmp/declared"
nm -D --defined-only --with-symbol-versions "$lib/libturbodiff.so" | awk '$2 == "T" { print $3 }' | sort -u > "$tmp/exported"
check "the shared library exports what the header declares, no more" sh -c "sed 's/@.*//' '$tmp/exported' | diff '$tmp/declared' -"
check "with the versions that brought it" diff tests/api/symbols.txt "$tmp/exported"

# abi OLD SED: what abi.sh says of this header with a change
abi() {
    sed "$2" "$header" > "$tmp/changed.h"
    ! cmp -s "$header" "$tmp/changed.h" && CC="$cc" tests/api/abi.sh "$1" "$tmp/changed.h"
}
not() {
    ! "$@"
}
for old in tests/api/turbodiff-*.h; do
    check "programs built with ${old##*/} run with this library" env CC="$cc" tests/api/abi.sh "$old" "$header"
    check "abi: another value of an enumerator is seen"  not abi "$old" 's/TD_ATTN_DENSE,/TD_ATTN_NEW, TD_ATTN_DENSE,/'
    check "abi: another type of a field is seen"         not abi "$old" 's/double guidance; /float guidance; /'
    check "abi: another pointer type is seen"            not abi "$old" 's/const char \*vae; /const float *vae; /'
    check "abi: a pointer to what is not const is seen"  not abi "$old" 's/const char \*vae; /char *vae; /'
    check "abi: another enum is seen"                    not abi "$old" 's/enum TDQuant quant; /enum TDNorm quant; /'
    check "abi: a callback's arguments swapped are seen" not abi "$old" 's/, int level, const char \*line)/, const char *line, int level)/'
    check "abi: a callback's new argument is seen"       not abi "$old" 's/(\*interrupt)(void \*cookie)/(*interrupt)(void *cookie, int stage)/'
    check "abi: another type of a callback is seen"      not abi "$old" 's/int (\*interrupt)(/void (*interrupt)(/'
    check "abi: another name of a field is seen"         not abi "$old" 's/const char \*vae; /const char *vae_file; /'
    check "abi: a field in the middle is seen"           not abi "$old" 's/    int n_threads; /    int more, n_threads; /'
    check "abi: a field in the padding is seen"          not abi "$old" 's/enum TDMemory memory; /enum TDMemory memory; int more; /'
    check "abi: a function that is gone is seen"         not abi "$old" 's/td_cancel(/td_stop(/'
    check "abi: another argument is seen"                not abi "$old" 's/td_start(TDContext/td_start(const TDContext/'
    check "abi: another name of an argument is none"     abi "$old" 's/(\*interrupt)(void \*cookie)/(*interrupt)(void *of)/'
    check "abi: an enumerator at the end is none"        abi "$old" 's/TD_NOISE_CPU }/TD_NOISE_CPU, TD_NOISE_NEW }/'
    check "abi: a field at the end of TDParams is none"  abi "$old" 's/^} TDParams;/int more; } TDParams;/'
done
check "abi: a field at the end of TDDeviceInfo is none"  abi "$header" 's/^} TDDeviceInfo;/uint64_t more; } TDDeviceInfo;/'
check "abi: a field in its padding is seen"              not abi "$header" 's/^} TDDeviceInfo;/int more; } TDDeviceInfo;/'

echo "#include <turbodiff.h>" > "$tmp/h.c"
# flags are lists
# shellcheck disable=SC2086
check "header in C99" $cc -std=c99 -pedantic-errors -Wall -Wextra -Werror $flags -c "$tmp/h.c" -o "$tmp/h.o"
if command -v c++ > /dev/null 2>&1; then
    # shellcheck disable=SC2086
    check "header in C++" c++ -x c++ -std=c++11 -pedantic-errors -Wall -Wextra -Werror $flags -fsyntax-only "$tmp/h.c"
fi
# shellcheck disable=SC2086
check "program with the shared library" \
    $cc -std=c99 -D_POSIX_C_SOURCE=200809L -pedantic -Wall -Wextra -Werror $flags tests/api/api.c -o "$tmp/api" $libs -lm
"$tmp/api" "$model" > "$tmp/out" 2>&1
code=$?
cat "$tmp/out"
passed=$((passed + $(grep -c '^ok ' "$tmp/out")))
failed=$((failed + $(grep -c '^FAIL ' "$tmp/out")))
if [ $code -ne 0 ] && ! grep -q '^FAIL ' "$tmp/out"; then
    echo "FAIL api: exit status $code"
    failed=$((failed + 1))
fi

# a program that was built with an older header
for how in "" -fsanitize=address,undefined; do
    check "program of 0.1.0 $how" $cc -std=c99 -D_POSIX_C_SOURCE=200809L $how tests/api/old.c -o "$tmp/old" -L"$lib" -lturbodiff
    check "runs with this library $how" "$tmp/old" "$model"
done

# the library by itself: no symbol is missing with what pkg-config names
# shellcheck disable=SC2046
check "program with the static library" $cc -std=c99 -D_POSIX_C_SOURCE=200809L $flags tests/api/api.c -o "$tmp/api_static" \
    "$lib/libturbodiff.a" $(PKG_CONFIG_SYSROOT_DIR='' pkg-config --static --libs turbodiff | tr ' ' '\n' | grep -v 'turbodiff\|^-L')

td=$(find "$tmp/root" -name td)
check "td makes a clip" "$td" -r 8 -s 64x48 -n 5 "$model" "a cat" "$tmp/clip.rgb"
check "td: size of the clip" test "$(wc -c < "$tmp/clip.rgb")" = $((64 * 48 * 3 * 5))
printf 'a dog\na cat\n' > "$tmp/prompts"
check "td: prompts from a file" "$td" -r 7 -s 64x48 -n 5 -P "$model" "$tmp/prompts" "$tmp/clips.rgb"
check "td: the second prompt's clip is the one it makes alone, with the next seed" \
    sh -c "tail -c $((64 * 48 * 3 * 5)) '$tmp/clips.rgb' | cmp - '$tmp/clip.rgb'"
check "td: a clip for each prompt" test "$(wc -c < "$tmp/clips.rgb")" = $((64 * 48 * 3 * 5 * 2))
check "td: guidance with rcm warns" sh -c "'$td' -g 3 -i 1 -s 64x48 -n 5 '$model' 'a cat' '$tmp/none.rgb' 2>&1 |
    grep -q 'warning: --guidance has no effect with sampler rcm'"
for words in " " "a cat"; do
    "$td" -i 1 -s 64x48 -n 5 "$model" "$words" "$tmp/none.rgb" 2>> "$tmp/empty"
done
check "td: an empty prompt warns" test "$(grep -c 'warning: the prompt is empty' "$tmp/empty")" = 1
demo=$(find "$tmp/root" -type d -name demo-model)

# a channel outside FFmpeg, as doc/ffmpeg.md says
# shellcheck disable=SC2086
check "channel.c" $cc -std=c99 -pedantic -Wall -Wextra -Werror -pthread $flags tests/api/channel.c -o "$tmp/channel" $libs
jpeg=tests/fuzz/seeds/jpeg/plain
frame=$((192 * 192 * 3))
"$tmp/channel" $jpeg "$tmp/channel.rgb" 300 auto > "$tmp/said" 2> "$tmp/log"
equal "a channel: three clips, each begun while the one before is written" "$? $(tr '\n' ';' < "$tmp/said")" \
    "0 clip 0 is written, clip 1 is begun;clip 1 is written, clip 2 is begun;clip 2 is written, clip 2 is begun;"
equal "a channel: no picture twice" "$(wc -c < "$tmp/channel.rgb" | tr -d ' ')" $((frame * (17 + 16 + 16)))
"$td" -i 4 -r 0 -I $jpeg "a red circle moves to the right" "$tmp/clip.rgb" 2> "$tmp/log"
check "a channel: its first clip is td's" cmp -n $((frame * 17)) "$tmp/channel.rgb" "$tmp/clip.rgb"
equal "a channel: a clip that takes too long" "$("$tmp/channel" $jpeg "$tmp/late.rgb" 0.01 auto 2>&1 | grep -c 'clip 0 is given up: ')" 1
# two GPUs that are claimed (tests/cards/module.c); the first one fails in the second clip
mkdir -p "$tmp/gpu/lib"
ln -s "$lib/../share" "$tmp/gpu/"
echo 'int cuInit(unsigned flags); int cuInit(unsigned flags) { return (int)flags; }' > "$tmp/gpu/cuda.c"
$cc -shared -fPIC "$tmp/gpu/cuda.c" -o "$tmp/gpu/lib/libcuda.so.1" && cp -L "$lib/libturbodiff.so.${version%%.*}" \
    "$build/tests/cards/libturbodiff-cuda.so" "$tmp/gpu/lib/" || exit 1
LD_LIBRARY_PATH=$tmp/gpu/lib TD_TEST_CARDS="h100:4000:3900:die6 h100:4000:3900" TD_TEST_CARDS_LOG=$tmp/opened \
    "$tmp/channel" $jpeg "$tmp/fault.rgb" 300 0 1 > "$tmp/said" 2> "$tmp/log"
equal "a channel: after a fault of its device, on the next one" "$? $(grep -c 'illegal memory access' "$tmp/log") $(tr '\n' ' ' < "$tmp/opened")" "0 1 0 1 "
check "a channel: with the same frames" cmp "$tmp/channel.rgb" "$tmp/fault.rgb"

# code in a module that lies where the program is started from must not run, whatever the program is called
mkdir "$tmp/here"
echo '#include <fcntl.h>
__attribute__((constructor)) static void run(void) { creat("ran", 0600); }' > "$tmp/here/module.c"
$cc -shared -fPIC "$tmp/here/module.c" -o "$tmp/here/libturbodiff-cuda.so" && ln -s "$lib/libturbodiff.so" "$tmp/here/"
check "a module can be seen to run" sh -c "cd '$tmp/here' && LD_PRELOAD=./libturbodiff-cuda.so env true && rm ran"
# where there is a driver, a module is looked for
mkdir "$tmp/driver"
echo 'int cuInit(unsigned flags); int cuInit(unsigned flags) { return (int)flags; }' > "$tmp/driver/cuda.c"
$cc -shared -fPIC "$tmp/driver/cuda.c" -o "$tmp/driver/libcuda.so.1" || exit 1
# shellcheck disable=SC2016
check "the module beside the name that td was given is not loaded" bash -c 'cd "$1/here" &&
    LD_LIBRARY_PATH=$LD_LIBRARY_PATH:$1/driver && export LD_LIBRARY_PATH &&
    (exec -a ./td "$2" -r 8 -s 64x48 -n 5 "$3" "a cat" clip) && test -s clip && test ! -e ran' - "$tmp" "$td" "$(realpath "$model")"
# shellcheck disable=SC2016
check "nor the one that the loader would find where td is started" bash -c 'cd "$1/here" && LD_LIBRARY_PATH=.:$1/driver \
    "$2" -r 8 -s 64x48 -n 5 "$3" "a cat" clip && test ! -e ran' - "$tmp" "$td" "$(realpath "$model")"
# shellcheck disable=SC2016
check "nor the one beside a relative path of the library" bash -c 'cd "$1/here" && LD_LIBRARY_PATH=.:$1/driver \
    "$1/api" "$2" > /dev/null; test ! -e ran' - "$tmp" "$(realpath "$model")"
"$td" -i 1 "a red star bounces on green grass" "$tmp/demo.rgb" 2> "$tmp/td.log"
check "td without a model takes the demo model that is installed" grep "small demo model in $tmp/root/" "$tmp/td.log"
"$td" -i 1 -I tests/fuzz/seeds/jpeg/plain "a red star bounces on green grass" "$tmp/demo_i2v.rgb" 2> "$tmp/td.log"
check "td with a picture takes the one for image to video" grep "small demo model in $tmp/root/.*/demo-model-i2v" "$tmp/td.log"
check "td: and makes its clip" test "$(wc -c < "$tmp/demo_i2v.rgb")" = $((192 * 192 * 3 * 17))
check "td: the demo model says the size and the number of frames" test "$(wc -c < "$tmp/demo.rgb")" = $((192 * 192 * 3 * 17))
for words in "2 dog" "2 cat" "1 dog" "1 cat"; do
    "$td" -s 64x48 -n 5 -S unipc -i 2 -g "${words% *}" -G "${words#* }" "$model" "a cat" "$tmp/$words" 2> "$tmp/log"
done
check "td: the negative prompt counts with guidance" sh -c "cmp '$tmp/2 dog' '$tmp/2 cat'; test \$? = 1"
check "td: guidance counts" sh -c "cmp '$tmp/2 cat' '$tmp/1 cat'; test \$? = 1"
check "td: no negative prompt without guidance" cmp "$tmp/1 dog" "$tmp/1 cat"
for seed in -2 18446744073709551616 1e3 7x +1 ''; do
    check "td refuses seed '$seed'" sh -c "! '$td' -r '$seed' -s 64x48 -n 5 '$model' 'a cat' '$tmp/clip.rgb'"
done
"$td" -r -1 -i 1 -s 64x48 -n 5 "$model" "a cat" "$tmp/random.rgb" 2> "$tmp/drawn"
check "td: the random seed that it tells gives the same clip" sh -c "'$td' -i 1 -s 64x48 -n 5 \
    -r \"\$(sed -n 's/^seed=//p' '$tmp/drawn')\" '$model' 'a cat' '$tmp/again.rgb' && cmp '$tmp/random.rgb' '$tmp/again.rgb'"
echo "no picture" > "$tmp/text.png"
check "td: a picture that is no JPEG file: who takes it" sh -c "'$td' -I '$tmp/text.png' -s 64x48 '$model' 'a cat' '$tmp/clip.rgb' \
    2>&1 | grep -q 'text.png: Not a JPEG file; the filters turbodiff and turbodiff_i2v'"
check "td refuses a bad size" sh -c "! '$td' -s 8x48 -n 5 '$model' 'a cat' '$tmp/clip.rgb'"
check "td refuses a topk that is no number" sh -c "! '$td' -k all -s 64x48 -n 5 '$model' 'a cat' '$tmp/clip.rgb'"
check "td without arguments shows its usage" sh -c "'$td' 2>&1 | grep -q '^usage: td'"
tdinfo=$(find "$tmp/root" -name tdinfo)
check "tdinfo: the demo model is complete" "$tdinfo" --summary "${demo:-none}"
check "tdinfo lists a model" sh -c "'$tdinfo' '$model' | grep -q patch_embedding.weight"

check "make uninstall" $make --no-print-directory BUILD="$build" DESTDIR="$tmp/root" uninstall
check "uninstall leaves no file" test -z "$(find "$tmp/root" ! -type d)"
check "uninstall leaves no directory of its own" test -z "$(find "$tmp/root" -path '*/turbodiff*')"

echo "api: $passed passed, $failed failed"
[ $failed -eq 0 ]
