/* SPDX-License-Identifier: BSD-2-Clause
 * Tokenizer and prompt cleaning: golden texts and ids of the official pipeline (tests/data/tokenizer_golden.json, made
 * by tools/compare_tokenizer.py), limits, damaged vocabularies. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "alloc_fail.h"
#include "files/json.h"
#include "text/tokenizer.h"
#include "test.h"

#define MODEL "tests/data/spiece.model"

static char dir[] = "/tmp/td_test_XXXXXX";
static char path[64];
static int n_errors, n_warnings;
static char warning[512];

static void count_line(void *cookie, int level, const char *line)
{
    (void)cookie;
    n_errors   += level == TD_LOG_ERROR;
    n_warnings += level == TD_LOG_WARNING;
    if (level == TD_LOG_WARNING)
        snprintf(warning, sizeof(warning), "%s", line);
}

static TDLog tlog = { .out = { .callback = count_line, .level = TD_LOG_WARNING } };

/* the text of a member, malloc'd */
static char *get_text(TDJson row, const char *key)
{
    TDJson v;
    ptrdiff_t n = td_json_get(row, key, &v) ? td_json_string(v, &(char){ 0 }, 1) : -1;
    char *text = n >= 0 ? malloc((size_t)n + 1) : NULL;

    if (CHECK(text != NULL))
        td_json_string(v, text, (size_t)n + 1);
    return text;
}

static void check_row(const TDTokenizer *tok, TDJson row, int number)
{
    char *text = get_text(row, "text"), *want = get_text(row, "clean"), *clean = NULL;
    int32_t ids[TD_TEXT_LEN];
    int n, k = 0, bad = 0;
    int64_t id = -1;
    TDJson list, v;
    TDJsonWalk w;

    if (!text || !want || !CHECK(td_json_get(row, "ids", &list)) || !CHECK_INT(td_text_clean(&clean, text, &tlog), 0))
        goto end;
    if (!CHECK_STR(clean, want))
        printf("  case %d\n", number);
    n = td_tokenize(tok, text, ids, TD_TEXT_LEN, &tlog);
    for (w = td_json_walk(list); td_json_next(&w, NULL, &v); k++)
        bad += td_json_integer(v, &id) < 0 || k >= n || ids[k] != id;
    CHECK_INT(n, k);
    for (; k < TD_TEXT_LEN; k++)
        bad += ids[k] != 0;
    if (!CHECK(!bad))
        printf("  case %d: %s\n", number, text);
end:
    free(clean);
    free(want);
    free(text);
}

static void test_golden(const TDTokenizer *tok)
{
    int fd = open("tests/data/tokenizer_golden.json", O_RDONLY), n_rows = 0;
    char *text = malloc(1 << 20);
    ssize_t n = fd < 0 || !text ? 0 : read(fd, text, 1 << 20);
    TDJson root, row;
    TDJsonWalk w;

    test_begin("golden texts and ids");
    if (CHECK(n > 0 && n < 1 << 20) && CHECK_INT(td_json_check(&root, "golden", text, (size_t)n, &tlog), 0))
        for (w = td_json_walk(root); td_json_next(&w, NULL, &row); n_rows++)
            check_row(tok, row, n_rows);
    CHECK(n_rows > 100);
    close(fd);
    free(text);
}

static void check_clean(const char *text, const char *want)
{
    char *clean;

    if (!CHECK_INT(td_text_clean(&clean, text, &tlog), 0))
        return;
    CHECK_STR(clean, want);
    free(clean);
}

static void test_cleaning(void)
{
    test_begin("cleaning");
    check_clean("", "");
    check_clean(" \t\n ", "");
    check_clean("a\vb", "ab");
    check_clean("a\r\nb\rc d", "a b c d");
    check_clean("\xe2\x80\x9cquoted\xe2\x80\x9d it\xe2\x80\x99s", "\"quoted\" it's");
    check_clean("\x1b[31mred\x1b[0m", "red");
    check_clean("AT&amp;T R&D &copy 2024 &notit", "AT&T R&D \xc2\xa9 2024 \xc2\xacit");
    check_clean("&EACUTE; BUNDESSTRA&SZLIG;E &FFLIG;", "\xc3\x89 BUNDESSTRASSE FF");
    check_clean("&nTILDE; &fjlig; &FJLIG; &NotEqualTilde;", "&nTILDE; fj FJ \xe2\x89\x82\xcc\xb8");
    check_clean("<&fjlig;", "<fj");
    check_clean("&ldquo;a&rdquo;", "\"a\"");
    check_clean("<&ldquo;a&rdquo;", "<\xe2\x80\x9c" "a\xe2\x80\x9d");
    check_clean("&ldquo;a\n<&ldquo;b\n&ldquo;c", "\"a <\xe2\x80\x9c" "b \xe2\x80\x9c" "c");
    check_clean("&#0;&#x41;&#128;&#xD800;&#99999999999;&#1;", "\xef\xbf\xbd" "A\xe2\x82\xac\xef\xbf\xbd\xef\xbf\xbd");
    check_clean("&amp;amp;amp;lt;", "<");
    check_clean("e\xcc\x81", "\xc3\xa9");
    check_clean("\xef\xbd\xb6\xef\xbe\x9e", "\xe3\x82\xac");
}

