/* SPDX-License-Identifier: BSD-2-Clause
 * Sparse branch of sagesla on Hopper: int8 QK and e4m3 PV by wgmma over an ascending list of key blocks. Numerics as
 * attn_sage.cu.
 *
 * A CTA owns a query block: one consumer warpgroup per 64 queries, and a producer warp that brings tiles of 64 keys
 * (codes of k, and of v transposed) by the list. Tiles are worked on in pairs, so that the second's scores and the
 * first's P V run under the softmax; an odd list ends with a tile past the last token, all zero and masked. */
#include "attn.h"
#include "ptx_sm80.cuh"
#include "ptx_sm90.cuh"
#include "tensor_map.h"

#define D 128
#define TK 64                                    /* keys per tile */
#define STAGES 8
#define P_OFFSET 8.807f

template <int NWG> struct SageStorage {
    uint8_t k[STAGES][TK * D];
    uint8_t v[STAGES][D * TK];
    uint8_t q[NWG][64 * D];
    uint64_t full[STAGES], empty[STAGES], q_full;
};

/* what a warpgroup carries from tile to tile */
struct SageRow {
    float m[2], l[2];
};

/* the list entry and scale behind a tile, fetched an iteration ahead of its use */
struct SageEntry {
    int block;
    float k_scale;
};

struct SageTile {
    float dq;                                    /* q scale x k scale */
    int first;                                   /* token of its first key */
    bool late;
};

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 890      /* e4m3; only sm_90a calls it */
/* as a tree: the chain of sixteen would be most of a tile's time */
__device__ __forceinline__ float max16(const float (&x)[16])
{
    float m[4];

#pragma unroll
    for (int i = 0; i < 4; i++)
        m[i] = fmaxf(fmaxf(x[i], x[i + 4]), fmaxf(x[i + 8], x[i + 12]));
    return fmaxf(fmaxf(m[0], m[1]), fmaxf(m[2], m[3]));
}

/* S -> P of one tile: new maximum, the factor for what was summed before, packed e4m3 */
__device__ __forceinline__ void softmax_tile(const int (&s)[32], const SageTile &t, SageRow &row, float sm, int n,
                                             float (&scale)[2], uint32_t (&p)[2][4])
{
    float mul = t.late ? sm : sm * t.dq;
    int lane = threadIdx.x % 32;

#pragma unroll
    for (int half = 0; half < 2; half++) {
        float x[16], top, bias, sum[4];

#pragma unroll
        for (int j = 0; j < 8; j++)
#pragma unroll
            for (int e = 0; e < 2; e++)
                x[2 * j + e] = (float)s[j * 4 + half * 2 + e];
        if (t.late)                              /* one or two tiles of a list */
#pragma unroll
            for (int j = 0; j < 16; j++)
                x[j] *= t.dq;
        if (t.first + TK > n)
#pragma unroll
            for (int j = 0; j < 16; j++)
                if (t.first + j / 2 * 8 + lane % 4 * 2 + j % 2 >= n)
                    x[j] = -5e6f;
        top = max16(x);
        top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
        top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
        top = fmaxf(row.m[half], top * mul);
        scale[half] = exp2_approx(row.m[half] - top);
        row.m[half] = top;
        bias = -top + P_OFFSET;
#pragma unroll
        for (int j = 0; j < 16; j++) {
            x[j] = exp2_approx(fmaf(x[j], mul, bias));
            sum[j % 4] = j < 4 ? x[j] : sum[j % 4] + x[j];
        }
        row.l[half] = fmaf(row.l[half], scale[half], (sum[0] + sum[1]) + (sum[2] + sum[3]));
#pragma unroll
        for (int g = 0; g < 2; g++) {
            p[g][half] = pack_e4m3(x[8 * g], x[8 * g + 1]) | pack_e4m3(x[8 * g + 2], x[8 * g + 3]) << 16;
            p[g][half + 2] = pack_e4m3(x[8 * g + 4], x[8 * g + 5]) | pack_e4m3(x[8 * g + 6], x[8 * g + 7]) << 16;
        }
    }
}
#endif

