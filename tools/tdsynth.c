/* SPDX-License-Identifier: BSD-2-Clause
 * tdsynth: write a model directory with random weights, in the official file names, tensor names, shapes, dtypes and
 * containers, from a seed. Tests and benchmarks use it where the real weights are absent.
 * 1. Same options and seed: same bytes, on every machine.
 * 2. Weights are scaled so that activations keep the size they have in a trained model: linears about 1/sqrt(fan_in),
 *    residual branches damped, attention logits with a spread of a few units, VAE output over about [-1,1].
 * 3. The int8 file is the official 128x128 quantisation of the bf16 file of the same seed. */
#include <sys/stat.h>
#include <unistd.h>
#include "cli.h"
#include "tdsynth_pth.h"
#include "base/io.h"

#define N_EXTRA_IDS 300              /* <extra_id_n> follow the pieces */
#define MAX_SPIECE ((size_t)64 << 20) /* bytes, as the library takes */

enum Part { PART_DIT = 1, PART_VAE = 2, PART_TEXT = 4 };
enum DitFile { DIT_BF16 = 1, DIT_INT8 = 2 };

typedef struct Options {
    int dim, ffn, blocks, in_dim;
    int text_dim, text_ffn, text_blocks, text_heads, vocab;
    int vae_dim, vae_bf16;
    int sla, dit_files, parts, safetensors, n_threads;
    uint64_t seed;
    const char *spiece, *t2v_name, *dir;
} Options;

static const struct Preset { const char *name; Options o; } preset[] = {
    { "tiny", { .dim = 256, .ffn = 512, .blocks = 2, .in_dim = 16, .text_dim = 256, .text_ffn = 512, .text_blocks = 2,
                .text_heads = 4, .vae_dim = 16, .dit_files = DIT_BF16 | DIT_INT8, .t2v_name = "1.3B-480P" } },
    { "1.3B", { .dim = 1536, .ffn = 8960, .blocks = 30, .in_dim = 16, .text_dim = 4096, .text_ffn = 10240,
                .text_blocks = 24, .text_heads = 64, .vocab = 256384, .vae_dim = 96, .dit_files = DIT_BF16,
                .t2v_name = "1.3B-480P" } },
    { "14B",  { .dim = 5120, .ffn = 13824, .blocks = 40, .in_dim = 16, .text_dim = 4096, .text_ffn = 10240,
                .text_blocks = 24, .text_heads = 64, .vocab = 256384, .vae_dim = 96, .dit_files = DIT_BF16,
                .t2v_name = "14B-720P" } },
    { "A14B", { .dim = 5120, .ffn = 13824, .blocks = 40, .in_dim = 36, .text_dim = 4096, .text_ffn = 10240,
                .text_blocks = 24, .text_heads = 64, .vocab = 256384, .vae_dim = 96, .dit_files = DIT_BF16,
                .t2v_name = "14B-720P" } },
};

/* ---- plans ---- */

/* Append a tensor. shape ends with 0. NULL when memory is out or the name too long. */
static Spec *add(Plan *plan, enum TDDtype dtype, const int64_t *shape, float mean, float std, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));
static Spec *add(Plan *plan, enum TDDtype dtype, const int64_t *shape, float mean, float std, const char *fmt, ...)
{
    va_list ap;
    Spec *s;

    if (plan->n == plan->cap) {
        int cap = plan->cap ? plan->cap * 2 : 64;
        Spec *p = realloc(plan->spec, (size_t)cap * sizeof(*p));

        if (!p) {
            fail("out of memory");
            return NULL;
        }
        plan->spec = p;
        plan->cap = cap;
    }
    s = &plan->spec[plan->n];
    memset(s, 0, sizeof(*s));
    va_start(ap, fmt);
    vsnprintf(s->name, sizeof(s->name), fmt, ap);
    va_end(ap);
    memcpy(s->source, s->name, sizeof(s->name));
    s->dtype = dtype;
    for (s->n_dims = 0; shape[s->n_dims]; s->n_dims++)
        s->shape[s->n_dims] = shape[s->n_dims];
    s->mean = mean;
    s->std = std;
    s->storage = plan->n_storages++;
    plan->n++;
    return s;
}

