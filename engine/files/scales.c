/* SPDX-License-Identifier: BSD-2-Clause
 * Which scales belong to which tensor of 8-bit values, and what ComfyUI says of its layers: `L.comfy_quant`, a tensor
 * that holds JSON, or the same for all layers in a header.
 * 1. A tensor of fp8 has at most one scale, for all of it or for each row; one of int8 has one, or is never used. Those
 *    of mxfp8 and nvfp4 have one for each group of a row. A weight of any type may have scales of its inputs, which
 *    its columns take.
 * 2. A form that this does not know is an error: its numbers would be taken for others. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "files/checkpoint_priv.h"
#include "files/json.h"

#define MAX_GROUP 4096                           /* inputs that are rotated with each other */

/* group: values of a row that have a scale */
static const struct { const char *format; enum TDDtype dtype; int group; } formats[] = {
    { "float8_e4m3fn", TD_F8_E4M3, 0 }, { "float8_e5m2", TD_F8_E5M2, 0 }, { "int8_tensorwise", TD_I8, 0 },
    { "mxfp8", TD_F8_E4M3, 32 }, { "nvfp4", TD_U8, 16 },
};

/* ENDING of the layer whose weight is e, or NULL */
static TDEntry *beside(TDCheckpoint *ckpt, const TDEntry *e, const char *ending)
{
    char name[TD_CKPT_MAX_NAME + 64];
    const TDEntry *found;

    snprintf(name, sizeof(name), "%.*s%s", (int)(strlen(e->name) - strlen("weight")), e->name, ending);
    found = td_checkpoint_find(ckpt, name);
    return found ? &ckpt->entries[found - ckpt->entries] : NULL;
}

static int set_scale(const TDCheckpoint *ckpt, TDEntry *e, TDEntry *scale, TDLog *log)
{
    int64_t n = td_entry_count(scale);

    if (e->scale)
        return td_error(log, EBADMSG, "%s: %s and %s, want one scale", ckpt->path, e->scale->name, scale->name);
    if (scale->dtype > TD_F64)
        return td_error(log, ENOTSUP, "%s: %s: dtype %s, want a float type", ckpt->path, scale->name,
                        td_dtype_name(scale->dtype));
    if (n != 1 && (n != e->shape[0] || scale->shape[0] != n))
        return td_error(log, EBADMSG, "%s: %s: %lld values, want 1 or %lld", ckpt->path, scale->name, (long long)n,
                        (long long)e->shape[0]);
    scale->aside = 1;
    e->scale = scale;
    return 0;
}

/* Groups of values with a scale each. Those of nvfp4, two values a byte, are fp8 and times another one for all. */
static int set_group_scales(TDCheckpoint *ckpt, TDEntry *e, TDLog *log)
{
    TDEntry *scale = beside(ckpt, e, "weight_scale"), *all = beside(ckpt, e, "weight_scale_2");
    int64_t k = e->n_dims == 2 ? e->shape[1] : 0, want;
    char shape[TD_SHAPE_TEXT];
    int fp4 = e->dtype == TD_U8;

    k *= fp4 ? 2 : 1;
    if (!scale || (fp4 && !all) || !td_entry_is_contiguous(e) || k < e->group || k % e->group)
        return td_error(log, EBADMSG, "%s: %s: %s of %s with %s scales; want rows of groups of %d values, and "
                        "weight_scale%s", ckpt->path, e->name, td_shape_text(shape, e->shape, e->n_dims),
                        fp4 ? "two fp4 each" : td_dtype_name(e->dtype), scale ? "these" : "no", e->group,
                        fp4 ? ", weight_scale_2" : "");
    want = td_blocks(e->shape[0], 128) * td_blocks(k / e->group, 4) * 512;
    if (!fp4 && scale->dtype == TD_U8)
        scale->dtype = TD_F8_E8M0;
    if (scale->dtype != (fp4 ? TD_F8_E4M3 : TD_F8_E8M0) || !td_entry_is_contiguous(scale) ||
        td_entry_count(scale) != want || scale->bytes != (size_t)want)
        return td_error(log, EBADMSG, "%s: %s: %lld values of %s, want %lld of %s", ckpt->path, scale->name,
                        (long long)td_entry_count(scale), td_dtype_name(scale->dtype), (long long)want,
                        td_dtype_name(fp4 ? TD_F8_E4M3 : TD_F8_E8M0));
    scale->aside = 1;
    e->scale = scale;
    if (!fp4)
        return 0;
    if (all->dtype != TD_F32 || td_entry_count(all) != 1)
        return td_error(log, EBADMSG, "%s: %s: %lld values of %s, want one of f32", ckpt->path, all->name,
                        (long long)td_entry_count(all), td_dtype_name(all->dtype));
    all->aside = 1;
    e->scale_2 = all;
    e->dtype = TD_FP4;
    e->shape[1] = k;
    td_ckpt_set_contiguous(e);
    return 0;
}

