/* SPDX-License-Identifier: BSD-2-Clause
 * stage: one stage of a clip from given inputs to raw values, for comparison with other programs
 * (tests/gpu/official.sh).
 *
 *   text WEIGHTS SPIECE PROMPT OUT   OUT.ids: i32 [n]; OUT.f32: embedding [512, D]
 *   dit WEIGHTS IN OUT               OUT.f32: velocity [16,T,h,w]; sparse attention also OUT.map: u16 numbers of the
 *                                    key blocks, [blocks of the network, H, query blocks, kept]
 *   vae WEIGHTS IN OUT               OUT.f32: pixels [F,H,W,3]; of Wan's VAE or a tiny one, as the file is
 *   encode WEIGHTS IN OUT            OUT.f32: mask and latent of a first frame, [20,T,h,w]; the same
 *   compare A B MOST                 prints how far A.f32 is from B.f32, |A - B| / |B|; status 1 above MOST
 *
 * IN is a .safetensors file: x [16,T,h,w] (dit, vae), t [1] in 0..1000 and emb [<= 512, text dim] (dit), cond
 * [20,T,h,w] (dit of image to video); image [H,W,3] in 0..255 and grid [3] = T, h, w (encode). Or it is TxhxW, such as
 * 21x60x104: all of these by chance, the same each time. Prints "ms" and the time of each run, of the network alone;
 * what is written is of the last one. -B names a card of tests/cards.h: the GPU then runs as that. -d: the option
 * vae_dtype. -m 1: another line, "MiB" and what of the device's memory is in use then, by all programs. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "clip/condition.h"
#include "model/device.h"
#include "nets/dit.h"
#include "nets/text_encoder.h"
#include "text/tokenizer.h"
#include "base/rng.h"
#include "../cards.h"
#include "../unpack.h"

typedef struct Stage {
    TDLog log;
    TDCancel cancel;
    TDDev *dev;
    enum TDBackend backend;
    TDAttnConfig attn;
    int runs, tell_memory;
    enum TDVaeDtype vae_dtype;
    const TDCard *as;                            /* the card to run as */
    FILE *out;
    TDCheckpoint *weights, *in;
    int64_t t, h, w, text_dim;                   /* t > 0: inputs by chance, of this size */
    TDBuf buf;
    double *ms;
} Stage;

/* the table under test, with an attn_sla that also writes the block map */
static struct {
    const TDOps *real;
    TDOps ops;
    FILE *out;
} spy;

static int attn_sla(TDDev *dev, TDAct *o, TDQkv *qkv, const TDLinear *proj_l)
{
    int64_t n = td_tensor_count(&qkv->map);
    int32_t *map = malloc((size_t)n * sizeof(*map));
    uint16_t *line = malloc((size_t)n * sizeof(*line));
    int ret = map && line ? spy.real->attn_sla(dev, o, qkv, proj_l) : TD_ERR(ENOMEM);

    if (ret >= 0)
        ret = dev->ops->download(dev, map, &qkv->map);
    for (int64_t i = 0; ret >= 0 && i < n; i++)
        line[i] = (uint16_t)map[i];
    if (ret >= 0 && fwrite(line, sizeof(*line), (size_t)n, spy.out) != (size_t)n)
        ret = td_error(dev->log, EIO, "block map: cannot write");
    free(map);
    free(line);
    return ret;
}

static FILE *create(Stage *s, const char *name, const char *ending)
{
    char path[1000];
    FILE *f;

    snprintf(path, sizeof(path), "%s.%s", name, ending);
    if (!(f = fopen(path, "wb")))
        td_error(&s->log, errno, "%s: cannot write", path);
    return f;
}

static int put(Stage *s, const void *data, size_t size, int64_t n)
{
    return fwrite(data, size, (size_t)n, s->out) == (size_t)n ? 0 : td_error(&s->log, EIO, "output: cannot write");
}

