#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Write tests/golden/vae_tiny.safetensors: what the upstream class of the tiny VAE computes from the weights of
`tdsynth --seed=1 --only=vae --vae=tiny`. NAME.official is the class in bfloat16, NAME.exact in float64; inputs are
bfloat16 numbers. Videos are [3,F,H,W], decoded ones in 0..1 before they are clamped.

video, latent: the latents of taew2_1. latent_still: of a picture that grey frames follow. light, light_latent: those of
lighttaew2_1, which are Wan's, with mean and deviation, as the transformer's are without.

usage: tiny_golden.py DIR WEIGHTS OUT     DIR: a checkout of madebyollin/taehv
"""
import sys

import torch

import store

sys.path.insert(0, sys.argv[1])
import taehv  # noqa: E402

MEAN = [-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
        0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921]
STD = [2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
       3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160]
BF16 = torch.bfloat16


def model(path, dtype):
    m = taehv.TAEHV(checkpoint_path=None)
    m.load_state_dict(torch.load(path, weights_only=True))
    m.postprocess_output_frames = lambda x: x             # which clamps
    return m.to(dtype)


def channels(x):
    return x.movedim(0, 1)


def statistics(dtype):
    """Wan's, in the chain of its VAE: the reciprocal of the deviation is a bfloat16 number, too"""
    inverse = 1 / torch.tensor(STD, dtype=BF16)
    return torch.tensor(MEAN, dtype=BF16).to(dtype).view(16, 1, 1, 1), inverse.to(dtype).view(16, 1, 1, 1)


@torch.no_grad()
def main():
    gen = torch.Generator().manual_seed(0)
    z = torch.randn(16, 3, 4, 6, generator=gen).to(BF16)
    frames = torch.rand(3, 9, 32, 48, generator=gen).to(BF16)
    still = torch.full((3, 49, 16, 16), 0.5, dtype=BF16)
    image = torch.randint(0, 256, (16, 16, 3), generator=gen, dtype=torch.uint8)
    still[:, 0] = (image / 255).movedim(2, 0)
    out = {"z": z.float(), "frames": frames.float(), "picture": still[:, 0].float(), "image": image}
    for name, dtype in (("official", BF16), ("exact", torch.float64)):
        m = model(sys.argv[2], dtype)
        mean, inverse = statistics(dtype)

        def decode(x):
            return channels(m.decode_video(channels(x)[None], show_progress_bar=False)[0]).float()

        def encode(x):
            return channels(m.encode_video(channels(x.to(dtype))[None], show_progress_bar=False)[0])

        out[f"video.{name}"] = decode(z.to(dtype))
        out[f"light.{name}"] = decode(z[:, :1].to(dtype) / inverse + mean)
        out[f"latent.{name}"] = encode(frames).float()
        out[f"light_latent.{name}"] = ((encode(frames) - mean) * inverse).float()
        out[f"latent_still.{name}"] = encode(still).float()
    for name in ("video", "light", "latent", "light_latent", "latent_still"):
        a, b = out[f"{name}.official"].double(), out[f"{name}.exact"].double()
        print(f"{name:14} {(a - b).norm() / b.norm():.3e}  rms {b.square().mean().sqrt():.3g}")
    store.save(sys.argv[3], out, {"upstream": "madebyollin/taehv", "torch": torch.__version__,
                                  "weights": "tdsynth --seed=1 --only=vae --vae=tiny"})


if __name__ == "__main__":
    main()
