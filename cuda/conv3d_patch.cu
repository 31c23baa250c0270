/* SPDX-License-Identifier: BSD-2-Clause
 * Causal convolution with 3x3 taps in space and stride 1, with portable tensor-core instructions, as an implicit matrix
 * product.
 *
 * A tile is a patch of TY x 16 pixels of one frame by N output channels. For each tap in time and 32 input channels (a
 * slab), the patch with its border of one pixel comes to shared memory once, and its nine taps in space are read from
 * there: a row of 16 pixels is one operand of 16 rows for ldmatrix, and a tap only moves its address, by a constant.
 * Pixels are 80 bytes apart, so that eight neighbours lie in different banks. Weights come GROUP taps at a time, as far
 * ahead as there is room for RING taps. Frames before the first of x come from the cache; a doubled input (nearest)
 * is read at half the coordinates. Pixels outside the picture, and channels past the last one, are zeros.
 *
 * With two warps for a scheduler, the tensor cores wait whenever both do something else. So the loop has no branches,
 * and few instructions besides products and ldmatrix: the compiler puts those in between.
 *
 * f16, where TDConv.f16 says so: sums of a tap's 32 products are f16, and are added up in f32. On GeForce such an mma
 * takes 16 cycles in place of 32, and a scheduler issues 6.8 instructions for each, most of them for that adding. */
#include <cuda_fp16.h>
#include "conv.h"
#include "ptx_sm80.cuh"

#define TX 16
#define CK 32                                    /* channels of a slab */
#define THREADS 256
#define PIXEL 80                                 /* bytes of CK channels of a pixel, and a gap */
#define TAPS 9                                   /* of a slab */

/* no card of 10.0 to 11.0 runs what is of f16: the module is smaller without */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000 && __CUDA_ARCH__ < 1200
#define HAS_F16 false
#else
#define HAS_F16 true
#endif

template <int WM, int WN, int MF, int NF, int GROUP, int RING> struct PatchTile {
    static const int ty = WM * MF, n = WN * NF * 8, width = TX + 2, pixels = (ty + 2) * width,
                     a_bytes = pixels * PIXEL, b_bytes = n * CK * 2, a_loads = (pixels * 4 + THREADS - 1) / THREADS,
                     b_loads = (n * 4 + THREADS - 1) / THREADS, row = n * 2 + 16, /* bytes of a finished pixel */
                     lanes = n < 24 ? 1 : n % 24 ? n / 16 : n / 24,    /* threads that store one */
                     chunks = n / 8 / lanes,                       /* of 16 bytes, of each of them */
                     loop_bytes = 2 * a_bytes + RING * b_bytes, out_bytes = ty * TX * row,
                     bytes = loop_bytes > out_bytes ? loop_bytes : out_bytes,
                     ahead = RING / GROUP,                         /* groups of weights that have a place */
                     turns = TAPS / GROUP - ahead + 2,             /* groups that bring the next patch, in parts: */
                     part = (a_loads + turns - 1) / turns;
    static_assert(WM * WN * 32 == THREADS && RING % GROUP == 0 && TAPS % GROUP == 0 && ahead > 1 && turns > 0,
                  "8 warps; groups do not cross a slab; a patch is there a group before its slab");
};

struct Place { int n0, x0, y0, t; };

__device__ __forceinline__ int b_offset(int row, int chunk) { return row * 64 + ((chunk ^ (row >> 1 & 3)) << 4); }

/* a tap in time and CK channels of it, in the order in which they are added */
struct Slab {
    int dt, part, parts;

    __device__ __forceinline__ void next()
    {
        if (++part == parts) {
            part = 0;
            dt++;
        }
    }
    __device__ __forceinline__ bool is(const ConvArgs &a) const { return dt < a.kt; }
    __device__ __forceinline__ int left(const ConvArgs &a) const { return a.c_in - part * CK; }
    /* its first channel: in the frame, in a row of weights at its first tap in space */
    __device__ __forceinline__ const bf16 *pixels(const ConvArgs &a, int t) const
    {
        int from = t + dt - a.n_cache;
        int64_t frame = (int64_t)a.h * a.wd * a.c_in;

        return (from < 0 ? a.cache + (from + a.n_cache) * frame : a.x + from * frame) + part * CK;
    }
    __device__ __forceinline__ int weights(const ConvArgs &a) const { return dt * TAPS * a.c_in + part * CK; }
};

/* What a thread brings: chunks of 16 bytes, always the same pixels of the patch and rows of weights, past the last slab
 * nothing. Of patches a slab is known ahead, of weights two. */
