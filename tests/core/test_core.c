/* test_core.c - the public API over a real storage with faults injected: what a caller may rely on. */
#include "core.h"
#include "faults.h"
#include "lock.h"
#include "support.h"

#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* One store, seen through faults by `factory`, and directly by `other`. */
struct world {
    struct store store;
    struct faults faults;
    dlock_factory *factory, *other;
};

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    store_init(&w->store);
    faults_init(&w->faults, w->store.url);
    assert_int_equal(dlock_factory_new(&w->faults.storage, &w->faults, NULL, &w->factory, NULL), DLOCK_OK);
    assert_int_equal(dlock_factory_open(w->store.url, NULL, &w->other, NULL), DLOCK_OK);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    dlock_factory_close(w->factory);
    dlock_factory_close(w->other);
    faults_deinit(&w->faults);
    store_deinit(&w->store);
    free(w);
    return 0;
}

static dlock *make(dlock_factory *factory, const char *key)
{
    dlock *lock = NULL;
    assert_int_equal(dlock_create(factory, key, &lock, NULL), DLOCK_OK);
    return lock;
}

/* Their keys are the name with a number behind it. */
static void make_many(dlock_factory *factory, const char *name, dlock **ret, int count)
{
    for (int i = 0; i < count; i++) {
        char key[16];
        snprintf(key, sizeof key, "%s%d", name, i);
        ret[i] = make(factory, key);
    }
}

static void start(pthread_t *thread, void *(*run)(void *), void *arg)
{
    assert_int_equal(pthread_create(thread, NULL, run, arg), 0);
}

static void join_ok(pthread_t *threads, int count)
{
    for (int i = 0; i < count; i++) {
        void *status;
        pthread_join(threads[i], &status);
        assert_int_equal((intptr_t)status, DLOCK_OK);
    }
}

static void check_ok(dlock_status status, const dlock_error *error)
{
    if (status != DLOCK_OK)
        fail_msg("%s: %s", dlock_status_name(status), error->message);
}

static void acquire(dlock *lock, dlock_acquire_options options)
{
    dlock_error error;
    check_ok(dlock_acquire(lock, &options, &error), &error);
}

#define OPTIONS(...) ((dlock_acquire_options){.size = sizeof(dlock_acquire_options), __VA_ARGS__})

static bool is_free(dlock_factory *factory, const char *key)
{
    dlock_info info;
    dlock_error error;
    check_ok(dlock_inspect(factory, key, &info, &error), &error);
    return info.owner[0] == '\0';
}

/* Waits for one event. */
static dlock_event next_event(dlock_factory *factory)
{
    struct pollfd fd = {.fd = dlock_factory_fd(factory), .events = POLLIN};
    dlock_event event;
    do {
        assert_int_equal(poll(&fd, 1, 30000), 1);
    } while (dlock_factory_events(factory, &event, 1) == 0); /* it was something to read */
    return event;
}

static bool no_event(dlock_factory *factory)
{
    struct pollfd fd = {.fd = dlock_factory_fd(factory), .events = POLLIN};
    dlock_event event;
    return poll(&fd, 1, 0) == 0 && dlock_factory_events(factory, &event, 1) == 0;
}

/* ---- acquire and release ---- */

static void test_acquire_and_release(void **state)
{
    struct world *w = *state;
    dlock *lock = make(w->factory, "job");
    assert_false(dlock_is_held(lock));
    assert_int_equal(dlock_fence(lock), 0);
    acquire(lock, OPTIONS(0));
    assert_true(dlock_is_held(lock));
    assert_in_range(dlock_remaining_ms(lock), 1, 10000);
    assert_string_equal(dlock_key(lock), "job");
    const uint64_t fence = dlock_fence(lock);
    assert_int_not_equal(fence, 0);

    dlock_info info;
    assert_int_equal(dlock_inspect(w->other, "job", &info, NULL), DLOCK_OK);
    assert_string_equal(info.owner, dlock_owner(lock));
    assert_int_equal(info.fence, fence);
    assert_int_equal(info.ttl_ms, 10000);

    assert_int_equal(dlock_release(lock, NULL), DLOCK_OK);
    assert_false(dlock_is_held(lock));
    assert_int_equal(dlock_fence(lock), 0);
    assert_true(is_free(w->other, "job"));
    acquire(lock, OPTIONS(0));
    assert_true(dlock_fence(lock) > fence);
    dlock_free(lock);
    assert_true(is_free(w->other, "job"));
}

static void test_uncontended_needs_one_request_each_and_no_thread(void **state)
{
    struct world *w = *state;
    dlock *lock = make(w->factory, "job");
    acquire(lock, OPTIONS(0));
    assert_int_equal(dlock_release(lock, NULL), DLOCK_OK);
    assert_int_equal(w->faults.seen[DLOCK_ACQUIRE], 1);
    assert_int_equal(w->faults.seen[DLOCK_RELEASE], 1);
    assert_int_equal(w->faults.batches, 2);
    assert_false(w->factory->keeper.started);
    assert_false(w->factory->errands.started);
    assert_false(w->factory->renewals.started);
    assert_false(w->factory->watcher.started);
    dlock_free(lock);
}

static void test_three_attempts_and_two_pauses(void **state)
{
    struct world *w = *state;
    dlock *holder = make(w->other, "job"), *lock = make(w->factory, "job");
    acquire(holder, OPTIONS(.ttl_ms = 60000));
    const int64_t begin = dlock_clock_us();
    dlock_error error;
    assert_int_equal(dlock_acquire(lock, &OPTIONS(.retries = 3, .interval_ms = 40), &error), DLOCK_BUSY);
    assert_int_equal(w->faults.seen[DLOCK_ACQUIRE], 3);
    assert_true(w->faults.last_at - begin >= 2 * 40000);
    assert_true(dlock_clock_us() - w->faults.last_at < 40000 + 30000000); /* no third pause: see the machine's tests */

    assert_int_equal(error.status, DLOCK_BUSY);
    assert_string_equal(error.holder.owner, dlock_owner(holder));
    assert_int_equal(error.holder.fence, dlock_fence(holder));
    assert_in_range(error.holder.held_ms, 80, 60000);
    assert_in_range(error.holder.remaining_ms, 1, 59920);
    assert_non_null(strstr(error.message, "cannot acquire 'job' in faulty: held by "));
    assert_non_null(strstr(error.message, "(3 attempts)"));
    const char *secret = strrchr(dlock_owner(holder), ':') + 1;
    assert_null(strstr(error.message, secret));
    dlock_free(lock);
    dlock_free(holder);
}

static void test_wait_makes_a_last_attempt_at_its_deadline(void **state)
{
    struct world *w = *state;
    dlock *holder = make(w->other, "job"), *lock = make(w->factory, "job");
    acquire(holder, OPTIONS(.ttl_ms = 60000));
    const int64_t begin = dlock_clock_us();
    assert_int_equal(dlock_acquire(lock, &OPTIONS(.wait_ms = 150), NULL), DLOCK_BUSY);
    assert_true(w->faults.last_at - begin >= 150000);
    assert_true(faults_get(&w->faults, &w->faults.seen[DLOCK_ACQUIRE]) >= 2);
    dlock_free(lock);
    dlock_free(holder);
}

static void test_calls_at_the_wrong_time_are_invalid(void **state)
{
    struct world *w = *state;
    dlock *lock = make(w->factory, "job");
    dlock_error error;
    assert_int_equal(dlock_release(lock, &error), DLOCK_INVALID);
    assert_non_null(strstr(error.message, "not held"));
    assert_int_equal(dlock_extend(lock, 0, NULL), DLOCK_INVALID);
    assert_int_equal(dlock_detach(lock, NULL), DLOCK_INVALID);
    acquire(lock, OPTIONS(0));
    assert_int_equal(dlock_acquire(lock, NULL, &error), DLOCK_INVALID);
    assert_non_null(strstr(error.message, "holds it already"));
    assert_int_equal(dlock_adopt(lock, "a:1:b", NULL), DLOCK_INVALID);
    assert_int_equal(w->faults.seen[DLOCK_ACQUIRE], 1);
    assert_true(dlock_is_held(lock));
    dlock_free(lock);
}

static void test_options_out_of_range_are_invalid(void **state)
{
    struct world *w = *state;
    dlock *lock = make(w->factory, "job");
    const dlock_acquire_options wrong[] = {OPTIONS(.ttl_ms = 9),
                                           OPTIONS(.ttl_ms = 86400001),
                                           OPTIONS(.interval_ms = 86400001),
                                           OPTIONS(.ttl_ms = 100, .margin_ms = 51),
                                           {.size = 0},
                                           {.size = 3}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        dlock_error error = {.status = DLOCK_OK};
        assert_int_equal(dlock_acquire(lock, &wrong[i], &error), DLOCK_INVALID);
        assert_int_equal(error.status, DLOCK_INVALID);
        assert_true(strlen(error.message) > 10);
    }
    char long_key[DLOCK_KEY_MAX + 2];
    memset(long_key, 'k', sizeof long_key - 1);
    long_key[sizeof long_key - 1] = '\0';
    dlock *none = NULL;
    assert_int_equal(dlock_create(w->factory, long_key, &none, NULL), DLOCK_INVALID);
    assert_int_equal(dlock_create(w->factory, "", &none, NULL), DLOCK_INVALID);
    assert_int_equal(dlock_create(w->factory, NULL, &none, NULL), DLOCK_INVALID);
    assert_int_equal(dlock_create(w->factory, "\xc3(", &none, NULL), DLOCK_INVALID);
    assert_int_equal(dlock_create(w->factory, "\xed\xa0\x80", &none, NULL), DLOCK_INVALID);
    assert_null(none);
    long_key[DLOCK_KEY_MAX] = '\0';
    assert_int_equal(dlock_create(w->factory, long_key, &none, NULL), DLOCK_OK);
    acquire(none, OPTIONS(0));
    dlock_free(none);
    assert_int_equal(w->faults.seen[DLOCK_ACQUIRE], 1);
    dlock_free(lock);
}

static void test_options_of_other_versions(void **state)
{
    struct world *w = *state;
    dlock *lock = make(w->factory, "job");
    struct {
        dlock_acquire_options known;
        uint64_t later;
    } newer = {.known = OPTIONS(.ttl_ms = 5000)};
    newer.known.size = sizeof newer;
    assert_int_equal(dlock_acquire(lock, &newer.known, NULL), DLOCK_OK);
    assert_int_equal(dlock_release(lock, NULL), DLOCK_OK);
    newer.later = 1;
    assert_int_equal(dlock_acquire(lock, &newer.known, NULL), DLOCK_INVALID);
    dlock_acquire_options older = {
        .size = offsetof(dlock_acquire_options, retries), .ttl_ms = 5000, .margin_ms = 99999};
    assert_int_equal(dlock_acquire(lock, &older, NULL), DLOCK_OK);
    dlock_free(lock);
}

