/* SPDX-License-Identifier: BSD-2-Clause
 * One clip in flight: its memory plan and its way from prompt to frames in bounded pieces. */
#ifndef TD_CLIP_H
#define TD_CLIP_H

#include "clip/condition.h"
#include "model/choose.h"
#include "model/model.h"
#include "base/rng.h"
#include "clip/sampler.h"

/** Where a clip is, and what of it may be trusted there. TEXT goes on to IMAGE where the model has an encoder, and then
 *  to ENTER; each step is ENTER, KEYS if its transformer is another one than before, BLOCKS. */
enum TDClipPhase {
    TD_CLIP_TEXT,    ///< prompt, block_at: the block at hand; emb of the prompts before it; text once block_at > 0
    TD_CLIP_IMAGE,   ///< all emb; condition.cond up to its next latent frame
    TD_CLIP_ENTER,   ///< condition.cond; z from the second step on, the state before step `step`; no work area
    TD_CLIP_KEYS,    ///< z; expert, dit; dit_text of the prompts before `prompt`
    TD_CLIP_BLOCKS,  ///< as in KEYS, and all dit_text; prompt, block_at: the block at hand; host: velocities of the
                     ///< prompts before it (UniPC)
    TD_CLIP_DECODE,  ///< latents, decoder, out: latent frames `shown` to `decoded`; next_ready pictures of the first
    TD_CLIP_DONE     ///< cfg and the counts
};

/** What td_start() was asked for, checked and with defaults filled in. */
typedef struct TDClipConfig {
    TDParams p;                                  ///< its pointers are the caller's, for td_clip_open() alone
    TDAttnConfig attn;
    double t[TD_MAX_STEPS + 1];                  ///< rCM: of the steps, and 0
} TDClipConfig;

/** Whether a step makes a second pass, for the negative prompt. */
static inline int td_guided(const TDParams *p)
{
    return p->sampler == TD_SAMPLER_UNIPC && (p->guidance != 1.0 || p->guidance_low != 1.0);
}

/** How far a clip has come. */
typedef struct TDClipSummary {
    int done;                                    ///< all frames are handed out
    int frames_out, encoded;                     ///< frames handed out; latent frames of the picture that are encoded
    int n_tokens, text_cached;                   ///< of the prompt
} TDClipSummary;

/** The side that a picture is made with: whole tokens of 16 pixels. The right and the bottom are cut off. */
static inline int td_whole_side(int pixels)
{
    return (pixels + 15) / 16 * 16;
}

#define TD_MAX_PROMPTS 2                         /* the prompt, and the negative prompt of guidance */

typedef struct TDClip {
    TDModel *model;
    TDDev *dev;
    TDLog *log;
    TDClipConfig cfg;
    int n_prompts;
    int32_t ids[TD_MAX_PROMPTS][TD_TEXT_LEN];
    int n_ids[TD_MAX_PROMPTS];

    int cached[TD_MAX_PROMPTS];                  ///< the embedding of the prompt was kept from an earlier clip

    /* device memory: one block for the clip, one for its stages */
    TDBuf block, work;
    TDTensor emb[TD_MAX_PROMPTS];                ///< bf16 [512, text_dim]
    TDTensor z, latents, noise;                  ///< f64 state, f32 result, f32 noise: [16,T,h,w]
    TDCondition condition;                       ///< image-to-video
    TDTextClip text;
    TDDitText dit_text[TD_MAX_PROMPTS];
    TDDitClip dit;
    TDDecoderClip decoder;
    TDFrameSet out[2];                           ///< latent frame t uses t modulo n_out
    const TDFrameSet *last;                      ///< one of them, with picture last_at handed out last, or NULL
    int last_at;
    int n_out;
    uint64_t fixed_bytes, work_bytes[TD_N_PARTS];   ///< of block; of work in the stage of each file

    /* host memory */
    float *host;                                 ///< noise on its way up, velocity on its way down
    double *host_z;
    void *unipc_mem;
    TDRng rng;
    TDUniPC unipc;

    /* position */
    enum TDClipPhase phase;
    int prompt, block_at, step;                  ///< of the phase's loops
    enum TDFile expert;                          ///< the transformer at work; TD_N_FILES before the first step
    int64_t decoded;                             ///< latent frames given to the decoder
    int64_t shown;                               ///< latent frames whose pictures are all handed out
    int next_ready;                              ///< of the pictures of latent frame `shown`, the next to hand out
    int64_t next_frame;
} TDClip;

/** Plan, reserve memory, tokenize, take over the first frame: cfg's image or picture (both NULL unless the model has an
 *  encoder). prompts[1] NULL = no guidance. */
int td_clip_open(TDClip **clip, TDModel *model, const TDClipConfig *cfg, const char *const prompts[TD_MAX_PROMPTS],
                 TDLog *log);
/** What such a clip and all weights take on the model's device. @return 0 or a logged error */
int  td_clip_need(TDModel *model, const TDClipConfig *cfg, TDNeed *need, TDLog *log);
/** Let td_model_plan() compare such a clip with the memory there is. @return 0, ENOMEM (not logged), a logged error */
int  td_clip_fits(TDModel *model, const TDClipConfig *cfg, TDPlan *plan, TDLog *log);
/** One bounded piece of work; f tells what frames are wanted.
 *  @return 1 if a frame can be taken with td_clip_frame(), 0 if not yet, < 0 error */
int  td_clip_advance(TDClip *clip, const TDFrame *f);
int  td_clip_frame(TDClip *clip, TDFrame *f);
/** The picture of the frame that was taken last, as td_last_picture(). @return 0, EINVAL where it is gone (not logged),
 *  or a logged error */
int  td_clip_picture(const TDClip *clip, float *rgb);
void td_clip_progress(const TDClip *clip, TDProgress *p);  ///< stage, done, total of the phase at hand
void td_clip_summary(const TDClip *clip, TDClipSummary *s);
void td_clip_close(TDClip **clip);

#endif /* TD_CLIP_H */
