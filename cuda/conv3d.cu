/* SPDX-License-Identifier: BSD-2-Clause
 * Causal convolution over channels-last frames as an implicit matrix product on tensor cores: row = output pixel,
 * k = (tap, input channel) in steps of 32 channels of one tap. Frames before the first of x come from the cache.
 *
 * 8 warps; a warp's tile is (16 MF) x (8 NF). Shared rows are 64 bytes; their 16-byte chunks are permuted by row so
 * that ldmatrix reads without bank conflicts. */
#include "conv.h"
#include "ptx_sm80.cuh"

#define STAGES 4
#define BK 32
#define THREADS 256

__device__ __forceinline__ int chunk_offset(int row, int chunk) { return row * 64 + ((chunk ^ (row >> 1 & 3)) << 4); }

template <int WM, int WN, int MF, int NF> struct ConvTile {
    static const int bm = WM * MF * 16, bn = WN * NF * 8, bytes = (bm + bn) * 64;
    static_assert(WM * WN * 32 == THREADS, "8 warps");
    static_assert(bm % 64 == 0, "rows of A are spread evenly over the threads");
};

/* one step: 32 channels of one tap for the rows and columns of the tile */
template <class T> __device__ __forceinline__ void load_step(const ConvArgs &a, uint8_t *stage,
                                                             const int (&pt)[T::bm / 64], const int (&py)[T::bm / 64],
                                                             const int (&px)[T::bm / 64], int n0, int tap, int c0)
{
    int chunk = threadIdx.x % 4, c = c0 + chunk * 8, dx = tap % a.kw, dy = tap / a.kw % a.kh, dt = tap / (a.kw * a.kh);
    bool in_c = c < a.c_in;

#pragma unroll
    for (int i = 0; i < T::bm / 64; i++) {
        int t = pt[i] + dt, y = py[i] + dy, x = px[i] + dx, row = threadIdx.x / 4 + i * 64;
        bool ok =
            in_c && pt[i] > -1000 && (unsigned)y < (unsigned)(a.h << a.up) && (unsigned)x < (unsigned)(a.wd << a.up);
        const bf16 *frame =
            t < 0 ? a.cache + (int64_t)(t + a.n_cache) * a.h * a.wd * a.c_in : a.x + (int64_t)t * a.h * a.wd * a.c_in;

        cp_async16(stage + chunk_offset(row, chunk),
                   ok ? frame + ((int64_t)(y >> a.up) * a.wd + (x >> a.up)) * a.c_in + c : a.x, ok ? 16 : 0);
    }
    stage += T::bm * 64;
    for (int row = threadIdx.x / 4; row < T::bn; row += 64) {
        bool ok = in_c && n0 + row < a.c_out;

        cp_async16(stage + chunk_offset(row, chunk),
                   ok ? a.w + ((int64_t)(n0 + row) * a.kt * a.kh * a.kw + tap) * a.c_in + c : a.w, ok ? 16 : 0);
    }
}

