/* storage.c - see storage.h. */
#include "world.h"

#include <stdlib.h>
#include <string.h>

/* ---- clock and life --------------------------------------------------------------------------------------------- */

int64_t storage_clock(const struct world *world)
{
    const struct storage *storage = &world->storage;
    return storage->clock + (world->now - storage->clock_read_at) * storage->rate_ppm / 1000000;
}

void storage_set_rate(struct world *world, int64_t rate_ppm)
{
    world->storage.clock = storage_clock(world);
    world->storage.clock_read_at = world->now;
    world->storage.rate_ppm = rate_ppm;
}

bool storage_live(const struct world *world, size_t key)
{
    const struct record *record = &world->storage.records[key];
    return record->owner && storage_clock(world) < record->expires_at;
}

void storage_stop(struct world *world)
{
    world->storage.down = true;
    world_trace(world, "storage is down");
    for (size_t i = 0; i < world->client_count; i++)
        client_unwatch(&world->clients[i]);
}

void storage_start(struct world *world)
{
    world->storage.down = false;
    world_trace(world, "storage is up");
}

void storage_break(struct world *world, size_t key)
{
    world_trace(world, "key %zu is taken away from o%llu", key, (unsigned long long)world->storage.records[key].owner);
    world->storage.records[key].owner = 0;
}

void storage_reboot(struct world *world)
{
    world_trace(world, "storage reboots");
    memset(world->storage.records, 0, sizeof world->storage.records);
    world->storage.epoch++;
    world->storage.counter = 0;
    world->storage.clock = 0;
    world->storage.clock_read_at = world->now;
}

/* ---- the contract ----------------------------------------------------------------------------------------------- */

static void acquire(struct world *world, struct item *item, bool stray)
{
    struct storage *storage = &world->storage;
    struct record *record = &storage->records[item->key];
    const bool live = storage_live(world, item->key);
    if (live && record->owner != item->owner) {
        item->status = DLOCK_BUSY;
        item->remaining_ms = (record->expires_at - storage_clock(world)) / 1000;
        return;
    }
    if (!live) {
        *record =
            (struct record){.owner = item->owner, .fence = storage->epoch << 40 | ++storage->counter, .stray = stray};
        world->counts.strays += stray;
    }
    record->expires_at = storage_clock(world) + item->ttl_ms * MS;
    item->status = DLOCK_OK;
    item->fence = record->fence;
}

static bool lost(struct world *world, unsigned per_mille)
{
    return world_troubled(world) && world_odds(world, per_mille);
}

/* As of a storage in several places of which others got some: it takes the grant back, or does not get to that. */
static void contend(struct world *world, struct item *item)
{
    item->contended = true;
    item->not_done = world_odds(world, 700);
    item->status = world_odds(world, 700) ? DLOCK_BUSY : DLOCK_UNAVAILABLE;
    item->remaining_ms = -1;
    if (item->not_done)
        world->storage.records[item->key].owner = 0;
    judge_spent(world, item->owner);
    world->counts.contentions++;
    world_trace(world, "storage: others got some of its places%s",
                item->not_done ? "" : ", and it may be left with some");
}

static void tell_watchers(struct world *world, size_t key);

static void execute(struct world *world, struct item *item, bool stray)
{
    struct record *record = &world->storage.records[item->key];
    const struct record before = *record;
    const bool owned = storage_live(world, item->key) && record->owner == item->owner;
    item->status = owned ? DLOCK_OK : DLOCK_LOST;
    item->not_done = item->contended = false;
    if (item->operation == DLOCK_ACQUIRE)
        acquire(world, item, stray);
    else if (owned && item->operation == DLOCK_EXTEND)
        record->expires_at = storage_clock(world) + item->ttl_ms * MS;
    else if (owned)
        record->owner = 0;
    static const char *const VERBS[] = {"acquire", "extend", "release"};
    world_trace(world, "storage: %s %zu for o%llu, ttl %u -> %s%s", VERBS[item->operation], item->key,
                (unsigned long long)item->owner, item->ttl_ms, dlock_status_name(item->status),
                stray ? " (its sender has given up)" : "");
    judge_executed(world, item, &before);
    if (item->operation == DLOCK_ACQUIRE && item->status == DLOCK_OK && !owned && !stray &&
        lost(world, world->profile->contentions))
        contend(world, item);
    if (before.owner && !record->owner)
        tell_watchers(world, item->key);
}

/* ---- the network ------------------------------------------------------------------------------------------------- */

static int64_t quickly(struct world *world)
{
    return world->now + world_between(world, 50, 2 * MS);
}

static int64_t on_its_way(struct world *world)
{
    if (world_troubled(world) && world_odds(world, world->profile->slow_requests))
        return world->now + world_between(world, 0, 1500 * MS);
    return quickly(world);
}

static void hint(struct world *world, void *subject, int64_t key)
{
    (void)world;
    client_hint(subject, (size_t)key);
}

static void tell_watchers(struct world *world, size_t key)
{
    for (size_t i = 0; i < world->client_count; i++) {
        struct client *client = &world->clients[i];
        if (client->alive && client_watched(client, key) && !lost(world, world->profile->lost_hints))
            world_post(world, on_its_way(world), hint, client, (int64_t)key, client);
    }
}

static void reply(struct world *world, void *subject, int64_t argument)
{
    (void)world, (void)argument;
    struct message *message = subject;
    if (!message->open)
        return;
    message->open = false;
    client_answered(message);
}

/* The sender gives up. What it sent may arrive all the same, unless it was `not_done`. */
static void give_up(struct world *world, void *subject, int64_t not_done)
{
    struct message *message = subject;
    if (!message->open)
        return;
    world_trace(world, "c%zu gives up %s", message->client->number,
                not_done ? "before it has sent" : "waiting for an answer");
    for (size_t i = 0; i < message->count; i++) {
        message->items[i].status = DLOCK_UNAVAILABLE;
        message->items[i].not_done = not_done;
    }
    message->open = false;
    client_answered(message);
}

static void arrive(struct world *world, void *subject, int64_t argument)
{
    (void)argument;
    struct message *message = subject;
    if (world->storage.down)
        return;
    for (size_t i = 0; i < message->count; i++)
        execute(world, &message->items[i], !message->open);
    if (!lost(world, world->profile->lost_replies))
        world_post(world, on_its_way(world), reply, message, 0, message->client);
}

void network_send(struct world *world, struct client *client, struct courier *courier, const struct item *items,
                  size_t count)
{
    struct message *message = malloc(sizeof *message + count * sizeof *items);
    if (!message)
        abort();
    *message =
        (struct message){.next = world->messages, .client = client, .courier = courier, .open = true, .count = count};
    memcpy(message->items, items, count * sizeof *items);
    world->messages = message;

    if (lost(world, world->profile->refusals) || (world->storage.down && world_odds(world, 700))) {
        world_post(world, quickly(world), give_up, message, true, client);
        return;
    }
    if (!lost(world, world->profile->lost_requests))
        world_post(world, on_its_way(world), arrive, message, 0, NULL);
    if (lost(world, world->profile->resets))
        world_post(world, quickly(world), give_up, message, false, client);
    world_post(world, client_when(client, client_clock(client) + client->timeout_ms * MS), give_up, message, false,
               client);
}

void network_forget(struct world *world, const struct client *client)
{
    for (struct message *message = world->messages; message; message = message->next)
        if (message->client == client)
            message->open = false;
}
