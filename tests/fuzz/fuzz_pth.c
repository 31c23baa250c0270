/* SPDX-License-Identifier: BSD-2-Clause
 * libFuzzer target: a .pth file. Seeds: tests/fuzz/seeds/pth; dictionary: pth.dict. */
#include "fuzz_ckpt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_ckpt(data, size, NULL);
    return 0;
}
