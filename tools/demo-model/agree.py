# SPDX-License-Identifier: BSD-2-Clause
"""Stage agree: a student that is good as it is learns to make the same clips of other wordings, with other attention and in
int8, and the text encoder learns along. It sees what it makes itself of plain captions, through the encoder from before
stage reword and with dense attention, on the way through its few steps; no teacher and no clips are needed."""

import copy

import torch

import flow
from captioned import SCENES, SCENES_OF_CPU, TEXTS, written
from descent import Average, descend, optimizer
from ranks import seeded
from state import GRID, T2V, embedded


def train(state, seconds):
    torch.manual_seed(9)
    student, text = state.pair()
    own, before = state.pair()
    state.need("teacher", text=text)
    state.need("unreworded", text=before)
    state.need("shipped", dit=own)
    if not state.load("student", dit=student):
        student.load_state_dict(own.state_dict())
    student.rounds(True)
    ids, lengths = (x.to(state.device) for x in written(SCENES if state.cuda else SCENES_OF_CPU, TEXTS, 9)[1:])
    seeded(9)
    n, batch = len(ids), state.share(256)
    plain = embedded(before, ids[:, 0], lengths[:, 0])
    choices = state.turns()
    dense, sparse = state.dense(), copy.deepcopy(choices[0])
    times = torch.tensor((*T2V.times(), 0.0), dtype=torch.float32, device=state.device)
    mean = Average([student, text], 0.998)
    step = torch.arange(batch, device=state.device) % (len(times) - 1)
    rows, which = torch.randint(n, (batch,), device=state.device), torch.randint(TEXTS, (batch,), device=state.device)
    x = torch.randn((batch, 16, *GRID), device=state.device) * flow.wide(times[step])

    def loss_of():
        t = times[step]
        with torch.no_grad():
            want = own(x, t, plain[rows], lengths[rows, 0], dense)
        of = lengths[rows, which]
        v = student(x.clone(), t, text(ids[rows, which], of), of, sparse)
        miss = (flow.wide(t) * (v - want)).square().mean((1, 2, 3, 4))         # of where the clip ends
        with torch.no_grad():
            end = flow.end(t, x, want)
            step.copy_((step + 1) % (len(times) - 1))
            rows.copy_(torch.where(step == 0, torch.randint_like(rows, n), rows))
            which.copy_(torch.randint_like(which, TEXTS))
            x.copy_(flow.at(times[step], torch.where(flow.wide(step) == 0, 0, end), torch.randn_like(end)))
        return ((miss + 1e-4).sqrt() - 1e-2).mean()

    def save():
        state.save("student", dit=mean.nets[0])
        state.save("teacher", text=mean.nets[1])

    opt, lr = optimizer([student, text], 5e-4, [0.3, 0.5])
    descend(state, seconds, opt, lr, loss_of, [mean], "agree", save, lambda i: sparse.set(choices[i % len(choices)]))
