/* SPDX-License-Identifier: BSD-2-Clause
 * The public API from inside: every refused argument with its one line, progress, cancelling from another thread and by
 * callback, work in bounded pieces, and the eight pixel formats against each other. */
#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include "small_model.h"

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define IS_SLOW 1                                /* instrumented work takes ten times as long */
#else
#define IS_SLOW (getenv("TD_TEST_EMULATED") != NULL)  /* tests/aarch64.sh */
#endif

static char model[256];

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- settings ---- */

static void refuse(const char *title, const TDSettings *given, Seen *seen, int code, const char *words)
{
    TDContext *c = (TDContext *)seen;

    test_begin(title);
    memset(seen, 0, sizeof(*seen));
    check_error(seen, td_open(&c, given), TD_ERR(code), words);
    CHECK(c == NULL);
}

#define REFUSE(code, words, ...) do {                                   \
        small_settings(&s, &seen, model);                               \
        __VA_ARGS__;                                                    \
        refuse("td_open: " #__VA_ARGS__, &s, &seen, code, words);       \
    } while (0)

/* structs of a program that was built with a newer header: 0 is no harm in what this library does not know */
static void test_newer_settings(void)
{
    struct { TDSettings s; int more[3]; } s;
    Seen seen;
    TDContext *c = NULL;

    test_begin("td_open: settings of a newer program");
    memset(&s, 0xa5, sizeof(s));
    CHECK_INT(td_default_settings(&s.s, sizeof(s)), 0);
    CHECK(s.s.struct_size == sizeof(s) && s.s.device == -1 && !s.more[0] && !s.more[1] && !s.more[2]);
    small_settings(&s.s, &seen, model);
    s.s.struct_size = sizeof(s);
    CHECK_INT(td_open(&c, &s.s), 0);
    CHECK_INT(seen.n_errors, 0);
    td_close(&c);
    s.more[2] = 1;
    check_error(&seen, td_open(&c, &s.s), TD_ERR(EINVAL), "settings: something is set that libturbodiff ");
}

static void test_newer_params(TDContext *c, Seen *seen)
{
    struct { TDParams p; double more; } p;
    struct { TDInfo info; double more; } now;
    TDInfo part;

    test_begin("td_start: params of a newer program");
    memset(&p, 0xa5, sizeof(p));
    CHECK_INT(td_default_params(&p.p, sizeof(p)), 0);
    CHECK(p.p.struct_size == sizeof(p) && p.p.guidance == 5.0 && p.more == 0);
    small_params(&p.p);
    p.p.struct_size = sizeof(p);
    CHECK_INT(td_start(c, &p.p), 0);
    p.more = 1;
    memset(seen, 0, sizeof(*seen));
    check_error(seen, td_start(c, &p.p), TD_ERR(EINVAL), "params: something is set that libturbodiff ");
    p.more = 0;
    CHECK_INT(td_start(c, &p.p), 0);

    test_begin("td_get_info: the size of the caller's struct");
    memset(&now, 0xa5, sizeof(now));
    CHECK_INT(td_get_info(c, &now.info, sizeof(now)), 0);
    CHECK(now.info.topk == 1.0 && now.info.transformers == 1 && now.more == 0);
    memset(&part, 0xa5, sizeof(part));
    CHECK_INT(td_get_info(c, &part, offsetof(TDInfo, topk)), 0);
    CHECK_STR(part.model, now.info.model);
    CHECK_INT(part.default_frames, now.info.default_frames);
    CHECK(((unsigned char *)&part.topk)[0] == 0xa5);
    CHECK_INT(td_get_info(c, &part, 8), TD_ERR(EINVAL));
    CHECK_INT(td_get_info(c, &part, 1 << 20), TD_ERR(EINVAL));
    CHECK_INT(td_get_info(c, NULL, sizeof(part)), TD_ERR(EINVAL));
}

