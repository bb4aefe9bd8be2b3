/* ours.c - libdlock as one of the programs that run.py has measured: one factory, and a thread for each caller.
 * run.py says what the orders and answers are. Usage: ours NAME URL */
#include "../bench.h"

#include <pthread.h>

#define TTL_MS        30000 /* as every peer's */
#define SAMPLES       1000000
#define CALLERS_LIMIT 1024

static dlock_factory *factory;

static dlock *make_lock(const char *key)
{
    dlock_error error;
    dlock *lock;
    bench_check(dlock_create(factory, key, &lock, &error), &error);
    return lock;
}

static void acquire(dlock *lock)
{
    dlock_error error;
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;
    options.ttl_ms = TTL_MS;
    options.wait_ms = DLOCK_WAIT_FOREVER;
    bench_check(dlock_acquire(lock, &options, &error), &error);
}

static void release(dlock *lock)
{
    dlock_error error;
    bench_check(dlock_release(lock, &error), &error);
}

static void pairs(double seconds)
{
    static double took[SAMPLES];
    dlock *lock = make_lock("pairs");
    const double first = bench_now();
    double begin = first;
    size_t count = 0;
    while (count < SAMPLES && begin < first + seconds * 1e6) {
        acquire(lock);
        release(lock);
        const double end = bench_now();
        took[count++] = end - begin;
        begin = end;
    }
    dlock_free(lock);
    printf("{\"median_us\": %.1f, ", bench_quantile(took, count, 0.5));
    printf("\"p99_us\": %.1f}\n", bench_quantile(took, count, 0.99));
}

struct caller {
    pthread_t thread;
    pthread_barrier_t *ready;
    dlock *lock;
    double seconds;
    size_t pairs;
};

static void *call(void *arg)
{
    struct caller *caller = arg;
    pthread_barrier_wait(caller->ready);
    for (const double end = bench_now() + caller->seconds * 1e6; bench_now() < end; caller->pairs++) {
        acquire(caller->lock);
        release(caller->lock);
    }
    return NULL;
}

static void start(pthread_t *thread, void *(*body)(void *), void *arg)
{
    if (pthread_create(thread, NULL, body, arg) != 0) {
        perror("pthread_create");
        exit(1);
    }
}

static void callers(size_t count, double seconds)
{
    static struct caller all[CALLERS_LIMIT];
    pthread_barrier_t ready;
    size_t sum = 0;
    pthread_barrier_init(&ready, NULL, (unsigned)count + 1);
    for (size_t i = 0; i < count; i++) {
        char key[32];
        snprintf(key, sizeof key, "callers-%zu", i);
        all[i] = (struct caller){.ready = &ready, .lock = make_lock(key), .seconds = seconds};
        start(&all[i].thread, call, &all[i]);
    }
    pthread_barrier_wait(&ready);
    const double begin = bench_now();
    for (size_t i = 0; i < count; i++) {
        pthread_join(all[i].thread, NULL);
        dlock_free(all[i].lock);
        sum += all[i].pairs;
    }
    printf("{\"per_second\": %.1f}\n", (double)sum / (bench_now() - begin) * 1e6);
    pthread_barrier_destroy(&ready);
}

static void *wait_for(void *lock)
{
    acquire(lock);
    return NULL;
}

static void waiters(size_t count, const char *key)
{
    for (size_t i = 0; i < count; i++) {
        pthread_t thread;
        start(&thread, wait_for, make_lock(key));
    }
    printf("{}\n");
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: ours NAME URL\n");
        return 64;
    }
    dlock_error error;
    bench_check(dlock_factory_open(argv[2], NULL, &factory, &error), &error);
    printf("{\"version\": \"libdlock %s\", \"runtime\": \"C by a compiler of version %s\"}\n", dlock_version(),
           __VERSION__);
    fflush(stdout);

    char line[256], key[128];
    dlock *held = NULL;
    double seconds;
    size_t count;
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "pairs %lf", &seconds) == 1) {
            pairs(seconds);
        } else if (sscanf(line, "callers %zu %lf", &count, &seconds) == 2 && count <= CALLERS_LIMIT) {
            callers(count, seconds);
        } else if (sscanf(line, "acquire %127s", key) == 1) {
            held = make_lock(key);
            acquire(held);
            printf("{\"at_us\": %.1f}\n", bench_now());
        } else if (strcmp(line, "release\n") == 0 && held) {
            printf("{\"at_us\": %.1f}\n", bench_now());
            dlock_free(held); /* releases it */
            held = NULL;
        } else if (sscanf(line, "waiters %zu %127s", &count, key) == 2) {
            waiters(count, key);
        } else {
            fprintf(stderr, "ours: \"%s\" is not an order\n", line);
            return 64;
        }
        fflush(stdout);
    }
    _exit(0); /* threads may wait for keys still */
}
