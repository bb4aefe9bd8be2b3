/* place.c - folders and file systems: where the file is, and whether locks can be kept there.
 *
 * Called by sqlite.c when a session is opened, and for dlock_check. */
#include "internal.h"

#include <errno.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Of statfs; those that linux/magic.h does not have. */
enum {
    MAGIC_ACFS = 0x61636673,
    MAGIC_BEEGFS = 0x19830326,
    MAGIC_CIFS = 0xFF534D42,
    MAGIC_GFS2 = 0x01161970,
    MAGIC_GPFS = 0x47504653,
    MAGIC_LUSTRE = 0x0BD00BD0,
    MAGIC_PANFS = 0xAAD7AAEA,
    MAGIC_PARALLELS = 0x7C7C6673,
    MAGIC_SMB2 = 0xFE534D42,
    MAGIC_VBOXSF = 0x786F4256,
    MAGIC_VMHGFS = 0xBACBACBC,
};

/* Below this much free space a check warns: the log alone may take a tenth of it. */
#define LITTLE_SPACE (4u << 20)

static const struct {
    unsigned magic;
    const char *name;
} networks[] = {
    {0x6969, "NFS"},
    {0x517B, "SMB"},
    {MAGIC_SMB2, "SMB"},
    {MAGIC_CIFS, "CIFS"},
    {V9FS_MAGIC, "9p"},
    {AFS_SUPER_MAGIC, "AFS"},
    {AFS_FS_MAGIC, "AFS"},
    {CODA_SUPER_MAGIC, "Coda"},
    {CEPH_SUPER_MAGIC, "CephFS"},
    {MAGIC_LUSTRE, "Lustre"},
    {MAGIC_GFS2, "GFS2"},
    {OCFS2_SUPER_MAGIC, "OCFS2"},
    {MAGIC_GPFS, "GPFS"},
    {MAGIC_BEEGFS, "BeeGFS"},
    {MAGIC_PANFS, "PanFS"},
    {MAGIC_ACFS, "ACFS"},
    {NCP_SUPER_MAGIC, "NCP"},
    {MAGIC_VBOXSF, "VirtualBox shared folders"},
    {MAGIC_VMHGFS, "VMware shared folders"},
    {MAGIC_PARALLELS, "Parallels shared folders"},
};

/* Of FUSE, by the type that the mount has in /proc/self/mountinfo, less "fuse.". */
static const char *const fuse_networks[] = {
    "virtiofs",
    "sshfs",
    "rclone",
    "s3fs",
    "goofys",
    "mount-s3",
    "gcsfuse",
    "blobfuse",
    "blobfuse2",
    "glusterfs",
    "davfs",
    "davfs2",
    "curlftpfs",
    "smbnetfs",
    "juicefs",
    "seaweedfs",
    "cephfs",
    "ceph-fuse",
    "moosefs",
    "mfs",
    "lizardfs",
    "hdfs",
    "fuse_dfs",
    "quobyte",
    "beegfs",
    "geesefs",
    "afuse",
    "vmhgfs-fuse",
    "gvfsd-fuse",
    "portal",
    "google-drive-ocamlfuse",
    "onedriver",
};

const char *place_network_name(long magic, const char *type)
{
    for (size_t i = 0; i < sizeof networks / sizeof networks[0]; i++)
        if (networks[i].magic == (unsigned)magic)
            return networks[i].name;
    if ((unsigned)magic != FUSE_SUPER_MAGIC)
        return NULL;
    if (strncmp(type, "fuse.", 5) == 0)
        type += 5;
    for (size_t i = 0; i < sizeof fuse_networks / sizeof fuse_networks[0]; i++)
        if (strcmp(type, fuse_networks[i]) == 0)
            return fuse_networks[i];
    return NULL;
}

char *place_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

/* ---- the mount */

struct mount {
    char point[PATH_MAX];
    char type[64];
};

/* mountinfo writes spaces and the like as \ooo. */
static void unescape(char *text)
{
    char *out = text;
    for (const char *in = text; *in; out++) {
        unsigned value;
        int length = 0;
        if (in[0] == '\\' && sscanf(in + 1, "%3o%n", &value, &length) == 1 && length == 3) {
            *out = (char)value;
            in += 4;
        } else {
            *out = *in++;
        }
    }
    *out = '\0';
}