/* inputs by chance: normal values, a picture's in 0..255; a prompt of 40 tokens */
static int random_input(Stage *s, float **v, const TDEntry **e, const char *name)
{
    static TDEntry x, cond, emb, image, grid, t;
    static const float middle = 500;
    const float size[3] = { (float)s->t, (float)s->h, (float)s->w };
    TDEntry *it = !strcmp(name, "x") ? &x : !strcmp(name, "cond") ? &cond : !strcmp(name, "emb") ? &emb :
                  !strcmp(name, "image") ? &image : !strcmp(name, "grid") ? &grid : &t;
    TDRng rng;
    int64_t n;

    x = (TDEntry){ .n_dims = 4, .shape = { TD_LATENT_CHANNELS, s->t, s->h, s->w, 1 } };
    cond = (TDEntry){ .n_dims = 4, .shape = { TD_COND_CHANNELS, s->t, s->h, s->w, 1 } };
    emb = (TDEntry){ .n_dims = 2, .shape = { 40, s->text_dim, 1, 1, 1 } };
    image = (TDEntry){ .n_dims = 3, .shape = { 8 * s->h, 8 * s->w, 3, 1, 1 } };
    grid = (TDEntry){ .n_dims = 1, .shape = { 3, 1, 1, 1, 1 } };
    t = (TDEntry){ .n_dims = 1, .shape = { 1, 1, 1, 1, 1 } };
    *e = it;
    n = td_entry_count(it);
    if (!(*v = malloc((size_t)n * sizeof(**v) + 16)))
        return td_error(&s->log, ENOMEM, "%s: out of memory", name);
    if (it == &grid || it == &t) {
        memcpy(*v, it == &grid ? size : &middle, (size_t)n * sizeof(**v));
        return 0;
    }
    td_rng_init(&rng, TD_NOISE_CPU, 0, 1);
    td_rng_normal(&rng, *v, n);
    for (int64_t i = 0; it == &image && i < n; i++)
        (*v)[i] = fminf(fmaxf((*v)[i] * 50 + 128, 0), 255);
    return 0;
}

/* malloc'd f32 values of an input; n_dims -1: any */
static int input(Stage *s, float **v, const TDEntry **e, const char *name, int n_dims)
{
    int ret;

    if (s->t > 0)
        return random_input(s, v, e, name);
    if (!(*e = td_checkpoint_find(s->in, name)) || (n_dims >= 0 && (*e)->n_dims != n_dims))
        return td_error(&s->log, EBADMSG, "%s: tensor %s of %d dimensions is missing", td_checkpoint_path(s->in), name,
                        n_dims);
    if (!(*v = malloc((size_t)td_entry_count(*e) * sizeof(**v) + 16)))
        return td_error(&s->log, ENOMEM, "%s: out of memory", name);
    if ((ret = td_entry_to_f32(*e, *v)) < 0)
        td_error(&s->log, EBADMSG, "%s: tensor %s is not of a float type", td_checkpoint_path(s->in), name);
    return ret;
}

static int clock_run(Stage *s, int run, double start)
{
    int ret = s->dev->ops->sync(s->dev);

    s->ms[run] = (td_now() - start) * 1000;
    return ret;
}

/* ---- stages ---- */

