/* SPDX-License-Identifier: BSD-2-Clause
 * Values that files store as f32, f16, in 8 bits or less, or in GGUF's blocks, as bf16 or f32: the float operations of
 * engine/files/values.c and entry.c in their order, each rounded on its own, so that the bits are the same (NaN's may
 * be others). A CTA brings 2048 values' bytes to shared memory in words of 16 bytes, whatever a block's size; a thread
 * makes 8 of them, which lie in one group of a block.
 *
 * Formats: doc/formats.md; GGML's blocks as gguf-py reads them; e2m1 and e8m0: OCP Microscaling Formats (MX) v1.0. */
#include "device.h"

#define PER_THREAD 8
#define THREADS 256
#define TILE (THREADS * PER_THREAD)

struct WidenArgs {
    const uint8_t *src, *scales;                 /* scales: NULL; f32 of rows; or of groups (group > 0), by a byte */
    void *dst;
    uint32_t bytes, n, k;                        /* n values in all */
    uint32_t block, size;                        /* values of a block, or 8 where there are none, and their bytes */
    uint32_t group;
    enum TDDtype dtype;
    bool e8m0, wide;                             /* groups' scales are e8m0, not e4m3; dst is f32, not bf16 */
    float factor;
};

/* NaN keeps its sign and payload, as in td_f32_to_bf16() */
__device__ __forceinline__ uint32_t bf16_bits(float f)
{
    uint32_t u = __float_as_uint(f);

    return (u & 0x7fffffff) > 0x7f800000 ? u >> 16 | 0x40 : (u + 0x7fff + (u >> 16 & 1)) >> 16;
}

__device__ __forceinline__ float from_f16(uint32_t h)
{
    uint32_t bits = (h & 0x7fff) << 13, high = bits >= 31u << 23 ? 0x7f800000 : 0;

    return __uint_as_float(__float_as_uint(__fmul_rn(__uint_as_float(bits), 0x1p112f)) | high | (h & 0x8000) << 16);
}

__device__ __forceinline__ float from_e4m3(uint32_t code)
{
    uint32_t nan = (code & 0x7f) == 0x7f ? 0x7fc00000 : 0;

    return __fmul_rn(__uint_as_float((code & 0x80) << 24 | (code & 0x7f) << 20 | nan), 0x1p120f);
}

__device__ __forceinline__ float from_e8m0(uint32_t code)
{
    return __uint_as_float(code == 0xff ? 0x7fc00000 : code ? code << 23 : 0x00400000);
}

/* sign, 2 bits of exponent, 1 of mantissa */
__device__ __forceinline__ float from_e2m1(uint32_t code)
{
    return __fmul_rn(__uint_as_float((code & 8) << 28 | (code & 7) << 22), 0x1p126f);
}

/* the table of IQ4: 16 signed bytes in 4 words */
__device__ __forceinline__ float from_iq4(uint32_t code)
{
    uint32_t low = __byte_perm(0xbfad9881, 0xf6eaddcf, code & 7), high = __byte_perm(0x26190d01, 0x71594535, code & 7);

    return (float)(int8_t)(code & 8 ? high : low);
}

__device__ __forceinline__ uint32_t half_word(const uint8_t *p) { return p[0] | p[1] << 8; }
__device__ __forceinline__ uint32_t word(const uint8_t *p) { return half_word(p) | half_word(p + 2) << 16; }
__device__ __forceinline__ float half_at(const uint8_t *p) { return from_f16(half_word(p)); }

/* Of each type values i to i + 7 of a block, i a multiple of 8 (0 where there are no blocks). */
#define EIGHT for (int j = 0; j < PER_THREAD; j++)
#define STORED(type) \
    template <> __device__ __forceinline__ void get<type>(float (&v)[PER_THREAD], const uint8_t *b, int i)
template <enum TDDtype TYPE> __device__ void get(float (&v)[PER_THREAD], const uint8_t *b, int i);

/* ---- one by one ---- */

STORED(TD_F32)
{
    EIGHT v[j] = ((const float *)b)[j];
}

STORED(TD_F16)
{
    EIGHT v[j] = from_f16(((const uint16_t *)b)[j]);
}

STORED(TD_I8)
{
    EIGHT v[j] = (float)(int8_t)b[j];
}

STORED(TD_F8_E4M3)
{
    EIGHT v[j] = from_e4m3(b[j]);
}

STORED(TD_F8_E5M2)
{
    EIGHT v[j] = from_f16((uint32_t)b[j] << 8);
}

STORED(TD_FP4)
{
    EIGHT v[j] = from_e2m1(j % 2 ? b[j / 2] & 15 : b[j / 2] >> 4);
}

/* ---- 32 values: low halves of 16 bytes, then high ones ---- */

STORED(TD_Q4_0)
{
    const uint8_t *q = b + 2 + i % 16;
    float d = half_at(b);

    EIGHT v[j] = __fmul_rn(d, (float)((q[j] >> i / 16 * 4 & 15) - 8));
}

