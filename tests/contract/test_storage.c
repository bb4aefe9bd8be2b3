/* test_storage.c - the contract of dlock_storage.h, sentence by sentence, asked of a storage directly.
 *
 * Part of `contract`. Sessions stand for processes: nothing but the storage is between them. */
#include "contract.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const dlock_storage_options options = {.timeout_ms = 10000};

static void *open_session(void)
{
    dlock_error error = {0};
    void *session = calloc(1, storage->session_size ? storage->session_size : 1);
    assert_non_null(session);
    if (storage->open(session, url, &options, &error) != DLOCK_OK)
        fail_msg("open: %s: %s", dlock_status_name(error.status), error.message);
    return session;
}

static void close_session(void *session)
{
    storage->close(session);
    free(session);
}

static dlock_request request_of(dlock_operation operation, const char *key, const char *owner, uint32_t ttl_ms)
{
    return (dlock_request){
        .operation = operation, .key = key, .owner = owner, .ttl_ms = ttl_ms, .status = DLOCK_UNAVAILABLE};
}

static dlock_request ask(void *session, dlock_operation operation, const char *key, const char *owner, uint32_t ttl_ms)
{
    dlock_request request = request_of(operation, key, owner, ttl_ms);
    dlock_request *const requests[] = {&request};
    storage->execute(session, requests, 1);
    return request;
}

#define assert_status(request, wanted)                                                                                 \
    do {                                                                                                               \
        const dlock_request answered = (request);                                                                      \
        if (answered.status != (wanted))                                                                               \
            fail_msg("%s:%d: %s %s", __FILE__, __LINE__, dlock_status_name(answered.status), answered.message);        \
    } while (0)

static dlock_request acquire(void *session, const char *key, const char *owner, uint32_t ttl_ms)
{
    dlock_request request = ask(session, DLOCK_ACQUIRE, key, owner, ttl_ms);
    assert_status(request, DLOCK_OK);
    return request;
}

static dlock_info inspect(void *session, const char *key)
{
    const dlock_request request = ask(session, DLOCK_INSPECT, key, NULL, 0);
    assert_status(request, DLOCK_OK);
    return request.info;
}

static void assert_holder(void *session, const char *key, const char *owner)
{
    assert_string_equal(inspect(session, key).owner, owner);
}

/* Waits for the end of a short ttl. */
static void wait_for_expiry(void *session, const char *key)
{
    const int64_t since = dlock_clock_us();
    while (inspect(session, key).owner[0])
        assert_false(patience_is_over(since));
}

/* ---- one key ------------------------------------------------------------------------------------------------------
 */

static void describes_itself(void **state)
{
    (void)state;
    assert_int_equal(storage->api, DLOCK_STORAGE_API);
    assert_non_null(storage->name);
    assert_non_null(storage->open);
    assert_non_null(storage->close);
    assert_non_null(storage->execute);
    const int watches = !!storage->watch_fd + !!storage->watch + !!storage->unwatch + !!storage->watch_read;
    assert_true(watches == 0 || watches == 4);
    bool serves = false;
    for (const char *const *scheme = storage->schemes; *scheme; scheme++)
        serves = serves || strcmp(*scheme, url->scheme) == 0;
    assert_true(serves);
}

static void acquire_gives_the_key_to_one_owner(void **state)
{
    (void)state;
    void *one = open_session(), *two = open_session();
    const char *key = key_of("key");
    const dlock_request granted = acquire(one, key, "a:1:x", LONG_MS);
    const dlock_request busy = ask(two, DLOCK_ACQUIRE, key, "b:2:y", LONG_MS);
    assert_status(busy, DLOCK_BUSY);
    assert_string_equal(busy.info.owner, "a:1:x");
    assert_int_equal(busy.info.fence, granted.info.fence);
    assert_true(busy.info.ttl_ms == LONG_MS || busy.info.ttl_ms == 0);
    assert_true(busy.info.held_ms >= -1);
    assert_true(busy.info.remaining_ms == -1 || (busy.info.remaining_ms > FAR_MS && busy.info.remaining_ms <= LONG_MS));
    assert_status(ask(one, DLOCK_RELEASE, key, "a:1:x", 0), DLOCK_OK);
    close_session(one);
    close_session(two);
}

static void owners_differ_by_every_byte(void **state)
{
    (void)state;
    void *session = open_session();
    const char *key = key_of("key");
    static const char *const others[] = {"Owner", "owner ", " owner", "owne", "ownerr", "owner%", "_wner", ""};
    acquire(session, key, "owner", LONG_MS);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_status(ask(session, DLOCK_EXTEND, key, others[i], 10), DLOCK_LOST);
        assert_status(ask(session, DLOCK_RELEASE, key, others[i], 0), DLOCK_LOST);
        if (others[i][0])
            assert_status(ask(session, DLOCK_ACQUIRE, key, others[i], LONG_MS), DLOCK_BUSY);
    }
    const dlock_info info = inspect(session, key);
    assert_string_equal(info.owner, "owner");
    assert_true(info.remaining_ms > FAR_MS);
    assert_status(ask(session, DLOCK_RELEASE, key, "owner", 0), DLOCK_OK);
    close_session(session);
}

