/* SPDX-License-Identifier: BSD-2-Clause
 * .safetensors files and sharded sets: good, damaged and hostile ones. */
#include "alloc_fail.h"
#include "ckpt_files.h"

static const float floats[6] = { 0, 1, 2, 3, 4, 5 };
static Buf st;

static void pack_st(const char *json, size_t data)
{
    st.n = 0;
    put_le(&st, strlen(json), 8);
    put_str(&st, json);
    for (size_t i = 0; i < data; i++)
        put(&st, &((const uint8_t *)floats)[i % sizeof(floats)], 1);
}

static void bad_st(const char *json, size_t data, int err, const char *words)
{
    pack_st(json, data);
    check_bad(json, st.data, st.n, err, words);
}

static void test_safetensors(void)
{
    static const uint8_t large[] = { 1, 0, 0, 1, 0, 0, 0, 0, '{' };    /* a header of 16 MiB + 1 */
    TDCheckpoint *c;
    char json[2400];

    test_begin("safetensors");
    pack_st("{\"__metadata__\":{\"format\":\"pt\"},\"net.b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[24,28]},"
            "\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
            "\"e\":{\"dtype\":\"F32\",\"shape\":[0,3],\"data_offsets\":[24,24]}}", 28);
    if (CHECK_INT(open_bytes(&c, st.data, st.n), 0)) {
        CHECK_INT(td_checkpoint_count(c), 3);
        CHECK_STR(td_checkpoint_entry(c, 0)->name, "b");
        check_values(c, "a", TD_F32, 1, 6, floats);
        check_values(c, "e", TD_F32, 1, 0, floats);
        td_checkpoint_close(&c);
    }
    test_begin("layers of _quantization_metadata that are a list");
    pack_st("{\"__metadata__\":{\"_quantization_metadata\":\"{\\\"layers\\\":[1,{}]}\"},"
            "\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}}", 24);
    if (CHECK_INT(open_bytes(&c, st.data, st.n), 0)) {
        CHECK_INT(td_checkpoint_count(c), 1);
        td_checkpoint_close(&c);
    }
    test_begin("bad safetensors");
    check_bad("header past the end", "\xff\0\0\0\0\0\0\0{}", 10, EBADMSG, "header of 255 bytes in a file of 10");
    check_bad("header overflows", "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10, EBADMSG, "header of");
    save_as("file", large, sizeof(large));
    CHECK(!truncate(path, (17 << 20)));
    CHECK_INT(open_file(&c), TD_ERR(EBADMSG));
    CHECK(strstr(tlog.last_error, "header of 16777217 bytes, want at most 16777216"));
    bad_st("{", 0, EBADMSG, "JSON");
    bad_st("{}", 0, EBADMSG, "no tensors");
    bad_st("{\"a\":1}", 0, EBADMSG, "a: no dtype");
    bad_st("{\"a\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[0,24]},"
           "\"a\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[0,24]}}", 24, EBADMSG, "duplicate");
    bad_st("{\"a\":{\"dtype\":\"F4\",\"shape\":[6],\"data_offsets\":[0,6]}}", 6, ENOTSUP, "dtype F4, want");
    bad_st("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,24]}}", 24, EBADMSG, "no shape");
    bad_st("{\"a\":{\"dtype\":\"F32\",\"shape\":[-6],\"data_offsets\":[0,24]}}", 24, EBADMSG, "dimension 0 is not");
    bad_st("{\"a\":{\"dtype\":\"F32\",\"shape\":[6.0],\"data_offsets\":[0,24]}}", 24, EBADMSG, "dimension 0 is not");
    bad_st("{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,6],\"data_offsets\":[0,24]}}", 24, ENOTSUP, "6 dimensions");
    bad_st("{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,24]}}", 24,
           EBADMSG, "overflows");
    bad_st("{\"a\":{\"dtype\":\"F32\",\"shape\":[6]}}", 24, EBADMSG, "data_offsets");
    bad_st("{\"a\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[24,0]}}", 24, EBADMSG, "data_offsets");
    bad_st("{\"a\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[-1,23]}}", 24, EBADMSG, "data_offsets");
    bad_st("{\"a\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[0,24]}}", 23, EBADMSG, "ends at byte 24");
    bad_st("{\"a\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[0,20]}}", 24, EBADMSG, "20 bytes, want 24");
    bad_st("{\"a\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[0,24]}}", 25, EBADMSG, "cover 24 bytes");
    bad_st("{\"a\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[4,28]}}", 28, EBADMSG, "leave a gap");
    bad_st("{\"a\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[0,24]},"
           "\"b\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[4,28]}}", 28, EBADMSG, "overlap");
    bad_st("{\"a\\u0000b\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[0,24]}}", 24, EBADMSG, "JSON");
    bad_st("{\"a\\nb\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[0,24]}}", 24,
           EBADMSG, "'a?b' holds byte 0x0a");
    pack_st("{\"a\":{\"dtype\":\"F32\",\"shape\":[0,1099511627776,1099511627776,1099511627776],"
            "\"data_offsets\":[0,0]}}", 0);
    if (CHECK_INT(open_bytes(&c, st.data, st.n), 0)) {
        check_values(c, "a", TD_F32, 1, 0, floats);
        td_checkpoint_close(&c);
    }
    bad_st("{\"a\":{\"dtype\":\"U8\",\"shape\":[0,1099511627777],\"data_offsets\":[0,0]}}", 0, EBADMSG,
           "a: dimension 1 is 1099511627777, want at most 1099511627776");
    memset(json, '[', sizeof(json));
    memcpy(json, "{\"a\":", 5);
    json[sizeof(json) - 1] = 0;
    bad_st(json, 0, EBADMSG, "nested more than 64 deep");
    memset(json, 'x', sizeof(json));
    memcpy(json, "{\"", 2);
    strcpy(json + 1500, "\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[0,24]}}");
    bad_st(json, 24, EBADMSG, "has 1498 bytes, want at most 1024");
}

/* what an index may name and is no shard: an index, this one by another name, what is no file, what is of no tensors */
static void make_strange(void)
{
    static const char inner[] = "\xef\xbb\xbf{\"weight_map\":{\"a\":\"inner\"}}",
                      lfs[] = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 24\n";
    char name[100];

    save_as("inner", inner + 3, sizeof(inner) - 4);
    save_as("inner_bom", inner, sizeof(inner) - 1);
    save_as("zip", "PK\3\4 and so on", 14);
    save_as("lfs", lfs, sizeof(lfs) - 1);
    save_as("cut", "=\0\0\0\0\0\0\0", 8);
    snprintf(name, sizeof(name), "%s/self", dir);
    CHECK_INT(symlink("file", name), 0);
    snprintf(name, sizeof(name), "%s/loop", dir);
    CHECK_INT(symlink("loop", name), 0);
    snprintf(name, sizeof(name), "%s/pipe", dir);
    CHECK_INT(mkfifo(name, 0600), 0);
}

static void test_shards(void)
{
    static const char good[] = "{\"metadata\":{\"total_size\":48},\"weight_map\":{\"a\":\"m-1-of-2.safetensors\","
                               "\"b\":\"m-2-of-2.safetensors\"}}";
#define MAP(s) "{\"weight_map\":" s "}"
    static const struct { const char *json; int err; const char *words; } bad[] = {
        { "{}", EBADMSG, "no weight_map" },
        { MAP("{}"), EBADMSG, "no tensors" },
        { MAP("{\"a\":1}"), EBADMSG, "in shard ''" },
        { MAP("{\"a\":\"../m-1-of-2.safetensors\"}"), EBADMSG, "want a file name in the same directory" },
        { MAP("{\"a\":\"/etc/passwd\"}"), EBADMSG, "want a file name in the same directory" },
        { MAP("{\"a\":\"m-3-of-2.safetensors\"}"), ENOENT, "m-3-of-2.safetensors: no such file" },
        { MAP("{\"a\":\"file\"}"), EBADMSG, "/file: is an index itself, want a .safetensors file" },
        { MAP("{\"a\":\"self\"}"), EBADMSG, "/self: is an index itself" },
        { MAP("{\"a\":\"inner\"}"), EBADMSG, "/inner: is an index itself" },
        { MAP("{\"a\":\"inner_bom\"}"), EBADMSG, "/inner_bom: is an index itself" },
        { "{\"meta\":{},\"weight_map\":{\"a\":\"file\"}}", EBADMSG, "/file: is an index itself" },
        { MAP("{\"a\":\"zip\"}"), EBADMSG, "/zip: starts with 50 4b 03 04, want a .safetensors file" },
        { MAP("{\"a\":\"lfs\"}"), EBADMSG, "/lfs: is a Git LFS pointer, want the weight file it stands for" },
        { MAP("{\"a\":\"cut\"}"), EBADMSG, "/cut: starts with 3d 00 00 00, want a .safetensors file" },
        { MAP("{\"a\":\".\"}"), EBADMSG, "want a file name in the same directory" },
        { MAP("{\"a\":\"pipe\"}"), EBADMSG, "/pipe: is no regular file" },
        { MAP("{\"a\":\"loop\"}"), ENOENT, "/loop: cannot open it" },
        { MAP("{\"c\":\"m-1-of-2.safetensors\"}"), EBADMSG, "'c' is not in shard 'm-1-of-2.safetensors'" },
        { MAP("{\"a\":\"m-1-of-2.safetensors\",\"b\":\"m-1-of-2.safetensors\"}"), EBADMSG, "'b' is not in shard" },
        { MAP("{\"a\":\"m-1-of-2.safetensors\",\"b\":\"copy\"}"), EBADMSG, "'a' is not in shard" },
    };
    TDCheckpoint *c;

    test_begin("sharded safetensors");
    pack_st("{\"a\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[0,24]}}", 24);
    save_as("m-1-of-2.safetensors", st.data, st.n);
    save_as("copy", st.data, st.n);
    pack_st("{\"b\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[0,24]}}", 24);
    save_as("m-2-of-2.safetensors", st.data, st.n);
    make_strange();
    if (CHECK_INT(open_bytes(&c, good, sizeof(good) - 1), 0)) {
        check_values(c, "a", TD_F32, 1, 6, floats);
        check_values(c, "b", TD_F32, 1, 6, floats);
        td_checkpoint_close(&c);
    }
    st.n = 0;
    put_str(&st, "\xef\xbb\xbf");
    put_str(&st, good);
    if (CHECK_INT(open_bytes(&c, st.data, st.n), 0))
        td_checkpoint_close(&c);
    save_as("file", "{", 1);
    CHECK(!truncate(path, (16 << 20) + 1));
    CHECK_INT(open_file(&c), TD_ERR(EBADMSG));
    CHECK(strstr(tlog.last_error, "index of 16777217 bytes"));
    check_bad("damaged index", "{\"weight_map\":", 14, EBADMSG, "JSON line 1");
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        check_bad(bad[i].json, bad[i].json, strlen(bad[i].json), bad[i].err, bad[i].words);
}

static void test_damage(void)
{
    test_begin("damaged safetensors");
    pack_st("{\"a\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[0,12]},"
            "\"b\":{\"dtype\":\"I8\",\"shape\":[4],\"data_offsets\":[12,16]}}", 16);
    check_damage(&st);
}

static void test_out_of_memory(void)
{
    static const char index[] = "{\"weight_map\":{\"a\":\"m-1-of-2.safetensors\",\"b\":\"m-2-of-2.safetensors\"}}";
    char name[100];

    test_begin("safetensors out of memory");
    snprintf(name, sizeof(name), "%s/m-1-of-2.safetensors", dir);
    out_of_memory(name);
    save_as("file", index, sizeof(index) - 1);
    out_of_memory(path);
}

int main(void)
{
    make_dir();
    test_safetensors();
    test_shards();
    test_damage();
    test_out_of_memory();
    remove_dir((const char *const[]){ "file", "m-1-of-2.safetensors", "m-2-of-2.safetensors", "copy", "inner",
                                     "inner_bom", "zip", "lfs", "cut", "self", "loop", "pipe", NULL });
    return test_end();
}
