/* SPDX-License-Identifier: BSD-2-Clause
 * A GGUF file's lists become the SentencePiece file that they were made of, which is then read as any other. */
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include "model/vocabulary.h"
#include "text/tokenizer_priv.h"

#define MAX_MODEL ((size_t)64 << 20)             /* bytes, as of a file */
#define PIECE_BYTES 24                           /* of a piece beside its text, at most */

typedef struct Lists {
    const TDEntry *texts, *scores;               /* each text behind its length of 8 bytes */
    size_t at;                                   /* in the texts */
} Lists;

static const TDEntry *find(const TDCheckpoint *ckpt, const char *name)
{
    return td_checkpoint_find(ckpt, name);
}

int td_vocabulary_is_in(const TDCheckpoint *ckpt)
{
    return find(ckpt, "spiece_model") || find(ckpt, "tokenizer.ggml.tokens");
}

/* the next text. @return 1, or 0 past the last one */
static int next_text(Lists *l, const uint8_t **text, size_t *len)
{
    uint64_t n = 0;

    if (l->texts->bytes - l->at < 8)
        return 0;
    for (int i = 0; i < 8; i++)
        n |= (uint64_t)l->texts->data[l->at + (size_t)i] << 8 * i;
    l->at += 8;
    if (n > l->texts->bytes - l->at)
        return 0;
    *text = l->texts->data + l->at;
    *len = (size_t)n;
    l->at += (size_t)n;
    return 1;
}

/* what stands behind the pieces for the ids that a model has more: "<extra_id_0>", "[PAD1]" */
static int is_filler(const uint8_t *text, size_t len)
{
    return (len > 10 && !memcmp(text, "<extra_id_", 10)) || (len > 4 && !memcmp(text, "[PAD", 4));
}

static uint8_t *put_varint(uint8_t *p, size_t v)
{
    for (; v > 127; v >>= 7)
        *p++ = (uint8_t)(v | 128);
    *p++ = (uint8_t)v;
    return p;
}

static size_t varint_bytes(size_t v)
{
    uint8_t bytes[10];

    return (size_t)(put_varint(bytes, v) - bytes);
}

/* a message of the file: field 1 the text, field 2 the score */
static uint8_t *put_piece(uint8_t *p, const uint8_t *text, size_t len, const uint8_t *score)
{
    *p++ = 0x0a;
    p = put_varint(p, 1 + varint_bytes(len) + len + 5);
    *p++ = 0x0a;
    p = put_varint(p, len);
    if (len)
        memcpy(p, text, len);
    p += len;
    *p++ = 0x15;
    memcpy(p, score, 4);
    return p + 4;
}

/* *file: malloc'd */
static int from_lists(uint8_t **file, size_t *size, const TDCheckpoint *ckpt, TDLog *log)
{
    Lists l = { find(ckpt, "tokenizer.ggml.tokens"), find(ckpt, "tokenizer.ggml.scores"), 0 };
    const char *path = td_checkpoint_path(ckpt);
    int64_t n = 0, n_pieces = 0;
    const uint8_t *text;
    uint8_t *p;
    size_t len;

    if (!l.scores)
        return td_error(log, EBADMSG, "%s: tokenizer.ggml.tokens without tokenizer.ggml.scores", path);
    while (next_text(&l, &text, &len)) {
        n++;
        if (!is_filler(text, len))
            n_pieces = n;
    }
    if (n != td_entry_count(l.scores))
        return td_error(log, EBADMSG, "%s: %lld tokens and %lld scores, want as many", path, (long long)n,
                        (long long)td_entry_count(l.scores));
    if (l.texts->bytes > MAX_MODEL)
        return td_error(log, EBADMSG, "%s: tokens of %zu bytes, want at most %zu", path, l.texts->bytes, MAX_MODEL);
    *file = p = malloc(l.texts->bytes + (size_t)n_pieces * PIECE_BYTES + 1);
    if (!p)
        return td_error(log, ENOMEM, "%s: out of memory", path);
    l.at = 0;
    for (int64_t i = 0; i < n_pieces && next_text(&l, &text, &len); i++)
        p = put_piece(p, text, len, l.scores->data + 4 * i);
    *size = (size_t)(p - *file);
    return 0;
}

int td_vocabulary_open(TDTokenizer **tok, const TDCheckpoint *ckpt, TDLog *log)
{
    const TDEntry *e = find(ckpt, "spiece_model");
    const char *path = td_checkpoint_path(ckpt);
    char label[1024];
    uint8_t *file = NULL;
    size_t size = 0;
    int ret = 0;

    *tok = NULL;
    snprintf(label, sizeof(label), "%s: %s", path, e ? "spiece_model" : "tokenizer.ggml.tokens");
    if (!e) {
        ret = from_lists(&file, &size, ckpt, log);
    } else if (e->dtype != TD_U8 || !td_entry_is_contiguous(e) || e->bytes < 1 || e->bytes > MAX_MODEL) {
        ret = td_error(log, EBADMSG, "%s: spiece_model is %zu bytes of %s, want 1 to %zu of a SentencePiece model as "
                       "u8", path, e->bytes, td_dtype_name(e->dtype), MAX_MODEL);
    } else {
        size = e->bytes;
        file = malloc(size);
        if (file)
            memcpy(file, e->data, size);
        else
            ret = td_error(log, ENOMEM, "%s: out of memory", path);
    }
    return ret < 0 ? ret : td_tokenizer_parse(tok, label, file, size, e != NULL, log);
}
