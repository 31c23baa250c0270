/* SPDX-License-Identifier: BSD-2-Clause
 * The CUDA module and what it knows of GPUs; opening a device, and what it can do of what was asked for. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/options.h"
#include "model/device.h"
#include "model/install.h"

#define MODULE "libturbodiff-cuda.so"

/* the directories that were looked in, for a line */
static void name_places(char *text, size_t size, const char *dir)
{
    char path[4200];
    size_t at = 0;

    *text = 0;
    for (int i = 0; i < TD_N_MODULE_PLACES && at < size; i++)
        if (td_module_path(path, sizeof(path), dir, i, MODULE) >= 0) {
            *strrchr(path, '/') = 0;
            at += (size_t)snprintf(text + at, size - at, "%s%.100s", at ? ", " : "", path);
        }
}

/* what the loader says of a file, whose path it begins with */
static const char *reason_of(const char *said, const char *path)
{
    size_t n = strlen(path);

    return !strncmp(said, path, n) && said[n] == ':' && said[n + 1] == ' ' ? said + n + 2 : said;
}

/* By absolute path alone: what the loader would find by name depends on where the program was started. Of another build
 * than this library it is passed over. why: the reason of the last place that has one. @return NULL if there is none */
static void *open_module(char *why, size_t size)
{
    char dir[4096], path[4200];
    int known = td_own_dir(dir, sizeof(dir)) >= 0, there = 0;

    for (int i = 0; i < TD_N_MODULE_PLACES; i++) {
        const char *seam;
        void *m;

        if (td_module_path(path, sizeof(path), known ? dir : NULL, i, MODULE) < 0 || access(path, F_OK) < 0)
            continue;
        there = 1;
        m = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
        if (!m) {
            snprintf(why, size, "%.200s cannot be loaded (%.100s); install it anew with this program", path,
                     reason_of(dlerror(), path));
            continue;
        }
        seam = dlsym(m, "td_cuda_seam");
        if (seam && !strcmp(seam, TD_SEAM))
            return m;
        snprintf(why, size, "%.300s is of another build, with seam %.16s where this library has " TD_SEAM
                 "; install both of one build", path, seam ? seam : "unknown");
        dlclose(m);
    }
    if (!there) {
        name_places(path, 360, known ? dir : NULL);
        snprintf(why, size, "%s, which uses the GPU, is in none of: %s; install it in one of them", MODULE, path);
    }
    return NULL;
}

/* whether somebody expects a GPU to be used here */
static int has_driver(void)
{
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);

    if (driver)
        dlclose(driver);
    return driver != NULL;
}

void td_gpu_list(TDGpuList *list)
{
    TDLog quiet = { 0 };
    TDCudaList module_list;
    void *m;
    int n;

    list->n = 0;
    list->no_driver = !has_driver();
    if (list->no_driver) {
        snprintf(list->why, sizeof(list->why), "there is no NVIDIA driver (libcuda.so.1) on this machine");
        return;
    }
    m = open_module(list->why, sizeof(list->why));
    if (!m)
        return;
    *(void **)&module_list = dlsym(m, "td_cuda_list");
    n = module_list(list->gpu, TD_MAX_GPUS, &quiet);
    list->n = n > TD_MAX_GPUS ? TD_MAX_GPUS : n < 0 ? 0 : n;
    snprintf(list->why, sizeof(list->why), "%s", n < 0 ? quiet.last_error : "the driver knows no GPU");
    dlclose(m);                                  /* RTLD_NODELETE: the code stays */
}

static int open_cuda(TDDev **dev, const TDGpu *gpu, TDLog *log)
{
    char why[512];
    void *m = open_module(why, sizeof(why));
    TDCudaOpen open;
    int ret;

    if (!m)
        return td_error(log, ENOTSUP, "%s", why);
    *(void **)&open = dlsym(m, "td_cuda_open");
    ret = open(dev, gpu, log);
    dlclose(m);
    return ret;
}

int td_device_open(TDDev **dev, enum TDBackend backend, const TDGpu *gpu, int n_threads, TDCancel *cancel, TDLog *log)
{
    static const TDGpu any = { .ordinal = -1 };
    int ret;

    if (backend == TD_BACKEND_CPU)
        return td_cpu_open(dev, n_threads, NULL, cancel, log);
    ret = open_cuda(dev, gpu ? gpu : &any, log);
    if (ret >= 0)
        (*dev)->cancel = cancel;
    return ret;
}

/* ---- a device to plan for ---- */

static int look_alloc(TDDev *dev, TDBuf *buf, size_t bytes, const char *what)
{
    buf->ptr = malloc(bytes ? bytes : 1);
    buf->bytes = bytes;
    return buf->ptr ? 0 : td_error(dev->log, ENOMEM, "%zu bytes for %s wanted, out of memory", bytes, what);
}

static void look_free(TDDev *dev, TDBuf *buf)
{
    (void)dev;
    free(buf->ptr);
    *buf = (TDBuf){ 0 };
}

int td_device_look(TDDev **dev, TDOps *ops, int ordinal, TDLog *log)
{
    const TDGpu gpu = { .ordinal = ordinal, .look = 1 };
    int ret = open_cuda(dev, &gpu, log);

    if (ret < 0)
        return ret;
    *ops = *(*dev)->ops;
    ops->alloc = look_alloc;
    ops->free = look_free;
    (*dev)->ops = ops;
    (*dev)->own_context = 0;
    return 0;
}

/* ---- attention ---- */

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
