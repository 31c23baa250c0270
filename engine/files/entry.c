/* SPDX-License-Identifier: BSD-2-Clause
 * Reading one tensor of a weight file: counting, and copying strided views of any type with values as dense f32, times
 * their scale, with what LoRAs make of them. */
#include <string.h>
#include "files/change.h"
#include "files/values.h"

#define COLUMNS 256                              /* whose scales are read at a time */

int64_t td_entry_count(const TDEntry *e)
{
    return td_shape_count(e->shape, e->n_dims);
}

TDEntry td_entry_rows(const TDEntry *e, int64_t row0, int64_t n)
{
    TDEntry part = *e;

    part.data += td_dtype_bytes(e->dtype, row0 * e->stride[0]);
    part.shape[0] = n;
    part.row0 += row0;
    return part;
}

int td_dtype_has_values(enum TDDtype t)
{
    return t <= TD_I8 || t >= TD_F8_E4M3;
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
            td_row_to_f32((float *)dst + done, src, e->dtype, inner, inner_stride);
        else
            row_copy((uint8_t *)dst + (size_t)done * size, src, size, inner, inner_stride);
        for (int i = outer_dims - 1; i >= 0 && ++pos[i] == e->shape[i]; i--)
            pos[i] = 0;
    }
}

static float value_at(const TDEntry *e, int64_t at)
{
    float v;

    td_row_to_f32(&v, e->data + at * (int64_t)td_dtype_size(e->dtype), e->dtype, 1, 1);
    return v;
}

float td_entry_scale(const TDEntry *e, int64_t row, int64_t group, int64_t n_groups)
{
    const TDEntry *s = e->scale;
    int64_t at = e->group ? td_swizzled(row, group, n_groups) : td_entry_count(s) > 1 ? row * s->stride[0] : 0;

    return value_at(s, at) * (e->scale_2 ? value_at(e->scale_2, 0) : 1);
}

/* k values of a row times their scales, and the inputs rotated back */
static void scale_row(const TDEntry *e, float *x, int64_t row, int64_t k)
{
    int64_t group = e->group ? e->group : k;

    for (int64_t i = 0; i < k; i += group) {
        float scale = td_entry_scale(e, row, i / group, k / group);

        for (int64_t j = i; j < i + group; j++)
            x[j] *= scale;
    }
    for (int64_t i = 0; e->rotated && i < k; i += e->rotated)
        td_rotate(x + i, e->rotated);
}

/* rows of k values, each column times its number */
static void scale_columns(const TDEntry *e, float *x, int64_t rows, int64_t k)
{
    const TDEntry *s = e->columns;
    float f[COLUMNS];

    for (int64_t c = 0; c < k; c += COLUMNS) {
        int64_t n = k - c < COLUMNS ? k - c : COLUMNS;

        td_row_to_f32(f, s->data + c * (int64_t)td_dtype_size(s->dtype), s->dtype, n, 1);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t i = 0; i < n; i++)
                x[r * k + c + i] *= f[i];
    }
}

int td_entry_to_f32(const TDEntry *e, float *dst)
{
    int64_t n = td_entry_count(e), k = n ? n / e->shape[0] : 0;

    if (!td_dtype_has_values(e->dtype))
        return TD_ERR(ENOTSUP);
    copy_rows(e, dst, 1);
    for (int64_t r = 0; e->scale && r < (n ? e->shape[0] : 0); r++)
        scale_row(e, dst + r * k, e->row0 + r, k);
    if (e->columns && n)
        scale_columns(e, dst, e->shape[0], k);
    if (e->change && n)
        td_change_rows(e->change, NULL, dst, e->row0, e->shape[0], k);
    return 0;
}

void td_entry_to_rows(const TDEntry *e, void *dst)
{
    copy_rows(e, dst, 0);
}
