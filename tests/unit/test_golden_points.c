/* SPDX-License-Identifier: BSD-2-Clause
 * Inside a forward pass: values between the operations of the first transformer block and between the layers of the VAE
 * decoder, the int8 linear and sparse-linear attention alone, each against the official code.
 *
 * The device under test is the CPU's with a table of operations that also keeps results: what is tested is the model
 * code itself. q and k between their norm and RoPE are inside one operation, and are tested together. */
#include <stdlib.h>
#include "nets/dit.h"
#include "golden.h"
#include "base/thread.h"
#include "text/tokenizer.h"
#include "nets/vae.h"

/* ---- a table of operations that keeps what chosen calls leave ---- */

enum { MAX_KEPT = 32 };

static struct {
    const TDOps *real;
    TDOps ops;
    struct { const char *name; float *v; int64_t n, shape[TD_MAX_DIMS]; } kept[MAX_KEPT];
    int n_kept, n_norm, n_residual, n_attn;
    double time;
    const TDVae *vae;
    int chunk;
} spy;

/* what has been kept under that name goes on: a layer may see its frames in several calls */
static void keep(TDDev *dev, const char *name, const void *obj, enum TDUnpack kind, const TDTensor *shape)
{
    int64_t n = td_tensor_count(shape), before;
    int i = 0;
    float *v;

    while (i < spy.n_kept && strcmp(spy.kept[i].name, name))
        i++;
    if (!CHECK(i < MAX_KEPT))
        return;
    before = spy.kept[i].n;
    v = realloc(spy.kept[i].v, (size_t)(before + n) * sizeof(*v));
    if (!CHECK(v != NULL))
        return;
    spy.kept[i].v = v;
    spy.kept[i].name = name;
    if (before) {
        spy.kept[i].shape[0] += shape->shape[0];
    } else {
        memcpy(spy.kept[i].shape, shape->shape, sizeof(shape->shape));
        spy.n_kept++;
    }
    spy.kept[i].n += n;
    CHECK_INT(td_unpack(dev, v + before, obj, kind), 0);
}

static void keep_tensor(TDDev *dev, const char *name, const TDTensor *t)
{
    keep(dev, name, t, TD_UNPACK_TENSOR, t);
}

static int spy_norm_modulate(TDDev *d, TDAct *y, const TDTensor *x, const TDNormW *norm, const float *shift,
                             const float *scale)
{
    int ret = spy.real->norm_modulate(d, y, x, norm, shift, scale), n = spy.n_norm++;

    if (n == 0 || n == 2)
        keep_tensor(d, n ? "ffn.in" : "self.in", &y->x);
    return ret;
}

static int spy_qk_norm_rope(TDDev *d, TDQkv *qkv, const TDNormW *nq, const TDNormW *nk, const TDTensor *rope)
{
    int ret = spy.real->qk_norm_rope(d, qkv, nq, nk, rope);

    if (spy.n_attn == 0) {
        keep_tensor(d, "self.q_rope", &qkv->q);
        keep_tensor(d, "self.k_rope", &qkv->k);
        keep_tensor(d, "self.v", &qkv->v);
    }
    return ret;
}

static int spy_attn_dense(TDDev *d, TDAct *o, TDQkv *qkv)
{
    int ret = spy.real->attn_dense(d, o, qkv);

    if (spy.n_attn++ == 0)
        keep_tensor(d, "self.attn", &o->x);
    return ret;
}

static int spy_linear_residual(TDDev *d, TDTensor *x, const TDAct *y, const TDLinear *lin, const float *gate)
{
    static const char *const names[] = { "x.self", "x.cross", "x.ffn" };
    int ret = spy.real->linear_residual(d, x, y, lin, gate), n = spy.n_residual++;

    if (n < 3)
        keep_tensor(d, names[n], x);
    return ret;
}

static int spy_linear_gelu(TDDev *d, TDAct *y, const TDAct *x, const TDLinear *lin)
{
    int ret = spy.real->linear_gelu(d, y, x, lin);

    if (spy.n_norm == 3)                         /* of the first block, not of the text embedding */
        keep_tensor(d, "ffn.hidden", &y->x);
    return ret;
}

