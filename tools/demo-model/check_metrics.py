#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Check metrics.py against other ways to compute the same; exit code 1 if one differs. Needs numpy and torch.

usage: check_metrics.py [--ffmpeg=ffmpeg]

    ssim   window by window, by the sums of the definition, in float64
    psnr   FFmpeg's filter of that name
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile

import numpy as np
import torch

import metrics


def ssim_by_windows(a, b):
    g = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
    w = (np.outer(g, g) / np.outer(g, g).sum())[:, :, None]
    out = []
    for x, y in zip(a.astype(float), b.astype(float), strict=True):
        for i in range(x.shape[0] - 10):
            for j in range(x.shape[1] - 10):
                p, q = x[i:i + 11, j:j + 11], y[i:i + 11, j:j + 11]
                mp, mq = (w * p).sum((0, 1)), (w * q).sum((0, 1))
                vp, vq = (w * (p - mp) ** 2).sum((0, 1)), (w * (q - mq) ** 2).sum((0, 1))
                cov = (w * (p - mp) * (q - mq)).sum((0, 1))
                out.append((2 * mp * mq + 6.5025) * (2 * cov + 58.5225) /
                           ((mp**2 + mq**2 + 6.5025) * (vp + vq + 58.5225)))
    return float(np.mean(out))


def psnr_by_ffmpeg(ffmpeg, a, b):
    with tempfile.TemporaryDirectory() as work:
        inputs = []
        for name, clip in (("a", a), ("b", b)):
            clip.tofile(os.path.join(work, name))
            inputs += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", f"{a.shape[2]}x{a.shape[1]}",
                       "-i", os.path.join(work, name)]
        done = subprocess.run([ffmpeg, *inputs, "-lavfi", f"psnr=stats_file={work}/log", "-f", "null", "-"],
                              stderr=subprocess.PIPE, check=True, text=True)
        frames = [float(x) for x in re.findall(r"mse_avg:(\S+)", open(f"{work}/log", encoding="ascii").read())]
        assert len(frames) == len(a), done.stderr
    return 10 * np.log10(255**2 / np.mean(frames))


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--ffmpeg", default="ffmpeg")
    args = ap.parse_args()
    rng, failed = np.random.default_rng(1), 0
    smooth = np.add.outer(np.arange(40), 3 * np.arange(36))[None, :, :, None] + np.zeros((3, 1, 1, 3))
    for name, noise in (("little noise", 2), ("much noise", 60)):
        a = (smooth + rng.normal(0, 5, smooth.shape)).clip(0, 255).astype(np.uint8)
        b = (smooth + rng.normal(0, noise, smooth.shape)).clip(0, 255).astype(np.uint8)
        ours = [f(torch.from_numpy(a), torch.from_numpy(b)) for f in (metrics.ssim, metrics.psnr)]
        theirs = ssim_by_windows(a, b), psnr_by_ffmpeg(args.ffmpeg, a, b)
        for title, x, y, least in zip(("ssim", "psnr"), ours, theirs, (1e-5, 0.01), strict=True):
            failed += not abs(x - y) <= least
            print("ok  " if abs(x - y) <= least else "FAIL", f"{title}, {name}: {x:.6f}, the other way {y:.6f}")
    equal = torch.from_numpy(a)
    failed += metrics.ssim(equal, equal) != 1 or metrics.psnr(equal, equal) != 100
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
