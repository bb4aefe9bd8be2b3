/* statements.c - the SQL of this storage, and how it is sent.
 *
 * Called by all other files of this storage. Each statement is a transaction of its own. docs/storages.md explains
 * them; what is not seen at once: clock_timestamp() goes on within a statement, and what ON CONFLICT DO UPDATE and
 * EXTEND look at they have locked before. */
#include "internal.h"

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
    " THEN pg_notify(channel, CASE WHEN waited_at > '-infinity' THEN '+' ELSE '-' END || name) END"

/* $5: the commit need not be on disk when it is answered. */
#define MAYBE_LAZY "CASE WHEN $5 THEN set_config('synchronous_commit', 'off', true) IS NOT NULL ELSE true END"

#define LIVE "owner <> '' AND expires_at > clock_timestamp()"

#define MS "interval '1 ms'"

/* What was used within the last minute stays: it will be used again. */
#define DEAD "expires_at < clock_timestamp() - interval '1 min'"

/* Whoever inserts a row holds this for its key in shared mode, from before it draws its number until it has committed;
 * whoever deletes one needs it alone. So none is deleted while somebody is about to insert it with an older number. */
#define INSERTER "1145848651, hashtext("

/* The server is still the one for which the sequence was set ahead: a pooler may have carried the session to another.
 * Else this is an error, since it is no boolean. */
#define SAME_SERVER                                                                                                    \
    "CASE WHEN pg_postmaster_start_time() = @B@ THEN 'true' ELSE 'the server was started since then' END::boolean"

/* How a key is taken: the row as it goes in, and what becomes of one that is there. If one was seen there, what goes in
 * is a hold that is over and has no number, in case that row has gone meanwhile. */
#define COLUMNS "(key, owner, fence, ttl_ms, acquired_at, expires_at)"
#define NEW_ROW                                                                                                        \
    "key, owner, CASE WHEN there THEN 0 WHEN pg_advisory_xact_lock_shared(" INSERTER "key)) IS NULL THEN 0"            \
    " ELSE nextval(@S@) END, ttl_ms, clock_timestamp(),"                                                               \
    " CASE WHEN there THEN '-infinity' ELSE clock_timestamp() + ttl_ms * " MS " END"
#define OURS "l.owner = EXCLUDED.owner AND l.expires_at > clock_timestamp()"
#define TAKE_ROW                                                                                                       \
    " ON CONFLICT (key) DO UPDATE SET owner = EXCLUDED.owner,"                                                         \
    " fence = CASE WHEN " OURS " THEN l.fence ELSE nextval(@S@) END,"                                                  \
    " acquired_at = CASE WHEN " OURS " THEN l.acquired_at ELSE clock_timestamp() END,"                                 \
    " ttl_ms = EXCLUDED.ttl_ms, expires_at = clock_timestamp() + EXCLUDED.ttl_ms * " MS
#define MAY_TAKE "l.owner IN ('', EXCLUDED.owner) OR l.expires_at <= clock_timestamp()"

/* The arguments of several requests, as rows. OFFSET hides from the planner how many there are, or it would make a plan
 * of its own each time. */
#define ASKED                                                                                                          \
    "(SELECT $1 AS keys, $2 AS owners, $3 AS ttls, $4 AS channels OFFSET 0) given CROSS JOIN LATERAL"                  \
    " unnest(keys, owners, ttls, channels) WITH ORDINALITY a (key, owner, ttl_ms, channel, number)"

/* Those of them that hold their keys. A statement for several never waits for the row of one while it keeps those of
 * others locked. */
#define MINE                                                                                                           \
    "mine AS MATERIALIZED (SELECT a.* FROM " ASKED " CROSS JOIN LATERAL (SELECT FROM @T@ WHERE key = a.key"            \
    " AND owner = a.owner AND " LIVE " FOR NO KEY UPDATE SKIP LOCKED) locked)"

/* @T@ is the table, @S@ its sequence, @R@ itself and @B@ the start of the server as literals. Parameters: $1 key,
 * $2 owner, $3 ttl_ms, $4 channel, or arrays of them, and $5 lazy. */
