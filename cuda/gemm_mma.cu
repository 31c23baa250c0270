/* SPDX-License-Identifier: BSD-2-Clause
 * C[M,N] = A[M,K] B[N,K]^T with portable tensor-core instructions: int8 with one scale per 128x128 block, or bf16.
 *
 * A CTA of 8 warps makes a 128x128 tile, which is one quantisation block; a warp owns 16 rows by all 128 columns, the
 * layout the epilogue expects. K goes in steps of 128 bytes; shared rows are 128 bytes, their 16-byte chunks permuted
 * by row. */
#include "gemm.h"
#include "ptx_sm80.cuh"

#define BM 128
#define BN 128
#define STAGES 3
#define STEP_BYTES ((BM + BN) * 128)

struct MmaArgs {
    EpilogueArgs epi;
    const uint8_t *a, *b;
    const float *scale_a, *scale_b;
    int64_t row_bytes;
    int n_steps;
};

__device__ __forceinline__ int offset(int row, int chunk) { return row * 128 + ((chunk ^ (row & 7)) << 4); }

__device__ __forceinline__ void load_step(const MmaArgs &g, uint8_t *dst, int m0, int n0, int step)
{
    for (int i = threadIdx.x; i < (BM + BN) * 8; i += 256) {
        int row = i / 8, chunk = i % 8;
        bool is_b = row >= BM;
        int r = is_b ? n0 + row - BM : m0 + row;
        int64_t at = (int64_t)step * 128 + chunk * 16;
        bool ok = r < (is_b ? g.epi.n : g.epi.m) && at < g.row_bytes;

        cp_async16(dst + offset(row, chunk), (is_b ? g.b : g.a) + (ok ? r * g.row_bytes + at : 0), ok ? 16 : 0);
    }
}

__device__ __forceinline__ void mma_step(float (&acc)[64], const uint8_t *s, int warp, float scale, int8_t)
{
    int lane = threadIdx.x % 32, sum[16][4] = {};
    uint32_t fa[4], fb[4];

#pragma unroll
    for (int c = 0; c < 4; c++) {
        ldmatrix4(fa, s + offset(warp * 16 + lane % 16, c * 2 + lane / 16));
#pragma unroll
        for (int j = 0; j < 8; j++) {
            ldmatrix4(fb, s + offset(BM + j * 16 + lane % 8 + lane / 16 * 8, c * 2 + lane / 8 % 2));
            mma_s8(sum[2 * j], fa, fb[0], fb[1]);
            mma_s8(sum[2 * j + 1], fa, fb[2], fb[3]);
        }
    }
#pragma unroll
    for (int i = 0; i < 64; i++)
        acc[i] = fmaf((float)sum[i / 4][i % 4], scale, acc[i]);
}

__device__ __forceinline__ void mma_step(float (&acc)[64], const uint8_t *s, int warp, float, bf16)
{
    int lane = threadIdx.x % 32;
    uint32_t fa[4], fb[4];

#pragma unroll
    for (int c = 0; c < 4; c++) {
        ldmatrix4(fa, s + offset(warp * 16 + lane % 16, c * 2 + lane / 16));
#pragma unroll
        for (int j = 0; j < 8; j++) {
            ldmatrix4(fb, s + offset(BM + j * 16 + lane % 8 + lane / 16 * 8, c * 2 + lane / 8 % 2));
            mma_bf16(*(float(*)[4])(acc + 8 * j), fa, fb[0], fb[1]);
            mma_bf16(*(float(*)[4])(acc + 8 * j + 4), fa, fb[2], fb[3]);
        }
    }
}

