/* SPDX-License-Identifier: BSD-2-Clause
 * One inline function per Hopper instruction used here: mbarrier, bulk tensor copy, wgmma, register reallocation. */
#ifndef TD_CUDA_PTX_SM90_CUH
#define TD_CUDA_PTX_SM90_CUH

#include <cuda.h>
#include <stdint.h>

__device__ __forceinline__ uint32_t smem_address(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }

/* the next multiple of 1024 in shared memory; by an offset, as a cast to integer and back makes every access generic */
__device__ __forceinline__ uint8_t *align_1024(uint8_t *shared)
{
    return shared + (-smem_address(shared) & 1023);
}

__device__ __forceinline__ void mbarrier_init(uint64_t *bar, uint32_t count)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(smem_address(bar)), "r"(count));
}

__device__ __forceinline__ void mbarrier_expect(uint64_t *bar, uint32_t bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(smem_address(bar)), "r"(bytes)
                 : "memory");
}

__device__ __forceinline__ void mbarrier_arrive(uint64_t *bar)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(smem_address(bar)) : "memory");
}

__device__ __forceinline__ void mbarrier_wait(uint64_t *bar, uint32_t parity)
{
    asm volatile("{\n .reg .pred p;\nWAIT_%=:\n mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n @p bra "
                 "DONE_%=;\n bra WAIT_%=;\nDONE_%=:\n}" ::"r"(smem_address(bar)),
                 "r"(parity)
                 : "memory");
}

__device__ __forceinline__ void tma_load_2d(void *dst, const CUtensorMap *map, uint64_t *bar, int x, int y)
{
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(
            smem_address(dst)),
        "l"(map), "r"(smem_address(bar)), "r"(x), "r"(y)
        : "memory");
}

__device__ __forceinline__ void fence_barrier_init()
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
template <int ID> __device__ __forceinline__ void named_barrier(int threads)
{
    asm volatile("bar.sync %0, %1;" ::"n"(ID), "r"(threads) : "memory");
}

template <int N> __device__ __forceinline__ void registers_up()
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}
template <int N> __device__ __forceinline__ void registers_down()
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}

__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N> __device__ __forceinline__ void wgmma_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}

/* K-major tile of 128-byte rows in the 128-byte swizzle: groups of 8 rows are 1024 bytes apart */
__device__ __forceinline__ uint64_t wgmma_descriptor(const void *p)
{
    return (uint64_t)((smem_address(p) & 0x3ffff) >> 4) | (uint64_t)1 << 16 | (uint64_t)64 << 32 | (uint64_t)1 << 62;
}

#define R4(c, d, i) c(d[i]), c(d[i + 1]), c(d[i + 2]), c(d[i + 3])
#define R16(c, d, i) R4(c, d, i), R4(c, d, i + 4), R4(c, d, i + 8), R4(c, d, i + 12)
#define R64(c, d) R16(c, d, 0), R16(c, d, 16), R16(c, d, 32), R16(c, d, 48)
#define WGMMA_LIST64                                                                                                   \
    "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%" \
    "30,%31,"                                                                                                          \
    "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59," \
    "%60,%61,%62,%63}"

/* d[64x128] (+)= a[64x32] b[128x32]^T, int8 */
__device__ __forceinline__ void wgmma_s8_n128(int (&d)[64], uint64_t a, uint64_t b, int accumulate)
{
    asm volatile(
        "{\n .reg .pred p;\n setp.ne.b32 p, %66, 0;\n wgmma.mma_async.sync.aligned.m64n128k32.s32.s8.s8 " WGMMA_LIST64
        ", %64, %65, p;\n}"
        : R64("+r", d)
        : "l"(a), "l"(b), "r"(accumulate));
}

/* d[64x128] (+)= a[64x16] b[128x16]^T, bf16 */
__device__ __forceinline__ void wgmma_bf16_n128(float (&d)[64], uint64_t a, uint64_t b, int accumulate)
{
    asm volatile("{\n .reg .pred p;\n setp.ne.b32 p, %66, 0;\n "
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 " WGMMA_LIST64 ", %64, %65, p, 1, 1, 0, 0;\n}"
                 : R64("+f", d)
                 : "l"(a), "l"(b), "r"(accumulate));
}