/* what inputs are to be times (AWQ): the columns of the weight are instead */
static int set_columns(TDCheckpoint *ckpt, TDEntry *e, TDLog *log)
{
    TDEntry *s = beside(ckpt, e, "pre_quant_scale");

    if (!s)
        return 0;
    if (s->dtype > TD_F64 || !td_entry_is_contiguous(s) || e->n_dims != 2 || td_entry_count(s) != e->shape[1])
        return td_error(log, EBADMSG, "%s: %s: %lld values of %s, want one of a float type for each of %lld inputs",
                        ckpt->path, s->name, (long long)td_entry_count(s), td_dtype_name(s->dtype),
                        (long long)(e->n_dims == 2 ? e->shape[1] : 0));
    if (e->rotated)
        return td_error(log, ENOTSUP, "%s: %s: scales of inputs that are rotated, which are not read", ckpt->path,
                        s->name);
    s->aside = 1;
    e->columns = s;
    return 0;
}

static int get_flag(TDJson from, const char *key)
{
    TDJson v;

    return td_json_get(from, key, &v) && *v.p == 't';
}

/* what the JSON says of a weight */
static int set_form(const TDCheckpoint *ckpt, TDEntry *e, TDEntry *form, TDLog *log)
{
    char format[TD_QUOTE_MAX] = "", q[TD_QUOTE_MAX], label[512];
    int64_t group = 256, k = e->n_dims == 2 ? e->shape[1] : 0;
    TDJson root, params, v;
    int ret, known = 0, rotated;

    form->aside = 1;
    if (form->dtype != TD_U8 || !td_entry_is_contiguous(form))
        return td_error(log, EBADMSG, "%s: %s: dtype %s, want bytes of JSON", ckpt->path, form->name,
                        td_dtype_name(form->dtype));
    snprintf(label, sizeof(label), "%s: %s", ckpt->path, form->name);
    if ((ret = td_json_check(&root, label, form->data, (size_t)td_entry_count(form), log)) < 0)
        return ret;
    if (!td_json_get(root, "params", &params))
        params = root;
    if (td_json_get(root, "format", &v) && td_json_string(v, format, sizeof(format)) < 0)
        return td_error(log, EBADMSG, "%s: %s: its format is no string", ckpt->path, form->name);
    for (size_t i = 0; i < sizeof(formats) / sizeof(*formats); i++)
        if (!strcmp(format, formats[i].format)) {
            if (e->dtype != formats[i].dtype)
                return td_error(log, ENOTSUP, "%s: %s: format '%s', whose values are %s, of a weight of %s", ckpt->path,
                                form->name, format, td_dtype_name(formats[i].dtype), td_dtype_name(e->dtype));
            e->group = formats[i].group;
            known = 1;
        }
    if (*format ? !known : e->dtype != TD_I8)
        return td_error(log, ENOTSUP, "%s: %s: format '%s' of %s values, want float8_e4m3fn, float8_e5m2, "
                        "int8_tensorwise, mxfp8 or nvfp4", ckpt->path, form->name,
                        td_ckpt_quote(q, format, strlen(format)), td_dtype_name(e->dtype));
    rotated = get_flag(root, "convrot") || get_flag(params, "convrot");
    if (!rotated)
        return 0;
    if ((td_json_get(root, "convrot_groupsize", &v) || td_json_get(params, "convrot_groupsize", &v)) &&
        td_json_integer(v, &group) < 0)
        group = 0;
    if (group < 4 || group > MAX_GROUP || group & (group - 1) || group & 0xaaaa || k % group || e->dtype != TD_I8)
        return td_error(log, ENOTSUP, "%s: %s: groups of %lld rotated %s inputs, of %lld; want int8 and a power of 4 "
                        "that divides them", ckpt->path, form->name, (long long)group, td_dtype_name(e->dtype),
                        (long long)k);
    e->rotated = (int)group;
    return 0;
}

