/* session.h - one session: a connection to each node, and the requests that are on their way. Shared by the files of
 * this folder. */
#ifndef DLOCK_REDIS_SESSION_H
#define DLOCK_REDIS_SESSION_H

#include "answer.h"
#include "node.h"
#include "wanted.h"

struct outbox;
struct task;
struct watch;

struct redis_session {
    const dlock_storage_options *options;
    struct settings settings;
    struct node *nodes;
    size_t node_count;

    struct task *tasks; /* of the batch that is on its way: see round.c */
    struct answer *answers;
    struct outbox *outboxes; /* one per node */
    size_t task_room, task_count, open_tasks;
    uint32_t batch;
    struct wanted wanted; /* of several nodes */
    int epoll;            /* tells of several nodes' answers; -1 = nobody has asked without waiting yet */
    int64_t round_us;     /* how long the last round took; so long is waited for nodes that are behind */
    int64_t patience_us;  /* with one of them that says nothing */

    struct watch *watch; /* NULL until the first key is watched: see watch.c */
};

/* FNV-1a (Fowler, Noll, Vo). */
uint32_t session_hash(const char *text);

/* For how long a node that was restarted has no vote on an acquire with this ttl; 0 = the guard is off. */
int64_t session_guard_ms(const struct redis_session *session, uint32_t ttl_ms);

/* Connects what is not connected. */
void session_prepare(struct redis_session *session, const struct node_listener *listener);

/* Asks one node alone a command of plain words, and hands its reply to `read`. False if none comes until `until`: see
 * node->status and node->problem. */
bool session_ask(struct redis_session *session, struct node *node, int64_t until, int count, const char *const *words,
                 void (*read)(void *arg, const struct redisReply *reply), void *arg);

/* The same of a node's error as an error of the call. */
dlock_status session_refuse(const struct node *node, const struct redisReply *reply, dlock_error *error);

/* dlock_storage.execute, in round.c; what it works with is freed by round_close. */
void round_execute(void *memory, dlock_request *const *requests, size_t count);

/* dlock_storage.begin and what belongs to it. Of nodes without TLS. */
bool round_begin(void *memory, dlock_request *const *requests, size_t count);
bool round_proceed(void *memory, bool wait);
int round_descriptor(void *memory);

void round_close(struct redis_session *session);

/* dlock_storage.list and .check, in files of these names. */
dlock_status list_keys(void *memory, const char *prefix,
                       bool (*each)(void *arg, const char *key, const dlock_info *info), void *arg, dlock_error *error);
dlock_status check_nodes(void *memory, void (*warn)(void *arg, const char *text), void *arg, dlock_error *error);

/* dlock_storage.watch and what belongs to it, in watch.c. */
int redis_watch_fd(void *memory);
dlock_status redis_watch(void *memory, const char *key, dlock_error *error);
void redis_unwatch(void *memory, const char *key);
dlock_status redis_watch_read(void *memory, void (*hint)(void *arg, const char *key), void *arg, dlock_error *error);
void redis_watch_close(struct redis_session *session);

#endif
