/* SPDX-License-Identifier: BSD-2-Clause
 * Causal convolution of stride 1 on Hopper as an implicit matrix product by wgmma.
 *
 * A tile is a patch of 16x16 pixels of one frame by N output channels (64, 96, 128 or 192); a step is CK input
 * channels of one tap. The bulk copy engine brings the patch shifted by the tap, with zeros outside the picture, so
 * padding needs no code. Frames before the first of x come from the cache's own map. A doubled input (nearest) is
 * four products, one per parity of the output pixel: tap d of parity p reads row y + floor((p + d - 1) / 2) of the
 * small picture. */
#include "conv.h"
#include "ptx_sm90.cuh"
#include "tensor_map.h"

#define PATCH 16
#define BM (PATCH * PATCH)

template <int N, int CK> struct ConvStorage {
    static const int stages = CK == 64 ? (N == 192 ? 3 : N == 64 ? 5 : 4) : 8;
    uint8_t a[stages][BM * CK * 2];
    uint8_t b[stages][N * CK * 2];
    uint64_t full[stages], empty[stages];
    float bias[N], gamma[N];
};

struct ConvTiles {
    int per_tap, n_steps, tiles_x, tiles_y, tiles_n, phases, total;
};

struct ConvTile { int n0, x0, y0, t, px, py; };

__device__ __forceinline__ ConvTile tile_at(const ConvTiles &g, int i, int n)
{
    ConvTile c;

    c.n0 = i % g.tiles_n * n;
    i /= g.tiles_n;
    c.x0 = i % g.tiles_x * PATCH;
    i /= g.tiles_x;
    c.y0 = i % g.tiles_y * PATCH;
    i /= g.tiles_y;
    c.px = g.phases == 4 ? i % 2 : 0;
    c.py = g.phases == 4 ? i / 2 % 2 : 0;
    c.t = i / g.phases;
    return c;
}

template <int N, int CK> __device__ __forceinline__ void produce(const ConvArgs &a, const ConvTiles &g,
                                                                 ConvStorage<N, CK> *s, const CUtensorMap *map_x,
                                                                 const CUtensorMap *map_cache, const CUtensorMap *map_w)
{
    int stage = 0, phase = 0;

    for (int i = blockIdx.x; i < g.total; i += gridDim.x) {
        ConvTile c = tile_at(g, i, N);

        for (int dt = 0; dt < a.kt; dt++)
            for (int dy = 0; dy < a.kh; dy++)
                for (int dx = 0; dx < a.kw; dx++)
                    for (int part = 0; part < g.per_tap; part++) {
                        int t = c.t + dt - a.n_cache, k = ((dt * a.kh + dy) * a.kw + dx) * a.c_in + part * CK;
                        int x = c.x0 + (a.up ? (c.px + dx - 1) >> 1 : dx - a.pad_x),
                            y = c.y0 + (a.up ? (c.py + dy - 1) >> 1 : dy - a.pad_y);

                        mbarrier_wait(&s->empty[stage], phase ^ 1);
                        mbarrier_expect(&s->full[stage], (BM + N) * CK * 2);
                        tma_load_4d(s->a[stage], t < 0 ? map_cache : map_x, &s->full[stage], part * CK, x, y,
                                    t < 0 ? t + a.n_cache : t);
                        tma_load_2d(s->b[stage], map_w, &s->full[stage], k, c.n0);
                        if (++stage == ConvStorage<N, CK>::stages) {
                            stage = 0;
                            phase ^= 1;
                        }
                    }
    }
}

/* where the 8 channels of a lane's first group go, and whether the pixel is in the picture */
__device__ __forceinline__ int64_t place(const ConvArgs &a, const ConvTile &c, int r, bool &in)
{
    int channels = a.interleave ? a.c_out / 2 : a.c_out, frame = a.interleave ? 2 * c.t + c.n0 / channels : c.t,
        y = c.y0 + r / PATCH, x = c.x0 + r % PATCH;

    in = y < (a.up ? a.h : a.h_out) && x < (a.up ? a.wd : a.w_out);
    return (((int64_t)frame * a.h_out + (a.up ? 2 * y + c.py : y)) * a.w_out + (a.up ? 2 * x + c.px : x)) * channels +
           c.n0 % channels + threadIdx.x % 4 * 8;
}

