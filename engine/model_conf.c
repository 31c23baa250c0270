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

#define TOPK_DECIMALS 4
#define TOPK_UNITS    10000                      /* in 1: 10 to the power of TOPK_DECIMALS */

enum { WIDTH, HEIGHT, FRAMES, TOPK, N_KEYS };

static int valid_topk(int units)
{
    return td_valid_topk((double)units / TOPK_UNITS);
}

/* values are whole numbers, of units of the last decimal; 0 is never valid, which leaves it to mean "not said" */
static const struct { const char *key; int decimals; int (*valid)(int); const char *want; } keys[N_KEYS] = {
    [WIDTH]  = { "width", 0, td_valid_side, "a multiple of 16 from 16 to 2048" },
    [HEIGHT] = { "height", 0, td_valid_side, "a multiple of 16 from 16 to 2048" },
    [FRAMES] = { "frames", 0, td_valid_frames, "4k+1 from 1 to 509" },
    [TOPK]   = { "topk", TOPK_DECIMALS, valid_topk, "more than 0, up to 1, such as 0.25, of at most 4 decimals" },
};

/* [-]digits[.digits] of n bytes, with a point whatever the locale. @return 0; -1 if it is something else, has too many
 * decimals or is longer than an int */
static int parse_number(int *value, const char *s, int n, int decimals)
{
    static const char digits[] = "0123456789";
    const char *whole = s + (*s == '-'), *part;
    int n_whole = (int)strspn(whole, digits), n_part, v = 0;

    part = whole + n_whole + (whole[n_whole] == '.');
    n_part = part > whole + n_whole ? (int)strspn(part, digits) : 0;
    if (!n_whole || part + n_part != s + n || s[n - 1] == '.' || n_part > decimals || n_whole + decimals > 9)
        return -1;
    for (int i = 0; i < n_whole; i++)
        v = 10 * v + whole[i] - '0';
    for (int i = 0; i < decimals; i++)
        v = 10 * v + (i < n_part ? part[i] - '0' : 0);
    *value = *s == '-' ? -v : v;
    return 0;
}

static int parse_line(int values[N_KEYS], const char *path, int number, const char *line, TDLog *log)
{
    static const char blank[] = " \t\r";
    const char *key = line + strspn(line, blank), *sign, *text;
    int n_key = (int)strspn(key, "abcdefghijklmnopqrstuvwxyz"), n_text, value;

    if (!*key)
        return 0;
    sign = key + n_key + strspn(key + n_key, blank);
    text = sign + (*sign == '=');
    text += strspn(text, blank);
    n_text = (int)strcspn(text, blank);
    if (!n_key || *sign != '=' || !n_text || text[n_text + (int)strspn(text + n_text, blank)])
        return td_error(log, EBADMSG, "%s:%d: '%s', want a key, = and a number", path, number, line);
    for (int i = 0; i < N_KEYS; i++) {
        if (n_key != (int)strlen(keys[i].key) || memcmp(key, keys[i].key, (size_t)n_key))
            continue;
        if (parse_number(&value, text, n_text, keys[i].decimals) < 0 || !keys[i].valid(value))
            return td_error(log, EBADMSG, "%s:%d: %s = %.*s, want %s", path, number, keys[i].key, n_text, text,
                            keys[i].want);
        if (values[i])
            return td_error(log, EBADMSG, "%s:%d: %s for the second time", path, number, keys[i].key);
        values[i] = value;
        return 0;
    }
    return td_error(log, EBADMSG, "%s:%d: '%.*s', want width, height, frames or topk", path, number, n_key, key);
}

int td_model_conf_parse(TDModelConf *conf, const char *path, const char *text, size_t size, TDLog *log)
{
    int v[N_KEYS] = { 0 }, ret;

    *conf = (TDModelConf){ 0 };
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
        ret = parse_line(v, path, number, line, log);
        if (ret < 0)
            return ret;
        text += all;
        size -= all;
    }
    if (!v[WIDTH] != !v[HEIGHT])
        return td_error(log, EBADMSG, "%s: %s alone, want width and height, or neither", path,
                        v[WIDTH] ? "width" : "height");
    *conf = (TDModelConf){ v[WIDTH], v[HEIGHT], v[FRAMES], (double)v[TOPK] / TOPK_UNITS };
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
