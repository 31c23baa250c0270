/* SPDX-License-Identifier: BSD-2-Clause
 * The Wan transformer: weights of one expert, the buffers of one clip, and a forward pass cut into blocks so that a
 * caller can stop between them.
 *
 *   td_dit_text(ctx)                                                     once per prompt and expert
 *   td_dit_begin(z, t) -> td_dit_block(0..n_blocks-1) -> td_dit_end()    once per step */
#ifndef TD_DIT_H
#define TD_DIT_H

#include "base/wan.h"
#include "files/lora.h"
#include "nets/tensors.h"

#define TD_HEAD_DIM 128

typedef struct TDDitBlock {
    TDNormW norm1, norm2, norm3;                 ///< norm1, norm2 without weights
    TDNormW norm_q, norm_k, cross_norm_q, cross_norm_k;
    TDLinear q, k, v, o, cross_q, cross_k, cross_v, cross_o, ffn1, ffn2, proj_l;
} TDDitBlock;

/** What LoRAs add to a linear of int8: up(down(x)), as doc/numerics.md has it. */
typedef struct TDDitSide {
    TDLinear down, up;                           ///< int8 [r,K]; bf16 [N,r]; r a multiple of 64, or 0: nothing
} TDDitSide;

typedef struct TDDitSides {
    TDDitSide q, k, v, o, cross_q, cross_k, cross_v, cross_o, ffn1, ffn2;
} TDDitSides;

typedef struct TDDit {
    TDDev *dev;
    TDWeights weights;
    size_t rest_bytes, block_bytes;              ///< device memory of all but the blocks, and of the largest of these
    enum TDNorm norm;
    int64_t dim, ffn, n_heads, n_blocks, in_dim, text_dim;
    int int8, has_sla;
    TDLinear patch, text_in, text_out, head;
    TDTimeEmbed time;
    TDNormW head_norm;
    TDTensor modulation, head_modulation;        ///< f32 [n_blocks*6, D], [2, D]
    TDDitBlock *blocks;
    int codes;                                   ///< its file has int8 of 128x128 blocks
    TDDitSides *sides;                           ///< of a view, for each block; NULL: none
    int64_t side_rank;                           ///< the largest r of them
    int side_ffn;                                ///< one is of ffn1
} TDDit;

/** Text keys and values of one prompt for one expert: of its tokens, and of the rows that fill up 512. These are all
 *  alike (int8: of two kinds), so that a few keys, each doubled to a power of two, stand for them. */
typedef struct TDDitText {
    int64_t n, n_alike, n_apart;                 ///< tokens; keys of the first kind after them; keys of the other one
    uint64_t doubled;                            ///< as in TDQkv
    TDTensor k, v;                               ///< bf16 [n_blocks, keys, D]
} TDDitText;

typedef struct TDDitClip {
    int64_t t, h, w;                             ///< latent grid; t*(h/2)*(w/2) tokens
    TDTensor rope;
    TDTensor x, mod, head_mod, e6, e;
    TDTensor v;                                  ///< out: velocity f32 [16,T,h,w]
    TDAct act, ffn, text_hidden, text_ctx, text_pad;
    TDTensor side;                               ///< bf16 [tokens or keys, side_rank]
    TDQkv self, cross;
} TDDitClip;

/** What a DiT file holds, from tensor names and shapes alone. */
typedef struct TDDitShape {
    int64_t dim, ffn, n_blocks, in_dim, text_dim;
    int int8, has_sla;                           ///< int8: of 128x128 blocks
    const char *few_bits;                        ///< name of another type of 8 bits or less that blocks have, or NULL
} TDDitShape;
/** Which model of Wan's kind it is that is not run (dit_kinds.c), in words; NULL: none of them. */
const char *td_dit_stranger(const TDCheckpoint *ckpt);
int  td_dit_shape(TDDitShape *s, const TDCheckpoint *ckpt, TDLog *log);
/** The tensors of such a file. @return 0, or what fn returned */
int  td_dit_each_tensor(const TDDitShape *s, TDTensorFn fn, void *cookie);

/** block: as for td_weights_init() */
int  td_dit_bind(TDDit **dit, TDDev *dev, const TDCheckpoint *ckpt, enum TDQuant quant, enum TDNorm norm,
                 size_t block);
/** Weights of one block, or (-1) of what lies outside of them, to a view. ckpt: that of its source */
int  td_dit_bind_block(TDDit *view, TDWeights *w, const TDCheckpoint *ckpt, int block);
/** Of one block what td_dit_text_block() needs, a seventh of it. */
int  td_dit_bind_keys(TDDit *view, TDWeights *w, const TDCheckpoint *ckpt, int block);
/** What LoRAs add to linears of int8, for a view; before it plans a clip. w: as for td_weights_init(), with
 *  measure only its sizes. @return 0 or a logged error */
int  td_dit_bind_sides(TDDit *view, TDWeights *w, const TDLora *lora);
/** Nothing is added any more. */
void td_dit_drop_sides(TDDit *view);
/** Copy src for another device handle; weights stay src's, scratch and what LoRAs add are its own. *view: NULL, or from
 *  an earlier call. @return 0 or ENOMEM */
int  td_dit_view(TDDit **view, const TDDit *src, TDDev *dev);
void td_dit_free(TDDit **dit);

/** Carve a clip's buffers: once with a measuring arena, once with the real one. n: tokens of the prompt; n_keys: those
 *  of the prompt that has most. */
int  td_dit_plan_text(TDDitText *text, const TDDit *dit, TDArena *a, int64_t n);
int  td_dit_plan(TDDitClip *clip, const TDDit *dit, TDArena *a, int64_t t, int64_t h, int64_t w,
                 const TDAttnConfig *attn, int64_t n_keys);
/** Fill what never changes during the clip. */
int  td_dit_prepare(TDDitClip *clip, const TDDit *dit);

/** emb: bf16 [512, text_dim], rows past the prompt zero. td_dit_text() is the other two: for each block in turn */
int  td_dit_text_begin(const TDDitText *text, const TDDit *dit, TDDitClip *clip, const TDTensor *emb);
int  td_dit_text_block(TDDitText *text, const TDDit *dit, TDDitClip *clip, int i);
int  td_dit_text(TDDitText *text, const TDDit *dit, TDDitClip *clip, const TDTensor *emb);
/** z: f64 [16,T,h,w]; cond: bf16 [in_dim-16,T,h,w] or NULL; t in 0..1 */
int  td_dit_begin(const TDDit *dit, TDDitClip *clip, const TDTensor *z, const TDTensor *cond, double t);
int  td_dit_block(const TDDit *dit, TDDitClip *clip, const TDDitText *text, int i);
int  td_dit_end(const TDDit *dit, TDDitClip *clip);

#endif /* TD_DIT_H */