static int spy_conv(TDDev *d, TDTensor *y, const TDTensor *x, const TDTensor *cache, const TDConv *conv,
                    const TDTensor *residual)
{
    static const char *const names[2][6] = {
        { "conv1.0", "middle.0", "upsamples.3.0", "upsamples.4.0", "upsamples.7.0", "head.0" },
        { "conv1.1", "middle.1", "upsamples.3.1", "upsamples.4.1", "upsamples.7.1", "head.1" },
    };
    const TDVae *v = spy.vae;
    const TDConv *at[6];
    int ret = spy.real->causal_conv3d(d, y, x, cache, conv, residual);

    at[0] = &v->conv_in;
    at[1] = &v->layers[2].conv2;
    at[2] = &v->layers[3 + 3].conv1;
    at[3] = &v->layers[3 + 4].conv2;
    at[4] = &v->layers[3 + 7].conv1;
    at[5] = &v->conv_out;
    for (int i = 0; i < 6 && spy.chunk < 2; i++)
        if (conv == at[i])
            keep_tensor(d, names[spy.chunk][i], y);
    return ret;
}

static int spy_time_embed(TDDev *d, TDTensor *e6, TDTensor *e, double t, const TDTimeEmbed *w)
{
    spy.time = t;
    return spy.real->time_embed(d, e6, e, t, w);
}

static void spy_begin(TDDev *dev)
{
    memset(&spy, 0, sizeof(spy));
    spy.real = dev->ops;
    spy.ops = *dev->ops;
    spy.ops.norm_modulate = spy_norm_modulate;
    spy.ops.qk_norm_rope = spy_qk_norm_rope;
    spy.ops.attn_dense = spy_attn_dense;
    spy.ops.linear_residual = spy_linear_residual;
    spy.ops.linear_gelu = spy_linear_gelu;
    spy.ops.time_embed = spy_time_embed;
    dev->ops = &spy.ops;
}

static void spy_end(TDDev *dev)
{
    dev->ops = spy.real;
    for (int i = 0; i < spy.n_kept; i++)
        free(spy.kept[i].v);
}

/* ---- transformer ---- */

static void test_dit(TDDev *dev, TDLog *log)
{
    static const TDAttnConfig dense = { .kind = TD_ATTN_DENSE };
    /* what the network sees is bf16: 8 bits of 1000 t */
    static const struct { double t, seen; } times[] = { { 0.98765, 988 }, { 0.9345, 936 }, { 0.6091, 608 },
                                                        { 0.0503, 50.25 } };
    char path[512];
    TDCheckpoint *g, *ckpt = NULL;
    TDDit *dit = NULL;
    TDDitClip clip;
    TDDitText text;
    TDTensor z, emb, ctx;
    TDBuf buf = { 0 };
    TDArena a = { 0 };
    int64_t n = 0, n_emb = 0;
    float *x = NULL, *t = NULL, *e = NULL;
    double *zd = NULL;
    uint16_t *eb = NULL;

    test_begin("points of transformer block 0");
    g = golden_open("dit_points", log);
    if (!g || !CHECK_INT(td_checkpoint_open(&ckpt, golden_path(path, "TD_MODELS", "build/models",
                                                               "tiny/TurboWan2.1-T2V-1.3B-480P.pth"),
                                            log), 0) || !CHECK_INT(td_dit_bind(&dit, dev, ckpt, TD_QUANT_NONE,
                                                                               TD_NORM_OFFICIAL, 0), 0))
        goto end;
    x = golden_f32(g, "x", &n);
    t = golden_f32(g, "t", NULL);
    e = golden_f32(g, "emb", &n_emb);
    zd = malloc((size_t)n * sizeof(*zd));
    eb = calloc((size_t)(TD_TEXT_LEN * dit->text_dim), sizeof(*eb));
    if (!x || !t || !e || !zd || !eb)
        goto end;
    for (int64_t i = 0; i < n; i++)
        zd[i] = x[i];
    for (int64_t i = 0; i < n_emb; i++)
        eb[i] = td_f32_to_bf16(e[i]);
    for (int pass = 0; pass < 2; pass++) {
        if (pass && !CHECK_INT(dev->ops->alloc(dev, &buf, a.peak, "a test"), 0))
            goto end;
        td_arena_init(&a, pass ? buf.ptr : NULL, buf.bytes, log);
        CHECK_INT(TD_CARVE(&a, &z, TD_F64, 16, 2, 6, 8), 0);
        CHECK_INT(TD_CARVE(&a, &emb, TD_BF16, TD_TEXT_LEN, dit->text_dim), 0);
        CHECK_INT(td_dit_plan_text(&text, dit, &a, n_emb / dit->text_dim), 0);
        CHECK_INT(td_dit_plan(&clip, dit, &a, 2, 6, 8, &dense, text.k.shape[1]), 0);
    }
    CHECK_INT(dev->ops->upload(dev, &z, zd), 0);
    CHECK_INT(dev->ops->upload(dev, &emb, eb), 0);
    CHECK_INT(td_dit_prepare(&clip, dit), 0);
    spy_begin(dev);
    CHECK_INT(td_dit_text(&text, dit, &clip, &emb), 0);
    ctx = clip.text_ctx.x;
    ctx.shape[0] = n_emb / dit->text_dim + 1;    /* the rows of real tokens, and one of padding */
    keep_tensor(dev, "ctx", &ctx);
    CHECK_INT(td_dit_begin(dit, &clip, &z, NULL, t[0] / 1000.0), 0);
    keep_tensor(dev, "patch", &clip.x);
    keep_tensor(dev, "e", &clip.e);
    keep_tensor(dev, "e0", &clip.e6);
    for (int i = 0; i < dit->n_blocks; i++)
        CHECK_INT(td_dit_block(dit, &clip, &text, i), 0);
    CHECK_INT(td_dit_end(dit, &clip), 0);
    keep_tensor(dev, "v", &clip.v);
    CHECK_INT(spy.n_kept, 15);
    for (int i = 0; i < spy.n_kept; i++)
        golden_check(g, spy.kept[i].name, spy.kept[i].v, spy.kept[i].n);
    for (size_t i = 0; i < sizeof(times) / sizeof(*times); i++) {
        CHECK_INT(td_dit_begin(dit, &clip, &z, NULL, times[i].t), 0);
        CHECK_NEAR(spy.time, times[i].seen, 0);
    }
    spy_end(dev);
end:
    dev->ops->free(dev, &buf);
    free(x);
    free(t);
    free(e);
    free(zd);
    free(eb);
    td_dit_free(&dit);
    td_checkpoint_close(&ckpt);
    td_checkpoint_close(&g);
}

