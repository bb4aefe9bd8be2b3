/* look.h - looking for an answer for a moment before sleeping until it comes: to sleep and to be woken may take longer
 * than the answer. Part of every storage that uses it: redis/stream.c, postgresql/connection.c. */
#ifndef DLOCK_STORAGES_LOOK_H
#define DLOCK_STORAGES_LOOK_H

#include <stdbool.h>
#include <stdint.h>

/* Of one connection. */
struct look {
    int64_t most_us;
    unsigned in_vain; /* how often in a row it found nothing */
};

/* From now on, until look_end, this thread waits for an answer. Calls `there` until that returns true, for up to
 * `most_us`. Less if others want the processor or another thread of this process waits, and hardly ever if it was in
 * vain many times in a row, since then the server is farther away. Returns whether it is there. */
bool look_begin(struct look *look, bool (*there)(void *arg), void *arg);
void look_end(void);

#endif
