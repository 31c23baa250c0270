/* SPDX-License-Identifier: BSD-2-Clause
 * GGUF files: a good one, damaged and hostile ones. */
#include "alloc_fail.h"
#include "ckpt_files.h"

static Buf g;

static void text(const char *s)
{
    put_le(&g, strlen(s), 8);
    put_str(&g, s);
}

static void head(uint32_t version, uint64_t n_tensors, uint64_t n_pairs)
{
    g.n = 0;
    put_str(&g, "GGUF");
    put_le(&g, version, 4);
    put_le(&g, n_tensors, 8);
    put_le(&g, n_pairs, 8);
}

/* dims: innermost first */
static void tensor(const char *name, int n_dims, const uint64_t *dims, uint32_t type, uint64_t offset)
{
    text(name);
    put_le(&g, (uint64_t)n_dims, 4);
    for (int i = 0; i < n_dims; i++)
        put_le(&g, dims[i], 8);
    put_le(&g, type, 4);
    put_le(&g, offset, 8);
}

#define TENSOR(name, type, offset, ...) \
    tensor(name, (int)(sizeof((uint64_t[]){ __VA_ARGS__ }) / 8), (uint64_t[]){ __VA_ARGS__ }, type, offset)

static void number(const char *key, uint32_t v)
{
    text(key);
    put_le(&g, 4, 4);
    put_le(&g, v, 4);
}

static void pad(size_t alignment)
{
    while (g.n % alignment)
        put_le(&g, 0, 1);
}

static void array(const char *key, uint32_t type, uint64_t n)
{
    text(key);
    put_le(&g, 9, 4);
    put_le(&g, type, 4);
    put_le(&g, n, 8);
}

static void bad(const char *what, int err, const char *words)
{
    check_bad(what, g.data, g.n, err, words);
}

static void good(void)
{
    static const float half[6] = { 0.5f, 1, 1.5f, 2, 2.5f, 3 };
    static const uint8_t q8[34] = { 0, 0x3c, 1, 2, 0xff };       /* a scale of 1 */

    head(3, 3, 5);
    number("general.alignment", 64);
    array("tokenizer.ggml.tokens", 8, 2);
    text("a");
    text("");
    array("tokenizer.ggml.scores", 6, 2);
    put(&g, (float[]){ 0, -1 }, 8);
    array("nested", 9, 2);
    for (int i = 0; i < 2; i++) {
        put_le(&g, 0, 4);                        /* u8 */
        put_le(&g, 3, 8);
        put(&g, "\1\2\3", 3);
    }
    text("flag");
    put_le(&g, 7, 4);
    put_le(&g, 1, 1);
    TENSOR("model.diffusion_model.a", 0, 64, 3, 2);
    TENSOR("q", 8, 0, 32, 1);
    TENSOR("one", 0, 128, 1);
    pad(64);
    put(&g, q8, sizeof(q8));
    pad(64);
    put(&g, half, sizeof(half));
    pad(64);
    put(&g, half, 4);
}

static void test_good(void)
{
    static const float half[6] = { 0.5f, 1, 1.5f, 2, 2.5f, 3 };
    float values[32] = { 1, 2, -1 };
    const TDEntry *e;
    TDCheckpoint *c;

    test_begin("a file with arrays, an alignment and blocks");
    for (int version = 2; version <= 3; version++) {
        good();
        g.data[4] = (uint8_t)version;
        if (!CHECK_INT(open_bytes(&c, g.data, g.n), 0))
            return;
        CHECK_INT(td_checkpoint_count(c), 5);
        check_values(c, "a", TD_F32, 1, 6, half);
        e = td_checkpoint_find(c, "a");
        CHECK(e && e->n_dims == 2 && e->shape[0] == 2 && e->shape[1] == 3);
        check_values(c, "q", TD_Q8_0, 1, 32, values);
        check_values(c, "one", TD_F32, 1, 1, half);
        check_values(c, "tokenizer.ggml.scores", TD_F32, 1, 2, (float[]){ 0, -1 });
        e = td_checkpoint_find(c, "tokenizer.ggml.tokens");
        CHECK(e && e->aside && e->dtype == TD_U8 && e->bytes == 17 && e->data[8] == 'a');
        td_checkpoint_close(&c);
    }
    test_begin("every bit flipped, every length");
    good();
    check_damage(&g);
    test_begin("out of memory");
    good();
    save_as("file", g.data, g.n);
    out_of_memory(path);
}

