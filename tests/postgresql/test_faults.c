/* test_faults.c - what goes wrong with a PostgreSQL server and the network before it: each fault is made, and has the
 * right status and a message that names its cause. */
#include "fixture.h"

#include <unistd.h>

static struct server server; /* with a password, which no message may show: see assert_refused */
static struct proxy proxy;
static PGconn *superuser;
static char behind_proxy[200];

static void *open_behind_proxy(void)
{
    return open_session("%s", behind_proxy);
}

/* No answer, and the message says this; `not_done` as given. */
#define assert_no_answer(request, undone, text)                                                                        \
    do {                                                                                                               \
        const dlock_request got = (request);                                                                           \
        assert_status(got, DLOCK_UNAVAILABLE);                                                                         \
        if (!strstr(got.message, text))                                                                                \
            fail_msg("%s:%d: \"%s\" does not say \"%s\"", __FILE__, __LINE__, got.message, text);                      \
        assert_null(strstr(got.message, "s3cret"));                                                                    \
        assert_int_equal(got.not_done, undone);                                                                        \
        assert_string_equal(got.info.owner, "");                                                                       \
    } while (0)

static char warnings[4096];

static void add_warning(void *arg, const char *text)
{
    (void)arg;
    snprintf(warnings + strlen(warnings), sizeof warnings - strlen(warnings), "%s\n", text);
}

static void check(void *session)
{
    dlock_error error;
    warnings[0] = '\0';
    if (dlock_postgresql_storage.check(session, add_warning, NULL, &error) != DLOCK_OK)
        fail_msg("%s", error.message);
}

/* ---- the network */

static void a_lost_reply_is_an_unknown_outcome(void **state)
{
    (void)state;
    void *session = open_behind_proxy(), *other = open_session("%s", server.url);
    acquire(session, "prepared", "owner", LONG_MS);
    proxy_drop_replies(&proxy, 1, PROXY_FIN);
    assert_no_answer(ask(session, DLOCK_ACQUIRE, "lost reply", "owner", LONG_MS), false, "the connection");
    proxy_pass(&proxy);
    close_session(session);
    assert_holder(other, "lost reply", "owner"); /* it was carried out */
    session = open_behind_proxy();
    const uint64_t fence = acquire(session, "lost reply", "owner", LONG_MS); /* so a resend finds its own hold */
    assert_int_equal(ask(other, DLOCK_INSPECT, "lost reply", NULL, 0).info.fence, fence);
    proxy_drop_replies(&proxy, 1, PROXY_RST);
    assert_no_answer(ask(session, DLOCK_RELEASE, "lost reply", "owner", 0), false, "the connection");
    proxy_pass(&proxy);
    assert_holder(other, "lost reply", "");
    close_session(other);
    close_session(session);
}

/* A batch of which some replies come and others do not: who has none does not know, who has one does. */
static void a_connection_that_is_cut_within_a_batch_leaves_the_rest_unknown(void **state)
{
    (void)state;
    enum { COUNT = 30 };
    void *session = open_behind_proxy(), *other = open_session("%s", server.url);
    acquire(session, "prepared", "owner", LONG_MS);
    dlock_request batch[COUNT], *requests[COUNT];
    char keys[COUNT][16];
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(keys[i], sizeof keys[i], "cut %u", i);
        batch[i] = request_of(i == 0 ? DLOCK_INSPECT : DLOCK_ACQUIRE, keys[i], "owner", LONG_MS);
        requests[i] = &batch[i];
    }
    proxy_cut_after(&proxy, 1500, PROXY_RST);
    dlock_postgresql_storage.execute(session, requests, COUNT);
    proxy_pass(&proxy);
    /* What was answered is not known to be on disk, since the last one did not say so. */
    assert_status(batch[0], DLOCK_OK);
    for (unsigned i = 1; i < COUNT; i++)
        assert_status(batch[i], DLOCK_UNAVAILABLE);
    assert_false(batch[1].not_done);
    close_session(other);
    close_session(session);
}

