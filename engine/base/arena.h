/* SPDX-License-Identifier: BSD-2-Clause
 * Bump allocator over one block of device memory. A plan runs twice: first with base NULL, which only measures, then
 * over the allocated block, so that both passes carve the same addresses. */
#ifndef TD_ARENA_H
#define TD_ARENA_H

#include "base/log.h"
#include "base/tensor.h"

typedef struct TDBuf { void *ptr; size_t bytes; } TDBuf;

typedef struct TDArena {
    uint8_t *base;                               ///< NULL while measuring
    size_t size;                                 ///< bytes of the block; SIZE_MAX while measuring
    size_t used, peak;
    TDLog *log;
} TDArena;

#define TD_ARENA_ALIGN 256

void td_arena_init(TDArena *a, void *base, size_t size, TDLog *log);
/** Tensor of the given shape; contents undefined. @return 0 or ENOMEM (logged) */
int  td_arena_tensor(TDArena *a, TDTensor *t, enum TDDtype dtype, int n_dims, const int64_t *shape);
static inline size_t td_arena_mark(const TDArena *a) { return a->used; }
static inline void td_arena_reset(TDArena *a, size_t mark) { a->used = mark; }

/** td_arena_tensor() with the shape written in place: TD_CARVE(a, &t, TD_BF16, L, D) */
#define TD_CARVE(a, t, dtype, ...)                                                                                     \
    td_arena_tensor(a, t, dtype, (int)(sizeof((const int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)),                    \
                    (const int64_t[]){ __VA_ARGS__ })

#endif /* TD_ARENA_H */
