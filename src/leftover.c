/* leftover.c - see leftover.h. */
#include "leftover.h"

#include "container.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_PAUSE_US   50000
#define LONGEST_PAUSE_US 1000000

struct leftover {
    struct job job;
    struct timer timer;
    struct dlock_factory *core;
    struct leftover *before, *behind;
    int64_t until, pause;
    char owner[DLOCK_OWNER_SIZE];
    char key[];
};

static void forget(struct leftover *leftover)
{
    struct dlock_factory *core = leftover->core;
    if (leftover->before)
        leftover->before->behind = leftover->behind;
    else
        core->leftovers = leftover->behind;
    if (leftover->behind)
        leftover->behind->before = leftover->before;
    keeper_set(&core->keeper, &leftover->timer, INT64_MAX);
    keeper_unreserve(&core->keeper);
    free(leftover);
}

static void fill_request(const struct leftover *leftover, dlock_request *request)
{
    *request = (dlock_request){.operation = DLOCK_RELEASE, .key = leftover->key, .owner = leftover->owner};
}

static bool fill(struct job *job, struct parcel *parcel)
{
    fill_request((struct leftover *)job, &parcel->request);
    return true;
}

/* LOST may come before the request that it is about: only OK is the end. */
static void answered(struct job *job, const dlock_request *request)
{
    struct leftover *leftover = (struct leftover *)job;
    const int64_t next = dlock_clock_us() + leftover->pause;
    if (request->status == DLOCK_OK || next >= leftover->until) {
        forget(leftover);
        return;
    }
    leftover->pause = leftover->pause * 2 < LONGEST_PAUSE_US ? leftover->pause * 2 : LONGEST_PAUSE_US;
    if (!leftover->core->closed)
        keeper_set(&leftover->core->keeper, &leftover->timer, next);
}

static void due(struct timer *timer, int64_t now)
{
    (void)now;
    struct leftover *leftover = CONTAINER(timer, struct leftover, timer);
    errands_post(&leftover->core->errands, &leftover->job);
}

void leftover_add(struct dlock_factory *core, const char *key, const char *owner, int64_t until)
{
    if (dlock_clock_us() >= until || keeper_start(&core->keeper) != DLOCK_OK ||
        errands_start(&core->errands) != DLOCK_OK)
        return;
    const size_t size = strlen(key) + 1;
    struct leftover *leftover = malloc(sizeof *leftover + size);
    if (!leftover || !keeper_reserve(&core->keeper)) {
        free(leftover);
        return;
    }
    *leftover = (struct leftover){.job = {.fill = fill, .answered = answered},
                                  .timer = {.due = due},
                                  .core = core,
                                  .behind = core->leftovers,
                                  .until = until,
                                  .pause = FIRST_PAUSE_US};
    memcpy(leftover->owner, owner, sizeof leftover->owner);
    memcpy(leftover->key, key, size);
    if (core->leftovers)
        core->leftovers->before = leftover;
    core->leftovers = leftover;
    errands_post(&core->errands, &leftover->job);
}

void leftover_close(struct dlock_factory *core)
{
    bool reachable = true;
    while (core->leftovers) {
        dlock_request request, *const requests[] = {&request};
        /* forget takes the first one out of the list, which the analyzer does not follow. */
        fill_request(core->leftovers, &request); /* NOLINT(clang-analyzer-unix.Malloc) */
        if (reachable)
            exchange_carry(&core->exchange, requests, 1);
        reachable = reachable && request.status != DLOCK_UNAVAILABLE;
        forget(core->leftovers);
    }
}
