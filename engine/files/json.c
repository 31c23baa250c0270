/* SPDX-License-Identifier: BSD-2-Clause
 * 1. The check keeps a stack of kinds and the keys of the objects that are open: nothing recurses.
 * 2. Walking trusts the check: it looks for the end of a value by quotes and brackets alone. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include "files/checkpoint_priv.h"
#include "base/number.h"
#include "files/json.h"

typedef struct Key {
    const uint8_t *text;                         /* decoded */
    size_t len;
} Key;

typedef struct Checker {
    const char *label;
    TDLog *log;
    const uint8_t *p, *end;
    int line, depth;
    uint8_t kind[TD_JSON_MAX_DEPTH];
    size_t begin[TD_JSON_MAX_DEPTH];             /* of an object's keys */
    Key *keys;
    size_t n_keys, cap_keys;
    uint8_t *decoded;                            /* keys that have escapes: as many bytes as the text at most */
    size_t n_decoded, size;
} Checker;

static int bad(const Checker *c, const char *what)
{
    return td_error(c->log, EBADMSG, "%s: JSON line %d: %s", c->label, c->line, what);
}

static int out_of_memory(const Checker *c)
{
    return td_error(c->log, ENOMEM, "%s: out of memory reading its JSON", c->label);
}

/* ---- strings ---- */

static int hex_digit(int c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
}

/* four digits. @return the value, -1 if they are not there */
static int hex4(const uint8_t *p, const uint8_t *end)
{
    int v = 0;

    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        if (hex_digit(p[i]) < 0)
            return -1;
        v = v << 4 | hex_digit(p[i]);
    }
    return v;
}

/* an escape at its backslash. @return its bytes in the text, 0 if it is none */
static size_t escape(const uint8_t *p, const uint8_t *end, int32_t *out)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    const char *at;
    int32_t low;

    if (end - p < 2)
        return 0;
    if (p[1] != 'u') {
        at = memchr(names, p[1], sizeof(names) - 1);
        *out = at ? values[at - names] : 0;
        return at ? 2 : 0;
    }
    *out = hex4(p + 2, end);
    if (*out < 0 || *out == 0 || (*out & 0xfc00) == 0xdc00)
        return 0;
    if ((*out & 0xfc00) != 0xd800)
        return 6;
    if (end - p < 12 || p[6] != '\\' || p[7] != 'u')
        return 0;
    low = hex4(p + 8, end);
    if (low < 0 || (low & 0xfc00) != 0xdc00)
        return 0;
    *out = 0x10000 + ((*out & 0x3ff) << 10) + (low & 0x3ff);
    return 12;
}

/* the string from its first quote on. dst: as long as the string, or size bytes of room. @return bytes of all of it */
static size_t decode(uint8_t *dst, size_t size, const uint8_t *p, const uint8_t *end)
{
    size_t n = 0;

    for (p++; *p != '"';) {
        uint8_t part[4] = { *p };
        size_t used = 1, len = 1;
        int32_t c;

        if (*p == '\\') {
            used = escape(p, end, &c);
            len = (size_t)utf8proc_encode_char(c, part);
        }
        for (size_t i = 0; i < len; i++, n++)
            if (n < size)
                dst[n] = part[i];
        p += used;
    }
    return n;
}

/* passes over a string; *escaped: whether it has escapes */
static int check_string(Checker *c, int *escaped)
{
    *escaped = 0;
    for (c->p++; c->p < c->end && *c->p != '"';) {
        utf8proc_int32_t code;
        utf8proc_ssize_t n = 1;

        if (*c->p == '\\') {
            n = (utf8proc_ssize_t)escape(c->p, c->end, &code);
            if (!n)
                return bad(c, "an escape that is none of JSON's, or stands for no character");
            *escaped = 1;
        } else if (*c->p < 0x20) {
            return bad(c, "a control character in a string");
        } else if (*c->p >= 0x80) {
            n = utf8proc_iterate(c->p, c->end - c->p, &code);
            if (n <= 0)
                return bad(c, "a string that is not UTF-8");
        }
        c->p += n;
    }
    if (c->p == c->end)
        return bad(c, "a string without an end");
    c->p++;
    return 0;
}

/* ---- keys ---- */

