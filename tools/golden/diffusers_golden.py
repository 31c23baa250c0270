#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Write tests/golden/diffusers.safetensors: where diffusers' schedulers end with times given by hand and a closed-form
network, v = float(bf16(x)) / 2 + float(bf16(1000 t)) / 1024. noise.0 is the state at first, noise.N the draw of step N.
And the same of UniPC in float64, unipc.STEPS.SHIFT, with sigmas that begin where this library's do.

usage: diffusers_golden.py tests/golden/diffusers.safetensors
"""
import sys

import diffusers
import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler
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


def run_unipc(out, steps, shift, noise):
    top = 5000 / 5001
    start = top / (shift - (shift - 1) * top)
    s = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift)
    s.set_timesteps(sigmas=start * (1 - np.arange(steps) / steps))
    x, key = noise.double().view(1, -1, 1), f"unipc.{steps}.{shift:g}"
    for i, t in enumerate(s.timesteps):          # which are whole numbers: the network gets the real ones
        x = s.step(network(x, 1000 * s.sigmas[i]), t, x, return_dict=False)[0]
    out[key], out[key + ".sigma"], out[key + ".t"] = x.float().view(-1), s.sigmas, 1000 * s.sigmas[:-1]


def main():
    gen = torch.Generator().manual_seed(0)
    noise = [torch.randn(16 * 2 * 2 * 2, generator=gen) for _ in range(5)]
    out = {f"noise.{i}": n for i, n in enumerate(noise)}
    for name, times in LISTS.items():
        out[f"{name}.euler"], out[f"{name}.t"] = run(times, noise, False)
        out[f"{name}.renoise"], _ = run(times, noise, True)
    for steps, shift in ((4, 3.0), (20, 5.0), (40, 12.0)):
        run_unipc(out, steps, shift, noise[0])
    store.save(sys.argv[1], out, {"diffusers": diffusers.__version__, "torch": torch.__version__,
                                  **{name: "|".join(map(str, times)) for name, times in LISTS.items()}})


if __name__ == "__main__":
    main()
