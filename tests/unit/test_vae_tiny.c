/* SPDX-License-Identifier: BSD-2-Clause
 * The tiny VAE of a model: which file it is, clips with it for text and for a picture, and files that are refused. */
#include <errno.h>
#include "model/model.h"
#include "small_model.h"

enum { N = 9, BYTES = 32 * 32 * 3 * N };

static char tiny_path[256];

static void shell(const char *command)
{
    char line[1000];

    snprintf(line, sizeof(line), "cd %s && { %s; }", small_dir, command);
    if (!CHECK_INT(system(line), 0))
        printf("  %s\n", command);
}

static const TDImage *picture(int level)
{
    static uint8_t pixels[2][32 * 32 * 3];
    static const TDImage image[2] = { { 32, 32, 96, pixels[0] }, { 32, 32, 96, pixels[1] } };

    for (int i = 0; i < 32 * 32 * 3; i++)
        pixels[level][i] = (uint8_t)(level ? i * 7 : 200);
    return &image[level];
}

/* image: -1: none, or which. @return frames, or the error of whatever failed */
static int clip(const TDSettings *s, int image, int n_frames, uint8_t *rgb, TDInfo *info)
{
    TDContext *c = NULL;
    TDParams p;
    int ret = td_open(&c, s);

    small_params(&p);
    p.n_frames = n_frames;
    p.image = image < 0 ? NULL : picture(image);
    if (ret >= 0 && (ret = td_start(c, &p)) >= 0)
        ret = read_clip(c, rgb);
    if (info && ret >= 0)
        CHECK_INT(td_get_info(c, info, sizeof(*info)), 0);
    td_close(&c);
    return ret;
}

static int clip_of(const char *model, const char *vae, int image, int n_frames, uint8_t *rgb, TDInfo *info)
{
    char path[256];
    TDSettings s;
    Seen seen;
    int ret;

    small_settings(&s, &seen, small_path(path, model));
    s.vae = vae;
    ret = clip(&s, image, n_frames, rgb, info);
    CHECK_STR(seen.error, "");
    CHECK_INT(seen.backwards, 0);
    return ret;
}

/* ---- which file ---- */

/* vae= as given, beside Wan's own unless `alone`: the end of the path that is found, or the words of the error */
static void check_found(const char *dir, const char *vae, const char *want, int err)
{
    char path[256], chosen[TD_CHOSEN], *file[TD_N_FILES] = { NULL };
    Seen seen = { 0 };
    TDLog log = { .out = { &seen, on_line, TD_LOG_ERROR } };
    TDSettings s;
    int ret;

    CHECK_INT(td_default_settings(&s, sizeof(s)), 0);
    s.model = small_path(path, dir);
    s.vae = vae;
    ret = td_model_find_files(file, chosen, &s, &log);
    if (err)
        check_error(&seen, ret, TD_ERR(err), want);
    else if (!CHECK_INT(ret, 0) || !CHECK(strlen(file[TD_FILE_VAE]) >= strlen(want)) ||
             !CHECK_STR(file[TD_FILE_VAE] + strlen(file[TD_FILE_VAE]) - strlen(want), want))
        printf("  %s, vae=%s\n", dir, vae ? vae : "");
    for (int i = 0; i < TD_N_FILES; i++)
        free(file[i]);
}

static void check_which(void)
{
    test_begin("the tiny one is used where vae= names it");
    shell("cp tiny/taew2_1.safetensors t2v && mkdir t2v/vae_approx && "
          "ln -s ../taew2_1.safetensors t2v/vae_approx/other.safetensors && "
          "ln -s ../taew2_1.safetensors t2v/vae_approx/lighttaew2_1.safetensors");
    check_found("t2v", NULL, "/t2v/Wan2.1_VAE.safetensors", 0);
    check_found("t2v", "wan2", "/t2v/Wan2.1_VAE.safetensors", 0);
    check_found("t2v", "VAE", "/t2v/Wan2.1_VAE.safetensors", 0);
    check_found("t2v", "TAEW2_1.saf", "more than one file could be a VAE (taew2_1.safetensors, vae_approx/lightt",
                EINVAL);
    check_found("t2v", "light", "/t2v/vae_approx/lighttaew2_1.safetensors", 0);
    check_found("t2v", "other", "/t2v/vae_approx/other.safetensors", 0);
    check_found("t2v", "none", "vae=none: no such file, and it is in no name of model=", ENOENT);
    shell("rm -r t2v/vae_approx");
    check_found("t2v", "tae", "/t2v/taew2_1.safetensors", 0);
    check_found("t2v", tiny_path, "/tiny/taew2_1.safetensors", 0);
    shell("mkdir alone && cp -r t2v/[!W]* alone");
    check_found("alone", NULL, "no VAE but a tiny one, taew2_1.safetensors; set vae= to a part of its name", ENOENT);
    check_found("alone", "tae", "/alone/taew2_1.safetensors", 0);
    shell("mv alone/taew2_1.safetensors alone/my_vae.safetensors");
    check_found("alone", NULL, "/alone/my_vae.safetensors", 0);
}

