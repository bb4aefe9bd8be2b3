/* test_round.c - what the storage does with its nodes: storages/redis/round.c and node.c, on three real servers, each
 * behind a proxy, and seen from outside.
 *
 * The restart guard is off unless a case is about it, since the servers are new. */
#include "nodes.h"
#include "proxy.h"
#include "support.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODES 3
#define TTL   30000
#define SOON  1000 /* a ttl for which a quorum waits 50 ms for a node */

static struct server server;
static struct proxy proxies[NODES];
static redisContext *nodes[NODES];
static struct opened opened;
static char url[256];

static int start_servers(void **state)
{
    (void)state;
    server_start(&server, "redis", "--nodes", "3");
    for (int i = 0; i < NODES; i++) {
        proxy_start(&proxies[i], "127.0.0.1", server_port(&server, i));
        nodes[i] = look(server_port(&server, i));
    }
    return 0;
}

static int stop_servers(void **state)
{
    (void)state;
    for (int i = 0; i < NODES; i++) {
        redisFree(nodes[i]);
        proxy_stop(&proxies[i]);
    }
    server_stop(&server);
    return 0;
}

/* The storage sorts its nodes by name, so which of `opened.session.nodes` a server is has to be looked for. */
static struct node *node_of(int which)
{
    for (size_t i = 0; i < opened.session.node_count; i++)
        if (opened.session.nodes[i].address->port == proxies[which].port)
            return &opened.session.nodes[i];
    fail_msg("server %d is not a node", which);
    return NULL;
}

static void open_nodes(int count, const char *parameters)
{
    strcpy(url, "redis://");
    for (int i = 0; i < count; i++)
        snprintf(url + strlen(url), sizeof url - strlen(url), "%s127.0.0.1:%d", i ? "," : "", proxies[i].port);
    snprintf(url + strlen(url), sizeof url - strlen(url), "?%s", parameters);
    session_start(&opened, url, 5000);
}

static int set_up(void **state)
{
    (void)state;
    for (int i = 0; i < NODES; i++)
        reply_of(nodes[i], "FLUSHALL");
    open_nodes(NODES, "prefix=p&restart_guard_ms=0");
    /* Connected to all of them, so that what comes is decided by what a case does. */
    for (int i = 0; i < NODES; i++)
        wait_for((ask(&opened, DLOCK_INSPECT, "warm", "", 0), node_of(i)->state == NODE_OPEN));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    session_stop(&opened);
    for (int i = 0; i < NODES; i++) {
        proxy_pass(&proxies[i]);
        proxy_enter(&proxies[i], PROXY_ACCEPT);
    }
    return 0;
}

/* So that a node cannot be reached at all. */
static void cut_off(int which)
{
    proxy_enter(&proxies[which], PROXY_REFUSE);
    proxy_cut(&proxies[which], PROXY_RST);
}

static void assert_status(const dlock_request *request, dlock_status expected)
{
    if (request->status != expected)
        fail_msg("status %d, expected %d: %s", request->status, expected, request->message);
}

static const char *value_at(int node, const char *key)
{
    return reply_of(nodes[node], "GET p:%s", key);
}

static bool is_absent(int node, const char *key)
{
    return strcmp(value_at(node, key), "(nil)") == 0;
}

static uint64_t fence_at(int node, const char *key)
{
    const char *space = strchr(value_at(node, key), ' ');
    return space ? strtoull(space + 1, NULL, 10) : 0;
}

/* ---- one node -----------------------------------------------------------------------------------------------------
 */

static void open_one(void)
{
    session_stop(&opened);
    open_nodes(1, "prefix=p");
    const dlock_request request = ask(&opened, DLOCK_INSPECT, "warm", "", 0);
    assert_status(&request, DLOCK_OK);
}