STORED(TD_Q4_1)
{
    const uint8_t *q = b + 4 + i % 16;
    float d = half_at(b), m = half_at(b + 2);

    EIGHT v[j] = __fadd_rn(__fmul_rn(d, (float)(q[j] >> i / 16 * 4 & 15)), m);
}

STORED(TD_Q5_0)
{
    const uint8_t *q = b + 6 + i % 16;
    uint32_t high = word(b + 2) >> i;
    float d = half_at(b);

    EIGHT v[j] = __fmul_rn(d, (float)((int)((q[j] >> i / 16 * 4 & 15) | (high >> j & 1) << 4) - 16));
}

STORED(TD_Q5_1)
{
    const uint8_t *q = b + 8 + i % 16;
    uint32_t high = word(b + 4) >> i;
    float d = half_at(b), m = half_at(b + 2);

    EIGHT v[j] = __fadd_rn(__fmul_rn(d, (float)((q[j] >> i / 16 * 4 & 15) | (high >> j & 1) << 4)), m);
}

STORED(TD_Q8_0)
{
    float d = half_at(b);

    EIGHT v[j] = __fmul_rn(d, (float)(int8_t)b[2 + i + j]);
}

STORED(TD_IQ4_NL)
{
    const uint8_t *q = b + 2 + i % 16;
    float d = half_at(b);

    EIGHT v[j] = __fmul_rn(d, from_iq4(q[j] >> i / 16 * 4 & 15));
}

/* ---- 256 values ---- */

/* high: bytes with a fifth bit of each value, or NULL */
__device__ __forceinline__ void get_q45(float (&v)[PER_THREAD], const uint8_t *b, const uint8_t *high, const uint8_t *q,
                                        int i)
{
    const uint8_t *s = b + 4;
    int g = i / 32, scale, min;
    float d, m;

    if (g < 4) {
        scale = s[g] & 63;
        min = s[g + 4] & 63;
    } else {
        scale = (s[g + 4] & 15) | s[g - 4] >> 6 << 4;
        min = s[g + 4] >> 4 | s[g] >> 6 << 4;
    }
    d = __fmul_rn(half_at(b), (float)scale);
    m = __fmul_rn(half_at(b + 2), (float)min);
    q += i / 64 * 32 + i % 32;
    EIGHT v[j] = __fsub_rn(__fmul_rn(d, (float)((q[j] >> g % 2 * 4 & 15) |
                                                (high ? (high[i % 32 + j] >> g & 1) << 4 : 0))), m);
}

STORED(TD_Q4_K)
{
    get_q45(v, b, NULL, b + 16, i);
}

STORED(TD_Q5_K)
{
    get_q45(v, b, b + 16, b + 48, i);
}

STORED(TD_Q2_K)
{
    const uint8_t *q = b + 16 + i / 128 * 32 + i % 32;
    float d = __fmul_rn(half_at(b + 80), (float)(b[i / 16] & 15)),
          m = __fmul_rn(half_at(b + 82), (float)(b[i / 16] >> 4));

    EIGHT v[j] = __fsub_rn(__fmul_rn(d, (float)(q[j] >> i % 128 / 32 * 2 & 3)), m);
}

STORED(TD_Q3_K)
{
    const uint8_t *high = b + i % 32, *q = b + 32 + i / 128 * 32 + i % 32, *scales = b + 96;
    int s = i / 16, low = s < 8 ? scales[s] & 15 : scales[s - 8] >> 4, top = scales[8 + s % 4] >> s / 4 * 2 & 3;
    float d = __fmul_rn(half_at(b + 108), (float)((low | top << 4) - 32));

    EIGHT v[j] = __fmul_rn(d, (float)((q[j] >> i % 128 / 32 * 2 & 3) - (high[j] >> i / 32 & 1 ? 0 : 4)));
}

STORED(TD_Q6_K)
{
    const uint8_t *low = b + i / 128 * 64 + i % 64, *high = b + 128 + i / 128 * 32 + i % 32;
    float d = __fmul_rn(half_at(b + 208), (float)(int8_t)b[192 + i / 16]);

    EIGHT v[j] = __fmul_rn(d, (float)((int)((low[j] >> i % 128 / 64 * 4 & 15) |
                                            (high[j] >> i % 128 / 32 * 2 & 3) << 4) - 32));
}

STORED(TD_IQ4_XS)
{
    const uint8_t *q = b + 8 + i / 32 * 16 + i % 16;
    int g = i / 32, low = b[4 + g / 2] >> g % 2 * 4 & 15, high = half_word(b + 2) >> 2 * g & 3;
    float d = __fmul_rn(half_at(b), (float)((low | high << 4) - 32));

    EIGHT v[j] = __fmul_rn(d, from_iq4(q[j] >> i % 32 / 16 * 4 & 15));
}

/* ---- the kernel ---- */

