# SPDX-License-Identifier: BSD-2-Clause
"""The official networks, imported from a checkout outside this repository, on the weights of a tdsynth directory.

The classes are the official ones. On the CPU, what needs a GPU is replaced by the formula of the kernel it stands for:
rotary embedding, fast norms, block pooling, sparse attention, 128x128 quantiser and int8 product; float32 autocast
regions are reproduced by holding the weights used in them as float32. On a GPU nothing is replaced.
"""
import glob
import os
import sys
import types

import torch

BF16 = torch.bfloat16
block_maps = []          # (map, lut, n) of every sparse attention call, in order
replayed_maps = None     # iterator over maps recorded earlier, or None
device = "cpu"


# ---- formulas of the GPU kernels ----

def rotary(x, cos, sin, interleaved=True, inplace=False):
    c, s = cos[None, :, None, :], sin[None, :, None, :]
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * c - b * s, b * c + a * s), -1).flatten(-2)


def fast_rms_norm(x, w, eps):
    return x * (1 / torch.sqrt((x * x).sum(-1, keepdim=True) / x.shape[-1] + eps)) * w


def fast_layer_norm(x, w, b, eps, elementwise_affine=True):
    n = x.shape[-1]
    padded = 1 << (n - 1).bit_length()
    mean = x.sum(-1, keepdim=True) / n
    # lanes past n hold zeros, and their deviations are summed too
    var = ((x - mean).square().sum(-1, keepdim=True) + (padded - n) * mean * mean) / n
    y = (x - mean) * (1 / torch.sqrt(var + eps))
    return y * w + b if elementwise_affine else y


def mean_pool(x, block):
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    return torch.stack([c.to(wide).sum(-2).div(c.shape[-2]).to(x.dtype) for c in x.split(block, -2)], -2)


class SparseAttention:
    """Online softmax over the chosen key blocks, in the order of the list."""
    @staticmethod
    def apply(q, k, v, sparse_map, lut, n, bq, bk):
        wide = torch.float64 if q.dtype == torch.float64 else torch.float32
        scale = torch.tensor(q.shape[-1] ** -0.5 * 1.4426950408889634, dtype=wide)
        out = torch.empty_like(q)
        for b in range(q.shape[0]):
            for h in range(q.shape[1]):
                for i in range(lut.shape[2]):
                    rows = slice(i * bq, min((i + 1) * bq, q.shape[2]))
                    qi = q[b, h, rows].to(wide)
                    m = torch.full((qi.shape[0], 1), -torch.inf, dtype=wide)
                    total, o = torch.zeros_like(m), torch.zeros_like(qi)
                    for j in lut[b, h, i].tolist():
                        keys = slice(j * bk, min((j + 1) * bk, k.shape[2]))
                        s = qi @ k[b, h, keys].to(wide).T * scale
                        top = torch.maximum(m, s.amax(-1, keepdim=True))
                        p, a = torch.exp2(s - top), torch.exp2(m - top)
                        o = o * a + p.to(q.dtype).to(wide) @ v[b, h, keys].to(wide)
                        total = total * a + p.sum(-1, keepdim=True)
                        m = top
                    out[b, h, rows] = (o / total).to(q.dtype)
        return out


