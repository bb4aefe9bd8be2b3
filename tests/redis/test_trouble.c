/* test_trouble.c - one server in trouble: it is killed, loads, is a replica, is full, busy, or cannot save; or its keys
 * are not what they should be.
 *
 * Each trouble is made for real, told with the server's name and in its own words, and forgotten when it is over. */
#include "fixture.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* One that forgets everything when it is killed, and one that does not. */
static struct server server, lasting;

static int set_up(void **state)
{
    struct client *client = client_open(LONG_MS, "%s", server.url);
    raw(&server, 0, "FLUSHALL");
    *state = client;
    return 0;
}

static int tear_down(void **state)
{
    client_close(*state);
    return 0;
}

/* Nobody gets a lock for a while, and nothing is left of the attempt. */
static void assert_refuses_acquires(struct client *client, const char *cause)
{
    const dlock_request acquire = client_ask(client, DLOCK_ACQUIRE, "key", "owner", LONG_MS);
    assert_failed(acquire, DLOCK_UNAVAILABLE, name_of(&server, 0), cause);
    assert_true(acquire.not_done);
}

static void assert_refuses_writes(struct client *client, const char *cause)
{
    assert_refuses_acquires(client, cause);
    const dlock_request extend = client_ask(client, DLOCK_EXTEND, "held", "holder", LONG_MS);
    assert_failed(extend, DLOCK_UNAVAILABLE, name_of(&server, 0), cause);
    assert_true(extend.not_done);
}

static void hold(struct client *client)
{
    assert_status(client_ask(client, DLOCK_ACQUIRE, "held", "holder", LONG_MS), DLOCK_OK);
}

/* The trouble is over. */
static void assert_holds_and_works(struct client *client)
{
    assert_works(client, "key");
    assert_status(client_ask(client, DLOCK_EXTEND, "held", "holder", LONG_MS), DLOCK_OK);
    assert_status(client_ask(client, DLOCK_RELEASE, "held", "holder", 0), DLOCK_OK);
}

/* ---- restarts -----------------------------------------------------------------------------------------------------
 */

static void restarted_between_calls(void **state)
{
    struct client *client = *state;
    const uint64_t before = assert_works(client, "key");
    const int64_t since = dlock_clock_us();
    server_tell(&server, "kill");
    server_tell(&server, "start");
    wait_for(dlock_clock_us() - since > 15000); /* so that the connection counts as idle */
    assert_true(assert_works(client, "key") > before);
}

static void not_there(void **state)
{
    struct client *client = *state;
    assert_works(client, "key");
    server_tell(&server, "kill");
    assert_status(client_ask(client, DLOCK_ACQUIRE, "key", "owner", LONG_MS), DLOCK_UNAVAILABLE);
    const dlock_request request = client_ask(client, DLOCK_ACQUIRE, "key", "owner", LONG_MS);
    assert_failed(request, DLOCK_UNAVAILABLE, name_of(&server, 0), "Connection refused");
    assert_true(request.not_done);
    server_tell(&server, "start");
    assert_works(client, "key");
}

struct caller {
    dlock *lock;
    dlock_status status;
    dlock_error error;
};

static void *acquire_and_wait(void *arg)
{
    struct caller *caller = arg;
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;
    options.ttl_ms = LONG_MS;
    options.wait_ms = DLOCK_WAIT_FOREVER;
    options.interval_ms = 10;
    caller->status = dlock_acquire(caller->lock, &options, &caller->error);
    return NULL;
}

