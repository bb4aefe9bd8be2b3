/* machine.c - see machine.h. */
#include "machine.h"

#include "lease.h"

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Does anybody want to be told when it is lost? */
static bool guarded(const struct machine *m)
{
    return m->plan.renew || m->plan.alarm;
}

static enum machine_todo ask(struct machine *m)
{
    m->state = MACHINE_ASKING;
    m->wake_at = LEASE_NEVER;
    return TODO_ACQUIRE;
}

static enum machine_todo fail(struct machine *m, dlock_status outcome)
{
    m->state = MACHINE_FREE;
    m->wake_at = LEASE_NEVER;
    m->outcome = outcome;
    return TODO_FAILED;
}

static void set_wake_while_held(struct machine *m)
{
    m->wake_at = guarded(m) ? m->lost_at : LEASE_NEVER;
    if (m->plan.renew && !m->extending)
        m->wake_at = earlier(m->wake_at, m->renew_at);
}

static enum machine_todo lose(struct machine *m, dlock_status why)
{
    m->state = MACHINE_LOST;
    m->outcome = why;
    m->wake_at = LEASE_NEVER;
    if (why == DLOCK_LOST)
        m->valid_until = INT64_MIN; /* else it stands: so long has the holder to stop */
    return TODO_LOST;
}

/* How much of `ttl_ms` can be relied on: a stray request that arrives later counts its own ttl, from then. */
static uint32_t reliable(const struct machine *m, uint32_t ttl_ms)
{
    return m->stray_ttl_ms && m->stray_ttl_ms < ttl_ms ? m->stray_ttl_ms : ttl_ms;
}

/* A request with `ttl_ms` has no answer. */
static void note_stray(struct machine *m, const dlock_request *request, uint32_t ttl_ms)
{
    if (request->status == DLOCK_UNAVAILABLE && !request->not_done)
        m->stray_ttl_ms = reliable(m, ttl_ms);
}

/* Counts validity from the request that was answered OK. False if it is over already, or so near its end that the
 * holder would be told at once. */
static bool count_validity(struct machine *m, uint32_t ttl_ms, int64_t now)
{
    const uint32_t counted_ms = reliable(m, ttl_ms);
    const int64_t valid_until = lease_valid_until(m->sent_at, counted_ms);
    const int64_t lost_at = lease_lost_at(valid_until, counted_ms, m->plan.margin_ms);
    if (now >= (guarded(m) ? lost_at : valid_until))
        return false;
    m->plan.ttl_ms = ttl_ms;
    m->valid_until = valid_until;
    m->lost_at = lost_at;
    m->renew_at = lease_renew_at(m->sent_at, counted_ms);
    if (m->renew_at >= lost_at) /* the margin leaves little of a short ttl */
        m->renew_at = m->sent_at + (lost_at - m->sent_at) / 2;
    set_wake_while_held(m);
    return true;
}

static void pause_until(struct machine *m, int64_t wake_at)
{
    m->state = MACHINE_PAUSING;
    m->wake_at = earlier(wake_at, m->deadline);
}

/* Those who were in each other's way must not meet again at their next attempt, so they do not rely on hints, which
 * come to all of them at once. */
static bool relies_on_hints(const struct machine *m)
{
    return m->watched && !m->contended;
}

static void pause_in_line(struct machine *m, bool told, int64_t remaining_ms, int64_t now, uint64_t chance)
{
    pause_until(m, now + (told ? lease_told_pause(m->plan.interval_ms, chance)
                               : lease_pause(m->plan.interval_ms, m->attempts, chance)));
    if (remaining_ms >= 0)
        m->wake_at = earlier(m->wake_at, now + remaining_ms * 1000 + 1000 + (int64_t)(chance % 2000));
}

static void pause_for_interval(struct machine *m, int64_t now, uint64_t chance)
{
    pause_until(m,
                now + (m->contended ? lease_apart(m->plan.interval_ms, chance) : (int64_t)m->plan.interval_ms * 1000));
}

/* After an attempt that failed as `outcome` says. `told`: hints would come if the key were released. */
static enum machine_todo pause_or_fail(struct machine *m, bool told, int64_t remaining_ms, int64_t now, uint64_t chance)
{
    if (m->cancelled)
        return fail(m, DLOCK_CANCELLED);
    if (m->plan.wait_ms == 0 && m->attempts >= m->plan.retries)
        return fail(m, m->outcome);
    if (now >= m->deadline)
        return fail(m, m->outcome);
    if (m->plan.wait_ms == 0)
        pause_for_interval(m, now, chance);
    else if (m->hinted && m->outcome == DLOCK_BUSY && !m->contended)
        return ask(m);
    else
        pause_in_line(m, told, remaining_ms, now, chance);
    return TODO_NOTHING;
}

/* A holder without a fence is of another program, which releases without a word. */
static bool is_told(const struct machine *m, const dlock_info *holder)
{
    return relies_on_hints(m) && holder->fence != 0;
}

static enum machine_todo asked(struct machine *m, const dlock_request *request, int64_t now, uint64_t chance)
{
    m->contended = request->contended && !request->info.owner[0];
    m->owner_spent = request->contended;
    m->leaves_behind |= request->stray;
    m->leaves_behind |= !request->not_done && (request->contended || request->status == DLOCK_UNAVAILABLE);
    switch (request->status) {
    case DLOCK_OK:
        m->state = MACHINE_HELD;
        m->extending = false;
        if (!m->cancelled && count_validity(m, m->plan.ttl_ms, now)) {
            m->outcome = DLOCK_OK;
            return TODO_GRANTED;
        }
        m->state = MACHINE_RETURNING;
        m->wake_at = LEASE_NEVER;
        m->outcome = DLOCK_UNAVAILABLE;
        return TODO_RELEASE;
    case DLOCK_UNAVAILABLE:
        note_stray(m, request, m->plan.ttl_ms);
        m->outcome = DLOCK_UNAVAILABLE;
        return pause_or_fail(m, false, -1, now, chance);
    case DLOCK_BUSY:
        m->outcome = DLOCK_BUSY;
        return pause_or_fail(m, is_told(m, &request->info), request->info.remaining_ms, now, chance);
    default:
        return fail(m, request->status);
    }
}

