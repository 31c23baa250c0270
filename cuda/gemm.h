/* SPDX-License-Identifier: BSD-2-Clause
 * The matrix product behind every linear, twice: for Hopper and portable. */
#ifndef TD_CUDA_GEMM_H
#define TD_CUDA_GEMM_H

#include "gemm_epilogue.cuh"

/** a: [m,k], b: [n,k], bf16 or int8 with block scales; n % 8 == 0, k*size % 16 == 0 (int8: k % 128 == 0) */
struct TDGemm {
    const void *a, *b;
    const float *scale_a, *scale_b;
    int64_t k;
    bool int8;
    int epilogue;                                /* with EPI_ADD where epi.add is set */
    EpilogueArgs epi;
};

int td_cuda_gemm_sm90(TDDev *dev, const TDGemm *g);
int td_cuda_gemm_mma(TDDev *dev, const TDGemm *g);

#endif /* TD_CUDA_GEMM_H */
