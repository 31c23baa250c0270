#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Judge clips of the demo model: does the video show what the prompt says?

usage: score.py [options] PROMPT FILE...                one clip a file
       score.py [options] --prompts TEXT CLIPS.rgb      a prompt a line; the clips one after another
options: --size=192 --frames=17 --json --each --jobs=1 --ffmpeg=ffmpeg

A FILE is raw rgb24 (.rgb) or anything that ffmpeg reads. From Python: score(caption, frames uint8 [T, H, W, 3]) gives
a dict attribute -> bool, of the attributes that the caption tells.

The clip is measured without the prompt and then compared: the background from the border of the picture; objects as
regions far from the background's colour, with the majority colour of their inside; shape as the template, over all
rotations, that the region covers best; motion from the tracks of centre, area and angle. Needs numpy only.
"""
import argparse
import collections
import concurrent.futures
import dataclasses
import json
import os
import subprocess
import sys

import numpy as np

from language import BACKGROUNDS, COLOURS, FRAMES, SHADE, SHAPES, SIZE
from wordings import read

ATTRIBUTES = ("count", "colour", "shape", "texture", "size", "position", "motion", "speed", "background", "relation")
LEAST_AREA, MOST_AREA = 150, 8000       # of an object, in pixels of a picture of SIZE, as all lengths here
GROUND_DISTANCE = 45.0                  # least distance of an object's colour from the background's, of 441
BAND = 4                                # no object touches this border


# ---- background ----

def _segment(name):
    """The ends of the background's range of colours."""
    a, b, texture = BACKGROUNDS[name]
    return np.array(a, float), np.array(a if b is None or texture == "stars" else b, float)


def _expected_border(name):
    """Colours [first, last; top, bottom; 3] of the border."""
    a, b = _segment(name)
    texture = BACKGROUNDS[name][2]
    weight = {"gradient": [[1 / 6, 5 / 6]] * 2, "fade": [[0, 0], [1, 1]]}.get(texture, [[0.5, 0.5]] * 2)
    return a + (b - a) * np.array(weight)[:, :, None]


def _find_background(video):
    """Name of the background or "", and the distance [T, H, W] of each pixel from its colours."""
    height = video.shape[1]
    sides = np.concatenate([video[:, :, :BAND], video[:, :, -BAND:]], 2)
    third = height // 3
    seen = np.array([[s[:, :third].mean((0, 1, 2)), s[:, -third:].mean((0, 1, 2))] for s in (sides[:2], sides[-2:])])
    far = {name: np.linalg.norm(seen - _expected_border(name), axis=2).mean() for name in BACKGROUNDS}
    name = min(far, key=far.get)
    # the border's colour row by row, over a few rows
    padded = np.pad(sides, ((0, 0), (2, 2), (0, 0), (0, 0)), "edge")
    rows = np.concatenate([padded[:, k:k + height] for k in range(5)], 2)
    profile = np.median(rows, axis=2)[:, :, None]
    distance = np.linalg.norm(video - profile, axis=3)
    if far[name] > 35 or np.linalg.norm(sides - profile, axis=3).mean() > 35:
        return "", distance
    if BACKGROUNDS[name][2] in ("blades", "waves", "grain"):
        a, b = _segment(name)
        a = a + (seen - _expected_border(name)).mean((0, 1))
        along = b - _segment(name)[0]
        t = np.clip((video - a) @ along / (along @ along), 0, 1)
        distance = np.minimum(distance, np.linalg.norm(video - a - t[..., None] * along, axis=3))
    return name, distance


# ---- regions ----

