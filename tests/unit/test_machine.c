/* test_machine.c - the state machine of one lock, step by step and to the microsecond. Run by `make check`. */
#include "lease.h"
#include "machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define MS INT64_C(1000)
#define T0 (INT64_C(5000000) * MS)

static const struct machine_plan RETRIES = {.ttl_ms = 10000, .retries = 3, .interval_ms = 1000};
static const struct machine_plan WAIT = {.ttl_ms = 10000, .retries = 3, .interval_ms = 1000, .wait_ms = 5000};
static const struct machine_plan RENEWED = {.ttl_ms = 9000, .retries = 3, .interval_ms = 1000, .renew = true};

static enum machine_todo answer(struct machine *m, dlock_status status, int64_t now)
{
    const dlock_request request = {.status = status, .info = {.remaining_ms = -1}};
    return machine_answer(m, &request, now, 0);
}

static enum machine_todo answer_busy(struct machine *m, int64_t remaining_ms, int64_t now, uint64_t chance)
{
    const dlock_request request = {.status = DLOCK_BUSY, .info = {.remaining_ms = remaining_ms, .fence = 7}};
    return machine_answer(m, &request, now, chance);
}

static enum machine_todo answer_not_done(struct machine *m, int64_t now)
{
    const dlock_request request = {.status = DLOCK_UNAVAILABLE, .not_done = true};
    return machine_answer(m, &request, now, 0);
}

/* An acquire that is granted, whose request was sent at T0 and answered at once. */
static struct machine held(const struct machine_plan *plan)
{
    struct machine m;
    assert_int_equal(machine_acquire(&m, plan, false, T0), TODO_ACQUIRE);
    machine_sent(&m, plan->ttl_ms, T0);
    assert_int_equal(answer(&m, DLOCK_OK, T0), TODO_GRANTED);
    return m;
}

/* ---- acquire, bounded by retries ------------------------------------------------------------------------------ */

static void granted_at_the_first_attempt(void **state)
{
    (void)state;
    struct machine m;
    assert_int_equal(machine_acquire(&m, &RETRIES, false, T0), TODO_ACQUIRE);
    assert_int_equal(m.state, MACHINE_ASKING);
    assert_true(m.owner_spent);
    assert_false(m.leaves_behind);
    assert_int_equal(m.wake_at, LEASE_NEVER);
    machine_sent(&m, 10000, T0 + 1 * MS);
    assert_false(m.owner_spent);
    assert_int_equal(answer(&m, DLOCK_OK, T0 + 3 * MS), TODO_GRANTED);
    assert_int_equal(m.state, MACHINE_HELD);
    assert_int_equal(m.outcome, DLOCK_OK);
    assert_int_equal(m.attempts, 1);
    assert_int_equal(m.wake_at, LEASE_NEVER); /* neither renewed nor guarded */
}

static enum machine_todo answer_contended(struct machine *m, dlock_status status, bool not_done, int64_t now,
                                          uint64_t chance)
{
    const dlock_request request = {
        .status = status, .contended = true, .not_done = not_done, .info = {.remaining_ms = 9000}};
    return machine_answer(m, &request, now, chance);
}

static void contenders_come_back_at_different_times_and_as_new_owners(void **state)
{
    (void)state;
    struct machine m;
    assert_int_equal(machine_acquire(&m, &RETRIES, false, T0), TODO_ACQUIRE);
    machine_sent(&m, 10000, T0);
    assert_int_equal(answer_contended(&m, DLOCK_BUSY, true, T0, 0), TODO_NOTHING);
    assert_true(m.owner_spent);
    assert_false(m.leaves_behind);
    assert_int_equal(m.wake_at, T0 + (int64_t)RETRIES.interval_ms * 1000);
    const int64_t now = m.wake_at;
    assert_int_equal(machine_wake(&m, now), TODO_ACQUIRE);
    machine_sent(&m, 10000, now);
    assert_int_equal(answer_contended(&m, DLOCK_UNAVAILABLE, true, now, (uint64_t)RETRIES.interval_ms * 250),
                     TODO_NOTHING);
    assert_true(m.owner_spent);
    assert_false(m.leaves_behind);
    assert_int_equal(m.wake_at, now + (int64_t)RETRIES.interval_ms * 1250);
}

static void a_contended_attempt_that_may_be_left_somewhere_leaves_behind(void **state)
{
    (void)state;
    static const dlock_status STATUSES[] = {DLOCK_BUSY, DLOCK_UNAVAILABLE};
    for (size_t i = 0; i < 2; i++) {
        struct machine m;
        machine_acquire(&m, &RETRIES, false, T0);
        machine_sent(&m, 10000, T0);
        answer_contended(&m, STATUSES[i], false, T0, 0);
        assert_true(m.owner_spent && m.leaves_behind);
        machine_wake(&m, m.wake_at);
        machine_sent(&m, 10000, T0);
        assert_false(m.leaves_behind); /* of the new owner */
    }
}

static void a_contended_waiter_goes_on_when_the_holder_is_over(void **state)
{
    (void)state;
    struct machine m;
    machine_acquire(&m, &WAIT, false, T0);
    machine_sent(&m, 10000, T0);
    const dlock_request request = {
        .status = DLOCK_BUSY, .contended = true, .not_done = true, .info = {.remaining_ms = 5}};
    machine_answer(&m, &request, T0, 0);
    assert_int_equal(m.wake_at, T0 + 6 * MS);
}

static void a_contended_waiter_does_not_ask_at_once_even_if_hinted(void **state)
{
    (void)state;
    struct machine m;
    machine_acquire(&m, &WAIT, false, T0);
    machine_sent(&m, 10000, T0);
    machine_hint(&m);
    assert_int_equal(answer_contended(&m, DLOCK_BUSY, true, T0, 0), TODO_NOTHING);
    assert_int_equal(m.state, MACHINE_PAUSING);
    assert_in_range(m.wake_at, T0 + 10 * MS, T0 + 25 * MS);
}

static void three_attempts_are_two_pauses_and_the_last_failure_returns_at_once(void **state)
{
    (void)state;
    struct machine m;
    int64_t now = T0;
    assert_int_equal(machine_acquire(&m, &RETRIES, false, now), TODO_ACQUIRE);
    for (int pause = 0; pause < 2; pause++) {
        machine_sent(&m, 10000, now);
        now += 7 * MS;
        assert_int_equal(answer_busy(&m, 5, now, 99), TODO_NOTHING);
        assert_int_equal(m.state, MACHINE_PAUSING);
        assert_int_equal(m.wake_at, now + 1000 * MS); /* the interval, whatever the holder's time and chance */
        assert_int_equal(machine_wake(&m, m.wake_at - 1), TODO_NOTHING);
        now = m.wake_at;
        assert_int_equal(machine_wake(&m, now), TODO_ACQUIRE);
        assert_false(m.owner_spent);
    }
    machine_sent(&m, 10000, now);
    assert_int_equal(answer_busy(&m, 5, now + 7 * MS, 99), TODO_FAILED);
    assert_int_equal(m.outcome, DLOCK_BUSY);
    assert_int_equal(m.attempts, 3);
    assert_int_equal(m.state, MACHINE_FREE);
    assert_int_equal(m.wake_at, LEASE_NEVER);
}

