/* SPDX-License-Identifier: BSD-2-Clause
 * Causal convolution with 3x3 taps in space and stride 1, with portable tensor-core instructions, as an implicit matrix
 * product.
 *
 * A tile is a patch of TY x 16 pixels of one frame by N output channels. For each tap in time and 32 input channels (a
 * slab), the patch with its border of one pixel comes to shared memory once, and its nine taps in space are read from
 * there: a row of 16 pixels is one operand of 16 rows for ldmatrix, and a tap only moves its address, by a constant.
 * Pixels are 80 bytes apart, so that eight neighbours lie in different banks. Weights come a tap at a time. Frames
 * before the first of x come from the cache; a doubled input (nearest) is read at half the coordinates. Channels past
 * the last one, of pixels and of weights, are zeros. */
#include "conv.h"
#include "ptx_sm80.cuh"

#define TX 16
#define CK 32                                    /* channels of a slab */
#define THREADS 256
#define PIXEL 80                                 /* bytes of CK channels of a pixel, and a gap */
#define TAPS 9                                   /* of a slab */
#define RING 4                                   /* taps of weights in shared memory */

template <int WM, int WN, int MF, int NF> struct PatchTile {
    static const int ty = WM * MF, n = WN * NF * 8, width = TX + 2, pixels = (ty + 2) * width,
                     a_bytes = pixels * PIXEL, b_bytes = n * CK * 2, a_loads = (pixels * 4 + THREADS - 1) / THREADS,
                     b_loads = (n * 4 + THREADS - 1) / THREADS, row = n * 2 + 16, /* bytes of a finished pixel */
                     lanes = n < 24 ? 1 : n % 24 ? n / 16 : n / 24,    /* threads that store one */
                     chunks = n / 8 / lanes,                       /* of 16 bytes, of each of them */
                     loop_bytes = 2 * a_bytes + RING * b_bytes, out_bytes = ty * TX * row,
                     bytes = loop_bytes > out_bytes ? loop_bytes : out_bytes;
    static_assert(WM * WN * 32 == THREADS && a_loads < TAPS, "8 warps; a load of the next patch at each tap");
};

struct Place { int n0, x0, y0, t; };

__device__ __forceinline__ int b_offset(int row, int chunk) { return row * 64 + ((chunk ^ (row >> 1 & 3)) << 4); }

/* What a thread brings: chunks of 16 bytes, always the same pixels of the patch and rows of weights. */
template <class T> struct Loader {
    int pixel[T::a_loads];                       /* elements from the frame's start; -1: outside the picture */
    int row[T::b_loads];                         /* elements from the weights' start; -1: no such channel */

    __device__ __forceinline__ Loader(const ConvArgs &a, const Place &at)
    {
        int chunk = threadIdx.x % 4;

#pragma unroll
        for (int i = 0; i < T::a_loads; i++) {
            int p = threadIdx.x / 4 + i * 64, y = at.y0 + p / T::width - 1, x = at.x0 + p % T::width - 1;
            bool in = p < T::pixels && (unsigned)y < (unsigned)a.h_out && (unsigned)x < (unsigned)a.w_out;

            pixel[i] = in ? ((y >> a.up) * a.wd + (x >> a.up)) * a.c_in + chunk * 8 : -1;
        }
#pragma unroll
        for (int i = 0; i < T::b_loads; i++) {
            int r = threadIdx.x / 4 + i * 64;

            row[i] = r < T::n && at.n0 + r < a.c_out ? (at.n0 + r) * a.kt * TAPS * a.c_in + chunk * 8 : -1;
        }
    }

    /* left: channels of the slab and those behind it */
    __device__ __forceinline__ void patch(uint32_t dst, int i, const bf16 *frame, int left) const
    {
        int p = threadIdx.x / 4 + i * 64;
        bool in = pixel[i] >= 0 && (int)threadIdx.x % 4 * 8 < left;

        if (p < T::pixels)
            cp_async16(dst + p * PIXEL + threadIdx.x % 4 * 16, in ? frame + pixel[i] : frame, in ? 16 : 0);
    }

    __device__ __forceinline__ void weights(uint32_t dst, const ConvArgs &a, int k, int left) const
    {
#pragma unroll
        for (int i = 0; i < T::b_loads; i++) {
            int r = threadIdx.x / 4 + i * 64;
            bool in = row[i] >= 0 && (int)threadIdx.x % 4 * 8 < left;

            if (r < T::n)
                cp_async16(dst + b_offset(r, threadIdx.x % 4), in ? a.w + row[i] + k : a.w, in ? 16 : 0);
        }
    }
};

