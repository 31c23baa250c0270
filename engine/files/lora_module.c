/* SPDX-License-Identifier: BSD-2-Clause
 * One module of a model and the tensors that a LoRA file has of it: every shape and value is checked, then they are
 * changes (change.h) of the module's tensors.
 * 1. What is used is not larger than its file: a tensor that is stored once may be copied, one that is not is
 *    refused. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/try.h"
#include "files/lora_priv.h"

/* the module's tensors */
typedef struct Target {
    const TDEntry *weight, *codes, *bias, *modulation;
    int64_t n, k;                                /* of its matrix */
} Target;

static TDEntry *find(const TDLoraJob *job, const char *module, const char *ending)
{
    char name[2 * TD_CKPT_MAX_NAME];
    const TDEntry *e;

    snprintf(name, sizeof(name), "%s.%s", module, ending);
    e = td_checkpoint_find(job->base, name);
    return e && td_entry_count(e) > 0 ? &job->base->entries[e - job->base->entries] : NULL;
}

static int own(TDLoraJob *job, void *memory)
{
    TDLora *lora = job->lora;
    void **grown = memory ? realloc(lora->owned, ((size_t)lora->n_owned + 1) * sizeof(*grown)) : NULL;

    if (!grown) {
        free(memory);
        return td_error(job->log, ENOMEM, "%s: out of memory", td_checkpoint_path(job->f->file));
    }
    lora->owned = grown;
    grown[lora->n_owned++] = memory;
    return 0;
}

/* ---- tensors of the file ---- */

static int check_finite(const TDLoraJob *job, const TDEntry *e, const TDPlane *p)
{
    int64_t count = p->rows * p->cols;
    TDPlane flat = { p->data, p->dtype, 1, count };
    float x[512];

    for (int64_t i = 0; i < count; i += 512) {
        int64_t n = count - i < 512 ? count - i : 512;

        td_plane_row(x, &flat, 0, i, n);
        for (int64_t j = 0; j < n; j++)
            if (!isfinite(x[j]))
                return td_error(job->log, EBADMSG, "%s: %s[%lld] is %g, want a finite value", e->file, e->name,
                                (long long)(i + j), x[j]);
    }
    return 0;
}

/* e as a dense matrix of this size, whatever its dimensions are */
static int take(TDLoraJob *job, TDPlane *p, const TDEntry *e, int64_t rows, int64_t cols)
{
    char shape[TD_SHAPE_TEXT], want[TD_SHAPE_TEXT];
    int64_t count = td_entry_count(e);
    int ret;

    if (!td_dtype_has_values(e->dtype) || (e->dtype == TD_I8 && !e->scale))
        return td_error(job->log, ENOTSUP, "%s: %s: dtype %s, want a float type", e->file, e->name,
                        td_dtype_name(e->dtype));
    if (count != rows * cols || count < 1 || (e->n_dims > 1 && e->shape[0] != rows))
        return td_error(job->log, EINVAL, "%s: %s: shape %s, want %s: it is of another model", e->file, e->name,
                        td_shape_text(shape, e->shape, e->n_dims), td_rows_text(want, rows, cols));
    if ((uint64_t)count / (uint64_t)td_dtype_block(e->dtype) > e->bytes / td_dtype_size(e->dtype))
        return td_error(job->log, EBADMSG, "%s: %s: %lld values over %zu bytes, want each stored once", e->file,
                        e->name, (long long)count, e->bytes);
    *p = (TDPlane){ e->data, e->dtype, rows, cols };
    if (!td_entry_is_contiguous(e) || e->scale || td_dtype_block(e->dtype) > 1) {
        float *dense = malloc((size_t)count * sizeof(*dense));

        TRY(own(job, dense));
        TRY(td_entry_to_f32(e, dense));
        *p = (TDPlane){ (const uint8_t *)dense, TD_F32, rows, cols };
    }
    TRY(check_finite(job, e, p));
    job->n_fit++;
fail:
    return ret;
}

/* rows that a matrix of rank r has, its first dimension */
static int64_t rows_of(const TDEntry *e)
{
    return e->n_dims ? e->shape[0] : 1;
}

static const TDEntry *entry_of(const TDLoraModule *m, enum TDLoraRole role)
{
    return m->of[role] ? m->of[role]->e : NULL;
}

