#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Library, tools, unit tests and ffmpeg for aarch64, the host of GB200, Thor and DGX Spark: a cross build of a copy of this
# tree, and its tests under qemu. usage: aarch64.sh [TEST...]; without one all
#
# 1. Wanted are Debian's gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user-static, and a mirror that has arm64, of
#    which two libraries are unpacked into a folder of its own; nothing is installed. Without them status 77.
# 2. Programs that the tests start are shell scripts that start qemu.
# 3. The CUDA module, for one architecture, where nvcc is of CUDA 13 or later, g++-aarch64-linux-gnu is installed and pip has
#    the toolkit's headers and static library for that host; else a line says why not. It is loaded, and finds no GPU.
# 4. ffmpeg with what the filter tests need: its clip is td's.
# 5. The last line has the counts. An hour on two cores: qemu takes 20 to 300 times as long as the machine itself, and so
#    test_alloc lets every 61st allocation fail.
set -u
LC_ALL=C
export LC_ALL
cd "$(dirname "$0")/.." || exit 1
leave_out() {
    echo "aarch64: $*"
    exit 77
}
triple=aarch64-linux-gnu
for program in $triple-gcc qemu-aarch64-static apt-get dpkg-deb pkg-config; do
    command -v $program > /dev/null || leave_out "$program is not installed"
done
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM

# ---- the libraries ----

mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial" "$dir/debs" "$dir/root" "$dir/tree" && : > "$dir/status" || exit 1
arm64_apt() {
    apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State::Lists="$dir/lists" \
        -o Dir::State::status="$dir/status" -o Dir::Cache="$dir/cache" -o APT::Sandbox::User=root "$@" > "$dir/log" 2>&1
}
arm64_apt update && (cd "$dir/debs" && arm64_apt download libutf8proc-dev libutf8proc2 libjpeg62-turbo-dev libjpeg62-turbo) || {
    tail -n 2 "$dir/log"
    leave_out "the mirror has no arm64"
}
for deb in "$dir"/debs/*.deb; do
    dpkg-deb -x "$deb" "$dir/root" || exit 1
done
libs=$dir/root/usr/lib/$triple

# ---- CUDA for that host ----

# a toolkit in $dir/cuda: the compiler of this host, headers and library of the other one. Fails with a line
other_toolkit() {
    nvcc=$(command -v nvcc) && nvcc=$(realpath "$nvcc") && root=${nvcc%/bin/nvcc} && [ -f "$root/bin/nvcc.profile" ] ||
        { echo "nvcc is not installed"; return 1; }
    command -v $triple-g++ > "$dir/log" || { echo "$triple-g++ is not installed"; return 1; }
    version=$("$nvcc" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p')
    [ "${version%%.*}" -ge 13 ] || { echo "CUDA $version has no such packages"; return 1; }
    for part in runtime crt cccl; do
        pip download -q --platform manylinux2014_aarch64 --only-binary=:all: --no-deps -d "$dir/wheels" \
            "nvidia-cuda-$part==$version.*" > "$dir/log" 2>&1 || { echo "pip has no nvidia-cuda-$part $version of it"; return 1; }
    done
    for wheel in "$dir"/wheels/*.whl; do
        python3 -m zipfile -e "$wheel" "$dir/wheels" || return 1
    done
    mkdir -p "$dir/cuda/bin" "$dir/cuda/targets" "$dir/driver" && ln -s "$root/nvvm" "$dir/cuda/nvvm" &&
        ln -s "$dir/wheels/nvidia/cu${version%%.*}" "$dir/cuda/targets/sbsa-linux" && ln -s "$root"/bin/* "$dir/cuda/bin/" || return 1
    for file in nvcc nvcc.profile; do            # what it finds itself by
        rm "$dir/cuda/bin/$file" && cp "$root/bin/$file" "$dir/cuda/bin/" || return 1
    done
    # of the compiler's package, the same for all hosts
    find -L "$root" -name fatbinary_section.h -exec cp {} "$dir/cuda/targets/sbsa-linux/include/" \; -quit
    printf '#!/bin/sh\nexec "%s" -ccbin %s --target-directory sbsa-linux "$@"\n' "$dir/cuda/bin/nvcc" $triple-g++ > "$dir/nvcc"
    chmod +x "$dir/nvcc"
    # a driver by its name alone
    echo 'int cuInit(unsigned flags); int cuInit(unsigned flags) { return (int)flags; }' > "$dir/driver.c"
    $triple-gcc -shared -fPIC "$dir/driver.c" -o "$dir/driver/libcuda.so.1"
}
if why=$(other_toolkit); then
    cuda="--nvcc=$dir/nvcc --cuda-arch=120"
else
    echo "aarch64: without the CUDA module: $why"
    cuda=--disable-cuda
fi

# ---- the build ----

git ls-files -z --cached --others --exclude-standard | xargs -0 sh -c 'for f; do [ -f "$f" ] && printf "%s\0" "$f"; done' sh |
    tar -c --null -T - | tar -x -C "$dir/tree" || exit 1
cd "$dir/tree" || exit 1
PKG_CONFIG_LIBDIR=$libs/pkgconfig
PKG_CONFIG_SYSROOT_DIR=$dir/root
QEMU_LD_PREFIX=/usr/$triple
QEMU_SET_ENV=LD_LIBRARY_PATH=$libs
export PKG_CONFIG_LIBDIR PKG_CONFIG_SYSROOT_DIR QEMU_LD_PREFIX QEMU_SET_ENV
cc=$triple-gcc
command -v ccache > /dev/null && cc="ccache $cc"
jobs=$(nproc 2> /dev/null || echo 2)
flags="-isystem $dir/root/usr/include/$triple"
# Debian 12's compiler breaks down at some loops of fmax(), which the library and the tools do without
# the choice of CUDA is words
# shellcheck disable=SC2086
if ! { ./configure --enable-werror $cuda --cc="$cc" --extra-cflags="$flags" \
    --extra-ldflags="-Wl,-rpath-link,$libs" && make -j"$jobs" AR=$triple-ar all &&
    make -j"$jobs" AR=$triple-ar EXTRA_CFLAGS="$flags -fno-tree-loop-vectorize -DTEST_STRIDE=61" tests &&
    env -u PKG_CONFIG_SYSROOT_DIR make AR=$triple-ar FFMPEG_EXTRA="--enable-cross-compile --arch=aarch64 --target-os=linux --cross-prefix=$triple- \
        --pkg-config=pkg-config" "ffmpeg-$(sed -n 's/^FFMPEG_SERIES *:= *//p' config.mak)"; } > "$dir/log" 2>&1; then
    grep ': error: \|internal compiler error\|: warning: ' "$dir/log" | head -n 20
    tail -n 5 "$dir/log"
    tail -n 5 build/small-*/src/ffbuild/config.log 2> /dev/null
    echo "FAIL aarch64: it does not build"
    exit 1
