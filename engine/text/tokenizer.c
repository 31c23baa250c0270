/* SPDX-License-Identifier: BSD-2-Clause
 * umT5's tokenizer over a SentencePiece .model file, with the ids of the official fast (Unigram) tokenizer.
 * 1. Pieces of every type are ordinary entries, the 300 extra ids and the four special tokens are added tokens: matched
 *    first, anywhere in the text.
 * 2. Spaces become U+2581; the text between added tokens gets one in front and is cut before each of them.
 * 3. Viterbi over each cut in f64; at equal scores the piece that begins earlier wins; a run of unknown characters is
 *    one id. There is no byte fallback.
 * 4. The file is kept in memory; pieces point into it. All its bytes are hostile. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include "base/io.h"
#include "text/tokenizer_priv.h"

#define MAX_MODEL      (64 << 20)                /* bytes of the file */
#define MAX_PIECES     (1 << 20)
#define MAX_PIECE      512                       /* bytes: bounds the work of a position; umT5's longest has 48 */
#define N_EXTRA_IDS    300
#define UNK_PENALTY    10.0
#define SPACE          "\xe2\x96\x81"            /* U+2581 */
#define SPACE_LEN      3

enum { PAD_ID, EOS_ID, BOS_ID, UNK_ID, N_SPECIAL };

static const char *const special_tokens[N_SPECIAL] = { "<pad>", "</s>", "<s>", "<unk>" };

typedef struct Piece {
    const uint8_t *text;
    uint32_t len;
    float score;
} Piece;

struct TDTokenizer {
    uint8_t *file;
    Piece *pieces;                               /* index = id */
    uint32_t n_pieces, cap_pieces, max_len;
    uint32_t *table, table_mask;                 /* open addressing, id + 1 */
    uint64_t secret;                             /* of the table's hash */
    double unk_score;
};

/* ---- the model file: protobuf messages ---- */

typedef struct Field {
    uint32_t number;
    int wire;
    uint64_t value;                              /* varint, or the bits of a fixed32/64 */
    const uint8_t *data;                         /* length-delimited */
    size_t len;
} Field;

static int read_varint(const uint8_t **p, const uint8_t *end, uint64_t *v)
{
    *v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (*p == end)
            return -1;
        *v |= (uint64_t)(**p & 0x7f) << shift;
        if (!(*(*p)++ & 0x80))
            return 0;
    }
    return -1;
}

static uint64_t read_fixed(const uint8_t *p, int n)
{
    uint64_t v = 0;

    for (int i = 0; i < n; i++)
        v |= (uint64_t)p[i] << 8 * i;
    return v;
}

/* @return 1 a field, 0 end of the message, -1 damaged */
static int next_field(Field *f, const uint8_t **p, const uint8_t *end)
{
    uint64_t tag, len;

    if (*p == end)
        return 0;
    if (read_varint(p, end, &tag) < 0 || !(tag >> 3) || tag >> 3 > 0x1fffffff)
        return -1;
    *f = (Field){ .number = (uint32_t)(tag >> 3), .wire = (int)(tag & 7) };
    switch (f->wire) {
    case 0:
        return read_varint(p, end, &f->value) < 0 ? -1 : 1;
    case 1:
    case 5:
        len = f->wire == 1 ? 8 : 4;
        if ((size_t)(end - *p) < len)
            return -1;
        f->value = read_fixed(*p, (int)len);
        *p += len;
        return 1;
    case 2:
        if (read_varint(p, end, &len) < 0 || len > (size_t)(end - *p))
            return -1;
        f->data = *p;
        f->len  = (size_t)len;
        *p += len;
        return 1;
    default:
        return -1;
    }
}

