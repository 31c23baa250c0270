/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TD_ESTIMATE_H
#define TD_ESTIMATE_H

#include "clip/clip.h"

/** About how long the clip will take on the model's device, which is the CPU. @return 0 or a logged error */
int td_clip_seconds(const TDModel *m, const TDClipConfig *cfg, double *seconds);

#endif /* TD_ESTIMATE_H */
