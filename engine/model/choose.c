/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "model/choose.h"

/* products of 8-bit integers a multiprocessor makes in a clock, relative to compute capability 8.6, by the kernels that
 * run there: from 10.0 on those of 8.0, not Hopper's. Of one that is not here, as the last before it. */
static const struct { int sm; double factor; } table[] = {
    { 80, 2 }, { 86, 1 }, { 89, 1 }, { 90, 4 }, { 100, 2 }, { 110, 1 }, { 120, 1 },
};

double td_gpu_speed(const TDGpuInfo *gpu)
{
    double factor = 0;

    for (size_t i = 0; i < sizeof(table) / sizeof(*table) && table[i].sm <= gpu->sm; i++)
        factor = table[i].factor;
    return factor * gpu->n_sm * gpu->clock;
}

static uint64_t drivers_bytes(const TDCandidate *c)
{
    return c->need->reserve + (c->gpu.opened ? 0 : c->need->context);
}

enum TDFit td_fit(const TDCandidate *c, uint64_t available, enum TDResidency residency, uint64_t max_bytes,
                  TDPlan *plan)
{
    static const int held[TD_N_PARTS] = { 0 };
    const TDNeed *need = c->need;
    uint64_t driver = drivers_bytes(c);

    available -= available < driver ? available : driver;
    available += c->loaded;
    plan->limited = max_bytes && max_bytes < available;
    plan->limit = plan->limited ? max_bytes : available;
    td_plan_residency(plan, residency, need->cost, held, need->steps, need->n_steps, need->fixed);
    if (plan->weights + plan->clip > plan->limit)
        return TD_FIT_NONE;
    return plan->by_stage ? TD_FIT_STAGE : TD_FIT_ALL;
}

/* what decides, in order, the greater the better; equal values leave it to the next */
typedef struct Rank {
    double value[4];
    int usable;
} Rank;

static Rank rank(const TDCandidate *c, enum TDResidency residency, uint64_t max_bytes)
{
    enum TDFit fit;
    TDPlan plan;

    if (*c->gpu.fault || !c->need)
        return (Rank){ .usable = 0 };
    fit = td_fit(c, c->gpu.available, residency, max_bytes, &plan);
    return (Rank){ { c->shares, fit, td_gpu_speed(&c->gpu), (double)c->gpu.available }, fit != TD_FIT_NONE };
}

/* @return which value decides that a is better than b, -1 if it is not */
static int better(const Rank *a, const Rank *b)
{
    for (int i = 0; i < 4; i++)
        if (a->value[i] > b->value[i])
            return i;
        else if (a->value[i] < b->value[i])
            return -1;
    return -1;
}

/* a few digits */
static const char *size_of(char text[16], uint64_t bytes)
{
    snprintf(text, 16, bytes >= 1000000000 ? "%.1f GB" : bytes >= 10000000 ? "%.0f MB" : "%.1f MB",
             (double)bytes * (bytes >= 1000000000 ? 1e-9 : 1e-6));
    return text;
}

/* what is wrong with a GPU that is not taken, for the lack of room or another reason */
static size_t tell(const TDCandidate *c, int i, enum TDResidency residency, uint64_t max_bytes, char *text, size_t size)
{
    char room[16], want[16];
    uint64_t wanted;
    TDPlan plan;

    if (*c->gpu.fault)
        return (size_t)snprintf(text, size, "device %d cannot be used (%s)", i, c->gpu.fault);
    if (td_fit(c, c->gpu.available, residency, max_bytes, &plan) != TD_FIT_NONE)
        return (size_t)snprintf(text, size, "device %d has %s free, too little for all weights and the clip at once", i,
                                size_of(room, c->gpu.available));
    wanted = plan.weights + plan.clip;
    if (plan.limited)
        return (size_t)snprintf(text, size, "%s are allowed of device %d, and %s are wanted",
                                size_of(room, plan.limit), i, size_of(want, wanted));
    wanted += drivers_bytes(c) - c->loaded;      /* more than there is, or it would fit */
    return (size_t)snprintf(text, size, "device %d has %s free, and %s are wanted", i,
                            size_of(room, c->gpu.available), size_of(want, wanted));
}

/* an item of a list, whole, or in its place how many are left (this one, too), where they have no room.
 * @return the length of the list, or size where it has ended */