static void a_server_that_is_silent_is_not_waited_for(void **state)
{
    (void)state;
    void *session = NULL;
    dlock_error error;
    assert_int_equal(try_open(behind_proxy, 1000, &session, &error), DLOCK_OK);
    acquire(session, "silence", "owner", LONG_MS);
    proxy_black_hole(&proxy);
    const int64_t before = dlock_clock_us();
    assert_no_answer(ask(session, DLOCK_EXTEND, "silence", "owner", LONG_MS), false, "no answer within 1000 ms");
    assert_true(dlock_clock_us() - before >= 1000000);
    close_session(session);
    assert_int_equal(try_open(behind_proxy, 300, &session, &error), DLOCK_UNAVAILABLE);
    assert_non_null(strstr(error.message, "no connection to server 127.0.0.1:"));
    proxy_pass(&proxy);
    proxy_enter(&proxy, PROXY_SILENCE);
    assert_int_equal(try_open(behind_proxy, 300, &session, &error), DLOCK_UNAVAILABLE);
    assert_non_null(strstr(error.message, "no connection to server 127.0.0.1:"));
    proxy_enter(&proxy, PROXY_REFUSE);
    assert_refused(behind_proxy, DLOCK_UNAVAILABLE, "refused");
    proxy_enter(&proxy, PROXY_ACCEPT);
}

static void one_silent_host_does_not_hide_another(void **state)
{
    (void)state;
    char url[400];
    void *session = NULL;
    dlock_error error;
    snprintf(url, sizeof url, "postgresql://dlock:s3cret@127.0.0.1:%d,127.0.0.1:%d/dlock", proxy.port,
             server_port(&server, 0));
    proxy_enter(&proxy, PROXY_SILENCE);
    if (try_open(url, 2000, &session, &error) != DLOCK_OK)
        fail_msg("%s", error.message);
    close_session(session);
    proxy_enter(&proxy, PROXY_REFUSE);
    if (try_open(url, 2000, &session, &error) != DLOCK_OK)
        fail_msg("%s", error.message);
    close_session(session);
    proxy_enter(&proxy, PROXY_ACCEPT);
}

static void replies_may_come_byte_by_byte(void **state)
{
    (void)state;
    proxy_trickle(&proxy, true);
    void *session = open_behind_proxy();
    acquire(session, "trickle", "owner", LONG_MS);
    assert_status(ask(session, DLOCK_ACQUIRE, "trickle", "other", LONG_MS), DLOCK_BUSY);
    assert_status(ask(session, DLOCK_RELEASE, "trickle", "owner", 0), DLOCK_OK);
    proxy_trickle(&proxy, false);
    close_session(session);
}

/* ---- the server ends something */

static int process_of(const char *name)
{
    return (int)strtol(sql(superuser, "SELECT pid FROM pg_stat_activity WHERE application_name = '%s'", name), NULL,
                       10);
}

static void wait_until_gone(const char *name)
{
    wait_for(process_of(name) == 0);
}

static void a_session_that_is_terminated_at_work_says_so(void **state)
{
    (void)state;
    void *idle = open_session("%s?application_name=idle", server.url),
         *busy = open_session("%s?application_name=busy", server.url), *other = open_session("%s", server.url);
    acquire(other, "terminated", "owner", LONG_MS);
    sql(superuser, "SELECT pg_terminate_backend(%d)", process_of("idle"));
    wait_until_gone("idle");
    acquire(idle, "ended while idle", "owner", LONG_MS); /* nothing was under way, so a new connection does */
    assert_holder(other, "ended while idle", "owner");
    sql(superuser, "SELECT pg_terminate_backend(%d)", process_of("idle"));
    wait_until_gone("idle");
    check(idle);

    struct asking asking;
    sql(superuser,
        "BEGIN; SELECT 1 FROM locks WHERE key = 'distributed-locks:terminated' OR key = 'terminated' FOR UPDATE");
    ask_in_thread(&asking, busy, DLOCK_EXTEND, "terminated", "owner", LONG_MS);
    PGconn *second = connect_as_superuser(&server, 0);
    wait_for(strcmp(sql(second, "SELECT wait_event_type FROM pg_stat_activity WHERE application_name = 'busy'"),
                    "Lock") == 0);
    sql(second, "SELECT pg_terminate_backend(%d)", process_of("busy"));
    assert_no_answer(answer_of(&asking), true, "administrator command");
    sql(superuser, "COMMIT");
    PQfinish(second);
    assert_status(ask(other, DLOCK_RELEASE, "terminated", "owner", 0), DLOCK_OK);
    close_session(other);
    close_session(busy);
    close_session(idle);
}

