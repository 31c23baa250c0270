/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdlib.h>
#include <string.h>
#include "model/prompt_cache.h"

const uint16_t *td_prompt_find(TDPromptCache *c, const int32_t *ids, int n)
{
    for (int i = 0; i < TD_CACHED_PROMPTS; i++) {
        TDCachedPrompt *e = &c->entry[i];

        if (e->n == n && !memcmp(e->ids, ids, (size_t)n * sizeof(*ids))) {
            e->used = ++c->clock;
            return e->emb;
        }
    }
    return NULL;
}

int td_prompt_keep(TDPromptCache *c, const int32_t *ids, int n, const uint16_t *emb, int64_t dim, TDLog *log)
{
    TDCachedPrompt *e = c->entry;
    size_t bytes = (size_t)n * (size_t)dim * sizeof(*emb);
    uint16_t *copy = malloc(bytes);

    if (!copy)
        return td_error(log, ENOMEM, "text: out of memory");
    for (int i = 1; i < TD_CACHED_PROMPTS; i++)
        if (c->entry[i].used < e->used)
            e = &c->entry[i];
    free(e->emb);
    e->emb = memcpy(copy, emb, bytes);
    e->n = n;
    e->used = ++c->clock;
    memcpy(e->ids, ids, (size_t)n * sizeof(*ids));
    return 0;
}

void td_prompt_clear(TDPromptCache *c)
{
    for (int i = 0; i < TD_CACHED_PROMPTS; i++)
        free(c->entry[i].emb);
    *c = (TDPromptCache){ 0 };
}
