/* session.c - see session.h. */
#include "session.h"

#include <stdlib.h>

dlock_status session_open(struct session *session, dlock_error *error)
{
    if (session->memory)
        return DLOCK_OK;

    const struct session_source *source = session->source;
    session->memory = calloc(1, source->storage->session_size ? source->storage->session_size : 1);
    if (!session->memory)
        return dlock_error_set(error, DLOCK_NOMEM, "out of memory");
    const dlock_status status = source->storage->open(session->memory, source->url, &source->options, error);
    if (status != DLOCK_OK)
        session_close(session);
    return status;
}

void session_close(struct session *session)
{
    if (!session->memory)
        return;
    session->source->storage->close(session->memory);
    free(session->memory);
    session->memory = NULL;
}

/* Nothing was sent: no answer means here that it did not happen. */
static void fail_all(dlock_request *const *requests, size_t count, const dlock_error *error)
{
    for (size_t i = 0; i < count; i++) {
        dlock_request_fail(requests[i], error->status, "%s", error->message);
        requests[i]->not_done = true;
    }
}

/* Empties the answers. */
static void prepare(dlock_request *const *requests, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        requests[i]->status = DLOCK_UNAVAILABLE;
        requests[i]->not_done = false;
        requests[i]->contended = requests[i]->stray = false;
        requests[i]->info = (dlock_info){0};
        requests[i]->message[0] = '\0';
    }
}

static void count_batch(const struct session *session, size_t count)
{
    struct session_counts *counts = session->source->counts;
    atomic_fetch_add_explicit(&counts->requests, count, memory_order_relaxed);
    atomic_fetch_add_explicit(&counts->batches, 1, memory_order_relaxed);
}

/* Closes the session if it turned out broken. False if any answer is UNAVAILABLE. */
static bool look(struct session *session, dlock_request *const *requests, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (requests[i]->status == DLOCK_UNAVAILABLE) {
            session_close(session);
            return false;
        }
    return true;
}

bool session_execute(struct session *session, dlock_request *const *requests, size_t count)
{
    dlock_error error;
    if (session_open(session, &error) != DLOCK_OK) {
        fail_all(requests, count, &error);
        return error.status != DLOCK_UNAVAILABLE;
    }
    prepare(requests, count);
    count_batch(session, count);
    session->source->storage->execute(session->memory, requests, count);
    return look(session, requests, count);
}

bool session_can_begin(const struct session *session)
{
    return session->memory && session->source->storage->begin;
}

bool session_begin(struct session *session, dlock_request *const *requests, size_t count)
{
    prepare(requests, count);
    if (!session->source->storage->begin(session->memory, requests, count))
        return false;
    count_batch(session, count);
    return true;
}

bool session_proceed(struct session *session, dlock_request *const *requests, size_t count, bool wait)
{
    if (!session->source->storage->proceed(session->memory, wait))
        return false;
    look(session, requests, count);
    return true;
}

int session_descriptor(const struct session *session)
{
    return session_can_begin(session) ? session->source->storage->begun_fd(session->memory) : -1;
}
