/* SPDX-License-Identifier: BSD-2-Clause
 * Time steps and updates: rCM (1-4 steps, TrigFlow times as rectified-flow t, or up to 1000 by hand) and the 50-step
 * baseline UniPC with classifier-free guidance. Both see v = eps - x0, x0 = x - t*v. */
#ifndef TD_SAMPLER_H
#define TD_SAMPLER_H

#include <stddef.h>
#include <stdint.h>
#include "base/log.h"
#include "base/wan.h"

#define TD_RCM_MAX_STEPS 4                       /* whose times are given */

/** t[0..steps], t[steps] = 0: t = sin(tau)/(sin(tau)+cos(tau)), tau = atan(sigma_max), 1.5, 1.4, 1.0 */
void td_rcm_schedule(double t[TD_RCM_MAX_STEPS + 1], int steps, double sigma_max);
/** t[0..steps], t[steps] = 0, of a text: 1 to 1000 numbers above 0 that fall from at most 1, joined with |. Each is the
 * double nearest to its first 15 decimals, with a point whatever the locale. @return steps, or a logged EINVAL */
int td_rcm_times(double t[TD_MAX_STEPS + 1], const char *text, TDLog *log);

/** UniPC, order 2, bh2, x0 prediction, over rectified-flow sigmas; state on the host in f64, scalars in f32 as the rcm
 * scripts. */
typedef struct TDUniPC {
    int steps, i;
    size_t n;                                    ///< values of the state
    float *sigma;                                ///< [steps+1], last 0
    double *m[3];                                ///< x0 predictions of steps i-2, i-1 and i
    double *last;                                ///< corrected state of step i-1
} TDUniPC;

/** Bytes td_unipc_init() carves from mem. */
size_t td_unipc_bytes(int steps, size_t n);
void td_unipc_init(TDUniPC *u, void *mem, int steps, size_t n, double shift);
/** Timestep of the coming step in 0..1, as the network gets it. */
double td_unipc_time(const TDUniPC *u);
/** One step. x: f64 state, replaced; v: f32 velocity at x, after guidance. */
void td_unipc_step(TDUniPC *u, double *x, const float *v);

/** v = uncond + guidance * (cond - uncond), f32, three roundings; result in cond */
void td_guide(float *cond, const float *uncond, size_t n, double guidance);

#endif /* TD_SAMPLER_H */
