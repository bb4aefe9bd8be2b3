/* sqlite.c - the embedded storage: locks in one SQLite file on this machine. */
#include "sqlite_storage.h"

static dlock_status open_session(void *session, const dlock_url *url, const dlock_storage_options *options,
                                 dlock_error *error)
{
    (void)session, (void)url, (void)options;
    return dlock_error_set(error, DLOCK_UNSUPPORTED, "the embedded storage is not there yet");
}

static void close_session(void *session)
{
    (void)session;
}

const dlock_storage dlock_sqlite_storage = {
    .api = DLOCK_STORAGE_API,
    .name = "sqlite",
    .schemes = (const char *const[]){"sqlite", NULL},
    .open = open_session,
    .close = close_session,
};
