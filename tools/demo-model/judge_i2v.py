#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Image to video of held-out scenes, by ffmpeg: are the clips what prompt and picture say, and do chains of them hold?

usage: judge_i2v.py [-n N] [--only=K,...] [--chains=N] [--ffmpeg=FILE] [--model=DIR] [--jobs=N] [--wording=mixed]

1. N clips, each from the first frame of a held-out scene and its prompt: attributes right (score.py), PSNR of the first
   frame to the picture and of the last one to the scene's, of which only the first one is given. First frames that are
   far from the picture are listed, with their number.
2. N chains of five clips, each from the last frame of the one before (turbodiff_i2v=mode=extend): a shape goes to and
   fro. Drift: how far the median colours of background and shape, a channel, are from those of the picture at the end of
   the last clip, in levels of 255; of the shape also its area, as a ratio. Of each seam: the mean difference of its two
   frames as a ratio to that of the frames around it, which is 0 where a frame is there twice.
"""
import argparse
import concurrent.futures
import os
import subprocess

import numpy as np
import torch

import scenes
from metrics import psnr
from score import Table, score

CHAIN = ("moves slowly to the right", "moves slowly to the left", "moves slowly up", "moves slowly down", "stays still")
SHAPES, COLOURS = ("circle", "square", "triangle", "star", "ring"), ("red", "blue", "yellow", "green", "purple")
GROUNDS = ("white", "black", "grey")
SIZE, FRAMES = scenes.SIZE, scenes.FRAMES
FAR = 28                                              # dB of a first frame


def run(args, picture, filters):
    """-> frames [n,SIZE,SIZE,3] of a film that is one picture, after these filters"""
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24"]
    command = [args.ffmpeg, "-v", "error", *raw, "-s", f"{SIZE}x{SIZE}", "-r", "16", "-i", "-", "-vf", ",".join(filters),
               *raw, "-"]
    done = subprocess.run(command, input=picture.tobytes(), stdout=subprocess.PIPE, check=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, SIZE, SIZE, 3)


def i2v(args, prompt, seed, more=""):
    model = f"model={args.model}:" if args.model else ""
    prompt = prompt.replace(":", r"\:")             # quotes are taken off before options are told apart
    return f"turbodiff_i2v={model}threads={args.threads}:prompt='{prompt}':seed={seed}{more}"


def clip(args, k, prompt, scene):
    made = run(args, scene[0], [i2v(args, prompt, k)])
    likeness = [psnr(*(torch.from_numpy(np.array(x[i])) for x in (made, scene))) for i in (0, -1)]
    return prompt, score(prompt, made), *likeness


def parts(frame):
    """-> medians of background and shape [2,3], area of the shape"""
    border = np.concatenate([frame[:8].reshape(-1, 3), frame[-8:].reshape(-1, 3)])
    ground = np.median(border, axis=0)
    shape = np.abs(frame.astype(int) - ground).max(-1) > 50
    inner = shape & np.roll(shape, 3, 0) & np.roll(shape, -3, 0) & np.roll(shape, 3, 1) & np.roll(shape, -3, 1)
    if not inner.any():
        return np.stack([ground, np.full(3, np.nan)]), 0
    return np.stack([np.median(frame[~shape], axis=0), np.median(frame[inner], axis=0)]), shape.sum()


def chain(args, k, what, picture):
    filters = [i2v(args, what.format(m), 100 * k + i, ":mode=extend") for i, m in enumerate(CHAIN)]
    film = run(args, picture, filters)
    ends = [parts(film[i]) for i in range(0, len(film), FRAMES - 1)]
    drift = np.abs(ends[-1][0] - ends[0][0])
    steps = np.abs(np.diff(film.astype(np.float32), axis=0)).mean((1, 2, 3))
    seams = [steps[i] / max(steps[i - 2:i].mean(), steps[i + 1:i + 3].mean(), 1e-3)
             for i in range(FRAMES - 1, len(steps), FRAMES - 1)]
    return what, len(film), drift, ends[-1][1] / ends[0][1], seams


def numbers(text):
    return [int(k) for k in text.split(",")]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("-n", type=int, default=200)
    ap.add_argument("--only", type=numbers, help="numbers below N, instead of all")
    ap.add_argument("--chains", type=int, default=10)
    ap.add_argument("--ffmpeg", default="build/ffmpeg")
    ap.add_argument("--model", help="default: the demo model that ffmpeg finds")
    ap.add_argument("--jobs", type=int, default=2)
    ap.add_argument("--threads", type=int, default=1, help="of each clip")
    ap.add_argument("--wording", choices=["plain", "mixed", "new"], default="mixed")
    args = ap.parse_args()
    args.ffmpeg = os.path.abspath(args.ffmpeg)
    rows = args.only or range(args.n)
    if not all(0 <= k < args.n for k in rows):
        ap.error(f"--only: want numbers from 0 to {args.n - 1}")
    s = scenes.sample(args.n, np.random.default_rng(1), held_out=True)
    prompts = scenes.prompts(s, args.wording, held_out=True)
    truth = {k: scenes.to_bytes(scenes.render(s.take(slice(k, k + 1)), "cpu"))[0] for k in rows}
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        made = list(pool.map(lambda k: clip(args, k, prompts[k], truth[k]), rows))
    table = Table()
    for k, (prompt, result, near, _) in zip(rows, made):
        table.add(result)
        wrong = [a for a, ok in result.items() if not ok]
        if wrong:
            print(f"wrong: {', '.join(wrong)}: {prompt}")
        if near < FAR:
            print(f"first frame {near:.2f} dB: {k}: {prompt}")
    print(table.text(), end="")
    first, last = np.array([m[2:] for m in made]).T
    print(f"first frame, PSNR to the picture: median {np.median(first):.2f}, least {first.min():.2f} dB; "
          f"last frame to the scene's: median {np.median(last):.2f} dB")

    whats, pictures = [], []
    for k in range(args.chains):
        shape, colour, ground = SHAPES[k % 5], COLOURS[k // 5 % 5], GROUNDS[k % 3]
        one = scenes.sample(1, np.random.default_rng(k), held_out=None, shape=shape, colour=colour, background=ground,
                            count=1, motion="still", size="", texture="plain", relation="", position="centre")
        pictures.append(scenes.to_bytes(scenes.render(one, "cpu"))[0, 0])
        whats.append(f"a {colour} {shape} {{}} on a {ground} background")
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        chains = list(pool.map(lambda k: chain(args, k, whats[k], pictures[k]), range(args.chains)))
    for what, n, drift, area, seams in chains:
        ground, shape = np.nanmax(drift, axis=1)
        print(f"chain of {n} frames, {what.format('...')}: drift of the background {ground:.1f}, of the shape "
              f"{shape:.1f} levels; area x{area:.2f}; seams {', '.join(f'{x:.2f}' for x in seams)}")
    if chains:
        d = np.array([c[2] for c in chains])
        print(f"chains: drift, median over chains a channel: background {np.nanmedian(d[:, 0], axis=0)}, shape "
              f"{np.nanmedian(d[:, 1], axis=0)}; worst {np.nanmax(d):.1f}; least of the seams "
              f"{min(min(c[4]) for c in chains):.2f}")


if __name__ == "__main__":
    main()
