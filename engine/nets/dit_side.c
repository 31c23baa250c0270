/* SPDX-License-Identifier: BSD-2-Clause
 * What LoRAs add to linears of int8, whose codes cannot be changed: y += U (V x), all of one linear as one pair. V is
 * quantised as the linear's weights are, so that the activation's codes serve both; U is bf16.
 * 1. A row of V is times a power of two that brings its largest value to 0.5..1, and the column of U times the inverse:
 *    rows of V have a scale in common, and those of one LoRA may be much larger than those of another.
 * 2. r is a multiple of 64, the last rows of V and columns of U are zeros: rows of U are then 128 bytes. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "nets/dit.h"

#define STEP 64

static const struct { const char *name; size_t at; } linears[] = {
    { "self_attn.q", offsetof(TDDitSides, q) }, { "self_attn.k", offsetof(TDDitSides, k) },
    { "self_attn.v", offsetof(TDDitSides, v) }, { "self_attn.o", offsetof(TDDitSides, o) },
    { "cross_attn.q", offsetof(TDDitSides, cross_q) }, { "cross_attn.k", offsetof(TDDitSides, cross_k) },
    { "cross_attn.v", offsetof(TDDitSides, cross_v) }, { "cross_attn.o", offsetof(TDDitSides, cross_o) },
    { "ffn.0", offsetof(TDDitSides, ffn1) }, { "ffn.2", offsetof(TDDitSides, ffn2) },
};

/* row j of V and column j of U from `at` on */
static void copy_pair(const TDLoraSide *s, float *up, float *down, int64_t at, int64_t r, int64_t n, int64_t k)
{
    for (int64_t j = 0; j < s->down.rows; j++) {
        float *row = down + (at + j) * k, most = 0, scale;
        int power;

        td_plane_row(row, &s->down, j, 0, k);
        for (int64_t i = 0; i < k; i++)
            most = fmaxf(most, fabsf(row[i]));
        frexpf(most, &power);
        scale = ldexpf(1, -power);
        for (int64_t i = 0; i < k; i++)
            row[i] *= scale;
        for (int64_t i = 0; i < n; i++) {
            float u;

            td_plane_row(&u, &s->up, i, j, 1);
            up[i * r + at + j] = ldexpf(s->factor * u, power);
        }
    }
}

static int pack(TDDev *dev, TDWeights *w, TDLinear *lin, const char *name, const float *x, int64_t n, int64_t k,
                enum TDDtype want)
{
    TDEntry e = { .name = name, .file = "lora", .dtype = TD_F32, .n_dims = 2, .shape = { n, k, 1, 1, 1 },
                  .stride = { k, 1, 1, 1, 1 }, .data = (const uint8_t *)x, .bytes = (size_t)(n * k) * sizeof(*x) };
    TDLinearSource src = { .w = &e };

    return td_pack_linear(dev, w, lin, &src, 1, want);
}

/* all pairs of the linear of this name */
static int bind_side(const TDDit *view, TDWeights *w, TDDitSide *side, const TDLora *lora, const char *name)
{
    float *up = NULL, *down = NULL;
    int64_t r = 0, n = 0, k = 0, at = 0;
    int ret;

    for (int i = 0; i < lora->n_sides; i++)
        if (!strcmp(lora->sides[i].weight->name, name)) {
            r += lora->sides[i].down.rows;
            n = lora->sides[i].up.rows;
            k = lora->sides[i].down.cols;
        }
    *side = (TDDitSide){ 0 };
    if (!r)
        return 0;
    r = td_blocks(r, STEP) * STEP;
    if (r > TD_MAX_WIDTH)
        return td_error(view->dev->log, ENOTSUP, "lora: %s: rank %lld in all, want at most %d", name, (long long)r,
                        TD_MAX_WIDTH);
    if (!w->measure && (!(up = calloc((size_t)(n * r), sizeof(*up))) ||
                        !(down = calloc((size_t)(r * k), sizeof(*down))))) {
        free(up);
        return td_error(view->dev->log, ENOMEM, "lora: %s: out of memory", name);
    }
    for (int i = 0; i < lora->n_sides && !w->measure; i++)
        if (!strcmp(lora->sides[i].weight->name, name)) {
            copy_pair(&lora->sides[i], up, down, at, r, n, k);
            at += lora->sides[i].down.rows;
        }
    TRY(pack(view->dev, w, &side->down, name, down, r, k, TD_I8));
    TRY(pack(view->dev, w, &side->up, name, up, n, r, TD_BF16));
fail:
    free(up);
    free(down);
    return ret;
}

int td_dit_bind_sides(TDDit *view, TDWeights *w, const TDLora *lora)
{
    int ret = 0;

    if (!view->sides && !(view->sides = calloc((size_t)view->n_blocks, sizeof(*view->sides))))
        return td_error(view->dev->log, ENOMEM, "lora: out of memory");
    view->side_rank = view->side_ffn = 0;
    for (int b = 0; b < view->n_blocks; b++)
        for (size_t i = 0; i < sizeof(linears) / sizeof(*linears); i++) {
            TDDitSide *side = (TDDitSide *)((uint8_t *)&view->sides[b] + linears[i].at);
            char name[64];

            snprintf(name, sizeof(name), "blocks.%d.%s.int8_weight", b, linears[i].name);
            TRY(bind_side(view, w, side, lora, name));
            view->side_rank = side->down.n > view->side_rank ? side->down.n : view->side_rank;
            view->side_ffn |= side->down.n && side == &view->sides[b].ffn1;
        }
fail:
    return ret;
}

void td_dit_drop_sides(TDDit *view)
{
    free(view->sides);
    view->sides = NULL;
    view->side_rank = view->side_ffn = 0;
}
