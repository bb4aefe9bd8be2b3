/* sqlite.c - the embedded storage: locks in one SQLite file on this machine.
 *
 * Called by the core through dlock_sqlite_storage. A batch is one transaction that holds the file's write lock, so
 * that what it reads stays true until it is committed; the decisions are taken here, in C. */
#include "sqlite_storage.h"

#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One grant in so many sweeps; one sweep looks at more records than come in between. */
#define SWEEP_EVERY 32

/* The look costs a system call that walks the whole path. */
#define VERIFY_EVERY_US 10000

/* Columns of FIND and LIST. */
enum { OWNER, FENCE, TTL_MS, ACQUIRED_AT, EXPIRES_AT, LAST_FENCE, MARKS, KEY = LAST_FENCE };

/* What the file says of a request's key. */
struct record {
    bool live, mine;
    bool marked;         /* somebody has waited for a key of its mark */
    uint64_t last_fence; /* that was given for any key */
    dlock_info info;     /* of a live record */
};

static dlock_status open_session(void *memory, const dlock_url *url, const dlock_storage_options *options,
                                 dlock_error *error)
{
    struct sqlite_session *session = memory;
    session->options = options;
    session->chance = (uint32_t)dlock_clock_us() ^ (uint32_t)(uintptr_t)session;
    session_set_deadline(session);
    dlock_status status = place_find(url, options->folder, &session->path, error);
    if (status == DLOCK_OK)
        status = place_verify(session->path, error);
    if (status == DLOCK_OK)
        status = layout_open(session, error);
    return status;
}

static void close_session(void *memory)
{
    struct sqlite_session *session = memory;
    watch_close(session);
    for (size_t i = 0; i < STATEMENT_COUNT; i++)
        sqlite3_finalize(session->statements[i]);
    sqlite3_close(session->db);
    free(session->path);
}

static int run(struct sqlite_session *session, enum statement which)
{
    sqlite3_stmt *statement;
    const int code = session_get(session, which, &statement);
    return code == SQLITE_OK ? session_finish(statement) : code;
}

/* Fills `info` from the row of FIND or LIST, if there is a record and it is live. A record that was written since `now`
 * was read has been held for no time. Another program may have written any numbers. Returns an SQLite code. */
static int read_info(sqlite3_stmt *row, int64_t now, dlock_info *info, bool *live)
{
    *live = false;
    const int64_t acquired_at = sqlite3_column_int64(row, ACQUIRED_AT),
                  expires_at = sqlite3_column_int64(row, EXPIRES_AT);
    if (expires_at <= now) /* 0 if there is no record */
        return SQLITE_OK;
    const char *owner = (const char *)sqlite3_column_text(row, OWNER);
    if (!owner)
        return SQLITE_NOMEM;
    *live = true;
    snprintf(info->owner, sizeof info->owner, "%s", owner);
    info->fence = (uint64_t)sqlite3_column_int64(row, FENCE);
    const int64_t ttl_ms = sqlite3_column_int64(row, TTL_MS), since = acquired_at > 0 ? acquired_at : 0,
                  left = expires_at - now;
    info->ttl_ms = ttl_ms < 0 ? 0 : ttl_ms < DLOCK_TTL_MAX_MS ? (uint32_t)ttl_ms : DLOCK_TTL_MAX_MS;
    info->held_ms = now > since ? (now - since) / 1000 : 0;
    info->remaining_ms = left / 1000 + (left % 1000 != 0);
    return SQLITE_OK;
}

/* When in doubt, it is. */
static bool is_marked(sqlite3_stmt *row, const char *key)
{
    const char *marks = (const char *)sqlite3_column_text(row, MARKS);
    const unsigned mark = watch_mark(key);
    return !marks || (unsigned)sqlite3_column_bytes(row, MARKS) <= mark || marks[mark] != '0';
}

