/* SPDX-License-Identifier: BSD-2-Clause
 * Which backend a context runs on. The CUDA backend is a module of its own (libturbodiff-cuda.so beside this library),
 * opened at run time, so that one program starts on machines with and without a GPU. */
#ifndef TD_DEVICE_H
#define TD_DEVICE_H

#include "seam/backend.h"
#include "base/thread.h"

#define TD_MAX_GPUS 64

/** The GPUs of this machine. */
typedef struct TDGpuList {
    TDGpuInfo gpu[TD_MAX_GPUS];
    int n;
    int no_driver;                               ///< nothing that NVIDIA's driver consists of is installed
    char why[512];                               ///< n 0: the reason, and where there is a remedy, that
} TDGpuList;

void td_gpu_list(TDGpuList *list);

/** The CPU, or what gpu names; NULL: the first GPU. @return 0 or a logged error */
int td_device_open(TDDev **dev, enum TDBackend backend, const TDGpu *gpu, int n_threads, TDCancel *cancel,
                   TDLog *log);

/** A device to plan for without one: it has the GPU's properties, plan_* of its slots, and host memory. Nothing comes
 *  to be on the GPU. ops: for the device, as long as it lives. @return 0 or a logged error */
int td_device_look(TDDev **dev, TDOps *ops, int ordinal, TDLog *log);

/** The attention to run where `want` was asked for: AUTO is what the transformer was trained with (has_sla: it has
 *  proj_l). Anything else is an order. */
enum TDAttention td_device_attention(enum TDAttention want, int has_sla, TDLog *log);

#endif /* TD_DEVICE_H */