/* A warp's operands of both halves of a tap's channels. */
template <class T, int MF, int NF> struct Operands {
    uint32_t a[2][MF][4], b[2][NF / 2][4];
    int a_lane, b_lane;

    __device__ __forceinline__ Operands(int wm, int wn)
    {
        int lane = threadIdx.x % 32;

        a_lane = (wm * MF * T::width + lane % 16) * PIXEL + lane / 16 * 16;
        b_lane = b_offset(wn * NF * 8 + lane % 8 + lane / 16 * 8, lane / 8 % 2);
    }

    __device__ __forceinline__ void half(int h, uint32_t patch, uint32_t weights, int tap)
    {
        const uint32_t ta = patch + a_lane + (tap / 3 * T::width + tap % 3) * PIXEL + h * 32,
                       tb = weights + (b_lane ^ h * 32);

#pragma unroll
        for (int m = 0; m < MF; m++)
            ldmatrix4(a[h][m], ta + m * T::width * PIXEL);
#pragma unroll
        for (int n = 0; n < NF / 2; n++)
            ldmatrix4(b[h][n], tb + n * 16 * 64);
    }

    __device__ __forceinline__ void multiply(float (&acc)[MF][NF][4], int h) const
    {
#pragma unroll
        for (int m = 0; m < MF; m++)
#pragma unroll
            for (int n = 0; n < NF; n++)
                mma_bf16(acc[m][n], a[h][m], b[h][n / 2][n % 2 * 2], b[h][n / 2][n % 2 * 2 + 1]);
    }
};

/* the frame and first channel of a slab */
__device__ __forceinline__ const bf16 *slab_of(const ConvArgs &a, int t, int dt, int c0)
{
    int from = t + dt - a.n_cache;
    int64_t frame = (int64_t)a.h * a.wd * a.c_in;

    return (from < 0 ? a.cache + (from + a.n_cache) * frame : a.x + from * frame) + c0;
}

/* sums to bf16 pixels in shared memory: bias, and the residual that lies there */
template <class T, int WN, int MF, int NF>
__device__ __forceinline__ void finish(const float (&acc)[MF][NF][4], const ConvArgs &a, uint8_t *tile, int n0)
{
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, wm = warp / WN, wn = warp % WN;

#pragma unroll
    for (int j = 0; j < NF; j++) {
        int c = (wn * NF + j) * 8 + lane % 4 * 2;
        float2 bias = n0 + c < a.c_out ? *(const float2 *)(a.bias + n0 + c) : make_float2(0, 0);

#pragma unroll
        for (int i = 0; i < MF; i++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                uint32_t *p = (uint32_t *)(tile + ((wm * MF + i) * TX + lane / 4 + half * 8) * T::row + c * 2);
                float v0 = acc[i][j][half * 2] + bias.x, v1 = acc[i][j][half * 2 + 1] + bias.y;

                if (a.residual) {
                    v0 += low_f32(*p);
                    v1 += high_f32(*p);
                }
                *p = pack_bf16(relu_if(v0, a.relu), relu_if(v1, a.relu));
            }
    }
}

