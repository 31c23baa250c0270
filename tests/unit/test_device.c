/* SPDX-License-Identifier: BSD-2-Clause
 * What is decided about a device without one: the shared memory that the CUDA module's kernels are launched with, the
 * attention of a GPU that lacks what sagesla needs, and that a backend has all operations; and on a GPU
 * (TD_TEST_BACKEND=cuda) the cards that it can run as. --kernels MODULE: no test, but a line for each kernel of the
 * module's lists, for tests/kernels.sh: where its function lies in the file, bytes of dynamic shared memory, whether it
 * is for Hopper alone. */
#include <dlfcn.h>
#include <stdlib.h>
#include "model/device.h"
#include "test.h"
#include "../cards.h"

typedef int Kernel(int i, const char **name, int *hopper, const void **function);

static int list_kernels(const char *path)
{
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const void *function;
    Kernel *kernel = NULL;
    int bytes, hopper;
    const char *name;
    Dl_info info;

    if (module)
        *(void **)&kernel = dlsym(module, "td_cuda_kernel");
    if (!kernel) {
        fprintf(stderr, "test_device: %s\n", dlerror());
        return 1;
    }
    for (int i = 0; (bytes = kernel(i, &name, &hopper, &function)) >= 0; i++)
        if (dladdr(function, &info))
            printf("%016llx %d %d\n", (unsigned long long)((uintptr_t)function - (uintptr_t)info.dli_fbase), bytes,
                   hopper);
    dlclose(module);
    return 0;
}

static void test_shared_memory(void)
{
    const char *build = getenv("TD_BUILD"), *name;
    const void *function;
    int n = 0, n_portable = 0, hopper, bytes;
    char path[512];
    Kernel *kernel = NULL;
    void *module;

    test_begin("shared memory of the CUDA kernels");
    snprintf(path, sizeof(path), "%s/libturbodiff-cuda.so", build ? build : "build");
    module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!module) {
        /* a build without the module is a whole one */
        if (!CHECK(!fopen(path, "rb")))
            printf("  %s\n", dlerror());
        return;
    }
    *(void **)&kernel = dlsym(module, "td_cuda_kernel");
    if (!CHECK(kernel != NULL))
        return;
    while ((bytes = kernel(n, &name, &hopper, &function)) >= 0) {
        n++;
        n_portable += !hopper;
        for (int i = 0; i < N_CARDS; i++)
            if (!CHECK((hopper && cards[i].card.sm != 90) || bytes <= cards[i].card.shared))
                printf("  %s: %d bytes, %s has %d\n", name, bytes, cards[i].name, cards[i].card.shared);
    }
    CHECK(n_portable >= 14 && n > n_portable);
    dlclose(module);
}

/* ---- attention ---- */

static char line[256];

static void keep_line(void *cookie, int level, const char *text)
{
    (void)cookie;
    (void)level;
    snprintf(line, sizeof(line), "%s", text);
}

static enum TDAttention choose(enum TDAttention want, int has_sla)
{
    TDLog log = { .out = { NULL, keep_line, TD_LOG_INFO } };

    line[0] = 0;
    return td_device_attention(want, has_sla, &log);
}

static void test_attention(void)
{
    test_begin("attention of a device");
    CHECK_INT(choose(TD_ATTN_AUTO, 1), TD_ATTN_SAGESLA);
    CHECK_INT(choose(TD_ATTN_AUTO, 0), TD_ATTN_DENSE);
    CHECK_INT(choose(TD_ATTN_SAGESLA, 1), TD_ATTN_SAGESLA);
    CHECK_STR(line, "");
    CHECK_INT(choose(TD_ATTN_SLA, 0), TD_ATTN_SLA);
    CHECK(strstr(line, "without proj_l") != NULL);
}

/* ---- the table of operations ---- */

/* all slots are there, but put_values() where there are no lanes for it (backend.h) */
static void check_slots(const TDDev *dev)
{
    const size_t first = offsetof(TDOps, alloc) / sizeof(void *), values = offsetof(TDOps, put_values) / sizeof(void *);
    void *slots[sizeof(TDOps) / sizeof(void *)];

    memcpy(slots, dev->ops, sizeof(slots));
    for (size_t i = first; i < sizeof(slots) / sizeof(*slots); i++)
        if (!CHECK(slots[i] || (i == values && !dev->caps.lanes)))
            printf("  %s: slot %zu of TDOps, counted from alloc() = 0, is not there\n", dev->ops->name, i - first);
}

static void test_slots(void)
{
    TDLog log = { .out = { NULL, keep_line, TD_LOG_ERROR } };
    TDCancel cancel = { 0 };
    TDDev *dev = NULL;

    test_begin("all operations of the CPU");
    if (!CHECK_INT(td_cpu_open(&dev, 1, NULL, &cancel, &log), 0))
        return;
    check_slots(dev);
    dev->ops->close(&dev);
}

/* ---- a GPU that runs as another card ---- */

static void test_cards(void)
{
    TDLog log = { .out = { NULL, keep_line, TD_LOG_ERROR } };
    TDCard more = { 80, 1 << 20, 0, 0, 1 << 30, 0 };
    TDGpu gpu = { .ordinal = -1, .as = &more };
    TDCancel cancel = { 0 };
    TDDev *dev = NULL, *other = NULL;
    uint64_t available, total;

    test_begin("cards");
    CHECK_INT(td_device_open(&dev, TD_BACKEND_CUDA, &gpu, 0, &cancel, &log), TD_ERR(ENOTSUP));
    CHECK(strstr(line, "cannot run as 8.0 with 1048576") != NULL);
    for (int i = 0; i < N_CARDS; i++) {
        gpu.as = &cards[i].card;
        line[0] = 0;
        if (td_device_open(&dev, TD_BACKEND_CUDA, &gpu, 0, &cancel, &log) < 0) {
            CHECK(strstr(line, "cannot run as") != NULL);
            continue;
        }
        check_slots(dev);
        CHECK_INT(dev->ops->attach(dev), 0);
        CHECK(dev->ops->memory(dev, &available, &total) == 0 && total <= cards[i].card.memory && available <= total);
        if (CHECK_INT(dev->ops->reopen(dev, &other, &cancel, &log), 0)) {
            CHECK(other->context == dev->context && other->cancel == &cancel);
            CHECK_STR(other->name, dev->name);
            other->ops->close(&other);
        }
        dev->ops->detach(dev);
        dev->ops->close(&dev);
    }
}

int main(int argc, char **argv)
{
    const char *backend = getenv("TD_TEST_BACKEND");

    if (argc == 3 && !strcmp(argv[1], "--kernels"))
        return list_kernels(argv[2]);
    test_shared_memory();
    test_attention();
    test_slots();
    if (backend && !strcmp(backend, "cuda"))
        test_cards();
    return test_end();
}
