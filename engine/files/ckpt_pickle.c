/* SPDX-License-Identifier: BSD-2-Clause
 * Pickle machine for .pth files: reads, never executes.
 * 1. Opcodes and globals are allow-lists; a REDUCE is one of the few calls below, done here on data.
 * 2. Nodes, cells, stack, marks and memo are bounded; nothing recurses, so nesting costs no C stack.
 * 3. A container may contain itself; readers must not follow containers without a bound. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "files/ckpt_pickle.h"

#define MAX_LINE  1024                           /* bytes of a module's or class's name: torch's have 30 */
#define MAX_ITEMS (1u << 20)                     /* of each kind: official files need about 40,000 */

enum Op {
    OP_MARK = '(', OP_STOP = '.', OP_NONE = 'N', OP_REDUCE = 'R', OP_BUILD = 'b', OP_GLOBAL = 'c', OP_APPEND = 'a',
    OP_APPENDS = 'e', OP_BINGET = 'h', OP_LONG_BINGET = 'j', OP_BINPUT = 'q', OP_LONG_BINPUT = 'r', OP_SETITEM = 's',
    OP_SETITEMS = 'u', OP_TUPLE = 't', OP_EMPTY_TUPLE = ')', OP_EMPTY_LIST = ']', OP_EMPTY_DICT = '}',
    OP_BININT = 'J', OP_BININT1 = 'K', OP_BININT2 = 'M', OP_BINFLOAT = 'G', OP_BINUNICODE = 'X', OP_BINPERSID = 'Q',
    OP_PROTO = 0x80, OP_TUPLE1 = 0x85, OP_TUPLE2, OP_TUPLE3, OP_NEWTRUE, OP_NEWFALSE, OP_LONG1,
    OP_SHORT_BINUNICODE = 0x8c, OP_STACK_GLOBAL = 0x93, OP_MEMOIZE = 0x94, OP_FRAME = 0x95,
};

enum Call { CALL_ORDERED_DICT, CALL_TENSOR, CALL_TENSOR_V2, CALL_TENSOR_V3, CALL_PARAMETER, CALL_PARAMETER_STATE,
            CALL_SIZE, STORAGE_CLASS, DTYPE };

static const struct Global {
    const char *module, *name;
    enum Call call;
    enum TDDtype dtype;                          /* STORAGE_CLASS, DTYPE */
} globals[] = {
    { "collections",   "OrderedDict",                   CALL_ORDERED_DICT,    TD_N_DTYPES },
    { "torch._utils",  "_rebuild_tensor",               CALL_TENSOR,          TD_N_DTYPES },
    { "torch._utils",  "_rebuild_tensor_v2",            CALL_TENSOR_V2,       TD_N_DTYPES },
    { "torch._utils",  "_rebuild_tensor_v3",            CALL_TENSOR_V3,       TD_N_DTYPES },
    { "torch._utils",  "_rebuild_parameter",            CALL_PARAMETER,       TD_N_DTYPES },
    { "torch._utils",  "_rebuild_parameter_with_state", CALL_PARAMETER_STATE, TD_N_DTYPES },
    { "torch",         "Size",                          CALL_SIZE,            TD_N_DTYPES },
    { "torch",         "FloatStorage",                  STORAGE_CLASS,        TD_F32 },
    { "torch",         "BFloat16Storage",               STORAGE_CLASS,        TD_BF16 },
    { "torch",         "HalfStorage",                   STORAGE_CLASS,        TD_F16 },
    { "torch",         "DoubleStorage",                 STORAGE_CLASS,        TD_F64 },
    { "torch",         "CharStorage",                   STORAGE_CLASS,        TD_I8 },
    { "torch",         "ByteStorage",                   STORAGE_CLASS,        TD_U8 },
    { "torch",         "ShortStorage",                  STORAGE_CLASS,        TD_I16 },
    { "torch",         "IntStorage",                    STORAGE_CLASS,        TD_I32 },
    { "torch",         "LongStorage",                   STORAGE_CLASS,        TD_I64 },
    { "torch",         "BoolStorage",                   STORAGE_CLASS,        TD_BOOL },
    { "torch.storage", "UntypedStorage",                STORAGE_CLASS,        TD_N_DTYPES },
    { "torch",         "float32",                       DTYPE,                TD_F32 },
    { "torch",         "bfloat16",                      DTYPE,                TD_BF16 },
    { "torch",         "float8_e4m3fn",                 DTYPE,                TD_F8_E4M3 },
    { "torch",         "float8_e5m2",                   DTYPE,                TD_F8_E5M2 },
    { "torch",         "float16",                       DTYPE,                TD_F16 },
    { "torch",         "float64",                       DTYPE,                TD_F64 },
    { "torch",         "int8",                          DTYPE,                TD_I8 },
    { "torch",         "uint8",                         DTYPE,                TD_U8 },
    { "torch",         "int16",                         DTYPE,                TD_I16 },
    { "torch",         "int32",                         DTYPE,                TD_I32 },
    { "torch",         "int64",                         DTYPE,                TD_I64 },
    { "torch",         "bool",                          DTYPE,                TD_BOOL },
};
#define N_GLOBALS (sizeof(globals) / sizeof(*globals))

