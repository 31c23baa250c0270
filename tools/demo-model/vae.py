# SPDX-License-Identifier: BSD-2-Clause
"""The Wan 2.1 causal video VAE of any width, for training: whole clips of 4n+1 frames, the official tensor names.

The official code works in chunks with caches; over a whole clip that is a causal convolution with zeros before it,
except that the first frame passes the layers which change the frame rate untouched. Latents are normalised with the
official table; fit_statistics() moves scale and offset of each channel into conv1 and conv2 so that they fit it.
"""

import functools

import torch
import torch.nn.functional as F
from torch import nn

MEAN = (-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
        0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921)
STD = (2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
       3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160)


@functools.cache                                      # a CUDA graph can have no copy from the host
def table(device):
    """mean, std [16]"""
    return tuple(torch.tensor(v, device=device) for v in (MEAN, STD))


class Causal(nn.Conv3d):
    """3x3x3, zeros before the first frame"""

    def __init__(self, c_in, c_out):
        super().__init__(c_in, c_out, 3, padding=(2, 1, 1))

    def forward(self, x):
        return super().forward(x)[:, :, : x.shape[2]]


def normalise(x, gamma):
    return (F.normalize(x.float(), dim=1) * (x.shape[1] ** 0.5 * gamma.view(-1, *[1] * (x.ndim - 2)))).to(x.dtype)


fused = torch.compile(normalise, dynamic=True)       # the convolutions gain nothing from compilation


class Norm(nn.Module):
    """Of each pixel's channels"""

    def __init__(self, dim, extra=3):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim, *[1] * extra))

    def forward(self, x):
        return (fused if x.is_cuda and torch.is_grad_enabled() else normalise)(x, self.gamma)


class Residual(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.residual = nn.Sequential(Norm(c_in), nn.SiLU(), Causal(c_in, c_out),
                                      Norm(c_out), nn.SiLU(), nn.Identity(), Causal(c_out, c_out))
        self.shortcut = nn.Conv3d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x):
        return self.shortcut(x) + self.residual(x)


def per_frame(layer, x):
    """A 2D layer over the frames of [B,C,T,H,W]"""
    b, c, t, h, w = x.shape
    y = layer(x.transpose(1, 2).reshape(b * t, c, h, w))
    return y.view(b, t, *y.shape[1:]).transpose(1, 2)


class Attention(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm = Norm(dim, 2)
        self.to_qkv, self.proj = nn.Conv2d(dim, dim * 3, 1), nn.Conv2d(dim, dim, 1)

    def frame(self, x):
        n, c, h, w = x.shape
        q, k, v = self.to_qkv(self.norm(x)).view(n, 3, c, h * w).transpose(2, 3).unbind(1)
        o = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        return self.proj(o.transpose(1, 2).reshape(n, c, h, w))

    def forward(self, x):
        return x + per_frame(self.frame, x)


class Down(nn.Module):
    def __init__(self, dim, time):
        super().__init__()
        self.resample = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(dim, dim, 3, stride=2))
        if time:
            self.time_conv = nn.Conv3d(dim, dim, (3, 1, 1), stride=(2, 1, 1))

    def forward(self, x):
        x = per_frame(self.resample, x)
        if hasattr(self, "time_conv") and x.shape[2] > 1:
            x = torch.cat((x[:, :, :1], self.time_conv(x)), 2)
        return x


