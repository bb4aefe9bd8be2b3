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
#include <sys/wait.h>
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

static unsigned mode_of(const char *file)
{
    struct stat status;
    if (stat(file, &status) != 0)
        die("%s: %s", file, strerror(errno));
    return status.st_mode & 07777;
}

static bool exists(const char *file)
{
    return access(file, F_OK) == 0;
}

/* A path in the test's folder; good until the next call but one. */
static const char *in_folder(const char *name)
{
    static char names[2][192];
    static unsigned turn;
    turn = !turn;
    snprintf(names[turn], sizeof names[turn], "%s/%s", folder, name);
    return names[turn];
}

/* Nobody has privileges, and no default place in the folders of root. */
static void become_nobody(void)
{
    if (geteuid() == 0 && setresuid(NOBODY, NOBODY, NOBODY) != 0)
        die("setresuid: %s", strerror(errno));
}

static void give_folder_to_nobody(void)
{
    if (geteuid() == 0)
        assert_int_equal(chown(folder, NOBODY, NOBODY), 0);
}

/* ---- places -------------------------------------------------------------------------------------------------------
 */

static void the_file_is_made_for_its_user_alone(void **state)
{
    (void)state;
    const mode_t mask = umask(0);
    void *session = open_session();
    acquire(session, "key", "owner", LONG_MS);
    umask(mask);
    assert_int_equal(mode_of(path), 0600);
    assert_int_equal(mode_of(in_folder("locks.db-wal")), 0600);
    assert_int_equal(mode_of(in_folder("locks.db-shm")), 0600);
    close_session(session);
}

static void assert_default_place(const char *wanted)
{
    const dlock_url url = {.text = "sqlite:", .scheme = "sqlite"};
    char *found = NULL;
    dlock_error error;
    if (place_find(&url, NULL, &found, &error) != DLOCK_OK)
        die("%s", error.message);
    if (strcmp(found, wanted) != 0)
        die("%s instead of %s", found, wanted);
    char *parent = place_folder(found);
    if (mode_of(parent) != 0700)
        die("%s has mode %o", parent, mode_of(parent));
    free(parent);
    free(found);
}

static void find_default_places(void *arg)
{
    (void)arg;
    become_nobody();
    umask(0);
    setenv("HOME", folder, 1);
    setenv("XDG_STATE_HOME", in_folder("state/of mine"), 1);
    assert_default_place(in_folder("state/of mine/dlock/locks.db"));
    assert_default_place(in_folder("state/of mine/dlock/locks.db")); /* and when it is there */
    setenv("XDG_STATE_HOME", "relative", 1);                         /* is to be ignored */
    assert_default_place(in_folder(".local/state/dlock/locks.db"));
    unsetenv("XDG_STATE_HOME");
    assert_default_place(in_folder(".local/state/dlock/locks.db"));
    unsetenv("HOME");
    const dlock_url url = {.text = "sqlite:", .scheme = "sqlite"};
    char *found = NULL;
    dlock_error error;
    if (place_find(&url, NULL, &found, &error) != DLOCK_REFUSED || !strstr(error.message, "HOME is not set"))
        die("without HOME: %s", error.message);
}

static void the_default_place_is_of_the_user(void **state)
{
    (void)state;
    give_folder_to_nobody();
    assert_ends_well(start(find_default_places, NULL));
}

static void a_relative_path_is_of_the_folder_that_the_program_was_in(void **state)
{
    (void)state;
    const dlock_url url = {.text = "sqlite:a/b.db", .scheme = "sqlite", .path = "a/b.db"};
    char *found = NULL;
    dlock_error error;
    assert_int_equal(place_find(&url, "/srv", &found, &error), DLOCK_OK);
    assert_string_equal(found, "/srv/a/b.db");
    free(found);
    assert_int_equal(place_find(&url, "/", &found, &error), DLOCK_OK);
    assert_string_equal(found, "/a/b.db");
    free(found);
    found = NULL;
    assert_int_equal(place_find(&url, NULL, &found, &error), DLOCK_REFUSED);
    assert_non_null(strstr(error.message, "a/b.db: the folder"));
    assert_null(found);
}

static void names_that_mean_something_to_sqlite_are_files(void **state)
{
    (void)state;
    static const char *const names[] = {":memory:", "file:x?mode=memory", "a b%20#?.db", "'\"", "\xc3\xa9"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        void *session = NULL;
        assert_int_equal(try_open(in_folder(names[i]), 5000, &session, NULL), DLOCK_OK);
        close_session(session);
        assert_true(exists(in_folder(names[i])));
    }
}

