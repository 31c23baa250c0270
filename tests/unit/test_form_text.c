/* SPDX-License-Identifier: BSD-2-Clause
 * Text encoders as other programs have them: in 8 bits, by the official names; and those that bring their vocabulary,
 * with no tokenizer file beside them: ComfyUI's file with its tensor spiece_model, and a GGUF file with its lists. */
#include "forms_pth.h"

enum { W = 32, H = 32, N = 5, BYTES = W * H * 3 * N };

#define SPIECE "tests/data/spiece.model"
#define TEXT "own/models_t5_umt5-xxl-enc-bf16.safetensors"

static uint8_t spiece[1 << 20];
static size_t n_spiece;

static void settings(TDSettings *s, Seen *seen, const char *text)
{
    static char dit[256], vae[256];

    small_settings(s, seen, NULL);
    s->dit = small_path(dit, "own/TurboWan2.1-T2V-1.3B-480P.safetensors");
    s->vae = small_path(vae, "own/Wan2.1_VAE.safetensors");
    s->text_encoder = text;
}

static int clip(const char *text, const char *tokenizer, uint8_t *rgb)
{
    TDContext *c = NULL;
    TDSettings s;
    TDParams p;
    Seen seen;
    int ret;

    settings(&s, &seen, text);
    s.tokenizer = tokenizer;
    small_params(&p);
    p.prompt = "a cat <extra_id_3> and \xe7\x8c\xab";
    ret = td_open(&c, &s);
    if (ret >= 0 && (ret = td_start(c, &p)) >= 0)
        ret = read_clip(c, rgb);
    CHECK_STR(seen.error, "");
    td_close(&c);
    return ret;
}

/* the same frames, where only names and vocabulary are others */
static void check_same(const char *path)
{
    static uint8_t a[BYTES], b[BYTES];
    char own[256];

    CHECK_INT(clip(small_path(own, TEXT), SPIECE, a), N);
    CHECK_INT(clip(path, NULL, b), N);
    CHECK(!memcmp(a, b, BYTES));
    form_tdinfo(path, "with its vocabulary, 1660 ids");
}

static void check_plain(const char *path)
{
    static uint8_t a[BYTES], b[BYTES];
    char plain[256];
    Form f;

    if (form_read(&f, path, 1) < 0)
        return;
    CHECK_INT(form_write(&f, small_path(plain, "plain.safetensors"), NULL), 0);
    form_free(&f);
    CHECK_INT(clip(plain, SPIECE, a), N);
    CHECK_INT(clip(path, NULL, b), N);
    CHECK(!memcmp(a, b, BYTES));
}

static void refuse(const char *path, int err, const char *words)
{
    TDContext *c = NULL;
    TDSettings s;
    Seen seen;

    settings(&s, &seen, path);
    if (!check_error(&seen, td_open(&c, &s), TD_ERR(err), words))
        td_close(&c);
}

/* names of the small encoder, which has one block */
static void rename_all(Form *f, const char *const (*to)[2], int n)
{
    for (int i = 0; i < f->n; i++)
        for (int k = 0; k < n; k++)
            if (!strcmp(f->t[i].name, to[k][0]))
                strcpy(f->t[i].name, to[k][1]);
}

static const char *const comfy[][2] = {
    { "token_embedding.weight", "shared.weight" }, { "norm.weight", "encoder.final_layer_norm.weight" },
    { "blocks.0.attn.q.weight", "encoder.block.0.layer.0.SelfAttention.q.weight" },
    { "blocks.0.attn.k.weight", "encoder.block.0.layer.0.SelfAttention.k.weight" },
    { "blocks.0.attn.v.weight", "encoder.block.0.layer.0.SelfAttention.v.weight" },
    { "blocks.0.attn.o.weight", "encoder.block.0.layer.0.SelfAttention.o.weight" },
    { "blocks.0.pos_embedding.embedding.weight",
      "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight" },
    { "blocks.0.norm1.weight", "encoder.block.0.layer.0.layer_norm.weight" },
    { "blocks.0.norm2.weight", "encoder.block.0.layer.1.layer_norm.weight" },
    { "blocks.0.ffn.gate.0.weight", "encoder.block.0.layer.1.DenseReluDense.wi_0.weight" },
    { "blocks.0.ffn.fc1.weight", "encoder.block.0.layer.1.DenseReluDense.wi_1.weight" },
    { "blocks.0.ffn.fc2.weight", "encoder.block.0.layer.1.DenseReluDense.wo.weight" },
};

