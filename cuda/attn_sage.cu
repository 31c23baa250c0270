/* SPDX-License-Identifier: BSD-2-Clause
 * Sparse branch of sagesla on portable tensor-core instructions, over an ascending list of key blocks: int8 QK, and PV
 * in e4m3 or, where the card has no e4m3, in f16.
 *
 * Four warps make BQ queries by tiles of 64 keys. Codes of k come a tile ahead, v while the scores are made. The score
 * of an early block is S*(sm*dq), of a late one (S*dq)*sm, as in the official kernels. e4m3: P = 2^(x - m + 8.807)
 * fills the range, its row sum is of the unrounded values. f16: P = 2^(x - m), its row sum is of the rounded ones, by
 * the tensor cores. Each tile's P V is a sum of its own in f16 (v is scaled so that it fits) that is then added to the
 * output. */
#include <cuda_fp16.h>
#include "attn.h"
#include "ptx_sm80.cuh"

#define D 128
#define TK 64                                    /* keys per tile */
#define THREADS 128
#define SM_SCALE ((float)0.08838834764831845 * 1.44269504f)      /* 1/sqrt(128) log2(e) */

template <int BQ, bool E4M3> struct SageTile {
    static const int mf = BQ / 64;               /* 16-query fragments of a warp */
    static const int v_bytes = TK * D * (E4M3 ? 1 : 2), bytes = BQ * D + 2 * TK * D + v_bytes;
};

__device__ __forceinline__ int code_offset(int row, int chunk) { return row * 128 + ((chunk ^ (row & 7)) << 4); }
__device__ __forceinline__ int e4m3_offset(int row, int chunk) { return row * 64 + ((chunk ^ (row >> 1 & 3)) << 4); }
__device__ __forceinline__ int half_offset(int row, int chunk) { return row * 256 + ((chunk ^ (row & 7)) << 4); }

/* codes of a head's rows from first on; rows past n are zeros */
template <int ROWS>
__device__ __forceinline__ void load_codes(uint32_t dst, const int8_t *code, const SlaArgs &a, int head, int first)
{
    int row = threadIdx.x / 8, chunk = threadIdx.x % 8;
    const int8_t *from = code + (int64_t)(first + row) * a.dim + head * D + chunk * 16;

    dst += code_offset(row, chunk);
#pragma unroll
    for (int i = 0; i < ROWS; i += 16)
        cp_async16(dst + i * 128, from + (int64_t)i * a.dim, first + row + i < a.n ? 16 : 0);
}

/* v of TK tokens: e4m3 [channel][token], or f16 [token][channel] */
template <bool E4M3> __device__ __forceinline__ void load_v(uint32_t dst, const SlaArgs &a, int head, int first)
{
    if constexpr (E4M3) {
        int row = threadIdx.x / 4, chunk = threadIdx.x % 4;
        const uint8_t *from = a.v_code + ((int64_t)head * D + row) * a.n_pad + first + chunk * 16;

        dst += e4m3_offset(row, chunk);
#pragma unroll
        for (int i = 0; i < D; i += 32)
            cp_async16(dst + i * 64, from + (int64_t)i * a.n_pad, 16);
    } else {
        int row = threadIdx.x / 16, chunk = threadIdx.x % 16;
        const __half *from = a.v_half + (int64_t)(first + row) * a.dim + head * D + chunk * 8;

        dst += half_offset(row, chunk);
#pragma unroll
        for (int i = 0; i < TK; i += 8)
            cp_async16(dst + i * 256, from + (int64_t)i * a.dim, 16);
    }
}

/* A warp's state: outputs, the rows' largest scores, and sums of P (f16: by mma, equal in all columns) */
template <int MF> struct State {
    float o[MF][D / 8][4], top[MF][2], sum[MF][4];
};

/* scores of a tile, in integers */
template <int MF> __device__ __forceinline__ void scores(int (&s)[MF][TK / 8][4], uint32_t q, uint32_t k)
{
    int lane = threadIdx.x % 32;
    uint32_t at_q = q + code_offset(lane % 16, lane / 16),
             at_k = k + code_offset(lane % 8 + lane / 16 * 8, lane / 8 % 2);

#pragma unroll
    for (int c = 0; c < 4; c++) {
        uint32_t fq[MF][4], fk[4];

#pragma unroll
        for (int m = 0; m < MF; m++)
            ldmatrix4(fq[m], (at_q ^ c << 5) + m * 16 * 128);
#pragma unroll
        for (int j = 0; j < TK / 16; j++) {
            ldmatrix4(fk, (at_k ^ c << 5) + j * 16 * 128);
#pragma unroll
            for (int m = 0; m < MF; m++) {
                if (c == 0) {
                    mma_s8_new(s[m][2 * j], fq[m], fk[0], fk[1]);
                    mma_s8_new(s[m][2 * j + 1], fq[m], fk[2], fk[3]);
                } else {
                    mma_s8(s[m][2 * j], fq[m], fk[0], fk[1]);
                    mma_s8(s[m][2 * j + 1], fq[m], fk[2], fk[3]);
                }
            }
        }
    }
}

