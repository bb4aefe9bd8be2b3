/* user.c - those who use the locks of client.c: each does something, waits a while, and does something else. */
#include "world.h"

static const uint32_t TTLS[] = {100, 150, 300, 300, 1000, 3000};

static uint32_t any_ttl(struct world *world)
{
    return TTLS[world_between(world, 0, sizeof TTLS / sizeof TTLS[0] - 1)];
}

static struct machine_plan any_plan(struct world *world)
{
    struct machine_plan plan = {.ttl_ms = any_ttl(world),
                                .retries = (uint32_t)world_between(world, 1, 4),
                                .interval_ms = (uint32_t)world_between(world, 5, 300),
                                .renew = world_odds(world, 500)};
    if (world_odds(world, 300))
        plan.margin_ms = (uint32_t)world_between(world, 1, plan.ttl_ms / 2);
    if (world_odds(world, 600))
        plan.wait_ms = world_odds(world, 500) ? DLOCK_WAIT_FOREVER : (uint32_t)world_between(world, 1, 2000);
    return plan;
}

static void cancel(struct world *world, void *subject, int64_t calls)
{
    struct lock *lock = subject;
    if (calls != lock->calls || !lock->call.running)
        return;
    world_trace(world, "c%zu.l%zu cancels", lock->client->number, lock->number);
    lock_cancel(lock);
}

static void acquire(struct world *world, struct lock *lock)
{
    struct machine_plan plan = any_plan(world);
    plan.alarm = world_odds(world, 400);
    world_trace(world, "c%zu.l%zu acquires %zu: ttl %u, %s %u, interval %u, margin %u%s%s", lock->client->number,
                lock->number, lock->key, plan.ttl_ms, plan.wait_ms ? "wait" : "retries",
                plan.wait_ms ? plan.wait_ms : plan.retries, plan.interval_ms, plan.margin_ms,
                plan.renew ? ", renewed" : "", plan.alarm ? ", asynchronously" : "");
    lock_acquire(lock, &plan, plan.alarm);
    if (world_odds(world, 100))
        world_post(world, world->now + world_between(world, 0, 300 * MS), cancel, lock, lock->calls, lock->client);
}

static void begin(struct world *world, struct lock *lock)
{
    uint64_t *orphan = &world->judge.orphans[lock->key];
    if (!world_troubled(world)) {
        lock->done = true;
        judge_done(world);
    } else if (*orphan && world_odds(world, 500)) {
        world_trace(world, "c%zu.l%zu adopts o%llu", lock->client->number, lock->number, (unsigned long long)*orphan);
        lock_adopt(lock, *orphan);
        *orphan = 0;
        user_next(lock);
    } else {
        acquire(world, lock);
    }
}

/* Only where no request of the owner may still be on its way: its next user would not know of it. */
static bool can_detach(const struct world *world, const struct lock *lock)
{
    const struct machine *m = &lock->machine;
    return m->state == MACHINE_HELD && !m->extending && !m->stray_ttl_ms && !world->judge.orphans[lock->key];
}

static void go_on(struct world *world, struct lock *lock)
{
    const int64_t chance = world_between(world, 0, 99);
    if (chance < 45 || !world_troubled(world)) {
        world_trace(world, "c%zu.l%zu releases o%llu", lock->client->number, lock->number,
                    (unsigned long long)lock->owner);
        lock_release(lock, world_odds(world, 300));
    } else if (chance < 70) {
        const uint32_t ttl_ms = any_ttl(world);
        world_trace(world, "c%zu.l%zu extends o%llu to %u", lock->client->number, lock->number,
                    (unsigned long long)lock->owner, ttl_ms);
        lock_extend(lock, ttl_ms, world_odds(world, 300));
    } else if (chance < 75 && can_detach(world, lock)) {
        world_trace(world, "c%zu.l%zu detaches o%llu", lock->client->number, lock->number,
                    (unsigned long long)lock->owner);
        world->judge.orphans[lock->key] = lock->owner;
        lock_detach(lock);
        user_next(lock);
    } else {
        user_next(lock);
    }
}

static void act(struct world *world, void *subject, int64_t argument)
{
    (void)argument;
    struct lock *lock = subject;
    if (lock->machine.state == MACHINE_FREE)
        begin(world, lock);
    else
        go_on(world, lock);
}

void user_next(struct lock *lock)
{
    struct world *world = lock->client->world;
    const int64_t most = world_odds(world, 800) ? 100 * MS : 1000 * MS;
    world_post(world, world->now + world_between(world, 0, most), act, lock, 0, lock->client);
}
