# SPDX-License-Identifier: BSD-2-Clause
"""Scenes with captions, each in several wordings, written by all cores at once: it is the work of Python."""

import concurrent.futures
import dataclasses
import functools
import multiprocessing
import os

import numpy as np
import torch

import ranks
import scenes
from language import RELATIONS
from ranks import RANKS
from vocabulary import SPACE_ID

SCENES, TEXTS = 100000, 4                             # of each process on a GPU, for the text encoder; captions of each
SCENES_OF_CPU = 4000
EMPHASIS = [{}, {}, *({"relation": r} for r in RELATIONS[1:]), {"shape": "star"}, {"shape": "ring"}, {"shape": "cross"},
            {"motion": "rotate"}, {"size": "small"}, {"texture": "striped"}, {"texture": "dotted"}]
PART = 512                                            # scenes of a task


def misspelt(ids, lengths, rng):
    """In a tenth of the texts a word that is none, as letters: what is not known shall not hurt the rest"""
    for i in np.flatnonzero(rng.random(len(ids)) < 0.1):
        n, more = int(lengths[i]), int(rng.integers(2, 8))
        if n + more <= ids.shape[1]:
            at = int(rng.integers(n))
            ids[i, at + more:n + more] = ids[i, at:n].clone()
            ids[i, at] = SPACE_ID
            ids[i, at + 1:at + more] = torch.from_numpy(SPACE_ID + rng.integers(65, 91, more - 1))
            lengths[i] += more
    return ids, lengths


def part(seed, texts, n):
    """-> Scenes, ids [n,texts,32] and lengths [n,texts]: the plain caption, then others"""
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    s = scenes.sample(n, rng, **rng.choice(EMPHASIS))
    found = [scenes.tokens(scenes.captions(s))]
    for k in range(1, texts):
        found.append(misspelt(*scenes.tokens(scenes.prompts(s, "new", first=100 * k)), rng))
    return s, *(np.stack([f[i].numpy() for f in found], 1).astype(np.int16) for i in (0, 1))


@functools.lru_cache(1)
def written(n, texts, seed):
    """At least n of this process's own, as part() has them, the arrays as int64 tensors"""
    size = min(n, PART)
    seeds = [[seed, ranks.RANK, ranks.day, i] for i in range(-(-n // size))]
    workers = max(1, min(len(seeds), os.cpu_count() // RANKS))
    with concurrent.futures.ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        found = list(pool.map(part, seeds, [texts] * len(seeds), [size] * len(seeds)))
    names = [f.name for f in dataclasses.fields(scenes.Scenes)]
    s = scenes.Scenes(**{name: np.concatenate([getattr(f[0], name) for f in found]) for name in names})
    ids, lengths = (torch.from_numpy(np.concatenate([f[i] for f in found])).long() for i in (1, 2))
    return s, ids, lengths
