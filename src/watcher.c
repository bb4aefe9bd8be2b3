/* watcher.c - see watcher.h. */
#include "watcher.h"

#include "container.h"
#include "lease.h"
#include "thread.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define RETRY_MS    1000
#define PATIENCE_US 50000
#define KEEP_US     1000000

static void keep_no_longer(struct timer *timer, int64_t now);

void watcher_init(struct watcher *watcher, pthread_mutex_t *mutex, struct lines *lines,
                  const struct session_source *source, struct events *events, struct keeper *keeper,
                  const struct watcher_callbacks *tell)
{
    *watcher = (struct watcher){.mutex = mutex,
                                .lines = lines,
                                .events = events,
                                .keeper = keeper,
                                .tell = tell,
                                .session = {.source = source},
                                .descriptor = -1,
                                .wake = -1,
                                .kept_long = {.due = keep_no_longer},
                                .keep_us = KEEP_US,
                                .patience_us = PATIENCE_US};
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&watcher->back, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

void watcher_deinit(struct watcher *watcher)
{
    session_close(&watcher->session);
    if (watcher->wake >= 0)
        close(watcher->wake);
    pthread_cond_destroy(&watcher->back);
}

static void enqueue(struct watcher *watcher, struct line *line)
{
    line->queued = true;
    line->next_queued = watcher->queue;
    watcher->queue = line;
}

/* Returns the line that was kept. */
static struct line *stop_keeping(struct watcher *watcher)
{
    struct line *line = watcher->kept;
    watcher->kept = NULL;
    keeper_set(watcher->keeper, &watcher->kept_long, LEASE_NEVER);
    return line;
}

static void wake(struct watcher *watcher)
{
    const bool rests = watcher->lent || watcher->kept;
    if (!rests || watcher->asleep)
        eventfd_write(watcher->wake, 1);
    watcher->lent = NULL;
    if (watcher->kept)
        enqueue(watcher, stop_keeping(watcher));
    pthread_cond_signal(&watcher->back);
}

static void look_at(struct watcher *watcher, struct line *line)
{
    if (line->queued)
        return;
    enqueue(watcher, line);
    wake(watcher);
}

/* Every line that is watched, or wants to be: `each` may not free it. */
static void for_each_line(struct watcher *watcher, void (*each)(struct watcher *, struct line *))
{
    for (size_t i = 0; i < watcher->lines->bucket_count; i++)
        for (struct line *line = watcher->lines->buckets[i]; line; line = line->next)
            if (line->wants_watch)
                each(watcher, line);
}

static void hint_line(struct watcher *watcher, struct line *line)
{
    if (line->first)
        watcher->tell->hint(line->first);
}

static void hint_key(void *arg, const char *key)
{
    struct watcher *watcher = arg;
    pthread_mutex_lock(watcher->mutex);
    if (!key) {
        for_each_line(watcher, hint_line);
    } else {
        struct place *first = line_first(watcher->lines, key);
        if (first)
            watcher->tell->hint(first);
    }
    pthread_mutex_unlock(watcher->mutex);
}

static void set_watched(struct watcher *watcher, struct line *line, bool watched)
{
    watcher->watched_count += (size_t)watched - (size_t)line->watched;
    line->watched = watched;
}

/* Watches or unwatches the lines of the queue. Called and returns with the mutex held, but releases it. False if the
 * session is broken. */
static bool settle_queue(struct watcher *watcher)
{
    const dlock_storage *storage = watcher->session.source->storage;
    bool working = true;
    while (watcher->queue && working) {
        struct line *line = watcher->queue;
        const bool wanted = line->first != NULL;
        if (wanted != line->watched) {
            pthread_mutex_unlock(watcher->mutex);
            if (wanted)
                working = storage->watch(watcher->session.memory, line->key, NULL) == DLOCK_OK;
            else
                storage->unwatch(watcher->session.memory, line->key);
            pthread_mutex_lock(watcher->mutex);
            set_watched(watcher, line, wanted && working);
            if (line->watched)
                hint_line(watcher, line);
        }
        /* While it was unlocked, others may have queued lines before this one, or joined or left it. */
        if (working && (line->first != NULL) == line->watched) {
            struct line **link = &watcher->queue;
            while (*link != line)
                link = &(*link)->next_queued;
            *link = line->next_queued;
            line->queued = false;
            line_discard(watcher->lines, line);
        }
    }
    return working;
}

/* It polls from now on, beginning with the hint, since something may have been missed. */
static void unwatch_line(struct watcher *watcher, struct line *line)
{
    if (line->watched) {
        set_watched(watcher, line, false);
        hint_line(watcher, line);
    }
    look_at(watcher, line);
}

static void stop_sharing(struct watcher *watcher)
{
    if (watcher->shared)
        events_unwatch(watcher->events, watcher->descriptor);
    watcher->shared = false;
}

static void lose_session(struct watcher *watcher)
{
    stop_sharing(watcher);
    session_close(&watcher->session);
    watcher->descriptor = -1;
    for_each_line(watcher, unwatch_line);
}

/* Without a session nothing is watched: lines that nobody waits in go at once. */
static void discard_empty(struct watcher *watcher)
{
    struct line **link = &watcher->queue;
    while (*link) {
        struct line *line = *link;
        if (line->first) {
            link = &line->next_queued;
            continue;
        }
        *link = line->next_queued;
        line->queued = false;
        line_discard(watcher->lines, line);
    }
}

/* Opens the session and brings it up to date, if that works now. One that cannot watch, as through a pooler, is kept,
 * and asked again from time to time. */
static void prepare(struct watcher *watcher)
{
    const dlock_storage *storage = watcher->session.source->storage;
    pthread_mutex_unlock(watcher->mutex);
    const bool open = session_open(&watcher->session, NULL) == DLOCK_OK;
    const int descriptor = open ? storage->watch_fd(watcher->session.memory) : -1;
    pthread_mutex_lock(watcher->mutex);
    watcher->descriptor = descriptor;
    if (descriptor >= 0 && settle_queue(watcher))
        return;
    if (descriptor >= 0 || !open)
        lose_session(watcher);
    discard_empty(watcher);
}

/* Waits until there is something to read; false = there may be something else to do. Releases the mutex meanwhile. */
static bool await(struct watcher *watcher)
{
    struct pollfd polled[2] = {{.fd = watcher->wake, .events = POLLIN}, {.fd = watcher->descriptor, .events = POLLIN}};
    watcher->asleep = true;
    pthread_mutex_unlock(watcher->mutex);
    poll(polled, 2, polled[1].fd >= 0 ? -1 : RETRY_MS);
    eventfd_t ignored;
    if (polled[0].revents)
        eventfd_read(watcher->wake, &ignored);
    pthread_mutex_lock(watcher->mutex);
    watcher->asleep = false;
    return polled[1].revents;
}

/* Releases the mutex meanwhile. */
static void read_hints(struct watcher *watcher)
{
    const dlock_storage *storage = watcher->session.source->storage;
    pthread_mutex_unlock(watcher->mutex);
    const bool working = storage->watch_read(watcher->session.memory, hint_key, watcher, NULL) == DLOCK_OK;
    pthread_mutex_lock(watcher->mutex);
    if (!working)
        lose_session(watcher);
}

/* ---- a waiter that is alone reads ---------------------------------------------------------------------------------
 */

/* The only one who waits, if there is one. */
static struct place *find_alone(const struct watcher *watcher)
{
    if (watcher->watched_count != 1)
        return NULL;
    const struct line *line = NULL;
    for (size_t i = 0; !line; i++)
        for (line = watcher->lines->buckets[i]; line && !line->watched;)
            line = line->next;
    return line->first == line->last ? line->first : NULL;
}

/* Rests while a waiter reads that is alone and blocks, and for a while after that. */
static void rest(struct watcher *watcher, const struct place *alone)
{
    watcher->lent = alone;
    while (watcher->lent || watcher->kept || watcher->in_use)
        pthread_cond_wait(&watcher->back, watcher->mutex);
}

static void keep(struct watcher *watcher, struct line *line)
{
    watcher->lent = NULL;
    watcher->kept = line;
    keeper_set(watcher->keeper, &watcher->kept_long, dlock_clock_us() + watcher->keep_us);
}

static void keep_no_longer(struct timer *timer, int64_t now)
{
    (void)now;
    wake(CONTAINER(timer, struct watcher, kept_long));
}

/* Somebody waits again in the line that was kept. */
static void lend_again(struct watcher *watcher)
{
    struct place *first = watcher->kept->first;
    if (first == watcher->kept->last && !watcher->in_use && watcher->tell->lend(first)) {
        stop_keeping(watcher);
        watcher->lent = first;
    } else {
        wake(watcher);
    }
}

bool watcher_wait(struct watcher *watcher, const struct place *place)
{
    if (watcher->lent != place)
        return false;
    watcher->in_use = true;
    if (await(watcher))
        read_hints(watcher);
    watcher->in_use = false;
    if (!watcher->lent)
        pthread_cond_signal(&watcher->back);
    return true;
}

/* Gives those who look for events some time to read. False if they have, since there had been `reads`. */
static bool is_left_to_thread(struct watcher *watcher, unsigned reads)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    const int64_t nanoseconds = until.tv_nsec + watcher->patience_us * 1000;
    until.tv_sec += nanoseconds / 1000000000;
    until.tv_nsec = nanoseconds % 1000000000;
    int over = 0;
    while (watcher->shared && watcher->reads == reads && !watcher->queue && !watcher->stopping && over == 0)
        over = pthread_cond_timedwait(&watcher->back, watcher->mutex, &until);
    return watcher->reads == reads;
}

