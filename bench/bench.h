/* bench.h - what the benchmarks share: clock, medians, a store of their own, and how a figure is printed.
 *
 * Figures are ratios or medians within one run, printed beside the goal; no figure makes a benchmark fail. */
#ifndef DLOCK_BENCH_H
#define DLOCK_BENCH_H

#include "dlock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* Microseconds of a clock that all processes share. */
static inline double bench_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

/* What processors have spent on this process so far. */
static inline double bench_cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static inline int bench_compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts the values; returns the one below which `part` (0 to 1) of them are. */
static inline double bench_quantile(double *values, size_t count, double part)
{
    qsort(values, count, sizeof *values, bench_compare);
    return values[(size_t)((double)(count - 1) * part)];
}

/* Ends the benchmark if a call failed. */
static inline void bench_check(dlock_status status, const dlock_error *error)
{
    if (status == DLOCK_OK)
        return;
    fprintf(stderr, "%s: %s\n", dlock_status_name(status), error->message);
    exit(1);
}

/* A folder of its own, in $TMPDIR or /tmp, and an SQLite file in it; bench_remove_store takes it away. */
struct bench_store {
    char folder[128], path[160], url[176];
};

static inline void bench_make_store(struct bench_store *store)
{
    const char *place = getenv("TMPDIR");
    snprintf(store->folder, sizeof store->folder, "%.100s/dlock-bench-XXXXXX", place ? place : "/tmp");
    if (!mkdtemp(store->folder)) {
        perror(store->folder);
        exit(1);
    }
    snprintf(store->path, sizeof store->path, "%s/locks.db", store->folder);
    snprintf(store->url, sizeof store->url, "sqlite:%s", store->path);
}

static inline void bench_remove_store(const struct bench_store *store)
{
    char command[192];
    snprintf(command, sizeof command, "rm -rf '%s'", store->folder);
    if (system(command) != 0)
        fprintf(stderr, "cannot remove %s\n", store->folder);
}

#endif
