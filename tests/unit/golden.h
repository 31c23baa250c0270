/* SPDX-License-Identifier: BSD-2-Clause
 * Golden tensors (the files of tests/golden) and the rules they are judged by: NAME.official is what the official code
 * computes, NAME.exact the same in float64.
 *  1. Our error against exact may be twice the official one's.
 *  2. On the CPU we may be as far from official as tests/golden/apart says, and a fifth more: who rounds less than the
 *     official code is nearer to exact, and wrong. Its lines are of kernels that fuse multiply-adds; one that ends with
 *     "unfused" is of those that do not. tools/regolden.sh writes that file. */
#ifndef GOLDEN_H
#define GOLDEN_H

#include <stdlib.h>
#include "cpu/kernels.h"
#include "model/device.h"
#include "test.h"
#include "../cards.h"
#include "../unpack.h"

static inline void golden_log(void *cookie, int level, const char *line)
{
    (void)cookie;
    if (level == TD_LOG_ERROR)
        printf("  log: %s\n", line);
}

static inline TDLog golden_logger(void)
{
    return (TDLog){ .out = { NULL, golden_log, TD_LOG_WARNING } };
}

/* DIR/NAME where DIR is the environment's, or a default from the repository's top */
static inline const char *golden_path(char buf[512], const char *env, const char *dir, const char *name)
{
    snprintf(buf, 512, "%s/%s", getenv(env) ? getenv(env) : dir, name);
    return buf;
}

/* what the tests are to run on: TD_TEST_BACKEND=cuda, or a card of tests/cards.h that the GPU then runs as (*as), else
 * the CPU, with its portable kernels if that is base */
static inline enum TDBackend golden_backend_as(const TDCard **as)
{
    const char *want = getenv("TD_TEST_BACKEND");

    *as = NULL;
    return want && card_named(want, as) ? TD_BACKEND_CUDA : TD_BACKEND_CPU;
}

static inline enum TDBackend golden_backend(void)
{
    const TDCard *as;

    return golden_backend_as(&as);
}

static inline const char *golden_kernels(void)
{
    const char *want = getenv("TD_TEST_BACKEND");

    return want && !strcmp(want, "base") ? want : NULL;
}

static inline int golden_fused(void)
{
#ifdef __FP_FAST_FMAF
    return 1;
#else
    const TDKernels *k;

    return td_kernels_choose(&k, golden_kernels(), NULL) == 0 && k != &td_kernels_base;
#endif
}

static inline int golden_device(TDDev **dev, TDCancel *cancel, TDLog *log)
{
    TDGpu gpu = { 0 };
    enum TDBackend backend = golden_backend_as(&gpu.as);

    if (golden_kernels())
        return td_cpu_open(dev, 0, golden_kernels(), cancel, log);
    return td_device_open(dev, backend, gpu.as ? &gpu : NULL, 0, cancel, log);
}

/* open tests/golden/NAME.safetensors; NULL fails the case */
static inline TDCheckpoint *golden_open(const char *name, TDLog *log)
{
    char path[512], file[128];
    TDCheckpoint *c = NULL;

    snprintf(file, sizeof(file), "%s.safetensors", name);
    CHECK(td_checkpoint_open(&c, golden_path(path, "TD_GOLDEN", "tests/golden", file), log) == 0);
    return c;
}

/* malloc'd f32 values of a tensor of any numeric type; NULL fails the case */
static inline float *golden_f32(const TDCheckpoint *c, const char *name, int64_t *n)
{
    const TDEntry *e = c ? td_checkpoint_find(c, name) : NULL;
    float *f;

    if (!e) {
        printf("  golden tensor %s is missing\n", name);
        CHECK(e != NULL);
        return NULL;
    }
    f = malloc((size_t)td_entry_count(e) * sizeof(*f) + 16);
    if (e->dtype == TD_I32)
        for (int64_t i = 0; i < td_entry_count(e); i++) {
            int32_t v;

            memcpy(&v, e->data + 4 * i, 4);
            f[i] = (float)v;
        }
    else if (e->dtype == TD_U8)
        for (int64_t i = 0; i < td_entry_count(e); i++)
            f[i] = e->data[i];
    else
        CHECK(td_entry_to_f32(e, f) == 0);
    if (n)
        *n = td_entry_count(e);
    return f;
}

