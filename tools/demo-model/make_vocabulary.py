#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Write spiece.model, the vocabulary of the demo model: each word of scenes.prompts() is one piece.

usage: make_vocabulary.py OUT.model
       make_vocabulary.py --check spiece.model [--tdinfo build/tdinfo] [-n 2000]

A SentencePiece Unigram model with umT5's conventions: ids 0 <pad>, 1 </s>, 2 <s>, 3 <unk>; identity normaliser; a dummy
prefix; extra whitespace kept. Nothing is trained, all pieces are known: the words, the space and the printable ASCII
characters. Byte pieces and user-defined pieces are left out: umT5's tokenizer never falls back to bytes (what is not in
the vocabulary is <unk>), and with the 300 extra ids they would double the size of the embedding.

--check compares the ids of n captions and of some other texts, of scenes.tokens(), the package sentencepiece (where it
is installed) and the engine (tdinfo).
"""
import argparse
import struct
import subprocess
import sys

import numpy as np

import scenes
import vocabulary
import wordings

NORMAL, UNKNOWN, CONTROL, UNIGRAM = 1, 2, 3, 1
WORD_SCORE, CHARACTER_SCORE = -5.0, -10.0       # a word is always better than its letters
OTHER = ["", "a cat", "A Red circle!", "A Red Circle moves to the right, slowly.", "3 STARS;2 Rings",
         "red-hot stars: 3", "caf\u00e9 \u732b on grass", "redred circles"]


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def number(field, n):
    return varint(field << 3) + varint(n)


def block(field, data):
    return varint(field << 3 | 2) + varint(len(data)) + data


def model():
    out, all_pieces = b"", vocabulary.pieces()
    for i, text in enumerate(all_pieces):
        special = i < len(vocabulary.SPECIAL)
        kind = UNKNOWN if text == "<unk>" else CONTROL if special else NORMAL
        score = 0.0 if special else WORD_SCORE if len(text) > 1 else CHARACTER_SCORE
        out += block(1, block(1, text.encode()) + varint(2 << 3 | 5) + struct.pack("<f", score) + number(3, kind))
    trainer = number(3, UNIGRAM) + number(4, len(all_pieces))
    ids = {name: vocabulary.SPECIAL.index(name) for name in vocabulary.SPECIAL}
    for field, name in ((40, "<unk>"), (41, "<s>"), (42, "</s>"), (43, "<pad>")):
        trainer += number(field, ids[name])
    for field, name in ((45, "<unk>"), (46, "<s>"), (47, "</s>"), (48, "<pad>")):
        trainer += block(field, name.encode())
    return out + block(2, trainer) + block(3, block(1, b"identity") + number(3, 1) + number(4, 0))


def engine_ids(tdinfo, path, texts):
    done = subprocess.run([tdinfo, "--tokenize", path], input=b"".join(t.encode() + b"\0" for t in texts),
                          capture_output=True, check=True)
    return [[int(i) for i in line.split()] for line in done.stdout.decode().splitlines()]


def check(path, tdinfo, n):
    s = scenes.sample(n, np.random.default_rng(7))
    captions = scenes.captions(s) + scenes.prompts(s, "new") + scenes.prompts(s, "new", held_out=True)
    n = len(captions)
    ids, lengths = scenes.tokens(captions)
    ours = [row[:k].tolist() for row, k in zip(ids, lengths, strict=True)]
    engine = engine_ids(tdinfo, path, captions + OTHER)
    pairs = {"engine": engine[:n]}
    try:
        import sentencepiece
    except ImportError:
        print("sentencepiece is not installed: not compared")
    else:
        sp = sentencepiece.SentencePieceProcessor(model_file=path)
        pairs["sentencepiece"] = [sp.encode(t) + [sp.eos_id()] for t in captions]
        for text, row in zip(OTHER, engine[n:], strict=True):
            if sp.encode(text) + [sp.eos_id()] != row:
                print(f"differs: {text!r}: sentencepiece {sp.encode(text)}, engine {row}")
                return 1
    bad = 0
    for name, theirs in pairs.items():
        wrong = [t for t, a, b in zip(captions, ours, theirs, strict=True) if a != b]
        print(f"{name}: {n - len(wrong)} of {n} captions equal")
        bad += len(wrong) + (len(theirs) != n)
    used = {i for row in ours for i in row}
    plain = {vocabulary.SAME[i] for i in used}
    unused = [w for w in vocabulary.PLAIN_WORDS if vocabulary.WORD_IDS[w] not in plain]
    unused += [w for w in wordings.SYNONYMS if not {vocabulary.WORD_IDS[f] for f in vocabulary.forms(w)} & used]
    print(f"{len(vocabulary.pieces())} pieces; longest caption {int(lengths.max())} ids; words never used: {unused}")
    with open(path, "rb") as f:
        same = f.read() == model()
    print("the file is " + ("as made" if same else "NOT as made"))
    return 1 if bad or unused or not same else 0


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("path")
    ap.add_argument("--check", action="store_true")
    ap.add_argument("--tdinfo", default="build/tdinfo")
    ap.add_argument("-n", type=int, default=2000)
    args = ap.parse_args()
    if args.check:
        return check(args.path, args.tdinfo, args.n)
    if len(vocabulary.pieces()) + vocabulary.N_EXTRA_IDS > vocabulary.N_IDS:
        print(f"{len(vocabulary.pieces())} pieces and {vocabulary.N_EXTRA_IDS} extra ids, want at most {vocabulary.N_IDS}")
        return 1
    with open(args.path, "wb") as f:
        f.write(model())
    return 0


if __name__ == "__main__":
    sys.exit(main())
