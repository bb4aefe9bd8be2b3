/* fixture.h - what the tests of the MongoDB storage share: a server, a proxy before it, sessions, and a look into the
 * collection behind the storage's back. */
#ifndef DLOCK_TESTS_MONGODB_FIXTURE_H
#define DLOCK_TESTS_MONGODB_FIXTURE_H

#include "opened.h"
#include "support.h"
#include "wire.h"

#include <mongoc/mongoc.h>

#define LONG_MS  600000
#define SHORT_MS 100

extern const dlock_storage *storage;
extern struct wire wire;               /* before the server */
extern mongoc_collection_t *documents; /* of the locks, without the proxy */

/* Starts all that for the program, which calls it in main before its tests, and fixture_stop after them. */
void fixture_start(void);
void fixture_stop(void);

/* Kills the server and starts it again; false if it is somebody else's. */
bool restart_server(void);

/* A URL of the server through the proxy, and one without it; `more` parameters begin with &. Good until the next four
 * calls. */
const char *url_by_proxy(const char *more);
const char *url_direct(const char *more);

dlock_status try_open(const char *url, uint32_t timeout_ms, void **ret, dlock_error *error);
void *open_url(const char *url, uint32_t timeout_ms);
void close_session(void *session);

/* Setup and teardown of each test: keys of its own, no rules, and two sessions. `watched` goes through the proxy. */
extern void *watched, *other;
int begin_test(void **state);
int end_test(void **state);
#define mongo_test(function) cmocka_unit_test_setup_teardown(function, begin_test, end_test)

const char *key_of(const char *name);

dlock_request ask(void *session, dlock_operation operation, const char *key, const char *owner, uint32_t ttl_ms);
uint64_t acquire(void *session, const char *key, const char *owner, uint32_t ttl_ms);
dlock_info inspect(void *session, const char *key);

/* Until the server says that it is over. Also for calls of the proxy. */
void wait_for_expiry(void *session, const char *key);

#define assert_status(request, wanted) assert_answer(request, wanted, __FILE__, __LINE__)
void assert_answer(dlock_request request, dlock_status wanted, const char *file, int line);

/* The commands that went through the proxy since the last call. */
#define assert_commands(wanted) assert_names(wanted, __FILE__, __LINE__)
void assert_names(const char *wanted, const char *file, int line);

/* Inserts a document (JSON), or counts those that match. */
void insert(const char *json);
int64_t count(const char *json);

/* The _id of a key. */
const char *id_of(const char *key);

#endif
