/* node.c - see node.h. */
#include "node.h"

#include "answer.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define RETRY_US     50000   /* pause between two attempts to connect to a node that is not there */
#define IDLE_US      10000   /* a connection that idled longer may be gone, and is looked at before it is used */
#define OUT_MAX      4194304 /* bytes that may wait for a node that takes none */
#define BEHIND       256     /* replies; what a full batch asks of a node */
#define REPLIES_MAX  67108864
#define RECEIVE_SIZE 16384
#define UPTIME_MAX_S 10000000000 /* more is no uptime, and would not fit in microseconds */

void node_init(struct node *node, const struct address *address, bool wants_uptime)
{
    *node = (struct node){.address = address, .wants_uptime = wants_uptime, .started_at = INT64_MIN};
    stream_init(&node->stream);
}

static void forget_connection(struct node *node)
{
    stream_close(&node->stream);
    if (node->reader)
        redisReaderFree(node->reader);
    node->reader = NULL;
    node->state = NODE_CLOSED;
    node->watched = false; /* the kernel drops what is closed */
    node->out_size = 0;
    node->queued = node->written = 0;
}

void node_close(struct node *node)
{
    forget_connection(node);
    free(node->out);
    free(node->owed);
    node->out = NULL;
    node->owed = NULL;
    node->out_room = node->owed_room = node->owed_count = 0;
}

/* Where the i-th reply that is owed stands in the ring. */
static struct expected *owed_at(const struct node *node, size_t i)
{
    const size_t at = node->owed_first + i;
    return &node->owed[at < node->owed_room ? at : at - node->owed_room];
}

static bool take_owed(struct node *node, struct expected *ret)
{
    if (node->owed_count == 0)
        return false;
    *ret = *owed_at(node, 0);
    node->owed_first = (size_t)(owed_at(node, 1) - node->owed);
    node->owed_count--;
    return true;
}

/* The connection is of no use any more: whoever waits for a reply learns that none comes. */
static void fail(struct node *node, const struct node_listener *listener, dlock_status status, const char *why)
{
    const uint64_t written = node->written;
    node->status = status;
    node->failed_before = true;
    snprintf(node->problem, sizeof node->problem, "%s: %s", node->address->name, why);
    node->retry_at = dlock_clock_us() + RETRY_US;
    forget_connection(node);
    struct expected expected;
    while (take_owed(node, &expected))
        if (expected.what < EXPECT_GREETING)
            listener->failed(listener->arg, node, &expected, expected.end > written);
}

/* The same, of what the stream says. */
static void broken(struct node *node, const struct node_listener *listener)
{
    char why[sizeof node->stream.why];
    memcpy(why, node->stream.why, sizeof why);
    fail(node, listener, node->stream.refused ? DLOCK_REFUSED : DLOCK_UNAVAILABLE, why);
}

/* ---- queueing -----------------------------------------------------------------------------------------------------
 */

static bool make_room_owed(struct node *node)
{
    if (node->owed_count < node->owed_room)
        return true;
    const size_t room = node->owed_room * 2 + 64;
    struct expected *owed = malloc(room * sizeof *owed);
    if (!owed)
        return false;
    for (size_t i = 0; i < node->owed_count; i++)
        owed[i] = *owed_at(node, i);
    free(node->owed);
    node->owed = owed;
    node->owed_first = 0;
    node->owed_room = room;
    return true;
}

static bool make_room_out(struct node *node, size_t size)
{
    if (size <= node->out_room - node->out_size)
        return true;
    size_t room = node->out_room ? node->out_room : 4096;
    while (room - node->out_size < size)
        room *= 2;
    char *out = room <= OUT_MAX ? realloc(node->out, room) : NULL;
    if (!out)
        return false;
    node->out = out;
    node->out_room = room;
    return true;
}

bool node_queue(struct node *node, const char *command, size_t size, struct expected expected)
{
    if (node->state == NODE_CLOSED || !make_room_owed(node) || !make_room_out(node, size))
        return false;
    memcpy(node->out + node->out_size, command, size);
    node->out_size += size;
    node->queued += size;
    expected.since = dlock_clock_us();
    expected.end = node->queued;
    *owed_at(node, node->owed_count++) = expected;
    return true;
}

bool node_queue_words(struct node *node, unsigned what, int count, const char *const *words)
{
    char *command;
    const long long size = redisFormatCommandArgv(&command, count, (const char **)words, NULL);
    if (size < 0)
        return false;
    const bool queued = node_queue(node, command, (size_t)size, (struct expected){.what = what});
    redisFreeCommand(command);
    return queued;
}

