#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Train the demo model: a small text-to-video model of Wan's architecture, on the scenes of scenes.py. Needs a GPU.

usage: train.py --state=DIR STAGE[=SECONDS] ...        e.g. train.py --state=/tmp/demo vae=200 latents=80 teacher=330
On N GPUs: torchrun --nproc-per-node=N train.py ...    each draws its share of a batch, gradients are averaged

Stages, in order; each goes on from what the one before left in DIR, or from its own last checkpoint:
  vae      the autoencoder, on parts of clips: L1, L1 of differences between neighbours, a weak KL term;
           its first latents are scaled to the official statistics
  latents  clips as latents of that autoencoder, with their captions: the data of all later stages
  teacher  transformer and text encoder together, by flow matching with dense attention; a tenth without caption
  sla      a copy of the transformer learns the teacher's guided velocity with sparse-linear attention
  student  consistency distillation of that copy along the teacher's guided flow; the times of the official sampler are
           on its grid and are drawn more often
  shipped  instead of stage vae: goes on from the model that is in the repository, its student as the first teacher
  export   the files of model directories, under the official names: DIR/teacher, DIR/model after stage student and
           DIR/i2v after stage i2v_student
  sheet    pictures of held-out prompts, by all transformers that are there, in DIR/sheet-*.png

Image to video, after stages vae and teacher or shipped; the text encoder stays as it is:
  i2v_latents  clips as stage latents has them, each with the condition that its first frame makes
  i2v          the teacher with 20 more input channels, for the condition; flow matching, a tenth without caption
  i2v_sla      as stage sla; may be left out
  i2v_student  as stage student, along that teacher's flow

