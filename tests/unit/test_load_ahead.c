/* SPDX-License-Identifier: BSD-2-Clause
 * Weights on their way to a device that copies on its own until it is synced, as a GPU's loader does: what it has then
 * is what the file says, of tensors that are larger than what may be on the way, and of more of them. The same with a
 * device that makes values itself, in lanes of memory that it is lent (put_values). */
#include <stdlib.h>
#include "base/cancel.h"
#include "base/thread.h"
#include "files/values.h"
#include "seam/pack_priv.h"
#include "test.h"

#define N_JOBS 256
#define LANES 2

static struct Job {
    void *dst;
    const void *src;
    size_t bytes;
    TDPiece piece;                               /* rows > 0: in place of the others */
} jobs[N_JOBS];
static int n_jobs, n_syncs, n_pieces, copied_twice;
static TDBuf lent;                               /* for lanes, as it was last allocated */
static const TDOps *cpu_ops;

/* values of a piece that lies in its lane, by a tensor that is as its rows are */
static void make_values(TDDev *dev, const TDPiece *p, uint8_t *lane)
{
    uint8_t *scales = lane + td_piece_pad(p->bytes);
    TDEntry all = { .name = "factor", .file = "f", .dtype = TD_F32, .n_dims = 1, .shape = { 1, 1, 1, 1, 1 },
                    .stride = { 1 }, .data = (const uint8_t *)&p->factor, .bytes = 4 };
    TDEntry own = { .name = "scales", .file = "f", .dtype = p->group ? TD_F8_E8M0 : TD_F32, .n_dims = 1,
                    .shape = { p->group ? (int64_t)p->scale_bytes : p->rows, 1, 1, 1, 1 }, .stride = { 1 },
                    .data = scales, .bytes = p->scale_bytes };
    TDEntry e = { .name = "piece", .file = "f", .dtype = p->dtype, .n_dims = 2, .shape = { p->rows, p->k, 1, 1, 1 },
                  .stride = { p->k, 1 }, .data = lane, .bytes = p->bytes, .scale = p->scales ? &own : &all,
                  .group = p->group };
    int64_t n = p->rows * p->k;
    float *f = malloc((size_t)n * sizeof(*f));
    uint16_t *half = malloc((size_t)n * sizeof(*half));

    memcpy(lane, p->src, p->bytes);
    if (p->scale_bytes)
        memcpy(scales, p->scales, p->scale_bytes);
    memset(lane + td_piece_lane(p), 0xee, p->lane - td_piece_lane(p));
    CHECK_INT(td_entry_to_f32(&e, f), 0);
    for (int64_t i = 0; i < n; i++)
        half[i] = td_f32_to_bf16(f[i]);
    if (p->want == TD_F32) {
        memcpy(p->dst, f, (size_t)n * sizeof(*f));
    } else if (p->want == TD_BF16) {
        memcpy(p->dst, half, (size_t)n * sizeof(*half));
    } else {
        TDAct act = { .x = { half, { p->rows, p->k, 1, 1, 1 }, 2, TD_BF16 },
                      .code = { p->dst, { p->rows, p->k, 1, 1, 1 }, 2, TD_I8 },
                      .scale = { p->dst_scale, { td_blocks(p->rows, 128), p->k / 128, 1, 1, 1 }, 2, TD_F32 } };

        CHECK_INT(cpu_ops->quantise(dev, &act), 0);
    }
    free(f);
    free(half);
}

/* as late as the contract lets it; the last one first */
static int late_sync(TDDev *dev)
{
    n_syncs++;
    while (n_jobs > 0) {
        const struct Job *job = &jobs[--n_jobs];

        if (job->piece.rows)
            make_values(dev, &job->piece, (uint8_t *)job->piece.scratch + job->piece.lane * (size_t)(n_jobs % LANES));
        else
            memcpy(job->dst, job->src, job->bytes);
    }
    return 0;
}

static int (*alloc_memory)(TDDev *dev, TDBuf *buf, size_t bytes, const char *what);
static int lending_alloc(TDDev *dev, TDBuf *buf, size_t bytes, const char *what)
{
    int ret = alloc_memory(dev, buf, bytes, what);

    if (!strcmp(what, "weights before they are converted"))
        lent = *buf;
    return ret;
}

