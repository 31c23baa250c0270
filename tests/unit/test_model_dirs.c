/* SPDX-License-Identifier: BSD-2-Clause
 * Directories of models as users have them: Wan's repositories, diffusers, ComfyUI's tree with files of much else
 * beside, and flat ones. Each makes the clip that the same files make when they are named one by one. */
#include "forms.h"
#include "model/model.h"
#include "model/model_scan.h"

enum { W = 32, H = 32, N = 5, BYTES = W * H * 3 * N };

#define SPIECE "tests/data/spiece.model"

static char dir[256];                            /* that of the test */

/* in `dir`, with the parts a, b (transformers), text, large (a wider one), vae, vae16 (the same in bf16), i2v_high,
 * i2v_low */
static void shell(const char *command)
{
    char line[3000];

    snprintf(line, sizeof(line), "cd %s && { %s; }", dir, command);
    if (!CHECK_INT(system(line), 0))
        printf("  %s\n", command);
}

typedef struct Want { const char *dit, *low, *text, *vae; } Want;

static int clip(const TDSettings *s, Seen *seen, double boundary, uint8_t *rgb)
{
    static uint8_t pixels[32 * 32 * 3];
    TDImage image = { 32, 32, 96, pixels };
    TDContext *c = NULL;
    TDParams p;
    TDInfo info;
    int ret;

    small_params(&p);
    p.n_steps = 4;
    p.boundary = boundary;
    ret = td_open(&c, s);
    if (ret >= 0 && CHECK_INT(td_info(c, &info), 0) && info.needs_image)
        p.image = &image;
    if (ret >= 0 && (ret = td_start(c, &p)) >= 0)
        ret = read_clip(c, rgb);
    CHECK_STR(seen->error, "");
    td_close(&c);
    return ret;
}

/* model=NAME, with dit=PART or NULL, makes the clip of these files; boundary: of two experts of text to video */
static void check_dir(const char *name, const char *part, Want want, double boundary)
{
    static uint8_t a[BYTES], b[BYTES];
    char model[256], dit[256], low[256], text[256], vae[256];
    TDSettings s;
    Seen seen;

    small_settings(&s, &seen, small_path(model, name));
    s.dit = part;
    if (!strcmp(name, "comfy"))
        s.tokenizer = SPIECE;
    CHECK_INT(clip(&s, &seen, 0, a), N);
    small_settings(&s, &seen, NULL);
    s.dit = small_path(dit, want.dit);
    s.dit_low = want.low ? small_path(low, want.low) : NULL;
    s.text_encoder = small_path(text, want.text ? want.text : "text");
    s.vae = small_path(vae, want.vae ? want.vae : "vae");
    s.tokenizer = SPIECE;
    CHECK_INT(clip(&s, &seen, boundary, b), N);
    if (!CHECK(!memcmp(a, b, BYTES)))
        printf("  %s, dit=%s\n", name, part ? part : "");
}

/* model=NAME with a part as this option, or NULL */
static void refuse_as(const char *name, const char *option, const char *part, int err, const char *words)
{
    char model[256];
    TDContext *c = NULL;
    TDSettings s;
    Seen seen;

    small_settings(&s, &seen, small_path(model, name));
    s.dit = !strcmp(name, "comfy") && strncmp(option, "dit", 3) ? "1_3B" : NULL;
    *(!strcmp(option, "dit_low") ? &s.dit_low : !strcmp(option, "vae") ? &s.vae :
      !strcmp(option, "text_encoder") ? &s.text_encoder : &s.dit) = part;
    if (!check_error(&seen, td_open(&c, &s), TD_ERR(err), words))
        td_close(&c);
}

static void refuse(const char *name, const char *part, int err, const char *words)
{
    refuse_as(name, "dit", part, err, words);
}

/* lines that say which file of several is used */
typedef struct Used {
    int n;
    char line[600];
} Used;

static void on_used(void *cookie, int level, const char *line)
{
    Used *used = cookie;

    if (level <= TD_LOG_INFO && strstr(line, "(of most bits, of ")) {
        used->n++;
        snprintf(used->line, sizeof(used->line), "%s", line);
    }
}

/* model=NAME says in its load line, and in no other, with these words, which files it uses of several; words NULL: of
 * none */
