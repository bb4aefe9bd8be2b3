/* session.h - one connection of a storage: opened when first needed, closed when it is broken.
 *
 * Used by one thread at a time: the exchange, each courier and the watcher have their own. */
#ifndef DLOCK_SRC_SESSION_H
#define DLOCK_SRC_SESSION_H

#include "dlock_storage.h"

#include <stdatomic.h>

/* What all sessions of a factory were asked for; see dlock_stats. */
struct session_counts {
    atomic_uint_least64_t requests, batches;
};

/* What sessions are opened over; one per factory, unchanged while it lives. */
struct session_source {
    const dlock_storage *storage;
    const dlock_url *url;
    dlock_storage_options options;
    struct session_counts *counts;
};

struct session {
    const struct session_source *source;
    void *memory; /* the storage's own; NULL = not open */
};

/* Opens the session if it is not open. */
dlock_status session_open(struct session *session, dlock_error *error);

/* Closes it if it is open; it may be opened again. */
void session_close(struct session *session);

/* Carries out the requests, opening the session before if need be and closing it after if it turned out broken.
 * Returns false if any answer is UNAVAILABLE. */
bool session_execute(struct session *session, dlock_request *const *requests, size_t count);

/* The same in two steps, for those who must not wait; see dlock_storage.begin. A session that is not open cannot begin.
 * session_begin is false if nothing was sent. session_proceed is true when everything is answered, and then closes a
 * broken session. session_descriptor is readable when there is something to go on with; -1 = there is no connection. */
bool session_can_begin(const struct session *session);
bool session_begin(struct session *session, dlock_request *const *requests, size_t count);
bool session_proceed(struct session *session, dlock_request *const *requests, size_t count, bool wait);
int session_descriptor(const struct session *session);

#endif
