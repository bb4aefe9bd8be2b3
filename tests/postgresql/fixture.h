/* fixture.h - what the tests of the PostgreSQL storage share: a server, sessions, and a look at it by libpq alone. */
#ifndef DLOCK_TESTS_POSTGRESQL_FIXTURE_H
#define DLOCK_TESTS_POSTGRESQL_FIXTURE_H

#include "opened.h"
#include "proxy.h"
#include "server.h"
#include "support.h"

#include "../../storages/postgresql/postgresql_storage.h"

#include <libpq-fe.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LONG_MS 600000

/* Opens a session on a URL, made as by printf; its table is `locks`, its prefix is empty, and it waits 20 seconds
 * unless the URL says otherwise. try_open returns what open says. */
__attribute__((format(printf, 1, 2))) void *open_session(const char *format, ...);
dlock_status try_open(const char *url, uint32_t timeout_ms, void **ret, dlock_error *error);
void close_session(void *session);

dlock_request ask(void *session, dlock_operation operation, const char *key, const char *owner, uint32_t ttl_ms);
uint64_t acquire(void *session, const char *key, const char *owner, uint32_t ttl_ms);
#define assert_status(request, wanted) assert_answer(request, wanted, __FILE__, __LINE__)
void assert_answer(dlock_request request, dlock_status wanted, const char *file, int line);
void assert_holder(void *session, const char *key, const char *owner);

/* Opening fails so, the message says this, and it has no password in it. */
void assert_refused(const char *url, dlock_status status, const char *message);

/* Carries out a batch of up to 16. */
void ask_many(void *session, dlock_request *batch, size_t count);

/* A request, or a batch, that another thread carries out. */
struct asking {
    pthread_t thread;
    void *session;
    dlock_request request, *batch;
    size_t count;
};
void ask_many_in_thread(struct asking *asking, void *session, dlock_request *batch, size_t count);
void ask_in_thread(struct asking *asking, void *session, dlock_operation operation, const char *key, const char *owner,
                   uint32_t ttl_ms);
dlock_request answer_of(struct asking *asking); /* of a batch, the first one's */

/* A connection of the superuser, and what the first field of the first row is, good until the next call. */
PGconn *connect_as_superuser(struct server *server, int number);
__attribute__((format(printf, 2, 3))) const char *sql(PGconn *connection, const char *format, ...);

/* Waits until a backend waits for something of this kind, as pg_stat_activity calls it. */
void wait_until_one_waits_for(PGconn *connection, const char *event);

#endif