static void the_longest_owner_is_kept_whole(void **state)
{
    (void)state;
    void *session = open_session();
    char owner[DLOCK_OWNER_SIZE], other[DLOCK_OWNER_SIZE];
    memset(owner, 'o', sizeof owner - 1);
    owner[sizeof owner - 1] = '\0';
    strcpy(other, owner);
    other[sizeof other - 2] = 'p';
    const char *key = key_of("key");
    acquire(session, key, owner, LONG_MS);
    assert_holder(session, key, owner);
    assert_status(ask(session, DLOCK_ACQUIRE, key, other, LONG_MS), DLOCK_BUSY);
    assert_status(ask(session, DLOCK_RELEASE, key, other, 0), DLOCK_LOST);
    assert_status(ask(session, DLOCK_RELEASE, key, owner, 0), DLOCK_OK);
    close_session(session);
}

static void a_resend_of_the_holder_is_answered_as_before(void **state)
{
    (void)state;
    void *one = open_session(), *two = open_session();
    const char *key = key_of("key");
    const dlock_request first = acquire(one, key, "owner", 10000);
    const dlock_request again = acquire(two, key, "owner", LONG_MS);
    assert_int_equal(again.info.fence, first.info.fence);
    const dlock_info info = inspect(one, key);
    assert_int_equal(info.fence, first.info.fence);
    assert_true(info.remaining_ms > FAR_MS); /* its ttl was counted anew */
    assert_status(ask(one, DLOCK_RELEASE, key, "owner", 0), DLOCK_OK);
    assert_holder(one, key, "");
    close_session(one);
    close_session(two);
}

static void busy_changes_nothing(void **state)
{
    (void)state;
    void *one = open_session(), *two = open_session();
    const char *key = key_of("key");
    const int64_t before = dlock_clock_us();
    acquire(one, key, "one", 10 * SHORT_MS);
    /* If an attempt prolonged the hold, the key would never come free under these. */
    dlock_request request;
    do {
        request = ask(two, DLOCK_ACQUIRE, key, "two", LONG_MS);
        if (request.status == DLOCK_BUSY && !request.contended)
            assert_string_equal(request.info.owner, "one");
    } while (request.status == DLOCK_BUSY && !patience_is_over(before));
    assert_status(request, DLOCK_OK);
    assert_true(dlock_clock_us() - before >= 10 * SHORT_MS * 1000 * 9 / 10); /* and not before its time */
    assert_status(ask(two, DLOCK_RELEASE, key, "two", 0), DLOCK_OK);
    close_session(one);
    close_session(two);
}

static void an_expired_key_is_free_for_one_whole_ttl(void **state)
{
    (void)state;
    void *one = open_session(), *two = open_session();
    const char *key = key_of("key");
    const dlock_request first = acquire(one, key, "one", SHORT_MS);
    wait_for_expiry(two, key);
    const int64_t before = dlock_clock_us();
    const dlock_request second = acquire(two, key, "two", LONG_MS);
    if (storage->capabilities & DLOCK_STORAGE_FENCES)
        assert_true(second.info.fence > first.info.fence);
    /* The take-over began a lease of its own: nobody else gets in. */
    const dlock_request third = ask(one, DLOCK_ACQUIRE, key, "three", LONG_MS);
    assert_status(third, DLOCK_BUSY);
    assert_string_equal(third.info.owner, "two");
    /* Whatever counts from the first acquire is off by more than the time that has passed since the take-over. */
    const int64_t passed_ms = (dlock_clock_us() - before) * 11 / 10 / 1000 + 2;
    assert_true(third.info.remaining_ms == -1 || third.info.remaining_ms >= LONG_MS - passed_ms);
    assert_true(third.info.held_ms <= passed_ms);
    assert_status(ask(two, DLOCK_RELEASE, key, "two", 0), DLOCK_OK);
    close_session(one);
    close_session(two);
}

static void extend_counts_the_ttl_anew(void **state)
{
    (void)state;
    void *session = open_session();
    const char *key = key_of("key");
    const dlock_request granted = acquire(session, key, "owner", 10000);
    assert_status(ask(session, DLOCK_EXTEND, key, "owner", LONG_MS), DLOCK_OK);
    dlock_info info = inspect(session, key);
    assert_true(info.remaining_ms > FAR_MS && info.remaining_ms <= LONG_MS);
    assert_true(info.ttl_ms == LONG_MS || info.ttl_ms == 0);
    assert_int_equal(info.fence, granted.info.fence);
    /* And shorter too: from now, not from the acquire. */
    assert_status(ask(session, DLOCK_EXTEND, key, "owner", SHORT_MS), DLOCK_OK);
    wait_for_expiry(session, key);
    close_session(session);
}

static void extend_keeps_others_out(void **state)
{
    (void)state;
    void *one = open_session(), *two = open_session();
    const char *key = key_of("key");
    acquire(one, key, "one", 5000);
    assert_status(ask(one, DLOCK_EXTEND, key, "one", LONG_MS), DLOCK_OK);
    const dlock_request busy = ask(two, DLOCK_ACQUIRE, key, "two", LONG_MS);
    assert_status(busy, DLOCK_BUSY);
    assert_true(busy.info.remaining_ms == -1 || busy.info.remaining_ms > FAR_MS);
    assert_status(ask(one, DLOCK_RELEASE, key, "one", 0), DLOCK_OK);
    close_session(one);
    close_session(two);
}