static int run_text(Stage *s, char **arg)
{
    TDTokenizer *tok = NULL;
    TDTextEncoder *te = NULL;
    int32_t ids[TD_TEXT_LEN];
    TDTextClip clip;
    TDTensor emb;
    TDArena a;
    float *out = NULL;
    FILE *f = NULL;
    int n, ret;

    TRY(td_tokenizer_open(&tok, arg[1], &s->log));
    TRY(n = td_tokenize(tok, arg[2], ids, TD_TEXT_LEN, &s->log));
    TRY(td_text_bind(&te, s->dev, s->weights, 0));
    td_pack_end(s->dev);
    for (int pass = 0; pass < 2; pass++) {
        if (pass)
            TRY(s->dev->ops->alloc(s->dev, &s->buf, a.peak, "the stage"));
        td_arena_init(&a, pass ? s->buf.ptr : NULL, s->buf.bytes, &s->log);
        TRY(TD_CARVE(&a, &emb, TD_BF16, TD_TEXT_LEN, te->dim));
        TRY(td_text_plan(&clip, te, &a, n));
    }
    for (int run = 0; run < s->runs; run++) {
        double start = td_now();

        TRY(td_text_begin(te, &clip, ids, n));
        for (int i = 0; i < te->n_blocks; i++)
            TRY(td_text_block(te, &clip, i));
        TRY(td_text_end(te, &clip, &emb));
        TRY(clock_run(s, run, start));
    }
    ret = TD_ERR(ENOMEM);
    if (!(out = malloc((size_t)(TD_TEXT_LEN * te->dim) * sizeof(*out))) || !(f = create(s, arg[3], "ids")))
        goto fail;
    TRY(td_unpack(s->dev, out, &emb, TD_UNPACK_TENSOR));
    TRY(put(s, out, sizeof(*out), TD_TEXT_LEN * te->dim));
    if (fwrite(ids, sizeof(*ids), (size_t)n, f) != (size_t)n)
        ret = td_error(&s->log, EIO, "ids: cannot write");
fail:
    if (f && fclose(f) && ret >= 0)
        ret = td_error(&s->log, EIO, "ids: cannot write");
    free(out);
    td_text_free(&te);
    td_tokenizer_free(&tok);
    return ret;
}

static int forward(Stage *s, const TDDit *dit, TDDitClip *clip, const TDDitText *text, const TDTensor *z,
                   const TDTensor *cond, double t)
{
    int ret;

    TRY(td_dit_begin(dit, clip, z, cond->data ? cond : NULL, t));
    for (int i = 0; i < dit->n_blocks; i++)
        TRY(td_dit_block(dit, clip, text, i));
    TRY(td_dit_end(dit, clip));
    ret = s->dev->ops->sync(s->dev);
fail:
    return ret;
}

