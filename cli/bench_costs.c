/* bench_costs.c - what waiting and holding cost while nothing happens, and the size of the programs.
 *
 * Called by bench.c. */
#include "bench.h"

#include <assert.h>
#include <dlfcn.h>
#include <malloc.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define LEAST_MS  3000 /* waiters ask after a second or two first; renewals are due each second */
#define SETTLE_MS 1500

/* Takes events until `count` acquires have ended; false if one failed, and why. Losses are counted. */
static bool await(dlock_factory *factory, size_t count, size_t *lost, dlock_error *error)
{
    struct pollfd polled = {.fd = dlock_factory_fd(factory), .events = POLLIN};
    dlock_event event;

    while (count > 0 && !bench_interrupted()) {
        if (dlock_factory_events(factory, &event, 1) == 0) {
            poll(&polled, 1, 1000);
        } else if (event.type == DLOCK_EVENT_FAILED) {
            *error = event.error;
            return false;
        } else {
            count -= event.type == DLOCK_EVENT_ACQUIRED;
            *lost += event.type == DLOCK_EVENT_LOST;
        }
    }
    return true;
}

/* That this process uses, in all. */
static double memory(void)
{
    return (double)mallinfo2().uordblks;
}

/* ---- waiters --------------------------------------------------------------------------------------------------- */

#define WAITERS       100
#define FACTORIES_MAX 10

struct waiting {
    dlock_factory *factories[FACTORIES_MAX];
    dlock *locks[WAITERS];
    size_t count; /* of factories */
};

static dlock_status add_waiters(struct bench *b, struct waiting *w, size_t from, size_t to, dlock_error *error)
{
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;
    char key[BENCH_KEY_SIZE];
    dlock_status status = DLOCK_OK;

    options.wait_ms = DLOCK_WAIT_FOREVER;
    for (size_t i = from; i < to && status == DLOCK_OK; i++) {
        status = dlock_create(w->factories[i % w->count], bench_key(b, 0, key), &w->locks[i], error);
        if (status == DLOCK_OK)
            status = dlock_acquire_start(w->locks[i], &options, NULL, error);
    }
    return status;
}

/* What all of them have asked so far. */
static dlock_stats asked_by(const struct waiting *w)
{
    dlock_stats sum = DLOCK_STATS_INIT, one = DLOCK_STATS_INIT;

    for (size_t i = 0; i < w->count; i++) {
        dlock_factory_stats(w->factories[i], &one, NULL);
        sum.requests += one.requests;
        sum.batches += one.batches;
    }
    return sum;
}

static dlock_status wait_idle(struct bench *b, struct waiting *w, dlock_error *error)
{
    dlock_status status = DLOCK_OK;

    for (size_t i = 0; i < w->count && status == DLOCK_OK; i++)
        status = bench_open(b, &w->factories[i], error);
    /* What is there once, connections and threads, is there with the first waiter of each. */
    if (status == DLOCK_OK)
        status = add_waiters(b, w, 0, w->count, error);
    bench_pause(bench_now_ns() + SETTLE_MS * 1000000LL);
    const double bytes = memory();
    if (status == DLOCK_OK)
        status = add_waiters(b, w, w->count, WAITERS, error);
    if (status != DLOCK_OK)
        return status;
    const double more = memory() - bytes;
    const dlock_stats before = asked_by(w);
    const int64_t begin_ns = bench_now_ns();
    bench_pause(bench_end_ns(b, LEAST_MS));
    const double seconds = (double)(bench_now_ns() - begin_ns) / 1e9;
    const dlock_stats after = asked_by(w);
    if (bench_interrupted())
        return DLOCK_OK;
    bench_add_cost(b, "requests_per_second", "requests", "a second", 1,
                   (double)(after.requests - before.requests) / seconds);
    if (w->count == 1)
        bench_add_cost(b, "bytes_per_waiter", "memory of each", "bytes", 0, more / (double)(WAITERS - w->count));
    return DLOCK_OK;
}

static void stop_waiting(struct waiting *w)
{
    for (size_t i = 0; i < WAITERS; i++)
        dlock_free(w->locks[i]);
    for (size_t i = 0; i < w->count; i++)
        dlock_factory_close(w->factories[i]);
}

