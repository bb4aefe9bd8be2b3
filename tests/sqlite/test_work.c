/* test_work.c - the embedded storage at work: reboots, moved files, many processes, kills, sweeping, waking. */
#include "fixture.h"

#include "../../storages/sqlite/sqlite_storage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define storage dlock_sqlite_storage

static void assert_holder(void *session, const char *key, const char *owner)
{
    const dlock_request request = ask(session, DLOCK_INSPECT, key, NULL, 0);
    assert_status(request, DLOCK_OK);
    assert_string_equal(request.info.owner, owner);
}

static int64_t wall_clock_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

/* ---- other programs -----------------------------------------------------------------------------------------------
 */

/* A process that is only forked shares what SQLite knows of this one's files. These are programs of their own: this one
 * again, with what it is to do and the path as arguments. Its input ends when it may go on; it tells by a byte that it
 * is ready. */

struct program {
    pid_t child;
    int input, output;
};

static struct program start_program(const char *what)
{
    int input[2], output[2];
    char byte;
    assert_int_equal(pipe2(input, O_CLOEXEC), 0);
    assert_int_equal(pipe2(output, O_CLOEXEC), 0);
    const pid_t child = fork();
    if (child == 0) {
        if (dup2(input[0], STDIN_FILENO) == STDIN_FILENO && dup2(output[1], STDOUT_FILENO) == STDOUT_FILENO)
            execl("/proc/self/exe", "test_sqlite_work", what, path, (char *)NULL);
        _exit(1);
    }
    assert_true(child > 0);
    close(input[0]);
    close(output[1]);
    assert_int_equal(read(output[0], &byte, 1), 1);
    return (struct program){child, input[1], output[0]};
}

static void say_ready_and_wait(void)
{
    char byte;
    if (write(STDOUT_FILENO, "", 1) != 1 || read(STDIN_FILENO, &byte, 1) != 0)
        _exit(1);
}

static void close_pipes(const struct program *program)
{
    close(program->input);
    close(program->output);
}

static void end_program(const struct program *program)
{
    close_pipes(program);
    assert_ends_well(program->child);
}

static void kill_program(const struct program *program)
{
    int status;
    assert_int_equal(kill(program->child, SIGKILL), 0);
    assert_int_equal(waitpid(program->child, &status, 0), program->child);
    assert_true(WIFSIGNALED(status));
    close_pipes(program);
}

static int be_program(const char *what)
{
    if (strcmp(what, "look") == 0) {
        const int64_t locks = run_sql("SELECT count(*) FROM locks");
        say_ready_and_wait();
        return locks == 1 ? 0 : 1;
    }
    if (strcmp(what, "stop in a transaction") == 0) {
        sqlite3 *db;
        if (sqlite3_open(path, &db) != SQLITE_OK ||
            sqlite3_exec(db, "BEGIN IMMEDIATE; DELETE FROM locks", NULL, NULL, NULL) != SQLITE_OK)
            return 1;
        say_ready_and_wait();
        return 1;
    }
    if (strcmp(what, "hold") == 0) {
        void *session = open_session();
        acquire(session, "key", "owner", LONG_MS);
        say_ready_and_wait();
        const int64_t since = dlock_clock_us();
        while (ask(session, DLOCK_EXTEND, "key", "owner", LONG_MS).status == DLOCK_OK)
            if (patience_is_over(since))
                return 1;
        close_session(session);
        return 0;
    }
    return 1;
}

/* ---- boots and files ----------------------------------------------------------------------------------------------
 */

static void a_reboot_ends_all_leases_and_fences_go_on(void **state)
{
    (void)state;
    void *session = open_session();
    const uint64_t before = acquire(session, "key", "owner", LONG_MS);
    close_session(session);
    run_sql("UPDATE meta SET boot_id = 'an earlier one'");

    session = open_session();
    assert_holder(session, "key", "");
    assert_status(ask(session, DLOCK_EXTEND, "key", "owner", LONG_MS), DLOCK_LOST);
    /* More than the log can have lost in a power cut. */
    assert_true(acquire(session, "key", "other", LONG_MS) > before + 1000000);
    close_session(session);

    /* The same boot changes nothing. */
    session = open_session();
    assert_holder(session, "key", "other");
    close_session(session);
}

