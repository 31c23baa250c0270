/* SPDX-License-Identifier: BSD-2-Clause
 * tdinfo: what is in a model directory or file: tensors, which model it is, what is missing from it or unexpected in
 * it; and the token ids of prompts, for comparing tokenizers. See usage[].
 * 1. The model is told from tensor names and shapes, never from the file name.
 * 2. A complete file has every tensor of its model with the right shape, and no other.
 * 3. A complete directory is one whose files the library finds, by the library's own finder. */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "cli.h"
#include "model/model.h"

#define MAX_PROMPT   65536                       /* bytes, as the tokenizer takes */
#define MAX_BLOCKS   1000
#define MAX_REPORTED 8

static const char usage[] =
    "usage: tdinfo [--summary] FILE|DIR...\n"
    "       tdinfo --tokenize spiece.model < PROMPTS\n"
    "FILE      a .pth, .safetensors, .safetensors.index.json or SentencePiece .model file: lists its tensors (name,\n"
    "          dtype, shape, bytes), then says which model it is and what is missing or unexpected\n"
    "DIR       a model directory: the same for each such file in it, and which parts are missing\n"
    "--summary without the tensor lists\n"
    "--tokenize  prompts on standard input, each ended by a NUL byte; prints a line of ids for each, or \"error\"\n"
    "short forms: -s, -t, -h (--help), -V (--version)\n"
    "exit code: 0 all well; 1 a file cannot be read, is incomplete or unknown; 2 wrong usage\n";

enum Part { PART_DIT, PART_TEXT, PART_VAE, PART_TOKENIZER, N_PARTS, PART_UNKNOWN };

static const char *const part_names[N_PARTS] = { "transformer", "text encoder (umT5)", "VAE",
                                                 "tokenizer (spiece.model)" };

/* Expected against found */
typedef struct Check {
    const TDCheckpoint *ckpt;
    char *seen;                                  /* by entry index */
    int n_missing, n_wrong, n_unexpected;
} Check;

static void print_shape(const TDEntry *e)
{
    printf("[");
    for (int i = 0; i < e->n_dims; i++)
        printf("%s%lld", i ? "," : "", (long long)e->shape[i]);
    printf("]");
}

static int64_t dim(const TDCheckpoint *c, const char *name, int d)
{
    const TDEntry *e = td_checkpoint_find(c, name);

    return e && d < e->n_dims ? e->shape[d] : 0;
}

/* Index of an entry of this checkpoint */
static int entry_index(const TDCheckpoint *c, const TDEntry *e)
{
    return (int)(e - td_checkpoint_entry(c, 0));
}

static void report(int *count, const char *what, const char *name)
{
    if ((*count)++ < MAX_REPORTED)
        printf("  %s: %s\n", what, name);
    else if (*count == MAX_REPORTED + 1)
        printf("  %s: ... and more\n", what);
}

static void expect_shape(Check *k, const char *name, int n_dims, const int64_t *shape)
{
    const TDEntry *e = td_checkpoint_find(k->ckpt, name);
    char line[400];
    int n;

    if (!e) {
        report(&k->n_missing, "missing", name);
        return;
    }
    k->seen[entry_index(k->ckpt, e)] = 1;
    if (e->n_dims == n_dims && !memcmp(e->shape, shape, (size_t)n_dims * sizeof(*shape)))
        return;
    n = snprintf(line, sizeof(line), "%.200s: [", name);
    for (int i = 0; i < e->n_dims; i++)
        n += snprintf(line + n, sizeof(line) - (size_t)n, "%s%lld", i ? "," : "", (long long)e->shape[i]);
    n += snprintf(line + n, sizeof(line) - (size_t)n, "], want [");
    for (int i = 0; i < n_dims && n < (int)sizeof(line) - 30; i++)
        n += snprintf(line + n, sizeof(line) - (size_t)n, "%s%lld", i ? "," : "", (long long)shape[i]);
    snprintf(line + n, sizeof(line) - (size_t)n, "]");
    report(&k->n_wrong, "wrong shape", line);
}

#define EXPECT(k, name, ...) \
    expect_shape(k, name, (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), (int64_t[]){ __VA_ARGS__ })

