/* SPDX-License-Identifier: BSD-2-Clause
 * What the container readers (zip, pickle, safetensors, GGUF) share, and checkpoint.c gives them. Private to these
 * files.
 * 1. Every reader works on a read-only mapping and never trusts a count, size or offset in it.
 * 2. Text taken from a file reaches a log line only through td_ckpt_quote(). */
#ifndef TD_CHECKPOINT_PRIV_H
#define TD_CHECKPOINT_PRIV_H

#include "files/checkpoint.h"
#include "files/json.h"
#include "files/mapping.h"

/* Lets the compiler see that the result is negative, so that it can tell which outputs are set. */
#define td_error(log, err, ...) ((void)td_error(log, err, __VA_ARGS__), TD_ERR(err))

struct TDCheckpoint {
    char *path;
    TDMappedFile *files;                         ///< one; an index has those of its shards, too
    int n_files;
    TDEntry *entries;                            ///< in file order; names are owned
    int n_entries, cap_entries;
    size_t name_bytes;                           /* of all names as the file has them */
    const TDEntry **by_name;                     ///< sorted; set once all entries are in
    const char *naming;                          ///< whose names it has, or NULL: the official ones
    int in_generator, is_generator;              ///< read from a dict of that name; and names begin with "model."
    char *lora_metadata;                         ///< of a LoRA's header: diffusers' JSON, or NULL
    void **owned;                                ///< memory that entries point into
    int n_owned;
};

#define TD_CKPT_MAX_NAME 1024                    /* bytes of a tensor's name, and of a storage's key */
#define TD_QUOTE_MAX 128

/** Text of the file made fit for a log line: cut to the buffer, anything but printable ASCII becomes '?'.
 *  @return dst */
const char *td_ckpt_quote(char dst[TD_QUOTE_MAX], const void *s, size_t len);

/** Append one tensor; its name is stripped, checked and copied. e->name is ignored. label: path for messages.
 *  @return 0, EBADMSG, ENOMEM */
int td_ckpt_add(TDCheckpoint *ckpt, const char *label, const void *name, size_t name_len, const TDEntry *e, TDLog *log);

/** Set e's row-major strides. Its shape must be valid. */
void td_ckpt_set_contiguous(TDEntry *e);

/** Grow an array geometrically so that it holds at least `need` items. @return 0 or -1 (unchanged) */
int td_ckpt_grow(void *array_ptr, size_t *cap, size_t need, size_t item_size);

/** Fill an empty ckpt (its path set, for messages) from a whole file in memory, which must outlive it.
 *  @return 0, EBADMSG, ENOTSUP, ENOMEM; for an index of shards also what td_ckpt_map() returns */
int td_ckpt_parse(TDCheckpoint *ckpt, TDMapping map, TDLog *log);

/* The formats, called by td_ckpt_parse(). label: path for messages */
int td_ckpt_pth_parse(TDCheckpoint *ckpt, const char *label, TDMapping map, TDLog *log);
int td_ckpt_pth_legacy_parse(TDCheckpoint *ckpt, const char *label, TDMapping map, TDLog *log);
int td_ckpt_is_legacy_pth(TDMapping map);
int td_ckpt_gguf_parse(TDCheckpoint *ckpt, const char *label, TDMapping map, TDLog *log);
int td_ckpt_safetensors_parse(TDCheckpoint *ckpt, const char *label, TDMapping map, TDLog *log);

int td_ckpt_is_safetensors(TDMapping map);
int td_ckpt_is_index(TDMapping map);

/** The error of a file that begins as none of these; want: what it was to be. */
int td_ckpt_not_weights(const char *label, TDMapping map, const char *want, TDLog *log);

/** Sharded set: maps each shard named by the index through td_ckpt_map(). */
int td_ckpt_index_parse(TDCheckpoint *ckpt, const char *label, TDMapping map, TDLog *log);

/* of TDEntry.n_dims: not of the file any more */
#define TD_CKPT_DROPPED (-1)

/** Make names of other projects the official ones, once all entries are in and sorted. @return 0 or ENOMEM */
int td_ckpt_rename(TDCheckpoint *ckpt, TDLog *log);
/** The same for int8 of 128x128 blocks as diffusers' files have it: `weight` with `weight_scale_inv`. */
int td_ckpt_rename_blocks(TDCheckpoint *ckpt, TDLog *log);

/** The official name of a transformer's tensor or module, of diffusers' or FastVideo's; one that is none of theirs
 *  stays. back: of the official one diffusers'. name: at most TD_CKPT_MAX_NAME bytes */
void td_name_of_diffusers(char out[2 * TD_CKPT_MAX_NAME], const char *name, int back);
void td_name_of_fastvideo(char out[2 * TD_CKPT_MAX_NAME], const char *name);

/** Give 8-bit values their scales and forms, once all entries are in and have their final names.
 *  @return 0, EBADMSG, ENOTSUP, ENOMEM */
int td_ckpt_set_scales(TDCheckpoint *ckpt, TDLog *log);

/** Add what a header's __metadata__ says of quantised layers, as the tensors LAYER.comfy_quant that other files have.
 *  @return 0, EBADMSG, ENOMEM */
int td_ckpt_quant_metadata(TDCheckpoint *ckpt, const char *label, TDJson metadata, TDLog *log);

/** Map a file and keep the mapping in ckpt. @return 0, ENOENT, EACCES, EBADMSG, ENOMEM */
int td_ckpt_map(TDCheckpoint *ckpt, const char *path, TDMapping *map, TDLog *log);

static inline uint16_t td_rl16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t td_rl32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t td_rl64(const uint8_t *p)
{
    return td_rl32(p) | (uint64_t)td_rl32(p + 4) << 32;
}

#endif /* TD_CHECKPOINT_PRIV_H */