static int ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);

    return n >= m && !strcmp(s + n - m, end);
}

static const char zeros[] = "asymmetric int8 or int4 (zero points)", bnb[] = "bitsandbytes (nf4, fp4, int8)";
/* what tells a form that is not read, though its weight may look like one that is; the first that fits */
static const struct { const char *ending, *form; } unread_forms[] = {
    { ".wscales", "SVDQuant (w4a4) of nunchaku" }, { ".g_idx", "GPTQ" }, { ".qzeros", "AWQ" },
    { ".qweight", "packed integers (qweight)" }, { ".weight_packed", "packed weights of compressed-tensors" },
    { ".weight_zero_point", zeros }, { ".zero_point", zeros }, { ".weight_zp", zeros }, { ".weight_zeros", zeros },
    { ".weight_codebook", "4-bit codes with a codebook (w4a8)" }, { ".absmax", bnb }, { ".SCB", bnb },
    { ".weight._data", "quanto" }, { ".W_q", "HQQ" }, { ".weight_global_scale", "nvfp4 of LightX2V" },
};

static int refuse_forms(const TDCheckpoint *ckpt, TDLog *log)
{
    for (size_t k = 0; k < sizeof(unread_forms) / sizeof(*unread_forms); k++)
        for (int i = 0; i < ckpt->n_entries; i++)
            if (ends_with(ckpt->entries[i].name, unread_forms[k].ending))
                return td_error(log, ENOTSUP, "%s: %s: %s, a form that is not read; want bf16, f16, f32, fp8, int8 "
                                "with a scale, or GGUF", ckpt->path, ckpt->entries[i].name, unread_forms[k].form);
    return 0;
}

/* what else stands beside weights: scales of their inputs, which only a product of 8-bit numbers wants; a vocabulary */
static const char *const ignored[] = { ".scale_input", ".input_scale", "scaled_fp8", "spiece_model" };
/* counters of a trainer */
static const char accumulated[] = "accum_";

/* one scale, or those of rows */
static int set_row_scales(TDCheckpoint *ckpt, TDEntry *e, TDLog *log)
{
    static const char *const endings[] = { "scale_weight", "weight_scale" };
    static const char *const unread[] = { "weight_scale_2", "weight_scale_inv" };
    TDEntry *other;
    int ret = 0;

    for (int k = 0; k < 2; k++)
        if ((other = beside(ckpt, e, unread[k])))
            return td_error(log, ENOTSUP, "%s: %s: scales of %s values in blocks, which are not read", ckpt->path,
                            other->name, td_dtype_name(e->dtype));
    for (int k = 0; k < 2 && ret >= 0; k++) {
        if (!(other = beside(ckpt, e, endings[k])))
            continue;
        ret = e->dtype == TD_I8 || e->dtype == TD_F8_E4M3 || e->dtype == TD_F8_E5M2
                  ? set_scale(ckpt, e, other, log)
                  : td_error(log, ENOTSUP, "%s: %s: a scale of %s values, want one of fp8 or int8", ckpt->path,
                             other->name, td_dtype_name(e->dtype));
    }
    return ret;
}