fi

# ---- the tests ----

for program in td tdinfo tdsynth; do
    mv build/$program build/$program.arm || exit 1
    printf '#!/bin/sh\nexec qemu-aarch64-static "%s" "$@"\n' "$dir/tree/build/$program.arm" > build/$program
    chmod +x build/$program
done
make AR=$triple-ar -o build/tdsynth -s build/models/stamp > "$dir/log" 2>&1 || { tail -n 5 "$dir/log"; exit 1; }
tests=$*
[ -n "$tests" ] || tests=$(find build/tests -maxdepth 1 -type f -perm -u+x -name 'test_*' | sed 's|.*/||' | sort)
cat > "$dir/module" << EOF
#!/bin/sh
file=build/libturbodiff-cuda.so
readelf -h \$file | grep -q 'Machine: *AArch64' && echo "ok the CUDA module is of that host" ||
    echo "FAIL the CUDA module is of that host: \$(readelf -h \$file)"
said=\$(QEMU_SET_ENV=LD_LIBRARY_PATH=$libs:$dir/driver build/td --devices 2>&1)
case \$said in
*"NVIDIA driver that works"*) echo "ok the CUDA module is loaded" ;;
*) echo "FAIL the CUDA module is loaded: \$said"; exit 1 ;;
esac
EOF
cat > "$dir/ffmpeg" << 'EOF'
#!/bin/sh
clips=$(mktemp -d)
build/td -s 32x32 -n 5 -i 1 -r 1 build/models/tiny "a cat" "$clips/td" > "$clips/log" 2>&1 &&
    qemu-aarch64-static build/small-*/ffmpeg -nostdin -v error -f lavfi \
        -i "turbodiff=prompt=a cat:model=build/models/tiny:size=32x32:frames=5:steps=1:seed=1,format=rgb24" \
        -f rawvideo "$clips/ffmpeg" >> "$clips/log" 2>&1
if [ -s "$clips/td" ] && cmp "$clips/td" "$clips/ffmpeg"; then
    echo "ok ffmpeg makes the clip that td makes"
else
    cat "$clips/log"
    echo "FAIL ffmpeg makes the clip that td makes"
fi
rm -rf "$clips"
EOF
chmod +x "$dir/module" "$dir/ffmpeg"
set -- "$dir/ffmpeg" "qemu-aarch64-static build/checkops --fills=1 --sums=tests/golden/ops.sums"
[ "$cuda" = --disable-cuda ] || set -- "$dir/module" "$@"
TD_BUILD=build
TD_MODELS=build/models
TD_TEST_EMULATED=1
export TD_BUILD TD_MODELS TD_TEST_EMULATED
{
    printf '%s\n' "$@"
    for test in $tests; do
        echo "qemu-aarch64-static build/tests/$test"
    done
} | tr '\n' '\0' | xargs -0 -P "$jobs" -n 1 tests/run.sh aarch64 | tee "$dir/counts" |
    grep --line-buffered -v '^aarch64: [0-9]* passed, [0-9]* failed$'
awk '$1 == "aarch64:" && $3 == "passed," { passed += $2; failed += $4 }
    END { print "aarch64: " passed + 0 " passed, " failed + 0 " failed"; exit failed > 0 || !passed }' "$dir/counts"
