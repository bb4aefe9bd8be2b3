/* judge.c - see judge.h. */
#include "judge.h"

#include "lease.h"
#include "world.h"

#include <stdlib.h>
#include <string.h>

#define NETWORK    (20 * MS) /* there and back again, twice, in a schedule that is prompt */
#define ROUNDING   2         /* microseconds */
#define LONGEST_MS 20000     /* that a lease can last after the end, however the clock jumped */

static bool believes(const struct lock *lock)
{
    return lock->machine.state == MACHINE_HELD && client_clock(lock->client) < lock->machine.valid_until;
}

/* What it works with may still be in use: until its validity ends, also when LOST was told ahead of that. */
static bool relies(const struct lock *lock)
{
    return believes(lock) ||
           (lock->machine.state == MACHINE_LOST && client_clock(lock->client) < lock->machine.valid_until);
}

static bool guarded(const struct lock *lock)
{
    return lock->machine.plan.renew || lock->machine.plan.alarm;
}

/* A process that was stopped, and has not yet done all that it would have done meanwhile. */
static bool dazed(const struct client *client)
{
    return client->world->now <= client->paused_until;
}

static void fail(const struct lock *lock, const char *what)
{
    world_fail(lock->client->world, "c%zu.l%zu, owner o%llu of key %zu: %s", lock->client->number, lock->number,
               (unsigned long long)lock->owner, lock->key, what);
}

/* ---- after every step ----------------------------------------------------------------------------------------------
 */

/* Who relies on a hold has a lease in the storage, and will have it until its validity ends. Since a key has one
 * record, no two holds overlap. */
static void check_belief(const struct world *world, const struct lock *lock)
{
    const struct record *record = &world->storage.records[lock->key];
    if (!storage_live(world, lock->key) || record->owner != lock->owner) {
        fail(lock, "relies on a hold that the storage knows nothing of");
        return;
    }
    if (lock->fence && record->fence != lock->fence)
        fail(lock, "somebody else had the key since it was granted");
    const int64_t left = client_when(lock->client, lock->machine.valid_until) - world->now;
    if (storage_clock(world) + left * world->storage.rate_ppm / 1000000 > record->expires_at + ROUNDING)
        fail(lock, "relies on a hold for longer than the storage will know of it");
}

/* The key is free, and the first in a line asks within the interval: also after a holder's death, when the key is free
 * once its ttl is over. */
static void check_prompt(const struct world *world, struct lock *lock)
{
    const struct call *call = &lock->call;
    const bool first = call->running && call->place.line && call->place.line->first == &call->place;
    if (!first)
        lock->memory.first_since = -1;
    else if (lock->memory.first_since < 0)
        lock->memory.first_since = world->now;
    const int64_t free_since = world->judge.free_since[lock->key];
    if (!first || free_since < 0 || !world->profile->prompt)
        return;
    const int64_t since = free_since > lock->memory.first_since ? free_since : lock->memory.first_since;
    if (world->now - since > lock->machine.plan.interval_ms * MS * 101 / 100 + NETWORK)
        fail(lock, "waits for a key that is free");
}

static void check_lock(const struct world *world, struct lock *lock)
{
    if (world->profile->exclusive && relies(lock))
        check_belief(world, lock);
    if (lock->machine.state == MACHINE_HELD && guarded(lock) && !believes(lock) && !dazed(lock->client))
        fail(lock, "its validity is over, and LOST was not told");
    lock->memory.valid_until = lock->machine.valid_until;
    check_prompt(world, lock);
}

void judge_step(struct world *world)
{
    for (size_t key = 0; key < KEYS_MAX; key++) {
        int64_t *since = &world->judge.free_since[key];
        if (storage_live(world, key))
            *since = -1;
        else if (*since < 0)
            *since = world->now;
    }
    for (size_t i = 0; i < world->client_count; i++)
        for (size_t j = 0; j < world->clients[i].lock_count && world->clients[i].alive; j++)
            check_lock(world, &world->clients[i].locks[j]);
}

/* ---- requests ------------------------------------------------------------------------------------------------------
 */

static bool is_same(const struct record *a, const struct record *b)
{
    return a->owner == b->owner && a->fence == b->fence && a->expires_at == b->expires_at && a->stray == b->stray;
}

