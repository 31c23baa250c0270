/* SPDX-License-Identifier: BSD-2-Clause
 * libFuzzer target: a LoRA file, laid onto a model of a few small tensors, which are then read. Seeds:
 * tests/fuzz/seeds/lora. */
#include "files/lora.h"
#include "fuzz_ckpt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char header[] =
    "{\"blocks.0.self_attn.q.weight\":{\"dtype\":\"BF16\",\"shape\":[4,6],\"data_offsets\":[0,48]},"
    "\"blocks.0.self_attn.q.bias\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[48,64]},"
    "\"blocks.0.ffn.0.int8_weight\":{\"dtype\":\"I8\",\"shape\":[4,6],\"data_offsets\":[64,88]},"
    "\"blocks.0.ffn.0.scale\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[88,92]},"
    "\"blocks.0.ffn.0.bias\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[92,108]},"
    "\"blocks.0.norm3.weight\":{\"dtype\":\"F16\",\"shape\":[6],\"data_offsets\":[108,120]},"
    "\"blocks.0.modulation\":{\"dtype\":\"F32\",\"shape\":[1,6,2],\"data_offsets\":[120,168]},"
    "\"patch_embedding.weight\":{\"dtype\":\"F8_E4M3\",\"shape\":[4,2,1,2,2],\"data_offsets\":[168,200]}}";

enum { VALUES = 200 };

static TDCheckpoint *parse(const char *name, const uint8_t *data, size_t size, TDLog *log)
{
    TDCheckpoint *c = calloc(1, sizeof(*c));

    if (!c || !(c->path = malloc(64)))
        abort();
    strcpy(c->path, name);
    if (size && td_ckpt_parse(c, (TDMapping){ data, size }, log) >= 0)
        return c;
    td_checkpoint_close(&c);
    return NULL;
}

/* one way of using it: as the second transformer's, or with the changes made */
static void apply(const uint8_t *model, size_t model_size, const uint8_t *data, size_t size, int change, int low)
{
    TDLog log = { 0 };
    TDLora *lora = calloc(1, sizeof(*lora));
    TDCheckpoint *file = parse("/nonexistent/adapter_model.safetensors", data, size, &log), *base;
    const TDEntry *e;
    float row[64];

    if (!file || !lora) {
        free(lora);
        return;
    }
    log.last_error[0] = 0;
    base = parse("/nonexistent/model", model, model_size, &log);
    if (!base || td_lora_add(lora, file, 0.5f, &log) < 0)
        abort();
    if (td_lora_apply(lora, base, change, low, &log) < 0 && !log.last_error[0])
        abort();
    for (int i = 0; (e = td_checkpoint_entry(base, i)); i++)
        td_entry_to_f32(e, row);
    for (int i = 0; i < lora->n_sides; i++) {
        td_plane_row(row, &lora->sides[i].down, lora->sides[i].down.rows - 1, 0, lora->sides[i].down.cols);
        td_plane_row(row, &lora->sides[i].up, lora->sides[i].up.rows - 1, 0, 1);
    }
    if (!change && lora->n_changed)
        abort();
    td_checkpoint_close(&base);
    td_lora_free(&lora);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t n = sizeof(header) - 1;
    size_t model_size = 8 + sizeof(header) - 1 + VALUES;
    uint8_t *model = malloc(model_size);

    if (!model)
        abort();
    for (int i = 0; i < 8; i++)
        model[i] = (uint8_t)(n >> 8 * i);
    memcpy(model + 8, header, sizeof(header) - 1);
    memset(model + 8 + n, 0x3c, VALUES);
    apply(model, model_size, data, size, 1, 0);
    apply(model, model_size, data, size, 0, 1);
    free(model);
    return 0;
}
