/* client.c - one process of a torture run: takes locks in every way that dlock.h offers, until its time is over.
 *
 * client WHO URL FOLDER END_US SEED KEYS TTL_MS TIMEOUT_MS: started by torture.py, which also kills and stops it at any
 * moment. SIGUSR1 asks it to stop itself where it hurts most: after it has looked at its lock, before it writes.
 *
 * All it knows of the lock it knows from dlock.h. Each thing that it does is a line in its history before, and one
 * after; README.md says what the lines mean. It judges nothing. */
#include "common.h"

#include <dlock.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEYS_MAX 16
#define LOOK_MS  10 /* between two looks at a lock that is held, and at the events */

/* A key, and this process's hold of it. */
struct place {
    uint32_t key;
    dlock *lock;
    unsigned hold;                 /* number of the hold, or of the last one; unique in this process */
    char former[DLOCK_OWNER_SIZE]; /* the owner of a hold that has ended; "" = none */
};

static struct client {
    dlock_factory *factory;
    struct chance chance;
    struct place places[KEYS_MAX];
    uint32_t keys, ttl_ms;
    int64_t end_us;
    unsigned holds;
    int fd; /* of the factory's events */

    /* The asynchronous call that runs: one at a time. */
    bool answered;
    dlock_error answer;
} client;

/* How a hold is to go; drawn before it begins, so that the seed decides it, whatever the others do. */
struct plan {
    bool asynchronous, waits, cancels;
    dlock_acquire_options options;
    uint32_t work_ms, extend_ms; /* extend_ms: 0 = is not extended by hand */
    enum ending { RELEASE, FREE, FORGET, EXPIRE } ending;
    enum stale { NOTHING, STALE_EXTEND, STALE_RELEASE } stale;
};

static volatile sig_atomic_t stop_at_write;

static void on_stop_at_write(int number)
{
    (void)number;
    stop_at_write = 1;
}

/* ---- events and looks ----------------------------------------------------------------------------------------------
 */

static struct place *place_of(const dlock *lock)
{
    for (uint32_t i = 0; i < client.keys; i++)
        if (client.places[i].lock == lock)
            return &client.places[i];
    die("an event of a lock that was freed");
}

static void take_events(void)
{
    dlock_event events[8];
    const int64_t since = now_us();
    const size_t count = dlock_factory_events(client.factory, events, 8);
    for (size_t i = 0; i < count; i++) {
        const struct place *place = place_of(events[i].lock);
        if (events[i].type == DLOCK_EVENT_LOST) {
            history("%u lost key-%u since=%" PRId64 " left=%" PRId64 " # %s", place->hold, place->key, since,
                    dlock_remaining_ms(place->lock), events[i].error.message);
        } else {
            client.answered = true;
            client.answer = events[i].error;
        }
    }
}

/* Waits for the end of the call that runs, until `until`. */
static void await_answer(int64_t until)
{
    while (!client.answered && now_us() < until) {
        poll(&(struct pollfd){.fd = client.fd, .events = POLLIN}, 1, LOOK_MS);
        take_events();
    }
}

/* The end of an asynchronous call whose start gave `started`. */
static dlock_status end_of_call(dlock_status started, dlock_error *error)
{
    if (started != DLOCK_OK)
        return started;
    await_answer(INT64_MAX);
    *error = client.answer;
    return error->status;
}

/* Returns whether it is held. If not, what was to be told of it has been taken. */
static bool look(const struct place *place)
{
    take_events();
    const int64_t since = now_us();
    const bool held = dlock_is_held(place->lock);
    const int64_t left = dlock_remaining_ms(place->lock);
    history("%u look key-%u since=%" PRId64 " held=%d left=%" PRId64, place->hold, place->key, since, held, left);
    if (!held)
        take_events();
    return held;
}

/* Passes the time, and takes events. Says so if it took much longer than it was to. */
static void nap(uint32_t ms)
{
    const int64_t before = now_us(), end = before + (int64_t)ms * 1000;
    for (int64_t now = before; now < end; now = now_us()) {
        poll(&(struct pollfd){.fd = client.fd, .events = POLLIN}, 1, (int)((end - now + 999) / 1000));
        take_events();
    }
    const int64_t late_ms = (now_us() - end) / 1000;
    if (late_ms >= 20)
        history("- stall - ms=%" PRId64, late_ms);
}

/* ---- calls, each with a line before and one after --------------------------------------------------------------- */

