/* SPDX-License-Identifier: BSD-2-Clause
 * The command line of td: one table for parsing and for the help. Long options are the filter's, with a dash for a
 * low line. */
#ifndef TD_CLI_OPTIONS_H
#define TD_CLI_OPTIONS_H

#include <getopt.h>
#include <limits.h>
#include <string.h>
#include "cli.h"
#include "base/options.h"
#include "base/wan.h"

typedef struct Options {
    TDSettings s;
    TDParams p;
    const char *picture, *stats, *prompt, *out;  ///< paths, but for the prompt; NULL: not given
    int n_clips, adaptive, many, devices, bench;
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
    { 'T', "timesteps",       "T|T...",  "of the steps of rcm, falling from at most 1 (as --sigma-max says)" },
    { 'o', "ode",             NULL,      "rCM ODE instead of SDE" },
    { 'g', "guidance",        "F",       "of unipc, 1: none (5); or F|F: of the high- and the low-noise expert" },
    { 'G', "negative-prompt", "TEXT",    "of unipc (the official one)" },
    { 'B', "backend",         "KIND",    "auto, cpu, cuda (auto)" },
    { 'D', "device",          "CARD",    "auto, or a GPU's number, UUID or PCI bus id: that one or none (auto)" },
    { 'L', "devices",         NULL,      "list the GPUs, with MODEL_DIR what of it fits on each, and end" },
    { 'M', "residency",       "KIND",    "weights in memory: auto, all, stage (auto)" },
    { 'm', "max-bytes",       "N",       "limit on memory (none)" },
    { 'W', "vae",             "FILE",    "a VAE, such as a tiny one, or a part of its name (the model's)" },
    { 'I', "image",           "FILE",    "first frame, JPEG (image to video)" },
    { 'e', "boundary",        "T",       "between the two experts (the model's)" },
    { 'l', "lora",            "FILES",   "FILE[*STRENGTH], joined with |: LoRA of the transformer (none)" },
    { 'w', "lora-low",        "FILES",   "the same of the low-noise expert (none)" },
    { 'A', "adaptive",        NULL,      "shape of the first frame, area of --size" },
    { 'c', "clips",           "N",       "make the clip N times (1)" },
    { 'x', "bench",           NULL,      "a table of times and memory, of a first clip and --clips N more" },
    { 'j', "stats",           "FILE",    "statistics, a line of JSON a clip" },
    { 'P', "prompts",         NULL,      "PROMPT is a file, each line a prompt: a clip each, with the next seed" },
    { 't', "threads",         "N",       "CPU threads (all cores)" },
    { 'v', "verbose",         NULL,      "more log lines" },
    { 'h', "help",            NULL,      "this text" },
    { 'V', "version",         NULL,      "the version" },
};

enum { N_OPTIONS = sizeof(option_table) / sizeof(*option_table), MAX_OPTIONS = 64 };

/* the library's option of that name, which has a low line for each dash. @return NULL if it is none */
static inline const TDOption *find_named(const char *name)
{
    char own[32];

    snprintf(own, sizeof(own), "%s", name);
    for (char *p = own; *p; p++)
        *p = *p == '-' ? '_' : *p;
    return td_option(own);
}

/* the table's options, then those of the library that have no row there: they have long names alone */
static inline void list_options(struct option longs[MAX_OPTIONS + 1], char names[MAX_OPTIONS][32])
{
    int n = 0;

    for (; n < N_OPTIONS; n++)
        longs[n] = (struct option){ option_table[n].name, option_table[n].value != NULL, NULL, option_table[n].letter };
    for (const TDOption *o = td_options; o->name && n < MAX_OPTIONS; o++) {
        int i = 0;

        while (i < N_OPTIONS && find_named(option_table[i].name) != o)
            i++;
        if (i < N_OPTIONS)
            continue;
        snprintf(names[n], sizeof(names[n]), "%s", o->name);
        for (char *p = names[n]; *p; p++)
            *p = *p == '_' ? '-' : *p;
        longs[n] = (struct option){ names[n], o->type != TD_OPTION_FLAG, NULL, 256 };
        n++;
    }
    longs[n] = (struct option){ 0 };
}