static void limits_of_the_server_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *setting, *says;
    } limits[] = {{"statement_timeout", "57014"}, {"lock_timeout", "55P03"}};
    void *other = open_session("%s", server.url);
    acquire(other, "limited", "owner", LONG_MS);
    for (unsigned i = 0; i < 2; i++) {
        sql(superuser, "ALTER ROLE dlock SET %s = '200ms'", limits[i].setting);
        void *session = open_session("%s", server.url);
        sql(superuser, "BEGIN; SELECT 1 FROM locks WHERE key = 'limited' FOR UPDATE");
        assert_no_answer(ask(session, DLOCK_RELEASE, "limited", "owner", 0), true, limits[i].says);
        sql(superuser, "COMMIT");
        assert_status(ask(session, DLOCK_EXTEND, "limited", "owner", LONG_MS), DLOCK_OK); /* still of use */
        sql(superuser, "ALTER ROLE dlock RESET %s", limits[i].setting);
        close_session(session);
    }
    assert_status(ask(other, DLOCK_RELEASE, "limited", "owner", 0), DLOCK_OK);
    close_session(other);
}

static void a_session_that_idled_too_long_is_made_anew(void **state)
{
    (void)state;
    if (strtol(sql(superuser, "SHOW server_version_num"), NULL, 10) < 140000)
        skip(); /* there is no such limit */
    sql(superuser, "ALTER ROLE dlock SET idle_session_timeout = '50ms'");
    void *session = open_session("%s?application_name=idler", server.url);
    sql(superuser, "ALTER ROLE dlock RESET idle_session_timeout");
    wait_until_gone("idler");
    acquire(session, "idle", "owner", LONG_MS);
    assert_string_equal(server_tell(&server, "log 0 idle-session timeout"), "");
    close_session(session);
}

/* The holder notices nothing; what it held it holds. */
static void a_restart_forgets_nothing(void **state)
{
    (void)state;
    void *session = open_session("%s", server.url);
    const uint64_t before = acquire(session, "restart", "owner", LONG_MS);
    PQfinish(superuser);
    server_tell(&server, "kill");
    assert_no_answer(ask(session, DLOCK_EXTEND, "restart", "owner", LONG_MS), true, "refused");
    assert_refused(server.url, DLOCK_UNAVAILABLE, "refused");
    server_tell(&server, "start");
    superuser = connect_as_superuser(&server, 0);
    close_session(session);
    session = open_session("%s", server.url);
    assert_holder(session, "restart", "owner");
    assert_status(ask(session, DLOCK_EXTEND, "restart", "owner", LONG_MS), DLOCK_OK);
    assert_status(ask(session, DLOCK_RELEASE, "restart", "owner", 0), DLOCK_OK);
    assert_true(acquire(session, "restart", "owner", LONG_MS) > before);
    close_session(session);
}

/* ---- what is refused */

