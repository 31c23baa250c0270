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

#define N_SLICES TD_LOAD_LANES                   /* and threads */
#define SLICE_BYTES (2 * TD_STAGING_BYTES / N_SLICES)
#define N_JOBS 16                                /* 64 MB ahead */

static_assert(TD_STAGING_BYTES % SLICE_BYTES == 0, "a slice lies in one half of the staging memory");
static_assert(SLICE_BYTES >= TD_PIECE_BYTES, "a slice holds a piece");

struct Job {
    void *dst;
    const void *src;
    size_t bytes;
    void *own;                                   /* src, if it is to be freed */
    TDPiece piece;                               /* rows > 0: in place of the others */
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
    cudaStream_t stream[N_SLICES];               /* of each thread: its lane is used up before it is filled */
    cudaEvent_t free_again[N_SLICES];
};

/* from the file mapping: the kernel brings all pages at once */
static void fill(uint8_t *slice, const void *src, size_t bytes, bool mapped)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), start = (uintptr_t)src & ~(page - 1);

    if (mapped)
        madvise((void *)start, (uintptr_t)src + bytes - start, MADV_POPULATE_READ);
    memcpy(slice, src, bytes);
}

/* what lies in the lane, to where its values go */
static cudaError_t make_values(cudaStream_t stream, const TDPiece *p, uint8_t *lane)
{
    const uint8_t *scales = lane + td_piece_pad(p->bytes);
    uint8_t *values = lane + td_piece_pad(p->bytes) + td_piece_pad(p->scale_bytes);
    cudaError_t e = cudaSuccess;

    if (p->want != TD_I8)
        return td_cuda_widen(stream, p, lane, scales, p->dst);
    if (p->dtype == TD_BF16)
        values = lane;
    else
        e = td_cuda_widen(stream, p, lane, scales, values);
    return e == cudaSuccess ? td_cuda_launch_quantise(stream, (const bf16 *)values, p->rows, p->k, (int8_t *)p->dst,
                                                      p->dst_scale)
                            : e;
}

static cudaError_t copy_slice(TDCuda *c, int i, const Job *job)
{
    TDLoader *l = c->loader;
    uint8_t *slice = c->staging[i * SLICE_BYTES / TD_STAGING_BYTES].data + i * SLICE_BYTES % TD_STAGING_BYTES;
    const TDPiece *p = &job->piece;
    uint8_t *dst = p->rows ? (uint8_t *)p->scratch + (size_t)i * p->lane : (uint8_t *)job->dst;
    size_t bytes = job->bytes;
    cudaError_t e = cudaEventSynchronize(l->free_again[i]);

    if (e != cudaSuccess)
        return e;
    if (!p->rows) {
        fill(slice, job->src, bytes, !job->own);
    } else {
        bytes = p->scale_bytes ? td_piece_pad(p->bytes) + p->scale_bytes : p->bytes;
        fill(slice, p->src, p->bytes, true);
        if (p->scale_bytes)
            fill(slice + td_piece_pad(p->bytes), p->scales, p->scale_bytes, p->group);
    }
    e = cudaMemcpyAsync(dst, slice, bytes, cudaMemcpyHostToDevice, l->stream[i]);
    e = e == cudaSuccess ? cudaEventRecord(l->free_again[i], l->stream[i]) : e;
    return e == cudaSuccess && p->rows ? make_values(l->stream[i], p, dst) : e;
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
        for (cudaStream_t &stream : l->stream)
            CU(&c->dev, cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
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

/* takes job->own, also where it fails */
static int queue(TDDev *dev, const Job *job)
{
    TDLoader *l = td_cuda(dev)->loader;
    int ret = 0;

    pthread_mutex_lock(&l->lock);
    while (l->n_jobs == N_JOBS && (ret = td_cancel_wait(dev->cancel, &l->less, &l->lock)) >= 0)
        ;
    if (ret >= 0) {
        l->jobs[(l->first + l->n_jobs++) % N_JOBS] = *job;
        pthread_cond_signal(&l->more);
    }
    pthread_mutex_unlock(&l->lock);
    if (ret < 0)
        free(job->own);
    return ret;
}

int td_cuda_load(TDDev *dev, const TDWeights *w, void *dst, const void *src, size_t bytes, int keep)
{
    int ret;

    if (!w->deferred)
        return td_cuda_copy_in(dev, dst, src, bytes);
    TRY(start(td_cuda(dev)));
    for (size_t at = 0; at < bytes; at += SLICE_BYTES) {
        Job job = {};

        job.dst = (uint8_t *)dst + at;
        job.src = (const uint8_t *)src + at;
        job.bytes = bytes - at < SLICE_BYTES ? bytes - at : SLICE_BYTES;
        if (!keep) {
            job.own = malloc(job.bytes);
            if (!job.own)
                return td_error(dev->log, ENOMEM, "cuda: out of memory");
            job.src = memcpy(job.own, job.src, job.bytes);
        }
        TRY(queue(dev, &job));
    }
fail:
    return ret;
}

int td_cuda_load_values(TDDev *dev, const TDWeights *w, const TDPiece *piece)
{
    uint8_t *lane = (uint8_t *)piece->scratch;
    Job job = {};
    int ret;

    if (w->deferred) {
        TRY(start(td_cuda(dev)));
        job.piece = *piece;
        return queue(dev, &job);
    }
    TRY(td_cuda_copy_in(dev, lane, piece->src, piece->bytes));
    if (piece->scale_bytes)
        TRY(td_cuda_copy_in(dev, lane + td_piece_pad(piece->bytes), piece->scales, piece->scale_bytes));
    CU(dev, make_values(td_cuda(dev)->stream, piece, lane));
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
    for (cudaStream_t stream : l->stream)
        CU(dev, cudaStreamSynchronize(stream));
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
    for (cudaStream_t stream : l->stream)
        if (stream)
            cudaStreamDestroy(stream);
    pthread_cond_destroy(&l->less);
    pthread_cond_destroy(&l->more);
    pthread_mutex_destroy(&l->lock);
    free(l);
    c->loader = NULL;
}