static void check_not_utf8(const char *text)
{
    char *clean = warning;

    n_errors = 0;
    CHECK_INT(td_text_clean(&clean, text, &tlog), TD_ERR(EINVAL));
    CHECK(!clean && n_errors == 1);
    CHECK_STR(tlog.last_error, "prompt: is not UTF-8");
}

static void test_limits(const TDTokenizer *tok)
{
    static const char *const mojibake[] = { "caf\xc3\x83\xc2\xa9", "it\xc3\xa2\xe2\x82\xac\xe2\x84\xa2s" };
    int32_t ids[TD_TEXT_LEN];
    char *big = malloc((64 << 10) + 2), *clean;

    test_begin("not UTF-8");
    check_not_utf8("\xff");
    check_not_utf8("a\xc3");
    check_not_utf8("\xc0\xaf");
    check_not_utf8("\xed\xa0\x80");
    check_not_utf8("\xf4\x90\x80\x80");
    CHECK_INT(td_tokenize(tok, "\xff", ids, TD_TEXT_LEN, NULL), TD_ERR(EINVAL));
    test_begin("long prompts");
    if (!CHECK(big))
        return;
    memset(big, 'a', (64 << 10) + 1);
    big[(64 << 10) + 1] = 0;
    CHECK_INT(td_text_clean(&clean, big, &tlog), TD_ERR(EINVAL));
    CHECK_STR(tlog.last_error, "prompt: 65537 bytes, want at most 65536");
    big[64 << 10] = n_warnings = 0;
    CHECK_INT(td_tokenize(tok, big, ids, TD_TEXT_LEN, &tlog), TD_TEXT_LEN);
    CHECK(ids[TD_TEXT_LEN - 1] == 1 && n_warnings == 1 && strstr(warning, "cut off"));
    CHECK_INT(td_tokenize(tok, "cat", ids, 1, &tlog), 1);
    CHECK_INT(ids[0], 1);
    CHECK_INT(td_tokenize(tok, "a cat", ids, 2, NULL), 2);
    CHECK_INT(ids[1], 1);
    free(big);
    test_begin("mojibake warning");
    for (int i = 0; i < 2; i++) {
        n_warnings = 0;
        CHECK(td_tokenize(tok, mojibake[i], ids, TD_TEXT_LEN, &tlog) > 0 && n_warnings == 1);
        CHECK(strstr(warning, "read as Latin-1"));
    }
    n_warnings = 0;
    CHECK(td_tokenize(tok, "S\xc3\xa3o Paulo \xc3\xa0 noite, caf\xc3\xa9", ids, TD_TEXT_LEN, &tlog) > 0 && !n_warnings);
}

static void save(const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");

    if (!f || fwrite(data, 1, n, f) != n || fclose(f)) {
        fprintf(stderr, "cannot write %s\n", path);
        exit(1);
    }
}

static void check_bad(const void *data, size_t n, int err, const char *words)
{
    TDTokenizer *tok = (void *)path;
    int ret;

    save(data, n);
    n_errors = 0;
    ret = td_tokenizer_open(&tok, path, &tlog);
    if (ret != TD_ERR(err) || tok || n_errors != 1 || !strstr(tlog.last_error, words)) {
        printf("  code %d: %s (want %d, \"%s\")\n", ret, tlog.last_error, -err, words);
        CHECK(!"as wanted");
        if (!ret)
            td_tokenizer_free(&tok);
    }
}