/* What a new connection begins with. Where it has to let us in, that comes first: a server may have an open door beside
 * it, and do what is asked as somebody else, or in another database. The rest goes out with the first requests. */
static bool queue_greeting(struct node *node)
{
    const struct address *address = node->address;
    const char *const by_user[] = {"AUTH", address->user, address->password ? address->password : ""},
                      *const by_password[] = {"AUTH", address->password}, *const uptime[] = {"INFO", "server"},
                      *const policy[] = {"CONFIG", "GET", "append*"}, *const ping[] = {"PING"};
    char number[16];
    snprintf(number, sizeof number, "%" PRIu32, address->database);
    const char *const select[] = {"SELECT", number};
    bool ok = true;
    if (address->user)
        ok = node_queue_words(node, EXPECT_GREETING, 3, by_user);
    else if (address->password)
        ok = node_queue_words(node, EXPECT_GREETING, 2, by_password);
    if (ok && address->database)
        ok = node_queue_words(node, EXPECT_GREETING, 2, select);
    if (ok && node->suspect)
        ok = node_queue_words(node, EXPECT_GREETING, 1, ping);
    node->greetings = node->owed_count;
    node->greeting_end = node->queued;
    if (ok && node->wants_uptime)
        ok = node_queue_words(node, EXPECT_UPTIME, 2, uptime) && node_queue_words(node, EXPECT_SYNC_POLICY, 3, policy);
    return ok;
}

/* ---- connecting ---------------------------------------------------------------------------------------------------
 */

static void connect_node(struct node *node, const struct node_listener *listener, uint32_t connect_timeout_ms)
{
    const int64_t now = dlock_clock_us();
    node->connect_until = now + (int64_t)connect_timeout_ms * 1000;
    node->uptime_known = false;
    node->durable = false;
    node->started_at = INT64_MIN;
    dlock_error error;
    const dlock_status status = stream_open(&node->stream, node->address, now, node->connect_until, &error);
    if (status != DLOCK_OK) {
        node->status = status;
        node->failed_before = true;
        snprintf(node->problem, sizeof node->problem, "%.255s", error.message);
        node->retry_at = now + RETRY_US;
        return;
    }
    node->reader = redisReaderCreate();
    node->state = NODE_CONNECTING;
    if (!node->reader || !queue_greeting(node))
        fail(node, listener, DLOCK_NOMEM, "out of memory");
}

bool node_takes_commands(const struct node *node)
{
    return node->state == NODE_OPEN || (node->state != NODE_CLOSED && !node->suspect);
}

bool node_is_arriving(const struct node *node)
{
    return (node->state == NODE_CONNECTING || node->state == NODE_GREETING) && !node->failed_before;
}

static void step_connection(struct node *node, const struct node_listener *listener)
{
    const int64_t now = dlock_clock_us();
    if (!stream_step(&node->stream, now, node->connect_until)) {
        broken(node, listener);
        return;
    }
    if (node->stream.open) {
        node->state = node->greetings > 0 ? NODE_GREETING : NODE_OPEN;
    } else if (now >= node->connect_until) {
        fail(node, listener, DLOCK_UNAVAILABLE, "it does not answer");
    }
}

/* ---- reading and writing ------------------------------------------------------------------------------------------
 */

/* The number behind `name:` in the answer to INFO. */
static bool find_number(const char *text, const char *name, int64_t *ret)
{
    const char *at = strstr(text, name);
    if (!at)
        return false;
    *ret = strtoll(at + strlen(name), NULL, 10);
    return true;
}

static const char *setting(const redisReply *reply, const char *name)
{
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i + 1 < reply->elements; i += 2)
        if (reply->element[i]->type == REDIS_REPLY_STRING && reply->element[i + 1]->type == REDIS_REPLY_STRING &&
            strcmp(reply->element[i]->str, name) == 0)
            return reply->element[i + 1]->str;
    return "";
}

/* The replies to the greeting. False if the node is of no use. */
static bool greeted(struct node *node, const struct expected *expected, const redisReply *reply,
                    const struct node_listener *listener)
{
    int64_t seconds;
    switch (expected->what) {
    case EXPECT_UPTIME:
        node->uptime_known = reply->type == REDIS_REPLY_STRING &&
                             find_number(reply->str, "uptime_in_seconds:", &seconds) && seconds >= 0 &&
                             seconds <= UPTIME_MAX_S;
        /* It is the difference of two times without their fractions, and so up to a second too much. */
        if (node->uptime_known)
            node->started_at = dlock_clock_us() - (seconds > 0 ? seconds - 1 : 0) * 1000000;
        return true;
    case EXPECT_SYNC_POLICY:
        node->durable =
            strcmp(setting(reply, "appendonly"), "yes") == 0 && strcmp(setting(reply, "appendfsync"), "always") == 0;
        return true;
    default:
        if (reply->type != REDIS_REPLY_ERROR)
            return true;
    }
    char why[200];
    const dlock_status status = answer_classify(reply->str, why, sizeof why);
    fail(node, listener, status, why);
    return false;
}

