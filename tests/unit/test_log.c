/* SPDX-License-Identifier: BSD-2-Clause
 * Lines: of the levels that were asked for, one line each whatever is in it, and the last error. */
#include <errno.h>
#include "base/log.h"
#include "test.h"

typedef struct Lines { int n, level; char last[600]; } Lines;

static void keep(void *cookie, int level, const char *line)
{
    Lines *l = cookie;

    l->n++;
    l->level = level;
    snprintf(l->last, sizeof(l->last), "%s", line);
}

static void test_levels(void)
{
    static const int levels[] = { TD_LOG_ERROR, TD_LOG_WARNING, TD_LOG_INFO, TD_LOG_VERBOSE, TD_LOG_DEBUG };

    test_begin("lines of the wanted level and of those before it");
    for (int wanted = 0; wanted < 5; wanted++)
        for (int i = 0; i < 5; i++) {
            Lines l = { 0 };
            TDLog log = { .out = { &l, keep, levels[wanted] } };

            td_log(&log, levels[i], "number %d", i);
            CHECK_INT(l.n, i <= wanted);
            if (l.n) {
                CHECK_INT(l.level, levels[i]);
                CHECK(!strncmp(l.last, "number ", 7) && l.last[7] == '0' + i);
            }
        }
}

static void test_errors(void)
{
    Lines l = { 0 };
    TDLog log = { .out = { &l, keep, TD_LOG_ERROR } }, silent = { 0 };
    char text[1000], want[600];

    test_begin("an error: its code, its line, and the line kept");
    CHECK_INT(td_error(&log, EBADMSG, "a: %d, want %d", 1, 2), TD_ERR(EBADMSG));
    CHECK_STR(l.last, "a: 1, want 2");
    CHECK_STR(log.last_error, "a: 1, want 2");
    td_log(&log, TD_LOG_WARNING, "no error");
    CHECK_STR(log.last_error, "a: 1, want 2");
    CHECK_INT(td_error(&silent, ENOMEM, "kept"), TD_ERR(ENOMEM));
    CHECK_STR(silent.last_error, "kept");
    CHECK_INT(td_error(NULL, EIO, "nobody asks"), TD_ERR(EIO));
    td_log(NULL, TD_LOG_ERROR, "nobody asks");

    test_begin("one line, whatever a name holds, and cut where it is too long");
    td_error(&log, EIO, "%s", "a\nb\tc\x1b[0m\x7f \xc2\x9b \xc3\xa9");
    CHECK_STR(l.last, "a?b?c?[0m? ?? \xc3\xa9");
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    memcpy(want, text, 511);
    want[511] = 0;
    td_error(&log, EIO, "%s", text);
    CHECK_STR(l.last, want);
    CHECK_INT(l.n, 3);
}

int main(void)
{
    test_levels();
    test_errors();
    return test_end();
}
