/* SPDX-License-Identifier: BSD-2-Clause
 * Tensors that are views of another order, read element by element: as rows of every type, and as int8 matrices of a
 * layer, which have the bytes of the matrix in order. */
#include <stdlib.h>
#include <string.h>
#include "golden.h"

enum { N = 256, K = 384 };

static void test_rows(void)
{
    static const enum TDDtype types[] = { TD_I8, TD_BF16, TD_F32, TD_F64 };
    uint8_t data[4 * 6 * 8], rows[4 * 6 * 8];

    test_begin("rows of a view");
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 7);
    for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
        size_t size = td_dtype_size(types[i]);
        TDEntry e = { .name = "v", .dtype = types[i], .n_dims = 2, .shape = { 6, 4, 1, 1, 1 },
                      .stride = { 1, 6, 1, 1, 1 }, .data = data, .bytes = 24 * size, .file = "f" };
        int bad = 0;

        td_entry_to_rows(&e, rows);
        for (size_t r = 0; r < 6; r++)
            for (size_t c = 0; c < 4; c++)
                bad += memcmp(rows + (r * 4 + c) * size, data + (r + c * 6) * size, size) != 0;
        CHECK_INT(bad, 0);
        e.stride[0] = 4;
        e.stride[1] = 1;
        td_entry_to_rows(&e, rows);
        CHECK(!memcmp(rows, data, 24 * size));
    }
}

static void test_int8_matrix(void)
{
    static int8_t plain[N * K], turned[K * N];
    static float fa[N * K], fb[N * K], scale[N / 128 * (K / 128)], scale_turned[N / 128 * (K / 128)];
    TDEntry w = { .name = "w", .dtype = TD_I8, .n_dims = 2, .shape = { N, K, 1, 1, 1 }, .stride = { K, 1, 1, 1, 1 },
                  .data = (uint8_t *)plain, .bytes = sizeof(plain), .file = "f" }, t = w;
    TDEntry s = { .name = "s", .dtype = TD_F32, .n_dims = 2, .shape = { N / 128, K / 128, 1, 1, 1 },
                  .stride = { K / 128, 1, 1, 1, 1 }, .data = (uint8_t *)scale, .bytes = sizeof(scale),
                  .file = "f" }, st = s;
    TDLinearSource a = { &w, &s, NULL, 0, 0 }, b = { &t, &st, NULL, 0, 0 };
    TDLinear la = { 0 }, lb = { 0 };
    TDWeights wa, wb;
    TDLog log = golden_logger();
    TDCancel cancel = { 0 };
    TDDev *dev;

    test_begin("an int8 matrix that is a transposed view");
    if (!CHECK_INT(golden_device(&dev, &cancel, &log), 0))
        return;
    for (int i = 0; i < N * K; i++) {
        plain[i] = (int8_t)(i * 31 + i / K);
        turned[i % K * N + i / K] = plain[i];
    }
    for (int i = 0; i < N / 128; i++)
        for (int j = 0; j < K / 128; j++)
            scale_turned[j * (N / 128) + i] = scale[i * (K / 128) + j] = (float)(1 + 3 * i + j);
    t.data = (uint8_t *)turned;
    t.stride[0] = 1;
    t.stride[1] = N;
    st.data = (uint8_t *)scale_turned;
    st.stride[0] = 1;
    st.stride[1] = N / 128;
    CHECK(td_weights_init(dev, &wa, 0) >= 0 && td_weights_init(dev, &wb, TD_MEASURE) >= 0);
    CHECK_INT(td_pack_linear(dev, &wa, &la, &a, 1, TD_I8), 0);
    CHECK_INT(td_pack_linear(dev, &wb, &lb, &b, 1, TD_I8), 0);
    CHECK(wb.bytes >= sizeof(plain));            /* measured: the copy is counted */
    CHECK_INT(td_weights_init(dev, &wb, wb.bytes), 0);
    CHECK_INT(td_pack_linear(dev, &wb, &lb, &b, 1, TD_I8), 0);
    CHECK_INT(dev->ops->sync(dev), 0);
    CHECK_INT(td_unpack(dev, fa, &la, TD_UNPACK_LINEAR), 0);
    CHECK_INT(td_unpack(dev, fb, &lb, TD_UNPACK_LINEAR), 0);
    CHECK(!memcmp(fa, fb, sizeof(fa)) && fa[1] != fa[0] && fb[K] != fb[0]);
    if (dev->caps.maps_files)                    /* a matrix in order is read where it is */
        CHECK(la.w[0] == plain && lb.w[0] != plain);
    td_weights_free(dev, &wa);
    td_weights_free(dev, &wb);
    dev->ops->close(&dev);
}

int main(void)
{
    test_rows();
    test_int8_matrix();
    return test_end();
}