/* The number of the line "FILE NAME NUMBER [unfused]" of tests/golden/apart for this tensor of a golden file; -1 after
 * a failed check where there is none. TD_APART=FILE: the line goes there, and nothing is judged. */
static inline double golden_known(const TDCheckpoint *c, const char *name, double now)
{
    const char *path = td_checkpoint_path(c), *out = getenv("TD_APART"), *file = strrchr(path, '/');
    char buf[512], key[256], line[256];
    double known = -1;
    int fused = golden_fused();
    FILE *f = fopen(out ? out : golden_path(buf, "TD_GOLDEN", "tests/golden", "apart"), out ? "a" : "r");
    size_t n = (size_t)snprintf(key, sizeof(key), "%s %s ", file ? file + 1 : path, name);

    if (!CHECK(f != NULL))
        return -1;
    if (out) {
        fprintf(f, "%s%.3e\n", key, now);
        known = now;
    }
    while (!out && fgets(line, sizeof(line), f))
        if (!strncmp(line, key, n) && (strstr(line, " unfused") ? !fused : fused || known < 0))
            known = atof(line + n);
    fclose(f);
    if (known < 0)
        printf("  tests/golden/apart has no line for %s\n", key);
    CHECK(known >= 0);
    return known;
}

/* rule 2 for a distance from what the official code made; other backends sum in another order */
static inline int golden_apart(const TDCheckpoint *c, const char *name, double apart)
{
    double known;

    if (golden_backend() != TD_BACKEND_CPU)
        return 1;
    known = golden_known(c, name, apart);
    if (!(apart <= 1.2 * known + 1e-4))
        printf("  %s: apart %.3e, known %.3e\n", name, apart, known);
    return test_check(apart <= 1.2 * known + 1e-4, __FILE__, __LINE__, "as far from official as it was");
}

/* the same for a PSNR in dB, of which one may be lost */
static inline int golden_psnr(const TDCheckpoint *c, const char *name, double psnr)
{
    double known;

    if (golden_backend() != TD_BACKEND_CPU)
        return 1;
    known = golden_known(c, name, psnr);
    return CHECK_NEAR(psnr > known ? known : psnr, known, 1);
}

/* |a-b| / |b| in the 2-norm; NaN counts as infinite */
static inline double relative_error(const float *a, const float *b, int64_t n)
{
    double d = 0, s = 0;

    for (int64_t i = 0; i < n; i++) {
        d += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        s += (double)b[i] * b[i];
    }
    return d >= 0 && s > 0 ? sqrt(d / s) : d == 0 ? 0.0 : INFINITY;
}

/* the rules, for ours[n] against NAME.official and NAME.exact */
static inline int golden_check(const TDCheckpoint *c, const char *name, const float *ours, int64_t n)
{
    char key[128];
    int64_t n_official = 0, n_exact = 0;
    float *official, *exact;
    double mine = INFINITY, theirs = 0, apart = 0;
    int ok;

    snprintf(key, sizeof(key), "%s.official", name);
    official = golden_f32(c, key, &n_official);
    snprintf(key, sizeof(key), "%s.exact", name);
    exact = golden_f32(c, key, &n_exact);
    if (official && exact && n == n_official && n == n_exact) {
        mine = relative_error(ours, exact, n);
        theirs = relative_error(official, exact, n);
        apart = relative_error(ours, official, n);
    }
    ok = mine <= 2 * theirs + 1e-6;
    if (!ok || getenv("TD_VERBOSE"))
        printf("  %s: error %.3e, official %.3e, apart %.3e (%lld values, golden %lld)\n", name, mine, theirs, apart,
               (long long)n, (long long)n_exact);
    test_check(ok, __FILE__, __LINE__, "error <= 2 x official error");
    if (c)
        ok &= golden_apart(c, name, apart);
    free(official);
    free(exact);
    return ok;
}

#endif /* GOLDEN_H */
