/* jobs.c - see jobs.h. */
#include "jobs.h"

void jobs_add(struct jobs *jobs, struct job *job)
{
    job->next = NULL;
    if (jobs->last)
        jobs->last->next = job;
    else
        jobs->first = job;
    jobs->last = job;
    jobs->count++;
}

size_t jobs_load(struct jobs *jobs, size_t max, struct parcel *parcels, struct job **loaded, dlock_request **requests)
{
    size_t count = 0;
    while (jobs->first && count < max) {
        struct job *job = jobs->first;
        jobs->first = job->next;
        if (!jobs->first)
            jobs->last = NULL;
        jobs->count--;
        if (!job->fill(job, &parcels[count]))
            continue;
        loaded[count] = job;
        requests[count] = &parcels[count].request;
        count++;
    }
    return count;
}

void jobs_refuse(dlock_request *const *requests, size_t count, bool not_done)
{
    for (size_t i = 0; i < count; i++) {
        dlock_request_fail(requests[i], DLOCK_UNAVAILABLE, "the factory is closed");
        requests[i]->not_done = not_done;
    }
}

void jobs_answer(struct job *const *loaded, dlock_request *const *requests, size_t count)
{
    for (size_t i = 0; i < count; i++)
        loaded[i]->answered(loaded[i], requests[i]);
}
