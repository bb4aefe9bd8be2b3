/* leftover.h - owners that may still hold a key although nobody wants it any more: the request that would tell got no
 * answer. They are released in the background until their ttl is over. */
#ifndef DLOCK_SRC_LEFTOVER_H
#define DLOCK_SRC_LEFTOVER_H

#include "core.h"

/* Begins to release `owner`'s hold of `key`, which is over at `until` in any case. The mutex must be held. Without
 * memory or threads nothing is done: the ttl ends it. */
void leftover_add(struct dlock_factory *core, const char *key, const char *owner, int64_t until);

/* The factory is closed and its threads have ended: asks once more for each, unless the storage does not answer, and
 * forgets them. The mutex must be held. */
void leftover_close(struct dlock_factory *core);

#endif
