/* SPDX-License-Identifier: BSD-2-Clause
 * From a file's tensors to the weights of a device: one that computes from the file, and one with memory of its own,
 * whose memory starts as garbage. The same numbers in both, in one piece or in many. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "files/change.h"
#include "golden.h"
#include "nets/dit.h"

static TDDev *dev;
static TDLog lines;
static char last[512];

static void keep_line(void *cookie, int level, const char *text)
{
    (void)cookie;
    if (level == TD_LOG_ERROR)
        snprintf(last, sizeof(last), "%s", text);
}

static TDEntry matrix(const char *name, enum TDDtype dtype, int64_t n, int64_t k, void *data)
{
    return (TDEntry){ .name = name, .dtype = dtype, .n_dims = 2, .shape = { n, k, 1, 1, 1 }, .stride = { k, 1 },
                      .data = data, .bytes = (size_t)(n * k) * td_dtype_size(dtype), .file = "test_pack" };
}

static float value(int64_t i)
{
    return (float)((i * 7919 + i / 1000 * 31) % 2003 - 1001) / 517.0f;
}

/* n*k values as f32, and rounded as bf16 */
static void fill(float *f, uint16_t *h, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        h[i] = td_f32_to_bf16(value(i));
        f[i] = value(i);
    }
}

static void check_same(const TDLinear *a, const TDLinear *b)
{
    size_t n = (size_t)(a->n * a->k);
    float *x = malloc(n * sizeof(*x)), *y = malloc(n * sizeof(*y));

    CHECK_INT(a->n, b->n);
    CHECK_INT(a->k, b->k);
    CHECK_INT(a->dtype, b->dtype);
    if (CHECK(x && y) && CHECK_INT(td_unpack(dev, x, a, TD_UNPACK_LINEAR), 0) &&
        CHECK_INT(td_unpack(dev, y, b, TD_UNPACK_LINEAR), 0))
        CHECK(!memcmp(x, y, n * sizeof(*x)));
    free(x);
    free(y);
}

/* a bf16 matrix in place; the same, and an f32 one, put into memory of the device; rows: more than go at a time */
static void test_strips(enum TDDtype want, int64_t n, int64_t k)
{
    size_t count = (size_t)(n * k);
    float *f = malloc(count * sizeof(*f));
    uint16_t *h = malloc(count * sizeof(*h));
    TDEntry wide = matrix("wide", TD_F32, n, k, f), half = matrix("half", TD_BF16, n, k, h);
    TDLinearSource from_wide = { .w = &wide }, from_half = { .w = &half };
    TDWeights w[4] = { { 0 }, { 0 }, { 0 }, { .measure = 1 } };
    TDLinear lin[4];

    if (CHECK(f && h)) {
        fill(f, h, n * k);
        dev->caps.maps_files = 1;
        CHECK_INT(td_pack_linear(dev, &w[0], &lin[0], &from_half, 1, want), 0);
        CHECK(want == TD_I8 || (lin[0].w[0] == h && w[0].bytes == 0));
        CHECK_INT(w[0].scratch, 0);
        dev->caps.maps_files = 0;
        CHECK_INT(td_pack_linear(dev, &w[1], &lin[1], &from_half, 1, want), 0);
        CHECK(lin[1].w[0] != h);
        CHECK_INT(td_pack_linear(dev, &w[2], &lin[2], &from_wide, 1, want), 0);
        check_same(&lin[0], &lin[1]);
        check_same(&lin[0], &lin[2]);
        /* what is reckoned is what is used */
        CHECK_INT(td_pack_linear(dev, &w[3], &lin[3], &from_wide, 1, want), 0);
        CHECK_INT(w[3].bytes, w[2].bytes);
        CHECK_INT(w[3].scratch, w[2].scratch);
        CHECK(want == TD_I8 ? w[2].scratch > 0 && w[2].scratch <= (size_t)65 << 20 : w[2].scratch == 0);
    }
    for (int i = 0; i < 4; i++)
        td_weights_free(dev, &w[i]);
    free(f);
    free(h);
}

