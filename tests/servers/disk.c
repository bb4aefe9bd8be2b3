/* disk.c - a disk that can be full, or broken. Preloaded into a process, it makes what that writes to files whose paths
 * begin with $DLOCK_TEST_DISK_PATH fail. The file $DLOCK_TEST_DISK has two numbers: the errno of each write, and that
 * of each fsync; 0 = none. For servers by the option --disk of their scripts, for clients by the torture run.
 *
 * Programs call the functions of either width. With _FILE_OFFSET_BITS, the headers would give both one name. */
#undef _FILE_OFFSET_BITS
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define SHOWN __attribute__((visibility("default")))

enum act { WRITE, SYNC, ACTS };

static _Atomic(const volatile int64_t *) file; /* mapped, so that a change shows at once */

/* The errno that something done to `fd` is to fail with, or 0. */
static int fault(enum act act, int fd)
{
    if (!file) {
        const char *path = getenv("DLOCK_TEST_DISK");
        const int opened = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        void *mapped = opened >= 0 ? mmap(NULL, ACTS * sizeof(int64_t), PROT_READ, MAP_SHARED, opened, 0) : MAP_FAILED;
        if (mapped == MAP_FAILED)
            abort();
        close(opened);
        file = mapped;
    }
    const int number = (int)file[act];
    if (number == 0)
        return 0;
    const char *begin = getenv("DLOCK_TEST_DISK_PATH");
    if (!begin)
        abort();
    char name[64], path[4096];
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    const ssize_t length = readlink(name, path, sizeof(path));
    const size_t needed = strlen(begin);
    return length >= (ssize_t)needed && memcmp(path, begin, needed) == 0 ? number : 0;
}

/* 0, or -1 and errno. */
static int fails(enum act act, int fd)
{
    const int number = fault(act, fd);
    if (number != 0)
        errno = number;
    return number != 0 ? -1 : 0;
}

SHOWN ssize_t write(int fd, const void *bytes, size_t count)
{
    return fails(WRITE, fd) ? -1 : syscall(SYS_write, fd, bytes, count);
}

SHOWN ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at)
{
    return fails(WRITE, fd) ? -1 : syscall(SYS_pwrite64, fd, bytes, count, at);
}

SHOWN ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at)
{
    return pwrite(fd, bytes, count, at);
}

SHOWN ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at)
{
    return fails(WRITE, fd) ? -1 : syscall(SYS_pwritev, fd, parts, count, at, 0);
}

SHOWN ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at)
{
    return pwritev(fd, parts, count, at);
}

SHOWN int posix_fallocate(int fd, off_t at, off_t length)
{
    const int number = fault(WRITE, fd);
    return number != 0 ? number : syscall(SYS_fallocate, fd, 0, at, length) == 0 ? 0 : errno;
}

SHOWN int posix_fallocate64(int fd, off64_t at, off64_t length)
{
    return posix_fallocate(fd, at, length);
}

SHOWN int fsync(int fd)
{
    return fails(SYNC, fd) ? -1 : (int)syscall(SYS_fsync, fd);
}

SHOWN int fdatasync(int fd)
{
    return fails(SYNC, fd) ? -1 : (int)syscall(SYS_fdatasync, fd);
}
