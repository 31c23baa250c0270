#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Write tests/golden/gguf.safetensors: random blocks of each type of GGUF that is read, and gguf-py's values of them.

usage: gguf_golden.py tests/golden/gguf.safetensors
"""
import sys

import gguf
import numpy as np
from safetensors.numpy import save_file

TYPES = "Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS".split()
# where a block has its float16 scales
SCALES = {"Q4_1": (0, 2), "Q5_1": (0, 2), "Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2),
          "Q6_K": (208,)}


def main():
    rng = np.random.default_rng(1)
    out = {}
    for name in TYPES:
        kind = gguf.GGMLQuantizationType[name]
        n_values, n_bytes = gguf.GGML_QUANT_SIZES[kind]
        blocks = rng.integers(0, 256, (1024 // n_values, n_bytes), dtype=np.uint8)
        for at in SCALES.get(name, (0,)):        # any bytes but these are good
            scale = rng.uniform(-2, 2, len(blocks)).astype(np.float16)
            blocks[:, at:at + 2] = scale[:, None].view(np.uint8)
        out[name.lower() + ".blocks"] = blocks
        out[name.lower() + ".values"] = gguf.quants.dequantize(blocks, kind).astype(np.float32).reshape(-1)
    save_file(out, sys.argv[1])


if __name__ == "__main__":
    main()
