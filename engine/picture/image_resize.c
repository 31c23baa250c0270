/* SPDX-License-Identifier: BSD-2-Clause
 * Antialiased bilinear resize of 8-bit pictures in the fixed-point arithmetic of PyTorch's x86 path, which torchvision
 * takes for the official script.
 *
 * Invariants
 *  1. Width first, then height, with bytes in between; an axis of unchanged size is not touched.
 *  2. Weights of an axis are int16 with a common shift, which the largest of them decides.
 *  3. The weights of a place sum to 1 within rounding and are not negative: sums fit in 32 bits. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "picture/image.h"

typedef struct Axis {
    int n_taps;                                  /* of a place at most */
    int shift;
    int *first, *count;                          /* per place: first input, and number of inputs */
    int16_t *weight;                             /* n_taps per place */
} Axis;

static void axis_free(Axis *a)
{
    free(a->first);
    free(a->count);
    free(a->weight);
}

static double at_most(double x, double high)
{
    return x < high ? x : high;
}

/* weights of one place into w, normalised. @return their largest */
static double place_weights(double *w, Axis *a, int i, int in, double scale, double support)
{
    double center = scale * (i + 0.5), inv = scale > 1 ? 1 / scale : 1, sum = 0, largest = 0;
    int lo = (int)(center - support + 0.5), n;

    lo = lo > 0 ? lo : 0;
    n = (int)at_most(center + support + 0.5, in) - lo;
    n = n < 0 ? 0 : n > a->n_taps ? a->n_taps : n;
    for (int j = 0; j < n; j++) {
        double d = (j + lo - center + 0.5) * inv;

        w[j] = d < 0 ? 1 + d : 1 - d;
        w[j] = w[j] > 0 ? w[j] : 0;
        sum += w[j];
    }
    for (int j = 0; j < n; j++) {
        w[j] = sum != 0 ? w[j] / sum : w[j];
        largest = w[j] > largest ? w[j] : largest;
    }
    a->first[i] = lo;
    a->count[i] = n;
    return largest;
}

static int axis_init(Axis *a, int in, int out, TDLog *log)
{
    double scale = (double)in / out, support = scale > 1 ? scale : 1, largest = 0, *w = NULL;
    int whole = (int)support, ret = 0;
    size_t n;

    *a = (Axis){ .n_taps = 2 * (whole + (whole < support)) + 1 };
    n = (size_t)out * (size_t)a->n_taps;
    a->first = malloc((size_t)out * sizeof(*a->first));
    a->count = malloc((size_t)out * sizeof(*a->count));
    a->weight = malloc(n * sizeof(*a->weight));
    w = malloc(n * sizeof(*w));
    if (!a->first || !a->count || !a->weight || !w) {
        ret = td_error(log, ENOMEM, "image: out of memory");
        goto end;
    }
    for (int i = 0; i < out; i++) {
        double l = place_weights(w + (size_t)i * (size_t)a->n_taps, a, i, in, scale, support);

        largest = l > largest ? l : largest;
    }
    while (a->shift < 22 && (int)(0.5 + largest * (1 << (a->shift + 1))) < 1 << 15)
        a->shift++;
    for (int i = 0; i < out; i++)
        for (int j = 0; j < a->count[i]; j++) {
            size_t at = (size_t)i * (size_t)a->n_taps + (size_t)j;

            a->weight[at] = (int16_t)(w[at] * (1 << a->shift) + 0.5);
        }
end:
    free(w);
    return ret;
}

static uint8_t clamp_byte(int v)
{
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

static void resize_row(uint8_t *dst, const uint8_t *src, const Axis *a, int w)
{
    for (int x = 0; x < w; x++) {
        const int16_t *k = a->weight + (size_t)x * (size_t)a->n_taps;
        const uint8_t *p = src + 3 * (ptrdiff_t)a->first[x];
        int sum[3];

        for (int c = 0; c < 3; c++)
            sum[c] = a->shift ? 1 << (a->shift - 1) : 0;
        for (int j = 0; j < a->count[x]; j++)
            for (int c = 0; c < 3; c++)
                sum[c] += k[j] * p[3 * j + c];
        for (int c = 0; c < 3; c++)
            dst[3 * x + c] = clamp_byte(sum[c] >> a->shift);
    }
}

/* row y of the result from rows of src */
static void resize_column(uint8_t *dst, const uint8_t *src, ptrdiff_t stride, const Axis *a, int y, int n)
{
    const int16_t *k = a->weight + (size_t)y * (size_t)a->n_taps;
    const uint8_t *p = src + a->first[y] * stride;

    for (int x = 0; x < n; x++) {
        int sum = a->shift ? 1 << (a->shift - 1) : 0;

        for (int j = 0; j < a->count[y]; j++)
            sum += k[j] * p[j * stride + x];
        dst[x] = clamp_byte(sum >> a->shift);
    }
}

int td_image_resize(uint8_t *dst, int w, int h, const TDImage *src, TDLog *log)
{
    Axis across = { 0 }, down = { 0 };
    const uint8_t *rows = src->data;
    ptrdiff_t stride = src->stride;
    uint8_t *mid = NULL;
    int ret = 0;

    if (w != src->width) {
        if ((ret = axis_init(&across, src->width, w, log)) < 0)
            goto end;
        stride = 3 * (ptrdiff_t)w;
        mid = malloc((size_t)stride * (size_t)src->height);
        if (!mid) {
            ret = td_error(log, ENOMEM, "image: out of memory");
            goto end;
        }
        for (int y = 0; y < src->height; y++)
            resize_row(mid + y * stride, src->data + y * src->stride, &across, w);
        rows = mid;
    }
    if (h != src->height) {
        if ((ret = axis_init(&down, src->height, h, log)) < 0)
            goto end;
        for (int y = 0; y < h; y++)
            resize_column(dst + 3 * (ptrdiff_t)w * y, rows, stride, &down, y, 3 * w);
    } else {
        for (int y = 0; y < h; y++)
            memcpy(dst + 3 * (ptrdiff_t)w * y, rows + y * stride, 3 * (size_t)w);
    }
end:
    axis_free(&across);
    axis_free(&down);
    free(mid);
    return ret;
}
