/* SPDX-License-Identifier: BSD-2-Clause
 * Weights on their way to a device that copies on its own until it is synced, as a GPU's loader does: what it has then
 * is what the file says, of tensors that are larger than what may be on the way, and of more of them. */
#include <stdlib.h>
#include "base/cancel.h"
#include "base/thread.h"
#include "files/values.h"
#include "seam/backend.h"
#include "test.h"

#define N_JOBS 256

static struct Job {
    void *dst;
    const void *src;
    size_t bytes;
} jobs[N_JOBS];
static int n_jobs, n_syncs, copied_twice;

/* as late as the contract lets it; the last one first */
static int late_sync(TDDev *dev)
{
    (void)dev;
    n_syncs++;
    while (n_jobs > 0) {
        n_jobs--;
        memcpy(jobs[n_jobs].dst, jobs[n_jobs].src, jobs[n_jobs].bytes);
    }
    return 0;
}

/* what frees memory gives up what is on the way, wherever it goes */
static void (*free_memory)(TDDev *dev, TDBuf *buf);
static void dropping_free(TDDev *dev, TDBuf *buf)
{
    n_jobs = 0;
    free_memory(dev, buf);
}

static int late_put(TDDev *dev, const TDWeights *w, void *dst, const void *src, size_t bytes, int keep)
{
    (void)dev, (void)w;
    copied_twice += !keep;
    if (!keep) {
        memcpy(dst, src, bytes);
        return 0;
    }
    CHECK(n_jobs < N_JOBS);
    jobs[n_jobs++] = (struct Job){ dst, src, bytes };
    return 0;
}

/* a matrix of e4m3 with a scale */
typedef struct Matrix {
    TDEntry e, scale;
    float factor;
    uint8_t *codes;
} Matrix;

static void matrix(Matrix *m, int64_t n, int64_t k, uint32_t seed)
{
    *m = (Matrix){ .factor = 0.0117f, .codes = malloc((size_t)(n * k)) };
    for (int64_t i = 0; i < n * k; i++) {
        seed = seed * 1664525 + 1013904223;
        m->codes[i] = (seed >> 24 & 0x7f) == 0x7f ? 0 : (uint8_t)(seed >> 24);      /* no NaN */
    }
    m->scale = (TDEntry){ .name = "s", .file = "f", .dtype = TD_F32, .n_dims = 1, .shape = { 1, 1, 1, 1, 1 },
                          .stride = { 1 }, .data = (const uint8_t *)&m->factor, .bytes = 4 };
    m->e = (TDEntry){ .name = "w", .file = "f", .dtype = TD_F8_E4M3, .n_dims = 2, .shape = { n, k, 1, 1, 1 },
                      .stride = { k, 1 }, .data = m->codes, .bytes = (size_t)(n * k), .scale = &m->scale };
}

static uint16_t value(const Matrix *m, int64_t i)
{
    return td_f32_to_bf16(td_e4m3_to_f32(m->codes[i]) * m->factor);
}

/* bf16: every value; int8: as the device makes it of the values at once */
static int64_t wrong(TDDev *dev, const Matrix *m, const TDLinear *lin)
{
    int64_t n = m->e.shape[0], k = m->e.shape[1], bad = 0;
    uint16_t *want = malloc((size_t)(n * k) * 2);
    TDAct act = { 0 };

    for (int64_t i = 0; i < n * k; i++)
        want[i] = value(m, i);
    if (lin->dtype == TD_BF16) {
        for (int64_t i = 0; i < n * k; i++)
            bad += ((const uint16_t *)lin->w[0])[i] != want[i];
    } else {
        int8_t *code = malloc((size_t)(n * k));
        float *scale = malloc((size_t)(td_blocks(n, 128) * (k / 128)) * sizeof(*scale));

        act.x = (TDTensor){ want, { n, k, 1, 1, 1 }, 2, TD_BF16 };
        act.code = (TDTensor){ code, { n, k, 1, 1, 1 }, 2, TD_I8 };
        act.scale = (TDTensor){ scale, { td_blocks(n, 128), k / 128, 1, 1, 1 }, 2, TD_F32 };
        CHECK_INT(dev->ops->quantise(dev, &act), 0);
        for (int64_t i = 0; i < n * k; i++)
            bad += ((const int8_t *)lin->w[0])[i] != code[i];
        for (int64_t i = 0; i < td_blocks(n, 128) * (k / 128); i++)
            bad += lin->scale[i] != scale[i];
        free(code);
        free(scale);
    }
    free(want);
    return bad;
}

/* types: a letter for each matrix, b for bf16 and i for int8; each has `more` rows more than the one before */
static void test(TDDev *dev, const char *name, const char *types, int64_t n, int64_t more, int64_t k, int least_syncs)
{
    Matrix m[4];
    TDLinear lin[4];
    TDWeights w;
    int n_matrices = (int)strlen(types);

    test_begin(name);
    n_syncs = copied_twice = 0;
    CHECK_INT(td_weights_init(dev, &w, 0), 0);
    for (int i = 0; i < n_matrices; i++) {
        TDLinearSource src = { .w = &m[i].e };

        matrix(&m[i], n + i * more, k, (uint32_t)i + 1);
        CHECK_INT(td_pack_linear(dev, &w, &lin[i], &src, 1, types[i] == 'i' ? TD_I8 : TD_BF16), 0);
    }
    CHECK(n_syncs >= least_syncs);
    td_pack_end(dev);
    CHECK_INT(n_jobs, 0);                        /* nothing is on its way once the memory is given back */
    CHECK(!dev->packer);
    CHECK_INT(copied_twice, 0);
    for (int i = 0; i < n_matrices; i++) {
        CHECK_INT(wrong(dev, &m[i], &lin[i]), 0);
        free(m[i].codes);
    }
    td_weights_free(dev, &w);
}

int main(void)
{
    TDLog log = { .out = { 0 } };
    TDCancel cancel = { 0 };
    TDDev *dev = NULL;
    TDOps ops;

    CHECK_INT(td_cpu_open(&dev, 2, NULL, &cancel, &log), 0);
    ops = *dev->ops;
    ops.put = late_put;
    ops.sync = late_sync;
    free_memory = ops.free;
    ops.free = dropping_free;
    dev->ops = &ops;
    dev->caps.maps_files = 0;
    dev->cancel = &cancel;
    test(dev, "bf16, 46 MB of 64 on the way", "b", 5632, 0, 4096, 0);
    test(dev, "bf16, 92 MB", "b", 11264, 0, 4096, 1);
    test(dev, "bf16, four of 23 MB", "bbbb", 2816, 0, 4096, 1);
    test(dev, "bf16, two rows of 67 MB", "b", 2, 0, 33619968, 1);
    test(dev, "int8, 92 MB in two parts", "i", 11264, 0, 4096, 4);
    test(dev, "int8, four of 23 MB", "iiii", 2816, 0, 4096, 8);
    test(dev, "int8 of more and more rows, bf16 between", "ibib", 256, 128, 4096, 4);
    dev->ops->close(&dev);
    return test_end();
}
