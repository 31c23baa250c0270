/* SPDX-License-Identifier: BSD-2-Clause
 * The installed library as another program uses it: api MODEL. C99, links the shared library, prints ok and FAIL lines.
 */
#include <stdlib.h>
#include <string.h>
#include <turbodiff.h>
#include "../unit/test.h"

enum { W = 64, H = 48, N = 5 };

typedef struct Seen { int lines, errors, progress, stop; char last[512]; } Seen;

static void on_line(void *cookie, int level, const char *line)
{
    Seen *seen = cookie;

    seen->lines++;
    if (level == TD_LOG_ERROR) {
        seen->errors++;
        strncpy(seen->last, line, sizeof(seen->last) - 1);
    }
}

static void on_progress(void *cookie, const TDProgress *p)
{
    ((Seen *)cookie)->progress += p->total > 0 && p->done <= p->total;
}

static int on_interrupt(void *cookie)
{
    return ((Seen *)cookie)->stop;
}

static void settings(TDSettings *s, const char *model, Seen *seen)
{
    memset(seen, 0, sizeof(*seen));
    td_default_settings(s, sizeof(*s));
    s->model = model;
    s->backend = TD_BACKEND_CPU;
    s->logger.cookie = seen;
    s->logger.callback = on_line;
    s->logger.level = TD_LOG_INFO;
    s->progress = on_progress;
    s->interrupt = on_interrupt;
    s->cookie = seen;
}

static void params(TDParams *p)
{
    td_default_params(p, sizeof(*p));
    p->prompt = "a cat";
    p->width = W;
    p->height = H;
    p->n_frames = N;
    p->seed = 1;
}

/* the whole clip as rgb24; @return frames, or < 0; *again counts EAGAIN */
static int read_clip(TDContext *c, unsigned char *pixels, int *again)
{
    int ret, n = 0;

    for (;;) {
        TDFrame f;

        memset(&f, 0, sizeof(f));
        f.format = TD_PIX_RGB24;
        f.data[0] = pixels + (size_t)(n < N ? n : 0) * W * H * 3;
        f.stride[0] = W * 3;
        ret = td_read_frame(c, &f);
        if (ret == TD_ERR(EAGAIN)) {
            (*again)++;
            continue;
        }
        if (ret <= 0)
            return ret < 0 ? ret : n;
        if (f.index != n || f.width != W || f.height != H || ++n > N)
            return TD_ERR(ERANGE);
    }
}

static void test_static(void)
{
    TDSettings s;
    TDParams p;

    test_begin("version");
    CHECK_INT(td_version_api(), TD_API_MAJOR << 16 | TD_API_MINOR << 8 | TD_API_PATCH);
    CHECK(atoi(td_version()) == TD_API_MAJOR);

    test_begin("td_strerror has text for any code");
    CHECK(strcmp(td_strerror(TD_ERR(EINVAL)), td_strerror(TD_ERR(EBADMSG))) != 0);
    CHECK(strlen(td_strerror(-12345)) > 0);

    test_begin("defaults");
    CHECK_INT(td_default_settings(&s, sizeof(s)), 0);
    CHECK_INT(td_default_params(&p, sizeof(p)), 0);
    CHECK_INT(p.n_frames, 0);
    CHECK_INT(td_default_settings(&s, 0), TD_ERR(EINVAL));
    CHECK_INT(td_default_params(&p, 0), TD_ERR(EINVAL));
    CHECK_INT(td_default_settings(NULL, sizeof(s)), TD_ERR(EINVAL));
    CHECK_INT(td_default_params(NULL, sizeof(p)), TD_ERR(EINVAL));

    test_begin("null pointers");
    td_close(NULL);
    td_cancel(NULL);
    CHECK_INT(td_open(NULL, NULL), TD_ERR(EINVAL));
    CHECK_INT(td_start(NULL, NULL), TD_ERR(EINVAL));
    CHECK_INT(td_read_frame(NULL, NULL), TD_ERR(EINVAL));
    CHECK_INT(td_info(NULL, NULL), TD_ERR(EINVAL));
}

