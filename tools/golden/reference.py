# SPDX-License-Identifier: BSD-2-Clause
"""The official networks in float32, on a GPU or the CPU: what gpu_full.py measures both sides by."""
import torch
from torch.overrides import TorchFunctionMode

import official

BF16, F32 = torch.bfloat16, torch.float32
HOPPER = {"sla": (128, 64), "sagesla": (64, 128)}  # blocks of the official kernels on an H100: queries x keys


class Float32(TorchFunctionMode):
    """Every conversion to a narrower float type is left out; softmax attention by plain products."""

    NARROW = (BF16, torch.float16)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in (torch.Tensor.to, torch.Tensor.type):
            args = tuple(F32 if a in self.NARROW else a for a in args)
            if kwargs.get("dtype") in self.NARROW:
                kwargs = {**kwargs, "dtype": F32}
        if func is torch.nn.functional.scaled_dot_product_attention:
            q, k, v = args[:3]
            scale = kwargs.get("scale") or q.shape[-1] ** -0.5
            step = max(1, (1 << 29) // (q.shape[0] * q.shape[1] * k.shape[2]))
            return torch.cat([(c @ k.transpose(-1, -2) * scale).softmax(-1) @ v for c in q.split(step, 2)], 2)
        return func(*args, **kwargs)


class SparseSoftmax:
    """Softmax attention over the listed key blocks, in place of the kernel. q, k, v: [1,H,L,d]; lut: [1,H,blocks,n]"""

    @staticmethod
    def apply(q, k, v, sparse_map, lut, n, bq, bk):
        _, heads, length, d = q.shape
        n_q, n_k = -(-length // bq), -(-length // bk)
        pad = torch.nn.functional.pad
        q = pad(q[0], (0, 0, 0, n_q * bq - length)).view(heads, n_q, bq, d)
        k, v = (pad(x[0], (0, 0, 0, n_k * bk - length)).view(heads, n_k, bk, d) for x in (k, v))
        out = torch.empty_like(q)
        step = max(1, (1 << 26) // (n * bk * (bq + d)))
        for h in range(heads):
            for i in range(0, n_q, step):
                blocks = lut[0, h, i : i + step].long()
                keys = k[h][blocks].flatten(1, 2)
                s = q[h, i : i + step] @ keys.transpose(1, 2) * d**-0.5
                at = (blocks[..., None] * bk + torch.arange(bk, device=q.device)).flatten(1)
                s = s.masked_fill_((at >= length)[:, None], -torch.inf)
                out[h, i : i + step] = s.softmax(-1) @ v[h][blocks].flatten(1, 2)
        return out.view(1, heads, n_q * bq, d)[:, :, :length]


class Dequantised(torch.nn.Module):
    """The exact product that an int8 linear stands for; weights become float32 when they are used."""

    def __init__(self, layer):
        super().__init__()
        self.code, self.scale, self.bias = layer.int8_weight, layer.scale, layer.bias.float()

    def forward(self, x):
        n, k = self.code.shape
        w = self.scale.repeat_interleave(128, 0)[:n].repeat_interleave(128, 1)[:, :k] * self.code
        return torch.nn.functional.linear(x, w, self.bias)


def float32_dit(path, attention, topk):
    import SLA
    from ops import Int8Linear

    net = official.load_dit(path, attention="original" if attention == "original" else "sla", topk=topk)
    for name, layer in list(net.named_modules()):
        parent, _, last = name.rpartition(".")
        if isinstance(layer, Int8Linear):
            net.get_submodule(parent).add_module(last, Dequantised(layer))
        if isinstance(layer, SLA.SparseLinearAttention):
            layer.dtype, (layer.BLKQ, layer.BLKK) = F32, HOPPER[attention]
    return net.float()


class SparseReference:
    """The module of official.py with the attention kernel replaced; maps: of each layer, or None to choose them."""

    def __init__(self, maps=None):
        self.maps = maps

    def __enter__(self):
        import SLA.core

        self.kernel, SLA.core._attention = SLA.core._attention, SparseSoftmax
        official.block_maps.clear()
        official.replayed_maps = iter(self.maps) if self.maps else None
        self.mode = Float32()
        self.mode.__enter__()

    def __exit__(self, *error):
        import SLA.core

        self.mode.__exit__(*error)
        SLA.core._attention = self.kernel
        official.replayed_maps = None


class Stay(torch.nn.Module):
    """A network for the script, which moves what it gets to the host and back. rounded: sees the bf16 timestep."""

    def __init__(self, net, rounded=False):
        super().__init__()
        self.net, self.rounded = net, rounded

    def cpu(self):
        return self

    cuda = cpu

    def forward(self, timesteps_B_T, **kw):
        return self.net(timesteps_B_T=timesteps_B_T.bfloat16().float() if self.rounded else timesteps_B_T, **kw)
