/* courier.c - see courier.h. */
#include "courier.h"

#include "thread.h"

#include <stdlib.h>

void courier_init(struct courier *courier, pthread_mutex_t *mutex, const struct session_source *source)
{
    *courier = (struct courier){.mutex = mutex, .session = {.source = source}};
    pthread_cond_init(&courier->wake, NULL);
}

void courier_deinit(struct courier *courier)
{
    session_close(&courier->session);
    pthread_cond_destroy(&courier->wake);
    free(courier->parcels);
}

/* Takes up to a batch of jobs off the queue and lets each fill its parcel. */
static size_t fill_batch(struct courier *courier, struct job **jobs, dlock_request **requests)
{
    size_t count = 0;
    while (courier->first && count < COURIER_BATCH_MAX) {
        struct job *job = courier->first;
        courier->first = job->next;
        if (!courier->first)
            courier->last = NULL;
        struct parcel *parcel = &courier->parcels[count];
        if (!job->fill(job, parcel))
            continue;
        jobs[count] = job;
        requests[count] = &parcel->request;
        count++;
    }
    return count;
}

static void *carry(void *arg)
{
    struct courier *courier = arg;
    bool gave_up = false; /* stopping, and the storage does not answer */
    pthread_mutex_lock(courier->mutex);
    while (courier->first || !courier->stopping) {
        if (!courier->first) {
            pthread_cond_wait(&courier->wake, courier->mutex);
            continue;
        }
        struct job *jobs[COURIER_BATCH_MAX];
        dlock_request *requests[COURIER_BATCH_MAX];
        const size_t count = fill_batch(courier, jobs, requests);
        pthread_mutex_unlock(courier->mutex);
        bool answered = true;
        if (gave_up)
            for (size_t i = 0; i < count; i++) {
                dlock_request_fail(requests[i], DLOCK_UNAVAILABLE, "the factory is closed");
                requests[i]->not_done = true;
            }
        else if (count > 0)
            answered = session_execute(&courier->session, requests, count);
        pthread_mutex_lock(courier->mutex);
        gave_up = courier->stopping && (gave_up || !answered);
        for (size_t i = 0; i < count; i++)
            jobs[i]->answered(jobs[i], requests[i]);
    }
    pthread_mutex_unlock(courier->mutex);
    return NULL;
}

dlock_status courier_start(struct courier *courier)
{
    if (courier->started)
        return DLOCK_OK;
    if (!courier->parcels)
        courier->parcels = calloc(COURIER_BATCH_MAX, sizeof(struct parcel));
    if (!courier->parcels || !thread_start(&courier->thread, carry, courier))
        return DLOCK_NOMEM;
    courier->started = true;
    return DLOCK_OK;
}

void courier_post(struct courier *courier, struct job *job)
{
    job->next = NULL;
    if (courier->last)
        courier->last->next = job;
    else
        courier->first = job;
    courier->last = job;
    pthread_cond_signal(&courier->wake);
}

void courier_stop(struct courier *courier)
{
    pthread_mutex_lock(courier->mutex);
    const bool started = courier->started;
    courier->stopping = true;
    pthread_cond_signal(&courier->wake);
    pthread_mutex_unlock(courier->mutex);
    if (started)
        pthread_join(courier->thread, NULL);
}
