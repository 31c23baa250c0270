/* SPDX-License-Identifier: BSD-2-Clause
 * What happens around a clip: residency of weights and the memory it takes, prompts known from before, weights shared
 * by contexts and threads, loading that is interrupted, and the clock. With TD_TEST_BACKEND=cuda on a GPU. */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include "small_model.h"
#include "../gpu/hog.h"

enum { W = 32, H = 32, N = 5, BYTES = W * H * 3 * N };

static char model[256];

/* the lines of a context, in order, cut to what fits */
typedef struct Lines { Seen seen; char text[16384]; int n_loads; } Lines;

static void keep_line(void *cookie, int level, const char *line)
{
    Lines *l = cookie;
    size_t n = strlen(l->text);

    on_line(&l->seen, level, line);
    snprintf(l->text + n, sizeof(l->text) - n, "%s\n", line);
    l->n_loads += !strncmp(line, "load: ", 6) && strstr(line, " GB/s, ") && strstr(line, model);
}

static int want_gpu(void)
{
    const char *backend = getenv("TD_TEST_BACKEND");

    return backend && !strcmp(backend, "cuda");
}

static void lines_settings(TDSettings *s, Lines *l)
{
    memset(l, 0, sizeof(*l));
    small_settings(s, &l->seen, model);
    s->backend = want_gpu() ? TD_BACKEND_CUDA : TD_BACKEND_CPU;
    s->logger = (TDLogger){ l, keep_line, TD_LOG_DEBUG };
    s->cookie = &l->seen;
}

/* a clip of the prompt; its pixels if wanted. @return frames or the error */
static int clip(TDContext *c, const char *prompt, uint8_t *pixels)
{
    TDParams p;
    int ret;

    small_params(&p);
    p.prompt = prompt;
    ret = td_start(c, &p);
    return ret < 0 ? ret : read_clip(c, pixels);
}

/* ---- residency ---- */

