/* test_faults.c - the MongoDB storage when something goes wrong: which status, which message, and what is left behind.
 *
 * What the server at hand cannot do itself, such as being no primary, the proxy says in its place. */
#include "fixture.h"

#include "proxy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void assert_says(const dlock_request *request, const char *text)
{
    if (!strstr(request->message, text))
        fail_msg("the message says nothing of '%s': %s", text, request->message);
}

/* ---- answers lost, connections cut ------------------------------------------------------------------------------- */

static void break_command(const char *command, unsigned skip, enum wire_fault fault, const char *reply)
{
    wire_add(&wire, (struct wire_rule){.command = command, .skip = skip, .fault = fault, .reply = reply});
}

static void a_grant_whose_answer_is_lost_is_found_by_the_resend(void **state)
{
    (void)state;
    const char *key = key_of("key");
    break_command("findAndModify", 1, WIRE_SWALLOW, NULL);
    const dlock_request lost = ask(watched, DLOCK_ACQUIRE, key, "one", LONG_MS);
    assert_status(lost, DLOCK_UNAVAILABLE);
    assert_false(lost.not_done);
    const dlock_info held = inspect(other, key);
    assert_string_equal(held.owner, "one");
    assert_status(ask(other, DLOCK_ACQUIRE, key, "two", LONG_MS), DLOCK_BUSY);
    assert_int_equal(acquire(other, key, "one", LONG_MS), held.fence);
}

static void a_grant_that_did_not_arrive_is_made_by_the_resend(void **state)
{
    (void)state;
    const char *key = key_of("key");
    break_command("findAndModify", 1, WIRE_CUT, NULL);
    const dlock_request lost = ask(watched, DLOCK_ACQUIRE, key, "one", LONG_MS);
    assert_status(lost, DLOCK_UNAVAILABLE);
    assert_false(lost.not_done); /* it cannot know */
    assert_string_equal(inspect(other, key).owner, "");
    acquire(other, key, "one", LONG_MS);
}

static void a_lost_number_is_no_grant(void **state)
{
    (void)state;
    const char *key = key_of("key");
    break_command("findAndModify", 0, WIRE_SWALLOW, NULL);
    const dlock_request lost = ask(watched, DLOCK_ACQUIRE, key, "one", LONG_MS);
    assert_status(lost, DLOCK_UNAVAILABLE);
    assert_true(lost.not_done);
    assert_string_equal(inspect(other, key).owner, "");
}

static void a_renewal_whose_answer_is_lost_may_have_been_made(void **state)
{
    (void)state;
    const char *key = key_of("key");
    acquire(other, key, "one", 10000);
    break_command("findAndModify", 0, WIRE_SWALLOW, NULL);
    const dlock_request lost = ask(watched, DLOCK_EXTEND, key, "one", LONG_MS);
    assert_status(lost, DLOCK_UNAVAILABLE);
    assert_false(lost.not_done);
    assert_true(inspect(other, key).remaining_ms > 10000);
    assert_status(ask(other, DLOCK_EXTEND, key, "one", LONG_MS), DLOCK_OK); /* again, as the library does */
    break_command("find", 0, WIRE_CUT, NULL);
    void *again = open_url(url_by_proxy(""), 10000);
    const dlock_request unsent = ask(again, DLOCK_EXTEND, key, "one", LONG_MS);
    assert_status(unsent, DLOCK_UNAVAILABLE);
    assert_true(unsent.not_done);
    close_session(again);
}

static void a_release_whose_answer_is_lost_is_done(void **state)
{
    (void)state;
    const char *key = key_of("key");
    acquire(other, key, "one", LONG_MS);
    break_command("findAndModify", 0, WIRE_SWALLOW, NULL);
    const dlock_request lost = ask(watched, DLOCK_RELEASE, key, "one", 0);
    assert_status(lost, DLOCK_UNAVAILABLE);
    assert_false(lost.not_done);
    assert_string_equal(inspect(other, key).owner, "");
    assert_status(ask(other, DLOCK_RELEASE, key, "one", 0), DLOCK_LOST);
}