void watcher_read(struct watcher *watcher)
{
    if (!watcher->shared || watcher->in_use)
        return;
    watcher->in_use = true;
    read_hints(watcher);
    watcher->in_use = false;
    watcher->reads++;
    pthread_cond_signal(&watcher->back);
}

void watcher_rouse(struct watcher *watcher, const struct place *place)
{
    if (watcher->lent == place && watcher->asleep)
        eventfd_write(watcher->wake, 1);
}

/* ---- the thread ---------------------------------------------------------------------------------------------------
 */

static void wait_and_read(struct watcher *watcher)
{
    const unsigned reads = watcher->reads;
    bool readable = await(watcher);
    if (readable && watcher->shared)
        readable = is_left_to_thread(watcher, reads);
    stop_sharing(watcher);
    while (watcher->in_use)
        pthread_cond_wait(&watcher->back, watcher->mutex);
    if (readable && watcher->session.memory)
        read_hints(watcher);
}

static void *watch(void *arg)
{
    struct watcher *watcher = arg;
    pthread_mutex_lock(watcher->mutex);
    while (!watcher->stopping) {
        prepare(watcher);
        struct place *alone = watcher->stopping ? NULL : find_alone(watcher);
        if (alone && watcher->tell->lend(alone)) {
            rest(watcher, alone);
            continue;
        }
        watcher->shared = alone && events_watch(watcher->events, watcher->descriptor);
        wait_and_read(watcher);
    }
    pthread_mutex_unlock(watcher->mutex);
    return NULL;
}

