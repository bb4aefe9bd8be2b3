/* lock.c - see lock.h. */
#include "lock.h"

#include "container.h"
#include "lease.h"
#include "leftover.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const VERBS[] = {
    [DLOCK_ACQUIRE] = "acquire", [DLOCK_EXTEND] = "extend", [DLOCK_RELEASE] = "release"};

static void set_timer(struct dlock *lock)
{
    keeper_set(&lock->factory->keeper, &lock->timer, lock->machine.wake_at);
}

int64_t lock_over_at(const struct dlock *lock)
{
    const uint32_t asked = lock->machine.asked_ttl_ms, planned = lock->machine.plan.ttl_ms;
    return lock->machine.sent_at + (int64_t)(asked > planned ? asked : planned) * 1000;
}

void lock_leave(struct dlock *lock)
{
    machine_leave(&lock->machine);
    lock->generation++;
    events_drop(&lock->factory->events, &lock->lost);
    set_timer(lock);
}

/* ---- how a call ends ------------------------------------------------------------------------------------------ */

/* A duration for a person: "250 ms", "12.5 s". */
static const char *show_duration(char ret[32], int64_t ms)
{
    if (ms < 1000)
        snprintf(ret, 32, "%lld ms", (long long)ms);
    else
        snprintf(ret, 32, "%lld.%lld s", (long long)(ms / 1000), (long long)(ms % 1000 / 100));
    return ret;
}

static void explain_busy(struct call *call)
{
    struct dlock *lock = call->lock;
    const dlock_info *holder = &call->answer.info;
    char who[DLOCK_OWNER_SIZE], since[32] = "", ends[32] = "";
    if (call->answer.contended && !holder->owner[0]) {
        core_explain(lock->factory, &call->error, DLOCK_BUSY, "acquire", lock->key,
                     "several asked for it at once, and none got it (%u attempt%s)", lock->machine.attempts,
                     lock->machine.attempts == 1 ? "" : "s");
        return;
    }
    owner_show(who, holder->owner);
    if (holder->held_ms >= 0)
        show_duration(since, holder->held_ms);
    if (holder->remaining_ms >= 0)
        show_duration(ends, holder->remaining_ms);
    core_explain(lock->factory, &call->error, DLOCK_BUSY, "acquire", lock->key, "held by %s%s%s%s%s (%u attempt%s)",
                 who[0] ? who : "somebody", since[0] ? " for " : "", since, ends[0] ? ", ends unless extended in " : "",
                 ends, lock->machine.attempts, lock->machine.attempts == 1 ? "" : "s");
    call->error.holder = *holder;
}

static void explain(struct call *call, dlock_status status)
{
    struct dlock *lock = call->lock;
    const char *detail = call->answer.message[0] ? call->answer.message : dlock_status_text(status);
    switch (status) {
    case DLOCK_OK:
        call->error = (dlock_error){.status = DLOCK_OK};
        break;
    case DLOCK_BUSY:
        explain_busy(call);
        break;
    case DLOCK_LOST:
    case DLOCK_CANCELLED:
        detail = dlock_status_text(status);
        /* fall through */
    default:
        core_explain(lock->factory, &call->error, status, VERBS[call->kind], lock->key, "%s", detail);
    }
}

/* Nobody needs an asynchronous call any more that has ended; the lock's user has a reference of its own. */
static void forget_ended(struct call *call)
{
    call->lock->references--;
    free(call);
}

static void take_call_event(struct event *event, dlock_event *ret)
{
    static const dlock_event_type DONE[] = {[DLOCK_ACQUIRE] = DLOCK_EVENT_ACQUIRED,
                                            [DLOCK_EXTEND] = DLOCK_EVENT_EXTENDED,
                                            [DLOCK_RELEASE] = DLOCK_EVENT_RELEASED};
    struct call *call = CONTAINER(event, struct call, event);
    *ret = (dlock_event){.type = call->error.status == DLOCK_OK ? DONE[call->kind] : DLOCK_EVENT_FAILED,
                         .lock = call->lock,
                         .tag = call->tag,
                         .error = call->error};
    forget_ended(call);
}