static int add_piece(TDTokenizer *tok, const char *path, const Field *msg, TDLog *log)
{
    const uint8_t *p = msg->data, *end = p + msg->len;
    Piece piece = { 0 };
    uint32_t bits;
    Field f;
    int ret;

    while ((ret = next_field(&f, &p, end)) > 0) {
        if (f.number == 1 && f.wire == 2) {
            piece.text = f.data;
            piece.len  = (uint32_t)f.len;
        } else if (f.number == 2 && f.wire == 5) {
            bits = (uint32_t)f.value;
            memcpy(&piece.score, &bits, sizeof(bits));
        }
    }
    if (ret < 0 || !piece.len || !isfinite(piece.score))
        return td_error(log, EBADMSG, "%s: piece %u is damaged, want a text and a finite score", path, tok->n_pieces);
    if (piece.len > MAX_PIECE)
        return td_error(log, EBADMSG, "%s: piece %u has %u bytes, want at most %d", path, tok->n_pieces, piece.len,
                        MAX_PIECE);
    if (tok->n_pieces == MAX_PIECES)
        return td_error(log, EBADMSG, "%s: more than %d pieces", path, MAX_PIECES);
    if (tok->n_pieces == tok->cap_pieces) {
        uint32_t cap = tok->cap_pieces ? 2 * tok->cap_pieces : 4096;
        Piece *grown = realloc(tok->pieces, cap * sizeof(*grown));

        if (!grown)
            return td_error(log, ENOMEM, "%s: out of memory", path);
        tok->pieces     = grown;
        tok->cap_pieces = cap;
    }
    tok->pieces[tok->n_pieces++] = piece;
    if (piece.len > tok->max_len)
        tok->max_len = piece.len;
    return 0;
}

static int check_trainer_spec(const char *path, const Field *msg, TDLog *log)
{
    const uint8_t *p = msg->data, *end = p + msg->len;
    uint64_t model_type = 1;
    Field f;
    int ret;

    while ((ret = next_field(&f, &p, end)) > 0)
        if (f.number == 3 && f.wire == 0)
            model_type = f.value;
    if (ret < 0)
        return td_error(log, EBADMSG, "%s: trainer_spec is damaged", path);
    if (model_type != 1)
        return td_error(log, ENOTSUP, "%s: model type %llu, want 1 (Unigram)", path, (unsigned long long)model_type);
    return 0;
}

static int check_normalizer_spec(const char *path, const Field *msg, TDLog *log)
{
    const uint8_t *p = msg->data, *end = p + msg->len;
    size_t charsmap = 0;
    Field f;
    int ret;

    while ((ret = next_field(&f, &p, end)) > 0)
        if (f.number == 2 && f.wire == 2)
            charsmap = f.len;
    if (ret < 0)
        return td_error(log, EBADMSG, "%s: normalizer_spec is damaged", path);
    if (charsmap)
        return td_error(log, ENOTSUP, "%s: has a normaliser of %zu bytes, want umT5's (identity)", path, charsmap);
    return 0;
}

static int parse_model(TDTokenizer *tok, const char *path, size_t size, int whole, TDLog *log)
{
    const uint8_t *p = tok->file, *end = p + size;
    double min_score = 0;                        /* of the extra ids */
    Field f;
    int ret, err, trained = 0;

    if (td_is_lfs_pointer(tok->file, size))
        return td_error(log, EBADMSG, "%s: is a Git LFS pointer, want the vocabulary (spiece.model) that it stands for",
                        path);
    while ((ret = next_field(&f, &p, end)) > 0) {
        err = 0;
        trained |= f.number == 2 && f.wire == 2;
        if (f.number == 1 && f.wire == 2)
            err = add_piece(tok, path, &f, log);
        else if (f.number == 2 && f.wire == 2)
            err = check_trainer_spec(path, &f, log);
        else if (f.number == 3 && f.wire == 2)
            err = check_normalizer_spec(path, &f, log);
        if (err < 0)
            return err;
    }
    if (ret < 0)
        return td_error(log, EBADMSG, "%s: damaged at byte %zu of %zu, want a SentencePiece model", path,
                        (size_t)(p - tok->file), size);
    for (uint32_t i = 0; i < N_SPECIAL; i++)
        if (i >= tok->n_pieces || tok->pieces[i].len != strlen(special_tokens[i]) ||
            memcmp(tok->pieces[i].text, special_tokens[i], tok->pieces[i].len))
            return td_error(log, ENOTSUP, "%s: piece %u is not %s, want umT5's spiece.model", path, i,
                            special_tokens[i]);
    if (whole && !trained)
        return td_error(log, EBADMSG, "%s: ends behind piece %u, want a trainer_spec after the last one: the file is "
                        "cut short", path, tok->n_pieces - 1);
    for (uint32_t i = 0; i < tok->n_pieces; i++)
        if (tok->pieces[i].score < min_score)
            min_score = tok->pieces[i].score;
    tok->unk_score = min_score - UNK_PENALTY;
    return 0;
}