/* 24 channels a thread, in three chunks: LANES threads hold a pixel of all channels */
template <int LANES> __device__ __forceinline__ void norm_silu(uint4 (&v)[3], const float *gamma, int lane)
{
    float sum = 0, r;

#pragma unroll
    for (int i = 0; i < 3; i++) {
        uint32_t w[4] = { v[i].x, v[i].y, v[i].z, v[i].w };

#pragma unroll
        for (int e = 0; e < 4; e++)
            sum += low_f32(w[e]) * low_f32(w[e]) + high_f32(w[e]) * high_f32(w[e]);
    }
#pragma unroll
    for (int i = 1; i < LANES; i *= 2)
        sum += __shfl_xor_sync(~0u, sum, i);
    r = sqrtf(LANES * 24.0f) / fmaxf(sqrtf(sum), 1e-12f);
#pragma unroll
    for (int i = 0; i < 3; i++) {
        uint32_t w[4] = { v[i].x, v[i].y, v[i].z, v[i].w };
        const float2 *g = (const float2 *)(gamma + (lane + i * LANES) * 8);

#pragma unroll
        for (int e = 0; e < 4; e++)
            w[e] = pack_bf16(silu(low_f32(w[e]) * r * g[e].x), silu(high_f32(w[e]) * r * g[e].y));
        v[i] = make_uint4(w[0], w[1], w[2], w[3]);
    }
}

/* elements from the start of y to channel n0 of pixel p of the tile; in: whether it is in the picture */
__device__ __forceinline__ int64_t pixel_at(const ConvArgs &a, const Place &at, int p, bool &in)
{
    int y = at.y0 + p / TX, x = at.x0 + p % TX;

    in = y < a.h_out && x < a.w_out;
    return (((int64_t)at.t * a.h_out + y) * a.w_out + x) * a.c_out + at.n0;
}

/* the residual of the tile's pixels to where finish() wants it */
template <class T> __device__ __forceinline__ void bring_residual(uint8_t *tile, const ConvArgs &a, const Place &at)
{
    int lane = threadIdx.x % T::lanes;

    for (int p = threadIdx.x / T::lanes; p < T::ty * TX; p += THREADS / T::lanes) {
        bool in;
        const bf16 *from = a.residual + pixel_at(a, at, p, in);

#pragma unroll
        for (int j = lane; j < T::n / 8; j += T::lanes) {
            bool has = in && at.n0 + j * 8 < a.c_out;

            cp_async16(tile + p * T::row + j * 16, has ? from + j * 8 : a.residual, has ? 16 : 0);
        }
    }
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
}

/* whole pixels from shared memory to y */
template <class T, bool NORM>
__device__ __forceinline__ void store_pixels(const uint8_t *tile, const ConvArgs &a, const Place &at)
{
    int lane = threadIdx.x % T::lanes;

    for (int p = threadIdx.x / T::lanes; p < T::ty * TX; p += THREADS / T::lanes) {
        bool in;
        bf16 *to = (bf16 *)a.y + pixel_at(a, at, p, in);
        uint4 v[T::chunks];

#pragma unroll
        for (int j = 0; j < T::chunks; j++)
            v[j] = *(const uint4 *)(tile + p * T::row + (lane + j * T::lanes) * 16);
        if constexpr (NORM)
            norm_silu<T::lanes>(v, a.gamma, lane);
#pragma unroll
        for (int j = 0; j < T::chunks; j++)
            if (in && at.n0 + (lane + j * T::lanes) * 8 < a.c_out)
                *(uint4 *)(to + (lane + j * T::lanes) * 8) = v[j];
    }
}

/* the head: few channels, float32 */
template <int MF, int NF> __device__ __forceinline__ void store_few(const float (&acc)[MF][NF][4], const ConvArgs &a,
                                                                    const Place &at, int row0)
{
    int lane = threadIdx.x % 32;

#pragma unroll
    for (int m = 0; m < MF; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            bool in;
            float *to = (float *)a.y + pixel_at(a, at, (row0 + m) * TX + lane / 4 + half * 8, in);

#pragma unroll
            for (int e = 0; e < NF * 2; e++) {
                int c = e / 2 * 8 + lane % 4 * 2 + e % 2;

                if (in && c < a.c_out)
                    to[c] = relu_if(acc[m][e / 2][half * 2 + e % 2] + a.bias[c], a.relu);
            }
        }
}

