/* world.c - see world.h. */
#include "world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEPS_MAX  300000
#define LONGEST    (120 * SECONDS) /* after the end, until everything is at rest */
#define RATE_RANGE 4900            /* ppm: two clocks differ by less than 1 % */

/* ---- chance, time, events ---------------------------------------------------------------------------------------- */

/* splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators"). */
uint64_t world_chance(struct world *world)
{
    uint64_t z = world->chance += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

int64_t world_between(struct world *world, int64_t least, int64_t most)
{
    return least + (int64_t)(world_chance(world) % (uint64_t)(most - least + 1));
}

bool world_odds(struct world *world, unsigned per_mille)
{
    return world_between(world, 0, 999) < per_mille;
}

bool world_troubled(const struct world *world)
{
    return world->now < world->end;
}

static bool sooner(const struct event *a, const struct event *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void push(struct world *world, struct event event)
{
    if (world->event_count + 1 >= world->event_room) {
        world->event_room = world->event_room ? world->event_room * 2 : 256;
        world->events = realloc(world->events, world->event_room * sizeof event);
        if (!world->events)
            abort();
    }
    size_t i = ++world->event_count;
    for (; i > 1 && sooner(&event, &world->events[i / 2]); i /= 2)
        world->events[i] = world->events[i / 2];
    world->events[i] = event;
}

static struct event pop(struct world *world)
{
    const struct event first = world->events[1], last = world->events[world->event_count--];
    size_t i = 1;
    for (size_t child; (child = i * 2) <= world->event_count; i = child) {
        if (child < world->event_count && sooner(&world->events[child + 1], &world->events[child]))
            child++;
        if (!sooner(&world->events[child], &last))
            break;
        world->events[i] = world->events[child];
    }
    world->events[i] = last;
    return first;
}

void world_post(struct world *world, int64_t at, void (*run)(struct world *, void *, int64_t), void *subject,
                int64_t argument, struct client *client)
{
    push(world, (struct event){.at = at > world->now ? at : world->now,
                               .order = world->orders++,
                               .run = run,
                               .subject = subject,
                               .argument = argument,
                               .client = client,
                               .life = client ? client->life : 0});
}

void world_trace(const struct world *world, const char *format, ...)
{
    if (!world->traced)
        return;
    printf("# %11.3f ms  ", (double)world->now / 1000);
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
}

void world_fail(struct world *world, const char *format, ...)
{
    if (world->failure[0])
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(world->failure, sizeof world->failure, format, arguments);
    va_end(arguments);
    world_trace(world, "FAILED: %s", world->failure);
}

/* ---- faults ------------------------------------------------------------------------------------------------------ */

static struct client *any_client(struct world *world)
{
    return &world->clients[world_between(world, 0, (int64_t)world->client_count - 1)];
}

static void start_client(struct world *world, void *subject, int64_t argument)
{
    (void)argument;
    struct client *client = subject;
    if (!client->alive)
        client_start(world, client);
}

static void kill_client(struct world *world, struct client *client)
{
    if (!client->alive)
        return;
    client_kill(client);
    world->counts.deaths++;
    if (world_odds(world, 700))
        world_post(world, world->now + world_between(world, 0, 2 * SECONDS), start_client, client, 0, NULL);
}

static void pause_one(struct world *world)
{
    client_pause(any_client(world), world->now + world_between(world, 1 * MS, 3 * SECONDS));
}

static void kill_one(struct world *world)
{
    kill_client(world, any_client(world));
}

static void start_storage(struct world *world, void *subject, int64_t argument)
{
    (void)subject, (void)argument;
    storage_start(world);
}

static void restart(struct world *world)
{
    storage_stop(world);
    world_post(world, world->now + world_between(world, 1 * MS, 800 * MS), start_storage, NULL, 0, NULL);
}

static void reboot(struct world *world)
{
    storage_reboot(world);
    for (size_t i = 0; i < world->client_count; i++)
        kill_client(world, &world->clients[i]);
}

static void go_on(struct world *world, void *subject, int64_t rate_ppm)
{
    (void)subject;
    world_trace(world, "storage's clock goes on");
    storage_set_rate(world, rate_ppm);
}

static void stop_clock(struct world *world)
{
    if (world->storage.rate_ppm == 0)
        return;
    world_trace(world, "storage's clock stops");
    world_post(world, world->now + world_between(world, 1 * MS, 2 * SECONDS), go_on, NULL, world->storage.rate_ppm,
               NULL);
    storage_set_rate(world, 0);
}

static void jump_clock(struct world *world)
{
    const int64_t jump = world_between(world, -3 * SECONDS, 3 * SECONDS);
    world_trace(world, "storage's clock jumps by %lld ms", (long long)(jump / MS));
    world->storage.clock += jump;
}

static void break_one(struct world *world)
{
    storage_break(world, (size_t)world_between(world, 0, KEYS_MAX - 1));
}

static void hint_wrongly(struct world *world)
{
    struct client *client = any_client(world);
    if (client->alive && world->now >= client->paused_until)
        client_hint(client, (size_t)world_between(world, 0, KEYS_MAX - 1));
}

static const struct fault {
    size_t every; /* offset in the profile */
    void (*happen)(struct world *);
} FAULTS[] = {
    {offsetof(struct profile, every_wrong_hint), hint_wrongly},
    {offsetof(struct profile, every_pause), pause_one},
    {offsetof(struct profile, every_kill), kill_one},
    {offsetof(struct profile, every_restart), restart},
    {offsetof(struct profile, every_reboot), reboot},
    {offsetof(struct profile, every_clock_stop), stop_clock},
    {offsetof(struct profile, every_clock_jump), jump_clock},
    {offsetof(struct profile, every_break), break_one},
};

/* Posts the next time that a fault happens; and lets it happen, if there is one now. */
static void fault_due(struct world *world, void *subject, int64_t happens)
{
    const struct fault *fault = subject;
    int64_t every;
    memcpy(&every, (const char *)world->profile + fault->every, sizeof every);
    if (every == 0 || !world_troubled(world))
        return;
    if (happens)
        fault->happen(world);
    world_post(world, world->now + world_between(world, 1, 2 * every), fault_due, subject, true, NULL);
}

/* ---- a schedule -------------------------------------------------------------------------------------------------- */

static int64_t any_rate(struct world *world)
{
    return 1000000 + (world->profile->drifts ? world_between(world, -RATE_RANGE, RATE_RANGE) : 0);
}

static void populate(struct world *world)
{
    world->end = world_between(world, 3 * SECONDS, 8 * SECONDS);
    world->storage.rate_ppm = any_rate(world);
    world->client_count = (size_t)world_between(world, 1, CLIENTS_MAX);
    for (size_t i = 0; i < world->client_count; i++) {
        struct client *client = &world->clients[i];
        *client = (struct client){.world = world, .number = i, .rate_ppm = any_rate(world)};
        client->clock_ahead = world_between(world, 0, 1000 * SECONDS);
        client->timeout_ms = (uint32_t)world_between(world, 50, 500);
        client->watches = world_odds(world, 600);
        client_start(world, client);
    }
    for (size_t i = 0; i < sizeof FAULTS / sizeof FAULTS[0]; i++)
        fault_due(world, (void *)(uintptr_t)&FAULTS[i], false);
}

static void step(struct world *world)
{
    struct event event = pop(world);
    world->now = event.at;
    if (event.client && (!event.client->alive || event.life != event.client->life))
        return;
    if (event.client && world->now < event.client->paused_until) {
        event.at = event.client->paused_until;
        push(world, event); /* in its old order */
        return;
    }
    world->counts.steps++;
    event.run(world, event.subject, event.argument);
    judge_step(world);
}

static void deinit(struct world *world)
{
    for (size_t i = 0; i < world->client_count; i++)
        if (world->clients[i].alive)
            client_kill(&world->clients[i]);
    while (world->messages) {
        struct message *message = world->messages;
        world->messages = message->next;
        free(message);
    }
    free(world->events);
    free(world->judge.spent);
    free(world->judge.granted);
}

bool world_run(struct world *world, uint64_t seed, const struct profile *profile, bool traced)
{
    *world = (struct world){.profile = profile, .seed = seed, .chance = seed, .traced = traced};
    populate(world);
    while (world->event_count > 0 && !world->failure[0]) {
        step(world);
        if (world->now > world->end + LONGEST || world->counts.steps > STEPS_MAX)
            world_fail(world, "it does not come to rest");
    }
    judge_rest(world);
    deinit(world);
    return !world->failure[0];
}
