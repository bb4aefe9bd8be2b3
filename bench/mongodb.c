/* mongodb.c - acquire and release on MongoDB beside the same commands sent through libmongoc by hand, in turn; what the
 * counter of fences costs; and what a batch saves. `bench_mongodb URL`; the server must be private. */
#include "bench.h"

#include <mongoc/mongoc.h>

#define ROUNDS 40
#define PAIRS  50
#define HELD   100

static mongoc_collection_t *collection;

static void modify(const bson_t *filter, const bson_t *update, bool upsert, int64_t *number)
{
    bson_error_t error;
    bson_t reply;
    bson_iter_t at, field;
    mongoc_find_and_modify_opts_t *options = mongoc_find_and_modify_opts_new();
    mongoc_find_and_modify_opts_set_update(options, update);
    mongoc_find_and_modify_opts_set_flags(options, MONGOC_FIND_AND_MODIFY_RETURN_NEW |
                                                       (upsert ? MONGOC_FIND_AND_MODIFY_UPSERT : 0));
    if (!mongoc_collection_find_and_modify_with_opts(collection, filter, options, &reply, &error)) {
        fprintf(stderr, "MongoDB: %s\n", error.message);
        exit(1);
    }
    if (number && bson_iter_init(&at, &reply) && bson_iter_find_descendant(&at, "value.fence", &field))
        *number = bson_iter_as_int64(&field);
    mongoc_find_and_modify_opts_destroy(options);
    bson_destroy(&reply);
}

static int64_t draw_by_hand(void)
{
    int64_t number = 0;
    bson_t filter = BSON_INITIALIZER, update = BSON_INITIALIZER, part;
    BSON_APPEND_DOCUMENT_BEGIN(&filter, "_id", &part);
    BSON_APPEND_UTF8(&part, "fences", "by hand");
    bson_append_document_end(&filter, &part);
    BSON_APPEND_DOCUMENT_BEGIN(&update, "$inc", &part);
    BSON_APPEND_INT64(&part, "fence", 1);
    bson_append_document_end(&update, &part);
    BSON_APPEND_DOCUMENT_BEGIN(&update, "$currentDate", &part);
    BSON_APPEND_BOOL(&part, "drawn_at", true);
    bson_append_document_end(&update, &part);
    modify(&filter, &update, true, &number);
    bson_destroy(&filter);
    bson_destroy(&update);
    return number;
}

static void grant_by_hand(const char *id, int64_t number)
{
    bson_t filter = BSON_INITIALIZER, update = BSON_INITIALIZER, part;
    BSON_APPEND_UTF8(&filter, "_id", id);
    BSON_APPEND_UTF8(&filter, "owner", "");
    BSON_APPEND_DOCUMENT_BEGIN(&filter, "fence", &part);
    BSON_APPEND_INT64(&part, "$lt", number);
    bson_append_document_end(&filter, &part);
    BSON_APPEND_DOCUMENT_BEGIN(&update, "$set", &part);
    BSON_APPEND_UTF8(&part, "owner", "machine:12345:0123456789abcdef0123456789abcdef");
    BSON_APPEND_INT64(&part, "fence", number);
    BSON_APPEND_INT64(&part, "ttl_ms", 10000);
    bson_append_document_end(&update, &part);
    BSON_APPEND_DOCUMENT_BEGIN(&update, "$currentDate", &part);
    BSON_APPEND_BOOL(&part, "acquired_at", true);
    BSON_APPEND_BOOL(&part, "renewed_at", true);
    bson_append_document_end(&update, &part);
    BSON_APPEND_DOCUMENT_BEGIN(&update, "$unset", &part);
    BSON_APPEND_UTF8(&part, "due_at", "");
    BSON_APPEND_UTF8(&part, "released_at", "");
    BSON_APPEND_UTF8(&part, "batch", "");
    bson_append_document_end(&update, &part);
    modify(&filter, &update, true, NULL);
    bson_destroy(&filter);
    bson_destroy(&update);
}

static void release_by_hand(const char *id)
{
    bson_t filter = BSON_INITIALIZER, update = BSON_INITIALIZER, part;
    BSON_APPEND_UTF8(&filter, "_id", id);
    BSON_APPEND_UTF8(&filter, "owner", "machine:12345:0123456789abcdef0123456789abcdef");
    BSON_APPEND_DOCUMENT_BEGIN(&update, "$set", &part);
    BSON_APPEND_UTF8(&part, "owner", "");
    bson_append_document_end(&update, &part);
    BSON_APPEND_DOCUMENT_BEGIN(&update, "$currentDate", &part);
    BSON_APPEND_BOOL(&part, "released_at", true);
    bson_append_document_end(&update, &part);
    modify(&filter, &update, false, NULL);
    bson_destroy(&filter);
    bson_destroy(&update);
}

