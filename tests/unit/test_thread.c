/* SPDX-License-Identifier: BSD-2-Clause
 * The pool of workers: every task runs once, and between tasks a flag that is set and a callback that says so end the
 * work. */
#include <errno.h>
#include <time.h>
#include "base/log.h"
#include "base/thread.h"
#include "seam/backend.h"
#include "test.h"

enum { N = 1000 };

typedef struct Work {
    TDCancel *cancel;
    int cancel_at;                               /* this many tasks set the flag; 0: none does */
    atomic_int n_done, ran[N];
} Work;

typedef struct Asked { int n, stop_at; } Asked;

static int ask(void *cookie)
{
    Asked *a = cookie;

    return ++a->n >= a->stop_at;
}

static void task(void *arg, int64_t i, int worker)
{
    Work *w = arg;

    atomic_fetch_add(&w->ran[i], 1);
    if (atomic_fetch_add(&w->n_done, 1) + 1 == w->cancel_at)
        atomic_store(&w->cancel->flag, 1);
    /* the others leave most of the work to the calling thread, however busy the machine is */
    nanosleep(&(struct timespec){ .tv_nsec = worker ? 2000000 : 20000 }, NULL);
}

static void test_threads(int n_threads, TDLog *log)
{
    Asked asked = { 0, 1 << 30 };
    TDCancel cancel = { .interrupt = ask, .cookie = &asked };
    static Work w;
    TDPool *p = NULL;
    int bad = 0;

    w = (Work){ .cancel = &cancel };
    if (!CHECK_INT(td_pool_open(&p, n_threads, &cancel, log), 0))
        return;
    CHECK_INT(td_pool_threads(p), n_threads);
    CHECK_INT(td_parallel(p, N, task, &w), 0);
    for (int i = 0; i < N; i++)
        bad += w.ran[i] != 1;
    CHECK_INT(bad, 0);
    CHECK_INT(td_parallel(p, 0, task, &w), 0);
    CHECK_INT(w.n_done, N);

    /* asked before the first task and after each one of the calling thread; the others end theirs */
    asked = (Asked){ 0, 4 };
    w = (Work){ .cancel = &cancel };
    CHECK_INT(td_parallel(p, N, task, &w), TD_ERR(ECANCELED));
    CHECK_INT(asked.n, 4);
    CHECK(w.n_done >= 3 && w.n_done < N / 2);
    if (n_threads == 1)
        CHECK_INT(w.n_done, 3);
    CHECK_INT(td_parallel(p, N, task, &w), TD_ERR(ECANCELED));   /* until the flag is taken back nothing runs */
    CHECK(w.n_done < N / 2);

    cancel.flag = 0;
    asked = (Asked){ 0, 1 << 30 };
    w = (Work){ .cancel = &cancel, .cancel_at = 5 };
    CHECK_INT(td_parallel(p, N, task, &w), TD_ERR(ECANCELED));
    CHECK(w.n_done >= 5 && w.n_done < 5 + n_threads);
    cancel.flag = 0;
    td_pool_close(&p);
    CHECK(p == NULL);
}

int main(void)
{
    TDLog log = { 0 };

    test_begin("one thread: each task once; interrupted and cancelled between tasks");
    test_threads(1, &log);
    test_begin("three threads: each task once; interrupted and cancelled between tasks");
    test_threads(3, &log);
    return test_end();
}
