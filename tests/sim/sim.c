/* sim.c - runs schedules of many clients over a simulated storage, network and time, and checks after every step that
 * what the lock promises is kept (judge.c says what). Run by `make check`, and by hand:
 *
 *     sim                      some thousands of schedules, one TAP case for each kind of fault
 *     sim --seeds 1..100000    these
 *     sim --seed 4711 --trace  one, and all that happens in it. The seed decides everything, the kind of fault too
 */
#include "world.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_LAST 6000
#define ENOUGH       100 /* schedules of a kind, after which what it is for must have happened */

static const struct profile PROFILES[] = {
    {.name = "nothing goes wrong", .exclusive = true, .prompt = true, .calm = true},
    {.name = "requests, replies and hints are lost, late and overtaken",
     .lost_requests = 50,
     .lost_replies = 50,
     .slow_requests = 40,
     .resets = 30,
     .refusals = 20,
     .lost_hints = 300,
     .every_wrong_hint = 300 * MS,
     .exclusive = true},
    {.name = "several ask at once and get in each other's way",
     .lost_replies = 20,
     .slow_requests = 20,
     .contentions = 300,
     .exclusive = true},
    {.name = "processes stop and go on", .slow_requests = 10, .every_pause = 500 * MS, .exclusive = true},
    {.name = "processes die", .every_kill = 700 * MS, .exclusive = true, .prompt = true},
    {.name = "clocks drift, and the storage's stops",
     .every_clock_stop = 1500 * MS,
     .drifts = true,
     .exclusive = true,
     .prompt = true},
    {.name = "the storage restarts", .lost_hints = 100, .every_restart = 1 * SECONDS, .exclusive = true},
    {.name = "the machine reboots", .every_reboot = 2 * SECONDS, .exclusive = true, .prompt = true},
    {.name = "everything that is allowed goes wrong",
     .lost_requests = 30,
     .lost_replies = 30,
     .slow_requests = 40,
     .resets = 20,
     .refusals = 20,
     .lost_hints = 300,
     .every_wrong_hint = 500 * MS,
     .contentions = 50,
     .every_pause = 2 * SECONDS,
     .every_kill = 3 * SECONDS,
     .every_restart = 4 * SECONDS,
     .every_clock_stop = 4 * SECONDS,
     .drifts = true,
     .exclusive = true},
    {.name = "the storage's clock jumps, and locks are broken: fences still grow",
     .lost_replies = 20,
     .slow_requests = 20,
     .every_pause = 2 * SECONDS,
     .every_clock_jump = 1 * SECONDS,
     .every_break = 700 * MS},
};
enum { PROFILE_COUNT = sizeof PROFILES / sizeof PROFILES[0] };

static void add(struct counts *sum, const struct counts *counts)
{
    uint64_t *to = (uint64_t *)sum;
    for (size_t i = 0; i < sizeof *sum / sizeof *to; i++)
        to[i] += ((const uint64_t *)counts)[i];
}

/* Schedules in which nothing happens prove nothing. */
static const char *idle(const struct profile *profile, const struct counts *sum)
{
    if (sum->holds == 0 || sum->busy == 0 || sum->deferred_extends == 0)
        return "nobody held, or nobody waited, or nobody extended during a renewal";
    if (!profile->calm && sum->losses == 0)
        return "nobody lost a lock";
    if (profile->lost_requests && (sum->strays == 0 || sum->useless_grants == 0 || sum->left_behind == 0))
        return "no request was overtaken, or no grant came too late, or nothing was left behind";
    if (profile->contentions && sum->contentions == 0)
        return "nobody was in anybody's way";
    if ((profile->every_kill || profile->every_reboot) && sum->deaths == 0)
        return "nobody died";
    return NULL;
}

/* Runs the seeds of one profile; returns how many schedules failed. */
static int run_profile(size_t number, uint64_t first, uint64_t last, bool traced)
{
    const struct profile *profile = &PROFILES[number];
    struct counts sum = {0};
    uint64_t schedules = 0;
    int failures = 0;
    for (uint64_t seed = first; seed <= last && failures == 0; seed++) {
        struct world world;
        if (seed % PROFILE_COUNT != number)
            continue;
        schedules++;
        if (!world_run(&world, seed, profile, traced)) {
            failures++;
            printf("# seed %" PRIu64 " after %.3f ms: %s\n# replay it: sim --seed %" PRIu64 " --trace\n", seed,
                   (double)world.now / 1000, world.failure, seed);
        }
        add(&sum, &world.counts);
    }
    const char *reason = schedules >= ENOUGH && failures == 0 ? idle(profile, &sum) : NULL;
    if (reason)
        printf("# %s\n", reason);
    failures += reason != NULL;
    printf("# %" PRIu64 " schedules, %" PRIu64 " steps, %" PRIu64 " holds, %" PRIu64 " busy, %" PRIu64 " lost, %" PRIu64
           " granted too late, %" PRIu64 " strays, %" PRIu64 " left behind\n",
           schedules, sum.steps, sum.holds, sum.busy, sum.losses, sum.useless_grants, sum.strays, sum.left_behind);
    printf("%sok %zu - %s%s\n", failures ? "not " : "", number + 1, profile->name, schedules ? "" : " # SKIP no seed");
    fflush(stdout);
    return failures;
}

static bool parse(int argc, char **argv, uint64_t *first, uint64_t *last, bool *traced)
{
    for (int i = 1; i < argc; i++) {
        char *end = NULL;
        if (strcmp(argv[i], "--trace") == 0) {
            *traced = true;
        } else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
            *first = *last = strtoull(argv[++i], &end, 10);
        } else if (strcmp(argv[i], "--seeds") == 0 && i + 1 < argc) {
            *first = strtoull(argv[++i], &end, 10);
            if (strncmp(end, "..", 2) != 0)
                return false;
            *last = strtoull(end + 2, &end, 10);
        } else {
            return false;
        }
        if (end && *end)
            return false;
    }
    return *first <= *last;
}

int main(int argc, char **argv)
{
    uint64_t first = 1, last = DEFAULT_LAST;
    bool traced = false;
    int failures = 0;
    if (!parse(argc, argv, &first, &last, &traced)) {
        fprintf(stderr, "usage: sim [--seed N | --seeds A..B] [--trace]\n");
        return 64;
    }
    printf("1..%d\n", PROFILE_COUNT);
    for (size_t i = 0; i < PROFILE_COUNT; i++)
        failures += run_profile(i, first, last, traced);
    return failures ? 1 : 0;
}
