#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The filters in one ffmpeg: all.sh DIR BUILD SUITE...
# DIR has ffmpeg and ffprobe; BUILD libraries, tools, test modules and the tiny models. Each suite says how long it took. Status
# 0: all of them passed.
set -u
dir=$1
build=$2
shift 2
here=$(dirname "$0")
model=$build/model-tiny
i2v=$model-i2v
status=0

for suite; do
    case $suite in
    i2v) set -- "$i2v" "$model" ;;
    clips | firsthour) set -- "$i2v" ;;
    run | channel | disk | streams) set -- "$model" ;;
    failure | transition | marks) set -- "$model" "$i2v" ;;
    health) set -- "$build" "$model" ;;
    devices) set -- "$build" "$model" "$i2v" ;;
    demo | readme | live) set -- ;;
    *) echo "all.sh: no suite '$suite'" >&2; exit 1 ;;
    esac
    began=$(date +%s)
    "$here/$suite.sh" "$dir" "$@" || status=1
    echo "$suite of $dir: $(($(date +%s) - began)) s"
done
exit $status
