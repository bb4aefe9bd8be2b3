/* take.c - opens the storage and takes a lock as the options say.
 *
 * Called by run.c and hold.c. */
#include "take.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "duration.h"
#include "report.h"
#include "text.h"

/* A wait that began with a storage that does not answer is bounded: more likely than an outage, its URL is wrong. */
#define FIRST_ATTEMPTS 3

/* "; it ends in 6.8s unless it is extended": how long a hold lasts at most, as far as is known. */
static const char *show_end(const dlock_info *hold, char *to, size_t size)
{
    char left[DURATION_SIZE];

    if (hold->remaining_ms < 0)
        snprintf(to, size, "no end of it is known");
    else
        snprintf(to, size, "it ends in %s at most unless it is extended", duration_show(hold->remaining_ms, left));
    return to;
}

static void report_waiting(const struct settings *s, const dlock_info *hold)
{
    char who[HOLDER_TEXT_SIZE], end[80];

    report(isatty(STDERR_FILENO) ? REPORT_NOTE : REPORT_PROGRESS, "waiting", s->key, hold,
           "waiting for '%s', held by %s; %s", s->key, holder_show(hold, who), show_end(hold, end, sizeof end));
}

static int report_given_up(const struct settings *s, const dlock_error *error)
{
    char who[HOLDER_TEXT_SIZE], end[80];

    if (error->status != DLOCK_BUSY)
        return report_failure(error);
    if (*error->holder.owner)
        report(REPORT_NOTE, "busy", s->key, &error->holder, "'%s' is held by %s; %s", s->key,
               holder_show(&error->holder, who), show_end(&error->holder, end, sizeof end));
    else
        report(REPORT_NOTE, "busy", s->key, NULL, "'%s' is held by somebody else", s->key);
    return s->conflict_exit_code >= 0 ? (int)s->conflict_exit_code : STATUS_BUSY;
}

static int report_interrupted(const struct settings *s, int signal)
{
    report(REPORT_NOTE, "interrupted", s->key, NULL, "the wait for '%s' was ended by SIG%s", s->key,
           sigabbrev_np(signal));
    return STATUS_SIGNAL + signal;
}

/* The signal that asks to end the wait, if one came. */
static int interruption(struct take *t)
{
    int signal;

    while ((signal = signals_next(&t->signals, NULL)) != 0)
        if (signals_is_passed_on(signal))
            return signal;
    return 0;
}

/* Pauses for `ms`, or until a signal asks to end the wait, which is returned. */
static int pause_for(struct take *t, int64_t ms)
{
    const int64_t until = duration_now_ms() + ms;
    struct pollfd wait = {.fd = t->signals.descriptor, .events = POLLIN};
    int signal = 0;

    for (int64_t left = ms; left > 0 && !signal; left = until - duration_now_ms()) {
        poll(&wait, 1, left < INT32_MAX ? (int)left : INT32_MAX);
        signal = interruption(t);
    }
    return signal;
}

/* An acquire that a signal can end. OK, CANCELLED and the signal, or why it failed. */
static dlock_status acquire_in_line(struct take *t, const dlock_acquire_options *options, int *ret_signal,
                                    dlock_error *error)
{
    dlock_status status = dlock_acquire_start(t->lock, options, NULL, error);
    struct pollfd wait[] = {{.fd = t->signals.descriptor, .events = POLLIN}, {.fd = t->events, .events = POLLIN}};
    dlock_event event;

    if (status != DLOCK_OK)
        return status;
    for (;;) {
        /* A wait that ended meanwhile is over, whatever else happened. */
        if (dlock_factory_events(t->factory, &event, 1) == 1) {
            if (event.type == DLOCK_EVENT_ACQUIRED)
                return DLOCK_OK;
            *error = event.error;
            return error->status;
        }
        *ret_signal = interruption(t);
        if (*ret_signal)
            return DLOCK_CANCELLED; /* take_close cancels it */
        poll(wait, 2, -1);
    }
}

