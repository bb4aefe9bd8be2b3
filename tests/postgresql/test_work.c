/* test_work.c - the PostgreSQL storage at work: the order of fences, races that are made to happen, batches, what it
 * writes, waking, a pooler in between. */
#include "fixture.h"

#include "../../storages/postgresql/internal.h"

#include <limits.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static struct server server; /* 0 is the server, 1 the pooler in front of it */
static PGconn *superuser;
static char direct[200];

/* ---- races that are made to happen -------------------------------------------------------------------------------
 */

/* Before a row goes in, whoever is called `slow` waits here until the gate opens: it has looked at the table, and drawn
 * its number if it did so by then. The others pass. */
static void close_gate(void)
{
    sql(superuser, "SELECT pg_advisory_lock(77)");
    sql(superuser, "CREATE OR REPLACE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                   " IF current_setting('application_name') = 'slow' THEN PERFORM pg_advisory_lock_shared(77);"
                   " PERFORM pg_advisory_unlock_shared(77); END IF; RETURN NEW; END $$");
    sql(superuser, "CREATE TRIGGER gate BEFORE INSERT ON locks FOR EACH ROW EXECUTE FUNCTION gate()");
}

static void open_gate(void)
{
    sql(superuser, "SELECT pg_advisory_unlock(77)");
}

static void wait_until_slow_is_at_gate(void)
{
    wait_for(strcmp(sql(superuser, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'slow'"
                                   " AND wait_event_type = 'Lock'"),
                    "1") == 0);
}

static void remove_gate(void)
{
    sql(superuser, "DROP TRIGGER gate ON locks");
}

/* Acquires and releases so often that surely each of the few blocks is swept. */
static void sweep_all(void *session)
{
    for (unsigned i = 0; i < 400; i++) {
        acquire(session, "sweeper", "owner", LONG_MS);
        assert_status(ask(session, DLOCK_RELEASE, "sweeper", "owner", 0), DLOCK_OK);
    }
}

static bool row_is_there(const char *key)
{
    return strcmp(sql(superuser, "SELECT count(*) FROM locks WHERE key = '%s'", key), "1") == 0;
}

/* Somebody draws a number for a row that is not there, and is held up before it puts it in. Meanwhile another holds the
 * key, gives it back, and a minute passes, so that the row would be swept: then the first would come with a number
 * smaller than that of a hold before its own. */
static void fences_follow_the_order_of_holds_although_one_is_held_up(void **state)
{
    const char *isolation = *state;
    struct asking asking;
    void *slow = open_session("%s?application_name=slow&isolation=%s", direct, isolation),
         *fast = open_session("%s?isolation=%s", direct, isolation);
    close_gate();
    ask_in_thread(&asking, slow, DLOCK_ACQUIRE, "key", "slow", LONG_MS);
    wait_until_slow_is_at_gate();
    const uint64_t fence = acquire(fast, "key", "fast", LONG_MS);
    assert_status(ask(fast, DLOCK_RELEASE, "key", "fast", 0), DLOCK_OK);
    sql(superuser, "UPDATE locks SET expires_at = expires_at - interval '1 hour'");
    sweep_all(fast);
    open_gate();
    const dlock_request request = answer_of(&asking);
    assert_status(request, DLOCK_OK);
    assert_true(request.info.fence > fence);
    assert_status(ask(slow, DLOCK_RELEASE, "key", "slow", 0), DLOCK_OK);

    /* Nobody is in its way now: the row goes. */
    sql(superuser, "UPDATE locks SET expires_at = expires_at - interval '1 hour' WHERE key = 'key'");
    while (row_is_there("key"))
        sweep_all(fast);
    remove_gate();
    close_session(fast);
    close_session(slow);
}

/* It has seen a row that was free, and finds it taken when it is let through. */
static void who_comes_second_is_told_who_was_first(void **state)
{
    const char *isolation = *state;
    struct asking asking;
    void *slow = open_session("%s?application_name=slow&isolation=%s", direct, isolation),
         *fast = open_session("%s?isolation=%s", direct, isolation);
    acquire(fast, "second", "before", LONG_MS);
    assert_status(ask(fast, DLOCK_RELEASE, "second", "before", 0), DLOCK_OK);
    close_gate();
    ask_in_thread(&asking, slow, DLOCK_ACQUIRE, "second", "slow", LONG_MS);
    wait_until_slow_is_at_gate();
    const uint64_t fence = acquire(fast, "second", "a holder with blanks", LONG_MS);
    open_gate();
    const dlock_request request = answer_of(&asking);
    assert_status(request, DLOCK_BUSY);
    assert_string_equal(request.info.owner, "a holder with blanks");
    assert_int_equal(request.info.fence, fence);
    assert_int_equal(request.info.ttl_ms, LONG_MS);
    assert_true(request.info.held_ms >= 0 && request.info.held_ms < LONG_MS / 2);
    assert_true(request.info.remaining_ms > LONG_MS / 2 && request.info.remaining_ms <= LONG_MS);
    assert_false(request.contended);
    assert_holder(fast, "second", "a holder with blanks");
    if (strcmp(isolation, "repeatable-read") == 0) /* it was another isolation indeed, and is no error to anybody */
        server_tell(&server, "log 0 could not serialize access due to concurrent update");
    remove_gate();
    close_session(fast);
    close_session(slow);
}

/* The row that it saw is swept before it is let through: what it puts in its place must not be a hold whose number was
 * not drawn, and it gets the key all the same. */