def quantise(x):
    """int8 codes and dequantisation factors of 128x128 blocks of a bf16 matrix."""
    m, k = x.shape
    mb, kb = -(-m // 128), -(-k // 128)
    wide = torch.zeros(mb * 128, kb * 128)
    wide[:m, :k] = x.float()
    tile = wide.view(mb, 128, kb, 128)
    amax = tile.abs().amax((1, 3)).clamp_min(1e-8)
    code = torch.round(tile * (128 / amax)[:, None, :, None]).clamp(-128, 127)
    return code.reshape(mb * 128, kb * 128)[:m, :k].to(torch.int8).contiguous(), amax / 128


def int8_product(x, xs, w, ws):
    """float32 sum over 128-wide blocks of k, ascending, fused multiply-add; rounded to bf16."""
    m, k, n = x.shape[0], x.shape[1], w.shape[0]
    acc = torch.zeros(m, n)
    for b in range(k // 128):
        cols = slice(b * 128, (b + 1) * 128)
        s = x[:, cols].double() @ w[:, cols].double().T
        c = xs[:, b].repeat_interleave(128)[:m, None] * ws[:, b].repeat_interleave(128)[None, :n]
        acc = (s * c.double() + acc.double()).float()
    return acc.to(BF16)


class DequantisedLinear(torch.nn.Module):
    """What an int8 linear approximates: exact product with the dequantised weights."""
    def __init__(self, layer):
        super().__init__()
        s = layer.scale.double().repeat_interleave(128, 0).repeat_interleave(128, 1)
        self.weight = layer.int8_weight.double() * s[:layer.out_features, :layer.in_features]
        self.bias = layer.bias.double()

    def forward(self, x):
        return torch.nn.functional.linear(x, self.weight, self.bias)


# ---- import with the replacements in place ----

def setup(root, gpu=False):
    global device
    sys.path[:0] = [os.path.join(root, "turbodiffusion"), os.path.join(root, "turbodiffusion", "inference")]
    if gpu:
        device = "cuda"
    else:
        replace_kernels()
    import SLA.core
    official_map = SLA.core.get_block_map

    def block_map(*args, **kwargs):
        result = official_map(*args, **kwargs) if replayed_maps is None else next(replayed_maps)
        block_maps.append(result)
        return result
    SLA.core.get_block_map = block_map


def replace_kernels():
    stub = types.ModuleType("turbo_diffusion_ops")
    stub.quant_cuda = lambda x, a, b: quantise(x)
    stub.gemm_cuda = lambda x, xs, w, ws, y: y.copy_(int8_product(x, xs, w, ws))
    sys.modules["turbo_diffusion_ops"] = stub
    torch.cuda.current_device = lambda: 0
    torch.Tensor.cuda = lambda self, *a, **k: self
    torch.nn.Module.cuda = lambda self, *a, **k: self
    import ops.core
    import SLA.core
    import SLA.utils
    from rcm.networks import wan2pt1, wan2pt2
    ops.core.rmsnorm = fast_rms_norm
    ops.core.layernorm = fast_layer_norm
    SLA.core._attention = SparseAttention
    SLA.utils.mean_pool = mean_pool
    wan2pt1.flash_apply_rotary_emb = wan2pt2.flash_apply_rotary_emb = rotary


def read(path):
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def find(directory, pattern):
    found = sorted(glob.glob(os.path.join(directory, pattern)))
    if len(found) != 1:
        raise SystemExit(f"{directory}/{pattern}: {len(found)} files, want 1")
    return found[0]


# ---- networks ----

def load_dit(path, attention="sla", topk=0.5, default_norm=False, exact=False):
    """The transformer of one file. exact: float64 throughout."""
    from modify_model import replace_attention, replace_linear_norm
    from rcm.networks import wan2pt1, wan2pt2
    sd = dict(read(path))
    quant = any(k.endswith(".int8_weight") for k in sd)
    if attention == "original":
        sd = {k: v for k, v in sd.items() if "proj_l" not in k}
    if default_norm:
        sd = {k: v.to(BF16) if "norm" in k else v for k, v in sd.items()}
    dim, n_in = sd["patch_embedding.weight"].shape
    cls = wan2pt2.WanModel if n_in == 144 else wan2pt1.WanModel
    ffn = sd["blocks.0.ffn.0.int8_weight" if quant else "blocks.0.ffn.0.weight"].shape[0]
    with torch.device("meta"):
        net = cls(model_type="i2v" if n_in == 144 else "t2v", in_dim=n_in // 4, dim=dim, ffn_dim=ffn, freq_dim=256,
                  text_dim=sd["text_embedding.0.weight"].shape[1], out_dim=16, num_heads=dim // 128,
                  num_layers=1 + max(int(k.split(".")[1]) for k in sd if k.startswith("blocks.")))
    if attention != "original":
        net = replace_attention(net, attention_type=attention, sla_topk=topk)
    replace_linear_norm(net, replace_linear=quant, replace_norm=not default_norm, quantize=False)
    net.load_state_dict(sd, assign=True)
    net = net.eval().requires_grad_(False)
    if exact:
        from ops import Int8Linear
        for name, layer in list(net.named_modules()):
            if isinstance(layer, Int8Linear):
                net.get_submodule(name.rpartition(".")[0]).add_module(name.rpartition(".")[2], DequantisedLinear(layer))
        return net.double()
    if device == "cuda":
        return net.cuda()
    for layer in (net.time_embedding, net.time_projection, net.head.head):
        layer.float()                # they run under float32 autocast
    return net


def load_umt5(path, exact=False):
    from rcm.utils.umt5 import umt5_xxl
    sd = read(path)
    vocab, dim = sd["token_embedding.weight"].shape
    n = 1 + max(int(k.split(".")[1]) for k in sd if k.startswith("blocks."))
    net = umt5_xxl(encoder_only=True, dtype=BF16, device="meta", vocab_size=vocab, dim=dim, dim_attn=dim,
                   dim_ffn=sd["blocks.0.ffn.fc1.weight"].shape[0], encoder_layers=n,
                   num_heads=sd["blocks.0.pos_embedding.embedding.weight"].shape[1])
    net.load_state_dict(sd, assign=True)
    net = net.to(device).eval().requires_grad_(False)
    return net.double() if exact else net


def encode_ids(net, ids, n):
    """Rows past the valid ones are zero, as in the official wrapper. [512, d]"""
    mask = (torch.arange(512) < n).long()[None]
    out = net(ids[None].to(device), mask.to(device))[0]
    out[n:] = 0
    return out


def load_vae(path, exact=False):
    """The official wrapper. exact: float64 arithmetic on the bf16-rounded weights and statistics."""
    from rcm.tokenizers import wan2pt1
    sd = read(path)
    dim = sd["encoder.conv1.weight"].shape[0]
    official = wan2pt1._video_vae
    wan2pt1._video_vae = lambda pretrained_path, z_dim, device, temporal_window: official(
        pretrained_path=None, z_dim=z_dim, device=device, dim=dim, temporal_window=temporal_window)
    try:
        vae = wan2pt1.WanVAE(dtype=BF16, is_amp=False, vae_pth="", device=device)
    finally:
        wan2pt1._video_vae = official
    vae.model.load_state_dict(sd, assign=True)
    vae.model = vae.model.to(device=device, dtype=BF16).eval().requires_grad_(False)
    if exact:
        vae.dtype = torch.float64
        vae.model = vae.model.double()
        vae.scale = [s.double() for s in vae.scale]
    return vae