static void a_host_is_invalid(void **state)
{
    (void)state;
    const dlock_url_host host = {.name = "tmp"};
    const dlock_url url = {.text = "", .scheme = "sqlite", .path = "/x.db", .hosts = &host, .host_count = 1};
    char *found = NULL;
    dlock_error error;
    assert_int_equal(place_find(&url, NULL, &found, &error), DLOCK_INVALID);
    assert_non_null(strstr(error.message, "no host"));
    assert_null(found);
}

static void a_missing_folder_is_not_made(void **state)
{
    (void)state;
    char message[256];
    snprintf(message, sizeof message, "folder %s/no does not exist", folder);
    assert_refused(in_folder("no/locks.db"), DLOCK_REFUSED, message);
    assert_false(exists(in_folder("no")));
}

static void what_is_no_file_is_refused(void **state)
{
    (void)state;
    assert_int_equal(mkdir(in_folder("d"), 0700), 0);
    assert_refused(in_folder("d"), DLOCK_REFUSED, "is a folder, not a file");
    assert_int_equal(mkfifo(in_folder("f"), 0600), 0);
    assert_refused(in_folder("f"), DLOCK_REFUSED, "not a file");
    write_file(in_folder("file"), "x", 1);
    assert_refused(in_folder("file/locks.db"), DLOCK_REFUSED, "is not a folder");
}

/* ---- file systems -------------------------------------------------------------------------------------------------
 */

static void network_file_systems_are_known_by_name(void **state)
{
    (void)state;
    static const struct {
        unsigned magic;
        const char *type, *name;
    } cases[] = {
        {0x6969, "nfs4", "NFS"},
        {0x517B, "smbfs", "SMB"},
        {0xFE534D42, "cifs", "SMB"},
        {0xFF534D42, "cifs", "CIFS"},
        {0x01021997, "9p", "9p"},
        {0x00C36400, "ceph", "CephFS"},
        {0x5346414F, "afs", "AFS"},
        {0x73757245, "coda", "Coda"},
        {0x0BD00BD0, "lustre", "Lustre"},
        {0x01161970, "gfs2", "GFS2"},
        {0x7461636F, "ocfs2", "OCFS2"},
        {0x786F4256, "vboxsf", "VirtualBox shared folders"},
        {FUSE_SUPER_MAGIC, "fuse.sshfs", "sshfs"},
        {FUSE_SUPER_MAGIC, "fuse.rclone", "rclone"},
        {FUSE_SUPER_MAGIC, "fuse.s3fs", "s3fs"},
        {FUSE_SUPER_MAGIC, "fuse.glusterfs", "glusterfs"},
        {FUSE_SUPER_MAGIC, "fuse.gcsfuse", "gcsfuse"},
        {FUSE_SUPER_MAGIC, "virtiofs", "virtiofs"},
        {FUSE_SUPER_MAGIC, "fuseblk", NULL}, /* NTFS and the like, on a disk */
        {FUSE_SUPER_MAGIC, "fuse.gocryptfs", NULL},
        {FUSE_SUPER_MAGIC, "fuse", NULL},
        {FUSE_SUPER_MAGIC, "", NULL},
        {EXT4_SUPER_MAGIC, "ext4", NULL},
        {TMPFS_MAGIC, "sshfs", NULL},
        {OVERLAYFS_SUPER_MAGIC, "overlay", NULL},
        {BTRFS_SUPER_MAGIC, "btrfs", NULL},
        {XFS_SUPER_MAGIC, "xfs", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        /* statfs has it as a signed number of some size. */
        const long magics[] = {(long)cases[i].magic, (long)(int)cases[i].magic};
        for (size_t j = 0; j < 2; j++) {
            const char *name = place_network_name(magics[j], cases[i].type);
            if (cases[i].name)
                assert_string_equal(name ? name : "none", cases[i].name);
            else
                assert_null(name);
        }
    }
}

static void open_on_network_file_systems(void *arg)
{
    (void)arg;
    pretended_magic = 0x6969;
    assert_refused(path, DLOCK_REFUSED, "network file system, NFS (mounted at /");
    pretended_magic = 0x01021997;
    assert_refused(path, DLOCK_REFUSED, "9p (mounted at /");
}

static void a_network_file_system_is_refused_with_its_mount(void **state)
{
    (void)state;
    assert_ends_well(start(open_on_network_file_systems, NULL));
    assert_false(exists(path));
}

/* ---- what is not ours ---------------------------------------------------------------------------------------------
 */

/* Opening fails so, and changes nothing: neither the file nor what is beside it. */
static void assert_refused_unchanged(const char *message)
{
    size_t size, size_after;
    char *before = read_file(path, &size);
    const bool had_log = exists(in_folder("locks.db-wal")), had_index = exists(in_folder("locks.db-shm"));
    assert_refused(path, DLOCK_REFUSED, message);
    char *after = read_file(path, &size_after);
    assert_int_equal(size_after, size);
    assert_memory_equal(after, before, size);
    assert_int_equal(exists(in_folder("locks.db-wal")), had_log);
    assert_int_equal(exists(in_folder("locks.db-shm")), had_index);
    free(before);
    free(after);
}

static void another_database_is_refused_with_what_it_has(void **state)
{
    (void)state;
    run_sql("CREATE TABLE users (id INTEGER, name TEXT); CREATE TABLE locks (id INTEGER)");
    assert_refused_unchanged("found locks(id), users(id, name)");
    run_sql("PRAGMA journal_mode = WAL");
    assert_refused_unchanged("users(id, name)");
    run_sql("PRAGMA journal_mode = DELETE; PRAGMA application_id = 7");
    assert_refused_unchanged("users(id, name)");
}

static void a_database_with_a_log_keeps_it(void **state)
{
    (void)state;
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(db, "CREATE TABLE old (a); PRAGMA journal_mode = WAL; CREATE TABLE new (b)", NULL, NULL, NULL),
        SQLITE_OK);
    size_t size, size_after;
    char *before = read_file(in_folder("locks.db-wal"), &size);
    assert_true(size > 0);
    assert_refused_unchanged("old(a)");
    char *after = read_file(in_folder("locks.db-wal"), &size_after);
    assert_int_equal(size, size_after);
    assert_memory_equal(before, after, size);
    free(before);
    free(after);
    sqlite3_close(db);
}

