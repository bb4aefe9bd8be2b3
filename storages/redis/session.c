/* session.c - see session.h. What more than one file of this folder needs. */
#include "session.h"

#include <hiredis/hiredis.h>
#include <stdio.h>

uint32_t session_hash(const char *text)
{
    uint32_t hash = 2166136261u;
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 16777619u;
    return hash;
}

int64_t session_guard_ms(const struct redis_session *session, uint32_t ttl_ms)
{
    if (session->settings.guard_ms != GUARD_DEFAULT)
        return session->settings.guard_ms;
    return session->node_count > 1 ? ttl_ms : 0;
}

void session_prepare(struct redis_session *session, const struct node_listener *listener)
{
    for (size_t i = 0; i < session->node_count; i++)
        node_prepare(&session->nodes[i], listener, session->settings.connect_timeout_ms, session->options->timeout_ms);
}

enum { ASK_WORDS = ASK_RETURN + 1 };

struct waiting {
    uint32_t batch;
    bool over, answered;
    void (*read)(void *arg, const redisReply *reply);
    void *arg;
};

static void replied(void *arg, struct node *node, const struct expected *expected, const redisReply *reply)
{
    (void)node;
    struct waiting *waiting = arg;
    if (expected->what != ASK_WORDS || expected->batch != waiting->batch)
        return;
    waiting->over = waiting->answered = true;
    waiting->read(waiting->arg, reply);
}

static void failed(void *arg, struct node *node, const struct expected *expected, bool certain)
{
    (void)node, (void)certain;
    struct waiting *waiting = arg;
    if (expected->what == ASK_WORDS && expected->batch == waiting->batch)
        waiting->over = true;
}

bool session_ask(struct redis_session *session, struct node *node, int64_t until, int count, const char *const *words,
                 void (*read)(void *arg, const redisReply *reply), void *arg)
{
    struct waiting waiting = {.batch = ++session->batch, .read = read, .arg = arg};
    const struct node_listener listener = {&waiting, replied, failed};
    node_prepare(node, &listener, session->settings.connect_timeout_ms, session->options->timeout_ms);
    if (!node_takes_commands(node))
        return false;
    char *command;
    const long long size = redisFormatCommandArgv(&command, count, (const char **)words, NULL);
    if (size < 0)
        return false;
    waiting.over =
        !node_queue(node, command, (size_t)size, (struct expected){.what = ASK_WORDS, .batch = waiting.batch});
    redisFreeCommand(command);
    while (!waiting.over && dlock_clock_us() < until)
        nodes_wait(node, 1, &listener, until);
    if (!waiting.over) {
        node->status = DLOCK_UNAVAILABLE;
        snprintf(node->problem, sizeof node->problem, "%s: no answer in time", node->address->name);
    }
    return waiting.answered;
}

dlock_status session_refuse(const struct node *node, const redisReply *reply, dlock_error *error)
{
    char shown[200];
    const dlock_status status = answer_classify(reply->str ? reply->str : "an unexpected answer", shown, sizeof shown);
    return dlock_error_set(error, status, "%s: %s", node->address->name, shown);
}
