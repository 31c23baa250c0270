/* SPDX-License-Identifier: BSD-2-Clause
 * Prompt cleaning equal to the official pipeline's: the text fixer with its defaults (entities, control characters,
 * ligatures, widths, quotes, line breaks, terminal escapes, NFC), HTML unescaping twice, whitespace collapsed.
 * 1. Works on code points; text that is not UTF-8 is refused.
 * 2. The fixer runs line by line, each line until nothing changes; a '<' ends its entity decoding for all later lines.
 * 3. The work is linear in the prompt: what would take many rounds, or order a long run of marks, is refused.
 * 4. Mojibake (UTF-8 read as a one-byte encoding) is not repaired; where it is plain, a warning says so. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include "text/html_entities.h"
#include "text/tokenizer.h"

#define N_ENTITIES (sizeof(html_entities) / sizeof(*html_entities))
#define MAX_ENTITY_NAME 32                       /* with the ';' */
#define MAX_FIXER_NAME 24                        /* without it */
#define MAX_PROMPT (64 << 10)                    /* bytes; 511 ids never need as many */
#define MAX_ROUNDS 32                            /* of a line; text that was escaped twice takes 3 */
#define MAX_MARKS 255                            /* in a row; canonical order takes their square */

/* A growable string of code points. Appending to a failed one does nothing. */
typedef struct Text {
    int32_t *c;
    size_t n, cap;
    int failed;
} Text;

static void append(Text *t, int32_t c)
{
    if (t->n == t->cap) {
        size_t cap = t->cap ? 2 * t->cap : 256;
        int32_t *p = t->failed ? NULL : realloc(t->c, cap * sizeof(*p));

        if (!p) {
            t->failed = 1;
            return;
        }
        t->c   = p;
        t->cap = cap;
    }
    t->c[t->n++] = c;
}

static void append_all(Text *t, const int32_t *c, size_t n)
{
    for (size_t i = 0; i < n; i++)
        append(t, c[i]);
}

static void swap(Text *a, Text *b)
{
    Text t = *a;

    *a = *b;
    *b = t;
}

