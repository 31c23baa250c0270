/* SPDX-License-Identifier: BSD-2-Clause
 * Zip directory reader for .pth files.
 * 1. Sizes come from the central directory (local ones may be 0, in a data descriptor instead); where the data begin
 *    comes from the local header, whose extra field holds the alignment padding and is absent from the central one.
 * 2. Entries lie before the central directory and do not overlap; names are unique.
 * 3. CRCs are not read: torch can leave them 0, and reading them would touch every page of the file. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "files/ckpt_zip.h"

#define EOCD_SIZE          22
#define EOCD64_SIZE        56
#define EOCD64_LOCATOR     20
#define CENTRAL_SIZE       46
#define LOCAL_SIZE         30
#define MAX_ZIP_ENTRIES    (1u << 20)
#define MAX_NAME           1024                  /* torch writes short ones */
#define EXTRA_ZIP64        0x0001
#define FLAG_ENCRYPTED     0x0001

static const uint8_t sig_local[4]   = { 'P', 'K', 3, 4 };
static const uint8_t sig_central[4] = { 'P', 'K', 1, 2 };
static const uint8_t sig_eocd[4]    = { 'P', 'K', 5, 6 };
static const uint8_t sig_eocd64[4]  = { 'P', 'K', 6, 6 };
static const uint8_t sig_locator[4] = { 'P', 'K', 6, 7 };

typedef struct Directory {
    uint64_t offset, size, n_entries;
} Directory;

static int find_directory(Directory *dir, const char *label, TDMapping map, TDLog *log)
{
    const uint8_t *p = NULL, *d = map.data;
    size_t pos = 0;
    uint16_t disk;

    for (size_t back = EOCD_SIZE; back <= map.size && back <= EOCD_SIZE + 0xffff; back++) {
        pos = map.size - back;
        if (!memcmp(d + pos, sig_eocd, 4) && td_rl16(d + pos + 20) == back - EOCD_SIZE) {
            p = d + pos;
            break;
        }
    }
    if (!p)
        return td_error(log, EBADMSG, "%s: no end of zip directory in its %zu bytes: truncated or damaged", label,
                        map.size);
    disk = td_rl16(p + 4) | td_rl16(p + 6);
    *dir = (Directory){ .n_entries = td_rl16(p + 10), .size = td_rl32(p + 12), .offset = td_rl32(p + 16) };
    if (pos >= EOCD64_LOCATOR && !memcmp(p - EOCD64_LOCATOR, sig_locator, 4)) {
        uint64_t at = td_rl64(p - EOCD64_LOCATOR + 8);

        if (pos < EOCD64_LOCATOR + EOCD64_SIZE || at > pos - EOCD64_LOCATOR - EOCD64_SIZE ||
            memcmp(d + at, sig_eocd64, 4))
            return td_error(log, EBADMSG, "%s: zip64 end of directory is not at byte %llu", label,
                            (unsigned long long)at);
        disk = td_rl32(d + at + 16) || td_rl32(d + at + 20);
        *dir = (Directory){ .n_entries = td_rl64(d + at + 32), .size = td_rl64(d + at + 40),
                            .offset = td_rl64(d + at + 48) };
        pos  = (size_t)at;
    }
    if (disk)
        return td_error(log, ENOTSUP, "%s: zip archive split over several files", label);
    if (dir->offset > pos || dir->size > pos - dir->offset)
        return td_error(log, EBADMSG, "%s: zip directory at byte %llu, %llu bytes, is not inside the file's %zu", label,
                        (unsigned long long)dir->offset, (unsigned long long)dir->size, map.size);
    if (dir->n_entries > MAX_ZIP_ENTRIES || dir->n_entries > dir->size / CENTRAL_SIZE || !dir->n_entries)
        return td_error(log, EBADMSG, "%s: zip directory of %llu bytes names %llu entries, want 1 to %u, of %d bytes "
                        "or more", label, (unsigned long long)dir->size, (unsigned long long)dir->n_entries,
                        MAX_ZIP_ENTRIES, CENTRAL_SIZE);
    return 0;
}

