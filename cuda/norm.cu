/* SPDX-License-Identifier: BSD-2-Clause
 * Norms with what follows them, and the block quantiser. Memory-bound: 16-byte accesses, a row is read once from DRAM
 * and again from cache. */
#include "device.h"

#define WARPS 8                                  /* rows per CTA of the row kernels */

struct NormArgs {
    const bf16 *x;
    bf16 *y;
    int8_t *code;
    float *scale;
    const float *weight, *bias, *shift, *mul;
    int rows, dim, lanes;                        /* lanes: dim, or the power of two the official kernel sums over */
    float eps;
};

__device__ __forceinline__ void unpack8(float (&v)[8], uint4 u)
{
    v[0] = low_f32(u.x), v[1] = high_f32(u.x), v[2] = low_f32(u.y), v[3] = high_f32(u.y);
    v[4] = low_f32(u.z), v[5] = high_f32(u.z), v[6] = low_f32(u.w), v[7] = high_f32(u.w);
}

__device__ __forceinline__ uint4 pack8(const float (&v)[8])
{
    return make_uint4(pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));
}

/* sum over a row by one warp of f(8 values); eight loads in flight */
template <class F> __device__ __forceinline__ float row_sum(const bf16 *x, int dim, F f)
{
    float s = 0;

    for (int base = threadIdx.x % 32 * 8; base < dim; base += 8 * 256) {
        uint4 u[8];

#pragma unroll
        for (int i = 0; i < 8; i++)
            u[i] = base + i * 256 < dim ? *(const uint4 *)(x + base + i * 256) : make_uint4(0, 0, 0, 0);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            float v[8];

            unpack8(v, u[i]);
            if (base + i * 256 < dim)
                s += f(v);
        }
    }
    return warp_sum(s);
}

/* mean and 1/std of a row by one warp, two passes */
__device__ __forceinline__ void layer_stats(const bf16 *x, const NormArgs &a, float &mean, float &rstd)
{
    float m, s;

    m = row_sum(x, a.dim,
                [](const float(&v)[8]) { return ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7])); }) /
        (float)a.dim;
    s = row_sum(x, a.dim, [m](const float (&v)[8]) {
        float t = 0;

        for (int j = 0; j < 8; j++)
            t += (v[j] - m) * (v[j] - m);
        return t;
    });
    mean = m;
    rstd = 1.0f / sqrtf((s + (float)(a.lanes - a.dim) * m * m) / (float)a.dim + a.eps);
}

/* one normalised, rounded, modulated value */
__device__ __forceinline__ float norm_value(float x, float mean, float rstd, const NormArgs &a, int i)
{
    float v = (x - mean) * rstd;

    if (a.weight)
        v = v * a.weight[i] + a.bias[i];
    v = round_bf16(v);
    return a.mul ? round_bf16(__fadd_rn(__fmul_rn(v, 1.0f + a.mul[i]), a.shift[i])) : v;
}

__global__ void __launch_bounds__(WARPS * 32) norm_kernel(NormArgs a)
{
    int row = blockIdx.x * WARPS + threadIdx.x / 32;
    float mean, rstd, v[8];

    if (row >= a.rows)
        return;
    layer_stats(a.x + (int64_t)row * a.dim, a, mean, rstd);
    for (int i = threadIdx.x % 32 * 8; i < a.dim; i += 256) {
        unpack8(v, *(const uint4 *)(a.x + (int64_t)row * a.dim + i));
        for (int j = 0; j < 8; j++)
            v[j] = norm_value(v[j], mean, rstd, a, i + j);
        *(uint4 *)(a.y + (int64_t)row * a.dim + i) = pack8(v);
    }
}

/* codes of 8 neighbouring values */
__device__ __forceinline__ uint2 codes8(const float (&v)[8], float mult)
{
    uint32_t c[2] = { 0, 0 };

    for (int j = 0; j < 8; j++) {
        int q = __float2int_rn(__fmul_rn(v[j], mult));

        q = q > 127 ? 127 : q < -128 ? -128 : q;
        c[j / 4] |= ((uint32_t)q & 255) << (j % 4 * 8);
    }
    return make_uint2(c[0], c[1]);
}

