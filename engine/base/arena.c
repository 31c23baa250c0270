/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/arena.h"

void td_arena_init(TDArena *a, void *base, size_t size, TDLog *log)
{
    *a = (TDArena){ .base = base, .size = base ? size : SIZE_MAX - TD_ARENA_ALIGN, .log = log };
}

int td_arena_tensor(TDArena *a, TDTensor *t, enum TDDtype dtype, int n_dims, const int64_t *shape)
{
    size_t bytes = td_dtype_size(dtype);

    *t = (TDTensor){ .dtype = dtype, .n_dims = n_dims };
    for (int i = 0; i < TD_MAX_DIMS; i++) {
        t->shape[i] = i < n_dims ? shape[i] : 1;
        if (t->shape[i] < 0 || td_mul_size(&bytes, bytes, (size_t)t->shape[i]) < 0)
            goto fail;
    }
    if (bytes > a->size - a->used)
        goto fail;
    if (a->base)
        t->data = a->base + a->used;
    bytes = (bytes + TD_ARENA_ALIGN - 1) & ~(size_t)(TD_ARENA_ALIGN - 1);
    a->used = bytes > a->size - a->used ? a->size : a->used + bytes;
    if (a->used > a->peak)
        a->peak = a->used;
    return 0;

fail:
    return td_error(a->log, ENOMEM, "clip memory: a tensor of %lld x %lld x %lld x %lld %s does not fit in %zu bytes",
                    (long long)t->shape[0], (long long)t->shape[1], (long long)t->shape[2], (long long)t->shape[3],
                    td_dtype_name(dtype), a->size);
}
