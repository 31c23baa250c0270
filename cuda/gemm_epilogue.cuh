/* SPDX-License-Identifier: BSD-2-Clause
 * What happens to a finished accumulator of 16 rows of a warp (a thread holds rows lane/4 and lane/4+8, columns 8j +
 * 2(lane%4) and the next), in groups of 32 columns. Values are rounded to bf16, transposed inside each quad so that a
 * thread owns 8 neighbouring columns, finished, and stored 16 bytes at a time.
 *
 * Rounding: int8 rounds the sum to bf16 before the bias and again after it; bf16 adds the bias first and rounds once.
 * What a LoRA adds comes to the int8 sum before its first rounding.
 */
#ifndef TD_CUDA_GEMM_EPILOGUE_CUH
#define TD_CUDA_GEMM_EPILOGUE_CUH

#include "device.h"

enum Epilogue { EPI_STORE, EPI_GELU, EPI_RESIDUAL, EPI_GELU_QUANT, EPI_GEGLU };

/* beside one of these, int8 alone: EpilogueArgs.add comes to the sums. A kernel of its own, so that the others stay */
#define EPI_ADD 8
#define EPI_KIND(epi) ((epi) & 7)

struct EpilogueArgs {
    bf16 *y;                                     /* [M,N]; RESIDUAL: read and written */
    const float *bias;                           /* [N] or NULL */
    const float *gate;                           /* RESIDUAL: [N] or NULL */
    const bf16 *up;                              /* GEGLU: [M,N] */
    const bf16 *add;                             /* EPI_ADD: [M,N], maybe y */
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

/* Bias and gate of a tile's 128 columns, in shared memory: loaded once per tile, while its products run. */
struct EpilogueVectors {
    float bias[128], gate[128];
};

template <int EPI>
__device__ __forceinline__ void load_vectors(EpilogueVectors *v, const EpilogueArgs &g, int i, int n0)
{
    bool in = n0 + i < g.n;

    v->bias[i] = in && g.bias ? g.bias[n0 + i] : 0.0f;
    if (EPI == EPI_RESIDUAL)
        v->gate[i] = in && g.gate ? round_bf16(g.gate[n0 + i]) : 1.0f;
}

/* 8 neighbouring values from column c of the tile on, finished and packed; other: the same values of x or of up */
template <int EPI, bool INT8>
__device__ __forceinline__ void finish8(uint32_t (&w)[4], const EpilogueVectors *vec, int c, uint4 other)
{
    uint32_t ow[4] = { other.x, other.y, other.z, other.w };
    float v[8];

#pragma unroll
    for (int i = 0; i < 4; i++) {
        v[2 * i] = low_f32(w[i]);
        v[2 * i + 1] = high_f32(w[i]);
    }
#pragma unroll
    for (int i = 0; i < 8; i += 4) {
        if (INT8) {
            float4 b = *(const float4 *)(vec->bias + c + i);

            round2(v[i] += b.x, v[i + 1] += b.y);
            round2(v[i + 2] += b.z, v[i + 3] += b.w);
        }
        if (EPI == EPI_RESIDUAL) {
            float4 gt = *(const float4 *)(vec->gate + c + i);

            round2(v[i] *= gt.x, v[i + 1] *= gt.y);
            round2(v[i + 2] *= gt.z, v[i + 3] *= gt.w);
        }
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        if (EPI == EPI_GELU || EPI == EPI_GELU_QUANT) {
            v[2 * i] = gelu_tanh(v[2 * i]);
            v[2 * i + 1] = gelu_tanh(v[2 * i + 1]);
        } else if (EPI == EPI_GEGLU) {
            v[2 * i] = low_f32(ow[i]) * gelu_t5(v[2 * i]);
            v[2 * i + 1] = high_f32(ow[i]) * gelu_t5(v[2 * i + 1]);
        } else if (EPI == EPI_RESIDUAL) {
            v[2 * i] += low_f32(ow[i]);
            v[2 * i + 1] += high_f32(ow[i]);
        }
        w[i] = pack_bf16(v[2 * i], v[2 * i + 1]);
    }
}

/* Where a tile's x or up is read: shared memory holds it as two halves of 256 rows by 64 columns in the 128-byte
 * swizzle. */
struct OtherTile {
    const uint8_t *half;                         /* NULL: read global memory */
    int row0;                                    /* the warp's first row in the tile */
};

__device__ __forceinline__ uint4 other_value(const OtherTile &t, const bf16 *other, const EpilogueArgs &g, int row,
                                             int m, int n0, int c)
{
    if (!t.half)
        return *(const uint4 *)(other + (int64_t)min(m, g.m - 1) * g.n + min(n0 + c, g.n - 8));
    row += t.row0;
    return *(const uint4 *)(t.half + c / 64 * 256 * 128 + row * 128 + ((c % 64 / 8 ^ (row & 7)) << 4));
}

/* two neighbouring values from column c on of what is added, as the sums lie; tile: of it, but where that is x's */
template <int EPI> __device__ __forceinline__ uint32_t add_value(const OtherTile &t, const EpilogueArgs &g, int row,
                                                                 int m, int n0, int c)
{
    if (EPI_KIND(EPI) == EPI_RESIDUAL || !t.half)
        return *(const uint32_t *)(g.add + (int64_t)min(m, g.m - 1) * g.n + min(n0 + c, g.n - 2));
    row += t.row0;
    return *(const uint32_t *)(t.half + c / 64 * 256 * 128 + row * 128 + ((c % 64 / 8 ^ (row & 7)) << 4) + c % 8 * 2);
}

/* 16 rows of one warp from row m0 on, 32 GROUPS columns from c0 on of the 128 that begin with column n0. keep: the
 * packed results, for quantising */
template <int KIND_ADD, bool INT8, int GROUPS>
__device__ __forceinline__ void epilogue_tile(const float (&acc)[16 * GROUPS], const EpilogueArgs &g,
                                              const EpilogueVectors *vec, OtherTile tile, int m0, int n0, int c0,
                                              uint32_t (&keep)[8 * GROUPS])
{
    constexpr int EPI = EPI_KIND(KIND_ADD);
    constexpr bool ADD = INT8 && (KIND_ADD & EPI_ADD) != 0;
    const bf16 *other = EPI == EPI_RESIDUAL ? g.y : g.up;
    int lane = threadIdx.x & 31, quad = lane & 3;

#pragma unroll
    for (int half = 0; half < 2; half++) {
        int m = m0 + lane / 4 + 8 * half;
        uint4 ahead[GROUPS];

        if (EPI == EPI_RESIDUAL || EPI == EPI_GEGLU)
#pragma unroll
            for (int group = 0; group < GROUPS; group++) /* clamped, not skipped: all loads in flight */
                ahead[group] = other_value(tile, other, g, lane / 4 + 8 * half, m, n0, c0 + group * 32 + quad * 8);
#pragma unroll
        for (int group = 0; group < GROUPS; group++) {
            uint32_t w[4], added[4];
            int c = c0 + group * 32 + quad * 8;

            if (ADD)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    added[i] = add_value<KIND_ADD>(tile, g, lane / 4 + 8 * half, m, n0,
                                                   c0 + (group * 4 + i) * 8 + quad * 2);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int j = group * 4 + i;
                float2 b = INT8 ? make_float2(0.0f, 0.0f) : *(const float2 *)(vec->bias + c0 + j * 8 + quad * 2);

                if (ADD)
                    b = make_float2(low_f32(added[i]), high_f32(added[i]));
                w[i] = pack_bf16(acc[j * 4 + half * 2] + b.x, acc[j * 4 + half * 2 + 1] + b.y);
            }
            transpose_quad(w);
            finish8<EPI, INT8>(w, vec, c, ahead[group]);
            if (EPI == EPI_GELU_QUANT) {
                bool in = m < g.m && n0 + c < g.n;

#pragma unroll
                for (int i = 0; i < 4; i++)
                    keep[half * 4 * GROUPS + group * 4 + i] = in ? w[i] : 0;
            } else if (m < g.m && n0 + c < g.n) {
                store16(g.y + (int64_t)m * g.n + n0 + c, w);
            }
        }
    }
}

