/* SPDX-License-Identifier: BSD-2-Clause
 * Memory that runs out while LoRAs are opened and laid onto a model: an error of one line each time, and nothing
 * leaks. */
#include "alloc_fail.h"
#include "files/lora.h"
#include "lora_files.h"

static int n_lines;

static void line(void *cookie, int level, const char *text)
{
    (void)cookie, (void)text;
    n_lines += level == TD_LOG_ERROR;
}

static TDLog lines = { .out = { .callback = line, .level = TD_LOG_WARNING } };

static void run_out(const char *model, const char *text, int change)
{
    int hit = 1, n_hits = 0;

    for (long n = 1; hit; n++) {
        TDCheckpoint *c = NULL;
        TDLora *lora = NULL;
        int ret;

        n_lines = 0;
        if (!CHECK_INT(td_checkpoint_open(&c, model, &lines), 0))
            return;
        alloc_fail_begin(n);
        ret = td_lora_open(&lora, text, "lora", &lines);
        if (ret >= 0)
            ret = td_lora_apply(lora, c, change, 0, &lines);
        hit = alloc_fail_end();
        n_hits += hit;
        td_lora_free(&lora);
        if (!CHECK_INT(ret, hit ? TD_ERR(ENOMEM) : 0) || !CHECK_INT(n_lines, hit)) {
            printf("  allocation %ld: %s\n", n, lines.last_error);
            hit = 0;
        }
        td_checkpoint_close(&c);
        if (!CHECK_INT(alloc_fail_leak(), 0))
            break;
    }
    CHECK(n_hits > 20);
}

int main(void)
{
    static const char metadata[] = "{\"lora_adapter_metadata\":\"{\\\"r\\\":2,\\\"lora_alpha\\\":3,"
                                   "\\\"alpha_pattern\\\":{\\\"x\\\":1}}\"}";
    char own[256], model[600], path[256], text[600];
    Form f = { 0 };

    if (small_model_make("own", "--ffn=256 --only=dit --dit=both") < 0)
        return 1;
    free(lora_tensor(&f, "blocks.0.ffn.0.lora_A.weight", TD_F32, 2, 128, 1));
    free(lora_tensor(&f, "blocks.0.ffn.0.lora_B.weight", TD_F32, 256, 2, 1));
    free(lora_tensor(&f, "blocks.0.ffn.0.diff_b", TD_F32, 256, 1, 1));
    form_write(&f, small_path(path, "lora.safetensors"), metadata);
    test_begin("beside int8");
    snprintf(model, sizeof(model), "%s/TurboWan2.1-T2V-1.3B-480P-quant.safetensors", small_path(own, "own"));
    run_out(model, path, 0);
    test_begin("changes, with DoRA by columns, and two files");
    free(lora_tensor(&f, "blocks.0.ffn.0.dora_scale", TD_F32, 1, 128, 1));
    form_write(&f, path, metadata);
    snprintf(model, sizeof(model), "%s/" LORA_DIT, own);
    snprintf(text, sizeof(text), "%s|%s*0.5", path, path);
    run_out(model, text, 1);
    form_free(&f);
    small_model_remove();
    return test_end();
}