static int check_rank(const TDLoraJob *job, const TDEntry *down, const Target *t)
{
    int64_t most = t->n > t->k ? t->n : t->k;

    if (rows_of(down) >= 1 && rows_of(down) <= most)
        return 0;
    return td_error(job->log, EBADMSG, "%s: %s: rank %lld, want 1 to %lld", down->file, down->name,
                    (long long)rows_of(down), (long long)most);
}

/* two tensors whose product is [n,k]; of ranks as large as both allow */
static int take_product(TDLoraJob *job, const TDLoraModule *m, TDPlane p[2], enum TDLoraRole left,
                        enum TDLoraRole right, int64_t n, int64_t k, const Target *t)
{
    const TDEntry *a = entry_of(m, left), *b = entry_of(m, right), *there = a ? a : b;
    int ret;

    for (int i = 0; !there; i++)                 /* something of the module is */
        there = entry_of(m, i);
    if (!a || !b)
        return td_error(job->log, EBADMSG, "%s: %s has no %s beside it", there->file, there->name,
                        td_lora_role_name(a ? right : left));
    TRY(check_rank(job, b, t));
    TRY(take(job, &p[1], b, rows_of(b), k));
    TRY(take(job, &p[0], a, n, rows_of(b)));
fail:
    return ret;
}

/* alpha / rank: of the file's tensor, else as its metadata says */
static int find_scale(TDLoraJob *job, const TDLoraModule *m, enum TDLoraRole right, float *scale)
{
    const TDLoraKey *key = m->of[right];
    const TDEntry *alpha = entry_of(m, TD_LORA_ALPHA);
    int64_t rank = rows_of(key->e);
    double value;
    TDPlane p;
    float a;
    int ret;

    if (alpha) {
        TRY(take(job, &p, alpha, 1, 1));
        td_plane_row(&a, &p, 0, 0, 1);
        value = (double)a / (double)rank;
    } else {
        TRY(td_lora_scale(job->scales, &value, key->e, key->own, key->own_len, rank, job->log));
    }
    *scale = (float)value;
fail:
    return ret;
}

/* ---- changes ---- */

/* what is appended to the changes of a tensor */
static int append(TDLoraJob *job, const TDEntry *target, const TDChange *change)
{
    TDEntry *e = &job->base->entries[target - job->base->entries];
    TDChange *c, *last = (TDChange *)e->change;
    int ret;

    if (!job->change || job->f->strength == 0)
        return 0;
    c = malloc(sizeof(*c));
    TRY(own(job, c));
    *c = *change;
    c->file = td_checkpoint_path(job->f->file);
    c->strength = job->f->strength;
    if (c->by_column) {                          /* found when the weight is loaded, of all its rows */
        TRY(own(job, c->norms = malloc((size_t)(td_entry_count(e) / e->shape[0]) * sizeof(*c->norms))));
        c->norms[0] = -1;
    }
    while (last && last->next)
        last = (TDChange *)last->next;
    if (last)
        last->next = c;
    else
        e->change = c;
    job->lora->n_changed += !last;
fail:
    return ret;
}

/* a difference to a tensor that is no matrix, or is one */
static int add_plain(TDLoraJob *job, const TDLoraModule *m, enum TDLoraRole role, const TDEntry *target,
                     enum TDChangeKind kind, float scale)
{
    TDChange c = { .kind = kind, .scale = scale };
    const TDEntry *e = entry_of(m, role);
    int64_t rows, cols;
    TDPlane any;
    int ret = 0;

    if (!e)
        return 0;
    if (!target) {
        td_lora_misfit(job, e);
        return 0;
    }
    rows = target->shape[0];
    cols = td_entry_count(target) / rows;
    /* a modulation has a dimension of 1 in front, which some leave out */
    if (rows == 1 && e->n_dims && e->shape[0] != 1 && td_entry_count(e) == cols)
        TRY(take(job, &any, e, e->shape[0], cols / e->shape[0]));
    else
        TRY(take(job, &any, e, rows, cols));
    c.m[0] = (TDPlane){ any.data, any.dtype, rows, cols };
    TRY(append(job, target, &c));
fail:
    return ret;
}

static int add_side(TDLoraJob *job, const TDEntry *codes, const TDChange *c)
{
    TDLora *lora = job->lora;
    TDLoraSide *grown;

    if (job->f->strength == 0)
        return 0;
    grown = realloc(lora->sides, ((size_t)lora->n_sides + 1) * sizeof(*grown));
    if (!grown)
        return td_error(job->log, ENOMEM, "%s: out of memory", codes->file);
    lora->sides = grown;
    grown[lora->n_sides++] = (TDLoraSide){ codes, c->m[0], c->m[1], job->f->strength * c->scale };
    return 0;
}

