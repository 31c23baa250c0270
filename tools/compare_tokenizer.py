#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Compare token ids with the official pipeline: ftfy, html.unescape twice, whitespace, then the fast Unigram tokenizer.

usage: compare_tokenizer.py --spiece FILE [--tdinfo build/tdinfo] [--tokenizer-json FILE] [-n 1000] [--seed N]
       compare_tokenizer.py --spiece FILE --write-golden OUT.json [-n N] [--seed N]

Needs the packages tokenizers, sentencepiece, protobuf, ftfy and regex. Without --tokenizer-json the fast tokenizer is
built from the .model file in the official tokenizer.json's shape. Prints how many prompts agree and each reason for a
difference; exit code 1 if there is a difference that no listed limit explains.
"""
import argparse
import html
import json
import random
import subprocess
import sys

import ftfy
import regex
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

N_IDS = 512
N_EXTRA = 300

SENTENCES = {
    "latin": "A cat surfing on a wave at sunset|Zwei Füchse laufen über die Straße, größer als früher|"
             "L'été, un garçon mange une crème brûlée à Noël|São Paulo à noite, emoção e coração|"
             "Žluťoučký kůň pěl ďábelské ódy|Pchnąć w tę łódź jeża lub ośm skrzyń fig|"
             "Một con mèo trắng đang ngồi trên bãi biển|İstanbul'da güneş batıyor, ışıklar yanıyor",
    "cyrillic": "Кошка медленно идёт по заснеженной улице|Старый рыбак смотрит на море|Їжак під ґанком",
    "greek": "Η γάτα περπατά στον δρόμο|Ο ήλιος δύει πίσω από τα βουνά|ΐ ΰ Ἀθῆναι",
    "arabic": "القطة تمشي ببطء في الشارع|مشهد سينمائي عند الغروب، جودة عالية|گربه‌ای زیر باران",
    "hebrew": "החתול הולך לאט ברחוב|שקיעה מעל הים התיכון",
    "devanagari": "एक बिल्ली सड़क पर चल रही है|सूर्यास्त के समय समुद्र तट",
    "thai": "แมวเดินช้าๆ บนถนนในตอนกลางคืน|พระอาทิตย์ตกที่ชายหาด",
    "han": "一只猫在雪地里慢慢行走，镜头跟随它。|色调艳丽，过曝，静态，细节模糊不清|兩隻貓在聚光燈下的舞台上激烈地拳擊",
    "kana": "猫が雪の中をゆっくり歩いている。|カメラはゆっくりとズームインする|ｶﾞｷﾞｸﾞ ﾊﾟﾋﾟ",
    "hangul": "고양이가 눈 덮인 거리를 걷고 있다|해질녘 바닷가에서 개가 놀고 있다|각",
}

ODDITIES = [
    "“quoted” ‘text’ it’s", "„low“ ‚x‘ ‟y‟ ‛z", "🐱🏽‍🚀 🏄‍♀️ 👩‍👩‍👧", "🇯🇵 ❤️ ✨", "line one\nline two",
    "a\r\nb\rc\n\n\nd", "tab\tand\x0bvt\x0cff", "</s>", "<pad> x <s>", "<unk>", "<extra_id_0>",
    "<extra_id_299>", "<extra_id_300>", "<extra_id_07>", "a<extra_id_12>b", "<extra_id_", "AT&amp;T R&D",
    "&lt;b&gt;bold&lt;/b&gt;", "&copy 2024 &copy; &reg", "&notit; &notin; &notinva", "&amp;amp;lt;",
    "&#65;&#x42;&#67 &#x1F600;", "&#0; &#128; &#xD800; &#x110000; &#31; &#xFDD0;", "&EACUTE;T&Eacute; &eacute;",
    "BUNDESSTRA&SZLIG;E", "&FILIG; &NAPOS; &HELLIP;", "x &ldquo;y&rdquo; <i>", "<\n&ldquo;z&rdquo;",
    "&#8203;zero&#8203;width", "&;& &#; &#x; &#xzz;", "&CounterClockwiseContourIntegral;",
    "&thisnameisfartoolongtobeone;", "ﬁne ﬂag ﬀ ŉ ĳ ǆ ﬆ ﬅ", "ＡＢＣ　１２３！？（）", "￥￦￡￠￢￣",
    "e\u0301a\u0300 A\u030a \u1100\u1161\u11a8 \u304b\u3099", "\u212b \u2126 \u1e9b\u0323 q\u0307\u0323",
    "\x1b[31mred\x1b[0m \x1b[1;5H \x1b[", "bell\x07 nul\x01 del\x7f \x1c\x1d",
    "\u0085next \u2028line \u2029para", "\u00a0nbsp\u2003em\u3000full\u200bzw\ufeffbom",
    "\u202eevil\u202c \u206a \ufffc", "  leading", "trailing  ", "double  space   run", "a▁b", "x ▁y ▁▁", "▁",
    "<0x41> <0x0A>", "[web] [eod] [img]", "𠀋𡈽 𪚥", "😀𠀋😀", "\U0010ffff\ue000",
    "1girl, 8k, HDR; f/1.8 (bokeh:1.2) --ar 16:9 @50mm #art 100%", "C:\\path\\file.txt", "\u0378 unassigned",
    "\u0345\u0301\u0323 marks first", "½ cup, 30°, §5, ¿qué? ¡sí!", "…—–·", "\u009d\u0081",
]

MOJIBAKE = ["cafÃ© crÃ¨me", "itâ€™s a dogâ€™s life", "â€œquotedâ€\x9d", "Ð¿Ñ€Ð¸Ð²ÐµÑ‚", "sÃ£o paulo Ã  noite"]


def make_prompts(rng, n, mojibake):
    out = ["", " ", "cat", "cat " * 512, "cat " * 511, "猫" * 600, "a" * 3000, "\n".join(ODDITIES)]
    out += ODDITIES
    if mojibake:
        out += MOJIBAKE
    for sentences in SENTENCES.values():
        out += sentences.split("|")
    while len(out) < n:
        parts = []
        for _ in range(rng.randint(1, 4)):
            words = rng.choice(rng.choice(list(SENTENCES.values())).split("|")).split(" ")
            a = rng.randrange(len(words))
            parts.append(" ".join(words[a:a + rng.randint(1, 12)]))
            if rng.random() < 0.4:
                parts.append(rng.choice(ODDITIES))
            if rng.random() < 0.1:
                text = rng.choice(ODDITIES)
                a = rng.randrange(len(text))
                parts.append(text[a:a + rng.randint(1, 6)])
        out.append(rng.choice([" ", " ", ", ", "", "\n"]).join(parts))
    return [t.replace("\0", "") for t in out[:n]]


def clean(text, fix_encoding=True):
    text = ftfy.fix_text(text, fix_encoding=fix_encoding)
    text = html.unescape(html.unescape(text)).strip()
    return regex.sub(r"\s+", " ", text).strip()


def build_tokenizer(path):
    model = sentencepiece_model_pb2.ModelProto()
    with open(path, "rb") as f:
        model.ParseFromString(f.read())
    vocab = [(p.piece, p.score) for p in model.pieces]
    extra = [f"<extra_id_{i}>" for i in range(N_EXTRA - 1, -1, -1)]
    tok = Tokenizer(models.Unigram(vocab + [(e, 0.0) for e in extra], unk_id=3, byte_fallback=False))
    tok.normalizer = normalizers.Sequence([normalizers.Replace(Regex(" {2,}"), " ")])
    tok.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    tok.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tok.add_special_tokens([AddedToken(t, normalized=False) for t in ["<pad>", "</s>", "<s>", "<unk>"] + extra])
    return tok


def official_ids(tok, text):
    tok.enable_truncation(max_length=N_IDS)
    tok.no_padding()
    return tok.encode(text, add_special_tokens=True).ids


def our_ids(tdinfo, spiece, prompts):
    data = b"".join(p.encode() + b"\0" for p in prompts)
    done = subprocess.run([tdinfo, "--tokenize", spiece], input=data, capture_output=True, check=True)
    return [[int(i) for i in line.split()] for line in done.stdout.decode().splitlines()]


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--spiece", required=True)
    ap.add_argument("--tokenizer-json")
    ap.add_argument("--tdinfo", default="build/tdinfo")
    ap.add_argument("-n", type=int, default=1000)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--write-golden")
    args = ap.parse_args()
    tok = Tokenizer.from_file(args.tokenizer_json) if args.tokenizer_json else build_tokenizer(args.spiece)
    prompts = make_prompts(random.Random(args.seed), args.n, not args.write_golden)
    if args.write_golden:
        cases = [p for p in prompts if clean(p) == clean(p, False)]
        with open(args.write_golden, "w", encoding="ascii") as f:
            rows = [json.dumps({"text": p, "clean": clean(p), "ids": official_ids(tok, clean(p))}) for p in cases]
            f.write("[\n" + ",\n".join(rows) + "\n]\n")
        return 0
    equal, repaired, other = 0, 0, []
    for p, ours in zip(prompts, our_ids(args.tdinfo, args.spiece, prompts), strict=True):
        if ours == official_ids(tok, clean(p)):
            equal += 1
        elif ours == official_ids(tok, clean(p, False)):
            repaired += 1
        else:
            other.append((p, clean(p), official_ids(tok, clean(p)), ours))
    print(f"{len(prompts)} prompts: {equal} equal, {repaired} differ by mojibake repair only, "
          f"{len(other)} differ otherwise")
    for row in other[:10]:
        print("  text %r\n  clean %r\n  official %s\n  ours     %s" % row)
    return 1 if other else 0


if __name__ == "__main__":
    sys.exit(main())
