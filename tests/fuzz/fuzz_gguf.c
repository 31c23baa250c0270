/* SPDX-License-Identifier: BSD-2-Clause
 * libFuzzer target: a GGUF file. Seeds: tests/fuzz/seeds/gguf. */
#include "fuzz_ckpt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_ckpt(data, size);
    return 0;
}
