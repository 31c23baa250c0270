/* SPDX-License-Identifier: BSD-2-Clause
 * A program that was built with the header of 0.1.0 and runs with today's library: old MODEL. What lies beside its
 * structs must stay as it was. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "turbodiff-0.1.0.h"
#include "../unit/test.h"

enum { W = 64, H = 48, N = 5, GUARD = 256 };

/* size bytes in the middle of others */
static void *guarded(size_t size)
{
    unsigned char *p = malloc(size + 2 * GUARD);

    if (!p)
        exit(2);
    memset(p, 0xa5, size + 2 * GUARD);
    return p + GUARD;
}

static int is_whole(const void *guarded, size_t size)
{
    const unsigned char *p = guarded;
    int whole = 1;

    for (int i = 0; i < GUARD; i++)
        whole &= p[i - GUARD] == 0xa5 && p[size + (size_t)i] == 0xa5;
    return whole;
}

static void release(void *guarded)
{
    free((unsigned char *)guarded - GUARD);
}

int main(int argc, char **argv)
{
    static unsigned char pixels[N][W * H * 3];
    TDSettings *s = guarded(sizeof(*s));
    TDParams *p = guarded(sizeof(*p));
    TDInfo *info = guarded(sizeof(*info));
    TDContext *c = NULL;
    char line[2048];
    int n = 0, ret;

    if (argc != 2)
        return 2;
    test_begin("0.1.0: defaults");
    CHECK_INT(td_default_settings(s, sizeof(*s)), 0);
    CHECK_INT(td_default_params(p, sizeof(*p)), 0);
    CHECK(s->struct_size == sizeof(*s) && p->struct_size == sizeof(*p));
    CHECK(s->device == -1 && s->logger.level == TD_LOG_INFO && p->guidance == 5.0 && p->shift == 0.0);
    CHECK(is_whole(s, sizeof(*s)) && is_whole(p, sizeof(*p)));

    test_begin("0.1.0: open");
    s->model = argv[1];
    s->backend = TD_BACKEND_CPU;
    if (!CHECK_INT(td_open(&c, s), 0))
        return test_end();
    CHECK(td_version_api() >> 16 == TD_API_MAJOR);
    test_begin("0.1.0: td_info() writes the TDInfo of 0.1.0");
    CHECK_INT(td_info(c, info), 0);
    CHECK(is_whole(info, sizeof(*info)));
    CHECK_STR(info->backend, "cpu");
    CHECK(info->default_width > 0 && info->fps_num == 16 && info->weight_bytes > 0 && info->needs_image == 0);

    test_begin("0.1.0: a clip");
    p->prompt = "a cat";
    p->width = W;
    p->height = H;
    p->n_frames = N;
    p->n_steps = 1;
    CHECK_INT(td_start(c, p), 0);
    for (ret = 1; ret > 0 && n < N;) {
        TDFrame f = { .format = TD_PIX_RGB24, .data = { pixels[n] }, .stride = { W * 3 } };

        ret = td_read_frame(c, &f);
        n += ret > 0 && f.index == n && f.width == W && f.height == H;
    }
    CHECK_INT(n, N);
    CHECK_INT(td_info(c, info), 0);
    CHECK(info->frames_out == N && info->clip_width == W && info->wall_seconds > 0);
    CHECK(td_stats_json(c, line, sizeof(line)) > 100);
    CHECK(is_whole(s, sizeof(*s)) && is_whole(p, sizeof(*p)) && is_whole(info, sizeof(*info)));
    td_close(&c);
    release(s);
    release(p);
    release(info);
    return test_end();
}
