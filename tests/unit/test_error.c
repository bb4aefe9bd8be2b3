/* test_error.c - statuses as text, and messages: src/error.c. */
#include "dlock_storage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "utf8.h"

static void every_status_has_its_name_number_and_text(void **state)
{
    (void)state;
    int count = 0;
#define CHECK(name, number, text)                                                                                      \
    assert_int_equal(DLOCK_##name, number);                                                                            \
    assert_int_equal(number, count++); /* never renumbered */                                                          \
    assert_string_equal(dlock_status_name(DLOCK_##name), #name);                                                       \
    assert_string_equal(dlock_status_text(DLOCK_##name), text);
    DLOCK_STATUS_MAP(CHECK)
#undef CHECK
    assert_string_equal(dlock_status_name((dlock_status)count), "UNKNOWN");
    assert_true(dlock_status_text((dlock_status)-1)[0] != '\0');
}

static void version_is_that_of_the_build(void **state)
{
    (void)state;
    assert_string_equal(dlock_version(), DLOCK_VERSION);
}

static void an_error_is_filled(void **state)
{
    (void)state;
    dlock_error error;
    memset(&error, 'x', sizeof error);
    assert_int_equal(dlock_error_set(&error, DLOCK_REFUSED, "%s %d", "file", 7), DLOCK_REFUSED);
    assert_int_equal(error.status, DLOCK_REFUSED);
    assert_string_equal(error.message, "file 7");
    assert_string_equal(error.holder.owner, "");
    assert_int_equal(error.holder.remaining_ms, 0);
    assert_int_equal(dlock_error_set(NULL, DLOCK_BUSY, "nobody reads this"), DLOCK_BUSY);
}

static void a_message_may_quote_the_old_one(void **state)
{
    (void)state;
    dlock_error error;
    dlock_error_set(&error, DLOCK_REFUSED, "inner");
    dlock_error_set(&error, DLOCK_INVALID, "outer: %s", error.message);
    assert_string_equal(error.message, "outer: inner");
}

static void a_long_message_ends_with_a_whole_character(void **state)
{
    (void)state;
    static const char *const characters[] = {"a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x94\x92"};
    for (size_t i = 0; i < sizeof characters / sizeof characters[0]; i++)
        for (int shift = 0; shift < 4; shift++) { /* cut at each place of a character */
            char text[2 * DLOCK_MESSAGE_SIZE] = "";
            while (strlen(text) < DLOCK_MESSAGE_SIZE)
                strcat(text, characters[i]);
            dlock_error error;
            dlock_error_set(&error, DLOCK_REFUSED, "%.*s%s", shift, "___", text);
            const size_t length = strlen(error.message);
            assert_true(utf8_valid(error.message, length));
            assert_true(length > DLOCK_MESSAGE_SIZE - 1 - strlen(characters[i]) && length < DLOCK_MESSAGE_SIZE);
            assert_memory_equal(error.message + shift, text, length - (size_t)shift);
        }
}

static void a_request_keeps_its_info(void **state)
{
    (void)state;
    dlock_request request = {.key = "key", .info.fence = 3};
    assert_int_equal(dlock_request_fail(&request, DLOCK_UNAVAILABLE, "no %s", "answer"), DLOCK_UNAVAILABLE);
    assert_int_equal(request.status, DLOCK_UNAVAILABLE);
    assert_string_equal(request.message, "no answer");
    assert_int_equal(request.info.fence, 3);
}

static void the_clock_does_not_go_back(void **state)
{
    (void)state;
    int64_t last = dlock_clock_us();
    assert_true(last > 0);
    for (int i = 0; i < 1000; i++) {
        const int64_t now = dlock_clock_us();
        assert_true(now >= last);
        last = now;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_its_name_number_and_text),
        cmocka_unit_test(version_is_that_of_the_build),
        cmocka_unit_test(an_error_is_filled),
        cmocka_unit_test(a_message_may_quote_the_old_one),
        cmocka_unit_test(a_long_message_ends_with_a_whole_character),
        cmocka_unit_test(a_request_keeps_its_info),
        cmocka_unit_test(the_clock_does_not_go_back),
    };
    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