/* what the model sees of a prompt, in one line that no terminal acts upon */
static void test_prompt(void)
{
    static const struct { const char *prompt, *clean; } prompts[] = {
        { "a cat", "a cat" },
        { "\xef\xbb\xbf  a\tcat\r\nlavfi.key=forged\n", "a cat lavfi.key=forged" },
        { "a \x1b[31mred\x1b[0m cat\x07", "a red cat" },
        { "a cat &amp; a dog &#10; &#7;\xe2\x80\xa8here", "a cat & a dog here" },
        { "osc\xc2\x9d" "0;title\xc2\x90 &#x9d;end\x7f", "osc0;title end" },
        { "caf\xc3\xa9", "caf\xc3\xa9" },
        { " \n\xef\xbb\xbf\t", "" },
        { "", "" },
    };
    char text[64];
    char *big;

    for (size_t i = 0; i < sizeof(prompts) / sizeof(*prompts); i++) {
        test_begin("td_clean_prompt");
        CHECK_INT(td_clean_prompt(text, sizeof(text), prompts[i].prompt, NULL), (int)strlen(prompts[i].clean));
        CHECK_STR(text, prompts[i].clean);
    }
    test_begin("td_clean_prompt: what does not fit");
    CHECK_INT(td_clean_prompt(text, 4, "a cat", NULL), 5);
    CHECK_STR(text, "a c");
    CHECK_INT(td_clean_prompt(NULL, 0, "a cat", NULL), 5);
    test_begin("td_clean_prompt: errors");
    CHECK_INT(td_clean_prompt(text, sizeof(text), NULL, NULL), TD_ERR(EINVAL));
    CHECK_INT(td_clean_prompt(text, sizeof(text), "\xff", NULL), TD_ERR(EINVAL));
    big = calloc(1, 70000);
    if (CHECK(big != NULL)) {
        memset(big, 'a', 69999);
        CHECK_INT(td_clean_prompt(text, sizeof(text), big, NULL), TD_ERR(EINVAL));
    }
    free(big);
}

static void test_clips(const char *model)
{
    static unsigned char a[N * W * H * 3], b[N * W * H * 3];
    TDContext *c = NULL;
    TDSettings s;
    TDParams p;
    TDInfo info;
    TDFrame f;
    Seen seen;
    int again = 0;

    settings(&s, model, &seen);
    params(&p);
    memset(&f, 0, sizeof(f));

    test_begin("td_open");
    if (!CHECK_INT(td_open(&c, &s), 0) || !CHECK(c != NULL))
        return;
    CHECK_INT(seen.errors, 0);

    test_begin("td_read_frame before td_start");
    CHECK_INT(td_read_frame(c, &f), TD_ERR(EINVAL));
    CHECK(strlen(td_last_error(c)) > 0);

    test_begin("a clip");
    CHECK_INT(td_start(c, &p), 0);
    CHECK_STR(td_last_error(c), "");
    CHECK_INT(read_clip(c, a, &again), N);
    CHECK_INT(again, 0);
    CHECK(seen.progress > 0);

    test_begin("a second clip of the same seed is the same, read nonblocking");
    p.nonblocking = 1;
    CHECK_INT(td_start(c, &p), 0);
    CHECK_INT(td_info(c, &info), 0);
    CHECK_INT(info.clip_width, W);
    CHECK_INT(info.clip_height, H);
    CHECK_INT(info.clip_frames, N);
    CHECK_INT(info.n_steps, 4);
    CHECK_INT((long long)info.seed, 1);
    CHECK_STR(info.backend, "cpu");
    CHECK_INT(read_clip(c, b, &again), N);
    CHECK(again > 0);
    CHECK(!memcmp(a, b, sizeof(a)));

    test_begin("td_start abandons a clip in flight");
    CHECK_INT(td_start(c, &p), 0);
    CHECK_INT(td_start(c, &p), 0);
    CHECK_INT(read_clip(c, b, &again), N);
    CHECK(!memcmp(a, b, sizeof(a)));

    test_begin("td_cancel");
    CHECK_INT(td_start(c, &p), 0);
    td_cancel(c);
    CHECK_INT(read_clip(c, b, &again), TD_ERR(ECANCELED));

    test_begin("the interrupt callback");
    CHECK_INT(td_start(c, &p), 0);
    seen.stop = 1;
    CHECK_INT(read_clip(c, b, &again), TD_ERR(ECANCELED));
    seen.stop = 0;

    test_begin("a clip after cancelled ones");
    CHECK_INT(td_start(c, &p), 0);
    CHECK_INT(read_clip(c, b, &again), N);
    CHECK(!memcmp(a, b, sizeof(a)));

    test_begin("td_close");
    td_close(&c);
    CHECK(c == NULL);
    td_close(&c);
}