static void one_attempt_has_no_pause(void **state)
{
    (void)state;
    struct machine m;
    struct machine_plan plan = RETRIES;
    plan.retries = 1;
    machine_acquire(&m, &plan, false, T0);
    machine_sent(&m, 10000, T0);
    assert_int_equal(answer_busy(&m, 100, T0, 0), TODO_FAILED);
    assert_int_equal(m.outcome, DLOCK_BUSY);
}

static void a_refusal_is_not_retried(void **state)
{
    (void)state;
    static const dlock_status FINAL[] = {DLOCK_REFUSED, DLOCK_INVALID, DLOCK_UNSUPPORTED, DLOCK_NOMEM};
    for (size_t i = 0; i < sizeof FINAL / sizeof FINAL[0]; i++) {
        struct machine m;
        machine_acquire(&m, &WAIT, false, T0);
        machine_sent(&m, 10000, T0);
        assert_int_equal(answer(&m, FINAL[i], T0), TODO_FAILED);
        assert_int_equal(m.outcome, FINAL[i]);
        assert_false(m.leaves_behind);
    }
}

/* ---- validity ------------------------------------------------------------------------------------------------- */

static void validity_counts_from_the_sending_of_the_attempt_that_won(void **state)
{
    (void)state;
    struct machine m;
    machine_acquire(&m, &RETRIES, false, T0);
    machine_sent(&m, 10000, T0);
    answer(&m, DLOCK_BUSY, T0 + 1 * MS);
    const int64_t sent_at = m.wake_at;
    assert_int_equal(machine_wake(&m, sent_at), TODO_ACQUIRE);
    machine_sent(&m, 10000, sent_at);
    assert_int_equal(answer(&m, DLOCK_OK, sent_at + 400 * MS), TODO_GRANTED);
    assert_int_equal(m.valid_until, lease_valid_until(sent_at, 10000));
}

static void a_grant_that_comes_too_late_is_released_and_counts_as_failed(void **state)
{
    (void)state;
    struct machine m;
    machine_acquire(&m, &RETRIES, false, T0);
    machine_sent(&m, 10000, T0);
    const int64_t over = lease_valid_until(T0, 10000);
    assert_int_equal(answer(&m, DLOCK_OK, over), TODO_RELEASE);
    assert_int_equal(m.state, MACHINE_RETURNING);
    machine_sent(&m, 10000, over);
    assert_true(m.owner_spent);
    assert_int_equal(answer(&m, DLOCK_OK, over + 1 * MS), TODO_NOTHING);
    assert_int_equal(m.state, MACHINE_PAUSING);
    assert_int_equal(m.attempts, 1);
    assert_false(m.leaves_behind);
    assert_int_equal(machine_wake(&m, m.wake_at), TODO_ACQUIRE);
    assert_true(m.owner_spent); /* so it asks as a new owner */
}

static void a_grant_is_in_time_until_just_before_validity_ends(void **state)
{
    (void)state;
    struct machine m;
    machine_acquire(&m, &RETRIES, false, T0);
    machine_sent(&m, 10000, T0);
    assert_int_equal(answer(&m, DLOCK_OK, lease_valid_until(T0, 10000) - 1), TODO_GRANTED);
}

static void a_guarded_grant_must_come_before_lost_would_be_due(void **state)
{
    (void)state;
    struct machine_plan plan = RETRIES;
    plan.alarm = true;
    plan.margin_ms = 3000;
    const int64_t lost_at = lease_lost_at(lease_valid_until(T0, 10000), 10000, 3000);
    for (int late = 0; late < 2; late++) {
        struct machine m;
        machine_acquire(&m, &plan, false, T0);
        machine_sent(&m, 10000, T0);
        assert_int_equal(answer(&m, DLOCK_OK, late ? lost_at : lost_at - 1), late ? TODO_RELEASE : TODO_GRANTED);
    }
}

static void the_last_grant_comes_too_late(void **state)
{
    (void)state;
    struct machine m;
    struct machine_plan plan = RETRIES;
    plan.retries = 1;
    machine_acquire(&m, &plan, false, T0);
    machine_sent(&m, 10000, T0);
    assert_int_equal(answer(&m, DLOCK_OK, T0 + 10000 * MS), TODO_RELEASE);
    machine_sent(&m, 10000, T0 + 10000 * MS);
    assert_int_equal(answer(&m, DLOCK_LOST, T0 + 10001 * MS), TODO_FAILED);
    assert_int_equal(m.outcome, DLOCK_UNAVAILABLE);
    assert_false(m.leaves_behind);
}

static void a_useless_grant_whose_release_gets_no_answer_leaves_behind(void **state)
{
    (void)state;
    struct machine m;
    machine_acquire(&m, &RETRIES, false, T0);
    machine_sent(&m, 10000, T0);
    assert_int_equal(answer(&m, DLOCK_OK, T0 + 10000 * MS), TODO_RELEASE);
    machine_sent(&m, 10000, T0 + 10000 * MS);
    assert_int_equal(answer(&m, DLOCK_UNAVAILABLE, T0 + 10001 * MS), TODO_NOTHING);
    assert_int_equal(machine_wake(&m, m.wake_at), TODO_ACQUIRE);
    assert_true(m.owner_spent && m.leaves_behind); /* the driver releases the old owner in the background */
    machine_sent(&m, 10000, T0 + 12000 * MS);
    assert_false(m.leaves_behind); /* of the new one */
}

/* ---- unknown outcomes ----------------------------------------------------------------------------------------- */

static void an_unknown_outcome_is_asked_again_with_the_same_owner(void **state)
{
    (void)state;
    struct machine m;
    machine_acquire(&m, &RETRIES, false, T0);
    machine_sent(&m, 10000, T0);
    assert_int_equal(answer(&m, DLOCK_UNAVAILABLE, T0 + 100 * MS), TODO_NOTHING);
    assert_int_equal(m.wake_at, T0 + 1100 * MS);
    assert_int_equal(machine_wake(&m, m.wake_at), TODO_ACQUIRE);
    assert_false(m.owner_spent);
    machine_sent(&m, 10000, T0 + 1100 * MS);
    assert_true(m.leaves_behind);
    assert_int_equal(answer(&m, DLOCK_BUSY, T0 + 1101 * MS), TODO_NOTHING);
    assert_true(m.leaves_behind); /* the first request may arrive after the second */
    machine_wake(&m, m.wake_at);
    machine_sent(&m, 10000, T0 + 2101 * MS);
    assert_int_equal(answer(&m, DLOCK_BUSY, T0 + 2102 * MS), TODO_FAILED);
    assert_int_equal(m.outcome, DLOCK_BUSY);
    assert_true(m.leaves_behind);
}

