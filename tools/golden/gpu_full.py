#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Full-size stages and clips: this project and the official code on the same weights and inputs, each judged by its
distance from a float32 run (umT5: float64) of the same network. Prints a line "ok" or "FAIL" for each comparison, times
of both, and tables at the end.

usage: gpu_full.py --official=DIR --build=DIR --work=DIR [--small] [--device=cpu] [CASE...]

Cases encode, i2v and i2v_clip are image to video by the two experts of the A14B.

--official is a checkout of TurboDiffusion; turbo_diffusion_ops, spas_sage_attn (utils, _qattn, _fused) and flash_attn
(rotary) must be importable. --build holds td, tdsynth, libturbodiff-cuda.so and tests/gpu/stage; models are written to
--work. --small: small models, to try all of it in a minute. --device=cpu: these, on the CPU backend, with the official
kernels replaced by their formulas.

The rule: our error is at most twice the official one. Where attention chooses key blocks, a last bit can change a
choice; each side's error is then its distance from a float32 run over the blocks that this side chose, and how many
choices differ is printed beside it, as is the distance of both from a float32 run that chooses its own blocks. A
float32 clip of the A14B would take too long at full size: there the frames of both sides may be at most twice as far
apart as those of the official code with two kernels for its cross attention.
"""

import argparse
import gc
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time

sys.setdlopenflags(os.RTLD_LAZY)  # the sparse attention module may hold only the variants used here
import numpy as np  # noqa: E402
import torch  # noqa: E402

import modes  # noqa: E402
import official  # noqa: E402
import pipeline  # noqa: E402
import store  # noqa: E402
from reference import BF16, F32, HOPPER, Float32, SparseReference, Stay, float32_dit  # noqa: E402

PROMPTS = (
    "a cat walks on a beach at sunset, waves roll in, an old sailor reads a letter in a comfortable kitchen",
    "cat",
)
FILES = {"1.3B": "TurboWan2.1-T2V-1.3B-480P", "14B": "TurboWan2.1-T2V-14B-720P",
         "high": "TurboWan2.2-I2V-A14B-high-720P", "low": "TurboWan2.2-I2V-A14B-low-720P"}
T5_FILE, VAE_FILE = "models_t5_umt5-xxl-enc-bf16.pth", "Wan2.1_VAE.pth"
START = time.time()


def say(*words):
    print(f"[{time.time() - START:6.1f}s]", *words, flush=True)


def rel(a, b):
    """|a-b| / |b|; a NaN counts as infinite"""
    d = s = 0.0
    for x, y in zip(a.flatten().split(1 << 26), b.flatten().split(1 << 26)):
        y = y.double()
        d += (x.to(y.device).double() - y).square().sum().item()
        s += y.square().sum().item()
    return (d / s) ** 0.5 if d >= 0 and s > 0 else float("inf")


# ---- both sides ----

class Run:
    def __init__(self, args):
        self.args, self.rows, self.times, self.failed = args, [], [], 0
        self.gpu, self.small = args.device == "cuda", args.small or args.device == "cpu"

    def mode(self):
        """Of the official code: nothing on a GPU, CUDA's rounding points on a CPU."""
        return torch.overrides.BaseTorchFunctionMode() if self.gpu else modes.GpuRounding()

    def free(self):
        gc.collect()
        if self.gpu:
            torch.cuda.empty_cache()

    def model(self, name):
        """A directory of tdsynth, written at first use."""
        path = os.path.join(self.args.work, name)
        if not os.path.isdir(path):
            want = {"1.3B": ["--preset=1.3B", "--dit=both"], "14B": ["--preset=14B", "--dit=int8", "--only=dit"],
                    "A14B": ["--preset=A14B", "--dit=int8", "--vocab=2048", "--text-blocks=1"]}[name]
            small = ["--vocab=2048", *(["--dit=int8", "--in-dim=36"] if name == "A14B" else ["--dit=both"])]
            if name == "A14B":                   # the last one: make room on the disk
                shutil.rmtree(os.path.join(self.args.work, "14B"), ignore_errors=True)
            subprocess.run([os.path.join(self.args.build, "tdsynth"), "--seed=1", "--spiece=tests/data/spiece.model",
                            *(small if self.small else want), path], check=True)
            say("wrote the weights of", name)
        return path

    def dit_file(self, name, quant):
        """name: of a model, or of an expert of the A14B"""
        expert = name in ("high", "low")
        return os.path.join(self.model("A14B" if expert else name), FILES["1.3B" if self.small and not expert else name]
                            + ("-quant.pth" if quant == "int8" else ".pth"))

    def stage(self, *words, runs=4):
        """tests/gpu/stage. @return (values as float32, median time in ms of all runs but the first)"""
        out = os.path.join(self.args.work, "ours")
        done = subprocess.run([os.path.join(self.args.build, "tests/gpu/stage"), "-B", self.args.device, "-n",
                               str(runs if self.gpu else 1), *map(str, words), out], check=True, stdout=subprocess.PIPE)
        ms = sorted(float(x) for x in done.stdout.split()[1:][-3:])
        return torch.from_numpy(np.fromfile(out + ".f32", np.float32)), ms[len(ms) // 2]

    def input(self, tensors):
        path = os.path.join(self.args.work, "in.safetensors")
        store.save(path, tensors, {})
        return path

    def timed(self, call, n=3):
        """Median time in ms of n calls; the caller has made one before."""
        if not self.gpu:
            return float("nan")
        ms = []
        for _ in range(n):
            a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            a.record()
            call()
            b.record()
            b.synchronize()
            ms.append(a.elapsed_time(b))
        return sorted(ms)[n // 2]

    def judge(self, title, ours, theirs, apart, note=""):
        ok = ours <= 2 * theirs + 1e-6
        self.failed += not ok
        row = title, f"{ours:.3e}", f"{theirs:.3e}", f"{ours / max(theirs, 1e-30):.2f}", f"{apart:.3e}", note
        print("ok  " if ok else "FAIL", "{}: ours {}, official {}, ratio {}, apart {}; {}".format(*row), flush=True)
        self.rows.append(row)

    def clock(self, title, ours, theirs):
        say(f"time {title}: ours {ours:.1f} ms, official {theirs:.1f} ms, ratio {theirs / ours:.2f}")
        self.times.append((title, f"{ours:.1f}", f"{theirs:.1f}", f"{theirs / ours:.2f}"))


def stage_text(r, name="1.3B"):
    path = os.path.join(r.model(name), T5_FILE)
    ours = []
    for prompt in PROMPTS:
        emb, ms = r.stage("text", path, "tests/data/spiece.model", prompt)
        ids = torch.from_numpy(np.fromfile(os.path.join(r.args.work, "ours.ids"), np.int32)).long()
        ours.append((emb.view(512, -1), ms, ids))
    with r.mode():
        net = official.load_umt5(path)
        theirs, ms = [], []
        for _, _, ids in ours:
            row = torch.zeros(512, dtype=torch.long)
            row[: len(ids)] = ids
            theirs.append(official.encode_ids(net, row, len(ids)))
            ms.append(r.timed(lambda: official.encode_ids(net, row, len(ids))))
    del net
    r.free()
    with modes.Float64():
        net = official.load_umt5(path, exact=True)
        for i, (emb, our_ms, ids) in enumerate(ours):
            row = torch.zeros(512, dtype=torch.long)
            row[: len(ids)] = ids
            exact = official.encode_ids(net, row, len(ids))
            n = len(ids)
            title = f"umT5{'' if name == '1.3B' else ' of ' + name}, {n} ids"
            r.judge(title, rel(emb, exact), rel(theirs[i], exact), rel(emb, theirs[i]))
            r.clock(title, our_ms, ms[i])
            if i == 0:
                torch.save((theirs[0].cpu(), exact.cpu()), os.path.join(r.args.work, f"emb-{name}.pt"))
    del net
    r.free()


def stage_vae(r):
    path = os.path.join(r.model("1.3B"), VAE_FILE)
    for title, grid in (("small", (3, 8, 6)),) if r.small else (
            ("832x480x81", (21, 60, 104)), ("1280x720x81", (21, 90, 160))):
        z = torch.randn(16, *grid, generator=torch.Generator().manual_seed(60))
        ours, our_ms = r.stage("vae", path, r.input({"x": z}))
        ours = ours.view(-1, grid[1] * 8, grid[2] * 8, 3)
        with r.mode():
            vae = official.load_vae(path)
            z = z[None].to(r.args.device)
            theirs = vae.decode(z)[0]
            ms = r.timed(lambda: vae.decode(z), 3 if grid[1] < 90 else 1)
            theirs = theirs.permute(1, 2, 3, 0).contiguous().cpu()
        r.clock(f"VAE decode, {title}", our_ms, ms)
        vae.dtype, vae.model, vae.scale = F32, vae.model.float(), [s.float() for s in vae.scale]
        r.free()
        with Float32():
            exact = vae.decode(z)[0].permute(1, 2, 3, 0)
        r.judge(f"VAE decode, {title}", rel(ours, exact), rel(theirs, exact), rel(ours, theirs))
        del vae, exact, ours, theirs
        r.free()


def picture(r):
    """uint8 [H,W,3], smooth, and of another shape than the frames"""
    height, width = (70, 100) if r.small else (800, 1200)
    gen = torch.Generator().manual_seed(62)
    low = torch.rand(1, 3, height // 8, width // 8, generator=gen)
    image = torch.nn.functional.interpolate(low, (height, width), mode="bicubic").clamp(0, 1)
    return (image[0].permute(1, 2, 0) * 255).round().to(torch.uint8).contiguous()


def stage_encode(r):
    """The picture and grey frames through the VAE, and the 20 channels that the transformer sees beside its input."""
    from torchvision.transforms import v2

    path = os.path.join(r.model("A14B"), VAE_FILE)
    image = picture(r)
    t, h, w = (3, 8, 12) if r.small else (21, 90, 160)
    title = f"VAE encode, {8 * w}x{8 * h}x{4 * t - 3}"
    ours, our_ms = r.stage("encode", path, r.input({"image": image.float(), "grid": torch.tensor([t, h, w]).float()}))
    ours = ours.view(20, t, h, w)
    resize = v2.Compose([v2.Resize(size=(8 * h, 8 * w), antialias=True), v2.ToDtype(F32, scale=True),
                         v2.Normalize(mean=[0.5] * 3, std=[0.5] * 3)])
    video = torch.zeros(1, 3, 4 * t - 3, 8 * h, 8 * w)
    video[0, :, 0] = resize(image.permute(2, 0, 1))
    video = video.to(r.args.device)
    with r.mode():
        vae = official.load_vae(path)
        theirs = vae.encode(video)[0].to(BF16).float()
        ms = r.timed(lambda: vae.encode(video), 1)
    r.clock(title, our_ms, ms)
    vae.dtype, vae.model, vae.scale = F32, vae.model.float(), [s.float() for s in vae.scale]
    r.free()
    with Float32():
        exact = vae.encode(video)[0]
    mask = torch.zeros(4, t, h, w)
    mask[:, 0] = 1
    right = torch.equal(ours[:4], mask)
    r.judge(title, rel(ours[4:], exact) if right else float("inf"), rel(theirs, exact), rel(ours[4:], theirs),
            f"mask channels {'equal' if right else 'DIFFER'}")
    del vae, exact
    r.free()


def chosen(lut, n_k):
    """lut [H,Q,n] as a mask [H,Q,n_k]"""
    return torch.zeros(*lut.shape[:2], n_k, dtype=torch.bool, device=lut.device).scatter_(2, lut.long(), True)


def compare_dit(r, model, quant, attention, grid, own=True, n=3):
    title = f"{model} {attention.replace('original', 'dense')} {quant}"
    gen = torch.Generator().manual_seed(61)
    x = torch.randn(16, *grid, generator=gen).to(BF16)
    t = torch.tensor([[608.0 if model == "low" else 988.0]], device=r.args.device)
    path, cond = r.dit_file(model, quant), {}
    if model in ("high", "low"):
        cond["cond"] = torch.cat((torch.zeros(4, *grid), torch.randn(16, *grid, generator=gen) * 0.5)).to(BF16)
        cond["cond"][:4, 0] = 1
    emb = torch.zeros(512, 256 if r.small else 4096, dtype=BF16)
    emb[:40] = torch.randn(40, emb.shape[1], generator=gen) * 0.3
    bq, bk = HOPPER.get(attention, (128, 64))
    ours, our_ms = r.stage("-a", title.split()[1], "-b", f"{bq}x{bk}", "-k", TOPK, "dit", path,
                           r.input({"x": x.float(), "t": t.flatten().cpu(), "emb": emb, **cond}), runs=n + 1)
    ours = ours.view(x.shape)
    say(title, "ours done")
    x, emb = x[None].to(r.args.device), emb[None].to(r.args.device)
    kw = {"y_B_C_T_H_W": c[None].to(r.args.device) for c in cond.values()}
    with r.mode():
        net = official.load_dit(path, attention=attention, topk=TOPK)
        call = lambda: net(x_B_C_T_H_W=x, timesteps_B_T=t.to(BF16), crossattn_emb=emb, **kw)  # noqa: E731
        official.block_maps.clear()
        theirs = call()[0].float()
        maps = [(None, lut.short(), kept) for _, lut, kept in official.block_maps]
        ms = r.timed(call, n)
        official.block_maps.clear()
    del net, call
    r.free()
    r.clock(f"{title} forward", our_ms, ms)
    with SparseReference(maps):
        net = float32_dit(path, attention, TOPK)
        kw = {k: c.float() for k, c in kw.items()}
        call = lambda: net(x_B_C_T_H_W=x.float(), timesteps_B_T=t, crossattn_emb=emb.float(), **kw)[0]  # noqa: E731
        exact = call()
    error, note = rel(theirs, exact), ""
    our_exact = exact
    if maps:
        lut, kept = maps[0][1:]
        mine = np.fromfile(os.path.join(r.args.work, "ours.map"), np.uint16).astype(np.int16)
        mine = torch.from_numpy(mine).view(len(maps), *lut.shape[1:]).to(lut.device)
        n_k = -(-(grid[0] * grid[1] * grid[2] // 4) // bk)
        other = [1 - (chosen(a, n_k) & chosen(b[0], n_k)).sum().item() / a.numel()
                 for a, (_, b, _) in zip(mine, maps)]
        with SparseReference([(None, m[None], kept) for m in mine]):
            our_exact = call()
        note = f"blocks that differ: {100 * sum(other) / len(other):.2f} % (first layer {100 * other[0]:.3f} %)"
        if own:
            with SparseReference():
                free = call()
            note += f"; against float32 with its own blocks: ours {rel(ours, free):.3e}, official "
            note += f"{rel(theirs, free):.3e}"
    r.judge(title, rel(ours, our_exact), error, rel(ours, theirs), note)
    official.block_maps.clear()
    del net, call, exact, our_exact
    r.free()


def stage_dit(r, attention, quant):
    compare_dit(r, "1.3B", quant, attention, (3, 24, 48) if r.small else (21, 60, 104), own=quant == "int8")


def stage_dit14(r, attention, quant):
    compare_dit(r, "14B", quant, attention, (3, 24, 48) if r.small else (21, 60, 104), own=False, n=1)


def stage_i2v(r, expert, attention, quant):
    """1280x720 and 17 frames: a float32 forward of all 81 takes four times as long."""
    compare_dit(r, expert, quant, attention, (3, 24, 48) if r.small else (5, 90, 160), own=False)


def psnr(a, b):
    mse = (a.double() - b.double()).square().mean().item()
    return 10 * np.log10(255**2 / mse) if mse else float("inf")


def other_backend():
    """Softmax attention by another kernel than the official choice: the same result but for rounding."""
    from rcm.utils import attention
    from torch.nn.attention import SDPBackend

    for key, (cc, _, kern) in attention._SDPA_CONFIG_CACHE.items():
        attention._SDPA_CONFIG_CACHE[key] = (cc, [SDPBackend.EFFICIENT_ATTENTION], kern)


def embedding(r, name):
    """Of the first prompt: the official one and the float64 one."""
    path = os.path.join(r.args.work, f"emb-{name}.pt")
    if not os.path.exists(path):
        stage_text(r, name)
    return [e.to(r.args.device) for e in torch.load(path)]


def our_clip(r, title, model, size, frames, attention, *options):
    """Frames of the second of two clips by td."""
    bq, bk = HOPPER.get(attention, (128, 64))
    out, stats = os.path.join(r.args.work, "clip.rgb"), os.path.join(r.args.work, "clip.json")
    if os.path.exists(stats):
        os.remove(stats)
    subprocess.run([os.path.join(r.args.build, "td"), "-B", r.args.device, "-s", f"{size[0]}x{size[1]}", "-n",
                    str(frames), "-k", str(TOPK), "-a", attention.replace("original", "dense"), "-b", f"{bq}x{bk}",
                    *(["-R", "cpu"] if not r.gpu else []), "-c", "2", "-j", stats, *options, model, PROMPTS[0], out],
                   check=True)
    with open(stats) as f:
        for line in f:
            say(title, "ours:", json.dumps(json.loads(line)))
    return torch.from_numpy(np.fromfile(out, np.uint8)).view(2, frames, size[1], size[0], 3)[1]


def two_clips(r, call):
    """call() by the official code, and its frames with another kernel for cross attention (on a GPU)"""
    from rcm.utils import attention as backends

    first, again = call(), None
    official.block_maps.clear()
    if r.gpu:
        other_backend()
        again = call()["frames"]
        backends._SDPA_CONFIG_CACHE.clear()
    official.block_maps.clear()
    return first, again


def stage_clip(r, attention, quant):
    """A clip by the official script with its own CUDA noise, and by td."""
    emb = embedding(r, "1.3B")
    size, frames = ((128, 64), 17) if r.small else ((832, 480), 81)
    title = f"clip {attention.replace('original', 'dense')} {quant}"
    path = r.dit_file("1.3B", quant)
    only = os.path.join(r.args.work, f"clip-{quant}")
    os.makedirs(only, exist_ok=True)
    for name in (os.path.basename(path), T5_FILE, VAE_FILE, "google"):
        if not os.path.exists(os.path.join(only, name)):
            os.symlink(os.path.abspath(os.path.join(r.model("1.3B"), name)), os.path.join(only, name))
    ours = our_clip(r, title, only, size, frames, attention)

    def script(net, vae, emb, **kw):
        return pipeline.run(r.args.official, "wan2.1_t2v_infer.py", [net], vae, emb, size=size, n_frames=frames,
                            device=r.args.device, **kw)

    vae_path = os.path.join(r.model("1.3B"), VAE_FILE)
    with r.mode():
        net, vae = Stay(official.load_dit(path, attention=attention, topk=TOPK)), official.load_vae(vae_path)
        first, again = two_clips(r, lambda: script(net, vae, emb[0].to(BF16)))
        noise = [n.to(r.args.device) for n in first["noise"]]
    del net
    vae.dtype, vae.model, vae.scale = F32, vae.model.float(), [s.float() for s in vae.scale]
    r.free()
    with SparseReference():
        net = Stay(float32_dit(path, attention, TOPK), rounded=True)
        exact = script(net, vae, emb[1].float(), noise=noise)["frames"]
    official.block_maps.clear()
    theirs = first["frames"]
    del net, vae
    r.free()
    note = f"PSNR: ours and float32 {psnr(ours, exact):.2f} dB, official and float32 {psnr(theirs, exact):.2f} dB, " \
           f"ours and official {psnr(ours, theirs):.2f} dB"
    if again is not None:
        note += f", official with two attention kernels {psnr(theirs, again):.2f} dB"
    r.judge(title, rel(ours, exact), rel(theirs, exact), rel(ours, theirs), note)


def stage_i2v_clip(r, attention, quant):
    """A clip from a picture by the official script, both experts, and by td."""
    from PIL import Image

    size, frames = ((128, 64), 17) if r.small else ((1280, 720), 81)
    title = f"image to video, clip {attention.replace('original', 'dense')} {quant}"
    emb, paths = embedding(r, "A14B"), [r.dit_file(e, quant) for e in ("high", "low")]
    file = os.path.join(r.args.work, "picture.jpg")
    Image.fromarray(picture(r).numpy()).save(file, quality=95)
    image = torch.from_numpy(np.array(Image.open(file)))   # both sides see the pixels after JPEG
    ours = our_clip(r, title, r.model("A14B"), size, frames, attention, "-v", "-I", file)

    def script(nets, vae, emb, **kw):
        start = time.time()
        clip = pipeline.run(r.args.official, "wan2.2_i2v_infer.py", nets, vae, emb, size=size, n_frames=frames,
                            image=image, device=r.args.device, **kw)
        say(f"{title}: {time.time() - start:.1f} s in the official script, its networks loaded before")
        return clip

    with r.mode():
        nets, vae = [Stay(official.load_dit(p, attention=attention, topk=TOPK)) for p in paths], official.load_vae(
            os.path.join(r.model("A14B"), VAE_FILE))
        first, again = two_clips(r, lambda: script(nets, vae, emb[0].to(BF16)))
    theirs = first["frames"]
    del nets
    r.free()
    note = f"PSNR: ours and official {psnr(ours, theirs):.2f} dB"
    if again is not None:
        note += f", official with two attention kernels {psnr(theirs, again):.2f} dB"
    if not r.small:
        r.judge(title + ", against the official one", rel(ours, theirs), rel(again, theirs), rel(ours, theirs), note)
        return
    vae.dtype, vae.model, vae.scale = F32, vae.model.float(), [s.float() for s in vae.scale]
    with SparseReference():
        nets = [Stay(float32_dit(p, attention, TOPK), rounded=True) for p in paths]
        exact = script(nets, vae, emb[1].float(), noise=[n.to(r.args.device) for n in first["noise"]])["frames"]
    official.block_maps.clear()
    note += f", ours and float32 {psnr(ours, exact):.2f} dB, official and float32 {psnr(theirs, exact):.2f} dB"
    r.judge(title, rel(ours, exact), rel(theirs, exact), rel(ours, theirs), note)


def table(head, rows):
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def cases(args):
    """(stage, its arguments), in order; SageSLA has no formula on the CPU."""
    cpu = args.device == "cpu"
    sparse = "sla" if cpu else "sagesla"
    all_cases = [("text",), ("vae",)]
    all_cases += [("dit", a, q) for a in ("original", "sla", "sagesla")[: 2 if cpu else 3] for q in ("bf16", "int8")]
    all_cases += [("clip", "original", "bf16")] + ([] if cpu else [("clip", sparse, "int8")])
    all_cases += [("dit14", sparse, "int8")]
    all_cases += [("encode",), ("i2v", "high", sparse, "int8"), ("i2v", "low", sparse, "int8"),
                  ("i2v_clip", sparse, "int8")]
    names = {":".join(c): c for c in all_cases}
    for want in args.stage:
        if not any(f"{n}:".startswith(f"{want}:") for n in names):
            raise SystemExit(f"{want}: no such case; want one of {', '.join(names)}, or their first words")
    return [c for n, c in names.items() if not args.stage or any(f"{n}:".startswith(f"{w}:") for w in args.stage)]


def work(args, case, pipe):
    """One case in a process of its own: after a CUDA error nothing else runs in that process."""
    r = Run(args)
    try:
        globals()[f"stage_{case[0]}"](r, *case[1:])
    except Exception as e:
        import traceback

        traceback.print_exc()
        print("FAIL", *case, f"{type(e).__name__}: {e}".splitlines()[0], flush=True)
        r.failed += 1
    pipe.send((r.rows, r.times, r.failed))


def main():
    global TOPK
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("official", "build", "work"):
        p.add_argument(f"--{name}", required=True)
    p.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    p.add_argument("--small", action="store_true")
    p.add_argument("stage", nargs="*", help="text, vae, dit, clip, dit14, encode, i2v, i2v_clip; dit:sagesla, ...")
    args = p.parse_args()
    torch.set_grad_enabled(False)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    TOPK = 0.5 if args.small or args.device == "cpu" else 0.1
    official.setup(args.official, gpu=args.device == "cuda")
    os.makedirs(args.work, exist_ok=True)
    say("torch", torch.__version__, "on", args.device)
    rows, times, failed = [], [], 0
    fork = multiprocessing.get_context("fork")  # CUDA is first used in the children
    for case in cases(args):
        mine, theirs = fork.Pipe(duplex=False)
        child = fork.Process(target=work, args=(args, case, theirs))
        child.start()
        theirs.close()
        try:
            part = mine.recv()
        except EOFError:
            print("FAIL", *case, "the process ended", flush=True)
            part = [], [], 1
        child.join()
        rows, times, failed = rows + part[0], times + part[1], failed + part[2]
    table(("relative L2 error", "ours", "official", "ratio", "apart", "note"), rows)
    table(("time, ms", "ours", "official", "official / ours"), times)
    print(f"official: {len(rows)} compared, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
