/* SPDX-License-Identifier: BSD-2-Clause
 * The seam between model code and devices: one table of fused operations. Model code walks the network once and
 * calls these slots; a slot is the biggest piece a GPU wants as one kernel. The CPU backend defines what each computes,
 * rounding points included (doc/numerics.md); any other backend is tested against it.
 *
 * Letters: L tokens, D model dim, H heads, d head dim, F ffn dim, C channels, T,h,w latent grid, bq,bk sparse blocks.
 *
 * Rules
 *  1. Every slot of a table is set, but for put_values where TDCaps.lanes is 0. Slots return 0 or TD_ERR(): EIO,
 *     ENOMEM, ECANCELED. What a device cannot compute is refused before it begins: ENOTSUP from plan_qkv, and from
 *     pack.c for weights. fetch_frame has EINVAL, for planes that are not the device's.
 *  2. Tensors are dense row-major. An activation without codes is its x: model code may make one of any tensor and
 *     cut its rows. Of one with codes x is what quantise() reads, else free: model code keeps in it what a LoRA adds.
 *     q, k and v of a TDQkv it may write and exchange. Only the backend looks into what is its `own`, only it and
 *     pack.c into TDLinear.w and TDConv.w.
 *  3. No slot allocates after td_start(): memory comes from TDArena through td_plan_* and plan_*, weights from
 *     TDWeights through td_pack_*.
 *  4. bf16 stores round to nearest even; sums inside a slot are f32 unless said otherwise.
 */
#ifndef TD_BACKEND_H
#define TD_BACKEND_H

#include "base/arena.h"
#include "base/rng.h"
#include "base/tensor.h"
#include "base/try.h"
#include "files/checkpoint.h"

typedef struct TDOps TDOps;

/** What the engine has to know about a device. */
typedef struct TDCaps {
    const char *memory;                          ///< whose it is: "host", "GPU"
    int maps_files;                              ///< computes in the host's memory, from the file mapping where it can
    int ahead;                                   ///< slots return before their work is done: 1, else 0
    int gelu_codes;                              ///< linear_gelu makes codes without x, which may have no memory then
    int width_step;                              ///< bf16 and int8 weights have widths that are multiples of this
    uint64_t reserve;                            ///< bytes that the driver may still take for itself
    uint64_t context;                            ///< bytes that it takes when the first device of a process is opened
    int64_t noise_blocks;                        ///< blocks of 256 threads it holds at once (rng.h); 0: not a GPU
    int lanes;                                   ///< pieces that put_values() has at work; 0: there is no such slot
    int f16_channels;                            ///< convolutions 3x3 in space of up to so many input channels are
                                                 ///< faster of f16 than of bf16; 0: none is
} TDCaps;

/** Backends embed this as their first member. */
typedef struct TDDev {
    const TDOps *ops;
    TDLog *log;
    const char *name;                            ///< for people, e.g. "2 threads, avx2"; owned by the device
    TDCaps caps;
    void *context;                               ///< memory belongs to it: devices that have the same can share weights
    struct TDCancel *cancel;                     ///< of the context, for work that takes long; may be NULL
    int ordinal;                                 ///< number of the GPU; -1: it is none
    int own_context;                             ///< the GPU's context is the process's own one, not a caller's
    struct TDPacker *packer;                     ///< of pack.c, while weights are loaded; else NULL
} TDDev;

/** Device memory that lives as long as a stage's weights: one block if its size is known, else one for each request. */
typedef struct TDWeights {
    TDBuf *bufs;
    int n_bufs, cap;
    size_t bytes;                                ///< device memory held (measure: wanted), without mapped files
    size_t scratch;                              ///< measure: more of it, for the time of packing
    uint8_t *next;                               ///< free rest of the block
    size_t left;
    int deferred;                                ///< put() to the block may go on until the next sync
    int measure;                                 ///< only count: memory is NULL, td_pack_* check and copy nothing
} TDWeights;

#define TD_PIECE_BYTES ((size_t)4 << 20)         /* of what is stored and of scales, padded */

/** Whole rows of a weight as a file has them, and where the device puts their values. What it points to on the host
 *  stays as it is until the next sync. */