#define BAD(data, err, words) check_bad(data, sizeof(data) - 1, err, words)
#define PIECE(len2, len, text, score) "\n" len2 "\n" len text "\x15" score
#define SPECIALS PIECE("\x0c", "\5", "<pad>", "\0\0\0\0") PIECE("\x0b", "\4", "</s>", "\0\0\0\0") \
                 PIECE("\x0a", "\3", "<s>", "\0\0\0\0") PIECE("\x0c", "\5", "<unk>", "\0\0\0\0")
#define TRAINER "\x12\0"

static void test_bad_models(void)
{
    static char long_piece[600] = "\n\xcc\4\n\xc9\4";    /* 588 bytes: a text of 585 */
    char secret[100];
    TDTokenizer *tok;

    test_begin("bad vocabularies");
    save(SPECIALS TRAINER, sizeof(SPECIALS TRAINER) - 1);
    if (CHECK_INT(td_tokenizer_open(&tok, path, &tlog), 0)) {
        CHECK_INT(td_tokenizer_n_ids(tok), 304);
        td_tokenizer_free(&tok);
        CHECK(!tok);
    }
    BAD("", EBADMSG, "0 bytes");
    BAD("hello", EBADMSG, "damaged");
    BAD("version https://git-lfs.github.com/spec/v1\noid sha256:00\n", EBADMSG,
        "is a Git LFS pointer, want the vocabulary (spiece.model) that it stands for");
    BAD("\n\x0c\n\5<pad>", EBADMSG, "damaged at byte 2 of 9");
    BAD("\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", EBADMSG, "damaged");
    BAD("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", EBADMSG, "damaged");
    BAD("\0", EBADMSG, "damaged");
    BAD("\x0b", EBADMSG, "damaged");
    BAD("\n\7\n\5<pad", EBADMSG, "damaged");
    BAD(PIECE("\x0c", "\6", "<pad>", "\0\0\0\0"), EBADMSG, "piece 0 is damaged");
    BAD(PIECE("\7", "\0", "", "\0\0\0\0"), EBADMSG, "piece 0 is damaged");
    BAD(SPECIALS PIECE("\x08", "\1", "a", "\0\0\x80\x7f"), EBADMSG, "piece 4 is damaged");
    BAD(SPECIALS PIECE("\x08", "\1", "a", "\0\0\xc0\x7f"), EBADMSG, "piece 4 is damaged");
    BAD(SPECIALS PIECE("\x08", "\1", "a", "\0\0\0\0") PIECE("\x08", "\1", "a", "\0\0\0\0") TRAINER, EBADMSG,
        "piece 5 repeats piece 4");
    check_bad(long_piece, 3 + 588, EBADMSG, "piece 0 has 585 bytes, want at most 512");
    BAD(PIECE("\x0c", "\5", "<unk>", "\0\0\0\0"), ENOTSUP, "piece 0 is not <pad>");
    BAD(PIECE("\x0c", "\5", "<pad>", "\0\0\0\0"), ENOTSUP, "piece 1 is not </s>");
    BAD(SPECIALS, EBADMSG, "ends behind piece 3, want a trainer_spec after the last one: the file is cut short");
    BAD(SPECIALS "\x1a\0", EBADMSG, "the file is cut short");
    BAD(SPECIALS "\x12\2\x18\2", ENOTSUP, "model type 2, want 1");
    BAD(SPECIALS "\x12\1\x18", EBADMSG, "trainer_spec is damaged");
    BAD(SPECIALS "\x1a\3\x12\1x", ENOTSUP, "has a normaliser");
    BAD(SPECIALS "\x1a\1\x12", EBADMSG, "normalizer_spec is damaged");
    CHECK_INT(td_tokenizer_open(&tok, "/nonexistent", &tlog), TD_ERR(ENOENT));
    CHECK_INT(td_tokenizer_open(&tok, dir, &tlog), TD_ERR(EBADMSG));
    snprintf(secret, sizeof(secret), "%s/secret", dir);
    CHECK(!rename(path, secret) && !chmod(secret, 0) && !chmod(dir, 0755));
    if (geteuid() == 0 && seteuid(65534))
        CHECK(!"seteuid");
    CHECK_INT(td_tokenizer_open(&tok, secret, &tlog), TD_ERR(EACCES));
    if (getuid() == 0 && seteuid(0))
        CHECK(!"seteuid");
    unlink(secret);
}

