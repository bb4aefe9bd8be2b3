/* session.c - what every part of the embedded storage asks of its session: time, statements, the file itself.
 *
 * Called by sqlite.c, layout.c and watch.c. */
#include "internal.h"

#include <time.h>

/* So many records a sweep looks at. */
#define SWEEP_COUNT "64"

static const char *const sql[STATEMENT_COUNT] = {
    [STATEMENT_BEGIN_READ] = "BEGIN",
    [STATEMENT_BEGIN_WRITE] = "BEGIN IMMEDIATE",
    [STATEMENT_COMMIT] = "COMMIT",
    [STATEMENT_FIND] = "SELECT l.owner, l.fence, l.ttl_ms, l.acquired_at, l.expires_at, m.fence, m.marks"
                       " FROM meta m LEFT JOIN locks l ON l.key = ?1",
    [STATEMENT_SET_FENCE] = "UPDATE meta SET fence = ?1",
    [STATEMENT_GRANT] = "REPLACE INTO locks (key, owner, fence, ttl_ms, acquired_at, expires_at)"
                        " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    [STATEMENT_EXTEND] = "UPDATE locks SET ttl_ms = ?2, expires_at = ?3 WHERE key = ?1",
    [STATEMENT_DELETE] = "DELETE FROM locks WHERE key = ?1",
    [STATEMENT_LIST] = "SELECT owner, fence, ttl_ms, acquired_at, expires_at, key FROM locks WHERE key >= ?1"
                       " ORDER BY key",
    [STATEMENT_SWEEP_RANGE] = "SELECT sweep, (SELECT key FROM locks WHERE key > sweep ORDER BY key LIMIT 1"
                              " OFFSET " SWEEP_COUNT " - 1) FROM meta",
    [STATEMENT_SWEEP] = "DELETE FROM locks WHERE key > ?1 AND (?2 IS NULL OR key <= ?2) AND expires_at <= ?3",
    [STATEMENT_SET_SWEEP] = "UPDATE meta SET sweep = coalesce(?1, '')",
    [STATEMENT_SET_MARK] = "UPDATE meta SET marks = substr(marks, 1, ?1) || '1' || substr(marks, ?1 + 2)"
                           " WHERE substr(marks, ?1 + 1, 1) = '0'",
};

bool session_pause(struct sqlite_session *session, unsigned tries)
{
    const int64_t left = session->deadline - dlock_clock_us();
    if (left <= 0)
        return false;
    session->chance = session->chance * 1664525u + 1013904223u;
    const int64_t longest = tries < 5 ? 30 << tries : 1000;
    const int64_t wanted = longest / 2 + (session->chance >> 16) % (longest / 2);
    const struct timespec pause = {.tv_nsec = (wanted < left ? wanted : left) * 1000};
    nanosleep(&pause, NULL);
    return true;
}

void session_set_deadline(struct sqlite_session *session)
{
    session->deadline = dlock_clock_us() + (int64_t)session->options->timeout_ms * 1000;
}

int session_get(struct sqlite_session *session, enum statement which, sqlite3_stmt **ret)
{
    sqlite3_stmt **statement = &session->statements[which];
    int code = SQLITE_OK;
    if (!*statement)
        code = sqlite3_prepare_v3(session->db, sql[which], -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);
    *ret = *statement;
    return code;
}

int session_finish(sqlite3_stmt *statement)
{
    const int code = sqlite3_step(statement);
    sqlite3_reset(statement);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

dlock_status session_verify_file(struct sqlite_session *session, dlock_error *error)
{
    int moved = 0;
    sqlite3_file_control(session->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved);
    if (moved)
        return dlock_error_set(error, DLOCK_UNAVAILABLE, "%s: the file was moved or deleted while it was open",
                               session->path);
    session->verified_at = dlock_clock_us();
    return DLOCK_OK;
}
