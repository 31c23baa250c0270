#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Write tests/golden/diffusers.safetensors: where diffusers' schedulers end with a closed-form network,
v = float(bf16(x)) / 2 + float(bf16(1000 t)) / 1024. noise.0 is the state at first, noise.N the draw of step N.
NAME.euler, NAME.renoise: of FlowMatchEulerDiscreteScheduler, with the times of NAME on the grid of a shift, which the
scheduler applies; NAME.t and NAME.sigma are what it makes of them. Where there are more than four, nothing is rounded to
bf16: over many steps the scheduler's float32 state would lead to other roundings than float64's. unipc.STEPS.SHIFT: of UniPC in float64, with sigmas
that begin where this library's do.

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
LISTS = {                                        # shift, times on its grid
    "lightx2v": (5, [1, 0.75, 0.5, 0.25]),
    "lightx2v8": (5, [1 - i / 8 for i in range(8)]),
    "lightx2v12": (5, [round(1000 - i * 1000 / 12) / 1000 for i in range(12)]),
    "fastwan": (1, [1, 0.757, 0.522]),           # of its grid already
    "two": (1, [0.9, 0.5]),
}


def network(x, t):
    return x.to(BF16).float() * 0.5 + t.to(BF16).float() / 1024


def smooth(x, t):
    return x.float() * 0.5 + t.float() / 1024


def run(shift, times, noise, stochastic):
    """times: a list, or how many of the scheduler's own"""
    s = FlowMatchEulerDiscreteScheduler(shift=float(shift), stochastic_sampling=stochastic)
    s.set_timesteps(times) if isinstance(times, int) else s.set_timesteps(sigmas=times)
    draws = iter(noise[1:])
    module.randn_tensor = lambda *args, **kw: next(draws)
    x, v = noise[0] * s.sigmas[0], network if len(s.timesteps) <= 4 else smooth
    for t in s.timesteps:
        x = s.step(v(x, t), t, x, return_dict=False)[0]
    return x, s


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
    noise = [torch.randn(16 * 2 * 2 * 2, generator=gen) for _ in range(13)]
    out = {f"noise.{i}": n for i, n in enumerate(noise)}
    for name, (shift, times) in LISTS.items():
        out[f"{name}.euler"], s = run(shift, times, noise, False)
        out[f"{name}.t"], out[f"{name}.sigma"] = s.timesteps, s.sigmas
        out[f"{name}.renoise"], _ = run(shift, times, noise, True)
    for name, shift in (("a14b_t2v", 12), ("a14b_i2v", 5)):
        out[f"{name}.euler"], s = run(shift, 40, noise, False)
        out[f"{name}.t"], out[f"{name}.sigma"] = s.timesteps, s.sigmas
    for steps, shift in ((4, 3.0), (20, 5.0), (40, 12.0), (40, 5.0)):
        run_unipc(out, steps, shift, noise[0])
    store.save(sys.argv[1], out, {"diffusers": diffusers.__version__, "torch": torch.__version__,
                                  **{name: f"shift {shift}: {'|'.join(map(str, times))}"
                                     for name, (shift, times) in LISTS.items()}})


if __name__ == "__main__":
    main()
