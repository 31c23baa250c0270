/* SPDX-License-Identifier: BSD-2-Clause
 * Reading one tensor of a weight file: counting, and copying strided views of any float type as dense f32. Apart from
 * the file readers, so that a device module can link it alone. */
#include <string.h>
#include "files/checkpoint.h"

int64_t td_entry_count(const TDEntry *e)
{
    return td_shape_count(e->shape, e->n_dims);
}

int td_entry_is_contiguous(const TDEntry *e)
{
    int64_t step = 1;

    if (!td_entry_count(e))                      /* whatever its strides are; the products of the others may overflow */
        return 1;
    for (int i = e->n_dims - 1; i >= 0; i--) {
        if (e->shape[i] > 1 && e->stride[i] != step)
            return 0;
        step *= e->shape[i];
    }
    return 1;
}

/* n elements, step elements apart */
static void row_to_f32(float *dst, const uint8_t *src, enum TDDtype dtype, int64_t n, int64_t step)
{
    int64_t s = n > 1 ? step * (int64_t)td_dtype_size(dtype) : 0;    /* the stride of one element may be anything */
    uint16_t h;
    double d;

    switch (dtype) {
    case TD_F32:
        for (int64_t i = 0; i < n; i++, src += s)
            memcpy(dst + i, src, 4);
        break;
    case TD_BF16:
        for (int64_t i = 0; i < n; i++, src += s) {
            memcpy(&h, src, 2);
            dst[i] = td_bf16_to_f32(h);
        }
        break;
    case TD_F16:
        for (int64_t i = 0; i < n; i++, src += s) {
            memcpy(&h, src, 2);
            dst[i] = td_f16_to_f32(h);
        }
        break;
    case TD_F64:
        for (int64_t i = 0; i < n; i++, src += s) {
            memcpy(&d, src, 8);
            dst[i] = (float)d;
        }
        break;
    default:                                     /* TD_I8, checked by the caller */
        for (int64_t i = 0; i < n; i++, src += s)
            dst[i] = (float)(int8_t)*src;
        break;
    }
}

static void row_copy(uint8_t *dst, const uint8_t *src, size_t size, int64_t n, int64_t step)
{
    int64_t s = n > 1 ? step * (int64_t)size : 0;

    if (s == (int64_t)size) {
        memcpy(dst, src, (size_t)n * size);
        return;
    }
    for (int64_t i = 0; i < n; i++, src += s, dst += size)
        memcpy(dst, src, size);
}

/* dst: f32, or elements of e's own dtype */
static void copy_rows(const TDEntry *e, void *dst, int as_f32)
{
    int64_t n = td_entry_count(e), inner = n, inner_stride = 1, pos[TD_MAX_DIMS] = { 0 };
    size_t size = td_dtype_size(e->dtype);
    int outer_dims = 0;

    if (!n)
        return;
    if (!td_entry_is_contiguous(e)) {
        outer_dims   = e->n_dims - 1;
        inner        = e->shape[outer_dims];
        inner_stride = e->stride[outer_dims];
    }
    for (int64_t done = 0; done < n; done += inner) {
        int64_t offset = 0;
        const uint8_t *src;

        for (int i = 0; i < outer_dims; i++)
            offset += pos[i] * e->stride[i];
        src = e->data + offset * (int64_t)size;
        if (as_f32)
            row_to_f32((float *)dst + done, src, e->dtype, inner, inner_stride);
        else
            row_copy((uint8_t *)dst + (size_t)done * size, src, size, inner, inner_stride);
        for (int i = outer_dims - 1; i >= 0 && ++pos[i] == e->shape[i]; i--)
            pos[i] = 0;
    }
}

int td_entry_to_f32(const TDEntry *e, float *dst)
{
    if (e->dtype > TD_I8)
        return TD_ERR(ENOTSUP);
    copy_rows(e, dst, 1);
    return 0;
}

void td_entry_to_rows(const TDEntry *e, void *dst)
{
    copy_rows(e, dst, 0);
}
