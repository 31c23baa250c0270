/* SPDX-License-Identifier: BSD-2-Clause
 * Parallel-for over a fixed set of workers. Tasks are numbered; which worker runs a task never changes its result. */
#ifndef TD_THREAD_H
#define TD_THREAD_H

#include <stdatomic.h>
#include "base/cancel.h"
#include "base/log.h"

/** How the caller's cancel flag and interrupt callback reach running work. */
typedef struct TDCancel {
    atomic_int flag;                             ///< set by td_cancel() or once interrupt() returned nonzero
    int (*interrupt)(void *cookie);              ///< polled on the calling thread between tasks; may be NULL
    void *cookie;
} TDCancel;

typedef struct TDPool TDPool;

enum { TD_MAX_THREADS = 256 };

/** @param n_threads up to TD_MAX_THREADS, the calling thread is one of them; 0 = number of usable cores.
 *  @return 0, EINVAL, ENOMEM, logged */
int  td_pool_open(TDPool **pool, int n_threads, TDCancel *cancel, TDLog *log);
void td_pool_close(TDPool **pool);
int  td_pool_threads(const TDPool *pool);

/** Run fn(arg, i, worker) for i in [0,n), worker in [0, threads). @return 0, or ECANCELED with tasks left undone */
int td_parallel(TDPool *pool, int64_t n, void (*fn)(void *arg, int64_t i, int worker), void *arg);

#endif /* TD_THREAD_H */