static void what_certainly_did_not_happen_leaves_nothing_behind(void **state)
{
    (void)state;
    struct machine m;
    struct machine_plan plan = RETRIES;
    plan.retries = 2;
    machine_acquire(&m, &plan, false, T0);
    machine_sent(&m, 10000, T0);
    assert_int_equal(answer_not_done(&m, T0), TODO_NOTHING);
    machine_wake(&m, m.wake_at);
    machine_sent(&m, 10000, T0 + 1000 * MS);
    assert_int_equal(answer_not_done(&m, T0 + 1000 * MS), TODO_FAILED);
    assert_int_equal(m.outcome, DLOCK_UNAVAILABLE);
    assert_false(m.leaves_behind);
}

static void a_refusal_after_an_unknown_outcome_leaves_behind(void **state)
{
    (void)state;
    struct machine m;
    machine_acquire(&m, &RETRIES, false, T0);
    machine_sent(&m, 10000, T0);
    answer(&m, DLOCK_UNAVAILABLE, T0);
    machine_wake(&m, m.wake_at);
    machine_sent(&m, 10000, T0 + 1000 * MS);
    assert_int_equal(answer(&m, DLOCK_REFUSED, T0 + 1000 * MS), TODO_FAILED);
    assert_true(m.leaves_behind);
}

static void every_acquire_begins_with_an_owner_of_its_own(void **state)
{
    (void)state;
    struct machine m = held(&RETRIES);
    machine_leave(&m);
    machine_acquire(&m, &RETRIES, false, T0 + 1 * MS);
    assert_true(m.owner_spent);
    assert_false(m.leaves_behind);
    assert_int_equal(m.attempts, 0);
}

/* ---- acquire, bounded by time --------------------------------------------------------------------------------- */

static void a_wait_has_one_deadline_and_a_last_attempt_at_it(void **state)
{
    (void)state;
    struct machine m;
    machine_acquire(&m, &WAIT, false, T0);
    assert_int_equal(m.deadline, T0 + 5000 * MS);
    int64_t now = T0;
    while (now < m.deadline) {
        machine_sent(&m, 10000, now);
        now += 1 * MS;
        assert_int_equal(answer_busy(&m, -1, now, 0), TODO_NOTHING);
        assert_in_range(m.wake_at, now, m.deadline);
        now = m.wake_at;
        assert_int_equal(machine_wake(&m, now), TODO_ACQUIRE);
    }
    assert_int_equal(now, T0 + 5000 * MS);
    machine_sent(&m, 10000, now);
    assert_int_equal(answer_busy(&m, -1, now + 1 * MS, 0), TODO_FAILED);
    assert_int_equal(m.outcome, DLOCK_BUSY);
    assert_true(m.attempts > WAIT.retries); /* which do not count here */
}

static void the_last_attempt_of_a_wait_can_win(void **state)
{
    (void)state;
    struct machine m;
    machine_acquire(&m, &WAIT, true, T0);
    assert_int_equal(machine_wake(&m, T0 + 5000 * MS), TODO_ACQUIRE);
    machine_sent(&m, 10000, T0 + 5000 * MS);
    assert_int_equal(answer(&m, DLOCK_OK, T0 + 5001 * MS), TODO_GRANTED);
}

static void a_wait_that_is_over_during_an_attempt_fails_as_that_does(void **state)
{
    (void)state;
    struct machine m;
    machine_acquire(&m, &WAIT, false, T0);
    machine_sent(&m, 10000, T0);
    assert_int_equal(answer(&m, DLOCK_UNAVAILABLE, T0 + 5000 * MS), TODO_FAILED);
    assert_int_equal(m.outcome, DLOCK_UNAVAILABLE);
    assert_true(m.leaves_behind);
}

static void a_wait_for_ever_has_no_deadline(void **state)
{
    (void)state;
    struct machine m;
    struct machine_plan plan = WAIT;
    plan.wait_ms = DLOCK_WAIT_FOREVER;
    machine_acquire(&m, &plan, false, T0);
    assert_int_equal(m.deadline, LEASE_NEVER);
    const int64_t late = T0 + 86400000 * MS * 365;
    machine_sent(&m, 10000, late);
    assert_int_equal(answer_busy(&m, -1, late, 0), TODO_NOTHING);
    assert_int_equal(m.wake_at, late + 25 * MS);
}

static void a_waiter_asks_again_when_the_holder_must_be_gone(void **state)
{
    (void)state;
    for (uint64_t chance = 0; chance < 6000; chance += 499) {
        struct machine m;
        machine_acquire(&m, &WAIT, false, T0);
        m.watched = true;
        machine_sent(&m, 10000, T0);
        assert_int_equal(answer_busy(&m, 120, T0, chance), TODO_NOTHING);
        assert_in_range(m.wake_at, T0 + 121 * MS, T0 + 123 * MS);
    }
}

static void a_waiter_polls_faster_without_a_watch(void **state)
{
    (void)state;
    for (int watched = 0; watched < 2; watched++) {
        struct machine m;
        machine_acquire(&m, &WAIT, false, T0);
        m.watched = watched;
        machine_sent(&m, 10000, T0);
        answer_busy(&m, 8000, T0, 0);
        assert_int_equal(m.wake_at, T0 + (watched ? 5000 : 25) * MS); /* the deadline, or the first pause */
    }
}

/* How long it pauses after so many attempts that had this answer. */
static int64_t pause_after(uint32_t attempts, bool watched, const dlock_request *answer)
{
    struct machine m;
    int64_t now = T0;
    const struct machine_plan plan = {.ttl_ms = 10000, .interval_ms = 1000, .wait_ms = DLOCK_WAIT_FOREVER};
    machine_acquire(&m, &plan, false, now);
    m.watched = watched;
    for (uint32_t i = 0; i < attempts; i++) {
        assert_int_equal(machine_wake(&m, now), i == 0 ? TODO_NOTHING : TODO_ACQUIRE);
        machine_sent(&m, 10000, now);
        assert_int_equal(machine_answer(&m, answer, now, 0), TODO_NOTHING);
        if (i + 1 < attempts)
            now = m.wake_at;
    }
    return m.wake_at - now;
}

static void who_is_told_of_releases_hardly_asks(void **state)
{
    (void)state;
    const dlock_request busy = {.status = DLOCK_BUSY, .info = {.remaining_ms = 90000, .fence = 7}};
    assert_int_equal(pause_after(1, true, &busy), 64000 * MS);
    assert_int_equal(pause_after(9, true, &busy), 64000 * MS);
    assert_int_equal(pause_after(9, false, &busy), 1000 * MS);
    /* Of another program, which tells nobody. */
    const dlock_request foreign = {.status = DLOCK_BUSY, .info = {.remaining_ms = 90000, .held_ms = -1}};
    assert_int_equal(pause_after(9, true, &foreign), 1000 * MS);
    /* That the storage works again is not told. */
    const dlock_request down = {.status = DLOCK_UNAVAILABLE, .not_done = true};
    assert_int_equal(pause_after(9, true, &down), 1000 * MS);
    /* Those who were in each other's way would be told at the same time. */
    dlock_request contended = busy;
    contended.contended = true;
    assert_int_equal(pause_after(9, true, &contended), 1000 * MS);
    strcpy(contended.info.owner, "one that a majority of the places tells of");
    assert_int_equal(pause_after(9, true, &contended), 64000 * MS);
}

