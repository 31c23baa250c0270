/* SPDX-License-Identifier: BSD-2-Clause
 * Model directories that are not of the official sizes: widths, vocabulary and stored types come from the files, and
 * the transformer is found whatever its name says after "TurboWan2.1-T2V-"; turbodiff.conf; where the demo model is. */
#include <sys/stat.h>
#include "model/install.h"
#include "model/model_conf.h"
#include "small_model.h"

enum { W = 32, H = 32, N = 5, BYTES = W * H * 3 * N };
enum { TOPK_W = 96, TOPK_H = 64, TOPK_N = 17, TOPK_BYTES = TOPK_W * TOPK_H * 3 * TOPK_N };

/* one clip of a model; rgb: BYTES */
static int make_clip(const char *model, uint8_t *rgb)
{
    TDContext *c = NULL;
    TDSettings s;
    TDParams p;
    Seen seen;
    int ret;

    small_settings(&s, &seen, model);
    small_params(&p);
    ret = td_open(&c, &s);
    if (ret >= 0 && (ret = td_start(c, &p)) >= 0)
        ret = read_clip(c, rgb);
    CHECK_STR(seen.error, "");
    td_close(&c);
    return ret;
}

static void test_sizes(void)
{
    static const char *const options = "--format=pth --dim=256 --ffn=384 --blocks=2 --text-dim=128 --text-heads=2 "
                                       "--text-ffn=256 --text-blocks=2 --vae-dim=16 --dit=int8";
    static uint8_t a[BYTES], b[BYTES];
    char dir[256], from[256], to[256], line[300];
    double d = 0;

    test_begin("widths of the files' own, a transformer's name of its own");
    if (small_model_make("own", options) < 0)
        return;
    CHECK_INT(rename(small_path(from, "own/TurboWan2.1-T2V-1.3B-480P-quant.pth"),
                     small_path(to, "own/TurboWan2.1-T2V-demo-quant.pth")), 0);
    CHECK_INT(make_clip(small_path(dir, "own"), a), N);

    test_begin("a VAE stored as bf16");
    snprintf(line, sizeof(line), "%s --vae-dtype=bf16 --only=vae", options);
    if (small_model_make("own", line) < 0)
        return;
    CHECK_INT(make_clip(dir, b), N);
    for (int i = 0; i < BYTES; i++)
        d += (a[i] - b[i]) * (a[i] - b[i]);
    /* convolutions are bf16 either way: what differs is biases and norms */
    CHECK(d > 0 && 10 * log10(255.0 * 255.0 * BYTES / d) > 40);
}

/* ---- turbodiff.conf ---- */

static void refuse(const char *text, size_t size, const char *words)
{
    char *copy = malloc(size + 1);               /* a block of its own: a read past the end is seen by asan */
    Seen seen = { 0 };
    TDLog log = { .out = { &seen, on_line, TD_LOG_DEBUG } };
    TDModelConf conf = { 1, 1, 1, 1, TD_SLA_BLOCK_128X64, 1, 1 };

    memcpy(copy, text, size);
    check_error(&seen, td_model_conf_parse(&conf, "a.conf", copy, size, &log), TD_ERR(EBADMSG), words);
    CHECK(!conf.width && !conf.height && !conf.n_frames && conf.topk == 0 && !conf.sla_block &&
          conf.shift == 0);
    free(copy);
}

#define REFUSE(text, words) refuse(text, sizeof(text) - 1, words)

