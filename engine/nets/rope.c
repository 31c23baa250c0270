/* SPDX-License-Identifier: BSD-2-Clause */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "nets/rope.h"
#include "api/turbodiff.h"

/* the pairs of one axis for positions 0..n-1 */
static void axis_table(float *out, int64_t n, int64_t width)
{
    for (int64_t pos = 0; pos < n; pos++)
        for (int64_t j = 0; j < width / 2; j++) {
            float freq = 1.0f / powf(10000.0f, (float)(2 * j) / (float)width), angle = (float)pos * freq;

            *out++ = cosf(angle);
            *out++ = sinf(angle);
        }
}

int td_rope_table(float *out, int64_t t, int64_t h, int64_t w, int64_t head_dim)
{
    int64_t hw = head_dim / 6 * 2, first = head_dim - 2 * hw;
    float *axis = malloc((size_t)(t * first + (h + w) * hw) * sizeof(*axis)), *of_h, *of_w;

    if (!axis)
        return TD_ERR(ENOMEM);
    of_h = axis + t * first;
    of_w = of_h + h * hw;
    axis_table(axis, t, first);
    axis_table(of_h, h, hw);
    axis_table(of_w, w, hw);
    for (int64_t token = 0; token < t * h * w; token++, out += head_dim) {
        memcpy(out, axis + token / (h * w) * first, (size_t)first * sizeof(*out));
        memcpy(out + first, of_h + token / w % h * hw, (size_t)hw * sizeof(*out));
        memcpy(out + first + hw, of_w + token % w * hw, (size_t)hw * sizeof(*out));
    }
    free(axis);
    return 0;
}