/* d[64x128] += a[64x16] b[16x128], bf16, a in registers, b with its n innermost */
__device__ __forceinline__ void wgmma_bf16_n128_reg(float (&d)[64], const uint32_t (&a)[4], uint64_t b)
{
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 " WGMMA_LIST64
                 ", {%64,%65,%66,%67}, %68, 1, 1, 1, 1;"
                 : R64("+f", d)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

/* the same for 64-byte rows in the 64-byte swizzle */
__device__ __forceinline__ uint64_t wgmma_descriptor64(const void *p)
{
    return (uint64_t)((smem_address(p) & 0x3ffff) >> 4) | (uint64_t)1 << 16 | (uint64_t)32 << 32 | (uint64_t)2 << 62;
}

#define R32(c, d) R16(c, d, 0), R16(c, d, 16)
#define WGMMA_LIST32                                                                                                   \
    "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%" \
    "30,%31}"

/* d[64x64] (+)= a[64x32] b[64x32]^T, int8 */
__device__ __forceinline__ void wgmma_s8_n64(int (&d)[32], uint64_t a, uint64_t b, int accumulate)
{
    asm volatile(
        "{\n .reg .pred p;\n setp.ne.b32 p, %34, 0;\n wgmma.mma_async.sync.aligned.m64n64k32.s32.s8.s8 " WGMMA_LIST32
        ", %32, %33, p;\n}"
        : R32("+r", d)
        : "l"(a), "l"(b), "r"(accumulate));
}

/* d[64x128] (+)= a[64x32] b[128x32]^T, e4m3, a in registers */
__device__ __forceinline__ void wgmma_e4m3_n128(float (&d)[64], const uint32_t (&a)[4], uint64_t b, int accumulate)
{
    asm volatile("{\n .reg .pred p;\n setp.ne.b32 p, %69, 0;\n "
                 "wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3 " WGMMA_LIST64
                 ", {%64,%65,%66,%67}, %68, p, 1, 1;\n}"
                 : R64("+f", d)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate));
}

#define R48(c, d) R32(c, d), R16(c, d, 32)
#define R96(c, d) R64(c, d), R16(c, d, 64), R16(c, d, 80)
#define WGMMA_LIST48 \
    "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15," \
    "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31," \
    "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47}"
#define WGMMA_LIST96                                                                                                   \
    "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%" \
    "30,%31,"                                                                                                          \
    "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59," \
    "%60,%61,%62,%63,"                                                                                                 \
    "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91," \
    "%92,%93,%94,%95}"

__device__ __forceinline__ void tma_load_4d(void *dst, const CUtensorMap *map, uint64_t *bar, int c, int x, int y,
                                            int t)
{
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, "
                 "%6}], [%2];" ::"r"(smem_address(dst)),
                 "l"(map), "r"(smem_address(bar)), "r"(c), "r"(x), "r"(y), "r"(t)
                 : "memory");
}

/* d[64xN] += a[64x16] b[Nx16]^T, bf16, N = 96 or 192 */
__device__ __forceinline__ void wgmma_bf16(float (&d)[32], uint64_t a, uint64_t b)
{
    asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " WGMMA_LIST32 ", %32, %33, 1, 1, 1, 0, 0;"
                 : R32("+f", d)
                 : "l"(a), "l"(b));
}

__device__ __forceinline__ void wgmma_bf16(float (&d)[64], uint64_t a, uint64_t b) { wgmma_bf16_n128(d, a, b, 1); }

__device__ __forceinline__ void wgmma_bf16(float (&d)[48], uint64_t a, uint64_t b)
{
    asm volatile("wgmma.mma_async.sync.aligned.m64n96k16.f32.bf16.bf16 " WGMMA_LIST48 ", %48, %49, 1, 1, 1, 0, 0;"
                 : R48("+f", d)
                 : "l"(a), "l"(b));
}

__device__ __forceinline__ void wgmma_bf16(float (&d)[96], uint64_t a, uint64_t b)
{
    asm volatile("wgmma.mma_async.sync.aligned.m64n192k16.f32.bf16.bf16 " WGMMA_LIST96 ", %96, %97, 1, 1, 1, 0, 0;"
                 : R96("+f", d)
                 : "l"(a), "l"(b));
}

#endif /* TD_CUDA_PTX_SM90_CUH */
