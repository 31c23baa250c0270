/* SPDX-License-Identifier: BSD-2-Clause
 * Norms with what follows them, and the block quantiser. Memory-bound: 16-byte accesses, a row is read once from DRAM
 * and again from cache. */
#include <cooperative_groups.h>
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

__device__ __forceinline__ void load8(float (&v)[8], const float *p)
{
    float4 a = *(const float4 *)p, b = *(const float4 *)(p + 4);

    v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
    v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
}

/* what follows the norm for 8 neighbouring columns: weight and bias, rounded; then 1 + scale and shift, rounded */
struct Affine8 {
    float weight[8], bias[8], mul[8], shift[8];
};

template <bool WEIGHT, bool MODULATE> __device__ __forceinline__ void load_affine(Affine8 &f, const NormArgs &a, int i)
{
    if (WEIGHT) {
        load8(f.weight, a.weight + i);
        load8(f.bias, a.bias + i);
    }
    if (MODULATE) {
        load8(f.mul, a.mul + i);
        load8(f.shift, a.shift + i);
    }
}

template <bool WEIGHT, bool MODULATE>
__device__ __forceinline__ void norm8(float (&v)[8], float mean, float rstd, const Affine8 &f)
{
#pragma unroll
    for (int j = 0; j < 8; j++) {
        v[j] = (v[j] - mean) * rstd;
        if (WEIGHT)
            v[j] = v[j] * f.weight[j] + f.bias[j];
    }
#pragma unroll
    for (int j = 0; j < 8; j += 2) {
        round2(v[j], v[j + 1]);
        if (MODULATE) {
            v[j] = __fadd_rn(__fmul_rn(v[j], 1.0f + f.mul[j]), f.shift[j]);
            v[j + 1] = __fadd_rn(__fmul_rn(v[j + 1], 1.0f + f.mul[j + 1]), f.shift[j + 1]);
            round2(v[j], v[j + 1]);
        }
    }
}

/* the same where the parts are known at run time only */
__device__ __forceinline__ void norm8(float (&v)[8], float mean, float rstd, const NormArgs &a, int i)
{
    Affine8 f;

    if (a.weight && a.mul) {
        load_affine<true, true>(f, a, i);
        norm8<true, true>(v, mean, rstd, f);
    } else if (a.weight) {
        load_affine<true, false>(f, a, i);
        norm8<true, false>(v, mean, rstd, f);
    } else if (a.mul) {
        load_affine<false, true>(f, a, i);
        norm8<false, true>(v, mean, rstd, f);
    } else {
        norm8<false, false>(v, mean, rstd, f);
    }
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
        norm8(v, mean, rstd, a, i);
        *(uint4 *)(a.y + (int64_t)row * a.dim + i) = pack8(v);
    }
}

/* codes of 8 neighbouring values */
__device__ __forceinline__ uint2 codes8(const float (&v)[8], float mult)
{
    return make_uint2(codes4(v[0], v[1], v[2], v[3], mult), codes4(v[4], v[5], v[6], v[7], mult));
}

/* largest of values >= 0 over the CTA of 512 threads, NaN above all; every thread gets it */
__device__ __forceinline__ float block_amax(float x, float *shared)
{
    x = warp_amax(x);
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        shared[threadIdx.x / 32] = x;
    __syncthreads();
    return warp_amax(shared[threadIdx.x % 16]);
}

/* 128 rows per CTA: statistics of each, then tile after tile of 128 columns, quantised as soon as its amax is known.
 * NORM 0 quantises x as it is. */
template <int NORM> __global__ void __launch_bounds__(512, 1) norm_quant_kernel(NormArgs a)
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
                if (NORM)
                    norm8(v[i], mean[r], rstd[r], a, col);
                for (int j = 0; j < 8; j++)
                    amax = nan_max(amax, v[i][j]);
            }
        }
        amax = nan_max(block_amax(amax, shared), 1e-8f);
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

/* keeps the compiler from holding unpacked values in registers until the next pass, and loads from moving up */
__device__ __forceinline__ void stay_packed(uint4 &u)
{
    asm volatile("" : "+r"(u.x), "+r"(u.y), "+r"(u.z), "+r"(u.w)::"memory");
}