static void test_residency(void)
{
    static const char *const names[] = { "auto", "all", "stage" };
    static uint8_t want[BYTES], got[BYTES];
    uint64_t peak[3], predicted[3];
    TDContext *c = NULL;
    TDSettings s;
    TDInfo info;
    Lines l;
    char wide[256];

    for (int r = 0; r < 3; r++) {
        test_begin("the same frames whichever weights stay");
        lines_settings(&s, &l);
        s.residency = (enum TDResidency)r;
        if (!CHECK_INT(td_open(&c, &s), 0))
            return;
        CHECK_INT(l.n_loads, s.residency == TD_RESIDENT_STAGE ? 0 : 3);
        CHECK_INT(clip(c, "a cat", r ? got : want), N);
        CHECK_INT(td_info(c, &info), 0);
        peak[r] = info.peak_bytes;
        predicted[r] = info.predicted_bytes;
        CHECK(info.peak_bytes > 0 && info.peak_bytes <= info.predicted_bytes);
        CHECK(!r || !memcmp(want, got, BYTES));
        CHECK_INT(l.n_loads, 3);
        CHECK_INT(clip(c, "a dog", NULL), N);
        CHECK_INT(l.n_loads, s.residency == TD_RESIDENT_STAGE ? 6 : 3);
        if (test_state.bad)
            printf("  residency=%s\n", names[r]);
        td_close(&c);
    }
    test_begin("stage needs less than all, auto as much where there is room");
    CHECK(peak[TD_RESIDENT_STAGE] < peak[TD_RESIDENT_ALL]);
    CHECK_INT(peak[TD_RESIDENT_AUTO], peak[TD_RESIDENT_ALL]);

    test_begin("auto with little room gives up what it must");
    lines_settings(&s, &l);
    s.max_bytes = peak[TD_RESIDENT_ALL] - 1;
    if (!CHECK_INT(td_open(&c, &s), 0))
        return;
    CHECK_INT(clip(c, "a cat", got), N);
    CHECK(!memcmp(want, got, BYTES));
    CHECK_INT(td_info(c, &info), 0);
    CHECK(info.peak_bytes <= info.predicted_bytes && info.predicted_bytes <= s.max_bytes);
    CHECK_INT(l.seen.n_errors, 0);
    CHECK(strstr(l.text, "; weights by stage") != NULL);
    td_close(&c);

    test_begin("auto with the least room there is");
    lines_settings(&s, &l);
    /* with what loading needs for a moment, which is more on a device that makes values itself */
    s.max_bytes = want_gpu() ? predicted[TD_RESIDENT_STAGE] : peak[TD_RESIDENT_STAGE] + 4096;
    if (!CHECK_INT(td_open(&c, &s), 0))
        return;
    for (int i = 0; i < 2; i++)
        CHECK_INT(clip(c, i ? "a dog" : "a cat", got), N);
    CHECK_INT(td_info(c, &info), 0);
    CHECK(info.peak_bytes <= s.max_bytes);
    td_close(&c);

    test_begin("all with too little room says how many bytes are short");
    lines_settings(&s, &l);
    s.residency = TD_RESIDENT_ALL;
    s.max_bytes = 100000;
    check_error(&l.seen, td_open(&c, &s), TD_ERR(ENOMEM), "more than the limit of 100000");
    CHECK(c == NULL);

    test_begin("a clip that cannot fit fails before any work, and another one works");
    lines_settings(&s, &l);
    s.max_bytes = peak[TD_RESIDENT_ALL] + 100;
    if (CHECK_INT(td_open(&c, &s), 0)) {
        TDParams p;

        small_params(&p);
        p.width = p.height = 512;
        check_error(&l.seen, td_start(c, &p), TD_ERR(ENOMEM), "more than the limit of");
        CHECK_INT(clip(c, "a cat", got), N);
        CHECK(!memcmp(want, got, BYTES));
        td_close(&c);
    }
    test_begin("a clip larger than the machine's memory, or what is free of a GPU's");
    lines_settings(&s, &l);
    if (small_model_make("wide", want_gpu() ? "--dim=2048 --vae-dim=16" : "--dim=2048") < 0 ||
        (want_gpu() && !CHECK_INT(hog_open(), 0)))
        return;
    s.model = small_path(wide, "wide");
    if (CHECK_INT(td_open(&c, &s), 0)) {
        TDParams p;

        small_params(&p);
        p.width = p.height = 2048;
        p.n_frames = 509;
        if (want_gpu())
            hog_take((size_t)4 << 30);           /* there are GPUs that hold it */
        check_error(&l.seen, td_start(c, &p), TD_ERR(ENOMEM), "more than the free");
        if (want_gpu())
            hog_let_go();
        CHECK_INT(clip(c, "a cat", NULL), N);
        td_close(&c);
    }
}

/* ---- prompts ---- */

static void test_prompts(void)
{
    static const char *const prompts[] = { "a cat", "a dog", "a cow", "a hen", "a fox" };
    static uint8_t first[BYTES], again[BYTES];
    TDContext *c = NULL;
    TDSettings s;
    TDParams p;
    TDInfo info;
    Lines l;

    test_begin("a prompt used again needs no text encoder");
    lines_settings(&s, &l);
    s.residency = TD_RESIDENT_STAGE;
    if (!CHECK_INT(td_open(&c, &s), 0))
        return;
    CHECK_INT(clip(c, prompts[0], first), N);
    CHECK_INT(td_info(c, &info), 0);
    CHECK_INT(info.text_cached, 0);
    CHECK_INT(l.n_loads, 3);
    CHECK(!strstr(l.text, "text: cached"));
    CHECK_INT(clip(c, prompts[0], again), N);
    CHECK_INT(td_info(c, &info), 0);
    CHECK_INT(info.text_cached, 1);
    CHECK_INT(l.n_loads, 5);
    CHECK(strstr(l.text, "text: cached, ") != NULL);
    CHECK(!memcmp(first, again, BYTES));

    test_begin("the last four prompts are kept");
    for (int i = 1; i < 5; i++) {
        CHECK_INT(clip(c, prompts[i], NULL), N);
        CHECK_INT(td_info(c, &info), 0);
        CHECK_INT(info.text_cached, 0);
    }
    for (int i = 4; i >= 0; i--) {
        CHECK_INT(clip(c, prompts[i], again), N);
        CHECK_INT(td_info(c, &info), 0);
        CHECK_INT(info.text_cached, i > 0);
    }
    CHECK(!memcmp(first, again, BYTES));

    test_begin("one of two prompts is known");
    small_params(&p);
    p.sampler = TD_SAMPLER_UNIPC;
    p.n_steps = 2;
    p.prompt = prompts[0];
    p.negative_prompt = "dark";
    CHECK_INT(td_start(c, &p), 0);
    CHECK_INT(read_clip(c, first), N);
    p.prompt = "bright";                         /* the second of them */
    CHECK_INT(td_start(c, &p), 0);
    CHECK_INT(read_clip(c, again), N);
    CHECK(memcmp(first, again, BYTES) != 0);
    p.prompt = prompts[0];
    CHECK_INT(td_start(c, &p), 0);
    CHECK_INT(read_clip(c, again), N);
    CHECK(!memcmp(first, again, BYTES));
    td_close(&c);
}

