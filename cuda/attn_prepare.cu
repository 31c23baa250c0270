/* SPDX-License-Identifier: BSD-2-Clause
 * What sparse-linear attention needs from q, k, v: the mean of k, pooled blocks and their map, and for sagesla int8
 * codes of q and k and e4m3 codes of v, transposed, or v in f16. Head dim 128 throughout. Sums over tokens go through
 * partial sums in a fixed order. */
#include "attn.h"
#include "ptx_sm80.cuh"

#define D 128
#define MAX_BLOCK 128                            /* rows of a block of queries or keys */

/* Partial sums of k and, for sagesla, largest |v| per channel over TD_ATTN_CHUNK tokens of a head: a thread has 8
 * channels of every fourth token, so that a sum has four parts whatever the number of threads. */
__global__ void __launch_bounds__(64) channel_stats_kernel(SlaArgs a)
{
    __shared__ float part[4][D], largest[4][D];
    int lane = threadIdx.x % 16, group = threadIdx.x / 16, c = blockIdx.y * D + lane * 8;
    int first = blockIdx.x * TD_ATTN_CHUNK, last = min(first + TD_ATTN_CHUNK, a.n);
    float s[8] = { 0 }, top[8] = { 0 };

#pragma unroll 8
    for (int r = first + group; r < last; r += 4) {
        float k[8], v[8] = { 0 };

        unpack8(k, *(const uint4 *)(a.k + (int64_t)r * a.dim + c));
        if (a.v_scale)
            unpack8(v, *(const uint4 *)(a.v + (int64_t)r * a.dim + c));
#pragma unroll
        for (int j = 0; j < 8; j++) {
            s[j] += k[j];
            top[j] = fmaxf(top[j], fabsf(v[j]));
        }
    }
    for (int j = 0; j < 8; j++) {
        part[group][lane * 8 + j] = s[j];
        largest[group][lane * 8 + j] = top[j];
    }
    __syncthreads();
    for (int i = threadIdx.x; i < D; i += 64) {
        int64_t at = (int64_t)blockIdx.x * a.dim + blockIdx.y * D + i;

        a.partial_sum[at] = (part[0][i] + part[1][i]) + (part[2][i] + part[3][i]);
        if (a.v_scale)
            a.partial_max[at] = fmaxf(fmaxf(largest[0][i], largest[1][i]), fmaxf(largest[2][i], largest[3][i]));
    }
}

__global__ void __launch_bounds__(D) channel_finish_kernel(SlaArgs a, int n_chunks)
{
    int c = blockIdx.x * D + threadIdx.x;
    double s = 0;
    float top = 0;

#pragma unroll 16
    for (int i = 0; i < n_chunks; i++) {
        s += a.partial_sum[(int64_t)i * a.dim + c];
        if (a.v_scale)
            top = fmaxf(top, a.partial_max[(int64_t)i * a.dim + c]);
    }
    a.k_mean[c] = round_bf16((float)s * (1.0f / (float)a.n));
    if (a.v_scale) { /* an all-zero channel keeps scale 1: the official kernel would make NaN */
        a.v_scale[c] = top > 0 ? top / 2.25f : 1.0f;
        a.v_scale[a.dim + c] = top > 0 ? 2.25f / top : 1.0f;
    }
}

/* x / y with inv = 1 / y: a product, and what is left of x by it. Codes are those of a division (8.5 G pairs,
 * SPEED.md); of the quotients one in 800 has other bits. */
__device__ __forceinline__ float divide(float x, float y, float inv)
{
    float q = x * inv;

    return fmaf(fmaf(-q, y, x), inv, q);
}

/* A block of rows of one head: pooled mean, and for sagesla its codes. 16 lanes a row, 16 rows at a time, which stay in
 * registers. */
