# SPDX-License-Identifier: BSD-2-Clause
"""Captions of scenes as people type them, and the reading of such.

    wordings.write(s, 0)                    # of row 0 of scenes.Scenes; fixed by the scene
    wordings.write(s, 0, held_out=True)     # by templates and phrases that training never sees
    wordings.read("Two RED balls, on the ocean.")   # {"count": 2, "colour": "red", ...}, as language.parse() gives it

They differ from scenes.captions() in the order of what is told, in phrases, articles left out, marks, digits, capitals
and synonyms. A synonym of one word, a digit, a word with capitals are the same to the text encoder as the plain word:
they have rows of their own in its embedding, but the same numbers (vocabulary.SAME).

What is left out is: the background black, the colour white, and nothing moves.

It needs no package. `wordings.py [-n N]` checks that what is written is read as the scene has it; for that it needs numpy
and torch.
"""
import argparse
import itertools
import random
import re
import sys

from language import (BACKGROUND_PHRASES, COLOURS, DIRECTION_PHRASES, MOTION_PHRASES, MOVE, POSITION_PHRASES,
                      RELATION_PHRASES, SHAPES, SIZES, SPEED_PHRASES, TEXTURES, plural)

# ---- synonyms: word -> the plain word ----

_SYNONYMS = {
    "circle": "ball disc disk", "square": "box block", "ring": "hoop donut doughnut", "cross": "plus",
    "circles": "balls discs disks", "squares": "boxes blocks", "rings": "hoops donuts doughnuts",
    "red": "crimson scarlet", "yellow": "golden", "green": "emerald", "blue": "navy azure", "purple": "violet lilac",
    "pink": "rose magenta", "grey": "gray", "small": "little tiny mini", "big": "large huge giant",
    "striped": "stripy stripey", "dotted": "spotted polka-dot polka-dotted", "stripes": "lines", "dots": "spots",
    "moves": "goes travels drifts slides glides flies floats", "move": "go travel drift slide glide fly float",
    "moving": "going travelling traveling drifting sliding gliding flying floating",
    "bounces": "hops jumps", "bounce": "hop jump", "bouncing": "hopping jumping", "grows": "expands swells",
    "grow": "expand swell", "growing": "expanding swelling", "shrinks": "contracts", "shrink": "contract",
    "shrinking": "contracting", "spins": "revolves twirls", "spin": "revolve twirl", "spinning": "revolving twirling",
    "gets": "becomes", "get": "become", "getting": "becoming", "bigger": "larger", "smaller": "tinier",
    "stays": "stands remains sits", "stay": "stand remain sit", "staying": "standing remaining sitting",
    "still": "motionless static stationary", "slowly": "gently", "quickly": "rapidly swiftly", "quick": "rapid swift",
    "upwards": "upward", "downwards": "downward", "left": "leftwards leftward", "right": "rightwards rightward",
    "towards": "toward", "sea": "ocean", "meadow": "lawn field", "beach": "shore", "sand": "desert",
    "sunset": "sundown", "dusk": "nightfall twilight", "background": "backdrop", "centre": "center", "near": "by",
    "under": "beneath underneath", "one": "1", "two": "2", "three": "3", "video": "clip film movie animation",
    "picture": "image frame screen",
}
SYNONYMS = {word: plain for plain, words in _SYNONYMS.items() for word in words.split()}

# ---- phrases beside language.py's: for training; held out ----

_PLAIN = {c: ((f"against a {c} background", f"in front of a {c} background", f"with a {c} background",
               f"{c} background", *(f"{p} {c}" for p in more)), tuple(f"{p} {c}" for p in held_out))
          for c, more, held_out in (("black", ("in front of", "the background is"), ("against",)),
                                    ("grey", ("in front of", "against"), ("the background is",)),
                                    ("white", ("the background is", "against"), ("in front of",)))}
