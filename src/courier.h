/* courier.h - a thread that carries requests to the storage for those who do not wait: renewals of held locks (one
 * courier), asynchronous calls and what they leave behind (another). All that came in while it was out travel as one
 * batch. The thread is started with the first job; its session is its own. */
#ifndef DLOCK_SRC_COURIER_H
#define DLOCK_SRC_COURIER_H

#include "session.h"

#include <pthread.h>

#define COURIER_BATCH_MAX 128

/* A request with the strings that it points to, so that their owners may change or go while it is out. */
struct parcel {
    dlock_request request;
    char owner[DLOCK_OWNER_SIZE];
};

/* Part of whatever wants something carried; posted at most once at a time. Its functions are called with the mutex
 * held. */
struct job {
    struct job *next;
    bool (*fill)(struct job *job, struct parcel *parcel); /* false: no longer wanted, and the job may be gone */
    void (*answered)(struct job *job, const dlock_request *request);
};

struct courier {
    pthread_mutex_t *mutex; /* guards everything here; held by the caller of courier_post */
    pthread_cond_t wake;
    struct session session;
    struct parcel *parcels;
    struct job *first, *last;
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
