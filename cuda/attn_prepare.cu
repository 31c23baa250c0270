/* SPDX-License-Identifier: BSD-2-Clause
 * What sparse-linear attention needs from q, k, v: the mean of k, pooled blocks and their map, and for sagesla int8
 * codes of q and k and e4m3 codes of v, transposed, or v in f16. Head dim 128 throughout. Sums over tokens go through
 * partial sums in a fixed order. */
#include "attn.h"
#include "ptx_sm80.cuh"

#define D 128

/* partial sums of k and, for sagesla, largest |v| per channel over TD_ATTN_CHUNK tokens; a thread owns a channel */
__global__ void __launch_bounds__(D) channel_stats_kernel(SlaArgs a)
{
    int head = blockIdx.y, c = head * D + threadIdx.x;
    int first = blockIdx.x * TD_ATTN_CHUNK, last = min(first + TD_ATTN_CHUNK, a.n);
    float s[4] = { 0 }, top = 0;

    for (int r = first; r < last; r++) {
        s[r % 4] += to_f32(a.k[(int64_t)r * a.dim + c]);
        if (a.v_scale)
            top = fmaxf(top, fabsf(to_f32(a.v[(int64_t)r * a.dim + c])));
    }
    a.partial_sum[(int64_t)blockIdx.x * a.dim + c] = (s[0] + s[1]) + (s[2] + s[3]);
    if (a.v_scale)
        a.partial_max[(int64_t)blockIdx.x * a.dim + c] = top;
}

__global__ void __launch_bounds__(D) channel_finish_kernel(SlaArgs a, int n_chunks)
{
    int c = blockIdx.x * D + threadIdx.x;
    double s = 0;
    float top = 0;

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

/* a block of rows of one head: pooled mean, and for sagesla its codes. 16 lanes a row, 16 rows at a time. */
template <bool SMOOTH> __device__ __forceinline__ void block_rows(const bf16 *x, const float *mean, int head, int first,
                                                                  int last, int dim, float *pool, int8_t *code,
                                                                  float *scale)
{
    __shared__ float part[16][D], shared[8];
    int lane = threadIdx.x % 16, group = threadIdx.x / 16, c = lane * 8;
    float sum[8] = { 0 }, mu[8] = { 0 }, top = 0;

    if (SMOOTH)
        for (int j = 0; j < 8; j++)
            mu[j] = mean[head * D + c + j];
    for (int r = first + group; r < last; r += 16) {
        uint4 u = *(const uint4 *)(x + (int64_t)r * dim + head * D + c);
        float v[8] = { low_f32(u.x), high_f32(u.x), low_f32(u.y), high_f32(u.y),
                       low_f32(u.z), high_f32(u.z), low_f32(u.w), high_f32(u.w) };

        for (int j = 0; j < 8; j++) {
            v[j] = SMOOTH ? round_bf16(v[j] - mu[j]) : v[j];
            sum[j] += v[j];
            top = fmaxf(top, fabsf(v[j]));
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
    if (threadIdx.x == 0)
        *scale = top;
    for (int r = first + group; r < last; r += 16) {
        uint4 u = *(const uint4 *)(x + (int64_t)r * dim + head * D + c);
        float v[8] = { low_f32(u.x), high_f32(u.x), low_f32(u.y), high_f32(u.y),
                       low_f32(u.z), high_f32(u.z), low_f32(u.w), high_f32(u.w) };
        uint32_t w[2] = { 0, 0 };

        for (int j = 0; j < 8; j++) {
            float t = (SMOOTH ? round_bf16(v[j] - mu[j]) : v[j]) / top;

            w[j / 4] |= ((uint32_t)(int)(t + (t >= 0.0f ? 0.5f : -0.5f)) & 255) << (j % 4 * 8);
        }
        *(uint2 *)(code + (int64_t)r * dim + head * D + c) = make_uint2(w[0], w[1]);
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
 * position p holds token [0 1 8 9 2 3 10 11 4 5 12 13 6 7 14 15][p] */
__global__ void __launch_bounds__(256) v_code_kernel(SlaArgs a)
{
#if __CUDA_ARCH__ >= 890
    __shared__ float tile[64][D + 1];
    int head = blockIdx.y, first = blockIdx.x * 64;

    for (int i = threadIdx.x; i < 64 * D; i += 256) {
        int r = i / D, c = i % D;

        tile[r][c] = first + r < a.n ? to_f32(a.v[(int64_t)(first + r) * a.dim + head * D + c]) : 0.0f;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < D * 16; i += 256) {
        int c = i / 16, w = i % 16, pair = w % 4;            /* word w: positions 4w..4w+3 of the 64 */
        int token = w / 4 * 16 + pair * 2;
        float mult = a.v_scale[a.dim + head * D + c];
        uint32_t low = pack_e4m3(tile[token][c] * mult, tile[token + 1][c] * mult),
                 high = pack_e4m3(tile[token + 8][c] * mult, tile[token + 9][c] * mult);

        *(uint32_t *)(a.v_code + ((int64_t)head * D + c) * a.n_pad + first + w * 4) = low | high << 16;
    }
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

/* ROWS: as many as have their keys in TD_MAP_KEY_BYTES of shared memory; 1 is enough for the longest clip */
template <int ROWS> __global__ void __launch_bounds__(128) block_map_kernel(SlaArgs a)
{
    extern __shared__ uint8_t smem[];
    __shared__ float q[ROWS][D];
    __shared__ int count[ROWS][256];
    uint16_t *keys = (uint16_t *)smem;
    int head = blockIdx.y, row0 = blockIdx.x * ROWS, warp = threadIdx.x / 32, lane = threadIdx.x % 32;

    for (int i = threadIdx.x; i < ROWS * D; i += 128)
        q[i / D][i % D] = row0 + i / D < a.n_qb ? a.q_pool[((int64_t)head * a.n_qb + row0) * D + i] : 0.0f;
    __syncthreads();
    for (int kj = threadIdx.x; kj < a.n_kb; kj += 128) {
        const float4 *k = (const float4 *)(a.k_pool + ((int64_t)head * a.n_kb + kj) * D);
        float s[ROWS] = { 0 };

        for (int c = 0; c < D / 4; c++) {
            float4 v = k[c];

            for (int r = 0; r < ROWS; r++)
                s[r] = fmaf(v.w, q[r][4 * c + 3],
                            fmaf(v.z, q[r][4 * c + 2], fmaf(v.y, q[r][4 * c + 1], fmaf(v.x, q[r][4 * c], s[r]))));
        }
        for (int r = 0; r < ROWS; r++)
            keys[r * a.n_kb + kj] = (uint16_t)order_key(s[r]);
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

    channel_stats_kernel<<<dim3(n_chunks, a.n_heads), D, 0, stream>>>(a);
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