BACKGROUNDS = {
    **_PLAIN,
    "night": (("in the night sky", "under the stars", "at night under the stars"), ("in a starry night",)),
    "grass": (("in a meadow", "on grass", "over the grass", "on a green background"), ("on the green meadow",)),
    "sea": (("on the water", "over the sea", "at sea", "on a blue background"), ("over the blue sea",)),
    "sand": (("at the beach", "in the sand", "over the sand"), ("on the yellow beach",)),
    "sunset": (("against a sunset", "in the sunset"), ("in front of the sunset sky",)),
    "dusk": (("as night falls", "at dusk"), ("as day turns to dusk",)),
}
POSITIONS = {
    "left": (("at the left", "near the left edge", "on the left of the picture"), ("near the left side",)),
    "right": (("at the right", "near the right edge", "on the right of the picture"), ("near the right side",)),
    "top": (("near the top", "at the top edge", "at the top of the picture"), ("near the top edge",)),
    "bottom": (("near the bottom", "at the bottom edge", "at the bottom of the picture"), ("near the bottom edge",)),
    "centre": (("at the centre", "in the middle of the picture"), ("in the centre of the picture",)),
}
RELATIONS = {"left": (("on the left of", "at the left of", "on the left side of"), ("at the left side of",)),
             "right": (("on the right of", "at the right of", "at the right side of"), ("on the right side of",)),
             "above": (("on top of",), ()), "below": ((), ())}
DIRECTIONS = {"left": (("towards the left", "from right to left", "to the left side"), ("from the right to the left",)),
              "right": (("towards the right", "from left to right", "from the left to the right"), ("to the right side",)),
              "up": (("to the top", "from bottom to top", "towards the top"), ("from the bottom to the top",)),
              "down": (("to the bottom", "from top to bottom", "towards the bottom"), ("from the top to the bottom",))}
MOTIONS = {"still": ((("is still", "are still", "still"), ("does nothing", "do nothing", "without moving"),
                      ("is not moving", "are not moving", "not moving")), ()),
           "bounce": ((), ()), "grow": ((), ()), "shrink": ((), ()),
           "rotate": ((("turns around", "turn around", "turning around"),), ())}
SPEEDS = {"slow": (("at low speed",), ()), "quick": (("at high speed",), ())}
ADVERBS = {"slow": "slow", "quick": "quick"}                     # as an adjective
COUNTS = {1: ("a", "a", "a", "one", "a single"), 2: ("two", "two", "a pair of"), 3: ("three",)}
THE = {1: "the", 2: "the two", 3: "the three"}
WITH = {"striped": "with stripes", "dotted": "with dots"}
FILMS = ("a video of", "show me")

# ---- phrases by rule, for training alone ----

def _product(*parts):
    return [" ".join(" ".join(words).split()) for words in itertools.product(*parts)]


def _by_rule():
    """attribute -> value -> phrases"""
    of_it = ("", "of the picture")
    grounds = {c: _product(("on", "against", "in front of"), ("", "a", "the"), (c,), ("", "background", "picture")) +
               _product(("with the",), (c,), ("background",)) + _product(("the background",), (c,))
               for c in ("black", "grey", "white")}
    for value, before, nouns in (
            ("night", ("in", "at", "under"), ("the night sky", "the starry sky", "the night")),
            ("night", ("under stars", "with stars in the sky", "in the sky at night", "at night in the sky"), ("",)),
            ("grass", ("on", "in", "over", "against", "in front of"), ("grass", "the green grass", "the meadow", "a green meadow")),
            ("sea", ("on", "in", "over", "at", "near"), ("the sea", "the blue sea", "the water", "blue water")),
            ("sand", ("on", "in", "over", "at"), ("the sand", "yellow sand", "the beach", "a sandy beach", "a yellow beach")),
            ("sunset", ("at", "in", "against", "in front of", "under"), ("the sunset", "a sunset sky", "the sky at sunset")),
            ("dusk", ("as", "while"), ("night falls", "the night falls", "dusk falls", "day turns to night",
                                       "the day turns to dusk", "the sky turns to night")),
            ("dusk", ("at", "in"), ("the dusk",))):
        grounds.setdefault(value, []).extend(_product(before, nouns))
    places = {side: _product(("on", "at", "near", "in"), ("the",), (side,), ("", "side", "edge"), of_it)
              for side in ("left", "right")}
    places |= {end: _product(("at", "near"), ("the",), (end,), ("", "edge", "side"), of_it) for end in ("top", "bottom")}
    places["centre"] = _product(("in", "at", "near"), ("the",), ("centre", "middle"), of_it)
    relations = {side: _product(("on", "at", "to"), ("the",), (f"{side} of", f"{side} side of")) for side in ("left", "right")}
    ways = {a: _product(("to the", "towards the"), (a,), ("", "side", "edge")) +
            _product((f"from the {b}",), ("", "side", "edge"), ("to the",), (a,), ("", "side", "edge"))
            for a, b in (("left", "right"), ("right", "left"))}
    for way, a, b in (("up", "top", "bottom"), ("down", "bottom", "top")):
        ways[way] = (_product(("to the", "towards the"), (a,), ("", "edge", "of the picture")) +
                     _product((f"from the {b}",), ("", "edge"), ("to the",), (a,), ("", "edge")))
    return {"background": grounds, "position": places, "relation": relations, "motion": ways}


