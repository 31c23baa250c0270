/* SPDX-License-Identifier: BSD-2-Clause
 * Cards that tests run as, whatever GPU they have: one that can do as much. */
#ifndef CARDS_H
#define CARDS_H

#include <string.h>
#include "seam/backend.h"

static const struct { const char *name; TDCard card; } cards[] = {
    { "a100",    { 80, 166912, 0, 0, (uint64_t)80 << 30 } },
    { "rtx3090", { 86, 101376, 0, 0, (uint64_t)24 << 30 } },
    { "rtx4090", { 89, 101376, 0, 0, (uint64_t)24 << 30 } },
    { "h100",    { 90, 232448, 1, 1, (uint64_t)80 << 30 } },
    { "b200",    { 100, 232448, 1, 1, (uint64_t)180 << 30 } },
    { "rtx5090", { 120, 101376, 1, 1, (uint64_t)32 << 30 } },
};
enum { N_CARDS = sizeof(cards) / sizeof(*cards) };

/** NULL: no such card */
static inline const TDCard *card_by_name(const char *name)
{
    for (int i = 0; i < N_CARDS; i++)
        if (!strcmp(cards[i].name, name))
            return &cards[i].card;
    return NULL;
}

#endif /* CARDS_H */
