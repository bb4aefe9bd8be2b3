/* test_api.c - the promises of dlock.h, kept over the storage that is tested.
 *
 * Part of `contract`. Two factories stand for two programs. */
#include "contract.h"

#include <poll.h>
#include <pthread.h>
#include <string.h>

/* Calls something that fills `error`, and has to succeed. */
#define check(call)                                                                                                    \
    do {                                                                                                               \
        dlock_error error = {0};                                                                                       \
        const dlock_status status = (call);                                                                            \
        if (status != DLOCK_OK)                                                                                        \
            fail_msg("%s:%d: %s: %s", __FILE__, __LINE__, dlock_status_name(status), error.message);                   \
    } while (0)

/* Two programs that want one key. */
struct fixture {
    dlock_factory *factories[2];
    dlock *locks[2];
    const char *key;
};

static struct fixture begin(void)
{
    struct fixture fixture = {.key = key_of("key")};
    for (size_t i = 0; i < 2; i++) {
        check(dlock_factory_open(contract_url, NULL, &fixture.factories[i], &error));
        check(dlock_create(fixture.factories[i], fixture.key, &fixture.locks[i], &error));
    }
    return fixture;
}

static void end(struct fixture *fixture)
{
    for (size_t i = 0; i < 2; i++) {
        dlock_free(fixture->locks[i]);
        dlock_factory_close(fixture->factories[i]);
    }
}

static dlock_acquire_options once(uint32_t ttl_ms)
{
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;
    options.ttl_ms = ttl_ms;
    options.retries = 1;
    return options;
}

static dlock_info inspect(const struct fixture *fixture)
{
    dlock_info info;
    check(dlock_inspect(fixture->factories[0], fixture->key, &info, &error));
    return info;
}

static void a_lock_is_acquired_and_released(void **state)
{
    (void)state;
    struct fixture f = begin();
    const dlock_acquire_options options = once(LONG_MS);
    for (unsigned i = 0; i < 3; i++) {
        assert_false(dlock_is_held(f.locks[0]));
        check(dlock_acquire(f.locks[0], &options, &error));
        assert_true(dlock_is_held(f.locks[0]));
        assert_true(dlock_remaining_ms(f.locks[0]) > FAR_MS);
        assert_string_equal(inspect(&f).owner, dlock_owner(f.locks[0]));
        assert_int_equal(inspect(&f).fence, dlock_fence(f.locks[0]));
        check(dlock_release(f.locks[0], &error));
        assert_string_equal(inspect(&f).owner, "");
    }
    end(&f);
}

static void busy_says_who_holds_it(void **state)
{
    (void)state;
    struct fixture f = begin();
    const dlock_acquire_options options = once(LONG_MS);
    dlock_error refusal;
    check(dlock_acquire(f.locks[0], &options, &error));
    assert_int_equal(dlock_acquire(f.locks[1], &options, &refusal), DLOCK_BUSY);
    assert_int_equal(refusal.status, DLOCK_BUSY);
    assert_string_equal(refusal.holder.owner, dlock_owner(f.locks[0]));
    assert_true(refusal.holder.remaining_ms == -1 || refusal.holder.remaining_ms > FAR_MS);
    assert_false(dlock_is_held(f.locks[1]));
    check(dlock_release(f.locks[0], &error));
    check(dlock_acquire(f.locks[1], &options, &error));
    end(&f); /* a lock that is freed while it is held is released */
    f = begin();
    check(dlock_acquire(f.locks[0], &options, &error));
    end(&f);
}

static void fences_grow_in_the_order_of_holds(void **state)
{
    (void)state;
    struct fixture f = begin();
    const dlock_acquire_options options = once(LONG_MS);
    uint64_t last = 0;
    for (unsigned i = 0; i < 6; i++) {
        dlock *lock = f.locks[i % 2];
        check(dlock_acquire(lock, &options, &error));
        if (storage->capabilities & DLOCK_STORAGE_FENCES)
            assert_true(dlock_fence(lock) > last);
        last = dlock_fence(lock);
        check(dlock_release(lock, &error));
        assert_int_equal(dlock_fence(lock), 0);
    }
    end(&f);
}