typedef struct TDPiece {
    enum TDDtype dtype;                          ///< f32, f16, i8, fp8 (e4m3, e5m2), fp4, GGUF's; bf16 if want is i8
    const uint8_t *src;                          ///< host, maybe unaligned: [rows, k] of dtype, dense
    int64_t rows, k;
    size_t bytes, scale_bytes;                   ///< of src, of what scales points to; TD_PIECE_BYTES at most
    const void *scales;                          ///< host, or NULL: f32 [rows]; with groups e4m3 (fp4) or e8m0, whole
                                                 ///< tiles of 128 rows as td_swizzled() has them, row 0 first
    int group;                                   ///< values of a row that have a scale in common; 0: all
    float factor;                                ///< of all values, where there are no scales; of all scales of groups
    enum TDDtype want;                           ///< bf16, f32, or i8: as quantise() has it
    void *dst;                                   ///< device: [rows, k] of want
    float *dst_scale;                            ///< i8: device, [ceil(rows/128), k/128]
    void *scratch;                               ///< device: TDCaps.lanes times so many bytes, the same for all pieces
    size_t lane;                                 ///< that are put between two syncs
} TDPiece;

static inline size_t td_piece_pad(size_t bytes) { return (bytes + 255) & ~(size_t)255; }

/** Bytes of a lane that a piece wants: what is stored, then scales, then bf16 values that are to be quantised; each
 *  padded. */
static inline size_t td_piece_lane(const TDPiece *p)
{
    size_t values = p->want == TD_I8 && p->dtype != TD_BF16 ? (size_t)(p->rows * p->k) * 2 : 0;

    return td_piece_pad(p->bytes) + td_piece_pad(p->scale_bytes) + td_piece_pad(values);
}

/** Rows [row0, row0 + n_rows) of an [N,K] weight; n_rows 0 = all, as of int8 ones. bias may be NULL, scale is there
 *  for int8 ones. */
typedef struct TDLinearSource {
    const TDEntry *w, *scale, *bias;
    int64_t row0, n_rows;
} TDLinearSource;

#define TD_LINEAR_PARTS 3

/** y = x W^T + b. Up to three weights of equal height stacked along N (q,k,v). */
typedef struct TDLinear {
    int64_t n, k;
    enum TDDtype dtype;                          ///< TD_BF16, TD_I8 (128x128 blocks) or TD_F32
    const void *w[TD_LINEAR_PARTS];              ///< parts; what is not read from the file mapping lies behind w[0]
    int64_t part_n;                              ///< rows of one part
    const float *scale;                          ///< TD_I8: [ceil(n/128), ceil(k/128)]
    const float *bias;                           ///< [n] or NULL
} TDLinear;

/** Layer or RMS norm over the last axis. */
typedef struct TDNormW {
    const float *weight, *bias;                  ///< [dim] or NULL
    int64_t dim;
    float eps;
    enum TDNorm profile;
} TDNormW;

/** The file's weights of a convolution with taps in time: [c_out,c_in,kt,kh,kw], or of one over frames that are stacked
 *  as channels, [c_out,kt*c_in,kh,kw]: in their order, or the newest first. */
enum TDConvFile { TD_CONV_TAPS, TD_CONV_STACKED, TD_CONV_NEWEST_FIRST };

#define TD_MAX_CHANNELS 16384                    /* c_in */

/** Convolution over [T,h,w,C], causal in time. */
typedef struct TDConv {
    int64_t c_out, c_in;
    int64_t c_pad;                               ///< the last of c_in: not in the file, their weights are zero
    int kt, kh, kw;                              ///< 1 to 3; 1 or 3
    int stride_t, stride_s;                      ///< 1 or 2; stride_s 2 pads right and bottom only, unless `centred`
    int centred;                                 ///< stride_s 2: pads all sides
    int upsample;                                ///< input is nearest-doubled in h and w first
    int interleave;                              ///< output channel j*C+c of frame t is channel c of frame 2t+j
    float reach;                                 ///< the channels of a pixel of x have at most this 2-norm; 0: who
                                                 ///< knows
    int f16;                                     ///< x and w are f16 in place of bf16, sums of 32 products, too
    float unscale;                               ///< f16: what is summed is to be multiplied by this power of two
    const uint16_t *w;                           ///< bf16 or f16 [c_out][kt][kh][kw][c_in]
    const float *bias;                           ///< [c_out]
    const float *gamma;                          ///< [c_out] or NULL: RMS norm with it and SiLU follow (as rms_silu)
    int relu;                                    ///< max(0, .) follows; not with gamma
    enum TDConvFile file;                        ///< how the file has its weights
    int widened;                                 ///< 2 y - 1 in place of y: a picture of 0..1 becomes one of -1..1
} TDConv;