# ---- templates ----

# n noun, p position, v verb, g participle, w background, film: one of FILMS; it, there: of the noun's number
ONE = ("{n} {p} {v} {w}", "{n} {p} {v} {w}", "{w} {n} {p} {v}", "{w}, {n} {p} {v}", "{n} {p} {w} {g}", "{n}, {g}, {w}, {p}",
       "{n} {v} {w}, {p}", "{n} {v} {p} {w}", "{there} {n} {p} {w}. {it} {v}", "{there} {n} {w}, {it} {v}, {p}",
       "{n} {p} that {v} {w}", "{g} {n} {p} {w}", "{g}, {n} {w}, {p}", "{p}, {n} {v} {w}", "{film} {n} {p} {g} {w}",
       "{film} {n} {p} that {v} {w}", "{w}, {g}: {n} {p}", "{n} {g} {p}, {w}", "{n}. {it} {v} {w}, {p}",
       "{p} {there} {n}, {g} {w}")
ONE_HELD_OUT = ("{w} {there} {n} {p} that {v}", "{g} {w}, {n} {p}", "{w}: {n}, {g}, {p}", "{film} {n} {w}. {it} {v}, {p}",
                "{p}, {w}, {n} {v}", "{n} {w} that {v}, {p}", "{p}, {n}. {it} {v} {w}", "{w}, {g} {n} {p}",
                "{there} {n}. {it} {v} {p} {w}")
RESTING = ("{n} {p} {w}", "{w}, {n} {p}", "{there} {n} {p} {w}", "{film} {n} {p} {w}")
RESTING_HELD_OUT = ("{w} {there} {n} {p}", "{n}, {w}, {p}", "{p}, {n} {w}", "{p} {w} {there} {n}")
# n is r m; e what happens
TWO = ("{n} {r} {m} {w}, {e}", "{w}, {n} is {r} {m}, {e}", "{n} is {r} {m} {w}. {e}", "there is {n} {r} {m} {w}. {e}",
       "{w}, {n} {r} {m}. {e}", "{film} {n} {r} {m} {w}, {e}", "{r} {m} there is {n} {w}. {e}", "{r} {m} is {n}, {w}, {e}",
       "{m} with {n} {r} it {w}, {e}", "{w}: {m} with {n} {r} it. {e}", "{w} {n} {r} {m}, {e}")
TWO_HELD_OUT = ("{w} there is {n} {r} {m}. {e}", "{w}, {r} {m} there is {n}, {e}", "{film} {m} with {n} {r} it {w}. {e}",
                "{n}, {r} {m}, {w}. {e}", "{w}, there is {m} with {n} {r} it, {e}", "{w} {r} {m} is {n}. {e}")
# by chance, for training alone: these in some order, what happens after those to whom it does
ACTS = {"noun": ("{v}", "{v}", "that {v}", "{g}"), "stop": ("{it} {v}",), "else": ("{g}",)}
PAIRS = ("{n} {r} {m}", "{n} is {r} {m}", "there is {n} {r} {m}", "{film} {n} {r} {m}", "{r} {m} is {n}", "{r} {m} there is {n}",
         "{m} with {n} {r} it", "there is {m} with {n} {r} it")
ALL_STILL = ("both stay still", "both do not move", "nothing moves", "both are still", "")
ARTICLES = ("a", "an", "the")
ALONG = {w for word in (*MOVE, "slowly", "quickly") for w in (word, *_SYNONYMS[word].split())}


