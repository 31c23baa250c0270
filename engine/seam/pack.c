/* SPDX-License-Identifier: BSD-2-Clause
 * From the tensors of a file to the weights of a device, which gives memory, put() to fill it and quantise().
 *
 * Invariants
 *  1. A device that computes from the file mapping gets a pointer into it wherever type, layout and alignment are those
 *     it computes with; all else is put into its memory, a few rows at a time.
 *  2. The device copies on its own while the next rows are converted; where they lie is used again after a sync. One
 *     that makes values itself gets what it can make as the file has it (pack_pieces.c).
 *  3. Every other value on its way is in strip() once, between the file's type and the device's: what changes weights
 *     at load has its place there, and is_made() leaves such tensors to it. */
#include <math.h>
#include <stdlib.h>
#include "files/change.h"
#include "seam/pack_priv.h"

#define STRIP ((int64_t)1 << 22)                 /* values of host memory at a time */
#define TASK ((int64_t)1 << 16)                  /* values that a thread converts at a time */
#define COLS ((int64_t)128)                      /* columns whose norms a thread finds at a time */
#define MIN_TASKS 8                              /* fewer are not worth other threads */
#define F16_ROOM_LOG2 15                         /* of 65504 half: reach and norms are rounded */
#define F16_ROOM (1 << F16_ROOM_LOG2)
#define F16_MAX_SHIFT 60                         /* squares of such norms are normal floats */
#define UNCODED ((int64_t)1 << 25)               /* bf16 values on the device at a time, before they are quantised */

static int no_memory(TDDev *dev, const TDEntry *e)
{
    return td_error(dev->log, ENOMEM, "%s: %s: out of memory", e->file, e->name);
}

/* whether its bytes are those of rows of this type */
static int is_dense(const TDEntry *e, enum TDDtype want)
{
    return e->dtype == want && !e->scale && !e->columns && !e->change && td_entry_is_contiguous(e);
}

/* rows of a tensor on their way, cut into tasks */
typedef struct Strip {
    const TDEntry *e;
    int64_t row0, rows, k, step;                 /* step: rows of a task */
    enum TDDtype want;
    void *dst;
    float *f;                                    /* want bf16: as many values as a task has for each worker */
    const TDChange *norms;                       /* whose norms are found; dst: their sums, f: the rows */
} Strip;

static void convert_task(void *arg, int64_t i, int worker)
{
    const Strip *s = arg;
    int64_t first = i * s->step, n = s->rows - first < s->step ? s->rows - first : s->step, at = first * s->k;
    TDEntry part = td_entry_rows(s->e, s->row0 + first, n);
    float *f = s->want == TD_F32 ? (float *)s->dst + at : s->f + worker * s->step * s->k;

    td_entry_to_f32(&part, f);
    for (int64_t k = 0; s->want != TD_F32 && k < n * s->k; k++)
        ((uint16_t *)s->dst)[at + k] = td_f32_to_bf16(f[k]);
}

/* how many threads do n tasks. They are there from the first tensor that is worth it until td_pack_end(). */
static int workers(TDDev *dev, int64_t n)
{
    int ret = td_packer_open(dev);

    if (ret < 0 || n < MIN_TASKS || !dev->cancel)
        return ret < 0 ? ret : 1;
    if (!dev->packer->pool)
        ret = td_pool_open(&dev->packer->pool, 0, dev->cancel, dev->log);
    return ret < 0 ? ret : td_pool_threads(dev->packer->pool);
}

static int in_tasks(TDDev *dev, int64_t n, void (*task)(void *arg, int64_t i, int worker), void *arg)
{
    int ret = workers(dev, n);

    if (ret >= 0 && n >= MIN_TASKS && dev->packer->pool)
        return td_parallel(dev->packer->pool, n, task, arg);
    for (int64_t i = 0; ret >= 0 && i < n; i++)
        task(arg, i, 0);
    return ret < 0 ? ret : 0;
}

