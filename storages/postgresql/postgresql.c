/* postgresql.c - the PostgreSQL storage: locks in a table of a database, one row per key.
 *
 * Called by the core through dlock_postgresql_storage. A batch is sent at once. Requests of one kind for different keys
 * travel as one statement, which answers those that nobody is in the way of; whoever it does not answer, or all if it
 * fails, asks once more alone, so that none depends on its neighbours. Each statement is a transaction.
 *
 * All but the last commit without waiting for the disk; the last one waits, and with it all that were committed before:
 * no request is answered before it is as durable as the server makes it. Only a release does not wait: a server that
 * crashes and forgets it keeps the key for the rest of the ttl, as that of a holder who is gone. */
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

/* So many requests at most travel as one statement. Each may need an entry of the server's table of locks, which has
 * twice as many for each connection by default. */
#define TOGETHER_MAX 32

#define LOOK_US 300 /* for an answer: a commit takes that long on a near server with a fast disk */

/* Columns of statements that tell of a record; what is behind them differs. */
enum { OWNER, FENCE, TTL_MS, ACQUIRED_AT, EXPIRES_AT, NOW, MORE, GIVEN = MORE, FASTER, KEY = MORE };

/* One request of a batch. */
struct work {
    dlock_request *request;
    size_t number;   /* in the batch */
    char *key;       /* as it is stored */
    bool pending;    /* is to be sent, once more perhaps */
    bool alone;      /* not in one statement with others */
    size_t together; /* how many, from this on, were sent as one statement */
    bool waits;      /* its commit waits for the disk */
    bool owes;       /* what its answer tells of is in a commit of this round, and has to be on disk */
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

/* False: there is no answer. The row that was there was swept away meanwhile, and nobody has the key; or a statement
 * for several did not find out. */
static bool answer_acquire(const PGresult *rows, int row, bool alone, dlock_request *request)
{
    request->info = (dlock_info){0};
    if (!PQgetisnull(rows, row, GIVEN)) {
        request->info.fence = (uint64_t)read_number(rows, row, GIVEN);
        request->status = DLOCK_OK;
        return request->info.fence != 0;
    }
    request->status = DLOCK_BUSY;
    if (alone && read_faster(PQgetvalue(rows, row, FASTER), &request->info))
        return true;
    read_info(rows, row, &request->info);
    return !PQgetisnull(rows, row, OWNER);
}

/* Does it write what must not be forgotten? */
static bool has_to_last(const dlock_request *request)
{
    return request->operation != DLOCK_RELEASE && request->operation != DLOCK_INSPECT;
}

/* Takes a row for the answer. What has no answer stays pending. */
static void answer(struct work *work, const PGresult *rows, int row, bool alone)
{
    dlock_request *request = work->request;
    request->status = DLOCK_OK;
    work->pending = false;
    switch (request->operation) {
    case DLOCK_ACQUIRE:
        work->pending = !answer_acquire(rows, row, alone, request);
        break;
    case DLOCK_INSPECT:
    case DLOCK_BREAK:
        read_info(rows, row, &request->info);
        break;
    case DLOCK_EXTEND:
    case DLOCK_RELEASE:
        break;
    }
    work->owes = !work->pending && request->status == DLOCK_OK && has_to_last(request);
}

static void answer_one(struct work *work, const PGresult *rows)
{
    if (PQntuples(rows) > 0) {
        answer(work, rows, 0, true);
    } else if (work->request->operation != DLOCK_ACQUIRE) { /* that one always has a row */
        work->request->status = work->request->operation == DLOCK_INSPECT ? DLOCK_OK : DLOCK_LOST;
        work->pending = false;
    }
}

static void answer_many(struct work *works, size_t count, const PGresult *rows)
{
    for (int row = 0; row < PQntuples(rows); row++) {
        const int64_t number = read_number(rows, row, PQnfields(rows) - 1);
        if (number >= 1 && (uint64_t)number <= count)
            answer(&works[number - 1], rows, row, false);
    }
}

static void fail(dlock_request *request, const dlock_error *why, bool not_done)
{
    request->info = (dlock_info){0};
    request->not_done = not_done;
    dlock_request_fail(request, why->status, "%s", why->message);
}

static void fail_by(const struct postgresql_session *session, struct work *works, size_t count,
                    const struct failure *failure)
{
    dlock_error why;
    failure_explain(session, failure, &why);
    for (size_t i = 0; i < count; i++) {
        fail(works[i].request, &why, failure_is_certain(failure));
        works[i].pending = false;
    }
}

/* ---- a batch */

static int compare_numbers(const struct work *first, const struct work *second)
{
    return (first->number > second->number) - (first->number < second->number);
}

static int by_key(const void *first, const void *second)
{
    return strcmp(((const struct work *)first)->key, ((const struct work *)second)->key);
}

/* What need not wait for the disk first, then by operation and key: who locks several rows locks them in the order of
 * keys. Behind them those of one key, which keep their order. */
static int by_turn(const void *a, const void *b)
{
    const struct work *first = a, *second = b;
    if (first->alone || second->alone)
        return first->alone && second->alone ? compare_numbers(first, second) : first->alone - second->alone;
    if (has_to_last(first->request) != has_to_last(second->request))
        return has_to_last(first->request) - has_to_last(second->request);
    if (first->request->operation != second->request->operation)
        return first->request->operation < second->request->operation ? -1 : 1;
    return by_key(first, second);
}

static void put_in_order(struct work *works, size_t count)
{
    qsort(works, count, sizeof *works, by_key);
    for (size_t i = 1; i < count; i++)
        if (by_key(&works[i - 1], &works[i]) == 0)
            works[i - 1].alone = works[i].alone = true;
    qsort(works, count, sizeof *works, by_turn);
}

/* How many of these, from the first on, go as one statement. */
static size_t count_together(const struct work *works, size_t count)
{
    const dlock_operation operation = works[0].request->operation;
    size_t together = 1;
    if (works[0].alone || !statements_has_many((enum statement)operation))
        return 1;
    while (together < count && together < TOGETHER_MAX && works[together].pending && !works[together].alone &&
           works[together].request->operation == operation)
        together++;
    return together;
}

static bool send_together(struct postgresql_session *session, struct work *works, size_t count, bool waits)
{
    struct arguments arguments[TOGETHER_MAX];
    for (size_t i = 0; i < count; i++) {
        const dlock_request *request = works[i].request;
        arguments[i] = (struct arguments){works[i].key, request->owner, request->ttl_ms, !waits};
        works[i].waits = waits;
        works[i].alone = true; /* if it is sent again */
    }
    works[0].together = count;
    return statements_send(session, (enum statement)works[0].request->operation, arguments, count);
}

/* Sends what is pending. Returns how many of the works were gone through; behind them nothing was sent. */
static size_t send_round(struct postgresql_session *session, struct work *works, size_t count)
{
    size_t last = count, sent = 0;
    bool sweep = false;
    for (size_t i = 0; i < count; i++)
        if (works[i].pending) {
            last = has_to_last(works[i].request) ? i : last;
            sweep |= works[i].request->operation == DLOCK_ACQUIRE && ++session->chance % SWEEP_EVERY == 0;
        }
    while (sent < count) {
        const size_t together = works[sent].pending ? count_together(&works[sent], count - sent) : 1,
                     next = sent + together;
        if (works[sent].pending && !send_together(session, &works[sent], together, sent <= last && last < next))
            break;
        sent = next;
    }
    session->sweeps = sweep && sent == count && statements_send(session, STATEMENT_SWEEP, &(struct arguments){0}, 1);
    return sent;
}

static bool is_broken(const struct postgresql_session *session, const struct failure *failure)
{
    return !failure->code[0] || PQstatus(session->connection) != CONNECTION_OK;
}

/* Is it worth sending again, because it certainly was not done, for a reason that passes? What failed for several may
 * be about one of them. */
static bool may_pass(struct postgresql_session *session, const struct failure *failure, size_t together)
{
    if (strcmp(failure->code, "26000") == 0) { /* not prepared here: a pooler is in between */
        session->pooled = true;
        return true;
    }
    return failure_is_contention(failure) ||
           (together > 1 && failure_is_certain(failure) && !is_broken(session, failure));
}

/* Reads the answers to what was sent of the first `count`. False: the connection is of no more use. */
static bool read_round(struct postgresql_session *session, struct work *works, size_t count)
{
    struct failure failure = {0};
    bool working = true;
    for (size_t i = 0; i < count;) {
        struct work *work = &works[i];
        const size_t together = work->pending ? work->together : 1;
        PGresult *rows = NULL;
        i += together;
        if (!work->pending)
            continue;
        if (working && connection_finish(session, &rows, &failure)) {
            if (together > 1)
                answer_many(work, together, rows);
            else
                answer_one(work, rows);
        } else if (!working || !may_pass(session, &failure, together)) {
            fail_by(session, work, together, &failure);
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
    if (!waited && !(working && statements_send(session, STATEMENT_FLUSH, &(struct arguments){0}, 1) &&
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
    size_t made = 0;
    for (size_t i = 0; i < count; i++) {
        char *key = works ? statements_key(session, requests[i]->key) : NULL;
        if (key) {
            works[made++] = (struct work){.request = requests[i], .number = i, .key = key, .pending = true};
        } else {
            dlock_request_fail(requests[i], DLOCK_NOMEM, "out of memory");
            requests[i]->not_done = true;
        }
    }
    if (made > 0) {
        put_in_order(works, made);
        carry_out(session, works, made);
    }
    for (size_t i = 0; i < made; i++)
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
    const bool sent = statements_send(session, STATEMENT_LIST, &(struct arguments){.key = stored}, 1);
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
