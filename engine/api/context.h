/* SPDX-License-Identifier: BSD-2-Clause
 * A context, which the files of this room share: turbodiff.c opens, starts, reads and closes, devices.c finds the
 * device, params.c says what a clip is to be, clock.c keeps its times. */
#ifndef TD_CONTEXT_H
#define TD_CONTEXT_H

#include "base/thread.h"
#include "clip/clip.h"

struct TDContext {
    TDLog log;
    TDSettings settings;                         /* its strings are not valid after td_open() */
    TDCancel cancel;
    atomic_flag busy;
    int dead;
    TDDev *dev;
    TDModel *model;
    TDClip *clip;
    TDInfo info, last;                           /* last: of the clip that ended last */
    double started, stage_began;                 /* of the clip, of its current stage */
    double open_seconds;                         /* of td_open(), until the first clip counts them */
    int stage, nonblocking, ended;               /* ended: all has been said about this clip */
    int told_lora;                               /* that one of two experts has a LoRA alone */
    char noise_name[32];
    char why_gpu[440];                           /* of a GPU that is not the first: why; else "" */
    char why_cpu[512];                           /* of the CPU in place of a GPU that somebody expects: why; else "" */
};

/* ---- params.c ---- */

/** The smallest size that a caller's settings can have. */
enum { TD_SETTINGS_0_1 = offsetof(TDSettings, cuda_stream) + sizeof(void *) };

/** The settings as this library has them, with defaults for what the caller's program does not know, checked. @return 0
 *  or a logged EINVAL */
int td_take_settings(TDSettings *own, const TDSettings *theirs, TDLog *log);
/** A clip of the model as the caller wants it; strings and image stay the caller's. @return 0 or a logged EINVAL */
int td_configure(TDContext *c, TDClipConfig *g, const TDParams *theirs);
/** The clip that td_open() makes room for: that of the settings, or the model's own. @return 0 or a logged EINVAL */
int td_first_clip(TDContext *c, TDClipConfig *g);
void td_default_info(TDContext *c);              ///< the model's part of TDInfo, where these take defaults from
int td_check_frame(TDContext *c, const TDFrame *f);          ///< the caller's planes
/** The first struct_size bytes of a struct of `size` bytes, and zeros beyond it. @return 0, or EINVAL where struct_size
 *  is less than `least` or cannot be */
int td_give_struct(void *out, size_t struct_size, const void *own, size_t size, size_t least);

/* ---- devices.c ---- */

/** Open c->dev, by the settings: the CPU, the GPU that they name, or one that is chosen. @return 0 or a logged error */
int td_choose_device(TDContext *c);
/** Where the CPU makes a clip that a GPU was expected to: how long it will take, why, and what to do. @return 0 or a
 *  logged error */
int td_warn_of_cpu(TDContext *c);

/* ---- clock.c ---- */

void td_clock_start(TDContext *c);               ///< a clip has been opened, since c->started
/** Account the time of a piece to the stage it was spent in; log a stage when it is left. */
void td_clock_stage(TDContext *c, double spent, int stage_after);
void td_clock_tell(const TDContext *c, TDInfo *info);        ///< the numbers so far
void td_clock_end(TDContext *c);                 ///< the one line about a clip, when it ends or its last frame is out

#endif /* TD_CONTEXT_H */