static inline void print_usage(FILE *f, const struct option *longs)
{
    fputs("usage: td [options] [MODEL_DIR] PROMPT OUT.rgb\n"
          "       td --devices [options] [MODEL_DIR]\n"
          "       td --bench [options] [MODEL_DIR]\n"
          "Writes rgb24 frames, one after another, to a file or to standard output (-). Without MODEL_DIR: the demo "
          "model.\n", f);
    for (int i = 0; i < N_OPTIONS; i++) {
        char left[40];

        snprintf(left, sizeof(left), "-%c, --%s%s%s", option_table[i].letter, option_table[i].name,
                 option_table[i].value ? " " : "", option_table[i].value ? option_table[i].value : "");
        fprintf(f, "  %-27s %s\n", left, option_table[i].help);
    }
    for (int i = N_OPTIONS; longs[i].name; i++) {
        const TDOption *named = find_named(longs[i].name);

        fprintf(f, "      --%-21s as that of the filter", longs[i].name);
        for (int k = 0; named && named->words && named->words[k]; k++)
            fprintf(f, "%s %s", k ? "," : ":", named->words[k]);
        fputc('\n', f);
    }
}

/* of an option that the library knows by name. @return 0, or -1 after a line with what was expected */
static inline int parse_named(Options *o, const TDOption *option, const char *name, const char *v)
{
    char *field = (char *)(option->of_clip ? (void *)&o->p : (void *)&o->s) + option->offset;
    double number, second = option->named_low;
    uint64_t u64;
    int i = 1, ret = 0;

    switch (option->type) {
    case TD_OPTION_DOUBLE:
        if ((ret = cli_double(&number, option->second ? &second : NULL, "td", name, v)) < 0)
            return ret;
        if (option->named_low && !(fmin(number, second) >= option->named_low && fmax(number, second) <= option->high)) {
            fprintf(stderr, "td: --%s %s: want %g to %g, or two of them: HIGH|LOW\n", name, v, option->named_low,
                    option->high);
            return -1;
        }
        memcpy(field, &number, sizeof(number));
        if (option->second && strchr(v, '|'))
            memcpy(field - option->offset + option->second, &second, sizeof(second));
        return ret;
    case TD_OPTION_U64:
        ret = cli_u64(&u64, "td", name, v, "");
        memcpy(field, &u64, sizeof(u64));
        return ret;
    case TD_OPTION_TEXT:
        memcpy(field, &v, sizeof(v));
        return 0;
    case TD_OPTION_INT:
        ret = cli_int(&i, "td", name, v, (int)option->low, option->named_high ? option->named_high : (int)option->high);
        break;
    case TD_OPTION_WORD:
        for (i = 0; option->words[i] && strcmp(v, option->words[i]); i++)
            ;
        if (option->words[i])
            break;
        fprintf(stderr, "td: --%s %s: want one of", name, v);
        for (i = 0; option->words[i]; i++)
            fprintf(stderr, " %s", option->words[i]);
        fputc('\n', stderr);
        return -1;
    default:                                     /* a flag */
        break;
    }
    memcpy(field, &i, sizeof(i));
    return ret;
}

static inline int parse_size(TDParams *p, const char *text)
{
    char *by, *end;
    long width = strtol(text, &by, 10), height = *by == 'x' ? strtol(by + 1, &end, 10) : 0;

    if (width <= 0 || height <= 0 || *end) {
        fprintf(stderr, "td: --size %s: want WxH such as 832x480\n", text);
        return -1;
    }
    if (width > INT_MAX || height > INT_MAX) {   /* the library tells the limits of what it can be given */
        fprintf(stderr, "td: --size %s: want sides from %d to %d\n", text, TD_MIN_SIDE, TD_MAX_SIDE);
        return -1;
    }
    p->width = (int)width;
    p->height = (int)height;
    return 0;
}

static inline int parse_stats(Options *o, const char *path)
{
    o->stats = path;
    if (strcmp(path, "-"))
        return 0;
    fputs("td: --stats -: want the name of a file, which may be /dev/stdout\n", stderr);
    return -1;
}

static inline int parse_option(Options *o, char letter, const char *name, const char *v)
{
    switch (letter) {
    case 's': return parse_size(&o->p, v);
    case 'r':
        o->draw_seed = !strcmp(v, "-1");
        return o->draw_seed ? 0 : cli_u64(&o->p.seed, "td", name, v, ", or -1 for a random one");
    case 'G': o->p.negative_prompt = v; return 0;
    case 'W': o->s.vae = v; return 0;
    case 'I': o->picture = v; return 0;
    case 'A': o->adaptive = 1; return 0;
    case 'c': return cli_int(&o->n_clips, "td", name, v, 1, INT_MAX);
    case 'j': return parse_stats(o, v);
    case 'P': o->many = 1; return 0;
    case 'L': o->devices = 1; return 0;
    case 'x': o->bench = 1; return 0;
    case 'v': o->s.logger.level = TD_LOG_DEBUG; return 0;
    default:  return -1;
    }
}

/* one of these letters; those of the library's own options are none */
static inline int one_of(int letter, const char *letters)
{
    return letter < 256 && strchr(letters, letter);
}