static void without_a_reply_it_may_have_happened(void **state)
{
    (void)state;
    open_one();
    proxy_drop_replies(&proxies[0], 1, PROXY_FIN);
    dlock_request request = ask(&opened, DLOCK_ACQUIRE, "k", "me", TTL);
    assert_status(&request, DLOCK_UNAVAILABLE);
    assert_false(request.not_done);
    assert_false(is_absent(0, "k"));
    char name[64];
    snprintf(name, sizeof name, "127.0.0.1:%d: ", proxies[0].port);
    assert_non_null(strstr(request.message, name));

    session_stop(&opened);
    open_nodes(1, "prefix=p");
    proxy_drop_replies(&proxies[0], 1, PROXY_FIN);
    request = ask(&opened, DLOCK_RELEASE, "k", "me", 0);
    assert_status(&request, DLOCK_UNAVAILABLE);
    assert_false(request.not_done);
}

static void what_was_never_sent_did_not_happen(void **state)
{
    (void)state;
    open_one();
    cut_off(0);
    session_stop(&opened);
    open_nodes(1, "prefix=p");
    for (dlock_operation operation = DLOCK_ACQUIRE; operation <= DLOCK_BREAK; operation++) {
        const dlock_request request = ask(&opened, operation, "k", "me", TTL);
        assert_status(&request, DLOCK_UNAVAILABLE);
        assert_true(request.not_done);
    }
}

static void a_node_that_refuses_did_not_do_it(void **state)
{
    (void)state;
    open_one();
    assert_string_equal(reply_of(nodes[0], "SET p:k x"), "OK");
    assert_string_equal(reply_of(nodes[0], "CONFIG SET maxmemory 1"), "OK");
    dlock_request request = ask(&opened, DLOCK_ACQUIRE, "free", "me", TTL);
    reply_of(nodes[0], "CONFIG SET maxmemory 0");
    assert_status(&request, DLOCK_UNAVAILABLE);
    assert_true(request.not_done);
    assert_non_null(strstr(request.message, "OOM"));
    reply_of(nodes[0], "DEL p:k");
    reply_of(nodes[0], "RPUSH p:k x");
    request = ask(&opened, DLOCK_ACQUIRE, "k", "me", TTL);
    assert_status(&request, DLOCK_REFUSED);
    assert_true(request.not_done);
    assert_non_null(strstr(request.message, "WRONGTYPE"));
}

static void a_script_that_was_forgotten_is_sent_again(void **state)
{
    (void)state;
    open_one();
    static const dlock_operation operations[] = {DLOCK_ACQUIRE, DLOCK_EXTEND,  DLOCK_INSPECT,
                                                 DLOCK_RELEASE, DLOCK_ACQUIRE, DLOCK_BREAK};
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        reply_of(nodes[0], "SCRIPT FLUSH");
        const dlock_request request = ask(&opened, operations[i], "k", "me", TTL);
        assert_status(&request, DLOCK_OK);
    }
}

/* Each request of a batch gets its own answer. */
static void answers_belong_to_their_requests(void **state)
{
    (void)state;
    enum { COUNT = 40 };
    for (int spread = 0; spread < 2; spread++) {
        if (!spread)
            open_one();
        dlock_request requests[COUNT], *pointers[COUNT];
        char names[COUNT][8];
        for (int i = 0; i < COUNT; i++) {
            snprintf(names[i], sizeof names[i], "k%d", i);
            for (int node = 0; node < NODES; node++)
                reply_of(nodes[node], i % 4 == 0 ? "SET p:%s them%d" : "DEL p:%s", names[i], i);
            requests[i] = (dlock_request){.operation = i % 2 ? DLOCK_RELEASE : DLOCK_ACQUIRE,
                                          .key = names[i],
                                          .owner = "me",
                                          .ttl_ms = TTL,
                                          .status = DLOCK_UNAVAILABLE};
            pointers[i] = &requests[i];
        }
        round_execute(&opened.session, pointers, COUNT);
        for (int i = 0; i < COUNT; i++) {
            char them[8];
            snprintf(them, sizeof them, "them%d", i);
            assert_status(&requests[i], i % 4 == 0 ? DLOCK_BUSY : i % 2 ? DLOCK_LOST : DLOCK_OK);
            assert_string_equal(requests[i].info.owner, i % 4 == 0 ? them : "");
        }
        session_stop(&opened);
        open_nodes(NODES, "prefix=p&restart_guard_ms=0");
    }
}

