/* SPDX-License-Identifier: BSD-2-Clause
 * Which weights are kept, on a device of a known size: the CPU's slots with a `memory` slot that counts what alloc and
 * free do, as a GPU's would, and that does not compute from the file mapping. */
#include "clip/clip.h"
#include "model/device.h"
#include "small_model.h"

enum { SIDE = 160 };                             /* working memory is more than that of the text, as in real clips */

static struct {
    const TDOps *real;
    TDOps ops;
    uint64_t size, used, peak;                   /* of the device */
    int n_allocs, fail_at;                       /* fail_at: 1 = the next allocation fails; 0: none does */
} gpu;

static int gpu_alloc(TDDev *dev, TDBuf *buf, size_t bytes, const char *what)
{
    int ret;

    if (gpu.used + bytes > gpu.size || (gpu.fail_at && ++gpu.n_allocs == gpu.fail_at))
        return td_error(dev->log, ENOMEM, "gpu: %zu bytes for %s wanted", bytes, what);
    ret = gpu.real->alloc(dev, buf, bytes, what);
    gpu.used += ret < 0 ? 0 : bytes;
    gpu.peak = gpu.used > gpu.peak ? gpu.used : gpu.peak;
    return ret;
}

static void gpu_free(TDDev *dev, TDBuf *buf)
{
    gpu.used -= buf->bytes;
    gpu.real->free(dev, buf);
}

static int gpu_memory(TDDev *dev, uint64_t *available, uint64_t *total)
{
    (void)dev;
    *available = gpu.size - gpu.used;
    *total = gpu.size;
    return 0;
}

static TDCancel cancel;
static TDLog lines;
static Seen seen;
static TDDev *device;

static const TDClipConfig config = {
    .p.width = SIDE, .p.height = SIDE, .p.n_frames = 1, .p.n_steps = 1, .t = { 80.0 / 81 },
    .attn = { .kind = TD_ATTN_DENSE, .bq = 128, .bk = 64, .topk = 1.0 }
};

static int open_model(TDModel **m, const char *dir, enum TDResidency residency, uint64_t size)
{
    TDSettings s;

    td_default_settings(&s, sizeof(s));
    s.model = dir;
    s.residency = residency;
    gpu.size = size;
    gpu.peak = 0;
    memset(&seen, 0, sizeof(seen));
    return td_model_open(m, &s, device, &lines);
}

static uint8_t pixels[SIDE * SIDE * 3], mapped[SIDE * SIDE * 3];

/* a clip to its last frame. @return 0 or the error */
static int run(TDModel *m, const char *prompt, TDPlan *need)
{
    const char *prompts[TD_MAX_PROMPTS] = { prompt, NULL };
    TDFrame f = { .format = TD_PIX_RGB24, .data = { pixels }, .stride = { 3 * SIDE } };
    TDClip *c = NULL;
    int ret = td_clip_open(&c, m, &config, prompts, &lines);

    if (ret >= 0 && need)
        *need = m->plan;
    while (ret >= 0 && c->phase != TD_CLIP_DONE) {
        ret = td_clip_advance(c, &f);
        if (ret > 0)
            ret = td_clip_frame(c, &f);
    }
    td_clip_close(&c);
    return ret;
}

static uint64_t part_bytes(const TDModel *m, enum TDFile f)
{
    return m->part[f]->bytes + m->part[f]->scratch;
}

/* ---- cases, in this order: the first ones measure what the others reckon with ---- */

static char path[256];
static struct { uint64_t text, weights, all, stage; } bytes;     /* weights; weights and clip held at once, by stage */

