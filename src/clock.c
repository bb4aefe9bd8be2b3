/* clock.c - the clock that durations and deadlines are counted on.
 *
 * Called by the core and by storages; part of dlock_storage.h. */
#include "dlock_storage.h"

#include <time.h>

int64_t dlock_clock_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now); /* cannot fail: the clock is there since Linux 2.6.39 */
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}
