/* SPDX-License-Identifier: BSD-2-Clause
 * What the tests of the public API share: the smallest model that tdsynth can write, a logger that remembers, and clips
 * of 32x32 that take milliseconds. */
#ifndef SMALL_MODEL_H
#define SMALL_MODEL_H

#include <stdlib.h>
#include <unistd.h>
#include "test.h"
#include "api/turbodiff.h"

typedef struct Seen {
    int n_errors, n_bad;                         /* error lines; lines that are empty or hold control characters */
    char error[512];                             /* the last error line */
    int n_progress, stop_after;                  /* calls of progress, and after how many interrupt says 1; 0: never */
    int backwards;                               /* progress that went back, or past its total */
    TDProgress last;
} Seen;

static char small_dir[] = "/tmp/td_test_XXXXXX";

static inline void on_line(void *cookie, int level, const char *line)
{
    Seen *seen = cookie;

    seen->n_bad += !*line || strpbrk(line, "\n\r\t\x1b");
    if (level == TD_LOG_ERROR) {
        seen->n_errors++;
        snprintf(seen->error, sizeof(seen->error), "%s", line);
    }
}

static inline void on_progress(void *cookie, const TDProgress *p)
{
    Seen *seen = cookie;

    seen->n_progress++;
    seen->backwards += p->done < 0 || p->total < 1 || p->done > p->total || p->stage < seen->last.stage ||
                       p->seconds < 0 ||
                       (p->stage == seen->last.stage && p->done < seen->last.done);
    seen->last = *p;
}

static inline int on_interrupt(void *cookie)
{
    Seen *seen = cookie;

    return seen->stop_after > 0 && seen->n_progress >= seen->stop_after;
}

/* small_dir/NAME: a model directory of safetensors files. @return 0, or -1 after a failed check */
static inline int small_model_make(const char *name, const char *options)
{
    const char *build = getenv("TD_BUILD");
    char command[1000];

    if (strstr(small_dir, "XXXXXX") && !CHECK(mkdtemp(small_dir) != NULL))
        return -1;
    snprintf(command, sizeof(command),
             "%s/tdsynth --format=safetensors --seed=3 --dim=128 --ffn=128 --blocks=1 --text-dim=64 "
             "--text-heads=1 --text-ffn=64 --text-blocks=1 --vae-dim=4 --threads=1 %s %s/%s", build ? build : "build",
             options,
             small_dir, name);
    return CHECK_INT(system(command), 0) ? 0 : -1;
}

static inline void small_model_remove(void)
{
    char command[100];

    snprintf(command, sizeof(command), "rm -rf %s", small_dir);
    CHECK_INT(system(command), 0);
}

/* small_dir/NAME in a buffer of the caller's */
static inline const char *small_path(char buf[256], const char *name)
{
    snprintf(buf, 256, "%s/%.200s", small_dir, name);
    return buf;
}

static inline void small_settings(TDSettings *s, Seen *seen, const char *model)
{
    memset(seen, 0, sizeof(*seen));
    CHECK_INT(td_default_settings(s, sizeof(*s)), 0);
    s->model = model;
    s->backend = TD_BACKEND_CPU;
    s->n_threads = 2;
    s->logger = (TDLogger){ seen, on_line, TD_LOG_DEBUG };
    s->progress = on_progress;
    s->interrupt = on_interrupt;
    s->cookie = seen;
}

static inline void small_params(TDParams *p)
{
    CHECK_INT(td_default_params(p, sizeof(*p)), 0);
    p->prompt = "a cat";
    p->width = p->height = 32;
    p->n_frames = 5;
    p->n_steps = 1;
    p->sla_topk = 1.0;
}

/* all frames of the clip as rgb24 into pixels (NULL: thrown away). @return number of frames, or the error */
static inline int read_clip(TDContext *c, uint8_t *pixels)
{
    TDInfo info;
    TDFrame f = { .format = TD_PIX_RGB24 };
    uint8_t *buf;
    size_t bytes;
    int n = 0, ret = td_info(c, &info);

    if (ret < 0)
        return ret;
    bytes = (size_t)info.clip_width * (size_t)info.clip_height * 3;
    if (!(buf = malloc(bytes + 1)))
        return TD_ERR(ENOMEM);
    f.stride[0] = info.clip_width * 3;
    for (;;) {
        f.data[0] = pixels ? pixels + (size_t)n * bytes : buf;
        ret = td_read_frame(c, &f);
        if (ret == TD_ERR(EAGAIN))
            continue;
        if (ret <= 0)
            break;
        CHECK_INT(f.index, n);
        n++;
    }
    free(buf);
    return ret < 0 ? ret : n;
}

/* exactly one error line, which has the words, and a code as wanted */
static inline int check_error(const Seen *seen, int ret, int want, const char *words)
{
    int ok = ret == want && seen->n_errors == 1 && !seen->n_bad && strstr(seen->error, words);

    if (!ok)
        printf("  code %d, want %d; %d error lines, %d bad lines; the last: \"%s\", want \"%s\"\n", ret, want,
               seen->n_errors,
               seen->n_bad, seen->error, words);
    return test_check(ok, __FILE__, __LINE__, "one error line that names it");
}

#endif /* SMALL_MODEL_H */
