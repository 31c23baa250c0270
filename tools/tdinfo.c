/* SPDX-License-Identifier: BSD-2-Clause
 * tdinfo: what is in a model directory or file: tensors, which model it is, what is missing from it or unexpected in
 * it; and the token ids of prompts, for comparing tokenizers. See usage[].
 * 1. The model is told from tensor names and shapes, never from the file name.
 * 2. A complete file has every tensor of its model with the right shape, and the library binds it; what it has more is
 *    told, and of no effect.
 * 3. A complete directory is one whose files the library finds, by the library's own finder. */
#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "cli.h"
#include "files/lora.h"
#include "files/lora_names.h"
#include "model/device.h"
#include "model/model.h"
#include "model/vocabulary.h"

#define MAX_REPORTED 8

static const char usage[] =
    "usage: tdinfo [--summary] FILE|DIR...\n"
    "       tdinfo --tokenize spiece.model < PROMPTS\n"
    "FILE      a .pth, .safetensors, .safetensors.index.json, .gguf or SentencePiece .model file: lists its tensors\n"
    "          (name, dtype, shape, bytes), then says which model it is and what is missing or unexpected\n"
    "DIR       a model directory: the same for each such file in it, and which parts are missing; and for each GPU of\n"
    "          this machine, how the model and a clip of its own size fit there\n"
    "--summary without the tensor lists\n"
    "--tokenize  prompts on standard input, each ended by a NUL byte; prints a line of ids for each, or \"error\"\n"
    "short forms: -s, -t, -h (--help), -V (--version)\n"
    "exit code: 0 all well; 1 a file cannot be read, is incomplete or unknown; 2 wrong usage\n";

enum Part { PART_DIT, PART_TEXT, PART_VAE, PART_TOKENIZER, N_PARTS, PART_TINY, PART_UNKNOWN };

static const char *const part_names[N_PARTS] = { "transformer", "text encoder (umT5)", "VAE",
                                                 "tokenizer (spiece.model)" };

/* Expected against found */
typedef struct Check {
    const TDCheckpoint *ckpt;
    char *seen;                                  /* by entry index */
    int n_missing, n_wrong, n_unexpected;
} Check;

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

