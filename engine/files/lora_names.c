/* SPDX-License-Identifier: BSD-2-Clause
 * 1. A name is a prefix, a module's name in one of the known namings, and an ending.
 * 2. Where low lines stand for dots it cannot be taken apart (self_attn has one of its own): every module of the model
 *    is spelled that way, and the name is looked up. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "files/checkpoint_priv.h"
#include "files/lora_names.h"

static const struct { const char *text; enum TDLoraRole role; } endings[] = {
    { ".lora_A.weight", TD_LORA_DOWN }, { ".lora_B.weight", TD_LORA_UP },
    { ".lora_A.default.weight", TD_LORA_DOWN }, { ".lora_B.default.weight", TD_LORA_UP },
    { ".lora_A", TD_LORA_DOWN }, { ".lora_B", TD_LORA_UP },
    { ".lora_down.weight", TD_LORA_DOWN }, { ".lora_up.weight", TD_LORA_UP },
    { "_lora.down.weight", TD_LORA_DOWN }, { "_lora.up.weight", TD_LORA_UP },
    { ".lora.down.weight", TD_LORA_DOWN }, { ".lora.up.weight", TD_LORA_UP },
    { ".lora_linear_layer.down.weight", TD_LORA_DOWN }, { ".lora_linear_layer.up.weight", TD_LORA_UP },
    { ".lora_B.bias", TD_LORA_UP_BIAS }, { ".lora_B.default.bias", TD_LORA_UP_BIAS },
    { ".lora_up.bias", TD_LORA_UP_BIAS }, { ".alpha", TD_LORA_ALPHA },
    { ".dora_scale", TD_LORA_DORA }, { ".lora_magnitude_vector", TD_LORA_DORA },
    { ".lora_magnitude_vector.weight", TD_LORA_DORA }, { ".lora_magnitude_vector.default.weight", TD_LORA_DORA },
    { ".diff", TD_LORA_DIFF }, { ".w_norm", TD_LORA_DIFF }, { ".diff_b", TD_LORA_DIFF_BIAS },
    { ".b_norm", TD_LORA_DIFF_BIAS }, { ".diff_m", TD_LORA_DIFF_MODULATION }, { ".set_weight", TD_LORA_SET },
    { ".hada_w1_a", TD_LOHA_1A }, { ".hada_w1_b", TD_LOHA_1B }, { ".hada_w2_a", TD_LOHA_2A },
    { ".hada_w2_b", TD_LOHA_2B }, { ".lokr_w1", TD_LOKR_1 }, { ".lokr_w1_a", TD_LOKR_1A },
    { ".lokr_w1_b", TD_LOKR_1B }, { ".lokr_w2", TD_LOKR_2 }, { ".lokr_w2_a", TD_LOKR_2A },
    { ".lokr_w2_b", TD_LOKR_2B }, { ".reshape_weight", TD_LORA_OTHER }, { ".hada_t1", TD_LORA_OTHER },
    { ".hada_t2", TD_LORA_OTHER }, { ".lokr_t2", TD_LORA_OTHER }, { ".lora_mid.weight", TD_LORA_OTHER },
};

/* beside those that every file's names lose (ckpt_common.c), and these again, between them */
static const struct { const char *text; int low; } prefixes[] = {
    { "base_model.model.", 0 }, { "pipe.dit.", 0 }, { "pipe.dit2.", 1 }, { "unet.", 0 }, { "transformer_2.", 1 },
    { "transformer.", 0 }, { "model.diffusion_model.", 0 }, { "diffusion_model.", 0 }, { "model.", 0 },
};

/* before names with low lines for dots; VideoX-Fun has another low line there */
static const char *const spelled_prefixes[] = { "lora_unet__", "lora_unet_", "lycoris_" };

/* ---- the model's names ---- */

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int compare_spelled(const void *a, const void *b)
{
    return strcmp(((const struct TDSpelled *)a)->name, ((const struct TDSpelled *)b)->name);
}

/* @return bytes of the module's name in that of a tensor, 0 if it is no weight of one */
static size_t module_of(const char *name)
{
    static const char *const parts[] = { ".weight", ".int8_weight", ".bias", ".modulation" };
    const char *dot = strrchr(name, '.');

    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts) && dot; i++)
        if (!strcmp(dot, parts[i]))
            return (size_t)(dot - name);
    return 0;
}

static int spell(TDLoraNames *names, const char *name, int module)
{
    char *copy = malloc(strlen(name) + 1);

    if (!copy)
        return -1;
    strcpy(copy, name);
    for (char *p = copy; *p; p++)
        *p = *p == '.' ? '_' : *p;
    names->spelled[names->n_spelled++] = (struct TDSpelled){ copy, module };
    return 0;
}

