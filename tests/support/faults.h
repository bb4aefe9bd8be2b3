/* faults.h - a storage that decorates a real one with faults: replies that get lost, requests that fail or hang.
 *
 * It stands for no storage: every request that is carried out is carried out by the one below. Used by tests/core. */
#ifndef DLOCK_TESTS_FAULTS_H
#define DLOCK_TESTS_FAULTS_H

#include "dlock_storage.h"

#include <pthread.h>

#define OPERATIONS (DLOCK_BREAK + 1)

struct faults {
    dlock_storage storage; /* hand this to dlock_factory_new, with the struct as its argument */
    const dlock_storage *below;
    dlock_url *url;

    pthread_mutex_t mutex; /* guards the rest */
    pthread_cond_t changed;
    bool hang[OPERATIONS];        /* before anything is carried out, until it is cleared */
    bool hang_reply[OPERATIONS];  /* after it was carried out, until it is cleared */
    bool hang_begun;              /* what was begun is not answered, until it is cleared ... */
    int answer_begun;             /* ... but for so many batches */
    int lose_request[OPERATIONS]; /* so many of the next are not carried out and get no answer */
    int lose_reply[OPERATIONS];   /* so many of the next are carried out and get no answer */
    int fail_open;
    bool unwatchable; /* watch_fd says -1 */
    bool hang_read;   /* watch_read, until it is cleared */
    int fail_read;    /* so many of the next watch_read do not reach it */
    int reads;        /* of hints, and the thread of the first */
    pthread_t first_reader;
    int opened, descriptors;          /* sessions that were, and how often watch_fd was asked */
    int watched, unwatched;           /* keys that came to be */
    int hanging;                      /* threads that hang now */
    int used_by_two;                  /* how often a session that watches was, at once */
    int seen[OPERATIONS];             /* requests that came */
    int batches, batch_max;           /* calls of execute */
    int64_t last_at;                  /* when the last request came */
    char owners[8][DLOCK_OWNER_SIZE]; /* of the first ACQUIREs */
};

/* Decorates the storage of `url`. */
void faults_init(struct faults *faults, const char *url);
void faults_deinit(struct faults *faults);

/* Gives it dlock_storage.begin and its like. */
void faults_let_begin(struct faults *faults);

/* Sets a fault, or reads a count, with the mutex. */
void faults_set_bool(struct faults *faults, bool *which, bool value);
void faults_set(struct faults *faults, int *which, int value);
int faults_get(struct faults *faults, const int *which);

#endif
