#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Write engine/text/html_entities.h, the HTML5 named character references, from Python's copy of the standard's table.

usage: gen_html_entities.py > engine/text/html_entities.h
"""
import html.entities

HEAD = """/* SPDX-License-Identifier: BSD-2-Clause
 * The named character references of HTML5, sorted by name. Made by tools/gen_html_entities.py; do not edit.
 * T(name, c): "name;" is the code point c in hexadecimal, T2: two code points, B: so is the name without its ';'. */
#ifndef TD_HTML_ENTITIES_H
#define TD_HTML_ENTITIES_H

#include <stdint.h>

static const struct HtmlEntity {
    const char *name;
    int32_t c[2];                                /* code points; the second is 0 if there is one */
} html_entities[] = {
#define T(name, c) { #name ";", { 0x##c } },
#define T2(name, c, d) { #name ";", { 0x##c, 0x##d } },
#define B(name, c) { #name, { 0x##c } }, { #name ";", { 0x##c } },"""

TAIL = """#undef T
#undef T2
#undef B
};

#endif /* TD_HTML_ENTITIES_H */"""


def main():
    print(HEAD)
    line = "   "
    table = html.entities.html5
    for name, text in sorted(table.items(), key=lambda item: item[0].encode()):
        if name[-1] != ";":  # its twin with ';' is next in this order
            continue
        macro = "B" if name[:-1] in table else "T2" if len(text) == 2 else "T"
        item = f" {macro}({', '.join([name[:-1]] + [f'{ord(c):x}' for c in text])})"
        if len(line) + len(item) > 120:
            print(line)
            line = "   "
        line += item
    print(line)
    print(TAIL)


if __name__ == "__main__":
    main()