template <class T> struct Loader {
    int pixel[T::a_loads];                       /* elements from the frame's start */
    int row[T::b_loads];                         /* elements from the weights' start; past the last channel: 0 */
    uint32_t in, in_slab;                        /* bits: pixels in the picture; those of them that have the chunk */
    uint32_t b_dst;
    const bf16 *frame;                           /* of the next patch, the slab's first channel */
    int k = 0, next_k = 0;                       /* this slab's weights and the next one's, from a row's start */
    bool is = false, next_is = false;            /* whether there is such a slab */

    __device__ __forceinline__ Loader(const ConvArgs &a, const Place &at)
    {
        int chunk = threadIdx.x % 4;

        in = 0;
#pragma unroll
        for (int i = 0; i < T::a_loads; i++) {
            int p = threadIdx.x / 4 + i * 64, y = at.y0 + p / T::width - 1, x = at.x0 + p % T::width - 1;
            bool is_in = p < T::pixels && (unsigned)y < (unsigned)a.h_out && (unsigned)x < (unsigned)a.w_out;

            pixel[i] = is_in ? ((y >> a.up) * a.wd + (x >> a.up)) * a.c_in + chunk * 8 : 0;
            in |= (uint32_t)is_in << i;
        }
#pragma unroll
        for (int i = 0; i < T::b_loads; i++) {
            int r = threadIdx.x / 4 + i * 64;

            row[i] = r < T::n && at.n0 + r < a.c_out ? (at.n0 + r) * a.kt * TAPS * a.c_in : 0;
        }
        b_dst = b_offset(threadIdx.x / 4, chunk);
    }

    __device__ __forceinline__ void next_pixels(const ConvArgs &a, const Slab &s, int t)
    {
        frame = s.pixels(a, t);
        in_slab = s.is(a) && (int)threadIdx.x % 4 * 8 < s.left(a) ? in : 0;
    }
    /* in place of a chunk past the last channel the first one, which meets zeros */
    __device__ __forceinline__ void next_weights(const ConvArgs &a, const Slab &s)
    {
        int chunk = threadIdx.x % 4 * 8;

        k = next_k;
        is = next_is;
        next_k = s.weights(a) + (chunk < s.left(a) ? chunk : 0);
        next_is = s.is(a);
    }

    __device__ __forceinline__ void patch(uint32_t dst, int i) const
    {
        int p = threadIdx.x / 4 + i * 64;

        cp_async16_if(dst + p * PIXEL + threadIdx.x % 4 * 16, frame + pixel[i], in_slab >> i & 1 ? 16 : 0,
                      (i + 1) * 64 <= T::pixels || p < T::pixels);
    }

    __device__ __forceinline__ void weights(uint32_t dst, const ConvArgs &a, int q) const
    {
        int tap = (q < TAPS ? k : next_k) + q % TAPS * a.c_in;

#pragma unroll
        for (int i = 0; i < T::b_loads; i++)         /* 64 rows further the chunks lie alike */
            cp_async16_if(dst + b_dst + i * 64 * 64, a.w + (row[i] + tap), 16,
                          (q < TAPS ? is : next_is) && ((i + 1) * 64 <= T::n || threadIdx.x / 4 + i * 64 < T::n));
    }
};

/* sums of four f16 to those of f32 */
__device__ __forceinline__ void add_halves(float (&acc)[4], const uint32_t (&sum)[2])
{
    float2 low = __half22float2(*(const __half2 *)&sum[0]), high = __half22float2(*(const __half2 *)&sum[1]);

    acc[0] += low.x;
    acc[1] += low.y;
    acc[2] += high.x;
    acc[3] += high.y;
}

/* A warp's operands of both halves of a tap's channels: rows of pixels, weights. bf16: one half after the other. f16:
 * one row after the other, since a row's sums are on their way until they have both. */
