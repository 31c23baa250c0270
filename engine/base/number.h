/* SPDX-License-Identifier: BSD-2-Clause
 * Numbers in texts: with a point, whatever the locale is. */
#ifndef TD_NUMBER_H
#define TD_NUMBER_H

/** Read a decimal number at s: a sign, digits with or without a point, an exponent. end: of the text
 *  @return where it ends, or NULL if there is none, or it is too large for a double */
const char *td_number(double *out, const char *s, const char *end);

#endif /* TD_NUMBER_H */
