/* SPDX-License-Identifier: BSD-2-Clause
 * Invariants
 *  1. Workers sleep on `wake` until `generation` changes, then take task numbers from `next` until none is left.
 *  2. td_parallel() returns only after every worker that took part has left the task loop (`n_running` is 0),
 *     so the job's fields and the caller's data outlive their readers. */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>
#include "base/thread.h"

#define POLL_NS 20000000                         /* between two looks at the cancel flag */

struct TDPool {
    pthread_mutex_t lock;
    pthread_cond_t wake, idle;
    pthread_t threads[TD_MAX_THREADS];
    struct Worker { struct TDPool *pool; int index; } workers[TD_MAX_THREADS];
    int n_threads, n_started;
    unsigned generation;
    int n_running, quit;
    void (*fn)(void *arg, int64_t i, int worker);
    void *arg;
    int64_t n;
    atomic_llong next;
    TDCancel *cancel;
};

int td_cancel_check(TDCancel *c)
{
    if (!atomic_load_explicit(&c->flag, memory_order_relaxed) && c->interrupt && c->interrupt(c->cookie))
        atomic_store(&c->flag, 1);
    return atomic_load_explicit(&c->flag, memory_order_relaxed) ? TD_ERR(ECANCELED) : 0;
}

int td_cancel_wait(TDCancel *c, pthread_cond_t *cond, pthread_mutex_t *lock)
{
    struct timespec t;
    int ret;

    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_nsec += POLL_NS;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    pthread_cond_timedwait(cond, lock, &t);
    pthread_mutex_unlock(lock);
    ret = c ? td_cancel_check(c) : 0;
    pthread_mutex_lock(lock);
    return ret;
}

static void run_tasks(TDPool *p, int worker)
{
    long long i;

    while ((i = atomic_fetch_add(&p->next, 1)) < p->n) {
        if (atomic_load_explicit(&p->cancel->flag, memory_order_relaxed))
            continue;
        p->fn(p->arg, i, worker);
        if (worker == 0)
            td_cancel_check(p->cancel);
    }
}

static void *worker_main(void *arg)
{
    struct Worker *w = arg;
    TDPool *p = w->pool;
    unsigned seen = 0;

    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (p->generation == seen && !p->quit)
            pthread_cond_wait(&p->wake, &p->lock);
        if (p->quit)
            break;
        seen = p->generation;
        pthread_mutex_unlock(&p->lock);
        run_tasks(p, w->index);
        pthread_mutex_lock(&p->lock);
        if (--p->n_running == 0)
            pthread_cond_signal(&p->idle);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

int td_parallel(TDPool *p, int64_t n, void (*fn)(void *arg, int64_t i, int worker), void *arg)
{
    int ret = td_cancel_check(p->cancel);

    if (ret < 0)
        return ret;
    p->fn = fn;
    p->arg = arg;
    p->n = n;
    if (n <= 1 || p->n_started == 0) {
        atomic_store(&p->next, 0);
        run_tasks(p, 0);
    } else {
        pthread_mutex_lock(&p->lock);
        atomic_store(&p->next, 0);
        p->n_running = p->n_started;
        p->generation++;
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->lock);
        run_tasks(p, 0);
        pthread_mutex_lock(&p->lock);
        while (p->n_running > 0)
            pthread_cond_wait(&p->idle, &p->lock);
        pthread_mutex_unlock(&p->lock);
    }
    return td_cancel_check(p->cancel);
}

int td_pool_open(TDPool **pool, int n_threads, TDCancel *cancel, TDLog *log)
{
    cpu_set_t set;
    TDPool *p;

    *pool = NULL;
    if (n_threads < 0 || n_threads > TD_MAX_THREADS)
        return td_error(log, EINVAL, "pool: %d threads, want 0 to %d", n_threads, TD_MAX_THREADS);
    if (n_threads == 0) {
        n_threads = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
        n_threads = n_threads > TD_MAX_THREADS ? TD_MAX_THREADS : n_threads;
    }
    p = calloc(1, sizeof(*p));
    if (!p)
        return td_error(log, ENOMEM, "thread pool: out of memory");
    p->n_threads = n_threads;
    p->cancel = cancel;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->idle, NULL);
    *pool = p;
    for (int i = 1; i < n_threads; i++) {
        p->workers[i] = (struct Worker){ p, i };
        if (pthread_create(&p->threads[i], NULL, worker_main, &p->workers[i]) != 0) {
            td_pool_close(pool);
            return td_error(log, ENOMEM, "thread pool: cannot start thread %d of %d", i + 1, n_threads);
        }
        p->n_started++;
    }
    return 0;
}

void td_pool_close(TDPool **pool)
{
    TDPool *p = *pool;

    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->quit = 1;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    for (int i = 1; i <= p->n_started; i++)
        pthread_join(p->threads[i], NULL);
    pthread_cond_destroy(&p->idle);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    free(p);
    *pool = NULL;
}

int td_pool_threads(const TDPool *p)
{
    return p->n_threads;
}
