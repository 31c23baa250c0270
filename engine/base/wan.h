/* SPDX-License-Identifier: BSD-2-Clause
 * Sizes of Wan models, the same on both sides of the seam; what is read from a file is checked against them. */
#ifndef TD_WAN_H
#define TD_WAN_H

#define TD_TEXT_LEN 512                          ///< ids per prompt, eos and padding included
#define TD_TEXT_HEAD_DIM 128                     ///< of the text encoder, at most
#define TD_LATENT_CHANNELS 16                    ///< of the VAE and of the transformer's state
#define TD_MASK_CHANNELS 4
#define TD_COND_CHANNELS (TD_MASK_CHANNELS + TD_LATENT_CHANNELS)    ///< what a transformer with a picture sees more
#define TD_MAX_DIM 8192                          ///< width of the transformer, at most

/* what a clip may be, whoever says it */
#define TD_MIN_SIDE   16                         /* pixels */
#define TD_MAX_SIDE   2048
#define TD_MAX_FRAMES (4 * 127 + 1)
#define TD_MAX_STEPS  1000                       /* of any sampler */

#define TD_MIN_SHIFT  0.01                       /* of timesteps */
#define TD_MAX_SHIFT  100.0

static inline int td_valid_side(int pixels)
{
    return pixels >= TD_MIN_SIDE && pixels <= TD_MAX_SIDE;
}

static inline int td_valid_frames(int n)
{
    return n >= 1 && n <= TD_MAX_FRAMES && n % 4 == 1;
}

static inline int td_valid_topk(double share)
{
    return share > 0.0 && share <= 1.0;
}

static inline int td_valid_shift(double shift)
{
    return shift >= TD_MIN_SHIFT && shift <= TD_MAX_SHIFT;
}

#endif /* TD_WAN_H */
