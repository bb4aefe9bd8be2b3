/* growth.c - does a pair take longer the more keys are held, and a hand-over the more wait in line? Over the embedded
 * storage or another. Usage: growth [NAME URL] */
#include "bench.h"

#include <poll.h>

#define KEYS_MAX    100000
#define WAITERS_MAX 1000
#define ROUNDS      2000
#define LINES       5

static const size_t keys[] = {10, 1000, KEYS_MAX}, waiters[] = {1, 10, WAITERS_MAX};

static dlock *hold(dlock_factory *factory, const char *key)
{
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;
    dlock_error error;
    dlock *lock;
    options.ttl_ms = 3600000;
    bench_check(dlock_create(factory, key, &lock, &error), &error);
    bench_check(dlock_acquire(lock, &options, &error), &error);
    return lock;
}

/* The median of a pair. */
static double pair(dlock *lock)
{
    static double took[ROUNDS];
    dlock_error error;
    for (int i = 0; i < ROUNDS; i++) {
        const double begin = bench_now();
        bench_check(dlock_acquire(lock, NULL, &error), &error);
        bench_check(dlock_release(lock, &error), &error);
        took[i] = bench_now() - begin;
    }
    return bench_quantile(took, ROUNDS, 0.5);
}

static void measure_keys(const char *name, dlock_factory *factory)
{
    static dlock *held[KEYS_MAX];
    dlock_error error;
    dlock *lock;
    double medians[3];
    size_t count = 0;
    bench_check(dlock_create(factory, "pair", &lock, &error), &error);
    for (int i = 0; i < 3; i++) {
        for (; count < keys[i]; count++) {
            char key[32];
            snprintf(key, sizeof key, "held/%08zu", count);
            held[count] = hold(factory, key);
        }
        medians[i] = pair(lock);
    }
    printf(
        "%s: acquire+release while %zu, %zu, %zu other keys are held: median %.1f, %.1f, %.1f us; last to first %.2f\n",
        name, keys[0], keys[1], keys[2], medians[0], medians[1], medians[2], medians[2] / medians[0]);
    dlock_free(lock);
    while (count > 0)
        dlock_free(held[--count]);
}

/* How long each of so many waiters in line has the lock, from the first release to the last. */
static double line(dlock_factory *factory, size_t count)
{
    static dlock *locks[WAITERS_MAX];
    struct pollfd polled = {.fd = dlock_factory_fd(factory), .events = POLLIN};
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;
    dlock_error error;
    dlock *first = hold(factory, "line");
    options.wait_ms = DLOCK_WAIT_FOREVER;
    for (size_t i = 0; i < count; i++) {
        bench_check(dlock_create(factory, "line", &locks[i], &error), &error);
        bench_check(dlock_acquire_start(locks[i], &options, NULL, &error), &error);
    }
    usleep(100000); /* so that the first of them has asked, and is asleep */
    const double begin = bench_now();
    bench_check(dlock_release(first, &error), &error);
    for (size_t granted = 0; granted < count;) {
        dlock_event event;
        if (dlock_factory_events(factory, &event, 1) == 0) {
            poll(&polled, 1, -1);
            continue;
        }
        bench_check(event.error.status, &event.error);
        bench_check(dlock_release(event.lock, &error), &error);
        granted++;
    }
    const double took = (bench_now() - begin) / (double)count;
    dlock_free(first);
    for (size_t i = 0; i < count; i++)
        dlock_free(locks[i]);
    return took;
}

static void measure_waiters(const char *name, dlock_factory *factory)
{
    double medians[3], took[LINES];
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < LINES; j++)
            took[j] = line(factory, waiters[i]);
        medians[i] = bench_quantile(took, LINES, 0.5);
    }
    printf("%s: hand-over in a line of %zu, %zu, %zu waiters of one process: median %.1f, %.1f, %.1f us each; last to "
           "first "
           "%.2f\n",
           name, waiters[0], waiters[1], waiters[2], medians[0], medians[1], medians[2], medians[2] / medians[0]);
}

int main(int argc, char **argv)
{
    if (argc != 1 && argc != 3) {
        fprintf(stderr, "usage: growth [NAME URL]\n");
        return 64;
    }
    struct bench_store store;
    dlock_error error;
    dlock_factory *factory;
    bench_make_store(&store);
    bench_check(dlock_factory_open(argc > 1 ? argv[2] : store.url, NULL, &factory, &error), &error);
    const char *name = argc > 1 ? argv[1] : "growth";
    measure_keys(name, factory);
    measure_waiters(name, factory);
    dlock_factory_close(factory);
    bench_remove_store(&store);
    return 0;
}
