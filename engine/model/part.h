/* SPDX-License-Identifier: BSD-2-Clause
 * The network of one weight file on one device, shared by all contexts of the process that use the same file in the
 * same way. A context opens the parts it needs, and holds those whose weights it wants in device memory.
 *
 * Invariants
 *  1. Parts are in one list of the process, behind one mutex. Beside the table of mapped files (mapping.c) the list is
 *     the library's only mutable global. Everything in a part but its key, file and sizes is read and written under
 *     that mutex.
 *  2. Weights are there while at least one context holds the part. Who finds them missing loads them, without the
 *     mutex; others that want them wait.
 *  3. A context computes with a view of its own: it names the context's device, and its shapes stay valid while the
 *     weights are released. */
#ifndef TD_PART_H
#define TD_PART_H

#include "files/lora.h"
#include "nets/decoder.h"
#include "nets/dit.h"
#include "nets/text_encoder.h"

/** VAE: its decoder; ENCODER: the rest. Of a tiny VAE's file they are the TINY ones. */
enum TDPartKind { TD_PART_DIT, TD_PART_TEXT, TD_PART_VAE, TD_PART_ENCODER, TD_PART_TINY, TD_PART_TINY_ENCODER };

typedef struct TDPart TDPart;

/** What makes two uses of a file the same; quant, norm and lora are 0 but for a transformer, vae_dtype but for a
 *  VAE. */
typedef struct TDPartKey {
    enum TDPartKind kind;
    enum TDQuant quant;
    enum TDNorm norm;
    enum TDVaeDtype vae_dtype;
    const char *lora;                            ///< as TDParams has it, for td_part_open() alone; NULL: none
    int low;                                     ///< the second of two transformers, for a LoRA that tells
} TDPartKey;

/** The network of a part; the member of its kind. */
typedef union TDNet {
    TDTextEncoder *text;
    TDDit *dit;
    TDVae *vae;
    TDVaeEncoder *encoder;
    TDTiny *tiny;
} TDNet;

/** What can be done with the network of a kind. */
typedef struct TDKind {
    int  (*bind)(TDNet *net, const TDPart *p, TDDev *dev, size_t block);
    int  (*view)(TDNet *view, const TDNet *net, TDDev *dev);
    void (*free)(TDNet *net);
    TDWeights *(*weights)(const TDNet *net);
    int  (*belongs)(const char *name);           ///< of the file's tensors, to this part

    /* parts that can be computed with block by block, else NULL */
    /** weights of one block, or (-1) of what lies outside of them, to a view */
    int  (*bind_block)(const TDNet *view, TDWeights *w, const TDCheckpoint *file, int block);
    void (*blocks)(const TDNet *net, TDPart *p); ///< what TDPart has of them

    /* decoders only, else NULL */
    int  (*plan)(TDDecoderClip *clip, const TDNet *net, TDArena *a, int64_t h, int64_t w);   ///< h, w: latent grid
    int  (*begin)(const TDNet *net, TDDecoderClip *clip);            ///< the next latent frame is a clip's first
    /** The next latent frame of z (f32 [16,T,h,w]) into rgb (f32 [1|4, 8h, 8w, 3]; shape[0] is set). */
    int  (*next)(const TDNet *net, TDDecoderClip *clip, const TDTensor *z, TDTensor *rgb);
    double (*products)(const TDNet *net);        ///< for a pixel of a frame

    /* encoders only, else NULL */
    int  from_zero;                              ///< pictures are 0..1, else -1..1
    int  (*plan_encode)(TDEncoderClip *clip, const TDNet *net, TDArena *a, int64_t h, int64_t w);
    int  (*begin_encode)(const TDNet *net, TDEncoderClip *clip);
    /** The next latent frame into its place in latent (bf16 [16,T,h,w]): for the first picture is bf16 [1,8h,8w,8], for
     *  others NULL, grey. */
    int  (*encode)(const TDNet *net, TDEncoderClip *clip, const TDTensor *picture, TDTensor *latent);
} TDKind;

struct TDPart {
    TDPartKey key;
    const TDKind *kind;
    const TDOps *ops;
    const void *context;                         ///< of the device
    int ordinal;                                 ///< of the GPU, where the context is the process's own; else -1
    TDCheckpoint *file;
    TDLora *lora;                                ///< what its tensors are changed by, or NULL
    uint64_t bytes;                              ///< device memory of the weights
    uint64_t scratch;                            ///< more of it while they are loaded
    uint64_t mapped;                             ///< bytes of the file's tensors, as far as they belong to it
    int n_blocks;                                ///< of a part that can be computed with block by block, else 0
    uint64_t rest, block;                        ///< of bytes: what lies outside of them; the largest one's
    TDNet net;                                   ///< shapes; device pointers only while loaded
    int refs, holders, loaded, loading;
    struct TDPart *next;
};

/** Open the file and check every tensor, or find the part of another context. Loads nothing.
 *  @return 0 or a logged error */
int  td_part_open(TDPart **part, const TDPartKey *key, const char *path, TDDev *dev);
void td_part_close(TDPart **part);

/** Whether this process uses the same file in the same way on that GPU, in its own context there.
 *  *loaded += bytes of the weights that are there */
int td_part_on(const TDPart *like, int ordinal, uint64_t *loaded);

/** Fill view (empty at first) with the part's shapes. @return 0 or ENOMEM */
int  td_part_view(TDPart *part, TDNet *view, TDDev *dev);
void td_part_view_free(const TDPart *part, TDNet *view);

/** Load the weights if they are not there, and point view to them.
 *  @return 1 if this call loaded them, 0 if another context has; ECANCELED, ENOMEM or another logged error */
int  td_part_hold(TDPart *part, TDNet *view, TDDev *dev);
/** Give them up; without another holder their memory is freed. The device must be done with them. */
void td_part_release(TDPart *part, TDDev *dev);
int  td_part_loaded(TDPart *part);               ///< whether holding costs no memory now

#endif /* TD_PART_H */