/* ---- a majority ---------------------------------------------------------------------------------------------------
 */

static void one_of_three_changes_nothing(void **state)
{
    (void)state;
    cut_off(2);
    static const dlock_operation operations[] = {DLOCK_ACQUIRE, DLOCK_EXTEND, DLOCK_INSPECT, DLOCK_RELEASE};
    for (size_t i = 0; i < 4; i++) {
        const dlock_request request = ask(&opened, operations[i], "k", "me", TTL);
        assert_status(&request, DLOCK_OK);
    }
    wait_for(is_absent(0, "k") && is_absent(1, "k"));
}

static void without_a_majority_nothing_is_left(void **state)
{
    (void)state;
    cut_off(1);
    cut_off(2);
    const dlock_request request = ask(&opened, DLOCK_ACQUIRE, "k", "me", TTL);
    assert_status(&request, DLOCK_UNAVAILABLE);
    assert_true(request.contended);
    wait_for(is_absent(0, "k"));
    char name[64];
    for (int i = 1; i < 3; i++) {
        snprintf(name, sizeof name, "127.0.0.1:%d: ", proxies[i].port);
        assert_non_null(strstr(request.message, name));
    }
    assert_non_null(strstr(request.message, "1 of 3 nodes took part, 2 are needed"));
}

/* Enough of them answer, but what they say decides nothing. */
static void nodes_that_do_not_agree_are_told(void **state)
{
    (void)state;
    dlock_request request = ask(&opened, DLOCK_ACQUIRE, "split", "me", TTL);
    assert_status(&request, DLOCK_OK);
    for (int i = 0; i < 2; i++)
        wait_for(!is_absent(i, "split"));
    reply_of(nodes[0], "DEL p:split");
    cut_off(2);
    request = ask(&opened, DLOCK_RELEASE, "split", "me", 0);
    assert_status(&request, DLOCK_UNAVAILABLE);
    assert_non_null(strstr(request.message, "2 of 3 nodes took part, but do not agree: "));
}

static void a_minority_that_was_granted_is_given_back(void **state)
{
    (void)state;
    reply_of(nodes[1], "SET p:k other PX %d", TTL);
    reply_of(nodes[2], "SET p:k other PX %d", TTL);
    const dlock_request request = ask(&opened, DLOCK_ACQUIRE, "k", "me", TTL);
    assert_status(&request, DLOCK_BUSY);
    assert_string_equal(request.info.owner, "other");
    assert_true(request.contended || request.not_done);
    wait_for(is_absent(0, "k"));
    assert_string_equal(value_at(1, "k"), "other");
    assert_string_equal(value_at(2, "k"), "other");
}

/* Half of the nodes is no majority: two that each have one of two would both hold the key. */
static void half_of_the_nodes_is_not_enough(void **state)
{
    (void)state;
    session_stop(&opened);
    open_nodes(2, "prefix=p&restart_guard_ms=0");
    reply_of(nodes[1], "SET p:k other PX %d", TTL);
    dlock_request request = ask(&opened, DLOCK_ACQUIRE, "k", "me", TTL);
    assert_status(&request, DLOCK_BUSY);
    wait_for(is_absent(0, "k"));
    cut_off(1);
    request = ask(&opened, DLOCK_ACQUIRE, "j", "me", TTL);
    assert_status(&request, DLOCK_UNAVAILABLE);
    wait_for(is_absent(0, "j"));
}

