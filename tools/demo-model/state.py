# SPDX-License-Identifier: BSD-2-Clause
"""What the stages of train.py share: sizes of the networks, files of a directory, the batch, the device."""

import os
from typing import NamedTuple

import ranks                                          # before torch: it says which GPU is this process's
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from descent import compiled
from dit import Dit, Tiles
from ranks import RANK, RANKS
from text import TextEncoder
from vae import Vae
from vocabulary import N_IDS, SAME

VAE_DIM, DIM, FFN, BLOCKS = 16, 256, 1024, 6
TEXT_DIM, TEXT_HEADS, TEXT_FFN, TEXT_BLOCKS = 128, 2, 192, 2
GUIDANCE = 2.0                                        # of the teacher, for the student
TOPK = (0.5, 0.34, 0.5, 0.17)                         # shares of key blocks to know; the first one is the model's own
SPARSE_BLOCKS = ((64, 128), (128, 64))                # queries x keys: the model's own; the other one
GRID, TOKENS = (5, 24, 24), 720                      # of latents: 17 frames of 192x192
EMPTY = torch.tensor([1] + [0] * 31)                  # no caption: </s> alone
BF16 = torch.bfloat16


class Kind(NamedTuple):
    prefix: str                                       # of its files in DIR
    channels: int                                     # that its transformer sees
    sigma: float

    def times(self):
        """The official ones but the last one, 0"""
        return [s / (1 + s) for s in (self.sigma, *np.tan((1.5, 1.4, 1.0)))]


T2V, I2V = Kind("", 16, 80), Kind("i2v_", 36, 200)


class State:
    def __init__(self, directory, device, batch):
        self.cuda = device == "cuda"
        self.directory, self.device, self.batch = directory, device, batch
        os.makedirs(directory, exist_ok=True)

    def path(self, name):
        return os.path.join(self.directory, name)

    def share(self, batch):
        """Clips of a batch that this process draws"""
        return max(1, (self.batch or batch) // RANKS)

    def save(self, name, **nets):
        for part, net in nets.items() if RANK == 0 else ():
            if part == "text":
                net.spread()
            torch.save({k: v.to(BF16) for k, v in net.state_dict().items()}, self.path(f"{name}-{part}.pt.new"))
            os.replace(self.path(f"{name}-{part}.pt.new"), self.path(f"{name}-{part}.pt"))
        ranks.wait()

    def load(self, name, **nets):
        """Whatever is there. @return was everything there?"""
        for part, net in nets.items():
            if not os.path.exists(self.path(f"{name}-{part}.pt")):
                return False
            sd = torch.load(self.path(f"{name}-{part}.pt"), map_location=self.device)
            if part == "dit":                         # of fewer channels: the weights of the others, the last, are 0
                w = sd["patch_embedding.weight"]
                sd["patch_embedding.weight"] = F.pad(w, (0, net.patch_embedding.in_features - w.shape[1]))
            net.load_state_dict(sd)
        return True

    def need(self, name, **nets):
        if not self.load(name, **nets):
            raise SystemExit(f"{self.directory}: nothing of stage {name} there; run it first")

    def vae(self):
        vae = Vae(VAE_DIM).to(self.device)
        for m in vae.modules() if not self.cuda else ():      # a CPU encodes three times as fast with channels last
            if isinstance(m, nn.Conv3d):
                m.to(memory_format=torch.channels_last_3d)
        return vae

    def pair(self, kind=T2V):
        """transformer and text encoder"""
        return compiled(Dit(DIM, FFN, BLOCKS, TEXT_DIM, kind.channels).to(self.device)), self.text()

    def text(self):
        return TextEncoder(N_IDS, TEXT_DIM, TEXT_HEADS, TEXT_FFN, TEXT_BLOCKS, SAME).to(self.device)

    def sparse(self):
        """Tiles that training is to know in turn: of both sizes and all shares, the usual one most often, and dense ones"""
        kinds = [[Tiles(TOKENS, topk, *blocks, self.device) for blocks in SPARSE_BLOCKS] for topk in TOPK]
        return [tiles for pair in kinds for tiles in (*pair, self.dense())]

    def turns(self):
        """As sparse(), for a student that has its own tiles: the others as often, all shares of them now and then"""
        tiles = self.sparse()
        own, other, dense = tiles[:3]
        return [own, other, dense, other, *tiles[3:5], own, other, dense, other, *tiles[9:11]]

    def dense(self):
        return Tiles(TOKENS, 1, *SPARSE_BLOCKS[0], self.device, linear=0.0)

    def autocast(self):
        return torch.autocast("cuda" if self.cuda else "cpu", BF16)

    def data(self, kind=T2V):
        """latents bf16 [N,16,T,h,w] (I2V: [N,32,T,h,w], with first_frame()'s), of each clip the plain caption and others: ids
        [N,texts,32], lengths [N,texts]; on the device"""
        name = kind.prefix + "latents"
        if not os.path.exists(self.path(f"{name}-{RANK}.pt")):
            raise SystemExit(f"{self.directory}: nothing of stage {name} there; run it first")
        return [x.to(self.device) for x in torch.load(self.path(f"{name}-{RANK}.pt"))]


class Captions:
    """What the text encoder makes of captions: ids [N,texts,32], lengths [N,texts]"""

    @torch.no_grad()
    def __init__(self, text, ids, lengths):
        self.texts, self.lengths = ids.shape[1], lengths
        self.emb = embedded(text, ids.flatten(0, 1), lengths.flatten())
        self.none = no_caption(text, ids.device)

    def of(self, rows):
        """-> [B,n,d], [B], half of them of the first caption, the plain one"""
        which = (torch.randint_like(rows, 2 * self.texts) - self.texts).clamp_min(0)
        return self.emb[rows * self.texts + which], self.lengths[rows, which]


@torch.no_grad()
def embedded(text, ids, lengths):
    """[N,32], [N] -> [N,n,d]"""
    return torch.cat([text(i, n) for i, n in zip(ids.split(4096), lengths.split(4096))])


def no_caption(text, device):
    """[1,n,d]"""
    return text(EMPTY.to(device)[None], torch.ones(1, dtype=torch.long, device=device))
