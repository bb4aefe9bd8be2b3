/* test_histogram.c - the quantiles of dlock bench, beside those of the sorted times. Run by `make check`. */
#include "histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT 10000

static struct histogram histogram, other;

static int set_up(void **state)
{
    (void)state;
    histogram = other = (struct histogram){.total = 0};
    return 0;
}

static void within_one_per_cent(double found, double expected)
{
    if (found < expected * 0.99 || found > expected * 1.01)
        fail_msg("found %g, expected %g", found, expected);
}

static void quantiles_are_those_of_the_times(void **state)
{
    (void)state;
    /* Over nine powers of ten, in no order, half of them by way of another histogram. */
    for (int i = 0; i < COUNT; i++) {
        double ns = 10;
        for (int step = i * 7919 % COUNT; step >= 0; step -= COUNT / 9)
            ns *= step >= COUNT / 9 ? 10 : 1 + 9.0 * step / (COUNT / 9);
        histogram_add(i % 2 ? &histogram : &other, (int64_t)ns);
    }
    histogram_join(&histogram, &other);
    assert_int_equal(histogram.total, COUNT);
    within_one_per_cent(histogram_quantile(&histogram, 0.5), 10 * 1e4 * 5.5);
    within_one_per_cent(histogram_quantile(&histogram, 8.0 / 9), 10 * 1e8);
    within_one_per_cent(histogram_quantile(&histogram, 1), 10 * 1e9);
}

static void the_least_and_the_greatest(void **state)
{
    (void)state;
    assert_true(histogram_quantile(&histogram, 0.5) == 0);
    histogram_add(&histogram, -5);
    histogram_add(&histogram, 0);
    histogram_add(&histogram, 63);
    assert_true(histogram_quantile(&histogram, 0) == 0);
    assert_true(histogram_quantile(&histogram, 1) == 63);
    histogram_add(&histogram, INT64_MAX);
    assert_true(histogram_quantile(&histogram, 1) > 1e13);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(quantiles_are_those_of_the_times, set_up),
        cmocka_unit_test_setup(the_least_and_the_greatest, set_up),
    };
    return cmocka_run_group_tests_name("histogram", tests, NULL, NULL);
}