/* ---- sharing ---- */

static void test_sharing(void)
{
    static uint8_t a[BYTES], b[BYTES];
    TDContext *c[3] = { NULL };
    TDSettings s;
    Lines l[3];

    for (int order = 0; order < 2; order++) {
        test_begin(order ? "two contexts, the second closed first" : "two contexts, the first closed first");
        for (int i = 0; i < 2; i++) {
            lines_settings(&s, &l[i]);
            if (!CHECK_INT(td_open(&c[i], &s), 0))
                return;
        }
        CHECK_INT(l[0].n_loads, 3);
        CHECK_INT(l[1].n_loads, 0);
        CHECK(!strstr(l[0].text, "shares the weights of"));
        CHECK(strstr(l[1].text, "shares the weights of") != NULL);
        CHECK_INT(clip(c[0], "a cat", a), N);
        td_close(&c[order]);
        CHECK_INT(clip(c[!order], "a cat", b), N);
        CHECK(!memcmp(a, b, BYTES));
        td_close(&c[!order]);
    }

    test_begin("by stage, weights that another context uses stay");
    lines_settings(&s, &l[0]);
    CHECK_INT(td_open(&c[0], &s), 0);
    lines_settings(&s, &l[1]);
    s.residency = TD_RESIDENT_STAGE;
    CHECK_INT(td_open(&c[1], &s), 0);
    if (c[0] && c[1]) {
        CHECK_INT(clip(c[1], "a cat", b), N);
        CHECK(!memcmp(a, b, BYTES));
        CHECK_INT(l[1].n_loads, 0);
        CHECK_INT(clip(c[0], "a cat", b), N);
        CHECK(!memcmp(a, b, BYTES));
        td_close(&c[0]);
        CHECK_INT(clip(c[1], "a dog", b), N);    /* now they have to be loaded */
        CHECK(l[1].n_loads >= 2);
    }
    td_close(&c[0]);
    td_close(&c[1]);

    for (int norm = 0; norm < 2; norm++) {
        test_begin(norm ? "other norms are not shared but for what is the same" :
                          "another precision is not shared but for what is the same");
        lines_settings(&s, &l[2]);
        if (norm)
            s.norm = TD_NORM_EXACT;
        else
            s.quant = TD_QUANT_NONE;
        CHECK_INT(td_open(&c[2], &s), 0);        /* alone */
        CHECK_INT(clip(c[2], "a cat", a), N);
        td_close(&c[2]);
        lines_settings(&s, &l[0]);
        if (!norm)
            s.quant = TD_QUANT_INT8;
        CHECK_INT(td_open(&c[0], &s), 0);
        lines_settings(&s, &l[1]);
        s.quant = norm ? s.quant : TD_QUANT_NONE;
        s.norm = norm ? TD_NORM_EXACT : s.norm;
        CHECK_INT(td_open(&c[1], &s), 0);        /* beside another one */
        if (!c[0] || !c[1])
            return;
        CHECK_INT(l[1].n_loads, 1);
        CHECK_INT(clip(c[0], "a cat", b), N);
        CHECK(memcmp(a, b, BYTES) != 0);
        td_close(&c[0]);
        CHECK_INT(clip(c[1], "a cat", b), N);
        CHECK(!memcmp(a, b, BYTES));
        td_close(&c[1]);
    }

    test_begin("another precision of the VAE is not shared, on a CPU the same pictures");
    for (int i = 0; i < 2; i++) {
        lines_settings(&s, &l[i]);
        s.vae_dtype = i ? TD_VAE_DTYPE_BF16 : TD_VAE_DTYPE_AUTO;
        CHECK_INT(td_open(&c[i], &s), 0);
        CHECK_INT(clip(c[i], "a cat", i ? b : a), N);
    }
    CHECK_INT(l[1].n_loads, 1);
    CHECK(want_gpu() || !memcmp(a, b, BYTES));
    td_close(&c[0]);
    td_close(&c[1]);
}

