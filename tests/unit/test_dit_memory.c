/* SPDX-License-Identifier: BSD-2-Clause
 * What a clip's transformer keeps in memory, of the sizes of published models: no buffer but those that something
 * reads. A backend's own comes on top. */
#include <stdlib.h>
#include "nets/dit.h"
#include "test.h"

static int plan_nothing(TDDev *dev, TDArena *a, TDQkv *qkv)
{
    (void)dev, (void)a, (void)qkv;
    return 0;
}

static const struct Case {
    const char *name;
    int64_t dim, ffn, n_blocks, in_dim, h, w;
    int int8, gelu_codes;
    double most;                                 /* bytes a token, in widths of the model */
} cases[] = {
    /* x 2, activation 2 + 1, q k v 6, codes of q where those of the activation were; or an ffn of 2.7 widths */
    { "14B, 1280x720, int8",       5120, 13824, 40, 16, 90, 160, 1, 1, 11.3 },
    { "14B, 832x480, int8",        5120, 13824, 40, 16, 60, 104, 1, 1, 11.3 },
    { "14B, 1280x720, int8 of x",  5120, 13824, 40, 16, 90, 160, 1, 0, 13.3 },
    { "1.3B, 832x480, int8",       1536, 8960,  30, 16, 60, 104, 1, 1, 11.6 },
    { "1.3B, 832x480, int8 of x",  1536, 8960,  30, 16, 60, 104, 1, 0, 23.1 },
    { "1.3B, 832x480, bf16",       1536, 8960,  30, 16, 60, 104, 0, 1, 16.2 },
};

int main(void)
{
    static const TDOps ops = { .plan_qkv = plan_nothing };
    static const TDAttnConfig attn = { TD_ATTN_SAGESLA, 64, 128, 0.1 }, sla = { TD_ATTN_SLA, 64, 128, 0.1 };

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const struct Case *c = &cases[i];
        int64_t t = 21, tokens = t * c->h * c->w / 4;
        TDLog log = { .out = { 0 } };
        TDDev dev = { .ops = &ops, .log = &log, .caps = { .gelu_codes = c->gelu_codes } };
        TDDit dit = { .dev = &dev, .dim = c->dim, .ffn = c->ffn, .n_heads = c->dim / TD_HEAD_DIM,
                      .n_blocks = c->n_blocks, .in_dim = c->in_dim, .text_dim = 4096, .int8 = c->int8 };
        TDDitText text;
        TDDitClip clip;
        size_t of_text;
        double widths;
        TDArena a;

        test_begin(c->name);
        td_arena_init(&a, NULL, 0, &log);
        CHECK_INT(td_dit_plan_text(&text, &dit, &a, 64), 0);
        of_text = a.peak;
        CHECK_INT(td_dit_plan(&clip, &dit, &a, t, c->h, c->w, &attn, text.k.shape[1]), 0);
        widths = (double)(a.peak - of_text) / (double)(tokens * c->dim);
        if (getenv("TD_VERBOSE"))
            printf("  %s: %.3f GB, of that %.3f of the prompt; %.2f widths a token\n", c->name, (double)a.peak * 1e-9,
                   (double)of_text * 1e-9, widths);
        CHECK(widths <= c->most);
        CHECK(of_text <= (size_t)(4 * c->n_blocks * c->dim * (64 + 9 + 1)));
        CHECK(clip.self.q_code.n_dims == 2);
        CHECK_INT(td_dit_plan(&clip, &dit, &a, t, c->h, c->w, &sla, text.k.shape[1]), 0);
        CHECK(clip.self.q_code.n_dims == 0);     /* of sagesla alone: there is no place for their scales */

        /* carved from memory that is none: where a LoRA adds to the ffn's first linear, its term has a place */
        for (int side = 0; side < 2; side++) {
            dit.side_ffn = side;
            dit.side_rank = side ? 64 : 0;
            td_arena_init(&a, (void *)(uintptr_t)4096, SIZE_MAX / 4, &log);
            CHECK_INT(td_dit_plan(&clip, &dit, &a, t, c->h, c->w, &attn, text.k.shape[1]), 0);
            CHECK_INT(clip.ffn.x.data != NULL, side || !c->int8 || !c->gelu_codes);
            CHECK_INT(clip.side.data != NULL, side);
        }
    }
    return test_end();
}
