# SPDX-License-Identifier: BSD-2-Clause
"""Stage teacher: flow matching. The text encoder can read, a step of clips would tell it little; it stays as it is, so that
students know what they are told by whatever teacher."""

import torch

import flow
from descent import Average, descend, optimizer
from ranks import seeded
from state import Captions


def train(state, seconds):
    torch.manual_seed(3)
    dit, text = state.pair()
    state.load("teacher", dit=dit)
    state.need("teacher", text=text)
    z, *told = state.data()
    captions = Captions(text, *told)
    seeded(3)
    opt, lr = optimizer([dit], 1e-3)
    mean = Average([dit], 0.999)
    batch = state.share(512)

    def loss_of():
        rows = torch.randint(len(z), (batch,), device=state.device)
        drop = torch.rand(batch, device=state.device) < 0.1
        x0, t = z[rows].float(), flow.times(batch, state.device)
        eps = torch.randn_like(x0)
        emb, lengths = captions.of(rows)
        told = torch.where(drop[:, None, None], captions.none, emb)
        v = dit(flow.at(t, x0, eps), t, told, lengths.masked_fill(drop, 1))
        return (v - (eps - x0)).square().mean()

    descend(state, seconds, opt, lr, loss_of, [mean], "teacher",
            lambda: state.save("teacher", dit=mean.nets[0]), warmup=200)
