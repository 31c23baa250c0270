#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# What ./configure and the Makefile promise about the CUDA module, in a tree of links with a CUDA compiler that only says
# that it is one; and which modules the library opens: build.sh BUILD MODEL
set -u
LC_ALL=C
export LC_ALL
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES
build=$(realpath "$1")
model=$(realpath "$2")
make=${MAKE:-make}
cc=${CC:-cc}
top=$PWD
. "$(dirname "$0")/fate/cases.sh"

# ---- the module is made wherever it is used ----

mkdir "$tmp/tree" "$tmp/bin"
for f in "$top"/*; do
    case ${f##*/} in *.mak|build*|engine|Makefile) continue ;; esac
    ln -s "$f" "$tmp/tree/"
done
rm -f "$tmp/tree/configure"                      # it works where it lies
cp -R Makefile configure engine "$tmp/tree/"
# a target that has a folder's name, one of a suite, one that takes away
for target in all cuda tests fate-8.1 coverage uninstall; do
    equal "make $target before ./configure" "$($make -C "$tmp/tree" --no-print-directory $target 2>&1 | head -n 1)" \
        "make $target: run ./configure first (or: make demo, make check)"
done
cat > "$tmp/bin/nvcc" <<'END'
#!/bin/sh
case $1 in
--version) echo "Cuda compilation tools, release 13.0, V13.0.1" ;;
--list-gpu-code) echo "sm_80 sm_89 sm_90a" ;;
*) exit 1 ;;
esac
END
chmod +x "$tmp/bin/nvcc"
cd "$tmp/tree" || exit 1
check "configure finds the CUDA compiler" sh -c "PATH=$tmp/bin:\$PATH ./configure --cc='$cc' | tee '$tmp/told' | grep 'CUDA compiler.*nvcc 13.0'"
check "and says what it costs, and how to leave it out" grep -e '--disable-cuda' "$tmp/told"
check "an older compiler: what it knows, and PTX that later cards can run" grep -x 'CUDA_GENCODE  :=  -gencode arch=compute_80,code=sm_80 -gencode arch=compute_89,code=sm_89 -gencode arch=compute_90a,code=sm_90a -gencode arch=compute_89,code=compute_89' config.mak
sed -i 's/sm_90a"/sm_90 sm_100 sm_103 sm_110 sm_120 sm_121"/' "$tmp/bin/nvcc"
PATH=$tmp/bin:$PATH ./configure --cc="$cc" > /dev/null
# served CAPABILITY: by machine code of its major number and not a later minor one, or by PTX that is not later; of an
# architecture with a letter by its own alone (has_code() of cuda/list.cu)
served() {
    sed -n 's/^CUDA_GENCODE *:= *//p' config.mak | grep -o 'code=[a-z]*_[0-9]*a*' | sed 's/code=//; s/_/ /' | awk -v sm="$1" '
        { arch = $2 + 0; letter = $2 ~ /a$/ }
        letter ? arch == sm : $1 == "compute" ? arch <= sm : int(arch / 10) == int(sm / 10) && arch <= sm { found = 1; print $1, $2 }
        END { exit !found }'
}
for sm in 80 86 87 89 90 100 103 110 120 121; do
    check "a compiler of today: machine code for $sm" test "$(served $sm | grep -c '^sm')" -ge 1
done
check "and PTX for what comes after" test "$(served 130)" = "compute 120"
equal "75 is served by none" "$(served 75; echo $?)" 1
PATH=$tmp/bin:$PATH ./configure --cc="$cc" --cuda-arch=90a > /dev/null
equal "one with a letter alone is for it alone" "$(served 90 | tr '\n' ' ')$(served 100; echo $?)" "sm 90a compute 90a 1"
PATH=$tmp/bin:$PATH ./configure --cc="$cc" > /dev/null
check "without line numbers" sh -c "! $make -n BUILD=b all | grep -e -lineinfo"
for target in all install install-ffmpeg ffmpeg demo fate check-unit check-ops check-tools check-build; do
    check "make $target makes the module" sh -c "$make -n BUILD=b $target | tr '\n' ' ' |
        grep -e ' -c cuda/device.cu .* -shared .*-o b/libturbodiff-cuda.so'"
done
check "make install installs it" sh -c "$make -n BUILD=b install | grep 'install -m 755 .*b/libturbodiff-cuda.so'"
$make -s BUILD=b b/seam
check "its hash is there before it is compiled" sh -c "$make -n BUILD=b all | grep -e \"-DTD_SEAM='\\\"\$(cat b/seam)\\\"'.*cuda/device.cu\""
cp b/seam "$tmp/seam"
echo "/* */" >> engine/clip/clip.c
echo "/* */" >> engine/clip/clip.h
$make -s BUILD=b b/seam
check "a file of one side alone leaves the hash as it is" cmp b/seam "$tmp/seam"
for f in seam/backend base/thread base/tensor base/pixfmt base/wan api/turbodiff; do
    cp b/seam "$tmp/seam"
    sed -i 's/double/float/' "engine/$f.h"
    echo "/* */" >> "engine/$f.h"
    $make -s BUILD=b b/seam
    check "another $f.h is another hash" sh -c "! cmp b/seam '$tmp/seam'"
done
PATH=$tmp/bin:$PATH ./configure --cc="$cc" --enable-cuda-lines > /dev/null
check "line numbers are for developers" sh -c "$make -n BUILD=b all | grep -e '-lineinfo .* -c cuda/device.cu'"
./configure --cc="$cc" --disable-cuda > /dev/null
mkdir -p b
touch b/libturbodiff-cuda.so
check "without a CUDA compiler no module is installed, and an old one is removed" \
    sh -c "$make -n BUILD=b install > '$tmp/n' && ! grep 'install.*libturbodiff-cuda.so' '$tmp/n' && grep 'rm -f .*libturbodiff-cuda.so' '$tmp/n'"
