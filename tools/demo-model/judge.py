# SPDX-License-Identifier: BSD-2-Clause
"""Stage judge: how much of held-out prompts, half of them in held-out wordings, clips show, whatever the attention. In
PyTorch, in bfloat16; table.py has what td makes of the exported files."""

import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch

import scenes
from dit import Tiles
from ranks import say
from results import euler, few_steps, noise
from state import BF16, SPARSE_BLOCKS, T2V, TOKENS, TOPK, no_caption
from student import guided

HERE = os.path.dirname(os.path.abspath(__file__))


@torch.no_grad()
def decoded(vae, z, f):
    for part in z.to(BF16).split(8):
        f.write(scenes.to_bytes(vae.decode(part)).tobytes())


def scored(prompts, clips):
    """-> for each clip [right, of]"""
    done = subprocess.run([sys.executable, os.path.join(HERE, "score.py"), "--json", f"--jobs={os.cpu_count()}",
                           "--prompts", prompts, clips], check=True, stdout=subprocess.PIPE,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})
    return np.array([(sum(c["result"].values()), len(c["result"])) for c in json.loads(done.stdout)["clips"]])


@torch.no_grad()
@torch.compiler.set_stance("force_eager")             # each row has another shape
def judge(state):
    n, part = (200, 50) if state.cuda else (state.batch or 8, 4)
    vae, (dit, text) = state.vae(), state.pair()
    state.need("vae", vae=vae)
    state.need("teacher", dit=dit, text=text)
    vae = vae.to(BF16)
    s = scenes.sample(n, np.random.default_rng(1), held_out=True)
    prompts = scenes.prompts(s, "mixed", held_out=True)
    ids, lengths = (x.to(state.device) for x in scenes.tokens(prompts))
    emb, none = text(ids, lengths), no_caption(text, state.device)
    tiles = {"x".join(map(str, b)): Tiles(TOKENS, TOPK[0], *b, state.device) for b in SPARSE_BLOCKS} | {"dense": None}

    def parts():
        return zip(emb.split(part), lengths.split(part))

    def rows():
        yield "vae", lambda: torch.cat([vae.encode(scenes.render(s.take(slice(i, i + 4)), state.device, dtype=BF16))
                                        for i in range(0, n, 4)])
        yield "teacher", lambda: torch.cat([euler(guided(dit, e, k, none), noise(len(e), i, state.device)(), 30)
                                            for i, (e, k) in enumerate(parts())])
        for name in ("student", "dmd"):
            if state.load(name, dit=dit):
                for kind, t in tiles.items():
                    yield f"{name} {kind}", lambda t=t: torch.cat([
                        few_steps(dit, e, k, None, T2V.times(), noise(len(e), i, state.device), t)
                        for i, (e, k) in enumerate(parts())])

    with tempfile.TemporaryDirectory() as work:
        listed = os.path.join(work, "prompts.txt")
        with open(listed, "w", encoding="ascii") as f:
            f.write("".join(p + "\n" for p in prompts))
        for name, make in rows():
            clips = os.path.join(work, "clips.rgb")
            with open(clips, "wb") as f, state.autocast():
                decoded(vae, make(), f)
            found = scored(listed, clips)
            right = [100 * a / b for a, b in (x.sum(0) for x in (found, found[::2], found[1::2]))]
            whole = 100 * (found[:, 0] == found[:, 1]).mean()
            say("judge: {:16s} {:5.1f} % of attributes, {:5.1f} plain, {:5.1f} in new wordings; {:5.1f} % of clips".format(
                name, *right, whole))