template <class T, int MF, int NF, bool F16> struct Operands {
    static const int rows = F16 ? 2 : MF;
    uint32_t a[2][rows][4], b[2][NF / 2][4];
    int a_lane, b_lane;

    __device__ __forceinline__ Operands(int wm, int wn)
    {
        int lane = threadIdx.x % 32;

        a_lane = (wm * MF * T::width + lane % 16) * PIXEL + lane / 16 * 16;
        b_lane = b_offset(wn * NF * 8 + lane % 8 + lane / 16 * 8, lane / 8 % 2);
    }

    __device__ __forceinline__ void row(int h, int m, uint32_t patch, int q)
    {
        ldmatrix4(a[h][m % rows], patch + a_lane + h * 32 + ((m + q / 3) * T::width + q % 3) * PIXEL);
    }

    __device__ __forceinline__ void pixels(int h, uint32_t patch, int q)
    {
#pragma unroll
        for (int m = 0; m < MF; m++)
            row(h, m, patch, q);
    }

    __device__ __forceinline__ void weights(int h, uint32_t tap) { weights(b, h, tap); }
    __device__ __forceinline__ void weights(uint32_t (&to)[2][NF / 2][4], int h, uint32_t tap) const
    {
#pragma unroll
        for (int n = 0; n < NF / 2; n++)
            ldmatrix4(to[h][n], tap + (b_lane ^ h * 32) + n * 16 * 64);
    }

    __device__ __forceinline__ void multiply(float (&acc)[MF][NF][4], int h) const
    {
#pragma unroll
        for (int m = 0; m < MF; m++)
#pragma unroll
            for (int n = 0; n < NF; n++)
                mma_bf16(acc[m][n], a[h][m], b[h][n / 2][n % 2 * 2], b[h][n / 2][n % 2 * 2 + 1]);
    }

    /* Sums begin at 0, which the compiler takes for something made of those of the row before. Left to itself it makes
     * products of many rows first, and has no registers for all their sums. */
    __device__ __forceinline__ void multiply_row(float (&acc)[MF][NF][4], int m, uint32_t zero) const
    {
        uint32_t sum[NF][2];

#pragma unroll
        for (int n = 0; n < NF; n++) {
            const float *before = acc[(m + MF - 1) % MF][n];

            sum[n][0] = (__float_as_uint(before[0]) | __float_as_uint(before[1])) & zero;
            sum[n][1] = (__float_as_uint(before[2]) | __float_as_uint(before[3])) & zero;
            mma_f16_sum16(sum[n], a[0][m % rows], b[0][n / 2][n % 2 * 2], b[0][n / 2][n % 2 * 2 + 1]);
        }
#pragma unroll
        for (int n = 0; n < NF; n++)
            mma_f16_sum16(sum[n], a[1][m % rows], b[1][n / 2][n % 2 * 2], b[1][n / 2][n % 2 * 2 + 1]);
#pragma unroll
        for (int n = 0; n < NF; n++)
            add_halves(acc[m][n], sum[n]);
    }
};

/* a sum, which weights of f16 have made so many times too large, and the bias */
template <bool F16> __device__ __forceinline__ float value(float sum, const ConvArgs &a, float bias)
{
    return F16 ? fmaf(sum, a.unscale, bias) : sum + bias;
}

/* sums to bf16 pixels in shared memory: bias, and the residual that lies there */
template <class T, int WN, int MF, int NF, bool F16>
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
                float v0 = value<F16>(acc[i][j][half * 2], a, bias.x),
                      v1 = value<F16>(acc[i][j][half * 2 + 1], a, bias.y);

                if (a.residual) {
                    v0 += low_f32(*p);
                    v1 += high_f32(*p);
                }
                *p = pack_bf16(relu_if(v0, a.relu), relu_if(v1, a.relu));
            }
    }
}

/* 24 channels a thread, in three chunks: LANES threads hold a pixel of all channels */
template <int LANES>
__device__ __forceinline__ void norm_silu(uint4 (&v)[3], const float *gamma, bool to_f16, int lane)
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
            w[e] = pack16(silu(low_f32(w[e]) * r * g[e].x), silu(high_f32(w[e]) * r * g[e].y), to_f16);
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
            norm_silu<T::lanes>(v, a.gamma, a.y_f16, lane);
#pragma unroll
        for (int j = 0; j < T::chunks; j++)
            if (in && at.n0 + (lane + j * T::lanes) * 8 < a.c_out)
                *(uint4 *)(to + (lane + j * T::lanes) * 8) = v[j];
    }
}

/* the head: few channels, float32 */
template <int MF, int NF, bool F16>
__device__ __forceinline__ void store_few(const float (&acc)[MF][NF][4], const ConvArgs &a, const Place &at, int row0)
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
                    to[c] = relu_if(value<F16>(acc[m][e / 2][half * 2 + e % 2], a, a.bias[c]), a.relu);
            }
        }
}

