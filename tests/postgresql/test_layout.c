/* test_layout.c - what a URL of the PostgreSQL storage says, and the table: how it is made, found, and refused. */
#include "fixture.h"

#include "../../storages/postgresql/internal.h"

#include <sys/wait.h>
#include <unistd.h>

static struct server server;
static PGconn *superuser;
static int port;

/* ---- the URL */

static void assert_quoted(const char *name, const char *wanted)
{
    char *quoted = options_quote_table(name);
    if (!wanted)
        assert_null(quoted);
    else
        assert_string_equal(quoted, wanted);
    free(quoted);
}

static void table_names_are_quoted(void **state)
{
    (void)state;
    char longest[65];
    memset(longest, 'x', 64);
    assert_quoted("locks", "\"locks\"");
    assert_quoted("My Locks", "\"My Locks\"");
    assert_quoted("app.locks", "\"app\".\"locks\"");
    assert_quoted("\"a.b\".\"c\"\"d\"", "\"a.b\".\"c\"\"d\"");
    assert_quoted("o\"x", "\"o\"\"x\"");
    assert_quoted("x'; DROP TABLE y; --", "\"x'; DROP TABLE y; --\"");
    assert_quoted("", NULL);
    assert_quoted("a.", NULL);
    assert_quoted(".a", NULL);
    assert_quoted("a.b.c", NULL);
    assert_quoted("\"a", NULL);
    assert_quoted("\"a\"b", NULL);
    longest[64] = '\0';
    assert_quoted(longest, NULL); /* the server would cut it */
    longest[63] = '\0';
    assert_true(strlen(longest) == 63);
    char *quoted = options_quote_table(longest);
    assert_non_null(quoted);
    free(quoted);
}

static void wrong_parameters_are_named(void **state)
{
    (void)state;
    char url[2300];
    const char *const wrong[][2] = {{"isolation=serializable", "expected read-committed or repeatable-read"},
                                    {"table=a.b.c", "expected NAME or SCHEMA.NAME"},
                                    {"tabel=locks", "'tabel'"},
                                    {"sslmode=perhaps", "sslmode"}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        snprintf(url, sizeof url, "%s?%s", server.url, wrong[i][0]);
        assert_refused(url, DLOCK_INVALID, wrong[i][1]);
    }
}

