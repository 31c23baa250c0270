/* SPDX-License-Identifier: BSD-2-Clause
 * The choice among the sets of inner loops that were built. */
#include <stdio.h>
#include <string.h>
#include "cpu/kernels.h"

static int always(void)
{
    return 1;
}

#if defined(__x86_64__) && defined(__GNUC__)
static int has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#endif

/* a set is a line here, the best one first */
static const struct { const TDKernels *k; int (*runs)(void); } sets[] = {
#if defined(__x86_64__) && defined(__GNUC__)
    { &td_kernels_avx2, has_avx2 },
#endif
    { &td_kernels_base, always },
};

int td_kernels_choose(const TDKernels **k, const char *name, TDLog *log)
{
    char names[64] = "";
    size_t n = 0;

    for (size_t i = 0; i < sizeof(sets) / sizeof(*sets); i++) {
        *k = sets[i].k;
        if (name ? !strcmp((*k)->name, name) : sets[i].runs())
            return sets[i].runs() ? 0 : td_error(log, ENOTSUP, "cpu: this machine does not run %s kernels", name);
        n += (size_t)snprintf(names + n, sizeof(names) - n, " %s", (*k)->name);
    }
    return td_error(log, EINVAL, "cpu: kernels %s, want one of%s", name, names);
}
