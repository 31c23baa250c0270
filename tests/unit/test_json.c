/* SPDX-License-Identifier: BSD-2-Clause
 * JSON: what is accepted, what is refused and with which line; values as they are walked; memory, nesting and time of
 * hostile texts. */
#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "files/json.h"
#include "base/log.h"
#include "test.h"

static int n_lines;

static void count_line(void *cookie, int level, const char *line)
{
    (void)cookie;
    n_lines += level == TD_LOG_ERROR ? 1 : 100;
    (void)line;
}

static TDLog tlog = { .out = { .callback = count_line, .level = TD_LOG_ERROR } };

/* of a block of its own: a read past the end is seen by asan */
static int check(const char *text, size_t n, TDJson *root, char **copy)
{
    *copy = malloc(n ? n : 1);
    memcpy(*copy, text, n);
    n_lines = 0;
    tlog.last_error[0] = 0;
    return td_json_check(root, "a.json", *copy, n, &tlog);
}

static void good(const char *text)
{
    TDJson root;
    char *copy;

    if (!CHECK_INT(check(text, strlen(text), &root, &copy), 0))
        printf("  %s: %s\n", text, tlog.last_error);
    CHECK_INT(n_lines, 0);
    free(copy);
}

static void refused_n(const char *text, size_t n, const char *words)
{
    TDJson root;
    char *copy;
    int ret = check(text, n, &root, &copy);

    if (!CHECK(ret == TD_ERR(EBADMSG) && n_lines == 1 && strstr(tlog.last_error, words)))
        printf("  %s: code %d, %d lines, %s\n", text, ret, n_lines, tlog.last_error);
    free(copy);
}

static void refused(const char *text, const char *words)
{
    refused_n(text, strlen(text), words);
}

static void test_grammar(void)
{
    static const char *const fine[] = {
        "{}", "[]", " {\n} \t\r\n", "[1]", "[-0]", "[0.5,-1.25e-7,1E+3,12]", "[true,false,null]",
        "{\"a\":{\"b\":[[],{}]},\"c\":\"\"}", "[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00\"]",
        "[\"\xc3\xa9 \xf0\x9f\x98\x80 \x7f\"]", "{\"a\":{\"a\":{\"a\":1}},\"b\":{\"a\":1}}", "{\"\":1,\"a\":2}",
        "[99999999999999999999999999999999999999999]",
    };
    static const char *const cut = "{\"a\" : [1.5e3, \"\\u00e9\xc3\xa9\", true, null, {}]}";

    test_begin("JSON: accepted");
    for (size_t i = 0; i < sizeof(fine) / sizeof(*fine); i++)
        good(fine[i]);
    test_begin("JSON: refused");
    refused("", "line 1: it ends in the middle");
    refused("\n\n ", "line 3: it ends");
    refused("1", "want an object or an array");
    refused("\"a\"", "want an object or an array");
    refused("{} {}", "something after its end");
    refused("[1,]", "no value");
    refused("[,1]", "no value");
    refused("{,}", "no key");
    refused("{\"a\":1,}", "no key");
    refused("{\"a\"}", "without a colon");
    refused("{\"a\" 1}", "without a colon");
    refused("{\"a\":}", "no value");
    refused("{1:1}", "no key");
    refused("[1 2]", "neither a comma");
    refused("[1}", "neither a comma");
    refused("{\"a\":1]", "neither a comma");
    refused("[01]", "none of JSON's");
    refused("[-]", "none of JSON's");
    refused("[+1]", "no value");
    refused("[1.]", "after its point");
    refused("[.5]", "no value");
    refused("[1e]", "after its e");
    refused("[1e+]", "after its e");
    refused("[tru]", "no value");
    refused("[nul", "no value");
    refused("[NaN]", "no value");
    refused("['a']", "no value");
    refused("[\"a\nb\"]", "control character");
    refused("[\"a", "without an end");
    refused("[\"\\x\"]", "an escape");
    refused("[\"\\u12\"]", "an escape");
    refused("[\"\\u0000\"]", "stands for no character");
    refused("[\"\\ud83d\"]", "an escape");
    refused("[\"\\ude00\"]", "an escape");
    refused("[\"\\ud83d\\u0041\"]", "an escape");
    refused("[\"\xff\"]", "not UTF-8");
    refused("[\"\xc0\x80\"]", "not UTF-8");
    refused("[\"\xed\xa0\x80\"]", "not UTF-8");
    refused("[\"\xc3\"]", "not UTF-8");
    refused_n("[\"a\0\"]", 6, "control character");
    refused_n("[1]\0", 4, "something after its end");
    refused_n("[\"\\\0\"]", 6, "an escape");
    refused("{\"a\":1,\"b\":2,\n\"a\":3}", "line 2: duplicate key 'a'");
    refused("[{\"b\":{\"x\":1,\"x\":1}}]", "duplicate key 'x'");
    refused("{\"ab\":1,\"\\u0061b\":2}", "duplicate key 'ab'");
    refused("{\"a\\n\":1,\"a\\n\":2}", "duplicate key 'a?'");
    test_begin("JSON: cut short anywhere");
    good(cut);
    for (size_t n = strlen(cut); n-- > 0;)
        refused_n(cut, n, "JSON line 1");
}

