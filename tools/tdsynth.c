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
#include "nets/dit.h"
#include "nets/text_encoder.h"
#include "nets/vae_encode.h"
#include "nets/vae_tiny.h"

#define N_EXTRA_IDS 300              /* <extra_id_n> follow the pieces */
#define MAX_SPIECE ((size_t)64 << 20) /* bytes, as the library takes */

enum Part { PART_DIT = 1, PART_VAE = 2, PART_TEXT = 4 };
enum DitFile { DIT_BF16 = 1, DIT_INT8 = 2 };

typedef struct Options {
    int dim, ffn, blocks, in_dim;
    int text_dim, text_ffn, text_blocks, text_heads, vocab;
    int vae_dim, vae_bf16, vae_tiny;
    int sla, dit_files, parts, safetensors, n_threads, lora;
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

/* How the values of a weight spread, by its name in the network's list: linears and convolutions std = gain /
 * sqrt(fan_in), others std = gain. What is not here has 1.0. */
static const struct { const char *name; float mean; double gain; } spread[] = {
    /* transformer */
    { "text_embedding.0", 0, 3.0 }, { "text_embedding.2", 0, 1.5 }, { "time_embedding.0", 0, 1.4 },
    { "time_embedding.2", 0, 1.5 }, { "time_projection.1", 0, 0.5 }, { "head.modulation", 0, 0.1 },
    { "modulation", 0, 0.2 }, { "self_attn.norm_q", 1.5f, 0.15 }, { "self_attn.norm_k", 1.5f, 0.15 },
    { "cross_attn.norm_q", 1.5f, 0.15 }, { "cross_attn.norm_k", 1.5f, 0.15 }, { "cross_attn.o", 0, 0.3 },
    { "norm3", 1.0f, 0.1 }, { "ffn.2", 0, 1.5 },
    /* text encoder */
    { "norm1", 1.0f, 0.1 }, { "norm2", 1.0f, 0.1 }, { "attn.q", 0, 0.35 }, { "attn.k", 0, 0.7 },
    { "attn.o", 0, 0.7 }, { "ffn.fc2", 0, 0.7 }, { "pos_embedding.embedding", 0, 0.7 },
    { "token_embedding", 0, 1.0 }, { "norm", 0.3f, 0.03 },
    /* VAE */
    { "residual.2", 0, 1.6 }, { "to_qkv", 0, 1.5 }, { "encoder.conv1", 0, 1.5 }, { "encoder.head.2", 0, 1.7 },
    { "decoder.conv1", 0, 0.5 }, { "decoder.head.2", 0, 0.7 },
    /* tiny VAE: what ReLU is before or behind, and the last ones of blocks */
    { "", 0, 1.4 }, { ".conv", 0, 1.4 }, { ".conv.0", 0, 1.4 }, { ".conv.2", 0, 1.4 }, { ".conv.4", 0, 0.5 },
};

/* Square root by Newton's iteration: IEEE operations alone, so the same on every machine. */
static double root(int64_t n)
{
    double x = (double)n;

    for (int i = 0; i < 64; i++)
        x = 0.5 * (x + (double)n / x);
    return x;
}

/* Append a tensor of the plan's network as official files store it. */
static int add(void *cookie, const TDFileTensor *t)
{
    Plan *plan = cookie;
    enum TDTensorKind kind = t->of->kind;
    int is_vae = plan->form == PICKLE_PLAIN, is_dit = plan->form == PICKLE_STATE_DICT, ks = t->of->ks;
    int is_norm = kind == TD_IS_NORM || kind == TD_IS_NORM_BIAS;
    int has_fan = kind <= TD_IS_QUANT || kind == TD_IS_CONV || kind == TD_IS_CONV_BARE;
    int64_t fan_in = t->k * (t->of->kt ? t->of->kt : 1) * (ks ? ks * ks : 1);
    float mean = kind == TD_IS_GAMMA ? 1.0f : 0;
    double gain = kind == TD_IS_GAMMA ? 0.1 : 1.0;
    Spec *s;

    if (plan->n == plan->cap) {
        int cap = plan->cap ? plan->cap * 2 : 64;
        Spec *p = realloc(plan->spec, (size_t)cap * sizeof(*p));

        if (!p)
            return fail("out of memory");
        plan->spec = p;
        plan->cap = cap;
    }
    for (size_t i = 0; i < sizeof(spread) / sizeof(*spread) && kind != TD_IS_GAMMA; i++)
        if (!strcmp(spread[i].name, t->of->name)) {
            mean = spread[i].mean;
            gain = spread[i].gain;
        }
    s = &plan->spec[plan->n++];
    memset(s, 0, sizeof(*s));
    snprintf(s->name, sizeof(s->name), "%s", t->name);
    memcpy(s->source, s->name, sizeof(s->name));
    s->dtype = is_vae || (is_dit && is_norm) ? TD_F32 : TD_BF16;
    s->bf16_valued = s->on_cpu = is_dit && is_norm;
    s->n_dims = t->n_dims;
    memcpy(s->shape, t->shape, sizeof(s->shape));
    s->storage = plan->n_storages++;
    s->mean = mean;
    s->std = has_fan ? (float)(gain / root(fan_in)) : (float)gain;
    if (!strcmp(t->ending, "bias")) {
        s->mean = !strcmp(t->of->name, "patch_embedding") ? 0.3f : 0;
        s->std = is_vae ? 0.05f : 0.1f;
    } else if (!strcmp(t->ending, "int8_weight") || !strcmp(t->ending, "scale")) {
        s->dtype = *t->ending == 'i' ? TD_I8 : TD_F32;
        s->fill = *t->ending == 'i' ? FILL_INT8 : FILL_SCALE;
        s->on_cpu = 1;
        s->rows = t->n;
        s->cols = t->k;
        snprintf(s->source, sizeof(s->source), "%.*sweight", (int)(strlen(t->name) - strlen(t->ending)), t->name);
    }
    return 0;
}

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

static int plan_dit(Plan *plan, const Options *o, int int8)
{
    const TDDitShape shape = { .dim = o->dim, .ffn = o->ffn, .n_blocks = o->blocks, .in_dim = o->in_dim,
                               .text_dim = o->text_dim, .int8 = int8, .has_sla = o->sla };

    return td_dit_each_tensor(&shape, add, plan);
}

static int plan_text(Plan *plan, const Options *o)
{
    const TDTextShape shape = { .dim = o->text_dim, .ffn = o->text_ffn, .width = o->text_dim, .n_heads = o->text_heads,
                                .n_blocks = o->text_blocks, .n_rows = o->vocab };

    return td_text_each_tensor(&shape, add, plan);
}

static int plan_vae(Plan *plan, const Options *o)
{
    if (td_vae_encode_each_tensor(o->vae_dim, add, plan) < 0 || td_vae_each_tensor(o->vae_dim, add, plan) < 0)
        return -1;
    for (int i = 0; i < plan->n && o->vae_bf16; i++)
        plan->spec[i].dtype = TD_BF16;
    share_storages(plan, 4);
    return 0;
}

/* files of it are f16 */
static int plan_tiny(Plan *plan)
{
    if (td_tiny_each_tensor(0, add, plan) < 0 || td_tiny_each_tensor(1, add, plan) < 0)
        return -1;
    for (int i = 0; i < plan->n; i++) {
        Spec *s = &plan->spec[i];

        s->dtype = TD_F16;
        if (!strncmp(s->name, "decoder.22.", 11)) {          /* a picture of 0..1 */
            s->mean = s->n_dims == 1 ? 0.5f : 0;
            s->std *= s->n_dims == 1 ? 1 : 0.09f;
        } else if (!strcmp(s->name, "encoder.17.weight")) {
            s->std *= 0.4f;
        }
    }
    return 0;
}

/* A pair of matrices for a block's linear: a tenth of its weight. rank: of the plan's cookie */
typedef struct LoraPlan {
    Plan *plan;
    int rank;
} LoraPlan;

static int add_lora(void *cookie, const TDFileTensor *t)
{
    static const char *const endings[2] = { "lora_down.weight", "lora_up.weight" };
    LoraPlan *p = cookie;
    TDFileTensor pair = *t;

    if (t->of->kind != TD_IS_QUANT || strcmp(t->ending, "weight") != 0)
        return 0;
    for (int i = 0; i < 2; i++) {
        Spec *s;

        pair.shape[0] = i ? t->n : p->rank;
        pair.shape[1] = i ? p->rank : t->k;
        if (add(p->plan, &pair) < 0)
            return -1;
        s = &p->plan->spec[p->plan->n - 1];
        snprintf(s->name, sizeof(s->name), "diffusion_model.%.*s%s", (int)(strlen(t->name) - strlen(t->ending)),
                 t->name, endings[i]);
        memcpy(s->source, s->name, sizeof(s->name));
        s->std = (float)((i ? 0.1 : 1.0) / root(i ? p->rank : t->k));
    }
    return 0;
}

static int plan_lora(Plan *plan, const Options *o)
{
    const TDDitShape shape = { .dim = o->dim, .ffn = o->ffn, .n_blocks = o->blocks, .in_dim = o->in_dim,
                               .text_dim = o->text_dim };
    LoraPlan p = { plan, o->lora };

    return td_dit_each_tensor(&shape, add_lora, &p);
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

static int is_one_file(const char *a, const char *b)
{
    struct stat x, y;

    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
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
    /* one that is in its place already is read, and never written to */
    ret = 0;
    if (!is_one_file(path, o->spiece) && (ret = out_open(&out, path)) >= 0)
        ret = out_close(&out, out_write(&out, data, n));
    free(data);
    return ret;
}

static int write_model(Options *o)
{
    if (make_dir(o->dir) < 0)
        return -1;
    if (o->lora) {
        Plan plan = { .form = PICKLE_STATE_DICT, .salt = "" };
        Options as = *o;

        as.safetensors = 1;
        if (write_plan(&plan, &as, plan_lora(&plan, o), "lora", "") < 0)
            return -1;
    }
    if (o->parts & PART_VAE) {
        Plan plan = { .form = PICKLE_PLAIN, .salt = "" };

        if (write_plan(&plan, o, o->vae_tiny ? plan_tiny(&plan) : plan_vae(&plan, o),
                       o->vae_tiny ? "taew2_1" : "Wan2.1_VAE", o->vae_tiny ? "taew2_1" : "wanx_vae") < 0)
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
          "  --vae=wan|tiny               Wan's VAE, or the tiny one (taew2_1, of its one size, f16)\n"
          "  --vae-dtype=f32|bf16         type that its values are stored in (f32, as the official file)\n"
          "  --dit=bf16|int8|both         transformer files to write\n"
          "  --no-sla                     no linear-attention projection: a dense-attention model\n"
          "  --lora=R                     lora.safetensors beside them, of this rank\n"
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
        { "--lora", &o->lora, 1, 1 },
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
    } else if ((v = value_of(arg, "--vae"))) {
        if (strcmp(v, "wan") && strcmp(v, "tiny"))
            return fail("%s: want wan or tiny", arg);
        o->vae_tiny = *v == 't';
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
    if (!o.dir || !*o.dir) {
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