/* ---- unknown outcomes ---- */

static void test_lost_reply_is_resent_with_the_same_owner(void **state)
{
    struct world *w = *state;
    dlock *lock = make(w->factory, "job");
    faults_set(&w->faults, &w->faults.lose_reply[DLOCK_ACQUIRE], 1);
    acquire(lock, OPTIONS(.retries = 2, .interval_ms = 1));
    assert_int_equal(w->faults.seen[DLOCK_ACQUIRE], 2);
    assert_string_equal(w->faults.owners[0], w->faults.owners[1]);
    assert_string_equal(w->faults.owners[1], dlock_owner(lock));
    dlock_free(lock);
    assert_true(is_free(w->other, "job"));
}

static void test_giving_up_releases_what_may_be_left(void **state)
{
    struct world *w = *state;
    dlock *lock = make(w->factory, "job");
    faults_set(&w->faults, &w->faults.lose_reply[DLOCK_ACQUIRE], 2);
    faults_set(&w->faults, &w->faults.lose_request[DLOCK_RELEASE], 2);
    dlock_error error;
    assert_int_equal(dlock_acquire(lock, &OPTIONS(.ttl_ms = 60000, .retries = 2, .interval_ms = 1), &error),
                     DLOCK_UNAVAILABLE);
    assert_non_null(strstr(error.message, "the reply got lost"));
    wait_for(is_free(w->other, "job")); /* long before the ttl is over */
    assert_true(faults_get(&w->faults, &w->faults.seen[DLOCK_RELEASE]) >= 3);
    acquire(lock, OPTIONS(0));
    assert_string_not_equal(dlock_owner(lock), w->faults.owners[0]);
    dlock_free(lock);
}

static void test_release_that_overtakes_its_acquire_is_repeated(void **state)
{
    struct world *w = *state;
    dlock *lock = make(w->factory, "job");
    faults_set(&w->faults, &w->faults.lose_request[DLOCK_ACQUIRE], 1);
    assert_int_equal(dlock_acquire(lock, &OPTIONS(.ttl_ms = 60000, .retries = 1), NULL), DLOCK_UNAVAILABLE);
    /* The storage says LOST to each, and the ACQUIRE may still be on its way. */
    wait_for(faults_get(&w->faults, &w->faults.seen[DLOCK_RELEASE]) >= 3);
    dlock_free(lock);
}

static void test_nothing_sent_leaves_nothing_to_release(void **state)
{
    struct world *w = *state;
    dlock *lock = make(w->factory, "job");
    faults_set(&w->faults, &w->faults.fail_open, 1);
    dlock_error error;
    assert_int_equal(dlock_acquire(lock, &OPTIONS(.retries = 1), &error), DLOCK_UNAVAILABLE);
    assert_non_null(strstr(error.message, "no way there"));
    assert_null(w->factory->leftovers);
    dlock_free(lock);
}

static void test_release_without_answer_is_repeated(void **state)
{
    struct world *w = *state;
    dlock *lock = make(w->factory, "job");
    acquire(lock, OPTIONS(.ttl_ms = 60000));
    faults_set(&w->faults, &w->faults.lose_request[DLOCK_RELEASE], 1);
    assert_int_equal(dlock_release(lock, NULL), DLOCK_UNAVAILABLE);
    assert_false(dlock_is_held(lock));
    wait_for(is_free(w->other, "job"));
    dlock_free(lock);
}

static void test_grant_that_comes_too_late_is_released(void **state)
{
    struct world *w = *state;
    dlock *lock = make(w->factory, "job");
    faults_set_bool(&w->faults, &w->faults.hang_reply[DLOCK_ACQUIRE], true);
    assert_int_equal(dlock_acquire_start(lock, &OPTIONS(.ttl_ms = 20, .retries = 2, .interval_ms = 1), NULL, NULL),
                     DLOCK_OK);
    wait_for(faults_get(&w->faults, &w->faults.hanging) == 1);
    const int64_t over = dlock_clock_us() + 20000;
    wait_for(dlock_clock_us() > over);
    pthread_mutex_lock(&w->faults.mutex); /* only the first hangs, and the second is not there to be granted late */
    w->faults.hang_reply[DLOCK_ACQUIRE] = false;
    w->faults.lose_request[DLOCK_ACQUIRE] = 1;
    pthread_cond_broadcast(&w->faults.changed);
    pthread_mutex_unlock(&w->faults.mutex);
    const dlock_event event = next_event(w->factory);
    assert_int_equal(event.type, DLOCK_EVENT_FAILED);
    assert_int_equal(event.error.status, DLOCK_UNAVAILABLE);
    assert_true(faults_get(&w->faults, &w->faults.seen[DLOCK_RELEASE]) >= 1);
    assert_string_not_equal(w->faults.owners[0], w->faults.owners[1]);
    dlock_free(lock);
}

static void *acquire_in_thread(void *lock)
{
    return (void *)(intptr_t)dlock_acquire(lock, NULL, NULL);
}

static void test_validity_counts_from_before_the_sending(void **state)
{
    struct world *w = *state;
    dlock *lock = make(w->factory, "job");
    faults_set_bool(&w->faults, &w->faults.hang_reply[DLOCK_ACQUIRE], true);
    pthread_t thread;
    start(&thread, acquire_in_thread, lock);
    wait_for(faults_get(&w->faults, &w->faults.hanging) == 1);
    const int64_t later = dlock_clock_us() + 50000;
    wait_for(dlock_clock_us() > later);
    faults_set_bool(&w->faults, &w->faults.hang_reply[DLOCK_ACQUIRE], false);
    join_ok(&thread, 1);
    assert_in_range(dlock_remaining_ms(lock), 1, 10000 - 102 - 50);
    dlock_free(lock);
}

/* ---- renewal and loss ---- */

static void test_renewal_keeps_the_lock_beyond_its_ttl(void **state)
{
    struct world *w = *state;
    dlock *lock = make(w->factory, "job");
    acquire(lock, OPTIONS(.ttl_ms = 1000, .renew = true));
    wait_for(faults_get(&w->faults, &w->faults.seen[DLOCK_EXTEND]) >= 4);
    assert_true(dlock_is_held(lock));
    dlock_info info;
    assert_int_equal(dlock_inspect(w->other, "job", &info, NULL), DLOCK_OK);
    assert_string_equal(info.owner, dlock_owner(lock));
    assert_true(info.held_ms >= 1000);
    assert_true(no_event(w->factory));
    assert_int_equal(dlock_release(lock, NULL), DLOCK_OK);
    const int renewals = faults_get(&w->faults, &w->faults.seen[DLOCK_EXTEND]);
    const int64_t later = dlock_clock_us() + 700000;
    wait_for(dlock_clock_us() > later);
    assert_int_equal(faults_get(&w->faults, &w->faults.seen[DLOCK_EXTEND]), renewals);
    assert_true(no_event(w->factory));
    dlock_free(lock);
}

static void test_broken_lock_is_reported_lost_once(void **state)
{
    struct world *w = *state;
    dlock *lock = make(w->factory, "job"), *thief = make(w->other, "job");
    acquire(lock, OPTIONS(.ttl_ms = 600, .renew = true));
    dlock_info broken;
    assert_int_equal(dlock_break(w->other, "job", &broken, NULL), DLOCK_OK);
    assert_string_equal(broken.owner, dlock_owner(lock));
    assert_int_equal(dlock_break(w->other, "job", NULL, NULL), DLOCK_LOST);
    acquire(thief, OPTIONS(.ttl_ms = 60000));
    const dlock_event event = next_event(w->factory);
    assert_int_equal(event.type, DLOCK_EVENT_LOST);
    assert_ptr_equal(event.lock, lock);
    assert_int_equal(event.error.status, DLOCK_LOST);
    assert_false(dlock_is_held(lock));
    assert_int_equal(dlock_extend(lock, 0, NULL), DLOCK_LOST);
    assert_int_equal(dlock_release(lock, NULL), DLOCK_LOST);
    assert_true(no_event(w->factory));
    assert_true(dlock_is_held(thief));
    assert_false(is_free(w->other, "job"));
    dlock_free(lock);
    dlock_free(thief);
}

static void test_hanging_storage_ends_in_lost_before_validity_does(void **state)
{
    struct world *w = *state;
    dlock *lock = make(w->factory, "job");
    const int64_t begin = dlock_clock_us();
    faults_set_bool(&w->faults, &w->faults.hang[DLOCK_EXTEND], true);
    acquire(lock, OPTIONS(.ttl_ms = 3000, .margin_ms = 1500, .renew = true));
    const dlock_event event = next_event(w->factory);
    assert_int_equal(event.type, DLOCK_EVENT_LOST);
    assert_true(dlock_clock_us() < begin + 3000000 - 32000);
    assert_int_equal(faults_get(&w->faults, &w->faults.hanging), 1);
    faults_set_bool(&w->faults, &w->faults.hang[DLOCK_EXTEND], false);
    wait_for(faults_get(&w->faults, &w->faults.hanging) == 0);
    assert_int_equal(dlock_release(lock, NULL), DLOCK_LOST);
    assert_true(no_event(w->factory));
    assert_true(is_free(w->other, "job"));
    dlock_free(lock);
}

static void test_unreachable_storage_ends_in_lost_and_short_failures_do_not(void **state)
{
    struct world *w = *state;
    dlock *lock = make(w->factory, "job");
    faults_set(&w->faults, &w->faults.lose_request[DLOCK_EXTEND], 2);
    acquire(lock, OPTIONS(.ttl_ms = 3000, .renew = true));
    wait_for(faults_get(&w->faults, &w->faults.seen[DLOCK_EXTEND]) >= 4);
    assert_true(dlock_is_held(lock));
    assert_true(no_event(w->factory));
    faults_set(&w->faults, &w->faults.lose_request[DLOCK_EXTEND], 1000000);
    assert_int_equal(next_event(w->factory).type, DLOCK_EVENT_LOST);
    assert_int_equal(dlock_release(lock, NULL), DLOCK_LOST);
    dlock_free(lock);
}

