/* SPDX-License-Identifier: BSD-2-Clause
 * .pth files: saved by torch (tests/data), written here in every form of the container, damaged, and hostile ones. */
#include "alloc_fail.h"
#include "ckpt_files.h"
#include "files/values.h"

/* A zip archive as torch.save writes it */
typedef struct Zip {
    Buf out, central;
    int n;
} Zip;

enum { ZIP64 = 1, PADDED = 2 };

static void zip_add_raw(Zip *z, const char *name, const void *data, size_t n, int flags, int method, int gp_flags,
                        uint64_t size, uint64_t offset)
{
    int pad = flags & PADDED ? (int)((64 - (z->out.n + 30 + strlen(name) + 4) % 64) % 64) + 4 : 0;
    uint64_t at = offset == UINT64_MAX ? z->out.n : offset;

    put_le(&z->out, 0x04034b50, 4);
    put_le(&z->out, 0, 2);
    put_le(&z->out, 0x0808, 2);
    put_le(&z->out, 0, 2 + 4);                   /* method, time */
    put_le(&z->out, 0, 4 + 4 + 4);               /* CRC and sizes are in the descriptor */
    put_le(&z->out, strlen(name), 2);
    put_le(&z->out, (uint64_t)pad, 2);
    put_str(&z->out, name);
    if (pad) {
        put_le(&z->out, 0x4246, 2);
        put_le(&z->out, (uint64_t)pad - 4, 2);
        for (int i = 4; i < pad; i++)
            put(&z->out, "Z", 1);
    }
    put(&z->out, data, n);
    put_le(&z->central, 0x02014b50, 4);
    put_le(&z->central, 0, 4);
    put_le(&z->central, (uint64_t)gp_flags, 2);
    put_le(&z->central, (uint64_t)method, 2);
    put_le(&z->central, 0, 4 + 4);
    put_le(&z->central, flags & ZIP64 ? 0xffffffff : size, 4);
    put_le(&z->central, flags & ZIP64 ? 0xffffffff : size, 4);
    put_le(&z->central, strlen(name), 2);
    put_le(&z->central, flags & ZIP64 ? 8 + 28 : 0, 2);
    put_le(&z->central, 0, 2 + 2 + 2 + 4);
    put_le(&z->central, flags & ZIP64 ? 0xffffffff : at, 4);
    put_str(&z->central, name);
    if (flags & ZIP64) {
        put_le(&z->central, 0x7777, 2);          /* another extra field first */
        put_le(&z->central, 4, 2);
        put_le(&z->central, 0, 4);
        put_le(&z->central, 1, 2);
        put_le(&z->central, 24, 2);
        put_le(&z->central, size, 8);
        put_le(&z->central, size, 8);
        put_le(&z->central, at, 8);
    }
    z->n++;
}

static void zip_add(Zip *z, const char *name, const void *data, size_t n, int flags)
{
    zip_add_raw(z, name, data, n, flags, 0, 0x0808, n, UINT64_MAX);
}

static void zip_end(Zip *z, int flags)
{
    size_t at = z->out.n, end;

    put(&z->out, z->central.data, z->central.n);
    end = z->out.n;
    if (flags & ZIP64) {
        put_le(&z->out, 0x06064b50, 4);
        put_le(&z->out, 44, 8);
        put_le(&z->out, 0, 2 + 2 + 4 + 4);
        put_le(&z->out, (uint64_t)z->n, 8);
        put_le(&z->out, (uint64_t)z->n, 8);
        put_le(&z->out, z->central.n, 8);
        put_le(&z->out, at, 8);
        put_le(&z->out, 0x07064b50, 4);
        put_le(&z->out, 0, 4);
        put_le(&z->out, end, 8);
        put_le(&z->out, 1, 4);
    }
    put_le(&z->out, 0x06054b50, 4);
    put_le(&z->out, 0, 4);
    put_le(&z->out, flags & ZIP64 ? 0xffff : (uint64_t)z->n, 2);
    put_le(&z->out, flags & ZIP64 ? 0xffff : (uint64_t)z->n, 2);
    put_le(&z->out, flags & ZIP64 ? 0xffffffff : z->central.n, 4);
    put_le(&z->out, flags & ZIP64 ? 0xffffffff : at, 4);
    put_le(&z->out, 0, 2);
}

#define STORAGE(class, key, numel) \
    "(X\7\0\0\0storage" "ctorch\n" class "Storage\n" "X\1\0\0\0" key "X\3\0\0\0cpu" numel "tQ"
#define HOOKS   "\x89" "ccollections\nOrderedDict\n)R"
#define TENSOR(class, key, numel, offset, size, stride) \
    "ctorch._utils\n_rebuild_tensor_v2\n(" STORAGE(class, key, numel) offset size stride HOOKS "tR"
#define FLOATS  TENSOR("Float", "0", "K\6", "K\0", "K\2K\3\x86", "K\3K\1\x86")     /* 6 floats, [2,3] */
#define ZEROS   TENSOR("Float", "0", "K\6", "K\0", "K\1K\1\x86", "K\1K\1\x86")    /* the first one */
#define ONE(class, numel, offset, size, stride) PROTO "}" KEY("a") TENSOR(class, "0", numel, offset, size, stride) "s."
#define KEY(c)  "X\1\0\0\0" c
#define PROTO   "\x80\2"

static const float floats[6] = { 0, 1, 2, 3, 4, 5 };
static Zip zip;

/* An archive with this data.pkl and storage data/0 of six floats, in zip.out */
static void pack_pickle(const void *pickle, size_t n, int flags)
{
    zip.out.n = zip.central.n = 0;
    zip.n = 0;
    zip_add(&zip, "archive/data.pkl", pickle, n, flags);
    zip_add(&zip, "archive/byteorder", "little", 6, flags);
    zip_add(&zip, "archive/data/0", floats, sizeof(floats), flags);
    zip_add(&zip, "archive/version", "3\n", 2, flags);
    zip_end(&zip, flags);
}

#define PACK(pickle, flags) pack_pickle(pickle, sizeof(pickle) - 1, flags)

