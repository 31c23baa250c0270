/* SPDX-License-Identifier: BSD-2-Clause
 * The CUDA context that a device works in: the primary one of a GPU, or one of the caller's. The runtime API works in
 * whatever context is current, so making it current and bringing back the thread's own is all there is to it. That
 * takes the driver API, which is looked up at run time.
 *
 * Invariants
 *  1. A context is pushed at every entry to the library and popped when it is left; between the two all of CUDA is
 *     called in it.
 *  2. With a context of the caller's, no primary context comes to be. */
#include <cuda.h>
#include "context.h"

/* of CUDA 12.0 */
static int look_up(TDDev *dev, const char *name, void **function)
{
    cudaDriverEntryPointQueryResult found;

    CU(dev, cudaGetDriverEntryPointByVersion(name, function, 12000, cudaEnableDefault, &found));
    return found == cudaDriverEntryPointSuccess ? 0 : td_error(dev->log, ENOTSUP, "cuda: the driver has no %s", name);
}

int td_cuda_driver(TDDev *dev, TDDriver *d)
{
    int ret;

    TRY(look_up(dev, "cuCtxPushCurrent", (void **)&d->push));
    TRY(look_up(dev, "cuCtxPopCurrent", (void **)&d->pop));
    TRY(look_up(dev, "cuCtxGetCurrent", (void **)&d->get));
    TRY(look_up(dev, "cuCtxSetCurrent", (void **)&d->set));
    TRY(look_up(dev, "cuCtxGetDevice", (void **)&d->device));
fail:
    return ret;
}

/* the GPU of the caller's context */
int td_cuda_context_given(TDDev *dev, const TDGpu *gpu)
{
    const TDDriver *d = &td_cuda(dev)->driver;
    CUcontext context = (CUcontext)gpu->context, none;
    CUdevice ordinal = -1;
    CUresult r = d->push(context);

    if (r == CUDA_SUCCESS) {
        r = d->device(&ordinal);
        d->pop(&none);
    }
    if (r != CUDA_SUCCESS)
        return td_error(dev->log, EINVAL, "cuda: the context given, %p, cannot be made current; want one of this "
                        "process that has not been destroyed (the driver's error %d)", gpu->context, (int)r);
    if (gpu->ordinal >= 0 && gpu->ordinal != ordinal)
        return td_error(dev->log, EINVAL, "cuda: device %d, but the context given is of device %d", gpu->ordinal,
                        (int)ordinal);
    dev->context = gpu->context;
    td_cuda(dev)->ordinal = ordinal;
    return 0;
}

/* the primary context of the GPU; the thread's own one stays */
int td_cuda_context_primary(TDDev *dev)
{
    const TDDriver *d = &td_cuda(dev)->driver;
    CUcontext own = NULL, primary = NULL;
    cudaError_t e;

    d->get(&own);
    e = cudaSetDevice(td_cuda(dev)->ordinal);
    if (e == cudaSuccess && d->get(&primary) != CUDA_SUCCESS)
        e = cudaErrorDeviceUninitialized;
    d->set(own);
    if (e != cudaSuccess)
        return td_cuda_error(dev, e, "context", __FILE__, __LINE__);
    dev->context = primary;
    return 0;
}

cudaError_t td_cuda_push(TDDev *dev)
{
    return td_cuda(dev)->driver.push((CUcontext)dev->context) == CUDA_SUCCESS ? cudaSuccess
                                                                               : cudaErrorDeviceUninitialized;
}

void td_cuda_pop(TDDev *dev)
{
    CUcontext popped;

    td_cuda(dev)->driver.pop(&popped);
}