static void test_settings(void)
{
    char path[256], twice[256], other[256], wide[256], i2v[256], file[256], text[256], int8[256], line[300];
    Seen seen;
    TDSettings s;
    TDParams clip;
    TDContext *c = (TDContext *)&s;

    test_begin("td_open: struct_size");
    small_settings(&s, &seen, model);
    s.struct_size = offsetof(TDSettings, card) - 1;
    CHECK_INT(td_open(&c, &s), TD_ERR(EINVAL));
    CHECK(c == NULL);
    REFUSE(EINVAL, "settings: 5000 bytes", s.struct_size = 5000);
    test_newer_settings();
    REFUSE(EINVAL, "backend", s.backend = (enum TDBackend)3);
    REFUSE(EINVAL, "attention", s.attention = (enum TDAttention)-1);
    REFUSE(EINVAL, "quant", s.quant = (enum TDQuant)3);
    REFUSE(EINVAL, "vae_dtype", s.vae_dtype = (enum TDVaeDtype)2);
    REFUSE(EINVAL, "norm", s.norm = (enum TDNorm)2);
    REFUSE(EINVAL, "sla_block", s.sla_block = (enum TDSlaBlock)3);
    REFUSE(EINVAL, "residency", s.residency = (enum TDResidency)3);
    REFUSE(EINVAL, "threads: -1, want 0 to 256", s.n_threads = -1);
    REFUSE(EINVAL, "threads: 1048576, want 0 to 256", s.n_threads = 1 << 20);
    REFUSE(EINVAL, "no transformer: set model=", s.model = NULL, s.vae = "/nonexistent.pth");
    REFUSE(ENOENT, "/nonexistent: No such file", s.model = "/nonexistent");
    REFUSE(ENOENT, "/a?b: No such file", s.model = "/a\nb");
    REFUSE(EINVAL, "want a directory", s.model = small_path(file, "model/Wan2.1_VAE.safetensors"));
    REFUSE(ENOENT, "want e.g. TurboWan2.1-T2V-1.3B-480P.pth", s.model = small_dir);
    REFUSE(ENOENT, "/nonexistent.pth", s.dit = "/nonexistent.pth");
    REFUSE(ENOENT, "/nonexistent.pth", s.text_encoder = "/nonexistent.pth");
    REFUSE(ENOENT, "/nonexistent.model", s.tokenizer = "/nonexistent.model");
    REFUSE(ENOENT, "/nonexistent.pth", s.vae = "/nonexistent.pth");
    REFUSE(ENOENT, "/none??31m?[0m", s.vae = "/none\xc2\x9b" "31m\x1b[0m");
    REFUSE(EBADMSG, "/dev/null", s.vae = "/dev/null");
    REFUSE(EBADMSG, "spiece.model", s.dit = small_path(file, "model/google/umt5-xxl/spiece.model"));
    REFUSE(EBADMSG, "Wan2.1_VAE.safetensors", s.tokenizer = small_path(file, "model/Wan2.1_VAE.safetensors"));
    REFUSE(EBADMSG, "patch_embedding.weight is missing", s.dit = small_path(file, "model/Wan2.1_VAE.safetensors"));
    REFUSE(EBADMSG, "token_embedding.weight is missing; it has those of a VAE that encodes, want a text encoder",
           s.text_encoder = small_path(file, "model/Wan2.1_VAE.safetensors"));
    REFUSE(EBADMSG, "decoder.conv1.weight is missing; it has those of a text encoder, want a VAE",
           s.vae = small_path(file, "model/models_t5_umt5-xxl-enc-bf16.safetensors"));
    REFUSE(EINVAL, "device: 0 with backend cpu, want auto or cuda", s.backend = TD_BACKEND_CPU, s.device = 0);
    REFUSE(EINVAL, "device: 3B:00.0 with backend cpu, want auto or cuda", s.backend = TD_BACKEND_CPU,
           s.card = "3B:00.0");
    REFUSE(EINVAL, "device: '0+1', but a clip is made on one card", s.card = "0+1");
    REFUSE(EINVAL, "device: 'x', want auto, a number", s.card = "x");
    REFUSE(EINVAL, "device: 1 and card: 0, want one of the two", s.backend = TD_BACKEND_AUTO, s.device = 1,
           s.card = "0");
    td_default_params(&clip, sizeof(clip));
    clip.n_frames = 4;
    REFUSE(EINVAL, "frames: 4, want 4k+1", s.clip = &clip);
    clip.struct_size = 8;
    REFUSE(EINVAL, "params: 8 bytes", s.clip = &clip);
    REFUSE(EINVAL, "quant=none", s.dit = small_path(int8, "model/TurboWan2.1-T2V-1.3B-480P-quant.safetensors"),
           s.quant = TD_QUANT_NONE);

    if (small_model_make("wide", "--text-dim=128 --text-heads=2 --text-ffn=128") == 0) {
        REFUSE(EINVAL, "belong to different models",
               s.dit = small_path(wide, "wide/TurboWan2.1-T2V-1.3B-480P.safetensors"));
        REFUSE(EINVAL, "belong to different models",
               s.text_encoder = small_path(text, "wide/models_t5_umt5-xxl-enc-bf16.safetensors"));
    }
    if (small_model_make("i2v", "--in-dim=36 --only=dit") == 0)
        REFUSE(ENOENT, "one of two experts",
               s.dit = small_path(i2v, "i2v/TurboWan2.2-I2V-A14B-high-720P.safetensors"));

    /* two files that could be the transformer, and two that could be the VAE: the line names both */
    snprintf(line, sizeof(line), "mkdir %.50s/twice && cp -r %.200s/* %.50s/twice", small_dir, model, small_dir);
    CHECK_INT(system(line), 0);
    snprintf(line, sizeof(line), "cp %.200s/Wan2.1_VAE.safetensors %.50s/twice/other_vae.safetensors", model,
             small_dir);
    CHECK_INT(system(line), 0);
    small_path(twice, "twice");
    REFUSE(EINVAL, "other_vae.safetensors", s.model = twice);
    CHECK(strstr(seen.error, "Wan2.1_VAE.safetensors") && strstr(seen.error, "set vae="));
    test_begin("td_open: vae= settles which file it is");
    small_settings(&s, &seen, twice);
    s.vae = small_path(other, "twice/other_vae.safetensors");
    CHECK_INT(td_open(&c, &s), 0);
    CHECK_INT(seen.n_errors, 0);
    td_close(&c);

    test_begin("td_open: a file and a directory that may not be read");
    small_path(path, "twice/other_vae.safetensors");
    CHECK_INT(chmod(path, 0), 0);
    CHECK_INT(chmod(small_dir, 0755), 0);
    if (geteuid() == 0) {
        pid_t pid = fork();
        int status = 0;

        if (pid == 0) {                          /* root may read everything: the child is somebody else */
            if (setgroups(0, NULL) < 0 || setgid(65534) < 0 || setuid(65534) < 0 || access(model, R_OK | X_OK) < 0)
                _exit(2);
            small_settings(&s, &seen, model);
            s.vae = path;
            c = NULL;
            _exit(!check_error(&seen, td_open(&c, &s), TD_ERR(EACCES), path));
        }
        if (CHECK(pid > 0) && CHECK_INT(waitpid(pid, &status, 0), pid)) {
            if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
                printf("  not checked: cannot become another user who may read the model\n");
            else
                CHECK_INT(status, 0);
        }
    } else {
        small_settings(&s, &seen, model);
        s.vae = path;
        check_error(&seen, td_open(&c, &s), TD_ERR(EACCES), path);
    }
}

