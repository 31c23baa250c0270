/* SPDX-License-Identifier: BSD-2-Clause
 * Causal convolution over channels-last frames: a matrix product whose rows are output pixels, k = (tap, input
 * channel). Frames before the first of x come from the cache, the kt - stride_t frames that preceded it.
 *
 * A task is a box of output pixels. What they need of the input becomes one f32 box with its padding, where each row of
 * the convolution's kernel is contiguous: for a pixel, k is kt * kh runs of kw * c_in floats. */
#include "cpu/cpu.h"

#define PIXELS 288                               /* of a task, */
#define COLUMNS 256                              /* its channels, */
#define KC 288                                   /* and its steps of k at a time, at most */
#define RUNS 9                                   /* kt * kh, at most */
#define B_FLOATS (TD_NR * KC)
#define C_FLOATS (PIXELS * COLUMNS)
#define IN_FLOATS (TD_CPU_SCRATCH - B_FLOATS - C_FLOATS)
_Static_assert(PIXELS % TD_MR == 0 && 27 * TD_MAX_CHANNELS <= IN_FLOATS, "a task of one pixel fits in the scratch");

typedef struct Box { int64_t t, y, x; } Box;

typedef struct ConvJob {
    TDCpu *cpu;
    const TDConv *conv;
    const TDTensor *x, *cache, *residual;
    TDTensor *y;
    Box out, task, n_tasks;                      /* out: of the convolution, before interleaving frames */
    int64_t columns;                             /* of a task */
} ConvJob;

static int64_t volume(Box b)
{
    return b.t * b.y * b.x;
}

/* of the input, for a box of output pixels */
static Box needs(const TDConv *cv, Box b)
{
    return (Box){ (b.t - 1) * cv->stride_t + cv->kt, (b.y - 1) * cv->stride_s + cv->kh,
                  (b.x - 1) * cv->stride_s + cv->kw };
}

/* one row of the input, from x on; y and x count doubled pixels */
static void widen_row(const ConvJob *job, float *dst, int64_t t, int64_t y, int64_t x, int64_t n)
{
    const TDConv *cv = job->conv;
    int64_t h = job->x->shape[1], w = job->x->shape[2], c = cv->c_in, n_cache = cv->kt - cv->stride_t;
    int64_t first = x < 0 ? -x : 0, end = (w << cv->upsample) - x < n ? (w << cv->upsample) - x : n;
    const uint16_t *row = t < 0 ? (const uint16_t *)job->cache->data + (t + n_cache) * h * w * c
                                : (const uint16_t *)job->x->data + t * h * w * c;

    if (y < 0 || y >= h << cv->upsample || end < first)
        first = end = n;
    row += (y >> cv->upsample) * w * c;
    memset(dst, 0, (size_t)(first * c) * sizeof(*dst));
    if (cv->upsample)
        for (int64_t i = first; i < end; i++)
            td_cpu_widen(dst + i * c, TD_BF16, row + ((x + i) >> 1) * c, c);
    else if (first < end)
        td_cpu_widen(dst + first * c, TD_BF16, row + (x + first) * c, (end - first) * c);
    memset(dst + end * c, 0, (size_t)((n - end) * c) * sizeof(*dst));
}

static void widen_box(const ConvJob *job, float *dst, Box at, Box in)
{
    const TDConv *cv = job->conv;
    int pads = cv->stride_s == 1 || cv->centred;
    int64_t t0 = at.t * cv->stride_t - (cv->kt - cv->stride_t), y0 = at.y * cv->stride_s - (pads ? cv->kh / 2 : 0),
            x0 = at.x * cv->stride_s - (pads ? cv->kw / 2 : 0);

    for (int64_t t = 0; t < in.t; t++)
        for (int64_t y = 0; y < in.y; y++)
            widen_row(job, dst + (t * in.y + y) * in.x * cv->c_in, t0 + t, y0 + y, x0, in.x);
}

/* n channels of y from element `at` on */
static void store_run(const ConvJob *job, int64_t at, float *c, const float *bias, int64_t n)
{
    const uint16_t *residual = job->residual ? (const uint16_t *)job->residual->data + at : NULL;

    for (int64_t j = 0; j < n; j++)
        c[j] += bias[j];
    for (int64_t j = 0; j < n && residual; j++)
        c[j] += td_bf16_to_f32(residual[j]);
    for (int64_t j = 0; j < n && job->conv->relu; j++)
        c[j] = c[j] < 0.0f ? 0.0f : c[j];        /* NaN stays */
    if (job->y->dtype == TD_F32)
        memcpy((float *)job->y->data + at, c, (size_t)n * sizeof(*c));
    else
        for (int64_t j = 0; j < n; j++)
            ((uint16_t *)job->y->data)[at + j] = td_f32_to_bf16(c[j]);
}

static void store_pixel(const ConvJob *job, Box at, int64_t n0, int64_t n, float *c)
{
    int frames = job->conv->interleave ? 2 : 1;
    int64_t channels = job->conv->c_out / frames;

    for (int64_t j = n0, run; j < n0 + n; j += run) {
        int64_t t = at.t * frames + j / channels, pixel = (t * job->out.y + at.y) * job->out.x + at.x;

        run = (j / channels + 1) * channels - j < n0 + n - j ? (j / channels + 1) * channels - j : n0 + n - j;
        store_run(job, pixel * channels + j % channels, c + j - n0, job->conv->bias + j, run);
    }
}