static const char *const gguf[][2] = {
    { "token_embedding.weight", "token_embd.weight" }, { "norm.weight", "enc.output_norm.weight" },
    { "blocks.0.attn.q.weight", "enc.blk.0.attn_q.weight" }, { "blocks.0.attn.k.weight", "enc.blk.0.attn_k.weight" },
    { "blocks.0.attn.v.weight", "enc.blk.0.attn_v.weight" }, { "blocks.0.attn.o.weight", "enc.blk.0.attn_o.weight" },
    { "blocks.0.pos_embedding.embedding.weight", "enc.blk.0.attn_rel_b.weight" },
    { "blocks.0.norm1.weight", "enc.blk.0.attn_norm.weight" },
    { "blocks.0.norm2.weight", "enc.blk.0.ffn_norm.weight" },
    { "blocks.0.ffn.gate.0.weight", "enc.blk.0.ffn_gate.weight" },
    { "blocks.0.ffn.fc1.weight", "enc.blk.0.ffn_up.weight" },
    { "blocks.0.ffn.fc2.weight", "enc.blk.0.ffn_down.weight" },
};

#define RENAME(f, list) rename_all(f, list, (int)(sizeof(list) / sizeof(*list)))

/* the official names in 8 bits, as Kijai and LightX2V have them, and a vocabulary of its own */
static void test_official(void)
{
    static const struct { const char *name; enum TDDtype type; enum FormScale scales; } forms[] = {
        { "official names: plain fp8", TD_F8_E4M3, FORM_PLAIN }, { "fp8, scales of rows", TD_F8_E4M3, FORM_ROWS },
        { "int8, scales of rows", TD_I8, FORM_ROWS },
    };
    static uint8_t a[BYTES], b[BYTES];
    char from[256], to[256], plain[256];
    Form f;

    for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
        test_begin(forms[i].name);
        if (form_read(&f, small_path(from, TEXT), 0) < 0)
            return;
        form_to_8_bits(&f, forms[i].type, forms[i].scales, "weight_scale", NULL, 0);
        CHECK_INT(form_write(&f, small_path(to, "text.safetensors"), NULL), 0);
        form_free(&f);
        if (form_read(&f, to, 1) < 0)
            return;
        CHECK_INT(form_write(&f, small_path(plain, "plain.safetensors"), NULL), 0);
        form_free(&f);
        CHECK_INT(clip(plain, SPIECE, a), N);
        CHECK_INT(clip(to, SPIECE, b), N);
        CHECK(!memcmp(a, b, BYTES));
        CHECK_INT(clip(from, SPIECE, b), N);
        CHECK(memcmp(a, b, BYTES) != 0);
        form_tdinfo(to, "umT5 encoder, other size");
    }
}

/* LightX2V's whole encoders: pickles of the official names, a scale for each row of what is in 8 bits */
static void test_pth(void)
{
    static const struct { const char *stem; enum TDDtype type; double error; } forms[] = {
        { "models_t5_umt5-xxl-enc-fp8", TD_F8_E4M3, 0.0263 }, { "models_t5_umt5-xxl-enc-int8", TD_I8, 0.0065 },
    };
    static uint8_t a[BYTES], b[BYTES];
    char from[256], to[256], plain[256], name[100];
    Form f, was, is;

    for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
        snprintf(name, sizeof(name), "%s.pth", forms[i].stem);
        test_begin(forms[i].stem);
        if (form_read(&f, small_path(from, TEXT), 0) < 0)
            return;
        form_to_8_bits(&f, forms[i].type, FORM_ROWS, "weight_scale", NULL, 0);
        form_write_pth(&f, small_path(to, name), forms[i].stem);
        form_free(&f);
        if (form_read(&is, to, 1) < 0 || form_read(&was, from, 0) < 0)
            return;
        CHECK_NEAR(form_distance(&was, &is), forms[i].error, 0.15 * forms[i].error);
        CHECK_INT(form_write(&is, small_path(plain, "plain.safetensors"), NULL), 0);
        form_free(&was);
        form_free(&is);
        CHECK_INT(clip(plain, SPIECE, a), N);
        CHECK_INT(clip(to, SPIECE, b), N);
        CHECK(!memcmp(a, b, BYTES));
        CHECK_INT(clip(from, SPIECE, b), N);
        CHECK(memcmp(a, b, BYTES) != 0);
        form_tdinfo(to, "umT5 encoder, other size");
        refuse(to, EINVAL, "no tokenizer: set model= to a directory, or tokenizer= to a file");
    }
}

