/* postgresql.c - the PostgreSQL storage: locks in a table of a database, one row per key.
 *
 * Called by the core through dlock_postgresql_storage. A batch is sent at once, each request as a transaction of its
 * own, so that none depends on its neighbours. All but the last commit without waiting for the disk; the last one
 * waits, and with it all that were committed before: no request is answered before it is as durable as the server makes
 * it. Only a release does not wait: a server that crashes and forgets it keeps the key for the rest of the ttl, as that
 * of a holder who is gone. */
#include "postgresql_storage.h"

#include "internal.h"

#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One acquire in so many looks at one block for rows that nobody uses any more. A block has more of them than come
 * between two looks. */
#define SWEEP_EVERY 16

#define LOOK_US 300 /* for an answer: a commit takes that long on a near server with a fast disk */

/* Columns of statements that tell of a record; what is behind them differs. */
enum { OWNER, FENCE, TTL_MS, ACQUIRED_AT, EXPIRES_AT, NOW, MORE, GIVEN = MORE, FASTER, KEY = MORE };

/* One request of a batch. */
struct work {
    dlock_request *request;
    char *key;    /* as it is stored */
    bool pending; /* is to be sent, once more perhaps */
    bool waits;   /* its commit waits for the disk */
    bool owes;    /* what its answer tells of is in a commit of this round, and has to be on disk */
};

static dlock_status open_session(void *memory, const dlock_url *url, const dlock_storage_options *settings,
                                 dlock_error *error)
{
    struct postgresql_session *session = memory;
    session->url = url;
    session->settings = settings;
    session->look.most_us = LOOK_US;
    session->chance = (uint32_t)dlock_clock_us() ^ (uint32_t)((uintptr_t)session >> 4);
    const dlock_status status = options_read(url, &session->options, error);
    return status == DLOCK_OK ? connection_begin(session, error) : status;
}

static void close_session(void *memory)
{
    struct postgresql_session *session = memory;
    watch_end(session);
    PQfinish(session->connection);
    statements_free(session);
    options_free(&session->options);
}

/* ---- answers */

/* Numbers and times travel as 64 bits. */
static int64_t read_number(const PGresult *rows, int row, int column)
{
    uint64_t value;
    if (PQgetisnull(rows, row, column) || PQgetlength(rows, row, column) != sizeof value)
        return 0;
    memcpy(&value, PQgetvalue(rows, row, column), sizeof value);
    return (int64_t)be64toh(value);
}

/* A record that is told of was live a moment ago. */
static int64_t remaining_ms(int64_t us)
{
    return us > 1000 ? (us + 999) / 1000 : 1;
}

static void read_info(const PGresult *rows, int row, dlock_info *info)
{
    const int64_t now = read_number(rows, row, NOW), acquired_at = read_number(rows, row, ACQUIRED_AT);
    snprintf(info->owner, sizeof info->owner, "%s", PQgetvalue(rows, row, OWNER));
    info->fence = (uint64_t)read_number(rows, row, FENCE);
    info->ttl_ms = (uint32_t)read_number(rows, row, TTL_MS);
    info->held_ms = now > acquired_at ? (now - acquired_at) / 1000 : 0;
    info->remaining_ms = remaining_ms(read_number(rows, row, EXPIRES_AT) - now);
}

/* Reads what ACQUIRE says of the one who was faster: text, since it leaves the statement by a setting. */
static bool read_faster(const char *text, dlock_info *info)
{
    uint64_t fence;
    uint32_t ttl_ms;
    int64_t held_us, left_us;
    int length = 0;
    if (sscanf(text, "%" SCNu64 " %" SCNu32 " %" SCNd64 " %" SCNd64 " %n", &fence, &ttl_ms, &held_us, &left_us,
               &length) != 4 ||
        !length)
        return false;
    *info = (dlock_info){.fence = fence,
                         .ttl_ms = ttl_ms,
                         .held_ms = held_us > 0 ? held_us / 1000 : 0,
                         .remaining_ms = remaining_ms(left_us)};
    snprintf(info->owner, sizeof info->owner, "%s", text + length);
    return true;
}

/* False: the row that was there was swept away meanwhile, and nobody has the key. It is to be asked for again. */
static bool answer_acquire(const PGresult *rows, dlock_request *request)
{
    request->info = (dlock_info){0};
    if (!PQgetisnull(rows, 0, GIVEN)) {
        request->info.fence = (uint64_t)read_number(rows, 0, GIVEN);
        request->status = DLOCK_OK;
        return request->info.fence != 0;
    }
    request->status = DLOCK_BUSY;
    if (read_faster(PQgetvalue(rows, 0, FASTER), &request->info))
        return true;
    read_info(rows, 0, &request->info);
    return !PQgetisnull(rows, 0, OWNER);
}