static void test_conf(void)
{
    static const struct { const char *text; TDModelConf want; } good[] = {
        { "", { 0 } },
        { "\xef\xbb\xbf", { 0 } },
        { "\xef\xbb\xbf" "frames = 17", { 0, 0, 17, 0, 0, 0, 0 } },
        { "\n\r\n  # nothing\n", { 0 } },
        { "width = 192\nheight=128\nframes =17", { 192, 128, 17, 0, 0, 0, 0 } },
        { " frames= 509\t# long\r\n\theight = 2048\r\nwidth = 16\r\n", { 16, 2048, 509, 0, 0, 0, 0 } },
        { "frames = 1", { 0, 0, 1, 0, 0, 0, 0 } },
        { "topk = 0.25\nframes = 5", { 0, 0, 5, 0.25, 0, 0, 0 } },
        { "topk=0.1", { 0, 0, 0, 0.1, 0, 0, 0 } },
        { "topk = 1 # all", { 0, 0, 0, 1, 0, 0, 0 } },
        { "topk = 1.0000", { 0, 0, 0, 1, 0, 0, 0 } },
        { "topk = 0.0001\r\n", { 0, 0, 0, 0.0001, 0, 0, 0 } },
        { "sla_block = 128x64", { 0, 0, 0, 0, TD_SLA_BLOCK_128X64, 0, 0 } },
        { "vocabulary = words\n", { .knows_words = 1 } },
        { " sla_block=64x128 # of Hopper\ntopk = 0.5", { 0, 0, 0, 0.5, TD_SLA_BLOCK_64X128, 0, 0 } },
        { "shift = 3.5\nframes = 5", { .shift = 3.5, .n_frames = 5 } },
        { "shift=12", { .shift = 12 } },
        { "shift=0.01", { .shift = 0.01 } },
    };
    char many[5000], dir[256], path[256], line[300];
    Seen seen = { 0 };
    TDLog log = { .out = { &seen, on_line, TD_LOG_DEBUG } };
    TDModelConf c;
    FILE *f;

    test_begin("turbodiff.conf: what it says");
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        CHECK_INT(td_model_conf_parse(&c, "a.conf", good[i].text, strlen(good[i].text), &log), 0);
        CHECK_INT(c.width, good[i].want.width);
        CHECK_INT(c.height, good[i].want.height);
        CHECK_INT(c.n_frames, good[i].want.n_frames);
        CHECK(c.topk == good[i].want.topk);      /* the double nearest to it */
        CHECK_INT(c.sla_block, good[i].want.sla_block);
        CHECK_INT(c.knows_words, good[i].want.knows_words);
        CHECK(c.shift == good[i].want.shift);
    }
    CHECK_STR(seen.error, "");

    test_begin("turbodiff.conf: what is refused");
    REFUSE("width = 192\nheight = 15", "a.conf:2: height = 15, want 16 to 2048");
    REFUSE("width = 4096\nheight = 192", "a.conf:1: width = 4096");
    REFUSE("width = -16\nheight = 192", "a.conf:1: width = -16");
    REFUSE("width = 0\nheight = 192", "a.conf:1: width = 0");
    REFUSE("vocabulary = pieces", "a.conf:1: vocabulary = pieces, want words");
    REFUSE("shift = 0", "a.conf:1: shift = 0, want 0.01 to 100, of at most 2 decimals");
    REFUSE("shift = 100.01", "shift = 100.01, want");
    REFUSE("shift = 5.125", "shift = 5.125, want");
    REFUSE("frames = 16", "frames = 16, want 4k+1 from 1 to 509");
    REFUSE("frames = 513", "frames = 513");
    REFUSE("frames = 99999999999999999999", "frames = 99999999999999999999, want 4k+1 from 1 to 509");
    REFUSE("frames = 17 18", "want a key, = and a value");
    REFUSE("frames = 17.5", "frames = 17.5, want 4k+1 from 1 to 509");
    REFUSE("frames = 17.0", "frames = 17.0, want");
    REFUSE("frames = +17", "frames = +17, want");
    REFUSE("frames = seventeen", "frames = seventeen, want");
    REFUSE("topk = 0", "a.conf:1: topk = 0, want more than 0, up to 1");
    REFUSE("topk = 0.0000", "topk = 0.0000, want");
    REFUSE("topk = 1.5", "topk = 1.5, want");
    REFUSE("topk = 1.0001", "topk = 1.0001, want");
    REFUSE("topk = 123456.5", "topk = 123456.5, want");
    REFUSE("topk = -0.5", "topk = -0.5, want");
    REFUSE("topk = 0.00001", "topk = 0.00001, want more than 0, up to 1, such as 0.25, of at most 4 decimals");
    REFUSE("topk = 0.25000", "topk = 0.25000, want");
    REFUSE("topk = .5", "topk = .5, want");
    REFUSE("topk = 1.", "topk = 1., want");
    REFUSE("topk = .", "topk = ., want");
    REFUSE("topk = 0.2.5", "topk = 0.2.5, want");
    REFUSE("topk = 0,25", "topk = 0,25, want");
    REFUSE("topk = 1e-1", "topk = 1e-1, want");
    REFUSE("topk = 0x1", "topk = 0x1, want");
    REFUSE("topk = nan", "topk = nan, want");
    REFUSE("topk = -", "topk = -, want");
    REFUSE("topk = 0.5\ntopk = 0.5", "a.conf:2: topk for the second time");
    REFUSE("topk = 0.5 0.5", "want a key, = and a value");
    REFUSE("topk: 0.5", "want a key, = and a value");
    REFUSE("sla_block = 64x64", "a.conf:1: sla_block = 64x64, want 128x64 or 64x128");
    REFUSE("sla_block = 64x1280", "sla_block = 64x1280, want");
    REFUSE("sla_block = 64", "sla_block = 64, want");
    REFUSE("sla_block = 1", "sla_block = 1, want");
    REFUSE("sla_block = auto", "sla_block = auto, want");
    REFUSE("sla_block =", "want a key, = and a value");
    REFUSE("sla_block = 64x128\nsla_block = 64x128", "a.conf:2: sla_block for the second time");
    REFUSE("sla = 64x128", "'sla', want width, height, frames, topk, sla_block, vocabulary or shift");
    REFUSE("sla_block_ = 64x128", "'sla_block_', want");
    REFUSE("frames 17", "'frames 17', want a key, = and a value");
    REFUSE("= 17", "want a key, = and a value");
    REFUSE("frames =", "want a key, = and a value");
    REFUSE("steps = 4", "'steps', want width, height, frames, topk, sla_block, vocabulary or shift");
    REFUSE("fram = 17", "'fram', want width");
    REFUSE("framess = 17", "'framess', want width");
    REFUSE("frames = 17\nframes = 17", "a.conf:2: frames for the second time");
    REFUSE("\xef\xbb", "want a key, = and a value");
    REFUSE("\xef\xbb\xbf\xef\xbb\xbf", "want a key, = and a value");
    REFUSE("width = 192", "width alone");
    REFUSE("frames = 17\nheight = 192", "height alone");
    REFUSE("frames = 1\0" "7", "a.conf:1: a NUL byte");
    memset(many, '#', sizeof(many));
    refuse(many, 200, "a.conf:1: too long");
    CHECK_INT(td_model_conf_parse(&c, "a.conf", many, 199, &log), 0);

    test_begin("turbodiff.conf: the file");
    snprintf(line, sizeof(line), "mkdir %.50s/conf", small_dir);
    CHECK_INT(system(line), 0);
    small_path(dir, "conf");
    small_path(path, "conf/turbodiff.conf");
    CHECK_INT(td_model_conf_read(&c, dir, &log), 0);
    CHECK(!c.width && !c.height && !c.n_frames && c.topk == 0 && !c.sla_block);
    memset(many, '\n', sizeof(many));
    for (int size = 4096; size <= 4097; size++) {
        f = fopen(path, "wb");
        if (!CHECK(f != NULL))
            return;
        memcpy(many + size - 11, "frames = 17", 11);
        CHECK(fwrite(many, 1, (size_t)size, f) == (size_t)size && fclose(f) == 0);
        memset(many + size - 11, '\n', 11);
        if (size == 4096) {
            CHECK_INT(td_model_conf_read(&c, dir, &log), 0);
            CHECK_INT(c.n_frames, 17);
            CHECK_STR(seen.error, "");
        } else {
            check_error(&seen, td_model_conf_read(&c, dir, &log), TD_ERR(ENOTSUP),
                        "4097 bytes, want a few lines of text of 0 to 4096");
        }
    }
    CHECK(remove(path) == 0 && mkdir(path, 0700) == 0);
    memset(&seen, 0, sizeof(seen));
    check_error(&seen, td_model_conf_read(&c, dir, &log), TD_ERR(EBADMSG), "no regular file");
}

