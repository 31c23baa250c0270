/* SPDX-License-Identifier: BSD-2-Clause
 * Reads turbodiff.conf: lines `key = number`, empty lines, and comments from # to the end of a line. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "model_conf.h"

#define MAX_FILE 4096
#define MAX_LINE 200

static int parse_line(TDModelConf *conf, const char *path, int number, const char *line, TDLog *log)
{
    const struct { const char *key; int *value; int (*valid)(int); const char *want; } keys[] = {
        { "width", &conf->width, td_valid_side, "a multiple of 16 from 16 to 2048" },
        { "height", &conf->height, td_valid_side, "a multiple of 16 from 16 to 2048" },
        { "frames", &conf->n_frames, td_valid_frames, "4k+1 from 1 to 509" },
    };
    char key[16];
    int value, end = 0;

    if (!line[strspn(line, " \t\r")])
        return 0;
    if (sscanf(line, " %15[a-z] = %6d %n", key, &value, &end) < 2 || line[end])
        return td_error(log, EBADMSG, "%s:%d: '%s', want a key, = and a number", path, number, line);
    for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
        if (strcmp(key, keys[i].key))
            continue;
        if (!keys[i].valid(value))
            return td_error(log, EBADMSG, "%s:%d: %s = %d, want %s", path, number, key, value, keys[i].want);
        if (*keys[i].value)
            return td_error(log, EBADMSG, "%s:%d: %s for the second time", path, number, key);
        *keys[i].value = value;
        return 0;
    }
    return td_error(log, EBADMSG, "%s:%d: '%s', want width, height or frames", path, number, key);
}

int td_model_conf_parse(TDModelConf *conf, const char *path, const char *text, size_t size, TDLog *log)
{
    TDModelConf c = { 0 };
    int ret;

    *conf = c;
    for (int number = 1; size > 0; number++) {
        const char *newline = memchr(text, '\n', size), *hash;
        size_t all = newline ? (size_t)(newline - text) + 1 : size, n = newline ? all - 1 : size;
        char line[MAX_LINE];

        if (n >= sizeof(line) || memchr(text, 0, n))
            return td_error(log, EBADMSG, "%s:%d: %s, want lines of text of less than %d bytes", path, number,
                            n >= sizeof(line) ? "too long" : "a NUL byte", MAX_LINE);
        hash = memchr(text, '#', n);
        n = hash ? (size_t)(hash - text) : n;
        memcpy(line, text, n);
        line[n] = 0;
        ret = parse_line(&c, path, number, line, log);
        if (ret < 0)
            return ret;
        text += all;
        size -= all;
    }
    if (!c.width != !c.height)
        return td_error(log, EBADMSG, "%s: %s alone, want width and height, or neither", path,
                        c.width ? "width" : "height");
    *conf = c;
    return 0;
}

int td_model_conf_read(TDModelConf *conf, const char *dir, TDLog *log)
{
    char path[4096], text[MAX_FILE + 1];
    struct stat st;
    size_t size = 0;
    ssize_t n = 1;
    int fd, ret = 0;

    *conf = (TDModelConf){ 0 };
    if ((size_t)snprintf(path, sizeof(path), "%s/turbodiff.conf", dir) >= sizeof(path))
        return td_error(log, EINVAL, "model=%s: longer than %zu bytes", dir, sizeof(path));
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT ? 0 : td_error(log, EACCES, "%s: cannot open it: %s", path, strerror(errno));
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        ret = td_error(log, EBADMSG, "%s: it is no regular file, want lines of text", path);
        goto end;
    }
    while (n != 0 && size < sizeof(text)) {
        n = read(fd, text + size, sizeof(text) - size);
        if (n < 0 && errno != EINTR) {
            ret = td_error(log, EBADMSG, "%s: cannot read it: %s", path, strerror(errno));
            goto end;
        }
        size += n > 0 ? (size_t)n : 0;
    }
    if (size > MAX_FILE)
        ret = td_error(log, EBADMSG, "%s: larger than %d bytes, want a few lines of text", path, MAX_FILE);
    else
        ret = td_model_conf_parse(conf, path, text, size, log);
end:
    close(fd);
    return ret;
}