static void who_stands_in_line_does_not_ask_before_its_turn(void **state)
{
    (void)state;
    struct machine m;
    assert_int_equal(machine_acquire(&m, &WAIT, true, T0), TODO_NOTHING);
    assert_int_equal(m.state, MACHINE_PAUSING);
    assert_int_equal(m.wake_at, T0 + 5000 * MS);
    assert_int_equal(machine_wake(&m, T0 + 4999 * MS), TODO_NOTHING);
    assert_int_equal(machine_hint(&m), TODO_ACQUIRE);
    assert_int_equal(m.state, MACHINE_ASKING);
}

static void a_turn_behind_a_granted_one_waits_for_its_end(void **state)
{
    (void)state;
    struct machine m;
    machine_acquire(&m, &WAIT, true, T0);
    m.watched = true;
    assert_int_equal(machine_turn(&m, 300, T0 + 10 * MS, 0), TODO_NOTHING);
    assert_int_equal(m.state, MACHINE_PAUSING);
    assert_int_equal(m.wake_at, T0 + 311 * MS);
    assert_int_equal(machine_turn(&m, 3000, T0 + 10 * MS, 0), TODO_NOTHING);
    assert_int_equal(m.wake_at, T0 + 3011 * MS);
    machine_turn(&m, 3000, T0 + 4990 * MS, 0);
    assert_int_equal(m.wake_at, T0 + 5000 * MS); /* the deadline */
}

static void a_turn_does_not_disturb_a_request_that_is_out(void **state)
{
    (void)state;
    struct machine m;
    machine_acquire(&m, &WAIT, false, T0);
    machine_sent(&m, 10000, T0);
    assert_int_equal(machine_turn(&m, 300, T0, 0), TODO_NOTHING);
    assert_int_equal(m.state, MACHINE_ASKING);
    assert_int_equal(m.wake_at, LEASE_NEVER);
}

/* ---- hints ---------------------------------------------------------------------------------------------------- */

static void a_hint_ends_the_pause(void **state)
{
    (void)state;
    struct machine m;
    machine_acquire(&m, &WAIT, false, T0);
    machine_sent(&m, 10000, T0);
    answer_busy(&m, 8000, T0, 0);
    assert_int_equal(machine_hint(&m), TODO_ACQUIRE);
    assert_int_equal(m.wake_at, LEASE_NEVER);
    machine_sent(&m, 10000, T0 + 1 * MS);
    assert_int_equal(answer_busy(&m, 8000, T0 + 2 * MS, 0), TODO_NOTHING); /* it was wrong: back to the pause */
    assert_int_equal(m.state, MACHINE_PAUSING);
}

static void a_hint_while_asking_is_kept_for_the_answer(void **state)
{
    (void)state;
    struct machine m;
    machine_acquire(&m, &WAIT, false, T0);
    machine_sent(&m, 10000, T0);
    assert_int_equal(machine_hint(&m), TODO_NOTHING);
    assert_int_equal(answer_busy(&m, 8000, T0 + 1 * MS, 0), TODO_ACQUIRE);
    machine_sent(&m, 10000, T0 + 1 * MS);
    assert_int_equal(answer_busy(&m, 8000, T0 + 2 * MS, 0), TODO_NOTHING);
}

static void a_hint_before_the_request_is_sent_is_answered_by_it(void **state)
{
    (void)state;
    struct machine m;
    machine_acquire(&m, &WAIT, false, T0);
    assert_int_equal(machine_hint(&m), TODO_NOTHING);
    machine_sent(&m, 10000, T0);
    assert_int_equal(answer_busy(&m, 8000, T0 + 1 * MS, 0), TODO_NOTHING);
}

static void a_hint_does_not_hurry_a_storage_that_does_not_answer(void **state)
{
    (void)state;
    struct machine m;
    machine_acquire(&m, &WAIT, false, T0);
    machine_sent(&m, 10000, T0);
    machine_hint(&m);
    assert_int_equal(answer(&m, DLOCK_UNAVAILABLE, T0 + 1 * MS), TODO_NOTHING);
    assert_int_equal(m.wake_at, T0 + 26 * MS);
}

static void a_hint_does_not_prolong_the_wait(void **state)
{
    (void)state;
    struct machine m;
    machine_acquire(&m, &WAIT, false, T0);
    machine_sent(&m, 10000, T0);
    machine_hint(&m);
    assert_int_equal(answer_busy(&m, 8000, T0 + 5000 * MS, 0), TODO_FAILED);
}

static void a_hint_for_a_holder_does_nothing(void **state)
{
    (void)state;
    struct machine m = held(&RENEWED);
    const struct machine before = m;
    assert_int_equal(machine_hint(&m), TODO_NOTHING);
    assert_int_equal(m.state, MACHINE_HELD);
    assert_int_equal(m.wake_at, before.wake_at);
}

/* ---- cancel --------------------------------------------------------------------------------------------------- */

static void cancel_ends_a_pause_at_once(void **state)
{
    (void)state;
    struct machine m;
    machine_acquire(&m, &RETRIES, false, T0);
    machine_sent(&m, 10000, T0);
    answer(&m, DLOCK_UNAVAILABLE, T0);
    assert_int_equal(machine_cancel(&m), TODO_FAILED);
    assert_int_equal(m.outcome, DLOCK_CANCELLED);
    assert_int_equal(m.state, MACHINE_FREE);
    assert_int_equal(m.wake_at, LEASE_NEVER);
    assert_true(m.leaves_behind);
}

static void cancel_while_asking_waits_for_the_answer(void **state)
{
    (void)state;
    static const dlock_status ANSWERS[] = {DLOCK_BUSY, DLOCK_UNAVAILABLE};
    for (size_t i = 0; i < 2; i++) {
        struct machine m;
        machine_acquire(&m, i ? &WAIT : &RETRIES, false, T0);
        machine_sent(&m, 10000, T0);
        assert_int_equal(machine_cancel(&m), TODO_NOTHING);
        assert_int_equal(m.state, MACHINE_ASKING);
        assert_int_equal(answer(&m, ANSWERS[i], T0 + 1 * MS), TODO_FAILED);
        assert_int_equal(m.outcome, DLOCK_CANCELLED);
        assert_int_equal(m.leaves_behind, ANSWERS[i] == DLOCK_UNAVAILABLE);
    }
}

