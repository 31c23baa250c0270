/* SPDX-License-Identifier: BSD-2-Clause
 * Noise against torch.randn: the CPU generator, and the CUDA generator's numbers as a GPU's grid lays them out. */
#include "golden.h"
#include "base/rng.h"

static double worst(const float *a, const float *b, int64_t n)
{
    double w = 0;

    for (int64_t i = 0; i < n; i++)
        w = fmax(w, isnan(a[i]) ? INFINITY : fabs((double)a[i] - b[i]));
    return w;
}

static void check_cpu(const TDCheckpoint *g)
{
    static const uint64_t seeds[] = { 0, 1, 42, 2147483653u, 9223372036854775819u };
    static const int sizes[] = { 3, 15, 16, 17, 20, 40, 1000 };
    float out[1000];
    TDRng rng, skip;

    for (int s = 0; s < 5; s++) {
        td_rng_init(&rng, TD_NOISE_CPU, 0, seeds[s]);
        for (int i = 0; i < 7; i++) {
            char key[64];
            float *want;
            int64_t n = 0;

            snprintf(key, sizeof(key), "cpu.%llu.%d.%d", (unsigned long long)seeds[s], i, sizes[i]);
            if (!(want = golden_f32(g, key, &n)))
                continue;
            skip = rng;
            td_rng_normal(&rng, out, n);
            CHECK_NEAR(worst(out, want, n), 0, 2e-6);
            td_rng_skip(&skip, n);               /* both generators go on alike */
            td_rng_normal(&skip, out, 5);
            skip = rng;
            free(want);
            want = malloc(5 * sizeof(*want));
            td_rng_normal(&skip, want, 5);
            CHECK_NEAR(worst(out, want, 5), 0, 0);
            free(want);
        }
    }
}

static void check_h100(const TDCheckpoint *g)
{
    static const uint64_t seeds[] = { 0, 42, 1099511627779u };
    int64_t n_big = 2096640, n = 0;
    float *out = malloc((size_t)n_big * sizeof(*out)), *index = golden_f32(g, "h100.index", &n);
    TDRng rng;

    for (int s = 0; s < 3; s++) {
        char key[64];

        td_rng_init(&rng, TD_NOISE_H100, 0, seeds[s]);
        for (int i = 0; i < 3; i++) {
            float *want;

            snprintf(key, sizeof(key), "h100.%llu.%d.7680", (unsigned long long)seeds[s], i);
            td_rng_normal(&rng, out, 7680);
            if ((want = golden_f32(g, key, NULL)))
                CHECK_NEAR(worst(out, want, 1024), 0, 4e-6);
            free(want);
        }
        td_rng_init(&rng, TD_NOISE_H100, 0, seeds[s]);
        for (int i = 0; i < 2; i++) {
            float *want;

            snprintf(key, sizeof(key), "h100.%llu.big%s", (unsigned long long)seeds[s], i ? "2" : "");
            td_rng_normal(&rng, out, n_big);
            if ((want = golden_f32(g, key, NULL)) && index)
                for (int64_t k = 0; k < n; k++)
                    CHECK_NEAR(out[(int64_t)index[k]], want[k], 4e-6);
            free(want);
        }
    }
    free(index);
    free(out);
}

/* the numbers depend on the GPU from the second pass of its grid on */
static void check_profiles(void)
{
    int64_t n = 2096640;
    float *a = malloc((size_t)n * sizeof(*a)), *b = malloc((size_t)n * sizeof(*b));
    TDRng rng;

    td_rng_init(&rng, TD_NOISE_H100, 0, 0);
    td_rng_normal(&rng, a, n);
    td_rng_init(&rng, TD_NOISE_RTX5090, 0, 0);
    td_rng_normal(&rng, b, n);
    CHECK_NEAR(a[0], b[0], 0);
    CHECK_NEAR(b[2096639], 0.924151, 4e-6);
    td_rng_normal(&rng, b, n);
    CHECK_NEAR(b[0], 0.351582, 4e-6);
    free(a);
    free(b);
}

int main(void)
{
    TDLog log = golden_logger();
    TDCheckpoint *g;

    test_begin("torch CPU generator");
    g = golden_open("rng", &log);
    check_cpu(g);
    test_begin("torch CUDA generator, H100");
    check_h100(g);
    test_begin("noise profiles");
    check_profiles();
    td_checkpoint_close(&g);
    return test_end();
}