/* @return the model */
static TDModel *test_open(void)
{
    TDModel *m = NULL;

    test_begin("opening a model checks all of it and loads nothing");
    CHECK_INT(open_model(&m, path, TD_RESIDENT_AUTO, 1 << 30), 0);
    if (!m)
        return NULL;
    CHECK(gpu.used < 4096);                      /* scratch of the timestep */
    bytes.text = part_bytes(m, TD_FILE_TEXT);
    bytes.weights = bytes.text + part_bytes(m, TD_FILE_DIT) + part_bytes(m, TD_FILE_VAE);
    CHECK(bytes.text > 0 && part_bytes(m, TD_FILE_DIT) > 0);
    return m;
}

static void test_room_for_all(TDModel *m)
{
    TDPlan need = { 0 };

    test_begin("room for all: what was reckoned is what is used");
    CHECK_INT(run(m, "a cat", &need), 0);
    CHECK(!memcmp(mapped, pixels, sizeof(mapped)));  /* from the file, or from memory of its own: the same clip */
    CHECK(!m->plan.by_stage && m->held[TD_FILE_TEXT] && m->held[TD_FILE_DIT] && m->held[TD_FILE_VAE]);
    bytes.all = need.weights + need.clip;
    CHECK(gpu.peak <= bytes.all + 4096 && gpu.peak + 4096 > bytes.all);
    td_model_close(&m);
    CHECK_INT((long long)gpu.used, 0);
}

static void test_by_stage(void)
{
    TDModel *m = NULL;
    TDPlan need = { 0 };

    test_begin("by stage: less, and as reckoned");
    CHECK_INT(open_model(&m, path, TD_RESIDENT_STAGE, 1 << 30), 0);
    CHECK_INT(run(m, "a cat", &need), 0);
    bytes.stage = need.weights + need.clip;
    CHECK(bytes.stage < bytes.all && gpu.peak <= bytes.stage + 4096);
    CHECK(!m->held[TD_FILE_TEXT] && !m->held[TD_FILE_DIT] && m->held[TD_FILE_VAE]);
    td_model_close(&m);
}

static void test_every_size(void)
{
    TDModel *m = NULL;
    TDPlan need = { 0 };

    test_begin("auto on every size of device between the two, down to where nothing fits");
    for (uint64_t size = bytes.all + 8192; size >= bytes.stage; size -= (bytes.all - bytes.stage) / 6 + 1) {
        CHECK_INT(open_model(&m, path, TD_RESIDENT_AUTO, size), 0);
        for (int i = 0; i < 2; i++) {            /* prompts of 3 tokens */
            CHECK_INT(run(m, i ? "a car" : "a cat", &need), 0);
            CHECK(gpu.peak <= size && need.weights + need.clip <= size);
        }
        CHECK_INT(m->plan.by_stage, bytes.all + 512 > size); /* less the scratch of the timestep */
        td_model_close(&m);
        CHECK_INT((long long)gpu.used, 0);
    }
    CHECK_INT(open_model(&m, path, TD_RESIDENT_AUTO, bytes.stage / 2), 0);
    check_error(&seen, run(m, "a cat", NULL), TD_ERR(ENOMEM), "more than the free");
    td_model_close(&m);
}

/* ---- a model of many blocks ---- */

static void test_streamed(void)
{
    uint64_t text = 0, both = 0;
    TDModel *m = NULL;
    TDPlan need = { 0 };

    test_begin("less than a stage wants: block by block, down to where nothing fits; the same pictures");
    for (uint64_t size = bytes.stage - 1; !both || size >= both; size -= bytes.stage / 24 + 1) {
        int ret;

        CHECK_INT(open_model(&m, path, size % 2 ? TD_RESIDENT_AUTO : TD_RESIDENT_STAGE, size), 0);
        memset(pixels, 0, sizeof(pixels));
        ret = run(m, "a cat", &need);
        if (ret < 0) {
            check_error(&seen, ret, TD_ERR(ENOMEM), "more than the free");
            td_model_close(&m);
            break;
        }
        CHECK(gpu.peak <= size && need.weights + need.clip <= size && need.by_stage);
        CHECK(!memcmp(mapped, pixels, sizeof(mapped)));
        CHECK(!need.streamed[TD_FILE_TEXT] || !m->held[TD_FILE_TEXT]);
        if (need.streamed[TD_FILE_TEXT] && !text)
            text = size;
        both |= need.streamed[TD_FILE_TEXT] && need.streamed[TD_FILE_DIT] ? size : 0;
        CHECK_INT(run(m, "a cat", &need), 0);    /* again: the prompt is known, the transformer comes anew */
        CHECK(gpu.peak <= size && !need.streamed[TD_FILE_TEXT] && !memcmp(mapped, pixels, sizeof(mapped)));
        td_model_close(&m);
        CHECK_INT((long long)gpu.used, 0);
    }
    CHECK(text > bytes.stage * 9 / 10);          /* the text encoder is the first */
    CHECK(both > 0 && both < bytes.stage * 2 / 3);
}

