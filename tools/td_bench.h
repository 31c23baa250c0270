/* SPDX-License-Identifier: BSD-2-Clause
 * td --bench: the table of what a model takes on this machine, of the library's own statistics (TDInfo). */
#ifndef TD_BENCH_H
#define TD_BENCH_H

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include "api/turbodiff.h"
#include "base/options.h"

/** What is known of a clip: some of it only while it is made. */
typedef struct BenchClip {
    TDInfo of, after;                            ///< when it had started; when it had ended
} BenchClip;

/** The i-th prompt, in the words of the demo model, which no other one minds: none is known from a clip before. */
static inline void bench_prompt(char *dst, size_t size, int i)
{
    static const char *const colours[] = { "red", "green", "blue", "yellow", "purple", "orange" };
    static const char *const shapes[] = { "circle", "square", "triangle", "star" };

    snprintf(dst, size, "a %s %s moves slowly to the right on a black background", colours[i % 6],
             shapes[i / 6 % 4]);
}

static inline double bench_gib(uint64_t bytes)
{
    return (double)bytes / (1 << 30);
}

/** To standard output. first: with all loading in it; warm: the fastest of those after it, of a prompt of its own */
static inline void bench_table(const BenchClip *first, const BenchClip *warm)
{
    const TDInfo *of = &warm->of, *n = &warm->after;
    const double *s = n->stage_seconds;
    double load = first->after.stage_seconds[TD_STAGE_LOAD], weights = (double)n->weight_bytes;
    int on_cpu = !strcmp(of->backend, "cpu");
    struct rusage use;

    printf("%-28s %s\n", "turbodiff", td_version());
    printf("%-28s %s on %s\n", "device", of->device_name, of->backend);
    printf("%-28s %s, quant %s, %s, topk %g\n", "model", of->model, td_quant_words[of->quant],
           td_attention_words[of->attention], of->topk);
    printf("%-28s %dx%d, %d frames, %d steps\n", "clip", of->clip_width, of->clip_height, of->clip_frames, of->n_steps);
    /* the CPU computes from the files, and reads of them what it comes to */
    if (on_cpu)
        printf("%-28s %.3f s, of %.2f GB\n", "load", load, weights * 1e-9);
    else
        printf("%-28s %.3f s, %.2f GB, %.1f GB/s\n", "load", load, weights * 1e-9,
               load > 0 ? weights / load * 1e-9 : 0);
    printf("%-28s %.3f s\n", "prompt", s[TD_STAGE_TEXT]);
    if (of->needs_image)
        printf("%-28s %.3f s\n", "picture", s[TD_STAGE_IMAGE]);
    printf("%-28s %.3f s, %.4f s a step\n", "denoise", s[TD_STAGE_DENOISE], s[TD_STAGE_DENOISE] / of->n_steps);
    printf("%-28s %.3f s, %.1f ms a frame\n", "decode", s[TD_STAGE_DECODE],
           s[TD_STAGE_DECODE] / of->clip_frames * 1e3);
    printf("%-28s %.3f s\n", "frames to the caller", n->copy_seconds);
    printf("%-28s %.3f s (%.3f s of it loading), the first one %.3f s\n", "clip, prompt to last frame", n->wall_seconds,
           s[TD_STAGE_LOAD], first->after.wall_seconds);
    printf("%-28s %.2f GiB of weights and clip, %.2f GiB reckoned before\n", "memory, at most",
           bench_gib(n->peak_bytes), bench_gib(n->predicted_bytes));
    if (n->device_used_bytes)
        printf("%-28s %.2f GiB with the driver and other programs\n", "the card's in use, at most",
               bench_gib(n->device_used_bytes));
    if (!getrusage(RUSAGE_SELF, &use))
        printf("%-28s %.2f GiB, mapped files with it\n", "host memory, at most",
               bench_gib((uint64_t)use.ru_maxrss << 10));
}

#endif /* TD_BENCH_H */