#define BAD_PICKLE(what, pickle, err, words) do { \
    PACK(pickle, 0); \
    check_bad(what, zip.out.data, zip.out.n, err, words); \
} while (0)

/* ---- good files ---- */

static void test_torch_files(void)
{
    static const char *const files[] = { "torch_zip.pth", "torch_legacy.pth", "torch_proto4.pth", "torch_wrapped.pth" };
    float view_t[24];
    char name[100];

    for (int i = 0; i < 24; i++)
        view_t[i] = (float)(i % 4 * 6 + i / 4);
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
        TDCheckpoint *c;
        const TDEntry *e;

        test_begin(files[i]);
        snprintf(name, sizeof(name), "tests/data/%s", files[i]);
        if (!CHECK_INT(td_checkpoint_open(&c, name, &tlog), 0)) {
            printf("  %s\n", tlog.last_error);
            continue;
        }
        CHECK_INT(td_checkpoint_count(c), 11);
        CHECK_STR(td_checkpoint_entry(c, 0)->name, "blocks.0.weight");
        CHECK(!td_checkpoint_entry(c, 11) && !td_checkpoint_entry(c, -1));
        CHECK_STR(td_checkpoint_path(c), name);
        CHECK(!td_checkpoint_find(c, "nothing"));
        check_values(c, "blocks.0.weight", TD_BF16, 1, 6, floats);
        check_values(c, "blocks.0.view_t", TD_F32, 0, 24, view_t);
        check_values(c, "blocks.0.view_off", TD_F32, 0, 6, (float[]){ 5, 6, 9, 10, 13, 14 });
        check_values(c, "blocks.0.int8_weight", TD_I8, 1, 4, (float[]){ -128, 127, 0, 5 });
        check_values(c, "half", TD_F16, 1, 2, (float[]){ 0.5f, -2 });
        check_values(c, "double", TD_F64, 1, 1, (float[]){ 0.25f });
        check_values(c, "scalar", TD_F32, 1, 1, (float[]){ 7 });
        check_values(c, "empty", TD_F32, 1, 0, floats);
        check_values(c, "parameter", TD_F32, 1, 2, (float[]){ 1.5f, 2.5f });
        e = td_checkpoint_find(c, "long");
        CHECK(e && e->dtype == TD_I64 && e->data[8] == 2 && td_entry_to_f32(e, view_t) == TD_ERR(ENOTSUP));
        e = td_checkpoint_find(c, "bool");
        CHECK(e && e->dtype == TD_BOOL && e->bytes == 2 && e->data[0] == 1);
        td_checkpoint_close(&c);
        CHECK(!c);
    }
}

static void test_zip_forms(void)
{
    static const int forms[] = { 0, ZIP64, PADDED, ZIP64 | PADDED };
    TDCheckpoint *c;

    for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
        test_begin((const char *[]){ "zip plain", "zip64", "zip padded", "zip64 padded" }[i]);
        PACK(PROTO "}" KEY("a") FLOATS "s.", forms[i]);
        if (!CHECK_INT(open_bytes(&c, zip.out.data, zip.out.n), 0)) {
            printf("  %s\n", tlog.last_error);
            continue;
        }
        check_values(c, "a", TD_F32, 1, 6, floats);
        td_checkpoint_close(&c);
    }
}

/* strides that are never used may be anything: of a size 1, and of a tensor without elements */
static void test_unused_strides(void)
{
    static const struct { const char *pickle; size_t n, count; } good[] = {
#define HUGE_STRIDE "\x8a\10\0\0\0\0\0\0\0\x40"     /* 2^62 */
#define LARGE_SIZE "\x8a\6\0\0\0\0\0\1"               /* 2^40 */
#define GOOD(s, count) { s, sizeof(s) - 1, count }
        GOOD(ONE("Float", "K\6", "K\0", "K\1K\1\x86", "K\5" HUGE_STRIDE "\x86"), 1),
        GOOD(ONE("Float", "K\6", "K\0", "K\6K\1\x86", "K\1" HUGE_STRIDE "\x86"), 6),
        GOOD(ONE("Float", "K\6", "K\0", "K\1K\6\x86", HUGE_STRIDE "K\1\x86"), 6),
        GOOD(ONE("Float", "K\6", "K\0", "K\0" LARGE_SIZE LARGE_SIZE "\x87",
                 HUGE_STRIDE HUGE_STRIDE HUGE_STRIDE "\x87"), 0),
    };
    TDCheckpoint *c;

    test_begin("strides that are not used");
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        pack_pickle(good[i].pickle, good[i].n, 0);
        if (!CHECK_INT(open_bytes(&c, zip.out.data, zip.out.n), 0)) {
            printf("  %zu: %s\n", i, tlog.last_error);
            continue;
        }
        check_values(c, "a", TD_F32, 1, (int)good[i].count, floats);
        td_checkpoint_close(&c);
    }
}

static void check_name(const char *pickle, size_t n, const char *name)
{
    TDCheckpoint *c;

    pack_pickle(pickle, n, 0);
    if (!CHECK_INT(open_bytes(&c, zip.out.data, zip.out.n), 0)) {
        printf("  %s\n", tlog.last_error);
        return;
    }
    CHECK(td_checkpoint_count(c) == 1 || td_checkpoint_find(c, "b"));
    CHECK_STR(td_checkpoint_entry(c, 0)->name, name);
    CHECK_STR(td_checkpoint_entry(c, 0)->file, path);
    if (td_entry_count(td_checkpoint_entry(c, 0)))
        check_values(c, name, TD_F32, 1, 6, floats);
    td_checkpoint_close(&c);
}

