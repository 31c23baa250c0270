/* SPDX-License-Identifier: BSD-2-Clause
 * JPEG files as RGB pictures, by libjpeg-turbo with its default (accurate) transform and upsampling.
 *
 * Invariants
 *  1. All bytes of the file are hostile. libjpeg's errors, and those of its warnings that mean missing or damaged data,
 *     leave through longjmp() to decode(); nothing of libjpeg writes to stderr.
 *  2. What is changed between setjmp() and longjmp() and needed after it lives in Reader. */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <jpeglib.h>
#include <jerror.h>
#include "picture/image.h"

#define MAX_SCANS 100                            /* of a progressive file: a bomb has thousands */
#define MAX_WORK  (INT64_C(1) << 31)             /* pixels in all scans: 16 over the largest picture, which has 10 */

typedef struct Reader {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf leave;
    TDLog *log;
    const char *name;
    uint8_t *row;                                /* one line as libjpeg writes it */
    TDImage image;                               /* as stored in the file */
    int orientation;
    int ret;
} Reader;

static void leave(Reader *r, int err, const char *text)
{
    r->ret = td_error(r->log, err, "%s: %s; want a JPEG picture", r->name, text);
    longjmp(r->leave, 1);
}

static void on_error(j_common_ptr cinfo)
{
    char text[JMSG_LENGTH_MAX];

    cinfo->err->format_message(cinfo, text);
    leave(cinfo->client_data, cinfo->err->msg_code == JERR_OUT_OF_MEMORY ? ENOMEM : EBADMSG, text);
}

/* level < 0: a warning */
static void on_message(j_common_ptr cinfo, int level)
{
    switch (cinfo->err->msg_code) {
    case JWRN_JPEG_EOF:
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_BOGUS_PROGRESSION:
    case JWRN_MUST_RESYNC:
        if (level < 0)
            on_error(cinfo);
        break;
    default:                                     /* harmless: stray bytes between segments, odd version numbers */
        break;
    }
}

static void on_progress(j_common_ptr cinfo)
{
    Reader *r = cinfo->client_data;

    int64_t pixels = (int64_t)r->jpeg.image_width * r->jpeg.image_height;

    if (r->jpeg.input_scan_number > MAX_SCANS)
        leave(r, EBADMSG, "more than 100 scans");
    if (r->jpeg.input_scan_number * pixels > MAX_WORK)
        leave(r, ENOTSUP, "too many scans for its size");
}

/* ---- orientation ---- */

static unsigned get16(const uint8_t *p, int big)
{
    return big ? (unsigned)p[0] << 8 | p[1] : (unsigned)p[1] << 8 | p[0];
}

static uint32_t get32(const uint8_t *p, int big)
{
    return big ? (uint32_t)get16(p, 1) << 16 | get16(p + 2, 1) : (uint32_t)get16(p + 2, 0) << 16 | get16(p, 0);
}

/* of an Exif segment: 1..8, or 1 where it is missing or malformed */
static int exif_orientation(const uint8_t *p, size_t n)
{
    size_t at, count;
    int big;

    if (n < 14 || memcmp(p, "Exif\0", 6))
        return 1;
    p += 6;
    n -= 6;
    big = p[0] == 'M';
    if ((memcmp(p, "II", 2) && memcmp(p, "MM", 2)) || get16(p + 2, big) != 42)
        return 1;
    at = get32(p + 4, big);
    if (at > n - 2)
        return 1;
    count = get16(p + at, big);
    for (at += 2; count-- && at + 12 <= n; at += 12)
        if (get16(p + at, big) == 0x112 && get16(p + at + 2, big) == 3) {
            unsigned v = get16(p + at + 8, big);

            return v >= 1 && v <= 8 ? (int)v : 1;
        }
    return 1;
}

static int orientation(const struct jpeg_decompress_struct *jpeg)
{
    for (jpeg_saved_marker_ptr m = jpeg->marker_list; m; m = m->next) {
        int v = m->marker == JPEG_APP0 + 1 ? exif_orientation(m->data, m->data_length) : 1;

        if (v != 1)
            return v;
    }
    return 1;
}

