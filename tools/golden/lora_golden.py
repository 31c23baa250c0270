#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Write tests/golden/lora.safetensors: LoRAs of a small Wan transformer as diffusers and peft save them, and the weights
that these make of theirs.

usage: lora_golden.py tests/golden/lora.safetensors

base.NAME is a weight of the model; CASE.file.NAME a tensor of the file that was saved, CASE.metadata the JSON that
diffusers writes beside it (bytes), CASE.merged.NAME the weight afterwards, for a strength of 0.75 (patterns, rslora) or 1:
with DoRA peft scales the matrices' product alone by it, where others go a part of the way to what DoRA makes.
Names are diffusers'. Written with torch 2.15.0, peft 0.21.2 and diffusers 0.42.1.
"""
import sys
import tempfile

import numpy as np
import torch
from diffusers import WanPipeline, WanTransformer3DModel
from peft import LoHaConfig, LoKrConfig, LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors import safe_open
from safetensors.numpy import save_file

TARGETS = "attn1.to_q attn1.to_k attn1.to_v attn1.to_out.0 attn2.to_q attn2.to_out.0 ffn.net.0.proj ffn.net.2".split()
WEIGHTS = ["blocks.0." + t + ".weight" for t in TARGETS]


def model():
    torch.manual_seed(1)
    return WanTransformer3DModel(num_attention_heads=2, attention_head_dim=12, in_channels=16, out_channels=16,
                                 text_dim=16, freq_dim=32, ffn_dim=40, num_layers=1).float().eval()


def weights(m):
    state = m.state_dict()
    return {w: state[w].detach().clone().numpy() for w in WEIGHTS}


def randomise(m):
    """what peft begins with zeros, and the magnitudes of DoRA"""
    torch.manual_seed(2)
    with torch.no_grad():
        for name, p in m.named_parameters():
            if any(k in name for k in ("lora_", "hada_", "lokr_")):
                p.copy_(p.abs() * 1.2 if "magnitude" in name else torch.randn_like(p) * 0.3)


def diffusers_case(out, name, strength, **config):
    m = model()
    m.add_adapter(LoraConfig(target_modules=TARGETS, **config))
    randomise(m)
    with tempfile.TemporaryDirectory() as d:
        layers = get_peft_model_state_dict(m)
        WanPipeline.save_lora_weights(d, transformer_lora_layers=layers,
                                      transformer_lora_adapter_metadata=m.peft_config["default"].to_dict())
        with safe_open(d + "/pytorch_lora_weights.safetensors", "np") as f:
            for key in f.keys():
                out[f"{name}.file.{key}"] = f.get_tensor(key)
            text = f.metadata()["lora_adapter_metadata"]
            out[f"{name}.metadata"] = np.frombuffer(text.encode(), dtype=np.uint8)
    m.fuse_lora(lora_scale=strength)
    m.unload_lora()
    for key, value in weights(m).items():
        out[f"{name}.merged.{key}"] = value


def peft_case(out, name, config):
    m = get_peft_model(model(), config)
    randomise(m)
    for key, value in get_peft_model_state_dict(m).items():
        out[f"{name}.file.{key}"] = value.detach().numpy().copy()
    for target in TARGETS:
        out[f"{name}.file.base_model.model.blocks.0.{target}.alpha"] = np.array(config.alpha, dtype=np.float32)
    m = m.merge_and_unload()
    for key, value in weights(m).items():
        out[f"{name}.merged.{key}"] = value


def main():
    out = {}
    for key, value in weights(model()).items():
        out["base." + key] = value
    diffusers_case(out, "patterns", 0.75, r=4, lora_alpha=6, rank_pattern={"attn1.to_k": 2, "ffn.net.2": 3},
                   alpha_pattern={"attn1.to_q": 1.5, r"blocks\.\d+\.attn2\..*": 10})
    diffusers_case(out, "rslora", 0.75, r=3, lora_alpha=5, use_rslora=True)
    diffusers_case(out, "dora", 1.0, r=2, lora_alpha=3, use_dora=True)
    peft_case(out, "loha", LoHaConfig(target_modules=TARGETS, r=2, alpha=3))
    peft_case(out, "lokr", LoKrConfig(target_modules=TARGETS, r=2, alpha=3, decompose_factor=4))
    save_file({k: np.ascontiguousarray(v) for k, v in out.items()}, sys.argv[1])


if __name__ == "__main__":
    main()