/* an allocation fails, the first, the second and so on, until there are no more of them; they are more than `least` */
static void out_of_memory(enum TDResidency residency, uint64_t max_bytes, int least)
{
    TDModel *m = NULL;

    for (gpu.fail_at = 1; gpu.fail_at < 20; gpu.fail_at++) {
        int ret;

        gpu.n_allocs = 0;
        ret = open_model(&m, path, residency, max_bytes);
        if (ret >= 0)
            ret = run(m, "a cat", NULL);
        if (gpu.n_allocs < gpu.fail_at) {
            CHECK_INT(ret, 0);
            td_model_close(&m);
            break;
        }
        check_error(&seen, ret, TD_ERR(ENOMEM), "gpu:");
        gpu.n_allocs = 1000;
        if (m)
            CHECK_INT(run(m, "a cat", NULL), 0);
        td_model_close(&m);
        CHECK_INT((long long)gpu.used, 0);
    }
    CHECK(gpu.fail_at > least);
    gpu.fail_at = 0;
}

static void test_streamed_out_of_memory(void)
{
    test_begin("the device runs out of memory block by block: nothing leaks, and the next clip works");
    out_of_memory(TD_RESIDENT_AUTO, bytes.stage / 2, 10);        /* rest and two blocks of two parts, too */
}

static void test_streamed_file(void)
{
    const char *prompts[TD_MAX_PROMPTS] = { "a cat", NULL };
    TDFrame f = { .format = TD_PIX_RGB24, .data = { pixels }, .stride = { 3 * SIDE } };
    TDModel *m = NULL;
    TDClip *c = NULL;
    int ret;

    test_begin("a file that becomes shorter while its blocks come");
    CHECK_INT(open_model(&m, path, TD_RESIDENT_AUTO, bytes.stage / 2), 0);
    ret = td_clip_open(&c, m, &config, prompts, &lines);
    while (ret >= 0 && c->phase != TD_CLIP_DONE) {
        if (c->phase == TD_CLIP_BLOCKS && c->block_at == 1)
            CHECK_INT(truncate(m->path[TD_FILE_DIT], 100000), 0);
        ret = td_clip_advance(c, &f);
        if (ret > 0)
            ret = td_clip_frame(c, &f);
    }
    check_error(&seen, ret, TD_ERR(EBADMSG), m->path[TD_FILE_DIT]);
    td_clip_close(&c);
    td_model_close(&m);
    CHECK_INT((long long)gpu.used, 0);
}

static void test_leave_order(void)
{
    uint64_t size = bytes.all - bytes.text / 2;  /* short of the decoder's working memory alone */
    TDModel *m = NULL;

    test_begin("auto gives up the text encoder first, and keeps the transformer");
    CHECK_INT(open_model(&m, path, TD_RESIDENT_AUTO, size), 0);
    CHECK_INT(run(m, "a cat", NULL), 0);
    CHECK(!m->held[TD_FILE_TEXT] && m->held[TD_FILE_DIT] && m->held[TD_FILE_VAE]);
    CHECK_INT(run(m, "a cat", NULL), 0);         /* known: the encoder stays away */
    CHECK(!m->held[TD_FILE_TEXT] && m->held[TD_FILE_DIT]);
    td_model_close(&m);
}