/* The same with every row read once: a cluster of CTAs shares the 128 rows, a lane keeps VEC pieces of 8 columns of
 * each of its warp's ROWS rows, and only the amax of the tiles cross the CTAs. Hopper and later; dim a multiple of 128
 * up to 256 VEC; with weight or with modulation, not both. */
template <bool WEIGHT, int VEC, int ROWS, int N_WARPS>
__global__ void __launch_bounds__(N_WARPS * 32) norm_quant_cluster_kernel(NormArgs a)
{
#if __CUDA_ARCH__ >= 900
    const int size = 128 / (ROWS * N_WARPS);     /* CTAs of a cluster */
    __shared__ float warp_top[N_WARPS][2 * VEC], top[size][2 * VEC];
    cooperative_groups::cluster_group cluster = cooperative_groups::this_cluster();
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, kb = a.dim / 128, row0 = (blockIdx.x * N_WARPS + warp) * ROWS;
    float mean[ROWS], rstd[ROWS];
    uint4 x[ROWS][VEC];
    auto here = cluster.barrier_arrive();        /* a CTA's shared memory may be written to once it runs */

#pragma unroll
    for (int r = 0; r < ROWS; r++)
#pragma unroll
        for (int i = 0; i < VEC; i++) {
            int row = min(row0 + r, a.rows - 1), col = i * 256 + lane * 8;

            x[r][i] = __ldcs((const uint4 *)(a.x + (int64_t)row * a.dim + min(col, a.dim - 8)));
            if (col >= a.dim)
                x[r][i] = make_uint4(0, 0, 0, 0);
        }
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        float m = 0, s = 0, v[8];

#pragma unroll
        for (int i = 0; i < VEC; i++) {
            unpack8(v, x[r][i]);
            m += ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
        }
        m = mean[r] = warp_sum(m) / (float)a.dim;
#pragma unroll
        for (int i = 0; i < VEC; i++) {
            float t = 0;

            stay_packed(x[r][i]);
            unpack8(v, x[r][i]);
#pragma unroll
            for (int j = 0; j < 8; j++)
                t += (v[j] - m) * (v[j] - m);
            s += i * 256 + lane * 8 < a.dim ? t : 0.0f;
        }
        s = warp_sum(s) + (float)(a.lanes - a.dim) * m * m;
        rstd[r] = 1.0f / sqrtf(s / (float)a.dim + a.eps);
    }
#pragma unroll
    for (int i = 0; i < VEC; i++) {
        int col = i * 256 + lane * 8;
        uint32_t most = 0;
        Affine8 f;
        float amax;

        load_affine<WEIGHT, !WEIGHT>(f, a, min(col, a.dim - 8));
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            float v[8];
            uint32_t m;

            stay_packed(x[r][i]);
            unpack8(v, x[r][i]);
            norm8<WEIGHT, !WEIGHT>(v, mean[r], rstd[r], f);
            x[r][i] = pack8(v);
            m = abs_max2(abs_max2(x[r][i].x, x[r][i].y), abs_max2(x[r][i].z, x[r][i].w));
            most = abs_max2(most, row0 + r < a.rows && col < a.dim ? m : 0);
        }
        amax = nan_max(low_f32(most), high_f32(most));
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float t = warp_amax(lane / 16 == half ? amax : 0.0f);

            if (lane == 0)
                warp_top[warp][2 * i + half] = t;
        }
    }
    __syncthreads();
    cluster.barrier_wait(std::move(here));
    if ((int)threadIdx.x < kb) {
        float t = 0;

        for (int w = 0; w < N_WARPS; w++)
            t = nan_max(t, warp_top[w][threadIdx.x]);
        for (int rank = 0; rank < size; rank++)
            *cluster.map_shared_rank(&top[cluster.block_rank()][threadIdx.x], rank) = t;
    }
    cluster.sync();
