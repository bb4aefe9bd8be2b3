/* futex.c - see futex.h. */
#include "futex.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

bool futex_wait(atomic_uint *word, unsigned value, int64_t at_most_us)
{
    const struct timespec time = {.tv_sec = at_most_us / 1000000, .tv_nsec = at_most_us % 1000000 * 1000};
    return syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, at_most_us == FUTEX_FOREVER ? NULL : &time) == 0 ||
           errno != ETIMEDOUT;
}

void futex_wake(atomic_uint *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1);
}