/** What a VAE's latents are to those of a transformer: 0 is Wan's VAE, or flags. */
#define TD_LATENT_PLAIN 1                        /* the same: no mean, no deviation */
#define TD_LATENT_SOFT 2                         /* and kept within -3 and 3 */

/** Activation of a linear: bf16 [L,K] or, where the linear is int8, codes with one f32 scale per 128x128 block. A slot
 *  that writes one with codes may leave x unwritten. */
typedef struct TDAct {
    TDTensor x;                                  ///< bf16 [L,K]
    TDTensor code, scale;                        ///< i8 [L,K], f32 [ceil(L/128), ceil(K/128)]; no data: none
    const void *add;                             ///< of the input of an int8 linear: bf16 [L,N] that is added to the
                                                 ///< sums before they are rounded, or NULL; may be where y is written
} TDAct;

typedef struct TDAttnConfig {
    enum TDAttention kind;
    int bq, bk;                                  ///< sparse block, queries x keys
    double topk;                                 ///< fraction of key blocks
} TDAttnConfig;

#define TD_QKV_OWN 8

/** q, k after norm and RoPE, and v; and what attention makes of them: the steps that define sparse attention, for
 *  tests, and the backend's own. */
typedef struct TDQkv {
    TDAttnConfig cfg;
    int64_t n_q, n_kv, n_heads, head_dim;
    int64_t n_keep;                              ///< key blocks per query block
    uint64_t doubled;                            ///< dense: how often each of the last 16 keys is, TD_KEY_DOUBLED()
    TDTensor q, k, v;                            ///< bf16 [L,D]
    TDTensor k_mean;                             ///< sla, sagesla: bf16-valued f32 [D]
    TDTensor map;                                ///< sla, sagesla: i32 [H, query blocks, n_keep], in loop order
    TDTensor q_code, q_scale, k_scale;           ///< sagesla: i8 [L,D]; f32 per (head, block)
    TDTensor v_scale;                            ///< sagesla: f32 [2,D], of a channel: scale and its reciprocal
    TDTensor own[TD_QKV_OWN];                    ///< as the backend's enum names them
} TDQkv;

/** How often the key at `from_end` (the last is 0) is doubled: 0 to 15 times, 4 bits a key, the last one's lowest. */
#define TD_DOUBLED_KEYS 16
#define TD_KEY_DOUBLED(doubled, from_end) ((int)((doubled) >> 4 * (from_end) & 15))

typedef struct TDTimeEmbed {
    TDLinear in, out, proj;
    float *hidden;                               ///< scratch [D], device memory
} TDTimeEmbed;

/** The pictures of one latent frame on their way out. */
typedef struct TDFrameSet {
    TDTensor rgb;                                ///< f32 [1|4,H,W,3], nominally -1..1
    int64_t h, w;                                ///< of the pictures: the first rows and columns of rgb
    TDTensor own;                                ///< the backend's
    int turn;                                    ///< 0, or 1 for the second set of a device that works ahead
} TDFrameSet;

struct TDOps {
    const char *name;                            ///< "cpu", "cuda"

    /* memory */
    int  (*alloc)(TDDev *dev, TDBuf *buf, size_t bytes, const char *what);    ///< what: the error line's word for it
    void (*free)(TDDev *dev, TDBuf *buf);
    int  (*upload)(TDDev *dev, TDTensor *dst, const void *src);    ///< dense host array of the same shape and dtype
    int  (*download)(TDDev *dev, void *dst, const TDTensor *src);
    int  (*zero)(TDDev *dev, TDTensor *t);
    int  (*sync)(TDDev *dev);                    ///< wait until all slots called so far are done
    int  (*attach)(TDDev *dev);                  ///< make the device's context that of the calling thread, until
    void (*detach)(TDDev *dev);                  ///< this, which brings back what the thread had
    /** bytes that can still be allocated, and bytes of the device (CPU: of the machine) */
    int  (*memory)(TDDev *dev, uint64_t *available, uint64_t *total);
    /** another handle on the same device and context, for a second thread: one that works beside dev */
    int  (*reopen)(const TDDev *dev, TDDev **another, struct TDCancel *cancel, TDLog *log);
    void (*close)(TDDev **dev);