def _label(mask):
    """Numbers [T, H, W] of the 4-connected regions of each frame, from 1, and how many."""
    count, height, width = mask.shape
    edge = np.diff(np.pad(mask, ((0, 0), (0, 0), (1, 1))).reshape(-1, width + 2).astype(np.int8), axis=1)
    row, begin = np.nonzero(edge == 1)
    end = np.nonzero(edge == -1)[1]
    parent = list(range(len(row)))

    def root(i):
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first = np.searchsorted(row, np.arange(count * height + 1))
    for r in range(1, count * height):
        if r % height == 0:
            continue
        i, j = first[r - 1], first[r]
        while i < first[r] and j < first[r + 1]:
            if begin[i] < end[j] and begin[j] < end[i]:
                parent[root(j)] = root(i)
            if end[i] < end[j]:
                i += 1
            else:
                j += 1
    roots = np.array([root(i) for i in range(len(row))], int)
    names, number = np.unique(roots, return_inverse=True)
    out = np.zeros((count * height, width + 1), np.int32)
    np.add.at(out, (row, begin), number + 1)
    np.add.at(out, (row, end), -(number + 1))
    return np.cumsum(out, 1)[:, :width].reshape(mask.shape), len(names)


def _inside(mask, steps):
    """The mask without its border of some pixels."""
    for _ in range(steps):
        small = mask.copy()
        small[:, 1:] &= mask[:, :-1]
        small[:, :-1] &= mask[:, 1:]
        small[:, :, 1:] &= mask[:, :, :-1]
        small[:, :, :-1] &= mask[:, :, 1:]
        mask = small
    return mask


def _large(labels, n, least):
    """Labels with the small regions taken away, and the numbers of the rest."""
    area = np.bincount(labels.ravel(), minlength=n + 1)
    keep = area >= least
    keep[0] = False
    return np.where(keep[labels], labels, 0), np.flatnonzero(keep)


def _regions(distance, least):
    """Regions of the objects, cut at half of each one's own contrast, so that blur does not widen them."""
    labels, numbers = _large(*_label(distance > GROUND_DISTANCE), least / 2)
    inner = _inside(labels > 0, 3)
    cut = np.full(labels.max() + 1, np.inf)
    at = np.nonzero(inner)
    order = np.argsort(labels[at], kind="stable")
    values, which = distance[at][order], labels[at][order]
    bounds = np.searchsorted(which, np.stack([numbers, numbers + 1]))
    for k, i in enumerate(numbers):
        if bounds[0, k] < bounds[1, k]:
            cut[i] = max(GROUND_DISTANCE, 0.5 * np.percentile(values[bounds[0, k]:bounds[1, k]], 15))
    return _large(*_label((labels > 0) & (distance > cut[labels])), least)


# ---- shapes ----

GRID = np.linspace(-0.95, 0.95, 40)     # in units of the square root of the area


def _in_polygon(x, y, corners):
    inside = np.zeros(x.shape, bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return inside


def _star(points, inner):
    angle = np.arange(2 * points) * np.pi / points
    radius = np.where(np.arange(2 * points) % 2, inner, 1.0)
    return np.stack([radius * np.sin(angle), -radius * np.cos(angle)], 1)


def _make_templates():
    """For each shape the angle, in degrees, after which it repeats, and masks [angles, pixels] at all angles below."""
    step, fine = 3.0, 4
    axis = (GRID[:, None] + (np.arange(fine) - (fine - 1) / 2) * (GRID[1] - GRID[0]) / fine).ravel()
    x, y = np.meshgrid(axis, axis)
    t = 0.36
    corners = {"square": np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]),
               "triangle": np.stack([np.sin(np.arange(3) * 2 * np.pi / 3), -np.cos(np.arange(3) * 2 * np.pi / 3)], 1),
               "star": _star(5, 0.44),
               "cross": np.array([[-t, -1], [t, -1], [t, -t], [1, -t], [1, t], [t, t], [t, 1], [-t, 1], [-t, t],
                                  [-1, t], [-1, -t], [-t, -t]])}
    period = {"circle": 0, "ring": 0, "square": 90, "triangle": 120, "star": 72, "cross": 90}
    out = {}
    for shape in SHAPES:
        masks = []
        for angle in np.arange(0, max(period[shape], 1), step):
            if shape in corners:
                p = corners[shape]
                p0, p1 = p, np.roll(p, -1, axis=0)
                area = abs(np.sum(p0[:, 0] * p1[:, 1] - p0[:, 1] * p1[:, 0])) / 2
                c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
                mask = _in_polygon(x, y, p @ np.array([[c, s], [-s, c]]) / np.sqrt(area))
            else:
                hole = 0.54 / 1.02 if shape == "ring" else 0.0
                outer = 1 / np.sqrt(np.pi * (1 - hole * hole))
                mask = (np.hypot(x, y) < outer) & (np.hypot(x, y) >= hole * outer)
            masks.append(mask.reshape(len(GRID), fine, len(GRID), fine).mean((1, 3)).ravel())
        out[shape] = period[shape], step, np.array(masks)
    return out