/* ---- what is in a model directory and not of the model ---- */

static void test_strangers(void)
{
    static const char *const lines[] = {
        "cp -r own strange && cd strange && printf x > ._Wan2.1_VAE.pth && printf x > .hidden-t5.safetensors",
        "cd strange && mkdir old_vae.pth TurboWan2.1-low.safetensors && mkfifo t5.safetensors && ln -s none vae.pth",
        "cd strange && mv Wan2.1_VAE.pth real.bin && ln -s real.bin Wan2.1_VAE.pth",
        "cd strange && printf '\\357\\273\\277width = 48\\r\\nheight = 32\\r\\n' > turbodiff.conf",
    };
    static uint8_t rgb[BYTES];
    char dir[256], line[700];
    TDContext *c = NULL;
    TDSettings s;
    TDInfo info;
    Seen seen;

    test_begin("hidden files, directories, pipes and dead links of a model directory are passed over");
    for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
        snprintf(line, sizeof(line), "cd %.50s && %s", small_dir, lines[i]);
        CHECK_INT(system(line), 0);
    }
    CHECK_INT(make_clip(small_path(dir, "strange"), rgb), N);
    small_settings(&s, &seen, dir);
    if (CHECK_INT(td_open(&c, &s), 0) && CHECK_INT(td_info(c, &info), 0))
        CHECK(info.default_width == 48 && info.default_height == 32);
    td_close(&c);

    test_begin("what was passed over is named where nothing else would do");
    snprintf(line, sizeof(line), "cd %.50s/strange && rm Wan2.1_VAE.pth vae.pth", small_dir);
    CHECK_INT(system(line), 0);
    check_error(&seen, td_open(&c, &s), TD_ERR(ENOENT), "no file of a VAE (old_vae.pth is no regular file); want");

    test_begin("no tokenizer");
    snprintf(line, sizeof(line), "cd %.50s/strange && ln -s real.bin Wan2.1_VAE.pth && rm -r google", small_dir);
    CHECK_INT(system(line), 0);
    memset(&seen, 0, sizeof(seen));
    check_error(&seen, td_open(&c, &s), TD_ERR(ENOENT),
                "no tokenizer; want google/umt5-xxl/spiece.model, or set tokenizer=");
    snprintf(line, sizeof(line), "rm -r %.50s/strange", small_dir);
    CHECK_INT(system(line), 0);
}