static void after_a_cut_the_rest_of_a_batch_is_not_sent(void **state)
{
    (void)state;
    const char *a = key_of("a"), *b = key_of("b"), *c = key_of("c");
    acquire(other, c, "one", LONG_MS);
    dlock_request requests[] = {request_of(DLOCK_ACQUIRE, a, "one", LONG_MS),
                                request_of(DLOCK_ACQUIRE, b, "one", LONG_MS), request_of(DLOCK_RELEASE, c, "one", 0)};
    dlock_request *const pointers[] = {&requests[0], &requests[1], &requests[2]};
    break_command("update", 0, WIRE_SWALLOW, NULL);
    storage->execute(watched, pointers, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_status(requests[i], DLOCK_UNAVAILABLE);
        assert_int_equal(requests[i].not_done, i == 2);
    }
    assert_commands("findAndModify update");
    assert_string_equal(inspect(other, a).owner, "one");
    assert_string_equal(inspect(other, c).owner, "one");
}

static void a_session_whose_connection_is_lost_connects_anew(void **state)
{
    (void)state;
    const char *key = key_of("key");
    break_command("isMaster", 0, WIRE_CUT, NULL);
    assert_status(ask(watched, DLOCK_INSPECT, key, NULL, 0), DLOCK_UNAVAILABLE);
    inspect(watched, key);
}

static void a_server_that_was_killed_is_used_again_and_no_number_comes_back(void **state)
{
    (void)state;
    const uint64_t last = acquire(watched, key_of("key"), "one", LONG_MS);
    if (!restart_server())
        skip();
    /* mongo-java-server has forgotten everything, mongod nothing: both count on. */
    dlock_request request;
    wait_for((request = ask(watched, DLOCK_ACQUIRE, key_of("another"), "one", LONG_MS)).status == DLOCK_OK);
    assert_true(request.info.fence > last);
    wait_for((request = ask(other, DLOCK_ACQUIRE, key_of("a third"), "one", LONG_MS)).status == DLOCK_OK);
    assert_true(request.info.fence > last);
}

/* ---- no answer in time ------------------------------------------------------------------------------------------ */

/* Returns within the operation timeout. The bound is generous to a busy machine, and far below what two more waits
 * would take. */
static dlock_request ask_in_time(void *session, dlock_operation operation, const char *key, uint32_t timeout_ms)
{
    const int64_t before = dlock_clock_us();
    const dlock_request request = ask(session, operation, key, "one", LONG_MS);
    const int64_t took_ms = (dlock_clock_us() - before) / 1000;
    if (took_ms > (int64_t)timeout_ms)
        fail_msg("took %d ms", (int)took_ms);
    return request;
}

static void a_server_that_hangs_costs_no_more_than_the_timeout(void **state)
{
    (void)state;
    for (unsigned skip = 0; skip < 2; skip++) {
        break_command("findAndModify", skip, WIRE_SILENCE, NULL);
        void *session = open_url(url_by_proxy(""), 2000);
        const dlock_request request = ask_in_time(session, DLOCK_ACQUIRE, key_of("key"), 2000);
        assert_status(request, DLOCK_UNAVAILABLE);
        assert_int_equal(request.not_done, skip == 0);
        close_session(session);
    }
}

/* ---- retryable writes ------------------------------------------------------------------------------------------ */

/* A single MongoDB server refuses what only replica sets have. */
static void skip_if_single(void *session)
{
    const dlock_request request = ask(session, DLOCK_ACQUIRE, key_of("try"), "one", LONG_MS);
    if (!strstr(request.message, "(code 20)"))
        return;
    close_session(session);
    skip();
}

/* Makes libmongoc believe that the server is a replica set: then it repeats a write that got no answer. This server
 * does not know the repeated one again, as a real replica set would, so it carries it out twice. */
