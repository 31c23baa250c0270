/* SPDX-License-Identifier: BSD-2-Clause
 * Smallest test harness: cases print "ok NAME" or, after the lines that tell why, "FAIL NAME".
 *
 *   int main(void)
 *   {
 *       test_begin("addition");
 *       CHECK(1 + 1 == 2);
 *       CHECK_INT(1 + 1, 2);
 *       return test_end();           // exit code: 0, or 1 if a case failed
 *   }
 *
 * 1. A case lasts until the next test_begin() or test_end().
 * 2. A failed check does not leave the function; it evaluates to 0, so `if (!CHECK(p)) goto fail;` works. */
#ifndef TEST_H
#define TEST_H

#include <math.h>
#include <stdio.h>
#include <string.h>

static struct { const char *name; int bad, n_failed; } test_state;

static inline void test_close(void)
{
    if (test_state.name)
        printf("%s %s\n", test_state.bad ? "FAIL" : "ok", test_state.name);
    test_state.n_failed += test_state.bad;
    fflush(stdout);
}

static inline void test_begin(const char *name)
{
    test_close();
    test_state.name = name;
    test_state.bad = 0;
}

static inline int test_end(void)
{
    test_close();
    test_state.name = NULL;
    return test_state.n_failed != 0;
}

static inline int test_check(int ok, const char *file, int line, const char *what)
{
    if (!ok) {
        test_state.bad = 1;
        printf("  %s:%d: %s\n", file, line, what);
    }
    return ok;
}

static inline int test_check_int(long long got, long long want, const char *file, int line, const char *what)
{
    if (got != want) {
        test_state.bad = 1;
        printf("  %s:%d: %s is %lld, expected %lld\n", file, line, what, got, want);
    }
    return got == want;
}

static inline int test_check_near(double got, double want, double tol, const char *file, int line, const char *what)
{
    int ok = fabs(got - want) <= tol;            /* false for NaN */

    if (!ok) {
        test_state.bad = 1;
        printf("  %s:%d: %s is %.9g, expected %.9g within %.3g\n", file, line, what, got, want, tol);
    }
    return ok;
}

static inline int test_check_str(const char *got, const char *want, const char *file, int line, const char *what)
{
    int ok = got && !strcmp(got, want);

    if (!ok) {
        test_state.bad = 1;
        printf("  %s:%d: %s is \"%s\", expected \"%s\"\n", file, line, what, got ? got : "(null)", want);
    }
    return ok;
}

#define CHECK(cond)                 test_check(!!(cond), __FILE__, __LINE__, #cond)
#define CHECK_INT(got, want)        test_check_int(got, want, __FILE__, __LINE__, #got)
#define CHECK_NEAR(got, want, tol)  test_check_near(got, want, tol, __FILE__, __LINE__, #got)
#define CHECK_STR(got, want)        test_check_str(got, want, __FILE__, __LINE__, #got)

#endif /* TEST_H */
