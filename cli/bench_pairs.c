/* bench_pairs.c - acquire and release, as fast as they go: by threads, each with a key of its own, and asynchronously.
 *
 * Called by bench.c. */
#include "bench.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* ---- threads -------------------------------------------------------------------------------------------------- */

struct crew {
    struct bench *bench;
    dlock_factory *factory;
    pthread_mutex_t gate; /* held until all are there */
    int64_t end_ns;
    atomic_bool failed;
};

struct worker {
    struct crew *crew;
    size_t number;
    pthread_t thread;
    struct histogram times;
    dlock_status status;
    dlock_error error;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    struct crew *crew = w->crew;
    char key[BENCH_KEY_SIZE];
    dlock *lock = NULL;

    w->status = dlock_create(crew->factory, bench_key(crew->bench, w->number, key), &lock, &w->error);
    pthread_mutex_lock(&crew->gate);
    const int64_t end_ns = crew->end_ns;
    pthread_mutex_unlock(&crew->gate);
    while (w->status == DLOCK_OK) {
        const int64_t begin_ns = bench_now_ns();
        w->status = dlock_acquire(lock, NULL, &w->error);
        if (w->status == DLOCK_OK)
            w->status = dlock_release(lock, &w->error);
        if (w->status == DLOCK_OK)
            histogram_add(&w->times, bench_now_ns() - begin_ns);
        else
            crew->failed = true;
        if (crew->failed || !bench_goes_on(end_ns))
            break;
    }
    dlock_free(lock);
    return NULL;
}

/* Starts the threads, lets them work, and collects what they found in the first one's place. */
static dlock_status work_together(struct crew *crew, struct worker *workers, size_t count, double *ret_seconds,
                                  dlock_error *error)
{
    dlock_status status = DLOCK_OK;
    size_t started = 0;

    pthread_mutex_lock(&crew->gate);
    for (; started < count && status == DLOCK_OK; started++) {
        workers[started].crew = crew;
        workers[started].number = started;
        errno = pthread_create(&workers[started].thread, NULL, work, &workers[started]);
        if (errno != 0)
            status = bench_fail(error, "cannot start a thread");
    }
    started -= status != DLOCK_OK;
    const int64_t begin_ns = bench_now_ns();
    crew->end_ns = status == DLOCK_OK ? bench_end_ns(crew->bench, 0) : begin_ns;
    pthread_mutex_unlock(&crew->gate);
    for (size_t i = 0; i < started; i++)
        pthread_join(workers[i].thread, NULL);
    *ret_seconds = (double)(bench_now_ns() - begin_ns) / 1e9;
    for (size_t i = 0; i < started; i++) {
        if (i > 0)
            histogram_join(&workers[0].times, &workers[i].times);
        if (status == DLOCK_OK && workers[i].status != DLOCK_OK) {
            status = workers[i].status;
            *error = workers[i].error;
        }
    }
    return status;
}

dlock_status bench_threads(struct bench *b, size_t count, dlock_error *error)
{
    struct crew crew = {.bench = b, .gate = PTHREAD_MUTEX_INITIALIZER};
    struct worker *workers = calloc(count, sizeof *workers);
    double seconds;

    if (!workers)
        return bench_fail(error, "cannot measure");
    dlock_status status = bench_open(b, &crew.factory, error);
    if (status == DLOCK_OK) {
        status = work_together(&crew, workers, count, &seconds, error);
        bench_add_row(b, &workers[0].times, seconds, crew.factory);
    }
    dlock_factory_close(crew.factory);
    free(workers);
    return status;
}

/* ---- asynchronously ------------------------------------------------------------------------------------------- */

struct flight {
    dlock *lock;
    int64_t begin_ns;
};

static dlock_status start(struct flight *f, dlock_error *error)
{
    f->begin_ns = bench_now_ns();
    return dlock_acquire_start(f->lock, NULL, f, error);
}

/* What follows an event: after an acquire the release, after a release the next acquire until the time is over. */
static dlock_status go_on(const dlock_event *event, int64_t end_ns, struct histogram *times, size_t *flying,
                          dlock_error *error)
{
    struct flight *f = event->tag;

    if (event->type == DLOCK_EVENT_ACQUIRED)
        return dlock_release_start(f->lock, f, error);
    if (event->type != DLOCK_EVENT_RELEASED) {
        *error = event->error;
        return error->status;
    }
    histogram_add(times, bench_now_ns() - f->begin_ns);
    if (bench_goes_on(end_ns))
        return start(f, error);
    --*flying;
    return DLOCK_OK;
}

static dlock_status fly(struct bench *b, dlock_factory *factory, struct flight *flights, size_t count,
                        struct histogram *times, dlock_error *error)
{
    struct pollfd polled = {.fd = dlock_factory_fd(factory), .events = POLLIN};
    char key[BENCH_KEY_SIZE];
    dlock_event events[16];
    dlock_status status = DLOCK_OK;
    size_t flying = count;

    if (polled.fd < 0)
        return bench_fail(error, "cannot watch for events");
    for (size_t i = 0; i < count && status == DLOCK_OK; i++)
        status = dlock_create(factory, bench_key(b, i, key), &flights[i].lock, error);
    const int64_t end_ns = bench_end_ns(b, 0), begin_ns = bench_now_ns();
    for (size_t i = 0; i < count && status == DLOCK_OK; i++)
        status = start(&flights[i], error);
    while (status == DLOCK_OK && flying > 0) {
        const size_t found = dlock_factory_events(factory, events, sizeof events / sizeof *events);
        if (found == 0)
            poll(&polled, 1, -1);
        for (size_t i = 0; i < found && status == DLOCK_OK; i++)
            status = go_on(&events[i], end_ns, times, &flying, error);
    }
    bench_add_row(b, times, (double)(bench_now_ns() - begin_ns) / 1e9, factory);
    return status;
}

dlock_status bench_async(struct bench *b, size_t count, dlock_error *error)
{
    struct flight *flights = calloc(count, sizeof *flights);
    struct histogram *times = calloc(1, sizeof *times);
    dlock_factory *factory = NULL;
    dlock_status status;

    if (flights && times) {
        status = bench_open(b, &factory, error);
        if (status == DLOCK_OK)
            status = fly(b, factory, flights, count, times, error);
        for (size_t i = 0; i < count; i++)
            dlock_free(flights[i].lock);
    } else {
        status = bench_fail(error, "cannot measure");
    }
    dlock_factory_close(factory);
    free(times);
    free(flights);
    return status;
}
