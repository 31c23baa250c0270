# SPDX-License-Identifier: BSD-2-Clause
"""Stages sla, student and dmd: from the teacher to few steps with sparse-linear attention. And the teacher of image to
video, which goes on from that of text to video in the same way."""

import copy

import numpy as np
import torch

import flow
from descent import Average, descend, optimizer
from pictures import condition
from ranks import seeded
from state import GRID, GUIDANCE, I2V, T2V, Captions

FAKE_ALONE = 200                                      # steps of dmd before the student's first
FIRST = 10.0                                          # weight of a clip's first frame in i2v_direct


def guided(dit, emb, lengths, none, y=None):
    """The velocity with guidance, dense attention; none: embedding of no caption [1,n,d]"""
    def velocity(x, t):
        b = len(x)
        both = dit(torch.cat((x, x)), torch.cat((t, t)), torch.cat((emb, none.expand(b, -1, -1))),
                   torch.cat((lengths, torch.ones_like(lengths))), y=None if y is None else torch.cat((y, y)))
        v, u = both[:b], both[b:]
        return u + GUIDANCE * (v - u)
    return velocity


class Distill:
    """What the stages sla, student and dmd share, and those of image to video that no teacher of it leads."""

    def __init__(self, state, kind, *names, taught=True):
        """names: of the checkpoints that the student may go on from, its own first; taught: is there a teacher of its kind?"""
        torch.manual_seed(4)
        self.state, self.kind, self.name = state, kind, names[0]
        self.student, text = state.pair(kind)
        state.need("teacher", text=text)
        if taught:
            self.teacher = state.pair(kind)[0]
            state.need(kind.prefix + "teacher", dit=self.teacher)
        if not any(state.load(n, dit=self.student) for n in names[:-1]):
            state.need(names[-1], dit=self.student)
        self.z, *told = state.data(kind)
        self.captions = Captions(text, *told)
        self.none = self.captions.none
        self.batch, self.choices = state.share(256), state.sparse()
        self.sparse = copy.deepcopy(self.choices[0])
        seeded(4)

    def velocity(self, emb, lengths, y):
        """The teacher's"""
        return guided(self.teacher, emb, lengths, self.none, y)

    def choose(self, step):
        """Other tiles"""
        self.sparse.set(self.choices[step % len(self.choices)])

    def rows(self):
        """Some clips' [B]"""
        return torch.randint(len(self.z), (self.batch,), device=self.state.device)

    def given(self, rows):
        """What the velocity is given: embeddings, lengths, condition"""
        return *self.captions.of(rows), condition(self.z[rows, 16:].float()) if self.kind is I2V else None

    def draw(self):
        """-> clips, noise, given()"""
        rows = self.rows()
        x0 = self.z[rows, :16].float()
        return x0, torch.randn_like(x0), self.given(rows)

    def descend(self, seconds, loss_of, averages, before=None, share=1, **others):
        """share: of the rate, the student's. others: networks that learn as well; they are saved beside it"""
        opt, lr = optimizer([self.student, *others.values()], 5e-4, [share] + [1] * len(others))
        descend(self.state, seconds, opt, lr, loss_of, averages, self.name,
                lambda: self.state.save(self.name, dit=averages[-1].nets[0], **others), before)


def i2v_teacher(state, seconds):
    d = Distill(state, I2V, "i2v_teacher", "i2v_student", "teacher", taught=False)

    def loss_of():
        x0, eps, (emb, lengths, y) = d.draw()
        t = flow.times(d.batch, state.device)
        x = flow.at(t, x0, eps)
        drop = torch.rand(d.batch, device=state.device) < 0.1
        v = d.student(x, t, torch.where(drop[:, None, None], d.none, emb), lengths.masked_fill(drop, 1), y=y)
        return (v - (eps - x0)).square().mean()

    d.descend(seconds, loss_of, [Average([d.student], 0.999)])


def i2v_direct(state, seconds):
    """Nothing but the official times: what they end at is then a mean of clips, sharp where one alone is likely. The first frame is
    given, so that it has but a hundredth of the loss, and yet all of it is seen: it weighs more"""
    d = Distill(state, I2V, "i2v_direct", "i2v_dmd", "i2v_student", "dmd", "student", "teacher", taught=False)
    d.student.rounds(True)
    times = torch.tensor(I2V.times(), dtype=torch.float32, device=state.device)
    weight = torch.tensor((FIRST, *[1.0] * (GRID[0] - 1)), device=state.device)

    def loss_of():
        x0, eps, (emb, lengths, y) = d.draw()
        t = times[torch.randint(len(times), (d.batch,), device=state.device)]
        v = d.student(flow.at(t, x0, eps), t, emb, lengths, d.sparse, y)
        return ((v - (eps - x0)).square().mean((0, 1, 3, 4)) * weight).sum() / weight.sum()

    d.descend(seconds, loss_of, [Average([d.student], 0.998)], d.choose, share=0.5)      # its batches are small


