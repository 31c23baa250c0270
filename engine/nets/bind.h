/* SPDX-License-Identifier: BSD-2-Clause
 * From checkpoint names to packed weights, every shape checked on the way. */
#ifndef TD_BIND_H
#define TD_BIND_H

#include "seam/backend.h"

typedef struct TDBind {
    TDDev *dev;
    TDWeights *weights;
    const TDCheckpoint *ckpt;
    int biased;                                  ///< its linears have a bias; otherwise none has
    int f16;                                     ///< convolutions of what was normed may be of f16
} TDBind;

#define TD_MAX_WIDTH 65536                       /* of any layer: keeps products of sizes within 64 bits */

/** Entry "PREFIX.SUFFIX" (suffix may be ""), or an error that names it. */
int td_bind_entry(const TDBind *b, const TDEntry **e, const char *prefix, const char *suffix);

/** Linear [n,k] from PREFIX.weight or, where int8 is wanted, PREFIX.int8_weight + PREFIX.scale; and PREFIX.bias. Up to
 *  TD_LINEAR_PARTS prefixes of equal shape stack along n; n is that of one. */
int td_bind_linear(const TDBind *b, TDLinear *lin, enum TDDtype want, int64_t n, int64_t k, int n_parts,
                   const char *const prefix[]);
/** What td_bind_linear() packs, checked. */
int td_bind_source(const TDBind *b, TDLinearSource *src, enum TDDtype want, int64_t n, int64_t k, const char *prefix);
/** Float matrix [n,k], PREFIX.weight, left where it is */
int td_bind_matrix(const TDBind *b, const TDEntry **e, int64_t n, int64_t k, const char *prefix);
/** bf16 table [n,k] from PREFIX.weight */
int td_bind_table(const TDBind *b, TDTensor *table, int64_t n, int64_t k, const char *prefix);
/** n finite values into dst */
int td_bind_values(const TDBind *b, float *dst, int64_t n, const char *prefix, const char *suffix);
/** n finite values as f32 on the device */
int td_bind_vector(const TDBind *b, const float **dst, int64_t n, const char *prefix, const char *suffix);
/** Convolution of known channels and kernel from PREFIX.weight and, if biased, PREFIX.bias; conv's shape fields set by
 *  the caller */
int td_bind_conv(const TDBind *b, TDConv *conv, const char *prefix, int biased);

#endif /* TD_BIND_H */
