/* SPDX-License-Identifier: BSD-2-Clause
 * What is installed beside the library's code: its module and its demo model. */
#ifndef TD_INSTALL_H
#define TD_INSTALL_H

#include "base/log.h"

/** The absolute directory of the file this code is in: the shared library, or the program that the static one is part
 *  of. @return 0, or ENOENT where it cannot be told (no /proc; the file was deleted) */
int td_own_dir(char *dir, size_t size);

#define TD_N_MODULE_PLACES 3

/** Where a module may be: in `dir` (NULL: unknown), in ../lib of it, in the directory that configure installs libraries
 *  in; place counts from 0. All are absolute. @return 0, or ENOENT if there is no such path */
int td_module_path(char *path, size_t size, const char *dir, int place, const char *name);

/** The demo model: share/turbodiff/demo-model, of image to video demo-model-i2v, in `dir` (NULL: unknown) or in the
 *  directory above it, so that a build tree and a prefix that was moved have their own; else where configure said that
 *  data is installed. @return 0, or a logged ENOENT */
int td_default_model(char *path, size_t size, const char *dir, int image_to_video, TDLog *log);

#endif /* TD_INSTALL_H */
