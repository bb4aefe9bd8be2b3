/* node.h - the connection to one Redis server: commands go out in one write, replies come back in their order.
 *
 * Nothing here blocks but nodes_wait. A reply that nobody waits for any more is read when it comes, and handed over
 * all the same: whoever asked knows whether it still matters. Used by redis.c, watch.c, list.c, check.c. */
#ifndef DLOCK_REDIS_NODE_H
#define DLOCK_REDIS_NODE_H

#include "stream.h"

struct redisReader;
struct redisReply;

/* A reply that is owed. `what` and `id` are its asker's. */
struct expected {
    unsigned what;
    uint32_t batch, id, count;
    int64_t since;
    uint64_t end; /* of the command, counted in bytes queued */
};

/* `what` of the node's own commands, and of what comes without having been asked for. */
enum { EXPECT_GREETING = 1000, EXPECT_UPTIME, EXPECT_SYNC_POLICY, EXPECT_NOTHING };

enum node_state {
    NODE_CLOSED,
    NODE_CONNECTING,
    NODE_GREETING, /* connected; it has to let us in, or to show that it answers, before anything is asked of it */
    NODE_OPEN,
};

struct node {
    const struct address *address;
    enum node_state state;
    struct stream stream;
    struct redisReader *reader;
    char *out; /* commands, from `sent` to `queued` not yet written */
    size_t out_size, out_room;
    uint64_t queued, written; /* bytes, since it was connected */
    struct expected *owed;    /* a ring */
    size_t owed_first, owed_count, owed_room;
    int64_t connect_until, retry_at, used_at, heard_at;
    bool wants_uptime;     /* ask when it was started */
    bool suspect;          /* the last connection stopped answering */
    size_t greetings;      /* replies to the greeting that are still out */
    uint64_t greeting_end; /* so many bytes may be written before they are there */
    bool failed_before;    /* in this session */
    bool watched;          /* its connection is: see nodes_watch */
    dlock_status status;   /* why it is not open: UNAVAILABLE, REFUSED, INVALID, NOMEM */
    char problem[256];     /* the same in words, with the node's name before them */
    int64_t started_at;    /* the server was, at the latest, on our clock; INT64_MIN = not known */
    bool durable;          /* every write is on its disk before it is answered */
    bool uptime_known;
};

/* Who is told of replies and of commands that get none. */
struct node_listener {
    void *arg;
    void (*replied)(void *arg, struct node *node, const struct expected *expected, const struct redisReply *reply);
    void (*failed)(void *arg, struct node *node, const struct expected *expected, bool certain);
};

void node_init(struct node *node, const struct address *address, bool wants_uptime);
void node_close(struct node *node);

/* Connects if it is closed and was not tried just before; looks whether an idle connection is still there. */
void node_prepare(struct node *node, const struct node_listener *listener, uint32_t connect_timeout_ms,
                  uint32_t answer_timeout_ms);

/* Can commands be queued? If not, `status` and `problem` say why. */
bool node_takes_commands(const struct node *node);

/* Queues a formatted command whose reply is `expected`, with `what`, `batch` and `id` set. False without memory, or if
 * the node is closed: the next connection must not begin with what the last one was to carry. */
bool node_queue(struct node *node, const char *command, size_t size, struct expected expected);

/* Queues a command of plain words. */
bool node_queue_words(struct node *node, unsigned what, int count, const char *const *words);

/* Writes what is queued, waits until something can be read or done, but not beyond `until`, and does it. Returns
 * sooner if a connection came or went. Listener calls come from in here. */
void nodes_wait(struct node *nodes, size_t count, const struct node_listener *listener, int64_t until);

/* Waits while one of them owes more than a full batch, and was heard within the last `patience` us, but not beyond
 * `until`. */
void nodes_catch_up(struct node *nodes, size_t count, const struct node_listener *listener, int64_t patience,
                    int64_t until);
bool nodes_are_behind(const struct node *nodes, size_t count, int64_t patience);

/* Writes what can be written now. True if a connection came or went by that. */
bool nodes_flush(struct node *nodes, size_t count, const struct node_listener *listener);

/* Can all that take commands be asked without waiting? Then `epoll`, an epoll descriptor, tells when one of them
 * answers, or its connection ends. */
bool nodes_watch(struct node *nodes, size_t count, int epoll);

/* Reads what is there, without waiting: of those that `epoll` tells of, or of one. */
void nodes_read(int epoll, const struct node_listener *listener);
void node_read(struct node *node, const struct node_listener *listener);

/* The socket of one that can be asked without waiting, which is readable when it answers; -1 = this one is not. */
int node_descriptor(const struct node *node);

/* Is its connection being made, for the first time in this session? Those who ask wait for it longer. */
bool node_is_arriving(const struct node *node);

#endif