/* The server has the request when it dies. */
static void restarted_during_a_call(void **state)
{
    (void)state;
    struct proxy proxy;
    proxy_start(&proxy, "127.0.0.1", server_port(&server, 0));
    dlock_factory *factory = factory_open("redis://127.0.0.1:%d", proxy.port);
    struct caller caller = {.lock = lock_of(factory, "key")};
    pthread_t thread;
    server_tell(&server, "pause");
    assert_int_equal(pthread_create(&thread, NULL, acquire_and_wait, &caller), 0);
    wait_for(proxy_counts(&proxy).request_bytes > 0);
    server_tell(&server, "kill");
    server_tell(&server, "start");
    pthread_join(thread, NULL);
    assert_call(caller.status, DLOCK_OK, &caller.error);
    assert_true(dlock_is_held(caller.lock));
    assert_call(dlock_release(caller.lock, &caller.error), DLOCK_OK, &caller.error);
    dlock_free(caller.lock);
    dlock_factory_close(factory);
    proxy_stop(&proxy);
}

/* One node that forgets its keys cannot do better: but the first holder learns it, and its fence is the smaller one. */
static void a_hold_that_the_server_forgot(void **state)
{
    (void)state;
    dlock_factory *first = factory_open("%s", server.url), *second = factory_open("%s", server.url);
    dlock *one = lock_of(first, "key"), *two = lock_of(second, "key");
    dlock_error error;
    dlock_event event;
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;
    options.ttl_ms = 2000;
    options.renew = true;
    assert_call(dlock_acquire(one, &options, &error), DLOCK_OK, &error);
    const uint64_t fence = dlock_fence(one);
    server_tell(&server, "kill");
    server_tell(&server, "start");
    assert_call(dlock_acquire(two, &options, &error), DLOCK_OK, &error);
    assert_true(dlock_fence(two) > fence);
    wait_for(dlock_factory_events(first, &event, 1) == 1);
    assert_int_equal(event.type, DLOCK_EVENT_LOST);
    assert_false(dlock_is_held(one));
    assert_call(dlock_release(one, &error), DLOCK_LOST, &error);
    assert_call(dlock_release(two, &error), DLOCK_OK, &error);
    dlock_free(one);
    dlock_free(two);
    dlock_factory_close(first);
    dlock_factory_close(second);
}

static void the_script_is_forgotten(void **state)
{
    struct client *client = *state;
    assert_status(client_ask(client, DLOCK_ACQUIRE, "key", "owner", LONG_MS), DLOCK_OK);
    raw(&server, 0, "SCRIPT FLUSH");
    assert_status(client_ask(client, DLOCK_EXTEND, "key", "owner", LONG_MS), DLOCK_OK);
    raw(&server, 0, "SCRIPT FLUSH");
    assert_status(client_ask(client, DLOCK_RELEASE, "key", "owner", 0), DLOCK_OK);
    raw(&server, 0, "SCRIPT FLUSH");
    assert_string_equal(client_ask(client, DLOCK_INSPECT, "key", NULL, 0).info.owner, "");
}

/* ---- -LOADING and the like ----------------------------------------------------------------------------------------
 */

static void loading(void **state)
{
    (void)state;
    struct client *client = client_open(LONG_MS, "%s", lasting.url);
    dlock_request request;
    assert_status(client_ask(client, DLOCK_ACQUIRE, "held", "holder", LONG_MS), DLOCK_OK);
    raw(&lasting, 0, "EVAL %s 0", "for i = 1, 60000 do redis.call('SET', 'filler' .. i, i) end");
    server_tell(&lasting, "kill");
    server_tell(&lasting, "launch"); /* takes half a minute, as it is set */
    do
        request = client_ask(client, DLOCK_ACQUIRE, "key", "owner", LONG_MS);
    while (request.status == DLOCK_UNAVAILABLE && !strstr(request.message, "LOADING"));
    assert_failed(request, DLOCK_UNAVAILABLE, name_of(&lasting, 0), "LOADING");
    assert_true(request.not_done);
    raw(&lasting, 0, "CONFIG SET key-load-delay 0");
    client_ask_until(client, DLOCK_OK, DLOCK_ACQUIRE, "key", "owner", LONG_MS);
    assert_status(client_ask(client, DLOCK_ACQUIRE, "held", "other", LONG_MS), DLOCK_BUSY);
    assert_status(client_ask(client, DLOCK_RELEASE, "held", "holder", 0), DLOCK_OK);
    client_close(client);
}