static size_t append(char *list, size_t size, size_t at, const char *item, int left)
{
    if (at + strlen(item) + (left > 1 ? sizeof("; ; 99 more") : sizeof("; ")) <= size)
        return at + (size_t)snprintf(list + at, size - at, "%s%s", at ? "; " : "", item);
    snprintf(list + at, size - at, "%s%d more", at ? "; " : "", left);
    return size;
}

int td_choose(const TDCandidate *c, int n, enum TDResidency residency, uint64_t max_bytes, char *why, size_t size)
{
    static const char *const words[] = { "which has the weights already", NULL, "which is faster than device 0",
                                         "which has more memory free than device 0" };
    int best = -1, by;
    Rank first, top = { .usable = 0 };
    char item[300];
    size_t at = 0;

    *why = 0;
    for (int i = 0; i < n; i++) {
        Rank r = rank(&c[i], residency, max_bytes);

        if (r.usable && (best < 0 || better(&r, &top) >= 0)) {
            best = i;
            top = r;
        }
    }
    for (int i = 0; i < n && best < 0 && at < size; i++) {
        tell(&c[i], i, residency, max_bytes, item, sizeof(item));
        at = append(why, size, at, item, n - i);
    }
    if (best <= 0)
        return best;
    first = rank(&c[0], residency, max_bytes);
    by = first.usable ? better(&top, &first) : 1;
    if (words[by])
        snprintf(why, size, "%s", words[by]);
    else if ((at = (size_t)snprintf(why, size, "since ")) < size)
        tell(&c[0], 0, residency, max_bytes, why + at, size - at);
    return best;
}

/* ---- by name ---- */

int td_gpu_any(const char *text)
{
    return !text || !*text || !strcmp(text, "auto") || !strcmp(text, "-1");
}

/* a number and nothing else. @return -1 if it is something else */
static long number(const char *text)
{
    char *end;
    long v = strtol(text, &end, 10);

    return *text < '0' || *text > '9' || *end || v > 1 << 20 ? -1 : v;
}

/* [domain:]bus:device[.function]. @return 0 if it is none */
static int parse_pci(const char *text, unsigned v[4])
{
    int n = 0;

    if (text[strspn(text, "0123456789abcdefABCDEF:.")])
        return 0;
    v[0] = v[3] = 0;
    if (sscanf(text, "%x:%x:%x.%x%n", &v[0], &v[1], &v[2], &v[3], &n) == 4 && !text[n])
        return 1;
    v[3] = 0;
    if (sscanf(text, "%x:%x:%x%n", &v[0], &v[1], &v[2], &n) == 3 && !text[n])
        return 1;
    v[0] = 0;
    if (sscanf(text, "%x:%x.%x%n", &v[1], &v[2], &v[3], &n) == 3 && !text[n])
        return 1;
    v[3] = 0;
    return sscanf(text, "%x:%x%n", &v[1], &v[2], &n) == 2 && !text[n];
}

static int same_pci(const char *a, const char *b)
{
    unsigned x[4], y[4];

    return parse_pci(a, x) && parse_pci(b, y) && !memcmp(x, y, sizeof(x));
}

int td_gpu_check_name(const char *text, TDLog *log)
{
    unsigned pci[4];

    if (td_gpu_any(text) || number(text) >= 0 || !strncasecmp(text, "GPU-", 4) || !strncasecmp(text, "MIG-", 4) ||
        parse_pci(text, pci))
        return 0;
    if (strchr(text, '+'))
        return td_error(log, EINVAL, "device: '%.60s', but a clip is made on one card: want the name of one", text);
    return td_error(log, EINVAL, "device: '%.60s', want auto, a number, a UUID (GPU-...) or a PCI bus id (3B:00.0)",
                    text);
}

int td_gpu_by_name(const TDGpuInfo *gpus, int n, const char *text, TDLog *log)
{
    char there[400] = "", item[200];
    size_t at = 0;
    long v = number(text);

    for (int i = 0; i < n; i++)
        if (v == i || !strcasecmp(text, gpus[i].uuid) || same_pci(text, gpus[i].pci))
            return i;
    for (int i = 0; i < n && at < sizeof(there); i++) {
        snprintf(item, sizeof(item), "%d: %s, %s, %s", i, gpus[i].name, gpus[i].uuid, gpus[i].pci);
        at = append(there, sizeof(there), at, item, n - i);
    }
    if (v >= 0)
        return td_error(log, EINVAL, "device %ld, want 0..%d (%s)", v, n - 1, there);
    return td_error(log, EINVAL, "device: no %.60s here, want one of %s", text, there);
}
