/* SPDX-License-Identifier: BSD-2-Clause
 * Formulas: TurboDiffusion inference/wan2.1_t2v_infer.py and rcm/samplers/unipc.py (Zhao et al., UniPC, 2023). */
#include <math.h>
#include <string.h>
#include "clip/sampler.h"

void td_rcm_schedule(double t[TD_RCM_MAX_STEPS + 1], int steps, double sigma_max)
{
    static const double middle[TD_RCM_MAX_STEPS - 1] = { 1.5, 1.4, 1.0 };

    for (int i = 0; i <= steps; i++) {
        double tau = i == 0 ? atan(sigma_max) : i == steps ? 0.0 : middle[i - 1];

        t[i] = sin(tau) / (cos(tau) + sin(tau));
    }
}

/* @return the end of the number, or NULL if there is none from 0 to 1 */
static const char *parse_time(double *t, const char *s)
{
    double digits = *s - '0', units = 1.0;       /* both exact up to the 15th decimal */
    int n = 0;

    if (*s != '0' && *s != '1')
        return NULL;
    if (*++s == '.') {
        for (s++; *s >= '0' && *s <= '9'; s++, n++) {
            digits = n < 15 ? 10.0 * digits + *s - '0' : digits;
            units = n < 15 ? 10.0 * units : units;
        }
        if (!n)
            return NULL;
    }
    *t = digits / units;
    return digits <= units ? s : NULL;
}

/* as 5e-1, which other programs write */
static int has_exponent(const char *s)
{
    size_t n = strspn(s, "0123456789.");

    return n && (s[n] == 'e' || s[n] == 'E');
}

int td_rcm_times(double t[TD_MAX_STEPS + 1], const char *text, TDLog *log)
{
    const char *s = text, *fault = NULL;
    int n = 0;

    for (;; s++) {
        double value;

        if (has_exponent(s))
            fault = "written with an exponent";
        else if (!(s = parse_time(&value, s)) || (*s && *s != '|') || value == 0.0)
            fault = "no number above 0, up to 1";
        else if (n == TD_MAX_STEPS)
            fault = "too many";
        else if (n > 0 && value >= t[n - 1])
            fault = "not below the one before it";
        else
            t[n++] = value;
        if (fault || !*s)
            break;
    }
    if (fault)
        return td_error(log, EINVAL, "timesteps: '%.80s': time %d is %s; want 1 to %d that fall, joined with |, such "
                        "as 1|0.9375|0.8333|0.625", text, n + 1, fault, TD_MAX_STEPS);
    t[n] = 0.0;
    return n;
}

size_t td_unipc_bytes(int steps, size_t n)
{
    return 4 * n * sizeof(double) + ((size_t)steps + 1) * sizeof(float);
}

void td_unipc_init(TDUniPC *u, void *mem, int steps, size_t n, double shift)
{
    double top = 5000.0 / 5001.0, start = top / (shift - (shift - 1.0) * top), *d = mem;

    *u = (TDUniPC){ .steps = steps, .n = n, .m = { d, d + n, d + 2 * n }, .last = d + 3 * n };
    u->sigma = (float *)(d + 4 * n);
    for (int i = 0; i <= steps; i++) {           /* linspace(start, 0), shifted; the last one is 0 */
        double s = start * (1.0 - (double)i / steps);

        u->sigma[i] = i == steps ? 0.0f : (float)(shift * s / (1.0 + (shift - 1.0) * s));
    }
}

double td_unipc_time(const TDUniPC *u)
{
    return u->sigma[u->i];
}

static float lambda(float sigma)
{
    return logf(1.0f - sigma) - logf(sigma);
}

/* coefficients of a step from sigma a to sigma b */
typedef struct Coef { float ratio, alpha_e, h, b1, b2; } Coef;

static Coef coefficients(float a, float b)
{
    Coef c;
    float h = lambda(b) - lambda(a), e = expm1f(-h), g1 = e / -h - 1.0f, g2 = g1 / -h - 0.5f;

    c.h = h;
    c.ratio = b / a;
    c.alpha_e = (1.0f - b) * e;                  /* also alpha*B: in bh2, B(h) = expm1(-h) */
    c.b1 = g1 / e;
    c.b2 = 2.0f * g2 / e;
    return c;
}

/* x0 prediction of this step becomes m[2], the older ones move down */
static void predict_x0(TDUniPC *u, const double *x, const float *v)
{
    double *oldest = u->m[0];

    u->m[0] = u->m[1];
    u->m[1] = u->m[2];
    u->m[2] = oldest;
    for (size_t k = 0; k < u->n; k++)
        u->m[2][k] = x[k] - (double)(u->sigma[u->i] * v[k]);
}

/* replace the predicted x by its correction, of the order that predicted it */
static void correct(TDUniPC *u, double *x, int order)
{
    float a = u->sigma[u->i - 1];
    Coef c = coefficients(a, u->sigma[u->i]);
    double rho1 = 0.0, rho2 = 0.5, r = 1.0;

    if (order == 2) {
        float rf = (lambda(u->sigma[u->i - 2]) - lambda(a)) / c.h, rho = (c.b1 - c.b2) / (1.0f - rf);

        r = rf;
        rho1 = rho;
        rho2 = c.b1 - rho;
    }
    for (size_t k = 0; k < u->n; k++) {
        double base = (double)c.ratio * u->last[k] - (double)c.alpha_e * u->m[1][k];
        double d = order == 2 ? rho1 * ((u->m[0][k] - u->m[1][k]) / r) : 0.0;

        x[k] = base - (double)c.alpha_e * (d + rho2 * (u->m[2][k] - u->m[1][k]));
    }
}

static void predict(TDUniPC *u, double *x, int order)
{
    float a = u->sigma[u->i], b = u->sigma[u->i + 1];
    Coef c;
    double r = 1.0;

    if (b == 0.0f) {                             /* lambda is infinite: the step ends on the x0 prediction */
        for (size_t k = 0; k < u->n; k++)
            x[k] = u->m[2][k];
        return;
    }
    c = coefficients(a, b);
    if (order == 2)
        r = (lambda(u->sigma[u->i - 1]) - lambda(a)) / c.h;
    for (size_t k = 0; k < u->n; k++) {
        double d = order == 2 ? 0.5 * ((u->m[1][k] - u->m[2][k]) / r) : 0.0;

        x[k] = (double)c.ratio * x[k] - (double)c.alpha_e * u->m[2][k] - (double)c.alpha_e * d;
    }
}

static int order_at(const TDUniPC *u, int i)
{
    int order = i + 1 < 2 ? i + 1 : 2;

    return order < u->steps - i ? order : u->steps - i;
}

void td_unipc_step(TDUniPC *u, double *x, const float *v)
{
    predict_x0(u, x, v);
    if (u->i > 0)
        correct(u, x, order_at(u, u->i - 1));
    for (size_t k = 0; k < u->n; k++)
        u->last[k] = x[k];
    predict(u, x, order_at(u, u->i));
    u->i++;
}

void td_guide(float *cond, const float *uncond, size_t n, double guidance)
{
    float g = (float)guidance;

    for (size_t k = 0; k < n; k++) {
        float d = cond[k] - uncond[k], p = g * d;

        cond[k] = uncond[k] + p;
    }
}