static void check_used(const char *name, const char *part, const char *words)
{
    char model[256];
    TDContext *c = NULL;
    Used used = { 0 };
    TDSettings s;
    Seen seen;

    small_settings(&s, &seen, small_path(model, name));
    s.dit = part;
    s.tokenizer = SPIECE;
    s.logger = (TDLogger){ &used, on_used, TD_LOG_INFO };
    CHECK_INT(td_open(&c, &s), 0);
    td_close(&c);
    CHECK_INT(used.n, words != NULL);
    if (!CHECK(!words || (!strncmp(used.line, "load: Wan-", 10) && strstr(used.line, words))))
        printf("  %s: %s\n", name, used.line);
}

/* dit= and dit_low= of transformers whose names have nothing of noise; in that order or the other */
static void check_low(const char *name, const char *part, const char *low_part, const char *want, const char *want_low)
{
    static uint8_t a[BYTES], b[BYTES];
    char model[256], dit[256], low[256];
    TDSettings s;
    Seen seen;

    small_settings(&s, &seen, small_path(model, name));
    s.dit = part;
    s.dit_low = low_part;
    CHECK_INT(clip(&s, &seen, 0, a), N);
    s.dit = small_path(dit, want);
    s.dit_low = small_path(low, want_low);
    CHECK_INT(clip(&s, &seen, 0, b), N);
    if (!CHECK(!memcmp(a, b, BYTES)))
        printf("  %s, dit=%s, dit_low=%s\n", name, part ? part : "", low_part);
}

/* vae=PART makes the clip of this one */
static void check_vae(const char *name, const char *part, const char *want)
{
    static uint8_t a[BYTES], b[BYTES];
    char model[256], vae[256];
    TDSettings s;
    Seen seen;

    small_settings(&s, &seen, small_path(model, name));
    s.vae = part;
    CHECK_INT(clip(&s, &seen, 0, a), N);
    s.vae = small_path(vae, want);
    CHECK_INT(clip(&s, &seen, 0, b), N);
    CHECK(!memcmp(a, b, BYTES));
}

static void test_words(void)
{
    static const struct { const char *name; int low, high; } names[] = {
        { "TurboWan2.2-I2V-A14B-low-720P.pth", 1, 0 }, { "Wan2.2-T2V-A14B-HighNoise-Q8_0.gguf", 0, 1 },
        { "Wan2.2-T2V-A14B-LowNoise-Q8_0.gguf", 1, 0 }, { "wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors", 1, 0 },
        { "wan2.2_t2v_lownoise.gguf", 1, 0 }, { "low.pth", 1, 0 }, { "wan_flow_highway.pth", 0, 0 },
        { "slow-motion.pth", 0, 0 }, { "Wan22LowNoise.pth", 1, 0 }, { "wanLow_fp8.pth", 1, 0 }, { "lowres.pth", 0, 0 },
    };
    static const struct { const char *high, *low; int pair; } pairs[] = {
        { "x/wan_high_noise_14B.gguf", "x/wan_low_noise_14B.gguf", 1 },
        { "x/HighNoise/Wan-HighNoise-Q8_0.gguf", "x/LowNoise/Wan-LowNoise-Q8_0.gguf", 1 },
        { "x/transformer/a.safetensors", "x/transformer_2/a.safetensors", 1 },
        { "x/high_noise_model/a.json", "x/low_noise_model/a.json", 1 },
        { "x/wan_t2v_high_noise.gguf", "x/wan_i2v_low_noise.gguf", 0 }, { "a", "a", 0 }, { "a-high", "a-low-b", 0 },
        { "high", "low", 1 }, { "", "", 0 }, { "low", "high", 0 },
    };

    test_begin("words for the noise");
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (!CHECK_INT(td_has_noise_word(names[i].name, "low"), names[i].low) ||
            !CHECK_INT(td_has_noise_word(names[i].name, "high"), names[i].high))
            printf("  %s\n", names[i].name);
    for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++)
        if (!CHECK_INT(td_is_pair(pairs[i].high, pairs[i].low), pairs[i].pair))
            printf("  %s, %s\n", pairs[i].high, pairs[i].low);
}