static void test_release_during_a_renewal_leaves_nothing(void **state)
{
    struct world *w = *state;
    dlock *lock = make(w->factory, "job");
    faults_set_bool(&w->faults, &w->faults.hang[DLOCK_EXTEND], true);
    acquire(lock, OPTIONS(.ttl_ms = 3000, .renew = true));
    wait_for(faults_get(&w->faults, &w->faults.hanging) == 1);
    assert_int_equal(dlock_release(lock, NULL), DLOCK_OK);
    assert_true(is_free(w->other, "job"));
    acquire(lock, OPTIONS(.ttl_ms = 60000)); /* the old renewal is still out */
    faults_set_bool(&w->faults, &w->faults.hang[DLOCK_EXTEND], false);
    wait_for(faults_get(&w->faults, &w->faults.hanging) == 0);
    assert_true(dlock_is_held(lock));
    assert_int_equal(dlock_release(lock, NULL), DLOCK_OK);
    assert_true(is_free(w->other, "job"));
    assert_true(no_event(w->factory));
    dlock_free(lock);
}

static void test_renewal_goes_on_while_an_acquire_hangs(void **state)
{
    struct world *w = *state;
    dlock *lock = make(w->factory, "job"), *other = make(w->factory, "other");
    acquire(lock, OPTIONS(.ttl_ms = 3000, .renew = true));
    faults_set_bool(&w->faults, &w->faults.hang[DLOCK_ACQUIRE], true);
    assert_int_equal(dlock_acquire_start(other, NULL, NULL, NULL), DLOCK_OK);
    wait_for(faults_get(&w->faults, &w->faults.hanging) == 1);
    wait_for(faults_get(&w->faults, &w->faults.seen[DLOCK_EXTEND]) >= 1);
    assert_int_equal(faults_get(&w->faults, &w->faults.hanging), 1);
    faults_set_bool(&w->faults, &w->faults.hang[DLOCK_ACQUIRE], false);
    dlock_free(lock);
    dlock_free(other);
}

static void test_loss_is_not_told_after_the_release(void **state)
{
    struct world *w = *state;
    dlock *lock = make(w->factory, "job");
    assert_int_equal(dlock_acquire_start(lock, &OPTIONS(.ttl_ms = 500), NULL, NULL), DLOCK_OK);
    assert_int_equal(next_event(w->factory).type, DLOCK_EVENT_ACQUIRED);
    struct pollfd fd = {.fd = dlock_factory_fd(w->factory), .events = POLLIN};
    assert_int_equal(poll(&fd, 1, 30000), 1); /* LOST is there, and nobody takes it */
    assert_int_equal(dlock_release(lock, NULL), DLOCK_LOST);
    assert_true(no_event(w->factory));
    dlock_free(lock);
}

static void test_free_during_a_renewal(void **state)
{
    struct world *w = *state;
    dlock *lock = make(w->factory, "job");
    faults_set_bool(&w->faults, &w->faults.hang[DLOCK_EXTEND], true);
    acquire(lock, OPTIONS(.ttl_ms = 3000, .renew = true));
    wait_for(faults_get(&w->faults, &w->faults.hanging) == 1);
    dlock_free(lock);
    assert_true(is_free(w->other, "job"));
    faults_set_bool(&w->faults, &w->faults.hang[DLOCK_EXTEND], false);
    wait_for(faults_get(&w->faults, &w->faults.hanging) == 0);
}

static void *extend_in_thread(void *lock)
{
    return (void *)(intptr_t)dlock_extend(lock, 50000, NULL);
}

static void test_extend_waits_for_the_renewal_that_is_out(void **state)
{
    struct world *w = *state;
    dlock *lock = make(w->factory, "job");
    faults_set_bool(&w->faults, &w->faults.hang[DLOCK_EXTEND], true);
    acquire(lock, OPTIONS(.ttl_ms = 6000, .renew = true));
    wait_for(faults_get(&w->faults, &w->faults.hanging) == 1);
    pthread_t thread;
    start(&thread, extend_in_thread, lock);
    bool running = false;
    wait_for((core_lock(w->factory), running = lock->call != NULL, core_unlock(w->factory), running));
    assert_int_equal(faults_get(&w->faults, &w->faults.seen[DLOCK_EXTEND]), 1);
    faults_set_bool(&w->faults, &w->faults.hang[DLOCK_EXTEND], false);
    join_ok(&thread, 1);
    assert_in_range(dlock_remaining_ms(lock), 6001, 50000);
    dlock_info info;
    assert_int_equal(dlock_inspect(w->other, "job", &info, NULL), DLOCK_OK);
    assert_int_equal(info.ttl_ms, 50000);
    dlock_free(lock);
}

static void test_extend(void **state)
{
    struct world *w = *state;
    dlock *lock = make(w->factory, "job");
    acquire(lock, OPTIONS(.ttl_ms = 5000));
    assert_int_equal(dlock_extend(lock, 60000, NULL), DLOCK_OK);
    assert_in_range(dlock_remaining_ms(lock), 5001, 60000);
    assert_int_equal(dlock_extend(lock, 5, NULL), DLOCK_INVALID);
    faults_set(&w->faults, &w->faults.lose_reply[DLOCK_EXTEND], 1);
    assert_int_equal(dlock_extend(lock, 2000, NULL), DLOCK_UNAVAILABLE);
    assert_in_range(dlock_remaining_ms(lock), 0, 2000);
    assert_int_equal(dlock_break(w->other, "job", NULL, NULL), DLOCK_OK);
    assert_int_equal(dlock_extend(lock, 0, NULL), DLOCK_LOST);
    assert_int_equal(dlock_release(lock, NULL), DLOCK_LOST);
    assert_true(no_event(w->factory)); /* it was neither renewed nor asynchronous */
    dlock_free(lock);
}

/* ---- holds that move ---- */

static void test_adopt_and_detach(void **state)
{
    struct world *w = *state;
    dlock *lock = make(w->factory, "job"), *heir = make(w->other, "job");
    acquire(lock, OPTIONS(.ttl_ms = 60000));
    char owner[DLOCK_OWNER_SIZE];
    strcpy(owner, dlock_owner(lock));
    assert_int_equal(dlock_detach(lock, NULL), DLOCK_OK);
    assert_false(dlock_is_held(lock));
    dlock_free(lock);
    assert_false(is_free(w->other, "job"));

    assert_int_equal(dlock_adopt(heir, "", NULL), DLOCK_INVALID);
    assert_int_equal(dlock_adopt(heir, owner, NULL), DLOCK_OK);
    assert_int_equal(dlock_remaining_ms(heir), 0);
    assert_int_equal(dlock_extend(heir, 20000, NULL), DLOCK_OK);
    assert_in_range(dlock_remaining_ms(heir), 1, 20000);
    assert_int_equal(dlock_release(heir, NULL), DLOCK_OK);
    assert_true(is_free(w->other, "job"));
    assert_int_equal(dlock_adopt(heir, owner, NULL), DLOCK_OK);
    assert_int_equal(dlock_release(heir, NULL), DLOCK_LOST);
    dlock_free(heir);
}

/* ---- asynchronous ---- */

/* Sets how long those that hang are waited for. */
static void be_patient(dlock_factory *factory, int64_t patience_us)
{
    core_lock(factory);
    factory->exchange.patience_us = patience_us;
    factory->errands.patience_us = patience_us;
    factory->watcher.patience_us = patience_us;
    core_unlock(factory);
}

static void test_asynchronous_life(void **state)
{
    enum { N = 100 };
    struct world *w = *state;
    dlock *locks[N];
    make_many(w->factory, "job", locks, N);
    for (intptr_t i = 0; i < N; i++) {
        assert_int_equal(dlock_acquire_start(locks[i], NULL, (void *)i, NULL), DLOCK_OK);
        assert_int_equal(dlock_acquire(locks[i], NULL, NULL), DLOCK_INVALID);
    }
    static const dlock_event_type types[] = {DLOCK_EVENT_ACQUIRED, DLOCK_EVENT_EXTENDED, DLOCK_EVENT_RELEASED};
    for (int round = 0; round < 3; round++) {
        bool seen[N] = {false};
        for (int i = 0; i < N; i++) {
            const dlock_event event = next_event(w->factory);
            assert_int_equal(event.type, types[round]);
            const intptr_t tag = (intptr_t)event.tag;
            assert_in_range(tag, 0, N - 1);
            assert_false(seen[tag]);
            seen[tag] = true;
            assert_ptr_equal(event.lock, locks[tag]);
            assert_int_equal(event.error.status, DLOCK_OK);
        }
        for (intptr_t i = 0; i < N && round == 0; i++)
            assert_int_equal(dlock_extend_start(locks[i], 20000, (void *)i, NULL), DLOCK_OK);
        for (intptr_t i = 0; i < N && round == 1; i++)
            assert_int_equal(dlock_release_start(locks[i], (void *)i, NULL), DLOCK_OK);
    }
    assert_true(no_event(w->factory));
    for (int i = 0; i < N; i++) {
        assert_true(is_free(w->other, dlock_key(locks[i])));
        dlock_free(locks[i]);
    }
}

static size_t waiting_errands(dlock_factory *factory)
{
    core_lock(factory);
    const size_t count = factory->errands.jobs.count;
    core_unlock(factory);
    return count;
}

/* While something hangs, the descriptor is readable without an event. */
static void expect_acquired(dlock_factory *factory, int count)
{
    for (int i = 0; i < count; i++) {
        dlock_event event;
        wait_for(dlock_factory_events(factory, &event, 1) == 1);
        assert_int_equal(event.type, DLOCK_EVENT_ACQUIRED);
        assert_int_equal(event.error.status, DLOCK_OK);
    }
}