static int run_dit(Stage *s, char **arg)
{
    const TDEntry *xe, *te, *ee, *ce = NULL;
    TDDit *dit = NULL;
    TDDitClip clip;
    TDDitText text;
    TDTensor z, emb, cond = { 0 };
    TDArena a;
    float *x = NULL, *t = NULL, *e = NULL, *c = NULL, *out = NULL;
    double *zd = NULL;
    uint16_t *eb = NULL, *cb = NULL;
    int64_t n, n_emb, n_cond = 0, n_tokens = 1;
    int ret;

    TRY(td_dit_bind(&dit, s->dev, s->weights, TD_QUANT_AUTO, TD_NORM_OFFICIAL, 0));
    td_pack_end(s->dev);
    s->text_dim = dit->text_dim;
    TRY(input(s, &x, &xe, "x", 4));
    TRY(input(s, &t, &te, "t", 1));
    TRY(input(s, &e, &ee, "emb", 2));
    n = td_entry_count(xe);
    n_emb = td_entry_count(ee);
    if (xe->shape[0] != TD_LATENT_CHANNELS || ee->shape[1] != dit->text_dim || ee->shape[0] > TD_TEXT_LEN) {
        ret = td_error(&s->log, EINVAL, "input: x [%lld,..], emb [%lld,%lld]; want [16,..], [<= 512,%lld]",
                       (long long)xe->shape[0], (long long)ee->shape[0], (long long)ee->shape[1],
                       (long long)dit->text_dim);
        goto fail;
    }
    if (dit->in_dim != TD_LATENT_CHANNELS) {
        TRY(input(s, &c, &ce, "cond", 4));
        n_cond = td_entry_count(ce);
        if (ce->shape[0] != dit->in_dim - TD_LATENT_CHANNELS || n_cond / ce->shape[0] != n / xe->shape[0]) {
            ret = td_error(&s->log, EINVAL, "input: cond [%lld,..] of %lld values; want [%lld,..] as x",
                           (long long)ce->shape[0], (long long)n_cond, (long long)dit->in_dim - TD_LATENT_CHANNELS);
            goto fail;
        }
    }
    zd = malloc((size_t)n * sizeof(*zd));
    cb = malloc((size_t)n_cond * sizeof(*cb) + 1);
    out = malloc((size_t)n * sizeof(*out));
    eb = calloc((size_t)(TD_TEXT_LEN * dit->text_dim), sizeof(*eb));
    if (!zd || !out || !eb || !cb) {
        ret = td_error(&s->log, ENOMEM, "input: out of memory");
        goto fail;
    }
    for (int64_t i = 0; i < n; i++)
        zd[i] = x[i];
    for (int64_t i = 0; i < n_emb; i++) {
        eb[i] = td_f32_to_bf16(e[i]);
        if (e[i] != 0)                           /* rows past the prompt are zero */
            n_tokens = i / dit->text_dim + 1;
    }
    for (int64_t i = 0; i < n_cond; i++)
        cb[i] = td_f32_to_bf16(c[i]);
    for (int pass = 0; pass < 2; pass++) {
        if (pass)
            TRY(s->dev->ops->alloc(s->dev, &s->buf, a.peak, "the stage"));
        td_arena_init(&a, pass ? s->buf.ptr : NULL, s->buf.bytes, &s->log);
        TRY(TD_CARVE(&a, &z, TD_F64, TD_LATENT_CHANNELS, xe->shape[1], xe->shape[2], xe->shape[3]));
        TRY(TD_CARVE(&a, &emb, TD_BF16, TD_TEXT_LEN, dit->text_dim));
        if (n_cond)
            TRY(TD_CARVE(&a, &cond, TD_BF16, ce->shape[0], xe->shape[1], xe->shape[2], xe->shape[3]));
        TRY(td_dit_plan_text(&text, dit, &a, n_tokens));
        TRY(td_dit_plan(&clip, dit, &a, xe->shape[1], xe->shape[2], xe->shape[3], &s->attn, text.k.shape[1]));
    }
    TRY(s->dev->ops->upload(s->dev, &z, zd));
    TRY(s->dev->ops->upload(s->dev, &emb, eb));
    if (n_cond)
        TRY(s->dev->ops->upload(s->dev, &cond, cb));
    TRY(td_dit_prepare(&clip, dit));
    TRY(td_dit_text(&text, dit, &clip, &emb));
    TRY(s->dev->ops->sync(s->dev));
    for (int run = 0; run < s->runs; run++) {
        double start = td_now();

        TRY(forward(s, dit, &clip, &text, &z, &cond, t[0] / 1000));
        TRY(clock_run(s, run, start));
    }
    if (s->attn.kind != TD_ATTN_DENSE) {         /* once more: writing the maps takes time */
        spy.real = s->dev->ops;
        spy.ops = *s->dev->ops;
        spy.ops.attn_sla = attn_sla;
        if (!(spy.out = create(s, arg[2], "map"))) {
            ret = TD_ERR(EIO);
            goto fail;
        }
        s->dev->ops = &spy.ops;
        ret = forward(s, dit, &clip, &text, &z, &cond, t[0] / 1000);
        s->dev->ops = spy.real;
        if (fclose(spy.out) && ret >= 0)
            ret = td_error(&s->log, EIO, "block map: cannot write");
        TRY(ret);
    }
    TRY(td_unpack(s->dev, out, &clip.v, TD_UNPACK_TENSOR));
    ret = put(s, out, sizeof(*out), n);
fail:
    free(x);
    free(t);
    free(e);
    free(c);
    free(zd);
    free(out);
    free(eb);
    free(cb);
    td_dit_free(&dit);
    return ret;
}

