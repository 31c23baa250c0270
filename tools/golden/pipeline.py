# SPDX-License-Identifier: BSD-2-Clause
"""Runs the official inference scripts themselves, from prompt embedding to bytes, with the networks, the noise and the
writer handed in. Nothing of their loop is restated here."""
import os
import runpy
import sys
import tempfile

import numpy as np
import torch
from PIL import Image

BF16 = torch.bfloat16


def bf16_values(t):
    """Numbers rounded to float32, then to bf16, whatever mode is active; same dtype as given."""
    u = t.numpy().astype(np.float32).view(np.uint32)
    u = (u + np.uint32(0x7fff) + (u >> np.uint32(16) & np.uint32(1))) & np.uint32(0xffff0000)
    return torch.from_numpy(u.view(np.float32).astype(np.float64)).type(t.dtype)


class Bf16Time(torch.nn.Module):
    """A float64 network that sees the same timestep as the bf16 one."""
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, timesteps_B_T, **kw):
        return self.net(timesteps_B_T=bf16_values(timesteps_B_T), **kw)


class Tokenizer:
    """The latent codec the scripts see."""
    latent_ch, spatial_compression_factor = 16, 8

    def __init__(self, vae, record):
        self.vae, self.record = vae, record

    def get_latent_num_frames(self, n):
        return 1 + (n - 1) // 4

    def encode(self, video):
        latent = self.vae.encode(video)
        self.record["latent"] = latent
        return latent

    def decode(self, z):
        self.record["samples"] = z
        return self.vae.decode(z) if self.vae else torch.zeros(1, 3, 2, 8, 8)


def run(root, script, nets, vae, emb, size=(96, 64), n_frames=17, steps=4, noise=None, args=(), image=None,
        device="cpu"):
    """One clip. nets: list in the order the script creates them; noise: list of draws, or None for torch's own with
    seed 0. @return dict with noise, samples, frames (and latent for image input)"""
    import imaginaire.utils.io as out
    import modify_model
    import rcm.datasets.utils
    import rcm.tokenizers.wan2pt1
    import rcm.utils.umt5
    record = {"noise": []}
    queue = list(nets)
    official_randn = torch.randn

    def randn(*shape, **kw):
        x = official_randn(*shape, **kw) if noise is None else noise[len(record["noise"])].reshape(shape).clone()
        record["noise"].append(x.cpu())
        return x

    rcm.datasets.utils.VIDEO_RES_SIZE_INFO["small"] = {"any": size}
    rcm.utils.umt5.get_umt5_embedding = lambda checkpoint_path, prompts: emb[None]
    rcm.utils.umt5.clear_umt5_memory = lambda: None
    modify_model.tensor_kwargs = {"device": device, "dtype": BF16}
    modify_model.create_model = lambda dit_path, args: queue.pop(0)
    rcm.tokenizers.wan2pt1.Wan2pt1VAEInterface = lambda **kw: Tokenizer(vae, record)
    out.easy_io.dump = lambda obj, *a, **kw: record.__setitem__("frames", torch.from_numpy(np.array(obj)))
    argv = [script, "--prompt=x", "--resolution=small", "--aspect_ratio=any", f"--num_frames={n_frames}",
            f"--num_steps={steps}", "--save_path=x.mp4", *args]
    path = None
    if image is not None:
        handle, path = tempfile.mkstemp(suffix=".png")
        os.close(handle)
        Image.fromarray(image.numpy()).save(path)
        argv += [f"--image_path={path}", "--high_noise_model_path=x", "--low_noise_model_path=x"]
    else:
        argv += ["--dit_path=x"]
    saved, sys.argv, torch.randn = sys.argv, argv, randn
    try:
        runpy.run_path(os.path.join(root, "turbodiffusion", "inference", script), run_name="__main__")
    finally:
        sys.argv, torch.randn = saved, official_randn
        if path:
            os.remove(path)
    return record
