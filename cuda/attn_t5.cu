/* SPDX-License-Identifier: BSD-2-Clause
 * umT5 attention over up to 512 tokens: scores to bf16, plus bias to bf16, softmax in f32 to bf16. A CTA owns 16
 * queries of a head. */
#include "base/wan.h"
#include "device.h"

#define QUERIES 16
#define MAX_TOKENS TD_TEXT_LEN
#define MAX_D TD_TEXT_HEAD_DIM

struct T5Args {
    const bf16 *qkv, *bias;
    bf16 *o;
    int n, n_heads, d;
};

/* bucket of key - query: exact below 8, then logarithmic up to 128; thresholds of the f32 formula */
__device__ __forceinline__ int t5_bucket(int rel)
{
    int n = abs(rel), b = n < 8    ? n
                          : n < 12 ? 8
                          : n < 16 ? 9
                          : n < 23 ? 10
                          : n < 32 ? 11
                          : n < 46 ? 12
                          : n < 64 ? 13
                          : n < 91 ? 14
                                   : 15;

    return (rel > 0 ? 16 : 0) + b;
}

__global__ void __launch_bounds__(256, TD_BLOCKS(0, 2)) attn_t5_kernel(T5Args a)
{
    extern __shared__ float smem[];
    float *s = smem, *q = s + QUERIES * MAX_TOKENS;
    int h = blockIdx.y, q0 = blockIdx.x * QUERIES, w = a.n_heads * a.d, rows = min(QUERIES, a.n - q0),
        warp = threadIdx.x / 32, lane = threadIdx.x % 32;

    for (int i = threadIdx.x; i < rows * a.d; i += 256)
        q[i] = to_f32(a.qkv[(int64_t)(q0 + i / a.d) * 3 * w + h * a.d + i % a.d]);
    __syncthreads();
    for (int j = threadIdx.x; j < a.n; j += 256) {
        const bf16 *k = a.qkv + (int64_t)j * 3 * w + w + h * a.d;
        float acc[QUERIES] = { 0 };

        for (int c = 0; c < a.d; c += 2) {
            uint32_t kw = *(const uint32_t *)(k + c);

            for (int r = 0; r < QUERIES; r++)
                acc[r] = fmaf(q[r * a.d + c + 1], high_f32(kw), fmaf(q[r * a.d + c], low_f32(kw), acc[r]));
        }
        for (int r = 0; r < rows; r++)
            s[r * MAX_TOKENS + j] =
                round_bf16(round_bf16(acc[r]) + to_f32(a.bias[t5_bucket(j - q0 - r) * a.n_heads + h]));
    }
    __syncthreads();
    for (int r = warp; r < rows; r += 8) {
        float top = -INFINITY, sum = 0;

        for (int j = lane; j < a.n; j += 32)
            top = fmaxf(top, s[r * MAX_TOKENS + j]);
        top = warp_max(top);
        for (int j = lane; j < a.n; j += 32)
            sum += s[r * MAX_TOKENS + j] = expf(s[r * MAX_TOKENS + j] - top);
        sum = warp_sum(sum);
        for (int j = lane; j < a.n; j += 32)
            s[r * MAX_TOKENS + j] = round_bf16(s[r * MAX_TOKENS + j] / sum);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < a.d * 4; i += 256) {       /* a channel for a quarter of the queries */
        int c = i % a.d, first = i / a.d * (QUERIES / 4);
        float acc[QUERIES / 4] = { 0 };

        for (int j = 0; j < a.n; j++) {
            float v = to_f32(a.qkv[(int64_t)j * 3 * w + 2 * w + h * a.d + c]);

            for (int r = 0; r < QUERIES / 4; r++)
                acc[r] = fmaf(s[(first + r) * MAX_TOKENS + j], v, acc[r]);
        }
        for (int r = 0; r < QUERIES / 4 && first + r < rows; r++)
            a.o[(int64_t)(q0 + first + r) * w + h * a.d + c] = to_bf16(acc[r]);
    }
}

static const TDKernel kernels[] = {
    TD_KERNEL((QUERIES * MAX_TOKENS + QUERIES * MAX_D) * sizeof(float), false, attn_t5_kernel),
};

int td_cuda_attn_t5(TDDev *dev, TDTensor *o, const TDTensor *qkv, const TDTensor *bias, int64_t n_heads)
{
    T5Args a = {};
    int smem = td_cuda_shared(dev, td_kernels(kernels), (const void *)attn_t5_kernel);

    if (smem < 0)
        return smem;
    a.qkv = (const bf16 *)qkv->data;
    a.bias = (const bf16 *)bias->data;
    a.o = (bf16 *)o->data;
    a.n = (int)qkv->shape[0];
    a.n_heads = (int)n_heads;
    a.d = (int)(qkv->shape[1] / 3 / n_heads);
    attn_t5_kernel<<<dim3((unsigned)td_blocks(a.n, QUERIES), (unsigned)n_heads), 256, smem, td_cuda(dev)->stream>>>(a);
    CU_LAUNCHED(dev, "attn_t5_kernel");
    return 0;
}

TDKernels td_cuda_in_attn_t5(void) { return td_kernels(kernels); }
