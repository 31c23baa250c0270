# SPDX-License-Identifier: BSD-2-Clause
"""Stage judge: how much of held-out prompts, half of them in held-out wordings, clips show, whatever the attention, and
clips from the first frames of those scenes. In PyTorch, in bfloat16 and int8; table.py has what td makes of the files."""

import collections
import itertools
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch

import scenes
from dit import Tiles
from pictures import condition, first_frame
from ranks import say
from results import euler, few_steps, noise
from state import BF16, I2V, SPARSE_BLOCKS, T2V, TOKENS, TOPK, no_caption
from student import guided

HERE = os.path.dirname(os.path.abspath(__file__))


@torch.no_grad()
def decoded(vae, z, f):
    for part in z.to(BF16).split(8):
        f.write(scenes.to_bytes(vae.decode(part)).tobytes())


def scored(prompts, clips):
    """-> for each clip {attribute: is it right?}"""
    done = subprocess.run([sys.executable, os.path.join(HERE, "score.py"), "--json", f"--jobs={os.cpu_count()}",
                           "--prompts", prompts, clips], check=True, stdout=subprocess.PIPE,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})
    return [c["result"] for c in json.loads(done.stdout)["clips"]]


def share(results):
    """Attributes right, in per cent"""
    return 100 * sum(sum(r.values()) for r in results) / sum(map(len, results))


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
    videos = [scenes.render(s.take(slice(i, i + 4)), state.device, dtype=BF16) for i in range(0, n, 4)]
    first = torch.cat([first_frame(vae, v) for v in videos])
    tiles = {"x".join(map(str, b)): Tiles(TOKENS, TOPK[0], *b, state.device) for b in SPARSE_BLOCKS} | {"dense": None}

    def parts():
        return zip(emb.split(part), lengths.split(part))

    def rows():
        yield "vae", lambda: torch.cat([vae.encode(v) for v in videos])
        yield "teacher", lambda: torch.cat([euler(guided(dit, e, k, none), noise(len(e), i, state.device)(), 30)
                                            for i, (e, k) in enumerate(parts())])
        for kind, stages in ((T2V, ("student", "dmd")), (I2V, ("student", "dmd", "direct"))):
            net = state.pair(kind)[0]
            ys = [condition(f.float()) if kind is I2V else None for f in first.split(part)]
            for name in (kind.prefix + stage for stage in stages):
                for (how, t), int8 in itertools.product(tiles.items(), (False, True)) if state.load(name, dit=net) else ():
                    yield f"{name} {how}{' int8' * int8}", lambda t=t, int8=int8, net=net, kind=kind, ys=ys: torch.cat([
                        few_steps(net.rounds(int8), e, k, y, kind.times(), noise(len(e), i, state.device), t)
                        for i, ((e, k), y) in enumerate(zip(parts(), ys))])

    with tempfile.TemporaryDirectory() as work:
        listed = os.path.join(work, "prompts.txt")
        with open(listed, "w", encoding="ascii") as f:
            f.write("".join(p + "\n" for p in prompts))
        for name, make in rows():
            clips = os.path.join(work, "clips.rgb")
            with open(clips, "wb") as f, state.autocast():
                decoded(vae, make(), f)
            found = scored(listed, clips)
            right = [share(x) for x in (found, found[::2], found[1::2])]
            whole = 100 * np.mean([all(r.values()) for r in found])
            wrong = [collections.Counter(a for r in x for a in r if not r[a]) for x in (found[::2], found[1::2])]
            say("judge: {:22s} {:5.1f} % of attributes, {:5.1f} plain, {:5.1f} in new wordings; {:5.1f} % of clips; wrong {}; {}"
                .format(name, *right, whole, *(" ".join(f"{a} {k}" for a, k in w.most_common()) for w in wrong)))
