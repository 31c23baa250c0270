/* SPDX-License-Identifier: BSD-2-Clause
 * Layers that the encoder and the decoder of the VAE share (vae.c). */
#ifndef TD_VAE_PRIV_H
#define TD_VAE_PRIV_H

#include "nets/bind.h"
#include "nets/vae.h"

/** Convolution kt x k x k of PREFIX.SUFFIX (suffix may be ""), stride 1. */
int td_vae_bind_conv(const TDBind *b, TDConv *conv, int64_t c_out, int64_t c_in, int kt, int k, const char *prefix,
                     const char *suffix);
/** Output channels of PREFIX.SUFFIX.weight. */
int td_vae_conv_width(const TDBind *b, int64_t *c_out, const char *prefix, const char *suffix);
/** l->c_in is set by the caller; the rest is filled in. */
int td_vae_bind_residual(const TDBind *b, TDVaeLayer *l, const char *prefix);
int td_vae_bind_attention(const TDBind *b, TDVaeLayer *l, const char *prefix);
int td_vae_plan_attention(TDVaeAttention *at, const TDVaeLayer *l, TDDev *dev, TDArena *a, int64_t h, int64_t w);

/** bf16 [T,h,w,C] over a flat buffer. */
TDTensor td_vae_tensor(const TDTensor *buf, int64_t t, int64_t h, int64_t w, int64_t c);
/** x: in and out, in one of three buffers; a, b: the other two, a changes places with x. */
int td_vae_residual(TDDev *dev, const TDVaeLayer *l, TDTensor cache[2], TDTensor *x, TDTensor *a, TDTensor *b);
/** x: one frame, in and out. */
int td_vae_attention(TDDev *dev, const TDVaeLayer *l, TDVaeAttention *at, TDTensor *x);

#endif /* TD_VAE_PRIV_H */
