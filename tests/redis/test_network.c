/* test_network.c - one node behind a network that fails: connections that are never made, hang, break in the middle of
 * a reply or after the request was carried out, or let one byte through at a time; and how much goes over it. */
#include "fixture.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PASSWORD "s3cr3t"

static struct server plain, guarded, encrypted;
static struct proxy proxy, guarded_proxy, encrypted_proxy;

static struct client *client_behind_proxy(uint32_t timeout_ms)
{
    return client_open(timeout_ms, "redis://127.0.0.1:%d", proxy.port);
}

static int set_up(void **state)
{
    (void)state;
    raw(&plain, 0, "FLUSHALL");
    proxy_start(&proxy, "127.0.0.1", server_port(&plain, 0));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    proxy_stop(&proxy);
    return 0;
}

static bool has_key(const char *key)
{
    return strcmp(raw(&plain, 0, "EXISTS distributed-locks:%s", key), "1") == 0;
}

/* The fence that stands in the record of a key. */
static uint64_t recorded_fence(const char *key)
{
    const char *space = strchr(raw(&plain, 0, "GET distributed-locks:%s", key), ' ');
    assert_non_null(space);
    return strtoull(space, NULL, 10);
}

/* Until a connection that was not used for so long is looked at before it is used again. */
static void let_it_idle(void)
{
    const int64_t since = dlock_clock_us();
    wait_for(dlock_clock_us() - since > 15000);
}

/* ---- no connection ------------------------------------------------------------------------------------------------
 */

static void nobody_accepts(void **state)
{
    (void)state;
    struct client *client = client_behind_proxy(LONG_MS);
    proxy_enter(&proxy, PROXY_REFUSE);
    const dlock_request request = client_ask(client, DLOCK_ACQUIRE, "key", "owner", LONG_MS);
    assert_failed(request, DLOCK_UNAVAILABLE, name_of_proxy(&proxy), "Connection refused");
    assert_true(request.not_done);
    proxy_pass(&proxy);
    assert_works(client, "key");
    client_close(client);
}

/* Without the timeout of connecting this would last for ten minutes. */
static void connecting_goes_on_and_on(void **state)
{
    (void)state;
    struct client *client = client_open(LONG_MS, "redis://127.0.0.1:%d?connect_timeout_ms=100", proxy.port);
    proxy_enter(&proxy, PROXY_SILENCE);
    const dlock_request request = client_ask(client, DLOCK_ACQUIRE, "key", "owner", LONG_MS);
    assert_failed(request, DLOCK_UNAVAILABLE, name_of_proxy(&proxy), "");
    assert_true(request.not_done);
    client_close(client);

    /* It is never longer than the timeout of all. */
    client = client_behind_proxy(100);
    assert_failed(client_ask(client, DLOCK_ACQUIRE, "key", "owner", LONG_MS), DLOCK_UNAVAILABLE, name_of_proxy(&proxy),
                  "");
    proxy_pass(&proxy);
    client_close(client);
    client = client_behind_proxy(LONG_MS);
    assert_works(client, "key");
    client_close(client);
}

static void the_handshake_of_tls_goes_on_and_on(void **state)
{
    (void)state;
    char url[1024];
    snprintf(url, sizeof url, "rediss://127.0.0.1:%d%s&connect_timeout_ms=100", encrypted_proxy.port,
             strchr(encrypted.url, '?'));
    struct client *client = client_open(LONG_MS, "%s", url);
    proxy_black_hole(&encrypted_proxy);
    const dlock_request request = client_ask(client, DLOCK_ACQUIRE, "key", "owner", LONG_MS);
    assert_failed(request, DLOCK_UNAVAILABLE, name_of_proxy(&encrypted_proxy), "does not answer");
    assert_true(request.not_done);
    proxy_pass(&encrypted_proxy);
    client_close(client);
}

/* ---- no answer ----------------------------------------------------------------------------------------------------
 */