static void test_wan(void)
{
    test_begin("Wan 2.2: folders of two experts of text to video");
    shell("mkdir -p wan/high_noise_model wan/low_noise_model wan/google/umt5-xxl wan/assets && "
          "cp a wan/high_noise_model/diffusion_pytorch_model.safetensors && "
          "cp b wan/low_noise_model/diffusion_pytorch_model.safetensors && "
          "echo {} > wan/high_noise_model/config.json && "
          "cp text wan/models_t5_umt5-xxl-enc-bf16.safetensors && cp vae wan/Wan2.1_VAE.safetensors && "
          "cp spiece.model wan/google/umt5-xxl && echo {} > wan/configuration.json && cp vae wan/assets/dit.pth");
    check_dir("wan", NULL, (Want){ "a", "b", NULL, NULL }, 0.875);
    form_tdinfo(small_path((char[256]){ 0 }, "wan"), "VAE");

    test_begin("the same of LightX2V beside it: a part of the name says which");
    shell("mkdir -p wan/distill_models/high_noise_model wan/distill_models/low_noise_model && "
          "cp b wan/distill_models/high_noise_model/distill_model.safetensors && "
          "cp a wan/distill_models/low_noise_model/distill_model.safetensors");
    check_dir("wan", "distill", (Want){ "b", "a", NULL, NULL }, 0.875);
    check_dir("wan", "diffusion_pytorch", (Want){ "a", "b", NULL, NULL }, 0.875);
    refuse("wan", NULL, EINVAL, "more than one file could be a transformer (distill_models/high_noise_model/"
           "distill_model.safetensors, high_noise_model/diffusion_pytorch_model.safetensors); set dit= to a file, or");

    test_begin("Wan 2.2: one of two experts alone");
    shell("rm -r wan/distill_models wan/low_noise_model && mv wan/high_noise_model/*.safetensors wan/T2V_high.pth");
    refuse("wan", NULL, ENOENT, "T2V_high.pth is one of two experts, and there is no other; want e.g. TurboWan2.2-T2V");
    check_dir("wan", small_path((char[256]){ 0 }, "wan/T2V_high.pth"), (Want){ "a", NULL, NULL, NULL }, 0);
}

/* what is f32 in Wan 2.2's repositories */
static void write_wide_shards(const char *part, const char *folder)
{
    char path[256];
    Form f;

    if (form_read(&f, small_path(path, part), 0) < 0)
        return;
    for (int i = 0; i < f.n; i++) {
        FormTensor *t = &f.t[i];
        float *wide = t->dtype == TD_BF16 ? malloc(2 * t->bytes) : NULL;

        for (size_t k = 0; wide && k < t->bytes / 2; k++)
            wide[k] = td_bf16_to_f32(((uint16_t *)t->data)[k]);
        if (!wide)
            continue;
        free(t->data);
        t->data = (uint8_t *)wide;
        t->bytes *= 2;
        t->dtype = TD_F32;
    }
    form_write_shards(&f, small_path(path, folder), "diffusion_pytorch_model", 6);
    form_free(&f);
}

static void test_shards(void)
{
    test_begin("Wan 2.2: both experts as six shards of f32");
    shell("mkdir -p wan22/high_noise_model wan22/low_noise_model wan22/google/umt5-xxl && "
          "cp text wan22/models_t5_umt5-xxl-enc-bf16.pth && cp vae wan22/Wan2.1_VAE.pth && "
          "cp spiece.model wan22/google/umt5-xxl && "
          "for d in high low; do echo {} > wan22/${d}_noise_model/config.json; done");
    write_wide_shards("a", "wan22/high_noise_model");
    write_wide_shards("b", "wan22/low_noise_model");
    check_dir("wan22", NULL, (Want){ "a", "b", NULL, NULL }, 0.875);

    test_begin("the same in Hugging Face's cache: links to blobs");
    shell("mkdir -p hub/blobs hub/snapshots/f00d && cd wan22 && n=0 && for f in $(find . -type f); do n=$((n + 1)) && "
          "cp $f ../hub/blobs/$n && mkdir -p ../hub/snapshots/f00d/${f%/*} && "
          "ln -s $(realpath ../hub/blobs/$n) ../hub/snapshots/f00d/$f; done");
    check_dir("hub/snapshots/f00d", NULL, (Want){ "a", "b", NULL, NULL }, 0.875);
    form_tdinfo(small_path((char[256]){ 0 }, "hub/snapshots/f00d"), "model.safetensors.index.json: Wan T2V, other");

    test_begin("two folders whose indexes are one blob, and their shards are not");
    shell("mkdir -p hub/snapshots/f00d/distill_models && cd hub/snapshots/f00d && "
          "cp -r low_noise_model distill_models/high_noise_model && "
          "cp -r high_noise_model distill_models/low_noise_model && "
          "for d in */*noise* high* low*; do "
          "ln -sf $(realpath high_noise_model/*.index.json) $d/diffusion_pytorch_model.safetensors.index.json; done");
    check_dir("hub/snapshots/f00d", "distill", (Want){ "b", "a", NULL, NULL }, 0.875);
    refuse("hub/snapshots/f00d", NULL, EINVAL, "more than one file could be a transformer (distill_models/high_noise");
    shell("rm -r hub wan22");
}

