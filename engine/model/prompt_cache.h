/* SPDX-License-Identifier: BSD-2-Clause
 * The embeddings of a context's last prompts, in host memory, so that a prompt used again needs no text encoder. At
 * most 4 prompts, the one not used for the longest time leaves. */
#ifndef TD_PROMPT_CACHE_H
#define TD_PROMPT_CACHE_H

#include "base/log.h"
#include "base/wan.h"

#define TD_CACHED_PROMPTS 4

typedef struct TDCachedPrompt {
    int n;                                       ///< tokens; 0: empty
    int32_t ids[TD_TEXT_LEN];
    uint16_t *emb;                               ///< bf16 [n, dim]
    uint64_t used;                               ///< time of the last use
} TDCachedPrompt;

typedef struct TDPromptCache {
    TDCachedPrompt entry[TD_CACHED_PROMPTS];
    uint64_t clock;
} TDPromptCache;

/** @return the embedding of these tokens, valid until the next td_prompt_keep(), or NULL */
const uint16_t *td_prompt_find(TDPromptCache *c, const int32_t *ids, int n);
/** Keep the first n rows of emb, bf16 [*, dim]. @return 0 or ENOMEM (logged) */
int  td_prompt_keep(TDPromptCache *c, const int32_t *ids, int n, const uint16_t *emb, int64_t dim, TDLog *log);
void td_prompt_clear(TDPromptCache *c);

#endif /* TD_PROMPT_CACHE_H */
