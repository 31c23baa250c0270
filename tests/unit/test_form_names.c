/* SPDX-License-Identifier: BSD-2-Clause
 * Files whose tensors have names of other projects: the clip is that of the official names, bit for bit, and tdinfo
 * finds nothing missing or unexpected. The names are written here once more, by hand. */
#include "forms.h"

enum { W = 32, H = 32, N = 5, BYTES = W * H * 3 * N };

#define DIT "own/TurboWan2.1-T2V-1.3B-480P.safetensors"
#define INT8 "own/TurboWan2.1-T2V-1.3B-480P-quant.safetensors"
#define TEXT "own/models_t5_umt5-xxl-enc-bf16.safetensors"
#define VAE "own/Wan2.1_VAE.safetensors"

typedef const char *const Pair[2];               /* official, theirs; a path before a dot or the end of a name */

/* ---- transformers ---- */

#define ATTENTION(official, theirs, out) \
    { official ".q", theirs "to_q" }, { official ".k", theirs "to_k" }, { official ".v", theirs "to_v" }, \
    { official ".o", theirs out }, { official ".norm_q", theirs "norm_q" }, { official ".norm_k", theirs "norm_k" }

static Pair diffusers_block[] = {
    { "modulation", "scale_shift_table" }, ATTENTION("self_attn", "attn1.", "to_out.0"),
    ATTENTION("cross_attn", "attn2.", "to_out.0"), { "norm3", "norm2" }, { "ffn.0", "ffn.net.0.proj" },
    { "ffn.2", "ffn.net.2" },
    { "self_attn.attn_op.local_attn.proj_l", "attn1.attn_op.local_attn.proj_l" }, { NULL, NULL }
};
static Pair diffusers[] = {
    { "text_embedding.0", "condition_embedder.text_embedder.linear_1" },
    { "text_embedding.2", "condition_embedder.text_embedder.linear_2" },
    { "time_embedding.0", "condition_embedder.time_embedder.linear_1" },
    { "time_embedding.2", "condition_embedder.time_embedder.linear_2" },
    { "time_projection.1", "condition_embedder.time_proj" }, { "head.modulation", "scale_shift_table" },
    { "head.head", "proj_out" }, { NULL, NULL }
};

static Pair fastvideo_block[] = {
    { "modulation", "scale_shift_table" }, ATTENTION("self_attn", "", "to_out"),
    ATTENTION("cross_attn", "attn2.", "to_out"), { "norm3", "self_attn_residual_norm.norm" },
    { "ffn.0", "ffn.fc_in" }, { "ffn.2", "ffn.fc_out" },
    { "self_attn.attn_op.local_attn.proj_l", "attn1.attn_impl.proj_l" }, { NULL, NULL }
};
static Pair fastvideo[] = {
    { "text_embedding.0", "condition_embedder.text_embedder.fc_in" },
    { "text_embedding.2", "condition_embedder.text_embedder.fc_out" },
    { "time_embedding.0", "condition_embedder.time_embedder.mlp.fc_in" },
    { "time_embedding.2", "condition_embedder.time_embedder.mlp.fc_out" },
    { "time_projection.1", "condition_embedder.time_modulation.linear" }, { "head.modulation", "scale_shift_table" },
    { "head.head", "proj_out" }, { NULL, NULL }
};

/* ---- text encoders ---- */

static Pair hf_block[] = {
    { "attn.q", "layer.0.SelfAttention.q" }, { "attn.k", "layer.0.SelfAttention.k" },
    { "attn.v", "layer.0.SelfAttention.v" }, { "attn.o", "layer.0.SelfAttention.o" },
    { "pos_embedding.embedding", "layer.0.SelfAttention.relative_attention_bias" },
    { "norm1", "layer.0.layer_norm" }, { "norm2", "layer.1.layer_norm" },
    { "ffn.gate.0", "layer.1.DenseReluDense.wi_0" }, { "ffn.fc1", "layer.1.DenseReluDense.wi_1" },
    { "ffn.fc2", "layer.1.DenseReluDense.wo" }, { NULL, NULL }
};
static Pair hf[] = {
    { "token_embedding", "shared" }, { "norm", "encoder.final_layer_norm" }, { NULL, NULL }
};