#define SHAPE(...) (const int64_t[]){ __VA_ARGS__, 0 }

/* Square root by Newton's iteration: IEEE operations alone, so the same on every machine. */
static double root(int64_t n)
{
    double x = (double)n;

    for (int i = 0; i < 64; i++)
        x = 0.5 * (x + (double)n / x);
    return x;
}

static float fan(double gain, int64_t fan_in)
{
    return (float)(gain / root(fan_in));
}

/* One linear layer with bias, bf16 or quantised. */
static int add_linear(Plan *plan, int quant, int64_t out, int64_t in, double gain, float bias_mean, const char *name)
{
    float std = fan(gain, in);
    Spec *s;

    if (quant) {
        if (!(s = add(plan, TD_I8, SHAPE(out, in), 0, std, "%s.int8_weight", name)))
            return -1;
        s->fill = FILL_INT8;
        s->on_cpu = 1;
        s->rows = out;
        s->cols = in;
        snprintf(s->source, sizeof(s->source), "%s.weight", name);
        if (!(s = add(plan, TD_F32, SHAPE((out + BLOCK - 1) / BLOCK, (in + BLOCK - 1) / BLOCK), 0, std, "%s.scale",
                      name)))
            return -1;
        s->fill = FILL_SCALE;
        s->on_cpu = 1;
        s->rows = out;
        s->cols = in;
        snprintf(s->source, sizeof(s->source), "%s.weight", name);
    } else if (!add(plan, TD_BF16, SHAPE(out, in), 0, std, "%s.weight", name)) {
        return -1;
    }
    return add(plan, TD_BF16, SHAPE(out), bias_mean, 0.1f, "%s.bias", name) ? 0 : -1;
}

/* A norm vector held as f32 with bf16 values. */
static int add_norm(Plan *plan, int64_t n, float mean, float std, const char *fmt, const char *prefix)
{
    char name[80];
    Spec *s;

    snprintf(name, sizeof(name), "%s%s", prefix, fmt);
    if (!(s = add(plan, TD_F32, SHAPE(n), mean, std, "%s", name)))
        return -1;
    s->bf16_valued = 1;
    s->on_cpu = 1;
    return 0;
}

static int add_attention(Plan *plan, const Options *o, int quant, const char *prefix, int self)
{
    static const char *const proj[] = { "q", "k", "v", "o" };
    int64_t D = o->dim;
    char name[128];

    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof(name), "%s.%s", prefix, proj[i]);
        if (add_linear(plan, quant, D, D, i == 3 && !self ? 0.3 : 1.0, 0, name) < 0)
            return -1;
    }
    if (add_norm(plan, D, 1.5f, 0.15f, ".norm_q.weight", prefix) < 0 ||
        add_norm(plan, D, 1.5f, 0.15f, ".norm_k.weight", prefix) < 0)
        return -1;
    if (self && o->sla) {
        snprintf(name, sizeof(name), "%s.attn_op.local_attn.proj_l", prefix);
        return add_linear(plan, 0, 128, 128, 1.0, 0, name);
    }
    return 0;
}

