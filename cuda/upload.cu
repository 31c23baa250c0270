/* SPDX-License-Identifier: BSD-2-Clause */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
extern "C" {
#include "base/cancel.h"
}
#include "context.h"
#include "upload.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22                    /* Linux 5.14; an older kernel refuses it and pages come one by one */
#endif

#define N_SLICES 8                               /* and threads: enough for the bus at 4 GB/s a thread */
#define SLICE_BYTES (2 * TD_STAGING_BYTES / N_SLICES)
#define N_JOBS 16                                /* 128 MB ahead */

static_assert(TD_STAGING_BYTES % SLICE_BYTES == 0, "a slice lies in one half of the staging memory");

struct Job {
    void *dst;
    const void *src;
    size_t bytes;
    void *own;                                   /* src, if it is to be freed */
};

struct LoadThread {
    TDCuda *cuda;
    int index;
    pthread_t thread;
};

struct TDLoader {
    pthread_mutex_t lock;
    pthread_cond_t more, less;                   /* jobs in the queue; less: or none under way */
    Job jobs[N_JOBS];
    int first, n_jobs, n_busy, quit;
    cudaError_t failed;
    LoadThread threads[N_SLICES];
    int n_threads;
    cudaStream_t stream;
    cudaEvent_t free_again[N_SLICES];
};

static cudaError_t copy_slice(TDCuda *c, int i, const Job *job)
{
    TDLoader *l = c->loader;
    uint8_t *slice = c->staging[i * SLICE_BYTES / TD_STAGING_BYTES].data + i * SLICE_BYTES % TD_STAGING_BYTES;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), start = (uintptr_t)job->src & ~(page - 1);
    cudaError_t e = cudaEventSynchronize(l->free_again[i]);

    if (e != cudaSuccess)
        return e;
    if (!job->own)
        madvise((void *)start, (uintptr_t)job->src + job->bytes - start, MADV_POPULATE_READ);
    memcpy(slice, job->src, job->bytes);
    e = cudaMemcpyAsync(job->dst, slice, job->bytes, cudaMemcpyHostToDevice, l->stream);
    return e == cudaSuccess ? cudaEventRecord(l->free_again[i], l->stream) : e;
}

static void *thread_main(void *arg)
{
    LoadThread *t = (LoadThread *)arg;
    TDLoader *l = t->cuda->loader;
    cudaError_t e = td_cuda_push(&t->cuda->dev);

    pthread_mutex_lock(&l->lock);
    if (e != cudaSuccess)
        l->failed = e;
    for (;;) {
        Job job;

        while (!l->n_jobs && !l->quit)
            pthread_cond_wait(&l->more, &l->lock);
        if (!l->n_jobs)
            break;
        job = l->jobs[l->first];
        l->first = (l->first + 1) % N_JOBS;
        l->n_jobs--;
        l->n_busy++;
        e = l->failed;
        pthread_mutex_unlock(&l->lock);
        if (e == cudaSuccess)
            e = copy_slice(t->cuda, t->index, &job);
        free(job.own);
        pthread_mutex_lock(&l->lock);
        l->n_busy--;
        if (e != cudaSuccess)
            l->failed = e;
        pthread_cond_signal(&l->less);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* memory, once a context; threads, unless they are at work */
static int start(TDCuda *c)
{
    TDLoader *l = c->loader;

    if (!l) {
        l = (TDLoader *)calloc(1, sizeof(*l));
        if (!l)
            return td_error(c->dev.log, ENOMEM, "cuda: out of memory");
        pthread_mutex_init(&l->lock, NULL);
        pthread_cond_init(&l->more, NULL);
        pthread_cond_init(&l->less, NULL);
        c->loader = l;                           /* what follows is undone by td_cuda_loader_free() */
        CU(&c->dev, cudaStreamCreateWithFlags(&l->stream, cudaStreamNonBlocking));
        for (int i = 0; i < N_SLICES; i++)
            CU(&c->dev, cudaEventCreateWithFlags(&l->free_again[i], cudaEventDisableTiming));
    }
    if (l->n_threads)
        return 0;
    for (cudaEvent_t e : c->staged)                  /* the stream may still read the staging memory */
        CU(&c->dev, cudaEventSynchronize(e));
    l->quit = 0;
    l->failed = cudaSuccess;
    for (int i = 0; i < N_SLICES; i++) {
        l->threads[i].cuda = c;
        l->threads[i].index = i;
        if (pthread_create(&l->threads[i].thread, NULL, thread_main, &l->threads[i]) != 0)
            break;
        l->n_threads++;
    }
    return l->n_threads ? 0 : td_error(c->dev.log, ENOMEM, "cuda: cannot start a thread to load weights");
}

int td_cuda_load(TDDev *dev, const TDWeights *w, void *dst, const void *src, size_t bytes, int keep)
{
    TDCuda *c = td_cuda(dev);
    TDLoader *l;
    int ret;

    if (!w->deferred)
        return td_cuda_copy_in(dev, dst, src, bytes);
    TRY(start(c));
    l = c->loader;
    for (size_t at = 0; at < bytes; at += SLICE_BYTES) {
        Job job = { (uint8_t *)dst + at, (const uint8_t *)src + at, bytes - at < SLICE_BYTES ? bytes - at : SLICE_BYTES,
                    NULL };

        if (!keep) {
            job.own = malloc(job.bytes);
            if (!job.own)
                return td_error(dev->log, ENOMEM, "cuda: out of memory");
            job.src = memcpy(job.own, job.src, job.bytes);
        }
        pthread_mutex_lock(&l->lock);
        while (l->n_jobs == N_JOBS && (ret = td_cancel_wait(dev->cancel, &l->less, &l->lock)) >= 0)
            ;
        if (ret >= 0) {
            l->jobs[(l->first + l->n_jobs++) % N_JOBS] = job;
            pthread_cond_signal(&l->more);
        }
        pthread_mutex_unlock(&l->lock);
        if (ret < 0) {
            free(job.own);
            return ret;
        }
    }
fail:
    return ret;
}

int td_cuda_load_end(TDDev *dev, bool drop)
{
    TDCuda *c = td_cuda(dev);
    TDLoader *l = c->loader;
    int ret = 0;

    if (!l || !l->n_threads)
        return 0;
    pthread_mutex_lock(&l->lock);
    while (!drop && ret >= 0 && l->n_jobs + l->n_busy > 0)
        ret = td_cancel_wait(dev->cancel, &l->less, &l->lock);
    for (; l->n_jobs > 0; l->n_jobs--) {         /* none but when dropped or canceled */
        free(l->jobs[l->first].own);
        l->first = (l->first + 1) % N_JOBS;
    }
    l->quit = 1;
    pthread_cond_broadcast(&l->more);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->n_threads; i++)
        pthread_join(l->threads[i].thread, NULL);
    l->n_threads = 0;
    CU(dev, cudaStreamSynchronize(l->stream));
    if (!drop)
        CU(dev, l->failed);
    return ret;
}

void td_cuda_loader_free(TDCuda *c)
{
    TDLoader *l = c->loader;

    if (!l)
        return;
    td_cuda_load_end(&c->dev, true);
    for (int i = 0; i < N_SLICES; i++)
        if (l->free_again[i])
            cudaEventDestroy(l->free_again[i]);
    if (l->stream)
        cudaStreamDestroy(l->stream);
    pthread_cond_destroy(&l->less);
    pthread_cond_destroy(&l->more);
    pthread_mutex_destroy(&l->lock);
    free(l);
    c->loader = NULL;
}
