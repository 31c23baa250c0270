# SPDX-License-Identifier: BSD-2-Clause
# Sourced after cases.sh: programs in a directory of their own, beside the module that claims GPUs, and a driver to go with
# it. place BUILD PROGRAM...: copies to $here, which is $tmp/cards/bin; BUILD has the module.
here=$tmp/cards/bin
place() {
    place_build=$1
    shift
    mkdir -p "$here" "$tmp/cards/driver"
    ${CC:-cc} -std=c11 -shared -fPIC "$(dirname "$0")/../cards/driver.c" -o "$tmp/cards/driver/libcuda.so.1" || exit 1
    for program; do
        cp -L "$program" "$here/" || exit 1
    done
    put_module
    LD_LIBRARY_PATH=$tmp/cards/driver${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    export LD_LIBRARY_PATH
}
put_module() {
    cp "$place_build/tests/cards/libturbodiff-cuda.so" "$here/" || exit 1
}
take_module() {
    rm -f "$here/libturbodiff-cuda.so"
}
# claim WORD...: the GPUs that there are from now on (tests/cards/module.c); what was opened before is forgotten
claim() {
    TD_TEST_CARDS=$*
    TD_TEST_CARDS_LOG=$tmp/opened
    export TD_TEST_CARDS TD_TEST_CARDS_LOG
    rm -f "$tmp/opened"
}
# opened: the numbers of the GPUs that a program opened, in order, then a point
opened() {
    if [ -e "$tmp/opened" ]; then tr '\n' ' ' < "$tmp/opened"; fi
    echo .
}