check "nor beside ffmpeg" sh -c "$make -n BUILD=b install-ffmpeg > '$tmp/n' && ! grep 'install.*libturbodiff-cuda.so' '$tmp/n' && grep 'rm -f .*libturbodiff-cuda.so' '$tmp/n'"
equal "nor made for racecheck" "$(touch b/checkops; $make BUILD=b racecheck 2>&1 | head -n 1)" "make racecheck: no CUDA module without nvcc"
cd "$top" || exit 1

# ---- only a module of this build is opened ----

mkdir -p "$tmp/prefix/bin" "$tmp/prefix/lib" "$tmp/driver"
cp "$build/td" "$tmp/prefix/bin/"
seam=$(cat "$build/seam")

# stub DIR [SEAM]: a module that leaves a file when it is asked for GPUs, and has none
stub() {
    seam_line=${2:+"extern const char td_cuda_seam[]; const char td_cuda_seam[] = \"$2\";"}
    cat > "$tmp/stub.c" <<END
#include <errno.h>
#include <fcntl.h>
$seam_line
int td_cuda_list(void *list, int max, void *log);
int td_cuda_list(void *list, int max, void *log) { (void)list, (void)max, (void)log; creat("opened", 0600); return -ENOTSUP; }
END
    $cc -shared -fPIC "$tmp/stub.c" -o "$tmp/prefix/$1/libturbodiff-cuda.so" || exit 1
}

# td BACKEND OPTION...: its lines in log, its status in status; opened: by a stub
td() {
    rm -f "$tmp/opened"
    (cd "$tmp" && prefix/bin/td -B "$@" -s 64x48 -n 5 -i 1 "$model" "a cat" "$tmp/clip.rgb") > "$tmp/lines" 2>&1
    status=$?
}

if ! PATH=$PATH:/sbin:/usr/sbin ldconfig -p | grep -q 'libcuda\.so\.1'; then
    stub bin "$seam"
    td auto
    check "without a driver the CPU is one line, and no warning" sh -c "test $status -eq 0 && test ! -e '$tmp/opened' &&
        test \$(grep -c 'no NVIDIA driver' '$tmp/lines') -eq 1 && ! grep -i 'warning: [^a]' '$tmp/lines'"
    td auto -D 2
    check "a device by its number needs one" sh -c "test $status -eq 1 && test \$(wc -l < '$tmp/lines') -eq 1 &&
        grep '^error: device=2: there is no NVIDIA driver' '$tmp/lines'"
fi
echo 'int cuInit(unsigned flags); int cuInit(unsigned flags) { return (int)flags; }' > "$tmp/stub.c"
$cc -shared -fPIC "$tmp/stub.c" -o "$tmp/driver/libcuda.so.1" || exit 1
LD_LIBRARY_PATH=$tmp/driver:${LD_LIBRARY_PATH:-}
export LD_LIBRARY_PATH
stub bin 0123456789abcdef
td cuda
check "a module of another build is refused" test $status -eq 1
check "with both hashes" grep "^error: backend=cuda: /.*/bin/libturbodiff-cuda.so is of another build, with seam 0123456789abcdef where this library has $seam; install both of one build" "$tmp/lines"
check "and is not called" test ! -e "$tmp/opened"
td auto
check "with backend=auto it is a warning, and the CPU makes the clip" sh -c "test $status -eq 0 && test -s '$tmp/clip.rgb' &&
    grep '^warning: the CPU makes the clip, which takes about [0-9]* s: .*is of another build' '$tmp/lines'"
stub bin
td cuda
check "one from before there were hashes is refused" sh -c "test $status -eq 1 && test ! -e '$tmp/opened' &&
    grep 'another build, with seam unknown where' '$tmp/lines'"
echo "no module" > "$tmp/prefix/bin/libturbodiff-cuda.so"
td auto
check "one that cannot be loaded is a warning" sh -c "test $status -eq 0 && grep '^warning: the CPU makes .*/libturbodiff-cuda.so cannot be loaded (.*too short); install' '$tmp/lines'"
stub lib "$seam"
td cuda
check "one of this build is opened in the next place" sh -c "test $status -eq 1 && test -e '$tmp/opened' && ! grep 'another build' '$tmp/lines'"
td auto -D 2
check "a device by its number is no matter for the CPU" sh -c "test $status -eq 1 && test -e '$tmp/opened' && ! grep 'the CPU makes' '$tmp/lines'"

# ---- without a module ----

rm -f "$tmp"/prefix/*/libturbodiff-cuda.so
td auto
check "a driver that nothing uses is a warning that names the missing file and where it was looked for" sh -c "test $status -eq 0 &&
    grep '^warning: the CPU makes .* libturbodiff-cuda.so, which uses the GPU, is in none of: /.*/prefix/bin, /.*/bin/../lib, /' '$tmp/lines'"
td auto -D 2
check "a device by its number needs it" sh -c "test $status -eq 1 && test \$(wc -l < '$tmp/lines') -eq 1 &&
    grep '^error: device=2: libturbodiff-cuda.so, which' '$tmp/lines'"
td cpu -D 2
check "a device by its number with the CPU is refused" sh -c "test $status -eq 1 && grep '^error: device: 2 with backend cpu, want auto or cuda' '$tmp/lines'"

echo "build: $passed passed, $failed failed"
[ $failed -eq 0 ]