static void extend_brings_nothing_back(void **state)
{
    (void)state;
    void *session = open_session();
    const char *never = key_of("never"), *expired = key_of("expired"), *released = key_of("released");
    assert_status(ask(session, DLOCK_EXTEND, never, "owner", LONG_MS), DLOCK_LOST);
    assert_holder(session, never, "");
    acquire(session, expired, "owner", SHORT_MS);
    wait_for_expiry(session, expired);
    assert_status(ask(session, DLOCK_EXTEND, expired, "owner", LONG_MS), DLOCK_LOST);
    assert_holder(session, expired, "");
    acquire(session, released, "owner", LONG_MS);
    assert_status(ask(session, DLOCK_RELEASE, released, "owner", 0), DLOCK_OK);
    assert_status(ask(session, DLOCK_EXTEND, released, "owner", LONG_MS), DLOCK_LOST);
    assert_holder(session, released, "");
    close_session(session);
}

static void release_frees_the_key_once(void **state)
{
    (void)state;
    void *one = open_session(), *two = open_session();
    const char *key = key_of("key");
    assert_status(ask(one, DLOCK_RELEASE, key, "one", 0), DLOCK_LOST);
    acquire(one, key, "one", LONG_MS);
    assert_status(ask(two, DLOCK_RELEASE, key, "one", 0), DLOCK_OK); /* the owner counts, not the session */
    assert_status(ask(one, DLOCK_RELEASE, key, "one", 0), DLOCK_LOST);
    acquire(two, key, "two", LONG_MS);
    assert_status(ask(two, DLOCK_RELEASE, key, "two", 0), DLOCK_OK);
    close_session(one);
    close_session(two);
}

static void release_of_an_expired_hold_is_lost(void **state)
{
    (void)state;
    void *session = open_session();
    const char *key = key_of("key");
    acquire(session, key, "owner", SHORT_MS);
    wait_for_expiry(session, key);
    assert_status(ask(session, DLOCK_RELEASE, key, "owner", 0), DLOCK_LOST);
    assert_status(ask(session, DLOCK_BREAK, key, NULL, 0), DLOCK_LOST);
    close_session(session);
}

static void a_stale_owner_changes_nothing(void **state)
{
    (void)state;
    void *one = open_session(), *two = open_session();
    const char *key = key_of("key");
    acquire(one, key, "one", SHORT_MS);
    wait_for_expiry(one, key);
    acquire(two, key, "two", LONG_MS);
    assert_status(ask(one, DLOCK_EXTEND, key, "one", 10), DLOCK_LOST);
    assert_status(ask(one, DLOCK_RELEASE, key, "one", 0), DLOCK_LOST);
    const dlock_info info = inspect(one, key);
    assert_string_equal(info.owner, "two");
    assert_true(info.remaining_ms > FAR_MS);
    assert_status(ask(two, DLOCK_RELEASE, key, "two", 0), DLOCK_OK);
    close_session(one);
    close_session(two);
}

static void break_takes_the_key_from_anybody(void **state)
{
    (void)state;
    void *one = open_session(), *two = open_session();
    const char *key = key_of("key");
    assert_status(ask(two, DLOCK_BREAK, key, NULL, 0), DLOCK_LOST);
    const dlock_request granted = acquire(one, key, "one", LONG_MS);
    const dlock_request broken = ask(two, DLOCK_BREAK, key, NULL, 0);
    assert_status(broken, DLOCK_OK);
    assert_string_equal(broken.info.owner, "one");
    assert_int_equal(broken.info.fence, granted.info.fence);
    assert_status(ask(one, DLOCK_EXTEND, key, "one", LONG_MS), DLOCK_LOST);
    assert_status(ask(one, DLOCK_RELEASE, key, "one", 0), DLOCK_LOST);
    assert_holder(one, key, "");
    close_session(one);
    close_session(two);
}

static void inspect_tells_of_a_hold(void **state)
{
    (void)state;
    void *one = open_session(), *two = open_session();
    const char *key = key_of("key");
    dlock_info info = inspect(two, key);
    assert_string_equal(info.owner, "");
    assert_int_equal(info.fence, 0);
    const int64_t before = dlock_clock_us();
    const dlock_request granted = acquire(one, key, "host:1:ab", LONG_MS);
    do {
        info = inspect(two, key);
        assert_string_equal(info.owner, "host:1:ab");
        assert_int_equal(info.fence, granted.info.fence);
        assert_true(info.ttl_ms == LONG_MS || info.ttl_ms == 0);
        assert_true(info.remaining_ms == -1 || (info.remaining_ms > FAR_MS && info.remaining_ms <= LONG_MS));
        assert_true(info.held_ms <= (dlock_clock_us() - before) * 11 / 10 / 1000 + 1);
    } while (info.held_ms >= 0 && info.held_ms < 20 && !patience_is_over(before));
    assert_true(info.held_ms == -1 || info.held_ms >= 20); /* it grows */
    assert_true(info.remaining_ms <= LONG_MS - 10);
    assert_status(ask(one, DLOCK_RELEASE, key, "host:1:ab", 0), DLOCK_OK);
    close_session(one);
    close_session(two);
}

