/* SPDX-License-Identifier: BSD-2-Clause
 * Encoder of the Wan 2.1 causal video VAE: pixel frames in, normalised latent means out, one latent frame a call (from
 * 1 pixel frame, then from 4 each). */
#ifndef TD_VAE_ENCODE_H
#define TD_VAE_ENCODE_H

#include "nets/vae.h"

#define TD_VAE_IN_CHANNELS 8                     /* R, G, B and five that are zero: whole 16-byte chunks for the GPU */

typedef TDVae TDVaeEncoder;                      /* td_vae_view(), td_vae_free() */

typedef struct TDVaeEncodeClip {
    int64_t h, w;                                ///< latent grid
    int64_t next;                                ///< latent frame to encode
    int still;                                   ///< all frames after the first have been zero
    TDTensor zeros;                              ///< bf16 [4,8h,8w,8]
    TDTensor cache_in, cache_out, cache[TD_VAE_MAX_LAYERS][2];   ///< of conv1, conv2; downsamplers: [0] of time
    TDTensor last[TD_VAE_MAX_LAYERS];            ///< downsamplers: last frame before the time convolution (= its cache)
    TDTensor buf[3];                             ///< bf16, flat, large enough for any layer
    TDVaeAttention attn;
    TDTensor moments;                            ///< bf16 [1,h,w,32], means first
} TDVaeEncodeClip;

/** The tensors of the encoder's half of a file, by the base width. @return 0, or what fn returned */
int  td_vae_encode_each_tensor(int64_t base, TDTensorFn fn, void *cookie);
/** block: as for td_weights_init() */
int  td_vae_encode_bind(TDVaeEncoder **enc, TDDev *dev, const TDCheckpoint *ckpt, enum TDVaeDtype dtype, size_t block);
int  td_vae_encode_plan(TDVaeEncodeClip *clip, const TDVaeEncoder *enc, TDArena *a, int64_t h, int64_t w);
/** Empty the caches; the next frame is the first one. */
int  td_vae_encode_begin(const TDVaeEncoder *enc, TDVaeEncodeClip *clip);
/** Encode the next latent frame into its place in latent (bf16 [16,T,h,w]).
 *  @param in bf16 [1|4, 8h, 8w, 8] in -1..1, or NULL = 4 frames of zeros; after a NULL all others are NULL */
int  td_vae_encode_next(const TDVaeEncoder *enc, TDVaeEncodeClip *clip, const TDTensor *in, TDTensor *latent);

#endif /* TD_VAE_ENCODE_H */
