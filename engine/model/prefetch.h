/* SPDX-License-Identifier: BSD-2-Clause
 * Weights on their way to a device while it computes with others: a thread with a device handle of its own (queue,
 * page-locked memory) holds the part, as another context would. What goes wrong there shows as weights that are not
 * loaded; who needs them loads them then, and reports it. */
#ifndef TD_PREFETCH_H
#define TD_PREFETCH_H

#include "model/part.h"

typedef struct TDPrefetch TDPrefetch;

/** Begin. NULL if no thread or memory is to be had. The part must stay open; dev is the one to work beside. */
TDPrefetch *td_prefetch_start(TDPart *part, const TDDev *dev);
/** Wait until the weights are there or failed. cancel: of the caller. @return 0 or ECANCELED */
int  td_prefetch_wait(TDPrefetch *p, struct TDCancel *cancel);
/** Stop if it is not through, give up its hold on the part. @return 1 if it has loaded the weights, else 0 */
int  td_prefetch_end(TDPrefetch **p, TDDev *dev);

#endif /* TD_PREFETCH_H */