__device__ __forceinline__ SageEntry fetch(const int32_t *list, const float *k_scale, int entry)
{
    SageEntry e = { __ldg(list + entry), 0.0f };

    e.k_scale = __ldg(k_scale + e.block);
    return e;
}

__device__ __forceinline__ void issue_scores(int (&s)[32], uint64_t q, const uint8_t *k)
{
    uint64_t dk = wgmma_descriptor(k);

    wgmma_fence();
#pragma unroll
    for (int c = 0; c < 4; c++)
        wgmma_s8_n64(s, q + 2 * c, dk + 2 * c, c > 0);
    wgmma_commit();
}

__device__ __forceinline__ void issue_pv(float (&inner)[64], const uint32_t (&p)[2][4], const uint8_t *v)
{
    uint64_t dv = wgmma_descriptor64(v);

    wgmma_fence();
    wgmma_e4m3_n128(inner, p[0], dv, 0);
    wgmma_e4m3_n128(inner, p[1], dv + 2, 1);
    wgmma_commit();
}

/* at most N groups in flight; p is finished first, or the compiler would move the wait above the softmax */
template <int N> __device__ __forceinline__ void wait_after(uint32_t (&p)[2][4])
{
    asm volatile("wgmma.wait_group.sync.aligned %8;"
                 : "+r"(p[0][0]), "+r"(p[0][1]), "+r"(p[0][2]), "+r"(p[0][3]), "+r"(p[1][0]), "+r"(p[1][1]),
                   "+r"(p[1][2]), "+r"(p[1][3])
                 : "n"(N)
                 : "memory");
}

__device__ __forceinline__ void add_inner(float (&o)[64], const float (&inner)[64], const float (&scale)[2])
{
#pragma unroll
    for (int i = 0; i < 64; i++)
        o[i] = fmaf(o[i], scale[i / 2 % 2], inner[i]);
}

