/* SPDX-License-Identifier: BSD-2-Clause
 * Private to the CPU backend: its device struct, the matrix product all slots share, and the slots by file. */
#ifndef TD_CPU_CPU_H
#define TD_CPU_CPU_H

#include "seam/backend.h"
#include "cpu/kernels.h"
#include "base/thread.h"

typedef struct TDCpu {
    TDDev dev;
    TDPool *pool;
    int n_threads;
    const TDKernels *k;
    float **scratch;                             ///< one block of TD_CPU_SCRATCH floats per worker
    uint16_t *gelu, *gelu_t5;                    ///< bf16 -> bf16 tables of 65,536
    char description[64];
} TDCpu;

#define TD_CPU_SCRATCH (1 << 19)                 /* floats */

static inline TDCpu *td_cpu(TDDev *dev) { return (TDCpu *)dev; }

/** fmaxf(most, x): GCC 12 for aarch64 breaks down at a loop of that over converted values. */
static inline float td_most(float most, float x) { return x > most ? x : most; }

/* ---- matrix product (gemm.c) ---- */

/** Rows of an operand, element (r,k) addressed through row pointers so that a convolution can gather. */
typedef struct TDRows {
    enum TDDtype dtype;                          ///< TD_BF16, TD_I8, TD_F32
    /** row[i] = element (r0+i, k0), NULL = zeros, for i < n <= 8; @return how many k from k0 on are contiguous there */
    int64_t (*at)(const void *ctx, int64_t r0, int n, int64_t k0, const void *row[8]);
    const void *ctx;
} TDRows;

/** Plain row-major matrix as TDRows.ctx with td_rows_matrix(). */
typedef struct TDMatrix { const void *data; int64_t ld; int64_t k; size_t elem; } TDMatrix;
int64_t td_rows_matrix(const void *ctx, int64_t r0, int n, int64_t k0, const void *row[8]);

/** int8 operands: one f32 scale per 128x128 block of A [M/128, kb] and of B [N/128, kb]. */
typedef struct TDBlockScales { const float *a, *b; int64_t kb; } TDBlockScales;

/** Receives finished values c[i*ldc + j] of rows m0+i, columns n0+j, and may change them; called once per tile, from
 *  any worker. */
typedef void (*TDStore)(void *ctx, int64_t m0, int64_t m, int64_t n0, int64_t n, float *c, int64_t ldc);

/** C[M,N] = A[M,K] B[N,K]^T in f32, ascending k; with scales, exact integer sums per 128-deep block. */
int td_cpu_gemm(TDCpu *cpu, int64_t m, int64_t n, int64_t k, const TDRows *a, const TDRows *b,
                const TDBlockScales *scales, TDStore store, void *ctx);

/** dst[n_rows][kc] f32, of int8 int16 with kc rounded up to pairs: rows of src from r0 on, k from k0 on */
void td_cpu_widen_rows(void *dst, const TDRows *src, int64_t r0, int64_t n_rows, int64_t k0, int64_t kc);
/** dst[n] f32 = bf16 src[n] */
void td_cpu_widen(float *restrict dst, const uint16_t *restrict src, int64_t n);

/** Pack n_rows rows (<= width) of src into [k][width], of int8 into int16 [k/2][TD_NR][2], zero-filled; dst needs 8
 *  floats of slack. */
void td_cpu_pack(const TDKernels *k, float *dst, int width, const TDRows *src, int64_t r0, int n_rows, int64_t k0,
                 int64_t kc);

/** c[m][n_panels*TD_NR] = a [m][kc] x packed b over kc; zero: start at 0. c has room for whole tiles. */
void td_cpu_product(const TDKernels *k, int64_t m, int64_t n_panels, int64_t kc, const float *a, int64_t lda,
                    const float *b, float *c, int64_t ldc, int zero);
