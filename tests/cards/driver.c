/* SPDX-License-Identifier: BSD-2-Clause
 * A libcuda.so.1 as FFmpeg wants it for CUDA frames, with the machine's memory as the device's: beside module.c, which
 * computes with the CPU, filters make such frames without a GPU.
 *
 * A context is the number of its device and 1, as module.c has it. What FFmpeg looks for and does not call fails. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ERROR_NO_MEMORY 2
#define ERROR_UNKNOWN 999

typedef struct Side {
    size_t x, y;
    int type;                                    /* 1: host, 2: device */
    void *host;
    uintptr_t device;
    void *array;
    size_t pitch;
} Side;

typedef struct Copy {
    Side from, to;
    size_t width, height;
} Copy;

int cuInit(unsigned flags);
int cuDeviceGetCount(int *n);
int cuDeviceGet(int *device, int i);
int cuDeviceGetAttribute(int *value, int attribute, int device);
int cuCtxCreate_v2(void **context, unsigned flags, int device);
int cuCtxDestroy_v2(void *context);
int cuCtxPushCurrent_v2(void *context);
int cuCtxPopCurrent_v2(void **context);
int cuMemAlloc_v2(uintptr_t *memory, size_t bytes);
int cuMemFree_v2(uintptr_t memory);
int cuMemcpy2DAsync_v2(const Copy *copy, void *stream);
int cuStreamSynchronize(void *stream);
int cuGetErrorName(int error, const char **name);
int cuGetErrorString(int error, const char **text);

int cuInit(unsigned flags)
{
    return (int)flags;
}

int cuDeviceGetCount(int *n)
{
    *n = 8;
    return 0;
}

int cuDeviceGet(int *device, int i)
{
    *device = i;
    return 0;
}

/* an alignment */
int cuDeviceGetAttribute(int *value, int attribute, int device)
{
    (void)attribute;
    (void)device;
    *value = 512;
    return 0;
}

int cuCtxCreate_v2(void **context, unsigned flags, int device)
{
    (void)flags;
    *context = (void *)(uintptr_t)(device + 1);
    return 0;
}

int cuCtxDestroy_v2(void *context)
{
    (void)context;
    return 0;
}

int cuCtxPushCurrent_v2(void *context)
{
    (void)context;
    return 0;
}

int cuCtxPopCurrent_v2(void **context)
{
    *context = NULL;
    return 0;
}

int cuMemAlloc_v2(uintptr_t *memory, size_t bytes)
{
    *memory = (uintptr_t)malloc(bytes);
    return *memory ? 0 : ERROR_NO_MEMORY;
}

int cuMemFree_v2(uintptr_t memory)
{
    free((void *)memory);
    return 0;
}

static char *row(const Side *s, size_t y)
{
    char *base = s->type == 1 ? s->host : (char *)s->device;

    return base + (s->y + y) * s->pitch + s->x;
}

int cuMemcpy2DAsync_v2(const Copy *copy, void *stream)
{
    (void)stream;
    for (size_t y = 0; y < copy->height; y++)
        memcpy(row(&copy->to, y), row(&copy->from, y), copy->width);
    return 0;
}

int cuStreamSynchronize(void *stream)
{
    (void)stream;
    return 0;
}

int cuGetErrorName(int error, const char **name)
{
    *name = error == ERROR_NO_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_UNKNOWN";
    return 0;
}

int cuGetErrorString(int error, const char **text)
{
    return cuGetErrorName(error, text);
}

#define UNUSED(name)    \
    int name(void);     \
    int name(void)      \
    {                   \
        return ERROR_UNKNOWN; \
    }

UNUSED(cuDeviceGetName)
UNUSED(cuDeviceComputeCapability)
UNUSED(cuCtxSetLimit)
UNUSED(cuCtxGetDevice)
UNUSED(cuMemAllocPitch_v2)
UNUSED(cuMemAllocManaged)
UNUSED(cuMemsetD8Async)
UNUSED(cuMemcpy)
UNUSED(cuMemcpyAsync)
UNUSED(cuMemcpy2D_v2)
UNUSED(cuMemcpyHtoD_v2)
UNUSED(cuMemcpyHtoDAsync_v2)
UNUSED(cuMemcpyDtoH_v2)
UNUSED(cuMemcpyDtoHAsync_v2)
UNUSED(cuMemcpyDtoD_v2)
UNUSED(cuMemcpyDtoDAsync_v2)
UNUSED(cuDevicePrimaryCtxRetain)
UNUSED(cuDevicePrimaryCtxRelease)
UNUSED(cuDevicePrimaryCtxSetFlags)
UNUSED(cuDevicePrimaryCtxGetState)
UNUSED(cuDevicePrimaryCtxReset)
UNUSED(cuStreamCreate)
UNUSED(cuStreamQuery)
UNUSED(cuStreamDestroy_v2)
UNUSED(cuStreamAddCallback)
UNUSED(cuEventCreate)
UNUSED(cuEventDestroy_v2)
UNUSED(cuEventSynchronize)
UNUSED(cuEventQuery)
UNUSED(cuEventRecord)
UNUSED(cuLaunchKernel)
UNUSED(cuLinkCreate)
UNUSED(cuLinkAddData)
UNUSED(cuLinkComplete)
UNUSED(cuLinkDestroy)
UNUSED(cuModuleLoadData)
UNUSED(cuModuleUnload)
UNUSED(cuModuleGetFunction)
UNUSED(cuModuleGetGlobal)
UNUSED(cuTexObjectCreate)
UNUSED(cuTexObjectDestroy)
UNUSED(cuGLGetDevices_v2)
UNUSED(cuGraphicsGLRegisterImage)
UNUSED(cuGraphicsUnregisterResource)
UNUSED(cuGraphicsMapResources)
UNUSED(cuGraphicsUnmapResources)
UNUSED(cuGraphicsSubResourceGetMappedArray)
UNUSED(cuGraphicsResourceGetMappedPointer_v2)
UNUSED(cuArray3DCreate_v2)
UNUSED(cuArrayDestroy)
