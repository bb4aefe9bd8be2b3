/* test_duration.c - spans of time as people write and read them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "duration.h"

static void read_well(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {{"0", 0},
                {"10", 10000},
                {"1.5", 1500},
                {"1.5s", 1500},
                {".25", 250},
                {"2.", 2000},
                {"250ms", 250},
                {"1.2ms", 2},
                {"0.0001ms", 1},
                {"0.000000001h", 1},
                {"5m", 300000},
                {"0.5m", 30000},
                {"2h", 7200000},
                {"0.1h", 360000},
                {"1000h", DURATION_MAX_MS},
                {"0.1", 100},
                {"0.3", 300},
                {"3600000", 3600000000},
                {"007", 7000},
                {"1.000000001", 1001},
                {"3600000000ms", 3600000000}};

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        int64_t ms = -1;
        if (!duration_parse(good[i].text, &ms))
            fail_msg("'%s' was refused", good[i].text);
        if (ms != good[i].ms)
            fail_msg("'%s' was read as %lld ms", good[i].text, (long long)ms);
    }
}

static void read_badly(void **state)
{
    static const char *const bad[] = {"",
                                      ".",
                                      "s",
                                      "-1",
                                      "+1",
                                      "1 ",
                                      " 1",
                                      "1e3",
                                      "0x10",
                                      "1,5",
                                      "1..5",
                                      "1.5.5",
                                      "1S",
                                      "1min",
                                      "1h30m",
                                      "inf",
                                      "nan",
                                      "1000.1h",
                                      "1001h",
                                      "3600001",
                                      "3600000001ms",
                                      "99999999999999999999999",
                                      "1\n"};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t ms = -7;
        if (duration_parse(bad[i], &ms))
            fail_msg("'%s' was taken as %lld ms", bad[i], (long long)ms);
        assert_int_equal(ms, -7);
    }
}

static void shown(void **state)
{
    char text[DURATION_SIZE];

    (void)state;
    assert_string_equal(duration_show(-1, text), "-");
    assert_string_equal(duration_show(0, text), "0ms");
    assert_string_equal(duration_show(999, text), "999ms");
    assert_string_equal(duration_show(1000, text), "1.0s");
    assert_string_equal(duration_show(59999, text), "59.9s");
    assert_string_equal(duration_show(60000, text), "1m00s");
    assert_string_equal(duration_show(245000, text), "4m05s");
    assert_string_equal(duration_show(3600000, text), "1h00m");
    assert_string_equal(duration_show(86400000, text), "1d00h");
    assert_string_equal(duration_show(INT64_MAX, text), "106751991167d07h");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(read_well), cmocka_unit_test(read_badly),
                                       cmocka_unit_test(shown)};

    return cmocka_run_group_tests_name("duration", tests, NULL, NULL);
}
