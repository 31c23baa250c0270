/* SPDX-License-Identifier: BSD-2-Clause
 * C[M,N] = A[M,K] B[N,K]^T on Hopper: int8 with one scale per 128x128 block, or bf16.
 *
 * A persistent CTA of one producer warp and two consumer warpgroups; a tile is 256x128, a warpgroup owns 128 rows as
 * two waves of 64. int8: the exact int32 sums over 128 of K come in quarters of 64x64, so that two of them fit the
 * registers and one becomes f32 times its scale while the products of the other run. A warpgroup's 128x128 is one
 * quantisation block, so the fused quantiser needs no other CTA. The residual's tile comes to shared memory while the
 * products run: read in place it would cost as much as they do. */
#include "gemm_epilogue.cuh"
#include "gemm.h"
#include "ptx_sm90.cuh"
#include "tensor_map.h"

#define BM 256
#define BN 128
#define GROUP 12 /* row tiles walked together, so that a wave of CTAs shares rows and columns in L2 */
#define ROW_BYTES 128

template <int EPI> struct SharedStorage {
    static const bool has_other = EPI_KIND(EPI) == EPI_RESIDUAL || EPI == EPI_GEGLU || (EPI & EPI_ADD);
    static const int stages = has_other ? 3 : 4;
    uint8_t a[stages][BM * ROW_BYTES];
    uint8_t b[stages][BN * ROW_BYTES];
    uint8_t other[has_other ? 2 : 1][has_other ? BM * ROW_BYTES : 16];   /* x, up or what is added: 64 columns each */
    uint64_t full[stages], empty[stages], other_full, other_empty;
    float amax[2][4];
    EpilogueVectors vectors[2];                  /* of each warpgroup */
};

struct GemmArgs {
    EpilogueArgs epi;
    const float *scale_a, *scale_b;              /* [M/128, kb], [N/128, kb] */
    int n_kb, tiles_m, tiles_n;                  /* steps of 128 bytes of K */
};

__device__ __forceinline__ void tile_at(const GemmArgs &g, int tile, int &tm, int &tn)
{
    int per_group = GROUP * g.tiles_n, group = tile / per_group, first = group * GROUP,
        rows = min(GROUP, g.tiles_m - first), in = tile % per_group;

    tm = first + in % rows;
    tn = in / rows;
}

template <int EPI> __device__ __forceinline__ void produce(const GemmArgs &g, SharedStorage<EPI> *s,
                                                           const CUtensorMap *map_a, const CUtensorMap *map_b,
                                                           const CUtensorMap *map_other, int elem)
{
    int stage = 0, phase = 0, turn = 0;

    for (int tile = blockIdx.x; tile < g.tiles_m * g.tiles_n; tile += gridDim.x, turn ^= 1) {
        int tm, tn;

        tile_at(g, tile, tm, tn);
        for (int kb = 0; kb < g.n_kb; kb++) {
            mbarrier_wait(&s->empty[stage], phase ^ 1);
            mbarrier_expect(&s->full[stage], (BM + BN) * ROW_BYTES);
            tma_load_2d(s->a[stage], map_a, &s->full[stage], kb * ROW_BYTES / elem, tm * BM);
            tma_load_2d(s->b[stage], map_b, &s->full[stage], kb * ROW_BYTES / elem, tn * BN);
            if (++stage == SharedStorage<EPI>::stages) {
                stage = 0;
                phase ^= 1;
            }
            if (SharedStorage<EPI>::has_other && kb == 0) {      /* behind the first step, ahead of the rest */
                mbarrier_wait(&s->other_empty, turn ^ 1);
                mbarrier_expect(&s->other_full, 2 * BM * ROW_BYTES);
                tma_load_2d(s->other[0], map_other, &s->other_full, tn * BN, tm * BM);
                tma_load_2d(s->other[1], map_other, &s->other_full, tn * BN + 64, tm * BM);
            }
        }
    }
}

/* a quarter of a step: 64 rows by 64 columns over 128 of K */
__device__ __forceinline__ void issue_quarter(int (&sum)[32], uint64_t da, uint64_t db)
{
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < 4; k++)
        wgmma_s8_n64(sum, da + 2 * k, db + 2 * k, k > 0);
    wgmma_commit();
}

