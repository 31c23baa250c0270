/* SPDX-License-Identifier: BSD-2-Clause
 * C[M,N] = A[M,K] B[N,K]^T with portable tensor-core instructions: int8 with one scale per 128x128 block, or bf16.
 *
 * A CTA of 8 warps makes 128 rows by 256 columns, two quantisation blocks; a warp owns 64x64 of it, so that shared
 * memory is read no faster than it can be. K goes in steps of 128 bytes, one ahead. Warps wait for data and for room,
 * never for each other: those that share a scheduler drift apart, and one multiplies while the other one reads. Shared
 * rows are 128 bytes, their 16-byte chunks permuted by row. Tiles go in bands of BAND tile rows, so that what CTAs at
 * work together read stays in L2. */
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

/* What a thread brings: one chunk of every 32nd row of A and B, a step after the other. Pointers walk down the rows,
 * then back and on to the next step. */
struct Loader {
    static const int rows = (BM + BN) / 32;
    const uint8_t *a, *b;
    uint32_t in, dst;                            /* in: bits, which of its rows of A, then of B, are there */

    __device__ __forceinline__ Loader(const MmaArgs &g, int m0, int n0)
    {
        int row = threadIdx.x / 8, chunk = threadIdx.x % 8;

        a = g.a + (m0 + row) * g.row_bytes + chunk * 16;
        b = g.b + (n0 + row) * g.row_bytes + chunk * 16;
        dst = offset(row, chunk);
        in = 0;
        for (int i = 0; i < BM / 32; i++)
            in |= (uint32_t)(m0 + row + i * 32 < g.epi.m) << i;
        for (int i = 0; i < BN / 32; i++)
            in |= (uint32_t)(n0 + row + i * 32 < g.epi.n) << (BM / 32 + i);
    }
    /* of its rows those that are there in step s; none past the last one */
    __device__ __forceinline__ uint32_t there(const MmaArgs &g, int s) const
    {
        return s * 128 + threadIdx.x % 8 * 16 < g.row_bytes ? in : 0;
    }
    __device__ __forceinline__ void row(const MmaArgs &g, uint32_t stage, int i, uint32_t there)
    {
        cp_async16(stage + dst + i * 32 * 128, i < BM / 32 ? a : b, there >> i & 1 ? 16 : 0);
        if (i < BM / 32)
            a += g.row_32;
        else
            b += g.row_32;
    }
    __device__ __forceinline__ void next(const MmaArgs &g)
    {
        a += 128 - g.row_32 * (BM / 32);
        b += 128 - g.row_32 * (BN / 32);
    }
};

/* Two of each, one a stage: the step's bytes are there; nobody reads it any more. Use i of a stage has parity i.
 * A lane arrives for its warp: the compiler leaves the warp's own barrier out where its lanes are together, and so
 * racecheck misses what orders the reads of the others. TD_EACH_LANE (make racecheck) has all arrive, 9 % slower. */
#ifdef TD_EACH_LANE
#define ARRIVALS THREADS
#else
#define ARRIVALS (THREADS / 32)
#endif
struct Barriers {
    uint32_t full, empty;

    __device__ __forceinline__ Barriers(uint64_t (&bars)[4]) : full(shared_address(bars)), empty(full + 16)
    {
        if (threadIdx.x == 0)
            for (int i = 0; i < 2; i++) {
                mbarrier_init(full + i * 8, THREADS);
                mbarrier_init(empty + i * 8, ARRIVALS);
            }
    }
    __device__ __forceinline__ void loaded(int s) const { mbarrier_arrive_loaded(full + s % 2 * 8); }
    __device__ __forceinline__ void wait_full(int s) const { mbarrier_wait(full + s % 2 * 8, s / 2 & 1); }
    __device__ __forceinline__ void wait_empty(int s) const { mbarrier_wait(empty + s % 2 * 8, s / 2 & 1); }
    __device__ __forceinline__ void has_read(int s) const
    {
        __syncwarp();
        if (ARRIVALS == THREADS || threadIdx.x % 32 == 0)
            mbarrier_arrive(empty + s % 2 * 8);
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
                    acc[m][n * 4 + i] = fmaf(sum_float(sum[n % 2][m][i]), scale, acc[m][n * 4 + i]);
    }
};

/* Where a warp is: its tile, its place in it. Made anew behind the loop, in which no register is free to keep it. */
struct Place {
    int m_tile, n_tile, wm, wn;

    __device__ __forceinline__ Place(const MmaArgs &g)
    {
        int thread, tile, band, in_band, rows;

        asm volatile("mov.u32 %0, %%tid.x;\n mov.u32 %1, %%ctaid.x;" : "=r"(thread), "=r"(tile));
        band = tile / (BAND * g.tiles_n);
        in_band = tile % (BAND * g.tiles_n);
        rows = min(BAND, g.tiles_m - band * BAND);
        m_tile = band * BAND + in_band % rows;
        n_tile = in_band / rows;
        wm = thread / 32 / WARPS_N;
        wn = thread / 32 % WARPS_N;
    }
    /* the quantisation block of its columns */
    __device__ __forceinline__ int block(const MmaArgs &g) const
    {
        return min(n_tile * 2 + wn / 2, (g.epi.n + 127) / 128 - 1);
    }
};