static void the_largest_fence_is_known_to_a_majority(void **state)
{
    (void)state;
    cut_off(2);
    assert_string_equal(reply_of(nodes[1], "SET p#fence 6000000000000000"), "OK");
    dlock_request request = ask(&opened, DLOCK_ACQUIRE, "k", "me", TTL);
    assert_status(&request, DLOCK_OK);
    const uint64_t fence = request.info.fence;
    assert_true(fence > 6000000000000000 && fence <= 6000000000000001 + NODES);
    for (int i = 0; i < 2; i++) {
        assert_true(fence_at(i, "k") == fence);
        assert_true(strtoull(reply_of(nodes[i], "GET p#fence"), NULL, 10) >= fence);
    }
    request = ask(&opened, DLOCK_INSPECT, "k", "", 0);
    assert_true(request.info.fence == fence);
    request = ask(&opened, DLOCK_RELEASE, "k", "me", 0);
    assert_status(&request, DLOCK_OK);

    /* The next majority has the node that proposed it less than the one that learnt it. */
    proxy_pass(&proxies[2]);
    proxy_enter(&proxies[2], PROXY_ACCEPT);
    cut_off(1);
    session_stop(&opened);
    open_nodes(NODES, "prefix=p&restart_guard_ms=0");
    request = ask(&opened, DLOCK_ACQUIRE, "k", "me", TTL);
    assert_status(&request, DLOCK_OK);
    assert_true(request.info.fence > fence);
}

/* Acquires it, and waits until also the node whose answer was not needed knows all of it. Returns the fence. */
static uint64_t hold_on_all(const char *key)
{
    const dlock_request request = ask(&opened, DLOCK_ACQUIRE, key, "me", TTL);
    assert_status(&request, DLOCK_OK);
    for (int i = 0; i < NODES; i++)
        wait_for(fence_at(i, key) == request.info.fence);
    return request.info.fence;
}

static void a_node_that_forgot_a_hold_learns_it_from_an_extension(void **state)
{
    (void)state;
    dlock_request request;
    const uint64_t fence = hold_on_all("k");
    reply_of(nodes[1], "FLUSHALL");
    wait_for((request = ask(&opened, DLOCK_EXTEND, "k", "me", TTL), assert_status(&request, DLOCK_OK),
              fence_at(1, "k") == fence));
    assert_true(strtoull(reply_of(nodes[1], "GET p#fence"), NULL, 10) >= fence);
    assert_true(request.info.fence == 0 || request.info.fence == fence);
    /* What somebody else holds there meanwhile is theirs. */
    reply_of(nodes[1], "SET p:k other PX %d", TTL);
    for (int i = 0; i < 5; i++) {
        request = ask(&opened, DLOCK_EXTEND, "k", "me", TTL);
        assert_status(&request, DLOCK_OK);
    }
    assert_string_equal(value_at(1, "k"), "other");
    request = ask(&opened, DLOCK_RELEASE, "k", "me", 0);
    assert_status(&request, DLOCK_OK);
    assert_string_equal(value_at(1, "k"), "other");
}

/* Such a node may write the hold when it is over, and others had the key. */
static void what_a_node_may_write_later_is_told(void **state)
{
    (void)state;
    hold_on_all("k");
    dlock_request request;
    request = ask(&opened, DLOCK_EXTEND, "k", "me", TTL);
    assert_status(&request, DLOCK_OK);
    assert_false(request.stray);
    /* Its answer has to be among the first ones. */
    wait_for((reply_of(nodes[1], "DEL p:k"), request = ask(&opened, DLOCK_EXTEND, "k", "me", TTL),
              assert_status(&request, DLOCK_OK), request.stray));
    proxy_hold_replies(&proxies[1], true);
    request = ask(&opened, DLOCK_ACQUIRE, "j", "me", TTL);
    assert_status(&request, DLOCK_OK);
    assert_true(request.stray);
}

static void a_hold_of_a_minority_is_lost(void **state)
{
    (void)state;
    hold_on_all("k");
    reply_of(nodes[0], "DEL p:k");
    reply_of(nodes[1], "SET p:k other");
    dlock_request request = ask(&opened, DLOCK_EXTEND, "k", "me", TTL);
    assert_status(&request, DLOCK_LOST);
    assert_true(is_absent(0, "k"));
    request = ask(&opened, DLOCK_RELEASE, "k", "me", 0);
    assert_status(&request, DLOCK_LOST);
}

/* ---- late answers -------------------------------------------------------------------------------------------------
 */

