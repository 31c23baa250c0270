#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Runs a command of README in a clean clone on a fresh, minimal Debian: debootstrap.sh COMMAND. Needs root and debootstrap;
# without them, or without a mirror, it says so and ends with status 77. The Debian is that of this machine, or SUITE.
set -u
leave_out() {
    echo "debootstrap: $*"
    exit 77
}
[ "$(id -u)" -eq 0 ] || leave_out "needs root"
command -v debootstrap > /dev/null || leave_out "not installed"
suite=${SUITE:-$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)}
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2> /dev/null |
    sed -n 's/^deb  *\(\[[^]]*\] *\)\{0,1\}\([a-z]*:[^ ]*\).*/\2/p; s/^URIs: *\([^ ]*\).*/\1/p' | head -n 1)
[ -n "$mirror" ] || leave_out "no mirror in /etc/apt"
root=$(mktemp -d) && chmod 755 "$root" || exit 1         # it is / to what runs there, other users than root too
trap 'umount "$root/proc" 2> /dev/null; rm -rf --one-file-system "$root"' EXIT
trap 'exit 1' HUP INT TERM
debootstrap --variant=minbase --include=make,ca-certificates "$suite" "$root" "$mirror" > "$root.log" 2>&1 || {
    tail -n 3 "$root.log"
    rm -f "$root.log"
    leave_out "$suite from its mirror cannot be made here"
}
rm -f "$root.log"
# packages and the network as this machine has them
for f in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt; do [ -f $f ] && cp $f "$root$f"; done
cp -R /etc/apt/sources.list* /etc/apt/apt.conf.d /etc/apt/keyrings /etc/apt/trusted.gpg.d "$root/etc/apt/" 2> /dev/null
cache=${XDG_CACHE_HOME:-${HOME:-}/.cache}/turbodiff
if [ -d "$cache" ]; then
    mkdir -p "$root/root/.cache"
    cp -R "$cache" "$root/root/.cache/"
fi
mount -t proc proc "$root/proc" || leave_out "/proc cannot be mounted"
mkdir "$root/turbodiff"
git archive HEAD | tar -x -C "$root/turbodiff"
chroot "$root" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    http_proxy="${http_proxy:-}" https_proxy="${https_proxy:-}" sh -c "cd /turbodiff && $1" > "$root/log" 2>&1
code=$?
grep -B 8 '^FAIL' "$root/log" | tail -n 60
tail -n 5 "$root/log"
[ $code -eq 0 ] || exit 1