template <int HALF> __device__ __forceinline__ void promote(float (&acc)[64], const int (&sum)[32], float scale)
{
#pragma unroll
    for (int i = 0; i < 32; i++)
        acc[HALF * 32 + i] = fmaf((float)sum[i], scale, acc[HALF * 32 + i]);
}

/* one step of 128 bytes of K for both waves; int8: two exact int32 sums take turns, one is promoted with the step's
 * scale while the other one's products run */
__device__ __forceinline__ void step(float (&acc)[2][64], const uint8_t *a, const uint8_t *b, float scale, int8_t)
{
    uint64_t db0 = wgmma_descriptor(b), db1 = wgmma_descriptor(b + 64 * ROW_BYTES), da0 = wgmma_descriptor(a),
             da1 = wgmma_descriptor(a + 64 * ROW_BYTES);
    int even[32], odd[32];

    issue_quarter(even, da0, db0);
    issue_quarter(odd, da0, db1);
    wgmma_wait<1>();
    promote<0>(acc[0], even, scale);
    issue_quarter(even, da1, db0);
    wgmma_wait<1>();
    promote<1>(acc[0], odd, scale);
    issue_quarter(odd, da1, db1);
    wgmma_wait<1>();
    promote<0>(acc[1], even, scale);
    wgmma_wait<0>();
    promote<1>(acc[1], odd, scale);
}

__device__ __forceinline__ void step(float (&acc)[2][64], const uint8_t *a, const uint8_t *b, float, bf16)
{
    uint64_t db = wgmma_descriptor(b), da0 = wgmma_descriptor(a), da1 = wgmma_descriptor(a + 64 * ROW_BYTES);

    wgmma_fence();
#pragma unroll
    for (int k = 0; k < 4; k++) {
        wgmma_bf16_n128(acc[0], da0 + 2 * k, db + 2 * k, 1);
        wgmma_bf16_n128(acc[1], da1 + 2 * k, db + 2 * k, 1);
    }
    wgmma_commit();
    wgmma_wait<0>();
}

__device__ __forceinline__ void warpgroup_barrier(int wg)
{
    if (wg)
        named_barrier<2>(128);
    else
        named_barrier<1>(128);
}

template <int EPI, bool INT8> __device__ __forceinline__ void epilogue(const float (&acc)[2][64], const EpilogueArgs &e,
                                                                       SharedStorage<EPI> *s, int wg, int m0, int n0)
{
    int warp = threadIdx.x / 32 % 4;
    uint32_t keep[2][32];

    epilogue_tile<EPI, INT8, 4>(acc[0], e, &s->vectors[wg], OtherTile{ s->other[0], wg * 128 + warp * 16 },
                                m0 + warp * 16, n0, 0, keep[0]);
    epilogue_tile<EPI, INT8, 4>(acc[1], e, &s->vectors[wg], OtherTile{ s->other[0], wg * 128 + 64 + warp * 16 },
                                m0 + 64 + warp * 16, n0, 0, keep[1]);
    if (EPI_KIND(EPI) == EPI_GELU_QUANT) {
        float mult, amax = warp_amax(nan_max(abs_max(keep[0]), abs_max(keep[1])));

        if (threadIdx.x % 32 == 0)
            s->amax[wg][warp] = amax;
        warpgroup_barrier(wg);
        amax = nan_max(nan_max(s->amax[wg][0], s->amax[wg][1]), nan_max(s->amax[wg][2], s->amax[wg][3]));
        amax = nan_max(amax, 1e-8f);
        if (threadIdx.x % 128 == 0 && m0 < e.m)
            e.scale[m0 / 128 * ((e.n + 127) / 128) + n0 / 128] = amax / 128.0f;
        mult = 128.0f * reciprocal(amax);
        store_codes(keep[0], e, m0 + warp * 16, n0, mult);
        store_codes(keep[1], e, m0 + 64 + warp * 16, n0, mult);
    }
}

