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

/* Queues one call of the script; the arguments behind the owner end with NULL. */
static inline void raw_append(redisContext *node, const char *operation, const char *key, const char *const *more)
{
    char name[128];
    snprintf(name, sizeof name, "distributed-locks:%s", key);
    const char *words[11] = {"EVALSHA", LOCK_SCRIPT_SHA1, "2", name, "distributed-locks#fence", operation, RAW_OWNER};
    int count = 7;
    while (*more)
        words[count++] = *more++;
    redisAppendCommandArgv(node, count, words, NULL);
}

/* The same, written at once. */
static inline void raw_send(redisContext *node, const char *operation, const char *key, const char *const *more)
{
    int done = 0;
    raw_append(node, operation, key, more);
    while (!done)
        if (redisBufferWrite(node, &done) != REDIS_OK)
            raw_fail("Redis", node->errstr);
}

static const char *const raw_nothing[] = {NULL}, *const raw_ttl[] = {"10000", NULL};

/* Takes the reply to an acquire, which must have been granted; returns its fence. */
static inline unsigned long long raw_granted(redisContext *node)
{
    redisReply *reply = raw_reply(node);
    const bool several = reply->type == REDIS_REPLY_ARRAY && reply->elements >= 3 && reply->element[0]->integer == 1;
    if (!several && reply->type != REDIS_REPLY_STRING)
        raw_fail("Redis", "an acquire was not granted");
    const unsigned long long fence = strtoull(several ? reply->element[1]->str : reply->str, NULL, 10);
    freeReplyObject(reply);
    return fence;
}

/* Acquires and releases on one node. */
static inline void raw_pair(redisContext *node, const char *key)
{
    raw_append(node, "acquire", key, raw_ttl);
    raw_granted(node);
    raw_append(node, "release", key, raw_nothing);
    raw_skip(node, 1);
}

/* A fence that nodes of this machine should take: 5 ms from now. */
static inline unsigned long long raw_wanted(size_t nodes)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const unsigned long long time = (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000;
    return (time + 5000) / (nodes + 1) * (nodes + 1) + nodes;
}

/* The same on several nodes at once: each step is written to all, then read from all. A fence that one of them does not
 * take is told to all in between. */
static inline void raw_spread_pair(const struct raw *raw, const char *key)
{
    const unsigned long long wanted = raw_wanted(raw->count);
    unsigned long long largest = 0, least = wanted;
    char count[24], number[24], text[24];
    snprintf(count, sizeof count, "%zu", raw->count);
    snprintf(text, sizeof text, "%llu", wanted);
    for (size_t i = 0; i < raw->count; i++) {
        const char *const more[] = {"10000", count, number, text, NULL};
        snprintf(number, sizeof number, "%zu", i);
        raw_send(raw->nodes[i], "propose", key, more);
    }
    for (size_t i = 0; i < raw->count; i++) {
        const unsigned long long fence = raw_granted(raw->nodes[i]);
        largest = fence > largest ? fence : largest;
        least = fence < least ? fence : least;
    }
    snprintf(text, sizeof text, "%llu", largest);
    const char *const settled[] = {text, NULL};
    const bool taken = least == wanted && largest == wanted;
    for (size_t i = 0; i < raw->count && !taken; i++)
        raw_send(raw->nodes[i], "settle", key, settled);
    for (size_t i = 0; i < raw->count && !taken; i++)
        raw_skip(raw->nodes[i], 1);
    for (size_t i = 0; i < raw->count; i++)
        raw_send(raw->nodes[i], "release", key, raw_nothing);
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