static int find(struct sqlite_session *session, const dlock_request *request, int64_t now, struct record *ret)
{
    sqlite3_stmt *statement;
    int code = session_get(session, STATEMENT_FIND, &statement);
    if (code != SQLITE_OK)
        return code;
    *ret = (struct record){0};
    sqlite3_bind_text(statement, 1, request->key, -1, SQLITE_STATIC);
    code = sqlite3_step(statement);
    if (code == SQLITE_ROW) {
        ret->last_fence = (uint64_t)sqlite3_column_int64(statement, LAST_FENCE);
        code = ret->last_fence < INT64_MAX ? read_info(statement, now, &ret->info, &ret->live) : SQLITE_CORRUPT;
        ret->mine = ret->live && request->owner && strcmp(ret->info.owner, request->owner) == 0;
        ret->marked = is_marked(statement, request->key);
    } else if (code == SQLITE_DONE) {
        code = SQLITE_CORRUPT; /* meta has lost its row */
    }
    sqlite3_reset(statement);
    return code;
}

/* Removes expired records of a stretch of keys; the next sweep goes on behind it. If it fails, that does not matter,
 * unless it ended the transaction. */
static int sweep(struct sqlite_session *session, int64_t now)
{
    sqlite3_stmt *range, *statement;
    int code = session_get(session, STATEMENT_SWEEP_RANGE, &range);
    if (code != SQLITE_OK)
        return SQLITE_OK;
    code = sqlite3_step(range);
    if (code != SQLITE_ROW)
        goto end;
    code = session_get(session, STATEMENT_SWEEP, &statement);
    if (code != SQLITE_OK)
        goto end;
    sqlite3_bind_value(statement, 1, sqlite3_column_value(range, 0));
    sqlite3_bind_value(statement, 2, sqlite3_column_value(range, 1));
    sqlite3_bind_int64(statement, 3, now);
    code = session_finish(statement);
    if (code != SQLITE_OK)
        goto end;
    code = session_get(session, STATEMENT_SET_SWEEP, &statement);
    if (code != SQLITE_OK)
        goto end;
    sqlite3_bind_value(statement, 1, sqlite3_column_value(range, 1));
    code = session_finish(statement);
end:
    sqlite3_reset(range);
    return sqlite3_get_autocommit(session->db) ? code : SQLITE_OK;
}

static int grant(struct sqlite_session *session, const dlock_request *request, uint64_t fence, int64_t now)
{
    sqlite3_stmt *statement;
    int code = session_get(session, STATEMENT_SET_FENCE, &statement);
    if (code != SQLITE_OK)
        return code;
    sqlite3_bind_int64(statement, 1, (int64_t)fence);
    code = session_finish(statement);
    if (code == SQLITE_OK)
        code = session_get(session, STATEMENT_GRANT, &statement);
    if (code != SQLITE_OK)
        return code;
    sqlite3_bind_text(statement, 1, request->key, -1, SQLITE_STATIC);
    sqlite3_bind_text(statement, 2, request->owner, -1, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 3, (int64_t)fence);
    sqlite3_bind_int64(statement, 4, request->ttl_ms);
    sqlite3_bind_int64(statement, 5, now);
    sqlite3_bind_int64(statement, 6, now + (int64_t)request->ttl_ms * 1000);
    code = session_finish(statement);
    if (code == SQLITE_OK && fence % SWEEP_EVERY == 0)
        code = sweep(session, now);
    return code;
}

static int extend(struct sqlite_session *session, const dlock_request *request, int64_t now)
{
    sqlite3_stmt *statement;
    const int code = session_get(session, STATEMENT_EXTEND, &statement);
    if (code != SQLITE_OK)
        return code;
    sqlite3_bind_text(statement, 1, request->key, -1, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 2, request->ttl_ms);
    sqlite3_bind_int64(statement, 3, now + (int64_t)request->ttl_ms * 1000);
    return session_finish(statement);
}

