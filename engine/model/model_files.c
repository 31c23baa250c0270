/* SPDX-License-Identifier: BSD-2-Clause
 * Which file is which in a model directory. Official names: TurboWan*.pth and TurboWan*-quant.pth (of two experts, the
 * low-noise one has the word "low" in its name), Wan2.1_VAE.pth,
 * models_t5_umt5-xxl-enc-bf16.pth, google/umt5-xxl/spiece.model. Others are told apart by what their names contain:
 * "vae", "t5" or "text_encoder", else a transformer. Shards are entered through their .safetensors.index.json. Hidden
 * files, and what is no regular file (or a link to one), are none of the model. */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include "model/model.h"

#define MAX_CANDIDATES 64

static const struct { const char *option, *what, *example; } kinds[TD_N_FILES] = {
    [TD_FILE_DIT]       = { "dit", "a transformer", "TurboWan2.1-T2V-1.3B-480P.pth" },
    [TD_FILE_DIT_LOW]   = { "dit_low", "a low-noise expert", "TurboWan2.2-I2V-A14B-low-720P.pth" },
    [TD_FILE_TEXT]      = { "text_encoder", "a umT5 encoder", "models_t5_umt5-xxl-enc-bf16.pth" },
    [TD_FILE_VAE]       = { "vae", "a VAE", "Wan2.1_VAE.pth" },
    [TD_FILE_TOKENIZER] = { "tokenizer", "a tokenizer", "google/umt5-xxl/spiece.model" },
};

typedef struct Scan {
    char *name[TD_N_FILES][MAX_CANDIDATES];
    int n[TD_N_FILES];
    char passed[TD_N_FILES][80];                 /* a name of this kind that is no regular file, "" if there is none */
} Scan;

static int ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);

    return n >= m && !strcmp(s + n - m, end);
}

/* the word somewhere in s, in any case, with no letter or digit next to it */
static int has_word(const char *s, const char *lower)
{
    size_t n = strlen(lower);

    for (size_t i = 0; s[i]; i++)
        if ((i == 0 || !isalnum((unsigned char)s[i - 1])) && !strncasecmp(s + i, lower, n) &&
            !isalnum((unsigned char)s[i + n]))
            return 1;
    return 0;
}

static int is_file(int dir, const char *name)
{
    struct stat st;

    return fstatat(dir, name, &st, 0) == 0 && S_ISREG(st.st_mode);
}

/* kind of a weight file by its name, or -1 */
static int kind_of(const char *name)
{
    const char *of = strstr(name, "-of-");

    if (name[0] == '.')
        return -1;
    if (!ends_with(name, ".pth") && !ends_with(name, ".safetensors") && !ends_with(name, ".safetensors.index.json") &&
        !ends_with(name, ".gguf"))
        return -1;
    if (of && ends_with(name, ".safetensors"))
        return -1;                               /* a shard */
    return strcasestr(name, "vae")                                        ? TD_FILE_VAE
           : strcasestr(name, "t5") || strcasestr(name, "text_encoder") ? TD_FILE_TEXT
           : has_word(name, "low")                                      ? TD_FILE_DIT_LOW
                                                                        : TD_FILE_DIT;
}

int td_model_is_weight_file(int dir, const char *name)
{
    return kind_of(name) >= 0 && is_file(dir, name);
}

static int scan_directory(Scan *scan, const char *dir, TDLog *log)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    int ret = 0;

    if (!d)
        return td_error(log, errno == ENOENT || errno == ENOMEM ? errno : errno == ENOTDIR ? EINVAL : EACCES,
                        "model=%s: %s, want a directory with the model's files", dir, strerror(errno));
    while ((e = readdir(d))) {
        int k = kind_of(e->d_name);

        if (k < 0 || scan->n[k] == MAX_CANDIDATES)
            continue;
        if (!is_file(dirfd(d), e->d_name)) {
            snprintf(scan->passed[k], sizeof(scan->passed[k]), "%.79s", e->d_name);
            continue;
        }
        if (!(scan->name[k][scan->n[k]++] = strdup(e->d_name))) {
            ret = td_error(log, ENOMEM, "model=%s: out of memory", dir);
            break;
        }
    }
    closedir(d);
    return ret;
}

static int is_quant(const char *name)
{
    return strcasestr(name, "-quant.") != NULL;
}

/* of FILE.pth and FILE-quant.pth the one `quant` asks for (auto: the int8 one); drops the other from the list */
static void choose_quant(Scan *scan, enum TDFile k, enum TDQuant quant)
{
    int n = 0, has_quant = 0, has_plain = 0;

    for (int i = 0; i < scan->n[k]; i++) {
        has_quant |= is_quant(scan->name[k][i]);
        has_plain |= !is_quant(scan->name[k][i]);
    }
    if (!has_quant || !has_plain)
        return;
    for (int i = 0; i < scan->n[k]; i++) {
        if (is_quant(scan->name[k][i]) == (quant != TD_QUANT_NONE))
            scan->name[k][n++] = scan->name[k][i];
        else
            free(scan->name[k][i]);
    }
    scan->n[k] = n;
}