/* Waiters in `count` factories, which is what they are in as many processes. */
dlock_status bench_waiters(struct bench *b, size_t count, dlock_error *error)
{
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;
    struct waiting waiting = {.count = count};
    char key[BENCH_KEY_SIZE];
    dlock_factory *holder = NULL;
    dlock *held = NULL;

    assert(count > 0 && count <= FACTORIES_MAX);
    options.renew = true;
    dlock_status status = bench_open(b, &holder, error);
    if (status == DLOCK_OK)
        status = dlock_create(holder, bench_key(b, 0, key), &held, error);
    if (status == DLOCK_OK)
        status = dlock_acquire(held, &options, error);
    if (status == DLOCK_OK)
        status = wait_idle(b, &waiting, error);
    stop_waiting(&waiting);
    dlock_free(held);
    dlock_factory_close(holder);
    return status;
}

/* ---- held locks ------------------------------------------------------------------------------------------------- */

#define HELD_TTL_MS 3000 /* renewed once a second */

static double cpu_seconds(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static dlock_status hold(struct bench *b, dlock_factory *factory, dlock **locks, size_t from, size_t to, size_t *lost,
                         dlock_error *error)
{
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;
    char key[BENCH_KEY_SIZE];
    dlock_status status = DLOCK_OK;

    options.ttl_ms = HELD_TTL_MS;
    options.renew = true;
    for (size_t i = from; i < to && status == DLOCK_OK; i++) {
        status = dlock_create(factory, bench_key(b, i, key), &locks[i], error);
        if (status == DLOCK_OK)
            status = dlock_acquire_start(locks[i], &options, NULL, error);
    }
    return status == DLOCK_OK && !await(factory, to - from, lost, error) ? error->status : status;
}

static dlock_status hold_idle(struct bench *b, dlock_factory *factory, dlock **locks, size_t count, dlock_error *error)
{
    dlock_stats before = DLOCK_STATS_INIT, after = DLOCK_STATS_INIT;
    size_t lost = 0;
    dlock_status status = hold(b, factory, locks, 0, 1, &lost, error);
    const double bytes = memory();

    if (status == DLOCK_OK)
        status = hold(b, factory, locks, 1, count, &lost, error);
    if (status != DLOCK_OK)
        return status;
    const double more = memory() - bytes;
    dlock_factory_stats(factory, &before, NULL);
    const double cpu = cpu_seconds();
    const int64_t begin_ns = bench_now_ns();
    bench_pause(bench_end_ns(b, LEAST_MS));
    const double seconds = (double)(bench_now_ns() - begin_ns) / 1e9, used = cpu_seconds() - cpu;
    dlock_factory_stats(factory, &after, NULL);
    if (bench_interrupted())
        return DLOCK_OK;
    dlock_event event;
    while (dlock_factory_events(factory, &event, 1) == 1)
        lost += event.type == DLOCK_EVENT_LOST;
    const double renewals = (double)(after.requests - before.requests),
                 batches = (double)(after.batches - before.batches);
    bench_add_cost(b, "renewals_per_second", "renewals, ttl 3 s", "a second", 0, renewals / seconds);
    bench_add_cost(b, "renewals_per_batch", "of them in a batch", "", 1, batches > 0 ? renewals / batches : -1);
    bench_add_cost(b, "cpu_us_per_renewal", "processor time of each", "us, of this process", 2,
                   renewals > 0 ? used / renewals * 1e6 : -1);
    bench_add_cost(b, "lost", "lost", "", 0, (double)lost);
    bench_add_cost(b, "bytes_per_lock", "memory of each", "bytes", 0, more / (double)(count - 1));
    return DLOCK_OK;
}

dlock_status bench_renewal(struct bench *b, size_t count, dlock_error *error)
{
    dlock **locks = calloc(count, sizeof(dlock *));
    dlock_factory *factory = NULL;

    if (!locks)
        return bench_fail(error, "cannot measure");
    dlock_status status = bench_open(b, &factory, error);
    if (status == DLOCK_OK)
        status = hold_idle(b, factory, locks, count, error);
    dlock_factory_close(factory); /* releases them, many at a time */
    for (size_t i = 0; i < count; i++)
        dlock_free(locks[i]);
    free(locks);
    return status;
}

/* ---- size ------------------------------------------------------------------------------------------------------- */

static void add_size(struct bench *b, const char *name, const char *what, const char *path)
{
    struct stat file;

    if (stat(path, &file) == 0)
        bench_add_cost(b, name, what, "bytes", 0, (double)file.st_size);
}

dlock_status bench_size(struct bench *b, size_t count, dlock_error *error)
{
    Dl_info library;
    (void)count, (void)error;

    if (dladdr((const void *)(uintptr_t)dlock_version, &library) != 0)
        add_size(b, "library_bytes", "libdlock.so", library.dli_fname);
    add_size(b, "command_bytes", "dlock", "/proc/self/exe");
    return DLOCK_OK;
}