def sla(state, seconds, kind=T2V):
    d = Distill(state, kind, kind.prefix + "sla", kind.prefix + "teacher")

    def loss_of():
        x0, eps, given = d.draw()
        t = flow.times(d.batch, state.device)
        x = flow.at(t, x0, eps)
        with torch.no_grad():
            want = d.velocity(*given)(x, t)
        emb, lengths, y = given
        return (d.student(x, t, emb, lengths, d.sparse, y) - want).square().mean()

    d.descend(seconds, loss_of, [Average([d.student], 0.998)], d.choose)


def grid(official, device):
    """Times from the first official one to 0, the official ones among them, and the cumulative probability of each"""
    times = []
    for a, b, n in zip(official, (*official[1:], 0.0), (4, 4, 5, 10)):
        times += [a + (b - a) * i / n for i in range(n)]
    weight = np.array([4.0 if t in official else 1.0 for t in times])
    drawn = np.cumsum(weight / weight.sum())[:-1]     # what is above the last one is the last interval
    return (torch.tensor(x, dtype=torch.float32, device=device) for x in (times + [0.0], drawn))


def consistency(state, seconds, kind=T2V):
    origins = ("student", "sla") if kind is T2V else ("i2v_student", "i2v_sla", "i2v_teacher")
    d = Distill(state, kind, *origins)
    target = Average([d.student], 0.95)
    mean = Average([d.student], 0.998)
    times, drawn = grid(kind.times(), state.device)

    def loss_of():
        x0, eps, given = d.draw()
        emb, lengths, y = given
        k = torch.searchsorted(drawn, torch.rand(d.batch, device=state.device))
        t, s = times[k], times[k + 1]
        x = flow.at(t, x0, eps)
        with torch.no_grad():
            xs = x + flow.wide(s - t) * d.velocity(*given)(x, t)
            end = flow.end(s, xs, target.nets[0](xs, s, emb, lengths, d.sparse, y))
        v = d.student(x, t, emb, lengths, d.sparse, y)
        miss = (v - (x - end) / flow.wide(t)).square().mean((1, 2, 3, 4))       # of the end, in units of the noise level
        return ((miss + 1e-4).sqrt() - 1e-2).mean()

    d.descend(seconds, loss_of, [target, mean], d.choose)


class Rollout:
    """Clips on their way through the few steps, each at one of its own: x [B,...], step and rows [B]"""

    def __init__(self, d):
        self.d, self.times = d, torch.tensor((*d.kind.times(), 0.0), dtype=torch.float32, device=d.state.device)
        self.steps = len(self.times) - 1
        self.rows, self.step = d.rows(), torch.arange(d.batch, device=d.state.device) % self.steps
        x0 = d.z[self.rows, :16].float()
        self.x = self.at(self.step, x0)

    def at(self, step, x0):
        """x at that step, with fresh noise; at the first one there is nothing but noise"""
        return flow.at(self.times[step], torch.where(flow.wide(step) == 0, 0, x0), torch.randn_like(x0))

    @torch.no_grad()
    def advance(self, x0):
        """x0: where the student thinks that each clip ends"""
        self.step.copy_((self.step + 1) % self.steps)
        self.rows.copy_(torch.where(self.step == 0, self.d.rows(), self.rows))
        self.x.copy_(self.at(self.step, x0))


def dmd(state, seconds, kind=T2V):
    d = Distill(state, kind, kind.prefix + "dmd", kind.prefix + "student")
    fake = state.pair(kind)[0]                        # knows how the student's clips are distributed
    if not state.load(d.name, fake=fake):
        fake.load_state_dict(d.teacher.state_dict())
    mean = Average([d.student], 0.998)
    rollout, steps = Rollout(d), torch.zeros((), device=state.device)

    def loss_of():
        given = emb, lengths, y = d.given(rollout.rows)
        t = rollout.times[rollout.step]
        x0 = flow.end(t, rollout.x, d.student(rollout.x, t, emb, lengths, d.sparse, y))
        eps, s = torch.randn_like(x0), flow.times(d.batch, state.device, margin=0.02)
        x = flow.at(s, x0.detach(), eps)
        v = fake(x, s, emb, lengths, y=y)
        with torch.no_grad():
            real = d.velocity(*given)(x, s)
            far = (x0 - flow.end(s, x, real)).abs().mean((1, 2, 3, 4), keepdim=True)
            wrong = flow.wide(s) * (real - v) / far             # from where the teacher would end to where the student's clips do
            steps.add_(1)
        rollout.advance(x0)
        return (x0 * wrong * (steps > FAKE_ALONE)).mean() + (v - (eps - x0.detach())).square().mean()

    d.descend(seconds, loss_of, [mean], d.choose, share=0.2, fake=fake)