/* fp8 has no storage class: torch.save gives bytes and a dtype. The bytes are those of `floats`. */
static void test_fp8(void)
{
    static const char pickle[] = PROTO "}" KEY("a") "ctorch._utils\n_rebuild_tensor_v3\n("
                                 "(X\7\0\0\0storage" "ctorch.storage\nUntypedStorage\n" KEY("0") KEY("c") "K\x18tQ"
                                 "K\0K\4K\6\x86K\6K\1\x86" HOOKS "ctorch\nfloat8_%s\n" "tRs.";
    static const char *const types[] = { "e4m3fn", "e5m2" };
    uint8_t bytes[sizeof(floats)];
    float want[sizeof(floats)];
    char text[300];
    TDCheckpoint *c;

    test_begin("fp8 of torch.save");
    memcpy(bytes, floats, sizeof(bytes));
    for (int i = 0; i < 2; i++) {
        const char *at = strstr(pickle + sizeof(pickle) - 30, "%s");
        size_t n = (size_t)(at - pickle), len = strlen(types[i]), rest = sizeof(pickle) - 3 - n;

        memcpy(text, pickle, n);
        memcpy(text + n, types[i], len);
        memcpy(text + n + len, at + 2, rest);
        for (size_t k = 0; k < sizeof(bytes); k++)
            want[k] = i ? td_f16_to_f32((uint16_t)(bytes[k] << 8)) : td_e4m3_to_f32(bytes[k]);
        pack_pickle(text, n + len + rest, 0);
        if (CHECK_INT(open_bytes(&c, zip.out.data, zip.out.n), 0))
            check_values(c, "a", i ? TD_F8_E5M2 : TD_F8_E4M3, 1, sizeof(floats), want);
        td_checkpoint_close(&c);
    }
}

/* whether it is a generator of Self-Forcing's trainers */
static void check_generator(const char *pickle, size_t n, int want)
{
    TDCheckpoint *c;

    pack_pickle(pickle, n, 0);
    if (CHECK_INT(open_bytes(&c, zip.out.data, zip.out.n), 0))
        CHECK_INT(td_checkpoint_is_generator(c), want);
    td_checkpoint_close(&c);
}

#define CHECK_GENERATOR(pickle, want) check_generator(pickle, sizeof(pickle) - 1, want)
#define CHECK_NAME(pickle, name) check_name(pickle, sizeof(pickle) - 1, name)

static void test_accept_rule(void)
{
    test_begin("prefixes");
    CHECK_NAME(PROTO "}" "X\5\0\0\0net.a" FLOATS "s.", "a");
    CHECK_NAME(PROTO "}" "X\7\0\0\0model.a" FLOATS "s.", "a");
    CHECK_NAME(PROTO "}" "X\x17\0\0\0model.diffusion_model.a" FLOATS "s.", "a");
    CHECK_NAME(PROTO "}" "X\x0c\0\0\0module.net.a" FLOATS "s.", "a");
    CHECK_NAME(PROTO "}" "X\x1e\0\0\0b._checkpoint_wrapped_module.a" FLOATS "s.", "b.a");
    CHECK_NAME(PROTO "}" "X\6\0\0\0nets.a" FLOATS "s.", "nets.a");
    CHECK_NAME(ONE("Float", "K\6", "K\7", "K\0K\2\x86", "K\2K\1\x86"), "a");      /* an empty view's offset is free */
    CHECK_NAME(PROTO "}" "X\x0c\0\0\0_orig_mod.a." FLOATS "s.", "a.");
    CHECK_NAME(PROTO "}" "X\x14\0\0\0module._orig_mod.b.a" "X\1\0\0\0x" "s"
               "X\x0e\0\0\0b._orig_mod.ax" FLOATS "s.", "b.ax");
    CHECK_NAME(PROTO "}" "X\x0f\0\0\0ema_model.net.a" FLOATS "s.", "a");
    CHECK_NAME(PROTO "}" "X\5\0\0\0ema.a" FLOATS "s.", "a");
    CHECK_NAME(PROTO "}" "X\x0b\0\0\0model_ema.a" FLOATS "s.", "a");
    CHECK_NAME(PROTO "}" "X\x11\0\0\0schema_orig_mod.a" FLOATS "s.", "schema_orig_mod.a");
    test_begin("averaged weights beside the trained ones");
    CHECK_NAME(PROTO "}(" "X\5\0\0\0net.a" ZEROS "X\x09\0\0\0net_ema.a" FLOATS "u.", "a");
    CHECK_NAME(PROTO "}(" "X\x09\0\0\0net_ema.a" FLOATS "X\5\0\0\0net.a" ZEROS "u.", "a");
    CHECK_NAME(PROTO "}(" "X\x09\0\0\0generator" "}" KEY("c") FLOATS "s" "X\x0d\0\0\0generator_ema" "}"
               KEY("a") FLOATS "s" "u.", "a");
    CHECK_NAME(PROTO "}(" "X\5\0\0\0model" "}" KEY("a") FLOATS "s" "X\3\0\0\0ema" "}X\5\0\0\0decayK\1s" "u.",
               "a");
    test_begin("a generator, as trainers of causal models leave it");
    CHECK_GENERATOR(PROTO "}X\x0d\0\0\0generator_ema" "}X\7\0\0\0model.a" FLOATS "ss.", 1);
    CHECK_GENERATOR(PROTO "}X\x09\0\0\0generator" "}X\7\0\0\0model.a" FLOATS "ss.", 1);
    CHECK_GENERATOR(PROTO "}X\x11\0\0\0generator.model.a" FLOATS "s.", 1);
    CHECK_GENERATOR(PROTO "}X\x15\0\0\0generator_ema.model.a" FLOATS "s.", 1);
    CHECK_GENERATOR(PROTO "}X\x0d\0\0\0generator_ema" "}X\5\0\0\0net.a" FLOATS "ss.", 0);
    CHECK_GENERATOR(PROTO "}X\5\0\0\0model" "}X\7\0\0\0model.a" FLOATS "ss.", 0);
    CHECK_GENERATOR(PROTO "}X\x0b\0\0\0generator.a" FLOATS "s.", 0);
    test_begin("what is no tensor");
    CHECK_NAME(PROTO "}(" "X\5\0\0\0epoch" "K\3" "X\4\0\0\0none" "N" "X\4\0\0\0loss" "G\0\0\0\0\0\0\0\0"
               KEY("a") FLOATS "X\3\0\0\0opt" "}" "X\4\0\0\0list" "]" "u.", "a");
    CHECK_NAME(PROTO "}(" "X\n\0\0\0state_dict" "}(" KEY("n") "N" KEY("a") FLOATS "u" "X\5\0\0\0epoch" "K\3" "u.",
               "a");
    CHECK_NAME(PROTO "}" "X\5\0\0\0model" "}" "X\n\0\0\0state_dict" "}" KEY("a") FLOATS "s" "s" "s.", "a");
    test_begin("unwrap");
    CHECK_NAME(PROTO "}" "X\5\0\0\0model" "}" KEY("a") FLOATS "s" "s.", "a");
    CHECK_NAME(PROTO "}" "X\6\0\0\0module" "}" KEY("a") FLOATS "s" "s.", "a");
    CHECK_NAME(PROTO "}(" "X\4\0\0\0step" "K\1" "X\n\0\0\0state_dict" "}" KEY("a") FLOATS "s" "u.", "a");
    test_begin("pickle forms");
    CHECK_NAME(PROTO "ccollections\nOrderedDict\n](" KEY("a") FLOATS "\x86" "e" "\x85R.", "a");
    CHECK_NAME(PROTO "ccollections\nOrderedDict\n)R(" KEY("a") FLOATS "u}X\11\0\0\0_metadata}sb.", "a");
    CHECK_NAME("\x80\4\x95\5\0\0\0\0\0\0\0" "}\x94" "\x8c\1a\x94" FLOATS "s.", "a");
    CHECK_NAME("\x80\4\x8c\x0b" "collections" "\x8c\x0b" "OrderedDict" "\x93)R(" KEY("a") FLOATS "u.", "a");
    CHECK_NAME(PROTO "}" KEY("a") "ctorch._utils\n_rebuild_parameter\n" FLOATS HOOKS "\x87Rs.", "a");
    CHECK_NAME(PROTO "}" KEY("a") "ctorch._utils\n_rebuild_parameter_with_state\n(" FLOATS HOOKS "}tRs.", "a");
    CHECK_NAME(PROTO "}" KEY("a") "ctorch._utils\n_rebuild_tensor\n(" STORAGE("Float", "0", "K\6")
               "K\0ctorch\nSize\nK\6\x85\x85R" "K\1\x85" "tRs.", "a");
    CHECK_NAME(PROTO "}" KEY("a") "ctorch._utils\n_rebuild_tensor_v3\n("
               "(X\7\0\0\0storage" "ctorch.storage\nUntypedStorage\n" KEY("0") KEY("c") "K\x18tQ"
               "K\0K\6\x85K\1\x85" HOOKS "ctorch\nfloat32\n" "tRs.", "a");
    CHECK_NAME(ONE("Float", "\x8a\1\6", "\x8a\0", "J\6\0\0\0\x85", "M\1\0\x85"), "a");
    CHECK_NAME(PROTO "}(" KEY("a") "q\1" FLOATS "r\1\1\0\0" KEY("b") "j\1\1\0\0" "u}h\1G\0\0\0\0\0\0\0\0sb.", "a");
}

