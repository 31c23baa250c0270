/* SPDX-License-Identifier: BSD-2-Clause
 * Sparse branch of sagesla on Hopper: int8 QK and e4m3 PV by wgmma over an ascending list of key blocks. Numerics as
 * attn_sage.cu, but for the running maximum, which moves on every 128 keys.
 *
 * A CTA is one warpgroup with 64 queries of a head; three of them share a multiprocessor, so that the products of one
 * run under the softmax of the others, which needs their registers more than a producer warp would help: S and the
 * products of one tile live in the same 64 registers. A tile is two halves of 64 keys that may lie apart (codes of k,
 * and of v transposed); a half past the list or the last key is zero and masked. Two tiles are on their way. */
#include "attn.h"
#include "ptx_sm80.cuh"
#include "ptx_sm90.cuh"
#include "tensor_map.h"

#define D 128
#define HALF 64                                  /* keys of half a tile */
#define STAGES 2
#define P_OFFSET 8.807f

struct SageStorage {
    uint8_t k[STAGES][2][HALF * D];
    uint8_t v[STAGES][2][D * HALF];
    uint8_t q[64 * D];
    uint64_t k_full[STAGES], v_full[STAGES], q_full;
};

/* half h of tile t in the list of a query block */
struct SageHalf {
    float dq;                                    /* q scale x k scale */
    int first;                                   /* token of its first key; past the last one if there is none */
    bool late;
};

__device__ __forceinline__ SageHalf half_of(const SlaArgs &a, const int32_t *list, const float *k_scale, float q_scale,
                                            int i)
{
    int per = a.bk / HALF, entry = i / per, n_late = a.bk == 128 ? 1 : 2, block;
    SageHalf h;

    block = __ldg(list + min(entry, a.n_keep - 1));
    h.dq = q_scale * __ldg(k_scale + block);
    h.first = entry < a.n_keep ? block * a.bk + i % per * HALF : a.n_pad;
    h.late = entry >= a.n_keep - n_late;
    return h;
}

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 890      /* e4m3; only sm_90a calls it */
/* of 16 values from at on, as a tree: the chain would be most of a tile's time */
__device__ __forceinline__ float max16(const float (&x)[32], int at)
{
    float m[4];

#pragma unroll
    for (int i = 0; i < 4; i++)
        m[i] = fmaxf(fmaxf(x[at + i], x[at + i + 4]), fmaxf(x[at + i + 8], x[at + i + 12]));
    return fmaxf(fmaxf(m[0], m[1]), fmaxf(m[2], m[3]));
}

/* S -> P of a tile: new maximum m, row sums l, the factor for what was summed before, packed e4m3 */
__device__ __forceinline__ void softmax_tile(const int (&s)[64], const SageHalf (&t)[2], float (&m)[2], float (&l)[2],
                                             float sm, int n, float (&scale)[2], uint32_t (&p)[4][4])
{
    float mul[2] = { t[0].late ? sm : sm * t[0].dq, t[1].late ? sm : sm * t[1].dq };
    int lane = threadIdx.x % 32;

#pragma unroll
    for (int row = 0; row < 2; row++) {
        float x[32], top, bias, sum[4];

#pragma unroll
        for (int j = 0; j < 16; j++)
#pragma unroll
            for (int e = 0; e < 2; e++)
                x[2 * j + e] = (float)s[j * 4 + row * 2 + e];
#pragma unroll
        for (int h = 0; h < 2; h++) {
            if (t[h].late)                       /* the last blocks of a list */
#pragma unroll
                for (int j = 0; j < 16; j++)
                    x[h * 16 + j] *= t[h].dq;
            if (t[h].first + HALF > n)
#pragma unroll
                for (int j = 0; j < 16; j++)
                    if (t[h].first + j / 2 * 8 + lane % 4 * 2 + j % 2 >= n)
                        x[h * 16 + j] = -5e6f;
        }
        top = fmaxf(max16(x, 0) * mul[0], max16(x, 16) * mul[1]);
        top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
        top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
        top = fmaxf(m[row], top);
        scale[row] = exp2_approx(m[row] - top);
        m[row] = top;
        bias = P_OFFSET - top;
#pragma unroll
        for (int j = 0; j < 32; j++) {
            x[j] = exp2_approx(fmaf(x[j], mul[j / 16], bias));
            sum[j % 4] = j < 4 ? x[j] : sum[j % 4] + x[j];
        }
        l[row] = fmaf(l[row], scale[row], (sum[0] + sum[1]) + (sum[2] + sum[3]));
#pragma unroll
        for (int g = 0; g < 4; g++) {
            p[g][row] = pack_e4m3(x[8 * g], x[8 * g + 1]) | pack_e4m3(x[8 * g + 2], x[8 * g + 3]) << 16;
            p[g][row + 2] = pack_e4m3(x[8 * g + 4], x[8 * g + 5]) | pack_e4m3(x[8 * g + 6], x[8 * g + 7]) << 16;
        }
    }
}
#endif

/* one thread: both halves of a tile of k and v on their way */
__device__ __forceinline__ void load_tile(SageStorage *s, const SlaArgs &a, const CUtensorMap *map_k,
                                          const CUtensorMap *map_v, const int32_t *list, int t, int head)
{
    int stage = t % STAGES, per = a.bk / HALF, token[2];

    for (int h = 0; h < 2; h++) {
        int entry = (2 * t + h) / per;

        token[h] = entry < a.n_keep ? list[entry] * a.bk + (2 * t + h) % per * HALF : a.n_pad;
    }
    mbarrier_expect(&s->k_full[stage], 2 * HALF * D);
    for (int h = 0; h < 2; h++)
        tma_load_2d(s->k[stage][h], map_k, &s->k_full[stage], head * D, token[h]);
    mbarrier_expect(&s->v_full[stage], 2 * HALF * D);
    for (int h = 0; h < 2; h++)
        tma_load_2d(s->v[stage][h], map_v, &s->v_full[stage], token[h], head * D);
}

