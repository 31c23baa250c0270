#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Scenes of moving shapes with captions: the training data of the demo model (192x192, 17 frames, 16 fps).

    rng = numpy.random.default_rng(1)
    s = scenes.sample(64, rng)                     # numpy arrays, a row for each scene; s.take(rows)
    text = scenes.captions(s)                      # English, lower case, at most 24 words; fixed by the scene
    ids, lengths = scenes.tokens(text)             # int64 [64, 32] and [64], the ids of spiece.model, </s> included
    video = scenes.render(s, "cuda")               # [64, 3, 17, 192, 192] in [-1, 1], on the device
    text = scenes.prompts(s, "mixed")              # every second one as people type it: wordings.py

A tenth of the combinations (shape, colour, motion, background) is reserved: sample() never gives them,
sample(held_out=True) gives only them, None gives all. sample(attribute=name) fixes an attribute, e.g.
sample(9, rng, shape="star").
`scenes.py OUT.rgb OUT.txt [-n N] [--seed N] [--held-out] [--wording=plain]` writes clips and captions as score.py reads
them.
"""
import argparse
import dataclasses
import math

import numpy as np
import torch

import wordings
from language import (BACKGROUND_PHRASES, BACKGROUNDS, COLOURS, COUNT_PHRASES, DIRECTION_PHRASES, FRAMES,
                      MOTION_PHRASES, MOTIONS, MOVE, NAMES, POSITION_PHRASES, RELATION_PHRASES, RELATIONS, SHADE,
                      SHAPES, SIZE, SPEED_PHRASES, plural)
from vocabulary import SPECIAL, WORD_IDS

EDGE = 5.0                              # margin around the objects, in pixels of a picture of SIZE
EXTENT = {"circle": 1.0, "square": 1.22, "triangle": 1.25, "star": 1.25, "ring": 1.02, "cross": 1.07}


@dataclasses.dataclass
class Scenes:
    """Indices are into NAMES; 0 in size, speed, position and relation: not said. Times run from 0 to 1."""
    shape: np.ndarray
    colour: np.ndarray
    motion: np.ndarray
    background: np.ndarray
    texture: np.ndarray
    size: np.ndarray
    speed: np.ndarray
    position: np.ndarray
    relation: np.ndarray                # of object 1 to object 2; 0: there is one kind of object
    shape2: np.ndarray
    colour2: np.ndarray
    count: np.ndarray
    upright: np.ndarray                 # several objects stand in a column
    spacing: np.ndarray
    x: np.ndarray                       # centre at the start
    y: np.ndarray
    dx: np.ndarray                      # travel
    dy: np.ndarray
    hop: np.ndarray                     # height of the bounces
    r0: np.ndarray                      # radius at the start and the end
    r1: np.ndarray
    turn: np.ndarray                    # radians, clockwise
    x2: np.ndarray
    y2: np.ndarray
    r2: np.ndarray
    seed: np.ndarray                    # phrasing and textures

    def __len__(self):
        return len(self.shape)

    def take(self, rows):
        return Scenes(**{f.name: getattr(self, f.name)[rows] for f in dataclasses.fields(self)})

    def name(self, attribute, row):
        return NAMES[attribute][getattr(self, attribute)[row]]


# ---- sampling ----

def background_colours(name):
    """The colours that an object has to stand out from, [n, 3]."""
    a, b, texture = BACKGROUNDS[name]
    if b is None or texture == "stars":
        return np.array([a], float)
    return np.linspace(a, b, 9)


def _distinct(brightness, least):
    """[colour, background]: is the colour of that brightness far from all of the background?"""
    return np.array([[np.linalg.norm(background_colours(b) - brightness * np.array(c), axis=1).min() >= least
                      for b in BACKGROUNDS] for c in COLOURS.values()])


DISTINCT, SHADE_DISTINCT = _distinct(1.0, 100.0), _distinct(SHADE, 60.0)


def _mix(h):
    """An integer hash, of numpy or torch int64 below 2^31."""
    for k in (0x2c1b3c6d, 0x297a2d39):
        h = ((h ^ (h >> 15)) * k) & 0x7fffffff
    return h ^ (h >> 15)


def reserved(shape, colour, motion, background):
    """Is the combination of indices one that training never sees?"""
    index = ((shape * len(COLOURS) + colour) * len(MOTIONS) + motion) * len(BACKGROUNDS) + background
    return _mix(index.astype(np.int64) + 977) % 10 == 0


def _choose(allowed, rng):
    """A random allowed column in each row of a bool matrix."""
    return np.argmax(rng.random(allowed.shape) * allowed, axis=1)


def _where_is(names, index, *wanted):
    return np.isin(index, [names.index(w) for w in wanted])


def _draw_kinds(n, rng, fixed):
    """Shape, colour, motion, background, count and relation of n candidates and whether each is possible."""
    k = {"shape": rng.integers(len(SHAPES), size=n), "colour": rng.integers(len(COLOURS), size=n),
         "motion": rng.choice(len(MOTIONS), size=n, p=np.array([2, 2, 2, 2, 2, 1.5, 1.5, 1.5, 2]) / 16.5),
         "background": rng.integers(len(BACKGROUNDS), size=n),
         "count": rng.choice([1, 2, 3], size=n, p=[0.62, 0.22, 0.16]),
         "relation": rng.integers(1, len(RELATIONS), size=n) * (rng.random(n) < 0.36),
         "shape2": rng.integers(len(SHAPES), size=n), "colour2": rng.integers(len(COLOURS), size=n)}
    two = k["relation"] > 0
    k["motion"][two & (rng.random(n) < 0.5)] = 0
    for name, value in fixed.items():
        if name in k:
            k[name][:] = value
    two = k["relation"] > 0
    k["count"][two] = 1
    is_in = {m: _where_is(MOTIONS, k["motion"], m) for m in MOTIONS}
    sideways = is_in["left"] | is_in["right"]
    upwards = is_in["up"] | is_in["down"]
    beside = _where_is(RELATIONS, k["relation"], "left", "right")
    ok = DISTINCT[k["colour"], k["background"]]
    ok &= ~(is_in["rotate"] & _where_is(SHAPES, k["shape"], "circle", "ring"))
    ok &= (k["count"] < 3) | ~(is_in["grow"] | is_in["shrink"])
    ok &= ~two | is_in["still"] | (beside & upwards) | (~beside & sideways)
    ok &= ~two | (DISTINCT[k["colour2"], k["background"]] & (k["colour"] != k["colour2"]) & (k["shape"] != k["shape2"]))
    return k, ok


def _sizes(k, n, rng):
    """Radii at the start and the end and the size that is said."""
    count, motion, two = k["count"], k["motion"], k["relation"] > 0
    changes = _where_is(MOTIONS, motion, "grow", "shrink")
    allowed = np.stack([np.ones(n, bool), (count < 3) & ~changes & ~two, (count == 1) & ~changes & ~two], 1)
    size = np.where(rng.random(n) < 0.5, 0, _choose(allowed, rng))
    three = 26.5 / np.array([EXTENT[s] for s in SHAPES])[k["shape"]]           # as large as three in a row can be
    low = np.choose(size, [np.choose(count - 1, [np.full(n, 28.0), np.full(n, 25.0), 0.9 * three]), 22.0, 39.0])
    high = np.choose(size, [np.choose(count - 1, [np.full(n, 44.0), np.full(n, 33.0), three]), 27.0, 44.0])
    low, high = np.where(two, 27.0, low), np.where(two, 33.0, high)
    r = rng.uniform(low, high)
    small = np.where(count == 1, rng.uniform(24.0, 26.0, n), rng.uniform(22.0, 22.5, n))
    large = np.where(count == 1, rng.uniform(40.0, 44.0, n), rng.uniform(32.5, 33.5, n))
    grow, shrink = _where_is(MOTIONS, motion, "grow"), _where_is(MOTIONS, motion, "shrink")
    return (np.where(grow, small, np.where(shrink, large, r)), np.where(grow, large, np.where(shrink, small, r)), size)


def _between(low, high, rng):
    return low + (high - low) * rng.random(low.shape)


def _place(k, half_x, half_y, dx, dy, hop, rng):
    """The position that is said and the centre at the start, so that all stays in the picture."""
    n, motion = len(dx), k["motion"]
    low_x, high_x = half_x + EDGE + np.maximum(-dx, 0), SIZE - EDGE - half_x - np.maximum(dx, 0)
    low_y, high_y = half_y + EDGE + np.maximum(-dy, 0) + hop, SIZE - EDGE - half_y - np.maximum(dy, 0)
    slack, middle = 12.0, SIZE / 2
    bounce = hop > 0
    allowed = np.stack([np.zeros(n, bool), low_x < 58, high_x > SIZE - 58, (low_y < 58) & ~bounce,
                        (high_y > SIZE - 58) & ~bounce, (low_x < middle - 8) & (high_x > middle + 8) &
                        (low_y < middle - 8) & (high_y > middle + 8)], 1)
    across, along = _where_is(MOTIONS, motion, "left", "right"), _where_is(MOTIONS, motion, "up", "down")
    position = np.where((rng.random(n) < 0.25) | ~allowed.any(1), 0, _choose(allowed, rng))
    near_x = np.clip(rng.uniform(middle - 10, middle + 10, n), low_x, high_x)
    near_y = np.clip(rng.uniform(middle - 10, middle + 10, n), low_y, high_y)
    # a path across the picture has its middle in the middle
    near_x = np.where(across, np.clip(near_x - dx / 2, low_x, high_x), near_x)
    near_y = np.where(along, np.clip(near_y - dy / 2, low_y, high_y), near_y)
    any_x, any_y = _between(low_x, high_x, rng), _between(low_y, high_y, rng)
    low_edge_x = np.minimum(np.minimum(low_x + slack, 60), high_x)
    high_edge_x = np.maximum(np.maximum(high_x - slack, SIZE - 60), low_x)
    low_edge_y = np.minimum(np.minimum(low_y + slack, 60), high_y)
    high_edge_y = np.maximum(np.maximum(high_y - slack, SIZE - 60), low_y)
    middle_x, middle_y = rng.uniform(middle - 8, middle + 8, n), rng.uniform(middle - 8, middle + 8, n)
    x = np.choose(position, [any_x, _between(low_x, low_edge_x, rng), _between(high_edge_x, high_x, rng), near_x,
                             near_x, middle_x])
    y = np.choose(position, [any_y, np.where(bounce, any_y, near_y), np.where(bounce, any_y, near_y),
                             _between(low_y, low_edge_y, rng), _between(high_edge_y, high_y, rng), middle_y])
    return position, x, y


def _place_pair(k, half, half2, dx, dy, rng):
    """Centres of object 1 at the start and of object 2, one beside or above the other."""
    n, relation = len(dx), k["relation"]
    beside = _where_is(RELATIONS, relation, "left", "right")
    sign = np.where(_where_is(RELATIONS, relation, "left", "above"), -1.0, 1.0)
    gap = half + half2 + _between(np.full(n, 10.0), SIZE - 2 * EDGE - 2 * (half + half2), rng)
    middle = (SIZE - sign * (half - half2)) / 2     # both margins alike, then a little off
    off = _between(-np.ones(n), np.ones(n), rng) * (SIZE / 2 - EDGE - (gap + half + half2) / 2)
    along1, along2 = middle + off + sign * gap / 2, middle + off - sign * gap / 2
    travel = np.where(beside, dy, dx)
    low, high = half + EDGE + np.maximum(-travel, 0), SIZE - EDGE - half - np.maximum(travel, 0)
    across1 = np.clip(rng.uniform(80, 112, n) - travel / 2, low, high)
    across2 = rng.uniform(80, 112, n)
    return (np.where(beside, along1, across1), np.where(beside, across1, along1),
            np.where(beside, along2, across2), np.where(beside, across2, along2))


def _complete(k, rng):
    """Geometry and the rest of the attributes."""
    n, motion, two = len(k["shape"]), k["motion"], k["relation"] > 0
    extent = np.array([EXTENT[s] for s in SHAPES])
    r0, r1, size = _sizes(k, n, rng)
    r2 = rng.uniform(27, 33, n)
    half, half2 = np.maximum(r0, r1) * extent[k["shape"]], r2 * extent[k["shape2"]]
    moves = _where_is(MOTIONS, motion, "left", "right", "up", "down")
    speed = np.where(moves, rng.integers(1, 3, n), 0)
    travel = np.choose(speed, [np.zeros(n), rng.uniform(28, 44, n), rng.uniform(80, 100, n)])
    travel = np.minimum(travel, SIZE - 2 * EDGE - 2 * half)
    dx = travel * (_where_is(MOTIONS, motion, "right") * 1.0 - _where_is(MOTIONS, motion, "left"))
    dy = travel * (_where_is(MOTIONS, motion, "down") * 1.0 - _where_is(MOTIONS, motion, "up"))
    hop = np.where(_where_is(MOTIONS, motion, "bounce"), rng.uniform(48, 66, n), 0)
    upright = _where_is(MOTIONS, motion, "left", "right") & (k["count"] > 1)
    spacing = 2 * half + rng.uniform(8, 12, n)
    row = spacing * (k["count"] - 1) / 2 + half
    position, x, y = _place(k, np.where(upright, half, row), np.where(upright, row, half), dx, dy, hop, rng)
    pair = _place_pair(k, half, half2, dx, dy, rng)
    # a pattern shows on what is larger than its period
    least = np.where(_where_is(SHAPES, k["shape"], "star", "ring", "cross"), 30, 24)
    plain = two | ~SHADE_DISTINCT[k["colour"], k["background"]] | (np.minimum(r0, r1) < least) | (rng.random(n) < 0.5)
    return Scenes(shape=k["shape"], colour=k["colour"], motion=motion, background=k["background"],
                  texture=np.where(plain, 0, rng.integers(1, 3, n)), size=size, speed=speed,
                  position=np.where(two, 0, position), relation=k["relation"], shape2=np.where(two, k["shape2"], 0),
                  colour2=np.where(two, k["colour2"], 0), count=k["count"], upright=upright, spacing=spacing,
                  x=np.where(two, pair[0], x), y=np.where(two, pair[1], y), dx=dx, dy=dy, hop=hop, r0=r0, r1=r1,
                  turn=np.where(_where_is(MOTIONS, motion, "rotate"), rng.uniform(1.75, 2.8, n), 0),
                  x2=np.where(two, pair[2], 0), y2=np.where(two, pair[3], 0), r2=np.where(two, r2, 0),
                  seed=rng.integers(1 << 62, size=n))


def sample(n, rng, held_out=False, tries=1000, **fixed):
    """n random scenes. Keyword arguments give the name (or number: count) of an attribute that all of them have.

    ValueError: rounds of candidates, `tries` of them, did not give enough."""
    fixed = {a: v if a == "count" else NAMES[a].index(v) for a, v in fixed.items()}
    parts, have = [], 0
    for _ in range(tries):
        k, ok = _draw_kinds(4 * n + 256, rng, fixed)
        if held_out is not None:
            ok &= reserved(k["shape"], k["colour"], k["motion"], k["background"]) == held_out
        s = _complete({name: v[ok] for name, v in k.items()}, rng)
        keep = np.ones(len(s), bool)
        for name, value in fixed.items():
            keep &= getattr(s, name) == value
        parts.append(s.take(keep))
        have += int(keep.sum())
        if have >= n:
            break
    else:
        raise ValueError(f"no scene with {fixed}")
    return Scenes(**{f.name: np.concatenate([getattr(p, f.name) for p in parts])[:n]
                     for f in dataclasses.fields(Scenes)})


# ---- captions ----

class _Picker:
    """Choices that a number fixes."""

    def __init__(self, seed):
        self.rest = int(seed)

    def __call__(self, options):
        self.rest, i = divmod(self.rest, len(options))
        return options[i]


def _noun(pick, count, size, texture, colour, shape):
    words = [w for w in (size, "" if texture == "plain" else texture, colour) if w]
    first = COUNT_PHRASES[count][0]
    if count == 1:
        first = pick(("a", "a", "a", "one"))
        if first == "a" and words[0][0] in "aeiou":
            first = "an"
    return " ".join([first, *words, shape if count == 1 else plural(shape)])


def _verb(pick, motion, speed, form):
    if motion not in DIRECTION_PHRASES:
        return pick(MOTION_PHRASES[motion])[form]
    direction, how, move = pick(DIRECTION_PHRASES[motion]), pick(SPEED_PHRASES[speed]), MOVE[form]
    if how == "fast":
        return f"{move} {direction} fast"
    return pick((f"{move} {how} {direction}", f"{how} {move} {direction}"))


def _caption(s, i):
    pick, count = _Picker(s.seed[i]), int(s.count[i])
    motion, speed, relation = s.name("motion", i), s.name("speed", i), s.name("relation", i)
    shape, colour = s.name("shape", i), s.name("colour", i)
    where = pick(BACKGROUND_PHRASES[s.name("background", i)])
    noun = _noun(pick, count, s.name("size", i), s.name("texture", i), colour, shape)
    if relation:
        other = _noun(pick, 1, "", "plain", s.name("colour2", i), s.name("shape2", i))
        relation = pick(RELATION_PHRASES[relation])
        if motion == "still":
            end = pick(("both stay still", "both do not move", "nothing moves"))
        else:
            end = f"the {pick((shape, colour + ' ' + shape))} {_verb(pick, motion, speed, 0)}"
        return pick((f"{noun} {relation} {other} {where}, {end}", f"{where}, {noun} is {relation} {other}, {end}"))
    position = s.name("position", i)
    if position:
        noun += " " + pick(POSITION_PHRASES[position])
    verb, doing = (_verb(pick, motion, speed, form) for form in (0 if count == 1 else 1, 2))
    return pick((f"{noun} {verb} {where}", f"{noun} {verb} {where}", f"{where}, {noun} {verb}",
                 f"{noun} {where}, {doing}", f"{noun} {doing} {where}"))


def captions(scenes):
    return [_caption(scenes, i) for i in range(len(scenes))]


def prompts(scenes, wording="plain", held_out=False, first=0):
    """captions() or, if wording is "new", others, if it is "mixed", others for every second scene; held_out: of these,
    such that training never sees. Another `first`: others again."""
    first, step = {"plain": (len(scenes), 1), "mixed": (1, 2), "new": (0, 1)}[wording]
    out = captions(scenes)
    for i in range(first, len(scenes), step):
        out[i] = wordings.write(scenes, i, held_out, first=first)
    return out


# ---- tokens ----

def tokens(texts, length=32):
    """Ids [n, length], padded with 0, and their number with </s>, of texts in the words of prompts()."""
    ids, lengths = np.zeros((len(texts), length), np.int64), np.zeros(len(texts), np.int64)
    for i, text in enumerate(texts):
        row = [WORD_IDS[w] for w in wordings.split(text)]
        row = row[:length - 1] + [SPECIAL.index("</s>")]
        ids[i, :len(row)] = row
        lengths[i] = len(row)
    return torch.from_numpy(ids), torch.from_numpy(lengths)


# ---- rendering ----

def _distance(shape, x, y, r):
    """Signed distance from the edge of the shape, of radius r, at (x, y) from its centre; y points down."""
    if shape == "circle":
        return torch.hypot(x, y) - r
    if shape == "ring":
        return (torch.hypot(x, y) - 0.78 * r).abs() - 0.24 * r
    if shape == "square":
        return torch.maximum(x.abs(), y.abs()) - 0.86 * r
    if shape == "cross":
        a, b = x.abs(), y.abs()
        return torch.maximum(torch.minimum(a, b) - 0.36 * r, torch.maximum(a, b) - r)
    if shape == "triangle":
        return torch.maximum(y, x.abs() * math.cos(math.pi / 6) - y * 0.5) - 0.625 * r
    # a star: fold into half of one of its five points; the edge goes from the tip (1.25 r) to the notch (0.55 r)
    fifth = 2 * math.pi / 5
    angle = torch.atan2(x, -y)
    angle = (angle - fifth * torch.round(angle / fifth)).abs()
    length = torch.hypot(x, y)
    nx, ny = 0.55 * math.sin(fifth / 2), 0.55 * math.cos(fifth / 2)
    ex, ey = nx, ny - 1.25
    norm = math.hypot(ex, ey)
    return (length * torch.cos(angle) - 1.25 * r) * (ex / norm) - length * torch.sin(angle) * (ey / norm)


def _noise(seed, n, salt):
    """[B, n, n] in [0, 1), fixed by the seeds [B]."""
    cell = torch.arange(n * n, device=seed.device).reshape(1, n, n)
    return _mix(_mix(seed.reshape(-1, 1, 1) + salt * 7919) ^ (cell * 40503 + 12345)).float() / (1 << 31)


def _textures(kind, seed, x, y):
    """The weight [B, H, W] of colour B in each scene's background; kind: which texture, [B, 1, 1]."""
    size, up = x.shape[-1], torch.nn.functional.interpolate
    weight = torch.zeros(len(seed), size, size, device=seed.device)
    blades = up(_noise(seed, 48, 1)[:, None], (size, size), mode="bilinear")[:, 0]
    grain = up(_noise(seed, 64, 2)[:, None], (size, size), mode="bilinear")[:, 0]
    phase = _noise(seed, 2, 3)[:, :1, :] * 2 * math.pi
    waves = 0.5 + 0.5 * torch.sin(2 * math.pi * y / 16 + 1.6 * torch.sin(2 * math.pi * x / 48 + phase[:, :, :1])
                                  + phase[:, :, 1:])
    # a star in most cells of a grid
    n = 6
    cell_x, cell_y = (x * n / SIZE).long(), (y * n / SIZE).long()
    cell = (cell_y * n + cell_x).reshape(1, -1).expand(len(seed), -1)
    at = [torch.gather(_noise(seed, n, salt).reshape(len(seed), -1), 1, cell).reshape(weight.shape)
          for salt in (4, 5, 6)]
    side = SIZE / n
    far = torch.hypot(x - cell_x * side - 4 - (side - 8) * at[0], y - cell_y * side - 4 - (side - 8) * at[1])
    stars = torch.clamp(3.6 - far, 0, 1) * (at[2] < 0.7)
    for name, texture in (("blades", blades), ("waves", waves), ("grain", grain), ("stars", stars),
                          ("gradient", (y / SIZE).expand_as(weight))):
        weight = torch.where(kind == _TEXTURE_KINDS.index(name), texture, weight)
    return weight


