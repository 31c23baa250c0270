/* SPDX-License-Identifier: BSD-2-Clause
 * usage: checkops [--test=SUBSTRING] [--impl=NAME] [--threads=N] [--seed=N] [--fills=N] [--bench]
 *                 [--sums | --sums=FILE]
 * NAME: cpu, or its base or avx2 kernels; cuda, or a card of tests/cards.h that the GPU at hand can run as.
 * --sums writes the checksums of what has the same bits everywhere, --sums=FILE compares with them, and neither does
 * anything else. TD_VERBOSE=1 shows all errors. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "checkops.h"
#include "model/device.h"
#include "../cards.h"

#define ARENA_BYTES ((size_t)1 << 29)

static const char *const fill_names[N_FILLS] = { "normal", "zero", "outlier", "large", "tiny" };

static void log_line(void *cookie, int level, const char *line)
{
    (void)cookie;
    if (level == TD_LOG_ERROR)
        printf("  log: %s\n", line);
}

double run_clock(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *keep(Run *r, void *p)
{
    if (!p || r->n_host == (int)(sizeof(r->host) / sizeof(*r->host))) {
        fprintf(stderr, "checkops: out of memory or of host slots\n");
        exit(1);
    }
    return r->host[r->n_host++] = p;
}

float *run_floats(Run *r, int64_t n)
{
    return keep(r, calloc((size_t)n + 1, sizeof(float)));
}

static uint64_t mix(uint64_t x)                  /* splitmix64 */
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

float *run_values(Run *r, int stream, int64_t n, float scale, int bf16)
{
    float *v = run_floats(r, n);

    for (int64_t i = 0; i < n; i++) {
        uint64_t x = mix(r->seed * 1000003u + (uint64_t)stream * 7919u + mix((uint64_t)i));
        float g = ((float)(x & 0xffff) + (float)(x >> 16 & 0xffff) + (float)(x >> 32 & 0xffff) + (float)(x >> 48)) /
                      65536.0f -
                  2.0f;

        v[i] = g * 1.7320508f * scale;           /* four uniforms: variance 1/3 */
        if (r->fill == FILL_ZERO && stream == 0)
            v[i] = 0;
        if (r->fill == FILL_OUTLIER && stream == 0 && i == n / 3)
            v[i] = 300 * scale;
        if (r->fill == FILL_LARGE && stream == 0)
            v[i] *= 1000;
        if (r->fill == FILL_TINY && stream == 0)
            v[i] *= 1e-6f;
        if (bf16)
            v[i] = td_bf16_round(v[i]);
    }
    return v;
}

int run_tensor(Run *r, TDTensor *t, enum TDDtype dtype, const float *src, int64_t a, int64_t b, int64_t c, int64_t d)
{
    int64_t shape[4] = { a, b, c, d };
    int n_dims = d ? 4 : c ? 3 : b ? 2 : 1, ret = td_arena_tensor(&r->arena, t, dtype, n_dims, shape);
    int64_t n = td_tensor_count(t);
    void *tmp;

    if (ret < 0)
        return ret;
    tmp = keep(r, malloc(td_tensor_bytes(t) + 8));
    memset(tmp, 0xff, td_tensor_bytes(t));
    for (int64_t i = 0; i < n && src; i++)
        switch (dtype) {
        case TD_BF16: ((uint16_t *)tmp)[i] = td_f32_to_bf16(src[i]); break;
        case TD_F64:  ((double *)tmp)[i] = src[i]; break;
        default:      ((float *)tmp)[i] = src[i]; break;
        }
    return r->dev->ops->upload(r->dev, t, tmp);
}