static const char *const templates[STATEMENT_COUNT] = {
    /* One row: the record as it was seen, without a lock; and the fence that was given, or, if somebody was faster, the
     * record that then had the key. A fence of 0: the row that was seen is gone, and one that nobody holds was put in
     * its place. */
    [STATEMENT_ACQUIRE] =
        "WITH seen AS MATERIALIZED (SELECT owner, fence, ttl_ms, acquired_at, expires_at FROM @T@ WHERE key = $1),"
        " taken AS (INSERT INTO @T@ AS l " COLUMNS " SELECT " NEW_ROW
        " FROM (SELECT $1 AS key, $2 AS owner, $3 AS ttl_ms, EXISTS (SELECT FROM seen) AS there) asked"
        " WHERE NOT EXISTS (SELECT FROM seen WHERE owner NOT IN ('', $2) AND expires_at > clock_timestamp())"
        " AND " SAME_SERVER " AND " MAYBE_LAZY TAKE_ROW " WHERE CASE WHEN " MAY_TAKE " THEN true"
        " ELSE set_config('dlock.holder', concat_ws(' ', l.fence, l.ttl_ms,"
        " (extract(epoch FROM clock_timestamp() - l.acquired_at) * 1000000)::bigint,"
        " (extract(epoch FROM l.expires_at - clock_timestamp()) * 1000000)::bigint, l.owner), true) IS NULL END"
        " RETURNING fence)"
        " SELECT s.owner, s.fence, s.ttl_ms, s.acquired_at, s.expires_at, clock_timestamp(), t.fence,"
        " current_setting('dlock.holder', true)"
        " FROM (VALUES (1)) one LEFT JOIN seen s ON true LEFT JOIN taken t ON true",

    /* A row for each: the record of somebody else that was seen, or the fence that was given; or neither. */
    [STATEMENT_ACQUIRE_MANY] =
        "WITH seen AS MATERIALIZED (SELECT a.*, s.fence IS NOT NULL AS there, s.owner AS holder, s.fence,"
        " s.ttl_ms AS its_ttl_ms, s.acquired_at, s.expires_at,"
        " coalesce(s.owner NOT IN ('', a.owner) AND s.expires_at > clock_timestamp(), false) AS busy"
        " FROM " ASKED " LEFT JOIN LATERAL (SELECT * FROM @T@ WHERE key = a.key OFFSET 0) s ON true),"
        " free AS MATERIALIZED (SELECT s.* FROM seen s LEFT JOIN LATERAL"
        " (SELECT true AS locked FROM @T@ WHERE key = s.key FOR NO KEY UPDATE SKIP LOCKED) tried ON true"
        " WHERE NOT busy AND (locked OR NOT there) AND " SAME_SERVER "),"
        " taken AS (INSERT INTO @T@ AS l " COLUMNS " SELECT " NEW_ROW " FROM free WHERE " MAYBE_LAZY TAKE_ROW
        " WHERE " MAY_TAKE " RETURNING key, fence)"
        " SELECT CASE WHEN busy THEN holder END, s.fence, its_ttl_ms, acquired_at, expires_at, clock_timestamp(),"
        " t.fence, number FROM seen s LEFT JOIN taken t USING (key)",

    /* The row is locked first: while it waits for the lock, it may expire. */
    [STATEMENT_EXTEND] =
        "WITH mine AS MATERIALIZED (SELECT key FROM @T@ WHERE key = $1 AND owner = $2 AND " LIVE " FOR NO KEY UPDATE)"
        " UPDATE @T@ AS l SET ttl_ms = $3, expires_at = clock_timestamp() + $3 * " MS " FROM mine"
        " WHERE l.key = mine.key AND l.expires_at > clock_timestamp() AND " MAYBE_LAZY " RETURNING l.fence",

    [STATEMENT_EXTEND_MANY] =
        "WITH " MINE " UPDATE @T@ AS l SET ttl_ms = mine.ttl_ms, expires_at = clock_timestamp() + mine.ttl_ms * " MS
        " FROM mine WHERE l.key = mine.key AND l.expires_at > clock_timestamp() AND " MAYBE_LAZY " RETURNING number",

    [STATEMENT_RELEASE] =
        "WITH freed AS (UPDATE @T@ AS l SET " FREE_ROW " WHERE key = $1 AND owner = $2 AND " LIVE " AND " MAYBE_LAZY
        " RETURNING $4 AS channel, $1 AS name, waited_at) SELECT " NOTIFY " FROM freed",

    [STATEMENT_RELEASE_MANY] =
        "WITH " MINE ", freed AS (UPDATE @T@ AS l SET " FREE_ROW " FROM mine WHERE l.key = mine.key AND " MAYBE_LAZY
        " RETURNING channel, mine.key AS name, waited_at, number) SELECT " NOTIFY ", number FROM freed",

    [STATEMENT_INSPECT] = "SELECT owner, fence, ttl_ms, acquired_at, expires_at, clock_timestamp() FROM @T@"
                          " WHERE key = $1 AND " LIVE,

    [STATEMENT_BREAK] = "WITH held AS MATERIALIZED (SELECT key, owner, fence, ttl_ms, acquired_at, expires_at FROM @T@"
                        " WHERE key = $1 AND " LIVE " FOR NO KEY UPDATE),"
                        " freed AS (UPDATE @T@ AS l SET " FREE_ROW " FROM held WHERE l.key = held.key AND " MAYBE_LAZY
                        " RETURNING $4 AS channel, $1 AS name, l.waited_at)"
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

static bool prepare(struct postgresql_session *session, enum statement which, const Oid *types, const char *name)
{
    if (session->prepared[which])
        return true;
    if (!PQsendPrepare(session->connection, name, session->sql[which], PARAMETERS, types))
        return false;
    session->prepared[which] = true;
    return true;
}

static bool send(struct postgresql_session *session, enum statement which, const struct parameters *with)
{
    PGconn *connection = session->connection;
    char name[8];
    snprintf(name, sizeof name, "d%d", (int)which);
    if (session->options.repeatable_read && which <= STATEMENT_RELEASE_MANY &&
        !PQsendQueryParams(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", 0, NULL, NULL, NULL, NULL, 1))
        return false;
    if (session->pooled) /* what one transaction prepares, the next one may not find */
        return PQsendQueryParams(connection, session->sql[which], PARAMETERS, with->types, with->values, with->lengths,
                                 with->formats, 1) &&
               PQpipelineSync(connection);
    return prepare(session, which, with->types, name) &&
           PQsendQueryPrepared(connection, name, PARAMETERS, with->values, with->lengths, with->formats, 1) &&
           PQpipelineSync(connection);
}

static const enum statement many[STATEMENT_COUNT] = {
    [STATEMENT_ACQUIRE] = STATEMENT_ACQUIRE_MANY,
    [STATEMENT_EXTEND] = STATEMENT_EXTEND_MANY,
    [STATEMENT_RELEASE] = STATEMENT_RELEASE_MANY,
};

bool statements_has_many(enum statement which)
{
    return many[which] != 0;
}

bool statements_send(struct postgresql_session *session, enum statement which, const struct arguments *arguments,
                     size_t count)
{
    struct parameters parameters;
    if (!parameters_make(&parameters, arguments, count))
        return false;
    const bool sent = send(session, count > 1 ? many[which] : which, &parameters);
    parameters_free(&parameters);
    return sent;
}