static int erase(struct sqlite_session *session, const dlock_request *request)
{
    sqlite3_stmt *statement;
    const int code = session_get(session, STATEMENT_DELETE, &statement);
    if (code != SQLITE_OK)
        return code;
    sqlite3_bind_text(statement, 1, request->key, -1, SQLITE_STATIC);
    return session_finish(statement);
}

static int acquire(struct sqlite_session *session, dlock_request *request, const struct record *record, int64_t now,
                   bool *wrote)
{
    if (record->live && !record->mine) {
        request->status = DLOCK_BUSY;
        request->info = record->info;
        return SQLITE_OK;
    }
    *wrote = true;
    const uint64_t fence = record->mine ? record->info.fence : record->last_fence + 1;
    const int code = record->mine ? extend(session, request, now) : grant(session, request, fence, now);
    if (code == SQLITE_OK) {
        request->status = DLOCK_OK;
        request->info.fence = fence;
    }
    return code;
}

/* Answers one request inside of the transaction. Returns an SQLite code; the request is answered if it is SQLITE_OK. */
static int carry_out(struct sqlite_session *session, dlock_request *request, int64_t now, bool *wrote, bool *wake)
{
    struct record record;
    int code = find(session, request, now, &record);
    if (code != SQLITE_OK)
        return code;
    switch (request->operation) {
    case DLOCK_ACQUIRE:
        return acquire(session, request, &record, now, wrote);
    case DLOCK_INSPECT:
        request->status = DLOCK_OK;
        request->info = record.info;
        return SQLITE_OK;
    case DLOCK_EXTEND:
    case DLOCK_RELEASE:
    case DLOCK_BREAK:
        break;
    }
    if (!record.live || (!record.mine && request->operation != DLOCK_BREAK)) {
        request->status = DLOCK_LOST;
        return SQLITE_OK;
    }
    *wrote = true;
    code = request->operation == DLOCK_EXTEND ? extend(session, request, now) : erase(session, request);
    if (code == SQLITE_OK) {
        request->status = DLOCK_OK;
        if (request->operation == DLOCK_BREAK)
            request->info = record.info;
        *wake |= request->operation != DLOCK_EXTEND && record.marked;
    }
    return code;
}

/* Two files, the one that this session has open and another that now has its name, would be two holders. Whoever held
 * a key when the file was moved has lost it in any case, so what counts is that sessions soon notice. */
static dlock_status verify_now_and_then(struct sqlite_session *session, dlock_error *error)
{
    if (dlock_clock_us() - session->verified_at < VERIFY_EVERY_US)
        return DLOCK_OK;
    return session_verify_file(session, error);
}

static void roll_back(struct sqlite_session *session)
{
    if (!sqlite3_get_autocommit(session->db))
        sqlite3_exec(session->db, "ROLLBACK", NULL, NULL, NULL);
}

static dlock_status begin(struct sqlite_session *session, bool writes, dlock_error *error)
{
    const int code = run(session, writes ? STATEMENT_BEGIN_WRITE : STATEMENT_BEGIN_READ);
    if (code != SQLITE_OK)
        return failure_set(session, code, error);
    const dlock_status status = verify_now_and_then(session, error);
    if (status != DLOCK_OK)
        roll_back(session);
    return status;
}

static void fail(dlock_request *request, const dlock_error *error, bool not_done)
{
    request->info = (dlock_info){0};
    request->not_done = not_done;
    dlock_request_fail(request, error->status, "%s", error->message);
}

/* The transaction is lost: what was written from `first` on is not, and what was read after that is not true. */
static void fail_from(size_t first, dlock_request *const *requests, size_t count, const dlock_error *error,
                      bool not_done)
{
    for (size_t i = first; i < count; i++)
        fail(requests[i], error, not_done);
}

static bool only_looks(dlock_request *const *requests, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (requests[i]->operation != DLOCK_INSPECT)
            return false;
    return true;
}

static void wake_waiters(struct sqlite_session *session, dlock_request *const *requests, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (requests[i]->status == DLOCK_OK &&
            (requests[i]->operation == DLOCK_RELEASE || requests[i]->operation == DLOCK_BREAK))
            watch_wake(session, requests[i]->key);
}