int td_lora_names_make(TDLoraNames *names, const TDCheckpoint *base, TDLog *log)
{
    size_t n = (size_t)td_checkpoint_count(base);
    char other[2 * TD_CKPT_MAX_NAME];
    int unique = 0;

    *names = (TDLoraNames){ .module = calloc(n + 1, sizeof(*names->module)),
                            .spelled = calloc(2 * n + 1, sizeof(*names->spelled)) };
    if (!names->module || !names->spelled)
        goto no_memory;
    for (size_t i = 0; i < n; i++) {
        const char *name = td_checkpoint_entry(base, (int)i)->name;
        size_t len = module_of(name);
        char *copy = len ? malloc(len + 1) : NULL;

        if (len && !copy)
            goto no_memory;
        if (!len)
            continue;
        memcpy(copy, name, len);
        copy[len] = 0;
        names->module[names->n++] = copy;
    }
    if (names->n)                                /* sorting and searching take no NULL, not even for nothing */
        qsort(names->module, (size_t)names->n, sizeof(*names->module), compare_texts);
    for (int i = 0; i < names->n; i++) {
        if (unique && !strcmp(names->module[unique - 1], names->module[i]))
            free(names->module[i]);
        else
            names->module[unique++] = names->module[i];
    }
    names->n = unique;
    for (int i = 0; i < names->n; i++) {
        td_name_of_diffusers(other, names->module[i], 1);
        if (spell(names, names->module[i], i) < 0 || (strcmp(other, names->module[i]) && spell(names, other, i) < 0))
            goto no_memory;
    }
    if (names->n_spelled)
        qsort(names->spelled, (size_t)names->n_spelled, sizeof(*names->spelled), compare_spelled);
    return 0;
no_memory:
    td_lora_names_free(names);
    return td_error(log, ENOMEM, "%s: out of memory", td_checkpoint_path(base));
}

void td_lora_names_free(TDLoraNames *names)
{
    for (int i = 0; i < names->n; i++)
        free(names->module[i]);
    for (int i = 0; i < names->n_spelled; i++)
        free(names->spelled[i].name);
    free(names->module);
    free(names->spelled);
    *names = (TDLoraNames){ 0 };
}

/* ---- a LoRA's names ---- */

static enum TDLoraRole role_of(const char *name, size_t *len)
{
    enum TDLoraRole role = TD_N_LORA_ROLES;
    size_t n = strlen(name), longest = 0;

    for (size_t i = 0; i < sizeof(endings) / sizeof(*endings); i++) {
        size_t m = strlen(endings[i].text);

        if (m < n && m > longest && !strcmp(name + n - m, endings[i].text)) {
            role = endings[i].role;
            longest = m;
        }
    }
    *len = n - longest;
    return role;
}

static int find_module(const TDLoraNames *names, const char *name)
{
    char **found = NULL;

    if (names->n)
        found = bsearch(&name, names->module, (size_t)names->n, sizeof(*names->module), compare_texts);
    return found ? (int)(found - names->module) : -1;
}

/* name: of the module alone */
static int find_dotted(const TDLoraNames *names, const char *name)
{
    char other[2 * TD_CKPT_MAX_NAME];
    int at = find_module(names, name);

    if (at < 0) {
        td_name_of_diffusers(other, name, 0);
        at = find_module(names, other);
    }
    if (at < 0) {
        td_name_of_fastvideo(other, name);
        at = find_module(names, other);
    }
    return at;
}

static int find_spelled(const TDLoraNames *names, const char *name)
{
    for (size_t i = 0; names->n_spelled && i < sizeof(spelled_prefixes) / sizeof(*spelled_prefixes); i++) {
        size_t n = strlen(spelled_prefixes[i]);
        struct TDSpelled key = { (char *)name + n, 0 }, *found;

        if (strncmp(name, spelled_prefixes[i], n) != 0)
            continue;
        found = bsearch(&key, names->spelled, (size_t)names->n_spelled, sizeof(key), compare_spelled);
        if (found)
            return found->module;
    }
    return -1;
}

void td_lora_key(TDLoraKey *key, const TDLoraNames *names, const TDEntry *e)
{
    char name[TD_CKPT_MAX_NAME + 1];
    const char *from = e->name, *mod;
    size_t len;

    *key = (TDLoraKey){ .e = e, .module = -1, .role = role_of(e->name, &len) };
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(*prefixes); i++) {
        size_t n = strlen(prefixes[i].text);

        if (n < len - (size_t)(from - e->name) && !strncmp(from, prefixes[i].text, n)) {
            from += n;
            key->low |= prefixes[i].low;
            i = (size_t)-1;                      /* start over */
        }
    }
    key->own = from;
    key->own_len = (int)(len - (size_t)(from - e->name));
    if (key->role == TD_N_LORA_ROLES || key->own_len > TD_CKPT_MAX_NAME)
        return;
    memcpy(name, from, (size_t)key->own_len);
    name[key->own_len] = 0;
    key->module = find_dotted(names, name);
    if (key->module < 0)
        key->module = find_spelled(names, name);
    mod = strrchr(name, '.');
    if (key->module < 0 && key->role == TD_LORA_DIFF && (!strcmp(name, "scale_shift_table") ||
                                                         (mod && (!strcmp(mod, ".modulation") ||
                                                                  !strcmp(mod, ".scale_shift_table"))))) {
        char other[2 * TD_CKPT_MAX_NAME];        /* the parameter itself, and not its module */

        td_name_of_diffusers(other, name, 0);
        len = module_of(other);
        other[len] = 0;
        key->module = find_module(names, other);
        key->role = TD_LORA_DIFF_MODULATION;
    }
}

int td_lora_is_name(const char *name)
{
    size_t len;

    return role_of(name, &len) != TD_N_LORA_ROLES;
}

const char *td_lora_role_name(enum TDLoraRole role)
{
    for (size_t i = 0; i < sizeof(endings) / sizeof(*endings); i++)
        if (endings[i].role == role)
            return endings[i].text;
    return "";
}
