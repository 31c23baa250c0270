/* SPDX-License-Identifier: BSD-2-Clause
 * A module that is loaded as the CUDA one where it lies in its place, has the GPUs that the environment claims, and
 * computes with the CPU's slots.
 *
 * TD_TEST_CARDS: one word for each GPU, CARD:TOTAL:FREE[:FAULT], of a card of tests/cards.h, with MiB of memory. FAULT:
 *   old       a compute capability that is too low
 *   full      no memory for a context
 *   nocode    opening finds no code for the architecture
 *   unknown   nothing tells what is free before the card is opened
 *   sleepN    each pass of the transformer sleeps so many milliseconds
 *   lagN      the N-th pass alone sleeps, for 5 seconds
 *   hangN     the same, for 65
 *   dieN      a device fault in the N-th pass
 *   stickN    the same, and from then on in all that this process does with the GPU
 * Or one word alone: "olddriver", or "none".
 * A context of a caller's is the number of its GPU and 1, as a pointer. Each GPU counts what is allocated on it. The
 * file that TD_TEST_CARDS_LOG names gets a line for each one that is opened. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "../cards.h"
#include "base/thread.h"

enum { MAX = 8 };

static struct {
    TDGpuInfo info;
    char fault[16], description[128];
    int sleep_ms, lag, hang, die, stick;         /* of FAULT; 0: none */
    int passes, dead;
    uint64_t used;
    int opened;
} gpus[MAX];
static int n_gpus, all_claimed;
static const TDOps *real;
static TDOps ops;
static TDCancel never;                          /* a GPU's slots do not look */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define EXPORT __attribute__((visibility("default")))

EXPORT extern const char td_cuda_seam[];
EXPORT const char td_cuda_seam[] = TD_SEAM;
EXPORT int td_cuda_list(TDGpuInfo *list, int max, TDLog *log);
EXPORT int td_cuda_open(TDDev **dev, const TDGpu *gpu, TDLog *log);

/* ---- slots ---- */

static int gpu_alloc(TDDev *dev, TDBuf *buf, size_t bytes, const char *what)
{
    int i = dev->ordinal, ret = 0;

    pthread_mutex_lock(&lock);
    if (gpus[i].used + bytes > gpus[i].info.available)
        ret = td_error(dev->log, ENOMEM, "%zu bytes for %s wanted, %llu free of %llu", bytes, what,
                       (unsigned long long)(gpus[i].info.available - gpus[i].used),
                       (unsigned long long)gpus[i].info.total);
    else
        gpus[i].used += bytes;
    pthread_mutex_unlock(&lock);
    return ret < 0 ? ret : real->alloc(dev, buf, bytes, what);
}

static void gpu_free(TDDev *dev, TDBuf *buf)
{
    pthread_mutex_lock(&lock);
    gpus[dev->ordinal].used -= buf->bytes;
    pthread_mutex_unlock(&lock);
    real->free(dev, buf);
}

/* the last slot of a pass */
static int gpu_head(TDDev *dev, TDTensor *v, const TDTensor *x, const TDNormW *norm, const TDTensor *m,
                    const TDLinear *lin)
{
    int i = dev->ordinal, pass, ms;

    pthread_mutex_lock(&lock);
    pass = ++gpus[i].passes;
    gpus[i].dead |= gpus[i].stick && pass >= gpus[i].stick;
    pthread_mutex_unlock(&lock);
    if (gpus[i].dead || pass == gpus[i].die)
        return td_error(dev->log, EIO, "head: an illegal memory access was encountered (claimed)");
    ms = pass == gpus[i].lag ? 5000 : pass == gpus[i].hang ? 65000 : gpus[i].sleep_ms;
    nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000L }, NULL);
    return real->head(dev, v, x, norm, m, lin);
}

static int gpu_memory(TDDev *dev, uint64_t *available, uint64_t *total)
{
    *available = gpus[dev->ordinal].info.available - gpus[dev->ordinal].used;
    *total = gpus[dev->ordinal].info.total;
    return 0;
}

/* a CPU device as one of the GPU */
static void dress(TDDev *dev, int i)
{
    dev->ops = &ops;
    dev->name = gpus[i].description;
    dev->caps = (TDCaps){ .memory = "GPU", .width_step = 8, .reserve = 1 << 16, .context = 1 << 16 };
    dev->context = &gpus[i];
    dev->ordinal = i;
    dev->own_context = 1;
}

static int gpu_reopen(const TDDev *dev, TDDev **another, struct TDCancel *cancel, TDLog *log)
{
    int ret = real->reopen(dev, another, cancel, log);

    if (ret >= 0)
        dress(*another, dev->ordinal);
    return ret;
}

/* ---- what is claimed ---- */