static void norms_rows_task(void *arg, int64_t i, int worker)
{
    const Strip *s = arg;
    int64_t first = i * s->step, n = s->rows - first < s->step ? s->rows - first : s->step;
    TDEntry part = td_entry_rows(s->e, s->row0 + first, n);

    (void)worker;
    part.change = NULL;
    td_entry_to_f32(&part, s->f + first * s->k);
    td_change_rows(s->e->change, s->norms, s->f + first * s->k, s->row0 + first, n, s->k);
}

static void norms_columns_task(void *arg, int64_t i, int worker)
{
    const Strip *s = arg;

    (void)worker;
    td_change_squares(s->norms, s->dst, s->f, s->row0, s->rows, s->k, i * COLS,
                      s->k - i * COLS < COLS ? s->k - i * COLS : COLS);
}

/* DoRA by columns wants the norms of all columns before the first row is changed: all rows, strip by strip */
static int find_norms(TDDev *dev, const TDEntry *e)
{
    int64_t k = td_entry_count(e) / e->shape[0], most = STRIP / k + 1;
    const TDChange *c = td_change_without_norms(e->change);
    float *f = c ? malloc((size_t)(most * k) * sizeof(*f)) : NULL;
    int ret = 0;

    for (; c && ret >= 0; c = td_change_without_norms(c)) {
        double *sums = calloc((size_t)k, sizeof(*sums));

        ret = f && sums ? 0 : no_memory(dev, e);
        for (int64_t r = 0; r < e->shape[0] && ret >= 0; r += most) {
            Strip s = { e, r, e->shape[0] - r < most ? e->shape[0] - r : most, k, TASK / k + 1, TD_F32, sums, f, c };

            ret = in_tasks(dev, td_blocks(s.rows, s.step), norms_rows_task, &s);
            ret = ret < 0 ? ret : in_tasks(dev, td_blocks(k, COLS), norms_columns_task, &s);
        }
        if (ret >= 0)
            td_change_set_norms(c, sums, k);
        free(sums);
    }
    free(f);
    return ret;
}

/* dev->packer->rows has so many floats for each worker of n tasks */
static int worker_rows(TDDev *dev, const TDEntry *e, int64_t n, int64_t each)
{
    int ret = workers(dev, n);
    size_t n_rows = ret < 0 ? 0 : (size_t)ret * (size_t)each;
    TDPacker *p = dev->packer;

    if (ret < 0)
        return ret;
    if (p->n_rows < n_rows) {
        free(p->rows);
        p->rows = malloc(n_rows * sizeof(*p->rows));
        p->n_rows = p->rows ? n_rows : 0;
    }
    return p->rows ? 0 : no_memory(dev, e);
}

/* rows of a tensor in its own type, or as bf16 or f32, to dst */
static int strip(TDDev *dev, const TDEntry *e, int64_t row0, int64_t rows, enum TDDtype want, void *dst)
{
    TDEntry part = td_entry_rows(e, row0, rows);
    int64_t k = td_entry_count(&part) / rows;
    Strip s = { e, row0, rows, k, TASK / k + 1, want, dst, NULL, NULL };
    int ret;

    if (e->dtype == want && !e->columns && !e->change) {
        td_entry_to_rows(&part, dst);
        return 0;
    }
    if (!td_dtype_has_values(e->dtype))
        return TD_ERR(ENOTSUP);
    TRY(find_norms(dev, e));
    if (want != TD_F32)
        TRY(worker_rows(dev, e, td_blocks(rows, s.step), (s.step < rows ? s.step : rows) * k));
    s.f = dev->packer->rows;
    ret = in_tasks(dev, td_blocks(rows, s.step), convert_task, &s);
fail:
    return ret;
}

/* dst: device memory */
static int put_rows(TDDev *dev, const TDWeights *w, void *dst, const TDEntry *e, int64_t row0, int64_t rows,
                    enum TDDtype want)
{
    int64_t k = td_entry_count(e) / e->shape[0], most = STRIP / k + 1;
    size_t row_bytes = (size_t)k * td_dtype_size(want);
    int ret = 0;

