#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Write tests/golden/*.safetensors: what the official code computes on tdsynth's small models.

usage: dump_golden.py --official=DIR --tdsynth=FILE [--spiece=FILE] [--out=DIR] [STAGE...]

--official is a checkout of the TurboDiffusion repository, with its commit id in the file COMMIT. An output is stored
twice: NAME.official, the official modules in their own precision with CUDA's rounding points, and NAME.exact, the
same modules in float64, stored as float32. STAGE is one of the functions stage_* below, all by default. Needs
torch, torchvision, einops, tokenizers, sentencepiece and what the official modules import.
"""
import argparse
import hashlib
import os
import subprocess
import sys
import tempfile

if __debug__:                        # the official asserts name dtypes that a float64 run does not have
    os.execv(sys.executable, [sys.executable, "-O", *sys.argv])

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden"))
import torch                         # noqa: E402

import modes                         # noqa: E402
import official                      # noqa: E402
import philox                        # noqa: E402
import pipeline                      # noqa: E402
import store                         # noqa: E402

BF16 = torch.bfloat16
SEED = 1
DIRECTORIES = {
    "tiny": ["--vocab=2048"],
    "wide": ["--dim=384", "--ffn=640", "--only=dit"],
    "i2v": ["--in-dim=36", "--only=dit"],
    "tae": ["--only=vae", "--vae=tiny"],         # of tools/golden/tiny_golden.py
}
PROMPTS = ["a cat walks on a beach at sunset",
           "An old sailor reads a letter in a comfortable kitchen, 4k; \u00e9t\u00e9 \u732b"]
BF16_FILE, INT8_FILE = "TurboWan2.1-T2V-1.3B-480P.pth", "TurboWan2.1-T2V-1.3B-480P-quant.pth"


class Golden:
    def __init__(self, args):
        self.args = args
        self.dir = {}
        self.report = []
        self.written = []
        with open(os.path.join(args.official, "COMMIT")) as f:
            self.commit = f.read().strip()
        self.embeddings = None

    def synth(self, base):
        """Generate the model directories. @return lines of sha256 sums"""
        sums = []
        for name, options in DIRECTORIES.items():
            path = self.dir[name] = os.path.join(base, name)
            subprocess.run([self.args.tdsynth, f"--seed={SEED}", f"--spiece={self.args.spiece}", *options, path],
                           check=True)
            for top, _, files in sorted(os.walk(path)):
                for file in sorted(f for f in files if f.endswith(".pth")):
                    full = os.path.join(top, file)
                    sums.append(f"{sha256(full)}  {os.path.relpath(full, base)}\n")
        return sums

    def path(self, directory, name):
        return os.path.join(self.dir[directory], name)

    def save(self, name, tensors, **meta):
        tensors = {k: v.float() if v.dtype == torch.float64 and k.endswith(".exact") else v for k, v in tensors.items()}
        meta = {"upstream": f"TurboDiffusion {self.commit}", "torch": torch.__version__,
                "weights": f"tdsynth --seed={SEED}", "command": f"tools/dump_golden.py {name}",
                **{k: str(v) for k, v in meta.items()}}
        path = os.path.join(self.args.out, f"{name}.safetensors")
        store.save(path, tensors, meta)
        if os.path.getsize(path) > 1 << 20:
            raise SystemExit(f"{path}: {os.path.getsize(path)} bytes, want at most 1 MiB")
        self.written.append(path)

    def compare(self, what, tensors, name):
        """Note the error of the official run against float64."""
        a, b = tensors[f"{name}.official"].double(), tensors[f"{name}.exact"].double()
        error = ((a - b).norm() / b.norm()).item()
        self.report.append(f"{what:<44} {error:.3e}  rms {b.square().mean().sqrt().item():.3g}")
        return f"{error:.3e}"

    def embedding(self):
        """umT5 output of the first prompt: bf16 [512,d], float64 [512,d], valid rows."""
        if self.embeddings is None:
            self.embeddings = [encode(self, ids, n) for ids, n in (token_ids(self.args.spiece, p) for p in PROMPTS)]
        return self.embeddings[0]


def tokenizer(spiece):
    """The fast tokenizer of the official repository's shape, on another vocabulary."""
    import sentencepiece
    import tokenizers
    sp = sentencepiece.SentencePieceProcessor(model_file=spiece)
    pieces = [(sp.id_to_piece(i), sp.get_score(i)) for i in range(sp.get_piece_size())]
    pieces += [(f"<extra_id_{i}>", 0.0) for i in range(299, -1, -1)]
    tok = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, unk_id=3, byte_fallback=False))
    tok.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always")
    return tok