/* ---- damaged and hostile files ---- */

static void test_hostile_pickles(void)
{
    static char big[1 << 16];
    size_t n;

    test_begin("hostile opcodes and globals");
    BAD_PICKLE("os.system", PROTO "cos\nsystem\nX\4\0\0\0true\x85R.", EBADMSG, "names 'os.system'");
    BAD_PICKLE("eval", PROTO "c__builtin__\neval\n(X\1\0\0\0" "1tR.", EBADMSG, "names '__builtin__.eval'");
    BAD_PICKLE("stack global", "\x80\4\x8c\2os\x8c\6system\x93.", EBADMSG, "names 'os.system'");
    BAD_PICKLE("escape in a global", PROTO "co\x1b[1m\ts\nx\ny.", EBADMSG, "'o?[1m?s.x'");
    BAD_PICKLE("float8", PROTO "ctorch\nFloat8_e4m3fnStorage\n.", ENOTSUP, "torch.Float8_e4m3fnStorage");
    BAD_PICKLE("inst", PROTO "(ios\nsystem\n.", EBADMSG, "opcode 0x69");
    BAD_PICKLE("newobj", PROTO ")\x81.", EBADMSG, "opcode 0x81");
    BAD_PICKLE("ext", PROTO "\x82\1.", EBADMSG, "opcode 0x82");
    BAD_PICKLE("pop", PROTO "N0.", EBADMSG, "opcode 0x30");
    BAD_PICKLE("protocol 5", "\x80\5}.", EBADMSG, "protocol 5");
    BAD_PICKLE("call of a storage class", PROTO "ctorch\nFloatStorage\n)R.", EBADMSG, "calls torch.FloatStorage");
    BAD_PICKLE("call of a string", PROTO KEY("a") ")R.", EBADMSG, "finds str, want global");
    BAD_PICKLE("build on a tensor", PROTO "}" KEY("a") FLOATS "}bs.", EBADMSG, "finds tensor, want dict");
    BAD_PICKLE("OrderedDict of a string", PROTO "ccollections\nOrderedDict\n" KEY("a") "\x85R.", EBADMSG,
               "OrderedDict of str, want a list of pairs");
    BAD_PICKLE("OrderedDict of single values", PROTO "ccollections\nOrderedDict\n]K\1\x85" "a\x85R.", EBADMSG,
               "OrderedDict of 1 values, want pairs");
    test_begin("stack, marks and memo");
    BAD_PICKLE("empty", "", EBADMSG, "0 are left");
    BAD_PICKLE("no stop", PROTO "}", EBADMSG, "truncated");
    BAD_PICKLE("only stop", PROTO ".", EBADMSG, "empty stack");
    BAD_PICKLE("two values", PROTO "}}.", EBADMSG, "left on the stack");
    BAD_PICKLE("open mark", PROTO "(}.", EBADMSG, "left on the stack");
    BAD_PICKLE("no mark", PROTO "}t.", EBADMSG, "no mark");
    BAD_PICKLE("pop below a mark", PROTO "KK\1(\x85.", EBADMSG, "opcode 0x01");
    BAD_PICKLE("tuple below a mark", PROTO "K\1(\x85.", EBADMSG, "empty stack");
    BAD_PICKLE("reduce below a mark", PROTO ")(R.", EBADMSG, "empty stack");
    BAD_PICKLE("appends without a list", PROTO "(K\1e.", EBADMSG, "no list under");
    BAD_PICKLE("appends to a tuple", PROTO ")(K\1e.", EBADMSG, "finds tuple under");
    BAD_PICKLE("odd dict", PROTO "}(K\1u.", EBADMSG, "without a value");
    BAD_PICKLE("setitem on a list", PROTO "]K\1K\2s.", EBADMSG, "finds list, want dict");
    BAD_PICKLE("memo never set", PROTO "h\1.", EBADMSG, "never set");
    BAD_PICKLE("memo never set, long", PROTO "j\xff\xff\xff\xff.", EBADMSG, "never set");
    BAD_PICKLE("memo of nothing", PROTO "q\0.", EBADMSG, "empty stack");
    BAD_PICKLE("huge memo index", PROTO "}r\xff\xff\xff\xff.", EBADMSG, "memo index 4294967295");
    BAD_PICKLE("long string", PROTO "X\xff\xff\xff\xff.", EBADMSG, "4294967295 bytes");
    BAD_PICKLE("long integer", PROTO "\x8a\x09" "123456789.", EBADMSG, "integer of 9 bytes");
    BAD_PICKLE("long frame", "\x80\4\x95\xff\0\0\0\0\0\0\0}.", EBADMSG, "frame is longer");
    BAD_PICKLE("global without an end", PROTO "ctorch", EBADMSG, "without an end");
    test_begin("nesting and cycles");
    memset(big, '(', sizeof(big));
    pack_pickle(big, sizeof(big), 0);
    check_bad("65536 marks", zip.out.data, zip.out.n, EBADMSG, "truncated");
    memcpy(big, PROTO "K\1", n = 4);
    memset(big + n, 0x85, sizeof(big) - n);
    big[sizeof(big) - 1] = '.';
    pack_pickle(big, sizeof(big), 0);
    check_bad("65531 nested tuples", zip.out.data, zip.out.n, EBADMSG, "holds a tuple");
    BAD_PICKLE("list in itself", PROTO "]q\0h\0a.", EBADMSG, "holds a list");
    BAD_PICKLE("dict in itself", PROTO "}q\0X\5\0\0\0modelh\0s.", EBADMSG, "model: is a dict");
    BAD_PICKLE("OrderedDict of a list in itself", PROTO "ccollections\nOrderedDict\n]q\0h\0a\x85R.", EBADMSG,
               "finds list, want tuple");
}

