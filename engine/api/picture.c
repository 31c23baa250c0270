/* SPDX-License-Identifier: BSD-2-Clause
 * Pictures as a caller brings them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/io.h"
#include "base/wan.h"
#include "picture/image.h"

#define MAX_FILE (256 << 20)                     /* bytes: as many as the largest picture takes at the best quality */

int td_image_load_jpeg(TDImage *out, const char *path, const TDLogger *logger)
{
    TDLog log = { .out = logger ? *logger : (TDLogger){ NULL, NULL, TD_LOG_ERROR } };
    uint8_t *data = NULL;
    size_t size = 0;
    int ret;

    if (!out)
        return TD_ERR(EINVAL);
    *out = (TDImage){ 0 };
    if (!path)
        return td_error(&log, EINVAL, "image: no path");
    ret = td_read_file(&data, &size, path, 1, MAX_FILE, "a JPEG picture", &log);
    if (ret >= 0 && (size < 2 || memcmp(data, "\xff\xd8", 2)))
        ret = td_error(&log, EBADMSG, "%s: Not a JPEG file; the filters turbodiff and turbodiff_i2v of FFmpeg take "
                       "pictures of other formats", path);
    if (ret >= 0)
        ret = td_image_decode(out, data, size, TD_IMAGE_MAX_PIXELS, path, &log);
    free(data);
    return ret;
}

void td_image_free(TDImage *image)
{
    if (!image)
        return;
    free(image->data);
    *image = (TDImage){ 0 };
}

int td_adaptive_size(int *width, int *height, int image_width, int image_height)
{
    double area, shape;
    int w, h;

    if (!width || !height || *width < 1 || *height < 1 || *width > TD_MAX_SIDE || *height > TD_MAX_SIDE ||
        image_width < 1 || image_height < 1)
        return TD_ERR(EINVAL);
    area = (double)*width * *height;
    shape = (double)image_height / image_width;
    if (sqrt(area * shape) > 2 * TD_MAX_SIDE || sqrt(area / shape) > 2 * TD_MAX_SIDE)
        return TD_ERR(EINVAL);
    h = 16 * (int)nearbyint(sqrt(area * shape) / 16);        /* halves to even */
    w = 16 * (int)nearbyint(sqrt(area / shape) / 16);
    if (!td_valid_side(w) || !td_valid_side(h))
        return TD_ERR(EINVAL);
    *width = w;
    *height = h;
    return 0;
}