/* Does it write what must not be forgotten? */
static bool has_to_last(const dlock_request *request)
{
    return request->operation != DLOCK_RELEASE && request->operation != DLOCK_INSPECT;
}

/* Takes the rows for the answer; false = it is to be sent again. */
static bool answer(struct work *work, const PGresult *rows)
{
    dlock_request *request = work->request;
    const bool found = PQntuples(rows) > 0;
    switch (request->operation) {
    case DLOCK_ACQUIRE:
        if (!found || !answer_acquire(rows, request))
            return false;
        work->owes = request->status == DLOCK_OK;
        return true;
    case DLOCK_INSPECT:
    case DLOCK_BREAK:
        if (found)
            read_info(rows, 0, &request->info);
        break;
    case DLOCK_EXTEND:
    case DLOCK_RELEASE:
        break;
    }
    work->owes = found && has_to_last(request);
    request->status = found || request->operation == DLOCK_INSPECT ? DLOCK_OK : DLOCK_LOST;
    return true;
}

static void fail(dlock_request *request, const dlock_error *why, bool not_done)
{
    request->info = (dlock_info){0};
    request->not_done = not_done;
    dlock_request_fail(request, why->status, "%s", why->message);
}

static void fail_by(const struct postgresql_session *session, struct work *work, const struct failure *failure)
{
    dlock_error why;
    failure_explain(session, failure, &why);
    fail(work->request, &why, failure_is_certain(failure));
    work->pending = false;
}

/* ---- a batch */

/* Sends what is pending. Returns how many of the works were gone through; behind them nothing was sent. */
static size_t send_round(struct postgresql_session *session, struct work *works, size_t count)
{
    struct work *last = NULL;
    size_t i = 0;
    bool sweep = false;
    for (size_t j = 0; j < count; j++)
        if (works[j].pending && has_to_last(works[j].request))
            last = &works[j];
    if (last)
        last->waits = true;
    for (; i < count; i++) {
        const dlock_request *request = works[i].request;
        const struct arguments arguments = {works[i].key, request->owner, request->ttl_ms, !works[i].waits};
        if (works[i].pending && !statements_send(session, (enum statement)request->operation, &arguments))
            break;
        sweep |= request->operation == DLOCK_ACQUIRE && ++session->chance % SWEEP_EVERY == 0;
    }
    session->sweeps = sweep && i == count && statements_send(session, STATEMENT_SWEEP, &(struct arguments){0});
    return i;
}

/* Is it worth sending again, because it certainly was not done, for a reason that passes? */
static bool passes(struct postgresql_session *session, const struct failure *failure)
{
    if (strcmp(failure->code, "26000") == 0) { /* not prepared here: a pooler is in between */
        session->pooled = true;
        return true;
    }
    return failure_is_contention(failure);
}

static bool is_broken(const struct postgresql_session *session, const struct failure *failure)
{
    return !failure->code[0] || PQstatus(session->connection) != CONNECTION_OK;
}

/* Reads the answers to what was sent of the first `count`. False: the connection is of no more use. */
static bool read_round(struct postgresql_session *session, struct work *works, size_t count)
{
    struct failure failure = {0};
    bool working = true;
    for (size_t i = 0; i < count; i++) {
        struct work *work = &works[i];
        PGresult *rows = NULL;
        if (!work->pending)
            continue;
        if (working && connection_finish(session, &rows, &failure)) {
            work->pending = !answer(work, rows);
        } else if (!working || !passes(session, &failure)) {
            fail_by(session, work, &failure);
            working = working && !is_broken(session, &failure);
        }
        PQclear(rows);
    }
    if (working && session->sweeps)
        connection_finish(session, NULL, &failure);
    return working;
}

/* Makes sure that what has to be on disk is: one waited for it, if it wrote; else something else has to. */
static void make_durable(struct postgresql_session *session, struct work *works, size_t count, bool working)
{
    struct failure failure = {0};
    bool owes = false, waited = false;
    for (size_t i = 0; i < count; i++) {
        owes |= works[i].owes;
        waited |= works[i].owes && works[i].waits;
    }
    if (!owes)
        return;
    if (!waited && !(working && statements_send(session, STATEMENT_FLUSH, &(struct arguments){0}) &&
                     connection_finish(session, NULL, &failure))) {
        if (!failure.text[0])
            failure_read(session, NULL, &failure);
    } else if (session->unsure) {
        snprintf(failure.text, sizeof failure.text, "%s", session->last_words);
    } else {
        return;
    }
    failure.code[0] = '\0';
    dlock_error why;
    failure_explain(session, &failure, &why);
    why.status = DLOCK_UNAVAILABLE;
    for (size_t i = 0; i < count; i++)
        if (works[i].owes)
            fail(works[i].request, &why, false);
}