def token_ids(spiece, prompt):
    ids = tokenizer(spiece).encode(prompt).ids[:511] + [1]
    return torch.tensor(ids + [0] * (512 - len(ids))), len(ids)


def encode(g, ids, n):
    path = g.path("tiny", "models_t5_umt5-xxl-enc-bf16.pth")
    with modes.GpuRounding():
        bf16 = official.encode_ids(official.load_umt5(path), ids, n)
    with modes.Float64():
        exact = official.encode_ids(official.load_umt5(path, exact=True), ids, n)
    return bf16, exact, n, ids


def stage_umt5(g):
    g.embedding()
    t, errors = {}, {}
    for i, (bf16, exact, n, ids) in enumerate(g.embeddings):
        t[f"ids.{i}"] = ids[:n].to(torch.int32)
        t[f"emb.{i}.official"], t[f"emb.{i}.exact"] = bf16[:n], exact[:n]
        errors[f"error.{i}"] = g.compare(f"umt5 prompt {i} ({n} ids)", t, f"emb.{i}")
    g.save("umt5", t, **{f"prompt.{i}": p for i, p in enumerate(PROMPTS)}, **errors)


# ---- transformer ----

def forward(g, path, x, t, emb, exact_emb=None, y=None, hook=None, **kw):
    """Official and float64 output of one forward, the second with the block maps of the first."""
    result = []
    maps = None
    for exact in (False, True):
        official.block_maps.clear()
        official.replayed_maps = iter(maps) if exact else None
        with modes.Float64() if exact else modes.GpuRounding():
            net = official.load_dit(path, exact=exact, **kw)
            points = hook(net) if hook else {}
            cast = (lambda v: v.double()) if exact else (lambda v: v)
            extra = {} if y is None else {"y_B_C_T_H_W": cast(y)}
            v = net(x_B_C_T_H_W=cast(x), timesteps_B_T=cast(t), crossattn_emb=cast(emb[None]), **extra)
        maps = list(official.block_maps)
        result.append((v[0], points))
    return result, maps


def latent(seed, *shape):
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed)).to(BF16)


def time_of(value):
    return torch.tensor([[value]], dtype=BF16)


def add_maps(t, name, maps):
    for i, (block_map, lut, n) in enumerate(maps):
        t[f"{name}.map.{i}"] = block_map[0].to(torch.uint8)


def stage_dit_dense(g):
    emb, _, n, _ = g.embedding()
    x, t = latent(10, 16, 3, 16, 28), time_of(852.0)
    out = {"x": x[0], "t": t[0].float(), "emb": emb[:n]}
    errors = {}
    for name, file, default_norm in (("bf16", BF16_FILE, False), ("bf16_default_norm", BF16_FILE, True),
                                     ("int8", INT8_FILE, False)):
        (v, _), (e, _) = forward(g, g.path("tiny", file), x, t, emb, attention="original", default_norm=default_norm)[0]
        out[f"{name}.official"], out[f"{name}.exact"] = v, e
        errors[f"error.{name}"] = g.compare(f"dit dense {name}, L=336", out, name)
    del out["bf16_default_norm.exact"]   # the profiles differ in rounding alone at this width
    g.save("dit_dense", out, **errors)