/* ---- lookup of a piece by its bytes ---- */

/* A polynomial modulo 2^61 - 1 at a secret point: no file can be made whose pieces collide. The order of the table does
 * not show in any result. */
#define HASH_PRIME ((UINT64_C(1) << 61) - 1)

static uint64_t hash_byte(const TDTokenizer *tok, uint64_t h, uint8_t b)
{
    unsigned __int128 wide = (unsigned __int128)h * tok->secret + b + 1;

    h = (uint64_t)(wide & HASH_PRIME) + (uint64_t)(wide >> 61);
    return h < HASH_PRIME ? h : h - HASH_PRIME;
}

/* the first place of the table to look at */
static uint32_t hash_place(uint64_t h)
{
    return (uint32_t)((h * UINT64_C(0x9e3779b97f4a7c15)) >> 32);
}

/* @return id, or -1 */
static int32_t find_piece(const TDTokenizer *tok, uint64_t hash, const uint8_t *text, uint32_t len)
{
    for (uint32_t i = hash_place(hash);; i++) {
        uint32_t id = tok->table[i & tok->table_mask];

        if (!id)
            return -1;
        if (tok->pieces[id - 1].len == len && !memcmp(tok->pieces[id - 1].text, text, len))
            return (int32_t)id - 1;
    }
}

static void choose_secret(TDTokenizer *tok)
{
    struct timespec now;

    if (getrandom(&tok->secret, sizeof(tok->secret), GRND_NONBLOCK) != (ssize_t)sizeof(tok->secret)) {
        clock_gettime(CLOCK_MONOTONIC, &now);    /* an early boot, or a kernel without it */
        tok->secret = (uint64_t)now.tv_nsec << 32 ^ (uint64_t)(uintptr_t)tok ^ (uint64_t)now.tv_sec;
    }
    tok->secret = tok->secret % (HASH_PRIME - 512) + 256;
}

static int build_table(TDTokenizer *tok, const char *path, TDLog *log)
{
    uint32_t size = 1024;

    choose_secret(tok);
    while (size < 2 * tok->n_pieces)
        size *= 2;
    tok->table_mask = size - 1;
    tok->table = calloc(size, sizeof(*tok->table));
    if (!tok->table)
        return td_error(log, ENOMEM, "%s: out of memory", path);
    for (uint32_t id = 0; id < tok->n_pieces; id++) {
        const Piece *p = &tok->pieces[id];
        uint64_t h = 0;
        uint32_t i;

        for (uint32_t k = 0; k < p->len; k++)
            h = hash_byte(tok, h, p->text[k]);
        for (i = hash_place(h); tok->table[i & tok->table_mask]; i++) {
            const Piece *other = &tok->pieces[tok->table[i & tok->table_mask] - 1];

            if (other->len == p->len && !memcmp(other->text, p->text, p->len))
                return td_error(log, EBADMSG, "%s: piece %u repeats piece %u", path, id,
                                tok->table[i & tok->table_mask] - 1);
        }
        tok->table[i & tok->table_mask] = id + 1;
    }
    return 0;
}

/* ---- opening ---- */

