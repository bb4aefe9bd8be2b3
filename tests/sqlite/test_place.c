/* test_place.c - where the embedded storage keeps its file, and what it makes of a place or a file that is no good.
 *
 * What is refused must be left as it was, byte for byte. */
#include "fixture.h"

#include "../../storages/sqlite/internal.h"
#include "../../storages/sqlite/sqlite_storage.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#define NOBODY 65534

/* Stands before the C library's, so that a folder may claim to be on any file system. */
static long pretended_magic;

int statfs(const char *file, struct statfs *ret)
{
    const int descriptor = open(file, O_PATH | O_CLOEXEC);
    const int result = descriptor >= 0 ? fstatfs(descriptor, ret) : -1;
    if (descriptor >= 0)
        close(descriptor);
    if (result == 0 && pretended_magic)
        ret->f_type = (__fsword_t)pretended_magic;
    return result;
}

/* Runs `work` as a user without privileges, who has the folder. */
static void as_nobody(void (*work)(void *arg), void *arg)
{
    const uid_t user = geteuid() == 0 ? NOBODY : geteuid();
    assert_int_equal(chown(folder, user, (gid_t)-1), 0);
    struct {
        void (*work)(void *arg);
        void *arg;
        uid_t user;
    };
    (void)work, (void)arg;
}

static unsigned mode_of(const char *file)
{
    struct stat status;
    if (stat(file, &status) != 0)
        die("%s: %s", file, strerror(errno));
    return status.st_mode & 07777;
}
