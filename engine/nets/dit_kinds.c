/* SPDX-License-Identifier: BSD-2-Clause
 * Transformers of Wan's kind that take more than a text and a first picture, or another VAE: they are told by what they
 * have more, or by their channels. Names of tensors: Wan 2.1 and 2.2, VideoX-Fun, SkyReels V2, HuMo, MultiTalk, Ovi. */
#include <string.h>
#include "nets/dit.h"

/* by a part of a tensor's name */
static const struct { const char *part, *what; } more[] = {
    { "vace_blocks.", "Wan VACE" },
    { "vace_patch_embedding.", "Wan VACE" },
    { "face_adapter.", "Wan2.2 Animate" },
    { "pose_patch_embedding.", "Wan2.2 Animate" },
    { "casual_audio_encoder.", "Wan2.2 S2V (speech to video)" },
    { "audio_injector.", "Wan2.2 S2V (speech to video)" },
    { "audio_proj.audio_proj_glob", "HuMo" },
    { ".audio_cross_attn.", "MultiTalk or InfiniteTalk" },
    { "audio_model.", "Ovi" },
    { "fps_embedding.", "SkyReels V2 (causal)" },
    { ".cam_encoder.", "ReCamMaster" },
    { "control_adapter.", "Wan Fun Camera" },
    { "ref_conv.", "Wan Fun Control" },
    { "img_emb.emb_pos", "Wan2.1 FLF2V (first and last frame)" },
};

static int64_t rows(const TDCheckpoint *ckpt, const char *name)
{
    const TDEntry *e = td_checkpoint_find(ckpt, name);

    return e && e->n_dims ? e->shape[0] : 0;
}

const char *td_dit_stranger(const TDCheckpoint *ckpt)
{
    int64_t dim = rows(ckpt, "patch_embedding.weight"), out = rows(ckpt, "head.head.weight"), in = 0;
    int clip = td_checkpoint_find(ckpt, "blocks.0.cross_attn.k_img.weight") != NULL;
    const TDEntry *e;

    for (size_t k = 0; k < sizeof(more) / sizeof(*more); k++)
        for (int i = 0; (e = td_checkpoint_entry(ckpt, i)); i++)
            if (strstr(e->name, more[k].part))
                return more[k].what;
    if (dim)
        in = td_entry_count(td_checkpoint_find(ckpt, "patch_embedding.weight")) / dim / 4;
    if (in == 48 && out == 4 * 48)
        return "Wan2.2-TI2V-5B";
    if (out == 4 * TD_LATENT_CHANNELS && in > TD_LATENT_CHANNELS + TD_COND_CHANNELS)
        return "Wan Fun Control";
    if (clip)
        return "Wan2.1 I2V (with CLIP branch)";
    return dim && td_checkpoint_is_generator(ckpt) ? "causal Wan2.1 (of Self-Forcing's kind)" : NULL;
}