/* a half of a VAE's file, loaded */
static int hold(Stage *s, TDPart **part, TDNet *net, enum TDPartKind kind, const char *path)
{
    TDPartKey key = { .kind = kind, .vae_dtype = s->vae_dtype };
    int ret;

    TRY(td_part_open(part, &key, path, s->dev));
    TRY(td_part_hold(*part, net, s->dev));
fail:
    return ret;
}

static void let_go(Stage *s, TDPart **part, TDNet *net)
{
    if (net->vae) {                              /* any member */
        td_part_release(*part, s->dev);
        td_part_view_free(*part, net);
    }
    td_part_close(part);
}

static int run_vae(Stage *s, char **arg)
{
    const TDEntry *xe;
    TDPart *part = NULL;
    TDNet net = { NULL };
    TDDecoderClip clip;
    TDTensor z, out;
    TDArena a;
    float *x = NULL, *rgb = NULL;
    int ret;

    TRY(input(s, &x, &xe, "x", 4));
    TRY(hold(s, &part, &net, TD_PART_VAE, arg[0]));
    for (int pass = 0; pass < 2; pass++) {
        if (pass)
            TRY(s->dev->ops->alloc(s->dev, &s->buf, a.peak, "the stage"));
        td_arena_init(&a, pass ? s->buf.ptr : NULL, s->buf.bytes, &s->log);
        TRY(TD_CARVE(&a, &z, TD_F32, TD_LATENT_CHANNELS, xe->shape[1], xe->shape[2], xe->shape[3]));
        TRY(part->kind->plan(&clip, &net, &a, xe->shape[2], xe->shape[3]));
        TRY(TD_CARVE(&a, &out, TD_F32, 4, 8 * xe->shape[2], 8 * xe->shape[3], 3));
    }
    TRY(s->dev->ops->upload(s->dev, &z, x));
    if (!(rgb = malloc((size_t)(4 * 64 * xe->shape[2] * xe->shape[3] * 3) * sizeof(*rgb)))) {
        ret = td_error(&s->log, ENOMEM, "pixels: out of memory");
        goto fail;
    }
    for (int run = 0; run <= s->runs; run++) {   /* the last one is written, and not timed */
        double start = td_now();

        TRY(part->kind->begin(&net, &clip));
        for (int64_t i = 0; i < xe->shape[1]; i++) {
            TRY(part->kind->next(&net, &clip, &z, &out));
            if (run == s->runs) {
                TRY(td_unpack(s->dev, rgb, &out, TD_UNPACK_TENSOR));
                TRY(put(s, rgb, sizeof(*rgb), td_tensor_count(&out)));
            }
        }
        if (run < s->runs)
            TRY(clock_run(s, run, start));
    }
fail:
    free(x);
    free(rgb);
    let_go(s, &part, &net);
    return ret;
}