class Writer:
    def __init__(self, s, i, held_out, turn):
        self.random = random.Random(f"{int(s.seed[i])} {held_out} {turn}")
        self.the = random.Random(f"{int(s.seed[i])} {held_out} {turn} the")
        self.held_out, self.count = held_out, int(s.count[i])
        for name in ("shape", "colour", "motion", "background", "texture", "size", "speed", "position", "relation",
                     "shape2", "colour2"):
            setattr(self, name, s.name(name, i))
        self.form = int(self.count > 1)
        self.by_chance = not held_out and self.random.random() < 0.5
        chance = self.random.random
        self.rests = self.motion == "still" and chance() < 0.3
        self.no_ground = self.background == "black" and chance() < 0.3
        self.no_colour = self.colour == "white" and not self.relation and chance() < 0.2

    def pick(self, options):
        return self.random.choice(options)

    def phrase(self, known, more, rule=()):
        """One of language.py's or of those beside them; where wordings are held out, half the time of those held out; in
        training half the time one by rule that is not held out"""
        trained, held_out = more
        if self.held_out and held_out and self.random.random() < 0.5:
            return self.pick(held_out)
        if self.by_chance and rule and self.random.random() < 0.5:
            kept = {_plain(p) for p in held_out}
            return self.pick([p for p in rule if _plain(p) not in kept])
        return self.pick((*known, *trained))

    def template(self, trained, held_out):
        if self.held_out:
            return self.pick(held_out)
        made = self.by_chance and (self.two_by_chance if self.relation else self.one_by_chance)()
        return made if made and made not in held_out else self.pick(trained)

    def one_by_chance(self):
        first = self.pick(("{n}", "{n}", "{n}", "{there} {n}", "{film} {n}"))
        parts = ["{p}", "{w}"] + ["act"] * (not self.rests)
        self.random.shuffle(parts)
        parts.insert(self.random.randint(0, len(parts)), first)
        out, before = "", ""
        for part in parts:
            mark = self.pick((" ", " ", " ", ", ", ", ", ". " if "{n}" in out and part == "act" else " ")) if out else ""
            if part == "act":
                after = "stop" if mark == ". " else "noun" if before == first and mark == " " else "else"
                part = self.pick(ACTS[after][2:] if after == "noun" and len(first) > 3 else ACTS[after])
            out, before = out + mark + part, part
        return out

    def two_by_chance(self):
        ground = self.random.randint(0, 2)
        pair, end = self.pick(PAIRS), self.pick((", ", ", ", ". ")) + "{e}"
        mark = self.pick((" ", ", "))
        return ("{w}" + mark + pair + end, pair + mark + "{w}" + end, pair + end + mark + "{w}")[ground]

    def noun(self, count, shape, colour, size="", texture=""):
        texture = "" if texture == "plain" else texture
        after = ""
        if texture and self.random.random() < 0.3:
            texture, after = "", " " + WITH[texture]
        words = [w for w in (size, texture, "" if self.no_colour and shape == self.shape else colour) if w]
        if self.adjective:
            words.insert(0, self.adjective)
        if self.random.random() < 0.3:
            self.random.shuffle(words)
        first = self.pick(COUNTS[count])
        if self.the.random() < 0.25:
            first = THE[count]
        return " ".join([first, *words, plural(shape) if count > 1 else shape]) + after

    def verb(self, form):
        """form: 0 of one, 1 of several, 2 participle"""
        if form < 2 and self.random.random() < 0.25 and self.motion != "still":
            return f"{('is', 'are')[form]} {self.verb(2)}"
        if self.motion not in DIRECTIONS:
            return self.phrase(MOTION_PHRASES[self.motion], MOTIONS[self.motion])[form]
        direction = self.phrase(DIRECTION_PHRASES[self.motion], DIRECTIONS[self.motion], BY_RULE["motion"][self.motion])
        how = "" if self.adjective else self.phrase(SPEED_PHRASES[self.speed], SPEEDS[self.speed])
        if " " in how or how == "fast":
            return f"{MOVE[form]} {direction} {how}"
        order = self.pick(((MOVE[form], how, direction), (how, MOVE[form], direction), (MOVE[form], direction, how)))
        return " ".join(order)

    def where(self):
        return "" if self.no_ground else self.phrase(
            BACKGROUND_PHRASES[self.background], BACKGROUNDS[self.background], BY_RULE["background"][self.background])

    def keywords(self, place):
        """What there is, one after another"""
        items = [self.colour, self.size, "" if self.texture == "plain" else self.texture, self.where(), place,
                 "" if self.rests else self.verb(2)]
        items = [x for x in items if x]
        self.random.shuffle(items)
        shape = plural(self.shape) if self.count > 1 else self.shape
        shape = (self.pick(("", "a ", "one ")), "two ", "three ")[self.count - 1] + shape
        items.insert(self.random.randint(1, len(items)) if self.held_out else 0, shape)
        return ", ".join(items)

    def two(self):
        noun = self.noun(1, self.shape, self.colour)
        self.adjective = ""
        other = self.noun(1, self.shape2, self.colour2)
        end = self.pick(ALL_STILL[:-1])
        if self.motion != "still":
            which = self.pick((self.shape, f"{self.colour} {self.shape}"))
            end = f"{self.pick(('', '', 'and ', 'while '))}the {which} {self.verb(0)}"
        elif self.rests:
            end = ""
        return self.template(TWO, TWO_HELD_OUT).format(
            n=noun, m=other, r=self.phrase(RELATION_PHRASES[self.relation], RELATIONS[self.relation],
                                   BY_RULE["relation"].get(self.relation, ())),
            w=self.where(), e=end, film=self.pick(FILMS))

    def one(self):
        place = self.position and self.phrase(POSITION_PHRASES[self.position], POSITIONS[self.position],
                                              BY_RULE["position"][self.position])
        if not (self.no_colour or self.adjective) and self.random.random() < 0.1:
            return self.keywords(place)
        template = self.template(*((RESTING, RESTING_HELD_OUT) if self.rests else (ONE, ONE_HELD_OUT)))
        if self.no_colour and "{w} {n" in template.replace("{p} ", ""):              # "on black circle"
            template = RESTING[0] if self.rests else ONE[0]
        return template.format(
            n=self.noun(self.count, self.shape, self.colour, self.size, self.texture), p=place, w=self.where(),
            v=self.verb(self.form), g=self.verb(2), film=self.pick(FILMS), it=("it", "they")[self.form],
            there=("there is", "there are")[self.form])

    def text(self):
        self.adjective = ""
        if self.speed and self.motion in DIRECTIONS and not self.relation and self.random.random() < 0.1:
            self.adjective = ADVERBS[self.speed]
        words = (self.two() if self.relation else self.one()).split()
        text = tidy(" ".join(words))
        if self.random.random() < 0.3:
            text = tidy(" ".join(w for w in text.split() if w not in ARTICLES))
        return text