void judge_executed(struct world *world, const struct item *item, const struct record *before)
{
    const struct record *record = &world->storage.records[item->key];
    const bool changed = !is_same(before, record);
    if (changed && item->status != DLOCK_OK)
        world_fail(world, "a request for o%llu was refused, and changed something", (unsigned long long)item->owner);
    if (item->operation != DLOCK_ACQUIRE && item->status == DLOCK_OK && before->owner != item->owner)
        world_fail(world, "a stale request for o%llu was carried out", (unsigned long long)item->owner);
    if (item->operation != DLOCK_ACQUIRE || item->status != DLOCK_OK)
        return;
    if (record->fence == before->fence && before->owner == item->owner)
        return;
    if (item->fence <= world->judge.last_fence)
        world_fail(world, "fence %llu was given after %llu", (unsigned long long)item->fence,
                   (unsigned long long)world->judge.last_fence);
    world->judge.last_fence = item->fence;
}

static void make_room(struct judge *judge)
{
    if (judge->owners < judge->spent_room)
        return;
    const size_t room = (size_t)judge->owners * 2 + 256;
    judge->spent = realloc(judge->spent, room * sizeof *judge->spent);
    if (!judge->spent)
        abort();
    memset(judge->spent + judge->spent_room, 0, (room - judge->spent_room) * sizeof *judge->spent);
    judge->spent_room = room;
}

void judge_spent(struct world *world, uint64_t owner)
{
    make_room(&world->judge);
    world->judge.spent[owner] = true;
}

/* An acquire makes no attempt too many or too late, pauses as planned, and changes its owner only after a release. */
static void check_attempt(struct lock *lock)
{
    struct memory *memory = &lock->memory;
    const struct machine_plan *plan = &lock->machine.plan;
    const bool first = memory->attempts++ == 0;
    const uint64_t owner = memory->owner;
    memory->owner = lock->owner;
    if (!first && owner != lock->owner && !lock->client->world->judge.spent[owner])
        fail(lock, "asks anew, though the owner it had may still get the key");
    const int64_t now = client_clock(lock->client), paused = now - memory->answered_at;
    const bool punctual = !lock->call.asynchronous && memory->pauses == lock->client->pauses;
    if (plan->wait_ms) {
        if (punctual && lock->machine.deadline != LEASE_NEVER && now > lock->machine.deadline + 1 * MS)
            fail(lock, "asks after its deadline");
        return;
    }
    const int64_t interval = plan->interval_ms * MS;
    if (memory->attempts > plan->retries)
        fail(lock, "makes more attempts than it was given");
    if (!first && paused < interval)
        fail(lock, "did not pause between two attempts");
    /* Who was in others' way pauses up to a quarter longer. */
    if (!first && paused > interval + (lock->machine.contended ? interval / 4 : 0) + 1 * MS && punctual)
        fail(lock, "paused too long between two attempts");
}

void judge_sent(struct lock *lock, dlock_operation operation)
{
    struct world *world = lock->client->world;
    make_room(&world->judge);
    if (operation == DLOCK_RELEASE)
        judge_spent(world, lock->owner);
    else if (world->judge.spent[lock->owner])
        fail(lock, "uses an owner for which a release was sent");
    if (operation == DLOCK_ACQUIRE)
        check_attempt(lock);
    if (operation == DLOCK_EXTEND && lock->machine.state == MACHINE_FREE)
        fail(lock, "is renewed although it is not held");
}

void judge_answered(struct lock *lock)
{
    lock->memory.answered_at = client_clock(lock->client);
}

/* ---- how an acquire ends -------------------------------------------------------------------------------------------
 */

void judge_granted(struct lock *lock)
{
    struct world *world = lock->client->world;
    struct judge *judge = &world->judge;
    const struct place *place = &lock->call.place;
    world_trace(world, "c%zu.l%zu holds %zu as o%llu, fence %llu, for %lld ms", lock->client->number, lock->number,
                lock->key, (unsigned long long)lock->owner, (unsigned long long)lock->fence,
                (long long)((lock->machine.valid_until - client_clock(lock->client)) / MS));
    world->counts.holds++;
    if (!believes(lock))
        fail(lock, "was granted when its validity was over");
    if (lock->machine.cancelled)
        fail(lock, "was cancelled, and holds");
    if (place->line && place->line->first != place && lock->machine.sent_at < lock->machine.deadline)
        fail(lock, "was granted before those who stand before it in line");
    for (size_t i = 0; i < judge->granted_count; i++)
        if (judge->granted[i] == lock->fence)
            fail(lock, "has the fence of another hold");
    if (world->profile->exclusive && lock->fence <= judge->top_fence[lock->key])
        fail(lock, "has a fence below that of an earlier hold");
    judge->top_fence[lock->key] = lock->fence;
    if (judge->granted_count == judge->granted_room) {
        judge->granted_room = judge->granted_room * 2 + 64;
        judge->granted = realloc(judge->granted, judge->granted_room * sizeof *judge->granted);
        if (!judge->granted)
            abort();
    }
    judge->granted[judge->granted_count++] = lock->fence;
}