template <typename T, int EPI> __global__ void __launch_bounds__(THREADS) gemm_mma_kernel(MmaArgs g)
{
    constexpr bool INT8 = sizeof(T) == 1;
    extern __shared__ __align__(128) uint8_t smem[];
    __shared__ EpilogueVectors vectors[2];
    __shared__ float amax_of[8];
    __shared__ uint64_t barriers[4];
    const uint32_t stages = shared_address(smem);
    const Place from(g);
    const int n0 = from.n_tile * BN;
    float acc[4][32] = {};
    const Barriers bars(barriers);
    Loader load(g, from.m_tile * BM, n0);

    for (int i = 0; i < Loader::rows; i++)
        load.row(g, stages, i, load.there(g, 0));
    load.next(g);
    load_vectors<EPI_KIND(EPI)>(&vectors[threadIdx.x / 128], g.epi, threadIdx.x % 128, n0 + threadIdx.x / 128 * 128);
    __syncthreads();                             /* vectors and barriers are there for all */
    bars.loaded(0);
    bars.wait_full(0);
    Products<INT8> p;
    const Lanes first(stages, from.wm, from.wn);
    const int at_scale_a = from.m_tile * g.n_steps, at_scale_b = from.block(g) * g.n_steps;
    float last_scale = 0;

    for (int c = 0; c < 4; c++)
        p.read_a(first, c);
    p.read_b(first, 0, 0);
    p.read_b(first, 0, 1);
#pragma unroll 1
    for (int s = 0; s < g.n_steps; s++) {
        const uint32_t other = stages + (s + 1) % 2 * STEP_BYTES, there = load.there(g, s + 1);
        const Lanes at(stages + s % 2 * STEP_BYTES, from.wm, from.wn), next(other, from.wm, from.wn);
        float scale = INT8 ? g.scale_a[at_scale_a + s] * g.scale_b[at_scale_b + s] : 0;

#pragma unroll
        for (int n = 0; n < 7; n++) {
            p.multiply(acc, n, 0);
            p.multiply(acc, n, 1);
            p.read_b(at, n + 1, 0);
            p.multiply(acc, n, 2);
            p.multiply(acc, n, 3);
            p.read_b(at, n + 1, 1);
            if (n == 1 && s > 0)
                bars.wait_empty(s - 1);
            if (n == 1 || n == 2)                /* early, but not when all warps read A */
#pragma unroll
                for (int i = (n - 1) * Loader::rows / 2; i < n * Loader::rows / 2; i++)
                    load.row(g, other, i, there);
            if (n == 2)
                bars.loaded(s + 1);
            if (n > 0)
                p.add(acc, n - 1, scale);
            else if (s > 0)
                p.add(acc, 7, last_scale);
        }
        load.next(g);
        bars.has_read(s);
        bars.wait_full(s + 1);
#pragma unroll
        for (int c = 0; c < 4; c++) {            /* what is read past the last step is zeros, and never used */
            p.multiply(acc, 7, c);
            p.read_a(next, c);
            if (c % 2)
                p.read_b(next, 0, c / 2);
        }
        p.add(acc, 6, scale);
        last_scale = scale;
    }
    p.add(acc, 7, last_scale);

    const Place to(g);
    const EpilogueVectors *columns = &vectors[to.wn / 2];
    uint32_t keep[4][16];
    int n_block = to.n_tile * BN + to.wn / 2 * 128, c0 = to.wn % 2 * 64, row = to.m_tile * BM + to.wm * 64;

#pragma unroll
    for (int m = 0; m < 4; m++)
        epilogue_tile<EPI, INT8, 2>(acc[m], g.epi, columns, OtherTile{ NULL, 0 }, row + m * 16, n_block, c0, keep[m]);
    if (EPI_KIND(EPI) == EPI_GELU_QUANT) {
        float amax = nan_max(nan_max(abs_max(keep[0]), abs_max(keep[1])), nan_max(abs_max(keep[2]), abs_max(keep[3])));
        int first = to.wn / 2 * 2;               /* of the block's four: two across, in both rows of warps */

        amax = warp_amax(amax);
        if (threadIdx.x % 32 == 0)
            amax_of[threadIdx.x / 32] = amax;
        __syncthreads();
        amax = nan_max(nan_max(amax_of[first], amax_of[first + 1]),
                       nan_max(amax_of[WARPS_N + first], amax_of[WARPS_N + first + 1]));
        amax = nan_max(amax, 1e-8f);
        if (threadIdx.x % 64 == 0 && to.wm == 0 && n_block < g.epi.n)
            g.epi.scale[(int64_t)to.m_tile * ((g.epi.n + 127) / 128) + to.block(g)] = amax / 128.0f;
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
    TD_KERNEL(2 * STEP_BYTES, false, gemm_mma_kernel<int8_t, EPI_STORE | EPI_ADD>),
    TD_KERNEL(2 * STEP_BYTES, false, gemm_mma_kernel<int8_t, EPI_RESIDUAL | EPI_ADD>),
    TD_KERNEL(2 * STEP_BYTES, false, gemm_mma_kernel<int8_t, EPI_GELU_QUANT | EPI_ADD>),
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

/* int8 with something added */
static int dispatch_add(TDDev *dev, int epi, const MmaArgs &g)
{
    switch (EPI_KIND(epi)) {
    case EPI_STORE:    return launch<int8_t, EPI_STORE | EPI_ADD>(dev, g);
    case EPI_RESIDUAL: return launch<int8_t, EPI_RESIDUAL | EPI_ADD>(dev, g);
    default:           return launch<int8_t, EPI_GELU_QUANT | EPI_ADD>(dev, g);
    }
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
    if (q->epilogue & EPI_ADD)
        return dispatch_add(dev, q->epilogue, g);
    return q->int8 ? dispatch<int8_t>(dev, q->epilogue, g) : dispatch<bf16>(dev, q->epilogue, g);
}

TDKernels td_cuda_in_gemm_mma(void) { return td_kernels(kernels); }
