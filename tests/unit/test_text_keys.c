/* SPDX-License-Identifier: BSD-2-Clause
 * Text keys and values: a few that are doubled are as good as all that fill up a prompt to 512 tokens. The 512 rows are
 * those of a prompt of 512 tokens whose embedding is the same. On a GPU: TD_TEST_BACKEND=cuda. */
#include <math.h>
#include <stdlib.h>
#include "nets/dit.h"
#include "golden.h"
#include "base/thread.h"

enum { N_Q = 70 };

typedef struct Rows { float *k, *v; int64_t n; uint64_t doubled; } Rows;

static float value(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (float)(*seed >> 8) * 0x1p-23f - 1;
}

/* o [N_Q,D] of random queries and the keys and values of the last block, and all of the latter */
static int attend(TDDev *dev, const TDDit *dit, const uint16_t *e, int64_t n, Rows *rows, float *o)
{
    static const TDAttnConfig dense = { .kind = TD_ATTN_DENSE };
    int64_t last = dit->n_blocks - 1, d = dit->dim;
    uint16_t q[N_Q * 512];
    uint32_t seed = 5;
    TDTensor emb;
    TDDitClip clip;
    TDDitText text;
    TDBuf buf = { 0 };
    TDArena a;
    TDQkv x;
    TDAct out;
    int ret = 0;

    for (int64_t i = 0; i < N_Q * d; i++)
        q[i] = td_f32_to_bf16(2 * value(&seed));
    for (int pass = 0; pass < 2; pass++) {
        if (pass)
            TRY(dev->ops->alloc(dev, &buf, a.peak, "a test"));
        td_arena_init(&a, pass ? buf.ptr : NULL, buf.bytes, dev->log);
        TRY(TD_CARVE(&a, &emb, TD_BF16, TD_TEXT_LEN, dit->text_dim));
        TRY(td_dit_plan_text(&text, dit, &a, n));
        TRY(td_dit_plan(&clip, dit, &a, 1, 4, 4, &dense, text.k.shape[1]));
        x = (TDQkv){ .cfg = dense, .n_q = N_Q, .n_kv = text.k.shape[1], .n_heads = dit->n_heads, .head_dim = 128 };
        TRY(td_plan_qkv(dev, &a, &x));
        TRY(td_plan_act(&a, &out, N_Q, d, 0));
    }
    TRY(dev->ops->upload(dev, &emb, e));
    TRY(td_dit_text(&text, dit, &clip, &emb));
    rows->n = text.k.shape[1];
    rows->doubled = text.doubled;
    rows->k = malloc((size_t)td_tensor_count(&text.k) * sizeof(float));
    rows->v = malloc((size_t)td_tensor_count(&text.v) * sizeof(float));
    TRY(td_unpack(dev, rows->k, &text.k, TD_UNPACK_TENSOR));
    TRY(td_unpack(dev, rows->v, &text.v, TD_UNPACK_TENSOR));
    TRY(dev->ops->upload(dev, &x.q, q));
    x.k.data = (uint16_t *)text.k.data + last * rows->n * d;
    x.v.data = (uint16_t *)text.v.data + last * rows->n * d;
    x.doubled = text.doubled;
    TRY(dev->ops->attn_dense(dev, &out, &x));
    TRY(td_unpack(dev, o, &out, TD_UNPACK_ACT));
fail:
    dev->ops->free(dev, &buf);
    return ret;
}

/* o [N_Q,D] in double over all keys of the last block */
static void reference(float *o, const Rows *all, const TDDit *dit)
{
    int64_t d = dit->dim, at = (dit->n_blocks - 1) * all->n * d;
    double *p = malloc((size_t)all->n * sizeof(*p));
    float q[N_Q * 512];
    uint32_t seed = 5;

    for (int64_t i = 0; i < N_Q * d; i++)
        q[i] = td_bf16_round(2 * value(&seed));
    for (int64_t i = 0; i < N_Q * dit->n_heads; i++) {
        const float *qi = q + i * 128, *k = all->k + at + i % dit->n_heads * 128, *v = all->v + at + (k - all->k - at);
        double top = -INFINITY, sum = 0;

        for (int64_t j = 0; j < all->n; j++) {
            p[j] = 0;
            for (int c = 0; c < 128; c++)
                p[j] += (double)qi[c] * k[j * d + c];
            top = fmax(top, p[j] /= sqrt(128));
        }
        for (int64_t j = 0; j < all->n; j++)
            sum += p[j] = exp(p[j] - top);
        for (int c = 0; c < 128; c++) {
            double s = 0;

            for (int64_t j = 0; j < all->n; j++)
                s += p[j] * v[j * d + c];
            o[i * 128 + c] = (float)(s / sum);
        }
    }
    free(p);
}