/* What nodes still owe to an earlier request says nothing about the next one. */
static void a_late_answer_is_not_the_next_ones(void **state)
{
    (void)state;
    for (int i = 0; i < NODES; i++)
        reply_of(nodes[i], "SET p:held other PX %d", TTL);
    proxy_hold_replies(&proxies[1], true);
    proxy_hold_replies(&proxies[2], true);
    dlock_request request = ask(&opened, DLOCK_ACQUIRE, "held", "me", SOON);
    assert_status(&request, DLOCK_UNAVAILABLE);
    proxy_hold_replies(&proxies[1], false);
    proxy_hold_replies(&proxies[2], false);
    request = ask(&opened, DLOCK_INSPECT, "free", "", 0);
    assert_status(&request, DLOCK_OK);
    assert_string_equal(request.info.owner, "");

    proxy_hold_replies(&proxies[1], true);
    proxy_hold_replies(&proxies[2], true);
    request = ask(&opened, DLOCK_ACQUIRE, "k", "me", SOON);
    assert_status(&request, DLOCK_UNAVAILABLE);
    assert_true(request.contended);
    proxy_hold_replies(&proxies[1], false);
    proxy_hold_replies(&proxies[2], false);
    request = ask(&opened, DLOCK_EXTEND, "k", "me", TTL); /* they were told to take it back before */
    assert_status(&request, DLOCK_LOST);
    for (int i = 0; i < NODES; i++)
        wait_for(is_absent(i, "k"));
}

static void a_command_for_a_closed_node_is_not_kept(void **state)
{
    (void)state;
    struct node *node = node_of(1);
    const struct address *address = node->address;
    node_close(node);
    node_init(node, address, false);
    static const char *const words[] = {"SET", "p:stale", "x"};
    assert_false(node_queue_words(node, EXPECT_NOTHING, 3, words));
    assert_int_equal(node->out_size, 0);
    assert_int_equal(node->owed_count, 0);
    const dlock_request request = ask(&opened, DLOCK_ACQUIRE, "k", "me", TTL);
    assert_status(&request, DLOCK_OK);
    wait_for((ask(&opened, DLOCK_EXTEND, "k", "me", TTL), !is_absent(1, "k")));
    assert_true(is_absent(1, "stale"));
}

/* ---- nodes that are behind ----------------------------------------------------------------------------------------
 */

#define LONG_US 60000000

/* Of a key that no other case has, of which something may be under way still. */
static dlock_request inspect(void)
{
    return ask(&opened, DLOCK_INSPECT, "behind", "", 0);
}

/* Server 1 owes more than a batch's replies, but not for so long that it counts as gone. */
static void let_a_node_fall_behind(void)
{
    opened.options.timeout_ms = 10 * LONG_US / 1000;
    opened.session.patience_us = 0;
    wait_for((inspect(), node_of(1)->heard_at > 0));
    proxy_hold_replies(&proxies[1], true);
    while (node_of(1)->owed_count <= 300) {
        const dlock_request request = inspect();
        assert_status(&request, DLOCK_OK);
    }
}

/* How long it takes to ask so often. */
static int64_t time_of_asking(int times)
{
    const int64_t since = dlock_clock_us();
    for (int i = 0; i < times; i++) {
        const dlock_request request = inspect();
        assert_status(&request, DLOCK_OK);
    }
    return dlock_clock_us() - since;
}

/* Else it would fall behind for good, and all depend on the others. */
static void a_node_that_is_behind_gets_as_long_as_a_round_took(void **state)
{
    (void)state;
    let_a_node_fall_behind();
    opened.session.patience_us = 10 * LONG_US;
    opened.session.round_us = 1000000;
    assert_true(time_of_asking(1) >= 1000000);
    assert_true(time_of_asking(99) < LONG_US); /* the waiting was no part of the round */
}