static void a_row_that_is_swept_meanwhile_is_made_anew(void **state)
{
    const char *isolation = *state;
    struct asking asking;
    void *slow = open_session("%s?application_name=slow&isolation=%s", direct, isolation),
         *fast = open_session("%s?isolation=%s", direct, isolation);
    const uint64_t before = acquire(fast, "swept", "before", LONG_MS);
    assert_status(ask(fast, DLOCK_RELEASE, "swept", "before", 0), DLOCK_OK);
    close_gate();
    ask_in_thread(&asking, slow, DLOCK_ACQUIRE, "swept", "slow", LONG_MS);
    wait_until_slow_is_at_gate();
    sql(superuser, "DELETE FROM locks WHERE key = 'swept'");
    open_gate();
    const dlock_request request = answer_of(&asking);
    assert_status(request, DLOCK_OK);
    assert_true(request.info.fence > before);
    const dlock_request seen = ask(fast, DLOCK_INSPECT, "swept", NULL, 0);
    assert_string_equal(seen.info.owner, "slow");
    assert_int_equal(seen.info.fence, request.info.fence);
    remove_gate();
    close_session(fast);
    close_session(slow);
}

/* A resend that overtakes its original: both are for one owner, and one hold comes out. */
static void a_resend_beside_its_original_is_one_hold(void **state)
{
    const char *isolation = *state;
    struct asking asking;
    void *slow = open_session("%s?application_name=slow&isolation=%s", direct, isolation),
         *fast = open_session("%s?isolation=%s", direct, isolation);
    close_gate();
    ask_in_thread(&asking, slow, DLOCK_ACQUIRE, "resent", "owner", LONG_MS);
    wait_until_slow_is_at_gate();
    const uint64_t fence = acquire(fast, "resent", "owner", 1000);
    open_gate();
    const dlock_request request = answer_of(&asking);
    assert_status(request, DLOCK_OK);
    assert_int_equal(request.info.fence, fence);
    assert_true(ask(fast, DLOCK_INSPECT, "resent", NULL, 0).info.remaining_ms > 2000); /* its ttl counts anew */
    remove_gate();
    close_session(fast);
    close_session(slow);
}

/* While an EXTEND waits for its row, the hold ends. */
static void a_hold_that_ends_while_its_extend_waits_is_lost(void **state)
{
    const char *isolation = *state;
    struct asking asking;
    void *session = open_session("%s?isolation=%s", direct, isolation);
    PGconn *other = connect_as_superuser(&server, 0);
    acquire(session, "waits", "owner", 1000);
    sql(other, "BEGIN; SELECT 1 FROM locks WHERE key = 'waits' FOR UPDATE");
    ask_in_thread(&asking, session, DLOCK_EXTEND, "waits", "owner", LONG_MS);
    wait_until_one_waits_for(superuser, "transactionid");
    wait_for(strcmp(sql(superuser, "SELECT expires_at < clock_timestamp() FROM locks WHERE key = 'waits'"), "t") == 0);
    sql(other, "COMMIT");
    assert_status(answer_of(&asking), DLOCK_LOST);
    assert_holder(session, "waits", "");
    PQfinish(other);
    close_session(session);
}

/* ---- many ---------------------------------------------------------------------------------------------------------
 */

enum { PROCESSES = 8, HOLDS = 40 };

struct shared {
    uint64_t counter, last_fence; /* changed by whoever holds the key, in two steps */
};

static int hold_often(const char *url, struct shared *shared)
{
    dlock_error error;
    dlock_factory *factory;
    dlock *lock;
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;
    options.wait_ms = 60000;
    if (dlock_factory_open(url, NULL, &factory, &error) != DLOCK_OK ||
        dlock_create(factory, "hot", &lock, &error) != DLOCK_OK) {
        fprintf(stderr, "# %s\n", error.message);
        return 1;
    }
    for (unsigned i = 0; i < HOLDS; i++) {
        if (dlock_acquire(lock, &options, &error) != DLOCK_OK) {
            fprintf(stderr, "# %s\n", error.message);
            return 1;
        }
        volatile uint64_t *counter = &shared->counter, *last = &shared->last_fence;
        const uint64_t before = *counter;
        if (dlock_fence(lock) <= *last) {
            fprintf(stderr, "# fence %llu after %llu\n", (unsigned long long)dlock_fence(lock),
                    (unsigned long long)*last);
            return 1;
        }
        sched_yield(); /* so that another holder would be seen */
        *last = dlock_fence(lock);
        *counter = before + 1;
        if (dlock_release(lock, &error) != DLOCK_OK) {
            fprintf(stderr, "# %s\n", error.message);
            return 1;
        }
    }
    dlock_free(lock);
    dlock_factory_close(factory);
    return 0;
}

