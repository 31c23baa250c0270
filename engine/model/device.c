/* SPDX-License-Identifier: BSD-2-Clause
 * Which backend is used, and what it can do of what was asked for. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/options.h"
#include "model/device.h"
#include "model/install.h"

#define MODULE "libturbodiff-cuda.so"

/* By absolute path alone: what the loader would find by name depends on where the program was started. Of another build
 * than this library it is passed over. why: the reason of the last place that has one. @return NULL if there is none;
 * *refused then tells of one that is there all the same */
static void *open_module(char *why, size_t size, int *refused)
{
    char dir[4096], path[4200];
    int known = td_own_dir(dir, sizeof(dir)) >= 0;

    snprintf(why, size, "it is neither beside this program or library nor where it is installed");
    for (int i = 0; i < TD_N_MODULE_PLACES; i++) {
        const char *seam;
        void *m;

        if (td_module_path(path, sizeof(path), known ? dir : NULL, i, MODULE) < 0 || access(path, F_OK) < 0)
            continue;
        *refused = 1;
        m = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
        if (!m) {
            snprintf(why, size, "%s", dlerror());
            continue;
        }
        seam = dlsym(m, "td_cuda_seam");
        if (seam && !strcmp(seam, TD_SEAM)) {
            *refused = 0;
            return m;
        }
        snprintf(why, size, "it is of another build, with seam %.16s where this library has " TD_SEAM ": %.360s",
                 seam ? seam : "unknown", path);
        dlclose(m);
    }
    return NULL;
}

/* asked: what wants a GPU, for the line. *refused: as open_module() sets it */
static int open_cuda(TDDev **dev, const TDGpu *gpu, const char *asked, int *refused, TDLog *log)
{
    char why[460];
    void *m = open_module(why, sizeof(why), refused);
    TDCudaOpen open;
    int ret;

    if (!m)
        return td_error(log, ENOTSUP, "%s: %s cannot be loaded (%s)", asked, MODULE, why);
    *(void **)&open = dlsym(m, "td_cuda_open");
    ret = open(dev, gpu, log);
    dlclose(m);                                  /* RTLD_NODELETE: the code stays */
    return ret;
}

/* whether somebody expects a GPU to be used here */
static int has_driver(void)
{
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);

    if (driver)
        dlclose(driver);
    return driver != NULL;
}

int td_device_open(TDDev **dev, enum TDBackend backend, const TDGpu *gpu, int n_threads, TDCancel *cancel, TDLog *log)
{
    static const TDGpu any = { .ordinal = -1 };
    TDLog quiet = { 0 };
    char asked[32] = "backend=cuda";
    int order = backend == TD_BACKEND_CUDA, refused = 0, ret;

    if (gpu && gpu->ordinal >= 0) {              /* a device by its number is that one or none */
        order = 1;
        snprintf(asked, sizeof(asked), "device=%d", gpu->ordinal);
    }
    if (backend != TD_BACKEND_CPU) {
        ret = open_cuda(dev, gpu ? gpu : &any, asked, &refused, order ? log : &quiet);
        if (ret >= 0) {
            (*dev)->log = log;
            (*dev)->cancel = cancel;
        }
        if (ret >= 0 || order)
            return ret;
        td_log(log, refused || has_driver() ? TD_LOG_WARNING : TD_LOG_VERBOSE, "%s; using the CPU", quiet.last_error);
    }
    return td_cpu_open(dev, n_threads, NULL, cancel, log);
}

enum TDAttention td_device_attention(enum TDAttention want, int has_sla, TDLog *log)
{
    if (want == TD_ATTN_AUTO)
        return has_sla ? TD_ATTN_SAGESLA : TD_ATTN_DENSE;
    if (want != TD_ATTN_DENSE && !has_sla)
        td_log(log, TD_LOG_WARNING,
               "attention=%s on a transformer without proj_l: it was not trained for sparse attention; the linear "
               "branch is left out",
               td_attention_words[want]);
    return want;
}