/* largest value over the CTA of 512 threads; every thread gets it */
__device__ __forceinline__ float block_max(float x, float *shared)
{
    x = warp_max(x);
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        shared[threadIdx.x / 32] = x;
    __syncthreads();
    x = shared[threadIdx.x % 16];
    return warp_max(x);
}

/* 128 rows per CTA: statistics of each, then tile after tile of 128 columns, quantised as soon as its amax is known.
 * NORM 0 quantises x as it is. */
template <int NORM> __global__ void __launch_bounds__(512) norm_quant_kernel(NormArgs a)
{
    __shared__ float mean[128], rstd[128], shared[16];
    int row0 = blockIdx.x * 128, warp = threadIdx.x / 32, lane = threadIdx.x % 32, kb = (a.dim + 127) / 128;
    int first_tile = NORM ? 0 : blockIdx.y, last_tile = NORM ? kb : blockIdx.y + 1;

    for (int r = warp; r < 128 && NORM; r += 16)
        if (row0 + r < a.rows) {
            float m, s;

            layer_stats(a.x + (int64_t)(row0 + r) * a.dim, a, m, s);
            if (lane == 0) {
                mean[r] = m;
                rstd[r] = s;
            }
        }
    __syncthreads();
    for (int tile = first_tile; tile < last_tile; tile++) {
        float v[4][8], amax = 0, mult;
        int col = tile * 128 + lane % 16 * 8;

        for (int i = 0; i < 4; i++) {
            int r = i * 32 + warp * 2 + lane / 16;

            for (int j = 0; j < 8; j++)
                v[i][j] = 0;
            if (row0 + r < a.rows && col < a.dim) {
                unpack8(v[i], *(const uint4 *)(a.x + (int64_t)(row0 + r) * a.dim + col));
                for (int j = 0; j < 8; j++) {
                    if (NORM)
                        v[i][j] = norm_value(v[i][j], mean[r], rstd[r], a, col + j);
                    amax = fmaxf(amax, fabsf(v[i][j]));
                }
            }
        }
        amax = fmaxf(block_max(amax, shared), 1e-8f);
        mult = __fdiv_rn(128.0f, amax);
        for (int i = 0; i < 4; i++) {
            int r = i * 32 + warp * 2 + lane / 16;

            if (row0 + r < a.rows && col < a.dim)
                *(uint2 *)(a.code + (int64_t)(row0 + r) * a.dim + col) = codes8(v[i], mult);
        }
        if (threadIdx.x == 0)
            a.scale[blockIdx.x * kb + tile] = amax / 128.0f;
    }
}

static NormArgs norm_args(const TDTensor *x, const TDNormW *norm)
{
    NormArgs a = {};

    a.x = (const bf16 *)x->data;
    a.rows = (int)x->shape[0];
    a.dim = (int)norm->dim;
    a.weight = norm->weight;
    a.bias = norm->bias;
    a.eps = norm->eps;
    for (a.lanes = norm->profile == TD_NORM_OFFICIAL ? 1 : a.dim; a.lanes < a.dim; a.lanes *= 2)
        ;
    return a;
}

int td_cuda_norm_modulate(TDDev *dev, TDAct *y, const TDTensor *x, const TDNormW *norm, const float *shift,
                          const float *scale)
{
    NormArgs a = norm_args(x, norm);

    a.y = (bf16 *)y->x.data;
    a.code = (int8_t *)y->code.data;
    a.scale = (float *)y->scale.data;
    a.shift = shift;
    a.mul = scale;
    if (a.code)
        norm_quant_kernel<1><<<(unsigned)td_blocks(a.rows, 128), 512, 0, td_cuda(dev)->stream>>>(a);
    else
        norm_kernel<<<(unsigned)td_blocks(a.rows, WARPS), WARPS * 32, 0, td_cuda(dev)->stream>>>(a);
    CU_LAUNCHED(dev, "norm_kernel");
    return 0;
}