/* P of 16 queries as operands of 16 (f16) or 32 (e4m3) keys; scale: what outputs and sums so far shrink by. LATE blocks
 * may have keys past n; of e4m3, blocks 4g..4g+3 of 8 keys make one operand: words of k 0..15 and 16..31 */
template <bool E4M3, bool LATE>
__device__ __forceinline__ void softmax(uint32_t (&p)[E4M3 ? 2 : 4][4], float (&scale)[2], float (&sum)[4],
                                        float (&top)[2], const int (&s)[TK / 8][4], float dq, int first, int n)
{
    float mul = LATE ? SM_SCALE : SM_SCALE * dq;

#pragma unroll
    for (int half = 0; half < 2; half++) {
        float x[TK / 4], largest = -5e6f, bias, unrounded = 0;

#pragma unroll
        for (int j = 0; j < TK / 8; j++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                float v = sum_float(s[j][half * 2 + e]);

                if (LATE)
                    v = first + j * 8 + threadIdx.x % 4 * 2 + e < n ? v * dq : -5e6f;
                x[2 * j + e] = v;
                largest = fmaxf(largest, v);
            }
        largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 1));
        largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 2));
        largest = fmaxf(top[half], largest * mul);
        scale[half] = exp2_approx(top[half] - largest);
        top[half] = largest;
        bias = E4M3 ? 8.807f - largest : -largest;
#pragma unroll
        for (int j = 0; j < TK / 4; j++) {
            x[j] = exp2_approx(fmaf(x[j], mul, bias));
            unrounded += x[j];
        }
        if constexpr (E4M3) {
            sum[half] = sum[half] * scale[half] + unrounded;
#pragma unroll
            for (int g = 0; g < 2; g++) {
                p[g][half] = pack_e4m3(x[8 * g], x[8 * g + 1]) | pack_e4m3(x[8 * g + 2], x[8 * g + 3]) << 16;
                p[g][half + 2] = pack_e4m3(x[8 * g + 4], x[8 * g + 5]) | pack_e4m3(x[8 * g + 6], x[8 * g + 7]) << 16;
            }
        } else {
            sum[half * 2] *= scale[half];
            sum[half * 2 + 1] *= scale[half];
#pragma unroll
            for (int g = 0; g < 4; g++) {
                p[g][half] = pack_half(x[4 * g], x[4 * g + 1]);
                p[g][half + 2] = pack_half(x[4 * g + 2], x[4 * g + 3]);
            }
        }
    }
}

template <bool E4M3, int MF>
__device__ __forceinline__ void add_pv(State<MF> &w, const uint32_t (&p)[MF][E4M3 ? 2 : 4][4],
                                       const float (&scale)[MF][2], uint32_t v)
{
    int lane = threadIdx.x % 32;

    /* as in scores(), other parts of a row are bits turned over */
    v += E4M3 ? e4m3_offset(lane % 8 + lane / 16 * 8, lane / 8 % 2) : half_offset(lane % 16, lane / 16);
    /* 32 channels at a time: enough sums to hide what one product takes */
#pragma unroll
    for (int j = 0; j < D / 32; j++) {
        uint32_t inner[MF][4][2] = {};

#pragma unroll
        for (int g = 0; g < (E4M3 ? 2 : 4); g++)
#pragma unroll
            for (int i = 0; i < 2; i++) {
                uint32_t f[4];

                if constexpr (E4M3)
                    ldmatrix4(f, (v ^ g << 5) + (2 * j + i) * 16 * 64);
                else
                    ldmatrix4_trans(f, (v ^ 2 * j + i << 5) + g * 16 * 256);
#pragma unroll
                for (int m = 0; m < MF; m++)
#pragma unroll
                    for (int n = 0; n < 2; n++)
                        if constexpr (E4M3)
                            mma_e4m3_sum16(inner[m][2 * i + n], p[m][g], f[2 * n], f[2 * n + 1]);
                        else
                            mma_f16_sum16(inner[m][2 * i + n], p[m][g], f[2 * n], f[2 * n + 1]);
            }
#pragma unroll
        for (int m = 0; m < MF; m++)
#pragma unroll
            for (int n = 0; n < 4; n++)
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    float2 add = __half22float2(*(__half2 *)&inner[m][n][half]);
                    float *o = w.o[m][4 * j + n] + 2 * half;

                    o[0] = fmaf(o[0], scale[m][half], add.x);
                    o[1] = fmaf(o[1], scale[m][half], add.y);
                }
    }
    if constexpr (!E4M3)
#pragma unroll
        for (int m = 0; m < MF; m++)
#pragma unroll
            for (int g = 0; g < 4; g++)
                mma_f16(w.sum[m], p[m][g], 0x3c003c00, 0x3c003c00);          /* by ones */
}

