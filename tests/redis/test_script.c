/* test_script.c - the script that one node runs for one request: storages/redis/lock.lua, on a real server.
 *
 * Each case has a key and a prefix of its own, and so a counter of its own. */
#include "answer.h"
#include "nodes.h"
#include "support.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY  "k"
#define LIVE 30000

static struct server server;
static redisContext *node;
static char prefix[32];

static int start_server(void **state)
{
    (void)state;
    server_start(&server, "redis");
    node = look(server_port(&server, 0));
    return 0;
}

static int stop_server(void **state)
{
    (void)state;
    redisFree(node);
    server_stop(&server);
    return 0;
}

static int next_prefix(void **state)
{
    (void)state;
    static unsigned count;
    snprintf(prefix, sizeof prefix, "p%u", ++count);
    return 0;
}

/* ---- asking -------------------------------------------------------------------------------------------------------
 */

#define NODES_NAMED 3
#define NODE_NAMED  1

static struct answer run(enum question question, const char *owner, uint32_t ttl_ms, uint64_t fence,
                         int64_t acquired_at_us)
{
    const struct details details = {
        .fence = fence, .acquired_at_us = acquired_at_us, .nodes = NODES_NAMED, .node = NODE_NAMED};
    const dlock_request request = {.key = KEY, .owner = owner, .ttl_ms = ttl_ms};
    struct answer answer = {.asked = true};
    char *command, why[200];
    const long long size = answer_command(&command, question, prefix, &request, &details, true);
    assert_true(size > 0);
    assert_int_equal(redisAppendFormattedCommand(node, command, (size_t)size), REDIS_OK);
    answer_free_command(command);
    void *reply;
    assert_int_equal(redisGetReply(node, &reply), REDIS_OK);
    if (!answer_read(reply, question, &answer, why, sizeof why))
        fail_msg("question %d: %s", question, why);
    freeReplyObject(reply);
    return answer;
}

static struct answer acquire(const char *owner)
{
    return run(ASK_ACQUIRE, owner, LIVE, 0, 0);
}

static void set_value(const char *value)
{
    assert_string_equal(reply_of(node, "SET %s:" KEY " %s PX %d", prefix, value, LIVE), "OK");
}

static const char *value(void)
{
    return reply_of(node, "GET %s:" KEY, prefix);
}

static long long remaining(void)
{
    return atoll(reply_of(node, "PTTL %s:" KEY, prefix));
}

/* It never ends. */
static uint64_t counter(void)
{
    assert_true(atoll(reply_of(node, "TTL %s#fence", prefix)) < 0);
    return strtoull(reply_of(node, "GET %s#fence", prefix), NULL, 10);
}

static void assert_value(const char *owner, uint64_t fence, uint32_t ttl_ms)
{
    char expected[128];
    snprintf(expected, sizeof expected, "%s %" PRIu64 " %" PRIu32 " ", owner, fence, ttl_ms);
    if (strncmp(value(), expected, strlen(expected)) != 0)
        fail_msg("expected %s..., found %s", expected, value());
}

static int64_t server_time(void)
{
    redisReply *reply = redisCommand(node, "TIME");
    assert_non_null(reply);
    const int64_t now = atoll(reply->element[0]->str) * 1000000 + atoll(reply->element[1]->str);
    freeReplyObject(reply);
    return now;
}

/* ---- acquiring ----------------------------------------------------------------------------------------------------
 */

static void a_grant_is_one_key_that_ends(void **state)
{
    (void)state;
    const int64_t before = server_time();
    const struct answer answer = acquire("me");
    const int64_t after = server_time();
    assert_int_equal(answer.vote, VOTE_YES);
    assert_value("me", answer.info.fence, LIVE);
    const int64_t acquired = atoll(strrchr(value(), ' ') + 1);
    assert_true(before <= acquired && acquired <= after); /* on the server's clock */
    assert_true(remaining() > 0 && remaining() <= LIVE);
    assert_int_equal(counter(), answer.info.fence);
}

