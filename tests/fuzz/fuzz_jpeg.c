/* SPDX-License-Identifier: BSD-2-Clause
 * libFuzzer target: a JPEG file, then its picture resized. Seeds: tests/fuzz/seeds/jpeg. */
#include <stdlib.h>
#include <string.h>
#include "picture/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t small[48 * 32 * 3];
    uint8_t *file = malloc(size + 1);            /* a block of its own: a read past the end is seen */
    TDLog log = { 0 };
    TDImage image;
    int ret;

    if (!file)
        abort();
    memcpy(file, data, size);
    ret = td_image_decode(&image, file, size, 1 << 18, "input", &log);
    if (ret >= 0 && td_image_resize(small, 48, 32, &image, &log) < 0)
        abort();
    if (ret < 0 && (image.data || !log.last_error[0]))
        abort();
    td_image_free(&image);
    free(file);
    return 0;
}
