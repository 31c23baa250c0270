/* SPDX-License-Identifier: BSD-2-Clause
 * The ends of the transformer and the sampler's update: patches in, timestep in, velocity out. */
#include <math.h>
#include "base/wan.h"
#include "device.h"

/* ---- patch embedding: 32 tokens x 256 outputs per CTA ---- */

#define PATCH_TOKENS 32
#define PATCH_MAX_K (4 * (TD_LATENT_CHANNELS + TD_COND_CHANNELS))      /* what td_dit_shape() lets in */

struct PatchArgs {
    const double *z;
    const bf16 *cond, *w;
    const float *bias;
    bf16 *x;
    int t, h, wd, n, k;
};

__global__ void __launch_bounds__(256) patch_embed_kernel(PatchArgs a)
{
    __shared__ float patch[PATCH_MAX_K][PATCH_TOKENS];
    int per_frame = a.h / 2 * (a.wd / 2), n_tokens = a.t * per_frame, t0 = blockIdx.x * PATCH_TOKENS,
        o = blockIdx.y * 256 + threadIdx.x;
    int64_t plane = (int64_t)a.t * a.h * a.wd;
    float acc[PATCH_TOKENS] = { 0 };

    for (int i = threadIdx.x; i < a.k * PATCH_TOKENS; i += 256) {
        int f = i / PATCH_TOKENS, tok = t0 + i % PATCH_TOKENS, ch = f / 4;
        float v = 0;

        if (tok < n_tokens) {
            int y = tok / (a.wd / 2) % (a.h / 2) * 2 + f / 2 % 2, x = tok % (a.wd / 2) * 2 + f % 2;
            int64_t at = ((int64_t)(tok / per_frame) * a.h + y) * a.wd + x;

            v = ch < TD_LATENT_CHANNELS ? round_bf16((float)a.z[ch * plane + at])
                                        : to_f32(a.cond[(ch - TD_LATENT_CHANNELS) * plane + at]);
        }
        patch[f][i % PATCH_TOKENS] = v;
    }
    __syncthreads();
    if (o >= a.n)
        return;
    for (int f = 0; f < a.k; f++) {
        float w = to_f32(a.w[(int64_t)o * a.k + f]);

#pragma unroll
        for (int i = 0; i < PATCH_TOKENS; i++)
            acc[i] = fmaf(patch[f][i], w, acc[i]);
    }
    for (int i = 0; i < PATCH_TOKENS && t0 + i < n_tokens; i++)
        a.x[(int64_t)(t0 + i) * a.n + o] = to_bf16(acc[i] + a.bias[o]);
}

int td_cuda_patch_embed(TDDev *dev, TDTensor *x, const TDTensor *z, const TDTensor *cond, const TDLinear *lin)
{
    PatchArgs a = {};

    a.z = (const double *)z->data;
    a.cond = cond ? (const bf16 *)cond->data : NULL;
    a.w = (const bf16 *)lin->w[0];
    a.bias = lin->bias;
    a.x = (bf16 *)x->data;
    a.t = (int)z->shape[1];
    a.h = (int)z->shape[2];
    a.wd = (int)z->shape[3];
    a.n = (int)lin->n;
    a.k = (int)lin->k;
    patch_embed_kernel<<<dim3((unsigned)td_blocks(x->shape[0], PATCH_TOKENS), (unsigned)td_blocks(a.n, 256)), 256, 0,
                         td_cuda(dev)->stream>>>(a);
    CU_LAUNCHED(dev, "patch_embed_kernel");
    return 0;
}

/* ---- time: three true-f32 matrix-vector products, a warp per output ---- */

struct Frequencies { float v[256]; };

__global__ void frequencies_kernel(float *dst, Frequencies f)
{
    dst[threadIdx.x] = f.v[threadIdx.x];
}

