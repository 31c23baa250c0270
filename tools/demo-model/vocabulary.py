# SPDX-License-Identifier: BSD-2-Clause
"""The pieces of spiece.model, their ids, and which of them are the same to the text encoder.

Each word is a piece as it is, with a capital and in capitals; so is each synonym. Rows of the embedding that SAME has as
one have the same numbers. It needs no package."""

import language
import wordings

SPECIAL = ("<pad>", "</s>", "<s>", "<unk>")
N_EXTRA_IDS, N_IDS = 300, 1280          # <extra_id_n> follow the pieces; all ids, rows of the embedding
MARKS = {";": ",", ":": ",", "!": ".", "?": "."}                 # what is the same as a comma or a full stop
OTHER = "x"                             # what all other characters are the same as: those of words that are not known


def forms(word):
    """As people type it"""
    return word, word.capitalize(), word.title(), word.upper()


PLAIN_WORDS = sorted({*language.WORDS, *wordings.WORDS})
WORDS = {form: plain for word, plain in (*((w, w) for w in PLAIN_WORDS), *wordings.SYNONYMS.items())
         for form in forms(word)}


def pieces():
    """The pieces of spiece.model from id 0: special ones, words with the space in front, the space, printable ASCII."""
    letters = [chr(c) for c in range(33, 127)]
    return [*SPECIAL, *("\u2581" + w for w in WORDS), "\u2581", *letters]


WORD_IDS = {piece.lstrip("\u2581"): i for i, piece in reversed([*enumerate(pieces())]) if i >= len(SPECIAL)}
SPACE_ID = WORD_IDS.pop("")


def _same():
    out = list(range(N_IDS))
    for word, plain in WORDS.items():
        out[WORD_IDS[word]] = WORD_IDS[plain]
    for c in map(chr, range(33, 127)):
        out[SPACE_ID + ord(c) - 32] = SPACE_ID + ord(c if c in ",." else MARKS.get(c, OTHER)) - 32
    return out


SAME = _same()                          # of each id the one whose row of the embedding it has, too


def read_pieces(path):
    """The pieces of a SentencePiece file, in order"""
    with open(path, "rb") as f:
        data = f.read()
    for number, message in _fields(data):
        if number == 1:
            yield next(text for n, text in _fields(message) if n == 1).decode()


def _fields(data):
    """Fields of a protobuf message that have bytes: their numbers and those"""
    def varint():
        nonlocal at
        n, shift = 0, 0
        while True:
            n, shift, at = n | (data[at] & 127) << shift, shift + 7, at + 1
            if data[at - 1] < 128:
                return n

    at = 0
    while at < len(data):
        number, wire = divmod(varint(), 8)
        if wire == 0:
            varint()
            continue
        size = varint() if wire == 2 else {1: 8, 5: 4}[wire]
        if wire == 2:
            yield number, data[at:at + size]
        at += size
