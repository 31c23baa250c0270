/* SPDX-License-Identifier: BSD-2-Clause
 * C[M,N] = A[M,K] B[N,K]^T with portable tensor-core instructions: int8 with one scale per 128x128 block, or bf16.
 *
 * A CTA of 8 warps makes 128 rows by 256 columns, two quantisation blocks; a warp owns 64x64 of it, so that shared
 * memory is read no faster than it can be. K goes in steps of 128 bytes, one ahead; shared rows are 128 bytes, their
 * 16-byte chunks permuted by row. Tiles go in bands of BAND tile rows, so that what CTAs at work together read stays
 * in L2. */
#include "gemm.h"
#include "ptx_sm80.cuh"

#define BM 128
#define BN 256
#define WARPS_N 4
#define THREADS 256
#define STEP_BYTES ((BM + BN) * 128)
#define BAND 8

struct MmaArgs {
    EpilogueArgs epi;
    const uint8_t *a, *b;
    const float *scale_a, *scale_b;
    int64_t row_bytes, row_32;                   /* bytes of a row, of 32 rows */
    int n_steps, tiles_m, tiles_n;
};

__device__ __forceinline__ int offset(int row, int chunk) { return row * 128 + ((chunk ^ (row & 7)) << 4); }

/* What a thread brings: one chunk of every 32nd row of A and B, a step after the other. */
struct Loader {
    const uint8_t *a, *b;
    uint32_t in;                                 /* bits: which of its rows of A, then of B, are there */

    __device__ __forceinline__ Loader(const MmaArgs &g, int m0, int n0)
    {
        int row = threadIdx.x / 8, chunk = threadIdx.x % 8;

        a = g.a + (m0 + row) * g.row_bytes + chunk * 16;
        b = g.b + (n0 + row) * g.row_bytes + chunk * 16;
        in = 0;
        for (int i = 0; i < BM / 32; i++)
            in |= (uint32_t)(m0 + row + i * 32 < g.epi.m) << i;
        for (int i = 0; i < BN / 32; i++)
            in |= (uint32_t)(n0 + row + i * 32 < g.epi.n) << (BM / 32 + i);
    }

    __device__ __forceinline__ void step(const MmaArgs &g, uint32_t dst, int s)
    {
        uint32_t there = s * 128 + threadIdx.x % 8 * 16 < g.row_bytes ? in : 0;

        dst += offset(threadIdx.x / 8, threadIdx.x % 8);
#pragma unroll
        for (int i = 0; i < (BM + BN) / 32; i++)
            cp_async16(dst + i * 32 * 128, (i < BM / 32 ? a : b - BM / 32 * g.row_32) + i * g.row_32,
                       there >> i & 1 ? 16 : 0);
        a += 128;
        b += 128;
    }
};

/* A lane's rows for ldmatrix in a step: of A 16 by 32 bytes of k, of B 8 by 64. Rows are 128 bytes apart, so that
 * another part of k is bits 5 and 6 turned over. */
struct Lanes {
    uint32_t a, b;

    __device__ __forceinline__ Lanes(uint32_t step, int wm, int wn)
    {
        int lane = threadIdx.x % 32;

        a = step + offset(wm * 64 + lane % 16, lane / 16);
        b = step + offset(BM + wn * 64 + lane % 8, lane / 8);
    }
    __device__ __forceinline__ uint32_t at_a(int m, int c) const { return (a ^ c << 5) + m * 16 * 128; }
    __device__ __forceinline__ uint32_t at_b(int n, int pair) const { return (b ^ pair << 6) + n * 8 * 128; }
};

/* A warp's operands and sums. A step's rows of A stay in registers; columns of B come 8 at a time, half of them while
 * the products of the other half run. int8: each 64x8 of a step is a sum of its own, since every step has a scale of
 * its own; it is added to the result while the products of the next 64x8 run. */