static Pair gguf_block[] = {
    { "attn.q", "attn_q" }, { "attn.k", "attn_k" }, { "attn.v", "attn_v" }, { "attn.o", "attn_o" },
    { "pos_embedding.embedding", "attn_rel_b" }, { "norm1", "attn_norm" }, { "norm2", "ffn_norm" },
    { "ffn.gate.0", "ffn_gate" }, { "ffn.fc1", "ffn_up" }, { "ffn.fc2", "ffn_down" }, { NULL, NULL }
};
static Pair gguf[] = {
    { "token_embedding", "token_embd" }, { "norm", "enc.output_norm" }, { NULL, NULL }
};

/* ---- VAE: parts of a place, then places ---- */

static Pair vae_parts[] = {
    { "residual.0", "norm1" }, { "residual.2", "conv1" }, { "residual.3", "norm2" }, { "residual.6", "conv2" },
    { "shortcut", "conv_shortcut" }, { NULL, NULL }
};
static Pair vae_places[] = {
    { "conv1", "quant_conv" }, { "conv2", "post_quant_conv" }, { "encoder.conv1", "encoder.conv_in" },
    { "decoder.conv1", "decoder.conv_in" }, { "encoder.head.0", "encoder.norm_out" },
    { "decoder.head.0", "decoder.norm_out" }, { "encoder.head.2", "encoder.conv_out" },
    { "decoder.head.2", "decoder.conv_out" }, { "encoder.middle.0", "encoder.mid_block.resnets.0" },
    { "encoder.middle.1", "encoder.mid_block.attentions.0" }, { "encoder.middle.2", "encoder.mid_block.resnets.1" },
    { "decoder.middle.0", "decoder.mid_block.resnets.0" }, { "decoder.middle.1", "decoder.mid_block.attentions.0" },
    { "decoder.middle.2", "decoder.mid_block.resnets.1" }, { NULL, NULL }
};

/* from a name of the list to theirs, in place. @return whether there is one */
static int swap(char *name, Pair *pairs)
{
    char rest[300];

    for (; (*pairs)[0]; pairs++) {
        size_t n = strlen((*pairs)[0]);

        if (strncmp(name, (*pairs)[0], n) || (name[n] && name[n] != '.'))
            continue;
        strcpy(rest, name + n);
        sprintf(name, "%s%s", (*pairs)[1], rest);
        return 1;
    }
    return 0;
}

static void rename_all(Form *f, const char *prefix, const char *block, Pair *in_block, Pair *outside)
{
    for (int i = 0; i < f->n; i++) {
        char name[300], *inner;
        int b, n = 0;

        if (sscanf(f->t[i].name, "blocks.%d.%n", &b, &n) == 1 && n) {
            strcpy(name, f->t[i].name + n);
            swap(name, in_block);
            sprintf(f->t[i].name, "%.40s%.20s%d.%.200s", prefix, block, b, name);
            continue;
        }
        strcpy(name, f->t[i].name);
        swap(name, outside);
        if (sscanf(name, "decoder.upsamples.%d.%n", &b, &n) == 1) {
            char up[300];

            sprintf(up, "decoder.up_blocks.%d.%s.%d.%.200s", b / 4, b % 4 < 3 ? "resnets" : "upsamplers",
                    b % 4 < 3 ? b % 4 : 0, name + n);
            strcpy(name, up);
        }
        if (!strncmp(name, "encoder.downsamples.", 20)) {
            char down[300];

            sprintf(down, "encoder.down_blocks.%.200s", name + 20);
            strcpy(name, down);
        }
        for (inner = name; in_block == vae_parts && *inner; inner++)
            if (inner > name && inner[-1] == '.' && swap(inner, vae_parts))
                break;
        sprintf(f->t[i].name, "%.40s%.250s", prefix, name);
    }
}

typedef struct Files { const char *dit, *text, *vae; } Files;

static int clip(Files files, uint8_t *rgb)
{
    char own[256], dit[256];
    TDContext *c = NULL;
    TDSettings s;
    TDParams p;
    Seen seen;
    int ret;

    small_settings(&s, &seen, small_path(own, "own"));
    small_params(&p);
    s.dit = files.dit ? files.dit : small_path(dit, DIT);
    s.text_encoder = files.text;
    s.vae = files.vae;
    ret = td_open(&c, &s);
    if (ret >= 0 && (ret = td_start(c, &p)) >= 0)
        ret = read_clip(c, rgb);
    CHECK_STR(seen.error, "");
    td_close(&c);
    return ret;
}

