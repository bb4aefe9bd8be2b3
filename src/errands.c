/* errands.c - see errands.h. */
#include "errands.h"

#include "container.h"
#include "fleet.h"
#include "lease.h"
#include "thread.h"

#include <stdlib.h>

#define PATIENCE_US 50000

/* The user has not looked for events since it was sent. */
static void run_out(struct timer *timer, int64_t now)
{
    (void)now;
    struct lane *lane = CONTAINER(timer, struct lane, patience);
    if (lane->state != LANE_OUT)
        return;
    lane->state = LANE_LEFT;
    pthread_cond_signal(&lane->errands->wake);
}

void errands_init(struct errands *errands, pthread_mutex_t *mutex, const struct session_source *source,
                  struct keeper *keeper, struct events *events)
{
    *errands = (struct errands){.mutex = mutex, .keeper = keeper, .events = events, .patience_us = PATIENCE_US};
    pthread_cond_init(&errands->wake, NULL);
    for (struct lane *lane = errands->lanes; lane < errands->lanes + ERRANDS_LANES; lane++)
        *lane = (struct lane){
            .errands = errands, .session = {.source = source}, .watched = -1, .patience = {.due = run_out}};
}

void errands_deinit(struct errands *errands)
{
    for (struct lane *lane = errands->lanes; lane < errands->lanes + ERRANDS_LANES; lane++) {
        session_close(&lane->session);
        free(lane->parcels);
    }
    pthread_cond_destroy(&errands->wake);
}

static struct lane *find_lane(struct errands *errands, enum lane_state state)
{
    for (struct lane *lane = errands->lanes; lane < errands->lanes + ERRANDS_LANES; lane++)
        if (lane->state == state)
            return lane;
    return NULL;
}

/* Loads what waits. False if none of it is wanted any more. */
static bool load(struct lane *lane)
{
    lane->begun = false;
    lane->count = jobs_load(&lane->errands->jobs, ERRANDS_BATCH_MAX, lane->parcels, lane->jobs, lane->requests);
    return lane->count > 0;
}

/* Events are to tell of its answers, too. */
static void watch(struct lane *lane)
{
    lane->watched = session_descriptor(&lane->session);
    if (lane->watched >= 0 && !events_watch(lane->errands->events, lane->watched))
        lane->watched = -1;
}

/* Everything of it is answered. */
static void unload(struct lane *lane)
{
    keeper_set(lane->errands->keeper, &lane->patience, LEASE_NEVER);
    jobs_answer(lane->jobs, lane->requests, lane->count);
    lane->count = 0;
    if (!lane->session.memory)
        lane->watched = -1;
    lane->state = LANE_IDLE;
}

/* ---- without waiting ----------------------------------------------------------------------------------------------
 */

static void begin(struct lane *lane)
{
    struct errands *errands = lane->errands;
    lane->state = LANE_AT_WORK;
    pthread_mutex_unlock(errands->mutex);
    lane->begun = session_begin(&lane->session, lane->requests, lane->count);
    pthread_mutex_lock(errands->mutex);
    const int descriptor = session_descriptor(&lane->session);
    if (!lane->begun || descriptor < 0) {
        lane->state = LANE_LEFT;
        pthread_cond_signal(&errands->wake);
        return;
    }
    lane->state = LANE_OUT;
    keeper_set(errands->keeper, &lane->patience, dlock_clock_us() + errands->patience_us);
    if (lane->watched != descriptor)
        watch(lane);
}

void errands_attend(struct errands *errands)
{
    errands->attended = true;
}

/* Enough for a lane of their own. What is left to our thread may take long, so it holds nobody back. */
static bool are_enough(const struct errands *errands)
{
    struct fleet out = {0};
    for (const struct lane *lane = errands->lanes; lane < errands->lanes + ERRANDS_LANES; lane++)
        if (lane->state == LANE_OUT)
            fleet_set_out(&out, lane->count);
    return errands->jobs.count > 0 && fleet_may_set_out(&out, errands->jobs.count);
}

static void send(struct errands *errands)
{
    for (struct lane *lane; are_enough(errands) && (lane = find_lane(errands, LANE_IDLE));) {
        if (!session_can_begin(&lane->session)) {
            pthread_cond_signal(&errands->wake);
            return;
        }
        if (load(lane))
            begin(lane);
    }
}

void errands_send(struct errands *errands)
{
    errands->attended = false;
    send(errands);
}