static void eight_processes_on_one_key_lose_nothing(void **state)
{
    const char *isolation = *state;
    char url[256];
    pid_t children[PROCESSES];
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(shared, MAP_FAILED);
    snprintf(url, sizeof url, "%s?isolation=%s", direct, isolation);
    fflush(NULL);
    for (unsigned i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        if (children[i] == 0)
            _exit(hold_often(url, shared));
    }
    for (unsigned i = 0; i < PROCESSES; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    assert_int_equal(shared->counter, PROCESSES * HOLDS);
    munmap(shared, sizeof *shared);
}

/* ---- batches ------------------------------------------------------------------------------------------------------
 */

static void a_batch_is_one_round_trip(void **state)
{
    (void)state;
    enum { COUNT = 20 };
    struct proxy proxy;
    proxy_start(&proxy, "127.0.0.1", server_port(&server, 0));
    void *session = open_session("postgresql://dlock@127.0.0.1:%d/dlock", proxy.port);
    dlock_request batch[COUNT], *requests[COUNT];
    char keys[COUNT][16];
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(keys[i], sizeof keys[i], "batch %u", i);
        batch[i] = request_of(DLOCK_ACQUIRE, keys[i], "owner", LONG_MS);
        requests[i] = &batch[i];
    }
    proxy_hold_replies(&proxy, true); /* none of them is answered before all are sent */
    struct asking asking;
    void *other = open_session("%s", direct);
    ask_in_thread(&asking, session, DLOCK_ACQUIRE, "alone", "owner", LONG_MS);
    wait_for(proxy_counts(&proxy).replies > 1);
    proxy_hold_replies(&proxy, false);
    assert_status(answer_of(&asking), DLOCK_OK);

    const struct proxy_counts before = proxy_counts(&proxy);
    const dlock_request busy = ask(session, DLOCK_ACQUIRE, "alone", "other", LONG_MS);
    assert_status(busy, DLOCK_BUSY);
    assert_string_equal(busy.info.owner, "owner");
    assert_int_equal(proxy_counts(&proxy).round_trips - before.round_trips, 1);
    dlock_postgresql_storage.execute(session, requests, COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_status(batch[i], DLOCK_OK);
        assert_holder(other, keys[i], "owner");
    }
    /* Pieces may be answered before the last one is sent, but never does one wait for another. */
    assert_true(proxy_counts(&proxy).round_trips - before.round_trips < COUNT);
    close_session(other);
    close_session(session);
    proxy_stop(&proxy);
}

/* To sleep and to be woken may take longer than the answer. It is not found so if others have the processor. */
static void an_answer_that_comes_soon_is_not_slept_for(void **state)
{
    (void)state;
    struct postgresql_session *session = open_session("%s", server.url);
    wait_for((session->look.in_vain = 1, ask(session, DLOCK_INSPECT, "near", NULL, 0), session->look.in_vain == 0));
    close_session(session);
}

/* The commit of one fails, and not before it: what the statement had answered was not true. */
static void one_that_fails_does_not_fail_its_neighbours(void **state)
{
    const char *isolation = *state;
    sql(superuser, "CREATE OR REPLACE FUNCTION doom() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                   " IF NEW.owner = 'doomed' THEN RAISE EXCEPTION 'no luck'; END IF; RETURN NULL; END $$");
    sql(superuser, "CREATE CONSTRAINT TRIGGER doom AFTER INSERT OR UPDATE ON locks DEFERRABLE INITIALLY DEFERRED"
                   " FOR EACH ROW EXECUTE FUNCTION doom()");
    void *session = open_session("%s?isolation=%s", direct, isolation);
    for (unsigned turn = 0; turn < 2; turn++) { /* prepared on the way, and before */
        const char *const keys[][3] = {{"a", "b", "c"}, {"d", "e", "f"}}, *first = keys[turn][0],
                          *second = keys[turn][1], *third = keys[turn][2];
        dlock_request batch[] = {request_of(DLOCK_ACQUIRE, first, "owner", LONG_MS),
                                 request_of(DLOCK_ACQUIRE, second, "doomed", LONG_MS),
                                 request_of(DLOCK_ACQUIRE, third, "owner", LONG_MS)};
        dlock_request *const requests[] = {&batch[0], &batch[1], &batch[2]};
        dlock_postgresql_storage.execute(session, requests, 3);
        assert_status(batch[0], DLOCK_OK);
        assert_status(batch[1], DLOCK_UNAVAILABLE);
        assert_true(batch[1].not_done);
        assert_non_null(strstr(batch[1].message, "no luck"));
        assert_status(batch[2], DLOCK_OK);
        assert_holder(session, first, "owner");
        assert_holder(session, second, "");
        assert_holder(session, third, "owner");
    }
    close_session(session);
    sql(superuser, "DROP TRIGGER doom ON locks");
}

/* Asked alone, each would get the same answer. */
static void many_keys_are_asked_for_as_one_statement(void **state)
{
    const char *isolation = *state;
    struct postgresql_session *session = open_session("%s?isolation=%s", direct, isolation);
    void *other = open_session("%s", direct);
    enum { NEW, FREE, BUSY, OURS, OVER, COUNT };
    acquire(other, "free", "other", LONG_MS);
    assert_status(ask(other, DLOCK_RELEASE, "free", "other", 0), DLOCK_OK);
    const uint64_t theirs = acquire(other, "busy", "a holder with blanks", LONG_MS),
                   ours = acquire(other, "ours", "owner", 1000);
    uint64_t last = acquire(other, "over", "other", LONG_MS);
    sql(superuser, "UPDATE locks SET expires_at = clock_timestamp() WHERE key = 'over'");

    dlock_request batch[COUNT];
    static const char *const keys[COUNT] = {"new", "free", "busy", "ours", "over"};
    for (unsigned i = 0; i < COUNT; i++)
        batch[i] = request_of(DLOCK_ACQUIRE, keys[i], "owner", LONG_MS);
    ask_many(session, batch, COUNT);
    assert_true(session->prepared[STATEMENT_ACQUIRE_MANY]);
    assert_false(session->prepared[STATEMENT_ACQUIRE]);
    assert_status(batch[BUSY], DLOCK_BUSY);
    assert_string_equal(batch[BUSY].info.owner, "a holder with blanks");
    assert_int_equal(batch[BUSY].info.fence, theirs);
    assert_int_equal(batch[BUSY].info.ttl_ms, LONG_MS);
    assert_true(batch[BUSY].info.held_ms >= 0 && batch[BUSY].info.held_ms < LONG_MS / 2);
    assert_true(batch[BUSY].info.remaining_ms > LONG_MS / 2 && batch[BUSY].info.remaining_ms <= LONG_MS);
    assert_status(batch[OURS], DLOCK_OK);
    assert_int_equal(batch[OURS].info.fence, ours);
    static const unsigned in_order_of_keys[] = {FREE, NEW, OVER};
    for (unsigned i = 0; i < 3; i++) {
        assert_status(batch[in_order_of_keys[i]], DLOCK_OK);
        assert_true(batch[in_order_of_keys[i]].info.fence > last);
        last = batch[in_order_of_keys[i]].info.fence;
    }
    for (unsigned i = 0; i < COUNT; i++) {
        const dlock_request seen = ask(other, DLOCK_INSPECT, keys[i], NULL, 0);
        assert_string_equal(seen.info.owner, i == BUSY ? "a holder with blanks" : "owner");
        assert_int_equal(seen.info.fence, batch[i].info.fence);
        assert_int_equal(seen.info.ttl_ms, LONG_MS);
        assert_true(seen.info.remaining_ms > LONG_MS / 2 && seen.info.remaining_ms <= LONG_MS);
    }

    /* To each its own ttl, and nothing to who does not hold the key, or does not any more. */
    sql(superuser, "UPDATE locks SET expires_at = clock_timestamp() WHERE key = 'over'");
    for (unsigned i = 0; i < COUNT; i++)
        batch[i] = request_of(DLOCK_EXTEND, keys[i], "owner", LONG_MS * (i + 2));
    ask_many(session, batch, COUNT);
    assert_true(session->prepared[STATEMENT_EXTEND_MANY]);
    for (unsigned i = 0; i < COUNT; i++) {
        const dlock_request seen = ask(other, DLOCK_INSPECT, keys[i], NULL, 0);
        assert_status(batch[i], i == BUSY || i == OVER ? DLOCK_LOST : DLOCK_OK);
        if (batch[i].status == DLOCK_OK)
            assert_true(seen.info.remaining_ms > LONG_MS * (i + 1) && seen.info.remaining_ms <= LONG_MS * (i + 2));
        else
            assert_string_equal(seen.info.owner, i == BUSY ? "a holder with blanks" : "");
    }

    for (unsigned i = 0; i < COUNT; i++)
        batch[i] = request_of(DLOCK_RELEASE, keys[i], "owner", 0);
    ask_many(session, batch, COUNT);
    assert_true(session->prepared[STATEMENT_RELEASE_MANY]);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_status(batch[i], i == BUSY || i == OVER ? DLOCK_LOST : DLOCK_OK);
        assert_holder(other, keys[i], i == BUSY ? "a holder with blanks" : "");
    }
    close_session(other);
    close_session(session);
}

