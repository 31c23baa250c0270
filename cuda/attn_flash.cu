/* SPDX-License-Identifier: BSD-2-Clause
 * Attention in bf16 on tensor cores with online softmax: dense over all keys, or sparse over a list of key blocks
 * (sla).
 *
 * A warp owns 16 queries; with SPLIT 2, two warps share them and own half of the head dim's outputs each: d 384 would
 * not fit the registers otherwise, and with tiles of more than 16 keys not the shared memory of a consumer card.
 * P is rounded to bf16 unnormalised, its row sum is of the unrounded values. K and V
 * tiles of BK keys are double buffered; shared rows are D bf16, their 16-byte chunks permuted by row. */
#include "attn.h"
#include "ptx_sm80.cuh"

struct FlashArgs {
    const bf16 *q, *k, *v;
    bf16 *o;
    const int32_t *map;                          /* [H, query blocks, n_keep], or NULL */
    int n_q, n_kv, dim, n_keep, list_bk;         /* dim: row length = heads * D; list_bk: keys per map entry */
    uint64_t doubled;                            /* as in TDQkv */
    float scale;                                 /* log2(e) / sqrt(d) */
};

template <int D> __device__ __forceinline__ int row_offset(int row, int chunk)
{
    return row * D * 2 + ((chunk ^ (D / 8 % 8 ? row >> 1 & 3 : row & 7)) << 4);
}

template <int D, int ROWS, int THREADS>
__device__ __forceinline__ void load_rows(uint8_t *dst, const bf16 *src, int first, int n, int dim)
{
    for (int i = threadIdx.x; i < ROWS * (D / 8); i += THREADS) {
        int row = i / (D / 8), chunk = i % (D / 8);
        bool ok = first + row < n;

        cp_async16(dst + row_offset<D>(row, chunk), src + (int64_t)(ok ? first + row : 0) * dim + chunk * 8,
                   ok ? 16 : 0);
    }
}

