/* test_quorum_nodes.c - several nodes of which some are dead, hang, are slow, or forgot: a minority changes nothing for
 * the user, without a majority nobody holds anything, and nothing is left behind. */
#include "fixture.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODES   5
#define HOLD_MS 100000 /* of hold_everywhere; less than LONG_MS, so that an extend shows */

static struct server nodes, encrypted;
static struct proxy proxies[NODES]; /* each in front of the node of its number */

/* The first `count` nodes. Whatever would wait for one that hangs waits for at least half a minute: a twentieth of the
 * ttl, or half of the timeout. */
static const char *url_of_first(int count)
{
    static char url[256];
    strcpy(url, "redis://");
    for (int i = 0; i < count; i++)
        snprintf(url + strlen(url), sizeof url - strlen(url), "%s127.0.0.1:%d", i > 0 ? "," : "", proxies[i].port);
    strcat(url, "?restart_guard_ms=0");
    return url;
}

static struct client *quorum_of_first(int count)
{
    return client_open(LONG_MS, "%s", url_of_first(count));
}

static struct client *quorum(void)
{
    return quorum_of_first(NODES);
}

static int set_up(void **state)
{
    (void)state;
    proxies_start(proxies, &nodes, NODES);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    proxies_stop(proxies, NODES);
    return 0;
}

static bool has_key(int node, const char *key)
{
    return strcmp(raw(&nodes, node, "EXISTS distributed-locks:%s", key), "1") == 0;
}

static void lose_node(int node)
{
    proxy_lose(&proxies[node]);
}

static void await_no_key(int first, int last)
{
    for (int i = first; i <= last; i++)
        wait_for(!has_key(i, "key"));
}

/* Acquires as the library does: while what came before is still under way to slow nodes, an attempt may fail, and the
 * next has another owner. */
static dlock_request take(struct client *client, const char *name, char *owner, size_t size)
{
    dlock_request request;
    int attempt = 0;
    do {
        snprintf(owner, size, "%s:%d", name, attempt++);
        request = client_ask(client, DLOCK_ACQUIRE, "key", owner, LONG_MS);
    } while (request.status == DLOCK_BUSY && attempt < 1000);
    assert_status(request, DLOCK_OK);
    return request;
}

/* All that a user may ask for, of somebody who is alone and of one who is not. */
static void assert_all_is_well(struct client *client, struct client *other)
{
    char mine[32], others[32];
    const dlock_request granted = take(client, "owner", mine, sizeof mine);
    const dlock_request busy = client_ask(other, DLOCK_ACQUIRE, "key", "other", LONG_MS);
    assert_status(busy, DLOCK_BUSY);
    assert_string_equal(busy.info.owner, mine);
    assert_int_equal(busy.info.fence, granted.info.fence);
    assert_status(client_ask(client, DLOCK_EXTEND, "key", mine, LONG_MS), DLOCK_OK);
    assert_status(client_ask(other, DLOCK_EXTEND, "key", "other", LONG_MS), DLOCK_LOST);
    assert_status(client_ask(other, DLOCK_RELEASE, "key", "other", 0), DLOCK_LOST);
    assert_string_equal(client_ask(other, DLOCK_INSPECT, "key", NULL, 0).info.owner, mine);
    assert_status(client_ask(client, DLOCK_RELEASE, "key", mine, 0), DLOCK_OK);
    assert_string_equal(client_ask(client, DLOCK_INSPECT, "key", NULL, 0).info.owner, "");
    const dlock_request next = take(other, "other", others, sizeof others);
    assert_true(next.info.fence > granted.info.fence);
    assert_status(client_ask(client, DLOCK_BREAK, "key", NULL, 0), DLOCK_OK);
    assert_status(client_ask(other, DLOCK_RELEASE, "key", others, 0), DLOCK_LOST);
}

/* Asks once more where the hold has not arrived: what is for a node that is still being connected goes out with the
 * next request. */
static bool reaches(struct client *client, int node)
{
    if (!has_key(node, "key"))
        assert_status(client_ask(client, DLOCK_EXTEND, "key", "owner", HOLD_MS), DLOCK_OK);
    return has_key(node, "key");
}

