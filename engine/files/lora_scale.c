/* SPDX-License-Identifier: BSD-2-Clause
 * Rules: peft tuners/lora (get_pattern_key: a pattern is a regular expression for the end of a module's name, from a
 * dot on) and diffusers' lora_adapter_metadata, one object whose keys begin with the transformer's name.
 * 1. A pattern is matched by the C library, which could take memory and time without bound for some: these are refused
 *    (check_pattern()). */
#include <errno.h>
#include <math.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/io.h"
#include "files/checkpoint_priv.h"
#include "files/json.h"
#include "files/lora_scale.h"

#define MAX_PATTERN 256                          /* bytes */
#define MAX_PATTERNS 4096
#define MAX_CONFIG (1 << 20)                     /* bytes */

struct TDLoraPattern {
    char text[MAX_PATTERN + 1];
    double value;
    int is_regex;
    regex_t regex;
};

/* Python's syntax as the C library's. Repeats of a group multiply what the library makes of it, and so do repeats of
 * repeats; references to groups make matching slow without bound. @return 0, or -1 if it is none of what is known */
static int check_pattern(char to[3 * MAX_PATTERN], const char *s)
{
    char before = 0;

    for (; *s; before = *s++) {
        if (*s == '{' || (*s == '+' && before && strchr(")+*?", before)) || (unsigned char)*s < 0x20)
            return -1;
        if (s[0] == '(' && s[1] == '?') {
            if (s[2] != ':')
                return -1;
            *to++ = '(';
            s += 2;
        } else if (s[0] == '\\' && s[1] == 'd') {
            strcpy(to, "[0-9]");
            to += 5;
            s++;
        } else if (s[0] == '\\') {
            if (!s[1] || !strchr(".-_[]()|*+?^$\\", s[1]))
                return -1;
            *to++ = *s++;
            *to++ = *s;
        } else {
            *to++ = *s;
        }
    }
    *to = 0;
    return 0;
}

