/* layout.c - opening the file: is it ours, is it of this boot, and making it if it is not there.
 *
 * Called by sqlite.c when a session is opened. What is not ours is only looked at: its header is read before SQLite
 * touches it, since SQLite would play back logs and add files. Docs: docs/storages.md. */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define HEADER_SIZE  100
#define BOOT_ID_SIZE 37

/* Pages are small because a first opening reads the whole log, and because a commit writes whole pages. */
#define PAGE_SIZE "1024"
#define LOG_PAGES 200

/* More fences than a power cut can make the file forget, since the log is synced every LOG_PAGES. */
#define FENCE_JUMP (INT64_C(1) << 20)

#define TEXT_OF(x) #x
#define AS_TEXT(x) TEXT_OF(x)

/* clang-format off */
static const char create_sql[] =
    "PRAGMA page_size = " PAGE_SIZE ";"
    "BEGIN EXCLUSIVE;"
    "CREATE TABLE locks (key TEXT PRIMARY KEY, owner TEXT NOT NULL, fence INTEGER NOT NULL, ttl_ms INTEGER NOT NULL,"
    " acquired_at INTEGER NOT NULL, expires_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE meta (id INTEGER PRIMARY KEY CHECK (id = 1), boot_id TEXT NOT NULL, fence INTEGER NOT NULL,"
    " sweep TEXT NOT NULL, marks TEXT NOT NULL) STRICT;"
    "INSERT INTO meta VALUES (1, '', 0, '', hex(zeroblob(" AS_TEXT(WATCH_MARKS) " / 2)));"
    "PRAGMA application_id = " AS_TEXT(LAYOUT_APPLICATION_ID) ";"
    "PRAGMA user_version = " AS_TEXT(LAYOUT_VERSION) ";"
    "COMMIT;";
/* clang-format on */

enum header { HEADER_EMPTY, HEADER_OURS, HEADER_OURS_WITHOUT_LOG, HEADER_NEWER, HEADER_FOREIGN, HEADER_NO_DATABASE };

