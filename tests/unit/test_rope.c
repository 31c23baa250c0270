/* SPDX-License-Identifier: BSD-2-Clause
 * The table of rotary angles: all in float32, as the official WanModel has it. At position 100 an angle of float64 is
 * already 1e-6 off. */
#include <stdlib.h>
#include "nets/rope.h"
#include "test.h"

/* pair j of an axis of `width` values at a position */
static void pair(float cs[2], int64_t pos, int64_t j, int64_t width)
{
    volatile float power = powf(10000.0f, (float)(2 * j) / (float)width), freq = 1.0f / power;
    volatile float angle = (float)pos * freq;

    cs[0] = cosf(angle);
    cs[1] = sinf(angle);
}

static void test_table(int64_t t, int64_t h, int64_t w, int64_t d)
{
    float *table = malloc((size_t)(t * h * w * d) * sizeof(*table)), want[2];
    int64_t side = d / 6 * 2, first = d - 2 * side;    /* of h and of w, of time */
    double worst = 0;

    if (!CHECK(table != NULL) || !CHECK_INT(td_rope_table(table, t, h, w, d), 0))
        return;
    for (int64_t token = 0; token < t * h * w; token++)
        for (int64_t i = 0; i < d; i += 2) {
            const float *got = table + token * d + i;

            if (i < first)
                pair(want, token / (h * w), i / 2, first);
            else if (i < first + side)
                pair(want, token / w % h, (i - first) / 2, side);
            else
                pair(want, token % w, (i - first - side) / 2, side);
            worst = fmax(worst, fmax(fabs((double)got[0] - want[0]), fabs((double)got[1] - want[1])));
        }
    CHECK_NEAR(worst, 0, 1e-7);
    free(table);
}

int main(void)
{
    test_begin("angles of float32: time, height, width");
    test_table(3, 5, 7, 128);
    test_table(127, 2, 2, 128);
    test_table(1, 64, 80, 64);
    test_begin("a head dim that three does not divide");
    test_table(2, 3, 4, 32);
    return test_end();
}
