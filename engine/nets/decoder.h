/* SPDX-License-Identifier: BSD-2-Clause
 * What a clip asks of a network that makes pictures of latent frames. A decoder of another kind is its file beside
 * vae.c, a member of each union (TDDecoderClip, TDNet) and a row of the kinds in model/part.c. */
#ifndef TD_DECODER_H
#define TD_DECODER_H

#include "nets/vae.h"

/** The memory that a decoder has in a clip; the member of its kind. */
typedef union TDDecoderClip {
    TDVaeClip vae;
} TDDecoderClip;

#endif /* TD_DECODER_H */
