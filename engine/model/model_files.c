/* SPDX-License-Identifier: BSD-2-Clause
 * Which file of a model directory is which part. Official names: TurboWan*.pth and TurboWan*-quant.pth (of two experts,
 * the low-noise one has the word "low" in its name), Wan2.1_VAE.pth, models_t5_umt5-xxl-enc-bf16.pth,
 * google/umt5-xxl/spiece.model. Others are told apart as model_scan.c says. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "model/model.h"
#include "model/model_scan.h"

static const struct { const char *option, *what, *example; } kinds[TD_N_FILES] = {
    [TD_FILE_DIT]       = { "dit", "a transformer", "TurboWan2.1-T2V-1.3B-480P.pth" },
    [TD_FILE_DIT_LOW]   = { "dit_low", "a low-noise expert", "TurboWan2.2-I2V-A14B-low-720P.pth" },
    [TD_FILE_TEXT]      = { "text_encoder", "a umT5 encoder", "models_t5_umt5-xxl-enc-bf16.pth" },
    [TD_FILE_VAE]       = { "vae", "a VAE", "Wan2.1_VAE.pth" },
    [TD_FILE_TOKENIZER] = { "tokenizer", "a tokenizer", "google/umt5-xxl/spiece.model" },
};

static int is_file(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static int is_quant(const char *name)
{
    return strcasestr(name, "-quant.") != NULL;
}

/* of FILE.pth and FILE-quant.pth the one `quant` asks for (auto: the int8 one); drops the other from the list */
static int choose_quant(TDScan *scan, enum TDFile k, enum TDQuant quant, TDLog *log)
{
    int has_quant = 0, has_plain = 0;
    char *keep;

    for (int i = 0; i < scan->n[k]; i++) {
        has_quant |= is_quant(scan->name[k][i]);
        has_plain |= !is_quant(scan->name[k][i]);
    }
    if (!has_quant || !has_plain)
        return 0;
    keep = malloc((size_t)scan->n[k]);
    if (!keep)
        return td_error(log, ENOMEM, "model: out of memory");
    for (int i = 0; i < scan->n[k]; i++) {
        const char *name = scan->name[k][i], *end = strcasestr(name, "-quant.");
        int twin = 0;                            /* the same file in the other form */

        for (int j = 0; j < scan->n[k]; j++) {
            const char *other = scan->name[k][j], *quant_end = end ? end : strcasestr(other, "-quant.");
            const char *with = end ? name : other, *without = end ? other : name;
            size_t n = quant_end ? (size_t)(quant_end - with) : 0;

            twin |= quant_end && !strncmp(with, without, n) && !strcmp(quant_end + 6, without + n);
        }
        keep[i] = !twin || is_quant(name) == (quant != TD_QUANT_NONE);
    }
    td_scan_keep(scan, k, keep);
    free(keep);
    return 0;
}

static const char *const tokenizers[] = { "google/umt5-xxl/spiece.model", "umt5-xxl/spiece.model",
                                          "tokenizer/spiece.model", "spiece.model" };