    /* at load */
    /** fill weight memory. keep: src stays as it is until the next sync, else it may go when this returns */
    int  (*put)(TDDev *dev, const TDWeights *w, void *dst, const void *src, size_t bytes, int keep);
    /** the same with values of rows as a file has them: those of td_entry_to_f32(), bit for bit, but that of a NaN its
     *  bits may be others. Done with the next sync; until then the scratch is its own */
    int  (*put_values)(TDDev *dev, const TDWeights *w, const TDPiece *piece);

    /* at td_start: carve from the arena, for td_plan_qkv() what is the backend's own */
    int  (*plan_qkv)(TDDev *dev, TDArena *a, TDQkv *qkv);

    /** what brings the pictures of a set out; rgb (with its largest shape), h and w set by caller */
    int  (*plan_frames)(TDDev *dev, TDArena *a, TDFrameSet *set);
    int  (*reserve_frames)(TDDev *dev, int64_t h, int64_t w);    ///< host memory for sets of such pictures, once

    /* transformer */
    /** x[L,D] bf16 = patches of bf16(f32(z)) and cond. z: f64 [16,T,h,w]; cond: bf16 [C-16,T,h,w] or NULL */
    int  (*patch_embed)(TDDev *dev, TDTensor *x, const TDTensor *z, const TDTensor *cond, const TDLinear *lin);
    /** e6: f32 [6,D], e: f32 [D]; true f32 products; t: timestep as the network sees it (bf16-valued) */
    int  (*time_embed)(TDDev *dev, TDTensor *e6, TDTensor *e, double t, const TDTimeEmbed *w);
    /** m[i] = table[i] + e[i mod rows(e)], f32 rows of D */
    int  (*add_modulation)(TDDev *dev, TDTensor *m, const TDTensor *table, const TDTensor *e);
    /** y = LN(x) -> bf16; with shift and scale (f32 [D]): y = y*(1+scale)+shift -> bf16; quantised if y is */
    int  (*norm_modulate)(TDDev *dev, TDAct *y, const TDTensor *x, const TDNormW *norm, const float *shift,
                          const float *scale);
    /** y = RMS(x)*weight -> bf16; OFFICIAL rounds once, EXACT before and after the weight; y->x may be x */
    int  (*rms_norm)(TDDev *dev, TDAct *y, const TDTensor *x, const TDNormW *norm);
    /** y = x W^T + b. bf16: one rounding; int8: bf16(bf16(acc [+ add]) + b). y: bf16 [L,N] */
    int  (*linear)(TDDev *dev, TDTensor *y, const TDAct *x, const TDLinear *lin);
    /** codes and scales of act->x, which something else than a slot that quantises has written. Per 128x128 block:
     *  amax = max(1e-8, max|x|), code = sat(rint(x * (128/amax))), scale = amax/128 */
    int  (*quantise)(TDDev *dev, TDAct *act);
    /** y = gelu_tanh(linear(x) -> bf16) -> bf16, quantised if y is */
    int  (*linear_gelu)(TDDev *dev, TDAct *y, const TDAct *x, const TDLinear *lin);
    /** x += bf16(linear(y) * bf16(gate)) -> bf16; gate f32 [D] or NULL = 1 */
    int  (*linear_residual)(TDDev *dev, TDTensor *x, const TDAct *y, const TDLinear *lin, const float *gate);
    /** q, k = RoPE(RMS(.)), each rounded, in place. rope: f32 [L,d/2,2] */
    int  (*qk_norm_rope)(TDDev *dev, TDQkv *qkv, const TDNormW *norm_q, const TDNormW *norm_k, const TDTensor *rope);
    /** sparse + linear attention by out->cfg; proj_l: bf16 [d,d] with bias, shared by all heads; its n 0: sparse branch
     *  alone */
    int  (*attn_sla)(TDDev *dev, TDAct *o, TDQkv *qkv, const TDLinear *proj_l);
    /** o = softmax(q k^T / sqrt(d)) v per head, P -> bf16 unnormalised, row sum f32. A key that is doubled counts as
     *  2 (4, 8...) equal ones: its p and P are those of one, doubled */
    int  (*attn_dense)(TDDev *dev, TDAct *o, TDQkv *qkv);
    /** v: f32 [16,T,h,w]; m: f32 [2,D] shift, scale; LN exact, product and head in f32 */
    int  (*head)(TDDev *dev, TDTensor *v, const TDTensor *x, const TDNormW *norm, const TDTensor *m,
                 const TDLinear *lin);
    /** noise, f32: the next torch.randn of rng; host: as many floats, for a generator that runs on the host only */
    int  (*normal)(TDDev *dev, TDTensor *noise, TDRng *rng, float *host);
    /** x = t * noise in f64, the state before the first step */
    int  (*scale_noise)(TDDev *dev, TDTensor *x, const TDTensor *noise, double t);
    /** y f32 = x f64, the state after the last step. *finite = 0 if any value is NaN or infinite */
    int  (*round_state)(TDDev *dev, TDTensor *y, const TDTensor *x, int *finite);
    /** SDE: x = (1-s)*(x - t*v) + f32(s)*noise; noise NULL = ODE: x = x - (t-s)*v. x f64, v f32, noise f32 */
    int  (*rcm_step)(TDDev *dev, TDTensor *x, const TDTensor *v, const TDTensor *noise, double t, double s);

