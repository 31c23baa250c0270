/* SPDX-License-Identifier: BSD-2-Clause
 * Values that files store in 8 bits or less: every code of fp8, blocks of GGUF against gguf-py's own decoding, scales
 * of a tensor and of rows, and inputs that were rotated. */
#include "golden.h"
#include "files/values.h"

static TDLog lines;

static void test_fp8(void)
{
    uint8_t code[256];
    float got[2][256];

    for (int i = 0; i < 256; i++)
        code[i] = (uint8_t)i;
    for (int wide = 0; wide < 2; wide++) {
        TDEntry e = { .name = "codes", .dtype = wide ? TD_F8_E5M2 : TD_F8_E4M3, .n_dims = 1,
                      .shape = { 256, 1, 1, 1, 1 }, .stride = { 1 }, .data = code, .bytes = 256 };

        CHECK_INT(td_entry_to_f32(&e, got[wide]), 0);
    }
    for (int i = 0; i < 256; i++) {
        int sign = i & 128 ? -1 : 1, e4 = i >> 3 & 15, m4 = i & 7, e5 = i >> 2 & 31, m5 = i & 3;
        double four = e4 ? ldexp(8 + m4, e4 - 10) : ldexp(m4, -9), five = e5 ? ldexp(4 + m5, e5 - 17) : ldexp(m5, -16);

        if (e4 == 15 && m4 == 7)
            CHECK(isnan(got[0][i]));
        else
            CHECK(got[0][i] == sign * four && !signbit(got[0][i]) == (sign > 0));
        if (e5 == 31)
            CHECK(m5 ? isnan(got[1][i]) : isinf(got[1][i]));
        else
            CHECK(got[1][i] == sign * five);
    }
}

static void test_blocks(void)
{
    TDCheckpoint *c = golden_open("gguf", &lines);

    for (int t = TD_Q4_0; c && t <= TD_IQ4_XS; t++) {
        char blocks[32], values[32];
        const TDEntry *in, *out;
        float got[1024], want[1024];

        snprintf(blocks, sizeof(blocks), "%s.blocks", td_dtype_name(t));
        snprintf(values, sizeof(values), "%s.values", td_dtype_name(t));
        in = td_checkpoint_find(c, blocks);
        out = td_checkpoint_find(c, values);
        test_begin(blocks);
        if (!CHECK(in && out && td_entry_count(out) == 1024) || !CHECK_INT(in->bytes, td_dtype_bytes(t, 1024)))
            continue;
        CHECK_INT(td_entry_to_f32(out, want), 0);
        td_blocks_to_f32(got, in->data, t, 1024);
        for (int i = 0; i < 1024; i++)
            if (!CHECK_NEAR(got[i], want[i], 1e-6 * fabs(want[i]) + 6e-8))
                break;
    }
    td_checkpoint_close(&c);
}

/* the matrix of ConvRot, by its definition: the digits of row and column by 4 choose a sign each */
static float rotation(int row, int col, int n)
{
    static const int8_t h4[4][4] = { { 1, 1, 1, -1 }, { 1, 1, -1, 1 }, { 1, -1, 1, 1 }, { -1, 1, 1, 1 } };
    float v = 1;

    for (int step = 1; step < n; step *= 4)
        v *= (float)h4[row / step % 4][col / step % 4] / 2;
    return v;
}

static void test_scales(void)
{
    enum { N = 3, K = 32 };
    uint8_t code[N * K];
    int8_t q[N * K];
    float row_scale[N] = { 0.5f, 3, -2 }, got[N * K];
    TDEntry rows = { .name = "scale", .dtype = TD_F32, .n_dims = 2, .shape = { N, 1, 1, 1, 1 }, .stride = { 1, 1 },
                     .data = (const uint8_t *)row_scale, .bytes = sizeof(row_scale) };
    TDEntry one = rows, part;
    TDEntry e = { .name = "codes", .dtype = TD_F8_E4M3, .n_dims = 2, .shape = { N, K, 1, 1, 1 }, .stride = { K, 1 },
                  .data = code, .bytes = sizeof(code), .scale = &one };

    one.shape[0] = 1;
    for (int i = 0; i < N * K; i++) {
        code[i] = (uint8_t)(i * 37 % 120);
        q[i] = (int8_t)(i * 91 % 255 - 127);
    }
    test_begin("one scale, and one a row");
    CHECK_INT(td_entry_to_f32(&e, got), 0);
    for (int i = 0; i < N * K; i++)
        CHECK(got[i] == td_e4m3_to_f32(code[i]) * 0.5f);
    e.scale = &rows;
    part = td_entry_rows(&e, 1, 2);
    CHECK_INT(td_entry_to_f32(&part, got), 0);
    for (int i = 0; i < 2 * K; i++)
        CHECK(got[i] == td_e4m3_to_f32(code[K + i]) * row_scale[1 + i / K]);

    test_begin("rotated inputs");
    e.dtype = TD_I8;
    e.data = (const uint8_t *)q;
    for (e.rotated = 4; e.rotated <= 16; e.rotated *= 4) {
        CHECK_INT(td_entry_to_f32(&e, got), 0);
        for (int r = 0; r < N; r++)
            for (int k = 0; k < K; k++) {
                int first = k / e.rotated * e.rotated;
                double want = 0;

                for (int j = 0; j < e.rotated; j++)
                    want += (double)(q[r * K + first + j] * row_scale[r]) * rotation(j, k - first, e.rotated);
                CHECK_NEAR(got[r * K + k], want, 1e-4);
            }
    }
}

int main(void)
{
    lines = golden_logger();
    test_begin("every code of fp8");
    test_fp8();
    test_blocks();
    test_scales();
    return test_end();
}
