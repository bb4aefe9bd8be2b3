/* run.c - dlock run: takes a lock, runs a command while it is held, ends the command when it is lost.
 *
 * Called by main.c. take.c waits for the lock, child.c looks after the process; here is what happens in between. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "child.h"
#include "commands.h"
#include "duration.h"
#include "report.h"
#include "take.h"

#define NEVER INT64_MAX

/* Why dlock ends the command; a later one counts more. */
enum ending { ENDING_NONE, ENDING_MAX_HOLD, ENDING_LOST };

struct run {
    const struct settings *settings;
    struct take take;
    struct child child;
    int64_t ttl_ms, kill_after_ms;
    int64_t slack_ms;    /* the group is to be gone so long before validity ends */
    int64_t margin_ms;   /* LOST is to come so long before validity ends */
    int64_t max_hold_at, /* deadlines, as duration_now_ms; NEVER = none */
        lost_at,         /* without renewal */
        kill_at, hold_until;
    int timer; /* -1 until there is a deadline */
    enum ending ending;
    bool lost, ended, interrupted;
    bool had_terminal; /* when it ended */
    int status;        /* of the command */
};

static int64_t clamp(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

static struct run plan(const struct settings *s)
{
    struct run r = {.settings = s, .timer = -1, .max_hold_at = NEVER, .lost_at = NEVER, .kill_at = NEVER};

    r.hold_until = NEVER;
    r.ttl_ms = s->ttl_ms > 0 ? s->ttl_ms : DLOCK_DEFAULT_TTL_MS;
    r.kill_after_ms = s->kill_after_ms >= 0 ? s->kill_after_ms : clamp(r.ttl_ms / 4, 0, 10000);
    r.slack_ms = clamp(r.ttl_ms / 40, 20, 500);
    r.margin_ms = clamp(r.kill_after_ms + r.slack_ms, 1, r.ttl_ms / 2);
    return r;
}

/* ---- the command's environment ------------------------------------------------------------------------------ */

struct environment {
    char key[DLOCK_KEY_MAX + 16], owner[DLOCK_OWNER_SIZE + 16], fence[40], ttl[40];
    char *store; /* NULL = as it is */
    char **variables;
};

static bool is_replaced(const char *variable, const struct environment *e)
{
    return strncmp(variable, "DLOCK_KEY=", 10) == 0 || strncmp(variable, "DLOCK_OWNER=", 12) == 0 ||
           strncmp(variable, "DLOCK_FENCE=", 12) == 0 || strncmp(variable, "DLOCK_TTL_MS=", 13) == 0 ||
           (e->store && strncmp(variable, "DLOCK_STORE=", 12) == 0);
}

/* False = out of memory. environment_deinit is needed either way. */
static bool environment_init(struct environment *e, const struct run *r)
{
    const char *store = r->settings->store;
    size_t count = 0, kept = 0;

    *e = (struct environment){.store = NULL};
    snprintf(e->key, sizeof e->key, "DLOCK_KEY=%s", r->settings->key);
    snprintf(e->owner, sizeof e->owner, "DLOCK_OWNER=%s", dlock_owner(r->take.lock));
    snprintf(e->fence, sizeof e->fence, "DLOCK_FENCE=%" PRIu64, dlock_fence(r->take.lock));
    snprintf(e->ttl, sizeof e->ttl, "DLOCK_TTL_MS=%" PRId64, r->ttl_ms);
    /* --store goes on to the command, so that dlock works in it, but no password that was not there before. */
    if (store && !strstr(dlock_factory_where(r->take.factory), "***") &&
        asprintf(&e->store, "DLOCK_STORE=%s", store) < 0) {
        e->store = NULL;
        return false;
    }
    while (environ[count])
        count++;
    e->variables = calloc(count + 6, sizeof *e->variables);
    if (!e->variables)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!is_replaced(environ[i], e))
            e->variables[kept++] = environ[i];
    e->variables[kept++] = e->key;
    e->variables[kept++] = e->owner;
    e->variables[kept++] = e->fence;
    e->variables[kept++] = e->ttl;
    e->variables[kept] = e->store;
    return true;
}

static void environment_deinit(struct environment *e)
{
    free(e->variables);
    free(e->store);
}

/* ---- ending the command ------------------------------------------------------------------------------------- */

