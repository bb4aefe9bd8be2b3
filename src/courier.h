/* courier.h - a thread that carries the renewals of held locks to the storage. All that came in while it was out travel
 * as one batch. The thread is started with the first job; its session is its own. */
#ifndef DLOCK_SRC_COURIER_H
#define DLOCK_SRC_COURIER_H

#include "jobs.h"
#include "session.h"

#include <pthread.h>

#define COURIER_BATCH_MAX 128

struct courier {
    pthread_mutex_t *mutex; /* guards everything here; held by the caller of courier_post */
    pthread_cond_t wake;
    struct session session;
    struct parcel *parcels;
    struct jobs jobs;
    pthread_t thread;
    bool started, stopping;
};

void courier_init(struct courier *courier, pthread_mutex_t *mutex, const struct session_source *source);

/* Carries what is posted, unless the storage does not answer, then ends the thread. The mutex must not be held. */
void courier_stop(struct courier *courier);
void courier_deinit(struct courier *courier);

/* Starts the thread if it does not run. NOMEM = no thread or memory to be had. */
dlock_status courier_start(struct courier *courier);

/* Hands over a job; the courier must have been started. */
void courier_post(struct courier *courier, struct job *job);

#endif
