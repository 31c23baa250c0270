/* SPDX-License-Identifier: BSD-2-Clause
 * Names of other projects, made the official ones: one table for each naming, and a name that tells it.
 * 1. A row maps the beginning of a name, up to a dot or its end; what follows stays, or is mapped by the row's own
 *    table. A star is a number, and the same number in what it becomes. The first row that fits is used.
 * 2. Two tensors of one name after it are an error (checkpoint.c). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "files/checkpoint_priv.h"

typedef struct Row {
    const char *from, *to;
    const struct Row *inner;
} Row;

#define END { NULL, NULL, NULL }

/* ---- diffusers: transformer ---- */

static const Row diffusers_attention[] = {
    { "to_q", "q", NULL }, { "to_k", "k", NULL }, { "to_v", "v", NULL }, { "to_out.0", "o", NULL },
    { "add_k_proj", "k_img", NULL }, { "add_v_proj", "v_img", NULL }, { "norm_added_k", "norm_k_img", NULL }, END
};

static const Row diffusers_block[] = {
    { "scale_shift_table", "modulation", NULL }, { "attn1", "self_attn", diffusers_attention },
    { "attn2", "cross_attn", diffusers_attention }, { "norm2", "norm3", NULL }, { "ffn.net.0.proj", "ffn.0", NULL },
    { "ffn.net.2", "ffn.2", NULL }, END
};

static const Row diffusers[] = {
    { "blocks.*", "blocks.*", diffusers_block },
    { "condition_embedder.text_embedder.linear_1", "text_embedding.0", NULL },
    { "condition_embedder.text_embedder.linear_2", "text_embedding.2", NULL },
    { "condition_embedder.time_embedder.linear_1", "time_embedding.0", NULL },
    { "condition_embedder.time_embedder.linear_2", "time_embedding.2", NULL },
    { "condition_embedder.time_proj", "time_projection.1", NULL },
    { "condition_embedder.image_embedder.norm1", "img_emb.proj.0", NULL },
    { "condition_embedder.image_embedder.ff.net.0.proj", "img_emb.proj.1", NULL },
    { "condition_embedder.image_embedder.ff.net.2", "img_emb.proj.3", NULL },
    { "condition_embedder.image_embedder.norm2", "img_emb.proj.4", NULL },
    { "scale_shift_table", "head.modulation", NULL }, { "proj_out", "head.head", NULL }, END
};

/* ---- FastVideo: transformer ---- */

static const Row fastvideo_attention[] = {
    { "to_q", "q", NULL }, { "to_k", "k", NULL }, { "to_v", "v", NULL }, { "to_out", "o", NULL }, END
};

static const Row fastvideo_block[] = {
    { "scale_shift_table", "modulation", NULL }, { "attn1.attn_impl", "self_attn.attn_op.local_attn", NULL },
    { "attn2", "cross_attn", fastvideo_attention }, { "self_attn_residual_norm.norm", "norm3", NULL },
    { "ffn.fc_in", "ffn.0", NULL }, { "ffn.fc_out", "ffn.2", NULL }, { "to_q", "self_attn.q", NULL },
    { "to_k", "self_attn.k", NULL }, { "to_v", "self_attn.v", NULL }, { "to_out", "self_attn.o", NULL },
    { "norm_q", "self_attn.norm_q", NULL }, { "norm_k", "self_attn.norm_k", NULL }, END
};

static const Row fastvideo[] = {
    { "blocks.*", "blocks.*", fastvideo_block },
    { "condition_embedder.text_embedder.fc_in", "text_embedding.0", NULL },
    { "condition_embedder.text_embedder.fc_out", "text_embedding.2", NULL },
    { "condition_embedder.time_embedder.mlp.fc_in", "time_embedding.0", NULL },
    { "condition_embedder.time_embedder.mlp.fc_out", "time_embedding.2", NULL },
    { "condition_embedder.time_modulation.linear", "time_projection.1", NULL },
    { "scale_shift_table", "head.modulation", NULL }, { "proj_out", "head.head", NULL }, END
};

/* ---- Hugging Face and ComfyUI: umT5 ---- */

