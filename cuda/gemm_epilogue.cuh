/* SPDX-License-Identifier: BSD-2-Clause
 * What happens to a finished 64x128 accumulator of one warpgroup (rows of a warp: 16; a thread holds rows lane/4 and lane/4+8,
 * columns 8j + 2(lane%4) and the next). Values are rounded to bf16, transposed inside each quad so that a thread owns 8 neighbouring
 * columns, finished, and stored 16 bytes at a time.
 *
 * Rounding: int8 rounds the sum to bf16 before the bias and again after it; bf16 adds the bias first and rounds once. */
#ifndef TD_CUDA_GEMM_EPILOGUE_CUH
#define TD_CUDA_GEMM_EPILOGUE_CUH

#include "device.h"

enum Epilogue { EPI_STORE, EPI_GELU, EPI_RESIDUAL, EPI_GELU_QUANT, EPI_GEGLU };

struct EpilogueArgs {
    bf16 *y;                                     /* [M,N]; RESIDUAL: read and written */
    const float *bias;                           /* [N] or NULL */
    const float *gate;                           /* RESIDUAL: [N] or NULL */
    const bf16 *up;                              /* GEGLU: [M,N] */
    int8_t *code;                                /* GELU_QUANT */
    float *scale;                                /* GELU_QUANT: [M/128, N/128] */
    int m, n;
};

/* umT5's gelu, every step a bf16 tensor */
__device__ __forceinline__ float gelu_t5(float g)
{
    float p = round_bf16(round_bf16(g * g) * g), t, h;

    p = round_bf16(g + round_bf16(0.044715f * p));
    t = round_bf16(0.79788456f * p);
    h = round_bf16(tanhf(t));
    return round_bf16(round_bf16(0.5f * g) * round_bf16(1.0f + h));
}

/* words of 4 column groups -> the 4 words of group lane%4 from all lanes of the quad */
__device__ __forceinline__ void transpose_quad(uint32_t (&w)[4])
{
    int lane = threadIdx.x & 3;
    uint32_t a, b;

    /* exchange with the neighbour: after this w[0..1], w[2..3] hold pairs (own, neighbour) of groups of equal parity */
    a = __shfl_xor_sync(~0u, lane & 1 ? w[0] : w[1], 1);
    b = __shfl_xor_sync(~0u, lane & 1 ? w[2] : w[3], 1);
    if (lane & 1) {
        w[0] = a;
        w[2] = b;
    } else {
        w[1] = a;
        w[3] = b;
    }
    a = __shfl_xor_sync(~0u, lane & 2 ? w[0] : w[2], 2);
    b = __shfl_xor_sync(~0u, lane & 2 ? w[1] : w[3], 2);
    if (lane & 2) {
        w[0] = a;
        w[1] = b;
    } else {
        w[2] = a;
        w[3] = b;
    }
}

/* 8 neighbouring values of row m from column n on: finish and return them packed */
template <int EPI, bool INT8> __device__ __forceinline__ void finish8(uint32_t (&w)[4], const EpilogueArgs &g, int m, int n)
{
    float v[8];

    for (int i = 0; i < 4; i++) {
        v[2 * i] = low_f32(w[i]);
        v[2 * i + 1] = high_f32(w[i]);
    }
    if (INT8 && g.bias) {
        float4 b0 = *(const float4 *)(g.bias + n), b1 = *(const float4 *)(g.bias + n + 4);
        float b[8] = { b0.x, b0.y, b0.z, b0.w, b1.x, b1.y, b1.z, b1.w };

        for (int i = 0; i < 8; i++)
            v[i] = round_bf16(v[i] + b[i]);
    }
    if (EPI == EPI_GELU || EPI == EPI_GELU_QUANT)
        for (int i = 0; i < 8; i++)
            v[i] = round_bf16(gelu_tanh(v[i]));
    if (EPI == EPI_GEGLU) {
        uint4 u = *(const uint4 *)(g.up + (int64_t)m * g.n + n);
        uint32_t uw[4] = { u.x, u.y, u.z, u.w };

        for (int i = 0; i < 4; i++) {
            v[2 * i] = low_f32(uw[i]) * gelu_t5(v[2 * i]);
            v[2 * i + 1] = high_f32(uw[i]) * gelu_t5(v[2 * i + 1]);
        }
    }
    if (EPI == EPI_RESIDUAL) {
        uint4 x = *(const uint4 *)(g.y + (int64_t)m * g.n + n);
        uint32_t xw[4] = { x.x, x.y, x.z, x.w };

        if (g.gate)
            for (int i = 0; i < 8; i++)
                v[i] = round_bf16(v[i] * round_bf16(g.gate[n + i]));
        for (int i = 0; i < 4; i++) {
            v[2 * i] += low_f32(xw[i]);
            v[2 * i + 1] += high_f32(xw[i]);
        }
    }
    for (int i = 0; i < 4; i++)
        w[i] = pack_bf16(v[2 * i], v[2 * i + 1]);
}

