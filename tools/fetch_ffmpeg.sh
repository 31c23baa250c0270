#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Finds the FFmpeg release tarball of a series and prints its path: fetch_ffmpeg.sh SERIES
#
# 1. Looked for in the cache, then fetched as the source package of Debian from the mirror that this machine's own apt
#    configuration names; apt checks the archive's signature.
# 2. A release pinned below must have the pinned sha256; another point release of the series is used with a warning.
# 3. Nothing outside the cache is written; the apt state of the machine is not touched.
set -u
LC_ALL=C
export LC_ALL

# release and sha256 of its tar.xz
pins="7.1.5 de668509caf9e35e3cd162473441fdb29538c6d96ed080292b3cf9e6fc5d558f
8.1.2 464beb5e7bf0c311e68b45ae2f04e9cc2af88851abb4082231742a74d97b524c
9.0.2 8c3850283eb25fa026482078a04051e0be17347b09ef81a0849bec15a96e002e"

die() {
    echo "fetch_ffmpeg: $*" >&2
    exit 1
}

series=${1:-}
case $series in
7.1) suites="trixie forky sid" ;;
8.1) suites="forky sid trixie" ;;
9.0) suites="sid forky" ;;
*)   die "usage: fetch_ffmpeg.sh 7.1|8.1|9.0" ;;
esac
pinned=$(echo "$pins" | sed -n "s/^\($series\.[0-9]*\) .*/\1/p")

# accept FILE VERSION: 0 if this is a release that may be used
accept() {
    want=$(echo "$pins" | sed -n "s/^$2 //p")
    if [ -z "$want" ]; then
        echo "fetch_ffmpeg: warning: FFmpeg $2 is not the release this was tested with ($pinned)" >&2
        return 0
    fi
    got=$(sha256sum "$1" | cut -d ' ' -f 1)
    [ "$got" = "$want" ] && return 0
    echo "fetch_ffmpeg: $1: sha256 $got, expected $want" >&2
    return 1
}

cache=${XDG_CACHE_HOME:-${HOME:-}/.cache}/turbodiff
if ! mkdir -p "$cache" 2> /dev/null || [ ! -w "$cache" ]; then
    cache=$(pwd)/build/cache
    mkdir -p "$cache" || exit 1
fi

for version in $pinned $(find "$cache" -name "ffmpeg-$series*.tar.xz" | sed 's/.*ffmpeg-\(.*\)\.tar\.xz/\1/' | sort -rV); do
    tarball=$cache/ffmpeg-$version.tar.xz
    if [ -f "$tarball" ]; then
        if accept "$tarball" "$version"; then
            echo "$tarball"
            exit 0
        fi
        rm -f "$tarball"
    fi
done

hint="give its release tarball or source directory with ./configure --ffmpeg-src=PATH"
command -v apt-get > /dev/null 2>&1 || die "no apt-get here to fetch FFmpeg $series with; $hint"

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$tmp/lists/partial" "$tmp/cache/archives/partial" "$tmp/src"

# the Debian archive in the machine's own configuration: "URI<tab>FILE:ENTRY" lines
archives() {
    apt-get "$@" indextargets --format '$(ORIGIN) $(COMPONENT) $(RELEASE) $(REPO_URI) $(SOURCESENTRY)' \
        'Created-By: Packages' 2> /dev/null |
        awk '$1 == "Debian" && $2 == "main" && $3 !~ /-(security|updates|backports)$/ && !seen[$4]++ { print $4 "\t" $5 }'
}
archives > "$tmp/archives"
if [ ! -s "$tmp/archives" ]; then
    # no package lists were ever downloaded here
    apt-get -o Dir::State::Lists="$tmp/lists" -o Dir::Cache="$tmp/cache" -qq update > "$tmp/log" 2>&1
    archives -o Dir::State::Lists="$tmp/lists" -o Dir::Cache="$tmp/cache" > "$tmp/archives"
    rm -rf "$tmp/lists"
    mkdir -p "$tmp/lists/partial"
fi
[ -s "$tmp/archives" ] || die "apt's configuration here names no Debian archive to fetch FFmpeg $series from; $hint"

# keyring FILE URI: the Signed-By path of the entry for URI in a sources file of either format
keyring() {
    case $1 in
    *.sources)
        awk -v uri="${2%/}" 'BEGIN { RS = ""; FS = "\n" }
            index($0, uri) { for (i = 1; i <= NF; i++) if (sub(/^[Ss]igned-[Bb]y:[ \t]*\//, "/", $i)) { print $i; exit } }' "$1"
        ;;
    *)
        grep -F "${2%/}" "$1" | sed -n 's/^deb[^[]*\[[^]]*signed-by=\(\/[^] ]*\).*/\1/p' | head -n 1
        ;;
    esac
}

apt() {
    tool=$1
    shift
    "$tool" -o Dir::Etc::sourcelist="$tmp/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::Lists="$tmp/lists" \
        -o Dir::Cache="$tmp/cache" -o APT::Sandbox::User="$(id -un)" -o APT::Get::List-Cleanup=0 "$@"
}

while read -r uri entry; do
    key=$(keyring "${entry%:*}" "$uri")
    if [ -z "$key" ]; then
        for k in /usr/share/keyrings/debian-archive-keyring.pgp /usr/share/keyrings/debian-archive-keyring.gpg; do
            [ -z "$key" ] && [ -f "$k" ] && key=$k
        done
    fi
    for suite in $suites; do
        echo "fetch_ffmpeg: looking for FFmpeg $series in Debian $suite" >&2
        echo "deb-src ${key:+[signed-by=$key]} $uri $suite main" > "$tmp/sources.list"
        # a mirror that stands still is good enough: its lists are signed, and the tarballs' sums are known
        apt apt-get -qq -o Acquire::Check-Valid-Until=false update > "$tmp/log" 2>&1 ||
            { grep '^[EW]:' "$tmp/log" | head -n 1 >&2; continue; }
        debver=$(apt apt-cache showsrc --only-source ffmpeg 2> /dev/null |
                 sed -n "s/^Version: \(.*:$series\(\.[0-9]*\)*-.*\)/\1/p" | sort -rV | head -n 1)
        [ -n "$debver" ] || continue
        version=$(echo "$debver" | sed 's/^[0-9]*://; s/-[^-]*$//')
        (cd "$tmp/src" && apt apt-get -qq source --download-only --tar-only "ffmpeg=$debver") > "$tmp/log" 2>&1 ||
            { grep '^[EW]:' "$tmp/log" | head -n 1 >&2; continue; }
        file=$tmp/src/ffmpeg_$version.orig.tar.xz
        [ -f "$file" ] && accept "$file" "$version" || continue
        cp "$file" "$cache/.ffmpeg-$version.$$" && mv "$cache/.ffmpeg-$version.$$" "$cache/ffmpeg-$version.tar.xz" || exit 1
        echo "$cache/ffmpeg-$version.tar.xz"
        exit 0
    done
done < "$tmp/archives"
die "no FFmpeg $series in Debian's source packages; $hint"
