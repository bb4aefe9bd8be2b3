/* internal.h - what the files of the embedded storage share: the session and a few verbs.
 *
 * sqlite.c carries out requests, session.c is what they all stand on, layout.c opens and creates the file, place.c
 * knows folders and file systems, watch.c wakes waiters of other processes, failure.c says what went wrong.
 * docs/storages.md describes the format. */
#ifndef DLOCK_STORAGES_SQLITE_INTERNAL_H
#define DLOCK_STORAGES_SQLITE_INTERNAL_H

#include "dlock_storage.h"

#include <sqlite3.h>

/* Mark of the layout, in the header of the file: "DLCK" and the version. */
#define LAYOUT_APPLICATION_ID 0x444C434B
#define LAYOUT_VERSION        1

enum statement {
    STATEMENT_BEGIN_READ,
    STATEMENT_BEGIN_WRITE,
    STATEMENT_COMMIT,
    STATEMENT_FIND,
    STATEMENT_SET_FENCE,
    STATEMENT_GRANT,
    STATEMENT_EXTEND,
    STATEMENT_DELETE,
    STATEMENT_LIST,
    STATEMENT_SWEEP_RANGE,
    STATEMENT_SWEEP,
    STATEMENT_SET_SWEEP,
    STATEMENT_SET_MARK,
    STATEMENT_COUNT,
};

struct sqlite_session {
    const dlock_storage_options *options;
    char *path; /* of the file, absolute */
    sqlite3 *db;
    sqlite3_stmt *statements[STATEMENT_COUNT]; /* prepared when first needed */
    int64_t deadline;                          /* of the call that runs, by dlock_clock_us */
    int64_t verified_at;                       /* that the file still has its name */
    uint32_t chance;                           /* of pauses */
    struct watch *watch;                       /* NULL = watches nothing */
};

/* ---- session.c */

/* A call begins, and has the operation timeout. */
void session_set_deadline(struct sqlite_session *session);

/* Prepares a statement on its first use. Returns an SQLite code. */
int session_get(struct sqlite_session *session, enum statement which, sqlite3_stmt **ret);

/* Runs a statement whose parameters are bound, to its end. Returns SQLITE_OK or another code. */
int session_finish(sqlite3_stmt *statement);

/* UNAVAILABLE if the file no longer has its name. */
dlock_status session_verify_file(struct sqlite_session *session, dlock_error *error);

/* Sleeps a little before try number `tries` + 2; false if the call's time is over. */
bool session_pause(struct sqlite_session *session, unsigned tries);

/* ---- failure.c */

/* Says why SQLite answered `code`. */
dlock_status failure_set(struct sqlite_session *session, int code, dlock_error *error);

/* ---- layout.c */

/* Opens the file at session->path, creating it if it is not there, and makes it ready for this boot. */
dlock_status layout_open(struct sqlite_session *session, dlock_error *error);

/* ---- place.c */

/* Where the file is: the URL's path, if relative in `folder`, or the default place, whose folders are made. *ret is
 * freed by free(). */
dlock_status place_find(const dlock_url *url, const char *folder, char **ret, dlock_error *error);

/* Is the folder of `path` there, and on a file system of this machine? */
dlock_status place_verify(const char *path, dlock_error *error);

/* The name of the network file system that statfs and /proc/self/mountinfo describe so; NULL = it is none. */
const char *place_network_name(long magic, const char *type);

/* Calls `warn` for whatever of the place of `path` weakens locks. */
void place_check(const char *path, void (*warn)(void *arg, const char *text), void *arg);

/* The folder that `path` is in. Freed by free(); NULL = no memory. */
char *place_folder(const char *path);

/* ---- watch.c */

#define WATCH_MARKS 256

int watch_descriptor(void *session);
dlock_status watch_key(void *session, const char *key, dlock_error *error);
void watch_no_more(void *session, const char *key);
dlock_status watch_read_hints(void *session, void (*hint)(void *arg, const char *key), void *arg, dlock_error *error);
void watch_close(struct sqlite_session *session);

/* The mark of a key: 0 to WATCH_MARKS - 1. */
unsigned watch_mark(const char *key);

/* Tells whoever watches `key` that it has become free. */
void watch_wake(const struct sqlite_session *session, const char *key);

#endif