/* ---- params ---- */

#define BAD(words, ...) do {                                            \
        test_begin("td_start: " #__VA_ARGS__);                          \
        small_params(&p);                                               \
        __VA_ARGS__;                                                    \
        memset(&seen, 0, sizeof(seen));                                 \
        check_error(&seen, td_start(c, &p), TD_ERR(EINVAL), words);     \
        CHECK_STR(td_last_error(c), seen.error);                        \
        CHECK_INT(td_info(c, &info), 0);                                \
        CHECK_INT(info.clip_frames, 0);                                 \
    } while (0)

static void test_params(void)
{
    TDContext *c = NULL;
    TDSettings s;
    TDParams p;
    TDInfo info;
    Seen seen;

    test_begin("td_open");
    small_settings(&s, &seen, model);
    s.max_bytes = 1 << 28;
    if (!CHECK_INT(td_open(&c, &s), 0))
        return;
    BAD("params: 8 bytes", p.struct_size = 8);
    BAD("params: 1048576 bytes", p.struct_size = 1 << 20);
    test_newer_params(c, &seen);
    BAD("prompt", p.prompt = NULL);
    BAD("UTF-8", p.prompt = "caf\xe9");
    BAD("UTF-8", p.prompt = "\xed\xa0\x80");
    BAD("sampler", p.sampler = (enum TDSampler)2);
    BAD("noise", p.noise = (enum TDNoise)99);
    BAD("15x32, want sides from 16 to 2048", p.width = 15);
    BAD("32x1, want sides from 16 to 2048", p.height = 1);
    BAD("want sides from 16 to 2048", p.width = 2049);
    BAD("want sides from 16 to 2048", p.height = -32);
    BAD("want sides from 16 to 2048", p.height = 1 << 30);
    BAD("want 4k+1 from 1 to 509 (such as 5)", p.n_frames = 6);      /* 4k+2 */
    BAD("want 4k+1 from 1 to 509 (such as 5)", p.n_frames = 4);
    BAD("want 4k+1 from 1 to 509 (such as 1)", p.n_frames = -4);
    BAD("want 4k+1 from 1 to 509 (such as 509)", p.n_frames = 513);
    BAD("want 4k+1", p.n_frames = -2147483647 - 1);
    BAD("steps: 5, want 1 to 4", p.n_steps = 5);
    BAD("steps: -1, want 1 to 4", p.n_steps = -1);
    BAD("steps: 1001, want 1 to 1000", p.sampler = TD_SAMPLER_UNIPC, p.n_steps = 1001);
    BAD("topk: -0.1, want more than 0, up to 1", p.sla_topk = -0.1);
    BAD("topk: 1.5", p.sla_topk = 1.5);
    BAD("topk: nan", p.sla_topk = NAN);
    BAD("sigma_max: -3", p.sigma_max = -3);
    BAD("sigma_max: inf", p.sigma_max = INFINITY);
    BAD("timesteps: '1|2': time 2 is no number above 0, up to 1", p.n_steps = 0, p.timesteps = "1|2");
    BAD("timesteps: '': time 1", p.n_steps = 0, p.timesteps = "");
    BAD("timesteps: 3 of them, but steps=2, want as many", p.n_steps = 2, p.timesteps = "1|0.5|0.25");
    BAD("timesteps: with sampler unipc, want rcm", p.sampler = TD_SAMPLER_UNIPC, p.timesteps = "1|0.5");
    BAD("timesteps and sigma_max: want one of the two", p.n_steps = 0, p.timesteps = "1|0.5", p.sigma_max = 80);
    BAD("guidance: -1, want 0 to 100", p.guidance = -1);
    BAD("guidance: nan", p.guidance = NAN);
    BAD("guidance: one for each of two experts, but ", p.guidance_low = 3);
    BAD("shift: -1, want 0.01 to 100", p.shift = -1);
    BAD("shift: 0.001", p.shift = 0.001);
    BAD("shift: nan", p.shift = NAN);

    test_begin("td_start: NULL");
    memset(&seen, 0, sizeof(seen));
    check_error(&seen, td_start(c, NULL), TD_ERR(EINVAL), "params");

    test_begin("td_start: a clip larger than max_bytes");
    small_params(&p);
    p.width = p.height = 1024;
    p.n_frames = 81;
    memset(&seen, 0, sizeof(seen));
    check_error(&seen, td_start(c, &p), TD_ERR(ENOMEM), "more than the limit of 268435456");

    test_begin("td_start: an empty prompt is a prompt");
    small_params(&p);
    p.prompt = "";
    CHECK_INT(td_start(c, &p), 0);
    CHECK_INT(read_clip(c, NULL), 5);
    td_close(&c);
}