template <int WM, int WN, int MF, int NF, bool NORM> __global__ void __launch_bounds__(THREADS)
    conv3d_patch_kernel(ConvArgs a)
{
    typedef PatchTile<WM, WN, MF, NF> T;
    extern __shared__ __align__(128) uint8_t smem[];
    const uint32_t patches = shared_address(smem), ring = patches + 2 * T::a_bytes;
    int warp = threadIdx.x / 32, wm = warp / WN, wn = warp % WN;
    int tiles_n = (a.c_out + T::n - 1) / T::n, tiles_x = (a.w_out + TX - 1) / TX,
        tiles_y = (a.h_out + T::ty - 1) / T::ty;
    int i = blockIdx.x, parts = (a.c_in + CK - 1) / CK, slabs = a.kt * parts;
    Place at;
    float acc[MF][NF][4] = {};

    at.n0 = i % tiles_n * T::n;
    i /= tiles_n;
    at.x0 = i % tiles_x * TX;
    i /= tiles_x;
    at.y0 = i % tiles_y * T::ty;
    at.t = i / tiles_y;

    const Loader<T> load(a, at);
    Operands<T, MF, NF> read(wm, wn);

    for (int j = 0; j < T::a_loads; j++)
        load.patch(patches, j, slab_of(a, at.t, 0, 0), a.c_in);
    load.weights(ring, a, 0, a.c_in);
    load.weights(ring + T::b_bytes, a, a.c_in, a.c_in);
    cp_async_commit();
    load.weights(ring + 2 * T::b_bytes, a, 2 * a.c_in, a.c_in);
    cp_async_commit();
    cp_async_wait<1>();
    __syncthreads();
    read.half(0, patches, ring, 0);
    for (int s = 0, dt = 0, part = 0, slot = 0; s < slabs; s++) {
        const uint32_t patch = patches + (s & 1) * T::a_bytes, next_patch = patches + (s & 1 ^ 1) * T::a_bytes;
        int k = dt * TAPS * a.c_in + part * CK, left = a.c_in - part * CK, next_k, next_left;
        const bf16 *next;

        if (++part == parts) {
            part = 0;
            dt++;
        }
        next = slab_of(a, at.t, dt, part * CK);
        next_k = dt * TAPS * a.c_in + part * CK;
        next_left = a.c_in - part * CK;
        /* at a tap its own weights and the next one's are there, those after it are on their way; operands are read
         * while the products of the half before run */
#pragma unroll
        for (int tap = 0; tap < TAPS; tap++) {
            cp_async_wait<1>();
            __syncthreads();
            read.half(1, patch, ring + slot * T::b_bytes, tap);
            if (tap < TAPS - 3 || s + 1 < slabs)
                load.weights(ring + (slot + 3) % RING * T::b_bytes, a,
                             (tap < TAPS - 3 ? k : next_k) + (tap + 3) % TAPS * a.c_in,
                             tap < TAPS - 3 ? left : next_left);
            if (tap < T::a_loads && s + 1 < slabs)
                load.patch(next_patch, tap, next, next_left);
            cp_async_commit();
            read.multiply(acc, 0);
            slot = (slot + 1) % RING;
            if (tap < TAPS - 1)
                read.half(0, patch, ring + slot * T::b_bytes, tap + 1);
            else if (s + 1 < slabs)
                read.half(0, next_patch, ring + slot * T::b_bytes, 0);
            read.multiply(acc, 1);
        }
    }
    if constexpr (T::n == 16) {
        store_few<MF, NF>(acc, a, at, wm * MF);
    } else {
        __syncthreads();
        if (a.residual)
            bring_residual<T>(smem, a, at);
        finish<T, WN, MF, NF>(acc, a, smem, at.n0);
        __syncthreads();
        store_pixels<T, NORM>(smem, a, at);
    }
}