static void a_mark_without_the_tables_is_refused(void **state)
{
    (void)state;
    run_sql("CREATE TABLE users (id INTEGER, name TEXT); PRAGMA application_id = 0x444C434B; PRAGMA user_version = 1;"
            "PRAGMA journal_mode = WAL");
    assert_refused(path, DLOCK_REFUSED, "users(id, name)");
}

static void a_newer_layout_is_refused(void **state)
{
    (void)state;
    close_session(open_session());
    run_sql("PRAGMA wal_checkpoint(TRUNCATE)");
    run_sql("PRAGMA user_version = 2");
    assert_refused_unchanged("made by a newer version of dlock");
}

static void what_is_no_database_is_refused(void **state)
{
    (void)state;
    char text[5000];
    memset(text, 'x', sizeof text);
    write_file(path, text, sizeof text);
    assert_refused_unchanged("not an SQLite database");
    write_file(path, "x", 1);
    assert_refused_unchanged("not an SQLite database");
    write_file(path, "SQLite format 3", 16);
    assert_refused_unchanged("not an SQLite database");
}

static void a_corrupt_file_is_refused(void **state)
{
    (void)state;
    close_session(open_session());
    run_sql("PRAGMA wal_checkpoint(TRUNCATE)"); /* and closing ends the log */
    size_t size;
    char *content = read_file(path, &size);
    for (size_t page = 0; page * 1024 < size; page++) {
        char *corrupt = malloc(size);
        memcpy(corrupt, content, size);
        memset(corrupt + page * 1024 + (page ? 0 : 100), 0xA5, page ? 1024 : 924); /* all but the header of the file */
        write_file(path, corrupt, size);
        free(corrupt);
        void *session = NULL;
        dlock_error error = {0};
        dlock_status status = try_open(path, 1000, &session, &error);
        if (status == DLOCK_OK) { /* a page that opening does not read */
            const dlock_request request = ask(session, DLOCK_ACQUIRE, "key", "owner", LONG_MS);
            status = request.status;
            strcpy(error.message, request.message);
            close_session(session);
        }
        assert_int_equal(status, DLOCK_REFUSED);
        assert_non_null(strstr(error.message, "corrupt"));
        size_t size_after;
        char *after = read_file(path, &size_after);
        assert_int_equal(size_after, size);
        free(after);
    }
    free(content);
}

