/* SPDX-License-Identifier: BSD-2-Clause
 * The matrix product behind every linear of the CPU backend.
 *
 * A task is a block of up to BLOCKS x mb rows by NT columns over all of K. It packs NT columns of B once per KC steps
 * and streams blocks of mb rows of A past them, widened; sums stay in the task's f32 tile until K is done, then go to
 * `store`. Of int8 both are int16, else f32. mb is 126 = 21 tiles of TD_MR, or 128 with block scales so that a block of
 * rows has one scale. */
#include "cpu/cpu.h"

#define KC 256
#define BLOCKS 4
#define NT 512
#define A_FLOATS (128 * KC)
#define B_FLOATS (NT * KC + 8)
#define C_FLOATS (BLOCKS * (128 / TD_MR + 1) * TD_MR * NT)
_Static_assert(A_FLOATS + B_FLOATS + C_FLOATS <= TD_CPU_SCRATCH, "the tiles of one task fit in a worker's scratch");
_Static_assert(NT % 128 == 0 && KC % 128 == 0, "a panel or step never straddles a scale block");

typedef struct Gemm {
    TDCpu *cpu;
    int64_t m, n, k, mb, task_m, task_n, n_tasks_n;
    const TDRows *a, *b;
    const TDBlockScales *scales;
    TDStore store;
    void *ctx;
} Gemm;

int64_t td_rows_matrix(const void *ctx, int64_t r0, int n, int64_t k0, const void *row[8])
{
    const TDMatrix *m = ctx;

    for (int i = 0; i < n; i++)
        row[i] = (const uint8_t *)m->data + ((r0 + i) * m->ld + k0) * (int64_t)m->elem;
    return m->k - k0;
}

void td_cpu_pack(const TDKernels *kern, float *dst, int width, const TDRows *src, int64_t r0, int n_rows, int64_t k0,
                 int64_t kc)
{
    for (int r = 0; r < width; r += 8) {
        int n = n_rows - r < 0 ? 0 : n_rows - r > 8 ? 8 : n_rows - r;
        const void *row[8];

        n = n > width - r ? width - r : n;
        for (int64_t k = 0, run; k < kc; k += run) {
            for (int i = 0; i < 8; i++)
                row[i] = NULL;
            run = n > 0 ? src->at(src->ctx, r0 + r, n, k0 + k, row) : kc;
            run = run > kc - k ? kc - k : run;
            if (src->dtype == TD_BF16)
                kern->pack_bf16(dst + k * width + r, width, (const uint16_t *const *)row, run);
            else if (src->dtype == TD_I8)
                kern->pack_i8((int16_t *)dst + k * width + 2 * r, (const int8_t *const *)row, run);
            else
                kern->pack_f32(dst + k * width + r, width, (const float *const *)row, run);
        }
    }
}

void td_cpu_widen(float *restrict dst, const uint16_t *restrict src, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        dst[i] = td_bf16_to_f32(src[i]);
}

static void widen_i8(int16_t *restrict dst, const int8_t *restrict src, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        dst[i] = src[i];
    if (n % 2)
        dst[n] = 0;
}

void td_cpu_widen_rows(void *dst, const TDRows *src, int64_t r0, int64_t n_rows, int64_t k0, int64_t kc)
{
    for (int64_t r = 0; r < n_rows; r++) {
        const void *row[8];

        src->at(src->ctx, r0 + r, 1, k0, row);
        if (src->dtype == TD_BF16)
            td_cpu_widen((float *)dst + r * kc, row[0], kc);
        else if (src->dtype == TD_I8)
            widen_i8((int16_t *)dst + r * (kc + kc % 2), row[0], kc);
        else
            memcpy((float *)dst + r * kc, row[0], (size_t)kc * sizeof(float));
    }
}

/* rows 0 to n - 1 of a, and, up to a whole tile, the last one again */
#define TILE_ROWS(row, a, lda, n)                                                                                      \
    for (int64_t tr = 0; tr < TD_MR; tr++)                                                                             \
        row[tr] = (a) + (tr < (n) ? tr : (n) - 1) * (lda);

void td_cpu_product(const TDKernels *kern, int64_t m, int64_t n_panels, int64_t kc, const float *a, int64_t lda,
                    const float *b, float *c, int64_t ldc, int zero)
{
    TDRuns k = { 1, kc, (int64_t[1]){ 0 } };
    const float *row[TD_MR];

    for (int64_t j = 0; j < n_panels; j++)
        for (int64_t i = 0; i < m; i += TD_MR) {
            TILE_ROWS(row, a + i * lda, lda, m - i)
            kern->tile(&k, row, b + j * TD_NR * kc, c + i * ldc + j * TD_NR, ldc, zero);
        }
}