/* Acquires the key on the first `count` nodes. */
static uint64_t hold_everywhere(struct client *client, int count)
{
    const dlock_request granted = client_ask(client, DLOCK_ACQUIRE, "key", "owner", HOLD_MS);
    assert_status(granted, DLOCK_OK);
    for (int i = 0; i < count; i++)
        wait_for(reaches(client, i));
    return granted.info.fence;
}

/* All is well, and every node has done what it was asked: else those that answered may be made to fail, while others
 * still have what came before. */
static void leave_no_node_behind(struct client *client, struct client *other)
{
    for (int i = 0; i < NODES; i++)
        while (proxy_counts(&proxies[i]).open < 2)
            assert_all_is_well(client, other);
    assert_all_is_well(client, other);
    await_no_key(0, NODES - 1);
}

/* ---- a minority ---------------------------------------------------------------------------------------------------
 */

static void dead(int node)
{
    lose_node(node);
}

static void killed(int node)
{
    server_tell(&nodes, "kill %d", node);
}

static void stopped(int node)
{
    server_tell(&nodes, "pause %d", node);
}

static void off(int node)
{
    proxy_enter(&proxies[node], PROXY_SILENCE);
    proxy_cut(&proxies[node], PROXY_RST);
}

static void half_open(int node)
{
    proxy_black_hole(&proxies[node]);
}

static void silent(int node)
{
    proxy_hold_replies(&proxies[node], true);
}

static void slow(int node)
{
    proxy_trickle(&proxies[node], true);
}

static void mend(int node, void (*fault)(int node))
{
    if (fault == killed)
        server_tell(&nodes, "start %d", node);
    if (fault == stopped)
        server_tell(&nodes, "resume %d", node);
    proxy_hold_replies(&proxies[node], false);
    proxy_trickle(&proxies[node], false);
    proxy_pass(&proxies[node]);
}

/* Two of five are of no use: to sessions that knew them well, and to those that come later. */
static void a_minority_changes_nothing(void **state)
{
    (void)state;
    static void (*const faults[])(int node) = {dead, killed, stopped, off, half_open, silent, slow};
    const size_t count = sizeof faults / sizeof faults[0];
    for (size_t i = 0; i < count; i++) {
        void (*const first)(int node) = faults[i];
        void (*const second)(int node) = faults[(i + 2) % count];
        const int one = (int)i % NODES, two = (int)(i + 3) % NODES;
        struct client *client = quorum(), *other = quorum();
        const int64_t since = dlock_clock_us();
        leave_no_node_behind(client, other);
        first(one);
        second(two);
        assert_all_is_well(client, other);
        client_close(client);
        client = quorum();
        assert_all_is_well(other, client);
        assert_true(dlock_clock_us() - since < 30000000); /* nobody waited for them */
        mend(one, first);
        mend(two, second);
        client_close(client);
        client_close(other);
        for (int node = 0; node < NODES; node++)
            raw(&nodes, node, "FLUSHALL");
    }
}

/* What comes late must not answer newer requests, and is read on the same connection. */
static void what_slow_nodes_owe_is_read_later_in_order(void **state)
{
    (void)state;
    struct client *client = quorum();
    assert_works(client, "first");
    wait_for(proxy_counts(&proxies[0]).replies > 0);
    proxy_hold_replies(&proxies[0], true);
    assert_status(client_ask(client, DLOCK_ACQUIRE, "key", "one", LONG_MS), DLOCK_OK);
    assert_status(client_ask(client, DLOCK_RELEASE, "key", "one", 0), DLOCK_OK);
    assert_status(client_ask(client, DLOCK_ACQUIRE, "key", "two", LONG_MS), DLOCK_OK);
    assert_status(client_ask(client, DLOCK_ACQUIRE, "key", "three", LONG_MS), DLOCK_BUSY);
    proxy_hold_replies(&proxies[0], false);

    /* Now its answers are needed. */
    lose_node(3);
    lose_node(4);
    assert_string_equal(client_ask(client, DLOCK_INSPECT, "key", NULL, 0).info.owner, "two");
    assert_status(client_ask(client, DLOCK_EXTEND, "key", "two", LONG_MS), DLOCK_OK);
    assert_status(client_ask(client, DLOCK_ACQUIRE, "key", "three", LONG_MS), DLOCK_BUSY);
    assert_status(client_ask(client, DLOCK_RELEASE, "key", "two", 0), DLOCK_OK);
    assert_works(client, "first");
    assert_int_equal(proxy_counts(&proxies[0]).accepted, 1);
    client_close(client);
}

