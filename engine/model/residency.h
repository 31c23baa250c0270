/* SPDX-License-Identifier: BSD-2-Clause
 * Which weights are in memory while a clip is made: a pure function of the parts' sizes, the clip's stages and the
 * memory there is.
 *
 * `all` holds every part from td_open() on. `stage` holds the part of the stage at work. `auto` is as `all` where
 * weights and clip fit; where they do not, a part leaves only when another one, or the working memory of its stage,
 * needs the place. Where a part does not fit beside the working memory of its own stage, it comes block by block. */
#ifndef TD_RESIDENCY_H
#define TD_RESIDENCY_H

#include "api/turbodiff.h"

/** What a model is made of: its parts, and the tokenizer. Text-to-video models have no DIT_LOW (the low-noise expert;
 *  DIT is then the other one) and no ENCODER (of the VAE's file). */
enum TDFile {
    TD_FILE_DIT,
    TD_FILE_DIT_LOW,
    TD_FILE_TEXT,
    TD_FILE_VAE,
    TD_FILE_ENCODER,
    TD_FILE_TOKENIZER,
    TD_N_FILES,
    TD_N_PARTS = TD_FILE_TOKENIZER
};

/** Weights leave in this order. */
extern const enum TDFile td_leave_order[TD_N_PARTS];

/** A stage of a clip: the part it computes with, and its working memory. */
typedef struct TDStep {
    enum TDFile file;
    uint64_t bytes;
} TDStep;

typedef struct TDPlan {
    int by_stage;                                ///< weights leave when others need their place
    int may_prefetch;                            ///< by stage: both experts and the clip have room
    int streamed[TD_N_PARTS];                    ///< by stage: comes block by block, each time that it is gone through
    uint64_t weights, clip;                      ///< of the moment with the highest sum
    uint64_t limit;                              ///< what weights and clip may take: free memory, or max_bytes
    int limited;                                 ///< the limit is max_bytes
    uint64_t others;                             ///< GPU: in use already, by the driver and other programs
} TDPlan;

/** What a part takes; 0 where there is none. */
typedef struct TDPartCost {
    uint64_t whole, streamed;                    ///< bytes; streamed 0: it cannot come block by block
} TDPartCost;

/** Fill all but the limit for a clip of n stages that keeps `fixed` bytes throughout. held: whether a part is in memory
 *  when the clip begins. */
void td_plan_residency(TDPlan *plan, enum TDResidency residency, const TDPartCost cost[TD_N_PARTS],
                       const int held[TD_N_PARTS], const TDStep *steps, int n, uint64_t fixed);

#endif /* TD_RESIDENCY_H */
