/* test_lookout.c - when the Node package keeps the event loop from sleeping, over a clock and a loop of the test's own.
 * Run by `make check`. */
#include "lookout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define US 1000

static int64_t now_ns;
static bool idle_runs;

uint64_t uv_hrtime(void)
{
    return (uint64_t)now_ns;
}

int uv_idle_start(uv_handle_t *idle, void (*turn)(uv_handle_t *idle))
{
    (void)idle, (void)turn;
    idle_runs = true;
    return 0;
}

int uv_idle_stop(uv_handle_t *idle)
{
    (void)idle;
    idle_runs = false;
    return 0;
}

/* The loop comes round each 5 us, for so long. */
static void let_pass(struct lookout *lookout, int64_t ns)
{
    for (const int64_t end = now_ns + ns; now_ns < end; now_ns += 5 * US)
        if (idle_runs)
            lookout_turn(lookout);
}

static int start_afresh(void **state)
{
    static struct lookout lookout;
    lookout = (struct lookout){0};
    now_ns = 77777 * US;
    idle_runs = false;
    *state = &lookout;
    return 0;
}

static void call_that_is_alone_is_looked_for(void **state)
{
    struct lookout *lookout = *state;
    lookout_call_started(lookout);
    assert_true(idle_runs);
    let_pass(lookout, 60 * US);
    assert_true(idle_runs);
    lookout_call_ended(lookout);
    assert_false(idle_runs);
}

static void look_ends_though_no_answer_comes(void **state)
{
    struct lookout *lookout = *state;
    lookout_call_started(lookout);
    let_pass(lookout, 200 * US);
    assert_false(idle_runs);
    lookout_call_ended(lookout);
    assert_false(idle_runs);
}

static void first_turn_comes_when_the_loop_is_done_with_the_call(void **state)
{
    struct lookout *lookout = *state;
    lookout_call_started(lookout);
    now_ns += 500 * US; /* of JavaScript */
    let_pass(lookout, 60 * US);
    assert_true(idle_runs);
    lookout_call_ended(lookout);
}

static void look_ends_when_the_processor_is_wanted(void **state)
{
    struct lookout *lookout = *state;
    lookout_call_started(lookout);
    let_pass(lookout, 20 * US);
    now_ns += 60 * US;
    let_pass(lookout, 5 * US);
    assert_false(idle_runs);
}

static void several_calls_are_not_looked_for(void **state)
{
    struct lookout *lookout = *state;
    lookout_call_started(lookout);
    lookout_call_started(lookout);
    assert_false(idle_runs);
    lookout_call_started(lookout);
    assert_false(idle_runs);
    lookout_call_ended(lookout);
    lookout_call_started(lookout);
    assert_false(idle_runs);
    for (int i = 0; i < 3; i++)
        lookout_call_ended(lookout);
    lookout_call_started(lookout);
    assert_true(idle_runs);
    lookout_call_ended(lookout);
}

static void call_that_waits_for_long_is_in_nobodys_way(void **state)
{
    struct lookout *lookout = *state;
    lookout_call_started(lookout); /* for a key that stays taken */
    let_pass(lookout, 200 * US);
    for (int i = 0; i < 3; i++) {
        lookout_call_started(lookout);
        assert_true(idle_runs);
        lookout_call_ended(lookout);
        assert_false(idle_runs);
    }
    lookout_call_ended(lookout);
    lookout_call_started(lookout);
    assert_true(idle_runs);
    lookout_call_ended(lookout);
}

/* Starts calls that are answered late; returns how many of them were looked for. */
static int count_looks(struct lookout *lookout, int calls)
{
    int looks = 0;
    for (int i = 0; i < calls; i++) {
        lookout_call_started(lookout);
        looks += idle_runs;
        let_pass(lookout, 200 * US);
        lookout_call_ended(lookout);
    }
    return looks;
}

static void storage_far_away_is_hardly_looked_for(void **state)
{
    struct lookout *lookout = *state;
    assert_int_equal(count_looks(lookout, 8), 8);
    const int looks = count_looks(lookout, 1000);
    assert_in_range(looks, 10, 20);
    for (int i = 0; i < 100; i++) { /* it has come nearer */
        lookout_call_started(lookout);
        lookout_call_ended(lookout);
    }
    lookout_call_started(lookout);
    assert_true(idle_runs);
    lookout_call_ended(lookout);
}

static void nothing_is_looked_for_after_the_stop(void **state)
{
    struct lookout *lookout = *state;
    lookout_call_started(lookout);
    lookout_stop(lookout);
    assert_false(idle_runs);
    lookout_call_ended(lookout);
    assert_false(idle_runs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(call_that_is_alone_is_looked_for, start_afresh),
        cmocka_unit_test_setup(look_ends_though_no_answer_comes, start_afresh),
        cmocka_unit_test_setup(first_turn_comes_when_the_loop_is_done_with_the_call, start_afresh),
        cmocka_unit_test_setup(look_ends_when_the_processor_is_wanted, start_afresh),
        cmocka_unit_test_setup(several_calls_are_not_looked_for, start_afresh),
        cmocka_unit_test_setup(call_that_waits_for_long_is_in_nobodys_way, start_afresh),
        cmocka_unit_test_setup(storage_far_away_is_hardly_looked_for, start_afresh),
        cmocka_unit_test_setup(nothing_is_looked_for_after_the_stop, start_afresh),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
