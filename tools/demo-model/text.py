# SPDX-License-Identifier: BSD-2-Clause
"""The umT5 encoder of any size, for training, with the official tensor names."""

import math

import torch
import torch.nn.functional as F
from torch import nn


class Norm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return F.rms_norm(x.float(), x.shape[-1:], self.weight, 1e-6)


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim, bias=False) for _ in range(4))

    def forward(self, x, bias):
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        return self.o(F.scaled_dot_product_attention(q, k, v, bias.to(q.dtype), scale=1.0).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, dim, ffn):
        super().__init__()
        self.gate = nn.Sequential(nn.Linear(dim, ffn, bias=False), nn.GELU("tanh"))
        self.fc1, self.fc2 = nn.Linear(dim, ffn, bias=False), nn.Linear(ffn, dim, bias=False)

    def forward(self, x):
        return self.fc2(self.fc1(x) * self.gate(x))


class RelativeBias(nn.Module):
    """T5's buckets, in both directions: 8 near distances of their own, then logarithmic up to 128"""

    def __init__(self, heads, buckets=32):
        super().__init__()
        self.embedding = nn.Embedding(buckets, heads)
        self.buckets = buckets

    def forward(self, n):
        at = torch.arange(n, device=self.embedding.weight.device)
        apart = at[None] - at[:, None]
        half, near = self.buckets // 2, self.buckets // 4
        far = near + (apart.abs().clamp_min(1).float() / near).log() / math.log(128 / near) * (half - near)
        bucket = torch.where(apart.abs() < near, apart.abs(), far.long().clamp_max(half - 1)) + half * (apart > 0)
        return self.embedding(bucket).permute(2, 0, 1)


class Block(nn.Module):
    def __init__(self, dim, heads, ffn):
        super().__init__()
        self.norm1, self.attn = Norm(dim), Attention(dim, heads)
        self.norm2, self.ffn = Norm(dim), FeedForward(dim, ffn)
        self.pos_embedding = RelativeBias(heads)

    def forward(self, x, mask):
        x = x + self.attn(self.norm1(x), self.pos_embedding(x.shape[1]) + mask)
        return x + self.ffn(self.norm2(x))


class TextEncoder(nn.Module):
    def __init__(self, vocab, dim=128, heads=2, ffn=256, blocks=2, same=None):
        """same: of each id the one whose row of the embedding it has, too; None: itself"""
        super().__init__()
        self.register_buffer("same", None if same is None else torch.tensor(same), persistent=False)
        self.token_embedding = nn.Embedding(vocab, dim)
        self.blocks = nn.ModuleList(Block(dim, heads, ffn) for _ in range(blocks))
        self.norm = Norm(dim)
        for name, p in self.named_parameters():
            if "embedding" in name:
                nn.init.normal_(p, std=1.0 if "token" in name else 0.1)
            elif p.ndim == 2:
                nn.init.normal_(p, std=p.shape[1] ** -0.5 * (dim // heads) ** (-0.5 if ".q." in name else 0))

    @torch.no_grad()
    def spread(self):
        """Give ids that are the same as others their rows, as files have them"""
        if self.same is not None:
            self.token_embedding.weight.copy_(self.token_embedding.weight[self.same])

    def forward(self, ids, lengths):
        """[B,n] token ids, [B] -> [B,n,dim], rows past the length zero"""
        valid = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
        mask = torch.zeros(valid.shape, device=ids.device).masked_fill_(~valid, -1e9)[:, None, None]
        x = self.token_embedding(ids if self.same is None else self.same[ids])
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x) * valid[..., None]
