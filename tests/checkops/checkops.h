/* SPDX-License-Identifier: BSD-2-Clause
 * Operator tests: every slot of the seam that computes, most on real and awkward shapes, against a plain double loop.
 *
 * A case builds its inputs from a seed on any device, runs one slot and returns what it wrote as floats. The harness
 * judges them by two references of the case, both in double:
 *   plain       the formula. cpu: error <= bound; other: error <= 2 x the CPU backend's error + 4e-6, or, where f16 is
 *               to be nearer than bf16, the CPU backend's error
 *   with points the formula rounded where the contract rounds (doc/numerics.md), and nowhere else. The CPU backend has
 *               nearly all of its bits: a rounding point more or less, or elsewhere, is several times the bound
 * and both by the largest single value, which a norm over many hides. Cases whose bits depend on no library function
 * and no instruction set have a checksum in tests/golden/ops.sums. */
#ifndef CHECKOPS_H
#define CHECKOPS_H

#include "seam/backend.h"
#include "base/thread.h"
#include "../unpack.h"

enum Fill { FILL_NORMAL, FILL_ZERO, FILL_OUTLIER, FILL_LARGE, FILL_TINY, N_FILLS };

/** What a case works with while it runs on one device. Memory goes with the harness. */
typedef struct Run {
    TDDev *dev;
    TDArena arena;                               ///< device memory, poisoned with NaN bytes
    TDWeights weights;
    uint64_t seed;
    enum Fill fill;
    int bench;                                   ///< repeat the slot and keep the best time
    double seconds;                              ///< best time of the slot
    int points;                                  ///< the reference is to round where the contract does, see point()
    void *host[64];                              ///< host arrays of this run
    int n_host;
    const void *note;                            ///< what the device chose and the reference needs (block map)
} Run;

typedef struct Case {
    const char *op, *title;
    int64_t m, n, k, extra;                      ///< shape; meaning by op
    double bound;                                ///< largest error of the CPU backend against the plain reference
    /** The same for fills with outliers or huge values, where a scale per block or a saturated softmax loses more by
     *  design; 0 = bound. */
    double wild_bound;
    double points;                               ///< the same against the reference with points; 0 = POINTS
    int nearer;                                  ///< of another device that has f16: at most the CPU backend's error
    int exact;                                   ///< the same bits with every set of kernels, C library and compiler
    /** Run the slot; write the result to out (malloc'd by the case with run_floats), its length to *count. */
    int  (*run)(Run *r, const struct Case *c, float **out, int64_t *count);
    /** The same in double from the same inputs; r is a finished run on any device. */
    void (*reference)(Run *r, const struct Case *c, double *ref);
    double (*flops)(const struct Case *c);       ///< NULL: report time alone
} Case;

/** bf16(x) at a rounding point of doc/numerics.md; in the plain reference x. */
static inline double point(const Run *r, double x)
{
    return r->points ? td_bf16_round((float)x) : x;
}

/** int8 codes of 128x128 blocks times their scales, in place of x [rows,k]; in the plain reference x. */
void point_int8(const Run *r, double *x, int64_t rows, int64_t k);

/** Host floats that live as long as the run. */
float *run_floats(Run *r, int64_t n);
/** n values of the run's fill with a stream number, rounded to bf16 if bf16 is set: the same on every call. */
float *run_values(Run *r, int stream, int64_t n, float scale, int bf16);
/** Device tensor of up to 4 dims (0 = absent) holding src, or poison if src is NULL. */
int run_tensor(Run *r, TDTensor *t, enum TDDtype dtype, const float *src, int64_t a, int64_t b, int64_t c, int64_t d);
/** Activation [rows,k] holding bf16 src, quantised if int8. */
int run_act(Run *r, TDAct *act, const float *src, int64_t rows, int64_t k, int int8);
/** Linear [n,k] from values of `stream`, with bias from stream + 1 unless no_bias; *w gets the weights as the device
 *  uses them. */
int run_linear(Run *r, TDLinear *lin, enum TDDtype want, int64_t n, int64_t k, int stream, int no_bias, float **w,
               float **bias);
/** f32 vector on the device */
int run_vector(Run *r, const float **dst, const float *src, int64_t n);
int run_download(Run *r, float **out, int64_t *count, const void *obj, enum TDUnpack kind);

/** Repeat CALL for timing if asked to, else run it once. */
#define TIMED(r, call) do { \
        for (int rep_ = 0; rep_ < ((r)->bench ? (r)->bench : 1); rep_++) { \
            double t_ = run_clock(); \
            TRY(call); \
            TRY((r)->dev->ops->sync((r)->dev)); \
            t_ = run_clock() - t_; \
            if (rep_ == 0 || t_ < (r)->seconds) (r)->seconds = t_; \
        } } while (0)
double run_clock(void);

extern const Case linear_cases[], norm_cases[], attention_cases[], vae_cases[],
    embed_cases[], values_cases[]; /* each ends with op NULL */

#endif /* CHECKOPS_H */
