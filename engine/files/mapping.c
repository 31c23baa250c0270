/* SPDX-License-Identifier: BSD-2-Clause
 * Where a mapped file has become shorter, or cannot be read, the kernel answers a read with SIGBUS. A handler of the
 * process puts zeros there, from the page that was read to the end of the mapping, and leaves a mark in its slot.
 *
 * Invariants
 *  1. The handler takes no lock and no memory. It acts on addresses in the table alone; any other SIGBUS goes to the
 *     handler that was there before, or ends the process as it would have.
 *  2. It is installed while at least one file is mapped. It is taken out when the last one goes, unless another handler
 *     stands before it by then: that one may call it at any time, so it stays and passes everything on.
 *  3. A slot names memory from before anyone reads it until after anyone does. The table is the only state of the
 *     process beside the list in part.c: a signal has no context. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/io.h"
#include "files/mapping.h"

#define N_SLOTS 1024                             /* files mapped at a time, of all contexts */

static struct {
    pthread_mutex_t lock;                        /* of all but what the handler reads */
    int n_used, installed;
    struct sigaction before;
    uintptr_t page;
    struct {
        _Atomic uintptr_t begin, end;            /* whole pages; end is 0 where the slot is free */
        atomic_int lost;                         /* zeros have been put there */
    } slots[N_SLOTS];
} guard = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* ---- the handler ---- */

static void pass_on(int sig, siginfo_t *info, void *context)
{
    struct sigaction to_default = { .sa_handler = SIG_DFL };

    if (guard.before.sa_flags & SA_SIGINFO) {
        guard.before.sa_sigaction(sig, info, context);
    } else if (guard.before.sa_handler != SIG_DFL && guard.before.sa_handler != SIG_IGN) {
        guard.before.sa_handler(sig);
    } else if (info->si_code > 0 || guard.before.sa_handler == SIG_DFL) {
        sigaction(sig, &to_default, NULL);       /* the read is made again when this returns, and ends the process */
        if (info->si_code <= 0)
            raise(sig);                          /* it was sent by a program */
    }
}

static void on_bus_error(int sig, siginfo_t *info, void *context)
{
    uintptr_t at = (uintptr_t)info->si_addr, page = at & ~(guard.page - 1);
    int saved = errno;

    for (int i = 0; i < N_SLOTS && info->si_code > 0; i++) {
        uintptr_t begin = atomic_load(&guard.slots[i].begin), end = atomic_load(&guard.slots[i].end);

        if (at < begin || at >= end)
            continue;
        atomic_store(&guard.slots[i].lost, 1);
        if (mmap((void *)page, end - page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
            break;
        errno = saved;
        return;
    }
    pass_on(sig, info, context);
    errno = saved;
}

/* ---- the table ---- */

static int install(void)
{
    struct sigaction a = { .sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_ONSTACK };

    guard.page = (uintptr_t)sysconf(_SC_PAGESIZE);
    sigemptyset(&a.sa_mask);
    if (guard.installed)
        return 0;
    if (sigaction(SIGBUS, NULL, &guard.before) < 0 || sigaction(SIGBUS, &a, NULL) < 0)
        return -1;
    guard.installed = 1;
    return 0;
}

static void uninstall(void)
{
    struct sigaction now;

    if (sigaction(SIGBUS, NULL, &now) < 0 || !(now.sa_flags & SA_SIGINFO) || now.sa_sigaction != on_bus_error)
        return;
    sigaction(SIGBUS, &guard.before, NULL);
    guard.installed = 0;
}

/* @return the slot, -1 if there is none */
static int take_slot(const TDMapping *m)
{
    int i = 0;

    pthread_mutex_lock(&guard.lock);
    while (i < N_SLOTS && atomic_load(&guard.slots[i].end))
        i++;
    if (i == N_SLOTS || install() < 0) {
        i = -1;
    } else {
        guard.n_used++;
        atomic_store(&guard.slots[i].lost, 0);
        atomic_store(&guard.slots[i].begin, (uintptr_t)m->data);
        atomic_store(&guard.slots[i].end, ((uintptr_t)m->data + m->size + guard.page - 1) & ~(guard.page - 1));
    }
    pthread_mutex_unlock(&guard.lock);
    return i;
}

static void free_slot(int i)
{
    pthread_mutex_lock(&guard.lock);
    atomic_store(&guard.slots[i].end, 0);
    if (--guard.n_used == 0)
        uninstall();
    pthread_mutex_unlock(&guard.lock);
}

/* ---- files ---- */

int td_map_file(TDMappedFile *f, const char *path, TDLog *log)
{
    struct stat st;
    void *data;
    int ret;

    *f = (TDMappedFile){ .fd = td_open_regular(path, "a weight file", &st, log), .slot = -1 };
    if (f->fd < 0)
        return f->fd;
    if (st.st_size <= 0 || (uint64_t)st.st_size > PTRDIFF_MAX) {
        ret = td_error(log, EBADMSG, "%s: %lld bytes, want a weight file", path, (long long)st.st_size);
        goto fail;
    }
    if (!(f->path = strdup(path))) {
        ret = td_error(log, ENOMEM, "%s: out of memory", path);
        goto fail;
    }
    data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, f->fd, 0);
    if (data == MAP_FAILED) {
        int err = errno;

        ret = td_error(log, err == ENOMEM || err == EAGAIN ? ENOMEM : EBADMSG, "%s: cannot map %lld bytes: %s", path,
                       (long long)st.st_size, strerror(err));
        goto fail;
    }
    f->map = (TDMapping){ .data = data, .size = (size_t)st.st_size };
    f->device = st.st_dev;
    f->inode = st.st_ino;
    f->seconds = st.st_mtim.tv_sec;
    f->nanoseconds = st.st_mtim.tv_nsec;
    f->slot = take_slot(&f->map);
    if (f->slot < 0) {
        ret = td_error(log, ENOMEM, "%s: more than %d weight files are open", path, N_SLOTS);
        goto fail;
    }
    return 0;
fail:
    td_map_close(f);
    return ret;
}

void td_map_close(TDMappedFile *f)
{
    if (f->slot >= 0 && f->map.data)
        free_slot(f->slot);
    if (f->map.data)
        munmap((void *)f->map.data, f->map.size);
    if (f->fd >= 0)
        close(f->fd);
    free(f->path);
    *f = (TDMappedFile){ .fd = -1, .slot = -1 };
}

int td_map_check(const TDMappedFile *f, TDLog *log)
{
    static const char advice[] = "while it was in use; to replace such a file, rename a new one to its name";
    struct stat st;

    if (fstat(f->fd, &st) < 0)
        return td_error(log, EBADMSG, "%s: cannot be looked at: %s", f->path, strerror(errno));
    if ((uint64_t)st.st_size != f->map.size)
        return td_error(log, EBADMSG, "%s: went from %zu to %lld bytes %s", f->path, f->map.size, (long long)st.st_size,
                        advice);
    if (atomic_load(&guard.slots[f->slot].lost))
        return td_error(log, EBADMSG, "%s: became shorter or unreadable %s", f->path, advice);
    if (st.st_mtim.tv_sec != f->seconds || st.st_mtim.tv_nsec != f->nanoseconds)
        return td_error(log, EBADMSG, "%s: was written to %s", f->path, advice);
    return 0;
}

int td_map_same(const TDMappedFile *a, const TDMappedFile *b)
{
    return a->device == b->device && a->inode == b->inode && a->map.size == b->map.size && a->seconds == b->seconds &&
           a->nanoseconds == b->nanoseconds;
}