/* What to do after a first attempt that failed: false = give up, else `o` says how to go on. */
static bool plan_wait(const struct settings *s, dlock_status failed, int64_t started_at, dlock_acquire_options *o)
{
    int64_t left = s->wait_ms - (duration_now_ms() - started_at);

    o->retries = 0;
    o->wait_ms = 0;
    if (s->nb || (failed != DLOCK_BUSY && failed != DLOCK_UNAVAILABLE))
        return false;
    if (s->retries >= 0)
        o->retries = (uint32_t)s->retries - 1;
    else if (s->wait_ms >= 0)
        o->wait_ms = left > 0 ? (uint32_t)left : 0;
    else if (failed == DLOCK_UNAVAILABLE)
        o->retries = FIRST_ATTEMPTS - 1;
    else
        o->wait_ms = DLOCK_WAIT_FOREVER;
    return o->retries > 0 || o->wait_ms > 0;
}

/* The first attempt is made right here, without waiting for a thread of the library; only who has to wait does that. */
static bool take_lock(struct take *t, const struct settings *s, const dlock_acquire_options *options, int *ret_status)
{
    dlock_acquire_options o = *options;
    dlock_error error = {.status = DLOCK_OK};
    const int64_t started_at = duration_now_ms();
    bool told = false;
    int signal = 0;

    o.interval_ms = s->interval_ms > 0 ? (uint32_t)s->interval_ms : DLOCK_DEFAULT_INTERVAL_MS;
    o.retries = 1;
    dlock_status status = dlock_acquire(t->lock, &o, &error);
    while (status != DLOCK_OK && plan_wait(s, status, started_at, &o)) {
        if (status == DLOCK_BUSY && !told)
            report_waiting(s, &error.holder);
        else if (!told)
            report(REPORT_PROGRESS, "unavailable", s->key, NULL, "%s; trying again", error.message);
        told = status == DLOCK_BUSY;
        signal = interruption(t);
        if (!signal && o.wait_ms == 0)
            signal = pause_for(t, o.interval_ms);
        if (!signal)
            status = acquire_in_line(t, &o, &signal, &error);
        if (signal) {
            *ret_status = report_interrupted(s, signal);
            return false;
        }
        if (s->retries >= 0 || s->wait_ms >= 0 || status != DLOCK_BUSY)
            break;
    }
    if (status != DLOCK_OK)
        *ret_status = report_given_up(s, &error);
    return status == DLOCK_OK;
}

bool take(struct take *t, const struct settings *s, const dlock_acquire_options *options, int *ret_status)
{
    dlock_error error;

    *t = (struct take){.signals = {.descriptor = -1}};
    *ret_status = STATUS_SYSTEM;
    if (!signals_open(&t->signals)) {
        report_error("cannot watch for signals: out of descriptors");
        return false;
    }
    if (dlock_factory_open(s->store, NULL, &t->factory, &error) != DLOCK_OK ||
        dlock_create(t->factory, s->key, &t->lock, &error) != DLOCK_OK) {
        *ret_status = report_failure(&error);
        return false;
    }
    t->events = dlock_factory_fd(t->factory);
    if (t->events < 0) {
        report_error("cannot watch for events: out of descriptors");
        return false;
    }
    if (!take_lock(t, s, options, ret_status))
        return false;
    t->taken_at = duration_now_ms();
    const dlock_info info = take_info(t, options->ttl_ms);
    report(REPORT_PROGRESS, "acquired", s->key, &info, "acquired '%s', fence %" PRIu64, s->key, info.fence);
    return true;
}

void take_close(struct take *t)
{
    dlock_free(t->lock);
    dlock_factory_close(t->factory);
    signals_close(&t->signals);
}

dlock_info take_info(const struct take *t, uint32_t ttl_ms)
{
    dlock_info info = {.fence = dlock_fence(t->lock),
                       .ttl_ms = ttl_ms,
                       .held_ms = duration_now_ms() - t->taken_at,
                       .remaining_ms = dlock_remaining_ms(t->lock)};

    strncpy(info.owner, dlock_owner(t->lock), sizeof info.owner - 1);
    return info;
}
