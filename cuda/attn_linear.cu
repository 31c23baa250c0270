/* SPDX-License-Identifier: BSD-2-Clause
 * Linear branch of sparse-linear attention, head dim 128: kv = fk^T v over all tokens, then per query
 * o += proj_l(fq kv / (1e-5 + fq . k_sum)), f = softmax over the head dim. Every line of it is a bf16 tensor in the
 * official code.
 *
 * kv is summed in TD_KV_PARTS parts per head, added in order. Shared rows are 128 bf16, chunks permuted by row. */
#include "attn.h"
#include "ptx_sm80.cuh"

#define D 128
#define ROWS 64                                  /* tokens per step */

__device__ __forceinline__ int offset(int row, int chunk) { return row * 256 + ((chunk ^ (row & 7)) << 4); }

/* softmax over the head dim of one row by 16 lanes of 8 values, to bf16 words */
__device__ __forceinline__ uint4 feature(uint4 u, float (&v)[8])
{
    float top = -INFINITY, s = 0;

    v[0] = low_f32(u.x), v[1] = high_f32(u.x), v[2] = low_f32(u.y), v[3] = high_f32(u.y);
    v[4] = low_f32(u.z), v[5] = high_f32(u.z), v[6] = low_f32(u.w), v[7] = high_f32(u.w);
    for (int j = 0; j < 8; j++)
        top = fmaxf(top, v[j]);
    for (int i = 8; i > 0; i >>= 1)
        top = fmaxf(top, __shfl_xor_sync(~0u, top, i));
    for (int j = 0; j < 8; j++)
        s += v[j] = __expf(v[j] - top);
    for (int i = 8; i > 0; i >>= 1)
        s += __shfl_xor_sync(~0u, s, i);
    for (int j = 0; j < 8; j++)
        v[j] = round_bf16(__fdividef(v[j], s));
    return make_uint4(pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));
}

/* a part of the tokens of one head: 8 warps, warp w owns rows 16w.. of kv (channels of k) */
__global__ void __launch_bounds__(256) linear_kv_kernel(SlaArgs a)
{
    __shared__ __align__(128) uint8_t sk[ROWS * 256], sv[ROWS * 256];
    __shared__ float sums[16][D];
    int part = blockIdx.x, head = blockIdx.y, warp = threadIdx.x / 32, lane = threadIdx.x % 32,
        chunk = threadIdx.x % 16, group = threadIdx.x / 16;
    int steps = (a.n + ROWS - 1) / ROWS, first = (int)((int64_t)steps * part / TD_KV_PARTS),
        last = (int)((int64_t)steps * (part + 1) / TD_KV_PARTS);
    float acc[16][4] = {}, sum[8] = { 0 };

    for (int step = first; step < last; step++) {
        for (int r = group; r < ROWS; r += 16) {
            int row = step * ROWS + r;
            bool ok = row < a.n;
            int64_t at = (int64_t)(ok ? row : 0) * a.dim + head * D + chunk * 8;
            float v[8];
            uint4 f = feature(*(const uint4 *)(a.k + at), v);

            if (!ok)
                f = make_uint4(0, 0, 0, 0);
            for (int j = 0; j < 8 && ok; j++)
                sum[j] += v[j];
            *(uint4 *)(sk + offset(r, chunk)) = f;
            *(uint4 *)(sv + offset(r, chunk)) = ok ? *(const uint4 *)(a.v + at) : make_uint4(0, 0, 0, 0);
        }
        __syncthreads();
#pragma unroll
        for (int c = 0; c < ROWS / 16; c++) {
            uint32_t fa[4], fb[4], t;

            /* A = fk^T: the transposed load gives (k 0-7, k 8-15) x (m 0-7, m 8-15) in the order m, k; the middle two
             * swap places */
            ldmatrix4_trans(fa, sk + offset(c * 16 + lane % 16, warp * 2 + lane / 16));
            t = fa[1];
            fa[1] = fa[2];
            fa[2] = t;
#pragma unroll
            for (int j = 0; j < 8; j++) {
                ldmatrix4_trans(fb, sv + offset(c * 16 + lane % 16, j * 2 + lane / 16));
                mma_bf16(acc[2 * j], fa, fb[0], fb[1]);
                mma_bf16(acc[2 * j + 1], fa, fb[2], fb[3]);
            }
        }
        __syncthreads();
    }
    float *kv = a.kv_part + ((int64_t)head * TD_KV_PARTS + part) * D * D;

#pragma unroll
    for (int j = 0; j < 16; j++)
#pragma unroll
        for (int half = 0; half < 2; half++)
            *(float2 *)(kv + (warp * 16 + lane / 4 + half * 8) * D + j * 8 + lane % 4 * 2) =
                make_float2(acc[j][half * 2], acc[j][half * 2 + 1]);
    for (int j = 0; j < 8; j++)
        sums[group][chunk * 8 + j] = sum[j];
    __syncthreads();
    if (threadIdx.x < D) {
        float s = 0;

        for (int i = 0; i < 16; i++)
            s += sums[i][threadIdx.x];
        a.k_sum_part[((int64_t)head * TD_KV_PARTS + part) * D + threadIdx.x] = s;
    }
}

