/* cost.c - does things whose cost test_cost.py counts from outside, over a storage that costs nothing itself.
 *
 *     cost pairs COUNT [URL]    acquires and releases a lock so often, there or in another storage
 *     cost memory               prints how many bytes each thing takes: "held 360", ... */
#include "dlock_storage.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT 1000
#define TAKEN "taken" /* the key that somebody else holds */

/* ---- a storage that says yes ---------------------------------------------------------------------------------------
 */

static dlock_status open_nothing(void *session, const dlock_url *url, const dlock_storage_options *options,
                                 dlock_error *error)
{
    (void)session, (void)url, (void)options, (void)error;
    return DLOCK_OK;
}

static void close_nothing(void *session)
{
    (void)session;
}

static void say_yes(void *session, dlock_request *const *requests, size_t count)
{
    (void)session;
    for (size_t i = 0; i < count; i++) {
        dlock_request *request = requests[i];
        request->status = DLOCK_OK;
        request->info.fence = 1;
        if (strcmp(request->key, TAKEN) != 0)
            continue;
        request->status = DLOCK_BUSY;
        request->info = (dlock_info){.owner = "somebody:1:else", .held_ms = -1, .remaining_ms = -1};
    }
}

static const dlock_storage nothing = {
    .api = DLOCK_STORAGE_API, .name = "nothing", .open = open_nothing, .close = close_nothing, .execute = say_yes};

/* ---- what is done --------------------------------------------------------------------------------------------------
 */

static void check(dlock_status status, const dlock_error *error)
{
    if (status == DLOCK_OK)
        return;
    fprintf(stderr, "%s: %s\n", dlock_status_name(status), error->message);
    exit(1);
}

static dlock *make(dlock_factory *factory, const char *key)
{
    dlock_error error;
    dlock *lock;
    check(dlock_create(factory, key, &lock, &error), &error);
    return lock;
}

static dlock_factory *open_factory(const char *url)
{
    dlock_error error;
    dlock_factory *factory;
    check(url ? dlock_factory_open(url, NULL, &factory, &error)
              : dlock_factory_new(&nothing, NULL, NULL, &factory, &error),
          &error);
    return factory;
}

static void pairs(long count, const char *url)
{
    dlock_error error;
    dlock_stats stats = DLOCK_STATS_INIT;
    dlock_factory *factory = open_factory(url);
    dlock *lock = make(factory, "pair");
    for (long i = 0; i < count; i++) {
        check(dlock_acquire(lock, NULL, &error), &error);
        check(dlock_release(lock, &error), &error);
    }
    check(dlock_factory_stats(factory, &stats, &error), &error);
    printf("requests %llu\nbatches %llu\n", (unsigned long long)stats.requests, (unsigned long long)stats.batches);
    dlock_free(lock);
    dlock_factory_close(factory);
}

static void hold(dlock *lock)
{
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;
    dlock_error error;
    options.ttl_ms = DLOCK_TTL_MAX_MS;
    options.renew = true;
    check(dlock_acquire(lock, &options, &error), &error);
}

static void start_waiting(dlock *lock)
{
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;
    dlock_error error;
    options.wait_ms = DLOCK_WAIT_FOREVER;
    check(dlock_acquire_start(lock, &options, NULL, &error), &error);
}

static void do_nothing(dlock *lock)
{
    (void)lock;
}

/* What each of many locks takes after `use`; the first one, with what is there once, is not counted. */
static void memory_of(const char *what, const char *key, void (*use)(dlock *))
{
    static dlock *locks[COUNT + 1];
    dlock_factory *factory = open_factory(NULL);
    size_t before = 0;
    for (int i = 0; i <= COUNT; i++) {
        char own[32];
        snprintf(own, sizeof own, "key/%08d", i);
        locks[i] = make(factory, key ? key : own);
        use(locks[i]);
        before = i == 0 ? mallinfo2().uordblks : before;
    }
    printf("%s %.0f\n", what, (double)(mallinfo2().uordblks - before) / COUNT);
    dlock_factory_close(factory);
    for (int i = 0; i <= COUNT; i++)
        dlock_free(locks[i]);
}

int main(int argc, char **argv)
{
    if (argc >= 3 && strcmp(argv[1], "pairs") == 0) {
        pairs(strtol(argv[2], NULL, 10), argc > 3 ? argv[3] : NULL);
    } else if (argc == 2 && strcmp(argv[1], "memory") == 0) {
        memory_of("made", NULL, do_nothing);
        memory_of("held", NULL, hold);
        memory_of("waiter", TAKEN, start_waiting);
    } else {
        fprintf(stderr, "usage: cost pairs COUNT [URL] | cost memory\n");
        return 64;
    }
    return 0;
}
