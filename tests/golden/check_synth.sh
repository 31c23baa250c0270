#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The goldens hold for the weights tdsynth wrote when they were made: generate them again and compare the sums.
# usage: check_synth.sh TDSYNTH
set -eu
[ $# = 1 ] || { echo "usage: check_synth.sh TDSYNTH" >&2; exit 1; }
tdsynth=$(realpath "$1")
cd "$(dirname "$0")"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT INT TERM
sums=$(realpath synth.sha256)
spiece=$(realpath ../data/spiece.model)
sed -n 's/^# weights \([a-z0-9]*\): tdsynth \(.*\)/\1 \2/p' manifest | while read -r name options; do
    # shellcheck disable=SC2086
    "$tdsynth" --spiece="$spiece" $options "$dir/$name"
done
cd "$dir"
sha256sum --quiet -c "$sums"
echo "ok: $(wc -l < "$sums") weight files"