int td_tokenizer_parse(TDTokenizer **tok, const char *path, uint8_t *file, size_t size, int whole, TDLog *log)
{
    TDTokenizer *t = calloc(1, sizeof(*t));
    int ret;

    *tok = NULL;
    if (!t) {
        free(file);
        return td_error(log, ENOMEM, "%s: out of memory", path);
    }
    t->file = file;
    if ((ret = parse_model(t, path, size, whole, log)) < 0 ||
        (ret = build_table(t, path, log)) < 0) {
        td_tokenizer_free(&t);
        return ret;
    }
    *tok = t;
    return 0;
}

int td_tokenizer_open(TDTokenizer **tok, const char *path, TDLog *log)
{
    uint8_t *file = NULL;
    size_t size = 0;
    int ret = td_read_file(&file, &size, path, 1, MAX_MODEL, "a SentencePiece model", log);

    *tok = NULL;
    return ret < 0 ? ret : td_tokenizer_parse(tok, path, file, size, 1, log);
}

void td_tokenizer_free(TDTokenizer **tok)
{
    TDTokenizer *t = *tok;

    if (!t)
        return;
    free(t->file);
    free(t->pieces);
    free(t->table);
    free(t);
    *tok = NULL;
}

int td_tokenizer_n_ids(const TDTokenizer *tok)
{
    return (int)tok->n_pieces + N_EXTRA_IDS;
}

/* ---- encoding ---- */

typedef struct Node {                            /* the best way to reach a position */
    double score;
    uint32_t start;
    int32_t id;                                  /* < 0: not reached */
} Node;

typedef struct Ids {
    int32_t *ids;
    size_t n, max;                               /* n counts also those past max */
} Ids;

static void put_id(Ids *out, int32_t id)
{
    if (out->n < out->max)
        out->ids[out->n] = id;
    out->n++;
}