static void what_keeps_a_client_out_is_named(void **state)
{
    (void)state;
    const int port = server_port(&server, 0);
    char url[2300];
    snprintf(url, sizeof url, "postgresql://dlock:s3cret2@127.0.0.1:%d/dlock", port);
    assert_refused(url, DLOCK_REFUSED, "password authentication failed for user \"dlock\"");
    snprintf(url, sizeof url, "postgresql://dlock@127.0.0.1:%d/dlock?passfile=/nowhere", port);
    assert_refused(url, DLOCK_REFUSED, "no password supplied");
    snprintf(url, sizeof url, "postgresql://dlock:s3cret@127.0.0.1:%d/nowhere", port);
    assert_refused(url, DLOCK_REFUSED, "database \"nowhere\" does not exist");
    snprintf(url, sizeof url, "postgresql://nobody:s3cret@127.0.0.1:%d/dlock", port);
    assert_refused(url, DLOCK_REFUSED, "role \"nobody\" does not exist");
    snprintf(url, sizeof url, "%s?sslmode=require", server.url);
    assert_refused(url, DLOCK_REFUSED, "SSL");
    snprintf(url, sizeof url, "%s?table=missing.locks", server.url);
    assert_refused(url, DLOCK_REFUSED, "schema \"missing\" does not exist");
    sql(superuser, "ALTER ROLE dlock CONNECTION LIMIT 1");
    void *session = open_session("%s", server.url);
    assert_refused(server.url, DLOCK_UNAVAILABLE, "too many connections for role \"dlock\"");
    close_session(session);
    sql(superuser, "ALTER ROLE dlock CONNECTION LIMIT -1");
    sql(superuser, "ALTER ROLE dlock SET default_transaction_read_only = on");
    assert_refused(server.url, DLOCK_REFUSED, "default_transaction_read_only");
    sql(superuser, "ALTER ROLE dlock RESET default_transaction_read_only");
}

static void a_right_that_is_taken_away_is_missed(void **state)
{
    (void)state;
    void *session = open_session("%s", server.url);
    acquire(session, "rights", "owner", LONG_MS);
    sql(superuser, "ALTER TABLE locks OWNER TO postgres");
    const dlock_request request = ask(session, DLOCK_EXTEND, "rights", "owner", LONG_MS);
    assert_status(request, DLOCK_REFUSED);
    assert_non_null(strstr(request.message, "permission denied for table locks"));
    sql(superuser, "ALTER TABLE locks OWNER TO dlock");
    assert_status(ask(session, DLOCK_EXTEND, "rights", "owner", LONG_MS), DLOCK_OK);
    close_session(session);
}

static void a_server_that_wants_tls_says_so(void **state)
{
    (void)state;
    struct server wants;
    char url[300];
    server_start(&wants, "postgresql", "--tls");
    close_session(open_session("%s", wants.url));
    snprintf(url, sizeof url, "postgresql://dlock@127.0.0.1:%d/dlock?sslmode=disable", server_port(&wants, 0));
    assert_refused(url, DLOCK_REFUSED, "no encryption");
    const int port = server_port(&wants, 0);
    snprintf(url, sizeof url,
             "postgresql://dlock@127.0.0.1:%d/dlock?sslmode=verify-full&sslrootcert=%.128s/other-ca.pem", port,
             server_tell(&wants, "folder"));
    assert_refused(url, DLOCK_REFUSED, "certificate verify failed");
    server_stop(&wants);
}

static void a_full_disk_is_named_and_survived(void **state)
{
    (void)state;
    struct server small;
    char key[520];
    server_start(&small, "postgresql", "--small-disk");
    void *session = open_session("%s", small.url);
    acquire(session, "held", "owner", LONG_MS);
    server_tell(&small, "fill");
    memset(key, 'k', sizeof key);
    dlock_request request;
    unsigned count = 0;
    do {
        snprintf(key + 490, 22, "%u", count++);
        request = ask(session, DLOCK_ACQUIRE, key, "owner", LONG_MS);
    } while (request.status == DLOCK_OK && count < 10000);
    assert_no_answer(request, true, "no space left on the server's disk");
    assert_holder(session, key, "");
    assert_status(ask(session, DLOCK_ACQUIRE, "held", "other", LONG_MS), DLOCK_BUSY);
    assert_status(ask(session, DLOCK_EXTEND, "held", "owner", LONG_MS), DLOCK_OK); /* it changes in place */
    server_tell(&small, "free");
    acquire(session, key, "owner", LONG_MS);
    assert_status(ask(session, DLOCK_RELEASE, "held", "owner", 0), DLOCK_OK);
    close_session(session);
    server_stop(&small);
}