/* texts of one byte, which are compared when all are read */
static void test_many_pieces(void)
{
    static const uint8_t piece[5] = { '\n', 3, '\n', 1, 'a' };
    size_t n = ((size_t)1 << 20) + 1;
    uint8_t *model = malloc(n * sizeof(piece));

    test_begin("1,048,576 pieces, and no more");
    if (!CHECK(model))
        return;
    for (size_t i = 0; i < n; i++)
        memcpy(model + i * sizeof(piece), piece, sizeof(piece));
    check_bad(model, n * sizeof(piece), EBADMSG, "more than 1048576 pieces");
    check_bad(model, (n - 1) * sizeof(piece), ENOTSUP, "piece 0 is not <pad>");
    free(model);
}

static void test_damage(void)
{
    static uint8_t model[1 << 16];
    FILE *f = fopen(MODEL, "rb");
    size_t n = f ? fread(model, 1, sizeof(model), f) : 0;
    int32_t ids[TD_TEXT_LEN];
    TDTokenizer *tok;
    int fd;

    test_begin("damaged vocabularies");
    if (f)
        fclose(f);
    if (!CHECK(n > 10000 && n < sizeof(model)))
        return;
    save(model, n);
    fd = open(path, O_WRONLY);
    for (size_t i = 0; i < n; i += i < 400 ? 1 : 13)
        for (int bit = 0; bit < 8; bit++) {
            uint8_t flipped = model[i] ^ (uint8_t)(1 << bit);

            CHECK_INT(pwrite(fd, &flipped, 1, (off_t)i), 1);
            if (!td_tokenizer_open(&tok, path, &tlog)) {
                CHECK(td_tokenize(tok, "a cat in the rain", ids, TD_TEXT_LEN, &tlog) > 1);
                td_tokenizer_free(&tok);
            }
            CHECK_INT(pwrite(fd, &model[i], 1, (off_t)i), 1);
        }
    for (size_t k = n; k > 60; k -= 61) {
        CHECK(!ftruncate(fd, (off_t)k));
        if (!td_tokenizer_open(&tok, path, &tlog))
            td_tokenizer_free(&tok);             /* cut between two pieces */
    }
    close(fd);
}

static void test_out_of_memory(const TDTokenizer *tok)
{
    static const char prompt[] = "caf\xc3\xa9 e\xcc\x81 &lt; a </s> \xe7\x8c\xab and so on and on";
    int32_t ids[TD_TEXT_LEN];
    TDTokenizer *t;
    int hit = 1, ret;

    test_begin("tokenizer out of memory");
    for (long n = 1; hit; n++) {
        alloc_fail_begin(n);
        ret = td_tokenizer_open(&t, MODEL, &tlog);
        hit = alloc_fail_end();
        if (!CHECK_INT(ret, hit ? TD_ERR(ENOMEM) : 0))
            break;
        if (!ret)
            td_tokenizer_free(&t);
        CHECK_INT(alloc_fail_leak(), 0);
    }
    hit = 1;
    for (long n = 1; hit; n++) {
        alloc_fail_begin(n);
        ret = td_tokenize(tok, prompt, ids, TD_TEXT_LEN, &tlog);
        hit = alloc_fail_end();
        if (!(hit ? CHECK_INT(ret, TD_ERR(ENOMEM)) : CHECK(ret > 0)))
            break;
        CHECK_INT(alloc_fail_leak(), 0);
    }
}

/* ---- hostile work ---- */

/* two words of 5 bytes that take the hash from *h to one value: a birthday search */
static void find_pair(uint32_t *h, char pair[2][5], uint64_t *state)
{
    enum { N = 1 << 18 };
    static uint64_t seen[N];                     /* hash, and the low bits of the state before the word */
    uint64_t first;

    memset(seen, 0, sizeof(seen));
    for (;;) {
        uint32_t v = *h;

        first = *state = *state * UINT64_C(6364136223846793005) + 1442695040888963407;
        for (int i = 0; i < 5; i++) {
            pair[0][i] = (char)(1 + (first >> (24 + 8 * i)) % 255);
            v = (v ^ (uint8_t)pair[0][i]) * 16777619u;
        }
        for (uint32_t at = v % N;; at = (at + 1) % N) {
            char other[5];
            uint32_t w = *h;

            if (!seen[at]) {
                seen[at] = first;
                break;
            }
            for (int i = 0; i < 5; i++) {
                other[i] = (char)(1 + (seen[at] >> (24 + 8 * i)) % 255);
                w = (w ^ (uint8_t)other[i]) * 16777619u;
            }
            if (w == v && memcmp(other, pair[0], 5)) {
                memcpy(pair[1], other, 5);
                *h = v;
                return;
            }
        }
    }
}