/* shapes as the engine reads them: the number of values, and of rows where there is more than one dim */
static int expect(void *cookie, const TDFileTensor *t)
{
    Check *k = cookie;
    const TDEntry *e = td_checkpoint_find(k->ckpt, t->name);
    char line[440], shape[TD_SHAPE_TEXT], want[TD_SHAPE_TEXT];

    if (!e) {
        report(&k->n_missing, "missing", t->name);
        return 0;
    }
    k->seen[entry_index(k->ckpt, e)] = 1;
    if (td_entry_count(e) == td_shape_count(t->shape, t->n_dims) &&
        (t->n_dims == 1 || e->shape[0] == t->shape[0] || t->shape[0] == 1))
        return 0;
    snprintf(line, sizeof(line), "%.200s: %s, want %s", t->name, td_shape_text(shape, e->shape, e->n_dims),
             td_shape_text(want, t->shape, t->n_dims));
    report(&k->n_wrong, "wrong shape", line);
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

static void check_dit(Check *k, char *title)
{
    const TDCheckpoint *c = k->ckpt;
    TDLog quiet = { 0 };
    TDDitShape s;

    td_dit_shape(&s, c, &quiet);
    td_dit_each_tensor(&s, expect, k);
    snprintf(title, 256, "%s: dim %lld, ffn %lld, %lld blocks, %lld input channels, %s, %s",
             dit_name(s.dim, s.in_dim, (int)s.n_blocks), (long long)s.dim, (long long)s.ffn, (long long)s.n_blocks,
             (long long)s.in_dim, s.int8 ? "int8" : s.few_bits ? s.few_bits : "not quantised",
             s.has_sla ? "SLA" : "dense attention");
}

static void check_text(Check *k, char *title)
{
    TDTextShape s;

    td_text_shape(&s, k->ckpt);
    td_text_each_tensor(&s, expect, k);
    snprintf(title, 256, "%s: dim %lld, ffn %lld, %lld heads, %lld blocks, %lld ids",
             s.dim == 4096 && s.n_blocks == 24 ? "umT5-XXL encoder" : "umT5 encoder, other size", (long long)s.dim,
             (long long)s.ffn, (long long)s.n_heads, (long long)s.n_blocks, (long long)s.n_rows);
}

static void check_vae(Check *k, char *title)
{
    int64_t base = dim(k->ckpt, "decoder.head.0.gamma", 0);

    td_vae_encode_each_tensor(base, expect, k);
    td_vae_each_tensor(base, expect, k);
    if (dim(k->ckpt, "conv2.weight", 0) == 48)
        snprintf(title, 256, "Wan2.2 VAE (of TI2V-5B), not supported");
    else
        snprintf(title, 256, "%s: base dim %lld", base == 96 ? "Wan2.1 VAE" : "Wan VAE, other size",
                 (long long)base);
}

/* in place of a VAE where vae= names it */
static void check_tiny(Check *k, char *title)
{
    td_tiny_each_tensor(0, expect, k);
    td_tiny_each_tensor(1, expect, k);
    snprintf(title, 256, "tiny VAE (%s)", td_tiny_is_light(k->ckpt) ? "lighttaew2_1, by its name" : "taew2_1");
}

/* all that the library checks when it opens a model with this file. @return 0 or a logged error */
static int bind(const TDCheckpoint *c, enum Part part, TDLog *log)
{
    TDDev *dev = NULL;
    TDDit *dit = NULL;
    TDTextEncoder *text = NULL;
    TDVae *vae = NULL;
    TDVaeEncoder *encoder = NULL;
    TDTiny *tiny[2] = { NULL, NULL };
    int ret = td_device_open(&dev, TD_BACKEND_CPU, NULL, 1, NULL, log);

    if (ret < 0)
        return ret;
    if (part == PART_DIT)
        ret = td_dit_bind(&dit, dev, c, TD_QUANT_AUTO, TD_NORM_OFFICIAL, TD_MEASURE);
    else if (part == PART_TEXT)
        ret = td_text_bind(&text, dev, c, TD_MEASURE);
    else if (part == PART_TINY)
        for (int i = 0; i < 2 && ret >= 0; i++)
            ret = td_tiny_bind(&tiny[i], dev, c, i, TD_MEASURE);
    else if ((ret = td_vae_bind(&vae, dev, c, TD_VAE_DTYPE_AUTO, TD_MEASURE)) >= 0)
        ret = td_vae_encode_bind(&encoder, dev, c, TD_VAE_DTYPE_AUTO, TD_MEASURE);
    td_dit_free(&dit);
    td_text_free(&text);
    td_vae_free(&vae);
    td_vae_free(&encoder);
    td_tiny_free(&tiny[0]);
    td_tiny_free(&tiny[1]);
    dev->ops->close(&dev);
    return ret;
}

/* what a file is that is no part of a model here, by a part of a name in it */
static const char *stranger(const TDCheckpoint *c)
{
    static const struct { const char *part, *title; } files[] = {
        { "text_model.", "CLIP, not supported" }, { "visual.", "CLIP, not supported" },
        { "double_blocks.", "transformer of another family, not supported" },
        { "transformer_blocks.", "transformer of another family, not supported" },
        { "joint_blocks.", "transformer of another family, not supported" },
        { "input_blocks.", "Stable Diffusion, not supported" },
        { "layers.0.self_attn.q_proj.", "language model, not supported" },
        { "control_model.", "ControlNet, not supported" }, { "decoder.up.", "VAE of another family, not supported" },
    };
    const TDEntry *e;

    for (size_t f = 0; f < sizeof(files) / sizeof(*files); f++)
        for (int i = 0; (e = td_checkpoint_entry(c, i)); i++)
            if (strstr(e->name, files[f].part))
                return files[f].title;
    return "unknown model";
}

/* halves of pairs without the other one, and those of rank 0 */
static void check_pair(Check *k, const TDLoraNames *names, const TDLoraKey *half)
{
    TDLoraKey other;
    const TDEntry *e;

    if (half->role != TD_LORA_DOWN && half->role != TD_LORA_UP)
        return;
    for (int i = 0; (e = td_checkpoint_entry(k->ckpt, i)); i++) {
        td_lora_key(&other, names, e);
        if (other.role == (half->role == TD_LORA_UP ? TD_LORA_DOWN : TD_LORA_UP) && other.own_len == half->own_len &&
            !memcmp(other.own, half->own, (size_t)half->own_len))
            break;
    }
    if (!e)
        report(&k->n_missing, "missing the other half of", half->e->name);
    else if (half->e->shape[half->role == TD_LORA_UP] < 1)
        report(&k->n_wrong, "rank 0", half->e->name);
}

/* of what kinds a LoRA is, which is used beside a model. @return 0, or -1 if it is none */
static int describe_lora(Check *k, char *title)
{
    static const struct { enum TDLoraRole role; const char *word; } kinds[] = {
        { TD_LORA_DORA, "DoRA" }, { TD_LOHA_1A, "LoHa" }, { TD_LOKR_1, "LoKr" }, { TD_LOKR_1A, "LoKr" },
        { TD_LORA_DIFF, "differences" }, { TD_LORA_DIFF_BIAS, "differences" }, { TD_LORA_OTHER, "not supported" },
    };
    const TDCheckpoint *c = k->ckpt;
    int64_t least = INT64_MAX, most = 0;
    TDLoraNames names = { 0 };
    int pairs = 0, n;
    const TDEntry *e;
    TDLoraKey key;

    if (!td_lora_is(c))
        return -1;
    for (int i = 0; (e = td_checkpoint_entry(c, i)); i++) {
        td_lora_key(&key, &names, e);
        check_pair(k, &names, &key);
        if (key.role != TD_LORA_DOWN)
            continue;
        least = e->shape[0] < least ? e->shape[0] : least;
        most = e->shape[0] > most ? e->shape[0] : most;
        pairs++;
    }
    n = snprintf(title, 256, "LoRA, for lora=");
    if (pairs)
        n += snprintf(title + n, 256 - (size_t)n, ", %d pairs of rank %lld to %lld", pairs, (long long)least,
                      (long long)most);
    for (size_t kind = 0; kind < sizeof(kinds) / sizeof(*kinds); kind++)
        for (int i = 0; (e = td_checkpoint_entry(c, i)); i++) {
            td_lora_key(&key, &names, e);
            if (key.role == kinds[kind].role && !strstr(title, kinds[kind].word)) {
                n += snprintf(title + n, 256 - (size_t)n, ", %s", kinds[kind].word);
                break;
            }
        }
    return 0;
}

static enum Part check_checkpoint(const TDCheckpoint *c, const char *path, int *bad, TDLog *log)
{
    Check k = { .ckpt = c };
    char title[256] = "";
    enum Part part = PART_UNKNOWN;
    const TDEntry *e, *patch = td_checkpoint_find(c, "patch_embedding.weight");
    unsigned long long bytes = 0;
    const char *odd = td_lora_is(c) ? NULL : td_dit_stranger(c);
    int count = td_checkpoint_count(c), beside = 0;

    k.seen = calloc((size_t)count, 1);
    if (!k.seen) {
        fprintf(stderr, "tdinfo: out of memory\n");
        exit(1);
    }
    if (patch && patch->n_dims >= 2 && !odd)
        part = PART_DIT;
    else if (td_checkpoint_find(c, "token_embedding.weight"))
        part = PART_TEXT;
    else if (td_checkpoint_find(c, "decoder.head.0.gamma"))
        part = PART_VAE;
    else if (td_tiny_is(c) && !td_tiny_stranger(c))
        part = PART_TINY;
    for (int i = 0; (e = td_checkpoint_entry(c, i)); i++)
        bytes += (unsigned long long)td_dtype_bytes(e->dtype, td_entry_count(e));
    if (odd)
        snprintf(title, sizeof(title), "%s, not supported", odd);
    else if (part == PART_DIT)
        check_dit(&k, title);
    else if (part == PART_TEXT)
        check_text(&k, title);
    else if (part == PART_VAE)
        check_vae(&k, title);
    else if (part == PART_TINY)
        check_tiny(&k, title);
    else if (td_tiny_is(c))
        snprintf(title, sizeof(title), "%s, not supported", td_tiny_stranger(c));
    else if (describe_lora(&k, title) >= 0)
        beside = !strstr(title, "not supported") && !k.n_missing && !k.n_wrong;
    else
        snprintf(title, sizeof(title), "%s", stranger(c));
    if ((part == PART_DIT || part == PART_TEXT) && !td_count_blocks(c))
        report(&k.n_missing, "missing", "blocks.0");
    if (part != PART_UNKNOWN)
        for (int i = 0; (e = td_checkpoint_entry(c, i)); i++)
            if (!k.seen[i] && !e->aside)
                report(&k.n_unexpected, "unexpected", e->name);
    printf("%s: %s%s%s%s: %d tensors, %llu bytes", path, title, td_checkpoint_naming(c) ? ", " : "",
           td_checkpoint_naming(c) ? td_checkpoint_naming(c) : "",
           td_checkpoint_naming(c) ? " names" : "", count, bytes);
    if (beside) {
        ;                                        /* no part of a model, and nothing is wrong with that */
    } else if (part == PART_UNKNOWN || k.n_missing || k.n_wrong) {
        if (part != PART_UNKNOWN)
            printf("; %d missing, %d of wrong shape, %d unexpected", k.n_missing, k.n_wrong, k.n_unexpected);
        *bad = 1;
    } else if (bind(c, part, log) < 0) {
        printf(", refused");
        *bad = 1;
    } else {
        printf(", complete");
        if (k.n_unexpected)
            printf(", %d unexpected", k.n_unexpected);
    }
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

static enum Part show_file(const char *path, int summary, int found[N_PARTS], int *bad, TDLog *log)
{
    enum Part part = PART_UNKNOWN;
    char shape[TD_SHAPE_TEXT];
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
        printf("%-60s %-5s %s", e->name, td_dtype_name(e->dtype), td_shape_text(shape, e->shape, e->n_dims));
        printf(" %llu%s\n", (unsigned long long)td_dtype_bytes(e->dtype, td_entry_count(e)),
               td_entry_is_contiguous(e) ? "" : " strided");
    }
    part = check_checkpoint(c, path, bad, log);
    if (part == PART_TEXT && td_vocabulary_is_in(c)) {
        if (td_vocabulary_open(&tok, c, log) < 0) {
            *bad = 1;
        } else {
            printf("%s: with its vocabulary, %d ids\n", path, td_tokenizer_n_ids(tok));
            found[PART_TOKENIZER]++;
        }
        td_tokenizer_free(&tok);
    }
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

/* files of a directory that are not complete */
typedef struct Refused {
    char **path;
    int n;
} Refused;

static void refuse(Refused *r, const char *path)
{
    r->path = realloc(r->path, ((size_t)r->n + 1) * sizeof(*r->path));
    if (!r->path || !(r->path[r->n++] = strdup(path))) {
        fprintf(stderr, "tdinfo: out of memory\n");
        exit(1);
    }
}

static int is_refused(const Refused *r, const char *path)
{
    for (int i = 0; i < r->n; i++)
        if (!strcmp(r->path[i], path))
            return 1;
    return 0;
}

static void show_dir(const char *path, int summary, int found[N_PARTS], int depth, Refused *refused, int *bad,
                     TDLog *log)
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
                show_dir(full, summary, found, depth + 1, refused, bad, log);
            else if (is_model_file(dirfd(dir), names[i])) {
                int wrong = 0;
                enum Part part = show_file(full, summary, found, &wrong, log);

                if (part < N_PARTS)
                    found[part]++;
                if (wrong)
                    refuse(refused, full);
            }
        }
        free(names[i]);
    }
    free(names);
    closedir(dir);
}

