/* SPDX-License-Identifier: BSD-2-Clause
 * All kernels come into a context when the device is opened. Left to itself, the driver loads each one when it is first
 * launched, and a launch that finds no memory for that may end the context, which may be the caller's.
 *
 * Invariants
 *  1. Every file that has kernels is in the list; the driver knows the other kernels of a file.
 *  2. Nothing is loaded where less than TDCaps.reserve is free: no clip could start there, either.
 *  3. In a context that has them, it takes no memory: further handles open however little is left.
 *  4. Dynamic shared memory is what a file's list says: it is checked against the GPU here, before anything is
 *     computed, and every launch asks td_cuda_shared() for it. */
#include <cuda.h>
#include <stdlib.h>
#include "device.h"

#define STACK_BYTES 256                          /* of a thread; the kernels need up to 176 */

#define LISTED(file) td_cuda_in_##file,
static TDKernels (*const files[])(void) = { TD_KERNEL_FILES(LISTED) };

/* of CUDA 12.4 */
struct Calls {
    CUresult (*module)(CUmodule *, CUfunction), (*count)(unsigned *, CUmodule);
    CUresult (*list)(CUfunction *, unsigned, CUmodule), (*state)(CUfunctionLoadingState *, CUfunction);
    CUresult (*load)(CUfunction);
};

static bool look_up(const char *name, void **function)
{
    cudaDriverEntryPointQueryResult found;
    cudaError_t e = cudaGetDriverEntryPointByVersion(name, function, 12040, cudaEnableDefault, &found);

    cudaGetLastError();                          /* an older driver is none */
    return e == cudaSuccess && found == cudaDriverEntryPointSuccess;
}

static bool look_up_all(Calls *d)
{
    return look_up("cuFuncGetModule", (void **)&d->module) && look_up("cuModuleGetFunctionCount", (void **)&d->count) &&
           look_up("cuModuleEnumerateFunctions", (void **)&d->list) &&
           look_up("cuFuncIsLoaded", (void **)&d->state) && look_up("cuFuncLoad", (void **)&d->load);
}

/* a launch makes room for the stacks of all threads that the GPU holds at once, and keeps it */
__global__ void stack_kernel(int i)
{
    volatile int stack[STACK_BYTES / sizeof(int)];

    stack[i] = i;
}

static int load_error(TDDev *dev, cudaError_t e, int line)
{
    if (e != cudaErrorNoKernelImageForDevice && e != cudaErrorInvalidDeviceFunction &&
        e != cudaErrorUnsupportedPtxVersion)
        return td_cuda_error(dev, e, "loading kernels", __FILE__, line);
    cudaGetLastError();
    return td_error(dev->log, ENOTSUP, "cuda: libturbodiff-cuda.so has no code for %s; it takes a build with "
                    "--cuda-arch=%d", dev->name, td_cuda(dev)->card.sm);
}

#define LOADING(call) do { \
        cudaError_t e_ = (cudaError_t)(call);    /* codes of the driver are those of the runtime */ \
        if (e_ != cudaSuccess) { ret = load_error(dev, e_, __LINE__); goto fail; } } while (0)

/* memory for all kernels is there, and the stacks have theirs */
static int make_room(TDDev *dev)
{
    size_t available = 0, total = 0, want = (size_t)dev->caps.reserve;

    CU(dev, cudaMemGetInfo(&available, &total));
    if (available < want)
        return td_error(dev->log, ENOMEM,
                        "cuda: %zu bytes for kernels and their stacks wanted, %zu free of %zu: %zu short", want,
                        available, total, want - available);
    stack_kernel<<<1, 1, 0, td_cuda(dev)->stream>>>(0);
    CU_LAUNCHED(dev, "stack_kernel");
    CU(dev, cudaStreamSynchronize(td_cuda(dev)->stream));
    return 0;
}

/* all kernels of the file that has this one */
static int load_file(TDDev *dev, const Calls *d, const void *kernel, unsigned *n_kernels, unsigned *n_loaded)
{
    CUfunction *functions = NULL;
    cudaFunction_t first;
    CUmodule module;
    unsigned n = 0;
    int ret = 0;

    LOADING(cudaGetFuncBySymbol(&first, kernel));
    LOADING(d->module(&module, first));
    LOADING(d->count(&n, module));
    functions = (CUfunction *)calloc(n, sizeof(*functions));
    if (!functions) {
        ret = td_error(dev->log, ENOMEM, "cuda: out of memory");
        goto fail;
    }
    LOADING(d->list(functions, n, module));
    for (unsigned i = 0; i < n; i++) {
        CUfunctionLoadingState state;

        LOADING(d->state(&state, functions[i]));
        if (state == CU_FUNCTION_LOADING_STATE_LOADED)
            continue;
        if (!*n_loaded)
            TRY(make_room(dev));
        LOADING(d->load(functions[i]));
        ++*n_loaded;
    }
    *n_kernels += n;
fail:
    free(functions);
    return ret;
}

int td_cuda_shared(TDDev *dev, const TDKernels &file, const void *function)
{
    for (int i = 0; i < file.n; i++)
        if (file.list[i].function == function)
            return file.list[i].shared;
    return td_error(dev->log, EIO, "cuda: a kernel that is in no list");
}

/* let all kernels have the shared memory that they are launched with */
static int reserve_shared(TDDev *dev)
{
    const TDCard *card = &td_cuda(dev)->card;

    for (auto file : files) {
        TDKernels f = file();

        for (int i = 0; i < f.n; i++) {
            const TDKernel *k = &f.list[i];
            cudaFuncAttributes a;

            if (k->hopper && card->sm != 90)
                continue;
            CU(dev, cudaFuncGetAttributes(&a, k->function));
            if (k->shared + (int)a.sharedSizeBytes > card->shared)
                return td_error(dev->log, ENOTSUP,
                                "cuda: %s wants %d bytes of shared memory, %s has %d for a kernel", k->name,
                                k->shared + (int)a.sharedSizeBytes, dev->name, card->shared);
            CU(dev, cudaFuncSetAttribute(k->function, cudaFuncAttributeMaxDynamicSharedMemorySize, k->shared));
        }
    }
    return 0;
}

/* for tests on machines without a GPU: the i-th kernel of all lists, and its function on the host, whose symbol has
 * the name that ptxas knows the kernel by. @return bytes of dynamic shared memory, -1 past the last one */
extern "C" __attribute__((visibility("default"))) int td_cuda_kernel(int i, const char **name, int *hopper,
                                                                     const void **function)
{
    for (auto file : files) {
        TDKernels k = file();

        if (i < k.n) {
            *name = k.list[i].name;
            *hopper = k.list[i].hopper;
            *function = k.list[i].function;
            return k.list[i].shared;
        }
        i -= k.n;
    }
    return -1;
}

int td_cuda_load_kernels(TDDev *dev)
{
    double start = td_now();
    unsigned n = 0, n_loaded = 0;
    int ret = 0;
    Calls d;

    if (look_up_all(&d)) {
        for (auto file : files)
            TRY(load_file(dev, &d, file().list->function, &n, &n_loaded));
        td_log(dev->log, TD_LOG_DEBUG, "cuda: %u kernels in the context, %u of them loaded just now, in %.1f ms", n,
               n_loaded, (td_now() - start) * 1e3);
    } else {
        td_log(dev->log, TD_LOG_DEBUG, "cuda: the driver is older than CUDA 12.4: kernels are loaded at first use");
    }
    TRY(reserve_shared(dev));
fail:
    return ret;
}