static void a_replica(void **state)
{
    hold(*state);
    raw(&server, 0, "REPLICAOF 127.0.0.1 1");
    assert_refuses_writes(*state, "READONLY");
    assert_failed(client_ask(*state, DLOCK_RELEASE, "held", "holder", 0), DLOCK_UNAVAILABLE, name_of(&server, 0),
                  "READONLY");
    raw(&server, 0, "REPLICAOF NO ONE");
    assert_holds_and_works(*state);
}

static void a_replica_without_its_primary(void **state)
{
    hold(*state);
    raw(&server, 0, "CONFIG SET replica-serve-stale-data no");
    raw(&server, 0, "REPLICAOF 127.0.0.1 1");
    assert_refuses_writes(*state, "MASTERDOWN");
    assert_status(client_ask(*state, DLOCK_INSPECT, "held", NULL, 0), DLOCK_UNAVAILABLE);
    raw(&server, 0, "REPLICAOF NO ONE");
    raw(&server, 0, "CONFIG SET replica-serve-stale-data yes");
    assert_holds_and_works(*state);
}

static void too_few_replicas(void **state)
{
    hold(*state);
    raw(&server, 0, "CONFIG SET min-replicas-to-write 1");
    assert_refuses_writes(*state, "NOREPLICAS");
    raw(&server, 0, "CONFIG SET min-replicas-to-write 0");
    assert_holds_and_works(*state);
}

/* A hold can still be given up. */
static void out_of_memory(void **state)
{
    hold(*state);
    raw(&server, 0, "CONFIG SET maxmemory 1");
    assert_refuses_acquires(*state, "OOM");
    assert_status(client_ask(*state, DLOCK_EXTEND, "held", "holder", LONG_MS), DLOCK_OK); /* takes no memory */
    assert_string_equal(client_ask(*state, DLOCK_INSPECT, "held", NULL, 0).info.owner, "holder");
    assert_status(client_ask(*state, DLOCK_RELEASE, "held", "holder", 0), DLOCK_OK);
    raw(&server, 0, "CONFIG SET maxmemory 0");
    hold(*state);
    assert_holds_and_works(*state);
}

static void *run_for_ever(void *arg)
{
    (void)arg;
    raw(&server, 0, "EVAL %s 0", "while true do end");
    return NULL;
}

static void busy_with_a_script_of_somebody_else(void **state)
{
    pthread_t thread;
    hold(*state);
    assert_int_equal(pthread_create(&thread, NULL, run_for_ever, NULL), 0);
    client_ask_until(*state, DLOCK_UNAVAILABLE, DLOCK_INSPECT, "held", NULL, 0);
    assert_refuses_writes(*state, "BUSY");
    raw(&server, 0, "SCRIPT KILL");
    pthread_join(thread, NULL);
    assert_holds_and_works(*state);
}

static void it_cannot_save(void **state)
{
    char folder[256], gone[300];
    hold(*state);
    snprintf(folder, sizeof folder, "%s", server_tell(&server, "folder 0"));
    snprintf(gone, sizeof gone, "%s/gone", folder);
    raw(&server, 0, "CONFIG SET save %s", "3600 1");
    assert_int_equal(mkdir(gone, 0700), 0);
    assert_string_equal(raw(&server, 0, "CONFIG SET dir %s", gone), "OK");
    assert_int_equal(rmdir(gone), 0);
    raw(&server, 0, "BGSAVE");
    wait_for(strstr(raw(&server, 0, "INFO persistence"), "rdb_last_bgsave_status:err"));
    assert_refuses_writes(*state, "MISCONF");
    assert_string_equal(raw(&server, 0, "CONFIG SET dir %s", folder), "OK");
    raw(&server, 0, "CONFIG SET stop-writes-on-bgsave-error no");
    assert_holds_and_works(*state);
    raw(&server, 0, "CONFIG SET save %s", "");
}