static int take_dora(TDLoraJob *job, TDChange *c, const TDEntry *e, const Target *t)
{
    c->by_column = e->n_dims > 1 && e->shape[0] == 1 && t->n > 1;
    return take(job, &c->dora, e, c->by_column ? 1 : t->n, c->by_column ? t->k : 1);
}

static int add_pair(TDLoraJob *job, const TDLoraModule *m, TDChange *c, const Target *t)
{
    int ret;

    TRY(take_product(job, m, c->m, TD_LORA_UP, TD_LORA_DOWN, t->n, t->k, t));
    TRY(find_scale(job, m, TD_LORA_DOWN, &c->scale));
    TRY(add_plain(job, m, TD_LORA_UP_BIAS, t->bias, TD_CHANGE_DIFF, c->scale));
fail:
    return ret;
}

static int add_loha(TDLoraJob *job, const TDLoraModule *m, TDChange *c, const Target *t)
{
    int ret;

    c->kind = TD_CHANGE_LOHA;
    TRY(take_product(job, m, c->m, TD_LOHA_1A, TD_LOHA_1B, t->n, t->k, t));
    TRY(take_product(job, m, c->m + 2, TD_LOHA_2A, TD_LOHA_2B, t->n, t->k, t));
    TRY(find_scale(job, m, TD_LOHA_1B, &c->scale));
fail:
    return ret;
}

/* the rows and columns of a factor, of the tensors that it is made of */
static int factor_size(TDLoraJob *job, const TDLoraModule *m, enum TDLoraRole full, int64_t *rows, int64_t *cols)
{
    enum TDLoraRole any = full == TD_LOKR_1 ? TD_LOKR_2 : TD_LOKR_1;
    const TDEntry *e = entry_of(m, full), *a = entry_of(m, full + 1), *b = entry_of(m, full + 2);
    const TDEntry *left = e ? e : a, *right = e ? e : b;

    if (!left || !right || rows_of(left) < 1 || rows_of(right) < 1) {
        const TDEntry *other = left ? left : right ? right : entry_of(m, any) ? entry_of(m, any)
                                                                              : entry_of(m, any + 1);

        other = other ? other : entry_of(m, any + 2);
        return td_error(job->log, EBADMSG, "%s: %s: of two factors one is missing or empty, %s", other->file,
                        other->name, td_lora_role_name(full));
    }
    *rows = rows_of(left);
    *cols = td_entry_count(right) / rows_of(right);
    return 0;
}

static int add_lokr(TDLoraJob *job, const TDLoraModule *m, TDChange *c, const Target *t)
{
    int64_t n[2], k[2];
    int ret;

    c->kind = TD_CHANGE_LOKR;
    TRY(factor_size(job, m, TD_LOKR_1, &n[0], &k[0]));
    TRY(factor_size(job, m, TD_LOKR_2, &n[1], &k[1]));
    if (k[0] < 1 || k[1] < 1 || t->n % n[0] || t->n / n[0] != n[1] || t->k % k[0] || t->k / k[0] != k[1])
        return td_error(job->log, EINVAL, "%s: %s: factors of [%lld,%lld] and [%lld,%lld], want a product of "
                        "[%lld,%lld]: it is of another model", td_checkpoint_path(job->f->file), m->name,
                        (long long)n[0], (long long)k[0], (long long)n[1], (long long)k[1], (long long)t->n,
                        (long long)t->k);
    for (int i = 0; i < 2; i++) {
        enum TDLoraRole full = i ? TD_LOKR_2 : TD_LOKR_1;

        if (m->of[full])
            TRY(take(job, &c->m[2 * i], m->of[full]->e, n[i], k[i]));
        else
            TRY(take_product(job, m, c->m + 2 * i, full + 1, full + 2, n[i], k[i], t));
    }
    c->scale = 1;                                /* whatever alpha says, where both are full */
    if (c->m[3].data || c->m[1].data)
        TRY(find_scale(job, m, c->m[3].data ? TD_LOKR_2B : TD_LOKR_1B, &c->scale));
    else
        job->n_fit += m->of[TD_LORA_ALPHA] != NULL;
fail:
    return ret;
}

static int any_of(const TDLoraModule *m, enum TDLoraRole first, enum TDLoraRole last)
{
    int any = 0;

    for (int i = (int)first; i <= (int)last; i++)
        any |= m->of[i] != NULL;
    return any;
}

