/* SPDX-License-Identifier: BSD-2-Clause
 * C[M,N] = A[M,K] B[N,K]^T on Hopper: int8 with one scale per 128x128 block, or bf16.
 *
 * A persistent CTA of one producer warp and two consumer warpgroups; a tile is 256x128, a warpgroup owns 128 rows as two
 * waves of 64. int8: each wave's exact int32 sum over 128 of K becomes f32 times its scale while the other warpgroup's products
 * run; two int32 waves at once would not fit the registers. A warpgroup's 128x128 is one quantisation block, so the fused quantiser
 * needs no other CTA. */
#include "gemm_epilogue.cuh"
#include "gemm.h"
#include "ptx_sm90.cuh"

#define BM 256
#define BN 128
#define STAGES 4
#define GROUP 12                                 /* row tiles walked together, so that a wave of CTAs shares rows and columns in L2 */
#define ROW_BYTES 128

struct SharedStorage {
    uint8_t a[STAGES][BM * ROW_BYTES];
    uint8_t b[STAGES][BN * ROW_BYTES];
    uint64_t full[STAGES], empty[STAGES];
    float amax[2][4];
};

struct GemmArgs {
    EpilogueArgs epi;
    const float *scale_a, *scale_b;              /* [M/128, kb], [N/128, kb] */
    int n_kb, tiles_m, tiles_n;                  /* steps of 128 bytes of K */
};

static_assert(sizeof(SharedStorage) + 1024 <= 227 * 1024, "the stages fit in shared memory");

__device__ __forceinline__ void tile_at(const GemmArgs &g, int tile, int &tm, int &tn)
{
    int per_group = GROUP * g.tiles_n, group = tile / per_group, first = group * GROUP, rows = min(GROUP, g.tiles_m - first), in = tile % per_group;

    tm = first + in % rows;
    tn = in / rows;
}

__device__ __forceinline__ void produce(const GemmArgs &g, SharedStorage *s, const CUtensorMap *map_a, const CUtensorMap *map_b, int elem)
{
    int stage = 0, phase = 0;

    for (int tile = blockIdx.x; tile < g.tiles_m * g.tiles_n; tile += gridDim.x) {
        int tm, tn;

        tile_at(g, tile, tm, tn);
        for (int kb = 0; kb < g.n_kb; kb++) {
            mbarrier_wait(&s->empty[stage], phase ^ 1);
            mbarrier_expect(&s->full[stage], (BM + BN) * ROW_BYTES);
            tma_load_2d(s->a[stage], map_a, &s->full[stage], kb * ROW_BYTES / elem, tm * BM);
            tma_load_2d(s->b[stage], map_b, &s->full[stage], kb * ROW_BYTES / elem, tn * BN);
            if (++stage == STAGES) {
                stage = 0;
                phase ^= 1;
            }
        }
    }
}

/* one step of 128 bytes of K for both waves; int8: promoted with the step's scale */
__device__ __forceinline__ void step(float (&acc)[2][64], const uint8_t *a, const uint8_t *b, float scale, bool first, int8_t)
{
    uint64_t db = wgmma_descriptor(b);

#pragma unroll
    for (int wave = 0; wave < 2; wave++) {
        uint64_t da = wgmma_descriptor(a + wave * 64 * ROW_BYTES);
        int sum[64];

        wgmma_fence();
#pragma unroll
        for (int k = 0; k < 4; k++)
            wgmma_s8_n128(sum, da + 2 * k, db + 2 * k, k > 0);
        wgmma_commit();
        wgmma_wait<0>();
#pragma unroll
        for (int i = 0; i < 64; i++)
            acc[wave][i] = fmaf((float)sum[i], scale, first ? 0.0f : acc[wave][i]);
    }
}

