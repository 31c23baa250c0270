/* SPDX-License-Identifier: BSD-2-Clause
 * Which of several GPUs makes a clip: a pure function of what is known of them and of what model and clip take.
 *
 * In this order: one where the process has the weights already; one with room for all weights and the clip before one
 * where weights come and go; the fastest; the one with the most free memory; the first. One without room, even with
 * weights that come and go, is none. */
#ifndef TD_CHOOSE_H
#define TD_CHOOSE_H

#include "model/residency.h"
#include "seam/backend.h"

/** What a model and a clip take on a device, as td_plan_residency() reckons. */
typedef struct TDNeed {
    TDPartCost cost[TD_N_PARTS];
    TDStep steps[TD_N_PARTS];
    int n_steps;
    uint64_t fixed;
    uint64_t reserve, context;                   ///< bytes that stay the driver's; and where it is not opened yet
} TDNeed;

/** A GPU, what is needed there, and what the process has there of it. */
typedef struct TDCandidate {
    TDGpuInfo gpu;
    const TDNeed *need;                          ///< NULL where gpu.fault says that it is none
    int shares;                                  ///< the process uses this transformer there
    uint64_t loaded;                             ///< bytes of weights that need not be loaded again
} TDCandidate;

/** How weights and clip fit in `available` bytes. plan: filled as td_plan_residency() does. */
enum TDFit td_fit(const TDCandidate *c, uint64_t available, enum TDResidency residency, uint64_t max_bytes,
                  TDPlan *plan);

/** Multiprocessors x clock x what one does in a clock, as the kernels that run there use it. */
double td_gpu_speed(const TDGpuInfo *gpu);

/** @return the index of the one to use, -1: none. why (size bytes): where that is not 0, in words, why not; of -1 what
 *  is wrong with all of them */
int td_choose(const TDCandidate *c, int n, enum TDResidency residency, uint64_t max_bytes, char *why, size_t size);

/** Whether text is what a GPU may be called: a number, a UUID (GPU-..., MIG-...), a PCI bus id (00000000:3B:00.0,
 *  3B:00.0, 3B:00), or any (below). @return 0 or a logged EINVAL */
int td_gpu_check_name(const char *text, TDLog *log);

/** The GPU that text names. @return its index, or EINVAL, logged with a list of those there are */
int td_gpu_by_name(const TDGpuInfo *gpus, int n, const char *text, TDLog *log);

/** Whether text is the name of no GPU in particular: NULL, "", "auto" or "-1". */
int td_gpu_any(const char *text);

#endif /* TD_CHOOSE_H */