static int plan_dit(Plan *plan, const Options *o, int quant)
{
    int64_t D = o->dim, F = o->ffn;
    char prefix[64], name[80];

    if (add_linear(plan, 0, D, o->in_dim * 4, 1.0, 0.3f, "patch_embedding") < 0 ||
        add_linear(plan, 0, D, o->text_dim, 3.0, 0, "text_embedding.0") < 0 ||
        add_linear(plan, 0, D, D, 1.5, 0, "text_embedding.2") < 0 ||
        add_linear(plan, 0, D, 256, 1.4, 0, "time_embedding.0") < 0 ||
        add_linear(plan, 0, D, D, 1.5, 0, "time_embedding.2") < 0 ||
        add_linear(plan, 0, 6 * D, D, 0.5, 0, "time_projection.1") < 0)
        return -1;
    for (int i = 0; i < o->blocks; i++) {
        snprintf(prefix, sizeof(prefix), "blocks.%d", i);
        if (!add(plan, TD_BF16, SHAPE(1, 6, D), 0, 0.2f, "%s.modulation", prefix))
            return -1;
        snprintf(prefix, sizeof(prefix), "blocks.%d.self_attn", i);
        if (add_attention(plan, o, quant, prefix, 1) < 0)
            return -1;
        snprintf(prefix, sizeof(prefix), "blocks.%d.norm3", i);
        if (add_norm(plan, D, 1.0f, 0.1f, ".weight", prefix) < 0 || add_norm(plan, D, 0, 0.1f, ".bias", prefix) < 0)
            return -1;
        snprintf(prefix, sizeof(prefix), "blocks.%d.cross_attn", i);
        if (add_attention(plan, o, quant, prefix, 0) < 0)
            return -1;
        snprintf(name, sizeof(name), "blocks.%d.ffn.0", i);
        if (add_linear(plan, quant, F, D, 1.0, 0, name) < 0)
            return -1;
        snprintf(name, sizeof(name), "blocks.%d.ffn.2", i);
        if (add_linear(plan, quant, D, F, 1.5, 0, name) < 0)
            return -1;
    }
    if (!add(plan, TD_BF16, SHAPE(1, 2, D), 0, 0.1f, "head.modulation"))
        return -1;
    return add_linear(plan, 0, 64, D, 1.0, 0, "head.head");
}

static int plan_text(Plan *plan, const Options *o)
{
    static const struct { const char *name; double gain; } proj[] = {
        { "q", 0.35 }, { "k", 0.7 }, { "v", 1.0 }, { "o", 0.7 },
    };
    int64_t d = o->text_dim, f = o->text_ffn;

    if (!add(plan, TD_BF16, SHAPE(o->vocab, d), 0, 1.0f, "token_embedding.weight"))
        return -1;
    for (int i = 0; i < o->text_blocks; i++) {
        if (!add(plan, TD_BF16, SHAPE(d), 1.0f, 0.1f, "blocks.%d.norm1.weight", i))
            return -1;
        for (int k = 0; k < 4; k++)
            if (!add(plan, TD_BF16, SHAPE(d, d), 0, fan(proj[k].gain, d), "blocks.%d.attn.%s.weight", i, proj[k].name))
                return -1;
        if (!add(plan, TD_BF16, SHAPE(d), 1.0f, 0.1f, "blocks.%d.norm2.weight", i) ||
            !add(plan, TD_BF16, SHAPE(f, d), 0, fan(1.0, d), "blocks.%d.ffn.gate.0.weight", i) ||
            !add(plan, TD_BF16, SHAPE(f, d), 0, fan(1.0, d), "blocks.%d.ffn.fc1.weight", i) ||
            !add(plan, TD_BF16, SHAPE(d, f), 0, fan(0.7, f), "blocks.%d.ffn.fc2.weight", i) ||
            !add(plan, TD_BF16, SHAPE(32, o->text_heads), 0, 0.7f, "blocks.%d.pos_embedding.embedding.weight", i))
            return -1;
    }
    return add(plan, TD_BF16, SHAPE(d), 0.3f, 0.03f, "norm.weight") ? 0 : -1;
}

/* Convolution weight [out, in, kt, kh, kw] (kt = 0: [out, in, kh, kw]) and bias. */
static int add_conv(Plan *plan, int64_t out, int64_t in, int kt, int kh, int kw, double gain, const char *name)
{
    float std = fan(gain, in * (kt ? kt : 1) * kh * kw);
    const int64_t *shape = kt ? SHAPE(out, in, kt, kh, kw) : SHAPE(out, in, kh, kw);

    if (!add(plan, TD_F32, shape, 0, std, "%s.weight", name))
        return -1;
    return add(plan, TD_F32, SHAPE(out), 0, 0.05f, "%s.bias", name) ? 0 : -1;
}

static int add_gamma(Plan *plan, int64_t n, int trailing, const char *name)
{
    return add(plan, TD_F32, trailing == 3 ? SHAPE(n, 1, 1, 1) : SHAPE(n, 1, 1), 1.0f, 0.1f, "%s.gamma", name) ? 0 : -1;
}