static const struct Naming {
    const char *name, *file, *prefix, *block;
    Pair *in_block, *outside;
} namings[] = {
    { "diffusers: transformer", DIT, "", "blocks.", diffusers_block, diffusers },
    { "diffusers, behind a prefix", DIT, "model.diffusion_model.", "blocks.", diffusers_block, diffusers },
    { "FastVideo: transformer", DIT, "", "blocks.", fastvideo_block, fastvideo },
    { "official names behind `transformer.`", DIT, "transformer.", "blocks.", hf, hf },
    { "Hugging Face: umT5", TEXT, "", "encoder.block.", hf_block, hf },
    { "GGUF's names: umT5", TEXT, "", "enc.blk.", gguf_block, gguf },
    { "diffusers: VAE", VAE, "", "", vae_parts, vae_places },
};

static int same_as(const char *file, const char *path)
{
    static uint8_t a[BYTES], b[BYTES];
    char from[256];
    int dit = !strcmp(file, DIT) || !strcmp(file, INT8), text = !strcmp(file, TEXT);

    small_path(from, file);
    CHECK_INT(clip((Files){ dit ? from : NULL, text ? from : NULL, dit || text ? NULL : from }, a), N);
    CHECK_INT(clip((Files){ dit ? path : NULL, text ? path : NULL, dit || text ? NULL : path }, b), N);
    return CHECK(!memcmp(a, b, BYTES));
}

static void test_namings(void)
{
    char from[256], to[256];
    Form f;

    for (size_t i = 0; i < sizeof(namings) / sizeof(*namings); i++) {
        test_begin(namings[i].name);
        if (form_read(&f, small_path(from, namings[i].file), 0) < 0)
            return;
        rename_all(&f, namings[i].prefix, namings[i].block, namings[i].in_block, namings[i].outside);
        if (form_write(&f, small_path(to, "form.safetensors"), NULL) >= 0) {
            same_as(namings[i].file, to);
            form_tdinfo(to, namings[i].in_block == hf ? "complete" : "names");
        }
        form_free(&f);
    }
}

static int open_it(const char *path, Seen *seen)
{
    TDLog log = { .out = { seen, on_line, TD_LOG_WARNING } };
    TDCheckpoint *c = NULL;
    int ret;

    memset(seen, 0, sizeof(*seen));
    ret = td_checkpoint_open(&c, path, &log);
    td_checkpoint_close(&c);
    return ret;
}

static void test_twice(void)
{
    char from[256], to[256];
    Seen seen;
    Form f;

    test_begin("names that become one");
    if (form_read(&f, small_path(from, DIT), 0) < 0)
        return;
    rename_all(&f, "", "blocks.", diffusers_block, diffusers);
    form_add(&f, "head.head.weight", TD_BF16, 1, (int64_t[]){ 1 }, NULL);
    CHECK_INT(form_write(&f, small_path(to, "form.safetensors"), NULL), 0);
    check_error(&seen, open_it(to, &seen), TD_ERR(EBADMSG),
                "'head.head.weight' occurs twice when diffusers' names are made the official ones");
    form_free(&f);

    test_begin("the table of tokens by either of its names, or both");
    for (int both = 0; both < 3; both++) {
        FormTensor *t;

        if (form_read(&f, small_path(from, TEXT), 0) < 0)
            return;
        rename_all(&f, "", "encoder.block.", hf_block, hf);
        t = form_find(&f, "shared.weight");
        if (both)
            t = form_add(&f, "encoder.embed_tokens.weight", t->dtype, 2, t->shape, t->data);
        if (both == 2)
            t->shape[0] /= 2, t->bytes /= 2;
        else if (!both)
            strcpy(t->name, "encoder.embed_tokens.weight");
        CHECK_INT(form_write(&f, small_path(to, "form.safetensors"), NULL), 0);
        if (both == 2)
            check_error(&seen, open_it(to, &seen), TD_ERR(EBADMSG),
                        "'token_embedding.weight' occurs twice when Hugging Face's");
        else
            same_as(TEXT, to);
        form_free(&f);
    }
}