static void test_comfy(void)
{
    static uint8_t a[BYTES], b[BYTES];
    char from[256], to[256];
    FormTensor *t;
    Form f;

    test_begin("ComfyUI's file, its vocabulary a tensor");
    if (form_read(&f, small_path(from, TEXT), 0) < 0)
        return;
    RENAME(&f, comfy);
    form_add(&f, "spiece_model", TD_U8, 1, (int64_t[]){ (int64_t)n_spiece }, spiece);
    if (form_write(&f, small_path(to, "text.safetensors"), NULL) >= 0)
        check_same(to);

    test_begin("the same, of another type, damaged, or missing");
    t = form_find(&f, "spiece_model");
    t->dtype = TD_I8;
    CHECK_INT(form_write(&f, to, NULL), 0);
    refuse(to, EBADMSG, "bytes of i8, want 1 to 67108864 of a SentencePiece model as u8");
    t->dtype = TD_U8;
    t->bytes = 16;                               /* of the first piece, <pad> */
    t->shape[0] = 16;
    CHECK_INT(form_write(&f, to, NULL), 0);
    refuse(to, ENOTSUP, "text.safetensors: spiece_model: piece 1 is not </s>");
    t->bytes = n_spiece;
    t->shape[0] = (int64_t)n_spiece;
    memset(t->data + 100, 0xff, 100);
    CHECK_INT(form_write(&f, to, NULL), 0);
    refuse(to, EBADMSG, "text.safetensors: spiece_model: piece 6 is damaged");
    t->bytes = 0;
    t->shape[0] = 0;
    CHECK_INT(form_write(&f, to, NULL), 0);
    refuse(to, EBADMSG, "spiece_model is 0 bytes of u8");
    strcpy(t->name, "nothing");
    CHECK_INT(form_write(&f, to, NULL), 0);
    refuse(to, EINVAL, "no tokenizer: set model= to a directory, or tokenizer= to a file");
    form_free(&f);

    test_begin("ComfyUI's scaled fp8");
    if (form_read(&f, small_path(from, TEXT), 0) < 0)
        return;
    form_to_8_bits(&f, TD_F8_E4M3, FORM_TENSOR, "scale_weight", NULL, 0);
    for (int i = 0; i < f.n; i++) {              /* the scales beside their weights */
        char name[300], *end = strstr(f.t[i].name, ".scale_weight");

        if (!end)
            continue;
        snprintf(name, sizeof(name), "%.*s.weight", (int)(end - f.t[i].name), f.t[i].name);
        for (size_t k = 0; k < sizeof(comfy) / sizeof(*comfy); k++)
            if (!strcmp(name, comfy[k][0])) {
                snprintf(f.t[i].name, sizeof(f.t[i].name), "%.*s.scale_weight", (int)strlen(comfy[k][1]) - 7,
                         comfy[k][1]);
                break;
            }
    }
    form_halve(&f);
    RENAME(&f, comfy);
    CHECK_INT(form_find(&f, "shared.weight")->dtype, TD_F16);
    form_add(&f, "scaled_fp8", TD_F8_E4M3, 1, (int64_t[]){ 2 }, NULL);
    form_add(&f, "spiece_model", TD_U8, 1, (int64_t[]){ (int64_t)n_spiece }, spiece);
    if (form_write(&f, to, NULL) >= 0)
        check_plain(to);
    form_tdinfo(to, "Hugging Face's names");

    test_begin("its table, norms and relative positions of f16 are as those of f32");
    form_widen(&f);
    CHECK_INT(form_write(&f, small_path(from, "wide.safetensors"), NULL), 0);
    CHECK_INT(clip(to, NULL, a), N);
    CHECK_INT(clip(from, NULL, b), N);
    CHECK(!memcmp(a, b, BYTES));
    form_free(&f);
}

/* ---- GGUF ---- */

static uint8_t pairs[1 << 20];
static size_t n_pairs;

static void put(const void *p, size_t n)
{
    memcpy(pairs + n_pairs, p, n);
    n_pairs += n;
}

static void put_text(const void *p, uint64_t n)
{
    put(&n, 8);
    put(p, n);
}

static void put_array(const char *key, uint32_t type, uint64_t n)
{
    uint32_t types[2] = { 9, type };

    put_text(key, strlen(key));
    put(types, 8);
    put(&n, 8);
}

static uint64_t varint(const uint8_t **p)
{
    uint64_t v = 0;
    int shift = 0;

    do
        v |= (uint64_t)(**p & 127) << shift, shift += 7;
    while (*(*p)++ & 128);
    return v;
}