static void test_few_asynchronous_calls_do_not_travel_beside_many(void **state)
{
    enum { N = 16 };
    struct world *w = *state;
    struct faults *faults = &w->faults;
    dlock_factory *factory;
    dlock *locks[N];
    dlock_event events[2];
    int next = 0;
    faults_let_begin(faults);
    assert_int_equal(dlock_factory_new(&faults->storage, faults, NULL, &factory, NULL), DLOCK_OK);
    be_patient(factory, INT64_C(600000000));
    make_many(factory, "job", locks, N);
#define START() assert_int_equal(dlock_acquire_start(locks[next++], NULL, NULL, NULL), DLOCK_OK)
    START(); /* the thread connects for it */
    expect_acquired(factory, 1);
    faults_set_bool(faults, &faults->hang_begun, true);
    START();
    START(); /* and for this, since the other connection is out */
    expect_acquired(factory, 1);
    faults_set(faults, &faults->answer_begun, 1);
    expect_acquired(factory, 1);

    /* Two are out, one each; three wait, and set out when those are back. */
    for (int i = 0; i < 5; i++)
        START();
    assert_int_equal(waiting_errands(factory), 3);
    faults_set(faults, &faults->answer_begun, 2);
    assert_int_equal(dlock_factory_events(factory, events, 2), 2);
    assert_int_equal(waiting_errands(factory), 0);
    START();
    START();
    assert_int_equal(waiting_errands(factory), 2);
    START(); /* now they are as many */
    assert_int_equal(waiting_errands(factory), 0);
    faults_set(faults, &faults->answer_begun, 2);
    expect_acquired(factory, 6);

    /* They do not wait for ever for those that hang. */
    for (int i = 0; i < 4; i++)
        START();
    be_patient(factory, 100000);
    faults_set(faults, &faults->answer_begun, 2);
    assert_int_equal(dlock_factory_events(factory, events, 2), 2);
    START();
    wait_for(waiting_errands(factory) == 0);
    faults_set_bool(faults, &faults->hang_begun, false);
    expect_acquired(factory, 3);
    assert_int_equal(next, N);
    for (int i = 0; i < N; i++)
        dlock_free(locks[i]);
    dlock_factory_close(factory);
#undef START
}

static void test_asynchronous_failures(void **state)
{
    struct world *w = *state;
    dlock *holder = make(w->other, "job"), *lock = make(w->factory, "job");
    acquire(holder, OPTIONS(.ttl_ms = 60000));
    assert_int_equal(dlock_acquire_start(lock, &OPTIONS(.retries = 2, .interval_ms = 5), lock, NULL), DLOCK_OK);
    dlock_event event = next_event(w->factory);
    assert_int_equal(event.type, DLOCK_EVENT_FAILED);
    assert_int_equal(event.error.status, DLOCK_BUSY);
    assert_string_equal(event.error.holder.owner, dlock_owner(holder));
    assert_ptr_equal(event.tag, lock);
    assert_int_equal(dlock_release_start(lock, NULL, NULL), DLOCK_INVALID);

    assert_int_equal(dlock_acquire_start(lock, &OPTIONS(.wait_ms = DLOCK_WAIT_FOREVER), NULL, NULL), DLOCK_OK);
    wait_for(faults_get(&w->faults, &w->faults.seen[DLOCK_ACQUIRE]) >= 3);
    dlock_cancel(lock);
    event = next_event(w->factory);
    assert_int_equal(event.type, DLOCK_EVENT_FAILED);
    assert_int_equal(event.error.status, DLOCK_CANCELLED);
    assert_int_equal(dlock_release(holder, NULL), DLOCK_OK);
    acquire(lock, OPTIONS(0));
    dlock_free(lock);
    dlock_free(holder);
}

static void test_asynchronous_lock_that_is_not_renewed_reports_its_end(void **state)
{
    struct world *w = *state;
    dlock *lock = make(w->factory, "job");
    assert_int_equal(dlock_acquire_start(lock, &OPTIONS(.ttl_ms = 500), NULL, NULL), DLOCK_OK);
    assert_int_equal(next_event(w->factory).type, DLOCK_EVENT_ACQUIRED);
    assert_int_equal(next_event(w->factory).type, DLOCK_EVENT_LOST);
    assert_int_equal(dlock_release(lock, NULL), DLOCK_LOST);
    assert_true(no_event(w->factory));
    dlock_free(lock);
}

static void test_free_during_asynchronous_calls(void **state)
{
    struct world *w = *state;
    faults_set_bool(&w->faults, &w->faults.hang[DLOCK_ACQUIRE], true);
    dlock *asking = make(w->factory, "asking");
    assert_int_equal(dlock_acquire_start(asking, NULL, NULL, NULL), DLOCK_OK);
    wait_for(faults_get(&w->faults, &w->faults.hanging) == 1);
    dlock_free(asking);
    faults_set_bool(&w->faults, &w->faults.hang[DLOCK_ACQUIRE], false);
    wait_for(faults_get(&w->faults, &w->faults.seen[DLOCK_RELEASE]) == 1);

    dlock *held = make(w->factory, "held");
    assert_int_equal(dlock_acquire_start(held, NULL, NULL, NULL), DLOCK_OK);
    assert_int_equal(next_event(w->factory).type, DLOCK_EVENT_ACQUIRED);
    faults_set_bool(&w->faults, &w->faults.hang[DLOCK_EXTEND], true);
    assert_int_equal(dlock_extend_start(held, 0, NULL, NULL), DLOCK_OK);
    dlock_free(held);
    faults_set_bool(&w->faults, &w->faults.hang[DLOCK_EXTEND], false);
    wait_for(is_free(w->other, "held"));

    dlock *ended = make(w->factory, "ended");
    assert_int_equal(dlock_acquire_start(ended, NULL, NULL, NULL), DLOCK_OK);
    struct pollfd fd = {.fd = dlock_factory_fd(w->factory), .events = POLLIN};
    assert_int_equal(poll(&fd, 1, 30000), 1);
    dlock_free(ended);
    assert_true(is_free(w->other, "ended"));
    assert_true(is_free(w->other, "asking"));
    assert_true(no_event(w->factory));
}

static void test_a_freed_lock_reports_no_loss(void **state)
{
    struct world *w = *state;
    dlock *lock = make(w->factory, "job");
    assert_int_equal(dlock_acquire_start(lock, NULL, NULL, NULL), DLOCK_OK);
    assert_int_equal(next_event(w->factory).type, DLOCK_EVENT_ACQUIRED);
    faults_set_bool(&w->faults, &w->faults.hang[DLOCK_EXTEND], true);
    assert_int_equal(dlock_extend_start(lock, 0, NULL, NULL), DLOCK_OK);
    wait_for(faults_get(&w->faults, &w->faults.hanging) == 1);
    assert_int_equal(dlock_break(w->other, "job", NULL, NULL), DLOCK_OK);
    dlock_free(lock);
    faults_set_bool(&w->faults, &w->faults.hang[DLOCK_EXTEND], false);
    bool gone = false;
    wait_for((core_lock(w->factory), gone = w->factory->locks == NULL, core_unlock(w->factory), gone));
    assert_true(no_event(w->factory));
}

/* An extend that waits for a renewal which hangs. */
static dlock *with_a_waiting_extend(struct world *w)
{
    dlock *lock = make(w->factory, "job");
    faults_set_bool(&w->faults, &w->faults.hang[DLOCK_EXTEND], true);
    acquire(lock, OPTIONS(.ttl_ms = 6000, .renew = true));
    wait_for(faults_get(&w->faults, &w->faults.hanging) == 1);
    assert_int_equal(dlock_extend_start(lock, 0, NULL, NULL), DLOCK_OK);
    return lock;
}

static void test_free_while_an_extend_waits_for_a_renewal(void **state)
{
    struct world *w = *state;
    dlock_free(with_a_waiting_extend(w));
    wait_for(is_free(w->other, "job")); /* while the renewal still hangs */
    faults_set_bool(&w->faults, &w->faults.hang[DLOCK_EXTEND], false);
    assert_true(no_event(w->factory));
}

static void *close_in_thread(void *factory)
{
    dlock_factory_close(factory);
    return NULL;
}

static void test_close_while_an_extend_waits_for_a_renewal(void **state)
{
    struct world *w = *state;
    dlock *lock = with_a_waiting_extend(w);
    pthread_t thread;
    start(&thread, close_in_thread, w->factory);
    bool closed = false;
    wait_for((core_lock(w->factory), closed = w->factory->closed && !lock->call, core_unlock(w->factory), closed));
    faults_set_bool(&w->faults, &w->faults.hang[DLOCK_EXTEND], false);
    pthread_join(thread, NULL);
    w->factory = NULL;
    assert_true(is_free(w->other, "job"));
    dlock_free(lock); /* and nothing leaks */
}

/* ---- waiting ---- */

struct waiter {
    pthread_t thread;
    dlock *lock;
    int *next_place, place;
};

static void *wait_in_line(void *arg)
{
    struct waiter *waiter = arg;
    acquire(waiter->lock, OPTIONS(.ttl_ms = 60000, .wait_ms = 60000));
    waiter->place = __atomic_fetch_add(waiter->next_place, 1, __ATOMIC_SEQ_CST);
    dlock_free(waiter->lock);
    return NULL;
}

static void start_waiter(struct waiter *ret, dlock_factory *factory, const char *key, int *next_place)
{
    ret->lock = make(factory, key);
    ret->next_place = next_place;
    start(&ret->thread, wait_in_line, ret);
}

static void hand_over(dlock *holder, struct waiter *waiter)
{
    assert_int_equal(dlock_release(holder, NULL), DLOCK_OK);
    pthread_join(waiter->thread, NULL);
}

static int waiting_for(dlock_factory *factory, const char *key)
{
    int count = 0;
    core_lock(factory);
    for (const struct place *place = line_first(&factory->lines, key); place; place = place->behind)
        count++;
    core_unlock(factory);
    return count;
}

static void test_waiters_of_one_process_are_served_in_order(void **state)
{
    enum { N = 8 };
    struct world *w = *state;
    dlock *holder = make(w->other, "job");
    acquire(holder, OPTIONS(.ttl_ms = 60000));
    struct waiter waiters[N];
    int next_place = 0;
    for (int i = 0; i < N; i++) {
        start_waiter(&waiters[i], w->factory, "job", &next_place);
        wait_for(waiting_for(w->factory, "job") == i + 1);
    }
    /* Only the first asks: once at first, once when it is watched, and then as seldom as the interval says. */
    const int64_t begin = dlock_clock_us();
    wait_for(dlock_clock_us() > begin + 300000);
    const int most = 2 + (int)((dlock_clock_us() - begin) / 400000) + 2;
    assert_in_range(faults_get(&w->faults, &w->faults.seen[DLOCK_ACQUIRE]), 1, most);
    assert_int_equal(dlock_release(holder, NULL), DLOCK_OK);
    for (int i = 0; i < N; i++) {
        pthread_join(waiters[i].thread, NULL);
        assert_int_equal(waiters[i].place, i);
    }
    assert_int_equal(waiting_for(w->factory, "job"), 0);
    dlock_free(holder);
}

static void test_waiter_goes_on_when_the_ttl_of_a_dead_holder_ends(void **state)
{
    struct world *w = *state;
    dlock *holder = make(w->other, "job"), *lock = make(w->factory, "job");
    acquire(holder, OPTIONS(.ttl_ms = 400));
    assert_int_equal(dlock_detach(holder, NULL), DLOCK_OK); /* nobody will release it */
    const int64_t begin = dlock_clock_us();
    acquire(lock, OPTIONS(.wait_ms = DLOCK_WAIT_FOREVER, .interval_ms = 60000));
    assert_true(dlock_clock_us() - begin < 30000000); /* by the remaining time, not by the interval */
    dlock_free(lock);
    dlock_free(holder);
}