/* y = W f(x) + b; silu: f = SiLU */
__global__ void __launch_bounds__(256)
    matvec_kernel(float *y, const float *x, const void *w, const float *bias, int n, int k, bool wide, bool silu)
{
    int o = blockIdx.x * 8 + threadIdx.x / 32;
    float s = 0;

    if (o >= n)
        return;
    for (int i = threadIdx.x % 32; i < k; i += 32) {
        float v = x[i],
              u = wide ? ((const float *)w)[(int64_t)o * k + i] : to_f32(((const bf16 *)w)[(int64_t)o * k + i]);

        s = fmaf(silu ? v / (1.0f + expf(-v)) : v, u, s);
    }
    s = warp_sum(s);
    if (threadIdx.x % 32 == 0)
        y[o] = s + (bias ? bias[o] : 0.0f);
}

static int matvec(TDDev *dev, float *y, const float *x, const TDLinear *lin, bool silu)
{
    matvec_kernel<<<(unsigned)td_blocks(lin->n, 8), 256, 0, td_cuda(dev)->stream>>>(y, x, lin->w[0], lin->bias,
                                                                                    (int)lin->n, (int)lin->k,
                                                                                    lin->dtype == TD_F32, silu);
    CU_LAUNCHED(dev, "matvec_kernel");
    return 0;
}

int td_cuda_time_embed(TDDev *dev, TDTensor *e6, TDTensor *e, double t, const TDTimeEmbed *w)
{
    Frequencies f;
    int half = (int)w->in.k / 2, ret;

    for (int i = 0; i < half; i++) {             /* cosines first */
        double angle = t * pow(10000.0, -(double)i / half);

        f.v[i] = (float)cos(angle);
        f.v[half + i] = (float)sin(angle);
    }
    frequencies_kernel<<<1, 2 * half, 0, td_cuda(dev)->stream>>>((float *)e6->data, f);
    CU_LAUNCHED(dev, "frequencies_kernel");
    TRY(matvec(dev, w->hidden, (const float *)e6->data, &w->in, false));
    TRY(matvec(dev, (float *)e->data, w->hidden, &w->out, true));
    TRY(matvec(dev, (float *)e6->data, (const float *)e->data, &w->proj, true));
fail:
    return ret;
}

__global__ void add_modulation_kernel(float *m, const float *table, const float *e, int64_t n, int64_t period)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;

    if (i < n)
        m[i] = table[i] + e[i % period];
}

int td_cuda_add_modulation(TDDev *dev, TDTensor *m, const TDTensor *table, const TDTensor *e)
{
    int64_t n = td_tensor_count(table);

    add_modulation_kernel<<<(unsigned)td_blocks(n, 256), 256, 0, td_cuda(dev)->stream>>>((float *)m->data,
                                                                                         (const float *)table->data,
                                                                                         (const float *)e->data, n,
                                                                                         td_tensor_count(e));
    CU_LAUNCHED(dev, "add_modulation_kernel");
    return 0;
}

/* ---- head: layer norm, modulation, 64 outputs in f32, unpatchified; 32 tokens per CTA, K in steps of 64 ---- */

#define HEAD_TOKENS 32
#define HEAD_K 64

struct HeadArgs {
    const bf16 *x;
    const float *m, *bias;
    const void *w;
    float *v;
    int t, h, wd, dim;
    float eps;
    bool wide;
};