/* c[pixels][columns] = all taps of the channels from n0 on; row: their pixels in the f32 box */
static void product(const ConvJob *job, float *b, float *c, const float *const *row, int64_t pixels, Box in, int64_t n0,
                    int64_t n)
{
    const TDConv *cv = job->conv;
    const TDKernels *kern = job->cpu->k;
    int64_t len = cv->kw * cv->c_in, k_all = cv->kt * cv->kh * len, at[RUNS];
    TDMatrix mat = { cv->w, k_all, k_all, sizeof(uint16_t) };
    TDRows weights = { TD_BF16, td_rows_matrix, &mat };

    for (int64_t k0 = 0, kc; k0 < k_all; k0 += kc) {
        TDRuns runs = { 0, len > KC ? KC : len, at };

        if (len > KC && len - k0 % len < KC)
            runs.len = len - k0 % len;
        for (kc = 0; k0 + kc < k_all && kc + runs.len <= KC && (kc == 0 || len <= KC); kc += runs.len) {
            int64_t run = (k0 + kc) / len;

            at[runs.n++] = (run / cv->kh * in.y + run % cv->kh) * in.x * cv->c_in + (k0 + kc) % len;
        }
        for (int64_t j = 0; j < n; j += TD_NR) {
            td_cpu_pack(kern, b, TD_NR, &weights, n0 + j, (int)(n - j < TD_NR ? n - j : TD_NR), k0, kc);
            for (int64_t i = 0; i < pixels; i += TD_MR)
                kern->tile(&runs, row + i, b, c + i * job->columns + j, job->columns, k0 == 0);
        }
    }
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void conv_task(void *arg, int64_t i, int worker)
{
    const ConvJob *job = arg;
    const TDConv *cv = job->conv;
    float *b = job->cpu->scratch[worker], *c = b + B_FLOATS, *in = c + C_FLOATS;
    int64_t n0 = i / volume(job->n_tasks) * job->columns, n = least(job->columns, cv->c_out - n0), pixels;
    Box at = { i / (job->n_tasks.y * job->n_tasks.x) % job->n_tasks.t * job->task.t,
               i / job->n_tasks.x % job->n_tasks.y * job->task.y, i % job->n_tasks.x * job->task.x };
    Box out = { least(job->task.t, job->out.t - at.t), least(job->task.y, job->out.y - at.y),
                least(job->task.x, job->out.x - at.x) }, from = needs(cv, out);
    const float *row[PIXELS];

    widen_box(job, in, at, from);
    pixels = volume(out);
    for (int64_t p = 0; p < td_blocks(pixels, TD_MR) * TD_MR; p++) {
        int64_t q = least(p, pixels - 1), t = q / (out.y * out.x), y = q / out.x % out.y, x = q % out.x;

        row[p] = in + ((t * cv->stride_t * from.y + y * cv->stride_s) * from.x + x * cv->stride_s) * cv->c_in;
    }
    product(job, b, c, row, pixels, from, n0, n);
    for (int64_t p = 0; p < pixels; p++) {
        Box pixel = { at.t + p / (out.y * out.x), at.y + p / out.x % out.y, at.x + p % out.x };

        store_pixel(job, pixel, n0, n, c + p * job->columns);
    }
}

/* the largest box that fits, and smaller ones until every worker has a few */
static int64_t choose_task(ConvJob *job)
{
    int64_t panels = td_blocks(job->conv->c_out, TD_NR), n_columns = td_blocks(panels * TD_NR, COLUMNS), n;

    job->columns = td_blocks(panels, n_columns) * TD_NR;
    for (job->task = job->out;;) {
        Box *b = &job->task;
        int64_t *side = b->x >= b->y ? &b->x : &b->y;

        job->n_tasks = (Box){ td_blocks(job->out.t, b->t), td_blocks(job->out.y, b->y), td_blocks(job->out.x, b->x) };
        n = volume(job->n_tasks) * n_columns;
        if (volume(*b) <= PIXELS && volume(needs(job->conv, *b)) * job->conv->c_in <= IN_FLOATS &&
            (n >= 4 * job->cpu->n_threads || volume(*b) <= 16 * TD_MR))
            return n;
        side = *side > 1 ? side : &b->t;
        *side = (*side + 1) / 2;
    }
}

int td_cpu_causal_conv3d(TDDev *dev, TDTensor *y, const TDTensor *x, const TDTensor *cache, const TDConv *conv,
                         const TDTensor *residual)
{
    TDCpu *cpu = td_cpu(dev);
    Box out = { conv->interleave ? y->shape[0] / 2 : y->shape[0], y->shape[1], y->shape[2] };
    ConvJob job = { .cpu = cpu, .conv = conv, .x = x, .cache = cache, .residual = residual, .y = y, .out = out };
    int ret = td_parallel(cpu->pool, choose_task(&job), conv_task, &job);

    return ret < 0 || !conv->gamma ? ret : td_cpu_rms_silu(dev, y, y, conv->gamma, 1);
}

int td_cpu_keep_frames(TDDev *dev, TDTensor *cache, const TDTensor *x)
{
    int64_t n = cache->shape[0], t = x->shape[0];
    size_t frame = td_tensor_bytes(x) / (size_t)t;
    uint8_t *c = cache->data;

    (void)dev;
    if (t >= n) {
        memcpy(c, (const uint8_t *)x->data + (size_t)(t - n) * frame, (size_t)n * frame);
    } else {
        memmove(c, c + (size_t)t * frame, (size_t)(n - t) * frame);
        memcpy(c + (size_t)(n - t) * frame, x->data, (size_t)t * frame);
    }
    return 0;
}
