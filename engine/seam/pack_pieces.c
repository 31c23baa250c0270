/* SPDX-License-Identifier: BSD-2-Clause
 * Weights of a device that makes their values itself: what the file has, in pieces of whole rows, with their scales.
 *
 * Invariants
 *  1. A tensor goes this way whole or not at all: its rows lie one after another, in whole blocks, and nothing but its
 *     own scales changes its values.
 *  2. All pieces on their way have lanes of one size. A larger one is made when none is. */
#include "seam/pack_priv.h"

#define VALUES ((int64_t)1 << 20)                /* of a piece, or twice as many where rows are that long */

/* of a type, with what may stand beside it */
static int is_made(const TDEntry *e, enum TDDtype want)
{
    if (e->columns || e->rotated || e->change || !td_entry_is_contiguous(e))
        return 0;
    switch (e->dtype) {
    case TD_BF16:
        return want == TD_I8 && !e->scale;
    case TD_F32: case TD_F16: case TD_I8: case TD_F8_E4M3: case TD_F8_E5M2: case TD_FP4:
        return 1;
    default:
        return e->dtype >= TD_Q4_0;
    }
}

/* what is known of it without a device; scales of rows are to be found yet */
static TDPiece piece_of(const TDEntry *e, int64_t row0, int64_t rows, enum TDDtype want)
{
    int64_t k = td_entry_count(e) / e->shape[0], row = e->row0 + row0;
    TDPiece p = { .dtype = e->dtype, .src = e->data + td_dtype_bytes(e->dtype, row0 * k), .rows = rows, .k = k,
                  .bytes = td_dtype_bytes(e->dtype, rows * k), .factor = 1, .want = want };

    if (e->scale && e->group) {
        size_t tiles = (size_t)td_blocks(k / e->group, 4) * 512;     /* of 128 rows, a byte a scale */

        p.group = e->group;
        p.scales = e->scale->data + (size_t)(row / 128) * tiles;
        p.scale_bytes = (size_t)td_blocks(rows, 128) * tiles;
        if (e->scale_2)
            td_entry_to_f32(e->scale_2, &p.factor);
    } else if (e->scale && td_entry_count(e->scale) > 1) {
        p.scale_bytes = (size_t)rows * sizeof(float);
    } else if (e->scale) {
        p.factor = td_entry_scale(e, row, 0, 1);
    }
    return p;
}

int64_t td_piece_rows(const TDDev *dev, const TDEntry *e, int64_t row0, int64_t rows, enum TDDtype want)
{
    int64_t k = td_entry_count(e) / e->shape[0], step = want == TD_I8 || e->group ? 128 : 1,
            n = VALUES / k / step * step;
    TDPiece p;

    if (!n && step * k <= 2 * VALUES)
        n = step;
    if (!dev->caps.lanes || !n || !is_made(e, want) || k % td_dtype_block(e->dtype) ||
        (e->group && (e->row0 + row0) % 128))
        return 0;
    n = rows < n ? rows : n;
    p = piece_of(e, row0, n, want);
    return td_piece_pad(p.bytes) + td_piece_pad(p.scale_bytes) <= TD_PIECE_BYTES ? n : 0;
}

static size_t lane_of(const TDDev *dev, const TDEntry *e, int64_t row0, int64_t rows, enum TDDtype want)
{
    int64_t n = td_piece_rows(dev, e, row0, rows, want);
    TDPiece p = piece_of(e, row0, n, want);

    return n ? td_piece_lane(&p) : 0;
}

size_t td_pieces_scratch(const TDDev *dev, const TDEntry *e, int64_t row0, int64_t rows, enum TDDtype want)
{
    return (size_t)dev->caps.lanes * lane_of(dev, e, row0, rows, want);
}

/* the packer's lanes are as large */
static int make_lanes(TDDev *dev, size_t lane)
{
    TDPacker *p = dev->packer;
    int ret = 0;

    if (lane <= p->lane)
        return 0;
    if (p->pieces)
        TRY(td_packer_settle(dev));
    TRY(td_packer_scratch(dev, (size_t)dev->caps.lanes * lane));
    p->lane = lane;
fail:
    return ret;
}

static int row_scales(TDDev *dev, TDPiece *p, const TDEntry *e, int64_t row)
{
    void *scales = NULL;
    int ret;

    TRY(td_packer_values(dev, &scales, e, p->scale_bytes));
    for (int64_t i = 0; i < p->rows; i++)
        ((float *)scales)[i] = td_entry_scale(e, row + i, 0, 1);
    p->scales = scales;
fail:
    return ret;
}

int td_put_pieces(TDDev *dev, const TDWeights *w, void *dst, float *scale, const TDEntry *e, int64_t row0, int64_t rows,
                  enum TDDtype want)
{
    int64_t most = td_piece_rows(dev, e, row0, rows, want), k = td_entry_count(e) / e->shape[0];
    int ret;

    TRY(td_packer_open(dev));
    TRY(make_lanes(dev, lane_of(dev, e, row0, rows, want)));
    for (int64_t r = 0; r < rows; r += most) {
        TDPiece p = piece_of(e, row0 + r, rows - r < most ? rows - r : most, want);

        if (p.scale_bytes && !p.scales)
            TRY(row_scales(dev, &p, e, e->row0 + row0 + r));
        p.dst = (uint8_t *)dst + (size_t)(r * k) * td_dtype_size(want);
        p.dst_scale = scale ? scale + r / 128 * (k / 128) : NULL;
        p.scratch = dev->packer->scratch.ptr;
        p.lane = dev->packer->lane;
        dev->packer->pieces = 1;
        TRY(dev->ops->put_values(dev, w, &p));
    }
fail:
    return ret;
}