static void half_open(void **state)
{
    (void)state;
    struct client *client = client_behind_proxy(100), *other = client_open(LONG_MS, "%s", plain.url);
    assert_status(client_ask_until(client, DLOCK_OK, DLOCK_ACQUIRE, "key", "owner", LONG_MS), DLOCK_OK);
    proxy_black_hole(&proxy);
    static const dlock_operation operations[] = {DLOCK_ACQUIRE, DLOCK_EXTEND, DLOCK_RELEASE, DLOCK_INSPECT,
                                                 DLOCK_BREAK};
    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++) {
        const dlock_request request = client_ask(client, operations[i], "key", "owner", LONG_MS);
        assert_failed(request, DLOCK_UNAVAILABLE, name_of_proxy(&proxy), "no answer in time");
        assert_false(request.not_done); /* for all that we know */
    }
    proxy_pass(&proxy);
    assert_status(client_ask(other, DLOCK_ACQUIRE, "key", "other", LONG_MS), DLOCK_BUSY);
    client_ask_until(client, DLOCK_OK, DLOCK_RELEASE, "key", "owner", 0);
    client_close(client);
    client_close(other);
}

/* A late reply must not be taken for that of a newer request: the connection is of no use any more. */
static void replies_that_come_too_late(void **state)
{
    (void)state;
    struct client *client = client_behind_proxy(100);
    client_ask_until(client, DLOCK_OK, DLOCK_ACQUIRE, "key", "owner", LONG_MS);
    proxy_hold_replies(&proxy, true);
    assert_status(client_ask(client, DLOCK_EXTEND, "key", "owner", LONG_MS), DLOCK_UNAVAILABLE);
    proxy_hold_replies(&proxy, false);
    const dlock_request request = client_ask_until(client, DLOCK_OK, DLOCK_INSPECT, "key", NULL, 0);
    assert_string_equal(request.info.owner, "owner");
    client_close(client);
}

/* What an acquire left that was given up is released as soon as that can be. */
static void what_an_acquire_left_is_released(void **state)
{
    (void)state;
    dlock_factory *factory = factory_open("redis://127.0.0.1:%d?timeout_ms=100", proxy.port);
    dlock *lock = lock_of(factory, "left");
    dlock_error error;
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;
    options.ttl_ms = LONG_MS;
    options.retries = 1;
    proxy_hold_replies(&proxy, true);
    assert_call(dlock_acquire(lock, &options, &error), DLOCK_UNAVAILABLE, &error);
    assert_non_null(strstr(error.message, name_of_proxy(&proxy)));
    proxy_hold_replies(&proxy, false);
    wait_for(!has_key("left"));
    dlock_free(lock);
    dlock_factory_close(factory);
}

/* ---- connections that break ---------------------------------------------------------------------------------------
 */

static void a_connection_that_was_cut_while_idle_is_not_noticed(void **state)
{
    (void)state;
    struct client *client = client_behind_proxy(LONG_MS);
    static const enum proxy_cut ways[] = {PROXY_FIN, PROXY_RST};
    for (size_t i = 0; i < 2; i++) {
        assert_status(client_ask(client, DLOCK_ACQUIRE, "key", "owner", LONG_MS), DLOCK_OK);
        let_it_idle();
        proxy_cut(&proxy, ways[i]);
        assert_status(client_ask(client, DLOCK_EXTEND, "key", "owner", LONG_MS), DLOCK_OK);
        let_it_idle();
        proxy_cut(&proxy, ways[i]);
        assert_status(client_ask(client, DLOCK_RELEASE, "key", "owner", 0), DLOCK_OK);
    }
    assert_int_equal(proxy_counts(&proxy).cut, 4);
    client_close(client);
}

static void a_connection_that_the_server_closed_is_not_noticed(void **state)
{
    (void)state;
    struct server *const servers[] = {&plain, &encrypted};
    for (size_t i = 0; i < 2; i++) {
        struct client *client = client_open(LONG_MS, "%s", servers[i]->url);
        assert_status(client_ask(client, DLOCK_ACQUIRE, "key", "owner", LONG_MS), DLOCK_OK);
        let_it_idle();
        assert_int_equal(strtol(raw(servers[i], 0, "CLIENT KILL TYPE normal"), NULL, 10), 1);
        assert_status(client_ask(client, DLOCK_RELEASE, "key", "owner", 0), DLOCK_OK);
        client_close(client);
    }
}