static void a_cancelled_acquire_gives_a_grant_back(void **state)
{
    (void)state;
    struct machine m;
    machine_acquire(&m, &WAIT, false, T0);
    machine_sent(&m, 10000, T0);
    machine_cancel(&m);
    assert_int_equal(answer(&m, DLOCK_OK, T0 + 1 * MS), TODO_RELEASE);
    machine_sent(&m, 10000, T0 + 1 * MS);
    assert_int_equal(answer(&m, DLOCK_OK, T0 + 2 * MS), TODO_FAILED);
    assert_int_equal(m.outcome, DLOCK_CANCELLED);
    assert_false(m.leaves_behind);
}

static void cancel_while_a_grant_is_given_back(void **state)
{
    (void)state;
    struct machine m;
    machine_acquire(&m, &WAIT, false, T0);
    machine_sent(&m, 10000, T0);
    assert_int_equal(answer(&m, DLOCK_OK, T0 + 10000 * MS), TODO_RELEASE);
    machine_sent(&m, 10000, T0 + 10000 * MS);
    assert_int_equal(machine_cancel(&m), TODO_NOTHING);
    assert_int_equal(answer(&m, DLOCK_UNAVAILABLE, T0 + 10001 * MS), TODO_FAILED);
    assert_int_equal(m.outcome, DLOCK_CANCELLED);
    assert_true(m.leaves_behind);
}

/* ---- renewal -------------------------------------------------------------------------------------------------- */

static void renewal_comes_before_the_loss_also_with_a_short_ttl_and_a_long_margin(void **state)
{
    (void)state;
    for (uint32_t ttl_ms = DLOCK_TTL_MIN_MS; ttl_ms < 100; ttl_ms++) {
        const struct machine_plan plan = {
            .ttl_ms = ttl_ms, .retries = 1, .interval_ms = 1, .margin_ms = ttl_ms / 2, .renew = true};
        struct machine m = held(&plan);
        assert_true(m.wake_at > T0);
        assert_true(m.wake_at < m.lost_at);
        assert_int_equal(machine_wake(&m, m.wake_at), TODO_EXTEND);
    }
}

static void renewal_is_due_at_a_third_and_counts_validity_anew(void **state)
{
    (void)state;
    struct machine m = held(&RENEWED);
    assert_int_equal(m.wake_at, lease_renew_at(T0, 9000));
    assert_int_equal(machine_wake(&m, m.wake_at - 1), TODO_NOTHING);
    assert_int_equal(machine_wake(&m, m.wake_at), TODO_EXTEND);
    machine_sent(&m, 9000, T0 + 3001 * MS);
    assert_int_equal(m.valid_until, lease_valid_until(T0, 9000)); /* not before it is answered */
    assert_int_equal(answer(&m, DLOCK_OK, T0 + 3500 * MS), TODO_NOTHING);
    assert_int_equal(m.valid_until, lease_valid_until(T0 + 3001 * MS, 9000));
    assert_int_equal(m.wake_at, lease_renew_at(T0 + 3001 * MS, 9000));
    assert_int_equal(m.state, MACHINE_HELD);
}

static void there_is_never_a_second_extend_out(void **state)
{
    (void)state;
    struct machine m = held(&RENEWED);
    assert_int_equal(machine_wake(&m, m.wake_at), TODO_EXTEND);
    assert_int_equal(machine_extend(&m), TODO_NOTHING);
    assert_int_equal(m.wake_at, m.lost_at); /* only that is watched for meanwhile */
    assert_int_equal(machine_wake(&m, m.lost_at - 1), TODO_NOTHING);
}

static void a_failed_renewal_is_tried_again_until_the_margin(void **state)
{
    (void)state;
    struct machine m = held(&RENEWED);
    const int64_t lost_at = lease_lost_at(lease_valid_until(T0, 9000), 9000, 0);
    int renewals = 0;
    int64_t now = m.wake_at;
    enum machine_todo todo;
    while ((todo = machine_wake(&m, now)) == TODO_EXTEND) {
        renewals++;
        machine_sent(&m, 9000, now);
        assert_int_equal(answer(&m, DLOCK_UNAVAILABLE, now + 10 * MS), TODO_NOTHING);
        assert_int_equal(m.state, MACHINE_HELD);
        assert_in_range(m.wake_at, now + 10 * MS, now + (10 + 750) * MS);
        now = m.wake_at;
    }
    assert_true(renewals >= 6);
    assert_int_equal(todo, TODO_LOST);
    assert_int_equal(now, lost_at);
    assert_int_equal(m.outcome, DLOCK_UNAVAILABLE);
}

static void a_renewal_refused_by_the_storage_is_tried_again(void **state)
{
    (void)state;
    struct machine m = held(&RENEWED);
    machine_wake(&m, m.wake_at);
    machine_sent(&m, 9000, T0 + 3000 * MS);
    assert_int_equal(answer(&m, DLOCK_REFUSED, T0 + 3001 * MS), TODO_NOTHING);
    assert_int_equal(m.wake_at, T0 + 3001 * MS + 750 * MS);
    assert_int_equal(machine_wake(&m, m.wake_at), TODO_EXTEND);
    machine_sent(&m, 9000, T0 + 3751 * MS);
    assert_int_equal(answer(&m, DLOCK_OK, T0 + 3752 * MS), TODO_NOTHING);
    assert_int_equal(m.valid_until, lease_valid_until(T0 + 3751 * MS, 9000));
}

static void a_storage_that_hangs_in_a_renewal_ends_in_lost_before_validity(void **state)
{
    (void)state;
    struct machine m = held(&RENEWED);
    machine_wake(&m, m.wake_at);
    machine_sent(&m, 9000, T0 + 3000 * MS);
    const int64_t due = m.wake_at, valid_until = m.valid_until;
    assert_int_equal(due, lease_lost_at(valid_until, 9000, 0));
    assert_true(due < valid_until);
    assert_int_equal(machine_wake(&m, due - 1), TODO_NOTHING);
    assert_int_equal(machine_wake(&m, due), TODO_LOST);
    assert_int_equal(m.state, MACHINE_LOST);
    assert_int_equal(m.valid_until, valid_until);                       /* so long has the holder to stop */
    assert_int_equal(answer(&m, DLOCK_OK, due + 1 * MS), TODO_NOTHING); /* too late: it stays lost, told once */
    assert_int_equal(m.state, MACHINE_LOST);
    assert_int_equal(m.wake_at, LEASE_NEVER);
    assert_int_equal(machine_wake(&m, due + 9000 * MS), TODO_NOTHING);
}

static void a_margin_tells_the_loss_so_much_earlier(void **state)
{
    (void)state;
    struct machine_plan plan = RENEWED;
    plan.margin_ms = 2500;
    struct machine m = held(&plan);
    machine_wake(&m, m.wake_at);
    machine_sent(&m, 9000, T0 + 3000 * MS);
    assert_int_equal(m.wake_at, lease_valid_until(T0, 9000) - 2500 * MS);
}