__global__ void __launch_bounds__(128, 3)
    attn_sage_sm90_kernel(const __grid_constant__ CUtensorMap map_q, const __grid_constant__ CUtensorMap map_k,
                          const __grid_constant__ CUtensorMap map_v, SlaArgs a, float sm)
{
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    extern __shared__ uint8_t raw[];
    SageStorage *s = (SageStorage *)align_1024(raw);
    int head = blockIdx.y, q0 = blockIdx.x * 64, qi = q0 / a.bq, per = a.bk / HALF,
        n_tiles = (a.n_keep * per + 1) / 2, lane = threadIdx.x % 32;
    const int32_t *list = a.map + ((int64_t)head * a.n_qb + qi) * a.n_keep;
    const float *k_scale = a.k_scale + (int64_t)head * a.n_kb;
    float o[64], m[2] = { -5e6f, -5e6f }, l[2] = { 0, 0 }, q_scale = a.q_scale[(int64_t)head * a.n_qb + qi];
    uint64_t dq = wgmma_descriptor(s->q);

    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++) {
            mbarrier_init(&s->k_full[i], 1);
            mbarrier_init(&s->v_full[i], 1);
        }
        mbarrier_init(&s->q_full, 1);
        fence_barrier_init();
        mbarrier_expect(&s->q_full, 64 * D);
        tma_load_2d(s->q, &map_q, &s->q_full, head * D, q0);
        for (int t = 0; t < STAGES && t < n_tiles; t++)
            load_tile(s, a, &map_k, &map_v, list, t, head);
    }
#pragma unroll
    for (int i = 0; i < 64; i++)
        o[i] = 0.0f;
    __syncthreads();
    mbarrier_wait(&s->q_full, 0);
    for (int t = 0; t < n_tiles; t++) {
        int stage = t % STAGES, parity = t / STAGES & 1;
        SageHalf half[2] = { half_of(a, list, k_scale, q_scale, 2 * t), half_of(a, list, k_scale, q_scale, 2 * t + 1) };
        float inner[64], scale[2];
        uint32_t p[4][4];

        {
            uint64_t dk = wgmma_descriptor(s->k[stage]);
            int x[64];

            mbarrier_wait(&s->k_full[stage], parity);
            wgmma_fence();
#pragma unroll
            for (int c = 0; c < 4; c++)
                wgmma_s8_n128(x, dq + 2 * c, dk + 2 * c, c > 0);
            wgmma_commit();
            wgmma_wait<0>();
            softmax_tile(x, half, m, l, sm, a.n, scale, p);
        }
        mbarrier_wait(&s->v_full[stage], parity);
        wgmma_fence();
#pragma unroll
        for (int g = 0; g < 4; g++)
            wgmma_e4m3_n128(inner, p[g], wgmma_descriptor64(s->v[stage][g / 2]) + g % 2 * 2, g > 0);
        wgmma_commit();
        wgmma_wait<0>();
        __syncthreads();
        if (threadIdx.x == 0 && t + STAGES < n_tiles)
            load_tile(s, a, &map_k, &map_v, list, t + STAGES, head);
#pragma unroll
        for (int i = 0; i < 64; i++)
            o[i] = fmaf(o[i], scale[i / 2 % 2], inner[i]);
    }
#pragma unroll
    for (int row = 0; row < 2; row++) {
        int r = q0 + threadIdx.x / 32 * 16 + lane / 4 + row * 8;
        float inv;

        l[row] += __shfl_xor_sync(~0u, l[row], 1);
        l[row] += __shfl_xor_sync(~0u, l[row], 2);
        inv = 1.0f / l[row];
        if (r >= a.n)
            continue;
#pragma unroll
        for (int j = 0; j < 16; j++) {
            int c = head * D + j * 8 + lane % 4 * 2;
            float2 vs = *(const float2 *)(a.v_scale + c);

            *(uint32_t *)(a.o + (int64_t)r * a.dim + c) =
                pack_bf16(o[j * 4 + row * 2] * inv * vs.x, o[j * 4 + row * 2 + 1] * inv * vs.y);
        }
    }
#endif
}

static const TDKernel kernels[] = { TD_KERNEL(sizeof(SageStorage) + 1024, true, attn_sage_sm90_kernel) };

int td_cuda_attn_sage_sm90(TDDev *dev, const SlaArgs &a)
{
    int smem, ret;
    float sm = (float)(1.0 / sqrt((double)D)) * 1.44269504f;
    CUtensorMap q, k, v;

    static_assert(3 * (sizeof(SageStorage) + 2048) <= 228 * 1024, "three CTAs fit in shared memory");
    TRY(smem = td_cuda_shared(dev, td_kernels(kernels), (const void *)attn_sage_sm90_kernel));
    TRY(td_cuda_map_matrix(dev, &q, a.q_code, a.n, a.dim, 1, 64, 128));
    TRY(td_cuda_map_matrix(dev, &k, a.k_code, a.n, a.dim, 1, HALF, 128));
    TRY(td_cuda_map_matrix(dev, &v, a.v_code, a.dim, a.n_pad, 1, D, HALF));
    attn_sage_sm90_kernel<<<dim3((unsigned)td_blocks(a.n, 64), a.n_heads), 128, smem, td_cuda(dev)->stream>>>(q, k, v,
                                                                                                               a, sm);
    CU_LAUNCHED(dev, "attn_sage_sm90_kernel");
    return 0;
fail:
    return ret;
}

TDKernels td_cuda_in_attn_sage_sm90(void) { return td_kernels(kernels); }
