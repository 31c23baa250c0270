/* SPDX-License-Identifier: BSD-2-Clause
 * Wan 2.1 causal video VAE: latent frames in, pixel frames out, one latent frame a call (1 pixel frame, then 4 each).
 */
#ifndef TD_VAE_H
#define TD_VAE_H

#include "base/wan.h"
#include "nets/tensors.h"

#define TD_VAE_MAX_LAYERS 32

enum TDVaeKind { TD_VAE_RESIDUAL, TD_VAE_ATTENTION, TD_VAE_UPSAMPLE, TD_VAE_DOWNSAMPLE };

typedef struct TDVaeLayer {
    enum TDVaeKind kind;
    int64_t c_in, c_out;
    const float *gamma1, *gamma2;                ///< of the norms; a residual block's second one is in conv1
    TDConv conv1, conv2;                         ///< residual; up- and downsample: conv1 is the spatial one
    TDConv shortcut, time;                       ///< c_out 0 if absent
    TDLinear q, k, v, proj;                      ///< attention
} TDVaeLayer;

/** One half of a VAE: its decoder, or its encoder (vae_encode.h). */
typedef struct TDVae {
    TDDev *dev;
    TDWeights weights;
    TDConv conv_latent, conv_in, conv_out;       ///< 1x1x1 at the latents; first and last conv
    const float *gamma_out;
    TDVaeLayer layers[TD_VAE_MAX_LAYERS];
    int64_t settled[TD_VAE_MAX_LAYERS];          ///< encoder, of a still: frame of the layer's output (downsamplers:
                                                 ///< before the time convolution) from which on all are the same
    int64_t settled_out;                         ///< and latent frame
    int n_layers;
} TDVae;

/** Memory of an attention layer. */
typedef struct TDVaeAttention {
    TDQkv qkv;
    TDAct in, out;
} TDVaeAttention;

typedef struct TDVaeClip {
    int64_t h, w;                                ///< latent grid
    int64_t next;                                ///< latent frame to decode
    TDTensor cache_in, cache_out, cache[TD_VAE_MAX_LAYERS][3];   ///< of conv1, conv2, time
    TDTensor latent;                             ///< bf16 [1,h,w,16]
    TDTensor buf[3];                             ///< bf16, flat, large enough for any layer; the first has its input
    TDTensor pairs;                              ///< bf16 [4,h',w',C]: frames that go on two by two
    TDVaeAttention attn;                         ///< in the memory of `pairs`
} TDVaeClip;

/** The tensors of the decoder's half of a file, by the base width. @return 0, or what fn returned */
int  td_vae_each_tensor(int64_t base, TDTensorFn fn, void *cookie);
/** block: as for td_weights_init() */
int  td_vae_bind(TDVae **vae, TDDev *dev, const TDCheckpoint *ckpt, enum TDVaeDtype dtype, size_t block);
/** Copy src for another device handle; weights stay src's. *view: NULL, or from an earlier call. @return 0 or ENOMEM */
int  td_vae_view(TDVae **view, const TDVae *src, TDDev *dev);
void td_vae_free(TDVae **vae);
/** Products for a pixel of a frame. */
double td_vae_products(const TDVae *vae);
int  td_vae_plan(TDVaeClip *clip, const TDVae *vae, TDArena *a, int64_t h, int64_t w);

/** Start a clip: empty caches. */
int  td_vae_begin(const TDVae *vae, TDVaeClip *clip);
/** Decode latent frame clip->next of z (f32 [16,T,h,w]) into rgb (f32 [4,8h,8w,3]): 1 pixel frame for the first, 4 for
 *  each later one; rgb->shape[0] is set to that. */
int  td_vae_decode_next(const TDVae *vae, TDVaeClip *clip, const TDTensor *z, TDTensor *rgb);

#endif /* TD_VAE_H */