static void test_too_many(void)
{
    size_t n = 3u << 20;
    char *pickle = malloc(n);
    Buf head = { .n = 0 };
    FILE *f;

    test_begin("too many items");
    if (!CHECK(pickle))
        return;
    for (int kind = 0; kind < 2; kind++) {
        char name[400];
        TDCheckpoint *c;

        memset(pickle, kind ? '(' : 'N', n);
        memcpy(pickle, PROTO, 2);
        /* local entry, central directory, end: written by hand since the archive is larger than a Buf */
        head.n = zip.central.n = zip.out.n = 0;
        zip.n  = 0;
        zip_add_raw(&zip, "a/data.pkl", "", 0, 0, 0, 0, n, UINT64_MAX);
        snprintf(name, sizeof(name), "%s/file", dir);
        f = fopen(name, "wb");
        if (!CHECK(f))
            break;
        fwrite(zip.out.data, 1, zip.out.n, f);
        fwrite(pickle, 1, n, f);
        fwrite(zip.central.data, 1, zip.central.n, f);
        put_le(&head, 0x06054b50, 4);
        put_le(&head, 0, 4);
        put_le(&head, 1, 2);
        put_le(&head, 1, 2);
        put_le(&head, zip.central.n, 4);
        put_le(&head, zip.out.n + n, 4);
        put_le(&head, 0, 2);
        fwrite(head.data, 1, head.n, f);
        fclose(f);
        CHECK_INT(td_checkpoint_open(&c, path, &tlog), TD_ERR(EBADMSG));
        CHECK(strstr(tlog.last_error, "more than 1048576 items"));
    }
    free(pickle);
}

