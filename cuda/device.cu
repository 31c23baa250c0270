/* SPDX-License-Identifier: BSD-2-Clause
 * The CUDA backend's device: opening, memory, weights on their way in, and the list of its slots. */
#include <cuda.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "attn.h"
#include "context.h"
#include "conv.h"
#include "gemm.h"
#include "upload.h"

extern "C" {
#include "base/wan.h"
}

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
    td_log(dev->log, TD_LOG_DEBUG, "cuda: %s:%d: %.80s: %s", name, line, what, cudaGetErrorName(e));
    if (e == cudaErrorMemoryAllocation)
        return td_error(dev->log, ENOMEM, "cuda: the GPU is out of memory%s; something else uses it, or the clip is "
                        "too large for it", free_memory(text));
    return td_error(dev->log, EIO, "cuda: the GPU or its driver failed: %s", cudaGetErrorString(e));
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

int td_cuda_host_alloc(TDDev *dev, TDHostBlock *block, size_t bytes)
{
    TDCuda *c = td_cuda(dev);
    cudaError_t e = cudaErrorMemoryAllocation;

    td_cuda_host_free(block);
    if (!c->card.unlocked)
        e = cudaMallocHost(&block->data, bytes);
    block->locked = e == cudaSuccess;
    if (!block->locked) {
        cudaGetLastError();                      /* not sticky */
        if (!c->told_unlocked)
            td_log(dev->log, TD_LOG_INFO,
                   "cuda: the system gives no %zu bytes of page-locked memory: copies are slower", bytes);
        c->told_unlocked = true;
        block->data = (uint8_t *)malloc(bytes);
        if (!block->data)
            return td_error(dev->log, ENOMEM, "cuda: %zu bytes of host memory for copies wanted: out of memory", bytes);
    }
    block->bytes = bytes;
    return 0;
}

void td_cuda_host_free(TDHostBlock *block)
{
    if (block->locked)
        cudaFreeHost(block->data);
    else
        free(block->data);
    *block = TDHostBlock{};
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
        memcpy(c->staging[turn].data, (const uint8_t *)src + at, n);
        CU(dev, cudaMemcpyAsync((uint8_t *)dst + at, c->staging[turn].data, n, cudaMemcpyHostToDevice,
                                c->stream));
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

        CU(dev, cudaMemcpyAsync(c->staging[0].data, (const uint8_t *)src->data + at, n, cudaMemcpyDeviceToHost,
                                c->stream));
        CU(dev, cudaStreamSynchronize(c->stream));
        memcpy((uint8_t *)dst + at, c->staging[0].data, n);
    }
    return 0;
}

static int cuda_zero(TDDev *dev, TDTensor *t)
{
    CU(dev, cudaMemsetAsync(t->data, 0, td_tensor_bytes(t), td_cuda(dev)->stream));
    return 0;
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

static int cuda_memory(TDDev *dev, uint64_t *available, uint64_t *total)
{
    size_t free_bytes = 0, all = 0, most = (size_t)td_cuda(dev)->card.memory;

    CU(dev, cudaMemGetInfo(&free_bytes, &all));
    *total = all < most ? all : most;
    *available = free_bytes > all - *total ? free_bytes - (all - *total) : 0;
    return 0;
}

static void cuda_close(TDDev **dev)
{
    TDCuda *c = td_cuda(*dev);

    if (!c->dev.context || td_cuda_push(*dev) != cudaSuccess)    /* none, or it is gone, and all it had with it */
        goto end;
    td_cuda_loader_free(c);
    if (c->stream) {
        cudaStreamSynchronize(c->stream);
        cudaStreamDestroy(c->stream);
    }
    for (int i = 0; i < 2; i++) {
        if (c->staged[i])
            cudaEventDestroy(c->staged[i]);
        td_cuda_host_free(&c->staging[i]);
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
        td_cuda_host_free(&b.host);
    }
    if (c->callers)
        cudaEventDestroy(c->callers);
    td_cuda_pop(*dev);
end:
    free(c);
    *dev = NULL;
}

static int cuda_reopen(const TDDev *dev, TDDev **another, struct TDCancel *cancel, TDLog *log)
{
    const TDCuda *c = (const TDCuda *)dev;
    TDGpu gpu = { c->ordinal, dev->context, NULL, &c->card, 0 };
    int ret = td_cuda_open(another, &gpu, log);

    if (ret >= 0) {
        (*another)->cancel = cancel;
        (*another)->own_context = dev->own_context;
    }
    return ret;
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
    o.detach = td_cuda_pop;
    o.memory = cuda_memory;
    o.reopen = cuda_reopen;
    o.close = cuda_close;
    o.put = td_cuda_load;
    o.put_values = td_cuda_load_values;
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
    o.keep_frames = td_cuda_keep_frames;
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

/* a kernel of an architecture is a line here */
static void choose_kernels(TDCudaKernels *k, const TDCard *card)
{
    *k = TDCudaKernels{ td_cuda_gemm_mma, td_cuda_flash_mma, td_cuda_attn_sage, td_cuda_conv3d_mma,
                        td_cuda_norm_quant, card->sm < 89 };
    if (card->clusters)
        k->norm_quant = td_cuda_norm_quant_cluster;
    if (card->sm == 90 && card->bulk)
        *k = TDCudaKernels{ td_cuda_gemm_sm90, td_cuda_flash_sm90, td_cuda_attn_sage_sm90, td_cuda_conv3d_sm90,
                            k->norm_quant, k->half_v };
}

/* Sums of f16 have twice the rate of those of f32 on GeForce; workstation cards of its capabilities have one rate, and
 * should lose little. A frame of so many channels has less than 2^31 values, which the kernel counts in an int. */
static int f16_channels(const TDCard *card)
{
    return card->sm == 86 || card->sm == 89 || card->sm == 120 ? INT32_MAX / (TD_MAX_SIDE * TD_MAX_SIDE) : 0;
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
        int ret = td_cuda_host_alloc(dev, &c->staging[i], TD_STAGING_BYTES);

        if (ret < 0)
            return ret;
        CU(dev, cudaEventCreateWithFlags(&c->staged[i], cudaEventDisableTiming));
    }
    if (c->card.bulk)
        CU(dev, cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &c->encode_tiled, 12000, cudaEnableDefault,
                                                 &found));
    return 0;
}

