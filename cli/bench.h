/* bench.h - what the parts of dlock bench share: the measures, what they find, and how it is shown.
 *
 * bench.c runs the measures, which are in bench_pairs.c, bench_processes.c and bench_costs.c, and has what they find
 * shown by bench_show.c and bench_svg.c. */
#ifndef DLOCK_CLI_BENCH_H
#define DLOCK_CLI_BENCH_H

#include <sys/types.h>

#include "dlock.h"
#include "histogram.h"
#include "json.h"
#include "options.h"

#define BENCH_ROWS_MAX  8
#define BENCH_COSTS_MAX 16
#define BENCH_KEY_SIZE  64

/* Something that was done again and again. A double that is negative is not known. */
struct bench_row {
    const char *measure, *what;
    uint64_t operations;
    double per_second;
    double median_us, p99_us, p999_us;
    double requests, batches; /* for each operation */
};

/* Something that is there, or goes on, while nothing is done. */
struct bench_cost {
    const char *measure, *of, *name, *what, *unit;
    int decimals; /* that a person wants to see */
    double value;
};

struct bench {
    const struct settings *settings;
    pid_t pid;           /* of the process that measures, also in its children */
    const char *measure; /* that runs now, and what it does */
    const char *what;
    bool heads[2]; /* the table's parts whose head was printed: rows, costs */
    struct bench_row rows[BENCH_ROWS_MAX];
    size_t row_count;
    struct bench_cost costs[BENCH_COSTS_MAX];
    size_t cost_count;
    double load; /* of the machine when it began; negative = not known */
    struct json json;
};

/* Measures `count` of something and adds what it finds. A failure of the system is DLOCK_NOMEM with a message. */
typedef dlock_status bench_measure(struct bench *bench, size_t count, dlock_error *error);

bench_measure bench_threads; /* bench_pairs.c */
bench_measure bench_async;
bench_measure bench_handover; /* bench_processes.c */
bench_measure bench_start;
bench_measure bench_run;
bench_measure bench_waiters; /* bench_costs.c */
bench_measure bench_renewal;
bench_measure bench_size;

/* ---- for the measures: bench.c ------------------------------------------------------------------------------- */

int64_t bench_now_ns(void);

/* When a measure that begins now is to end, if it takes `least_ms` or what the user wants, whichever is longer. */
int64_t bench_end_ns(const struct bench *bench, int64_t least_ms);

/* Has a signal come that ends the whole? */
bool bench_interrupted(void);

/* False if one has, or that time is over. */
bool bench_goes_on(int64_t end_ns);

/* Sleeps until then, or until a signal ends the whole. */
void bench_pause(int64_t end_ns);

/* A key of this process that nobody else uses. */
const char *bench_key(const struct bench *bench, size_t number, char key[BENCH_KEY_SIZE]);

/* Opens the storage, and makes a first request, so that connecting is not measured. */
dlock_status bench_open(const struct bench *bench, dlock_factory **ret, dlock_error *error);

dlock_status bench_fail(dlock_error *error, const char *what);

/* Adds and shows what was found; nothing if no operation ended. `seconds` 0: they were not done one after the other.
 * `factory` NULL: what they asked of the storage is not known; else it was asked nothing before. */
void bench_add_row(struct bench *bench, const struct histogram *times, double seconds, dlock_factory *factory);
void bench_add_cost(struct bench *bench, const char *name, const char *what, const char *unit, int decimals,
                    double value);

/* ---- how it is shown ----------------------------------------------------------------------------------------- */

void bench_show_head(const struct bench *bench, const char *where); /* bench_show.c */
void bench_show_row(struct bench *bench, const struct bench_row *row);
void bench_show_cost(struct bench *bench, const struct bench_cost *cost);
void bench_show_json(struct bench *bench, const char *where, int64_t time_ms, bool interrupted);

#define BENCH_TIME_SIZE 32
/* "36.5 us", "1.2 ms"; "-" if it is not known. Returns `to`. */
const char *bench_show_time(double us, char to[BENCH_TIME_SIZE]);

/* Writes the chart and closes the file; false if that failed. */
bool bench_write_svg(const struct bench *bench, const char *where, FILE *file); /* bench_svg.c */

#endif
