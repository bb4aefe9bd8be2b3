/* late.c - preloaded into a server, it makes the server's wall clock be $LATE_S seconds ahead (behind, if negative).
 *
 * Only of the functions that Redis asks for the time of day; clocks that only run are left alone. No libc function is
 * used that could ask for memory, since allocators look at the clock while they begin. */
#include <stddef.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static long offset(void)
{
    const char *text = getenv("LATE_S");
    return text ? strtol(text, NULL, 10) : 0;
}

EXPORT int clock_gettime(clockid_t clock, struct timespec *ret)
{
    const long result = syscall(SYS_clock_gettime, clock, ret);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        ret->tv_sec += offset();
    return (int)result;
}

EXPORT int gettimeofday(struct timeval *ret, void *zone)
{
    (void)zone;
    struct timespec now;
    const int result = clock_gettime(CLOCK_REALTIME, &now);
    ret->tv_sec = now.tv_sec;
    ret->tv_usec = now.tv_nsec / 1000;
    return result;
}

EXPORT time_t time(time_t *ret)
{
    struct timespec now;
    const time_t seconds = clock_gettime(CLOCK_REALTIME, &now) == 0 ? now.tv_sec : -1;
    if (ret)
        *ret = seconds;
    return seconds;
}
