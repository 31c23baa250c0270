/* SPDX-License-Identifier: BSD-2-Clause
 * Pixel formats as memory: planes, rows and samples. One table for argument checks and both backends. */
#ifndef TD_PIXFMT_H
#define TD_PIXFMT_H

#include "api/turbodiff.h"

#define TD_N_PIX_FMTS (TD_PIX_P010 + 1)

typedef struct TDPixLayout {
    int n_planes;
    int bytes;                                   ///< of a sample
    int rgb;                                     ///< no luma, no chroma
    int sub;                                     ///< chroma is halved both ways
    int ten;                                     ///< samples have 10 bits
    int shift;                                   ///< empty bits below the sample
    int pair;                                    ///< plane 1 holds both chroma samples, U first
} TDPixLayout;

static inline TDPixLayout td_pix_layout(enum TDPixFmt format)
{
    static const TDPixLayout layouts[TD_N_PIX_FMTS] = {
        { 1, 1, 1, 0, 0, 0, 0 },                 /* rgb24 */
        { 3, 1, 1, 0, 0, 0, 0 },                 /* gbrp */
        { 3, 1, 0, 1, 0, 0, 0 },                 /* yuv420p */
        { 3, 1, 0, 0, 0, 0, 0 },                 /* yuv444p */
        { 3, 2, 0, 1, 1, 0, 0 },                 /* yuv420p10 */
        { 3, 2, 0, 0, 1, 0, 0 },                 /* yuv444p10 */
        { 2, 1, 0, 1, 0, 0, 1 },                 /* nv12 */
        { 2, 2, 0, 1, 1, 6, 1 },                 /* p010 */
    };

    return layouts[format];
}

/** Samples in a row of a plane, of a picture of width w. Of an odd width the last column has chroma of its own. */
static inline int64_t td_pix_row(const TDPixLayout *l, int plane, int64_t w)
{
    int64_t half = (w + 1) / 2;

    return l->rgb && l->n_planes == 1 ? 3 * w : !plane || !l->sub ? w : l->pair ? 2 * half : half;
}

/** Rows of a plane, of a picture of height h. */
static inline int64_t td_pix_rows(const TDPixLayout *l, int plane, int64_t h)
{
    return plane && l->sub ? (h + 1) / 2 : h;
}

#endif /* TD_PIXFMT_H */