template <bool INT8> struct Products {
    uint32_t a[4][4][4], b[2][4];
    int sum[2][4][4];

    __device__ __forceinline__ void read_a(const Lanes &at, int c)
    {
#pragma unroll
        for (int m = 0; m < 4; m++)
            ldmatrix4(a[c][m], at.at_a(m, c));
    }
    __device__ __forceinline__ void read_b(const Lanes &at, int n, int pair) { ldmatrix4(b[pair], at.at_b(n, pair)); }

    /* 32 bytes of k */
    __device__ __forceinline__ void multiply(float (&acc)[4][32], int n, int c)
    {
#pragma unroll
        for (int m = 0; m < 4; m++)
            if constexpr (INT8) {
                if (c == 0)
                    mma_s8_new(sum[n % 2][m], a[c][m], b[c / 2][c % 2 * 2], b[c / 2][c % 2 * 2 + 1]);
                else
                    mma_s8(sum[n % 2][m], a[c][m], b[c / 2][c % 2 * 2], b[c / 2][c % 2 * 2 + 1]);
            } else {
                mma_bf16(*(float(*)[4])(acc[m] + 4 * n), a[c][m], b[c / 2][c % 2 * 2], b[c / 2][c % 2 * 2 + 1]);
            }
    }
    __device__ __forceinline__ void add(float (&acc)[4][32], int n, float scale)
    {
        if constexpr (INT8)
#pragma unroll
            for (int m = 0; m < 4; m++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    acc[m][n * 4 + i] = fmaf((float)sum[n % 2][m][i], scale, acc[m][n * 4 + i]);
    }
};

template <typename T, int EPI> __global__ void __launch_bounds__(THREADS) gemm_mma_kernel(MmaArgs g)
{
    constexpr bool INT8 = sizeof(T) == 1;
    extern __shared__ __align__(128) uint8_t smem[];
    __shared__ EpilogueVectors vectors[2];
    __shared__ float amax_of[8];
    const uint32_t stages = shared_address(smem);
    int warp = threadIdx.x / 32, wm = warp / WARPS_N, wn = warp % WARPS_N;
    int band = blockIdx.x / (BAND * g.tiles_n), in_band = blockIdx.x % (BAND * g.tiles_n),
        rows = min(BAND, g.tiles_m - band * BAND), m_tile = band * BAND + in_band % rows, n_tile = in_band / rows;
    int m0 = m_tile * BM, n0 = n_tile * BN, n_blocks = (g.epi.n + 127) / 128,
        block = min(n_tile * 2 + wn / 2, n_blocks - 1);
    float acc[4][32] = {};
    Loader load(g, m0, n0);

    load_vectors<EPI>(&vectors[threadIdx.x / 128], g.epi, threadIdx.x % 128, n0 + threadIdx.x / 128 * 128);
    load.step(g, stages, 0);
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
    if (g.n_steps > 1)
        load.step(g, stages + STEP_BYTES, 1);
    cp_async_commit();
    Products<INT8> p;
    float last_scale = 0, scale_a = 0, scale_b = 0;

    if (INT8) {
        scale_a = g.scale_a[m_tile * g.n_steps];
        scale_b = g.scale_b[block * g.n_steps];
    }

    for (int c = 0; c < 4; c++)
        p.read_a(Lanes(stages, wm, wn), c);
    for (int s = 0; s < g.n_steps; s++) {
        const uint32_t stage = stages + s % 2 * STEP_BYTES;
        const Lanes at(stage, wm, wn), next(stages + (s + 1) % 2 * STEP_BYTES, wm, wn);
        float scale = scale_a * scale_b;

        if (INT8 && s + 1 < g.n_steps) {         /* long before they are needed */
            scale_a = g.scale_a[m_tile * g.n_steps + s + 1];
            scale_b = g.scale_b[block * g.n_steps + s + 1];
        }
        p.read_b(at, 0, 0);
        p.read_b(at, 0, 1);
#pragma unroll
        for (int n = 0; n < 7; n++) {
            p.multiply(acc, n, 0);
            p.multiply(acc, n, 1);
            p.read_b(at, n + 1, 0);
            p.multiply(acc, n, 2);
            p.multiply(acc, n, 3);
            p.read_b(at, n + 1, 1);
            if (n > 0)
                p.add(acc, n - 1, scale);
            else if (s > 0)
                p.add(acc, 7, last_scale);
        }
        cp_async_wait<0>();                      /* the next step is there, and nobody reads this one any more */
        __syncthreads();
        if (s + 2 < g.n_steps)
            load.step(g, stage, s + 2);
        cp_async_commit();
#pragma unroll
        for (int c = 0; c < 4; c++) {
            p.multiply(acc, 7, c);
            if (s + 1 < g.n_steps)
                p.read_a(next, c);
        }
        p.add(acc, 6, scale);
        last_scale = scale;
    }
    p.add(acc, 7, last_scale);

    uint32_t keep[4][16];
    int n_block = n0 + wn / 2 * 128, c0 = wn % 2 * 64, row = m0 + wm * 64;

#pragma unroll
    for (int m = 0; m < 4; m++)
        epilogue_tile<EPI, INT8, 2>(acc[m], g.epi, &vectors[wn / 2], OtherTile{ NULL, 0 }, row + m * 16, n_block, c0,
                                    keep[m]);
    if (EPI == EPI_GELU_QUANT) {
        float amax = nan_max(nan_max(abs_max(keep[0]), abs_max(keep[1])), nan_max(abs_max(keep[2]), abs_max(keep[3])));

        amax = warp_amax(amax);
        if (threadIdx.x % 32 == 0)
            amax_of[warp] = amax;
        __syncthreads();
        warp = wn / 2 * 2;                       /* the block's four: two across, in both rows of warps */
        amax = nan_max(nan_max(amax_of[warp], amax_of[warp + 1]),
                       nan_max(amax_of[WARPS_N + warp], amax_of[WARPS_N + warp + 1]));
        amax = nan_max(amax, 1e-8f);
        if (threadIdx.x % 64 == 0 && wm == 0 && n_block < g.epi.n)
            g.epi.scale[(int64_t)m_tile * n_blocks + block] = amax / 128.0f;
#pragma unroll
        for (int m = 0; m < 4; m++)
            store_codes(keep[m], g.epi, row + m * 16, n_block + c0, 128.0f * reciprocal(amax));
    }
}

#define GEMM_MMA_KERNELS(EPI) \
    TD_KERNEL(2 * STEP_BYTES, false, gemm_mma_kernel<int8_t, EPI>), \
    TD_KERNEL(2 * STEP_BYTES, false, gemm_mma_kernel<bf16, EPI>)

static const TDKernel kernels[] = {
    GEMM_MMA_KERNELS(EPI_STORE), GEMM_MMA_KERNELS(EPI_GELU), GEMM_MMA_KERNELS(EPI_RESIDUAL),
    GEMM_MMA_KERNELS(EPI_GEGLU), GEMM_MMA_KERNELS(EPI_GELU_QUANT),
};

template <typename T, int EPI> static int launch(TDDev *dev, const MmaArgs &g)
{
    int smem = td_cuda_shared(dev, td_kernels(kernels), (const void *)gemm_mma_kernel<T, EPI>);

    if (smem < 0)
        return smem;
    gemm_mma_kernel<T, EPI><<<(unsigned)(g.tiles_m * g.tiles_n), THREADS, smem, td_cuda(dev)->stream>>>(g);
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
    g.row_32 = 32 * g.row_bytes;
    g.n_steps = (int)td_blocks(g.row_bytes, 128);
    g.tiles_m = (int)td_blocks(q->epi.m, BM);
    g.tiles_n = (int)td_blocks(q->epi.n, BN);
    return q->int8 ? dispatch<int8_t>(dev, q->epilogue, g) : dispatch<bf16>(dev, q->epilogue, g);
}

TDKernels td_cuda_in_gemm_mma(void) { return td_kernels(kernels); }
