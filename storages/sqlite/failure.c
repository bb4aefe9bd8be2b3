/* failure.c - what SQLite's codes mean to the user of a lock.
 *
 * Called by sqlite.c and layout.c. */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Why a file cannot be opened or written is told by trying what SQLite needs: the file, and a folder to which it can
 * add its log. */
static dlock_status set_access_failure(const struct sqlite_session *session, dlock_error *error)
{
    const char *path = session->path;
    if (access(path, F_OK) != 0 && errno == ENOENT)
        return dlock_error_set(error, DLOCK_UNAVAILABLE, "%s: the file was deleted while it was being opened", path);
    if (eaccess(path, R_OK | W_OK) != 0)
        return dlock_error_set(error, DLOCK_REFUSED, "%s: cannot be read and written: %s", path, strerror(errno));
    dlock_status status;
    char *folder = place_folder(path);
    if (!folder)
        status = dlock_error_set(error, DLOCK_NOMEM, "out of memory");
    else if (eaccess(folder, W_OK | X_OK) != 0)
        status = dlock_error_set(error, DLOCK_REFUSED, "%s: files cannot be added to its folder %s: %s", path, folder,
                                 strerror(errno));
    else
        status =
            dlock_error_set(error, DLOCK_REFUSED,
                            "%s: it or the files %s-wal and -shm beside it cannot be opened for writing", path, path);
    free(folder);
    return status;
}

static bool is_no_space(const struct sqlite_session *session, int code)
{
    const int cause = session->db ? sqlite3_system_errno(session->db) : 0;
    return code == SQLITE_FULL || ((code & 0xFF) == SQLITE_IOERR && (cause == ENOSPC || cause == EDQUOT));
}

dlock_status failure_set(struct sqlite_session *session, int code, dlock_error *error)
{
    const char *path = session->path;
    if (is_no_space(session, code))
        return dlock_error_set(error, DLOCK_UNAVAILABLE, "%s: there is no space left on its disk", path);
    switch (code & 0xFF) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
        return dlock_error_set(error, DLOCK_UNAVAILABLE, "%s: another process keeps the database locked", path);
    case SQLITE_NOMEM:
        return dlock_error_set(error, DLOCK_NOMEM, "out of memory");
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return dlock_error_set(error, DLOCK_REFUSED,
                               "%s: the file is corrupt (%s); move it away, and a new one is made", path,
                               sqlite3_errstr(code));
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return set_access_failure(session, error);
    default:
        return dlock_error_set(error, DLOCK_UNAVAILABLE, "%s: SQLite answers: %s (code %d)", path,
                               session->db ? sqlite3_errmsg(session->db) : sqlite3_errstr(code), code);
    }
}