/* 65,536 pieces of one FNV-1a hash */
static void test_colliding_pieces(void)
{
    enum { BITS = 16 };
    static const char *const special[] = { "<pad>", "</s>", "<s>", "<unk>" };
    char pairs[BITS][2][5];
    uint32_t h = 2166136261u;
    uint64_t state = 1;
    TDTokenizer *tok;
    double began;
    FILE *f;

    test_begin("pieces that share a hash cost no more than others");
    for (int i = 0; i < BITS; i++)
        find_pair(&h, pairs[i], &state);
    f = fopen(path, "wb");
    if (!CHECK(f != NULL))
        return;
    for (int i = 0; i < 4; i++)
        fprintf(f, "\n%c\n%c%s\x15%c%c%c%c", (int)strlen(special[i]) + 7, (int)strlen(special[i]), special[i], 0,
                0, 0, 0);
    for (int n = 0; n < 1 << BITS; n++) {
        fprintf(f, "\n%c\n%c", 5 * BITS + 7, 5 * BITS);
        for (int i = 0; i < BITS; i++)
            fwrite(pairs[i][n >> i & 1], 1, 5, f);
        fprintf(f, "\x15%c%c%c%c", 0, 0, 0x80, 0xbf);
    }
    fwrite(TRAINER, 1, 2, f);
    fclose(f);
    began = td_now();
    if (CHECK_INT(td_tokenizer_open(&tok, path, &tlog), 0))
        td_tokenizer_free(&tok);
    CHECK(td_now() - began < 3);                 /* in one row of the table: a minute */
    unlink(path);
}

static char *repeat(const char *a, int n, const char *b, int m)
{
    char *text = malloc(strlen(a) * (size_t)n + strlen(b) * (size_t)m + 1), *p = text;

    for (int i = 0; i < n; i++)
        p = stpcpy(p, a);
    for (int i = 0; i < m; i++)
        p = stpcpy(p, b);
    return text;
}

/* words: of the error, NULL where it is cleaned */
static void check_work(char *text, const char *words)
{
    double began = td_now();
    char *clean = NULL;
    int ret = td_text_clean(&clean, text, &tlog);

    if (!CHECK_INT(ret, words ? TD_ERR(EINVAL) : 0))
        printf("  %.20s: %s\n", text, tlog.last_error);
    if (words && !CHECK(strstr(tlog.last_error, words) != NULL))
        printf("  %s\n", tlog.last_error);
    CHECK(td_now() - began < 3);
    free(clean);
    free(text);
}

static void test_hostile_prompts(void)
{
    test_begin("prompts that ask for much work");
    check_work(repeat("&#", 32000, "", 0), NULL);
    check_work(repeat("&amp;", 13000, "", 0), NULL);
    check_work(repeat("&#5", 12000, ";", 12000), "HTML references nested more than 32 deep");
    check_work(repeat("&", 1, "amp;", 16000), NULL);
    check_work(repeat("&#894", 13000, ";", 1), "HTML references nested more than 32 deep");
    check_work(repeat("&am", 5000, "p;#65279;", 5000), "HTML references nested more than 32 deep");
    check_work(repeat("\xcc\x81", 15000, "\xcc\x96", 15000), "more than 255 combining marks in a row");
    check_work(repeat("&#769;", 5000, "&#790;", 5000), "more than 255 combining marks in a row");
    check_work(repeat("\xcc\x81", 200, "a\xcc\x96", 15000), NULL);
    check_clean("a&#894&#894&#894;&#768;", "a;\xcc\x80");
}

int main(void)
{
    TDTokenizer *tok;

    if (!mkdtemp(dir))
        return 1;
    snprintf(path, sizeof(path), "%s/file", dir);
    test_begin("open");
    if (CHECK_INT(td_tokenizer_open(&tok, MODEL, &tlog), 0)) {
        CHECK_INT(td_tokenizer_n_ids(tok), 1660);
        test_golden(tok);
        test_limits(tok);
        test_out_of_memory(tok);
        td_tokenizer_free(&tok);
    }
    td_tokenizer_free(&tok);
    test_cleaning();
    test_bad_models();
    test_many_pieces();
    test_damage();
    test_colliding_pieces();
    test_hostile_prompts();
    unlink(path);
    rmdir(dir);
    return test_end();
}
