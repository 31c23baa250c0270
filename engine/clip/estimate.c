/* SPDX-License-Identifier: BSD-2-Clause
 * How long a clip will take on the CPU, before it has begun: its products, at the speed of one that is timed. It is
 * right to a factor of two or so, which tells seconds from hours. */
#include <stdlib.h>
#include "clip/estimate.h"

enum { ROWS = 256, WIDTH = 1024 };               /* of the product that is timed */

static double denoise_products(const TDDit *d, const TDClipConfig *g)
{
    double t = (g->p.n_frames - 1) / 4 + 1, h = td_whole_side(g->p.height) / 16, w = td_whole_side(g->p.width) / 16;
    double tokens = t * h * w, dim = (double)d->dim;
    double keys = g->attn.kind == TD_ATTN_DENSE ? tokens : tokens * g->attn.topk + dim / (double)d->n_heads;
    double linears = 6 * dim * dim + 2 * dim * (double)d->ffn;   /* q, k, v, o; q and o of the cross attention */
    double passes = td_guided(&g->p) ? 2 : 1;

    return passes * g->p.n_steps * (double)d->n_blocks * tokens * (linears + 2 * dim * (keys + TD_TEXT_LEN));
}

/* twice as many as there are: a convolution has half the speed of the product that is timed */
static double decode_products(const TDModel *m, const TDClipConfig *g)
{
    double pixel = m->part[TD_FILE_VAE]->kind->products(&m->net[TD_FILE_VAE]);

    return 2 * pixel * g->p.n_frames * td_whole_side(g->p.height) * td_whole_side(g->p.width);
}

/* of ROWS x WIDTH x WIDTH products, which is seconds where kernels are at their slowest */
static int time_product(TDDev *dev, double *seconds)
{
    uint16_t *mem = calloc((2 * ROWS + WIDTH) * WIDTH, sizeof(*mem));
    TDAct x = { .x = { .data = mem, .shape = { ROWS, WIDTH, 1, 1, 1 }, .n_dims = 2, .dtype = TD_BF16 } };
    TDTensor y = x.x;
    TDLinear lin = { .n = WIDTH, .k = WIDTH, .dtype = TD_BF16, .w = { mem + 2 * ROWS * WIDTH }, .part_n = WIDTH };
    double began;
    int ret = 0;

    if (!mem)
        return td_error(dev->log, ENOMEM, "clip: out of memory");
    y.data = mem + ROWS * WIDTH;
    for (int i = 0; i < 2; i++) {                /* threads have to wake up first */
        began = td_now();
        TRY(dev->ops->linear(dev, &y, &x, &lin));
        *seconds = td_now() - began;
    }
fail:
    free(mem);
    return ret;
}

int td_clip_seconds(const TDModel *m, const TDClipConfig *g, double *seconds)
{
    double products = denoise_products(m->dit, g) + decode_products(m, g), one;
    int ret = time_product(m->dev, &one);

    if (ret >= 0)
        *seconds = products * one / ((double)ROWS * WIDTH * WIDTH);
    return ret;
}
