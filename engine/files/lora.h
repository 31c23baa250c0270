/* SPDX-License-Identifier: BSD-2-Clause
 * LoRA files, and what they make of the weights of one transformer (doc/formats.md). Names of both are official ones or
 * another project's; which pairs, differences and scales belong together is found out once, when a file of weights is
 * opened, and its tensors are read changed from then on (TDEntry.change).
 *
 * What is computed with in the codes it is stored in, TurboDiffusion's int8, cannot be changed: there a pair U V stays
 * beside the weight (TDLoraSide). */
#ifndef TD_LORA_H
#define TD_LORA_H

#include "files/change.h"

typedef struct TDLoraFile {
    TDCheckpoint *file;
    float strength;
} TDLoraFile;

/** y += factor * U (V x), beside a linear of int8 */
typedef struct TDLoraSide {
    const TDEntry *weight;                       ///< MODULE.int8_weight [N,K]
    TDPlane up, down;                            ///< U [N,r], V [r,K]
    float factor;                                ///< strength * alpha / r
} TDLoraSide;

typedef struct TDLora {
    TDLoraFile *files;                           ///< in the order they are applied in
    int n_files;
    TDLoraSide *sides;                           ///< in the order of the model's names
    int n_sides, n_changed;                      ///< tensors that are changed
    void **owned;                                ///< memory that changes point into
    int n_owned;
} TDLora;

/** Open the files of FILE[*STRENGTH][|FILE[*STRENGTH]]... option: its name, for messages. @return 0; EINVAL, or what
 *  td_checkpoint_open() returns, logged */
int  td_lora_open(TDLora **lora, const char *text, const char *option, TDLog *log);
/** The same of a file that is open, which becomes the list's. On error it is closed. */
int  td_lora_add(TDLora *lora, TDCheckpoint *file, float strength, TDLog *log);
/** Compare every tensor with the weights of base, and have them read changed (`change`), or only find out what is
 *  beside them. lora must outlive base's use. low: base is the second of two transformers. A file that fits nowhere is
 *  an error, what of it does not fit one warning (with change).
 *  @return 0; EINVAL (it is of another model, or its kind does not go with int8), EBADMSG, ENOTSUP, ENOMEM, logged */
int  td_lora_apply(TDLora *lora, TDCheckpoint *base, int change, int low, TDLog *log);
/** Whether both are the same files with the same strengths; NULL: none */
int  td_lora_same(const TDLora *a, const TDLora *b);
/** Whether the files are as they were. @return 0, or a logged EBADMSG */
int  td_lora_check(const TDLora *lora, TDLog *log);
void td_lora_free(TDLora **lora);

/** Whether a file is a LoRA, by its tensors' names. */
int  td_lora_is(const TDCheckpoint *file);

#endif /* TD_LORA_H */
