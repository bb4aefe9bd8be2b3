/* core.h - what a factory and its locks share: the storage, the sessions, the threads, one mutex.
 *
 * factory.c makes it; it lives until the factory is closed and its last lock is freed. */
#ifndef DLOCK_SRC_CORE_H
#define DLOCK_SRC_CORE_H

#include "courier.h"
#include "errands.h"
#include "events.h"
#include "exchange.h"
#include "keeper.h"
#include "machine.h"
#include "owner.h"
#include "watcher.h"

#include <sys/types.h>

struct dlock_factory {
    struct session_source source;
    struct session_counts counts;
    dlock_url *url; /* NULL over a storage of the caller's own */
    char *where;    /* the URL for messages */
    char *folder;   /* the working directory when it was opened; NULL = not known */
    char machine[DLOCK_MACHINE_MAX + 1];
    struct machine_plan defaults;
    pid_t pid;      /* of the process that made it */
    unsigned forks; /* that had led to that process; in a child of it there are more, and nothing works any more */

    pthread_mutex_t mutex; /* guards all below, and every lock */
    size_t references;     /* the factory's user, each lock */
    bool closed;
    uint64_t chance; /* state of the generator of jitter */
    char owner_beginning[OWNER_BEGINNING_SIZE];
    struct owner_random random;
    struct exchange exchange;
    struct keeper keeper;
    struct courier renewals;
    struct errands errands;
    struct lines lines;
    struct watcher watcher;
    struct events events;
    struct dlock *locks;        /* a list */
    struct leftover *leftovers; /* a list */
};

/* Prepares `core`, whose first group of members is set; it has one reference. */
void core_init(struct dlock_factory *core, const struct watcher_callbacks *tell);

/* Ends all threads. The mutex must not be held. */
void core_stop(struct dlock_factory *core);

/* Takes the mutex; and gives it back, freeing everything if the last reference is gone. */
void core_lock(struct dlock_factory *core);
void core_unlock(struct dlock_factory *core);

/* Frees everything that a child process may touch: not connections, which its parent uses, nor threads. */
void core_free_forked(struct dlock_factory *core);

/* Is this a child of the process that made it? */
bool core_forked(const struct dlock_factory *core);

/* Takes the mutex if the factory can be used; else INVALID, and the mutex is not held. */
dlock_status core_enter(struct dlock_factory *core, dlock_error *error);

/* A random number. The mutex must be held. */
uint64_t core_chance(struct dlock_factory *core);

/* Writes "cannot VERB 'KEY' in WHERE: DETAIL" into `error` (may be NULL) and returns the status. */
dlock_status core_explain(const struct dlock_factory *core, dlock_error *error, dlock_status status, const char *verb,
                          const char *key, const char *format, ...) DLOCK_PRINTF(6, 7);

#endif
