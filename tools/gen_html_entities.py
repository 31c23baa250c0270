#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Write engine/text/html_entities.h, the HTML5 named character references, from Python's copy of the standard's table.

usage: gen_html_entities.py > engine/text/html_entities.h
"""
import html.entities

HEAD = """/* SPDX-License-Identifier: BSD-2-Clause
 * The named character references of HTML5, sorted by name. Made by tools/gen_html_entities.py; do not edit.
 * A name without ';' is one that the standard also accepts without it. */
#ifndef TD_HTML_ENTITIES_H
#define TD_HTML_ENTITIES_H

#include <stdint.h>

static const struct HtmlEntity {
    const char *name;
    int32_t c[2];                                /* code points; the second is 0 if there is one */
} html_entities[] = {"""

TAIL = """};

#endif /* TD_HTML_ENTITIES_H */"""


def main():
    print(HEAD)
    line = "   "
    for name, text in sorted(html.entities.html5.items(), key=lambda item: item[0].encode()):
        points = ", ".join(f"0x{ord(c):x}" for c in text)
        item = f' {{ "{name}", {{ {points} }} }},'
        if len(line) + len(item) > 120:
            print(line)
            line = "   "
        line += item
    print(line)
    print(TAIL)


if __name__ == "__main__":
    main()