TEMPLATES = _make_templates()
# radius, as the scenes have it, of a region of area 1
RADIUS = {"circle": np.pi ** -0.5, "ring": (np.pi * (1.02 ** 2 - 0.54 ** 2)) ** -0.5, "square": 1 / 1.72,
          "triangle": (1.25 ** 2 * 3 * 3 ** 0.5 / 4) ** -0.5, "star": (5 * 1.25 * 0.55 * np.sin(np.pi / 5)) ** -0.5,
          "cross": (2 * 2 * 0.72 - 0.72 ** 2) ** -0.5}


def _match(mask, x, y, area):
    """For each shape the best overlap (intersection over union) with the mask [H, W] around (x, y), and the angle."""
    unit = np.sqrt(area)
    gx, gy = np.meshgrid(x + GRID * unit, y + GRID * unit)
    ix, iy = np.floor(gx).astype(int), np.floor(gy).astype(int)
    fx, fy = gx - ix, gy - iy
    padded = np.pad(mask, 1).astype(float)
    high = np.array(padded.shape) - 1

    def at(dy, dx):
        return padded[np.clip(iy + dy + 1, 0, high[0]), np.clip(ix + dx + 1, 0, high[1])]

    seen = ((at(0, 0) * (1 - fx) + at(0, 1) * fx) * (1 - fy) + (at(1, 0) * (1 - fx) + at(1, 1) * fx) * fy).ravel()
    out = {}
    for shape, (_, step, masks) in TEMPLATES.items():
        both = np.minimum(masks, seen).sum(1)
        overlap = both / (masks.sum(1) + seen.sum() - both)
        best = int(np.argmax(overlap))
        out[shape] = float(overlap[best]), best * step
    return out


# ---- objects ----

@dataclasses.dataclass
class Region:
    frame: int
    x: float
    y: float
    area: float
    colours: np.ndarray                 # share of the inside, for each colour
    dark: float                         # share of the inside that is darker than the rest
    stripes: float                      # do brightness gradients of the inside have one direction: 0 to 1
    overlap: dict                       # shape: (overlap, angle)


PALETTE = np.array([*COLOURS.values(), *(SHADE * np.array(c) for c in COLOURS.values())], float)


def _colours(pixels):
    """Share of each colour among pixels [n, 3]; what is near to none counts for none."""
    distance = np.linalg.norm(pixels[:, None] - PALETTE, axis=2)
    nearest = np.where(distance.min(1) < 50, distance.argmin(1) % len(COLOURS), len(COLOURS))
    return np.bincount(nearest, minlength=len(COLOURS) + 1)[:-1] / len(pixels)


def _one_direction(dx, dy):
    """How far gradients have one direction, whatever the sign: 0 none, 1 all."""
    xx, yy, xy = np.mean(dx * dx), np.mean(dy * dy), np.mean(dx * dy)
    return float(np.hypot(xx - yy, 2 * xy) / max(xx + yy, 1e-6))


def _find_regions(video, distance):
    scale = video.shape[1] / SIZE
    labels, numbers = _regions(distance, LEAST_AREA * scale * scale)
    inner = _inside(labels > 0, 2)
    luma = video.sum(3)
    slope_y, slope_x = np.gradient(luma, axis=(1, 2))
    where = np.nonzero(labels)
    order = np.argsort(labels[where], kind="stable")
    where = [v[order] for v in where]
    ends = np.searchsorted(labels[tuple(where)], [numbers, numbers + 1])
    out = []
    for number, begin, end in zip(numbers, *ends, strict=True):
        if end - begin > MOST_AREA * scale * scale:
            continue
        t, y, x = (v[begin:end] for v in where)
        part = inner[t, y, x]
        if part.sum() < 20:
            part[:] = True
        pixels = video[t, y, x][part]
        light, dx, dy = (v[t, y, x][part] for v in (luma, slope_x, slope_y))
        dark = float(np.mean(light < 0.82 * np.percentile(light, 85)))
        cx, cy = float(x.mean()), float(y.mean())
        out.append(Region(int(t[0]), (cx + 0.5) / scale, (cy + 0.5) / scale, len(t) / scale ** 2, _colours(pixels),
                          dark, _one_direction(dx, dy), _match(labels[t[0]] == number, cx, cy, len(t))))
    return out


