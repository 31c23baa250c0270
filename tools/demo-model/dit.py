# SPDX-License-Identifier: BSD-2-Clause
"""The Wan video transformer of any size, for training, with the official tensor names.

1. Head dim 128, patches 1x2x2, RoPE over time, height and width as in the official code.
2. The official cross-attention sees 512 rows of text, all past the prompt's end alike. Here that row stands once, with
   the logarithm of its count added to its scores: the same sum.
3. With sparse given self-attention is SLA: softmax over the chosen key blocks plus linear attention through proj_l.
   The choice of blocks has no gradient.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

HEAD = 128
TEXT_LENGTH = 512


def rope_table(t, h, w, device):
    """cos, sin [t*h*w, 64]"""
    angles = []
    for size, width, view in ((t, 44, (t, 1, 1)), (h, 42, (1, h, 1)), (w, 42, (1, 1, w))):
        f = 10000.0 ** (-torch.arange(0, width, 2, device=device).float() / width)
        a = torch.arange(size, device=device).float()[:, None] * f
        angles.append(a.view(*view, -1).expand(t, h, w, -1))
    a = torch.cat(angles, -1).reshape(t * h * w, HEAD // 2)
    return a.cos(), a.sin()


def rotate(x, rope):
    """x [B,H,L,128]: pairs of neighbours turned by their angles"""
    cos, sin = rope
    a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((a * cos - b * sin, b * cos + a * sin), -1).flatten(-2).to(x.dtype)


def in_int8(x):
    """[...,n,m] as codes of 8 bits hold it, a scale for each 128x128; its gradient is that of x"""
    n, m = x.shape[-2:]
    with torch.no_grad():
        tile = F.pad(x.float(), (0, 0, 0, -n % 128)).unflatten(-1, (-1, 128)).unflatten(-3, (-1, 128))
        step = tile.abs().amax((-3, -1), keepdim=True).clamp_min(1e-8) / 128
        near = ((tile / step).round().clamp(-128, 127) * step).flatten(-2, -1).flatten(-3, -2)[..., :n, :]
    return x + (near - x).detach()


class Linear(nn.Linear):
    """rounds: as W8A8 makes it"""
    rounds = False

    def forward(self, x):
        return F.linear(in_int8(x), in_int8(self.weight), self.bias) if self.rounds else super().forward(x)


class RmsNorm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return F.rms_norm(x.float(), x.shape[-1:], self.weight, 1e-6).to(x.dtype)


class Tiles:
    """Blocks of bq queries and bk keys, of which each block of queries sees a share of topk; linear: 1, or 0 without
    linear attention. All blocks without it are dense attention. Tensors of one size for all block sizes from `least` on, so
    that one compiled and recorded graph serves them."""

    def __init__(self, tokens, topk, bq, bk, device, linear=1.0, least=64):
        slots = -(-tokens // least)
        at = torch.arange(tokens, device=device)
        self.of_q, self.of_k = at // bq, at // bk
        self.pool_q, self.pool_k = (self.means(of, slots) for of in (self.of_q, self.of_k))
        n = -(-tokens // bk)
        self.absent = torch.where(torch.arange(slots, device=device) < n, 0.0, -math.inf)
        self.keep = torch.tensor(max(1, int(topk * n)), device=device)
        self.linear = torch.tensor(linear, device=device)

    def set(self, other):
        for name, tensor in vars(self).items():
            tensor.copy_(getattr(other, name))

    @staticmethod
    def means(of, slots):
        one = F.one_hot(of, slots).T.float()
        return one / one.sum(1, keepdim=True).clamp_min(1)


class Sla(nn.Module):
    def __init__(self):
        super().__init__()
        self.proj_l = nn.Linear(HEAD, HEAD)
        nn.init.zeros_(self.proj_l.weight)
        nn.init.zeros_(self.proj_l.bias)

    @torch.no_grad()
    def chosen(self, q, k, tiles):
        """[B,H,L,L] bool: keys of the blocks that a query's block chooses"""
        q, k = q.float(), k.float()
        score = (tiles.pool_q @ q) @ (tiles.pool_k @ (k - k.mean(2, keepdim=True))).mT
        rank = (score + tiles.absent).argsort(-1, descending=True).argsort(-1)
        return (rank < tiles.keep)[:, :, tiles.of_q][..., tiles.of_k]

    def forward(self, q, k, v, tiles):
        sparse = F.scaled_dot_product_attention(q, k, v, self.chosen(q, k, tiles))
        fq, fk = q.float().softmax(-1), k.float().softmax(-1)
        kv = fk.transpose(-1, -2) @ v.float()
        linear = (fq @ kv) / (1e-5 + (fq * fk.sum(2, keepdim=True)).sum(-1, keepdim=True))
        return sparse + self.proj_l(linear.to(v.dtype)) * tiles.linear.to(v.dtype)


class Attention(nn.Module):
    def __init__(self, dim, sla=False):
        super().__init__()
        self.q, self.k, self.v, self.o = (Linear(dim, dim) for _ in range(4))
        self.norm_q, self.norm_k = RmsNorm(dim), RmsNorm(dim)
        if sla:
            self.attn_op = nn.ModuleDict({"local_attn": Sla()})

    def heads(self, x):
        return x.unflatten(-1, (-1, HEAD)).transpose(1, 2)


