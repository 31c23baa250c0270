# SPDX-License-Identifier: BSD-2-Clause
"""The picture that image to video begins with: the condition that it makes, and pictures as a chain of clips has them."""

import dataclasses

import numpy as np
import torch
import torch.nn.functional as F

import flow
import scenes
from dit import Tiles
from language import BACKGROUNDS, MOTIONS
from state import BF16, I2V, SPARSE_BLOCKS, TOKENS, TOPK

OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up", "grow": "shrink", "shrink": "grow"}
FADES = np.array([texture == "fade" for _, _, texture in BACKGROUNDS.values()])
LAST_STEPS = 2                                        # that the student makes: what came before them tells where shapes are


def first_frame(vae, video, first=None):
    """[B,3,T,H,W] -> latents [B,16,t,h,w] of its first frame, or of another one [B,3,1,H,W], with grey ones after it"""
    first = video[:, :, :1] if first is None else first
    return vae.encode(torch.cat((first, torch.zeros_like(video[:, :, 1:])), 2))


def condition(latent):
    """first_frame()'s -> what follows the channels of noise, in the official order [B,20,t,h,w]: four times whether a
    frame is known, then these latents"""
    return torch.cat((F.pad(torch.ones_like(latent[:, :4, :1]), (0, 0, 0, 0, 0, latent.shape[2] - 1)), latent), 1)


def backwards(s):
    """Scenes as their captions shall tell them from the end to the beginning"""
    motion = np.array([MOTIONS.index(OPPOSITE.get(m, m)) for m in MOTIONS])[s.motion]
    return dataclasses.replace(s, motion=motion, position=np.zeros_like(s.position))


class Student:
    """Makes first frames that are not drawn, but the end of a clip. What has learned from such goes on with shapes as they were
    drawn, and in a chain they do not wear off"""

    def __init__(self, state, vae):
        self.state, self.vae = state, vae
        self.net, self.text = state.pair(I2V)
        self.net.rounds(True)
        # the student, this day's rather than the one before, and the text encoder that it read
        self.is_there = any(state.load(name, dit=self.net) and state.load(read, text=self.text)
                            for name, read in (("i2v_direct", "teacher"), ("i2v_student", "unreworded")))
        self.tiles = Tiles(TOKENS, TOPK[0], *SPARSE_BLOCKS[0], state.device)
        self.times = torch.tensor(I2V.times()[-LAST_STEPS:], dtype=torch.float32, device=state.device)

    @torch.no_grad()
    @torch.compiler.set_stance("force_eager")
    def first_frames(self, s, video):
        """Of scenes and their clips [B,3,T,H,W] -> [B,3,1,H,W]: the clips from the end to the beginning, as the student makes
        them of their last frame. What the student knows one way round alone stays as it is drawn: a sky that darkens, turns"""
        ids, lengths = (x.to(self.state.device) for x in scenes.tokens(scenes.captions(backwards(s))))
        back = video.flip(2)
        y = condition(first_frame(self.vae, back).float())
        x0 = self.vae.encode(back).float()
        emb = self.text(ids, lengths)
        for t in self.times:
            t = t.expand(len(x0))
            x = flow.at(t, x0, torch.randn_like(x0))
            with self.state.autocast():
                v = self.net(x, t, emb, lengths, self.tiles, y)
            x0 = flow.end(t, x, v.float())
        made = self.vae.decode(x0.to(BF16))[:, :, -1:].clamp(-1, 1).to(video.dtype)
        drawn = torch.from_numpy(FADES[s.background] | (s.turn > 0)).to(self.state.device).view(-1, 1, 1, 1, 1)
        return torch.where(drawn, video[:, :, :1], made)