/* ---- keys ---------------------------------------------------------------------------------------------------------
 */

static void a_key_of_another_kind_is_left_alone(void **state)
{
    struct client *client = *state;
    static const dlock_operation operations[] = {DLOCK_ACQUIRE, DLOCK_EXTEND, DLOCK_RELEASE, DLOCK_INSPECT,
                                                 DLOCK_BREAK};
    raw(&server, 0, "RPUSH distributed-locks:key one two");
    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++)
        assert_failed(client_ask(client, operations[i], "key", "owner", LONG_MS), DLOCK_REFUSED, name_of(&server, 0),
                      "WRONGTYPE");
    assert_string_equal(raw(&server, 0, "LRANGE distributed-locks:key 0 -1"), "one two");
    raw(&server, 0, "DEL distributed-locks:key");
    assert_works(client, "key");
}

static void a_counter_of_another_kind(void **state)
{
    struct client *client = *state;
    raw(&server, 0, "DEL distributed-locks#fence");
    raw(&server, 0, "RPUSH distributed-locks#fence one");
    assert_failed(client_ask(client, DLOCK_ACQUIRE, "key", "owner", LONG_MS), DLOCK_REFUSED, name_of(&server, 0),
                  "WRONGTYPE");
    assert_string_equal(raw_keys(&server, 0), "distributed-locks#fence");
    raw(&server, 0, "DEL distributed-locks#fence");
    assert_works(client, "key");
}

/* What another library writes: its token, with an expiry or without. */
static void a_key_of_another_library_is_respected(void **state)
{
    struct client *client = *state;
    static const char token[] = "host:42:0123456789abcdef0123456789abcdef";
    raw(&server, 0, "SET distributed-locks:key %s PX 500000", token);
    dlock_request request = client_ask(client, DLOCK_ACQUIRE, "key", "owner", LONG_MS);
    assert_status(request, DLOCK_BUSY);
    assert_string_equal(request.info.owner, token);
    assert_true(request.info.remaining_ms > 300000 && request.info.remaining_ms <= 500000);
    assert_status(client_ask(client, DLOCK_EXTEND, "key", token, LONG_MS), DLOCK_LOST);
    assert_status(client_ask(client, DLOCK_RELEASE, "key", "owner", 0), DLOCK_LOST);
    assert_string_equal(raw(&server, 0, "GET distributed-locks:key"), token);

    raw(&server, 0, "SET distributed-locks:key %s", token);
    request = client_ask(client, DLOCK_ACQUIRE, "key", "owner", LONG_MS);
    assert_status(request, DLOCK_BUSY);
    assert_int_equal(request.info.remaining_ms, -1);
    assert_status(client_ask(client, DLOCK_BREAK, "key", NULL, 0), DLOCK_OK);

    /* And the other way round: it finds the key set, and what it deletes by its token is not ours. */
    assert_status(client_ask(client, DLOCK_ACQUIRE, "key", "owner", LONG_MS), DLOCK_OK);
    assert_string_equal(raw(&server, 0, "SET distributed-locks:key %s NX PX 10000", token), "nil");
    assert_status(client_ask(client, DLOCK_RELEASE, "key", "owner", 0), DLOCK_OK);
    assert_string_equal(raw(&server, 0, "SET distributed-locks:key %s NX PX 10000", token), "OK");
}

