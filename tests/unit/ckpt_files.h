/* SPDX-License-Identifier: BSD-2-Clause
 * What the tests of weight files share: a directory of their own, files written into it, checks of good and bad ones.
 * Include it after alloc_fail.h.
 * 1. A bad file gives a negative code, one printable log line, and no checkpoint. */
#ifndef CKPT_FILES_H
#define CKPT_FILES_H

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "files/checkpoint.h"
#include "test.h"

typedef struct Buf {
    uint8_t data[1 << 17];
    size_t n;
} Buf;

static char dir[] = "/tmp/td_test_XXXXXX";
static char path[64];
static int n_lines;

static inline void count_line(void *cookie, int level, const char *line)
{
    (void)cookie;
    n_lines += level == TD_LOG_ERROR;
    if (strpbrk(line, "\n\r\t\x1b"))
        n_lines += 100;
}

static TDLog tlog = { .out = { .callback = count_line, .level = TD_LOG_WARNING } };

static inline void put(Buf *b, const void *p, size_t n)
{
    if (b->n + n > sizeof(b->data)) {
        fprintf(stderr, "test buffer is too small\n");
        exit(1);
    }
    memcpy(b->data + b->n, p, n);
    b->n += n;
}

static inline void put_le(Buf *b, uint64_t v, int n)
{
    for (int i = 0; i < n; i++, v >>= 8)
        put(b, &(uint8_t){ (uint8_t)v }, 1);
}

static inline void put_str(Buf *b, const char *s)
{
    put(b, s, strlen(s));
}

static inline void save_as(const char *name, const void *data, size_t n)
{
    char p[400];
    FILE *f;

    snprintf(p, sizeof(p), "%s/%s", dir, name);
    f = fopen(p, "wb");
    if (!f || fwrite(data, 1, n, f) != n || fclose(f)) {
        fprintf(stderr, "cannot write %s\n", p);
        exit(1);
    }
}

static inline int open_file(TDCheckpoint **c)
{
    n_lines = 0;
    tlog.last_error[0] = 0;
    return td_checkpoint_open(c, path, &tlog);
}

static inline int open_bytes(TDCheckpoint **c, const void *data, size_t n)
{
    save_as("file", data, n);
    return open_file(c);
}

static inline void check_bad(const char *what, const void *data, size_t n, int err, const char *words)
{
    TDCheckpoint *c = (void *)&n;
    int ret = open_bytes(&c, data, n);

    if (ret != TD_ERR(err) || c || n_lines != 1 || !strstr(tlog.last_error, words)) {
        printf("  %s: code %d, %d lines: %s (want %d, \"%s\")\n", what, ret, n_lines, tlog.last_error, -err, words);
        CHECK(!"as wanted");
        if (!ret)
            td_checkpoint_close(&c);
    }
}

static inline void make_dir(void)
{
    if (!mkdtemp(dir)) {
        fprintf(stderr, "cannot make %s\n", dir);
        exit(1);
    }
    snprintf(path, sizeof(path), "%s/file", dir);
}

/* names: ends with NULL */
static inline void remove_dir(const char *const *names)
{
    char name[400];

    for (; *names; names++) {
        snprintf(name, sizeof(name), "%s/%s", dir, *names);
        unlink(name);
    }
    rmdir(dir);
}

static inline void check_values(const TDCheckpoint *c, const char *name, enum TDDtype dtype, int contiguous, int n,
                         const float *want)
{
    const TDEntry *e = td_checkpoint_find(c, name);
    float got[64];

    if (!CHECK(e) || !CHECK_INT(td_entry_count(e), n))
        return;
    CHECK_INT(e->dtype, dtype);
    CHECK_INT(td_entry_is_contiguous(e), contiguous);
    CHECK_INT(td_entry_to_f32(e, got), 0);
    CHECK(!memcmp(got, want, (size_t)n * sizeof(*got)));
}

static inline void read_all(TDCheckpoint *c)
{
    const TDEntry *e;
    float *buf;

    for (int i = 0; (e = td_checkpoint_entry(c, i)); i++) {
        buf = malloc((size_t)td_entry_count(e) * sizeof(*buf) + 1);
        if (CHECK(buf))
            td_entry_to_f32(e, buf);
        free(buf);
    }
}

/* Every bit of path's file flipped, then every length shorter than it: an error and one line, or tensors that can be
 * read; shorter files never open. */
static inline void check_damage(const Buf *b)
{
    TDCheckpoint *c;
    int fd;

    save_as("file", b->data, b->n);
    fd = open(path, O_WRONLY);
    for (size_t i = 0; i < b->n; i++)
        for (int bit = 0; bit < 8; bit++) {
            uint8_t flipped = b->data[i] ^ (uint8_t)(1 << bit);

            CHECK_INT(pwrite(fd, &flipped, 1, (off_t)i), 1);
            if (!open_file(&c)) {
                read_all(c);
                td_checkpoint_close(&c);
            } else
                CHECK_INT(n_lines, 1);
            CHECK_INT(pwrite(fd, &b->data[i], 1, (off_t)i), 1);
        }
    for (size_t n = b->n; n-- > 0;)
        if (!CHECK(!ftruncate(fd, (off_t)n)) || !CHECK(open_file(&c) < 0) || !CHECK_INT(n_lines, 1))
            break;
    close(fd);
}

/* Each allocation of the engine fails in turn. */
static inline void out_of_memory(const char *file)
{
    int hit = 1, ret = 0;
    TDCheckpoint *c;

    for (long n = 1; hit; n++) {
        n_lines = 0;
        alloc_fail_begin(n);
        ret = td_checkpoint_open(&c, file, &tlog);
        hit = alloc_fail_end();
        if (!CHECK_INT(ret, hit ? TD_ERR(ENOMEM) : 0) || !CHECK_INT(n_lines, hit)) {
            printf("  %s, allocation %ld: %s\n", file, n, tlog.last_error);
            break;
        }
        if (!ret)
            td_checkpoint_close(&c);
        if (!CHECK_INT(alloc_fail_leak(), 0))
            break;
    }
}

#endif /* CKPT_FILES_H */
