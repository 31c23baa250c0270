/* SPDX-License-Identifier: BSD-2-Clause
 * What the GPU's tensor cores reach by mma.sync alone, operands in registers: one line "TYPE TERA" for each kind that
 * the portable kernels use, in operations (two a multiply-add) a second. Their times are judged as shares of it. e4m3
 * is there from 8.9 on; 9.0 makes f16 of it first. peak --card: no times, but one line of what the card and its driver
 * are. */
#include <stdio.h>
#include <string.h>
#include "ptx_sm80.cuh"

#define CHAINS 8                                 /* independent sums of a warp */
#define STEPS 4096

template <int KIND> __global__ void __launch_bounds__(256) peak_kernel(float *out)
{
    uint32_t a[4], half[CHAINS][2] = {}, b = threadIdx.x;
    float f[CHAINS][4] = {}, sum = 0;
    int s[CHAINS][4] = {};

    for (int i = 0; i < 4; i++)
        a[i] = threadIdx.x * (i + 1);
    for (int step = 0; step < STEPS; step++)
#pragma unroll
        for (int i = 0; i < CHAINS; i++)
            if (KIND == 0)
                mma_s8(s[i], a, b, b + 1);
            else if (KIND == 1)
                mma_bf16(f[i], a, b, b + 1);
            else if (KIND == 2)
                mma_f16(f[i], a, b, b + 1);
            else if (KIND == 3)
                mma_f16_sum16(half[i], a, b, b + 1);
            else
                mma_e4m3_sum16(half[i], a, b, b + 1);
    for (int i = 0; i < CHAINS; i++)
        sum += f[i][0] + f[i][1] + f[i][2] + f[i][3] + (float)(s[i][0] + s[i][1] + s[i][2] + s[i][3]) +
               (float)(half[i][0] + half[i][1]);
    out[blockIdx.x * 256 + threadIdx.x] = sum;
}

template <int KIND> static int measure(const char *name, float *out, int blocks)
{
    cudaEvent_t from, to;
    float ms, best = 1e30f;

    cudaEventCreate(&from);
    cudaEventCreate(&to);
    for (int run = 0; run < 5; run++) {
        cudaEventRecord(from);
        peak_kernel<KIND><<<blocks, 256>>>(out);
        cudaEventRecord(to);
        if (cudaEventSynchronize(to) != cudaSuccess || cudaEventElapsedTime(&ms, from, to) != cudaSuccess) {
            fprintf(stderr, "peak: %s: %s\n", name, cudaGetErrorString(cudaGetLastError()));
            return 1;
        }
        best = ms < best ? ms : best;
    }
    printf("%s %.1f\n", name,
           2.0 * 16 * 8 * (KIND == 0 || KIND == 4 ? 32 : 16) * CHAINS * STEPS * 8 * blocks / best * 1e-9);
    return 0;
}

int main(int argc, char **argv)
{
    cudaDeviceProp prop;
    float *out;
    int blocks, ret, clock = 0, driver = 0, runtime = 0;

    if (cudaGetDeviceProperties(&prop, 0) != cudaSuccess) {
        fprintf(stderr, "peak: no GPU\n");
        return 1;
    }
    if (argc == 2 && !strcmp(argv[1], "--card")) {
        cudaDeviceGetAttribute(&clock, cudaDevAttrClockRate, 0);
        cudaDriverGetVersion(&driver);
        cudaRuntimeGetVersion(&runtime);
        printf("%d multiprocessors, %d MHz, CUDA %d.%d (module: %d.%d)\n", prop.multiProcessorCount, clock / 1000,
               driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
        return 0;
    }
    blocks = prop.multiProcessorCount * 2;
    if (cudaMalloc(&out, (size_t)blocks * 256 * sizeof(*out)) != cudaSuccess)
        return 1;
    ret = measure<0>("int8", out, blocks) | measure<1>("bf16", out, blocks) | measure<2>("f16", out, blocks) |
          measure<3>("f16-sums-f16", out, blocks);
    if (prop.major * 10 + prop.minor >= 89)
        ret |= measure<4>("e4m3-sums-f16", out, blocks);
    return ret;
}
