/* test_lease.c - the arithmetic of a lease, at its limits and to the microsecond. Run by `make check`. */
#include "dlock.h"
#include "lease.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MS  INT64_C(1000)
#define NOW (INT64_C(5000000) * MS)

static const uint64_t CHANCES[] = {0, 1, 12345, UINT64_MAX / 2, UINT64_MAX - 1, UINT64_MAX};

static void validity_is_the_ttl_less_the_drift(void **state)
{
    (void)state;
    assert_int_equal(lease_valid_until(NOW, 10000), NOW + 10000 * MS - 100 * MS - 2 * MS);
    assert_int_equal(lease_valid_until(NOW, 1000), NOW + 1000 * MS - 10 * MS - 2 * MS);
    assert_int_equal(lease_valid_until(NOW, DLOCK_TTL_MIN_MS), NOW + 7900);
    assert_int_equal(lease_valid_until(NOW, DLOCK_TTL_MAX_MS),
                     NOW + DLOCK_TTL_MAX_MS * MS - DLOCK_TTL_MAX_MS * MS / 100 - 2 * MS);
}

static void lost_is_due_the_margin_before_validity_ends(void **state)
{
    (void)state;
    assert_int_equal(lease_lost_at(NOW, 10000, 3000), NOW - 3000 * MS);
    assert_int_equal(lease_lost_at(NOW, 10000, 1), NOW - 1 * MS);
}

static void no_margin_is_a_tenth_of_the_ttl(void **state)
{
    (void)state;
    assert_int_equal(lease_lost_at(NOW, 10000, 0), NOW - 1000 * MS);
    assert_int_equal(lease_lost_at(NOW, DLOCK_TTL_MIN_MS, 0), NOW - 1 * MS);
}

static void the_margin_is_at_most_half_of_the_ttl(void **state)
{
    (void)state;
    assert_int_equal(lease_lost_at(NOW, 10000, 5000), NOW - 5000 * MS);
    assert_int_equal(lease_lost_at(NOW, 10000, 5001), NOW - 5000 * MS);
    assert_int_equal(lease_lost_at(NOW, 100, UINT32_MAX), NOW - 50 * MS);
}

static void renewal_is_at_a_third_of_the_ttl_or_a_little_sooner(void **state)
{
    (void)state;
    for (int64_t sent_at = NOW; sent_at < NOW + 1000 * MS; sent_at += 7919) {
        const int64_t third = sent_at + 3200 * MS;
        assert_in_range(lease_renew_at(sent_at, 9600), third - 300 * MS + 1, third);
    }
    assert_true(lease_renew_at(NOW, DLOCK_TTL_MIN_MS) > NOW);
}

static void renewals_that_are_due_about_the_same_time_meet(void **state)
{
    (void)state;
    const int64_t at = lease_renew_at(NOW, 9600);
    assert_int_equal(lease_renew_at(at - 3200 * MS, 9600), at);
    assert_int_equal(lease_renew_at(at - 3200 * MS + 300 * MS - 1, 9600), at);
    assert_int_equal(lease_renew_at(at - 3200 * MS + 300 * MS, 9600), at + 300 * MS);
}

static void a_failed_renewal_is_repeated_within_a_twelfth_of_the_ttl(void **state)
{
    (void)state;
    assert_int_equal(lease_retry_at(NOW, 12000, 0), NOW + 1000 * MS);
    for (size_t i = 0; i < sizeof CHANCES / sizeof CHANCES[0]; i++) {
        const int64_t at = lease_retry_at(NOW, 12000, CHANCES[i]);
        assert_in_range(at, NOW + 500 * MS, NOW + 1000 * MS);
    }
    assert_int_not_equal(lease_retry_at(NOW, 12000, 12345), lease_retry_at(NOW, 12000, 54321));
}

static void who_is_told_pauses_up_to_64_intervals(void **state)
{
    (void)state;
    assert_int_equal(lease_told_pause(1000, 0), 64000 * MS);
    for (size_t i = 0; i < sizeof CHANCES / sizeof CHANCES[0]; i++)
        assert_in_range(lease_told_pause(1000, CHANCES[i]), 32000 * MS, 64000 * MS);
    assert_int_not_equal(lease_told_pause(1000, 12345678901), lease_told_pause(1000, 12345678902));
    assert_int_equal(lease_told_pause(UINT32_MAX, 0), 64 * (int64_t)UINT32_MAX * MS);
}

static void without_a_watch_the_pause_doubles_up_to_the_interval(void **state)
{
    (void)state;
    static const int64_t WANTED[] = {25, 25, 50, 100, 200, 400, 800, 1000, 1000};
    for (uint32_t attempts = 0; attempts < sizeof WANTED / sizeof WANTED[0]; attempts++)
        assert_int_equal(lease_pause(1000, attempts, 0), WANTED[attempts] * MS);
    assert_int_equal(lease_pause(1000, UINT32_MAX, 0), 1000 * MS);
    assert_int_equal(lease_pause(10, 1, 0), 10 * MS);
    assert_int_equal(lease_pause(DLOCK_TTL_MAX_MS, UINT32_MAX, 0), DLOCK_TTL_MAX_MS * MS);
    for (uint32_t attempts = 0; attempts < 70; attempts++) {
        const int64_t pause = lease_pause(DLOCK_TTL_MAX_MS, attempts, UINT64_MAX);
        assert_in_range(pause, 12500, DLOCK_TTL_MAX_MS * MS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(validity_is_the_ttl_less_the_drift),
        cmocka_unit_test(lost_is_due_the_margin_before_validity_ends),
        cmocka_unit_test(no_margin_is_a_tenth_of_the_ttl),
        cmocka_unit_test(the_margin_is_at_most_half_of_the_ttl),
        cmocka_unit_test(renewal_is_at_a_third_of_the_ttl_or_a_little_sooner),
        cmocka_unit_test(renewals_that_are_due_about_the_same_time_meet),
        cmocka_unit_test(a_failed_renewal_is_repeated_within_a_twelfth_of_the_ttl),
        cmocka_unit_test(who_is_told_pauses_up_to_64_intervals),
        cmocka_unit_test(without_a_watch_the_pause_doubles_up_to_the_interval),
    };
    return cmocka_run_group_tests_name("lease", tests, NULL, NULL);
}
