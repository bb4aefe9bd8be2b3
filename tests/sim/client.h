/* client.h - a simulated process with its locks: drives the real state machine and the real line of waiters as lock.c
 * does, with events in place of threads; and the users of the locks, who do all that the API allows. */
#ifndef DLOCK_SIM_CLIENT_H
#define DLOCK_SIM_CLIENT_H

#include "line.h"
#include "machine.h"
#include "storage.h"

#define CLIENTS_MAX 4
#define LOCKS_MAX   4

/* A request that waits for its turn to be sent. */
struct job {
    struct job *next;
    bool (*fill)(struct job *job, struct item *item); /* false = it is not wanted any more */
    void (*answered)(struct job *job, const struct item *item);
};

/* Sends one batch after the other. */
struct courier {
    struct client *client;
    struct job *first, *last;
    bool busy;
};

struct leftover {
    struct job job;
    struct leftover *next;
    struct client *client;
    size_t key;
    uint64_t owner;
    int64_t until, pause;
};

struct call {
    struct job job;
    bool running;
    dlock_operation kind, request;
    uint32_t ttl_ms;
    bool asynchronous, deferred, was_lost;
    struct place place;
};

/* What the judge remembers of a lock. */
struct memory {
    uint32_t attempts;   /* sent by this acquire */
    uint64_t owner;      /* of the last of them */
    int64_t answered_at; /* the last answer to this acquire, by the client's clock */
    int64_t valid_until; /* before this step */
    int64_t first_since; /* the lock is the first in its line; -1 = it is not */
    uint32_t pauses;     /* of the client when the acquire began */
    bool lost_told;
};

struct lock {
    struct client *client;
    size_t number, key;
    struct machine machine;
    struct call call;
    struct job renewal;
    bool renewal_posted, done;
    uint32_t generation, renewal_generation;
    int64_t timers, calls; /* counted, so that an event of an earlier one is known */
    uint64_t owner, fence;
    struct memory memory;
};

struct client {
    struct world *world;
    size_t number;
    uint32_t life; /* counts its deaths */
    bool alive, watches;
    int64_t paused_until;
    uint32_t pauses;
    int64_t clock_ahead, rate_ppm; /* its clock: `clock_ahead` at time 0 */
    uint32_t timeout_ms;
    struct lines lines;
    struct courier renewals, errands;
    struct leftover *leftovers;
    struct lock locks[LOCKS_MAX];
    size_t lock_count;
};

void client_start(struct world *world, struct client *client);
void client_kill(struct client *client);
void client_pause(struct client *client, int64_t until);

int64_t client_clock(const struct client *client);

/* The true time at which the client's clock shows `at`. */
int64_t client_when(const struct client *client, int64_t at);

void client_answered(struct message *message);

/* What a user asks of a lock that runs no call: start a call, or end the hold without one. And: cancel an acquire. */
void lock_acquire(struct lock *lock, const struct machine_plan *plan, bool asynchronous);
void lock_extend(struct lock *lock, uint32_t ttl_ms, bool asynchronous);
void lock_release(struct lock *lock, bool asynchronous);
void lock_adopt(struct lock *lock, uint64_t owner);
void lock_detach(struct lock *lock);
void lock_cancel(struct lock *lock);

/* Lets the user of a lock do something next. user.c */
void user_next(struct lock *lock);

/* The storage says that a key may be free. And: it no longer tells that to anybody. */
void client_hint(struct client *client, size_t key);
bool client_watched(const struct client *client, size_t key);
void client_unwatch(struct client *client);

#endif