def stage_dit_sla(g):
    emb, _, n, _ = g.embedding()
    x, t = latent(11, 16, 3, 24, 40), time_of(608.0)
    out = {"x": x[0], "t": t[0].float(), "emb": emb[:n]}
    errors = {}
    for name, file in (("bf16", BF16_FILE), ("int8", INT8_FILE)):
        ((v, _), (e, _)), maps = forward(g, g.path("tiny", file), x, t, emb, attention="sla", topk=0.25)
        out[f"{name}.official"], out[f"{name}.exact"] = v, e
        add_maps(out, name, maps)
        errors[f"error.{name}"] = g.compare(f"dit sla topk 0.25 {name}, L=720", out, name)
    del out["int8.exact"]
    g.save("dit_sla", out, topk=0.25, block="128x64", **errors)


def stage_dit_wide(g):
    """Width 384: the fast layer norm sums 128 padding lanes."""
    emb, _, n, _ = g.embedding()
    x, t = latent(12, 16, 2, 8, 10), time_of(988.0)
    out = {"x": x[0], "t": t[0].float(), "emb": emb[:n]}
    errors = {}
    for name, file, default_norm in (("bf16", BF16_FILE, False), ("bf16_default_norm", BF16_FILE, True),
                                     ("int8", INT8_FILE, False)):
        (v, _), (e, _) = forward(g, g.path("wide", file), x, t, emb, attention="original", default_norm=default_norm)[0]
        out[f"{name}.official"], out[f"{name}.exact"] = v, e
        errors[f"error.{name}"] = g.compare(f"dit dense {name}, D=384", out, name)
    g.save("dit_wide", out, **errors)


def stage_dit_i2v(g):
    emb, _, n, _ = g.embedding()
    x, t = latent(13, 16, 2, 8, 10), time_of(996.0)
    y = torch.cat([torch.zeros(1, 4, 2, 8, 10, dtype=BF16), latent(14, 16, 2, 8, 10)], 1)
    y[:, :4, 0] = 1
    out = {"x": x[0], "t": t[0].float(), "emb": emb[:n], "y": y[0]}
    errors = {}
    for expert in ("high", "low"):
        path = g.path("i2v", f"TurboWan2.2-I2V-A14B-{expert}-720P.pth")
        ((v, _), (e, _)), maps = forward(g, path, x, t, emb, y=y, attention="sla", topk=1.0)
        out[f"{expert}.official"], out[f"{expert}.exact"] = v, e
        errors[f"error.{expert}"] = g.compare(f"dit i2v sla topk 1 {expert}, L=40", out, expert)
    g.save("dit_i2v", out, topk=1.0, **errors)


def points_of(net):
    """Hooks that keep what spec calls check points. @return dict filled by the forward"""
    kept = {}
    block = net.blocks[0]

    def keep(name, module, what):
        if what == "out":
            module.register_forward_hook(lambda m, a, o: kept.__setitem__(name, o))
        else:
            module.register_forward_pre_hook(lambda m, a: kept.__setitem__(name, a[what]))
    keep("patch", net.patch_embedding, "out")
    keep("e", net.time_embedding, "out")
    keep("e0", net.time_projection, "out")
    keep("ctx", net.text_embedding, "out")
    keep("self.in", block.self_attn, 0)
    keep("self.q_norm", block.self_attn.norm_q, "out")
    keep("self.k_norm", block.self_attn.norm_k, "out")
    keep("self.v", block.self_attn.v, "out")
    keep("self.q_rope", block.self_attn.attn_op, 0)
    keep("self.k_rope", block.self_attn.attn_op, 1)
    keep("self.attn", block.self_attn.attn_op, "out")
    keep("x.self", block.norm3, 0)
    keep("x.cross", block.norm2, 0)
    keep("ffn.in", block.ffn, 0)
    keep("ffn.hidden", block.ffn[2], 0)
    keep("x.ffn", block, "out")
    keep("head.in", net.head.head, 0)
    return kept