/* what writers say beside it: the architecture, which is theirs to name, and the kinds of the pieces */
static uint64_t put_more(uint64_t n_pieces)
{
    static const struct { const char *key, *text; } words[] = {
        { "general.architecture", "t5encoder" }, { "tokenizer.ggml.model", "t5" },
    };
    const uint32_t text = 8;
    const int32_t kind = 1;

    for (int i = 0; i < 2; i++) {
        put_text(words[i].key, strlen(words[i].key));
        put(&text, 4);
        put_text(words[i].text, strlen(words[i].text));
    }
    put_array("tokenizer.ggml.token_type", 5, n_pieces);
    for (uint64_t i = 0; i < n_pieces; i++)
        put(&kind, 4);
    return 3;
}

/* both lists, of the pieces of the vocabulary and then what writers add; short_by: scores that are left out.
 * @return the number of pairs */
static uint64_t put_vocabulary(uint64_t short_by)
{
    static const char *const more[] = { "<extra_id_1>", "<extra_id_0>", "[PAD1]", "[PAD2]" };
    static float scores[1 << 16];
    uint64_t n = 0;

    n_pairs = 0;
    for (int pass = 0; pass < 2; pass++) {
        if (pass)
            put_array("tokenizer.ggml.tokens", 8, n + 4);
        for (const uint8_t *p = spiece, *end = spiece + n_spiece; p < end;) {
            const uint8_t *piece, *stop;
            uint64_t field = varint(&p), length = varint(&p);

            piece = p;
            stop = p += length;
            if (field != 0x0a)
                continue;
            while (piece < stop) {
                uint64_t inner = varint(&piece), size = (inner & 7) == 2 ? varint(&piece) : (inner & 7) == 5 ? 4 : 0;

                if (inner == 0x0a && pass)
                    put_text(piece, size);
                if (inner == 0x15 && !pass)
                    memcpy(&scores[n], piece, 4);
                if (!size)
                    varint(&piece);
                piece += size;
            }
            n += !pass;
        }
    }
    for (int i = 0; i < 4; i++) {
        put_text(more[i], strlen(more[i]));
        scores[n + (uint64_t)i] = -1000;
    }
    put_array("tokenizer.ggml.scores", 6, n + 4 - short_by);
    put(scores, 4 * (n + 4 - short_by));
    return 2 + put_more(n + 4);
}

static void test_gguf(void)
{
    char from[256], to[256];
    uint64_t n;
    Form f;

    test_begin("GGUF, its vocabulary in lists");
    if (form_read(&f, small_path(from, TEXT), 0) < 0)
        return;
    RENAME(&f, gguf);
    n = put_vocabulary(0);
    if (form_write_gguf(&f, small_path(to, "text.gguf"), pairs, n_pairs, n) >= 0)
        check_same(to);

    test_begin("lists that do not fit each other");
    n = put_vocabulary(1);
    CHECK_INT(form_write_gguf(&f, to, pairs, n_pairs, n), 0);
    refuse(to, EBADMSG, " scores, want as many");
    n_pairs = 0;
    put_array("tokenizer.ggml.tokens", 8, 1);
    put_text("a", 1);
    CHECK_INT(form_write_gguf(&f, to, pairs, n_pairs, 1), 0);
    refuse(to, EBADMSG, "tokenizer.ggml.tokens without tokenizer.ggml.scores");
    form_free(&f);

    test_begin("GGUF in q8_0, the table of tokens, too; norms and relative positions f32");
    if (form_read(&f, small_path(from, TEXT), 0) < 0)
        return;
    strcpy(form_find(&f, "token_embedding.weight")->name, "blocks.table.weight");
    form_to_q8_0(&f);
    strcpy(form_find(&f, "blocks.table.weight")->name, "token_embedding.weight");
    CHECK_INT(form_find(&f, "token_embedding.weight")->dtype, TD_Q8_0);
    form_halve(&f);
    form_widen(&f);
    RENAME(&f, gguf);
    CHECK_INT(form_find(&f, "enc.blk.0.attn_rel_b.weight")->dtype, TD_F32);
    n = put_vocabulary(0);
    if (form_write_gguf(&f, to, pairs, n_pairs, n) >= 0)
        check_plain(to);
    form_free(&f);
}

int main(void)
{
    FILE *f = fopen(SPIECE, "rb");

    test_begin("a model");
    if (!CHECK(f != NULL) || small_model_make("own", "--text-dim=256 --text-heads=4 --text-ffn=256") < 0)
        return test_end();
    n_spiece = fread(spiece, 1, sizeof(spiece), f);
    fclose(f);
    CHECK(n_spiece > 0 && n_spiece < sizeof(spiece));
    test_official();
    test_pth();
    test_comfy();
    test_gguf();
    small_model_remove();
    return test_end();
}
