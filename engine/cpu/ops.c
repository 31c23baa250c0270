/* SPDX-License-Identifier: BSD-2-Clause
 * The CPU backend's device: memory, tables, workers, and the list of its slots. */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "cpu/cpu.h"

static int cpu_alloc(TDDev *dev, TDBuf *buf, size_t bytes, const char *what)
{
    size_t padded = (bytes + TD_ARENA_ALIGN - 1) & ~(size_t)(TD_ARENA_ALIGN - 1);

    buf->ptr = padded >= bytes ? aligned_alloc(TD_ARENA_ALIGN, padded ? padded : TD_ARENA_ALIGN) : NULL;
    buf->bytes = bytes;
    return buf->ptr ? 0 : td_error(dev->log, ENOMEM, "cpu: cannot allocate %zu bytes for %s", bytes, what);
}

static void cpu_free(TDDev *dev, TDBuf *buf)
{
    (void)dev;
    free(buf->ptr);
    *buf = (TDBuf){ 0 };
}

static int cpu_upload(TDDev *dev, TDTensor *dst, const void *src)
{
    (void)dev;
    memcpy(dst->data, src, td_tensor_bytes(dst));
    return 0;
}

static int cpu_download(TDDev *dev, void *dst, const TDTensor *src)
{
    (void)dev;
    memcpy(dst, src->data, td_tensor_bytes(src));
    return 0;
}

static int cpu_zero(TDDev *dev, TDTensor *t)
{
    (void)dev;
    memset(t->data, 0, td_tensor_bytes(t));
    return 0;
}

/* sync, attach: a slot's work is done when it returns, wherever it runs */
static int cpu_nothing(TDDev *dev)
{
    (void)dev;
    return 0;
}

static void cpu_detach(TDDev *dev)
{
    (void)dev;
}

/* "MemAvailable:   123 kB" of /proc/meminfo: free memory and what the kernel can free without swapping */
static int cpu_memory(TDDev *dev, uint64_t *available, uint64_t *total)
{
    static const char key[] = "MemAvailable:";
    char text[4096];
    const char *p;
    ssize_t n = 0;
    int fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);

    (void)dev;
    *total = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    *available = *total;
    if (fd < 0)
        return 0;
    n = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    if ((p = strstr(text, key)))
        *available = strtoull(p + sizeof(key) - 1, NULL, 10) * 1024;
    return 0;
}

static int cpu_reopen(const TDDev *dev, TDDev **another, TDCancel *cancel, TDLog *log)
{
    return td_cpu_open(another, 1, ((const TDCpu *)dev)->k->name, cancel, log);
}

static int cpu_put(TDDev *dev, const TDWeights *w, void *dst, const void *src, size_t bytes, int keep)
{
    (void)dev, (void)w, (void)keep;
    memcpy(dst, src, bytes);
    return 0;
}

/* a picture is converted when it is fetched, straight into the caller's planes */

static int cpu_plan_frames(TDDev *dev, TDArena *a, TDFrameSet *set)
{
    (void)dev, (void)a, (void)set;
    return 0;
}

static int cpu_reserve_frames(TDDev *dev, int64_t h, int64_t w)
{
    (void)dev, (void)h, (void)w;
    return 0;
}

static int cpu_begin_frames(TDDev *dev, TDFrameSet *set, const TDFrame *like)
{
    (void)dev, (void)set, (void)like;
    return 0;
}

static int cpu_wait_frames(TDDev *dev, TDFrameSet *set)
{
    (void)dev, (void)set;
    return 0;
}

static int cpu_quantise(TDDev *dev, TDAct *act)
{
    return td_cpu_quantise_act(td_cpu(dev), act);
}

static void cpu_close(TDDev **dev)
{
    TDCpu *cpu = td_cpu(*dev);

    if (!cpu)
        return;
    td_pack_end(*dev);
    for (int i = 0; cpu->scratch && i < cpu->n_threads; i++)
        free(cpu->scratch[i]);
    free(cpu->scratch);
    free(cpu->gelu);
    free(cpu->gelu_t5);
    td_pool_close(&cpu->pool);
    free(cpu);
    *dev = NULL;
}

