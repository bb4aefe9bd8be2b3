/* keeper.h - the thread of time: calls what is due. It never calls a storage, so that a deadline is kept also while
 * one hangs.
 *
 * Timers are kept on CLOCK_BOOTTIME (timerfd_create(2)), so that what came due during suspend fires on resume. */
#ifndef DLOCK_SRC_KEEPER_H
#define DLOCK_SRC_KEEPER_H

#include "dlock.h"

#include <pthread.h>

/* Part of whatever has a deadline. */
struct timer {
    int64_t at;                                    /* microseconds of CLOCK_BOOTTIME */
    size_t position;                               /* in the heap; 0 = not set */
    void (*due)(struct timer *timer, int64_t now); /* with the mutex held; the timer is no longer set */
};

struct keeper {
    pthread_mutex_t *mutex; /* guards everything here; held by the caller of every function but deinit */
    struct timer **heap;    /* heap[1] is the earliest */
    size_t count, room, reserved;
    int64_t armed; /* what the descriptor is set to */
    int descriptor;
    pthread_t thread;
    bool started, stopping;
};

void keeper_init(struct keeper *keeper, pthread_mutex_t *mutex);

/* Ends the thread. The mutex must not be held. */
void keeper_stop(struct keeper *keeper);
void keeper_deinit(struct keeper *keeper);

/* Starts the thread if it does not run. NOMEM = no thread or descriptor to be had. */
dlock_status keeper_start(struct keeper *keeper);

/* Makes room for one timer more, so that setting it cannot fail; and gives the room back. */
bool keeper_reserve(struct keeper *keeper);
void keeper_unreserve(struct keeper *keeper);

/* Sets, moves or, with LEASE_NEVER, clears a timer. */
void keeper_set(struct keeper *keeper, struct timer *timer, int64_t at);

#endif
