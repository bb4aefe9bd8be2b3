/* test_answer.c - the commands that ask one node, and what its replies mean: storages/redis/answer.c.
 *
 * Replies are bytes, parsed by hiredis' reader as those of a server. */
#include "answer.h"
#include "lock_script.h"
#include "support.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <string.h>

/* ---- commands -----------------------------------------------------------------------------------------------------
 */

static const dlock_request request = {.key = "k\xc3\xa9 1", .owner = "box:1:abc", .ttl_ms = 30000};

/* Writes the command, and compares it with words, each of which it has to hold as a bulk string. */
static void assert_command(enum question question, const dlock_request *asked, bool eval, const char *const *words)
{
    char expected[8192];
    size_t count = 0, size;
    while (words[count])
        count++;
    size = (size_t)snprintf(expected, sizeof expected, "*%zu\r\n", count + 2);
    const char *const first[] = {eval ? "EVAL" : "EVALSHA", eval ? LOCK_SCRIPT : LOCK_SCRIPT_SHA1};
    for (size_t i = 0; i < count + 2; i++) {
        const char *word = i < 2 ? first[i] : words[i - 2];
        size += (size_t)snprintf(expected + size, sizeof expected - size, "$%zu\r\n%s\r\n", strlen(word), word);
    }
    char *command = NULL;
    const struct details details = {.fence = UINT64_MAX, .acquired_at_us = 1700000000000001, .nodes = 31, .node = 30};
    assert_int_equal(answer_command(&command, question, "pre", asked, &details, eval), size);
    assert_memory_equal(command, expected, size);
    answer_free_command(command);
}

#define KEYS "2", "pre:k\xc3\xa9 1", "pre#fence"

static void commands(void **state)
{
    (void)state;
    static const char *const words[][10] = {
        [ASK_ACQUIRE] = {KEYS, "acquire", "box:1:abc", "30000"},
        [ASK_EXTEND] = {KEYS, "extend", "box:1:abc", "30000"},
        [ASK_RELEASE] = {KEYS, "release", "box:1:abc"},
        [ASK_INSPECT] = {KEYS, "inspect", "box:1:abc"},
        [ASK_BREAK] = {KEYS, "break", "box:1:abc"},
        [ASK_PROPOSE] = {KEYS, "propose", "box:1:abc", "30000", "31", "30", "18446744073709551615"},
        [ASK_SETTLE] = {KEYS, "settle", "box:1:abc", "18446744073709551615"},
        [ASK_REPAIR] = {KEYS, "repair", "box:1:abc", "30000", "18446744073709551615", "1700000000000001"},
        [ASK_RETURN] = {KEYS, "release", "box:1:abc"},
    };
    for (enum question question = ASK_ACQUIRE; question <= ASK_RETURN; question++) {
        assert_command(question, &request, false, words[question]);
        assert_command(question, &request, true, words[question]);
    }
    const dlock_request nobody = {.key = "k\xc3\xa9 1"};
    assert_command(ASK_INSPECT, &nobody, false, (const char *const[]){KEYS, "inspect", "", NULL});
}

static void the_longest_names_fit(void **state)
{
    (void)state;
    char prefix[257], key[DLOCK_KEY_MAX + 1], *command;
    memset(prefix, 'p', sizeof prefix - 1);
    memset(key, 'k', sizeof key - 1);
    prefix[sizeof prefix - 1] = key[sizeof key - 1] = '\0';
    const dlock_request longest = {.key = key, .owner = "o", .ttl_ms = DLOCK_TTL_MAX_MS};
    const struct details details = {.fence = UINT64_MAX, .acquired_at_us = INT64_MAX};
    assert_true(answer_command(&command, ASK_REPAIR, prefix, &longest, &details, false) > 0);
    char both[sizeof prefix + sizeof key + 4], counter[sizeof prefix + 8];
    snprintf(both, sizeof both, "%s:%s\r\n", prefix, key);
    snprintf(counter, sizeof counter, "%s#fence\r\n", prefix);
    assert_non_null(strstr(command, both));
    assert_non_null(strstr(command, counter));
    assert_non_null(strstr(command, "\r\n86400000\r\n"));
    answer_free_command(command);
}

/* ---- replies ------------------------------------------------------------------------------------------------------
 */

static struct answer answer;
static char why[200];