static void test_counts(void)
{
    test_begin("counts, lengths and versions");
    head(1, 0, 0);
    bad("version 1", ENOTSUP, "GGUF of version 1, want 2 or 3");
    head(0x03000000, 0, 0);
    bad("big-endian", ENOTSUP, "GGUF of version 50331648");
    head(3, 0, 0);
    bad("nothing", EBADMSG, "no tensors in it");
    g.n = 20;
    bad("half a header", EBADMSG, "the header at byte 16 goes past the end");
    head(3, UINT64_MAX, 0);
    bad("tensors without end", EBADMSG, "a tensor's name at byte 24 goes past the end of the file (truncated?)");
    head(3, 0, UINT64_MAX);
    bad("pairs without end", EBADMSG, "a key at byte 24 goes past the end");
    head(3, 0, 1);
    put_le(&g, (uint64_t)3 << 30, 8);
    bad("a key of gigabytes", EBADMSG, "a key at byte 32 goes past the end");
    head(3, 0, 1);
    put_le(&g, UINT64_MAX, 8);
    bad("a key longer than memory", EBADMSG, "a key at byte 32 goes past the end");
    head(3, 0, 1);
    text("k");
    put_le(&g, 8, 4);
    put_le(&g, (uint64_t)1 << 40, 8);
    bad("a string of a terabyte", EBADMSG, "a string at byte 45 goes past the end");
    head(3, 0, 1);
    array("k", 10, (uint64_t)1 << 61);
    bad("an array whose bytes overflow", EBADMSG, "an array at byte 49 goes past the end");
    head(3, 0, 1);
    array("k", 0, UINT64_MAX);
    bad("an array of all bytes", EBADMSG, "an array at byte 49 goes past the end");
    head(3, 0, 1);
    array("k", 8, UINT64_MAX);
    bad("strings without end", EBADMSG, "a string at byte 49 goes past the end");
    head(3, 0, 1);
    array("k", 13, 1);
    bad("an array of no type", EBADMSG, "a value of type 13 at byte 49, want 0 to 12");
    head(3, 0, 1);
    text("k");
    put_le(&g, 77, 4);
    bad("a value of no type", EBADMSG, "a value of type 77 at byte 37, want 0 to 12");
    head(3, 0, 1);
    array("k", 9, 1);
    for (int i = 0; i < 1000; i++) {
        put_le(&g, 9, 4);
        put_le(&g, 1, 8);
    }
    bad("arrays in arrays", EBADMSG, "arrays nested more than 4 deep");
    head(3, 0, 1);
    array("tokenizer.ggml.tokens", 4, 1);
    put_le(&g, 4, 4);
    bad("tokens that are numbers", EBADMSG, "tokenizer.ggml.tokens is of type 4, want an array of type 8");
    head(3, 0, 1);
    number("tokenizer.ggml.scores", 4);
    bad("scores that are one number", EBADMSG, "tokenizer.ggml.scores is of type 4, want an array of type 6");
    head(3, 0, 1);
    array("comfy.gguf.orig_shape.a", 5, 6);
    for (int i = 0; i < 6; i++)
        put_le(&g, 1, 4);
    bad("a shape of 6", EBADMSG, "a comfy.gguf.orig_shape. of 6 dimensions, want 1 to 5");
}

