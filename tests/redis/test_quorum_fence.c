/* test_quorum_fence.c - fences of several nodes: they grow over changing majorities, over nodes that forget, and over
 * clocks that differ; and also where a fault may give a key to two holders, so that the later one can be told from the
 * earlier one. The restart guard, which is against one such fault. */
#include "fixture.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODES    5
#define MAJORITY 3

/* `pair` is a primary and its replica, `timed` has clocks that can be set. */
static struct server nodes, durable, pair, timed;
static struct proxy proxies[NODES];

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

/* A session over the first `count` nodes, that reaches only those whose digits are in `reached`. */
static struct client *client_reaching(const char *reached, int count, int guard_ms)
{
    char hosts[256] = "";
    for (int i = 0; i < count; i++) {
        snprintf(hosts + strlen(hosts), sizeof hosts - strlen(hosts), "%s127.0.0.1:%d", i > 0 ? "," : "",
                 proxies[i].port);
        if (strchr(reached, '0' + i))
            proxy_pass(&proxies[i]);
        else
            proxy_lose(&proxies[i]);
    }
    return client_open(LONG_MS, "redis://%s?restart_guard_ms=%d", hosts, guard_ms);
}

static uint64_t counter(struct server *server, int node)
{
    return strtoull(raw(server, node, "GET distributed-locks#fence"), NULL, 10);
}

/* How many nodes know of the fence? */
static int knowing(uint64_t fence)
{
    int count = 0;
    for (int i = 0; i < NODES; i++)
        count += counter(&nodes, i) >= fence;
    return count;
}

/* Acquires over the nodes `reached`, and returns the fence, which a majority knows by then. */
static uint64_t fence_of(const char *reached)
{
    static int number;
    struct client *client = client_reaching(reached, NODES, 0);
    dlock_request request;
    char owner[32];
    do { /* what came before may still be under way to slow nodes */
        snprintf(owner, sizeof owner, "owner:%d", number++);
        request = client_ask(client, DLOCK_ACQUIRE, "key", owner, LONG_MS);
    } while (request.status == DLOCK_BUSY && number < 10000);
    assert_status(request, DLOCK_OK);
    assert_true(knowing(request.info.fence) >= MAJORITY);
    assert_int_equal(client_ask(client, DLOCK_INSPECT, "key", NULL, 0).info.fence, request.info.fence);
    assert_status(client_ask(client, DLOCK_RELEASE, "key", owner, 0), DLOCK_OK);
    for (const char *node = reached; *node; node++)
        proxy_wait_received(&proxies[*node - '0']);
    client_close(client);
    return request.info.fence;
}

static void fences_grow_over_changing_majorities(void **state)
{
    (void)state;
    static const char *const majorities[] = {"012", "234", "034", "014", "123", "01234", "024", "134"};
    uint64_t last = 0;
    for (size_t i = 0; i < sizeof majorities / sizeof majorities[0]; i++) {
        /* One of them, and each time another, is far ahead of the others and of the time. */
        const int ahead = majorities[i][i % 3] - '0';
        const uint64_t far = last ? last + 4000000000 : UINT64_C(4000000000000000);
        raw(&nodes, ahead, "SET distributed-locks#fence %" PRIu64, far);
        const uint64_t fence = fence_of(majorities[i]);
        assert_true(fence > last);
        last = fence;
        const uint64_t next = fence_of(majorities[(i + 3) % (sizeof majorities / sizeof majorities[0])]);
        assert_true(next > last);
        last = next;
    }
}

/* Whether they are taken as they are wanted, or told in a round of their own. */
static void fences_of_several_clients_grow(void **state)
{
    (void)state;
    enum { CLIENTS = 3 };
    struct client *clients[CLIENTS];
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = client_reaching("01234", NODES, 0);
    uint64_t last = 0;
    for (int i = 0; i < 300; i++) {
        struct client *client = clients[i % CLIENTS];
        char key[16];
        snprintf(key, sizeof key, "key-%d", i % 7);
        if (i % 10 == 9) /* as if others had been given more, by majorities with that node */
            raw(&nodes, i / 10 % NODES, "SET distributed-locks#fence %" PRIu64, last + (i % 20 == 9 ? 50000 : 4000000));
        const dlock_request request = client_ask_until(client, DLOCK_OK, DLOCK_ACQUIRE, key, "owner", LONG_MS);
        assert_true(request.info.fence > last);
        last = request.info.fence;
        assert_true(knowing(last) >= MAJORITY);
        assert_status(client_ask(client, DLOCK_RELEASE, key, "owner", 0), DLOCK_OK);
    }
    for (int i = 0; i < CLIENTS; i++)
        client_close(clients[i]);
}

