/* SPDX-License-Identifier: BSD-2-Clause
 * Private to lora.c and lora_module.c: one file on its way onto a model. */
#ifndef TD_LORA_PRIV_H
#define TD_LORA_PRIV_H

#include "files/checkpoint_priv.h"
#include "files/lora.h"
#include "files/lora_names.h"
#include "files/lora_scale.h"

typedef struct TDLoraJob {
    TDLora *lora;
    TDCheckpoint *base;
    const TDLoraFile *f;
    const TDLoraNames *names;
    const TDLoraScales *scales;
    int change, low;                             ///< as td_lora_apply() has them
    TDLog *log;
    int n_fit, n_misfit;                         ///< tensors
    const TDEntry *misfit;                       ///< the first one
} TDLoraJob;

/** What a file has of one module. */
typedef struct TDLoraModule {
    const char *name;
    const TDLoraKey *of[TD_N_LORA_ROLES];        ///< NULL: nothing
} TDLoraModule;

/** Count a tensor that fits nothing. */
static inline void td_lora_misfit(TDLoraJob *job, const TDEntry *e)
{
    job->n_misfit++;
    job->misfit = job->misfit ? job->misfit : e;
}

/** Check the tensors of a module, and add what they make of its weight, bias and modulation. @return 0 or a logged
 *  error */
int td_lora_module(TDLoraJob *job, const TDLoraModule *m);

#endif /* TD_LORA_PRIV_H */
