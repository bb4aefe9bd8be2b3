/* clock.c - a clock that can be set. Preloaded into a server, it adds the seconds that stand in the file
 * $DLOCK_TEST_CLOCK to what the server takes for the time of day; see --clock of the script redis. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SHOWN __attribute__((visibility("default")))

static _Atomic(const volatile int64_t *) file; /* mapped, so that a change shows at once */

static int64_t ahead(void)
{
    if (!file) {
        const char *path = getenv("DLOCK_TEST_CLOCK");
        const int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        void *mapped = fd >= 0 ? mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
        if (mapped == MAP_FAILED)
            abort();
        close(fd);
        file = mapped;
    }
    return *file;
}

SHOWN int clock_gettime(clockid_t id, struct timespec *ret)
{
    const int result = (int)syscall(SYS_clock_gettime, id, ret);
    if (result == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        ret->tv_sec += ahead();
    return result;
}

SHOWN int gettimeofday(struct timeval *restrict ret, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    *ret = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
    return 0;
}

SHOWN time_t time(time_t *ret)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (ret)
        *ret = now.tv_sec;
    return now.tv_sec;
}