static void fences_grow_though_a_minority_forgets(void **state)
{
    (void)state;
    raw(&nodes, 0, "SET distributed-locks#fence 4000000000000000"); /* in the year 2096 */
    uint64_t last = fence_of("012");
    assert_true(last > UINT64_C(4000000000000000));
    static const char *const majorities[] = {"134", "234", "034"};
    for (size_t i = 0; i < sizeof majorities / sizeof majorities[0]; i++) {
        raw(&nodes, (int)i, "FLUSHALL"); /* one of those that knew; the other two of that majority still do */
        const uint64_t fence = fence_of(i == 0 ? "124" : majorities[i]);
        assert_true(fence > last);
        last = fence;
    }
}

/* The fence could not be told to a majority: that is no hold. */
static void without_its_fence_there_is_no_hold(void **state)
{
    (void)state;
    struct client *client = client_reaching("012", NODES, 0);
    assert_works(client, "warm");
    wait_for(proxy_counts(&proxies[2]).reply_bytes > 0);
    const dlock_request first = client_ask(client, DLOCK_ACQUIRE, "another", "owner", LONG_MS);
    assert_status(first, DLOCK_OK);
    raw(&nodes, 0, "SET distributed-locks#fence 4000000000000000"); /* so that this one's fence is the one to tell */
    /* Of what comes next the reply to the question passes, and not that to the fence that is written back. */
    proxy_cut_after(&proxies[2], strlen("*3\r\n:1\r\n$16\r\n0123456789abcdef\r\n:0\r\n"), PROXY_RST);
    const dlock_request request = client_ask(client, DLOCK_ACQUIRE, "key", "owner", LONG_MS);
    assert_failed(request, DLOCK_UNAVAILABLE, name_of_proxy(&proxies[2]), "");
    assert_false(request.not_done);
    for (int i = 0; i < 2; i++)
        wait_for(strcmp(raw(&nodes, i, "EXISTS distributed-locks:key"), "0") == 0);
    client_close(client);
}

/* ---- clocks -------------------------------------------------------------------------------------------------------
 */

static void clocks_that_differ(void **state)
{
    (void)state;
    server_tell(&timed, "clock 0 +3600");
    server_tell(&timed, "clock 2 -3600");
    wait_for(strtol(raw(&timed, 0, "TIME"), NULL, 10) > time(NULL) + 1800);
    wait_for(strtol(raw(&timed, 2, "TIME"), NULL, 10) < time(NULL) - 1800);
    uint64_t last = 0;
    static const int away[] = {2, 0, 1, 0, 2};
    for (size_t i = 0; i < sizeof away / sizeof away[0]; i++) {
        struct client *client = client_open(LONG_MS, "%s?restart_guard_ms=0", timed.url);
        server_tell(&timed, "kill %d", away[i]);
        const dlock_request request = client_ask(client, DLOCK_ACQUIRE, "key", "owner", LONG_MS);
        assert_status(request, DLOCK_OK);
        assert_true(request.info.fence > last);
        last = request.info.fence;
        const dlock_info info = client_ask(client, DLOCK_INSPECT, "key", NULL, 0).info;
        assert_true(info.remaining_ms > LONG_MS / 2 && info.remaining_ms <= LONG_MS);
        assert_status(client_ask(client, DLOCK_EXTEND, "key", "owner", LONG_MS), DLOCK_OK);
        assert_status(client_ask(client, DLOCK_RELEASE, "key", "owner", 0), DLOCK_OK);
        client_close(client);
        server_tell(&timed, "start %d", away[i]);
    }
}

