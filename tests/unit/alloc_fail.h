/* SPDX-License-Identifier: BSD-2-Clause
 * Makes the n-th allocation of the code under test fail. Include it in one file of a test program; the Makefile then
 * links the program with --wrap for malloc, calloc, realloc, posix_memalign, aligned_alloc, free, strdup and
 * pthread_create, which counts as an allocation too.
 *
 *   int hit = 1;
 *   for (long n = 1; hit; n++) {
 *       alloc_fail_begin(n);
 *       ret = td_thing_open(&thing, path);
 *       hit = alloc_fail_end();                  // 0 once the whole call makes fewer than n allocations
 *       CHECK_INT(ret, hit ? TD_ERR(ENOMEM) : 0);
 *       td_thing_close(&thing);
 *       CHECK_INT(alloc_fail_leak(), 0);
 *   }
 *
 * 1. Only calls from the program and the static library are seen, not those inside shared libraries.
 * 2. Counting is atomic; which thread's allocation fails is up to the scheduler.
 * 3. Leaks are blocks that the program allocated after alloc_fail_begin() and has not freed. */
#ifndef ALLOC_FAIL_H
#define ALLOC_FAIL_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
int   __real_posix_memalign(void **p, size_t align, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
void  __real_free(void *p);
int   __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
int   __wrap_posix_memalign(void **p, size_t align, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
void  __wrap_free(void *p);
char *__wrap_strdup(const char *s);
int   __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg);

#define ALLOC_FAIL_MAX (1 << 14)

static atomic_long alloc_fail_left;              /* allocations until the failing one; 0: off */
static atomic_int  alloc_fail_hit;
static pthread_t   alloc_fail_thread;            /* whose allocation it was */
static pthread_mutex_t alloc_fail_lock = PTHREAD_MUTEX_INITIALIZER;
static void *alloc_fail_live[ALLOC_FAIL_MAX];    /* blocks allocated since alloc_fail_begin() */
static int   alloc_fail_n_live;

/* The n-th allocation from now on fails, n >= 1. */
static inline void alloc_fail_begin(long n)
{
    alloc_fail_n_live = 0;
    atomic_store(&alloc_fail_hit, 0);
    atomic_store(&alloc_fail_left, n);
}

/* @return 1 if an allocation was made to fail since alloc_fail_begin() */
static inline int alloc_fail_end(void)
{
    atomic_store(&alloc_fail_left, 0);
    return atomic_load(&alloc_fail_hit);
}

/* @return 1 if the allocation that failed was the calling thread's; ask after alloc_fail_end() */
static inline int alloc_fail_here(void)
{
    return pthread_equal(alloc_fail_thread, pthread_self());
}

/* @return number of blocks allocated since alloc_fail_begin() and not freed */
static inline int alloc_fail_leak(void)
{
    return alloc_fail_n_live;
}

static void *alloc_fail_track(void *p)
{
    pthread_mutex_lock(&alloc_fail_lock);
    if (p && alloc_fail_n_live < ALLOC_FAIL_MAX)
        alloc_fail_live[alloc_fail_n_live++] = p;
    pthread_mutex_unlock(&alloc_fail_lock);
    return p;
}

/* p: may be gone already, only its value counts */
static void alloc_fail_untrack(uintptr_t p)
{
    pthread_mutex_lock(&alloc_fail_lock);
    for (int i = alloc_fail_n_live - 1; i >= 0; i--)
        if ((uintptr_t)alloc_fail_live[i] == p) {
            alloc_fail_live[i] = alloc_fail_live[--alloc_fail_n_live];
            break;
        }
    pthread_mutex_unlock(&alloc_fail_lock);
}

static int alloc_fail_now(void)
{
    if (atomic_load(&alloc_fail_left) <= 0 || atomic_fetch_sub(&alloc_fail_left, 1) != 1)
        return 0;
    alloc_fail_thread = pthread_self();
    atomic_store(&alloc_fail_hit, 1);
    errno = ENOMEM;
    return 1;
}

void *__wrap_malloc(size_t size)
{
    return alloc_fail_now() ? NULL : alloc_fail_track(__real_malloc(size));
}

void *__wrap_calloc(size_t n, size_t size)
{
    return alloc_fail_now() ? NULL : alloc_fail_track(__real_calloc(n, size));
}

void *__wrap_realloc(void *p, size_t size)
{
    uintptr_t old = (uintptr_t)p;
    void *grown = alloc_fail_now() ? NULL : __real_realloc(p, size);

    if (grown) {
        alloc_fail_untrack(old);
        alloc_fail_track(grown);
    }
    return grown;
}

int __wrap_posix_memalign(void **p, size_t align, size_t size)
{
    int ret = alloc_fail_now() ? ENOMEM : __real_posix_memalign(p, align, size);

    if (!ret)
        alloc_fail_track(*p);
    return ret;
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
    return alloc_fail_now() ? NULL : alloc_fail_track(__real_aligned_alloc(align, size));
}

void __wrap_free(void *p)
{
    alloc_fail_untrack((uintptr_t)p);
    __real_free(p);
}

char *__wrap_strdup(const char *s)
{
    size_t n = strlen(s) + 1;
    char *copy = __wrap_malloc(n);

    return copy ? memcpy(copy, s, n) : NULL;
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg)
{
    return alloc_fail_now() ? EAGAIN : __real_pthread_create(thread, attr, start, arg);
}

#endif /* ALLOC_FAIL_H */