static void test_defaults(void)
{
    char dir[256], path[256];
    TDContext *c = NULL;
    TDSettings s;
    TDParams p;
    TDInfo info;
    Seen seen;
    FILE *f;

    test_begin("a clip's size and length by turbodiff.conf, where the caller leaves them open");
    f = fopen(small_path(path, "own/turbodiff.conf"), "wb");
    if (!CHECK(f != NULL))
        return;
    CHECK(fputs("width = 48\nheight = 32\nframes = 9\n", f) >= 0 && fclose(f) == 0);
    small_settings(&s, &seen, small_path(dir, "own"));
    if (!CHECK_INT(td_open(&c, &s), 0))
        return;
    small_params(&p);
    p.width = p.height = p.n_frames = 0;
    CHECK_INT(td_start(c, &p), 0);
    CHECK_INT(td_info(c, &info), 0);
    CHECK(info.default_width == 48 && info.default_height == 32 && info.default_frames == 9);
    CHECK(info.clip_width == 48 && info.clip_height == 32 && info.clip_frames == 9);
    p.width = p.height = 64;
    p.n_frames = 5;
    CHECK_INT(td_start(c, &p), 0);
    CHECK_INT(td_info(c, &info), 0);
    CHECK(info.clip_width == 64 && info.clip_height == 64 && info.clip_frames == 5);
    td_close(&c);
    CHECK_STR(seen.error, "");
}

