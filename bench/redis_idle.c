/* redis_idle.c - how many commands a second do 100 waiters cause whose key stays taken? In one process, and in as many
 * factories as there are waiters, which is what as many processes do. At the default interval. Usage: redis_idle URL */
#include "raw.h"

#include <pthread.h>

#define WAITERS 100
#define SECONDS 10
#define LATER   50 /* seconds more, until pauses have grown */

/* What clients send, and what the server carries out: also the commands in a script. */
struct load {
    double calls, commands;
};

static struct load load_of(const struct raw *raw)
{
    return (struct load){raw_info(raw->nodes[0], "commandstats", "cmdstat_evalsha:calls"),
                         raw_info(raw->nodes[0], "stats", "total_commands_processed")};
}

static void report(const struct raw *raw, const char *where, const char *when)
{
    const struct load before = load_of(raw);
    sleep(SECONDS);
    const struct load after = load_of(raw);
    printf("redis-idle: %d waiters of one key %s%s: %.1f calls/s of the script, with what it calls %.1f commands/s "
           "(goal: almost none)\n",
           WAITERS, where, when, (after.calls - before.calls) / SECONDS,
           (after.commands - before.commands - 2) / SECONDS); /* without INFO */
}

static void measure(const char *url, const struct raw *raw, size_t factory_count, const char *where)
{
    dlock_factory *factories[WAITERS];
    dlock *locks[WAITERS];
    dlock_error error;
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;
    options.wait_ms = DLOCK_WAIT_FOREVER;
    for (size_t i = 0; i < factory_count; i++)
        bench_check(dlock_factory_open(url, NULL, &factories[i], &error), &error);
    for (size_t i = 0; i < WAITERS; i++) {
        bench_check(dlock_create(factories[i % factory_count], "taken", &locks[i], &error), &error);
        bench_check(dlock_acquire_start(locks[i], &options, NULL, &error), &error);
    }
    sleep(3); /* until all have asked and subscribed */
    report(raw, where, "");
    sleep(LATER);
    report(raw, where, ", a minute later");
    for (size_t i = 0; i < WAITERS; i++)
        dlock_free(locks[i]);
    for (size_t i = 0; i < factory_count; i++)
        dlock_factory_close(factories[i]);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 64;
    dlock_error error;
    dlock_factory *factory;
    dlock *lock;
    struct raw raw;
    raw_open(&raw, argv[1]);
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;
    options.ttl_ms = 3600000;
    bench_check(dlock_factory_open(argv[1], NULL, &factory, &error), &error);
    bench_check(dlock_create(factory, "taken", &lock, &error), &error);
    bench_check(dlock_acquire(lock, &options, &error), &error);
    measure(argv[1], &raw, 1, "in one process");
    measure(argv[1], &raw, WAITERS, "in 100");
    dlock_free(lock);
    dlock_factory_close(factory);
    raw_close(&raw);
    return 0;
}
