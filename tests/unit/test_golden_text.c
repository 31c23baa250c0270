/* SPDX-License-Identifier: BSD-2-Clause
 * umT5 encoder against the official one. */
#include "golden.h"
#include "nets/text_encoder.h"
#include "base/thread.h"
#include "text/tokenizer.h"

static void check_prompt(TDDev *dev, const TDTextEncoder *te, const TDCheckpoint *g, int i)
{
    char key[64];
    int64_t n = 0, total = TD_TEXT_LEN * te->dim;
    float *ids, *out = malloc((size_t)total * sizeof(*out));
    int32_t id[TD_TEXT_LEN];
    TDTextClip clip;
    TDTensor emb;
    TDBuf buf = { 0 };
    TDArena a;

    snprintf(key, sizeof(key), "ids.%d", i);
    if (!(ids = golden_f32(g, key, &n)))
        goto end;
    for (int64_t k = 0; k < n; k++)
        id[k] = (int32_t)ids[k];
    td_arena_init(&a, NULL, 0, dev->log);
    TD_CARVE(&a, &emb, TD_BF16, TD_TEXT_LEN, te->dim);
    td_text_plan(&clip, te, &a, n);
    if (!CHECK(dev->ops->alloc(dev, &buf, a.peak, "a test") == 0))
        goto end;
    td_arena_init(&a, buf.ptr, buf.bytes, dev->log);
    TD_CARVE(&a, &emb, TD_BF16, TD_TEXT_LEN, te->dim);
    td_text_plan(&clip, te, &a, n);
    CHECK(td_text_begin(te, &clip, id, n) == 0);
    for (int b = 0; b < te->n_blocks; b++)
        CHECK(td_text_block(te, &clip, b) == 0);
    CHECK(td_text_end(te, &clip, &emb) == 0);
    CHECK(td_unpack(dev, out, &emb, TD_UNPACK_TENSOR) == 0);
    snprintf(key, sizeof(key), "emb.%d", i);
    golden_check(g, key, out, n * te->dim);
    for (int64_t k = n * te->dim; k < total; k++)
        if (out[k] != 0.0f) {
            CHECK(!"rows past the prompt are zero");
            break;
        }
end:
    free(ids);
    free(out);
    dev->ops->free(dev, &buf);
}

int main(void)
{
    char path[512];
    TDLog log = golden_logger();
    TDCancel cancel = { 0 };
    TDCheckpoint *g, *ckpt = NULL;
    TDTextEncoder *te = NULL;
    TDDev *dev = NULL;

    test_begin("umT5 encoder");
    g = golden_open("umt5", &log);
    CHECK(golden_device(&dev, &cancel, &log) == 0);
    if (CHECK(td_checkpoint_open(&ckpt,
                                 golden_path(path, "TD_MODELS", "build/models", "tiny/models_t5_umt5-xxl-enc-bf16.pth"),
                                 &log) == 0) &&
        CHECK(td_text_bind(&te, dev, ckpt, 0) == 0)) {
        check_prompt(dev, te, g, 0);
        check_prompt(dev, te, g, 1);
    }
    td_text_free(&te);
    td_checkpoint_close(&ckpt);
    td_checkpoint_close(&g);
    dev->ops->close(&dev);
    return test_end();
}