static void a_node_that_has_caught_up_is_not_waited_for(void **state)
{
    (void)state;
    let_a_node_fall_behind();
    proxy_hold_replies(&proxies[1], false);
    opened.session.patience_us = 10 * LONG_US;
    opened.session.round_us = 10 * LONG_US;
    assert_true(time_of_asking(1) < LONG_US);
    assert_in_range(node_of(1)->owed_count, 0, 257);
}

static void a_node_that_says_nothing_is_not_waited_for(void **state)
{
    (void)state;
    let_a_node_fall_behind();
    wait_for(dlock_clock_us() - node_of(1)->heard_at > 1000);
    opened.session.patience_us = 1000;
    opened.session.round_us = 10 * LONG_US;
    assert_true(time_of_asking(1) < LONG_US);
}

/* A round that must not wait is left to one that may. */
static void a_round_that_must_not_wait_does_not_begin(void **state)
{
    (void)state;
    dlock_request request = {.operation = DLOCK_INSPECT, .key = "behind", .owner = ""}, *const requests[] = {&request};
    let_a_node_fall_behind();
    assert_true(round_begin(&opened.session, requests, 1));
    round_proceed(&opened.session, true);
    assert_status(&request, DLOCK_OK);
    opened.session.patience_us = 10 * LONG_US;
    assert_false(round_begin(&opened.session, requests, 1));
}

/* ---- the restart guard --------------------------------------------------------------------------------------------
 */

static void a_node_that_was_restarted_has_no_vote(void **state)
{
    (void)state;
    session_stop(&opened);
    open_nodes(NODES, "prefix=p"); /* for as long as the ttl: the servers are younger than 24 hours */
    dlock_request request = ask(&opened, DLOCK_ACQUIRE, "k", "me", DLOCK_TTL_MAX_MS);
    assert_status(&request, DLOCK_UNAVAILABLE);
    assert_non_null(strstr(request.message, "may have forgotten holds; it votes in "));
    for (int i = 0; i < NODES; i++)
        wait_for(is_absent(i, "k"));

    session_stop(&opened);
    open_nodes(NODES, "prefix=p&restart_guard_ms=86400000");
    request = ask(&opened, DLOCK_ACQUIRE, "k", "me", TTL);
    assert_status(&request, DLOCK_UNAVAILABLE);
    session_stop(&opened);
    open_nodes(NODES, "prefix=p&restart_guard_ms=0");
    request = ask(&opened, DLOCK_ACQUIRE, "k", "me", DLOCK_TTL_MAX_MS);
    assert_status(&request, DLOCK_OK);
    request = ask(&opened, DLOCK_RELEASE, "k", "me", 0);
    assert_status(&request, DLOCK_OK);

    /* One that writes all to its disk first forgets nothing. */
    for (int i = 0; i < NODES; i++) {
        assert_string_equal(reply_of(nodes[i], "CONFIG SET appendonly yes"), "OK");
        assert_string_equal(reply_of(nodes[i], "CONFIG SET appendfsync %s", i ? "always" : "everysec"), "OK");
    }
    session_stop(&opened);
    open_nodes(NODES, "prefix=p");
    request = ask(&opened, DLOCK_ACQUIRE, "k", "me", DLOCK_TTL_MAX_MS);
    for (int i = 0; i < NODES; i++)
        reply_of(nodes[i], "CONFIG SET appendonly no");
    assert_status(&request, DLOCK_OK); /* by two of three */
}

static void a_node_that_hides_its_uptime_has_no_vote(void **state)
{
    (void)state;
    session_stop(&opened);
    for (int i = 0; i < NODES; i++)
        assert_string_equal(reply_of(nodes[i], "ACL SETUSER default -info"), "OK");
    open_nodes(NODES, "prefix=p");
    const dlock_request request = ask(&opened, DLOCK_ACQUIRE, "k", "me", SOON);
    for (int i = 0; i < NODES; i++)
        reply_of(nodes[i], "ACL SETUSER default +@all");
    assert_status(&request, DLOCK_REFUSED);
    assert_non_null(strstr(request.message, "it does not tell its uptime (INFO)"));
    for (int i = 0; i < NODES; i++)
        wait_for(is_absent(i, "k"));
}