typedef struct Worker {
    const uint8_t *want;
    enum TDResidency residency;
    atomic_int *failed;
} Worker;

static void *worker_main(void *arg)
{
    const Worker *w = arg;
    uint8_t *got = malloc(BYTES);

    for (int round = 0; round < 4 && got; round++) {
        TDContext *c = NULL;
        TDSettings s;
        TDParams p;
        TDFrame f = { .format = TD_PIX_RGB24, .stride = { 3 * W } };
        int n = 0, bad;

        td_default_settings(&s, sizeof(s));
        s.model = model;
        s.backend = want_gpu() ? TD_BACKEND_CUDA : TD_BACKEND_CPU;
        s.n_threads = 1;
        s.residency = w->residency;
        td_default_params(&p, sizeof(p));
        p.prompt = "a cat";
        p.width = p.height = 32;
        p.n_frames = N;
        p.n_steps = 1;
        p.sla_topk = 1.0;
        bad = td_open(&c, &s) < 0 || td_start(c, &p) < 0;
        while (!bad && n < N) {
            f.data[0] = got + n * W * H * 3;
            bad = td_read_frame(c, &f) != 1;
            n += !bad;
        }
        if (bad || memcmp(got, w->want, BYTES))
            atomic_fetch_add(w->failed, 1);
        td_close(&c);
    }
    free(got);
    return NULL;
}

static void test_threads(void)
{
    static uint8_t want[BYTES];
    static const enum TDResidency residency[] = { TD_RESIDENT_AUTO, TD_RESIDENT_STAGE, TD_RESIDENT_ALL,
                                                  TD_RESIDENT_STAGE };
    pthread_t thread[4];
    atomic_int failed = 0;
    Worker w[4];
    TDContext *c = NULL;
    TDSettings s;
    Lines l;
    int n = 0;

    test_begin("four threads open, use and close contexts that share weights");
    lines_settings(&s, &l);
    if (!CHECK_INT(td_open(&c, &s), 0))
        return;
    CHECK_INT(clip(c, "a cat", want), N);
    td_close(&c);
    for (; n < 4; n++) {
        w[n] = (Worker){ want, residency[n], &failed };
        if (!CHECK_INT(pthread_create(&thread[n], NULL, worker_main, &w[n]), 0))
            break;
    }
    while (n > 0)
        pthread_join(thread[--n], NULL);
    CHECK_INT(atomic_load(&failed), 0);
}

/* ---- interrupts ---- */

typedef struct Countdown { int left, calls; } Countdown;

static int count_down(void *cookie)
{
    Countdown *d = cookie;

    d->calls++;
    return d->left-- <= 0;
}