static dlock_status acquire(struct place *place, const struct plan *plan)
{
    dlock_error error = {.status = DLOCK_OK};
    const dlock_acquire_options *options = &plan->options;
    dlock_status status;

    place->hold = ++client.holds;
    history("%u asks key-%u call=acquire ttl=%u wait=%u retries=%u interval=%u renew=%d margin=%u async=%d",
            place->hold, place->key, options->ttl_ms, options->wait_ms, options->retries, options->interval_ms,
            options->renew, options->margin_ms, plan->asynchronous);
    if (plan->asynchronous) {
        client.answered = false;
        status = dlock_acquire_start(place->lock, options, NULL, &error);
        if (status == DLOCK_OK && plan->cancels) {
            await_answer(now_us() + (int64_t)plan->work_ms * 1000);
            dlock_cancel(place->lock);
        }
        status = end_of_call(status, &error);
    } else {
        status = dlock_acquire(place->lock, options, &error);
    }
    if (status == DLOCK_OK)
        history("%u told key-%u call=acquire status=OK fence=%" PRIu64 " owner=%s", place->hold, place->key,
                dlock_fence(place->lock), dlock_owner(place->lock));
    else
        history("%u told key-%u call=acquire status=%s holder=%s # %s", place->hold, place->key,
                dlock_status_name(status), error.holder.owner, error.message);
    return status;
}

static dlock_status extend(const struct place *place, dlock *lock, uint32_t ttl_ms, bool asynchronous)
{
    dlock_error error = {.status = DLOCK_OK};
    history("%u asks key-%u call=extend ttl=%u owner=%s", place->hold, place->key, ttl_ms, dlock_owner(lock));
    client.answered = false;
    dlock_status status =
        asynchronous ? dlock_extend_start(lock, ttl_ms, NULL, &error) : dlock_extend(lock, ttl_ms, &error);
    if (asynchronous)
        status = end_of_call(status, &error);
    history("%u told key-%u call=extend status=%s # %s", place->hold, place->key, dlock_status_name(status),
            status == DLOCK_OK ? "" : error.message);
    return status;
}

static dlock_status release(const struct place *place, dlock *lock, bool asynchronous)
{
    dlock_error error = {.status = DLOCK_OK};
    history("%u asks key-%u call=release owner=%s", place->hold, place->key, dlock_owner(lock));
    client.answered = false;
    dlock_status status = asynchronous ? dlock_release_start(lock, NULL, &error) : dlock_release(lock, &error);
    if (asynchronous)
        status = end_of_call(status, &error);
    history("%u told key-%u call=release status=%s # %s", place->hold, place->key, dlock_status_name(status),
            status == DLOCK_OK ? "" : error.message);
    return status;
}

static dlock *new_lock(uint32_t key)
{
    char name[32];
    dlock *lock = NULL;
    dlock_error error;
    snprintf(name, sizeof name, "key-%u", key);
    if (dlock_create(client.factory, name, &lock, &error) != DLOCK_OK)
        die("%s", error.message);
    return lock;
}

/* ---- a hold, from plan to end ----------------------------------------------------------------------------------- */

static struct plan make_plan(void)
{
    struct chance *chance = &client.chance;
    struct plan plan = {.options = DLOCK_ACQUIRE_OPTIONS_INIT};
    dlock_acquire_options *options = &plan.options;

    options->ttl_ms = client.ttl_ms * chance_between(chance, 1, 3) / 3;
    options->margin_ms = options->ttl_ms / 5;
    options->interval_ms = chance_between(chance, 50, 200);
    options->renew = chance_of(chance, 40);
    plan.asynchronous = chance_of(chance, 30);
    plan.cancels = chance_of(chance, 10);
    plan.waits = chance_of(chance, 60);
    options->wait_ms = plan.waits ? chance_between(chance, client.ttl_ms, 3 * client.ttl_ms) : 0;
    options->retries = chance_between(chance, 1, 4);
    plan.work_ms = chance_of(chance, options->renew ? 20 : 4) ? chance_below(chance, client.ttl_ms * 3 / 2)
                                                              : chance_below(chance, 20);
    plan.extend_ms = chance_of(chance, 30) ? client.ttl_ms * chance_between(chance, 1, 3) / 3 : 0;

    /* Seldom, since the key is taken until the ttl is over then. */
    const uint32_t ending = chance_below(chance, 1000);
    plan.ending = ending < 30 ? FREE : ending < 40 ? FORGET : ending < 50 ? EXPIRE : RELEASE;
    const uint32_t stale = chance_below(chance, 100);
    plan.stale = stale < 10 ? STALE_EXTEND : stale < 20 ? STALE_RELEASE : NOTHING;
    return plan;
}

/* One update of both tables, if the lock is held all through it as far as one can see. */
static void update(const struct place *place)
{
    const uint64_t fence = dlock_fence(place->lock);
    uint64_t fenced, unfenced;
    const bool admitted = fence > 0 && resource_read(RESOURCE_FENCED, place->key, fence, &fenced);
    resource_read(RESOURCE_UNFENCED, place->key, fence, &unfenced);
    nap(chance_below(&client.chance, LOOK_MS));
    if (!look(place))
        return;
    if (stop_at_write) {
        stop_at_write = 0;
        history("%u stops key-%u", place->hold, place->key);
        raise(SIGSTOP);
    }
    if (admitted)
        resource_write(RESOURCE_FENCED, place->key, fence, fenced + 1);
    resource_write(RESOURCE_UNFENCED, place->key, fence, unfenced + 1);
}