template <int WM, int WN, int MF, int NF> __global__ void __launch_bounds__(THREADS) conv3d_kernel(ConvArgs a)
{
    typedef ConvTile<WM, WN, MF, NF> T;
    extern __shared__ __align__(128) uint8_t smem[];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, wm = warp / WN, wn = warp % WN;
    int n_tiles = (a.c_out + T::bn - 1) / T::bn, n0 = blockIdx.x % n_tiles * T::bn;
    int64_t m0 = (int64_t)(blockIdx.x / n_tiles) * T::bm;
    int per_tap = (a.c_in + BK - 1) / BK, n_steps = a.kt * a.kh * a.kw * per_tap;
    int pt[T::bm / 64], py[T::bm / 64], px[T::bm / 64];
    float acc[MF][NF][4] = {};

    for (int i = 0; i < T::bm / 64; i++) {
        int64_t m = m0 + threadIdx.x / 4 + i * 64;
        int x = (int)(m % a.w_out), y = (int)(m / a.w_out % a.h_out), t = (int)(m / a.w_out / a.h_out);

        pt[i] = m < a.n_pixels ? t * a.stride_t - a.n_cache : -100000;
        py[i] = y * a.stride_s - a.pad_y;
        px[i] = x * a.stride_s - a.pad_x;
    }
    for (int s = 0; s < STAGES - 1; s++) {
        if (s < n_steps)
            load_step<T>(a, smem + s * T::bytes, pt, py, px, n0, s / per_tap, s % per_tap * BK);
        cp_async_commit();
    }
    for (int s = 0, tap = (STAGES - 1) / per_tap, part = (STAGES - 1) % per_tap; s < n_steps; s++) {
        const uint8_t *sa = smem + s % STAGES * T::bytes, *sb = sa + T::bm * 64;

        cp_async_wait<STAGES - 2>();
        __syncthreads();
        if (s + STAGES - 1 < n_steps) {
            load_step<T>(a, smem + (s + STAGES - 1) % STAGES * T::bytes, pt, py, px, n0, tap, part * BK);
            if (++part == per_tap) {
                part = 0;
                tap++;
            }
        }
        cp_async_commit();
#pragma unroll
        for (int k = 0; k < 2; k++) {
            uint32_t fa[MF][4], fb[NF / 2][4];

#pragma unroll
            for (int i = 0; i < MF; i++)
                ldmatrix4(fa[i], sa + chunk_offset((wm * MF + i) * 16 + lane % 16, k * 2 + lane / 16));
#pragma unroll
            for (int j = 0; j < NF / 2; j++)
                ldmatrix4(fb[j],
                          sb + chunk_offset((wn * NF + j * 2) * 8 + lane % 8 + lane / 16 * 8, k * 2 + lane / 8 % 2));
#pragma unroll
            for (int i = 0; i < MF; i++)
#pragma unroll
                for (int j = 0; j < NF; j++)
                    mma_bf16(acc[i][j], fa[i], fb[j / 2][j % 2 * 2], fb[j / 2][j % 2 * 2 + 1]);
        }
    }
    int channels = a.interleave ? a.c_out / 2 : a.c_out;
    int64_t area = (int64_t)a.h_out * a.w_out;

#pragma unroll
    for (int i = 0; i < MF; i++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int64_t m = m0 + (wm * MF + i) * 16 + lane / 4 + half * 8;

            if (m >= a.n_pixels)
                continue;
#pragma unroll
            for (int j = 0; j < NF; j++) {
                int ch = n0 + (wn * NF + j) * 8 + lane % 4 * 2;
                int64_t pixel = a.interleave ? (m / area * 2 + ch / channels) * area + m % area : m,
                        at = pixel * channels + ch % channels;
                float v[2] = { acc[i][j][half * 2], acc[i][j][half * 2 + 1] };

                if (ch >= a.c_out)
                    continue;
                if (a.f32 || ch + 1 >= a.c_out || channels % 2) {
                    for (int e = 0; e < 2 && ch + e < a.c_out; e++) {
                        float o = relu_if(v[e] + a.bias[ch + e] + (a.residual ? to_f32(a.residual[at + e]) : 0.0f),
                                          a.relu);

                        if (a.f32)
                            ((float *)a.y)[at + e] = o;
                        else
                            ((bf16 *)a.y)[at + e] = to_bf16(o);
                    }
                    continue;
                }
                v[0] += a.bias[ch];
                v[1] += a.bias[ch + 1];
                if (a.residual) {
                    uint32_t r = *(const uint32_t *)(a.residual + at);

                    v[0] += low_f32(r);
                    v[1] += high_f32(r);
                }
                *(uint32_t *)((bf16 *)a.y + at) = pack_bf16(relu_if(v[0], a.relu), relu_if(v[1], a.relu));
            }
        }
}

#define CONV3D_KERNEL(...) TD_KERNEL((STAGES * ConvTile<__VA_ARGS__>::bytes), false, conv3d_kernel<__VA_ARGS__>)

static const TDKernel kernels[] = {
    CONV3D_KERNEL(8, 1, 2, 2), CONV3D_KERNEL(2, 4, 4, 6), CONV3D_KERNEL(4, 2, 4, 6),
};

