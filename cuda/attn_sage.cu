/* SPDX-License-Identifier: BSD-2-Clause
 * Sparse branch of sagesla on portable tensor-core instructions: int8 QK, e4m3 PV, over an ascending list of key
 * blocks.
 *
 * A warp owns 16 queries; keys come in tiles of 64, double buffered ahead. The score of an early block is S*(sm*dq), of
 * a late one (S*dq)*sm, as in the official kernels; P = 2^(x - m + 8.807) fills the e4m3 range and its row sum is of
 * the unrounded values. Each tile's P V starts at zero and is then added to the output: two-level accumulation. */
#include "attn.h"
#include "ptx_sm80.cuh"

#define D 128
#define TK 64                                    /* keys per tile */
#define STAGES 3
#define P_OFFSET 8.807f

__device__ __forceinline__ int k_offset(int row, int chunk) { return row * 128 + ((chunk ^ (row & 7)) << 4); }
__device__ __forceinline__ int v_offset(int row, int chunk) { return row * 64 + ((chunk ^ (row >> 1 & 3)) << 4); }

/* codes of 64 keys, then 128 channels of the same keys' v */
template <int THREADS> __device__ __forceinline__ void load_tile(const SlaArgs &a, uint8_t *dst, int head, int first)
{
    for (int i = threadIdx.x; i < TK * 8; i += THREADS) {
        int row = i / 8, chunk = i % 8;
        bool ok = first + row < a.n;

        cp_async16(dst + k_offset(row, chunk),
                   a.k_code + (int64_t)(ok ? first + row : 0) * a.dim + head * D + chunk * 16, ok ? 16 : 0);
    }
    for (int i = threadIdx.x; i < D * 4; i += THREADS) {
        int row = i / 4, chunk = i % 4;

        cp_async16(dst + TK * D + v_offset(row, chunk),
                   a.v_code + ((int64_t)head * D + row) * a.n_pad + first + chunk * 16, 16);
    }
}

