/* SPDX-License-Identifier: BSD-2-Clause
 * Tiny video VAE for Wan 2.1's latents (TAEHV: taew2_1, lighttaew2_1): convolutions in two dimensions and ReLU, and
 * blocks that remember the frame before. Decoder: latent frames in, pixel frames out, one latent frame a call (1 pixel
 * frame, then 4 each). Encoder: 4 pixel frames in, one latent frame out. */
#ifndef TD_VAE_TINY_H
#define TD_VAE_TINY_H

#include "base/wan.h"
#include "nets/tensors.h"

#define TD_TINY_MAX_LAYERS 18
#define TD_TINY_PRODUCTS 0.17e6                  /* of the decoder, for a pixel of a frame */

typedef struct TDTinyLayer {
    int memory;                                  ///< a block with memory, of three convolutions; else one
    TDConv conv[3];
} TDTinyLayer;

/** One half of a tiny VAE. */
typedef struct TDTiny {
    TDDev *dev;
    TDWeights weights;
    int form;                                    ///< of its latents, TD_LATENT_*
    TDTinyLayer layers[TD_TINY_MAX_LAYERS];
    int n_layers;
} TDTiny;

typedef struct TDTinyClip {
    int64_t h, w;                                ///< latent grid
    int64_t next;                                ///< latent frame to decode
    TDTensor cache[TD_TINY_MAX_LAYERS];          ///< of memory blocks: the frame before, their input
    TDTensor latent;                             ///< bf16 [1,h,w,16]
    TDTensor buf[3];                             ///< bf16, flat, large enough for any layer
} TDTinyClip;

typedef struct TDTinyEncodeClip {
    int64_t h, w;                                ///< latent grid
    int64_t next;                                ///< latent frame to encode
    int greys;                                   ///< latent frames of grey so far, without another between them
    TDTensor in;                                 ///< bf16 [4,8h,8w,8]: a picture and the grey frames behind it
    TDTensor grey;                               ///< bf16 [2,8h,8w,8]
    TDTensor still;                              ///< bf16 [1,4h,4w,C]: what the first three layers make of grey
    TDTensor cache[TD_TINY_MAX_LAYERS];
    TDTensor buf[3];
    TDTensor mean;                               ///< bf16 [1,h,w,16]: the last latent frame
} TDTinyEncodeClip;

/** Whether a file's tensors are those of a tiny VAE, of whatever latents. */
int  td_tiny_is(const TDCheckpoint *ckpt);
/** Whether its latents have Wan's mean and deviation, as those of lighttaew2_1: by the file's name, since nothing in it
 *  says so. */
int  td_tiny_is_light(const TDCheckpoint *ckpt);
/** Why one of this file cannot be used, or NULL: it is for other latents, or of another kind of blocks. */
const char *td_tiny_stranger(const TDCheckpoint *ckpt);
/** The tensors of one half of a file. @return 0, or what fn returned */
int  td_tiny_each_tensor(int decoder, TDTensorFn fn, void *cookie);
/** block: as for td_weights_init() */
int  td_tiny_bind(TDTiny **half, TDDev *dev, const TDCheckpoint *ckpt, int decoder, size_t block);
/** Copy src for another device handle; weights stay src's. *view: NULL, or from an earlier call. @return 0 or ENOMEM */
int  td_tiny_view(TDTiny **view, const TDTiny *src, TDDev *dev);
void td_tiny_free(TDTiny **half);

int  td_tiny_plan(TDTinyClip *clip, const TDTiny *dec, TDArena *a, int64_t h, int64_t w);
/** Start a clip: blocks remember nothing. */
int  td_tiny_begin(const TDTiny *dec, TDTinyClip *clip);
/** Decode latent frame clip->next of z (f32 [16,T,h,w]) into rgb (f32 [4,8h,8w,3], nominally -1..1): 1 pixel frame for
 *  the first, 4 for each later one; rgb->shape[0] is set to that. */
int  td_tiny_decode_next(const TDTiny *dec, TDTinyClip *clip, const TDTensor *z, TDTensor *rgb);

int  td_tiny_encode_plan(TDTinyEncodeClip *clip, const TDTiny *enc, TDArena *a, int64_t h, int64_t w);
int  td_tiny_encode_begin(const TDTiny *enc, TDTinyEncodeClip *clip);
/** Encode the next latent frame into its place in latent (bf16 [16,T,h,w]).
 *  @param in bf16 [4,8h,8w,8] in 0..1, or NULL = 4 frames of grey (0.5) */
int  td_tiny_encode_next(const TDTiny *enc, TDTinyEncodeClip *clip, const TDTensor *in, TDTensor *latent);
/** The same for the first latent frame, of a picture (bf16 [1,8h,8w,8] in 0..1) and three frames of grey, or where
 *  latent has no other, of the picture four times. */
int  td_tiny_encode_picture(const TDTiny *enc, TDTinyEncodeClip *clip, const TDTensor *picture, TDTensor *latent);

#endif /* TD_VAE_TINY_H */