/* ---- frames ---- */

enum { W = 32, H = 32, N = 5 };

typedef struct Picture { int format; uint8_t plane[N][3][W * H * 6]; } Picture;

static int is_ten(int format)
{
    return format == TD_PIX_YUV420P10 || format == TD_PIX_YUV444P10 || format == TD_PIX_P010;
}

static int is_pair(int format)
{
    return format == TD_PIX_NV12 || format == TD_PIX_P010;
}

static int sample(const Picture *p, int n, int plane, int at)
{
    uint16_t v;

    if (!is_ten(p->format))
        return p->plane[n][plane][at];
    memcpy(&v, p->plane[n][plane] + 2 * at, 2);
    return v;                                    /* of p010: in the upper 10 bits */
}

/* frames that are refused leave the clip as it is */
static void test_bad_frames(TDContext *c, Seen *seen, const TDParams *p)
{
    static uint8_t plane[2 * W * H];
    TDFrame f = { 0 };

    test_begin("td_read_frame: no clip, bad frames");
    check_error(seen, td_read_frame(c, &f), TD_ERR(EINVAL), "td_start() comes first");
    CHECK_INT(td_start(c, p), 0);
    memset(seen, 0, sizeof(*seen));
    check_error(seen, td_read_frame(c, NULL), TD_ERR(EINVAL), "frame: format");
    memset(seen, 0, sizeof(*seen));
    f.format = (enum TDPixFmt)8;
    check_error(seen, td_read_frame(c, &f), TD_ERR(EINVAL), "frame: format 8, want 0 to 7");
    memset(seen, 0, sizeof(*seen));
    f.format = TD_PIX_YUV444P10;
    f.data[0] = f.data[1] = plane;
    f.stride[0] = f.stride[1] = 2 * W;
    check_error(seen, td_read_frame(c, &f), TD_ERR(EINVAL), "plane 2");
    memset(seen, 0, sizeof(*seen));
    f.data[2] = plane;
    f.stride[2] = 2 * W - 1;
    check_error(seen, td_read_frame(c, &f), TD_ERR(EINVAL), "at least 64");
    CHECK_INT(read_clip(c, NULL), N);            /* the clip went on */
}

