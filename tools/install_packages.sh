#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Installs what ./configure, make and the tests need and this machine lacks, as Debian packages: install_packages.sh
# Without the right to install, it prints the command to do so and fails. On other systems it does nothing.
set -eu

command -v apt-get > /dev/null 2>&1 || exit 0

# package, and how to see that it is there: a command or a pkg-config module
needed="gcc:gcc libc6-dev:/usr/include/stdio.h make:make patch:patch xz-utils:xz pkg-config:pkg-config
nasm:nasm libutf8proc-dev:libutf8proc libjpeg-dev:libjpeg zlib1g-dev:zlib libx264-dev:x264
libvpx-dev:vpx libzmq3-dev:libzmq libzimg-dev:zimg libfreetype-dev:freetype2 libharfbuzz-dev:harfbuzz
libfontconfig-dev:fontconfig libffmpeg-nvenc-dev:ffnvcodec libx265-dev:x265 libsvtav1enc-dev:SvtAv1Enc
libdav1d-dev:dav1d libopus-dev:opus libmp3lame-dev:/usr/include/lame/lame.h libgnutls28-dev:gnutls
libsrt-gnutls-dev:srt"

missing=
for item in $needed; do
    probe=${item#*:}
    case $probe in
    /*) [ -e "$probe" ] && continue ;;
    *)  command -v "$probe" > /dev/null 2>&1 && continue
        pkg-config --exists "$probe" 2> /dev/null && continue ;;
    esac
    missing="$missing ${item%%:*}"
done
[ -n "$missing" ] || exit 0

sudo=
if [ "$(id -u)" -ne 0 ]; then
    sudo=sudo
    if ! sudo -n true 2> /dev/null; then
        echo "Packages are missing. Install them and try again:" >&2
        echo "    sudo apt-get install --no-install-recommends$missing" >&2
        exit 1
    fi
fi
echo "installing:$missing"
$sudo apt-get -qq update || echo "apt-get update failed; trying with the package lists at hand" >&2
# a list of packages
# shellcheck disable=SC2086
$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $missing > /dev/null