static void test_tensors(void)
{
    static const uint32_t alignments[] = { 0, 3, 48, 1 << 21, UINT32_MAX };
    char name[1100], words[100];
    TDCheckpoint *c;

    test_begin("alignments");
    for (size_t i = 0; i < sizeof(alignments) / sizeof(*alignments); i++) {
        head(3, 1, 1);
        number("general.alignment", alignments[i]);
        snprintf(words, sizeof(words), "general.alignment is %u (of type 4), want a power of 2", alignments[i]);
        bad("alignment", EBADMSG, words);
    }
    head(3, 1, 1);
    text("general.alignment");
    put_le(&g, 10, 4);
    put_le(&g, 32, 8);
    bad("alignment of another type", EBADMSG, "general.alignment is 0 (of type 10)");

    test_begin("shapes, types, offsets");
    head(3, 1, 0);
    TENSOR("a", 0, 0, 1, 1, 1, 1, 1, 1);
    bad("6 dimensions", ENOTSUP, "a: 6 dimensions, want at most 5");
    head(3, 1, 0);
    TENSOR("a", 0, 0, (uint64_t)1 << 40, (uint64_t)1 << 40);
    bad("2^80 values", EBADMSG, "a: shape product overflows");
    head(3, 1, 0);
    TENSOR("a", 0, 0, 0, UINT64_MAX, UINT64_MAX);
    bad("none of 2^128 values", EBADMSG, "a: shape product overflows");
    head(3, 1, 0);
    TENSOR("a", 0, 0, 1, (uint64_t)1 << 40);
    pad(32);
    bad("more than the file", EBADMSG, "a: 4398046511104 bytes from byte 0 of a data section of");
    head(3, 1, 0);
    TENSOR("a", 8, 0, 33, 2);
    bad("rows that are no blocks", EBADMSG, "a: rows of 33 values, want a multiple of 32 for q8_0");
    head(3, 1, 0);
    TENSOR("a", 12, 0, 128, 2);
    bad("blocks over rows", EBADMSG, "a: rows of 128 values, want a multiple of 256 for q4_k");
    head(3, 1, 0);
    tensor("a", 0, NULL, 2, 0);
    bad("a number in blocks", EBADMSG, "a: rows of 1 values, want a multiple of 32 for q4_0");
    head(3, 1, 0);
    TENSOR("a", 16, 0, 256);
    bad("a type that is not read", ENOTSUP, "a: type 16 of GGUF, want F32");
    head(3, 1, 0);
    TENSOR("a", 0, 16, 4);
    pad(32);
    put_le(&g, 0, 8);
    put_le(&g, 0, 8);
    put_le(&g, 0, 8);
    put_le(&g, 0, 8);
    bad("not aligned", EBADMSG, "a: at byte 16 of the data, want a multiple of 32");
    head(3, 1, 0);
    TENSOR("a", 0, UINT64_MAX - 31, 4);
    pad(32);
    bad("an offset that overflows", EBADMSG, "a: 16 bytes from byte 18446744073709551584 of a data section of 0");
    head(3, 1, 0);
    TENSOR("a", 0, 0, 4);
    bad("no data", EBADMSG, "the data section at byte");
    head(3, 2, 0);
    TENSOR("a", 0, 0, 1);
    TENSOR("net.a", 0, 0, 1);
    pad(32);
    put_le(&g, 0, 4);
    bad("one name twice", EBADMSG, "tensor 'a' occurs twice");
    memset(name, 'x', sizeof(name));
    name[1050] = 0;
    head(3, 1, 0);
    TENSOR(name, 0, 0, 1);
    pad(32);
    put_le(&g, 0, 4);
    bad("a long name", EBADMSG, "has 1050 bytes, want at most 1024");
    head(3, 1, 0);
    TENSOR("a\nb", 0, 0, 1);
    pad(32);
    put_le(&g, 0, 4);
    bad("a line in a name", EBADMSG, "'a?b' holds byte 0x0a");

    test_begin("a tensor without values");
    head(3, 1, 0);
    TENSOR("a", 0, 0, 0, 3);
    pad(32);
    if (CHECK_INT(open_bytes(&c, g.data, g.n), 0))
        td_checkpoint_close(&c);
}

int main(void)
{
    make_dir();
    test_good();
    test_counts();
    test_tensors();
    remove_dir((const char *const[]){ "file", NULL });
    return test_end();
}