    /* text encoder */
    /** umT5 attention of n tokens without mask: no scale, scores and scores+bias -> bf16, P -> bf16.
     *  qkv: bf16 [n, 3*H*d]; bias: bf16 [32 buckets, H] */
    int  (*attn_t5)(TDDev *dev, TDTensor *o, const TDTensor *qkv, const TDTensor *bias, int64_t n_heads);
    /** y = up(x) * gelu(gate(x)) in umT5's rounding chain; u: bf16 scratch [n,F] */
    int  (*linear_geglu)(TDDev *dev, TDTensor *y, TDTensor *u, const TDAct *x, const TDLinear *gate,
                         const TDLinear *up);

    /* VAE, channels-last [T,h,w,C] bf16 */
    /** y[1,h,w,16] = latent frame t of z (f32 [16,T,h,w]), denormalised by the official bf16 chain unless
     *  TD_LATENT_PLAIN; then with TD_LATENT_SOFT 3 tanh(y/3) -> bf16. form: of these */
    int  (*vae_unscale)(TDDev *dev, TDTensor *y, const TDTensor *z, int64_t t, int form);
    /** y = conv(cache ++ x) + bias [+ residual] [, ReLU] -> dtype of y, one rounding; with conv->gamma bf16, and then
     *  y = rms_silu(y). y may be the residual. cache: the kt - stride_t frames before x; NULL where there are none. x
     *  and cache are f16 where conv->f16 is set */
    int  (*causal_conv3d)(TDDev *dev, TDTensor *y, const TDTensor *x, const TDTensor *cache, const TDConv *conv,
                          const TDTensor *residual);
    /** cache (bf16 [n,h,w,C]) = the last n frames of cache ++ x */
    int  (*keep_frames)(TDDev *dev, TDTensor *cache, const TDTensor *x);
    /** frame t of y (bf16 [16,T,h,w]) = the first 16 channels of x (bf16 [1,h,w,C]), normalised by the official chain
     *  unless form is TD_LATENT_PLAIN */
    int  (*vae_scale)(TDDev *dev, TDTensor *y, const TDTensor *x, int64_t t, int form);
    /** every frame of y (bf16 [n,h,w,C]) = x (bf16 [1,h,w,C]) */
    int  (*repeat_frame)(TDDev *dev, TDTensor *y, const TDTensor *x);
    /** y = x / |x|_2 * sqrt(C) * gamma [SiLU] -> bf16, or f16 for a convolution of that */
    int  (*rms_silu)(TDDev *dev, TDTensor *y, const TDTensor *x, const float *gamma, int silu);

    /* pictures: values outside -1..1 are clamped */
    /** the slots called so far make set->rgb: bring its pictures out as `like` has them. Waits for nothing */
    int  (*begin_frames)(TDDev *dev, TDFrameSet *set, const TDFrame *like);
    /** until set->rgb is made */
    int  (*wait_frames)(TDDev *dev, TDFrameSet *set);
    /** picture t into the caller's planes, of any format. finite: 0 if a value of it is NaN or infinite, else 1 */
    int  (*fetch_frame)(TDDev *dev, TDFrame *dst, TDFrameSet *set, int64_t t, int *finite);
};

#define TD_MEASURE SIZE_MAX

/** Empty weights. block: bytes to allocate at once, 0 = none, TD_MEASURE = measure. @return 0 or ENOMEM (logged) */
int  td_weights_init(TDDev *dev, TDWeights *w, size_t block);
/** Bytes of device memory owned by w, 256 bytes aligned. @return 0 or ENOMEM (logged) */
int  td_weights_alloc(TDDev *dev, TDWeights *w, void **ptr, size_t bytes);
void td_weights_free(TDDev *dev, TDWeights *w);
/** Forget what the block holds, which the device must be done with: others come to its place. */
void td_weights_rewind(TDWeights *w);

