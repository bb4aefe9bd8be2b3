/* bench_show.c - what dlock bench found, as a table that grows while it measures, or as JSON at its end.
 *
 * Called by bench.c. The table fits into 100 columns. */
#include "bench.h"

#include <stdio.h>
#include <unistd.h>

#include "text.h"

#define ROW_FORMAT  "%-11s  %-32s %10s %9s %9s %9s %9s\n"
#define COST_FORMAT "%-11s  %-52s %10s%s%s\n"

/* Three digits that count, and the unit that makes them short. */
const char *bench_show_time(double us, char to[BENCH_TIME_SIZE])
{
    static const char *const units[] = {"us", "ms", "s"};
    size_t unit = 0;

    if (us < 0) {
        snprintf(to, BENCH_TIME_SIZE, "-");
        return to;
    }
    for (; us >= 999.5 && unit < 2; unit++)
        us /= 1000;
    snprintf(to, BENCH_TIME_SIZE, "%.*f %s", us < 9.995 ? 2 : us < 99.95 ? 1 : 0, us, units[unit]);
    return to;
}

static const char *show_number(double value, int decimals, char to[BENCH_TIME_SIZE])
{
    if (value < 0)
        snprintf(to, BENCH_TIME_SIZE, "-");
    else
        snprintf(to, BENCH_TIME_SIZE, "%.*f", decimals, value);
    return to;
}

static long processors(void)
{
    return sysconf(_SC_NPROCESSORS_ONLN);
}

void bench_show_head(const struct bench *b, const char *where)
{
    char shown[1024], load[BENCH_TIME_SIZE];

    printf("storage      %s\nlibrary      %s\nmachine      %ld processors, load %s\n",
           text_escape(where, shown, sizeof shown), dlock_version(), processors(), show_number(b->load, 2, load));
    fflush(stdout);
}

void bench_show_row(struct bench *b, const struct bench_row *row)
{
    char rate[BENCH_TIME_SIZE], median[BENCH_TIME_SIZE], p99[BENCH_TIME_SIZE], p999[BENCH_TIME_SIZE],
        batches[BENCH_TIME_SIZE];

    if (!b->heads[0])
        printf("\n" ROW_FORMAT, "MEASURE", "WHAT", "PER SECOND", "MEDIAN", "P99", "P99.9", "BATCHES");
    b->heads[0] = true;
    printf(ROW_FORMAT, row->measure, row->what, show_number(row->per_second, row->per_second < 1000, rate),
           bench_show_time(row->median_us, median), bench_show_time(row->p99_us, p99),
           bench_show_time(row->p999_us, p999), show_number(row->batches, 2, batches));
    fflush(stdout);
}

void bench_show_cost(struct bench *b, const struct bench_cost *cost)
{
    char value[BENCH_TIME_SIZE], what[96];

    if (!b->heads[1])
        printf("\n" COST_FORMAT, "MEASURE", "COST", "VALUE", "", "");
    b->heads[1] = true;
    snprintf(what, sizeof what, "%s: %s", cost->of, cost->what);
    printf(COST_FORMAT, cost->measure, what, show_number(cost->value, cost->decimals, value), *cost->unit ? " " : "",
           cost->unit);
    fflush(stdout);
}

void bench_show_json(struct bench *b, const char *where, int64_t time_ms, bool interrupted)
{
    struct json *j = &b->json;

    json_begin(j);
    json_text(j, "storage", where);
    json_text(j, "library", dlock_version());
    json_integer(j, "processors", processors());
    json_number(j, "load", b->load);
    json_integer(j, "time_ms", time_ms);
    json_flag(j, "interrupted", interrupted);
    json_array(j, "operations");
    for (const struct bench_row *row = b->rows; row < b->rows + b->row_count; row++) {
        json_object(j, NULL);
        json_text(j, "measure", row->measure);
        json_text(j, "what", row->what);
        json_integer(j, "count", (int64_t)row->operations);
        json_number(j, "per_second", row->per_second);
        json_number(j, "median_us", row->median_us);
        json_number(j, "p99_us", row->p99_us);
        json_number(j, "p999_us", row->p999_us);
        json_number(j, "requests", row->requests);
        json_number(j, "batches", row->batches);
        json_object_end(j);
    }
    json_array_end(j);
    json_array(j, "costs");
    for (const struct bench_cost *cost = b->costs; cost < b->costs + b->cost_count; cost++) {
        json_object(j, NULL);
        json_text(j, "measure", cost->measure);
        json_text(j, "cost", cost->name);
        json_number(j, "value", cost->value);
        json_object_end(j);
    }
    json_array_end(j);
    json_end(j);
    puts(j->text);
}
