/* SPDX-License-Identifier: BSD-2-Clause
 * Finds what is installed beside the library's code. The Makefile defines TD_DATADIR and TD_LIBDIR.
 * 1. Where the code is, the kernel says (/proc/self/maps): an absolute path. The name that a program was started under,
 *    or that a library was opened by, can be any, and is relative to a directory that may have been left since. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "model/install.h"

#define DEMO "turbodiff/demo-model"

/* "START-END PERMS OFFSET DEVICE INODE   PATH" of the mapping that holds addr. @return its path, NULL if it has none */
static const char *path_of(char *line, uintptr_t addr)
{
    static const char gone[] = " (deleted)";
    char *end, *path = strchr(line, '/');
    uintptr_t first = strtoull(line, &end, 16), last;
    size_t n;

    if (*end != '-')
        return NULL;
    last = strtoull(end + 1, NULL, 16);
    if (addr < first || addr >= last || !path)
        return NULL;
    n = strlen(path);
    return n >= sizeof(gone) && !strcmp(path + n - (sizeof(gone) - 1), gone) ? NULL : path;
}

/* size: more than a line of the file can have, which is a path and 80 bytes */
static int find_path(char *path, size_t size, int fd, char *buf, size_t room)
{
    const char *found = NULL;
    size_t held = 0;
    ssize_t n;

    while (!found && (n = read(fd, buf + held, room - 1 - held)) != 0) {
        char *line = buf, *newline;

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        held += (size_t)n;
        buf[held] = 0;
        while (!found && (newline = strchr(line, '\n'))) {
            *newline = 0;
            found = path_of(line, (uintptr_t)td_own_dir);
            line = newline + 1;
        }
        held -= found ? held : (size_t)(line - buf);
        memmove(buf, line, held);
        if (held == room - 1)
            break;
    }
    if (!found || strlen(found) >= size)
        return TD_ERR(ENOENT);
    memmove(path, found, strlen(found) + 1);
    return 0;
}

int td_own_dir(char *dir, size_t size)
{
    char path[4096], buf[8192], *slash;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC), ret;

    if (fd < 0)
        return TD_ERR(ENOENT);
    ret = find_path(path, sizeof(path), fd, buf, sizeof(buf));
    close(fd);
    if (ret < 0)
        return ret;
    slash = strrchr(path, '/');
    *slash = 0;
    if ((size_t)(slash - path) >= size)
        return TD_ERR(ENOENT);
    memcpy(dir, path, (size_t)(slash - path) + 1);
    return 0;
}

int td_module_path(char *path, size_t size, const char *dir, int place, const char *name)
{
    static const char *const beside[] = { "", "/../lib" };

    if (place < 2)
        return !dir ? TD_ERR(ENOENT)
               : (size_t)snprintf(path, size, "%s%s/%s", dir, beside[place], name) < size ? 0 : TD_ERR(ENOENT);
    return (size_t)snprintf(path, size, "%s/%s", TD_LIBDIR, name) < size && path[0] == '/' ? 0 : TD_ERR(ENOENT);
}

int td_default_model(char *path, size_t size, const char *dir, int image_to_video, TDLog *log)
{
    static const char *const share[] = { "share/", "../share/" };
    const char *name = image_to_video ? DEMO "-i2v" : DEMO;
    struct stat st;

    for (int i = 0; dir && i < 2; i++)
        if ((size_t)snprintf(path, size, "%s/%s%s", dir, share[i], name) < size && stat(path, &st) == 0 &&
            S_ISDIR(st.st_mode))
            return 0;
    if ((size_t)snprintf(path, size, "%s/%s", TD_DATADIR, name) < size && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return 0;
    return td_error(log, ENOENT, "no model given, and the demo model is not installed (there is neither %s/%s nor "
                    "%s/%s%s); set model= to a directory with a model's files", TD_DATADIR, name, dir ? dir : ".",
                    share[1], name);
}
