/* SPDX-License-Identifier: BSD-2-Clause
 * td: a prompt to raw frames through the public API alone. Writes rgb24 frames, one after another, to a file or stdout.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "turbodiff.h"

static const char usage[] =
    "usage: td [options] [MODEL_DIR] PROMPT OUT.rgb\n"
    "without MODEL_DIR: the demo model\n"
    "  -s WxH      frame size, multiples of 16 (the model's)  -n N       frames, 4k+1 (the model's)\n"
    "  -i N        steps (4)                                   -r SEED    seed (0)\n"
    "  -a KIND     auto, dense, sla, sagesla (auto)            -k F       topk (the model's)\n"
    "  -q KIND     auto, none, int8 (auto)                     -b BLOCK   128x64, 64x128 (the model's)\n"
    "  -N NORM     official, exact (official)                  -R NOISE   auto, h100, rtx5090, rtx4090, a100, cpu "
    "(auto)\n"
    "  -S SAMPLER  rcm, unipc (rcm)                            -o         rCM ODE instead of SDE\n"
    "  -g F        guidance of unipc, 1: none (5)              -G TEXT    negative prompt of it (the official one)\n"
    "  -B BACKEND  auto, cpu, cuda (auto)                      -D N       CUDA device (0)\n"
    "  -M KIND     weights in memory: auto, all, stage (auto)  -m BYTES   limit on memory (none)\n"
    "  -I FILE     first frame, JPEG (image to video)          -e T       boundary of the two experts (0.9)\n"
    "  -A          shape of the first frame, area of -s\n"
    "  -c N        make the clip N times (1)                   -j FILE    statistics, a line of JSON a clip\n"
    "  -P          PROMPT is a file of prompts: a clip for each line, one after another, each with the next seed\n"
    "  -t N        threads (all cores)                         -v         more log lines\n";

static void log_line(void *cookie, int level, const char *line)
{
    (void)cookie;
    fprintf(stderr, "%s%s\n", level == TD_LOG_ERROR ? "error: " : level == TD_LOG_WARNING ? "warning: " : "", line);
}

/* index of word in names, or exit with what was expected */
static int choice(const char *option, const char *word, const char *const names[])
{
    for (int i = 0; names[i]; i++)
        if (!strcmp(word, names[i]))
            return i;
    fprintf(stderr, "td: -%s %s: want one of", option, word);
    for (int i = 0; names[i]; i++)
        fprintf(stderr, " %s", names[i]);
    fputc('\n', stderr);
    exit(2);
}

static int option(char o, const char *v, TDSettings *s, TDParams *p)
{
    static const char *const attention[] = { "auto", "dense", "sla", "sagesla", NULL }, *const quant[] = {
        "auto", "none", "int8", NULL
    };
    static const char *const norm[] = { "official", "exact", NULL }, *const block[] = { "auto", "128x64", "64x128",
                                                                                        NULL };
    static const char *const noise[] = { "auto", "h100", "rtx5090", "rtx4090", "a100", "cpu", NULL },
                             *const sampler[] = { "rcm", "unipc", NULL };
    static const char *const backend[] = { "auto", "cpu", "cuda", NULL }, *const residency[] = { "auto", "all",
                                                                                                "stage", NULL };
    char *end;

    switch (o) {
    case 's': return sscanf(v, "%dx%d", &p->width, &p->height) == 2 ? 0 : -1;
    case 'n': p->n_frames = atoi(v); return 0;
    case 'i': p->n_steps = atoi(v); return 0;
    case 'r': p->seed = strtoull(v, NULL, 10); return 0;
    case 'a': s->attention = choice("a", v, attention); return 0;
    case 'k': p->sla_topk = strtod(v, &end); return end > v && !*end ? 0 : -1;
    case 'g': p->guidance = atof(v); return 0;
    case 'G': p->negative_prompt = v; return 0;
    case 'q': s->quant = choice("q", v, quant); return 0;
    case 'b': s->sla_block = choice("b", v, block); return 0;
    case 'N': s->norm = choice("N", v, norm); return 0;
    case 'R': p->noise = choice("R", v, noise); return 0;
    case 'S': p->sampler = choice("S", v, sampler); return 0;
    case 'B': s->backend = choice("B", v, backend); return 0;
    case 'D': s->device = atoi(v); return 0;
    case 'M': s->residency = choice("M", v, residency); return 0;
    case 'm': s->max_bytes = strtoull(v, NULL, 10); return 0;
    case 't': s->n_threads = atoi(v); return 0;
    case 'e': p->boundary = atof(v); return 0;
    default:  return -1;
    }
}

