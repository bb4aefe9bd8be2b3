/* watcher.c - see watcher.h. */
#include "watcher.h"

#include "thread.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define RETRY_MS 1000

void watcher_init(struct watcher *watcher, pthread_mutex_t *mutex, struct lines *lines,
                  const struct session_source *source, void (*hint)(struct place *first))
{
    *watcher =
        (struct watcher){.mutex = mutex, .lines = lines, .hint = hint, .session = {.source = source}, .wake = -1};
}

void watcher_deinit(struct watcher *watcher)
{
    session_close(&watcher->session);
    if (watcher->wake >= 0)
        close(watcher->wake);
}

static void wake(struct watcher *watcher)
{
    eventfd_write(watcher->wake, 1);
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
        watcher->hint(line->first);
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
            watcher->hint(first);
    }
    pthread_mutex_unlock(watcher->mutex);
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
            line->watched = wanted && working;
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
        line->watched = false;
        hint_line(watcher, line);
    }
    look_at(watcher, line);
}

static void lose_session(struct watcher *watcher)
{
    session_close(&watcher->session);
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

/* Opens the session and brings it up to date. Returns its descriptor, or -1 if it does not work now. One that cannot
 * watch, as through a pooler, is kept, and asked again from time to time. */
static int prepare(struct watcher *watcher)
{
    const dlock_storage *storage = watcher->session.source->storage;
    pthread_mutex_unlock(watcher->mutex);
    const bool open = session_open(&watcher->session, NULL) == DLOCK_OK;
    const int descriptor = open ? storage->watch_fd(watcher->session.memory) : -1;
    pthread_mutex_lock(watcher->mutex);
    if (descriptor >= 0 && settle_queue(watcher))
        return descriptor;
    if (descriptor >= 0 || !open)
        lose_session(watcher);
    discard_empty(watcher);
    return -1;
}

static void *watch(void *arg)
{
    struct watcher *watcher = arg;
    const dlock_storage *storage = watcher->session.source->storage;
    pthread_mutex_lock(watcher->mutex);
    while (!watcher->stopping) {
        const int descriptor = prepare(watcher);
        pthread_mutex_unlock(watcher->mutex);
        struct pollfd polled[2] = {{.fd = watcher->wake, .events = POLLIN}, {.fd = descriptor, .events = POLLIN}};
        poll(polled, 2, descriptor >= 0 ? -1 : RETRY_MS);
        eventfd_t ignored;
        if (polled[0].revents)
            eventfd_read(watcher->wake, &ignored);
        const bool working =
            !polled[1].revents || storage->watch_read(watcher->session.memory, hint_key, watcher, NULL) == DLOCK_OK;
        pthread_mutex_lock(watcher->mutex);
        if (!working)
            lose_session(watcher);
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
    if (line->watched && !line->first && watcher->started)
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
