/* world.h - one simulated schedule: its time, its chance, its events, and everybody who lives in it.
 *
 * sim.c makes a world from a seed and lets it run; nothing in it depends on anything but the seed. Times are true
 * microseconds, which nobody in the world can see: clients and storage have clocks of their own. */
#ifndef DLOCK_SIM_WORLD_H
#define DLOCK_SIM_WORLD_H

#include "client.h"
#include "judge.h"
#include "storage.h"

#define MS      INT64_C(1000)
#define SECONDS INT64_C(1000000)

/* What goes wrong in a kind of schedule. Odds are per mille; `every_...` is the mean time between two, 0 = never. */
struct profile {
    const char *name;
    unsigned lost_requests, lost_replies, slow_requests, resets, refusals, lost_hints, contentions;
    int64_t every_wrong_hint, every_pause, every_kill, every_restart, every_reboot, every_clock_stop, every_clock_jump,
        every_break;
    bool drifts;    /* every clock has a rate of its own, within the allowance */
    bool exclusive; /* exclusion is promised: no fault is beyond what the lock is made for */
    bool prompt;    /* a key that is free is taken by who waits for it within the interval */
    bool calm;      /* nothing goes wrong at all */
};

struct event {
    int64_t at;
    uint64_t order;
    void (*run)(struct world *world, void *subject, int64_t argument);
    void *subject;
    int64_t argument;
    struct client *client; /* whose event it is; NULL = nobody's. It waits while the client is paused */
    uint32_t life;         /* and is dropped when that has died since */
};

struct counts {
    uint64_t steps, holds, busy, losses, useless_grants, strays, deferred_extends, left_behind, deaths, contentions;
};

struct world {
    const struct profile *profile;
    uint64_t seed, chance;
    int64_t now, end; /* from `end` on nothing goes wrong any more, and everybody finishes */
    bool traced;
    struct event *events; /* a binary heap from index 1 */
    size_t event_count, event_room;
    uint64_t orders;
    struct message *messages; /* a list of all that were ever sent */
    struct storage storage;
    struct client clients[CLIENTS_MAX];
    size_t client_count;
    struct judge judge;
    struct counts counts;
    char failure[256]; /* "" = none */
};

/* Runs the schedule of a seed. False if it failed; world->failure says why. */
bool world_run(struct world *world, uint64_t seed, const struct profile *profile, bool traced);

uint64_t world_chance(struct world *world);
int64_t world_between(struct world *world, int64_t least, int64_t most);
bool world_odds(struct world *world, unsigned per_mille);

/* Lets `run` happen at `at`. */
void world_post(struct world *world, int64_t at, void (*run)(struct world *, void *, int64_t), void *subject,
                int64_t argument, struct client *client);

/* Faults happen now? They end with the schedule's end, so that it comes to rest. */
bool world_troubled(const struct world *world);

void world_trace(const struct world *world, const char *format, ...) DLOCK_PRINTF(2, 3);
void world_fail(struct world *world, const char *format, ...) DLOCK_PRINTF(2, 3);

#endif
