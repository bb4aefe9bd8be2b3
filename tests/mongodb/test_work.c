/* test_work.c - how the MongoDB storage does its work: which commands it sends, what they say, and what others may do
 * between two of them. */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- commands --------------------------------------------------------------------------------------------------- */

static void each_request_takes_as_few_commands_as_it_can(void **state)
{
    (void)state;
    const char *key = key_of("key");
    acquire(watched, key, "one", LONG_MS); /* a draw from the counter, and the one that decides */
    assert_commands("findAndModify findAndModify");
    assert_status(ask(watched, DLOCK_EXTEND, key, "one", LONG_MS), DLOCK_OK);
    assert_commands("find findAndModify");
    inspect(watched, key);
    assert_commands("isMaster find");
    assert_status(ask(watched, DLOCK_RELEASE, key, "one", 0), DLOCK_OK);
    assert_commands("findAndModify");
    acquire(watched, key, "two", LONG_MS); /* the document is there, and free */
    assert_commands("findAndModify findAndModify");
    acquire(watched, key, "two", LONG_MS); /* a resend */
    assert_commands("findAndModify findAndModify find findAndModify");
    assert_status(ask(watched, DLOCK_BREAK, key, NULL, 0), DLOCK_OK);
    assert_commands("find findAndModify");
}

static void a_loss_writes_nothing(void **state)
{
    (void)state;
    const char *key = key_of("key");
    assert_status(ask(watched, DLOCK_EXTEND, key, "two", LONG_MS), DLOCK_LOST);
    assert_commands("find");
    acquire(other, key, "one", LONG_MS);
    assert_status(ask(watched, DLOCK_EXTEND, key, "two", LONG_MS), DLOCK_LOST);
    assert_commands("find");
    assert_status(ask(other, DLOCK_BREAK, key, NULL, 0), DLOCK_OK);
    assert_status(ask(watched, DLOCK_BREAK, key, NULL, 0), DLOCK_LOST);
    assert_commands("find");
    /* The owner "" of a free document is nobody's. */
    assert_status(ask(watched, DLOCK_EXTEND, key, "", LONG_MS), DLOCK_LOST);
    assert_status(ask(watched, DLOCK_RELEASE, key, "", LONG_MS), DLOCK_LOST);
    assert_commands("find");
}

static void who_polls_reads_and_writes_only_when_it_may_win(void **state)
{
    (void)state;
    const char *key = key_of("key");
    acquire(other, key, "one", LONG_MS);
    assert_status(ask(watched, DLOCK_ACQUIRE, key, "two", LONG_MS), DLOCK_BUSY);
    assert_commands("findAndModify findAndModify find");
    for (unsigned i = 0; i < 3; i++) {
        const dlock_request busy = ask(watched, DLOCK_ACQUIRE, key, "three", LONG_MS);
        assert_status(busy, DLOCK_BUSY);
        assert_string_equal(busy.info.owner, "one");
        assert_commands("isMaster find");
    }
    assert_status(ask(other, DLOCK_RELEASE, key, "one", 0), DLOCK_OK);
    acquire(watched, key, "two", LONG_MS);
    assert_commands("isMaster find findAndModify findAndModify");
    assert_status(ask(watched, DLOCK_RELEASE, key, "two", 0), DLOCK_OK);
    assert_commands("findAndModify");
    acquire(watched, key, "two", LONG_MS); /* that it was taken is forgotten */
    assert_commands("findAndModify findAndModify");
}

#define BATCH 20

static void ask_all(dlock_operation operation, const char *const keys[BATCH], dlock_status wanted,
                    dlock_request answers[BATCH])
{
    dlock_request *requests[BATCH];
    for (size_t i = 0; i < BATCH; i++) {
        answers[i] = request_of(operation, keys[i], "owner", LONG_MS);
        requests[i] = &answers[i];
    }
    storage->execute(watched, requests, BATCH);
    for (size_t i = 0; i < BATCH; i++)
        assert_status(answers[i], wanted);
}