static void extend_gives_more_time(void **state)
{
    (void)state;
    struct fixture f = begin();
    const dlock_acquire_options options = once(10000);
    check(dlock_acquire(f.locks[0], &options, &error));
    assert_true(dlock_remaining_ms(f.locks[0]) <= 10000);
    check(dlock_extend(f.locks[0], LONG_MS, &error));
    assert_true(dlock_remaining_ms(f.locks[0]) > FAR_MS);
    const dlock_info info = inspect(&f);
    assert_true(info.remaining_ms == -1 || info.remaining_ms > FAR_MS);
    check(dlock_release(f.locks[0], &error));
    end(&f);
}

static void what_was_broken_is_lost(void **state)
{
    (void)state;
    struct fixture f = begin();
    const dlock_acquire_options options = once(LONG_MS);
    dlock_error refusal;
    dlock_info broken = {0};
    check(dlock_acquire(f.locks[0], &options, &error));
    check(dlock_break(f.factories[1], f.key, &broken, &error));
    assert_string_equal(broken.owner, dlock_owner(f.locks[0]));
    assert_int_equal(dlock_break(f.factories[1], f.key, NULL, &refusal), DLOCK_LOST);
    assert_int_equal(dlock_extend(f.locks[0], 0, &refusal), DLOCK_LOST);
    assert_int_equal(dlock_release(f.locks[0], &refusal), DLOCK_LOST);
    end(&f);
}

static bool count_key(void *arg, const char *key, const dlock_info *info)
{
    assert_string_equal(key, key_of("key"));
    assert_true(info->owner[0] != '\0');
    ++*(unsigned *)arg;
    return true;
}

static void list_tells_of_held_locks(void **state)
{
    (void)state;
    struct fixture f = begin();
    const dlock_acquire_options options = once(LONG_MS);
    unsigned count = 0;
    if (!storage->list) {
        assert_int_equal(dlock_list(f.factories[1], key_prefix(), count_key, &count, NULL), DLOCK_UNSUPPORTED);
        end(&f);
        return;
    }
    check(dlock_list(f.factories[1], key_prefix(), count_key, &count, &error));
    assert_int_equal(count, 0);
    check(dlock_acquire(f.locks[0], &options, &error));
    check(dlock_list(f.factories[1], key_prefix(), count_key, &count, &error));
    assert_int_equal(count, 1);
    check(dlock_release(f.locks[0], &error));
    check(dlock_list(f.factories[1], key_prefix(), count_key, &count, &error));
    assert_int_equal(count, 1);
    end(&f);
}

static void read_warning(void *arg, const char *text)
{
    (void)arg;
    assert_true(text[0] != '\0');
}

static void the_storage_checks_itself(void **state)
{
    (void)state;
    struct fixture f = begin();
    check(dlock_check(f.factories[0], read_warning, NULL, &error));
    end(&f);
}

/* ---- waiting ------------------------------------------------------------------------------------------------------
 */

struct waiter {
    dlock *lock;
    dlock_status status;
    dlock_error refusal;
};

static void *wait_for_lock(void *arg)
{
    struct waiter *waiter = arg;
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;
    options.ttl_ms = LONG_MS;
    options.wait_ms = PATIENCE_MS;
    waiter->status = dlock_acquire(waiter->lock, &options, &waiter->refusal);
    return NULL;
}

