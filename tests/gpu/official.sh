#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Full-size stages and clips against the official code (tools/golden/gpu_full.py says what and how it is judged).
# usage, from the repository's top: tests/gpu/official.sh BUILD OFFICIAL_DIR [CASE...]
# OFFICIAL_DIR is a checkout of TurboDiffusion. PYTHON (python3) must import torch, torchvision, triton, transformers
# and the official extensions: turbo_diffusion_ops, spas_sage_attn, flash_attn. Random weights of the official sizes, at
# most 47 GB at a time (30 GB for encode, i2v and i2v_clip alone), are written to a temporary directory. DEVICE=cpu:
# small models on the CPU, in two minutes.
set -eu
build=$(realpath "$1")
official=$(realpath "$2")
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
for dir in "$build/tests" "$build/tests/gpu"; do  # a program finds the module beside itself
    ln -sfn "$(realpath "$build")/libturbodiff-cuda.so" "$dir/" || exit 1
done
"${PYTHON:-python3}" -W ignore tools/golden/gpu_full.py --official="$official" --build="$build" --work="$work" \
    --device="${DEVICE:-cuda}" "$@"
