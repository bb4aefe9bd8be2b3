/* lock_api.c - the functions of dlock.h that take a lock: check what the caller gives, start the call, report. */
#include "lock.h"

#include "options.h"
#include "owner.h"

#include <stdlib.h>
#include <string.h>

dlock_status dlock_create(dlock_factory *factory, const char *key, dlock **ret, dlock_error *error)
{
    if (!factory || !ret)
        return dlock_error_set(error, DLOCK_INVALID, "dlock_create needs a factory and a place for the lock");
    dlock_status status = options_check_key(key, error);
    if (status == DLOCK_OK)
        status = core_enter(factory, error);
    if (status != DLOCK_OK)
        return status;
    dlock *lock = lock_new(factory, key);
    core_unlock(factory);
    if (!lock)
        return dlock_error_set(error, DLOCK_NOMEM, "out of memory");
    *ret = lock;
    return DLOCK_OK;
}

/* Takes the mutex if a call may start on this lock, which is to be held or not held. */
static dlock_status enter(dlock *lock, bool held, dlock_error *error)
{
    if (!lock)
        return dlock_error_set(error, DLOCK_INVALID, "the lock is NULL");
    struct dlock_factory *core = lock->factory;
    dlock_status status = core_enter(core, error);
    if (status != DLOCK_OK)
        return status;
    const char *wrong = NULL;
    if (lock->call)
        wrong = "another call of this lock is still running";
    else if (held && lock->machine.state == MACHINE_FREE)
        wrong = "it is not held by this lock";
    else if (!held && lock->machine.state != MACHINE_FREE)
        wrong = "this lock holds it already: release it first";
    if (!wrong)
        return DLOCK_OK;
    status = core_explain(core, error, DLOCK_INVALID, held ? "use" : "acquire", lock->key, "%s", wrong);
    core_unlock(core);
    return status;
}

/* Carries a call from its start to its end in this thread; the mutex is held. */
static void carry_through(struct call *call, const struct machine_plan *plan)
{
    pthread_cond_init(&call->wake, NULL);
    lock_start(call, plan);
    lock_run(call);
    pthread_cond_destroy(&call->wake);
}

/* Runs a blocking call; the mutex is held, and is given back. */
static dlock_status run(struct call *call, const struct machine_plan *plan, dlock_error *error)
{
    struct dlock_factory *core = call->lock->factory;
    carry_through(call, plan);
    core_unlock(core);
    if (error)
        *error = call->error;
    return call->error.status;
}

/* Starts an asynchronous call; the mutex is held, and is given back. */
static dlock_status start(struct call call, const struct machine_plan *plan, dlock_error *error)
{
    struct dlock_factory *core = call.lock->factory;
    struct call *started = malloc(sizeof *started);
    dlock_status status = started ? keeper_start(&core->keeper) : DLOCK_NOMEM;
    if (status == DLOCK_OK)
        status = errands_start(&core->errands);
    if (status == DLOCK_OK) {
        *started = call;
        started->asynchronous = true;
        call.lock->references++;
        errands_attend(&core->errands);
        lock_start(started, plan);
        errands_send(&core->errands);
    } else {
        dlock_error_set(error, status, "out of memory or threads");
        free(started);
    }
    core_unlock(core);
    return status;
}

/* Takes the mutex and makes the plan of an acquire. */
static dlock_status enter_acquire(dlock *lock, const dlock_acquire_options *options, struct machine_plan *ret,
                                  dlock_error *error)
{
    dlock_status status = enter(lock, false, error);
    if (status != DLOCK_OK)
        return status;
    status = options_plan(options, &lock->factory->defaults, ret, error);
    if (status != DLOCK_OK)
        core_unlock(lock->factory);
    return status;
}

dlock_status dlock_acquire(dlock *lock, const dlock_acquire_options *options, dlock_error *error)
{
    struct machine_plan plan;
    const dlock_status status = enter_acquire(lock, options, &plan, error);
    if (status != DLOCK_OK)
        return status;
    struct call call = {.lock = lock, .kind = DLOCK_ACQUIRE};
    return run(&call, &plan, error);
}

dlock_status dlock_acquire_start(dlock *lock, const dlock_acquire_options *options, void *tag, dlock_error *error)
{
    struct machine_plan plan;
    const dlock_status status = enter_acquire(lock, options, &plan, error);
    if (status != DLOCK_OK)
        return status;
    plan.alarm = true;
    return start((struct call){.lock = lock, .kind = DLOCK_ACQUIRE, .tag = tag}, &plan, error);
}

/* Takes the mutex and makes the call that extends the lock. */
static dlock_status enter_extend(dlock *lock, uint32_t ttl_ms, struct call *ret, dlock_error *error)
{
    dlock_status status = enter(lock, true, error);
    if (status != DLOCK_OK)
        return status;
    *ret = (struct call){.lock = lock, .kind = DLOCK_EXTEND, .ttl_ms = ttl_ms ? ttl_ms : lock->machine.plan.ttl_ms};
    status = options_check_ttl(ret->ttl_ms, error);
    if (status != DLOCK_OK)
        core_unlock(lock->factory);
    return status;
}