__device__ __forceinline__ void step(float (&acc)[2][64], const uint8_t *a, const uint8_t *b, float, bool first, bf16)
{
    uint64_t db = wgmma_descriptor(b), da0 = wgmma_descriptor(a), da1 = wgmma_descriptor(a + 64 * ROW_BYTES);

    wgmma_fence();
#pragma unroll
    for (int k = 0; k < 4; k++) {
        wgmma_bf16_n128(acc[0], da0 + 2 * k, db + 2 * k, !first || k > 0);
        wgmma_bf16_n128(acc[1], da1 + 2 * k, db + 2 * k, !first || k > 0);
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

template <int EPI, bool INT8> __device__ __forceinline__ void epilogue(const float (&acc)[2][64], const EpilogueArgs &e, SharedStorage *s, int wg, int m0, int n0)
{
    int warp = threadIdx.x / 32 % 4;
    uint32_t keep[2][32];

    epilogue_tile<EPI, INT8>(acc[0], e, m0 + warp * 16, n0, keep[0]);
    epilogue_tile<EPI, INT8>(acc[1], e, m0 + 64 + warp * 16, n0, keep[1]);
    if (EPI == EPI_GELU_QUANT) {
        float mult, amax = warp_max(fmaxf(abs_max(keep[0]), abs_max(keep[1])));

        if (threadIdx.x % 32 == 0)
            s->amax[wg][warp] = amax;
        warpgroup_barrier(wg);
        amax = fmaxf(fmaxf(fmaxf(s->amax[wg][0], s->amax[wg][1]), fmaxf(s->amax[wg][2], s->amax[wg][3])), 1e-8f);
        if (threadIdx.x % 128 == 0 && m0 < e.m)
            e.scale[m0 / 128 * ((e.n + 127) / 128) + n0 / 128] = amax / 128.0f;
        mult = 128.0f * reciprocal(amax);
        store_codes(keep[0], e, m0 + warp * 16, n0, mult);
        store_codes(keep[1], e, m0 + 64 + warp * 16, n0, mult);
        warpgroup_barrier(wg);
    }
}

template <typename T, int EPI>
__global__ void __launch_bounds__(384, 1) gemm_sm90_kernel(const __grid_constant__ CUtensorMap map_a, const __grid_constant__ CUtensorMap map_b, GemmArgs g)
{
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    extern __shared__ uint8_t raw[];
    SharedStorage *s = (SharedStorage *)(((uintptr_t)raw + 1023) & ~(uintptr_t)1023);
    int wg = threadIdx.x / 128;

    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++) {
            mbarrier_init(&s->full[i], 1);
            mbarrier_init(&s->empty[i], 2);
        }
        fence_barrier_init();
    }
    __syncthreads();
    if (wg == 2) {
        registers_down<40>();
        if (threadIdx.x == 256)
            produce(g, s, &map_a, &map_b, sizeof(T));
    } else {
        int stage = 0, phase = 0;

        registers_up<232>();
        for (int tile = blockIdx.x; tile < g.tiles_m * g.tiles_n; tile += gridDim.x) {
            float acc[2][64];
            int tm, tn;
            const float *sa, *sb;

            tile_at(g, tile, tm, tn);
            /* rows past M may lie in a block of rows that has no scale: clamp, their results are not stored */
            sa = g.scale_a + (int64_t)min(tm * 2 + wg, (g.epi.m + 127) / 128 - 1) * g.n_kb;
            sb = g.scale_b + (int64_t)tn * g.n_kb;
            for (int kb = 0; kb < g.n_kb; kb++) {
                float scale = sizeof(T) == 1 ? __ldg(sa + kb) * __ldg(sb + kb) : 0.0f;

                mbarrier_wait(&s->full[stage], phase);
                step(acc, s->a[stage] + wg * 128 * ROW_BYTES, s->b[stage], scale, kb == 0, T());
                if (threadIdx.x % 128 == 0)
                    mbarrier_arrive(&s->empty[stage]);
                if (++stage == STAGES) {
                    stage = 0;
                    phase ^= 1;
                }
            }
            epilogue<EPI, sizeof(T) == 1>(acc, g.epi, s, wg, tm * BM + wg * 128, tn * BN);
        }
    }
#endif
}

/* rows x k of 1- or 2-byte elements in boxes of box_rows x 128 bytes */
static int make_map(TDDev *dev, CUtensorMap *map, const void *p, int64_t rows, int64_t k, int elem, int box_rows)
{
    typedef CUresult (*Encode)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *, const cuuint64_t *, const cuuint64_t *, const cuuint32_t *,
                               const cuuint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
    cuuint64_t dims[2] = { (cuuint64_t)k, (cuuint64_t)rows }, stride[1] = { (cuuint64_t)(k * elem) };
    cuuint32_t box[2] = { (cuuint32_t)(ROW_BYTES / elem), (cuuint32_t)box_rows }, step1[2] = { 1, 1 };
    CUresult r = ((Encode)td_cuda(dev)->encode_tiled)(map, elem == 1 ? CU_TENSOR_MAP_DATA_TYPE_UINT8 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, (void *)p,
                                                      dims, stride, box, step1, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                                      CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);

    return r == CUDA_SUCCESS ? 0 : td_error(dev->log, EIO, "cuda: cuTensorMapEncodeTiled of [%lld,%lld] failed with %d", (long long)rows, (long long)k, (int)r);
}

template <typename T, int EPI> static int launch(TDDev *dev, const CUtensorMap &a, const CUtensorMap &b, const GemmArgs &g)
{
    size_t smem = sizeof(SharedStorage) + 1024;
    int tiles = g.tiles_m * g.tiles_n, n_sm = td_cuda(dev)->n_sm;

    CU(dev, cudaFuncSetAttribute(gemm_sm90_kernel<T, EPI>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)smem));
    gemm_sm90_kernel<T, EPI><<<tiles < n_sm ? tiles : n_sm, 384, smem, td_cuda(dev)->stream>>>(a, b, g);
    CU_LAUNCHED(dev, "gemm_sm90_kernel");
    return 0;
}

template <typename T> static int dispatch(TDDev *dev, int epi, const CUtensorMap &a, const CUtensorMap &b, const GemmArgs &g)
{
    switch (epi) {
    case EPI_STORE:    return launch<T, EPI_STORE>(dev, a, b, g);
    case EPI_GELU:     return launch<T, EPI_GELU>(dev, a, b, g);
    case EPI_RESIDUAL: return launch<T, EPI_RESIDUAL>(dev, a, b, g);
    case EPI_GEGLU:    return launch<T, EPI_GEGLU>(dev, a, b, g);
    default:           return launch<T, EPI_GELU_QUANT>(dev, a, b, g);
    }
}

int td_cuda_gemm_sm90(TDDev *dev, const TDGemm *q)
{
    int elem = q->int8 ? 1 : 2, ret;
    CUtensorMap a, b;
    GemmArgs g = {};

    g.epi = q->epi;
    g.scale_a = q->scale_a;
    g.scale_b = q->scale_b;
    g.n_kb = (int)td_blocks(q->k * elem, ROW_BYTES);
    g.tiles_m = (int)td_blocks(q->epi.m, BM);
    g.tiles_n = (int)td_blocks(q->epi.n, BN);
    TRY(make_map(dev, &a, q->a, q->epi.m, q->k, elem, BM));
    TRY(make_map(dev, &b, q->b, q->epi.n, q->k, elem, BN));
    return q->int8 ? dispatch<int8_t>(dev, q->epilogue, a, b, g) : dispatch<bf16>(dev, q->epilogue, a, b, g);
fail:
    return ret;
}