def stage_dit_points(g):
    """Intermediate values of block 0, dense attention, width 256."""
    emb, _, n, _ = g.embedding()
    x, t = latent(15, 16, 2, 6, 8), time_of(852.0)
    out = {"x": x[0], "t": t[0].float(), "emb": emb[:n]}
    (v, bf16), (e, exact) = forward(g, g.path("tiny", BF16_FILE), x, t, emb, hook=points_of, attention="original")[0]
    for name in bf16:
        a, b = bf16[name].reshape(-1, bf16[name].shape[-1]), exact[name].reshape(-1, bf16[name].shape[-1])
        if name == "ctx":            # the rows of real tokens, and one of padding
            a, b = a[:n + 1], b[:n + 1]
        out[f"{name}.official"], out[f"{name}.exact"] = a, b
        g.compare(f"dit point {name}", out, name)
    out["v.official"], out["v.exact"] = v, e
    g.compare("dit point v", out, "v")
    g.save("dit_points", out)


def stage_attention(g):
    """One SLA call alone: L=333, one head, 2 of 6 key blocks."""
    import SLA
    gen = torch.Generator().manual_seed(20)
    base = torch.randn(1, 333, 1, 128, generator=gen)
    trend = torch.randn(1, 7, 1, 128, generator=gen).repeat_interleave(48, 1)[:, :333]
    q = (base + trend).to(BF16)
    k = (torch.randn(1, 333, 1, 128, generator=gen) + trend + 0.5).to(BF16)
    v = torch.randn(1, 333, 1, 128, generator=gen).to(BF16)
    sd = official.read(g.path("tiny", BF16_FILE))
    prefix = "blocks.0.self_attn.attn_op.local_attn.proj_l."
    out = {"q": q[0], "k": k[0], "v": v[0], "proj_l.weight": sd[prefix + "weight"], "proj_l.bias": sd[prefix + "bias"]}
    parts, maps = {}, None
    for suffix, mode in (("official", modes.GpuRounding()), ("exact", modes.Float64())):
        official.block_maps.clear()
        official.replayed_maps = None if maps is None else iter(maps)
        apply = official.SparseAttention.apply

        def spy(*a):
            parts[suffix] = apply(*a)
            return parts[suffix]
        official.SparseAttention.apply = spy
        with mode:
            module = SLA.SparseLinearAttention(128, 0.4, BLKQ=128, BLKK=64)
            module.proj_l.load_state_dict({x: sd[prefix + x] for x in ("weight", "bias")}, assign=True)
            if suffix == "exact":
                module.double()
                q, k, v = q.double(), k.double(), v.double()
            out[f"out.{suffix}"] = module(q, k, v)[0]
        official.SparseAttention.apply = apply
        out[f"sparse.{suffix}"] = parts[suffix].transpose(1, 2)[0]
        maps = list(official.block_maps)
    add_maps(out, "sla", maps)
    errors = {f"error.{n}": g.compare(f"attention sla {n}, L=333", out, n) for n in ("sparse", "out")}
    g.save("attention", out, topk=0.4, block="128x64", **errors)


def stage_linear_int8(g):
    """Quantiser and int8 product alone, with tails in all directions the official kernels take."""
    gen = torch.Generator().manual_seed(21)
    x = torch.randn(257, 256, generator=gen).to(BF16)
    w = (torch.randn(136, 256, generator=gen) / 16).to(BF16)
    bias = torch.randn(136, generator=gen).to(BF16)
    x[0, 0], x[130, 5] = 40.0, -40.0
    xq, xs = official.quantise(x)
    wq, ws = official.quantise(w)
    y = official.int8_product(xq, xs, wq, ws)
    out = {"x": x, "w": w, "bias": bias, "x.code": xq, "x.scale": xs, "w.code": wq, "w.scale": ws, "product": y,
           "out.official": y + bias, "out.exact": x.double() @ w.double().T + bias.double()}
    error = g.compare("linear int8, M=257 K=256 N=136", out, "out")
    del out["out.exact"]
    g.save("linear_int8", out, error=error)