static void test_blocks(void)
{
    char from[256], to[256];
    Seen seen;
    Form f;

    test_begin("int8 of 128x128 blocks by diffusers' names");
    if (form_read(&f, small_path(from, INT8), 0) < 0)
        return;
    for (int i = 0; i < f.n; i++) {
        char *end = strrchr(f.t[i].name, '.');

        if (!strcmp(end, ".int8_weight"))
            strcpy(end, ".weight");
        else if (!strcmp(end, ".scale"))
            strcpy(end, ".weight_scale_inv");
    }
    rename_all(&f, "", "blocks.", diffusers_block, diffusers);
    CHECK_INT(form_write(&f, small_path(to, "form.safetensors"), NULL), 0);
    same_as(INT8, to);
    form_tdinfo(to, "int8, SLA");

    test_begin("scales of blocks that are not int8");
    form_free(&f);
    form_add(&f, "a.weight", TD_F8_E4M3, 2, (int64_t[]){ 128, 128 }, NULL);
    form_add(&f, "a.weight_scale_inv", TD_F32, 2, (int64_t[]){ 1, 1 }, NULL);
    CHECK_INT(form_write(&f, to, NULL), 0);
    check_error(&seen, open_it(to, &seen), TD_ERR(ENOTSUP), "a.weight_scale_inv: scales of f8_e4m3 values in blocks");
    form_free(&f);
}

static void test_shards(void)
{
    char from[256], to[256];
    Form f;

    test_begin("shards of Hugging Face's umT5");
    if (form_read(&f, small_path(from, TEXT), 0) < 0)
        return;
    rename_all(&f, "", "encoder.block.", hf_block, hf);
    if (form_write_shards(&f, small_dir, "model", 2) >= 0)
        same_as(TEXT, small_path(to, "model.safetensors.index.json"));
    form_free(&f);
}

/* model=DIR of this name in small_dir: the frames, or the error with these words */
static void check_dir(const char *name, uint8_t *rgb, const char *words)
{
    char path[256];
    TDContext *c = NULL;
    TDSettings s;
    TDParams p;
    Seen seen;

    small_settings(&s, &seen, small_path(path, name));
    small_params(&p);
    if (words) {
        if (!check_error(&seen, td_open(&c, &s), TD_ERR(ENOENT), words))
            td_close(&c);
        return;
    }
    if (CHECK_INT(td_open(&c, &s), 0) && CHECK_INT(td_start(c, &p), 0))
        CHECK_INT(read_clip(c, rgb), N);
    CHECK_STR(seen.error, "");
    td_close(&c);
}

/* a directory of diffusers whose three networks are in shards, by diffusers' names of files and tensors */
static void test_diffusers_shards(void)
{
    static const struct { int naming; const char *folder, *stem; int n; } parts[] = {
        { 0, "transformer", "diffusion_pytorch_model", 3 }, { 4, "text_encoder", "model", 5 },
        { 6, "vae", "diffusion_pytorch_model", 2 },
    };
    static uint8_t a[BYTES], b[BYTES];
    char path[256], line[600], name[100];
    Form f;

    test_begin("diffusers' directory, all of it in shards");
    snprintf(line, sizeof(line), "cd %s && mkdir -p shards/transformer shards/text_encoder shards/vae "
             "shards/tokenizer && cp own/google/umt5-xxl/spiece.model shards/tokenizer && "
             "echo '{}' > shards/model_index.json && "
             "for d in transformer text_encoder vae; do echo '{}' > shards/$d/config.json; done", small_dir);
    CHECK_INT(system(line), 0);
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        const struct Naming *n = &namings[parts[i].naming];

        if (form_read(&f, small_path(path, n->file), 0) < 0)
            return;
        rename_all(&f, n->prefix, n->block, n->in_block, n->outside);
        snprintf(name, sizeof(name), "shards/%s", parts[i].folder);
        form_write_shards(&f, small_path(path, name), parts[i].stem, parts[i].n);
        form_free(&f);
    }
    CHECK_INT(clip((Files){ NULL, NULL, NULL }, a), N);
    check_dir("shards", b, NULL);
    CHECK(!memcmp(a, b, BYTES));
    form_tdinfo(small_path(path, "shards"), "text_encoder/model.safetensors.index.json: umT5 encoder, other size");

    test_begin("one shard of it is missing, or its index");
    snprintf(line, sizeof(line), "cd %s/shards && mv text_encoder/model-00004-of-00005.safetensors .", small_dir);
    CHECK_INT(system(line), 0);
    check_dir("shards", b, "text_encoder/model-00004-of-00005.safetensors: no such file");
    snprintf(line, sizeof(line), "cd %s/shards && mv model-00004* text_encoder && rm transformer/*index.json",
             small_dir);
    CHECK_INT(system(line), 0);
    check_dir("shards", b, "no file of a transformer (diffusion_pytorch_model-0000");
}