template <int N> __device__ __forceinline__ float abs_max(const uint32_t (&w)[N])
{
    uint32_t m = 0;

#pragma unroll
    for (int i = 0; i < N; i++)
        m = abs_max2(m, w[i]);
    return nan_max(low_f32(m), high_f32(m));
}

/* int8 codes of what epilogue_tile() kept, from column n0 on */
template <int N>
__device__ __forceinline__ void store_codes(const uint32_t (&w)[N], const EpilogueArgs &g, int m0, int n0, float mult)
{
    int lane = threadIdx.x & 31;

#pragma unroll
    for (int half = 0; half < 2; half++) {
        int m = m0 + lane / 4 + 8 * half;

#pragma unroll
        for (int group = 0; group < N / 8; group++) {
            int n = n0 + group * 32 + (lane & 3) * 8;
            uint32_t c[2];

#pragma unroll
            for (int i = 0; i < 2; i++) {
                uint32_t u = w[half * N / 2 + group * 4 + 2 * i], v = w[half * N / 2 + group * 4 + 2 * i + 1];

                c[i] = codes4(low_f32(u), high_f32(u), low_f32(v), high_f32(v), mult);
            }
            if (m < g.m && n < g.n)
                *(uint2 *)(g.code + (int64_t)m * g.n + n) = make_uint2(c[0], c[1]);
        }
    }
}

#endif /* TD_CUDA_GEMM_EPILOGUE_CUH */
