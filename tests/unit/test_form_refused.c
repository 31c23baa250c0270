/* SPDX-License-Identifier: BSD-2-Clause
 * Forms of few bits that are not read, by the names that their writers give: the library refuses them in one line with
 * the form's name, and so does tdinfo. Tensors have the right names and about the right shapes; that one linear has the
 * form is enough. */
#include <sys/wait.h>
#include "forms.h"

#define DIT "own/TurboWan2.1-T2V-1.3B-480P.safetensors"
#define TEXT "own/models_t5_umt5-xxl-enc-bf16.safetensors"

enum { K = 128 };                                /* rows and columns of the linears */

typedef struct More {
    const char *ending;
    enum TDDtype dtype;
    int n_dims;
    int64_t shape[2];
    const char *text;                            /* u8 of these bytes; NULL: zeros */
} More;

typedef struct Refused {
    const char *name, *words;
    More more[6];                                /* beside the linear; a "weight" takes the place of its own */
} Refused;

#define COMFY(json) { "comfy_quant", TD_U8, 1, { sizeof(json) - 1 }, json }
#define HALF        { "weight", TD_I8, 2, { K, K / 2 }, NULL }
#define END         { NULL, TD_U8, 0, { 0 }, NULL }

static const Refused forms[] = {
    { "SVDQuant of nunchaku", "wscales: SVDQuant (w4a4) of nunchaku, a form that is not read; want bf16, ", {
        { "qweight", TD_I8, 2, { K, K / 2 }, NULL }, { "wscales", TD_BF16, 2, { K / 64, K }, NULL },
        { "smooth_factor", TD_BF16, 1, { K }, NULL }, { "proj_down", TD_BF16, 2, { K, 32 }, NULL },
        { "proj_up", TD_BF16, 2, { K, 32 }, NULL }, END } },
    { "AWQ", "qzeros: AWQ, a form that is not read; want bf16, ", {
        { "qweight", TD_I32, 2, { K, K / 8 }, NULL }, { "qzeros", TD_I32, 2, { 1, K / 8 }, NULL },
        { "scales", TD_F16, 2, { 1, K }, NULL }, END } },
    { "GPTQ", "g_idx: GPTQ, a form that is not read; want bf16, ", {
        { "qweight", TD_I32, 2, { K / 8, K }, NULL }, { "qzeros", TD_I32, 2, { 1, K / 8 }, NULL },
        { "scales", TD_F16, 2, { 1, K }, NULL }, { "g_idx", TD_I32, 1, { K }, NULL }, END } },
    { "packed integers of another program", "qweight: packed integers (qweight), a form that is not read", {
        { "qweight", TD_I32, 2, { K / 8, K }, NULL }, { "scales", TD_F16, 2, { 1, K }, NULL }, END } },
    { "compressed-tensors", "weight_packed: packed weights of compressed-tensors, a form that is not read", {
        { "weight_packed", TD_I32, 2, { K, K / 8 }, NULL }, { "weight_scale", TD_BF16, 2, { K, 1 }, NULL },
        { "weight_shape", TD_I32, 1, { 2 }, NULL }, END } },
    { "asymmetric int8", "weight_zero_point: asymmetric int8 or int4 (zero points), a form that is not read", {
        { "weight", TD_I8, 2, { K, K }, NULL }, { "weight_scale", TD_F32, 2, { K, 1 }, NULL },
        { "weight_zero_point", TD_I8, 2, { K, 1 }, NULL }, END } },
    { "asymmetric int4", "weight_zero_point: asymmetric int8 or int4 (zero points), a form that is not read", {
        { "weight", TD_U8, 2, { K, K / 2 }, NULL }, { "weight_zero_point", TD_U8, 2, { K, 1 }, NULL }, END } },
    { "the same by another name", "weight_zp: asymmetric int8 or int4 (zero points), a form that is not read", {
        { "weight", TD_I8, 2, { K, K }, NULL }, { "weight_scale", TD_F32, 2, { K, 1 }, NULL },
        { "weight_zp", TD_I8, 2, { K, 1 }, NULL }, END } },
    { "zero points alone", ".zero_point: asymmetric int8 or int4 (zero points), a form that is not read", {
        { "weight", TD_I8, 2, { K, K }, NULL }, { "weight_scale", TD_F32, 2, { K, 1 }, NULL },
        { "zero_point", TD_F32, 2, { K, 1 }, NULL }, END } },
    { "zeros of rows", "weight_zeros: asymmetric int8 or int4 (zero points), a form that is not read", {
        { "weight", TD_I8, 2, { K, K }, NULL }, { "weight_scale", TD_F32, 2, { K, 1 }, NULL },
        { "weight_zeros", TD_F32, 2, { K, 1 }, NULL }, END } },
    { "nvfp4 of LightX2V", "weight_global_scale: nvfp4 of LightX2V, a form that is not read", {
        { "weight", TD_U8, 2, { K, K / 2 }, NULL }, { "weight_scale", TD_F8_E4M3, 2, { K, K / 16 }, NULL },
        { "weight_global_scale", TD_F32, 1, { 1 }, NULL }, END } },
    { "bitsandbytes of 4 bits", "weight.absmax: bitsandbytes (nf4, fp4, int8), a form that is not read", {
        { "weight", TD_U8, 2, { K * K / 2, 1 }, NULL }, { "weight.absmax", TD_F32, 1, { K * K / 64 }, NULL },
        { "weight.quant_map", TD_F32, 1, { 16 }, NULL },
        { "weight.quant_state.bitsandbytes__nf4", TD_U8, 1, { 2 }, "{}" }, END } },
    { "bitsandbytes of 8 bits", "SCB: bitsandbytes (nf4, fp4, int8), a form that is not read", {
        { "weight", TD_I8, 2, { K, K }, NULL }, { "SCB", TD_F32, 1, { K }, NULL }, END } },
    { "quanto", "weight._data: quanto, a form that is not read", {
        { "weight._data", TD_I8, 2, { K, K }, NULL }, { "weight._scale", TD_BF16, 2, { K, 1 }, NULL }, END } },
    { "HQQ", "W_q: HQQ, a form that is not read", {
        { "W_q", TD_U8, 2, { K / 2, K }, NULL }, { "scale", TD_F16, 2, { 1, K }, NULL },
        { "zero", TD_F16, 2, { 1, K }, NULL }, END } },
    { "ComfyUI's convrot_w4a4", "comfy_quant: format 'convrot_w4a4' of i8 values, want float8_e4m3fn, ", {
        HALF, { "weight_scale", TD_F32, 2, { K, 1 }, NULL },
        COMFY("{\"format\":\"convrot_w4a4\",\"convrot_groupsize\":256}"), END } },
    { "ComfyUI's svdquant_w4a4", "comfy_quant: format 'svdquant_w4a4' of i8 values, want float8_e4m3fn, ", {
        HALF, { "weight_scale", TD_F32, 2, { K, 1 }, NULL }, COMFY("{\"format\":\"svdquant_w4a4\"}"), END } },
    { "ComfyUI's awq_w4a16", "comfy_quant: format 'awq_w4a16' of i8 values, want float8_e4m3fn, ", {
        HALF, { "weight_scale", TD_F32, 2, { K, 1 }, NULL }, COMFY("{\"format\":\"awq_w4a16\"}"), END } },
    { "ComfyUI's float8_e5m2 of another type",
      "comfy_quant: format 'float8_e5m2', whose values are f8_e5m2, of a weight of f8_e4m3", {
        { "weight", TD_F8_E4M3, 2, { K, K }, NULL }, { "weight_scale", TD_F32, 0, { 1 }, NULL },
        COMFY("{\"format\":\"float8_e5m2\"}"), END } },
    { "ComfyUI's asym_w4a8_int8", "weight_codebook: 4-bit codes with a codebook (w4a8), a form that is not", {
        HALF, { "weight_codebook", TD_F32, 1, { 16 }, NULL }, { "weight_s_rel", TD_F8_E4M3, 2, { K, K / 16 }, NULL },
        { "weight_s_channel", TD_F32, 1, { K }, NULL }, COMFY("{\"format\":\"asym_w4a8_int8\",\"convrot\":true}"),
        END } },
    { "the same without its marker", "weight_codebook: 4-bit codes with a codebook (w4a8), a form that is not read", {
        HALF, { "weight_codebook", TD_F32, 1, { 16 }, NULL }, { "weight_s_rel", TD_F8_E4M3, 2, { K, K / 16 }, NULL },
        { "weight_s_channel", TD_F32, 1, { K }, NULL }, END } },
};