static void a_hold_outlives_its_session(void **state)
{
    (void)state;
    void *session = open_session();
    const char *key = key_of("key");
    acquire(session, key, "owner", LONG_MS);
    close_session(session);
    session = open_session();
    assert_holder(session, key, "owner");
    assert_status(ask(session, DLOCK_RELEASE, key, "owner", 0), DLOCK_OK);
    close_session(session);
}

/* ---- fences -------------------------------------------------------------------------------------------------------
 */

static void assert_greater_fence(uint64_t *last, const dlock_request *granted)
{
    if (storage->capabilities & DLOCK_STORAGE_FENCES) {
        assert_true(granted->info.fence > *last);
        *last = granted->info.fence;
    } else {
        assert_int_equal(granted->info.fence, 0);
    }
}

static void fences_grow_over_keys_release_expiry_and_break(void **state)
{
    (void)state;
    void *sessions[] = {open_session(), open_session()};
    uint64_t last = 0;
    for (unsigned i = 0; i < 24; i++) {
        char name[16], owner[16];
        snprintf(name, sizeof name, "key %u", i % 3);
        snprintf(owner, sizeof owner, "owner %u", i);
        const char *key = key_of(name);
        void *session = sessions[i % 2];
        const bool expires = i % 8 == 3;
        const dlock_request granted = acquire(session, key, owner, expires ? SHORT_MS : LONG_MS);
        assert_greater_fence(&last, &granted);
        if (expires)
            wait_for_expiry(session, key);
        else if (i % 8 == 5)
            assert_status(ask(session, DLOCK_BREAK, key, NULL, 0), DLOCK_OK);
        else
            assert_status(ask(session, DLOCK_RELEASE, key, owner, 0), DLOCK_OK);
    }
    close_session(sessions[0]);
    close_session(sessions[1]);
}

static void fences_grow_over_sessions(void **state)
{
    (void)state;
    uint64_t last = 0;
    for (unsigned i = 0; i < 4; i++) {
        void *session = open_session();
        const dlock_request granted = acquire(session, key_of("key"), "owner", LONG_MS);
        assert_greater_fence(&last, &granted);
        assert_status(ask(session, DLOCK_RELEASE, key_of("key"), "owner", 0), DLOCK_OK);
        close_session(session);
    }
}

static void the_same_owner_gets_a_new_fence_after_expiry(void **state)
{
    (void)state;
    void *session = open_session();
    const char *key = key_of("key");
    uint64_t last = 0;
    dlock_request granted = acquire(session, key, "owner", SHORT_MS);
    assert_greater_fence(&last, &granted);
    wait_for_expiry(session, key);
    granted = acquire(session, key, "owner", LONG_MS);
    assert_greater_fence(&last, &granted);
    assert_status(ask(session, DLOCK_RELEASE, key, "owner", 0), DLOCK_OK);
    close_session(session);
}

/* ---- keys and lists -----------------------------------------------------------------------------------------------
 */

struct found {
    const char *const *wanted;
    size_t wanted_count, calls, max_calls;
    unsigned seen[300];
};

static bool note_key(void *arg, const char *key, const dlock_info *info)
{
    struct found *found = arg;
    assert_true(found->calls < found->max_calls); /* it was told to stop */
    found->calls++;
    assert_true(info->owner[0] != '\0');
    bool known = false;
    for (size_t i = 0; i < found->wanted_count; i++)
        if (strcmp(found->wanted[i], key) == 0) {
            known = true;
            found->seen[i]++;
        }
    if (!known)
        fail_msg("not wanted in this list: %s", key);
    return found->calls < found->max_calls;
}

/* The live keys that start with `prefix` are exactly these. */
static void assert_listed(void *session, const char *prefix, const char *const *wanted, size_t count)
{
    struct found found = {.wanted = wanted, .wanted_count = count, .max_calls = SIZE_MAX};
    dlock_error error;
    assert_true(count <= sizeof found.seen / sizeof found.seen[0]);
    if (storage->list(session, prefix, note_key, &found, &error) != DLOCK_OK)
        fail_msg("list: %s", error.message);
    for (size_t i = 0; i < count; i++)
        if (found.seen[i] != 1)
            fail_msg("listed %u times: %s", found.seen[i], wanted[i]);
}