static void *open_as_replica_set(const char *more, uint32_t timeout_ms)
{
    static char hello[512];
    char url[256];
    snprintf(
        hello, sizeof hello,
        "{\"ok\": 1, \"ismaster\": true, \"setName\": \"rs0\", \"setVersion\": 1, \"hosts\": [\"127.0.0.1:%d\"], "
        "\"me\": \"127.0.0.1:%d\", \"maxWireVersion\": 8, \"minWireVersion\": 0, "
        "\"logicalSessionTimeoutMinutes\": 30, \"maxBsonObjectSize\": 16777216, \"maxMessageSizeBytes\": 48000000, "
        "\"maxWriteBatchSize\": 100000}",
        wire.port, wire.port);
    wire_add(&wire, (struct wire_rule){.command = "isMaster", .fault = WIRE_ANSWER, .reply = hello, .always = true});
    snprintf(url, sizeof url, "mongodb://127.0.0.1:%d/?replicaSet=rs0%s", wire.port, more);
    return open_url(url, timeout_ms);
}

static void libmongoc_repeats_a_write_that_got_no_answer(void **state)
{
    (void)state;
    void *session = open_as_replica_set("", 10000);
    skip_if_single(session);
    for (unsigned i = 0; i < 2; i++) {
        const char *key = key_of(i == 0 ? "a" : "b");
        break_command("findAndModify", 1, i == 0 ? WIRE_SWALLOW : WIRE_CUT, NULL);
        const uint64_t fence = acquire(session, key, "one", LONG_MS);
        assert_true(wire_count(&wire, "\"txnNumber\"") >= 5);
        const dlock_request busy = ask(session, DLOCK_ACQUIRE, key, "two", LONG_MS);
        assert_status(busy, DLOCK_BUSY);
        assert_string_equal(busy.info.owner, "one");
        assert_int_equal(busy.info.fence, fence);
        break_command("findAndModify", 0, WIRE_CUT, NULL);
        assert_status(ask(session, DLOCK_RELEASE, key, "one", 0), DLOCK_OK);
    }
    close_session(session);
}

static void reads_go_to_the_primary_whatever_the_url_says(void **state)
{
    (void)state;
    const char *key = key_of("key");
    void *session = open_as_replica_set("&readPreference=secondary", 10000); /* there is none */
    skip_if_single(session);
    acquire(session, key, "one", LONG_MS);
    assert_status(ask(session, DLOCK_EXTEND, key, "one", LONG_MS), DLOCK_OK);
    close_session(session);
}

static void a_repeated_write_costs_no_more_than_the_timeout(void **state)
{
    (void)state;
    void *session = open_as_replica_set("", 2000);
    wire_add(&wire, (struct wire_rule){.command = "findAndModify", .fault = WIRE_SILENCE, .always = true});
    assert_status(ask_in_time(session, DLOCK_ACQUIRE, key_of("key"), 2000), DLOCK_UNAVAILABLE);
    assert_int_equal(wire_count(&wire, "\"findAndModify\""), 2);
    close_session(session);
}

static void a_network_that_swallows_all_costs_no_more_than_the_timeout(void **state)
{
    (void)state;
    struct proxy proxy;
    char url[256];
    proxy_start(&proxy, "127.0.0.1", wire.port);
    snprintf(url, sizeof url, "mongodb://127.0.0.1:%d/?directConnection=true", proxy.port);
    void *session = open_url(url, 2000), *late = open_url(url, 2000);
    inspect(session, key_of("key"));
    proxy_black_hole(&proxy);
    assert_status(ask_in_time(session, DLOCK_INSPECT, key_of("key"), 2000), DLOCK_UNAVAILABLE);
    const dlock_request unsent = ask_in_time(late, DLOCK_ACQUIRE, key_of("key"), 2000);
    assert_status(unsent, DLOCK_UNAVAILABLE);
    assert_true(unsent.not_done);
    close_session(session);
    close_session(late);
    proxy_pass(&proxy);
    session = open_url(url, 10000);
    proxy_trickle(&proxy, true); /* slow is not broken */
    acquire(session, key_of("key"), "one", LONG_MS);
    proxy_trickle(&proxy, false);
    proxy_cut_after(&proxy, 30, PROXY_RST); /* in the middle of a reply */
    assert_status(ask(session, DLOCK_INSPECT, key_of("key"), NULL, 0), DLOCK_UNAVAILABLE);
    assert_string_equal(inspect(session, key_of("key")).owner, "one");
    close_session(session);
    proxy_stop(&proxy);
}