template <bool SMOOTH> __device__ __forceinline__ void block_rows(const bf16 *x, const float *mean, int head, int first,
                                                                  int last, int dim, float *pool, int8_t *code,
                                                                  float *scale)
{
    __shared__ float part[16][D], shared[8];
    int lane = threadIdx.x % 16, group = threadIdx.x / 16, c = lane * 8;
    int64_t at = (int64_t)(first + group) * dim + head * D + c;
    float sum[8] = { 0 }, mu[8] = { 0 }, top = 0, inv;
    uint4 rows[MAX_BLOCK / 16];

#pragma unroll
    for (int i = 0; i < MAX_BLOCK / 16; i++)
        if (first + group + i * 16 < last)
            rows[i] = *(const uint4 *)(x + at + (int64_t)i * 16 * dim);
    if (SMOOTH)
        for (int j = 0; j < 8; j++)
            mu[j] = mean[head * D + c + j];
#pragma unroll
    for (int i = 0; i < MAX_BLOCK / 16; i++)
        if (first + group + i * 16 < last) {
            float v[8];

            unpack8(v, rows[i]);
#pragma unroll
            for (int j = 0; j < 8; j += 2) {
                if (SMOOTH)
                    round2(v[j] -= mu[j], v[j + 1] -= mu[j + 1]);
                sum[j] += v[j];
                sum[j + 1] += v[j + 1];
                top = fmaxf(top, fmaxf(fabsf(v[j]), fabsf(v[j + 1])));
            }
        }
    for (int j = 0; j < 8; j++)
        part[group][c + j] = sum[j];
    top = warp_max(top);
    if (threadIdx.x % 32 == 0)
        shared[threadIdx.x / 32] = top;
    __syncthreads();
    if (threadIdx.x < D) {
        float s = 0;

        for (int i = 0; i < 16; i++)
            s += part[i][threadIdx.x];
        pool[threadIdx.x] = round_bf16(s / (float)(last - first));
    }
    if (!code)
        return;
    top = warp_max(shared[threadIdx.x % 8]);
    top = __fadd_rn(top / 127.0f, 1e-7f);
    inv = 1.0f / top;
    if (threadIdx.x == 0)
        *scale = top;
#pragma unroll
    for (int i = 0; i < MAX_BLOCK / 16; i++)
        if (first + group + i * 16 < last) {
            uint32_t w[2] = { 0, 0 };
            float v[8];

            unpack8(v, rows[i]);
#pragma unroll
            for (int j = 0; j < 8 && SMOOTH; j += 2)
                round2(v[j] -= mu[j], v[j + 1] -= mu[j + 1]);
#pragma unroll
            for (int j = 0; j < 8; j++) {
                float t = divide(v[j], top, inv);

                w[j / 4] |= ((uint32_t)(int)(t + (t >= 0.0f ? 0.5f : -0.5f)) & 255) << (j % 4 * 8);
            }
            *(uint2 *)(code + at + (int64_t)i * 16 * dim) = make_uint2(w[0], w[1]);
        }
}

__global__ void __launch_bounds__(256) block_prepare_kernel(SlaArgs a)
{
    int head = blockIdx.y, b = blockIdx.x;

    if (b < a.n_qb) {
        int64_t at = (int64_t)head * a.n_qb + b;

        block_rows<false>(a.q, NULL, head, b * a.bq, min((b + 1) * a.bq, a.n), a.dim, a.q_pool + at * D, a.q_code,
                          a.q_scale + at);
    } else {
        int64_t at = (int64_t)head * a.n_kb + b - a.n_qb;

        b -= a.n_qb;
        block_rows<true>(a.k, a.k_mean, head, b * a.bk, min((b + 1) * a.bk, a.n), a.dim, a.k_pool + at * D, a.k_code,
                         a.k_scale + at);
    }
}

/* v of 64 tokens of a head -> e4m3 [channel][token], tokens of each 16 in the order P's fragment has them:
 * position p holds token [0 1 8 9 2 3 10 11 4 5 12 13 6 7 14 15][p]. A thread makes 16 tokens of two channels. */
__global__ void __launch_bounds__(256) v_code_kernel(SlaArgs a)
{
#if __CUDA_ARCH__ >= 890
    /* by 16 tokens, which begin 8 banks after each other */
    __shared__ uint4 tile[4][16 * D / 8 + 2];
    int head = blockIdx.y, first = blockIdx.x * 64, lane = threadIdx.x % 16;
    int group = threadIdx.x % 4, token = group * 16, pair = threadIdx.x / 4, c = head * D + pair * 2;
    float2 mult = *(const float2 *)(a.v_scale + a.dim + c);
    uint32_t w[2][4];

#pragma unroll
    for (int i = 0; i < 4; i++) {
        int r = threadIdx.x / 16, t = first + i * 16 + r;

        tile[i][r * D / 8 + lane] =
            t < a.n ? *(const uint4 *)(a.v + (int64_t)t * a.dim + head * D + lane * 8) : make_uint4(0, 0, 0, 0);
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const uint32_t *v = (const uint32_t *)tile[group] + 2 * i * D / 2 + pair;
        uint32_t x[4] = { v[0], v[D / 2], v[8 * D / 2], v[9 * D / 2] };

        w[0][i] = pack_e4m3(low_f32(x[0]) * mult.x, low_f32(x[1]) * mult.x) |
                  pack_e4m3(low_f32(x[2]) * mult.x, low_f32(x[3]) * mult.x) << 16;
        w[1][i] = pack_e4m3(high_f32(x[0]) * mult.y, high_f32(x[1]) * mult.y) |
                  pack_e4m3(high_f32(x[2]) * mult.y, high_f32(x[3]) * mult.y) << 16;
    }
    for (int i = 0; i < 2; i++)
        store16(a.v_code + (int64_t)(c + i) * a.n_pad + first + token, w[i]);
#endif
}

