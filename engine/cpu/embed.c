/* SPDX-License-Identifier: BSD-2-Clause
 * The ends of the transformer and the sampler's update: patches in, timestep in, velocity out. */
#include <math.h>
#include "base/wan.h"
#include "cpu/flash.h"

/* ---- patch embedding: features of a token are (channel, kh, kw), its patch 1x2x2 ---- */

#define PATCH_ROWS 126
#define PATCH_K (4 * (TD_LATENT_CHANNELS + TD_COND_CHANNELS))
_Static_assert((PATCH_ROWS + TD_NR) * PATCH_K + PATCH_ROWS * TD_NR + 8 <= TD_CPU_SCRATCH, "a task of patch_task()");

typedef struct PatchJob { TDCpu *cpu; const TDTensor *z, *cond; const TDLinear *lin; uint16_t *x; } PatchJob;

static void patch_task(void *arg, int64_t task, int worker)
{
    PatchJob *job = arg;
    const TDLinear *lin = job->lin;
    int64_t h = job->z->shape[2], w = job->z->shape[3], area = h * w, plane = job->z->shape[1] * area, k = lin->k;
    int64_t n_tokens = plane / 4, t0 = task * PATCH_ROWS,
            rows = n_tokens - t0 < PATCH_ROWS ? n_tokens - t0 : PATCH_ROWS;
    float *a = job->cpu->scratch[worker], *b = a + PATCH_ROWS * k, *c = b + TD_NR * k;
    TDMatrix wm = { lin->w[0], k, k, 2 };
    TDRows wr = { TD_BF16, td_rows_matrix, &wm };

    for (int64_t r = 0; r < rows; r++) {
        int64_t tok = t0 + r, tt = tok / (area / 4), y = tok / (w / 2) % (h / 2) * 2, x = tok % (w / 2) * 2;

        for (int64_t f = 0; f < k; f++) {
            int64_t ch = f / 4, at = tt * area + (y + f / 2 % 2) * w + x + f % 2;
            float v = ch < TD_LATENT_CHANNELS
                          ? td_bf16_round((float)((const double *)job->z->data)[ch * plane + at])
                          : td_bf16_to_f32(((const uint16_t *)job->cond->data)[(ch - TD_LATENT_CHANNELS) * plane + at]);

            a[r * k + f] = v;
        }
    }
    for (int64_t n0 = 0; n0 < lin->n; n0 += TD_NR) {
        int64_t n = lin->n - n0 < TD_NR ? lin->n - n0 : TD_NR;

        td_cpu_pack(job->cpu->k, b, TD_NR, &wr, n0, (int)n, 0, k);
        td_cpu_product(job->cpu->k, rows, 1, k, a, k, b, c, TD_NR, 1);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t j = 0; j < n; j++)
                job->x[(t0 + r) * lin->n + n0 + j] = td_f32_to_bf16(c[r * TD_NR + j] + lin->bias[n0 + j]);
    }
}

int td_cpu_patch_embed(TDDev *dev, TDTensor *x, const TDTensor *z, const TDTensor *cond, const TDLinear *lin)
{
    PatchJob job = { td_cpu(dev), z, cond, lin, x->data };

    return td_parallel(job.cpu->pool, td_blocks(x->shape[0], PATCH_ROWS), patch_task, &job);
}

/* ---- time ---- */

static void silu(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = x[i] / (1.0f + expf(-x[i]));
}

int td_cpu_time_embed(TDDev *dev, TDTensor *e6, TDTensor *e, double t, const TDTimeEmbed *w)
{
    TDCpu *cpu = td_cpu(dev);
    int64_t half = w->in.k / 2;
    float freq[1024];
    int ret;

    for (int64_t i = 0; i < half; i++) {         /* cosines first */
        double angle = t * pow(10000.0, -(double)i / (double)half);

        freq[i] = (float)cos(angle);
        freq[half + i] = (float)sin(angle);
    }
    TRY(td_cpu_linear_f32(cpu, w->hidden, freq, 1, &w->in));
    silu(w->hidden, w->in.n);
    TRY(td_cpu_linear_f32(cpu, e->data, w->hidden, 1, &w->out));
    memcpy(w->hidden, e->data, (size_t)w->out.n * sizeof(float));
    silu(w->hidden, w->out.n);
    TRY(td_cpu_linear_f32(cpu, e6->data, w->hidden, 1, &w->proj));
fail:
    return ret;
}

int td_cpu_add_modulation(TDDev *dev, TDTensor *m, const TDTensor *table, const TDTensor *e)
{
    int64_t n = td_tensor_count(table), period = td_tensor_count(e);

    (void)dev;
    for (int64_t i = 0; i < n; i++)
        ((float *)m->data)[i] = ((const float *)table->data)[i] + ((const float *)e->data)[i % period];
    return 0;
}

