/* test_histogram.c - the quantiles of dlock bench, beside those of the sorted times. Run by `make check`. */
#include "histogram.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

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
    /* From 1 us to 1 s, each the same part longer than the one before, but in no order, and half of them by way of
     * another histogram. */
    for (int i = 0; i < COUNT; i++)
        histogram_add(i % 2 ? &histogram : &other, (int64_t)(1e3 * pow(1e6, (double)(i * 7919 % COUNT + 1) / COUNT)));
    histogram_join(&histogram, &other);
    assert_int_equal(histogram.total, COUNT);
    within_one_per_cent(histogram_quantile(&histogram, 0.5), 1e6);
    within_one_per_cent(histogram_quantile(&histogram, 0.999), 1e3 * pow(1e6, 0.999));
    within_one_per_cent(histogram_quantile(&histogram, 1), 1e9);
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