/* ---- VAE ---- */

/* kept [T,h,w,C] as [C,T,h,w], against NAME.official and, where it is stored, NAME.exact */
static void check_layer(const TDCheckpoint *g, int i)
{
    const int64_t *s = spy.kept[i].shape, plane = s[0] * s[1] * s[2], n = spy.kept[i].n;
    float *v = malloc((size_t)n * sizeof(*v)), *official;
    char key[64];
    double apart;

    for (int64_t p = 0; p < plane; p++)
        for (int64_t c = 0; c < s[3]; c++)
            v[c * plane + p] = spy.kept[i].v[p * s[3] + c];
    snprintf(key, sizeof(key), "%s.exact", spy.kept[i].name);
    if (td_checkpoint_find(g, key)) {
        golden_check(g, spy.kept[i].name, v, n);
    } else {                                     /* both err by up to 1.7e-2 there */
        snprintf(key, sizeof(key), "%s.official", spy.kept[i].name);
        official = golden_f32(g, key, NULL);
        apart = official ? relative_error(v, official, n) : INFINITY;
        if (getenv("TD_VERBOSE"))
            printf("  %s: apart %.3e\n", spy.kept[i].name, apart);
        CHECK(apart < 2.5e-2);
        golden_apart(g, spy.kept[i].name, apart);
        free(official);
    }
    free(v);
}