/* @return 0, or -1 after a failed check */
static int take_out(Form *f, const char *name)
{
    FormTensor *t = form_find(f, name);

    if (!CHECK(t != NULL))
        return -1;
    free(t->data);
    *t = f->t[--f->n];
    return 0;
}

/* the linear L, whose weight leaves, in this form */
static void change(Form *f, const char *linear, const More *more)
{
    char name[300];

    snprintf(name, sizeof(name), "%s.weight", linear);
    if (take_out(f, name) < 0)
        return;
    for (; more->ending; more++) {
        snprintf(name, sizeof(name), "%s.%s", linear, more->ending);
        form_add(f, name, more->dtype, more->n_dims, more->shape, more->text);
    }
}

/* tdinfo of the file: status 1 and one line with the words */
static void refuse_info(const char *path, const char *words)
{
    const char *build = getenv("TD_BUILD");
    char line[600], out[4096];
    int status, n_lines = 0;
    size_t n;
    FILE *f;

    snprintf(line, sizeof(line), "%s/tdinfo --summary %s 2>&1", build ? build : "build", path);
    if (!CHECK((f = popen(line, "r")) != NULL))
        return;
    n = fread(out, 1, sizeof(out) - 1, f);
    out[n] = 0;
    status = pclose(f);
    for (size_t i = 0; i < n; i++)
        n_lines += out[i] == '\n';
    if (!CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 1 && n_lines == 1 && strstr(out, words)))
        printf("  want status 1 and a line with \"%s\": %s\n", words, out);
}