static void keys_differ_by_every_byte(void **state)
{
    (void)state;
    static const char *const names[] = {
        "a",
        "A",
        "a ",
        " a",
        "a  ",
        "aa",
        "a/b",
        "a\\b",
        "a'b",
        "a\"b",
        "a`b",
        "a;b--",
        "a%b",
        "a_b",
        "a%25b",
        "a*",
        "a?",
        "[a]",
        "{a}",
        "$a",
        "a.b",
        "a:b",
        "a#b",
        "a\nb",
        "a\tb",
        "\x01",
        "\x7f",
        "\xc3\xa9",
        "e\xcc\x81",
        "\xc3\x89",
        "\xe2\x82\xac",
        "\xf0\x9f\x94\x92",
        "\xc3\x9f",
        "ss",
        "\xef\xbc\xa1",
        "\xef\xbb\xbf",
        "NULL",
        "null",
        "0",
        "00",
        "1e0",
        "-1",
        "%s%n",
        "\xc4\xb0",
        "i",
        "I",
        "?1",
        ":a",
    };
    enum { COUNT = sizeof names / sizeof names[0] };
    void *session = open_session();
    const char *keys[COUNT];
    char owners[COUNT][16];
    for (size_t i = 0; i < COUNT; i++) {
        keys[i] = key_of(names[i]);
        snprintf(owners[i], sizeof owners[i], "owner %zu", i);
        acquire(session, keys[i], owners[i], LONG_MS);
    }
    for (size_t i = 0; i < COUNT; i++)
        assert_holder(session, keys[i], owners[i]);
    if (storage->list)
        assert_listed(session, key_prefix(), keys, COUNT);
    for (size_t i = 0; i < COUNT; i++)
        assert_status(ask(session, DLOCK_RELEASE, keys[i], owners[i], 0), DLOCK_OK);
    close_session(session);
}

static void the_longest_keys_are_kept_whole(void **state)
{
    (void)state;
    void *session = open_session();
    const size_t begun = strlen(key_prefix());
    char names[2][DLOCK_KEY_MAX + 1];
    for (size_t i = 0; i < 2; i++) {
        memset(names[i], 'k', DLOCK_KEY_MAX - begun);
        names[i][DLOCK_KEY_MAX - begun] = '\0';
    }
    names[1][DLOCK_KEY_MAX - begun - 1] = 'l'; /* they differ in their last byte */
    const char *const keys[] = {key_of(names[0]), key_of(names[1])};
    assert_int_equal(strlen(keys[0]), DLOCK_KEY_MAX);
    acquire(session, keys[0], "one", LONG_MS);
    acquire(session, keys[1], "two", LONG_MS);
    assert_holder(session, keys[0], "one");
    assert_holder(session, keys[1], "two");
    if (storage->list)
        assert_listed(session, key_prefix(), keys, 2);
    assert_status(ask(session, DLOCK_RELEASE, keys[0], "one", 0), DLOCK_OK);
    assert_status(ask(session, DLOCK_RELEASE, keys[1], "two", 0), DLOCK_OK);
    close_session(session);
}

static void list_takes_the_prefix_as_it_is(void **state)
{
    (void)state;
    void *session = open_session();
    static const char *const names[] = {"a%b", "aXb", "a_b", "A_b", "a", "b", "a*", "a\\b", "a[b]"};
    enum { COUNT = sizeof names / sizeof names[0] };
    const char *keys[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        keys[i] = key_of(names[i]);
        acquire(session, keys[i], "owner", LONG_MS);
    }
    assert_listed(session, key_of("a%"), (const char *const[]){keys[0]}, 1);
    assert_listed(session, key_of("a_"), (const char *const[]){keys[2]}, 1);
    assert_listed(session, key_of("A"), (const char *const[]){keys[3]}, 1);
    assert_listed(session, key_of("a*"), (const char *const[]){keys[6]}, 1);
    assert_listed(session, key_of("a\\"), (const char *const[]){keys[7]}, 1);
    assert_listed(session, key_of("a["), (const char *const[]){keys[8]}, 1);
    assert_listed(session, keys[0], (const char *const[]){keys[0]}, 1); /* a whole key is a prefix of itself */
    assert_listed(session, key_of("c"), NULL, 0);
    for (size_t i = 0; i < COUNT; i++)
        assert_status(ask(session, DLOCK_RELEASE, keys[i], "owner", 0), DLOCK_OK);
    close_session(session);
}

static void list_stops_when_told(void **state)
{
    (void)state;
    void *session = open_session();
    const char *const keys[] = {key_of("1"), key_of("2"), key_of("3")};
    for (size_t i = 0; i < 3; i++)
        acquire(session, keys[i], "owner", LONG_MS);
    struct found found = {.wanted = keys, .wanted_count = 3, .max_calls = 2};
    assert_int_equal(storage->list(session, key_prefix(), note_key, &found, NULL), DLOCK_OK);
    assert_int_equal(found.calls, 2);
    for (size_t i = 0; i < 3; i++) /* the session is still good */
        assert_status(ask(session, DLOCK_RELEASE, keys[i], "owner", 0), DLOCK_OK);
    close_session(session);
}

static bool note_info(void *arg, const char *key, const dlock_info *info)
{
    (void)key;
    *(dlock_info *)arg = *info;
    return true;
}

static void list_tells_what_inspect_tells(void **state)
{
    (void)state;
    void *session = open_session();
    const char *key = key_of("key");
    acquire(session, key, "owner", LONG_MS);
    dlock_info listed = {0};
    assert_int_equal(storage->list(session, key, note_info, &listed, NULL), DLOCK_OK);
    const dlock_info info = inspect(session, key);
    assert_string_equal(listed.owner, info.owner);
    assert_int_equal(listed.fence, info.fence);
    assert_int_equal(listed.ttl_ms, info.ttl_ms);
    /* The parts of a storage that is in several places may differ a little. */
    assert_true(listed.held_ms <= info.held_ms + 1000);
    assert_true(listed.remaining_ms >= info.remaining_ms - 1000 && listed.remaining_ms <= LONG_MS);
    assert_status(ask(session, DLOCK_RELEASE, key, "owner", 0), DLOCK_OK);
    close_session(session);
}