template <typename T, int EPI> __global__ void __launch_bounds__(384, 1)
    gemm_sm90_kernel(const __grid_constant__ CUtensorMap map_a, const __grid_constant__ CUtensorMap map_b,
                     const __grid_constant__ CUtensorMap map_other, GemmArgs g)
{
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    extern __shared__ uint8_t raw[];
    SharedStorage<EPI> *s = (SharedStorage<EPI> *)align_1024(raw);
    int wg = __shfl_sync(~0u, threadIdx.x / 128, 0); /* seen as uniform: descriptors stay in uniform registers */

    if (threadIdx.x == 0) {
        for (int i = 0; i < SharedStorage<EPI>::stages; i++) {
            mbarrier_init(&s->full[i], 1);
            mbarrier_init(&s->empty[i], 2);
        }
        mbarrier_init(&s->other_full, 1);
        mbarrier_init(&s->other_empty, 2);
        fence_barrier_init();
    }
    __syncthreads();
    if (wg == 2) {
        registers_down<24>();
        if (threadIdx.x == 256)
            produce<EPI>(g, s, &map_a, &map_b, &map_other, sizeof(T));
    } else {
        int stage = 0, phase = 0, turn = 0;

        registers_up<240>();
        for (int tile = blockIdx.x; tile < g.tiles_m * g.tiles_n; tile += gridDim.x, turn ^= 1) {
            float acc[2][64], next;
            int tm, tn;
            const float *sa, *sb;

            tile_at(g, tile, tm, tn);
            for (int i = 0; i < 64; i++)
                acc[0][i] = acc[1][i] = 0.0f;
            load_vectors<EPI_KIND(EPI)>(&s->vectors[wg], g.epi, threadIdx.x % 128, tn * BN);
            /* rows past M may lie in a block of rows that has no scale: clamp, their results are not stored */
            sa = g.scale_a + (int64_t)min(tm * 2 + wg, (g.epi.m + 127) / 128 - 1) * g.n_kb;
            sb = g.scale_b + (int64_t)tn * g.n_kb;
            next = sizeof(T) == 1 ? __ldg(sa) * __ldg(sb) : 0.0f;
            for (int kb = 0; kb < g.n_kb; kb++) {
                float scale = next;

                if (sizeof(T) == 1 && kb + 1 < g.n_kb)
                    next = __ldg(sa + kb + 1) * __ldg(sb + kb + 1);
                mbarrier_wait(&s->full[stage], phase);
                step(acc, s->a[stage] + wg * 128 * ROW_BYTES, s->b[stage], scale, T());
                if (threadIdx.x % 128 == 0)
                    mbarrier_arrive(&s->empty[stage]);
                if (++stage == SharedStorage<EPI>::stages) {
                    stage = 0;
                    phase ^= 1;
                }
            }
            if (SharedStorage<EPI>::has_other)
                mbarrier_wait(&s->other_full, turn);
            warpgroup_barrier(wg);               /* the vectors are in */
            epilogue<EPI, sizeof(T) == 1>(acc, g.epi, s, wg, tm * BM + wg * 128, tn * BN);
            warpgroup_barrier(wg);               /* and all has been read before the next tile's replaces it */
            if (SharedStorage<EPI>::has_other && threadIdx.x % 128 == 0)
                mbarrier_arrive(&s->other_empty);
        }
    }
#endif
}

#define GEMM_SM90_KERNEL(T, EPI) TD_KERNEL(sizeof(SharedStorage<EPI>) + 1024, true, gemm_sm90_kernel<T, EPI>)
#define GEMM_SM90_KERNELS(EPI) GEMM_SM90_KERNEL(int8_t, EPI), GEMM_SM90_KERNEL(bf16, EPI)

static const TDKernel kernels[] = {
    GEMM_SM90_KERNELS(EPI_STORE), GEMM_SM90_KERNELS(EPI_GELU), GEMM_SM90_KERNELS(EPI_RESIDUAL),
    GEMM_SM90_KERNELS(EPI_GEGLU), GEMM_SM90_KERNELS(EPI_GELU_QUANT),
    GEMM_SM90_KERNEL(int8_t, EPI_STORE | EPI_ADD), GEMM_SM90_KERNEL(int8_t, EPI_RESIDUAL | EPI_ADD),
    GEMM_SM90_KERNEL(int8_t, EPI_GELU_QUANT | EPI_ADD),
};

