/* SPDX-License-Identifier: BSD-2-Clause
 * A file in memory, read-only, that may become shorter or change meanwhile: reading it never ends the program, and
 * td_map_check() tells. */
#ifndef TD_MAPPING_H
#define TD_MAPPING_H

#include "base/log.h"

typedef struct TDMapping {
    const uint8_t *data;
    size_t size;
} TDMapping;

typedef struct TDMappedFile {
    TDMapping map;
    char *path;
    int fd;                                      ///< stays open: a change can be told from a new file of its name
    int slot;                                    ///< of the table of guarded memory
    uint64_t device, inode;
    int64_t seconds, nanoseconds;                ///< of the last change before it was mapped
} TDMappedFile;

/** Map a regular file that is not empty. @return 0, ENOENT, EACCES, EBADMSG, ENOMEM, logged; f is then empty */
int td_map_file(TDMappedFile *f, const char *path, TDLog *log);
void td_map_close(TDMappedFile *f);              ///< also of an empty one

/** Whether what was read from the file so far was its contents as it was mapped: a look at a flag and one system call.
 *  @return 0, or a logged EBADMSG */
int td_map_check(const TDMappedFile *f, TDLog *log);

/** Whether both are the same contents of one file: device, inode, size and time of change. */
int td_map_same(const TDMappedFile *a, const TDMappedFile *b);

#endif /* TD_MAPPING_H */
