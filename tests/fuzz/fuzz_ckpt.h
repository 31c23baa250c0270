/* SPDX-License-Identifier: BSD-2-Clause
 * One input of a weight-file target: parse it from memory (so that the address checker sees every byte read), then read
 * every tensor of what opened. */
#ifndef FUZZ_CKPT_H
#define FUZZ_CKPT_H

#include <stdlib.h>
#include <string.h>
#include "files/checkpoint_priv.h"

#define MAX_COUNT (1 << 20)                      /* elements worth reading */

static volatile uint8_t fuzz_sum;                /* keeps the reads */

/* more: with what opened, or NULL */
static void fuzz_ckpt(const uint8_t *data, size_t size, void (*more)(const TDCheckpoint *c))
{
    TDCheckpoint *c = calloc(1, sizeof(*c));
    char *path = malloc(32);
    uint8_t sum = 0;
    TDLog log = { 0 };
    const TDEntry *e;
    float *dst;

    if (!c || !path)
        abort();
    strcpy(path, "/nonexistent/input");
    c->path = path;
    if (size && !td_ckpt_parse(c, (TDMapping){ data, size }, &log)) {
        if (more)
            more(c);
        for (int i = 0; (e = td_checkpoint_entry(c, i)); i++) {
            if (td_checkpoint_find(c, e->name) != e)
                abort();
            for (size_t k = 0; k < e->bytes; k++)
                sum ^= e->data[k];
            if (td_entry_count(e) > MAX_COUNT)
                continue;
            dst = malloc((size_t)td_entry_count(e) * sizeof(*dst) + 1);
            if (!dst)
                abort();
            td_entry_to_f32(e, dst);
            free(dst);
        }
    }
    td_checkpoint_close(&c);
    fuzz_sum = sum;
}

#endif /* FUZZ_CKPT_H */
