/* SPDX-License-Identifier: BSD-2-Clause
 * SageSLA against the official GPU kernels, run on an H100 (64x128 blocks) and in their 128x64 forms, P V in e4m3 or in
 * f16: block map, int8 codes, scales, the sparse branch alone and with the linear branch. */
#include "attention_ref.h"
#include "seam/backend.h"
#include "golden.h"
#include "base/thread.h"

#define D 128

static float *named(const TDCheckpoint *g, const char *kind, const char *what, int64_t *n)
{
    char key[96];

    snprintf(key, sizeof(key), "%s.%s", kind, what);
    return golden_f32(g, key, n);
}

/* the official map as 0/1 per (query block, key block) against ours, a list */
static void check_map(const float *official, const float *ours, int64_t n_q, int64_t n_k, int64_t n_keep)
{
    int64_t equal = 0, total = 0;

    for (int64_t qi = 0; qi < n_q; qi++)
        for (int64_t i = 0; i < n_keep; i++) {
            equal += official[qi * n_k + (int64_t)ours[qi * n_keep + i]] != 0;
            total++;
        }
    CHECK_INT(equal, total);
}

static void check_codes(const float *official, const float *ours, int64_t n)
{
    int64_t off = 0;

    for (int64_t i = 0; i < n; i++) {
        CHECK(fabsf(official[i] - ours[i]) <= 1);
        off += official[i] != ours[i];
    }
    CHECK(off <= n / 1000);
}

/* worst relative difference */
static double ratio(const float *a, const float *b, int64_t n)
{
    double worst = 0;

    for (int64_t i = 0; i < n; i++)
        worst = fmax(worst, fabs((double)a[i] / b[i] - 1));
    return worst;
}

static int upload(TDDev *dev, TDTensor *t, const float *src)
{
    int64_t n = td_tensor_count(t);
    uint16_t *tmp = malloc((size_t)n * sizeof(*tmp));
    int ret;

    for (int64_t i = 0; i < n; i++)
        tmp[i] = td_f32_to_bf16(src[i]);
    ret = dev->ops->upload(dev, t, tmp);
    free(tmp);
    return ret;
}

