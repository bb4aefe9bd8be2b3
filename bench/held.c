/* held.c - what do held and renewed locks of one process cost, from 1,000 to 100,000? Bytes each, and part of one core;
 * for 10,000 there is a goal. */
#include "bench.h"

#include <malloc.h>

#define GOAL_AT   10000
#define LOCKS_MAX 100000
#define SECONDS   20

static void measure(int count)
{
    struct bench_store store;
    bench_make_store(&store);
    dlock_error error;
    dlock_factory *factory;
    bench_check(dlock_factory_open(store.url, NULL, &factory, &error), &error);
    static dlock *locks[LOCKS_MAX];
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;
    options.renew = true;
    /* What is there once, however many locks: sessions, threads. */
    bench_check(dlock_create(factory, "first", &locks[0], &error), &error);
    bench_check(dlock_acquire(locks[0], &options, &error), &error);
    dlock_free(locks[0]);

    const size_t before = mallinfo2().uordblks;
    for (int i = 0; i < count; i++) {
        char key[32];
        snprintf(key, sizeof key, "held/%08d", i);
        bench_check(dlock_create(factory, key, &locks[i], &error), &error);
        bench_check(dlock_acquire(locks[i], &options, &error), &error);
    }
    const double bytes = (double)(mallinfo2().uordblks - before) / count;

    dlock_stats first = DLOCK_STATS_INIT, last = DLOCK_STATS_INIT;
    bench_check(dlock_factory_stats(factory, &first, &error), &error);
    const double cpu = bench_cpu_seconds();
    sleep(SECONDS);
    const double used = bench_cpu_seconds() - cpu;
    bench_check(dlock_factory_stats(factory, &last, &error), &error);
    dlock_event event;
    size_t lost = 0;
    while (dlock_factory_events(factory, &event, 1) == 1)
        lost++;
    printf(
        "held: %d locks renewed at ttl 10 s: %.0f bytes each%s, %.1f %% of one core%s, %.1f us for each renewal, %zu "
        "lost\n",
        count, bytes, count == GOAL_AT ? " (goal: below 512)" : "", used / SECONDS * 100,
        count == GOAL_AT ? " (goal: below 5 %)" : "", used / (double)(last.requests - first.requests) * 1e6, lost);

    dlock_factory_close(factory);
    for (int i = 0; i < count; i++)
        dlock_free(locks[i]);
    bench_remove_store(&store);
}

int main(void)
{
    measure(1000);
    measure(GOAL_AT);
    measure(LOCKS_MAX);
    return 0;
}