/* The zip64 extra field holds just those of (usize, csize, offset) whose 32-bit field is all ones, in this order. */
static int read_zip64_extra(const uint8_t *p, size_t len, uint64_t field[3])
{
    const uint8_t *end = p + len, *stop;
    int want = 0;

    for (int i = 0; i < 3; i++)
        want += field[i] == 0xffffffff;
    for (; want && end - p >= 4; p = stop) {
        if (td_rl16(p + 2) > end - p - 4)
            return -1;
        stop = p + 4 + td_rl16(p + 2);
        if (td_rl16(p) != EXTRA_ZIP64)
            continue;
        p += 4;
        for (int i = 0; i < 3; i++)
            if (field[i] == 0xffffffff) {
                if (stop - p < 8)
                    return -1;
                field[i] = td_rl64(p);
                p += 8;
            }
        want = 0;
    }
    return want ? -1 : 0;
}

static int read_entry(TDZipEntry *e, const char *label, const uint8_t *c, size_t left, size_t *used, TDMapping map,
                      const Directory *dir, TDLog *log)
{
    size_t name_len, extra_len, comment_len;
    uint64_t field[3], begin;                    /* usize, csize, offset */
    const uint8_t *local;
    char q[TD_QUOTE_MAX];

    if (left < CENTRAL_SIZE || memcmp(c, sig_central, 4))
        return td_error(log, EBADMSG, "%s: zip directory is damaged", label);
    name_len    = td_rl16(c + 28);
    extra_len   = td_rl16(c + 30);
    comment_len = td_rl16(c + 32);
    *used = CENTRAL_SIZE + name_len + extra_len + comment_len;
    if (*used > left)
        return td_error(log, EBADMSG, "%s: zip directory is damaged", label);
    if (name_len > MAX_NAME)
        return td_error(log, EBADMSG, "%s: zip entry '%s' has a name of %zu bytes, want at most %d", label,
                        td_ckpt_quote(q, c + CENTRAL_SIZE, name_len), name_len, MAX_NAME);
    *e = (TDZipEntry){ .name = c + CENTRAL_SIZE, .name_len = name_len };
    td_ckpt_quote(q, e->name, name_len);
    field[0] = td_rl32(c + 24);
    field[1] = td_rl32(c + 20);
    field[2] = td_rl32(c + 42);
    if (read_zip64_extra(c + CENTRAL_SIZE + name_len, extra_len, field) < 0)
        return td_error(log, EBADMSG, "%s: zip entry '%s': zip64 sizes are missing", label, q);
    if (td_rl16(c + 8) & FLAG_ENCRYPTED)
        return td_error(log, ENOTSUP, "%s: zip entry '%s' is encrypted", label, q);
    if (td_rl16(c + 10))
        return td_error(log, ENOTSUP, "%s: zip entry '%s': compression method %d, want 0 (stored)", label, q,
                        td_rl16(c + 10));
    if (field[0] != field[1])
        return td_error(log, EBADMSG, "%s: zip entry '%s': stored in %llu bytes, want %llu", label, q,
                        (unsigned long long)field[1], (unsigned long long)field[0]);
    e->start = field[2];
    if (e->start > dir->offset || dir->offset - e->start < LOCAL_SIZE)
        return td_error(log, EBADMSG, "%s: zip entry '%s' at byte %llu is past the data", label, q,
                        (unsigned long long)e->start);
    local = map.data + e->start;
    if (memcmp(local, sig_local, 4))
        return td_error(log, EBADMSG, "%s: zip entry '%s': no local header at byte %llu", label, q,
                        (unsigned long long)e->start);
    begin = e->start + LOCAL_SIZE + td_rl16(local + 26) + td_rl16(local + 28);
    if (begin > dir->offset || field[0] > dir->offset - begin)
        return td_error(log, EBADMSG, "%s: zip entry '%s': %llu bytes at byte %llu do not fit the file", label, q,
                        (unsigned long long)field[0], (unsigned long long)begin);
    if (td_rl16(local + 26) != name_len || memcmp(local + LOCAL_SIZE, e->name, name_len))
        return td_error(log, EBADMSG, "%s: zip entry '%s': its local header has another name", label, q);
    e->end  = begin + field[0];
    e->data = map.data + begin;
    e->size = (size_t)field[0];
    return 0;
}

