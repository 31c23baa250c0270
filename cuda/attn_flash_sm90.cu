/* SPDX-License-Identifier: BSD-2-Clause
 * Attention in bf16 on Hopper, head dim 128: dense over all keys, or sparse over a list of key blocks. Numerics as
 * attn_flash.cu.
 *
 * Persistent CTAs walk the query blocks of one head after the other. A producer warp brings the queries (two buffers)
 * and, in one ring, tiles of 128 keys of K and of V; a consumer warpgroup owns 64 queries. A tile is two halves of 64
 * keys that may lie apart; a half past the list or the last key is zero and masked. With code set the output is
 * quantised: 128 queries of a head are one 128x128 block. */
#include "attn.h"
#include "gemm_epilogue.cuh"
#include "ptx_sm80.cuh"
#include "ptx_sm90.cuh"
#include "tensor_map.h"

#define D 128
#define TK 128                                   /* keys per tile */
#define STAGES 4
#define TILE_BYTES (TK * D * 2)
#define HALF_BYTES (TK * 128)                    /* 64 of the head's channels of a tile: rows of 128 bytes */

template <int NWG> struct FlashStorage {
    uint8_t kv[STAGES][TILE_BYTES];
    uint8_t q[2][NWG * 64 * D * 2];
    uint64_t full[STAGES], empty[STAGES], q_full[2], q_empty[2];
    float amax[NWG * 4];
};

struct FlashArgs {
    bf16 *o;
    int8_t *code;                                /* or NULL: store o */
    float *scale;                                /* of code: [n_q/128, heads] */
    const int32_t *map;                          /* [H, query blocks, n_keep], or NULL */
    int n_q, n_kv, dim, n_heads, n_qb, n_keep, list_bk, n_tiles;
    uint64_t doubled;                            /* as in TDQkv */
    float softmax_scale;                         /* log2(e) / sqrt(d) */
};

/* first key of half h of tile t; n_kv where there is none */
__device__ __forceinline__ int first_key(const FlashArgs &a, const int32_t *list, int t, int h)
{
    int i = 2 * t + h, per = a.list_bk / 64, entry;

    if (!list)
        return min(i * 64, a.n_kv);
    entry = i / per;
    return entry < a.n_keep ? list[entry] * a.list_bk + i % per * 64 : a.n_kv;
}

__device__ __forceinline__ const int32_t *unit_list(const FlashArgs &a, int unit)
{
    return a.map ? a.map + (int64_t)unit * a.n_keep : NULL;
}

template <int NWG> __device__ __forceinline__ void produce(const FlashArgs &a, FlashStorage<NWG> *s,
                                                           const CUtensorMap *map_q, const CUtensorMap *map_k,
                                                           const CUtensorMap *map_v)
{
    int stage = 0, phase = 0, turn = 0;

    for (int unit = blockIdx.x; unit < a.n_qb * a.n_heads; unit += gridDim.x, turn++) {
        int head = unit / a.n_qb, q0 = unit % a.n_qb * NWG * 64, b = turn % 2;
        const int32_t *list = unit_list(a, unit);

        mbarrier_wait(&s->q_empty[b], (turn / 2 & 1) ^ 1);
        mbarrier_expect(&s->q_full[b], NWG * 64 * D * 2);
        for (int c = 0; c < 2; c++)
            for (int w = 0; w < NWG; w++)
                tma_load_2d(s->q[b] + c * NWG * 64 * 128 + w * 64 * 128, map_q, &s->q_full[b], head * D + c * 64,
                            q0 + w * 64);
        for (int t = 0; t < a.n_tiles; t++)
            for (int v = 0; v < 2; v++) {
                mbarrier_wait(&s->empty[stage], phase ^ 1);
                mbarrier_expect(&s->full[stage], TILE_BYTES);
                for (int h = 0; h < 2; h++)
                    for (int c = 0; c < 2; c++)
                        tma_load_2d(s->kv[stage] + c * HALF_BYTES + h * 64 * 128, v ? map_v : map_k, &s->full[stage],
                                    head * D + c * 64, first_key(a, list, t, h));
                if (++stage == STAGES) {
                    stage = 0;
                    phase ^= 1;
                }
            }
    }
}