/* three weights on each other; the second one is a view, which no device reads in place */
static void test_stack(int maps_files)
{
    enum { N = 128, K = 256 };
    static float f[N * K], x[3 * N * K], bias[3][N];
    static uint16_t h[N * K], turned[K * N];
    TDEntry e[3], b[3];
    TDLinearSource src[3];
    TDWeights w = { 0 };
    TDLinear lin;

    fill(f, h, N * K);
    for (int r = 0; r < N; r++)
        for (int c = 0; c < K; c++)
            turned[c * N + r] = h[r * K + c];
    for (int i = 0; i < 3; i++) {
        e[i] = matrix("part", TD_BF16, N, K, i == 1 ? turned : h);
        for (int j = 0; j < N; j++)
            bias[i][j] = value(i * N + j);
        b[i] = matrix("bias", TD_F32, N, 1, bias[i]);
        src[i] = (TDLinearSource){ .w = &e[i], .bias = &b[i] };
    }
    e[1].stride[0] = 1;
    e[1].stride[1] = N;
    dev->caps.maps_files = maps_files;
    if (CHECK_INT(td_pack_linear(dev, &w, &lin, src, 3, TD_BF16), 0) &&
        CHECK_INT(td_unpack(dev, x, &lin, TD_UNPACK_LINEAR), 0)) {
        CHECK_INT(lin.n, 3 * N);
        CHECK_INT(lin.part_n, N);
        for (int i = 0; i < 3 * N * K; i++)
            if (!CHECK(x[i] == td_bf16_to_f32(h[i % (N * K)])))
                break;
        for (int i = 0; i < 3 * N; i++)          /* a bf16 module adds a bf16 bias */
            if (!CHECK(lin.bias[i] == td_bf16_round(value(i)) && (i != 1 || lin.bias[i] != value(i))))
                break;
        CHECK((lin.w[0] == h) == maps_files && lin.w[1] != turned);
        CHECK(maps_files || lin.w[2] == (const uint8_t *)lin.w[0] + 2 * sizeof(h));
    }
    td_weights_free(dev, &w);
}

static void test_types(void)
{
    static float f[64 * 128];
    static uint16_t h[64 * 128];
    TDEntry wide = matrix("wide", TD_F32, 64, 128, f), half = matrix("half", TD_BF16, 64, 128, h);
    TDLinearSource src = { .w = &wide };
    TDWeights w = { 0 };
    TDLinear lin;

    fill(f, h, 64 * 128);
    CHECK_INT(td_pack_linear(dev, &w, &lin, &src, 1, TD_F32), 0);
    CHECK_INT(lin.dtype, TD_F32);
    CHECK_INT(td_pack_linear(dev, &w, &lin, &src, 1, TD_BF16), 0);
    CHECK_INT(lin.dtype, TD_BF16);
    src.w = &half;
    CHECK_INT(td_pack_linear(dev, &w, &lin, &src, 1, TD_F32), 0);
    CHECK_INT(lin.dtype, TD_BF16);
    src.row0 = 8;
    src.n_rows = 16;
    CHECK_INT(td_pack_linear(dev, &w, &lin, &src, 1, TD_BF16), 0);
    CHECK_INT(lin.n, 16);
    CHECK(!memcmp(lin.w[0], h + 8 * 128, 16 * 128 * sizeof(*h)));
    td_weights_free(dev, &w);
}

static void test_refused(void)
{
    static uint16_t h[132 * 132];
    TDEntry e = matrix("odd", TD_BF16, 132, 132, h);
    TDLinearSource src = { .w = &e };
    TDConv conv = { .c_out = 4, .c_in = 33, .kt = 1, .kh = 1, .kw = 1 },
           wide = { .c_out = 1, .c_in = TD_MAX_CHANNELS + 1, .kt = 1, .kh = 1, .kw = 1 };
    TDWeights w = { 0 };
    TDLinear lin;

    CHECK_INT(td_pack_linear(dev, &w, &lin, &src, 1, TD_I8), TD_ERR(ENOTSUP));
    CHECK(strstr(last, "odd: [132,132] as int8, want multiples of 128") != NULL);
    CHECK_INT(td_pack_linear(dev, &w, &lin, &src, 1, TD_BF16), 0);
    dev->caps.width_step = 8;
    CHECK_INT(td_pack_linear(dev, &w, &lin, &src, 1, TD_BF16), TD_ERR(ENOTSUP));
    CHECK(strstr(last, "odd: [132,132], want multiples of 8") != NULL);
    CHECK_INT(td_pack_linear(dev, &w, &lin, &src, 1, TD_F32), 0);
    CHECK_INT(td_pack_conv(dev, &w, &conv, &e), TD_ERR(ENOTSUP));
    CHECK(strstr(last, "odd: 33 input channels, want a multiple of 8") != NULL);
    dev->caps.width_step = 1;
    CHECK_INT(td_pack_conv(dev, &w, &wide, &e), TD_ERR(ENOTSUP));
    CHECK(strstr(last, "odd: 16385 input channels, want a multiple of 1 up to 16384") != NULL);
    td_weights_free(dev, &w);
}