static int check_key(Checker *c)
{
    const uint8_t *begin = c->p;
    int escaped, ret;
    Key *k;

    if (*begin != '"')
        return bad(c, "no key, want a string");
    if ((ret = check_string(c, &escaped)) < 0)
        return ret;
    if (td_ckpt_grow(&c->keys, &c->cap_keys, c->n_keys + 1, sizeof(*c->keys)) < 0)
        return out_of_memory(c);
    k = &c->keys[c->n_keys++];
    *k = (Key){ begin + 1, (size_t)(c->p - begin) - 2 };
    if (!escaped)
        return 0;
    if (!c->decoded && !(c->decoded = malloc(c->size)))
        return out_of_memory(c);
    k->len = decode(c->decoded + c->n_decoded, c->size - c->n_decoded, begin, c->end);
    k->text = c->decoded + c->n_decoded;
    c->n_decoded += k->len;
    return 0;
}

static int compare_keys(const void *a, const void *b)
{
    const Key *x = a, *y = b;
    size_t n = x->len < y->len ? x->len : y->len;
    int d = n ? memcmp(x->text, y->text, n) : 0;

    return d ? d : x->len < y->len ? -1 : x->len > y->len;
}

/* an object ends: its keys differ, and are not needed any more */
static int end_object(Checker *c, size_t begin)
{
    size_t n = c->n_keys - begin;
    Key *k = n ? c->keys + begin : NULL;         /* an empty object may be all there is */
    char q[TD_QUOTE_MAX];

    if (n > 1)
        qsort(k, n, sizeof(*k), compare_keys);
    for (size_t i = 1; i < n; i++)
        if (!compare_keys(&k[i - 1], &k[i]))
            return td_error(c->log, EBADMSG, "%s: JSON line %d: duplicate key '%s'", c->label, c->line,
                            td_ckpt_quote(q, k[i].text, k[i].len));
    c->n_keys = begin;
    return 0;
}

/* ---- values ---- */

static void skip_digits(Checker *c)
{
    while (c->p < c->end && *c->p >= '0' && *c->p <= '9')
        c->p++;
}

static int check_number(Checker *c)
{
    const uint8_t *digits;

    c->p += *c->p == '-';
    digits = c->p;
    skip_digits(c);
    if (c->p == digits || (*digits == '0' && c->p > digits + 1))
        return bad(c, "no value, or a number that is none of JSON's");
    if (c->p < c->end && *c->p == '.') {
        digits = ++c->p;
        skip_digits(c);
        if (c->p == digits)
            return bad(c, "a number without digits after its point");
    }
    if (c->p < c->end && (*c->p | 0x20) == 'e') {
        c->p++;
        c->p += c->p < c->end && (*c->p == '+' || *c->p == '-');
        digits = c->p;
        skip_digits(c);
        if (c->p == digits)
            return bad(c, "a number without an exponent after its e");
    }
    return 0;
}

static int check_word(Checker *c)
{
    static const char *const words[] = { "true", "false", "null" };

    for (int i = 0; i < 3; i++) {
        size_t n = strlen(words[i]);

        if ((size_t)(c->end - c->p) >= n && !memcmp(c->p, words[i], n)) {
            c->p += n;
            return 0;
        }
    }
    return bad(c, "no value, want an object, an array, a string, a number, true, false or null");
}

static int open_container(Checker *c)
{
    if (c->depth == TD_JSON_MAX_DEPTH)
        return td_error(c->log, EBADMSG, "%s: JSON line %d: nested more than %d deep", c->label, c->line,
                        TD_JSON_MAX_DEPTH);
    c->kind[c->depth] = *c->p++;
    c->begin[c->depth++] = c->n_keys;
    return 0;
}

static void skip_blank(Checker *c)
{
    while (c->p < c->end && (*c->p == ' ' || *c->p == '\t' || *c->p == '\r' || *c->p == '\n'))
        c->line += *c->p++ == '\n';
}

