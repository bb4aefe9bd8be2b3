/* opened.c - see opened.h. */
#include "opened.h"

#include "support.h"
#include "url.h"

#include <stdlib.h>

/* What a session is opened over must live as long as it does. */
struct opened {
    dlock_url *url;
    dlock_storage_options options;
    _Alignas(max_align_t) char session[];
};

static struct opened *opened_of(void *session)
{
    return (struct opened *)((char *)session - offsetof(struct opened, session));
}

dlock_status opened_new(const dlock_storage *storage, dlock_url *url, uint32_t timeout_ms, void **ret,
                        dlock_error *error)
{
    struct opened *opened = calloc(1, sizeof *opened + storage->session_size);
    assert_non_null(opened);
    opened->url = url;
    opened->options.timeout_ms = timeout_ms;
    const dlock_status status = storage->open(opened->session, url, &opened->options, error);
    if (status == DLOCK_OK)
        *ret = opened->session;
    else
        opened_close(storage, opened->session);
    return status;
}

void opened_close(const dlock_storage *storage, void *session)
{
    struct opened *opened = opened_of(session);
    storage->close(session);
    url_free(opened->url);
    free(opened);
}

dlock_request request_of(dlock_operation operation, const char *key, const char *owner, uint32_t ttl_ms)
{
    return (dlock_request){
        .operation = operation, .key = key, .owner = owner, .ttl_ms = ttl_ms, .status = DLOCK_UNAVAILABLE};
}

dlock_request opened_ask(const dlock_storage *storage, void *session, dlock_request request)
{
    dlock_request *const requests[] = {&request};
    storage->execute(session, requests, 1);
    return request;
}