template <int BQ, bool E4M3> __global__ void __launch_bounds__(THREADS, 2) attn_sage_kernel(SlaArgs a)
{
#if __CUDA_ARCH__ >= 890
    constexpr bool RUNS = true;
#else
    constexpr bool RUNS = !E4M3;
#endif
    if constexpr (RUNS) {
        constexpr int MF = SageTile<BQ, E4M3>::mf;
        extern __shared__ __align__(256) uint8_t smem[];
        const uint32_t q = shared_address(smem), k = q + BQ * D, v = k + 2 * TK * D;
        int warp = threadIdx.x / 32, lane = threadIdx.x % 32, head = blockIdx.y, qi = blockIdx.x, q0 = qi * BQ;
        int shift = a.bk == 128, n_tiles = a.n_keep << shift, n_early = (a.n_keep << shift) - 2;
        const int32_t *list = a.map + ((int64_t)head * a.n_qb + qi) * a.n_keep;
        int k_scale = head * a.n_kb, next_first = list[0] * a.bk;
        float q_scale = a.q_scale[head * a.n_qb + qi], next_scale = a.k_scale[k_scale + list[0]];
        State<MF> w = {};

#pragma unroll
        for (int m = 0; m < MF; m++)
            w.top[m][0] = w.top[m][1] = -5e6f;
        load_codes<BQ>(q, a.q_code, a, head, q0);
        load_codes<TK>(k, a.k_code, a, head, next_first);
        cp_async_commit();
        for (int t = 0; t < n_tiles; t++) {
            int first = next_first, s[MF][TK / 8][4];
            float dq = q_scale * next_scale, scale[MF][2];
            uint32_t p[MF][E4M3 ? 2 : 4][4];

            cp_async_wait<0>();
            __syncthreads();                     /* k is there, and the last v has been read */
            load_v<E4M3>(v, a, head, first);
            cp_async_commit();
            if (t + 1 < n_tiles) {
                int block = list[t + 1 >> shift];

                next_first = block * a.bk + (t + 1 & shift) * TK;
                next_scale = a.k_scale[k_scale + block];
                load_codes<TK>(k + (t + 1) % 2 * TK * D, a.k_code, a, head, next_first);
            }
            cp_async_commit();
            scores(s, q + warp * MF * 16 * 128, k + t % 2 * TK * D);
#pragma unroll
            for (int m = 0; m < MF; m++)
                if (t < n_early)
                    softmax<E4M3, false>(p[m], scale[m], w.sum[m], w.top[m], s[m], dq, first, a.n);
                else
                    softmax<E4M3, true>(p[m], scale[m], w.sum[m], w.top[m], s[m], dq, first, a.n);
            cp_async_wait<1>();
            __syncthreads();
            add_pv<E4M3>(w, p, scale, v);
        }
#pragma unroll
        for (int m = 0; m < MF; m++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                int row = q0 + (warp * MF + m) * 16 + lane / 4 + half * 8;
                float sum = w.sum[m][E4M3 ? half : half * 2], inv;

                if (E4M3) {
                    sum += __shfl_xor_sync(~0u, sum, 1);
                    sum += __shfl_xor_sync(~0u, sum, 2);
                }
                inv = 1.0f / sum;
                if (row >= a.n)
                    continue;
#pragma unroll
                for (int j = 0; j < D / 8; j++) {
                    int c = head * D + j * 8 + lane % 4 * 2;
                    float2 vs = E4M3 ? *(const float2 *)(a.v_scale + c) : make_float2(1.0f, 1.0f);
                    const float *o = w.o[m][j] + half * 2;

                    *(uint32_t *)(a.o + (int64_t)row * a.dim + c) = pack_bf16(o[0] * inv * vs.x, o[1] * inv * vs.y);
                }
            }
    }
}

#define SAGE_KERNEL(...) TD_KERNEL((SageTile<__VA_ARGS__>::bytes), false, attn_sage_kernel<__VA_ARGS__>)

static const TDKernel kernels[] = {
    SAGE_KERNEL(64, true), SAGE_KERNEL(128, true), SAGE_KERNEL(64, false), SAGE_KERNEL(128, false),
};

template <int BQ, bool E4M3> static int launch(TDDev *dev, const SlaArgs &a)
{
    int smem = td_cuda_shared(dev, td_kernels(kernels), (const void *)attn_sage_kernel<BQ, E4M3>);

    if (smem < 0)
        return smem;
    attn_sage_kernel<BQ, E4M3><<<dim3(a.n_qb, a.n_heads), THREADS, smem, td_cuda(dev)->stream>>>(a);
    CU_LAUNCHED(dev, "attn_sage_kernel");
    return 0;
}

int td_cuda_attn_sage(TDDev *dev, const SlaArgs &a)
{
    if (a.v_half)
        return a.bq == 64 ? launch<64, false>(dev, a) : launch<128, false>(dev, a);
    return a.bq == 64 ? launch<64, true>(dev, a) : launch<128, true>(dev, a);
}

TDKernels td_cuda_in_attn_sage(void) { return td_kernels(kernels); }
