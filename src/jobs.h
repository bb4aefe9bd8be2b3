/* jobs.h - what wants to be carried to the storage by somebody else, in a queue, and loaded from it as one batch.
 *
 * The courier and the errands have such a queue each. The queue, and the functions of a job, are under the
 * mutex of the factory; jobs_refuse touches nothing but the requests. */
#ifndef DLOCK_SRC_JOBS_H
#define DLOCK_SRC_JOBS_H

#include "dlock_storage.h"

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

struct jobs {
    struct job *first, *last;
    size_t count;
};

void jobs_add(struct jobs *jobs, struct job *job);

/* Takes up to `max` jobs off the queue and lets each fill a parcel; `loaded` and `requests` get those that are still
 * wanted. Returns how many. */
size_t jobs_load(struct jobs *jobs, size_t max, struct parcel *parcels, struct job **loaded, dlock_request **requests);

/* Answers a batch that is not carried any more, since the factory is closed and the storage does not answer. */
void jobs_refuse(dlock_request *const *requests, size_t count, bool not_done);

/* Hands out the answers of a batch. */
void jobs_answer(struct job *const *loaded, dlock_request *const *requests, size_t count);

#endif