static void nobody_listens(void **state)
{
    (void)state;
    struct proxy proxy;
    char url[256];
    proxy_start(&proxy, "127.0.0.1", wire.port);
    proxy_enter(&proxy, PROXY_REFUSE);
    snprintf(url, sizeof url, "mongodb://user:secret@127.0.0.1:%d/", proxy.port);
    void *session = open_url(url, 2000);
    const dlock_request request = ask_in_time(session, DLOCK_ACQUIRE, key_of("key"), 2000);
    assert_status(request, DLOCK_UNAVAILABLE);
    assert_true(request.not_done);
    assert_says(&request, "no primary can be reached");
    assert_says(&request, "127.0.0.1");
    assert_null(strstr(request.message, "secret"));
    close_session(session);
    proxy_stop(&proxy);
}

/* ---- what servers say ------------------------------------------------------------------------------------------- */

static dlock_request answered(const char *command, unsigned skip, enum wire_fault fault, const char *reply)
{
    break_command(command, skip, fault, reply);
    return ask(watched, DLOCK_ACQUIRE, key_of("key"), "one", LONG_MS);
}

static void a_member_that_is_no_primary(void **state)
{
    (void)state;
    const dlock_request draw = answered("findAndModify", 0, WIRE_ANSWER,
                                        "{\"ok\": 0, \"code\": 10107, \"codeName\": \"NotWritablePrimary\", "
                                        "\"errmsg\": \"not primary\"}");
    assert_status(draw, DLOCK_UNAVAILABLE);
    assert_true(draw.not_done); /* no number, no grant */
    assert_says(&draw, "not the primary");
    assert_says(&draw, "replicaSet=");
    const dlock_request grant = answered("findAndModify", 1, WIRE_ANSWER,
                                         "{\"ok\": 0, \"code\": 10107, \"codeName\": \"NotWritablePrimary\", "
                                         "\"errmsg\": \"not primary\"}");
    assert_status(grant, DLOCK_UNAVAILABLE);
    assert_says(&grant, "not the primary");
    acquire(other, key_of("key"), "two", LONG_MS);
}

static void a_read_from_a_member_that_is_no_primary(void **state)
{
    (void)state;
    break_command(
        "find", 0, WIRE_ANSWER,
        "{\"ok\": 0, \"code\": 13435, \"codeName\": \"NotPrimaryNoSecondaryOk\", \"errmsg\": \"not master and "
        "slaveOk=false\"}");
    const dlock_request request = ask(watched, DLOCK_EXTEND, key_of("key"), "one", LONG_MS);
    assert_status(request, DLOCK_UNAVAILABLE);
    assert_true(request.not_done);
    assert_says(&request, "not the primary");
}

/* The write is made, and no majority confirms it. */
static void a_majority_that_does_not_confirm(void **state)
{
    (void)state;
    static const char reply[] = "{\"ok\": 1, \"value\": null, \"writeConcernError\": {\"code\": 64, \"codeName\": "
                                "\"WriteConcernFailed\", \"errmsg\": \"waiting for replication timed out\", "
                                "\"errInfo\": {\"wtimeout\": true}}}";
    const char *key = key_of("key");
    const dlock_request request = answered("findAndModify", 1, WIRE_REPLACE, reply);
    assert_status(request, DLOCK_UNAVAILABLE);
    assert_false(request.not_done);
    assert_says(&request, "majority");
    assert_says(&request, "wtimeout");
    assert_string_equal(inspect(other, key).owner, "one"); /* so it counts as unknown, and is asked for again */
    break_command("findAndModify", 0, WIRE_REPLACE, reply);
    assert_status(ask(watched, DLOCK_RELEASE, key, "one", 0), DLOCK_UNAVAILABLE);
    acquire(other, key, "two", LONG_MS);
}