/* Goes on with a lane that is out, or idle. Returns whether all of its batch is answered. */
static bool proceed(struct lane *lane)
{
    struct errands *errands = lane->errands;
    const enum lane_state state = lane->state;
    lane->state = LANE_AT_WORK;
    pthread_mutex_unlock(errands->mutex);
    const bool done = session_proceed(&lane->session, lane->requests, lane->count, false);
    pthread_mutex_lock(errands->mutex);
    lane->state = state;
    return done;
}

void errands_read(struct errands *errands)
{
    bool answered = false;
    for (struct lane *lane = errands->lanes; lane < errands->lanes + ERRANDS_LANES; lane++)
        if (lane->state == LANE_OUT && proceed(lane)) {
            unload(lane);
            answered = true;
        }
    /* What made the descriptor readable may be the end of a connection that nobody uses. */
    for (struct lane *lane = errands->lanes; !answered && lane < errands->lanes + ERRANDS_LANES; lane++)
        if (lane->state == LANE_IDLE && lane->watched >= 0) {
            proceed(lane);
            lane->watched = session_descriptor(&lane->session);
            if (lane->watched < 0)
                session_close(&lane->session);
        }
}

/* ---- our thread ---------------------------------------------------------------------------------------------------
 */

/* What it has to do next; NULL = nothing. */
static struct lane *next_lane(struct errands *errands)
{
    struct lane *lane = find_lane(errands, LANE_LEFT);
    if (!lane && errands->stopping && (lane = find_lane(errands, LANE_OUT)))
        lane->state = LANE_LEFT;
    while (!lane && errands->jobs.first) {
        struct lane *idle = find_lane(errands, LANE_IDLE);
        if (!idle)
            break;
        if (load(idle))
            lane = idle;
    }
    return lane;
}

/* Waits for the answers. False if there are none. */
static bool carry_through(struct lane *lane)
{
    struct errands *errands = lane->errands;
    lane->state = LANE_AT_WORK;
    pthread_mutex_unlock(errands->mutex);
    if (lane->begun)
        session_proceed(&lane->session, lane->requests, lane->count, true);
    else
        session_execute(&lane->session, lane->requests, lane->count);
    bool answered = true;
    for (size_t i = 0; i < lane->count; i++)
        answered &= lane->requests[i]->status != DLOCK_UNAVAILABLE;
    pthread_mutex_lock(errands->mutex);
    watch(lane); /* it may be another connection now */
    unload(lane);
    return answered;
}

static void *run(void *arg)
{
    struct errands *errands = arg;
    bool gave_up = false; /* stopping, and the storage does not answer */
    pthread_mutex_lock(errands->mutex);
    for (;;) {
        struct lane *lane = next_lane(errands);
        if (!lane && errands->stopping)
            break;
        if (!lane) {
            pthread_cond_wait(&errands->wake, errands->mutex);
        } else if (gave_up) {
            jobs_refuse(lane->requests, lane->count, !lane->begun);
            unload(lane);
        } else {
            if (lane->begun)
                send(errands); /* what was held back for it */
            const bool answered = carry_through(lane);
            gave_up = errands->stopping && !answered;
        }
    }
    pthread_mutex_unlock(errands->mutex);
    return NULL;
}

dlock_status errands_start(struct errands *errands)
{
    if (errands->started)
        return DLOCK_OK;
    for (struct lane *lane = errands->lanes; lane < errands->lanes + ERRANDS_LANES; lane++) {
        if (lane->parcels)
            continue;
        lane->parcels = calloc(ERRANDS_BATCH_MAX, sizeof *lane->parcels);
        if (!lane->parcels || !keeper_reserve(errands->keeper)) {
            free(lane->parcels);
            lane->parcels = NULL;
            return DLOCK_NOMEM;
        }
    }
    if (!thread_start(&errands->thread, run, errands))
        return DLOCK_NOMEM;
    errands->started = true;
    return DLOCK_OK;
}

void errands_post(struct errands *errands, struct job *job)
{
    jobs_add(&errands->jobs, job);
    if (!errands->attended)
        pthread_cond_signal(&errands->wake);
}

void errands_stop(struct errands *errands)
{
    pthread_mutex_lock(errands->mutex);
    const bool started = errands->started;
    errands->stopping = true;
    pthread_cond_signal(&errands->wake);
    pthread_mutex_unlock(errands->mutex);
    if (started)
        pthread_join(errands->thread, NULL);
}
