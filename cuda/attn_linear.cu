/* SPDX-License-Identifier: BSD-2-Clause
 * Linear branch of sparse-linear attention, head dim 128: kv = fk^T v over all tokens, then per query
 * o += proj_l(fq kv / (1e-5 + fq . k_sum)), f = softmax over the head dim. Every line of it is a bf16 tensor in the
 * official code.
 *
 * kv is summed in TD_KV_PARTS parts per head, added in order. Shared rows are 128 bf16, chunks permuted by row. With
 * code set the sum of both branches is quantised: 128 queries of a head are one 128x128 block. */
#include "attn.h"
#include "ptx_sm80.cuh"

#define D 128
#define ROWS 64                                  /* tokens per step */

/* Another pair of chunks of the same row is bits 5 to 7 turned over, in an address, too: memory starts at a multiple of
 * 256. Rows that are a multiple of 8 further on are so many times 256 bytes further on. */
__device__ __forceinline__ int offset(int row, int chunk) { return row * 256 + ((chunk ^ (row & 7)) << 4); }

/* softmax over the head dim of one row by 16 lanes of 8 values, to bf16 words */
__device__ __forceinline__ uint4 feature(uint4 u, float (&v)[8])
{
    float top, s, inv;

    v[0] = low_f32(u.x), v[1] = high_f32(u.x), v[2] = low_f32(u.y), v[3] = high_f32(u.y);
    v[4] = low_f32(u.z), v[5] = high_f32(u.z), v[6] = low_f32(u.w), v[7] = high_f32(u.w);
    top = fmaxf(fmaxf(fmaxf(v[0], v[1]), fmaxf(v[2], v[3])), fmaxf(fmaxf(v[4], v[5]), fmaxf(v[6], v[7])));
#pragma unroll
    for (int i = 8; i > 0; i >>= 1)
        top = fmaxf(top, __shfl_xor_sync(~0u, top, i));
#pragma unroll
    for (int j = 0; j < 8; j++)
        v[j] = exp2_approx((v[j] - top) * 1.4426950408889634f);
    s = ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
#pragma unroll
    for (int i = 8; i > 0; i >>= 1)
        s += __shfl_xor_sync(~0u, s, i);
    inv = __fdividef(1.0f, s);
#pragma unroll
    for (int j = 0; j < 8; j += 2)
        round2(v[j] *= inv, v[j + 1] *= inv);
    return make_uint4(pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));
}

/* a step's rows on their way: of k, a thread's rows group + 16 i to its registers; of v, to shared memory */
__device__ __forceinline__ void load_step(uint4 (&k)[4], uint32_t sv, const SlaArgs &a, int step, int group, int chunk,
                                          int head)
{
#pragma unroll
    for (int i = 0; i < 4; i++) {
        int r = group + i * 16, row = step * ROWS + r;
        int64_t at = (int64_t)min(row, a.n - 1) * a.dim + head * D + chunk * 8;

        k[i] = *(const uint4 *)(a.k + at);
        cp_async16(sv + offset(r, chunk), a.v + at, row < a.n ? 16 : 0);
    }
    cp_async_commit();
}