static int join_path(char **out, const char *dir, const char *name, TDLog *log)
{
    size_t n = strlen(dir) + strlen(name) + 2;

    *out = malloc(n);
    if (!*out)
        return td_error(log, ENOMEM, "model=%s: out of memory", dir);
    snprintf(*out, n, "%s/%s", dir, name);
    return 0;
}

static const char *const tokenizers[] = { "google/umt5-xxl/spiece.model", "umt5-xxl/spiece.model",
                                          "tokenizer/spiece.model", "spiece.model" };

/* NULL if there is none: the text encoder's file may have it */
static int find_tokenizer(char **out, const char *dir, TDLog *log)
{
    int ret;

    for (size_t i = 0; i < sizeof(tokenizers) / sizeof(*tokenizers); i++) {
        if ((ret = join_path(out, dir, tokenizers[i], log)) < 0)
            return ret;
        if (is_file(AT_FDCWD, *out))
            return 0;
        free(*out);
        *out = NULL;
    }
    return 0;
}

int td_model_no_tokenizer(const TDSettings *s, TDLog *log)
{
    if (!s->model)
        return td_error(log, EINVAL, "no tokenizer: set model= to a directory, or tokenizer= to a file");
    return td_error(log, ENOENT, "model=%s: no tokenizer; want %s, or set tokenizer=", s->model, tokenizers[0]);
}

static int pick(char **out, const Scan *scan, enum TDFile k, const char *dir, TDLog *log)
{
    char list[300] = "";

    if (scan->n[k] == 1)
        return join_path(out, dir, scan->name[k][0], log);
    if (scan->n[k] == 0)
        return td_error(log, ENOENT, "model=%s: no file of %s%s%s%s; want e.g. %s, or set %s=", dir, kinds[k].what,
                        *scan->passed[k] ? " (" : "", scan->passed[k],
                        *scan->passed[k] ? " is no regular file)" : "", kinds[k].example, kinds[k].option);
    for (int i = 0; i < scan->n[k]; i++)
        snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", i ? ", " : "", scan->name[k][i]);
    return td_error(log, EINVAL, "model=%s: more than one file could be %s (%s); set %s=", dir, kinds[k].what, list,
                    kinds[k].option);
}

int td_model_find_files(char *path[TD_N_FILES], const TDSettings *s, TDLog *log)
{
    const char *given[TD_N_FILES] = { [TD_FILE_DIT] = s->dit, [TD_FILE_DIT_LOW] = s->dit_low,
                                      [TD_FILE_TEXT] = s->text_encoder, [TD_FILE_VAE] = s->vae,
                                      [TD_FILE_TOKENIZER] = s->tokenizer };
    Scan scan = { 0 };
    int ret = 0;

    if (s->model)
        TRY(scan_directory(&scan, s->model, log));
    choose_quant(&scan, TD_FILE_DIT, s->quant);
    choose_quant(&scan, TD_FILE_DIT_LOW, s->quant);
    for (int k = 0; k < TD_N_FILES; k++) {
        if (k == TD_FILE_ENCODER || (k == TD_FILE_DIT_LOW && !given[k] && !scan.n[k]))
            continue;                            /* the former is in the VAE's file; only some models have the latter */
        if (given[k]) {
            path[k] = strdup(given[k]);
            ret = path[k] ? 0 : td_error(log, ENOMEM, "%s=: out of memory", kinds[k].option);
        } else if (!s->model && k == TD_FILE_TOKENIZER) {
            continue;
        } else if (!s->model) {
            ret = td_error(log, EINVAL, "no %s: set model= to a directory, or %s= to a file", kinds[k].what + 2,
                           kinds[k].option);
        } else {
            ret = k == TD_FILE_TOKENIZER ? find_tokenizer(&path[k], s->model, log)
                                         : pick(&path[k], &scan, k, s->model, log);
        }
        if (ret < 0)
            goto fail;
    }
fail:
    for (int k = 0; k < TD_N_FILES; k++)
        for (int i = 0; i < scan.n[k]; i++)
            free(scan.name[k][i]);
    return ret;
}

int td_model_check_experts(char *const path[TD_N_FILES], const TDSettings *s, int64_t in_dim, TDLog *log)
{
    const char *high = path[TD_FILE_DIT], *low = path[TD_FILE_DIT_LOW];

    if (in_dim == TD_I2V_CHANNELS && !low)
        return td_error(log, ENOENT,
                        "%s is one of two experts, and there is no other; want e.g. "
                        "TurboWan2.2-I2V-A14B-low-720P.pth beside it, or set dit_low=", high);
    if (in_dim != TD_I2V_CHANNELS && low && !s->dit && !s->dit_low)
        return td_error(log, EINVAL,
                        "%s and %s: two text-to-video experts, want one transformer; set dit= to the one to use, or "
                        "dit= and dit_low= to use both", high, low);
    return 0;
}