/* Finds the mount that the folder is on by its device; what cannot be found is "?". */
static void find_mount(const char *folder, struct mount *ret)
{
    strcpy(ret->point, "?");
    strcpy(ret->type, "?");
    struct stat status;
    FILE *file = fopen("/proc/self/mountinfo", "re");
    if (file && stat(folder, &status) == 0) {
        char *line = NULL;
        size_t size = 0;
        struct mount mount;
        unsigned major, minor;
        while (getline(&line, &size, file) > 0) {
            const char *type = strstr(line, " - ");
            if (type && sscanf(line, "%*d %*d %u:%u %*s %4095s", &major, &minor, mount.point) == 3 &&
                sscanf(type, " - %63s", mount.type) == 1 && makedev(major, minor) == status.st_dev)
                *ret = mount; /* the last one is on top */
        }
        free(line);
        unescape(ret->point);
    }
    if (file)
        fclose(file);
}

static dlock_status verify_file_system(const char *folder, dlock_error *error)
{
    struct statfs system;
    if (statfs(folder, &system) != 0)
        return dlock_error_set(error, DLOCK_REFUSED, "%s: its file system cannot be examined: %s", folder,
                               strerror(errno));
    struct mount mount = {.type = ""};
    const bool fuse = (unsigned)system.f_type == FUSE_SUPER_MAGIC;
    if (fuse)
        find_mount(folder, &mount);
    const char *name = place_network_name((long)system.f_type, mount.type);
    if (!name)
        return DLOCK_OK;
    if (!fuse)
        find_mount(folder, &mount);
    return dlock_error_set(error, DLOCK_REFUSED,
                           "%s is on a network file system, %s (mounted at %s), where a file cannot keep several "
                           "machines apart; put it on a local disk, or use a storage with a server",
                           folder, name, mount.point);
}

dlock_status place_verify(const char *path, dlock_error *error)
{
    struct stat status;
    dlock_status result;
    char *folder = place_folder(path);
    if (!folder)
        return dlock_error_set(error, DLOCK_NOMEM, "out of memory");
    if (stat(folder, &status) != 0)
        result = errno == ENOENT ? dlock_error_set(error, DLOCK_REFUSED, "folder %s does not exist", folder)
                                 : dlock_error_set(error, DLOCK_REFUSED, "folder %s cannot be reached: %s", folder,
                                                   strerror(errno));
    else if (!S_ISDIR(status.st_mode))
        result = dlock_error_set(error, DLOCK_REFUSED, "%s is not a folder", folder);
    else if (stat(path, &status) == 0 && !S_ISREG(status.st_mode))
        result = dlock_error_set(error, DLOCK_REFUSED, "%s is %s, not a file", path,
                                 S_ISDIR(status.st_mode) ? "a folder" : "something special");
    else
        result = verify_file_system(folder, error);
    free(folder);
    return result;
}

/* ---- where */

/* Makes the folders on the way to `path`, readable by us alone. */
static dlock_status make_folders(char *path, dlock_error *error)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST) {
            const int cause = errno;
            struct stat status;
            if (stat(path, &status) != 0) /* a folder of a read-only file system may be there and answer EROFS */
                return dlock_error_set(error, DLOCK_REFUSED, "folder %s cannot be made: %s", path, strerror(cause));
        }
        *slash = '/';
    }
    return DLOCK_OK;
}

static dlock_status find_default(char **ret, dlock_error *error)
{
    const char *state = secure_getenv("XDG_STATE_HOME"), *home = secure_getenv("HOME");
    char *path;
    int length;
    if (geteuid() == 0)
        length = asprintf(&path, "/var/lib/dlock/locks.db");
    else if (state && state[0] == '/')
        length = asprintf(&path, "%s/dlock/locks.db", state);
    else if (home && home[0] == '/')
        length = asprintf(&path, "%s/.local/state/dlock/locks.db", home);
    else
        return dlock_error_set(
            error, DLOCK_REFUSED,
            "there is no default place for locks, since HOME is not set; write sqlite:/path/of/file");
    if (length < 0)
        return dlock_error_set(error, DLOCK_NOMEM, "out of memory");
    const dlock_status status = make_folders(path, error);
    if (status == DLOCK_OK)
        *ret = path;
    else
        free(path);
    return status;
}