class Up(nn.Module):
    def __init__(self, dim, time):
        super().__init__()
        self.resample = nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest-exact"),
                                      nn.Conv2d(dim, dim // 2, 3, padding=1))
        if time:
            self.time_conv = nn.Conv3d(dim, dim * 2, (3, 1, 1), padding=(2, 0, 0))

    def forward(self, x):
        if hasattr(self, "time_conv") and x.shape[2] > 1:
            b, c, t, h, w = x.shape
            y = self.time_conv(x[:, :, 1:])[:, :, : t - 1].view(b, 2, c, t - 1, h, w)
            x = torch.cat((x[:, :, :1], y.permute(0, 2, 3, 1, 4, 5).reshape(b, c, 2 * t - 2, h, w)), 2)
        return per_frame(self.resample, x)


class Encoder(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.conv1 = Causal(3, d)
        self.downsamples = nn.Sequential(
            Residual(d, d), Residual(d, d), Down(d, False),
            Residual(d, 2 * d), Residual(2 * d, 2 * d), Down(2 * d, True),
            Residual(2 * d, 4 * d), Residual(4 * d, 4 * d), Down(4 * d, True),
            Residual(4 * d, 4 * d), Residual(4 * d, 4 * d))
        self.middle = nn.Sequential(Residual(4 * d, 4 * d), Attention(4 * d), Residual(4 * d, 4 * d))
        self.head = nn.Sequential(Norm(4 * d), nn.SiLU(), Causal(4 * d, 32))

    def forward(self, x):
        return self.head(self.middle(self.downsamples(self.conv1(x))))


class Decoder(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.conv1 = Causal(16, 4 * d)
        self.middle = nn.Sequential(Residual(4 * d, 4 * d), Attention(4 * d), Residual(4 * d, 4 * d))
        self.upsamples = nn.Sequential(
            *[Residual(4 * d, 4 * d) for _ in range(3)], Up(4 * d, True),
            Residual(2 * d, 4 * d), Residual(4 * d, 4 * d), Residual(4 * d, 4 * d), Up(4 * d, True),
            *[Residual(2 * d, 2 * d) for _ in range(3)], Up(2 * d, False),
            *[Residual(d, d) for _ in range(3)])
        self.head = nn.Sequential(Norm(d), nn.SiLU(), Causal(d, 3))

    def forward(self, x):
        return self.head(self.upsamples(self.middle(self.conv1(x))))


class Vae(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.encoder, self.conv1 = Encoder(dim), nn.Conv3d(32, 32, 1)
        self.conv2, self.decoder = nn.Conv3d(16, 16, 1), Decoder(dim)
        # Every norm divides by the length of a pixel's channels: a flat colour survives it only as a direction, beside
        # constants of like size. So the way past the residual branches starts as rotations, and the branches quiet.
        for name, m in self.named_modules():
            if isinstance(m, (nn.Conv2d, nn.Conv3d)):
                way = name.endswith(("shortcut", "resample.1", "coder.conv1")) or name in ("conv1", "conv2")
                quiet = 0.1 if way or name.endswith(("time_conv", "residual.6", "proj")) else 1.0
                nn.init.normal_(m.weight, std=quiet * m.weight[0].numel() ** -0.5)
                nn.init.zeros_(m.bias)
                tap = m.weight.data[:, :, -1] if m.weight.ndim == 5 else m.weight.data      # of three frames, the last
                if way:
                    tap[..., tap.shape[2] // 2, tap.shape[3] // 2] += nn.init.orthogonal_(torch.empty(tap.shape[:2]))
                elif name.endswith("time_conv"):                          # which the first frame passes untouched
                    tap[..., 0, 0] += torch.eye(tap.shape[1]).repeat(tap.shape[0] // tap.shape[1], 1)
        for first in (self.encoder.conv1, self.decoder.conv1):
            nn.init.uniform_(first.bias, -1, 1)

    @torch.no_grad()
    def start(self, mean, std):
        """Before training, mean and std [16] of moments() over the data: scales latents to the official table, and the
        decoder sees them normalised. Otherwise the first latents drown in noise."""
        self.fit_statistics(mean, std)
        self.conv1.weight[16:] *= 0.1
        self.conv1.bias[16:] = -6.0
        mean, std = table(mean.device)
        weight = nn.init.orthogonal_(torch.empty_like(self.conv2.weight[..., 0, 0, 0])) / std
        self.conv2.weight[..., 0, 0, 0], self.conv2.bias[:] = weight, -weight @ mean

    def moments(self, video):
        """[B,3,4n+1,H,W] in [-1,1] -> mean and log variance, [B,16,n+1,H/8,W/8] each"""
        return self.conv1(self.encoder(video)).chunk(2, 1)

    def generate(self, z):
        """z: as moments() gives it, not normalised"""
        return self.decoder(self.conv2(z))

    def normalised(self, mu):
        mean, std = (v.view(-1, 1, 1, 1) for v in table(mu.device))
        return (mu.float() - mean) / std

    def encode(self, video):
        """-> normalised latent, float32"""
        return self.normalised(self.moments(video)[0])

    def decode(self, latent):
        mean, std = (v.view(-1, 1, 1, 1) for v in table(latent.device))
        return self.generate((latent * std + mean).to(self.conv2.weight.dtype))

    @torch.no_grad()
    def fit_statistics(self, mean, std):
        """mean, std [16]: of moments() over the data. Afterwards they are the table's; reconstructions stay."""
        want_mean, want_std = table(mean.device)
        scale = want_std / std
        self.conv1.weight[:16] *= scale.view(-1, 1, 1, 1, 1)
        self.conv1.bias[:16] = (self.conv1.bias[:16] - mean) * scale + want_mean
        self.conv2.bias += (self.conv2.weight[:, :, 0, 0, 0] @ (mean - want_mean / scale))
        self.conv2.weight /= scale.view(1, -1, 1, 1, 1)