int run_act(Run *r, TDAct *act, const float *src, int64_t rows, int64_t k, int int8)
{
    TDTensor x;
    uint16_t *tmp = keep(r, malloc((size_t)(rows * k) * sizeof(*tmp) + 8));
    int ret;

    TRY(td_plan_act(&r->arena, act, rows, k, int8));
    x = act->x;
    for (int64_t i = 0; i < rows * k; i++)
        tmp[i] = src ? td_f32_to_bf16(src[i]) : 0xffff;
    TRY(r->dev->ops->upload(r->dev, &x, tmp));
    if (int8 && src)
        TRY(r->dev->ops->quantise(r->dev, act));
fail:
    return ret;
}

int run_linear(Run *r, TDLinear *lin, enum TDDtype want, int64_t n, int64_t k, int stream, int no_bias, float **w,
               float **bias)
{
    float *wv = run_values(r, stream, n * k, 1.0f / sqrtf((float)k), want != TD_F32),
          *bv = run_values(r, stream + 1, n, 0.5f, 1);
    uint16_t *half = keep(r, malloc((size_t)(n * k) * sizeof(*half)));
    TDEntry *e = keep(r, calloc(2, sizeof(*e)));
    TDLinearSource src = { .w = &e[0], .bias = no_bias ? NULL : &e[1] };
    int ret;

    for (int64_t i = 0; i < n * k; i++)
        half[i] = td_f32_to_bf16(wv[i]);
    e[0] = (TDEntry){ .name = "weight", .dtype = want == TD_F32 ? TD_F32 : TD_BF16, .n_dims = 2,
                      .shape = { n, k, 1, 1, 1 }, .stride = { k, 1 },
                      .data = want == TD_F32 ? (const uint8_t *)wv : (const uint8_t *)half,
                      .bytes = (size_t)(n * k) * (want == TD_F32 ? 4 : 2), .file = "checkops" };
    e[1] = (TDEntry){ .name = "bias", .dtype = TD_F32, .n_dims = 1, .shape = { n, 1, 1, 1, 1 }, .stride = { 1 },
                      .data = (const uint8_t *)bv, .bytes = (size_t)n * 4, .file = "checkops" };
    TRY(td_pack_linear(r->dev, &r->weights, lin, &src, 1, want));
    *w = run_floats(r, n * k);
    *bias = no_bias ? run_floats(r, n) : bv;
    TRY(td_unpack(r->dev, *w, lin, TD_UNPACK_LINEAR));
fail:
    return ret;
}

void point_int8(const Run *r, double *x, int64_t rows, int64_t k)
{
    for (int64_t r0 = 0; r0 < rows && r->points; r0 += 128)
        for (int64_t k0 = 0; k0 < k; k0 += 128) {
            float amax = 1e-8f, mult;

            for (int64_t i = r0; i < r0 + 128 && i < rows; i++)
                for (int64_t j = k0; j < k0 + 128 && j < k; j++)
                    amax = fmaxf(amax, fabsf((float)x[i * k + j]));
            mult = 128.0f / amax;
            for (int64_t i = r0; i < r0 + 128 && i < rows; i++)
                for (int64_t j = k0; j < k0 + 128 && j < k; j++)
                    x[i * k + j] = fmin(rint((float)x[i * k + j] * mult), 127) * (amax / 128.0f);
        }
}

int run_vector(Run *r, const float **dst, const float *src, int64_t n)
{
    return td_pack_vector(r->dev, &r->weights, dst, src, n);
}

int run_download(Run *r, float **out, int64_t *count, const void *obj, enum TDUnpack kind)
{
    *count = td_tensor_count(kind == TD_UNPACK_ACT ? &((const TDAct *)obj)->x : obj);
    *out = run_floats(r, *count);
    return td_unpack(r->dev, *out, obj, kind);
}

/* ---- harness ---- */

/* how far values are from the reference: relative in the 2-norm, and the largest single one, as a share of its own
 * reference or of the typical one where that is larger */
typedef struct Distance { double norm, single; int64_t at; double want; } Distance;