/* ---- what else is the same on every device ---- */

#ifdef __x86_64__
#define NO_AVX2 TD_ERR(ENOTSUP)
#define NO_AVX2_SAYS "does not run avx2 kernels"
#else
#define NO_AVX2 TD_ERR(EINVAL)
#define NO_AVX2_SAYS "cpu: kernels avx2, want one of base"
#endif

static void test_kernels(void)
{
    static const char *const names[] = { "base", "avx2" };
    TDCancel cancel = { 0 };
    TDDev *d = NULL, *other = NULL;

    for (int i = 0; i < 2; i++) {
        int ret = td_cpu_open(&d, 1, names[i], &cancel, &lines);

        if (i > 0 && ret == NO_AVX2) {           /* another kind of CPU */
            CHECK(strstr(last, NO_AVX2_SAYS) != NULL);
            continue;
        }
        if (!CHECK_INT(ret, 0))
            continue;
        CHECK(strstr(d->name, names[i]) != NULL);
        if (CHECK_INT(d->ops->reopen(d, &other, &cancel, &lines), 0)) {
            CHECK(other != d && strstr(other->name, names[i]));
            other->ops->close(&other);
        }
        d->ops->close(&d);
    }
    CHECK_INT(td_cpu_open(&d, 1, "mmx", &cancel, &lines), TD_ERR(EINVAL));
    CHECK(!d && strstr(last, "cpu: kernels mmx, want one of") && strstr(last, " base"));
}

/* keys of blocks of one task fit its scratch, or the attention is refused */
static void test_blocks(void)
{
    TDArena a;
    TDQkv q = { .cfg = { TD_ATTN_SLA, 128, 64, 0.1 }, .n_heads = 1, .head_dim = 128 };

    for (int64_t n = (int64_t)1 << 21; n <= (int64_t)1 << 22; n *= 2) {
        td_arena_init(&a, NULL, 0, &lines);
        q.n_q = q.n_kv = n;
        CHECK_INT(td_plan_qkv(dev, &a, &q), n == (int64_t)1 << 21 ? 0 : TD_ERR(ENOTSUP));
    }
    CHECK(strstr(last, "over 65536 blocks of keys, want at most ") != NULL);
}

/* a patch of every channel has its place in a kernel's shared memory and in a task's scratch */
static void test_channels(void)
{
    static const char json[] =
        "{\"patch_embedding.weight\":{\"dtype\":\"BF16\",\"shape\":[128,%3d,1,2,2],\"data_offsets\":[0,%6d]},"
        "\"text_embedding.0.weight\":{\"dtype\":\"BF16\",\"shape\":[128,64],\"data_offsets\":[%6d,%6d]},"
        "\"blocks.0.ffn.0.weight\":{\"dtype\":\"BF16\",\"shape\":[128,128],\"data_offsets\":[%6d,%6d]}}";
    static const uint8_t zeros[1 << 17];
    static const int channels[] = { 16, 36, 48 };
    char path[] = "/tmp/td_test_XXXXXX.safetensors", header[600];

    if (!CHECK(close(mkstemps(path, 12)) == 0))
        return;
    for (int i = 0; i < 3; i++) {
        int patch = 128 * channels[i] * 4 * 2, text = patch + 128 * 64 * 2, all = text + 128 * 128 * 2;
        uint64_t n = (uint64_t)snprintf(header, sizeof(header), json, channels[i], patch, patch, text, text, all);
        FILE *f = fopen(path, "wb");
        TDCheckpoint *ckpt = NULL;
        TDDitShape s;

        if (CHECK(f != NULL)) {
            CHECK(fwrite(&n, 1, 8, f) == 8 && fwrite(header, 1, n, f) == n &&
                  fwrite(zeros, 1, (size_t)all, f) == (size_t)all && fclose(f) == 0);
            if (CHECK_INT(td_checkpoint_open(&ckpt, path, &lines), 0))
                CHECK_INT(td_dit_shape(&s, ckpt, &lines), channels[i] == 48 ? TD_ERR(ENOTSUP) : 0);
            td_checkpoint_close(&ckpt);
        }
    }
    CHECK(strstr(last, "48 input channels, want 16 (text to video) or 36 (image to video)") != NULL);
    unlink(path);
}

