# SPDX-License-Identifier: BSD-2-Clause
"""Stage reword: a text encoder that can read captions learns further wordings of them, for a transformer that stays as it
is. What its cross-attention answers to the questions that clips ask shall be, whatever the wording, what it answered to the
plain caption."""

import numpy as np
import torch

import flow
import scenes
from captioned import SCENES, SCENES_OF_CPU, TEXTS, written
from descent import Average, Clock, Descent, optimizer
from ranks import say, seeded, wait
from reading import Reader, reading_loss, report, values
from state import EMPTY

ASKED, BLOCKS_ASKED = 32, 2                           # questions of a step to each block, blocks of a step


class Questions:
    """Of each block's cross-attention, queries of some clips at many times"""

    @torch.no_grad()
    @torch.compiler.set_stance("force_eager")         # compiled blocks call no hooks
    def __init__(self, state, dit, text, rng, n):
        vae = state.vae()
        state.need("vae", vae=vae)
        s = scenes.sample(n, rng)
        z = torch.cat([vae.encode(scenes.render(s.take(slice(i, i + 2)), state.device)) for i in range(0, n, 2)])
        ids, lengths = (x.to(state.device) for x in scenes.tokens(scenes.captions(s)))
        self.attentions, self.found = [b.cross_attn for b in dit.blocks], [[] for _ in dit.blocks]
        hooks = [a.register_forward_pre_hook(lambda a, args, to=to: to.append(a.queries(args[0]).transpose(1, 2)[:, ::5]))
                 for a, to in zip(self.attentions, self.found)]
        emb = text(ids, lengths)
        for _ in range(4):
            t = flow.times(n, state.device)
            with state.autocast():
                dit(flow.at(t, z, torch.randn_like(z)), t, emb, lengths)
        for h in hooks:
            h.remove()
        self.found = [torch.cat(f).flatten(0, 1).float() for f in self.found]            # [questions, heads, 128]

    def draw(self):
        """-> of some blocks cross-attention and ASKED queries [1, heads, n, 128]"""
        for i in torch.randperm(len(self.found))[:BLOCKS_ASKED].tolist():
            f = self.found[i]
            yield self.attentions[i], f[torch.randint(len(f), (ASKED,), device=f.device)].transpose(0, 1)[None]


def answers(asked, dit, emb, lengths):
    """-> of each block [B, ASKED, dim]"""
    text, bias = dit.context(emb, lengths)
    return [a.answers(q.expand(len(emb), -1, -1, -1), text, bias).float() for a, q in asked]


def train(state, seconds):
    torch.manual_seed(7)
    dit, text = state.pair()
    state.need("teacher", dit=dit, text=text)
    before, reader = state.text(), Reader().to(state.device)
    again = state.load("unreworded", text=before)
    wait()                                            # before one writes it
    if not again:
        state.need("teacher", text=before)
        state.save("unreworded", text=before)
    state.load("reworded", text=text, reader=reader)
    dit.requires_grad_(False)
    s, every, many = written(SCENES if state.cuda else SCENES_OF_CPU, TEXTS, 9)
    every, many, told_of = every.to(state.device), many.to(state.device), values(state, s)
    questions = Questions(state, dit, before, seeded(7), 64 if state.cuda else 8)
    opt, lr = optimizer([text, reader], 1e-3)
    mean = Average([text, reader], 0.99)
    step, empty = Descent(opt, [mean]), EMPTY.to(state.device)
    told = np.zeros(2)

    def both(n):
        """Of n scenes: the error of the answers, relative to how they differ from scene to scene, and the reader's loss"""
        rows, which = torch.randint(len(every), (n,), device=state.device), torch.randint(TEXTS, (n,), device=state.device)
        (plain, few), (ids, lengths) = ((every[rows, w], many[rows, w]) for w in (0, which))
        ids[0], plain[0], lengths[0], few[0] = empty, empty, 1, 1      # one is no caption at all
        asked = list(questions.draw())
        with torch.no_grad():
            want = answers(asked, dit, before(plain, few), few)
        emb = text(ids, lengths)
        found = answers(asked, dit, emb, lengths)
        miss = [(a - b).square().mean() / (b - b.mean(0)).square().mean() for a, b in zip(found, want)]
        scores = [r[1:] for r in reader(emb, lengths)]
        return sum(miss) / len(miss), reading_loss(scores, [v[rows[1:]] for v in told_of])

    for i in Clock(seconds, opt, lr):
        with state.autocast():
            miss, unread = both(state.share(128))
        step(miss + 0.05 * unread)
        told += miss.item(), unread.item()
        if i % 20 == 0:
            say("reword {}: answers {:.4f} off, reading loss {:.4f}".format(i, *told / 20))
            told[:] = 0
            state.save("reworded", text=mean.nets[0], reader=mean.nets[1])
    say(f"reword: {i} steps")
    report(state, *mean.nets)
    state.save("reworded", text=mean.nets[0], reader=mean.nets[1])
    state.save("teacher", text=mean.nets[0])