static int add_res_block(Plan *plan, int64_t in, int64_t out, const char *prefix)
{
    char name[80];

#define SUB(x) (snprintf(name, sizeof(name), "%s.%s", prefix, x), name)
    if (add_gamma(plan, in, 3, SUB("residual.0")) < 0 ||
        add_conv(plan, out, in, 3, 3, 3, 1.6, SUB("residual.2")) < 0 ||
        add_gamma(plan, out, 3, SUB("residual.3")) < 0 ||
        add_conv(plan, out, out, 3, 3, 3, 1.0, SUB("residual.6")) < 0)
        return -1;
    return in == out ? 0 : add_conv(plan, out, in, 1, 1, 1, 1.0, SUB("shortcut"));
}

static int add_middle(Plan *plan, int64_t c, const char *prefix)
{
    char name[80];

    if (add_res_block(plan, c, c, SUB("middle.0")) < 0 ||
        add_gamma(plan, c, 2, SUB("middle.1.norm")) < 0 ||
        add_conv(plan, 3 * c, c, 0, 1, 1, 1.5, SUB("middle.1.to_qkv")) < 0 ||
        add_conv(plan, c, c, 0, 1, 1, 1.0, SUB("middle.1.proj")) < 0)
        return -1;
    return add_res_block(plan, c, c, SUB("middle.2"));
}

static int plan_vae_side(Plan *plan, const Options *o, int decoder)
{
    static const int mult[2][5] = { { 1, 1, 2, 4, 4 }, { 4, 4, 4, 2, 1 } };
    const char *prefix = decoder ? "decoder" : "encoder", *list = decoder ? "upsamples" : "downsamples";
    int64_t dim = o->vae_dim, in = dim * mult[decoder][0], out = in;
    char name[80], at[64];
    int index = 0;

    if (add_conv(plan, in, decoder ? 16 : 3, 3, 3, 3, decoder ? 0.5 : 1.5, SUB("conv1")) < 0 ||
        (decoder && add_middle(plan, in, prefix) < 0))
        return -1;
    for (int level = 0; level < 4; level++) {
        out = dim * mult[decoder][level + 1];
        if (decoder && level)
            in /= 2;
        for (int i = 0; i < 2 + decoder; i++, index++, in = out) {
            snprintf(at, sizeof(at), "%s.%s.%d", prefix, list, index);
            if (add_res_block(plan, in, out, at) < 0)
                return -1;
        }
        if (level == 3)
            break;
        snprintf(at, sizeof(at), "%s.%s.%d.resample.1", prefix, list, index);
        if (add_conv(plan, decoder ? out / 2 : out, out, 0, 3, 3, 1.0, at) < 0)
            return -1;
        snprintf(at, sizeof(at), "%s.%s.%d.time_conv", prefix, list, index++);
        if (decoder ? level < 2 : level > 0)
            if (add_conv(plan, decoder ? 2 * out : out, out, 3, 1, 1, 1.0, at) < 0)
                return -1;
    }
    if ((!decoder && add_middle(plan, out, prefix) < 0) || add_gamma(plan, out, 3, SUB("head.0")) < 0)
        return -1;
    return add_conv(plan, decoder ? 3 : 32, out, 3, 3, 3, decoder ? 0.7 : 1.7, SUB("head.2"));
}
#undef SUB

/* The official VAE file keeps its 194 tensors as views of 4 storages. */
static void share_storages(Plan *plan, int n)
{
    int64_t offset = 0;

    for (int i = 0; i < plan->n; i++) {
        plan->spec[i].storage = (int)((int64_t)i * n / plan->n);
        if (i && plan->spec[i].storage != plan->spec[i - 1].storage)
            offset = 0;
        plan->spec[i].offset = offset;
        offset += spec_count(&plan->spec[i]);
    }
    plan->n_storages = n;
}

static int plan_vae(Plan *plan, const Options *o)
{
    if (plan_vae_side(plan, o, 0) < 0 || add_conv(plan, 32, 32, 1, 1, 1, 1.0, "conv1") < 0 ||
        add_conv(plan, 16, 16, 1, 1, 1, 1.0, "conv2") < 0 || plan_vae_side(plan, o, 1) < 0)
        return -1;
    for (int i = 0; i < plan->n && o->vae_bf16; i++)
        plan->spec[i].dtype = TD_BF16;
    share_storages(plan, 4);
    return 0;
}

