/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/io.h"

int td_open_regular(const char *path, const char *want, struct stat *st, TDLog *log)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), err = errno;

    if (!*path)
        return td_error(log, ENOENT, "the name of a file is empty, want %s", want);
    if (fd < 0 && (err == ENOENT || err == ENOTDIR))
        return td_error(log, ENOENT, "%s: no such file, want %s", path, want);
    if (fd < 0 && (err == EACCES || err == EPERM))
        return td_error(log, EACCES, "%s: no permission to read it", path);
    if (fd < 0)
        return td_error(log, err == ENOMEM || err == EMFILE || err == ENFILE ? ENOMEM : ENOENT,
                        "%s: cannot open it: %s", path, strerror(err));
    if (fstat(fd, st) == 0 && S_ISREG(st->st_mode))
        return fd;
    close(fd);
    return td_error(log, EBADMSG, "%s: is no regular file, want %s", path, want);
}

int td_read_file(uint8_t **data, size_t *size, const char *path, size_t min, size_t max, const char *want, TDLog *log)
{
    struct stat st;
    int fd = td_open_regular(path, want, &st, log), ret = 0;

    *data = NULL;
    if (fd < 0)
        return fd;
    *size = (size_t)st.st_size;
    if (*size < min || *size > max)
        ret = td_error(log, *size < min ? EBADMSG : ENOTSUP, "%s: %zu bytes, want %s of %zu to %zu", path, *size, want,
                       min, max);
    else if (!(*data = malloc(*size + 1)))
        ret = td_error(log, ENOMEM, "%s: out of memory for its %zu bytes", path, *size);
    for (size_t at = 0; ret >= 0 && at < *size;) {
        ssize_t n = read(fd, *data + at, *size - at);

        if (n > 0)
            at += (size_t)n;
        else if (n == 0 || errno != EINTR)
            ret = td_error(log, EBADMSG, "%s: cannot read byte %zu: %s", path, at,
                           n ? strerror(errno) : "the file became shorter");
    }
    close(fd);
    if (ret < 0) {
        free(*data);
        *data = NULL;
    }
    return ret;
}

int td_is_lfs_pointer(const void *data, size_t size)
{
    static const char start[] = "version https://git-lfs";

    return size >= sizeof(start) - 1 && !memcmp(data, start, sizeof(start) - 1);
}