static void test_bad_tensors(void)
{
    test_begin("tensors that do not fit");
    BAD_PICKLE("shape too large", ONE("Float", "K\6", "K\0", "K\7\x85", "K\1\x85"), EBADMSG,
               ": [7] at offset 0 is not inside its storage of 6 ");
    BAD_PICKLE("offset too large", ONE("Float", "K\6", "K\1", "K\6\x85", "K\1\x85"),
               EBADMSG, "at offset 1 is not inside");
    BAD_PICKLE("stride too large", ONE("Float", "K\6", "K\0", "K\3\x85", "K\3\x85"), EBADMSG,
               "not inside");
    BAD_PICKLE("stride 0", ONE("Float", "K\6", "K\0", "M\0\1\x85", "K\0\x85"), EBADMSG,
               "not inside");
    BAD_PICKLE("shape product overflows",
               ONE("Float", "K\6", "K\0", "\x8a\5\0\0\0\0\1\x8a\5\0\0\0\0\1\x86", "K\0K\0\x86"), EBADMSG,
               "not inside");
    BAD_PICKLE("stride product overflows",
               ONE("Float", "K\6", "K\0", "K\3\x85", "\x8a\10\xff\xff\xff\xff\xff\xff\xff\x7f\x85"), EBADMSG,
               "not inside");
    BAD_PICKLE("negative size", ONE("Float", "K\6", "K\0", "J\xff\xff\xff\xff\x85", "K\1\x85"),
               EBADMSG, "tensor size is not an integer >= 0");
    BAD_PICKLE("negative stride", ONE("Float", "K\6", "K\0", "K\6\x85", "\x8a\1\xff\x85"),
               EBADMSG, "tensor stride is not");
    BAD_PICKLE("strides of another rank", PROTO "}" KEY("a")
               TENSOR("Float", "0", "K\6", "K\0", "K\6\x85", ")") "s.", EBADMSG,
               "1 dimensions has 0 strides");
    BAD_PICKLE("six dimensions", PROTO "}" KEY("a")
               TENSOR("Float", "0", "K\6", "K\0", "(K\1K\1K\1K\1K\1K\1t", "(K\1K\1K\1K\1K\1K\1t") "s.", ENOTSUP,
               "6 dimensions, want at most 5");
    BAD_PICKLE("storage of another size", ONE("Float", "K\5", "K\0", "K\5\x85", "K\1\x85"),
               EBADMSG, "has 24 bytes, want 20");
    BAD_PICKLE("storage of another dtype", ONE("Half", "K\6", "K\0", "K\6\x85", "K\1\x85"),
               EBADMSG, "has 24 bytes, want 12");
    BAD_PICKLE("storage size overflows",
               ONE("Double", "\x8a\10\xff\xff\xff\xff\xff\xff\xff\x7f", "K\0", "K\6\x85", "K\1\x85"), EBADMSG,
               "overflows");
    BAD_PICKLE("storage missing", PROTO "}" KEY("a")
               TENSOR("Float", "1", "K\6", "K\0", "K\6\x85", "K\1\x85") "s.", EBADMSG,
               "storage '1' is not in the file");
    BAD_PICKLE("storage of two sizes", PROTO "}(" KEY("a") FLOATS KEY("b")
               TENSOR("Half", "0", "K\6", "K\0", "K\6\x85", "K\1\x85") "u.", EBADMSG, "has 24 and 12 bytes");
    BAD_PICKLE("untyped without a dtype", PROTO "}" KEY("a") "ctorch._utils\n_rebuild_tensor_v2\n("
               "(X\7\0\0\0storage" "ctorch.storage\nUntypedStorage\n" KEY("0") KEY("c") "K\x18tQ"
               "K\0K\6\x85K\1\x85" HOOKS "tRs.", EBADMSG, "no dtype");
    BAD_PICKLE("dtype that is none", PROTO "}" KEY("a") "ctorch._utils\n_rebuild_tensor_v3\n("
               STORAGE("Float", "0", "K\6") "K\0K\6\x85K\1\x85" HOOKS "K\1" "tRs.", EBADMSG, "is not a torch dtype");
    BAD_PICKLE("persistent id of another kind", PROTO "K\1\x85Q.", EBADMSG, "persistent id");
    BAD_PICKLE("persistent id without a class", PROTO "(X\7\0\0\0storage" KEY("x") KEY("0") KEY("c") "K\6tQ.", EBADMSG,
               "without a storage class");
    BAD_PICKLE("tensor of a string", PROTO "ctorch._utils\n_rebuild_tensor_v2\n(" KEY("a") "K\0))" HOOKS "tR.", EBADMSG,
               "not built from");
    BAD_PICKLE("parameter of a string", PROTO "ctorch._utils\n_rebuild_parameter\n(" KEY("a") "tR.", EBADMSG,
               "_rebuild_parameter of str");
    test_begin("storage keys");
#define BEFORE_KEY "}" KEY("a") "ctorch._utils\n_rebuild_tensor_v2\n(" "(X\7\0\0\0storage" "ctorch\nFloatStorage\n" "X"
    for (size_t n = 1024; n <= 1025; n++) {      /* a key of n bytes, of no storage in the file */
        static char pickle[2000], key[1100];
        size_t at = 0;
        uint32_t size = (uint32_t)n;

        memset(key, 'k', sizeof(key));
#define APPEND(s, len) (memcpy(pickle + at, s, len), at += len)
        APPEND(PROTO BEFORE_KEY, sizeof(PROTO BEFORE_KEY) - 1);
        APPEND(&size, 4);
        APPEND(key, n);
        APPEND(KEY("c") "K\6tQ" "K\0K\6\x85K\1\x85" HOOKS "tRs.",
               sizeof(KEY("c") "K\6tQ" "K\0K\6\x85K\1\x85" HOOKS "tRs.") - 1);
#undef APPEND
        pack_pickle(pickle, at, 0);
        check_bad("long key", zip.out.data, zip.out.n, EBADMSG,
                  n > 1024 ? "has 1025 bytes, want at most 1024" : "is not in the file");
    }
    test_begin("state dicts");
    BAD_PICKLE("list", PROTO "].", EBADMSG, "holds a list, want a state dict");
    BAD_PICKLE("empty dict", PROTO "}.", EBADMSG, "no tensors");
    BAD_PICKLE("integer key", PROTO "}K\1" FLOATS "s.", EBADMSG, "is a int, want a str");
    BAD_PICKLE("integer value", PROTO "}X\5\0\0\0epochK\3s.", EBADMSG, "epoch: is a int, want a tensor");
    BAD_PICKLE("name twice", PROTO "}(" KEY("a") FLOATS KEY("a") FLOATS "u.", EBADMSG, "'a' occurs twice");
    BAD_PICKLE("name twice without its prefix", PROTO "}(" KEY("a") FLOATS "X\5\0\0\0net.a" FLOATS "u.", EBADMSG,
               "'a' occurs twice");
    BAD_PICKLE("name three times", PROTO "}(" KEY("a") FLOATS "X\5\0\0\0net.a" FLOATS "X\5\0\0\0ema.a" FLOATS "u.",
               EBADMSG, "'a' occurs twice");
    BAD_PICKLE("average twice", PROTO "}(" "X\x0b\0\0\0ema.model.a" FLOATS "X\5\0\0\0ema.a" FLOATS "u.", EBADMSG,
               "'a' occurs twice");
    BAD_PICKLE("only a prefix", PROTO "}" "X\4\0\0\0net." FLOATS "s.", EBADMSG, "is empty without its prefix");
    BAD_PICKLE("control character", PROTO "}" "X\2\0\0\0a\n" FLOATS "s.", EBADMSG, "'a?' holds byte 0x0a");
}

static void bad_zip(const char *what, int err, const char *words)
{
    zip_end(&zip, 0);
    check_bad(what, zip.out.data, zip.out.n, err, words);
}

static void zip_begin(void)
{
    static const char pickle[] = PROTO "}" KEY("a") FLOATS "s.";

    zip.out.n = zip.central.n = 0;
    zip.n = 0;
    zip_add(&zip, "a/data.pkl", pickle, sizeof(pickle) - 1, 0);
}