The learning rate follows the share of SECONDS that has passed. Seeds are fixed; sums on a GPU are not. Stages save what
they have every 500 steps.
"""

import argparse
import copy
import functools
import os
import sys
import time
from typing import NamedTuple

import ranks                                          # before torch: it says which GPU is this process's
import numpy as np
import torch
import torch.nn.functional as F

import scenes
from descent import Average, Clock, Descent, compiled, descend, optimizer
from dit import Dit, Tiles
from language import RELATIONS
from ranks import RANK, RANKS, say, seeded
from text import TextEncoder
from vae import Vae

HERE = os.path.dirname(os.path.abspath(__file__))
VAE_DIM, DIM, FFN, BLOCKS = 16, 256, 1024, 6
VOCAB, TEXT_DIM, TEXT_HEADS, TEXT_FFN, TEXT_BLOCKS = 512, 128, 2, 192, 2
GUIDANCE = 3.0                                        # of the teacher, for the student
TOPK = (0.34, 0.5, 0.34, 0.17, 0.34, 0.34)            # shares of key blocks to know; the first one is the model's own
SPARSE_BLOCKS = ((64, 128), (128, 64))                # queries x keys: the model's own; the other one
GRID, TOKENS = (5, 24, 24), 720                      # of latents: 17 frames of 192x192
EMPHASIS = [{}, {}, *({"relation": r} for r in RELATIONS[1:]), {"shape": "star"}, {"shape": "ring"}, {"shape": "cross"}]
EMPTY = torch.tensor([1] + [0] * 31)                  # no caption: </s> alone
BF16 = torch.bfloat16


class Kind(NamedTuple):
    prefix: str                                       # of its files in DIR
    channels: int                                     # that its transformer sees
    sigma: float

    def times(self):
        """The official ones but the last one, 0"""
        return [s / (1 + s) for s in (self.sigma, *np.tan((1.5, 1.4, 1.0)))]


T2V, I2V = Kind("", 16, 80), Kind("i2v_", 36, 200)


class State:
    def __init__(self, directory, device, batch):
        self.cuda = device == "cuda"
        self.directory, self.device, self.batch = directory, device, batch
        os.makedirs(directory, exist_ok=True)

    def path(self, name):
        return os.path.join(self.directory, name)

    def share(self, batch):
        """Clips of a batch that this process draws"""
        return max(1, (self.batch or batch) // RANKS)

    def save(self, name, **nets):
        for part, net in nets.items() if RANK == 0 else ():
            torch.save({k: v.to(BF16) for k, v in net.state_dict().items()}, self.path(f"{name}-{part}.pt.new"))
            os.replace(self.path(f"{name}-{part}.pt.new"), self.path(f"{name}-{part}.pt"))
        ranks.wait()

    def load(self, name, **nets):
        """Whatever is there. @return was everything there?"""
        for part, net in nets.items():
            if not os.path.exists(self.path(f"{name}-{part}.pt")):
                return False
            sd = torch.load(self.path(f"{name}-{part}.pt"), map_location=self.device)
            if part == "dit":                         # of fewer channels: the weights of the others, the last, are 0
                w = sd["patch_embedding.weight"]
                sd["patch_embedding.weight"] = F.pad(w, (0, net.patch_embedding.in_features - w.shape[1]))
            net.load_state_dict(sd)
        return True

    def need(self, name, **nets):
        if not self.load(name, **nets):
            raise SystemExit(f"{self.directory}: nothing of stage {name} there; run it first")

    def vae(self):
        return Vae(VAE_DIM).to(self.device)

    def pair(self, kind=T2V):
        """transformer and text encoder"""
        dit = Dit(DIM, FFN, BLOCKS, TEXT_DIM, kind.channels).to(self.device)
        return (compiled(dit), TextEncoder(VOCAB, TEXT_DIM, TEXT_HEADS, TEXT_FFN, TEXT_BLOCKS).to(self.device))

    def sparse(self):
        """Tiles of all sizes and shares that training is to know, the usual ones most often"""
        return [Tiles(TOKENS, topk, *blocks, self.device) for topk in TOPK for blocks in SPARSE_BLOCKS]

    def autocast(self):
        return torch.autocast("cuda" if self.cuda else "cpu", BF16)

    def data(self, kind=T2V):
        """latents bf16 [N,16,T,h,w] (I2V: [N,32,T,h,w], with first_frame()'s), ids [N,32], lengths [N] on the device"""
        name = kind.prefix + "latents"
        if not os.path.exists(self.path(f"{name}-{RANK}.pt")):
            raise SystemExit(f"{self.directory}: nothing of stage {name} there; run it first")
        return [x.to(self.device) for x in torch.load(self.path(f"{name}-{RANK}.pt"))]


def no_caption(text, device):
    """[1,n,d]"""
    return text(EMPTY.to(device)[None], torch.ones(1, dtype=torch.long, device=device))


# ---- autoencoder ----

def clips(state, rng, n):
    return scenes.render(scenes.sample(n, rng), state.device)


def crops(state, rng, n, size):
    """n clips, two squares of each"""
    x = clips(state, rng, n)
    at = rng.integers(0, 1 + x.shape[-1] - size, (2 * n, 2))
    return torch.stack([x[i // 2, :, :, r : r + size, c : c + size] for i, (r, c) in enumerate(at)])


def edges(a, b):
    """L1 of the differences between neighbours in space and time"""
    return sum((a.diff(dim=d) - b.diff(dim=d)).abs().mean() for d in (2, 3, 4))


@torch.no_grad()
def latent_statistics(state, vae):
    """mean, std [16] of the means that the encoder gives"""
    rng = np.random.default_rng(9)
    with state.autocast():
        mu = torch.cat([vae.moments(crops(state, rng, 4, 96))[0].float() for _ in range(32 if state.cuda else 1)])
    return mu.mean((0, 2, 3, 4)), mu.std((0, 2, 3, 4))


def stage_vae(state, seconds):
    torch.manual_seed(1)
    vae = state.vae()
    if not state.load("vae", vae=vae):
        vae.start(*latent_statistics(state, vae))
    opt, lr = optimizer([vae], 1e-3)
    mean = Average([vae], 0.998)
    step = Descent(opt, [mean])
    rng = seeded(1)

    def losses(x):
        mu, log_var = vae.moments(x)
        z, log_var = vae.normalised(mu), log_var.float().clamp(-12, 4)
        y = vae.decode(z + torch.randn_like(z) * (0.5 * log_var).exp()).float()
        kl = 0.5 * (z.square() + log_var.exp() - 1 - log_var).mean()
        return (y - x).abs().mean(), edges(y, x), kl, (y - x).square().mean()

    for i in Clock(seconds, opt, lr):
        x = crops(state, rng, state.share(9), 96 if state.cuda else 32)
        with state.autocast():
            l1, edge, kl, mse = losses(x)
        step(l1 + edge + 1e-3 * kl)
        if i % 100 == 1:
            say(f"vae {i}: L1 {l1.item():.4f} edges {edge.item():.4f} KL {kl.item():.3f} "
                f"PSNR {10 * np.log10(4 / mse.item()):.2f} dB")
        if i % 500 == 0:
            state.save("vae", vae=mean.nets[0])
    vae = mean.nets[0]
    vae.fit_statistics(*latent_statistics(state, vae))
    vae = vae.to(BF16).float()
    with torch.no_grad():
        x = clips(state, np.random.default_rng(8), 4 if state.cuda else 1)
        z = vae.encode(x)
        mse = (vae.decode(z).clamp(-1, 1) - x).square().mean().item()
    say(f"vae: {i} steps, PSNR without sampling {10 * np.log10(4 / mse):.2f} dB, "
        f"latents {z.mean():.3f} +- {z.std():.3f}")
    state.save("vae", vae=vae)


def first_frame(vae, video):
    """[B,3,T,H,W] -> latents [B,16,t,h,w] of its first frame with grey ones after it"""
    return vae.encode(torch.cat((video[:, :, :1], torch.zeros_like(video[:, :, 1:])), 2))


def condition(latent):
    """first_frame()'s -> what follows the channels of noise, in the official order [B,20,t,h,w]: four times whether a
    frame is known, then these latents"""
    return torch.cat((F.pad(torch.ones_like(latent[:, :4, :1]), (0, 0, 0, 0, 0, latent.shape[2] - 1)), latent), 1)


def stage_latents(state, seconds, kind=T2V):
    vae = state.vae()
    state.need("vae", vae=vae)
    vae = vae.to(BF16)
    rng, found, started = seeded(2), [], time.time()
    n = 16 if state.cuda else 2
    while time.time() - started < seconds:
        s = scenes.sample(n * 16, rng, **rng.choice(EMPHASIS))
        ids, lengths = scenes.tokens(scenes.captions(s))
        for i in range(0, n * 16, n):
            with torch.no_grad():
                x = scenes.render(s.take(slice(i, i + n)), state.device, dtype=BF16)
                z = torch.cat((vae.encode(x), first_frame(vae, x)), 1) if kind is I2V else vae.encode(x)
            found.append((z.to(BF16), torch.as_tensor(ids[i : i + n]), torch.as_tensor(lengths[i : i + n])))
            if time.time() - started > seconds:
                break
    torch.cuda.synchronize() if state.cuda else None
    z, ids, lengths = (torch.cat(x) for x in zip(*found))
    torch.save((z.cpu(), ids, lengths), state.path(f"{kind.prefix}latents-{RANK}.pt"))
    say(f"{kind.prefix}latents: {len(z)} clips, {z.float().mean():.3f} +- {z.float().std():.3f}")


# ---- teacher ----

def stage_teacher(state, seconds):
    torch.manual_seed(3)
    dit, text = state.pair()
    state.load("teacher", dit=dit, text=text)
    z, ids, lengths = state.data()
    seeded(3)
    opt, lr = optimizer([dit, text], 1e-3)
    mean = Average([dit, text], 0.999)
    batch = state.share(512)
    empty = EMPTY.to(state.device)

    def loss_of():
        rows = torch.randint(len(z), (batch,), device=state.device)
        drop = torch.rand(batch, device=state.device) < 0.1
        u = torch.rand(batch, device=state.device)
        x0, t = z[rows].float(), 3 * u / (1 + 2 * u)
        eps, tt = torch.randn_like(x0), t.view(-1, 1, 1, 1, 1)
        n = lengths[rows].masked_fill(drop, 1)
        v = dit((1 - tt) * x0 + tt * eps, t, text(torch.where(drop[:, None], empty, ids[rows]), n), n)
        return (v - (eps - x0)).square().mean()

    descend(state, seconds, opt, lr, loss_of, [mean], "teacher",
            lambda: state.save("teacher", dit=mean.nets[0], text=mean.nets[1]), warmup=200)


# ---- student ----

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
    """What the stages sla and student share, and those of image to video."""

    def __init__(self, state, kind, *names):
        """names: of the checkpoints that the student may go on from, its own first"""
        torch.manual_seed(4)
        self.state, self.kind, self.name = state, kind, names[0]
        self.teacher, text = state.pair(kind)
        state.need("teacher", dit=self.teacher, text=text)
        if self.name != "i2v_teacher":
            state.need(kind.prefix + "teacher", dit=self.teacher)
        self.student = state.pair(kind)[0]
        if not any(state.load(n, dit=self.student) for n in names[:-1]):
            state.need(names[-1], dit=self.student)
        self.z, self.ids, self.lengths = state.data(kind)
        with torch.no_grad():
            self.emb = torch.cat([text(i, n) for i, n in zip(self.ids.split(4096), self.lengths.split(4096))])
            self.none = no_caption(text, state.device)
        self.batch, self.choices = state.share(256), state.sparse()
        self.sparse = copy.deepcopy(self.choices[0])
        self.opt, self.lr = optimizer([self.student], 5e-4)
        seeded(4)

    def velocity(self, emb, lengths, y):
        """The teacher's"""
        return guided(self.teacher, emb, lengths, self.none, y)

    def choose(self, step):
        """Other tiles"""
        self.sparse.set(self.choices[step % len(self.choices)])

    def draw(self):
        """-> clips, noise, and what the velocity is given: embeddings, lengths, condition"""
        rows = torch.randint(len(self.z), (self.batch,), device=self.state.device)
        z = self.z[rows].float()
        x0 = z[:, :16]
        return x0, torch.randn_like(x0), (self.emb[rows], self.lengths[rows],
                                          condition(z[:, 16:]) if self.kind is I2V else None)

    def noisy(self, x0, eps):
        """-> times and x then"""
        u = torch.rand(self.batch, device=self.state.device)
        t = 3 * u / (1 + 2 * u)
        tt = t.view(-1, 1, 1, 1, 1)
        return t, (1 - tt) * x0 + tt * eps

    def descend(self, seconds, loss_of, averages, before=None):
        descend(self.state, seconds, self.opt, self.lr, loss_of, averages, self.name,
                lambda: self.state.save(self.name, dit=averages[-1].nets[0]), before)


def stage_i2v(state, seconds):
    d = Distill(state, I2V, "i2v_teacher", "teacher")

    def loss_of():
        x0, eps, (emb, lengths, y) = d.draw()
        t, x = d.noisy(x0, eps)
        drop = torch.rand(d.batch, device=state.device) < 0.1
        v = d.student(x, t, torch.where(drop[:, None, None], d.none, emb), lengths.masked_fill(drop, 1), y=y)
        return (v - (eps - x0)).square().mean()

    d.descend(seconds, loss_of, [Average([d.student], 0.999)])


def stage_sla(state, seconds, kind=T2V):
    d = Distill(state, kind, kind.prefix + "sla", kind.prefix + "teacher")

    def loss_of():
        x0, eps, given = d.draw()
        t, x = d.noisy(x0, eps)
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


def stage_student(state, seconds, kind=T2V):
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
        tt, ss = (x.view(-1, 1, 1, 1, 1) for x in (t, s))
        x = (1 - tt) * x0 + tt * eps
        with torch.no_grad():
            xs = x + (ss - tt) * d.velocity(*given)(x, t)
            end = xs - ss * target.nets[0](xs, s, emb, lengths, d.sparse, y)
        v = d.student(x, t, emb, lengths, d.sparse, y)
        miss = (v - (x - end) / tt).square().mean((1, 2, 3, 4))       # of the end, in units of the noise level
        return ((miss + 1e-4).sqrt() - 1e-2).mean()

    d.descend(seconds, loss_of, [target, mean], d.choose)


stage_i2v_latents, stage_i2v_sla, stage_i2v_student = (
    functools.partial(stage, kind=I2V) for stage in (stage_latents, stage_sla, stage_student))


# ---- results ----

def noise(n, seed, device):
    """-> a function that draws latents of n clips"""
    g = torch.Generator(device).manual_seed(seed)
    return lambda: torch.randn((n, 16, *GRID), generator=g, device=device)


@torch.no_grad()
def few_steps(dit, emb, lengths, y, times, draw):
    """The official sampler (SDE) -> latents"""
    times = torch.tensor((*times, 0.0), dtype=torch.float32, device=emb.device)
    x, tiles = draw() * times[0], Tiles(TOKENS, TOPK[0], *SPARSE_BLOCKS[0], emb.device)
    for t, s in zip(times[:-1], times[1:]):
        v = dit(x, t.expand(len(x)), emb, lengths, tiles, y)
        x = (1 - s) * (x - t * v) + s * draw()
    return x


@torch.no_grad()
def euler(velocity, x, steps):
    """Along velocity(x, t) from noise -> latents"""
    u = torch.linspace(0.9999, 0, steps + 1, device=x.device)
    times = 5 * u / (1 + 4 * u)
    for t, s in zip(times[:-1], times[1:]):
        x = x + (s - t) * velocity(x, t.expand(len(x)))
    return x


@torch.no_grad()
@torch.compiler.set_stance("force_eager")             # each row has another shape
def stage_sheet(state, _):
    from PIL import Image

    vae, (dit, text) = state.vae(), state.pair()
    state.need("vae", vae=vae)
    state.need("teacher", dit=dit, text=text)
    s = scenes.sample(12, np.random.default_rng(5), held_out=True)
    captions = scenes.captions(s)
    ids, lengths = (torch.as_tensor(x).to(state.device) for x in scenes.tokens(captions))
    emb = text(ids, lengths)
    none, x = no_caption(text, state.device), scenes.render(s, state.device)
    rows = {"data": vae.encode(x)}
    with state.autocast():
        for kind in (T2V, I2V):
            dit, y = state.pair(kind)[0], condition(first_frame(vae, x)) if kind is I2V else None
            if state.load(kind.prefix + "teacher", dit=dit):
                rows[kind.prefix + "teacher"] = euler(guided(dit, emb, lengths, none, y),
                                                      noise(len(emb), 1, state.device)(), steps=30)
            for name in (kind.prefix + "sla", kind.prefix + "student"):
                if state.load(name, dit=dit):
                    rows[name] = few_steps(dit, emb, lengths, y, kind.times(), noise(len(emb), 1, state.device))
    for i in range(0, 12, 6):
        lines = []
        for j in range(i, i + 6):
            for z in rows.values():
                video = scenes.to_bytes(vae.decode(z[j : j + 1]).float())[0]
                lines.append(np.concatenate([np.asarray(video[f]) for f in (0, 4, 8, 12, 16)], 1))
        Image.fromarray(np.concatenate(lines, 0)).save(state.path(f"sheet-{i // 6}.png"))
    with open(state.path("sheet.txt"), "w") as f:
        f.write(f"rows: {', '.join(rows)}\n" + "\n".join(captions) + "\n")
    say("sheet:\n  " + "\n  ".join(captions))


def quantised(sd):
    """int8 linears of the blocks, in tiles of 128x128: amax/128 is one step"""
    out = {}
    for name, w in sd.items():
        if not (name.startswith("blocks.") and name.endswith(".weight") and w.ndim == 2 and "proj_l" not in name):
            out[name] = w
            continue
        tile = w.float().unflatten(1, (-1, 128)).unflatten(0, (-1, 128))
        amax = tile.abs().amax((1, 3)).clamp_min(1e-8)
        code = (tile * (128 / amax)[:, None, :, None]).round().clamp(-128, 127)
        out[name.replace(".weight", ".int8_weight")] = code.flatten(2, 3).flatten(0, 1).to(torch.int8).contiguous()
        out[name.replace(".weight", ".scale")] = amax / 128
    return out


def unquantised(sd):
    """The reverse"""
    out = {}
    for name, w in sd.items():
        if name.endswith(".int8_weight"):
            scale = sd[name.replace(".int8_weight", ".scale")]
            tile = w.float().unflatten(1, (-1, 128)).unflatten(0, (-1, 128)) * scale[:, None, :, None]
            out[name.replace(".int8_weight", ".weight")] = tile.flatten(2, 3).flatten(0, 1)
        elif not name.endswith(".scale"):
            out[name] = w
    return out


def stage_shipped(state, _):
    read = lambda name: torch.load(os.path.join(HERE, "model", name), map_location=state.device)  # noqa: E731
    vae, (dit, text) = state.vae(), state.pair()
    dit.load_state_dict(unquantised(read("TurboWan2.1-T2V-demo-quant.pth")))
    text.load_state_dict(read("models_t5_umt5-xxl-enc-bf16.pth"))
    vae.load_state_dict(read("Wan2.1_VAE.pth"))
    state.save("vae", vae=vae)
    state.save("teacher", dit=dit, text=text)


def stage_export(state, _):
    import shutil

    vae, (dit, text) = state.vae(), state.pair()
    state.need("vae", vae=vae)
    state.need("teacher", dit=dit, text=text)
    bf16 = lambda net: {k: v.cpu().to(BF16).contiguous() for k, v in net.state_dict().items()}  # noqa: E731
    norms = lambda sd: {k: v.float() if "norm" in k else v for k, v in sd.items()}  # noqa: E731
    # of image to video both experts have the same weights, a file each
    for directory, kind, origin, name, experts in (
            ("teacher", T2V, "teacher", "TurboWan2.1-T2V-demo", [""]),
            ("model", T2V, "student", "TurboWan2.1-T2V-demo", [""]),
            ("i2v", I2V, "i2v_student", "TurboWan2.2-I2V-demo", ["-high", "-low"])):
        dit = state.pair(kind)[0]
        if not state.load(origin, dit=dit):
            say(f"export: nothing of stage {origin} there")
            continue
        out = state.path(directory)
        os.makedirs(os.path.join(out, "google", "umt5-xxl"), exist_ok=True)
        for expert in experts:
            path = os.path.join(out, name + expert)
            if origin != "teacher":
                torch.save(quantised(norms(bf16(dit))), path + "-quant.pth")
            torch.save(norms(bf16(dit)), path + ".pth")
        torch.save(bf16(text), os.path.join(out, "models_t5_umt5-xxl-enc-bf16.pth"))
        torch.save(bf16(vae), os.path.join(out, "Wan2.1_VAE.pth"))
        shutil.copy(os.path.join(HERE, "spiece.model"), os.path.join(out, "google", "umt5-xxl"))
        with open(os.path.join(out, "turbodiff.conf"), "w", encoding="ascii") as f:
            f.write(f"width = {scenes.SIZE}\nheight = {scenes.SIZE}\nframes = {scenes.FRAMES}\n"
                    f"topk = {TOPK[0]}\nsla_block = {SPARSE_BLOCKS[0][0]}x{SPARSE_BLOCKS[0][1]}\n")
        say(f"export: {directory}:", *(f"{n} {os.path.getsize(os.path.join(out, n))}"
                                       for n in sorted(os.listdir(out)) if n.endswith(".pth")))


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--state", required=True)
    p.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    p.add_argument("--batch", type=int, help="clips a step, instead of the stage's own number")
    p.add_argument("stage", nargs="+")
    args = p.parse_args()
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    torch._dynamo.config.suppress_errors = True           # what cannot be compiled runs as it is
    torch._dynamo.config.recompile_limit = 64
    ranks.begin(args.device)
    state = State(args.state, args.device, args.batch)
    for word in args.stage:
        torch._dynamo.reset()
        name, _, seconds = word.partition("=")
        run = globals().get(f"stage_{name}")
        if not run or (seconds == "") != (name in ("shipped", "sheet", "export")):
            sys.exit(f"{word}: want vae=SECONDS, latents=, teacher=, sla=, student=, i2v_latents=, i2v=, i2v_sla=, "
                     "i2v_student=, shipped, export or sheet")
        say(name)
        if seconds or name == "shipped" or RANK == 0:
            run(state, float(seconds or 0))
    ranks.end()


if __name__ == "__main__":
    main()