void td_cpu_product_i8(const TDKernels *kern, int64_t m, int64_t pairs, const int16_t *a, int64_t lda, const int16_t *b,
                       float *c, int64_t ldc, float scale, int zero)
{
    const int16_t *row[TD_MR];

    for (int64_t i = 0; i < m; i += TD_MR) {
        TILE_ROWS(row, a + i * lda, lda, m - i)
        kern->tile_i8(pairs, row, b, c + i * ldc, ldc, scale, zero);
    }
}

/* one block of rows against the packed columns, over kc steps from k0; a, b: float, or with scales int16 */
static void block_product(const Gemm *g, const void *a, const void *b, float *c, int64_t m0, int64_t m, int64_t n0,
                          int64_t n_panels, int64_t k0, int64_t kc)
{
    const TDBlockScales *s = g->scales;
    int64_t even = kc + kc % 2;

    if (!s)
        td_cpu_product(g->cpu->k, m, n_panels, kc, a, kc, b, c, g->task_n, k0 == 0);
    for (int64_t k = 0; k < kc && s; k += 128) {
        int64_t depth = even - k < 128 ? even - k : 128, kb = (k0 + k) / 128;
        float sa = s->a[m0 / 128 * s->kb + kb];

        for (int64_t j = 0; j < n_panels; j++)
            td_cpu_product_i8(g->cpu->k, m, depth / 2, (const int16_t *)a + k, even,
                              (const int16_t *)b + (j * even + k) * TD_NR, c + j * TD_NR, g->task_n,
                              sa * s->b[(n0 + j * TD_NR) / 128 * s->kb + kb], kb == 0);
    }
}

static void gemm_task(void *arg, int64_t task, int worker)
{
    const Gemm *g = arg;
    const TDKernels *kern = g->cpu->k;
    float *a = g->cpu->scratch[worker], *b = a + A_FLOATS, *c = b + B_FLOATS;
    int64_t m0 = task / g->n_tasks_n * g->task_m, n0 = task % g->n_tasks_n * g->task_n;
    int64_t m = g->m - m0 < g->task_m ? g->m - m0 : g->task_m, n = g->n - n0 < g->task_n ? g->n - n0 : g->task_n;
    int64_t n_panels = (n + TD_NR - 1) / TD_NR, block_rows = (g->mb + TD_MR - 1) / TD_MR * TD_MR;

    for (int64_t k0 = 0; k0 < g->k; k0 += KC) {
        int64_t kc = g->k - k0 < KC ? g->k - k0 : KC, panel = TD_NR * (g->scales ? (kc + 1) / 2 : kc);

        for (int64_t j = 0; j < n_panels; j++)
            td_cpu_pack(kern, b + j * panel, TD_NR, g->b, n0 + j * TD_NR,
                        (int)(n - j * TD_NR < TD_NR ? n - j * TD_NR : TD_NR), k0, kc);
        for (int64_t r = 0, block = 0; r < m; r += g->mb, block++) {
            int64_t rows = m - r < g->mb ? m - r : g->mb;

            td_cpu_widen_rows(a, g->a, m0 + r, rows, k0, kc);
            block_product(g, a, b, c + block * block_rows * g->task_n, m0 + r, rows, n0, n_panels, k0, kc);
        }
    }
    for (int64_t r = 0, block = 0; r < m; r += g->mb, block++)
        g->store(g->ctx, m0 + r, m - r < g->mb ? m - r : g->mb, n0, n, c + block * block_rows * g->task_n, g->task_n);
}

int td_cpu_gemm(TDCpu *cpu, int64_t m, int64_t n, int64_t k, const TDRows *a, const TDRows *b,
                const TDBlockScales *scales, TDStore store, void *ctx)
{
    Gemm g = { .cpu = cpu, .m = m, .n = n, .k = k, .mb = scales ? 128 : 126, .a = a, .b = b, .scales = scales,
               .store = store, .ctx = ctx };
    int64_t blocks = BLOCKS, n_tasks_m;

    if (m <= 0 || n <= 0)
        return 0;
    /* smaller tasks until every worker has a few */
    for (g.task_n = NT;; ) {
        g.task_m = blocks * g.mb;
        g.n_tasks_n = (n + g.task_n - 1) / g.task_n;
        n_tasks_m = (m + g.task_m - 1) / g.task_m;
        if (n_tasks_m * g.n_tasks_n >= 4 * cpu->n_threads)
            break;
        if (blocks > 1)
            blocks /= 2;
        else if (g.task_n > 128)
            g.task_n /= 2;
        else
            break;
    }
    return td_parallel(cpu->pool, n_tasks_m * g.n_tasks_n, gemm_task, &g);
}