__global__ void __launch_bounds__(256) head_kernel(HeadArgs a)
{
    __shared__ float z[HEAD_TOKENS][HEAD_K + 1], w[HEAD_K][64 + 1], mean[HEAD_TOKENS], rstd[HEAD_TOKENS];
    int per_frame = a.h / 2 * (a.wd / 2), n_tokens = a.t * per_frame, t0 = blockIdx.x * HEAD_TOKENS,
        warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int tok = threadIdx.x / 8, out = threadIdx.x % 8 * 8;
    int64_t plane = (int64_t)a.t * a.h * a.wd;
    float acc[8] = { 0 };

    for (int r = warp; r < HEAD_TOKENS; r += 8) {
        const bf16 *x = a.x + (int64_t)min(t0 + r, n_tokens - 1) * a.dim;
        float s = 0, m;

        for (int i = lane; i < a.dim; i += 32)
            s += to_f32(x[i]);
        m = warp_sum(s) / (float)a.dim;
        s = 0;
        for (int i = lane; i < a.dim; i += 32)
            s += (to_f32(x[i]) - m) * (to_f32(x[i]) - m);
        s = warp_sum(s);
        if (lane == 0) {
            mean[r] = m;
            rstd[r] = 1.0f / sqrtf(s / (float)a.dim + a.eps);
        }
    }
    for (int k0 = 0; k0 < a.dim; k0 += HEAD_K) {
        __syncthreads();
        for (int i = threadIdx.x; i < HEAD_TOKENS * HEAD_K; i += 256) {
            int r = i / HEAD_K, k = k0 + i % HEAD_K;
            float n = round_bf16((to_f32(a.x[(int64_t)min(t0 + r, n_tokens - 1) * a.dim + k]) - mean[r]) * rstd[r]);

            z[r][i % HEAD_K] = __fadd_rn(__fmul_rn(n, 1.0f + a.m[a.dim + k]), a.m[k]);
        }
        for (int i = threadIdx.x; i < 64 * HEAD_K; i += 256) {
            int64_t at = (int64_t)(i / HEAD_K) * a.dim + k0 + i % HEAD_K;

            w[i % HEAD_K][i / HEAD_K] = a.wide ? ((const float *)a.w)[at] : to_f32(((const bf16 *)a.w)[at]);
        }
        __syncthreads();
        for (int k = 0; k < HEAD_K; k++)
            for (int i = 0; i < 8; i++)
                acc[i] = fmaf(z[tok][k], w[k][out + i], acc[i]);
    }
    if (t0 + tok >= n_tokens)
        return;
    tok += t0;
    for (int i = 0; i < 8; i++) {
        int f = out + i, ch = f % TD_LATENT_CHANNELS, side = f / TD_LATENT_CHANNELS,
            y = tok / (a.wd / 2) % (a.h / 2) * 2 + side / 2, x = tok % (a.wd / 2) * 2 + side % 2;

        a.v[ch * plane + ((int64_t)(tok / per_frame) * a.h + y) * a.wd + x] = acc[i] + a.bias[f];
    }
}

int td_cuda_head(TDDev *dev, TDTensor *v, const TDTensor *x, const TDNormW *norm, const TDTensor *m,
                 const TDLinear *lin)
{
    HeadArgs a = {};

    a.x = (const bf16 *)x->data;
    a.m = (const float *)m->data;
    a.bias = lin->bias;
    a.w = lin->w[0];
    a.wide = lin->dtype == TD_F32;
    a.v = (float *)v->data;
    a.t = (int)v->shape[1];
    a.h = (int)v->shape[2];
    a.wd = (int)v->shape[3];
    a.dim = (int)lin->k;
    a.eps = norm->eps;
    head_kernel<<<(unsigned)td_blocks(x->shape[0], HEAD_TOKENS), 256, 0, td_cuda(dev)->stream>>>(a);
    CU_LAUNCHED(dev, "head_kernel");
    return 0;
}

/* ---- sampler state: f64, every operation rounded on its own; the noise product is f32 ---- */

/* cuRAND's Philox4x32-10 and Box-Muller with the device's own logarithm and fast sine, as torch uses them; counters are
 * laid out as in rng.c. A thread makes the four numbers of one counter, `width` places apart. */
