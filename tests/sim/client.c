/* client.c - see client.h. Function by function as src/lock.c and src/leftover.c, without threads. */
#include "client.h"

#include "lease.h"
#include "world.h"

#include <stdlib.h>

#define CONTAINER(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

#define FIRST_PAUSE_US   50000
#define LONGEST_PAUSE_US 1000000

static const char *const KEYS[KEYS_MAX] = {"0", "1", "2"};

static void carry_on(struct lock *lock, enum machine_todo todo);

/* ---- clock and timers -------------------------------------------------------------------------------------------- */

int64_t client_clock(const struct client *client)
{
    return client->clock_ahead + client->world->now * client->rate_ppm / 1000000;
}

int64_t client_when(const struct client *client, int64_t at)
{
    const int64_t elapsed = at - client->clock_ahead;
    return (elapsed * 1000000 + client->rate_ppm - 1) / client->rate_ppm;
}

static void lose(struct lock *lock);
static void renew(struct lock *lock);

static void set_timer(struct lock *lock);

static void timer_due(struct world *world, void *subject, int64_t timers)
{
    (void)world;
    struct lock *lock = subject;
    if (timers != lock->timers)
        return;
    switch (machine_wake(&lock->machine, client_clock(lock->client))) {
    case TODO_ACQUIRE:
        carry_on(lock, TODO_ACQUIRE);
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

static void set_timer(struct lock *lock)
{
    struct client *client = lock->client;
    lock->timers++;
    if (lock->machine.wake_at != LEASE_NEVER)
        world_post(client->world, client_when(client, lock->machine.wake_at), timer_due, lock, lock->timers, client);
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

/* The time that a thread takes to wake up. */
static int64_t soon(struct world *world)
{
    return world->now + world_between(world, 0, 200);
}

static void courier_go(struct world *world, void *subject, int64_t argument)
{
    (void)argument;
    struct courier *courier = subject;
    struct item items[BATCH_MAX];
    size_t count = 0;
    while (courier->first && count < BATCH_MAX) {
        struct job *job = courier->first;
        courier->first = job->next;
        if (!courier->first)
            courier->last = NULL;
        if (job->fill(job, &items[count]))
            items[count++].job = job;
    }
    courier->busy = count > 0;
    if (count > 0)
        network_send(world, courier->client, courier, items, count);
}

static void courier_wake(struct courier *courier)
{
    if (courier->busy || !courier->first)
        return;
    courier->busy = true;
    world_post(courier->client->world, soon(courier->client->world), courier_go, courier, 0, courier->client);
}

static void courier_post(struct courier *courier, struct job *job)
{
    job->next = NULL;
    if (courier->last)
        courier->last->next = job;
    else
        courier->first = job;
    courier->last = job;
    courier_wake(courier);
}

void client_answered(struct message *message)
{
    if (message->courier)
        message->courier->busy = false;
    for (size_t i = 0; i < message->count; i++)
        message->items[i].job->answered(message->items[i].job, &message->items[i]);
    if (message->courier)
        courier_wake(message->courier);
}

static void send_by_thread(struct world *world, void *subject, int64_t calls)
{
    struct lock *lock = subject;
    struct item item;
    if (calls != lock->calls || !lock->call.running)
        return;
    lock->call.job.fill(&lock->call.job, &item);
    item.job = &lock->call.job;
    network_send(world, lock->client, NULL, &item, 1);
}

static void send(struct lock *lock, dlock_operation request)
{
    struct client *client = lock->client;
    lock->call.request = request;
    if (lock->call.asynchronous)
        courier_post(&client->errands, &lock->call.job);
    else
        world_post(client->world, soon(client->world), send_by_thread, lock, lock->calls, client);
}

static enum machine_todo answer(struct lock *lock, const struct item *item)
{
    const dlock_request request = {.operation = item->operation,
                                   .status = item->status,
                                   .not_done = item->not_done,
                                   .contended = item->contended,
                                   .info = {.fence = item->fence, .remaining_ms = item->remaining_ms}};
    return machine_answer(&lock->machine, &request, client_clock(lock->client), world_chance(lock->client->world));
}

/* ---- leftovers ----------------------------------------------------------------------------------------------------
 */

static bool fill_leftover(struct job *job, struct item *item)
{
    const struct leftover *leftover = (struct leftover *)job;
    *item = (struct item){.operation = DLOCK_RELEASE, .key = leftover->key, .owner = leftover->owner};
    judge_spent(leftover->client->world, leftover->owner);
    return true;
}

static void forget(struct leftover *leftover)
{
    struct leftover **link = &leftover->client->leftovers;
    while (*link != leftover)
        link = &(*link)->next;
    *link = leftover->next;
    free(leftover);
}

static void leftover_due(struct world *world, void *subject, int64_t argument)
{
    (void)world, (void)argument;
    struct leftover *leftover = subject;
    courier_post(&leftover->client->errands, &leftover->job);
}

static void leftover_answered(struct job *job, const struct item *item)
{
    struct leftover *leftover = (struct leftover *)job;
    struct client *client = leftover->client;
    const int64_t next = client_clock(client) + leftover->pause;
    if (item->status == DLOCK_OK || next >= leftover->until) {
        forget(leftover);
        return;
    }
    leftover->pause = leftover->pause * 2 < LONGEST_PAUSE_US ? leftover->pause * 2 : LONGEST_PAUSE_US;
    world_post(client->world, client_when(client, next), leftover_due, leftover, 0, client);
}

static int64_t over_at(const struct lock *lock)
{
    const uint32_t asked = lock->machine.asked_ttl_ms, planned = lock->machine.plan.ttl_ms;
    return lock->machine.sent_at + (asked > planned ? asked : planned) * MS;
}

static void leave_over(struct lock *lock)
{
    struct client *client = lock->client;
    if (client_clock(client) >= over_at(lock))
        return;
    struct leftover *leftover = malloc(sizeof *leftover);
    if (!leftover)
        abort();
    *leftover = (struct leftover){.job = {.fill = fill_leftover, .answered = leftover_answered},
                                  .next = client->leftovers,
                                  .client = client,
                                  .key = lock->key,
                                  .owner = lock->owner,
                                  .until = over_at(lock),
                                  .pause = FIRST_PAUSE_US};
    client->leftovers = leftover;
    client->world->counts.left_behind++;
    courier_post(&client->errands, &leftover->job);
}

/* ---- the line, and watching ---------------------------------------------------------------------------------------
 */

static struct line *line_of(const struct client *client, size_t key)
{
    struct place *first = line_first(&client->lines, KEYS[key]);
    return first ? first->line : NULL;
}

static void hint_place(struct place *place)
{
    struct lock *lock = CONTAINER(place, struct lock, call.place);
    if (machine_hint(&lock->machine) == TODO_ACQUIRE) {
        set_timer(lock);
        carry_on(lock, TODO_ACQUIRE);
    }
}

void client_hint(struct client *client, size_t key)
{
    struct place *first = line_first(&client->lines, KEYS[key]);
    if (first)
        hint_place(first);
}

bool client_watched(const struct client *client, size_t key)
{
    const struct line *line = line_of(client, key);
    return line && line->watched;
}

static void watch(struct world *world, void *subject, int64_t key)
{
    struct client *client = subject;
    struct line *line = line_of(client, (size_t)key);
    if (!line || line->watched || world->storage.down)
        return;
    line->watched = true;
    world_trace(world, "c%zu watches %lld", client->number, (long long)key);
    hint_place(line->first);
}

static void want_watch(struct client *client, const struct line *line)
{
    if (client->watches && !line->watched)
        world_post(client->world, client->world->now + world_between(client->world, 0, 5 * MS), watch, client,
                   line->key[0] - '0', client);
}

static void unwatch(struct world *world, void *subject, int64_t argument)
{
    (void)world, (void)argument;
    struct client *client = subject;
    for (size_t key = 0; key < KEYS_MAX; key++)
        if (client_watched(client, key)) {
            line_of(client, key)->watched = false;
            client_hint(client, key);
        }
}

void client_unwatch(struct client *client)
{
    if (client->alive)
        world_post(client->world, client->world->now, unwatch, client, 0, client);
}

static void leave_line(struct lock *lock, bool granted)
{
    struct client *client = lock->client;
    struct line *line = lock->call.place.line;
    struct place *next = line_leave(&lock->call.place);
    if (!line->first) {
        line->watched = false;
        line_discard(&client->lines, line);
    } else if (next && granted) {
        struct lock *waiter = CONTAINER(next, struct lock, call.place);
        machine_turn(&waiter->machine, lock->machine.plan.ttl_ms, client_clock(client), world_chance(client->world));
        set_timer(waiter);
    } else if (next) {
        hint_place(next);
    }
}

/* ---- calls --------------------------------------------------------------------------------------------------------
 */

static void finish(struct lock *lock, dlock_status status)
{
    struct world *world = lock->client->world;
    world_trace(world, "c%zu.l%zu its call ends: %s", lock->client->number, lock->number, dlock_status_name(status));
    lock->call.running = false;
    set_timer(lock);
    if (lock->call.place.line)
        leave_line(lock, status == DLOCK_OK);
    user_next(lock);
}

static void prepare_owner(struct lock *lock)
{
    if (!lock->machine.owner_spent)
        return;
    judge_given_up(lock);
    if (lock->machine.leaves_behind)
        leave_over(lock);
    lock->owner = ++lock->client->world->judge.owners;
}

static void pause_call(struct lock *lock)
{
    if (lock->call.place.line && lock->machine.outcome == DLOCK_BUSY)
        want_watch(lock->client, lock->call.place.line);
    set_timer(lock);
}

static void carry_on(struct lock *lock, enum machine_todo todo)
{
    switch (todo) {
    case TODO_NOTHING:
        if (lock->machine.state == MACHINE_PAUSING)
            pause_call(lock);
        break;
    case TODO_ACQUIRE:
        prepare_owner(lock);
        send(lock, DLOCK_ACQUIRE);
        break;
    case TODO_RELEASE:
        lock->client->world->counts.useless_grants++;
        send(lock, DLOCK_RELEASE);
        break;
    case TODO_EXTEND:
        send(lock, DLOCK_EXTEND);
        break;
    case TODO_GRANTED:
        judge_granted(lock);
        finish(lock, DLOCK_OK);
        break;
    case TODO_FAILED:
        judge_failed(lock);
        judge_given_up(lock);
        if (lock->machine.leaves_behind)
            leave_over(lock);
        finish(lock, lock->machine.outcome);
        break;
    case TODO_LOST:
        finish(lock, DLOCK_LOST);
        break;
    }
}

static void lose(struct lock *lock)
{
    judge_lost(lock);
    set_timer(lock);
    if (lock->call.running && lock->call.deferred)
        finish(lock, DLOCK_LOST);
}

static void leave(struct lock *lock)
{
    machine_leave(&lock->machine);
    lock->generation++;
    set_timer(lock);
}

static bool fill_call(struct job *job, struct item *item)
{
    struct lock *lock = CONTAINER(job, struct lock, call.job);
    const struct call *call = &lock->call;
    const uint32_t ttl_ms = call->kind == DLOCK_EXTEND ? call->ttl_ms : lock->machine.plan.ttl_ms;
    *item = (struct item){.operation = call->request, .key = lock->key, .owner = lock->owner, .ttl_ms = ttl_ms};
    judge_sent(lock, call->request);
    if (call->kind != DLOCK_RELEASE)
        machine_sent(&lock->machine, ttl_ms, client_clock(lock->client));
    set_timer(lock);
    return true;
}

static void acquire_answered(struct lock *lock, const struct item *item)
{
    const struct line *line = lock->call.place.line;
    if (item->status == DLOCK_OK && lock->call.request == DLOCK_ACQUIRE)
        lock->fence = item->fence;
    lock->machine.watched = line && line->watched;
    judge_answered(lock);
    carry_on(lock, answer(lock, item));
}

static void extend_answered(struct lock *lock, const struct item *item)
{
    const bool was_held = lock->machine.state == MACHINE_HELD;
    const enum machine_todo todo = answer(lock, item);
    judge_extended(lock, item->status);
    if (todo == TODO_LOST)
        lose(lock);
    finish(lock, was_held && todo != TODO_LOST ? item->status : DLOCK_LOST);
}

static void release_answered(struct lock *lock, const struct item *item)
{
    if (item->status == DLOCK_OK)
        client_hint(lock->client, lock->key);
    else if (item->status != DLOCK_LOST)
        leave_over(lock);
    finish(lock, lock->call.was_lost ? DLOCK_LOST : item->status);
}

static void call_answered(struct job *job, const struct item *item)
{
    struct lock *lock = CONTAINER(job, struct lock, call.job);
    switch (lock->call.kind) {
    case DLOCK_EXTEND:
        extend_answered(lock, item);
        break;
    case DLOCK_RELEASE:
        release_answered(lock, item);
        break;
    default:
        acquire_answered(lock, item);
    }
}

/* ---- renewal ------------------------------------------------------------------------------------------------------
 */

static bool renewal_wanted(const struct lock *lock)
{
    return lock->generation == lock->renewal_generation && lock->machine.state == MACHINE_HELD;
}

static bool fill_renewal(struct job *job, struct item *item)
{
    struct lock *lock = CONTAINER(job, struct lock, renewal);
    lock->renewal_posted = renewal_wanted(lock);
    if (!lock->renewal_posted)
        return false;
    const uint32_t ttl_ms = lock->machine.plan.ttl_ms;
    *item = (struct item){.operation = DLOCK_EXTEND, .key = lock->key, .owner = lock->owner, .ttl_ms = ttl_ms};
    judge_sent(lock, DLOCK_EXTEND);
    machine_sent(&lock->machine, ttl_ms, client_clock(lock->client));
    set_timer(lock);
    return true;
}

static void renewal_answered(struct job *job, const struct item *item)
{
    struct lock *lock = CONTAINER(job, struct lock, renewal);
    lock->renewal_posted = false;
    if (!renewal_wanted(lock))
        return;
    const enum machine_todo todo = answer(lock, item);
    judge_extended(lock, item->status);
    if (todo == TODO_LOST) {
        lose(lock);
        return;
    }
    set_timer(lock);
    if (lock->call.running && lock->call.deferred) {
        lock->call.deferred = false;
        carry_on(lock, machine_extend(&lock->machine));
    }
}

static void renew(struct lock *lock)
{
    if (lock->renewal_posted) {
        const struct item none = {.operation = DLOCK_EXTEND, .status = DLOCK_UNAVAILABLE, .not_done = true};
        answer(lock, &none);
    } else {
        lock->renewal_posted = true;
        lock->renewal_generation = lock->generation;
        courier_post(&lock->client->renewals, &lock->renewal);
    }
    set_timer(lock);
}

/* ---- what users ask for --------------------------------------------------------------------------------------------
 */

static void start(struct lock *lock, struct call call)
{
    lock->call = call;
    lock->call.running = true;
    lock->call.job = (struct job){.fill = fill_call, .answered = call_answered};
    lock->calls++;
}

void lock_acquire(struct lock *lock, const struct machine_plan *plan, bool asynchronous)
{
    struct client *client = lock->client;
    start(lock, (struct call){.kind = DLOCK_ACQUIRE, .asynchronous = asynchronous});
    if (plan->wait_ms && !line_join(&client->lines, &lock->call.place, KEYS[lock->key]))
        abort();
    lock->generation++;
    lock->fence = 0;
    lock->memory = (struct memory){.first_since = -1, .pauses = client->pauses};
    carry_on(lock, machine_acquire(&lock->machine, plan, lock->call.place.before != NULL, client_clock(client)));
}

void lock_extend(struct lock *lock, uint32_t ttl_ms, bool asynchronous)
{
    start(lock, (struct call){.kind = DLOCK_EXTEND, .ttl_ms = ttl_ms, .asynchronous = asynchronous});
    if (lock->machine.state == MACHINE_LOST) {
        finish(lock, DLOCK_LOST);
        return;
    }
    const enum machine_todo todo = machine_extend(&lock->machine);
    lock->call.deferred = todo == TODO_NOTHING;
    lock->client->world->counts.deferred_extends += lock->call.deferred;
    carry_on(lock, todo);
}

void lock_release(struct lock *lock, bool asynchronous)
{
    const bool told = lock->machine.state == MACHINE_LOST && lock->machine.outcome == DLOCK_LOST;
    start(lock, (struct call){.kind = DLOCK_RELEASE,
                              .asynchronous = asynchronous,
                              .was_lost = lock->machine.state == MACHINE_LOST});
    leave(lock);
    if (told)
        finish(lock, DLOCK_LOST);
    else
        send(lock, DLOCK_RELEASE);
}

void lock_adopt(struct lock *lock, uint64_t owner)
{
    lock->owner = owner;
    lock->fence = 0;
    lock->generation++;
    lock->memory = (struct memory){.first_since = -1};
    machine_adopt(&lock->machine, DLOCK_DEFAULT_TTL_MS);
}

void lock_detach(struct lock *lock)
{
    leave(lock);
}

void lock_cancel(struct lock *lock)
{
    if (lock->call.running && lock->call.kind == DLOCK_ACQUIRE)
        carry_on(lock, machine_cancel(&lock->machine));
}

/* ---- life and death ------------------------------------------------------------------------------------------------
 */

void client_start(struct world *world, struct client *client)
{
    client->alive = true;
    client->paused_until = 0;
    client->lines = (struct lines){0};
    client->renewals = client->errands = (struct courier){.client = client};
    client->lock_count = (size_t)world_between(world, 1, LOCKS_MAX);
    world_trace(world, "c%zu starts: %zu locks, timeout %u ms", client->number, client->lock_count, client->timeout_ms);
    for (size_t i = 0; i < client->lock_count; i++) {
        struct lock *lock = &client->locks[i];
        *lock = (struct lock){.client = client, .number = i, .key = (size_t)world_between(world, 0, KEYS_MAX - 1)};
        lock->machine.wake_at = LEASE_NEVER;
        lock->memory.first_since = -1;
        lock->renewal = (struct job){.fill = fill_renewal, .answered = renewal_answered};
        user_next(lock);
    }
}

void client_kill(struct client *client)
{
    world_trace(client->world, "c%zu dies", client->number);
    client->alive = false;
    client->life++;
    network_forget(client->world, client);
    lines_deinit(&client->lines);
    while (client->leftovers)
        forget(client->leftovers); /* NOLINT(clang-analyzer-unix.Malloc): it takes the first one out of the list */
}

void client_pause(struct client *client, int64_t until)
{
    if (!client->alive || client->world->now < client->paused_until)
        return;
    client->paused_until = until;
    client->pauses++;
    world_trace(client->world, "c%zu is paused until %.3f ms", client->number, (double)until / 1000);
}