static Distance distance(const float *a, const double *ref, int64_t n)
{
    Distance e = { 0 };
    double d = 0, s = 0, rms;

    for (int64_t i = 0; i < n; i++) {
        d += (a[i] - ref[i]) * (a[i] - ref[i]);
        s += ref[i] * ref[i];
    }
    rms = sqrt(s / (double)(n ? n : 1));
    e.norm = d == 0 ? 0 : d >= 0 && s > 0 ? sqrt(d / s) : INFINITY;
    for (int64_t i = 0; i < n; i++) {
        double off = fabs(a[i] - ref[i]), size = fmax(fabs(ref[i]), rms);
        double part = off == 0 ? 0 : size > 0 ? off / size : INFINITY;

        if (!(part <= e.single)) {
            e.single = isnan(part) ? INFINITY : part;
            e.at = i;
        }
    }
    return e;
}

static uint64_t add_bits(uint64_t sum, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t u;

        memcpy(&u, &x[i], sizeof(u));
        sum = mix(sum ^ u);
    }
    return sum;
}

static int open_run(Run *r, TDDev *dev, TDBuf *buf, uint64_t seed, enum Fill fill, int bench)
{
    *r = (Run){ .dev = dev, .seed = seed, .fill = fill, .bench = bench };
    td_arena_init(&r->arena, buf->ptr, buf->bytes, dev->log);
    return 0;
}

static void close_run(Run *r)
{
    td_weights_free(r->dev, &r->weights);
    for (int i = 0; i < r->n_host; i++)
        free(r->host[i]);
}

/* r: a finished run on any device */
static Distance against(Run *r, const Case *c, const float *x, int64_t n, int points)
{
    double *ref = calloc((size_t)n + 1, sizeof(*ref));
    Distance d;

    r->points = points;
    c->reference(r, c, ref);
    r->points = 0;
    d = distance(x, ref, n);
    if (d.at < n)
        d.want = ref[d.at];
    free(ref);
    return d;
}

/* bf16 results, a sum here and there on the other side of a tie */
#define POINTS 5e-4
/* one value: a step of bf16, of an int8 code or of a picture's level where a rounding before it fell the other way */
#define POINTS_SINGLE 6e-2

static int judge(const Case *c, const char *reference, const char *fill, Distance d, double bound, double single,
                 const float *x, int64_t n)
{
    int ok = d.norm <= bound && d.single <= single;

    if (!ok)
        printf("  %s %s, fill %s, %s: error %.3e, want <= %.1e; a single one %.3e, want <= %.1e: "
               "%g at %lld of %lld, reference %g\n", c->op, c->title, fill, reference, d.norm, bound, d.single, single,
               x[d.at], (long long)d.at, (long long)n, d.want);
    return ok;
}