    if (is_dense(e, want))
        return dev->ops->put(dev, w, dst, e->data + (size_t)row0 * row_bytes, (size_t)rows * row_bytes, 1);
    if (td_piece_rows(dev, e, row0, rows, want))
        return td_put_pieces(dev, w, dst, NULL, e, row0, rows, want);
    TRY(td_packer_open(dev));
    for (int64_t r = 0, n; r < rows; r += n) {
        void *values = NULL;

        n = rows - r < most ? rows - r : most;
        TRY(td_packer_values(dev, &values, e, (size_t)n * row_bytes));
        TRY(strip(dev, e, row0 + r, n, want, values));
        TRY(dev->ops->put(dev, w, (uint8_t *)dst + (size_t)r * row_bytes, values, (size_t)n * row_bytes, 1));
    }
fail:
    return ret;
}

/* where a device computes from it, or NULL */
static const void *in_place(const TDDev *dev, const TDEntry *e, int64_t row0, enum TDDtype want)
{
    size_t size = td_dtype_size(want);

    return dev->caps.maps_files && is_dense(e, want) && (uintptr_t)e->data % size == 0
               ? e->data + (size_t)(row0 * (td_entry_count(e) / e->shape[0])) * size
               : NULL;
}

/* more of the device's memory, for the time of packing */
static void count_scratch(TDWeights *w, size_t bytes)
{
    w->scratch = bytes > w->scratch ? bytes : w->scratch;
}

/* for put_rows() of the same */
static void count_pieces(const TDDev *dev, TDWeights *w, const TDEntry *e, int64_t row0, int64_t rows,
                         enum TDDtype want)
{
    if (!is_dense(e, want))
        count_scratch(w, td_pieces_scratch(dev, e, row0, rows, want));
}

/* int8 codes of a float weight, made by the device from bf16, or from what the file has */
static int quantise_rows(TDDev *dev, TDWeights *w, int8_t *code, float *scale, const TDLinearSource *s, int64_t rows,
                         int64_t k)
{
    int64_t most = td_blocks(UNCODED, 128 * k) * 128, in_pieces = td_piece_rows(dev, s->w, s->row0, rows, TD_I8);
    const uint8_t *there = in_place(dev, s->w, s->row0, TD_BF16);
    uint8_t *from;
    int ret = 0;

    most = rows < most || there ? rows : most;
    if (in_pieces)
        count_pieces(dev, w, s->w, s->row0, rows, TD_I8);
    else if (!there)
        count_scratch(w, (size_t)(most * k) * 2);
    if (w->measure)
        return 0;
    if (in_pieces)
        return td_put_pieces(dev, w, code, scale, s->w, s->row0, rows, TD_I8);
    TRY(td_packer_open(dev));
    if (!there && dev->packer->pieces)
        TRY(td_packer_settle(dev));              /* the scratch is theirs */
    if (!there)
        TRY(td_packer_scratch(dev, (size_t)(most * k) * 2));
    from = there ? (uint8_t *)there : dev->packer->scratch.ptr;
    for (int64_t r = 0, n; r < rows; r += n) {
        TDAct act = { 0 };

        n = rows - r < most ? rows - r : most;
        if (!there) {
            TRY(put_rows(dev, w, from, s->w, s->row0 + r, n, TD_BF16));
            TRY(td_packer_settle(dev));
        }
        act.x = (TDTensor){ from, { n, k, 1, 1, 1 }, 2, TD_BF16 };
        act.code = (TDTensor){ code + r * k, { n, k, 1, 1, 1 }, 2, TD_I8 };
        act.scale = (TDTensor){ scale + r / 128 * (k / 128), { td_blocks(n, 128), k / 128, 1, 1, 1 }, 2, TD_F32 };
        TRY(dev->ops->quantise(dev, &act));
        TRY(dev->ops->sync(dev));                /* the scratch is filled again */
    }
fail:
    return ret;
}