static int run_encode(Stage *s, char **arg)
{
    const TDEntry *ie, *ge;
    TDPart *part = NULL;
    TDNet net = { NULL };
    TDEncoder enc;
    TDCondition c = { 0 };
    TDImage image = { 0 };
    TDArena a;
    float *pixels = NULL, *grid = NULL, *out = NULL;
    int64_t n, t, h, w;
    int ret;

    TRY(input(s, &pixels, &ie, "image", 3));
    TRY(input(s, &grid, &ge, "grid", 1));
    n = td_entry_count(ie);
    if (ie->shape[2] != 3 || ge->shape[0] != 3) {
        ret = td_error(&s->log, EINVAL, "input: image [..,%lld], grid [%lld]; want [H,W,3] and [3]",
                       (long long)ie->shape[2], (long long)ge->shape[0]);
        goto fail;
    }
    t = (int64_t)grid[0];
    h = (int64_t)grid[1];
    w = (int64_t)grid[2];
    image = (TDImage){ (int)ie->shape[1], (int)ie->shape[0], 3 * (ptrdiff_t)ie->shape[1], malloc((size_t)n) };
    out = malloc((size_t)(TD_COND_CHANNELS * t * h * w) * sizeof(*out));
    if (!image.data || !out) {
        ret = td_error(&s->log, ENOMEM, "image: out of memory");
        goto fail;
    }
    for (int64_t i = 0; i < n; i++)
        image.data[i] = (uint8_t)pixels[i];
    TRY(hold(s, &part, &net, TD_PART_ENCODER, arg[0]));
    enc = (TDEncoder){ part->kind, &net, s->dev };
    for (int pass = 0; pass < 2; pass++) {
        if (pass)
            TRY(s->dev->ops->alloc(s->dev, &s->buf, a.peak, "the stage"));
        td_arena_init(&a, pass ? s->buf.ptr : NULL, s->buf.bytes, &s->log);
        TRY(td_condition_plan(&c, &a, t, h, w));
        TRY(td_condition_plan_work(&c, &enc, &a, h, w));
    }
    for (int run = 0; run < s->runs; run++) {
        double start;

        TRY(td_condition_image(&c, &image, (int)(8 * w), (int)(8 * h), (int)(8 * w), (int)(8 * h),
                               part->kind->from_zero, &s->log));
        start = td_now();
        TRY(td_condition_begin(&c, &enc));
        while (!(ret = td_condition_next(&c, &enc, arg[0])))
            ;
        TRY(ret);
        TRY(clock_run(s, run, start));
    }
    TRY(td_unpack(s->dev, out, &c.cond, TD_UNPACK_TENSOR));
    ret = put(s, out, sizeof(*out), td_tensor_count(&c.cond));
fail:
    td_condition_free(&c);
    free(pixels);
    free(grid);
    free(image.data);
    free(out);
    let_go(s, &part, &net);
    return ret;
}

/* |a - b| / |b| of two files of float32 */
static int compare(const char *a, const char *b, double most)
{
    FILE *f = fopen(a, "rb"), *g = fopen(b, "rb");
    static float x[65536], y[65536];
    double d = 0, sum = 0;
    size_t n, n2 = 0, all = 0;

    do {
        n = f ? fread(x, sizeof(*x), 65536, f) : 0;
        n2 = g ? fread(y, sizeof(*y), 65536, g) : 1;
        for (size_t i = 0; i < n && i < n2; i++) {
            d += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
            sum += (double)y[i] * y[i];
        }
        all += n;
    } while (n && n == n2);
    if (f)
        fclose(f);
    if (g)
        fclose(g);
    if (n != n2 || !all) {
        fprintf(stderr, "stage: %s, %s: cannot be read, or not of one size\n", a, b);
        return 1;
    }
    d = sqrt(d / sum);
    printf("distance %.3e\n", d);
    return !(d <= most);                         /* NaN, too */
}

/* ---- command line ---- */

static void log_line(void *cookie, int level, const char *line)
{
    (void)cookie;
    (void)level;
    fprintf(stderr, "stage: %s\n", line);
}

static const struct { const char *name; int n_args; int (*run)(Stage *s, char **arg); } stages[] = {
    { "text", 4, run_text }, { "dit", 3, run_dit }, { "vae", 3, run_vae }, { "encode", 3, run_encode },
};

static int option(Stage *s, char o, const char *v)
{
    switch (o) {
    case 'B': s->backend = card_named(v, &s->as) ? TD_BACKEND_CUDA : TD_BACKEND_CPU;
              return s->backend == TD_BACKEND_CUDA || !strcmp(v, "cpu") ? 0 : -1;
    case 'a': s->attn.kind = !strcmp(v, "sla") ? TD_ATTN_SLA : !strcmp(v, "sagesla") ? TD_ATTN_SAGESLA : TD_ATTN_DENSE;
              return s->attn.kind != TD_ATTN_DENSE || !strcmp(v, "dense") ? 0 : -1;
    case 'b': return sscanf(v, "%dx%d", &s->attn.bq, &s->attn.bk) == 2 &&
                     ((s->attn.bq == 128 && s->attn.bk == 64) || (s->attn.bq == 64 && s->attn.bk == 128)) ? 0 : -1;
    case 'd': s->vae_dtype = strcmp(v, "bf16") ? TD_VAE_DTYPE_AUTO : TD_VAE_DTYPE_BF16;
              return s->vae_dtype == TD_VAE_DTYPE_BF16 || !strcmp(v, "auto") ? 0 : -1;
    case 'k': s->attn.topk = atof(v);
              return s->attn.topk > 0 && s->attn.topk <= 1 ? 0 : -1;
    case 'm': s->tell_memory = atoi(v);
              return s->tell_memory == 1 ? 0 : -1;
    case 'n': s->runs = atoi(v);
              return s->runs >= 1 && s->runs <= 100 ? 0 : -1;
    default:  return -1;
    }
}

