/* watch.c - to be told when a key may be free: SUBSCRIBE to the channel of its name, on all nodes.
 *
 * A release publishes on each node that it frees the key on. Of several nodes a waiter is told when so many have
 * published that the key can be had. Called on a session that does nothing else. */
#include "quorum.h"
#include "session.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define BUCKETS 256

/* A key that is watched. */
struct watched {
    struct watched *next;   /* in its bucket */
    struct watched *behind; /* in the list of hints */
    bool hinted;
    uint32_t subscribed;       /* nodes that have confirmed it: a bit each */
    uint32_t freed[NODES_MAX]; /* whose release each node has published last, hashed; 0 = it has led to a hint */
    char name[];               /* of the channel: prefix:key */
};

struct watch {
    int poll, signal; /* an epoll descriptor over all nodes and `signal` */
    bool signalled;   /* hints came while something else was waited for */
    struct watched *buckets[BUCKETS];
    struct watched *hints;
    struct redis_session *session;
    bool broken; /* too few nodes are left */
};

static struct watched **find(struct watch *watch, const char *name)
{
    struct watched **link = &watch->buckets[session_hash(name) % BUCKETS];
    while (*link && strcmp((*link)->name, name) != 0)
        link = &(*link)->next;
    return link;
}

static size_t count_open(const struct redis_session *session)
{
    size_t count = 0;
    for (size_t i = 0; i < session->node_count; i++)
        count += session->nodes[i].state == NODE_OPEN;
    return count;
}

static bool enough(const struct redis_session *session)
{
    return count_open(session) >= quorum_of(session->node_count);
}

/* ---- what nodes tell ----------------------------------------------------------------------------------------------
 */

static void give_hint(struct watch *watch, struct watched *watched)
{
    if (watched->hinted)
        return;
    watched->hinted = true;
    watched->behind = watch->hints;
    watch->hints = watched;
}

/* What was read is not there any more to make the descriptor readable. */
static void signal_hints(struct watch *watch)
{
    if (watch->hints && !watch->signalled)
        watch->signalled = eventfd_write(watch->signal, 1) == 0;
}

/* So many nodes of those that are listened to are in any majority that a release can reach. */
static size_t needed(const struct redis_session *session)
{
    const size_t sure = quorum_of(session->node_count) + count_open(session);
    return sure > session->node_count ? sure - session->node_count : 1;
}

static void published(struct watch *watch, struct watched *watched, size_t node, const char *owner)
{
    const uint32_t release = session_hash(owner) | 1;
    const size_t nodes = watch->session->node_count;
    size_t count = 0;
    watched->freed[node] = release;
    for (size_t i = 0; i < nodes; i++)
        count += watched->freed[i] == release;
    if (count < needed(watch->session))
        return;
    for (size_t i = 0; i < nodes; i++)
        if (watched->freed[i] == release)
            watched->freed[i] = 0;
    give_hint(watch, watched);
}

/* {"message", channel, text}, {"subscribe", channel, number}, {"unsubscribe", channel, number} */
static void replied(void *arg, struct node *node, const struct expected *expected, const redisReply *reply)
{
    (void)expected;
    struct watch *watch = arg;
    const size_t index = (size_t)(node - watch->session->nodes);
    if (reply->type == REDIS_REPLY_ERROR) {
        node->status = answer_classify(reply->str, node->problem, sizeof node->problem);
        watch->broken = true;
        return;
    }
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3 || reply->element[0]->type != REDIS_REPLY_STRING ||
        reply->element[1]->type != REDIS_REPLY_STRING)
        return;
    struct watched *watched = *find(watch, reply->element[1]->str);
    if (!watched)
        return;
    if (strcmp(reply->element[0]->str, "message") == 0 && reply->element[2]->type == REDIS_REPLY_STRING)
        published(watch, watched, index, reply->element[2]->str);
    else if (strcmp(reply->element[0]->str, "subscribe") == 0)
        watched->subscribed |= 1u << index;
}

static void failed(void *arg, struct node *node, const struct expected *expected, bool certain)
{
    (void)arg, (void)node, (void)expected, (void)certain;
}

static struct node_listener listener_of(struct watch *watch)
{
    return (struct node_listener){watch, replied, failed};
}

/* ---- opening and closing ------------------------------------------------------------------------------------------
 */

static bool is_settled(const struct redis_session *session)
{
    for (size_t i = 0; i < session->node_count; i++)
        if (session->nodes[i].state != NODE_OPEN && session->nodes[i].state != NODE_CLOSED)
            return false;
    return true;
}

/* Connects to all nodes that are there. */
static bool connect_nodes(struct watch *watch)
{
    struct redis_session *session = watch->session;
    const struct node_listener listener = listener_of(watch);
    const int64_t until = dlock_clock_us() + (int64_t)session->options->timeout_ms * 1000;
    session_prepare(session, &listener);
    while (!is_settled(session) && dlock_clock_us() < until)
        nodes_wait(session->nodes, session->node_count, &listener, until);
    for (size_t i = 0; i < session->node_count; i++) {
        struct epoll_event event = {.events = EPOLLIN};
        if (session->nodes[i].state == NODE_OPEN &&
            epoll_ctl(watch->poll, EPOLL_CTL_ADD, session->nodes[i].stream.socket, &event) != 0)
            return false;
    }
    return enough(session);
}

