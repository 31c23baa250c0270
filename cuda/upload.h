/* SPDX-License-Identifier: BSD-2-Clause
 * Weights on their way from the file mapping to the device: several threads fill slices of the staging memory
 * (page-locked where there is such), from where asynchronous copies take them. One thread's memcpy out of the page
 * cache is several times slower than the bus.
 *
 * Invariants
 *  1. Threads exist between the first td_cuda_load() and the td_cuda_load_end() that follows. In between the staging
 *     memory is theirs: nothing else is uploaded or downloaded by this context.
 *  2. Thread i alone fills slice i, and waits for the slice's event before it does. What becomes of it is in its own
 *     stream: a copy to weights; or one to lane i of the scratch, and kernels that make values of what is there, before
 *     the next copy comes to that lane.
 *  3. Once a copy has failed, jobs are dropped; td_cuda_load_end() reports the failure. */
#ifndef TD_CUDA_UPLOAD_H
#define TD_CUDA_UPLOAD_H

#include "device.h"

/* The slot `put`. Weights that are not deferred: done in stream order on return. Deferred ones: done with
 * td_cuda_load_end(), before which a source that is not kept is copied. */
int  td_cuda_load(TDDev *dev, const TDWeights *w, void *dst, const void *src, size_t bytes, int keep);
/* The slot `put_values`, in the same two ways. */
int  td_cuda_load_values(TDDev *dev, const TDWeights *w, const TDPiece *piece);
/* wait for all copies, or drop those that have not begun */
int  td_cuda_load_end(TDDev *dev, bool drop);
void td_cuda_loader_free(TDCuda *c);

#endif /* TD_CUDA_UPLOAD_H */