/* the GPU, its context and the card to run as */
static int find_gpu(TDCuda *c, const TDGpu *gpu)
{
    TDDev *dev = &c->dev;
    const TDCard *as = gpu->as;
    cudaDeviceProp prop;
    int count, sm, ret;

    c->ordinal = gpu->ordinal < 0 ? 0 : gpu->ordinal;
    TRY(count = td_cuda_count(dev->log));
    if (c->ordinal >= count)
        return td_error(dev->log, EINVAL, "cuda: device %d, want 0..%d", c->ordinal, count - 1);
    TRY(td_cuda_driver(dev, &c->driver));
    if (gpu->context)
        TRY(td_cuda_context_given(dev, gpu));
    CU(dev, cudaGetDeviceProperties(&prop, c->ordinal));
    sm = prop.major * 10 + prop.minor;
    if (sm < 80)
        return td_error(dev->log, ENOTSUP, "cuda: %s has compute capability %d.%d, want 8.0 or later", prop.name,
                        prop.major, prop.minor);
    c->card = TDCard{ sm, (int)prop.sharedMemPerBlockOptin, sm >= 90, sm >= 90, prop.totalGlobalMem, 0 };
    if (as && ((as->sm == 90 && sm != 90) || (as->sm >= 89 && sm < 89) || as->shared > c->card.shared ||
               as->clusters > c->card.clusters || as->bulk > c->card.bulk))
        return td_error(dev->log, ENOTSUP, "cuda: %s, compute capability %d.%d with %d bytes of shared memory for a "
                        "kernel, cannot run as %d.%d with %d", prop.name, prop.major, prop.minor, c->card.shared,
                        as->sm / 10, as->sm % 10, as->shared);
    if (as)
        c->card = *as;
    c->n_sm = prop.multiProcessorCount;
    td_cuda_set_caps(&dev->caps);
    dev->caps.f16_channels = f16_channels(&c->card);
    dev->ordinal = c->ordinal;
    dev->own_context = !gpu->context;
    dev->caps.noise_blocks = (int64_t)c->n_sm * (prop.maxThreadsPerMultiProcessor / 256);
    snprintf(c->description, sizeof(c->description), c->card.sm == sm ? "%.80s, sm_%d" : "%.80s, sm_%d as sm_%d",
             prop.name, sm, c->card.sm);
    if (!gpu->context && !gpu->look)
        TRY(td_cuda_context_primary(dev));
    return 0;
fail:
    return ret;
}

/* what the engine looks up after dlopen() */
int td_cuda_open(TDDev **out, const TDGpu *gpu, TDLog *log)
{
    TDCuda *c = (TDCuda *)calloc(1, sizeof(*c));
    int ret;

    *out = NULL;
    if (!c)
        return td_error(log, ENOMEM, "cuda: out of memory");
    c->dev.ops = &cuda_ops;
    c->dev.log = log;
    c->dev.name = c->description;
    c->callers_stream = (cudaStream_t)gpu->stream;
    ret = find_gpu(c, gpu);
    if (ret < 0) {
        free(c);
        return ret;
    }
    choose_kernels(&c->kernels, &c->card);
    *out = &c->dev;
    if (gpu->look)
        return 0;
    ret = cuda_attach(*out);
    if (ret >= 0) {
        ret = open_streams(c);
        if (ret >= 0)
            ret = td_cuda_load_kernels(*out);
        td_cuda_pop(*out);
    }
    if (ret < 0)
        cuda_close(out);
    return ret;
}