/* Hands over the replies that are complete. */
static void hand_over(struct node *node, const struct node_listener *listener)
{
    while (node->state != NODE_CLOSED) {
        void *object = NULL;
        if (redisReaderGetReply(node->reader, &object) != REDIS_OK) {
            char why[160];
            snprintf(why, sizeof why, "its answer is not of Redis' protocol: %.100s", node->reader->errstr);
            fail(node, listener, DLOCK_UNAVAILABLE, why);
            return;
        }
        redisReply *reply = object;
        if (!reply)
            break;
        struct expected expected = {.what = EXPECT_NOTHING};
        take_owed(node, &expected);
        if (expected.what < EXPECT_GREETING || expected.what == EXPECT_NOTHING) {
            listener->replied(listener->arg, node, &expected, reply);
        } else if (greeted(node, &expected, reply, listener) && expected.what == EXPECT_GREETING &&
                   --node->greetings == 0) {
            node->state = NODE_OPEN;
            node->suspect = false;
        }
        freeReplyObject(reply);
    }
}

/* Reads what is there, or if `patience` is not 0 what comes within that time. TLS may have more than it gives at once.
 */
static void read_in(struct node *node, const struct node_listener *listener, int64_t patience)
{
    char bytes[RECEIVE_SIZE];
    ssize_t got = RECEIVE_SIZE;
    while (node->state != NODE_CLOSED && (got == RECEIVE_SIZE || node->stream.tls)) {
        got = patience > 0 ? stream_await(&node->stream, bytes, sizeof bytes, patience)
                           : stream_receive(&node->stream, bytes, sizeof bytes);
        patience = 0;
        if (got < 0 && errno == EAGAIN)
            return;
        if (got > 0)
            node->heard_at = dlock_clock_us();
        if (got < 0)
            broken(node, listener);
        else if (got == 0)
            fail(node, listener, DLOCK_UNAVAILABLE, "it closed the connection");
        else if (node->reader->len - node->reader->pos >= REPLIES_MAX ||
                 redisReaderFeed(node->reader, bytes, (size_t)got) != REDIS_OK)
            fail(node, listener, DLOCK_UNAVAILABLE, "its answer is too long");
        else
            hand_over(node, listener);
    }
}

/* What the server said before it closed the connection explains more than the error of writing to it. */
static void write_failed(struct node *node, const struct node_listener *listener)
{
    read_in(node, listener, 0);
    if (node->state != NODE_CLOSED)
        broken(node, listener);
}

/* How much of what is queued may be written now. */
static size_t writable(const struct node *node)
{
    if (node->state != NODE_GREETING)
        return node->out_size;
    return node->greeting_end > node->written ? (size_t)(node->greeting_end - node->written) : 0;
}

static void write_out(struct node *node, const struct node_listener *listener)
{
    const size_t size = writable(node);
    size_t done = 0;
    while (done < size) {
        const ssize_t count = stream_send(&node->stream, node->out + done, size - done);
        if (count < 0 && errno != EAGAIN) {
            write_failed(node, listener);
            return;
        }
        if (count < 0)
            break;
        done += (size_t)count;
        node->written += (uint64_t)count;
    }
    node->out_size -= done;
    if (done > 0 && node->out_size > 0)
        memmove(node->out, node->out + done, node->out_size);
    if (!stream_flush(&node->stream))
        write_failed(node, listener);
}

void node_prepare(struct node *node, const struct node_listener *listener, uint32_t connect_timeout_ms,
                  uint32_t answer_timeout_ms)
{
    const int64_t now = dlock_clock_us();
    if (node->state == NODE_OPEN && node->owed_count > 0 &&
        now - owed_at(node, 0)->since > (int64_t)answer_timeout_ms * 1000) {
        node->suspect = true;
        fail(node, listener, DLOCK_UNAVAILABLE, "it does not answer");
        node->retry_at = now;
    }
    /* A server that was restarted, or a firewall, has closed the connection since it was used last. */
    if (node->state == NODE_OPEN && node->owed_count == 0 && now - node->used_at > IDLE_US) {
        read_in(node, listener, 0);
        if (node->state == NODE_CLOSED)
            node->retry_at = now;
    }
    node->used_at = now;
    if (node->state == NODE_CLOSED && now >= node->retry_at)
        connect_node(node, listener, connect_timeout_ms);
}

