/* SPDX-License-Identifier: BSD-2-Clause
 * What a tensor's name in a LoRA file says: which module of the model it belongs to, and what it is to it. */
#ifndef TD_LORA_NAMES_H
#define TD_LORA_NAMES_H

#include "files/checkpoint.h"

enum TDLoraRole {
    TD_LORA_DOWN, TD_LORA_UP, TD_LORA_UP_BIAS, TD_LORA_ALPHA, TD_LORA_DORA,
    TD_LORA_DIFF, TD_LORA_DIFF_BIAS, TD_LORA_DIFF_MODULATION, TD_LORA_SET,
    TD_LOHA_1A, TD_LOHA_1B, TD_LOHA_2A, TD_LOHA_2B,
    TD_LOKR_1, TD_LOKR_1A, TD_LOKR_1B, TD_LOKR_2, TD_LOKR_2A, TD_LOKR_2B,
    TD_LORA_OTHER,                               ///< known, and not supported
    TD_N_LORA_ROLES
};

/** The modules of a model by all their names. */
typedef struct TDLoraNames {
    char **module;                               ///< official names, sorted
    int n;
    struct TDSpelled { char *name; int module; } *spelled;    ///< with low lines for dots, sorted by name
    int n_spelled;
} TDLoraNames;

typedef struct TDLoraKey {
    const TDEntry *e;
    int module;                                  ///< of TDLoraNames, -1: none of the model's
    enum TDLoraRole role;                        ///< TD_N_LORA_ROLES: no name of a LoRA
    int low;                                     ///< it is said to be of the second of two transformers
    const char *own;                             ///< the module as the file names it, own_len bytes of e->name
    int own_len;
} TDLoraKey;

/** From the names of a transformer's tensors. @return 0 or a logged ENOMEM */
int  td_lora_names_make(TDLoraNames *names, const TDCheckpoint *base, TDLog *log);
void td_lora_names_free(TDLoraNames *names);
/** What e is. */
void td_lora_key(TDLoraKey *key, const TDLoraNames *names, const TDEntry *e);
/** Whether a tensor of this name can be of nothing but a LoRA. */
int  td_lora_is_name(const char *name);
/** Any ending of this role, for messages: ".lora_A.weight" */
const char *td_lora_role_name(enum TDLoraRole role);

#endif /* TD_LORA_NAMES_H */