static void parts_can_be_given_as_fields(void **state)
{
    (void)state;
    void *one = open_session("%s", server.url);
    void *two = open_session(
        "postgres:?host=127.0.0.1&port=%d&database=dlock&username=dlock&table=locks&timeout_ms=5000", port);
    void *three = open_session("postgresql:dlock?host=127.0.0.1&port=%d&user=dlock&application_name=mine", port);
    acquire(one, "fields", "owner", LONG_MS);
    assert_holder(two, "fields", "owner");
    assert_holder(three, "fields", "owner");
    assert_string_equal(sql(superuser, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mine'"), "1");
    close_session(three);
    close_session(two);
    close_session(one);
}

static void what_libpq_finds_elsewhere_counts(void **state)
{
    (void)state;
    char text[600], path[] = "/tmp/dlock-test-XXXXXX";
    void *one = open_session("%s", server.url);
    acquire(one, "environment", "owner", LONG_MS);

    setenv("PGHOST", server_tell(&server, "folder 0"), 1); /* a socket */
    snprintf(text, sizeof text, "%d", port);
    setenv("PGPORT", text, 1);
    setenv("PGUSER", "dlock", 1);
    void *two = open_session("postgresql:");
    assert_holder(two, "environment", "owner");
    unsetenv("PGHOST");
    unsetenv("PGPORT");
    unsetenv("PGUSER");

    const int file = mkstemp(path);
    snprintf(text, sizeof text, "[locks]\nhost=127.0.0.1\nport=%d\nuser=dlock\ndbname=dlock\n", port);
    assert_int_equal(write(file, text, strlen(text)), strlen(text));
    close(file);
    setenv("PGSERVICEFILE", path, 1);
    void *three = open_session("postgresql:?service=locks");
    assert_holder(three, "environment", "owner");
    unsetenv("PGSERVICEFILE");
    unlink(path);
    close_session(three);
    close_session(two);
    close_session(one);
}

static void prefixes_keep_keys_apart(void **state)
{
    (void)state;
    void *one = open_session("%s?prefix=one", server.url), *two = open_session("%s?prefix=two", server.url);
    acquire(one, "key", "of one", LONG_MS);
    acquire(two, "key", "of two", LONG_MS);
    assert_holder(one, "key", "of one");
    assert_string_equal(sql(superuser, "SELECT owner FROM locks WHERE key = 'one:key'"), "of one");
    close_session(two);
    close_session(one);
}

static void strange_keys_are_kept_whole(void **state)
{
    (void)state;
    static const char *const keys[] = {"'",
                                       "\"",
                                       "%",
                                       "\\",
                                       "\\x41",
                                       "%s",
                                       "_",
                                       "'; DROP TABLE locks; --",
                                       "$1",
                                       "@T@",
                                       "\xE2\x82\xAC\xF0\x9F\x94\x92",
                                       " ",
                                       "\t\n\r",
                                       "E'\\\\'",
                                       "a\\"};
    enum { COUNT = sizeof keys / sizeof keys[0] };
    void *session = open_session("%s", server.url);
    for (size_t i = 0; i < COUNT; i++)
        acquire(session, keys[i], keys[i], LONG_MS);
    for (size_t i = 0; i < COUNT; i++) {
        assert_holder(session, keys[i], keys[i]);
        const dlock_request busy = ask(session, DLOCK_ACQUIRE, keys[i], "other", LONG_MS);
        assert_status(busy, DLOCK_BUSY);
        assert_string_equal(busy.info.owner, keys[i]);
        assert_status(ask(session, DLOCK_RELEASE, keys[i], keys[i], 0), DLOCK_OK);
    }
    close_session(session);
}

/* ---- the table */

static void the_table_is_made_where_it_is_asked_for(void **state)
{
    (void)state;
    sql(superuser, "CREATE SCHEMA \"Odd schema\" AUTHORIZATION dlock");
    void *session = open_session("%s?table=Odd%%20schema.The%%20%%22locks'", server.url);
    acquire(session, "key", "owner", LONG_MS);
    assert_string_equal(sql(superuser, "SELECT owner FROM \"Odd schema\".\"The \"\"locks'\" WHERE key = 'key'"),
                        "owner");
    close_session(session);
}

static void fences_of_a_new_table_go_on_behind_those_of_a_dropped_one(void **state)
{
    (void)state;
    void *session = open_session("%s?table=dropped", server.url);
    const uint64_t before = acquire(session, "key", "owner", LONG_MS);
    assert_true(before < UINT64_C(1) << 53); /* exact in languages whose numbers are doubles */
    sql(superuser, "DROP TABLE dropped");
    const dlock_request request = ask(session, DLOCK_ACQUIRE, "key", "owner", LONG_MS);
    assert_status(request, DLOCK_UNAVAILABLE);
    assert_true(request.not_done);
    assert_non_null(strstr(request.message, "was dropped while it was in use"));
    close_session(session);
    session = open_session("%s?table=dropped", server.url);
    assert_true(acquire(session, "key", "owner", LONG_MS) > before);
    close_session(session);
}

/* Each of twenty processes opens a table that is not there yet, and gets the key in turn or is told who has it. */
static void twenty_processes_may_start_at_once(void **state)
{
    (void)state;
    enum { PROCESSES = 20, TABLES = 4 };
    for (int table = 0; table < TABLES; table++) {
        pid_t children[PROCESSES];
        int go[2];
        assert_int_equal(pipe(go), 0);
        fflush(NULL);
        for (int i = 0; i < PROCESSES; i++) {
            children[i] = fork();
            if (children[i] == 0) {
                char byte, url[2300], owner[16];
                void *session = NULL;
                dlock_error error = {0};
                close(go[1]);
                snprintf(url, sizeof url, "%s?table=race%d", server.url, table);
                snprintf(owner, sizeof owner, "%d", i);
                if (read(go[0], &byte, 1) != 0) /* all begin when the parent closes its end */
                    _exit(1);
                if (try_open(url, 20000, &session, &error) != DLOCK_OK) {
                    fprintf(stderr, "# %s\n", error.message);
                    _exit(1);
                }
                const dlock_request request = ask(session, DLOCK_ACQUIRE, "key", owner, LONG_MS);
                if (request.status != DLOCK_OK && request.status != DLOCK_BUSY)
                    fprintf(stderr, "# %s\n", request.message);
                _exit(request.status == DLOCK_OK ? 2 : request.status == DLOCK_BUSY ? 0 : 1);
            }
        }
        close(go[0]);
        close(go[1]);
        int winners = 0;
        for (int i = 0; i < PROCESSES; i++) {
            int status;
            assert_int_equal(waitpid(children[i], &status, 0), children[i]);
            assert_true(WIFEXITED(status));
            assert_true(WEXITSTATUS(status) != 1);
            winners += WEXITSTATUS(status) == 2;
        }
        assert_int_equal(winners, 1);
    }
}

static void a_role_that_may_not_make_it_can_use_it(void **state)
{
    (void)state;
    char url[200];
    sql(superuser, "CREATE ROLE guest LOGIN");
    sql(superuser, "CREATE SCHEMA shared AUTHORIZATION dlock");
    sql(superuser, "GRANT USAGE ON SCHEMA shared TO guest");
    snprintf(url, sizeof url, "postgresql://guest@127.0.0.1:%d/dlock?table=shared.locks&prefix=", port);
    assert_refused(url, DLOCK_REFUSED, "cannot make table \"shared\".\"locks\"");
    assert_refused(url, DLOCK_REFUSED, "permission denied for schema shared");
    close_session(open_session("%s?table=shared.locks", server.url));

    assert_refused(url, DLOCK_REFUSED,
                   "SELECT, INSERT, UPDATE, DELETE on the table, and USAGE, UPDATE on its sequence");
    /* As docs/storages.md has it. */
    sql(superuser, "GRANT SELECT, INSERT, UPDATE, DELETE ON shared.locks TO guest");
    sql(superuser, "GRANT USAGE, UPDATE ON SEQUENCE shared.locks_fence_seq TO guest");
    void *session = open_session("%s", url);
    acquire(session, "key", "owner", LONG_MS);
    assert_status(ask(session, DLOCK_EXTEND, "key", "owner", LONG_MS), DLOCK_OK);
    assert_status(ask(session, DLOCK_RELEASE, "key", "owner", 0), DLOCK_OK);
    close_session(session);
}

static void what_is_no_table_of_locks_is_refused_and_left_alone(void **state)
{
    (void)state;
    static const struct {
        const char *make, *says;
    } others[] = {
        {"CREATE TABLE other (id text PRIMARY KEY, owner text, expires timestamptz)",
         "found id text, owner text, expires timestamp with time zone"},
        {"CREATE TABLE other (key text, owner text, fence bigint GENERATED BY DEFAULT AS IDENTITY, ttl_ms bigint,"
         " acquired_at timestamptz, expires_at timestamptz, waited_at timestamptz)",
         "a key that is unique"},
        {"CREATE TABLE other (key text PRIMARY KEY, owner text, fence bigint, ttl_ms bigint,"
         " acquired_at timestamptz, expires_at timestamptz, waited_at timestamptz)",
         "a fence with a sequence"},
        {"CREATE VIEW other AS SELECT 1 AS key", "is not a table"},
    };
    char url[2300];
    snprintf(url, sizeof url, "%s?table=other", server.url);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        sql(superuser, "%s", others[i].make);
        assert_refused(url, DLOCK_REFUSED, others[i].says);
        assert_refused(url, DLOCK_REFUSED, "give another name by the URL's parameter table");
        sql(superuser, strstr(others[i].make, "VIEW") ? "DROP VIEW other" : "DROP TABLE other");
    }
}

/* ---- warnings */

static char warnings[4096];

static void add_warning(void *arg, const char *text)
{
    (void)arg;
    snprintf(warnings + strlen(warnings), sizeof warnings - strlen(warnings), "%s\n", text);
}

static void assert_warned(void *session, const char *text)
{
    dlock_error error;
    warnings[0] = '\0';
    if (dlock_postgresql_storage.check(session, add_warning, NULL, &error) != DLOCK_OK)
        fail_msg("%s", error.message);
    if (!strstr(warnings, text))
        fail_msg("\"%s\" does not say \"%s\"", warnings, text);
}

static void check_warns_of_what_weakens_locks(void **state)
{
    (void)state;
    void *session = open_session("%s?table=checked", server.url);
    assert_warned(session, "fsync is off");
    assert_null(strstr(warnings, "synchronous_commit"));
    assert_null(strstr(warnings, "clock"));
    assert_null(strstr(warnings, "standby"));
    assert_null(strstr(warnings, "UNLOGGED"));
    assert_null(strstr(warnings, "pooler"));
    assert_null(strstr(warnings, "DELETE"));
    assert_null(strstr(warnings, "UTF8"));
    close_session(session);
    sql(superuser, "ALTER ROLE dlock SET synchronous_commit = off");
    sql(superuser, "ALTER TABLE checked SET UNLOGGED");
    session = open_session("%s?table=checked", server.url);
    assert_warned(session, "synchronous_commit is off");
    assert_warned(session, "UNLOGGED");
    close_session(session);
    sql(superuser, "ALTER ROLE dlock RESET synchronous_commit");
}

static void check_warns_of_a_role_that_may_not_delete(void **state)
{
    (void)state;
    void *session = open_session("%s?table=kept", server.url);
    sql(superuser, "REVOKE DELETE ON kept FROM dlock");
    assert_warned(session, "the role may not DELETE");
    close_session(session);
}

static void check_warns_of_an_encoding_that_lacks_characters(void **state)
{
    (void)state;
    sql(superuser, "CREATE DATABASE latin OWNER dlock ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    void *session = open_session("postgresql://dlock@127.0.0.1:%d/latin", port);
    assert_warned(session, "the database is not in UTF8");
    /* What the warning says. */
    acquire(session, "caf\xc3\xa9", "owner", LONG_MS);
    assert_status(ask(session, DLOCK_ACQUIRE, "\xe2\x82\xac", "owner", LONG_MS), DLOCK_INVALID);
    close_session(session);
}

int main(void)
{
    server_start_or_skip(&server, "postgresql");
    superuser = connect_as_superuser(&server, 0);
    port = server_port(&server, 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_names_are_quoted),
        cmocka_unit_test(wrong_parameters_are_named),
        cmocka_unit_test(parts_can_be_given_as_fields),
        cmocka_unit_test(what_libpq_finds_elsewhere_counts),
        cmocka_unit_test(prefixes_keep_keys_apart),
        cmocka_unit_test(strange_keys_are_kept_whole),
        cmocka_unit_test(the_table_is_made_where_it_is_asked_for),
        cmocka_unit_test(fences_of_a_new_table_go_on_behind_those_of_a_dropped_one),
        cmocka_unit_test(twenty_processes_may_start_at_once),
        cmocka_unit_test(a_role_that_may_not_make_it_can_use_it),
        cmocka_unit_test(what_is_no_table_of_locks_is_refused_and_left_alone),
        cmocka_unit_test(check_warns_of_what_weakens_locks),
        cmocka_unit_test(check_warns_of_a_role_that_may_not_delete),
        cmocka_unit_test(check_warns_of_an_encoding_that_lacks_characters),
    };
    const int failed = cmocka_run_group_tests_name("postgresql-layout", tests, NULL, NULL);
    PQfinish(superuser);
    server_stop(&server);
    return failed;
}