/* a part of the tokens of one head: 8 warps, warp w owns rows 16w.. of kv (channels of k) */
__global__ void __launch_bounds__(256, 2) linear_kv_kernel(SlaArgs a)
{
    __shared__ __align__(256) uint8_t sk[ROWS * 256], sv[2 * ROWS * 256];
    float (*sums)[D] = (float (*)[D])sk;         /* when the last step is done */
    int part = blockIdx.x, head = blockIdx.y, warp = threadIdx.x / 32, lane = threadIdx.x % 32,
        chunk = threadIdx.x % 16, group = threadIdx.x / 16;
    int steps = (a.n + ROWS - 1) / ROWS, first = (int)((int64_t)steps * part / TD_KV_PARTS),
        last = (int)((int64_t)steps * (part + 1) / TD_KV_PARTS);
    float acc[16][4] = {}, sum[8] = { 0 };
    uint32_t at = offset(lane % 16, lane / 16), at_k = shared_address(sk) + (at ^ warp << 5), v = shared_address(sv);
    const uint32_t both = 2 * v + ROWS * 256;
    uint4 k[4];

    if (first < last)
        load_step(k, v, a, first, group, chunk, head);
    for (int step = first; step < last; step++) {

        cp_async_wait<0>();
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int r = group + i * 16;
            bool ok = step * ROWS + r < a.n;
            float row[8];
            uint4 f = feature(k[i], row);

#pragma unroll
            for (int j = 0; j < 8; j++)
                sum[j] += ok ? row[j] : 0.0f;
            *(uint4 *)(sk + offset(r, chunk)) = ok ? f : make_uint4(0, 0, 0, 0);
        }
        __syncthreads();
        if (step + 1 < last)                     /* while the products run */
            load_step(k, both - v, a, step + 1, group, chunk, head);
#pragma unroll 2                                 /* four spill registers */
        for (int c = 0; c < ROWS / 16; c++) {
            uint32_t fa[4], fb[4], t;

            /* A = fk^T: the transposed load gives (k 0-7, k 8-15) x (m 0-7, m 8-15) in the order m, k; the middle two
             * swap places */
            ldmatrix4_trans(fa, at_k + c * 16 * 256);
            t = fa[1];
            fa[1] = fa[2];
            fa[2] = t;
#pragma unroll
            for (int j = 0; j < 8; j++) {
                ldmatrix4_trans(fb, (v + at ^ j << 5) + c * 16 * 256);
                mma_bf16(acc[2 * j], fa, fb[0], fb[1]);
                mma_bf16(acc[2 * j + 1], fa, fb[2], fb[3]);
            }
        }
        __syncthreads();
        v = both - v;
    }
    float *kv = a.kv_part + ((int64_t)head * TD_KV_PARTS + part) * D * D;

#pragma unroll
    for (int j = 0; j < 16; j++)
#pragma unroll
        for (int half = 0; half < 2; half++)
            *(float2 *)(kv + (warp * 16 + lane / 4 + half * 8) * D + j * 8 + lane % 4 * 2) =
                make_float2(acc[j][half * 2], acc[j][half * 2 + 1]);
    for (int j = 0; j < 8; j++)
        sums[group][chunk * 8 + j] = sum[j];
    __syncthreads();
    if (threadIdx.x < D) {
        float s = 0;

        for (int i = 0; i < 16; i++)
            s += sums[i][threadIdx.x];
        a.k_sum_part[((int64_t)head * TD_KV_PARTS + part) * D + threadIdx.x] = s;
    }
}

__global__ void __launch_bounds__(256) linear_sum_kernel(SlaArgs a)
{
    int head = blockIdx.y, i = blockIdx.x * 256 + threadIdx.x;
    float s = 0;

    for (int p = 0; p < TD_KV_PARTS; p++)
        s += a.kv_part[((int64_t)head * TD_KV_PARTS + p) * D * D + i];
    a.kv[(int64_t)head * D * D + i] = to_bf16(s);
    if (i < D) {
        s = 0;
        for (int p = 0; p < TD_KV_PARTS; p++)
            s += a.k_sum_part[((int64_t)head * TD_KV_PARTS + p) * D + i];
        a.k_sum[head * D + i] = round_bf16(s);
    }
}

/* c[16x128] = a[16x128 rows in shared] b, b in shared as [k][n] (TRANS) or [n][k] */
template <bool TRANS>
__device__ __forceinline__ void product(float (&acc)[16][4], const uint8_t *sa, int row0, const uint8_t *sb)
{
    int lane = threadIdx.x % 32;
    uint32_t at_a = shared_address(sa) + offset(row0 + lane % 16, lane / 16), fa[4], fb[4],
             at_b = shared_address(sb) +
                    (TRANS ? offset(lane % 16, lane / 16) : offset(lane % 8 + lane / 16 * 8, lane / 8 % 2));

#pragma unroll 4                                 /* eight spill registers */
    for (int c = 0; c < 8; c++) {
        ldmatrix4(fa, at_a ^ c << 5);
#pragma unroll
        for (int j = 0; j < 8; j++) {
            if (TRANS)
                ldmatrix4_trans(fb, (at_b ^ j << 5) + c * 16 * 256);
            else
                ldmatrix4(fb, (at_b ^ c << 5) + j * 16 * 256);
            mma_bf16(acc[2 * j], fa, fb[0], fb[1]);
            mma_bf16(acc[2 * j + 1], fa, fb[2], fb[3]);
        }
    }
}

