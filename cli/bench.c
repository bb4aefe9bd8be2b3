/* bench.c - dlock bench: measures a storage as programs will use it.
 *
 * Called by main.c. Every measure opens the storage for itself and leaves nothing in it; its keys are of this process
 * alone. A signal ends the measure that runs, and what was found is shown. */
#include "bench.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "commands.h"
#include "duration.h"
#include "report.h"

#define TIME_MS 2000 /* of a measure, unless the user says otherwise */

static const struct {
    const char *name, *what;
    bench_measure *run;
    size_t count;
} measures[] = {
    {"pair", "acquire + release, one thread", bench_threads, 1},
    {"threads-8", "acquire + release, 8 threads", bench_threads, 8},
    {"threads-64", "acquire + release, 64 threads", bench_threads, 64},
    {"threads-256", "acquire + release, 256 threads", bench_threads, 256},
    {"async", "acquire + release, 100 in flight", bench_async, 100},
    {"handover", "release to grant, another process", bench_handover, 0},
    {"start", "dlock --version", bench_start, 0},
    {"run", "dlock run KEY -- true", bench_run, 0},
    {"waiters", "100 waiters in one process", bench_waiters, 1},
    {"waiters-10", "100 waiters in 10 processes", bench_waiters, 10},
    {"renewal", "1000 held locks", bench_renewal, 1000},
    {"size", "files", bench_size, 0},
};
#define MEASURE_COUNT (sizeof measures / sizeof *measures)

/* ---- time, and the end --------------------------------------------------------------------------------------- */

static atomic_int interrupted; /* the signal */

static void interrupt(int signal)
{
    interrupted = signal;
}

static void catch_signal(int signal, int flags)
{
    const struct sigaction action = {.sa_handler = interrupt, .sa_flags = flags};
    struct sigaction before;

    if (sigaction(signal, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
        sigaction(signal, &action, NULL);
}

/* The first signal ends the bench in order; a second one, if a storage hangs, at once. When nobody reads the output any
 * more, there may be several rows to come, and locks to release. */
static void catch_signals(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        catch_signal(signals[i], (int)(SA_RESETHAND | SA_RESTART));
    catch_signal(SIGPIPE, SA_RESTART);
}

int64_t bench_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now); /* all processes of a machine have the same */
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int64_t time_ms(const struct settings *s)
{
    return s->time_ms > 0 ? s->time_ms : TIME_MS;
}

int64_t bench_end_ns(const struct bench *b, int64_t least_ms)
{
    const int64_t ms = time_ms(b->settings);

    return bench_now_ns() + (ms > least_ms ? ms : least_ms) * 1000000;
}

bool bench_interrupted(void)
{
    return interrupted;
}

bool bench_goes_on(int64_t end_ns)
{
    return !interrupted && bench_now_ns() < end_ns;
}

void bench_pause(int64_t end_ns)
{
    const int64_t slice_ns = 100000000; /* a signal may come just before a sleep */

    while (bench_goes_on(end_ns)) {
        const int64_t left_ns = end_ns - bench_now_ns();
        nanosleep(&(struct timespec){.tv_nsec = left_ns < slice_ns ? left_ns > 0 ? left_ns : 0 : slice_ns}, NULL);
    }
}

/* ---- what measures need -------------------------------------------------------------------------------------- */

const char *bench_key(const struct bench *b, size_t number, char key[BENCH_KEY_SIZE])
{
    snprintf(key, BENCH_KEY_SIZE, "dlock-bench-%ld-%s-%zu", (long)b->pid, b->measure, number);
    return key;
}

dlock_status bench_open(const struct bench *b, dlock_factory **ret, dlock_error *error)
{
    char key[BENCH_KEY_SIZE];
    dlock_info info;
    dlock_status status = dlock_factory_open(b->settings->store, NULL, ret, error);

    if (status == DLOCK_OK)
        status = dlock_inspect(*ret, bench_key(b, 0, key), &info, error);
    return status;
}

dlock_status bench_fail(dlock_error *error, const char *what)
{
    *error = (dlock_error){.status = DLOCK_NOMEM};
    snprintf(error->message, sizeof error->message, "%s: %s", what, strerror(errno));
    return error->status;
}

/* Clears the line that says on a terminal what runs. */
static void end_progress(void)
{
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
}

void bench_add_row(struct bench *b, const struct histogram *times, double seconds, dlock_factory *factory)
{
    const double operations = (double)times->total;
    dlock_stats stats = DLOCK_STATS_INIT;

    if (times->total == 0)
        return;
    const bool known = factory && dlock_factory_stats(factory, &stats, NULL) == DLOCK_OK;
    struct bench_row *row = &b->rows[b->row_count++];
    *row = (struct bench_row){.measure = b->measure,
                              .what = b->what,
                              .operations = times->total,
                              .per_second = seconds > 0 ? operations / seconds : -1,
                              .median_us = histogram_quantile(times, 0.5) / 1000,
                              /* of fewer, they would be the longest one */
                              .p99_us = times->total < 100 ? -1 : histogram_quantile(times, 0.99) / 1000,
                              .p999_us = times->total < 1000 ? -1 : histogram_quantile(times, 0.999) / 1000,
                              /* bench_open has asked once */
                              .requests = known ? (double)(stats.requests - 1) / operations : -1,
                              .batches = known ? (double)(stats.batches - 1) / operations : -1};
    end_progress();
    if (!b->settings->json)
        bench_show_row(b, row);
}

void bench_add_cost(struct bench *b, const char *name, const char *what, const char *unit, int decimals, double value)
{
    struct bench_cost *cost = &b->costs[b->cost_count++];

    *cost = (struct bench_cost){.measure = b->measure,
                                .of = b->what,
                                .name = name,
                                .what = what,
                                .unit = unit,
                                .decimals = decimals,
                                .value = value};
    end_progress();
    if (!b->settings->json)
        bench_show_cost(b, cost);
}

/* ---- the whole ------------------------------------------------------------------------------------------------ */

static bool is_named(const char *name, const char *word, size_t length)
{
    return strlen(name) == length && memcmp(name, word, length) == 0;
}

/* The next name of a list with commas between. */
static const char *next(const char *word)
{
    const char *comma = strchr(word, ',');

    return comma ? comma + 1 : NULL;
}

/* Is the measure among those that `only` names? */
static bool is_chosen(const char *only, const char *name)
{
    bool chosen = !only;

    for (const char *word = only; word && !chosen; word = next(word))
        chosen = is_named(name, word, strcspn(word, ","));
    return chosen;
}

static bool is_measure(const char *word, size_t length)
{
    for (size_t i = 0; i < MEASURE_COUNT; i++)
        if (is_named(measures[i].name, word, length))
            return true;
    return false;
}

/* Says which name of the list is no measure; false if there is one. */
static bool check_choice(const char *only)
{
    char names[256] = "";

    for (const char *word = only; word; word = next(word)) {
        const size_t length = strcspn(word, ",");
        if (is_measure(word, length))
            continue;
        for (size_t i = 0; i < MEASURE_COUNT; i++)
            snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i ? ", " : "", measures[i].name);
        report_error("bench: --only: '%.*s' is no measure; expected some of %s", (int)(length < 60 ? length : 60), word,
                     names);
        return false;
    }
    return true;
}

