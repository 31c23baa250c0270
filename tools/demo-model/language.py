# SPDX-License-Identifier: BSD-2-Clause
"""What the demo model's scenes have (colours, shapes, motions, ...), the words for it, and the reading of captions.

Shared by the drawing (scenes.py), further wordings (wordings.py), the vocabulary (vocabulary.py) and the judging
(score.py). It needs no package.
"""

SIZE, FRAMES = 192, 17                  # lengths are in pixels of a picture of SIZE

COLOURS = {"red": (220, 25, 25), "orange": (255, 140, 0), "yellow": (250, 230, 40), "green": (20, 170, 60),
           "blue": (30, 70, 225), "purple": (140, 40, 175), "white": (250, 250, 250), "pink": (255, 120, 190)}
SHAPES = ("circle", "square", "triangle", "star", "ring", "cross")
MOTIONS = ("still", "left", "right", "up", "down", "bounce", "grow", "shrink", "rotate")
# colour A, colour B, texture: B is the bottom of "gradient", the end of "fade", else the strength of the texture
BACKGROUNDS = {
    "black": ((8, 8, 8), None, "plain"), "grey": ((110, 110, 110), None, "plain"),
    "white": ((245, 245, 245), None, "plain"), "night": ((10, 12, 45), (245, 245, 230), "stars"),
    "grass": ((70, 140, 50), (88, 165, 66), "blades"), "sea": ((20, 90, 160), (46, 122, 190), "waves"),
    "sand": ((222, 196, 140), (236, 210, 156), "grain"), "sunset": ((60, 45, 115), (240, 130, 60), "gradient"),
    "dusk": ((135, 195, 245), (14, 18, 60), "fade"),
}
TEXTURES = ("plain", "striped", "dotted")
SIZES = ("", "small", "big")
SPEEDS = ("", "slow", "quick")
POSITIONS = ("", "left", "right", "top", "bottom", "centre")
RELATIONS = ("", "left", "right", "above", "below")
SHADE = 0.45                            # brightness of stripes and dots

NAMES = {"shape": SHAPES, "colour": tuple(COLOURS), "motion": MOTIONS, "background": tuple(BACKGROUNDS),
         "texture": TEXTURES, "size": SIZES, "speed": SPEEDS, "position": POSITIONS, "relation": RELATIONS,
         "shape2": SHAPES, "colour2": tuple(COLOURS)}


# ---- phrases ----

BACKGROUND_PHRASES = {
    "black": ("on a black background", "on black"), "grey": ("on a grey background", "on grey"),
    "white": ("on a white background", "on white"),
    "night": ("at night", "in the night sky with stars", "under a starry sky"),
    "grass": ("on green grass", "on the grass", "on a meadow"),
    "sea": ("on the blue sea", "on the sea", "over blue water"),
    "sand": ("on the sand", "on a sandy beach", "on yellow sand"), "sunset": ("at sunset", "in front of a sunset"),
    "dusk": ("as day turns to night", "while night falls"),
}
POSITION_PHRASES = {"left": ("on the left", "on the left side"), "right": ("on the right", "on the right side"),
                    "top": ("at the top",), "bottom": ("at the bottom",), "centre": ("in the centre", "in the middle")}
RELATION_PHRASES = {"left": ("left of", "to the left of"), "right": ("right of", "to the right of"),
                    "above": ("above",), "below": ("below", "under")}
# one object, several objects, participle
MOTION_PHRASES = {
    "still": (("stays still", "stay still", "staying still"), ("does not move", "do not move", "not moving")),
    "bounce": (("bounces", "bounce", "bouncing"),
               ("bounces up and down", "bounce up and down", "bouncing up and down")),
    "grow": (("grows", "grow", "growing"), ("gets bigger", "get bigger", "getting bigger")),
    "shrink": (("shrinks", "shrink", "shrinking"), ("gets smaller", "get smaller", "getting smaller")),
    "rotate": (("rotates", "rotate", "rotating"), ("spins", "spin", "spinning")),
}
DIRECTION_PHRASES = {"left": ("to the left", "left"), "right": ("to the right", "right"), "up": ("up", "upwards"),
                     "down": ("down", "downwards")}
