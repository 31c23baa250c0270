/* SPDX-License-Identifier: BSD-2-Clause
 * Still pictures as input: JPEG files, and the resize that the official image-to-video script does. */
#ifndef TD_IMAGE_H
#define TD_IMAGE_H

#include "base/log.h"

#define TD_IMAGE_MAX_PIXELS (INT64_C(1) << 27)   /* of a file; larger ones are refused before memory is taken */

/** Decode a JPEG file in memory, upright. name: for error lines. @return 0 or a logged error */
int td_image_decode(TDImage *out, const uint8_t *data, size_t size, int64_t max_pixels, const char *name, TDLog *log);

/** Resize to w x h with the antialiased bilinear filter of torchvision for uint8, to its last bit; dst: rows of 3*w
 *  bytes. @return 0 or ENOMEM (logged) */
int td_image_resize(uint8_t *dst, int w, int h, const TDImage *src, TDLog *log);

#endif /* TD_IMAGE_H */