template <typename T, int EPI> __global__ void __launch_bounds__(256) gemm_mma_kernel(MmaArgs g)
{
    extern __shared__ __align__(128) uint8_t smem[];
    __shared__ EpilogueVectors vectors;
    __shared__ float amax_of[8];
    int warp = threadIdx.x / 32, m0 = blockIdx.y * BM, n0 = blockIdx.x * BN;
    uint32_t keep[32];
    float acc[64] = {};

    if (threadIdx.x < BN)
        load_vectors<EPI>(&vectors, g.epi, threadIdx.x, n0);
    for (int s = 0; s < STAGES - 1; s++) {
        if (s < g.n_steps)
            load_step(g, smem + s * STEP_BYTES, m0, n0, s);
        cp_async_commit();
    }
    for (int s = 0; s < g.n_steps; s++) {
        float scale = sizeof(T) == 1 ? g.scale_a[(int64_t)blockIdx.y * g.n_steps + s] *
                                           g.scale_b[(int64_t)blockIdx.x * g.n_steps + s]
                                     : 0.0f;

        cp_async_wait<STAGES - 2>();
        __syncthreads();
        if (s + STAGES - 1 < g.n_steps)
            load_step(g, smem + (s + STAGES - 1) % STAGES * STEP_BYTES, m0, n0, s + STAGES - 1);
        cp_async_commit();
        mma_step(acc, smem + s % STAGES * STEP_BYTES, warp, scale, T());
    }
    epilogue_tile<EPI, sizeof(T) == 1>(acc, g.epi, &vectors, OtherTile{ NULL, 0 }, m0 + warp * 16, n0, keep);
    if (EPI == EPI_GELU_QUANT) {
        float amax = warp_amax(abs_max(keep));

        if (threadIdx.x % 32 == 0)
            amax_of[warp] = amax;
        __syncthreads();
        amax = nan_max(warp_amax(amax_of[threadIdx.x % 8]), 1e-8f);
        if (threadIdx.x == 0)
            g.epi.scale[(int64_t)blockIdx.y * ((g.epi.n + 127) / 128) + blockIdx.x] = amax / 128.0f;
        store_codes(keep, g.epi, m0 + warp * 16, n0, 128.0f * reciprocal(amax));
    }
}

#define GEMM_MMA_KERNELS(EPI) \
    TD_KERNEL(STAGES * STEP_BYTES, false, gemm_mma_kernel<int8_t, EPI>), \
    TD_KERNEL(STAGES * STEP_BYTES, false, gemm_mma_kernel<bf16, EPI>)

static const TDKernel kernels[] = {
    GEMM_MMA_KERNELS(EPI_STORE), GEMM_MMA_KERNELS(EPI_GELU), GEMM_MMA_KERNELS(EPI_RESIDUAL),
    GEMM_MMA_KERNELS(EPI_GEGLU), GEMM_MMA_KERNELS(EPI_GELU_QUANT),
};

template <typename T, int EPI> static int launch(TDDev *dev, const MmaArgs &g)
{
    dim3 grid((unsigned)td_blocks(g.epi.n, BN), (unsigned)td_blocks(g.epi.m, BM));
    int smem = td_cuda_shared(dev, td_kernels(kernels), (const void *)gemm_mma_kernel<T, EPI>);

    if (smem < 0)
        return smem;
    gemm_mma_kernel<T, EPI><<<grid, 256, smem, td_cuda(dev)->stream>>>(g);
    CU_LAUNCHED(dev, "gemm_mma_kernel");
    return 0;
}

template <typename T> static int dispatch(TDDev *dev, int epi, const MmaArgs &g)
{
    switch (epi) {
    case EPI_STORE:    return launch<T, EPI_STORE>(dev, g);
    case EPI_GELU:     return launch<T, EPI_GELU>(dev, g);
    case EPI_RESIDUAL: return launch<T, EPI_RESIDUAL>(dev, g);
    case EPI_GEGLU:    return launch<T, EPI_GEGLU>(dev, g);
    default:           return launch<T, EPI_GELU_QUANT>(dev, g);
    }
}

int td_cuda_gemm_mma(TDDev *dev, const TDGemm *q)
{
    MmaArgs g = {};

    g.epi = q->epi;
    g.a = (const uint8_t *)q->a;
    g.b = (const uint8_t *)q->b;
    g.scale_a = q->scale_a;
    g.scale_b = q->scale_b;
    g.row_bytes = q->k * (q->int8 ? 1 : 2);
    g.n_steps = (int)td_blocks(g.row_bytes, 128);
    return q->int8 ? dispatch<int8_t>(dev, q->epilogue, g) : dispatch<bf16>(dev, q->epilogue, g);
}

TDKernels td_cuda_in_gemm_mma(void) { return td_kernels(kernels); }
