/* wanted.c - see wanted.h. */
#include "wanted.h"

#include "node.h"
#include "quorum.h"

#define LEAD_US 5000 /* by which a fence is ahead of the time at which it should arrive: for ways that take longer */

uint64_t wanted_next(struct wanted *wanted, size_t nodes, int64_t now)
{
    if (!wanted->known)
        return 0;
    const uint64_t step = nodes + 1, time = (uint64_t)(now + wanted->ahead_us + LEAD_US);
    const uint64_t fence = time + (nodes + step - time % step) % step;
    wanted->last = fence > wanted->last ? fence : wanted->last + step;
    return wanted->last;
}

/* The earliest time that a majority of the nodes has reached, of those that told theirs; 0 = too few did. */
static int64_t time_of_majority(const struct answer *answers, size_t nodes)
{
    int64_t times[NODES_MAX] = {0};
    size_t count = 0;
    for (size_t i = 0; i < nodes; i++) {
        if (answers[i].time_us == 0)
            continue;
        size_t at = count++;
        for (; at > 0 && times[at - 1] > answers[i].time_us; at--)
            times[at] = times[at - 1];
        times[at] = answers[i].time_us;
    }
    return count >= quorum_of(nodes) ? times[quorum_of(nodes) - 1] : 0;
}

void wanted_learn(struct wanted *wanted, const struct answer *answers, size_t nodes, int64_t sent_at, uint64_t fence)
{
    const int64_t time = time_of_majority(answers, nodes), ahead = time - sent_at;
    if (time == 0)
        return;
    /* The shortest way counts, so that all clients are about equally far ahead, until what is wanted comes too late. */
    const bool too_late = fence != 0 && fence < (uint64_t)time;
    if (!wanted->known || too_late || ahead < wanted->ahead_us)
        wanted->ahead_us = ahead;
    wanted->known = true;
}