static void not_the_owner_is_lost_at_once_and_once(void **state)
{
    (void)state;
    struct machine m = held(&RENEWED);
    machine_wake(&m, m.wake_at);
    machine_sent(&m, 9000, T0 + 3000 * MS);
    assert_int_equal(answer(&m, DLOCK_LOST, T0 + 3001 * MS), TODO_LOST);
    assert_int_equal(m.outcome, DLOCK_LOST);
    assert_true(m.valid_until < T0);
    assert_int_equal(m.state, MACHINE_LOST);
    assert_int_equal(m.wake_at, LEASE_NEVER);
    assert_int_equal(machine_wake(&m, T0 + 20000 * MS), TODO_NOTHING);
}

static void a_renewal_answered_past_the_deadline_is_lost(void **state)
{
    (void)state;
    struct machine m = held(&RENEWED);
    machine_wake(&m, m.wake_at);
    machine_sent(&m, 9000, T0 + 3000 * MS);
    /* The process was stopped: the answer is read before the timer, when both are over. */
    assert_int_equal(answer(&m, DLOCK_OK, T0 + 20000 * MS), TODO_LOST);
    assert_int_equal(m.outcome, DLOCK_UNAVAILABLE);
}

static void a_lock_that_is_not_renewed_alarms_at_the_margin(void **state)
{
    (void)state;
    struct machine_plan plan = RETRIES;
    plan.alarm = true;
    struct machine m = held(&plan);
    assert_int_equal(m.wake_at, lease_lost_at(lease_valid_until(T0, 10000), 10000, 0));
    assert_int_equal(machine_wake(&m, m.wake_at), TODO_LOST);
    assert_int_equal(m.outcome, DLOCK_UNAVAILABLE);
}

static void renewal_ends_with_the_release(void **state)
{
    (void)state;
    struct machine m = held(&RENEWED);
    machine_leave(&m);
    assert_int_equal(m.state, MACHINE_FREE);
    assert_int_equal(m.wake_at, LEASE_NEVER);
    assert_true(m.valid_until < T0);
    assert_int_equal(machine_wake(&m, T0 + 3000 * MS), TODO_NOTHING);
    assert_int_equal(machine_wake(&m, T0 + 9000 * MS), TODO_NOTHING);
}

static void a_lock_lost_by_the_deadline_can_be_left(void **state)
{
    (void)state;
    struct machine m = held(&RENEWED);
    machine_wake(&m, T0 + 8900 * MS);
    assert_int_equal(m.state, MACHINE_LOST);
    machine_leave(&m);
    assert_int_equal(m.state, MACHINE_FREE);
}

/* ---- extend by the holder ------------------------------------------------------------------------------------- */

static void extend_lets_renewal_go_on_with_the_new_ttl(void **state)
{
    (void)state;
    struct machine m = held(&RENEWED);
    assert_int_equal(machine_extend(&m), TODO_EXTEND);
    machine_sent(&m, 30000, T0 + 1000 * MS);
    assert_int_equal(answer(&m, DLOCK_OK, T0 + 1001 * MS), TODO_NOTHING);
    assert_int_equal(m.plan.ttl_ms, 30000);
    assert_int_equal(m.valid_until, lease_valid_until(T0 + 1000 * MS, 30000));
    assert_int_equal(m.wake_at, lease_renew_at(T0 + 1000 * MS, 30000));
}

static void extend_waits_for_a_renewal_that_is_out(void **state)
{
    (void)state;
    struct machine m = held(&RENEWED);
    machine_wake(&m, m.wake_at);
    machine_sent(&m, 9000, T0 + 3000 * MS);
    assert_int_equal(machine_extend(&m), TODO_NOTHING);
    answer(&m, DLOCK_OK, T0 + 3001 * MS);
    assert_int_equal(machine_extend(&m), TODO_EXTEND);
    machine_sent(&m, 60000, T0 + 3002 * MS);
    assert_int_equal(answer(&m, DLOCK_OK, T0 + 3003 * MS), TODO_NOTHING);
    assert_int_equal(m.valid_until, lease_valid_until(T0 + 3002 * MS, 60000));
}

static void a_renewal_is_not_due_while_the_holder_extends(void **state)
{
    (void)state;
    struct machine m = held(&RENEWED);
    machine_extend(&m);
    machine_sent(&m, 9000, T0 + 2999 * MS);
    assert_int_equal(machine_wake(&m, T0 + 3000 * MS), TODO_NOTHING);
    assert_int_equal(m.wake_at, m.lost_at);
}

static void a_shorter_extend_without_an_answer_shortens_validity(void **state)
{
    (void)state;
    struct machine m = held(&RENEWED);
    machine_extend(&m);
    machine_sent(&m, 1000, T0 + 500 * MS);
    const int64_t valid_until = lease_valid_until(T0 + 500 * MS, 1000);
    assert_int_equal(m.valid_until, valid_until);
    assert_int_equal(m.wake_at, lease_lost_at(valid_until, 1000, 0));
    assert_int_equal(answer(&m, DLOCK_UNAVAILABLE, T0 + 600 * MS), TODO_NOTHING);
    assert_int_equal(m.valid_until, valid_until);
    assert_true(m.wake_at <= lease_lost_at(valid_until, 1000, 0));
}

static void a_longer_extend_without_an_answer_keeps_the_old_validity(void **state)
{
    (void)state;
    struct machine m = held(&RENEWED);
    const struct machine before = m;
    machine_extend(&m);
    machine_sent(&m, DLOCK_TTL_MAX_MS, T0 + 500 * MS);
    assert_int_equal(m.valid_until, before.valid_until);
    assert_int_equal(m.lost_at, before.lost_at);
    assert_int_equal(machine_wake(&m, T0 + 500 * MS), TODO_NOTHING); /* nothing is lost by asking for more */
    assert_int_equal(answer(&m, DLOCK_UNAVAILABLE, T0 + 600 * MS), TODO_NOTHING);
    assert_int_equal(m.valid_until, before.valid_until);
    assert_int_equal(m.lost_at, before.lost_at);
    assert_int_equal(m.plan.ttl_ms, 9000);
}

static void an_extend_that_is_sent_after_the_loss_shortens_what_is_left(void **state)
{
    (void)state;
    struct machine m = held(&RENEWED);
    assert_int_equal(machine_extend(&m), TODO_EXTEND);
    const int64_t lost_at = m.wake_at;
    assert_int_equal(machine_wake(&m, lost_at), TODO_LOST);
    machine_sent(&m, 100, lost_at + 1 * MS);
    assert_int_equal(m.valid_until, lease_valid_until(lost_at + 1 * MS, 100));
    assert_int_equal(m.wake_at, LEASE_NEVER);
    assert_int_equal(answer(&m, DLOCK_OK, lost_at + 2 * MS), TODO_NOTHING);
    assert_int_equal(m.state, MACHINE_LOST);
}