/* ---- standbys */

/* Waits until a session of the storage waits for the standby; returns its process. */
static int wait_for_replication(PGconn *connection)
{
    const char *pid;
    wait_for(
        strcmp(pid = sql(connection, "SELECT coalesce(max(pid), 0) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"),
               "0") != 0);
    return (int)strtol(pid, NULL, 10);
}

/* A batch is not answered before its commits are confirmed. Of its three requests, this is what the last is answered
 * when they are not, and the first is an acquire. */
static void assert_batch_waits(void *session, PGconn *primary, dlock_request second, dlock_request last,
                               dlock_status wanted)
{
    struct asking asking;
    dlock_request batch[] = {request_of(DLOCK_ACQUIRE, "one", "owner", LONG_MS), second, last};
    ask_many_in_thread(&asking, session, batch, 3);
    sql(primary, "SELECT pg_cancel_backend(%d)", wait_for_replication(primary));
    assert_no_answer(answer_of(&asking), false, "canceling wait for synchronous replication");
    if (second.operation == DLOCK_INSPECT)
        assert_status(batch[1], DLOCK_OK);
    else
        assert_no_answer(batch[1], false, "canceling wait for synchronous replication");
    if (wanted == DLOCK_UNAVAILABLE)
        assert_no_answer(batch[2], false, "canceling wait for synchronous replication");
    else
        assert_status(batch[2], wanted);
}

/* The server says "done" in that case too: what is not confirmed by the standby may be gone after a fail-over. */
static void a_commit_that_a_standby_did_not_confirm_is_unknown(void **state)
{
    (void)state;
    struct server pair;
    struct asking asking;
    server_start(&pair, "postgresql", "--standby", "--synchronous");
    PGconn *primary = connect_as_superuser(&pair, 0);
    void *session = open_session("postgresql://dlock@127.0.0.1:%d/dlock", server_port(&pair, 0));
    acquire(session, "confirmed", "owner", LONG_MS);
    check(session);
    assert_null(strstr(warnings, "asynchronous"));
    server_tell(&pair, "pause 1");

    ask_in_thread(&asking, session, DLOCK_ACQUIRE, "cancelled", "owner", LONG_MS);
    sql(primary, "SELECT pg_cancel_backend(%d)", wait_for_replication(primary));
    assert_no_answer(answer_of(&asking), false, "canceling wait for synchronous replication");

    ask_in_thread(&asking, session, DLOCK_EXTEND, "confirmed", "owner", LONG_MS);
    sql(primary, "SELECT pg_cancel_backend(%d)", wait_for_replication(primary));
    assert_no_answer(answer_of(&asking), false, "canceling wait for synchronous replication");

    ask_in_thread(&asking, session, DLOCK_ACQUIRE, "terminated", "owner", LONG_MS);
    sql(primary, "SELECT pg_terminate_backend(%d)", wait_for_replication(primary));
    assert_no_answer(answer_of(&asking), false, "");
    close_session(session);
    server_tell(&pair, "resume 1");
    session = open_session("postgresql://dlock@127.0.0.1:%d/dlock", server_port(&pair, 0));
    server_tell(&pair, "pause 1");
    assert_status(ask(session, DLOCK_RELEASE, "confirmed", "owner", 0), DLOCK_OK); /* it need not last */
    const dlock_request look = request_of(DLOCK_INSPECT, "one", NULL, 0),          /* those of one key travel alone */
        beside = request_of(DLOCK_ACQUIRE, "beside", "owner", LONG_MS),
                        two = request_of(DLOCK_ACQUIRE, "two", "owner", LONG_MS),
                        extend = request_of(DLOCK_EXTEND, "free", "owner", LONG_MS),
                        look_at_two = request_of(DLOCK_INSPECT, "two", NULL, 0),
                        release = request_of(DLOCK_RELEASE, "one", "owner", 0);
    assert_batch_waits(session, primary, look, two, DLOCK_UNAVAILABLE);   /* the last one waits for all of them */
    assert_batch_waits(session, primary, beside, two, DLOCK_UNAVAILABLE); /* also if they are one statement */
    assert_batch_waits(session, primary, look, extend, DLOCK_LOST);       /* which it cannot: something else does */
    assert_batch_waits(session, primary, beside, extend, DLOCK_LOST);
    assert_batch_waits(session, primary, look, look_at_two, DLOCK_OK); /* nor this: the one before does */
    assert_batch_waits(session, primary, look, release, DLOCK_OK);     /* nor this */
    close_session(session);

    /* Its answer was not believed, but it stands: a resend is answered when the standby is there again. */
    server_tell(&pair, "resume 1");
    session = open_session("postgresql://dlock@127.0.0.1:%d/dlock", server_port(&pair, 0));
    assert_holder(session, "cancelled", "owner");
    acquire(session, "cancelled", "owner", LONG_MS);
    close_session(session);
    PQfinish(primary);
    server_stop(&pair);
}