/* What somebody else keeps locked holds up the one whose row it is, and none of those that are asked for with it: they
 * are carried out, and their rows are free for others, before that one is. */
static void a_locked_row_holds_up_no_other(void **state)
{
    const char *isolation = *state;
    static const struct {
        dlock_operation operation;
        const char *after; /* owner */
    } steps[] = {{DLOCK_ACQUIRE, "owner"}, {DLOCK_EXTEND, "owner"}, {DLOCK_RELEASE, ""}};
    void *session = open_session("%s?isolation=%s", direct, isolation), *other = open_session("%s", direct);
    PGconn *outsider = connect_as_superuser(&server, 0);
    static const char *const keys[] = {"a", "b", "c"};
    for (unsigned i = 0; i < 3; i++) {
        acquire(other, keys[i], "before", LONG_MS);
        assert_status(ask(other, DLOCK_RELEASE, keys[i], "before", 0), DLOCK_OK);
    }
    for (unsigned step = 0; step < 3; step++) {
        struct asking asking;
        dlock_request batch[3];
        for (unsigned i = 0; i < 3; i++)
            batch[i] = request_of(steps[step].operation, keys[i], "owner", LONG_MS);
        sql(outsider, "BEGIN; SELECT FROM locks WHERE key = 'b' FOR UPDATE");
        ask_many_in_thread(&asking, session, batch, 3);
        wait_until_one_waits_for(superuser, "transactionid");
        assert_holder(other, "a", steps[step].after);
        assert_holder(other, "c", steps[step].after);
        if (steps[step].after[0])
            assert_status(ask(other, DLOCK_EXTEND, "a", "owner", LONG_MS), DLOCK_OK);
        else
            acquire(other, "a", "next", LONG_MS);
        sql(outsider, "COMMIT");
        answer_of(&asking);
        for (unsigned i = 0; i < 3; i++)
            assert_status(batch[i], DLOCK_OK);
    }
    PQfinish(outsider);
    close_session(other);
    close_session(session);
}

/* Two keys that nobody had before: while they are about to go in, somebody else is faster with one of them. */
static void of_many_who_comes_second_is_told_who_was_first(void **state)
{
    const char *isolation = *state;
    struct asking asking;
    void *slow = open_session("%s?application_name=slow&isolation=%s", direct, isolation),
         *fast = open_session("%s", direct);
    dlock_request batch[] = {request_of(DLOCK_ACQUIRE, "mine", "slow", LONG_MS),
                             request_of(DLOCK_ACQUIRE, "raced", "slow", LONG_MS),
                             request_of(DLOCK_ACQUIRE, "returned", "slow", LONG_MS)};
    close_gate();
    ask_many_in_thread(&asking, slow, batch, 3);
    wait_until_slow_is_at_gate();
    const uint64_t fence = acquire(fast, "raced", "fast", LONG_MS),
                   returned = acquire(fast, "returned", "fast", LONG_MS);
    assert_status(ask(fast, DLOCK_RELEASE, "returned", "fast", 0), DLOCK_OK);
    open_gate();
    assert_status(answer_of(&asking), DLOCK_OK);
    assert_status(batch[1], DLOCK_BUSY);
    assert_string_equal(batch[1].info.owner, "fast");
    assert_int_equal(batch[1].info.fence, fence);
    assert_status(batch[2], DLOCK_OK);
    assert_true(batch[2].info.fence > returned);
    assert_holder(fast, "mine", "slow");
    remove_gate();
    close_session(fast);
    close_session(slow);
}