static bool read_reply(const char *bytes, enum question question)
{
    redisReader *reader = redisReaderCreate();
    void *reply = NULL;
    assert_int_equal(redisReaderFeed(reader, bytes, strlen(bytes)), REDIS_OK);
    assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
    assert_non_null(reply);
    memset(why, 0, sizeof why);
    /* What was known of the node before, from an earlier request perhaps: only `asked` stays. */
    memset(&answer, 0, sizeof answer);
    answer.asked = true;
    answer.holds = answer.told = answer.returned = answer.settled = answer.held_before = answer.uncertain = true;
    answer.accepted = true;
    answer.info.fence = answer.time_us = 77;
    const bool ok = answer_read(reply, question, &answer, why, sizeof why);
    freeReplyObject(reply);
    redisReaderFree(reader);
    assert_true(answer.asked);
    assert_false(answer.told || answer.returned || answer.settled);
    return ok;
}

#define GRANTED(how)  "*3\r\n:1\r\n$16\r\n1700000000000001\r\n:" how "\r\n"
#define PROPOSED(how) "*4\r\n:1\r\n$16\r\n1700000000000001\r\n:" how "\r\n$16\r\n1700000000000009\r\n"

static void assert_granted(const char *bytes, enum question question, bool before, bool accepted)
{
    assert_true(read_reply(bytes, question));
    assert_int_equal(answer.vote, VOTE_YES);
    assert_int_equal(answer.info.fence, 1700000000000001);
    assert_true(answer.holds);
    assert_false(answer.uncertain);
    assert_int_equal(answer.held_before, before);
    assert_int_equal(answer.accepted, accepted);
    assert_int_equal(answer.time_us, question == ASK_PROPOSE ? 1700000000000009 : 0);
}

static void acquired(void **state)
{
    (void)state;
    assert_granted("$16\r\n1700000000000001\r\n", ASK_ACQUIRE, false, false);
    assert_granted(GRANTED("1"), ASK_ACQUIRE, true, false);
    assert_granted(PROPOSED("0"), ASK_PROPOSE, false, false);
    assert_granted(PROPOSED("1"), ASK_PROPOSE, true, false);
    assert_granted(PROPOSED("2"), ASK_PROPOSE, false, true);
    assert_false(read_reply(GRANTED("2"), ASK_PROPOSE)); /* without the time */
}

#define OF_OURS(bytes) "*4\r\n:0\r\n" bytes ":20000\r\n$16\r\n1700000000500001\r\n"

static void held_by_somebody(void **state)
{
    (void)state;
    static const enum question questions[] = {ASK_ACQUIRE, ASK_PROPOSE, ASK_INSPECT, ASK_BREAK};
    for (size_t i = 0; i < 4; i++) {
        assert_true(read_reply(OF_OURS("$37\r\nbox:2:xyz 1234 30000 1700000000000001\r\n"), questions[i]));
        assert_int_equal(answer.vote, i < 2 ? VOTE_OTHER : VOTE_YES);
        assert_string_equal(answer.info.owner, "box:2:xyz");
        assert_int_equal(answer.info.fence, 1234);
        assert_int_equal(answer.info.ttl_ms, 30000);
        assert_int_equal(answer.info.held_ms, 500);
        assert_int_equal(answer.info.remaining_ms, 20000);
        assert_false(answer.holds);
    }
    /* The node's clock was set back since. */
    assert_true(read_reply(OF_OURS("$39\r\nbox:2:xyz 1234 30000 999999999999999999\r\n"), ASK_INSPECT));
    assert_int_equal(answer.info.held_ms, 0);
    /* Without an expiry, which this library does not write. */
    assert_true(read_reply("*4\r\n:0\r\n$1\r\nx\r\n:-1\r\n$1\r\n1\r\n", ASK_INSPECT));
    assert_int_equal(answer.info.remaining_ms, -1);
}

/* Values that other libraries write: all of it is the owner, and nothing else is known. */
static void foreign_values(void **state)
{
    (void)state;
    static const char *const values[] = {
        "5d41402abc4b2a76b9719d911017c592",
        "6f8e21c4-72f5-4d1c-93a2-0d41ff2a8a55",
        "token with blanks",
        "1",
        "1 2 3",
        " 1 2 3",
        "x 1 2",
        "x 1 2 y",
        "x 1 -2 3",
        "x 1 2 3 ",
        "x 1 86400001 3",
        "x 1 18446744073709551616 3",
        "x 18446744073709551616 2 3",
        "x 1 2 18446744073709551616",
    };
    char bytes[512], longest[300];
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        snprintf(bytes, sizeof bytes, "*4\r\n:0\r\n$%zu\r\n%s\r\n:9000\r\n$3\r\n500\r\n", strlen(values[i]), values[i]);
        assert_true(read_reply(bytes, ASK_ACQUIRE));
        assert_int_equal(answer.vote, VOTE_OTHER);
        assert_string_equal(answer.info.owner, values[i]);
        assert_int_equal(answer.info.fence, 0);
        assert_int_equal(answer.info.ttl_ms, 0);
        assert_int_equal(answer.info.held_ms, -1);
        assert_int_equal(answer.info.remaining_ms, 9000);
    }
    assert_true(read_reply(OF_OURS("$0\r\n\r\n"), ASK_INSPECT));
    assert_string_equal(answer.info.owner, "?"); /* an empty owner would say that there is none */

    memset(longest, 'o', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    memcpy(longest + 160, " 1 2 3", 6); /* what is cut off must not make the rest look like ours */
    longest[166] = 'x';
    snprintf(bytes, sizeof bytes, OF_OURS("$%zu\r\n%s\r\n"), strlen(longest), longest);
    assert_true(read_reply(bytes, ASK_INSPECT));
    assert_int_equal(strlen(answer.info.owner), DLOCK_OWNER_SIZE - 1);
    assert_int_equal(answer.info.fence, 0);
}

