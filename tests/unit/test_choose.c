/* SPDX-License-Identifier: BSD-2-Clause
 * Which GPU td_choose() takes of those in a table, and why; and how a GPU is named. Bytes are given in GB. */
#include "model/choose.h"
#include "test.h"

#define GB (uint64_t)1000000000

/* 14 of weights and 6 of a clip: 20 at once, 11 for the largest stage alone */
static const TDNeed need = {
    .cost = { [TD_FILE_DIT] = { 6 * GB }, [TD_FILE_TEXT] = { 7 * GB }, [TD_FILE_VAE] = { 1 * GB } },
    .steps = { { TD_FILE_TEXT, 1 * GB }, { TD_FILE_DIT, 4 * GB }, { TD_FILE_VAE, 5 * GB } },
    .n_steps = 3, .fixed = 1 * GB,
};

typedef struct Gpu {
    int sm, n_sm, mhz;
    double available, total;
    const char *fault;
    int shares;
    double loaded;
} Gpu;

/* with GB free and in all; then what else there is to say of it */
#define H100(free, all, ...)    { .sm = 90, .n_sm = 132, .mhz = 1980, .available = free, .total = all, __VA_ARGS__ }
#define RTX4090(free, all, ...) { .sm = 89, .n_sm = 128, .mhz = 2520, .available = free, .total = all, __VA_ARGS__ }
#define RTX3060(free, all, ...) { .sm = 86, .n_sm = 28, .mhz = 1777, .available = free, .total = all, __VA_ARGS__ }
#define B200(free, all, ...)    { .sm = 100, .n_sm = 148, .mhz = 1965, .available = free, .total = all, __VA_ARGS__ }

static const struct Case {
    const char *name;
    Gpu gpus[4];
    int want;
    const char *why;
    enum TDResidency residency;
    double max_bytes;
} cases[] = {
    { .name = "one",
      .gpus = { H100(80, 80,) },
      .want = 0, .why = "" },
    { .name = "two alike: the first",
      .gpus = { H100(80, 80,), H100(80, 80,) },
      .want = 0, .why = "" },
    { .name = "the first is full",
      .gpus = { H100(1, 80,), H100(79, 80,) },
      .want = 1, .why = "since device 0 has 1.0 GB free, and 11.0 GB are wanted" },
    { .name = "the first has less room, and enough",
      .gpus = { H100(40, 80,), H100(79, 80,) },
      .want = 1, .why = "which has more memory free than device 0" },
    { .name = "the faster one, with less room",
      .gpus = { RTX3060(79, 80,), H100(30, 80,) },
      .want = 1, .why = "which is faster than device 0" },
    { .name = "the faster one is the first",
      .gpus = { H100(30, 80,), RTX4090(79, 80,) },
      .want = 0, .why = "" },
    { .name = "as many multiprocessors of a newer architecture",
      .gpus = { RTX4090(79, 80,), H100(30, 80,) },
      .want = 1, .why = "which is faster than device 0" },
    { .name = "one with room for all before a faster one without",
      .gpus = { H100(14, 80,), RTX3060(24, 24,) },
      .want = 1, .why = "since device 0 has 14.0 GB free, too little for all weights and the clip at once" },
    { .name = "none has room for all: the faster one",
      .gpus = { RTX3060(14, 24,), H100(14, 80,) },
      .want = 1, .why = "which is faster than device 0" },
    { .name = "none has room for all, the faster one for nothing",
      .gpus = { RTX3060(14, 24,), H100(3, 80,) },
      .want = 0, .why = "" },
    { .name = "nowhere",
      .gpus = { H100(1, 80,), H100(2, 80,) },
      .want = -1,
      .why = "device 0 has 1.0 GB free, and 11.0 GB are wanted; "
             "device 1 has 2.0 GB free, and 11.0 GB are wanted" },
    { .name = "a fault",
      .gpus = { H100(80, 80, .fault = "no code for it"), RTX3060(24, 24,) },
      .want = 1, .why = "since device 0 cannot be used (no code for it)" },
    { .name = "nothing but faults",
      .gpus = { H100(80, 80, .fault = "no code for it") },
      .want = -1, .why = "device 0 cannot be used (no code for it)" },
    { .name = "weights that are there before speed",
      .gpus = { B200(180, 180,), RTX3060(20, 24, .shares = 1, .loaded = 14) },
      .want = 1, .why = "which has the weights already" },
    { .name = "weights that are there leave room for the clip alone",
      .gpus = { H100(6, 80, .shares = 1, .loaded = 14), H100(80, 80,) },
      .want = 0, .why = "" },
    { .name = "weights that are there, no room for the clip",
      .gpus = { H100(80, 80,), H100(0.5, 80, .shares = 1, .loaded = 6) },
      .want = 0, .why = "" },
    { .name = "the last of four",
      .gpus = { RTX3060(24, 24,), H100(1, 80,), H100(40, 80, .fault = "gone"), RTX4090(24, 24,) },
      .want = 3, .why = "which is faster than device 0" },
    { .name = "residency=all wants room for all",
      .gpus = { H100(14, 80,), RTX3060(19, 24,) },
      .want = -1,
      .why = "device 0 has 14.0 GB free, and 20.0 GB are wanted; "
             "device 1 has 19.0 GB free, and 20.0 GB are wanted",
      .residency = TD_RESIDENT_ALL },
    { .name = "residency=stage: room is no difference",
      .gpus = { RTX3060(24, 24,), H100(14, 80,) },
      .want = 1, .why = "which is faster than device 0", .residency = TD_RESIDENT_STAGE },
    { .name = "a limit is one on each",
      .gpus = { H100(80, 80,) },
      .want = -1, .why = "3.0 GB are allowed of device 0, and 11.0 GB are wanted", .max_bytes = 3 },
    { .name = "none at all",
      .want = -1, .why = "" },
};