# ---- sampler ----

class FakeNet(torch.nn.Module):
    """v = x/2 + t/1024 in float32, from the bf16 input and timestep."""
    def forward(self, x_B_C_T_H_W, timesteps_B_T, **kw):
        return x_B_C_T_H_W.float() * 0.5 + timesteps_B_T.float().view(-1, 1, 1, 1, 1) / 1024


class FakeVae:
    def encode(self, video):
        return torch.zeros(1, 16, 1 + (video.shape[2] - 1) // 4, video.shape[3] // 8, video.shape[4] // 8)

    def decode(self, z):
        return torch.zeros(1, 3, 2, 8, 8)


def stage_sampler(g):
    """The official loops with a closed-form network. z: result; noise.N: the N-th draw of the run."""
    from rcm.samplers.unipc import FlowUniPCMultistepSampler
    emb = torch.zeros(512, 256, dtype=BF16)
    image = torch.zeros(16, 16, 3, dtype=torch.uint8)
    kw = dict(size=(16, 16), n_frames=5, vae=FakeVae())
    out, noise = {}, None
    for steps in (1, 2, 3, 4):
        r = pipeline.run(g.args.official, "wan2.1_t2v_infer.py", [FakeNet()], emb=emb, steps=steps, **kw)
        out[f"rcm.sde.{steps}"] = r["samples"][0]
        noise = r["noise"]
        for ode in ([], ["--ode"]):
            r = pipeline.run(g.args.official, "wan2.2_i2v_infer.py", [FakeNet(), FakeNet()], emb=emb, steps=steps,
                             image=image, args=ode, **kw)
            out[f"rcm.{'ode' if ode else 'sde'}_i2v.{steps}"] = r["samples"][0]
    for i, n in enumerate(noise):
        out[f"noise.{i}"] = n[0]
    for n_steps, shift in ((1, 5.0), (2, 5.0), (3, 8.0), (5, 5.0), (20, 3.0), (50, 5.0)):
        r = 5000 / 5001
        s = FlowUniPCMultistepSampler(num_train_timesteps=1000, sigma_max=r / (shift - (shift - 1) * r), sigma_min=0.0)
        s.set_timesteps(n_steps, device="cpu", shift=shift)
        x = noise[0].double()
        for t in s.timesteps:
            v = FakeNet()(x.to(BF16), (t * torch.ones(1, 1)).to(BF16))
            x = s.step(v, t, x)
        out[f"unipc.{n_steps}.{shift:g}"] = x[0].float()
        out[f"unipc.{n_steps}.{shift:g}.sigma"] = s.sigmas
        out[f"unipc.{n_steps}.{shift:g}.t"] = s.timesteps.float()
    g.save("sampler", out, network="v = float(bf16(x)) / 2 + float(bf16(t)) / 1024, float32",
           sigma_max="80 t2v, 200 i2v", seed=0)


def stage_rng(g):
    """torch.randn of the CPU generator, and the CUDA numbers of an H100 as its grid lays them out."""
    out = {}
    for seed in (0, 1, 42, 2 ** 31 + 5, 2 ** 63 + 11):
        gen = torch.Generator().manual_seed(seed - (1 << 64) if seed >= 1 << 63 else seed)
        for i, n in enumerate((3, 15, 16, 17, 20, 40, 1000)):
            out[f"cpu.{seed}.{i}.{n}"] = torch.randn(n, generator=gen)
    for seed in (0, 42, 2 ** 40 + 3):
        offset = 0
        for i in range(3):
            x, offset = philox.normals(seed, offset, 7680)
            out[f"h100.{seed}.{i}.7680"] = torch.from_numpy(x[:1024])
        big, offset = philox.normals(seed, 0, 2096640)
        index = torch.tensor([0, 1, 270335, 270336, 540672, 811008, 1081344, 2096639])
        out[f"h100.{seed}.big"] = torch.from_numpy(big)[index]
        out[f"h100.{seed}.big2"] = torch.from_numpy(philox.normals(seed, offset, 2096640)[0])[index]
        out["h100.index"] = index.to(torch.int32)
    g.save("rng", out, order="cpu.SEED.CALL.N: calls of one generator in order; h100: draws in order, first 1024 of "
           "7680, and places h100.index of two draws of 2096640", tolerance="cpu 2e-6, h100 4e-6 absolute")


# ---- VAE ----

def vae_points(vae):
    kept = {}
    for name in ("conv1", "middle", *[f"upsamples.{i}" for i in (3, 4, 7, 11, 14)], "head"):
        module = vae.model.decoder.get_submodule(name)
        seen = kept.setdefault(name, [])
        module = module[-1] if name in ("middle", "head") else module
        module.register_forward_hook(lambda m, a, o, seen=seen: seen.append(o[0]))
    return kept


def stage_vae_decode(g):
    path = g.path("tiny", "Wan2.1_VAE.pth")
    z = torch.randn(1, 16, 3, 4, 6, generator=torch.Generator().manual_seed(30))
    out, points = {"z": z[0]}, {"z": z[0]}
    for suffix, mode in (("official", modes.GpuRounding()), ("exact", modes.Float64())):
        with mode:
            vae = official.load_vae(path, exact=suffix == "exact")
            kept = vae_points(vae)
            out[f"video.{suffix}"] = vae.decode(z.to(vae.dtype if suffix == "exact" else z.dtype))[0]
        if suffix == "official":
            out["video.official"] = out["video.official"].to(BF16)
        for name, frames in kept.items():
            for i in (0, 1):         # the still latent frame, and the first of motion
                if name not in ("upsamples.11", "upsamples.14"):
                    points[f"{name}.{i}.{suffix}"] = frames[i]
    error = g.compare("vae decode, 3 latent frames", out, "video")
    g.save("vae_decode", out, error=error)
    for name in kept:
        if f"{name}.1.official" in points:
            g.compare(f"vae decode point {name}, latent frame 1", points, f"{name}.1")
    del points["upsamples.7.0.exact"], points["upsamples.7.1.exact"]
    g.save("vae_points", points)


def stage_vae_encode(g):
    path = g.path("tiny", "Wan2.1_VAE.pth")
    video = torch.randn(1, 3, 9, 32, 48, generator=torch.Generator().manual_seed(31)).mul(0.5).clamp(-1, 1)
    video = video.to(BF16).float()
    still = torch.cat([video[:, :, :1], torch.zeros(1, 3, 8, 32, 48)], 2)
    out = {"video": video[0].to(BF16)}
    errors = {}
    for name, frames in (("latent", video), ("latent_still", still)):
        for suffix, mode in (("official", modes.GpuRounding()), ("exact", modes.Float64())):
            with mode:
                vae = official.load_vae(path, exact=suffix == "exact")
                out[f"{name}.{suffix}"] = vae.encode(frames.double() if suffix == "exact" else frames)[0]
        errors[f"error.{name}"] = g.compare(f"vae encode {name}, 9 frames", out, name)
    g.save("vae_encode", out, **errors)


# ---- pictures ----

def smooth_picture(h, w, seed):
    low = torch.rand(1, 3, 8, 10, generator=torch.Generator().manual_seed(seed))
    image = torch.nn.functional.interpolate(low, (h, w), mode="bicubic").clamp(0, 1)[0].permute(1, 2, 0)
    return (image * 255).round().to(torch.uint8).contiguous()


def stage_image(g):
    """The resize of the official script (torchvision v2 on uint8, x86 with AVX2), and JPEG files as Pillow reads them."""
    import io

    from PIL import Image, ImageOps
    from torchvision.transforms import v2
    if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        raise SystemExit("stage image wants a CPU with AVX2: elsewhere PyTorch resizes in float32")
    noise = torch.randint(0, 256, (37, 53, 3), generator=torch.Generator().manual_seed(50), dtype=torch.uint8)
    out = {"noise": noise}
    for h, w in ((16, 16), (37, 16), (48, 53), (80, 96), (36, 54), (5, 200), (100, 3), (1, 1)):
        resized = v2.Resize((h, w), antialias=True)(noise.permute(2, 0, 1))
        out[f"resize.{h}x{w}"] = resized.permute(1, 2, 0).contiguous()
    picture = Image.fromarray(smooth_picture(38, 54, 51).numpy())
    files = {"plain": (picture, {}), "full": (picture, {"subsampling": 0}), "grey": (picture.convert("L"), {}),
             "progressive": (picture, {"progressive": True}), "cmyk": (picture.convert("CMYK"), {"quality": 95})}
    for i in range(2, 9):
        exif = Image.Exif()
        exif[0x112] = i
        files[f"turned.{i}"] = (picture, {"exif": exif})
    for name, (im, kw) in files.items():
        buf = io.BytesIO()
        im.save(buf, "JPEG", **{"quality": 90, **kw})
        out[f"jpeg.{name}"] = torch.frombuffer(bytearray(buf.getvalue()), dtype=torch.uint8)
        upright = ImageOps.exif_transpose(Image.open(io.BytesIO(buf.getvalue()))).convert("RGB")
        out[f"pixels.{name}"] = torch.tensor(list(upright.tobytes()), dtype=torch.uint8).view(
            upright.height, upright.width, 3)
    g.save("image", out)


# ---- clips ----

def clip(g, script, paths, noise, exact, maps, topk=0.5, attention="sla", **kw):
    official.block_maps.clear()
    official.replayed_maps = iter(maps) if exact else None
    bf16, wide, _, _ = g.embedding()
    with modes.Float64() if exact else modes.GpuRounding():
        nets = [official.load_dit(p, attention=attention, topk=topk, exact=exact) for p in paths]
        vae = official.load_vae(g.path("tiny", "Wan2.1_VAE.pth"), exact=exact)
        return pipeline.run(g.args.official, script, [pipeline.Bf16Time(n) for n in nets] if exact else nets, vae,
                            bf16.double() if exact else bf16, noise=noise, **kw)


def psnr(a, b):
    return (20 * torch.log10(255 / (a.double() - b.double()).square().mean().sqrt().clamp_min(1e-9))).item()


def both_clips(g, name, script, paths, noise, **kw):
    """Frames of the official run; samples of both. Frames of the float64 run enter as PSNR."""
    a = clip(g, script, paths, noise, False, None, **kw)
    b = clip(g, script, paths, a["noise"], True, list(official.block_maps), **kw)
    out = {f"noise.{i}": n[0] for i, n in enumerate(a["noise"])}
    out["samples.official"], out["samples.exact"] = a["samples"][0], b["samples"][0]
    out["frames"] = a["frames"]
    distance = f"{psnr(a['frames'], b['frames']):.2f}"
    g.report.append(f"{name:<44} frames against float64: PSNR {distance} dB")
    return out, a, b, {"error.samples": g.compare(f"{name} samples", out, "samples"), "psnr": distance}


def stage_clip(g):
    """17 frames of 96x64: official script, SLA or dense, prompt 0, seed 0. With topk 0.5 each query block keeps one of
    two key blocks. int8 errors can turn that choice, and with the noise of an H100 one is near a tie: those clips keep
    both."""
    _, _, n, ids = g.embedding()
    h100, offset = [], 0
    for _ in range(5):
        x, offset = philox.normals(0, offset, 16 * 5 * 8 * 12)
        h100.append(torch.from_numpy(x))
    for name, file, noise, topk, attention in (("clip_cpu", BF16_FILE, None, 0.5, "sla"),
                                               ("clip_h100", BF16_FILE, h100, 1.0, "sla"),
                                               ("clip_int8", INT8_FILE, h100, 1.0, "sla"),
                                               ("clip_dense", BF16_FILE, h100, 1.0, "original")):
        out, _, _, meta = both_clips(g, name, "wan2.1_t2v_infer.py", [g.path("tiny", file)], noise, topk=topk,
                                     attention=attention)
        out["ids"] = ids[:n].to(torch.int32)
        if name in ("clip_int8", "clip_dense"):      # the draws of clip_h100
            out = {k: v for k, v in out.items() if not k.startswith("noise.")}
        g.save(name, out, prompt=PROMPTS[0], seed=0, steps=4, attention=attention, topk=topk, width=96, height=64,
               frames=17,
               noise="cpu" if noise is None else "h100", dit=file, **meta)


def stage_clip_i2v(g):
    """9 frames of 96x64 from a 100x70 picture: official script, two experts, SDE and ODE."""
    gen = torch.Generator().manual_seed(40)
    low = torch.rand(1, 3, 9, 12, generator=gen)
    image = torch.nn.functional.interpolate(low, (70, 100), mode="bicubic").clamp(0, 1)[0].permute(1, 2, 0)
    image = (image * 255).round().to(torch.uint8).contiguous()
    _, _, n, ids = g.embedding()
    paths = [g.path("i2v", f"TurboWan2.2-I2V-A14B-{e}-720P.pth") for e in ("high", "low")]
    for name, args in (("clip_i2v", []), ("clip_i2v_ode", ["--ode"])):
        out, a, b, meta = both_clips(g, name, "wan2.2_i2v_infer.py", paths, None, image=image, args=args, n_frames=9)
        out["ids"], out["image"] = ids[:n].to(torch.int32), image
        out["latent.official"], out["latent.exact"] = a["latent"][0], b["latent"][0]
        meta["error.latent"] = g.compare(f"{name} image latent", out, "latent")
        g.save(name, out, prompt=PROMPTS[0], seed=0, steps=4, attention="sla", topk=0.5, width=96, height=64, frames=9,
               noise="cpu", ode=bool(args), **meta)


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def write_manifest(g, sums):
    """manifest: what was run and the sums of the results. synth.sha256: the sums of the weights."""
    import diffusers
    import transformers
    out = g.args.out
    with open(os.path.join(out, "synth.sha256"), "w") as f:
        f.writelines(sums)
    with open(os.path.join(out, "manifest"), "w") as f:
        f.write(f"# upstream: TurboDiffusion {g.commit}\n"
                f"# python {sys.version.split()[0]}, torch {torch.__version__}, diffusers {diffusers.__version__}, "
                f"transformers {transformers.__version__}\n"
                "# command: tools/dump_golden.py --official=DIR --tdsynth=build/tdsynth\n"
                f"# vocabulary: {os.path.basename(g.args.spiece)} {sha256(g.args.spiece)}\n")
        for name, options in DIRECTORIES.items():
            f.write(f"# weights {name}: tdsynth --seed={SEED} {' '.join(options)}\n")
        f.write("#\n# relative L2 error of the official computation against float64:\n")
        f.writelines(f"#   {line}\n" for line in g.report)
        f.writelines(f"{sha256(p)}  {os.path.basename(p)}\n" for p in sorted(g.written))


def main():
    stages = {k[6:]: v for k, v in globals().items() if k.startswith("stage_")}
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--official", required=True)
    p.add_argument("--tdsynth", required=True)
    p.add_argument("--spiece", default="tests/data/spiece.model")
    p.add_argument("--out", default="tests/golden")
    p.add_argument("stage", nargs="*", choices=[[], *stages])
    args = p.parse_args()
    torch.set_grad_enabled(False)
    torch.set_num_threads(min(4, os.cpu_count()))
    official.setup(args.official)
    g = Golden(args)
    with tempfile.TemporaryDirectory() as base:
        sums = g.synth(base)
        for name in args.stage or stages:
            stages[name](g)
    if not args.stage:
        write_manifest(g, sums)
    print("\n".join(g.report))


if __name__ == "__main__":
    main()