static const char *fmt_name(char dst[256], const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static const char *fmt_name(char dst[256], const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(dst, 256, fmt, ap);
    va_end(ap);
    return dst;
}

static void expect_linear(Check *k, const char *prefix, int64_t out, int64_t in, int quant)
{
    char n[256];

    if (quant) {
        EXPECT(k, fmt_name(n, "%s.int8_weight", prefix), out, in);
        EXPECT(k, fmt_name(n, "%s.scale", prefix), (out + 127) / 128, (in + 127) / 128);
    } else
        EXPECT(k, fmt_name(n, "%s.weight", prefix), out, in);
    EXPECT(k, fmt_name(n, "%s.bias", prefix), out);
}

/* Highest N of "blocks.N." plus one */
static int count_blocks(const TDCheckpoint *c)
{
    const TDEntry *e;
    int n = 0;

    for (int i = 0; (e = td_checkpoint_entry(c, i)); i++)
        if (!strncmp(e->name, "blocks.", 7) && isdigit((unsigned char)e->name[7]) && strlen(e->name) > 9 &&
            atoll(e->name + 7) < MAX_BLOCKS && atoi(e->name + 7) >= n)
            n = atoi(e->name + 7) + 1;
    return n;
}

static int has_suffix(const TDCheckpoint *c, const char *part)
{
    const TDEntry *e;

    for (int i = 0; (e = td_checkpoint_entry(c, i)); i++)
        if (strstr(e->name, part))
            return 1;
    return 0;
}

static const char *dit_name(int64_t d, int64_t in, int blocks)
{
    if (d == 1536 && in == 16 && blocks == 30)
        return "Wan2.1-T2V-1.3B";
    if (d == 5120 && in == 16 && blocks == 40)
        return "Wan2.1-T2V-14B";
    if (d == 5120 && in == 36 && blocks == 40)
        return "Wan2.2-I2V-A14B (one expert)";
    return in == 36 ? "Wan I2V, other size" : "Wan T2V, other size";
}

/* of a transformer; 0 if it is none */
static int64_t input_channels(const TDCheckpoint *c)
{
    const TDEntry *patch = td_checkpoint_find(c, "patch_embedding.weight");

    return !patch || patch->n_dims < 2 ? 0 : patch->n_dims == 5 ? patch->shape[1] : patch->shape[1] / 4;
}

static void check_dit(Check *k, char *title)
{
    static const char *const attn[] = { "self_attn", "cross_attn" }, *const proj[] = { "q", "k", "v", "o" };
    const TDCheckpoint *c = k->ckpt;
    const TDEntry *patch = td_checkpoint_find(c, "patch_embedding.weight");
    int64_t d = dim(c, "patch_embedding.weight", 0), f = dim(c, "blocks.0.ffn.0.bias", 0);
    int64_t in = input_channels(c);
    int64_t text = dim(c, "text_embedding.0.weight", 1), freq = dim(c, "time_embedding.0.weight", 1);
    int blocks = count_blocks(c), quant = has_suffix(c, ".int8_weight"), sla = has_suffix(c, ".proj_l.");
    char n[256], p[256];

    if (patch->n_dims == 5)
        EXPECT(k, "patch_embedding.weight", d, in, 1, 2, 2);
    else
        EXPECT(k, "patch_embedding.weight", d, 4 * in);
    EXPECT(k, "patch_embedding.bias", d);
    expect_linear(k, "text_embedding.0", d, text, 0);
    expect_linear(k, "text_embedding.2", d, d, 0);
    expect_linear(k, "time_embedding.0", d, freq, 0);
    expect_linear(k, "time_embedding.2", d, d, 0);
    expect_linear(k, "time_projection.1", 6 * d, d, 0);
    expect_linear(k, "head.head", 64, d, 0);
    EXPECT(k, "head.modulation", 1, 2, d);
    for (int i = 0; i < blocks; i++) {
        EXPECT(k, fmt_name(n, "blocks.%d.modulation", i), 1, 6, d);
        for (int a = 0; a < 2; a++) {
            for (int j = 0; j < 4; j++)
                expect_linear(k, fmt_name(p, "blocks.%d.%s.%s", i, attn[a], proj[j]), d, d, quant);
            for (int j = 0; j < 2; j++)
                EXPECT(k, fmt_name(n, "blocks.%d.%s.norm_%s.weight", i, attn[a], proj[j]), d);
        }
        if (sla)
            expect_linear(k, fmt_name(p, "blocks.%d.self_attn.attn_op.local_attn.proj_l", i), 128, 128, 0);
        EXPECT(k, fmt_name(n, "blocks.%d.norm3.weight", i), d);
        EXPECT(k, fmt_name(n, "blocks.%d.norm3.bias", i), d);
        expect_linear(k, fmt_name(p, "blocks.%d.ffn.0", i), f, d, quant);
        expect_linear(k, fmt_name(p, "blocks.%d.ffn.2", i), d, f, quant);
    }
    snprintf(title, 256, "%s: dim %lld, ffn %lld, %d blocks, %lld input channels, %s, %s", dit_name(d, in, blocks),
             (long long)d, (long long)f, blocks, (long long)in, quant ? "int8" : "not quantised",
             sla ? "SLA" : "dense attention");
    if (has_suffix(c, "k_img") || has_suffix(c, "img_emb"))
        snprintf(title, 256, "Wan2.1 I2V (with CLIP branch), not supported");
    else if (in == 48)
        snprintf(title, 256, "Wan2.2-TI2V-5B, not supported");
}

static void check_text(Check *k, char *title)
{
    const TDCheckpoint *c = k->ckpt;
    int64_t vocab = dim(c, "token_embedding.weight", 0), d = dim(c, "token_embedding.weight", 1);
    int64_t f = dim(c, "blocks.0.ffn.fc1.weight", 0), a = dim(c, "blocks.0.attn.q.weight", 0);
    int64_t heads = dim(c, "blocks.0.pos_embedding.embedding.weight", 1);
    int blocks = count_blocks(c);
    char n[256];

    EXPECT(k, "token_embedding.weight", vocab, d);
    EXPECT(k, "norm.weight", d);
    for (int i = 0; i < blocks; i++) {
        EXPECT(k, fmt_name(n, "blocks.%d.norm1.weight", i), d);
        EXPECT(k, fmt_name(n, "blocks.%d.norm2.weight", i), d);
        for (int j = 0; j < 3; j++)
            EXPECT(k, fmt_name(n, "blocks.%d.attn.%c.weight", i, "qkv"[j]), a, d);
        EXPECT(k, fmt_name(n, "blocks.%d.attn.o.weight", i), d, a);
        EXPECT(k, fmt_name(n, "blocks.%d.ffn.gate.0.weight", i), f, d);
        EXPECT(k, fmt_name(n, "blocks.%d.ffn.fc1.weight", i), f, d);
        EXPECT(k, fmt_name(n, "blocks.%d.ffn.fc2.weight", i), d, f);
        EXPECT(k, fmt_name(n, "blocks.%d.pos_embedding.embedding.weight", i), 32, heads);
    }
    snprintf(title, 256, "%s: dim %lld, ffn %lld, %lld heads, %d blocks, %lld ids",
             d == 4096 && blocks == 24 ? "umT5-XXL encoder" : "umT5 encoder, other size", (long long)d, (long long)f,
             (long long)heads, blocks, (long long)vocab);
}

static void expect_conv(Check *k, const char *prefix, int64_t out, int64_t in, int t, int s, int n_dims)
{
    char n[256];

    if (n_dims == 5)
        EXPECT(k, fmt_name(n, "%s.weight", prefix), out, in, t, s, s);
    else
        EXPECT(k, fmt_name(n, "%s.weight", prefix), out, in, s, s);
    EXPECT(k, fmt_name(n, "%s.bias", prefix), out);
}

static void expect_res(Check *k, const char *prefix, int64_t in, int64_t out)
{
    char n[256];

    EXPECT(k, fmt_name(n, "%s.residual.0.gamma", prefix), in, 1, 1, 1);
    expect_conv(k, fmt_name(n, "%s.residual.2", prefix), out, in, 3, 3, 5);
    EXPECT(k, fmt_name(n, "%s.residual.3.gamma", prefix), out, 1, 1, 1);
    expect_conv(k, fmt_name(n, "%s.residual.6", prefix), out, out, 3, 3, 5);
    if (in != out)
        expect_conv(k, fmt_name(n, "%s.shortcut", prefix), out, in, 1, 1, 5);
}

static void check_vae_side(Check *k, const char *side, int64_t b, int64_t conv_in, int64_t conv_out)
{
    static const int mult_enc[] = { 1, 1, 2, 4, 4 }, mult_in[] = { 4, 2, 2, 1 }, mult_dec[] = { 4, 4, 2, 1 };
    int enc = !strcmp(side, "encoder"), index = 0;
    int64_t ends = enc ? 4 * b : b;
    char n[256], p[200];

    expect_conv(k, fmt_name(n, "%s.conv1", side), enc ? b : 4 * b, conv_in, 3, 3, 5);
    for (int level = 0; level < 4; level++) {
        int64_t in  = b * (enc ? mult_enc[level] : mult_in[level]);
        int64_t out = b * (enc ? mult_enc[level + 1] : mult_dec[level]);

        for (int j = 0; j < (enc ? 2 : 3); j++)
            expect_res(k, fmt_name(n, "%s.%s.%d", side, enc ? "downsamples" : "upsamples", index++), j ? out : in, out);
        if (level == 3)
            break;
        snprintf(p, sizeof(p), "%s.%s.%d", side, enc ? "downsamples" : "upsamples", index++);
        expect_conv(k, fmt_name(n, "%s.resample.1", p), enc ? out : out / 2, out, 1, 3, 4);
        if (enc ? level > 0 : level < 2) {
            EXPECT(k, fmt_name(n, "%s.time_conv.weight", p), enc ? out : 2 * out, out, 3, 1, 1);
            EXPECT(k, fmt_name(n, "%s.time_conv.bias", p), enc ? out : 2 * out);
        }
    }
    for (int j = 0; j <= 2; j += 2)
        expect_res(k, fmt_name(n, "%s.middle.%d", side, j), 4 * b, 4 * b);
    EXPECT(k, fmt_name(n, "%s.middle.1.norm.gamma", side), 4 * b, 1, 1);
    expect_conv(k, fmt_name(n, "%s.middle.1.to_qkv", side), 12 * b, 4 * b, 1, 1, 4);
    expect_conv(k, fmt_name(n, "%s.middle.1.proj", side), 4 * b, 4 * b, 1, 1, 4);
    EXPECT(k, fmt_name(n, "%s.head.0.gamma", side), ends, 1, 1, 1);
    expect_conv(k, fmt_name(n, "%s.head.2", side), conv_out, ends, 3, 3, 5);
}

static void check_vae(Check *k, char *title)
{
    int64_t b = dim(k->ckpt, "decoder.head.0.gamma", 0);

    expect_conv(k, "conv1", 32, 32, 1, 1, 5);
    expect_conv(k, "conv2", 16, 16, 1, 1, 5);
    check_vae_side(k, "encoder", b, 3, 32);
    check_vae_side(k, "decoder", b, 16, 3);
    snprintf(title, 256, "%s: base dim %lld", b == 96 ? "Wan2.1 VAE" : "Wan VAE, other size", (long long)b);
}

static enum Part check_checkpoint(const TDCheckpoint *c, const char *path, int *bad)
{
    Check k = { .ckpt = c };
    char title[256] = "";
    enum Part part = PART_UNKNOWN;
    const TDEntry *e, *patch = td_checkpoint_find(c, "patch_embedding.weight");
    unsigned long long bytes = 0;
    int count = td_checkpoint_count(c);

    k.seen = calloc((size_t)count, 1);
    if (!k.seen) {
        fprintf(stderr, "tdinfo: out of memory\n");
        exit(1);
    }
    if (patch && patch->n_dims >= 2)
        part = PART_DIT;
    else if (td_checkpoint_find(c, "token_embedding.weight"))
        part = PART_TEXT;
    else if (td_checkpoint_find(c, "decoder.head.0.gamma"))
        part = PART_VAE;
    for (int i = 0; (e = td_checkpoint_entry(c, i)); i++)
        bytes += (unsigned long long)td_entry_count(e) * td_dtype_size(e->dtype);
    if (part == PART_DIT)
        check_dit(&k, title);
    else if (part == PART_TEXT)
        check_text(&k, title);
    else if (part == PART_VAE)
        check_vae(&k, title);
    else if (td_checkpoint_find(c, "condition_embedder.time_proj.weight") ||
             td_checkpoint_find(c, "encoder.conv_in.weight"))
        snprintf(title, sizeof(title), "Diffusers layout, want the official names");
    else if (td_checkpoint_find(c, "shared.weight") || td_checkpoint_find(c, "encoder.final_layer_norm.weight"))
        snprintf(title, sizeof(title), "Hugging Face T5 layout, want the official names");
    else
        snprintf(title, sizeof(title), "unknown model");
    if ((part == PART_DIT || part == PART_TEXT) && !count_blocks(c))
        report(&k.n_missing, "missing", "blocks.0");
    if (part != PART_UNKNOWN)
        for (int i = 0; (e = td_checkpoint_entry(c, i)); i++)
            if (!k.seen[i])
                report(&k.n_unexpected, "unexpected", e->name);
    printf("%s: %s: %d tensors, %llu bytes", path, title, count, bytes);
    if (part == PART_UNKNOWN || k.n_missing || k.n_wrong || k.n_unexpected) {
        if (part != PART_UNKNOWN)
            printf("; %d missing, %d of wrong shape, %d unexpected", k.n_missing, k.n_wrong, k.n_unexpected);
        *bad = 1;
    } else
        printf(", complete");
    printf("\n");
    free(k.seen);
    return part;
}

static void print_log(void *cookie, int level, const char *line)
{
    (void)cookie;
    fprintf(stderr, "tdinfo: %s%s\n", level == TD_LOG_WARNING ? "warning: " : "", line);
}

static int ends_with(const char *s, const char *end)
{
    return strlen(s) >= strlen(end) && !strcmp(s + strlen(s) - strlen(end), end);
}

static enum Part show_file(const char *path, int summary, int *bad, TDLog *log)
{
    enum Part part = PART_UNKNOWN;
    const TDEntry *e;
    TDCheckpoint *c;
    TDTokenizer *tok;

    if (ends_with(path, ".model")) {
        if (td_tokenizer_open(&tok, path, log) < 0) {
            *bad = 1;
            return part;
        }
        printf("%s: %s: %d ids\n", path, td_tokenizer_n_ids(tok) == 256300 ? "umT5 vocabulary" :
               "vocabulary with umT5's conventions, other size", td_tokenizer_n_ids(tok));
        td_tokenizer_free(&tok);
        return PART_TOKENIZER;
    }
    if (td_checkpoint_open(&c, path, log) < 0) {
        *bad = 1;
        return part;
    }
    for (int i = 0; !summary && (e = td_checkpoint_entry(c, i)); i++) {
        printf("%-60s %-5s ", e->name, td_dtype_name(e->dtype));
        print_shape(e);
        printf(" %llu%s\n", (unsigned long long)td_entry_count(e) * td_dtype_size(e->dtype),
               td_entry_is_contiguous(e) ? "" : " strided");
    }
    part = check_checkpoint(c, path, bad);
    td_checkpoint_close(&c);
    return part;
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Shards are shown with their index. */
static int is_model_file(int dir, const char *name)
{
    struct stat st;

    return td_model_is_weight_file(dir, name) ||
           (name[0] != '.' && ends_with(name, ".model") && !fstatat(dir, name, &st, 0) && S_ISREG(st.st_mode));
}

static void show_dir(const char *path, int summary, int found[N_PARTS], int depth, int *bad, TDLog *log)
{
    struct dirent *d;
    char **names = NULL, **grown, full[4096];
    struct stat st;
    size_t n = 0;
    DIR *dir = opendir(path);

    if (!dir) {
        fprintf(stderr, "tdinfo: %s: cannot list it\n", path);
        *bad = 1;
        return;
    }
    while ((d = readdir(dir))) {
        if (d->d_name[0] == '.')
            continue;
        grown = realloc(names, (n + 1) * sizeof(*names));
        if (!grown || !(grown[n] = strdup(d->d_name))) {
            fprintf(stderr, "tdinfo: out of memory\n");
            exit(1);
        }
        names = grown;
        n++;
    }
    if (n)
        qsort(names, n, sizeof(*names), compare_strings);
    for (size_t i = 0; i < n; i++) {
        int len = snprintf(full, sizeof(full), "%s%s%s", path, ends_with(path, "/") ? "" : "/", names[i]);

        if (len < (int)sizeof(full) && !stat(full, &st)) {
            if (S_ISDIR(st.st_mode) && depth < 2)
                show_dir(full, summary, found, depth + 1, bad, log);
            else if (is_model_file(dirfd(dir), names[i])) {
                enum Part part = show_file(full, summary, bad, log);

                if (part < N_PARTS)
                    found[part]++;
            }
        }
        free(names[i]);
    }
    free(names);
    closedir(dir);
}

/* what the library makes of the directory: its choice of files, and turbodiff.conf. @return 0 or a logged error */
static int find_as_library(const char *path, TDLog *log)
{
    char *file[TD_N_FILES] = { NULL };
    TDCheckpoint *c = NULL;
    TDModelConf conf;
    TDSettings s;
    int ret;

    td_default_settings(&s, sizeof(s));
    s.model = path;
    ret = td_model_find_files(file, &s, log);
    if (ret >= 0 && (ret = td_checkpoint_open(&c, file[TD_FILE_DIT], log)) >= 0)
        ret = td_model_check_experts(file, &s, input_channels(c), log);
    if (ret >= 0)
        ret = td_model_conf_read(&conf, path, log);
    td_checkpoint_close(&c);
    for (int i = 0; i < TD_N_FILES; i++)
        free(file[i]);
    return ret;
}

static int show(const char *path, int summary, TDLog *log)
{
    int bad = 0, missing = 0, found[N_PARTS] = { 0 };
    struct stat st;

    if (stat(path, &st) || !S_ISDIR(st.st_mode)) {
        show_file(path, summary, &bad, log);
        return bad;
    }
    show_dir(path, summary, found, 0, &bad, log);
    for (int i = 0; i < N_PARTS; i++)
        if (!found[i]) {
            printf("%s: no %s in it\n", path, part_names[i]);
            bad = missing = 1;
        }
    if (!missing && find_as_library(path, log) < 0)
        bad = 1;
    return bad;
}

/* the next prompt of standard input; of a longer one than the tokenizer takes, enough for it to say so. @return 0 at
 * the end */
static int read_prompt(char prompt[MAX_PROMPT + 8])
{
    int n = 0, some = 0, c;

    while ((c = getchar()) != EOF) {
        some = 1;
        if (!c)
            break;
        if (n < MAX_PROMPT + 7)
            prompt[n++] = (char)c;
    }
    prompt[n] = 0;
    return some;
}

static int tokenize(const char *path, TDLog *log)
{
    static char prompt[MAX_PROMPT + 8];
    int32_t ids[TD_TEXT_LEN];
    TDTokenizer *tok;
    int bad = 0;

    if (td_tokenizer_open(&tok, path, log) < 0)
        return 1;
    while (read_prompt(prompt)) {
        int n = td_tokenize(tok, prompt, ids, TD_TEXT_LEN, log);

        if (n < 0)
            bad = 1;
        for (int i = 0; i < n; i++)
            printf("%d%c", ids[i], i < n - 1 ? ' ' : '\n');
        if (n < 0)
            printf("error\n");
    }
    td_tokenizer_free(&tok);
    return bad;
}

int main(int argc, char **argv)
{
    static const struct option longs[] = { { "summary", 0, NULL, 's' }, { "tokenize", 1, NULL, 't' },
                                           { "help", 0, NULL, 'h' }, { "version", 0, NULL, 'V' }, { 0 } };
    TDLog log = { .out = { .callback = print_log, .level = TD_LOG_WARNING } };
    const char *vocabulary = NULL;
    int summary = 0, bad = 0, letter;

    while ((letter = getopt_long(argc, argv, "+st:hV", longs, NULL)) >= 0)
        switch (letter) {
        case 's': summary = 1; break;
        case 't': vocabulary = optarg; break;
        case 'h': fputs(usage, stdout); return cli_end("tdinfo", 0);
        case 'V': printf("tdinfo %s\n", td_version()); return cli_end("tdinfo", 0);
        default:  goto wrong;                    /* getopt_long() has told what is unknown */
        }
    if ((optind == argc) == !vocabulary)
        goto wrong;
    if (vocabulary)
        bad = tokenize(vocabulary, &log);
    for (; optind < argc; optind++)
        bad |= show(argv[optind], summary, &log);
    return cli_end("tdinfo", bad);
wrong:
    fputs("usage: tdinfo [--summary] FILE|DIR..., or tdinfo --tokenize spiece.model; more with --help\n", stderr);
    return 2;
}
