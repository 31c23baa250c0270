/* SPDX-License-Identifier: BSD-2-Clause
 * What a clip asks of a network that makes pictures of latent frames, and of one that makes latent frames of a picture.
 * One of another kind is its file beside vae.c, a member of the unions here and of TDNet, and a row of the kinds in
 * model/part.c. */
#ifndef TD_DECODER_H
#define TD_DECODER_H

#include "nets/vae_encode.h"
#include "nets/vae_tiny.h"

/** The memory that a decoder has in a clip; the member of its kind. */
typedef union TDDecoderClip {
    TDVaeClip vae;
    TDTinyClip tiny;
} TDDecoderClip;

/** The same of an encoder. */
typedef union TDEncoderClip {
    TDVaeEncodeClip vae;
    TDTinyEncodeClip tiny;
} TDEncoderClip;

#endif /* TD_DECODER_H */
