/* SPDX-License-Identifier: BSD-2-Clause
 * The one way in which the library opens and reads a file of the user's: any name may be a directory, a FIFO without a
 * writer, endless, or a file that becomes shorter meanwhile. */
#ifndef TD_IO_H
#define TD_IO_H

#include <sys/stat.h>
#include "base/log.h"

/** Open a regular file for reading; never waits. want: what the caller takes, e.g. "a JPEG picture".
 *  @return a descriptor, which is the caller's; ENOENT, EACCES, EBADMSG (no regular file) or ENOMEM (memory or
 *  descriptors), logged */
int td_open_regular(const char *path, const char *want, struct stat *st, TDLog *log);

/** All of a regular file of min to max bytes. *data: the caller's, to be freed; NULL on error
 *  @return 0; what td_open_regular() returns; EBADMSG (smaller, unreadable, shorter meanwhile), ENOTSUP (larger) or
 *  ENOMEM, logged */
int td_read_file(uint8_t **data, size_t *size, const char *path, size_t min, size_t max, const char *want, TDLog *log);

/** Whether a file is what stands for another one where Git LFS has not fetched that. */
int td_is_lfs_pointer(const void *data, size_t size);

#endif /* TD_IO_H */
