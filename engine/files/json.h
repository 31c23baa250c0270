/* SPDX-License-Identifier: BSD-2-Clause
 * JSON as it stands in a file: checked as a whole first, then walked in place. Nothing is built from it. */
#ifndef TD_JSON_H
#define TD_JSON_H

#include "base/log.h"

#define TD_JSON_MAX_DEPTH 64                     /* objects and arrays in each other; official files need 3 */

/** A value in a text that td_json_check() has accepted. */
typedef struct TDJson {
    const uint8_t *p, *end;                      ///< its first byte; the end of the text
} TDJson;

/** The members of a value that are still to come. */
typedef struct TDJsonWalk {
    const uint8_t *p, *end;                      ///< p: after the one before; NULL past the last one
    int object;
} TDJsonWalk;

/** Check a whole text: one object or array, UTF-8 without U+0000, no key twice in an object, nesting bounded. Takes
 *  time n log n and a few bytes for each byte of it. label: path for messages. @return 0, EBADMSG or ENOMEM, logged */
int td_json_check(TDJson *root, const char *label, const void *text, size_t size, TDLog *log);

/** Begin with the members of an object or array; any other value has none. */
TDJsonWalk td_json_walk(TDJson v);
/** Step to the next member. key: of an object's, left alone for an array; may be NULL. @return 1, or 0 past the last */
int td_json_next(TDJsonWalk *w, TDJson *key, TDJson *value);

/** Member of an object by its key. @return 1, or 0 if there is none, or v is no object */
int td_json_get(TDJson v, const char *key, TDJson *value);

/** Decode a string: at most size - 1 bytes, then a 0. @return bytes of all of it, -1 if v is no string */
ptrdiff_t td_json_string(TDJson v, char *dst, size_t size);

/** @return 0, or -1 if v is no integer without fraction and exponent, or does not fit */
int td_json_integer(TDJson v, int64_t *out);

/** @return 0, or -1 if v is no number, or too large for a double */
int td_json_number(TDJson v, double *out);

#endif /* TD_JSON_H */