int td_cuda_quantise_blocks(TDDev *dev, const bf16 *x, int64_t rows, int64_t k, int8_t *code, float *scale)
{
    NormArgs a = {};

    a.x = x;
    a.rows = (int)rows;
    a.dim = (int)k;
    a.code = code;
    a.scale = scale;
    norm_quant_kernel<0>
        <<<dim3((unsigned)td_blocks(rows, 128), (unsigned)td_blocks(k, 128)), 512, 0, td_cuda(dev)->stream>>>(a);
    CU_LAUNCHED(dev, "quantise");
    return 0;
}

int td_cuda_quantise(TDDev *dev, TDAct *act)
{
    return td_cuda_quantise_blocks(dev, (const bf16 *)act->x.data, act->x.shape[0], act->x.shape[1],
                                   (int8_t *)act->code.data, (float *)act->scale.data);
}

/* ---- RMS norm over the row ---- */

__device__ __forceinline__ float rms_factor(const bf16 *x, int dim, float eps)
{
    float s = row_sum(x, dim, [](const float (&v)[8]) {
        float t = 0;

        for (int j = 0; j < 8; j++)
            t += v[j] * v[j];
        return t;
    });

    return 1.0f / sqrtf(s / (float)dim + eps);
}

/* OFFICIAL rounds once, EXACT before the weight too; the weights hold bf16 values */
__device__ __forceinline__ float rms_value(float x, float r, float w, bool exact)
{
    return round_bf16(exact ? round_bf16(x * r) * round_bf16(w) : x * r * w);
}

__global__ void __launch_bounds__(WARPS * 32)
    rms_kernel(bf16 *y, const bf16 *x, const float *w, int rows, int dim, float eps, bool exact)
{
    int row = blockIdx.x * WARPS + threadIdx.x / 32;
    float r, v[8];

    if (row >= rows)
        return;
    r = rms_factor(x + (int64_t)row * dim, dim, eps);
    for (int i = threadIdx.x % 32 * 8; i < dim; i += 256) {
        unpack8(v, *(const uint4 *)(x + (int64_t)row * dim + i));
        for (int j = 0; j < 8; j++)
            v[j] = rms_value(v[j], r, w[i + j], exact);
        *(uint4 *)(y + (int64_t)row * dim + i) = pack8(v);
    }
}

int td_cuda_rms_norm(TDDev *dev, TDAct *y, const TDTensor *x, const TDNormW *norm)
{
    int rows = (int)x->shape[0];

    rms_kernel<<<(unsigned)td_blocks(rows, WARPS), WARPS * 32, 0, td_cuda(dev)->stream>>>(
        (bf16 *)y->x.data, (const bf16 *)x->data, norm->weight, rows, (int)norm->dim, norm->eps,
        norm->profile == TD_NORM_EXACT);
    CU_LAUNCHED(dev, "rms_kernel");
    return y->code.data ? td_cuda_quantise(dev, y) : 0;
}

/* ---- q, k, v of a fused row: RMS norm and rotation for q and k, v copied ---- */

struct QkArgs {
    const bf16 *x;
    bf16 *q, *k, *v;
    const float *wq, *wk, *rope;
    int rows, dim, head_dim;
    float eps;
    bool exact;
};

__global__ void __launch_bounds__(WARPS * 32) qk_norm_rope_kernel(QkArgs a)
{
    int row = blockIdx.x * WARPS + threadIdx.x / 32, part = blockIdx.y;
    const bf16 *x = a.x + (int64_t)row * 3 * a.dim + part * a.dim;
    const float *w = part ? a.wk : a.wq, *rope = a.rope + (int64_t)row * a.head_dim;
    bf16 *y = (part == 0 ? a.q : part == 1 ? a.k : a.v) + (int64_t)row * a.dim;
    float r, v[8];

    if (row >= a.rows)
        return;
    if (part == 2) {
        for (int i = threadIdx.x % 32 * 8; i < a.dim; i += 256)
            *(uint4 *)(y + i) = *(const uint4 *)(x + i);
        return;
    }
    r = rms_factor(x, a.dim, a.eps);
    for (int i = threadIdx.x % 32 * 8; i < a.dim; i += 256) {
        float4 c0 = *(const float4 *)(rope + i % a.head_dim), c1 = *(const float4 *)(rope + i % a.head_dim + 4);
        float cs[8] = { c0.x, c0.y, c0.z, c0.w, c1.x, c1.y, c1.z, c1.w };

        unpack8(v, *(const uint4 *)(x + i));
        for (int j = 0; j < 8; j += 2) {
            float p = rms_value(v[j], r, w[i + j], a.exact), q = rms_value(v[j + 1], r, w[i + j + 1], a.exact);

            v[j] = __fsub_rn(__fmul_rn(p, cs[j]), __fmul_rn(q, cs[j + 1]));
            v[j + 1] = __fadd_rn(__fmul_rn(q, cs[j]), __fmul_rn(p, cs[j + 1]));
        }
        *(uint4 *)(y + i) = pack8(v);
    }
}