/* what int8 codes take, beside what is of biases and modulations; any other role is refused */
static const uint8_t of_codes[TD_N_LORA_ROLES] = { [TD_LORA_DOWN] = 1, [TD_LORA_UP] = 1, [TD_LORA_UP_BIAS] = 1,
                                                   [TD_LORA_ALPHA] = 1, [TD_LORA_DIFF_BIAS] = 1,
                                                   [TD_LORA_DIFF_MODULATION] = 1 };

/* kinds of what a weight is changed by, by the roles of their tensors */
static const struct Kind {
    enum TDLoraRole first, last;
    int (*add)(TDLoraJob *, const TDLoraModule *, TDChange *, const Target *);
} kinds[] = { { TD_LORA_DOWN, TD_LORA_UP, add_pair }, { TD_LOHA_1A, TD_LOHA_2B, add_loha },
              { TD_LOKR_1, TD_LOKR_2B, add_lokr } };

/* what its weight is changed by */
static int change_weight(TDLoraJob *job, const TDLoraModule *m, const Target *t)
{
    const struct Kind *end = kinds + sizeof(kinds) / sizeof(*kinds);
    const TDLoraKey *dora = m->of[TD_LORA_DORA];
    int n = 0, ret = 0;

    for (const struct Kind *k = kinds; k < end; k++)
        n += any_of(m, k->first, k->last);
    if (dora && n != 1)
        return td_error(job->log, EBADMSG, "%s: %s: beside %s pair of matrices, want one", dora->e->file, dora->e->name,
                        n ? "more than one" : "no");
    for (int i = 0; i < (int)TD_N_LORA_ROLES && !t->weight; i++)
        if (m->of[i] && !of_codes[i])
            return td_error(job->log, EINVAL, "%s: %s: %s is int8 codes, which take pairs of two matrices alone; want "
                            "the model's bf16 file", m->of[i]->e->file, m->of[i]->e->name, t->codes->name);
    TRY(add_plain(job, m, TD_LORA_SET, t->weight, TD_CHANGE_SET, 1));
    TRY(add_plain(job, m, TD_LORA_DIFF, t->weight, TD_CHANGE_DIFF, 1));
    for (const struct Kind *k = kinds; k < end; k++) {
        TDChange c = { .kind = TD_CHANGE_PAIR };

        if (!any_of(m, k->first, k->last))
            continue;
        TRY(k->add(job, m, &c, t));
        if (dora)
            TRY(take_dora(job, &c, dora->e, t));
        TRY(t->weight ? append(job, t->weight, &c) : add_side(job, t->codes, &c));
    }
    /* alone they are of no effect */
    if (!n && m->of[TD_LORA_ALPHA])
        td_lora_misfit(job, m->of[TD_LORA_ALPHA]->e);
    if (!any_of(m, TD_LORA_DOWN, TD_LORA_UP) && m->of[TD_LORA_UP_BIAS])
        td_lora_misfit(job, m->of[TD_LORA_UP_BIAS]->e);
fail:
    return ret;
}

int td_lora_module(TDLoraJob *job, const TDLoraModule *m)
{
    Target t = { find(job, m->name, "weight"), find(job, m->name, "int8_weight"), find(job, m->name, "bias"),
                 find(job, m->name, "modulation"), 0, 0 };
    const TDEntry *matrix = t.weight ? t.weight : t.codes;
    int ret = 0;

    if (m->of[TD_LORA_OTHER])
        return td_error(job->log, ENOTSUP, "%s: %s: such a LoRA is not supported", m->of[TD_LORA_OTHER]->e->file,
                        m->of[TD_LORA_OTHER]->e->name);
    TRY(add_plain(job, m, TD_LORA_DIFF_BIAS, t.bias, TD_CHANGE_DIFF, 1));
    TRY(add_plain(job, m, TD_LORA_DIFF_MODULATION, t.modulation, TD_CHANGE_DIFF, 1));
    if (matrix) {
        t.n = matrix->shape[0];
        t.k = td_entry_count(matrix) / t.n;
        TRY(change_weight(job, m, &t));
    } else {
        for (int i = 0; i < (int)TD_LORA_OTHER; i++)
            if (m->of[i] && i != TD_LORA_DIFF_BIAS && i != TD_LORA_DIFF_MODULATION)
                td_lora_misfit(job, m->of[i]->e);
    }
fail:
    return ret;
}