static int compare_bytes(const void *a, size_t na, const void *b, size_t nb)
{
    int c = memcmp(a, b, na < nb ? na : nb);

    return c ? c : na < nb ? -1 : na > nb;
}

static int compare_start(const void *a, const void *b)
{
    const TDZipEntry *x = a, *y = b;

    return x->start < y->start ? -1 : x->start > y->start;
}

static int compare_name(const void *a, const void *b)
{
    const TDZipEntry *x = a, *y = b;

    return compare_bytes(x->name, x->name_len, y->name, y->name_len);
}

static int check_entries(TDZip *zip, const char *label, TDLog *log)
{
    TDZipEntry *e = zip->entries;
    char q[TD_QUOTE_MAX];

    qsort(e, zip->n_entries, sizeof(*e), compare_start);
    for (size_t i = 1; i < zip->n_entries; i++)
        if (e[i].start < e[i - 1].end)
            return td_error(log, EBADMSG, "%s: zip entry '%s' overlaps the one before it", label,
                            td_ckpt_quote(q, e[i].name, e[i].name_len));
    qsort(e, zip->n_entries, sizeof(*e), compare_name);
    for (size_t i = 1; i < zip->n_entries; i++)
        if (!compare_name(&e[i - 1], &e[i]))
            return td_error(log, EBADMSG, "%s: zip entry '%s' occurs twice", label,
                            td_ckpt_quote(q, e[i].name, e[i].name_len));
    return 0;
}

int td_zip_open(TDZip *zip, const char *label, TDMapping map, TDLog *log)
{
    const uint8_t *p, *slash;
    Directory dir;
    size_t left, used;
    int ret;

    memset(zip, 0, sizeof(*zip));
    if ((ret = find_directory(&dir, label, map, log)) < 0)
        return ret;
    zip->entries = calloc((size_t)dir.n_entries, sizeof(*zip->entries));
    if (!zip->entries)
        return td_error(log, ENOMEM, "%s: out of memory", label);
    p    = map.data + dir.offset;
    left = (size_t)dir.size;
    for (zip->n_entries = 0; zip->n_entries < dir.n_entries; p += used, left -= used)
        if ((ret = read_entry(&zip->entries[zip->n_entries++], label, p, left, &used, map, &dir, log)) < 0)
            goto fail;
    slash = memchr(zip->entries[0].name, '/', zip->entries[0].name_len);
    if (!slash) {
        ret = td_error(log, EBADMSG, "%s: zip entries without a directory, want NAME/data.pkl: not a torch.save file",
                       label);
        goto fail;
    }
    zip->root     = zip->entries[0].name;
    zip->root_len = (size_t)(slash - zip->root);
    if ((ret = check_entries(zip, label, log)) < 0)
        goto fail;
    return 0;
fail:
    td_zip_close(zip);
    return ret;
}

void td_zip_close(TDZip *zip)
{
    free(zip->entries);
    memset(zip, 0, sizeof(*zip));
}

const TDZipEntry *td_zip_find(const TDZip *zip, const char *prefix, const void *key, size_t key_len)
{
    size_t lo = 0, hi = zip->n_entries, prefix_len = strlen(prefix), len = zip->root_len + 1 + prefix_len + key_len;
    uint8_t name[MAX_NAME];

    if (zip->root_len > MAX_NAME || key_len > MAX_NAME || len > MAX_NAME)
        return NULL;
    memcpy(name, zip->root, zip->root_len);
    name[zip->root_len] = '/';
    memcpy(name + zip->root_len + 1, prefix, prefix_len);
    if (key_len)
        memcpy(name + len - key_len, key, key_len);
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = compare_bytes(zip->entries[mid].name, zip->entries[mid].name_len, name, len);

        if (!c)
            return &zip->entries[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}
