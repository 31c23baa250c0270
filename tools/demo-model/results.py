# SPDX-License-Identifier: BSD-2-Clause
"""Stages shipped, export, sheet: files of model directories, and pictures."""

import io
import os
import shutil

import numpy as np
import torch

import scenes
import vocabulary
from dit import Tiles
from pictures import condition, first_frame
from ranks import say
from state import BF16, GRID, I2V, SPARSE_BLOCKS, T2V, TOKENS, TOPK, no_caption
from student import guided

HERE = os.path.dirname(os.path.abspath(__file__))


def noise(n, seed, device):
    """-> a function that draws latents of n clips"""
    g = torch.Generator(device).manual_seed(seed)
    return lambda: torch.randn((n, 16, *GRID), generator=g, device=device)


@torch.no_grad()
def few_steps(dit, emb, lengths, y, times, draw, tiles):
    """The official sampler (SDE) -> latents; tiles: None for dense attention"""
    times = torch.tensor((*times, 0.0), dtype=torch.float32, device=emb.device)
    x = draw() * times[0]
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
def sheet(state):
    from PIL import Image

    vae, (dit, text) = state.vae(), state.pair()
    state.need("vae", vae=vae)
    state.need("teacher", dit=dit, text=text)
    s = scenes.sample(12, np.random.default_rng(5), held_out=True)
    captions = scenes.prompts(s, "mixed", held_out=True)
    ids, lengths = (torch.as_tensor(x).to(state.device) for x in scenes.tokens(captions))
    emb = text(ids, lengths)
    none, x = no_caption(text, state.device), scenes.render(s, state.device)
    rows, tiles = {"data": vae.encode(x)}, Tiles(TOKENS, TOPK[0], *SPARSE_BLOCKS[0], state.device)
    with state.autocast():
        for kind in (T2V, I2V):
            dit, y = state.pair(kind)[0], condition(first_frame(vae, x)) if kind is I2V else None
            if state.load(kind.prefix + "teacher", dit=dit):
                rows[kind.prefix + "teacher"] = euler(guided(dit, emb, lengths, none, y),
                                                      noise(len(emb), 1, state.device)(), steps=30)
            for name in (kind.prefix + stage for stage in ("sla", "student", "dmd", "direct")):
                if state.load(name, dit=dit):
                    rows[name] = few_steps(dit, emb, lengths, y, kind.times(), noise(len(emb), 1, state.device), tiles)
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


def with_vocabulary(sd, text):
    """A text encoder's weights with the rows of this vocabulary; words that it has not stay as they are in `text`"""
    name = "token_embedding.weight"
    pieces = list(vocabulary.read_pieces(os.path.join(HERE, "model", "google", "umt5-xxl", "spiece.model")))
    row = {piece: i for i, piece in enumerate(pieces)}
    extra = range(vocabulary.N_EXTRA_IDS)
    pairs = [(i, row[piece]) for i, piece in enumerate(vocabulary.pieces()) if piece in row]
    pairs += [(len(vocabulary.pieces()) + i, len(pieces) + i) for i in extra]
    new, old = torch.tensor(pairs, device=sd[name].device).T
    weight = text.token_embedding.weight.detach().to(sd[name].dtype)
    weight[new] = sd[name][old]
    return {**sd, name: weight}


def shipped(state):
    read = lambda name: torch.load(os.path.join(HERE, "model", name), map_location=state.device)  # noqa: E731
    vae, (dit, text) = state.vae(), state.pair()
    dit.load_state_dict(unquantised(read("TurboWan2.1-T2V-demo-quant.pth")))
    text.load_state_dict(with_vocabulary(read("models_t5_umt5-xxl-enc-bf16.pth"), text))
    vae.load_state_dict(read("Wan2.1_VAE.pth"))
    state.save("vae", vae=vae)
    state.save("teacher", dit=dit, text=text)
    state.save("student", dit=dit)
    state.save("shipped", dit=dit)                    # what stages reword and agree keep to
    state.save("unreworded", text=text)
    dit = state.pair(I2V)[0]
    dit.load_state_dict(unquantised(read("../model-i2v/TurboWan2.2-I2V-demo-high-quant.pth")))
    state.save("i2v_student", dit=dit)


def export(state):
    vae, (dit, text) = state.vae(), state.pair()
    state.need("vae", vae=vae)
    state.need("teacher", dit=dit, text=text)
    plain = dict(dtype=BF16, device="cpu", memory_format=torch.contiguous_format)
    bf16 = lambda net: {k: v.to(**plain) for k, v in net.state_dict().items()}  # noqa: E731
    norms = lambda sd: {k: v.float() if "norm" in k else v for k, v in sd.items()}  # noqa: E731
    # of image to video both experts have the same weights, a file each
    for directory, kind, stages, name, experts in (
            ("teacher", T2V, ("teacher",), "TurboWan2.1-T2V-demo", [""]),
            ("model", T2V, ("dmd", "student"), "TurboWan2.1-T2V-demo", [""]),
            ("i2v", I2V, ("i2v_direct", "i2v_dmd", "i2v_student"), "TurboWan2.2-I2V-demo", ["-high", "-low"])):
        dit = state.pair(kind)[0]
        origin = next((s for s in stages if state.load(s, dit=dit)), None)
        if not origin:
            say(f"export: nothing of stage {stages[-1]} there")
            continue
        out = state.path(directory)
        os.makedirs(os.path.join(out, "google", "umt5-xxl"), exist_ok=True)
        files = {".pth": norms(bf16(dit))}
        if origin != "teacher":
            files["-quant.pth"] = quantised(files[".pth"])
        for end, sd in files.items():
            made = io.BytesIO()                       # a file's own name would be in it: experts are alike to the byte
            torch.save(sd, made)
            for expert in experts:
                with open(os.path.join(out, name + expert + end), "wb") as f:
                    f.write(made.getbuffer())
        torch.save(bf16(text), os.path.join(out, "models_t5_umt5-xxl-enc-bf16.pth"))
        torch.save(bf16(vae), os.path.join(out, "Wan2.1_VAE.pth"))
        shutil.copy(os.path.join(HERE, "spiece.model"), os.path.join(out, "google", "umt5-xxl"))
        with open(os.path.join(out, "turbodiff.conf"), "w", encoding="ascii") as f:
            f.write(f"width = {scenes.SIZE}\nheight = {scenes.SIZE}\nframes = {scenes.FRAMES}\n"
                    f"topk = {TOPK[0]}\nsla_block = {SPARSE_BLOCKS[0][0]}x{SPARSE_BLOCKS[0][1]}\nvocabulary = words\n")
        say(f"export: {directory}: of stage {origin}:", *(f"{n} {os.path.getsize(os.path.join(out, n))}"
                                       for n in sorted(os.listdir(out)) if n.endswith(".pth")))