struct ApplyStorage {
    uint8_t q[128 * 256], kv[D * 256], w[D * 256];
    float bias[D], k_sum[D], den[128], amax[2][8];
};

/* Blocks of 128 queries of one head, every gridDim.x-th; a warp owns 16 queries, so that warps wait for each other only
 * where an amax is shared. */
__global__ void __launch_bounds__(256, TD_BLOCKS(2, 1)) linear_apply_kernel(SlaArgs a, const bf16 *w, const float *bias)
{
    extern __shared__ __align__(256) uint8_t smem[];
    ApplyStorage *s = (ApplyStorage *)smem;
    int head = blockIdx.y, warp = threadIdx.x / 32, lane = threadIdx.x % 32, chunk = lane % 16, r0 = warp * 16,
        n_blocks = (a.n + 127) / 128, turn = 0;

    for (int i = threadIdx.x; i < D * 16; i += 256) {
        *(uint4 *)(s->kv + offset(i / 16, i % 16)) = *(const uint4 *)(a.kv + (int64_t)head * D * D + i * 8);
        *(uint4 *)(s->w + offset(i / 16, i % 16)) = *(const uint4 *)(w + i * 8);
    }
    if (threadIdx.x < D) {
        s->bias[threadIdx.x] = bias ? bias[threadIdx.x] : 0.0f;
        s->k_sum[threadIdx.x] = a.k_sum[head * D + threadIdx.x];
    }
    __syncthreads();
    for (int block = blockIdx.x; block < n_blocks; block += gridDim.x, turn ^= 1) {
        float acc[16][4] = {};
        uint32_t most = 0;
        int row0 = block * 128 + r0;
        uint4 q[8];

#pragma unroll
        for (int i = 0; i < 8; i++)
            q[i] = *(const uint4 *)(a.q + (int64_t)min(row0 + i * 2 + lane / 16, a.n - 1) * a.dim + head * D +
                                    chunk * 8);
        __syncwarp();                            /* a warp reads and writes its own 16 rows of q only */
#pragma unroll
        for (int i = 0; i < 8; i++) {
            float v[8], d = 0;
            int r = r0 + i * 2 + lane / 16;

            *(uint4 *)(s->q + offset(r, chunk)) = feature(q[i], v);
#pragma unroll
            for (int j = 0; j < 8; j += 2) {
                float2 k_sum = *(const float2 *)(s->k_sum + chunk * 8 + j);

                round2(v[j] *= k_sum.x, v[j + 1] *= k_sum.y);
                d += v[j] + v[j + 1];
            }
#pragma unroll
            for (int k = 8; k > 0; k >>= 1)
                d += __shfl_xor_sync(~0u, d, k);
            if (chunk == 0)
                s->den[r] = round_bf16(1e-5f + round_bf16(d));
        }
        __syncwarp();
        product<true>(acc, s->q, r0, s->kv);
        __syncwarp();
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int r = r0 + lane / 4 + half * 8;
            float inv = __fdividef(1.0f, s->den[r]);

#pragma unroll
            for (int j = 0; j < 16; j++) {
                float x = acc[j][half * 2], y = acc[j][half * 2 + 1];

                round2(x, y);
                *(uint32_t *)(s->q + offset(r, j) + lane % 4 * 4) = pack_bf16(x * inv, y * inv);
                acc[j][half * 2] = acc[j][half * 2 + 1] = 0;
            }
        }
        __syncwarp();
        product<false>(acc, s->q, r0, s->w);
        __syncwarp();
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int row = row0 + lane / 4 + half * 8;
            bf16 *o = a.o + (int64_t)min(row, a.n - 1) * a.dim + head * D + lane % 4 * 8;
            uint4 sparse[4];

#pragma unroll
            for (int group = 0; group < 4; group++)
                sparse[group] = *(const uint4 *)(o + group * 32);
#pragma unroll
            for (int group = 0; group < 4; group++) {
                uint32_t x[4], os[4] = { sparse[group].x, sparse[group].y, sparse[group].z, sparse[group].w };

#pragma unroll
                for (int i = 0; i < 4; i++) {
                    float2 b = *(const float2 *)(s->bias + (group * 4 + i) * 8 + lane % 4 * 2);

                    x[i] = pack_bf16(acc[group * 4 + i][half * 2] + b.x, acc[group * 4 + i][half * 2 + 1] + b.y);
                }
                transpose_quad(x);
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    x[i] = pack_bf16(low_f32(os[i]) + low_f32(x[i]), high_f32(os[i]) + high_f32(x[i]));
                    most = abs_max2(most, row < a.n ? x[i] : 0);
                }
                if (a.code)                      /* kept until the amax is known */
                    *(uint4 *)(s->q + offset(r0 + lane / 4 + half * 8, group * 4 + lane % 4)) =
                        make_uint4(x[0], x[1], x[2], x[3]);
                else if (row < a.n)
                    store16(o + group * 32, x);
            }
        }
        if (a.code) {
            float amax = warp_amax(nan_max(low_f32(most), high_f32(most)));

            if (lane == 0)
                s->amax[turn][warp] = amax;
            __syncthreads();
            amax = nan_max(warp_amax(s->amax[turn][lane % 8]), 1e-8f);
#pragma unroll
            for (int i = 0; i < 8; i++) {
                int r = i * 2 + lane / 16;
                uint4 x = *(const uint4 *)(s->q + offset(r0 + r, chunk));
                float mult = 128.0f * reciprocal(amax);

                if (row0 + r < a.n)
                    *(uint2 *)(a.code + (int64_t)(row0 + r) * a.dim + head * D + chunk * 8) =
                        make_uint2(codes4(low_f32(x.x), high_f32(x.x), low_f32(x.y), high_f32(x.y), mult),
                                   codes4(low_f32(x.z), high_f32(x.z), low_f32(x.w), high_f32(x.w), mult));
            }
            if (threadIdx.x == 0)
                a.scale[block * a.n_heads + head] = amax / 128.0f;
        }
    }
}