#pragma unroll
    for (int i = 0; i < VEC; i++) {
        int tile = 2 * i + lane / 16;
        float t = 1e-8f, mult;

        for (int rank = 0; rank < size && tile < kb; rank++)
            t = nan_max(t, top[rank][tile]);
        mult = __fdiv_rn(128.0f, t);
        if (cluster.block_rank() == 0 && warp == 0 && lane % 16 == 0 && tile < kb)
            a.scale[blockIdx.x / size * kb + tile] = t / 128.0f;
#pragma unroll
        for (int r = 0; r < ROWS; r++)
            if (row0 + r < a.rows && tile < kb) {
                float v[8];

                unpack8(v, x[r][i]);
                *(uint2 *)(a.code + (int64_t)(row0 + r) * a.dim + i * 256 + lane * 8) = codes8(v, mult);
            }
    }
#endif
}

template <bool WEIGHT, int VEC, int ROWS, int N_WARPS> static int launch_cluster(TDDev *dev, const NormArgs &a)
{
    const int size = 128 / (ROWS * N_WARPS);
    cudaLaunchConfig_t config = {};
    cudaLaunchAttribute attr = {};

    attr.id = cudaLaunchAttributeClusterDimension;
    attr.val.clusterDim.x = size;
    attr.val.clusterDim.y = attr.val.clusterDim.z = 1;
    config.gridDim = dim3((unsigned)td_blocks(a.rows, 128) * size);
    config.blockDim = dim3(N_WARPS * 32);
    config.stream = td_cuda(dev)->stream;
    config.attrs = &attr;
    config.numAttrs = 1;
    CU(dev, cudaLaunchKernelEx(&config, norm_quant_cluster_kernel<WEIGHT, VEC, ROWS, N_WARPS>, a));
    return 0;
}

int td_cuda_norm_quant(TDDev *dev, const NormArgs &a)
{
    norm_quant_kernel<1><<<(unsigned)td_blocks(a.rows, 128), 512, 0, td_cuda(dev)->stream>>>(a);
    CU_LAUNCHED(dev, "norm_quant_kernel");
    return 0;
}

int td_cuda_norm_quant_cluster(TDDev *dev, const NormArgs &a)
{
    if (a.dim % 128 || a.dim > 5120 || !a.weight != !!a.mul)
        return td_cuda_norm_quant(dev, a);
    if (a.dim <= 1536)
        return a.weight ? launch_cluster<true, 6, 2, 16>(dev, a) : launch_cluster<false, 6, 2, 16>(dev, a);
    return a.weight ? launch_cluster<true, 20, 1, 16>(dev, a) : launch_cluster<false, 20, 1, 16>(dev, a);
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
        return td_cuda(dev)->kernels.norm_quant(dev, a);
    norm_kernel<<<(unsigned)td_blocks(a.rows, WARPS), WARPS * 32, 0, td_cuda(dev)->stream>>>(a);
    CU_LAUNCHED(dev, "norm_kernel");
    return 0;
}

cudaError_t td_cuda_launch_quantise(cudaStream_t stream, const bf16 *x, int64_t rows, int64_t k, int8_t *code,
                                    float *scale)
{
    NormArgs a = {};

    a.x = x;
    a.rows = (int)rows;
    a.dim = (int)k;
    a.code = code;
    a.scale = scale;
    norm_quant_kernel<0><<<dim3((unsigned)td_blocks(rows, 128), (unsigned)td_blocks(k, 128)), 512, 0, stream>>>(a);
    return cudaGetLastError();
}

