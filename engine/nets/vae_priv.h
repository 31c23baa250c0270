/* SPDX-License-Identifier: BSD-2-Clause
 * Layers that the encoder and the decoder of the VAE share (vae.c). */
#ifndef TD_VAE_PRIV_H
#define TD_VAE_PRIV_H

#include "nets/vae.h"

#define TD_VAE_PREFIX 48                         /* bytes of the prefix of a layer's names */

/** Bind the layers of one half. @return how many there are, or a logged error */
int td_vae_bind_layers(const TDBind *b, TDVaeLayer layers[TD_VAE_MAX_LAYERS], int decoder, int64_t base);
/** Tensors of these layers, in the order of the data. */
int td_vae_each_layer(int decoder, int64_t base, TDTensorFn fn, void *cookie);
/** Base width, which all widths are multiples of, by a convolution (NAME.weight) with `multiple` as many channels. */
int td_vae_base(const TDBind *b, int64_t *base, const char *name, int multiple);
/** TD_DIM: the base width; TD_WIDTH: of the innermost layers. */
void td_vae_end_sizes(int64_t sizes[TD_N_SIZES], int64_t base);

int td_vae_plan_attention(TDVaeAttention *at, const TDVaeLayer *l, TDDev *dev, TDArena *a, int64_t h, int64_t w);

/** bf16 [T,h,w,C] over a flat buffer. */
TDTensor td_vae_tensor(const TDTensor *buf, int64_t t, int64_t h, int64_t w, int64_t c);
/** The same over what this convolution is to read, once it was normed: bf16 or f16. */
TDTensor td_vae_normed(const TDConv *conv, const TDTensor *buf, int64_t t, int64_t h, int64_t w, int64_t c);
/** a has the memory of b, and b that of a. */
void td_vae_exchange(TDTensor *a, TDTensor *b);
/** x, which lies in buf and is not needed any more, is over: cache has the last frames. buf has memory as large. */
int td_vae_keep(TDDev *dev, TDTensor *cache, const TDTensor *x, TDTensor *buf);
/** x: in and out, in buf[0]. */
int td_vae_residual(TDDev *dev, const TDVaeLayer *l, TDTensor cache[2], TDTensor *x, TDTensor buf[3]);
/** x: one frame, in and out. */
int td_vae_attention(TDDev *dev, const TDVaeLayer *l, TDVaeAttention *at, TDTensor *x);

#endif /* TD_VAE_PRIV_H */