__global__ void __launch_bounds__(256) linear_sum_kernel(SlaArgs a)
{
    int head = blockIdx.y, i = blockIdx.x * 256 + threadIdx.x;
    float s = 0;

    for (int p = 0; p < TD_KV_PARTS; p++)
        s += a.kv_part[((int64_t)head * TD_KV_PARTS + p) * D * D + i];
    a.kv[(int64_t)head * D * D + i] = to_bf16(s);
    if (i < D) {
        s = 0;
        for (int p = 0; p < TD_KV_PARTS; p++)
            s += a.k_sum_part[((int64_t)head * TD_KV_PARTS + p) * D + i];
        a.k_sum[head * D + i] = round_bf16(s);
    }
}

/* c[16x128] = a[16x128 rows in shared] b, b in shared as [k][n] (TRANS) or [n][k] */
template <bool TRANS>
__device__ __forceinline__ void product(float (&acc)[16][4], const uint8_t *sa, int row0, const uint8_t *sb)
{
    int lane = threadIdx.x % 32;
    uint32_t fa[4], fb[4];

#pragma unroll
    for (int c = 0; c < 8; c++) {
        ldmatrix4(fa, sa + offset(row0 + lane % 16, c * 2 + lane / 16));
#pragma unroll
        for (int j = 0; j < 8; j++) {
            if (TRANS)
                ldmatrix4_trans(fb, sb + offset(c * 16 + lane % 16, j * 2 + lane / 16));
            else
                ldmatrix4(fb, sb + offset(j * 16 + lane % 8 + lane / 16 * 8, c * 2 + lane / 8 % 2));
            mma_bf16(acc[2 * j], fa, fb[0], fb[1]);
            mma_bf16(acc[2 * j + 1], fa, fb[2], fb[3]);
        }
    }
}

/* 128 queries of one head; a warp owns 16 */
__global__ void __launch_bounds__(256) linear_apply_kernel(SlaArgs a, const bf16 *w, const float *bias)
{
    extern __shared__ __align__(128) uint8_t smem[];
    __shared__ float den[128];
    uint8_t *sq = smem, *skv = sq + 128 * 256, *sw = skv + D * 256;
    int head = blockIdx.y, q0 = blockIdx.x * 128, warp = threadIdx.x / 32, lane = threadIdx.x % 32,
        chunk = threadIdx.x % 16, group = threadIdx.x / 16;
    float acc[16][4] = {};

    for (int r = group; r < 128; r += 16) {
        float v[8], s = 0;
        int64_t at = (int64_t)min(q0 + r, a.n - 1) * a.dim + head * D + chunk * 8;

        *(uint4 *)(sq + offset(r, chunk)) = feature(*(const uint4 *)(a.q + at), v);
        for (int j = 0; j < 8; j++)
            s += round_bf16(v[j] * a.k_sum[head * D + chunk * 8 + j]);
        for (int i = 8; i > 0; i >>= 1)
            s += __shfl_xor_sync(~0u, s, i);
        if (chunk == 0)
            den[r] = round_bf16(1e-5f + round_bf16(s));
        *(uint4 *)(skv + offset(r, chunk)) = *(const uint4 *)(a.kv + ((int64_t)head * D + r) * D + chunk * 8);
        *(uint4 *)(sw + offset(r, chunk)) = *(const uint4 *)(w + r * D + chunk * 8);
    }
    __syncthreads();
    product<true>(acc, sq, warp * 16, skv);
    __syncwarp();                                /* a warp reads and overwrites its own 16 rows of sq only */
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int r = warp * 16 + lane / 4 + half * 8;
        float d = den[r];

#pragma unroll
        for (int j = 0; j < 16; j++) {
            float x = __fdividef(round_bf16(acc[j][half * 2]), d), y = __fdividef(round_bf16(acc[j][half * 2 + 1]), d);

            *(uint32_t *)(sq + offset(r, j) + lane % 4 * 4) = pack_bf16(x, y);
            acc[j][half * 2] = acc[j][half * 2 + 1] = 0;
        }
    }
    __syncwarp();
    product<false>(acc, sq, warp * 16, sw);
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int row = q0 + warp * 16 + lane / 4 + half * 8;

        if (row >= a.n)
            continue;
#pragma unroll
        for (int j = 0; j < 16; j++) {
            int c = j * 8 + lane % 4 * 2;
            uint32_t *p = (uint32_t *)(a.o + (int64_t)row * a.dim + head * D + c), os = *p;
            float x = round_bf16(acc[j][half * 2] + (bias ? bias[c] : 0.0f)),
                  y = round_bf16(acc[j][half * 2 + 1] + (bias ? bias[c + 1] : 0.0f));

            *p = pack_bf16(low_f32(os) + x, high_f32(os) + y);
        }
    }
}

int td_cuda_attn_linear(TDDev *dev, const SlaArgs &a, const TDLinear *proj_l)
{
    cudaStream_t stream = td_cuda(dev)->stream;
    int smem = (128 + 2 * D) * 256;

    linear_kv_kernel<<<dim3(TD_KV_PARTS, a.n_heads), 256, 0, stream>>>(a);
    CU_LAUNCHED(dev, "linear_kv_kernel");
    linear_sum_kernel<<<dim3(D * D / 256, a.n_heads), 256, 0, stream>>>(a);
    CU_LAUNCHED(dev, "linear_sum_kernel");
    CU(dev, cudaFuncSetAttribute(linear_apply_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, smem));
    linear_apply_kernel<<<dim3((unsigned)td_blocks(a.n, 128), a.n_heads), 256, smem, stream>>>(
        a, (const bf16 *)proj_l->w[0], proj_l->bias);
    CU_LAUNCHED(dev, "linear_apply_kernel");
    return 0;
}
