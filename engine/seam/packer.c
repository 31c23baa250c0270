/* SPDX-License-Identifier: BSD-2-Clause
 * What packing keeps from one tensor to the next: memory that the device copies from, and memory of the device. */
#include <stdlib.h>
#include "seam/pack_priv.h"

#define ON_THE_WAY ((size_t)1 << 26)             /* bytes of host memory that the device may still be copying from */

int td_packer_open(TDDev *dev)
{
    if (!dev->packer)
        dev->packer = calloc(1, sizeof(*dev->packer));
    return dev->packer ? 0 : td_error(dev->log, ENOMEM, "weights: out of memory");
}

void td_pack_end(TDDev *dev)
{
    TDPacker *p = dev->packer;

    if (!p)
        return;
    if (p->used || p->scratch.ptr)
        dev->ops->sync(dev);                     /* or what failed is dropped: nothing reads `values` any more */
    if (p->scratch.ptr)
        dev->ops->free(dev, &p->scratch);
    if (p->pool)
        td_pool_close(&p->pool);
    free(p->values);
    free(p->rows);
    free(p);
    dev->packer = NULL;
}

int td_packer_settle(TDDev *dev)
{
    int ret = dev->ops->sync(dev);

    if (ret >= 0)
        dev->packer->used = dev->packer->pieces = 0;
    return ret;
}

int td_packer_values(TDDev *dev, void **values, const TDEntry *e, size_t bytes)
{
    TDPacker *p = dev->packer;
    size_t padded = (bytes + 63) & ~(size_t)63;
    int ret = 0;

    if (p->used && p->size - p->used < padded)
        TRY(td_packer_settle(dev));
    if (p->size < padded) {
        free(p->values);
        p->size = padded < ON_THE_WAY ? ON_THE_WAY : padded;
        p->values = malloc(p->size);
        if (!p->values) {
            p->size = 0;
            return td_error(dev->log, ENOMEM, "%s: %s: out of memory", e->file, e->name);
        }
    }
    *values = p->values + p->used;
    p->used += padded;
fail:
    return ret;
}

int td_packer_scratch(TDDev *dev, size_t bytes)
{
    TDBuf *buf = &dev->packer->scratch;
    int ret = 0;

    if (buf->bytes >= bytes)
        return 0;
    if (buf->ptr) {
        TRY(td_packer_settle(dev));              /* what is freed takes what is on the way with it */
        dev->ops->free(dev, buf);
    }
    TRY(dev->ops->alloc(dev, buf, bytes, "weights before they are converted"));
fail:
    return ret;
}
