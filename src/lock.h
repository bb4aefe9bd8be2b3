/* lock.h - one lock at work: drives its state machine with threads, storage and clock.
 *
 * lock_api.c checks what callers give and starts calls here; keeper, couriers and watcher come in through the timer,
 * the jobs and lock_callbacks. Every function is called with the factory's mutex held unless it says otherwise. */
#ifndef DLOCK_SRC_LOCK_H
#define DLOCK_SRC_LOCK_H

#include "core.h"

struct dlock {
    struct dlock_factory *factory;
    struct dlock *before, *behind; /* in the factory's list */
    struct machine machine;
    struct timer timer; /* for the machine's wake_at */
    struct call *call;  /* the acquire, extend or release that runs; NULL = none */
    struct job renewal;
    bool renewal_posted;
    bool doomed;                 /* its user has freed it */
    uint32_t generation;         /* counts holds, so that a late answer to an old one is known */
    uint32_t renewal_generation; /* of the hold that the renewal is for */
    uint32_t references;         /* its user, the asynchronous call, the renewal */
    uint64_t fence;
    struct event lost;
    char owner[DLOCK_OWNER_SIZE];
    char key[];
};

/* An acquire, extend or release of a lock, from its start to its end. On the caller's stack if it blocks, else on the
 * heap until its event is taken. */
struct call {
    struct job job;
    struct event event;
    struct dlock *lock;
    dlock_operation kind;    /* ACQUIRE, EXTEND, RELEASE: what the user wants */
    dlock_operation request; /* what is asked of the storage for it now */
    uint32_t ttl_ms;         /* of EXTEND */
    bool asynchronous;
    bool deferred; /* an EXTEND that waits for the end of a renewal */
    bool was_lost; /* a RELEASE of a lock whose loss was reported already */
    bool ready;    /* blocking: the thread is to send the request */
    bool done;
    pthread_cond_t wake; /* blocking: ready or done */
    struct place place;  /* in the line of those who wait for the key */
    void *tag;
    dlock_error error;    /* how it ended */
    dlock_request answer; /* the last one that was not OK */
};

/* Starts the call that `call->kind` says on its lock, which runs none; for an ACQUIRE with `plan`. It may be done on
 * return. */
void lock_start(struct call *call, const struct machine_plan *plan);

/* Carries a blocking call through to its end. */
void lock_run(struct call *call);

/* Ends the call of the lock, if it is an acquire, as soon as can be. */
void lock_cancel(struct dlock *lock);

/* The same, and of an extend that waits for its turn: the lock is freed, or the factory closed. */
void lock_abort(struct dlock *lock);

/* What the watcher tells. */
extern const struct watcher_callbacks lock_callbacks;

/* The key may have become free: tells the first of this process that waits for it. */
void lock_hint_first(struct dlock_factory *core, const char *key);

/* Throws away the events of this lock, or the ended calls of all, that nobody has taken. */
void lock_drop_events(struct dlock *lock);
void lock_drop_all_events(struct dlock_factory *core);

/* Makes a request of the lock's owner. */
void lock_fill_parcel(const struct dlock *lock, struct parcel *parcel, dlock_operation operation, uint32_t ttl_ms);

/* The hold ends without a request. */
void lock_leave(struct dlock *lock);

/* When the last request's ttl is over by the storage's clock, at the latest. */
int64_t lock_over_at(const struct dlock *lock);

/* Makes a lock and puts it into the factory's list, with one reference. NULL = no memory. */
struct dlock *lock_new(struct dlock_factory *factory, const char *key);

/* Takes away a reference; the last one takes the lock off the list and frees it. */
void lock_unref(struct dlock *lock);

#endif
