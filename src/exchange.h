/* exchange.h - many threads' requests -> one batch -> one session.
 *
 * A thread that finds a free session carries its own requests: one round trip, no thread switch. If all sessions are
 * out, or those that are out carry many, its requests wait, and the thread that gets the next free session carries all
 * that wait in one batch. Used by lock.c and factory.c. */
#ifndef DLOCK_SRC_EXCHANGE_H
#define DLOCK_SRC_EXCHANGE_H

#include "fleet.h"
#include "session.h"

#include <pthread.h>
#include <stdatomic.h>

#define EXCHANGE_SESSIONS_MAX 4
#define EXCHANGE_BATCH_MAX    256

enum ticket_state { TICKET_WAITS, TICKET_IS_CARRIED, TICKET_IS_ANSWERED, TICKET_HAS_SESSION };

/* A thread that found no free session, on its stack. */
struct ticket {
    struct ticket *next;
    dlock_request *const *requests; /* NULL = wants the session itself */
    size_t count;
    atomic_uint state;
    struct session *session;
};

struct exchange {
    pthread_mutex_t *mutex; /* guards everything here; held by the caller of every function below */
    const struct session_source *source;
    struct session sessions[EXCHANGE_SESSIONS_MAX];
    struct session *idle[EXCHANGE_SESSIONS_MAX]; /* a stack: the one used last is taken first */
    size_t idle_count;
    struct ticket *first, *last; /* of the queue */
    size_t waiting;              /* in the queue; one who wants a session to itself counts as many */
    struct fleet out;
    int64_t patience_us; /* of one who is held back, since those that are out may hang */
};

void exchange_init(struct exchange *exchange, pthread_mutex_t *mutex, const struct session_source *source);
void exchange_deinit(struct exchange *exchange);

/* Carries out up to EXCHANGE_BATCH_MAX requests, which all are answered on return. The mutex is released meanwhile. */
void exchange_carry(struct exchange *exchange, dlock_request *const *requests, size_t count);

/* Lends an open session to this thread alone. NULL: see `error`. */
struct session *exchange_borrow(struct exchange *exchange, dlock_error *error);
void exchange_return(struct exchange *exchange, struct session *session);

#endif
