/* SPDX-License-Identifier: BSD-2-Clause
 * Schedules and updates against the official loops and diffusers' schedulers, with a closed-form network:
 * v = bf16(x)/2 + bf16(t)/1024, or without rounding. */
#include "seam/backend.h"
#include "golden.h"
#include "clip/sampler.h"
#include "base/thread.h"

#define N (16 * 2 * 2 * 2)

static void network(float *v, const double *x, double t)
{
    float seen = td_bf16_round((float)((double)(float)t * 1000.0));

    for (int i = 0; i < N; i++)
        v[i] = td_bf16_round((float)x[i]) * 0.5f + seen / 1024.0f;
}

static void smooth_network(float *v, const double *x, double t)
{
    for (int i = 0; i < N; i++)
        v[i] = (float)x[i] * 0.5f + (float)((double)(float)t * 1000.0) / 1024.0f;
}

static void check_times(void)
{
    static const double want[] = { 0.9876543209876543, 0.9337810614168580, 0.8528953948237750, 0.6089790492304310, 0 };
    double t[TD_RCM_MAX_STEPS + 1];

    td_rcm_schedule(t, 4, 80);
    for (int i = 0; i < 5; i++)
        CHECK_NEAR(t[i], want[i], 1e-15);
    td_rcm_schedule(t, 1, 200);
    CHECK_NEAR(t[0], 0.9950248756218906, 1e-15);
    CHECK_NEAR(t[1], 0, 0);
}

static void check_times_by_hand(TDLog *log)
{
    static const struct { const char *text, *words; } bad[] = {
        { "", "timesteps: '': time 1 is no number above 0, up to 1; want 1 to 1000 that fall, joined with |" },
        { "1,0.5", "time 1 is no number" }, { "1|", "time 2 is no number" }, { "1||0.5", "time 2 is no number" },
        { "|1", "time 1 is no number" }, { " 1", "time 1 is no number" }, { "1|.5", "time 2 is no number" },
        { "1.", "time 1 is no number" }, { "1.1", "time 1 is no number" }, { "1|0.5|0", "time 3 is no number" },
        { "1|0.000000000000000", "time 2 is no number" }, { "-0.5", "time 1 is no number" },
        { "1|5e-1", "time 2 is written with an exponent" }, { "1|1e-30", "time 2 is written with an exponent" },
        { "nan", "time 1 is no number" }, { "1000|750", "time 1 is no number" },
        { "1|0.5|0.6", "time 3 is not below the one before it" }, { "1|1", "time 2 is not below the one before it" },
    };
    static char many[TD_MAX_STEPS * 7 + 16];
    double t[TD_MAX_STEPS + 1];
    size_t n = 0;

    CHECK_INT(td_rcm_times(t, "1|0.9375|0.833333333333333333333|0.625", log), 4);
    CHECK(t[0] == 1.0 && t[1] == 0.9375 && t[2] == 0.833333333333333 && t[3] == 0.625 && t[4] == 0.0);
    CHECK_INT(td_rcm_times(t, "1.000|0.1", log), 2);
    CHECK(t[0] == 1.0 && t[1] == 0.1 && t[2] == 0.0);
    for (int i = TD_MAX_STEPS; i > 0; i--)
        n += (size_t)snprintf(many + n, sizeof(many) - n, "%s0.%04d", n ? "|" : "", i);
    CHECK_INT(td_rcm_times(t, many, log), TD_MAX_STEPS);
    CHECK(t[0] == 0.1 && t[1] == 0.0999 && t[TD_MAX_STEPS - 1] == 0.0001 && t[TD_MAX_STEPS] == 0.0);
    strcpy(many + n, "|0.00001");
    CHECK_INT(td_rcm_times(t, many, log), TD_ERR(EINVAL));
    CHECK(strstr(log->last_error, "time 1001 is too many") != NULL);
    CHECK_INT(td_rcm_times(t, "0.757", log), 1);
    CHECK(t[0] == 0.757 && t[1] == 0.0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        CHECK_INT(td_rcm_times(t, bad[i].text, log), TD_ERR(EINVAL));
        if (!CHECK(strstr(log->last_error, bad[i].words) != NULL))
            printf("  '%s': %s\n", bad[i].text, log->last_error);
    }
}

static void check_rcm(TDDev *dev, const TDCheckpoint *g, const char *key, const double *t, int steps, int ode)
{
    float *want = golden_f32(g, key, NULL), *noise = golden_f32(g, "noise.0", NULL), v[N];
    double x[N], worst = 0;
    TDTensor xt = { x, { N, 1, 1, 1, 1 }, 1, TD_F64 }, vt = { v, { N, 1, 1, 1, 1 }, 1, TD_F32 };

    for (int i = 0; i < N; i++)
        x[i] = (double)noise[i] * t[0];
    for (int s = 0; s < steps; s++) {
        char name[32];
        TDTensor nt = { NULL, { N, 1, 1, 1, 1 }, 1, TD_F32 };

        snprintf(name, sizeof(name), "noise.%d", s + 1);
        nt.data = ode ? NULL : golden_f32(g, name, NULL);
        (steps > 4 ? smooth_network : network)(v, x, t[s]);
        CHECK(dev->ops->rcm_step(dev, &xt, &vt, ode ? NULL : &nt, t[s], t[s + 1]) == 0);
        free(nt.data);
    }
    for (int i = 0; i < N; i++)
        worst = fmax(worst, fabs((float)x[i] - want[i]));
    if (getenv("TD_VERBOSE"))
        printf("  %s: worst %.2e\n", key, worst);
    CHECK_NEAR(worst, 0, 1e-6);
    free(want);
    free(noise);
}

