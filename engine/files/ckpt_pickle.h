/* SPDX-License-Identifier: BSD-2-Clause
 * The subset of pickle that torch.save writes, as data: a graph of nodes, and the tensors and storages named in it.
 * Private to the .pth reader. Nodes, cells, tensors and storages are named by their index. */
#ifndef TD_CKPT_PICKLE_H
#define TD_CKPT_PICKLE_H

#include "files/checkpoint_priv.h"

#define TD_PK_NIL UINT32_MAX                     ///< no cell

enum TDPickleKind {
    TD_PK_NONE, TD_PK_BOOL, TD_PK_INT, TD_PK_FLOAT, TD_PK_STR, TD_PK_TUPLE, TD_PK_LIST, TD_PK_DICT, TD_PK_GLOBAL,
    TD_PK_STORAGE, TD_PK_TENSOR,
};

typedef struct TDPickleNode {
    enum TDPickleKind kind;
    uint32_t first, last, count;                 ///< TUPLE, LIST, DICT: cells
    union {
        int64_t i;                               ///< BOOL, INT; GLOBAL, STORAGE, TENSOR: index
        const uint8_t *str;                      ///< STR: count bytes in the mapping
    };
} TDPickleNode;

typedef struct TDPickleCell {
    uint32_t key, value, next;                   ///< key: DICT only
} TDPickleCell;

typedef struct TDPickleStorage {
    const uint8_t *key;
    uint32_t key_len;
    enum TDDtype dtype;                          ///< TD_N_DTYPES: untyped, numel counts bytes
    uint64_t numel;
} TDPickleStorage;

typedef struct TDPickleTensor {
    uint32_t storage;
    int n_dims;
    enum TDDtype dtype;
    int64_t offset, shape[TD_MAX_DIMS], stride[TD_MAX_DIMS];   ///< elements
} TDPickleTensor;

typedef struct TDPickle {
    const char *label;                           ///< for messages
    TDLog *log;
    const uint8_t *data;
    size_t size, pos, op;                        ///< op: start of the current opcode
    int cut;                                     ///< the file goes on after data[size]
    TDPickleNode    *nodes;
    TDPickleCell    *cells;
    TDPickleStorage *storages;
    TDPickleTensor  *tensors;
    uint32_t *stack, *marks, *memo;              ///< memo: node index + 1, 0 = unset
    size_t n_nodes, n_cells, n_storages, n_tensors, n_stack, n_marks, n_memo;
    size_t cap_nodes, cap_cells, cap_storages, cap_tensors, cap_stack, cap_marks, cap_memo;
} TDPickle;

/** Run one pickle from data[pos]; pos moves past its STOP. *root: node of its value.
 *  @return 0, EBADMSG (damaged, or an opcode or global that torch.save does not write), ENOTSUP, ENOMEM */
int td_pickle_load(TDPickle *p, uint32_t *root);
void td_pickle_free(TDPickle *p);

/** Value of a string key of a DICT node. @return node index, or TD_PK_NIL */
uint32_t td_pickle_get(const TDPickle *p, uint32_t dict, const char *key);
const char *td_pickle_kind_name(enum TDPickleKind kind);

#endif /* TD_CKPT_PICKLE_H */
