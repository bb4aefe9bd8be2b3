/* statements.c - the SQL of this storage, and how it is sent.
 *
 * Called by all other files of this storage. Each statement is a transaction of its own. docs/storages.md explains
 * them; what is not seen at once: clock_timestamp() goes on within a statement, and what ON CONFLICT DO UPDATE and
 * EXTEND look at they have locked before. */
#include "internal.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Whoever frees a key tells those that have left a mark not long ago; the mark goes when it is old. The first byte says
 * whether it went ('-') or stays ('+'). A minus infinity stands for "went just now". */
#define FREE_ROW                                                                                                       \
    "owner = '', expires_at = clock_timestamp(), waited_at = CASE"                                                     \
    " WHEN l.waited_at > clock_timestamp() - interval '10 s' THEN l.waited_at"                                         \
    " WHEN l.waited_at > '-infinity' THEN '-infinity'::timestamptz END"
#define NOTIFY                                                                                                         \
    "CASE WHEN waited_at IS NOT NULL"                                                                                  \
    " THEN pg_notify($6, CASE WHEN waited_at > '-infinity' THEN '+' ELSE '-' END || $1) END"

/* $5: the commit need not be on disk when it is answered. */
#define MAYBE_LAZY "CASE WHEN $5 THEN set_config('synchronous_commit', 'off', true) IS NOT NULL ELSE true END"

#define LIVE "owner <> '' AND expires_at > clock_timestamp()"

/* What was used within the last minute stays: it will be used again. */
#define DEAD "expires_at < clock_timestamp() - interval '1 min'"

/* Whoever inserts a row holds this for its key in shared mode, from before it draws its number until it has committed;
 * whoever deletes one needs it alone. So none is deleted while somebody is about to insert it with an older number. */
#define INSERTER "1145848651, hashtext("

/* The server is still the one for which the sequence was set ahead: a pooler may have carried the session to another.
 * Else this is an error, since it is no boolean. */
#define SAME_SERVER                                                                                                    \
    "CASE WHEN pg_postmaster_start_time() = @B@ THEN 'true' ELSE 'the server was started since then' END::boolean"

/* @T@ is the table, @S@ its sequence, @R@ itself and @B@ the start of the server as literals. Parameters: $1 key,
 * $2 owner, $3 ttl, $4 ttl_ms, $5 lazy, $6 channel. */
