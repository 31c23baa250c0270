#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Write tests/golden/diffusers.safetensors: where diffusers' schedulers end with times given by hand and a closed-form
network, v = float(bf16(x)) / 2 + float(bf16(1000 t)) / 1024. noise.0 is the state at first, noise.N the draw of step N.

usage: diffusers_golden.py tests/golden/diffusers.safetensors
"""
import sys

import diffusers
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers import scheduling_flow_match_euler_discrete as module

import store

BF16 = torch.bfloat16
LISTS = {
    "lightx2v": [1, 0.9375, 0.8333333333333334, 0.625],  # 1000, 750, 500, 250 on the grid of shift 5
    "fastwan": [1, 0.757, 0.522],
    "two": [0.9, 0.5],
}


def network(x, t):
    return x.to(BF16).float() * 0.5 + t.to(BF16).float() / 1024


def run(times, noise, stochastic):
    s = FlowMatchEulerDiscreteScheduler(shift=1.0, stochastic_sampling=stochastic)
    s.set_timesteps(sigmas=times)
    draws = iter(noise[1:])
    module.randn_tensor = lambda *args, **kw: next(draws)
    x = noise[0] * s.sigmas[0]
    for t in s.timesteps:
        x = s.step(network(x, t), t, x, return_dict=False)[0]
    return x, s.timesteps


def main():
    gen = torch.Generator().manual_seed(0)
    noise = [torch.randn(16 * 2 * 2 * 2, generator=gen) for _ in range(5)]
    out = {f"noise.{i}": n for i, n in enumerate(noise)}
    for name, times in LISTS.items():
        out[f"{name}.euler"], out[f"{name}.t"] = run(times, noise, False)
        out[f"{name}.renoise"], _ = run(times, noise, True)
    store.save(sys.argv[1], out, {"diffusers": diffusers.__version__, "torch": torch.__version__,
                                  **{name: "|".join(map(str, times)) for name, times in LISTS.items()}})


if __name__ == "__main__":
    main()
