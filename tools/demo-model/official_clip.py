#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Clips from the demo model's files by the official code, and the same by td: does the official pipeline load them as
they are, and do both make the same clip?

usage: official_clip.py --official=DIR --model=DIR --prompt=TEXT [--prompt=TEXT ...] [--seed=0] [--out=OFFICIAL.rgb]
                        [--attention=sagesla] [--topk=F] [--quant=int8] [--td=build/td] [--device=cuda]

--official is a checkout of TurboDiffusion. Its script wan2.1_t2v_infer.py runs from the prompt to the frames, with its
own tokenizer, text encoder, loader, transformer, attention, int8 linears, sampler, noise and VAE. Given to it are
    - the sizes of the networks, which it has as constants: printed as the first lines
    - the tokenizer's class and its pieces as JSON: transformers wants to read them from files beside spiece.model
    - the size of the frames, and, for the writer of an mp4, a function that keeps the frames
On a GPU nothing else is changed; its extensions (turbo_diffusion_ops, spas_sage_attn, flash_attn's rotary) must be
importable. --device=cpu --attention=sla: kernels are replaced by their formulas, as tools/golden/official.py has them.
--topk is by default the model's own. The official code has no least number of blocks: of the 6 that a clip has in its
SageSLA on Hopper, topk 0.1 would keep none, where td keeps one.
Prompt k has seed --seed + k. The same torch.randn makes the noise of both; on a GPU td follows the one at hand.
"""
import argparse
import functools
import os
import runpy
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import torch

from metrics import psnr, ssim
from score import score
from state import TOPK

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(HERE, "..", "golden"))
sys.setdlopenflags(os.RTLD_LAZY)        # the sparse attention module may hold only the variants used here
import modes  # noqa: E402
import official  # noqa: E402
from reference import HOPPER  # noqa: E402

SIZE, FRAMES = 192, 17
SCRIPT = "wan2.1_t2v_infer.py"


def sizes(files):
    """What the official classes have as constants, read from the shapes of the files' tensors"""
    dit, text, vae = (official.read(files[name]) for name in ("dit", "text", "vae"))
    blocks = lambda sd: 1 + max(int(k.split(".")[1]) for k in sd if k.startswith("blocks."))  # noqa: E731
    dim, first = dit["patch_embedding.weight"].shape[0], "blocks.0.ffn.0."
    vocab, text_dim = text["token_embedding.weight"].shape
    return {"dit": {"dim": dim, "num_heads": dim // 128, "num_layers": blocks(dit), "text_dim": text_dim,
                    "ffn_dim": dit[first + ("int8_weight" if first + "int8_weight" in dit else "weight")].shape[0]},
            "text": {"vocab_size": vocab, "dim": text_dim, "dim_attn": text["blocks.0.attn.q.weight"].shape[0],
                     "dim_ffn": text["blocks.0.ffn.fc1.weight"].shape[0], "encoder_layers": blocks(text),
                     "num_heads": text["blocks.0.pos_embedding.embedding.weight"].shape[1]},
            "vae": {"dim": vae["encoder.conv1.weight"].shape[0]}}


def give_sizes(found):
    import modify_model
    import rcm.datasets.utils
    from rcm.networks import wan2pt1
    from rcm.tokenizers import wan2pt1 as tokenizer
    from rcm.utils import umt5

    modify_model.select_model = lambda name: wan2pt1.WanModel(
        model_type="t2v", in_dim=16, out_dim=16, freq_dim=256, text_len=512, eps=1e-6, **found["dit"])
    umt5.umt5_xxl = functools.partial(umt5.umt5_xxl, **found["text"])
    tokenizer._video_vae = functools.partial(tokenizer._video_vae, **found["vae"])
    rcm.datasets.utils.VIDEO_RES_SIZE_INFO["demo"] = {"1:1": (SIZE, SIZE)}


def give_tokenizer(model, directory):
    """Files that transformers builds its tokenizer from. It reads spiece.model itself only if that has a character map,
    which the demo model's has not."""
    from sentencepiece import SentencePieceProcessor
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    shutil.copytree(os.path.join(model, "google", "umt5-xxl"), directory)
    with open(os.path.join(directory, "tokenizer_config.json"), "w", encoding="ascii") as f:
        f.write('{"tokenizer_class": "T5Tokenizer", "extra_ids": 300}\n')
    sp = SentencePieceProcessor(os.path.join(directory, "spiece.model"))
    pieces = [(sp.id_to_piece(i), sp.get_score(i)) for i in range(sp.get_piece_size())]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=sp.unk_id(), byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single=["$A", "</s>"],
                                                             special_tokens=[("</s>", sp.eos_id())])
    tokenizer.save(os.path.join(directory, "tokenizer.json"))