/* DoRA by columns behind another change: norms are those of all rows before one is changed, by threads and in strips as
 * in one piece */
static void test_columns(void)
{
    enum { N = 17000, K = 260, R = 3 };
    float *f = malloc(3 * sizeof(*f) * N * K), *got = f + N * K, *want = got + N * K, *u = malloc(sizeof(*u) * N * R);
    float v[R * K], m[K];
    double norms[2][K];
    TDWeights w = { 0 };
    TDLinear lin;

    test_begin("DoRA by columns");
    if (!CHECK(f && u))
        return;
    for (int i = 0; i < N * K; i++)
        f[i] = value(i);
    for (int i = 0; i < N * R; i++)
        u[i] = value(i + 5);
    for (int i = 0; i < R * K; i++)
        v[i] = value(i + 9);
    for (int i = 0; i < K; i++)
        m[i] = 2 + value(i);
    for (int whole = 0; whole < 2; whole++) {
        TDEntry e = matrix("columns", TD_F32, N, K, f);
        TDLinearSource src = { .w = &e };
        TDChange dora = { .kind = TD_CHANGE_PAIR, .strength = 0.5f, .scale = 0.25f, .by_column = 1,
                          .m = { { (uint8_t *)u, TD_F32, N, R }, { (uint8_t *)v, TD_F32, R, K } },
                          .dora = { (uint8_t *)m, TD_F32, 1, K }, .norms = norms[whole] }, plain = dora;

        plain.next = &dora;
        plain.by_column = 0;
        plain.dora.data = NULL;
        e.change = &plain;
        norms[whole][0] = -1;
        if (whole)
            CHECK_INT(td_entry_to_f32(&e, want), 0);
        else if (CHECK_INT(td_pack_linear(dev, &w, &lin, &src, 1, TD_F32), 0))
            CHECK_INT(td_unpack(dev, got, &lin, TD_UNPACK_LINEAR), 0);
    }
    CHECK(!memcmp(norms[0], norms[1], sizeof(*norms)));
    CHECK(!memcmp(got, want, sizeof(*got) * N * K) && memcmp(got, f, sizeof(*got) * N * K) != 0);
    td_weights_free(dev, &w);
    free(f);
    free(u);
}

/* every f16, what is halfway to the next one, and what is next to that */
static void test_half(void)
{
    for (int h = 0; h < 0x7c00; h++) {
        float f = td_f16_to_f32((uint16_t)h), next = h < 0x7bff ? td_f16_to_f32((uint16_t)(h + 1)) : 65536,
              middle = (f + next) / 2;

        if (!CHECK(td_f32_to_f16(f) == h && td_f32_to_f16(-f) == (h | 0x8000)) ||
            !CHECK(td_f32_to_f16(middle) == h + (h & 1) && td_f32_to_f16(nextafterf(middle, 0)) == h &&
                   td_f32_to_f16(nextafterf(middle, INFINITY)) == h + 1))
            break;
    }
    CHECK_INT(td_f32_to_f16(-1e9f), 0xfc00);
}

enum { F16_OUT = 384, F16_IN = 64, F16_TAPS = 27, F16_ROW = F16_IN * F16_TAPS };

static TDConv f16_conv(float reach)
{
    return (TDConv){ .c_out = F16_OUT, .c_in = F16_IN, .kt = 3, .kh = 3, .kw = 3, .stride_t = 1, .stride_s = 1,
                     .reach = reach };
}

/* of f16 where a bound is known, and not too wide. what: the weight that is changed */
static int packed_f16(TDConv conv, float *f, int64_t what, float value_there)
{
    TDEntry e = matrix("filters", TD_F32, F16_OUT, conv.c_in * conv.kt * conv.kh * conv.kw, f);
    TDWeights w = { 0 };
    float was = f[what];

    f[what] = value_there;
    conv.f16 = 1;
    CHECK_INT(td_pack_conv(dev, &w, &conv, &e), 0);
    f[what] = was;
    td_weights_free(dev, &w);
    return conv.f16;
}

