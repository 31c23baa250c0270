/* SPDX-License-Identifier: BSD-2-Clause
 * Reads turbodiff.conf: lines `key = number`, empty lines, and comments from # to the end of a line. A byte order mark
 * at its beginning is passed over. And model_index.json and the scheduler's JSON of a diffusers directory. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/io.h"
#include "base/options.h"
#include "base/wan.h"
#include "files/json.h"
#include "model/model_conf.h"

#define MAX_FILE 4096
#define MAX_INDEX (1 << 20)
#define MAX_LINE 200

#define TOPK_DECIMALS 4
#define TOPK_UNITS    10000                      /* in 1: 10 to the power of TOPK_DECIMALS */

#define SHIFT_DECIMALS 2
#define SHIFT_UNITS    100

enum { WIDTH, HEIGHT, FRAMES, TOPK, SLA_BLOCK, VOCABULARY, SHIFT, N_KEYS };

static int valid_topk(int units)
{
    return td_valid_topk((double)units / TOPK_UNITS);
}

static int valid_shift(int units)
{
    return td_valid_shift((double)units / SHIFT_UNITS);
}

static const char *const vocabularies[] = { "", "words", NULL };

/* values are whole numbers, of units of the last decimal, or indices of words, from 1; 0 is never valid, which leaves
 * it to mean "not said" */
static const struct {
    const char *key, *want;
    int decimals, (*valid)(int);                 /* of a number */
    const char *const *words;                    /* NULL: it is one */
} keys[N_KEYS] = {
    [WIDTH]     = { "width", "16 to 2048", .valid = td_valid_side },
    [HEIGHT]    = { "height", "16 to 2048", .valid = td_valid_side },
    [FRAMES]    = { "frames", "4k+1 from 1 to 509", .valid = td_valid_frames },
    [TOPK]      = { "topk", "more than 0, up to 1, such as 0.25, of at most 4 decimals", TOPK_DECIMALS, valid_topk },
    [SLA_BLOCK] = { "sla_block", "128x64 or 64x128", .words = td_sla_block_words },
    [VOCABULARY] = { "vocabulary", "words", .words = vocabularies },
    [SHIFT]     = { "shift", "0.01 to 100, of at most 2 decimals", SHIFT_DECIMALS, valid_shift },
};

/* [-]digits[.digits] of n bytes, with a point whatever the locale. @return 0; -1 if it is something else, has too many
 * decimals or is longer than an int */
static int parse_number(int *value, const char *s, int n, int decimals)
{
    static const char digits[] = "0123456789";
    const char *whole = s + (*s == '-'), *part;
    int n_whole = (int)strspn(whole, digits), n_part, v = 0;

    part = whole + n_whole + (whole[n_whole] == '.');
    n_part = part > whole + n_whole ? (int)strspn(part, digits) : 0;
    if (!n_whole || part + n_part != s + n || s[n - 1] == '.' || n_part > decimals || n_whole + decimals > 9)
        return -1;
    for (int i = 0; i < n_whole; i++)
        v = 10 * v + whole[i] - '0';
    for (int i = 0; i < decimals; i++)
        v = 10 * v + (i < n_part ? part[i] - '0' : 0);
    *value = *s == '-' ? -v : v;
    return 0;
}

/* @return the word's index, -1 if it is none of them */
static int parse_word(const char *const *words, const char *s, int n)
{
    for (int i = 1; words[i]; i++)
        if (n == (int)strlen(words[i]) && !memcmp(s, words[i], (size_t)n))
            return i;
    return -1;
}

/* @return 0, or -1 if the key does not take it */
static int parse_value(int *value, int key, const char *s, int n)
{
    if (!keys[key].words)
        return parse_number(value, s, n, keys[key].decimals) < 0 || !keys[key].valid(*value) ? -1 : 0;
    *value = parse_word(keys[key].words, s, n);
    return *value < 0 ? -1 : 0;
}

static int parse_line(int values[N_KEYS], const char *path, int number, const char *line, TDLog *log)
{
    static const char blank[] = " \t\r";
    const char *key = line + strspn(line, blank), *sign, *text;
    int n_key = (int)strspn(key, "abcdefghijklmnopqrstuvwxyz_"), n_text, value;

    if (!*key)
        return 0;
    sign = key + n_key + strspn(key + n_key, blank);
    text = sign + (*sign == '=');
    text += strspn(text, blank);
    n_text = (int)strcspn(text, blank);
    if (!n_key || *sign != '=' || !n_text || text[n_text + (int)strspn(text + n_text, blank)])
        return td_error(log, EBADMSG, "%s:%d: '%s', want a key, = and a value", path, number, line);
    for (int i = 0; i < N_KEYS; i++) {
        if (n_key != (int)strlen(keys[i].key) || memcmp(key, keys[i].key, (size_t)n_key))
            continue;
        if (parse_value(&value, i, text, n_text) < 0)
            return td_error(log, EBADMSG, "%s:%d: %s = %.*s, want %s", path, number, keys[i].key, n_text, text,
                            keys[i].want);
        if (values[i])
            return td_error(log, EBADMSG, "%s:%d: %s for the second time", path, number, keys[i].key);
        values[i] = value;
        return 0;
    }
    return td_error(log, EBADMSG, "%s:%d: '%.*s', want width, height, frames, topk, sla_block, vocabulary or "
                    "shift", path, number, n_key, key);
}

