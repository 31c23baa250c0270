#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What each acceleration of the demo model costs, and what it gains.

usage: table.py --td=build/td --state=DIR --out=DIR [-n 200] [--wording=mixed] [--seed=1] [--rows=NAME,...]
                [--backend=cuda] [--gpus=1]

The same held-out prompts, every second one in a held-out wording, each with its own noise, go through td in one setting
after another: the teacher with guidance and many steps, then the student with one acceleration more at a time, other
shares of the key blocks, fewer steps. DIR is what train.py made (stage export). Written to --out: table.md, table.json
with the result of each clip, logs of td.

Prompt k has seed --seed + k in every row, so that all start from the same noise; rCM adds some between its steps.
Rows are compared clip by clip. Needs numpy and torch; clips take 2 MB each in a temporary directory (TMPDIR).
With --gpus=N, N rows are made at a time.
"""
import argparse
import concurrent.futures
import dataclasses
import json
import os
import queue
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch

import scenes
from metrics import psnr, ssim
from score import ATTRIBUTES
from state import GUIDANCE, TOPK, VAE_DIM
from vae import Vae

HERE = os.path.dirname(os.path.abspath(__file__))
SHAPE = scenes.FRAMES, scenes.SIZE, scenes.SIZE, 3


@dataclasses.dataclass
class Row:
    title: str
    before: str                         # the row it is compared with, for what changed
    options: str | None = None          # of td
    negative: list = dataclasses.field(default_factory=list)
    model: str = "model"
    other_seed: int = 0


SHIPPED = "-a sagesla -q int8"
ROWS = {
    "data": Row("the scenes themselves", ""),
    "vae": Row("the scenes, encoded and decoded", "data"),
    "teacher": Row("teacher: UniPC, 50 steps, guidance", "vae", f"-a dense -q none -S unipc -i 50 -g {GUIDANCE}",
                   ["-G", ""], "teacher"),
    "sla": Row(f"student: 4 steps, SLA, topk {TOPK[0]}, bf16", "teacher", "-a sla -q none"),
    "sagesla": Row("+ SageAttention in SLA", "sla", "-a sagesla -q none"),
    "int8": Row("+ int8 linears: as shipped", "sagesla", SHIPPED),
    "blocks": Row("shipped, blocks of 128x64", "int8", SHIPPED + " -b 128x64"),
    "slablocks": Row("sla, blocks of 128x64", "sla", "-a sla -q none -b 128x64"),
    **{f"topk{k}": Row(f"shipped, topk {k}", "int8", f"{SHIPPED} -k {k}") for k in ("0.1", "0.34", "0.67", "1")},
    "blockstopk0.34": Row("that in blocks of 128x64", "topk0.34", f"{SHIPPED} -k 0.34 -b 128x64"),
    **{f"steps{n}": Row(f"shipped, {n} step{'s' * (n > 1)}", "int8", f"{SHIPPED} -i {n}") for n in (3, 2, 1)},
    "ode": Row("sla, no fresh noise between steps", "sla", "-a sla -q none -o"),
    "noise": Row("sla, from other noise", "sla", "-a sla -q none", other_seed=1000000),
    "dense": Row("student with dense attention", "sla", "-a dense -q none"),
    "int8dense": Row("that in int8", "int8", "-a dense -q int8"),
}
REFERENCES = ("data", "teacher", "sla")        # each row is compared with those made before it


class Bench:
    def __init__(self, args, work):
        self.args, self.work = args, work
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.gpus = queue.SimpleQueue()
        for i in range(args.gpus):
            self.gpus.put(i)
        self.scenes = scenes.sample(args.n, np.random.default_rng(args.seed), held_out=True)
        self.texts = scenes.prompts(self.scenes, args.wording, held_out=True)
        self.prompts = os.path.join(work, "prompts.txt")
        with open(self.prompts, "w", encoding="ascii") as f:
            f.write("".join(c + "\n" for c in self.texts))

    def path(self, name):
        return os.path.join(self.work, f"{name}.rgb")

    def clips(self, name):
        return np.memmap(self.path(name), np.uint8, "r").reshape(-1, *SHAPE)

    def render(self):
        """The rows that td has no part in"""
        vae = Vae(VAE_DIM).to(self.device)
        vae.load_state_dict(torch.load(os.path.join(self.args.state, "model", "Wan2.1_VAE.pth")))
        with open(self.path("data"), "wb") as data, open(self.path("vae"), "wb") as decoded, torch.no_grad():
            for i in range(0, self.args.n, 4):
                x = scenes.render(self.scenes.take(slice(i, i + 4)), self.device)
                data.write(scenes.to_bytes(x).tobytes())
                decoded.write(scenes.to_bytes(vae.decode(vae.encode(x))).tobytes())

    def make(self, name):
        """@return what td tells of each clip, and score()"""
        gpu = self.gpus.get()
        try:
            told = self.run(name, gpu) if ROWS[name].options else []
        finally:
            self.gpus.put(gpu)
        return told, self.score(name)

    def run(self, name, gpu):
        """@return what td tells of each clip"""
        row, stats, log = ROWS[name], os.path.join(self.work, f"{name}.json"), os.path.join(self.args.out, f"{name}.log")
        library = os.pathsep.join(filter(None, (os.path.dirname(self.args.td), os.environ.get("LD_LIBRARY_PATH"))))
        with open(log, "w", encoding="utf-8") as f:
            done = subprocess.run([self.args.td, "-B", self.args.backend, "-s", f"{SHAPE[2]}x{SHAPE[1]}", "-n",
                                   str(SHAPE[0]), "-r", str(self.args.seed + row.other_seed), *row.options.split(),
                                   *row.negative, "-j", stats, "-P", os.path.join(self.args.state, row.model),
                                   self.prompts, self.path(name)], stderr=f,
                                  env={**os.environ, "LD_LIBRARY_PATH": library, "CUDA_VISIBLE_DEVICES": str(gpu)})
        if done.returncode:
            with open(log, encoding="utf-8") as f:
                sys.exit(f"{name}: {' '.join(done.args)}\n{f.read()[-2000:]}")
        with open(stats, encoding="utf-8") as f:
            return [json.loads(line) for line in f]

    def score(self, name):
        """@return for each clip attribute -> is it right?"""
        done = subprocess.run([sys.executable, os.path.join(HERE, "score.py"), "--json",
                               f"--jobs={max(1, os.cpu_count() // self.args.gpus)}",
                               "--prompts", self.prompts, self.path(name)], check=True, stdout=subprocess.PIPE,
                              env={**os.environ, "OMP_NUM_THREADS": "1"})
        return [clip["result"] for clip in json.loads(done.stdout)["clips"]]

    def compare(self, name, reference):
        """@return PSNR and SSIM of each clip"""
        out = []
        for a, b in zip(self.clips(name), self.clips(reference), strict=True):
            a, b = (torch.tensor(v, device=self.device) for v in (a, b))
            out.append((psnr(a, b), ssim(a, b)))
        return out


# ---- the table ----

def share(results, attributes=ATTRIBUTES):
    """Percent of the attributes that are right"""
    found = [ok for r in results for a, ok in r.items() if a in attributes]
    return f"{100 * sum(found) / len(found):.1f}" if found else "-"


def change(results, before):
    """Difference of share(), in points, and its standard error, from the differences of the single clips"""
    d = np.array([sum(a.values()) - sum(b.values()) for a, b in zip(results, before, strict=True)])
    scale = 100 * len(d) / sum(len(r) for r in results)
    error = f" ± {scale * d.std(ddof=1) / len(d) ** 0.5:.1f}" if len(d) > 1 else ""
    return f"{scale * d.mean():+.1f}{error}"


def line(*cells):
    return "| " + " | ".join(cells) + " |\n"


def head(*cells):
    return line(*cells) + "|---" + "|--:" * (len(cells) - 1) + "|\n"


def markdown(found):
    out = head("setting", "attributes right, %", "change", "from", "whole clips right, %",
               *(f"PSNR, SSIM to {r}" for r in REFERENCES), "ms a clip", "transformer")
    for name, f in found.items():
        row, results = ROWS[name], f["results"]
        cells = [row.title, share(results)]
        cells += [change(results, found[row.before]["results"]), row.before] if row.before in found else ["", ""]
        cells.append(f"{100 * sum(all(r.values()) for r in results) / len(results):.1f}")
        for reference in REFERENCES:
            pairs = f["compared"].get(reference)
            cells.append("{:.2f}, {:.4f}".format(*np.mean(pairs, axis=0)) if pairs else "")
        clips = f["td"][1:] or f["td"]           # the first one warms up
        cells += [f"{1000 * statistics.median(c[k] for c in clips):.1f}" if clips else ""
                  for k in ("wall_seconds", "denoise_seconds")]
        out += line(*cells)
    told = [a for a in ATTRIBUTES if any(a in r for f in found.values() for r in f["results"])]
    out += "\n" + head("right, %", *told)
    for name, f in found.items():
        out += line(ROWS[name].title, *(share(f["results"], (a,)) for a in told))
    return out


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--td", default="build/td")
    ap.add_argument("--state", required=True, help="directory of train.py")
    ap.add_argument("--out", required=True, help="directory for table.md and table.json")
    ap.add_argument("-n", type=int, default=200, help="prompts")
    ap.add_argument("--wording", choices=["plain", "mixed", "new"], default="mixed", help="of prompts: as in scenes.py")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--rows", default=",".join(ROWS), help=f"some of {','.join(ROWS)}")
    ap.add_argument("--backend", default="cuda", choices=["cuda", "cpu"])
    ap.add_argument("--gpus", type=int, default=1, help="rows at a time")
    args = ap.parse_args()
    rows, start = args.rows.split(","), time.time()
    if unknown := set(rows) - set(ROWS):
        sys.exit(f"--rows: no {', '.join(unknown)}; want some of {', '.join(ROWS)}")
    os.makedirs(args.out, exist_ok=True)
    found = {}
    with tempfile.TemporaryDirectory() as work:
        bench = Bench(args, work)
        if {"data", "vae"} & set(rows):
            bench.render()
        rows = [n for n in ROWS if n in rows]
        pool = concurrent.futures.ThreadPoolExecutor(max_workers=args.gpus + 1)    # one may score meanwhile
        for name, made in zip(rows, [pool.submit(bench.make, n) for n in rows]):
            try:
                f = dict(zip(("td", "results"), made.result()))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
            references = REFERENCES[1:] if ROWS[name].options else REFERENCES[:1]
            f["compared"] = {r: bench.compare(name, r) for r in references if r in found}
            found[name] = f
            with open(os.path.join(args.out, "table.md"), "w", encoding="utf-8") as out:
                out.write(markdown(found))
            with open(os.path.join(args.out, "table.json"), "w", encoding="utf-8") as out:
                json.dump({"prompts": bench.texts, "seed": args.seed, "rows": found}, out)
            print(f"[{time.time() - start:6.1f}s] {name}: {share(f['results'])} % right", flush=True)
    print(markdown(found))


if __name__ == "__main__":
    main()