static void test_published(void)
{
    static const char *const high = "wan2.2_i2v_A14b_high_noise_%s_lightx2v_4step.safetensors",
                      *const low = "wan2.2_i2v_A14b_low_noise_%s_lightx2v_4step.safetensors";
    char path[256], line[800], names[2][200];
    Form f;

    test_begin("Wan 2.1: shards with their index");
    shell("mkdir -p wan21/google/umt5-xxl && cp text wan21/models_t5_umt5-xxl-enc-bf16.pth && "
          "cp vae wan21/Wan2.1_VAE.pth && cp spiece.model wan21/google/umt5-xxl && echo {} > wan21/config.json");
    if (form_read(&f, small_path(path, "a"), 0) >= 0)
        form_write_shards(&f, small_path(path, "wan21"), "diffusion_pytorch_model", 2);
    form_free(&f);
    check_dir("wan21", NULL, (Want){ "a", NULL, NULL, NULL }, 0);
    check_used("wan21", NULL, NULL);

    test_begin("rCM's two experts, whose names are no pair");
    shell("mkdir rcm && cp i2v_high rcm/Wan2.2-I2V-A14B-high-rCM4.0-merged.pt && "
          "cp i2v_low rcm/Wan2.2-I2V-A14B-low-rCM1.0-merged.pt && cp text rcm/t5.pth && cp vae rcm/vae.pth && "
          "cp spiece.model rcm");
    check_dir("rcm", NULL, (Want){ "i2v_high", "i2v_low", NULL, NULL }, 0);

    test_begin("LightX2V's files of several kinds in one folder");
    shell("mkdir light && cp text light/t5.pth && cp vae light/vae.pth && cp spiece.model light");
    for (int fp8 = 0; fp8 < 2; fp8++) {
        snprintf(names[0], sizeof(names[0]), high, fp8 ? "scaled_fp8_e4m3" : "int8");
        snprintf(names[1], sizeof(names[1]), low, fp8 ? "scaled_fp8_e4m3" : "int8");
        snprintf(line, sizeof(line), "cp %s light/%s && cp %s light/%s", fp8 ? "i2v_low" : "i2v_high", names[0],
                 fp8 ? "i2v_high" : "i2v_low", names[1]);
        shell(line);
    }
    check_dir("light", "int8", (Want){ "i2v_high", "i2v_low", NULL, NULL }, 0);
    check_dir("light", "fp8", (Want){ "i2v_low", "i2v_high", NULL, NULL }, 0);
    refuse("light", NULL, EINVAL, "could be a transformer (wan2.2_i2v_A14b_high_noise_int8_lightx2v_4step.safet");
}

static void shift_clip(double shift, uint8_t *rgb)
{
    char path[256];
    TDContext *c = NULL;
    TDSettings s;
    TDParams p;
    Seen seen;

    small_settings(&s, &seen, small_path(path, "diff"));
    small_params(&p);
    p.sampler = TD_SAMPLER_UNIPC;
    p.n_steps = 3;
    p.guidance = 1;
    p.shift = shift;
    if (CHECK_INT(td_open(&c, &s), 0) && CHECK_INT(td_start(c, &p), 0))
        CHECK_INT(read_clip(c, rgb), N);
    td_close(&c);
}

