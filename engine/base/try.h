/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TD_TRY_H
#define TD_TRY_H

/** `TRY(call)`: leave through `fail` with the code in ret. */
#define TRY(call) do { if ((ret = (call)) < 0) goto fail; } while (0)

#endif /* TD_TRY_H */