/* V as the second operand: [key][channel], channels innermost */
__device__ __forceinline__ uint64_t channel_major_descriptor(const void *p)
{
    return (uint64_t)((smem_address(p) & 0x3ffff) >> 4) | (uint64_t)(HALF_BYTES >> 4) << 16 | (uint64_t)64 << 32 |
           (uint64_t)1 << 62;
}

/* s = q k^T of 64 queries and a tile */
template <int NWG> __device__ __forceinline__ void issue_scores(float (&s)[64], const uint8_t *q, const uint8_t *k)
{
    uint64_t dq = wgmma_descriptor(q), dk = wgmma_descriptor(k);

    wgmma_fence();
#pragma unroll
    for (int c = 0; c < 8; c++)
        wgmma_bf16_n128(s, dq + c / 4 * (NWG * 64 * 128 >> 4) + c % 4 * 2, dk + c / 4 * (HALF_BYTES >> 4) + c % 4 * 2,
                        c > 0);
    wgmma_commit();
}

__device__ __forceinline__ void issue_pv(float (&o)[64], const uint32_t (&p)[8][4], const uint8_t *v)
{
    uint64_t dv = channel_major_descriptor(v);

    wgmma_fence();
#pragma unroll
    for (int c = 0; c < 8; c++)
        wgmma_bf16_n128_reg(o, p[c], dv + c * (16 * 128 >> 4));
    wgmma_commit();
}

/* S -> P: keys past the end masked, new maximum m, row sums l, and what was summed before brought to the new maximum */
__device__ __forceinline__ void softmax_tile(float (&s)[64], uint32_t (&p)[8][4], float (&o)[64], float (&m)[2],
                                             float (&l)[2], const FlashArgs &a, int key0, int key1)
{
    int lane = threadIdx.x % 32;

    if (key0 + 64 > a.n_kv || key1 + 64 > a.n_kv)
#pragma unroll
        for (int i = 0; i < 64; i++)
            if ((i < 32 ? key0 : key1) + i / 4 % 8 * 8 + lane % 4 * 2 + i % 2 >= a.n_kv)
                s[i] = -INFINITY;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float top[4], sum[4], scale;

#pragma unroll
        for (int j = 0; j < 32; j++) {
            float x = s[j / 2 * 4 + half * 2 + j % 2];

            top[j % 4] = j < 4 ? x : fmaxf(top[j % 4], x);
        }
        top[0] = fmaxf(fmaxf(top[0], top[1]), fmaxf(top[2], top[3]));
        top[0] = fmaxf(top[0], __shfl_xor_sync(~0u, top[0], 1));
        top[0] = fmaxf(top[0], __shfl_xor_sync(~0u, top[0], 2));
        top[0] = fmaxf(top[0] * a.softmax_scale, m[half]);
        scale = exp2_approx(m[half] - top[0]);
        m[half] = top[0];
#pragma unroll
        for (int j = 0; j < 32; j++) {
            float &x = s[j / 2 * 4 + half * 2 + j % 2];

            x = exp2_approx(fmaf(x, a.softmax_scale, -top[0]));
            sum[j % 4] = j < 4 ? x : sum[j % 4] + x;
        }
        l[half] = fmaf(l[half], scale, (sum[0] + sum[1]) + (sum[2] + sum[3]));
#pragma unroll
        for (int i = 0; i < 32; i++)
            o[i / 2 * 4 + half * 2 + i % 2] *= scale;
    }
    if (a.doubled && max(key0, key1) + 64 > a.n_kv - TD_DOUBLED_KEYS)
#pragma unroll
        for (int i = 0; i < 64; i++) {
            float more = double_key(s[i], a.doubled,
                                    a.n_kv - 1 - (i < 32 ? key0 : key1) - i / 4 % 8 * 8 - lane % 4 * 2 - i % 2);

            s[i] += more;
            l[i / 2 % 2] += more;
        }