int td_model_conf_parse(TDModelConf *conf, const char *path, const char *text, size_t size, TDLog *log)
{
    int v[N_KEYS] = { 0 }, ret;

    *conf = (TDModelConf){ 0 };
    if (size >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) {
        text += 3;
        size -= 3;
    }
    for (int number = 1; size > 0; number++) {
        const char *newline = memchr(text, '\n', size), *hash;
        size_t all = newline ? (size_t)(newline - text) + 1 : size, n = newline ? all - 1 : size;
        char line[MAX_LINE];

        if (n >= sizeof(line) || memchr(text, 0, n))
            return td_error(log, EBADMSG, "%s:%d: %s, want lines of text of less than %d bytes", path, number,
                            n >= sizeof(line) ? "too long" : "a NUL byte", MAX_LINE);
        hash = memchr(text, '#', n);
        n = hash ? (size_t)(hash - text) : n;
        memcpy(line, text, n);
        line[n] = 0;
        ret = parse_line(v, path, number, line, log);
        if (ret < 0)
            return ret;
        text += all;
        size -= all;
    }
    if (!v[WIDTH] != !v[HEIGHT])
        return td_error(log, EBADMSG, "%s: %s alone, want width and height, or neither", path,
                        v[WIDTH] ? "width" : "height");
    *conf = (TDModelConf){ v[WIDTH], v[HEIGHT], v[FRAMES], (double)v[TOPK] / TOPK_UNITS,
                           (enum TDSlaBlock)v[SLA_BLOCK], v[VOCABULARY], (double)v[SHIFT] / SHIFT_UNITS };
    return 0;
}

/* text: malloc'd; NULL if the directory has no such file. path: of 4,096 bytes, for messages */
static int read_file(uint8_t **text, size_t *size, char *path, const char *dir, const char *name, size_t most,
                     TDLog *log)
{
    *text = NULL;
    if ((size_t)snprintf(path, 4096, "%s/%s", dir, name) >= 4096)
        return td_error(log, EINVAL, "model=%s: longer than 4096 bytes", dir);
    if (access(path, F_OK) < 0 && errno == ENOENT)
        return 0;
    return td_read_file(text, size, path, 0, most, "a few lines of text", log);
}

int td_model_conf_read(TDModelConf *conf, const char *dir, TDLog *log)
{
    char path[4096];
    uint8_t *text;
    size_t size;
    int ret;

    *conf = (TDModelConf){ 0 };
    ret = read_file(&text, &size, path, dir, "turbodiff.conf", MAX_FILE, log);
    if (ret >= 0 && text)
        ret = td_model_conf_parse(conf, path, (const char *)text, size, log);
    free(text);
    return ret;
}

/* ---- JSON of diffusers ---- */

/* digits[.digits] of n bytes; NAN if they are anything else, or more than 12 */
static double parse_decimal(const char *s, size_t n)
{
    double units = 1, digits = 0;                /* both exact, of so few digits */
    const char *point = memchr(s, '.', n);

    if (n < 1 || n > 12 || s[n - 1] == '.' || *s == '.')
        return NAN;
    for (size_t i = 0; i < n; i++) {
        if (s + i == point)
            continue;
        if (s[i] < '0' || s[i] > '9')
            return NAN;
        digits = 10 * digits + s[i] - '0';
        units *= point && s + i > point ? 10 : 1;
    }
    return digits / units;
}

/* the number `key` of a JSON text, NAN if it is no such number. @return 1; 0 if there is none, or a logged error */
static int find_decimal(double *value, const char *key, const char *path, const char *text, size_t size, TDLog *log)
{
    TDJson root, v;
    int ret = td_json_check(&root, path, text, size, log);

    *value = 0;
    if (ret < 0 || !td_json_get(root, key, &v) || *v.p == 'n')
        return ret;                              /* a whole text ends with a bracket */
    *value = parse_decimal((const char *)v.p, strspn((const char *)v.p, "+-.0123456789eE"));
    return 1;
}

int td_model_index_parse(double *boundary, const char *path, const char *text, size_t size, TDLog *log)
{
    int ret = find_decimal(boundary, "boundary_ratio", path, text, size, log);

    if (ret <= 0 || *boundary <= 1)
        return ret;
    *boundary = 0;
    return td_error(log, EBADMSG, "%s: its boundary_ratio is no number such as 0.875, from 0 to 1", path);
}

int td_model_scheduler_parse(double *shift, const char *path, const char *text, size_t size, TDLog *log)
{
    int ret = find_decimal(shift, "flow_shift", path, text, size, log);

    if (ret <= 0 || td_valid_shift(*shift))
        return ret;
    *shift = 0;
    return td_error(log, EBADMSG, "%s: its flow_shift is no number such as 5.0, from %g to %g", path, TD_MIN_SHIFT,
                    TD_MAX_SHIFT);
}

static int read_json(double *value, const char *dir, const char *name, TDLog *log,
                     int (*parse)(double *value, const char *path, const char *text, size_t size, TDLog *log))
{
    char path[4096];
    uint8_t *text;
    size_t size;
    int ret;

    *value = 0;
    ret = read_file(&text, &size, path, dir, name, MAX_INDEX, log);
    if (ret >= 0 && text)
        ret = parse(value, path, (const char *)text, size, log);
    free(text);
    return ret;
}

int td_model_index_read(double *boundary, const char *dir, TDLog *log)
{
    return read_json(boundary, dir, "model_index.json", log, td_model_index_parse);
}

int td_model_scheduler_read(double *shift, const char *dir, TDLog *log)
{
    return read_json(shift, dir, "scheduler/scheduler_config.json", log, td_model_scheduler_parse);
}