__global__ void normal_kernel(float *out, int64_t n, int64_t width, uint64_t seed, uint64_t offset)
{
    int64_t at = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, pass = at / width, idx = at % width;
    uint64_t counter = offset / 4 + (uint64_t)pass;
    uint32_t c[4] = { (uint32_t)counter, (uint32_t)(counter >> 32), (uint32_t)idx, 0 }, k0 = (uint32_t)seed,
             k1 = (uint32_t)(seed >> 32);

    if (pass * 4 * width + idx >= n)
        return;
    for (int round = 0; round < 10; round++) {
        uint32_t h0 = __umulhi(0xD2511F53u, c[0]), l0 = 0xD2511F53u * c[0], h1 = __umulhi(0xCD9E8D57u, c[2]),
                 l1 = 0xCD9E8D57u * c[2];

        c[0] = h1 ^ c[1] ^ k0;
        c[1] = l1;
        c[2] = h0 ^ c[3] ^ k1;
        c[3] = l0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    for (int pair = 0; pair < 2; pair++) {
        float u = fmaf((float)c[2 * pair], 0x1p-32f, 0x1p-33f), sine, cosine,
              v = fmaf((float)c[2 * pair + 1], 6.2831855f * 0x1p-32f, 6.2831855f * 0x1p-33f),
              r = sqrtf(-2.0f * logf(u));

        __sincosf(v, &sine, &cosine);
        for (int i = 0; i < 2; i++) {
            int64_t to = (pass * 4 + 2 * pair + i) * width + idx;

            if (to < n)
                out[to] = r * (i ? cosine : sine);
        }
    }
}

int td_cuda_normal(TDDev *dev, TDTensor *noise, TDRng *rng, float *host)
{
    int64_t n = td_tensor_count(noise), width = td_rng_grid_width(rng, n);

    if (rng->profile == TD_NOISE_CPU) {
        td_rng_normal(rng, host, n);
        return td_cuda_copy_in(dev, noise->data, host, (size_t)n * sizeof(*host));
    }
    normal_kernel<<<(unsigned)td_blocks((n + 4 * width - 1) / (4 * width) * width, 256), 256, 0,
                    td_cuda(dev)->stream>>>((float *)noise->data, n, width, rng->seed, rng->offset);
    CU_LAUNCHED(dev, "normal_kernel");
    td_rng_skip(rng, n);
    return 0;
}

__global__ void scale_noise_kernel(double *x, const float *noise, int64_t n, double t)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;

    if (i < n)
        x[i] = __dmul_rn((double)noise[i], t);
}

int td_cuda_scale_noise(TDDev *dev, TDTensor *x, const TDTensor *noise, double t)
{
    int64_t n = td_tensor_count(x);

    scale_noise_kernel<<<(unsigned)td_blocks(n, 256), 256, 0, td_cuda(dev)->stream>>>(
        (double *)x->data, (const float *)noise->data, n, t);
    CU_LAUNCHED(dev, "scale_noise_kernel");
    return 0;
}

__global__ void round_state_kernel(float *y, const double *x, int64_t n, int *bad)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;

    if (i >= n)
        return;
    y[i] = (float)x[i];
    if (!isfinite(y[i]))
        *bad = 1;
}

int td_cuda_round_state(TDDev *dev, TDTensor *y, const TDTensor *x, int *finite)
{
    TDCuda *c = td_cuda(dev);
    int64_t n = td_tensor_count(x);

    *c->flag = 0;                                /* no other kernel answers there, and this one is waited for */
    round_state_kernel<<<(unsigned)td_blocks(n, 256), 256, 0, c->stream>>>((float *)y->data, (const double *)x->data, n,
                                                                            c->flag);
    CU_LAUNCHED(dev, "round_state_kernel");
    CU(dev, cudaStreamSynchronize(c->stream));
    *finite = *(volatile int *)c->flag == 0;
    return 0;
}

__global__ void rcm_step_kernel(double *x, const float *v, const float *noise, int64_t n, double t, double s)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;

    if (i >= n)
        return;
    if (noise)
        x[i] = __dadd_rn(__dmul_rn(1.0 - s, __dsub_rn(x[i], __dmul_rn(t, (double)v[i]))),
                         (double)__fmul_rn((float)s, noise[i]));
    else
        x[i] = __dsub_rn(x[i], __dmul_rn(t - s, (double)v[i]));
}

int td_cuda_rcm_step(TDDev *dev, TDTensor *x, const TDTensor *v, const TDTensor *noise, double t, double s)
{
    int64_t n = td_tensor_count(x);

    rcm_step_kernel<<<(unsigned)td_blocks(n, 256), 256, 0, td_cuda(dev)->stream>>>(
        (double *)x->data, (const float *)v->data, noise ? (const float *)noise->data : NULL, n, t, s);
    CU_LAUNCHED(dev, "rcm_step_kernel");
    return 0;
}

static const TDKernel kernels[] = { TD_KERNEL(0, false, head_kernel) };

TDKernels td_cuda_in_embed(void) { return td_kernels(kernels); }