/* the clip in one format; every second frame bottom up: strides may be negative */
static void read_format(TDContext *c, const TDParams *p, Picture *pic, int format)
{
    pic->format = format;
    CHECK_INT(td_start(c, p), 0);
    for (int n = 0; n < N; n++) {
        TDFrame f = { .format = (enum TDPixFmt)format };

        for (int i = 0; i < (is_pair(format) ? 2 : 3); i++) {
            int half = i && (format == TD_PIX_YUV420P || format == TD_PIX_YUV420P10 || is_pair(format));
            int row = (half && !is_pair(format) ? W / 2 : W) *
                      (format == TD_PIX_RGB24 ? 3
                       : is_ten(format)       ? 2
                                              : 1);

            f.stride[i] = n % 2 ? -row : row;
            f.data[i] = pic->plane[n][i] + (n % 2 ? row * ((half ? H / 2 : H) - 1) : 0);
        }
        CHECK_INT(td_read_frame(c, &f), 1);
        CHECK_INT(f.index, n);
        CHECK_INT(f.width, W);
    }
    CHECK_INT(td_read_frame(c, &(TDFrame){ .format = (enum TDPixFmt)format }), 0);
}

/* formats of as many samples of colour as of light: RGB, the matrix of BT.709, 8 bits of 10. @return what differs */
static int full_colour(const Picture *pic, int n)
{
    int differ = 0;

    for (int i = 0; i < W * H; i++) {
        int y = sample(&pic[TD_PIX_YUV444P10], n, 0, i), rgb[3];
        double luma;

        for (int k = 0; k < 3; k++)
            rgb[k] = sample(&pic[TD_PIX_RGB24], n, 0, 3 * i + k);
        luma = 16 + 219.0 / 255 * (0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2]);
        differ += sample(&pic[TD_PIX_GBRP], n, 0, i) != rgb[1] || sample(&pic[TD_PIX_GBRP], n, 1, i) != rgb[2] ||
                  sample(&pic[TD_PIX_GBRP], n, 2, i) != rgb[0];
        differ += sample(&pic[TD_PIX_YUV420P10], n, 0, i) != y;
        differ += abs(4 * sample(&pic[TD_PIX_YUV420P], n, 0, i) - y) > 2;
        differ += sample(&pic[TD_PIX_YUV444P], n, 0, i) != sample(&pic[TD_PIX_YUV420P], n, 0, i);
        differ += fabs(luma - y / 4.0) > 0.7;
        for (int k = 1; k < 3; k++) {            /* B - Y and R - Y, to 10 bits */
            double difference = rgb[k == 1 ? 2 : 0] - (luma - 16) * 255 / 219;
            double want = 512 + 896 * difference / 255 / (k == 1 ? 1.8556 : 1.5748);

            differ += fabs(sample(&pic[TD_PIX_YUV444P10], n, k, i) - want) > 4;
            differ += abs(4 * sample(&pic[TD_PIX_YUV444P], n, k, i) - sample(&pic[TD_PIX_YUV444P10], n, k, i)) > 2;
        }
    }
    return differ;
}