static void test_too_little(void)
{
    TDModel *m = NULL;
    TDPlan need = { 0 };

    test_begin("all does not fit: refused before anything is loaded");
    CHECK_INT(open_model(&m, path, TD_RESIDENT_ALL, bytes.weights - 1), 0);
    check_error(&seen, td_model_plan(m, NULL, 0, 0, &need, &lines), TD_ERR(ENOMEM), "more than the free");
    CHECK(gpu.peak < 4096);
    td_model_close(&m);
}

static void test_reserve(void)
{
    TDModel *m = NULL;

    test_begin("the driver's reserve is left alone");
    CHECK_INT(open_model(&m, path, TD_RESIDENT_AUTO, bytes.all + 8192), 0);
    device->caps.reserve = 16384;
    CHECK_INT(run(m, "a cat", NULL), 0);
    CHECK(m->plan.by_stage && gpu.peak + 16384 <= gpu.size);
    device->caps.reserve = 0;
    td_model_close(&m);
}

static void test_out_of_memory(void)
{
    test_begin("the device runs out of memory in mid load: nothing leaks, and the next clip works");
    out_of_memory(TD_RESIDENT_STAGE, 1 << 30, 6);        /* scratch, block, and weights and work of three stages */
}

static void test_names(void)
{
    TDModel *m = NULL;
    char shared[64];

    test_begin("names of shared files");
    CHECK_INT(open_model(&m, path, TD_RESIDENT_ALL, 1 << 30), 0);
    CHECK_INT(td_model_load_all(m, shared, sizeof(shared)), 0);
    CHECK_STR(shared, "");
    td_model_close(&m);
}

/* the clip, computed from the file mapping */
static void make_model(const char *name, const char *options)
{
    TDModel *m;

    test_begin("model");
    if (small_model_make(name, options) < 0)
        return;
    small_path(path, name);
    CHECK_INT(open_model(&m, path, TD_RESIDENT_ALL, 0), 0);
    CHECK_INT(run(m, "a cat", NULL), 0);
    memcpy(mapped, pixels, sizeof(mapped));
    td_model_close(&m);
}

static void be_gpu(void)
{
    gpu.real = device->ops;
    gpu.ops = *device->ops;
    gpu.ops.alloc = gpu_alloc;
    gpu.ops.free = gpu_free;
    gpu.ops.memory = gpu_memory;
    device->ops = &gpu.ops;
    device->caps.maps_files = 0;
}

static void be_cpu(void)
{
    device->ops = gpu.real;
    device->caps.maps_files = 1;
}

int main(void)
{
    TDModel *m;

    lines.out = (TDLogger){ &seen, on_line, TD_LOG_DEBUG };
    if (!CHECK_INT(td_cpu_open(&device, 1, NULL, &cancel, &lines), 0))
        return test_end();
    /* a large text encoder, as real models have */
    make_model("model", "--text-dim=512 --text-ffn=1024 --text-heads=8 --text-blocks=2");
    be_gpu();
    if ((m = test_open())) {
        test_room_for_all(m);
        test_by_stage();
        test_every_size();
        test_leave_order();
        test_too_little();
        test_reserve();
        test_out_of_memory();
        test_names();
    }
    be_cpu();
    make_model("blocks", "--text-dim=256 --text-ffn=1024 --text-heads=4 --text-blocks=9 "
                         "--dim=256 --ffn=1024 --blocks=7");
    be_gpu();
    if ((m = test_open())) {
        test_room_for_all(m);
        test_by_stage();
        test_streamed();
        test_streamed_out_of_memory();
        test_streamed_file();                    /* the last: it spoils the model */
    }
    be_cpu();
    device->ops->close(&device);
    small_model_remove();
    return test_end();
}