/* The row that was seen is deleted while the statement is about to take it, which puts one in its place that has no
 * number: that is no hold. The row is locked meanwhile, so only a trigger can make it happen. */
static void of_many_a_row_that_goes_meanwhile_is_made_anew(void **state)
{
    const char *isolation = *state;
    void *session = open_session("%s?isolation=%s", direct, isolation);
    uint64_t before = 0;
    static const char *const keys[] = {"kept", "swept"};
    for (unsigned i = 0; i < 2; i++) {
        before = acquire(session, keys[i], "before", LONG_MS);
        assert_status(ask(session, DLOCK_RELEASE, keys[i], "before", 0), DLOCK_OK);
    }
    sql(superuser, "CREATE OR REPLACE FUNCTION sweep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                   " DELETE FROM locks WHERE key = NEW.key AND key = 'swept' AND owner = ''; RETURN NEW; END $$");
    sql(superuser, "CREATE TRIGGER sweep BEFORE INSERT ON locks FOR EACH ROW EXECUTE FUNCTION sweep()");
    dlock_request batch[] = {request_of(DLOCK_ACQUIRE, keys[0], "owner", LONG_MS),
                             request_of(DLOCK_ACQUIRE, keys[1], "owner", LONG_MS)};
    ask_many(session, batch, 2);
    for (unsigned i = 0; i < 2; i++) {
        assert_status(batch[i], DLOCK_OK);
        assert_true(batch[i].info.fence > before);
        assert_holder(session, keys[i], "owner");
    }
    sql(superuser, "DROP TRIGGER sweep ON locks");
    close_session(session);
}

/* While the first of them is extended, the second ends. */
static void of_many_a_hold_that_ends_meanwhile_is_lost(void **state)
{
    const char *isolation = *state;
    struct asking asking;
    void *slow = open_session("%s?application_name=slow&isolation=%s", direct, isolation);
    acquire(slow, "long", "owner", LONG_MS);
    acquire(slow, "short", "owner", 1000);
    close_gate();
    sql(superuser, "DROP TRIGGER gate ON locks");
    sql(superuser, "CREATE TRIGGER gate BEFORE INSERT OR UPDATE ON locks FOR EACH ROW EXECUTE FUNCTION gate()");
    dlock_request batch[] = {request_of(DLOCK_EXTEND, "long", "owner", LONG_MS),
                             request_of(DLOCK_EXTEND, "short", "owner", LONG_MS)};
    ask_many_in_thread(&asking, slow, batch, 2);
    wait_until_slow_is_at_gate();
    wait_for(strcmp(sql(superuser, "SELECT expires_at < clock_timestamp() FROM locks WHERE key = 'short'"), "t") == 0);
    open_gate();
    assert_status(answer_of(&asking), DLOCK_OK);
    assert_status(batch[1], DLOCK_LOST);
    assert_holder(slow, "short", "");
    remove_gate();
    close_session(slow);
}

/* A deadlock is not an error to somebody who wants a lock, even if there is one each time. */
static void contention_is_no_error(void **state)
{
    (void)state;
    char url[300];
    void *session = NULL;
    dlock_error error;
    static const char *const codes[] = {"40001", "40P01"};
    snprintf(url, sizeof url, "%s?prefix=", direct);
    assert_int_equal(try_open(url, 1000, &session, &error), DLOCK_OK);
    for (unsigned i = 0; i < 2; i++) {
        sql(superuser,
            "CREATE OR REPLACE FUNCTION dead() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE EXCEPTION 'deadlock' USING ERRCODE = '%s'; END $$",
            codes[i]);
        sql(superuser, "CREATE TRIGGER dead BEFORE INSERT OR UPDATE ON locks FOR EACH ROW EXECUTE FUNCTION dead()");
        const dlock_request request = ask(session, DLOCK_ACQUIRE, "contended", "owner", LONG_MS);
        assert_status(request, DLOCK_BUSY);
        assert_true(request.contended);
        assert_true(request.not_done);
        assert_string_equal(request.info.owner, "");
        sql(superuser, "DROP TRIGGER dead ON locks");
        acquire(session, "contended", "owner", LONG_MS);
        sql(superuser, "CREATE TRIGGER dead BEFORE INSERT OR UPDATE ON locks FOR EACH ROW EXECUTE FUNCTION dead()");
        const dlock_request released = ask(session, DLOCK_RELEASE, "contended", "owner", 0);
        assert_status(released, DLOCK_UNAVAILABLE);
        assert_true(released.not_done);
        assert_non_null(strstr(released.message, "others used the same row"));
        sql(superuser, "DROP TRIGGER dead ON locks");
        assert_status(ask(session, DLOCK_RELEASE, "contended", "owner", 0), DLOCK_OK);
    }
    close_session(session);
}

/* ---- what is written ----------------------------------------------------------------------------------------------
 */

static long wal_position(void)
{
    return strtol(sql(superuser, "SELECT pg_current_wal_insert_lsn() - '0/0'"), NULL, 10);
}

/* Bytes of the log while `count` requests of each kind are refused, or only look. */
static long bytes_of_refusals(void *session, unsigned count)
{
    const long before = wal_position();
    for (unsigned i = 0; i < count; i++) {
        dlock_request batch[] = {request_of(DLOCK_ACQUIRE, "refused", "other", LONG_MS),
                                 request_of(DLOCK_ACQUIRE, "refused too", "other", LONG_MS)};
        ask_many(session, batch, 2);
        assert_status(batch[0], DLOCK_BUSY);
        assert_status(batch[1], DLOCK_BUSY);
        assert_status(ask(session, DLOCK_ACQUIRE, "refused", "other", LONG_MS), DLOCK_BUSY);
        assert_status(ask(session, DLOCK_EXTEND, "refused", "other", LONG_MS), DLOCK_LOST);
        assert_status(ask(session, DLOCK_RELEASE, "refused", "other", 0), DLOCK_LOST);
        assert_status(ask(session, DLOCK_INSPECT, "refused", NULL, 0), DLOCK_OK);
    }
    return wal_position() - before;
}

/* The server itself writes at times, for autovacuum and the like; but not all the time. */
static void refused_attempts_write_nothing(void **state)
{
    const char *isolation = *state;
    void *session = open_session("%s?isolation=%s", direct, isolation);
    acquire(session, "refused", "holder", LONG_MS);
    acquire(session, "refused too", "holder", LONG_MS);
    long bytes, least = LONG_MAX;
    for (unsigned turn = 0; turn < 100 && least > 0; turn++) {
        bytes = bytes_of_refusals(session, 50);
        least = bytes < least ? bytes : least;
    }
    assert_int_equal(least, 0);
    assert_status(ask(session, DLOCK_RELEASE, "refused", "holder", 0), DLOCK_OK);
    close_session(session);
}

/* ---- waking -------------------------------------------------------------------------------------------------------
 */

struct heard {
    const char *key;
    unsigned count;
};

static void hear(void *arg, const char *key)
{
    struct heard *heard = arg;
    heard->count += !key || strcmp(key, heard->key) == 0;
}

static void wait_for_hint(void *watcher, const char *key)
{
    struct heard heard = {.key = key};
    struct pollfd polled = {.fd = dlock_postgresql_storage.watch_fd(watcher), .events = POLLIN};
    dlock_error error;
    while (heard.count == 0) {
        assert_int_equal(poll(&polled, 1, 30000), 1);
        if (dlock_postgresql_storage.watch_read(watcher, hear, &heard, &error) != DLOCK_OK)
            fail_msg("watch_read: %s", error.message);
    }
}

/* How many notifications there have been: they take up the queue, whose position only grows. */
static void a_release_notifies_only_where_somebody_waits(void **state)
{
    (void)state;
    void *session = open_session("%s", direct), *watcher = open_session("%s", direct);
    PGconn *listener = connect_as_superuser(&server, 0);
    char channel[64];
    /* FNV-1a, 64 bits, as docs/storages.md has it: of "quiet" and "loud". */
    uint64_t hashes[2] = {0};
    const char *const keys[] = {"quiet", "loud"};
    for (unsigned i = 0; i < 2; i++) {
        hashes[i] = UINT64_C(14695981039346656037);
        for (const char *c = keys[i]; *c; c++)
            hashes[i] = (hashes[i] ^ (unsigned char)*c) * UINT64_C(1099511628211);
        snprintf(channel, sizeof channel, "LISTEN dlock_%016llx", (unsigned long long)hashes[i]);
        sql(listener, "%s", channel);
    }
    acquire(session, "quiet", "owner", LONG_MS);
    acquire(session, "loud", "owner", LONG_MS);
    assert_int_equal(dlock_postgresql_storage.watch(watcher, "loud", NULL), DLOCK_OK);
    wait_for_hint(watcher, "loud"); /* the mark is there */
    assert_status(ask(session, DLOCK_RELEASE, "quiet", "owner", 0), DLOCK_OK);
    assert_status(ask(session, DLOCK_RELEASE, "loud", "owner", 0), DLOCK_OK);
    wait_for_hint(watcher, "loud");
    sql(listener, "SELECT 1");
    PGnotify *notice = PQnotifies(listener);
    assert_non_null(notice);
    assert_string_equal(notice->extra, "+loud"); /* and nothing of the other */
    PQfreemem(notice);
    assert_null(PQnotifies(listener));
    PQfinish(listener);
    close_session(watcher);
    close_session(session);
}

static void of_many_released_each_is_told_on_its_own_channel(void **state)
{
    (void)state;
    static const char *const keys[] = {"first", "second", "third"};
    void *session = open_session("%s", direct), *watcher = open_session("%s", direct);
    dlock_request batch[3];
    for (unsigned i = 0; i < 3; i++) {
        acquire(session, keys[i], "owner", LONG_MS);
        batch[i] = request_of(DLOCK_RELEASE, keys[i], "owner", 0);
    }
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(dlock_postgresql_storage.watch(watcher, keys[i], NULL), DLOCK_OK);
        wait_for_hint(watcher, keys[i]); /* the mark is there */
    }
    PGconn *listener = connect_as_superuser(&server, 0);
    char channel[CHANNEL_SIZE], texts[3][16];
    for (unsigned i = 0; i < 3; i++) {
        statements_channel(keys[i], channel);
        snprintf(texts[i], sizeof texts[i], "+%s", keys[i]);
        sql(listener, "LISTEN %s", channel);
    }
    ask_many(session, batch, 3);
    sql(listener, "SELECT 1");
    for (unsigned i = 0; i < 2; i++) {
        PGnotify *notice = PQnotifies(listener);
        assert_non_null(notice);
        statements_channel(strcmp(notice->extra, texts[0]) == 0 ? "first" : "second", channel);
        assert_string_equal(notice->relname, channel);
        assert_true(strcmp(notice->extra, texts[0]) == 0 || strcmp(notice->extra, texts[1]) == 0);
        PQfreemem(notice);
    }
    assert_null(PQnotifies(listener)); /* nobody waits for the third */
    PQfinish(listener);
    close_session(watcher);
    close_session(session);
}

