// SPDX-License-Identifier: BSD-2-Clause
// For LD_PRELOAD: a machine that is not at its best. The environment says how:
// TD_TEST_SLOW=FOLDER/    whoever opens a file there, or gives one another name, is kept for three seconds
// TD_TEST_NO_THREAD=N     the Nth thread that the process asks for is not to be had
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void keep(const char *path)
{
    const char *folder = getenv("TD_TEST_SLOW");

    if (folder && !strncmp(path, folder, strlen(folder)))
        nanosleep(&(struct timespec){ 3, 0 }, NULL);
}

int rename(const char *from, const char *to)
{
    keep(to);
    return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int open(const char *path, int flags, ...)
{
    int mode = 0;

    if (flags & O_CREAT) {
        va_list args;

        va_start(args, flags);
        mode = va_arg(args, int);
        va_end(args);
    }
    keep(path);
    return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) __attribute__((alias("open")));

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
    typedef int Create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    static atomic_int n_asked;
    const char *nth = getenv("TD_TEST_NO_THREAD");
    Create *create = (Create *)dlsym(RTLD_NEXT, "pthread_create");
    int n = ++n_asked;

    return nth && atoi(nth) == n ? EAGAIN : create(thread, attr, run, arg);
}
