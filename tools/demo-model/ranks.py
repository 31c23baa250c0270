# SPDX-License-Identifier: BSD-2-Clause
"""The processes of a training, one for each GPU, as torchrun starts them. A single one works alike."""

import os
import time

RANK, RANKS = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
if RANKS > 1:
    os.environ["CUDA_VISIBLE_DEVICES"] = str(RANK)    # all call theirs cuda:0, so that compiled code is found again

import numpy as np
import torch
import torch.distributed as dist

START = time.time()
host = None                                           # group for what is not on a GPU
day = 0                                               # each has other scenes and noise


def begin(device, of_day):
    global host, day
    day = of_day
    if RANKS > 1:
        dist.init_process_group("nccl" if device == "cuda" else "gloo")
        host = dist.new_group(backend="gloo")


def end():
    if RANKS > 1:
        dist.destroy_process_group()


def say(*words):
    if RANK == 0:
        print(f"[{time.time() - START:6.1f}s]", *words, flush=True)


def seeded(seed):
    """Another sequence for each stage, process and day; networks are made before, with the same numbers everywhere"""
    torch.manual_seed(100000 * day + 1000 * seed + RANK)
    return np.random.default_rng([seed, RANK, day])


def of_the_first(number):
    """-> the first process's"""
    if RANKS == 1:
        return number
    out = torch.tensor([number], dtype=torch.float64)
    dist.broadcast(out, 0, group=host)
    return out.item()


def alike(nets):
    """All start with the numbers of the first"""
    for net in nets if RANKS > 1 else ():
        for p in net.parameters():
            dist.broadcast(p.data, 0)


def add_up(vector):
    """In place, over all"""
    if RANKS > 1:
        dist.all_reduce(vector)


def wait():
    """For all others"""
    if RANKS > 1:
        dist.barrier(group=host)
