/* SPDX-License-Identifier: BSD-2-Clause
 * Which backend a context runs on. The CUDA backend is a module of its own (libturbodiff-cuda.so beside this library),
 * opened at run time, so that one program starts on machines with and without a GPU. */
#ifndef TD_DEVICE_H
#define TD_DEVICE_H

#include "seam/backend.h"
#include "base/thread.h"

/** gpu NULL: the first one. AUTO falls back to the CPU where the module, the driver or a usable GPU is missing, and
 *  says why: at verbose level, but as a warning where a module is there and is refused, or memory ran out. */
int td_device_open(TDDev **dev, enum TDBackend backend, const TDGpu *gpu, int n_threads, TDCancel *cancel,
                   TDLog *log);

/** The attention to run where `want` was asked for: AUTO is what the transformer was trained with (has_sla: it has
 *  proj_l). Anything else is an order. */
enum TDAttention td_device_attention(enum TDAttention want, int has_sla, TDLog *log);

#endif /* TD_DEVICE_H */
