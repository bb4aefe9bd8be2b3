/* exchange.c - see exchange.h. */
#include "exchange.h"

#include "futex.h"

#include <string.h>

#define PATIENCE_US 50000

void exchange_init(struct exchange *exchange, pthread_mutex_t *mutex, const struct session_source *source)
{
    const unsigned wanted = source->storage->max_sessions;
    const size_t count = wanted < 1 ? 1 : wanted < EXCHANGE_SESSIONS_MAX ? wanted : EXCHANGE_SESSIONS_MAX;
    *exchange = (struct exchange){.mutex = mutex, .source = source, .idle_count = count, .patience_us = PATIENCE_US};
    for (size_t i = 0; i < count; i++) {
        exchange->sessions[i].source = source;
        exchange->idle[count - 1 - i] = &exchange->sessions[i];
    }
}

void exchange_deinit(struct exchange *exchange)
{
    for (size_t i = 0; i < EXCHANGE_SESSIONS_MAX; i++)
        session_close(&exchange->sessions[i]);
}

/* Who wants a session to itself is not held back. */
static size_t weight(const struct ticket *ticket)
{
    return ticket->requests ? 1 : EXCHANGE_BATCH_MAX;
}

static void enqueue(struct exchange *exchange, struct ticket *ticket)
{
    if (exchange->last)
        exchange->last->next = ticket;
    else
        exchange->first = ticket;
    exchange->last = ticket;
    exchange->waiting += weight(ticket);
}

static void dequeue(struct exchange *exchange, struct ticket *ticket)
{
    struct ticket *before = NULL;
    for (struct ticket *t = exchange->first; t != ticket; t = t->next)
        before = t;
    if (before)
        before->next = ticket->next;
    else
        exchange->first = ticket->next;
    if (exchange->last == ticket)
        exchange->last = before;
    exchange->waiting -= weight(ticket);
    ticket->next = NULL;
}

/* Waits until the ticket is answered or has a session, or until the operation timeout, when nobody carries it. Who is
 * held back, and out of patience, takes a session that is free. */
static void wait_for_turn(struct exchange *exchange, struct ticket *ticket)
{
    const int64_t deadline = dlock_clock_us() + (int64_t)exchange->source->options.timeout_ms * 1000;
    enqueue(exchange, ticket);
    for (int64_t left; ticket->state == TICKET_WAITS && (left = deadline - dlock_clock_us()) > 0;) {
        const int64_t most = left < exchange->patience_us ? left : exchange->patience_us;
        pthread_mutex_unlock(exchange->mutex);
        futex_wait(&ticket->state, TICKET_WAITS, most);
        pthread_mutex_lock(exchange->mutex);
        if (ticket->state == TICKET_WAITS && exchange->idle_count > 0) {
            dequeue(exchange, ticket);
            ticket->session = exchange->idle[--exchange->idle_count];
            ticket->state = TICKET_HAS_SESSION;
        }
    }
    if (ticket->state == TICKET_WAITS) {
        dequeue(exchange, ticket);
    } else if (ticket->state == TICKET_IS_CARRIED) {
        pthread_mutex_unlock(exchange->mutex);
        while (ticket->state == TICKET_IS_CARRIED)
            futex_wait(&ticket->state, TICKET_IS_CARRIED, FUTEX_FOREVER);
        pthread_mutex_lock(exchange->mutex);
    }
}

static struct session *take_session(struct exchange *exchange, struct ticket *ticket)
{
    if (exchange->idle_count > 0 && fleet_may_set_out(&exchange->out, exchange->waiting + weight(ticket)))
        return exchange->idle[--exchange->idle_count];
    wait_for_turn(exchange, ticket);
    return ticket->session;
}

/* Gives a session back: to the first who waits, whose part it is then to serve all that wait, if they are enough. Who
 * is woken would only wait for the mutex, so it is released first. */
static void pass_on(struct exchange *exchange, struct session *session)
{
    struct ticket *next = exchange->first;
    if (!next || !fleet_may_set_out(&exchange->out, exchange->waiting)) {
        exchange->idle[exchange->idle_count++] = session;
        return;
    }
    dequeue(exchange, next);
    next->session = session;
    next->state = TICKET_HAS_SESSION;
    pthread_mutex_unlock(exchange->mutex);
    futex_wake(&next->state);
    pthread_mutex_lock(exchange->mutex);
}

/* Takes the tickets that fit off the queue; those that want a session to themselves stay. Counts them in `callers`. */
static struct ticket *collect(struct exchange *exchange, dlock_request **batch, size_t *count, size_t *callers)
{
    struct ticket *taken = NULL;
    struct ticket **end = &taken;
    for (struct ticket *t = exchange->first, *next; t; t = next) {
        next = t->next;
        if (!t->requests || *count + t->count > EXCHANGE_BATCH_MAX)
            continue;
        memcpy(batch + *count, t->requests, t->count * sizeof *batch);
        *count += t->count;
        (*callers)++;
        dequeue(exchange, t);
        t->state = TICKET_IS_CARRIED;
        *end = t;
        end = &t->next;
    }
    return taken;
}

/* Each ticket belongs to its thread again as soon as its state says so, and may be gone when that is woken. */
static void answer(struct ticket *carried)
{
    for (struct ticket *ticket = carried, *next; ticket; ticket = next) {
        next = ticket->next;
        ticket->state = TICKET_IS_ANSWERED;
        futex_wake(&ticket->state);
    }
}

void exchange_carry(struct exchange *exchange, dlock_request *const *requests, size_t count)
{
    struct ticket own = {.requests = requests, .count = count};
    struct session *session = take_session(exchange, &own);
    if (own.state == TICKET_IS_ANSWERED)
        return;
    if (!session) {
        for (size_t i = 0; i < count; i++) {
            dlock_request_fail(requests[i], DLOCK_UNAVAILABLE, "no connection came free within %u ms",
                               exchange->source->options.timeout_ms);
            requests[i]->not_done = true;
        }
        return;
    }

    dlock_request *batch[EXCHANGE_BATCH_MAX];
    memcpy(batch, requests, count * sizeof *batch);
    size_t callers = 1;
    struct ticket *carried = collect(exchange, batch, &count, &callers);
    fleet_set_out(&exchange->out, callers);
    pthread_mutex_unlock(exchange->mutex);
    session_execute(session, batch, count);
    pthread_mutex_lock(exchange->mutex);
    fleet_come_back(&exchange->out, callers);
    pass_on(exchange, session);
    if (!carried)
        return;
    pthread_mutex_unlock(exchange->mutex);
    answer(carried);
    pthread_mutex_lock(exchange->mutex);
}

struct session *exchange_borrow(struct exchange *exchange, dlock_error *error)
{
    struct ticket own = {.requests = NULL};
    struct session *session = take_session(exchange, &own);
    if (!session) {
        dlock_error_set(error, DLOCK_UNAVAILABLE, "no connection came free within %u ms",
                        exchange->source->options.timeout_ms);
        return NULL;
    }
    pthread_mutex_unlock(exchange->mutex);
    const dlock_status status = session_open(session, error);
    pthread_mutex_lock(exchange->mutex);
    if (status == DLOCK_OK)
        return session;
    exchange_return(exchange, session);
    return NULL;
}

void exchange_return(struct exchange *exchange, struct session *session)
{
    pass_on(exchange, session);
}