static bool line_is_watched(dlock_factory *factory, const char *key)
{
    core_lock(factory);
    const struct place *first = line_first(&factory->lines, key);
    const bool watched = first && first->line->watched;
    core_unlock(factory);
    return watched;
}

static void test_waiter_polls_while_nothing_can_be_watched(void **state)
{
    struct world *w = *state;
    int next_place = 0;
    dlock *holder = make(w->other, "job");
    struct waiter waiter;
    acquire(holder, OPTIONS(.ttl_ms = 60000));
    faults_set_bool(&w->faults, &w->faults.hang[DLOCK_ACQUIRE], true);
    start_waiter(&waiter, w->factory, "job", &next_place);
    wait_for(faults_get(&w->faults, &w->faults.hanging) == 1);
    faults_set(&w->faults, &w->faults.fail_open, 1000000); /* the caller's session is open, the watcher's is not */
    faults_set_bool(&w->faults, &w->faults.hang[DLOCK_ACQUIRE], false);
    wait_for(faults_get(&w->faults, &w->faults.seen[DLOCK_ACQUIRE]) >= 3);
    assert_false(line_is_watched(w->factory, "job"));

    faults_set(&w->faults, &w->faults.fail_open, 0);
    wait_for(line_is_watched(w->factory, "job")); /* it is tried again */
    hand_over(holder, &waiter);
    dlock_free(holder);
}

static void test_session_that_cannot_watch_is_asked_again(void **state)
{
    struct world *w = *state;
    int next_place = 0;
    dlock *holder = make(w->other, "job");
    struct waiter waiter;
    acquire(holder, OPTIONS(.ttl_ms = 60000));
    faults_set_bool(&w->faults, &w->faults.unwatchable, true);
    start_waiter(&waiter, w->factory, "job", &next_place);
    wait_for(faults_get(&w->faults, &w->faults.descriptors) >= 3);
    assert_int_equal(faults_get(&w->faults, &w->faults.opened), 2); /* the caller's and the watcher's */
    assert_false(line_is_watched(w->factory, "job"));
    faults_set_bool(&w->faults, &w->faults.unwatchable, false);
    wait_for(line_is_watched(w->factory, "job"));
    hand_over(holder, &waiter);
    dlock_free(holder);
}

/* ---- a waiter that is alone reads its hints itself ---- */

static void *acquire_forever(void *lock)
{
    return (void *)(intptr_t)dlock_acquire(lock, &OPTIONS(.wait_ms = DLOCK_WAIT_FOREVER), NULL);
}

/* Ends what acquire_forever does in the thread. */
static void cancel(dlock *lock, pthread_t thread)
{
    void *status;
    dlock_cancel(lock);
    pthread_join(thread, &status);
    assert_int_equal((intptr_t)status, DLOCK_CANCELLED);
}

static bool reads_alone(dlock *lock)
{
    struct dlock_factory *core = lock->factory;
    core_lock(core);
    const bool reads = lock->call && core->watcher.lent == &lock->call->place && core->watcher.asleep;
    core_unlock(core);
    return reads;
}

/* Somebody else holds the key; it waits, told of releases and nearly by nothing else. */
static void wait_alone(struct world *w, struct waiter *ret, dlock **ret_holder, int *next_place)
{
    *ret_holder = make(w->other, "job");
    acquire(*ret_holder, OPTIONS(.ttl_ms = 600000));
    start_waiter(ret, w->factory, "job", next_place);
    wait_for(reads_alone(ret->lock));
}

static void test_waiter_that_is_alone_reads_its_hints_itself(void **state)
{
    struct world *w = *state;
    struct waiter waiter;
    dlock *holder;
    int next_place = 0;
    wait_alone(w, &waiter, &holder, &next_place);
    faults_set(&w->faults, &w->faults.reads, 0);
    hand_over(holder, &waiter);
    assert_in_range(faults_get(&w->faults, &w->faults.reads), 1, INT_MAX);
    assert_true(pthread_equal(w->faults.first_reader, waiter.thread));
    wait_for(waiting_for(w->factory, "job") == 0);
    dlock_free(holder);
}

static void test_waiter_that_reads_is_cancelled(void **state)
{
    struct world *w = *state;
    dlock *holder = make(w->other, "job"), *lock = make(w->factory, "job");
    acquire(holder, OPTIONS(.ttl_ms = 600000));
    pthread_t thread;
    start(&thread, acquire_forever, lock);
    wait_for(reads_alone(lock));
    cancel(lock, thread);
    dlock_free(lock);
    dlock_free(holder);
}

static void test_waiter_that_reads_stops_when_its_time_is_over(void **state)
{
    struct world *w = *state;
    dlock *holder = make(w->other, "job"), *lock = make(w->factory, "job");
    acquire(holder, OPTIONS(.ttl_ms = 600000));
    assert_int_equal(dlock_acquire(lock, &OPTIONS(.wait_ms = 300), NULL), DLOCK_BUSY);
    dlock_free(lock);
    dlock_free(holder);
}

static void test_waiter_is_no_longer_alone(void **state)
{
    struct world *w = *state;
    struct waiter waiter, second;
    dlock *holder, *other;
    int next_place = 0;
    wait_alone(w, &waiter, &holder, &next_place);
    other = make(w->other, "other");
    acquire(other, OPTIONS(.ttl_ms = 600000));
    start_waiter(&second, w->factory, "other", &next_place);
    wait_for(line_is_watched(w->factory, "other"));
    assert_false(reads_alone(waiter.lock));

    hand_over(other, &second);
    wait_for(reads_alone(waiter.lock)); /* it is alone again */
    hand_over(holder, &waiter);
    dlock_free(other);
    dlock_free(holder);
}

static void test_next_in_line_is_alone(void **state)
{
    struct world *w = *state;
    struct waiter second;
    int next_place = 0;
    dlock *holder = make(w->other, "job"), *lock = make(w->factory, "job");
    acquire(holder, OPTIONS(.ttl_ms = 600000));
    pthread_t thread;
    start(&thread, acquire_forever, lock);
    wait_for(reads_alone(lock));
    start_waiter(&second, w->factory, "job", &next_place);
    wait_for(waiting_for(w->factory, "job") == 2);
    cancel(lock, thread);
    wait_for(reads_alone(second.lock));
    hand_over(holder, &second);
    dlock_free(lock);
    dlock_free(holder);
}

/* The thread is to watch another key, and has to wait until somebody has read. */
static void let_another_wait_while_reading_hangs(struct world *w, struct waiter *ret, int *next_place)
{
    start_waiter(ret, w->factory, "other", next_place);
    bool wanted = false;
    wait_for((core_lock(w->factory), wanted = w->factory->watcher.queue != NULL, core_unlock(w->factory), wanted));
    const int64_t begin = dlock_clock_us();
    wait_for(dlock_clock_us() > begin + 100000); /* in which a thread that does not wait would go ahead */
    faults_set_bool(&w->faults, &w->faults.hang_read, false);
}

static void test_thread_waits_for_the_waiter_that_reads(void **state)
{
    struct world *w = *state;
    struct waiter waiter, second;
    dlock *holder, *other = make(w->other, "other");
    int next_place = 0;
    acquire(other, OPTIONS(.ttl_ms = 600000));
    wait_alone(w, &waiter, &holder, &next_place);
    faults_set_bool(&w->faults, &w->faults.hang_read, true);
    assert_int_equal(dlock_release(holder, NULL), DLOCK_OK);
    wait_for(faults_get(&w->faults, &w->faults.hanging) == 1);
    let_another_wait_while_reading_hangs(w, &second, &next_place);
    pthread_join(waiter.thread, NULL);
    wait_for(line_is_watched(w->factory, "other"));
    assert_int_equal(faults_get(&w->faults, &w->faults.used_by_two), 0);
    hand_over(other, &second);
    dlock_free(other);
    dlock_free(holder);
}

static void test_connection_breaks_while_a_waiter_reads(void **state)
{
    struct world *w = *state;
    struct waiter waiter;
    dlock *holder, *again = make(w->other, "job");
    int next_place = 0;
    wait_alone(w, &waiter, &holder, &next_place);
    const int opened = faults_get(&w->faults, &w->faults.opened);
    faults_set_bool(&w->faults, &w->faults.hang[DLOCK_ACQUIRE], true);
    faults_set(&w->faults, &w->faults.fail_read, 1);
    assert_int_equal(dlock_release(holder, NULL), DLOCK_OK);
    acquire(again, OPTIONS(.ttl_ms = 600000)); /* before the waiter */
    faults_set_bool(&w->faults, &w->faults.hang[DLOCK_ACQUIRE], false);
    wait_for(faults_get(&w->faults, &w->faults.opened) > opened); /* by the thread, since the hint did not arrive */
    wait_for(reads_alone(waiter.lock));
    hand_over(again, &waiter);
    dlock_free(again);
    dlock_free(holder);
}

static bool is_shared(dlock_factory *core)
{
    core_lock(core);
    const bool shared = core->watcher.shared && core->watcher.asleep;
    core_unlock(core);
    return shared;
}

/* Somebody else holds the key; an asynchronous call waits for it, whose hints come to those who look for events. */
static dlock *wait_for_events(struct world *w, dlock **ret_holder)
{
    dlock *lock = make(w->factory, "job");
    *ret_holder = make(w->other, "job");
    acquire(*ret_holder, OPTIONS(.ttl_ms = 600000));
    assert_true(dlock_factory_fd(w->factory) >= 0);
    assert_int_equal(dlock_acquire_start(lock, &OPTIONS(.wait_ms = DLOCK_WAIT_FOREVER), NULL, NULL), DLOCK_OK);
    wait_for(is_shared(w->factory));
    return lock;
}

/* ---- a key that somebody waited for stays watched for a while ---- */

static bool is_kept(dlock_factory *core)
{
    core_lock(core);
    const bool kept = core->watcher.kept != NULL;
    core_unlock(core);
    return kept;
}

/* Somebody has waited alone, and got the lock; by then it has freed it. */
static dlock *wait_and_keep(struct world *w, int64_t keep_us, int *next_place)
{
    struct waiter waiter;
    dlock *holder;
    core_lock(w->factory);
    w->factory->watcher.keep_us = keep_us;
    core_unlock(w->factory);
    wait_alone(w, &waiter, &holder, next_place);
    hand_over(holder, &waiter);
    wait_for(is_free(w->other, "job")); /* that comes behind its end */
    return holder;
}

