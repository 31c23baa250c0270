/* SPDX-License-Identifier: BSD-2-Clause
 * One view of a weight file: name -> dtype, shape, bytes. Reads .pth (zip and legacy torch.save), GGUF and .safetensors
 * (single, or sharded through NAME.safetensors.index.json), with the scales of 8-bit values. Files are memory-mapped
 * read-only; nothing is copied at open and nothing in them is executed. Every offset, size product, shape and dtype is
 * checked: all bytes are hostile.
 */
#ifndef TD_CHECKPOINT_H
#define TD_CHECKPOINT_H

#include "base/log.h"
#include "base/tensor.h"

typedef struct TDCheckpoint TDCheckpoint;

/** One tensor of the file. Owned by the checkpoint, valid until td_checkpoint_close(). */
typedef struct TDEntry {
    const char *name;
    enum TDDtype dtype;
    int n_dims;
    int64_t shape[TD_MAX_DIMS];                  ///< unused dims are 1
    int64_t stride[TD_MAX_DIMS];                 ///< elements; row-major contiguous unless a .pth view says otherwise
    const uint8_t *data;                         ///< first element, in the mapping; may be unaligned for its dtype
    size_t bytes;                                ///< readable bytes from data on; covers every element
    const char *file;                            ///< path of the checkpoint, for messages
    int ema;                                     ///< its name says that it is an average of trained weights
    const struct TDEntry *scale;                 ///< its values are times this: one number, or one a row; or NULL
    int group;                                   ///< or one for so many values of a row, swizzled (td_swizzled()); or 0
    const struct TDEntry *scale_2;               ///< and times this number, where there are groups; or NULL
    const struct TDEntry *columns;               ///< its columns are times these, one number each; or NULL
    int64_t row0;                                ///< of a part of it (td_entry_rows()): where its scales begin
    int rotated;                                 ///< inputs that were rotated with each other (ConvRot), or 0
    const struct TDChange *change;               ///< what LoRAs make of its values (change.h), or NULL
    int aside;                                   ///< tells of other tensors, or of the file, and is no weight
    int used;                                    ///< a network has it (td_checkpoint_use())
} TDEntry;

/** @param path .pth/.pt/.bin (by magic: zip or legacy), .safetensors, or .safetensors.index.json
 *  @return 0; ENOENT, EACCES, EBADMSG, ENOTSUP, ENOMEM, with one line "PATH: what, want what" logged */
int td_checkpoint_open(TDCheckpoint **ckpt, const char *path, TDLog *log);
void td_checkpoint_close(TDCheckpoint **ckpt);

/** @return the entry of that exact name after prefix stripping (doc/formats.md), or NULL */
const TDEntry *td_checkpoint_find(const TDCheckpoint *ckpt, const char *name);
const TDEntry *td_checkpoint_entry(const TDCheckpoint *ckpt, int index);   ///< in file order; NULL past the end
int td_checkpoint_count(const TDCheckpoint *ckpt);
/** Mark an entry of it. Not by two threads at a time, but for one that is marked. */
void td_checkpoint_use(const TDCheckpoint *ckpt, const TDEntry *e);
const char *td_checkpoint_path(const TDCheckpoint *ckpt);
const char *td_checkpoint_naming(const TDCheckpoint *ckpt);    ///< "diffusers'", ...; NULL: the official names
/** Whether its tensors are those of a generator, as Self-Forcing's and CausVid's training leaves it: a causal model. */
int td_checkpoint_is_generator(const TDCheckpoint *ckpt);
/** What diffusers says of a LoRA in its header (lora_adapter_metadata), unchecked JSON; NULL: nothing */
const char *td_checkpoint_lora_metadata(const TDCheckpoint *ckpt);
/** Whether its files are as they were when it was opened; what was read from one that is not may be anything.
 *  @return 0, or a logged EBADMSG */
int td_checkpoint_check(const TDCheckpoint *ckpt, TDLog *log);
/** Whether both are views of the same files: device, inode, size and time of change of each. */
int td_checkpoint_same(const TDCheckpoint *a, const TDCheckpoint *b);

int64_t td_entry_count(const TDEntry *e);        ///< elements
int td_entry_is_contiguous(const TDEntry *e);
/** Rows [row0, row0 + n) of it as an entry. Where it is stored in blocks, it has more dimensions than one. */
TDEntry td_entry_rows(const TDEntry *e, int64_t row0, int64_t n);
int td_dtype_has_values(enum TDDtype t);         ///< whether td_entry_to_f32() reads it

/** What values of a row (of the file's tensor) are times; in groups, those of one group of n_groups a row. */
float td_entry_scale(const TDEntry *e, int64_t row, int64_t group, int64_t n_groups);

/** Copy the entry as dense row-major f32, scaled, rotated back and changed (dtypes with values; else ENOTSUP). dst
 *  holds td_entry_count() floats. */
int td_entry_to_f32(const TDEntry *e, float *dst);

/** Copy the entry, which has no scales and no change, as dense rows of its own dtype. dst: td_entry_count() of them. */
void td_entry_to_rows(const TDEntry *e, void *dst);

#endif /* TD_CHECKPOINT_H */