static void a_reboot_with_a_wrong_clock_does_not_set_fences_back(void **state)
{
    (void)state;
    close_session(open_session());
    const int64_t future = wall_clock_us() + INT64_C(1000000) * 86400 * 365;
    char sql[200];
    snprintf(sql, sizeof sql, "UPDATE meta SET boot_id = 'an earlier one', fence = %lld", (long long)future);
    run_sql(sql);
    void *session = open_session();
    assert_true(acquire(session, "key", "owner", LONG_MS) > (uint64_t)future + 1000000);
    close_session(session);
}

static void a_new_file_in_place_of_a_deleted_one_repeats_no_fence(void **state)
{
    (void)state;
    void *session = open_session();
    const uint64_t before = acquire(session, "key", "owner", LONG_MS);
    assert_true(before >= (uint64_t)wall_clock_us() - 60000000);
    assert_true(before < UINT64_C(1) << 53); /* exact in languages whose numbers are doubles */
    close_session(session);
    /* The logs stay behind. */
    assert_int_equal(unlink(path), 0);
    session = open_session();
    assert_holder(session, "key", "");
    assert_true(acquire(session, "key", "other", LONG_MS) > before);
    close_session(session);
    assert_int_equal(run_sql("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0);
}

/* The old file's log and index stay in use by who has it open; the new one must not take them for its own. */
static void a_new_file_has_nothing_of_the_old_ones_users(void **state)
{
    (void)state;
    const struct program program = start_program("hold");
    assert_int_equal(unlink(path), 0);
    for (unsigned i = 0; i < 3; i++) {
        void *session = open_session();
        assert_holder(session, "key", "");
        acquire(session, "key", "other", LONG_MS);
        assert_status(ask(session, DLOCK_RELEASE, "key", "other", 0), DLOCK_OK);
        close_session(session);
    }
    end_program(&program); /* it has noticed */
    void *session = open_session();
    assert_holder(session, "key", "");
    close_session(session);
    assert_int_equal(run_sql("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0);
}

/* A session soon notices that its file no longer has its name, and answers so from then on. */
static void assert_notices_move(void *session)
{
    const int64_t since = dlock_clock_us();
    dlock_request request;
    do {
        request = ask(session, DLOCK_INSPECT, "key", NULL, 0);
        assert_false(patience_is_over(since));
    } while (request.status == DLOCK_OK);
    assert_status(request, DLOCK_UNAVAILABLE);
    assert_true(request.not_done);
    assert_non_null(strstr(request.message, "moved or deleted"));
    assert_int_equal(storage.list(session, "", NULL, NULL, NULL), DLOCK_UNAVAILABLE);
}

static void a_moved_file_is_noticed(void **state)
{
    (void)state;
    char moved[160];
    snprintf(moved, sizeof moved, "%s.moved", path);
    void *session = open_session();
    acquire(session, "key", "owner", LONG_MS);
    assert_int_equal(rename(path, moved), 0);
    assert_notices_move(session);
    void *other = open_session(); /* a new file */
    acquire(other, "key", "other", LONG_MS);
    assert_status(ask(session, DLOCK_ACQUIRE, "key", "owner", LONG_MS), DLOCK_UNAVAILABLE);
    close_session(session);
    assert_holder(other, "key", "other");
    close_session(other);
}

static void a_deleted_file_is_noticed(void **state)
{
    (void)state;
    void *session = open_session();
    acquire(session, "key", "owner", LONG_MS);
    assert_int_equal(unlink(path), 0);
    assert_notices_move(session);
    close_session(session);
}

static void an_empty_file_is_made_ours(void **state)
{
    (void)state;
    write_file(path, "", 0);
    void *session = open_session();
    acquire(session, "key", "owner", LONG_MS);
    close_session(session);
}

static void a_file_without_its_log_gets_it_back(void **state)
{
    (void)state;
    void *session = open_session();
    const uint64_t before = acquire(session, "key", "owner", LONG_MS);
    close_session(session);
    run_sql("PRAGMA journal_mode = DELETE");
    session = open_session();
    assert_holder(session, "key", "owner");
    assert_true(acquire(session, "other", "owner", LONG_MS) > before);
    close_session(session);
    assert_int_equal(run_sql("SELECT count(*) FROM pragma_journal_mode WHERE journal_mode = 'wal'"), 1);
}

static void a_link_leads_to_the_same_locks(void **state)
{
    (void)state;
    char name[160];
    snprintf(name, sizeof name, "%s.link", path);
    void *session = open_session(), *other = NULL;
    assert_int_equal(symlink(path, name), 0);
    assert_int_equal(try_open(name, 5000, &other, NULL), DLOCK_OK);
    acquire(session, "key", "owner", LONG_MS);
    assert_status(ask(other, DLOCK_ACQUIRE, "key", "other", LONG_MS), DLOCK_BUSY);
    close_session(session);
    close_session(other);
}

/* ---- locks of the file --------------------------------------------------------------------------------------------
 */

static sqlite3 *begin_elsewhere(void)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    return db;
}

static void a_lock_that_does_not_go_is_named_after_the_timeout(void **state)
{
    (void)state;
    close_session(open_session());
    void *session = NULL;
    assert_int_equal(try_open(path, 50, &session, NULL), DLOCK_OK);
    sqlite3 *db = begin_elsewhere();
    const int64_t before = dlock_clock_us();
    const dlock_request request = ask(session, DLOCK_ACQUIRE, "key", "owner", LONG_MS);
    assert_true(dlock_clock_us() - before >= 50000);
    assert_status(request, DLOCK_UNAVAILABLE);
    assert_true(request.not_done);
    assert_non_null(strstr(request.message, "another process keeps the database locked"));
    assert_holder(session, "key", ""); /* who only looks needs no lock */
    sqlite3_close(db);
    acquire(session, "key", "owner", LONG_MS);
    close_session(session);
}

static void *acquire_in_thread(void *arg)
{
    void *session = open_session();
    *(dlock_request *)arg = ask(session, DLOCK_ACQUIRE, "key", "other", LONG_MS);
    close_session(session);
    return NULL;
}

/* A request that had to wait for the file is decided by the time at which its turn came. */
static void what_expires_while_a_request_waits_is_free(void **state)
{
    (void)state;
    void *session = open_session();
    acquire(session, "key", "owner", 300);
    const int64_t since = dlock_clock_us();
    sqlite3 *db = begin_elsewhere();
    dlock_request request;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, acquire_in_thread, &request), 0);
    while (dlock_clock_us() - since < 310000)
        assert_false(patience_is_over(since));
    sqlite3_close(db);
    pthread_join(thread, NULL);
    assert_status(request, DLOCK_OK);
    close_session(session);
}

static void busy_lost_and_inspect_write_nothing(void **state)
{
    (void)state;
    void *session = open_session();
    acquire(session, "key", "owner", LONG_MS);
    sqlite3 *db;
    sqlite3_stmt *statement;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA data_version", -1, &statement, NULL), SQLITE_OK);
    int versions[3];
    for (int i = 0; i < 3; i++) {
        assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
        versions[i] = sqlite3_column_int(statement, 0);
        sqlite3_reset(statement);
        if (i == 0) {
            assert_status(ask(session, DLOCK_ACQUIRE, "key", "other", LONG_MS), DLOCK_BUSY);
            assert_status(ask(session, DLOCK_EXTEND, "key", "other", LONG_MS), DLOCK_LOST);
            assert_status(ask(session, DLOCK_RELEASE, "key", "other", LONG_MS), DLOCK_LOST);
            assert_holder(session, "key", "owner");
        } else if (i == 1) {
            assert_status(ask(session, DLOCK_RELEASE, "key", "owner", 0), DLOCK_OK);
        }
    }
    assert_int_equal(versions[0], versions[1]);
    assert_int_not_equal(versions[1], versions[2]);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    close_session(session);
}

/* Closing what SQLite knows nothing of would drop its locks on the file, and the next to close would take the log away.
 */
static void a_session_that_closes_leaves_others_their_log(void **state)
{
    (void)state;
    char log[160];
    snprintf(log, sizeof log, "%s-wal", path);
    void *session = open_session();
    acquire(session, "key", "owner", LONG_MS);
    close_session(open_session());
    assert_refused("/nowhere/locks.db", DLOCK_REFUSED, "does not exist");
    const struct program program = start_program("look");
    end_program(&program);
    assert_int_equal(access(log, F_OK), 0);
    void *other = open_session();
    assert_status(ask(session, DLOCK_RELEASE, "key", "owner", 0), DLOCK_OK);
    assert_holder(other, "key", "");
    close_session(session);
    close_session(other);
}

/* ---- many processes -----------------------------------------------------------------------------------------------
 */

#define CROWD  20
#define ROUNDS 10

struct crowd {
    int start[2], fences[2]; /* pipes */
    char counter[160];
};

/* Comes with all the others, makes the file or finds it, and counts under the lock. */
static void join_crowd(void *arg)
{
    struct crowd *crowd = arg;
    char byte, owner[32];
    close(crowd->start[1]);
    if (read(crowd->start[0], &byte, 1) != 0) /* the end of the pipe is the start */
        die("read");
    void *session = open_session();
    snprintf(owner, sizeof owner, "process %d", (int)getpid());
    for (unsigned i = 0; i < ROUNDS; i++) {
        const int64_t since = dlock_clock_us();
        dlock_request request;
        while ((request = ask(session, DLOCK_ACQUIRE, "key", owner, LONG_MS)).status == DLOCK_BUSY)
            if (patience_is_over(since))
                die("busy for too long");
        if (request.status != DLOCK_OK)
            die("%s %s", dlock_status_name(request.status), request.message);
        size_t size;
        char *text = read_file(crowd->counter, &size), next[16];
        snprintf(next, sizeof next, "%d", text ? atoi(text) + 1 : 1);
        free(text);
        write_file(crowd->counter, next, strlen(next));
        if (write(crowd->fences[1], &request.info.fence, sizeof request.info.fence) != sizeof request.info.fence)
            die("write");
        request = ask(session, DLOCK_RELEASE, "key", owner, 0);
        if (request.status != DLOCK_OK)
            die("%s %s", dlock_status_name(request.status), request.message);
    }
    close_session(session);
}

static void a_crowd_makes_the_file_and_keeps_itself_apart(void **state)
{
    (void)state;
    struct crowd crowd;
    pid_t children[CROWD];
    snprintf(crowd.counter, sizeof crowd.counter, "%s/counter", folder);
    assert_int_equal(pipe(crowd.start), 0);
    assert_int_equal(pipe(crowd.fences), 0);
    for (size_t i = 0; i < CROWD; i++)
        children[i] = start(join_crowd, &crowd);
    close(crowd.start[0]);
    close(crowd.start[1]);
    close(crowd.fences[1]);
    uint64_t fence, last = 0;
    unsigned count = 0;
    while (read(crowd.fences[0], &fence, sizeof fence) == sizeof fence) {
        assert_true(fence > last); /* written under the lock, so in the order of holds */
        last = fence;
        count++;
    }
    for (size_t i = 0; i < CROWD; i++)
        assert_ends_well(children[i]);
    assert_int_equal(count, CROWD * ROUNDS);
    size_t size;
    char *text = read_file(crowd.counter, &size);
    assert_int_equal(atoi(text), CROWD * ROUNDS);
    free(text);
    close(crowd.fences[0]);
}

/* ---- kills --------------------------------------------------------------------------------------------------------
 */

static void kill_and_wait(pid_t child)
{
    int status;
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
}

static void assert_whole(void)
{
    assert_int_equal(run_sql("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0);
}

static void work_without_end(void *arg)
{
    const int *tell = arg;
    void *session = open_session();
    for (unsigned i = 0;; i++) {
        acquire(session, "theirs", "owner", LONG_MS);
        if (ask(session, DLOCK_RELEASE, "theirs", "owner", 0).status != DLOCK_OK)
            die("release");
        if (i == 0 && write(*tell, "", 1) != 1)
            die("write");
    }
}

static void a_killed_process_leaves_a_whole_file(void **state)
{
    (void)state;
    uint64_t last = 0;
    for (unsigned i = 0; i < 15; i++) {
        int tell[2];
        char byte;
        assert_int_equal(pipe(tell), 0);
        const pid_t child = start(work_without_end, &tell[1]);
        assert_int_equal(read(tell[0], &byte, 1), 1);     /* it is at work */
        for (unsigned spin = 0; spin < i * 20000; spin++) /* and killed at another place each time */
            __asm__ volatile("");
        kill_and_wait(child);
        void *session = open_session();
        const uint64_t fence = acquire(session, "ours", "owner", LONG_MS);
        assert_true(fence > last);
        last = fence;
        assert_status(ask(session, DLOCK_RELEASE, "ours", "owner", 0), DLOCK_OK);
        close_session(session);
        close(tell[0]);
        close(tell[1]);
    }
    assert_whole();
}

static void a_transaction_of_a_killed_process_never_was(void **state)
{
    (void)state;
    void *session = open_session();
    acquire(session, "key", "owner", LONG_MS);
    const struct program program = start_program("stop in a transaction");
    kill_program(&program);
    assert_status(ask(session, DLOCK_ACQUIRE, "key", "other", LONG_MS), DLOCK_BUSY);
    assert_status(ask(session, DLOCK_RELEASE, "key", "owner", 0), DLOCK_OK);
    close_session(session);
    assert_whole();
}

/* ---- nothing piles up ---------------------------------------------------------------------------------------------
 */

#define BATCH 200

static void ask_many(void *session, dlock_operation operation, const char *owner, unsigned first, uint32_t ttl_ms)
{
    static dlock_request batch[BATCH];
    static char keys[BATCH][32];
    dlock_request *requests[BATCH];
    for (unsigned i = 0; i < BATCH; i++) {
        snprintf(keys[i], sizeof keys[i], "key %u", first + i);
        batch[i] = request_of(operation, keys[i], owner, ttl_ms);
        requests[i] = &batch[i];
    }
    storage.execute(session, requests, BATCH);
    for (unsigned i = 0; i < BATCH; i++)
        assert_status(batch[i], DLOCK_OK);
}

static off_t size_of(const char *ending)
{
    char name[160];
    struct stat status;
    snprintf(name, sizeof name, "%s%s", path, ending);
    assert_int_equal(stat(name, &status), 0);
    return status.st_size;
}

static void abandoned_locks_are_swept(void **state)
{
    (void)state;
    void *session = open_session();
    ask_many(session, DLOCK_ACQUIRE, "owner", 0, 10);
    acquire(session, "kept", "owner", LONG_MS);
    const int64_t since = dlock_clock_us();
    /* One key comes and goes; it is the grants that sweep. */
    do {
        acquire(session, "other", "owner", LONG_MS);
        assert_status(ask(session, DLOCK_RELEASE, "other", "owner", 0), DLOCK_OK);
    } while (run_sql("SELECT count(*) FROM locks") > 1 && dlock_clock_us() - since < 30000000);
    assert_int_equal(run_sql("SELECT count(*) FROM locks"), 1);
    assert_holder(session, "kept", "owner");
    close_session(session);
}

static void a_hundred_thousand_locks_take_no_room(void **state)
{
    (void)state;
    void *session = open_session();
    for (unsigned i = 0; i < 100000; i += BATCH) {
        const bool abandon = i % (2 * BATCH) == 0;
        ask_many(session, DLOCK_ACQUIRE, "owner", i, abandon ? 10 : LONG_MS);
        if (!abandon)
            ask_many(session, DLOCK_RELEASE, "owner", i, 0);
    }
    assert_true(size_of("") < 3 << 20);
    assert_true(size_of("-wal") < 3 << 20);
    assert_true(run_sql("SELECT count(*) FROM locks") < 15000);
    close_session(session);
}

/* ---- waking -------------------------------------------------------------------------------------------------------
 */

static void count_hint(void *arg, const char *key)
{
    (void)key;
    ++*(unsigned *)arg;
}

static unsigned count_marks(void)
{
    char name[160];
    unsigned count = 0;
    snprintf(name, sizeof name, "%s-wake", path);
    DIR *marks = opendir(name);
    while (marks && readdir(marks))
        count++;
    if (marks)
        closedir(marks);
    return count ? count - 2 : 0; /* less . and .. */
}

static void marks_are_bounded_and_of_the_files_mode(void **state)
{
    (void)state;
    void *session = open_session();
    assert_int_equal(chmod(path, 0660), 0);
    for (unsigned i = 0; i < 1000; i++) {
        char key[32];
        snprintf(key, sizeof key, "key %u", i);
        assert_int_equal(storage.watch(session, key, NULL), DLOCK_OK);
    }
    assert_true(count_marks() > 200 && count_marks() <= 256);
    char name[160];
    struct stat status;
    snprintf(name, sizeof name, "%s-wake", path);
    assert_int_equal(stat(name, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0770);
    close_session(session);
}

static void nothing_is_made_where_nobody_waits(void **state)
{
    (void)state;
    void *session = open_session();
    acquire(session, "key", "owner", LONG_MS);
    assert_status(ask(session, DLOCK_RELEASE, "key", "owner", 0), DLOCK_OK);
    assert_int_equal(count_marks(), 0);
    close_session(session);
}

static void watch_and_wait(void *arg)
{
    const int *tell = arg;
    void *session = open_session();
    if (storage.watch(session, "key", NULL) != DLOCK_OK || write(*tell, "", 1) != 1)
        die("watch");
    for (;;)
        pause();
}

static void a_killed_waiter_harms_nobody(void **state)
{
    (void)state;
    int tell[2];
    char byte;
    assert_int_equal(pipe(tell), 0);
    const pid_t child = start(watch_and_wait, &tell[1]);
    assert_int_equal(read(tell[0], &byte, 1), 1);
    kill_and_wait(child);
    assert_int_equal(count_marks(), 1);

    void *session = open_session(), *watcher = open_session();
    unsigned hints = 0;
    assert_int_equal(storage.watch(watcher, "key", NULL), DLOCK_OK);
    acquire(session, "key", "owner", LONG_MS);
    assert_status(ask(session, DLOCK_RELEASE, "key", "owner", 0), DLOCK_OK);
    struct pollfd polled = {.fd = storage.watch_fd(watcher), .events = POLLIN};
    assert_int_equal(poll(&polled, 1, 30000), 1);
    assert_int_equal(storage.watch_read(watcher, count_hint, &hints, NULL), DLOCK_OK);
    assert_int_equal(hints, 1);
    close_session(session);
    close_session(watcher);
    close(tell[0]);
    close(tell[1]);
}

static void marks_that_are_deleted_end_the_watching_session(void **state)
{
    (void)state;
    void *watcher = open_session();
    char command[200];
    unsigned hints = 0;
    dlock_error error;
    assert_int_equal(storage.watch(watcher, "key", NULL), DLOCK_OK);
    snprintf(command, sizeof command, "rm -r '%s-wake'", path);
    assert_int_equal(system(command), 0);
    struct pollfd polled = {.fd = storage.watch_fd(watcher), .events = POLLIN};
    assert_int_equal(poll(&polled, 1, 30000), 1);
    assert_int_equal(storage.watch_read(watcher, count_hint, &hints, &error), DLOCK_UNAVAILABLE);
    assert_non_null(strstr(error.message, "is gone"));
    close_session(watcher);
    watcher = open_session();
    assert_int_equal(storage.watch(watcher, "key", NULL), DLOCK_OK);
    close_session(watcher);
}

/* Else it would wait for releases of a file that nobody uses any more. */
static void a_watching_session_notices_that_its_file_is_gone(void **state)
{
    (void)state;
    void *watcher = open_session();
    unsigned hints = 0;
    dlock_error error;
    assert_int_equal(storage.watch(watcher, "key", NULL), DLOCK_OK);
    struct pollfd polled = {.fd = storage.watch_fd(watcher), .events = POLLIN};
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(poll(&polled, 1, 30000), 1);
    assert_int_equal(storage.watch_read(watcher, count_hint, &hints, &error), DLOCK_OK);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(poll(&polled, 1, 30000), 1);
    assert_int_equal(storage.watch_read(watcher, count_hint, &hints, &error), DLOCK_UNAVAILABLE);
    assert_non_null(strstr(error.message, "moved or deleted"));
    assert_int_equal(hints, 0);
    close_session(watcher);
}

int main(int argc, char **argv)
{
    if (argc == 3) {
        snprintf(path, sizeof path, "%s", argv[2]);
        return be_program(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        folder_test(a_reboot_ends_all_leases_and_fences_go_on),
        folder_test(a_reboot_with_a_wrong_clock_does_not_set_fences_back),
        folder_test(a_new_file_in_place_of_a_deleted_one_repeats_no_fence),
        folder_test(a_new_file_has_nothing_of_the_old_ones_users),
        folder_test(a_moved_file_is_noticed),
        folder_test(a_deleted_file_is_noticed),
        folder_test(an_empty_file_is_made_ours),
        folder_test(a_file_without_its_log_gets_it_back),
        folder_test(a_link_leads_to_the_same_locks),
        folder_test(a_lock_that_does_not_go_is_named_after_the_timeout),
        folder_test(what_expires_while_a_request_waits_is_free),
        folder_test(busy_lost_and_inspect_write_nothing),
        folder_test(a_session_that_closes_leaves_others_their_log),
        folder_test(a_crowd_makes_the_file_and_keeps_itself_apart),
        folder_test(a_killed_process_leaves_a_whole_file),
        folder_test(a_transaction_of_a_killed_process_never_was),
        folder_test(abandoned_locks_are_swept),
        folder_test(a_hundred_thousand_locks_take_no_room),
        folder_test(marks_are_bounded_and_of_the_files_mode),
        folder_test(nothing_is_made_where_nobody_waits),
        folder_test(a_killed_waiter_harms_nobody),
        folder_test(marks_that_are_deleted_end_the_watching_session),
        folder_test(a_watching_session_notices_that_its_file_is_gone),
    };
    return cmocka_run_group_tests_name("sqlite work", tests, NULL, NULL);
}