/* An old mark goes with the release that heeds it; who still waits leaves another. */
static void a_mark_goes_when_it_is_old_and_comes_again(void **state)
{
    (void)state;
    void *session = open_session("%s", direct), *watcher = open_session("%s", direct);
    acquire(session, "marked", "owner", LONG_MS);
    assert_int_equal(dlock_postgresql_storage.watch(watcher, "marked", NULL), DLOCK_OK);
    wait_for_hint(watcher, "marked");
    for (unsigned i = 0; i < 3; i++) {
        sql(superuser, "UPDATE locks SET waited_at = waited_at - interval '1 min' WHERE key = 'marked'");
        assert_status(ask(session, DLOCK_RELEASE, "marked", "owner", 0), DLOCK_OK);
        wait_for_hint(watcher, "marked"); /* of the release */
        wait_for_hint(watcher, "marked"); /* of the new mark */
        acquire(session, "marked", "owner", LONG_MS);
    }
    /* Nobody waits any more: the mark goes, and with it the notifications. */
    dlock_postgresql_storage.unwatch(watcher, "marked");
    close_session(watcher);
    for (unsigned i = 0; i < 2; i++) {
        sql(superuser, "UPDATE locks SET waited_at = waited_at - interval '1 min' WHERE key = 'marked' AND waited_at > "
                       "'-infinity'");
        assert_status(ask(session, DLOCK_RELEASE, "marked", "owner", 0), DLOCK_OK);
        acquire(session, "marked", "owner", LONG_MS);
    }
    assert_string_equal(sql(superuser, "SELECT waited_at IS NULL FROM locks WHERE key = 'marked'"), "t");
    assert_status(ask(session, DLOCK_RELEASE, "marked", "owner", 0), DLOCK_OK);
    close_session(session);
}

