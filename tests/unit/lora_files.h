/* SPDX-License-Identifier: BSD-2-Clause
 * LoRA files of a small model, with the names of each convention written by hand, and the plain sums that they stand
 * for. */
#ifndef LORA_FILES_H
#define LORA_FILES_H

#include <math.h>
#include "forms.h"

#define LORA_DIT "TurboWan2.1-T2V-1.3B-480P.safetensors"

/* the ten linears of a block and a few others by their names: official, kohya's, diffusers', LyCORIS' */
static const struct { const char *official, *kohya, *diffusers, *lycoris; } lora_tails[] = {
    { "self_attn.q", "self_attn_q", "attn1.to_q", "attn1_to_q" },
    { "self_attn.k", "self_attn_k", "attn1.to_k", "attn1_to_k" },
    { "self_attn.v", "self_attn_v", "attn1.to_v", "attn1_to_v" },
    { "self_attn.o", "self_attn_o", "attn1.to_out.0", "attn1_to_out_0" },
    { "cross_attn.q", "cross_attn_q", "attn2.to_q", "attn2_to_q" },
    { "cross_attn.k", "cross_attn_k", "attn2.to_k", "attn2_to_k" },
    { "cross_attn.v", "cross_attn_v", "attn2.to_v", "attn2_to_v" },
    { "cross_attn.o", "cross_attn_o", "attn2.to_out.0", "attn2_to_out_0" },
    { "ffn.0", "ffn_0", "ffn.net.0.proj", "ffn_net_0_proj" },
    { "ffn.2", "ffn_2", "ffn.net.2", "ffn_net_2" },
};
static const struct { const char *official, *kohya, *diffusers, *lycoris; } lora_others[] = {
    { "text_embedding.0", "text_embedding_0", "condition_embedder.text_embedder.linear_1",
      "condition_embedder_text_embedder_linear_1" },
    { "text_embedding.2", "text_embedding_2", "condition_embedder.text_embedder.linear_2",
      "condition_embedder_text_embedder_linear_2" },
    { "time_embedding.0", "time_embedding_0", "condition_embedder.time_embedder.linear_1",
      "condition_embedder_time_embedder_linear_1" },
    { "time_embedding.2", "time_embedding_2", "condition_embedder.time_embedder.linear_2",
      "condition_embedder_time_embedder_linear_2" },
    { "time_projection.1", "time_projection_1", "condition_embedder.time_proj", "condition_embedder_time_proj" },
    { "head.head", "head_head", "proj_out", "proj_out" },
    { "patch_embedding", "patch_embedding", "patch_embedding", "patch_embedding" },
};
enum { LORA_TAILS = sizeof(lora_tails) / sizeof(*lora_tails), LORA_OTHERS = sizeof(lora_others) / sizeof(*lora_others),
       LORA_BLOCKS = 3, LORA_MODULES = LORA_BLOCKS * LORA_TAILS + LORA_OTHERS };

enum LoraNaming { LORA_OFFICIAL, LORA_KOHYA, LORA_DIFFUSERS, LORA_LYCORIS };

/* module i under a naming; underscore ones are spelled with low lines throughout */
static inline const char *lora_module_name(char buf[128], int i, enum LoraNaming naming)
{
    int block = i / LORA_TAILS, in = i % LORA_TAILS, other = i - LORA_BLOCKS * LORA_TAILS;
    const char *const *row = other >= 0 ? &lora_others[other].official : &lora_tails[in].official;

    if (other >= 0)
        snprintf(buf, 128, "%s", row[naming]);
    else
        snprintf(buf, 128, naming == LORA_KOHYA || naming == LORA_LYCORIS ? "blocks_%d_%s" : "blocks.%d.%s", block,
                 row[naming]);
    return buf;
}

static uint32_t lora_state = 1;

/* -1 to 1 */
static inline float lora_random(void)
{
    lora_state = lora_state * 1664525 + 1013904223;
    return (float)((int)(lora_state >> 9) - (1 << 22)) / (float)(1 << 22);
}

/* random values of a type into the list. what: what they are as f32, for the caller to free */
static inline float *lora_tensor(Form *f, const char *name, enum TDDtype dtype, int64_t rows, int64_t cols, float size)
{
    int64_t n = rows * cols;
    float *x = malloc((size_t)n * sizeof(*x));
    uint8_t *data = malloc((size_t)n * 4);

    for (int64_t i = 0; i < n; i++) {
        float v = size * lora_random();
        uint16_t h = td_f32_to_bf16(v);

        if (dtype == TD_BF16) {
            memcpy(data + 2 * i, &h, 2);
            x[i] = td_bf16_to_f32(h);
        } else if (dtype == TD_F16) {
            /* a half of 8 bits: any of them is one, and of this size */
            h = (uint16_t)(0x2000 + (lora_state >> 20) % 0x0c00 + (lora_state >> 31 << 15));
            memcpy(data + 2 * i, &h, 2);
            x[i] = td_f16_to_f32(h) * 1;
        } else if (dtype == TD_F8_E4M3) {        /* of less than 2 */
            data[i] = (uint8_t)(lora_state >> 24 & 0xbf);
            x[i] = (float)(data[i] & 7) + (data[i] & 0x38 ? 8 : 0);
            x[i] = ldexpf(data[i] & 0x80 ? -x[i] : x[i], (data[i] >> 3 & 7) - (data[i] & 0x38 ? 10 : 9));
        } else {
            memcpy(data + 4 * i, &v, 4);
            x[i] = v;
        }
    }
    form_add(f, name, dtype, 2, (int64_t[]){ rows, cols }, data);
    free(data);
    return x;
}

/* w += s * u v, as doc/numerics.md says: the sum in f32, from 0 on, then one product and one sum */
static inline void lora_merge(float *w, const float *u, const float *v, int64_t n, int64_t k, int64_t r, float s)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < k; j++) {
            float d = 0;

            for (int64_t e = 0; e < r; e++)
                d += u[i * r + e] * v[e * k + j];
            w[i * k + j] += s * d;
        }
}

#endif /* LORA_FILES_H */
