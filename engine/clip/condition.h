/* SPDX-License-Identifier: BSD-2-Clause
 * What an image-to-video transformer sees beside the noisy latent: 4 mask channels, 1 in latent frame 0 and 0
 * elsewhere, and the 16 channels of the encoded picture followed by zero frames. */
#ifndef TD_CONDITION_H
#define TD_CONDITION_H

#include "model/part.h"

typedef struct TDCondition {
    uint16_t *pixels;                            ///< host: bf16 [H,W,8], as the encoder takes it, until it is uploaded
    TDTensor image;                              ///< bf16 [1,H,W,8]
    TDTensor cond;                               ///< out: bf16 [20,T,h,w]
    int64_t encoded;                             ///< latent frames
    TDEncoderClip clip;
} TDCondition;

/** An encoder's part and a view of its network. */
typedef struct TDEncoder {
    const TDKind *kind;
    const TDNet *net;
    TDDev *dev;
} TDEncoder;

/** Resize the picture to w x h, repeat its right and bottom edge up to whole_w x whole_h, normalise it and keep it.
 *  from_zero: as in TDKind. @return 0 or ENOMEM (logged) */
int  td_condition_image(TDCondition *c, const TDImage *image, int w, int h, int whole_w, int whole_h, int from_zero,
                        TDLog *log);
/** The same of w x h pixels of RGB in 0..1. @return 0, ENOMEM or EINVAL (logged) */
int  td_condition_picture(TDCondition *c, const float *picture, int w, int h, int whole_w, int whole_h, int from_zero,
                          TDLog *log);
/** Carve what outlives encoding, and what does not. t, h, w: latent grid */
int  td_condition_plan(TDCondition *c, TDArena *a, int64_t t, int64_t h, int64_t w);
int  td_condition_plan_work(TDCondition *c, const TDEncoder *enc, TDArena *a, int64_t h, int64_t w);
/** Write the mask, upload the picture. */
int  td_condition_begin(TDCondition *c, const TDEncoder *enc);
/** Encode the next latent frame; after the last one, check that all values are finite (path: for the error line).
 *  @return 1 after the last one, else 0, or < 0 */
int  td_condition_next(TDCondition *c, const TDEncoder *enc, const char *path);
void td_condition_free(TDCondition *c);

#endif /* TD_CONDITION_H */
