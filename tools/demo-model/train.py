#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Train the demo model: a small text-to-video model of Wan's architecture, on the scenes of scenes.py. Needs a GPU.

usage: train.py --state=DIR STAGE[=SECONDS] ...        e.g. train.py --state=/tmp/demo vae=200 latents=80 text=30 teacher=330
On N GPUs: torchrun --nproc-per-node=N train.py ...    each draws its share of a batch, gradients are averaged

Stages, in order; each goes on from what the one before left in DIR, or from its own last checkpoint:
  vae      the autoencoder, on parts of clips: L1, L1 of differences between neighbours, a weak KL term;
           its first latents are scaled to the official statistics
  encoder  the autoencoder's encoder alone goes on, for small stars: its decoder, all of it that text to video sees, stays.
           Image to video has to learn its latents anew: i2v_latents, i2v_direct
  latents  clips as latents of that autoencoder, with their captions: the data of all later stages
  text     the text encoder, anew, with a small network that tells the attributes of scenes from what it makes of their
           captions, half of them in further wordings; some minutes of a CPU are enough
  reword   instead of stage text: the text encoder goes on learning further wordings, for the transformer of stage teacher
           as it is: rewording.py
  agree    after shipped and reword, instead of all that follows: the student learns to make the same clips of further
           wordings, in blocks of 128x64 and in int8, from what it makes of plain captions with dense attention: agree.py
  teacher  the transformer, by flow matching with dense attention; a tenth without caption
  sla      a copy of the transformer learns the teacher's guided velocity with sparse-linear attention
  student  consistency distillation of that copy along the teacher's guided flow; the times of the official sampler are
           on its grid and are drawn more often
  dmd      distribution matching distillation (Yin et al., 2024) of that student, on the clips that its own few steps
           make: a further transformer learns their distribution, and the student goes where the teacher's is denser
           All three students learn SLA in blocks of 64x128 and 128x64 and dense attention, a third of the steps each
  shipped  instead of stage vae: goes on from the model that is in the repository, its student as the first teacher and as
           what stage student left, i2v_student too; stage sla may then be left out. Words that are new to it stage reword
           has to teach
  export   the files of model directories, under the official names: DIR/teacher, DIR/model after stage dmd or student
           and DIR/i2v after stage i2v_dmd or i2v_student
  sheet    pictures of held-out prompts, by all transformers that are there, in DIR/sheet-*.png
  judge    how much is right of 200 held-out prompts, half of them in held-out wordings, with each kind of attention, in
           bfloat16 and in int8, and of clips from the first frames of those scenes
  pack     pack=FILE: what later stages go on from in one file of at most 60 MB, without clips
  unpack   unpack=FILE: the reverse, into DIR, on another day

Image to video, after stages vae and teacher or shipped; the text encoder stays as it is:
  i2v_latents  clips as stage latents has them, each with the condition that its first frame makes, for every second lot a
               frame that the student of an earlier day made, as in chains of clips: pictures.py
  i2v          what i2v_student left, or the teacher, with 20 more input channels, for the condition; flow matching, a tenth without caption
  i2v_sla      as stage sla; may be left out
  i2v_student  as stage student, along that teacher's flow
  i2v_dmd      as stage dmd
  i2v_direct   instead of all these but i2v_latents, or after them: the few-step student learns the clips themselves at the
               official times, in int8. Where the first frame and the caption are known, little is left to chance. An hour
               of a CPU will do (--batch=8)

The learning rate follows the share of SECONDS that has passed. Seeds are fixed; sums on a GPU are not. Stages save what
they have every 500 steps.
"""

import argparse
import functools
import os
import sys

import ranks                                          # before torch: it says which GPU is this process's
import torch

import agree
import autoencoder
import judge
import pack
import reading
import results
import rewording
import student
import teacher
from ranks import RANK, say
from state import I2V, State

STAGES = {"vae": autoencoder.train, "encoder": autoencoder.encoder, "latents": autoencoder.latents, "text": reading.train,
          "reword": rewording.train, "agree": agree.train, "teacher": teacher.train,
          "sla": student.sla, "student": student.consistency, "dmd": student.dmd, "i2v": student.i2v_teacher,
          "i2v_direct": student.i2v_direct}
STAGES |= {f"i2v_{name}": functools.partial(STAGES[name], kind=I2V) for name in ("latents", "sla", "student", "dmd")}
AT_ONCE = {"shipped": results.shipped, "export": results.export, "sheet": results.sheet, "judge": judge.judge}
FILES = {"pack": pack.pack, "unpack": pack.unpack}


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--state", required=True)
    p.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    p.add_argument("--batch", type=int, help="clips a step, instead of the stage's own number")
    p.add_argument("--day", type=int, default=0, help="another number: other scenes and noise, to go on with")
    p.add_argument("stage", nargs="+")
    args = p.parse_args()
    for word in args.stage:                               # a word that is wrong is not told after an hour
        name, _, value = word.partition("=")
        if not (name in STAGES and value.isdecimal() or word in AT_ONCE or name in FILES and value):
            sys.exit(f"{word}: want {'=SECONDS, '.join(STAGES)}=SECONDS, {'=FILE, '.join(FILES)}=FILE, "
                     f"{', '.join(AT_ONCE)}")
        if name == "unpack" and not os.path.exists(value):
            sys.exit(f"{value}: no such file, want one of stage pack")
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    torch._dynamo.config.suppress_errors = True           # what cannot be compiled runs as it is
    torch._dynamo.config.recompile_limit = 64
    ranks.begin(args.device, args.day)
    state = State(args.state, args.device, args.batch)
    for word in args.stage:
        torch._dynamo.reset()
        name, _, value = word.partition("=")
        say(name)
        if name in STAGES:
            STAGES[name](state, float(value))
        elif name in FILES and RANK == 0:
            FILES[name](state, value)
        elif name == "shipped" or name in AT_ONCE and RANK == 0:
            AT_ONCE[name](state)
        ranks.wait()
    ranks.end()


if __name__ == "__main__":
    main()
