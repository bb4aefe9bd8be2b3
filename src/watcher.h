/* watcher.h - the thread that is told by the storage that keys may have become free, and says so to their lines.
 *
 * Started with the first waiter that finds its key busy; its session is its own. If the storage cannot watch, or the
 * session breaks, lines are unwatched and their waiters poll; it tries again every second. */
#ifndef DLOCK_SRC_WATCHER_H
#define DLOCK_SRC_WATCHER_H

#include "line.h"
#include "session.h"

#include <pthread.h>

struct watcher {
    pthread_mutex_t *mutex; /* guards everything here but the session; held by the caller of want and settle */
    struct lines *lines;
    void (*hint)(struct place *first); /* called with the mutex held */
    struct session session;            /* of the thread alone */
    struct line *queue;                /* lines to look at */
    int wake;                          /* eventfd */
    pthread_t thread;
    bool started, stopping;
};

void watcher_init(struct watcher *watcher, pthread_mutex_t *mutex, struct lines *lines,
                  const struct session_source *source, void (*hint)(struct place *first));

/* Ends the thread. The mutex must not be held. */
void watcher_stop(struct watcher *watcher);
void watcher_deinit(struct watcher *watcher);

/* The waiters of this line want hints. Without threads, memory or a storage that can watch, they poll. */
void watcher_want(struct watcher *watcher, struct line *line);

/* Somebody left the line: if nobody is in it any more, unwatches and discards it. */
void watcher_settle(struct watcher *watcher, struct line *line);

#endif