/* ---- head and unpatchify: features of a token are (kh, kw, channel) ---- */

#define HEAD_ROWS 24
_Static_assert((HEAD_ROWS + TD_NR) * TD_MAX_DIM + HEAD_ROWS * TD_NR + 8 <= TD_CPU_SCRATCH, "a task of head_task()");

typedef struct HeadJob {
    TDCpu *cpu;
    const TDTensor *x;
    const TDNormW *norm;
    const float *m;
    const TDLinear *lin;
    TDTensor *v;
} HeadJob;

static void head_task(void *arg, int64_t task, int worker)
{
    HeadJob *job = arg;
    const TDLinear *lin = job->lin;
    int64_t dim = lin->k, r0 = task * HEAD_ROWS,
            rows = job->x->shape[0] - r0 < HEAD_ROWS ? job->x->shape[0] - r0 : HEAD_ROWS;
    int64_t h = job->v->shape[2], w = job->v->shape[3], plane = job->v->shape[1] * h * w;
    float *a = job->cpu->scratch[worker], *b = a + HEAD_ROWS * dim, *c = b + TD_NR * dim, *v = job->v->data;
    TDMatrix wm = { lin->w[0], dim, dim, td_dtype_size(lin->dtype) };
    TDRows wr = { lin->dtype, td_rows_matrix, &wm };

    for (int64_t r = 0; r < rows; r++) {
        const uint16_t *x = (const uint16_t *)job->x->data + (r0 + r) * dim;
        float mean, rstd;

        td_cpu_layer_stats(x, dim, job->norm, &mean, &rstd);
        for (int64_t i = 0; i < dim; i++) {
            float n = td_bf16_round((td_bf16_to_f32(x[i]) - mean) * rstd);

            a[r * dim + i] = n * (1.0f + job->m[dim + i]) + job->m[i];
        }
    }
    for (int64_t n0 = 0; n0 < lin->n; n0 += TD_NR) {
        td_cpu_pack(job->cpu->k, b, TD_NR, &wr, n0, TD_NR, 0, dim);
        td_cpu_product(job->cpu->k, rows, 1, dim, a, dim, b, c, TD_NR, 1);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t j = 0; j < TD_NR; j++) {
                int64_t f = n0 + j, ch = f % TD_LATENT_CHANNELS, side = f / TD_LATENT_CHANNELS, tok = r0 + r;
                int64_t t = tok / (h * w / 4), y = tok / (w / 2) % (h / 2) * 2, x = tok % (w / 2) * 2;

                v[ch * plane + (t * h + y + side / 2) * w + x + side % 2] = c[r * TD_NR + j] + lin->bias[f];
            }
    }
}

int td_cpu_head(TDDev *dev, TDTensor *v, const TDTensor *x, const TDNormW *norm, const TDTensor *m, const TDLinear *lin)
{
    HeadJob job = { td_cpu(dev), x, norm, m->data, lin, v };

    return td_parallel(job.cpu->pool, td_blocks(x->shape[0], HEAD_ROWS), head_task, &job);
}

/* ---- sampler state: f64, every operation rounded on its own; the noise product is f32 ---- */

int td_cpu_normal(TDDev *dev, TDTensor *noise, TDRng *rng, float *host)
{
    (void)host;
    (void)dev;
    td_rng_normal(rng, noise->data, td_tensor_count(noise));
    return 0;
}

int td_cpu_scale_noise(TDDev *dev, TDTensor *x, const TDTensor *noise, double t)
{
    (void)dev;
    for (int64_t i = 0; i < td_tensor_count(x); i++)
        ((double *)x->data)[i] = (double)((const float *)noise->data)[i] * t;
    return 0;
}

int td_cpu_round_state(TDDev *dev, TDTensor *y, const TDTensor *x, int *finite)
{
    (void)dev;
    *finite = 1;
    for (int64_t i = 0; i < td_tensor_count(x); i++) {
        float v = (float)((const double *)x->data)[i];

        ((float *)y->data)[i] = v;
        *finite &= isfinite(v) != 0;
    }
    return 0;
}

int td_cpu_rcm_step(TDDev *dev, TDTensor *x, const TDTensor *v, const TDTensor *noise, double t, double s)
{
    int64_t n = td_tensor_count(x);
    double *xd = x->data;
    const float *vd = v->data, *nd = noise ? noise->data : NULL;

    (void)dev;
    for (int64_t i = 0; i < n; i++) {
        if (nd)
            xd[i] = (1.0 - s) * (xd[i] - t * vd[i]) + (double)((float)s * nd[i]);
        else
            xd[i] = xd[i] - (t - s) * vd[i];
    }
    return 0;
}