int td_cuda_quantise_blocks(TDDev *dev, const bf16 *x, int64_t rows, int64_t k, int8_t *code, float *scale)
{
    CU(dev, td_cuda_launch_quantise(td_cuda(dev)->stream, x, rows, k, code, scale));
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

/* 8 neighbouring values; OFFICIAL rounds once, EXACT before the weight too; the weights hold bf16 values */
__device__ __forceinline__ void rms8(float (&v)[8], float r, const float *w, bool exact)
{
    float4 w0 = *(const float4 *)w, w1 = *(const float4 *)(w + 4);
    float wt[8] = { w0.x, w0.y, w0.z, w0.w, w1.x, w1.y, w1.z, w1.w };

#pragma unroll
    for (int j = 0; j < 8; j += 2) {
        v[j] *= r;
        v[j + 1] *= r;
        if (exact)
            round2(v[j], v[j + 1]);
        round2(v[j] *= wt[j], v[j + 1] *= wt[j + 1]);
    }
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
        rms8(v, r, w + i, exact);
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

/* ---- q and k: RMS norm and rotation, in place ---- */

struct QkArgs {
    bf16 *q, *k;
    const float *wq, *wk, *rope;
    int rows, dim, head_dim;
    float eps;
    bool exact;
};

__global__ void __launch_bounds__(WARPS * 32) qk_norm_rope_kernel(QkArgs a)
{
    int row = blockIdx.x * WARPS + threadIdx.x / 32, part = blockIdx.y;
    const float *w = part ? a.wk : a.wq, *rope = a.rope + (int64_t)row * a.head_dim;
    bf16 *x = (part ? a.k : a.q) + (int64_t)row * a.dim;
    float r, v[8];

    if (row >= a.rows)
        return;
    r = rms_factor(x, a.dim, a.eps);
    for (int i = threadIdx.x % 32 * 8; i < a.dim; i += 256) {
        float4 c0 = *(const float4 *)(rope + i % a.head_dim), c1 = *(const float4 *)(rope + i % a.head_dim + 4);
        float cs[8] = { c0.x, c0.y, c0.z, c0.w, c1.x, c1.y, c1.z, c1.w };

        unpack8(v, *(const uint4 *)(x + i));
        rms8(v, r, w + i, a.exact);
        for (int j = 0; j < 8; j += 2) {
            float p = v[j], q = v[j + 1];

            v[j] = __fsub_rn(__fmul_rn(p, cs[j]), __fmul_rn(q, cs[j + 1]));
            v[j + 1] = __fadd_rn(__fmul_rn(q, cs[j]), __fmul_rn(p, cs[j + 1]));
        }
        *(uint4 *)(x + i) = pack8(v);
    }
}

int td_cuda_qk_norm_rope(TDDev *dev, TDQkv *qkv, const TDNormW *norm_q, const TDNormW *norm_k, const TDTensor *rope)
{
    QkArgs a = {};

    a.q = (bf16 *)qkv->q.data;
    a.k = (bf16 *)qkv->k.data;
    a.wq = norm_q->weight;
    a.wk = norm_k->weight;
    a.rope = (const float *)rope->data;
    a.rows = (int)qkv->n_q;
    a.dim = (int)norm_q->dim;
    a.head_dim = (int)qkv->head_dim;
    a.eps = norm_q->eps;
    a.exact = norm_q->profile == TD_NORM_EXACT;
    qk_norm_rope_kernel<<<dim3((unsigned)td_blocks(a.rows, WARPS), 2), WARPS * 32, 0, td_cuda(dev)->stream>>>(a);
    CU_LAUNCHED(dev, "qk_norm_rope_kernel");
    return 0;
}

/* ---- VAE: x / |x| * sqrt(C) * gamma [SiLU] per pixel ---- */

struct RmsSiluArgs {
    bf16 *y;
    const bf16 *x;
    const float *gamma;
    int64_t pixels;
    int dim, with_silu, to_f16;
};

__device__ __forceinline__ float sum_squares(uint4 v)
{
    float f[8], s = 0;

    unpack8(f, v);
#pragma unroll
    for (int j = 0; j < 8; j++)
        s += f[j] * f[j];
    return s;
}

__device__ __forceinline__ uint4 rms_silu8(const RmsSiluArgs &a, uint4 v, float r, int c)
{
    float4 g[2] = { *(const float4 *)(a.gamma + c), *(const float4 *)(a.gamma + c + 4) };
    float f[8];

    unpack8(f, v);
#pragma unroll
    for (int j = 0; j < 8; j++) {
        f[j] = f[j] * r * ((const float *)g)[j];
        if (a.with_silu)
            f[j] = silu(f[j]);
    }
    if (a.to_f16)
        return make_uint4(pack_half(f[0], f[1]), pack_half(f[2], f[3]), pack_half(f[4], f[5]), pack_half(f[6], f[7]));
    return pack8(f);
}

__device__ __forceinline__ float rms_factor(const RmsSiluArgs &a, float sum)
{
    return sqrtf((float)a.dim) / fmaxf(sqrtf(sum), 1e-12f);
}

/* any number of channels: a warp for a pixel */
__global__ void __launch_bounds__(WARPS * 32) rms_silu_kernel(RmsSiluArgs a)
{
    int64_t p = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32;
    int lane = threadIdx.x % 32;
    float sum = 0;

    if (p >= a.pixels)
        return;
    for (int c = lane * 8; c < a.dim; c += 256)
        sum += sum_squares(*(const uint4 *)(a.x + p * a.dim + c));
    sum = rms_factor(a, warp_sum(sum));
    for (int c = lane * 8; c < a.dim; c += 256)
        *(uint4 *)(a.y + p * a.dim + c) = rms_silu8(a, *(const uint4 *)(a.x + p * a.dim + c), sum, c);
}

/* 24 LANES channels: a thread has three chunks of 8 of a pixel, of two pixels at once */
template <int LANES> __global__ void __launch_bounds__(WARPS * 32) rms_silu_lanes_kernel(RmsSiluArgs a)
{
    constexpr int PIXELS = WARPS * 32 / LANES, DIM = LANES * 24;
    int64_t first = (int64_t)blockIdx.x * PIXELS * 2 + threadIdx.x / LANES;
    int lane = threadIdx.x % LANES;
    uint4 v[2][3] = {};

#pragma unroll
    for (int p = 0; p < 2; p++)
        if (first + p * PIXELS < a.pixels)
#pragma unroll
            for (int i = 0; i < 3; i++)
                v[p][i] = *(const uint4 *)(a.x + (first + p * PIXELS) * DIM + (lane + i * LANES) * 8);
#pragma unroll
    for (int p = 0; p < 2; p++) {
        float sum = sum_squares(v[p][0]) + sum_squares(v[p][1]) + sum_squares(v[p][2]);

#pragma unroll
        for (int i = 1; i < LANES; i *= 2)
            sum += __shfl_xor_sync(~0u, sum, i);
        sum = rms_factor(a, sum);
        if (first + p * PIXELS < a.pixels)
#pragma unroll
            for (int i = 0; i < 3; i++) {
                int c = (lane + i * LANES) * 8;

                *(uint4 *)(a.y + (first + p * PIXELS) * DIM + c) = rms_silu8(a, v[p][i], sum, c);
            }
    }
}

template <int LANES> static void launch_rms_silu(TDDev *dev, const RmsSiluArgs &a)
{
    unsigned blocks = (unsigned)td_blocks(a.pixels, WARPS * 64 / LANES);

    rms_silu_lanes_kernel<LANES><<<blocks, WARPS * 32, 0, td_cuda(dev)->stream>>>(a);
}

int td_cuda_rms_silu(TDDev *dev, TDTensor *y, const TDTensor *x, const float *gamma, int silu)
{
    int64_t dim = x->shape[3];
    RmsSiluArgs a = { (bf16 *)y->data, (const bf16 *)x->data, gamma, td_tensor_count(x) / dim, (int)dim, silu,
                      y->dtype == TD_F16 };

    switch (dim) {
    case 24:  launch_rms_silu<1>(dev, a); break;
    case 48:  launch_rms_silu<2>(dev, a); break;
    case 96:  launch_rms_silu<4>(dev, a); break;
    case 192: launch_rms_silu<8>(dev, a); break;
    case 384: launch_rms_silu<16>(dev, a); break;
    default:
        rms_silu_kernel<<<(unsigned)td_blocks(a.pixels, WARPS), WARPS * 32, 0, td_cuda(dev)->stream>>>(a);
    }
    CU_LAUNCHED(dev, "rms_silu_kernel");
    return 0;
}

static const TDKernel kernels[] = { TD_KERNEL(0, false, rms_kernel) };

TDKernels td_cuda_in_norm(void) { return td_kernels(kernels); }