static int fill(TDCandidate c[4], const Gpu *gpus)
{
    int n = 0;

    for (; n < 4 && gpus[n].sm; n++) {
        const Gpu *g = &gpus[n];

        c[n] = (TDCandidate){ .gpu = { .sm = g->sm, .n_sm = g->n_sm, .clock = 1000 * g->mhz },
                              .need = g->fault ? NULL : &need, .shares = g->shares,
                              .loaded = (uint64_t)(g->loaded * 1e9) };
        c[n].gpu.available = (uint64_t)(g->available * 1e9);
        c[n].gpu.total = (uint64_t)(g->total * 1e9);
        snprintf(c[n].gpu.fault, sizeof(c[n].gpu.fault), "%s", g->fault ? g->fault : "");
    }
    return n;
}

static void test_fit(void)
{
    TDCandidate c = { .need = &need };
    TDNeed reserved = need;
    TDPlan plan;

    test_begin("how a clip fits");
    CHECK_INT(td_fit(&c, 20 * GB, TD_RESIDENT_AUTO, 0, &plan), TD_FIT_ALL);
    CHECK(plan.weights == 14 * GB && plan.clip == 6 * GB);
    CHECK_INT(td_fit(&c, 20 * GB - 1, TD_RESIDENT_AUTO, 0, &plan), TD_FIT_STAGE);
    CHECK_INT(td_fit(&c, 11 * GB, TD_RESIDENT_AUTO, 0, &plan), TD_FIT_STAGE);
    CHECK_INT(td_fit(&c, 11 * GB - 1, TD_RESIDENT_AUTO, 0, &plan), TD_FIT_NONE);
    reserved.reserve = 1 * GB;
    c.need = &reserved;
    CHECK_INT(td_fit(&c, 20 * GB, TD_RESIDENT_AUTO, 0, &plan), TD_FIT_STAGE);
    CHECK_INT(td_fit(&c, 21 * GB, TD_RESIDENT_AUTO, 0, &plan), TD_FIT_ALL);
    CHECK_INT(td_fit(&c, 1, TD_RESIDENT_AUTO, 0, &plan), TD_FIT_NONE);
    reserved.context = 2 * GB;                   /* where it is not there yet */
    CHECK_INT(td_fit(&c, 23 * GB - 1, TD_RESIDENT_AUTO, 0, &plan), TD_FIT_STAGE);
    CHECK_INT(td_fit(&c, 23 * GB, TD_RESIDENT_AUTO, 0, &plan), TD_FIT_ALL);
    c.gpu.opened = 1;
    CHECK_INT(td_fit(&c, 21 * GB, TD_RESIDENT_AUTO, 0, &plan), TD_FIT_ALL);
}

