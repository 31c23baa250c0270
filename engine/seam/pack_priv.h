/* SPDX-License-Identifier: BSD-2-Clause
 * Private to pack.c, pack_pieces.c and packer.c. */
#ifndef TD_PACK_PRIV_H
#define TD_PACK_PRIV_H

#include "base/thread.h"
#include "seam/backend.h"

/** What packing keeps from one tensor to the next (TDDev.packer). */
typedef struct TDPacker {
    TDPool *pool;                                ///< NULL: nothing was worth other threads yet
    uint8_t *values;                             ///< converted, up to `used` on their way until the device is synced
    size_t size, used;
    float *rows;                                 ///< of each worker's task
    size_t n_rows;
    TDBuf scratch;                               ///< of the device: lanes of pieces, or bf16 before it is quantised
    size_t lane;                                 ///< bytes of each; of all pieces that are on their way
    int pieces;                                  ///< some are: the scratch is theirs until the device is synced
} TDPacker;

/* packer.c */
int td_packer_open(TDDev *dev);                  ///< dev->packer is there. @return 0 or ENOMEM, logged
int td_packer_settle(TDDev *dev);                ///< nothing is on its way any more
/** *values: host memory for `bytes`, made of e, which the device may read until it is synced. @return 0, ENOMEM, or an
 *  error of a slot, logged */
int td_packer_values(TDDev *dev, void **values, const TDEntry *e, size_t bytes);
/** So many bytes of scratch at least; what it held may be gone. @return 0 or an error of a slot */
int td_packer_scratch(TDDev *dev, size_t bytes);

/* pack_pieces.c */
/** Rows of the pieces that rows [row0, row0 + rows) of e are put in; 0: the device does not make such values itself. */
int64_t td_piece_rows(const TDDev *dev, const TDEntry *e, int64_t row0, int64_t rows, enum TDDtype want);
/** Bytes of scratch that td_put_pieces() of the same takes; 0 where there are no pieces. */
size_t td_pieces_scratch(const TDDev *dev, const TDEntry *e, int64_t row0, int64_t rows, enum TDDtype want);
/** Their values as `want` (bf16, f32; i8 with scales) to device memory, done with the next sync. @return 0, ENOMEM, or
 *  an error of a slot */
int td_put_pieces(TDDev *dev, const TDWeights *w, void *dst, float *scale, const TDEntry *e, int64_t row0, int64_t rows,
                  enum TDDtype want);

#endif /* TD_PACK_PRIV_H */