static int is_space(int32_t c)
{
    return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

static int is_alnum(int32_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static int hex_value(int32_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Windows-1252 meaning of the C1 controls; a byte without one keeps its value. */
static int32_t from_c1(int32_t c)
{
    static const uint16_t cp1252[32] = {
        0x20ac, 0x81,   0x201a, 0x192,  0x201e, 0x2026, 0x2020, 0x2021, 0x2c6, 0x2030, 0x160, 0x2039, 0x152, 0x8d,
        0x17d,  0x8f,   0x90,   0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014, 0x2dc, 0x2122, 0x161, 0x203a,
        0x153,  0x9d,   0x17e,  0x178,
    };
    return cp1252[c - 0x80];
}

static const struct HtmlEntity *find_entity(const char *name, size_t len)
{
    size_t lo = 0, hi = N_ENTITIES;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = strncmp(html_entities[mid].name, name, len);

        if (!c)
            c = html_entities[mid].name[len] != 0;
        if (!c)
            return &html_entities[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

static void append_entity(Text *out, const struct HtmlEntity *e)
{
    append(out, e->c[0]);
    if (e->c[1])
        append(out, e->c[1]);
}

/* The longest name, or prefix of at least two characters, that is an entity. @return its length, 0 if none */
static size_t match_entity(const char *name, size_t len, const struct HtmlEntity **e)
{
    for (; len >= 2; len--)
        if ((*e = find_entity(name, len)))
            return len;
    return 0;
}

/* Value of a numeric reference as HTML5 defines it. */
static void append_charref(Text *out, int64_t v)
{
    if (!v || (v >= 0xd800 && v <= 0xdfff) || v > 0x10ffff)
        append(out, 0xfffd);
    else if (v >= 0x80 && v <= 0x9f)
        append(out, from_c1((int32_t)v));
    else if (v < 0x09 || v == 0x0b || (v >= 0x0e && v <= 0x1f) || v == 0x7f || (v >= 0xfdd0 && v <= 0xfdef) ||
             (v & 0xfffe) == 0xfffe)
        ;                                        /* not a character: nothing */
    else
        append(out, (int32_t)v);
}

/* "&#123;" or "&#x7b;" at s, ';' optional. @return its length, 0 if it is not one */
static size_t parse_charref(const int32_t *s, size_t n, int64_t *value)
{
    size_t i = 2, digits;
    int base = 10;

    if (n < 3 || s[0] != '&' || s[1] != '#')
        return 0;
    if ((s[2] | 0x20) == 'x') {
        base = 16;
        i    = 3;
    }
    *value = 0;
    for (digits = 0; i < n && hex_value(s[i]) >= 0 && hex_value(s[i]) < base; i++, digits++)
        *value = *value > 0x10ffff ? *value : *value * base + hex_value(s[i]);
    if (!digits)
        return 0;
    return i + (i < n && s[i] == ';');
}

/* HTML5 unescaping of the whole text: names also without ';', and as a prefix of a longer word. */
static void html_unescape(Text *out, const Text *in)
{
    char name[MAX_ENTITY_NAME + 1];
    const struct HtmlEntity *e;
    size_t i = 0, len, used;
    int64_t value;

    out->n = 0;
    while (i < in->n) {
        if (in->c[i] != '&') {
            append(out, in->c[i++]);
            continue;
        }
        if ((used = parse_charref(in->c + i, in->n - i, &value))) {
            append_charref(out, value);
            i += used;
            continue;
        }
        /* the word after '&': what can be a name is ASCII, so the rest of the word needs no looking at */
        for (len = 0; len < MAX_ENTITY_NAME && i + 1 + len < in->n && is_alnum(in->c[i + 1 + len]); len++)
            name[len] = (char)in->c[i + 1 + len];
        if (i + 1 + len < in->n && in->c[i + 1 + len] == ';')
            name[len++] = ';';
        used = match_entity(name, len, &e);
        if (used)
            append_entity(out, e);
        else
            append(out, '&');
        i += 1 + used;
    }
}

static int32_t fold_ligature(int32_t c, int32_t out[3])
{
    static const struct { uint16_t c, to[3]; } ligatures[] = {
        { 0x132, { 'I', 'J' } }, { 0x133, { 'i', 'j' } }, { 0x149, { 0x2bc, 'n' } }, { 0x1c4, { 'D', 0x17d } },
        { 0x1c5, { 'D', 0x17e } }, { 0x1c6, { 'd', 0x17e } }, { 0x1c7, { 'L', 'J' } }, { 0x1c8, { 'L', 'j' } },
        { 0x1c9, { 'l', 'j' } }, { 0x1ca, { 'N', 'J' } }, { 0x1cb, { 'N', 'j' } }, { 0x1cc, { 'n', 'j' } },
        { 0x1f1, { 'D', 'Z' } }, { 0x1f2, { 'D', 'z' } }, { 0x1f3, { 'd', 'z' } }, { 0xfb00, { 'f', 'f' } },
        { 0xfb01, { 'f', 'i' } }, { 0xfb02, { 'f', 'l' } }, { 0xfb03, { 'f', 'f', 'i' } },
        { 0xfb04, { 'f', 'f', 'l' } }, { 0xfb05, { 0x17f, 't' } }, { 0xfb06, { 's', 't' } },
    };
    for (size_t i = 0; c >= 0x132 && i < sizeof(ligatures) / sizeof(*ligatures); i++)
        if (ligatures[i].c == c) {
            for (int k = 0; k < 3; k++)
                out[k] = ligatures[i].to[k];
            return out[2] ? 3 : 2;
        }
    out[0] = c;
    return 1;
}

static void append_upper(Text *out, int32_t c)
{
    int32_t part[3];
    int n = 1;

    part[0] = c;
    if (c == 0xdf) {                             /* sharp s */
        append(out, 'S');
        append(out, 'S');
        return;
    }
    if (c == 0x149 || (c >= 0xfb00 && c <= 0xfb06))
        n = fold_ligature(c, part);
    for (int i = 0; i < n; i++)
        append(out, utf8proc_toupper(part[i]));
}

/* The text fixer's entities: "&name;" of HTML5, or one of its lower-case names written in capitals where HTML5 has
 * none. name: with its ';'. @return 1 if it was one */
static int append_fixer_entity(Text *out, const char *name, size_t len)
{
    const struct HtmlEntity *e = find_entity(name, len), *prefix;
    char lower[MAX_ENTITY_NAME + 1];

    if (e) {
        append_entity(out, e);
        return 1;
    }
    for (size_t i = 0; i < len; i++) {
        if (name[i] >= 'a' && name[i] <= 'z')
            return 0;
        lower[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] | 0x20 : name[i]);
    }
    if (!(e = find_entity(lower, len)) || match_entity(name, len, &prefix))
        return 0;
    append_upper(out, e->c[0]);
    if (e->c[1])
        append_upper(out, e->c[1]);
    return 1;
}

/* Only references that end in ';' and decode as a whole. One that gives '&' is looked at again with what follows it, as
 * the fixer's next round would: a chain "&amp;amp;amp;" takes one round. in: changed
 * @return 1 if anything was decoded */
static int fixer_unescape(Text *out, Text *in)
{
    char name[MAX_FIXER_NAME + 2];
    int64_t value;
    size_t i = 0;
    int decoded = 0;

    out->n = 0;
    while (i < in->n) {
        const int32_t *s = in->c + i;
        size_t left = in->n - i, hash = left > 1 && s[1] == '#', len = 0, n = out->n;

        while (s[0] == '&' && len < MAX_FIXER_NAME && 1 + hash + len < left && is_alnum(s[1 + hash + len])) {
            name[len] = (char)s[1 + hash + len];
            len++;
        }
        if (!len || 1 + hash + len >= left || s[1 + hash + len] != ';') {
            append(out, s[0]);
            i++;
            continue;
        }
        name[len] = ';';
        if (hash ? parse_charref(s, left, &value) == 2 + hash + len && value != ';'
                 : append_fixer_entity(out, name, len + 1)) {
            if (hash)
                append_charref(out, value);
            decoded = 1;
        } else
            append_all(out, s, 2 + hash + len);
        i += 2 + hash + len;
        if (out->n == n + 1 && out->c[n] == '&') {
            in->c[--i] = '&';
            out->n = n;
        }
    }
    return decoded;
}

/* Half- and full-width forms. @return number of code points, <= 4 */
static int fold_width(int32_t c, int32_t out[4])
{
    if (c == 0x3000) {
        out[0] = ' ';
        return 1;
    }
    out[0] = c;
    if (c >= 0xff01 && c <= 0xffef) {
        utf8proc_ssize_t n = utf8proc_decompose_char(c, out, 4, UTF8PROC_COMPAT | UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
                                                     NULL);
        if (n > 0 && n <= 4)
            return (int)utf8proc_normalize_utf32(out, n, UTF8PROC_COMPAT | UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    }
    return 1;
}

static int is_deleted_control(int32_t c)
{
    return c <= 0x08 || c == 0x0b || (c >= 0x0e && c <= 0x1f) || c == 0x7f || (c >= 0x206a && c <= 0x206f) ||
           c == 0xfeff || (c >= 0xfff9 && c <= 0xfffc);
}

/* Length of a terminal escape "ESC [ 1;31 m" at s, 0 if there is none */
static size_t terminal_escape(const int32_t *s, size_t n)
{
    size_t i = 2;

    if (n < 3 || s[0] != 0x1b || s[1] != '[')
        return 0;
    while (i < n && (s[i] == ';' || utf8proc_category(s[i]) == UTF8PROC_CATEGORY_ND))
        i++;
    return i < n && is_alnum(s[i]) ? i + 1 : 0;      /* a digit cannot be left here */
}

/* C1 controls, ligatures, widths, quotes, line breaks: character by character */
static void fix_characters(Text *out, const Text *in)
{
    int32_t lig[3], wide[4];

    out->n = 0;
    for (size_t i = 0; i < in->n; i++) {
        int32_t c = in->c[i];
        int n_lig, n_wide;

        if (c >= 0x80 && c <= 0x9f)
            c = from_c1(c);
        n_lig = fold_ligature(c, lig);
        for (int k = 0; k < n_lig; k++) {
            n_wide = fold_width(lig[k], wide);
            for (int m = 0; m < n_wide; m++) {
                c = wide[m];
                if (c >= 0x201c && c <= 0x201f)
                    c = '"';
                else if ((c >= 0x2018 && c <= 0x201b) || c == 0x2bc)
                    c = '\'';
                else if (c == 0x2028 || c == 0x2029)
                    c = '\n';
                else if (c == '\r') {
                    if (i + 1 < in->n && in->c[i + 1] == '\n')
                        continue;                /* CRLF */
                    c = '\n';
                }
                append(out, c);
            }
        }
    }
}

static void delete_controls(Text *out, const Text *in)
{
    size_t n = 0;

    out->n = 0;
    for (size_t i = 0; i < in->n;) {
        size_t esc = terminal_escape(in->c + i, in->n - i);

        i += esc;
        if (!esc)
            append(out, in->c[i++]);
    }
    for (size_t i = 0; i < out->n; i++)
        if (!is_deleted_control(out->c[i]))
            out->c[n++] = out->c[i];
    out->n = n;
}

static size_t encode(const Text *t, uint8_t *dst)
{
    size_t n = 0;

    for (size_t i = 0; i < t->n; i++)
        n += (size_t)utf8proc_encode_char(t->c[i], dst + n);
    return n;
}

/* @return 0, or -1 if s is not UTF-8 */
static int decode(Text *t, const uint8_t *s, size_t len)
{
    t->n = 0;
    for (size_t i = 0; i < len;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n = utf8proc_iterate(s + i, (utf8proc_ssize_t)(len - i), &c);

        if (n <= 0)
            return -1;
        append(t, c);
        i += (size_t)n;
    }
    return 0;
}

/* the longest run of marks, those among them that only decompose to some */
static size_t longest_marks(const Text *t)
{
    size_t run = 0, longest = 0;

    for (size_t i = 0; i < t->n; i++) {
        utf8proc_category_t k = t->c[i] < 0x300 ? UTF8PROC_CATEGORY_CN : utf8proc_category(t->c[i]);

        run = k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_MC || k == UTF8PROC_CATEGORY_ME ? run + 1 : 0;
        longest = run > longest ? run : longest;
    }
    return longest;
}

/* NFC in place. Text below U+0300 is in NFC already. */
static void compose(Text *t)
{
    utf8proc_uint8_t *s, *d = NULL;
    utf8proc_ssize_t n = -1;
    size_t i;

    for (i = 0; i < t->n && t->c[i] < 0x300; i++)
        ;
    if (t->failed || i == t->n)
        return;
    s = malloc(4 * t->n);
    if (s)
        n = utf8proc_map(s, (utf8proc_ssize_t)encode(t, s), &d, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (n < 0 || decode(t, d, (size_t)n) < 0)
        t->failed = 1;
    free(d);
    free(s);
}

/* One line, in place, until nothing changes. a, b: scratch. @return 0, or a logged EINVAL; memory shows in `failed` */
static int fix_line(Text *line, Text *a, Text *b, int unescape, TDLog *log)
{
    int changed, rounds = 0;

    do {
        changed = 0;
        if (rounds++ == MAX_ROUNDS)
            return td_error(log, EINVAL, "prompt: HTML references nested more than %d deep, want plain text",
                            MAX_ROUNDS);
        a->n = 0;
        if (unescape)
            changed = fixer_unescape(a, line);
        else
            append_all(a, line->c, line->n);
        fix_characters(b, a);
        delete_controls(a, b);
        if (longest_marks(a) > MAX_MARKS)
            return td_error(log, EINVAL, "prompt: more than %d combining marks in a row", MAX_MARKS);
        compose(a);
        if (line->failed || a->failed || b->failed)
            return 0;
        changed |= a->n != line->n || (a->n && memcmp(a->c, line->c, a->n * sizeof(*a->c)));
        swap(a, line);
    } while (changed);
    return 0;
}

static void collapse_spaces(Text *out, const Text *in)
{
    out->n = 0;
    for (size_t i = 0; i < in->n; i++) {
        if (!is_space(in->c[i]))
            append(out, in->c[i]);
        else if (out->n && out->c[out->n - 1] != ' ')
            append(out, ' ');
    }
    if (out->n && out->c[out->n - 1] == ' ')
        out->n--;
}

/* Is c what Latin-1 or Windows-1252 makes of a UTF-8 continuation byte? */
static int is_continuation(int32_t c)
{
    for (int32_t byte = 0x80; byte <= 0x9f; byte++)
        if (from_c1(byte) == c)
            return 1;
    return c >= 0x80 && c <= 0xbf;
}

/* UTF-8 read as Latin-1 or Windows-1252: a lead byte's character and its continuations. Lead bytes of Latin, Greek,
 * Cyrillic, punctuation, CJK and emoji; the others are letters that real text has before a closing quote. */
static int looks_like_mojibake(const Text *t)
{
    for (size_t i = 0; i < t->n; i++) {
        int32_t c = t->c[i];
        size_t more = c == 0xc2 || c == 0xc3 || c == 0xce || c == 0xcf || c == 0xd0 || c == 0xd1 ? 1 :
                      c >= 0xe2 && c <= 0xe7 ? 2 : c == 0xf0 ? 3 : 0, k = 1;

        while (k <= more && i + k < t->n && is_continuation(t->c[i + k]))
            k++;
        if (more && k > more)
            return 1;
    }
    return 0;
}

int td_text_clean(char **out, const char *utf8, TDLog *log)
{
    Text in = { 0 }, line = { 0 }, all = { 0 }, a = { 0 }, b = { 0 };
    int ret = 0, unescape = 1;
    size_t len = strlen(utf8), begin, end;

    *out = NULL;
    if (len > MAX_PROMPT)
        return td_error(log, EINVAL, "prompt: %zu bytes, want at most %d", len, MAX_PROMPT);
    if (decode(&in, (const uint8_t *)utf8, len) < 0) {
        ret = td_error(log, EINVAL, "prompt: is not UTF-8");
        goto end;
    }
    if (looks_like_mojibake(&in))
        td_log(log, TD_LOG_WARNING, "prompt: looks like UTF-8 that was read as Latin-1; it is used as it is");
    for (begin = 0; begin < in.n; begin = end) {
        for (end = begin; end < in.n && in.c[end] != '\n'; end++)
            unescape &= in.c[end] != '<';
        end += end < in.n;
        line.n = 0;
        append_all(&line, in.c + begin, end - begin);
        if ((ret = fix_line(&line, &a, &b, unescape, log)) < 0)
            goto end;
        append_all(&all, line.c, line.n);
    }
    html_unescape(&a, &all);
    html_unescape(&b, &a);
    collapse_spaces(&a, &b);
    if (!in.failed && !line.failed && !all.failed && !a.failed && !b.failed)
        *out = malloc(4 * a.n + 1);
    if (!*out) {
        ret = td_error(log, ENOMEM, "prompt: out of memory");
        goto end;
    }
    (*out)[encode(&a, (uint8_t *)*out)] = 0;
end:
    free(in.c);
    free(line.c);
    free(all.c);
    free(a.c);
    free(b.c);
    return ret;
}