static void a_resend_changes_only_the_end(void **state)
{
    (void)state;
    const struct answer first = acquire("me");
    char expected[200];
    snprintf(expected, sizeof expected, "%s", value());
    const struct answer second = run(ASK_ACQUIRE, "me", 2 * LIVE, 0, 0);
    assert_int_equal(second.vote, VOTE_YES);
    assert_int_equal(second.info.fence, first.info.fence);
    assert_value("me", first.info.fence, 2 * LIVE);
    assert_string_equal(strrchr(value(), ' '), strrchr(expected, ' ')); /* when it was acquired */
    assert_true(remaining() > LIVE);
}

static void whoever_is_in_the_way_stays_there(void **state)
{
    (void)state;
    const uint64_t fence = acquire("other").info.fence;
    assert_string_equal(reply_of(node, "PEXPIRE %s:" KEY " %d", prefix, LIVE / 2), "1");
    const struct answer answer = acquire("me");
    assert_int_equal(answer.vote, VOTE_OTHER);
    assert_string_equal(answer.info.owner, "other");
    assert_int_equal(answer.info.fence, fence);
    assert_int_equal(answer.info.ttl_ms, LIVE);
    assert_true(answer.info.remaining_ms > 0 && answer.info.remaining_ms <= LIVE / 2);
    assert_true(answer.info.held_ms >= 0);
    assert_value("other", fence, LIVE);
    assert_true(remaining() <= LIVE / 2);
    assert_int_equal(counter(), fence); /* nobody was granted anything */
}

/* An owner is the whole first word, and no pattern. */
static void owners_are_compared_exactly(void **state)
{
    (void)state;
    static const char *const owners[] = {"a:1:x", "a", "a:1:x2", "a:.:x", "%S+", "a:1:x 5"};
    for (size_t holder = 0; holder < 6; holder++) {
        reply_of(node, "DEL %s:" KEY, prefix);
        assert_int_equal(acquire(owners[holder]).vote, VOTE_YES);
        for (size_t i = 0; i < 5; i++) {
            if (i == holder)
                continue;
            assert_int_equal(acquire(owners[i]).vote, VOTE_OTHER);
            assert_int_equal(run(ASK_EXTEND, owners[i], 2 * LIVE, 0, 0).vote, VOTE_OTHER);
            assert_int_equal(run(ASK_RELEASE, owners[i], 0, 0, 0).vote, VOTE_ABSENT);
            assert_int_equal(run(ASK_SETTLE, owners[i], LIVE, counter() + 5, 0).vote, VOTE_ABSENT);
            assert_int_equal(run(ASK_REPAIR, owners[i], LIVE, counter() + 5, 1).vote, VOTE_ABSENT);
            assert_true(remaining() <= LIVE);
        }
        assert_int_equal(run(ASK_EXTEND, owners[holder], LIVE, 0, 0).vote, VOTE_YES);
    }
}

/* ---- fences -------------------------------------------------------------------------------------------------------
 */

static void fences_grow(void **state)
{
    (void)state;
    uint64_t last = acquire("a").info.fence;
    assert_true(last >= (uint64_t)server_time() - 60000000);
    /* Across a release, an end that was not extended, and a loss of the counter. */
    assert_int_equal(run(ASK_RELEASE, "a", 0, 0, 0).vote, VOTE_YES);
    assert_int_equal(counter(), last); /* it outlives the hold */
    assert_string_equal(reply_of(node, "TTL %s#fence", prefix), "-1");
    for (int i = 0; i < 3; i++) {
        const uint64_t next = acquire("a").info.fence;
        assert_true(next > last);
        last = next;
        reply_of(node, i == 2 ? "DEL %s:" KEY " %s#fence" : "DEL %s:" KEY, prefix, prefix);
    }
    assert_true(acquire("a").info.fence > last);
}

