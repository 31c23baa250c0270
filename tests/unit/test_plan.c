/* SPDX-License-Identifier: BSD-2-Clause
 * What td_plan_residency() answers, from numbers alone: a model of two experts, and clips through its stages. */
#include <string.h>
#include "model/residency.h"
#include "test.h"

enum { LOW = 1 << TD_FILE_DIT_LOW, ALL = (1 << TD_N_PARTS) - 1 };

static const TDPartCost pair[TD_N_PARTS] = { [TD_FILE_DIT] = { 140, 0 }, [TD_FILE_DIT_LOW] = { 140, 0 },
                                             [TD_FILE_TEXT] = { 110, 0 }, [TD_FILE_VAE] = { 3, 0 },
                                             [TD_FILE_ENCODER] = { 2, 0 } };
static const TDPartCost single[TD_N_PARTS] = { [TD_FILE_DIT] = { 140, 0 }, [TD_FILE_TEXT] = { 110, 0 },
                                               [TD_FILE_VAE] = { 3, 0 } };
/* the same by block, where it can */
static const TDPartCost pair_blocks[TD_N_PARTS] = { [TD_FILE_DIT] = { 140, 8 }, [TD_FILE_DIT_LOW] = { 140, 8 },
                                                    [TD_FILE_TEXT] = { 110, 9 }, [TD_FILE_VAE] = { 3, 0 },
                                                    [TD_FILE_ENCODER] = { 2, 0 } };
static const TDPartCost single_blocks[TD_N_PARTS] = { [TD_FILE_DIT] = { 140, 8 }, [TD_FILE_TEXT] = { 110, 9 },
                                                      [TD_FILE_VAE] = { 3, 0 } };

static const TDStep through_all[] = { { TD_FILE_TEXT, 5 }, { TD_FILE_ENCODER, 20 }, { TD_FILE_DIT, 30 },
                                      { TD_FILE_DIT_LOW, 30 }, { TD_FILE_VAE, 60 } };
static const TDStep one_expert[] = { { TD_FILE_TEXT, 5 }, { TD_FILE_DIT, 30 }, { TD_FILE_VAE, 60 } };

static const struct Case {
    const char *name;
    enum TDResidency residency;
    const TDPartCost *cost;
    const TDStep *steps;
    int n;
    unsigned held;
    uint64_t limit;
    int by_stage, may_prefetch;
    uint64_t weights, clip;                      /* `fixed` is 10 in all */
    unsigned streamed;
} cases[] = {
    { "room for all", TD_RESIDENT_AUTO, pair, through_all, 5, 0, 465, 0, 0, 395, 70, 0 },
    { "a byte short: the text encoder leaves before the decoder; the other expert comes beside the work",
      TD_RESIDENT_AUTO, pair, through_all, 5, 0, 464, 1, 1, 392, 40, 0 },
    { "the other expert in place of the text encoder", TD_RESIDENT_AUTO, pair, through_all, 5, 0, 325, 1, 0, 282, 40,
      0 },
    { "one expert in place of the other", TD_RESIDENT_AUTO, pair, through_all, 5, 0, 300, 1, 0, 252, 40, 0 },
    { "all, even where it does not fit", TD_RESIDENT_ALL, pair, through_all, 5, 0, 100, 0, 0, 395, 70, 0 },
    { "stage, even where all fits", TD_RESIDENT_STAGE, single, one_expert, 3, 0, 1000, 1, 0, 140, 40, 0 },
    { "stage: the other expert comes where there is room", TD_RESIDENT_STAGE, pair, through_all, 5, 0, 1000, 1, 1, 280,
      40, 0 },
    { "what is held counts until it leaves", TD_RESIDENT_AUTO, single, one_expert + 1, 2, 1 << TD_FILE_TEXT, 290, 1, 0,
      250, 40, 0 },
    { "a known prompt: the encoder leaves if need be", TD_RESIDENT_AUTO, single, one_expert + 1, 2, 1 << TD_FILE_TEXT,
      289, 1, 0, 143, 70, 0 },
    { "the low-noise expert alone", TD_RESIDENT_AUTO, pair, through_all + 3, 2, LOW, 213, 1, 0, 143, 70, 0 },
    { "no clip: the weights", TD_RESIDENT_ALL, single, NULL, 0, ALL, 0, 0, 0, 253, 10, 0 },
    { "where a part fits in its stage, it is whole", TD_RESIDENT_AUTO, single_blocks, one_expert, 3, 0, 180, 1, 0, 140,
      40, 0 },
    { "a byte short: the transformer comes block by block", TD_RESIDENT_AUTO, single_blocks, one_expert, 3, 0, 179, 1,
      0, 118, 40, 1 << TD_FILE_DIT },
    { "and the text encoder", TD_RESIDENT_AUTO, single_blocks, one_expert, 3, 0, 124, 1, 0, 3, 70,
      1 << TD_FILE_DIT | 1 << TD_FILE_TEXT },
    { "by stage as well", TD_RESIDENT_STAGE, single_blocks, one_expert, 3, 0, 124, 1, 0, 3, 70,
      1 << TD_FILE_DIT | 1 << TD_FILE_TEXT },
    { "not where all were asked for", TD_RESIDENT_ALL, single_blocks, one_expert, 3, 0, 124, 0, 0, 253, 70, 0 },
    { "both experts", TD_RESIDENT_AUTO, pair_blocks, through_all + 1, 4, 0, 73, 1, 0, 3, 70,
      1 << TD_FILE_DIT | 1 << TD_FILE_DIT_LOW },
    { "what is held and does not fit in its stage any more", TD_RESIDENT_AUTO, single_blocks, one_expert + 1, 2,
      1 << TD_FILE_DIT, 100, 1, 0, 3, 70, 1 << TD_FILE_DIT },
};

int main(void)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const struct Case *c = &cases[i];
        TDPlan plan = { .limit = c->limit }, again;
        int held[TD_N_PARTS];

        test_begin(c->name);
        for (int f = 0; f < TD_N_PARTS; f++)
            held[f] = (c->held >> f & 1) && c->cost[f].whole;
        td_plan_residency(&plan, c->residency, c->cost, held, c->steps, c->n, 10);
        CHECK_INT(plan.by_stage, c->by_stage);
        CHECK_INT(plan.may_prefetch, c->may_prefetch);
        CHECK_INT((long long)plan.weights, (long long)c->weights);
        CHECK_INT((long long)plan.clip, (long long)c->clip);
        for (int f = 0; f < TD_N_PARTS; f++)
            CHECK_INT(plan.streamed[f], (int)(c->streamed >> f & 1));
        again = plan;
        td_plan_residency(&again, c->residency, c->cost, held, c->steps, c->n, 10);
        CHECK(!memcmp(&again, &plan, sizeof(plan)));
    }
    return test_end();
}