void judge_failed(struct lock *lock)
{
    const struct machine *m = &lock->machine;
    const struct client *client = lock->client;
    client->world->counts.busy += m->outcome == DLOCK_BUSY;
    if (m->outcome == DLOCK_CANCELLED)
        return;
    if (m->outcome != DLOCK_BUSY && m->outcome != DLOCK_UNAVAILABLE)
        fail(lock, "failed for no reason");
    if (m->outcome == DLOCK_UNAVAILABLE && client->world->profile->calm)
        fail(lock, "got no answer although nothing went wrong");
    if (lock->memory.attempts == 0)
        fail(lock, "failed without having asked");
    if (m->plan.wait_ms == 0 && lock->memory.attempts < m->plan.retries)
        fail(lock, "made fewer attempts than it was given");
    if (m->plan.wait_ms && client_clock(client) < m->deadline)
        fail(lock, "gave up before its deadline");
    if (m->plan.wait_ms && !lock->call.asynchronous && lock->memory.pauses == client->pauses &&
        client_clock(client) > m->deadline + 2 * client->timeout_ms * MS + 1 * MS)
        fail(lock, "gave up long after its deadline");
}

/* An owner that nobody will use any more, and that still has the key, is released in the background. Only a request
 * that arrives after its sender has given it up may take the key for nobody. */
void judge_given_up(struct lock *lock)
{
    const struct world *world = lock->client->world;
    const struct record *record = &world->storage.records[lock->key];
    if (lock->memory.attempts && storage_live(world, lock->key) && record->owner == lock->owner && !record->stray &&
        !lock->machine.leaves_behind && !world->judge.spent[lock->owner])
        fail(lock, "has the key, and gives it up without a release");
}

/* ---- how a hold ends ------------------------------------------------------------------------------------------------
 */

void judge_extended(struct lock *lock, dlock_status answer)
{
    if (answer == DLOCK_LOST && lock->machine.state == MACHINE_HELD)
        fail(lock, "goes on though the storage says that it does not hold");
}

void judge_lost(struct lock *lock)
{
    struct world *world = lock->client->world;
    const struct machine *m = &lock->machine;
    world_trace(world, "c%zu.l%zu has lost o%llu: %s", lock->client->number, lock->number,
                (unsigned long long)lock->owner, dlock_status_name(m->outcome));
    if (!guarded(lock))
        return;
    world->counts.losses++;
    if (lock->memory.lost_told)
        fail(lock, "is told LOST twice");
    lock->memory.lost_told = true;
    if (m->plan.renew && world->profile->calm)
        fail(lock, "is lost although nothing went wrong");
    if (m->outcome == DLOCK_UNAVAILABLE && client_clock(lock->client) >= lock->memory.valid_until &&
        !dazed(lock->client))
        fail(lock, "is told LOST when its validity is over");
    if (m->outcome == DLOCK_LOST && world->profile->exclusive && client_clock(lock->client) < lock->memory.valid_until)
        fail(lock, "is told by the storage that it does not hold while it did");
}

/* ---- the end
 * --------------------------------------------------------------------------------------------------------- */

void judge_done(struct world *world)
{
    for (size_t i = 0; i < world->client_count; i++)
        for (size_t j = 0; j < world->clients[i].lock_count; j++)
            if (!world->clients[i].locks[j].done)
                return;
    for (size_t key = 0; key < KEYS_MAX && world->profile->calm; key++) {
        const uint64_t owner = world->storage.records[key].owner;
        if (storage_live(world, key) && owner != world->judge.orphans[key])
            world_fail(world, "everybody has gone, and o%llu is left in the storage", (unsigned long long)owner);
    }
}

void judge_rest(struct world *world)
{
    if (world->failure[0])
        return;
    for (size_t i = 0; i < world->client_count; i++) {
        struct client *client = &world->clients[i];
        if (!client->alive)
            continue;
        for (size_t j = 0; j < client->lock_count; j++)
            if (!client->locks[j].done)
                fail(&client->locks[j], "nothing happens any more, and its user is not done");
        if (client->leftovers || client->renewals.first || client->errands.first || client->lines.count > 0)
            world_fail(world, "c%zu is not at rest", client->number);
    }
    world->now += LONGEST_MS * MS;
    for (size_t key = 0; key < KEYS_MAX; key++)
        if (storage_live(world, key))
            world_fail(world, "o%llu is left in the storage", (unsigned long long)world->storage.records[key].owner);
}