/* dst: device memory for the weights of one source */
static int pack_part(TDDev *dev, TDWeights *w, void *dst, float *scale, const TDLinear *lin, const TDLinearSource *s)
{
    int ret = 0;

    if (lin->dtype == TD_I8 && !s->scale)
        return quantise_rows(dev, w, dst, scale, s, lin->part_n, lin->k);
    count_pieces(dev, w, s->w, s->row0, lin->part_n, lin->dtype);
    if (w->measure)
        return 0;
    if (dst)
        TRY(put_rows(dev, w, dst, s->w, s->row0, lin->part_n, lin->dtype));
    if (scale)
        TRY(put_rows(dev, w, scale, s->scale, 0, s->scale->shape[0], TD_F32));
fail:
    return ret;
}

static int pack_bias(TDDev *dev, TDWeights *w, TDLinear *lin, const TDLinearSource *src, int n_src)
{
    int64_t rows = lin->part_n, n = td_entry_count(src->bias);
    float *bias = malloc((size_t)lin->n * sizeof(*bias)), *full = malloc((size_t)n * sizeof(*full));
    int ret = bias && full ? 0 : no_memory(dev, src->bias);

    for (int i = 0; i < n_src && ret >= 0; i++) {
        ret = td_entry_to_f32(src[i].bias, full);
        memcpy(bias + i * rows, full + src[i].row0, (size_t)rows * sizeof(*bias));
    }
    if (lin->dtype != TD_F32)                    /* a bf16 module adds a bf16 bias */
        for (int64_t i = 0; i < lin->n && ret >= 0; i++)
            bias[i] = td_bf16_round(bias[i]);
    if (ret >= 0)
        ret = td_pack_vector(dev, w, &lin->bias, bias, lin->n);
    free(bias);
    free(full);
    return ret;
}

int td_pack_linear(TDDev *dev, TDWeights *w, TDLinear *lin, const TDLinearSource *src, int n_src, enum TDDtype want)
{
    const TDEntry *e = src->w;
    int64_t rows = src->n_rows ? src->n_rows : e->shape[0], k = td_entry_count(e) / e->shape[0], n_scales = 0;
    int step = dev->caps.width_step, n_own = 0, ret = 0;
    void *scale = NULL, *own = NULL;
    size_t bytes;

    *lin = (TDLinear){ .n = rows * n_src, .k = k, .part_n = rows };
    lin->dtype = src->scale || want == TD_I8 ? TD_I8 : want == TD_F32 && e->dtype != TD_BF16 ? TD_F32 : TD_BF16;
    bytes = (size_t)(rows * k) * td_dtype_size(lin->dtype);
    if (lin->dtype == TD_I8 && (k % 128 || (n_src > 1 && rows % 128)))
        step = 128;
    else if (want == TD_F32 || !(lin->n % step || k % step))
        step = 0;
    if (step)
        return td_error(dev->log, ENOTSUP, "%s: %s: [%lld,%lld]%s, want multiples of %d", e->file, e->name,
                        (long long)rows, (long long)k, lin->dtype == TD_I8 ? " as int8" : "", step);
    for (int i = 0; i < n_src; i++) {
        lin->w[i] = in_place(dev, src[i].w, src[i].row0, lin->dtype);
        n_own += !lin->w[i];
    }
    if (n_own)
        TRY(td_weights_alloc(dev, w, &own, (size_t)n_own * bytes));
    if (lin->dtype == TD_I8) {
        n_scales = td_blocks(rows, 128) * (k / 128);
        TRY(td_weights_alloc(dev, w, &scale, (size_t)(n_src * n_scales) * sizeof(float)));
        lin->scale = scale;
    }
    for (int i = 0; i < n_src; i++) {
        void *dst = lin->w[i] ? NULL : own;

        TRY(pack_part(dev, w, dst, scale ? (float *)scale + i * n_scales : NULL, lin, &src[i]));
        if (dst) {
            lin->w[i] = dst;
            own = (uint8_t *)own + bytes;
        }
    }
    if (src->bias)
        TRY(pack_bias(dev, w, lin, src, n_src));
fail:
    return ret;
}

int td_pack_vector(TDDev *dev, TDWeights *w, const float **dst, const float *src, int64_t n)
{
    void *p;
    int ret = td_weights_alloc(dev, w, &p, (size_t)n * sizeof(float));

    if (ret < 0 || w->measure)
        return ret;
    *dst = p;
    return dev->ops->put(dev, w, p, src, (size_t)n * sizeof(float), 0);
}

