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

static void *carry(void *arg)
{
    struct courier *courier = arg;
    bool gave_up = false; /* stopping, and the storage does not answer */
    pthread_mutex_lock(courier->mutex);
    while (courier->jobs.first || !courier->stopping) {
        if (!courier->jobs.first) {
            pthread_cond_wait(&courier->wake, courier->mutex);
            continue;
        }
        struct job *jobs[COURIER_BATCH_MAX];
        dlock_request *requests[COURIER_BATCH_MAX];
        const size_t count = jobs_load(&courier->jobs, COURIER_BATCH_MAX, courier->parcels, jobs, requests);
        pthread_mutex_unlock(courier->mutex);
        bool answered = true;
        if (gave_up)
            jobs_refuse(requests, count, true);
        else if (count > 0)
            answered = session_execute(&courier->session, requests, count);
        pthread_mutex_lock(courier->mutex);
        gave_up = courier->stopping && (gave_up || !answered);
        jobs_answer(jobs, requests, count);
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
    jobs_add(&courier->jobs, job);
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