static void an_extend_answered_when_it_is_over_is_lost(void **state)
{
    (void)state;
    struct machine m = held(&RETRIES);
    machine_extend(&m);
    machine_sent(&m, 10000, T0 + 1000 * MS);
    assert_int_equal(answer(&m, DLOCK_OK, lease_valid_until(T0 + 1000 * MS, 10000)), TODO_LOST);
    assert_int_equal(m.outcome, DLOCK_UNAVAILABLE);
}

/* ---- strays: requests without an answer that arrive after later ones -------------------------------------------- */

static struct machine held_with_stray(const struct machine_plan *plan)
{
    struct machine m;
    machine_acquire(&m, plan, false, T0 - 1100 * MS);
    machine_sent(&m, plan->ttl_ms, T0 - 1100 * MS);
    answer(&m, DLOCK_UNAVAILABLE, T0 - 1000 * MS);
    assert_int_equal(machine_wake(&m, T0), TODO_ACQUIRE);
    machine_sent(&m, plan->ttl_ms, T0);
    assert_int_equal(answer(&m, DLOCK_OK, T0), TODO_GRANTED);
    return m;
}

static void a_longer_extend_counts_no_more_than_a_stray_acquire(void **state)
{
    (void)state;
    struct machine m = held_with_stray(&RENEWED);
    assert_int_equal(m.valid_until, lease_valid_until(T0, 9000));
    machine_extend(&m);
    machine_sent(&m, 60000, T0 + 1000 * MS);
    assert_int_equal(answer(&m, DLOCK_OK, T0 + 1001 * MS), TODO_NOTHING);
    assert_int_equal(m.valid_until, lease_valid_until(T0 + 1000 * MS, 9000));
    assert_int_equal(m.lost_at, lease_lost_at(m.valid_until, 9000, 0));
    assert_int_equal(m.wake_at, T0 + 4000 * MS);
    assert_int_equal(m.plan.ttl_ms, 60000); /* which is asked for all the same */
}

static void a_longer_extend_counts_no_more_than_a_stray_extend(void **state)
{
    (void)state;
    struct machine m = held(&RENEWED);
    machine_extend(&m);
    machine_sent(&m, 6000, T0 + 500 * MS);
    answer(&m, DLOCK_UNAVAILABLE, T0 + 600 * MS);
    assert_in_range(m.wake_at, T0 + 850 * MS, T0 + 1100 * MS);
    machine_extend(&m);
    machine_sent(&m, 9000, T0 + 1000 * MS);
    answer(&m, DLOCK_UNAVAILABLE, T0 + 1001 * MS);
    machine_extend(&m);
    machine_sent(&m, 60000, T0 + 2000 * MS);
    assert_int_equal(answer(&m, DLOCK_OK, T0 + 2001 * MS), TODO_NOTHING);
    assert_int_equal(m.valid_until, lease_valid_until(T0 + 2000 * MS, 6000));
}

static void what_was_not_done_is_no_stray(void **state)
{
    (void)state;
    struct machine m = held(&RENEWED);
    machine_extend(&m);
    machine_sent(&m, 6000, T0 + 500 * MS);
    answer_not_done(&m, T0 + 600 * MS);
    machine_extend(&m);
    machine_sent(&m, 60000, T0 + 2000 * MS);
    assert_int_equal(answer(&m, DLOCK_OK, T0 + 2001 * MS), TODO_NOTHING);
    assert_int_equal(m.valid_until, lease_valid_until(T0 + 2000 * MS, 60000));
}

static void a_new_owner_has_no_strays(void **state)
{
    (void)state;
    struct machine m;
    machine_acquire(&m, &RETRIES, false, T0);
    machine_sent(&m, 10000, T0);
    answer(&m, DLOCK_UNAVAILABLE, T0);
    machine_wake(&m, m.wake_at);
    machine_sent(&m, 10000, T0 + 1000 * MS);
    assert_int_equal(answer(&m, DLOCK_OK, T0 + 12000 * MS), TODO_RELEASE);
    machine_sent(&m, 10000, T0 + 12000 * MS);
    answer(&m, DLOCK_OK, T0 + 12000 * MS);
    machine_wake(&m, m.wake_at);
    machine_sent(&m, 10000, T0 + 13000 * MS);
    assert_int_equal(answer(&m, DLOCK_OK, T0 + 13001 * MS), TODO_GRANTED);
    machine_extend(&m);
    machine_sent(&m, 60000, T0 + 14000 * MS);
    answer(&m, DLOCK_OK, T0 + 14001 * MS);
    assert_int_equal(m.valid_until, lease_valid_until(T0 + 14000 * MS, 60000));
}

static void an_extend_when_validity_was_over_is_lost_if_a_stray_acquire_may_have_come(void **state)
{
    (void)state;
    for (int stray = 0; stray < 2; stray++) {
        struct machine m = stray ? held_with_stray(&RETRIES) : held(&RETRIES);
        const int64_t over = m.valid_until;
        machine_extend(&m);
        machine_sent(&m, 10000, over);
        assert_int_equal(answer(&m, DLOCK_OK, over + 1), stray ? TODO_LOST : TODO_NOTHING);
    }
    struct machine m = held_with_stray(&RETRIES);
    machine_extend(&m);
    machine_sent(&m, 10000, m.valid_until - 2);
    assert_int_equal(answer(&m, DLOCK_OK, m.valid_until - 1), TODO_NOTHING); /* nobody had it in between */
}

/* Of a storage that is spread over several places, some of which are slow. */
static void an_extend_when_validity_was_over_is_lost_if_some_places_may_have_it_anew(void **state)
{
    (void)state;
    for (int extended = 0; extended < 2; extended++) {
        struct machine m;
        dlock_request granted = {.status = DLOCK_OK, .stray = !extended};
        machine_acquire(&m, &RETRIES, false, T0);
        machine_sent(&m, 10000, T0);
        assert_int_equal(machine_answer(&m, &granted, T0, 0), TODO_GRANTED);
        machine_extend(&m);
        machine_sent(&m, 10000, T0 + 1000 * MS);
        granted.stray = extended;
        assert_int_equal(machine_answer(&m, &granted, T0 + 1000 * MS, 0), TODO_NOTHING);
        const int64_t over = m.valid_until;
        machine_extend(&m);
        machine_sent(&m, 10000, over);
        assert_int_equal(answer(&m, DLOCK_OK, over + 1), TODO_LOST);
        assert_int_equal(m.outcome, DLOCK_UNAVAILABLE); /* it may still be there, so a release is sent */
    }
}

/* ---- adopt ---------------------------------------------------------------------------------------------------- */

static void an_adopted_hold_is_valid_only_after_an_extend(void **state)
{
    (void)state;
    struct machine m;
    machine_adopt(&m, 10000);
    assert_int_equal(m.state, MACHINE_HELD);
    assert_true(m.valid_until < T0);
    assert_int_equal(m.wake_at, LEASE_NEVER);
    assert_false(m.owner_spent);
    assert_int_equal(machine_extend(&m), TODO_EXTEND);
    machine_sent(&m, 20000, T0);
    assert_true(m.valid_until < T0);
    assert_int_equal(answer(&m, DLOCK_OK, T0 + 1 * MS), TODO_NOTHING);
    assert_int_equal(m.valid_until, lease_valid_until(T0, 20000));
}