/* cpu: NULL when dev is the CPU backend itself */
static int check_case(const Case *c, TDDev *dev, TDBuf *buf, TDDev *cpu, TDBuf *cpu_buf, uint64_t seed, enum Fill fill,
                      int bench)
{
    int wild = fill == FILL_OUTLIER || fill == FILL_LARGE, ok = 0;
    double bound = wild && c->wild_bound > 0 ? c->wild_bound : c->bound, single = INFINITY, bound_points;
    Run a, b;
    float *x = NULL, *y = NULL;
    Distance plain, points;
    int64_t n = 0, n2 = 0;

    open_run(&a, dev, buf, seed, fill, bench);
    if (c->run(&a, c, &x, &n) < 0) {
        printf("  %s %s: the slot failed\n", c->op, c->title);
        goto end;
    }
    plain = against(&a, c, x, n, 0);
    points = against(&a, c, x, n, 1);
    if (cpu) {
        open_run(&b, cpu, cpu_buf, seed, fill, 0);
        if (c->run(&b, c, &y, &n2) >= 0 && n2 == n) {
            Distance d = against(&b, c, y, n, 0);

            bound = 2 * d.norm + 4e-6;           /* tensor cores truncate their f32 sums */
            if (c->nearer && dev->caps.f16_channels)
                bound = d.norm;
            single = 4 * d.single + 1e-3;
        }
        close_run(&b);
    }
    ok = judge(c, "plain", fill_names[fill], plain, bound, single, x, n);
    if (!cpu) {
        bound_points = c->points > 0 ? c->points : POINTS;
        if (fill == FILL_TINY)                   /* values far below the bias: sums that are ties are common */
            bound_points *= 2;
        ok &= judge(c, "with points", fill_names[fill], points, bound_points,
                    bound_points < 1e-5 ? 20 * bound_points : POINTS_SINGLE, x, n);
    }
    if (getenv("TD_VERBOSE"))
        printf("  %s %s, fill %s: error %.2e, a single one %.2e; with points %.2e, %.2e\n", c->op, c->title,
               fill_names[fill], plain.norm, plain.single, points.norm, points.single);
    open_run(&b, dev, buf, seed, fill, 0);
    if (c->run(&b, c, &y, &n2) < 0 || n2 != n || memcmp(x, y, (size_t)n * sizeof(*x))) {
        printf("  %s %s, fill %s: two runs differ\n", c->op, c->title, fill_names[fill]);
        ok = 0;
    }
    if (bench)
        printf("  %-16s %-34s %9.3f ms %8.1f %s  error %.1e\n", c->op, c->title, a.seconds * 1e3,
               c->flops ? c->flops(c) / a.seconds * 1e-9 : (double)n / a.seconds * 1e-9,
               c->flops ? "GFLOP/s" : "Gvalue/s", plain.norm);
    close_run(&b);
end:
    close_run(&a);
    return ok;
}

/* ---- checksums of the cases whose bits are the same everywhere ---- */

/* the case's bits with every fill */
static uint64_t case_sum(const Case *c, TDDev *dev, TDBuf *buf, uint64_t seed)
{
    uint64_t sum = 0;

    for (int fill = 0; fill < N_FILLS; fill++) {
        float *x = NULL;
        int64_t n = 0;
        Run r;

        open_run(&r, dev, buf, seed, (enum Fill)fill, 0);
        sum = c->run(&r, c, &x, &n) < 0 ? 0 : add_bits(sum, x, n);
        close_run(&r);
    }
    return sum;
}

/* that of the line "SUM OP: TITLE" of the file; 0: none */
static uint64_t known_sum(FILE *f, const Case *c)
{
    char line[256], want[256];
    unsigned long long sum;
    int at;

    rewind(f);
    snprintf(want, sizeof(want), "%s: %s\n", c->op, c->title);
    while (fgets(line, sizeof(line), f))
        if (sscanf(line, "%16llx %n", &sum, &at) == 1 && !strcmp(line + at, want))
            return sum;
    return 0;
}

/* path: compare with that file, NULL: write one. @return whether a sum differs, or a line of the file is of no case */
static int check_sums(const char *path, const Case *const *families, int n_families, TDDev *dev, TDBuf *buf,
                      uint64_t seed)
{
    FILE *f = path ? fopen(path, "r") : NULL;
    int n_cases = 0, n_lines = 0, bad = 0;
    char line[256];

    if (path && !f) {
        printf("FAIL sums: %s cannot be read\n", path);
        return 1;
    }
    for (int i = 0; i < n_families; i++)
        for (const Case *c = families[i]; c->op; c++) {
            unsigned long long sum, want;

            if (!c->exact)
                continue;
            n_cases++;
            sum = case_sum(c, dev, buf, seed);
            if (!f) {
                printf("%016llx %s: %s\n", sum, c->op, c->title);
                continue;
            }
            want = known_sum(f, c);
            if (sum != want)
                printf("  sum %016llx, in %s %016llx\n", sum, path, want);
            printf("%s sum of %s: %s\n", sum == want ? "ok" : "FAIL", c->op, c->title);
            bad |= sum != want;
        }
    if (!f)
        return 0;
    rewind(f);
    while (fgets(line, sizeof(line), f))
        n_lines += *line != '#';
    fclose(f);
    if (n_lines != n_cases) {
        printf("FAIL sums: %d lines in %s, %d cases\n", n_lines, path, n_cases);
        bad = 1;
    }
    return bad;
}