/* ---- rights and space ---------------------------------------------------------------------------------------------
 */

static void open_without_rights(void *arg)
{
    become_nobody();
    assert_refused(path, DLOCK_REFUSED, arg);
}

static void rights_that_are_missing_are_named(void **state)
{
    (void)state;
    give_folder_to_nobody();
    close_session(open_session());
    assert_int_equal(chown(path, geteuid() == 0 ? NOBODY : geteuid(), (gid_t)-1), 0);
    unlink(in_folder("locks.db-wal"));
    unlink(in_folder("locks.db-shm"));
    size_t size, size_after;
    char *before = read_file(path, &size);

    assert_int_equal(chmod(path, 0400), 0);
    assert_ends_well(start(open_without_rights, (void *)"cannot be read and written: Permission denied"));
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(chmod(folder, 0500), 0);
    assert_ends_well(start(open_without_rights, (void *)"files cannot be added to its folder"));
    char *after = read_file(path, &size_after);
    assert_int_equal(size_after, size);
    assert_memory_equal(before, after, size);
    free(before);
    free(after);

    assert_int_equal(chmod(folder, 0700), 0);
    unlink(path);
    assert_int_equal(chmod(folder, 0500), 0);
    assert_ends_well(start(open_without_rights, (void *)"cannot be made: Permission denied"));
    assert_int_equal(chmod(folder, 0700), 0);
}

#define CANNOT_MOUNT 77

/* A small disk of this process's own. */
static void mount_small(void)
{
    if (unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
        mount("none", folder, "tmpfs", 0, "size=256k") == 0)
        return;
    printf("# skipped, since nothing can be mounted here: %s\n", strerror(errno));
    fflush(stdout);
    _exit(CANNOT_MOUNT);
}

static void run_on_a_small_disk(void (*work)(void *arg))
{
    int status;
    assert_true(waitpid(start(work, NULL), &status, 0) > 0);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == CANNOT_MOUNT)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void fill(const char *file)
{
    char block[4096] = "";
    const int descriptor = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    while (write(descriptor, block, sizeof block) > 0)
        ;
    close(descriptor);
}

static void work_on_a_full_disk(void *arg)
{
    (void)arg;
    mount_small();
    void *session = open_session();
    acquire(session, "held", "owner", LONG_MS);
    fill(in_folder("filler"));
    /* Something still fits into the log. */
    dlock_request request;
    char key[32];
    unsigned count = 0;
    do {
        snprintf(key, sizeof key, "key %u", count++);
        request = ask(session, DLOCK_ACQUIRE, key, "owner", LONG_MS);
    } while (request.status == DLOCK_OK && count < 10000);
    if (request.status != DLOCK_UNAVAILABLE || !request.not_done || !strstr(request.message, "no space left"))
        die("%s %s", dlock_status_name(request.status), request.message);

    /* In a batch, what was read before the first write is true, and the rest failed. */
    dlock_request batch[] = {request_of(DLOCK_INSPECT, "held", NULL, 0),
                             request_of(DLOCK_ACQUIRE, key, "owner", LONG_MS),
                             request_of(DLOCK_ACQUIRE, key, "other", LONG_MS), request_of(DLOCK_INSPECT, key, NULL, 0)};
    dlock_request *const requests[] = {&batch[0], &batch[1], &batch[2], &batch[3]};
    dlock_sqlite_storage.execute(session, requests, 4);
    if (batch[0].status != DLOCK_OK || strcmp(batch[0].info.owner, "owner") != 0)
        die("inspect: %s %s", dlock_status_name(batch[0].status), batch[0].message);
    for (size_t i = 1; i < 4; i++)
        if (batch[i].status != DLOCK_UNAVAILABLE || batch[i].info.owner[0])
            die("%zu: %s %s", i, dlock_status_name(batch[i].status), batch[i].message);
    close_session(session);

    unlink(in_folder("filler"));
    session = open_session();
    if (ask(session, DLOCK_INSPECT, key, NULL, 0).info.owner[0])
        die("a hold was left behind");
    acquire(session, key, "other", LONG_MS);
    if (ask(session, DLOCK_RELEASE, "held", "owner", 0).status != DLOCK_OK)
        die("the hold from before was lost");
    close_session(session);
    if (run_sql("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'") != 0)
        die("the file is not whole");
}

static void a_full_disk_is_named_and_survived(void **state)
{
    (void)state;
    run_on_a_small_disk(work_on_a_full_disk);
}

