/* quorum.h - what the answers of several nodes mean together. Pure; one node is a quorum of one.
 *
 * Redlock, as the Redis documentation describes it ("Distributed Locks with Redis", by Salvatore Sanfilippo): what a
 * majority of the nodes says holds. Used by redis.c. */
#ifndef DLOCK_REDIS_QUORUM_H
#define DLOCK_REDIS_QUORUM_H

#include "answer.h"

enum verdict {
    VERDICT_OPEN,    /* answers that are still out decide */
    VERDICT_YES,     /* a majority did it; of INSPECT and BREAK: somebody holds, or held, the key */
    VERDICT_NO,      /* a majority did not, and cannot any more */
    VERDICT_UNKNOWN, /* too many failed to tell */
};

/* The least number of nodes that any two such groups of have one in common. */
size_t quorum_of(size_t nodes);

enum verdict quorum_judge(dlock_operation operation, const struct answer *answers, size_t nodes);

/* Does the node's record have this fence? */
bool quorum_has_fence(const struct answer *answer, uint64_t fence);

/* Does a majority of the nodes know that the hold has this fence? */
enum verdict quorum_judge_settled(const struct answer *answers, size_t nodes, uint64_t fence);

/* The fence of a hold that was granted: the one that a majority accepted or has already, or the largest that a node
 * proposed. */
uint64_t quorum_fence(const struct answer *answers, size_t nodes);

/* Who holds the key on the most nodes, what these say of the hold, and on how many. */
size_t quorum_holder(const struct answer *answers, size_t nodes, dlock_info *ret);

/* What an ACQUIRE came to that no majority granted: BUSY if a majority was there to be asked. */
dlock_status quorum_denied(const struct answer *answers, size_t nodes);

/* The status of a request on which too many nodes failed. */
dlock_status quorum_failure(const struct answer *answers, size_t nodes);

size_t quorum_count(const struct answer *answers, size_t nodes, enum vote vote);

#endif