static void test_waiter_that_comes_back_needs_no_thread(void **state)
{
    struct world *w = *state;
    struct waiter waiter;
    int next_place = 0;
    dlock *holder = wait_and_keep(w, INT64_C(600000000), &next_place), *lock = make(w->factory, "job");
    acquire(lock, OPTIONS(.wait_ms = 60000)); /* who need not wait changes nothing */
    assert_int_equal(dlock_release(lock, NULL), DLOCK_OK);
    for (int i = 0; i < 3; i++) {
        acquire(holder, OPTIONS(.ttl_ms = 600000));
        start_waiter(&waiter, w->factory, "job", &next_place);
        wait_for(reads_alone(waiter.lock));
        faults_set(&w->faults, &w->faults.reads, 0);
        hand_over(holder, &waiter);
        assert_true(pthread_equal(w->faults.first_reader, waiter.thread));
        wait_for(is_free(w->other, "job"));
    }
    assert_int_equal(faults_get(&w->faults, &w->faults.watched), 1);
    assert_int_equal(faults_get(&w->faults, &w->faults.unwatched), 0);
    assert_true(is_kept(w->factory));
    dlock_free(lock);
    dlock_free(holder);
}

static void test_key_is_not_watched_for_ever(void **state)
{
    struct world *w = *state;
    int next_place = 0;
    dlock *holder = wait_and_keep(w, 100000, &next_place);
    wait_for(faults_get(&w->faults, &w->faults.unwatched) == 1);
    assert_false(is_kept(w->factory));
    dlock_free(holder);
}

static void test_other_waiters_end_the_keeping(void **state)
{
    struct world *w = *state;
    struct waiter waiter;
    int next_place = 0;
    dlock *holder = wait_and_keep(w, INT64_C(600000000), &next_place), *other = make(w->other, "other");
    acquire(other, OPTIONS(.ttl_ms = 600000));
    start_waiter(&waiter, w->factory, "other", &next_place);
    wait_for(reads_alone(waiter.lock));
    assert_int_equal(faults_get(&w->faults, &w->faults.unwatched), 1);
    hand_over(other, &waiter);
    dlock_free(other);
    dlock_free(holder);
}

static void test_asynchronous_waiter_comes_back(void **state)
{
    struct world *w = *state;
    int next_place = 0;
    dlock_free(wait_and_keep(w, INT64_C(600000000), &next_place));
    dlock *holder, *lock = wait_for_events(w, &holder);
    assert_int_equal(faults_get(&w->faults, &w->faults.watched), 1); /* still */
    assert_int_equal(dlock_release(holder, NULL), DLOCK_OK);
    assert_int_equal(next_event(w->factory).type, DLOCK_EVENT_ACQUIRED);
    dlock_free(lock);
    dlock_free(holder);
}

/* One that was cancelled still reads when the next one comes. */
static void test_who_comes_back_does_not_read_beside_another(void **state)
{
    struct world *w = *state;
    struct waiter waiter;
    int next_place = 0;
    dlock *holder = make(w->other, "job"), *lock = make(w->factory, "job");
    acquire(holder, OPTIONS(.ttl_ms = 600000));
    pthread_t thread;
    start(&thread, acquire_forever, lock);
    wait_for(reads_alone(lock));
    faults_set_bool(&w->faults, &w->faults.hang_read, true);
    assert_int_equal(dlock_release(holder, NULL), DLOCK_OK);
    wait_for(faults_get(&w->faults, &w->faults.hanging) == 1);
    acquire(holder, OPTIONS(.ttl_ms = 600000));
    dlock_cancel(lock);
    assert_true(is_kept(w->factory));
    start_waiter(&waiter, w->factory, "job", &next_place);
    wait_for(!is_kept(w->factory)); /* the thread has to look after it */
    assert_int_equal(dlock_release(holder, NULL), DLOCK_OK);
    const int64_t begin = dlock_clock_us();
    wait_for(dlock_clock_us() > begin + 100000); /* in which it would read */
    faults_set_bool(&w->faults, &w->faults.hang_read, false);
    cancel(lock, thread);
    pthread_join(waiter.thread, NULL);
    assert_int_equal(faults_get(&w->faults, &w->faults.used_by_two), 0);
    dlock_free(lock);
    dlock_free(holder);
}

static void test_connection_breaks_while_a_key_is_kept(void **state)
{
    struct world *w = *state;
    struct waiter waiter;
    int next_place = 0;
    dlock *holder = wait_and_keep(w, INT64_C(600000000), &next_place);
    acquire(holder, OPTIONS(.ttl_ms = 600000));
    faults_set(&w->faults, &w->faults.fail_read, 1);
    const int opened = faults_get(&w->faults, &w->faults.opened);
    start_waiter(&waiter, w->factory, "job", &next_place);
    wait_for(reads_alone(waiter.lock) || faults_get(&w->faults, &w->faults.opened) > opened);
    hand_over(holder, &waiter);
    dlock_free(holder);
}

static void test_who_looks_for_events_reads_hints(void **state)
{
    struct world *w = *state;
    dlock *holder, *lock = wait_for_events(w, &holder);
    be_patient(w->factory, INT64_C(600000000));
    faults_set(&w->faults, &w->faults.reads, 0);
    assert_int_equal(dlock_release(holder, NULL), DLOCK_OK);
    assert_int_equal(next_event(w->factory).type, DLOCK_EVENT_ACQUIRED);
    assert_true(pthread_equal(w->faults.first_reader, pthread_self()));
    assert_int_equal(dlock_release(lock, NULL), DLOCK_OK);
    dlock_free(lock);
    dlock_free(holder);
}

static void test_hints_are_read_though_nobody_looks_for_events(void **state)
{
    struct world *w = *state;
    dlock *holder, *lock = wait_for_events(w, &holder);
    be_patient(w->factory, 1000);
    assert_int_equal(dlock_release(holder, NULL), DLOCK_OK);
    wait_for(!is_free(w->other, "job"));
    assert_int_equal(next_event(w->factory).type, DLOCK_EVENT_ACQUIRED);
    dlock_free(lock);
    dlock_free(holder);
}

static void test_connection_breaks_before_who_looks_for_events(void **state)
{
    struct world *w = *state;
    dlock *holder, *lock = wait_for_events(w, &holder), *again = make(w->other, "job");
    be_patient(w->factory, INT64_C(600000000));
    const int opened = faults_get(&w->faults, &w->faults.opened);
    faults_set_bool(&w->faults, &w->faults.hang[DLOCK_ACQUIRE], true);
    faults_set(&w->faults, &w->faults.fail_read, 1);
    assert_int_equal(dlock_release(holder, NULL), DLOCK_OK);
    acquire(again, OPTIONS(.ttl_ms = 600000)); /* before the one who waits */
    dlock_event event;
    wait_for(dlock_factory_events(w->factory, &event, 1) == 0 && faults_get(&w->faults, &w->faults.opened) > opened);
    faults_set_bool(&w->faults, &w->faults.hang[DLOCK_ACQUIRE], false);
    wait_for(is_shared(w->factory));
    assert_int_equal(dlock_release(again, NULL), DLOCK_OK);
    assert_int_equal(next_event(w->factory).type, DLOCK_EVENT_ACQUIRED);
    dlock_free(lock);
    dlock_free(again);
    dlock_free(holder);
}

static void *take_an_event(void *factory)
{
    assert_int_equal(next_event(factory).type, DLOCK_EVENT_ACQUIRED);
    return NULL;
}

static void test_thread_waits_for_who_looks_for_events(void **state)
{
    struct world *w = *state;
    struct waiter second;
    dlock *holder, *lock = wait_for_events(w, &holder), *other = make(w->other, "other");
    int next_place = 0;
    acquire(other, OPTIONS(.ttl_ms = 600000));
    be_patient(w->factory, INT64_C(600000000));
    faults_set_bool(&w->faults, &w->faults.hang_read, true);
    pthread_t reader;
    start(&reader, take_an_event, w->factory);
    assert_int_equal(dlock_release(holder, NULL), DLOCK_OK);
    wait_for(faults_get(&w->faults, &w->faults.hanging) == 1);
    let_another_wait_while_reading_hangs(w, &second, &next_place);
    pthread_join(reader, NULL);
    wait_for(line_is_watched(w->factory, "other"));
    assert_int_equal(faults_get(&w->faults, &w->faults.used_by_two), 0);
    hand_over(other, &second);
    dlock_free(lock);
    dlock_free(other);
    dlock_free(holder);
}

static void test_unavailable_while_waiting_is_retried(void **state)
{
    struct world *w = *state;
    dlock *lock = make(w->factory, "job");
    faults_set(&w->faults, &w->faults.lose_request[DLOCK_ACQUIRE], 3);
    acquire(lock, OPTIONS(.wait_ms = 60000, .interval_ms = 20));
    assert_int_equal(w->faults.seen[DLOCK_ACQUIRE], 4);
    dlock_free(lock);
}

static void test_cancel_from_another_thread(void **state)
{
    struct world *w = *state;
    dlock *holder = make(w->other, "job"), *lock = make(w->factory, "job");
    acquire(holder, OPTIONS(.ttl_ms = 60000));
    pthread_t thread;
    start(&thread, acquire_forever, lock);
    wait_for(waiting_for(w->factory, "job") == 1);
    cancel(lock, thread);
    assert_int_equal(waiting_for(w->factory, "job"), 0);
    dlock_free(lock);
    dlock_free(holder);
}

static void test_next_in_line_asks_when_the_first_gives_up(void **state)
{
    struct world *w = *state;
    int next_place = 0;
    dlock *holder = make(w->other, "job"), *first = make(w->factory, "job");
    struct waiter second;
    acquire(holder, OPTIONS(.ttl_ms = 1500));
    assert_int_equal(dlock_detach(holder, NULL), DLOCK_OK); /* no release will wake anybody */
    assert_int_equal(
        dlock_acquire_start(first, &OPTIONS(.wait_ms = DLOCK_WAIT_FOREVER, .interval_ms = 60000), NULL, NULL),
        DLOCK_OK);
    /* It has asked again when the watch began: no hint will come from that to the second one. */
    wait_for(faults_get(&w->faults, &w->faults.seen[DLOCK_ACQUIRE]) == 2);
    start_waiter(&second, w->factory, "job", &next_place);
    wait_for(waiting_for(w->factory, "job") == 2);
    dlock_cancel(first);
    assert_int_equal(next_event(w->factory).error.status, DLOCK_CANCELLED);
    wait_for(__atomic_load_n(&next_place, __ATOMIC_SEQ_CST) == 1); /* it knows when the ttl ends */
    pthread_join(second.thread, NULL);
    dlock_free(first);
    dlock_free(holder);
}