/* 16 pixels of a warp by all N channels: bias, norm, SiLU. A quad holds a pixel. */
template <int N> __device__ __forceinline__ void store_normed(const float (&acc)[N / 2], const ConvArgs &a,
                                                              const float *bias, const float *gamma, const ConvTile &c,
                                                              int row0)
{
    int lane = threadIdx.x % 32, quad = lane & 3;

#pragma unroll
    for (int half = 0; half < 2; half++) {
        bool in;
        int64_t at = place(a, c, row0 + lane / 4 + half * 8, in);
        uint32_t w[N / 8];
        float sum[4] = { 0 }, r;

#pragma unroll
        for (int j = 0; j < N / 8; j++) {
            float2 b = *(const float2 *)(bias + j * 8 + quad * 2);

            w[j] = pack_bf16(acc[j * 4 + half * 2] + b.x, acc[j * 4 + half * 2 + 1] + b.y);
            sum[j % 4] += low_f32(w[j]) * low_f32(w[j]) + high_f32(w[j]) * high_f32(w[j]);
        }
        r = (sum[0] + sum[1]) + (sum[2] + sum[3]);
        r += __shfl_xor_sync(~0u, r, 1);
        r += __shfl_xor_sync(~0u, r, 2);
        r = sqrtf((float)N) / fmaxf(sqrtf(r), 1e-12f);
#pragma unroll
        for (int group = 0; group < N / 32; group++) {
            uint32_t o[4];

#pragma unroll
            for (int i = 0; i < 4; i++) {
                float2 g = *(const float2 *)(gamma + (group * 4 + i) * 8 + quad * 2);

                o[i] = pack_bf16(silu(low_f32(w[group * 4 + i]) * r * g.x), silu(high_f32(w[group * 4 + i]) * r * g.y));
            }
            transpose_quad(o);
            if (in)
                store16((bf16 *)a.y + at + group * 32, o);
        }
    }
}

/* 16 pixels of a warp by N channels: bias, residual, store 8 channels at a time */
template <int N> __device__ __forceinline__ void store_rows(const float (&acc)[N / 2], const ConvArgs &a,
                                                            const float *bias, const ConvTile &c, int row0)
{
    int lane = threadIdx.x % 32, quad = lane & 3;

#pragma unroll
    for (int half = 0; half < 2; half++) {
        bool in;
        int64_t at = place(a, c, row0 + lane / 4 + half * 8, in);
        uint4 ahead[N / 32];

        if (a.residual)
#pragma unroll
            for (int group = 0; group < N / 32; group++)
                ahead[group] = in ? *(const uint4 *)(a.residual + at + group * 32) : make_uint4(0, 0, 0, 0);
#pragma unroll
        for (int group = 0; group < N / 32; group++) {
            uint32_t w[4];

            if (a.residual) { /* sums stay f32 until the one rounding: transpose both halves of each word apart */
                uint32_t lo[4], hi[4];
                uint32_t ow[4] = { ahead[group].x, ahead[group].y, ahead[group].z, ahead[group].w };

#pragma unroll
                for (int i = 0; i < 4; i++) {
                    int j = group * 4 + i;

                    lo[i] = __float_as_uint(acc[j * 4 + half * 2] + bias[j * 8 + quad * 2]);
                    hi[i] = __float_as_uint(acc[j * 4 + half * 2 + 1] + bias[j * 8 + quad * 2 + 1]);
                }
                transpose_quad(lo);
                transpose_quad(hi);
#pragma unroll
                for (int i = 0; i < 4; i++)
                    w[i] = pack_bf16(relu_if(__uint_as_float(lo[i]) + low_f32(ow[i]), a.relu),
                                     relu_if(__uint_as_float(hi[i]) + high_f32(ow[i]), a.relu));
            } else {
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    int j = group * 4 + i;

                    w[i] = pack_bf16(relu_if(acc[j * 4 + half * 2] + bias[j * 8 + quad * 2], a.relu),
                                     relu_if(acc[j * 4 + half * 2 + 1] + bias[j * 8 + quad * 2 + 1], a.relu));
                }
                transpose_quad(w);
            }
            if (in)
                store16((bf16 *)a.y + at + group * 32, w);
        }
    }
}

