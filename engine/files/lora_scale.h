/* SPDX-License-Identifier: BSD-2-Clause
 * alpha / r of a LoRA whose file has no alpha beside its tensors: what peft's configuration says, as diffusers writes
 * it into the header. */
#ifndef TD_LORA_SCALE_H
#define TD_LORA_SCALE_H

#include "files/checkpoint.h"

typedef struct TDLoraPattern TDLoraPattern;      ///< names of modules, and a number

typedef struct TDLoraScales {
    int known;                                   ///< the file says something; else alpha is r
    double r, alpha;
    int rank_stable;                             ///< alpha / sqrt(r) instead
    TDLoraPattern *ranks, *alphas;               ///< in place of r and alpha, of some modules: the first that fits
    int n_ranks, n_alphas;
} TDLoraScales;

/** low: of diffusers' transformer_2. @return 0, or a logged EBADMSG, ENOTSUP, ENOMEM */
int  td_lora_scales_read(TDLoraScales *s, const TDCheckpoint *file, int low, TDLog *log);
void td_lora_scales_free(TDLoraScales *s);
/** Of the module that the file names so (len bytes of `module`), whose tensors have this rank.
 *  @return 0, or a logged EBADMSG where the file says another rank */
int  td_lora_scale(const TDLoraScales *s, double *scale, const TDEntry *e, const char *module, int len, int64_t rank,
                   TDLog *log);

#endif /* TD_LORA_SCALE_H */