/* least: of its value */
static int add_pattern(TDLoraPattern *p, const char *path, TDJson key, TDJson value, double least, TDLog *log)
{
    char own[3 * MAX_PATTERN], whole[3 * MAX_PATTERN + 16], q[TD_QUOTE_MAX];
    ptrdiff_t n = td_json_string(key, p->text, sizeof(p->text));

    if (td_json_number(value, &p->value) < 0)
        return td_error(log, EBADMSG, "%s: peft's configuration: the value of '%s' is no number, want a rank or an "
                        "alpha", path, td_ckpt_quote(q, p->text, strlen(p->text)));
    if (p->value < least)
        return td_error(log, EBADMSG, "%s: peft's configuration: the rank of '%s' is %g, want 1 or more", path,
                        td_ckpt_quote(q, p->text, strlen(p->text)), p->value);
    if (n > MAX_PATTERN)
        return td_error(log, ENOTSUP, "%s: peft's configuration: a pattern of %td bytes, want at most %d", path, n,
                        MAX_PATTERN);
    if (!p->text[strspn(p->text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")])
        return 0;
    snprintf(whole, sizeof(whole), "^(.*\\.)?(%s)$", check_pattern(own, p->text) < 0 ? "" : own);
    if (check_pattern(own, p->text) < 0 || regcomp(&p->regex, whole, REG_EXTENDED | REG_NOSUB) != 0)
        return td_error(log, ENOTSUP, "%s: peft's configuration: '%s' is not understood, want a module's name, or a "
                        "plain regular expression", path, td_ckpt_quote(q, p->text, strlen(p->text)));
    p->is_regex = 1;
    return 0;
}

static int read_patterns(TDLoraPattern **out, int *n, const char *path, TDJson object, double least, TDLog *log)
{
    TDJsonWalk w = td_json_walk(object);
    TDJson key, value;
    int most = 0, ret = 0;

    if (*object.p != '{' && *object.p != 'n')
        return td_error(log, EBADMSG, "%s: peft's configuration: patterns that are no object, want "
                        "{\"MODULE\": NUMBER}", path);
    while (td_json_next(&w, &key, &value))
        most++;
    if (!most)
        return 0;
    if (most > MAX_PATTERNS)
        return td_error(log, ENOTSUP, "%s: peft's configuration: %d patterns, want at most %d", path, most,
                        MAX_PATTERNS);
    *out = calloc((size_t)most, sizeof(**out));
    if (!*out)
        return td_error(log, ENOMEM, "%s: out of memory", path);
    for (w = td_json_walk(object); ret >= 0 && td_json_next(&w, &key, &value); )
        ret = add_pattern(&(*out)[(*n)++], path, key, value, least, log);
    return ret;
}

/* PREFIX.NAME of the object, or NAME */
static int get(TDJson root, const char *prefix, const char *name, TDJson *value)
{
    char key[64];

    snprintf(key, sizeof(key), "%s.%s", prefix, name);
    return td_json_get(root, key, value) || td_json_get(root, name, value);
}

/* peft's own files lie beside their configuration. @return 0 also where there is none */
static int read_config(uint8_t **text, size_t *size, const char *path, TDLog *log)
{
    static const char name[] = "adapter_config.json";
    const char *slash = strrchr(path, '/');
    size_t dir = slash ? (size_t)(slash - path) + 1 : 0;
    struct stat st;
    char *config;
    int ret = 0;

    *text = NULL;
    if (strncmp(path + dir, "adapter_model.", 14) != 0)
        return 0;
    if (!(config = malloc(dir + sizeof(name))))
        return td_error(log, ENOMEM, "%s: out of memory", path);
    memcpy(config, path, dir);
    strcpy(config + dir, name);
    if (stat(config, &st) == 0)
        ret = td_read_file(text, size, config, 2, MAX_CONFIG, "peft's configuration", log);
    free(config);
    return ret;
}

static int read_scales(TDLoraScales *s, const char *path, const char *prefix, const void *text, size_t size, TDLog *log)
{
    TDJson root, v;
    int ret;

    if ((ret = td_json_check(&root, path, text, size, log)) < 0)
        return ret;
    if (*root.p != '{')
        return td_error(log, EBADMSG, "%s: peft's configuration is no object", path);
    if (!get(root, prefix, "r", &v) && !get(root, prefix, "lora_alpha", &v))
        return 0;
    s->known = 1;
    if ((get(root, prefix, "r", &v) && td_json_number(v, &s->r) < 0) ||
        (get(root, prefix, "lora_alpha", &v) && td_json_number(v, &s->alpha) < 0))
        return td_error(log, EBADMSG, "%s: peft's configuration: r or lora_alpha is no number", path);
    if (get(root, prefix, "r", &v) && s->r < 1)
        return td_error(log, EBADMSG, "%s: peft's configuration: r is %g, want 1 or more", path, s->r);
    if (!get(root, prefix, "lora_alpha", &v))
        s->alpha = s->r;
    if (get(root, prefix, "use_rslora", &v) && !memchr("tfn", *v.p, 3))
        return td_error(log, EBADMSG, "%s: peft's configuration: use_rslora is neither true nor false", path);
    s->rank_stable = get(root, prefix, "use_rslora", &v) && *v.p == 't';
    if (get(root, prefix, "rank_pattern", &v))
        ret = read_patterns(&s->ranks, &s->n_ranks, path, v, 1, log);
    if (ret >= 0 && get(root, prefix, "alpha_pattern", &v))
        ret = read_patterns(&s->alphas, &s->n_alphas, path, v, -INFINITY, log);
    return ret;
}

int td_lora_scales_read(TDLoraScales *s, const TDCheckpoint *file, int low, TDLog *log)
{
    const char *text = td_checkpoint_lora_metadata(file), *path = td_checkpoint_path(file);
    uint8_t *config = NULL;
    size_t size = text ? strlen(text) : 0;
    int ret = 0;

    *s = (TDLoraScales){ 0 };
    if (!text)
        ret = read_config(&config, &size, path, log);
    if (ret >= 0 && (text || config))
        ret = read_scales(s, config ? "adapter_config.json" : path, low ? "transformer_2" : "transformer",
                          text ? (const void *)text : config, size, log);
    free(config);
    if (ret < 0)
        td_lora_scales_free(s);
    return ret;
}

static void free_patterns(TDLoraPattern *p, int n)
{
    for (int i = 0; i < n; i++)
        if (p[i].is_regex)
            regfree(&p[i].regex);
    free(p);
}

void td_lora_scales_free(TDLoraScales *s)
{
    free_patterns(s->ranks, s->n_ranks);
    free_patterns(s->alphas, s->n_alphas);
    *s = (TDLoraScales){ 0 };
}

static double choose(const TDLoraPattern *p, int n, const char *module, double otherwise)
{
    size_t len = strlen(module);

    for (int i = 0; i < n; i++) {
        size_t m = strlen(p[i].text);

        if (p[i].is_regex ? regexec(&p[i].regex, module, 0, NULL, 0) == 0
                          : m <= len && !strcmp(module + len - m, p[i].text) &&
                            (m == len || module[len - m - 1] == '.'))
            return p[i].value;
    }
    return otherwise;
}

int td_lora_scale(const TDLoraScales *s, double *scale, const TDEntry *e, const char *module, int len, int64_t rank,
                  TDLog *log)
{
    char name[TD_CKPT_MAX_NAME + 1];
    double r, alpha;

    *scale = 1;
    if (!s->known)
        return 0;
    snprintf(name, sizeof(name), "%.*s", len, module);
    r = choose(s->ranks, s->n_ranks, name, s->r);
    alpha = choose(s->alphas, s->n_alphas, name, s->alpha);
    if (r != 0 && r != (double)rank)
        return td_error(log, EBADMSG, "%s: %s: rank %lld, but peft's configuration says %g", e->file, e->name,
                        (long long)rank, r);
    *scale = alpha / (s->rank_stable ? sqrt((double)rank) : (double)rank);
    return 0;
}