static void test_bad_zips(void)
{
    size_t at;

    test_begin("zip entries");
    zip_begin();
    zip_add_raw(&zip, "a/data/0", floats, 24, 0, 8, 0, 24, UINT64_MAX);
    bad_zip("compressed", ENOTSUP, "compression method 8, want 0");
    zip_begin();
    {
        static char name[1100] = "a/";

        memset(name + 2, 'x', 1023);
        zip_add(&zip, name, "", 0, 0);
    }
    bad_zip("long name", EBADMSG, "has a name of 1025 bytes, want at most 1024");
    zip_begin();
    zip_add_raw(&zip, "a/data/0", floats, 24, 0, 0, 1, 24, UINT64_MAX);
    bad_zip("encrypted", ENOTSUP, "is encrypted");
    zip_begin();
    zip_add_raw(&zip, "a/data/0", floats, 24, 0, 0, 0, 1 << 20, UINT64_MAX);
    bad_zip("too long", EBADMSG, "do not fit the file");
    zip_begin();
    zip_add_raw(&zip, "a/data/0", floats, 24, 0, 0, 0, 24, 1 << 30);
    bad_zip("past the end", EBADMSG, "is past the data");
    zip_begin();
    zip_add_raw(&zip, "a/data/0", floats, 24, 0, 0, 0, 24, 1);
    bad_zip("no local header", EBADMSG, "no local header at byte 1");
    zip_begin();
    zip_add_raw(&zip, "a/data/0", floats, 24, 0, 0, 0, 24, 0);
    bad_zip("name differs", EBADMSG, "another name");
    zip_begin();
    at = zip.out.n;
    zip_add(&zip, "a/data/0", floats, 24, 0);
    zip_add_raw(&zip, "a/data/0", "", 0, 0, 0, 0, 24, at);
    bad_zip("overlap", EBADMSG, "overlaps");
    zip_begin();
    zip_add(&zip, "a/data/0", floats, 24, 0);
    zip_add(&zip, "a/data/0", floats, 24, 0);
    bad_zip("name twice", EBADMSG, "occurs twice");
    zip_begin();
    at = zip.out.n;
    zip_add_raw(&zip, "a/data/0", floats, 24, ZIP64, 0, 0, 24, UINT64_MAX);
    zip.central.data[zip.central.n - 28] = 2;
    bad_zip("no zip64 sizes", EBADMSG, "zip64 sizes are missing");
    zip_begin();
    zip_add_raw(&zip, "a/data/0", floats, 24, ZIP64, 0, 0, 24, UINT64_MAX);
    zip.central.data[zip.central.n - 26] = 23;
    bad_zip("zip64 sizes cut", EBADMSG, "zip64 sizes are missing");
    zip_begin();
    zip_add_raw(&zip, "a/data/0", floats, 24, ZIP64, 0, 0, 24, UINT64_MAX);
    zip.central.data[zip.central.n - 26] = 25;
    bad_zip("zip64 field too long", EBADMSG, "zip64 sizes are missing");
    zip_begin();
    zip_add(&zip, "a/data/0", floats, 24, 0);
    zip.central.data[20]++;
    bad_zip("sizes differ", EBADMSG, "want");
    zip.out.n = zip.central.n = 0;
    zip.n = 0;
    zip_add(&zip, "data.pkl", "", 0, 0);
    bad_zip("no directory", EBADMSG, "want NAME/data.pkl");
    zip.out.n = zip.central.n = 0;
    zip.n = 0;
    zip_add(&zip, "a/other", "", 0, 0);
    bad_zip("no pickle", EBADMSG, "no data.pkl");
    zip_begin();
    zip_add(&zip, "a/byteorder", "big", 3, 0);
    bad_zip("big-endian", ENOTSUP, "byte order 'big', want little");
    test_begin("zip directory");
    PACK(PROTO "}" KEY("a") FLOATS "s.", 0);
    at = zip.out.n - 22;
    zip.out.data[at + 16]++;
    check_bad("directory offset", zip.out.data, zip.out.n, EBADMSG, "is not inside the file");
    zip.out.data[at + 16] -= 2;
    check_bad("directory offset too small", zip.out.data, zip.out.n, EBADMSG, "zip directory is damaged");
    zip.out.data[at + 16]++;
    zip.out.data[at + 10] = 99;
    check_bad("entry count", zip.out.data, zip.out.n, EBADMSG, "names 99 entries");
    zip.out.data[at + 10] = 0;
    check_bad("no entries", zip.out.data, zip.out.n, EBADMSG, "names 0 entries");
    zip.out.data[at + 10] = 4;
    zip.out.data[at + 4] = 1;
    check_bad("split", zip.out.data, zip.out.n, ENOTSUP, "split over several files");
    PACK(PROTO "}" KEY("a") FLOATS "s.", ZIP64);
    zip.out.data[zip.out.n - 22 - 20 + 8]++;
    check_bad("zip64 end misplaced", zip.out.data, zip.out.n, EBADMSG, "zip64 end of directory is not at");
}