static void drop_events(struct dlock_factory *core, const struct dlock *lock)
{
    for (struct event *event = core->events.first, *next; event; event = next) {
        next = event->next;
        if (event->take != take_call_event)
            continue;
        struct call *call = CONTAINER(event, struct call, event);
        if (lock && call->lock != lock)
            continue;
        events_drop(&core->events, event);
        forget_ended(call);
    }
}

void lock_drop_events(struct dlock *lock)
{
    events_drop(&lock->factory->events, &lock->lost);
    if (lock->references > 1)
        drop_events(lock->factory, lock);
}

void lock_drop_all_events(struct dlock_factory *core)
{
    drop_events(core, NULL);
}

static void hint(struct place *place);

/* The thread of a blocking call is to look what there is to do. */
static void rouse(struct call *call)
{
    pthread_cond_signal(&call->wake);
    watcher_rouse(&call->lock->factory->watcher, &call->place);
}

/* Who is first in the line now learns that it is its turn. */
static void leave_line(struct call *call, bool granted)
{
    struct dlock *lock = call->lock;
    struct dlock_factory *core = lock->factory;
    struct line *line = call->place.line;
    struct place *next = line_leave(&call->place);
    watcher_settle(&core->watcher, line);
    if (next && granted) {
        struct dlock *waiter = CONTAINER(next, struct call, place)->lock;
        machine_turn(&waiter->machine, lock->machine.plan.ttl_ms, dlock_clock_us(), core_chance(core));
        set_timer(waiter);
    } else if (next) {
        hint(next);
    }
}

static void finish(struct call *call, dlock_status status)
{
    struct dlock *lock = call->lock;
    explain(call, status);
    lock->call = NULL;
    set_timer(lock);
    if (call->place.line)
        leave_line(call, status == DLOCK_OK);
    if (!call->asynchronous) {
        call->done = true;
        rouse(call);
        return;
    }
    if (!lock->doomed) {
        call->event.take = take_call_event;
        events_push(&lock->factory->events, &call->event);
        return;
    }
    if (lock->machine.state == MACHINE_HELD) {
        leftover_add(lock->factory, lock->key, lock->owner, lock_over_at(lock));
        lock_leave(lock);
    }
    lock_unref(lock);
    free(call);
}

/* ---- what the machine wants ------------------------------------------------------------------------------------- */

static void send(struct call *call, dlock_operation request)
{
    call->request = request;
    if (call->asynchronous) {
        errands_post(&call->lock->factory->errands, &call->job);
    } else {
        call->ready = true;
        rouse(call);
    }
}

/* Every acquire, and every attempt after a release was sent, has an owner of its own. */
static bool prepare_owner(struct dlock *lock)
{
    struct dlock_factory *core = lock->factory;
    if (!lock->machine.owner_spent)
        return true;
    if (lock->machine.leaves_behind)
        leftover_add(core, lock->key, lock->owner, lock_over_at(lock));
    return owner_make(lock->owner, core->owner_beginning, &core->random);
}

static void pause_call(struct call *call)
{
    struct dlock *lock = call->lock;
    struct dlock_factory *core = lock->factory;
    if (keeper_start(&core->keeper) != DLOCK_OK) {
        machine_leave(&lock->machine);
        finish(call, DLOCK_NOMEM);
        return;
    }
    if (call->place.line && lock->machine.outcome == DLOCK_BUSY)
        watcher_want(&core->watcher, call->place.line);
    set_timer(lock);
}

