# SPDX-License-Identifier: BSD-2-Clause
"""Muon (Keller Jordan, 2024): momentum, made orthogonal, for the matrices inside a network; AdamW for all else.

A step changes every direction of a matrix by the same amount, so that no direction starves beside stronger ones.
Matrices of one shape are worked on as one batch. The polynomial is Jordan's.

A text encoder's are left to AdamW: umT5 does not normalise q and k, and steps that never get smaller make them so large
that each row attends to one other alone, whatever its place. Its biases of relative places learn 20 times as fast; they
have to become as large as the scores.
"""

import torch

from text import TextEncoder


def orthogonal(g, rounds=5):
    """[n,rows,columns] -> nearly U V' of each matrix U S V'; singular values in 0.7..1.2"""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.to(torch.bfloat16) if g.is_cuda else g
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    for _ in range(rounds):
        s = x @ x.mT
        x = a * x + (b * s + c * s @ s) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    def __init__(self, nets, shares, lr=0.0, momentum=0.95, adam_share=0.05):
        """lr: of Muon; AdamW's is adam_share of it. shares: of these rates, one for each net"""
        inside, rest = [], {}                         # matrices and their share; share: the others
        for net, share in zip(nets, shares, strict=True):
            for name, p in net.named_parameters():
                plain = p.ndim >= 2 and min(p.shape[0], p[0].numel()) >= 16 and not name.startswith("head")
                plain = plain and not any(w in name for w in ("norm", "modulation", "embedding", "time_proj", "proj_l"))
                if plain and not isinstance(net, TextEncoder):
                    inside.append((p, share))
                else:
                    rest.setdefault(share * (20 if "pos_embedding" in name else 1), []).append(p)
        # on a GPU rates are there, too: a step can be recorded as a CUDA graph
        rest = [{"params": p, "share": share} for share, p in rest.items()]
        device = rest[0]["params"][0].device
        cuda = device.type == "cuda"
        rate = lambda v: torch.tensor(v, device=device) if cuda else v  # noqa: E731
        self.lr = rate(lr)
        for g in rest:
            g["lr"] = rate(lr * adam_share * g["share"])
        self.adam = torch.optim.AdamW(rest, betas=(0.9, 0.95), weight_decay=0.0, fused=cuda, capturable=cuda)
        self.adam_share, self.share = adam_share, dict(inside)
        super().__init__([{"params": list(self.share), "momentum": momentum},
                          {"params": [p for g in rest for p in g["params"]]}], {})

    def set_lr(self, lr):
        self.lr = self.lr.fill_(lr) if torch.is_tensor(self.lr) else lr
        for g in self.adam.param_groups:
            adam_lr = lr * self.adam_share * g["share"]
            g["lr"] = g["lr"].fill_(adam_lr) if torch.is_tensor(g["lr"]) else adam_lr

    @torch.no_grad()
    def step(self):
        group = self.param_groups[0]
        self.adam.step()
        shapes = {}
        for p in group["params"]:
            if p.grad is not None:
                shapes.setdefault((p.flatten(1).shape, self.share[p]), []).append(p)
        for (shape, share), alike in shapes.items():
            grads = [p.grad for p in alike]
            for p in alike:
                if "mean" not in self.state[p]:
                    self.state[p]["mean"] = torch.zeros_like(p)
            means = [self.state[p]["mean"] for p in alike]
            torch._foreach_lerp_(means, grads, 1 - group["momentum"])
            ahead = torch._foreach_lerp(grads, means, group["momentum"])
            steps = orthogonal(torch.stack([a.flatten(1) for a in ahead])).float()
            steps *= -self.lr * share * max(1, shape[0] / shape[1]) ** 0.5
            torch._foreach_add_(alike, [s.view_as(p) for s, p in zip(steps.unbind(), alike)])