static void a_batch_takes_as_many_commands_whatever_its_size(void **state)
{
    (void)state;
    const char *keys[BATCH];
    dlock_request answers[BATCH];
    for (size_t i = 0; i < BATCH; i++) {
        char name[8];
        snprintf(name, sizeof name, "%zu", i);
        keys[i] = key_of(name);
    }
    ask_all(DLOCK_ACQUIRE, keys, DLOCK_OK, answers);
    assert_commands("findAndModify update");
    for (size_t i = 1; i < BATCH; i++)
        assert_int_equal(answers[i].info.fence, answers[i - 1].info.fence + 1);
    ask_all(DLOCK_EXTEND, keys, DLOCK_OK, answers);
    assert_commands("find update find");
    ask_all(DLOCK_INSPECT, keys, DLOCK_OK, answers);
    assert_commands("isMaster find");
    for (size_t i = 0; i < BATCH; i++)
        assert_string_equal(answers[i].info.owner, "owner");
    ask_all(DLOCK_RELEASE, keys, DLOCK_OK, answers);
    assert_commands("update find");
    ask_all(DLOCK_RELEASE, keys, DLOCK_LOST, answers);
    assert_commands("update find");
    ask_all(DLOCK_EXTEND, keys, DLOCK_LOST, answers);
    assert_commands("find");
    for (size_t i = 0; i < BATCH; i++)
        acquire(other, keys[i], "another", LONG_MS);
    ask_all(DLOCK_ACQUIRE, keys, DLOCK_BUSY, answers);
    assert_commands("findAndModify update find");
    for (size_t i = 0; i < BATCH; i++)
        assert_string_equal(answers[i].info.owner, "another");
    ask_all(DLOCK_RELEASE, keys, DLOCK_LOST, answers);
    for (size_t i = 0; i < BATCH; i++)
        assert_string_equal(inspect(other, keys[i]).owner, "another");
}

