/* SPDX-License-Identifier: BSD-2-Clause
 * What is installed beside the library's code: its module and its demo model. */
#ifndef TD_INSTALL_H
#define TD_INSTALL_H

#include "log.h"

/** The directory of the file this code is in: the shared library, or the program that the static one is part of.
 *  @return 0, or ENOENT where it cannot be told */
int td_own_dir(char *dir, size_t size);

/** The demo model: share/turbodiff/demo-model in `dir` (NULL: unknown) or in the directory above it, so that a build
 *  tree and a prefix that was moved have their own; else where configure said that data is installed.
 *  @return 0, or a logged ENOENT */
int td_default_model(char *path, size_t size, const char *dir, TDLog *log);

#endif /* TD_INSTALL_H */
