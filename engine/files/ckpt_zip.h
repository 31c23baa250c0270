/* SPDX-License-Identifier: BSD-2-Clause
 * Read-only index of a zip archive as torch.save writes it: every entry stored, zip64 allowed.
 * Private to the .pth reader. */
#ifndef TD_CKPT_ZIP_H
#define TD_CKPT_ZIP_H

#include "files/checkpoint_priv.h"

typedef struct TDZipEntry {
    const uint8_t *name;                         ///< in the mapping, not NUL-terminated
    size_t name_len;
    uint64_t start, end;                         ///< file bytes from the local header to the end of the data
    const uint8_t *data;
    size_t size;
} TDZipEntry;

typedef struct TDZip {
    TDZipEntry *entries;                         ///< sorted by name
    size_t n_entries;
    const uint8_t *root;                         ///< first path component of the archive's first entry
    size_t root_len;
} TDZip;

/** Read and check the whole directory. @return 0, EBADMSG, ENOTSUP (compressed, encrypted, split), ENOMEM */
int td_zip_open(TDZip *zip, const char *label, TDMapping map, TDLog *log);
void td_zip_close(TDZip *zip);

/** Entry "root/" + prefix + key, or NULL */
const TDZipEntry *td_zip_find(const TDZip *zip, const char *prefix, const void *key, size_t key_len);

#endif /* TD_CKPT_ZIP_H */
