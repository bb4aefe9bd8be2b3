/* nodes.c - see nodes.h. */
#include "nodes.h"

#include "redis_storage.h"
#include "support.h"
#include "url.h"

#include <stdio.h>
#include <string.h>

const struct tls_functions *const stream_tls = NULL;

void session_start(struct opened *opened, const char *url, uint32_t timeout_ms)
{
    dlock_error error;
    *opened = (struct opened){.options = {.timeout_ms = timeout_ms}};
    if (url_parse(url, &opened->url, &error) != DLOCK_OK ||
        redis_open(&opened->session, opened->url, &opened->options, &error) != DLOCK_OK)
        fail_msg("%s: %s", url, error.message);
}

void session_stop(struct opened *opened)
{
    redis_close(&opened->session);
    url_free(opened->url);
}

dlock_request ask(struct opened *opened, dlock_operation operation, const char *key, const char *owner, uint32_t ttl_ms)
{
    dlock_request request = {
        .operation = operation, .key = key, .owner = owner, .ttl_ms = ttl_ms, .status = DLOCK_UNAVAILABLE};
    dlock_request *const requests[] = {&request};
    round_execute(&opened->session, requests, 1);
    return request;
}

redisContext *look(int port)
{
    redisContext *node = redisConnect("127.0.0.1", port);
    assert_non_null(node);
    if (node->err)
        fail_msg("port %d: %s", port, node->errstr);
    return node;
}

const char *reply_of(redisContext *node, const char *format, ...)
{
    static char text[4096];
    va_list arguments;
    va_start(arguments, format);
    redisReply *reply = redisvCommand(node, format, arguments);
    va_end(arguments);
    if (!reply) {
        fail_msg("%s: %s", format, node->errstr);
        return "";
    }
    if (reply->type == REDIS_REPLY_NIL)
        strcpy(text, "(nil)");
    else if (reply->type == REDIS_REPLY_INTEGER)
        snprintf(text, sizeof text, "%lld", reply->integer);
    else
        snprintf(text, sizeof text, "%s%s", reply->type == REDIS_REPLY_ERROR ? "-" : "", reply->str ? reply->str : "");
    freeReplyObject(reply);
    return text;
}