static void nothing_is_listed_that_is_over(void **state)
{
    (void)state;
    void *session = open_session();
    const char *released = key_of("released"), *expired = key_of("expired"), *broken = key_of("broken");
    acquire(session, released, "owner", LONG_MS);
    acquire(session, expired, "owner", SHORT_MS);
    acquire(session, broken, "owner", LONG_MS);
    assert_status(ask(session, DLOCK_RELEASE, released, "owner", 0), DLOCK_OK);
    assert_status(ask(session, DLOCK_BREAK, broken, NULL, 0), DLOCK_OK);
    wait_for_expiry(session, expired);
    assert_listed(session, key_prefix(), NULL, 0);
    close_session(session);
}

/* ---- batches ------------------------------------------------------------------------------------------------------
 */

static void requests_of_one_key_keep_their_order(void **state)
{
    (void)state;
    void *session = open_session();
    const char *key = key_of("key"), *other = key_of("other");
    struct {
        dlock_request request;
        dlock_status wanted;
        const char *holder; /* in the answer; NULL = any */
    } steps[] = {
        {request_of(DLOCK_INSPECT, key, NULL, 0), DLOCK_OK, ""},
        {request_of(DLOCK_ACQUIRE, key, "one", LONG_MS), DLOCK_OK, NULL},
        {request_of(DLOCK_ACQUIRE, other, "three", LONG_MS), DLOCK_OK, NULL},
        {request_of(DLOCK_ACQUIRE, key, "two", LONG_MS), DLOCK_BUSY, "one"},
        {request_of(DLOCK_ACQUIRE, key, "one", LONG_MS), DLOCK_OK, NULL},
        {request_of(DLOCK_EXTEND, key, "two", LONG_MS), DLOCK_LOST, NULL},
        {request_of(DLOCK_EXTEND, key, "one", LONG_MS), DLOCK_OK, NULL},
        {request_of(DLOCK_RELEASE, key, "two", 0), DLOCK_LOST, NULL},
        {request_of(DLOCK_RELEASE, key, "one", 0), DLOCK_OK, NULL},
        {request_of(DLOCK_INSPECT, key, NULL, 0), DLOCK_OK, ""},
        {request_of(DLOCK_ACQUIRE, key, "two", LONG_MS), DLOCK_OK, NULL},
        {request_of(DLOCK_INSPECT, key, NULL, 0), DLOCK_OK, "two"},
        {request_of(DLOCK_BREAK, key, NULL, 0), DLOCK_OK, "two"},
        {request_of(DLOCK_BREAK, key, NULL, 0), DLOCK_LOST, NULL},
        {request_of(DLOCK_INSPECT, other, NULL, 0), DLOCK_OK, "three"},
        {request_of(DLOCK_RELEASE, key, "two", 0), DLOCK_LOST, NULL},
        {request_of(DLOCK_RELEASE, other, "three", 0), DLOCK_OK, NULL},
    };
    enum { COUNT = sizeof steps / sizeof steps[0] };
    dlock_request *requests[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        requests[i] = &steps[i].request;
    storage->execute(session, requests, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        if (steps[i].request.status != steps[i].wanted)
            fail_msg("step %zu: %s %s", i, dlock_status_name(steps[i].request.status), steps[i].request.message);
        if (steps[i].holder)
            assert_string_equal(steps[i].request.info.owner, steps[i].holder);
    }
    assert_int_equal(steps[4].request.info.fence, steps[1].request.info.fence);
    if (storage->capabilities & DLOCK_STORAGE_FENCES)
        assert_true(steps[10].request.info.fence > steps[1].request.info.fence);
    close_session(session);
}

#define BATCH 256

/* One operation for all keys of a batch; every answer is `wanted`. */
static void ask_all(void *session, dlock_operation operation, const char *const keys[BATCH], dlock_request ret[BATCH],
                    dlock_status wanted)
{
    dlock_request *requests[BATCH];
    for (size_t i = 0; i < BATCH; i++) {
        ret[i] = request_of(operation, keys[i], "owner", LONG_MS);
        requests[i] = &ret[i];
    }
    storage->execute(session, requests, BATCH);
    for (size_t i = 0; i < BATCH; i++)
        assert_status(ret[i], wanted);
}

static void a_batch_of_256_is_answered_one_by_one(void **state)
{
    (void)state;
    void *session = open_session();
    const char *keys[BATCH];
    dlock_request *answers = calloc(BATCH, sizeof *answers);
    assert_non_null(answers);
    for (size_t i = 0; i < BATCH; i++) {
        char name[16];
        snprintf(name, sizeof name, "key %zu", i);
        keys[i] = key_of(name);
    }
    ask_all(session, DLOCK_ACQUIRE, keys, answers, DLOCK_OK);
    if (storage->capabilities & DLOCK_STORAGE_FENCES)
        for (size_t i = 0; i < BATCH; i++)
            for (size_t j = 0; j < i; j++)
                assert_true(answers[i].info.fence != answers[j].info.fence);
    ask_all(session, DLOCK_EXTEND, keys, answers, DLOCK_OK);
    ask_all(session, DLOCK_INSPECT, keys, answers, DLOCK_OK);
    for (size_t i = 0; i < BATCH; i++)
        assert_string_equal(answers[i].info.owner, "owner");
    if (storage->list)
        assert_listed(session, key_prefix(), keys, BATCH);
    ask_all(session, DLOCK_RELEASE, keys, answers, DLOCK_OK);
    ask_all(session, DLOCK_RELEASE, keys, answers, DLOCK_LOST);
    free(answers);
    close_session(session);
}

/* ---- races --------------------------------------------------------------------------------------------------------
 */

#define RACERS 4
#define ROUNDS 40

struct race {
    pthread_barrier_t start, end;
    const char *key;
    dlock_request answers[RACERS];
    uint64_t fences[ROUNDS];
    unsigned winners[ROUNDS];
    unsigned contended[ROUNDS];
    unsigned strange[ROUNDS]; /* neither OK nor BUSY */
};

struct racer {
    struct race *race;
    unsigned number;
    void *session;
};

static void *run_race(void *arg)
{
    struct racer *racer = arg;
    struct race *race = racer->race;
    for (unsigned round = 0; round < ROUNDS; round++) {
        char owner[32];
        snprintf(owner, sizeof owner, "racer %u.%u", racer->number, round);
        pthread_barrier_wait(&race->start);
        race->answers[racer->number] = ask(racer->session, DLOCK_ACQUIRE, race->key, owner, LONG_MS);
        pthread_barrier_wait(&race->end);
        const dlock_request *answer = &race->answers[racer->number];
        if (racer->number == 0)
            for (unsigned i = 0; i < RACERS; i++) {
                race->winners[round] += race->answers[i].status == DLOCK_OK;
                race->contended[round] += race->answers[i].contended;
                race->strange[round] += race->answers[i].status != DLOCK_OK && race->answers[i].status != DLOCK_BUSY;
                if (race->answers[i].status == DLOCK_OK)
                    race->fences[round] = race->answers[i].info.fence;
            }
        if (answer->status == DLOCK_OK)
            ask(racer->session, DLOCK_RELEASE, race->key, owner, 0);
    }
    return NULL;
}

/* Except where a storage in several places says that all were in each other's way. */
static void exactly_one_of_several_wins_each_round(void **state)
{
    (void)state;
    struct race *race = calloc(1, sizeof *race);
    assert_non_null(race);
    race->key = key_of("key");
    pthread_barrier_init(&race->start, NULL, RACERS);
    pthread_barrier_init(&race->end, NULL, RACERS);
    struct racer racers[RACERS];
    pthread_t threads[RACERS];
    for (unsigned i = 0; i < RACERS; i++)
        racers[i] = (struct racer){.race = race, .number = i, .session = open_session()};
    for (unsigned i = 0; i < RACERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_race, &racers[i]), 0);
    for (unsigned i = 0; i < RACERS; i++)
        pthread_join(threads[i], NULL);
    uint64_t last_fence = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        assert_int_equal(race->strange[round], 0);
        assert_int_equal(race->winners[round] + (!race->winners[round] && race->contended[round]), 1);
        if (race->winners[round] == 1 && storage->capabilities & DLOCK_STORAGE_FENCES) {
            assert_true(race->fences[round] > last_fence);
            last_fence = race->fences[round];
        }
    }
    for (unsigned i = 0; i < RACERS; i++)
        close_session(racers[i].session);
    pthread_barrier_destroy(&race->start);
    pthread_barrier_destroy(&race->end);
    free(race);
}