static void a_majority_that_does_not_confirm_a_batch(void **state)
{
    (void)state;
    dlock_request requests[] = {request_of(DLOCK_ACQUIRE, key_of("a"), "one", LONG_MS),
                                request_of(DLOCK_ACQUIRE, key_of("b"), "one", LONG_MS)};
    dlock_request *const pointers[] = {&requests[0], &requests[1]};
    break_command(
        "update", 0, WIRE_REPLACE,
        "{\"ok\": 1, \"n\": 2, \"nModified\": 0, \"writeConcernError\": {\"code\": 64, \"errmsg\": \"waiting for "
        "replication timed out\"}}");
    storage->execute(watched, pointers, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_status(requests[i], DLOCK_UNAVAILABLE);
        assert_false(requests[i].not_done);
        assert_says(&requests[i], "majority");
    }
}

static void a_user_without_rights(void **state)
{
    (void)state;
    const dlock_request request =
        answered("findAndModify", 0, WIRE_ANSWER,
                 "{\"ok\": 0, \"code\": 13, \"codeName\": \"Unauthorized\", \"errmsg\": \"not "
                 "authorized on db to execute command\"}");
    assert_status(request, DLOCK_REFUSED);
    assert_says(&request, "readWrite");
}

static void a_validator_of_the_collection(void **state)
{
    (void)state;
    const dlock_request request = answered("findAndModify", 1, WIRE_ANSWER,
                                           "{\"ok\": 0, \"code\": 121, \"codeName\": \"DocumentValidationFailure\", "
                                           "\"errmsg\": \"Document failed validation\"}");
    assert_status(request, DLOCK_REFUSED);
    assert_says(&request, "validator");
    assert_says(&request, "?collection=");
    dlock_request requests[] = {request_of(DLOCK_ACQUIRE, key_of("a"), "one", LONG_MS),
                                request_of(DLOCK_ACQUIRE, key_of("b"), "one", LONG_MS)};
    dlock_request *const pointers[] = {&requests[0], &requests[1]};
    break_command("update", 0, WIRE_ANSWER,
                  "{\"ok\": 1, \"n\": 1, \"nModified\": 0, \"writeErrors\": [{\"index\": 1, \"code\": 121, \"errmsg\": "
                  "\"Document failed validation\"}]}");
    storage->execute(watched, pointers, 2);
    assert_status(requests[0], DLOCK_OK);
    assert_status(requests[1], DLOCK_REFUSED);
    assert_says(&requests[1], "validator");
}

static void an_error_that_nobody_knows(void **state)
{
    (void)state;
    const dlock_request request =
        answered("findAndModify", 1, WIRE_ANSWER, "{\"ok\": 0, \"code\": 4711, \"errmsg\": \"the moon is full\"}");
    assert_status(request, DLOCK_UNAVAILABLE);
    assert_false(request.not_done);
    assert_says(&request, "the moon is full");
    assert_says(&request, "4711");
}

/* This server knows no users, which a wrong password meets as well; others say it with code 18. */
static void a_wrong_password(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        char url[256];
        snprintf(url, sizeof url, "mongodb://user:s%%65cret@127.0.0.1:%d/?directConnection=true", wire.port);
        if (i == 1)
            break_command("saslStart", 0, WIRE_ANSWER,
                          "{\"ok\": 0, \"code\": 18, \"codeName\": \"AuthenticationFailed\", \"errmsg\": "
                          "\"Authentication failed.\"}");
        void *session = open_url(url, 5000);
        const dlock_request request = ask(session, DLOCK_ACQUIRE, key_of("key"), "one", LONG_MS);
        assert_status(request, DLOCK_REFUSED);
        assert_says(&request, "user and password");
        assert_null(strstr(request.message, "secret"));
        close_session(session);
    }
}

/* ---- documents of others ---------------------------------------------------------------------------------------- */