/** c[m][TD_NR] = fma(sum, scale, c) of int16 a and b over pairs of k, as TDKernels.tile_i8 */
void td_cpu_product_i8(const TDKernels *k, int64_t m, int64_t pairs, const int16_t *a, int64_t lda, const int16_t *b,
                       float *c, int64_t ldc, float scale, int zero);

/* ---- quantisation (quant.c) ---- */
int  td_cpu_quantise_act(TDCpu *cpu, TDAct *act);          ///< act->x -> code, scale; no-op without code
float td_e4m3_round(float x);                              ///< nearest e4m3 value, saturating at 448

/* ---- slots ---- */
int td_cpu_linear(TDDev *, TDTensor *, const TDAct *, const TDLinear *);
int td_cpu_linear_gelu(TDDev *, TDAct *, const TDAct *, const TDLinear *);
int td_cpu_linear_residual(TDDev *, TDTensor *, const TDAct *, const TDLinear *, const float *);
int td_cpu_linear_geglu(TDDev *, TDTensor *, TDTensor *, const TDAct *, const TDLinear *, const TDLinear *);
/** y[m,N] f32 = x[m,K] f32 times widened weights plus bias, no rounding to bf16 */
int td_cpu_linear_f32(TDCpu *, float *y, const float *x, int64_t m, const TDLinear *);

int td_cpu_norm_modulate(TDDev *, TDAct *, const TDTensor *, const TDNormW *, const float *, const float *);
int td_cpu_rms_norm(TDDev *, TDAct *, const TDTensor *, const TDNormW *);
int td_cpu_qk_norm_rope(TDDev *, TDQkv *, const TDNormW *, const TDNormW *, const TDTensor *);
int td_cpu_rms_silu(TDDev *, TDTensor *, const TDTensor *, const float *, int);
/** mean and 1/std of one row by the profile's rule; x: bf16 [n] */
void td_cpu_layer_stats(const uint16_t *x, int64_t n, const TDNormW *norm, float *mean, float *rstd);

int td_cpu_plan_qkv(TDDev *, TDArena *, TDQkv *);
int td_cpu_attn_dense(TDDev *, TDAct *, TDQkv *);
int td_cpu_attn_sla(TDDev *, TDAct *, TDQkv *, const TDLinear *);
int td_cpu_attn_t5(TDDev *, TDTensor *, const TDTensor *, const TDTensor *, int64_t);

int td_cpu_patch_embed(TDDev *, TDTensor *, const TDTensor *, const TDTensor *, const TDLinear *);
int td_cpu_time_embed(TDDev *, TDTensor *, TDTensor *, double, const TDTimeEmbed *);
int td_cpu_add_modulation(TDDev *, TDTensor *, const TDTensor *, const TDTensor *);
int td_cpu_head(TDDev *, TDTensor *, const TDTensor *, const TDNormW *, const TDTensor *, const TDLinear *);
int td_cpu_normal(TDDev *, TDTensor *, TDRng *, float *);
int td_cpu_scale_noise(TDDev *, TDTensor *, const TDTensor *, double);
int td_cpu_round_state(TDDev *, TDTensor *, const TDTensor *, int *);
int td_cpu_rcm_step(TDDev *, TDTensor *, const TDTensor *, const TDTensor *, double, double);

int td_cpu_vae_unscale(TDDev *, TDTensor *, const TDTensor *, int64_t, int);
int td_cpu_vae_scale(TDDev *, TDTensor *, const TDTensor *, int64_t, int);
int td_cpu_keep_frames(TDDev *, TDTensor *, const TDTensor *);
int td_cpu_repeat_frame(TDDev *, TDTensor *, const TDTensor *);
int td_cpu_causal_conv3d(TDDev *, TDTensor *, const TDTensor *, const TDTensor *, const TDConv *, const TDTensor *);
int td_cpu_fetch_frame(TDDev *, TDFrame *, TDFrameSet *, int64_t, int *);

#endif /* TD_CPU_CPU_H */