static const Row hf_block[] = {
    { "layer.0.SelfAttention.q", "attn.q", NULL }, { "layer.0.SelfAttention.k", "attn.k", NULL },
    { "layer.0.SelfAttention.v", "attn.v", NULL }, { "layer.0.SelfAttention.o", "attn.o", NULL },
    { "layer.0.SelfAttention.relative_attention_bias", "pos_embedding.embedding", NULL },
    { "layer.0.layer_norm", "norm1", NULL }, { "layer.1.layer_norm", "norm2", NULL },
    { "layer.1.DenseReluDense.wi_0", "ffn.gate.0", NULL }, { "layer.1.DenseReluDense.wi_1", "ffn.fc1", NULL },
    { "layer.1.DenseReluDense.wo", "ffn.fc2", NULL }, END
};

static const Row hf_text[] = {
    { "encoder.block.*", "blocks.*", hf_block }, { "shared", "token_embedding", NULL },
    { "encoder.embed_tokens", "token_embedding", NULL }, { "encoder.final_layer_norm", "norm", NULL }, END
};

/* ---- GGUF: umT5 ---- */

static const Row gguf_block[] = {
    { "attn_q", "attn.q", NULL }, { "attn_k", "attn.k", NULL }, { "attn_v", "attn.v", NULL },
    { "attn_o", "attn.o", NULL }, { "attn_rel_b", "pos_embedding.embedding", NULL }, { "attn_norm", "norm1", NULL },
    { "ffn_gate", "ffn.gate.0", NULL }, { "ffn_up", "ffn.fc1", NULL }, { "ffn_down", "ffn.fc2", NULL },
    { "ffn_norm", "norm2", NULL }, END
};

static const Row gguf_text[] = {
    { "enc.blk.*", "blocks.*", gguf_block }, { "token_embd", "token_embedding", NULL },
    { "enc.output_norm", "norm", NULL }, END
};

/* ---- diffusers: VAE ---- */

static const Row vae_resnet[] = {
    { "norm1", "residual.0", NULL }, { "conv1", "residual.2", NULL }, { "norm2", "residual.3", NULL },
    { "conv2", "residual.6", NULL }, { "conv_shortcut", "shortcut", NULL }, END
};

static const Row vae_middle[] = {
    { "resnets.0", "0", vae_resnet }, { "attentions.0", "1", NULL }, { "resnets.1", "2", vae_resnet }, END
};

#define UP(b, i0, i1, i2, i3) \
    { "decoder.up_blocks." b ".resnets.0", "decoder.upsamples." i0, vae_resnet }, \
    { "decoder.up_blocks." b ".resnets.1", "decoder.upsamples." i1, vae_resnet }, \
    { "decoder.up_blocks." b ".resnets.2", "decoder.upsamples." i2, vae_resnet }, \
    { "decoder.up_blocks." b ".upsamplers.0", "decoder.upsamples." i3, NULL }

static const Row diffusers_vae[] = {
    UP("0", "0", "1", "2", "3"), UP("1", "4", "5", "6", "7"), UP("2", "8", "9", "10", "11"),
    UP("3", "12", "13", "14", "15"), { "encoder.down_blocks.*", "encoder.downsamples.*", vae_resnet },
    { "encoder.mid_block", "encoder.middle", vae_middle }, { "decoder.mid_block", "decoder.middle", vae_middle },
    { "encoder.conv_in", "encoder.conv1", NULL }, { "decoder.conv_in", "decoder.conv1", NULL },
    { "encoder.norm_out", "encoder.head.0", NULL }, { "decoder.norm_out", "decoder.head.0", NULL },
    { "encoder.conv_out", "encoder.head.2", NULL }, { "decoder.conv_out", "decoder.head.2", NULL },
    { "quant_conv", "conv1", NULL }, { "post_quant_conv", "conv2", NULL }, END
};

/* ---- all ---- */

static const struct { const char *whose, *tell; const Row *rows; } namings[] = {
    { "diffusers'", "blocks.0.attn1.to_q.weight", diffusers },
    { "FastVideo's", "blocks.0.to_q.weight", fastvideo },
    { "Hugging Face's", "encoder.block.0.layer.0.SelfAttention.q.weight", hf_text },
    { "GGUF's", "enc.blk.0.attn_q.weight", gguf_text },
    { "diffusers'", "decoder.conv_in.weight", diffusers_vae },
};