static void check_official(TDDev *dev, const TDCheckpoint *g, const char *name, int steps, double sigma_max, int ode)
{
    double t[TD_RCM_MAX_STEPS + 1];
    char key[32];

    snprintf(key, sizeof(key), "%s.%d", name, steps);
    td_rcm_schedule(t, steps, sigma_max);
    check_rcm(dev, g, key, t, steps, ode);
}

/* FlowMatchEulerDiscreteScheduler of diffusers, with times in a text: its sigmas, what the network sees of them, where
 * its steps end, and those that add noise */
static void check_diffusers(TDDev *dev, const TDCheckpoint *g, const char *name, const char *text, int renoise,
                            TDLog *log)
{
    double t[TD_MAX_STEPS + 1] = { 0 };
    char key[32];
    int64_t n = 0, n_sigmas = 0;
    int steps = td_rcm_times(t, text, log);
    float *thousands, *sigma;

    snprintf(key, sizeof(key), "%s.t", name);
    thousands = golden_f32(g, key, &n);
    snprintf(key, sizeof(key), "%s.sigma", name);
    sigma = golden_f32(g, key, &n_sigmas);
    if (CHECK_INT(n, steps) && CHECK_INT(n_sigmas, steps + 1))
        for (int i = 0; i <= steps; i++) {
            CHECK_NEAR(t[i], sigma[i], 1e-6);
            if (i < steps)
                CHECK_NEAR(td_bf16_round((float)((double)(float)t[i] * 1000.0)), td_bf16_round(thousands[i]), 0);
        }
    free(thousands);
    free(sigma);
    snprintf(key, sizeof(key), "%s.euler", name);
    check_rcm(dev, g, key, t, steps, 1);
    snprintf(key, sizeof(key), "%s.renoise", name);
    if (renoise)
        check_rcm(dev, g, key, t, steps, 0);
}

/* forty steps as diffusers takes them for Wan 2.2 A14B: even ones from 1 down to the shifted last of a thousand, which
 * are then on the grid of the shift */
static void check_forty(TDDev *dev, const TDCheckpoint *g, const char *name, double shift, TDLog *log)
{
    double least = shift * 0.001 / (1 + (shift - 1) * 0.001);
    char text[40 * 20];
    size_t n = 0;

    for (int i = 0; i < 40; i++) {
        double u = 1 + (least - 1) * i / 39;

        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%.15f", n ? "|" : "", shift * u / (1 + (shift - 1) * u));
    }
    check_diffusers(dev, g, name, text, 0, log);
}

/* of any length: x + (t' - t) v, or x0 = x - t v with new noise, (1 - t') x0 + t' noise, by hand */
static void check_long(TDDev *dev, const char *text, int want, int ode, TDLog *log)
{
    double t[TD_MAX_STEPS + 1], x[N], y[N], worst = 0;
    float v[N], noise[N];
    TDTensor xt = { x, { N, 1, 1, 1, 1 }, 1, TD_F64 }, vt = { v, { N, 1, 1, 1, 1 }, 1, TD_F32 }, nt = vt;
    int steps = td_rcm_times(t, text, log);

    CHECK_INT(steps, want);
    nt.data = noise;
    for (int i = 0; i < N; i++)
        x[i] = y[i] = sin(i) * t[0];
    for (int s = 0; s < steps; s++) {
        network(v, x, t[s]);
        for (int i = 0; i < N; i++) {
            noise[i] = (float)cos(i + 7 * s);
            y[i] = ode ? y[i] + (t[s + 1] - t[s]) * v[i] : (1 - t[s + 1]) * (y[i] - t[s] * v[i]) + t[s + 1] * noise[i];
        }
        CHECK(dev->ops->rcm_step(dev, &xt, &vt, ode ? NULL : &nt, t[s], t[s + 1]) == 0);
    }
    for (int i = 0; i < N; i++)
        worst = fmax(worst, fabs(x[i] - y[i]));
    CHECK_NEAR(worst, 0, 1e-6);
}