template <int N, int CK, bool NORM> __global__ void __launch_bounds__(384, 1)
    conv3d_sm90_kernel(const __grid_constant__ CUtensorMap map_x, const __grid_constant__ CUtensorMap map_cache,
                       const __grid_constant__ CUtensorMap map_w, ConvArgs a, ConvTiles g)
{
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    constexpr int STAGES = ConvStorage<N, CK>::stages;
    extern __shared__ uint8_t raw[];
    ConvStorage<N, CK> *s = (ConvStorage<N, CK> *)align_1024(raw);
    int wg = __shfl_sync(~0u, threadIdx.x / 128, 0);

    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++) {
            mbarrier_init(&s->full[i], 1);
            mbarrier_init(&s->empty[i], 2);
        }
        fence_barrier_init();
    }
    __syncthreads();
    if (wg == 2) {
        registers_down<24>();
        if (threadIdx.x == 256)
            produce<N, CK>(a, g, s, &map_x, &map_cache, &map_w);
    } else {
        int stage = 0, phase = 0, warp = threadIdx.x / 32 % 4;

        registers_up<240>();
        for (int i = blockIdx.x; i < g.total; i += gridDim.x) {
            ConvTile c = tile_at(g, i, N);
            float acc[2][N / 2];

#pragma unroll
            for (int j = 0; j < N / 2; j++)
                acc[0][j] = acc[1][j] = 0.0f;
            named_barrier<1>(256);               /* the last tile's bias has been read */
            for (int j = threadIdx.x; j < N; j += 256)
                s->bias[j] = a.bias[c.n0 + j];
            for (int j = threadIdx.x; j < N && NORM; j += 256)
                s->gamma[j] = a.gamma[j];
            named_barrier<1>(256);
            for (int step = 0; step < g.n_steps; step++) {
                mbarrier_wait(&s->full[stage], phase);
                const uint8_t *pa = s->a[stage] + wg * 128 * CK * 2;
                uint64_t db = CK == 64 ? wgmma_descriptor(s->b[stage]) : wgmma_descriptor64(s->b[stage]);
                uint64_t d0 = CK == 64 ? wgmma_descriptor(pa) : wgmma_descriptor64(pa);
                uint64_t d1 = CK == 64 ? wgmma_descriptor(pa + 64 * CK * 2) : wgmma_descriptor64(pa + 64 * CK * 2);

                wgmma_fence();
#pragma unroll
                for (int k = 0; k < CK / 16; k++) {
                    wgmma_bf16(acc[0], d0 + 2 * k, db + 2 * k);
                    wgmma_bf16(acc[1], d1 + 2 * k, db + 2 * k);
                }
                wgmma_commit();
                wgmma_wait<0>();
                if (threadIdx.x % 128 == 0)
                    mbarrier_arrive(&s->empty[stage]);
                if (++stage == STAGES) {
                    stage = 0;
                    phase ^= 1;
                }
            }
            if (NORM) {
                store_normed<N>(acc[0], a, s->bias, s->gamma, c, wg * 128 + warp * 16);
                store_normed<N>(acc[1], a, s->bias, s->gamma, c, wg * 128 + 64 + warp * 16);
            } else {
                store_rows<N>(acc[0], a, s->bias, c, wg * 128 + warp * 16);
                store_rows<N>(acc[1], a, s->bias, c, wg * 128 + 64 + warp * 16);
            }
        }
    }
#endif
}

#define CONV3D_SM90_KERNELS(N, CK) \
    TD_KERNEL(sizeof(ConvStorage<N, CK>) + 1024, true, conv3d_sm90_kernel<N, CK, false>), \
    TD_KERNEL(sizeof(ConvStorage<N, CK>) + 1024, true, conv3d_sm90_kernel<N, CK, true>)