/* ---- watching -----------------------------------------------------------------------------------------------------
 */

struct heard {
    const char *key;
    unsigned count;
};

static void hear(void *arg, const char *key)
{
    struct heard *heard = arg;
    if (!key || strcmp(key, heard->key) == 0)
        heard->count++;
}

static void wait_for_hint(void *watcher, const char *key)
{
    struct heard heard = {.key = key};
    struct pollfd polled = {.fd = storage->watch_fd(watcher), .events = POLLIN};
    dlock_error error;
    while (heard.count == 0) {
        assert_int_equal(poll(&polled, 1, PATIENCE_MS), 1);
        if (storage->watch_read(watcher, hear, &heard, &error) != DLOCK_OK)
            fail_msg("watch_read: %s", error.message);
    }
}

static void *open_watcher(const char *key)
{
    dlock_error error;
    void *session = open_session();
    assert_true(storage->watch_fd(session) >= 0);
    if (storage->watch(session, key, &error) != DLOCK_OK)
        fail_msg("watch: %s", error.message);
    return session;
}

static void a_hint_comes_after_each_release_and_break(void **state)
{
    (void)state;
    const char *key = key_of("key");
    void *holder = open_session(), *watchers[] = {open_watcher(key), open_watcher(key)};
    for (unsigned i = 0; i < 3; i++) {
        acquire(holder, key, "owner", LONG_MS);
        assert_status(i == 1 ? ask(holder, DLOCK_BREAK, key, NULL, 0) : ask(holder, DLOCK_RELEASE, key, "owner", 0),
                      DLOCK_OK);
        wait_for_hint(watchers[0], key); /* every watcher is told */
        wait_for_hint(watchers[1], key);
    }
    close_session(watchers[0]);
    close_session(watchers[1]);
    close_session(holder);
}

