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

bool session_execute(struct session *session, dlock_request *const *requests, size_t count)
{
    dlock_error error;
    if (session_open(session, &error) != DLOCK_OK) {
        fail_all(requests, count, &error);
        return error.status != DLOCK_UNAVAILABLE;
    }
    for (size_t i = 0; i < count; i++) {
        requests[i]->status = DLOCK_UNAVAILABLE;
        requests[i]->not_done = false;
        requests[i]->contended = requests[i]->stray = false;
        requests[i]->info = (dlock_info){0};
        requests[i]->message[0] = '\0';
    }
    session->source->storage->execute(session->memory, requests, count);
    for (size_t i = 0; i < count; i++)
        if (requests[i]->status == DLOCK_UNAVAILABLE) {
            session_close(session);
            return false;
        }
    return true;
}