static int claim(unsigned i, const char *word)
{
    char name[16] = "";
    TDGpuInfo *g = &gpus[i].info;
    double total = 0, available = 0;

    if (sscanf(word, "%15[a-z0-9]:%lf:%lf:%15s", name, &total, &available, gpus[i].fault) < 3)
        return -1;
    for (int k = 0; k < N_CARDS; k++)
        if (!strcmp(cards[k].name, name)) {
            g->sm = cards[k].card.sm;
            g->n_sm = cards[k].n_sm;
            g->clock = 1000 * cards[k].mhz;
        }
    snprintf(g->name, sizeof(g->name), "Claimed %s", name);
    snprintf(g->uuid, sizeof(g->uuid), "%s-00000000-1111-2222-3333-00000000000%u", i == 1 ? "MIG" : "GPU", i % MAX);
    snprintf(g->pci, sizeof(g->pci), "00000000:%02X:00.0", 0x3b + i % MAX);
    snprintf(g->driver, sizeof(g->driver), "999.10");
    g->total = (uint64_t)(total * 1048576);
    g->available = (uint64_t)(available * 1048576);
    sscanf(gpus[i].fault, "sleep%d", &gpus[i].sleep_ms);
    sscanf(gpus[i].fault, "lag%d", &gpus[i].lag);
    sscanf(gpus[i].fault, "hang%d", &gpus[i].hang);
    sscanf(gpus[i].fault, "die%d", &gpus[i].die);
    sscanf(gpus[i].fault, "stick%d", &gpus[i].stick);
    if (!strcmp(gpus[i].fault, "old"))
        snprintf(g->fault, sizeof(g->fault), "it has compute capability 7.5, want 8.0 or later");
    snprintf(gpus[i].description, sizeof(gpus[i].description), "Claimed %s, sm_%d", name, g->sm);
    return g->sm ? 0 : -1;
}

int td_cuda_list(TDGpuInfo *list, int max, TDLog *log)
{
    const char *claimed = getenv("TD_TEST_CARDS");
    char text[512], *word, *rest = text;

    if (!claimed || !strcmp(claimed, "none"))
        return td_error(log, ENOTSUP, "no usable GPU (no CUDA-capable device is detected)");
    if (!strcmp(claimed, "olddriver"))
        return td_error(log, ENOTSUP, "the driver supports CUDA 11.4, this build wants 13.0; install a newer driver");
    snprintf(text, sizeof(text), "%s", claimed);
    pthread_mutex_lock(&lock);
    while (!all_claimed && n_gpus < MAX && (word = strtok_r(rest, " ", &rest))) {
        if (claim((unsigned)n_gpus, word) < 0) {
            pthread_mutex_unlock(&lock);
            return td_error(log, ENOTSUP, "TD_TEST_CARDS: %s: no card", word);
        }
        n_gpus++;
    }
    all_claimed = 1;
    for (int i = 0; i < n_gpus && i < max; i++) {
        list[i] = gpus[i].info;
        list[i].available -= gpus[i].used;
        list[i].opened = gpus[i].opened;
        list[i].guessed = !strcmp(gpus[i].fault, "unknown");
        if (list[i].guessed)
            list[i].available = list[i].total;
    }
    pthread_mutex_unlock(&lock);
    return n_gpus;
}

static void tell(int i)
{
    const char *path = getenv("TD_TEST_CARDS_LOG");
    FILE *f = path ? fopen(path, "a") : NULL;

    if (!f)
        return;
    fprintf(f, "%d\n", i);
    fclose(f);
}

int td_cuda_open(TDDev **dev, const TDGpu *gpu, TDLog *log)
{
    TDGpuInfo list[MAX];
    int given = gpu->context ? (int)(uintptr_t)gpu->context - 1 : -1;
    int i = gpu->ordinal >= 0 ? gpu->ordinal : given >= 0 ? given : 0, ret = td_cuda_list(list, MAX, log);

    *dev = NULL;
    if (ret < 0)
        return ret;
    if (i >= n_gpus)
        return td_error(log, EINVAL, "device %d, want 0..%d", i, n_gpus - 1);
    if (given >= 0 && given != i)
        return td_error(log, EINVAL, "device %d, but the context given is of device %d", i, given);
    if (!gpu->look) {
        tell(i);
        td_log(log, TD_LOG_DEBUG, "cuda: module.c: GPU %d is being opened", i);
        if (gpus[i].dead)
            return td_error(log, EIO, "device %d: an illegal memory access was encountered (claimed)", i);
        if (!strcmp(gpus[i].fault, "full"))
            return td_error(log, ENOMEM, "no memory for a context, %llu bytes free of %llu on the GPU",
                            (unsigned long long)gpus[i].info.available, (unsigned long long)gpus[i].info.total);
        if (!strcmp(gpus[i].fault, "nocode"))
            return td_error(log, ENOTSUP, "this build has no code for %s", gpus[i].description);
    }
    ret = td_cpu_open(dev, 0, NULL, &never, log);
    if (ret < 0)
        return ret;
    if (!real) {
        real = (*dev)->ops;
        ops = *real;
        ops.name = "cuda";
        ops.alloc = gpu_alloc;
        ops.free = gpu_free;
        ops.memory = gpu_memory;
        ops.head = gpu_head;
        ops.reopen = gpu_reopen;
    }
    dress(*dev, i);
    gpus[i].opened |= !gpu->look && given < 0;
    if (given >= 0) {
        (*dev)->context = gpu->context;
        (*dev)->own_context = 0;
    }
    return 0;
}