def give_cpu():
    """The device, where the official code names a GPU; layers of float32 autocast regions as float32"""
    import modify_model
    from imaginaire.utils.easy_io import easy_io
    from rcm.tokenizers import wan2pt1 as tokenizer
    from rcm.utils import umt5

    load, create = easy_io.load, modify_model.create_model

    def on_cpu(*args, map_location=None, **kw):
        return load(*args, map_location="cpu", **kw)

    def with_float32(**kw):
        net = create(**kw)
        for layer in (net.time_embedding, net.time_projection, net.head.head):
            layer.float()
        return net

    easy_io.load, modify_model.create_model = on_cpu, with_float32
    modify_model.tensor_kwargs = {"device": "cpu", "dtype": torch.bfloat16}
    umt5.get_umt5_embedding = functools.partial(umt5.get_umt5_embedding, device="cpu")
    tokenizer.WanVAE = functools.partial(tokenizer.WanVAE, device="cpu")


def official_clip(args, files, prompt, seed):
    """uint8 [T, H, W, 3]; the working directory holds the tokenizer"""
    from imaginaire.utils.easy_io import easy_io

    frames = []
    easy_io.dump = lambda clip, *unused, **kw: frames.append(clip)
    sys.argv = [SCRIPT, "--prompt", prompt, "--resolution=demo", "--aspect_ratio=1:1", f"--num_frames={FRAMES}",
                f"--seed={seed}", f"--attention_type={args.attention}", f"--sla_topk={args.topk}",
                "--dit_path", files["dit"], "--text_encoder_path", files["text"], "--vae_path", files["vae"],
                *(["--quant_linear"] if args.quant == "int8" else [])]
    with modes.GpuRounding() if args.device == "cpu" else torch.overrides.BaseTorchFunctionMode():
        runpy.run_path(os.path.join(args.official, "turbodiffusion", "inference", SCRIPT), run_name="__main__")
    return torch.from_numpy(np.ascontiguousarray(frames[0]))


def our_clips(args, work):
    """uint8 [prompts, T, H, W, 3]"""
    prompts, out = os.path.join(work, "prompts.txt"), os.path.join(work, "td.rgb")
    with open(prompts, "w", encoding="utf-8") as f:
        f.write("".join(p + "\n" for p in args.prompt))
    bq, bk = HOPPER[args.attention]
    library = os.pathsep.join(filter(None, (os.path.dirname(args.td), os.environ.get("LD_LIBRARY_PATH"))))
    subprocess.run([args.td, "-B", args.device, "-s", f"{SIZE}x{SIZE}", "-n", str(FRAMES), "-r", str(args.seed), "-a",
                    args.attention, "-k", str(args.topk), "-b", f"{bq}x{bk}", "-q", args.quant, "-R",
                    "cpu" if args.device == "cpu" else "auto", "-P", args.model, prompts, out], check=True,
                   env={**os.environ, "LD_LIBRARY_PATH": library})
    return torch.from_numpy(np.fromfile(out, np.uint8)).view(-1, FRAMES, SIZE, SIZE, 3)


def judged(prompt, clip):
    found = score(prompt, clip.numpy())
    return f"{sum(found.values())} of {len(found)}"


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--official", required=True)
    ap.add_argument("--model", required=True)
    ap.add_argument("--prompt", required=True, action="append")
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--out", help="file for the official code's clips, one after another")
    ap.add_argument("--attention", default="sagesla", choices=list(HOPPER))
    ap.add_argument("--topk", type=float, default=TOPK[0])
    ap.add_argument("--quant", default="int8", choices=["int8", "none"])
    ap.add_argument("--td", default="build/td")
    ap.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    args = ap.parse_args()
    if args.device == "cpu" and args.attention == "sagesla":
        sys.exit("--attention=sagesla: its official kernels have no formula on the CPU; want sla")
    for name in ("official", "model", "td"):
        setattr(args, name, os.path.abspath(getattr(args, name)))
    patterns = {"dit": "TurboWan*-demo-quant.pth" if args.quant == "int8" else "TurboWan*-demo.pth",
                "text": "models_t5*.pth", "vae": "*VAE.pth"}
    files = {name: official.find(args.model, pattern) for name, pattern in patterns.items()}
    official.setup(args.official, gpu=args.device == "cuda")
    found = sizes(files)
    for name, values in found.items():
        print(f"{name}: {', '.join(f'{k} {v}' for k, v in values.items())}", flush=True)
    give_sizes(found)
    if args.device == "cpu":
        give_cpu()
    with tempfile.TemporaryDirectory() as work:
        ours = our_clips(args, work)
        give_tokenizer(args.model, os.path.join(work, "google", "umt5-xxl"))
        here = os.getcwd()
        os.chdir(work)                  # where the official code finds google/umt5-xxl
        theirs = [official_clip(args, files, p, args.seed + k) for k, p in enumerate(args.prompt)]
        os.chdir(here)
    if args.out:
        torch.stack(theirs).numpy().tofile(args.out)
    for k, (prompt, a, b) in enumerate(zip(args.prompt, ours, theirs, strict=True)):
        print(f"seed {args.seed + k}: PSNR {psnr(a, b):.2f} dB, SSIM {ssim(a, b):.4f}, attributes right: td "
              f"{judged(prompt, a)}, official {judged(prompt, b)}: {prompt}", flush=True)


if __name__ == "__main__":
    main()