/* dit, text: files instead of the model's, or NULL */
static void refuse_open(const char *model, const char *dit, const char *text, int err, const char *words)
{
    char dir[256];
    TDContext *c = NULL;
    TDSettings s;
    Seen seen;

    small_settings(&s, &seen, small_path(dir, model));
    s.dit = dit;
    s.text_encoder = text;
    if (!check_error(&seen, td_open(&c, &s), TD_ERR(err), words))
        td_close(&c);
}

static void refuse_form(const Refused *r, const char *file, const char *linear, int text)
{
    char from[256], to[256];
    Form f;

    if (form_read(&f, small_path(from, file), 0) < 0)
        return;
    change(&f, linear, r->more);
    if (form_write(&f, small_path(to, "form.safetensors"), NULL) >= 0) {
        refuse_open("own", text ? NULL : to, text ? to : NULL, ENOTSUP, r->words);
        refuse_info(to, r->words);
    }
    form_free(&f);
}

/* beside one that is read it is passed over; alone it is what is wrong with the directory */
static void test_directory(void)
{
    char line[600], path[256];
    TDContext *c = NULL;
    TDSettings s;
    Seen seen;

    test_begin("a directory with such a file, and with another one");
    snprintf(line, sizeof(line), "cd %s && cp -r own mixed && cp form.safetensors mixed/wan-int4.safetensors",
             small_dir);
    CHECK_INT(system(line), 0);
    small_settings(&s, &seen, small_path(path, "mixed"));
    CHECK_INT(td_open(&c, &s), 0);
    td_close(&c);
    CHECK_STR(seen.error, "");
    snprintf(line, sizeof(line), "rm %s/mixed/TurboWan*", small_dir);
    CHECK_INT(system(line), 0);
    refuse_open("mixed", NULL, NULL, ENOTSUP, forms[0].words);
}

/* what the width of ffn is read from */
static void test_no_ffn(void)
{
    char from[256], to[256];
    Form f;

    test_begin("a transformer without its first ffn");
    if (form_read(&f, small_path(from, DIT), 0) < 0)
        return;
    if (take_out(&f, "blocks.0.ffn.0.weight") >= 0 && form_write(&f, small_path(to, "form.safetensors"), NULL) >= 0)
        refuse_open("own", to, NULL, EBADMSG, "tensor blocks.0.ffn.0.weight is missing; not a whole transformer");
    form_free(&f);
}

int main(void)
{
    const int n = sizeof(forms) / sizeof(*forms);

    test_begin("a model");
    if (small_model_make("own", "") < 0)
        return test_end();
    for (int i = 0; i < n; i++) {
        test_begin(forms[i].name);
        refuse_form(&forms[i], DIT, "blocks.0.self_attn.q", 0);
    }
    test_begin("AWQ of a text encoder");
    refuse_form(&forms[1], TEXT, "blocks.0.attn.q", 1);
    refuse_form(&forms[0], DIT, "blocks.0.ffn.2", 0);     /* what test_directory() takes */
    test_directory();
    test_no_ffn();
    small_model_remove();
    return test_end();
}
