/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>
#include "model/residency.h"

/* those that a clip with a known prompt does without, small ones, the transformers */
const enum TDFile td_leave_order[TD_N_PARTS] = { TD_FILE_TEXT, TD_FILE_ENCODER, TD_FILE_VAE, TD_FILE_DIT,
                                                 TD_FILE_DIT_LOW };

/* take what is in, add a step's part, and let others leave as td_model_require() will. @return bytes of weights then */
static uint64_t step_weights(TDPlan *plan, int always, const TDPartCost cost[TD_N_PARTS], int in[TD_N_PARTS],
                             enum TDFile file, int low_follows, uint64_t room)
{
    int streamed = cost[file].streamed && cost[file].whole > room;
    uint64_t sum = 0;

    in[file] = 1;
    for (int f = 0; f < TD_N_PARTS; f++)
        sum += !in[f] ? 0 : f == (int)file && streamed ? cost[f].streamed : cost[f].whole;
    for (int i = 0; i < TD_N_PARTS; i++) {
        enum TDFile f = td_leave_order[i];

        if (f != file && in[f] && (always || sum > room)) {
            in[f] = 0;
            sum -= cost[f].whole;
        }
    }
    if (file == TD_FILE_DIT && low_follows && !in[TD_FILE_DIT_LOW] && sum + cost[TD_FILE_DIT_LOW].whole <= room) {
        plan->may_prefetch = in[TD_FILE_DIT_LOW] = 1;
        sum += cost[TD_FILE_DIT_LOW].whole;
    }
    plan->streamed[file] = streamed;
    in[file] = !streamed;                        /* its blocks go with the stage */
    return sum;
}

void td_plan_residency(TDPlan *plan, enum TDResidency residency, const TDPartCost cost[TD_N_PARTS],
                       const int held[TD_N_PARTS], const TDStep *steps, int n, uint64_t fixed)
{
    uint64_t all = 0, work = 0;
    int in[TD_N_PARTS];

    for (int f = 0; f < TD_N_PARTS; f++)
        all += cost[f].whole;
    for (int i = 0; i < n; i++)
        work = steps[i].bytes > work ? steps[i].bytes : work;
    plan->may_prefetch = 0;
    memset(plan->streamed, 0, sizeof(plan->streamed));
    plan->by_stage = residency == TD_RESIDENT_STAGE ||
                     (residency == TD_RESIDENT_AUTO && all + fixed + work > plan->limit);
    plan->weights = plan->by_stage ? 0 : all;
    plan->clip = plan->by_stage ? 0 : fixed + work;
    memcpy(in, held, sizeof(in));
    for (int i = 0; i < n && plan->by_stage; i++) {
        uint64_t clip = fixed + steps[i].bytes;
        int low_follows = i + 1 < n && steps[i + 1].file == TD_FILE_DIT_LOW;
        uint64_t weights = step_weights(plan, residency == TD_RESIDENT_STAGE, cost, in, steps[i].file, low_follows,
                                        plan->limit > clip ? plan->limit - clip : 0);

        if (weights + clip > plan->weights + plan->clip) {
            plan->weights = weights;
            plan->clip = clip;
        }
    }
}