/* the shift that a clip has where its caller gives none: of turbodiff.conf, the scheduler's, that of two experts */
static void check_shifts(void)
{
    static const struct { const char *command; double want; } places[] = {
        { "true", 12 },
        { "echo '{\"x\": 1}' > diff/scheduler/scheduler_config.json", 12 },
        { "echo '{\"flow_shift\": null}' > diff/scheduler/scheduler_config.json", 12 },
        { "echo '{\"flow_shift\": 3}' > diff/scheduler/scheduler_config.json", 3 },
        { "echo '{\"flow_shift\": 7.25, \"x\": []}' > diff/scheduler/scheduler_config.json", 7.25 },
        { "echo 'shift = 2.5' > diff/turbodiff.conf", 2.5 },
    };
    static const char *const bad[] = { "0", "0.001", "101", "-3", "\"5\"", "[5]", "1e1", "true", "5.00000000000000" };
    static uint8_t a[BYTES], b[BYTES], other[BYTES];
    char line[200];

    shell("rm diff/model_index.json");
    shift_clip(5, other);
    for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
        shell(places[i].command);
        shift_clip(0, a);
        shift_clip(places[i].want, b);
        if (!CHECK(!memcmp(a, b, BYTES)) || !CHECK(memcmp(a, other, BYTES) != 0))
            printf("  %s\n", places[i].command);
    }
    shell("rm diff/turbodiff.conf");
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        snprintf(line, sizeof(line), "echo '{\"flow_shift\": %s}' > diff/scheduler/scheduler_config.json", bad[i]);
        shell(line);
        refuse("diff", NULL, EBADMSG,
               "scheduler_config.json: its flow_shift is no number such as 5.0, from 0.01 to 100");
    }
    shell("rm diff/scheduler/scheduler_config.json");
}

static void test_diffusers(void)
{
    test_begin("diffusers: two transformers, and where the second takes over");
    shell("mkdir -p diff/transformer diff/transformer_2 diff/text_encoder diff/vae diff/tokenizer diff/scheduler && "
          "cp a diff/transformer/diffusion_pytorch_model.safetensors && "
          "cp b diff/transformer_2/diffusion_pytorch_model.safetensors && "
          "cp text diff/text_encoder/model.safetensors && "
          "cp vae diff/vae/diffusion_pytorch_model.safetensors && cp spiece.model diff/tokenizer && "
          "echo '{\"boundary_ratio\": 0.95, \"x\": [1]}' > diff/model_index.json");
    check_dir("diff", NULL, (Want){ "a", "b", NULL, NULL }, 0.95);
    shell("echo '{\"boundary_ratio\": null}' > diff/model_index.json");
    check_dir("diff", NULL, (Want){ "a", "b", NULL, NULL }, 0.875);
    shell("echo '{\"boundary_ratio\": 1.5}' > diff/model_index.json");
    refuse("diff", NULL, EBADMSG, "model_index.json: its boundary_ratio is no number such as 0.875, from 0 to 1");
    shell("echo '{\"boundary_ratio\": \"0.9\"}' > diff/model_index.json");
    refuse("diff", NULL, EBADMSG, "model_index.json: its boundary_ratio is no number");
    check_shifts();
    shell("echo '{' > diff/model_index.json");
    refuse("diff", NULL, EBADMSG, "model_index.json: JSON line");
    shell("rm -r diff/model_index.json diff/transformer_2");
    check_dir("diff", NULL, (Want){ "a", NULL, NULL, NULL }, 0);
}