template <int BQ> __global__ void __launch_bounds__(BQ * 2, BQ == 64 ? 3 : 2) attn_sage_kernel(SlaArgs a, float sm)
{
#if __CUDA_ARCH__ >= 890
    constexpr int THREADS = BQ * 2;
    extern __shared__ __align__(128) uint8_t smem[];
    uint8_t *tiles = smem + BQ * D;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, head = blockIdx.y, qi = blockIdx.x, q0 = qi * BQ;
    int per = a.bk / TK, n_tiles = a.n_keep * per, n_late = a.bk == 128 ? 1 : 2;
    const int32_t *list = a.map + ((int64_t)head * a.n_qb + qi) * a.n_keep;
    float q_scale = a.q_scale[(int64_t)head * a.n_qb + qi];
    float o[D / 8][4] = {}, m[2] = { -5e6f, -5e6f }, l[2] = { 0, 0 };
    uint32_t fq[4][4];

    for (int i = threadIdx.x; i < BQ * 8; i += THREADS) {
        int row = i / 8, chunk = i % 8;
        bool ok = q0 + row < a.n;

        cp_async16(smem + k_offset(row, chunk), a.q_code + (int64_t)(ok ? q0 + row : 0) * a.dim + head * D + chunk * 16,
                   ok ? 16 : 0);
    }
    for (int t = 0; t < STAGES - 1; t++) {
        if (t < n_tiles)
            load_tile<THREADS>(a, tiles + t * 2 * TK * D, head, list[t / per] * a.bk + t % per * TK);
        cp_async_commit();
    }
    for (int t = 0; t < n_tiles; t++) {
        int block = t / per, first = list[block] * a.bk + t % per * TK, next = t + STAGES - 1;
        const uint8_t *tk = tiles + t % STAGES * 2 * TK * D, *tv = tk + TK * D;
        bool late = block >= a.n_keep - n_late;
        float dq = q_scale * a.k_scale[(int64_t)head * a.n_kb + list[block]], mul = late ? sm : sm * dq;
        int s[TK / 8][4] = {};
        uint32_t p[TK / 32][4], f[4];

        cp_async_wait<STAGES - 2>();
        __syncthreads();
        if (next < n_tiles)
            load_tile<THREADS>(a, tiles + next % STAGES * 2 * TK * D, head, list[next / per] * a.bk + next % per * TK);
        cp_async_commit();
        if (t == 0)
            for (int c = 0; c < 4; c++)
                ldmatrix4(fq[c], smem + k_offset(warp * 16 + lane % 16, c * 2 + lane / 16));
#pragma unroll
        for (int c = 0; c < 4; c++)
#pragma unroll
            for (int j = 0; j < TK / 16; j++) {
                ldmatrix4(f, tk + k_offset(j * 16 + lane % 8 + lane / 16 * 8, c * 2 + lane / 8 % 2));
                mma_s8(s[2 * j], fq[c], f[0], f[1]);
                mma_s8(s[2 * j + 1], fq[c], f[2], f[3]);
            }
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float x[TK / 4], top = -5e6f, scale, bias;

#pragma unroll
            for (int j = 0; j < TK / 8; j++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    float v = (float)s[j][half * 2 + e];

                    v = first + j * 8 + lane % 4 * 2 + e < a.n ? (late ? v * dq : v) : -5e6f;
                    x[2 * j + e] = v;
                    top = fmaxf(top, v);
                }
            top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
            top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
            top = fmaxf(m[half], top * mul);
            scale = exp2_approx(m[half] - top);
            m[half] = top;
            bias = -top + P_OFFSET;
            l[half] *= scale;
#pragma unroll
            for (int j = 0; j < D / 8; j++) {
                o[j][half * 2] *= scale;
                o[j][half * 2 + 1] *= scale;
            }
#pragma unroll
            for (int j = 0; j < TK / 4; j++) {
                x[j] = exp2_approx(fmaf(x[j], mul, bias));
                l[half] += x[j];
            }
            /* blocks 4g..4g+3 of 8 keys make one 32-deep operand: words of k 0..15 and 16..31 */
#pragma unroll
            for (int g = 0; g < TK / 32; g++) {
                p[g][half] = pack_e4m3(x[8 * g], x[8 * g + 1]) | pack_e4m3(x[8 * g + 2], x[8 * g + 3]) << 16;
                p[g][half + 2] = pack_e4m3(x[8 * g + 4], x[8 * g + 5]) | pack_e4m3(x[8 * g + 6], x[8 * g + 7]) << 16;
            }
        }
#pragma unroll
        for (int j = 0; j < D / 16; j++) {
            float inner[2][4] = {};

#pragma unroll
            for (int g = 0; g < TK / 32; g++) {
                ldmatrix4(f, tv + v_offset(j * 16 + lane % 8 + lane / 16 * 8, g * 2 + lane / 8 % 2));
                mma_e4m3(inner[0], p[g], f[0], f[1]);
                mma_e4m3(inner[1], p[g], f[2], f[3]);
            }
#pragma unroll
            for (int e = 0; e < 4; e++) {
                o[2 * j][e] += inner[0][e];
                o[2 * j + 1][e] += inner[1][e];
            }
        }
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int row = q0 + warp * 16 + lane / 4 + half * 8;
        float inv;

        l[half] += __shfl_xor_sync(~0u, l[half], 1);
        l[half] += __shfl_xor_sync(~0u, l[half], 2);
        inv = 1.0f / l[half];
        if (row >= a.n)
            continue;
#pragma unroll
        for (int j = 0; j < D / 8; j++) {
            int c = head * D + j * 8 + lane % 4 * 2;
            float2 vs = *(const float2 *)(a.v_scale + c);

            *(uint32_t *)(a.o + (int64_t)row * a.dim + c) =
                pack_bf16(o[j][half * 2] * inv * vs.x, o[j][half * 2 + 1] * inv * vs.y);
        }
    }
#endif
}

#define SAGE_KERNEL(BQ) TD_KERNEL(BQ * D + STAGES * 2 * TK * D, false, attn_sage_kernel<BQ>)

static const TDKernel kernels[] = { SAGE_KERNEL(64), SAGE_KERNEL(128) };

template <int BQ> static int launch(TDDev *dev, const SlaArgs &a)
{
    int smem = td_cuda_shared(dev, td_kernels(kernels), (const void *)attn_sage_kernel<BQ>);
    float sm = (float)(1.0 / sqrt((double)D)) * 1.44269504f;

    if (smem < 0)
        return smem;
    attn_sage_kernel<BQ><<<dim3(a.n_qb, a.n_heads), BQ * 2, smem, td_cuda(dev)->stream>>>(a, sm);
    CU_LAUNCHED(dev, "attn_sage_kernel");
    return 0;
}

int td_cuda_attn_sage(TDDev *dev, const SlaArgs &a)
{
    return a.bq == 64 ? launch<64>(dev, a) : launch<128>(dev, a);
}

TDKernels td_cuda_in_attn_sage(void) { return td_kernels(kernels); }