/* Sends and reads once; false = the rest has failed. */
static bool run_round(struct postgresql_session *session, struct work *works, size_t count)
{
    session->unsure = false;
    for (size_t i = 0; i < count; i++)
        works[i].waits = works[i].owes = false;
    const size_t sent = send_round(session, works, count);
    const bool working = read_round(session, works, sent);
    make_durable(session, works, sent, working);
    return working && sent == count;
}

static void fail_pending(struct work *works, size_t count, const dlock_error *why)
{
    for (size_t i = 0; i < count; i++)
        if (works[i].pending)
            fail(works[i].request, why, true);
}

/* The first half of the time is for sending again, so that there is time to read the last answer. */
static bool may_send_again(const struct postgresql_session *session)
{
    return dlock_clock_us() < session->deadline - (int64_t)session->settings->timeout_ms * 500;
}

/* Several wanted the same row at once for as long as this may take. That is no error to somebody who wants a lock. */
static void give_up(struct work *works, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (works[i].pending && works[i].request->operation == DLOCK_ACQUIRE) {
            works[i].request->status = DLOCK_BUSY;
            works[i].request->contended = works[i].request->not_done = true;
            works[i].pending = false;
        }
}

static bool any_pending(const struct work *works, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (works[i].pending)
            return true;
    return false;
}

static void carry_out(struct postgresql_session *session, struct work *works, size_t count)
{
    dlock_error why;
    if (connection_begin(session, &why) != DLOCK_OK) {
        fail_pending(works, count, &why);
        return;
    }
    dlock_error_set(&why, DLOCK_UNAVAILABLE, "the connection was lost before this was sent");
    while (any_pending(works, count) && run_round(session, works, count))
        if (!may_send_again(session)) {
            give_up(works, count);
            dlock_error_set(&why, DLOCK_UNAVAILABLE, "others used the same row again and again for %u ms",
                            session->settings->timeout_ms / 2);
            break;
        }
    fail_pending(works, count, &why);
}

static void execute(void *memory, dlock_request *const *requests, size_t count)
{
    struct postgresql_session *session = memory;
    struct work *works = calloc(count, sizeof *works);
    for (size_t i = 0; works && i < count; i++) {
        works[i].request = requests[i];
        works[i].key = statements_key(session, requests[i]->key);
        works[i].pending = works[i].key != NULL;
    }
    for (size_t i = 0; i < count; i++)
        if (!works || !works[i].key) {
            dlock_request_fail(requests[i], DLOCK_NOMEM, "out of memory");
            requests[i]->not_done = true;
        }
    if (works)
        carry_out(session, works, count);
    for (size_t i = 0; works && i < count; i++)
        free(works[i].key);
    free(works);
}

/* ---- list */

static dlock_status list(void *memory, const char *prefix,
                         bool (*each)(void *arg, const char *key, const dlock_info *info), void *arg,
                         dlock_error *error)
{
    struct postgresql_session *session = memory;
    struct failure failure = {0};
    PGresult *rows = NULL;
    const size_t ours = strlen(session->options.prefix);
    const dlock_status status = connection_begin(session, error);
    if (status != DLOCK_OK)
        return status;
    char *stored = statements_key(session, prefix);
    if (!stored)
        return dlock_error_set(error, DLOCK_NOMEM, "out of memory");
    const bool sent = statements_send(session, STATEMENT_LIST, &(struct arguments){.key = stored});
    free(stored);
    if (!sent || !connection_finish(session, &rows, &failure)) {
        if (!failure.text[0])
            failure_read(session, NULL, &failure);
        return failure_explain(session, &failure, error);
    }
    bool more = true;
    for (int row = 0; more && row < PQntuples(rows); row++) {
        dlock_info info = {0};
        read_info(rows, row, &info);
        more = each(arg, PQgetvalue(rows, row, KEY) + ours, &info);
    }
    PQclear(rows);
    return DLOCK_OK;
}

const dlock_storage dlock_postgresql_storage = {
    .api = DLOCK_STORAGE_API,
    .name = "postgresql",
    .schemes = (const char *const[]){"postgresql", "postgres", NULL},
    .parameters = NULL, /* those of libpq, which differ with its version, and ours */
    .capabilities = DLOCK_STORAGE_FENCES,
    .max_sessions = 4,
    .session_size = sizeof(struct postgresql_session),
    .open = open_session,
    .close = close_session,
    .execute = execute,
    .list = list,
    .check = check_session,
    .watch_fd = watch_socket,
    .watch = watch_add,
    .unwatch = watch_remove,
    .watch_read = watch_hear,
};
