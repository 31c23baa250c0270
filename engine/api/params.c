/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>
#include "api/params.h"

enum { MAX_STRUCT = 4096 };                      /* of a caller: more is no size */

static const TDSettings default_settings = { .struct_size = sizeof(TDSettings), .device = -1,
                                             .logger = { .level = TD_LOG_INFO } };
static const TDParams default_params = { .struct_size = sizeof(TDParams), .guidance = 5.0, .shift = 5.0 };

int td_give_struct(void *out, size_t struct_size, const void *own, size_t size, size_t least)
{
    if (!out || struct_size < least || struct_size > MAX_STRUCT)
        return TD_ERR(EINVAL);
    memset(out, 0, struct_size);
    memcpy(out, own, struct_size < size ? struct_size : size);
    return 0;
}

/* own: with defaults. Both begin with their size. */
static int take_struct(void *own, const void *theirs, size_t least, const char *what, TDLog *log)
{
    size_t size = *(const size_t *)own, n = theirs ? *(const size_t *)theirs : 0;
    const uint8_t *bytes = theirs;

    if (n < least || n > MAX_STRUCT)
        return td_error(log, EINVAL, "%s: %zu bytes, want %zu or more as set by td_default_%s()", what, n, least, what);
    for (size_t i = size; i < n; i++)
        if (bytes[i])
            return td_error(log, EINVAL,
                            "%s: something is set that libturbodiff %d.%d.%d does not know (byte %zu of %zu); it takes "
                            "a newer library, as the program was built with", what, TD_API_MAJOR, TD_API_MINOR,
                            TD_API_PATCH, i, n);
    memcpy(own, theirs, n < size ? n : size);
    memcpy(own, &size, sizeof(size));
    return 0;
}

int td_take_settings(TDSettings *own, const TDSettings *s, TDLog *log)
{
    *own = default_settings;
    return take_struct(own, s, TD_SETTINGS_0_1, "settings", log);
}

int td_take_params(TDParams *own, const TDParams *p, TDLog *log)
{
    *own = default_params;
    return take_struct(own, p, TD_PARAMS_0_1, "params", log);
}

int td_default_settings(TDSettings *s, size_t struct_size)
{
    int ret = td_give_struct(s, struct_size, &default_settings, sizeof(default_settings), TD_SETTINGS_0_1);

    if (ret >= 0)
        s->struct_size = struct_size;
    return ret;
}

int td_default_params(TDParams *p, size_t struct_size)
{
    int ret = td_give_struct(p, struct_size, &default_params, sizeof(default_params), TD_PARAMS_0_1);

    if (ret >= 0)
        p->struct_size = struct_size;
    return ret;
}
