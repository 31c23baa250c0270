/* SPDX-License-Identifier: BSD-2-Clause
 * Sizes that every Wan model has, on both sides of the seam. */
#ifndef TD_WAN_H
#define TD_WAN_H

#define TD_TEXT_LEN 512                          ///< ids per prompt, eos and padding included
#define TD_LATENT_CHANNELS 16                    ///< of the VAE and of the transformer's state

#endif /* TD_WAN_H */