static void carry_on(struct call *call, enum machine_todo todo)
{
    struct dlock *lock = call->lock;
    switch (todo) {
    case TODO_NOTHING:
        if (lock->machine.state == MACHINE_PAUSING)
            pause_call(call);
        break;
    case TODO_ACQUIRE:
        if (prepare_owner(lock)) {
            send(call, DLOCK_ACQUIRE);
        } else {
            machine_leave(&lock->machine);
            snprintf(call->answer.message, sizeof call->answer.message, "the kernel gives no random bytes");
            finish(call, DLOCK_NOMEM);
        }
        break;
    case TODO_RELEASE:
        snprintf(call->answer.message, sizeof call->answer.message, "the answer came when the ttl was over");
        send(call, DLOCK_RELEASE);
        break;
    case TODO_EXTEND:
        send(call, DLOCK_EXTEND);
        break;
    case TODO_GRANTED:
        finish(call, DLOCK_OK);
        break;
    case TODO_FAILED:
        if (lock->machine.leaves_behind)
            leftover_add(lock->factory, lock->key, lock->owner, lock_over_at(lock));
        finish(call, lock->machine.outcome);
        break;
    case TODO_LOST:
        finish(call, DLOCK_LOST);
        break;
    }
}

static void take_lost_event(struct event *event, dlock_event *ret)
{
    struct dlock *lock = CONTAINER(event, struct dlock, lost);
    *ret = (dlock_event){.type = DLOCK_EVENT_LOST, .lock = lock};
    const bool told = lock->machine.outcome == DLOCK_LOST;
    core_explain(lock->factory, &ret->error, DLOCK_LOST, "keep", lock->key, "%s",
                 told ? "the storage says that this owner no longer holds it"
                      : "it could not be extended before its validity ends");
}

/* The lock is held no longer, as the machine has found out. */
static void lose(struct dlock *lock)
{
    const struct machine_plan *plan = &lock->machine.plan;
    if ((plan->renew || plan->alarm) && !lock->doomed)
        events_push(&lock->factory->events, &lock->lost);
    set_timer(lock);
    if (lock->call && lock->call->deferred)
        finish(lock->call, DLOCK_LOST);
}

/* ---- requests and answers --------------------------------------------------------------------------------------- */

void lock_fill_parcel(const struct dlock *lock, struct parcel *parcel, dlock_operation operation, uint32_t ttl_ms)
{
    parcel->request =
        (dlock_request){.operation = operation, .ttl_ms = ttl_ms, .key = lock->key, .owner = parcel->owner};
    memcpy(parcel->owner, lock->owner, sizeof parcel->owner);
}

static bool fill_call(struct job *job, struct parcel *parcel)
{
    struct call *call = CONTAINER(job, struct call, job);
    struct dlock *lock = call->lock;
    const uint32_t ttl_ms = call->kind == DLOCK_EXTEND ? call->ttl_ms : lock->machine.plan.ttl_ms;
    lock_fill_parcel(lock, parcel, call->request, ttl_ms);
    if (call->kind != DLOCK_RELEASE)
        machine_sent(&lock->machine, ttl_ms, dlock_clock_us());
    set_timer(lock);
    return true;
}

static void acquire_answered(struct call *call, const dlock_request *request)
{
    struct dlock *lock = call->lock;
    struct dlock_factory *core = lock->factory;
    if (request->status == DLOCK_OK && call->request == DLOCK_ACQUIRE)
        lock->fence = request->info.fence;
    else if (call->request == DLOCK_ACQUIRE)
        call->answer = *request;
    lock->machine.watched = call->place.line && call->place.line->watched;
    carry_on(call, machine_answer(&lock->machine, request, dlock_clock_us(), core_chance(core)));
}

static void extend_answered(struct call *call, const dlock_request *request)
{
    struct dlock *lock = call->lock;
    const bool was_held = lock->machine.state == MACHINE_HELD;
    const enum machine_todo todo =
        machine_answer(&lock->machine, request, dlock_clock_us(), core_chance(lock->factory));
    if (todo == TODO_LOST)
        lose(lock);
    if (request->status != DLOCK_OK)
        call->answer = *request;
    finish(call, was_held && todo != TODO_LOST ? request->status : DLOCK_LOST);
}

static void release_answered(struct call *call, const dlock_request *request)
{
    struct dlock *lock = call->lock;
    struct dlock_factory *core = lock->factory;
    if (request->status == DLOCK_OK) {
        lock_hint_first(core, lock->key);
    } else if (request->status != DLOCK_LOST) {
        call->answer = *request;
        leftover_add(core, lock->key, lock->owner, lock_over_at(lock));
    }
    finish(call, call->was_lost ? DLOCK_LOST : request->status);
}