static void test_walk(void)
{
    static const char text[] = " { \"n\" : -12 , \"big\":9223372036854775807,\"low\":-9223372036854775808,\"over\":"
                               "9223372036854775808,\"f\":1.0,\"e\":1e2,\"s\":\"a\\\"\\u00e9}]\","
                               "\"l\":[1,\"]\",[2,3],{}],\"\\u006bey\":true}";
    char *copy, s[16];
    TDJson root, v, key;
    TDJsonWalk w;
    int64_t n = 0;
    int count = 0;

    test_begin("JSON: values");
    if (!CHECK_INT(check(text, sizeof(text) - 1, &root, &copy), 0))
        return;
    CHECK(*root.p == '{');
    CHECK(td_json_get(root, "n", &v) && !td_json_integer(v, &n) && n == -12);
    CHECK(td_json_get(root, "big", &v) && !td_json_integer(v, &n) && n == INT64_MAX);
    CHECK(td_json_get(root, "low", &v) && !td_json_integer(v, &n) && n == INT64_MIN);
    CHECK(td_json_get(root, "over", &v) && td_json_integer(v, &n) < 0);
    CHECK(td_json_get(root, "f", &v) && td_json_integer(v, &n) < 0);
    CHECK(td_json_get(root, "e", &v) && td_json_integer(v, &n) < 0);
    CHECK(td_json_get(root, "s", &v) && td_json_integer(v, &n) < 0);
    CHECK_INT(td_json_string(v, s, sizeof(s)), 6);
    CHECK_STR(s, "a\"\xc3\xa9}]");
    CHECK_INT(td_json_string(v, s, 3), 6);
    CHECK_STR(s, "a\"");
    CHECK(td_json_get(root, "key", &v) && *v.p == 't' && td_json_string(v, s, sizeof(s)) < 0);
    CHECK(!td_json_get(root, "none", &v) && !td_json_get(root, "", &v));
    for (w = td_json_walk(root); td_json_next(&w, &key, &v);)
        count++;
    CHECK_INT(count, 9);
    CHECK(!td_json_next(&w, &key, &v));
    CHECK(td_json_get(root, "l", &v) && !td_json_get(v, "n", &key));
    count = 0;
    for (w = td_json_walk(v); td_json_next(&w, NULL, &key);)
        count++;
    CHECK_INT(count, 4);
    free(copy);
}