static uint32_t number_at(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* Looks at the file through SQLite's own descriptor: closing another one would drop the locks of this process. */
static int read_header(struct sqlite_session *session, enum header *ret)
{
    sqlite3_file *file = NULL;
    sqlite3_int64 size;
    unsigned char header[HEADER_SIZE] = {0};
    struct stat status;
    sqlite3_file_control(session->db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    int code = file->pMethods->xFileSize(file, &size);
    if (code == SQLITE_OK && size >= HEADER_SIZE)
        code = file->pMethods->xRead(file, header, sizeof header, 0);
    if (code != SQLITE_OK)
        return code;

    const uint32_t version = number_at(header + 60);
    /* To SQLite a file of one byte is empty. */
    if (size == 0 && stat(session->path, &status) == 0 && status.st_size == 0)
        *ret = HEADER_EMPTY;
    else if (size < HEADER_SIZE || memcmp(header, "SQLite format 3", 16) != 0)
        *ret = HEADER_NO_DATABASE;
    else if (number_at(header + 68) != LAYOUT_APPLICATION_ID || version < LAYOUT_VERSION)
        *ret = HEADER_FOREIGN;
    else if (version > LAYOUT_VERSION)
        *ret = HEADER_NEWER;
    else
        *ret = header[18] == 2 && header[19] == 2 ? HEADER_OURS : HEADER_OURS_WITHOUT_LOG;
    return SQLITE_OK;
}

/* The tables and columns of a file that is not ours, read without locks and logs; NULL = it cannot be read so. */
static char *describe(const char *path)
{
    static const char sql[] =
        "SELECT group_concat(name || '(' || columns || ')', ', ') FROM (SELECT m.name, group_concat(c.name, ', ') AS"
        " columns FROM sqlite_schema m, pragma_table_info(m.name) c WHERE m.type = 'table' GROUP BY m.name ORDER BY 1)";
    char *found = NULL, *uri = NULL, *encoded = malloc(3 * strlen(path) + 1), *out = encoded;
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    if (!encoded)
        goto end;
    for (const char *in = path; *in; in++)
        out += sprintf(out, strchr("%?#", *in) ? "%%%02X" : "%c", (unsigned char)*in);
    *out = '\0';
    if (asprintf(&uri, "file:%s?immutable=1", encoded) < 0) {
        uri = NULL;
        goto end;
    }
    if (sqlite3_open_v2(uri, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW &&
        sqlite3_column_text(statement, 0))
        found = strdup((const char *)sqlite3_column_text(statement, 0));
end:
    sqlite3_finalize(statement);
    sqlite3_close(db);
    free(uri);
    free(encoded);
    return found;
}

static dlock_status refuse_layout(const struct sqlite_session *session, dlock_error *error)
{
    char *found = describe(session->path);
    const dlock_status status = dlock_error_set(error, DLOCK_REFUSED,
                                                "%s: an SQLite database of something else; expected are the tables of "
                                                "dlock, found %s",
                                                session->path, found ? found : "none that can be read");
    free(found);
    return status;
}

static dlock_status refuse(const struct sqlite_session *session, enum header header, dlock_error *error)
{
    if (header == HEADER_FOREIGN)
        return refuse_layout(session, error);
    if (header == HEADER_NEWER)
        return dlock_error_set(
            error, DLOCK_REFUSED,
            "%s: it was made by a newer version of dlock; this one knows layout " AS_TEXT(LAYOUT_VERSION),
            session->path);
    return dlock_error_set(error, DLOCK_REFUSED, "%s: not an SQLite database", session->path);
}

/* SQLite keeps going after an error, so the first one is what counts. */
static int execute(struct sqlite_session *session, const char *sql)
{
    const int code = sqlite3_exec(session->db, sql, NULL, NULL, NULL);
    if (code != SQLITE_OK && !sqlite3_get_autocommit(session->db))
        sqlite3_exec(session->db, "ROLLBACK", NULL, NULL, NULL);
    return code;
}

/* Switching to the log needs the file for itself, and SQLite does not wait for that. */
static int switch_to_log(struct sqlite_session *session)
{
    int code;
    for (unsigned tries = 0;; tries++) {
        code = execute(session, "PRAGMA journal_mode = WAL");
        if ((code & 0xFF) != SQLITE_BUSY || !session_pause(session, tries))
            return code;
    }
}

/* Brings a file that is empty, or that somebody did not finish making, into our layout. Called with the folder locked.
 */
static dlock_status make(struct sqlite_session *session, dlock_error *error)
{
    enum header header = HEADER_FOREIGN;
    /* Reading makes SQLite play back what a killed maker left. */
    int code = execute(session, "SELECT count(*) FROM sqlite_schema");
    if (code == SQLITE_OK)
        code = read_header(session, &header);
    if (code == SQLITE_OK && header == HEADER_EMPTY)
        code = execute(session, create_sql);
    if (code == SQLITE_OK && header != HEADER_OURS)
        code = switch_to_log(session);
    return code == SQLITE_OK ? DLOCK_OK : failure_set(session, code, error);
}

static int wait_while_busy(void *arg, int tries)
{
    return session_pause(arg, (unsigned)tries);
}

/* Opens the database, which exists, and tells what it is. */
static dlock_status open_database(struct sqlite_session *session, enum header *ret, dlock_error *error)
{
    int code = sqlite3_open_v2(session->path, &session->db,
                               SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    if (code == SQLITE_OK && sqlite3_db_readonly(session->db, "main"))
        code = SQLITE_READONLY;
    if (code == SQLITE_OK)
        code = read_header(session, ret);
    if (code != SQLITE_OK)
        return failure_set(session, code, error);
    sqlite3_busy_handler(session->db, wait_while_busy, session);
    /* A short command must not wait for the disk when it ends. */
    sqlite3_db_config(session->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_wal_autocheckpoint(session->db, LOG_PAGES);
    return DLOCK_OK;
}

static void close_database(struct sqlite_session *session)
{
    sqlite3_close(session->db);
    session->db = NULL;
}

/* Locks the folder against others who make files in it; *ret is closed by the caller, -1 = it cannot be locked. */
static dlock_status lock_folder(struct sqlite_session *session, int *ret, dlock_error *error)
{
    char *folder = place_folder(session->path);
    if (!folder)
        return dlock_error_set(error, DLOCK_NOMEM, "out of memory");
    const int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    dlock_status status = DLOCK_OK;
    for (unsigned tries = 0; descriptor >= 0 && flock(descriptor, LOCK_EX | LOCK_NB) != 0; tries++)
        if (!session_pause(session, tries)) {
            status = dlock_error_set(error, DLOCK_UNAVAILABLE, "%s: another process keeps its folder %s locked",
                                     session->path, folder);
            break;
        }
    free(folder);
    if (status == DLOCK_OK)
        *ret = descriptor;
    else
        close(descriptor);
    return status;
}

/* Makes an empty file that only we can read; mknod, since a descriptor that is closed would drop the locks that
 * another thread may already have on the file. Logs of a file of this name that is gone would be taken for its own. */
static dlock_status make_file(struct sqlite_session *session, dlock_error *error)
{
    static const char *const endings[] = {"-wal", "-shm", "-journal"};
    if (access(session->path, F_OK) == 0)
        return DLOCK_OK;
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        char *name;
        if (asprintf(&name, "%s%s", session->path, endings[i]) < 0)
            return dlock_error_set(error, DLOCK_NOMEM, "out of memory");
        unlink(name);
        free(name);
    }
    if (mknod(session->path, S_IFREG | 0600, 0) == 0 || errno == EEXIST)
        return DLOCK_OK;
    const dlock_status status = errno == ENOSPC || errno == EDQUOT ? DLOCK_UNAVAILABLE : DLOCK_REFUSED;
    return dlock_error_set(error, status, "%s: cannot be made: %s", session->path, strerror(errno));
}

/* The slow way in, for a file that is not there or not what it should be: whoever makes it now is let finish first. */
static dlock_status open_and_make(struct sqlite_session *session, dlock_error *error)
{
    int lock = -1;
    enum header header = HEADER_FOREIGN;
    dlock_status status = lock_folder(session, &lock, error);
    if (status == DLOCK_OK)
        status = make_file(session, error);
    if (status == DLOCK_OK)
        status = open_database(session, &header, error);
    if (status == DLOCK_OK && (header == HEADER_EMPTY || header == HEADER_OURS_WITHOUT_LOG))
        status = make(session, error);
    else if (status == DLOCK_OK && header != HEADER_OURS)
        status = refuse(session, header, error);
    if (lock >= 0)
        close(lock);
    return status;
}

static dlock_status read_boot_id(char ret[BOOT_ID_SIZE], dlock_error *error)
{
    static const char path[] = "/proc/sys/kernel/random/boot_id";
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t size = descriptor >= 0 ? read(descriptor, ret, BOOT_ID_SIZE - 1) : -1;
    const int cause = errno;
    if (descriptor >= 0)
        close(descriptor);
    if (size != BOOT_ID_SIZE - 1)
        return dlock_error_set(error, DLOCK_REFUSED, "%s, which tells one boot from another, cannot be read: %s", path,
                               size < 0 ? strerror(cause) : "too short");
    ret[BOOT_ID_SIZE - 1] = '\0';
    return DLOCK_OK;
}

/* Is `boot_id` the one that the file was last used in? */
static int read_boot(struct sqlite_session *session, const char *boot_id, bool *same)
{
    sqlite3_stmt *statement;
    int code = sqlite3_prepare_v2(session->db, "SELECT boot_id = ?1 FROM meta", -1, &statement, NULL);
    if (code != SQLITE_OK)
        return code;
    sqlite3_bind_text(statement, 1, boot_id, -1, SQLITE_STATIC);
    code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        *same = sqlite3_column_int(statement, 0) != 0;
    sqlite3_finalize(statement);
    return code == SQLITE_ROW ? SQLITE_OK : code == SQLITE_DONE ? SQLITE_CORRUPT : code;
}

/* The clock started anew, so no expiry means anything: every lease is void. Fences go on from a number that is greater
 * than all before, also if the file has forgotten some, or is new in place of one that was deleted. */
static int begin_boot(struct sqlite_session *session, const char *boot_id)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    char *sql =
        sqlite3_mprintf("BEGIN IMMEDIATE;"
                        "DELETE FROM locks WHERE (SELECT boot_id FROM meta) <> %Q;"
                        "UPDATE meta SET boot_id = %Q, fence = max(fence + %lld, %lld), sweep = ''"
                        " WHERE boot_id <> %Q;"
                        "COMMIT",
                        boot_id, boot_id, FENCE_JUMP, now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000, boot_id);
    const int code = sql ? execute(session, sql) : SQLITE_NOMEM;
    sqlite3_free(sql);
    return code;
}

/* Synchronous is FULL until the file is of this boot, since that must outlast a power cut; single locks need not. */
static dlock_status prepare(struct sqlite_session *session, dlock_error *error)
{
    char boot_id[BOOT_ID_SIZE];
    bool same = false;
    const dlock_status status = read_boot_id(boot_id, error);
    if (status != DLOCK_OK)
        return status;
    int code = read_boot(session, boot_id, &same);
    if (code == SQLITE_OK && !same)
        code = begin_boot(session, boot_id);
    if (code == SQLITE_OK)
        code = execute(session, "PRAGMA synchronous = NORMAL");
    if (code == SQLITE_OK)
        return DLOCK_OK;
    return code == SQLITE_ERROR ? refuse_layout(session, error) : failure_set(session, code, error);
}

dlock_status layout_open(struct sqlite_session *session, dlock_error *error)
{
    enum header header = HEADER_EMPTY;
    dlock_status status = DLOCK_OK;
    if (access(session->path, F_OK) == 0)
        status = open_database(session, &header, error);
    if (status == DLOCK_OK && header != HEADER_OURS) {
        close_database(session);
        status = open_and_make(session, error);
    }
    return status == DLOCK_OK ? prepare(session, error) : status;
}