template <typename T, int EPI>
static int launch(TDDev *dev, const CUtensorMap &a, const CUtensorMap &b, const CUtensorMap &other, const GemmArgs &g)
{
    int smem = td_cuda_shared(dev, td_kernels(kernels), (const void *)gemm_sm90_kernel<T, EPI>),
        tiles = g.tiles_m * g.tiles_n, n_sm = td_cuda(dev)->n_sm;

    if (smem < 0)
        return smem;
    gemm_sm90_kernel<T, EPI><<<tiles < n_sm ? tiles : n_sm, 384, smem, td_cuda(dev)->stream>>>(a, b, other, g);
    CU_LAUNCHED(dev, "gemm_sm90_kernel");
    return 0;
}

/* int8 with something added */
static int dispatch_add(TDDev *dev, int epi, const CUtensorMap &a, const CUtensorMap &b, const CUtensorMap &other,
                        const GemmArgs &g)
{
    switch (EPI_KIND(epi)) {
    case EPI_STORE:    return launch<int8_t, EPI_STORE | EPI_ADD>(dev, a, b, other, g);
    case EPI_RESIDUAL: return launch<int8_t, EPI_RESIDUAL | EPI_ADD>(dev, a, b, other, g);
    default:           return launch<int8_t, EPI_GELU_QUANT | EPI_ADD>(dev, a, b, other, g);
    }
}

template <typename T> static int dispatch(TDDev *dev, int epi, const CUtensorMap &a, const CUtensorMap &b,
                                          const CUtensorMap &other, const GemmArgs &g)
{
    switch (epi) {
    case EPI_STORE:    return launch<T, EPI_STORE>(dev, a, b, other, g);
    case EPI_GELU:     return launch<T, EPI_GELU>(dev, a, b, other, g);
    case EPI_RESIDUAL: return launch<T, EPI_RESIDUAL>(dev, a, b, other, g);
    case EPI_GEGLU:    return launch<T, EPI_GEGLU>(dev, a, b, other, g);
    default:           return launch<T, EPI_GELU_QUANT>(dev, a, b, other, g);
    }
}

int td_cuda_gemm_sm90(TDDev *dev, const TDGemm *q)
{
    int elem = q->int8 ? 1 : 2, ret;
    const bf16 *tile = NULL;                     /* that comes to shared memory while the products run */
    CUtensorMap a, b, other;
    GemmArgs g = {};

    g.epi = q->epi;
    g.scale_a = q->scale_a;
    g.scale_b = q->scale_b;
    g.n_kb = (int)td_blocks(q->k * elem, ROW_BYTES);
    g.tiles_m = (int)td_blocks(q->epi.m, BM);
    g.tiles_n = (int)td_blocks(q->epi.n, BN);
    TRY(td_cuda_map_matrix(dev, &a, q->a, q->epi.m, q->k, elem, BM, ROW_BYTES));
    TRY(td_cuda_map_matrix(dev, &b, q->b, q->epi.n, q->k, elem, BN, ROW_BYTES));
    other = a;
    if (EPI_KIND(q->epilogue) == EPI_RESIDUAL)
        tile = q->epi.y;
    else if (q->epilogue == EPI_GEGLU)
        tile = q->epi.up;
    else if (q->epilogue & EPI_ADD)
        tile = q->epi.add;
    if (tile)
        TRY(td_cuda_map_matrix(dev, &other, tile, q->epi.m, q->epi.n, 2, BM, ROW_BYTES));
    if (q->epilogue & EPI_ADD)
        return dispatch_add(dev, q->epilogue, a, b, other, g);
    return q->int8 ? dispatch<int8_t>(dev, q->epilogue, a, b, other, g)
                   : dispatch<bf16>(dev, q->epilogue, a, b, other, g);
fail:
    return ret;
}

TDKernels td_cuda_in_gemm_sm90(void) { return td_kernels(kernels); }