static void test_vae(TDDev *dev, TDLog *log)
{
    char path[512];
    TDCheckpoint *g, *ckpt = NULL;
    TDVae *vae = NULL;
    TDVaeClip clip;
    TDTensor z, rgb;
    TDBuf buf = { 0 };
    TDArena a = { 0 };
    float *zf = NULL;
    int64_t n = 0;

    test_begin("points of the VAE decoder");
    g = golden_open("vae_points", log);
    if (!g || !CHECK_INT(td_checkpoint_open(&ckpt, golden_path(path, "TD_MODELS", "build/models",
                                                               "tiny/Wan2.1_VAE.pth"), log), 0) ||
        !CHECK_INT(td_vae_bind(&vae, dev, ckpt, TD_VAE_DTYPE_AUTO, 0), 0) ||
        !(zf = golden_f32(g, "z", &n)) || !CHECK_INT(n, 16 * 3 * 4 * 6))
        goto end;
    for (int pass = 0; pass < 2; pass++) {
        if (pass && !CHECK_INT(dev->ops->alloc(dev, &buf, a.peak, "a test"), 0))
            goto end;
        td_arena_init(&a, pass ? buf.ptr : NULL, buf.bytes, log);
        CHECK_INT(TD_CARVE(&a, &z, TD_F32, 16, 3, 4, 6), 0);
        CHECK_INT(td_vae_plan(&clip, vae, &a, 4, 6), 0);
        CHECK_INT(TD_CARVE(&a, &rgb, TD_F32, 4, 32, 48, 3), 0);
    }
    CHECK_INT(dev->ops->upload(dev, &z, zf), 0);
    CHECK_INT(td_vae_begin(vae, &clip), 0);
    spy_begin(dev);
    spy.ops.causal_conv3d = spy_conv;
    spy.ops.attn_dense = spy.real->attn_dense;   /* and the names of a transformer's points are not wanted */
    spy.ops.linear_residual = spy.real->linear_residual;
    spy.vae = vae;
    for (; spy.chunk < 3; spy.chunk++)
        CHECK_INT(td_vae_decode_next(vae, &clip, &z, &rgb), 0);
    CHECK_INT(spy.n_kept, 12);
    for (int i = 0; i < spy.n_kept; i++)
        check_layer(g, i);
    spy_end(dev);
end:
    free(zf);
    dev->ops->free(dev, &buf);
    td_vae_free(&vae);
    td_checkpoint_close(&ckpt);
    td_checkpoint_close(&g);
}

/* ---- sparse-linear attention and the int8 linear, alone ---- */

static int pack_golden(TDDev *dev, TDWeights *w, TDLinear *lin, const TDCheckpoint *g, const char *weight,
                       const char *bias, enum TDDtype want)
{
    TDLinearSource src = { .w = td_checkpoint_find(g, weight), .bias = bias ? td_checkpoint_find(g, bias) : NULL };

    return CHECK(src.w && (!bias || src.bias)) && CHECK_INT(td_pack_linear(dev, w, lin, &src, 1, want),
                                                            0) ? 0 : -1;
}

static void put_bf16(TDDev *dev, TDTensor *t, const TDCheckpoint *g, const char *name)
{
    const TDEntry *e = td_checkpoint_find(g, name);

    if (CHECK(e && e->dtype == TD_BF16 && e->bytes >= td_tensor_bytes(t)))
        CHECK_INT(dev->ops->upload(dev, t, e->data), 0);
}

static void test_attention(TDDev *dev, TDLog *log)
{
    TDCheckpoint *g = golden_open("attention", log);
    TDQkv qkv;
    TDAct o;
    TDWeights weights = { 0 };
    TDLinear proj;
    TDBuf buf = { 0 };
    TDArena a = { 0 };
    float *map = NULL, *out = malloc(333 * 128 * sizeof(*out));
    int32_t list[3 * 6];
    int64_t n = 0;

    test_begin("sparse-linear attention alone: block map and output");
    if (!g || !CHECK(out) || pack_golden(dev, &weights, &proj, g, "proj_l.weight", "proj_l.bias", TD_BF16) < 0 ||
        !(map = golden_f32(g, "sla.map.0", &n)) || !CHECK_INT(n, 3 * 6))
        goto end;
    for (int pass = 0; pass < 2; pass++) {
        if (pass && !CHECK_INT(dev->ops->alloc(dev, &buf, a.peak, "a test"), 0))
            goto end;
        td_arena_init(&a, pass ? buf.ptr : NULL, buf.bytes, log);
        qkv = (TDQkv){ .cfg = { TD_ATTN_SLA, 128, 64, 0.4 }, .n_q = 333, .n_kv = 333, .n_heads = 1, .head_dim = 128 };
        CHECK_INT(td_plan_qkv(dev, &a, &qkv), 0);
        CHECK_INT(td_plan_act(&a, &o, 333, 128, 0), 0);
    }
    put_bf16(dev, &qkv.q, g, "q");
    put_bf16(dev, &qkv.k, g, "k");
    put_bf16(dev, &qkv.v, g, "v");
    CHECK_INT(dev->ops->attn_sla(dev, &o, &qkv, &proj), 0);
    CHECK_INT(td_unpack(dev, out, &o, TD_UNPACK_ACT), 0);
    golden_check(g, "out", out, 333 * 128);
    CHECK_INT(qkv.n_keep, 2);
    if (CHECK(td_tensor_bytes(&qkv.map) <= sizeof(list)) && CHECK_INT(dev->ops->download(dev, list, &qkv.map), 0)) {
        for (int i = 0; i < 3 * 2; i++)          /* every block that was chosen is one of the official map's */
            if (CHECK(list[i] >= 0 && list[i] < 6))
                map[i / 2 * 6 + list[i]] -= 1;
        for (int i = 0; i < 3 * 6; i++)
            CHECK_NEAR(map[i], 0, 0);
    }
end:
    free(map);
    free(out);
    dev->ops->free(dev, &buf);
    td_weights_free(dev, &weights);
    td_checkpoint_close(&g);
}

