/* SPDX-License-Identifier: BSD-2-Clause
 * Device memory that lives as long as a stage's weights. */
#include <stdlib.h>
#include "seam/backend.h"

static int add_block(TDDev *dev, TDWeights *w, TDBuf *buf, size_t bytes)
{
    int ret;

    if (w->n_bufs == w->cap) {
        int cap = w->cap ? 2 * w->cap : 64;
        TDBuf *bufs = realloc(w->bufs, (size_t)cap * sizeof(*bufs));

        if (!bufs)
            return td_error(dev->log, ENOMEM, "weights: out of memory");
        w->bufs = bufs;
        w->cap = cap;
    }
    if ((ret = dev->ops->alloc(dev, buf, bytes, "weights")) >= 0)
        w->bufs[w->n_bufs++] = *buf;
    return ret;
}

int td_weights_init(TDDev *dev, TDWeights *w, size_t block)
{
    TDBuf buf;
    int ret;

    *w = (TDWeights){ .measure = block == TD_MEASURE };
    if (!block || w->measure)
        return 0;
    if ((ret = add_block(dev, w, &buf, block)) < 0)
        return ret;
    w->next = buf.ptr;
    w->left = block;
    w->deferred = 1;
    return 0;
}

int td_weights_alloc(TDDev *dev, TDWeights *w, void **ptr, size_t bytes)
{
    size_t padded = (bytes + TD_ARENA_ALIGN - 1) & ~(size_t)(TD_ARENA_ALIGN - 1);
    TDBuf buf = { 0 };
    int ret;

    if (padded < bytes || w->bytes + padded < padded)
        return td_error(dev->log, ENOMEM, "weights: %zu bytes", bytes);
    if (!w->measure && padded <= w->left) {
        buf.ptr = w->next;
        w->next += padded;
        w->left -= padded;
    } else if (!w->measure && (ret = add_block(dev, w, &buf, padded)) < 0) {
        return ret;
    }
    w->bytes += padded;
    *ptr = buf.ptr;
    return 0;
}

void td_weights_rewind(TDWeights *w)
{
    w->next = w->bufs[0].ptr;
    w->left = w->bufs[0].bytes;
    w->bytes = 0;
}

void td_weights_free(TDDev *dev, TDWeights *w)
{
    for (int i = 0; i < w->n_bufs; i++)
        dev->ops->free(dev, &w->bufs[i]);
    free(w->bufs);
    *w = (TDWeights){ 0 };
}
