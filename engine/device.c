/* SPDX-License-Identifier: BSD-2-Clause */
#include <dlfcn.h>
#include <stdio.h>
#include "device.h"
#include "install.h"

#define MODULE "libturbodiff-cuda.so"

/* the module beside the file this code is in, else wherever the loader finds it */
static void *open_module(void)
{
    char dir[4096], path[4096 + sizeof(MODULE)];
    void *m = NULL;

    if (td_own_dir(dir, sizeof(dir)) >= 0) {
        snprintf(path, sizeof(path), "%s/%s", dir, MODULE);
        m = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    }
    return m ? m : dlopen(MODULE, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
}

static int open_cuda(TDDev **dev, const TDGpu *gpu, TDLog *log)
{
    void *m = open_module();
    TDCudaOpen open;
    unsigned (*abi)(void);
    int ret;

    if (!m)
        return td_error(log, ENOTSUP, "backend=cuda: %s cannot be loaded (%s)", MODULE, dlerror());
    *(void **)&open = dlsym(m, "td_cuda_open");
    *(void **)&abi = dlsym(m, "td_cuda_abi");
    if (!open || !abi || abi() != TD_BACKEND_ABI)
        ret = td_error(log, ENOTSUP, "backend=cuda: %s is of another version than this library", MODULE);
    else
        ret = open(dev, gpu, log);
    dlclose(m);                                  /* RTLD_NODELETE: the code stays */
    return ret;
}

int td_device_open(TDDev **dev, enum TDBackend backend, const TDGpu *gpu, int n_threads, TDCancel *cancel, TDLog *log)
{
    static const TDGpu any = { .ordinal = -1 };
    TDLog quiet = { 0 };
    int ret;

    if (backend != TD_BACKEND_CPU) {
        ret = open_cuda(dev, gpu ? gpu : &any, backend == TD_BACKEND_CUDA ? log : &quiet);
        if (ret >= 0) {
            (*dev)->log = log;
            (*dev)->cancel = cancel;
        }
        if (ret >= 0 || backend == TD_BACKEND_CUDA)
            return ret;
        td_log(log, ret == TD_ERR(ENOMEM) ? TD_LOG_WARNING : TD_LOG_VERBOSE, "%s; using the CPU", quiet.last_error);
    }
    return td_cpu_open(dev, n_threads, cancel, log);
}