static long uptime(redisContext *node)
{
    const char *line = strstr(reply_of(node, "INFO server"), "uptime_in_seconds:");
    assert_non_null(line);
    return strtol(line + strlen("uptime_in_seconds:"), NULL, 10);
}

/* An uptime of 1 second is that of a server that may have begun to run a moment ago. */
static void an_uptime_in_seconds_may_be_too_long_by_one(void **state)
{
    (void)state;
    session_stop(&opened);
    long after;
    do {
        server_tell(&server, "kill 0");
        server_tell(&server, "start 0");
        redisFree(nodes[0]);
        nodes[0] = look(server_port(&server, 0));
        wait_for(uptime(nodes[0]) > 0);
        open_nodes(1, "prefix=p&restart_guard_ms=1000");
        const dlock_request request = ask(&opened, DLOCK_ACQUIRE, "k", "me", TTL);
        after = uptime(nodes[0]);
        if (after == 1)
            assert_status(&request, DLOCK_UNAVAILABLE);
        if (after > 1)
            session_stop(&opened);
    } while (after > 1); /* too slow to have seen anything */
    dlock_request request;
    wait_for((request = ask(&opened, DLOCK_ACQUIRE, "k", "me", TTL)).status == DLOCK_OK);
    assert_true(uptime(nodes[0]) >= 1);
}

/* ---- waiting ------------------------------------------------------------------------------------------------------
 */

static void take_hint(void *arg, const char *key)
{
    strcat(arg, key);
    strcat(arg, " ");
}

/* Of three nodes two have to be free, so one release is no reason to ask. */
static void a_waiter_is_told_when_enough_nodes_are_free(void **state)
{
    (void)state;
    struct opened watching;
    dlock_error error;
    char hints[256] = "";
    session_start(&watching, url, 5000);
    assert_true(redis_watch_fd(&watching.session) >= 0);
    assert_int_equal(redis_watch(&watching.session, "k", &error), DLOCK_OK);
    assert_int_equal(redis_watch(&watching.session, "end", &error), DLOCK_OK);
    /* Watching is sure of a majority only; the last node may hear of it later. */
    for (int i = 0; i < NODES; i++)
        wait_for(strcmp(reply_of(nodes[i], "EVAL %s 1 p:end", "return redis.call('PUBSUB', 'NUMSUB', KEYS[1])[2]"),
                        "1") == 0);
    reply_of(nodes[0], "PUBLISH p:k me");
    reply_of(nodes[1], "PUBLISH p:k other");
    for (int i = 0; i < NODES; i++)
        reply_of(nodes[i], "PUBLISH p:end x");
    wait_for((assert_int_equal(redis_watch_read(&watching.session, take_hint, hints, &error), DLOCK_OK),
              strstr(hints, "end ")));
    assert_null(strstr(hints, "k "));
    reply_of(nodes[1], "PUBLISH p:k me");
    wait_for((assert_int_equal(redis_watch_read(&watching.session, take_hint, hints, &error), DLOCK_OK),
              strstr(hints, "k ")));

    /* A real release tells, too. */
    hints[0] = '\0';
    dlock_request request = ask(&opened, DLOCK_ACQUIRE, "k", "me", TTL);
    assert_status(&request, DLOCK_OK);
    request = ask(&opened, DLOCK_RELEASE, "k", "me", 0);
    assert_status(&request, DLOCK_OK);
    wait_for((assert_int_equal(redis_watch_read(&watching.session, take_hint, hints, &error), DLOCK_OK),
              strstr(hints, "k ")));
    session_stop(&watching);
}

/* ---- lists --------------------------------------------------------------------------------------------------------
 */

static bool note(void *arg, const char *key, const dlock_info *info)
{
    assert_true(info->owner[0]);
    snprintf((char *)arg + strlen(arg), 256 - strlen(arg), "%s ", key);
    return true;
}

static void assert_list(const char *prefix, const char *expected)
{
    char found[256] = "";
    dlock_error error;
    assert_int_equal(list_keys(&opened.session, prefix, note, found, &error), DLOCK_OK);
    assert_string_equal(found, expected);
}

