/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TD_ROPE_H
#define TD_ROPE_H

#include <stdint.h>

/** Three-axis rotary table. out: f32 [T*h*w, head_dim/2, 2] = cos, sin of the angle of each pair; tokens t-major, then
 * h, then w. Pairs run t, h, w; widths head_dim/6*2 for h and w, the rest for t. All in f32 (official WanModel).
 * @return 0 or ENOMEM, not logged */
int td_rope_table(float *out, int64_t t, int64_t h, int64_t w, int64_t head_dim);

#endif /* TD_ROPE_H */
