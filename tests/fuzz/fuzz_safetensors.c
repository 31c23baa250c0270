/* SPDX-License-Identifier: BSD-2-Clause
 * libFuzzer target: a .safetensors file. Seeds: tests/fuzz/seeds/safetensors. */
#include "fuzz_ckpt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_ckpt(data, size, NULL);
    return 0;
}
