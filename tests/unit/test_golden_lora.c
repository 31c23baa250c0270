/* SPDX-License-Identifier: BSD-2-Clause
 * LoRAs as diffusers and peft wrote them, and the weights that these made of theirs (tools/golden/lora_golden.py). */
#include <stdlib.h>
#include "files/lora.h"
#include "forms.h"

static const struct { const char *name; double strength; int metadata; } cases[] = {
    { "patterns", 0.75, 1 }, { "rslora", 0.75, 1 }, { "dora", 1, 1 }, { "loha", 1, 0 }, { "lokr", 1, 0 },
};

/* the tensors PREFIX.NAME of the golden file as a file. metadata: CASE.metadata, escaped, goes into the header */
static int extract(const TDCheckpoint *golden, const char *prefix, const TDEntry *metadata, const char *path)
{
    size_t n = strlen(prefix), at;
    char json[8192];
    const TDEntry *e;
    Form f = { 0 };
    int ret;

    for (int i = 0; (e = td_checkpoint_entry(golden, i)); i++)
        if (!strncmp(e->name, prefix, n))
            form_add(&f, e->name + n, e->dtype, e->n_dims, e->shape, e->data);
    at = (size_t)snprintf(json, sizeof(json), "{\"lora_adapter_metadata\":\"");
    for (int64_t i = 0; metadata && i < td_entry_count(metadata); i++) {
        char c = (char)metadata->data[i];

        if (c == '\n')
            continue;
        if (c == '"' || c == '\\')
            json[at++] = '\\';
        json[at++] = c;
    }
    snprintf(json + at, sizeof(json) - at, "\"}");
    ret = CHECK(f.n > 0) ? form_write(&f, path, metadata ? json : NULL) : -1;
    form_free(&f);
    return ret;
}

static void check_case(const TDCheckpoint *golden, const char *base, size_t i, TDLog *log)
{
    char path[256], text[300], prefix[64], name[300];
    TDCheckpoint *c = NULL;
    TDLora *lora = NULL;
    const TDEntry *e, *w;
    int n = 0;

    test_begin(cases[i].name);
    snprintf(name, sizeof(name), "%s.metadata", cases[i].name);
    snprintf(prefix, sizeof(prefix), "%s.file.", cases[i].name);
    if (extract(golden, prefix, td_checkpoint_find(golden, name), small_path(path, "lora.safetensors")) < 0)
        return;
    CHECK_INT(td_checkpoint_find(golden, name) != NULL, cases[i].metadata);
    snprintf(text, sizeof(text), "%s*%g", path, cases[i].strength);
    CHECK_INT(td_checkpoint_open(&c, base, log), 0);
    if (CHECK_INT(td_lora_open(&lora, text, "lora", log), 0))
        CHECK_INT(td_lora_apply(lora, c, 1, 0, log), 0);
    snprintf(prefix, sizeof(prefix), "%s.merged.", cases[i].name);
    for (int k = 0; (e = td_checkpoint_entry(golden, k)); k++) {
        double most = 0, size = 0, moved = 0;
        float got[1024], want[1024], was[1024];
        TDEntry plain;

        if (strncmp(e->name, prefix, strlen(prefix)) != 0)
            continue;
        /* the base's names have become the official ones, in the same order */
        w = td_checkpoint_entry(c, n++);
        if (!CHECK(w && td_entry_count(w) == td_entry_count(e) && td_entry_count(e) <= 1024))
            break;
        plain = *w;
        plain.change = NULL;
        CHECK_INT(td_entry_to_f32(w, got), 0);
        CHECK_INT(td_entry_to_f32(&plain, was), 0);
        CHECK_INT(td_entry_to_f32(e, want), 0);
        for (int64_t j = 0; j < td_entry_count(e); j++) {
            most = fmax(most, fabs((double)got[j] - want[j]));
            size = fmax(size, fabs((double)want[j]));
            moved = fmax(moved, fabs((double)was[j] - want[j]));
        }
        if (!CHECK(most <= 1e-6 * size && moved > 0.1 * size))
            printf("  %s: %g away, of values up to %g, which moved by %g\n", e->name, most, size, moved);
        if (getenv("TD_VERBOSE"))
            printf("  %s: %g of the largest value\n", e->name, most / size);
    }
    CHECK_INT(n, 8);
    td_checkpoint_close(&c);
    td_lora_free(&lora);
}

int main(void)
{
    Seen seen = { 0 };
    TDLog log = { .out = { &seen, on_line, TD_LOG_WARNING } };
    TDCheckpoint *golden = NULL;
    char base[256];

    if (!mkdtemp(small_dir) || !CHECK_INT(td_checkpoint_open(&golden, "tests/golden/lora.safetensors", &log), 0))
        return 1;
    test_begin("the base's weights");
    CHECK_INT(extract(golden, "base.", NULL, small_path(base, "base.safetensors")), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        check_case(golden, base, i, &log);
    CHECK_STR(seen.error, "");
    td_checkpoint_close(&golden);
    small_model_remove();
    return test_end();
}