class Group:
    """Objects that are alike, over the clip: at each time all of them together."""

    def __init__(self, regions, n_frames):
        self.regions, self.n_frames = regions, n_frames
        by_time = collections.defaultdict(list)
        for r in regions:
            by_time[r.frame].append(r)
        sizes = collections.Counter(len(v) for v in by_time.values())
        self.count, seen = sizes.most_common(1)[0] if sizes else (0, 0)
        self.steady = seen >= 0.7 * n_frames
        self.frames = sorted(t for t, v in by_time.items() if len(v) == self.count)
        self.at = [by_time[t] for t in self.frames]

    def colour(self):
        share = np.mean([r.colours for r in self.regions], axis=0)
        return tuple(COLOURS)[int(share.argmax())] if share.max() >= 0.6 else ""

    def shape(self, least=0.8):
        overlap = {s: np.mean([r.overlap[s][0] for r in self.regions]) for s in SHAPES}
        best = max(overlap, key=overlap.get)
        return best if overlap[best] >= least else ""

    def texture(self):
        dark = np.mean([r.dark for r in self.regions])
        return "plain" if dark < 0.1 else "striped" if np.mean([r.stripes for r in self.regions]) > 0.5 else "dotted"

    def radius(self):
        return np.mean([np.sqrt(r.area) for r in self.regions]) * RADIUS.get(self.shape(), RADIUS["circle"])

    def _turn(self, u):
        """Degrees, clockwise, from the first frame to the last."""
        period, _, masks = TEMPLATES.get(self.shape(), (0, 0, None))
        if not period:
            return 0.0
        angle = [np.angle(np.mean([np.exp(2j * np.pi * r.overlap[self.shape()][1] / period) for r in at]))
                 for at in self.at]
        turn = np.unwrap(np.array(angle)) * period / (2 * np.pi)
        return float(np.polyfit(u, turn, 1)[0])

    def track(self):
        """(kind of motion, travel, x and y at the start, x and y at the middle)."""
        u = np.array(self.frames) / max(self.n_frames - 1, 1)
        if len(u) < 5:
            return "", 0.0, (0.0, 0.0), (0.0, 0.0)
        x, y = (np.array([np.mean([getattr(r, a) for r in at]) for at in self.at]) for a in "xy")
        size = np.array([np.mean([np.sqrt(r.area) for r in at]) for at in self.at])
        dx, x0 = np.polyfit(u, x, 1)
        basis = np.stack([np.ones_like(u), u, np.abs(np.sin(2 * np.pi * u))], 1)
        y0, dy, hop = np.linalg.lstsq(basis, y, rcond=None)[0]
        grown = np.polyfit(u, np.log(size), 1)[0]
        # each in units of the least that a scene has
        turn = self._turn(u)
        strength = {"move": np.hypot(dx, dy) / 28, "size": abs(grown) / np.log(1.43), "bounce": -hop / 48,
                    "rotate": abs(turn) / 100}
        first, second = sorted(strength, key=strength.get)[:-3:-1]
        if strength[first] < 0.4:
            kind = "still"
        elif strength[first] < 0.6 or strength[second] > 0.7:
            kind = ""
        elif first == "move":
            kind = "" if min(abs(dx), abs(dy)) > 0.4 * max(abs(dx), abs(dy)) else (
                ("right" if dx > 0 else "left") if abs(dx) > abs(dy) else "down" if dy > 0 else "up")
        elif first == "size":
            kind = "grow" if grown > 0 else "shrink"
        else:
            kind = first
        return kind, float(np.hypot(dx, dy)), (float(x0), float(y0)), (float(x0 + dx / 2), float(y0 + dy / 2))