static void test_interrupts(void)
{
    TDContext *c = NULL;
    TDSettings s;
    Lines l;
    Countdown d = { 1 << 30, 0 };
    int all;

    test_begin("loading can be interrupted at every tensor");
    lines_settings(&s, &l);
    s.progress = NULL;
    s.interrupt = count_down;
    s.cookie = &d;
    CHECK_INT(td_open(&c, &s), 0);
    td_close(&c);
    all = want_gpu() ? d.calls * 2 / 3 : d.calls;   /* a GPU's loader also asks while it waits */
    CHECK(all > 60);                             /* tensors are asked for when checked, and when loaded */
    for (int n = 0; n < all; n += 1 + all / 40) {
        d = (Countdown){ n, 0 };
        CHECK_INT(td_open(&c, &s), TD_ERR(ECANCELED));
        CHECK(c == NULL);
        CHECK_INT(d.calls, n + 1);
    }
    CHECK_INT(l.seen.n_errors, 0);

    test_begin("loading works after it");
    d = (Countdown){ 1 << 30, 0 };
    CHECK_INT(td_open(&c, &s), 0);
    CHECK_INT(clip(c, "a cat", NULL), N);
    td_close(&c);

    test_begin("weights that come by stage can be interrupted, and the next clip works");
    s.residency = TD_RESIDENT_STAGE;
    CHECK_INT(td_open(&c, &s), 0);
    for (int n = 0; n < 60 && c; n += 7) {
        d = (Countdown){ n, 0 };
        CHECK_INT(clip(c, "a cat", NULL), TD_ERR(ECANCELED));
    }
    d = (Countdown){ 1 << 30, 0 };
    if (c)
        CHECK_INT(clip(c, "a cat", NULL), N);
    td_close(&c);
}

/* ---- the second expert, beside the first one's work ---- */

static int expert_clip(TDContext *c, uint8_t *pixels)
{
    static uint8_t rgb[8 * 8 * 3];
    TDImage image = { 8, 8, 24, rgb };
    TDParams p;
    int ret;

    for (size_t i = 0; i < sizeof(rgb); i++)
        rgb[i] = (uint8_t)(37 * i);
    small_params(&p);
    p.prompt = "a cat";
    p.n_steps = 3;
    p.image = &image;
    ret = td_start(c, &p);
    return ret < 0 ? ret : read_clip(c, pixels);
}

static void test_prefetch(void)
{
    static const char beside[] = "beside the other expert's work";
    static uint8_t want[BYTES], got[BYTES];
    uint64_t most;
    TDContext *c = NULL;
    TDSettings s;
    TDInfo info;
    Lines l;
    Countdown d;

    small_path(model, "experts");
    if (small_model_make("experts", want_gpu() ? "--in-dim=36 --dim=512 --blocks=8 --vae-dim=16" :
                                                 "--in-dim=36 --dim=512 --blocks=8") < 0)
        return;
    test_begin("experts: all weights stay");
    lines_settings(&s, &l);
    s.residency = TD_RESIDENT_ALL;
    CHECK_INT(td_open(&c, &s), 0);
    CHECK_INT(expert_clip(c, want), N);
    CHECK(strstr(l.text, beside) == NULL);
    td_close(&c);

    test_begin("experts: by stage the second comes while the first works");
    lines_settings(&s, &l);
    s.residency = TD_RESIDENT_STAGE;
    if (!CHECK_INT(td_open(&c, &s), 0))
        return;
    for (int i = 0; i < 2; i++) {
        l.text[0] = 0;
        CHECK_INT(expert_clip(c, got), N);
        CHECK(!memcmp(want, got, BYTES));
        CHECK(strstr(l.text, beside) != NULL);
    }
    CHECK_INT(td_info(c, &info), 0);
    CHECK(info.peak_bytes <= info.predicted_bytes);
    most = info.predicted_bytes;

    test_begin("experts: interrupted at any moment, and the next clip works");
    td_close(&c);
    lines_settings(&s, &l);
    s.residency = TD_RESIDENT_STAGE;
    s.progress = NULL;
    s.interrupt = count_down;
    s.cookie = &d;
    d = (Countdown){ 1 << 30, 0 };
    CHECK_INT(td_open(&c, &s), 0);
    d = (Countdown){ 1 << 30, 0 };
    CHECK_INT(expert_clip(c, got), N);
    for (int n = 0, all = d.calls * 2 / 3; n < all; n += 1 + all / 40) {
        d = (Countdown){ n, 0 };
        CHECK_INT(expert_clip(c, NULL), TD_ERR(ECANCELED));
    }
    d = (Countdown){ 1 << 30, 0 };
    CHECK_INT(expert_clip(c, got), N);
    CHECK(!memcmp(want, got, BYTES));
    CHECK_INT(l.seen.n_errors, 0);
    td_close(&c);

    test_begin("experts: without room for both they come one after the other");
    lines_settings(&s, &l);
    s.residency = TD_RESIDENT_STAGE;
    s.max_bytes = most - 1;
    CHECK_INT(td_open(&c, &s), 0);
    CHECK_INT(expert_clip(c, got), N);
    CHECK(!memcmp(want, got, BYTES));
    CHECK(strstr(l.text, beside) == NULL);
    CHECK_INT(td_info(c, &info), 0);
    CHECK(info.peak_bytes <= info.predicted_bytes && info.predicted_bytes <= s.max_bytes);
    td_close(&c);
}

