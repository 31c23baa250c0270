/* SPDX-License-Identifier: BSD-2-Clause
 * The CUDA backend's device: opening, memory, weights on their way in, and the list of its slots. */
#include <cuda.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "context.h"
#include "device.h"
#include "upload.h"

/* of device memory, for an error line. "" where it cannot be told */
static const char *free_memory(char (&text)[80])
{
    size_t available = 0, total = 0;

    *text = 0;
    if (cudaMemGetInfo(&available, &total) == cudaSuccess)
        snprintf(text, sizeof(text), ", %zu bytes free of %zu on the device", available, total);
    cudaGetLastError();
    return text;
}

int td_cuda_error(TDDev *dev, cudaError_t e, const char *what, const char *file, int line)
{
    const char *name = strrchr(file, '/') ? strrchr(file, '/') + 1 : file;
    char text[80];

    cudaGetLastError();                          /* or the launch that follows is blamed for it */
    if (e == cudaErrorMemoryAllocation)
        return td_error(dev->log, ENOMEM, "cuda: %s:%d: %.80s: %s%s", name, line, what, cudaGetErrorName(e),
                        free_memory(text));
    return td_error(dev->log, EIO, "cuda: %s:%d: %.80s: %s", name, line, what, cudaGetErrorName(e));
}

static int cuda_alloc(TDDev *dev, TDBuf *buf, size_t bytes, const char *what)
{
    size_t available = 0, total = 0;
    cudaError_t e = cudaMalloc(&buf->ptr, bytes ? bytes : 1);

    buf->bytes = bytes;
    if (e == cudaErrorMemoryAllocation) {
        cudaGetLastError();                      /* not sticky: the context stays usable */
        buf->ptr = NULL;
        CU(dev, cudaMemGetInfo(&available, &total));
        if (bytes > available)
            return td_error(dev->log, ENOMEM, "cuda: %zu bytes for %s wanted, %zu free of %zu: %zu short", bytes, what,
                            available, total, bytes - available);
        return td_error(dev->log, ENOMEM, "cuda: %zu bytes for %s wanted, %zu free of %zu, but not in one piece", bytes,
                        what, available, total);
    }
    CU(dev, e);
    return 0;
}

static void cuda_free(TDDev *dev, TDBuf *buf)
{
    td_cuda_load_end(dev, true);                 /* weights that are given up while they load */
    cudaStreamSynchronize(td_cuda(dev)->stream);
    cudaStreamSynchronize(td_cuda(dev)->out);
    cudaFree(buf->ptr);
    *buf = TDBuf{};
}

/* page-locked halves take turns: one is filled while the other is on its way */
int td_cuda_copy_in(TDDev *dev, void *dst, const void *src, size_t bytes)
{
    TDCuda *c = td_cuda(dev);
    int turn = 0;

    for (size_t at = 0; at < bytes; at += TD_STAGING_BYTES, turn ^= 1) {
        size_t n = bytes - at < TD_STAGING_BYTES ? bytes - at : TD_STAGING_BYTES;

        CU(dev, cudaEventSynchronize(c->staged[turn]));
        memcpy(c->staging[turn], (const uint8_t *)src + at, n);
        CU(dev, cudaMemcpyAsync((uint8_t *)dst + at, c->staging[turn], n, cudaMemcpyHostToDevice, c->stream));
        CU(dev, cudaEventRecord(c->staged[turn], c->stream));
    }
    return 0;
}

static int cuda_upload(TDDev *dev, TDTensor *dst, const void *src)
{
    return td_cuda_copy_in(dev, dst->data, src, td_tensor_bytes(dst));
}

static int cuda_download(TDDev *dev, void *dst, const TDTensor *src)
{
    TDCuda *c = td_cuda(dev);
    size_t bytes = td_tensor_bytes(src);

    for (size_t at = 0; at < bytes; at += TD_STAGING_BYTES) {
        size_t n = bytes - at < TD_STAGING_BYTES ? bytes - at : TD_STAGING_BYTES;

        CU(dev, cudaMemcpyAsync(c->staging[0], (const uint8_t *)src->data + at, n, cudaMemcpyDeviceToHost, c->stream));
        CU(dev, cudaStreamSynchronize(c->stream));
        memcpy((uint8_t *)dst + at, c->staging[0], n);
    }
    return 0;
}

static int cuda_zero(TDDev *dev, TDTensor *t)
{
    CU(dev, cudaMemsetAsync(t->data, 0, td_tensor_bytes(t), td_cuda(dev)->stream));
    return 0;
}