/* The request was carried out, of its reply only a part comes. */
static void cut_in_the_middle_of_a_reply(void **state)
{
    (void)state;
    struct client *client = client_behind_proxy(LONG_MS);
    for (size_t bytes = 1; bytes < sizeof "$16\r\n1234567890123456\r\n" - 1; bytes += 2) {
        proxy_cut_after(&proxy, bytes, bytes % 4 == 1 ? PROXY_FIN : PROXY_RST);
        const dlock_request cut = client_ask(client, DLOCK_ACQUIRE, "key", "owner", LONG_MS);
        assert_failed(cut, DLOCK_UNAVAILABLE, name_of_proxy(&proxy), "onnection");
        assert_false(cut.not_done);
        const uint64_t fence = recorded_fence("key");
        const dlock_request again = client_ask(client, DLOCK_ACQUIRE, "key", "owner", LONG_MS);
        assert_status(again, DLOCK_OK);
        assert_int_equal(again.info.fence, fence);
        assert_status(client_ask(client, DLOCK_RELEASE, "key", "owner", 0), DLOCK_OK);
    }
    client_close(client);
}

static void the_reply_is_lost_after_the_request_was_carried_out(void **state)
{
    (void)state;
    struct client *client = client_behind_proxy(LONG_MS);
    proxy_drop_replies(&proxy, 1, PROXY_RST);
    assert_status(client_ask(client, DLOCK_ACQUIRE, "key", "owner", 100000), DLOCK_UNAVAILABLE);
    assert_true(has_key("key"));
    const uint64_t fence = recorded_fence("key");
    assert_status(client_ask(client, DLOCK_ACQUIRE, "key", "stranger", LONG_MS), DLOCK_BUSY);
    const dlock_request again = client_ask(client, DLOCK_ACQUIRE, "key", "owner", 100000);
    assert_status(again, DLOCK_OK);
    assert_int_equal(again.info.fence, fence);

    proxy_drop_replies(&proxy, 1, PROXY_FIN);
    assert_status(client_ask(client, DLOCK_EXTEND, "key", "owner", LONG_MS), DLOCK_UNAVAILABLE);
    assert_true(strtol(raw(&plain, 0, "PTTL distributed-locks:key"), NULL, 10) > 100000);
    assert_status(client_ask(client, DLOCK_EXTEND, "key", "owner", LONG_MS), DLOCK_OK);

    proxy_drop_replies(&proxy, 1, PROXY_FIN);
    const dlock_request release = client_ask(client, DLOCK_RELEASE, "key", "owner", 0);
    assert_status(release, DLOCK_UNAVAILABLE);
    assert_false(release.not_done);
    assert_false(has_key("key"));
    assert_status(client_ask(client, DLOCK_RELEASE, "key", "owner", 0), DLOCK_LOST);
    client_close(client);
}

/* The same as a user of the library sees it. */
static void lost_replies_and_a_lock(void **state)
{
    (void)state;
    dlock_factory *factory = factory_open("redis://127.0.0.1:%d", proxy.port);
    dlock *lock = lock_of(factory, "key");
    dlock_error error;
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;
    options.ttl_ms = LONG_MS;
    options.retries = 3;
    options.interval_ms = 1;
    proxy_drop_replies(&proxy, 2, PROXY_FIN);
    assert_call(dlock_acquire(lock, &options, &error), DLOCK_OK, &error);
    assert_int_equal(dlock_fence(lock), recorded_fence("key"));
    assert_int_equal(strtoull(raw(&plain, 0, "GET distributed-locks#fence"), NULL, 10), dlock_fence(lock));

    proxy_drop_replies(&proxy, 1, PROXY_FIN);
    assert_call(dlock_extend(lock, 0, &error), DLOCK_UNAVAILABLE, &error);
    assert_true(dlock_is_held(lock));
    assert_call(dlock_extend(lock, 0, &error), DLOCK_OK, &error);

    proxy_drop_replies(&proxy, 1, PROXY_FIN);
    assert_call(dlock_release(lock, &error), DLOCK_UNAVAILABLE, &error);
    assert_false(has_key("key"));
    assert_call(dlock_acquire(lock, &options, &error), DLOCK_OK, &error);
    assert_call(dlock_release(lock, &error), DLOCK_OK, &error);
    dlock_free(lock);
    dlock_factory_close(factory);
}

