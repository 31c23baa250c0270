/* SPDX-License-Identifier: BSD-2-Clause
 * umT5 encoder: token ids -> text embedding, one block per call so that a caller can stop between them. */
#ifndef TD_TEXT_ENCODER_H
#define TD_TEXT_ENCODER_H

#include "nets/tensors.h"

typedef struct TDTextBlock {
    TDNormW norm1, norm2;
    TDLinear qkv, o, gate, up, down;
    TDTensor bias;                               ///< bf16 [32 buckets, H]
} TDTextBlock;

typedef struct TDTextEncoder {
    TDDev *dev;
    TDWeights weights;
    size_t rest_bytes, block_bytes;              ///< device memory of all but the blocks, and of the largest of these
    int64_t dim, ffn, width, n_heads, n_blocks, n_rows;   ///< width = n_heads * head dim; n_rows of the embedding table
    const TDEntry *table;                        ///< embedding [n_rows, dim], read row by row from the file mapping
    TDNormW norm;
    TDTextBlock *blocks;
} TDTextEncoder;

typedef struct TDTextClip {
    int64_t n;                                   ///< tokens of the prompt, eos included
    TDTensor x, qkv, u;
    TDAct act, o, ffn;
} TDTextClip;

/** What such a file holds: widths (width = n_heads * head dim), and rows of the embedding table. */
typedef struct TDTextShape { int64_t dim, ffn, width, n_heads, n_blocks, n_rows; } TDTextShape;
/** 0 for what is missing. */
void td_text_shape(TDTextShape *s, const TDCheckpoint *ckpt);
/** The tensors of such a file. @return 0, or what fn returned */
int  td_text_each_tensor(const TDTextShape *s, TDTensorFn fn, void *cookie);

/** block: as for td_weights_init() */
int  td_text_bind(TDTextEncoder **te, TDDev *dev, const TDCheckpoint *ckpt, size_t block);
/** Weights of one block, or (-1) of what lies outside of them, to a view. ckpt: that of its source */
int  td_text_bind_block(TDTextEncoder *view, TDWeights *w, const TDCheckpoint *ckpt, int block);
/** Copy src for another device handle; weights stay src's. *view: NULL, or from an earlier call. @return 0 or ENOMEM */
int  td_text_view(TDTextEncoder **view, const TDTextEncoder *src, TDDev *dev);
void td_text_free(TDTextEncoder **te);
int  td_text_plan(TDTextClip *clip, const TDTextEncoder *te, TDArena *a, int64_t n);    ///< n: tokens, at most

/** Padding rows are never computed: masked keys weigh exactly 0, and rows past the prompt become zeros in the
 * embedding. */
int  td_text_begin(const TDTextEncoder *te, TDTextClip *clip, const int32_t *ids, int64_t n);
int  td_text_block(const TDTextEncoder *te, TDTextClip *clip, int i);
/** emb: bf16 [512, dim] */
int  td_text_end(const TDTextEncoder *te, TDTextClip *clip, TDTensor *emb);

#endif /* TD_TEXT_ENCODER_H */
