/* handover.c - how long from a release to the grant of a waiter in another process? The median over many rounds; on
 * Redis beside a round trip by hand. Usage: handover [URL] */
#include "raw.h"

#include <sys/wait.h>

#define ROUNDS  300
#define IDLE_US 20000

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void put(int pipe, double value)
{
    if (write(pipe, &value, sizeof value) != sizeof value)
        fail("write");
}

static double get(int pipe)
{
    double value;
    if (read(pipe, &value, sizeof value) != sizeof value)
        fail("read");
    return value;
}

/* The other process: waits for the lock each time it is told to, and says when it got it. */
static void wait_each_time(const char *url, int orders, int reports)
{
    dlock_error error;
    dlock_factory *factory;
    dlock *lock;
    bench_check(dlock_factory_open(url, NULL, &factory, &error), &error);
    bench_check(dlock_create(factory, "handover", &lock, &error), &error);
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;
    options.wait_ms = DLOCK_WAIT_FOREVER;
    for (int i = 0; i < ROUNDS; i++) {
        get(orders);
        bench_check(dlock_acquire(lock, &options, &error), &error);
        const double granted = bench_now();
        bench_check(dlock_release(lock, &error), &error);
        put(reports, granted);
    }
    dlock_free(lock);
    dlock_factory_close(factory);
}

/* One round trip: the median of many calls of the script that find nothing to do, each after a pause. It depends much
 * on the pause: after a long one the processors have to wake up. */
static double round_trip(const char *url, useconds_t pause_us)
{
    struct raw raw = {.nodes = {NULL}};
    double took[ROUNDS];
    raw_open(&raw, url);
    for (int i = 0; i < ROUNDS; i++) {
        usleep(pause_us);
        const double begin = bench_now();
        raw_append(raw.nodes[0], "release", "nobody", raw_nothing);
        raw_skip(raw.nodes[0], 1);
        took[i] = bench_now() - begin;
    }
    raw_close(&raw);
    return bench_quantile(took, ROUNDS, 0.5);
}

int main(int argc, char **argv)
{
    struct bench_store store;
    bench_make_store(&store);
    const char *url = argc > 1 ? argv[1] : store.url;
    int orders[2], reports[2];
    if (pipe(orders) != 0 || pipe(reports) != 0)
        fail("pipe");
    const pid_t waiter = fork();
    if (waiter < 0)
        fail("fork");
    if (waiter == 0) {
        wait_each_time(url, orders[0], reports[1]);
        exit(0);
    }

    dlock_error error;
    dlock_factory *factory;
    dlock *lock;
    bench_check(dlock_factory_open(url, NULL, &factory, &error), &error);
    bench_check(dlock_create(factory, "handover", &lock, &error), &error);
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;
    options.wait_ms = DLOCK_WAIT_FOREVER;
    double took[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        bench_check(dlock_acquire(lock, &options, &error), &error);
        put(orders[1], 0);
        usleep(IDLE_US); /* long enough for the waiter to be asleep */
        const double released = bench_now();
        bench_check(dlock_release(lock, &error), &error);
        took[i] = get(reports[0]) - released;
    }
    waitpid(waiter, NULL, 0);
    dlock_free(lock);
    dlock_factory_close(factory);
    bench_remove_store(&store);
    const double median = bench_quantile(took, ROUNDS, 0.5), high = bench_quantile(took, ROUNDS, 0.99);
    if (argc < 2) {
        printf("handover: release to grant in another process: median %.0f us, 99%% %.0f us (goal: median below 2000 "
               "us)\n",
               median, high);
        return 0;
    }
    const double brisk = round_trip(url, 1000), idle = round_trip(url, IDLE_US);
    printf(
        "redis-handover: release to grant in another process: median %.0f us, 99%% %.0f us; a round trip after 1 ms of "
        "rest: %.0f us, %.1f of them; after 20 ms, as in the hand-over: %.0f us, %.1f of them (goal: at most 3)\n",
        median, high, brisk, median / brisk, idle, median / idle);
    return 0;
}
