# SPDX-License-Identifier: BSD-2-Clause
"""Stage teacher: flow matching."""

import torch

import flow
from descent import Average, descend, optimizer
from ranks import seeded
from state import EMPTY


def train(state, seconds):
    torch.manual_seed(3)
    dit, text = state.pair()
    state.load("teacher", dit=dit)
    state.load("teacher", text=text)
    z, ids, lengths = state.data()
    seeded(3)
    opt, lr = optimizer([dit, text], 1e-3, [1, 0.2])  # the text encoder can read; a step of clips tells it little
    mean = Average([dit, text], 0.999)
    batch = state.share(512)
    empty = EMPTY.to(state.device)

    def loss_of():
        rows = torch.randint(len(z), (batch,), device=state.device)
        drop = torch.rand(batch, device=state.device) < 0.1
        x0, t = z[rows].float(), flow.times(batch, state.device)
        eps = torch.randn_like(x0)
        n = lengths[rows].masked_fill(drop, 1)
        v = dit(flow.at(t, x0, eps), t, text(torch.where(drop[:, None], empty, ids[rows]), n), n)
        return (v - (eps - x0)).square().mean()

    descend(state, seconds, opt, lr, loss_of, [mean], "teacher",
            lambda: state.save("teacher", dit=mean.nets[0], text=mean.nets[1]), warmup=200)