#define BAD(p, fmt, ...) \
    td_error((p)->log, EBADMSG, "%s: pickle byte %zu: " fmt, (p)->label, (p)->op, ##__VA_ARGS__)
#define OR_RETURN(x) do { int ret_ = (x); if (ret_ < 0) return ret_; } while (0)

static const char *const kind_names[] = { "None", "bool", "int", "float", "str", "tuple", "list", "dict", "global",
                                          "storage", "tensor" };

const char *td_pickle_kind_name(enum TDPickleKind kind)
{
    return kind_names[kind];
}

/* Room for one more item in one of the arrays */
static int reserve(TDPickle *p, void *array_ptr, size_t *cap, size_t n, size_t item_size)
{
    if (n >= MAX_ITEMS)
        return BAD(p, "more than %u items", MAX_ITEMS);
    if (td_ckpt_grow(array_ptr, cap, n + 1, item_size) < 0)
        return td_error(p->log, ENOMEM, "%s: out of memory", p->label);
    return 0;
}

static int take(TDPickle *p, const uint8_t **bytes, size_t n)
{
    if (n > p->size - p->pos && p->cut)
        return BAD(p, "wants %zu bytes, past the %zu that a pickle may have", n, p->size);
    if (n > p->size - p->pos)
        return BAD(p, "wants %zu bytes, %zu are left: truncated", n, p->size - p->pos);
    *bytes  = p->data + p->pos;
    p->pos += n;
    return 0;
}

/* A new node of this kind on the stack */
static int push_node(TDPickle *p, uint32_t id)
{
    OR_RETURN(reserve(p, &p->stack, &p->cap_stack, p->n_stack, sizeof(*p->stack)));
    p->stack[p->n_stack++] = id;
    return 0;
}

static int new_node(TDPickle *p, enum TDPickleKind kind, uint32_t *id)
{
    OR_RETURN(reserve(p, &p->nodes, &p->cap_nodes, p->n_nodes, sizeof(*p->nodes)));
    *id = (uint32_t)p->n_nodes++;
    p->nodes[*id] = (TDPickleNode){ .kind = kind, .first = TD_PK_NIL, .last = TD_PK_NIL };
    return 0;
}

static int push(TDPickle *p, enum TDPickleKind kind, int64_t i)
{
    uint32_t id;

    OR_RETURN(new_node(p, kind, &id));
    p->nodes[id].i = i;
    return push_node(p, id);
}

static int push_str(TDPickle *p, size_t len)
{
    const uint8_t *s;
    uint32_t id;

    OR_RETURN(take(p, &s, len));
    OR_RETURN(new_node(p, TD_PK_STR, &id));
    p->nodes[id].str   = s;
    p->nodes[id].count = (uint32_t)len;
    return push_node(p, id);
}

/* Items above the topmost mark (or the bottom) are what an opcode may take. */
static size_t stack_floor(const TDPickle *p)
{
    return p->n_marks ? p->marks[p->n_marks - 1] : 0;
}

static int pop(TDPickle *p, uint32_t *id)
{
    if (p->n_stack <= stack_floor(p))
        return BAD(p, "takes from an empty stack");
    *id = p->stack[--p->n_stack];
    return 0;
}

static int pop_kind(TDPickle *p, enum TDPickleKind kind, uint32_t *id)
{
    OR_RETURN(pop(p, id));
    if (p->nodes[*id].kind != kind)
        return BAD(p, "finds %s, want %s", kind_names[p->nodes[*id].kind], kind_names[kind]);
    return 0;
}

static int top_kind(TDPickle *p, enum TDPickleKind kind, uint32_t *id)
{
    OR_RETURN(pop_kind(p, kind, id));
    p->n_stack++;
    return 0;
}

static int pop_mark(TDPickle *p, size_t *begin)
{
    if (!p->n_marks)
        return BAD(p, "finds no mark");
    *begin = p->marks[--p->n_marks];
    return 0;
}

static int append(TDPickle *p, uint32_t list, uint32_t key, uint32_t value)
{
    TDPickleNode *n;
    uint32_t cell;

    OR_RETURN(reserve(p, &p->cells, &p->cap_cells, p->n_cells, sizeof(*p->cells)));
    cell = (uint32_t)p->n_cells++;
    p->cells[cell] = (TDPickleCell){ .key = key, .value = value, .next = TD_PK_NIL };
    n = &p->nodes[list];
    if (n->count++)
        p->cells[n->last].next = cell;
    else
        n->first = cell;
    n->last = cell;
    return 0;
}

/* Stack items from begin on become the items of a list or tuple, or the pairs of a dict. */
static int append_from(TDPickle *p, uint32_t list, size_t begin)
{
    size_t step = p->nodes[list].kind == TD_PK_DICT ? 2 : 1;

    if ((p->n_stack - begin) % step)
        return BAD(p, "a key without a value");
    for (size_t i = begin; i < p->n_stack; i += step)
        OR_RETURN(append(p, list, p->stack[i], p->stack[i + step - 1]));
    p->n_stack = begin;
    return 0;
}

static int make_tuple(TDPickle *p, size_t begin)
{
    uint32_t id;

    OR_RETURN(new_node(p, TD_PK_TUPLE, &id));
    OR_RETURN(append_from(p, id, begin));
    return push_node(p, id);
}

static int make_small_tuple(TDPickle *p, size_t n)
{
    if (p->n_stack - stack_floor(p) < n)
        return BAD(p, "takes from an empty stack");
    return make_tuple(p, p->n_stack - n);
}

static int append_marked(TDPickle *p, enum TDPickleKind kind)
{
    size_t begin;
    uint32_t list;

    OR_RETURN(pop_mark(p, &begin));
    if (begin <= stack_floor(p))
        return BAD(p, "finds no %s under the mark", kind_names[kind]);
    list = p->stack[begin - 1];
    if (p->nodes[list].kind != kind)
        return BAD(p, "finds %s under the mark, want %s", kind_names[p->nodes[list].kind], kind_names[kind]);
    return append_from(p, list, begin);
}

static int memo_put(TDPickle *p, size_t index)
{
    size_t old = p->cap_memo;
    uint32_t id;

    OR_RETURN(pop(p, &id));
    p->n_stack++;
    if (index >= MAX_ITEMS)
        return BAD(p, "memo index %zu, want less than %u", index, MAX_ITEMS);
    if (td_ckpt_grow(&p->memo, &p->cap_memo, index + 1, sizeof(*p->memo)) < 0)
        return td_error(p->log, ENOMEM, "%s: out of memory", p->label);
    memset(p->memo + old, 0, (p->cap_memo - old) * sizeof(*p->memo));
    p->n_memo += !p->memo[index];
    p->memo[index] = id + 1;
    return 0;
}

static int memo_get(TDPickle *p, size_t index)
{
    if (index >= p->cap_memo || !p->memo[index])
        return BAD(p, "memo index %zu was never set", index);
    return push_node(p, p->memo[index] - 1);
}

static int push_global(TDPickle *p, const uint8_t *module, size_t module_len, const uint8_t *name, size_t name_len)
{
    char q1[TD_QUOTE_MAX], q2[TD_QUOTE_MAX];

    for (size_t i = 0; i < N_GLOBALS; i++)
        if (strlen(globals[i].module) == module_len && !memcmp(globals[i].module, module, module_len) &&
            strlen(globals[i].name) == name_len && !memcmp(globals[i].name, name, name_len))
            return push(p, TD_PK_GLOBAL, (int64_t)i);
    if (module_len == 5 && !memcmp(module, "torch", 5))
        return td_error(p->log, ENOTSUP,
                        "%s: holds torch.%s, want float, bfloat16, half, double, bool or integer tensors", p->label,
                        td_ckpt_quote(q2, name, name_len));
    return BAD(p, "names '%s.%s', want only tensors, storages and OrderedDict of torch.save",
               td_ckpt_quote(q1, module, module_len), td_ckpt_quote(q2, name, name_len));
}

static int take_line(TDPickle *p, const uint8_t **s, size_t *len)
{
    size_t left = p->size - p->pos;
    const uint8_t *end = memchr(p->data + p->pos, '\n', left < MAX_LINE ? left : MAX_LINE);

    if (!end)
        return BAD(p, "a name without an end%s", left < MAX_LINE ? ": truncated" : "");
    *s     = p->data + p->pos;
    *len   = (size_t)(end - *s);
    p->pos = (size_t)(end - p->data) + 1;
    return 0;
}

static int op_global(TDPickle *p)
{
    const uint8_t *module, *name;
    size_t module_len, name_len;

    OR_RETURN(take_line(p, &module, &module_len));
    OR_RETURN(take_line(p, &name, &name_len));
    return push_global(p, module, module_len, name, name_len);
}

static int op_stack_global(TDPickle *p)
{
    uint32_t module, name;

    OR_RETURN(pop_kind(p, TD_PK_STR, &name));
    OR_RETURN(pop_kind(p, TD_PK_STR, &module));
    return push_global(p, p->nodes[module].str, p->nodes[module].count, p->nodes[name].str, p->nodes[name].count);
}

/* Up to max items of a tuple. @return their number, or < 0 */
static int unpack(TDPickle *p, uint32_t tuple, uint32_t *items, uint32_t max)
{
    const TDPickleNode *n = &p->nodes[tuple];
    uint32_t cell = n->first, i;

    if (n->kind != TD_PK_TUPLE)
        return BAD(p, "finds %s, want tuple", kind_names[n->kind]);
    for (i = 0; i < n->count && i < max; i++, cell = p->cells[cell].next)
        items[i] = p->cells[cell].value;
    return (int)(n->count < max ? n->count : max);
}

static int get_int(TDPickle *p, uint32_t id, const char *what, int64_t *out)
{
    if (p->nodes[id].kind != TD_PK_INT || p->nodes[id].i < 0)
        return BAD(p, "%s is not an integer >= 0", what);
    *out = p->nodes[id].i;
    return 0;
}

static const struct Global *as_global(const TDPickle *p, uint32_t id)
{
    return p->nodes[id].kind == TD_PK_GLOBAL ? &globals[p->nodes[id].i] : NULL;
}

/* ('storage', class, key, location, numel [, view metadata None]) */
static int op_binpersid(TDPickle *p)
{
    const struct Global *class;
    uint32_t id, item[6] = { 0 };
    int64_t numel;
    int n;

    OR_RETURN(pop_kind(p, TD_PK_TUPLE, &id));
    OR_RETURN(n = unpack(p, id, item, 6));
    if (n < 5 || p->nodes[item[0]].kind != TD_PK_STR || p->nodes[item[0]].count != 7 ||
        memcmp(p->nodes[item[0]].str, "storage", 7) || p->nodes[item[2]].kind != TD_PK_STR)
        return BAD(p, "persistent id is not ('storage', class, key, location, numel)");
    class = as_global(p, item[1]);
    if (!class || class->call != STORAGE_CLASS)
        return BAD(p, "persistent id without a storage class");
    OR_RETURN(get_int(p, item[4], "number of elements of a storage", &numel));
    if (n > 5 && p->nodes[item[5]].kind != TD_PK_NONE)
        return td_error(p->log, ENOTSUP, "%s: storage is a view of another one, want one written by torch >= 0.4",
                        p->label);
    OR_RETURN(reserve(p, &p->storages, &p->cap_storages, p->n_storages, sizeof(*p->storages)));
    p->storages[p->n_storages] = (TDPickleStorage){ .key = p->nodes[item[2]].str, .key_len = p->nodes[item[2]].count,
                                                    .dtype = class->dtype, .numel = (uint64_t)numel };
    return push(p, TD_PK_STORAGE, (int64_t)p->n_storages++);
}

/* (storage, offset, size, stride [, requires_grad, hooks [, dtype]]) */
static int make_tensor(TDPickle *p, uint32_t args, enum Call call)
{
    uint32_t item[7] = { 0 }, size[TD_MAX_DIMS + 1] = { 0 }, stride[TD_MAX_DIMS + 1] = { 0 };
    TDPickleTensor t = { 0 };
    const struct Global *dtype;
    int n, n_strides;

    OR_RETURN(n = unpack(p, args, item, 7));
    if (n < (call == CALL_TENSOR ? 4 : call == CALL_TENSOR_V2 ? 6 : 7) || p->nodes[item[0]].kind != TD_PK_STORAGE)
        return BAD(p, "tensor is not built from (storage, offset, size, stride, ...)");
    t.storage = (uint32_t)p->nodes[item[0]].i;
    t.dtype   = p->storages[t.storage].dtype;
    OR_RETURN(get_int(p, item[1], "storage offset", &t.offset));
    OR_RETURN(t.n_dims = unpack(p, item[2], size, TD_MAX_DIMS + 1));
    OR_RETURN(n_strides = unpack(p, item[3], stride, TD_MAX_DIMS + 1));
    if (t.n_dims > TD_MAX_DIMS)
        return td_error(p->log, ENOTSUP, "%s: pickle byte %zu: tensor of %u dimensions, want at most %d", p->label,
                        p->op, p->nodes[item[2]].count, TD_MAX_DIMS);
    if (n_strides != t.n_dims)
        return BAD(p, "tensor of %d dimensions has %d strides", t.n_dims, n_strides);
    for (int i = 0; i < TD_MAX_DIMS; i++) {
        t.shape[i] = t.stride[i] = 1;
        if (i < t.n_dims) {
            OR_RETURN(get_int(p, size[i], "tensor size", &t.shape[i]));
            OR_RETURN(get_int(p, stride[i], "tensor stride", &t.stride[i]));
        }
    }
    if (call == CALL_TENSOR_V3) {
        dtype = as_global(p, item[6]);
        if (!dtype || dtype->call != DTYPE)
            return BAD(p, "tensor's dtype is not a torch dtype");
        t.dtype = dtype->dtype;
    }
    if (t.dtype == TD_N_DTYPES)
        return BAD(p, "tensor on an untyped storage has no dtype");
    OR_RETURN(reserve(p, &p->tensors, &p->cap_tensors, p->n_tensors, sizeof(*p->tensors)));
    p->tensors[p->n_tensors] = t;
    return push(p, TD_PK_TENSOR, (int64_t)p->n_tensors++);
}

/* () or ([(key, value), ...]) */
static int make_ordered_dict(TDPickle *p, uint32_t args)
{
    uint32_t list = 0, pair[2] = { 0 }, dict, cell;
    int n;

    OR_RETURN(n = unpack(p, args, &list, 1));
    OR_RETURN(new_node(p, TD_PK_DICT, &dict));
    if (n) {
        if (p->nodes[list].kind != TD_PK_LIST)
            return BAD(p, "OrderedDict of %s, want a list of pairs", kind_names[p->nodes[list].kind]);
        for (cell = p->nodes[list].first; cell != TD_PK_NIL; cell = p->cells[cell].next) {
            OR_RETURN(n = unpack(p, p->cells[cell].value, pair, 2));
            if (n != 2)
                return BAD(p, "OrderedDict of %d values, want pairs", n);
            OR_RETURN(append(p, dict, pair[0], pair[1]));
        }
    }
    return push_node(p, dict);
}

static int op_reduce(TDPickle *p)
{
    const struct Global *g;
    uint32_t args, callable, first = 0;
    int n;

    OR_RETURN(pop_kind(p, TD_PK_TUPLE, &args));
    OR_RETURN(pop_kind(p, TD_PK_GLOBAL, &callable));
    g = as_global(p, callable);
    switch (g->call) {
    case CALL_ORDERED_DICT:
        return make_ordered_dict(p, args);
    case CALL_TENSOR:
    case CALL_TENSOR_V2:
    case CALL_TENSOR_V3:
        return make_tensor(p, args, g->call);
    case CALL_PARAMETER:                         /* (tensor, requires_grad, hooks [, state]): the tensor */
    case CALL_PARAMETER_STATE:
    case CALL_SIZE:                              /* (tuple): the tuple */
        OR_RETURN(n = unpack(p, args, &first, 1));
        if (!n || p->nodes[first].kind != (g->call == CALL_SIZE ? TD_PK_TUPLE : TD_PK_TENSOR))
            return BAD(p, "%s.%s of %s", g->module, g->name, n ? kind_names[p->nodes[first].kind] : "nothing");
        return push_node(p, first);
    default:
        return BAD(p, "calls %s.%s", g->module, g->name);
    }
}

/* Sets attributes of an object (a state dict's _metadata): checked and dropped. */
static int op_build(TDPickle *p)
{
    uint32_t id;

    OR_RETURN(pop(p, &id));
    return top_kind(p, TD_PK_DICT, &id);
}

static int op_long1(TDPickle *p)
{
    const uint8_t *b;
    uint64_t v = 0;
    size_t n;

    OR_RETURN(take(p, &b, 1));
    n = b[0];
    if (n > 8)
        return BAD(p, "integer of %zu bytes, want at most 8", n);
    OR_RETURN(take(p, &b, n));
    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)b[i] << 8 * i;
    if (n && n < 8 && b[n - 1] & 0x80)
        v |= ~(uint64_t)0 << 8 * n;
    return push(p, TD_PK_INT, (int64_t)v);
}

