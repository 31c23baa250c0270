/* SPDX-License-Identifier: BSD-2-Clause */
#include <pthread.h>
#include <stdlib.h>
#include "base/thread.h"
#include "model/prefetch.h"

struct TDPrefetch {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t change;
    int done;
    TDPart *part;
    const TDDev *beside;

    /* the thread's until done */
    TDDev *dev;                                  /* stays open to the end: closing waits for the GPU's other work */
    TDCancel cancel;                             /* without the caller's callback, which is for its own thread */
    TDLog quiet;
    TDNet view;
    int held;                                    /* 1: loaded here, 0: was there, < 0: not held */
};

static int hold(TDPrefetch *p)
{
    int ret;

    TRY(p->beside->ops->reopen(p->beside, &p->dev, &p->cancel, &p->quiet));
    TRY(p->dev->ops->attach(p->dev));
    ret = td_part_hold(p->part, &p->view, p->dev);
    p->dev->ops->detach(p->dev);
fail:
    return ret;
}

static void *thread_main(void *arg)
{
    TDPrefetch *p = arg;
    int ret = hold(p);

    pthread_mutex_lock(&p->lock);
    p->held = ret;
    p->done = 1;
    pthread_cond_signal(&p->change);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

TDPrefetch *td_prefetch_start(TDPart *part, const TDDev *dev)
{
    TDPrefetch *p = calloc(1, sizeof(*p));

    if (!p)
        return NULL;
    p->part = part;
    p->beside = dev;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->change, NULL);
    if (pthread_create(&p->thread, NULL, thread_main, p) == 0)
        return p;
    pthread_cond_destroy(&p->change);
    pthread_mutex_destroy(&p->lock);
    free(p);
    return NULL;
}

int td_prefetch_wait(TDPrefetch *p, TDCancel *cancel)
{
    int ret = 0;

    pthread_mutex_lock(&p->lock);
    while (!p->done && ret >= 0)
        ret = td_cancel_wait(cancel, &p->change, &p->lock);
    pthread_mutex_unlock(&p->lock);
    return ret;
}

int td_prefetch_end(TDPrefetch **prefetch, TDDev *dev)
{
    TDPrefetch *p = *prefetch;
    int loaded;

    if (!p)
        return 0;
    *prefetch = NULL;
    atomic_store(&p->cancel.flag, 1);
    pthread_join(p->thread, NULL);
    loaded = p->held > 0;
    if (p->held >= 0)
        td_part_release(p->part, dev);
    td_part_view_free(p->part, &p->view);
    if (p->dev)
        p->dev->ops->close(&p->dev);
    pthread_cond_destroy(&p->change);
    pthread_mutex_destroy(&p->lock);
    free(p);
    return loaded;
}