static int check_text(Checker *c)
{
    enum { VALUE, FIRST, AFTER } want = VALUE;   /* FIRST: a member, or the end of an empty container */
    int escaped, ret = 0;

    while (want != AFTER || c->depth) {
        int in_object = c->depth && c->kind[c->depth - 1] == '{', closes;

        skip_blank(c);
        if (c->p == c->end)
            return bad(c, "it ends in the middle: truncated");
        closes = want != VALUE && *c->p == (in_object ? '}' : ']');
        if (closes) {
            c->p++;
            c->depth--;
            want = AFTER;
            if (in_object && (ret = end_object(c, c->begin[c->depth])) < 0)
                return ret;
            continue;
        }
        if (want == AFTER) {
            if (*c->p++ != ',')
                return bad(c, "a member that is followed by neither a comma nor the end of what it is in");
            want = VALUE;
            continue;
        }
        if (in_object) {
            if ((ret = check_key(c)) < 0)
                return ret;
            skip_blank(c);
            if (c->p == c->end || *c->p++ != ':')
                return bad(c, "a key without a colon");
            skip_blank(c);
            if (c->p == c->end)
                return bad(c, "it ends in the middle: truncated");
        }
        want = AFTER;
        if (*c->p == '{' || *c->p == '[') {
            ret = open_container(c);
            want = FIRST;
        } else if (!c->depth) {
            ret = bad(c, "want an object or an array");
        } else if (*c->p == '"') {
            ret = check_string(c, &escaped);
        } else {
            ret = *c->p == '-' || (*c->p >= '0' && *c->p <= '9') ? check_number(c) : check_word(c);
        }
        if (ret < 0)
            return ret;
    }
    skip_blank(c);
    return c->p == c->end ? 0 : bad(c, "something after its end");
}

int td_json_check(TDJson *root, const char *label, const void *text, size_t size, TDLog *log)
{
    Checker c = { .label = label, .log = log, .p = text, .end = (const uint8_t *)text + size, .line = 1, .size = size };
    int ret = check_text(&c);

    free(c.keys);
    free(c.decoded);
    *root = (TDJson){ text, c.end };
    while (ret >= 0 && root->p < c.end && *root->p <= ' ')
        root->p++;
    return ret;
}

/* ---- walking ---- */

static const uint8_t *skip_string(const uint8_t *p)
{
    for (p++; *p != '"'; p++)
        p += *p == '\\';
    return p + 1;
}

static const uint8_t *skip_value(const uint8_t *p, const uint8_t *end)
{
    int depth = 0;

    if (*p == '"')
        return skip_string(p);
    if (*p != '{' && *p != '[') {
        while (p < end && *p != ',' && *p != '}' && *p != ']' && *p > ' ')
            p++;
        return p;
    }
    do {
        if (*p == '"') {
            p = skip_string(p);
            continue;
        }
        depth += (*p == '{' || *p == '[') - (*p == '}' || *p == ']');
        p++;
    } while (depth);
    return p;
}

/* what stands between members */
static const uint8_t *skip_between(const uint8_t *p)
{
    while (*p <= ' ' || *p == ',' || *p == ':')
        p++;
    return p;
}

TDJsonWalk td_json_walk(TDJson v)
{
    int object = *v.p == '{';

    return (TDJsonWalk){ object || *v.p == '[' ? v.p + 1 : NULL, v.end, object };
}

int td_json_next(TDJsonWalk *w, TDJson *key, TDJson *value)
{
    const uint8_t *p = w->p ? skip_between(w->p) : NULL;

    w->p = NULL;
    if (!p || *p == '}' || *p == ']')
        return 0;
    if (w->object) {
        if (key)
            *key = (TDJson){ p, w->end };
        p = skip_between(skip_string(p));
    }
    *value = (TDJson){ p, w->end };
    w->p = skip_value(p, w->end);
    return 1;
}

int td_json_get(TDJson v, const char *name, TDJson *value)
{
    TDJsonWalk w = td_json_walk(v);
    size_t len = strlen(name);
    uint8_t text[64];
    TDJson key;

    while (w.object && len <= sizeof(text) && td_json_next(&w, &key, value))
        if (decode(text, sizeof(text), key.p, key.end) == len && !memcmp(text, name, len))
            return 1;
    return 0;
}

ptrdiff_t td_json_string(TDJson v, char *dst, size_t size)
{
    size_t n;

    if (*v.p != '"')
        return -1;
    n = decode((uint8_t *)dst, size - 1, v.p, v.end);
    dst[n < size ? n : size - 1] = 0;
    return (ptrdiff_t)n;
}

int td_json_integer(TDJson v, int64_t *out)
{
    const uint8_t *p = v.p, *stop = skip_value(p, v.end);
    int negative = *p == '-';
    int64_t n = 0;

    p += negative;
    if (p == stop)
        return -1;
    for (; p < stop; p++)
        if (*p < '0' || *p > '9' || __builtin_mul_overflow(n, 10, &n) || __builtin_sub_overflow(n, *p - '0', &n))
            return -1;
    if (!negative && n == INT64_MIN)
        return -1;
    *out = negative ? n : -n;
    return 0;
}

int td_json_number(TDJson v, double *out)
{
    const uint8_t *stop = skip_value(v.p, v.end);

    return td_number(out, (const char *)v.p, (const char *)stop) == (const char *)stop ? 0 : -1;
}