static void an_adopted_hold_that_is_gone_is_lost(void **state)
{
    (void)state;
    struct machine m;
    machine_adopt(&m, 10000);
    machine_extend(&m);
    machine_sent(&m, 10000, T0);
    assert_int_equal(answer(&m, DLOCK_LOST, T0 + 1 * MS), TODO_LOST);
    assert_int_equal(m.state, MACHINE_LOST);
}

static void an_adopted_hold_stays_held_if_the_extend_gets_no_answer(void **state)
{
    (void)state;
    struct machine m;
    machine_adopt(&m, 10000);
    machine_extend(&m);
    machine_sent(&m, 10000, T0);
    assert_int_equal(answer(&m, DLOCK_UNAVAILABLE, T0 + 1 * MS), TODO_NOTHING);
    assert_int_equal(m.state, MACHINE_HELD);
    assert_true(m.valid_until < T0);
    assert_int_equal(m.wake_at, LEASE_NEVER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(granted_at_the_first_attempt),
        cmocka_unit_test(contenders_come_back_at_different_times_and_as_new_owners),
        cmocka_unit_test(a_contended_attempt_that_may_be_left_somewhere_leaves_behind),
        cmocka_unit_test(a_contended_waiter_does_not_ask_at_once_even_if_hinted),
        cmocka_unit_test(a_contended_waiter_goes_on_when_the_holder_is_over),
        cmocka_unit_test(three_attempts_are_two_pauses_and_the_last_failure_returns_at_once),
        cmocka_unit_test(one_attempt_has_no_pause),
        cmocka_unit_test(a_refusal_is_not_retried),
        cmocka_unit_test(validity_counts_from_the_sending_of_the_attempt_that_won),
        cmocka_unit_test(a_grant_that_comes_too_late_is_released_and_counts_as_failed),
        cmocka_unit_test(a_grant_is_in_time_until_just_before_validity_ends),
        cmocka_unit_test(a_guarded_grant_must_come_before_lost_would_be_due),
        cmocka_unit_test(the_last_grant_comes_too_late),
        cmocka_unit_test(a_useless_grant_whose_release_gets_no_answer_leaves_behind),
        cmocka_unit_test(an_unknown_outcome_is_asked_again_with_the_same_owner),
        cmocka_unit_test(what_certainly_did_not_happen_leaves_nothing_behind),
        cmocka_unit_test(a_refusal_after_an_unknown_outcome_leaves_behind),
        cmocka_unit_test(every_acquire_begins_with_an_owner_of_its_own),
        cmocka_unit_test(a_wait_has_one_deadline_and_a_last_attempt_at_it),
        cmocka_unit_test(the_last_attempt_of_a_wait_can_win),
        cmocka_unit_test(a_wait_that_is_over_during_an_attempt_fails_as_that_does),
        cmocka_unit_test(a_wait_for_ever_has_no_deadline),
        cmocka_unit_test(a_waiter_asks_again_when_the_holder_must_be_gone),
        cmocka_unit_test(a_waiter_polls_faster_without_a_watch),
        cmocka_unit_test(who_is_told_of_releases_hardly_asks),
        cmocka_unit_test(who_stands_in_line_does_not_ask_before_its_turn),
        cmocka_unit_test(a_turn_behind_a_granted_one_waits_for_its_end),
        cmocka_unit_test(a_turn_does_not_disturb_a_request_that_is_out),
        cmocka_unit_test(a_hint_ends_the_pause),
        cmocka_unit_test(a_hint_while_asking_is_kept_for_the_answer),
        cmocka_unit_test(a_hint_before_the_request_is_sent_is_answered_by_it),
        cmocka_unit_test(a_hint_does_not_hurry_a_storage_that_does_not_answer),
        cmocka_unit_test(a_hint_does_not_prolong_the_wait),
        cmocka_unit_test(a_hint_for_a_holder_does_nothing),
        cmocka_unit_test(cancel_ends_a_pause_at_once),
        cmocka_unit_test(cancel_while_asking_waits_for_the_answer),
        cmocka_unit_test(a_cancelled_acquire_gives_a_grant_back),
        cmocka_unit_test(cancel_while_a_grant_is_given_back),
        cmocka_unit_test(renewal_comes_before_the_loss_also_with_a_short_ttl_and_a_long_margin),
        cmocka_unit_test(renewal_is_due_at_a_third_and_counts_validity_anew),
        cmocka_unit_test(there_is_never_a_second_extend_out),
        cmocka_unit_test(a_failed_renewal_is_tried_again_until_the_margin),
        cmocka_unit_test(a_renewal_refused_by_the_storage_is_tried_again),
        cmocka_unit_test(a_storage_that_hangs_in_a_renewal_ends_in_lost_before_validity),
        cmocka_unit_test(a_margin_tells_the_loss_so_much_earlier),
        cmocka_unit_test(not_the_owner_is_lost_at_once_and_once),
        cmocka_unit_test(a_renewal_answered_past_the_deadline_is_lost),
        cmocka_unit_test(a_lock_that_is_not_renewed_alarms_at_the_margin),
        cmocka_unit_test(renewal_ends_with_the_release),
        cmocka_unit_test(a_lock_lost_by_the_deadline_can_be_left),
        cmocka_unit_test(extend_lets_renewal_go_on_with_the_new_ttl),
        cmocka_unit_test(extend_waits_for_a_renewal_that_is_out),
        cmocka_unit_test(a_renewal_is_not_due_while_the_holder_extends),
        cmocka_unit_test(a_shorter_extend_without_an_answer_shortens_validity),
        cmocka_unit_test(a_longer_extend_without_an_answer_keeps_the_old_validity),
        cmocka_unit_test(an_extend_that_is_sent_after_the_loss_shortens_what_is_left),
        cmocka_unit_test(an_extend_answered_when_it_is_over_is_lost),
        cmocka_unit_test(a_longer_extend_counts_no_more_than_a_stray_acquire),
        cmocka_unit_test(a_longer_extend_counts_no_more_than_a_stray_extend),
        cmocka_unit_test(what_was_not_done_is_no_stray),
        cmocka_unit_test(a_new_owner_has_no_strays),
        cmocka_unit_test(an_extend_when_validity_was_over_is_lost_if_a_stray_acquire_may_have_come),
        cmocka_unit_test(an_extend_when_validity_was_over_is_lost_if_some_places_may_have_it_anew),
        cmocka_unit_test(an_adopted_hold_is_valid_only_after_an_extend),
        cmocka_unit_test(an_adopted_hold_that_is_gone_is_lost),
        cmocka_unit_test(an_adopted_hold_stays_held_if_the_extend_gets_no_answer),
    };
    return cmocka_run_group_tests_name("machine", tests, NULL, NULL);
}
