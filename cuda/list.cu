/* SPDX-License-Identifier: BSD-2-Clause
 * The GPUs of this machine, without a context on any. What of their memory is free only NVML can tell then, the library
 * of nvidia-smi, which comes with the driver; it is looked up at run time, and a machine may lack it. */
#include <cuda.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include "device.h"

/* of nvml.h, as it has been since its version 2 */
struct Memory {
    unsigned long long total, available, used;
};

struct Nvml {
    void *library;
    int (*init)(void), (*shutdown)(void), (*driver)(char *, unsigned), (*by_uuid)(const char *, void **),
        (*memory)(void *, Memory *);
};

static int open_nvml(Nvml *n)
{
    n->library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!n->library)
        return -1;
    *(void **)&n->init = dlsym(n->library, "nvmlInit_v2");
    *(void **)&n->shutdown = dlsym(n->library, "nvmlShutdown");
    *(void **)&n->driver = dlsym(n->library, "nvmlSystemGetDriverVersion");
    *(void **)&n->by_uuid = dlsym(n->library, "nvmlDeviceGetHandleByUUID");
    *(void **)&n->memory = dlsym(n->library, "nvmlDeviceGetMemoryInfo");
    if (n->init && n->shutdown && n->driver && n->by_uuid && n->memory && n->init() == 0)
        return 0;
    dlclose(n->library);
    n->library = NULL;
    return -1;
}

static void close_nvml(Nvml *n)
{
    if (!n->library)
        return;
    n->shutdown();
    dlclose(n->library);
}

/* whether the module has code for a GPU: machine code of its major number and not a later minor one, or what the driver
 * compiles for later ones. Code of an architecture with a letter is for that one alone. TD_CODE is nvcc's options. */
static int has_code(int sm)
{
    static const char *const forms[] = { "code=sm_", "code=compute_" };

    for (int form = 0; form < 2; form++)
        for (const char *p = TD_CODE; (p = strstr(p, forms[form])) != NULL; ) {
            char letter = 0;
            int arch = 0;

            p += strlen(forms[form]);
            sscanf(p, "%d%c", &arch, &letter);
            if (letter >= 'a' && letter <= 'z' ? arch == sm
                : form ? arch <= sm : arch / 10 == sm / 10 && arch <= sm)
                return 1;
        }
    return 0;
}

/* "GPU-" or, of an instance of one, "MIG-" and a UUID */
static void name_uuid(char *text, size_t size, const char *kind, const cudaUUID_t *uuid)
{
    const unsigned char *b = (const unsigned char *)uuid->bytes;

    snprintf(text, size, "%s-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", kind, b[0], b[1],
             b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

/* what NVML knows. The one of the two names that it knows is right */
static void ask_nvml(TDGpuInfo *g, const Nvml *n, const cudaUUID_t *uuid)
{
    void *handle = NULL;
    Memory m = {};

    n->driver(g->driver, sizeof(g->driver));
    if (n->by_uuid(g->uuid, &handle) != 0) {
        char mig[sizeof(g->uuid)];

        name_uuid(mig, sizeof(mig), "MIG", uuid);
        if (n->by_uuid(mig, &handle) != 0)
            return;
        memcpy(g->uuid, mig, sizeof(mig));
    }
    if (n->memory(handle, &m) != 0)
        return;
    g->guessed = 0;
    g->available = m.available < g->total ? m.available : g->total;
}

/* whether the process's own context is there, which takes no more memory then */
static int is_opened(int ordinal)
{
    CUresult (*state)(CUdevice, unsigned *, int *) = NULL;
    cudaDriverEntryPointQueryResult found;
    unsigned flags;
    int active = 0;

    if (cudaGetDriverEntryPointByVersion("cuDevicePrimaryCtxGetState", (void **)&state, 12000, cudaEnableDefault,
                                         &found) != cudaSuccess || found != cudaDriverEntryPointSuccess)
        return 0;
    return state(ordinal, &flags, &active) == CUDA_SUCCESS && active;
}

static void describe(TDGpuInfo *g, int ordinal, const Nvml *n)
{
    cudaDeviceProp prop;
    int version = 0, mode = cudaComputeModeDefault;

    *g = TDGpuInfo{};
    if (cudaGetDeviceProperties(&prop, ordinal) != cudaSuccess) {
        snprintf(g->fault, sizeof(g->fault), "the driver does not tell what it is: %s",
                 cudaGetErrorString(cudaGetLastError()));
        return;
    }
    snprintf(g->name, sizeof(g->name), "%.95s", prop.name);
    snprintf(g->pci, sizeof(g->pci), "%08X:%02X:%02X.0", prop.pciDomainID, prop.pciBusID, prop.pciDeviceID);
    name_uuid(g->uuid, sizeof(g->uuid), "GPU", &prop.uuid);
    g->sm = prop.major * 10 + prop.minor;
    g->n_sm = prop.multiProcessorCount;
    cudaDeviceGetAttribute(&g->clock, cudaDevAttrClockRate, ordinal);
    cudaDeviceGetAttribute(&mode, cudaDevAttrComputeMode, ordinal);
    g->total = g->available = prop.totalGlobalMem;
    g->guessed = 1;
    g->opened = is_opened(ordinal);
    cudaDriverGetVersion(&version);
    snprintf(g->driver, sizeof(g->driver), "CUDA %d.%d", version / 1000, version % 1000 / 10);
    if (n->library)
        ask_nvml(g, n, &prop.uuid);
    if (g->sm < 80)
        snprintf(g->fault, sizeof(g->fault), "it has compute capability %d.%d, want 8.0 or later", prop.major,
                 prop.minor);
    else if (mode == cudaComputeModeProhibited)
        snprintf(g->fault, sizeof(g->fault), "its compute mode is Prohibited, which nvidia-smi -c 0 changes");
    else if (!has_code(g->sm))
        snprintf(g->fault, sizeof(g->fault), "libturbodiff-cuda.so has no code for compute capability %d.%d; it takes "
                 "a build with --cuda-arch=%d", prop.major, prop.minor, g->sm);
}

int td_cuda_count(TDLog *log)
{
    int count = 0, driver = 0, runtime = 0;
    cudaError_t e = cudaGetDeviceCount(&count);

    if (e == cudaSuccess && count > 0)
        return count;
    cudaGetLastError();
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (e == cudaErrorInsufficientDriver && driver)
        return td_error(log, ENOTSUP, "the NVIDIA driver supports CUDA %d.%d, this build wants %d.%d; install a newer "
                        "driver", driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    if (e == cudaErrorInsufficientDriver)
        return td_error(log, ENOTSUP, "there is no NVIDIA driver that works on this machine");
    return td_error(log, ENOTSUP, "there is no usable GPU: %s",
                    cudaGetErrorString(e != cudaSuccess ? e : cudaErrorNoDevice));
}

/* what the engine looks up after dlopen() */
int td_cuda_list(TDGpuInfo *list, int max, TDLog *log)
{
    int count = td_cuda_count(log);
    Nvml nvml = {};

    if (count > 0)
        open_nvml(&nvml);
    for (int i = 0; i < count && i < max; i++)
        describe(&list[i], i, &nvml);
    close_nvml(&nvml);
    return count;
}