/* 4:2:0, sited left: (1 2 1)/4 across, mean of two rows. @return what differs */
static int half_colour(const Picture *pic, int n)
{
    int differ = 0;

    for (int k = 1; k < 3; k++)
        for (int y = 0; y < H / 2; y++)
            for (int x = 0; x < W / 2; x++) {
                double want = 0;

                for (int dy = 0; dy < 2; dy++)
                    for (int dx = -1; dx < 2; dx++)
                        want += (dx ? 0.125 : 0.25) * sample(&pic[TD_PIX_YUV444P10], n, k,
                                                             (2 * y + dy) * W + (2 * x + dx < 0 ? 0 : 2 * x + dx));
                differ += fabs(want - sample(&pic[TD_PIX_YUV420P10], n, k, y * W / 2 + x)) > 1.01;
                differ += abs(4 * sample(&pic[TD_PIX_YUV420P], n, k, y * W / 2 + x) -
                              sample(&pic[TD_PIX_YUV420P10], n, k, y * W / 2 + x)) > 2;
            }
    return differ;
}

/* those with colours in pairs have the samples of those with planes of their own. @return what differs */
static int paired_colour(const Picture *pic, int n)
{
    int differ = 0;

    for (int i = 0; i < W * H; i++) {
        differ += sample(&pic[TD_PIX_NV12], n, 0, i) != sample(&pic[TD_PIX_YUV420P], n, 0, i);
        differ += sample(&pic[TD_PIX_P010], n, 0, i) != sample(&pic[TD_PIX_YUV420P10], n, 0, i) << 6;
        for (int k = 0; i < W * H / 4 && k < 2; k++) {
            differ += sample(&pic[TD_PIX_NV12], n, 1, 2 * i + k) != sample(&pic[TD_PIX_YUV420P], n, 1 + k, i);
            differ += sample(&pic[TD_PIX_P010], n, 1, 2 * i + k) != sample(&pic[TD_PIX_YUV420P10], n, 1 + k, i) << 6;
        }
    }
    return differ;
}

static void test_formats_in_turn(TDContext *c, const TDParams *p, const Picture *pic)
{
    static uint8_t luma[4 * W * H];
    int differ = 0;

    test_begin("another pixel format with each frame");
    CHECK_INT(td_start(c, p), 0);
    for (int n = 0; n < N; n++) {
        int format = n % 2 ? TD_PIX_YUV444P10 : TD_PIX_YUV444P;
        TDFrame f = { .format = (enum TDPixFmt)format };

        for (int i = 0; i < 3; i++) {
            f.stride[i] = 2 * W;
            f.data[i] = luma;
        }
        f.data[0] += 2 * W * H;
        CHECK_INT(td_read_frame(c, &f), 1);
        for (int y = 0; y < H; y++)
            differ += memcmp(luma + 2 * W * (H + y),
                             pic[format].plane[n][0] + (n % 2 ? 2 * W * (H - 1 - y) : W * y), W << n % 2) != 0;
    }
    CHECK_INT(differ, 0);
}