static void prepare_poll(const struct node *node, struct pollfd *ret)
{
    *ret = (struct pollfd){.fd = node->state == NODE_CLOSED ? -1 : node->stream.socket};
    ret->events = stream_events(&node->stream);
    if (writable(node) > 0 && node->stream.open)
        ret->events |= POLLOUT;
}

/* Does what can be done without waiting. */
static void work(struct node *node, const struct node_listener *listener, short events)
{
    if (node->state == NODE_CONNECTING)
        step_connection(node, listener);
    if (node->stream.open && (node->out_size > 0 || events & POLLOUT))
        write_out(node, listener);
    if (node->stream.open && events & (POLLIN | POLLHUP | POLLERR))
        read_in(node, listener, 0);
}

bool nodes_flush(struct node *nodes, size_t count, const struct node_listener *listener)
{
    bool changed = false;
    for (size_t i = 0; i < count; i++) {
        const enum node_state before = nodes[i].state;
        if (nodes[i].out_size > 0 || before == NODE_CONNECTING)
            work(&nodes[i], listener, 0);
        changed |= nodes[i].state != before;
    }
    return changed;
}

/* How long it may be waited; a connection that is being made has a deadline of its own. */
static struct timespec time_left(const struct node *nodes, size_t count, int64_t until)
{
    for (size_t i = 0; i < count; i++)
        if (nodes[i].state == NODE_CONNECTING && nodes[i].stream.try_until < until)
            until = nodes[i].stream.try_until;
    const int64_t now = dlock_clock_us(), left = until > now ? until - now : 0;
    return (struct timespec){.tv_sec = left / 1000000, .tv_nsec = left % 1000000 * 1000};
}

void nodes_wait(struct node *nodes, size_t count, const struct node_listener *listener, int64_t until)
{
    if (nodes_flush(nodes, count, listener))
        return;
    if (count == 1 && nodes->state == NODE_OPEN && nodes->out_size == 0 && !nodes->stream.tls) {
        const int64_t left = until - dlock_clock_us();
        read_in(nodes, listener, left > 0 ? left : 0);
        return;
    }
    struct pollfd polled[NODES_MAX];
    for (size_t i = 0; i < count; i++)
        prepare_poll(&nodes[i], &polled[i]);
    const struct timespec most = time_left(nodes, count, until);
    if (ppoll(polled, count, &most, NULL) < 0)
        return;
    for (size_t i = 0; i < count; i++)
        if (polled[i].revents || nodes[i].state == NODE_CONNECTING)
            work(&nodes[i], listener, polled[i].revents);
}

bool nodes_are_behind(const struct node *nodes, size_t count, int64_t patience)
{
    for (size_t i = 0; i < count; i++)
        if (nodes[i].state == NODE_OPEN && nodes[i].owed_count > BEHIND &&
            dlock_clock_us() - nodes[i].heard_at < patience)
            return true;
    return false;
}

void nodes_catch_up(struct node *nodes, size_t count, const struct node_listener *listener, int64_t patience,
                    int64_t until)
{
    while (nodes_are_behind(nodes, count, patience) && dlock_clock_us() < until)
        nodes_wait(nodes, count, listener, until);
}

bool nodes_watch(struct node *nodes, size_t count, int epoll)
{
    size_t able = 0;
    for (struct node *node = nodes; node < nodes + count; node++) {
        if (!node_takes_commands(node))
            continue;
        if (node->state != NODE_OPEN || node->stream.tls)
            return false;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = node};
        if (!node->watched && epoll_ctl(epoll, EPOLL_CTL_ADD, node->stream.socket, &event) != 0)
            return false;
        node->watched = true;
        able++;
    }
    return able > 0;
}

void nodes_read(int epoll, const struct node_listener *listener)
{
    struct epoll_event events[NODES_MAX];
    const int count = epoll_wait(epoll, events, NODES_MAX, 0);
    for (int i = 0; i < count; i++)
        node_read(events[i].data.ptr, listener);
}

void node_read(struct node *node, const struct node_listener *listener)
{
    if (node->stream.open)
        read_in(node, listener, 0);
}

int node_descriptor(const struct node *node)
{
    return node->state == NODE_OPEN && !node->stream.tls ? node->stream.socket : -1;
}
