/* SPDX-License-Identifier: BSD-2-Clause
 * td whose GPU runs as another card: TD_AS=CARD td_as OPTION..., of tests/cards.h. The linker puts this file's
 * td_device_open() before the library's (--wrap), which has no way for a user to do so. */
#include "../../tools/td.c"
#include "../cards.h"
#include "model/device.h"

int __real_td_device_open(TDDev **dev, enum TDBackend backend, const TDGpu *gpu, int n_threads, TDCancel *cancel,
                          TDLog *log);
int __wrap_td_device_open(TDDev **dev, enum TDBackend backend, const TDGpu *gpu, int n_threads, TDCancel *cancel,
                          TDLog *log);

int __wrap_td_device_open(TDDev **dev, enum TDBackend backend, const TDGpu *gpu, int n_threads, TDCancel *cancel,
                          TDLog *log)
{
    const char *name = getenv("TD_AS");
    TDGpu as = gpu ? *gpu : (TDGpu){ .ordinal = -1 };

    if (backend == TD_BACKEND_CUDA && name) {
        if (!card_named(name, &as.as))
            return td_error(log, EINVAL, "TD_AS=%s: not a card of tests/cards.h", name);
        gpu = &as;
    }
    return __real_td_device_open(dev, backend, gpu, n_threads, cancel, log);
}