def tidy(text):
    """Without the marks that something left out leaves behind, and with an before vowels"""
    text = re.sub(r"\s+([,.:])", r"\1", text.strip())
    text = re.sub(r"[,:.]+([.])|[,:]+([,:])", r"\1\2", text)
    text = re.sub(r"([.])[,:]", r"\1", text)
    return re.sub(r"\ba (?=[aeiou])", "an ", text.strip(" ,:."))


def dressed(text, rng):
    """With synonyms, digits, capitals, a full stop: what makes no difference to the text encoder, but for the full stop"""
    others = {}
    for word, plain in SYNONYMS.items():
        others.setdefault(plain, []).append(word)
    out = [""]
    for part in re.findall(r"[\w-]+|\W+", text):
        options = others.get(part, ())
        if part in ("left", "right") and (len(out) < 2 or out[-2] not in ALONG):
            options = ()                                             # nobody types "on the leftward"
        out.append(rng.choice(options) if options and rng.random() < 0.4 else part)
    text = re.sub(r"\b(a|an) (\w)", lambda m: f"a{'n' * (m[2] in 'aeiou')} {m[2]}", "".join(out))
    style = rng.random()
    if style < 0.5:
        text = re.sub(r"(^|[.] )([a-z])", lambda m: m[1] + m[2].upper(), text)
    elif style < 0.6:
        text = text.title()
    elif style < 0.7:
        text = text.upper()
    return text + "." * (rng.random() < 0.4)


def write(s, i, held_out=False, dress=True, most=31, first=0):
    """A caption of row i, of at most so many words and marks; another `first` is another one"""
    for turn in range(first, first + 100):
        writer = Writer(s, i, held_out, turn)
        text = writer.text()
        if dress:
            text = dressed(text, writer.random)
        if len(split(text)) < most:
            return text
    raise ValueError("no short caption")


# ---- reading ----

def split(text):
    return re.findall(r"[,.;:!?]|[^\s,.;:!?]+", text)


def _plain(text):
    words = (SYNONYMS.get(w, w) for w in split(text.lower()))
    return tuple(w for w in words if w not in ARTICLES and w[0] not in ",.;:!?")


def _all(table, more):
    for value, phrases in table.items():
        for p in (*phrases, *more[value][0], *more[value][1]):
            yield value, p


BY_RULE = _by_rule()


