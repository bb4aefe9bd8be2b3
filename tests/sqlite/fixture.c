/* fixture.c - see fixture.h. */
#include "fixture.h"

#include "../../storages/sqlite/sqlite_storage.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

char folder[64], path[128];

int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/dlock-test-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/locks.db", folder);
    return 0;
}

static int remove_entry(const char *name, const struct stat *status, int type, struct FTW *where)
{
    (void)status, (void)type, (void)where;
    return remove(name);
}

int remove_folder(void **state)
{
    (void)state;
    chmod(folder, 0700);
    return nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

/* ---- sessions */

/* What a session is opened over must live as long as it does. */
struct opened {
    dlock_url url;
    dlock_storage_options options;
    char *file;
    _Alignas(max_align_t) char session[];
};

static struct opened *opened_of(void *session)
{
    return (struct opened *)((char *)session - offsetof(struct opened, session));
}

dlock_status try_open(const char *file, uint32_t timeout_ms, void **ret, dlock_error *error)
{
    struct opened *opened = calloc(1, sizeof *opened + dlock_sqlite_storage.session_size);
    if (!opened)
        abort();
    opened->file = strdup(file);
    opened->url = (dlock_url){.text = "", .scheme = "sqlite", .path = opened->file};
    opened->options.timeout_ms = timeout_ms;
    const dlock_status status = dlock_sqlite_storage.open(opened->session, &opened->url, &opened->options, error);
    if (status == DLOCK_OK)
        *ret = opened->session;
    else
        close_session(opened->session);
    return status;
}

void *open_session(void)
{
    void *session;
    dlock_error error;
    if (try_open(path, 20000, &session, &error) != DLOCK_OK)
        die("open: %s", error.message);
    return session;
}

void close_session(void *session)
{
    struct opened *opened = opened_of(session);
    dlock_sqlite_storage.close(session);
    free(opened->file);
    free(opened);
}

dlock_request request_of(dlock_operation operation, const char *key, const char *owner, uint32_t ttl_ms)
{
    return (dlock_request){
        .operation = operation, .key = key, .owner = owner, .ttl_ms = ttl_ms, .status = DLOCK_UNAVAILABLE};
}

dlock_request ask(void *session, dlock_operation operation, const char *key, const char *owner, uint32_t ttl_ms)
{
    dlock_request request = request_of(operation, key, owner, ttl_ms);
    dlock_request *const requests[] = {&request};
    dlock_sqlite_storage.execute(session, requests, 1);
    return request;
}

uint64_t acquire(void *session, const char *key, const char *owner, uint32_t ttl_ms)
{
    const dlock_request request = ask(session, DLOCK_ACQUIRE, key, owner, ttl_ms);
    if (request.status != DLOCK_OK)
        die("acquire %s: %s %s", key, dlock_status_name(request.status), request.message);
    return request.info.fence;
}

void assert_answer(dlock_request request, dlock_status wanted, const char *file, int line)
{
    if (request.status != wanted)
        fail_msg("%s:%d: %s %s", file, line, dlock_status_name(request.status), request.message);
}

void assert_refused(const char *file, dlock_status status, const char *message)
{
    void *session = NULL;
    dlock_error error = {0};
    const dlock_status answer = try_open(file, 1000, &session, &error);
    if (answer != status)
        die("%s: %s instead of %s", dlock_status_name(answer), error.message, dlock_status_name(status));
    if (!strstr(error.message, message))
        die("\"%s\" does not say \"%s\"", error.message, message);
}

int64_t run_sql(const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *statement = NULL;
    int64_t result = -1;
    int code = sqlite3_open(path, &db);
    sqlite3_busy_timeout(db, 10000);
    while (code == SQLITE_OK && *sql) {
        code = sqlite3_prepare_v2(db, sql, -1, &statement, &sql);
        if (code == SQLITE_OK && statement && sqlite3_step(statement) == SQLITE_ROW)
            result = sqlite3_column_int64(statement, 0);
        if (code == SQLITE_OK)
            code = sqlite3_finalize(statement);
    }
    if (code != SQLITE_OK)
        die("%s", sqlite3_errmsg(db));
    sqlite3_close(db);
    return result;
}

/* ---- processes */

static pid_t parent; /* 0 = this is it */

pid_t start(void (*work)(void *arg), void *arg)
{
    fflush(NULL);
    const pid_t before = getpid(), child = fork();
    if (child < 0)
        abort();
    if (child > 0)
        return child;
    parent = before;
    work(arg);
    _exit(0);
}

void die_saying(const char *text)
{
    if (!parent)
        fail_msg("%s", text);
    fprintf(stderr, "# %s\n", text);
    _exit(1);
}

void assert_ends_well(pid_t child)
{
    int status;
    while (waitpid(child, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- files and time */

char *read_file(const char *file, size_t *size)
{
    struct stat status;
    *size = 0;
    const int descriptor = open(file, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return NULL;
    if (fstat(descriptor, &status) != 0)
        abort();
    char *content = calloc(1, (size_t)status.st_size + 1);
    if (!content || read(descriptor, content, (size_t)status.st_size) != status.st_size)
        abort();
    close(descriptor);
    *size = (size_t)status.st_size;
    return content;
}

void write_file(const char *file, const void *content, size_t size)
{
    const int descriptor = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (descriptor < 0 || write(descriptor, content, size) != (ssize_t)size)
        abort();
    close(descriptor);
}

bool patience_is_over(int64_t since)
{
    if (dlock_clock_us() - since > INT64_C(30000000))
        return true;
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    return false;
}