static void execute(void *memory, dlock_request *const *requests, size_t count)
{
    struct sqlite_session *session = memory;
    session_set_deadline(session);
    dlock_error error;
    if (begin(session, !only_looks(requests, count), &error) != DLOCK_OK) {
        fail_from(0, requests, count, &error, true);
        return;
    }
    const int64_t now = dlock_clock_us(); /* read after the wait for the write lock */
    size_t first_write = count;
    bool wake = false;
    for (size_t i = 0; i < count; i++) {
        bool wrote = false;
        const int code = carry_out(session, requests[i], now, &wrote, &wake);
        if (wrote && first_write == count)
            first_write = i;
        if (code == SQLITE_OK)
            continue;
        failure_set(session, code, &error);
        if (sqlite3_get_autocommit(session->db)) { /* SQLite has given up the transaction */
            fail_from(first_write < i ? first_write : i, requests, count, &error, true);
            return;
        }
        fail(requests[i], &error, true); /* a statement that fails changes nothing */
    }
    const int code = run(session, STATEMENT_COMMIT);
    if (code != SQLITE_OK) {
        failure_set(session, code, &error);
        roll_back(session);
        fail_from(first_write, requests, count, &error, (code & 0xFF) != SQLITE_IOERR);
        return;
    }
    if (wake)
        wake_waiters(session, requests, count);
}

static dlock_status list(void *memory, const char *prefix,
                         bool (*each)(void *arg, const char *key, const dlock_info *info), void *arg,
                         dlock_error *error)
{
    struct sqlite_session *session = memory;
    session_set_deadline(session);
    dlock_status status = verify_now_and_then(session, error);
    if (status != DLOCK_OK)
        return status;
    sqlite3_stmt *statement;
    int code = session_get(session, STATEMENT_LIST, &statement);
    if (code != SQLITE_OK)
        return failure_set(session, code, error);
    sqlite3_bind_text(statement, 1, prefix, -1, SQLITE_STATIC);
    bool more = true;
    while (more && (code = sqlite3_step(statement)) == SQLITE_ROW) {
        const char *key = (const char *)sqlite3_column_text(statement, KEY);
        dlock_info info;
        bool live;
        code = key ? read_info(statement, dlock_clock_us(), &info, &live) : SQLITE_NOMEM;
        if (code != SQLITE_OK || strncmp(key, prefix, strlen(prefix)) != 0)
            break;
        /* No lock has such a key, whoever wrote it. */
        const size_t size = (size_t)sqlite3_column_bytes(statement, KEY);
        if (live && size > 0 && size <= DLOCK_KEY_MAX && strlen(key) == size)
            more = each(arg, key, &info);
    }
    if (code != SQLITE_OK && code != SQLITE_ROW && code != SQLITE_DONE)
        status = failure_set(session, code, error);
    sqlite3_reset(statement);
    return status;
}

static dlock_status check(void *memory, void (*warn)(void *arg, const char *text), void *arg, dlock_error *error)
{
    struct sqlite_session *session = memory;
    const dlock_status status = verify_now_and_then(session, error);
    if (status == DLOCK_OK)
        place_check(session->path, warn, arg);
    return status;
}

const dlock_storage dlock_sqlite_storage = {
    .api = DLOCK_STORAGE_API,
    .name = "sqlite",
    .schemes = (const char *const[]){"sqlite", NULL},
    .parameters = (const char *const[]){NULL},
    .capabilities = DLOCK_STORAGE_FENCES,
    .max_sessions = 1, /* one file has one writer at a time */
    .session_size = sizeof(struct sqlite_session),
    .open = open_session,
    .close = close_session,
    .execute = execute,
    .list = list,
    .check = check,
    .watch_fd = watch_descriptor,
    .watch = watch_key,
    .unwatch = watch_no_more,
    .watch_read = watch_read_hints,
};