static void a_waiter_gets_the_lock_after_its_release(void **state)
{
    (void)state;
    struct fixture f = begin();
    const dlock_acquire_options options = once(LONG_MS);
    check(dlock_acquire(f.locks[0], &options, &error));
    struct waiter waiter = {.lock = f.locks[1]};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, wait_for_lock, &waiter), 0);
    check(dlock_release(f.locks[0], &error));
    pthread_join(thread, NULL);
    if (waiter.status != DLOCK_OK)
        fail_msg("%s: %s", dlock_status_name(waiter.status), waiter.refusal.message);
    assert_string_equal(inspect(&f).owner, dlock_owner(f.locks[1]));
    check(dlock_release(f.locks[1], &error));
    end(&f);
}

static void a_waiter_gets_the_lock_when_its_ttl_is_over(void **state)
{
    (void)state;
    struct fixture f = begin();
    const dlock_acquire_options options = once(5 * SHORT_MS);
    check(dlock_acquire(f.locks[0], &options, &error));
    struct waiter waiter = {.lock = f.locks[1]};
    wait_for_lock(&waiter);
    if (waiter.status != DLOCK_OK)
        fail_msg("%s: %s", dlock_status_name(waiter.status), waiter.refusal.message);
    assert_false(dlock_is_held(f.locks[0])); /* its own, shorter validity ended first */
    check(dlock_release(f.locks[1], &error));
    end(&f);
}

static void a_wait_ends_at_its_deadline(void **state)
{
    (void)state;
    struct fixture f = begin();
    dlock_acquire_options options = once(LONG_MS);
    dlock_error refusal;
    check(dlock_acquire(f.locks[0], &options, &error));
    options.wait_ms = SHORT_MS;
    const int64_t before = dlock_clock_us();
    assert_int_equal(dlock_acquire(f.locks[1], &options, &refusal), DLOCK_BUSY);
    assert_true(dlock_clock_us() - before >= SHORT_MS * 1000);
    assert_string_equal(refusal.holder.owner, dlock_owner(f.locks[0]));
    check(dlock_release(f.locks[0], &error));
    end(&f);
}

/* ---- asynchronous, renewal, loss ----------------------------------------------------------------------------------
 */

static dlock_event next_event(dlock_factory *factory)
{
    dlock_event event;
    struct pollfd polled = {.fd = dlock_factory_fd(factory), .events = POLLIN};
    assert_true(polled.fd >= 0);
    const int64_t since = dlock_clock_us();
    while (dlock_factory_events(factory, &event, 1) == 0) {
        assert_false(patience_is_over(since));
        poll(&polled, 1, PATIENCE_MS);
    }
    return event;
}

static void assert_event(struct fixture *f, size_t who, dlock_event_type type, void *tag)
{
    const dlock_event event = next_event(f->factories[who]);
    if (event.type != type)
        fail_msg("event %d instead of %d: %s", (int)event.type, (int)type, event.error.message);
    assert_ptr_equal(event.lock, f->locks[who]);
    assert_ptr_equal(event.tag, tag);
}

static void asynchronous_calls_end_in_events(void **state)
{
    (void)state;
    struct fixture f = begin();
    const dlock_acquire_options options = once(LONG_MS);
    int tags[4];
    check(dlock_acquire_start(f.locks[0], &options, &tags[0], &error));
    assert_event(&f, 0, DLOCK_EVENT_ACQUIRED, &tags[0]);
    assert_string_equal(inspect(&f).owner, dlock_owner(f.locks[0]));
    check(dlock_acquire_start(f.locks[1], &options, &tags[1], &error));
    assert_event(&f, 1, DLOCK_EVENT_FAILED, &tags[1]);
    check(dlock_extend_start(f.locks[0], 0, &tags[2], &error));
    assert_event(&f, 0, DLOCK_EVENT_EXTENDED, &tags[2]);
    check(dlock_release_start(f.locks[0], &tags[3], &error));
    assert_event(&f, 0, DLOCK_EVENT_RELEASED, &tags[3]);
    assert_string_equal(inspect(&f).owner, "");
    end(&f);
}

