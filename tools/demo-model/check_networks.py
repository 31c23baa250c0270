#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Do vae.py, text.py, dit.py and pictures.py's condition compute what the official code does? Random weights, on the CPU.

usage: python3 -O check_networks.py --official=DIR

--official is a checkout of TurboDiffusion; -O, because its networks assert float32 where these run in float64. Ours run
in float32: a relative error above 2e-5 is a difference. Run by hand: it needs what tools/golden/official.py needs.
"""
import argparse
import os
import sys
import tempfile

import torch

import pictures
from dit import Dit, Tiles
from text import TextEncoder
from vae import Vae, table

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden"))
import modes  # noqa: E402
import official  # noqa: E402
import pipeline  # noqa: E402

BF16, LIMIT = torch.bfloat16, 2e-5
failed = 0


def judge(title, ours, theirs):
    global failed
    error = ((ours - theirs).norm() / theirs.norm()).item()
    failed += not (ours.shape == theirs.shape and error <= LIMIT)
    print("ok  " if ours.shape == theirs.shape and error <= LIMIT else "FAIL", f"{title}: {error:.1e}")


def rounded(net, path):
    """Weights as a file holds them, in bf16"""
    for p in net.parameters():
        p.data += 0.03 * torch.randn_like(p)
    torch.save({k: v.to(BF16) for k, v in net.state_dict().items()}, path)
    return net.to(BF16).float()


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--official", required=True)
    root = p.parse_args().official
    official.setup(root)
    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    with tempfile.TemporaryDirectory() as work:
        path = os.path.join(work, "net.pth")
        plain = [torch.zeros(16).double(), torch.ones(16).double()]       # mean and scale

        vae = rounded(Vae(8), path)
        theirs = official.load_vae(path, exact=True)
        x, z = torch.rand(1, 3, 17, 64, 64) * 2 - 1, torch.randn(1, 16, 5, 8, 8)
        judge("VAE encode", vae.moments(x)[0], theirs.model.encode(x.double(), plain))
        judge("VAE decode", vae.generate(z), theirs.model.decode(z.double(), plain))
        picture, seen = torch.randint(256, (64, 64, 3), dtype=torch.uint8), []

        def net(x_B_C_T_H_W, y_B_C_T_H_W, **kw):
            seen.append(y_B_C_T_H_W)
            return torch.zeros_like(x_B_C_T_H_W)
        net.cpu = net.cuda = lambda: net
        mean, std = (v.double() for v in table("cpu"))
        theirs.scale = [mean, 1 / std]                                    # which are there in bf16
        with modes.Float64():
            pipeline.run(root, "wan2.2_i2v_infer.py", [net, net], theirs, torch.zeros(512, 8), size=(64, 64),
                         image=picture)
        x = (picture / 127.5 - 1).permute(2, 0, 1)[None, :, None].expand(1, 3, 17, 64, 64)
        judge("condition by the first frame", pictures.condition(pictures.first_frame(vae, x)), seen[0])
        mu, before = vae.moments(x)[0], vae.generate(vae.moments(x)[0])
        vae.fit_statistics(mu.mean((0, 2, 3, 4)), mu.std((0, 2, 3, 4)))
        judge("VAE, the table's statistics: the same pictures", vae.generate(vae.moments(x)[0]), before)

        text = rounded(TextEncoder(600), path)
        ids, lengths = torch.zeros(2, 32, dtype=torch.long), torch.tensor([7, 19])
        for row, n in zip(ids, lengths):
            row[:n] = torch.randint(3, 600, (int(n),))
        emb = text(ids, lengths)
        with modes.Float64():
            net = official.load_umt5(path, exact=True)
            padded = torch.nn.functional.pad(ids, (0, 512 - ids.shape[1]))
            exact = torch.stack([official.encode_ids(net, i, int(n)) for i, n in zip(padded, lengths)])
        judge("umT5", emb, exact[:, :32])

        x, t = torch.randn(2, 36, 5, 24, 24), torch.tensor([0.5, 0.988])
        for channels, attention, sparse in ((16, "original", None), (16, "sla", Tiles(720, 0.3, 128, 64, "cpu")),
                                            (36, "original", None)):
            dit = rounded(Dit(256, 512, 2, 128, channels), path)
            z, y = x[:, :16], x[:, 16:] if channels == 36 else None
            with modes.Float64():
                net = official.load_dit(path, attention=attention, topk=0.3, exact=True)
                theirs = net(x_B_C_T_H_W=z.double(), timesteps_B_T=t.double()[:, None] * 1000, crossattn_emb=exact,
                             **({} if y is None else {"y_B_C_T_H_W": y.double()}))
            judge(f"transformer, {channels} channels, {attention}", dit(z, t, emb, lengths, sparse, y), theirs)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