static void a_document_of_another_layout(void **state)
{
    (void)state;
    static const char *const fields[] = {
        "\"holder\": \"them\"",
        "\"owner\": 5",
        "\"owner\": \"them\", \"fence\": \"7\"",
        "\"owner\": \"them\", \"fence\": 7, \"ttl_ms\": 5000, \"acquired_at\": 1700000000",
        "\"owner\": \"them\", \"fence\": 7, \"ttl_ms\": 5000, \"acquired_at\": {\"$date\": \"2020-01-01T00:00:00Z\"}",
    };
    static const char *const lacks[] = {"owner", "owner", "fence", "acquired_at", "renewed_at"};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        char name[16], json[512];
        snprintf(name, sizeof name, "key %zu", i);
        const char *key = key_of(name);
        snprintf(json, sizeof json, "{\"_id\": \"%s\", %s}", id_of(key), fields[i]);
        insert(json);
        static const dlock_operation operations[] = {DLOCK_ACQUIRE, DLOCK_EXTEND, DLOCK_INSPECT, DLOCK_BREAK};
        for (size_t j = 0; j < 4; j++) {
            const dlock_request request = ask(watched, operations[j], key, "one", LONG_MS);
            assert_status(request, DLOCK_REFUSED);
            assert_says(&request, lacks[i]);
            assert_says(&request, id_of(key));
            assert_says(&request, "another collection or prefix");
        }
        assert_int_equal(count(json), 1); /* as it was */
    }
    dlock_error error;
    char listed[64];
    snprintf(listed, sizeof listed, "%s", key_of(""));
    assert_int_equal(storage->list(watched, listed, NULL, NULL, &error), DLOCK_REFUSED);
}

static void a_collation_that_takes_keys_for_equal(void **state)
{
    (void)state;
    const char *key = key_of("key");
    acquire(other, key, "one", LONG_MS);
    wire_add(&wire, (struct wire_rule){.command = "find",
                                       .fault = WIRE_ANSWER,
                                       .always = true,
                                       .reply = "{\"ok\": 1, \"cursor\": {\"id\": 0, \"ns\": \"d.locks\", "
                                                "\"firstBatch\": [{\"_id\": \"distributed-locks:KEY\"}]}}"});
    const dlock_request request = ask(watched, DLOCK_ACQUIRE, key, "two", LONG_MS);
    assert_status(request, DLOCK_REFUSED);
    assert_says(&request, "collation");
}

static void a_server_without_retryable_writes(void **state)
{
    (void)state;
    const dlock_request request = answered("findAndModify", 0, WIRE_ANSWER,
                                           "{\"ok\": 0, \"code\": 301, \"errmsg\": \"Retryable writes are not "
                                           "supported\"}");
    assert_status(request, DLOCK_REFUSED);
    assert_says(&request, "retryWrites=false");
}

static void a_counter_of_another_layout(void **state)
{
    (void)state;
    insert("{\"_id\": {\"fences\": \"taken\"}, \"drawn_at\": 5, \"fence\": {\"$numberLong\": \"1700000000000000\"}}");
    insert("{\"_id\": {\"fences\": \"worse\"}, \"fence\": \"many\"}");
    void *session = open_url(url_direct("&prefix=taken"), 5000);
    acquire(session, key_of("key"), "one", LONG_MS); /* the date is stamped anew */
    close_session(session);
    session = open_url(url_by_proxy("&prefix=worse"), 5000);
    const dlock_request request = ask(session, DLOCK_ACQUIRE, key_of("key"), "one", LONG_MS);
    assert_status(request, DLOCK_REFUSED);
    assert_says(&request, "layout");
    close_session(session);
}

/* ---- the URL ---------------------------------------------------------------------------------------------------- */

