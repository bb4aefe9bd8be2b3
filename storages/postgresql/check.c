/* check.c - warns of settings and circumstances of a server that weaken its locks.
 *
 * Called by the core for `dlock check`. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A difference of clocks from which on somebody's clock is not set. */
#define CLOCKS_APART_MS 1000

/* Columns of check_sql. */
enum { CLOCK, SYNCHRONOUS_COMMIT, FSYNC, STANDBYS, WAITED_FOR, ENCODING, UNLOGGED, MAY_DELETE };

static const char check_sql[] =
    "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint, current_setting('synchronous_commit'),"
    " current_setting('fsync'), (SELECT count(*) FROM pg_stat_get_wal_senders()),"
    " current_setting('synchronous_standby_names') <> '', current_setting('server_encoding'),"
    " (SELECT relpersistence <> 'p' FROM pg_class WHERE oid = to_regclass($1)), has_table_privilege($1, 'DELETE')";

struct checking {
    void (*warn)(void *arg, const char *text);
    void *arg;
    const PGresult *row;
};

static bool is(const struct checking *checking, int column, const char *text)
{
    return strcmp(PQgetvalue(checking->row, 0, column), text) == 0;
}

static int64_t wall_clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

/* The server read its clock between `before` and `after`. */
static void check_clock(const struct checking *checking, int64_t before, int64_t after)
{
    char text[256];
    const int64_t server = atoll(PQgetvalue(checking->row, 0, CLOCK));
    const int64_t apart = server < before ? before - server : server > after ? server - after : 0;
    if (apart < CLOCKS_APART_MS)
        return;
    snprintf(
        text, sizeof text,
        "the clocks of this machine and of the server are %lld ms apart, so one of them is not kept right: when the "
        "server's is set, or another server with another clock takes over, leases end too early or too late",
        (long long)apart);
    checking->warn(checking->arg, text);
}

static void check_commits(const struct checking *checking)
{
    const bool local = is(checking, SYNCHRONOUS_COMMIT, "local");
    if (is(checking, SYNCHRONOUS_COMMIT, "off"))
        checking->warn(checking->arg,
                       "synchronous_commit is off: a crash of the server forgets the commits of its last moments, so "
                       "that a lock can be given to a second holder and a fence can be given again; set it to on for "
                       "this role: ALTER ROLE ... SET synchronous_commit = on");
    if (is(checking, FSYNC, "off"))
        checking->warn(checking->arg,
                       "fsync is off: a crash of the server's machine forgets locks, or destroys the table");
    if (!is(checking, STANDBYS, "0") && (local || is(checking, WAITED_FOR, "f")))
        checking->warn(checking->arg,
                       "the standbys are asynchronous: after a fail-over the new primary may not know the last locks, "
                       "so that one can have a second holder and a fence can be given again; name them in "
                       "synchronous_standby_names, and let synchronous_commit be on");
}

static void check_table(const struct checking *checking)
{
    if (is(checking, UNLOGGED, "t"))
        checking->warn(checking->arg,
                       "the table is UNLOGGED: a crash of the server empties it, and a standby does not have "
                       "it; ALTER TABLE ... SET LOGGED");
    if (is(checking, MAY_DELETE, "f"))
        checking->warn(checking->arg,
                       "the role may not DELETE: rows of keys that nobody uses any more stay for ever, unless "
                       "another role removes them");
    if (!is(checking, ENCODING, "UTF8"))
        checking->warn(checking->arg,
                       "the database is not in UTF8: keys with characters that its encoding lacks are refused");
}

static dlock_status fail(struct postgresql_session *session, struct failure *failure, dlock_error *error)
{
    if (!failure->text[0])
        failure_read(session, NULL, failure);
    return failure_explain(session, failure, error);
}

dlock_status check_session(void *memory, void (*warn)(void *arg, const char *text), void *arg, dlock_error *error)
{
    struct postgresql_session *session = memory;
    struct failure failure = {0};
    PGresult *row = NULL;
    static const Oid types[] = {25};
    const char *const values[] = {session->options.table};
    const dlock_status status = connection_begin(session, error);
    if (status != DLOCK_OK)
        return status;
    const int64_t before = wall_clock_ms();
    if (!PQsendQueryParams(session->connection, check_sql, 1, types, values, NULL, NULL, 0) ||
        !PQpipelineSync(session->connection) || !connection_finish(session, &row, &failure))
        return fail(session, &failure, error);
    const struct checking checking = {warn, arg, row};
    check_clock(&checking, before, wall_clock_ms());
    check_commits(&checking);
    check_table(&checking);
    if (session->pooled)
        warn(arg, "a pooler is between this program and the server: who waits for a lock polls, since LISTEN needs a "
                  "connection of its own");
    PQclear(row);
    return DLOCK_OK;
}