static enum machine_todo returned(struct machine *m, dlock_status status, int64_t now, uint64_t chance)
{
    m->leaves_behind = status != DLOCK_OK && status != DLOCK_LOST;
    return pause_or_fail(m, false, -1, now, chance);
}

static enum machine_todo extended(struct machine *m, const dlock_request *request, int64_t now, uint64_t chance)
{
    m->extending = false;
    if (request->status == DLOCK_LOST)
        return lose(m, DLOCK_LOST);
    if (request->status == DLOCK_OK) {
        /* What was extended may be what a stray request took anew, after others had the key. */
        const bool taken_anew = m->leaves_behind && now >= m->valid_until;
        m->leaves_behind |= request->stray;
        return !taken_anew && count_validity(m, m->asked_ttl_ms, now) ? TODO_NOTHING : lose(m, DLOCK_UNAVAILABLE);
    }
    note_stray(m, request, m->asked_ttl_ms);
    m->renew_at = lease_retry_at(now, reliable(m, m->plan.ttl_ms), chance);
    set_wake_while_held(m);
    return TODO_NOTHING;
}

enum machine_todo machine_acquire(struct machine *m, const struct machine_plan *plan, bool in_line, int64_t now)
{
    *m = (struct machine){.plan = *plan, .owner_spent = true};
    m->deadline =
        plan->wait_ms == 0 || plan->wait_ms == DLOCK_WAIT_FOREVER ? LEASE_NEVER : now + (int64_t)plan->wait_ms * 1000;
    if (!in_line)
        return ask(m);
    m->state = MACHINE_PAUSING;
    m->wake_at = m->deadline;
    return TODO_NOTHING;
}

enum machine_todo machine_extend(struct machine *m)
{
    if (m->extending)
        return TODO_NOTHING;
    m->extending = true;
    set_wake_while_held(m);
    return TODO_EXTEND;
}

void machine_sent(struct machine *m, uint32_t ttl_ms, int64_t now)
{
    const int64_t valid_until = lease_valid_until(now, ttl_ms);
    m->sent_at = now;
    switch (m->state) {
    case MACHINE_ASKING:
        m->attempts++;
        m->hinted = false;
        if (m->owner_spent) {
            m->leaves_behind = false;
            m->stray_ttl_ms = 0;
        }
        m->owner_spent = false;
        break;
    case MACHINE_RETURNING:
        m->owner_spent = true;
        break;
    case MACHINE_HELD:
    case MACHINE_LOST: /* while the EXTEND waited to be sent; its holder may not have stopped yet */
        /* If no answer comes, the storage may have counted either ttl: believe the shorter. */
        m->asked_ttl_ms = ttl_ms;
        m->valid_until = earlier(m->valid_until, valid_until);
        m->lost_at = earlier(m->lost_at, lease_lost_at(valid_until, ttl_ms, m->plan.margin_ms));
        if (m->state == MACHINE_HELD)
            set_wake_while_held(m);
        break;
    default:
        break;
    }
}

enum machine_todo machine_answer(struct machine *m, const dlock_request *request, int64_t now, uint64_t chance)
{
    switch (m->state) {
    case MACHINE_ASKING:
        return asked(m, request, now, chance);
    case MACHINE_RETURNING:
        return returned(m, request->status, now, chance);
    case MACHINE_HELD:
        return extended(m, request, now, chance);
    default: /* lost by the deadline while the request was out */
        m->extending = false;
        return TODO_NOTHING;
    }
}

enum machine_todo machine_wake(struct machine *m, int64_t now)
{
    if (now < m->wake_at)
        return TODO_NOTHING;
    if (m->state == MACHINE_PAUSING)
        return ask(m);
    if (m->state != MACHINE_HELD)
        return TODO_NOTHING;
    if (now >= m->lost_at)
        return lose(m, DLOCK_UNAVAILABLE);
    return machine_extend(m);
}

enum machine_todo machine_hint(struct machine *m)
{
    m->hinted = true;
    return m->state == MACHINE_PAUSING ? ask(m) : TODO_NOTHING;
}

enum machine_todo machine_turn(struct machine *m, int64_t remaining_ms, int64_t now, uint64_t chance)
{
    if (m->state == MACHINE_PAUSING)
        pause_in_line(m, relies_on_hints(m), remaining_ms, now, chance);
    return TODO_NOTHING;
}

enum machine_todo machine_cancel(struct machine *m)
{
    m->cancelled = true;
    return m->state == MACHINE_PAUSING ? fail(m, DLOCK_CANCELLED) : TODO_NOTHING;
}

void machine_leave(struct machine *m)
{
    m->state = MACHINE_FREE;
    m->extending = false;
    m->wake_at = LEASE_NEVER;
    m->valid_until = INT64_MIN;
}

void machine_adopt(struct machine *m, uint32_t ttl_ms)
{
    *m = (struct machine){
        .plan = {.ttl_ms = ttl_ms}, .state = MACHINE_HELD, .wake_at = LEASE_NEVER, .lost_at = LEASE_NEVER};
}