static int op_append(TDPickle *p, enum TDPickleKind kind)
{
    uint32_t key, value, list;

    OR_RETURN(pop(p, &value));
    key = value;
    if (kind == TD_PK_DICT)
        OR_RETURN(pop(p, &key));
    OR_RETURN(top_kind(p, kind, &list));
    return append(p, list, key, value);
}

/* One opcode with its operands, STOP excepted */
static int step(TDPickle *p, enum Op op)
{
    const uint8_t *b;
    size_t begin;

    switch (op) {
    case OP_PROTO:
        OR_RETURN(take(p, &b, 1));
        return b[0] >= 2 && b[0] <= 4 ? 0 : BAD(p, "protocol %d, want 2 to 4", b[0]);
    case OP_FRAME:
        OR_RETURN(take(p, &b, 8));
        return td_rl64(b) <= p->size - p->pos ? 0 : BAD(p, "frame is longer than the pickle: truncated");
    case OP_MARK:
        OR_RETURN(reserve(p, &p->marks, &p->cap_marks, p->n_marks, sizeof(*p->marks)));
        p->marks[p->n_marks++] = (uint32_t)p->n_stack;
        return 0;
    case OP_NONE:
        return push(p, TD_PK_NONE, 0);
    case OP_NEWTRUE:
    case OP_NEWFALSE:
        return push(p, TD_PK_BOOL, op == OP_NEWTRUE);
    case OP_BININT:
        OR_RETURN(take(p, &b, 4));
        return push(p, TD_PK_INT, (int32_t)td_rl32(b));
    case OP_BININT1:
        OR_RETURN(take(p, &b, 1));
        return push(p, TD_PK_INT, b[0]);
    case OP_BININT2:
        OR_RETURN(take(p, &b, 2));
        return push(p, TD_PK_INT, td_rl16(b));
    case OP_LONG1:
        return op_long1(p);
    case OP_BINFLOAT:                            /* values of floats are not needed */
        OR_RETURN(take(p, &b, 8));
        return push(p, TD_PK_FLOAT, 0);
    case OP_BINUNICODE:
        OR_RETURN(take(p, &b, 4));
        return push_str(p, td_rl32(b));
    case OP_SHORT_BINUNICODE:
        OR_RETURN(take(p, &b, 1));
        return push_str(p, b[0]);
    case OP_EMPTY_TUPLE:
        return push(p, TD_PK_TUPLE, 0);
    case OP_EMPTY_LIST:
        return push(p, TD_PK_LIST, 0);
    case OP_EMPTY_DICT:
        return push(p, TD_PK_DICT, 0);
    case OP_TUPLE1:
    case OP_TUPLE2:
    case OP_TUPLE3:
        return make_small_tuple(p, (size_t)(op - OP_TUPLE1) + 1);
    case OP_TUPLE:
        OR_RETURN(pop_mark(p, &begin));
        return make_tuple(p, begin);
    case OP_APPEND:
        return op_append(p, TD_PK_LIST);
    case OP_SETITEM:
        return op_append(p, TD_PK_DICT);
    case OP_APPENDS:
        return append_marked(p, TD_PK_LIST);
    case OP_SETITEMS:
        return append_marked(p, TD_PK_DICT);
    case OP_BINPUT:
        OR_RETURN(take(p, &b, 1));
        return memo_put(p, b[0]);
    case OP_LONG_BINPUT:
        OR_RETURN(take(p, &b, 4));
        return memo_put(p, td_rl32(b));
    case OP_MEMOIZE:
        return memo_put(p, p->n_memo);
    case OP_BINGET:
        OR_RETURN(take(p, &b, 1));
        return memo_get(p, b[0]);
    case OP_LONG_BINGET:
        OR_RETURN(take(p, &b, 4));
        return memo_get(p, td_rl32(b));
    case OP_GLOBAL:
        return op_global(p);
    case OP_STACK_GLOBAL:
        return op_stack_global(p);
    case OP_BINPERSID:
        return op_binpersid(p);
    case OP_REDUCE:
        return op_reduce(p);
    case OP_BUILD:
        return op_build(p);
    default:
        return BAD(p, "opcode 0x%02x, want one that torch.save writes", op);
    }
}

