# SPDX-License-Identifier: BSD-2-Clause
"""Stages pack and unpack: what a training goes on from, in one file, for another machine on another day.

What stages keep is bfloat16, without the optimizer's state, whose averages are full again after a hundred steps. High bytes
and low bytes lie apart: of the former, sign and exponent, little is left when compressed."""

import os
import zipfile

import numpy as np
import torch

from ranks import say
from state import BF16, I2V, T2V

MOST = 60_000_000                                     # bytes


def parts(state):
    """Files that later stages go on from: of the stages that have followed each other the last one"""
    out = ["vae-vae", "teacher-text"]
    for kind in (T2V, I2V):
        has = lambda stage, part: os.path.exists(state.path(f"{kind.prefix}{stage}-{part}.pt"))  # noqa: E731, B023
        last = [s for s in ("sla", "student", "direct", "dmd") if has(s, "dit")][-1:]
        out += [f"{kind.prefix}{s}-dit" for s in ("teacher", *last)]
        out += [f"{kind.prefix}{s}-fake" for s in last]
    return [name for name in out if os.path.exists(state.path(name + ".pt"))]


def write(state, path, names):
    arrays = {}
    for name in names:
        for key, w in torch.load(state.path(name + ".pt"), map_location="cpu").items():
            if w.dtype != BF16:
                raise SystemExit(f"{name}: {key} is {w.dtype}, want {BF16}")
            arrays[f"{name}/{key}"] = np.moveaxis(w[..., None].contiguous().view(torch.uint8).numpy(), -1, 0)
    with open(path + ".new", "wb") as f:
        np.savez_compressed(f, **arrays)
    os.replace(path + ".new", path)
    return os.path.getsize(path)


def pack(state, path):
    names = parts(state)
    if not names:
        raise SystemExit(f"{state.directory}: nothing to pack; want what a stage leaves there")
    size = write(state, path, names)
    if size > MOST and any(n.endswith("-fake") for n in names):          # stage dmd makes these anew of the teacher
        names = [n for n in names if not n.endswith("-fake")]
        size = write(state, path, names)
    say(f"pack: {path}: {size} bytes: {', '.join(names)}")
    if size > MOST:
        raise SystemExit(f"{path}: {size} bytes, want at most {MOST}")


def unpack(state, path):
    found = {}
    try:
        with np.load(path) as arrays:
            for key in arrays.files:
                name, _, key_of = key.partition("/")
                w = torch.from_numpy(np.ascontiguousarray(np.moveaxis(arrays[key], 0, -1)))
                found.setdefault(name, {})[key_of] = w.view(BF16)[..., 0]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as e:
        raise SystemExit(f"{path}: damaged, want a file of stage pack: {e}") from e
    for name, sd in found.items():
        torch.save(sd, state.path(name + ".pt.new"))
        os.replace(state.path(name + ".pt.new"), state.path(name + ".pt"))
    say(f"unpack: {', '.join(found)}")