static void call_answered(struct job *job, const dlock_request *request)
{
    struct call *call = CONTAINER(job, struct call, job);
    switch (call->kind) {
    case DLOCK_EXTEND:
        extend_answered(call, request);
        break;
    case DLOCK_RELEASE:
        release_answered(call, request);
        break;
    default:
        acquire_answered(call, request);
    }
}

/* ---- renewal ------------------------------------------------------------------------------------------------------
 */

/* Is the hold that the renewal was posted for still there? */
static bool renewal_wanted(const struct dlock *lock)
{
    return !lock->factory->closed && lock->generation == lock->renewal_generation &&
           lock->machine.state == MACHINE_HELD;
}

static void end_renewal(struct dlock *lock)
{
    lock->renewal_posted = false;
    lock_unref(lock);
}

static bool fill_renewal(struct job *job, struct parcel *parcel)
{
    struct dlock *lock = CONTAINER(job, struct dlock, renewal);
    if (!renewal_wanted(lock)) {
        end_renewal(lock);
        return false;
    }
    lock_fill_parcel(lock, parcel, DLOCK_EXTEND, lock->machine.plan.ttl_ms);
    machine_sent(&lock->machine, lock->machine.plan.ttl_ms, dlock_clock_us());
    set_timer(lock);
    return true;
}

static void renewal_answered(struct job *job, const dlock_request *request)
{
    struct dlock *lock = CONTAINER(job, struct dlock, renewal);
    struct dlock_factory *core = lock->factory;
    if (renewal_wanted(lock)) {
        if (machine_answer(&lock->machine, request, dlock_clock_us(), core_chance(core)) == TODO_LOST) {
            lose(lock);
        } else {
            set_timer(lock);
            if (lock->call && lock->call->deferred) {
                lock->call->deferred = false;
                carry_on(lock->call, machine_extend(&lock->machine));
            }
        }
    }
    end_renewal(lock);
}

static void renew(struct dlock *lock)
{
    struct dlock_factory *core = lock->factory;
    if (lock->renewal_posted || courier_start(&core->renewals) != DLOCK_OK) {
        /* The renewal of an earlier hold is still out, or there is no thread to be had: as if it had failed. */
        const dlock_request none = {.operation = DLOCK_EXTEND, .status = DLOCK_UNAVAILABLE, .not_done = true};
        machine_answer(&lock->machine, &none, dlock_clock_us(), core_chance(core));
        set_timer(lock);
        return;
    }
    lock->renewal_posted = true;
    lock->renewal_generation = lock->generation;
    lock->references++;
    courier_post(&core->renewals, &lock->renewal);
    set_timer(lock);
}

/* ---- what comes from outside ---------------------------------------------------------------------------------------
 */

static void timer_due(struct timer *timer, int64_t now)
{
    struct dlock *lock = CONTAINER(timer, struct dlock, timer);
    switch (machine_wake(&lock->machine, now)) {
    case TODO_ACQUIRE:
        carry_on(lock->call, TODO_ACQUIRE);
        break;
    case TODO_EXTEND:
        renew(lock);
        break;
    case TODO_LOST:
        lose(lock);
        break;
    default:
        set_timer(lock);
    }
}

/* It is the first in its line, and the key may have become free. */
static void hint(struct place *place)
{
    struct call *call = CONTAINER(place, struct call, place);
    const enum machine_todo todo = machine_hint(&call->lock->machine);
    if (todo == TODO_ACQUIRE) {
        set_timer(call->lock);
        carry_on(call, todo);
    }
}

static bool lend(struct place *alone)
{
    struct call *call = CONTAINER(alone, struct call, place);
    if (call->asynchronous)
        return false;
    pthread_cond_signal(&call->wake);
    return true;
}

const struct watcher_callbacks lock_callbacks = {.hint = hint, .lend = lend};

void lock_hint_first(struct dlock_factory *core, const char *key)
{
    struct place *first = line_first(&core->lines, key);
    if (first)
        hint(first);
}