/* one clip of `own` with two key blocks, where turbodiff.conf has these lines and the caller this topk. attention: AUTO
 * is sparse, as the file was trained. used: the topk that is told */
static void sparse_clip(const char *conf, double topk, enum TDAttention attention, enum TDSlaBlock block, uint8_t *rgb,
                        double *used)
{
    char dir[256], path[256], json[2048];
    TDContext *c = NULL;
    TDSettings s;
    TDParams p;
    TDInfo info;
    Seen seen;
    FILE *f = fopen(small_path(path, "own/turbodiff.conf"), "wb");

    if (!CHECK(f != NULL))
        return;
    CHECK(fputs(conf, f) >= 0 && fclose(f) == 0);
    small_settings(&s, &seen, small_path(dir, "own"));
    s.attention = attention;
    s.sla_block = block;
    if (!CHECK_INT(td_open(&c, &s), 0))
        return;
    small_params(&p);
    p.width = TOPK_W;
    p.height = TOPK_H;
    p.n_frames = TOPK_N;
    p.sla_topk = topk;
    CHECK_INT(td_start(c, &p), 0);
    CHECK_INT(td_info(c, &info), 0);
    *used = info.topk;
    CHECK_INT(read_clip(c, rgb), TOPK_N);
    CHECK(td_stats_json(c, json, sizeof(json)) > 0 && strstr(json, "\"topk\": "));
    CHECK(fabs(atof(strstr(json, "\"topk\": ") + 8) - info.topk) < 1e-6);
    CHECK_INT(td_info(c, &info), 0);
    CHECK(info.topk == 0);                       /* no clip is in flight */
    td_close(&c);
    CHECK_STR(seen.error, "");
}

/* sparse_clip() keeps this share and has the frames of `rgb` */
static void check_sparse(const char *conf, double topk, enum TDSlaBlock block, double share, const uint8_t *rgb)
{
    static uint8_t got[TOPK_BYTES];
    double used = 0;

    sparse_clip(conf, topk, TD_ATTN_AUTO, block, got, &used);
    CHECK(used == share);
    CHECK(memcmp(got, rgb, TOPK_BYTES) == 0);
}

static void test_topk(void)
{
    static uint8_t all[TOPK_BYTES], one[TOPK_BYTES], dense[TOPK_BYTES];
    double used = 0;

    test_begin("topk: the caller's");
    sparse_clip("", 1, TD_ATTN_AUTO, TD_SLA_BLOCK_AUTO, all, &used);
    CHECK(used == 1);
    sparse_clip("", 0.1, TD_ATTN_AUTO, TD_SLA_BLOCK_AUTO, one, &used);
    CHECK(used == 0.1);
    CHECK(memcmp(all, one, TOPK_BYTES) != 0);

    test_begin("topk: that of turbodiff.conf where the caller leaves it open");
    check_sparse("topk = 1\n", 0, TD_SLA_BLOCK_AUTO, 1, all);
    check_sparse("topk = 0.5\n", 0, TD_SLA_BLOCK_AUTO, 0.5, one);

    test_begin("topk: the caller's comes before that of turbodiff.conf");
    check_sparse("topk = 1\n", 0.1, TD_SLA_BLOCK_AUTO, 0.1, one);

    test_begin("topk: 0.1 where neither says");
    check_sparse("", 0, TD_SLA_BLOCK_AUTO, 0.1, one);

    test_begin("topk: dense attention keeps all");
    sparse_clip("topk = 0.5\n", 0, TD_ATTN_DENSE, TD_SLA_BLOCK_AUTO, dense, &used);
    CHECK(used == 1);
}