/* one bad field, one error line that has the text */
#define BAD_PARAM(field, value, text) do {                              \
        params(&p);                                                     \
        p.field = value;                                                \
        seen.errors = 0;                                                \
        seen.last[0] = 0;                                               \
        test_begin("td_start: " #field " = " #value);                   \
        CHECK_INT(td_start(c, &p), TD_ERR(EINVAL));                     \
        CHECK_INT(seen.errors, 1);                                      \
        if (!strstr(seen.last, text))                                   \
            CHECK_STR(seen.last, text);                                 \
    } while (0)

#define BAD_SETTING(field, value, code, text) do {                      \
        settings(&s, model, &seen);                                     \
        s.field = value;                                                \
        test_begin("td_open: " #field " = " #value);                    \
        CHECK_INT(td_open(&c, &s), TD_ERR(code));                       \
        CHECK(c == NULL);                                               \
        CHECK_INT(seen.errors, 1);                                      \
        if (!strstr(seen.last, text))                                   \
            CHECK_STR(seen.last, text);                                 \
    } while (0)

static void test_errors(const char *model)
{
    TDContext *c = NULL;
    TDSettings s;
    TDParams p;
    Seen seen;

    settings(&s, model, &seen);
    if (!CHECK_INT(td_open(&c, &s), 0))
        return;
    /* that errors come through the installed library; each of them is in tests/unit/test_api.c */
    BAD_PARAM(prompt, NULL, "prompt");
    BAD_PARAM(height, 1 << 30, "from 16 to 2048");
    test_begin("td_start: wrong struct_size");
    params(&p);
    p.struct_size = 8;
    CHECK_INT(td_start(c, &p), TD_ERR(EINVAL));
    td_close(&c);

    BAD_SETTING(model, "/nonexistent", ENOENT, "/nonexistent");
    test_begin("td_start: more memory than max_bytes");
    settings(&s, model, &seen);
    s.max_bytes = 1 << 20;
    params(&p);
    p.n_frames = 81;
    CHECK_INT(td_open(&c, &s), 0);
    CHECK_INT(td_start(c, &p), TD_ERR(ENOMEM));
    CHECK_INT(seen.errors, 1);
    td_close(&c);
    test_begin("td_open: wrong struct_size");
    settings(&s, model, &seen);
    s.struct_size = 8;
    CHECK_INT(td_open(&c, &s), TD_ERR(EINVAL));
    test_begin("td_open: interrupted");
    settings(&s, model, &seen);
    seen.stop = 1;
    CHECK_INT(td_open(&c, &s), TD_ERR(ECANCELED));
    CHECK(c == NULL);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: api MODEL\n");
        return 2;
    }
    test_static();
    test_prompt();
    test_clips(argv[1]);
    test_errors(argv[1]);
    return test_end();
}
