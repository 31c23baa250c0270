/* SPDX-License-Identifier: BSD-2-Clause
 * Times and sizes of a clip, for TDInfo and the log. What is no stage's and no copy's time is the caller's. */
#include <stdio.h>
#include "api/context.h"

void td_clock_start(TDContext *c)
{
    TDInfo *info = &c->info;
    TDClipSummary clip;

    td_clip_summary(c->clip, &clip);
    info->workspace_bytes = c->model->plan.clip;
    info->predicted_bytes = c->model->plan.weights + c->model->plan.clip;
    info->others_bytes = c->model->plan.others;
    info->first_frame_seconds = info->copy_seconds = info->caller_seconds = info->wall_seconds = 0;
    info->peak_bytes = info->device_used_bytes = 0;
    info->frames_out = 0;
    info->text_cached = clip.text_cached;
    for (int i = 0; i < TD_N_STAGES; i++)
        info->stage_seconds[i] = 0;
    info->stage_seconds[TD_STAGE_LOAD] = c->open_seconds;
    info->stage_seconds[TD_STAGE_TEXT] = td_now() - c->started;
    c->ended = 0;
}

void td_clock_stage(TDContext *c, double spent, int stage_after)
{
    static const char *const names[TD_N_STAGES] = { "load", "text", "image", "denoise", "decode" };
    double *seconds = &c->info.stage_seconds[c->stage];
    uint64_t available, total;
    TDClipSummary clip;
    char what[64];

    td_clip_summary(c->clip, &clip);
    *seconds += spent;
    if (c->stage == stage_after && !clip.done)
        return;
    if (!c->dev->caps.maps_files && c->dev->ops->memory(c->dev, &available, &total) >= 0 &&
        total - available > c->info.device_used_bytes)
        c->info.device_used_bytes = total - available;
    if (c->stage == TD_STAGE_TEXT)
        snprintf(what, sizeof(what), "%s%d tokens", clip.text_cached ? "cached, " : "", clip.n_tokens);
    else if (c->stage == TD_STAGE_IMAGE)
        snprintf(what, sizeof(what), "%d latent frames", clip.encoded);
    else if (c->stage == TD_STAGE_DENOISE)
        snprintf(what, sizeof(what), "%d steps", c->info.n_steps);
    else
        snprintf(what, sizeof(what), "%d frames of %dx%d", clip.frames_out, c->info.clip_width, c->info.clip_height);
    td_log(&c->log, TD_LOG_INFO, "%s: %s, %.2f s", names[c->stage], what, *seconds);
    c->stage = stage_after;
    c->stage_began = td_now();
}

void td_clock_tell(const TDContext *c, TDInfo *info)
{
    double known = info->copy_seconds;
    TDClipSummary clip;

    td_clip_summary(c->clip, &clip);
    for (int i = 0; i < TD_N_STAGES; i++)
        known += info->stage_seconds[i];
    info->wall_seconds = td_now() - c->started + c->open_seconds;
    info->caller_seconds = info->wall_seconds > known ? info->wall_seconds - known : 0;
    info->wall_seconds = known + info->caller_seconds;
    info->peak_bytes = c->model->peak_bytes;
    info->frames_out = clip.frames_out;
}

void td_clock_end(TDContext *c)
{
    char of[32] = "", image[32] = "", used[48] = "";
    TDInfo *n = &c->info;

    if (!c->clip || c->ended)
        return;
    c->ended = 1;
    td_clock_tell(c, n);
    c->open_seconds = 0;
    c->last = *n;
    if (n->frames_out < n->clip_frames)
        snprintf(of, sizeof(of), "%d of ", n->frames_out);
    if (n->needs_image)
        snprintf(image, sizeof(image), "image %.2f, ", n->stage_seconds[TD_STAGE_IMAGE]);
    if (n->device_used_bytes)
        snprintf(used, sizeof(used), " (%.2f in use)", (double)n->device_used_bytes / (1 << 30));
    td_log(&c->log, TD_LOG_INFO,
           "clip: %s%d frames %dx%d, %d steps: load %.2f, text %.2f, %sdenoise %.2f, decode %.2f, copy %.2f, "
           "caller %.2f, first frame %.2f, wall %.2f s, %s memory %.2f GiB%s",
           of, n->clip_frames, n->clip_width, n->clip_height, n->n_steps, n->stage_seconds[TD_STAGE_LOAD],
           n->stage_seconds[TD_STAGE_TEXT], image, n->stage_seconds[TD_STAGE_DENOISE],
           n->stage_seconds[TD_STAGE_DECODE],
           n->copy_seconds, n->caller_seconds, n->first_frame_seconds, n->wall_seconds,
           c->dev->caps.memory, (double)n->peak_bytes / (1 << 30), used);
}
