/* wanted.h - the fence that a client wants of several nodes, so that a majority takes it in the first round trip.
 *
 * As a ballot of Paxos (Leslie Lamport, "The Part-Time Parliament") it is the client's choice, and a node takes it only
 * if it is greater than all that it knows of: any two majorities have a node in common, so fences grow. A node takes
 * none either that is below its time, or far above. What a majority does not take is settled in a second round trip:
 * see round.c. Pure; used by round.c. */
#ifndef DLOCK_REDIS_WANTED_H
#define DLOCK_REDIS_WANTED_H

#include "answer.h"

struct wanted {
    bool known;       /* the nodes have told their time */
    int64_t ahead_us; /* of the client's clock is the time of a majority of them, when they get what is sent */
    uint64_t last;    /* that was wanted */
};

/* The fence to want at this time of dlock_clock_us; 0 = it is not known what would be taken. No node proposes it
 * itself. */
uint64_t wanted_next(struct wanted *wanted, size_t nodes, int64_t now);

/* What the answers to a request say of the nodes' time. It was sent at `sent_at` and wanted `fence`. */
void wanted_learn(struct wanted *wanted, const struct answer *answers, size_t nodes, int64_t sent_at, uint64_t fence);

#endif