template <int WM, int WN, int MF, int NF> static int launch(TDDev *dev, const ConvArgs &a)
{
    typedef ConvTile<WM, WN, MF, NF> T;
    int smem = td_cuda_shared(dev, td_kernels(kernels), (const void *)conv3d_kernel<WM, WN, MF, NF>);
    /* in one dimension: the others end at 65535, and four frames of 2048x2048 have 65536 tiles of pixels */
    unsigned grid = (unsigned)(td_blocks(a.c_out, T::bn) * td_blocks(a.n_pixels, T::bm));

    if (smem < 0)
        return smem;
    conv3d_kernel<WM, WN, MF, NF><<<grid, THREADS, smem, td_cuda(dev)->stream>>>(a);
    CU_LAUNCHED(dev, "conv3d_kernel");
    return 0;
}

int td_cuda_conv3d_mma(TDDev *dev, ConvArgs &a)
{
    if (a.x_f16 || td_cuda_conv3d_is_patch(a))
        return td_cuda_conv3d_patch(dev, a);
    a.gamma = NULL;
    if (a.c_out <= 16)
        return launch<8, 1, 2, 2>(dev, a);       /* 256 x 16 */
    if (a.c_out % 192 == 0)
        return launch<2, 4, 4, 6>(dev, a);       /* 128 x 192 */
    return launch<4, 2, 4, 6>(dev, a);           /* 256 x 96 */
}

int td_cuda_keep_frames(TDDev *dev, TDTensor *cache, const TDTensor *x)
{
    cudaStream_t stream = td_cuda(dev)->stream;
    int64_t n = cache->shape[0], t = x->shape[0];
    size_t frame = td_tensor_bytes(x) / (size_t)t;
    uint8_t *c = (uint8_t *)cache->data;

    if (t >= n) {
        CU(dev, cudaMemcpyAsync(c, (const uint8_t *)x->data + (size_t)(t - n) * frame, (size_t)n * frame,
                                cudaMemcpyDeviceToDevice, stream));
        return 0;
    }
    for (int64_t i = 0; i < n - t; i++)          /* frame by frame: source and destination may overlap as a whole */
        CU(dev, cudaMemcpyAsync(c + (size_t)i * frame, c + (size_t)(i + t) * frame, frame, cudaMemcpyDeviceToDevice,
                                stream));
    CU(dev, cudaMemcpyAsync(c + (size_t)(n - t) * frame, x->data, (size_t)t * frame, cudaMemcpyDeviceToDevice, stream));
    return 0;
}

int td_cuda_causal_conv3d(TDDev *dev, TDTensor *y, const TDTensor *x, const TDTensor *cache, const TDConv *cv,
                          const TDTensor *residual)
{
    ConvArgs a = {};
    int ret;

    a.x = (const bf16 *)x->data;
    a.cache = cache ? (const bf16 *)cache->data : NULL;
    a.w = (const bf16 *)cv->w;
    a.bias = cv->bias;
    a.residual = residual ? (const bf16 *)residual->data : NULL;
    a.y = y->data;
    a.f32 = y->dtype == TD_F32;
    a.h_out = (int)y->shape[1];
    a.w_out = (int)y->shape[2];
    a.n_pixels = (cv->interleave ? y->shape[0] / 2 : y->shape[0]) * a.h_out * a.w_out;
    a.c_in = (int)cv->c_in;
    a.c_out = (int)cv->c_out;
    a.kt = cv->kt;
    a.kh = cv->kh;
    a.kw = cv->kw;
    a.stride_t = cv->stride_t;
    a.stride_s = cv->stride_s;
    a.up = cv->upsample;
    a.interleave = cv->interleave;
    a.n_cache = cv->kt - cv->stride_t;
    a.pad_y = cv->stride_s == 1 || cv->centred ? cv->kh / 2 : 0;
    a.pad_x = cv->stride_s == 1 || cv->centred ? cv->kw / 2 : 0;
    a.relu = cv->relu;
    a.t = (int)x->shape[0];
    a.h = (int)x->shape[1];
    a.wd = (int)x->shape[2];
    a.gamma = cv->gamma;
    a.x_f16 = cv->f16;
    a.y_f16 = y->dtype == TD_F16;
    a.unscale = cv->unscale;
    TRY(td_cuda(dev)->kernels.conv(dev, a));
    if (cv->gamma && !a.gamma) {
        TDTensor sums = *y;

        sums.dtype = TD_BF16;
        TRY(td_cuda_rms_silu(dev, y, &sums, cv->gamma, 1));
    }
fail:
    return ret;
}

TDKernels td_cuda_in_conv3d(void) { return td_kernels(kernels); }
