/* SPDX-License-Identifier: BSD-2-Clause
 * Takes the memory of GPU 0 away, as another program would. The driver library is opened here, so that what includes
 * this runs without one; all functions but hog_open() need it to have returned 0. */
#ifndef HOG_H
#define HOG_H

#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>

enum { HOG_MAX = 1 << 14 };

static struct {
    int (*init)(unsigned), (*device)(int *, int), (*retain)(void **, int), (*push)(void *), (*pop)(void **);
    int (*alloc)(uint64_t *, size_t), (*release)(uint64_t), (*info)(size_t *, size_t *);
    int (*create)(void **, unsigned, int), (*destroy)(void *);
    void *context;                               /* the primary one */
    uint64_t held[HOG_MAX];
    int n;
} hog;

static inline int hog_open(void)
{
    static const char *const names[] = { "cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxPushCurrent_v2",
                                         "cuCtxPopCurrent_v2", "cuMemAlloc_v2", "cuMemFree_v2", "cuMemGetInfo_v2",
                                         "cuCtxCreate_v2", "cuCtxDestroy_v2" };
    void *lib = dlopen("libcuda.so.1", RTLD_NOW), **at = (void **)&hog;
    int gpu;

    for (size_t i = 0; lib && i < sizeof(names) / sizeof(*names); i++)
        if (!(at[i] = dlsym(lib, names[i])))
            return -1;
    return lib && !hog.init(0) && !hog.device(&gpu, 0) && !hog.retain(&hog.context, gpu) ? 0 : -1;
}

/* another context on the same GPU, current nowhere. @return 0 or an error */
static inline int hog_context(void **context)
{
    int gpu, ret = hog.device(&gpu, 0);
    void *popped;

    if (!ret && !(ret = hog.create(context, 0, gpu)))
        ret = hog.pop(&popped);
    return ret;
}

static inline size_t hog_free_bytes(void)
{
    size_t available = 0, total;
    void *popped;

    hog.push(hog.context);
    hog.info(&available, &total);
    hog.pop(&popped);
    return available;
}

/* All but `leave` bytes; 0: also what is left of pieces that the driver cuts small allocations of this context from */
static inline void hog_take(size_t leave)
{
    static const size_t pieces[] = { (size_t)1 << 30, (size_t)1 << 26, (size_t)1 << 21, 1 << 16, 1 << 12 };
    void *popped;

    hog.push(hog.context);
    for (size_t i = 0; i < sizeof(pieces) / sizeof(*pieces) && !(leave && pieces[i] < 1 << 21); i++) {
        size_t available = 0, total;

        while (hog.n < HOG_MAX) {
            if (leave && (hog.info(&available, &total) || available < leave + pieces[i]))
                break;
            if (hog.alloc(&hog.held[hog.n], pieces[i]))
                break;
            hog.n++;
        }
    }
    hog.pop(&popped);
}

static inline void hog_let_go(void)
{
    void *popped;

    hog.push(hog.context);
    while (hog.n > 0)
        hog.release(hog.held[--hog.n]);
    hog.pop(&popped);
}

#endif /* HOG_H */