/* the same where there is no e4m3: f16 [token][channel], zeros past n */
__global__ void __launch_bounds__(256) v_half_kernel(SlaArgs a)
{
    int64_t i = ((int64_t)blockIdx.x * 256 + threadIdx.x) * 8;
    uint4 u = i < (int64_t)a.n * a.dim ? *(const uint4 *)(a.v + i) : make_uint4(0, 0, 0, 0);
    uint32_t w[4] = { u.x, u.y, u.z, u.w };

    if (i >= (int64_t)a.n_pad * a.dim)
        return;
    for (int e = 0; e < 4; e++)
        w[e] = pack_half(low_f32(w[e]), high_f32(w[e]));
    store16(a.v_half + i, w);
}

/* ---- block map: scores of a few query blocks against all key blocks, then the n_keep largest of each ---- */

/* unsigned key in the order of bf16 values, NaN on top, +0 above -0 */
__device__ __forceinline__ uint32_t order_key(float x)
{
    uint32_t b = __float_as_uint(round_bf16(x)) >> 16;

    return b & 0x8000 ? (uint16_t)~b : b | 0x8000;
}

/* the key value whose rank is n, and how many keys lie above it; one warp */
__device__ __forceinline__ uint32_t nth_key(const uint16_t *key, int n_keys, int n, int *count, int &above)
{
    int lane = threadIdx.x % 32, bin[2];

    above = 0;
    for (int level = 0; level < 2; level++) {
        for (int i = lane; i < 256; i += 32)
            count[i] = 0;
        __syncwarp();
        for (int i = lane; i < n_keys; i += 32)
            if (level == 0 || key[i] >> 8 == bin[0])
                atomicAdd(&count[level ? key[i] & 255 : key[i] >> 8], 1);
        __syncwarp();
        bin[level] = 255;
        while (above + count[bin[level]] < n)
            above += count[bin[level]--];
        __syncwarp();
    }
    return (uint32_t)bin[0] << 8 | (uint32_t)bin[1];
}

#define KEY_PART 32                              /* channels */

