/* fuzz_sqlite.c - fuzz target: a database file with our layout, and rows that somebody else has written.
 *
 * The first byte says whether the tables hold their columns to types. Then a line per row, first that of meta, then
 * those of locks; between columns a tab. A value is a letter and what belongs to it: i123 a number, r1.5 one with a
 * fraction, tTEXT, bBYTES, + or - and a number of milliseconds from now, = the boot of this machine; anything else is
 * NULL. Whatever stands there, a file is refused or each request gets one of its statuses, and texts end. */
#include "../storages/sqlite/sqlite_storage.h"
#include "answers.h"

#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define COLUMNS_MAX 6

static const char *const keys[] = {"a", "key", "a", "\xC3\xA4", "a", "b", "a"};
#define REQUESTS (sizeof keys / sizeof *keys)

static char folder[64], path[96], boot_id[64];
static dlock_url url;
static sqlite3 *writer;

static void remove_files(void)
{
    static const char *const names[] = {"", "-wal", "-shm", "-journal"};
    char name[128];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(name, sizeof name, "%s%s", path, names[i]);
        unlink(name);
    }
    snprintf(name, sizeof name, "%s-wake", path);
    for (unsigned i = 0; i < 256; i++) {
        char mark[160];
        snprintf(mark, sizeof mark, "%s/%02x", name, i);
        unlink(mark);
        snprintf(mark, sizeof mark, "%s/%02X", name, i);
        unlink(mark);
    }
    rmdir(name);
}

static void clean_up(void)
{
    sqlite3_close(writer);
    remove_files();
    rmdir(folder);
}

static void *open_session(const dlock_storage_options *options, dlock_status *status, dlock_error *error)
{
    void *session = calloc(1, dlock_sqlite_storage.session_size);
    REQUIRE(session);
    *status = dlock_sqlite_storage.open(session, &url, options, error);
    return session;
}

static void close_session(void *session)
{
    dlock_sqlite_storage.close(session);
    free(session);
}

static const dlock_storage_options options = {.timeout_ms = 1000};

/* A file as the storage makes it, which tells what it calls this boot. */
static void start(void)
{
    const char *temporary = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/dlock-fuzz-XXXXXX", temporary && strlen(temporary) < 40 ? temporary : "/tmp");
    REQUIRE(mkdtemp(folder));
    atexit(clean_up);
    snprintf(path, sizeof path, "%s/locks.db", folder);
    url = (dlock_url){.scheme = "sqlite", .path = path, .text = path};
    dlock_status status;
    dlock_error error;
    void *session = open_session(&options, &status, &error);
    REQUIRE(status == DLOCK_OK);
    close_session(session);
    sqlite3_stmt *row;
    REQUIRE(sqlite3_open(path, &writer) == SQLITE_OK);
    REQUIRE(sqlite3_exec(writer, "PRAGMA synchronous = OFF", NULL, NULL, NULL) == SQLITE_OK);
    REQUIRE(sqlite3_prepare_v2(writer, "SELECT boot_id FROM meta", -1, &row, NULL) == SQLITE_OK);
    REQUIRE(sqlite3_step(row) == SQLITE_ROW);
    snprintf(boot_id, sizeof boot_id, "%s", (const char *)sqlite3_column_text(row, 0));
    sqlite3_finalize(row);
}

/* ---- the rows -----------------------------------------------------------------------------------------------------
 */

static void bind(sqlite3_stmt *statement, int column, const char *text, size_t size)
{
    char number[32] = "";
    if (size > 1)
        memcpy(number, text + 1, size - 1 < sizeof number ? size - 1 : sizeof number - 1);
    switch (size ? text[0] : '\0') {
    case 'i':
        sqlite3_bind_int64(statement, column, strtoll(number, NULL, 10));
        break;
    case '+':
    case '-':
        sqlite3_bind_int64(statement, column,
                           dlock_clock_us() +
                               (text[0] == '+' ? 1000 : -1000) * (strtoll(number, NULL, 10) % 100000000));
        break;
    case 'r':
        sqlite3_bind_double(statement, column, strtod(number, NULL));
        break;
    case 't':
        sqlite3_bind_text(statement, column, text + 1, (int)size - 1, SQLITE_TRANSIENT);
        break;
    case 'b':
        sqlite3_bind_blob(statement, column, text + 1, (int)size - 1, SQLITE_TRANSIENT);
        break;
    case '=':
        sqlite3_bind_text(statement, column, boot_id, -1, SQLITE_STATIC);
        break;
    default:
        sqlite3_bind_null(statement, column);
    }
}