static const TDOps cpu_ops = {
    .name = "cpu",
    .alloc = cpu_alloc,
    .free = cpu_free,
    .upload = cpu_upload,
    .download = cpu_download,
    .zero = cpu_zero,
    .sync = cpu_nothing,
    .attach = cpu_nothing,
    .detach = cpu_detach,
    .memory = cpu_memory,
    .reopen = cpu_reopen,
    .close = cpu_close,
    .put = cpu_put,
    .plan_qkv = td_cpu_plan_qkv,
    .plan_frames = cpu_plan_frames,
    .reserve_frames = cpu_reserve_frames,
    .patch_embed = td_cpu_patch_embed,
    .time_embed = td_cpu_time_embed,
    .add_modulation = td_cpu_add_modulation,
    .norm_modulate = td_cpu_norm_modulate,
    .rms_norm = td_cpu_rms_norm,
    .quantise = cpu_quantise,
    .linear = td_cpu_linear,
    .linear_gelu = td_cpu_linear_gelu,
    .linear_residual = td_cpu_linear_residual,
    .qk_norm_rope = td_cpu_qk_norm_rope,
    .attn_sla = td_cpu_attn_sla,
    .attn_dense = td_cpu_attn_dense,
    .head = td_cpu_head,
    .normal = td_cpu_normal,
    .scale_noise = td_cpu_scale_noise,
    .round_state = td_cpu_round_state,
    .rcm_step = td_cpu_rcm_step,
    .attn_t5 = td_cpu_attn_t5,
    .linear_geglu = td_cpu_linear_geglu,
    .vae_unscale = td_cpu_vae_unscale,
    .vae_scale = td_cpu_vae_scale,
    .repeat_frame = td_cpu_repeat_frame,
    .causal_conv3d = td_cpu_causal_conv3d,
    .keep_frames = td_cpu_keep_frames,
    .rms_silu = td_cpu_rms_silu,
    .begin_frames = cpu_begin_frames,
    .wait_frames = cpu_wait_frames,
    .fetch_frame = td_cpu_fetch_frame,
};

/* gelu: one f32 kernel with one rounding. gelu_t5: umT5 writes the formula out, every step a bf16 tensor. */
static int make_tables(TDCpu *cpu)
{
    cpu->gelu = malloc(65536 * sizeof(*cpu->gelu));
    cpu->gelu_t5 = malloc(65536 * sizeof(*cpu->gelu_t5));
    if (!cpu->gelu || !cpu->gelu_t5)
        return TD_ERR(ENOMEM);
    for (int i = 0; i < 65536; i++) {
        float x = td_bf16_to_f32((uint16_t)i), p, h;

        cpu->gelu[i] = td_f32_to_bf16(0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * (x * x * x)))));
        p = td_bf16_round(td_bf16_round(x * x) * x);
        p = td_bf16_round(x + td_bf16_round(0.044715f * p));
        h = td_bf16_round(tanhf(td_bf16_round(0.79788456f * p)));
        cpu->gelu_t5[i] = td_f32_to_bf16(td_bf16_round(0.5f * x) * td_bf16_round(1.0f + h));
    }
    return 0;
}

int td_cpu_open(TDDev **dev, int n_threads, const char *kernels, TDCancel *cancel, TDLog *log)
{
    static const TDCaps caps = { .memory = "host", .maps_files = 1, .width_step = 1 };
    TDCpu *cpu = calloc(1, sizeof(*cpu));
    int ret;

    *dev = (TDDev *)cpu;
    if (!cpu)
        return td_error(log, ENOMEM, "cpu: out of memory");
    cpu->dev = (TDDev){ .ops = &cpu_ops, .log = log, .name = cpu->description, .caps = caps, .cancel = cancel,
                        .ordinal = -1 };
    TRY(td_kernels_choose(&cpu->k, kernels, log));
    TRY(td_pool_open(&cpu->pool, n_threads, cancel, log));
    cpu->n_threads = td_pool_threads(cpu->pool);
    snprintf(cpu->description, sizeof(cpu->description), "%d thread%s, %s", cpu->n_threads,
             cpu->n_threads > 1 ? "s" : "", cpu->k->name);
    ret = make_tables(cpu);
    cpu->scratch = calloc((size_t)cpu->n_threads, sizeof(*cpu->scratch));
    for (int i = 0; cpu->scratch && i < cpu->n_threads && ret >= 0; i++)
        if (!(cpu->scratch[i] = aligned_alloc(64, TD_CPU_SCRATCH * sizeof(float))))
            ret = TD_ERR(ENOMEM);
    if (ret < 0 || !cpu->scratch) {
        ret = td_error(log, ENOMEM, "cpu: out of memory for tables and scratch of %d threads", cpu->n_threads);
        goto fail;
    }
    return 0;
fail:
    cpu_close(dev);
    return ret;
}
