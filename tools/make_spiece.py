#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Train tests/data/spiece.model, a small SentencePiece Unigram model with umT5's conventions.

usage: make_spiece.py OUT.model [--vocab-size=N]

The text is made here from word lists and a fixed seed; only the package `sentencepiece` is needed. Conventions kept:
ids 0 <pad>, 1 </s>, 2 <s>, 3 <unk>; 13 user-defined pieces, then the 256 byte pieces; identity normaliser; a dummy
prefix; extra whitespace kept; byte fallback on.
"""
import argparse
import io
import random

import sentencepiece

USER_DEFINED = ["[web]", "[eod]", "[img]", "[sep]", "[cls]", "[one]", "[two]", "[doc]", "[end]", "[new]", "[tab]",
                "[cap]", "[low]"]

ENGLISH = {
    "who": "a cat|two cats|a small dog|an old sailor|the young painter|a red fox|three children|a woman in a blue coat|"
           "an astronaut|a robot|the chef|a white horse|a panda|a violinist|the lighthouse keeper|a swarm of bees|"
           "an anthropomorphic bear|a group of dancers|a steam locomotive|the fisherman",
    "does": "walks|runs|is surfing|sleeps|cooks dinner|reads a letter|plays the piano|is boxing|looks at the camera|"
            "jumps over a puddle|paints a picture|opens the door|smiles|drifts slowly|flies|is dancing|builds a tower|"
            "climbs the stairs|drinks coffee|waves goodbye",
    "where": "on a beach|in the rain|under a bright spotlight|through a busy market|at the edge of the forest|"
             "in a comfortable kitchen|on top of the mountain|beside the river|in outer space|on the stage|"
             "along the railway|in front of a castle|inside an empty cathedral|over the quiet harbour|at home",
    "when": "at sunset|early in the morning|at night|during a thunderstorm|in winter|in the golden hour|"
            "while snow is falling|just before dawn|in the nineteenth century|on a foggy day",
    "how": "cinematic lighting|slow motion|shallow depth of field|highly detailed|4k|8k resolution|film grain|"
           "wide angle shot|close-up|tracking shot|handheld camera|watercolour style|photorealistic|vivid colours|"
           "soft shadows|low angle|time lapse|black and white|drone view|35mm",
}

# A few sentences each, so that other scripts have pieces of their own.
OTHERS = """
Eine Katze läuft über die Straße, während die Sonne hinter den Bergen untergeht.
Zwei Hunde spielen am Ufer; das Wasser glänzt im schönen Abendlicht größer als je zuvor.
Un chat noir traverse la rue à la tombée de la nuit, près d'une forêt enneigée.
Le garçon mange un gâteau dans la cuisine où sa mère prépare le café.
Una niña corre por la playa mientras las olas rompen; el cielo está lleno de estrellas.
O pássaro voa sobre o coração da cidade; São Paulo à noite, luz e emoção.
Žluťoučký kůň běží přes zelenou louku, řeka šumí a měsíc svítí.
Zażółć gęślą jaźń: mały pies śpi obok starego pieca.
Güneş batarken kedi çatının üstünde yürüyor, şehir ışıkları parlıyor.
Một con mèo trắng đang ngồi trên bãi biển nhìn những con sóng.
Кошка медленно идёт по заснеженной улице, камера плавно следует за ней.
Старый рыбак смотрит на спокойное море, солнце садится за горизонт.
Η γάτα περπατά στον δρόμο, ενώ ο ήλιος δύει πίσω από τα βουνά.
القطة تمشي ببطء في الشارع تحت المطر والكاميرا تتبعها.
החתול הולך לאט ברחוב בזמן שהשמש שוקעת.
एक बिल्ली धीरे धीरे सड़क पर चल रही है और सूरज डूब रहा है।
แมวเดินช้าๆ บนถนนในตอนกลางคืน
一只猫在雪地里慢慢行走，镜头跟随它，电影感，高清画质。
两只狗在海边玩耍，夕阳照在水面上，色调艳丽，细节丰富。
宇航员在月球上弹钢琴，背景是蓝色的地球，过曝，静态。
猫が雪の中をゆっくり歩いている。夕焼けの海、映画のような光。
カメラはゆっくりとズームインし、犬は公園で遊んでいます。
고양이가 눈 덮인 거리를 천천히 걷고 있다. 카메라가 따라간다.
해질녘 바닷가에서 두 마리의 개가 놀고 있다.
"""

WORDS = """
the of and to in is that for with as on are by from this be or have an they which you were all their has been more
will one about when up out if so what can said there each other into time these two like some her him than then now
look only come its over think also back after use how our work first well way even new want because any give most us
light shadow camera scene background foreground street city mountain river ocean forest garden window door floor wall
table chair lamp mirror candle fire smoke water wave cloud storm thunder lightning rainbow snowflake flower petal leaf
branch tree grass field meadow desert sand stone rock cliff cave valley island bridge tower castle church temple
palace village house roof chimney fence gate road path train car bicycle motorcycle airplane helicopter balloon ship
boat submarine rocket satellite planet moon star galaxy universe man girl boy mother father family friend king queen
knight soldier dancer singer actor doctor teacher student farmer worker pilot driver hair face eyes hands fingers
shoulder smile expression emotion gesture movement motion portrait landscape panorama texture pattern color red orange
yellow green purple pink brown grey silver gold bright dark warm cold soft hard smooth rough sharp blurry clear
transparent reflective glossy matte wooden metallic plastic glass leather cotton silk velvet fabric dress shirt jacket
trousers hat gloves boots glasses necklace umbrella backpack suitcase guitar drum trumpet piano book newspaper
computer screen telephone elephant tiger lion wolf rabbit squirrel mouse eagle owl parrot penguin dolphin whale shark
turtle snake spider butterfly dragon running walking swimming flying jumping falling climbing turning spinning
floating drifting rising glowing burning melting growing gently quickly suddenly slowly carefully gracefully intensely
peacefully dramatically realistic surreal abstract minimal vintage modern futuristic medieval ancient romantic
mysterious cheerful gloomy majestic enormous tiny delicate elegant cinematic animated anthropomorphic spotlight
photography documentary advertisement illustration stylized rendering volumetric atmosphere perspective symmetrical
composition aesthetic resolution exposure contrast saturation quality masterpiece professional award winning
""".split()

ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;:!?'\"()[]{}<>/\\|-_=+*&^%$#@~`"


def corpus(rng):
    pick = {k: v.split("|") for k, v in ENGLISH.items()}
    for _ in range(4000):
        who, does, where, when = (rng.choice(pick[k]) for k in ("who", "does", "where", "when"))
        line = f"{who} {does} {where} {when}, {', '.join(rng.sample(pick['how'], rng.randint(0, 3)))}"
        line = line.rstrip(", ") + rng.choice([".", "", "!", "..."])
        yield line[0].upper() + line[1:] if rng.random() < 0.7 else line
    for _ in range(3000):
        yield " ".join(rng.choice(WORDS) for _ in range(rng.randint(3, 12)))
    for line in OTHERS.split("\n"):
        if line:
            for _ in range(40):
                words = line.split(" ")
                begin = rng.randrange(max(1, len(words) // 2))
                yield " ".join(words[begin:])
    for c in ALPHABET:
        yield f"{c} {c}{rng.choice(ALPHABET)}"


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("out")
    ap.add_argument("--vocab-size", type=int, default=1360)
    args = ap.parse_args()
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=corpus(random.Random(1)), model_writer=model, model_type="unigram",
        vocab_size=args.vocab_size, pad_id=0, eos_id=1, bos_id=2, unk_id=3, pad_piece="<pad>",
        user_defined_symbols=USER_DEFINED, byte_fallback=True, normalization_rule_name="identity",
        add_dummy_prefix=True, remove_extra_whitespaces=False, character_coverage=1.0, split_digits=False,
        num_threads=1, minloglevel=2)
    with open(args.out, "wb") as f:
        f.write(model.getvalue())


if __name__ == "__main__":
    main()
