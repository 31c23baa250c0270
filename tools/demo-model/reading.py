# SPDX-License-Identifier: BSD-2-Clause
"""Stage text: the text encoder learns to read, without a transformer. Which colour belongs to which object, and what is
left or right of what, depends on the order of words alone, which the loss of clips teaches late."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import scenes
from descent import Average, Clock, Descent, optimizer
from dit import CrossAttention
from language import NAMES
from ranks import say, seeded
from state import TEXT_DIM

VALUES = {"count": 4, **{name: len(values) for name, values in NAMES.items()}}


class Reader(nn.Module):
    """Tells a scene's attributes from rows of text, which it attends to as a block of the transformer does"""

    def __init__(self, dim=256):
        super().__init__()
        self.embedding = nn.Linear(TEXT_DIM, dim)
        self.questions = nn.Parameter(torch.randn(len(VALUES), dim))
        self.attn = CrossAttention(dim)
        self.head = nn.ModuleList(nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, n))
                                  for n in VALUES.values())

    def forward(self, text, lengths):
        """[B,n,TEXT_DIM], [B] -> of each attribute the scores [B,values]"""
        past = torch.arange(text.shape[1], device=text.device) >= lengths[:, None]
        bias = torch.zeros(past.shape, device=text.device).masked_fill(past, -1e9)[:, None, None]
        answers = self.attn(self.questions.expand(len(text), -1, -1), self.embedding(text), bias)
        return [head(answer) for head, answer in zip(self.head, answers.unbind(1), strict=True)]


def examples(state, rng, n, **kind):
    """-> ids, lengths, and for each attribute its values [n]"""
    s = scenes.sample(n, rng, **kind)
    ids, lengths = scenes.tokens(scenes.captions(s))
    values = (torch.from_numpy(np.asarray(getattr(s, name), np.int64)) for name in VALUES)
    return ids.to(state.device), lengths.to(state.device), [v.to(state.device) for v in values]


def train(state, seconds):
    torch.manual_seed(2)
    text, reader = state.text(), Reader().to(state.device)
    opt, lr = optimizer([text, reader], 1e-3)
    mean = Average([text, reader], 0.99)
    step = Descent(opt, [mean])
    rng = seeded(5)
    for i in Clock(seconds, opt, lr):
        ids, lengths, values = examples(state, rng, state.share(256))
        loss = sum(F.cross_entropy(a, v) for a, v in zip(reader(text(ids, lengths), lengths), values, strict=True))
        step(loss)
        if i % 100 == 0:
            say(f"text {i}: loss {loss.item():.4f}")
    text, reader = mean.nets
    ids, lengths, values = examples(state, np.random.default_rng(6), 1000, held_out=True)
    with torch.no_grad():
        answers = reader(text(ids, lengths), lengths)
    right = [100 * (a.argmax(1) == v).float().mean() for a, v in zip(answers, values, strict=True)]
    say(f"text: {i} steps, right of held-out captions: " +
        ", ".join(f"{name} {r:.1f} %" for name, r in zip(VALUES, right, strict=True)))
    state.save("teacher", text=text)