#pragma unroll
    for (int c = 0; c < 8; c++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            p[c][i] = pack_bf16(s[c * 8 + i / 2 * 4 + i % 2 * 2], s[c * 8 + i / 2 * 4 + i % 2 * 2 + 1]);
}

/* 16 rows of a warp, divided by their sums: stored, or quantised together with the CTA's other rows */
template <int NWG> __device__ __forceinline__ void finish(const float (&o)[64], const float (&l)[2], const FlashArgs &a,
                                                          FlashStorage<NWG> *s, int row0, int head)
{
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    uint32_t keep[32];

#pragma unroll
    for (int half = 0; half < 2; half++) {
        float sum = l[half] + __shfl_xor_sync(~0u, l[half], 1);
        int row = row0 + lane / 4 + half * 8;

        sum += __shfl_xor_sync(~0u, sum, 2);
        sum = 1.0f / sum;
#pragma unroll
        for (int group = 0; group < 4; group++) {
            uint32_t w[4];

#pragma unroll
            for (int i = 0; i < 4; i++)
                w[i] = pack_bf16(o[(group * 4 + i) * 4 + half * 2] * sum, o[(group * 4 + i) * 4 + half * 2 + 1] * sum);
            transpose_quad(w);
            if (!a.code && row < a.n_q)
                store16(a.o + (int64_t)row * a.dim + head * D + group * 32 + lane % 4 * 8, w);
#pragma unroll
            for (int i = 0; i < 4; i++)
                keep[half * 16 + group * 4 + i] = row < a.n_q ? w[i] : 0;
        }
    }
    if (NWG == 2 && a.code) {
        EpilogueArgs e = {};
        float amax = warp_amax(abs_max(keep));

        if (lane == 0)
            s->amax[warp] = amax;
        named_barrier<3>(NWG * 128);
        amax = nan_max(warp_amax(s->amax[lane % (NWG * 4)]), 1e-8f);
        named_barrier<3>(NWG * 128);             /* read before the next block's */
        e.code = a.code;
        e.m = a.n_q;
        e.n = a.dim;
        store_codes(keep, e, row0, head * D, 128.0f * reciprocal(amax));
        if (threadIdx.x == 0)
            a.scale[row0 / 128 * a.n_heads + head] = amax / 128.0f;
    }
}

template <int NWG> __global__ void __launch_bounds__(NWG * 128 + 128, 1)
    flash_sm90_kernel(const __grid_constant__ CUtensorMap map_q, const __grid_constant__ CUtensorMap map_k,
                      const __grid_constant__ CUtensorMap map_v, FlashArgs a)
{
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    extern __shared__ uint8_t raw[];
    FlashStorage<NWG> *s = (FlashStorage<NWG> *)align_1024(raw);
    int wg = __shfl_sync(~0u, threadIdx.x / 128, 0);

    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++) {
            mbarrier_init(&s->full[i], 1);
            mbarrier_init(&s->empty[i], NWG);
        }
        for (int i = 0; i < 2; i++) {
            mbarrier_init(&s->q_full[i], 1);
            mbarrier_init(&s->q_empty[i], NWG);
        }
        fence_barrier_init();
    }
    __syncthreads();
    if (wg == NWG) {
        registers_down<24>();
        if (threadIdx.x == NWG * 128)
            produce<NWG>(a, s, &map_q, &map_k, &map_v);
    } else {
        int stage = 0, phase = 0, turn = 0;

        registers_up<240>();
        for (int unit = blockIdx.x; unit < a.n_qb * a.n_heads; unit += gridDim.x, turn++) {
            int head = unit / a.n_qb, q0 = unit % a.n_qb * NWG * 64, b = turn % 2;
            const int32_t *list = unit_list(a, unit);
            float o[64], m[2] = { -INFINITY, -INFINITY }, l[2] = { 0, 0 };

#pragma unroll
            for (int i = 0; i < 64; i++)
                o[i] = 0.0f;
            mbarrier_wait(&s->q_full[b], turn / 2 & 1);
            for (int t = 0; t < a.n_tiles; t++) {
                int key0 = first_key(a, list, t, 0), key1 = first_key(a, list, t, 1);
                uint32_t p[8][4];
                float x[64];

                mbarrier_wait(&s->full[stage], phase);
                issue_scores<NWG>(x, s->q[b] + wg * 64 * 128, s->kv[stage]);
                wgmma_wait<0>();
                if (threadIdx.x % 128 == 0) {
                    mbarrier_arrive(&s->empty[stage]);
                    if (t == a.n_tiles - 1)
                        mbarrier_arrive(&s->q_empty[b]);
                }
                softmax_tile(x, p, o, m, l, a, key0, key1);
                mbarrier_wait(&s->full[stage + 1], phase);
                issue_pv(o, p, s->kv[stage + 1]);
                wgmma_wait<0>();
                if (threadIdx.x % 128 == 0)
                    mbarrier_arrive(&s->empty[stage + 1]);
                stage += 2;
                if (stage == STAGES) {
                    stage = 0;
                    phase ^= 1;
                }
            }
            finish<NWG>(o, l, a, s, q0 + wg * 64 + threadIdx.x / 32 % 4 * 16, head);
        }
    }