/* ---- the exchange ---- */

static void *inspect_in_thread(void *factory)
{
    dlock_info info;
    return (void *)(intptr_t)dlock_inspect(factory, "job", &info, NULL);
}

static int queued(dlock_factory *factory)
{
    core_lock(factory);
    int count = 0;
    for (const struct ticket *ticket = factory->exchange.first; ticket; ticket = ticket->next)
        count++;
    core_unlock(factory);
    return count;
}

/* Whom nobody wakes sleeps until the test is over. */
static dlock_factory *patient_factory(struct faults *faults)
{
    const dlock_factory_options options = {.size = sizeof options, .timeout_ms = 600000};
    dlock_factory *factory;
    assert_int_equal(dlock_factory_new(&faults->storage, faults, &options, &factory, NULL), DLOCK_OK);
    return factory;
}

static void test_requests_that_meet_travel_as_one_batch(void **state)
{
    enum { N = 6 };
    struct world *w = *state;
    dlock_factory *patient = patient_factory(&w->faults);
    pthread_t threads[N];
    faults_set_bool(&w->faults, &w->faults.hang[DLOCK_INSPECT], true);
    for (int i = 0; i < N; i++) {
        start(&threads[i], inspect_in_thread, patient);
        wait_for(i == 0 ? faults_get(&w->faults, &w->faults.hanging) == 1 : queued(patient) == i);
    }
    faults_set_bool(&w->faults, &w->faults.hang[DLOCK_INSPECT], false);
    join_ok(threads, N);
    assert_int_equal(w->faults.batches, 2);
    assert_int_equal(w->faults.batch_max, N - 1);
    dlock_factory_close(patient);
}

static void test_callers_share_four_connections_and_no_more(void **state)
{
    enum { N = 7 };
    struct world *w = *state;
    dlock_factory *factory;
    w->faults.storage.max_sessions = 100;
    assert_int_equal(dlock_factory_new(&w->faults.storage, &w->faults, NULL, &factory, NULL), DLOCK_OK);
    faults_set_bool(&w->faults, &w->faults.hang[DLOCK_INSPECT], true);
    pthread_t threads[N];
    for (int i = 0; i < N; i++) {
        start(&threads[i], inspect_in_thread, factory);
        wait_for(i < 4 ? faults_get(&w->faults, &w->faults.hanging) == i + 1 : queued(factory) == i - 3);
    }
    assert_int_equal(faults_get(&w->faults, &w->faults.hanging), 4);
    faults_set_bool(&w->faults, &w->faults.hang[DLOCK_INSPECT], false);
    for (int i = 0; i < N; i++)
        pthread_join(threads[i], NULL);
    assert_in_range(w->faults.batches, 5, N); /* who comes free first carries what waits then */
    dlock_factory_close(factory);
}

static void *break_in_thread(void *factory)
{
    return (void *)(intptr_t)dlock_break(factory, "job", NULL, NULL);
}

static bool ignore(void *arg, const char *key, const dlock_info *info)
{
    (void)arg, (void)key, (void)info;
    return true;
}

static void test_few_threads_do_not_travel_beside_many(void **state)
{
    enum { N = 3 };
    struct world *w = *state;
    struct faults *faults = &w->faults;
    dlock *locks[N];
    dlock *broken = make(w->other, "job");
    pthread_t first, second, many[N], few[N];
    acquire(broken, OPTIONS(0));
    faults->storage.max_sessions = 2;
    dlock_factory *factory = patient_factory(faults);
    be_patient(factory, INT64_C(600000000));
    faults_set_bool(faults, &faults->hang[DLOCK_INSPECT], true);
    faults_set_bool(faults, &faults->hang[DLOCK_BREAK], true);
    faults_set_bool(faults, &faults->hang[DLOCK_ACQUIRE], true);
    start(&first, inspect_in_thread, factory);
    start(&second, break_in_thread, factory);
    wait_for(faults_get(faults, &faults->hanging) == 2);
    make_many(factory, "many", locks, N);
    for (int i = 0; i < N; i++)
        start(&many[i], acquire_in_thread, locks[i]);
    wait_for(queued(factory) == N);
    faults_set_bool(faults, &faults->hang[DLOCK_INSPECT], false);
    join_ok(&first, 1);
    wait_for(faults_get(faults, &faults->batch_max) == N);
    faults_set_bool(faults, &faults->hang[DLOCK_BREAK], false);
    join_ok(&second, 1);

    for (int i = 0; i < N; i++) {
        assert_int_equal(faults_get(faults, &faults->batches), 3);
        start(&few[i], inspect_in_thread, factory);
        wait_for(i == N - 1 || queued(factory) == i + 1);
    }
    join_ok(few, N); /* they had become as many */
    assert_int_equal(faults_get(faults, &faults->batches), 4);

    assert_int_equal(dlock_list(factory, NULL, ignore, NULL, NULL), DLOCK_OK); /* nor is this held back */

    be_patient(factory, 1000);
    start(few, inspect_in_thread, factory);
    join_ok(few, 1); /* it did not wait for ever */
    be_patient(factory, INT64_C(600000000));

    start(few, inspect_in_thread, factory);
    wait_for(queued(factory) == 1);
    assert_int_equal(faults_get(faults, &faults->hanging), 1);
    faults_set_bool(faults, &faults->hang[DLOCK_ACQUIRE], false);
    join_ok(many, N);
    join_ok(few, 1); /* when the others were back */
    assert_int_equal(faults_get(faults, &faults->batches), 6);
    dlock_free(broken);
    for (int i = 0; i < N; i++)
        dlock_free(locks[i]);
    dlock_factory_close(factory);
}

static void test_no_connection_free_is_unavailable(void **state)
{
    struct world *w = *state;
    dlock_factory *hasty;
    assert_int_equal(
        dlock_factory_new(&w->faults.storage, &w->faults,
                          &(dlock_factory_options){.size = sizeof(dlock_factory_options), .timeout_ms = 30}, &hasty,
                          NULL),
        DLOCK_OK);
    faults_set_bool(&w->faults, &w->faults.hang[DLOCK_INSPECT], true);
    pthread_t thread;
    start(&thread, inspect_in_thread, hasty);
    wait_for(faults_get(&w->faults, &w->faults.hanging) == 1);
    dlock_info info;
    dlock_error error;
    assert_int_equal(dlock_inspect(hasty, "job", &info, &error), DLOCK_UNAVAILABLE);
    assert_non_null(strstr(error.message, "no connection came free within 30 ms"));
    faults_set_bool(&w->faults, &w->faults.hang[DLOCK_INSPECT], false);
    pthread_join(thread, NULL);
    dlock_factory_close(hasty);
}

struct hammer {
    dlock_factory *factory;
    int *counter;
    int rounds;
};

static void *count_up(void *arg)
{
    const struct hammer *hammer = arg;
    dlock *lock = make(hammer->factory, "counter");
    for (int i = 0; i < hammer->rounds; i++) {
        acquire(lock, OPTIONS(.ttl_ms = 60000, .wait_ms = 60000));
        *hammer->counter += 1; /* the lock is what keeps this from being a race; TSan sees the mutex only within a
                                  process */
        assert_int_equal(dlock_release(lock, NULL), DLOCK_OK);
    }
    dlock_free(lock);
    return NULL;
}