static void cuda_portable(TDDev *dev)
{
    TDCuda *c = td_cuda(dev);

    c->sm = c->sm >= 90 ? 89 : c->sm;
    c->max_shared = c->max_shared < TD_CONSUMER_SHARED ? c->max_shared : TD_CONSUMER_SHARED;
    if (td_cuda_reserve_shared(dev) < 0)
        c->max_shared = 0;                       /* whatever is launched fails, and the test with it */
}

static int cuda_sync(TDDev *dev)
{
    int ret = td_cuda_load_end(dev, false);

    if (ret < 0)
        return ret;
    CU(dev, cudaStreamSynchronize(td_cuda(dev)->stream));
    return 0;
}

static int cuda_attach(TDDev *dev)
{
    CU(dev, td_cuda_push(dev));
    return 0;
}

static void cuda_detach(TDDev *dev)
{
    td_cuda_pop(dev);
}

static int cuda_memory(TDDev *dev, uint64_t *available, uint64_t *total)
{
    size_t free_bytes = 0, all = 0;

    CU(dev, cudaMemGetInfo(&free_bytes, &all));
    *available = free_bytes;
    *total = all;
    return 0;
}

/* ---- weights ---- */

static int cuda_pack_vector(TDDev *dev, TDWeights *w, const float **dst, const float *src, int64_t n)
{
    void *p;
    int ret = td_weights_alloc(dev, w, &p, (size_t)n * sizeof(float));

    if (ret < 0 || w->measure)
        return ret;
    *dst = (const float *)p;
    return td_cuda_load(dev, w, p, src, (size_t)n * sizeof(float), false);
}

/* rows of a float entry to dst as bf16 or f32 */
static int copy_float(TDDev *dev, const TDWeights *w, void *dst, const TDLinearSource *s, int64_t rows, int64_t k,
                      enum TDDtype want)
{
    const TDEntry *e = s->w;
    size_t elem = td_dtype_size(want), n = (size_t)(rows * k);
    float *f;
    int ret;

    if (e->dtype == want && td_entry_is_contiguous(e))
        return td_cuda_load(dev, w, dst, e->data + (size_t)(s->row0 * k) * elem, n * elem, true);
    f = (float *)malloc((size_t)td_entry_count(e) * sizeof(*f));
    if (!f)
        return td_error(dev->log, ENOMEM, "%s: %s: out of memory", e->file, e->name);
    ret = td_entry_to_f32(e, f);
    if (ret < 0) {
        td_error(dev->log, -ret, "%s: %s: dtype %s, want bf16, f16 or f32", e->file, e->name, td_dtype_name(e->dtype));
    } else {
        float *from = f + s->row0 * k;

        if (want == TD_BF16)                     /* in place: bf16 is half as wide */
            for (size_t i = 0; i < n; i++)
                ((uint16_t *)from)[i] = td_f32_to_bf16(from[i]);
        ret = td_cuda_load(dev, w, dst, from, n * elem, false);
    }
    free(f);
    return ret;
}

/* an entry as it is, or, of a view, its elements in rows */
static int load_rows(TDDev *dev, const TDWeights *w, void *dst, const TDEntry *e)
{
    size_t bytes = (size_t)td_entry_count(e) * td_dtype_size(e->dtype);
    void *rows;
    int ret;

    if (td_entry_is_contiguous(e))
        return td_cuda_load(dev, w, dst, e->data, bytes, true);
    rows = malloc(bytes);
    if (!rows)
        return td_error(dev->log, ENOMEM, "%s: %s: out of memory", e->file, e->name);
    td_entry_to_rows(e, rows);
    ret = td_cuda_load(dev, w, dst, rows, bytes, false);
    free(rows);
    return ret;
}