static void a_round_goes_to_each_node_at_once(void **state)
{
    (void)state;
    int before[NODES];
    for (int i = 0; i < NODES; i++) {
        struct client *alone = client_open(LONG_MS, "redis://127.0.0.1:%d", proxies[i].port);
        assert_works(alone, "warm"); /* the node knows the script */
        client_close(alone);
        before[i] = proxy_counts(&proxies[i]).round_trips;
    }
    struct client *client = quorum();
    assert_status(client_ask(client, DLOCK_ACQUIRE, "key", "owner", LONG_MS), DLOCK_OK);
    for (int i = 0; i < NODES; i++) /* to ask, and to write the fence back */
        assert_in_range(proxy_counts(&proxies[i]).round_trips - before[i], 0, 2);
    assert_status(client_ask(client, DLOCK_RELEASE, "key", "owner", 0), DLOCK_OK);
    for (int i = 0; i < NODES; i++)
        wait_for(proxy_counts(&proxies[i]).round_trips - before[i] > 0);
    for (int i = 0; i < NODES; i++)
        assert_in_range(proxy_counts(&proxies[i]).round_trips - before[i], 1, 3);
    client_close(client);
}

static int round_trips(void)
{
    int sum = 0;
    for (int i = 0; i < NODES; i++)
        sum += proxy_counts(&proxies[i]).round_trips;
    return sum;
}

/* A client that has asked before wants a fence, and if a majority takes it, it is not told of it again. What takes
 * longer than a way did before is told as the first time; so that a busy machine does not matter, one of many has to
 * do. */
static void a_fence_that_is_wanted_saves_a_round(void **state)
{
    (void)state;
    struct client *client = quorum();
    int trips = INT_MAX;
    uint64_t last = assert_works(client, "warm");
    for (int i = 0; i < 500 && trips > 2 * NODES; i++) {
        const int before = round_trips();
        const dlock_request request = client_ask(client, DLOCK_ACQUIRE, "key", "owner", LONG_MS);
        assert_status(request, DLOCK_OK);
        assert_true(request.info.fence > last);
        last = request.info.fence;
        assert_status(client_ask(client, DLOCK_RELEASE, "key", "owner", 0), DLOCK_OK);
        await_no_key(0, NODES - 1);
        trips = round_trips() - before;
    }
    /* With a third round it would be 3 at each of a majority, and at least 1 elsewhere. */
    assert_true(trips <= 2 * NODES);
    int knowing = 0;
    for (int i = 0; i < NODES; i++)
        knowing += strtoull(raw(&nodes, i, "GET distributed-locks#fence"), NULL, 10) == last;
    assert_true(knowing > NODES / 2);
    client_close(client);
}

/* ---- no majority --------------------------------------------------------------------------------------------------
 */

/* A user's attempt, when of `count` nodes only the first `left` can be reached: it fails, the message has both texts,
 * and nothing is left behind. */
static void assert_nothing_is_held(int count, int left, const char *says, const char *and_says)
{
    dlock_factory *factory = factory_open("%s&timeout_ms=%d", url_of_first(count), LONG_MS);
    dlock *lock = lock_of(factory, "key");
    dlock_error error;
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;
    options.ttl_ms = LONG_MS;
    options.retries = 1;
    assert_call(dlock_acquire(lock, &options, &error), DLOCK_UNAVAILABLE, &error);
    if (!strstr(error.message, says) || !strstr(error.message, and_says))
        fail_msg("\"%s\" does not say \"%s\" and \"%s\"", error.message, says, and_says);
    await_no_key(0, left - 1);
    dlock_free(lock);
    dlock_factory_close(factory);
}

static void without_a_majority_nothing_is_held(void **state)
{
    (void)state;
    struct client *client = quorum();
    assert_works(client, "key");
    for (int i = 2; i < NODES; i++)
        lose_node(i);
    const dlock_request request = client_ask(client, DLOCK_ACQUIRE, "other", "owner", LONG_MS);
    assert_failed(request, DLOCK_UNAVAILABLE, "2 of 5 nodes took part", "3 are needed");
    for (int i = 2; i < NODES; i++) {
        assert_failed(request, DLOCK_UNAVAILABLE, name_of_proxy(&proxies[i]), "onnection");
        assert_nothing_is_held(NODES, 2, name_of_proxy(&proxies[i]), "Connection refused");
    }
    for (int i = 2; i < NODES; i++)
        proxy_pass(&proxies[i]);
    assert_works(client, "key");
    client_close(client);
}