static void many_keys_are_watched_by_one_session(void **state)
{
    (void)state;
    enum { COUNT = 40 };
    const char *keys[COUNT];
    void *holder = open_session(), *watcher = open_session();
    for (unsigned i = 0; i < COUNT; i++) {
        char name[16];
        snprintf(name, sizeof name, "key %u", i);
        keys[i] = key_of(name);
        assert_int_equal(storage->watch(watcher, keys[i], NULL), DLOCK_OK);
        acquire(holder, keys[i], "owner", LONG_MS);
    }
    for (unsigned i = 0; i < COUNT; i += 2)
        storage->unwatch(watcher, keys[i]);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_status(ask(holder, DLOCK_RELEASE, keys[i], "owner", 0), DLOCK_OK);
        if (i % 2)
            wait_for_hint(watcher, keys[i]);
    }
    close_session(watcher);
    close_session(holder);
}

/* The session may read of it while it waits for an answer to something else. */
static void a_hint_is_not_lost_while_another_key_is_watched_or_unwatched(void **state)
{
    (void)state;
    const char *key = key_of("key"), *other = key_of("other");
    void *holder = open_session(), *watcher = open_watcher(key);
    for (unsigned i = 0; i < 2; i++) {
        acquire(holder, key, "owner", LONG_MS);
        assert_status(ask(holder, DLOCK_RELEASE, key, "owner", 0), DLOCK_OK);
        if (i == 0)
            assert_int_equal(storage->watch(watcher, other, NULL), DLOCK_OK);
        else
            storage->unwatch(watcher, other);
        wait_for_hint(watcher, key);
    }
    close_session(watcher);
    close_session(holder);
}

static void a_key_can_be_watched_again(void **state)
{
    (void)state;
    const char *key = key_of("key");
    void *holder = open_session(), *watcher = open_watcher(key);
    storage->unwatch(watcher, key);
    assert_int_equal(storage->watch(watcher, key, NULL), DLOCK_OK);
    acquire(holder, key, "owner", LONG_MS);
    assert_status(ask(holder, DLOCK_RELEASE, key, "owner", 0), DLOCK_OK);
    wait_for_hint(watcher, key);
    close_session(watcher);
    close_session(holder);
}

const struct CMUnitTest storage_tests[] = {
    cmocka_unit_test(describes_itself),
    cmocka_unit_test(acquire_gives_the_key_to_one_owner),
    cmocka_unit_test(owners_differ_by_every_byte),
    cmocka_unit_test(the_longest_owner_is_kept_whole),
    cmocka_unit_test(a_resend_of_the_holder_is_answered_as_before),
    cmocka_unit_test(busy_changes_nothing),
    cmocka_unit_test(an_expired_key_is_free_for_one_whole_ttl),
    cmocka_unit_test(extend_counts_the_ttl_anew),
    cmocka_unit_test(extend_keeps_others_out),
    cmocka_unit_test(extend_brings_nothing_back),
    cmocka_unit_test(release_frees_the_key_once),
    cmocka_unit_test(release_of_an_expired_hold_is_lost),
    cmocka_unit_test(a_stale_owner_changes_nothing),
    cmocka_unit_test(break_takes_the_key_from_anybody),
    cmocka_unit_test(inspect_tells_of_a_hold),
    cmocka_unit_test(a_hold_outlives_its_session),
    cmocka_unit_test(fences_grow_over_keys_release_expiry_and_break),
    cmocka_unit_test(fences_grow_over_sessions),
    cmocka_unit_test(the_same_owner_gets_a_new_fence_after_expiry),
    cmocka_unit_test(keys_differ_by_every_byte),
    cmocka_unit_test(the_longest_keys_are_kept_whole),
    cmocka_unit_test(requests_of_one_key_keep_their_order),
    cmocka_unit_test(a_batch_of_256_is_answered_one_by_one),
    cmocka_unit_test(exactly_one_of_several_wins_each_round),
};
const size_t storage_test_count = sizeof storage_tests / sizeof storage_tests[0];

const struct CMUnitTest list_tests[] = {
    cmocka_unit_test(list_takes_the_prefix_as_it_is),
    cmocka_unit_test(list_stops_when_told),
    cmocka_unit_test(list_tells_what_inspect_tells),
    cmocka_unit_test(nothing_is_listed_that_is_over),
};
const size_t list_test_count = sizeof list_tests / sizeof list_tests[0];

const struct CMUnitTest watch_tests[] = {
    cmocka_unit_test(a_hint_comes_after_each_release_and_break),
    cmocka_unit_test(many_keys_are_watched_by_one_session),
    cmocka_unit_test(a_hint_is_not_lost_while_another_key_is_watched_or_unwatched),
    cmocka_unit_test(a_key_can_be_watched_again),
};
const size_t watch_test_count = sizeof watch_tests / sizeof watch_tests[0];