/* ---- names ---- */

static char line[512];

static void keep_line(void *cookie, int level, const char *text)
{
    (void)cookie;
    (void)level;
    snprintf(line, sizeof(line), "%s", text);
}

static const TDGpuInfo named[] = {
    { .name = "Card A", .uuid = "GPU-0a1b2c3d-0000-1111-2222-333344445555", .pci = "00000000:3B:00.0" },
    { .name = "Card B", .uuid = "MIG-0a1b2c3d-0000-1111-2222-333344446666", .pci = "00000001:AF:00.0" },
};

static const struct { const char *text; int want; const char *words; } names[] = {
    { "0", 0, NULL }, { "1", 1, NULL },
    { "GPU-0a1b2c3d-0000-1111-2222-333344445555", 0, NULL },
    { "gpu-0A1B2C3D-0000-1111-2222-333344445555", 0, NULL },
    { "MIG-0a1b2c3d-0000-1111-2222-333344446666", 1, NULL },
    { "00000000:3B:00.0", 0, NULL }, { "0000:3b:00.0", 0, NULL }, { "3B:00.0", 0, NULL },
    { "3b:0", 0, NULL }, { "1:af:0.0", 1, NULL },
    { "2", TD_ERR(EINVAL),
      "device 2, want 0..1 (0: Card A, GPU-0a1b2c3d-0000-1111-2222-333344445555, 00000000:3B:00.0; 1: Card B" },
    { "af:00.0", TD_ERR(EINVAL), "device: no af:00.0 here, want one of 0: Card A" },
    { "GPU-0a1b2c3d", TD_ERR(EINVAL), "device: no GPU-0a1b2c3d here" },
    { "1048576", TD_ERR(EINVAL), "device 1048576, want 0..1" },
};

/* no names of any GPU */
static const struct { const char *text, *words; } wrong[] = {
    { "0+1", "device: '0+1', but a clip is made on one card" },
    { "first", "device: 'first', want auto, a number, a UUID (GPU-...) or a PCI bus id" },
    { "1x", "device: '1x', want auto" }, { "-2", "device: '-2', want auto" }, { "3b:", "device: '3b:', want auto" },
    { "3b:-0", "device: '3b:-0', want auto" }, { "3b: 0", "device: '3b: 0', want auto" },
    { "3b:00.0 ", "device: '3b:00.0 ', want" }, { "99999999999999999999", "device: '99999999999999999999', want" },
};

static void test_names(void)
{
    TDLog log = { .out = { NULL, keep_line, TD_LOG_ERROR } };

    test_begin("names of GPUs");
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        line[0] = 0;
        CHECK_INT(td_gpu_by_name(named, 2, names[i].text, &log), names[i].want);
        if (!CHECK(!strncmp(line, names[i].words ? names[i].words : "", names[i].words ? strlen(names[i].words) : 1)))
            printf("  %s: %s\n", names[i].text, line);
        CHECK_INT(td_gpu_check_name(names[i].text, &log), 0);
    }
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        line[0] = 0;
        CHECK_INT(td_gpu_check_name(wrong[i].text, &log), TD_ERR(EINVAL));
        if (!CHECK(!strncmp(line, wrong[i].words, strlen(wrong[i].words))))
            printf("  %s\n", line);
    }
    CHECK(td_gpu_check_name(NULL, &log) == 0 && td_gpu_check_name("auto", &log) == 0);
    CHECK(td_gpu_any(NULL) && td_gpu_any("") && td_gpu_any("auto") && td_gpu_any("-1"));
    CHECK(!td_gpu_any("0") && !td_gpu_any("automatic"));
}

int main(void)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const struct Case *k = &cases[i];
        TDCandidate c[4];
        char why[400];
        int n = fill(c, k->gpus);

        test_begin(k->name);
        CHECK_INT(td_choose(c, n, k->residency, (uint64_t)(k->max_bytes * 1e9), why, sizeof(why)), k->want);
        CHECK_STR(why, k->why);
    }
    test_fit();
    test_names();
    return test_end();
}