/* What the tables do not take is left out. */
static void insert(const char *sql, int columns, const char *line, size_t size)
{
    sqlite3_stmt *statement;
    REQUIRE(sqlite3_prepare_v2(writer, sql, -1, &statement, NULL) == SQLITE_OK);
    for (int column = 1; column <= columns; column++) {
        const char *tab = memchr(line, '\t', size);
        const size_t length = tab ? (size_t)(tab - line) : size;
        bind(statement, column, line, length);
        line += tab ? length + 1 : length;
        size -= tab ? length + 1 : length;
    }
    sqlite3_step(statement);
    sqlite3_finalize(statement);
}

static void write_rows(const char *text, size_t size, bool strict)
{
    char sql[1024];
    snprintf(sql, sizeof sql,
             "BEGIN; DROP TABLE locks; DROP TABLE meta;"
             "CREATE TABLE locks (key TEXT PRIMARY KEY, owner TEXT NOT NULL, fence INTEGER NOT NULL, ttl_ms INTEGER NOT"
             " NULL, acquired_at INTEGER NOT NULL, expires_at INTEGER NOT NULL) %s WITHOUT ROWID;"
             "CREATE TABLE meta (id INTEGER PRIMARY KEY CHECK (id = 1), boot_id TEXT%s, fence INTEGER%s, sweep TEXT%s,"
             " marks TEXT%s)%s;",
             strict ? "STRICT," : "", strict ? " NOT NULL" : "", strict ? " NOT NULL" : "", strict ? " NOT NULL" : "",
             strict ? " NOT NULL" : "", strict ? " STRICT" : "");
    REQUIRE(sqlite3_exec(writer, sql, NULL, NULL, NULL) == SQLITE_OK);
    for (unsigned row = 0; size > 0; row++) {
        const char *end = memchr(text, '\n', size);
        const size_t length = end ? (size_t)(end - text) : size;
        if (row == 0)
            insert("INSERT OR IGNORE INTO meta VALUES (1, ?1, ?2, ?3, ?4)", 4, text, length);
        else
            insert("INSERT OR IGNORE INTO locks VALUES (?1, ?2, ?3, ?4, ?5, ?6)", COLUMNS_MAX, text, length);
        text += end ? length + 1 : length;
        size -= end ? length + 1 : length;
    }
    REQUIRE(sqlite3_exec(writer, "COMMIT", NULL, NULL, NULL) == SQLITE_OK);
}

/* ---- what the storage makes of them -------------------------------------------------------------------------------
 */

static void check_info(const dlock_info *info)
{
    REQUIRE_TEXT(info->owner);
    REQUIRE(info->ttl_ms <= DLOCK_TTL_MAX_MS);
    REQUIRE(info->held_ms >= -1 && info->remaining_ms >= -1);
}

static void ask(void *session)
{
    dlock_request requests[REQUESTS], *pointers[REQUESTS];
    make_requests(requests, pointers, keys, REQUESTS);
    dlock_sqlite_storage.execute(session, pointers, REQUESTS);
    for (size_t i = 0; i < REQUESTS; i++) {
        const dlock_request *request = &requests[i];
        REQUIRE_TEXT(request->message);
        check_info(&request->info);
        if (request->status == DLOCK_UNAVAILABLE || request->status == DLOCK_REFUSED)
            REQUIRE(request->message[0]);
        else
            REQUIRE(request->status == DLOCK_OK || request->status == DLOCK_LOST ||
                    (request->status == DLOCK_BUSY && request->operation == DLOCK_ACQUIRE));
        if (request->status == DLOCK_OK && request->operation == DLOCK_ACQUIRE)
            REQUIRE(request->info.fence > 0 && request->info.fence <= INT64_MAX);
    }
}

static bool show(void *arg, const char *key, const dlock_info *info)
{
    (void)arg;
    REQUIRE(key[0] && strlen(key) <= DLOCK_KEY_MAX);
    check_info(info);
    return true;
}

static void warn(void *arg, const char *text)
{
    (void)arg;
    REQUIRE(text[0] && strlen(text) < DLOCK_MESSAGE_SIZE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    if (!writer)
        start();
    write_rows((const char *)data + 1, size - 1, data[0] & 1);
    dlock_status status;
    dlock_error error;
    void *session = open_session(&options, &status, &error);
    require_error(status, &error);
    if (status == DLOCK_OK) {
        ask(session);
        status = dlock_sqlite_storage.list(session, "", show, NULL, &error);
        require_error(status, &error);
        status = dlock_sqlite_storage.check(session, warn, NULL, &error);
        require_error(status, &error);
    }
    close_session(session);
    return 0;
}