static int pack_codes(TDDev *dev, TDWeights *weights, const TDLinear *lin, const TDLinearSource *src, int n_src)
{
    int64_t kb = lin->k / 128, rows = lin->part_n, n_scales = (rows + 127) / 128 * kb;
    int ret = 0;

    for (int p = 0; p < n_src; p++) {
        const TDEntry *e = src[p].w, *s = src[p].scale;
        int8_t *code = weights->measure ? NULL : (int8_t *)lin->w[0] + p * rows * lin->k;
        float *scale = weights->measure ? NULL : (float *)lin->scale + p * n_scales;
        size_t wide = (size_t)(rows * lin->k) * 2;

        if (e->dtype == TD_I8) {
            if (!s || s->dtype != TD_F32 || td_entry_count(s) != n_scales)
                return td_error(dev->log, EBADMSG, "%s: %s: int8 without an f32 scale of [%lld,%lld]", e->file, e->name,
                                (long long)((rows + 127) / 128), (long long)kb);
            if (weights->measure)
                continue;
            TRY(load_rows(dev, weights, code, e));
            TRY(load_rows(dev, weights, scale, s));
        } else {
            TDBuf tmp = {};

            weights->scratch = wide > weights->scratch ? wide : weights->scratch;
            if (weights->measure)
                continue;
            TRY(dev->ops->alloc(dev, &tmp, wide, "weights before they are quantised"));
            ret = copy_float(dev, weights, tmp.ptr, &src[p], rows, lin->k, TD_BF16);
            if (ret >= 0)
                ret = td_cuda_load_end(dev, false);
            if (ret >= 0)
                ret = td_cuda_quantise_blocks(dev, (const bf16 *)tmp.ptr, rows, lin->k, code, scale);
            dev->ops->free(dev, &tmp);
            TRY(ret);
        }
    }
fail:
    return ret;
}

int td_cuda_pack_linear(TDDev *dev, TDWeights *weights, TDLinear *lin, const TDLinearSource *src, int n_src,
                        enum TDDtype want)
{
    const TDEntry *w = src[0].w;
    int64_t rows = src[0].n_rows ? src[0].n_rows : w->shape[0];
    int has_bias = src[0].bias != NULL, ret = 0;
    float *bias = NULL, *full = NULL;
    void *p;

    for (int i = 0; i < n_src; i++)
        if (src[i].w->shape[0] != w->shape[0] || td_entry_count(src[i].w) != td_entry_count(w) ||
            src[i].w->dtype != w->dtype || (src[i].bias && td_entry_count(src[i].bias) != w->shape[0]))
            return td_error(dev->log, EBADMSG, "%s: %s: shape or dtype unlike %s", src[i].w->file,
                            src[i].w->name, w->name);
    *lin = TDLinear{};
    lin->n = rows * n_src;
    lin->k = td_entry_count(w) / w->shape[0];
    lin->part_n = rows;
    lin->dtype = w->dtype == TD_I8 || want == TD_I8 ? TD_I8 : want == TD_F32 && w->dtype != TD_BF16 ? TD_F32 : TD_BF16;
    if (lin->dtype == TD_I8 && (lin->k % 128 || (n_src > 1 && rows % 128)))
        return td_error(dev->log, ENOTSUP, "%s: %s: [%lld,%lld] as int8, want multiples of 128", w->file, w->name,
                        (long long)rows,
                        (long long)lin->k);
    if (want != TD_F32 && (lin->n % 8 || lin->k % 8))
        return td_error(dev->log, ENOTSUP, "%s: %s: [%lld,%lld], want multiples of 8", w->file, w->name,
                        (long long)rows,
                        (long long)lin->k);
    TRY(td_weights_alloc(dev, weights, &p, (size_t)(lin->n * lin->k) * td_dtype_size(lin->dtype)));
    lin->w[0] = p;
    if (lin->dtype == TD_I8) {
        TRY(td_weights_alloc(dev, weights, &p, (size_t)((lin->n + 127) / 128 * (lin->k / 128)) * sizeof(float)));
        lin->scale = (const float *)p;
        TRY(pack_codes(dev, weights, lin, src, n_src));
    } else {
        for (int i = 0; i < n_src && !weights->measure; i++)
            TRY(copy_float(dev, weights, (uint8_t *)lin->w[0] + (size_t)(i * rows * lin->k) * td_dtype_size(lin->dtype),
                           &src[i], rows, lin->k, lin->dtype));
    }
    if (!has_bias)
        return 0;
    bias = (float *)malloc((size_t)lin->n * sizeof(*bias));
    full = (float *)malloc((size_t)w->shape[0] * sizeof(*full));
    if (!bias || !full) {
        ret = td_error(dev->log, ENOMEM, "%s: %s: out of memory", w->file, w->name);
        goto fail;
    }
    for (int i = 0; i < n_src; i++) {
        TRY(td_entry_to_f32(src[i].bias, full));
        memcpy(bias + i * rows, full + src[i].row0, (size_t)rows * sizeof(*bias));
    }
    if (lin->dtype != TD_F32)                    /* a bf16 module adds a bf16 bias */
        for (int64_t i = 0; i < lin->n; i++)
            bias[i] = td_bf16_round(bias[i]);
    TRY(cuda_pack_vector(dev, weights, &lin->bias, bias, lin->n));
fail:
    free(bias);
    free(full);
    return ret;
}

