/* SPDX-License-Identifier: BSD-2-Clause
 * Normal noise with the numbers torch.randn gives for a seed. torch's CUDA generator lays its counters out by the GPU's
 * number of multiprocessors, so a profile names the GPU; "cpu" is torch's CPU generator. Sources: PyTorch
 * DistributionTemplates.h (CUDA and CPU), cuRAND's Philox4x32-10 and Box-Muller; Matsumoto's MT19937. */
#ifndef TD_RNG_H
#define TD_RNG_H

#include "api/turbodiff.h"

typedef struct TDRng {
    enum TDNoise profile;
    int64_t blocks; ///< of 256 threads the GPU holds at once: multiprocessors x resident blocks
    uint64_t seed, offset;                       ///< Philox
    uint32_t mt[624];                            ///< MT19937
    int mt_next;
    double cached;                               ///< second normal of a pair (CPU, fewer than 16 values)
    int has_cached;
} TDRng;

/** @param blocks for profile AUTO: the grid of the GPU at hand (TDDev.noise_blocks); 0 = H100's */
void td_rng_init(TDRng *rng, enum TDNoise profile, int64_t blocks, uint64_t seed);
/** The next torch.randn(n) in f32 of this generator. */
void td_rng_normal(TDRng *rng, float *out, int64_t n);
/** Places between the four numbers of one Philox counter in a draw of n (CUDA profiles). */
int64_t td_rng_grid_width(const TDRng *rng, int64_t n);
/** Advance as td_rng_normal() would, making no numbers (CUDA profiles: O(1)). */
void td_rng_skip(TDRng *rng, int64_t n);
/** Name of the profile, or of the one with that grid; "blocksN" if none has it. buf holds 32 bytes. */
const char *td_noise_name(char buf[32], enum TDNoise profile, int64_t blocks);

#endif /* TD_RNG_H */