#endif
}

#define FLASH_SM90_KERNEL(NWG) TD_KERNEL(sizeof(FlashStorage<NWG>) + 1024, true, flash_sm90_kernel<NWG>)

static const TDKernel kernels[] = { FLASH_SM90_KERNEL(1), FLASH_SM90_KERNEL(2) };

template <int NWG> static int launch(TDDev *dev, const TDQkv *qkv, const FlashArgs &a)
{
    int smem, units = a.n_qb * a.n_heads, n_sm = td_cuda(dev)->n_sm, ret;
    CUtensorMap q, k, v;

    TRY(smem = td_cuda_shared(dev, td_kernels(kernels), (const void *)flash_sm90_kernel<NWG>));
    TRY(td_cuda_map_matrix(dev, &q, qkv->q.data, qkv->n_q, a.dim, 2, 64, 128));
    TRY(td_cuda_map_matrix(dev, &k, qkv->k.data, qkv->n_kv, a.dim, 2, 64, 128));
    TRY(td_cuda_map_matrix(dev, &v, qkv->v.data, qkv->n_kv, a.dim, 2, 64, 128));
    flash_sm90_kernel<NWG><<<units < n_sm ? units : n_sm, NWG * 128 + 128, smem, td_cuda(dev)->stream>>>(q, k, v, a);
    CU_LAUNCHED(dev, "flash_sm90_kernel");
    return 0;
fail:
    return ret;
}

int td_cuda_flash_sm90(TDDev *dev, const TDQkv *qkv, bf16 *o, int8_t *code, float *scale)
{
    FlashArgs a = {};
    int bq = 128;

    if (qkv->head_dim != D)
        return td_cuda_flash_mma(dev, qkv, o, code, scale);
    a.o = o;
    a.code = code;
    a.scale = scale;
    a.n_q = (int)qkv->n_q;
    a.n_kv = (int)qkv->n_kv;
    a.n_heads = (int)qkv->n_heads;
    a.dim = a.n_heads * D;
    a.doubled = qkv->doubled;
    a.softmax_scale = (float)(1.0 / sqrt((double)D)) * 1.4426950408889634f;
    a.list_bk = 64;
    a.n_tiles = (int)td_blocks(qkv->n_kv, TK);
    if (qkv->cfg.kind != TD_ATTN_DENSE) {
        bq = qkv->cfg.bq;
        a.map = (const int32_t *)qkv->map.data;
        a.n_keep = (int)qkv->n_keep;
        a.list_bk = qkv->cfg.bk;
        a.n_tiles = (int)td_blocks(qkv->n_keep * qkv->cfg.bk, TK);
    }
    a.n_qb = (int)td_blocks(qkv->n_q, bq);
    return bq == 64 ? launch<1>(dev, qkv, a) : launch<2>(dev, qkv, a);
}

TDKernels td_cuda_in_attn_flash_sm90(void) { return td_kernels(kernels); }