static const TDKernel kernels[] = {
    CONV3D_SM90_KERNELS(192, 64), CONV3D_SM90_KERNELS(192, 32), CONV3D_SM90_KERNELS(96, 64),
    CONV3D_SM90_KERNELS(96, 32),
    TD_KERNEL(sizeof(ConvStorage<128, 64>) + 1024, true, conv3d_sm90_kernel<128, 64, false>),
    TD_KERNEL(sizeof(ConvStorage<64, 64>) + 1024, true, conv3d_sm90_kernel<64, 64, false>),
};

template <int N, int CK, bool NORM> static int launch(TDDev *dev, const ConvArgs &a)
{
    int smem, taps = a.kt * a.kh * a.kw, frames = a.t, n_sm = td_cuda(dev)->n_sm, ret;
    CUtensorMap x, cache, w;
    ConvTiles g = {};

    TRY(smem = td_cuda_shared(dev, td_kernels(kernels), (const void *)conv3d_sm90_kernel<N, CK, NORM>));
    g.per_tap = a.c_in / CK;
    g.n_steps = taps * g.per_tap;
    g.tiles_x = (int)td_blocks(a.up ? a.wd : a.w_out, PATCH);
    g.tiles_y = (int)td_blocks(a.up ? a.h : a.h_out, PATCH);
    g.tiles_n = a.c_out / N;
    g.phases = a.up ? 4 : 1;
    g.total = g.tiles_x * g.tiles_y * g.tiles_n * g.phases * frames;
    TRY(td_cuda_map_frames(dev, &x, a.x, frames, a.h, a.wd, a.c_in, PATCH, PATCH, CK));
    cache = x;
    if (a.n_cache)
        TRY(td_cuda_map_frames(dev, &cache, a.cache, a.n_cache, a.h, a.wd, a.c_in, PATCH, PATCH, CK));
    TRY(td_cuda_map_matrix(dev, &w, a.w, a.c_out, (int64_t)taps * a.c_in, 2, N, CK * 2));
    conv3d_sm90_kernel<N, CK, NORM>
        <<<g.total < n_sm ? g.total : n_sm, 384, smem, td_cuda(dev)->stream>>>(x, cache, w, a, g);
    CU_LAUNCHED(dev, "conv3d_sm90_kernel");
    return 0;
fail:
    return ret;
}

/* stride 1, channels in whole tiles */
static bool takes(const ConvArgs &a)
{
    int channels = a.interleave ? a.c_out / 2 : a.c_out;

    return a.stride_t == 1 && a.stride_s == 1 && !a.f32 &&
           ((a.c_in % 32 == 0 && channels % 96 == 0) || (a.c_in % 64 == 0 && channels % 64 == 0));
}

/* a tile has all channels */
static bool norms(const ConvArgs &a)
{
    return (a.c_out == 96 || a.c_out == 192) && !a.interleave && !a.residual;
}

template <int N, int CK> static int choose(TDDev *dev, const ConvArgs &a)
{
    return a.gamma ? launch<N, CK, true>(dev, a) : launch<N, CK, false>(dev, a);
}

int td_cuda_conv3d_sm90(TDDev *dev, ConvArgs &a)
{
    int channels = a.interleave ? a.c_out / 2 : a.c_out;

    if (!takes(a))
        return td_cuda_conv3d_mma(dev, a);
    if (!norms(a))
        a.gamma = NULL;
    if (channels % 96)
        return channels % 128 ? launch<64, 64, false>(dev, a) : launch<128, 64, false>(dev, a);
    if (channels % 192 == 0)
        return a.c_in % 64 == 0 ? choose<192, 64>(dev, a) : choose<192, 32>(dev, a);
    return a.c_in % 64 == 0 ? choose<96, 64>(dev, a) : choose<96, 32>(dev, a);
}

TDKernels td_cuda_in_conv3d_sm90(void) { return td_kernels(kernels); }