/* A counter that is ahead of the clock, as after the clock was set back, is what counts. */
static void the_counter_counts_where_the_clock_is_behind(void **state)
{
    (void)state;
    assert_string_equal(reply_of(node, "SET %s#fence 8000000000000000", prefix), "OK");
    assert_true(acquire("a").info.fence == 8000000000000001);
    assert_value("a", 8000000000000001, LIVE);
    reply_of(node, "DEL %s:" KEY, prefix);
    assert_true(acquire("b").info.fence == 8000000000000002);
    /* One that is no number does not keep anybody from locking. */
    reply_of(node, "DEL %s:" KEY, prefix);
    reply_of(node, "SET %s#fence x", prefix);
    assert_true(acquire("c").info.fence >= (uint64_t)server_time() - 60000000);
}

/* ---- extending ----------------------------------------------------------------------------------------------------
 */

static void an_extension_counts_anew(void **state)
{
    (void)state;
    const uint64_t fence = acquire("me").info.fence;
    const int64_t acquired = atoll(strrchr(value(), ' ') + 1);
    const struct answer answer = run(ASK_EXTEND, "me", 2 * LIVE, 0, 0);
    assert_int_equal(answer.vote, VOTE_YES);
    assert_int_equal(answer.info.fence, fence);
    assert_int_equal(answer.acquired_at_us, acquired);
    assert_value("me", fence, 2 * LIVE);
    assert_int_equal(atoll(strrchr(value(), ' ') + 1), acquired);
    assert_true(remaining() > LIVE);
    assert_int_equal(run(ASK_EXTEND, "me", 1000, 0, 0).vote, VOTE_YES); /* also if that is sooner */
    assert_true(remaining() <= 1000);
}

static void what_is_gone_does_not_come_back(void **state)
{
    (void)state;
    assert_int_equal(run(ASK_EXTEND, "me", LIVE, 0, 0).vote, VOTE_ABSENT);
    assert_int_equal(run(ASK_RELEASE, "me", 0, 0, 0).vote, VOTE_ABSENT);
    assert_int_equal(run(ASK_SETTLE, "me", LIVE, 5, 0).vote, VOTE_ABSENT);
    assert_string_equal(value(), "(nil)");
    assert_int_equal(counter(), 0);
}

/* ---- releasing and breaking ---------------------------------------------------------------------------------------
 */

static redisContext *subscribe(void)
{
    redisContext *listener = look(server_port(&server, 0));
    redisReply *reply = redisCommand(listener, "SUBSCRIBE %s:" KEY, prefix);
    assert_non_null(reply);
    freeReplyObject(reply);
    return listener;
}

/* What came on the channel, until a message of this case's own. */
static void assert_told(redisContext *listener, const char *owner)
{
    reply_of(node, "PUBLISH %s:" KEY " end", prefix);
    for (const char *const *each = (const char *const[]){owner, "end", NULL}; *each; each++) {
        redisReply *reply;
        assert_int_equal(redisGetReply(listener, (void **)&reply), REDIS_OK);
        assert_int_equal(reply->elements, 3);
        assert_string_equal(reply->element[2]->str, *each);
        freeReplyObject(reply);
        if (strcmp(*each, "end") == 0)
            break;
    }
}

static void a_release_removes_the_key_and_tells(void **state)
{
    (void)state;
    redisContext *listener = subscribe();
    acquire("me");
    assert_int_equal(run(ASK_RELEASE, "other", 0, 0, 0).vote, VOTE_ABSENT);
    assert_int_equal(run(ASK_RELEASE, "me", 0, 0, 0).vote, VOTE_YES);
    assert_string_equal(value(), "(nil)");
    assert_told(listener, "me");
    assert_int_equal(run(ASK_RELEASE, "me", 0, 0, 0).vote, VOTE_ABSENT);
    assert_told(listener, "end"); /* nothing was freed, so nobody is told */
    redisFree(listener);
}