int main(int argc, char **argv)
{
    static const Case *const families[] = { linear_cases, norm_cases, attention_cases, vae_cases, embed_cases,
                                            values_cases };
    TDLog log = { .out = { NULL, log_line, TD_LOG_ERROR } };
    TDCancel cancel = { 0 };
    TDDev *dev = NULL, *cpu = NULL;
    TDBuf buf, cpu_buf = { 0 };
    const char *only = "", *impl = "cpu", *sums = NULL;
    uint64_t seed = 1;
    int n_threads = 0, bench = 0, bad = 0, on_cpu, n_fills = N_FILLS, ret;
    TDGpu gpu = { .ordinal = -1 };

    for (int i = 1; i < argc; i++) {
        if (!strncmp(argv[i], "--test=", 7))
            only = argv[i] + 7;
        else if (!strncmp(argv[i], "--impl=", 7))
            impl = argv[i] + 7;
        else if (!strncmp(argv[i], "--seed=", 7))
            seed = strtoull(argv[i] + 7, NULL, 10);
        else if (!strncmp(argv[i], "--fills=", 8))
            n_fills = atoi(argv[i] + 8) < N_FILLS ? atoi(argv[i] + 8) : N_FILLS;
        else if (!strncmp(argv[i], "--threads=", 10))
            n_threads = atoi(argv[i] + 10);
        else if (!strncmp(argv[i], "--sums", 6) && (!argv[i][6] || argv[i][6] == '='))
            sums = argv[i] + 6;
        else if (!strcmp(argv[i], "--bench"))
            bench = 5;
        else {
            fprintf(stderr, "usage: checkops [--test=SUBSTRING] [--impl=cpu|base|avx2|cuda|CARD] [--threads=N] "
                            "[--seed=N] [--fills=N] [--bench] [--sums | --sums=FILE]\n");
            return 2;
        }
    }
    on_cpu = !card_named(impl, &gpu.as);
    ret = on_cpu ? td_cpu_open(&dev, n_threads, strcmp(impl, "cpu") ? impl : NULL, &cancel, &log)
                 : td_device_open(&dev, TD_BACKEND_CUDA, &gpu, 0, &cancel, &log);
    if (ret >= 0 && !on_cpu && (td_cpu_open(&cpu, 0, NULL, &cancel, &log) < 0 ||
                                cpu->ops->alloc(cpu, &cpu_buf, ARENA_BYTES, "a test") < 0))
        return 1;
    if (ret < 0 || dev->ops->alloc(dev, &buf, ARENA_BYTES, "a test") < 0) {
        fprintf(stderr, "checkops: --impl=%s cannot be opened\n", impl);
        return 1;
    }
    if (sums)
        bad = check_sums(*sums ? sums + 1 : NULL, families, sizeof(families) / sizeof(*families), dev, &buf, seed);
    for (size_t f = 0; f < sizeof(families) / sizeof(*families) && !sums; f++)
        for (const Case *c = families[f]; c->op; c++) {
            int ok = 1;

            if (!strstr(c->op, only) && !strstr(c->title, only))
                continue;
            for (int fill = 0; fill < (bench ? 1 : n_fills); fill++)
                ok &= check_case(c, dev, &buf, cpu, &cpu_buf, seed, fill, bench);
            if (!bench)
                printf("%s %s: %s\n", ok ? "ok" : "FAIL", c->op, c->title);
            bad |= !ok;
        }
    dev->ops->free(dev, &buf);
    dev->ops->close(&dev);
    if (cpu) {
        cpu->ops->free(cpu, &cpu_buf);
        cpu->ops->close(&cpu);
    }
    return bad;
}
