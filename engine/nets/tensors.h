/* SPDX-License-Identifier: BSD-2-Clause
 * The tensors of a network as a list, which is in the network's file: the engine binds by it, tdinfo says by it what a
 * file lacks, and tdsynth writes by it. */
#ifndef TD_TENSORS_H
#define TD_TENSORS_H

#include "nets/bind.h"

/** What a tensor is to its network, and with it the endings that its name has in a file. */
enum TDTensorKind {
    TD_IS_LINEAR,                                ///< .weight [n,k], and .bias [n] where the network has biases: bf16
    TD_IS_F32,                                   ///< the same, packed as f32
    TD_IS_QUANT,                                 ///< the same, or .int8_weight, .scale (a 128x128 block), .bias
    TD_IS_NORM,                                  ///< .weight [n]: a TDNormW
    TD_IS_NORM_BIAS,                             ///< and .bias [n]
    TD_IS_TABLE,                                 ///< .weight [n,k]: a bf16 TDTensor
    TD_IS_MATRIX,                                ///< .weight [n,k], left in the file: a TDEntry
    TD_IS_ROWS,                                  ///< [1,n,k], the name as it is
    TD_IS_CONV,                                  ///< .weight [n,k,kt,ks,ks] (kt 0: [n,k,ks,ks]), .bias [n]: a TDConv
    TD_IS_CONV_BARE,                             ///< the same without .bias
    TD_IS_GAMMA                                  ///< .gamma [n] and ks dims of 1: floats
};

/** What n and k stand for; a network gives the values of those that its list has. */
enum TDSize {
    TD_SIZE_1, TD_SIZE_2, TD_SIZE_3, TD_SIZE_6, TD_SIZE_16, TD_SIZE_32, TD_SIZE_64, TD_SIZE_256,
    TD_DIM, TD_6_DIM, TD_FFN, TD_PATCH, TD_TEXT_DIM, TD_PROJ_L, TD_WIDTH, TD_N_IDS, TD_HEADS,
    TD_IN, TD_3_IN, TD_OUT, TD_SHORTCUT, TD_TIME,
    TD_N_SIZES
};

typedef struct TDNetTensor {
    const char *name;                            ///< after the prefix, without its ending; NULL ends the list
    enum TDTensorKind kind;
    enum TDSize n, k;                            ///< where n is 0, the network has no such tensor
    int kt, ks;
    int at;                                      ///< where in the network's struct; linears of one place stack along n
} TDNetTensor;

#define TD_BY_HAND (-1)                          /* TDNetTensor.at: td_bind_tensors() passes it over */

/** Fill the sizes that are always the same. */
void td_sizes_init(int64_t sizes[TD_N_SIZES]);

/** Highest N of the names "blocks.N." and one more. */
int td_count_blocks(const TDCheckpoint *ckpt);

/** Bind a list to the struct at net. prefix: "" or with its dot; quant: for TD_IS_QUANT; norm: of its norms.
 *  @return 0 or a logged error */
int td_bind_tensors(const TDBind *b, const TDNetTensor *list, const char *prefix, const int64_t sizes[TD_N_SIZES],
                    enum TDDtype quant, enum TDNorm norm, void *net);

/** One tensor as a file has it. */
typedef struct TDFileTensor {
    char name[96];
    const TDNetTensor *of;
    const char *ending;                          ///< "weight", "int8_weight", "scale", "bias", "gamma" or ""
    int n_dims;
    int64_t shape[TD_MAX_DIMS];
    int64_t n, k;                                ///< of the weight that it belongs to
} TDFileTensor;

/** @return 0, or < 0 to stop */
typedef int (*TDTensorFn)(void *cookie, const TDFileTensor *t);

/** What a file has of a list, in the order of official files. @return 0, or what fn returned */
int td_each_tensor(const TDNetTensor *list, const char *prefix, const int64_t sizes[TD_N_SIZES], int biased, int int8,
                   TDTensorFn fn, void *cookie);

#endif /* TD_TENSORS_H */