static void a_fail_over_goes_on_with_what_was_confirmed(void **state)
{
    (void)state;
    struct server pair;
    char url[200];
    server_start(&pair, "postgresql", "--standby", "--synchronous", "--config", "synchronous_commit = remote_apply");
    snprintf(url, sizeof url, "postgresql://dlock@127.0.0.1:%d/dlock", server_port(&pair, 1));
    void *session = open_session("%s", pair.url);
    const uint64_t before = acquire(session, "key", "owner", LONG_MS);
    assert_refused(url, DLOCK_UNAVAILABLE, "the server is a standby");
    /* Whichever stands first, the primary is found. */
    snprintf(url, sizeof url, "postgresql://dlock@127.0.0.1:%d,127.0.0.1:%d/dlock?prefix=", server_port(&pair, 1),
             server_port(&pair, 0));
    void *other = open_session("%s", url);
    assert_holder(other, "key", "owner");

    server_tell(&pair, "kill 0");
    assert_no_answer(ask(session, DLOCK_EXTEND, "key", "owner", LONG_MS), true, "the server is a standby");
    assert_refused(url, DLOCK_UNAVAILABLE, "the server is a standby");
    server_tell(&pair, "sql 1 ALTER SYSTEM SET synchronous_standby_names = ''");
    server_tell(&pair, "promote 1");
    server_tell(&pair, "sql 1 SELECT pg_reload_conf()");
    close_session(other);
    close_session(session);
    session = open_session("%s", pair.url);
    assert_holder(session, "key", "owner");
    assert_status(ask(session, DLOCK_ACQUIRE, "key", "other", LONG_MS), DLOCK_BUSY);
    assert_status(ask(session, DLOCK_RELEASE, "key", "owner", 0), DLOCK_OK);
    assert_true(acquire(session, "key", "other", LONG_MS) > before);
    close_session(session);
    server_stop(&pair);
}

/* Holds are gone with the commits that the standby had not received, and so are numbers of the sequence. */
static void a_fail_over_that_forgets_gives_no_number_again(void **state)
{
    (void)state;
    struct server pair;
    server_start(&pair, "postgresql", "--standby");
    PGconn *primary = connect_as_superuser(&pair, 0);
    void *session = open_session("%s", pair.url);
    acquire(session, "key", "known", LONG_MS);
    sql(primary, "SELECT pg_switch_wal()");
    wait_for(strcmp(sql(primary, "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn = pg_current_wal_lsn()"),
                    "1") == 0);
    server_tell(&pair, "pause 1");
    uint64_t last = 0;
    for (int i = 0; i < 100; i++) {
        assert_status(ask(session, DLOCK_RELEASE, "key", i == 0 ? "known" : "forgotten", 0), DLOCK_OK);
        last = acquire(session, "key", "forgotten", LONG_MS);
    }
    close_session(session);
    PQfinish(primary);
    server_tell(&pair, "kill 0");
    server_tell(&pair, "kill 1"); /* with what the kernel has for it */
    server_tell(&pair, "start 1");
    server_tell(&pair, "promote 1");
    session = open_session("postgresql://dlock@127.0.0.1:%d/dlock", server_port(&pair, 1));
    assert_holder(session, "key", "known");
    assert_true(acquire(session, "other", "owner", LONG_MS) > last);
    /* Once for all sessions. */
    void *second = open_session("postgresql://dlock@127.0.0.1:%d/dlock", server_port(&pair, 1));
    const uint64_t next = acquire(session, "one", "owner", LONG_MS);
    assert_true(acquire(second, "two", "owner", LONG_MS) == next + 1);
    close_session(second);
    close_session(session);
    server_stop(&pair);
}

