/* nodes.h - what tests of Redis share: sessions of the storage, and a view of each node that is not the storage's. */
#ifndef DLOCK_TESTS_REDIS_NODES_H
#define DLOCK_TESTS_REDIS_NODES_H

#include "server.h"
#include "session.h"

#include <hiredis/hiredis.h>

/* A session of the storage on the nodes of a URL. */
struct opened {
    struct redis_session session;
    dlock_storage_options options;
    dlock_url *url;
};

void session_start(struct opened *opened, const char *url, uint32_t timeout_ms);
void session_stop(struct opened *opened);

/* Carries out one request. */
dlock_request ask(struct opened *opened, dlock_operation operation, const char *key, const char *owner,
                  uint32_t ttl_ms);

/* A connection to the node at a port of 127.0.0.1. */
redisContext *look(int port);

/* The reply to a command in the form of hiredis, as text: a string, a number, "(nil)", an error behind '-'. Good until
 * the next call with the same connection's thread. */
const char *reply_of(redisContext *node, const char *format, ...);

#endif
