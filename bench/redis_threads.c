/* redis_threads.c - many threads on one factory, beside the same threads with a connection of hiredis each, in turn:
 * pairs of acquire and release a second. Usage: redis_threads URL */
#include "raw.h"

#include <pthread.h>

#define ROUNDS      15
#define ROUND_US    200000
#define THREADS_MAX 256

struct worker {
    pthread_t thread;
    dlock *lock; /* NULL = by hand */
    struct raw raw;
    char key[32];
    pthread_barrier_t *barrier;
    size_t done;
};

static double end_at;
static bool over;

static void *work(void *arg)
{
    struct worker *worker = arg;
    dlock_error error;
    for (;;) {
        pthread_barrier_wait(worker->barrier);
        if (over)
            return NULL;
        for (; bench_now() < end_at; worker->done++) {
            if (!worker->lock) {
                raw_pair(worker->raw.nodes[0], worker->key);
                continue;
            }
            bench_check(dlock_acquire(worker->lock, NULL, &error), &error);
            bench_check(dlock_release(worker->lock, &error), &error);
        }
        pthread_barrier_wait(worker->barrier);
    }
}

static void start(struct worker *workers, size_t count, pthread_barrier_t *barrier)
{
    pthread_barrier_init(barrier, NULL, (unsigned)count + 1);
    for (size_t i = 0; i < count; i++) {
        workers[i].barrier = barrier;
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            raw_fail("pthread_create", "no more threads");
    }
}

/* Pairs a second of all workers in one round. */
static double measure(struct worker *workers, size_t count, pthread_barrier_t *barrier)
{
    for (size_t i = 0; i < count; i++)
        workers[i].done = 0;
    const double begin = bench_now();
    end_at = begin + ROUND_US;
    pthread_barrier_wait(barrier);
    pthread_barrier_wait(barrier);
    const double took = bench_now() - begin;
    size_t done = 0;
    for (size_t i = 0; i < count; i++)
        done += workers[i].done;
    return (double)done / took * 1e6;
}

static void compare(const char *url, size_t count)
{
    static struct worker ours[THREADS_MAX], theirs[THREADS_MAX];
    dlock_error error;
    dlock_factory *factory;
    bench_check(dlock_factory_open(url, NULL, &factory, &error), &error);
    for (size_t i = 0; i < count; i++) {
        snprintf(ours[i].key, sizeof ours[i].key, "ours-%zu", i);
        snprintf(theirs[i].key, sizeof theirs[i].key, "raws-%zu", i);
        bench_check(dlock_create(factory, ours[i].key, &ours[i].lock, &error), &error);
        raw_open(&theirs[i].raw, url);
    }
    pthread_barrier_t our_barrier, their_barrier;
    over = false;
    start(ours, count, &our_barrier);
    start(theirs, count, &their_barrier);
    measure(ours, count, &our_barrier); /* connects */

    double a[ROUNDS], b[ROUNDS], ratios[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        a[round] = measure(ours, count, &our_barrier);
        b[round] = measure(theirs, count, &their_barrier);
        ratios[round] = a[round] / b[round];
    }
    over = true;
    pthread_barrier_wait(&our_barrier);
    pthread_barrier_wait(&their_barrier);
    for (size_t i = 0; i < count; i++) {
        pthread_join(ours[i].thread, NULL);
        pthread_join(theirs[i].thread, NULL);
        dlock_free(ours[i].lock);
        raw_close(&theirs[i].raw);
    }
    dlock_factory_close(factory);
    printf("redis-threads: %zu thread%s on one factory: median %.0f pairs/s; a connection of hiredis each: %.0f; ratio "
           "%.2f%s\n",
           count, count == 1 ? "" : "s", bench_quantile(a, ROUNDS, 0.5), bench_quantile(b, ROUNDS, 0.5),
           bench_quantile(ratios, ROUNDS, 0.5), count == 64 ? " (goal: at least 1.3)" : "");
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 64;
    static const size_t COUNTS[] = {1, 8, 16, 64, THREADS_MAX};
    for (size_t i = 0; i < sizeof COUNTS / sizeof *COUNTS; i++)
        compare(argv[1], COUNTS[i]);
    return 0;
}