static void a_url_that_is_wrong_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *url, *says;
    } wrong[] = {
        {"mongodb://h/?colection=x", "'colection'"},
        {"mongodb://h/?collection=a$b", "collection 'a$b'"},
        {"mongodb://h/?collection=system.x", "system."},
        {"mongodb://h/?database=a.b", "database 'a.b'"},
        {"mongodb://h/?retryWrites=maybe", "retrywrites"},
        {"mongodb://h/?readPreference=worst", "readPreference"},
        {"mongodb://u:se%3Acret@h/?w=0&journal=true", "ournal"},
        {"mongodb://u:se:cret@h/", "percent-encoded"},
        {"mongodb://u:s%65:cret@h/", "percent-encoded"},
        {"mongodb://h1,h2/?directConnection=true", "irect"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        void *session = NULL;
        dlock_error error = {0};
        const dlock_status status = try_open(wrong[i].url, 1000, &session, &error);
        if (status != DLOCK_INVALID || !strstr(error.message, wrong[i].says) || strstr(error.message, "cret"))
            fail_msg("%s: %s: %s", wrong[i].url, dlock_status_name(status), error.message);
    }
    char url[300] = "mongodb://h/?prefix=";
    memset(url + strlen(url), 'p', 129);
    void *session = NULL;
    dlock_error error = {0};
    assert_int_equal(try_open(url, 1000, &session, &error), DLOCK_INVALID);
    assert_non_null(strstr(error.message, "129 bytes"));
}