/* ---- what is the same on every device ---- */

/* pack.c, packer.c: at load; entries stay valid as long as the weights. @return 0, ENOTSUP, or an error of a slot */
/** src: n_src weights of one shape and dtype, which become one linear. want: TD_I8 quantises bf16 ones, TD_F32 keeps
 *  what is not bf16 as f32 */
int td_pack_linear(TDDev *dev, TDWeights *w, TDLinear *lin, const TDLinearSource *src, int n_src, enum TDDtype want);
int td_pack_vector(TDDev *dev, TDWeights *w, const float **dst, const float *src, int64_t n);    ///< f32, host array
int td_pack_table(TDDev *dev, TDWeights *w, TDTensor *dst, const TDEntry *e);                    ///< bf16 [rows, K]
int td_pack_conv(TDDev *dev, TDWeights *w, TDConv *conv, const TDEntry *weight);    ///< c_*, k* set by caller
/** Weights are loaded, or given up: end the threads, and free the memory, that the others may have taken. */
void td_pack_end(TDDev *dev);

/* plan.c: at td_start */
int td_plan_act(TDArena *a, TDAct *act, int64_t rows, int64_t k, int int8);
int td_plan_codes(TDArena *a, TDAct *act, int64_t rows, int64_t k);     ///< x has a shape, and no memory
/** cfg, n_q, n_kv, n_heads, head_dim set by caller, and q_code, if it is to lie in the codes of what attention writes.
 *  ENOTSUP (logged) if the device has no such attention */
int td_plan_qkv(TDDev *dev, TDArena *a, TDQkv *qkv);

/* ---- devices ---- */

/** Open the CPU backend. n_threads 0 = cores; kernels: "base", "avx2", NULL = the best of this machine. cancel and
 *  interrupt end the running slot with ECANCELED. @return 0, EINVAL, ENOTSUP (kernels), ENOMEM, logged */
int td_cpu_open(TDDev **dev, int n_threads, const char *kernels, struct TDCancel *cancel, TDLog *log);

/** What decides which kernels a GPU runs. */
typedef struct TDCard {
    int sm;                                      ///< compute capability: 89 for 8.9
    int shared;                                  ///< bytes of shared memory that a kernel may have
    int clusters, bulk;                          ///< CTAs share memory in clusters; bulk tensor copies
    uint64_t memory;                             ///< bytes
    int unlocked;                                ///< its host has no page-locked memory to give for large copies
} TDCard;

/** A GPU as the caller names it. NULL: the primary context, the default stream; the card that it is. */
typedef struct TDGpu {
    int ordinal;                                 ///< -1: that of the context, else 0
    void *context, *stream;                      ///< CUcontext, CUstream of the caller
    const TDCard *as;                            ///< for tests: run as this card would. ENOTSUP if it has more
    int look;                                    ///< no context: the device can name itself and plan, and no more
} TDGpu;

/** A GPU of this machine, as it is known without a context on it. */
typedef struct TDGpuInfo {
    char name[96], uuid[48], pci[24], driver[40];    ///< "" what is not known; uuid as nvidia-smi prints it
    char fault[240];                             ///< why it cannot be used; "" it can
    int sm, n_sm, clock;                         ///< compute capability (89 for 8.9), multiprocessors, kHz
    int guessed;                                 ///< nothing tells what is free: that is taken for all
    int opened;                                  ///< the process has its context there
    uint64_t available, total;                   ///< bytes
} TDGpuInfo;

/** What the CUDA module exports: td_cuda_open, and the string td_cuda_seam, the TD_SEAM that it was built with: a hash
 *  that the Makefile makes of all headers both sides share. With another one their structs may lie otherwise. */
typedef int (*TDCudaOpen)(TDDev **dev, const TDGpu *gpu, TDLog *log);
/** And td_cuda_list: the first `max` GPUs of this machine; opens none. @return how many there are, or ENOTSUP, logged,
 *  where no use can be made of any */
typedef int (*TDCudaList)(TDGpuInfo *list, int max, TDLog *log);
/* And td_cuda_kernel (cuda/kernels.cu), the lists of kernels, which tests alone look up. */

#endif /* TD_BACKEND_H */