def _phrases():
    out = {_plain(p): (None, None) for p in (*FILMS, "show", "there is", "there are", "is", "are", "it", "they", "that",
                                            "and", "while", "with", "both", "single")}
    for attribute, table, more in (("background", BACKGROUND_PHRASES, BACKGROUNDS),
                                   ("position", POSITION_PHRASES, POSITIONS),
                                   ("relation", RELATION_PHRASES, RELATIONS), ("motion", DIRECTION_PHRASES, DIRECTIONS),
                                   ("speed", SPEED_PHRASES, SPEEDS)):
        out.update({_plain(p): (attribute, value) for value, phrases in BY_RULE.get(attribute, {}).items() for p in phrases})
        out.update({_plain(p): (attribute, value) for value, p in _all(table, more)})
    for value, forms in _all(MOTION_PHRASES, MOTIONS):
        out.update({_plain(p): ("motion", value) for p in forms})
    out.update({_plain(p): ("motion", "still") for p in ALL_STILL if p})
    out.update({(w,): (None, None) for w in MOVE})
    out.update({(c,): ("colour", c) for c in COLOURS})
    out.update({(w,): ("shape", s) for s in SHAPES for w in (s, plural(s))})
    out.update({(s,): ("size", s) for s in SIZES[1:]})
    out.update({_plain(p): ("texture", t) for t in TEXTURES[1:] for p in (t, WITH[t])})
    out.update({(word,): ("speed", s) for s, word in ADVERBS.items()})
    out.update({_plain(p): ("count", n) for n, phrases in COUNTS.items() for p in phrases if _plain(p)})
    return out


PHRASES = _phrases()
LONGEST = max(len(p) for p in PHRASES)
WORDS = sorted({w for p in PHRASES for w in p} | set(ARTICLES))


def _events(text):
    words, at = _plain(text), 0
    while at < len(words):
        for n in range(min(LONGEST, len(words) - at), 0, -1):
            if words[at:at + n] in PHRASES:
                break
        else:
            raise ValueError(f"'{words[at]}' is not understood here: {text}")
        yield PHRASES[words[at:at + n]]
        at += n


def _set(told, attribute, value, text):
    if told.setdefault(attribute, value) != value:
        raise ValueError(f"'{value}' is a second {attribute}: {text}")


def read(text):
    """The attributes that a text tells, as language.parse() has them. ValueError names the word that is not understood"""
    events = [e for e in _events(text) if e[0]]
    told, nouns, pending, order = {}, [], {}, ""
    two = any(a == "relation" for a, _ in events)
    for attribute, value in events:
        if attribute == "shape":
            old = next((o for o in nouns if o["shape"] == value), None)
            if old is None:
                old = {"shape": value}
                nouns.append(old)
                order += "n"
            for a, v in pending.items():
                _set(old, a, v, text)
            pending = {}
        elif attribute in ("colour", "size", "texture", "count"):
            _set(pending if two or not nouns else nouns[0], attribute, value, text)
        else:
            order += "r" * (attribute == "relation")
            _set(told, attribute, value, text)
    if len(nouns) != 1 + two or pending:
        raise ValueError(f"{len(nouns)} objects: {text}")
    if order in ("rnn", "nnr"):                                 # above a star a circle; a star with a circle above it
        nouns = nouns[::-1]
    one = {"count": 1, "colour": "white", "size": "", "texture": "plain", **nouns[0]}
    other = nouns[1] if two else {"shape": "", "colour": ""}
    return {"speed": "", "position": "", "relation": "", "motion": "still", "background": "black", **told, **one,
            "shape2": other["shape"], "colour2": other.get("colour", "white")}


# ---- the check ----

def check(n):
    import numpy as np

    import language
    import scenes

    s, wrong = scenes.sample(n, np.random.default_rng(11), held_out=None), 0
    for i in range(n):
        plain = scenes.captions(s.take(slice(i, i + 1)))[0]
        want = language.parse(plain)
        for text in (plain, write(s, i), write(s, i, held_out=True)):
            try:
                found = read(text)
            except ValueError as e:
                found = str(e)
            if found != want:
                wrong += 1
                print(f"{text}\n  {found}\n  want {want}")
    print(f"{3 * n - wrong} of {3 * n} captions are read as their scenes are")
    return 1 if wrong else 0


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("-n", type=int, default=2000)
    return check(ap.parse_args().n)


if __name__ == "__main__":
    sys.exit(main())
