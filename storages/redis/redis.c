/* redis.c - locks in Redis: on one node, or on several of which a majority decides (Redlock).
 *
 * The functions of the dlock_storage that the core calls. It is exported twice, by module.c without TLS and by
 * module_tls.c with it, so that those who do not need OpenSSL do not load it. */
#include "redis_storage.h"

#include "session.h"

#include <stdlib.h>

#define PATIENCE_US 50000

dlock_status redis_open(void *memory, const dlock_url *url, const dlock_storage_options *options, dlock_error *error)
{
    struct redis_session *session = memory;
    session->options = options;
    session->epoll = -1;
    session->patience_us = PATIENCE_US;
    const dlock_status status = settings_read(url, options->timeout_ms, &session->settings, error);
    if (status != DLOCK_OK)
        return status;
    session->nodes = calloc(session->settings.count, sizeof *session->nodes);
    if (!session->nodes)
        return dlock_error_set(error, DLOCK_NOMEM, "out of memory");
    session->node_count = session->settings.count;
    for (size_t i = 0; i < session->node_count; i++)
        node_init(&session->nodes[i], &session->settings.addresses[i], session_guard_ms(session, 1) > 0);
    return DLOCK_OK;
}

void redis_close(void *memory)
{
    struct redis_session *session = memory;
    redis_watch_close(session);
    for (size_t i = 0; i < session->node_count; i++)
        node_close(&session->nodes[i]);
    free(session->nodes);
    round_close(session);
}