static void a_connection_string_works_as_it_is(void **state)
{
    (void)state;
    static const char *const good[] = {
        "mongodb://a,b:27018,[::1]:27019/db?replicaSet=rs0&retryWrites=true&w=majority&authSource=admin",
        "mongodb://u:p%40ss@h/?tls=true&tlsAllowInvalidCertificates=true&authMechanism=SCRAM-SHA-256",
        "mongodb://h?readPreference=secondary&readPreferenceTags=dc:ny&maxStalenessSeconds=120&wtimeoutMS=10",
        "mongodb://h/?compressors=zlib&zlibCompressionLevel=3&appName=x&connectTimeoutMS=50&journal=true",
        "mongodb://%2Ftmp%2Fmongodb-27017.sock/?database=a&collection=b&prefix=c&timeout_ms=5",
        "mongodb://h",
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        close_session(open_url(good[i], 1000));
}

/* ---- dlock check ------------------------------------------------------------------------------------------------ */

static void collect(void *arg, const char *text)
{
    char *all = arg;
    snprintf(all + strlen(all), 4096 - strlen(all), "%s\n", text);
}

static void check_says(const char *command, const char *reply, const char *text)
{
    char all[4096] = "";
    dlock_error error;
    if (command)
        break_command(command, 0, WIRE_ANSWER, reply);
    if (storage->check(watched, collect, all, &error) != DLOCK_OK)
        fail_msg("check: %s", error.message);
    if (!strstr(all, text))
        fail_msg("no warning says '%s': %s", text, all);
    wire_clear(&wire);
}

static void check_warns_of_what_weakens_locks(void **state)
{
    (void)state;
    check_says(NULL, NULL, "single server");
    check_says("buildInfo", "{\"ok\": 1, \"version\": \"7.0.42\", \"ferretdbVersion\": \"v1.24.0\"}", "FerretDB 1");
    check_says("buildInfo", "{\"ok\": 1, \"version\": \"7.0.42\", \"ferretdb\": {\"version\": \"v1.24.0\"}}",
               "FerretDB 1");
    check_says("serverStatus", "{\"ok\": 1, \"storageEngine\": {\"name\": \"inMemory\", \"persistent\": false}}",
               "in memory");
    check_says("getCmdLineOpts", "{\"ok\": 1, \"parsed\": {\"storage\": {\"journal\": {\"enabled\": false}}}}",
               "without its journal");
    check_says("listCollections",
               "{\"ok\": 1, \"cursor\": {\"id\": 0, \"firstBatch\": [{\"name\": \"locks\", \"options\": {\"capped\": "
               "true}}]}}",
               "capped");
    check_says(
        "listCollections",
        "{\"ok\": 1, \"cursor\": {\"id\": 0, \"firstBatch\": [{\"name\": \"locks\", \"options\": {\"validator\": "
        "{}}}]}}",
        "validator");
    check_says(
        "listCollections",
        "{\"ok\": 1, \"cursor\": {\"id\": 0, \"firstBatch\": [{\"name\": \"locks\", \"options\": {\"collation\": "
        "{}}}]}}",
        "collation");
    wire_add(&wire, (struct wire_rule){.command = "isMaster",
                                       .skip = 1,
                                       .fault = WIRE_ANSWER,
                                       .reply = "{\"ok\": 1, \"ismaster\": true, \"setName\": \"rs0\"}"});
    check_says("replSetGetConfig", "{\"ok\": 1, \"config\": {\"writeConcernMajorityJournalDefault\": false}}",
               "writeConcernMajorityJournalDefault");
    wire_add(&wire, (struct wire_rule){.command = "isMaster",
                                       .skip = 1,
                                       .fault = WIRE_ANSWER,
                                       .reply = "{\"ok\": 1, \"ismaster\": true, \"msg\": \"isdbgrid\"}"});
    check_says(NULL, NULL, "sharded");
}

static void check_does_not_cry_wolf(void **state)
{
    (void)state;
    char all[4096] = "";
    wire_add(&wire, (struct wire_rule){.command = "isMaster",
                                       .skip = 1,
                                       .fault = WIRE_ANSWER,
                                       .reply = "{\"ok\": 1, \"ismaster\": true, \"setName\": \"rs0\"}"});
    break_command("buildInfo", 0, WIRE_ANSWER,
                  "{\"ok\": 1, \"version\": \"7.0.77\", \"ferretdb\": {\"version\": "
                  "\"v2.0.0\"}}");
    break_command("serverStatus", 0, WIRE_ANSWER, "{\"ok\": 1, \"storageEngine\": {\"persistent\": true}}");
    assert_int_equal(storage->check(watched, collect, all, NULL), DLOCK_OK);
    assert_string_equal(all, "");
}

static const struct CMUnitTest tests[] = {
    mongo_test(a_grant_whose_answer_is_lost_is_found_by_the_resend),
    mongo_test(a_grant_that_did_not_arrive_is_made_by_the_resend),
    mongo_test(a_lost_number_is_no_grant),
    mongo_test(a_renewal_whose_answer_is_lost_may_have_been_made),
    mongo_test(a_release_whose_answer_is_lost_is_done),
    mongo_test(after_a_cut_the_rest_of_a_batch_is_not_sent),
    mongo_test(a_session_whose_connection_is_lost_connects_anew),
    mongo_test(a_server_that_was_killed_is_used_again_and_no_number_comes_back),
    mongo_test(a_server_that_hangs_costs_no_more_than_the_timeout),
    mongo_test(libmongoc_repeats_a_write_that_got_no_answer),
    mongo_test(reads_go_to_the_primary_whatever_the_url_says),
    mongo_test(a_repeated_write_costs_no_more_than_the_timeout),
    mongo_test(a_network_that_swallows_all_costs_no_more_than_the_timeout),
    mongo_test(nobody_listens),
    mongo_test(a_member_that_is_no_primary),
    mongo_test(a_read_from_a_member_that_is_no_primary),
    mongo_test(a_majority_that_does_not_confirm),
    mongo_test(a_majority_that_does_not_confirm_a_batch),
    mongo_test(a_user_without_rights),
    mongo_test(a_validator_of_the_collection),
    mongo_test(an_error_that_nobody_knows),
    mongo_test(a_wrong_password),
    mongo_test(a_document_of_another_layout),
    mongo_test(a_collation_that_takes_keys_for_equal),
    mongo_test(a_server_without_retryable_writes),
    mongo_test(a_counter_of_another_layout),
    mongo_test(a_url_that_is_wrong_is_refused),
    mongo_test(a_connection_string_works_as_it_is),
    mongo_test(check_warns_of_what_weakens_locks),
    mongo_test(check_does_not_cry_wolf),
};

int main(void)
{
    fixture_start();
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fixture_stop();
    return failed ? 1 : 0;
}