static void open_on_a_full_disk(void *arg)
{
    (void)arg;
    mount_small();
    fill(in_folder("filler"));
    assert_refused(path, DLOCK_UNAVAILABLE, "no space left");
    unlink(in_folder("filler"));
    void *session = open_session();
    acquire(session, "key", "owner", LONG_MS);
    close_session(session);
}

static void a_file_that_had_no_room_is_made_later(void **state)
{
    (void)state;
    run_on_a_small_disk(open_on_a_full_disk);
}

static void open_on_a_read_only_disk(void *arg)
{
    (void)arg;
    mount_small();
    close_session(open_session());
    if (mount(NULL, folder, NULL, MS_REMOUNT | MS_RDONLY, NULL) != 0)
        die("mount: %s", strerror(errno));
    assert_refused(path, DLOCK_REFUSED, "Read-only file system");
    assert_refused(in_folder("other.db"), DLOCK_REFUSED, "Read-only file system");
}

static void a_read_only_disk_is_named(void **state)
{
    (void)state;
    run_on_a_small_disk(open_on_a_read_only_disk);
}

/* ---- check --------------------------------------------------------------------------------------------------------
 */

static void collect(void *arg, const char *text)
{
    strcat(arg, text);
    strcat(arg, "\n");
}

static char *warnings(void)
{
    static char texts[8192];
    texts[0] = '\0';
    void *session = open_session();
    assert_int_equal(dlock_sqlite_storage.check(session, collect, texts, NULL), DLOCK_OK);
    close_session(session);
    return texts;
}

static void check_warns_of_what_others_may_do(void **state)
{
    (void)state;
    assert_null(strstr(warnings(), "others may"));
    assert_int_equal(chmod(path, 0644), 0);
    assert_non_null(strstr(warnings(), "others may read it (mode 644)"));
    assert_int_equal(chmod(path, 0660), 0);
    assert_non_null(strstr(warnings(), "others may write it (mode 660)"));
    assert_null(strstr(warnings(), "names"));
    assert_int_equal(link(path, in_folder("second.db")), 0);
    assert_non_null(strstr(warnings(), "the file has 2 names"));
}

static void check_warns_of_the_file_system(void **state)
{
    (void)state;
    pretended_magic = EXT4_SUPER_MAGIC;
    assert_null(strstr(warnings(), "memory"));
    pretended_magic = TMPFS_MAGIC;
    assert_non_null(strstr(warnings(), "kept in memory"));
    pretended_magic = OVERLAYFS_SUPER_MAGIC;
    assert_non_null(strstr(warnings(), "other containers"));
    pretended_magic = FUSE_SUPER_MAGIC; /* the mount's type is not one of a network */
    assert_non_null(strstr(warnings(), "cannot vouch for"));
    pretended_magic = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        folder_test(the_file_is_made_for_its_user_alone),
        folder_test(the_default_place_is_of_the_user),
        folder_test(a_relative_path_is_of_the_folder_that_the_program_was_in),
        folder_test(names_that_mean_something_to_sqlite_are_files),
        cmocka_unit_test(a_host_is_invalid),
        folder_test(a_missing_folder_is_not_made),
        folder_test(what_is_no_file_is_refused),
        cmocka_unit_test(network_file_systems_are_known_by_name),
        folder_test(a_network_file_system_is_refused_with_its_mount),
        folder_test(another_database_is_refused_with_what_it_has),
        folder_test(a_database_with_a_log_keeps_it),
        folder_test(a_mark_without_the_tables_is_refused),
        folder_test(a_newer_layout_is_refused),
        folder_test(what_is_no_database_is_refused),
        folder_test(a_corrupt_file_is_refused),
        folder_test(rights_that_are_missing_are_named),
        folder_test(check_warns_of_what_others_may_do),
        folder_test(check_warns_of_the_file_system),
        /* These need mounts of their own, which users without privileges may not have. */
        folder_test(a_full_disk_is_named_and_survived),
        folder_test(a_file_that_had_no_room_is_made_later),
        folder_test(a_read_only_disk_is_named),
    };
    const size_t need_mounts = 3;
    struct CMUnitTest chosen[sizeof tests / sizeof tests[0]];
    memcpy(chosen, tests, sizeof tests);
    const size_t count = sizeof tests / sizeof tests[0] - (geteuid() == 0 ? 0 : need_mounts);
    return _cmocka_run_group_tests("sqlite place", chosen, count, NULL, NULL);
}