/* Signs that mean something in a pattern are meant literally. */
static void lists_take_prefixes_literally(void **state)
{
    (void)state;
    static const char *const names[] = {"a*b", "axb", "a[b]c", "abc", "a?c", "a\\c", "a^b", "-"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const dlock_request request = ask(&opened, DLOCK_ACQUIRE, names[i], "me", TTL);
        assert_status(&request, DLOCK_OK);
    }
    for (int i = 0; i < NODES; i++) {
        reply_of(nodes[i], "SET pp:other me");
        reply_of(nodes[i], "SET p2 me");
        reply_of(nodes[i], "SET foreign me");
    }
    assert_list("a*", "a*b ");
    assert_list("a[", "a[b]c ");
    assert_list("a?", "a?c ");
    assert_list("a\\", "a\\c ");
    assert_list("a^", "a^b ");
    assert_list("[a-z]", "");
    assert_list("-", "- ");
    assert_list("ab", "abc ");
    assert_list("", "- a*b a?c a[b]c a\\c a^b abc axb ");
    cut_off(0);
    assert_list("ax", "axb ");
}

static bool count_key(void *arg, const char *key, const dlock_info *info)
{
    (void)key, (void)info;
    ++*(unsigned *)arg;
    return true;
}

/* More than a server looks at in one step, in a session that asks about them in several batches. */
static void lists_have_all_pages(void **state)
{
    (void)state;
    unsigned count = 0;
    dlock_error error;
    for (int i = 0; i < NODES; i++)
        reply_of(nodes[i], "EVAL %s 0", "for i = 1, 5000 do redis.call('SET', 'p:many' .. i, 'them') end");
    assert_int_equal(list_keys(&opened.session, "many", count_key, &count, &error), DLOCK_OK);
    assert_int_equal(count, 5000);
}

/* KEYS stops a server for as long as it looks, so it may be forbidden. */
static void lists_do_without_keys(void **state)
{
    (void)state;
    dlock_request request = ask(&opened, DLOCK_ACQUIRE, "k", "me", TTL);
    assert_status(&request, DLOCK_OK);
    for (int i = 0; i < NODES; i++) {
        reply_of(nodes[i], "CONFIG RESETSTAT");
        assert_string_equal(reply_of(nodes[i], "ACL SETUSER default -keys"), "OK");
    }
    assert_list("", "k ");
    request = ask(&opened, DLOCK_BREAK, "k", "", 0);
    assert_status(&request, DLOCK_OK);
    for (int i = 0; i < NODES; i++) {
        assert_null(strstr(reply_of(nodes[i], "INFO commandstats"), "cmdstat_keys:"));
        reply_of(nodes[i], "ACL SETUSER default +@all");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(without_a_reply_it_may_have_happened, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_never_sent_did_not_happen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_node_that_refuses_did_not_do_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_script_that_was_forgotten_is_sent_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(answers_belong_to_their_requests, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_of_three_changes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_a_majority_nothing_is_left, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nodes_that_do_not_agree_are_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_minority_that_was_granted_is_given_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(half_of_the_nodes_is_not_enough, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_largest_fence_is_known_to_a_majority, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_node_that_forgot_a_hold_learns_it_from_an_extension, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_a_node_may_write_later_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_hold_of_a_minority_is_lost, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_late_answer_is_not_the_next_ones, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_command_for_a_closed_node_is_not_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_node_that_is_behind_gets_as_long_as_a_round_took, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_node_that_has_caught_up_is_not_waited_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_node_that_says_nothing_is_not_waited_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_round_that_must_not_wait_does_not_begin, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_node_that_was_restarted_has_no_vote, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_node_that_hides_its_uptime_has_no_vote, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_waiter_is_told_when_enough_nodes_are_free, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lists_take_prefixes_literally, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lists_have_all_pages, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lists_do_without_keys, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_uptime_in_seconds_may_be_too_long_by_one, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("round", tests, start_servers, stop_servers);
}
