/* SPDX-License-Identifier: BSD-2-Clause
 * Pictures as input: the resize against torchvision, JPEG files against Pillow (both to the last bit), and what must be
 * refused. */
#include <stdlib.h>
#include <stdio.h>
#include <jpeglib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "golden.h"
#include "picture/image.h"

typedef struct Lines { int n; char last[512]; } Lines;

static void on_log(void *cookie, int level, const char *line)
{
    Lines *l = cookie;

    l->n += level == TD_LOG_ERROR;
    snprintf(l->last, sizeof(l->last), "%s", line);
}

static int equal_bytes(const TDEntry *want, const uint8_t *got, ptrdiff_t stride, int w, int h)
{
    int n_off = 0, worst = 0;

    if (!CHECK_INT(want->shape[0], h) || !CHECK_INT(want->shape[1], w))
        return 0;
    for (int y = 0; y < h; y++)
        for (int i = 0; i < 3 * w; i++) {
            int d = abs(want->data[(int64_t)y * 3 * w + i] - got[y * stride + i]);

            n_off += d != 0;
            worst = d > worst ? d : worst;
        }
    if (n_off)
        printf("  %s: %d of %d bytes differ, by up to %d\n", want->name, n_off, 3 * w * h, worst);
    return CHECK_INT(n_off, 0);
}

static void test_resize(const TDCheckpoint *g, TDLog *log)
{
    const TDEntry *src = td_checkpoint_find(g, "noise");
    uint8_t *wide, *dst;
    TDImage image;
    int n = 0, w = (int)src->shape[1], h = (int)src->shape[0];

    wide = malloc((size_t)h * (size_t)(3 * w + 5));          /* rows with a gap */
    for (int y = 0; y < h; y++)
        memcpy(wide + y * (3 * w + 5), src->data + y * 3 * w, 3 * (size_t)w);
    image = (TDImage){ w, h, 3 * w + 5, wide };
    for (int i = 0; i < td_checkpoint_count(g); i++) {
        const TDEntry *e = td_checkpoint_entry(g, i);

        if (strncmp(e->name, "resize.", 7))
            continue;
        dst = malloc((size_t)td_entry_count(e));
        CHECK_INT(td_image_resize(dst, (int)e->shape[1], (int)e->shape[0], &image, log), 0);
        equal_bytes(e, dst, 3 * (ptrdiff_t)e->shape[1], (int)e->shape[1], (int)e->shape[0]);
        free(dst);
        n++;
    }
    CHECK_INT(n, 8);
    free(wide);
}

static void test_jpeg(const TDCheckpoint *g, TDLog *log)
{
    int n = 0;

    for (int i = 0; i < td_checkpoint_count(g); i++) {
        const TDEntry *e = td_checkpoint_entry(g, i), *want;
        char name[64];
        TDImage image;

        if (strncmp(e->name, "jpeg.", 5))
            continue;
        snprintf(name, sizeof(name), "pixels.%s", e->name + 5);
        want = td_checkpoint_find(g, name);
        if (CHECK_INT(td_image_decode(&image, e->data, (size_t)td_entry_count(e), 1 << 20, name, log), 0))
            equal_bytes(want, image.data, image.stride, image.width, image.height);
        td_image_free(&image);
        n++;
    }
    CHECK_INT(n, 12);
}

/* every shorter file, and every file with a byte that is another */
static void test_damaged(const TDCheckpoint *g, const char *name, TDLog *log, Lines *lines)
{
    const TDEntry *e = td_checkpoint_find(g, name);
    size_t n = (size_t)td_entry_count(e), n_refused = 0;
    TDImage image;

    for (size_t k = 0; k < n - 2; k++) {         /* without its last two bytes, the end marker, all pixels are there */
        uint8_t *cut = malloc(k + 1);            /* its own block: a read past the end is seen */

        memcpy(cut, e->data, k);
        lines->n = 0;
        if (td_image_decode(&image, cut, k, 1 << 20, "cut.jpg", log) >= 0 || lines->n != 1)
            n_refused += n;
        CHECK(image.data == NULL);
        free(cut);
    }
    CHECK_INT(n_refused, 0);
    for (size_t k = 0; k < n; k++) {
        uint8_t *bad = malloc(n);

        memcpy(bad, e->data, n);
        bad[k] ^= (uint8_t)(1 + k * 7 % 255);
        lines->n = 0;
        if (td_image_decode(&image, bad, n, 1 << 20, "bad.jpg", log) < 0) {
            n_refused++;
            CHECK_INT(lines->n, 1);
        }
        td_image_free(&image);
        free(bad);
    }
    CHECK(n_refused > 20);
}

/* a grey progressive file of n scans: one of the first coefficient, then one of each other coefficient, again for each
 * bit. @return its size */
