# SPDX-License-Identifier: BSD-2-Clause
"""Stage agree: a student that is good as it is learns to make the same clips of other wordings, with other attention. It sees
what it makes itself of plain captions, through the encoder from before stage reword and with its own blocks, on the way
through its few steps; no teacher and no clips are needed."""

import copy
import time

import torch

import flow
import scenes
from autoencoder import EMPHASIS
from descent import Average, descend, optimizer
from ranks import seeded
from state import GRID, T2V

SCENES = 40000                                        # of each process, in at most WRITE_SECONDS
WRITE_SECONDS = 60


def written(state, before, text, rng):
    """Of many scenes: embedding and length of the plain caption, of another wording"""
    started, found = time.time(), []
    while sum(map(len, (f[0] for f in found))) < (SCENES if state.cuda else 64) and time.time() - started < WRITE_SECONDS:
        s = scenes.sample(512 if state.cuda else 32, rng, **rng.choice(EMPHASIS))
        plain, few = (x.to(state.device) for x in scenes.tokens(scenes.captions(s)))
        ids, lengths = (x.to(state.device) for x in scenes.tokens(scenes.prompts(s, "new")))
        same = torch.arange(len(ids), device=state.device) % 3 == 0           # a third stays plain
        ids, lengths = torch.where(same[:, None], plain, ids), torch.where(same, few, lengths)
        with torch.no_grad():
            found.append((before(plain, few), few, text(ids, lengths), lengths))
    return [torch.cat(x) for x in zip(*found)]


def train(state, seconds):
    torch.manual_seed(9)
    student, text = state.pair()
    own, before = state.pair()
    state.need("teacher", text=text)
    state.need("unreworded", text=before)
    state.need("shipped", dit=own)
    if not state.load("student", dit=student):
        student.load_state_dict(own.state_dict())
    rng = seeded(9)
    plain, few, emb, lengths = written(state, before, text, rng)
    n, batch = len(emb), state.share(256)
    choices = state.sparse()
    usual, sparse = choices[0], copy.deepcopy(choices[0])
    times = torch.tensor((*T2V.times(), 0.0), dtype=torch.float32, device=state.device)
    mean = Average([student], 0.998)
    step = torch.arange(batch, device=state.device) % (len(times) - 1)
    rows = torch.randint(n, (batch,), device=state.device)
    x = torch.randn((batch, 16, *GRID), device=state.device) * flow.wide(times[step])

    def loss_of():
        t = times[step]
        with torch.no_grad():
            want = own(x, t, plain[rows], few[rows], usual)
        v = student(x.clone(), t, emb[rows], lengths[rows], sparse)
        miss = (flow.wide(t) * (v - want)).square().mean((1, 2, 3, 4))         # of where the clip ends
        with torch.no_grad():
            end = flow.end(t, x, want)
            step.copy_((step + 1) % (len(times) - 1))
            rows.copy_(torch.where(step == 0, torch.randint_like(rows, n), rows))
            x.copy_(flow.at(times[step], torch.where(flow.wide(step) == 0, 0, end), torch.randn_like(end)))
        return ((miss + 1e-4).sqrt() - 1e-2).mean()

    opt, lr = optimizer([student], 5e-4, [0.3])
    descend(state, seconds, opt, lr, loss_of, [mean], "agree", lambda: state.save("student", dit=mean.nets[0]),
            lambda i: sparse.set(choices[i % len(choices)]))
