/* SPDX-License-Identifier: BSD-2-Clause
 * Structs of programs that were built with another version of turbodiff.h: theirs may be shorter or longer. */
#ifndef TD_PARAMS_H
#define TD_PARAMS_H

#include "base/log.h"

#define TD_UP_TO(type, member) (offsetof(type, member) + sizeof(((type *)0)->member))

/** The sizes of version 0.1.0, which are the smallest there are. */
enum {
    TD_SETTINGS_0_1 = TD_UP_TO(TDSettings, cuda_stream),
    TD_PARAMS_0_1   = TD_UP_TO(TDParams, boundary),
    TD_INFO_0_1     = TD_UP_TO(TDInfo, default_frames)
};

/** A caller's struct as this library has it, with defaults for what the caller does not know. @return 0, or a logged
 *  EINVAL where its size cannot be, or it sets what this library does not know */
int td_take_settings(TDSettings *own, const TDSettings *s, TDLog *log);
int td_take_params(TDParams *own, const TDParams *p, TDLog *log);

/** The first struct_size bytes of a struct of `size` bytes, and zeros beyond it. @return 0, or EINVAL where struct_size
 *  is less than `least` or cannot be */
int td_give_struct(void *out, size_t struct_size, const void *own, size_t size, size_t least);

#endif /* TD_PARAMS_H */
