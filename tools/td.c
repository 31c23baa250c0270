/* SPDX-License-Identifier: BSD-2-Clause
 * td: a prompt to raw frames through the public API alone. Its options are in td_options.h, and what it does not write
 * to in td_inputs.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include "td_bench.h"
#include "td_inputs.h"
#include "td_options.h"
#include "api/turbodiff.h"

#define FAILED 1                                 /* a status beside the library's: has been told */

static int told;                                 /* an error line is out */

static void log_line(void *cookie, int level, const char *line)
{
    (void)cookie;
    told |= level == TD_LOG_ERROR;
    fprintf(stderr, "%s%s\n", level == TD_LOG_ERROR ? "error: " : level == TD_LOG_WARNING ? "warning: " : "", line);
}

static void list_line(void *cookie, int level, const char *line)
{
    if (level <= TD_LOG_WARNING)
        log_line(cookie, level, line);
    else
        puts(line);
}

/* @return NULL after a line that says why */
static FILE *open_file(const char *path, const char *mode)
{
    FILE *f = *path ? fopen(path, mode) : NULL;

    if (!*path)
        fputs("td: the name of a file is empty; usage: td [options] [MODEL_DIR] PROMPT OUT.rgb\n", stderr);
    else if (!f)
        fprintf(stderr, "td: %s: %s\n", path, strerror(errno));
    return f;
}

/* what was written is on its way to the disk. @return status, or that it is not */
static int close_file(FILE *f, const char *path, int status)
{
    if (!f || (fclose(f) == 0) || status)
        return status;
    fprintf(stderr, "td: %s: %s\n", path, strerror(errno));
    return FAILED;
}

/* What was in the file goes once there is a frame to take its place; a pipe or a device has no length. @return 0 or
 * FAILED after a line */
static int write_frame(FILE *out, const uint8_t *data, size_t bytes)
{
    static int begun;
    int ok = begun || out == stdout || ftruncate(fileno(out), 0) == 0 || errno == EINVAL;

    begun = 1;
    if (ok && fwrite(data, 1, bytes, out) == bytes)
        return 0;
    fprintf(stderr, "td: frames cannot be written: %s\n", strerror(errno));
    return FAILED;
}

/* One clip, its frames to out, if there is one, and its statistics, if wanted, to stats. f holds the frame between
 * clips. info: as the clip has started */
static int write_clip(const Options *o, TDContext *c, const TDParams *p, TDFrame *f, FILE *out, FILE *stats,
                      TDInfo *info)
{
    char line[2048];
    size_t bytes;
    int ret = td_start(c, p);

    if (ret < 0)
        return ret;
    td_info(c, info);
    bytes = (size_t)info->clip_width * (size_t)info->clip_height * 3;
    f->stride[0] = (ptrdiff_t)info->clip_width * 3;
    if (!f->data[0] && !(f->data[0] = malloc(bytes)))
        return TD_ERR(ENOMEM);
    while ((ret = td_read_frame(c, f)) > 0)
        if (out && write_frame(out, f->data[0], bytes))
            return FAILED;
    /* as one write to a file opened for appending: lines of several programs do not mix */
    if (stats && td_stats_json(c, line, sizeof(line)) > 0 && (fprintf(stats, "%s\n", line) < 0 || fflush(stats) != 0)) {
        fprintf(stderr, "td: %s: %s\n", o->stats, strerror(errno));
        return ret ? ret : FAILED;
    }
    return ret;
}

/* what has no effect with this model; what has none with other options is told before (td_options.h) */
static void warn_of_model(const Options *o, TDContext *c)
{
    TDInfo info;
    int dense;

    td_info(c, &info);
    dense = info.attention == TD_ATTN_DENSE;
    if (info.transformers == 1 && o->p.boundary > 0)
        log_line(NULL, TD_LOG_WARNING, "--boundary has no effect with one transformer");
    if (dense && o->p.sla_topk > 0)
        log_line(NULL, TD_LOG_WARNING, "--topk has no effect with dense attention");
    if (dense && o->s.sla_block)
        log_line(NULL, TD_LOG_WARNING, "--sla-block has no effect with dense attention");
}

/* with --adaptive: the size that has the picture's shape */
static int adapt(const Options *o, TDContext *c, TDParams *p, const TDImage *image)
{
    TDInfo info;
    int ret;

    if (!o->adaptive)
        return 0;
    td_info(c, &info);
    p->width = p->width ? p->width : info.default_width;
    p->height = p->height ? p->height : info.default_height;
    if ((ret = td_adaptive_size(&p->width, &p->height, image->width, image->height)) < 0) {
        fprintf(stderr, "td: --adaptive: no size of about %dx%d pixels has the shape of a first frame of %dx%d\n",
                p->width, p->height, image->width, image->height);
        told = 1;
    }
    return ret;
}

