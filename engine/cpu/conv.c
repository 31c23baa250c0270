/* SPDX-License-Identifier: BSD-2-Clause
 * Causal convolution over channels-last frames: a matrix product whose rows are output pixels, k = (tap, input
 * channel). Frames before the first of x come from the cache, the kt - stride_t frames that preceded it.
 *
 * A task is a box of output pixels. What they need of the input becomes one f32 box with its padding, where each row of
 * the convolution's kernel is contiguous: for a pixel, k is kt * kh runs of kw * c_in floats. */
#include "cpu/cpu.h"

#define PIXELS 288                               /* of a task, */
#define COLUMNS 256                              /* its channels, */
#define KC 432                                   /* and its steps of k at a time, at most */
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
    int64_t n_zero;                              /* how many frames of the cache, from its first on, are zeros */
} ConvJob;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

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
    int64_t first = x < 0 ? -x : 0, end = least((w << cv->upsample) - x, n), run;
    const uint16_t *frames = t < 0 ? (const uint16_t *)job->cache->data + n_cache * h * w * c : job->x->data;

    if (y < 0 || y >= h << cv->upsample)
        first = end = n;
    memset(dst, 0, (size_t)(first * c) * sizeof(*dst));
    for (int64_t i = first; i < end; i += run) {
        run = cv->upsample ? 1 : end - i;
        td_cpu_widen(dst + i * c, frames + ((t * h + (y >> cv->upsample)) * w + ((x + i) >> cv->upsample)) * c,
                     run * c);
    }
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
static void store_pixel(const ConvJob *job, int64_t at, float *restrict c, const float *bias, int64_t n)
{
    const uint16_t *residual = job->residual ? (const uint16_t *)job->residual->data + at : NULL;
    int relu = job->conv->relu;

    for (int64_t j = 0; j < n; j++) {
        float v = c[j] + bias[j];

        if (residual)
            v += td_bf16_to_f32(residual[j]);
        c[j] = relu && v < 0.0f ? 0.0f : v;      /* NaN stays */
    }
    if (job->y->dtype == TD_F32)
        memcpy((float *)job->y->data + at, c, (size_t)n * sizeof(*c));
    else
        for (int64_t j = 0; j < n; j++)
            ((uint16_t *)job->y->data)[at + j] = td_f32_to_bf16(c[j]);
}

/* a row of n_x pixels, their n channels from n0 on; c: [n_x][columns] */
static void store_row(const ConvJob *job, Box at, int64_t n_x, int64_t n0, int64_t n, float *c)
{
    int frames = job->conv->interleave ? 2 : 1;
    int64_t channels = job->conv->c_out / frames;

    for (int64_t j = n0, run; j < n0 + n; j += run) {
        int64_t t = at.t * frames + j / channels, pixel = (t * job->out.y + at.y) * job->out.x + at.x;

        run = least((j / channels + 1) * channels, n0 + n) - j;
        for (int64_t x = 0; x < n_x; x++)
            store_pixel(job, (pixel + x) * channels + j % channels, c + x * job->columns + j - n0,
                        job->conv->bias + j, run);
    }
}

/* The steps of k from k0 on that are taken at once: some rows of the kernel, or a part of one.
 * @return how many; at: where they are in the box `in` */
static int64_t choose_runs(const TDConv *cv, Box in, int64_t k0, TDRuns *runs, int64_t at[RUNS])
{
    int64_t len = cv->kw * cv->c_in, k = k0;

    *runs = (TDRuns){ 0, least(len - k0 % len, KC), at };
    do {
        int64_t row = k / len;

        at[runs->n++] = (row / cv->kh * in.y + row % cv->kh) * in.x * cv->c_in + k % len;
        k += runs->len;
    } while (len <= KC && k - k0 + len <= KC && k < cv->kt * cv->kh * len);
    return k - k0;
}

