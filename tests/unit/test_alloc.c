/* SPDX-License-Identifier: BSD-2-Clause
 * Every allocation from td_open() to the last frame fails in turn, and every thread fails to start: the call says
 * ENOMEM with one line, nothing leaks, and the same context (or the next td_open()) works at once. What fails while the
 * second expert comes beside the first one's work, in a thread of its own or in the two calls that start it, is made
 * good: the clip is whole, and no line is logged. Each allocation costs a clip or two, and there are thousands of them:
 * under ThreadSanitizer, where a clip takes 16 times as long, it is every 7th one, with TEST_STRIDE every so many. */
#include "alloc_fail.h"
#include "small_model.h"

static char model[256];

#define PICTURE "tests/fuzz/seeds/jpeg/cmyk"
#define STARTS_PREFETCH 2                        /* its memory and its thread */
#if !defined(TEST_STRIDE) && defined(__SANITIZE_THREAD__)
#define TEST_STRIDE 7                            /* a prime: in step with no pattern of blocks or layers */
#elif !defined(TEST_STRIDE)
#define TEST_STRIDE 1
#endif

/* one try with the n-th allocation failing. @return 1 while an allocation was hit */
static int attempt(long n, enum TDSampler sampler, enum TDResidency residency, enum TDQuant quant, int i2v)
{
    static uint8_t pixels[32 * 32 * 3], last[sizeof(pixels)];
    static int n_started;
    TDImage image = { 0 };
    TDContext *c = NULL;
    TDSettings s;
    TDParams p;
    TDFrame f = { .format = TD_PIX_RGB24, .data = { pixels }, .stride = { 96 } };
    Seen seen;
    int hit, good, ret, n_read = 0;

    small_settings(&s, &seen, model);
    small_params(&p);
    s.n_threads = 2;
    s.residency = residency;
    s.quant = quant;
    p.sampler = sampler;
    p.n_steps = i2v ? 3 : 2;                     /* both experts */
    p.image = i2v ? &image : NULL;
    alloc_fail_begin(n);
    ret = i2v ? td_image_load_jpeg(&image, PICTURE, &s.logger) : 0;
    if (ret >= 0)
        ret = td_open(&c, &s);
    if (ret >= 0)
        ret = td_start(c, &p);
    while (ret >= 0 && (ret = td_read_frame(c, &f)) > 0)
        n_read++;
    hit = alloc_fail_end();
    good = hit && ret == 0 && i2v && (!alloc_fail_here() || n_started++ < STARTS_PREFETCH);
    if (good) {
        memcpy(last, pixels, sizeof(last));
        CHECK_INT(n_read, 5);
        CHECK_INT(seen.n_errors, 0);
    } else if (ret != (hit ? TD_ERR(ENOMEM) : 0) || seen.n_errors != hit || seen.n_bad) {
        printf("  allocation %ld: code %d, %d lines: %s\n", n, ret, seen.n_errors, seen.error);
        CHECK(!"ENOMEM with one line");
    }
    if (c) {                                     /* the context lives on */
        int frames = 0;

        CHECK_INT(td_start(c, &p), 0);
        while ((ret = td_read_frame(c, &f)) > 0)
            frames++;
        CHECK_INT(ret, 0);
        CHECK_INT(frames, 5);
        CHECK(!good || !memcmp(last, pixels, sizeof(last)));
    } else {
        CHECK(hit && ret == TD_ERR(ENOMEM));
    }
    td_close(&c);
    td_image_free(&image);
    CHECK_INT(alloc_fail_leak(), 0);
    return hit && !test_state.bad;
}

int main(void)
{
    static const struct {
        const char *title;
        enum TDSampler sampler;
        enum TDResidency residency;
        enum TDQuant quant;
        int i2v;
    } kinds[] = {
        { "allocation failures: rCM, int8", TD_SAMPLER_RCM, TD_RESIDENT_ALL, TD_QUANT_AUTO, 0 },
        { "allocation failures: UniPC with guidance, weights by stage, int8 at load", TD_SAMPLER_UNIPC,
          TD_RESIDENT_STAGE, TD_QUANT_INT8, 0 },
        { "allocation failures: image to video", TD_SAMPLER_RCM, TD_RESIDENT_STAGE, TD_QUANT_AUTO, 1 },
    };

    test_begin("model");
    if (small_model_make("model", "") == 0 && small_model_make("i2v", "--in-dim=36") == 0) {
        for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
            long n = 1;

            test_begin(kinds[i].title);
            small_path(model, kinds[i].i2v ? "i2v" : "model");
            while (attempt(n, kinds[i].sampler, kinds[i].residency, kinds[i].quant, kinds[i].i2v))
                n += TEST_STRIDE;
            if (getenv("TD_VERBOSE"))
                printf("  %ld allocations at most\n", n - 1);
            CHECK(n > 100);
        }
    }
    small_model_remove();
    return test_end();
}