_TEXTURE_KINDS = ("plain", "blades", "waves", "grain", "stars", "gradient", "fade")
_FIELDS = ("x", "y", "dx", "dy", "hop", "r0", "r1", "turn", "spacing", "count", "upright", "texture", "x2", "y2", "r2")


def _paint(picture, colour, shape, x, y, r, pattern, soft):
    """Cover picture [b, 3, T, H, W] with a shape; pattern [b, 1, 1, 1] or None, edges `soft` wide."""
    cover = torch.clamp(0.5 - _distance(shape, x, y, r) / soft, 0, 1)
    ink = colour[:, :, None, None, None]
    if pattern is not None:
        period = 19.0
        stripes = torch.clamp(0.5 - ((x / period - torch.round(x / period)).abs() - 0.22) * period / soft, 0, 1)
        u, v = (x / period - torch.round(x / period)) * period, (y / period - torch.round(y / period)) * period
        dots = torch.clamp(0.5 - (torch.hypot(u, v) - 5.4) / soft, 0, 1)
        dark = torch.where(pattern == 1, stripes, torch.where(pattern == 2, dots, torch.zeros_like(x)))
        ink = ink * (1 - (1 - SHADE) * dark[:, None])
    return picture.lerp_(ink.expand_as(picture), cover[:, None].expand_as(picture))