template <int D, int SPLIT, int BQ, int BK> __global__ void __launch_bounds__(BQ / 16 * SPLIT * 32)
    flash_kernel(FlashArgs a)
{
    constexpr int THREADS = BQ / 16 * SPLIT * 32, DO = D / SPLIT;
    extern __shared__ __align__(128) uint8_t smem[];
    uint8_t *sq = smem, *sk = sq + BQ * D * 2, *sv = sk + 2 * BK * D * 2;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, r0 = warp / SPLIT * 16, d0 = warp % SPLIT * DO,
        head = blockIdx.y, q0 = blockIdx.x * BQ;
    const bf16 *k = a.k + head * D, *v = a.v + head * D;
    const int32_t *list = a.map ? a.map + ((int64_t)head * gridDim.x + blockIdx.x) * a.n_keep : NULL;
    int per = a.map ? a.list_bk / BK : 1, n_tiles = a.map ? a.n_keep * per : (a.n_kv + BK - 1) / BK;
    float o[DO / 8][4] = {}, m[2] = { -INFINITY, -INFINITY }, l[2] = { 0, 0 };

    load_rows<D, BQ, THREADS>(sq, a.q + head * D, q0, a.n_q, a.dim);
    for (int t = 0; t <= n_tiles; t++) {
        /* tile t goes on its way while tile t-1 is worked on */
        if (t < n_tiles) {
            int first = list ? list[t / per] * a.list_bk + t % per * BK : t * BK;

            load_rows<D, BK, THREADS>(sk + t % 2 * BK * D * 2, k, first, a.n_kv, a.dim);
            load_rows<D, BK, THREADS>(sv + t % 2 * BK * D * 2, v, first, a.n_kv, a.dim);
        }
        cp_async_commit();
        if (t == 0)
            continue;
        cp_async_wait<1>();
        __syncthreads();

        const uint8_t *tk = sk + (t - 1) % 2 * BK * D * 2, *tv = sv + (t - 1) % 2 * BK * D * 2;
        int first = list ? list[(t - 1) / per] * a.list_bk + (t - 1) % per * BK : (t - 1) * BK;
        float s[BK / 8][4] = {};
        uint32_t fq[4], f[4];

#pragma unroll
        for (int c = 0; c < D / 16; c++) {
            ldmatrix4(fq, sq + row_offset<D>(r0 + lane % 16, c * 2 + lane / 16));
#pragma unroll
            for (int j = 0; j < BK / 16; j++) {
                ldmatrix4(f, tk + row_offset<D>(j * 16 + lane % 8 + lane / 16 * 8, c * 2 + lane / 8 % 2));
                mma_bf16(s[2 * j], fq, f[0], f[1]);
                mma_bf16(s[2 * j + 1], fq, f[2], f[3]);
            }
        }
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float top = -INFINITY, scale;

#pragma unroll
            for (int j = 0; j < BK / 8; j++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    float &x = s[j][half * 2 + e];

                    x = first + j * 8 + lane % 4 * 2 + e < a.n_kv ? x * a.scale : -INFINITY;
                    top = fmaxf(top, x);
                }
            top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
            top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
            top = fmaxf(top, m[half]);
            scale = top == -INFINITY ? 1.0f : exp2_approx(m[half] - top);
            m[half] = top;
            l[half] *= scale;
#pragma unroll
            for (int j = 0; j < DO / 8; j++) {
                o[j][half * 2] *= scale;
                o[j][half * 2 + 1] *= scale;
            }
#pragma unroll
            for (int j = 0; j < BK / 8; j++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    float &x = s[j][half * 2 + e];

                    x = top == -INFINITY ? 0.0f : exp2_approx(x - top);
                    l[half] += x;
                }
        }
        if (a.doubled && first + BK > a.n_kv - TD_DOUBLED_KEYS)
#pragma unroll
            for (int j = 0; j < BK / 8; j++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    float more = double_key(s[j][e], a.doubled, a.n_kv - 1 - (first + j * 8 + lane % 4 * 2 + e % 2));

                    s[j][e] += more;
                    l[e / 2] += more;
                }
#pragma unroll
        for (int c = 0; c < BK / 16; c++) {
            uint32_t p[4] = { pack_bf16(s[2 * c][0], s[2 * c][1]), pack_bf16(s[2 * c][2], s[2 * c][3]),
                              pack_bf16(s[2 * c + 1][0], s[2 * c + 1][1]),
                              pack_bf16(s[2 * c + 1][2], s[2 * c + 1][3]) };

#pragma unroll
            for (int j = 0; j < DO / 16; j++) {
                ldmatrix4_trans(f, tv + row_offset<D>(c * 16 + lane % 16, d0 / 8 + j * 2 + lane / 16));
                mma_bf16(o[2 * j], p, f[0], f[1]);
                mma_bf16(o[2 * j + 1], p, f[2], f[3]);
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int row = q0 + r0 + lane / 4 + half * 8;

        l[half] += __shfl_xor_sync(~0u, l[half], 1);
        l[half] += __shfl_xor_sync(~0u, l[half], 2);
        if (row >= a.n_q)
            continue;
#pragma unroll
        for (int j = 0; j < DO / 8; j++)
            *(uint32_t *)(a.o + (int64_t)row * a.dim + head * D + d0 + j * 8 + lane % 4 * 2) =
                pack_bf16(o[j][half * 2] / l[half], o[j][half * 2 + 1] / l[half]);
    }
}

#define FLASH_KERNEL(D, SPLIT, BQ, BK) TD_KERNEL((BQ + 4 * BK) * D * 2, false, flash_kernel<D, SPLIT, BQ, BK>)

static const TDKernel kernels[] = {
    FLASH_KERNEL(64, 1, 128, 64),  FLASH_KERNEL(96, 1, 128, 64), FLASH_KERNEL(128, 1, 64, 64),
    FLASH_KERNEL(128, 1, 128, 64), FLASH_KERNEL(384, 2, 64, 16),
};

template <int D, int SPLIT, int BQ, int BK> static int launch(TDDev *dev, const FlashArgs &a, int64_t n_heads)
{
    int smem = td_cuda_shared(dev, td_kernels(kernels), (const void *)flash_kernel<D, SPLIT, BQ, BK>);

    if (smem < 0)
        return smem;
    flash_kernel<D, SPLIT, BQ, BK>
        <<<dim3((unsigned)td_blocks(a.n_q, BQ), (unsigned)n_heads), BQ / 16 * SPLIT * 32, smem, td_cuda(dev)->stream>>>(
            a);
    CU_LAUNCHED(dev, "flash_kernel");
    return 0;
}

static int flash(TDDev *dev, const TDQkv *qkv, bf16 *o)
{
    FlashArgs a = {};

    a.q = (const bf16 *)qkv->q.data;
    a.k = (const bf16 *)qkv->k.data;
    a.v = (const bf16 *)qkv->v.data;
    a.o = o;
    a.n_q = (int)qkv->n_q;
    a.n_kv = (int)qkv->n_kv;
    a.dim = (int)(qkv->n_heads * qkv->head_dim);
    a.doubled = qkv->doubled;
    a.scale = (float)(1.0 / sqrt((double)qkv->head_dim)) * 1.4426950408889634f;
    if (qkv->cfg.kind != TD_ATTN_DENSE) {
        a.map = (const int32_t *)qkv->map.data;
        a.n_keep = (int)qkv->n_keep;
        a.list_bk = qkv->cfg.bk;
        return qkv->cfg.bq == 64 ? launch<128, 1, 64, 64>(dev, a, qkv->n_heads)
                                 : launch<128, 1, 128, 64>(dev, a, qkv->n_heads);
    }
    switch (qkv->head_dim) {
    case 64:  return launch<64, 1, 128, 64>(dev, a, qkv->n_heads);
    case 96:  return launch<96, 1, 128, 64>(dev, a, qkv->n_heads);
    case 128: return launch<128, 1, 128, 64>(dev, a, qkv->n_heads);
    default:  return launch<384, 2, 64, 16>(dev, a, qkv->n_heads);
    }
}

int td_cuda_flash_mma(TDDev *dev, const TDQkv *qkv, bf16 *o, int8_t *code, float *scale)
{
    int ret = flash(dev, qkv, o);

    return ret < 0 || !code
               ? ret
               : td_cuda_quantise_blocks(dev, o, qkv->n_q, qkv->n_heads * qkv->head_dim, code, scale);
}

int td_cuda_attn_dense(TDDev *dev, TDAct *o, TDQkv *qkv)
{
    return td_cuda(dev)->kernels.flash(dev, qkv, (bf16 *)o->x.data, (int8_t *)o->code.data,
                                       (float *)o->scale.data);
}

TDKernels td_cuda_in_attn_flash(void) { return td_kernels(kernels); }
