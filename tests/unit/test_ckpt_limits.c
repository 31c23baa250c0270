/* SPDX-License-Identifier: BSD-2-Clause
 * Limits of weight files that no small file reaches: how many tensors there are, how long their names are in all, how
 * many entries a zip archive has. Each is reached, and passed by one. */
#include "alloc_fail.h"
#include "ckpt_files.h"
#include "files/checkpoint_priv.h"

/* one tensor of that name; words: of the error, NULL where it is taken */
static void add(TDCheckpoint *c, const char *name, const char *words)
{
    TDEntry e = { .dtype = TD_U8, .n_dims = 1, .shape = { 0 } };
    int n = c->n_entries;

    td_ckpt_set_contiguous(&e);
    n_lines = 0;
    CHECK_INT(td_ckpt_add(c, "file", name, strlen(name), &e, &tlog), words ? TD_ERR(EBADMSG) : 0);
    CHECK_INT(c->n_entries, n + !words);
    CHECK_INT(n_lines, words != NULL);
    if (words)
        CHECK_STR(tlog.last_error, words);
}

/* the one tensor that was taken */
static void forget(TDCheckpoint *c)
{
    if (c->entries)
        free((char *)c->entries[c->n_entries - 1].name);
    free(c->entries);
}

/* the counts are set: a file that has as many takes seconds and 300 MB */
static void test_tensors(void)
{
    TDCheckpoint c = { .n_entries = (1 << 20) - 1 };

    test_begin("1,048,576 tensors, and no more");
    add(&c, "a", NULL);
    add(&c, "b", "file: more than 1048576 tensors");
    forget(&c);
    test_begin("64 MiB of names, and no more");
    c = (TDCheckpoint){ .name_bytes = ((size_t)64 << 20) - 4 };
    add(&c, "net", NULL);                        /* with its end */
    add(&c, "b", "file: tensor names of more than 67108864 bytes in all");
    forget(&c);
}

/* a file of n entries in a directory that is all zeros, and a hole of the file */
static void check_zip(uint64_t n, const char *words)
{
    const uint64_t begin = 4, size = n * 46, end = begin + size;
    static Buf b;
    TDCheckpoint *c;
    int fd;

    save_as("file", "PK\3\4", 4);
    b.n = 0;
    put_le(&b, 0x06064b50, 4);                   /* the end of zip64 */
    put_le(&b, 44, 8);
    put_le(&b, 0, 2 + 2 + 4 + 4);
    put_le(&b, n, 8);
    put_le(&b, n, 8);
    put_le(&b, size, 8);
    put_le(&b, begin, 8);
    put_le(&b, 0x07064b50, 4);                   /* its locator */
    put_le(&b, 0, 4);
    put_le(&b, end, 8);
    put_le(&b, 1, 4);
    put_le(&b, 0x06054b50, 4);                   /* the end */
    put_le(&b, 0, 4);
    put_le(&b, 0xffffffff, 4);
    put_le(&b, 0xffffffffffffffff, 8);
    put_le(&b, 0, 2);
    fd = open(path, O_WRONLY);
    CHECK(fd >= 0 && pwrite(fd, b.data, b.n, (off_t)end) == (ssize_t)b.n);
    close(fd);
    CHECK_INT(open_file(&c), TD_ERR(EBADMSG));
    CHECK_INT(n_lines, 1);
    if (!CHECK(strstr(tlog.last_error, words) != NULL))
        printf("  %s\n", tlog.last_error);
}

static void test_zip(void)
{
    test_begin("1,048,576 entries of a zip archive, and no more");
    check_zip(1 << 20, "zip directory is damaged");
    check_zip((1 << 20) + 1, "zip directory of 48234542 bytes names 1048577 entries, want 1 to 1048576");
}

int main(void)
{
    make_dir();
    test_tensors();
    test_zip();
    remove_dir((const char *const[]){ "file", NULL });
    return test_end();
}