/* ---- the clock ---- */

static void check_sum(const TDInfo *info)
{
    double sum = info->copy_seconds + info->caller_seconds;

    for (int i = 0; i < TD_N_STAGES; i++)
        sum += info->stage_seconds[i];
    CHECK_NEAR(sum, info->wall_seconds, 1e-6);
    CHECK(info->first_frame_seconds > 0 && info->first_frame_seconds <= info->wall_seconds);
    CHECK(info->copy_seconds > 0);
}

static double number(const char *json, const char *key)
{
    char quoted[64];
    const char *p;

    snprintf(quoted, sizeof(quoted), "\"%s\": ", key);
    p = strstr(json, quoted);
    return CHECK(p != NULL) ? atof(p + strlen(quoted)) : -1;
}

static void test_clock(void)
{
    static uint8_t pixels[W * H * 3];
    char json[2048], small[10];
    TDContext *c = NULL;
    TDSettings s;
    TDParams p;
    TDInfo info;
    TDFrame f = { .format = TD_PIX_RGB24, .data = { pixels }, .stride = { 3 * W } };
    Lines l;
    double load;
    int n;

    test_begin("the times of a clip add up");
    lines_settings(&s, &l);
    if (!CHECK_INT(td_open(&c, &s), 0))
        return;
    CHECK_INT(td_stats_json(c, json, sizeof(json)), TD_ERR(EINVAL));
    CHECK_INT(td_info(c, &info), 0);
    load = info.stage_seconds[TD_STAGE_LOAD];
    CHECK(load > 0);
    CHECK_INT(clip(c, "a cat", NULL), N);
    CHECK_INT(td_info(c, &info), 0);
    check_sum(&info);
    CHECK_NEAR(info.stage_seconds[TD_STAGE_LOAD], load, 1e-9);
    CHECK(info.wall_seconds > load);
    CHECK_INT(info.frames_out, N);
    CHECK(want_gpu() == (info.device_used_bytes > 0));
    CHECK(strstr(l.text, "clip: 5 frames 32x32, 1 steps: load ") != NULL);

    test_begin("a warm clip, and a caller that takes its time");
    small_params(&p);
    CHECK_INT(td_start(c, &p), 0);
    CHECK_INT(td_read_frame(c, &f), 1);
    nanosleep(&(struct timespec){ .tv_nsec = 60000000 }, NULL);
    n = td_stats_json(c, json, sizeof(json));
    CHECK_INT(n, (int)strlen(json));
    CHECK(number(json, "caller_seconds") >= 0.06);
    CHECK_INT((int)number(json, "frames_out"), 1);
    for (int i = 1; i < N; i++)
        CHECK_INT(td_read_frame(c, &f), 1);
    CHECK_INT(td_info(c, &info), 0);             /* with the last frame, not the call after it */
    check_sum(&info);
    CHECK(info.caller_seconds >= 0.06 && info.stage_seconds[TD_STAGE_LOAD] == 0 && info.clip_frames == N);
    CHECK_INT(td_read_frame(c, &f), 0);

    test_begin("statistics as JSON");
    n = td_stats_json(c, json, sizeof(json));
    CHECK(n > 300 && n < (int)sizeof(json) && json[0] == '{' && json[n - 1] == '}' && !strchr(json, '\n'));
    CHECK_NEAR(number(json, "wall_seconds"), info.wall_seconds, 1e-6);
    CHECK_NEAR(number(json, "peak_bytes"), (double)info.peak_bytes, 0.5);
    CHECK_INT((int)number(json, "frames"), N);
    CHECK_INT((int)number(json, "width"), W);
    CHECK(number(json, "text_cached") == 1);
    CHECK_INT(td_stats_json(c, small, sizeof(small)), n);
    CHECK(!strncmp(small, json, 9) && small[9] == 0);
    CHECK_INT(td_stats_json(c, small, 0), n);
    CHECK_INT(td_stats_json(NULL, small, 1), TD_ERR(EINVAL));

    test_begin("a clip that ends early says so once");
    CHECK_INT(td_start(c, &p), 0);
    CHECK_INT(td_read_frame(c, &f), 1);
    l.text[0] = 0;
    td_cancel(c);
    CHECK_INT(td_read_frame(c, &f), TD_ERR(ECANCELED));
    CHECK(strstr(l.text, "clip: 1 of 5 frames 32x32") != NULL);
    CHECK(td_stats_json(c, json, sizeof(json)) > 0);
    CHECK_INT((int)number(json, "frames_out"), 1);
    l.text[0] = 0;
    td_close(&c);
    CHECK(!strstr(l.text, "clip: "));
}