static void test_threads_exclude_each_other(void **state)
{
    enum { N = 8, ROUNDS = 25 };
    struct world *w = *state;
    w->faults.storage.max_sessions = 4; /* one of several: the exchange is not what excludes */
    dlock_factory *factory;
    assert_int_equal(dlock_factory_new(&w->faults.storage, &w->faults, NULL, &factory, NULL), DLOCK_OK);
    int counter = 0;
    struct hammer hammer = {.factory = factory, .counter = &counter, .rounds = ROUNDS};
    pthread_t threads[N];
    for (int i = 0; i < N; i++)
        start(&threads[i], count_up, &hammer);
    for (int i = 0; i < N; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(counter, N * ROUNDS);
    assert_true(is_free(w->other, "counter"));
    dlock_factory_close(factory);
}

/* ---- factory ---- */

static void test_close_releases_what_is_held(void **state)
{
    struct world *w = *state;
    dlock *held = make(w->factory, "held"), *renewed = make(w->factory, "renewed"),
          *waiting = make(w->factory, "other");
    dlock *holder = make(w->other, "other");
    acquire(holder, OPTIONS(.ttl_ms = 60000));
    acquire(held, OPTIONS(.ttl_ms = 60000));
    acquire(renewed, OPTIONS(.ttl_ms = 60000, .renew = true));
    assert_int_equal(dlock_acquire_start(waiting, &OPTIONS(.wait_ms = DLOCK_WAIT_FOREVER), NULL, NULL), DLOCK_OK);
    dlock_factory_close(w->factory);
    w->factory = NULL;
    assert_true(is_free(w->other, "held"));
    assert_true(is_free(w->other, "renewed"));
    dlock_error error;
    assert_int_equal(dlock_acquire(held, NULL, &error), DLOCK_INVALID);
    assert_non_null(strstr(error.message, "closed"));
    assert_false(dlock_is_held(renewed));
    dlock_free(held);
    dlock_free(renewed);
    dlock_free(waiting);
    dlock_free(holder);
}

static void test_close_with_an_unreachable_storage_returns(void **state)
{
    struct world *w = *state;
    dlock *lock = make(w->factory, "job");
    acquire(lock, OPTIONS(.ttl_ms = 60000));
    faults_set(&w->faults, &w->faults.lose_request[DLOCK_RELEASE], 1000000);
    dlock_factory_close(w->factory);
    w->factory = NULL;
    dlock_free(lock);
    assert_false(is_free(w->other, "job"));
}

static bool collect(void *arg, const char *key, const dlock_info *info)
{
    char *text = arg;
    assert_int_not_equal(info->fence, 0);
    strcat(strcat(text, key), " ");
    return strlen(text) < 8;
}

static void test_list(void **state)
{
    struct world *w = *state;
    const char *const keys[] = {"b/2", "a/1", "b/1", "b/3"};
    dlock *locks[4];
    for (int i = 0; i < 4; i++)
        acquire(locks[i] = make(w->factory, keys[i]), OPTIONS(0));
    char text[64] = "";
    assert_int_equal(dlock_list(w->other, "b/", collect, text, NULL), DLOCK_OK);
    assert_string_equal(text, "b/1 b/2 ");
    text[0] = '\0';
    assert_int_equal(dlock_list(w->other, NULL, collect, text, NULL), DLOCK_OK);
    assert_string_equal(text, "a/1 b/1 ");
    for (int i = 0; i < 4; i++)
        dlock_free(locks[i]);
    text[0] = '\0';
    assert_int_equal(dlock_list(w->other, NULL, collect, text, NULL), DLOCK_OK);
    assert_string_equal(text, "");
}

static void test_stats_count_what_the_storage_was_asked(void **state)
{
    struct world *w = *state;
    dlock_stats stats = DLOCK_STATS_INIT;
    dlock_error error;
    dlock *lock = make(w->factory, "job");
    acquire(lock, OPTIONS(0));
    assert_false(is_free(w->factory, "job"));
    assert_int_equal(dlock_release(lock, NULL), DLOCK_OK);
    check_ok(dlock_factory_stats(w->factory, &stats, &error), &error);
    assert_int_equal(stats.requests, 3);
    assert_int_equal(stats.batches, 3);
    assert_int_equal(stats.batches, faults_get(&w->faults, &w->faults.batches));

    /* A program of an older header has less room, one of a newer header more. */
    struct {
        dlock_stats stats;
        uint64_t next;
    } other = {.stats = {.size = offsetof(dlock_stats, batches), .batches = 77}, .next = 78};
    check_ok(dlock_factory_stats(w->factory, &other.stats, &error), &error);
    assert_int_equal(other.stats.requests, 3);
    assert_int_equal(other.stats.batches, 77);
    other.stats.size = sizeof other;
    check_ok(dlock_factory_stats(w->factory, &other.stats, &error), &error);
    assert_int_equal(other.stats.batches, 3);
    assert_int_equal(other.next, 78);
    other.stats.size = 0;
    assert_int_equal(dlock_factory_stats(w->factory, &other.stats, &error), DLOCK_INVALID);
    assert_non_null(strstr(error.message, "dlock_stats.size"));
    assert_int_equal(dlock_factory_stats(NULL, &stats, NULL), DLOCK_INVALID);
    dlock_free(lock);
}

static void test_a_child_may_only_free(void **state)
{
    struct world *w = *state;
    dlock *lock = make(w->factory, "job");
    acquire(lock, OPTIONS(.ttl_ms = 60000, .renew = true));
    const pid_t child = fork();
    if (child == 0) {
        dlock_error error;
        bool right = dlock_release(lock, &error) == DLOCK_INVALID && strstr(error.message, "fork");
        right = right && dlock_extend(lock, 0, NULL) == DLOCK_INVALID && !dlock_is_held(lock);
        dlock_stats stats = DLOCK_STATS_INIT;
        right = right && dlock_factory_stats(w->factory, &stats, NULL) == DLOCK_INVALID;
        dlock *made = NULL;
        right = right && dlock_create(w->factory, "x", &made, NULL) == DLOCK_INVALID && !made;
        dlock_free(lock);
        dlock_factory_close(w->factory);
        _exit(right ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_true(dlock_is_held(lock));
    assert_false(is_free(w->other, "job"));
    assert_int_equal(dlock_release(lock, NULL), DLOCK_OK);
    dlock_free(lock);
}

static void test_null_is_harmless(void **state)
{
    (void)state;
    dlock_free(NULL);
    dlock_factory_close(NULL);
    dlock_cancel(NULL);
    assert_int_equal(dlock_acquire(NULL, NULL, NULL), DLOCK_INVALID);
    assert_int_equal(dlock_create(NULL, "k", NULL, NULL), DLOCK_INVALID);
    assert_int_equal(dlock_list(NULL, NULL, collect, NULL, NULL), DLOCK_INVALID);
    assert_int_equal(dlock_factory_fd(NULL), -1);
    assert_string_equal(dlock_key(NULL), "");
}

static void test_urls_and_factory_options(void **state)
{
    (void)state;
    dlock_factory *factory = NULL;
    dlock_error error;
    assert_int_equal(dlock_factory_open("sqlite:/x?tmeout_ms=5", NULL, &factory, &error), DLOCK_INVALID);
    assert_non_null(strstr(error.message, "tmeout_ms"));
    assert_int_equal(dlock_factory_open("sqlite:/x?timeout_ms=soon", NULL, &factory, &error), DLOCK_INVALID);
    assert_int_equal(dlock_factory_open("sqlite:/x?timeout_ms=5", NULL, &factory, &error), DLOCK_INVALID);
    assert_int_equal(dlock_factory_open("nothing://u:secret@h/", NULL, &factory, &error), DLOCK_UNSUPPORTED);
    assert_null(strstr(error.message, "secret"));
    const dlock_factory_options machine = {.size = sizeof machine, .machine = "a b"};
    assert_int_equal(dlock_factory_open("sqlite:/x", &machine, &factory, &error), DLOCK_INVALID);
    assert_null(factory);
    const dlock_factory_options named = {.size = sizeof named, .machine = "node-7", .ttl_ms = 7000};
    struct store store;
    store_init(&store);
    assert_int_equal(dlock_factory_open(store.url, &named, &factory, &error), DLOCK_OK);
    assert_string_equal(dlock_factory_where(factory), store.url);
    dlock *lock = make(factory, "job");
    acquire(lock, OPTIONS(0));
    assert_memory_equal(dlock_owner(lock), "node-7:", 7);
    assert_in_range(dlock_remaining_ms(lock), 1, 7000);
    dlock_factory_close(factory);
    dlock_free(lock);
    store_deinit(&store);
}

static void test_a_relative_path_is_of_the_folder_of_the_opening(void **state)
{
    struct world *w = *state;
    char *before = getcwd(NULL, 0);
    assert_non_null(before);
    assert_int_equal(chdir(w->store.folder), 0);
    dlock_factory *factory;
    assert_int_equal(dlock_factory_open("sqlite:locks.db", NULL, &factory, NULL), DLOCK_OK);
    assert_int_equal(chdir(before), 0); /* as a daemon does; the file is opened after it */
    free(before);
    dlock *lock = make(factory, "job");
    acquire(lock, OPTIONS(0));
    assert_false(is_free(w->other, "job"));
    dlock_free(lock);
    dlock_factory_close(factory);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_acquire_and_release),
        CASE(test_uncontended_needs_one_request_each_and_no_thread),
        CASE(test_three_attempts_and_two_pauses),
        CASE(test_wait_makes_a_last_attempt_at_its_deadline),
        CASE(test_calls_at_the_wrong_time_are_invalid),
        CASE(test_options_out_of_range_are_invalid),
        CASE(test_options_of_other_versions),
        CASE(test_lost_reply_is_resent_with_the_same_owner),
        CASE(test_giving_up_releases_what_may_be_left),
        CASE(test_release_that_overtakes_its_acquire_is_repeated),
        CASE(test_nothing_sent_leaves_nothing_to_release),
        CASE(test_release_without_answer_is_repeated),
        CASE(test_grant_that_comes_too_late_is_released),
        CASE(test_validity_counts_from_before_the_sending),
        CASE(test_renewal_keeps_the_lock_beyond_its_ttl),
        CASE(test_broken_lock_is_reported_lost_once),
        CASE(test_hanging_storage_ends_in_lost_before_validity_does),
        CASE(test_unreachable_storage_ends_in_lost_and_short_failures_do_not),
        CASE(test_release_during_a_renewal_leaves_nothing),
        CASE(test_renewal_goes_on_while_an_acquire_hangs),
        CASE(test_loss_is_not_told_after_the_release),
        CASE(test_free_during_a_renewal),
        CASE(test_extend_waits_for_the_renewal_that_is_out),
        CASE(test_extend),
        CASE(test_adopt_and_detach),
        CASE(test_asynchronous_life),
        CASE(test_few_asynchronous_calls_do_not_travel_beside_many),
        CASE(test_asynchronous_failures),
        CASE(test_asynchronous_lock_that_is_not_renewed_reports_its_end),
        CASE(test_free_during_asynchronous_calls),
        CASE(test_a_freed_lock_reports_no_loss),
        CASE(test_free_while_an_extend_waits_for_a_renewal),
        CASE(test_close_while_an_extend_waits_for_a_renewal),
        CASE(test_waiters_of_one_process_are_served_in_order),
        CASE(test_waiter_goes_on_when_the_ttl_of_a_dead_holder_ends),
        CASE(test_waiter_polls_while_nothing_can_be_watched),
        CASE(test_session_that_cannot_watch_is_asked_again),
        CASE(test_waiter_that_is_alone_reads_its_hints_itself),
        CASE(test_waiter_that_reads_is_cancelled),
        CASE(test_waiter_that_reads_stops_when_its_time_is_over),
        CASE(test_waiter_is_no_longer_alone),
        CASE(test_next_in_line_is_alone),
        CASE(test_thread_waits_for_the_waiter_that_reads),
        CASE(test_connection_breaks_while_a_waiter_reads),
        CASE(test_waiter_that_comes_back_needs_no_thread),
        CASE(test_key_is_not_watched_for_ever),
        CASE(test_other_waiters_end_the_keeping),
        CASE(test_asynchronous_waiter_comes_back),
        CASE(test_who_comes_back_does_not_read_beside_another),
        CASE(test_connection_breaks_while_a_key_is_kept),
        CASE(test_who_looks_for_events_reads_hints),
        CASE(test_hints_are_read_though_nobody_looks_for_events),
        CASE(test_connection_breaks_before_who_looks_for_events),
        CASE(test_thread_waits_for_who_looks_for_events),
        CASE(test_unavailable_while_waiting_is_retried),
        CASE(test_cancel_from_another_thread),
        CASE(test_next_in_line_asks_when_the_first_gives_up),
        CASE(test_requests_that_meet_travel_as_one_batch),
        CASE(test_few_threads_do_not_travel_beside_many),
        CASE(test_callers_share_four_connections_and_no_more),
        CASE(test_no_connection_free_is_unavailable),
        CASE(test_threads_exclude_each_other),
        CASE(test_close_releases_what_is_held),
        CASE(test_close_with_an_unreachable_storage_returns),
        CASE(test_list),
        CASE(test_stats_count_what_the_storage_was_asked),
        CASE(test_a_child_may_only_free),
        CASE(test_null_is_harmless),
        CASE(test_urls_and_factory_options),
        CASE(test_a_relative_path_is_of_the_folder_of_the_opening),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