SPEED_PHRASES = {"slow": ("slowly",), "quick": ("quickly", "fast")}
MOVE = ("moves", "move", "moving")
COUNT_PHRASES = {1: ("a", "an", "one"), 2: ("two",), 3: ("three",)}
FILLERS = ("the", "is", "both", ",", *MOVE)


def plural(shape):
    return shape + ("es" if shape.endswith("s") else "s")


def _phrases():
    """Each phrase as a tuple of words: the attribute and the value that it tells."""
    out = {tuple(f.split()): (None, None) for f in FILLERS}
    tables = {"background": BACKGROUND_PHRASES, "position": POSITION_PHRASES, "relation": RELATION_PHRASES,
              "motion": DIRECTION_PHRASES, "speed": SPEED_PHRASES, "count": COUNT_PHRASES,
              "colour": {c: (c,) for c in COLOURS}, "shape": {s: (s, plural(s)) for s in SHAPES},
              "size": {s: (s,) for s in SIZES[1:]}, "texture": {t: (t,) for t in TEXTURES[1:]}}
    for attribute, table in tables.items():
        for value, phrases in table.items():
            out.update({tuple(p.split()): (attribute, value) for p in phrases})
    for value, forms in MOTION_PHRASES.items():
        out.update({tuple(p.split()): ("motion", value) for form in forms for p in form})
    out["nothing", "moves"] = ("motion", "still")
    return out


PHRASES = _phrases()
WORDS = sorted({w for p in PHRASES for w in p} - {","})


# ---- reading ----

def _split(caption):
    return caption.lower().replace(",", " , ").replace(".", " ").split()


def parse(caption):
    """The attributes that a caption tells. Raises ValueError, which names the word, for what captions() cannot say."""
    words, at = _split(caption), 0
    longest = max(len(p) for p in PHRASES)
    told, nouns = {}, []
    while at < len(words):
        for n in range(longest, 0, -1):
            phrase = tuple(words[at:at + n])
            if len(phrase) == n and phrase in PHRASES:
                break
        else:
            raise ValueError(f"'{words[at]}' is not understood here: {caption}")
        attribute, value = PHRASES[phrase]
        at += n
        if attribute == "count":
            nouns.append({"count": value})
        elif attribute in ("colour", "shape", "size", "texture"):
            if not nouns:
                raise ValueError(f"'{phrase[0]}' comes before a count: {caption}")
            whole = [o for o in nouns if "shape" in o]
            if len(whole) < len(nouns):
                if attribute in nouns[-1]:
                    raise ValueError(f"'{phrase[0]}' is a second {attribute}: {caption}")
                nouns[-1][attribute] = value
            elif nouns[0].get(attribute) != value:              # "the red star ...", of object 1
                raise ValueError(f"'{phrase[0]}' is not object 1: {caption}")
        elif attribute:
            if told.setdefault(attribute, value) != value:
                raise ValueError(f"'{phrase[0]}' is a second {attribute}: {caption}")
    if len(nouns) != (2 if "relation" in told else 1):
        raise ValueError(f"{len(nouns)} objects: {caption}")
    for want in ("colour", "shape"):
        if not all(want in o for o in nouns):
            raise ValueError(f"no {want}: {caption}")
    for want in ("motion", "background"):
        if want not in told:
            raise ValueError(f"no {want}: {caption}")
    out = {"count": 1, "size": "", "texture": "plain", "speed": "", "position": "", "relation": "", "shape2": "",
           "colour2": "", **told, **nouns[0]}
    if len(nouns) == 2:
        out["shape2"], out["colour2"] = nouns[1]["shape"], nouns[1]["colour"]
    return out