/* One clip, its frames to out and its statistics, if wanted, to stats. f holds the frame between clips. */
static int write_clip(TDContext *c, const TDParams *p, TDFrame *f, FILE *out, FILE *stats)
{
    TDInfo info;
    char line[2048];
    size_t bytes;
    int ret = td_start(c, p);

    if (ret < 0)
        return ret;
    td_info(c, &info);
    bytes = (size_t)info.clip_width * (size_t)info.clip_height * 3;
    f->stride[0] = (ptrdiff_t)info.clip_width * 3;
    if (!f->data[0] && !(f->data[0] = malloc(bytes)))
        return TD_ERR(ENOMEM);
    while ((ret = td_read_frame(c, f)) > 0)
        if (fwrite(f->data[0], 1, bytes, out) != bytes) {
            perror("td: writing frames");
            return TD_ERR(EIO);
        }
    if (stats && td_stats_json(c, line, sizeof(line)) > 0)
        fprintf(stats, "%s\n", line);
    return ret;
}

int main(int argc, char **argv)
{
    TDSettings s;
    TDParams p;
    TDContext *c = NULL;
    TDInfo info;
    TDFrame f = { .format = TD_PIX_RGB24 };
    FILE *out = NULL, *stats = NULL, *prompts = NULL;
    const char *picture = NULL, *to;
    char *prompt = NULL;
    size_t room = 0;
    TDImage image = { 0 };
    int i = 1, n_clips = 1, adaptive = 0, many = 0, ret;

    td_default_settings(&s, sizeof(s));
    td_default_params(&p, sizeof(p));
    s.logger = (TDLogger){ NULL, log_line, TD_LOG_INFO };
    for (; i < argc && argv[i][0] == '-' && argv[i][1]; i++) {
        if (!strcmp(argv[i], "-v"))
            s.logger.level = TD_LOG_DEBUG;
        else if (!strcmp(argv[i], "-o"))
            p.ode = 1;
        else if (!strcmp(argv[i], "-A"))
            adaptive = 1;
        else if (!strcmp(argv[i], "-P"))
            many = 1;
        else if (!strcmp(argv[i], "-I") && i + 1 < argc)
            picture = argv[++i];
        else if (!strcmp(argv[i], "-c") && i + 1 < argc)
            n_clips = atoi(argv[++i]);
        else if (!strcmp(argv[i], "-j") && i + 1 < argc && !stats) {
            if (!(stats = fopen(argv[++i], "w"))) {
                perror(argv[i]);
                return 1;
            }
        } else if (argv[i][2] || i + 1 == argc || option(argv[i][1], argv[i + 1], &s, &p) < 0) {
            fprintf(stderr, "td: %s: unknown option or bad value\n%s", argv[i], usage);
            return 2;
        } else
            i++;
    }
    if (argc - i != 2 && argc - i != 3) {
        fputs(usage, stderr);
        return 2;
    }
    if (argc - i == 3)
        s.model = argv[i++];
    p.prompt = argv[i];
    to = argv[i + 1];
    if (many && !(prompts = fopen(p.prompt, "r"))) {
        perror(p.prompt);
        return 1;
    }
    if (!(out = strcmp(to, "-") ? fopen(to, "wb") : stdout)) {
        perror(to);
        return 1;
    }
    if (picture) {
        if ((ret = td_image_load_jpeg(&image, picture, &s.logger)) < 0)
            goto end;
        p.image = &image;
    }
    if ((ret = td_open(&c, &s)) < 0)
        goto end;
    if (adaptive) {
        td_info(c, &info);
        p.width = p.width ? p.width : info.default_width;
        p.height = p.height ? p.height : info.default_height;
        if ((ret = td_adaptive_size(&p.width, &p.height, image.width, image.height)) < 0) {
            fprintf(stderr, "td: -A: no size of about %dx%d pixels has the shape of a first frame of %dx%d\n", p.width,
                    p.height, image.width, image.height);
            goto end;
        }
    }
    do {
        ssize_t n = many ? getline(&prompt, &room, prompts) : 0;

        if (n < 0)
            break;
        if (many) {
            prompt[n - (prompt[n - 1] == '\n')] = 0;
            p.prompt = prompt;
        }
        for (int clip = 0; clip < n_clips; clip++)
            if ((ret = write_clip(c, &p, &f, out, stats)) < 0)
                goto end;
        p.seed++;
    } while (many);
end:
    if (ret < 0)
        fprintf(stderr, "td: %s\n", td_strerror(ret));
    free(f.data[0]);
    free(prompt);
    if (prompts)
        fclose(prompts);
    td_image_free(&image);
    td_close(&c);
    if (stats && fclose(stats) != 0 && ret >= 0) {
        perror("-j");
        ret = -1;
    }
    if (fclose(out) != 0 && ret >= 0) {
        perror(to);
        ret = -1;
    }
    return ret < 0;
}