void lock_cancel(struct dlock *lock)
{
    if (lock->call && lock->call->kind == DLOCK_ACQUIRE)
        carry_on(lock->call, machine_cancel(&lock->machine));
}

void lock_abort(struct dlock *lock)
{
    if (lock->call && lock->call->deferred)
        finish(lock->call, DLOCK_CANCELLED);
    else
        lock_cancel(lock);
}

static void start_acquire(struct call *call, const struct machine_plan *plan)
{
    struct dlock *lock = call->lock;
    struct dlock_factory *core = lock->factory;
    if ((plan->renew || plan->alarm) && keeper_start(&core->keeper) != DLOCK_OK) {
        finish(call, DLOCK_NOMEM);
        return;
    }
    if (plan->wait_ms && !line_join(&core->lines, &call->place, lock->key)) {
        finish(call, DLOCK_NOMEM);
        return;
    }
    lock->generation++;
    lock->fence = 0;
    carry_on(call, machine_acquire(&lock->machine, plan, call->place.before != NULL, dlock_clock_us()));
}

static void start_extend(struct call *call)
{
    struct dlock *lock = call->lock;
    if (lock->machine.state == MACHINE_LOST) {
        finish(call, DLOCK_LOST);
        return;
    }
    const enum machine_todo todo = machine_extend(&lock->machine);
    call->deferred = todo == TODO_NOTHING;
    carry_on(call, todo);
}

static void start_release(struct call *call)
{
    struct dlock *lock = call->lock;
    const bool told = lock->machine.state == MACHINE_LOST && lock->machine.outcome == DLOCK_LOST;
    call->was_lost = lock->machine.state == MACHINE_LOST;
    lock_leave(lock);
    if (told)
        finish(call, DLOCK_LOST);
    else
        send(call, DLOCK_RELEASE);
}

void lock_start(struct call *call, const struct machine_plan *plan)
{
    call->job = (struct job){.fill = fill_call, .answered = call_answered};
    call->lock->call = call;
    switch (call->kind) {
    case DLOCK_EXTEND:
        start_extend(call);
        break;
    case DLOCK_RELEASE:
        start_release(call);
        break;
    default:
        start_acquire(call, plan);
    }
}

void lock_run(struct call *call)
{
    struct dlock_factory *core = call->lock->factory;
    /* Only an asynchronous call is freed when it ends, which the analyzer does not follow. */
    while (!call->done) { /* NOLINT(clang-analyzer-unix.Malloc) */
        if (!call->ready) {
            if (!watcher_wait(&core->watcher, &call->place))
                pthread_cond_wait(&call->wake, &core->mutex);
            continue;
        }
        struct parcel parcel;
        dlock_request *const requests[] = {&parcel.request};
        call->ready = false;
        fill_call(&call->job, &parcel);
        exchange_carry(&core->exchange, requests, 1);
        call_answered(&call->job, &parcel.request);
    }
}

struct dlock *lock_new(struct dlock_factory *factory, const char *key)
{
    const size_t size = strlen(key) + 1;
    struct dlock *lock = calloc(1, sizeof *lock + size);
    if (!lock || !keeper_reserve(&factory->keeper)) {
        free(lock);
        return NULL;
    }
    lock->factory = factory;
    lock->references = 1;
    lock->machine.wake_at = LEASE_NEVER;
    lock->timer.due = timer_due;
    lock->renewal = (struct job){.fill = fill_renewal, .answered = renewal_answered};
    lock->lost.take = take_lost_event;
    memcpy(lock->key, key, size);
    lock->behind = factory->locks;
    if (lock->behind)
        lock->behind->before = lock;
    factory->locks = lock;
    factory->references++;
    return lock;
}

void lock_unref(struct dlock *lock)
{
    struct dlock_factory *core = lock->factory;
    if (--lock->references > 0)
        return;
    if (lock->before)
        lock->before->behind = lock->behind;
    else
        core->locks = lock->behind;
    if (lock->behind)
        lock->behind->before = lock->before;
    keeper_set(&core->keeper, &lock->timer, LEASE_NEVER);
    keeper_unreserve(&core->keeper);
    core->references--;
    free(lock);
}