static void test_comfy(void)
{
    test_begin("ComfyUI: what is wanted among much else");
    shell("mkdir -p comfy/diffusion_models/wan comfy/unet comfy/text_encoders comfy/clip comfy/vae comfy/vae_approx "
          "comfy/loras comfy/checkpoints && cd comfy && "
          "cp ../a diffusion_models/wan2.2_t2v_high_noise_14B.safetensors && "
          "cp ../b diffusion_models/wan2.2_t2v_low_noise_14B.safetensors && "
          "cp ../b diffusion_models/wan/Wan2_1_T2V_1_3B.sft && "
          "cp ../i2v_high unet/wan2.2_i2v_high_noise_14B.ckpt && cp ../i2v_low unet/wan2.2_i2v_low_noise_14B.ckpt && "
          "echo nothing > diffusion_models/flux.safetensors && cp ../text diffusion_models/other.safetensors && "
          "cp ../a diffusion_models/wan_lora.safetensors && cp ../a diffusion_models/._wan.safetensors && "
          "cp ../text text_encoders/umt5.safetensors && cp ../vae text_encoders/t5.bin && echo x > clip/clip_l.pt && "
          "cp ../vae16 vae/wan_2.1_vae.pt && cp ../vae vae/Wan2_1_VAE_f32.pt && echo x > vae/ae.safetensors && "
          "cp ../a vae/taew2_1.safetensors && cp ../text vae/sdxl_vae.safetensors && cp ../a loras/b.safetensors && "
          "cp ../a checkpoints/c.safetensors");
    check_dir("comfy", "1_3B", (Want){ "b", NULL, NULL, NULL }, 0);
    check_dir("comfy", "t2v_high", (Want){ "a", "b", NULL, NULL }, 0.875);
    check_dir("comfy", "WAN2.2_I2V", (Want){ "i2v_high", "i2v_low", NULL, NULL }, 0);
    refuse("comfy", NULL, EINVAL, "more than one file could be a transformer (diffusion_models/wan/Wan2_1_T2V_1_3B"
           ".sft, diffusion_models/wan2.2_t2v_high_noise_14B.safetensors, unet/wan2.2_i2v_high_noise_14B.ckpt); "
           "set dit=");
    refuse("comfy", "wan2.2", EINVAL, "(diffusion_models/wan2.2_t2v_high_noise_14B.safetensors, unet/wan2.2_i2v_hi");
    refuse("comfy", "14B_720p", ENOENT, "dit=14B_720p: no such file, and it is in no name of model=");
    refuse("comfy", "no/such.pth", ENOENT, "no/such.pth: no such file");
    check_used("comfy", "1_3B", " s; VAE vae/Wan2_1_VAE_f32.pt (of most bits, of 2)");

    test_begin("a part that is in no name: those that there are, of files that could be it");
    refuse_as("comfy", "dit", "nope", ENOENT, "dit=nope: no such file, and it is in no name of model=");
    refuse_as("comfy", "dit", "nope", ENOENT, "/comfy that could be a transformer (diffusion_models/wan/Wan2_1_T2V_1_3B"
              ".sft, diffusion_models/wan2.2_t2v_high_noise_14B.safetensors, unet/wan2.2_i2v_high_noise_14B.ckpt)");
    refuse_as("comfy", "dit_low", "nope", ENOENT, "dit_low=nope: no such file, and it is in no name of model=");
    refuse_as("comfy", "dit_low", "nope", ENOENT, "a low-noise expert (diffusion_models/wan2.2_t2v_low_noise_14B"
              ".safetensors, unet/wan2.2_i2v_low_noise_14B.ckpt, diffusion_models/wan/Wan2_1_T2V_1_3B.sft, diffusion_");
    refuse_as("comfy", "text_encoder", "nope", ENOENT, "that could be a umT5 encoder (text_encoders/umt5.safetensors)");
    for (int i = 0; i < 4; i++) {
        static const char *const part[] = { "dit", "dit_low", "text_encoder", "vae" };
        char want[64];

        snprintf(want, sizeof(want), "%s= is empty, want a ", part[i]);
        refuse_as("comfy", part[i], "", ENOENT, want);
    }
    refuse_as("comfy", "vae", "nope", ENOENT, "could be a VAE (vae/Wan2_1_VAE_f32.pt, vae/wan_2.1_vae.pt, vae/taew2_1");

    test_begin("folders and files that are links to others: each file is one");
    shell("mv comfy/unet/* comfy/diffusion_models && rmdir comfy/unet && ln -s diffusion_models comfy/unet && "
          "ln -s . comfy/diffusion_models/loop && ln -s Wan2_1_VAE_f32.pt comfy/vae/best_vae.pt && "
          "ln comfy/text_encoders/umt5.safetensors comfy/clip/same_t5.safetensors");
    check_dir("comfy", "1_3B", (Want){ "b", NULL, NULL, NULL }, 0);
    check_dir("comfy", "t2v_high", (Want){ "a", "b", NULL, NULL }, 0.875);
    check_dir("comfy", "i2v_high", (Want){ "i2v_high", "i2v_low", NULL, NULL }, 0);
    check_used("comfy", "1_3B", " s; VAE vae/Wan2_1_VAE_f32.pt (of most bits, of 2)");
    refuse("comfy", NULL, EINVAL, "more than one file could be a transformer (diffusion_models/wan/Wan2_1_T2V_1_3B."
           "sft, diffusion_models/wan2.2_i2v_high_noise_14B.ckpt, diffusion_models/wan2.2_t2v_high_noise_14B.safe");

    test_begin("a tree without one of the parts");
    shell("rm comfy/vae/*");
    refuse("comfy", "1_3B", ENOENT, "no file of a VAE; want e.g. Wan2.1_VAE.pth, or set vae=");
    refuse_as("comfy", "vae", "nope", ENOENT, "vae=nope: no such file, and it is in no name of model=");
    refuse_as("comfy", "vae", "nope", ENOENT, "could be a VAE (there is none)");
}