int td_cuda_pack_table(TDDev *dev, TDWeights *weights, TDTensor *dst, const TDEntry *e)
{
    TDLinearSource src = {};
    void *p;
    int ret;

    if (e->n_dims != 2)
        return td_error(dev->log, EBADMSG, "%s: %s: %d dims, want 2", e->file, e->name, e->n_dims);
    src.w = e;
    *dst = TDTensor{};
    dst->n_dims = 2;
    dst->dtype = TD_BF16;
    for (int i = 0; i < TD_MAX_DIMS; i++)
        dst->shape[i] = i < 2 ? e->shape[i] : 1;
    TRY(td_weights_alloc(dev, weights, &p, td_tensor_bytes(dst)));
    dst->data = p;
    if (weights->measure)
        return 0;
    TRY(copy_float(dev, weights, p, &src, e->shape[0], e->shape[1], TD_BF16));
fail:
    return ret;
}

static int cuda_plan_act(TDDev *, TDArena *a, TDAct *act, int64_t rows, int64_t k, int int8)
{
    int ret;

    *act = TDAct{};
    TRY(carve(a, &act->x, TD_BF16, { rows, k }));
    if (int8) {
        TRY(carve(a, &act->code, TD_I8, { rows, k }));
        TRY(carve(a, &act->scale, TD_F32, { (rows + 127) / 128, (k + 127) / 128 }));
    }
fail:
    return ret;
}

/* ---- f32 content, for tests and dumps ---- */

static void unpack_blocks(float *dst, const int8_t *code, const float *scale, int64_t rows, int64_t k)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < k; i++)
            dst[r * k + i] = (float)code[r * k + i] * scale[r / 128 * ((k + 127) / 128) + i / 128];
}

static int widen(TDDev *dev, float *dst, const TDTensor *t)
{
    int64_t n = td_tensor_count(t);
    uint8_t *host = (uint8_t *)malloc(td_tensor_bytes(t) + 8);
    int ret = host ? dev->ops->download(dev, host, t) : td_error(dev->log, ENOMEM, "unpack: out of memory");

    for (int64_t i = 0; i < n && ret >= 0; i++)
        switch (t->dtype) {
        case TD_F32:  dst[i] = ((const float *)host)[i]; break;
        case TD_BF16: dst[i] = td_bf16_to_f32(((const uint16_t *)host)[i]); break;
        case TD_F64:  dst[i] = (float)((const double *)host)[i]; break;
        case TD_I8:   dst[i] = ((const int8_t *)host)[i]; break;
        case TD_I32:  dst[i] = (float)((const int32_t *)host)[i]; break;
        default:      ret = td_error(dev->log, ENOTSUP, "unpack: dtype %s", td_dtype_name(t->dtype));
        }
    free(host);
    return ret;
}

static TDTensor flat(const void *p, enum TDDtype dtype, int64_t n)
{
    TDTensor t = {};

    t.data = (void *)p;
    t.dtype = dtype;
    t.n_dims = 1;
    for (int i = 0; i < TD_MAX_DIMS; i++)
        t.shape[i] = i ? 1 : n;
    return t;
}

static int unpack_codes(TDDev *dev, float *dst, const void *code, const float *scale, int64_t rows, int64_t k)
{
    int64_t n_scales = (rows + 127) / 128 * ((k + 127) / 128);
    int8_t *c = (int8_t *)malloc((size_t)(rows * k));
    float *s = (float *)malloc((size_t)n_scales * sizeof(*s));
    TDTensor ct = flat(code, TD_I8, rows * k), st = flat(scale, TD_F32, n_scales);
    int ret = c && s ? 0 : td_error(dev->log, ENOMEM, "unpack: out of memory");

    TRY(ret);
    TRY(dev->ops->download(dev, c, &ct));
    TRY(dev->ops->download(dev, s, &st));
    unpack_blocks(dst, c, s, rows, k);
fail:
    free(c);
    free(s);
    return ret;
}