/* warps down and across, 16-pixel rows and 8-channel columns of a warp */
#define FEW 8, 1, 2, 2                           /* 16x16 pixels by 16 channels */
#define OF_32 8, 1, 2, 4                         /* 16x16 by 32 */
#define OF_48 8, 1, 2, 6                         /* 16x16 by 48 */
#define OF_64 4, 2, 4, 4                         /* 16x16 by 64 */
#define OF_96 4, 2, 4, 6                         /* 16x16 by 96 */
#define OF_192 2, 4, 4, 6                        /* 8x16 by 192 */
#define CONV3D_PATCH_KERNEL(NORM, ...) \
    TD_KERNEL((PatchTile<__VA_ARGS__>::bytes), false, conv3d_patch_kernel<__VA_ARGS__, NORM>)

static const TDKernel kernels[] = {
    CONV3D_PATCH_KERNEL(false, FEW),   CONV3D_PATCH_KERNEL(false, OF_32), CONV3D_PATCH_KERNEL(false, OF_48),
    CONV3D_PATCH_KERNEL(true, OF_48),  CONV3D_PATCH_KERNEL(false, OF_64), CONV3D_PATCH_KERNEL(false, OF_96),
    CONV3D_PATCH_KERNEL(true, OF_96),  CONV3D_PATCH_KERNEL(true, OF_192),
};

template <int WM, int WN, int MF, int NF, bool NORM> static int launch(TDDev *dev, const ConvArgs &a)
{
    typedef PatchTile<WM, WN, MF, NF> T;
    int smem = td_cuda_shared(dev, td_kernels(kernels), (const void *)conv3d_patch_kernel<WM, WN, MF, NF, NORM>);
    int64_t frames = a.n_pixels / a.h_out / a.w_out;

    if (smem < 0)
        return smem;
    conv3d_patch_kernel<WM, WN, MF, NF, NORM>
        <<<(unsigned)(td_blocks(a.c_out, T::n) * td_blocks(a.w_out, TX) * td_blocks(a.h_out, T::ty) * frames), THREADS,
           smem, td_cuda(dev)->stream>>>(a);
    CU_LAUNCHED(dev, "conv3d_patch_kernel");
    return 0;
}

bool td_cuda_conv3d_is_patch(const ConvArgs &a)
{
    return a.kh == 3 && a.kw == 3 && a.stride_t == 1 && a.stride_s == 1 && !a.interleave &&
           (int64_t)a.h * a.wd * a.c_in < INT32_MAX &&
           (a.f32 ? a.c_out <= 16 && !a.residual && !a.gamma
                  : a.c_out % 96 == 0 || a.c_out % 64 == 0 || a.c_out == 48 || a.c_out == 32 || a.c_out == 24);
}

int td_cuda_conv3d_patch(TDDev *dev, ConvArgs &a)
{
    if (a.f32)
        return launch<FEW, false>(dev, a);
    if (a.gamma && !a.residual && a.c_out == 192)
        return launch<OF_192, true>(dev, a);
    if (a.gamma && !a.residual && a.c_out == 96)
        return launch<OF_96, true>(dev, a);
    if (a.gamma && !a.residual && a.c_out == 48)
        return launch<OF_48, true>(dev, a);
    a.gamma = NULL;
    return a.c_out % 96 == 0   ? launch<OF_96, false>(dev, a)
           : a.c_out % 64 == 0 ? launch<OF_64, false>(dev, a)
           : a.c_out == 48     ? launch<OF_48, false>(dev, a)
                               : launch<OF_32, false>(dev, a);
}

TDKernels td_cuda_in_conv3d_patch(void) { return td_kernels(kernels); }