/* Three hang: it takes as long as it is waited for nodes, and no longer. */
static void a_majority_that_hangs(void **state)
{
    (void)state;
    struct client *client = quorum();
    assert_works(client, "key");
    for (int i = 2; i < NODES; i++)
        proxy_hold_replies(&proxies[i], true);
    const dlock_request request = client_ask(client, DLOCK_ACQUIRE, "key", "owner", 1000);
    for (int i = 2; i < NODES; i++)
        assert_failed(request, DLOCK_UNAVAILABLE, name_of_proxy(&proxies[i]), "no answer in time");
    await_no_key(0, NODES - 1); /* there it was told to the nodes behind the request */
    for (int i = 2; i < NODES; i++)
        proxy_hold_replies(&proxies[i], false);
    client_close(client);
}

/* A majority says no while the grants of two nodes are still on their way. */
static void a_grant_that_comes_late_is_taken_back(void **state)
{
    (void)state;
    struct client *client = quorum(), *holder = quorum();
    assert_works(client, "first");
    lose_node(0);
    lose_node(1);
    assert_status(client_ask(holder, DLOCK_ACQUIRE, "key", "holder", LONG_MS), DLOCK_OK);
    client_close(holder);
    proxy_pass(&proxies[0]);
    proxy_pass(&proxies[1]);
    do /* until it is connected with all */
        assert_works(client, "first");
    while (proxy_counts(&proxies[0]).open + proxy_counts(&proxies[1]).open < 2);

    proxy_hold_replies(&proxies[0], true);
    proxy_hold_replies(&proxies[1], true);
    const dlock_request request = client_ask(client, DLOCK_ACQUIRE, "key", "late", LONG_MS);
    assert_status(request, DLOCK_BUSY);
    assert_string_equal(request.info.owner, "holder");
    assert_true(request.contended);
    await_no_key(0, 1);
    proxy_hold_replies(&proxies[0], false);
    proxy_hold_replies(&proxies[1], false);
    assert_status(client_ask(client, DLOCK_RELEASE, "key", "late", 0), DLOCK_LOST);
    assert_status(client_ask(client, DLOCK_RELEASE, "key", "holder", 0), DLOCK_OK);
    client_close(client);
}

/* The same when three are dead, and the session is closed at once. */
static void a_grant_that_comes_late_without_a_majority(void **state)
{
    (void)state;
    struct client *client = quorum();
    assert_works(client, "first");
    proxy_hold_replies(&proxies[0], true);
    proxy_hold_replies(&proxies[1], true);
    for (int i = 2; i < NODES; i++)
        lose_node(i);
    assert_status(client_ask(client, DLOCK_ACQUIRE, "key", "owner", LONG_MS), DLOCK_UNAVAILABLE);
    client_close(client);
    await_no_key(0, 1);
}

/* ---- nodes that forgot --------------------------------------------------------------------------------------------
 */

struct extension {
    struct client *client;
    pthread_t thread;
    dlock_request request;
};

static void *extend(void *arg)
{
    struct extension *extension = arg;
    extension->request = client_ask(extension->client, DLOCK_EXTEND, "key", "owner", LONG_MS);
    return NULL;
}

/* Extends the hold, and returns when the nodes from `first` to `last` have answered, and none of the others yet. */
static void start_extending(struct extension *extension, int first, int last)
{
    size_t passed[NODES];
    for (int i = 0; i < NODES; i++) {
        wait_for(proxy_counts(&proxies[i]).reply_bytes == proxy_counts(&proxies[i]).passed_bytes);
        passed[i] = proxy_counts(&proxies[i]).passed_bytes;
        proxy_hold_replies(&proxies[i], i < first || i > last);
    }
    assert_int_equal(pthread_create(&extension->thread, NULL, extend, extension), 0);
    for (int i = first; i <= last; i++)
        wait_for(proxy_counts(&proxies[i]).passed_bytes > passed[i]);
}