int td_pickle_load(TDPickle *p, uint32_t *root)
{
    const uint8_t *b;

    p->n_stack = p->n_marks = p->n_memo = 0;
    if (p->cap_memo)
        memset(p->memo, 0, p->cap_memo * sizeof(*p->memo));
    for (;;) {
        p->op = p->pos;
        OR_RETURN(take(p, &b, 1));
        if (b[0] == OP_STOP)
            break;
        OR_RETURN(step(p, b[0]));
    }
    OR_RETURN(pop(p, root));
    return p->n_stack || p->n_marks ? BAD(p, "stops with values left on the stack") : 0;
}

void td_pickle_free(TDPickle *p)
{
    free(p->nodes);
    free(p->cells);
    free(p->storages);
    free(p->tensors);
    free(p->stack);
    free(p->marks);
    free(p->memo);
    memset(p, 0, sizeof(*p));
}

uint32_t td_pickle_get(const TDPickle *p, uint32_t dict, const char *key)
{
    size_t len = strlen(key);

    for (uint32_t cell = p->nodes[dict].first; cell != TD_PK_NIL; cell = p->cells[cell].next) {
        const TDPickleNode *k = &p->nodes[p->cells[cell].key];
        if (k->kind == TD_PK_STR && k->count == len && !memcmp(k->str, key, len))
            return p->cells[cell].value;
    }
    return TD_PK_NIL;
}