static void renewal_survives_lost_replies(void **state)
{
    (void)state;
    dlock_factory *factory = factory_open("redis://127.0.0.1:%d", proxy.port);
    dlock *lock = lock_of(factory, "key");
    dlock_error error;
    dlock_event event;
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;
    options.ttl_ms = 3000;
    options.renew = true;
    assert_call(dlock_acquire(lock, &options, &error), DLOCK_OK, &error);
    const int cut = proxy_counts(&proxy).cut;
    proxy_drop_replies(&proxy, 2, PROXY_FIN);
    wait_for(proxy_counts(&proxy).cut == cut + 2);
    const int64_t over = dlock_clock_us() + 1000 * dlock_remaining_ms(lock);
    wait_for(dlock_clock_us() + 1000 * dlock_remaining_ms(lock) > over + 100000);
    assert_true(dlock_is_held(lock));
    assert_int_equal(dlock_factory_events(factory, &event, 1), 0);
    assert_call(dlock_release(lock, &error), DLOCK_OK, &error);
    dlock_free(lock);
    dlock_factory_close(factory);
}

/* ---- one byte at a time -------------------------------------------------------------------------------------------
 */

static bool count_key(void *arg, const char *key, const dlock_info *info)
{
    (void)key, (void)info;
    ++*(int *)arg;
    return true;
}

/* All that a storage can be asked. */
static void do_everything(struct client *client)
{
    int count = 0;
    dlock_error error;
    dlock_request batch[4];
    char keys[4][16];
    for (size_t i = 0; i < 4; i++) {
        snprintf(keys[i], sizeof keys[i], "batch-%zu", i);
        batch[i] = request_of(DLOCK_ACQUIRE, keys[i], "owner", LONG_MS);
    }
    client_execute(client, batch, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_status(batch[i], DLOCK_OK);
        batch[i] = request_of(DLOCK_RELEASE, keys[i], "owner", 0);
    }
    assert_int_equal(client->storage->list(client->session, "batch-", count_key, &count, &error), DLOCK_OK);
    assert_int_equal(count, 4);
    client_execute(client, batch, 4);
    for (size_t i = 0; i < 4; i++)
        assert_status(batch[i], DLOCK_OK);

    assert_status(client_ask(client, DLOCK_ACQUIRE, "key", "owner", LONG_MS), DLOCK_OK);
    const dlock_request busy = client_ask(client, DLOCK_ACQUIRE, "key", "other", LONG_MS);
    assert_status(busy, DLOCK_BUSY);
    assert_string_equal(busy.info.owner, "owner");
    assert_status(client_ask(client, DLOCK_EXTEND, "key", "owner", LONG_MS), DLOCK_OK);
    assert_status(client_ask(client, DLOCK_EXTEND, "key", "other", LONG_MS), DLOCK_LOST);
    assert_string_equal(client_ask(client, DLOCK_INSPECT, "key", NULL, 0).info.owner, "owner");
    assert_status(client_ask(client, DLOCK_BREAK, "key", NULL, 0), DLOCK_OK);
    assert_status(client_ask(client, DLOCK_RELEASE, "key", "owner", 0), DLOCK_LOST);
}

static void one_byte_at_a_time(void **state)
{
    (void)state;
    proxy_trickle(&proxy, true);
    struct client *client = client_behind_proxy(LONG_MS);
    raw(&plain, 0, "SCRIPT FLUSH");
    do_everything(client);
    client_close(client);
    proxy_trickle(&proxy, false);
}

static void one_byte_of_tls_at_a_time(void **state)
{
    (void)state;
    proxy_trickle(&encrypted_proxy, true);
    struct client *client =
        client_open(LONG_MS, "rediss://127.0.0.1:%d%s", encrypted_proxy.port, strchr(encrypted.url, '?'));
    do_everything(client);
    client_close(client);
    proxy_trickle(&encrypted_proxy, false);
}

/* Makes the server forget the script, and know it again, until told to stop. */
static void *forget_and_learn(void *arg)
{
    struct client *client = client_open(LONG_MS, "%s", plain.url);
    while (!atomic_load((atomic_bool *)arg)) {
        raw(&plain, 0, "SCRIPT FLUSH");
        assert_works(client, "other");
    }
    client_close(client);
    return NULL;
}