static void kill_now(struct run *r)
{
    r->kill_at = NEVER;
    report(REPORT_PROGRESS, "killed", r->settings->key, NULL, "sending KILL to the command");
    child_signal(&r->child, SIGKILL);
}

/* TERM now, and KILL after `grace_ms` if that is not negative. */
static void end_command(struct run *r, enum ending ending, int64_t grace_ms)
{
    const int64_t at = duration_now_ms() + grace_ms;

    if (r->ending < ending)
        r->ending = ending;
    child_signal(&r->child, SIGTERM);
    child_signal(&r->child, SIGCONT);
    if (grace_ms >= 0 && at < r->kill_at)
        r->kill_at = at;
}

static void lose(struct run *r, const char *why)
{
    const struct settings *s = r->settings;
    const int64_t left_ms = dlock_remaining_ms(r->take.lock) - r->slack_ms;

    if (r->lost)
        return;
    r->lost = true;
    r->lost_at = NEVER;
    report(REPORT_ERROR, "lost", s->key, NULL, "lost the lock: %s", why);
    if ((r->ended && r->ending == ENDING_NONE) || s->on_lost == ON_LOST_IGNORE)
        return;
    /* The KILL comes before another holder can be there. */
    end_command(r, ENDING_LOST, s->on_lost == ON_LOST_TERM ? -1 : clamp(left_ms, 0, r->kill_after_ms));
}

/* ---- what can happen ---------------------------------------------------------------------------------------- */

static int64_t next_deadline(const struct run *r)
{
    int64_t at = r->ended ? r->hold_until : r->max_hold_at;

    at = r->kill_at < at ? r->kill_at : at;
    return r->lost_at < at ? r->lost_at : at;
}

/* Waits until a signal, an event or a deadline is there. The timer runs through suspend; poll's own would not. */
static void wait_for_news(struct run *r)
{
    const int64_t at = next_deadline(r);
    struct itimerspec alarm = {.it_value = {.tv_sec = at / 1000, .tv_nsec = at % 1000 * 1000000}};

    if (at == NEVER)
        alarm.it_value = (struct timespec){0, 0};
    else if (r->timer < 0)
        r->timer = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    if (r->timer >= 0)
        timerfd_settime(r->timer, TFD_TIMER_ABSTIME, &alarm, NULL);
    struct pollfd wait[] = {{.fd = r->take.signals.descriptor, .events = POLLIN},
                            {.fd = r->take.events, .events = POLLIN},
                            {.fd = r->timer, .events = POLLIN}};
    poll(wait, 3, at != NEVER && r->timer < 0 ? 100 : -1);
}

static void look_at_child(struct run *r)
{
    int value;

    switch (child_look(&r->child, &value)) {
    case CHILD_RUNS:
        break;
    case CHILD_STOPPED:
        child_stop_along(&r->child, value);
        break;
    case CHILD_ENDED:
        r->ended = true;
        r->status = value;
        r->had_terminal = r->child.has_terminal;
        break;
    }
}

/* dlock, which may have been stopped for long, goes on. */
static void go_on(struct run *r)
{
    if (!r->lost && !dlock_is_held(r->take.lock))
        lose(r, "its ttl ended while dlock was stopped");
    if (!r->ended)
        child_continue(&r->child);
}

static void take_signals(struct run *r)
{
    bool by_terminal;
    int signal;

    while ((signal = signals_next(&r->take.signals, &by_terminal)) != 0) {
        if (signal == SIGCHLD) {
            if (!r->ended)
                look_at_child(r);
        } else if (signal == SIGCONT) {
            go_on(r);
        } else if (signal == SIGTSTP && r->ended) {
            raise(SIGSTOP); /* ^Z while only dlock is left */
        } else {
            r->interrupted |= signal != SIGTSTP && signal != SIGUSR1 && signal != SIGUSR2;
            /* In dlock's own group the command has got what the terminal sent. */
            if (!r->settings->foreground || !by_terminal)
                child_signal(&r->child, signal);
        }
    }
}

static void take_events(struct run *r)
{
    dlock_event event;

    while (dlock_factory_events(r->take.factory, &event, 1) == 1)
        if (event.type == DLOCK_EVENT_LOST)
            lose(r, event.error.message);
}