/* ---- files ---- */

static int write_plan(Plan *plan, const Options *o, int planned, const char *stem, const char *zip_root)
{
    char path[4096];
    int ret = planned;

    plan->n_threads = o->n_threads;
    plan->seed = o->seed;
    if (ret >= 0 && snprintf(path, sizeof(path), "%s/%s.%s", o->dir, stem, o->safetensors ? "safetensors" : "pth") >=
        (int)sizeof(path))
        ret = fail("%s: path too long", o->dir);
    if (ret >= 0)
        ret = o->safetensors ? write_safetensors(plan, path) : write_pth(plan, path, zip_root);
    free(plan->spec);
    return ret;
}

static int write_dit(const Options *o, const char *stem, const char *salt, int quant)
{
    Plan plan = { .form = PICKLE_STATE_DICT, .salt = salt };
    char name[80];

    snprintf(name, sizeof(name), "%s%s", stem, quant ? "-quant" : "");
    return write_plan(&plan, o, plan_dit(&plan, o, quant), name, name);
}

static int write_dits(const Options *o)
{
    static const char *const expert[] = { "high", "low" };
    char stem[64];

    for (int quant = 0; quant < 2; quant++) {
        if (!(o->dit_files & (quant ? DIT_INT8 : DIT_BF16)))
            continue;
        if (o->in_dim == 36) {
            for (int i = 0; i < 2; i++) {
                snprintf(stem, sizeof(stem), "TurboWan2.2-I2V-A14B-%s-720P", expert[i]);
                if (write_dit(o, stem, expert[i], quant) < 0)
                    return -1;
            }
        } else {
            snprintf(stem, sizeof(stem), "TurboWan2.1-T2V-%s", o->t2v_name);
            if (write_dit(o, stem, "", quant) < 0)
                return -1;
        }
    }
    return 0;
}

static int make_dir(const char *path)
{
    if (mkdir(path, 0777) && errno != EEXIST)
        return fail("%s: %s", path, strerror(errno));
    return 0;
}

/* Varint at *at. @return 0, or -1 past the end or over 64 bits */
static int varint(const uint8_t *p, size_t n, size_t *at, uint64_t *v)
{
    *v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (*at >= n)
            return -1;
        *v |= (uint64_t)(p[*at] & 127) << shift;
        if (!(p[(*at)++] & 128))
            return 0;
    }
    return -1;
}

/* Number of pieces: top-level fields 1 of the protobuf. @return -1 if the bytes are no such message */
static int count_pieces(const uint8_t *p, size_t n)
{
    size_t at = 0;
    int pieces = 0;

    while (at < n) {
        uint64_t tag, len;

        if (varint(p, n, &at, &tag) < 0 || (tag & 7) != 2 || varint(p, n, &at, &len) < 0 || len > n - at)
            return -1;
        pieces += tag >> 3 == 1;
        at += len;
    }
    return pieces;
}

/* Copy the vocabulary to its official place and derive the number of embedding rows from it. */
static int write_vocabulary(Options *o)
{
    char dir[4096], path[4160];
    TDLog log = { 0 };
    uint8_t *data;
    size_t n;
    int pieces, ret;
    Out out;

    snprintf(dir, sizeof(dir), "%s/google", o->dir);
    if (make_dir(dir) < 0)
        return -1;
    snprintf(dir, sizeof(dir), "%s/google/umt5-xxl", o->dir);
    if (make_dir(dir) < 0)
        return -1;
    if (td_read_file(&data, &n, o->spiece, 1, MAX_SPIECE, "a SentencePiece model", &log) < 0)
        return fail("%s", log.last_error);
    if ((pieces = count_pieces(data, n)) <= 0) {
        free(data);
        return fail("%s: not a SentencePiece model", o->spiece);
    }
    if (!o->vocab)
        o->vocab = (pieces + N_EXTRA_IDS + 127) / 128 * 128;
    if (o->vocab < pieces + N_EXTRA_IDS) {
        free(data);
        return fail("--vocab=%d: want at least %d, the pieces of %s and the extra ids", o->vocab, pieces + N_EXTRA_IDS,
                    o->spiece);
    }
    snprintf(path, sizeof(path), "%s/spiece.model", dir);
    if ((ret = out_open(&out, path)) >= 0)
        ret = out_close(&out, out_write(&out, data, n));
    free(data);
    return ret;
}

