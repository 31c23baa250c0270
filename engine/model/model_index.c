/* SPDX-License-Identifier: BSD-2-Clause
 * model_index.json of a diffusers directory: where the second transformer takes over. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/io.h"
#include "files/json.h"
#include "model/model.h"
#include "model/model_scan.h"

#define MAX_FILE (1 << 20)

/* a number as JSON has it, in 0..1. @return 0 or -1 */
static int parse_share(double *share, const char *s, size_t n)
{
    double unit = 1;

    *share = 0;
    if (n < 1 || (*s != '0' && *s != '1') || (n > 1 && (s[1] != '.' || n < 3 || n > 12)))
        return -1;
    *share = *s - '0';
    for (size_t i = 2; i < n; i++) {
        if (s[i] < '0' || s[i] > '9')
            return -1;
        unit /= 10;
        *share += unit * (s[i] - '0');
    }
    return *share > 1 ? -1 : 0;
}

int td_model_index_parse(double *boundary, const char *path, const char *text, size_t size, TDLog *log)
{
    TDJson root, v;
    size_t n;
    int ret = td_json_check(&root, path, text, size, log);

    *boundary = 0;
    if (ret < 0 || !td_json_get(root, "boundary_ratio", &v) || *v.p == 'n')
        return ret;
    n = strspn((const char *)v.p, "+-.0123456789eE");    /* a whole text ends with a bracket */
    if (parse_share(boundary, (const char *)v.p, n) < 0)
        return td_error(log, EBADMSG, "%s: its boundary_ratio is no number such as 0.875, from 0 to 1", path);
    return 0;
}

int td_model_index_read(double *boundary, const char *dir, TDLog *log)
{
    uint8_t *text;
    size_t size;
    char *path;
    int ret;

    *boundary = 0;
    if ((ret = td_join_path(&path, dir, "model_index.json", log)) < 0)
        return ret;
    if (access(path, F_OK) == 0 && (ret = td_read_file(&text, &size, path, 1, MAX_FILE, "JSON", log)) >= 0) {
        ret = td_model_index_parse(boundary, path, (const char *)text, size, log);
        free(text);
    }
    free(path);
    return ret;
}