static void test_nesting(void)
{
    char text[5000] = "";

    test_begin("JSON: nesting");
    for (int i = 0; i < TD_JSON_MAX_DEPTH; i++) {
        text[i] = '[';
        text[TD_JSON_MAX_DEPTH + i] = ']';
    }
    good(text);
    memset(text, '[', TD_JSON_MAX_DEPTH + 1);
    refused(text, "nested more than 64 deep");
    memset(text, '[', 4080);
    refused(text, "nested more than 64 deep");
    for (int i = 0; i < 800; i++)
        memcpy(text + 5 * i, "{\"a\":", 5);
    refused(text, "nested more than 64 deep");
}

#ifdef __SANITIZE_THREAD__
#define MOST_MB (3 * 130)                        /* it keeps two bytes for each */
#else
#define MOST_MB 130
#endif

/* MB of memory that the check of a text of n bytes takes, made of `part` with a number in it */
static long megabytes(const char *part, size_t n)
{
    char *text = malloc(n + 100);
    struct rusage before, after;
    size_t at = 1;
    int status = 0, result[2];
    long used = -1;
    TDJson root;
    pid_t pid;

    if (!text || pipe(result) < 0)
        return -1;
    text[0] = '{';
    for (int i = 0; at < n; i++)
        at += (size_t)sprintf(text + at, part, i);
    text[at - 1] = '}';
    pid = fork();
    if (!pid) {
        getrusage(RUSAGE_SELF, &before);
        if (td_json_check(&root, "a.json", text, at, &tlog) < 0)
            _exit(1);
        getrusage(RUSAGE_SELF, &after);
        used = (after.ru_maxrss - before.ru_maxrss) >> 10;
        _exit(write(result[1], &used, sizeof(used)) != sizeof(used));
    }
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    CHECK(read(result[0], &used, sizeof(used)) == sizeof(used));
    close(result[0]);
    close(result[1]);
    free(text);
    return used;
}

static void test_memory(void)
{
    long small, escaped;

    test_begin("JSON: memory is a small multiple of the text");
    small = megabytes("\"%x\":{},", 16 << 20);
    escaped = megabytes("\"\\u0061%x\":[],", 16 << 20);
    if (!CHECK(small >= 0 && small < MOST_MB && escaped >= 0 && escaped < MOST_MB))
        printf("  %ld and %ld MB for 16\n", small, escaped);
}

static void test_numbers(void)
{
    static const struct { const char *text; int fails; double value; } numbers[] = {
        { "{\"x\":0.8}", 0, 0.8 }, { "{\"x\":-12}", 0, -12 }, { "{\"x\":1.5e2}", 0, 150 },
        { "{\"x\":1E-3}", 0, 1e-3 }, { "{\"x\":-0}", 0, 0 }, { "{\"x\":123456789012345678}", 0, 123456789012345678.0 },
        { "{\"x\":0.1000000000000000055511151231257827}", 0, 0.1 }, { "{\"x\":1e400}", 1, 0 },
        { "{\"x\":1e-400}", 0, 0 }, { "{\"x\":\"1\"}", 1, 0 }, { "{\"x\":null}", 1, 0 }, { "{\"x\":[1]}", 1, 0 },
    };
    TDJson root, v;

    test_begin("JSON: numbers that are none, too large, or exact");
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
        double got = -1;
        int ret;

        CHECK_INT(td_json_check(&root, "test", numbers[i].text, strlen(numbers[i].text), &tlog), 0);
        CHECK(td_json_get(root, "x", &v));
        ret = td_json_number(v, &got);
        /* of more digits than a double has, to a few of its last bits */
        if (!CHECK(numbers[i].fails ? ret < 0 : ret == 0 && fabs(got - numbers[i].value) <=
                                                                (strlen(numbers[i].text) > 20 ? 1e-15 * fabs(got) : 0)))
            printf("  %s: %.17g\n", numbers[i].text, got);
    }
}

int main(void)
{
    test_grammar();
    test_walk();
    test_numbers();
    test_nesting();
    test_memory();
    return test_end();
}