/* ROWS: as many as have their keys in TD_MAP_KEY_BYTES of shared memory; 1 is enough for the longest clip */
template <int ROWS> __global__ void __launch_bounds__(128) block_map_kernel(SlaArgs a)
{
    extern __shared__ uint8_t smem[];
    __shared__ __align__(16) float q[ROWS][D];
    __shared__ float4 part[128][KEY_PART / 4 + 1];
    __shared__ int count[ROWS][256];
    uint16_t *keys = (uint16_t *)smem;
    int head = blockIdx.y, row0 = blockIdx.x * ROWS, warp = threadIdx.x / 32, lane = threadIdx.x % 32;

    for (int i = threadIdx.x; i < ROWS * D; i += 128)
        q[i / D][i % D] = row0 + i / D < a.n_qb ? a.q_pool[((int64_t)head * a.n_qb + row0) * D + i] : 0.0f;
    __syncthreads();
    for (int k0 = 0; k0 < a.n_kb; k0 += 128) {
        float s[ROWS] = { 0 };

        for (int c0 = 0; c0 < D; c0 += KEY_PART) {           /* 128 keys a part at a time: rows are read in one piece */
            for (int i = threadIdx.x; i < 128 * KEY_PART / 4; i += 128) {
                int r = i / (KEY_PART / 4), c = i % (KEY_PART / 4);

                if (k0 + r < a.n_kb)
                    part[r][c] = *(const float4 *)(a.k_pool + ((int64_t)head * a.n_kb + k0 + r) * D + c0 + 4 * c);
            }
            __syncthreads();
#pragma unroll
            for (int c = 0; c < KEY_PART / 4; c++) {
                float4 v = part[threadIdx.x][c];

#pragma unroll
                for (int r = 0; r < ROWS; r++) {
                    float4 w = *(const float4 *)&q[r][c0 + 4 * c];

                    s[r] = fmaf(v.w, w.w, fmaf(v.z, w.z, fmaf(v.y, w.y, fmaf(v.x, w.x, s[r]))));
                }
            }
            __syncthreads();
        }
        for (int r = 0; r < ROWS && k0 + threadIdx.x < a.n_kb; r++)
            keys[r * a.n_kb + k0 + threadIdx.x] = (uint16_t)order_key(s[r]);
    }
    __syncthreads();
    if (warp >= ROWS || row0 + warp >= a.n_qb)
        return;

    const uint16_t *key = keys + warp * a.n_kb;
    int32_t *list = a.map + ((int64_t)head * a.n_qb + row0 + warp) * a.n_keep;
    int above, out = 0, ties = 0;
    uint32_t cut = nth_key(key, a.n_kb, a.n_keep, count[warp], above);
    int n_ties = a.n_keep - above;

    /* sla lists the greater ones first, then the ties; sagesla's list ascends */
    for (int i = 0; i < a.n_kb; i += 32) {
        uint32_t x = i + lane < a.n_kb ? key[i + lane] : 0;
        bool in = i + lane < a.n_kb, more = in && x > cut, tie = in && x == cut;
        uint32_t below = (1u << lane) - 1, tie_mask = __ballot_sync(~0u, tie), take;
        bool tie_taken = tie && ties + __popc(tie_mask & below) < n_ties, chosen = more || (tie_taken && a.ascending);

        take = __ballot_sync(~0u, chosen);
        if (chosen)
            list[out + __popc(take & below)] = i + lane;
        if (tie_taken && !a.ascending)
            list[above + ties + __popc(tie_mask & below)] = i + lane;
        out += __popc(take);
        ties += __popc(tie_mask);
    }
}

static const TDKernel kernels[] = {
    TD_KERNEL(TD_MAP_KEY_BYTES, false, block_map_kernel<4>), TD_KERNEL(TD_MAP_KEY_BYTES, false, block_map_kernel<2>),
    TD_KERNEL(TD_MAP_KEY_BYTES, false, block_map_kernel<1>),
};

template <int ROWS> static int make_map(TDDev *dev, const SlaArgs &a)
{
    int smem = ROWS * a.n_kb * 2;

    block_map_kernel<ROWS><<<dim3((unsigned)td_blocks(a.n_qb, ROWS), a.n_heads), 128, smem, td_cuda(dev)->stream>>>(a);
    CU_LAUNCHED(dev, "block_map_kernel");
    return 0;
}

int td_cuda_attn_prepare(TDDev *dev, const SlaArgs &a)
{
    cudaStream_t stream = td_cuda(dev)->stream;
    int n_chunks = (int)td_cuda_attn_chunks(a.n);

    channel_stats_kernel<<<dim3(n_chunks, a.n_heads), 64, 0, stream>>>(a);
    CU_LAUNCHED(dev, "channel_stats_kernel");
    channel_finish_kernel<<<a.n_heads, D, 0, stream>>>(a, n_chunks);
    CU_LAUNCHED(dev, "channel_finish_kernel");
    block_prepare_kernel<<<dim3(a.n_qb + a.n_kb, a.n_heads), 256, 0, stream>>>(a);
    CU_LAUNCHED(dev, "block_prepare_kernel");
    if (a.v_code) {
        v_code_kernel<<<dim3(a.n_pad / 64, a.n_heads), 256, 0, stream>>>(a);
        CU_LAUNCHED(dev, "v_code_kernel");
    }
    if (a.v_half) {
        v_half_kernel<<<(unsigned)td_blocks((int64_t)a.n_pad * a.dim, 256 * 8), 256, 0, stream>>>(a);
        CU_LAUNCHED(dev, "v_half_kernel");
    }
    return 4 * 2 * a.n_kb <= TD_MAP_KEY_BYTES   ? make_map<4>(dev, a)
           : 2 * 2 * a.n_kb <= TD_MAP_KEY_BYTES ? make_map<2>(dev, a)
                                         : make_map<1>(dev, a);
}

TDKernels td_cuda_in_attn_prepare(void) { return td_kernels(kernels); }
