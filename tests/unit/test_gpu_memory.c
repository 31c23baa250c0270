/* SPDX-License-Identifier: BSD-2-Clause
 * Device memory that runs out where it should not: at several points, the plan accepted or not, somebody else takes all
 * of it. Then there is one line that says what was wanted and what was free, the code is ENOMEM, and once the memory is
 * back, the same handle makes the same clip. On a GPU (TD_TEST_BACKEND=cuda) all of its memory is taken; on the CPU
 * backend, where memory cannot be taken, the next allocation fails. TD_VERBOSE shows every line of the library, and
 * where the memory goes. */
#include "alloc_fail.h"
#include "golden.h"
#include "small_model.h"
#include "../gpu/hog.h"

enum Point { NEVER, BEFORE_START, AFTER_PLAN, AFTER_START, IN_TEXT, AFTER_TEXT, IN_DENOISE };

static struct {
    enum Point point;
    int taken, n_denoise, on_gpu;                /* n_denoise: reports of progress */
    void *context;                               /* that models are opened in; NULL: the primary one */
    Seen seen;
} trap;

static char model[256];

static void take(enum Point here)
{
    if (trap.point != here || trap.taken)
        return;
    trap.taken = 1;
    if (trap.on_gpu)
        hog_take(0);
    else
        alloc_fail_begin(1);
    if (getenv("TD_VERBOSE"))
        printf("  -- memory is taken at point %d, %zu bytes left\n", (int)here, trap.on_gpu ? hog_free_bytes() : 0);
}

static void let_go(void)
{
    if (trap.taken && trap.on_gpu)
        hog_let_go();
    else if (trap.taken)
        alloc_fail_end();
    trap.taken = 0;
    trap.point = NEVER;
}

static void trap_line(void *cookie, int level, const char *line)
{
    on_line(cookie, level, line);
    if (getenv("TD_VERBOSE"))
        printf("  %s\n", line);
    if (!strncmp(line, "memory: ", 8))           /* the plan has been accepted, and nothing allocated */
        take(AFTER_PLAN);
}

static void trap_progress(void *cookie, const TDProgress *p)
{
    on_progress(cookie, p);
    if (p->stage == TD_STAGE_TEXT)
        take(IN_TEXT);
    else if (p->stage == TD_STAGE_DENOISE)       /* the first report is the end of the text */
        take(trap.n_denoise++ ? IN_DENOISE : AFTER_TEXT);
}

static int open_model(TDContext **c, enum TDResidency residency)
{
    TDSettings s;

    small_settings(&s, &trap.seen, model);
    s.backend = golden_backend();
    s.residency = residency;
    s.cuda_context = trap.context;
    s.logger.callback = trap_line;
    s.progress = trap_progress;
    return td_open(c, &s);
}

/* a clip to its end, and a hash of its frames. @return 0 or the error */
static int run(TDContext *c, uint64_t *hash)
{
    static uint8_t pixels[640 * 480 * 3];
    int w = trap.on_gpu ? 640 : 32, h = trap.on_gpu ? 480 : 32, ret;
    TDFrame f = { .format = TD_PIX_RGB24, .data = { pixels }, .stride = { 3 * w } };
    TDParams p;

    small_params(&p);
    p.width = w;
    p.height = h;
    p.n_frames = trap.on_gpu ? 33 : 5;
    *hash = 0xcbf29ce484222325u;
    memset(&trap.seen, 0, sizeof(trap.seen));
    trap.n_denoise = 0;
    take(BEFORE_START);
    ret = td_start(c, &p);
    if (ret >= 0)
        take(AFTER_START);
    while (ret >= 0 && (ret = td_read_frame(c, &f)) > 0)
        for (int i = 0; i < 3 * w * h; i++)
            *hash = (*hash ^ pixels[i]) * 0x100000001b3u;
    return ret;
}

/* the one line of a failure */
static void check_line(const char *on_gpu)
{
    CHECK_INT(trap.seen.n_errors, 1);
    CHECK_INT(trap.seen.n_bad, 0);
    if (trap.on_gpu && !CHECK(strstr(trap.seen.error, on_gpu) && strstr(trap.seen.error, "free")))
        printf("  %s\n", trap.seen.error);
}

/* a context of the caller's has no kernels yet: they are loaded into it when a model is opened */
static void fresh_context(uint64_t want)
{
    TDContext *c = NULL;
    uint64_t hash = 0;

    test_begin("no memory left to load the kernels");
    if (!CHECK_INT(hog_context(&trap.context), 0))
        return;
    hog_take((size_t)64 << 20);                  /* room for what is opened before */
    CHECK_INT(open_model(&c, TD_RESIDENT_STAGE), TD_ERR(ENOMEM));
    CHECK(c == NULL);
    check_line("for kernels and their stacks wanted, ");
    td_close(&c);
    hog_let_go();

    test_begin("a first clip in a context of the caller's needs no more memory");
    if (CHECK_INT(open_model(&c, TD_RESIDENT_ALL), 0)) {
        trap.point = AFTER_START;
        CHECK_INT(run(c, &hash), 0);
        CHECK(trap.taken && hash == want);
        CHECK_INT(trap.seen.n_errors, 0);
    }
    td_close(&c);
    let_go();
    hog.destroy(trap.context);
    trap.context = NULL;
}