/* c[pixels][columns] = taps of the channels from n0 on, in time from `first` on; row: the pixels in the f32 box */
static void product(const ConvJob *job, float *b, float *c, const float *const *row, int64_t pixels, Box in,
                    int64_t first, int64_t n0, int64_t n)
{
    const TDConv *cv = job->conv;
    const TDKernels *kern = job->cpu->k;
    int64_t tap_k = cv->kh * cv->kw * cv->c_in, k_all = cv->kt * tap_k, begin = first * tap_k, at[RUNS];
    TDRuns runs;
    TDMatrix mat = { cv->w, k_all, k_all, sizeof(uint16_t) };
    TDRows weights = { TD_BF16, td_rows_matrix, &mat };

    for (int64_t k0 = begin, kc; k0 < k_all; k0 += kc) {
        kc = choose_runs(cv, in, k0, &runs, at);
        for (int64_t j = 0; j < n; j += TD_NR) {
            td_cpu_pack(kern, b, TD_NR, &weights, n0 + j, (int)least(n - j, TD_NR), k0, kc);
            for (int64_t i = 0; i < pixels; i += TD_MR)
                kern->tile(&runs, row + i, b, c + i * job->columns + j, job->columns, k0 == begin);
        }
    }
}

static void conv_task(void *arg, int64_t i, int worker)
{
    const ConvJob *job = arg;
    const TDConv *cv = job->conv;
    float *b = job->cpu->scratch[worker], *c = b + B_FLOATS, *in = c + C_FLOATS;
    int64_t n0 = i / volume(job->n_tasks) * job->columns, n = least(job->columns, cv->c_out - n0), pixels = 0, first;
    Box at = { i / (job->n_tasks.y * job->n_tasks.x) % job->n_tasks.t * job->task.t,
               i / job->n_tasks.x % job->n_tasks.y * job->task.y, i % job->n_tasks.x * job->task.x };
    Box out = { least(job->task.t, job->out.t - at.t), least(job->task.y, job->out.y - at.y),
                least(job->task.x, job->out.x - at.x) }, from = needs(cv, out);
    const float *row[PIXELS];

    widen_box(job, in, at, from);
    for (int64_t t = 0; t < out.t; t++)
        for (int64_t y = 0; y < out.y; y++)
            for (int64_t x = 0; x < out.x; x++)
                row[pixels++] =
                    in + ((t * cv->stride_t * from.y + y * cv->stride_s) * from.x + x * cv->stride_s) * cv->c_in;
    for (int64_t p = pixels; p % TD_MR; p++)
        row[p] = row[pixels - 1];
    /* sums begin at zero, so zeros before the first frame leave them */
    first = job->n_zero - (at.t + out.t - 1) * cv->stride_t;
    product(job, b, c, row, pixels, from, first > 0 ? first : 0, n0, n);
    for (int64_t r = 0; r < out.t * out.y; r++)
        store_row(job, (Box){ at.t + r / out.y, at.y + r % out.y, at.x }, out.x, n0, n, c + r * out.x * job->columns);
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

static int64_t zero_frames(const TDTensor *cache)
{
    size_t frame = td_tensor_bytes(cache) / (size_t)cache->shape[0];
    int64_t n = 0;

    for (const uint8_t *p = cache->data; n < cache->shape[0] && !p[0] && !memcmp(p, p + 1, frame - 1); p += frame)
        n++;
    return n;
}

int td_cpu_causal_conv3d(TDDev *dev, TDTensor *y, const TDTensor *x, const TDTensor *cache, const TDConv *conv,
                         const TDTensor *residual)
{
    TDCpu *cpu = td_cpu(dev);
    Box out = { conv->interleave ? y->shape[0] / 2 : y->shape[0], y->shape[1], y->shape[2] };
    ConvJob job = { .cpu = cpu, .conv = conv, .x = x, .cache = cache, .residual = residual, .y = y, .out = out,
                    .n_zero = cache ? zero_frames(cache) : 0 };
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