static void nothing_grows(void **state)
{
    struct client *client = *state;
    dlock_request batch[125];
    char keys[125][16];
    for (int turn = 0; turn < 8; turn++) {
        /* Half of them are released, the others expire. */
        const bool expire = turn % 2;
        for (int i = 0; i < 125; i++) {
            snprintf(keys[i], sizeof keys[i], "key-%d-%d", turn, i);
            batch[i] = request_of(DLOCK_ACQUIRE, keys[i], "owner", expire ? 10 : LONG_MS);
        }
        client_execute(client, batch, 125);
        for (int i = 0; i < 125; i++) {
            assert_status(batch[i], DLOCK_OK);
            batch[i] = request_of(DLOCK_RELEASE, keys[i], "owner", 0);
        }
        if (!expire)
            client_execute(client, batch, 125);
    }
    wait_for(strtol(raw(&server, 0, "DBSIZE"), NULL, 10) == 1);
    assert_string_equal(raw_keys(&server, 0), "distributed-locks#fence");
}

/* ---- fences -------------------------------------------------------------------------------------------------------
 */

static void fences_grow(void **state)
{
    struct client *client = *state;
    uint64_t fence = assert_works(client, "one"), next = assert_works(client, "two");
    assert_true(next > fence); /* also of different keys */
    fence = next;

    assert_status(client_ask(client, DLOCK_ACQUIRE, "key", "short", 10), DLOCK_OK);
    const dlock_request request = client_ask_until(client, DLOCK_OK, DLOCK_ACQUIRE, "key", "next", LONG_MS);
    assert_true(request.info.fence > fence); /* after its end */
    fence = request.info.fence;

    raw(&server, 0, "FLUSHALL");
    next = assert_works(client, "key");
    assert_true(next > fence);
    fence = next;

    server_tell(&server, "kill");
    server_tell(&server, "start");
    client_ask_until(client, DLOCK_OK, DLOCK_INSPECT, "key", NULL, 0);
    next = assert_works(client, "key");
    assert_true(next > fence);
    fence = next;

    /* The counter may be ahead of the clock, when that was set back. */
    const uint64_t ahead = fence + 1000000000000;
    raw(&server, 0, "SET distributed-locks#fence %" PRIu64, ahead);
    for (uint64_t i = 1; i <= 3; i++)
        assert_int_equal(assert_works(client, "key"), ahead + i);

    raw(&server, 0, "SET distributed-locks#fence rubbish");
    assert_true(assert_works(client, "key") > fence);
}

static void fences_are_kept_on_the_disk(void **state)
{
    (void)state;
    struct client *client = client_open(LONG_MS, "%s", lasting.url);
    raw(&lasting, 0, "FLUSHALL");
    const uint64_t ahead = UINT64_C(4000000000000000); /* in the year 2096 */
    raw(&lasting, 0, "SET distributed-locks#fence %" PRIu64, ahead);
    assert_works(client, "key");
    server_tell(&lasting, "kill");
    server_tell(&lasting, "start");
    client_ask_until(client, DLOCK_OK, DLOCK_INSPECT, "key", NULL, 0);
    assert_int_equal(assert_works(client, "key"), ahead + 2);
    client_close(client);
}

#define trouble_test(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        trouble_test(restarted_between_calls),
        trouble_test(not_there),
        trouble_test(restarted_during_a_call),
        trouble_test(a_hold_that_the_server_forgot),
        trouble_test(the_script_is_forgotten),
        trouble_test(fences_are_kept_on_the_disk),
        trouble_test(loading),
        trouble_test(a_replica),
        trouble_test(a_replica_without_its_primary),
        trouble_test(too_few_replicas),
        trouble_test(out_of_memory),
        trouble_test(busy_with_a_script_of_somebody_else),
        trouble_test(it_cannot_save),
        trouble_test(a_key_of_another_kind_is_left_alone),
        trouble_test(a_counter_of_another_kind),
        trouble_test(a_key_of_another_library_is_respected),
        trouble_test(nothing_grows),
        trouble_test(fences_grow),
    };
    server_start_or_skip(&server, "redis", "--config", "enable-protected-configs yes", "--config", "lua-time-limit 10");
    server_start_or_skip(&lasting, "redis", "--appendfsync", "always", "--config", "key-load-delay 500");
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    server_stop(&server);
    server_stop(&lasting);
    return failed;
}
