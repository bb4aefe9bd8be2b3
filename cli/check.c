/* check.c - dlock check: tries a storage out, measures its round trips, and shows what weakens it.
 *
 * Called by main.c. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "commands.h"
#include "json.h"
#include "report.h"
#include "text.h"

#define ROUND_TRIPS 20
#define TTL_MS      10000

struct check {
    const struct settings *settings;
    dlock_factory *factory;
    char key[64];
    dlock *lock, *rival;
    int64_t round_trips_us[ROUND_TRIPS];
    size_t steps, warnings;
    struct json json;
    int status;
};

static int64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Says what went wrong; false. */
static bool fail(struct check *c, const dlock_error *error)
{
    fflush(stdout);
    c->status = report_failure(error);
    if (c->settings->json)
        json_text(&c->json, "error", error->message);
    return false;
}

static int compare(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static void print_round_trips(struct check *c)
{
    int64_t *us = c->round_trips_us;
    const int64_t *median = us + ROUND_TRIPS / 2;

    qsort(us, ROUND_TRIPS, sizeof *us, compare);
    if (c->settings->json) {
        json_object(&c->json, "round_trips_us");
        json_integer(&c->json, "count", ROUND_TRIPS);
        json_integer(&c->json, "min", us[0]);
        json_integer(&c->json, "median", *median);
        json_integer(&c->json, "max", us[ROUND_TRIPS - 1]);
        json_object_end(&c->json);
    } else {
        printf("%-12s min %.3f ms, median %.3f ms, max %.3f ms of %d\n", "round trip", (double)us[0] / 1000,
               (double)*median / 1000, (double)us[ROUND_TRIPS - 1] / 1000, ROUND_TRIPS);
    }
}

/* The first request also connects, so it is not measured. */
static bool measure(struct check *c)
{
    dlock_info info;
    dlock_error error;

    for (int i = -1; i < ROUND_TRIPS; i++) {
        const int64_t before = now_us();
        if (dlock_inspect(c->factory, c->key, &info, &error) != DLOCK_OK)
            return fail(c, &error);
        if (i >= 0)
            c->round_trips_us[i] = now_us() - before;
    }
    print_round_trips(c);
    return true;
}

/* ---- the life of a lock ------------------------------------------------------------------------------------- */

/* Each answers OK if the storage did what it must; else `error` says what it did. */
static dlock_status step_acquire(struct check *c, dlock_error *error)
{
    dlock_acquire_options o = DLOCK_ACQUIRE_OPTIONS_INIT;

    o.retries = 1;
    o.ttl_ms = TTL_MS;
    return dlock_acquire(c->lock, &o, error);
}

static dlock_status wrong(dlock_error *error, const char *what)
{
    *error = (dlock_error){.status = DLOCK_REFUSED};
    snprintf(error->message, sizeof error->message, "%s", what);
    return error->status;
}

static dlock_status step_busy(struct check *c, dlock_error *error)
{
    dlock_acquire_options o = DLOCK_ACQUIRE_OPTIONS_INIT;

    o.retries = 1;
    o.ttl_ms = TTL_MS;
    const dlock_status status = dlock_acquire(c->rival, &o, error);
    if (status == DLOCK_BUSY)
        return DLOCK_OK;
    return status == DLOCK_OK ? wrong(error, "two owners got the same key") : status;
}

static dlock_status step_extend(struct check *c, dlock_error *error)
{
    return dlock_extend(c->lock, TTL_MS, error);
}

static dlock_status inspect(struct check *c, const char *owner, dlock_error *error)
{
    dlock_info info;
    const dlock_status status = dlock_inspect(c->factory, c->key, &info, error);

    if (status == DLOCK_OK && strcmp(info.owner, owner) != 0)
        return wrong(error, *owner ? "the storage names another holder" : "it is still held after its release");
    return status;
}

static dlock_status step_inspect(struct check *c, dlock_error *error)
{
    return inspect(c, dlock_owner(c->lock), error);
}

static dlock_status step_release(struct check *c, dlock_error *error)
{
    return dlock_release(c->lock, error);
}

static dlock_status step_free(struct check *c, dlock_error *error)
{
    return inspect(c, "", error);
}

static const struct {
    const char *name;
    dlock_status (*run)(struct check *c, dlock_error *error);
} steps[] = {
    {"acquire", step_acquire},          {"busy for others", step_busy}, {"extend", step_extend},
    {"names its holder", step_inspect}, {"release", step_release},      {"free again", step_free},
};

static bool run_step(struct check *c, size_t i, dlock_error *error)
{
    const int64_t before = now_us();
    const bool ok = steps[i].run(c, error) == DLOCK_OK;
    const int64_t us = now_us() - before;

    if (c->settings->json) {
        json_object(&c->json, NULL);
        json_text(&c->json, "step", steps[i].name);
        json_flag(&c->json, "ok", ok);
        json_integer(&c->json, "us", us);
        json_object_end(&c->json);
    } else {
        printf("%-12s %-18s %s, %.3f ms\n", i == 0 ? "lock" : "", steps[i].name, ok ? "ok" : "FAILED",
               (double)us / 1000);
    }
    return ok;
}

static bool try_life(struct check *c)
{
    dlock_error error;
    bool ok = true;

    if (dlock_create(c->factory, c->key, &c->lock, &error) != DLOCK_OK ||
        dlock_create(c->factory, c->key, &c->rival, &error) != DLOCK_OK)
        return fail(c, &error);
    if (c->settings->json)
        json_array(&c->json, "steps");
    for (size_t i = 0; ok && i < sizeof steps / sizeof *steps; i++)
        ok = run_step(c, i, &error);
    if (c->settings->json)
        json_array_end(&c->json);
    return ok || fail(c, &error);
}

/* ---- warnings, and the whole -------------------------------------------------------------------------------- */

static void warn(void *arg, const char *text)
{
    struct check *c = arg;
    char shown[1024];

    c->warnings++;
    if (c->settings->json)
        json_text(&c->json, NULL, text);
    else
        printf("%-12s %s\n", "warning", text_escape(text, shown, sizeof shown));
}

/* Also of a storage that does not work: the reason may be among them. That they cannot be had is then no news. */
static void look_for_weaknesses(struct check *c, bool works)
{
    dlock_error error;

    if (c->settings->json)
        json_array(&c->json, "warnings");
    const bool ok = dlock_check(c->factory, warn, c, &error) == DLOCK_OK;
    if (c->settings->json)
        json_array_end(&c->json);
    else if (ok && c->warnings == 0)
        printf("%-12s none\n", "warnings");
    if (!ok && works)
        fail(c, &error);
}

static void check(struct check *c)
{
    char where[1024];

    if (c->settings->json) {
        json_begin(&c->json);
        json_text(&c->json, "storage", dlock_factory_where(c->factory));
        json_text(&c->json, "library", dlock_version());
    } else {
        printf("%-12s %s\n%-12s %s\n", "storage", text_escape(dlock_factory_where(c->factory), where, sizeof where),
               "library", dlock_version());
    }
    look_for_weaknesses(c, measure(c) && try_life(c));
    if (c->settings->json) {
        json_flag(&c->json, "ok", c->status == STATUS_OK);
        json_end(&c->json);
        puts(c->json.text);
    }
}

int command_check(const struct settings *s)
{
    struct check c = {.settings = s};
    dlock_error error;

    snprintf(c.key, sizeof c.key, "dlock-check-%" PRId64 "-%ld", now_us(), (long)getpid());
    if (dlock_factory_open(s->store, NULL, &c.factory, &error) == DLOCK_OK)
        check(&c);
    else
        c.status = report_failure(&error);
    dlock_free(c.rival);
    dlock_free(c.lock);
    dlock_factory_close(c.factory);
    return report_output(c.status);
}