def _pair(regions, n_frames):
    """Two groups: the objects of frames with two of them, followed from frame to frame."""
    by_time = collections.defaultdict(list)
    for r in regions:
        by_time[r.frame].append(r)
    tracks = ([], [])
    for t in sorted(by_time):
        now = by_time[t]
        if len(now) != 2:
            continue
        if tracks[0]:
            a, b = tracks[0][-1], tracks[1][-1]
            cost = [np.hypot(a.x - p.x, a.y - p.y) + np.hypot(b.x - q.x, b.y - q.y) for p, q in (now, now[::-1])]
            if cost[1] < cost[0]:
                now = now[::-1]
        tracks[0].append(now[0])
        tracks[1].append(now[1])
    return [Group(t, n_frames) for t in tracks]


# ---- comparison ----

def _is_at(position, motion, start, middle):
    (x0, y0), (xm, ym) = start, middle
    if motion not in ("left", "right"):
        xm = x0
    if motion not in ("up", "down"):
        ym = y0
    half, near, off = SIZE / 2, 78, 34
    beside, over = abs(ym - half) < off or motion == "bounce", abs(xm - half) < off
    return {"left": x0 < near and beside, "right": x0 > SIZE - near and beside, "top": y0 < near and over,
            "bottom": y0 > SIZE - near and over,
            "centre": max(abs(x0 - half), abs(y0 - half)) < 26}[position]


def _is_related(relation, one, other):
    dx, dy = one[0] - other[0], one[1] - other[1]
    side = ("left" if dx < 0 else "right") if abs(dx) > abs(dy) else "above" if dy < 0 else "below"
    return max(abs(dx), abs(dy)) > 20 and relation == side


def _is_speed(speed, travel):
    return 20 < travel < 61 if speed == "slow" else travel > 61


def _score_pair(told, regions, n_frames):
    groups = _pair(regions, n_frames)
    if len(groups[0].frames) < 0.7 * n_frames:
        return {"count": False}
    wanted = [(told["colour"], told["shape"]), (told["colour2"], told["shape2"])]
    seen = [(g.colour(), g.shape()) for g in groups]
    hits = [sum(a == b for s, w in zip(order, wanted, strict=True) for a, b in zip(s, w, strict=True))
            for order in (seen, seen[::-1])]
    if hits[1] > hits[0]:
        groups, seen = groups[::-1], seen[::-1]
    (kind, travel, _, middle), (kind2, _, _, middle2) = (g.track() for g in groups)
    out = {"count": True, "colour": all(s[0] == w[0] for s, w in zip(seen, wanted, strict=True)),
           "shape": all(s[1] == w[1] for s, w in zip(seen, wanted, strict=True)),
           "motion": kind == told["motion"] and kind2 == "still",
           "relation": bool(_is_related(told["relation"], middle, middle2))}
    if told["speed"]:
        out["speed"] = _is_speed(told["speed"], travel)
    return out


def _score_group(told, regions, n_frames):
    group = Group(regions, n_frames)
    kind, travel, start, middle = group.track()
    # what has no likeness to any shape is no object and has no count
    out = {"count": group.steady and group.count == told["count"] and group.shape(0.6) != "",
           "colour": group.colour() == told["colour"], "shape": group.shape() == told["shape"],
           "texture": group.texture() == told["texture"], "motion": kind == told["motion"]}
    if told["size"]:
        out["size"] = bool(group.shape() and (group.radius() < 33) == (told["size"] == "small"))
    if told["speed"]:
        out["speed"] = _is_speed(told["speed"], travel)
    if told["position"]:
        out["position"] = bool(_is_at(told["position"], kind, start, middle))
    return out