static void in_a_batch_each_gets_its_own_answer(void **state)
{
    (void)state;
    const char *free_key = key_of("free"), *held = key_of("held"), *mine = key_of("mine"), *over = key_of("over");
    acquire(other, held, "another", LONG_MS);
    const uint64_t fence = acquire(other, mine, "owner", LONG_MS);
    const uint64_t before = acquire(other, over, "another", 10);
    wait_for_expiry(other, over);
    dlock_request requests[] = {
        request_of(DLOCK_ACQUIRE, free_key, "owner", LONG_MS), request_of(DLOCK_ACQUIRE, held, "owner", LONG_MS),
        request_of(DLOCK_ACQUIRE, mine, "owner", LONG_MS),     request_of(DLOCK_ACQUIRE, over, "owner", LONG_MS),
        request_of(DLOCK_EXTEND, free_key, "owner", LONG_MS),  request_of(DLOCK_EXTEND, held, "owner", LONG_MS),
        request_of(DLOCK_EXTEND, mine, "owner", LONG_MS),      request_of(DLOCK_RELEASE, over, "owner", 0),
        request_of(DLOCK_RELEASE, held, "owner", 0),
    };
    static const dlock_status wanted[] = {DLOCK_OK,   DLOCK_BUSY, DLOCK_OK, DLOCK_OK,  DLOCK_OK,
                                          DLOCK_LOST, DLOCK_OK,   DLOCK_OK, DLOCK_LOST};
    enum { COUNT = sizeof requests / sizeof requests[0] };
    dlock_request *pointers[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        pointers[i] = &requests[i];
    storage->execute(watched, pointers, COUNT);
    for (size_t i = 0; i < COUNT; i++)
        assert_status(requests[i], wanted[i]);
    assert_int_equal(requests[2].info.fence, fence);
    assert_true(requests[3].info.fence > before);
    assert_string_equal(requests[1].info.owner, "another");
}

/* What classic update operators there are; a change that is a pipeline, an array, has none of them. */
static void only_classic_operators_and_majority_are_sent(void **state)
{
    (void)state;
    const char *keys[BATCH];
    dlock_request answers[BATCH];
    for (size_t i = 0; i < BATCH; i++)
        keys[i] = key_of(i % 2 ? "a" : "b"); /* one after the other, and together */
    const char *key = key_of("key");
    acquire(other, key, "one", 10);
    wait_for_expiry(other, key);
    wire_clear(&wire);
    acquire(watched, key, "two", LONG_MS);
    assert_status(ask(watched, DLOCK_EXTEND, key, "two", LONG_MS), DLOCK_OK);
    ask_all(DLOCK_ACQUIRE, keys, DLOCK_OK, answers);
    ask_all(DLOCK_EXTEND, keys, DLOCK_OK, answers);
    assert_status(ask(watched, DLOCK_BREAK, keys[0], NULL, 0), DLOCK_OK);
    assert_status(ask(watched, DLOCK_RELEASE, keys[1], "owner", 0), DLOCK_OK);
    const unsigned writes = wire_count(&wire, "{ \"findAndModify\"") + wire_count(&wire, "{ \"update\" : \"locks\"");
    assert_true(writes > 10);
    assert_int_equal(wire_count(&wire, "\"w\" : \"majority\""), writes);
    static const char *const modern[] = {"$$NOW", "$expr", "$where", "$function", "\"update\" : [", "\"u\" : ["};
    for (size_t i = 0; i < sizeof modern / sizeof modern[0]; i++)
        assert_int_equal(wire_count(&wire, modern[i]), 0);
    assert_int_equal(wire_count(&wire, "secondary"), 0);
}

static void the_url_cannot_make_it_weaker(void **state)
{
    (void)state;
    const char *key = key_of("key");
    void *session = open_url(url_by_proxy("&w=1&readPreference=secondaryPreferred&readConcernLevel=majority"), 10000);
    acquire(session, key, "one", LONG_MS);
    inspect(session, key);
    assert_int_equal(wire_count(&wire, "\"w\" : \"majority\""), 2);
    assert_int_equal(wire_count(&wire, "\"readConcern\""), 0);
    assert_int_equal(wire_count(&wire, "secondary"), 0);
    close_session(session);
}

/* ---- the server's clock ----------------------------------------------------------------------------------------- */

static void the_clock_that_the_server_tells_decides(void **state)
{
    (void)state;
    const char *key = key_of("key");
    acquire(other, key, "one", 3600000);
    wire_add(&wire, (struct wire_rule){.command = "isMaster",
                                       .fault = WIRE_ANSWER,
                                       .reply = "{\"ok\": 1, \"localTime\": {\"$date\": \"2199-01-01T00:00:00Z\"}}"});
    assert_string_equal(inspect(watched, key).owner, "");
    assert_string_equal(inspect(watched, key).owner, "one");
    wire_add(&wire, (struct wire_rule){.command = "isMaster", .fault = WIRE_ANSWER, .reply = "{\"ok\": 1}"});
    const dlock_request refused = ask(watched, DLOCK_INSPECT, key, NULL, 0);
    assert_status(refused, DLOCK_REFUSED);
    assert_non_null(strstr(refused.message, "localTime"));
}

/* ---- between two commands --------------------------------------------------------------------------------------- */

/* What somebody else does before a command of `watched` is handed on. */
struct meanwhile {
    const char *key, *owner;
    uint32_t ttl_ms;
    dlock_status status;
    uint64_t fence;
    bool and_release;
};

static void acquire_meanwhile(void *arg)
{
    struct meanwhile *meanwhile = arg;
    const dlock_request request = ask(other, DLOCK_ACQUIRE, meanwhile->key, meanwhile->owner, meanwhile->ttl_ms);
    meanwhile->status = request.status;
    meanwhile->fence = request.info.fence;
    if (meanwhile->and_release)
        meanwhile->status = ask(other, DLOCK_RELEASE, meanwhile->key, meanwhile->owner, 0).status;
}

static void release_meanwhile(void *arg)
{
    struct meanwhile *meanwhile = arg;
    meanwhile->status = ask(other, DLOCK_RELEASE, meanwhile->key, meanwhile->owner, 0).status;
}

static void extend_meanwhile(void *arg)
{
    struct meanwhile *meanwhile = arg;
    meanwhile->status = ask(other, DLOCK_EXTEND, meanwhile->key, meanwhile->owner, meanwhile->ttl_ms).status;
}

static void expire_meanwhile(void *arg)
{
    wait_for_expiry(other, ((const struct meanwhile *)arg)->key);
}

static void before(const char *command, unsigned skip, void (*call)(void *), struct meanwhile *meanwhile)
{
    wire_add(&wire, (struct wire_rule){.command = command, .skip = skip, .call = call, .arg = meanwhile});
}

static void another_takes_the_free_key_first(void **state)
{
    (void)state;
    struct meanwhile meanwhile = {.key = key_of("key"), .owner = "one", .ttl_ms = LONG_MS};
    before("findAndModify", 1, acquire_meanwhile, &meanwhile); /* behind the draw */
    const dlock_request busy = ask(watched, DLOCK_ACQUIRE, meanwhile.key, "two", LONG_MS);
    assert_int_equal(meanwhile.status, DLOCK_OK);
    assert_status(busy, DLOCK_BUSY);
    assert_string_equal(busy.info.owner, "one");
    assert_int_equal(busy.info.fence, meanwhile.fence);
    assert_string_equal(inspect(other, meanwhile.key).owner, "one");
}

static void a_number_that_came_late_is_drawn_anew(void **state)
{
    (void)state;
    struct meanwhile meanwhile = {.key = key_of("key"), .owner = "one", .ttl_ms = LONG_MS, .and_release = true};
    before("findAndModify", 1, acquire_meanwhile, &meanwhile);
    const uint64_t fence = acquire(watched, meanwhile.key, "two", LONG_MS);
    assert_int_equal(meanwhile.status, DLOCK_OK);
    assert_true(fence > meanwhile.fence);
    assert_int_equal(inspect(other, meanwhile.key).fence, fence);
}

static void it_is_released_after_it_was_found_taken(void **state)
{
    (void)state;
    struct meanwhile meanwhile = {.key = key_of("key"), .owner = "one"};
    acquire(other, meanwhile.key, "one", LONG_MS);
    before("find", 0, release_meanwhile, &meanwhile);
    acquire(watched, meanwhile.key, "two", LONG_MS);
    assert_int_equal(meanwhile.status, DLOCK_OK);
    assert_string_equal(inspect(other, meanwhile.key).owner, "two");
}

static void another_takes_the_expired_key_over_first(void **state)
{
    (void)state;
    struct meanwhile meanwhile = {.key = key_of("key"), .owner = "two", .ttl_ms = LONG_MS};
    acquire(other, meanwhile.key, "one", 10);
    wait_for_expiry(other, meanwhile.key);
    before("findAndModify", 2, acquire_meanwhile, &meanwhile); /* behind the draw and the try as if it were free */
    const dlock_request busy = ask(watched, DLOCK_ACQUIRE, meanwhile.key, "three", LONG_MS);
    assert_int_equal(meanwhile.status, DLOCK_OK);
    assert_status(busy, DLOCK_BUSY);
    assert_string_equal(busy.info.owner, "two");
    assert_string_equal(inspect(other, meanwhile.key).owner, "two");
}

static void the_holder_extends_while_another_looks(void **state)
{
    (void)state;
    struct meanwhile meanwhile = {.key = key_of("key"), .owner = "one", .ttl_ms = LONG_MS};
    acquire(other, meanwhile.key, "one", 5000);
    /* The server's clock runs ahead: who believes it would take the key over, were it not extended meanwhile. */
    assert_status(ask(watched, DLOCK_ACQUIRE, meanwhile.key, "two", LONG_MS), DLOCK_BUSY);
    wire_add(&wire, (struct wire_rule){.command = "isMaster",
                                       .fault = WIRE_ANSWER,
                                       .reply = "{\"ok\": 1, \"localTime\": {\"$date\": \"2199-01-01T00:00:00Z\"}}"});
    before("findAndModify", 0, extend_meanwhile, &meanwhile);
    const dlock_request busy = ask(watched, DLOCK_ACQUIRE, meanwhile.key, "two", LONG_MS);
    assert_int_equal(meanwhile.status, DLOCK_OK);
    assert_status(busy, DLOCK_BUSY);
    assert_true(inspect(other, meanwhile.key).remaining_ms > 5000);
}

static void a_renewal_that_comes_too_late_brings_nothing_back(void **state)
{
    (void)state;
    struct meanwhile meanwhile = {.key = key_of("key")};
    acquire(other, meanwhile.key, "one", 5 * SHORT_MS);
    before("findAndModify", 0, expire_meanwhile, &meanwhile);
    assert_status(ask(watched, DLOCK_EXTEND, meanwhile.key, "one", LONG_MS), DLOCK_LOST);
    assert_string_equal(inspect(other, meanwhile.key).owner, "");
    assert_status(ask(watched, DLOCK_EXTEND, meanwhile.key, "one", LONG_MS), DLOCK_LOST);
    assert_status(ask(watched, DLOCK_RELEASE, meanwhile.key, "one", 0), DLOCK_LOST);
    acquire(other, meanwhile.key, "two", LONG_MS);
    assert_string_equal(inspect(watched, meanwhile.key).owner, "two");
}

static void a_late_renewal_leaves_the_key_to_others(void **state)
{
    (void)state;
    struct meanwhile meanwhile = {.key = key_of("key")};
    acquire(other, meanwhile.key, "one", 5 * SHORT_MS);
    before("findAndModify", 0, expire_meanwhile, &meanwhile);
    assert_status(ask(watched, DLOCK_EXTEND, meanwhile.key, "one", LONG_MS), DLOCK_LOST);
    acquire(other, meanwhile.key, "two", LONG_MS);
    assert_status(ask(watched, DLOCK_EXTEND, meanwhile.key, "one", LONG_MS), DLOCK_LOST);
    assert_string_equal(inspect(watched, meanwhile.key).owner, "two");
}

static void late_renewals_of_a_batch_bring_nothing_back(void **state)
{
    (void)state;
    struct meanwhile meanwhile = {.key = key_of("short")};
    const char *long_key = key_of("long");
    acquire(other, long_key, "one", LONG_MS);
    acquire(other, meanwhile.key, "one", 5 * SHORT_MS);
    before("update", 0, expire_meanwhile, &meanwhile);
    dlock_request requests[] = {request_of(DLOCK_EXTEND, meanwhile.key, "one", LONG_MS),
                                request_of(DLOCK_EXTEND, long_key, "one", LONG_MS)};
    dlock_request *const pointers[] = {&requests[0], &requests[1]};
    storage->execute(watched, pointers, 2);
    assert_status(requests[0], DLOCK_LOST);
    assert_status(requests[1], DLOCK_OK);
    assert_string_equal(inspect(other, meanwhile.key).owner, "");
}

static void a_renewal_in_a_batch_that_another_overtakes_is_made_anew(void **state)
{
    (void)state;
    struct meanwhile meanwhile = {.key = key_of("a"), .owner = "one", .ttl_ms = LONG_MS / 2};
    const char *b = key_of("b");
    acquire(other, meanwhile.key, "one", 5000);
    acquire(other, b, "one", 5000);
    before("update", 0, extend_meanwhile, &meanwhile); /* the same owner, from elsewhere */
    dlock_request requests[] = {request_of(DLOCK_EXTEND, meanwhile.key, "one", LONG_MS),
                                request_of(DLOCK_EXTEND, b, "one", LONG_MS)};
    dlock_request *const pointers[] = {&requests[0], &requests[1]};
    storage->execute(watched, pointers, 2);
    assert_status(requests[0], DLOCK_OK);
    assert_status(requests[1], DLOCK_OK);
    assert_int_equal(inspect(other, meanwhile.key).ttl_ms, LONG_MS);
}

static void a_release_that_comes_too_late_is_lost(void **state)
{
    (void)state;
    struct meanwhile meanwhile = {.key = key_of("key")};
    acquire(other, meanwhile.key, "one", 5 * SHORT_MS);
    before("findAndModify", 0, expire_meanwhile, &meanwhile);
    assert_status(ask(watched, DLOCK_RELEASE, meanwhile.key, "one", 0), DLOCK_LOST);
}

static void a_resend_that_comes_too_late_gets_a_new_fence(void **state)
{
    (void)state;
    struct meanwhile meanwhile = {.key = key_of("key")};
    const uint64_t first = acquire(other, meanwhile.key, "one", 5 * SHORT_MS);
    before("findAndModify", 2, expire_meanwhile, &meanwhile); /* before the renewal that a resend is */
    const uint64_t second = acquire(watched, meanwhile.key, "one", LONG_MS);
    assert_true(second > first);
    const dlock_info info = inspect(other, meanwhile.key);
    assert_int_equal(info.fence, second);
    assert_true(info.remaining_ms > LONG_MS / 2);
}

static void who_breaks_tells_what_it_broke(void **state)
{
    (void)state;
    struct meanwhile meanwhile = {.key = key_of("key"), .owner = "two", .ttl_ms = LONG_MS};
    acquire(other, meanwhile.key, "one", 10);
    wait_for_expiry(other, meanwhile.key);
    before("findAndModify", 0, acquire_meanwhile, &meanwhile);
    const dlock_request broken = ask(watched, DLOCK_BREAK, meanwhile.key, NULL, 0);
    assert_int_equal(meanwhile.status, DLOCK_OK);
    assert_status(broken, DLOCK_OK);
    assert_string_equal(broken.info.owner, "two");
    assert_int_equal(broken.info.fence, meanwhile.fence);
}

/* ---- fences ----------------------------------------------------------------------------------------------------- */

static void a_new_counter_begins_behind_every_old_number(void **state)
{
    (void)state;
    bson_error_t error;
    const uint64_t first = acquire(other, key_of("key"), "one", LONG_MS);
    assert_true(first > UINT64_C(1000000000000000) && first < UINT64_C(9007199254740992));
    if (!mongoc_collection_drop(documents, &error))
        fail_msg("drop: %s", error.message);
    assert_true(acquire(watched, key_of("key"), "two", LONG_MS) > first);
    assert_commands("findAndModify findAndModify findAndModify findAndModify");
}

static void the_counter_is_made_by_two_at_once(void **state)
{
    (void)state;
    bson_error_t error;
    static const char taken[] = "{\"ok\": 0, \"code\": 11000, \"errmsg\": \"E11000 duplicate key error\"}";
    if (!mongoc_collection_drop(documents, &error))
        fail_msg("drop: %s", error.message);
    wire_add(&wire, (struct wire_rule){.command = "findAndModify", .fault = WIRE_ANSWER, .reply = taken});
    acquire(watched, key_of("key"), "one", LONG_MS);
}

static void fences_of_different_prefixes_and_collections_are_their_own(void **state)
{
    (void)state;
    const char *key = key_of("key");
    void *sessions[] = {open_url(url_direct("&prefix=a"), 10000), open_url(url_direct("&prefix=b"), 10000),
                        open_url(url_direct("&collection=more"), 10000)};
    for (size_t i = 0; i < 3; i++)
        acquire(sessions[i], key, "one", LONG_MS);
    for (size_t i = 0; i < 3; i++) {
        assert_status(ask(sessions[i], DLOCK_ACQUIRE, key, "two", LONG_MS), DLOCK_BUSY);
        close_session(sessions[i]);
    }
    assert_string_equal(inspect(other, key).owner, "");
    assert_int_equal(count("{\"_id\": {\"fences\": \"a\"}}"), 1);
}

/* ---- sweeping --------------------------------------------------------------------------------------------------- */

#define ABANDONED 50

static void abandon(const char *id)
{
    char json[512];
    for (unsigned i = 0; i < ABANDONED; i++) {
        snprintf(json, sizeof json,
                 "{\"_id\": \"%s %u\", \"owner\": \"%s\", \"fence\": {\"$numberLong\": \"%u\"}, \"ttl_ms\": "
                 "{\"$numberLong\": \"10000\"}, \"acquired_at\": {\"$date\": \"2020-01-01T00:00:00Z\"}, "
                 "\"renewed_at\": {\"$date\": \"2020-01-01T00:00:00Z\"}}",
                 id, i, i % 2 ? "gone" : "", i + 1);
        insert(json);
    }
}

static void documents_that_nobody_uses_go_and_no_number_comes_back(void **state)
{
    (void)state;
    void *session = open_url(url_direct("&prefix=swept"), 10000);
    uint64_t last = 0;
    abandon("swept:before"); /* the keys that are used lie between */
    abandon("swept:old");
    insert("{\"_id\": \"swept: not a lock\", \"renewed_at\": {\"$date\": \"2020-01-01T00:00:00Z\"}}");
    insert("{\"_id\": \"swept's neighbour\", \"renewed_at\": {\"$date\": \"2020-01-01T00:00:00Z\"}}");
    acquire(session, "held", "one", LONG_MS);
    for (unsigned i = 0; i < 200; i++) {
        const char *key = i % 2 ? "key 1" : "key 0";
        const uint64_t fence = acquire(session, key, "one", LONG_MS);
        assert_true(fence > last);
        last = fence;
        assert_status(ask(session, DLOCK_RELEASE, key, "one", 0), DLOCK_OK);
    }
    assert_int_equal(count("{\"_id\": {\"$regex\": \"^swept:(before|old)\"}}"), 0);
    assert_int_equal(count("{\"_id\": \"swept: not a lock\"}"), 1);
    assert_int_equal(count("{\"_id\": \"swept's neighbour\"}"), 1);
    assert_string_equal(inspect(session, "held").owner, "one");
    assert_int_equal(count("{\"_id\": \"swept:key 0\"}"), 1); /* released, but not long ago */
    close_session(session);
}

static const struct CMUnitTest tests[] = {
    mongo_test(each_request_takes_as_few_commands_as_it_can),
    mongo_test(a_loss_writes_nothing),
    mongo_test(who_polls_reads_and_writes_only_when_it_may_win),
    mongo_test(a_batch_takes_as_many_commands_whatever_its_size),
    mongo_test(in_a_batch_each_gets_its_own_answer),
    mongo_test(only_classic_operators_and_majority_are_sent),
    mongo_test(the_url_cannot_make_it_weaker),
    mongo_test(the_clock_that_the_server_tells_decides),
    mongo_test(another_takes_the_free_key_first),
    mongo_test(a_number_that_came_late_is_drawn_anew),
    mongo_test(it_is_released_after_it_was_found_taken),
    mongo_test(another_takes_the_expired_key_over_first),
    mongo_test(the_holder_extends_while_another_looks),
    mongo_test(a_renewal_that_comes_too_late_brings_nothing_back),
    mongo_test(a_late_renewal_leaves_the_key_to_others),
    mongo_test(late_renewals_of_a_batch_bring_nothing_back),
    mongo_test(a_renewal_in_a_batch_that_another_overtakes_is_made_anew),
    mongo_test(a_release_that_comes_too_late_is_lost),
    mongo_test(a_resend_that_comes_too_late_gets_a_new_fence),
    mongo_test(who_breaks_tells_what_it_broke),
    mongo_test(a_new_counter_begins_behind_every_old_number),
    mongo_test(the_counter_is_made_by_two_at_once),
    mongo_test(fences_of_different_prefixes_and_collections_are_their_own),
    mongo_test(documents_that_nobody_uses_go_and_no_number_comes_back),
};

int main(void)
{
    fixture_start();
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fixture_stop();
    return failed ? 1 : 0;
}
