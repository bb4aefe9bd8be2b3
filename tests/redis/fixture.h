/* fixture.h - what the tests of the Redis storage share: sessions of it, and a look into the servers behind its back.
 */
#ifndef DLOCK_TESTS_REDIS_FIXTURE_H
#define DLOCK_TESTS_REDIS_FIXTURE_H

#include "opened.h"
#include "proxy.h"
#include "server.h"
#include "support.h"

#define LONG_MS 600000 /* a ttl, or a timeout, that is not over while a test runs */

/* A session of the storage that a URL names, which stands for a process. */
struct client {
    const dlock_storage *storage;
    dlock_url *url;
    dlock_storage_options options;
    void *session;
};

__attribute__((format(printf, 2, 3))) struct client *client_open(uint32_t timeout_ms, const char *format, ...);
void client_close(struct client *client);

/* As the library does: after an answer of UNAVAILABLE the session is closed, and a new one opened for what follows. */
dlock_request client_ask(struct client *client, dlock_operation operation, const char *key, const char *owner,
                         uint32_t ttl_ms);
void client_execute(struct client *client, dlock_request *requests, size_t count);

/* The status is as wanted. */
#define assert_status(request, wanted) assert_answer(request, wanted, "", "", __FILE__, __LINE__)

/* The request failed so, and its message has both texts: a node's name, and the cause. */
#define assert_failed(request, wanted, node, cause) assert_answer(request, wanted, node, cause, __FILE__, __LINE__)
void assert_answer(dlock_request request, dlock_status wanted, const char *node, const char *cause, const char *file,
                   int line);

/* Acquires and releases `key`: everything works. Returns the fence. */
#define assert_works(client, key) assert_pair(client, key, __FILE__, __LINE__)
uint64_t assert_pair(struct client *client, const char *key, const char *file, int line);

/* Asks until the status is as wanted, for what comes back in its own time. Returns the last answer. */
dlock_request client_ask_until(struct client *client, dlock_status wanted, dlock_operation operation, const char *key,
                               const char *owner, uint32_t ttl_ms);

/* A factory over the URL. */
__attribute__((format(printf, 1, 2))) dlock_factory *factory_open(const char *format, ...);
dlock *lock_of(dlock_factory *factory, const char *key);
#define assert_call(call, wanted, error)                                                                               \
    do {                                                                                                               \
        const dlock_status called = (call);                                                                            \
        if (called != (wanted))                                                                                        \
            fail_msg("%s:%d: %s %s", __FILE__, __LINE__, dlock_status_name(called), (error)->message);                 \
    } while (0)

/* Gives a command to one of the servers past the storage, and returns its answer as text, good until the next call: an
 * error as it came, nothing as "nil", a list with spaces between. `raw_login`, if it is set, is the password. */
extern const char *raw_login;
__attribute__((format(printf, 3, 4))) const char *raw(struct server *server, int node, const char *format, ...);

/* The names of all keys of a node. */
const char *raw_keys(struct server *server, int node);

/* Puts a proxy before each of the nodes, which are emptied. */
void proxies_start(struct proxy *proxies, struct server *nodes, int count);
void proxies_stop(struct proxy *proxies, int count);

/* The node behind the proxy is gone, as if it had been killed. */
void proxy_lose(struct proxy *proxy);

/* HOST:PORT of a server or a proxy, as messages name it. */
const char *name_of(struct server *server, int node);
const char *name_of_proxy(const struct proxy *proxy);

#endif