static void test_flat(void)
{
    test_begin("flat: HighNoise and LowNoise, every ending");
    shell("mkdir flat && cp a flat/Wan2.2-T2V-A14B-HighNoise.ckpt && cp b flat/Wan2.2-T2V-A14B-LowNoise.ckpt && "
          "cp text flat/umt5.pt && cp vae flat/wan_vae.bin && cp spiece.model flat && "
          "echo x > flat/lora.safetensors && echo x > flat/taew2_1.pth && "
          "echo x > flat/clip_vision_h.safetensors && echo x > flat/Wan_VACE.gguf && "
          "echo x > flat/controlnet.pt && mkdir flat/dir.pth");
    check_dir("flat", NULL, (Want){ "a", "b", NULL, NULL }, 0.875);
    form_tdinfo(small_path((char[256]){ 0 }, "flat"), "umT5");
    shell("cd flat && mv Wan2.2-T2V-A14B-HighNoise.ckpt T2V.sft && rm *LowNoise*");
    check_dir("flat", NULL, (Want){ "a", NULL, NULL, NULL }, 0);

    test_begin("two transformers, of which dit_low= says which is the second");
    shell("cp b flat/Other.sft");
    check_low("flat", NULL, "other", "a", "b");
    check_low("flat", "Other", "T2V", "b", "a");
    check_low("flat", "t2v", "OTHER", "a", "b");
    refuse("flat", NULL, EINVAL, "more than one file could be a transformer (Other.sft, T2V.sft)");
    refuse_as("flat", "dit_low", "nope", ENOENT, "in no name of model=");
    refuse_as("flat", "dit_low", "nope", ENOENT, "could be a low-noise expert (Other.sft, T2V.sft)");
    refuse_as("flat", "dit_low", "sft", EINVAL, "dit_low=sft: no such file, and it is in every name of model=");
    shell("rm flat/T2V.sft");
    refuse_as("flat", "dit_low", "other", EINVAL, "could be a low-noise expert (Other.sft)");
    check_low("flat", small_path((char[256]){ 0 }, "a"), "other", "a", "b");
    shell("mv flat/Other.sft flat/T2V.sft && cp a flat/T2V.sft");

    test_begin("an expert without the other, and a name that is not a shard's");
    shell("mv flat/T2V.sft flat/wan_low_noise.sft");
    refuse("flat", NULL, ENOENT, "wan_low_noise.sft is one of two experts, that for low noise, and there is no other");
    refuse("flat", "wan", ENOENT, "wan_low_noise.sft is one of two experts");
    shell("mv flat/wan_low_noise.sft flat/best-of-2026.sft");
    check_dir("flat", NULL, (Want){ "a", NULL, NULL, NULL }, 0);
    shell("mv flat/best-of-2026.sft flat/T2V-00001-of-00002.safetensors");
    refuse("flat", NULL, ENOENT, "(T2V-00001-of-00002.safetensors is a shard, and its index is missing); want");
    shell("mv flat/T2V-00001-of-00002.safetensors flat/T2V.sft");

    test_begin("LightVAE, a quarter as wide, where vae= names it");
    shell("cp vae24 flat/lightvaew2_1.safetensors && cp vae32 flat/wan_vae.bin");
    check_vae("flat", "lightvae", "vae24");
    check_dir("flat", NULL, (Want){ "a", NULL, NULL, "vae32" }, 0);
    check_used("flat", NULL, " s; VAE wan_vae.bin (of most bits, of 2)");
    form_tdinfo(small_path((char[256]){ 0 }, "flat/lightvaew2_1.safetensors"), "Wan VAE, other size: base dim 24");
    shell("rm flat/lightvaew2_1.safetensors && cp vae flat/wan_vae.bin");

    test_begin("a VAE of more bits beside one of fewer");
    shell("cd flat && cp ../vae16 a_vae.safetensors");
    check_dir("flat", NULL, (Want){ "a", NULL, NULL, NULL }, 0);
    check_used("flat", NULL, " s; VAE wan_vae.bin (of most bits, of 2)");
    shell("rm flat/a_vae.safetensors");
}