static void test_prompt(TDDev *dev, const TDDit *dit, int64_t n)
{
    int64_t d = dit->dim, values = N_Q * d, differ = 0;
    uint16_t *e = calloc((size_t)(TD_TEXT_LEN * dit->text_dim), sizeof(*e));
    float *few_o = calloc(3 * (size_t)values, sizeof(*few_o)), *all_o = few_o + values, *exact = all_o + values;
    Rows few = { 0 }, all = { 0 };
    uint32_t seed = (uint32_t)n;

    for (int64_t i = 0; i < n * dit->text_dim; i++)
        e[i] = td_f32_to_bf16(value(&seed));
    if (CHECK_INT(attend(dev, dit, e, n, &few, few_o), 0) &&
        CHECK_INT(attend(dev, dit, e, TD_TEXT_LEN, &all, all_o), 0) && CHECK_INT(all.n, TD_TEXT_LEN)) {
        CHECK(few.n <= n + 9);
        for (int64_t i = 0, next = 0; i < few.n; i++) {
            int64_t from_end = few.n - 1 - i;
            int64_t times = from_end < TD_DOUBLED_KEYS ? 1 << TD_KEY_DOUBLED(few.doubled, from_end) : 1;

            CHECK(i >= n || times == 1);
            for (; times > 0 && next < TD_TEXT_LEN; times--, next++)
                for (int64_t b = 0; b < dit->n_blocks; b++) {
                    int64_t from = (b * few.n + i) * d, to = (b * all.n + next) * d;

                    differ += memcmp(few.k + from, all.k + to, (size_t)d * sizeof(float)) ||
                              memcmp(few.v + from, all.v + to, (size_t)d * sizeof(float));
                }
            CHECK_INT(times, 0);
            if (i == few.n - 1)
                CHECK_INT(next, TD_TEXT_LEN);
        }
        CHECK_INT(differ, 0);
        reference(exact, &all, dit);
        if (getenv("TD_VERBOSE"))
            printf("  %lld tokens, %lld keys: error %.3e, of all 512 keys %.3e\n", (long long)n, (long long)few.n,
                   relative_error(few_o, exact, values), relative_error(all_o, exact, values));
        CHECK(relative_error(few_o, exact, values) <= 1.5 * relative_error(all_o, exact, values) + 1e-6);
    }
    free(few.k);
    free(few.v);
    free(all.k);
    free(all.v);
    free(few_o);
    free(e);
}

int main(void)
{
    static const enum TDQuant quant[] = { TD_QUANT_NONE, TD_QUANT_INT8 };
    static const int64_t tokens[] = { 1, 2, 77, 127, 128, 129, 300, 383, 384, 385, 511, 512 };
    TDLog log = golden_logger();
    TDCancel cancel = { 0 };
    TDCheckpoint *ckpt = NULL;
    TDDev *dev = NULL;
    char path[512];

    test_begin("open");
    if (!CHECK_INT(golden_device(&dev, &cancel, &log), 0) ||
        !CHECK_INT(td_checkpoint_open(&ckpt, golden_path(path, "TD_MODELS", "build/models",
                                                         "tiny/TurboWan2.1-T2V-1.3B-480P.pth"), &log), 0))
        return test_end();
    for (int i = 0; i < 2; i++) {
        TDDit *dit = NULL;

        test_begin(quant[i] == TD_QUANT_INT8 ? "int8: two kinds of rows fill up a prompt"
                                             : "bf16: one kind of rows fills up a prompt");
        if (CHECK_INT(td_dit_bind(&dit, dev, ckpt, quant[i], TD_NORM_OFFICIAL, 0), 0) && CHECK(dit->dim <= 512))
            for (size_t t = 0; t < sizeof(tokens) / sizeof(*tokens); t++)
                test_prompt(dev, dit, tokens[t]);
        td_dit_free(&dit);
    }
    td_checkpoint_close(&ckpt);
    dev->ops->close(&dev);
    return test_end();
}