static dlock_status find_relative(const char *folder, const char *path, char **ret, dlock_error *error)
{
    if (!folder)
        return dlock_error_set(error, DLOCK_REFUSED, "%s: the folder that this is relative to cannot be told", path);
    const int length = asprintf(ret, "%s/%s", strcmp(folder, "/") == 0 ? "" : folder, path);
    return length < 0 ? dlock_error_set(error, DLOCK_NOMEM, "out of memory") : DLOCK_OK;
}

dlock_status place_find(const dlock_url *url, const char *folder, char **ret, dlock_error *error)
{
    if (url->host_count > 0 || url->user || url->password)
        return dlock_error_set(error, DLOCK_INVALID,
                               "sqlite: names a file of this machine, so no host or user may follow //; write "
                               "sqlite:/absolute/path or sqlite:relative/path");
    if (!url->path || !*url->path)
        return find_default(ret, error);
    if (url->path[0] != '/')
        return find_relative(folder, url->path, ret, error);
    *ret = strdup(url->path);
    return *ret ? DLOCK_OK : dlock_error_set(error, DLOCK_NOMEM, "out of memory");
}

/* ---- what weakens locks there */

struct warning {
    const char *path;
    void (*warn)(void *arg, const char *text);
    void *arg;
};

static void DLOCK_PRINTF(2, 3) warn(const struct warning *warning, const char *format, ...)
{
    char text[DLOCK_MESSAGE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    warning->warn(warning->arg, text);
}

static void check_file(const struct warning *warning)
{
    struct stat status;
    if (stat(warning->path, &status) != 0)
        return;
    if (status.st_mode & 0022)
        warn(warning, "%s: others may write it (mode %03o), and so take or break any lock", warning->path,
             (unsigned)status.st_mode & 0777);
    else if (status.st_mode & 0044)
        warn(warning, "%s: others may read it (mode %03o), and so see the owner tokens of locks", warning->path,
             (unsigned)status.st_mode & 0777);
    if (status.st_nlink > 1)
        warn(warning, "%s: the file has %u names; users of different ones do not keep each other out", warning->path,
             (unsigned)status.st_nlink);
}

static void check_file_system(const struct warning *warning)
{
    struct statfs system;
    struct mount mount;
    if (statfs(warning->path, &system) != 0)
        return;
    if ((uint64_t)system.f_bavail * (uint64_t)system.f_bsize < LITTLE_SPACE)
        warn(warning, "%s: little space is left on its disk; without any, no lock can be acquired", warning->path);
    if ((unsigned)system.f_type == TMPFS_MAGIC || (unsigned)system.f_type == RAMFS_MAGIC)
        warn(warning,
             "%s: it is kept in memory and gone after a reboot; locks end then anyway, and fencing numbers go "
             "on from the wall clock",
             warning->path);
    else if ((unsigned)system.f_type == OVERLAYFS_SUPER_MAGIC)
        warn(warning, "%s: it is on an overlay, as containers have; other containers have another file", warning->path);
    else if ((unsigned)system.f_type == FUSE_SUPER_MAGIC) {
        find_mount(warning->path, &mount);
        warn(warning, "%s: it is on a file system of a program (%s, mounted at %s), which dlock cannot vouch for",
             warning->path, mount.type, mount.point);
    }
}

/* In a time namespace the clock is shifted, so that its processes and others see each other's locks expire early or
 * late. */
static void check_clock(const struct warning *warning)
{
    long long seconds, nanoseconds;
    FILE *file = fopen("/proc/self/timens_offsets", "re");
    if (!file)
        return;
    char clock[16];
    while (fscanf(file, "%15s %lld %lld", clock, &seconds, &nanoseconds) == 3)
        if ((strcmp(clock, "boottime") == 0 || strcmp(clock, "7") == 0) && (seconds || nanoseconds))
            warn(warning,
                 "this process is in a time namespace whose clock is shifted by %lld s; processes outside of it "
                 "see its locks expire at other times",
                 seconds);
    fclose(file);
}

void place_check(const char *path, void (*warn_user)(void *arg, const char *text), void *arg)
{
    const struct warning warning = {path, warn_user, arg};
    check_file(&warning);
    check_file_system(&warning);
    check_clock(&warning);
}