template <int WM, int WN, int MF, int NF, int GROUP, int RING, bool NORM, bool F16>
__global__ void __launch_bounds__(THREADS) conv3d_patch_kernel(ConvArgs a)
{
    if constexpr (F16 && !HAS_F16) {
        __trap();
        return;
    }
    typedef PatchTile<WM, WN, MF, NF, GROUP, RING> T;
    extern __shared__ __align__(128) uint8_t smem[];
    const uint32_t ring = shared_address(smem) + 2 * T::a_bytes, ring_end = ring + RING * T::b_bytes;
    uint32_t patch = shared_address(smem), other = patch + T::a_bytes, group = ring;
    int warp = threadIdx.x / 32, wm = warp / WN, wn = warp % WN;
    int tiles_n = (a.c_out + T::n - 1) / T::n, tiles_x = (a.w_out + TX - 1) / TX,
        tiles_y = (a.h_out + T::ty - 1) / T::ty;
    int i = blockIdx.x, parts = (a.c_in + CK - 1) / CK, slabs = a.kt * parts;
    Slab pixels = { 0, 0, parts }, weights = pixels;   /* that come next */
    Place at;
    float acc[MF][NF][4] = {};

    at.n0 = i % tiles_n * T::n;
    i /= tiles_n;
    at.x0 = i % tiles_x * TX;
    i /= tiles_x;
    at.y0 = i % tiles_y * T::ty;
    at.t = i / tiles_y;

    Loader<T> load(a, at);
    Operands<T, MF, NF, F16> read(wm, wn);

    load.next_weights(a, weights);
    weights.next();
    load.next_weights(a, weights);
    load.next_pixels(a, pixels, at.t);
    for (int j = 0; j < T::a_loads; j++)
        load.patch(patch, j);
    pixels.next();
    load.next_pixels(a, pixels, at.t);
#pragma unroll
    for (int q = 0; q < RING; q++) {
        load.weights(ring + q * T::b_bytes, a, q);
        for (int j = 0; q == RING - 1 && j < T::part; j++)
            load.patch(other, j);
        if (q % GROUP == GROUP - 1)
            cp_async_commit();
    }
    cp_async_wait<T::ahead - 1>();
    __syncthreads();
    read.weights(0, ring);
    if constexpr (F16) {
        read.weights(1, ring);
        read.row(0, 0, patch, 0);
        read.row(1, 0, patch, 0);
    } else {
        read.pixels(0, patch, 0);
    }
    /* after tap q, the last one of its group: the next group is there, and nobody wants this one any more; after the
     * last group, nor this patch */
    const auto next_group = [&](int q) {
        const int turn = (q / GROUP + 1) % (TAPS / GROUP);
        const uint32_t done = group;

        cp_async_wait<T::ahead - 2>();
        __syncthreads();
        group = group + GROUP * T::b_bytes == ring_end ? ring : group + GROUP * T::b_bytes;
#pragma unroll
        for (int j = 0; j < GROUP; j++)
            load.weights(done + j * T::b_bytes, a, q - GROUP + 1 + RING + j);
        if (turn == 0) {
            pixels.next();
            load.next_pixels(a, pixels, at.t);
        }
#pragma unroll
        for (int j = turn * T::part; j < (turn + 1) * T::part && j < T::a_loads; j++)
            if (turn < T::turns)
                load.patch(turn == 0 ? patch : other, j);
        cp_async_commit();
    };
    const uint32_t zero = a.stride_s - 1;        /* 0, but the compiler does not know */
#pragma unroll 1
    for (int s = 0; s < slabs; s++) {
        /* operands are read while the products before them run; past the last slab they are never used */
#pragma unroll
        for (int q = 0; q < TAPS; q++) {
            const uint32_t after = q < TAPS - 1 ? patch : other;

            if constexpr (F16) {
                uint32_t b[2][NF / 2][4];

#pragma unroll
                for (int m = 0; m < MF; m++) {
                    if (m == MF - 1) {
                        if (q % GROUP == GROUP - 1)
                            next_group(q);
                        read.weights(b, 0, group + (q + 1) % GROUP * T::b_bytes);
                        read.weights(b, 1, group + (q + 1) % GROUP * T::b_bytes);
                    }
#pragma unroll
                    for (int h = 0; h < 2; h++)
                        read.row(h, (m + 1) % MF, m < MF - 1 ? patch : after, (q + (m == MF - 1)) % TAPS);
                    read.multiply_row(acc, m, zero);
                }
                memcpy(read.b, b, sizeof(b));
            } else {
                read.weights(1, group + q % GROUP * T::b_bytes);
                read.pixels(1, patch, q);
                read.multiply(acc, 0);
                if (q % GROUP == GROUP - 1)
                    next_group(q);
                read.weights(0, group + (q + 1) % GROUP * T::b_bytes);
                read.pixels(0, after, (q + 1) % TAPS);
                read.multiply(acc, 1);
            }
        }
        weights.next();
        load.next_weights(a, weights);

        const uint32_t last = patch;

        patch = other;
        other = last;
    }
    if constexpr (T::n == 16) {
        store_few<MF, NF, F16>(acc, a, at, wm * MF);
    } else {
        cp_async_wait<0>();                      /* the zeros past the last slab go where finish() writes */
        __syncthreads();
        if (a.residual)
            bring_residual<T>(smem, a, at);
        finish<T, WN, MF, NF, F16>(acc, a, smem, at.n0);
        __syncthreads();
        store_pixels<T, NORM>(smem, a, at);
    }
}

