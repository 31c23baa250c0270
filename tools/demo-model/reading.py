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


def values(state, s):
    """Of each attribute its values [n]"""
    return [torch.from_numpy(np.asarray(getattr(s, name), np.int64)).to(state.device) for name in VALUES]


def reading_loss(answers, values):
    return sum(F.cross_entropy(a, v) for a, v in zip(answers, values, strict=True))


@torch.no_grad()
def report(state, text, reader, n=2000):
    """How much of held-out scenes is read right in plain captions and in held-out wordings"""
    for wording in ("plain", "new"):
        s = scenes.sample(n, np.random.default_rng(6), held_out=True)
        ids, lengths = (x.to(state.device) for x in scenes.tokens(scenes.prompts(s, wording, held_out=True)))
        right = [(a.argmax(1) == v).float() for a, v in zip(reader(text(ids, lengths), lengths), values(state, s))]
        say(f"{wording} wordings, held out: right {100 * torch.stack(right).mean():.2f} %: " +
            ", ".join(f"{name} {100 * r.mean():.1f}" for name, r in zip(VALUES, right)))


def train(state, seconds):
    torch.manual_seed(2)
    text, reader = state.text(), Reader().to(state.device)
    opt, lr = optimizer([text, reader], 1e-3)
    mean = Average([text, reader], 0.99)
    step = Descent(opt, [mean])
    rng = seeded(5)
    for i in Clock(seconds, opt, lr):
        s = scenes.sample(state.share(256), rng)
        ids, lengths = (x.to(state.device) for x in scenes.tokens(scenes.prompts(s, "mixed")))
        loss = reading_loss(reader(text(ids, lengths), lengths), values(state, s))
        step(loss)
        if i % 100 == 0:
            say(f"text {i}: loss {loss.item():.4f}")
    say(f"text: {i} steps")
    text, reader = mean.nets
    report(state, text, reader)
    state.save("teacher", text=text)