int td_pack_table(TDDev *dev, TDWeights *w, TDTensor *dst, const TDEntry *e)
{
    void *p = (void *)in_place(dev, e, 0, TD_BF16);
    int ret = 0;

    *dst = (TDTensor){ p, { e->shape[0], e->shape[1], 1, 1, 1 }, 2, TD_BF16 };
    if (p)
        return 0;
    TRY(td_weights_alloc(dev, w, &dst->data, td_tensor_bytes(dst)));
    count_pieces(dev, w, e, 0, e->shape[0], TD_BF16);
    if (!w->measure)
        TRY(put_rows(dev, w, dst->data, e, 0, e->shape[0], TD_BF16));
fail:
    return ret;
}

/* where the file has the weight of tap t for channel i of the input (of c), counted from an output channel's first */
static int64_t place_in_file(const TDConv *conv, int64_t c, int64_t i, int64_t t)
{
    int64_t area = (int64_t)conv->kh * conv->kw, frame = t / area;

    if (conv->file == TD_CONV_TAPS)
        return i * conv->kt * area + t;
    if (conv->file == TD_CONV_NEWEST_FIRST)
        frame = conv->kt - 1 - frame;
    return (frame * c + i) * area + t % area;
}

/* a convolution's weights on their way, cut by output channels into tasks */
typedef struct Filters {
    const TDConv *conv;
    const TDEntry *e;
    int64_t step;                                /* output channels of a task */
    float *src;                                  /* of each worker's task, as the file has them */
    uint16_t *dst;
    atomic_int bad;                              /* some value is NaN or infinite */
    int f16;                                     /* may be of f16 */
    atomic_uint norm;                            /* then the largest 2-norm of a tap's weights, as a float's bits */
    float scale;
} Filters;

/* the largest 2-norm of n rows of k bf16 values */
static void find_norm(Filters *s, const uint16_t *w, int64_t n, int64_t k)
{
    float most = 0;
    unsigned bits, known = s->norm;

    for (int64_t r = 0; r < n; r++, w += k) {
        float sum = 0;

        for (int64_t i = 0; i < k; i++)
            sum += td_bf16_to_f32(w[i]) * td_bf16_to_f32(w[i]);
        most = sum > most ? sum : most;
    }
    most = sqrtf(most);
    memcpy(&bits, &most, sizeof(bits));          /* are ordered as the values */
    while (bits > known && !atomic_compare_exchange_weak(&s->norm, &known, bits))
        ;
}

static void conv_task(void *arg, int64_t task, int worker)
{
    Filters *s = arg;
    const TDConv *conv = s->conv;
    int64_t taps = (int64_t)conv->kt * conv->kh * conv->kw, c_in = conv->c_in, c_file = c_in - conv->c_pad;
    int64_t first = task * s->step, n = conv->c_out - first < s->step ? conv->c_out - first : s->step;
    TDEntry part = td_entry_rows(s->e, first, n);
    float *src = s->src + worker * s->step * c_file * taps, gain = conv->widened ? 2.0f : 1.0f;
    uint16_t *dst = s->dst + first * taps * c_in;
    int bad = 0;

    td_entry_to_f32(&part, src);
    for (int64_t i = 0; i < n * c_file * taps; i++)
        bad |= !isfinite(src[i]);
    if (bad)
        s->bad = 1;
    for (int64_t o = 0; o < n; o++, src += c_file * taps)
        for (int64_t t = 0; t < taps; t++, dst += c_in) {
            int64_t from = place_in_file(conv, c_file, 0, t), step = place_in_file(conv, c_file, 1, t) - from;

            for (int64_t i = 0; i < c_file; i++)
                dst[i] = td_f32_to_bf16(gain * src[from + i * step]);
            for (int64_t i = c_file; i < c_in; i++)
                dst[i] = 0;
        }
    if (s->f16)
        find_norm(s, dst - n * taps * c_in, n * taps, c_in);
}