/* what the library makes of the directory: its choice of files, and what it says of clips. @return 0, or an error,
 * which is logged or was printed */
static int find_as_library(const char *path, const Refused *refused, TDLog *log)
{
    char *file[TD_N_FILES] = { NULL }, chosen[TD_CHOSEN];
    TDCheckpoint *c = NULL;
    double boundary, shift;
    TDModelConf conf;
    TDDitShape shape;
    TDSettings s;
    int ret;

    td_default_settings(&s, sizeof(s));
    s.model = path;
    ret = td_model_find_files(file, chosen, &s, log);
    if (ret >= 0 && (ret = td_checkpoint_open(&c, file[TD_FILE_DIT], log)) >= 0 &&
        (ret = td_dit_shape(&shape, c, log)) >= 0)
        ret = td_model_check_experts(file, &s, shape.in_dim, log);
    if (ret >= 0)
        ret = td_model_conf_read(&conf, path, log);
    if (ret >= 0)
        ret = td_model_index_read(&boundary, path, log);
    if (ret >= 0)
        ret = td_model_scheduler_read(&shift, path, log);
    for (int i = 0; i < TD_N_FILES && ret >= 0; i++)
        if (file[i] && is_refused(refused, file[i]))
            ret = TD_ERR(EBADMSG);
    td_checkpoint_close(&c);
    for (int i = 0; i < TD_N_FILES; i++)
        free(file[i]);
    return ret;
}

