/* judge.h - what must be true in every schedule, whatever happens; a breach fails the world.
 *
 * judge_step is called after every event, the others where client.c and storage.c do what they name. */
#ifndef DLOCK_SIM_JUDGE_H
#define DLOCK_SIM_JUDGE_H

#include "client.h"

struct judge {
    uint64_t owners; /* made so far: 1 to owners */
    bool *spent;     /* by owner: a release was sent for it */
    size_t spent_room;
    uint64_t last_fence; /* given by the storage */
    uint64_t *granted;   /* the fences of all holds */
    size_t granted_count, granted_room;
    uint64_t top_fence[KEYS_MAX]; /* of a hold of the key */
    int64_t free_since[KEYS_MAX]; /* -1 = it is not free */
    uint64_t orphans[KEYS_MAX];   /* owners that were detached and wait to be adopted; 0 = none */
};

void judge_step(struct world *world);
void judge_executed(struct world *world, const struct item *item, const struct record *before);
void judge_sent(struct lock *lock, dlock_operation operation);
void judge_spent(struct world *world, uint64_t owner);
void judge_answered(struct lock *lock);
void judge_granted(struct lock *lock);
void judge_failed(struct lock *lock);
void judge_given_up(struct lock *lock);
void judge_extended(struct lock *lock, dlock_status answer);
void judge_lost(struct lock *lock);
void judge_done(struct world *world);
void judge_rest(struct world *world);

#endif
