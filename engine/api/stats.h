/* SPDX-License-Identifier: BSD-2-Clause
 * The numbers of a clip as one line of JSON. */
#ifndef TD_STATS_H
#define TD_STATS_H

#include "api/turbodiff.h"

/** @return length without the 0, also if it does not fit in size */
int td_stats_write(const TDInfo *info, char *dst, size_t size);

#endif /* TD_STATS_H */
