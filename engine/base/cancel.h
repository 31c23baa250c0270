/* SPDX-License-Identifier: BSD-2-Clause
 * Stopping work that takes long (thread.c). */
#ifndef TD_CANCEL_H
#define TD_CANCEL_H

#include <pthread.h>

struct TDCancel;                                 /* thread.h */

/** Look at the cancel flag and ask the interrupt callback. @return 0 or ECANCELED */
int td_cancel_check(struct TDCancel *c);
/** With lock held: wait for cond, a little while at most, then poll c (may be NULL) without the lock: its callback may
 *  do anything. @return 0 or ECANCELED */
int td_cancel_wait(struct TDCancel *c, pthread_cond_t *cond, pthread_mutex_t *lock);

#endif /* TD_CANCEL_H */