void redis_watch_close(struct redis_session *session)
{
    struct watch *watch = session->watch;
    if (!watch)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        while (watch->buckets[i]) {
            struct watched *next = watch->buckets[i]->next;
            free(watch->buckets[i]);
            watch->buckets[i] = next;
        }
    if (watch->poll >= 0)
        close(watch->poll);
    if (watch->signal >= 0)
        close(watch->signal);
    free(watch);
    session->watch = NULL;
}

int redis_watch_fd(void *memory)
{
    struct redis_session *session = memory;
    if (session->watch)
        return session->watch->broken ? -1 : session->watch->poll;
    struct watch *watch = calloc(1, sizeof *watch);
    if (!watch)
        return -1;
    session->watch = watch;
    watch->session = session;
    watch->poll = epoll_create1(EPOLL_CLOEXEC);
    watch->signal = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN};
    if (watch->poll >= 0 && watch->signal >= 0 && epoll_ctl(watch->poll, EPOLL_CTL_ADD, watch->signal, &event) == 0 &&
        connect_nodes(watch))
        return watch->poll;
    redis_watch_close(session);
    return -1;
}

/* ---- watching -----------------------------------------------------------------------------------------------------
 */

static bool tell_nodes(struct watch *watch, const char *verb, const char *name)
{
    struct redis_session *session = watch->session;
    const struct node_listener listener = listener_of(watch);
    const char *const words[] = {verb, name};
    bool ok = true;
    for (size_t i = 0; i < session->node_count; i++)
        if (session->nodes[i].state == NODE_OPEN)
            ok = node_queue_words(&session->nodes[i], EXPECT_NOTHING, 2, words) && ok;
    nodes_flush(session->nodes, session->node_count, &listener);
    return ok;
}

/* Of several nodes one that hangs must not keep the others' hints from being read. */
static bool is_subscribed(const struct watch *watch, const struct watched *watched)
{
    return (size_t)__builtin_popcount(watched->subscribed) >= quorum_of(watch->session->node_count);
}

dlock_status redis_watch(void *memory, const char *key, dlock_error *error)
{
    struct redis_session *session = memory;
    if (redis_watch_fd(session) < 0)
        return dlock_error_set(error, DLOCK_UNAVAILABLE, "too few nodes to be told when a key is free");
    struct watch *watch = session->watch;
    const struct node_listener listener = listener_of(watch);
    const size_t size = strlen(session->settings.prefix) + strlen(key) + 2;
    struct watched *watched = calloc(1, sizeof *watched + size);
    if (!watched)
        return dlock_error_set(error, DLOCK_NOMEM, "out of memory");
    snprintf(watched->name, size, "%s:%s", session->settings.prefix, key);
    struct watched **link = find(watch, watched->name);
    if (*link) {
        free(watched);
        return DLOCK_OK;
    }
    *link = watched;
    bool ok = tell_nodes(watch, "SUBSCRIBE", watched->name);
    const int64_t until = dlock_clock_us() + (int64_t)session->options->timeout_ms * 1000;
    while (ok && enough(session) && !watch->broken && !is_subscribed(watch, watched) && dlock_clock_us() < until)
        nodes_wait(session->nodes, session->node_count, &listener, until);
    signal_hints(watch);
    ok = ok && !watch->broken && is_subscribed(watch, watched);
    return ok ? DLOCK_OK : dlock_error_set(error, DLOCK_UNAVAILABLE, "too few nodes to be told when a key is free");
}

void redis_unwatch(void *memory, const char *key)
{
    struct redis_session *session = memory;
    char name[1024];
    snprintf(name, sizeof name, "%s:%s", session->settings.prefix, key);
    struct watched **link = session->watch ? find(session->watch, name) : NULL, *watched = link ? *link : NULL;
    if (!watched)
        return;
    tell_nodes(session->watch, "UNSUBSCRIBE", name);
    struct watched **hint = &session->watch->hints;
    while (watched->hinted && *hint != watched)
        hint = &(*hint)->behind;
    if (watched->hinted)
        *hint = watched->behind;
    *link = watched->next;
    free(watched);
    signal_hints(session->watch);
}

dlock_status redis_watch_read(void *memory, void (*hint)(void *arg, const char *key), void *arg, dlock_error *error)
{
    struct redis_session *session = memory;
    struct watch *watch = session->watch;
    const struct node_listener listener = listener_of(watch);
    eventfd_t ignored;
    if (watch->signalled)
        watch->signalled = eventfd_read(watch->signal, &ignored) != 0;
    nodes_wait(session->nodes, session->node_count, &listener, 0);
    while (watch->hints) {
        struct watched *first = watch->hints;
        watch->hints = first->behind;
        first->hinted = false;
        hint(arg, first->name + strlen(session->settings.prefix) + 1);
    }
    if (watch->broken || !enough(session))
        return dlock_error_set(error, DLOCK_UNAVAILABLE, "too few nodes to be told when a key is free");
    return DLOCK_OK;
}