/* ---- through a pooler ---------------------------------------------------------------------------------------------
 */

/* What the pooler gives each transaction is another connection now and then: more sessions than it has, in turn. */
static void through_a_pooler_all_works_and_waiters_poll(void **state)
{
    const char *isolation = *state;
    enum { SESSIONS = 6 };
    void *sessions[SESSIONS];
    char url[2300], key[32];
    for (unsigned i = 0; i < SESSIONS; i++)
        sessions[i] = open_session("%s?isolation=%s", server.url, isolation);
    for (unsigned i = 0; i < 60; i++) {
        void *session = sessions[i % SESSIONS], *other = sessions[(i * 5 + 1) % SESSIONS];
        snprintf(key, sizeof key, "pooled %u", i % 7);
        acquire(session, key, "owner", LONG_MS);
        assert_status(ask(other, DLOCK_ACQUIRE, key, "other", LONG_MS), DLOCK_BUSY);
        assert_status(ask(other, DLOCK_EXTEND, key, "owner", LONG_MS), DLOCK_OK);
        assert_status(ask(session, DLOCK_RELEASE, key, "owner", 0), DLOCK_OK);
    }
    assert_int_equal(dlock_postgresql_storage.watch_fd(sessions[0]), -1);
    for (unsigned i = 0; i < SESSIONS; i++)
        close_session(sessions[i]);
    assert_string_equal(sql(superuser, "SELECT count(*) FROM pg_prepared_statements"), "0");

    struct shared shared = {0};
    snprintf(url, sizeof url, "%s?isolation=%s", server.url, isolation);
    assert_int_equal(hold_often(url, &shared), 0);
    assert_int_equal(shared.counter, HOLDS);
}

static void *release_soon(void *arg)
{
    dlock *lock = arg;
    wait_for(strcmp(sql(superuser, "SELECT count(*) FROM locks WHERE key = 'distributed-locks:polled'"), "1") == 0);
    assert_int_equal(dlock_release(lock, NULL), DLOCK_OK);
    return NULL;
}

static void a_waiter_behind_a_pooler_gets_its_turn(void **state)
{
    (void)state;
    dlock_error error;
    dlock_factory *factories[2];
    dlock *locks[2];
    pthread_t thread;
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(dlock_factory_open(server.url, NULL, &factories[i], &error), DLOCK_OK);
        assert_int_equal(dlock_create(factories[i], "polled", &locks[i], &error), DLOCK_OK);
    }
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;
    options.ttl_ms = LONG_MS;
    options.wait_ms = 30000;
    assert_int_equal(dlock_acquire(locks[0], &options, &error), DLOCK_OK);
    assert_int_equal(pthread_create(&thread, NULL, release_soon, locks[0]), 0);
    assert_int_equal(dlock_acquire(locks[1], &options, &error), DLOCK_OK);
    pthread_join(thread, NULL);
    for (unsigned i = 0; i < 2; i++) {
        dlock_free(locks[i]);
        dlock_factory_close(factories[i]);
    }
}

static bool pooler_gets_through(void)
{
    PGconn *connection = PQconnectdb(server.url);
    PGresult *result = PQexec(connection, "SELECT 1");
    const bool answered = PQresultStatus(result) == PGRES_TUPLES_OK;
    PQclear(result);
    PQfinish(connection);
    return answered;
}