static void check_kind(TDDev *dev, const TDCheckpoint *in, const TDCheckpoint *g, const char *topk, int bq, int bk,
                       const char *kind, const char *blocks)
{
    int64_t n = 0, count, n_q, n_k;
    float *q = golden_f32(in, "q", &n), *k = golden_f32(in, "k", NULL), *v = golden_f32(in, "v", NULL);
    float *w = golden_f32(in, "proj_l.weight", NULL), *b = golden_f32(in, "proj_l.bias", NULL), *sparse, *full = NULL,
          *out, *map, *ours;
    double *exact;
    char prefix[64], key[96];
    TDEntry e[2] = { { .name = "w", .dtype = TD_F32, .n_dims = 2, .shape = { D, D, 1, 1, 1 }, .stride = { D, 1 },
                       .data = (uint8_t *)w, .bytes = D * D * 4, .file = "f" },
                     { .name = "b", .dtype = TD_F32, .n_dims = 1, .shape = { D, 1, 1, 1, 1 }, .stride = { 1 },
                       .data = (uint8_t *)b, .bytes = D * 4, .file = "f" } };
    TDLinearSource src = { .w = &e[0], .bias = &e[1] };
    TDLinear proj, none = { 0 };
    TDWeights weights = { 0 };
    TDQkv qkv = {
        .cfg = { TD_ATTN_SAGESLA, bq, bk, atof(topk) }, .n_q = n / D, .n_kv = n / D, .n_heads = 1, .head_dim = D
    };
    TDBuf buf;
    TDArena a;
    TDAct o;
    double mine, theirs;

    snprintf(prefix, sizeof(prefix), "%s.%s", topk, kind);
    sparse = named(g, prefix, "sparse", &count);
    CHECK_INT(count, n);
    CHECK(dev->ops->alloc(dev, &buf, (size_t)1 << 26, "a test") == 0);
    td_arena_init(&a, buf.ptr, buf.bytes, dev->log);
    CHECK(td_plan_qkv(dev, &a, &qkv) == 0);
    CHECK(td_plan_act(&a, &o, n / D, D, 0) == 0);
    CHECK(td_pack_linear(dev, &weights, &proj, &src, 1, TD_BF16) == 0);
    CHECK(upload(dev, &qkv.q, q) == 0 && upload(dev, &qkv.k, k) == 0 && upload(dev, &qkv.v, v) == 0);
    CHECK(dev->ops->attn_sla(dev, &o, &qkv, &none) == 0);
    out = malloc((size_t)n * sizeof(*out));
    CHECK(td_unpack(dev, out, &o, TD_UNPACK_ACT) == 0);

    n_q = (n / D + bq - 1) / bq;
    n_k = (n / D + bk - 1) / bk;
    ours = malloc((size_t)(n_q * qkv.n_keep) * sizeof(*ours));
    CHECK(td_unpack(dev, ours, &qkv.map, TD_UNPACK_TENSOR) == 0);
    snprintf(key, sizeof(key), "%s.%s", topk, blocks);
    map = named(g, key, "map", &count);
    CHECK_INT(count, n_q * n_k);
    check_map(map, ours, n_q, n_k, qkv.n_keep);

    /* the sparse branch: error against float64 over the same blocks, ours and the official one */
    exact = malloc((size_t)n * sizeof(*exact));
    reference_sparse(exact, q, k, v, ours, n / D, D, bq, bk, qkv.n_keep);
    mine = reference_error(out, exact, n);
    theirs = reference_error(sparse, exact, n);
    if (getenv("TD_VERBOSE"))
        printf("  %s: error %.3e, official %.3e, apart %.3e\n", prefix, mine, theirs, relative_error(out, sparse, n));
    CHECK(mine <= 2 * theirs);
    CHECK(relative_error(out, sparse, n) <= theirs);
    golden_apart(g, prefix, relative_error(out, sparse, n));
    free(map);

    /* codes and scales, where stored */
    snprintf(key, sizeof(key), "%s.q.code", prefix);
    if (td_checkpoint_find(g, key)) {
        float *code = named(g, prefix, "q.code", NULL), *scale = named(g, prefix, "q.scale", NULL),
              *k_scale = named(g, prefix, "k.scale", NULL);
        float *v_scale = named(g, prefix, "v.scale", NULL), *mean = named(g, prefix, "k.mean", NULL), mine_v[2 * D],
              mine_s[64];
        float *codes = malloc((size_t)n * sizeof(*codes));

        CHECK(td_unpack(dev, codes, &qkv.q_code, TD_UNPACK_TENSOR) == 0);
        check_codes(code, codes, n);
        CHECK(td_unpack(dev, mine_s, &qkv.q_scale, TD_UNPACK_TENSOR) == 0);
        CHECK_NEAR(ratio(mine_s, scale, n_q), 0, 1e-5);
        CHECK(td_unpack(dev, mine_s, &qkv.k_scale, TD_UNPACK_TENSOR) == 0);
        CHECK_NEAR(ratio(mine_s, k_scale, n_k), 0, 1e-5);
        CHECK(td_unpack(dev, mine_v, &qkv.v_scale, TD_UNPACK_TENSOR) == 0);
        CHECK_NEAR(ratio(mine_v, v_scale, D), 0, 1e-5);
        CHECK(td_unpack(dev, mine_v, &qkv.k_mean, TD_UNPACK_TENSOR) == 0);
        CHECK_NEAR(relative_error(mine_v, mean, D), 0, 1e-3);
        free(codes);
        free(code);
        free(scale);
        free(k_scale);
        free(v_scale);
        free(mean);
    }
    /* with the linear branch, which the official module ran with the H100's blocks */
    if (!strcmp(kind, "sm90")) {
        snprintf(key, sizeof(key), "%s.sagesla.out", topk);
        full = golden_f32(g, key, NULL);
        CHECK(dev->ops->attn_sla(dev, &o, &qkv, &proj) == 0);
        CHECK(td_unpack(dev, out, &o, TD_UNPACK_ACT) == 0);
        if (getenv("TD_VERBOSE"))
            printf("  %s with linear branch: apart %.3e\n", prefix, relative_error(out, full, n));
        CHECK(relative_error(out, full, n) <= theirs);
        golden_apart(g, key, relative_error(out, full, n));
    }
    dev->ops->free(dev, &buf);
    td_weights_free(dev, &weights);
    free(q);
    free(k);
    free(v);
    free(w);
    free(b);
    free(sparse);
    free(full);
    free(out);
    free(ours);
    free(exact);
}

int main(void)
{
    TDLog log = golden_logger();
    TDCancel cancel = { 0 };
    TDCheckpoint *in, *g;
    TDDev *dev = NULL;
    const TDCard *as;

    test_begin("SageSLA: goldens and a device");
    in = golden_open("attention", &log);
    g = golden_open("gpu_attention", &log);
    if (!in || !g || !CHECK(golden_device(&dev, &cancel, &log) == 0))
        return test_end();
    if (golden_backend_as(&as) == TD_BACKEND_CUDA && as && as->sm < 89) {
        test_begin("SageSLA, 128x64 with P V in f16, as before 8.9");
        check_kind(dev, in, g, "0.4", 128, 64, "sm80", "sm89_acc16");        /* of the same blocks */
    } else {
        test_begin("SageSLA, 64x128 as on an H100");
        check_kind(dev, in, g, "0.4", 64, 128, "sm90", "sm90");
        check_kind(dev, in, g, "0.7", 64, 128, "sm90", "sm90");
        test_begin("SageSLA, 128x64 as on other GPUs");
        check_kind(dev, in, g, "0.4", 128, 64, "sm89_acc16", "sm89_acc16");
        check_kind(dev, in, g, "0.7", 128, 64, "sm89_acc16", "sm89_acc16");
    }
    td_checkpoint_close(&in);
    td_checkpoint_close(&g);
    dev->ops->close(&dev);
    return test_end();
}