/* warps down and across, 16-pixel rows and 8-channel columns of a warp, GROUP and RING */
#define FEW 8, 1, 2, 2, 3, 6                     /* 16x16 pixels by 16 channels */
#define OF_32 8, 1, 2, 4, 3, 6                   /* 16x16 by 32 */
#define OF_48 8, 1, 2, 6, 3, 6                   /* 16x16 by 48 */
#define OF_64 4, 2, 4, 4, 3, 6                   /* 16x16 by 64 */
#define OF_96 4, 2, 4, 6, 3, 6                   /* 16x16 by 96 */
#define OF_192 2, 4, 4, 6, 1, 5                  /* 8x16 by 192: no room for 6 taps */
#define CONV3D_PATCH_KERNEL(NORM, F16, ...) \
    TD_KERNEL((PatchTile<__VA_ARGS__>::bytes), false, conv3d_patch_kernel<__VA_ARGS__, NORM, F16>)
#define OF_BOTH(NORM, ...) CONV3D_PATCH_KERNEL(NORM, false, __VA_ARGS__), CONV3D_PATCH_KERNEL(NORM, true, __VA_ARGS__)

static const TDKernel kernels[] = {
    OF_BOTH(false, FEW),  OF_BOTH(false, OF_32), OF_BOTH(false, OF_48), OF_BOTH(true, OF_48),
    OF_BOTH(false, OF_96), OF_BOTH(true, OF_96), OF_BOTH(true, OF_192), CONV3D_PATCH_KERNEL(false, false, OF_64),
};

template <bool NORM, bool F16, int WM, int WN, int MF, int NF, int GROUP, int RING>
static int launch(TDDev *dev, const ConvArgs &a)
{
    typedef PatchTile<WM, WN, MF, NF, GROUP, RING> T;
    const auto kernel = conv3d_patch_kernel<WM, WN, MF, NF, GROUP, RING, NORM, F16>;
    int smem = td_cuda_shared(dev, td_kernels(kernels), (const void *)kernel);
    int64_t tiles = td_blocks(a.c_out, T::n) * td_blocks(a.w_out, TX) * td_blocks(a.h_out, T::ty);
    int64_t frames = a.n_pixels / a.h_out / a.w_out;

    if (smem < 0)
        return smem;
    kernel<<<(unsigned)(tiles * frames), THREADS, smem, td_cuda(dev)->stream>>>(a);
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

template <bool F16> static int choose(TDDev *dev, ConvArgs &a)
{
    if (a.f32)
        return launch<false, F16, FEW>(dev, a);
    if (a.gamma && !a.residual && a.c_out == 192)
        return launch<true, F16, OF_192>(dev, a);
    if (a.gamma && !a.residual && a.c_out == 96)
        return launch<true, F16, OF_96>(dev, a);
    if (a.gamma && !a.residual && a.c_out == 48)
        return launch<true, F16, OF_48>(dev, a);
    a.gamma = NULL;
    if (a.c_out % 96 == 0)
        return launch<false, F16, OF_96>(dev, a);
    if constexpr (!F16)
        if (a.c_out % 64 == 0)
            return launch<false, false, OF_64>(dev, a);
    return a.c_out > 32 ? launch<false, F16, OF_48>(dev, a) : launch<false, F16, OF_32>(dev, a);
}

int td_cuda_conv3d_patch(TDDev *dev, ConvArgs &a)
{
    return a.x_f16 ? choose<true>(dev, a) : choose<false>(dev, a);
}

TDKernels td_cuda_in_conv3d_patch(void) { return td_kernels(kernels); }