static void finish_extending(struct extension *extension)
{
    for (int i = 0; i < NODES; i++)
        proxy_hold_replies(&proxies[i], false);
    pthread_join(extension->thread, NULL);
    assert_status(extension->request, DLOCK_OK);
}

/* Only those are repaired whose answer is read before a majority has answered: on a busy machine not always both. */
static bool repairs_the_last_two(struct extension *extension)
{
    start_extending(extension, 3, 4);
    finish_extending(extension);
    return has_key(3, "key") && has_key(4, "key");
}

static void extend_repairs_a_minority_that_forgot(void **state)
{
    (void)state;
    struct client *client = quorum();
    const uint64_t fence = hold_everywhere(client, NODES);
    raw(&nodes, 3, "FLUSHALL");
    raw(&nodes, 4, "FLUSHALL");
    struct extension extension = {.client = client};
    wait_for(repairs_the_last_two(&extension));
    for (int i = 3; i < NODES; i++) {
        assert_true(strtol(raw(&nodes, i, "PTTL distributed-locks:key"), NULL, 10) > HOLD_MS);
        assert_true(strtoull(raw(&nodes, i, "GET distributed-locks#fence"), NULL, 10) >= fence);
    }

    /* Now these count like the others. */
    lose_node(0);
    lose_node(1);
    assert_status(client_ask(client, DLOCK_EXTEND, "key", "owner", LONG_MS), DLOCK_OK);
    const dlock_request request = client_ask(client, DLOCK_INSPECT, "key", NULL, 0);
    assert_string_equal(request.info.owner, "owner");
    assert_int_equal(request.info.fence, fence);
    assert_status(client_ask(client, DLOCK_RELEASE, "key", "owner", 0), DLOCK_OK);
    client_close(client);
}

static void a_majority_that_forgot_is_a_loss(void **state)
{
    (void)state;
    struct client *client = quorum();
    hold_everywhere(client, NODES);
    for (int i = 0; i < 3; i++)
        raw(&nodes, i, "FLUSHALL");
    assert_status(client_ask(client, DLOCK_EXTEND, "key", "owner", LONG_MS), DLOCK_LOST);
    for (int i = 0; i < 3; i++)
        assert_false(has_key(i, "key"));
    assert_status(client_ask(client, DLOCK_RELEASE, "key", "owner", 0), DLOCK_LOST);
    await_no_key(0, NODES - 1); /* also where it was still known */
    client_close(client);
}

static void not_known_is_no_loss(void **state)
{
    (void)state;
    struct client *client = quorum();
    static const dlock_operation operations[] = {DLOCK_EXTEND, DLOCK_RELEASE, DLOCK_INSPECT, DLOCK_BREAK};
    hold_everywhere(client, NODES);
    raw(&nodes, 0, "FLUSHALL");
    raw(&nodes, 1, "FLUSHALL");
    lose_node(2);
    lose_node(3);
    const dlock_request request = client_ask(client, DLOCK_EXTEND, "key", "owner", LONG_MS);
    assert_failed(request, DLOCK_UNAVAILABLE, name_of_proxy(&proxies[2]), "");
    assert_failed(request, DLOCK_UNAVAILABLE, name_of_proxy(&proxies[3]), "3 of 5 nodes took part");
    lose_node(4);
    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++)
        assert_status(client_ask(client, operations[i], "key", "owner", LONG_MS), DLOCK_UNAVAILABLE);
    client_close(client);
}

/* The node said that it forgot, and was gone before the others had answered. It must not get the hold later, when that
 * is long over. */
static void a_repair_does_not_wait_for_a_node_to_come_back(void **state)
{
    (void)state;
    struct extension extension = {.client = quorum()};
    struct client *other = quorum();
    hold_everywhere(extension.client, NODES);
    raw(&nodes, 0, "FLUSHALL");
    start_extending(&extension, 0, 0);
    proxy_cut(&proxies[0], PROXY_FIN);
    finish_extending(&extension);

    assert_status(client_ask(other, DLOCK_RELEASE, "key", "owner", 0), DLOCK_OK);
    const int accepted = proxy_counts(&proxies[0]).accepted;
    do /* until it is connected again */
        assert_works(extension.client, "another");
    while (proxy_counts(&proxies[0]).accepted == accepted);
    proxy_wait_received(&proxies[0]);
    await_no_key(1, NODES - 1);
    assert_works(extension.client, "another");
    assert_false(has_key(0, "key"));
    client_close(extension.client);
    client_close(other);
}

