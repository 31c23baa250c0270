/* SPDX-License-Identifier: BSD-2-Clause
 * Weights of every type that files have, packed: each value has the bits that the file's reader gives it, whichever
 * processor makes it. extra: the type. Blocks and scales are by chance, so that there are NaN and infinite values, too,
 * but where codes are made. What a case returns is how many values are wrong. */
#include <math.h>
#include "checkops.h"
#include "files/values.h"

#define MATRICES 10                              /* more than a device works on at a time */

enum Scaled { PLAIN_VALUES, SCALED, SCALED_ROWS, SCALED_GROUPS };

/* a weight of a file, and what is packed of it */
typedef struct Stored {
    TDEntry e, scale, scale_2;
    TDLinear lin;
    TDTensor table;
} Stored;

static uint8_t *some_bytes(Run *r, size_t n)
{
    return (uint8_t *)run_floats(r, (int64_t)(n / sizeof(float)) + 1);
}

static uint64_t next(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

/* blocks by chance */
static void fill_blocks(uint8_t *dst, enum TDDtype dtype, int64_t n, int finite, uint64_t *seed)
{
    size_t size = td_dtype_size(dtype);
    int block = td_dtype_block(dtype), bad;
    float v[256];

    for (int64_t i = 0; i < n; i += block, dst += size)
        do {
            for (size_t b = 0; b < size; b++)
                dst[b] = (uint8_t)(next(seed) >> 24);
            td_row_to_f32(v, dst, dtype, block, 1);
            bad = 0;
            for (int j = 0; j < block; j++)
                bad |= finite && !(fabsf(v[j]) < 1e6f);
        } while (bad);
}

static void make(Run *r, Stored *s, enum TDDtype dtype, enum Scaled scaled, int64_t rows, int64_t k, int finite,
                 uint64_t *seed)
{
    size_t bytes = td_dtype_bytes(dtype, rows * k);
    int fp4 = dtype == TD_FP4, group = scaled == SCALED_GROUPS ? fp4 ? 16 : 32 : 0;
    int64_t n = group ? td_blocks(rows, 128) * td_blocks(k / group, 4) * 512 : scaled == SCALED_ROWS ? rows : 1;
    uint8_t *data = some_bytes(r, bytes + 1) + 1, *scales = some_bytes(r, (size_t)n * sizeof(float));
    float *all = run_floats(r, 1);

    *s = (Stored){ 0 };
    fill_blocks(data, dtype, rows * k, finite, seed);
    *all = 0.37f;
    s->scale_2 = (TDEntry){ .name = "scale_2", .dtype = TD_F32, .n_dims = 1, .shape = { 1, 1, 1, 1, 1 },
                            .stride = { 1 }, .data = (const uint8_t *)all, .bytes = 4, .file = "checkops" };
    s->scale = s->scale_2;
    s->scale.shape[0] = n;
    s->scale.data = scales;
    s->scale.dtype = !group ? TD_F32 : fp4 ? TD_F8_E4M3 : TD_F8_E8M0;
    s->scale.bytes = (size_t)n * td_dtype_size(s->scale.dtype);
    for (int64_t i = 0; i < n; i++)
        if (group)
            scales[i] = (uint8_t)((finite ? fp4 ? 40 : 120 : 0) + next(seed) % (finite ? 16 : 256));
        else
            ((float *)scales)[i] = ((float)(next(seed) >> 20 & 0xfff) - 2047.5f) * 1e-3f;
    s->e = (TDEntry){ .name = "weight", .dtype = dtype, .n_dims = 2, .shape = { rows, k, 1, 1, 1 }, .stride = { k, 1 },
                      .data = data, .bytes = bytes, .scale = scaled ? &s->scale : NULL, .group = group,
                      .scale_2 = group && fp4 ? &s->scale_2 : NULL, .file = "checkops" };
}

static int same(uint32_t a, uint32_t b, int is_nan)
{
    float f;

    memcpy(&f, &a, sizeof(f));
    return is_nan ? isnan(f) : a == b;
}

/* codes: as the device makes them of the host's values */
static int wrong_codes(Run *r, const Stored *s, const float *want, float *wrong)
{
    int64_t rows = s->e.shape[0], k = s->e.shape[1], n_scales = td_blocks(rows, 128) * (k / 128);
    TDTensor code = { (void *)s->lin.w[0], { rows, k, 1, 1, 1 }, 2, TD_I8 },
             scale = { (void *)s->lin.scale, { n_scales, 1, 1, 1, 1 }, 1, TD_F32 };
    uint8_t *codes[2] = { some_bytes(r, (size_t)(rows * k)), some_bytes(r, (size_t)(rows * k)) };
    float *scales[2] = { run_floats(r, n_scales), run_floats(r, n_scales) };
    TDAct x;
    int ret;

    TRY(run_act(r, &x, want, rows, k, 1));
    TRY(r->dev->ops->download(r->dev, codes[0], &code));
    TRY(r->dev->ops->download(r->dev, codes[1], &x.code));
    TRY(r->dev->ops->download(r->dev, scales[0], &scale));
    TRY(r->dev->ops->download(r->dev, scales[1], &x.scale));
    for (int64_t i = 0; i < rows * k; i++)
        *wrong += codes[0][i] != codes[1][i];
    for (int64_t i = 0; i < n_scales; i++)
        *wrong += scales[0][i] != scales[1][i];
fail:
    return ret;
}

static int wrong_values(Run *r, const Stored *s, enum TDDtype packed, float *wrong)
{
    int64_t n = td_entry_count(&s->e);
    float *want = run_floats(r, n);
    uint8_t *got = some_bytes(r, (size_t)n * 4);
    TDTensor t = packed == TD_BF16 ? s->table
                                   : (TDTensor){ (void *)s->lin.w[0], { n, 1, 1, 1, 1 }, 1, packed };
    int ret;

    TRY(td_entry_to_f32(&s->e, want));
    if (packed == TD_I8)
        return wrong_codes(r, s, want, wrong);
    TRY(r->dev->ops->download(r->dev, got, &t));
    for (int64_t i = 0; i < n; i++) {
        uint32_t u, have;

        memcpy(&u, &want[i], sizeof(u));
        if (packed == TD_BF16) {
            u = (uint32_t)td_f32_to_bf16(want[i]) << 16;
            have = (uint32_t)((const uint16_t *)got)[i] << 16;
        } else {
            memcpy(&have, got + 4 * i, sizeof(have));
        }
        *wrong += !same(have, u, isnan(want[i]));
    }
fail:
    return ret;
}

static int pack(Run *r, TDWeights *w, Stored *s, enum TDDtype want)
{
    TDLinearSource src = { .w = &s->e };

    return want == TD_BF16 ? td_pack_table(r->dev, w, &s->table, &s->e)
                           : td_pack_linear(r->dev, w, &s->lin, &src, 1, want);
}

/* ahead: copies and what follows may go on until all are packed */
static int some_matrices(Run *r, const Case *c, enum TDDtype want, enum Scaled scaled, int ahead, float *wrong)
{
    int64_t n_matrices = r->fill == FILL_NORMAL ? MATRICES : 1, rows = want == TD_I8 ? 264 : 131;
    int block = td_dtype_block((enum TDDtype)c->extra);
    int64_t k = block > 2 || want == TD_I8 ? 256 : scaled == SCALED_GROUPS ? 288 : block == 2 ? 262 : 263;
    uint64_t seed = r->seed * 977 + (uint64_t)c->extra * 64 + (uint64_t)r->fill + 1;
    Run own = { .dev = r->dev, .fill = r->fill, .arena = r->arena };
    TDWeights w = { 0 };
    Stored s[MATRICES];
    int ret = 0;

    if (ahead)
        TRY(td_weights_init(r->dev, &w, (size_t)MATRICES * (size_t)(rows * k + 256) * 4));
    for (int i = 0; i < n_matrices; i++) {
        make(&own, &s[i], (enum TDDtype)c->extra, scaled, rows, k, want == TD_I8, &seed);
        TRY(pack(&own, &w, &s[i], want));
    }
    TRY(r->dev->ops->sync(r->dev));
    td_pack_end(r->dev);
    for (int i = 0; i < n_matrices; i++) {
        Run one = { .dev = r->dev, .fill = r->fill, .arena = r->arena };

        ret = wrong_values(&one, &s[i], want, wrong);
        for (int h = 0; h < one.n_host; h++)
            free(one.host[h]);
        TRY(ret);
    }
fail:
    td_pack_end(r->dev);
    td_weights_free(r->dev, &w);
    for (int h = 0; h < own.n_host; h++)
        free(own.host[h]);
    return ret;
}

static int run_stored(Run *r, const Case *c, float **out, int64_t *count)
{
    enum TDDtype wants[] = { TD_BF16, c->extra == TD_BF16 ? TD_BF16 : TD_F32, TD_I8 };     /* bf16 stays so */
    enum TDDtype t = (enum TDDtype)c->extra;
    int scales = t == TD_I8 || t == TD_F8_E4M3 || t == TD_F8_E5M2 || t == TD_FP4,
        groups = t == TD_F8_E4M3 || t == TD_FP4, ret = 0;

    *out = run_floats(r, 1);
    *count = 1;
    for (int i = 0; i < 3; i++)
        for (int scaled = PLAIN_VALUES; scaled <= SCALED_GROUPS; scaled++)
            for (int ahead = 0; ahead < 2; ahead++)
                if (scaled ? scaled == SCALED_GROUPS ? groups : scales : t != TD_I8)
                    TRY(some_matrices(r, c, wants[i], (enum Scaled)scaled, ahead, *out));
fail:
    return ret;
}

static void ref_none(Run *r, const Case *c, double *ref)
{
    (void)r, (void)c;
    *ref = 0;
}

#define STORED(type, name) { "put_values", name, .extra = type, .run = run_stored, .reference = ref_none }

const Case values_cases[] = {
    STORED(TD_F32, "f32"), STORED(TD_BF16, "bf16"), STORED(TD_F16, "f16"), STORED(TD_I8, "i8"),
    STORED(TD_F8_E4M3, "e4m3"), STORED(TD_F8_E5M2, "e5m2"), STORED(TD_FP4, "fp4"), STORED(TD_Q4_0, "q4_0"),
    STORED(TD_Q4_1, "q4_1"), STORED(TD_Q5_0, "q5_0"), STORED(TD_Q5_1, "q5_1"), STORED(TD_Q8_0, "q8_0"),
    STORED(TD_Q2_K, "q2_k"), STORED(TD_Q3_K, "q3_k"), STORED(TD_Q4_K, "q4_k"), STORED(TD_Q5_K, "q5_k"),
    STORED(TD_Q6_K, "q6_k"), STORED(TD_IQ4_NL, "iq4_nl"), STORED(TD_IQ4_XS, "iq4_xs"),
    { 0 }
};