/* what a piece has to be, and that it fits those that are on their way */
static int late_put_values(TDDev *dev, const TDWeights *w, const TDPiece *p)
{
    (void)dev, (void)w;
    CHECK(p->rows > 0 && p->bytes == td_dtype_bytes(p->dtype, p->rows * p->k));
    CHECK(td_piece_pad(p->bytes) + td_piece_pad(p->scale_bytes) <= TD_PIECE_BYTES);
    CHECK(td_piece_lane(p) <= p->lane && !(p->lane % 256));
    CHECK(p->scratch == lent.ptr && p->lane * LANES <= lent.bytes);
    for (int i = 0; i < n_jobs; i++)
        CHECK(!jobs[i].piece.rows || jobs[i].piece.lane == p->lane);
    CHECK(n_jobs < N_JOBS);
    jobs[n_jobs++] = (struct Job){ .piece = *p };
    n_pieces++;
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
    jobs[n_jobs++] = (struct Job){ .dst = dst, .src = src, .bytes = bytes };
    return 0;
}

/* a matrix of e4m3 with a scale, one for each row, or one for 32 values of a row */
typedef struct Matrix {
    TDEntry e, scale, columns;
    float *factor;                               /* of rows; 2 are enough for one of all */
    uint8_t *codes, *groups;
    float *column;                               /* of inputs; NULL: none */
} Matrix;

enum { N_TILE = 128 * 4 };                       /* groups' scales of a tile */

/* kind: a letter of test() */
static void matrix(Matrix *m, char kind, int64_t n, int64_t k, uint32_t seed)
{
    int64_t n_groups = td_blocks(n, 128) * td_blocks(k / 32, 4) * N_TILE;
    int rows = kind == 'r' || kind == 'R';

    *m = (Matrix){ .factor = malloc((size_t)n * sizeof(float)), .codes = malloc((size_t)(n * k)),
                   .groups = malloc((size_t)n_groups + 1), .column = malloc((size_t)k * sizeof(float)) };
    for (int64_t i = 0; i < n * k; i++) {
        seed = seed * 1664525 + 1013904223;
        m->codes[i] = (seed >> 24 & 0x7f) == 0x7f ? 0 : (uint8_t)(seed >> 24);      /* no NaN */
    }
    for (int64_t i = 0; i < n; i++)
        m->factor[i] = 0.0117f * (float)(1 + i % 1021);
    for (int64_t i = 0; i < k; i++)
        m->column[i] = 0.25f * (float)(1 + i % 7);
    for (int64_t i = 0; i < n_groups; i++)
        m->groups[i] = (uint8_t)(120 + i * 31 % 13);
    m->scale = (TDEntry){ .name = "s", .file = "f", .dtype = TD_F32, .n_dims = 1, .shape = { rows ? n : 1, 1, 1, 1, 1 },
                          .stride = { 1 }, .data = (const uint8_t *)m->factor, .bytes = (size_t)(rows ? n : 1) * 4 };
    if (kind == 'g' || kind == 'G') {
        m->scale.dtype = TD_F8_E8M0;
        m->scale.data = m->groups;
        m->scale.shape[0] = n_groups;
        m->scale.bytes = (size_t)n_groups;
    }
    m->columns = (TDEntry){ .name = "c", .file = "f", .dtype = TD_F32, .n_dims = 1, .shape = { k, 1, 1, 1, 1 },
                            .stride = { 1 }, .data = (const uint8_t *)m->column, .bytes = (size_t)k * 4 };
    m->e = (TDEntry){ .name = "w", .file = "f", .dtype = TD_F8_E4M3, .n_dims = 2, .shape = { n, k, 1, 1, 1 },
                      .stride = { k, 1 }, .data = m->codes, .bytes = (size_t)(n * k), .scale = &m->scale,
                      .group = kind == 'g' || kind == 'G' ? 32 : 0,
                      .columns = kind == 'c' || kind == 'C' ? &m->columns : NULL };
}

static void matrix_free(Matrix *m)
{
    free(m->factor);
    free(m->codes);
    free(m->groups);
    free(m->column);
}

