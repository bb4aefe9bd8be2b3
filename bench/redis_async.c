/* redis_async.c - one thread with 100 locks in flight by dlock_acquire_start and dlock_release_start, beside hiredis
 * that pipelines 100 calls of the same script at a time, and 100 of `SET NX PX` and of the usual script that compares
 * and deletes. Pairs a second. Usage: redis_async URL */
#include "raw.h"

#include <poll.h>

#define ROUNDS 60
#define FLIGHT 100
#define PAIRS  4000 /* of a round */

static const char COMPARE_AND_DELETE[] =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end";

static char delete_sha[64];

/* Every lock is acquired, released, acquired ..., each as soon as its event is there. */
static void pairs_by_us(dlock_factory *factory, dlock *const *locks)
{
    static dlock_event events[FLIGHT];
    struct pollfd polled = {.fd = dlock_factory_fd(factory), .events = POLLIN};
    dlock_error error;
    size_t started = FLIGHT, ended = 0;
    for (size_t i = 0; i < FLIGHT; i++)
        bench_check(dlock_acquire_start(locks[i], NULL, NULL, &error), &error);
    while (ended < PAIRS) {
        const size_t count = dlock_factory_events(factory, events, FLIGHT);
        if (count == 0)
            poll(&polled, 1, -1);
        for (size_t i = 0; i < count; i++) {
            bench_check(events[i].error.status, &events[i].error);
            if (events[i].type == DLOCK_EVENT_ACQUIRED) {
                bench_check(dlock_release_start(events[i].lock, NULL, &error), &error);
                continue;
            }
            ended++;
            if (started++ < PAIRS)
                bench_check(dlock_acquire_start(events[i].lock, NULL, NULL, &error), &error);
        }
    }
}

static void pairs_by_hand(struct raw *raw)
{
    char key[32];
    for (int batch = 0; batch < PAIRS / FLIGHT; batch++) {
        for (int i = 0; i < FLIGHT; i++) {
            snprintf(key, sizeof key, "raws-%d", i);
            raw_append(raw->nodes[0], "acquire", key, raw_ttl);
        }
        for (int i = 0; i < FLIGHT; i++)
            raw_granted(raw->nodes[0]);
        for (int i = 0; i < FLIGHT; i++) {
            snprintf(key, sizeof key, "raws-%d", i);
            raw_append(raw->nodes[0], "release", key, raw_nothing);
        }
        raw_skip(raw->nodes[0], FLIGHT);
    }
}

static void pairs_of_set(struct raw *raw)
{
    char key[64];
    for (int batch = 0; batch < PAIRS / FLIGHT; batch++) {
        for (int i = 0; i < FLIGHT; i++) {
            snprintf(key, sizeof key, "distributed-locks:sets-%d", i);
            const char *words[] = {"SET", key, RAW_OWNER, "NX", "PX", "10000"};
            redisAppendCommandArgv(raw->nodes[0], 6, words, NULL);
        }
        raw_skip(raw->nodes[0], FLIGHT);
        for (int i = 0; i < FLIGHT; i++) {
            snprintf(key, sizeof key, "distributed-locks:sets-%d", i);
            const char *words[] = {"EVALSHA", delete_sha, "1", key, RAW_OWNER};
            redisAppendCommandArgv(raw->nodes[0], 5, words, NULL);
        }
        raw_skip(raw->nodes[0], FLIGHT);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 64;
    dlock_error error;
    dlock_factory *factory;
    dlock *locks[FLIGHT];
    struct raw raw = {.nodes = {NULL}};
    raw_open(&raw, argv[1]);
    redisAppendCommand(raw.nodes[0], "SCRIPT LOAD %s", COMPARE_AND_DELETE);
    redisReply *reply = raw_reply(raw.nodes[0]);
    snprintf(delete_sha, sizeof delete_sha, "%s", reply->str);
    freeReplyObject(reply);
    bench_check(dlock_factory_open(argv[1], NULL, &factory, &error), &error);
    for (int i = 0; i < FLIGHT; i++) {
        char key[32];
        snprintf(key, sizeof key, "ours-%d", i);
        bench_check(dlock_create(factory, key, &locks[i], &error), &error);
    }

    double a[ROUNDS], b[ROUNDS], c[ROUNDS], to_script[ROUNDS], to_set[ROUNDS];
    pairs_by_us(factory, locks);
    for (int round = 0; round < ROUNDS; round++) {
        const double begin = bench_now();
        pairs_by_us(factory, locks);
        const double first = bench_now();
        pairs_by_hand(&raw);
        const double second = bench_now();
        pairs_of_set(&raw);
        a[round] = PAIRS / (first - begin) * 1e6;
        b[round] = PAIRS / (second - first) * 1e6;
        c[round] = PAIRS / (bench_now() - second) * 1e6;
        to_script[round] = a[round] / b[round];
        to_set[round] = a[round] / c[round];
    }
    const double ours = bench_quantile(a, ROUNDS, 0.5);
    printf("redis-async: 100 in flight from one thread: median %.0f pairs/s; the same script pipelined by hiredis: "
           "%.0f; ratio %.2f (goal: at least 0.8)\n",
           ours, bench_quantile(b, ROUNDS, 0.5), bench_quantile(to_script, ROUNDS, 0.5));
    printf("redis-async: 100 in flight from one thread: median %.0f pairs/s; SET NX PX and compare-and-delete "
           "pipelined: %.0f; ratio %.2f (goal: at least 0.6)\n",
           ours, bench_quantile(c, ROUNDS, 0.5), bench_quantile(to_set, ROUNDS, 0.5));

    for (int i = 0; i < FLIGHT; i++)
        dlock_free(locks[i]);
    dlock_factory_close(factory);
    raw_close(&raw);
    return 0;
}