/* what a file has beside its network, of another size or without a half, makes it no better than one that is whole */
static void test_bits(void)
{
    char path[256];
    Form f;

    test_begin("text encoders: that of more bits, and not that of the larger file or of another model");
    shell("cp -r flat bits && cp large bits/umt5_large.safetensors");
    if (form_read(&f, small_path(path, "text"), 0) < 0)
        return;
    form_to_8_bits(&f, TD_F8_E4M3, FORM_TENSOR, "scale_weight", NULL, 0);
    form_add(&f, "decoder.block.0.layer.0.SelfAttention.q.weight", TD_F32, 2, (int64_t[]){ 1024, 1024 }, NULL);
    CHECK_INT(form_write(&f, small_path(path, "bits/umt5_fp8.safetensors"), NULL), 0);
    form_free(&f);
    check_dir("bits", NULL, (Want){ "a", NULL, NULL, NULL }, 0);
    check_used("bits", NULL, " s; umT5 encoder umt5.pt (of most bits, of 2)");
    shell("cp vae16 bits/a_vae.safetensors");
    check_used("bits", NULL, " s; umT5 encoder umt5.pt (of most bits, of 2), VAE wan_vae.bin (of most bits, of 2)");
    shell("rm bits/a_vae.safetensors");

    test_begin("T5, whose first block alone has relative positions, beside umT5, and alone");
    if (form_read(&f, small_path(path, "text2"), 0) < 0)
        return;
    for (int i = 0; i < f.n; i++)
        if (!strcmp(f.t[i].name, "blocks.1.pos_embedding.embedding.weight"))
            strcpy(f.t[i].name, "unknown");
    CHECK_INT(form_write(&f, small_path(path, "bits/t5xxl_fp16.safetensors"), NULL), 0);
    form_free(&f);
    shell("rm bits/umt5_*");
    check_dir("bits", NULL, (Want){ "a", NULL, NULL, NULL }, 0);
    check_used("bits", NULL, NULL);
    shell("mv bits/umt5.pt umt5.pt");
    refuse("bits", NULL, EBADMSG, "t5xxl_fp16.safetensors: tensor blocks.1.pos_embedding.embedding.weight is missing");
    shell("mv umt5.pt bits/umt5.pt && rm bits/t5xxl*");

    test_begin("VAEs: one with both halves, for image to video");
    shell("rm bits/T2V.sft bits/wan_vae.bin && cp vae16 bits/a_vae.pt && cp i2v_high bits/high.pt && "
          "cp i2v_low bits/low.pt");
    if (form_read(&f, small_path(path, "vae"), 0) < 0)
        return;
    for (int i = 0; i < f.n; i++)
        if (!strncmp(f.t[i].name, "encoder.", 8))
            f.t[i].name[0] = 'E';
    CHECK_INT(form_write(&f, small_path(path, "bits/wan_vae.safetensors"), NULL), 0);
    form_free(&f);
    check_dir("bits", NULL, (Want){ "i2v_high", "i2v_low", NULL, "vae16" }, 0);
    shell("cd bits && rm high.pt low.pt && cp ../a T2V.pt");
    check_used("bits", NULL, " s; VAE wan_vae.safetensors (of most bits, of 2)");
}

int main(void)
{
    test_words();
    test_begin("models");
    if (small_model_make("m", "") < 0 || small_model_make("n", "--seed=4 --only=dit") < 0 ||
        small_model_make("i", "--in-dim=36 --only=dit") < 0 ||
        small_model_make("l", "--text-dim=128 --text-heads=2 --only=text") < 0 ||
        small_model_make("v", "--vae-dtype=bf16 --only=vae") < 0 ||
        small_model_make("t2", "--text-blocks=2 --only=text") < 0 ||
        small_model_make("v24", "--vae-dim=24 --only=vae") < 0 ||
        small_model_make("v32", "--vae-dim=32 --only=vae") < 0)
        return test_end();
    snprintf(dir, sizeof(dir), "%s", small_dir);
    shell("cp m/TurboWan*480P.safetensors a && cp n/TurboWan*480P.safetensors b && cp m/models_t5* text && "
          "cp l/models_t5* large && cp m/Wan2.1_VAE* vae && cp v/Wan2.1_VAE* vae16 && "
          "cp t2/models_t5* text2 && cp v24/Wan2.1_VAE* vae24 && cp v32/Wan2.1_VAE* vae32 && "
          "cp i/*high-720P.safetensors i2v_high && "
          "cp i/*low-720P.safetensors i2v_low && cp m/google/umt5-xxl/spiece.model . && rm -r m n i l v t2 v24 v32");
    test_wan();
    test_shards();
    test_published();
    test_diffusers();
    test_comfy();
    test_flat();
    test_bits();
    small_model_remove();
    return test_end();
}