int main(int argc, char **argv)
{
    Stage s = { .log.out = { NULL, log_line, TD_LOG_WARNING }, .backend = TD_BACKEND_CPU, .runs = 1,
                .attn = { TD_ATTN_DENSE, 128, 64, 0.1 } };
    TDGpu gpu = { .ordinal = -1 };
    uint64_t available, total;
    int i = 1, kind = -1, ret;

    if (argc == 5 && !strcmp(argv[1], "compare"))
        return compare(argv[2], argv[3], atof(argv[4]));
    for (; i + 1 < argc && argv[i][0] == '-' && argv[i][1] && !argv[i][2]; i += 2)
        if (option(&s, argv[i][1], argv[i + 1]) < 0) {
            fprintf(stderr, "stage: %s %s: unknown option or bad value\n", argv[i], argv[i + 1]);
            return 2;
        }
    for (int k = 0; k < (int)(sizeof(stages) / sizeof(stages[0])) && i < argc; k++)
        if (!strcmp(argv[i], stages[k].name) && argc - i - 1 == stages[k].n_args)
            kind = k;
    if (kind < 0) {
        fputs("usage: stage [-B cpu|cuda|CARD] [-n RUNS] [-a dense|sla|sagesla] [-b 128x64|64x128] [-k TOPK] [-m 1]\n"
              "             [-d auto|bf16]\n"
              "             text WEIGHTS SPIECE PROMPT OUT | dit WEIGHTS IN OUT | vae WEIGHTS IN OUT |\n"
              "             encode WEIGHTS IN OUT | compare A B MOST\n", stderr);
        return 2;
    }
    ret = TD_ERR(ENOMEM);
    if (!(s.ms = calloc((size_t)s.runs, sizeof(*s.ms))) || !(s.out = create(&s, argv[argc - 1], "f32")))
        goto fail;
    gpu.as = s.as;
    TRY(td_device_open(&s.dev, s.backend, &gpu, 0, &s.cancel, &s.log));
    TRY(td_checkpoint_open(&s.weights, argv[i + 1], &s.log));
    if (kind > 0 && sscanf(argv[i + 2], "%" SCNd64 "x%" SCNd64 "x%" SCNd64, &s.t, &s.h, &s.w) != 3)
        TRY(td_checkpoint_open(&s.in, argv[i + 2], &s.log));
    TRY(stages[kind].run(&s, argv + i + 1));
    printf("ms");
    for (int run = 0; run < s.runs; run++)
        printf(" %.3f", s.ms[run]);
    putchar('\n');
    if (s.tell_memory) {
        TRY(s.dev->ops->memory(s.dev, &available, &total));
        printf("MiB %llu\n", (unsigned long long)(total - available) >> 20);
    }
fail:
    if (s.dev)
        s.dev->ops->free(s.dev, &s.buf);
    td_checkpoint_close(&s.in);
    td_checkpoint_close(&s.weights);
    if (s.dev)
        s.dev->ops->close(&s.dev);
    if (s.out && fclose(s.out) && ret >= 0)
        ret = td_error(&s.log, EIO, "output: cannot write");
    free(s.ms);
    return ret < 0;
}