static void a_break_removes_whatever_is_there_and_tells(void **state)
{
    (void)state;
    redisContext *listener = subscribe();
    const uint64_t fence = acquire("me").info.fence;
    struct answer answer = run(ASK_BREAK, "", 0, 0, 0);
    assert_int_equal(answer.vote, VOTE_YES);
    assert_string_equal(answer.info.owner, "me");
    assert_int_equal(answer.info.fence, fence);
    assert_string_equal(value(), "(nil)");
    assert_int_equal(counter(), fence);
    assert_told(listener, "me"); /* as if it had released */
    set_value("5d41402abc4b2a76b9719d911017c592");
    answer = run(ASK_BREAK, "", 0, 0, 0);
    assert_string_equal(answer.info.owner, "5d41402abc4b2a76b9719d911017c592");
    assert_string_equal(value(), "(nil)");
    assert_told(listener, "5d41402abc4b2a76b9719d911017c592");
    assert_int_equal(run(ASK_BREAK, "", 0, 0, 0).vote, VOTE_ABSENT);
    assert_told(listener, "end");
    redisFree(listener);
}

static void to_inspect_changes_nothing(void **state)
{
    (void)state;
    assert_int_equal(run(ASK_INSPECT, "", 0, 0, 0).vote, VOTE_ABSENT);
    const uint64_t fence = acquire("me").info.fence;
    const struct answer answer = run(ASK_INSPECT, "", 0, 0, 0);
    assert_int_equal(answer.vote, VOTE_YES);
    assert_string_equal(answer.info.owner, "me");
    assert_int_equal(answer.info.fence, fence);
    assert_value("me", fence, LIVE);
}

/* Where publishing is not allowed, a release still releases. */
static void a_release_needs_no_right_to_publish(void **state)
{
    (void)state;
    acquire("me");
    assert_string_equal(reply_of(node, "ACL SETUSER mute on >pw ~* resetchannels +@all"), "OK");
    redisContext *mute = look(server_port(&server, 0)), *kept = node;
    assert_string_equal(reply_of(mute, "AUTH mute pw"), "OK");
    node = mute;
    const struct answer answer = run(ASK_RELEASE, "me", 0, 0, 0);
    node = kept;
    redisFree(mute);
    assert_int_equal(answer.vote, VOTE_YES);
    assert_string_equal(value(), "(nil)");
}

/* ---- several nodes ------------------------------------------------------------------------------------------------
 */

static struct answer want(const char *owner, uint64_t fence)
{
    const int64_t before = server_time();
    const struct answer answer = run(ASK_PROPOSE, owner, LIVE, fence, 0);
    const int64_t after = server_time();
    assert_true(before <= answer.time_us && answer.time_us <= after);
    return answer;
}

static struct answer propose(const char *owner)
{
    return want(owner, 0);
}

/* Numbers that no other node proposes, and that grow; the value has no fence until it is settled. */
static void a_fence_is_proposed_first(void **state)
{
    (void)state;
    uint64_t last = 0;
    for (int i = 0; i < 20; i++) {
        const int64_t before = server_time();
        const struct answer answer = propose("me");
        assert_int_equal(answer.vote, VOTE_YES);
        assert_false(answer.held_before);
        assert_false(answer.accepted);
        assert_int_equal(answer.info.fence % (NODES_NAMED + 1), NODE_NAMED);
        assert_true(answer.info.fence > last);
        assert_true(answer.info.fence >= (uint64_t)before);
        last = answer.info.fence;
        assert_int_equal(counter(), last);
        assert_value("me", 0, LIVE);
        assert_true(remaining() > 0 && remaining() <= LIVE);
        if (i % 2)
            reply_of(node, "DEL %s:" KEY, prefix); /* else it is proposed anew to the same owner */
    }
    reply_of(node, "DEL %s:" KEY, prefix);
    assert_string_equal(reply_of(node, "SET %s#fence 8000000000000001", prefix), "OK");
    const uint64_t fence = propose("me").info.fence;
    assert_in_range(fence, 8000000000000002, 8000000000000002 + NODES_NAMED);
    assert_int_equal(fence % (NODES_NAMED + 1), NODE_NAMED);
    const struct answer other = propose("other");
    assert_int_equal(other.vote, VOTE_OTHER);
    assert_string_equal(other.info.owner, "me");
}

