/* SPDX-License-Identifier: BSD-2-Clause
 * Device memory that lives as long as a stage's weights. */
#include <stdlib.h>
#include "backend.h"

int td_weights_alloc(TDDev *dev, TDWeights *w, void **ptr, size_t bytes)
{
    TDBuf buf;
    int ret;

    if (w->n_bufs == w->cap) {
        int cap = w->cap ? 2 * w->cap : 64;
        TDBuf *bufs = realloc(w->bufs, (size_t)cap * sizeof(*bufs));

        if (!bufs)
            return td_error(dev->log, ENOMEM, "weights: out of memory");
        w->bufs = bufs;
        w->cap = cap;
    }
    if ((ret = dev->ops->alloc(dev, &buf, bytes)) < 0)
        return ret;
    w->bufs[w->n_bufs++] = buf;
    w->bytes += bytes;
    *ptr = buf.ptr;
    return 0;
}

void td_weights_free(TDDev *dev, TDWeights *w)
{
    for (int i = 0; i < w->n_bufs; i++)
        dev->ops->free(dev, &w->bufs[i]);
    free(w->bufs);
    *w = (TDWeights){ 0 };
}