static void a_long_foreign_value_is_not_ours_by_its_beginning(void **state)
{
    (void)state;
    char value[400], bytes[512];
    memset(value, '1', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    for (size_t i = 60; i < sizeof value - 1; i += 4)
        value[i] = ' ';
    snprintf(bytes, sizeof bytes, OF_OURS("$%zu\r\n%s\r\n"), strlen(value), value);
    assert_true(read_reply(bytes, ASK_INSPECT));
    assert_int_equal(answer.info.fence, 0);
    assert_int_equal(answer.info.held_ms, -1);
}

static void extended(void **state)
{
    (void)state;
    assert_true(read_reply("*3\r\n:1\r\n$2\r\n42\r\n$16\r\n1700000000000001\r\n", ASK_EXTEND));
    assert_int_equal(answer.vote, VOTE_YES);
    assert_int_equal(answer.info.fence, 42);
    assert_int_equal(answer.acquired_at_us, 1700000000000001);
    assert_true(read_reply("*1\r\n:0\r\n", ASK_EXTEND));
    assert_int_equal(answer.vote, VOTE_ABSENT);
    assert_true(read_reply("*1\r\n:2\r\n", ASK_EXTEND));
    assert_int_equal(answer.vote, VOTE_OTHER);
}

static void done_or_not(void **state)
{
    (void)state;
    static const enum question questions[] = {ASK_RELEASE, ASK_SETTLE, ASK_REPAIR, ASK_RETURN};
    for (size_t i = 0; i < 4; i++) {
        assert_true(read_reply("*1\r\n:1\r\n", questions[i]));
        assert_int_equal(answer.vote, VOTE_YES);
        assert_false(answer.holds);
        assert_true(read_reply("*1\r\n:0\r\n", questions[i]));
        assert_int_equal(answer.vote, VOTE_ABSENT);
    }
    assert_true(read_reply("*1\r\n:1\r\n", ASK_INSPECT));
    assert_int_equal(answer.vote, VOTE_ABSENT);
    assert_true(read_reply("*1\r\n:1\r\n", ASK_BREAK));
    assert_int_equal(answer.vote, VOTE_ABSENT);
}

/* A node that answers something else may have done anything. */
static void what_is_no_answer(void **state)
{
    (void)state;
    static const struct {
        enum question question;
        const char *bytes;
    } cases[] = {
        {ASK_ACQUIRE, "+OK\r\n"},
        {ASK_ACQUIRE, ":1\r\n"},
        {ASK_ACQUIRE, "$-1\r\n"},
        {ASK_ACQUIRE, "*-1\r\n"},
        {ASK_ACQUIRE, "*0\r\n"},
        {ASK_ACQUIRE, "*1\r\n$1\r\n1\r\n"},
        {ASK_ACQUIRE, "*1\r\n:1\r\n"},
        {ASK_ACQUIRE, "*2\r\n:1\r\n$1\r\n5\r\n"},
        {ASK_ACQUIRE, "*3\r\n:1\r\n:5\r\n:0\r\n"},
        {ASK_ACQUIRE, "*3\r\n:1\r\n$1\r\n5\r\n$1\r\n0\r\n"},
        {ASK_PROPOSE, "*1\r\n:0\r\n"},
        {ASK_ACQUIRE, "*3\r\n:1\r\n$1\r\nx\r\n:0\r\n"},
        {ASK_ACQUIRE, "*3\r\n:1\r\n$0\r\n\r\n:0\r\n"},
        {ASK_ACQUIRE, "*3\r\n:1\r\n$2\r\n-1\r\n:0\r\n"},
        {ASK_ACQUIRE, "*3\r\n:1\r\n$2\r\n5 \r\n:0\r\n"},
        {ASK_ACQUIRE, "*3\r\n:1\r\n$20\r\n18446744073709551616\r\n:0\r\n"},
        {ASK_ACQUIRE, "*3\r\n:2\r\n$1\r\n5\r\n:0\r\n"},
        {ASK_ACQUIRE, "*1\r\n:0\r\n"},
        {ASK_ACQUIRE, "*4\r\n:0\r\n$-1\r\n:1\r\n$1\r\n1\r\n"},
        {ASK_ACQUIRE, "*4\r\n:0\r\n$1\r\nx\r\n$1\r\n1\r\n$1\r\n1\r\n"},
        {ASK_ACQUIRE, "*4\r\n:0\r\n$1\r\nx\r\n:1\r\n:1\r\n"},
        {ASK_ACQUIRE, "*4\r\n:0\r\n$1\r\nx\r\n:1\r\n$1\r\nx\r\n"},
        {ASK_ACQUIRE, "*2\r\n*1\r\n:1\r\n$1\r\n5\r\n"},
        {ASK_EXTEND, "*1\r\n:1\r\n"},
        {ASK_EXTEND, "*1\r\n:3\r\n"},
        {ASK_EXTEND, "*2\r\n:1\r\n$1\r\n5\r\n"},
        {ASK_EXTEND, "*3\r\n:1\r\n$1\r\n5\r\n$1\r\nx\r\n"},
        {ASK_EXTEND, "*3\r\n:1\r\n$1\r\n5\r\n$19\r\n9223372036854775808\r\n"},
        {ASK_EXTEND, "*3\r\n:1\r\n:5\r\n:5\r\n"},
        {ASK_RELEASE, "*1\r\n:2\r\n"},
        {ASK_RELEASE, "*1\r\n:-1\r\n"},
        {ASK_RELEASE, "+QUEUED\r\n"},
        {ASK_INSPECT, "*1\r\n:0\r\n"},
        {ASK_INSPECT, "*1\r\n:2\r\n"},
        {ASK_BREAK, "*1\r\n:0\r\n"},
        {ASK_SETTLE, "*1\r\n:2\r\n"},
        {ASK_RETURN, "$2\r\nhi\r\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (read_reply(cases[i].bytes, cases[i].question))
            fail_msg("taken for an answer to %d: %s", cases[i].question, cases[i].bytes);
        assert_int_equal(answer.vote, VOTE_FAILED);
        assert_int_equal(answer.status, DLOCK_REFUSED);
        assert_true(answer.uncertain);
        assert_string_equal(why, "an answer that dlock does not understand; is it a Redis server?");
    }
}

/* ---- errors -------------------------------------------------------------------------------------------------------
 */

#define SCRIPT_6 "ERR Error running script (call to f_5d41402abc4b2a76b9719d911017c5921234567a): "
#define SCRIPT_7 " script: 5d41402abc4b2a76b9719d911017c5921234567a, on @user_script:26."

static void errors_mean_a_status(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        dlock_status status;
    } cases[] = {
        {"LOADING Redis is loading the dataset in memory", DLOCK_UNAVAILABLE},
        {"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", DLOCK_UNAVAILABLE},
        {"READONLY You can't write against a read only replica." SCRIPT_7, DLOCK_UNAVAILABLE},
        {SCRIPT_6 "@user_script:26: @user_script: 26: -READONLY You can't write against a read only replica.",
         DLOCK_UNAVAILABLE},
        {"OOM command not allowed when used memory > 'maxmemory'." SCRIPT_7, DLOCK_UNAVAILABLE},
        {SCRIPT_6 "@user_script:26: @user_script: 26: -OOM command not allowed when used memory > 'maxmemory'. ",
         DLOCK_UNAVAILABLE},
        {"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", DLOCK_UNAVAILABLE},
        {"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
         DLOCK_UNAVAILABLE},
        {SCRIPT_6 "@user_script:26: @user_script: 26: -MISCONF Errors writing to the AOF file: No space left",
         DLOCK_UNAVAILABLE},
        {"NOREPLICAS Not enough good replicas to write.", DLOCK_UNAVAILABLE},
        {"CLUSTERDOWN The cluster is down", DLOCK_UNAVAILABLE},
        {"TRYAGAIN Multiple keys request during rehashing of slot", DLOCK_UNAVAILABLE},
        {"ERR max number of clients reached", DLOCK_UNAVAILABLE},
        {"NOAUTH Authentication required.", DLOCK_REFUSED},
        {"WRONGPASS invalid username-password pair or user is disabled.", DLOCK_REFUSED},
        {"NOPERM this user has no permissions to run the 'evalsha' command or its subcommand", DLOCK_REFUSED},
        {"NOPERM User app has no permissions to run the 'evalsha' command", DLOCK_REFUSED},
        {SCRIPT_6 "@user_script:26: The user executing the script can't run this command or subcommand", DLOCK_REFUSED},
        {"CROSSSLOT Keys in request don't hash to the same slot", DLOCK_REFUSED},
        {"MOVED 3999 127.0.0.1:6381", DLOCK_REFUSED},
        {"WRONGTYPE Operation against a key holding the wrong kind of value" SCRIPT_7, DLOCK_REFUSED},
        {"ERR unknown command 'EVALSHA'", DLOCK_REFUSED},
        {"ERR DB index is out of range", DLOCK_REFUSED},
        {"BUSYGROUP Consumer Group name already exists", DLOCK_REFUSED},
        {"", DLOCK_REFUSED},
        /* Words of somebody's own are no codes. */
        {"NOPERM User BUSY has no permissions to run the 'evalsha' command", DLOCK_REFUSED},
        {"ERR unknown command `EVALSHA`, with args beginning with: `abc`, `2`, `p:BUSY`, ", DLOCK_REFUSED},
        /* The code is not the first that looks like it. */
        {SCRIPT_6 "@user_script:26: BUSYKEY and then -BUSY Redis is busy", DLOCK_UNAVAILABLE},
    };
    char bytes[512];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(bytes, sizeof bytes, "-%s\r\n", cases[i].text);
        assert_false(read_reply(bytes, ASK_ACQUIRE));
        assert_int_equal(answer.vote, VOTE_FAILED);
        if (answer.status != cases[i].status)
            fail_msg("%s: status %d", cases[i].text, answer.status);
        assert_false(answer.uncertain); /* a node that refuses has not done it */
        assert_false(answer.holds);
        if (!strstr(cases[i].text, ", with args"))
            assert_string_equal(why, cases[i].text);
    }
}

