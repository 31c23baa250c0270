/* SPDX-License-Identifier: BSD-2-Clause
 * What clips of published models take on a GPU, without one and without weights: the plan for files of the true shapes,
 * which are holes, on a device that plans as the CUDA backend does. TD_VERBOSE shows what each stage is made of. */
#include <stdlib.h>
#include "base/thread.h"
#include "clip/clip.h"
#include "nets/vae_encode.h"
#include "small_model.h"
#include "../../cuda/clip_memory.h"

#define GIB 1073741824.0

/* ---- files ---- */

/* what is read when a file is checked comes first: a hole that is read takes page cache */
typedef struct File {
    char *text;                                  /* of the header; NULL: sizes are summed up */
    size_t n, cap, at[2];                        /* bytes of the header; of the small tensors, and of all so far */
} File;

static void add_text(File *f, const char *text, size_t n)
{
    if (f->n + n > f->cap)
        f->text = realloc(f->text, f->cap = 2 * f->cap + n);
    memcpy(f->text + f->n, text, n);
    f->n += n;
}

static int add(void *cookie, const TDFileTensor *t)
{
    enum TDTensorKind kind = t->of->kind;
    int codes = !strcmp(t->ending, "int8_weight"), large;
    int f32 = !strcmp(t->ending, "scale") || kind == TD_IS_NORM || kind == TD_IS_CONV || kind == TD_IS_GAMMA;
    size_t bytes = codes ? 1 : f32 ? 4 : 2;
    char line[400], *p = line;
    File *f = cookie;

    p += sprintf(p, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", f->n > 1 ? "," : "", t->name,
                 codes ? "I8" : f32 ? "F32" : "BF16");
    for (int i = 0; i < t->n_dims; i++) {
        p += sprintf(p, "%s%lld", i ? "," : "", (long long)t->shape[i]);
        bytes *= (size_t)t->shape[i];
    }
    large = bytes > 1 << 18;
    p += sprintf(p, "],\"data_offsets\":[%zu,%zu]}", f->at[large], f->at[large] + bytes);
    f->at[large] += bytes;
    if (f->text)
        add_text(f, line, (size_t)(p - line));
    return 0;
}

typedef void (*Each)(File *f, const void *shape);

/* a .safetensors file with nothing but its header on the disk. @return its path */
static const char *make_file(char path[256], const char *name, Each each, const void *shape)
{
    File f = { NULL };
    FILE *file;
    uint64_t n;

    each(&f, shape);
    f.at[1] = f.at[0];                           /* behind the small ones */
    f.at[0] = 0;
    f.text = malloc(f.cap = 4096);
    add_text(&f, "{", 1);
    each(&f, shape);
    add_text(&f, "}", 1);
    n = f.n;
    file = fopen(small_path(path, name), "wb");
    CHECK(file && fwrite(&n, 1, 8, file) == 8 && fwrite(f.text, 1, n, file) == n && fflush(file) == 0 &&
          ftruncate(fileno(file), (off_t)(8 + n + f.at[1])) == 0 && fclose(file) == 0);
    free(f.text);
    return path;
}

static void each_dit(File *f, const void *shape)
{
    td_dit_each_tensor(shape, add, f);
}

static void each_text(File *f, const void *shape)
{
    td_text_each_tensor(shape, add, f);
}

static void each_vae(File *f, const void *shape)
{
    (void)shape;
    td_vae_encode_each_tensor(96, add, f);
    td_vae_each_tensor(96, add, f);
}

static struct { char dit[256], low[256], text[256], vae[256], spiece[256]; } path;

static void make_files(void)
{
    static const TDTextShape umt5 = { .dim = 4096, .ffn = 10240, .width = 4096, .n_heads = 64, .n_blocks = 24,
                                      .n_rows = 256384 };

    make_file(path.text, "text.safetensors", each_text, &umt5);
    make_file(path.vae, "vae.safetensors", each_vae, NULL);
    small_path(path.spiece, "m/google/umt5-xxl/spiece.model");
}

/* ---- a device ---- */

static struct {
    const TDOps *real;
    TDOps ops;
    int half_v;                                  /* of a card before 8.9 */
} gpu;

static int gpu_plan_qkv(TDDev *dev, TDArena *a, TDQkv *qkv)
{
    (void)dev;
    return qkv->cfg.kind == TD_ATTN_DENSE ? 0 : td_cuda_carve_own(a, qkv, gpu.half_v);
}

static int gpu_plan_frames(TDDev *dev, TDArena *a, TDFrameSet *set)
{
    (void)dev;
    return TD_CARVE(a, &set->own, TD_I8, td_cuda_set_bytes(set->h, set->w));
}

static void be_gpu(TDDev *dev)
{
    gpu.real = dev->ops;
    gpu.ops = *dev->ops;
    gpu.ops.plan_qkv = gpu_plan_qkv;
    gpu.ops.plan_frames = gpu_plan_frames;
    dev->ops = &gpu.ops;
    dev->caps = (TDCaps){ 0 };
    td_cuda_set_caps(&dev->caps);
}

/* ---- cases ---- */