static void take_deadlines(struct run *r)
{
    const int64_t now = duration_now_ms();

    if (now >= r->lost_at)
        lose(r, "its ttl ends, and --no-renew forbids to extend it");
    if (!r->ended && now >= r->max_hold_at) {
        r->max_hold_at = NEVER;
        report(REPORT_ERROR, "max-hold", r->settings->key, NULL, "the command ran longer than --max-hold allows");
        end_command(r, ENDING_MAX_HOLD, r->kill_after_ms);
    }
    if (now >= r->kill_at)
        kill_now(r);
}

static void step(struct run *r)
{
    wait_for_news(r);
    take_signals(r);
    take_events(r);
    take_deadlines(r);
}

/* ---- from start to end -------------------------------------------------------------------------------------- */

static void watch_command(struct run *r)
{
    while (!r->ended)
        step(r);
    if (r->kill_at == NEVER)
        child_close(&r->child);
    child_reap(&r->child);
    /* When dlock ends the command, it ends all of its group. */
    while (r->kill_at != NEVER && child_group_remains(&r->child)) {
        poll(NULL, 0, 5);
        take_signals(r);
        take_events(r);
        take_deadlines(r);
    }
    r->kill_at = NEVER;
    child_close(&r->child);
    r->child.pid = 0;
}

/* --min-hold: a signal, or the loss of the lock, ends it. */
static void hold_on(struct run *r)
{
    r->hold_until = r->take.taken_at + r->settings->min_hold_ms;
    while (!r->lost && !r->interrupted && duration_now_ms() < r->hold_until)
        step(r);
}

static int release(struct run *r)
{
    const struct settings *s = r->settings;
    dlock_error error;
    const dlock_status status = dlock_release(r->take.lock, &error);

    if (r->ending == ENDING_LOST)
        return STATUS_LOST;
    if (status == DLOCK_LOST && !r->lost && s->on_lost != ON_LOST_IGNORE) {
        report(REPORT_ERROR, "lost", s->key, NULL, "lost the lock: it had ended before the command");
        return STATUS_LOST;
    }
    if (status == DLOCK_OK)
        report(REPORT_PROGRESS, "released", s->key, NULL, "released '%s'", s->key);
    else if (status != DLOCK_LOST)
        report(REPORT_ERROR, "not-released", s->key, NULL, "%s; it ends with its ttl", error.message);
    return r->ending == ENDING_MAX_HOLD ? STATUS_MAX_HOLD : r->status;
}

static int run_command(struct run *r)
{
    const struct settings *s = r->settings;
    struct environment environment;
    int error = ENOMEM;

    if (environment_init(&environment, r)) {
        if (!s->foreground)
            signals_catch_stop(&r->take.signals);
        error = child_start(&r->child, &r->take.signals, s->foreground, s->arguments, environment.variables);
    }
    environment_deinit(&environment);
    if (error != 0) {
        child_close(&r->child);
        report_error("cannot run '%s': %s", s->arguments[0], strerror(error));
        return error == ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_RUNNABLE;
    }
    if (s->max_hold_ms >= 0)
        r->max_hold_at = r->take.taken_at + s->max_hold_ms;
    if (s->no_renew)
        r->lost_at = duration_now_ms() + dlock_remaining_ms(r->take.lock) - r->margin_ms;
    watch_command(r);
    if (s->min_hold_ms > 0)
        hold_on(r);
    return release(r);
}

/* ^C went to the command's group alone, but in a script, or in any group of several processes, it was meant for all of
 * them: they are told, and dlock ends by it too, which is what shells look at. */
static void pass_interrupt_up(void)
{
    sigset_t interrupt;

    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    signal(SIGINT, SIG_DFL);
    kill(0, SIGINT);
    sigprocmask(SIG_UNBLOCK, &interrupt, NULL);
}

int command_run(const struct settings *s)
{
    struct run r = plan(s);
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;

    options.ttl_ms = (uint32_t)r.ttl_ms;
    options.margin_ms = (uint32_t)r.margin_ms;
    options.renew = !s->no_renew;
    int status;
    if (take(&r.take, s, &options, &status))
        status = run_command(&r);
    take_close(&r.take);
    if (r.timer >= 0)
        close(r.timer);
    if (r.had_terminal && status == STATUS_SIGNAL + SIGINT && getpgrp() != getpid())
        pass_interrupt_up();
    return status;
}