/* 16x128 of one warp from row m0, column n0; acc: 64 f32 as wgmma leaves them. keep: the packed results, for quantising */
template <int EPI, bool INT8>
__device__ __forceinline__ void epilogue_tile(const float (&acc)[64], const EpilogueArgs &g, int m0, int n0, uint32_t (&keep)[32])
{
    int lane = threadIdx.x & 31, quad = lane & 3;

#pragma unroll
    for (int half = 0; half < 2; half++) {
        int m = m0 + lane / 4 + 8 * half;

#pragma unroll
        for (int group = 0; group < 4; group++) {
            uint32_t w[4];
            int n = n0 + group * 32 + quad * 8;

#pragma unroll
            for (int i = 0; i < 4; i++) {
                int j = group * 4 + i, col = n0 + j * 8 + quad * 2;
                float a = acc[j * 4 + half * 2], b = acc[j * 4 + half * 2 + 1];

                if (!INT8 && g.bias && col < g.n) {
                    a += g.bias[col];
                    b += g.bias[col + 1];
                }
                w[i] = pack_bf16(a, b);
            }
            transpose_quad(w);
            if (m < g.m && n < g.n) {
                finish8<EPI, INT8>(w, g, m, n);
                if (EPI != EPI_GELU_QUANT)
                    *(uint4 *)(g.y + (int64_t)m * g.n + n) = make_uint4(w[0], w[1], w[2], w[3]);
            } else {
                w[0] = w[1] = w[2] = w[3] = 0;
            }
            if (EPI == EPI_GELU_QUANT)
                for (int i = 0; i < 4; i++)
                    keep[half * 16 + group * 4 + i] = w[i];
        }
    }
}

__device__ __forceinline__ float abs_max(const uint32_t (&w)[32])
{
    float m = 0;

#pragma unroll
    for (int i = 0; i < 32; i++)
        m = fmaxf(m, fmaxf(fabsf(low_f32(w[i])), fabsf(high_f32(w[i]))));
    return m;
}

__device__ __forceinline__ int code_of(float x, float mult)
{
    int q = __float2int_rn(__fmul_rn(x, mult));

    return q > 127 ? 127 : q < -128 ? -128 : q;
}

/* int8 codes of a warp's 16x128 */
__device__ __forceinline__ void store_codes(const uint32_t (&w)[32], const EpilogueArgs &g, int m0, int n0, float mult)
{
    int lane = threadIdx.x & 31;

#pragma unroll
    for (int half = 0; half < 2; half++) {
        int m = m0 + lane / 4 + 8 * half;

#pragma unroll
        for (int group = 0; group < 4; group++) {
            int n = n0 + group * 32 + (lane & 3) * 8;
            uint32_t c[2] = { 0, 0 };

#pragma unroll
            for (int i = 0; i < 4; i++) {
                uint32_t v = w[half * 16 + group * 4 + i];

                c[i / 2] |= ((uint32_t)code_of(low_f32(v), mult) & 255) << (i % 2 * 16);
                c[i / 2] |= ((uint32_t)code_of(high_f32(v), mult) & 255) << (i % 2 * 16 + 8);
            }
            if (m < g.m && n < g.n)
                *(uint2 *)(g.code + (int64_t)m * g.n + n) = make_uint2(c[0], c[1]);
        }
    }
}

#endif /* TD_CUDA_GEMM_EPILOGUE_CUH */