static void check_warns_of_asynchronous_standbys(void **state)
{
    (void)state;
    struct server pair;
    server_start(&pair, "postgresql", "--standby");
    PGconn *primary = connect_as_superuser(&pair, 0);
    void *session = open_session("postgresql://dlock@127.0.0.1:%d/dlock", server_port(&pair, 0));
    wait_for(strcmp(sql(primary, "SELECT count(*) FROM pg_stat_replication"), "1") == 0);
    check(session);
    assert_non_null(strstr(warnings, "the standbys are asynchronous: after a fail-over"));
    close_session(session);
    PQfinish(primary);
    server_stop(&pair);
}

/* The server's clock is put an hour ahead for this role, by a function of the same name that it finds first. */
static void check_warns_of_clocks_that_differ(void **state)
{
    (void)state;
    close_session(open_session("%s", server.url));
    sql(superuser, "CREATE SCHEMA ahead");
    sql(superuser, "GRANT USAGE ON SCHEMA ahead TO dlock");
    sql(superuser, "CREATE FUNCTION ahead.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS"
                   " 'SELECT pg_catalog.clock_timestamp() + interval ''1 hour'''");
    sql(superuser, "ALTER ROLE dlock SET search_path = ahead, pg_catalog, public");
    void *session = open_session("%s", server.url);
    check(session);
    assert_non_null(strstr(warnings, "the clocks of this machine and of the server are 3"));
    close_session(session);
    sql(superuser, "ALTER ROLE dlock RESET search_path");
}

int main(void)
{
    server_start_or_skip(&server, "postgresql", "--password", "s3cret");
    proxy_start(&proxy, "127.0.0.1", server_port(&server, 0));
    superuser = connect_as_superuser(&server, 0);
    snprintf(behind_proxy, sizeof behind_proxy, "postgresql://dlock:s3cret@127.0.0.1:%d/dlock", proxy.port);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lost_reply_is_an_unknown_outcome),
        cmocka_unit_test(a_connection_that_is_cut_within_a_batch_leaves_the_rest_unknown),
        cmocka_unit_test(a_server_that_is_silent_is_not_waited_for),
        cmocka_unit_test(one_silent_host_does_not_hide_another),
        cmocka_unit_test(replies_may_come_byte_by_byte),
        cmocka_unit_test(a_session_that_is_terminated_at_work_says_so),
        cmocka_unit_test(limits_of_the_server_are_named),
        cmocka_unit_test(a_session_that_idled_too_long_is_made_anew),
        cmocka_unit_test(a_restart_forgets_nothing),
        cmocka_unit_test(what_keeps_a_client_out_is_named),
        cmocka_unit_test(a_right_that_is_taken_away_is_missed),
        cmocka_unit_test(a_server_that_wants_tls_says_so),
        cmocka_unit_test(a_full_disk_is_named_and_survived),
        cmocka_unit_test(a_commit_that_a_standby_did_not_confirm_is_unknown),
        cmocka_unit_test(a_fail_over_goes_on_with_what_was_confirmed),
        cmocka_unit_test(a_fail_over_that_forgets_gives_no_number_again),
        cmocka_unit_test(check_warns_of_asynchronous_standbys),
        cmocka_unit_test(check_warns_of_clocks_that_differ),
    };
    const int failed = cmocka_run_group_tests_name("postgresql-faults", tests, NULL, NULL);
    PQfinish(superuser);
    proxy_stop(&proxy);
    server_stop(&server);
    return failed;
}
