/* SPDX-License-Identifier: BSD-2-Clause
 * One inline function per portable tensor-core instruction used here (sm_80 and later; e4m3 from sm_89). */
#ifndef TD_CUDA_PTX_SM80_CUH
#define TD_CUDA_PTX_SM80_CUH

#include <stdint.h>

/* of shared memory: 32 bits, which addresses in a loop are better kept in */
__device__ __forceinline__ uint32_t shared_address(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }

/* 16 bytes to shared memory; bytes 0 fills zeros and reads nothing */
__device__ __forceinline__ void cp_async16(uint32_t dst, const void *src, int bytes)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(dst), "l"(src), "r"(bytes) : "memory");
}
__device__ __forceinline__ void cp_async16(void *dst, const void *src, int bytes)
{
    cp_async16(shared_address(dst), src, bytes);
}

/* the same, and nothing at all where it is not wanted: without a branch */
__device__ __forceinline__ void cp_async16_if(uint32_t dst, const void *src, int bytes, bool wanted)
{
    asm volatile("{\n .reg .pred p;\n setp.ne.s32 p, %3, 0;\n @p cp.async.cg.shared.global [%0], [%1], 16, %2;\n}"
                 ::"r"(dst), "l"(src), "r"(bytes), "r"((int)wanted)
                 : "memory");
}

__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> __device__ __forceinline__ void cp_async_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/* mbarrier in shared memory: a phase ends when all its threads have arrived; parity is that of the phase waited for */
__device__ __forceinline__ void mbarrier_init(uint32_t bar, int threads)
{
    asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(bar), "r"(threads) : "memory");
}
__device__ __forceinline__ void mbarrier_arrive(uint32_t bar)
{
    asm volatile("{\n .reg .b64 t;\n mbarrier.arrive.shared.b64 t, [%0];\n}" ::"r"(bar) : "memory");
}
/* when all that this thread has asked for by cp_async is there */
__device__ __forceinline__ void mbarrier_arrive_loaded(uint32_t bar)
{
    asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(bar) : "memory");
}
__device__ __forceinline__ void mbarrier_wait(uint32_t bar, int parity)
{
    asm volatile("{\n .reg .pred p;\nWAIT_%=:\n mbarrier.test_wait.parity.shared.b64 p, [%0], %1;\n @!p bra WAIT_%=;\n"
                 "}" ::"r"(bar),
                 "r"(parity)
                 : "memory");
}

/* four 8x8 matrices of 16-bit elements; lanes 8i..8i+7 give the row addresses of matrix i */
__device__ __forceinline__ void ldmatrix4(uint32_t (&r)[4], uint32_t p)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(p)
                 : "memory");
}
__device__ __forceinline__ void ldmatrix4(uint32_t (&r)[4], const void *p) { ldmatrix4(r, shared_address(p)); }

__device__ __forceinline__ void ldmatrix4_trans(uint32_t (&r)[4], uint32_t p)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(p)
                 : "memory");
}
__device__ __forceinline__ void ldmatrix4_trans(uint32_t (&r)[4], const void *p)
{
    ldmatrix4_trans(r, shared_address(p));
}

/* d[16x8] += a[16x16] b[16x8], bf16 */
__device__ __forceinline__ void mma_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* d[16x8] += a[16x32] b[32x8], int8 */
__device__ __forceinline__ void mma_s8(int (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* Sums of int8 products begin at SUM_ZERO; sum_float() is their value, exact below 2^22. 8.0 turns integers to floats
 * at an eighth of the rate of an addition: there a sum begins at the bits of 1.5 2^23, and is a float that is so much
 * too large. */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ == 800
#define SUM_ZERO 0x4b400000
__device__ __forceinline__ float sum_float(int sum) { return __int_as_float(sum) - 12582912.0f; }
#else
#define SUM_ZERO 0
__device__ __forceinline__ float sum_float(int sum) { return (float)sum; }
#endif

/* d[16x8] = SUM_ZERO + a[16x32] b[32x8], int8 */
__device__ __forceinline__ void mma_s8_new(int (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%10,%10,%10,%10};"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"(SUM_ZERO));
}

/* d[16x8] += a[16x16] b[16x8], f16, with sums in f32 or in f16 */
__device__ __forceinline__ void mma_f16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void mma_f16_sum16(uint32_t (&d)[2], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%0,%1}, {%2,%3,%4,%5}, {%6,%7}, {%0,%1};"
                 : "+r"(d[0]), "+r"(d[1])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* what follows is e4m3: from 8.9 on; before, it is compiled and never run */
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 890
#define TD_E4M3(...) asm volatile(__VA_ARGS__)
#else
#define TD_E4M3(...) __trap()
#endif

/* d[16x8] += a[16x32] b[32x8], e4m3 with sums in f16 */
__device__ __forceinline__ void mma_e4m3_sum16(uint32_t (&d)[2], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    TD_E4M3("mma.sync.aligned.m16n8k32.row.col.f16.e4m3.e4m3.f16 {%0,%1}, {%2,%3,%4,%5}, {%6,%7}, {%0,%1};"
            : "+r"(d[0]), "+r"(d[1])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* two e4m3 in 16 bits, low first, saturating */
__device__ __forceinline__ uint32_t pack_e4m3(float low, float high)
{
    uint16_t r = 0;

    TD_E4M3("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(r) : "f"(high), "f"(low));
    return r;
}

__device__ __forceinline__ float exp2_approx(float x)
{
    float y;

    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

#endif /* TD_CUDA_PTX_SM80_CUH */