def score(caption, frames):
    """Which of the attributes that the caption tells do the frames, uint8 [T, H, W, 3], show?"""
    told, video = read(caption), np.asarray(frames, np.float32)
    expected = [a for a in ATTRIBUTES if told.get(a) not in ("", "plain")]
    background, distance = _find_background(video)
    regions = _find_regions(video, distance)
    out = {}
    if regions:
        out = (_score_pair if told["relation"] else _score_group)(told, regions, len(video))
    # neither background nor object: the blurred edges of objects, stars
    rest = np.mean(distance > GROUND_DISTANCE) - sum(r.area for r in regions) / (len(video) * SIZE * SIZE)
    out["background"] = background == told["background"] and rest < 0.08
    return {a: bool(out.get(a, False)) for a in expected}


# ---- command line ----

class Table:
    """How often each attribute is right."""

    def __init__(self):
        self.right, self.of, self.clips, self.perfect = collections.Counter(), collections.Counter(), 0, 0

    def add(self, result):
        self.right.update(a for a, ok in result.items() if ok)
        self.of.update(result.keys())
        self.clips += 1
        self.perfect += all(result.values())

    def rows(self):
        rows = [(a, self.right[a], self.of[a]) for a in ATTRIBUTES if self.of[a]]
        return [*rows, ("total", self.right.total(), self.of.total()), ("whole clips", self.perfect, self.clips)]

    def text(self):
        return "".join(f"{a:12s} {right:6d} of {of:6d} {100 * right / of:6.1f} %\n" for a, right, of in self.rows())


def read_clip(path, shape, ffmpeg):
    if path.endswith((".rgb", ".raw")):
        data = np.fromfile(path, np.uint8)
    else:
        command = [ffmpeg, "-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
        data = np.frombuffer(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout, np.uint8)
    if data.size != np.prod(shape):
        sys.exit(f"{path}: {data.size} bytes, want {np.prod(shape)}: {shape[0]} frames of {shape[2]}x{shape[1]}")
    return data.reshape(shape)


def clips_of(args, shape):
    """Pairs of prompt and clip."""
    if not args.prompts:
        if len(args.paths) < 2:
            sys.exit("want a prompt and a file")
        return [(args.paths[0], read_clip(path, shape, args.ffmpeg)) for path in args.paths[1:]]
    if len(args.paths) != 1:
        sys.exit("--prompts: want one file with all the clips")
    with open(args.prompts, encoding="utf-8") as f:
        prompts = [line.strip() for line in f if line.strip()]
    if not prompts:
        sys.exit(f"{args.prompts}: no prompt, want one a line")
    size, want = os.path.getsize(args.paths[0]), len(prompts) * np.prod(shape)
    if size != want:
        sys.exit(f"{args.paths[0]}: {size} bytes, want {len(prompts)} clips of {np.prod(shape)}")
    return zip(prompts, np.memmap(args.paths[0], np.uint8, "r").reshape(-1, *shape), strict=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("paths", nargs="+", metavar="PROMPT FILE")
    ap.add_argument("--prompts", help="file of prompts, one a line")
    ap.add_argument("--size", type=int, default=SIZE)
    ap.add_argument("--frames", type=int, default=FRAMES)
    ap.add_argument("--json", action="store_true", help="print the result of each clip and the totals as JSON")
    ap.add_argument("--each", action="store_true", help="print a line for each clip")
    ap.add_argument("--jobs", type=int, default=1, help="processes; a clip takes one about 0.2 s")
    ap.add_argument("--ffmpeg", default="ffmpeg")
    args = ap.parse_args()
    table, results = Table(), []
    prompts, clips = zip(*clips_of(args, (args.frames, args.size, args.size, 3)), strict=True)
    try:
        with concurrent.futures.ProcessPoolExecutor(args.jobs) as pool:
            found = list(pool.map(score, prompts, clips))
    except ValueError as e:
        sys.exit(str(e))
    for prompt, result in zip(prompts, found, strict=True):
        table.add(result)
        results.append({"prompt": prompt, "result": result})
        if args.each and not args.json:
            wrong = [a for a, ok in result.items() if not ok]
            print(f"{'right' if not wrong else 'wrong: ' + ', '.join(wrong)}: {prompt}")
    if args.json:
        totals = {name: {"right": right, "of": of} for name, right, of in table.rows()}
        print(json.dumps({"clips": results, "totals": totals}, indent=1))
    else:
        print(table.text(), end="")


if __name__ == "__main__":
    main()
