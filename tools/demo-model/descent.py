# SPDX-License-Identifier: BSD-2-Clause
"""Going down a loss: the clock that ends it, averages of the parameters, steps on one GPU or several, and steps replayed
as CUDA graphs."""

import copy
import time

import ranks
import numpy as np
import torch

from muon import Muon


class Clock:
    """Steps until the seconds are used; the learning rate rises over the first steps and falls to a tenth as the cosine
    does. A gap (compilation, a process that was stopped) counts as two seconds."""

    def __init__(self, seconds, optimizer, lr, warmup=100):
        self.seconds, self.optimizer, self.lr, self.warmup = seconds, optimizer, lr, warmup
        self.used, self.last, self.steps = 0.0, None, 0

    def __iter__(self):
        return self

    def __next__(self):
        now = time.time()
        self.used += min(now - (self.last or now), 2)
        self.last = now
        self.used = ranks.of_the_first(self.used)     # all stop, and learn, as it does
        if self.used >= self.seconds:
            raise StopIteration
        self.steps += 1
        fall = 0.1 + 0.9 * (0.5 + 0.5 * np.cos(np.pi * self.used / self.seconds))
        self.optimizer.set_lr(self.lr * min(1, self.steps / self.warmup) * fall)
        return self.steps


def compiled(net):
    """A transformer's blocks on a GPU: one graph serves all"""
    for block in getattr(net, "blocks", ()) if next(net.parameters()).is_cuda else ():
        block.compile(dynamic=False)
    return net


class Average:
    """Exponential moving average of parameters"""

    def __init__(self, nets, decay):
        self.live = [p for n in nets for p in n.parameters()]
        self.nets = [compiled(copy.deepcopy(n).requires_grad_(False)) for n in nets]
        self.mean = [p for n in self.nets for p in n.parameters()]
        self.decay, self.steps = decay, torch.zeros((), device=self.mean[0].device)

    @torch.no_grad()
    def update(self):
        self.steps += 1
        share = (10 / (self.steps + 10)).clamp_min(1 - self.decay)
        ahead = torch._foreach_sub(self.live, self.mean)
        torch._foreach_mul_(ahead, share)
        torch._foreach_add_(self.mean, ahead)


def optimizer(nets, lr, shares=None):
    """-> optimizer and its rate for matrices; lr: for the rest; shares: of these rates, one for each net. All processes
    start with the same numbers."""
    ranks.alike(nets)
    return Muon(nets, shares or [1] * len(nets)), 20 * lr


class Descent:
    """Steps of an optimizer, each along a gradient of norm 1 at most; one that is not finite counts as zero."""

    def __init__(self, optimizer, averages):
        self.optimizer, self.averages = optimizer, averages
        self.parameters = [p for g in optimizer.param_groups for p in g["params"]]

    def gradient(self, loss):
        """-> of all parameters that the loss depends on, as one vector"""
        loss.backward()
        self.used = [p for p in self.parameters if p.grad is not None]
        flat = torch.cat([p.grad.flatten() for p in self.used])
        for p in self.used:
            p.grad = None
        return flat

    def step(self, flat):
        """flat: the sum over all processes"""
        norm = flat.norm() / ranks.RANKS
        flat = (flat / (ranks.RANKS * norm.clamp_min(1))).masked_fill(~norm.isfinite(), 0)   # nothing waits for the GPU
        for p, g in zip(self.used, flat.split([p.numel() for p in self.used])):
            p.grad = g.view_as(p)
        self.optimizer.step()
        for p in self.used:
            p.grad = None
        for a in self.averages:
            a.update()

    def __call__(self, loss):
        flat = self.gradient(loss)
        ranks.add_up(flat)
        self.step(flat)


class Replay:
    """A Descent whose steps are all alike: after some, they are recorded as CUDA graphs. The transformers are so small
    that a GPU would wait for the launches for much of a step.

    loss_of(): the loss of a new batch, all of it made on the GPU, with no number of Python's that changes and no copy from
    the host."""

    ALONE = 4                                         # steps without: compilation, first state of the optimizer

    def __init__(self, descent, loss_of):
        self.descent, self.loss_of = descent, loss_of
        self.total = torch.zeros((), device=descent.parameters[0].device)      # of the losses
        self.steps, self.graphs, self.done = 0, None, []
        self.can_record = self.total.is_cuda

    def gradient(self):
        loss = self.loss_of()
        self.total += loss.detach()
        return self.descent.gradient(loss)

    def aside(self):
        """The gradient on another stream than the recording's, as torch wants it before one"""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            flat = self.gradient()
        torch.cuda.current_stream().wait_stream(side)
        return flat

    def record(self):
        make, use = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(make, capture_error_mode="thread_local"):
                self.flat = self.gradient()
            with torch.cuda.graph(use, pool=make.pool(), capture_error_mode="thread_local"):
                self.descent.step(self.flat)
            self.graphs = make, use
        except RuntimeError as e:
            ranks.say("no CUDA graph of a step:", str(e).splitlines()[0])
            self.can_record = False

    def __call__(self):
        self.steps += 1
        if self.can_record and not self.graphs and self.steps > self.ALONE:
            self.record()
        if self.graphs:
            self.graphs[0].replay()
        else:
            self.flat = self.aside() if self.can_record else self.gradient()
        ranks.add_up(self.flat)
        if self.graphs:
            self.graphs[1].replay()
            self.wait()
        else:
            self.descent.step(self.flat)

    def wait(self):
        """For the step before the last one: more of them in the queue would only hide how long they take"""
        self.done.append(torch.cuda.Event())
        self.done[-1].record()
        if len(self.done) > 2:
            self.done.pop(0).synchronize()


def descend(state, seconds, optimizer, lr, loss_of, averages, name, save, before=None, warmup=100):
    """Steps of loss_of(), before(step) before each, until the time is up, and save() now and then; the mean loss is told"""
    def loss():
        with state.autocast():
            return loss_of()

    replay, i = Replay(Descent(optimizer, averages), loss), 0
    for i in Clock(seconds, optimizer, lr, warmup):
        if before:
            before(i)
        replay()
        if i % 500 == 0:
            ranks.say(f"{name} {i}: loss {replay.total.item() / 500:.4f}")
            replay.total.zero_()
            save()
    ranks.say(f"{name}: {i} steps")
    save()