static const char *const templates[STATEMENT_COUNT] = {
    /* One row: the record as it was seen, without a lock; and the fence that was given, or, if somebody was faster, the
     * record that then had the key. A fence of 0: the row that was seen is gone, and one that nobody holds was put in
     * its place. */
    [STATEMENT_ACQUIRE] =
        "WITH seen AS MATERIALIZED (SELECT owner, fence, ttl_ms, acquired_at, expires_at FROM @T@ WHERE key = $1),"
        " taken AS (INSERT INTO @T@ AS l (key, owner, fence, ttl_ms, acquired_at, expires_at)"
        " SELECT $1, CASE WHEN there THEN '' ELSE $2 END,"
        " CASE WHEN there THEN 0 WHEN pg_advisory_xact_lock_shared(" INSERTER "$1)) IS NULL THEN 0"
        " ELSE nextval(@S@) END,"
        " $4, clock_timestamp(), CASE WHEN there THEN '-infinity' ELSE clock_timestamp() + $3 END"
        " FROM (SELECT EXISTS (SELECT FROM seen) AS there) look"
        " WHERE NOT EXISTS (SELECT FROM seen WHERE owner NOT IN ('', $2) AND expires_at > clock_timestamp())"
        " AND " SAME_SERVER " AND " MAYBE_LAZY " ON CONFLICT (key) DO UPDATE SET owner = $2,"
        " fence = CASE WHEN l.owner = $2 AND l.expires_at > clock_timestamp() THEN l.fence ELSE nextval(@S@) END,"
        " ttl_ms = $4,"
        " acquired_at = CASE WHEN l.owner = $2 AND l.expires_at > clock_timestamp() THEN l.acquired_at"
        " ELSE clock_timestamp() END,"
        " expires_at = clock_timestamp() + $3"
        " WHERE CASE WHEN l.owner IN ('', $2) OR l.expires_at <= clock_timestamp() THEN true"
        " ELSE set_config('dlock.holder', concat_ws(' ', l.fence, l.ttl_ms,"
        " (extract(epoch FROM clock_timestamp() - l.acquired_at) * 1000000)::bigint,"
        " (extract(epoch FROM l.expires_at - clock_timestamp()) * 1000000)::bigint, l.owner), true) IS NULL END"
        " RETURNING fence)"
        " SELECT s.owner, s.fence, s.ttl_ms, s.acquired_at, s.expires_at, clock_timestamp(), t.fence,"
        " current_setting('dlock.holder', true)"
        " FROM (VALUES (1)) one LEFT JOIN seen s ON true LEFT JOIN taken t ON true",

    /* The row is locked first: while it waits for the lock, it may expire. */
    [STATEMENT_EXTEND] =
        "WITH mine AS MATERIALIZED (SELECT key FROM @T@ WHERE key = $1 AND owner = $2 AND " LIVE " FOR NO KEY UPDATE)"
        " UPDATE @T@ AS l SET ttl_ms = $4, expires_at = clock_timestamp() + $3 FROM mine"
        " WHERE l.key = mine.key AND l.expires_at > clock_timestamp() AND " MAYBE_LAZY " RETURNING l.fence",

    [STATEMENT_RELEASE] = "WITH freed AS (UPDATE @T@ AS l SET " FREE_ROW " WHERE key = $1 AND owner = $2 AND " LIVE
                          " AND " MAYBE_LAZY " RETURNING waited_at) SELECT " NOTIFY " FROM freed",

    [STATEMENT_INSPECT] = "SELECT owner, fence, ttl_ms, acquired_at, expires_at, clock_timestamp() FROM @T@"
                          " WHERE key = $1 AND " LIVE,

    [STATEMENT_BREAK] = "WITH held AS MATERIALIZED (SELECT key, owner, fence, ttl_ms, acquired_at, expires_at FROM @T@"
                        " WHERE key = $1 AND " LIVE " FOR NO KEY UPDATE),"
                        " freed AS (UPDATE @T@ AS l SET " FREE_ROW " FROM held WHERE l.key = held.key AND " MAYBE_LAZY
                        " RETURNING l.waited_at)"
                        " SELECT h.owner, h.fence, h.ttl_ms, h.acquired_at, h.expires_at, clock_timestamp(), " NOTIFY
                        " FROM held h, freed",

    [STATEMENT_LIST] = "SELECT owner, fence, ttl_ms, acquired_at, expires_at, clock_timestamp(), key FROM @T@"
                       " WHERE key >= $1 AND starts_with(key, $1) AND " LIVE,

    [STATEMENT_MARK] = "INSERT INTO @T@ AS l (key, owner, fence, ttl_ms, acquired_at, expires_at, waited_at)"
                       " SELECT $1, '', 0, 0, now, now, now FROM (SELECT clock_timestamp() AS now) clock"
                       " WHERE NOT EXISTS (SELECT FROM @T@ WHERE key = $1 AND waited_at > now - interval '5 s')"
                       " ON CONFLICT (key) DO UPDATE SET waited_at = clock_timestamp()",

    /* One block of the table, by chance. */
    [STATEMENT_SWEEP] =
        "WITH block AS MATERIALIZED (SELECT floor(random() * pg_relation_size(@R@)"
        " / current_setting('block_size')::int)::bigint AS number),"
        " dead AS MATERIALIZED (SELECT ctid AS place, key FROM @T@ WHERE ctid = ANY (ARRAY(SELECT format('(%s,%s)',"
        " number, line)::tid FROM block, generate_series(1, 291) line)) AND " DEAD " FOR UPDATE SKIP LOCKED),"
        " mine AS MATERIALIZED (SELECT place FROM dead WHERE pg_try_advisory_xact_lock(" INSERTER "key)))"
        " DELETE FROM @T@ WHERE ctid = ANY (ARRAY(SELECT place FROM mine)) AND " DEAD,

    /* Something to wait for on disk: all that was committed before is then there too. */
    [STATEMENT_FLUSH] = "SELECT pg_logical_emit_message(true, 'dlock', '')",
};

