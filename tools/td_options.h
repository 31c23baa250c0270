/* SPDX-License-Identifier: BSD-2-Clause
 * The command line of td: one table for parsing and for the help. Long options are the filter's, with a dash for a
 * low line. */
#ifndef TD_OPTIONS_H
#define TD_OPTIONS_H

#include <getopt.h>
#include <limits.h>
#include <string.h>
#include "cli.h"
#include "api/turbodiff.h"

typedef struct Options {
    TDSettings s;
    TDParams p;
    const char *picture, *stats, *prompt, *out;  ///< paths, but for the prompt; NULL: not given
    int n_clips, adaptive, many;
    int draw_seed;                               ///< the seed is a random one
} Options;

static const struct { char letter; const char *name, *value, *help; } option_table[] = {
    { 's', "size",            "WxH",     "frame size, sides from 16 to 2048 (the model's)" },
    { 'n', "frames",          "N",       "frames, 4k+1 up to 509 (the model's)" },
    { 'i', "steps",           "N",       "steps: 1 to 4 with rcm (4), up to 1000 with unipc (50)" },
    { 'r', "seed",            "N",       "0 to 2^64-1 (0), or -1 for a random one" },
    { 'a', "attention",       "KIND",    "auto, dense, sla, sagesla (auto)" },
    { 'k', "topk",            "F",       "share of key blocks that sparse attention keeps (the model's)" },
    { 'b', "sla-block",       "BLOCK",   "auto, 128x64, 64x128 (auto: the model's)" },
    { 'q', "quant",           "KIND",    "auto, none, int8 (auto)" },
    { 'N', "norm",            "KIND",    "official, exact (official)" },
    { 'R', "noise",           "KIND",    "auto, h100, rtx5090, rtx4090, a100, cpu (auto)" },
    { 'S', "sampler",         "KIND",    "rcm, unipc (rcm)" },
    { 'o', "ode",             NULL,      "rCM ODE instead of SDE" },
    { 'g', "guidance",        "F",       "of unipc, 1: none (5)" },
    { 'G', "negative-prompt", "TEXT",    "of unipc (the official one)" },
    { 'B', "backend",         "KIND",    "auto, cpu, cuda (auto)" },
    { 'D', "device",          "N",       "CUDA device (0)" },
    { 'M', "residency",       "KIND",    "weights in memory: auto, all, stage (auto)" },
    { 'm', "max-bytes",       "N",       "limit on memory (none)" },
    { 'I', "image",           "FILE",    "first frame, JPEG (image to video)" },
    { 'e', "boundary",        "T",       "between the two experts (0.9)" },
    { 'A', "adaptive",        NULL,      "shape of the first frame, area of --size" },
    { 'c', "clips",           "N",       "make the clip N times (1)" },
    { 'j', "stats",           "FILE",    "statistics, a line of JSON a clip" },
    { 'P', "prompts",         NULL,      "PROMPT is a file of prompts: a clip for each line, each with the next seed" },
    { 't', "threads",         "N",       "CPU threads (all cores)" },
    { 'v', "verbose",         NULL,      "more log lines" },
    { 'h', "help",            NULL,      "this text" },
    { 'V', "version",         NULL,      "the version" },
};

enum { N_OPTIONS = sizeof(option_table) / sizeof(*option_table) };

static inline void print_usage(FILE *f)
{
    fputs("usage: td [options] [MODEL_DIR] PROMPT OUT.rgb\n"
          "Writes rgb24 frames, one after another, to a file or to standard output (-). Without MODEL_DIR: the demo "
          "model.\n", f);
    for (int i = 0; i < N_OPTIONS; i++) {
        char left[40];

        snprintf(left, sizeof(left), "-%c, --%s%s%s", option_table[i].letter, option_table[i].name,
                 option_table[i].value ? " " : "", option_table[i].value ? option_table[i].value : "");
        fprintf(f, "  %-27s %s\n", left, option_table[i].help);
    }
}

/* index of word in names. @return -1 after a line with what was expected */
static inline int choice(const char *option, const char *word, const char *const names[])
{
    for (int i = 0; names[i]; i++)
        if (!strcmp(word, names[i]))
            return i;
    fprintf(stderr, "td: --%s %s: want one of", option, word);
    for (int i = 0; names[i]; i++)
        fprintf(stderr, " %s", names[i]);
    fputc('\n', stderr);
    return -1;
}

static inline int parse_size(TDParams *p, const char *text)
{
    int end = 0;

    if (sscanf(text, "%dx%d%n", &p->width, &p->height, &end) == 2 && !text[end] && p->width > 0 && p->height > 0)
        return 0;
    fprintf(stderr, "td: --size %s: want WxH such as 832x480\n", text);
    return -1;
}

