# SPDX-License-Identifier: BSD-2-Clause
"""A .safetensors writer whose bytes depend on the contents alone (the package's own orders metadata at random)."""
import json

import torch

NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.int8: "I8", torch.uint8: "U8",
         torch.int32: "I32", torch.int64: "I64"}


def save(path, tensors, metadata):
    header, at, parts = {"__metadata__": dict(sorted(metadata.items()))}, 0, []
    for name in sorted(tensors, key=lambda n: (-tensors[n].element_size(), n)):
        t = tensors[name].detach().cpu().contiguous()
        parts.append(t.flatten().view(torch.uint8).numpy().tobytes())
        header[name] = {"dtype": NAMES[t.dtype], "shape": list(t.shape), "data_offsets": [at, at + len(parts[-1])]}
        at += len(parts[-1])
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text + b"".join(parts))