static void test_f16(void)
{
    float *f = malloc((F16_OUT + 1) * F16_ROW * sizeof(*f)), most = 0, reach = 30;
    TDEntry e = matrix("filters", TD_F32, F16_OUT, F16_ROW, f);
    TDConv conv = f16_conv(reach), odd;
    TDWeights w = { 0 };

    if (!CHECK(f != NULL))
        return;
    for (int64_t i = 0; i < (F16_OUT + 1) * F16_ROW; i++)
        f[i] = value(i) / 50 * (i % 11 ? 1 : 1e-7f);
    for (int i = 0; i < F16_IN; i++)             /* tap 5 of a channel in the middle */
        f[200 * F16_ROW + i * F16_TAPS + 5] *= 3;
    CHECK_INT(packed_f16(conv, f, 0, 0), 0);     /* no device asks for it */
    dev->caps.f16_channels = F16_IN;
    CHECK_INT(td_pack_conv(dev, &w, &conv, &e), 0);
    CHECK_INT(conv.f16, 1);
    for (int64_t r = 0; r < F16_OUT * F16_TAPS && w.bytes; r++) {
        float sum = 0;

        for (int i = 0; i < F16_IN; i++) {
            float is = td_f16_to_f32(conv.w[r * F16_IN + i]),
                  want = td_bf16_round(f[(r / F16_TAPS * F16_IN + i) * F16_TAPS + r % F16_TAPS]) / conv.unscale;

            if (!CHECK(fabsf(want) >= 0x1p-14f ? is == want : fabsf(is - want) <= 0x1p-25f))
                return;
            sum += is * is;
        }
        most = fmaxf(most, sqrtf(sum));
    }
    CHECK(most * reach > 1 << 14 && most * reach <= 1 << 15);
    CHECK_INT(packed_f16(f16_conv(1), f, 0, 0), 1);
    CHECK_INT(packed_f16(f16_conv(32768), f, 0, 0), 1);
    CHECK_INT(packed_f16(f16_conv(0), f, 0, 0), 0);
    CHECK_INT(packed_f16(f16_conv(0.99f), f, 0, 0), 0);
    CHECK_INT(packed_f16(f16_conv(32800), f, 0, 0), 0);
    CHECK_INT(packed_f16(f16_conv(INFINITY), f, 0, 0), 0);
    CHECK_INT(packed_f16(f16_conv(30), f, 7, 1e17f), 1);
    CHECK_INT(packed_f16(f16_conv(30), f, 7, 1e25f), 0);
    for (int64_t i = 0; i < F16_OUT * F16_ROW; i++)
        f[i] *= 1e-25f;
    CHECK_INT(packed_f16(f16_conv(30), f, 0, 0), 0);
    CHECK_INT(packed_f16(f16_conv(30), f, 7, 1e-12f), 1);
    odd = f16_conv(30);
    odd.interleave = 1;
    CHECK_INT(packed_f16(odd, f, 0, 0), 0);
    odd = f16_conv(30);
    odd.stride_s = 2;
    CHECK_INT(packed_f16(odd, f, 0, 0), 0);
    odd = f16_conv(30);
    odd.kh = odd.kw = 1;
    CHECK_INT(packed_f16(odd, f, 0, 0), 0);
    dev->caps.f16_channels = F16_IN - 1;
    CHECK_INT(packed_f16(f16_conv(30), f, 0, 0), 0);
    dev->caps.f16_channels = 0;
    td_weights_free(dev, &w);
    free(f);
}

int main(void)
{
    TDCancel cancel = { 0 };

    lines.out = (TDLogger){ NULL, keep_line, TD_LOG_ERROR };
    if (!CHECK_INT(td_cpu_open(&dev, 0, NULL, &cancel, &lines), 0))
        return test_end();
    test_begin("in place, whole and in strips: bf16");
    test_strips(TD_BF16, 2100, 2048);
    test_begin("in place, whole and in strips: int8");
    test_strips(TD_I8, 262500, 128);
    test_begin("three parts, one of them a view");
    test_stack(1);
    test_stack(0);
    test_begin("types and rows");
    test_types();
    test_begin("widths that are refused");
    test_refused();
    test_begin("kernels of the CPU by name");
    test_kernels();
    test_begin("too many blocks for the scratch of a task");
    test_blocks();
    test_columns();
    test_begin("f32 to f16");
    test_half();
    test_begin("convolutions of f16");
    test_f16();
    test_begin("channels of a transformer");
    test_channels();
    CHECK(dev->packer != NULL);                  /* threads and memory that are held from one tensor to the next */
    td_pack_end(dev);
    CHECK(dev->packer == NULL);
    dev->ops->close(&dev);
    return test_end();
}