static void an_asynchronous_waiter_gets_its_turn(void **state)
{
    (void)state;
    struct fixture f = begin();
    dlock_acquire_options options = once(LONG_MS);
    check(dlock_acquire(f.locks[0], &options, &error));
    options.wait_ms = DLOCK_WAIT_FOREVER;
    check(dlock_acquire_start(f.locks[1], &options, &f, &error));
    check(dlock_release(f.locks[0], &error));
    assert_event(&f, 1, DLOCK_EVENT_ACQUIRED, &f);
    check(dlock_release(f.locks[1], &error));
    end(&f);
}

static void renewal_keeps_a_lock_beyond_its_ttl(void **state)
{
    (void)state;
    struct fixture f = begin();
    dlock_acquire_options options = once(1200);
    options.renew = true;
    check(dlock_acquire(f.locks[0], &options, &error));
    const uint64_t fence = dlock_fence(f.locks[0]);
    const int64_t since = dlock_clock_us();
    while (dlock_clock_us() - since < 1500 * 1000) {
        assert_string_equal(inspect(&f).owner, dlock_owner(f.locks[0]));
        assert_false(patience_is_over(since));
    }
    assert_true(dlock_is_held(f.locks[0]));
    assert_int_equal(dlock_fence(f.locks[0]), fence);
    check(dlock_release(f.locks[0], &error));
    assert_string_equal(inspect(&f).owner, "");
    end(&f);
}

static void a_renewed_lock_that_is_broken_is_reported_lost_once(void **state)
{
    (void)state;
    struct fixture f = begin();
    dlock_acquire_options options = once(900);
    dlock_event event;
    options.renew = true;
    check(dlock_acquire(f.locks[0], &options, &error));
    check(dlock_break(f.factories[1], f.key, NULL, &error));
    assert_event(&f, 0, DLOCK_EVENT_LOST, NULL);
    assert_false(dlock_is_held(f.locks[0]));
    assert_int_equal(dlock_factory_events(f.factories[0], &event, 1), 0);
    end(&f);
}

static void an_adopted_hold_is_extended_and_released(void **state)
{
    (void)state;
    struct fixture f = begin();
    const dlock_acquire_options options = once(LONG_MS);
    check(dlock_acquire(f.locks[0], &options, &error));
    check(dlock_adopt(f.locks[1], dlock_owner(f.locks[0]), &error));
    check(dlock_detach(f.locks[0], &error));
    check(dlock_extend(f.locks[1], LONG_MS, &error));
    assert_true(dlock_remaining_ms(f.locks[1]) > FAR_MS);
    check(dlock_release(f.locks[1], &error));
    assert_string_equal(inspect(&f).owner, "");
    end(&f);
}

const struct CMUnitTest api_tests[] = {
    cmocka_unit_test(a_lock_is_acquired_and_released),
    cmocka_unit_test(busy_says_who_holds_it),
    cmocka_unit_test(fences_grow_in_the_order_of_holds),
    cmocka_unit_test(extend_gives_more_time),
    cmocka_unit_test(what_was_broken_is_lost),
    cmocka_unit_test(list_tells_of_held_locks),
    cmocka_unit_test(the_storage_checks_itself),
    cmocka_unit_test(a_waiter_gets_the_lock_after_its_release),
    cmocka_unit_test(a_waiter_gets_the_lock_when_its_ttl_is_over),
    cmocka_unit_test(a_wait_ends_at_its_deadline),
    cmocka_unit_test(asynchronous_calls_end_in_events),
    cmocka_unit_test(an_asynchronous_waiter_gets_its_turn),
    cmocka_unit_test(renewal_keeps_a_lock_beyond_its_ttl),
    cmocka_unit_test(a_renewed_lock_that_is_broken_is_reported_lost_once),
    cmocka_unit_test(an_adopted_hold_is_extended_and_released),
};
const size_t api_test_count = sizeof api_tests / sizeof api_tests[0];
