/* fleet.h - when a batch may set out while others are out.
 *
 * If whoever comes alone set out at once, the storage would spend on one what serves many, while the many wait: batches
 * of one and of all others would follow each other for ever. So a batch sets out when it carries as many as those that
 * are out do on average, and else waits for more to come, or for one of those to be back. All become about equal then.
 * Used by exchange.c and errands.c. */
#ifndef DLOCK_SRC_FLEET_H
#define DLOCK_SRC_FLEET_H

#include <stdbool.h>
#include <stddef.h>

/* What is out. */
struct fleet {
    size_t batches;
    size_t carried; /* callers, of all together */
};

static inline void fleet_set_out(struct fleet *fleet, size_t callers)
{
    fleet->batches++;
    fleet->carried += callers;
}

static inline void fleet_come_back(struct fleet *fleet, size_t callers)
{
    fleet->batches--;
    fleet->carried -= callers;
}

static inline bool fleet_may_set_out(const struct fleet *fleet, size_t callers)
{
    return callers * fleet->batches >= fleet->carried;
}

#endif