static void test_other_files(void)
{
    static const uint8_t magic[] = { 0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19,
                                     '.' };
    static const struct { const char *what, *pickles; size_t n; int err; const char *words; } legacy[] = {
#define L(what, s, err, words) { what, s, sizeof(s) - 1, err, words }
        L("protocol", "K\1.}.}.].", ENOTSUP, "not version 1001"),
        L("big-endian", "M\xe9\3.}X\15\0\0\0little_endian\x89s.}.].", ENOTSUP, "byte order big"),
        L("keys", "M\xe9\3.}.}.}.", EBADMSG, "no list of storage keys"),
        L("unknown key", "M\xe9\3.}.}.]" KEY("9") "a.", EBADMSG, "names '?' that no tensor uses"),
        L("truncated", "M\xe9\3.}.}" KEY("a") FLOATS "s.]" KEY("0") "a.\6\0\0\0\0\0\0\0", EBADMSG, "truncated"),
        L("count", "M\xe9\3.}.}" KEY("a") FLOATS "s.]" KEY("0") "a.\7\0\0\0\0\0\0\0" "012345678901234567890123",
          EBADMSG,
          "has 7 elements, want 6"),
        L("key twice", "M\xe9\3.}.}" KEY("a") FLOATS "s.](" KEY("0") KEY("0") "e.\6\0\0\0\0\0\0\0"
          "012345678901234567890123", EBADMSG, "names '0' twice"),
        L("view", "M\xe9\3.}.}" KEY("a") "(X\7\0\0\0storage" "ctorch\nFloatStorage\n" KEY("0") KEY("c") "K\6)tQs.].",
          ENOTSUP, "view of another"),
    };
    static const char good[] = "M\xe9\3.}.}" KEY("a") FLOATS "s.]" KEY("0") "a.\6\0\0\0\0\0\0\0"
                               "012345678901234567890123";
    TDCheckpoint *c;
    char other[100], long_name[300] = "";
    Buf b = { .n = 0 };

    test_begin("other files");
    check_bad("empty", "", 0, EBADMSG, "0 bytes");
    check_bad("one byte", "x", 1, EBADMSG, "starts with 78");
    check_bad("text", "hello world", 11, EBADMSG, "want a .pth");
    check_bad("zip magic only", "PK\3\4", 4, EBADMSG, "no end of zip directory");
    check_bad("GGUF", "GGUF\3\0\0\0", 8, EBADMSG, "the header at byte 8 goes past the end");
    check_bad("LFS", "version https://git-lfs.github.com/spec/v1\n", 43, EBADMSG, "Git LFS pointer");
    CHECK_INT(td_checkpoint_open(&c, "/nonexistent/file", &tlog), TD_ERR(ENOENT));
    CHECK_INT(td_checkpoint_open(&c, dir, &tlog), TD_ERR(EBADMSG));
    CHECK_INT(td_checkpoint_open(&c, "/dev/null", &tlog), TD_ERR(EBADMSG));
    CHECK_INT(td_checkpoint_open(&c, "/nonexistent/file", NULL), TD_ERR(ENOENT));
    memset(long_name, 'x', sizeof(long_name) - 1);
    CHECK_INT(td_checkpoint_open(&c, long_name, &tlog), TD_ERR(ENOENT));
    CHECK(strstr(tlog.last_error, "xxx: cannot open it: ") || strlen(tlog.last_error) == sizeof(tlog.last_error) - 1);
    snprintf(other, sizeof(other), "%s/secret", dir);
    save_as("secret", "x", 1);
    chmod(other, 0);
    chmod(dir, 0755);
    if (geteuid() == 0 && seteuid(65534))
        CHECK(!"seteuid");
    CHECK_INT(td_checkpoint_open(&c, other, &tlog), TD_ERR(EACCES));
    CHECK(strstr(tlog.last_error, "no permission"));
    if (getuid() == 0 && seteuid(0))
        CHECK(!"seteuid");
    unlink(other);
    snprintf(other, sizeof(other), "%s/fifo", dir);
    if (CHECK(!mkfifo(other, 0600)))
        CHECK_INT(td_checkpoint_open(&c, other, &tlog), TD_ERR(EBADMSG));
    unlink(other);
    test_begin("legacy containers");
    for (size_t i = 0; i < sizeof(legacy) / sizeof(*legacy); i++) {
        b.n = 0;
        put(&b, magic, sizeof(magic));
        put(&b, legacy[i].pickles, legacy[i].n);
        check_bad(legacy[i].what, b.data, b.n, legacy[i].err, legacy[i].words);
    }
    test_begin("legacy containers that are sparse");
    b.n = 0;
    put(&b, magic, sizeof(magic));
    put(&b, "\x80\2c", 3);
    save_as("file", b.data, b.n);
    if (!truncate(path, (off_t)1 << 39)) {       /* where there may be such a file; tsan maps no more */
        CHECK_INT(open_file(&c), TD_ERR(EBADMSG));
        CHECK(n_lines == 1 && strstr(tlog.last_error, "a name without an end"));
    }
    b.n -= 1;
    put(&b, "X\xff\xff\xff\x7f", 5);
    save_as("file", b.data, b.n);
    if (!truncate(path, (off_t)1 << 39)) {
        CHECK_INT(open_file(&c), TD_ERR(EBADMSG));
        CHECK(n_lines == 1 && strstr(tlog.last_error, "wants 2147483647 bytes, past the 268435456 that a pickle may"));
    }
    unlink(path);
    test_begin("legacy containers with protocol 4");
    b.n = 0;
    put(&b, "\x80\4\x95\r\0\0\0\0\0\0\0", 11);
    put(&b, magic + 2, sizeof(magic) - 2);
    put(&b, good, sizeof(good) - 1);
    if (CHECK_INT(open_bytes(&c, b.data, b.n), 0)) {
        CHECK_INT(td_checkpoint_count(c), 1);
        td_checkpoint_close(&c);
    }
}

static size_t load(Buf *b, const char *name)
{
    FILE *f = fopen(name, "rb");

    b->n = f ? fread(b->data, 1, sizeof(b->data), f) : 0;
    if (f)
        fclose(f);
    return b->n;
}

static void test_damage(void)
{
    static const char *const files[] = { "tests/data/torch_zip.pth", "tests/data/torch_legacy.pth" };
    static Buf b;

    for (int i = 0; i < 2; i++) {
        test_begin(i ? "damaged legacy container" : "damaged zip container");
        if (CHECK(load(&b, files[i]) > 100))
            check_damage(&b);
    }
}

static void test_out_of_memory(void)
{
    test_begin("out of memory");
    out_of_memory("tests/data/torch_zip.pth");
    out_of_memory("tests/data/torch_wrapped.pth");
    out_of_memory("tests/data/torch_legacy.pth");
}

int main(void)
{
    make_dir();
    test_torch_files();
    test_zip_forms();
    test_unused_strides();
    test_accept_rule();
    test_fp8();
    test_hostile_pickles();
    test_too_many();
    test_bad_tensors();
    test_bad_zips();
    test_other_files();
    test_damage();
    test_out_of_memory();
    remove_dir((const char *const[]){ "file", NULL });
    return test_end();
}
