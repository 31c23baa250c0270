/* SPDX-License-Identifier: BSD-2-Clause
 * Makes the n-th allocation of the code under test fail. Include it in one file of a test program; the Makefile then
 * links the program with --wrap for malloc, calloc, realloc, posix_memalign and aligned_alloc.
 *
 *   int hit = 1;
 *   for (long n = 1; hit; n++) {
 *       alloc_fail_begin(n);
 *       ret = td_thing_open(&thing, path);
 *       hit = alloc_fail_end();                  // 0 once the whole call makes fewer than n allocations
 *       CHECK_INT(ret, hit ? TD_ERR(ENOMEM) : 0);
 *       td_thing_close(&thing);
 *       CHECK(alloc_fail_leak() == 0);
 *   }
 *
 * 1. Only calls from the program and the static library are seen, not those inside shared libraries.
 * 2. Counting is atomic; which thread's allocation fails is up to the scheduler.
 * 3. Leaks are seen through mallinfo2(), which reports nothing under a sanitizer (it has a leak checker of its own). */
#ifndef ALLOC_FAIL_H
#define ALLOC_FAIL_H

#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
int   __real_posix_memalign(void **p, size_t align, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
int   __wrap_posix_memalign(void **p, size_t align, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);

static atomic_long alloc_fail_left;              /* allocations until the failing one; 0: off */
static atomic_int  alloc_fail_hit;
static size_t      alloc_fail_in_use;

/* The n-th allocation from now on fails, n >= 1. */
static inline void alloc_fail_begin(long n)
{
    alloc_fail_in_use = mallinfo2().uordblks;
    atomic_store(&alloc_fail_hit, 0);
    atomic_store(&alloc_fail_left, n);
}

/* @return 1 if an allocation was made to fail since alloc_fail_begin() */
static inline int alloc_fail_end(void)
{
    atomic_store(&alloc_fail_left, 0);
    return atomic_load(&alloc_fail_hit);
}

/* @return bytes in use beyond those at alloc_fail_begin() */
static inline long alloc_fail_leak(void)
{
    return (long)(mallinfo2().uordblks - alloc_fail_in_use);
}

static int alloc_fail_now(void)
{
    if (atomic_load(&alloc_fail_left) <= 0 || atomic_fetch_sub(&alloc_fail_left, 1) != 1)
        return 0;
    atomic_store(&alloc_fail_hit, 1);
    errno = ENOMEM;
    return 1;
}

void *__wrap_malloc(size_t size)
{
    return alloc_fail_now() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return alloc_fail_now() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return alloc_fail_now() ? NULL : __real_realloc(p, size);
}

int __wrap_posix_memalign(void **p, size_t align, size_t size)
{
    return alloc_fail_now() ? ENOMEM : __real_posix_memalign(p, align, size);
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
    return alloc_fail_now() ? NULL : __real_aligned_alloc(align, size);
}

#endif /* ALLOC_FAIL_H */