enum { PARAMETERS = 6 };

static const Oid types[PARAMETERS] = {25, 25, 1186, 20, 16, 25}; /* text, text, interval, bigint, boolean, text */

/* Replaces every `@X@` of a template. */
static char *fill_in(const char *template, const struct names *names)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    for (; *template; template ++) {
        if (template[0] != '@' || template[2] != '@') {
            fputc(*template, out);
            continue;
        }
        fputs(template[1] == 'T'   ? names->table
              : template[1] == 'S' ? names->sequence
              : template[1] == 'R' ? names->relation
                                   : names->start,
              out);
        template += 2;
    }
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

bool statements_make(struct postgresql_session *session, const struct names *names)
{
    bool made = true;
    for (int i = 0; i < STATEMENT_COUNT; i++) {
        session->sql[i] = fill_in(templates[i], names);
        made &= session->sql[i] != NULL;
    }
    return made;
}

void statements_free(struct postgresql_session *session)
{
    for (int i = 0; i < STATEMENT_COUNT; i++) {
        free(session->sql[i]);
        session->sql[i] = NULL;
        session->prepared[i] = false;
    }
}

char *statements_key(const struct postgresql_session *session, const char *key)
{
    char *stored;
    return asprintf(&stored, "%s%s", session->options.prefix, key) < 0 ? NULL : stored;
}

/* FNV-1a, 64 bits: part of the format. */
void statements_channel(const char *key, char ret[CHANNEL_SIZE])
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (; *key; key++)
        hash = (hash ^ (unsigned char)*key) * UINT64_C(1099511628211);
    snprintf(ret, CHANNEL_SIZE, "dlock_%016llx", (unsigned long long)hash);
}

/* PostgreSQL's own form of an interval: microseconds, days, months. */
static void write_interval(uint32_t ms, char ret[16])
{
    const uint64_t microseconds = htobe64((uint64_t)ms * 1000);
    memset(ret, 0, 16);
    memcpy(ret, &microseconds, sizeof microseconds);
}

static bool prepare(struct postgresql_session *session, enum statement which, const char *name)
{
    if (session->prepared[which])
        return true;
    if (!PQsendPrepare(session->connection, name, session->sql[which], PARAMETERS, types))
        return false;
    session->prepared[which] = true;
    return true;
}

static const char *begin_sql = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ";

bool statements_send(struct postgresql_session *session, enum statement which, const struct arguments *arguments)
{
    PGconn *connection = session->connection;
    char interval[16], channel[CHANNEL_SIZE] = "", name[8];
    const uint64_t ttl_ms = htobe64(arguments->ttl_ms);
    write_interval(arguments->ttl_ms, interval);
    if (arguments->key)
        statements_channel(arguments->key, channel);
    const char *const values[PARAMETERS] = {
        arguments->key, arguments->owner, interval, (const char *)&ttl_ms, arguments->lazy ? "\1" : "\0", channel};
    const int lengths[PARAMETERS] = {0, 0, sizeof interval, sizeof ttl_ms, 1, 0};
    static const int formats[PARAMETERS] = {0, 0, 1, 1, 1, 0};
    snprintf(name, sizeof name, "d%d", (int)which);

    if (session->options.repeatable_read && which <= STATEMENT_BREAK &&
        !PQsendQueryParams(connection, begin_sql, 0, NULL, NULL, NULL, NULL, 1))
        return false;
    if (session->pooled) /* what one transaction prepares, the next one may not find */
        return PQsendQueryParams(connection, session->sql[which], PARAMETERS, types, values, lengths, formats, 1) &&
               PQpipelineSync(connection);
    return prepare(session, which, name) &&
           PQsendQueryPrepared(connection, name, PARAMETERS, values, lengths, formats, 1) && PQpipelineSync(connection);
}
