/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>
#include "base/options.h"
#include "base/thread.h"
#include "base/wan.h"

const char *const td_attention_words[] = { [TD_ATTN_AUTO] = "auto", [TD_ATTN_DENSE] = "dense", [TD_ATTN_SLA] = "sla",
                                           [TD_ATTN_SAGESLA] = "sagesla", NULL };
const char *const td_quant_words[] = { [TD_QUANT_AUTO] = "auto", [TD_QUANT_NONE] = "none", [TD_QUANT_INT8] = "int8",
                                       NULL };
const char *const td_sla_block_words[] = { [TD_SLA_BLOCK_AUTO] = "auto", [TD_SLA_BLOCK_128X64] = "128x64",
                                           [TD_SLA_BLOCK_64X128] = "64x128", NULL };
const char *const td_noise_words[] = { [TD_NOISE_AUTO] = "auto", [TD_NOISE_H100] = "h100",
                                       [TD_NOISE_RTX5090] = "rtx5090", [TD_NOISE_RTX4090] = "rtx4090",
                                       [TD_NOISE_A100] = "a100", [TD_NOISE_CPU] = "cpu", NULL };
static const char *const vae_dtypes[] = { [TD_VAE_DTYPE_AUTO] = "auto", [TD_VAE_DTYPE_BF16] = "bf16", NULL };
static const char *const norms[] = { [TD_NORM_OFFICIAL] = "official", [TD_NORM_EXACT] = "exact", NULL };
static const char *const samplers[] = { [TD_SAMPLER_RCM] = "rcm", [TD_SAMPLER_UNIPC] = "unipc", NULL };
static const char *const backends[] = { [TD_BACKEND_AUTO] = "auto", [TD_BACKEND_CPU] = "cpu",
                                        [TD_BACKEND_CUDA] = "cuda", NULL };
static const char *const residencies[] = { [TD_RESIDENT_AUTO] = "auto", [TD_RESIDENT_ALL] = "all",
                                           [TD_RESIDENT_STAGE] = "stage", NULL };

/* fields of each kind */
#define TYPE_WORD   unsigned                     /* an enum without negative values */
#define TYPE_FLAG   int
#define TYPE_INT    int
#define TYPE_U64    uint64_t
#define TYPE_DOUBLE double
#define TYPE_TEXT   const char *

/* what reads and writes a field goes by its kind: a field of another type does not compile */
#define OFFSET(struct, field, kind) _Generic(((struct *)0)->field, TYPE_##kind: offsetof(struct, field))
#define ROW(struct, is_clip, option, field, kind, ...) \
    { .name = option, .of_clip = is_clip, .type = TD_OPTION_##kind, .offset = OFFSET(struct, field, kind), __VA_ARGS__ }
#define SETTING(...) ROW(TDSettings, 0, __VA_ARGS__)
#define PARAM(...)   ROW(TDParams, 1, __VA_ARGS__)

const TDOption td_options[] = {
    SETTING("backend", backend, WORD, .words = backends),
    SETTING("device", card, TEXT, .words = NULL),
    SETTING("threads", n_threads, INT, .low = 0, .high = TD_MAX_THREADS),
    SETTING("attention", attention, WORD, .words = td_attention_words),
    SETTING("quant", quant, WORD, .words = td_quant_words),
    SETTING("norm", norm, WORD, .words = norms),
    SETTING("vae_dtype", vae_dtype, WORD, .words = vae_dtypes),
    SETTING("sla_block", sla_block, WORD, .words = td_sla_block_words),
    SETTING("residency", residency, WORD, .words = residencies),
    SETTING("max_bytes", max_bytes, U64, .words = NULL),
    PARAM("frames", n_frames, INT, .named_high = TD_MAX_FRAMES),
    PARAM("sampler", sampler, WORD, .words = samplers),
    PARAM("steps", n_steps, INT, .named_high = TD_MAX_STEPS),
    PARAM("noise", noise, WORD, .words = td_noise_words),
    PARAM("sigma_max", sigma_max, DOUBLE, .low = 0.01, .high = 1e6),
    PARAM("timesteps", timesteps, TEXT, .words = NULL),
    PARAM("ode", ode, FLAG, .words = NULL),
    PARAM("topk", sla_topk, DOUBLE, .words = NULL),
    PARAM("guidance", guidance, DOUBLE, .low = 0, .high = 100, .named_low = 1,
          .second = OFFSET(TDParams, guidance_low, DOUBLE)),
    PARAM("shift", shift, DOUBLE, .low = TD_MIN_SHIFT, .high = TD_MAX_SHIFT),
    PARAM("boundary", boundary, DOUBLE, .low = 0, .high = 1),
    PARAM("lora", lora, TEXT, .words = NULL),
    PARAM("lora_low", lora_low, TEXT, .words = NULL),
    { .name = NULL },
};

const TDOption *td_option(const char *name)
{
    for (const TDOption *o = td_options; o->name; o++)
        if (!strcmp(o->name, name))
            return o;
    return NULL;
}

int td_options_check(const void *of, int of_clip, TDLog *log)
{
    for (const TDOption *o = td_options; o->name; o++) {
        const uint8_t *field = (const uint8_t *)of + o->offset;

        if (o->of_clip != of_clip)
            continue;
        if (o->type == TD_OPTION_WORD) {
            unsigned v, n = 0;

            memcpy(&v, field, sizeof(v));
            while (o->words[n])
                n++;
            if (v >= n)
                return td_error(log, EINVAL, "%s: value outside its enum", o->name);
        } else if (o->type == TD_OPTION_INT && o->high > o->low) {
            int v;

            memcpy(&v, field, sizeof(v));
            if (v < o->low || v > o->high)
                return td_error(log, EINVAL, "%s: %d, want %g to %g", o->name, v, o->low, o->high);
        } else if (o->type == TD_OPTION_DOUBLE && o->high > o->low) {
            double v[2];

            memcpy(&v[0], field, sizeof(v[0]));
            memcpy(&v[1], o->second ? (const uint8_t *)of + o->second : field, sizeof(v[1]));
            for (int i = 0; i < 2; i++)
                if (!(v[i] >= o->low && v[i] <= o->high))
                    return td_error(log, EINVAL, "%s: %g, want %g to %g", o->name, v[i], o->low, o->high);
        }
    }
    return 0;
}
