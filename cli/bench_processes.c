/* bench_processes.c - what takes more than one process: a lock that goes from one to another, and commands.
 *
 * Called by bench.c, while no storage is open in this process, so that a child may open its own. */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- hand-over ------------------------------------------------------------------------------------------------ */

#define ASLEEP_NS  20000000 /* after which a waiter has gone to sleep, */
#define LATEST_NS  10000000 /* unless it began to wait less than this before the release */
#define PATIENCE_S 20

/* What the waiter tells of one hand-over. */
struct report {
    int64_t asked_ns, granted_ns;
    dlock_error error;
};

static dlock_status refuse(dlock_error *error, const char *why)
{
    *error = (dlock_error){.status = DLOCK_REFUSED};
    snprintf(error->message, sizeof error->message, "%s", why);
    return error->status;
}

static dlock_status open_lock(struct bench *b, dlock_factory **factory, dlock **lock, dlock_error *error)
{
    char key[BENCH_KEY_SIZE];
    const dlock_status status = bench_open(b, factory, error);

    return status == DLOCK_OK ? dlock_create(*factory, bench_key(b, 0, key), lock, error) : status;
}

static dlock_status acquire_in_line(dlock *lock, dlock_error *error)
{
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;

    options.wait_ms = PATIENCE_S * 1000;
    return dlock_acquire(lock, &options, error);
}

/* The other process: waits for the lock each time it is told to, until nobody tells any more. */
static void be_the_waiter(struct bench *b, int peer)
{
    struct report report = {.error = {.status = DLOCK_OK}};
    dlock_factory *factory = NULL;
    dlock *lock = NULL;
    char order;

    dlock_status status = open_lock(b, &factory, &lock, &report.error);
    while (recv(peer, &order, 1, 0) == 1) {
        report.asked_ns = bench_now_ns();
        if (status == DLOCK_OK)
            status = acquire_in_line(lock, &report.error);
        report.granted_ns = bench_now_ns();
        if (status == DLOCK_OK)
            status = dlock_release(lock, &report.error);
        report.error.status = status;
        send(peer, &report, sizeof report, MSG_NOSIGNAL);
    }
    dlock_free(lock);
    dlock_factory_close(factory);
}

/* One hand-over. */
static dlock_status hand_over(dlock *lock, int peer, struct histogram *times, dlock_error *error)
{
    struct report report;
    dlock_status status = acquire_in_line(lock, error);

    if (status != DLOCK_OK)
        return status;
    if (send(peer, "", 1, MSG_NOSIGNAL) != 1)
        return refuse(error, "the process that waits is gone");
    bench_pause(bench_now_ns() + ASLEEP_NS);
    const int64_t released_ns = bench_now_ns();
    status = dlock_release(lock, error);
    if (recv(peer, &report, sizeof report, 0) != sizeof report)
        return refuse(error, "the process that waits is gone");
    if (report.error.status != DLOCK_OK) {
        *error = report.error;
        return error->status;
    }
    if (status == DLOCK_OK && report.granted_ns < released_ns)
        return refuse(error, "two processes held a key at once: they do not share this storage");
    if (report.asked_ns < released_ns - LATEST_NS)
        histogram_add(times, report.granted_ns - released_ns);
    return status;
}

static dlock_status hand_over_again(struct bench *b, int peer, dlock_error *error)
{
    struct histogram *times = calloc(1, sizeof *times);
    dlock_factory *factory = NULL;
    dlock *lock = NULL;

    if (!times)
        return bench_fail(error, "cannot measure");
    dlock_status status = open_lock(b, &factory, &lock, error);
    const int64_t end_ns = bench_end_ns(b, 0);
    while (status == DLOCK_OK && bench_goes_on(end_ns))
        status = hand_over(lock, peer, times, error);
    bench_add_row(b, times, 0, NULL);
    dlock_free(lock);
    dlock_factory_close(factory);
    free(times);
    return status;
}

dlock_status bench_handover(struct bench *b, size_t count, dlock_error *error)
{
    int peers[2];
    (void)count;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, peers) != 0)
        return bench_fail(error, "cannot talk to another process");
    fflush(NULL);
    const pid_t waiter = fork();
    if (waiter == 0) {
        close(peers[0]);
        be_the_waiter(b, peers[1]);
        _exit(0);
    }
    close(peers[1]);
    const dlock_status status =
        waiter > 0 ? hand_over_again(b, peers[0], error) : bench_fail(error, "cannot start a process");
    close(peers[0]);
    if (waiter > 0)
        waitpid(waiter, NULL, 0);
    return status;
}

/* ---- commands -------------------------------------------------------------------------------------------------- */

/* Runs this program with other arguments, to its end. */
static dlock_status run_once(const char *const *arguments, dlock_error *error)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    pid_t child;
    int status = 0;

    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawnattr_init(&attributes);
    /* Without a terminal: `run` would give it to its command each time. */
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    errno = posix_spawn(&child, "/proc/self/exe", &files, &attributes, (char *const *)arguments, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    if (errno != 0)
        return bench_fail(error, "cannot start dlock");
    waitpid(child, &status, 0);
    if (status == 0)
        return DLOCK_OK;
    *error = (dlock_error){.status = DLOCK_UNAVAILABLE};
    snprintf(error->message, sizeof error->message, "dlock %s ended with status %d", arguments[1],
             WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    return error->status;
}

static dlock_status run_again(struct bench *b, const char *const *arguments, dlock_error *error)
{
    struct histogram *times = calloc(1, sizeof *times);

    if (!times)
        return bench_fail(error, "cannot measure");
    dlock_status status = run_once(arguments, error); /* makes a store, and fills the file cache */
    const int64_t begin_ns = bench_now_ns(), end_ns = bench_end_ns(b, 0);
    while (status == DLOCK_OK) {
        const int64_t before_ns = bench_now_ns();
        status = run_once(arguments, error);
        if (status == DLOCK_OK)
            histogram_add(times, bench_now_ns() - before_ns);
        if (!bench_goes_on(end_ns))
            break;
    }
    bench_add_row(b, times, (double)(bench_now_ns() - begin_ns) / 1e9, NULL);
    free(times);
    return status;
}

dlock_status bench_start(struct bench *b, size_t count, dlock_error *error)
{
    (void)count;
    return run_again(b, (const char *const[]){"dlock", "--version", NULL}, error);
}

dlock_status bench_run(struct bench *b, size_t count, dlock_error *error)
{
    char key[BENCH_KEY_SIZE];
    (void)count;

    /* Not as an argument, where others could read a password. */
    if (b->settings->store && setenv("DLOCK_STORE", b->settings->store, 1) != 0)
        return bench_fail(error, "cannot name the storage");
    bench_key(b, 0, key);
    return run_again(b, (const char *const[]){"dlock", "run", key, "--", "true", NULL}, error);
}