/* Of a batch that trickles in, some requests meet a server that knows the script, and some one that does not. */
static void the_script_is_forgotten_within_a_batch(void **state)
{
    (void)state;
    struct client *client = client_behind_proxy(LONG_MS);
    pthread_t thread;
    atomic_bool stop = false;
    dlock_request batch[8];
    char keys[8][16];
    for (size_t i = 0; i < 8; i++)
        snprintf(keys[i], sizeof keys[i], "batch-%zu", i);
    proxy_trickle(&proxy, true);
    assert_int_equal(pthread_create(&thread, NULL, forget_and_learn, &stop), 0);
    static const dlock_operation operations[] = {DLOCK_ACQUIRE, DLOCK_RELEASE};
    for (size_t turn = 0; turn < 2; turn++) {
        for (size_t i = 0; i < 8; i++)
            batch[i] = request_of(operations[turn], keys[i], "owner", LONG_MS);
        client_execute(client, batch, 8);
        for (size_t i = 0; i < 8; i++)
            assert_status(batch[i], DLOCK_OK);
    }
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    proxy_trickle(&proxy, false);
    assert_string_equal(raw_keys(&plain, 0), "distributed-locks#fence");
    client_close(client);
}

/* ---- how much goes over it ----------------------------------------------------------------------------------------
 */

static void a_call_is_one_round_trip(void **state)
{
    (void)state;
    struct client *warm = client_open(LONG_MS, "%s", guarded.url);
    assert_works(warm, "key"); /* the server knows the script */
    client_close(warm);

    struct client *client = client_open(LONG_MS, "redis://:" PASSWORD "@127.0.0.1:%d/2", guarded_proxy.port);
    assert_int_equal(proxy_counts(&guarded_proxy).round_trips, 0);
    assert_status(client_ask(client, DLOCK_ACQUIRE, "key", "owner", LONG_MS), DLOCK_OK);
    assert_int_equal(proxy_counts(&guarded_proxy).round_trips, 2); /* the first for AUTH and SELECT */
    assert_status(client_ask(client, DLOCK_RELEASE, "key", "owner", 0), DLOCK_OK);
    assert_int_equal(proxy_counts(&guarded_proxy).round_trips, 3);
    assert_status(client_ask(client, DLOCK_ACQUIRE, "key", "owner", LONG_MS), DLOCK_OK);
    assert_int_equal(proxy_counts(&guarded_proxy).round_trips, 4);

    dlock_request batch[128];
    char keys[128][16];
    for (size_t i = 0; i < 128; i++) {
        snprintf(keys[i], sizeof keys[i], "batch-%zu", i);
        batch[i] = request_of(DLOCK_ACQUIRE, keys[i], "owner", LONG_MS);
    }
    client_execute(client, batch, 128);
    for (size_t i = 0; i < 128; i++)
        assert_status(batch[i], DLOCK_OK);
    const struct proxy_counts counts = proxy_counts(&guarded_proxy);
    assert_int_equal(counts.round_trips, 5);
    assert_int_equal(counts.accepted, 1);
    client_close(client);
}

#define network_test(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        network_test(nobody_accepts),
        network_test(connecting_goes_on_and_on),
        network_test(the_handshake_of_tls_goes_on_and_on),
        network_test(half_open),
        network_test(replies_that_come_too_late),
        network_test(what_an_acquire_left_is_released),
        network_test(a_connection_that_was_cut_while_idle_is_not_noticed),
        network_test(a_connection_that_the_server_closed_is_not_noticed),
        network_test(cut_in_the_middle_of_a_reply),
        network_test(the_reply_is_lost_after_the_request_was_carried_out),
        network_test(lost_replies_and_a_lock),
        network_test(renewal_survives_lost_replies),
        network_test(one_byte_at_a_time),
        network_test(one_byte_of_tls_at_a_time),
        network_test(the_script_is_forgotten_within_a_batch),
        network_test(a_call_is_one_round_trip),
    };
    server_start_or_skip(&plain, "redis");
    server_start_or_skip(&guarded, "redis", "--password", PASSWORD);
    server_start_or_skip(&encrypted, "redis", "--tls");
    proxy_start(&guarded_proxy, "127.0.0.1", server_port(&guarded, 0));
    proxy_start(&encrypted_proxy, "127.0.0.1", server_port(&encrypted, 0));
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    proxy_stop(&guarded_proxy);
    proxy_stop(&encrypted_proxy);
    server_stop(&plain);
    server_stop(&guarded);
    server_stop(&encrypted);
    return failed;
}