/* ---- other numbers, and mixtures ----------------------------------------------------------------------------------
 */

static void even_numbers(void **state)
{
    (void)state;
    struct client *two = quorum_of_first(2), *four = quorum_of_first(4), *other = quorum_of_first(4);
    assert_all_is_well(four, other);
    lose_node(3);
    assert_all_is_well(four, other);
    lose_node(2);
    assert_nothing_is_held(4, 2, "2 of 4 nodes took part", "3 are needed");
    assert_works(two, "key");
    lose_node(1);
    assert_nothing_is_held(2, 1, "1 of 2 nodes took part", "2 are needed");
    for (int i = 1; i < 4; i++)
        proxy_pass(&proxies[i]);

    /* Half of the nodes is no majority, for nobody. */
    client_close(four);
    client_close(other);
    four = quorum_of_first(4);
    other = quorum_of_first(4);
    hold_everywhere(four, 4);
    raw(&nodes, 2, "FLUSHALL");
    raw(&nodes, 3, "FLUSHALL");
    assert_status(client_ask(other, DLOCK_ACQUIRE, "key", "other", LONG_MS), DLOCK_BUSY);
    await_no_key(2, 3);
    assert_status(client_ask(four, DLOCK_EXTEND, "key", "owner", LONG_MS), DLOCK_LOST);
    client_close(two);
    client_close(four);
    client_close(other);
}

/* Does the node say that the key is the owner's? */
static bool has_owner(struct server *server, int node)
{
    return strncmp(raw(server, node, "GET distributed-locks:key"), "owner ", 6) == 0;
}

/* Nodes with TLS and without make one quorum. */
static void mixed_with_tls(void **state)
{
    (void)state;
    char urls[4096];
    snprintf(urls, sizeof urls, "%s redis://127.0.0.1:%d,127.0.0.1:%d?restart_guard_ms=0", encrypted.url,
             proxies[0].port, proxies[1].port);
    struct client *client = client_open(LONG_MS, "%s", urls), *other = client_open(LONG_MS, "%s", urls);
    assert_all_is_well(client, other);
    assert_status(client_ask(client, DLOCK_ACQUIRE, "key", "owner", LONG_MS), DLOCK_OK);
    do /* the handshake of TLS may still be under way, or a node still have what came before */
        assert_status(client_ask(client, DLOCK_EXTEND, "key", "owner", LONG_MS), DLOCK_OK);
    while (!has_owner(&encrypted, 0) || !has_owner(&nodes, 0) || !has_owner(&nodes, 1));
    lose_node(0);
    assert_status(client_ask(client, DLOCK_EXTEND, "key", "owner", LONG_MS), DLOCK_OK);
    assert_status(client_ask(other, DLOCK_ACQUIRE, "key", "other", LONG_MS), DLOCK_BUSY);
    lose_node(1);
    assert_failed(client_ask(client, DLOCK_EXTEND, "key", "owner", LONG_MS), DLOCK_UNAVAILABLE,
                  name_of_proxy(&proxies[1]), "1 of 3 nodes");
    client_close(client);
    client_close(other);
}

#define quorum_test(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        quorum_test(a_minority_changes_nothing),
        quorum_test(what_slow_nodes_owe_is_read_later_in_order),
        quorum_test(a_round_goes_to_each_node_at_once),
        quorum_test(a_fence_that_is_wanted_saves_a_round),
        quorum_test(without_a_majority_nothing_is_held),
        quorum_test(a_majority_that_hangs),
        quorum_test(a_grant_that_comes_late_is_taken_back),
        quorum_test(a_grant_that_comes_late_without_a_majority),
        quorum_test(extend_repairs_a_minority_that_forgot),
        quorum_test(a_majority_that_forgot_is_a_loss),
        quorum_test(not_known_is_no_loss),
        quorum_test(a_repair_does_not_wait_for_a_node_to_come_back),
        quorum_test(even_numbers),
        quorum_test(mixed_with_tls),
    };
    server_start_or_skip(&nodes, "redis", "--nodes", "5");
    server_start_or_skip(&encrypted, "redis", "--tls");
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    server_stop(&nodes);
    server_stop(&encrypted);
    return failed;
}