static size_t write_scans(uint8_t **file, int n, int side)
{
    jpeg_scan_info scans[1 + 63 * 8];
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr errors;
    unsigned long size = 0;
    JSAMPLE row[4096];
    JSAMPROW rows[1] = { row };

    scans[0] = (jpeg_scan_info){ 1, { 0 }, 0, 0, 0, 0 };
    for (int i = 0; i + 1 < n; i++)
        scans[1 + i] = (jpeg_scan_info){ 1, { 0 }, 1 + i % 63, 1 + i % 63, i < 63 ? 0 : 8 - i / 63, 7 - i / 63 };
    c.err = jpeg_std_error(&errors);
    jpeg_create_compress(&c);
    *file = NULL;
    jpeg_mem_dest(&c, file, &size);
    c.image_width = c.image_height = (unsigned)side;
    c.input_components = 1;
    c.in_color_space = JCS_GRAYSCALE;
    jpeg_set_defaults(&c);
    c.scan_info = scans;
    c.num_scans = n;
    jpeg_start_compress(&c, TRUE);
    for (int y = 0; y < side; y++) {
        for (int x = 0; x < side; x++)
            row[x] = (JSAMPLE)(x * y * 31 / 7);
        jpeg_write_scanlines(&c, rows, 1);
    }
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    return size;
}

static void test_scans(TDLog *log, Lines *lines)
{
    static const struct { int n, side, code; const char *words; } k[] = {
        { 2, 16, 0, "" }, { 100, 16, 0, "" }, { 101, 16, TD_ERR(EBADMSG), "more than 100 scans" },
        { 400, 16, TD_ERR(EBADMSG), "more than 100 scans" },
    };

    for (size_t i = 0; i < sizeof(k) / sizeof(*k); i++) {
        uint8_t *file;
        size_t size = write_scans(&file, k[i].n, k[i].side);
        TDImage image;

        lines->n = 0;
        lines->last[0] = 0;
        CHECK_INT(td_image_decode(&image, file, size, 1 << 30, "scans.jpg", log), k[i].code);
        CHECK_INT(lines->n, k[i].code < 0);
        if (!CHECK(strstr(lines->last, k[i].words) != NULL))
            printf("  line: %s\n", lines->last);
        td_image_free(&image);
        free(file);
    }
}

/* bytes of a JPEG file */
typedef struct Bytes { uint8_t data[6000]; size_t n; } Bytes;

static void put_bytes(Bytes *b, const void *p, size_t n)
{
    if (CHECK(b->n + n <= sizeof(b->data))) {
        memcpy(b->data + b->n, p, n);
        b->n += n;
    }
}

/* one coefficient of the second component, of one more bit: all zeros, each a bit of the first coefficient's, else one
 * end of all blocks with 14 bits of their number behind it */
static void put_scan(Bytes *b, int coefficient, int high, int low, int n_blocks)
{
    const uint8_t scan[] = { 0xff, 0xda, 0, 8, 1, 2, 0, (uint8_t)coefficient, (uint8_t)coefficient,
                             (uint8_t)(high << 4 | low) };
    int run = n_blocks - (1 << 14);
    const uint8_t end[] = { (uint8_t)(run >> 7), (uint8_t)(run << 1 | 1) };
    static const uint8_t zeros[3000];

    put_bytes(b, scan, sizeof(scan));
    if (coefficient)
        put_bytes(b, end, sizeof(end));
    else
        put_bytes(b, zeros, (size_t)(n_blocks + 7) / 8);
}

/* 100 scans of a square picture: its first component is 16 times as large as the others, and in none of them */
static void test_work(TDLog *log, Lines *lines)
{
    static const struct { int side, code; const char *words; } k[] = {
        { 4634, TD_ERR(EBADMSG), "Premature end of JPEG file" },         /* 2^31 - 88,048 pixels, and no end of file */
        { 4635, TD_ERR(ENOTSUP), "too many scans for its size" },
    };

    for (size_t i = 0; i < sizeof(k) / sizeof(*k); i++) {
        int side = k[i].side, blocks = (side + 31) / 32;
        const uint8_t frame[] = { 0xff, 0xd8, 0xff, 0xc2, 0, 17, 8, (uint8_t)(side >> 8), (uint8_t)side,
                                  (uint8_t)(side >> 8), (uint8_t)side, 3, 1, 0x44, 0, 2, 0x11, 0, 3, 0x11, 0 };
        static const uint8_t factors[69] = { 0xff, 0xdb, 0, 67, 0 };
        static const uint8_t codes[] = {         /* one of each kind, of one bit */
            0xff, 0xc4, 0, 20, 0,    1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            0xff, 0xc4, 0, 20, 0x10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xe0,
        };
        Bytes b = { .n = 0 };
        TDImage image;

        put_bytes(&b, frame, sizeof(frame));
        put_bytes(&b, factors, sizeof(factors));
        put_bytes(&b, codes, sizeof(codes));
        put_scan(&b, 0, 0, 0, blocks * blocks);
        for (int c = 0; c < 99; c++)
            put_scan(&b, 1 + c % 63, c < 63 ? 0 : 1, c < 63 ? 1 : 0, blocks * blocks);
        lines->n = 0;
        lines->last[0] = 0;
        CHECK_INT(td_image_decode(&image, b.data, b.n, 1 << 30, "work.jpg", log), k[i].code);
        CHECK_INT(lines->n, 1);
        if (!CHECK(strstr(lines->last, k[i].words) != NULL))
            printf("  line: %s\n", lines->last);
        td_image_free(&image);
    }
}