static const TDKernel kernels[] = { TD_KERNEL(sizeof(ApplyStorage), false, linear_apply_kernel) };

int td_cuda_attn_linear(TDDev *dev, const SlaArgs &a, const TDLinear *proj_l)
{
    cudaStream_t stream = td_cuda(dev)->stream;
    int smem = td_cuda_shared(dev, td_kernels(kernels), (const void *)linear_apply_kernel),
        n_blocks = (int)td_blocks(a.n, 128), per_head = (2 * td_cuda(dev)->n_sm + a.n_heads - 1) / a.n_heads;

    if (smem < 0)
        return smem;
    linear_kv_kernel<<<dim3(TD_KV_PARTS, a.n_heads), 256, 0, stream>>>(a);
    CU_LAUNCHED(dev, "linear_kv_kernel");
    linear_sum_kernel<<<dim3(D * D / 256, a.n_heads), 256, 0, stream>>>(a);
    CU_LAUNCHED(dev, "linear_sum_kernel");
    linear_apply_kernel<<<dim3(n_blocks < per_head ? n_blocks : per_head, a.n_heads), 256, smem, stream>>>(
        a, (const bf16 *)proj_l->w[0], proj_l->bias);
    CU_LAUNCHED(dev, "linear_apply_kernel");
    return 0;
}

TDKernels td_cuda_in_attn_linear(void) { return td_kernels(kernels); }