/* what its weight would have taken, or refused */
static int refuse_orphans(const TDCheckpoint *ckpt, TDLog *log)
{
    static const char *const endings[] = { ".scale_weight", ".weight_scale", ".weight_scale_2", ".weight_scale_inv",
                                           ".pre_quant_scale" };

    for (size_t k = 0; k < sizeof(endings) / sizeof(*endings); k++)
        for (int i = 0; i < ckpt->n_entries; i++)
            if (ends_with(ckpt->entries[i].name, endings[k]) && !ckpt->entries[i].aside)
                return td_error(log, ENOTSUP, "%s: %s: scales, and no weight beside them that has them", ckpt->path,
                                ckpt->entries[i].name);
    return 0;
}

int td_ckpt_set_scales(TDCheckpoint *ckpt, TDLog *log)
{
    int ret = refuse_forms(ckpt, log);

    for (int i = 0; i < ckpt->n_entries && ret >= 0; i++) {
        TDEntry *e = &ckpt->entries[i], *form;

        for (size_t k = 0; k < sizeof(ignored) / sizeof(*ignored); k++)
            e->aside |= ends_with(e->name, ignored[k]);
        e->aside |= !strncmp(e->name, accumulated, sizeof(accumulated) - 1);
        if (!ends_with(e->name, ".weight"))
            continue;
        if ((form = beside(ckpt, e, "comfy_quant")) && (ret = set_form(ckpt, e, form, log)) < 0)
            break;
        ret = e->group ? set_group_scales(ckpt, e, log) : set_row_scales(ckpt, e, log);
        ret = ret < 0 ? ret : set_columns(ckpt, e, log);
    }
    return ret < 0 ? ret : refuse_orphans(ckpt, log);
}

int td_ckpt_quant_metadata(TDCheckpoint *ckpt, const char *label, TDJson metadata, TDLog *log)
{
    char name[TD_CKPT_MAX_NAME + 16], *text;
    TDJson v, root, layers, key, form;
    void **owned;
    ptrdiff_t n;
    TDJsonWalk w;
    int ret;

    if (!td_json_get(metadata, "_quantization_metadata", &v) || (n = td_json_string(v, name, sizeof(name))) < 0)
        return 0;
    text = malloc((size_t)n + 1);
    owned = realloc(ckpt->owned, ((size_t)ckpt->n_owned + 1) * sizeof(*owned));
    ckpt->owned = owned ? owned : ckpt->owned;
    if (!text || !owned) {
        free(text);
        return td_error(log, ENOMEM, "%s: out of memory", label);
    }
    owned[ckpt->n_owned++] = text;
    td_json_string(v, text, (size_t)n + 1);
    if ((ret = td_json_check(&root, label, text, (size_t)n, log)) < 0)
        return ret;
    if (!td_json_get(root, "layers", &layers) || *layers.p != '{')
        return 0;
    for (w = td_json_walk(layers); ret >= 0 && td_json_next(&w, &key, &form);) {
        TDEntry e = { .dtype = TD_U8, .n_dims = 1, .shape = { w.p - form.p }, .data = form.p,
                      .bytes = (size_t)(w.p - form.p), .aside = 1 };

        n = td_json_string(key, name, TD_CKPT_MAX_NAME - 16);
        if (n < 0 || n >= TD_CKPT_MAX_NAME - 16)
            return td_error(log, EBADMSG, "%s: a layer of _quantization_metadata has a name of %td bytes, want at "
                            "most %d", label, n, TD_CKPT_MAX_NAME - 17);
        strcpy(name + n, ".comfy_quant");
        td_ckpt_set_contiguous(&e);
        ret = td_ckpt_add(ckpt, label, name, strlen(name), &e, log);
    }
    return ret;
}