/* count values that are not the golden's to the bit */
static void check_equal(const TDCheckpoint *g, const char *name, const float *got, int64_t n)
{
    int64_t n_golden = 0, differ = 0;
    float *want = golden_f32(g, name, &n_golden);

    for (int64_t i = 0; i < n && want && CHECK_INT(n_golden, n); i++)
        differ += got[i] != want[i];
    if (differ)
        printf("  %s: %lld of %lld values differ\n", name, (long long)differ, (long long)n);
    CHECK_INT(differ, 0);
    free(want);
}

static void test_int8(TDDev *dev, TDLog *log)
{
    enum { M = 257, K = 256, N = 136 };
    TDCheckpoint *g = golden_open("linear_int8", log);
    TDWeights weights = { 0 };
    TDLinear biased, plain;
    TDAct x;
    TDTensor y;
    TDBuf buf = { 0 };
    TDArena a = { 0 };
    float *v = malloc(M * K * sizeof(*v)), *code = NULL, *scale = NULL;

    test_begin("int8 linear alone: codes, scales, product");
    if (!g || !CHECK(v) || pack_golden(dev, &weights, &biased, g, "w", "bias", TD_I8) < 0 ||
        pack_golden(dev, &weights, &plain, g, "w", NULL, TD_I8) < 0)
        goto end;
    for (int pass = 0; pass < 2; pass++) {
        if (pass && !CHECK_INT(dev->ops->alloc(dev, &buf, a.peak, "a test"), 0))
            goto end;
        td_arena_init(&a, pass ? buf.ptr : NULL, buf.bytes, log);
        CHECK_INT(td_plan_act(&a, &x, M, K, 1), 0);
        CHECK_INT(TD_CARVE(&a, &y, TD_BF16, M, N), 0);
    }
    put_bf16(dev, &x.x, g, "x");
    CHECK_INT(dev->ops->quantise(dev, &x), 0);
    CHECK_INT(td_unpack(dev, v, &x.code, TD_UNPACK_TENSOR), 0);
    check_equal(g, "x.code", v, M * K);
    CHECK_INT(td_unpack(dev, v, &x.scale, TD_UNPACK_TENSOR), 0);
    check_equal(g, "x.scale", v, 3 * 2);
    CHECK_INT(td_unpack(dev, v, &plain, TD_UNPACK_LINEAR), 0);
    code = golden_f32(g, "w.code", NULL);
    scale = golden_f32(g, "w.scale", NULL);
    if (code && scale) {
        int64_t differ = 0;

        for (int64_t i = 0; i < N * K; i++)
            differ += v[i] != code[i] * scale[i / K / 128 * 2 + i % K / 128];
        CHECK_INT(differ, 0);
    }
    CHECK_INT(dev->ops->linear(dev, &y, &x, &plain), 0);
    CHECK_INT(td_unpack(dev, v, &y, TD_UNPACK_TENSOR), 0);
    check_equal(g, "product", v, M * N);
    CHECK_INT(dev->ops->linear(dev, &y, &x, &biased), 0);
    CHECK_INT(td_unpack(dev, v, &y, TD_UNPACK_TENSOR), 0);
    check_equal(g, "out.official", v, M * N);
end:
    free(v);
    free(code);
    free(scale);
    dev->ops->free(dev, &buf);
    td_weights_free(dev, &weights);
    td_checkpoint_close(&g);
}

int main(void)
{
    TDLog log = golden_logger();
    TDCancel cancel = { 0 };
    TDDev *dev = NULL;

    test_begin("open");
    if (!CHECK_INT(td_cpu_open(&dev, 0, golden_kernels(), &cancel, &log), 0))
        return test_end();
    test_dit(dev, &log);
    test_vae(dev, &log);
    test_attention(dev, &log);
    test_int8(dev, &log);
    dev->ops->close(&dev);
    return test_end();
}
