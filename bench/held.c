/* held.c - what do 10,000 held and renewed locks of one process cost? Bytes each, and part of one core. */
#include "bench.h"

#include <malloc.h>
#include <sys/resource.h>

#define LOCKS   10000
#define SECONDS 20

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

int main(void)
{
    struct bench_store store;
    bench_make_store(&store);
    dlock_error error;
    dlock_factory *factory;
    bench_check(dlock_factory_open(store.url, NULL, &factory, &error), &error);
    static dlock *locks[LOCKS];
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;
    options.renew = true;
    /* What is there once, however many locks: sessions, threads. */
    bench_check(dlock_create(factory, "first", &locks[0], &error), &error);
    bench_check(dlock_acquire(locks[0], &options, &error), &error);
    dlock_free(locks[0]);

    const size_t before = mallinfo2().uordblks;
    for (int i = 0; i < LOCKS; i++) {
        char key[32];
        snprintf(key, sizeof key, "held/%08d", i);
        bench_check(dlock_create(factory, key, &locks[i], &error), &error);
        bench_check(dlock_acquire(locks[i], &options, &error), &error);
    }
    const double bytes = (double)(mallinfo2().uordblks - before) / LOCKS;

    const double cpu = cpu_seconds();
    sleep(SECONDS);
    const double part = (cpu_seconds() - cpu) / SECONDS;
    dlock_event event;
    size_t lost = 0;
    while (dlock_factory_events(factory, &event, 1) == 1)
        lost++;
    printf("held: %d locks renewed at ttl 10 s: %.0f bytes each (goal: below 512), %.1f %% of one core (goal: below "
           "5 %%), %zu lost\n",
           LOCKS, bytes, part * 100, lost);

    dlock_factory_close(factory);
    for (int i = 0; i < LOCKS; i++)
        dlock_free(locks[i]);
    bench_remove_store(&store);
    return 0;
}