static bool start(struct watcher *watcher)
{
    if (watcher->started)
        return true;
    if (watcher->wake < 0) {
        if (!keeper_reserve(watcher->keeper))
            return false;
        watcher->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (watcher->wake < 0)
            keeper_unreserve(watcher->keeper);
    }
    watcher->started = watcher->wake >= 0 && thread_start(&watcher->thread, watch, watcher);
    return watcher->started;
}

void watcher_want(struct watcher *watcher, struct line *line)
{
    if (line == watcher->kept)
        lend_again(watcher);
    if (line->wants_watch || !watcher->session.source->storage->watch || watcher->stopping || !start(watcher))
        return;
    line->wants_watch = true;
    look_at(watcher, line);
}

void watcher_settle(struct watcher *watcher, struct line *line)
{
    if (line == watcher->kept)
        return;
    if (!line->watched || !watcher->started)
        line_discard(watcher->lines, line);
    else if (!line->first && watcher->lent && !watcher->asleep)
        keep(watcher, line);
    else if (!line->first || watcher->lent)
        look_at(watcher, line);
}

void watcher_stop(struct watcher *watcher)
{
    pthread_mutex_lock(watcher->mutex);
    const bool started = watcher->started;
    watcher->stopping = true;
    if (started)
        wake(watcher);
    pthread_mutex_unlock(watcher->mutex);
    if (started)
        pthread_join(watcher->thread, NULL);
}
