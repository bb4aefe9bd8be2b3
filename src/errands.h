/* errands.h - carries asynchronous calls, and what calls leave behind, to the storage.
 *
 * The thread that starts a call sends it itself if that takes no waiting, and the one that looks for events reads the
 * answer: no other thread has a part in it. What takes waiting is left to a thread of ours: to connect, a storage that
 * has no `begin`, a user who does not look for events. All that came in while every lane was out travels as one batch.
 */
#ifndef DLOCK_SRC_ERRANDS_H
#define DLOCK_SRC_ERRANDS_H

#include "events.h"
#include "jobs.h"
#include "keeper.h"
#include "session.h"

#define ERRANDS_LANES     2 /* the storage works for one while the user's thread works for the other */
#define ERRANDS_BATCH_MAX 64

enum lane_state {
    LANE_IDLE,
    LANE_AT_WORK, /* some thread is at it, without the mutex */
    LANE_OUT,     /* sent; the answer is read by the next who looks for events */
    LANE_LEFT,    /* left to our thread */
};

/* One session, and the batch that it carries. */
struct lane {
    struct errands *errands;
    struct session session;
    enum lane_state state;
    bool begun;            /* what is left of the batch is to wait for the answers */
    int watched;           /* of the session's descriptor, in events; -1 = none */
    struct timer patience; /* see errands.patience_us */
    struct parcel *parcels;
    struct job *jobs[ERRANDS_BATCH_MAX];
    dlock_request *requests[ERRANDS_BATCH_MAX];
    size_t count;
};

/* Every function but errands_stop and errands_deinit is called with the mutex held. */
struct errands {
    pthread_mutex_t *mutex;
    pthread_cond_t wake;
    struct keeper *keeper;
    struct events *events;
    struct lane lanes[ERRANDS_LANES];
    struct jobs jobs;
    pthread_t thread;
    bool started, stopping;
    bool attended;       /* whoever posts now sends afterwards */
    int64_t patience_us; /* with a user who does not look for events */
};

void errands_init(struct errands *errands, pthread_mutex_t *mutex, const struct session_source *source,
                  struct keeper *keeper, struct events *events);

/* Carries what is posted, unless the storage does not answer, then ends the thread. The mutex must not be held. */
void errands_stop(struct errands *errands);
void errands_deinit(struct errands *errands);

/* Starts the thread if it does not run; the keeper does. NOMEM = no thread or memory to be had. */
dlock_status errands_start(struct errands *errands);

/* Hands over a job; errands_start was called. */
void errands_post(struct errands *errands, struct job *job);

/* For a user's thread: what is posted between these two is sent by the second, as far as that takes no waiting. It
 * gives the mutex back for that. */
void errands_attend(struct errands *errands);
void errands_send(struct errands *errands);

/* Reads the answers that are there, without waiting; gives the mutex back for that. Jobs are answered in here. */
void errands_read(struct errands *errands);

#endif