static inline int parse_option(Options *o, char letter, const char *name, const char *v)
{
    static const char *const attention[] = { "auto", "dense", "sla", "sagesla", NULL },
                             *const quant[] = { "auto", "none", "int8", NULL },
                             *const norm[] = { "official", "exact", NULL },
                             *const block[] = { "auto", "128x64", "64x128", NULL },
                             *const noise[] = { "auto", "h100", "rtx5090", "rtx4090", "a100", "cpu", NULL },
                             *const sampler[] = { "rcm", "unipc", NULL },
                             *const backend[] = { "auto", "cpu", "cuda", NULL },
                             *const residency[] = { "auto", "all", "stage", NULL };
    TDSettings *s = &o->s;
    TDParams *p = &o->p;
    int i;

#define CHOOSE(field, type, names) ((i = choice(name, v, names)) < 0 ? -1 : (field = (type)i, 0))
#define INT(field, low) cli_int(&field, "td", name, v, low, INT_MAX)
    switch (letter) {
    case 's': return parse_size(p, v);
    case 'n': return INT(p->n_frames, 0);
    case 'i': return INT(p->n_steps, 0);
    case 'r': o->draw_seed = !strcmp(v, "-1"); return o->draw_seed ? 0 : cli_u64(&p->seed, "td", name, v);
    case 'a': return CHOOSE(s->attention, enum TDAttention, attention);
    case 'k': return cli_double(&p->sla_topk, "td", name, v);
    case 'b': return CHOOSE(s->sla_block, enum TDSlaBlock, block);
    case 'q': return CHOOSE(s->quant, enum TDQuant, quant);
    case 'N': return CHOOSE(s->norm, enum TDNorm, norm);
    case 'R': return CHOOSE(p->noise, enum TDNoise, noise);
    case 'S': return CHOOSE(p->sampler, enum TDSampler, sampler);
    case 'o': p->ode = 1; return 0;
    case 'g': return cli_double(&p->guidance, "td", name, v);
    case 'G': p->negative_prompt = v; return 0;
    case 'B': return CHOOSE(s->backend, enum TDBackend, backend);
    case 'D': return INT(s->device, 0);
    case 'M': return CHOOSE(s->residency, enum TDResidency, residency);
    case 'm': return cli_u64(&s->max_bytes, "td", name, v);
    case 'I': o->picture = v; return 0;
    case 'e': return cli_double(&p->boundary, "td", name, v);
    case 'A': o->adaptive = 1; return 0;
    case 'c': return INT(o->n_clips, 1);
    case 'j': o->stats = v; return 0;
    case 'P': o->many = 1; return 0;
    case 't': return INT(s->n_threads, 0);
    case 'v': s->logger.level = TD_LOG_DEBUG; return 0;
    default:  return -1;
    }
#undef CHOOSE
#undef INT
}

/** @return 0 go on, 1 all is done (help, version), -1 after an error line */
static inline int parse_options(Options *o, int argc, char **argv)
{
    struct option longs[N_OPTIONS + 1] = { 0 };
    char shorts[2 * N_OPTIONS + 2] = "+";
    int letter, i, n;

    for (i = 0; i < N_OPTIONS; i++) {
        int has_value = option_table[i].value != NULL;

        longs[i] = (struct option){ option_table[i].name, has_value, NULL, option_table[i].letter };
        n = (int)strlen(shorts);
        snprintf(shorts + n, sizeof(shorts) - (size_t)n, "%c%s", option_table[i].letter, has_value ? ":" : "");
    }
    while ((letter = getopt_long(argc, argv, shorts, longs, NULL)) >= 0) {
        if (letter == 'h')
            return print_usage(stdout), 1;
        if (letter == 'V')
            return printf("td %s\n", td_version()), 1;
        for (i = 0; i < N_OPTIONS && option_table[i].letter != letter; i++)
            ;
        /* getopt_long() has told what is unknown */
        if (i == N_OPTIONS || parse_option(o, (char)letter, option_table[i].name, optarg) < 0)
            return -1;
    }
    if (argc - optind != 2 && argc - optind != 3) {
        fputs("usage: td [options] [MODEL_DIR] PROMPT OUT.rgb; more with --help\n", stderr);
        return -1;
    }
    if (argc - optind == 3)
        o->s.model = argv[optind++];
    o->prompt = o->p.prompt = argv[optind];
    o->out = argv[optind + 1];
    return 0;
}

#endif /* TD_OPTIONS_H */