/* Asks for a fence with the counter as it is; what is not accepted gets one that is proposed. */
static void assert_wanted(uint64_t fence, bool accepted)
{
    reply_of(node, "DEL %s:" KEY, prefix);
    const uint64_t before = counter();
    const struct answer answer = want("me", fence);
    assert_int_equal(answer.vote, VOTE_YES);
    assert_int_equal(answer.accepted, accepted);
    assert_false(answer.held_before);
    if (accepted)
        assert_int_equal(answer.info.fence, fence);
    assert_true(answer.info.fence > before);
    assert_int_equal(counter(), answer.info.fence);
    assert_value("me", accepted ? fence : 0, LIVE);
    assert_true(remaining() > 0 && remaining() <= LIVE);
}

/* It is greater than all that the node knows of, not below its time, and not far above both. */
static void a_fence_that_is_wanted_is_accepted_if_it_may_be(void **state)
{
    (void)state;
    assert_wanted((uint64_t)server_time() + 50000, true);
    assert_wanted(counter() + 1, true);
    assert_wanted(counter(), false);
    assert_wanted(counter() - 1, false);
    assert_wanted((uint64_t)server_time() + 3600000000, false);
    reply_of(node, "DEL %s#fence", prefix);
    assert_wanted((uint64_t)server_time() - 1, false);
    reply_of(node, "SET %s#fence 8000000000000001", prefix);
    assert_wanted((uint64_t)server_time() + 50000, false);
    reply_of(node, "SET %s#fence 8000000000000001", prefix);
    assert_wanted(8000000000000002, true);
    assert_wanted(8000000000000003 + 100000, true);
    assert_wanted(counter() + 1 + 100001, false);
    assert_int_equal(want("other", counter() + 1).vote, VOTE_OTHER);
}

static void a_hold_with_a_fence_keeps_it(void **state)
{
    (void)state;
    propose("me");
    assert_int_equal(run(ASK_SETTLE, "me", 0, 7000000000000000, 0).vote, VOTE_YES);
    reply_of(node, "PEXPIRE %s:" KEY " 5000", prefix);
    const struct answer answer = propose("me");
    assert_int_equal(answer.vote, VOTE_YES);
    assert_true(answer.held_before);
    assert_true(answer.info.fence == 7000000000000000);
    assert_value("me", 7000000000000000, LIVE);
    assert_true(remaining() > 5000);
}

static void settling_writes_the_fence_and_never_gives_a_smaller_one(void **state)
{
    (void)state;
    acquire("me");
    const int64_t acquired = atoll(strrchr(value(), ' ') + 1);
    assert_string_equal(reply_of(node, "PEXPIRE %s:" KEY " %d", prefix, LIVE / 2), "1");
    assert_int_equal(run(ASK_SETTLE, "me", 2 * LIVE, 7000000000000000, 0).vote, VOTE_YES);
    assert_value("me", 7000000000000000, LIVE);
    assert_int_equal(atoll(strrchr(value(), ' ') + 1), acquired);
    assert_true(remaining() > 0 && remaining() <= LIVE / 2); /* it is no extension */
    assert_true(counter() == 7000000000000000);
    reply_of(node, "DEL %s:" KEY, prefix);
    assert_true(acquire("next").info.fence == 7000000000000001);
    assert_int_equal(run(ASK_SETTLE, "next", LIVE, 5, 0).vote, VOTE_YES);
    assert_true(counter() == 7000000000000001); /* never back */
}

