# SPDX-License-Identifier: BSD-2-Clause
"""Two ways to run official modules on the CPU.

GpuRounding: bf16 operations whose CPU kernels round elsewhere than the CUDA ones are replaced, so that every result is
rounded where a GPU rounds it: products and sums in float32, one rounding of the stored result; convolution bias after a
rounding of its own; softmax weights rounded before they meet V; mean rounded once; top-k ties to the lowest index.

Float64: every conversion to a narrower float type is turned into float64, so that the same module computes the same
function in float64 throughout.
"""
import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

BF16 = torch.bfloat16


def _is_bf16(*tensors):
    return all(isinstance(t, torch.Tensor) and t.dtype == BF16 for t in tensors)


def sdpa(q, k, v, scale=None, **unused):
    """Softmax attention with one global row maximum; in bf16 the weights are rounded for the product with v."""
    wide = torch.float64 if q.dtype == torch.float64 else torch.float32
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    s = q.to(wide) @ k.to(wide).transpose(-1, -2) * scale
    p = torch.exp(s - s.amax(-1, keepdim=True))
    total = p.sum(-1, keepdim=True)
    return (p.to(q.dtype).to(wide) @ v.to(wide) / total).to(q.dtype)


def topk(x, n, dim=-1, sorted=False):
    """Values above the n-th in index order, then its ties in index order: the order of the CUDA radix select."""
    order = torch.sort(x, dim=-1, descending=True, stable=True).indices[..., :n]
    nth = x.gather(-1, order[..., -1:])
    picked = order.sort(-1).values
    tie = (x.gather(-1, picked) == nth).to(torch.int8)
    index = picked.gather(-1, torch.sort(tie, dim=-1, stable=True).indices)
    return torch.return_types.topk((x.gather(-1, index), index))


class GpuRounding(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is F.linear and _is_bf16(args[0], args[1]):
            bias = args[2] if len(args) > 2 else kwargs.get("bias")
            return F.linear(args[0].float(), args[1].float(), None if bias is None else bias.float()).to(BF16)
        if func in (torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.bmm) and _is_bf16(*args[:2]):
            return (args[0].float() @ args[1].float()).to(BF16)
        if func is torch.einsum and _is_bf16(*args[1:]):
            return torch.einsum(args[0], *[a.float() for a in args[1:]]).to(BF16)
        if func in (torch.conv2d, torch.conv3d) and _is_bf16(args[0], args[1]):
            x, w, bias, *rest = args
            y = func(x.float(), w.float(), None, *rest, **kwargs).to(BF16)
            return y if bias is None else y + bias.view(-1, *[1] * (w.dim() - 2))
        if func is F.scaled_dot_product_attention:
            return sdpa(*args, **kwargs)
        if func is torch.topk and not args[0].is_cuda:
            return topk(*args, **kwargs)
        if func in (torch.mean, torch.Tensor.mean, torch.sum, torch.Tensor.sum) and _is_bf16(args[0]):
            return func(args[0].float(), *args[1:], **kwargs).to(BF16)
        if func is F.layer_norm and args[0].dtype == torch.float32:
            wide = {k: a.float() if isinstance(a, torch.Tensor) else a for k, a in kwargs.items()}
            return F.layer_norm(*args, **wide)
        if func is F.normalize and _is_bf16(args[0]):
            norm = args[0].float().square().sum(kwargs["dim"], keepdim=True).sqrt().to(BF16)
            return args[0] / norm.clamp_min(1e-12)
        return func(*args, **kwargs)


class Float64(TorchFunctionMode):
    NARROW = (torch.float32, BF16, torch.float16)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.Tensor.float:
            return args[0].double()
        if func in (torch.Tensor.to, torch.Tensor.type):
            args = tuple(torch.float64 if a in self.NARROW else a for a in args)
            if kwargs.get("dtype") in self.NARROW:
                kwargs = {**kwargs, "dtype": torch.float64}
        if func is F.scaled_dot_product_attention:
            return sdpa(*args, **kwargs)
        return func(*args, **kwargs)
