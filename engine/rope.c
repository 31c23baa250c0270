/* SPDX-License-Identifier: BSD-2-Clause */
#include <math.h>
#include "rope.h"

void td_rope_table(float *out, int64_t t, int64_t h, int64_t w, int64_t head_dim)
{
    int64_t width_hw = head_dim / 6 * 2, width[3] = { head_dim - 2 * width_hw, width_hw, width_hw };

    for (int64_t token = 0; token < t * h * w; token++) {
        int64_t pos[3] = { token / (h * w), token / w % h, token % w };

        for (int axis = 0; axis < 3; axis++)
            for (int64_t j = 0; j < width[axis] / 2; j++) {
                float freq = 1.0f / powf(10000.0f, (float)(2 * j) / (float)width[axis]),
                      angle = (float)pos[axis] * freq;

                *out++ = cosf(angle);
                *out++ = sinf(angle);
            }
    }
}
