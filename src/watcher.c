/* watcher.c - see watcher.h. */
#include "watcher.h"

#include "thread.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define RETRY_MS 1000

void watcher_init(struct watcher *watcher, pthread_mutex_t *mutex, struct lines *lines,
                  const struct session_source *source, const struct watcher_callbacks *tell)
{
    *watcher = (struct watcher){
        .mutex = mutex, .lines = lines, .tell = tell, .session = {.source = source}, .descriptor = -1, .wake = -1};
    pthread_cond_init(&watcher->back, NULL);
}

void watcher_deinit(struct watcher *watcher)
{
    session_close(&watcher->session);
    if (watcher->wake >= 0)
        close(watcher->wake);
    pthread_cond_destroy(&watcher->back);
}

static void wake(struct watcher *watcher)
{
    if (!watcher->lent || watcher->asleep)
        eventfd_write(watcher->wake, 1);
    watcher->lent = NULL;
    pthread_cond_signal(&watcher->back);
}

static void look_at(struct watcher *watcher, struct line *line)
{
    if (line->queued)
        return;
    line->queued = true;
    line->next_queued = watcher->queue;
    watcher->queue = line;
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

static void lose_session(struct watcher *watcher)
{
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

/* Waits for something to read, and reads it. The mutex is held before and after. */
static void wait_and_read(struct watcher *watcher)
{
    const dlock_storage *storage = watcher->session.source->storage;
    struct pollfd polled[2] = {{.fd = watcher->wake, .events = POLLIN}, {.fd = watcher->descriptor, .events = POLLIN}};
    watcher->asleep = true;
    pthread_mutex_unlock(watcher->mutex);
    poll(polled, 2, polled[1].fd >= 0 ? -1 : RETRY_MS);
    eventfd_t ignored;
    if (polled[0].revents)
        eventfd_read(watcher->wake, &ignored);
    pthread_mutex_lock(watcher->mutex);
    watcher->asleep = false;
    if (!polled[1].revents)
        return;
    pthread_mutex_unlock(watcher->mutex);
    const bool working = storage->watch_read(watcher->session.memory, hint_key, watcher, NULL) == DLOCK_OK;
    pthread_mutex_lock(watcher->mutex);
    if (!working)
        lose_session(watcher);
}

/* ---- the session is lent to a waiter that is alone ----------------------------------------------------------------
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

/* Rests while such a waiter reads. False if there is none. */
static bool lend(struct watcher *watcher)
{
    struct place *alone = watcher->stopping ? NULL : find_alone(watcher);
    if (!alone || !watcher->tell->lend(alone))
        return false;
    watcher->lent = alone;
    while (watcher->lent || watcher->in_use)
        pthread_cond_wait(&watcher->back, watcher->mutex);
    return true;
}

bool watcher_wait(struct watcher *watcher, const struct place *place)
{
    if (watcher->lent != place)
        return false;
    watcher->in_use = true;
    wait_and_read(watcher);
    watcher->in_use = false;
    if (!watcher->lent)
        pthread_cond_signal(&watcher->back);
    return true;
}

void watcher_rouse(struct watcher *watcher, const struct place *place)
{
    if (watcher->lent == place && watcher->asleep)
        eventfd_write(watcher->wake, 1);
}

/* ---- the thread ---------------------------------------------------------------------------------------------------
 */

static void *watch(void *arg)
{
    struct watcher *watcher = arg;
    pthread_mutex_lock(watcher->mutex);
    while (!watcher->stopping) {
        prepare(watcher);
        if (!lend(watcher))
            wait_and_read(watcher);
    }
    pthread_mutex_unlock(watcher->mutex);
    return NULL;
}

static bool start(struct watcher *watcher)
{
    if (watcher->started)
        return true;
    if (watcher->wake < 0)
        watcher->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    watcher->started = watcher->wake >= 0 && thread_start(&watcher->thread, watch, watcher);
    return watcher->started;
}

void watcher_want(struct watcher *watcher, struct line *line)
{
    if (line->wants_watch || !watcher->session.source->storage->watch || watcher->stopping || !start(watcher))
        return;
    line->wants_watch = true;
    look_at(watcher, line);
}

void watcher_settle(struct watcher *watcher, struct line *line)
{
    if (line->watched && watcher->started && (!line->first || watcher->lent))
        look_at(watcher, line);
    else
        line_discard(watcher->lines, line);
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
