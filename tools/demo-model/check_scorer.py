#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Check score.py with clips whose content is known; exit code 1 if a limit is missed. Needs numpy and torch (CPU).

usage: check_scorer.py [-n 600] [--wrong 100] [--jobs 2] [--seed 1]

    true    n clips with their own captions: each attribute right in at least 98 %
    soft    the same with blur (sigma 1.5), noise (sigma 4) and a drift of each channel by up to 8: at least 95 %
    wrong   for each attribute clips that differ in it from the caption, half of them soft: found in at least 95 %

It is run by hand, as continuous integration has no torch.
"""
import argparse
import concurrent.futures
import sys

import numpy as np
import torch

import language
import scenes
import score

BATCH = 10
TRUE, SOFT, WRONG = 98.0, 95.0, 95.0


def soften(clip, rng):
    radius, sigma = 5, 1.5
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    v = clip.astype(np.float32)
    for axis in (1, 2):
        padded = np.pad(v, [(radius, radius) if a == axis else (0, 0) for a in range(4)], "edge")
        v = sum(k * np.take(padded, range(i, i + v.shape[axis]), axis) for i, k in enumerate(kernel))
    v = v + rng.normal(0, 4, v.shape) + rng.uniform(-8, 8, 3)
    return np.clip(np.rint(v), 0, 255).astype(np.uint8)


def judge_true(seed):
    """Results of a batch, as it is and softened: [(caption, result)] * 2."""
    rng = np.random.default_rng(seed)
    s = scenes.sample(BATCH, rng, held_out=None)
    captions, clips = scenes.captions(s), scenes.to_bytes(scenes.render(s, "cpu"))
    return [[(c, score.score(c, v)) for c, v in zip(captions, clips, strict=True)],
            [(c, score.score(c, soften(v, rng))) for c, v in zip(captions, clips, strict=True)]]


def other_scene(one, attribute, rng):
    """A scene that differs from scene 0 of `one` in the attribute."""
    keep = ["shape", "colour", "background", "motion", "speed", "count", "relation"]
    if one.relation[0]:
        keep += ["shape2", "colour2"]
    fixed = {a: int(one.count[0]) if a == "count" else one.name(a, 0) for a in keep}
    values = (1, 2, 3) if attribute == "count" else language.NAMES[attribute]
    now = int(one.count[0]) if attribute == "count" else one.name(attribute, 0)
    values = [v for v in values if v not in (now, "")]
    if attribute == "motion":
        fixed.pop("speed")
    for _ in range(20):
        try:
            fixed[attribute] = values[rng.integers(len(values))]
            return scenes.sample(1, rng, held_out=None, tries=20, **fixed)
        except ValueError:
            continue
    return None


def judge_wrong(job):
    """[(attribute, caption, was it found, caption of the clip)] of a batch."""
    attribute, seed = job
    rng = np.random.default_rng(seed)
    out = []
    while len(out) < BATCH:
        one = scenes.sample(1, rng, held_out=None)
        caption = scenes.captions(one)[0]
        if language.parse(caption)[attribute] in ("", "plain"):
            continue
        other = other_scene(one, attribute, rng)
        if other is None:
            continue
        clip = scenes.to_bytes(scenes.render(other, "cpu"))[0]
        if len(out) % 2:
            clip = soften(clip, rng)
        out.append((attribute, caption, not score.score(caption, clip)[attribute], scenes.captions(other)[0]))
    return out


def report(name, counts, least, failures):
    missed = 0
    for attribute in score.ATTRIBUTES:
        right, of = counts.get(attribute, (0, 0))
        bad = not of or 100 * right / of < least
        missed += bad
        print(f"{name:6s} {attribute:12s} {right:5d} of {of:5d} {100 * right / max(of, 1):6.1f} %, want {least:.0f} %"
              f"{'  MISSED' if bad else ''}")
    for line in failures:
        print("       " + line)
    return missed


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("-n", type=int, default=600)
    ap.add_argument("--wrong", type=int, default=100)
    ap.add_argument("--jobs", type=int, default=2)
    ap.add_argument("--seed", type=int, default=1)
    args = ap.parse_args()
    missed = 0
    with concurrent.futures.ProcessPoolExecutor(args.jobs, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        parts = list(pool.map(judge_true, [[args.seed, i] for i in range(-(-args.n // BATCH))]))
        for k, (name, least) in enumerate((("true", TRUE), ("soft", SOFT))):
            table, failures = score.Table(), []
            for caption, result in (r for p in parts for r in p[k]):
                table.add(result)
                wrong = [a for a, ok in result.items() if not ok]
                if wrong:
                    failures.append(f"{', '.join(wrong)}: {caption}")
            missed += report(name, {a: (right, of) for a, right, of in table.rows()}, least, failures)
        jobs = [(a, [args.seed, 1000 + i]) for a in score.ATTRIBUTES for i in range(-(-args.wrong // BATCH))]
        counts, failures = {}, []
        for attribute, caption, found, shown in (r for p in pool.map(judge_wrong, jobs) for r in p):
            right, of = counts.get(attribute, (0, 0))
            counts[attribute] = right + found, of + 1
            if not found:
                failures.append(f"{attribute}: {caption} <- {shown}")
        missed += report("wrong", counts, WRONG, failures)
    print("all limits are met" if not missed else f"{missed} limits are missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