static uint32_t char_len(uint8_t lead)
{
    return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

/* Length of the added token at s, 0 if there is none */
static size_t added_token(const TDTokenizer *tok, const char *s, int32_t *id)
{
    static const char extra[] = "<extra_id_";
    size_t n = sizeof(extra) - 1;
    int number = 0;

    for (int i = 0; i < N_SPECIAL; i++)
        if (!strncmp(s, special_tokens[i], strlen(special_tokens[i]))) {
            *id = i;
            return strlen(special_tokens[i]);
        }
    if (strncmp(s, extra, n) || s[n] < '0' || s[n] > '9' || (s[n] == '0' && s[n + 1] != '>'))
        return 0;
    for (; s[n] >= '0' && s[n] <= '9' && number < N_EXTRA_IDS; n++)
        number = 10 * number + s[n] - '0';
    if (s[n] != '>' || number >= N_EXTRA_IDS)
        return 0;
    *id = (int32_t)tok->n_pieces + N_EXTRA_IDS - 1 - number;   /* descending */
    return n + 1;
}

static void relax(Node *node, double score, uint32_t start, int32_t id)
{
    if (node->id < 0 || score > node->score)
        *node = (Node){ .score = score, .start = start, .id = id };
}

/* s: one cut of len bytes. node: len + 1, path: len */
static void encode_cut(const TDTokenizer *tok, Ids *out, const uint8_t *s, uint32_t len, Node *node, int32_t *path)
{
    uint32_t n_path = 0;
    int32_t last = -1;

    for (uint32_t i = 0; i <= len; i++)
        node[i] = (Node){ .score = 0, .id = -1 };
    for (uint32_t start = 0, one; start < len; start += one) {
        uint32_t end = start;
        uint64_t hash = 0;
        double base = node[start].score;
        int single = 0;

        one = char_len(s[start]);
        while (end < len && end - start < tok->max_len) {
            uint32_t n = char_len(s[end]);
            int32_t id;

            for (uint32_t k = 0; k < n; k++)
                hash = hash_byte(tok, hash, s[end + k]);
            end += n;
            if ((id = find_piece(tok, hash, s + start, end - start)) < 0)
                continue;
            relax(&node[end], base + (double)tok->pieces[id].score, start, id);
            single |= end - start == one;
        }
        if (!single)
            relax(&node[start + one], base + tok->unk_score, start, UNK_ID);
    }
    for (uint32_t end = len; end; end = node[end].start)
        path[n_path++] = node[end].id;
    while (n_path--) {
        if (path[n_path] != UNK_ID || last != UNK_ID)
            put_id(out, path[n_path]);
        last = path[n_path];
    }
}

/* s: len bytes between added tokens. buf: room for 3 * len + 3 bytes */
static void encode_section(const TDTokenizer *tok, Ids *out, const char *s, size_t len, uint8_t *buf, Node *node,
                           int32_t *path)
{
    size_t n = 0, begin = 0;

    if (!len)
        return;
    if (s[0] != ' ' && (len < SPACE_LEN || memcmp(s, SPACE, SPACE_LEN))) {
        memcpy(buf, SPACE, SPACE_LEN);
        n = SPACE_LEN;
    }
    for (size_t i = 0; i < len; i++) {
        if (s[i] == ' ') {
            memcpy(buf + n, SPACE, SPACE_LEN);
            n += SPACE_LEN;
        } else
            buf[n++] = (uint8_t)s[i];
    }
    for (size_t i = SPACE_LEN; i <= n; i++)
        if (i == n || (n - i >= SPACE_LEN && !memcmp(buf + i, SPACE, SPACE_LEN))) {
            encode_cut(tok, out, buf + begin, (uint32_t)(i - begin), node, path);
            begin = i;
        }
}

int td_tokenizer_has_word(const TDTokenizer *tok, const char *word, size_t len)
{
    uint8_t text[SPACE_LEN + MAX_PIECE];
    uint64_t hash = 0;

    if (len > MAX_PIECE)
        return 0;
    memcpy(text, SPACE, SPACE_LEN);
    memcpy(text + SPACE_LEN, word, len);
    for (size_t i = 0; i < SPACE_LEN + len; i++)
        hash = hash_byte(tok, hash, text[i]);
    return find_piece(tok, hash, text, (uint32_t)(SPACE_LEN + len)) >= 0;
}

int td_tokenize(const TDTokenizer *tok, const char *utf8, int32_t *ids, int max, TDLog *log)
{
    Ids out = { .ids = ids, .max = (size_t)max - 1 };
    size_t begin = 0, i = 0, len, token;
    int32_t id = 0, *path = NULL;
    uint8_t *buf = NULL;
    Node *node = NULL;
    char *text;
    int ret, n;

    if ((ret = td_text_clean(&text, utf8, log)) < 0)
        return ret;
    len  = SPACE_LEN * (strlen(text) + 1);
    buf  = malloc(len);
    path = malloc(len * sizeof(*path));
    node = malloc((len + 1) * sizeof(*node));
    if (!buf || !path || !node) {
        ret = td_error(log, ENOMEM, "prompt: out of memory");
        goto end;
    }
    while (text[i]) {
        if (!(token = text[i] == '<' ? added_token(tok, text + i, &id) : 0)) {
            i++;
            continue;
        }
        encode_section(tok, &out, text + begin, i - begin, buf, node, path);
        put_id(&out, id);
        begin = i += token;
    }
    encode_section(tok, &out, text + begin, i - begin, buf, node, path);
    n = (int)(out.n < out.max ? out.n : out.max);
    if (out.n > out.max)
        td_log(log, TD_LOG_WARNING, "prompt: %zu tokens, the last %zu are cut off", out.n, out.n - out.max);
    ids[n] = EOS_ID;
    for (int k = n + 1; k < max; k++)
        ids[k] = PAD_ID;
    ret = n + 1;
end:
    free(node);
    free(path);
    free(buf);
    free(text);
    return ret;
}
