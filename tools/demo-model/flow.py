# SPDX-License-Identifier: BSD-2-Clause
"""The straight flow from clips x0 [B,...] to noise eps: at time t [B] it is at (1 - t) x0 + t eps, its velocity eps - x0."""

import torch


def wide(t):
    """[B] -> [B,1,1,1,1]"""
    return t.view(-1, 1, 1, 1, 1)


def at(t, x0, eps):
    t = wide(t)
    return (1 - t) * x0 + t * eps


def end(t, x, v):
    """Where the straight line through x with the velocity v ends"""
    return x - wide(t) * v


def times(n, device, margin=0):
    """Random ones [n], shifted by 3 towards noise; margin: of what is shifted, to 0 and to 1"""
    u = margin + (1 - 2 * margin) * torch.rand(n, device=device)
    return 3 * u / (1 + 2 * u)