/* A clock that jumps ends a hold before its time. The holder cannot know, but its fence is the smaller one. */
static void a_clock_that_jumps(void **state)
{
    (void)state;
    server_tell(&timed, "clock +0");
    for (int i = 0; i < 3; i++)
        wait_for(labs(strtol(raw(&timed, i, "TIME"), NULL, 10) - (long)time(NULL)) < 1800);
    struct client *one = client_open(LONG_MS, "%s?restart_guard_ms=0", timed.url),
                  *two = client_open(LONG_MS, "%s?restart_guard_ms=0", timed.url);
    const dlock_request first = client_ask(one, DLOCK_ACQUIRE, "jump", "one", LONG_MS);
    assert_status(first, DLOCK_OK);
    assert_status(client_ask(two, DLOCK_ACQUIRE, "jump", "two", LONG_MS), DLOCK_BUSY);
    server_tell(&timed, "clock +3600");
    for (int i = 0; i < 3; i++)
        wait_for(strtol(raw(&timed, i, "TIME"), NULL, 10) > time(NULL) + 1800);
    const dlock_request second = client_ask(two, DLOCK_ACQUIRE, "jump", "three", LONG_MS);
    assert_status(second, DLOCK_OK);
    assert_true(second.info.fence > first.info.fence);
    assert_status(client_ask(one, DLOCK_EXTEND, "jump", "one", LONG_MS), DLOCK_LOST);
    client_close(one);
    client_close(two);
}

/* ---- failover -----------------------------------------------------------------------------------------------------
 */

/* The replica that is promoted has not heard of the last hold. */
static void a_failover_that_loses_a_hold(void **state)
{
    (void)state;
    struct proxy link;
    proxy_start(&link, "127.0.0.1", server_port(&pair, 0));
    raw(&pair, 1, "REPLICAOF 127.0.0.1 %d", link.port);
    wait_for(strstr(raw(&pair, 1, "INFO replication"), "master_link_status:up"));
    struct client *one = client_open(LONG_MS, "redis://%s", name_of(&pair, 0)),
                  *two = client_open(LONG_MS, "redis://%s", name_of(&pair, 1));
    assert_status(client_ask(one, DLOCK_ACQUIRE, "replicated", "one", LONG_MS), DLOCK_OK);
    wait_for(strcmp(raw(&pair, 1, "EXISTS distributed-locks:replicated"), "1") == 0);
    proxy_black_hole(&link);
    const dlock_request first = client_ask(one, DLOCK_ACQUIRE, "key", "one", LONG_MS);
    assert_status(first, DLOCK_OK);
    server_tell(&pair, "kill 0");
    assert_failed(client_ask(two, DLOCK_ACQUIRE, "key", "two", LONG_MS), DLOCK_UNAVAILABLE, name_of(&pair, 1),
                  "READONLY");
    raw(&pair, 1, "REPLICAOF NO ONE");
    const dlock_request second = client_ask(two, DLOCK_ACQUIRE, "key", "two", LONG_MS);
    assert_status(second, DLOCK_OK);
    assert_true(second.info.fence > first.info.fence);
    assert_status(client_ask(two, DLOCK_ACQUIRE, "replicated", "two", LONG_MS), DLOCK_BUSY);
    client_close(one);
    client_close(two);
    proxy_stop(&link);
}

/* ---- the restart guard --------------------------------------------------------------------------------------------
 */

#define GUARD_MS                                                                                                       \
    6000 /* the nodes are older than that when a test restarts one of them, which then is not, for a while */

static long age(int node)
{
    const char *line = strstr(raw(&nodes, node, "INFO server"), "uptime_in_seconds:");
    return line ? strtol(line + strlen("uptime_in_seconds:"), NULL, 10) : 0;
}

/* One holds on two of three nodes, and one of these forgets it. */
static struct client *holder_of_which_a_node_forgets(dlock_request *ret)
{
    struct client *holder = client_reaching("01", 3, 0);
    *ret = client_ask(holder, DLOCK_ACQUIRE, "key", "holder", LONG_MS);
    assert_status(*ret, DLOCK_OK);
    server_tell(&nodes, "kill 1");
    server_tell(&nodes, "start 1");
    return holder;
}

static void a_node_that_forgot_lets_nobody_in(void **state)
{
    (void)state;
    dlock_request first;
    for (int i = 0; i < 3; i++)
        wait_for(age(i) > GUARD_MS / 1000);
    struct client *holder = holder_of_which_a_node_forgets(&first), *second = client_reaching("12", 3, GUARD_MS);
    const dlock_request request = client_ask(second, DLOCK_ACQUIRE, "key", "second", LONG_MS);
    assert_failed(request, DLOCK_UNAVAILABLE, name_of_proxy(&proxies[1]), "was restarted");
    assert_failed(request, DLOCK_UNAVAILABLE, "it votes in", " s");
    wait_for(strcmp(raw(&nodes, 1, "EXISTS distributed-locks:key"), "0") == 0);
    wait_for(strcmp(raw(&nodes, 2, "EXISTS distributed-locks:key"), "0") == 0);
    client_close(second);

    /* The holder learns that it is none any more. */
    proxy_pass(&proxies[0]);
    client_ask_until(holder, DLOCK_LOST, DLOCK_EXTEND, "key", "holder", LONG_MS);
    client_close(holder);

    /* By default it is the ttl, and for that long all of these are too young. */
    second = client_open(LONG_MS, "redis://127.0.0.1:%d,127.0.0.1:%d", proxies[1].port, proxies[2].port);
    assert_failed(client_ask(second, DLOCK_ACQUIRE, "another", "second", LONG_MS), DLOCK_UNAVAILABLE, "of 2 nodes",
                  "was restarted");
    assert_status(client_ask(second, DLOCK_ACQUIRE, "another", "second", 10), DLOCK_UNAVAILABLE);
    client_close(second);
}