def render(scenes, device, size=SIZE, frames=FRAMES, dtype=torch.float32):
    """The clips [B, 3, frames, size, size] in [-1, 1]."""
    order = np.argsort(scenes.shape, kind="stable")
    s = scenes.take(order)
    rgb = np.array(list(COLOURS.values()), np.float64) / 255
    grounds = [(a, a if b is None else b, _TEXTURE_KINDS.index(t)) for a, b, t in BACKGROUNDS.values()]
    ground = np.array([(*a, *b, 0) for a, b, _ in grounds]) / 255
    ground[:, 6] = [t for _, _, t in grounds]
    table = np.concatenate([np.stack([getattr(s, f) for f in _FIELDS], 1), rgb[s.colour], rgb[s.colour2],
                            ground[s.background], (s.seed % (1 << 24))[:, None]], 1)
    table = torch.from_numpy(np.ascontiguousarray(table, np.float32)).to(device)
    p = {f: table[:, i].reshape(-1, 1, 1, 1) for i, f in enumerate(_FIELDS)}
    at = len(_FIELDS)
    colour, colour2, near, far = (table[:, at + 3 * i:at + 3 * i + 3] for i in range(4))
    kind, seed = table[:, at + 12].long().reshape(-1, 1, 1), table[:, at + 13].long()

    pixel = (torch.arange(size, device=device, dtype=torch.float32) + 0.5) * (SIZE / size)
    gx, gy = pixel.reshape(1, 1, -1), pixel.reshape(1, -1, 1)
    time = torch.linspace(0, 1, frames, device=device).reshape(1, -1, 1, 1)
    soft = max(1.5, SIZE / size)

    weight = _textures(kind, seed, gx.expand(1, size, size), gy.expand(1, size, size))[:, None, None]
    weight = torch.where((kind == _TEXTURE_KINDS.index("fade"))[:, :, :, None, None], time[:, None], weight)
    near, far = near[:, :, None, None, None], far[:, :, None, None, None]
    picture = (near + (far - near) * weight).expand(-1, -1, frames, -1, -1).contiguous()

    # object 1: scenes are in the order of its shape
    begin = 0
    for index, shape in enumerate(SHAPES):
        end = begin + int((s.shape == index).sum())
        if begin < end:
            q = {f: v[begin:end] for f, v in p.items()}
            rise = q["hop"] * torch.sin(2 * math.pi * time).abs()
            x, y = gx - q["x"] - q["dx"] * time, gy - q["y"] - q["dy"] * time + rise
            along = torch.where(q["upright"] > 0, y, x) / q["spacing"] + (q["count"] - 1) / 2
            along = torch.minimum(torch.clamp(torch.round(along), min=0), q["count"] - 1) - (q["count"] - 1) / 2
            along = along * q["spacing"]
            x, y = torch.where(q["upright"] > 0, x, x - along), torch.where(q["upright"] > 0, y - along, y)
            if (s.turn[begin:end] != 0).any():
                cos, sin = torch.cos(q["turn"] * time), torch.sin(q["turn"] * time)
                x, y = x * cos + y * sin, y * cos - x * sin
            pattern = q["texture"] if (s.texture[begin:end] > 0).any() else None
            r = q["r0"] + (q["r1"] - q["r0"]) * time
            _paint(picture[begin:end], colour[begin:end], shape, x, y, r, pattern, soft)
        begin = end
    # object 2 stands still
    for index, shape in enumerate(SHAPES):
        rows = np.flatnonzero((s.relation > 0) & (s.shape2 == index))
        if len(rows):
            rows = torch.from_numpy(rows).to(device)
            q = {f: p[f][rows] for f in ("x2", "y2", "r2")}
            x, y = gx - q["x2"], gy - q["y2"]
            picture[rows] = _paint(picture[rows], colour2[rows], shape, x, y, q["r2"], None, soft)
    back = torch.from_numpy(np.argsort(order)).to(device)
    return picture.index_select(0, back).mul_(2).sub_(1).to(dtype)


def to_bytes(video):
    """[B, 3, T, H, W] in [-1, 1] as uint8 [B, T, H, W, 3] on the host."""
    return torch.clamp((video.float() + 1) * 127.5 + 0.5, 0, 255).to(torch.uint8).permute(0, 2, 3, 4, 1).cpu().numpy()


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("rgb")
    ap.add_argument("txt")
    ap.add_argument("-n", type=int, default=64)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--held-out", action="store_true", help="scenes, and new wordings, that training never sees")
    ap.add_argument("--wording", choices=["plain", "mixed", "new"], default="plain",
                    help="of the captions: training's first, as people type them, or these for every second one")
    args = ap.parse_args()
    s = sample(args.n, np.random.default_rng(args.seed), held_out=args.held_out)
    with open(args.txt, "w", encoding="ascii") as f:
        f.write("".join(c + "\n" for c in prompts(s, args.wording, args.held_out)))
    with open(args.rgb, "wb") as f:
        for i in range(0, args.n, 16):
            f.write(to_bytes(render(s.take(slice(i, i + 16)), "cpu")).tobytes())


if __name__ == "__main__":
    main()
