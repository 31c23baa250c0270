/* SPDX-License-Identifier: BSD-2-Clause
 * One convolution call on the device, for its three kernels. */
#ifndef TD_CUDA_CONV_H
#define TD_CUDA_CONV_H

#include "device.h"

__device__ __forceinline__ float relu_if(float x, bool relu) { return relu && x < 0.0f ? 0.0f : x; }   /* NaN stays */

struct ConvArgs {
    const bf16 *x, *cache, *w, *residual;        /* [t,h,wd,c_in], [n_cache,h,wd,c_in], [c_out][taps][c_in], as y */
    int x_f16, y_f16;                            /* x, cache and w are f16; y is, behind a norm */
    float unscale;                               /* of f16: TDConv has it */
    const float *bias, *gamma;                   /* gamma: norm and SiLU follow */
    void *y;                                     /* bf16, or f32 if f32 is set */
    int64_t n_pixels;                            /* rows of the product: frames x h_out x w_out, before interleaving */
    int c_in, c_out, kt, kh, kw, stride_t, stride_s, up, interleave, n_cache, pad_y, pad_x, relu;
    int t, h, wd, h_out, w_out, f32;
};

/* gamma is left set where the kernel has done the norm, too; else y is bf16. Of f16 the patch kernel takes all that
 * TDCaps.f16_channels lets be */
int td_cuda_conv3d_mma(TDDev *dev, ConvArgs &a);             /* conv3d.cu: any */
bool td_cuda_conv3d_is_patch(const ConvArgs &a);             /* whether the next one takes it */
int td_cuda_conv3d_patch(TDDev *dev, ConvArgs &a);           /* conv3d_patch.cu */
int td_cuda_conv3d_sm90(TDDev *dev, ConvArgs &a);            /* conv3d_sm90.cu */

#endif /* TD_CUDA_CONV_H */
