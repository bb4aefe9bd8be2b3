/* redis_pair.c - acquire and release on Redis in one thread, beside the same commands through plain hiredis, in turn.
 * On several nodes beside a fan-out: write to all, read from all. Usage: redis_pair URL */
#include "raw.h"

#define ROUNDS 200
#define PAIRS  100

static void pair_by_us(dlock *lock)
{
    dlock_error error;
    bench_check(dlock_acquire(lock, NULL, &error), &error);
    bench_check(dlock_release(lock, &error), &error);
}

static void pair_by_hand(const struct raw *raw)
{
    if (raw->count == 1)
        raw_pair(raw->nodes[0], "raws");
    else
        raw_spread_pair(raw, "raws");
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
    bench_check(dlock_factory_open(argv[1], NULL, &factory, &error), &error);
    bench_check(dlock_create(factory, "ours", &lock, &error), &error);

    double a[ROUNDS], b[ROUNDS], ratios[ROUNDS];
    pair_by_us(lock);
    for (int round = 0; round < ROUNDS; round++) {
        const double begin = bench_now();
        for (int i = 0; i < PAIRS; i++)
            pair_by_us(lock);
        const double between = bench_now();
        for (int i = 0; i < PAIRS; i++)
            pair_by_hand(&raw);
        a[round] = (between - begin) / PAIRS;
        b[round] = (bench_now() - between) / PAIRS;
        ratios[round] = a[round] / b[round];
    }
    printf("redis-pair: %zu node%s: acquire+release: median %.1f us; the same commands through hiredis: %.1f us; ratio "
           "%.2f (goal: at most %s)\n",
           raw.count, raw.count == 1 ? "" : "s", bench_quantile(a, ROUNDS, 0.5), bench_quantile(b, ROUNDS, 0.5),
           bench_quantile(ratios, ROUNDS, 0.5), raw.count == 1 ? "1.10" : "1.25");

    dlock_free(lock);
    dlock_factory_close(factory);
    raw_close(&raw);
    return 0;
}