int td_cuda_qk_norm_rope(TDDev *dev, TDQkv *out, const TDTensor *qkv, const TDNormW *norm_q, const TDNormW *norm_k,
                         const TDTensor *rope)
{
    QkArgs a = {};

    a.x = (const bf16 *)qkv->data;
    a.q = (bf16 *)out->q.data;
    a.k = (bf16 *)out->k.data;
    a.v = (bf16 *)out->v.data;
    a.wq = norm_q->weight;
    a.wk = norm_k->weight;
    a.rope = (const float *)rope->data;
    a.rows = (int)qkv->shape[0];
    a.dim = (int)norm_q->dim;
    a.head_dim = (int)out->head_dim;
    a.eps = norm_q->eps;
    a.exact = norm_q->profile == TD_NORM_EXACT;
    qk_norm_rope_kernel<<<dim3((unsigned)td_blocks(a.rows, WARPS), 3), WARPS * 32, 0, td_cuda(dev)->stream>>>(a);
    CU_LAUNCHED(dev, "qk_norm_rope_kernel");
    return 0;
}

/* ---- VAE: x / |x| * sqrt(C) * gamma [SiLU] per pixel; four pixels a warp in flight ---- */

#define PIXELS 4

__global__ void __launch_bounds__(WARPS * 32)
    rms_silu_kernel(bf16 *y, const bf16 *x, const float *gamma, int64_t pixels, int dim, float root, bool silu)
{
    int64_t p0 = ((int64_t)blockIdx.x * WARPS + threadIdx.x / 32) * PIXELS;
    int lane = threadIdx.x % 32;
    float v[PIXELS][8], s[PIXELS];

    for (int p = 0; p < PIXELS; p++) {
        s[p] = 0;
        for (int i = lane * 8; i < dim && p0 + p < pixels; i += 256) {
            unpack8(v[p], *(const uint4 *)(x + (p0 + p) * dim + i));
            for (int j = 0; j < 8; j++)
                s[p] += v[p][j] * v[p][j];
        }
    }
    for (int p = 0; p < PIXELS; p++) {
        float r = root / fmaxf(sqrtf(warp_sum(s[p])), 1e-12f);

        for (int i = lane * 8; i < dim && p0 + p < pixels; i += 256) {
            if (dim > 256)
                unpack8(v[p], *(const uint4 *)(x + (p0 + p) * dim + i));
            float o[8];

            for (int j = 0; j < 8; j++) {
                float t = v[p][j] * r * gamma[i + j];

                o[j] = silu ? __fdividef(t, 1.0f + __expf(-t)) : t;
            }
            *(uint4 *)(y + (p0 + p) * dim + i) = pack8(o);
        }
    }
}

int td_cuda_rms_silu(TDDev *dev, TDTensor *y, const TDTensor *x, const float *gamma, int silu)
{
    int64_t dim = x->shape[3], pixels = td_tensor_count(x) / dim;

    if (dim % 8)
        return td_error(dev->log, ENOTSUP, "cuda: VAE norm over %lld channels, want a multiple of 8", (long long)dim);
    rms_silu_kernel<<<(unsigned)td_blocks(pixels, WARPS * PIXELS), WARPS * 32, 0, td_cuda(dev)->stream>>>(
        (bf16 *)y->data, (const bf16 *)x->data, gamma, pixels, (int)dim, sqrtf((float)dim), silu != 0);
    CU_LAUNCHED(dev, "rms_silu_kernel");
    return 0;
}