/* turn the picture upright: 5 to 8 are transposed, others mirrored or turned by 180 degrees */
static int turn(TDImage *image, int v, const char *name, TDLog *log)
{
    TDImage out = { .width = v > 4 ? image->height : image->width, .height = v > 4 ? image->width : image->height };
    static const uint8_t flip_x[9] = { 0, 0, 1, 1, 0, 0, 0, 1, 1 }, flip_y[9] = { 0, 0, 0, 1, 1, 0, 1, 1, 0 };

    if (v == 1)
        return 0;
    out.stride = 3 * (ptrdiff_t)out.width;
    out.data = malloc((size_t)out.stride * (size_t)out.height);
    if (!out.data)
        return td_error(log, ENOMEM, "%s: out of memory for %dx%d pixels", name, out.width, out.height);
    for (int y = 0; y < out.height; y++)
        for (int x = 0; x < out.width; x++) {
            int sx = v > 4 ? y : x, sy = v > 4 ? x : y;

            if (flip_x[v])
                sx = image->width - 1 - sx;
            if (flip_y[v])
                sy = image->height - 1 - sy;
            memcpy(out.data + y * out.stride + 3 * x, image->data + sy * image->stride + 3 * sx, 3);
        }
    free(image->data);
    *image = out;
    return 0;
}

/* ---- decoding ---- */

/* Adobe files hold inverted CMYK, which is what all decoders expect: bytes are 255 - ink */
static void rgb_from_cmyk(uint8_t *dst, const uint8_t *src, int n)
{
    for (int i = 0; i < n; i++)
        for (int c = 0; c < 3; c++) {
            int k = src[4 * i + 3], ink = (255 - src[4 * i + c]) * k + 128;

            dst[3 * i + c] = (uint8_t)(k - ((ink + (ink >> 8)) >> 8));
        }
}

static void read_rows(Reader *r)
{
    struct jpeg_decompress_struct *jpeg = &r->jpeg;
    TDImage *image = &r->image;
    int cmyk = jpeg->out_color_space == JCS_CMYK;

    while (jpeg->output_scanline < jpeg->output_height) {
        uint8_t *dst = image->data + (ptrdiff_t)jpeg->output_scanline * image->stride, *line = cmyk ? r->row : dst;

        if (jpeg_read_scanlines(jpeg, &line, 1) == 1 && cmyk)
            rgb_from_cmyk(dst, line, image->width);
    }
}

static void decode(Reader *r, const uint8_t *data, size_t size, int64_t max_pixels)
{
    struct jpeg_decompress_struct *jpeg = &r->jpeg;
    TDImage *image = &r->image;
    char text[100];

    if (setjmp(r->leave))
        return;
    jpeg_create_decompress(jpeg);
    jpeg_mem_src(jpeg, data, (unsigned long)size);
    jpeg_save_markers(jpeg, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(jpeg, TRUE);
    r->orientation = orientation(jpeg);
    if ((int64_t)jpeg->image_width * jpeg->image_height > max_pixels) {
        snprintf(text, sizeof(text), "%ux%u pixels are more than %lld million", jpeg->image_width, jpeg->image_height,
                 (long long)(max_pixels / 1000000));
        leave(r, ENOTSUP, text);
    }
    jpeg->progress = &r->progress;
    jpeg->out_color_space =
        jpeg->jpeg_color_space == JCS_CMYK || jpeg->jpeg_color_space == JCS_YCCK ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(jpeg);
    image->width = (int)jpeg->output_width;
    image->height = (int)jpeg->output_height;
    image->stride = 3 * (ptrdiff_t)image->width;
    image->data = malloc((size_t)image->stride * (size_t)image->height);
    r->row = malloc(4 * (size_t)image->width);
    if (!image->data || !r->row)
        leave(r, ENOMEM, "out of memory");
    read_rows(r);
    jpeg_finish_decompress(jpeg);
    r->ret = 0;
}

int td_image_decode(TDImage *out, const uint8_t *data, size_t size, int64_t max_pixels, const char *name, TDLog *log)
{
    Reader *r = calloc(1, sizeof(*r));
    int ret;

    *out = (TDImage){ 0 };
    if (!r)
        return td_error(log, ENOMEM, "%s: out of memory", name);
    r->log = log;
    r->name = name;
    r->jpeg.err = jpeg_std_error(&r->errors);
    r->jpeg.client_data = r;
    r->errors.error_exit = on_error;
    r->errors.emit_message = on_message;
    r->progress.progress_monitor = on_progress;
    decode(r, data, size, max_pixels);
    ret = r->ret;
    if (ret >= 0)
        ret = turn(&r->image, r->orientation, name, log);
    if (ret >= 0)
        *out = r->image;
    else
        free(r->image.data);
    jpeg_destroy_decompress(&r->jpeg);
    free(r->row);
    free(r);
    return ret;
}