static void test_sla_block(void)
{
    static uint8_t by_128x64[TOPK_BYTES], by_64x128[TOPK_BYTES];
    double used = 0;

    test_begin("sla_block: that of turbodiff.conf where the caller leaves it open");
    sparse_clip("", 0.1, TD_ATTN_AUTO, TD_SLA_BLOCK_128X64, by_128x64, &used);
    sparse_clip("", 0.1, TD_ATTN_AUTO, TD_SLA_BLOCK_64X128, by_64x128, &used);
    CHECK(memcmp(by_128x64, by_64x128, TOPK_BYTES) != 0);
    check_sparse("sla_block = 64x128\n", 0.1, TD_SLA_BLOCK_AUTO, 0.1, by_64x128);
    check_sparse("", 0.1, TD_SLA_BLOCK_AUTO, 0.1, by_128x64);

    test_begin("sla_block: the caller's comes before that of turbodiff.conf");
    check_sparse("sla_block = 64x128\n", 0.1, TD_SLA_BLOCK_128X64, 0.1, by_128x64);
}

/* ---- files that do not fit each other, and a transformer that was not trained for sparse attention ---- */

static void test_vocabulary(void)
{
    char dir[256];
    TDContext *c = NULL;
    TDSettings s;
    Seen seen;

    test_begin("a vocabulary of more ids than the text encoder embeds");
    if (small_model_make("few", "--spiece=tools/demo-model/model/google/umt5-xxl/spiece.model") < 0)
        return;
    small_settings(&s, &seen, small_path(dir, "few"));
    CHECK_INT(td_open(&c, &s), 0);               /* with its own */
    td_close(&c);
    s.tokenizer = "tests/data/spiece.model";
    check_error(&seen, td_open(&c, &s), TD_ERR(EINVAL), "tests/data/spiece.model has ");
    CHECK(strstr(seen.error, " ids, ") && strstr(seen.error, " embeds "));
    CHECK(c == NULL);
}

typedef struct Warned { Seen seen; int n; char last[512]; } Warned;

static void keep_warning(void *cookie, int level, const char *line)
{
    Warned *w = cookie;

    on_line(&w->seen, level, line);
    if (level == TD_LOG_WARNING) {
        w->n++;
        snprintf(w->last, sizeof(w->last), "%s", line);
    }
}

/* a clip of `plain`, which has no proj_l; the attention it had and the warnings that came */
static void plain_clip(enum TDAttention attention, enum TDAttention want, int n_warnings, uint8_t *rgb)
{
    char dir[256];
    TDContext *c = NULL;
    TDSettings s;
    TDParams p;
    TDInfo info;
    Warned w = { 0 };

    small_settings(&s, &w.seen, small_path(dir, "plain"));
    s.logger = (TDLogger){ &w, keep_warning, TD_LOG_DEBUG };
    s.attention = attention;
    if (!CHECK_INT(td_open(&c, &s), 0))
        return;
    CHECK_INT(td_info(c, &info), 0);
    CHECK_INT(info.attention, want);
    CHECK_INT(w.n, n_warnings);
    if (n_warnings &&
        !CHECK(strstr(w.last, "on a transformer without proj_l: it was not trained for sparse attention")))
        printf("  %s\n", w.last);
    small_params(&p);
    CHECK_INT(td_start(c, &p), 0);
    CHECK_INT(read_clip(c, rgb), N);
    CHECK_STR(w.seen.error, "");
    td_close(&c);
}

static void test_plain(void)
{
    static uint8_t by_itself[BYTES], dense[BYTES], sparse[BYTES];

    test_begin("a transformer without proj_l: dense attention, where nothing else is wanted");
    if (small_model_make("plain", "--no-sla") < 0)
        return;
    plain_clip(TD_ATTN_AUTO, TD_ATTN_DENSE, 0, by_itself);
    plain_clip(TD_ATTN_DENSE, TD_ATTN_DENSE, 0, dense);
    CHECK(!memcmp(by_itself, dense, BYTES));

    test_begin("a transformer without proj_l: sparse attention is the sparse branch alone, with a warning");
    plain_clip(TD_ATTN_SLA, TD_ATTN_SLA, 1, sparse);
    plain_clip(TD_ATTN_SAGESLA, TD_ATTN_SAGESLA, 1, sparse);
}