static uint16_t value(const Matrix *m, int64_t i)
{
    int64_t k = m->e.shape[1], row = i / k, col = i % k;
    float v = td_e4m3_to_f32(m->codes[i]);

    v *= m->e.group ? td_e8m0_to_f32(m->groups[td_swizzled(row, col / 32, k / 32)])
                    : m->factor[td_entry_count(&m->scale) > 1 ? row : 0];

    return td_f32_to_bf16(m->e.columns ? v * m->column[col] : v);
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

/* kinds: a letter for each matrix, with small ones for bf16 and capitals for int8: b one scale, r one a row, g one a
 * group, c one of all and one a column, which no device makes. Each has `more` rows more than the one before, or less.
 * pieces: that the device makes, if it does */
static void test(TDDev *dev, const char *name, const char *kinds, int64_t n, int64_t more, int64_t k, int least_syncs,
                 int pieces)
{
    Matrix m[6];
    TDLinear lin[6];
    TDWeights w, measured = { .measure = 1 };
    int n_matrices = (int)strlen(kinds);
    static char titles[2][128];                  /* test_begin() keeps the pointer until the next case begins */
    static int turn;
    char *title = titles[turn ^= 1];

    snprintf(title, sizeof(titles[0]), "%s%s", name, dev->caps.lanes ? ", made by the device" : "");
    test_begin(title);
    n_syncs = n_pieces = copied_twice = 0;
    CHECK_INT(td_weights_init(dev, &w, 0), 0);
    for (int i = 0; i < n_matrices; i++) {
        enum TDDtype want = kinds[i] < 'a' ? TD_I8 : TD_BF16;
        TDLinearSource src = { .w = &m[i].e };

        matrix(&m[i], kinds[i], n + i * more, k, (uint32_t)i + 1);
        CHECK_INT(td_pack_linear(dev, &measured, &lin[i], &src, 1, want), 0);
        CHECK_INT(td_pack_linear(dev, &w, &lin[i], &src, 1, want), 0);
        CHECK(!dev->packer || dev->packer->scratch.bytes <= measured.scratch);
    }
    CHECK(dev->caps.lanes || n_syncs >= least_syncs);
    CHECK_INT(n_pieces, dev->caps.lanes ? pieces : 0);
    td_pack_end(dev);
    CHECK_INT(n_jobs, 0);                        /* nothing is on its way once the memory is given back */
    CHECK(!dev->packer);
    CHECK_INT(copied_twice, 0);
    CHECK(measured.scratch <= (size_t)96 << 20);
    for (int i = 0; i < n_matrices; i++) {
        CHECK_INT(wrong(dev, &m[i], &lin[i]), 0);
        matrix_free(&m[i]);
    }
    td_weights_free(dev, &w);
}

/* memory that is lent for matrices of a 14B, with as many lanes as a GPU has */
static void test_memory_of(TDDev *dev, enum TDDtype dtype, size_t most)
{
    static const int64_t shapes[][2] = { { 5120, 5120 }, { 13824, 5120 }, { 5120, 13824 } };
    TDWeights w = { .measure = 1 };
    TDLinear lin;

    test_begin(td_dtype_name(dtype));
    for (int i = 0; i < 3; i++) {
        int64_t n = shapes[i][0], k = shapes[i][1];
        TDEntry e = { .name = "w", .file = "f", .dtype = dtype, .n_dims = 2, .shape = { n, k, 1, 1, 1 },
                      .stride = { k, 1 }, .bytes = td_dtype_bytes(dtype, n * k) };
        TDLinearSource src = { .w = &e };

        CHECK_INT(td_pack_linear(dev, &w, &lin, &src, 1, TD_I8), 0);
    }
    if (!CHECK(w.scratch > most / 2 && w.scratch <= most))
        printf("  %zu bytes\n", w.scratch);
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
    ops.put_values = late_put_values;
    ops.sync = late_sync;
    alloc_memory = ops.alloc;
    ops.alloc = lending_alloc;
    free_memory = ops.free;
    ops.free = dropping_free;
    cpu_ops = dev->ops;
    dev->ops = &ops;
    dev->caps.maps_files = 0;
    dev->cancel = &cancel;
    for (int lanes = 0; lanes <= LANES; lanes += LANES) {
        dev->caps.lanes = lanes;
        test(dev, "bf16, 46 MB of 64 on the way", "b", 5632, 0, 4096, 0, 22);
        test(dev, "bf16, 92 MB", "b", 11264, 0, 4096, 1, 44);
        test(dev, "bf16, four of 23 MB", "bbbb", 2816, 0, 4096, 1, 44);
        test(dev, "bf16, two rows of 67 MB", "b", 2, 0, 33619968, 1, 0);
        test(dev, "int8, 92 MB in two parts", "B", 11264, 0, 4096, 4, 44);
        test(dev, "int8, four of 23 MB", "BBBB", 2816, 0, 4096, 8, 44);
        test(dev, "int8 of more and more rows, bf16 between", "BbBb", 256, 128, 4096, 4, 8);
        test(dev, "scales of rows", "rRbR", 1000, 128, 4096, 2, 20);
        test(dev, "scales of groups", "gGgG", 1000, 128, 4096, 2, 20);
        test(dev, "what the host converts between", "BCCBcB", 256, 128, 2048, 4, 5);
        test(dev, "lanes that grow in memory that is there", "CbB", 1536, -512, 1024, 2, 2);
    }
    dev->caps.lanes = 16;
    test_memory_of(dev, TD_F32, (size_t)96 << 20);
    test_memory_of(dev, TD_F8_E4M3, (size_t)82 << 20);
    test_memory_of(dev, TD_Q4_K, (size_t)70 << 20);
    test_memory_of(dev, TD_BF16, (size_t)56 << 20);
    dev->ops->close(&dev);
    return test_end();
}
