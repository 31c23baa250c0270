/* SPDX-License-Identifier: BSD-2-Clause
 * 1. Hidden files, and what is no regular file or a link to one, are none of the model. Shards are entered through
 *    their index.
 * 2. A file that cannot be read as weights, or whose tensors are of something else, leaves only where another stays.
 * 3. What a file has beside its network (a decoder of text, a copy) is no bits of it.
 * 4. A file that is found by several names, through links, is one. */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include "model/model.h"
#include "model/model_scan.h"

#define BY_NAME (TD_N_FILES + 1)                 /* a kind, as NONE */
#define NONE (TD_N_FILES + 2)

/* folders of Wan's repositories, of diffusers, and of ComfyUI: what is in them, and how deep they are looked through */
static const struct { const char *folder; int kind, depth; } places[] = {
    { "", BY_NAME, 0 },
    { "high_noise_model", TD_FILE_DIT, 0 }, { "low_noise_model", TD_FILE_DIT_LOW, 0 },
    { "distill_models/high_noise_model", TD_FILE_DIT, 0 }, { "distill_models/low_noise_model", TD_FILE_DIT_LOW, 0 },
    { "transformer", TD_FILE_DIT, 0 }, { "transformer_2", TD_FILE_DIT_LOW, 0 }, { "text_encoder", TD_FILE_TEXT, 0 },
    { "diffusion_models", BY_NAME, 2 }, { "unet", BY_NAME, 2 }, { "text_encoders", TD_FILE_TEXT, 2 },
    { "clip", TD_FILE_TEXT, 2 }, { "vae", TD_FILE_VAE, 2 }, { "vae_approx", TD_SCAN_TINY, 2 },
};

/* ---- names ---- */

static int ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);

    return n >= m && !strcmp(s + n - m, end);
}

int td_has_noise_word(const char *name, const char *word)
{
    size_t n = strlen(word);

    for (size_t i = 0; name[i]; i++) {
        const char *end = name + i + n;
        int camel = isupper((unsigned char)name[i]) && i && islower((unsigned char)name[i - 1]);

        if (strncasecmp(name + i, word, n) != 0 || (i && isalpha((unsigned char)name[i - 1]) && !camel))
            continue;
        if (!isalpha((unsigned char)*end) || !strncasecmp(end, "noise", 5) ||
            (isupper((unsigned char)*end) && islower((unsigned char)end[-1])))
            return 1;
    }
    return 0;
}

int td_is_pair(const char *high, const char *low)
{
    int n = 0;

    while (*high && *low) {
        if (*high == *low) {
            high++;
            low++;
        } else if (!strncasecmp(high, "high", 4) && !strncasecmp(low, "low", 3)) {
            high += 4;
            low += 3;
            n++;
        } else if (*high == '/' && !strncmp(low, "_2/", 3)) {
            low += 2;
            n++;
        } else {
            return 0;
        }
    }
    return n && *high == *low;
}

int td_has_weight_ending(const char *name)
{
    static const char *const endings[] = { ".pth", ".pt", ".ckpt", ".bin", ".safetensors", ".sft", ".gguf",
                                           ".safetensors.index.json" };
    int known = 0;

    for (size_t i = 0; i < sizeof(endings) / sizeof(*endings); i++)
        known |= ends_with(name, endings[i]);
    return known;
}

/* of what lies beside a model and is none of it */
static const char *const strangers[] = { "lora", "clip", "vace", "control", "adapter" };
static const char *const tiny[] = { "lighttae", "taehv", "taew" };

/* NAME-00001-of-00003.safetensors, which an index names */
static int is_shard(const char *name)
{
    const char *of = strstr(name, "-of-");

    return of && of > name && isdigit((unsigned char)of[-1]) && isdigit((unsigned char)of[4]) &&
           !ends_with(name, ".json");
}

/* by a name without folders */
static int kind_of(const char *name)
{
    int known = td_has_weight_ending(name), is_tiny = 0;

    if (name[0] == '.')
        return NONE;                             /* hidden */
    for (size_t i = 0; i < sizeof(strangers) / sizeof(*strangers); i++)
        known &= !strcasestr(name, strangers[i]);
    for (size_t i = 0; i < sizeof(tiny) / sizeof(*tiny); i++)
        is_tiny |= strcasestr(name, tiny[i]) != NULL;
    return !known                                                       ? NONE
           : is_tiny                                                    ? TD_SCAN_TINY
           : strcasestr(name, "vae")                                    ? TD_FILE_VAE
           : strcasestr(name, "t5") || strcasestr(name, "text_encoder") ? TD_FILE_TEXT
           : td_has_noise_word(name, "low")                             ? TD_FILE_DIT_LOW
                                                                        : TD_FILE_DIT;
}