static void without_the_guard_it_does(void **state)
{
    (void)state;
    dlock_request first;
    struct client *holder = holder_of_which_a_node_forgets(&first), *second = client_reaching("12", 3, 0);
    const dlock_request request = client_ask(second, DLOCK_ACQUIRE, "key", "second", LONG_MS);
    assert_status(request, DLOCK_OK);
    assert_true(request.info.fence > first.info.fence); /* so that the later one can be told */
    client_close(holder);
    client_close(second);
}

static void nodes_that_write_first_are_not_guarded(void **state)
{
    (void)state;
    struct client *client = client_open(LONG_MS, "%s", durable.url), *other = client_open(LONG_MS, "%s", durable.url);
    assert_status(client_ask(client, DLOCK_ACQUIRE, "key", "owner", LONG_MS), DLOCK_OK);
    for (int i = 0; i < 3; i++)
        wait_for(strcmp(raw(&durable, i, "EXISTS distributed-locks:key"), "1") == 0);
    server_tell(&durable, "kill 1");
    server_tell(&durable, "start 1");
    server_tell(&durable, "kill 0");
    assert_status(client_ask(other, DLOCK_ACQUIRE, "key", "other", LONG_MS), DLOCK_BUSY);
    assert_works(other, "another");
    server_tell(&durable, "start 0");
    client_close(client);
    client_close(other);
}

/* A user that may not ask how long a node has been up cannot know what it forgot. */
static void an_age_that_is_not_told(void **state)
{
    (void)state;
    char urls[3][64];
    for (int i = 0; i < 3; i++) {
        assert_string_equal(raw(&nodes, i, "ACL SETUSER ned on >ned ~* &* +@all -info"), "OK");
        snprintf(urls[i], sizeof urls[i], "redis://ned:ned@127.0.0.1:%d", server_port(&nodes, i));
    }
    struct client *client = client_open(LONG_MS, "%s %s %s", urls[0], urls[1], urls[2]);
    const dlock_request request = client_ask(client, DLOCK_ACQUIRE, "another", "owner", LONG_MS);
    assert_failed(request, DLOCK_REFUSED, "of 3 nodes took part", "restart_guard_ms=0");
    client_close(client);
    client = client_open(LONG_MS, "%s?restart_guard_ms=0 %s %s", urls[0], urls[1], urls[2]);
    assert_works(client, "yet-another");
    client_close(client);
}

#define fence_test(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        fence_test(fences_grow_over_changing_majorities),
        fence_test(fences_of_several_clients_grow),
        fence_test(fences_grow_though_a_minority_forgets),
        fence_test(without_its_fence_there_is_no_hold),
        cmocka_unit_test(clocks_that_differ),
        cmocka_unit_test(a_clock_that_jumps),
        cmocka_unit_test(a_failover_that_loses_a_hold),
        cmocka_unit_test(nodes_that_write_first_are_not_guarded),
        fence_test(an_age_that_is_not_told),
        fence_test(a_node_that_forgot_lets_nobody_in),
        fence_test(without_the_guard_it_does),
    };
    server_start_or_skip(&nodes, "redis", "--nodes", "5");
    server_start_or_skip(&durable, "redis", "--nodes", "3", "--appendfsync", "always");
    server_start_or_skip(&pair, "redis", "--nodes", "2", "--config", "repl-diskless-sync-delay 0");
    server_start_or_skip(&timed, "redis", "--nodes", "3", "--clock", CLOCK_FILE);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    server_stop(&nodes);
    server_stop(&durable);
    server_stop(&pair);
    server_stop(&timed);
    return failed;
}
