/* opened.h - a session of a storage that a test opens past the library, and what it asks it. */
#ifndef DLOCK_TESTS_OPENED_H
#define DLOCK_TESTS_OPENED_H

#include "dlock_storage.h"

/* Opens a session over `url`, which is taken over, and returns what the storage says. Closed by opened_close. */
dlock_status opened_new(const dlock_storage *storage, dlock_url *url, uint32_t timeout_ms, void **ret,
                        dlock_error *error);
void opened_close(const dlock_storage *storage, void *session);

dlock_request request_of(dlock_operation operation, const char *key, const char *owner, uint32_t ttl_ms);

/* Asks a session one thing. */
dlock_request opened_ask(const dlock_storage *storage, void *session, dlock_request request);

#endif