/* given: by longs[]. What another option leaves without effect is refused. @return 0, or -1 after a line */
static inline int check_together(const Options *o, const struct option *longs, const char given[MAX_OPTIONS])
{
    for (int i = 0; longs[i].name; i++)
        if (given[i] && ((o->devices && one_of(longs[i].val, "xPcjIA")) || (o->bench && one_of(longs[i].val, "P")))) {
            fprintf(stderr, "td: --%s with --%s: want one of the two\n", o->devices ? "devices" : "bench",
                    longs[i].name);
            return -1;
        } else if (given[i] && o->devices && !o->s.model && !one_of(longs[i].val, "LDBv")) {
            fprintf(stderr, "td: --devices with --%s, which is of what fits: want a MODEL_DIR, too\n", longs[i].name);
            return -1;
        }
    if (o->adaptive && !o->picture) {
        fputs("td: --adaptive without --image: want both\n", stderr);
        return -1;
    }
    return 0;
}

static inline void warn_of_idle(const Options *o, const struct option *longs, const char given[MAX_OPTIONS])
{
    const int rcm = o->p.sampler == TD_SAMPLER_RCM;
    const int alone = o->p.guidance == 1 && (!o->p.guidance_low || o->p.guidance_low == 1);
    const struct { const char *name, *beside; int idle; } options[] = {
        { "guidance", "sampler rcm", rcm },       { "negative-prompt", "sampler rcm", rcm },
        { "shift", "sampler rcm", rcm },          { "sigma-max", "sampler unipc", !rcm },
        { "ode", "sampler unipc", !rcm },         { "negative-prompt", "guidance 1", !rcm && alone },
    };

    for (size_t k = 0; k < sizeof(options) / sizeof(*options); k++)
        for (int i = 0; longs[i].name; i++)
            if (options[k].idle && given[i] && !strcmp(longs[i].name, options[k].name))
                fprintf(stderr, "warning: --%s has no effect with %s\n", options[k].name, options[k].beside);
}

/* names of files and of cards, and lists: an empty one is none. @return 0, or -1 after a line */
static inline int check_text(const TDOption *named, int at, const char *v)
{
    if (!v || *v || at >= N_OPTIONS ||
        (named ? named->type != TD_OPTION_TEXT : !one_of(option_table[at].letter, "WIj")))
        return 0;
    fprintf(stderr, "td: --%s is empty: want %s: %s\n", option_table[at].name, option_table[at].value,
            option_table[at].help);
    return -1;
}

/** @return 0 go on, 1 all is done (help, version), -1 after an error line */
static inline int parse_options(Options *o, int argc, char **argv)
{
    struct option longs[MAX_OPTIONS + 1];
    char shorts[2 * N_OPTIONS + 2] = "+", names[MAX_OPTIONS][32], given[MAX_OPTIONS] = { 0 };
    int letter, at;

    list_options(longs, names);
    for (int i = 0, n = 1; i < N_OPTIONS; i++)
        n += snprintf(shorts + n, sizeof(shorts) - (size_t)n, "%c%s", longs[i].val, longs[i].has_arg ? ":" : "");
    while (at = -1, (letter = getopt_long(argc, argv, shorts, longs, &at)) >= 0) {
        const TDOption *named;

        if (letter == 'h')
            return print_usage(stdout, longs), 1;
        if (letter == 'V')
            return printf("td %s\n", td_version()), 1;
        for (int i = 0; i < N_OPTIONS && at < 0; i++)
            at = longs[i].val == letter ? i : -1;
        if (at < 0)                              /* getopt_long() has told what is unknown */
            return -1;
        given[at] = 1;
        named = find_named(longs[at].name);
        if (check_text(named, at, optarg) < 0 ||
            (named ? parse_named(o, named, longs[at].name, optarg)
                   : parse_option(o, (char)letter, longs[at].name, optarg)) < 0)
            return -1;
    }
    if ((o->devices || o->bench) && argc - optind <= 1)
        o->s.model = argv[optind];               /* NULL where there is none */
    if (check_together(o, longs, given) < 0)
        return -1;
    if (!o->devices)
        warn_of_idle(o, longs, given);
    if ((o->devices || o->bench) && argc - optind <= 1)
        return 0;
    if (o->devices || o->bench || (argc - optind != 2 && argc - optind != 3)) {
        fprintf(stderr, "usage: td %s; more with --help\n",
                o->devices ? "--devices [options] [MODEL_DIR]" : o->bench ? "--bench [options] [MODEL_DIR]" :
                "[options] [MODEL_DIR] PROMPT OUT.rgb");
        return -1;
    }
    if (argc - optind == 3)
        o->s.model = argv[optind++];
    o->prompt = o->p.prompt = argv[optind];
    o->out = argv[optind + 1];
    return 0;
}

#endif /* TD_CLI_OPTIONS_H */