static int write_model(Options *o)
{
    if (make_dir(o->dir) < 0)
        return -1;
    if (o->parts & PART_VAE) {
        Plan plan = { .form = PICKLE_PLAIN, .salt = "" };

        if (write_plan(&plan, o, plan_vae(&plan, o), "Wan2.1_VAE", "wanx_vae") < 0)
            return -1;
    }
    if (o->parts & PART_TEXT) {
        Plan plan = { .form = PICKLE_PARAMETERS, .salt = "" };

        if (write_vocabulary(o) < 0 ||
            write_plan(&plan, o, plan_text(&plan, o), "models_t5_umt5-xxl-enc-bf16", "umt5-xxl-enc-bf16") < 0)
            return -1;
    }
    return o->parts & PART_DIT ? write_dits(o) : 0;
}

/* ---- options ---- */

static void usage(FILE *f)
{
    fputs("usage: tdsynth [options] DIR\n"
          "Write a model directory with random weights in the official names and formats.\n"
          "  --preset=tiny|1.3B|14B|A14B  sizes to start from (tiny)\n"
          "  --dim=N --ffn=N --blocks=N   transformer: width and ffn width (multiples of 128), blocks\n"
          "  --in-dim=16|36               input channels: text-to-video, or image-to-video (two experts)\n"
          "  --text-dim=N --text-ffn=N --text-blocks=N --text-heads=N --vocab=N   text encoder (head dim 64)\n"
          "  --vae-dim=N                  base channels of the VAE\n"
          "  --vae-dtype=f32|bf16         type that its values are stored in (f32, as the official file)\n"
          "  --dit=bf16|int8|both         transformer files to write\n"
          "  --no-sla                     no linear-attention projection: a dense-attention model\n"
          "  --format=pth|safetensors     container\n"
          "  --only=dit,vae,text          parts to write (all)\n"
          "  --spiece=FILE                vocabulary to copy (tests/data/spiece.model)\n"
          "  --seed=N  --threads=N\n"
          "  --help, -h  --version, -V\n", f);
}

/* Is arg "--name=value"? @return the value or NULL */
static const char *value_of(const char *arg, const char *name)
{
    size_t n = strlen(name);

    return !strncmp(arg, name, n) && arg[n] == '=' ? arg + n + 1 : NULL;
}

static int parse_u64(const char *arg, const char *v, uint64_t *out)
{
    char *end;

    errno = 0;
    *out = strtoull(v, &end, 0);
    if (*v < '0' || *v > '9' || *end || errno)
        return fail("%s: want a number", arg);
    return 0;
}

static int parse_only(const char *arg, const char *v, int *parts)
{
    static const char *const name[] = { "dit", "vae", "text" };

    *parts = 0;
    while (*v) {
        size_t n = strcspn(v, ",");
        int i = 0;

        while (i < 3 && (strlen(name[i]) != n || strncmp(v, name[i], n)))
            i++;
        if (i == 3)
            return fail("%s: want a list of dit, vae, text", arg);
        *parts |= 1 << i;
        v += n + (v[n] == ',');
    }
    return *parts ? 0 : fail("%s: want a list of dit, vae, text", arg);
}