/* ---- where the demo model is ---- */

static void test_places(void)
{
    char dir[256], want[300], path[512], line[700];
    Seen seen = { 0 };
    TDLog log = { .out = { &seen, on_line, TD_LOG_DEBUG } };
    FILE *f;

    test_begin("the demo model: beside the program, or beside its directory");
    small_path(dir, "prefix/bin");
    snprintf(line, sizeof(line), "mkdir -p %s %s/../share/turbodiff/demo-model", dir, dir);
    CHECK_INT(system(line), 0);
    snprintf(want, sizeof(want), "%s/../share/turbodiff/demo-model", dir);
    CHECK_INT(td_default_model(path, sizeof(path), dir, 0, &log), 0);
    CHECK_STR(path, want);
    snprintf(line, sizeof(line), "mkdir -p %s/share/turbodiff/demo-model", dir);
    CHECK_INT(system(line), 0);
    snprintf(want, sizeof(want), "%s/share/turbodiff/demo-model", dir);
    CHECK_INT(td_default_model(path, sizeof(path), dir, 0, &log), 0);
    CHECK_STR(path, want);

    test_begin("the demo model of image to video");
    snprintf(line, sizeof(line), "mkdir -p %s/share/turbodiff/demo-model-i2v", dir);
    CHECK_INT(system(line), 0);
    snprintf(want, sizeof(want), "%s/share/turbodiff/demo-model-i2v", dir);
    CHECK_INT(td_default_model(path, sizeof(path), dir, 1, &log), 0);
    CHECK_STR(path, want);

    test_begin("the demo model: this program's directory is known");
    CHECK_INT(td_own_dir(path, sizeof(path)), 0);
    snprintf(line, sizeof(line), "%s/test_model_files", path);
    CHECK_INT(access(line, X_OK), 0);
    CHECK_INT(td_own_dir(want, 1), TD_ERR(ENOENT));
    CHECK_STR(seen.error, "");

    if (getenv("TD_TEST_EMULATED")) {            /* tests/aarch64.sh: the system itself does not start this program */
        printf("  left out: this program's directory when it is started by another name\n");
    } else {
        test_begin("the demo model: this program's directory is known by whatever name it was started, from anywhere");
        snprintf(line, sizeof(line), "bash -c 'cd / && exec -a ./x \"%.200s/test_model_files\" own' > %.100s/own.txt",
                 path, small_dir);
        CHECK_INT(system(line), 0);
        f = fopen(small_path(want, "own.txt"), "r");
        CHECK(f && fgets(line, sizeof(line), f) && path[0] == '/');
        CHECK_STR(line, path);
        if (f)
            fclose(f);
    }

    test_begin("the demo model: nowhere");
    small_path(dir, "own/google");
    if (td_default_model(path, sizeof(path), dir, 0, &log) >= 0)
        CHECK(strncmp(path, dir, strlen(dir)) != 0);         /* one is installed where configure said */
    else
        check_error(&seen, TD_ERR(ENOENT), TD_ERR(ENOENT), "own/google/../share/turbodiff/demo-model");
}

int main(int argc, char **argv)
{
    char path[512];

    if (argc > 1) {                              /* started again by test_places() */
        (void)argv;
        return td_own_dir(path, sizeof(path)) < 0 || printf("%s", path) < 0;
    }
    test_sizes();
    test_conf();
    test_strangers();
    test_defaults();
    test_topk();
    test_sla_block();
    test_vocabulary();
    test_plain();
    test_places();
    small_model_remove();
    return test_end();
}