/* NULL if there is none: the text encoder's file may have it */
static int find_tokenizer(char **out, const char *dir, TDLog *log)
{
    int ret;

    for (size_t i = 0; i < sizeof(tokenizers) / sizeof(*tokenizers); i++) {
        if ((ret = td_join_path(out, dir, tokenizers[i], log)) < 0)
            return ret;
        if (is_file(*out))
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

/* of several names those with this part, of a name or else of its folders */
static int keep_part(TDScan *scan, enum TDFile k, const char *part, TDLog *log)
{
    char *keep = malloc((size_t)scan->n[k] + 1);
    int n = 0;

    if (!keep)
        return td_error(log, ENOMEM, "model: out of memory");
    for (int pass = 0; pass < 2 && !n; pass++)
        for (int i = 0; i < scan->n[k]; i++)
            n += keep[i] = (char)td_scan_has_part(scan->name[k][i], part, pass);
    if (n)
        td_scan_keep(scan, k, keep);
    free(keep);
    return n;
}

/* of several low-noise experts the one whose name is that of the other, but for the noise */
static int keep_pair(TDScan *scan, const char *high, const char *dir, TDLog *log)
{
    char *keep = malloc((size_t)scan->n[TD_FILE_DIT_LOW] + 1), *path;
    int n = 0, ret = 0;

    if (!keep)
        return td_error(log, ENOMEM, "model: out of memory");
    for (int i = 0; i < scan->n[TD_FILE_DIT_LOW] && ret >= 0; i++)
        if ((ret = td_join_path(&path, dir, scan->name[TD_FILE_DIT_LOW][i], log)) >= 0) {
            n += keep[i] = td_is_pair(high, path);
            free(path);
        }
    if (n && ret >= 0)
        td_scan_keep(scan, TD_FILE_DIT_LOW, keep);
    free(keep);
    return ret;
}

/* those of one kind, behind what is there */
static void list_names(char list[400], const TDScan *scan, enum TDFile k)
{
    for (int i = 0; i < scan->n[k]; i++) {
        size_t n = strlen(list);

        if (n + strlen(scan->name[k][i]) + 40 > 400) {
            snprintf(list + n, 400 - n, " and %d more", scan->n[k] - i);
            break;
        }
        snprintf(list + n, 400 - n, "%s%s", n ? ", " : "", scan->name[k][i]);
    }
}

/* the error of a part that is in no name, with those that it could be in; or in all, which leaves none for dit */
static int no_such_part(TDScan *scan, enum TDFile k, const char *dir, const char *part, TDLog *log)
{
    const enum TDFile of[] = { k, k == TD_FILE_DIT_LOW ? TD_FILE_DIT : (enum TDFile)TD_SCAN_TINY };
    int n = k == TD_FILE_DIT_LOW || k == TD_FILE_VAE ? 2 : 1, all = n == 2 && td_scan_count(scan, of[1], part, 1);
    char list[400] = "";
    int ret = 0;

    for (int i = 0; i < n && ret >= 0; i++) {
        ret = td_scan_ask_tensors(scan, dir, of[i], NULL, 0, log);
        list_names(list, scan, of[i]);
    }
    return ret < 0 ? ret
           : td_error(log, all ? EINVAL : ENOENT, "%s=%s: no such file, and it is in %s name of model=%s that could be "
                      "%s (%s)", kinds[k].option, part, all ? "every" : "no", dir, kinds[k].what,
                      *list ? list : "there is none");
}

/* that a part is this file of n that could be it */
static void tell_chosen(char chosen[TD_CHOSEN], enum TDFile k, const char *name, int n)
{
    size_t at = strlen(chosen);

    snprintf(chosen + at, TD_CHOSEN - at, "%s%s %.80s (of most bits, of %d)", at ? ", " : "", kinds[k].what + 2,
             strlen(name) > 80 ? base_name(name) : name, n);
}

/* dit: the transformer that is used, or NULL */
static int pick(char **out, TDScan *scan, enum TDFile k, const char *dir, const char *dit, const char *part,
                char chosen[TD_CHOSEN], TDLog *log)
{
    char list[400] = "";
    int ret, n;

    if (part && (k != TD_FILE_DIT || scan->n[k] || !scan->n[TD_FILE_DIT_LOW])) {
        if ((ret = keep_part(scan, k, part, log)) < 0)
            return ret;
        if (!ret)
            return no_such_part(scan, k, dir, part, log);
    }
    if ((n = ret = td_scan_ask_tensors(scan, dir, k, dit, 1, log)) < 0)
        return ret;
    if (scan->n[k] == 1 && n > 1)
        tell_chosen(chosen, k, scan->name[k][0], n);
    if (scan->n[k] == 1)
        return td_join_path(out, dir, scan->name[k][0], log);
    if (scan->n[k] == 0 && k == TD_FILE_DIT && scan->n[TD_FILE_DIT_LOW])
        return td_error(log, ENOENT, "model=%s: %s is one of two experts, that for low noise, and there is no other; "
                        "want e.g. TurboWan2.2-I2V-A14B-high-720P.pth beside it, or set dit= to a file", dir,
                        scan->name[TD_FILE_DIT_LOW][0]);
    if (scan->n[k] == 0 && k == TD_FILE_VAE && scan->n[TD_SCAN_TINY])
        return td_error(log, ENOENT, "model=%s: no VAE but a tiny one, %s; set vae= to a part of its name, or put e.g. "
                        "%s beside it", dir, scan->name[TD_SCAN_TINY][0], kinds[k].example);
    if (scan->n[k] == 0)
        return td_error(log, ENOENT, "model=%s: no file of %s%s%s%s; want e.g. %s, or set %s=", dir, kinds[k].what,
                        *scan->passed[k] ? " (" : "", scan->passed[k], *scan->passed[k] ? ")" : "",
                        kinds[k].example, kinds[k].option);
    list_names(list, scan, k);
    return td_error(log, EINVAL, "model=%s: more than one file could be %s (%s); set %s= to a file, or to a part of "
                    "one of these names", dir, kinds[k].what, list, kinds[k].option);
}

/* no such file, but maybe a part of a name */
static int is_part(const TDSettings *s, const char *given)
{
    struct stat st;

    return given && s->model && !strchr(given, '/') && stat(given, &st) != 0;
}

int td_model_find_files(char *path[TD_N_FILES], char chosen[TD_CHOSEN], const TDSettings *s, TDLog *log)
{
    const char *given[TD_N_FILES] = { [TD_FILE_DIT] = s->dit, [TD_FILE_DIT_LOW] = s->dit_low,
                                      [TD_FILE_TEXT] = s->text_encoder, [TD_FILE_VAE] = s->vae,
                                      [TD_FILE_TOKENIZER] = s->tokenizer };
    TDScan scan = { 0 };
    int ret = 0;

    chosen[0] = 0;
    if (s->model && !*s->model)
        return td_error(log, ENOENT, "model= is empty, want a directory with the model's files");
    for (int k = 0; k < TD_N_FILES; k++)
        if (given[k] && !*given[k])
            return td_error(log, ENOENT, "%s= is empty, want %s, such as %s", kinds[k].option, kinds[k].what,
                            kinds[k].example);
    if (s->model) {
        TRY(td_scan(&scan, s->model, log));
        TRY(choose_quant(&scan, TD_FILE_DIT, s->quant, log));
        TRY(choose_quant(&scan, TD_FILE_DIT_LOW, s->quant, log));
    }
    if (is_part(s, s->dit_low)) {
        TRY(td_scan_take_low(&scan, s->dit_low, s->dit && !is_part(s, s->dit), log));
        if (!td_scan_count(&scan, TD_FILE_DIT_LOW, s->dit_low, 1))
            TRY(no_such_part(&scan, TD_FILE_DIT_LOW, s->model, s->dit_low, log));
    }
    if (is_part(s, s->vae))
        td_scan_take_tiny(&scan, s->vae);
    for (int k = 0; k < TD_N_FILES; k++) {
        int part = k != TD_FILE_TOKENIZER && is_part(s, given[k]);

        if (k == TD_FILE_ENCODER || (k == TD_FILE_DIT_LOW && !given[k] && !scan.n[k]))
            continue;                            /* the former is in the VAE's file; only some models have the latter */
        if (k == TD_FILE_DIT_LOW && !given[k]) {
            TRY(keep_pair(&scan, path[TD_FILE_DIT], s->model, log));
            TRY(td_scan_ask_tensors(&scan, s->model, k, NULL, 1, log));
            if (scan.n[k] > 1)
                continue;                        /* none of them belongs to the first */
        }
        if (given[k] && !part) {
            path[k] = strdup(given[k]);
            ret = path[k] ? 0 : td_error(log, ENOMEM, "%s=: out of memory", kinds[k].option);
        } else if (!s->model && k == TD_FILE_TOKENIZER) {
            continue;
        } else if (!s->model) {
            ret = td_error(log, EINVAL, "no %s: set model= to a directory, or %s= to a file", kinds[k].what + 2,
                           kinds[k].option);
        } else {
            ret = k == TD_FILE_TOKENIZER ? find_tokenizer(&path[k], s->model, log)
                                         : pick(&path[k], &scan, k, s->model, path[TD_FILE_DIT],
                                                part ? given[k] : NULL, chosen, log);
        }
        if (ret < 0)
            goto fail;
    }
fail:
    td_scan_free(&scan);
    return ret;
}

int td_model_check_experts(char *const path[TD_N_FILES], const TDSettings *s, int64_t in_dim, TDLog *log)
{
    const char *high = path[TD_FILE_DIT], *low = path[TD_FILE_DIT_LOW];
    int is_high = td_has_noise_word(base_name(high), "high"), alone = s->dit && !strcmp(s->dit, high);

    if (in_dim == TD_I2V_CHANNELS ? !low : is_high && !low && !alone)
        return td_error(log, ENOENT,
                        "%s is one of two experts, and there is no other; want e.g. "
                        "TurboWan2.2-%s-A14B-low-720P.pth beside it, or set dit_low=", high,
                        in_dim == TD_I2V_CHANNELS ? "I2V" : "T2V");
    if (in_dim == TD_I2V_CHANNELS || s->dit_low)
        return 1;
    if (!low || alone)
        return 0;
    if (is_high || td_is_pair(high, low))
        return 1;
    if (!s->dit)
        return td_error(log, EINVAL,
                        "%s and %s: two transformers, want one; set dit= to the one to use, or dit= and dit_low= where "
                        "they are the experts of one model", high, low);
    return 0;
}
