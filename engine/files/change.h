/* SPDX-License-Identifier: BSD-2-Clause
 * What LoRAs make of a matrix W [N,K], row by row and in f32, before anything is rounded: doc/numerics.md has where.
 *
 *   delta of one change D =  U V                            TD_CHANGE_PAIR   m = U [N,r], V [r,K]
 *                            M                              TD_CHANGE_DIFF   m = M [N,K]
 *                            (A B) o (C D)                  TD_CHANGE_LOHA   m = A [N,r], B [r,K], C [N,r], D [r,K]
 *                            P (x) Q (Kronecker)            TD_CHANGE_LOKR   m = P or P_a, P_b; Q or Q_a, Q_b
 *   W' = W + strength * scale * D; M itself for TD_CHANGE_SET; with DoRA as td_change_rows() says.
 *
 * Formulas: Hu et al., LoRA, 2021; Hyeon-Woo et al., FedPara, 2021 (LoHa); Yeh et al., LyCORIS, 2023 (LoKr); Liu et
 * al., DoRA, 2024. */
#ifndef TD_CHANGE_H
#define TD_CHANGE_H

#include "files/checkpoint.h"

enum TDChangeKind { TD_CHANGE_PAIR, TD_CHANGE_DIFF, TD_CHANGE_SET, TD_CHANGE_LOHA, TD_CHANGE_LOKR };

/** A dense matrix in a file's mapping, or in memory of its own as f32. */
typedef struct TDPlane {
    const uint8_t *data;                         ///< NULL: there is none
    enum TDDtype dtype;                          ///< not in blocks
    int64_t rows, cols;
} TDPlane;

typedef struct TDChange {
    const struct TDChange *next;                 ///< what comes after it
    enum TDChangeKind kind;
    const char *file;                            ///< that it is of, for messages
    float strength;                              ///< of the file
    float scale;                                 ///< alpha / r, or 1
    TDPlane m[4];
    TDPlane dora;                                ///< [N,1], or by_column [1,K]
    int by_column;
    double *norms;                               ///< by_column: of W + scale * D, [K]; -1 first: not found yet
} TDChange;

/** Change `rows` rows of k values, from row0 of the matrix on, by the changes from c up to end (NULL: all). With DoRA
 *  W' = W + strength * (m (W + scale * D) / ||W + scale * D|| - W), the norm that of a row or a column. Where norms of
 *  columns are not found yet, they are those of these rows, which then have to be all. */
void td_change_rows(const TDChange *c, const TDChange *end, float *w, int64_t row0, int64_t rows, int64_t k);

/** The first change of a chain whose norms are not found yet, or NULL. */
const TDChange *td_change_without_norms(const TDChange *c);
/** For them: add the squares of w + scale * D to sums [K], for columns [col0, col0 + cols) of rows that all changes
 *  before c have been through. In whatever tasks, each column's sum is in the order of rows. */
void td_change_squares(const TDChange *c, double *sums, const float *w, int64_t row0, int64_t rows, int64_t k,
                       int64_t col0, int64_t cols);
/** All squares are summed up: the norms. */
void td_change_set_norms(const TDChange *c, const double *sums, int64_t k);

/** n values of a plane from (row, col) on */
void td_plane_row(float *dst, const TDPlane *p, int64_t row, int64_t col, int64_t n);

#endif /* TD_CHANGE_H */