/* ---- clips ---- */

/* the first picture is there before the second latent frame is decoded */
static void check_first(uint8_t *rgb)
{
    TDFrame f = { .format = TD_PIX_RGB24, .data = { rgb }, .stride = { 96 } };
    TDContext *c = NULL;
    char path[256];
    TDSettings s;
    TDParams p;
    Seen seen;

    small_settings(&s, &seen, small_path(path, "t2v"));
    s.vae = tiny_path;
    small_params(&p);
    p.n_frames = N;
    if (CHECK_INT(td_open(&c, &s), 0) && CHECK_INT(td_start(c, &p), 0) && CHECK_INT(td_read_frame(c, &f), 1)) {
        CHECK_INT(f.index, 0);
        CHECK_INT(seen.last.stage, TD_STAGE_DECODE);
        CHECK_INT(seen.last.done, 1);
        CHECK_INT(seen.last.total, 3);
    }
    td_close(&c);
}

static void check_clips(void)
{
    static uint8_t wan[BYTES], tiny[BYTES], other[BYTES];
    TDInfo with_wan, with_tiny;
    char light[256];
    TDSettings s;
    Seen seen;

    test_begin("text to video");
    CHECK_INT(clip_of("t2v", NULL, -1, N, wan, &with_wan), N);
    CHECK_INT(clip_of("t2v", "taew", -1, N, tiny, &with_tiny), N);
    CHECK(memcmp(wan, tiny, BYTES) != 0);
    CHECK_INT(clip_of("alone", NULL, -1, N, other, NULL), N);           /* under another name */
    CHECK(!memcmp(tiny, other, BYTES));
    CHECK_INT(clip_of("t2v", "taew", -1, 1, other, NULL), 1);
    CHECK(with_tiny.stage_seconds[TD_STAGE_DECODE] > 0);

    test_begin("pictures leave as they are made");
    check_first(wan);

    test_begin("latents with mean and deviation, by the file's name");
    shell("mkdir light && ln -s ../tiny/taew2_1.safetensors light/LightTAEw2_1.safetensors");
    small_path(light, "light/LightTAEw2_1.safetensors");
    CHECK_INT(clip_of("t2v", light, -1, N, other, NULL), N);
    CHECK(memcmp(tiny, other, BYTES) != 0);

    test_begin("by stage, in pieces");
    small_settings(&s, &seen, small_path(light, "t2v"));
    s.vae = tiny_path;
    s.residency = TD_RESIDENT_STAGE;
    CHECK_INT(clip(&s, -1, N, other, NULL), N);
    CHECK(!memcmp(tiny, other, BYTES));
    CHECK_STR(seen.error, "");
}

static void check_image(void)
{
    static uint8_t wan[BYTES], a[BYTES], b[BYTES], c[BYTES];

    test_begin("image to video: the picture's latent is the tiny one's, too");
    CHECK_INT(clip_of("i2v", NULL, 0, N, wan, NULL), N);
    CHECK_INT(clip_of("i2v", tiny_path, 0, N, a, NULL), N);
    CHECK_INT(clip_of("i2v", tiny_path, 0, N, b, NULL), N);
    CHECK_INT(clip_of("i2v", tiny_path, 1, N, c, NULL), N);
    CHECK(!memcmp(a, b, BYTES));
    CHECK(memcmp(a, c, BYTES) && memcmp(a, wan, BYTES));
    CHECK_INT(clip_of("i2v", tiny_path, 1, 1, b, NULL), 1);
}

/* ---- what is refused ---- */

/* the file with `old` of its header replaced by as many bytes, and from `at` on `n` bytes of its data by 0xff */
static void damage(const char *name, const char *old, const char *new, size_t at, size_t n)
{
    char path[256];
    FILE *f = fopen(tiny_path, "rb");
    static uint8_t data[23000000];
    size_t size = f ? fread(data, 1, sizeof(data), f) : 0, header = size > 8 ? data[0] | (size_t)data[1] << 8 : 0;
    uint8_t *found = old ? memmem(data, header + 8, old, strlen(old)) : NULL;

    if (f)
        fclose(f);
    if (!CHECK(size > 8 + header + at + n) || !CHECK(!old || found) || !CHECK(!old || strlen(old) == strlen(new)))
        return;
    if (old)
        memcpy(found, new, strlen(new));
    memset(data + 8 + header + at, 0xff, n);
    f = fopen(small_path(path, name), "wb");
    CHECK(f && fwrite(data, 1, size, f) == size && fclose(f) == 0);
}