static void test_frames(void)
{
    static Picture pic[8];
    TDContext *c = NULL;
    TDSettings s;
    TDParams p;
    Seen seen;

    test_begin("td_open");
    small_settings(&s, &seen, model);
    small_params(&p);
    if (!CHECK_INT(td_open(&c, &s), 0))
        return;
    test_bad_frames(c, &seen, &p);
    test_begin("eight pixel formats show the same picture");
    for (int format = 0; format < 8; format++)
        read_format(c, &p, &pic[format], format);
    for (int n = 0; n < N; n++) {
        CHECK_INT(full_colour(pic, n), 0);
        CHECK_INT(half_colour(pic, n), 0);
        CHECK_INT(paired_colour(pic, n), 0);
    }
    test_formats_in_turn(c, &p, pic);
    td_close(&c);
}

/* ---- flow ---- */

static void test_flow(void)
{
    static uint8_t a[W * H * 3 * N], b[W * H * 3 * N];
    TDContext *c = NULL;
    TDSettings s;
    TDParams p;
    TDInfo info;
    TDFrame f = { .format = TD_PIX_RGB24, .data = { b }, .stride = { 3 * W } };
    Seen seen;
    int again = 0, ret;

    test_begin("progress and td_info");
    small_settings(&s, &seen, model);
    small_params(&p);
    p.n_steps = 3;
    p.seed = 11;
    p.noise = TD_NOISE_RTX4090;
    if (!CHECK_INT(td_open(&c, &s), 0))
        return;
    CHECK_INT(td_info(c, &info), 0);
    CHECK_INT(info.clip_width + info.clip_height + info.clip_frames + info.n_steps, 0);
    CHECK_STR(info.noise, "");
    CHECK_INT(info.default_width, 832);
    CHECK_INT(info.default_height, 480);
    CHECK_INT(info.default_frames, 81);
    CHECK(info.fps_num == 16 * info.fps_den && info.weight_bytes > 100000 && info.workspace_bytes == 0);
    CHECK_STR(info.model, "Wan-T2V-dim128-blocks1");
    CHECK_STR(info.backend, "cpu");
    CHECK(strstr(info.device_name, "2 threads") != NULL);
    CHECK_INT(info.attention, TD_ATTN_SAGESLA);
    CHECK_INT(info.quant, TD_QUANT_INT8);        /* both files are there: auto takes the int8 one */
    CHECK_INT(td_start(c, &p), 0);
    CHECK_INT(td_info(c, &info), 0);
    CHECK(info.clip_width == W && info.clip_height == H && info.clip_frames == N && info.n_steps == 3 &&
          info.seed == 11);
    CHECK_STR(info.noise, "rtx4090");
    CHECK(info.workspace_bytes > 100000 && info.first_frame_seconds == 0);
    CHECK_INT(read_clip(c, a), N);
    CHECK_INT(seen.backwards, 0);
    CHECK_INT(seen.last.stage, TD_STAGE_DECODE);
    CHECK_INT(seen.last.done, 2);
    CHECK_INT(seen.last.total, 2);
    CHECK_INT(td_info(c, &info), 0);
    CHECK_INT(info.clip_width + info.clip_height + info.clip_frames + info.n_steps, 0);
    CHECK(info.first_frame_seconds > 0);
    for (int i = TD_STAGE_LOAD; i < TD_N_STAGES; i++)
        CHECK(i == TD_STAGE_IMAGE ? info.stage_seconds[i] == 0 : info.stage_seconds[i] > 0);

    test_begin("bounded pieces");
    memset(&seen, 0, sizeof(seen));
    p.nonblocking = 1;
    CHECK_INT(td_start(c, &p), 0);
    for (int n = 0;; n += ret == 1) {
        f.data[0] = b + (n < N ? n : 0) * W * H * 3;
        f.index = -7;
        ret = td_read_frame(c, &f);
        if (ret != TD_ERR(EAGAIN) && ret != 1)
            break;
        again += ret != 1;
        CHECK_INT(f.index, ret == 1 ? n : -7);
    }
    CHECK_INT(ret, 0);
    CHECK_INT(again, 1 + 1 + 3);                 /* a text block, keys and values, a transformer block three times */
    CHECK_INT(seen.backwards, 0);
    CHECK(!memcmp(a, b, sizeof(a)));

    test_begin("interrupt at every point, and a clip after it");
    p.nonblocking = 0;
    for (int k = 1; k <= 8; k++) {
        memset(&seen, 0, sizeof(seen));
        CHECK_INT(td_start(c, &p), 0);
        seen.stop_after = k;
        CHECK_INT(read_clip(c, NULL), TD_ERR(ECANCELED));
        CHECK_INT(seen.n_progress, k);
        CHECK_INT(seen.n_errors, 0);
    }
    memset(&seen, 0, sizeof(seen));
    memset(b, 0, sizeof(b));
    CHECK_INT(td_start(c, &p), 0);
    CHECK_INT(read_clip(c, b), N);
    CHECK(!memcmp(a, b, sizeof(a)));

    test_begin("td_close in mid clip");
    CHECK_INT(td_start(c, &p), 0);
    f.data[0] = b;
    CHECK_INT(td_read_frame(c, &f), 1);
    td_close(&c);
    CHECK(c == NULL);
}

