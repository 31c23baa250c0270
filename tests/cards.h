/* SPDX-License-Identifier: BSD-2-Clause
 * Cards that tests run as, whatever GPU they have: one that can do as much. "wsl2" is in a system that gives out no
 * page-locked memory. */
#ifndef CARDS_H
#define CARDS_H

#include <string.h>
#include "seam/backend.h"

static const struct { const char *name; TDCard card; int n_sm, mhz; } cards[] = {
    { "a100",    { 80, 166912, 0, 0, (uint64_t)80 << 30, 0 }, 108, 1410 },
    { "rtx3090", { 86, 101376, 0, 0, (uint64_t)24 << 30, 0 }, 82, 1695 },
    { "rtx4090", { 89, 101376, 0, 0, (uint64_t)24 << 30, 0 }, 128, 2520 },
    { "h100",    { 90, 232448, 1, 1, (uint64_t)80 << 30, 0 }, 132, 1980 },
    { "b200",    { 100, 232448, 1, 1, (uint64_t)180 << 30, 0 }, 148, 1965 },
    { "rtx5090", { 120, 101376, 1, 1, (uint64_t)32 << 30, 0 }, 170, 2407 },
    { "wsl2",    { 86, 101376, 0, 0, (uint64_t)12 << 30, 1 }, 28, 1777 },
};
enum { N_CARDS = sizeof(cards) / sizeof(*cards) };

/** What --impl=NAME or -B NAME means: "cuda" (*as NULL) or a card. @return 0: neither */
static inline int card_named(const char *name, const TDCard **as)
{
    *as = NULL;
    for (int i = 0; i < N_CARDS; i++)
        if (!strcmp(cards[i].name, name))
            *as = &cards[i].card;
    return *as || !strcmp(name, "cuda");
}

#endif /* CARDS_H */
