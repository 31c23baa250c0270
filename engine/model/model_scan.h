/* SPDX-License-Identifier: BSD-2-Clause
 * The weight files in a model directory and its folders, by kind: what places and names say, and where several could be
 * the one that is wanted, what their tensors say. */
#ifndef TD_MODEL_SCAN_H
#define TD_MODEL_SCAN_H

#include "model/residency.h"
#include "base/log.h"

#define TD_SCAN_TINY TD_N_FILES                  /* a kind of its own: tiny VAEs, which only vae= takes */

typedef struct TDScan {
    char **name[TD_N_FILES + 1];                 ///< relative to the directory, sorted
    int n[TD_N_FILES + 1];
    char passed[TD_N_FILES + 1][120];            ///< why a name of this kind is not used, "" if there is none
} TDScan;

/** @return 0 or a logged error */
int td_scan(TDScan *scan, const char *dir, TDLog *log);
void td_scan_free(TDScan *scan);
/** Keep the names that keep[] has; keep: one for each. */
void td_scan_keep(TDScan *scan, enum TDFile kind, const char *keep);

/** Transformers with this part in their names (or else in those of their folders) are low-noise experts, where no
 *  low-noise expert has it, and others are left or `all` may go. @return 0 or ENOMEM */
int td_scan_take_low(TDScan *scan, const char *part, int all, TDLog *log);
/** Where this part is in the name of a tiny VAE (or else in those of its folders), and in that of no other: the tiny
 *  ones are the VAEs. */
void td_scan_take_tiny(TDScan *scan, const char *part);
/** Whether a part is in a file's name, or with `folders` in its path, in any case. And in how many of a kind. */
int td_scan_has_part(const char *name, const char *part, int folders);
int td_scan_count(const TDScan *scan, enum TDFile kind, const char *part, int folders);

/** Where several files could be of this kind, drop all names but one of each, those whose tensors say that they are
 *  not, or that they do not go with the transformer in file dit (NULL: with any); and where the best is wanted, text
 *  encoders and VAEs of which a file has fewer bits than another. None of the latter is dropped if all would be.
 *  @return of how many the tensors fit, or all if they do of none; ENOMEM */
int td_scan_ask_tensors(TDScan *scan, const char *dir, enum TDFile kind, const char *dit, int best, TDLog *log);

/** Whether a file of this name may hold weights, a shard or an index of shards included. */
int td_has_weight_ending(const char *name);
/** The word high or low (lower case here) in a name, in any case, where it stands for the noise. */
int td_has_noise_word(const char *name, const char *word);
/** Whether two paths differ only in high and low, or in diffusers' folders of the two experts. */
int td_is_pair(const char *high, const char *low);

/** dir/name, malloc'd. @return 0 or ENOMEM */
int td_join_path(char **out, const char *dir, const char *name, TDLog *log);

#endif /* TD_MODEL_SCAN_H */