static int cuda_unpack(TDDev *dev, float *dst, const void *obj, enum TDUnpack kind)
{
    const TDAct *act = (const TDAct *)obj;
    const TDLinear *lin = (const TDLinear *)obj;
    TDTensor t;

    if (kind == TD_UNPACK_LINEAR) {
        if (lin->dtype == TD_I8)
            return unpack_codes(dev, dst, lin->w[0], lin->scale, lin->n, lin->k);
        t = flat(lin->w[0], lin->dtype, lin->n * lin->k);
        return widen(dev, dst, &t);
    }
    if (kind == TD_UNPACK_ACT && act->code.data)
        return unpack_codes(dev, dst, act->code.data, (const float *)act->scale.data, act->x.shape[0], act->x.shape[1]);
    return widen(dev, dst, kind == TD_UNPACK_ACT ? &act->x : (const TDTensor *)obj);
}

static void cuda_close(TDDev **dev)
{
    TDCuda *c = td_cuda(*dev);

    if (!c || td_cuda_push(*dev) != cudaSuccess)     /* its context is gone, and all it had with it */
        goto end;
    td_cuda_loader_free(c);
    if (c->stream) {
        cudaStreamSynchronize(c->stream);
        cudaStreamDestroy(c->stream);
    }
    for (int i = 0; i < 2; i++) {
        if (c->staged[i])
            cudaEventDestroy(c->staged[i]);
        cudaFreeHost(c->staging[i]);
    }
    cudaFreeHost(c->flag);
    if (c->out) {
        cudaStreamSynchronize(c->out);
        cudaStreamDestroy(c->out);
    }
    for (TDFrameBuffer &b : c->frames) {
        if (b.made)
            cudaEventDestroy(b.made);
        if (b.there)
            cudaEventDestroy(b.there);
        cudaFreeHost(b.host);
    }
    if (c->callers)
        cudaEventDestroy(c->callers);
    td_cuda_pop(*dev);
end:
    free(c);
    *dev = NULL;
}

static TDOps make_ops(void)
{
    TDOps o = {};

    o.name = "cuda";
    o.alloc = cuda_alloc;
    o.free = cuda_free;
    o.upload = cuda_upload;
    o.download = cuda_download;
    o.zero = cuda_zero;
    o.sync = cuda_sync;
    o.attach = cuda_attach;
    o.detach = cuda_detach;
    o.memory = cuda_memory;
    o.portable = cuda_portable;
    o.unpack = cuda_unpack;
    o.close = cuda_close;
    o.pack_linear = td_cuda_pack_linear;
    o.pack_vector = cuda_pack_vector;
    o.pack_table = td_cuda_pack_table;
    o.pack_conv = td_cuda_pack_conv;
    o.plan_act = cuda_plan_act;
    o.plan_qkv = td_cuda_plan_qkv;
    o.plan_frames = td_cuda_plan_frames;
    o.reserve_frames = td_cuda_reserve_frames;
    o.patch_embed = td_cuda_patch_embed;
    o.time_embed = td_cuda_time_embed;
    o.add_modulation = td_cuda_add_modulation;
    o.norm_modulate = td_cuda_norm_modulate;
    o.rms_norm = td_cuda_rms_norm;
    o.quantise = td_cuda_quantise;
    o.linear = td_cuda_linear;
    o.linear_gelu = td_cuda_linear_gelu;
    o.linear_residual = td_cuda_linear_residual;
    o.qk_norm_rope = td_cuda_qk_norm_rope;
    o.attn_sla = td_cuda_attn_sla;
    o.attn_dense = td_cuda_attn_dense;
    o.head = td_cuda_head;
    o.normal = td_cuda_normal;
    o.scale_noise = td_cuda_scale_noise;
    o.round_state = td_cuda_round_state;
    o.rcm_step = td_cuda_rcm_step;
    o.attn_t5 = td_cuda_attn_t5;
    o.linear_geglu = td_cuda_linear_geglu;
    o.vae_unscale = td_cuda_vae_unscale;
    o.vae_scale = td_cuda_vae_scale;
    o.repeat_frame = td_cuda_repeat_frame;
    o.causal_conv3d = td_cuda_causal_conv3d;
    o.rms_silu = td_cuda_rms_silu;
    o.begin_frames = td_cuda_begin_frames;
    o.wait_frames = td_cuda_wait_frames;
    o.fetch_frame = td_cuda_fetch_frame;
    return o;
}

static const TDOps cuda_ops = make_ops();

extern "C" {
__attribute__((visibility("default"))) extern const char td_cuda_seam[] = TD_SEAM;
}