class SelfAttention(Attention):
    def __init__(self, dim):
        super().__init__(dim, sla=True)

    def forward(self, x, rope, sparse):
        q, k = rotate(self.heads(self.norm_q(self.q(x))), rope), rotate(self.heads(self.norm_k(self.k(x))), rope)
        v = self.heads(self.v(x))
        q, k = q.to(v.dtype), k.to(v.dtype)
        o = self.attn_op["local_attn"](q, k, v, sparse) if sparse else F.scaled_dot_product_attention(q, k, v)
        return self.o(o.transpose(1, 2).flatten(2))


class CrossAttention(Attention):
    def queries(self, x):
        return self.heads(self.norm_q(self.q(x)))

    def forward(self, x, text, bias):
        return self.answers(self.queries(x), text, bias)

    def answers(self, q, text, bias):
        k, v = self.heads(self.norm_k(self.k(text))), self.heads(self.v(text))
        o = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, bias.to(v.dtype))
        return self.o(o.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, dim, ffn):
        super().__init__()
        self.dim = dim
        self.modulation = nn.Parameter(torch.randn(1, 6, dim) * dim**-0.5)
        self.self_attn, self.cross_attn = SelfAttention(dim), CrossAttention(dim)
        self.norm3 = nn.LayerNorm(dim, eps=1e-6)
        self.ffn = nn.Sequential(Linear(dim, ffn), nn.GELU("tanh"), Linear(ffn, dim))

    def forward(self, x, e, text, bias, rope, sparse):
        m = (self.modulation + e).unsqueeze(2).unbind(1)
        norm = lambda x: F.layer_norm(x.float(), (self.dim,), eps=1e-6)  # noqa: E731
        x = x + self.self_attn(norm(x) * (1 + m[1]) + m[0], rope, sparse) * m[2]
        x = x + self.cross_attn(self.norm3(x.float()), text, bias)
        return x + self.ffn(norm(x) * (1 + m[4]) + m[3]) * m[5]


class Head(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.head = nn.Linear(dim, 64)
        self.modulation = nn.Parameter(torch.randn(1, 2, dim) * dim**-0.5)
        nn.init.zeros_(self.head.weight)

    def forward(self, x, e):
        shift, scale = (self.modulation + e[:, None]).unsqueeze(2).unbind(1)
        return self.head(F.layer_norm(x.float(), x.shape[-1:], eps=1e-6) * (1 + scale) + shift)


class Dit(nn.Module):
    def __init__(self, dim, ffn, blocks, text_dim, in_dim=16):
        super().__init__()
        self.patch_embedding = nn.Linear(4 * in_dim, dim)
        self.text_embedding = nn.Sequential(nn.Linear(text_dim, dim), nn.GELU("tanh"), nn.Linear(dim, dim))
        self.time_embedding = nn.Sequential(nn.Linear(256, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        self.blocks = nn.ModuleList(Block(dim, ffn) for _ in range(blocks))
        self.head = Head(dim)
        for name, p in self.named_parameters():
            if p.ndim == 2 and not name.startswith("head") and "proj_l" not in name:
                nn.init.xavier_uniform_(p)
            elif name.endswith("bias"):
                nn.init.zeros_(p)

    def rounds(self, on):
        """The blocks' linears in int8, or not -> self. Not those of the text: the rows past its end, of which the official code has
        hundreds, are most of what they see, and on their own all but exact"""
        for b in self.blocks:
            for m in b.modules():
                if isinstance(m, Linear) and m not in (b.cross_attn.k, b.cross_attn.v):
                    m.rounds = on
        return self

    def context(self, text, lengths):
        """What cross-attention attends to [B,n+8,dim], and the bias of its scores"""
        n = text.shape[1]
        text = self.text_embedding(F.pad(text, (0, 0, 0, 8)))       # one row would do; kernels want multiples of 8
        at = torch.arange(n + 8, device=text.device)
        rest = (TEXT_LENGTH - lengths).float().log()[:, None]
        bias = rest * (at == n)
        return text, bias.masked_fill((at >= lengths[:, None]) & (at != n), -math.inf)[:, None, None]

    def forward(self, x, t, text, lengths, sparse=None, y=None):
        """x [B,16,T,h,w], t [B] in 0..1, text [B,n,text_dim] with zeros past lengths, sparse: Tiles or None,
        y: channels that follow x's, or None -> velocity [B,16,T,h,w], float32"""
        x = x if y is None else torch.cat((x, y), 1)
        b, _, frames, h, w = x.shape
        h, w = h // 2, w // 2
        rope = rope_table(frames, h, w, x.device)
        tokens = x.unflatten(4, (w, 2)).unflatten(3, (h, 2)).permute(0, 2, 3, 5, 1, 4, 6).reshape(b, frames * h * w, -1)
        tokens = self.patch_embedding(tokens)
        freq = 10000.0 ** (-torch.arange(128, device=x.device).float() / 128)
        angle = (t.float() * 1000)[:, None] * freq
        with torch.autocast(x.device.type, enabled=False):
            e = self.time_embedding(torch.cat((angle.cos(), angle.sin()), 1))
            e6 = self.time_projection(e).unflatten(1, (6, -1))
        text, bias = self.context(text, lengths)
        for block in self.blocks:
            tokens = block(tokens, e6, text, bias, rope, sparse)
        with torch.autocast(x.device.type, enabled=False):
            out = self.head(tokens, e).unflatten(1, (frames, h, w)).unflatten(-1, (2, 2, 16))
        return out.permute(0, 6, 1, 2, 4, 3, 5).reshape(b, 16, frames, h * 2, w * 2)