static int is_file(int dir, const char *name)
{
    struct stat st;

    return fstatat(dir, name, &st, 0) == 0 && S_ISREG(st.st_mode);
}

int td_model_is_weight_file(int dir, const char *name)
{
    return kind_of(name) != NONE && !is_shard(name) && is_file(dir, name);
}

/* ---- folders ---- */

int td_join_path(char **out, const char *dir, const char *name, TDLog *log)
{
    size_t n = strlen(dir) + strlen(name) + 2;

    *out = malloc(n);
    if (!*out)
        return td_error(log, ENOMEM, "model=%s: out of memory", dir);
    snprintf(*out, n, "%s%s%s", dir, !*dir || dir[strlen(dir) - 1] == '/' ? "" : "/", name);
    return 0;
}

static int add(TDScan *scan, int kind, const char *folder, const char *name, TDLog *log)
{
    char **grown = realloc(scan->name[kind], ((size_t)scan->n[kind] + 1) * sizeof(*grown));
    int ret;

    if (!grown)
        return td_error(log, ENOMEM, "model: out of memory");
    scan->name[kind] = grown;
    ret = td_join_path(&grown[scan->n[kind]], folder, name, log);
    scan->n[kind] += ret >= 0;
    return ret;
}

/* d stays open; folder: its path in the model's directory */
static int scan_folder(TDScan *scan, DIR *d, const char *folder, int place_kind, int depth, TDLog *log)
{
    struct dirent *e;
    int ret = 0;

    while (ret >= 0 && (e = readdir(d))) {
        int kind = kind_of(e->d_name), shard = is_shard(e->d_name), fd;
        char *inner;
        DIR *sub;

        if (depth && e->d_name[0] != '.' &&
            (fd = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) >= 0) {
            if (!(sub = fdopendir(fd))) {
                close(fd);
                continue;
            }
            if ((ret = td_join_path(&inner, folder, e->d_name, log)) >= 0) {
                ret = scan_folder(scan, sub, inner, place_kind, depth - 1, log);
                free(inner);
            }
            closedir(sub);
            continue;
        }
        if (kind == NONE)
            continue;
        /* a folder says what is in it, but in one of transformers a name may say that it is something else */
        if (kind != TD_SCAN_TINY && (place_kind == TD_FILE_TEXT || place_kind == TD_FILE_VAE ||
                                     (place_kind != BY_NAME && kind != TD_FILE_TEXT && kind != TD_FILE_VAE)))
            kind = place_kind;
        if (is_file(dirfd(d), e->d_name) && !shard)
            ret = add(scan, kind, folder, e->d_name, log);
        else if (!depth && (shard || !*scan->passed[kind]))
            snprintf(scan->passed[kind], sizeof(scan->passed[kind]), "%.79s is %s", e->d_name,
                     shard ? "a shard, and its index is missing" : "no regular file");
    }
    return ret;
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int td_scan(TDScan *scan, const char *dir, TDLog *log)
{
    int ret = 0;

    for (size_t i = 0; i < sizeof(places) / sizeof(*places) && ret >= 0; i++) {
        char *path;
        DIR *d;

        if ((ret = td_join_path(&path, dir, places[i].folder, log)) < 0)
            return ret;
        d = opendir(path);
        free(path);
        if (!d && !i)
            return td_error(log, errno == ENOENT || errno == ENOMEM ? errno : errno == ENOTDIR ? EINVAL : EACCES,
                            "model=%s: %s, want a directory with the model's files", dir, strerror(errno));
        if (!d)
            continue;
        ret = scan_folder(scan, d, places[i].folder, places[i].kind, places[i].depth, log);
        closedir(d);
    }
    for (int k = 0; k <= TD_SCAN_TINY; k++)
        if (scan->n[k])
            qsort(scan->name[k], (size_t)scan->n[k], sizeof(*scan->name[k]), compare_strings);
    return ret;
}

void td_scan_free(TDScan *scan)
{
    for (int k = 0; k <= TD_SCAN_TINY; k++) {
        for (int i = 0; i < scan->n[k]; i++)
            free(scan->name[k][i]);
        free(scan->name[k]);
    }
}

void td_scan_keep(TDScan *scan, enum TDFile kind, const char *keep)
{
    int n = 0;

    for (int i = 0; i < scan->n[kind]; i++) {
        if (keep[i])
            scan->name[kind][n++] = scan->name[kind][i];
        else
            free(scan->name[kind][i]);
    }
    scan->n[kind] = n;
}

int td_scan_has_part(const char *name, const char *part, int folders)
{
    const char *slash = strrchr(name, '/');

    return strcasestr(folders || !slash ? name : slash + 1, part) != NULL;
}

int td_scan_count(const TDScan *scan, enum TDFile kind, const char *part, int folders)
{
    int n = 0;

    for (int i = 0; i < scan->n[kind]; i++)
        n += td_scan_has_part(scan->name[kind][i], part, folders);
    return n;
}

int td_scan_take_low(TDScan *scan, const char *part, int all, TDLog *log)
{
    const enum TDFile from = TD_FILE_DIT, to = TD_FILE_DIT_LOW;
    int folders = !td_scan_count(scan, from, part, 0), n = td_scan_count(scan, from, part, folders), left = 0;
    char **grown;

    if (td_scan_count(scan, to, part, 1) || !n || (n == scan->n[from] && !all))
        return 0;
    grown = realloc(scan->name[to], (size_t)(scan->n[to] + n) * sizeof(*grown));
    if (!grown)
        return td_error(log, ENOMEM, "model: out of memory");
    scan->name[to] = grown;
    for (int i = 0; i < scan->n[from]; i++)
        if (td_scan_has_part(scan->name[from][i], part, folders))
            grown[scan->n[to]++] = scan->name[from][i];
        else
            scan->name[from][left++] = scan->name[from][i];
    scan->n[from] = left;
    return 0;
}

void td_scan_take_tiny(TDScan *scan, const char *part)
{
    const int vae = TD_FILE_VAE, other = TD_SCAN_TINY;
    char **names = scan->name[vae];
    int n = scan->n[vae];

    if (td_scan_count(scan, vae, part, 0) ||
        (!td_scan_count(scan, other, part, 0) &&
         (td_scan_count(scan, vae, part, 1) || !td_scan_count(scan, other, part, 1))))
        return;
    scan->name[vae] = scan->name[other];
    scan->n[vae] = scan->n[other];
    scan->name[other] = names;
    scan->n[other] = n;
}

/* ---- tensors ---- */

/* of a network: what a file has of it */
typedef struct Sum {
    const TDCheckpoint *c;
    uint64_t bytes;
} Sum;

static int add_bytes(void *cookie, const TDFileTensor *t)
{
    Sum *sum = cookie;
    const TDEntry *e = td_checkpoint_find(sum->c, t->name);

    if (!e)
        return TD_ERR(ENOENT);
    sum->bytes += td_dtype_bytes(e->dtype, td_entry_count(e));
    return 0;
}

/* of Wan's VAE, whose latents have 16 channels. dit: what it is to be used with; image to video takes both halves */
static int is_vae(Sum *sum, const TDDitShape *dit)
{
    const TDEntry *e = td_checkpoint_find(sum->c, "conv2.weight"),
                  *gamma = td_checkpoint_find(sum->c, "decoder.head.0.gamma");

    return gamma && e && e->shape[0] == TD_LATENT_CHANNELS && !td_vae_each_tensor(gamma->shape[0], add_bytes, sum) &&
           (dit->in_dim <= TD_LATENT_CHANNELS || !td_vae_encode_each_tensor(gamma->shape[0], add_bytes, sum));
}

/* of umT5, whose blocks all have their relative positions; the first alone of T5 */
static int is_text(Sum *sum, const TDDitShape *dit)
{
    TDTextShape s;

    td_text_shape(&s, sum->c);
    return s.n_rows && s.n_blocks && (!dit->text_dim || dit->text_dim == s.dim) &&
           !td_text_each_tensor(&s, add_bytes, sum);
}

/* bytes that a file has of a network of this kind; 0: it is of something else. Of transformers alone it is 1 */
static uint64_t ask(const char *path, enum TDFile kind, const TDDitShape *dit)
{
    TDLog quiet = { 0 };
    Sum sum = { 0 };
    TDCheckpoint *c;
    TDDitShape shape;
    int is;

    if (td_checkpoint_open(&c, path, &quiet) < 0)
        return 0;
    sum.c = c;
    is = kind == TD_FILE_VAE                 ? is_vae(&sum, dit)
         : kind == TD_FILE_TEXT              ? is_text(&sum, dit)
         : kind == (enum TDFile)TD_SCAN_TINY ? td_tiny_is(c) && !td_tiny_stranger(c)
                                             : td_dit_shape(&shape, c, &quiet) >= 0;
    td_checkpoint_close(&c);
    return !is ? 0 : sum.bytes ? sum.bytes : 1;
}

/* zeros where there is none, or it cannot be read */
static TDDitShape shape_of(const char *path)
{
    TDLog quiet = { 0 };
    TDCheckpoint *c = NULL;
    TDDitShape s = { 0 };

    if (path && td_checkpoint_open(&c, path, &quiet) >= 0)
        td_dit_shape(&s, c, &quiet);
    td_checkpoint_close(&c);
    return s;
}

/* What a file is, by whatever name; an index, whose shards lie beside its name, in its folder. */
typedef struct Identity {
    dev_t device[2];
    ino_t inode[2];
    int depth;                                   /* folders of the name; -1: there is no such file */
    int light;                                   /* of a tiny VAE: what its name says of it (nets/vae_tiny.c) */
} Identity;

static int identify(Identity *id, const char *dir, const char *name, TDLog *log)
{
    struct stat st = { 0 }, folder = { 0 };
    char *path;
    int ret = td_join_path(&path, dir, name, log);

    if (ret < 0)
        return ret;
    *id = (Identity){ .depth = stat(path, &st) == 0 ? 0 : -1, .light = strcasestr(name, tiny[0]) != NULL };
    for (const char *s = name; *s && id->depth >= 0; s++)
        id->depth += *s == '/';
    *strrchr(path, '/') = 0;
    if (ends_with(name, ".json") && stat(path, &folder) < 0)
        id->depth = -1;
    id->device[0] = st.st_dev;
    id->inode[0] = st.st_ino;
    id->device[1] = folder.st_dev;
    id->inode[1] = folder.st_ino;
    free(path);
    return 0;
}

static int is_same(const Identity *a, const Identity *b)
{
    return a->depth >= 0 && b->depth >= 0 && a->inode[0] == b->inode[0] && a->device[0] == b->device[0] &&
           a->inode[1] == b->inode[1] && a->device[1] == b->device[1] && a->light == b->light;
}

/* Names of one file by several ways, such as a folder that is a link to another one: the first of those in the fewest
 * folders stays. */
static int drop_same(TDScan *scan, const char *dir, enum TDFile kind, TDLog *log)
{
    int n = scan->n[kind], ret = 0;
    char *keep = calloc((size_t)n, 1);
    Identity *id = calloc((size_t)n, sizeof(*id));

    if (!keep || !id)
        ret = td_error(log, ENOMEM, "model=%s: out of memory", dir);
    for (int i = 0; i < n && ret >= 0; i++) {
        if ((ret = identify(&id[i], dir, scan->name[kind][i], log)) < 0)
            break;
        keep[i] = 1;
        for (int j = 0; j < i; j++)
            if (keep[j] && is_same(&id[i], &id[j]))
                keep[id[i].depth < id[j].depth ? j : i] = 0;
    }
    if (ret >= 0)
        td_scan_keep(scan, kind, keep);
    free(keep);
    free(id);
    return ret;
}

int td_scan_ask_tensors(TDScan *scan, const char *dir, enum TDFile kind, const char *dit, int best, TDLog *log)
{
    int n, ret = scan->n[kind] > 1 ? drop_same(scan, dir, kind, log) : 0, n_fit = 0;
    char *keep, *path;
    uint64_t most = 1, *bytes;
    TDDitShape shape;

    n = scan->n[kind];
    if (ret < 0 || n < 2)
        return ret < 0 ? ret : n;
    keep = calloc((size_t)n, 1);
    bytes = calloc((size_t)n, sizeof(*bytes));
    shape = shape_of(dit);
    if (!keep || !bytes)
        ret = td_error(log, ENOMEM, "model=%s: out of memory", dir);
    for (int i = 0; i < n && ret >= 0; i++) {
        if ((ret = td_join_path(&path, dir, scan->name[kind][i], log)) < 0)
            break;
        bytes[i] = ask(path, kind, &shape);
        most = best && bytes[i] > most ? bytes[i] : most;
        n_fit += bytes[i] > 0;
        free(path);
    }
    for (int i = 0; i < n && ret >= 0; i++)
        keep[i] = bytes[i] >= most;
    if (ret >= 0 && n_fit)
        td_scan_keep(scan, kind, keep);
    free(keep);
    free(bytes);
    return ret < 0 ? ret : n_fit ? n_fit : n;
}