static int parse_arg(Options *o, const char *arg)
{
    const struct { const char *name; int *dst, lo, multiple; } number[] = {
        { "--dim", &o->dim, 128, 128 }, { "--ffn", &o->ffn, 128, 128 }, { "--blocks", &o->blocks, 1, 1 },
        { "--text-dim", &o->text_dim, 64, 64 }, { "--text-ffn", &o->text_ffn, 64, 64 },
        { "--text-blocks", &o->text_blocks, 1, 1 }, { "--text-heads", &o->text_heads, 1, 1 },
        { "--vocab", &o->vocab, 128, 128 }, { "--vae-dim", &o->vae_dim, 4, 4 }, { "--threads", &o->n_threads, 1, 1 },
    };
    const char *v;

    for (size_t i = 0; i < sizeof(number) / sizeof(number[0]); i++)
        if ((v = value_of(arg, number[i].name))) {
            uint64_t n;

            if (parse_u64(arg, v, &n) < 0)
                return -1;
            if (n < (uint64_t)number[i].lo || n > 1 << 20 || n % (uint64_t)number[i].multiple)
                return fail("%s: want a multiple of %d from %d to %d", arg, number[i].multiple, number[i].lo, 1 << 20);
            *number[i].dst = (int)n;
            return 0;
        }
    if ((v = value_of(arg, "--in-dim"))) {
        if (strcmp(v, "16") && strcmp(v, "36"))
            return fail("%s: want 16 or 36", arg);
        o->in_dim = atoi(v);
    } else if ((v = value_of(arg, "--seed"))) {
        return parse_u64(arg, v, &o->seed);
    } else if ((v = value_of(arg, "--spiece"))) {
        o->spiece = v;
    } else if ((v = value_of(arg, "--only"))) {
        return parse_only(arg, v, &o->parts);
    } else if ((v = value_of(arg, "--dit"))) {
        o->dit_files = !strcmp(v, "bf16") ? DIT_BF16 : !strcmp(v, "int8") ? DIT_INT8 :
                       !strcmp(v, "both") ? DIT_BF16 | DIT_INT8 : 0;
        if (!o->dit_files)
            return fail("%s: want bf16, int8 or both", arg);
    } else if ((v = value_of(arg, "--vae-dtype"))) {
        if (strcmp(v, "f32") && strcmp(v, "bf16"))
            return fail("%s: want f32 or bf16", arg);
        o->vae_bf16 = *v == 'b';
    } else if ((v = value_of(arg, "--format"))) {
        if (strcmp(v, "pth") && strcmp(v, "safetensors"))
            return fail("%s: want pth or safetensors", arg);
        o->safetensors = *v == 's';
    } else if (!strcmp(arg, "--no-sla")) {
        o->sla = 0;
    } else if (!value_of(arg, "--preset")) {
        return fail("%s: unknown option (--help lists them)", arg);
    }
    return 0;
}

static int parse_preset(Options *o, int argc, char **argv)
{
    const char *name = "tiny";

    for (int i = 1; i < argc; i++) {
        const char *v = value_of(argv[i], "--preset");

        if (v)
            name = v;
    }
    for (size_t i = 0; i < sizeof(preset) / sizeof(preset[0]); i++)
        if (!strcmp(name, preset[i].name)) {
            *o = preset[i].o;
            return 0;
        }
    return fail("--preset=%s: want tiny, 1.3B, 14B or A14B", name);
}

int main(int argc, char **argv)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    Options o;

    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            usage(stdout);
            return cli_end("tdsynth", 0);
        }
        if (!strcmp(argv[i], "--version") || !strcmp(argv[i], "-V")) {
            printf("tdsynth %s\n", td_version());
            return cli_end("tdsynth", 0);
        }
    }
    if (parse_preset(&o, argc, argv) < 0)
        return 1;
    o.sla = 1;
    o.parts = PART_DIT | PART_VAE | PART_TEXT;
    o.spiece = "tests/data/spiece.model";
    o.n_threads = cores > 0 && cores < MAX_THREADS ? (int)cores : MAX_THREADS;
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '-') {
            if (parse_arg(&o, argv[i]) < 0)
                return 1;
        } else if (o.dir) {
            return fail("%s: one directory wanted, %s is the other", argv[i], o.dir) < 0;
        } else {
            o.dir = argv[i];
        }
    }
    if (!o.dir) {
        fail("no directory to write to; tdsynth --help lists the options");
        return 1;
    }
    if (strlen(o.dir) > 3900)
        return fail("directory name too long") < 0;
    if (o.text_heads * 64 != o.text_dim)
        return fail("--text-heads=%d: want --text-dim / 64 = %d", o.text_heads, o.text_dim / 64) < 0;
    if (o.n_threads > MAX_THREADS)
        return fail("--threads=%d: want at most %d", o.n_threads, MAX_THREADS) < 0;
    return write_model(&o) < 0;
}
