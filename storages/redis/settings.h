/* settings.h - what the URLs of a session say: where its nodes are and how to get in, and what holds for all of them.
 */
#ifndef DLOCK_REDIS_SETTINGS_H
#define DLOCK_REDIS_SETTINGS_H

#include "dlock_storage.h"

#define PREFIX_MAX 256
#define NODES_MAX  31 /* of a quorum: one bit each, and more than anybody has a use for */

/* One node. Strings belong to the URL; NULL = not given. */
struct address {
    char name[128];   /* for messages: HOST:PORT, or the path of a socket */
    const char *host; /* NULL = `path` */
    const char *path; /* of a unix socket */
    const char *user, *password;
    uint16_t port;
    uint32_t database;
    bool tls, insecure;
    const char *ca, *certificate, *key; /* files, of TLS */
};

#define GUARD_DEFAULT (-1) /* one node: off; several: the ttl that is asked for */

struct settings {
    struct address addresses[NODES_MAX];
    size_t count;
    const char *prefix;
    uint32_t connect_timeout_ms;
    int64_t guard_ms; /* for so long a node that was restarted has no vote; 0 = off */
};

/* Parameters that settings_read knows; those of TLS come last. */
#define SETTINGS_PARAMETERS     "prefix", "db", "connect_timeout_ms", "restart_guard_ms"
#define SETTINGS_TLS_PARAMETERS "ca", "cert", "key", "insecure"

/* Reads one URL, or several. Errors: INVALID. */
dlock_status settings_read(const dlock_url *urls, uint32_t timeout_ms, struct settings *ret, dlock_error *error);

#endif
