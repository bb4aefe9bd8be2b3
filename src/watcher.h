/* watcher.h - the thread that is told by the storage that keys may have become free, and says so to their lines.
 *
 * Started with the first waiter that finds its key busy; its session is its own. If the storage cannot watch, or the
 * session breaks, lines are unwatched and their waiters poll; it tries again every second.
 *
 * A waiter that is alone reads its hints itself, so that no thread is woken between a hint and the request that it
 * leads to (leader and followers: Schmidt et al., "Pattern-Oriented Software Architecture", volume 2). To one that
 * blocks the thread lends its session, and rests until something changes. When that one has its lock, the key stays
 * watched for a second: if he waits again by then, neither the thread nor the storage has to be told. If it is
 * asynchronous, whoever looks for events reads, and the thread only does if nobody has for a while. */
#ifndef DLOCK_SRC_WATCHER_H
#define DLOCK_SRC_WATCHER_H

#include "events.h"
#include "keeper.h"
#include "line.h"
#include "session.h"

#include <pthread.h>

/* Called with the mutex held. */
struct watcher_callbacks {
    void (*hint)(struct place *first);
    bool (*lend)(struct place *alone); /* true: its thread calls watcher_wait from now on; false: it has none */
};

struct watcher {
    pthread_mutex_t *mutex; /* guards all but the session; held by callers, except of init, stop and deinit */
    struct lines *lines;
    struct events *events;
    struct keeper *keeper;
    const struct watcher_callbacks *tell;
    struct session session; /* of the thread, or of whom it is lent to */
    int descriptor;         /* of the session; -1 = it does not work, or cannot watch */
    size_t watched_count;   /* lines */
    struct line *queue;     /* lines to look at */
    int wake;               /* eventfd */
    pthread_t thread;
    bool started, stopping;
    const struct place *lent; /* who reads while the thread rests; NULL = nobody */
    struct line *kept;        /* whoever read has left it, and may come back, while the thread rests; NULL = none */
    struct timer kept_long;   /* is due when it is to be unwatched */
    int64_t keep_us;          /* until then */
    bool shared;              /* whoever looks for events may read while the thread sleeps */
    bool in_use;              /* by somebody but the thread */
    bool asleep;              /* whoever reads waits for something to read, or for `wake` */
    unsigned reads;           /* counts those of the ones who look for events */
    pthread_cond_t back;      /* something of that has changed */
    int64_t patience_us;      /* with those who do not look for events */
};

void watcher_init(struct watcher *watcher, pthread_mutex_t *mutex, struct lines *lines,
                  const struct session_source *source, struct events *events, struct keeper *keeper,
                  const struct watcher_callbacks *tell);

/* Ends the thread. The mutex must not be held. */
void watcher_stop(struct watcher *watcher);
void watcher_deinit(struct watcher *watcher);

/* The waiters of this line want hints. Without threads, memory or a storage that can watch, they poll. The keeper has
 * been started. */
void watcher_want(struct watcher *watcher, struct line *line);

/* Somebody left the line: if nobody is in it any more, unwatches and discards it, now or later. If it was the one who
 * reads, the thread looks who is to read now. */
void watcher_settle(struct watcher *watcher, struct line *line);

/* Waits for hints, and passes them on, in place of the thread. False if it is not lent to this one. The mutex is
 * released meanwhile. */
bool watcher_wait(struct watcher *watcher, const struct place *place);

/* For whoever looks for events: reads hints that are there, if they are of one who is alone and asynchronous. The mutex
 * is released meanwhile. */
void watcher_read(struct watcher *watcher);

/* Ends a watcher_wait of this one, if there is any. */
void watcher_rouse(struct watcher *watcher, const struct place *place);

#endif