/* a clip, or with --prompts one for each line that is not blank. @return 0 or a status */
static int write_clips(const Options *o, TDContext *c, TDParams *p, FILE *prompts, FILE *out, FILE *stats)
{
    TDFrame f = { .format = TD_PIX_RGB24 };
    char *line = prompts ? malloc(CLI_PROMPT + 1) : NULL;
    TDInfo info;
    int more = 1, n = 0, ret = 0;

    if (prompts && !line)
        return TD_ERR(ENOMEM);
    do {
        if (prompts && (more = cli_prompt(line, "td", prompts, '\n', 0)) <= 0)
            break;
        if (prompts && !line[strspn(line, " \t\r")])
            continue;
        n++;
        if (prompts)
            p->prompt = line;
        if (td_clean_prompt(NULL, 0, p->prompt, NULL) == 0)
            log_line(NULL, TD_LOG_WARNING, "the prompt is empty: nothing says what the video is to show");
        for (int clip = 0; clip < o->n_clips && !ret; clip++)
            ret = write_clip(o, c, p, &f, out, stats, &info);
        p->seed++;
    } while (prompts && !ret);
    if (more < 0) {
        ret = FAILED;
    } else if (!n) {
        fprintf(stderr, "td: %s: no prompt in it, want lines of text\n", o->prompt);
        ret = FAILED;
    }
    free(f.data[0]);
    free(line);
    return ret;
}

/* --bench: a clip that loads what it needs, then others, and the table. A model that wants a picture and has none gets
 * a grey one. @return 0 or a status */
static int bench(const Options *o, TDContext *c, TDParams *p, FILE *stats)
{
    static uint8_t grey[64 * 64 * 3];
    static const TDImage picture = { 64, 64, 64 * 3, grey };
    TDFrame f = { .format = TD_PIX_RGB24 };
    BenchClip first = { 0 }, warm = { 0 }, clip;
    char prompt[128];
    TDInfo info;
    int ret = 0;

    memset(grey, 128, sizeof(grey));
    td_info(c, &info);
    if (info.needs_image && !p->image)
        p->image = &picture;
    for (int i = 0; i <= o->n_clips; i++) {
        bench_prompt(prompt, sizeof(prompt), i);
        p->prompt = prompt;
        ret = write_clip(o, c, p, &f, NULL, stats, &clip.of);
        if (ret)
            break;
        td_info(c, &clip.after);
        if (i == 0)
            first = clip;
        else if (i == 1 || clip.after.wall_seconds < warm.after.wall_seconds)
            warm = clip;
    }
    free(f.data[0]);
    if (!ret)
        bench_table(&first, &warm);
    return ret;
}

static int run(Options *o)
{
    FILE *out = NULL, *stats = NULL, *prompts = NULL;
    int ret = FAILED;
    TDImage image = { 0 };
    TDContext *c = NULL;

    /* opened for appending, as what is in a file stays for now; then that of statistics is there to be compared */
    if (check_output(o, o->out, NULL) < 0 || check_output(o, o->stats, NULL) < 0 ||
        (o->many && !(prompts = open_file(o->prompt, "r"))) || (o->stats && !(stats = open_file(o->stats, "a"))) ||
        check_output(o, o->out, o->stats) < 0 ||
        (!o->bench && !(out = strcmp(o->out, "-") ? open_file(o->out, "ab") : stdout)))
        goto end;
    if (o->picture) {
        if ((ret = td_image_load_jpeg(&image, o->picture, &o->s.logger)) < 0)
            goto end;
        o->p.image = &image;
        o->s.image_to_video = 1;
    }
    o->s.clip = &o->p;
    if ((ret = td_open(&c, &o->s)) >= 0 && (ret = adapt(o, c, &o->p, &image)) >= 0) {
        warn_of_model(o, c);
        ret = o->bench ? bench(o, c, &o->p, stats) : write_clips(o, c, &o->p, prompts, out, stats);
    }
end:
    if (ret < 0 && !told)
        fprintf(stderr, "td: %s\n", td_strerror(ret));
    td_image_free(&image);
    td_close(&c);
    if (prompts)
        fclose(prompts);
    ret = close_file(stats, o->stats, ret);
    ret = close_file(out, o->out, ret);
    return ret != 0;
}

/* to standard output, also why there is none. @return status */
static int list_devices(Options *o)
{
    o->s.logger.callback = list_line;
    o->s.clip = &o->p;
    return cli_end("td", td_list_devices(&o->s, cli_print_device, "") < 0);
}

int main(int argc, char **argv)
{
    Options o = { .n_clips = 1 };
    int ret;

    td_default_settings(&o.s, sizeof(o.s));
    td_default_params(&o.p, sizeof(o.p));
    o.s.logger = (TDLogger){ NULL, log_line, TD_LOG_INFO };
    ret = parse_options(&o, argc, argv);
    if (ret)
        return ret < 0 ? 2 : cli_end("td", 0);
    if (o.devices)
        return list_devices(&o);
    if (o.draw_seed) {
        if (getrandom(&o.p.seed, sizeof(o.p.seed), 0) != sizeof(o.p.seed)) {
            perror("td: --seed -1");
            return 1;
        }
        fprintf(stderr, "seed=%llu\n", (unsigned long long)o.p.seed);
    }
    ret = run(&o);
    return o.bench ? cli_end("td", ret) : ret;
}