/* of a group: td_swizzled() */
__device__ __forceinline__ float group_scale(const WidenArgs &a, uint32_t row, uint32_t group)
{
    uint32_t tiles = (a.k / a.group + 3) / 4, at = (row / 128 * tiles + group / 4) * 512 + row % 32 * 16 +
                                                   row % 128 / 32 * 4 + group % 4;

    return __fmul_rn(a.e8m0 ? from_e8m0(a.scales[at]) : from_e4m3(a.scales[at]), a.factor);
}

/* a line a type; one kernel for all, as the code around it is most of it */
#define TYPES(F)                                                                                                       \
    F(TD_F32) F(TD_F16) F(TD_I8) F(TD_F8_E4M3) F(TD_F8_E5M2) F(TD_FP4) F(TD_Q4_0) F(TD_Q4_1) F(TD_Q5_0) F(TD_Q5_1)     \
    F(TD_Q8_0) F(TD_Q2_K) F(TD_Q3_K) F(TD_Q4_K) F(TD_Q5_K) F(TD_Q6_K) F(TD_IQ4_NL) F(TD_IQ4_XS)

__device__ __forceinline__ void get_values(float (&v)[PER_THREAD], enum TDDtype dtype, const uint8_t *b, int i)
{
    switch (dtype) {
#define GET(type) \
    case type: \
        get<type>(v, b, i); \
        break;
    TYPES(GET)
    default:
        break;
    }
}

__global__ void __launch_bounds__(THREADS) widen_kernel(WidenArgs a)
{
    __shared__ __align__(16) uint8_t raw[TILE * 4];
    uint32_t size = TILE / a.block * a.size, from = blockIdx.x * size, first = threadIdx.x * PER_THREAD,
             at = blockIdx.x * TILE + first, row, col;
    float v[PER_THREAD], scale = a.factor;
    const float *rows = (const float *)a.scales;

    for (uint32_t i = threadIdx.x * 16; i < size && from + i < a.bytes; i += THREADS * 16) {
        if (from + i + 16 <= a.bytes)            /* a size is a multiple of 16, whatever that of a block */
            *(uint4 *)(raw + i) = *(const uint4 *)(a.src + from + i);
        else
            for (uint32_t j = i; from + j < a.bytes; j++)
                raw[j] = a.src[from + j];
    }
    __syncthreads();
    if (at >= a.n)
        return;
    get_values(v, a.dtype, raw + first / a.block * a.size, (int)(first % a.block));
    row = at / a.k;
    col = at % a.k;
    if (a.scales)
        scale = a.group ? group_scale(a, row, col / a.group) : rows[row];
    EIGHT {
        if (col == a.k) {
            col = 0;
            row++;
            if (a.scales && !a.group && at + j < a.n)
                scale = rows[row];
        }
        v[j] = __fmul_rn(v[j], scale);
        col++;
    }
    if (at + PER_THREAD > a.n || (uintptr_t)a.dst % 16) {
        for (uint32_t j = 0; j < PER_THREAD && at + j < a.n; j++)
            if (a.wide)
                ((float *)a.dst)[at + j] = v[j];
            else
                ((uint16_t *)a.dst)[at + j] = (uint16_t)bf16_bits(v[j]);
        return;
    }
    if (a.wide) {
        ((float4 *)a.dst)[at / 4] = make_float4(v[0], v[1], v[2], v[3]);
        ((float4 *)a.dst)[at / 4 + 1] = make_float4(v[4], v[5], v[6], v[7]);
    } else {
        uint32_t w[4];

        for (int j = 0; j < 4; j++)
            w[j] = bf16_bits(v[2 * j]) | bf16_bits(v[2 * j + 1]) << 16;
        store16((bf16 *)a.dst + at, w);
    }
}

cudaError_t td_cuda_widen(cudaStream_t stream, const TDPiece *p, const uint8_t *src, const uint8_t *scales, void *dst)
{
    WidenArgs a = {};
    int block = td_dtype_block(p->dtype), blocks = block < PER_THREAD ? PER_THREAD / block : 1;

    a.src = src;
    a.scales = p->scale_bytes ? scales : NULL;
    a.dst = dst;
    a.bytes = (uint32_t)p->bytes;
    a.n = (uint32_t)(p->rows * p->k);
    a.k = (uint32_t)p->k;
    a.group = (uint32_t)p->group;
    a.e8m0 = p->dtype != TD_FP4;
    a.wide = p->want == TD_F32;
    a.factor = p->factor;
    a.dtype = p->dtype;
    a.block = (uint32_t)(blocks * block);
    a.size = (uint32_t)(blocks * (int)td_dtype_size(p->dtype));
    widen_kernel<<<(unsigned)td_blocks(a.n, TILE), THREADS, 0, stream>>>(a);
    return cudaGetLastError();
}

static const TDKernel kernels[] = { TD_KERNEL(0, false, widen_kernel) };

TDKernels td_cuda_in_widen(void) { return td_kernels(kernels); }