template <int NWG> __global__ void __launch_bounds__(NWG * 128 + 128, 1)
    attn_sage_sm90_kernel(const __grid_constant__ CUtensorMap map_q, const __grid_constant__ CUtensorMap map_k,
                          const __grid_constant__ CUtensorMap map_v, SlaArgs a, float sm)
{
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    extern __shared__ uint8_t raw[];
    SageStorage<NWG> *s = (SageStorage<NWG> *)align_1024(raw);
    int wg = __shfl_sync(~0u, threadIdx.x / 128, 0), head = blockIdx.y, qi = blockIdx.x, per = a.bk / TK,
        n_tiles = a.n_keep * per, n_late = a.bk == 128 ? 1 : 2;
    const int32_t *list = a.map + ((int64_t)head * a.n_qb + qi) * a.n_keep;

    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++) {
            mbarrier_init(&s->full[i], 1);
            mbarrier_init(&s->empty[i], NWG);
        }
        mbarrier_init(&s->q_full, 1);
        fence_barrier_init();
    }
    __syncthreads();
    if (wg == NWG) {
        registers_down<24>();
        if (threadIdx.x == NWG * 128) {
            mbarrier_expect(&s->q_full, NWG * 64 * D);
            tma_load_2d(s->q, &map_q, &s->q_full, head * D, qi * a.bq);
            for (int t = 0; t < n_tiles + n_tiles % 2; t++) {
                int stage = t % STAGES, token = t < n_tiles ? list[t / per] * a.bk + t % per * TK : a.n_pad;

                mbarrier_wait(&s->empty[stage], (t / STAGES & 1) ^ 1);
                mbarrier_expect(&s->full[stage], 2 * TK * D);
                tma_load_2d(s->k[stage], &map_k, &s->full[stage], head * D, token);
                tma_load_2d(s->v[stage], &map_v, &s->full[stage], token, head * D);
            }
        }
    } else {
        float o[64], inner[64], q_scale = a.q_scale[(int64_t)head * a.n_qb + qi];
        const float *k_scale = a.k_scale + (int64_t)head * a.n_kb;
        SageRow row = { { -5e6f, -5e6f }, { 0, 0 } };
        SageEntry ea = fetch(list, k_scale, 0), eb = fetch(list, k_scale, min(1 / per, a.n_keep - 1));
        uint64_t dq = wgmma_descriptor(s->q[0]) + wg * (64 * D >> 4);
        int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;

        registers_up<240>();
#pragma unroll
        for (int i = 0; i < 64; i++)
            o[i] = 0.0f;
        mbarrier_wait(&s->q_full, 0);
        for (int t = 0; t < n_tiles; t += 2) {
            int sa = t % STAGES, sb = (t + 1) % STAGES, parity = t / STAGES & 1, s0[32], s1[32];
            SageTile a0 = { q_scale * ea.k_scale, ea.block * a.bk + t % per * TK, t / per >= a.n_keep - n_late };
            SageTile b0 = { q_scale * eb.k_scale, eb.block * a.bk + (t + 1) % per * TK + (t + 1 == n_tiles) * a.n,
                            (t + 1) / per >= a.n_keep - n_late };
            float scale_a[2], scale_b[2];
            uint32_t pa[2][4], pb[2][4];

            ea = fetch(list, k_scale, min((t + 2) / per, a.n_keep - 1));
            eb = fetch(list, k_scale, min((t + 3) / per, a.n_keep - 1));
            mbarrier_wait(&s->full[sa], parity);
            issue_scores(s0, dq, s->k[sa]);
            mbarrier_wait(&s->full[sb], parity);
            issue_scores(s1, dq, s->k[sb]);
            wgmma_wait<1>();
            softmax_tile(s0, a0, row, sm, a.n, scale_a, pa);
            issue_pv(inner, pa, s->v[sa]);
            wgmma_wait<1>();                     /* the scores of b */
            softmax_tile(s1, b0, row, sm, a.n, scale_b, pb);
            wait_after<0>(pb);
            add_inner(o, inner, scale_a);
            issue_pv(inner, pb, s->v[sb]);
            wgmma_wait<0>();
            add_inner(o, inner, scale_b);
            if (threadIdx.x % 128 == 0) {
                mbarrier_arrive(&s->empty[sa]);
                mbarrier_arrive(&s->empty[sb]);
            }
        }
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int r = qi * a.bq + wg * 64 + warp * 16 + lane / 4 + half * 8;
            float inv;

            row.l[half] += __shfl_xor_sync(~0u, row.l[half], 1);
            row.l[half] += __shfl_xor_sync(~0u, row.l[half], 2);
            inv = 1.0f / row.l[half];
            if (r >= a.n)
                continue;
#pragma unroll
            for (int j = 0; j < 16; j++) {
                int c = head * D + j * 8 + lane % 4 * 2;
                float2 vs = *(const float2 *)(a.v_scale + c);

                *(uint32_t *)(a.o + (int64_t)r * a.dim + c) =
                    pack_bf16(o[j * 4 + half * 2] * inv * vs.x, o[j * 4 + half * 2 + 1] * inv * vs.y);
            }
        }
    }
#endif
}

template <int NWG> static int launch(TDDev *dev, const SlaArgs &a)
{
    int smem = (int)sizeof(SageStorage<NWG>) + 1024, ret;
    float sm = (float)(1.0 / sqrt((double)D)) * 1.44269504f;
    CUtensorMap q, k, v;

    TRY(td_cuda_map_matrix(dev, &q, a.q_code, a.n, a.dim, 1, NWG * 64, 128));
    TRY(td_cuda_map_matrix(dev, &k, a.k_code, a.n, a.dim, 1, TK, 128));
    TRY(td_cuda_map_matrix(dev, &v, a.v_code, a.dim, a.n_pad, 1, D, 64));
    CU(dev, cudaFuncSetAttribute(attn_sage_sm90_kernel<NWG>, cudaFuncAttributeMaxDynamicSharedMemorySize, smem));
    attn_sage_sm90_kernel<NWG>
        <<<dim3(a.n_qb, a.n_heads), NWG * 128 + 128, smem, td_cuda(dev)->stream>>>(q, k, v, a, sm);
    CU_LAUNCHED(dev, "attn_sage_sm90_kernel");
    return 0;
fail:
    return ret;
}

int td_cuda_attn_sage_sm90(TDDev *dev, const SlaArgs &a)
{
    return a.bq == 64 ? launch<1>(dev, a) : launch<2>(dev, a);
}