/* a line for each GPU. @return 1 after an error line */
static int show_fit(const char *path, TDLog *log)
{
    char before[4200];
    TDSettings s;

    td_default_settings(&s, sizeof(s));
    s.model = path;
    s.logger = log->out;
    snprintf(before, sizeof(before), "%s: ", path);
    return td_list_devices(&s, cli_print_device, before) < 0;
}

static int show(const char *path, int summary, TDLog *log)
{
    int bad = 0, missing = 0, found[N_PARTS] = { 0 };
    Refused refused = { 0 };
    struct stat st;

    if (stat(path, &st) || !S_ISDIR(st.st_mode)) {
        show_file(path, summary, found, &bad, log);
        return bad;
    }
    show_dir(path, summary, found, 0, &refused, &bad, log);
    for (int i = 0; i < N_PARTS; i++)
        if (!found[i]) {
            printf("%s: no %s in it\n", path, part_names[i]);
            bad = missing = 1;
        }
    if (!missing && find_as_library(path, &refused, log) < 0)
        bad = 1;
    if (!bad)
        bad = show_fit(path, log);
    for (int i = 0; i < refused.n; i++)
        free(refused.path[i]);
    free(refused.path);
    return bad;
}

static int tokenize(const char *path, TDLog *log)
{
    static char prompt[CLI_PROMPT + 1];
    int32_t ids[TD_TEXT_LEN];
    TDTokenizer *tok;
    int bad = 0, more;

    if (td_tokenizer_open(&tok, path, log) < 0)
        return 1;
    while ((more = cli_prompt(prompt, "tdinfo", stdin, 0, 1)) > 0) {
        int n = more == 1 ? td_tokenize(tok, prompt, ids, TD_TEXT_LEN, log) : -1;

        if (n < 0)
            bad = 1;
        for (int i = 0; i < n; i++)
            printf("%d%c", ids[i], i < n - 1 ? ' ' : '\n');
        if (n < 0)
            printf("error\n");
    }
    td_tokenizer_free(&tok);
    return bad || more < 0;
}

int main(int argc, char **argv)
{
    static const struct option longs[] = { { "summary", 0, NULL, 's' }, { "tokenize", 1, NULL, 't' },
                                           { "help", 0, NULL, 'h' }, { "version", 0, NULL, 'V' }, { 0 } };
    TDLog log = { .out = { .callback = print_log, .level = TD_LOG_WARNING } };
    const char *vocabulary = NULL;
    int summary = 0, bad = 0, letter;

    while ((letter = getopt_long(argc, argv, "st:hV", longs, NULL)) >= 0)
        switch (letter) {
        case 's': summary = 1; break;
        case 't': vocabulary = optarg; break;
        case 'h': fputs(usage, stdout); return cli_end("tdinfo", 0);
        case 'V': printf("tdinfo %s\n", td_version()); return cli_end("tdinfo", 0);
        default:  return 2;                      /* getopt_long() has told what is unknown */
        }
    if ((optind == argc) == !vocabulary || (summary && vocabulary))
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
