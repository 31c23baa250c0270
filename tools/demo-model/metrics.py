# SPDX-License-Identifier: BSD-2-Clause
"""PSNR and SSIM of clips, uint8 [T, H, W, 3], on the device that holds them.

psnr  10 log10(255^2 / mean squared difference) over all samples of a clip, in dB; at most 100, that of equal clips
ssim  Wang et al. 2004: Gaussian window of 11x11 and sigma 1.5, K1 = 0.01, K2 = 0.03, where the window lies within the
      picture; the mean over positions, colour channels and frames
"""
import math

import torch

WINDOW = [math.exp(-0.5 * ((i - 5) / 1.5) ** 2) for i in range(11)]
WINDOW = [w / sum(WINDOW) for w in WINDOW]


def psnr(a, b):
    error = (a.float() - b.float()).square().mean(dtype=torch.float64).item()
    return min(10 * math.log10(255**2 / error), 100.0) if error else 100.0


def window_mean(v):
    """[..., H, W, C] -> [..., H-10, W-10, C]; sums, as a convolution may round its input on a GPU"""
    for dim in (-3, -2):
        v = sum(w * v.narrow(dim, i, v.shape[dim] - 10) for i, w in enumerate(WINDOW))
    return v


def ssim(a, b):
    x, y = a.float(), b.float()
    mx, my = window_mean(x), window_mean(y)
    xx, yy, xy = window_mean(x * x) - mx * mx, window_mean(y * y) - my * my, window_mean(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    both = (2 * mx * my + c1) * (2 * xy + c2) / ((mx * mx + my * my + c1) * (xx + yy + c2))
    return both.mean(dtype=torch.float64).item()
