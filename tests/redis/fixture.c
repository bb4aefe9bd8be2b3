/* fixture.c - see fixture.h. */
#include "fixture.h"

#include "storages.h"
#include "url.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- sessions -----------------------------------------------------------------------------------------------------
 */

static void open_session(struct client *client)
{
    dlock_error error;
    memset(client->session, 0, client->storage->session_size);
    if (client->storage->open(client->session, client->url, &client->options, &error) != DLOCK_OK)
        fail_msg("%s: %s", dlock_status_name(error.status), error.message);
}

struct client *client_open(uint32_t timeout_ms, const char *format, ...)
{
    char text[4096];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    struct client *client = calloc(1, sizeof *client);
    dlock_error error;
    assert_non_null(client);
    client->options.timeout_ms = timeout_ms;
    dlock_status status = url_parse(text, &client->url, &error);
    if (status == DLOCK_OK)
        status = storages_find(client->url, &client->storage, &error);
    if (status != DLOCK_OK)
        fail_msg("%s: %s", dlock_status_name(status), error.message);
    client->session = calloc(1, client->storage->session_size);
    assert_non_null(client->session);
    open_session(client);
    return client;
}

void client_close(struct client *client)
{
    client->storage->close(client->session);
    url_free(client->url);
    free(client->session);
    free(client);
}

dlock_request client_ask(struct client *client, dlock_operation operation, const char *key, const char *owner,
                         uint32_t ttl_ms)
{
    dlock_request request = request_of(operation, key, owner, ttl_ms);
    client_execute(client, &request, 1);
    return request;
}

void client_execute(struct client *client, dlock_request *requests, size_t count)
{
    dlock_request *pointers[128];
    bool reopen = false;
    assert_true(count <= sizeof pointers / sizeof *pointers);
    for (size_t i = 0; i < count; i++)
        pointers[i] = &requests[i];
    client->storage->execute(client->session, pointers, count);
    for (size_t i = 0; i < count; i++)
        reopen |= requests[i].status == DLOCK_UNAVAILABLE;
    if (!reopen)
        return;
    client->storage->close(client->session);
    open_session(client);
}

dlock_request client_ask_until(struct client *client, dlock_status wanted, dlock_operation operation, const char *key,
                               const char *owner, uint32_t ttl_ms)
{
    dlock_request request;
    wait_for((request = client_ask(client, operation, key, owner, ttl_ms)).status == wanted);
    return request;
}

void assert_answer(dlock_request request, dlock_status wanted, const char *node, const char *cause, const char *file,
                   int line)
{
    if (request.status != wanted)
        fail_msg("%s:%d: %s instead of %s: %s%s", file, line, dlock_status_name(request.status),
                 dlock_status_name(wanted), request.message, request.info.owner);
    if (!strstr(request.message, node) || !strstr(request.message, cause))
        fail_msg("%s:%d: \"%s\" does not name %s and \"%s\"", file, line, request.message, node, cause);
}

uint64_t assert_pair(struct client *client, const char *key, const char *file, int line)
{
    const dlock_request granted = client_ask(client, DLOCK_ACQUIRE, key, "works:1:x", LONG_MS);
    assert_answer(granted, DLOCK_OK, "", "", file, line);
    assert_answer(client_ask(client, DLOCK_RELEASE, key, "works:1:x", 0), DLOCK_OK, "", "", file, line);
    return granted.info.fence;
}

/* ---- the library --------------------------------------------------------------------------------------------------
 */

dlock_factory *factory_open(const char *format, ...)
{
    char text[4096];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    dlock_factory *factory = NULL;
    dlock_error error;
    assert_call(dlock_factory_open(text, NULL, &factory, &error), DLOCK_OK, &error);
    return factory;
}

dlock *lock_of(dlock_factory *factory, const char *key)
{
    dlock *lock = NULL;
    dlock_error error;
    assert_call(dlock_create(factory, key, &lock, &error), DLOCK_OK, &error);
    return lock;
}

/* ---- behind the storage's back ------------------------------------------------------------------------------------
 */

const char *raw_login;

static void add_text(char *text, size_t size, const redisReply *reply)
{
    const size_t used = strlen(text);
    char *end = text + used;
    const size_t left = size - used;
    switch (reply->type) {
    case REDIS_REPLY_INTEGER:
        snprintf(end, left, "%lld", reply->integer);
        break;
    case REDIS_REPLY_NIL:
        snprintf(end, left, "nil");
        break;
    case REDIS_REPLY_ARRAY:
        for (size_t i = 0; i < reply->elements; i++) {
            snprintf(text + strlen(text), size - strlen(text), "%s", i > 0 ? " " : "");
            add_text(text, size, reply->element[i]);
        }
        break;
    default:
        snprintf(end, left, "%s", reply->str);
    }
}

const char *raw(struct server *server, int node, const char *format, ...)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static _Thread_local char text[65536];
    char path[256];
    pthread_mutex_lock(&mutex);
    snprintf(path, sizeof path, "%s/redis.sock", server_tell(server, "folder %d", node));
    pthread_mutex_unlock(&mutex);
    redisContext *context = redisConnectUnix(path);
    assert_non_null(context);
    if (context->err)
        fail_msg("%s: %s", path, context->errstr);
    if (raw_login)
        freeReplyObject(redisCommand(context, "AUTH %s", raw_login));
    va_list arguments;
    va_start(arguments, format);
    redisReply *reply = redisvCommand(context, format, arguments);
    va_end(arguments);
    text[0] = '\0';
    if (reply)
        add_text(text, sizeof text, reply);
    else
        fail_msg("%s: %s", format, context->errstr);
    freeReplyObject(reply);
    redisFree(context);
    return text;
}

const char *raw_keys(struct server *server, int node)
{
    return raw(server, node, "KEYS *");
}

void proxies_start(struct proxy *proxies, struct server *nodes, int count)
{
    for (int i = 0; i < count; i++) {
        raw(nodes, i, "FLUSHALL");
        proxy_start(&proxies[i], "127.0.0.1", server_port(nodes, i));
    }
}

void proxies_stop(struct proxy *proxies, int count)
{
    for (int i = 0; i < count; i++)
        proxy_stop(&proxies[i]);
}

void proxy_lose(struct proxy *proxy)
{
    proxy_enter(proxy, PROXY_REFUSE);
    proxy_cut(proxy, PROXY_RST);
}

const char *name_of(struct server *server, int node)
{
    static char name[64];
    snprintf(name, sizeof name, "127.0.0.1:%d", server_port(server, node));
    return name;
}

const char *name_of_proxy(const struct proxy *proxy)
{
    static char name[64];
    snprintf(name, sizeof name, "127.0.0.1:%d", proxy->port);
    return name;
}
