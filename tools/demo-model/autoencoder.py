# SPDX-License-Identifier: BSD-2-Clause
"""Stages vae, encoder and latents: the autoencoder, and scenes as it encodes them."""

import copy
import time

import numpy as np
import torch
from torch import nn

import captioned
import pictures
import scenes
from descent import Average, descend, optimizer
from language import TEXTURES
from ranks import RANK, say, seeded
from state import BF16, I2V, T2V

SCENES_A_SECOND = 700                                 # of a process, more than a GPU encodes
DETAIL = [{}, {}, *({"texture": t} for t in TEXTURES[1:])]            # what an autoencoder loses first
STARS = [{}, {"background": "night"}, {"background": "night", "count": 3}]     # what its encoder loses, at edges most of all
NOISE = 0.1                                           # of latents: about what a transformer misses them by


def clips(state, rng, n, **kind):
    return scenes.render(scenes.sample(n, rng, **kind), state.device)


def crops(state, rng, n, size, **kind):
    """n clips, two squares of each"""
    x = clips(state, rng, n, **kind)
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


def train(state, seconds):
    torch.manual_seed(1)
    vae = state.vae()
    if not state.load("vae", vae=vae):
        vae.start(*latent_statistics(state, vae))
    opt, lr = optimizer([vae], 1e-3)
    mean = Average([vae], 0.998)
    rng = seeded(1)
    draw = lambda: crops(state, rng, state.share(16), 96 if state.cuda else 32, **rng.choice(DETAIL))  # noqa: E731
    x = draw()

    def loss_of():
        mu, log_var = vae.moments(x)
        z, log_var = vae.normalised(mu), log_var.float().clamp(-12, 4)
        y = vae.decode(z + torch.randn_like(z) * (0.5 * log_var).exp()).float()
        kl = 0.5 * (z.square() + log_var.exp() - 1 - log_var).mean()
        return (y - x).abs().mean() + edges(y, x) + 1e-3 * kl

    descend(state, seconds, opt, lr, loss_of, [mean], "vae", lambda: state.save("vae", vae=mean.nets[0]),
            lambda _: x.copy_(draw()))
    vae = mean.nets[0]
    vae.fit_statistics(*latent_statistics(state, vae))
    vae = vae.to(BF16).float()
    with torch.no_grad():
        x = clips(state, np.random.default_rng(8), 4 if state.cuda else 1)
        z = vae.encode(x)
        mse = (vae.decode(z).clamp(-1, 1) - x).square().mean().item()
    say(f"vae: PSNR without sampling {10 * np.log10(4 / mse):.2f} dB, "
        f"latents {z.mean():.3f} +- {z.std():.3f}")
    state.save("vae", vae=vae)


def encoder(state, seconds):
    """The encoder alone, so that what decodes text to video stays as it is to the byte. Stage vae drowns its latents in noise, a tenth
    to a half of their spread, and what it can say no louder, as where small stars are, it leaves out. The decoder could show them:
    the first frame of a clip counts more, and latents stay near those that transformers know"""
    torch.manual_seed(10)
    vae = state.vae()
    state.need("vae", vae=vae)
    before = copy.deepcopy(vae).requires_grad_(False)
    vae.requires_grad_(False)
    learns = nn.ModuleList((vae.encoder, vae.conv1)).requires_grad_(True)
    opt, lr = optimizer([learns], 7e-4)
    mean = Average([learns], 0.98)
    rng = seeded(10)
    draw = lambda: crops(state, rng, state.share(16), 96, **rng.choice(STARS))  # noqa: E731
    x = draw()

    def loss_of():
        with torch.no_grad():
            known = torch.cat((before.encode(x), pictures.first_frame(before, x)))
        z = vae.encode(x)
        far = (torch.cat((z, pictures.first_frame(vae, x))) - known).square().mean()
        y = vae.decode(z + NOISE * torch.randn_like(z)).float()
        miss = (y - x).square()
        miss = 8 * miss.mean() + 4 * miss[:, :, 0].mean()
        return (y - x).abs().mean() + edges(y, x) + miss + 0.2 * far

    def save():
        best = copy.deepcopy(vae)
        best.encoder, best.conv1 = mean.nets[0]
        state.save("vae", vae=best)
        return best

    descend(state, seconds, opt, lr, loss_of, [mean], "encoder", save, lambda _: x.copy_(draw()), warmup=30)
    best = save().to(BF16).float()
    s = scenes.sample(32 if state.cuda else 4, np.random.default_rng(8), held_out=True, background="night")
    with torch.no_grad():
        x = scenes.render(s, state.device, frames=1)
        mse = [(v.decode(v.encode(x)).clamp(-1, 1) - x).square().mean((1, 2, 3, 4)) for v in (before, best)]
    say("encoder: PSNR of held-out pictures with stars, mean and least: {:.2f} and {:.2f} dB, then {:.2f} and {:.2f} dB".format(
        *(v.item() for m in mse for v in ((10 * (4 / m).log10()).mean(), (10 * (4 / m).log10()).min()))))


def latents(state, seconds, kind=T2V):
    vae = state.vae()
    state.need("vae", vae=vae)
    vae = vae.to(BF16)
    n = 16 if state.cuda else 2
    s, ids, lengths = captioned.written(int(SCENES_A_SECOND * seconds) if state.cuda else int(8 * seconds) + 1, 4, 2)
    student = pictures.Student(state, vae) if kind is I2V else None
    found, started = [], time.time()
    for i in range(0, len(s), n):
        part = s.take(slice(i, i + n))
        with torch.no_grad():
            x = scenes.render(part, state.device, dtype=BF16)
            z = vae.encode(x)
            if kind is I2V:
                first = x[:, :, :1]
                if student.is_there and i // n % 2:
                    first = student.first_frames(part, x)
                z = torch.cat((z, pictures.first_frame(vae, x, first)), 1)
        found.append(z.to(BF16))
        if time.time() - started > seconds:
            break
    torch.cuda.synchronize() if state.cuda else None
    z = torch.cat(found)
    ids, lengths = ids[:len(z)], lengths[:len(z)]
    torch.save((z.cpu(), ids, lengths), state.path(f"{kind.prefix}latents-{RANK}.pt"))
    say(f"{kind.prefix}latents: {len(z)} clips, {z.float().mean():.3f} +- {z.float().std():.3f}")