/* It lives on while the server behind it is another, which may have forgotten numbers. */
static void a_session_that_a_pooler_carried_over_a_restart_gives_no_number_again(void **state)
{
    (void)state;
    void *session = open_session("%s", server.url);
    const uint64_t before = acquire(session, "carried", "owner", LONG_MS);
    sql(superuser, "SELECT setval('locks_fence_seq', %d)", 5);
    PQfinish(superuser);
    server_tell(&server, "kill 0");
    server_tell(&server, "start 0");
    superuser = connect_as_superuser(&server, 0);
    wait_for(pooler_gets_through()); /* a pooler that has just failed to ends the session */
    const dlock_request request = ask(session, DLOCK_ACQUIRE, "next", "owner", LONG_MS);
    assert_status(request, DLOCK_UNAVAILABLE);
    assert_true(request.not_done);
    assert_non_null(strstr(request.message, "the server was started since then"));
    dlock_request batch[] = {request_of(DLOCK_ACQUIRE, "next", "owner", LONG_MS),
                             request_of(DLOCK_ACQUIRE, "another", "owner", LONG_MS)};
    ask_many(session, batch, 2);
    assert_status(batch[0], DLOCK_UNAVAILABLE);
    assert_status(batch[1], DLOCK_UNAVAILABLE);
    close_session(session);
    session = open_session("%s", server.url);
    assert_true(acquire(session, "next", "owner", LONG_MS) > before);
    close_session(session);
}

/* A pooler that is not noticed when a session is opened: the server does not know what was prepared. */
static void a_server_that_forgot_what_was_prepared_is_told_again(void **state)
{
    (void)state;
    void *session = open_session("%s", direct);
    acquire(session, "forgotten", "owner", LONG_MS);
    dlock_request batch[] = {request_of(DLOCK_EXTEND, "forgotten", "owner", LONG_MS),
                             request_of(DLOCK_ACQUIRE, "forgotten", "other", LONG_MS),
                             request_of(DLOCK_RELEASE, "forgotten", "owner", 0)};
    dlock_request *const requests[] = {&batch[0], &batch[1], &batch[2]};
    ((struct postgresql_session *)session)->prepared[STATEMENT_EXTEND] = true;
    ((struct postgresql_session *)session)->prepared[STATEMENT_RELEASE] = true;
    dlock_postgresql_storage.execute(session, requests, 3);
    assert_status(batch[0], DLOCK_OK);
    assert_status(batch[1], DLOCK_BUSY);
    assert_status(batch[2], DLOCK_OK);
    assert_int_equal(dlock_postgresql_storage.watch_fd(session), -1);
    close_session(session);
}

static int empty_table(void **state)
{
    (void)state;
    sql(superuser, "TRUNCATE locks");
    return 0;
}

static char read_committed[] = "read-committed", repeatable_read[] = "repeatable-read";

/* A test that is run at each isolation. */
#define in_both(function)                                                                                              \
    {.name = #function ", READ COMMITTED",                                                                             \
     .test_func = function,                                                                                            \
     .setup_func = empty_table,                                                                                        \
     .initial_state = read_committed},                                                                                 \
    {                                                                                                                  \
        .name = #function ", REPEATABLE READ", .test_func = function, .setup_func = empty_table,                       \
        .initial_state = repeatable_read                                                                               \
    }

int main(void)
{
    server_start_or_skip(&server, "postgresql", "--pooler");
    superuser = connect_as_superuser(&server, 0);
    snprintf(direct, sizeof direct, "postgresql://dlock@127.0.0.1:%d/dlock", server_port(&server, 0));
    close_session(open_session("%s", direct)); /* makes the table */
    const struct CMUnitTest tests[] = {
        in_both(fences_follow_the_order_of_holds_although_one_is_held_up),
        in_both(who_comes_second_is_told_who_was_first),
        in_both(a_row_that_is_swept_meanwhile_is_made_anew),
        in_both(a_resend_beside_its_original_is_one_hold),
        in_both(a_hold_that_ends_while_its_extend_waits_is_lost),
        in_both(eight_processes_on_one_key_lose_nothing),
        cmocka_unit_test(a_batch_is_one_round_trip),
        cmocka_unit_test(an_answer_that_comes_soon_is_not_slept_for),
        in_both(one_that_fails_does_not_fail_its_neighbours),
        in_both(many_keys_are_asked_for_as_one_statement),
        in_both(a_locked_row_holds_up_no_other),
        in_both(of_many_who_comes_second_is_told_who_was_first),
        in_both(of_many_a_row_that_goes_meanwhile_is_made_anew),
        in_both(of_many_a_hold_that_ends_meanwhile_is_lost),
        cmocka_unit_test(contention_is_no_error),
        in_both(refused_attempts_write_nothing),
        cmocka_unit_test(a_release_notifies_only_where_somebody_waits),
        cmocka_unit_test(of_many_released_each_is_told_on_its_own_channel),
        cmocka_unit_test(a_mark_goes_when_it_is_old_and_comes_again),
        in_both(through_a_pooler_all_works_and_waiters_poll),
        cmocka_unit_test(a_waiter_behind_a_pooler_gets_its_turn),
        cmocka_unit_test(a_session_that_a_pooler_carried_over_a_restart_gives_no_number_again),
        cmocka_unit_test(a_server_that_forgot_what_was_prepared_is_told_again),
    };
    const int failed = cmocka_run_group_tests_name("postgresql-work", tests, NULL, NULL);
    PQfinish(superuser);
    server_stop(&server);
    return failed;
}