/* A server that does not know a command quotes it, with what came behind it. */
static void no_password_is_shown(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "ERR unknown command `AUTH`, with args beginning with: `hunter22`, ",
        "ERR unknown command 'AUTH', with args beginning with: 'me' 'hunter22' ",
        "NOPERM unknown command `AUTH`, with args beginning with: `hunter22`, ",
    };
    char shown[200];
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_int_equal(answer_classify(texts[i], shown, sizeof shown), DLOCK_REFUSED);
        assert_null(strstr(shown, "hunter22"));
        assert_non_null(strstr(shown, "unknown command"));
        assert_non_null(strstr(shown, "AUTH"));
    }
}

static void long_errors_are_cut(void **state)
{
    (void)state;
    char text[600], shown[16];
    memset(text, 'x', sizeof text - 1);
    memcpy(text, "ERR ", 4);
    text[sizeof text - 1] = '\0';
    assert_int_equal(answer_classify(text, shown, sizeof shown), DLOCK_REFUSED);
    assert_string_equal(shown, "ERR xxxxxxxxxxx");
}

static void an_unknown_script(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        bool expected;
    } cases[] = {
        {"-NOSCRIPT No matching script. Please use EVAL.\r\n", true},
        {"-ERR NOSCRIPT\r\n", false},
        {"+NOSCRIPT No matching script\r\n", false},
        {"$8\r\nNOSCRIPT\r\n", false},
        {":1\r\n", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        redisReader *reader = redisReaderCreate();
        void *reply = NULL;
        redisReaderFeed(reader, cases[i].bytes, strlen(cases[i].bytes));
        redisReaderGetReply(reader, &reply);
        assert_non_null(reply);
        assert_int_equal(answer_is_noscript(reply), cases[i].expected);
        freeReplyObject(reply);
        redisReaderFree(reader);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands),
        cmocka_unit_test(the_longest_names_fit),
        cmocka_unit_test(acquired),
        cmocka_unit_test(held_by_somebody),
        cmocka_unit_test(foreign_values),
        cmocka_unit_test(a_long_foreign_value_is_not_ours_by_its_beginning),
        cmocka_unit_test(extended),
        cmocka_unit_test(done_or_not),
        cmocka_unit_test(what_is_no_answer),
        cmocka_unit_test(errors_mean_a_status),
        cmocka_unit_test(no_password_is_shown),
        cmocka_unit_test(long_errors_are_cut),
        cmocka_unit_test(an_unknown_script),
    };
    return cmocka_run_group_tests_name("answer", tests, NULL, NULL);
}