/* the official names: patches of five dimensions, as Wan's own files have them, behind prefixes, with counters of a
 * trainer */
static void test_official(void)
{
    static const char *const prefixes[] = { "", "net.", "diffusion_model.", "model.diffusion_model." };
    char from[256], to[256];
    FormTensor *t;
    Form f;

    test_begin("official names: five dimensions, prefixes, counters");
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(*prefixes); i++) {
        if (form_read(&f, small_path(from, DIT), 0) < 0)
            return;
        t = form_find(&f, "patch_embedding.weight");
        if (CHECK(t && t->shape[0] == 128 && td_shape_count(t->shape, t->n_dims) == 128 * 64)) {
            t->n_dims = 5;
            memcpy(t->shape, (int64_t[]){ 128, 16, 1, 2, 2 }, 5 * sizeof(*t->shape));
        }
        form_add(&f, "accum_image_sample_counter", TD_F32, 0, NULL, NULL);
        form_prefix(&f, prefixes[i]);
        if (form_write(&f, small_path(to, "form.safetensors"), NULL) >= 0)
            same_as(DIT, to);
        form_tdinfo(to, "Wan T2V, other size");
        form_free(&f);
    }
}

static void count_warnings(void *cookie, int level, const char *line)
{
    if (level == TD_LOG_WARNING) {
        ((int *)cookie)[0]++;
        ((int *)cookie)[1] += strstr(line, "2 of its tensors are not used, such as blocks.0.to_gate_compress.w") ||
                              strstr(line, "1 of its tensors are not used, such as unknown") ||
                              strstr(line, "1 of its tensors are not used, such as blocks.0.self_attn.to_gate_comp");
    }
}

/* what a file has more: none, gates and another tensor, that alone, gates by the official names (as Kijai has them) */
static void test_unused(void)
{
    char from[256], to[256], own[256];
    TDContext *c = NULL;
    TDSettings s;
    Seen seen;
    Form f;

    test_begin("tensors that are not used: one warning");
    for (int more = 0; more < 4; more++) {
        int seen_warnings[2] = { 0 };

        if (form_read(&f, small_path(from, DIT), 0) < 0)
            return;
        if (more != 3)
            rename_all(&f, "", "blocks.", fastvideo_block, fastvideo);
        form_add(&f, "accum_video_sample_counter", TD_F32, 0, NULL, NULL);    /* that of a trainer does not count */
        if (more == 1 || more == 2)
            form_add(&f, "unknown", TD_F32, 1, (int64_t[]){ 1 }, NULL);
        if (more == 3)
            form_add(&f, "blocks.0.self_attn.to_gate_compress.weight", TD_BF16, 1, (int64_t[]){ 1 }, NULL);
        if (more == 1)
            form_add(&f, "blocks.0.to_gate_compress.weight", TD_BF16, 1, (int64_t[]){ 1 }, NULL);
        CHECK_INT(form_write(&f, small_path(to, "form.safetensors"), NULL), 0);
        form_free(&f);
        form_tdinfo(to, more == 1 ? ", complete, 2 unexpected" : more ? ", complete, 1 unexpected" : "complete\n");
        small_settings(&s, &seen, small_path(own, "own"));
        s.dit = to;
        s.logger = (TDLogger){ seen_warnings, count_warnings, TD_LOG_WARNING };
        CHECK_INT(td_open(&c, &s), 0);
        td_close(&c);
        CHECK_INT(seen_warnings[0], more > 0);
        CHECK_INT(seen_warnings[1], more > 0);
    }
}

int main(void)
{
    test_begin("a model");
    if (small_model_make("own", "--dit=both --blocks=2 --text-blocks=2") < 0)
        return test_end();
    test_namings();
    test_twice();
    test_blocks();
    test_shards();
    test_diffusers_shards();
    test_official();
    test_unused();
    small_model_remove();
    return test_end();
}