/* ---- threads ---- */

typedef struct Other {
    TDContext *c;
    enum TDStage want;
    atomic_int reached;                          /* the stage */
    int ret, ret_start;
    double cancelled;
} Other;

static void reach(void *cookie, const TDProgress *p)
{
    Other *o = cookie;

    if (p->stage == o->want)
        atomic_store(&o->reached, 1);
}

static void *cancel_main(void *arg)
{
    Other *o = arg;

    for (int i = 0; i < 5000 && !atomic_load(&o->reached); i++)
        nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
    nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
    o->ret = td_read_frame(o->c, &(TDFrame){ .format = TD_PIX_RGB24 });
    o->ret_start = td_start(o->c, NULL);
    o->cancelled = now();
    td_cancel(o->c);
    return NULL;
}

/* a clip that takes long in one stage, cancelled from another thread while it is in there */
static void check_cancel(const char *title, const char *options, int size, int n_frames, int n_steps,
                         enum TDStage stage)
{
    char path[256];
    TDContext *c = NULL;
    TDSettings s;
    TDParams p;
    Seen seen;
    Other other = { .want = stage };
    pthread_t thread;
    int ret;

    test_begin(title);
    if (small_model_make("long", options) < 0)
        return;
    small_settings(&s, &seen, small_path(path, "long"));
    s.progress = reach;
    s.interrupt = NULL;
    s.cookie = &other;
    small_params(&p);
    p.width = p.height = size;
    p.n_frames = n_frames;
    p.sampler = TD_SAMPLER_UNIPC;
    p.guidance = 1;
    p.n_steps = n_steps;
    if (!CHECK_INT(td_open(&c, &s), 0) || !CHECK_INT(td_start(c, &p), 0))
        goto end;
    other.c = c;
    if (!CHECK_INT(pthread_create(&thread, NULL, cancel_main, &other), 0))
        goto end;
    ret = read_clip(c, NULL);
    pthread_join(thread, NULL);
    CHECK_INT(ret, TD_ERR(ECANCELED));
    CHECK(now() - other.cancelled < (IS_SLOW ? 10.0 : 1.0));
    CHECK_INT(atomic_load(&other.reached), 1);
    CHECK_INT(other.ret, TD_ERR(EBUSY));
    CHECK_INT(other.ret_start, TD_ERR(EBUSY));
    CHECK_INT(seen.n_errors, 0);
    small_params(&p);
    CHECK_INT(td_start(c, &p), 0);
    CHECK_INT(read_clip(c, NULL), N);
    td_cancel(c);                                /* without a clip: td_start() clears it */
    CHECK_INT(td_start(c, &p), 0);
    CHECK_INT(read_clip(c, NULL), N);
    CHECK_INT(td_start(c, &p), 0);
    td_cancel(c);
    CHECK_INT(read_clip(c, NULL), TD_ERR(ECANCELED));
end:
    td_close(&c);
}

int main(void)
{
    test_begin("model");
    if (small_model_make("model", "") == 0) {
        small_path(model, "model");
        test_settings();
        test_params();
        test_frames();
        test_flow();
        check_cancel("td_cancel from another thread, in mid denoise", "", 256, 5, 1000, TD_STAGE_DENOISE);
        check_cancel("td_cancel from another thread, in mid decode", "--vae-dim=64", 512, 5, 1, TD_STAGE_DECODE);
    }
    small_model_remove();
    return test_end();
}