/* ---- many clips ---- */

static void test_many(void)
{
    TDContext *c = NULL;
    TDSettings s;
    TDParams p;
    TDInfo info;
    Lines l;
    uint64_t peak[2] = { 0 }, used[2] = { 0 };
    TDFrame f = { .format = TD_PIX_RGB24, .stride = { 3 * W } };
    static uint8_t pixels[W * H * 3];

    test_begin("twenty clips in a row take the same memory");
    lines_settings(&s, &l);
    s.residency = TD_RESIDENT_ALL;
    if (!CHECK_INT(td_open(&c, &s), 0))
        return;
    for (int i = 0; i < 20; i++) {               /* keys of a prompt are memory, too */
        CHECK_INT(clip(c, i % 2 ? "a cat" : "a dog", NULL), N);
        CHECK_INT(td_info(c, &info), 0);
        if (i == 2 || i == 3) {                  /* the first two need the text encoder */
            peak[i % 2] = info.peak_bytes;
            used[i % 2] = info.device_used_bytes;
        }
        CHECK(i < 4 || (info.peak_bytes == peak[i % 2] && info.device_used_bytes == used[i % 2]));
    }

    test_begin("cancelled in each stage, then a whole clip");
    f.data[0] = pixels;
    small_params(&p);
    p.prompt = "an owl";                         /* not known yet */
    p.nonblocking = 1;
    for (int pieces = 0; pieces < 5; pieces++) {
        int ret = 0;

        CHECK_INT(td_start(c, &p), 0);
        for (int i = 0; i < pieces; i++)
            ret = td_read_frame(c, &f);
        CHECK(ret == TD_ERR(EAGAIN) || ret == (pieces > 0));
        td_cancel(c);
        CHECK_INT(td_read_frame(c, &f), TD_ERR(ECANCELED));
    }
    CHECK_INT(clip(c, "a cat", NULL), N);
    CHECK_INT(td_info(c, &info), 0);
    CHECK(info.peak_bytes == peak[1] && info.device_used_bytes == used[1]);
    td_close(&c);
}

int main(void)
{
    test_begin("model");
    if (small_model_make("model", want_gpu() ? "--vae-dim=16" : "") == 0) {
        small_path(model, "model");
        test_residency();
        test_prompts();
        test_sharing();
        test_threads();
        test_interrupts();
        test_clock();
        test_many();
        test_prefetch();
    }
    small_model_remove();
    return test_end();
}