static void write_file(const char *path, const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");

    CHECK(f != NULL && fwrite(data, 1, n, f) == n);
    if (f)
        fclose(f);
}

static void test_files(const TDCheckpoint *g, Lines *lines)
{
    static const struct { const char *name; int code; const char *words; } wrong[] = {
        { "none.jpg", TD_ERR(ENOENT), "no such file, want a JPEG picture" },
        { "", TD_ERR(EBADMSG), "no regular file" },
        { "empty.jpg", TD_ERR(EBADMSG), "0 bytes, want a JPEG picture of 1 to 268435456" },
        { "text.jpg", TD_ERR(EBADMSG), "Not a JPEG file" },
        { "giant.jpg", TD_ERR(ENOTSUP), "17179869184 bytes, want a JPEG picture of 1 to 268435456" },
        { "pipe.jpg", TD_ERR(EBADMSG), "no regular file" },
    };
    const TDEntry *e = td_checkpoint_find(g, "jpeg.plain");
    TDLogger logger = { lines, on_log, TD_LOG_ERROR };
    char dir[] = "/tmp/td_image_XXXXXX", path[64];
    TDImage image;
    TDLog log = { .out = logger };

    if (!CHECK(mkdtemp(dir) != NULL))
        return;
    snprintf(path, sizeof(path), "%s/empty.jpg", dir);
    write_file(path, "", 0);
    snprintf(path, sizeof(path), "%s/text.jpg", dir);
    write_file(path, "no picture", 10);
    snprintf(path, sizeof(path), "%s/giant.jpg", dir);
    write_file(path, "\xff\xd8\xff", 3);
    CHECK_INT(truncate(path, (off_t)16 << 30), 0);
    snprintf(path, sizeof(path), "%s/pipe.jpg", dir);
    CHECK_INT(mkfifo(path, 0600), 0);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, wrong[i].name);
        lines->n = 0;
        CHECK_INT(td_image_load_jpeg(&image, path, &logger), wrong[i].code);
        CHECK_INT(lines->n, 1);
        if (!CHECK(strstr(lines->last, wrong[i].words) && strstr(lines->last, path)))
            printf("  line: %s\n", lines->last);
        CHECK(image.data == NULL);
    }
    CHECK_INT(td_image_load_jpeg(&image, "/proc/self/cmdline", &logger), TD_ERR(EBADMSG));
    CHECK_INT(td_image_load_jpeg(&image, path, NULL), TD_ERR(EBADMSG));     /* silent */
    CHECK_INT(td_image_load_jpeg(&image, NULL, &logger), TD_ERR(EINVAL));
    CHECK_INT(td_image_load_jpeg(NULL, path, &logger), TD_ERR(EINVAL));
    snprintf(path, sizeof(path), "%s/good.jpg", dir);
    write_file(path, e->data, (size_t)td_entry_count(e));
    CHECK_INT(td_image_load_jpeg(&image, path, &logger), 0);
    equal_bytes(td_checkpoint_find(g, "pixels.plain"), image.data, image.stride, image.width, image.height);
    td_image_free(&image);
    CHECK(image.data == NULL);
    td_image_free(NULL);
    CHECK_INT(td_image_decode(&image, e->data, (size_t)td_entry_count(e), 38 * 54, path, &log), 0);
    td_image_free(&image);
    CHECK_INT(td_image_decode(&image, e->data, (size_t)td_entry_count(e), 38 * 54 - 1, path, &log), TD_ERR(ENOTSUP));
    for (size_t i = 2; i < sizeof(wrong) / sizeof(*wrong); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, wrong[i].name);
        unlink(path);
    }
    snprintf(path, sizeof(path), "%s/good.jpg", dir);
    unlink(path);
    CHECK_INT(rmdir(dir), 0);
}

int main(void)
{
    Lines lines = { 0 };
    TDLog loud = golden_logger(), quiet = { .out = { &lines, on_log, TD_LOG_WARNING } };
    TDCheckpoint *g;

    test_begin("resize as torchvision");
    if (!(g = golden_open("image", &loud)))
        return test_end();
    test_resize(g, &loud);
    test_begin("JPEG as Pillow");
    test_jpeg(g, &loud);
    test_begin("JPEG: cut short or damaged");
    test_damaged(g, "jpeg.plain", &quiet, &lines);
    test_damaged(g, "jpeg.progressive", &quiet, &lines);
    test_damaged(g, "jpeg.turned.6", &quiet, &lines);
    test_begin("JPEG: 100 scans, and no more");
    test_scans(&quiet, &lines);
    test_begin("JPEG: 2^31 pixels in all scans, and no more");
    test_work(&quiet, &lines);
    test_begin("JPEG: files");
    test_files(g, &lines);
    td_checkpoint_close(&g);
    return test_end();
}