static void a_node_that_forgot_a_hold_learns_it(void **state)
{
    (void)state;
    assert_int_equal(run(ASK_REPAIR, "me", LIVE, 7000000000000000, 1234567).vote, VOTE_YES);
    assert_string_equal(value(), "me 7000000000000000 30000 1234567");
    assert_true(remaining() > 0 && remaining() <= LIVE);
    assert_true(counter() == 7000000000000000);
    assert_int_equal(run(ASK_EXTEND, "me", LIVE, 0, 0).vote, VOTE_YES);
    /* Not over somebody else's. */
    reply_of(node, "DEL %s:" KEY, prefix);
    const uint64_t fence = acquire("other").info.fence;
    assert_int_equal(run(ASK_REPAIR, "me", LIVE, 7000000000000000, 1234567).vote, VOTE_ABSENT);
    assert_value("other", fence, LIVE);
    set_value("foreign");
    assert_int_equal(run(ASK_REPAIR, "me", LIVE, 7000000000000000, 1234567).vote, VOTE_ABSENT);
    assert_string_equal(value(), "foreign");
}

/* ---- keys of other libraries --------------------------------------------------------------------------------------
 */

/* Also a value that begins like an owner of ours, or is one, is somebody else's if it is not written as ours are. */
static void foreign_values_are_respected(void **state)
{
    (void)state;
    static const char *const values[] = {"6f8e21c4", "me", "me 1", "me 1 2", "me 1 2 x", "me 1 2 3 4", "me  1 2 3", ""};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        set_value(values[i]);
        assert_int_equal(acquire("me").vote, VOTE_OTHER);
        assert_int_equal(run(ASK_EXTEND, "me", 2 * LIVE, 0, 0).vote, VOTE_OTHER);
        assert_int_equal(run(ASK_RELEASE, "me", 0, 0, 0).vote, VOTE_ABSENT);
        assert_int_equal(run(ASK_SETTLE, "me", LIVE, 5, 0).vote, VOTE_ABSENT);
        assert_int_equal(run(ASK_REPAIR, "me", LIVE, 5, 1).vote, VOTE_ABSENT);
        assert_string_equal(value(), values[i]);
        assert_true(remaining() <= LIVE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_grant_is_one_key_that_ends, next_prefix),
        cmocka_unit_test_setup(a_resend_changes_only_the_end, next_prefix),
        cmocka_unit_test_setup(whoever_is_in_the_way_stays_there, next_prefix),
        cmocka_unit_test_setup(owners_are_compared_exactly, next_prefix),
        cmocka_unit_test_setup(fences_grow, next_prefix),
        cmocka_unit_test_setup(the_counter_counts_where_the_clock_is_behind, next_prefix),
        cmocka_unit_test_setup(an_extension_counts_anew, next_prefix),
        cmocka_unit_test_setup(what_is_gone_does_not_come_back, next_prefix),
        cmocka_unit_test_setup(a_release_removes_the_key_and_tells, next_prefix),
        cmocka_unit_test_setup(a_break_removes_whatever_is_there_and_tells, next_prefix),
        cmocka_unit_test_setup(to_inspect_changes_nothing, next_prefix),
        cmocka_unit_test_setup(a_release_needs_no_right_to_publish, next_prefix),
        cmocka_unit_test_setup(a_fence_is_proposed_first, next_prefix),
        cmocka_unit_test_setup(a_fence_that_is_wanted_is_accepted_if_it_may_be, next_prefix),
        cmocka_unit_test_setup(a_hold_with_a_fence_keeps_it, next_prefix),
        cmocka_unit_test_setup(settling_writes_the_fence_and_never_gives_a_smaller_one, next_prefix),
        cmocka_unit_test_setup(a_node_that_forgot_a_hold_learns_it, next_prefix),
        cmocka_unit_test_setup(foreign_values_are_respected, next_prefix),
    };
    return cmocka_run_group_tests_name("script", tests, start_server, stop_server);
}
