/* raw.h - Redis through plain hiredis, as one would write it by hand: what the library is compared with.
 *
 * The script and its arguments are those of storages/redis, and so is the layout of keys. */
#ifndef DLOCK_BENCH_RAW_H
#define DLOCK_BENCH_RAW_H

#include "bench.h"
#include "lock_script.h"

#include <hiredis/hiredis.h>

#define RAW_NODES_MAX 31
#define RAW_OWNER     "some-machine:12345:0123456789abcdef0123456789abcdef"

struct raw {
    redisContext *nodes[RAW_NODES_MAX];
    size_t count;
};

static inline void raw_fail(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

/* The reply that comes next from a node, which must not be an error. Freed by the caller. */
static inline redisReply *raw_reply(redisContext *node)
{
    void *reply;
    if (redisGetReply(node, &reply) != REDIS_OK)
        raw_fail("Redis", node->errstr);
    if (((redisReply *)reply)->type == REDIS_REPLY_ERROR)
        raw_fail("Redis", ((redisReply *)reply)->str);
    return reply;
}

/* Takes `count` replies of a node. */
static inline void raw_skip(redisContext *node, size_t count)
{
    for (size_t i = 0; i < count; i++)
        freeReplyObject(raw_reply(node));
}

/* Connects to every HOST:PORT of redis://HOST:PORT[,HOST:PORT...] and teaches it the script. */
static inline void raw_open(struct raw *raw, const char *url)
{
    raw->count = 0;
    for (const char *at = strstr(url, "://") + 2; *at == '/' || *at == ','; at += strcspn(at, ",?/")) {
        char host[64];
        int port;
        if (sscanf(++at, "%63[^:]:%d", host, &port) != 2 || raw->count == RAW_NODES_MAX)
            raw_fail(url, "expected redis://HOST:PORT[,HOST:PORT...]");
        redisContext *node = redisConnect(host, port);
        if (!node || node->err)
            raw_fail(url, node ? node->errstr : "out of memory");
        raw->nodes[raw->count++] = node;
        redisAppendCommand(node, "SCRIPT LOAD %s", LOCK_SCRIPT);
        raw_skip(node, 1);
    }
}

static inline void raw_close(struct raw *raw)
{
    for (size_t i = 0; i < raw->count; i++)
        redisFree(raw->nodes[i]);
}

/* Queues one call of the script. NULL = the argument is left out. */
static inline void raw_append(redisContext *node, const char *operation, const char *key, const char *ttl,
                              const char *fence)
{
    char name[128];
    snprintf(name, sizeof name, "distributed-locks:%s", key);
    const char *words[] = {"EVALSHA", LOCK_SCRIPT_SHA1, "2", name, "distributed-locks#fence", operation, RAW_OWNER,
                           ttl,       fence};
    redisAppendCommandArgv(node, fence ? 9 : ttl ? 8 : 7, words, NULL);
}

/* The fence in the reply to an acquire, which must have been granted. */
static inline unsigned long long raw_granted(redisReply *reply)
{
    if (reply->elements < 2 || reply->element[0]->integer != 1)
        raw_fail("Redis", "an acquire was not granted");
    const unsigned long long fence = strtoull(reply->element[1]->str, NULL, 10);
    freeReplyObject(reply);
    return fence;
}

/* Acquires and releases on all nodes at once: write to all, then read from all; on several nodes the largest fence is
 * told to the others in between. */
static inline void raw_pair(struct raw *raw, const char *key)
{
    unsigned long long fences[RAW_NODES_MAX], largest = 0;
    for (size_t i = 0; i < raw->count; i++) {
        int done = 0;
        raw_append(raw->nodes[i], "acquire", key, "10000", NULL);
        while (!done)
            redisBufferWrite(raw->nodes[i], &done);
    }
    for (size_t i = 0; i < raw->count; i++) {
        fences[i] = raw_granted(raw_reply(raw->nodes[i]));
        largest = fences[i] > largest ? fences[i] : largest;
    }
    char text[24];
    snprintf(text, sizeof text, "%llu", largest);
    for (size_t i = 0; i < raw->count; i++) {
        int done = fences[i] == largest;
        if (!done)
            raw_append(raw->nodes[i], "settle", key, "10000", text);
        while (!done)
            redisBufferWrite(raw->nodes[i], &done);
    }
    for (size_t i = 0; i < raw->count; i++)
        raw_skip(raw->nodes[i], fences[i] != largest);
    for (size_t i = 0; i < raw->count; i++) {
        int done = 0;
        raw_append(raw->nodes[i], "release", key, NULL, NULL);
        while (!done)
            redisBufferWrite(raw->nodes[i], &done);
    }
    for (size_t i = 0; i < raw->count; i++)
        raw_skip(raw->nodes[i], 1);
}

/* A number of the node's INFO. */
static inline double raw_info(redisContext *node, const char *section, const char *name)
{
    redisAppendCommand(node, "INFO %s", section);
    redisReply *reply = raw_reply(node);
    const char *at = strstr(reply->str, name);
    if (!at)
        raw_fail("INFO", "a number is missing");
    const double value = strtod(at + strlen(name) + 1, NULL);
    freeReplyObject(reply);
    return value;
}

#endif