/* Memory is gone at a point of the handle's first clip, or of its second one. */
static void failing(const char *name, enum TDResidency residency, enum Point point, int second, const char *line,
                    uint64_t want)
{
    TDContext *c = NULL;
    uint64_t hash;

    test_begin(name);
    if (!CHECK_INT(open_model(&c, residency), 0))
        return;
    if (second && CHECK_INT(run(c, &hash), 0))
        CHECK(hash == want);
    trap.point = point;
    CHECK_INT(run(c, &hash), TD_ERR(ENOMEM));
    CHECK(trap.taken);
    check_line(line);
    CHECK(td_last_error(c)[0]);
    let_go();
    CHECK_INT(run(c, &hash), 0);
    CHECK(hash == want);
    trap.point = BEFORE_START;                   /* closed while there is none */
    CHECK_INT(run(c, &hash), TD_ERR(ENOMEM));
    td_close(&c);
    let_go();
}

static void gpu_only(uint64_t *want)
{
    TDContext *c = NULL;
    uint64_t hash;
    int ret;

    /* first of all, when no kernel has been launched */
    test_begin("a first clip that has started needs no more memory");
    if (!CHECK_INT(open_model(&c, TD_RESIDENT_ALL), 0))
        return;
    trap.point = AFTER_START;
    ret = run(c, &hash);
    CHECK_INT(ret, 0);
    CHECK(trap.taken);
    CHECK_INT(trap.seen.n_errors, 0);
    let_go();
    CHECK_INT(run(c, want), 0);
    CHECK(ret < 0 || hash == *want);

    test_begin("a second clip that has started needs no more memory");
    trap.point = AFTER_START;
    CHECK_INT(run(c, &hash), 0);
    CHECK(trap.taken && hash == *want);
    td_close(&c);
    let_go();

    test_begin("no memory left to open a model");
    for (int kind = TD_RESIDENT_AUTO; kind <= TD_RESIDENT_STAGE; kind++) {
        memset(&trap.seen, 0, sizeof(trap.seen));
        hog_take(0);
        ret = open_model(&c, (enum TDResidency)kind);
        if (ret >= 0) {                          /* the weights are for later */
            CHECK(kind != TD_RESIDENT_ALL);
            CHECK_INT(run(c, &hash), TD_ERR(ENOMEM));
        } else {
            CHECK(c == NULL);
            CHECK_INT(ret, TD_ERR(ENOMEM));
        }
        check_line("");
        hog_let_go();
        if (c)
            CHECK_INT(run(c, &hash), 0);
        else if (CHECK_INT(open_model(&c, (enum TDResidency)kind), 0))
            CHECK_INT(run(c, &hash), 0);
        CHECK(hash == *want);
        td_close(&c);
    }
    fresh_context(*want);
}

int main(void)
{
    static const char alloc_line[] = "wanted, ", plan_line[] = "more than the free ";
    TDContext *c = NULL;
    uint64_t want = 0;
    size_t before = 0;

    test_begin("model");
    trap.on_gpu = golden_backend() == TD_BACKEND_CUDA;
    if (small_model_make("m", trap.on_gpu ? "--text-blocks=2 --vae-dim=16" : "--text-blocks=2") < 0 ||
        (trap.on_gpu && !CHECK_INT(hog_open(), 0)))
        return test_end();
    small_path(model, "m");
    if (trap.on_gpu) {
        gpu_only(&want);
    } else if (CHECK_INT(open_model(&c, TD_RESIDENT_ALL), 0)) {
        CHECK_INT(run(c, &want), 0);
    }
    td_close(&c);
    failing("memory gone before a clip", TD_RESIDENT_ALL, BEFORE_START, 0, plan_line, want);
    if (trap.on_gpu)                             /* the driver keeps some of what it wanted while there was none */
        before = hog_free_bytes();
    failing("memory gone before a second clip", TD_RESIDENT_ALL, BEFORE_START, 1, plan_line, want);
    failing("memory gone between plan and allocation", TD_RESIDENT_ALL, AFTER_PLAN, 0, alloc_line, want);
    failing("memory gone between plan and allocation of a second clip", TD_RESIDENT_ALL, AFTER_PLAN, 1, alloc_line,
            want);
    failing("by stage: memory gone before a clip", TD_RESIDENT_STAGE, BEFORE_START, 0, plan_line, want);
    failing("by stage: memory gone between plan and allocation", TD_RESIDENT_STAGE, AFTER_PLAN, 0, alloc_line, want);
    failing("by stage: memory gone before the first weights", TD_RESIDENT_STAGE, AFTER_START, 0, alloc_line, want);
    failing("by stage: memory gone while the prompt is encoded", TD_RESIDENT_STAGE, IN_TEXT, 0, alloc_line, want);
    failing("by stage: memory gone before the transformer", TD_RESIDENT_STAGE, AFTER_TEXT, 0, alloc_line, want);
    failing("by stage: memory gone before the transformer of a second clip", TD_RESIDENT_STAGE, AFTER_TEXT, 1,
            alloc_line, want);
    failing("by stage: memory gone while denoising", TD_RESIDENT_STAGE, IN_DENOISE, 0, alloc_line, want);
    if (trap.on_gpu) {
        test_begin("all device memory is given back");
        CHECK(hog_free_bytes() + ((size_t)8 << 20) >= before);
        if (getenv("TD_VERBOSE"))
            printf("  %zu bytes free before, %zu after\n", before, hog_free_bytes());
    }
    small_model_remove();
    return test_end();
}