dlock_status dlock_extend(dlock *lock, uint32_t ttl_ms, dlock_error *error)
{
    struct call call;
    const dlock_status status = enter_extend(lock, ttl_ms, &call, error);
    return status == DLOCK_OK ? run(&call, NULL, error) : status;
}

dlock_status dlock_extend_start(dlock *lock, uint32_t ttl_ms, void *tag, dlock_error *error)
{
    struct call call;
    const dlock_status status = enter_extend(lock, ttl_ms, &call, error);
    call.tag = tag;
    return status == DLOCK_OK ? start(call, NULL, error) : status;
}

dlock_status dlock_release(dlock *lock, dlock_error *error)
{
    const dlock_status status = enter(lock, true, error);
    if (status != DLOCK_OK)
        return status;
    struct call call = {.lock = lock, .kind = DLOCK_RELEASE};
    return run(&call, NULL, error);
}

dlock_status dlock_release_start(dlock *lock, void *tag, dlock_error *error)
{
    const dlock_status status = enter(lock, true, error);
    if (status != DLOCK_OK)
        return status;
    return start((struct call){.lock = lock, .kind = DLOCK_RELEASE, .tag = tag}, NULL, error);
}

void dlock_cancel(dlock *lock)
{
    if (!lock || core_enter(lock->factory, NULL) != DLOCK_OK)
        return;
    lock_cancel(lock);
    core_unlock(lock->factory);
}

dlock_status dlock_adopt(dlock *lock, const char *owner, dlock_error *error)
{
    if (!owner || !owner_valid(owner))
        return dlock_error_set(error, DLOCK_INVALID,
                               "an owner token is 1 to %d printable characters without spaces, as dlock_owner gives it",
                               DLOCK_OWNER_SIZE - 1);
    const dlock_status status = enter(lock, false, error);
    if (status != DLOCK_OK)
        return status;
    strcpy(lock->owner, owner);
    lock->fence = 0;
    lock->generation++;
    machine_adopt(&lock->machine, lock->factory->defaults.ttl_ms);
    core_unlock(lock->factory);
    return DLOCK_OK;
}

dlock_status dlock_detach(dlock *lock, dlock_error *error)
{
    const dlock_status status = enter(lock, true, error);
    if (status != DLOCK_OK)
        return status;
    lock_leave(lock);
    core_unlock(lock->factory);
    return DLOCK_OK;
}

static void free_forked(dlock *lock)
{
    core_free_forked(lock->factory);
    free(lock);
}

/* What the lock's user no longer wants to hear of, or to hold. */
static void abandon(dlock *lock)
{
    struct dlock_factory *core = lock->factory;
    lock->doomed = true;
    lock_drop_events(lock);
    if (lock->call) {
        lock_abort(lock);
        return;
    }
    if (lock->machine.state == MACHINE_FREE || core->closed)
        return;
    struct call call = {.lock = lock, .kind = DLOCK_RELEASE};
    carry_through(&call, NULL);
}

void dlock_free(dlock *lock)
{
    if (!lock)
        return;
    struct dlock_factory *core = lock->factory;
    if (core_forked(core)) {
        free_forked(lock);
        return;
    }
    core_lock(core);
    abandon(lock);
    lock_unref(lock);
    core_unlock(core);
}

const char *dlock_key(const dlock *lock)
{
    return lock ? lock->key : "";
}

const char *dlock_owner(const dlock *lock)
{
    return lock ? lock->owner : "";
}

/* What is left of validity, also when LOST was reported ahead of its end; then it is no longer held. */
static int64_t remaining_us(const dlock *lock, bool *ret_held)
{
    *ret_held = false;
    if (!lock || core_enter(lock->factory, NULL) != DLOCK_OK)
        return 0;
    const int64_t now = dlock_clock_us();
    const enum machine_state state = lock->machine.state;
    const bool valid = (state == MACHINE_HELD || state == MACHINE_LOST) && now < lock->machine.valid_until;
    const int64_t left = valid ? lock->machine.valid_until - now : 0;
    *ret_held = valid && state == MACHINE_HELD;
    core_unlock(lock->factory);
    return left;
}

int64_t dlock_remaining_ms(const dlock *lock)
{
    bool held;
    return remaining_us(lock, &held) / 1000;
}

bool dlock_is_held(const dlock *lock)
{
    bool held;
    remaining_us(lock, &held);
    return held;
}

uint64_t dlock_fence(const dlock *lock)
{
    if (!lock || core_enter(lock->factory, NULL) != DLOCK_OK)
        return 0;
    const uint64_t fence = lock->machine.state == MACHINE_HELD || lock->machine.state == MACHINE_LOST ? lock->fence : 0;
    core_unlock(lock->factory);
    return fence;
}