static void check_unipc(const TDCheckpoint *g, int steps, double shift)
{
    char key[64];
    float *want, *sigma, *time, *noise = golden_f32(g, "noise.0", NULL), v[N];
    double x[N], worst = 0;
    void *mem = malloc(td_unipc_bytes(steps, N));
    TDUniPC u;

    snprintf(key, sizeof(key), "unipc.%d.%g", steps, shift);
    want = golden_f32(g, key, NULL);
    snprintf(key, sizeof(key), "unipc.%d.%g.sigma", steps, shift);
    sigma = golden_f32(g, key, NULL);
    snprintf(key, sizeof(key), "unipc.%d.%g.t", steps, shift);
    time = golden_f32(g, key, NULL);
    td_unipc_init(&u, mem, steps, N, shift);
    for (int i = 0; i < N; i++)
        x[i] = noise[i];
    for (int s = 0; s < steps; s++) {
        CHECK_NEAR(u.sigma[s], sigma[s], 1e-7);
        CHECK_NEAR(td_bf16_round((float)((double)(float)td_unipc_time(&u) * 1000.0)), td_bf16_round(time[s]), 0);
        network(v, x, td_unipc_time(&u));
        td_unipc_step(&u, x, v);
    }
    for (int i = 0; i < N; i++)
        worst = fmax(worst, fabs((float)x[i] - want[i]));
    if (getenv("TD_VERBOSE"))
        printf("  unipc %d steps, shift %g: worst %.2e\n", steps, shift, worst);
    CHECK_NEAR(worst, 0, 1e-6);
    free(mem);
    free(want);
    free(sigma);
    free(time);
    free(noise);
}

/* with an exact x0 oracle every scheme ends on x0 */
static void check_oracle(void)
{
    float v[1];
    double x[1] = { 1.7 }, mem[64];
    TDUniPC u;

    td_unipc_init(&u, mem, 5, 1, 5.0);
    for (int s = 0; s < 5; s++) {
        v[0] = (float)((x[0] - 0.25) / td_unipc_time(&u));
        td_unipc_step(&u, x, v);
    }
    CHECK_NEAR(x[0], 0.25, 1e-6);
}

static void check_guide(void)
{
    float c[2] = { 1.0f, -2.0f }, u[2] = { 0.5f, 1.0f };

    td_guide(c, u, 2, 5.0);
    CHECK_NEAR(c[0], 3.0, 0);
    CHECK_NEAR(c[1], -14.0, 0);
}

int main(void)
{
    static const struct {
        int steps;
        double shift;
    } unipc[] = { { 1, 5 }, { 2, 5 }, { 3, 8 }, { 5, 5 }, { 20, 3 }, { 50, 5 } };
    TDLog log = golden_logger();
    TDCancel cancel = { 0 };
    TDCheckpoint *g;
    TDDev *dev = NULL;

    test_begin("rCM times");
    check_times();
    test_begin("times given by hand");
    check_times_by_hand(&log);
    g = golden_open("sampler", &log);
    CHECK(td_cpu_open(&dev, 1, NULL, &cancel, &log) == 0);
    test_begin("rCM steps, SDE and ODE");
    for (int steps = 1; steps <= 4 && g && dev; steps++) {
        check_official(dev, g, "rcm.sde", steps, 80, 0);
        check_official(dev, g, "rcm.sde_i2v", steps, 200, 0);
        check_official(dev, g, "rcm.ode_i2v", steps, 200, 1);
    }
    test_begin("UniPC");
    for (int i = 0; i < 6 && g; i++)
        check_unipc(g, unipc[i].steps, unipc[i].shift);
    check_oracle();
    test_begin("guidance");
    check_guide();
    td_checkpoint_close(&g);
    test_begin("diffusers' Euler steps, plain and with noise, at times given by hand");
    g = golden_open("diffusers", &log);
    if (g && dev) {
        check_diffusers(dev, g, "lightx2v", "1|0.9375|0.833333333333333|0.625", 1, &log);
        check_diffusers(dev, g, "lightx2v8", "1|0.972222222222222|0.9375|0.892857142857143|0.833333333333333|0.75|"
                        "0.625|0.416666666666667", 1, &log);
        check_diffusers(dev, g, "lightx2v12", "1|0.982219365895458|0.961449676823638|0.9375|0.909214830970556|"
                        "0.87484993997599|0.833333333333333|0.781484257871064|0.713979416809606|0.625|"
                        "0.500599520383693|0.311561561561562", 1, &log);
        check_diffusers(dev, g, "fastwan", "1|0.757|0.522", 1, &log);
        check_diffusers(dev, g, "two", "0.9|0.5", 1, &log);
        check_forty(dev, g, "a14b_t2v", 12, &log);
        check_forty(dev, g, "a14b_i2v", 5, &log);
    }
    test_begin("eight steps, and twelve");
    for (int ode = 0; ode < 2 && dev; ode++) {
        check_long(dev, "1|0.988235|0.965517|0.935484|0.866142|0.81982|0.75|0.631579", 8, ode, &log);
        check_long(dev, "1|0.98|0.96|0.9|0.8|0.7|0.6|0.5|0.4|0.3|0.2|0.1", 12, ode, &log);
    }
    test_begin("diffusers' UniPC");
    if (g) {
        check_unipc(g, 4, 3);
        check_unipc(g, 20, 5);
        check_unipc(g, 40, 12);
        check_unipc(g, 40, 5);
    }
    td_checkpoint_close(&g);
    if (dev)
        dev->ops->close(&dev);
    return test_end();
}