static void connect_by_hand(const char *url)
{
    mongoc_client_t *client = mongoc_client_new(url);
    mongoc_write_concern_t *majority = mongoc_write_concern_new();
    if (!client) {
        fprintf(stderr, "bench_mongodb: libmongoc does not take the URL\n");
        exit(2);
    }
    mongoc_write_concern_set_wmajority(majority, 1000);
    mongoc_client_set_write_concern(client, majority);
    collection = mongoc_client_get_collection(client, "distributed-locks", "locks");
}

static void compare_pairs(dlock *lock)
{
    double a[ROUNDS], b[ROUNDS], c[ROUNDS], ratios[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        dlock_error error;
        const double begin = bench_now();
        for (int i = 0; i < PAIRS; i++) {
            bench_check(dlock_acquire(lock, NULL, &error), &error);
            bench_check(dlock_release(lock, &error), &error);
        }
        const double between = bench_now();
        for (int i = 0; i < PAIRS; i++) {
            grant_by_hand("by hand:bench", draw_by_hand());
            release_by_hand("by hand:bench");
        }
        const double then = bench_now();
        for (int i = 0; i < PAIRS; i++) {
            grant_by_hand("by hand:uncounted", round * PAIRS + i + 1);
            release_by_hand("by hand:uncounted");
        }
        a[round] = (between - begin) / PAIRS;
        b[round] = (then - between) / PAIRS;
        c[round] = (bench_now() - then) / PAIRS;
        ratios[round] = a[round] / b[round];
    }
    printf("mongodb: acquire+release: median %.1f us; the same commands by hand: %.1f us; ratio %.2f (goal: at most "
           "1.15)\n",
           bench_quantile(a, ROUNDS, 0.5), bench_quantile(b, ROUNDS, 0.5), bench_quantile(ratios, ROUNDS, 0.5));
    printf("mongodb: of these, by hand, without the counter of fences: %.1f us\n", bench_quantile(c, ROUNDS, 0.5));
}

/* One by one, each renewal is two commands; together they are three. */
static void compare_batches(const char *url)
{
    dlock_factory *factory;
    dlock_error error;
    static dlock *locks[HELD];
    double one[ROUNDS], all[ROUNDS];
    bench_check(dlock_factory_open(url, NULL, &factory, &error), &error);
    for (int i = 0; i < HELD; i++) {
        char key[16];
        snprintf(key, sizeof key, "held %d", i);
        bench_check(dlock_create(factory, key, &locks[i], &error), &error);
        bench_check(dlock_acquire(locks[i], NULL, &error), &error);
    }
    for (int round = 0; round < ROUNDS; round++) {
        const double begin = bench_now();
        for (int i = 0; i < HELD; i++)
            bench_check(dlock_extend(locks[i], 60000, &error), &error);
        const double between = bench_now();
        for (int i = 0; i < HELD; i++)
            bench_check(dlock_extend_start(locks[i], 60000, NULL, &error), &error);
        for (int ended = 0; ended < HELD;) {
            dlock_event event;
            if (dlock_factory_events(factory, &event, 1) == 0)
                continue;
            bench_check(event.error.status, &event.error);
            ended++;
        }
        one[round] = (between - begin) / HELD;
        all[round] = (bench_now() - between) / HELD;
    }
    printf("mongodb: extend, of %d locks, each: one by one %.1f us, together %.1f us\n", HELD,
           bench_quantile(one, ROUNDS, 0.5), bench_quantile(all, ROUNDS, 0.5));
    for (int i = 0; i < HELD; i++)
        dlock_free(locks[i]);
    dlock_factory_close(factory);
}

int main(int argc, char **argv)
{
    dlock_error error;
    dlock_factory *factory;
    dlock *lock;
    if (argc != 2) {
        fprintf(stderr, "usage: bench_mongodb URL\n");
        return 2;
    }
    mongoc_init();
    connect_by_hand(argv[1]);
    bench_check(dlock_factory_open(argv[1], NULL, &factory, &error), &error);
    bench_check(dlock_create(factory, "bench", &lock, &error), &error);
    for (int i = 0; i < 3000; i++) { /* a virtual machine compiles what it runs often */
        bench_check(dlock_acquire(lock, NULL, &error), &error);
        bench_check(dlock_release(lock, &error), &error);
    }
    compare_pairs(lock);
    compare_batches(argv[1]);
    dlock_free(lock);
    dlock_factory_close(factory);
    return 0;
}