static const struct Case {
    const char *name;
    TDDitShape shape;
    int w, h;
    double least, today;                         /* GiB that have to be enough, and are */
    double all, all_today;                       /* with all weights at once; 0: no matter */
    int streamed;                                /* parts that come by blocks at `least` */
} cases[] = {
    { "1.3B, 832x480",                { 1536, 8960,  30, 16, 4096, 1, 1, NULL }, 832,  480, 3.0, 2.5,  12.5, 12.5,
      1 << TD_FILE_TEXT },
    { "14B, 832x480",                 { 5120, 13824, 40, 16, 4096, 1, 1, NULL }, 832,  480, 5.0, 3.85, 0,    0,
      1 << TD_FILE_TEXT | 1 << TD_FILE_DIT },
    { "14B, 1280x720",                { 5120, 13824, 40, 16, 4096, 1, 1, NULL }, 1280, 720, 7.0, 6.8,  28.5, 28.0,
      1 << TD_FILE_TEXT | 1 << TD_FILE_DIT },
    { "A14B, 1280x720, of a picture", { 5120, 13824, 40, 36, 4096, 1, 1, NULL }, 1280, 720, 7.0, 6.8,  0,    0,
      1 << TD_FILE_TEXT | 1 << TD_FILE_DIT | 1 << TD_FILE_DIT_LOW },
};

/* bytes of the largest moment where so many are allowed. @return whether they are enough */
static int plan(const TDNeed *need, double limit, enum TDResidency residency, TDPlan *p)
{
    static const int none[TD_N_PARTS] = { 0 };

    *p = (TDPlan){ .limit = (uint64_t)limit };
    td_plan_residency(p, residency, need->cost, none, need->steps, need->n_steps, need->fixed);
    return p->weights + p->clip <= p->limit;
}

static void show(const TDNeed *need, TDPlan *p)
{
    static const char *const names[] = { "transformer", "low-noise expert", "text encoder", "decoder", "encoder" };
    double limit;

    printf("  GiB: all at once %.2f, the clip keeps %.3f\n",
           (double)(plan(need, 1e15, TD_RESIDENT_ALL, p), p->weights + p->clip) / GIB, (double)need->fixed / GIB);
    for (int i = 0; i < need->n_steps; i++) {
        const TDStep *s = &need->steps[i];
        const TDPartCost *c = &need->cost[s->file];

        printf("  %-16s work %.3f, weights %.3f, by blocks %.3f: at least %.3f\n", names[s->file],
               (double)s->bytes / GIB, (double)c->whole / GIB, (double)c->streamed / GIB,
               (double)(need->fixed + s->bytes + (c->streamed ? c->streamed : c->whole)) / GIB);
    }
    for (limit = 0; !plan(need, limit, TD_RESIDENT_AUTO, p); limit += 0.01 * GIB)
        ;
    printf("  %.2f are enough\n", limit / GIB);
}

static void check(const struct Case *c, TDDev *dev, TDLog *log)
{
    TDClipConfig cfg = { .p = { .width = c->w, .height = c->h, .n_frames = 81, .n_steps = 4, .boundary = 0.9 },
                         .t = { 0.999, 0.94, 0.83, 0.63 },
                         .attn = { .kind = TD_ATTN_SAGESLA, .bq = 128, .bk = 64, .topk = 0.1 } };
    int pair = c->shape.in_dim > 16;
    TDModel *m = NULL;
    TDSettings s;
    TDNeed need;
    TDPlan p;

    test_begin(c->name);
    td_default_settings(&s, sizeof(s));
    s.dit = make_file(path.dit, "dit.safetensors", each_dit, &c->shape);
    if (pair)
        s.dit_low = make_file(path.low, "low.safetensors", each_dit, &c->shape);
    s.text_encoder = path.text;
    s.vae = path.vae;
    s.tokenizer = path.spiece;
    if (!CHECK_INT(td_model_open(&m, &s, dev, log), 0)) {
        printf("  %s\n", log->last_error);
        return;
    }
    for (gpu.half_v = 0; gpu.half_v < 2; gpu.half_v++) {
        if (!CHECK_INT(td_clip_need(m, &cfg, &need, log), 0))
            break;
        CHECK_INT(need.n_steps, pair ? 5 : 3);
        if (getenv("TD_VERBOSE"))
            show(&need, &p);
        CHECK(plan(&need, c->least * GIB, TD_RESIDENT_AUTO, &p));
        for (int f = 0; f < TD_N_PARTS; f++)
            CHECK_INT(p.streamed[f], c->streamed >> f & 1);
        CHECK(plan(&need, c->today * GIB, TD_RESIDENT_AUTO, &p));
        if (c->all > 0)
            CHECK(plan(&need, c->all * GIB, TD_RESIDENT_ALL, &p) &&
                  plan(&need, c->all_today * GIB, TD_RESIDENT_ALL, &p));
    }
    td_model_close(&m);
    unlink(path.dit);
    if (pair)
        unlink(path.low);
}

int main(void)
{
    static TDCancel cancel;
    TDLog log = { .out = { 0 } };
    TDDev *dev = NULL;

    test_begin("files");
    if (small_model_make("m", "") < 0 || !CHECK_INT(td_cpu_open(&dev, 1, NULL, &cancel, &log), 0))
        return test_end();
    make_files();
    be_gpu(dev);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        check(&cases[i], dev, &log);
    dev->ops = gpu.real;
    dev->ops->close(&dev);
    small_model_remove();
    return test_end();
}