/* with the context current */
static int open_streams(TDCuda *c)
{
    cudaDriverEntryPointQueryResult found;
    TDDev *dev = &c->dev;
    int least = 0, greatest = 0;

    CU(dev, cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking));
    CU(dev, cudaDeviceGetStreamPriorityRange(&least, &greatest));
    CU(dev, cudaStreamCreateWithPriority(&c->out, cudaStreamNonBlocking, greatest));
    CU(dev, cudaMallocHost(&c->flag, sizeof(*c->flag)));
    CU(dev, cudaEventCreateWithFlags(&c->callers, cudaEventDisableTiming));
    for (TDFrameBuffer &b : c->frames) {
        CU(dev, cudaEventCreateWithFlags(&b.made, cudaEventDisableTiming));
        CU(dev, cudaEventCreateWithFlags(&b.there, cudaEventDisableTiming));
    }
    for (int i = 0; i < 2; i++) {
        CU(dev, cudaMallocHost(&c->staging[i], TD_STAGING_BYTES));
        CU(dev, cudaEventCreateWithFlags(&c->staged[i], cudaEventDisableTiming));
    }
    if (c->sm == 90)
        CU(dev, cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &c->encode_tiled, 12000, cudaEnableDefault,
                                                 &found));
    return 0;
}

/* what the engine looks up after dlopen() */
extern "C" __attribute__((visibility("default"))) int td_cuda_open(TDDev **out, const TDGpu *gpu, TDLog *log)
{
    int count = 0, driver = 0, runtime = 0, ret;
    cudaDeviceProp prop;
    TDDriver calls;
    TDCuda *c = NULL;
    TDDev probe = {};
    cudaError_t e = cudaGetDeviceCount(&count);

    *out = NULL;
    probe.ops = &cuda_ops;
    probe.log = log;
    probe.ordinal = gpu->ordinal < 0 ? 0 : gpu->ordinal;
    if (e == cudaErrorInsufficientDriver) {
        cudaDriverGetVersion(&driver);
        cudaRuntimeGetVersion(&runtime);
        return driver ? td_error(log, ENOTSUP, "cuda: the driver supports CUDA %d.%d, this build wants %d.%d",
                                 driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10)
                      : td_error(log, ENOTSUP, "cuda: no NVIDIA driver on this machine");
    }
    if (e != cudaSuccess || count == 0)
        return td_error(log, ENOTSUP, "cuda: no usable GPU (%s)",
                        cudaGetErrorName(e != cudaSuccess ? e : cudaErrorNoDevice));
    if (probe.ordinal >= count)
        return td_error(log, EINVAL, "cuda: device %d, want 0..%d", probe.ordinal, count - 1);
    TRY(td_cuda_driver(&probe, &calls));
    if (gpu->context)
        TRY(td_cuda_context_given(&probe, &calls, gpu));
    CU(&probe, cudaGetDeviceProperties(&prop, probe.ordinal));
    if (prop.major < 8)
        return td_error(log, ENOTSUP, "cuda: %s has compute capability %d.%d, want 8.0 or later", prop.name, prop.major,
                        prop.minor);
    if (!gpu->context)
        TRY(td_cuda_context_primary(&probe, &calls));
    c = (TDCuda *)calloc(1, sizeof(*c));
    if (!c)
        return td_error(log, ENOMEM, "cuda: out of memory");
    c->dev = probe;
    c->dev.name = c->description;
    c->dev.ahead = 1;
    c->dev.no_sagesla = prop.major * 10 + prop.minor < 89;
    c->dev.reserve = (uint64_t)256 << 20;        /* what kernels and their stacks take at first, a margin later */
    c->dev.noise_blocks = (int64_t)prop.multiProcessorCount * (prop.maxThreadsPerMultiProcessor / 256);
    c->driver = calls;
    c->callers_stream = (cudaStream_t)gpu->stream;
    c->sm = prop.major * 10 + prop.minor;
    c->n_sm = prop.multiProcessorCount;
    c->max_shared = (int)prop.sharedMemPerBlockOptin;
    snprintf(c->description, sizeof(c->description), "%.80s, sm_%d", prop.name, c->sm);
    *out = &c->dev;
    CU(&c->dev, td_cuda_push(&c->dev));
    ret = open_streams(c);
    if (ret >= 0)
        ret = td_cuda_load_kernels(&c->dev);
    td_cuda_pop(&c->dev);
    if (ret < 0)
        cuda_close(out);
fail:
    return ret;
}