static void work(const struct place *place, const struct plan *plan)
{
    const int64_t end = now_us() + (int64_t)plan->work_ms * 1000;
    bool extended = plan->extend_ms == 0;
    while (look(place)) {
        update(place);
        if (!extended && dlock_is_held(place->lock)) {
            extend(place, place->lock, plan->extend_ms, plan->asynchronous);
            extended = true;
        } else if (now_us() >= end) {
            break;
        }
    }
}

static void finish(struct place *place, const struct plan *plan)
{
    snprintf(place->former, sizeof place->former, "%s", dlock_owner(place->lock));
    switch (plan->ending) {
    case FREE:
        history("%u asks key-%u call=free", place->hold, place->key);
        dlock_free(place->lock);
        history("%u told key-%u call=free status=-", place->hold, place->key);
        place->lock = new_lock(place->key);
        return;
    case FORGET: {
        dlock_error error;
        history("%u asks key-%u call=detach", place->hold, place->key);
        const dlock_status status = dlock_detach(place->lock, &error);
        history("%u told key-%u call=detach status=%s", place->hold, place->key, dlock_status_name(status));
        return;
    }
    case EXPIRE:
        if (!plan->options.renew) {
            while (look(place))
                nap(LOOK_MS);
            extend(place, place->lock, 0, plan->asynchronous);
        }
        break;
    case RELEASE:
        break;
    }
    release(place, place->lock, plan->asynchronous);
    take_events();
}

/* Somebody who was away for long comes back with an owner token of the past. */
static void try_former_owner(const struct place *place, const struct plan *plan)
{
    dlock *lock = new_lock(place->key);
    dlock_error error;
    history("%u adopts key-%u owner=%s", place->hold, place->key, place->former);
    if (dlock_adopt(lock, place->former, &error) != DLOCK_OK)
        die("%s", error.message);
    if (plan->stale == STALE_EXTEND)
        extend(place, lock, client.ttl_ms, false);
    else
        release(place, lock, false);
    dlock_free(lock);
}

static void turn(void)
{
    struct place *place = &client.places[chance_below(&client.chance, client.keys)];
    const struct plan plan = make_plan();
    const uint32_t pause = chance_below(&client.chance, 30);
    if (acquire(place, &plan) == DLOCK_OK) {
        work(place, &plan);
        finish(place, &plan);
    }
    if (plan.stale != NOTHING && place->former[0])
        try_former_owner(place, &plan);
    nap(pause);
}

/* A client named w... keeps a key of its own that nobody else wants: how long its calls take tells how fast the storage
 * is at the moment. Now and then it comes too late with an extend, which nobody else has made impossible. */
static void watch_storage(void)
{
    struct plan plan = {.options = {.size = sizeof plan.options, .retries = 1}};
    struct place place = {.key = RESOURCE_KEYS - 1, .lock = new_lock(RESOURCE_KEYS - 1)};
    while (now_us() < client.end_us) {
        const bool late = chance_of(&client.chance, 10);
        plan.options.ttl_ms = late ? 10 * LOOK_MS : client.ttl_ms;
        if (acquire(&place, &plan) == DLOCK_OK) {
            for (int i = 0; !late && i < 20 && extend(&place, place.lock, client.ttl_ms, false) == DLOCK_OK; i++)
                nap(LOOK_MS);
            snprintf(place.former, sizeof place.former, "%s", dlock_owner(place.lock));
            if (late) {
                nap(15 * LOOK_MS);
                try_former_owner(&place, &(struct plan){.stale = STALE_EXTEND});
            }
            release(&place, place.lock, false);
        }
        nap(LOOK_MS);
    }
    dlock_free(place.lock);
}

int main(int argc, char **argv)
{
    dlock_factory_options options = DLOCK_FACTORY_OPTIONS_INIT;
    dlock_error error;

    if (argc != 9)
        die("usage: client WHO URL FOLDER END_US SEED KEYS TTL_MS TIMEOUT_MS");
    history_open(argv[3], argv[1]);
    resource_connect(argv[3]);
    signal(SIGUSR1, on_stop_at_write);
    chance_init(&client.chance, argv[5]);
    client.end_us = strtoll(argv[4], NULL, 10);
    client.keys = (uint32_t)strtoul(argv[6], NULL, 10);
    client.ttl_ms = (uint32_t)strtoul(argv[7], NULL, 10);
    options.machine = argv[1];
    options.timeout_ms = (uint32_t)strtoul(argv[8], NULL, 10);
    if (client.keys < 1 || client.keys > KEYS_MAX)
        die("%s keys: expected 1 to %d", argv[6], KEYS_MAX);
    if (dlock_factory_open(argv[2], &options, &client.factory, &error) != DLOCK_OK)
        die("%s", error.message);
    client.fd = dlock_factory_fd(client.factory);
    for (uint32_t i = 0; i < client.keys; i++)
        client.places[i] = (struct place){.key = i, .lock = new_lock(i)};

    history("- starts -");
    if (argv[1][0] == 'w')
        watch_storage();
    while (now_us() < client.end_us)
        turn();
    dlock_factory_close(client.factory);
    for (uint32_t i = 0; i < client.keys; i++)
        dlock_free(client.places[i].lock);
    history("- ends -");
    return 0;
}