static void check_refused(const char *model, int err, const char *words)
{
    char path[256], vae[256];
    TDSettings s;
    Seen seen;

    small_settings(&s, &seen, small_path(path, model));
    s.vae = small_path(vae, "bad.safetensors");
    check_error(&seen, clip(&s, strcmp(model, "i2v") ? -1 : 0, N, NULL, NULL), TD_ERR(err), words);
}

static void check_other(const char *header, int bytes, const char *words)
{
    char path[256], vae[256];
    uint64_t size = strlen(header);
    FILE *f = fopen(small_path(vae, "bad.safetensors"), "wb");
    TDSettings s;
    Seen seen;

    if (!CHECK(f != NULL))
        return;
    CHECK(fwrite(&size, 8, 1, f) == 1 && fwrite(header, 1, size, f) == size);
    for (int i = 0; i < bytes; i++)
        fputc(0, f);
    CHECK_INT(fclose(f), 0);
    small_settings(&s, &seen, small_path(path, "t2v"));
    s.vae = vae;
    check_error(&seen, clip(&s, -1, N, NULL, NULL), TD_ERR(ENOTSUP), words);
}

#define BLOCK(h) "\"decoder.3.conv.0.weight\":{\"dtype\":\"F32\",\"shape\":[2,1," h "]"

static void check_bad_files(void)
{
    test_begin("files that are refused");
    damage("bad.safetensors", "\"decoder.9.conv.2.weight\"", "\"decoder.9.conv.2.weighs\"", 0, 0);
    check_refused("t2v", EBADMSG, "bad.safetensors: tensor decoder.9.conv.2.weight is missing");
    damage("bad.safetensors", "\"decoder.14.weight\":{\"dtype\":\"F16\",\"shape\":[64,128",
           "\"decoder.14.weight\":{\"dtype\":\"F16\",\"shape\":[128,64", 0, 0);
    check_refused("t2v", EBADMSG, "decoder.14.weight: shape [128,64,3,3], want 64 rows of 1152 values");
    damage("bad.safetensors", "\"encoder.7.conv.weight\":{\"dtype\":\"F16\"",
           "\"encoder.7.conv.weight\":{\"dtype\":\"I16\"", 0, 0);
    check_refused("i2v", ENOTSUP, "encoder.7.conv.weight: dtype");
    damage("bad.safetensors", NULL, NULL, 1000, 4);          /* within encoder.0 */
    check_refused("i2v", EBADMSG, "bad.safetensors: encoder.0.weight[500] is ");
    damage("bad.safetensors", NULL, NULL, 22600000, 4);      /* within decoder.20 */
    check_refused("t2v", EBADMSG, "bad.safetensors: decoder.20.weight[23056] is ");
    check_other("{\"decoder.1.weight\":{\"dtype\":\"F32\",\"shape\":[1,48,1,1],\"data_offsets\":[0,192]},"
                BLOCK("3,3") ",\"data_offsets\":[192,264]}}", 264,
                "bad.safetensors: tiny VAE of Wan 2.2 TI2V-5B (48 latent channels), want one of Wan 2.1 (taew2_1, li");
    check_other("{\"decoder.1.weight\":{\"dtype\":\"F32\",\"shape\":[1,32,1,1],\"data_offsets\":[0,128]},"
                BLOCK("3,3") ",\"data_offsets\":[128,200]}}", 200,
                "tiny VAE of another model than Wan, want");
    check_other("{\"decoder.0.weight\":{\"dtype\":\"F32\",\"shape\":[1,16,1,1],\"data_offsets\":[0,64]},"
                BLOCK("7,7") ",\"data_offsets\":[64,456]}}", 456,
                "tiny VAE with 7x7 convolutions (super), want");
}

int main(void)
{
    test_begin("models");
    if (small_model_make("t2v", "") < 0 || small_model_make("i2v", "--in-dim=36") < 0 ||
        small_model_make("tiny", "--only=vae --vae=tiny") < 0)
        return test_end();
    small_path(tiny_path, "tiny/taew2_1.safetensors");
    check_which();
    check_clips();
    check_image();
    check_bad_files();
    small_model_remove();
    return test_end();
}