/* bytes of name that fit. number: what a star is, number_len bytes. @return 0 if it does not fit */
static size_t fits(const char *from, const char *name, const char **number, size_t *number_len)
{
    const char *at = name;

    for (; *from; from++) {
        if (*from == '*') {
            *number = at;
            *number_len = strspn(at, "0123456789");
            if (!*number_len)
                return 0;
            at += *number_len;
        } else if (*from != *at++) {
            return 0;
        }
    }
    return *at == '.' || !*at ? (size_t)(at - name) : 0;
}

/* out: room for what the longest row adds; back: from the official names */
static void map_name(char *out, const Row *rows, const char *name, int back)
{
    for (; rows->from; rows++) {
        const char *number = "";
        size_t number_len = 0, n = fits(back ? rows->to : rows->from, name, &number, &number_len);

        if (!n)
            continue;
        for (const char *s = back ? rows->from : rows->to; *s; s++) {
            memcpy(out, *s == '*' ? number : s, *s == '*' ? number_len : 1);
            out += *s == '*' ? number_len : 1;
        }
        name += n;
        if (rows->inner && *name) {
            *out++ = '.';
            map_name(out, rows->inner, name + 1, back);
            return;
        }
        break;
    }
    strcpy(out, name);
}

void td_name_of_diffusers(char out[2 * TD_CKPT_MAX_NAME], const char *name, int back)
{
    map_name(out, diffusers, name, back);
}

void td_name_of_fastvideo(char out[2 * TD_CKPT_MAX_NAME], const char *name)
{
    map_name(out, fastvideo, name, 0);
}

static int rename_entry(TDCheckpoint *ckpt, TDEntry *e, const char *name, TDLog *log)
{
    char *copy = malloc(strlen(name) + 1);

    if (!copy)
        return td_error(log, ENOMEM, "%s: out of memory", ckpt->path);
    free((char *)e->name);
    e->name = strcpy(copy, name);
    return 0;
}

/* the table of tokens has two names, and files have either or both, of the same values */
static void drop_alias(TDCheckpoint *ckpt)
{
    const TDEntry *shared = td_checkpoint_find(ckpt, "shared.weight"),
                  *alias = td_checkpoint_find(ckpt, "encoder.embed_tokens.weight");

    if (shared && alias && shared->dtype == alias->dtype && td_entry_count(shared) == td_entry_count(alias))
        ckpt->entries[alias - ckpt->entries].n_dims = TD_CKPT_DROPPED;
}

int td_ckpt_rename(TDCheckpoint *ckpt, TDLog *log)
{
    char name[2 * TD_CKPT_MAX_NAME];
    int ret = 0;

    for (size_t k = 0; k < sizeof(namings) / sizeof(*namings); k++) {
        if (!td_checkpoint_find(ckpt, namings[k].tell))
            continue;
        drop_alias(ckpt);
        ckpt->naming = namings[k].whose;
        for (int i = 0; i < ckpt->n_entries && ret >= 0; i++) {
            map_name(name, namings[k].rows, ckpt->entries[i].name, 0);
            if (strcmp(name, ckpt->entries[i].name) != 0)
                ret = rename_entry(ckpt, &ckpt->entries[i], name, log);
        }
        return ret;
    }
    return 0;
}

int td_ckpt_rename_blocks(TDCheckpoint *ckpt, TDLog *log)
{
    static const char inv[] = "weight_scale_inv";
    char name[TD_CKPT_MAX_NAME + 64];
    int ret = 0;

    for (int i = 0; i < ckpt->n_entries && ret >= 0; i++) {
        TDEntry *scale = &ckpt->entries[i];
        size_t n = strlen(scale->name);
        const TDEntry *e;

        if (n < sizeof(inv) || n >= sizeof(name) - 16 || strcmp(scale->name + n - (sizeof(inv) - 1), inv) != 0)
            continue;
        n -= sizeof(inv) - 1;
        memcpy(name, scale->name, n);
        strcpy(name + n, "weight");
        e = td_checkpoint_find(ckpt, name);
        if (!e || e->dtype != TD_I8)
            continue;
        strcpy(name + n, "scale");
        ret = rename_entry(ckpt, scale, name, log);
        strcpy(name + n, "int8_weight");
        ret = ret < 0 ? ret : rename_entry(ckpt, &ckpt->entries[e - ckpt->entries], name, log);
    }
    return ret;
}
