/* redis_held.c - what do 100,000 held and renewed locks of one process cost? Bytes each beyond the keys, and the part
 * of one core that the process and the server need. Usage: redis_held URL */
#include "raw.h"

#include <malloc.h>

#define LOCKS   100000
#define SECONDS 20

static double server_cpu_seconds(const struct raw *raw)
{
    return raw_info(raw->nodes[0], "cpu", "used_cpu_sys") + raw_info(raw->nodes[0], "cpu", "used_cpu_user");
}

/* Acquires all of them, some at a time; returns how many bytes their keys have. */
static size_t acquire_all(dlock_factory *factory, dlock **locks)
{
    dlock_error error;
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;
    options.renew = true;
    size_t key_bytes = 0, acquired = 0;
    for (size_t i = 0; i < LOCKS || acquired < LOCKS;) {
        for (; i < LOCKS && i - acquired < 1000; i++) {
            char key[32];
            key_bytes += (size_t)snprintf(key, sizeof key, "held/%08zu", i) + 1;
            bench_check(dlock_create(factory, key, &locks[i], &error), &error);
            bench_check(dlock_acquire_start(locks[i], &options, NULL, &error), &error);
        }
        dlock_event event;
        while (dlock_factory_events(factory, &event, 1) == 1) {
            bench_check(event.error.status, &event.error);
            acquired++;
        }
        usleep(100);
    }
    return key_bytes;
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 64;
    dlock_error error;
    dlock_factory *factory;
    struct raw raw = {.nodes = {NULL}};
    static dlock *locks[LOCKS];
    raw_open(&raw, argv[1]);
    bench_check(dlock_factory_open(argv[1], NULL, &factory, &error), &error);
    const size_t before = mallinfo2().uordblks;
    const size_t key_bytes = acquire_all(factory, locks);
    const double bytes = (double)(mallinfo2().uordblks - before - key_bytes) / LOCKS;
    sleep(5); /* so that the acquires are not counted */

    const double cpu = bench_cpu_seconds(), server_cpu = server_cpu_seconds(&raw),
                 calls = raw_info(raw.nodes[0], "stats", "total_commands_processed"), begin = bench_now();
    sleep(SECONDS);
    const double took = (bench_now() - begin) / 1e6;
    dlock_event event;
    size_t lost = 0;
    while (dlock_factory_events(factory, &event, 1) == 1)
        lost++;
    printf(
        "redis-held: %d locks renewed at ttl 10 s: %.0f bytes each beyond the key (goal: below 512), %zu lost; of one "
        "core %.0f %% here and %.0f %% in the server, which carries out %.0f commands/s\n",
        LOCKS, bytes, lost, (bench_cpu_seconds() - cpu) / took * 100,
        (server_cpu_seconds(&raw) - server_cpu) / took * 100,
        (raw_info(raw.nodes[0], "stats", "total_commands_processed") - calls) / took);
    dlock_factory_close(factory);
    for (size_t i = 0; i < LOCKS; i++)
        dlock_free(locks[i]);
    raw_close(&raw);
    return 0;
}
