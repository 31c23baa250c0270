#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Goldens that only a GPU can make: the official code with its own kernels. Nothing is replaced.

usage: gpu_golden.py --official=DIR --models=DIR --golden=DIR --out=DIR [STAGE...]

--models holds the tdsynth directories of tests/golden/manifest, and `mid` (--dim=1536 --ffn=8960 --blocks=2 --only=dit
--dit=both) for the 480p stage; `full` (--preset=1.3B --only=dit,vae --dit=int8) for the timings. turbo_diffusion_ops,
spas_sage_attn (utils, _qattn, _fused) and flash_attn (rotary) must be importable. Prints the distance from the CPU
goldens.
"""

import argparse
import os
import sys
import time

sys.setdlopenflags(os.RTLD_LAZY)  # the sparse attention module may hold only the variants used here
import numpy as np  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

import official  # noqa: E402
import philox  # noqa: E402
import pipeline  # noqa: E402
import store  # noqa: E402

BF16 = torch.bfloat16
BF16_FILE, INT8_FILE = "TurboWan2.1-T2V-1.3B-480P.pth", "TurboWan2.1-T2V-1.3B-480P-quant.pth"
START = time.time()


def say(*words):
    print(f"[{time.time() - START:6.1f}s]", *words, flush=True)


def rel(a, b):
    a, b = a.double().cpu(), b.double().cpu()
    return f"{((a - b).norm() / b.norm()).item():.3e}"


def same(a, b):
    a, b = a.cpu(), b.cpu()
    return f"{(a == b).double().mean().item():.6f}"


class Run:
    def __init__(self, args):
        self.args = args
        self.raw = {}  # large results, for study: gpu_raw.safetensors; the other files are small enough to keep
        p = torch.cuda.get_device_properties(0)
        import triton

        self.meta = {
            "device": p.name,
            "capability": f"{p.major}.{p.minor}",
            "multiprocessors": str(p.multi_processor_count),
            "torch": torch.__version__,
            "triton": triton.__version__,
            "cuda": torch.version.cuda,
            "weights": "tdsynth --seed=1",
            "command": "tools/golden/gpu_golden.py",
        }
        for name in ("TurboDiffusion", "SpargeAttn"):
            path = os.path.join(args.official, f"COMMIT.{name}")
            if os.path.exists(path):
                with open(path) as f:
                    self.meta[f"upstream.{name}"] = f.read().strip()
        say(self.meta)

    def golden(self, name):
        return load_file(os.path.join(self.args.golden, f"{name}.safetensors"))

    def model(self, directory, name):
        return os.path.join(self.args.models, directory, name)

    def save(self, name, tensors, **meta):
        path = os.path.join(self.args.out, f"{name}.safetensors")
        store.save(path, tensors, {**self.meta, **{k: str(v) for k, v in meta.items()}})
        say("wrote", name, os.path.getsize(path))

    def emb(self):
        rows = self.golden("umt5")["emb.0.official"]
        out = torch.zeros(512, rows.shape[1], dtype=BF16)
        out[: len(rows)] = rows
        return out.cuda()


def randn_draws(r, out):
    """Draws of the CUDA generator. Places of large draws as in rng.safetensors."""
    worst = 0.0
    index = r.golden("rng")["h100.index"].long()
    for seed in (0, 42, 2**40 + 3):
        gen = torch.Generator(device="cuda").manual_seed(seed)
        for i in range(3):
            x = torch.randn(7680, device="cuda", generator=gen).cpu()
            out[f"randn.{seed}.{i}.7680"] = x[:1024]
        gen.manual_seed(seed)
        offset = 0
        for i in range(2):
            x = torch.randn(1, 16, 21, 60, 104, device="cuda", generator=gen).cpu().flatten()
            ours, offset = philox.normals(seed, offset, x.numel())
            worst = max(worst, float(np.abs(x.numpy() - ours).max()))
            out[f"randn.{seed}.{'big' if i == 0 else 'big2'}"] = x[index]
        gen.manual_seed(seed)
        x = torch.randn(1, 16, 21, 90, 160, device="cuda", generator=gen).cpu().flatten()
        ours, _ = philox.normals(seed, 0, x.numel())
        worst = max(worst, float(np.abs(x.numpy() - ours).max()))
        out[f"randn.{seed}.720p"] = x[:1024]
    for seed in (0, 42):
        gold = r.golden("rng")
        for i in range(3):
            a, b = out[f"randn.{seed}.{i}.7680"], gold[f"h100.{seed}.{i}.7680"]
            say("randn", seed, i, "max difference from golden", (a - b).abs().max().item())
    say("randn largest difference over whole 480p and 720p draws:", worst)
    out["randn.index"] = index.int()


def stage_ops(r):
    """Single official operations: CUDA generator, fast norms, rotary, quantiser and int8 product."""
    from flash_attn.layers.rotary import apply_rotary_emb
    from ops import FastLayerNorm, FastRMSNorm
    from turbo_diffusion_ops import gemm_cuda, quant_cuda

    gen = torch.Generator().manual_seed(50)
    out = {}
    randn_draws(r, out)
    for d in (384, 1536, 5120):
        x = (torch.randn(32 if d < 512 else 16, d, generator=gen) + 0.4).to(BF16)
        w, b = (1 + 0.1 * torch.randn(d, generator=gen)).to(BF16).float(), torch.randn(d, generator=gen).mul(0.1).to(
            BF16
        ).float()
        rms, ln, lnp = FastRMSNorm(d, 1e-6).cuda(), FastLayerNorm(d, 1e-6).cuda(), FastLayerNorm(d, 1e-6, True).cuda()
        rms.weight.copy_(w)
        lnp.weight.copy_(w)
        lnp.bias.copy_(b)
        y = {"rms": rms(x.cuda()), "ln": ln(x.cuda()), "ln_affine": lnp(x.cuda())}
        mine = {
            "rms": official.fast_rms_norm(x.float(), w, 1e-6),
            "ln": official.fast_layer_norm(x.float(), None, None, 1e-6, False),
            "ln_affine": official.fast_layer_norm(x.float(), w, b, 1e-6),
        }
        for k in y:
            say(f"norm {k} D={d}: equal to the formula", same(y[k], mine[k].to(BF16)))
        if d != 5120:
            out |= {f"norm.{d}.x": x, f"norm.{d}.w": w, f"norm.{d}.b": b, **{f"norm.{d}.{k}": v for k, v in y.items()}}
    x = torch.randn(1, 37, 2, 128, generator=gen).to(BF16)
    angle = torch.rand(37, 64, generator=gen) * 60
    cos, sin = angle.cos(), angle.sin()
    y = apply_rotary_emb(x.cuda().float(), cos.cuda(), sin.cuda(), interleaved=True)
    plain = official.rotary(x.float(), cos, sin)
    say("rotary: float32 equal to separate roundings", same(y, plain), "after bf16", same(y.to(BF16), plain.to(BF16)))
    out |= {"rotary.x": x[0], "rotary.cos": cos, "rotary.sin": sin, "rotary.y": y[0]}
    g = r.golden("linear_int8")
    sets = [("gold", g["x"], g["w"], g["bias"])]
    x = torch.randn(777, 1536, generator=gen).mul(2).to(BF16)
    w = (torch.randn(256, 1536, generator=gen) / 39).to(BF16)
    sets.append(("large", x, w, torch.randn(256, generator=gen).to(BF16)))
    for name, x, w, bias in sets:
        xq, xs = quant_cuda(x.cuda(), None, None)
        wq, ws = quant_cuda(w.cuda(), None, None)
        y = torch.zeros(len(x), len(w), dtype=BF16, device="cuda")
        gemm_cuda(xq, xs, wq, ws, y)
        mq, ms = official.quantise(x)
        m2, m2s = official.quantise(w)
        say(
            f"int8 {name}: codes equal",
            same(xq, mq),
            same(wq, m2),
            "largest code difference",
            (xq.cpu().int() - mq.int()).abs().max().item(),
            "scales equal",
            same(xs.view(ms.shape), ms),
            same(ws.view(m2s.shape), m2s),
        )
        fused = official.int8_product(xq.cpu(), xs.cpu().view(ms.shape), wq.cpu(), ws.cpu().view(m2s.shape))
        say(f"int8 {name}: product equal with fused multiply-add", same(y, fused))
        out |= {
            f"int8.{name}.x.code": xq,
            f"int8.{name}.x.scale": xs,
            f"int8.{name}.w.code": wq,
            f"int8.{name}.w.scale": ws,
            f"int8.{name}.product": y,
        }
        if name == "gold":
            out[f"int8.{name}.out"] = y + bias.cuda()
    r.save("gpu_ops", {k: v for k, v in out.items() if "large" not in k})


def sage(q, k, v, topk, arch="sm90"):
    """The sparse part of SageSLA from the official kernels, with everything they hand on. q, k, v: [1,H,L,D]."""
    import spas_sage_attn._fused as fused
    import spas_sage_attn._qattn as qattn
    from SLA.utils import get_block_map
    from spas_sage_attn.utils import block_map_lut_triton, get_vanilla_qk_quant

    bq, bk = (64, 128) if arch == "sm90" else (128, 64)
    block_map, _, n = get_block_map(q, k, topk_ratio=topk, BLKQ=bq, BLKK=bk)
    km = k.mean(dim=-2, keepdim=True)
    q8, qs, k8, ks = get_vanilla_qk_quant(q, k, km, bq, bk)
    lut, valid = block_map_lut_triton(block_map)
    o = torch.empty_like(q)
    scale = 1.0 / q.size(-1) ** 0.5
    out = {
        "map": block_map[0].to(torch.uint8),
        "q.code": q8[0],
        "q.scale": qs[0],
        "k.code": k8[0],
        "k.scale": ks[0],
        "k.mean": km[0],
    }
    limit = torch.full((q.shape[1],), 1e6, dtype=torch.float32, device=q.device)
    if arch == "sm80":
        qattn.qk_int8_sv_f16_accum_f16_block_sparse_attn_inst_buf_with_pv_threshold(
            q8, k8, v.to(torch.float16), o, lut, valid, limit, qs, ks, 1, False, 1, scale, 0
        )
    else:
        b, h, n_keys, d = v.shape
        padded = (n_keys + 127) // 128 * 128
        vt = torch.empty((b, h, d, padded), dtype=v.dtype, device=v.device)
        fused.transpose_pad_permute_cuda(v, vt, 1)
        v8 = torch.empty(vt.shape, dtype=torch.float8_e4m3fn, device=v.device)
        vs = torch.empty((b, h, d), dtype=torch.float32, device=v.device)
        fused.scale_fuse_quant_cuda(vt, v8, vs, n_keys, 2.25, 1)
        out |= {"v.code": v8[0].view(torch.uint8), "v.scale": vs[0]}
        if arch == "sm90":
            qattn.qk_int8_sv_f8_accum_f32_block_sparse_attn_inst_buf_fuse_v_scale_sm90(
                q8, k8, v8, o, lut, valid, qs, ks, vs, 1, False, 1, scale
            )
        else:
            call = {
                "sm89_acc16": qattn.qk_int8_sv_f8_accum_f16_block_sparse_attn_inst_buf_fuse_v_scale_with_pv_threshold,
                "sm89_acc32": qattn.qk_int8_sv_f8_accum_f32_block_sparse_attn_inst_buf_fuse_v_scale_with_pv_threshold,
            }
            call[arch](q8, k8, v8, o, lut, valid, limit, qs, ks, vs, 1, False, 1, scale, 0)
    out["sparse"] = o[0].transpose(0, 1)
    return out


def exact_sparse(q, k, v, block_map, bq, bk):
    """float64 softmax attention over the chosen blocks. [L,H,D]"""
    q, k, v = (x[0].double().cpu() for x in (q, k, v))
    mask = block_map.cpu().bool().repeat_interleave(bq, 1).repeat_interleave(bk, 2)[:, : q.shape[1], : k.shape[1]]
    s = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).masked_fill(~mask, -torch.inf)
    return (s.softmax(-1) @ v).transpose(0, 1)


def attention_modules(r, topk):
    import SLA

    sd = official.read(r.model("tiny", BF16_FILE))
    weights = {x: sd[f"blocks.0.self_attn.attn_op.local_attn.proj_l.{x}"].cuda() for x in ("weight", "bias")}
    made = {
        "sla": SLA.SparseLinearAttention(128, topk, BLKQ=128, BLKK=64),
        "sagesla": SLA.SageSparseLinearAttention(128, topk),
    }
    for m in made.values():
        m.proj_l.load_state_dict(weights, assign=True)
    return made


def attention_case(r, out, q, k, v, topk, prefix):
    """q, k, v: [1,L,H,D] on the device."""
    heads = [x.transpose(1, 2).contiguous() for x in (q, k, v)]
    for name, module in attention_modules(r, topk).items():
        official.block_maps.clear()
        y = module(q, k, v)[0]
        out[f"{prefix}.{name}.out"] = y
        out[f"{prefix}.{name}.map"] = official.block_maps[0][0][0].to(torch.uint8)
    for arch in ("sm90", "sm89_acc16", "sm89_acc32", "sm80"):
        part = sage(*heads, topk, arch)
        bq, bk = (64, 128) if arch == "sm90" else (128, 64)
        exact = exact_sparse(*heads, part["map"], bq, bk)
        say(
            f"{prefix} sage {arch}: error against float64 over the same blocks",
            rel(part["sparse"], exact),
            "finite",
            bool(part["sparse"].isfinite().all()),
        )
        keep = part if arch in ("sm90", "sm89_acc16") else {"sparse": part["sparse"]}
        out |= {f"{prefix}.{arch}.{x}": y for x, y in keep.items()}


def stage_attention(r):
    """SLA and SageSLA on the inputs of attention.safetensors: L=333, one head."""
    g = r.golden("attention")
    q, k, v = (g[x][None].cuda() for x in "qkv")
    out = {}
    for topk in (0.4, 0.7):
        attention_case(r, out, q, k, v, topk, f"{topk}")
    say("sla map equal to the CPU golden:", same(out["0.4.sla.map"], g["sla.map.0"]))
    say(
        "sla out against CPU golden",
        rel(out["0.4.sla.out"], g["out.official"]),
        "against float64",
        rel(out["0.4.sla.out"], g["out.exact"]),
    )
    keep = {"0.7.sagesla.out", "0.7.sagesla.map", "0.7.sm90.map", "0.7.sm90.sparse", "0.7.sm89_acc16.map"}
    keep |= {"0.7.sm89_acc16.sparse"} | {k for k in out if k.startswith("0.4.") and k != "0.4.sm89_acc16.v.code"}
    r.save("gpu_attention", {k: out[k] for k in keep}, inputs="q, k, v, proj_l of attention.safetensors")


def structured(gen, length, heads):
    trend = torch.randn(1, -(-length // 48), heads, 128, generator=gen).repeat_interleave(48, 1)[:, :length]
    q = (torch.randn(1, length, heads, 128, generator=gen) + trend).to(BF16)
    k = (torch.randn(1, length, heads, 128, generator=gen) + trend + 0.5).to(BF16)
    return q.cuda(), k.cuda(), torch.randn(1, length, heads, 128, generator=gen).to(BF16).cuda()


def stage_sagesla(r):
    """L=1300, two heads; all in gpu_raw."""
    q, k, v = structured(torch.Generator().manual_seed(51), 1300, 2)
    out = {"q": q[0], "k": k[0], "v": v[0]}
    for topk in (0.1, 0.3):
        attention_case(r, out, q, k, v, topk, f"{topk}")
    for name in ("sm90", "sm89_acc16"):  # codes do not depend on topk
        for x in ("q.code", "q.scale", "k.code", "k.scale", "k.mean", "v.code", "v.scale"):
            del out[f"0.1.{name}.{x}"]
    del out["0.3.sm89_acc16.v.code"]
    r.raw |= {f"sagesla.{k}": v for k, v in out.items()}


def stage_dit(r):
    """The small model with the official norms and kernels; 864 tokens, a multiple of 32 as the norms need."""
    gen = torch.Generator().manual_seed(52)
    x = torch.randn(1, 16, 3, 24, 48, generator=gen).to(BF16).cuda()
    t = torch.tensor([[852.0]], dtype=BF16, device="cuda")
    emb = r.emb()
    out = {"x": x[0], "t": t[0].float(), "emb": emb[:11]}
    for attention in ("sla", "sagesla"):
        for name, file in (("bf16", BF16_FILE), ("int8", INT8_FILE)):
            net = official.load_dit(r.model("tiny", file), attention=attention, topk=0.3)
            kept = {}
            block = net.blocks[0]
            block.self_attn.register_forward_pre_hook(lambda m, a: kept.__setitem__("self.in", a[0]))
            block.self_attn.attn_op.register_forward_pre_hook(
                lambda m, a: kept.update({"q": a[0], "k": a[1], "v": a[2]})
            )
            block.self_attn.attn_op.register_forward_hook(lambda m, a, o: kept.__setitem__("attn", o))
            block.register_forward_hook(lambda m, a, o: kept.__setitem__("block", o))
            official.block_maps.clear()
            v = net(x_B_C_T_H_W=x, timesteps_B_T=t, crossattn_emb=emb[None])
            out[f"{attention}.{name}.v"] = v[0]
            for i, m in enumerate(official.block_maps):
                out[f"{attention}.{name}.map.{i}"] = m[0][0].to(torch.uint8)
            if name == "bf16":
                few = ("attn", "block") if attention == "sla" else kept.keys()
                r.raw |= {f"dit.{attention}.{k}": kept[k][0] for k in few}
            again = net(x_B_C_T_H_W=x, timesteps_B_T=t, crossattn_emb=emb[None])
            say(
                "dit",
                attention,
                name,
                "rms",
                v.square().mean().sqrt().item(),
                "repeatable",
                bool(torch.equal(v, again)),
            )
    for a in ("sla", "sagesla"):
        say("dit", a, "int8 against bf16", rel(out[f"{a}.int8.v"], out[f"{a}.bf16.v"]))
    say("dit sagesla against sla", rel(out["sagesla.bf16.v"], out["sla.bf16.v"]))
    r.save("gpu_dit", out, topk=0.3)


def stage_models(r):
    """What the CPU goldens hold and runs unchanged on a GPU; the distances say what the CPU emulation is worth."""
    g, out = r.golden("umt5"), {}
    net = official.load_umt5(r.model("tiny", "models_t5_umt5-xxl-enc-bf16.pth"))
    for i in (0, 1):
        ids = torch.zeros(512, dtype=torch.long)
        n = len(g[f"ids.{i}"])
        ids[:n] = g[f"ids.{i}"].long()
        out[f"umt5.{i}"] = official.encode_ids(net, ids, n)[:n]
        say(
            "umt5",
            i,
            "against float64",
            rel(out[f"umt5.{i}"], g[f"emb.{i}.exact"]),
            "CPU golden",
            rel(out[f"umt5.{i}"], g[f"emb.{i}.official"]),
            "equal",
            same(out[f"umt5.{i}"], g[f"emb.{i}.official"]),
        )
    g = r.golden("dit_dense")
    emb = r.emb()
    for directory, name in (("tiny", "dit_dense"), ("wide", "dit_wide")):
        g = r.golden(name)
        net = official.load_dit(r.model(directory, BF16_FILE), attention="original", default_norm=True)
        v = net(
            x_B_C_T_H_W=g["x"][None].cuda(), timesteps_B_T=g["t"].view(1, 1).to(BF16).cuda(), crossattn_emb=emb[None]
        )[0]
        exact = g.get("bf16_default_norm.exact", g["bf16.exact"])
        say(
            name, "default norms: against float64", rel(v, exact), "CPU golden", rel(v, g["bf16_default_norm.official"])
        )
        out[f"{name}.bf16_default_norm"] = v
    vae = official.load_vae(r.model("tiny", "Wan2.1_VAE.pth"))
    g = r.golden("vae_decode")
    out["vae.video"] = vae.decode(g["z"][None].cuda())[0].to(BF16)
    say(
        "vae decode against float64",
        rel(out["vae.video"], g["video.exact"]),
        "CPU golden",
        rel(out["vae.video"], g["video.official"]),
        "equal",
        same(out["vae.video"], g["video.official"]),
    )
    g = r.golden("vae_encode")
    out["vae.latent"] = vae.encode(g["video"][None].float().cuda())[0]
    say(
        "vae encode against float64",
        rel(out["vae.latent"], g["latent.exact"]),
        "CPU golden",
        rel(out["vae.latent"], g["latent.official"]),
    )
    r.save("gpu_models", out)


def stage_clip(r):
    """The official script: 17 frames of 128x64, seed 0, its own CUDA noise."""
    emb, out = r.emb(), {}
    for attention, name, file in (
        ("sla", "bf16", BF16_FILE),
        ("sagesla", "bf16", BF16_FILE),
        ("sagesla", "int8", INT8_FILE),
    ):
        net = official.load_dit(r.model("tiny", file), attention=attention, topk=0.5)
        vae = official.load_vae(r.model("tiny", "Wan2.1_VAE.pth"))
        rec = pipeline.run(r.args.official, "wan2.1_t2v_infer.py", [net], vae, emb, size=(128, 64), device="cuda")
        kept = r.raw if (attention, name) == ("sagesla", "bf16") else out
        prefix = f"clip.{attention}.{name}" if kept is r.raw else f"{attention}.{name}"
        kept |= {f"{prefix}.frames": rec["frames"], f"{prefix}.samples": rec["samples"][0]}
        r.raw |= {f"clip.noise.{i}": n[0] for i, n in enumerate(rec["noise"])}
        ours, offset = philox.normals(0, 0, rec["noise"][0].numel())
        say(
            "clip",
            attention,
            name,
            tuple(rec["frames"].shape),
            "noise difference",
            np.abs(ours - rec["noise"][0].numpy().ravel()).max(),
        )
    r.save(
        "gpu_clip",
        out,
        prompt="a cat walks on a beach at sunset",
        seed=0,
        steps=4,
        topk=0.5,
        width=128,
        height=64,
        frames=17,
    )


def stage_480p(r):
    """Two blocks of the 1.3B shape at 832x480, 81 frames; x is the first draw of seed 0 as bf16."""
    gen = torch.Generator(device="cuda").manual_seed(0)
    x = torch.randn(1, 16, 21, 60, 104, device="cuda", generator=gen).to(BF16)
    t = torch.tensor([[988.0]], dtype=BF16, device="cuda")
    out = {"t": t[0].float(), "emb": r.emb()[:64]}
    for attention, name, file in (("sagesla", "int8", INT8_FILE), ("sla", "bf16", BF16_FILE)):
        net = official.load_dit(r.model("mid", file), attention=attention, topk=0.1)
        official.block_maps.clear()
        v = net(x_B_C_T_H_W=x, timesteps_B_T=t, crossattn_emb=r.emb()[None])
        out[f"{attention}.{name}.v"] = v[0].to(BF16)
        say(
            "480p",
            attention,
            name,
            "rms",
            v.square().mean().sqrt().item(),
            "chosen",
            official.block_maps[0][2],
            "of",
            official.block_maps[0][0].shape[-1],
        )
    r.save("gpu_480p", out, topk=0.1)


def timed(call, n=5):
    call()
    torch.cuda.synchronize()
    times = []
    for _ in range(n):
        a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        a.record()
        call()
        b.record()
        b.synchronize()
        times.append(a.elapsed_time(b))
    return f"{sorted(times)[n // 2]:.2f} ms (min {min(times):.2f}, max {max(times):.2f}, {n} runs)"


def stage_timing(r):
    """Speed of the official code: one forward of the 1.3B int8 model and one VAE decode, 832x480, 81 frames."""
    x = torch.randn(1, 16, 21, 60, 104, device="cuda").to(BF16)
    t = torch.tensor([[988.0]], dtype=BF16, device="cuda")
    emb = torch.randn(1, 512, 4096, device="cuda").to(BF16) * 0.1
    for attention in ("sagesla", "sla"):
        net = official.load_dit(r.model("full", INT8_FILE), attention=attention, topk=0.1)
        say(
            "timing: 1.3B int8",
            attention,
            "topk 0.1 forward:",
            timed(lambda: net(x_B_C_T_H_W=x, timesteps_B_T=t, crossattn_emb=emb)),
        )
    torch.cuda.empty_cache()
    vae = official.load_vae(r.model("full", "Wan2.1_VAE.pth"))
    z = torch.randn(1, 16, 21, 60, 104, device="cuda")
    say(
        "timing: VAE decode 81 frames 832x480:",
        timed(lambda: vae.decode(z), 2),
        "peak GiB",
        torch.cuda.max_memory_allocated() / 2**30,
    )


def main():
    stages = {k[6:]: v for k, v in globals().items() if k.startswith("stage_")}
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("official", "models", "golden", "out"):
        p.add_argument(f"--{name}", required=True)
    p.add_argument("stage", nargs="*", choices=[[], *stages])
    args = p.parse_args()
    torch.set_grad_enabled(False)
    official.setup(args.official, gpu=True)
    r = Run(args)
    failed = 0
    for name in args.stage or stages:
        try:
            stages[name](r)
        except Exception as e:  # one stage that fails must not take the others' results along
            failed = 1
            import traceback

            say("FAILED", name, type(e).__name__, e)
            traceback.print_exc()
    if r.raw:
        r.save("gpu_raw", r.raw)
    return failed


if __name__ == "__main__":
    sys.exit(main())