/* Makes the chosen measures until one fails or a signal comes. Returns the exit status. */
static int measure(struct bench *b)
{
    size_t chosen = 0, begun = 0;
    dlock_error error;

    for (size_t i = 0; i < MEASURE_COUNT; i++)
        chosen += is_chosen(b->settings->only, measures[i].name);
    for (size_t i = 0; i < MEASURE_COUNT && !interrupted; i++) {
        if (!is_chosen(b->settings->only, measures[i].name))
            continue;
        b->measure = measures[i].name;
        b->what = measures[i].what;
        if (isatty(STDERR_FILENO))
            fprintf(stderr, "\r\033[K%zu of %zu: %s: %s ...", ++begun, chosen, b->measure, b->what);
        const dlock_status status = measures[i].run(b, measures[i].count, &error);
        end_progress();
        fflush(stdout);
        if (status != DLOCK_OK && !interrupted)
            return report_failure(&error);
    }
    return interrupted ? STATUS_SIGNAL + interrupted : STATUS_OK;
}

/* `where` is what the storage is called in messages. */
static int bench(const struct settings *s, const char *where, FILE *svg)
{
    struct bench *b = calloc(1, sizeof *b);

    if (!b) {
        report_error("out of memory");
        return STATUS_SYSTEM;
    }
    b->settings = s;
    b->pid = getpid();
    if (getloadavg(&b->load, 1) != 1)
        b->load = -1;
    catch_signals();
    if (!s->json)
        bench_show_head(b, where);
    int status = measure(b);
    if (s->json)
        bench_show_json(b, where, time_ms(s), interrupted != 0);
    if (svg && !bench_write_svg(b, where, svg)) {
        report_error("cannot write %s: %s", s->svg, strerror(errno));
        status = STATUS_OUTPUT;
    }
    free(b);
    return report_output(status);
}

int command_bench(const struct settings *s)
{
    dlock_factory *factory = NULL;
    dlock_error error;
    FILE *svg = NULL;

    if (!check_choice(s->only))
        return STATUS_USAGE;
    /* Only to learn what it is called: no measure may meet connections, or memory, of this one. */
    if (dlock_factory_open(s->store, NULL, &factory, &error) != DLOCK_OK)
        return report_failure(&error);
    char *where = strdup(dlock_factory_where(factory));
    dlock_factory_close(factory);
    if (s->svg)
        svg = fopen(s->svg, "we");
    int status = STATUS_SYSTEM;
    if (s->svg && !svg) {
        report_error("cannot write %s: %s", s->svg, strerror(errno));
        status = STATUS_OUTPUT;
    } else if (where) {
        status = bench(s, where, svg);
    }
    free(where);
    return status;
}