static void f16_task(void *arg, int64_t task, int worker)
{
    Filters *s = arg;
    int64_t row = s->conv->c_in * s->conv->kt * s->conv->kh * s->conv->kw, first = task * s->step * row,
            n = s->conv->c_out * row - first;

    (void)worker;
    n = n < s->step * row ? n : s->step * row;
    for (uint16_t *w = s->dst + first; w < s->dst + first + n; w++)
        *w = td_f32_to_f16(td_bf16_to_f32(*w) * s->scale);
}

/* a pixel fits f16, and is not all subnormal */
static int may_be_f16(const TDDev *dev, const TDConv *conv)
{
    return conv->reach >= 1 && conv->reach <= F16_ROOM && conv->c_in <= dev->caps.f16_channels && conv->kh == 3 &&
           conv->stride_s == 1 && conv->stride_t == 1 && !conv->interleave;
}

/* A pixel's 2-norm times that of a tap's weights bounds any sum of their products. The weights are made as large as
 * F16_ROOM lets that be, so that few of them are subnormal. */
static int to_f16(TDDev *dev, TDConv *conv, Filters *s)
{
    unsigned bits = s->norm;
    float norm;
    int e, ret = 0;

    memcpy(&norm, &bits, sizeof(norm));
    frexp((double)conv->reach * (double)norm, &e);
    e = F16_ROOM_LOG2 - e;
    if (!(norm > 0) || !isfinite(norm) || e < -F16_MAX_SHIFT || e > F16_MAX_SHIFT)
        return 0;
    s->scale = ldexpf(1, e);
    TRY(in_tasks(dev, td_blocks(conv->c_out, s->step), f16_task, s));
    conv->f16 = 1;
    conv->unscale = ldexpf(1, -e);
fail:
    return ret;
}

/* a clip need not be so long that it meets every tap */
static int refuse_value(TDDev *dev, const TDEntry *e, float *row, int64_t n)
{
    for (int64_t r = 0; r < e->shape[0]; r++) {
        TDEntry part = td_entry_rows(e, r, 1);

        td_entry_to_f32(&part, row);
        for (int64_t i = 0; i < n; i++)
            if (!isfinite(row[i]))
                return td_error(dev->log, EBADMSG, "%s: %s[%lld] is %g, want a finite value", e->file, e->name,
                                (long long)(r * n + i), row[i]);
    }
    return td_error(dev->log, EBADMSG, "%s: %s changes while it is read", e->file, e->name);
}

int td_pack_conv(TDDev *dev, TDWeights *w, TDConv *conv, const TDEntry *e)
{
    int64_t taps = (int64_t)conv->kt * conv->kh * conv->kw, c_in = conv->c_in, row = (c_in - conv->c_pad) * taps;
    Filters s = { .conv = conv, .e = e, .step = TASK / (c_in * taps) + 1 };
    size_t bytes = (size_t)(conv->c_out * c_in * taps) * sizeof(*s.dst);
    void *p, *values = NULL;
    int ret;

    if (c_in % dev->caps.width_step || c_in > TD_MAX_CHANNELS)
        return td_error(dev->log, ENOTSUP, "%s: %s: %lld input channels, want a multiple of %d up to %d", e->file,
                        e->name, (long long)c_in, dev->caps.width_step, TD_MAX_CHANNELS);
    conv->f16 = 0;
    TRY(td_weights_alloc(dev, w, &p, bytes));
    if (w->measure)
        return 0;
    if (!td_dtype_has_values(e->dtype))
        return TD_ERR(ENOTSUP);
    TRY(worker_rows(dev, e, td_blocks(conv->c_out, s.step), s.step * row));
    TRY(td_packer_values(dev, &values, e, bytes));
    s.src = dev->packer->rows;
    s.dst = values;
    s.f16 = may_be_f16(dev, conv);
    TRY(in_tasks(dev, td_blocks(conv->c_out, s.step), conv_task, &s));
    if (s.bad)
        return refuse_value(dev, e, s.src, row);
    if (s.f16)
        TRY(to_f16(dev, conv, &s));
    TRY(dev->ops->put(dev, w, p, values, bytes, 1));
    conv->w = p;
fail:
    return ret;
}
