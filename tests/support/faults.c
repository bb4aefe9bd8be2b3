/* faults.c - see faults.h. */
#include "faults.h"

#include "storages.h"
#include "url.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct session {
    struct faults *faults;
    void *below;
    dlock_request *const *begun;
    size_t begun_count;
    int begun_fd; /* an eventfd, which says that something was begun */
    bool watches; /* some thread is at it: guarded by the mutex of the faults */
};

static dlock_status open_session(void *memory, const dlock_url *url, const dlock_storage_options *options,
                                 dlock_error *error)
{
    (void)url;
    struct session *session = memory;
    struct faults *faults = options->arg;
    pthread_mutex_lock(&faults->mutex);
    const bool fail = faults->fail_open > 0;
    faults->fail_open -= fail;
    faults->opened++;
    pthread_mutex_unlock(&faults->mutex);
    if (fail)
        return dlock_error_set(error, DLOCK_UNAVAILABLE, "no way there, by order of the test");
    session->faults = faults;
    session->begun_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert(session->begun_fd >= 0);
    session->below = calloc(1, faults->below->session_size);
    assert(session->below);
    return faults->below->open(session->below, faults->url, options, error);
}

static void close_session(void *memory)
{
    struct session *session = memory;
    if (!session->below)
        return;
    session->faults->below->close(session->below);
    free(session->below);
    close(session->begun_fd);
}

/* Hangs while any of the requests is to hang. */
static void hang(struct faults *faults, const bool *flags, dlock_request *const *requests, size_t count)
{
    faults->hanging++;
    pthread_cond_broadcast(&faults->changed);
    for (size_t i = 0; i < count; i++)
        while (flags[requests[i]->operation])
            pthread_cond_wait(&faults->changed, &faults->mutex);
    faults->hanging--;
}

static void note(struct faults *faults, dlock_request *const *requests, size_t count)
{
    faults->batches++;
    if ((int)count > faults->batch_max)
        faults->batch_max = (int)count;
    faults->last_at = dlock_clock_us();
    for (size_t i = 0; i < count; i++) {
        const int n = faults->seen[requests[i]->operation]++;
        if (requests[i]->operation == DLOCK_ACQUIRE && n < 8)
            strcpy(faults->owners[n], requests[i]->owner);
    }
}

static bool take(int *fault)
{
    const bool due = *fault > 0;
    *fault -= due;
    return due;
}

static void execute(void *memory, dlock_request *const *requests, size_t count)
{
    struct session *session = memory;
    struct faults *faults = session->faults;
    dlock_request *carried[256];
    size_t carried_count = 0;
    pthread_mutex_lock(&faults->mutex);
    note(faults, requests, count);
    hang(faults, faults->hang, requests, count);
    for (size_t i = 0; i < count; i++)
        if (!take(&faults->lose_request[requests[i]->operation]))
            carried[carried_count++] = requests[i];
    pthread_mutex_unlock(&faults->mutex);
    if (carried_count)
        faults->below->execute(session->below, carried, carried_count);
    pthread_mutex_lock(&faults->mutex);
    hang(faults, faults->hang_reply, requests, count);
    for (size_t i = 0; i < carried_count; i++)
        if (take(&faults->lose_reply[carried[i]->operation])) {
            carried[i]->info = (dlock_info){0};
            dlock_request_fail(carried[i], DLOCK_UNAVAILABLE, "the reply got lost");
        }
    pthread_mutex_unlock(&faults->mutex);
}

static bool begin(void *memory, dlock_request *const *requests, size_t count)
{
    struct session *session = memory;
    session->begun = requests;
    session->begun_count = count;
    return eventfd_write(session->begun_fd, 1) == 0;
}

static bool proceed(void *memory, bool wait)
{
    struct session *session = memory;
    struct faults *faults = session->faults;
    eventfd_t ignored;
    pthread_mutex_lock(&faults->mutex);
    while (wait && faults->hang_begun)
        pthread_cond_wait(&faults->changed, &faults->mutex);
    const bool hangs = session->begun_count > 0 && faults->hang_begun && !take(&faults->answer_begun);
    pthread_mutex_unlock(&faults->mutex);
    if (hangs)
        return false;
    if (session->begun_count > 0)
        execute(memory, session->begun, session->begun_count);
    session->begun_count = 0;
    eventfd_read(session->begun_fd, &ignored);
    return true;
}

static int begun_fd(void *memory)
{
    const struct session *session = memory;
    return session->begun_fd;
}

static dlock_status list(void *memory, const char *prefix,
                         bool (*each)(void *arg, const char *key, const dlock_info *info), void *arg,
                         dlock_error *error)
{
    struct session *session = memory;
    return session->faults->below->list(session->below, prefix, each, arg, error);
}

static int watch_fd(void *memory)
{
    struct session *session = memory;
    struct faults *faults = session->faults;
    pthread_mutex_lock(&faults->mutex);
    const bool unwatchable = faults->unwatchable;
    faults->descriptors++;
    pthread_mutex_unlock(&faults->mutex);
    return unwatchable ? -1 : faults->below->watch_fd(session->below);
}

static void count(struct faults *faults, int *which)
{
    pthread_mutex_lock(&faults->mutex);
    ++*which;
    pthread_mutex_unlock(&faults->mutex);
}

static void enter_watch(struct session *session)
{
    pthread_mutex_lock(&session->faults->mutex);
    session->faults->used_by_two += session->watches;
    session->watches = true;
    pthread_mutex_unlock(&session->faults->mutex);
}

static void leave_watch(struct session *session)
{
    pthread_mutex_lock(&session->faults->mutex);
    session->watches = false;
    pthread_mutex_unlock(&session->faults->mutex);
}

static dlock_status watch(void *memory, const char *key, dlock_error *error)
{
    struct session *session = memory;
    enter_watch(session);
    const dlock_status status = session->faults->below->watch(session->below, key, error);
    leave_watch(session);
    count(session->faults, &session->faults->watched);
    return status;
}

static void unwatch(void *memory, const char *key)
{
    struct session *session = memory;
    enter_watch(session);
    session->faults->below->unwatch(session->below, key);
    leave_watch(session);
    count(session->faults, &session->faults->unwatched);
}

static bool read_fails(struct faults *faults)
{
    pthread_mutex_lock(&faults->mutex);
    if (faults->reads++ == 0)
        faults->first_reader = pthread_self();
    faults->hanging++;
    while (faults->hang_read)
        pthread_cond_wait(&faults->changed, &faults->mutex);
    faults->hanging--;
    const bool fails = take(&faults->fail_read);
    pthread_mutex_unlock(&faults->mutex);
    return fails;
}

static dlock_status watch_read(void *memory, void (*hint)(void *arg, const char *key), void *arg, dlock_error *error)
{
    struct session *session = memory;
    enter_watch(session);
    const dlock_status status = read_fails(session->faults)
                                    ? dlock_error_set(error, DLOCK_UNAVAILABLE, "the connection is gone")
                                    : session->faults->below->watch_read(session->below, hint, arg, error);
    leave_watch(session);
    return status;
}

void faults_init(struct faults *faults, const char *url)
{
    memset(faults, 0, sizeof *faults);
    pthread_mutex_init(&faults->mutex, NULL);
    pthread_cond_init(&faults->changed, NULL);
    dlock_status status = url_parse(url, &faults->url, NULL);
    assert(status == DLOCK_OK);
    status = storages_find(faults->url, &faults->below, NULL);
    assert(status == DLOCK_OK);
    (void)status;
    faults->storage = (dlock_storage){.api = DLOCK_STORAGE_API,
                                      .name = "faulty",
                                      .capabilities = faults->below->capabilities,
                                      .max_sessions = faults->below->max_sessions,
                                      .session_size = sizeof(struct session),
                                      .open = open_session,
                                      .close = close_session,
                                      .execute = execute,
                                      .list = list};
    if (faults->below->watch) {
        faults->storage.watch_fd = watch_fd;
        faults->storage.watch = watch;
        faults->storage.unwatch = unwatch;
        faults->storage.watch_read = watch_read;
    }
}

void faults_let_begin(struct faults *faults)
{
    faults->storage.begin = begin;
    faults->storage.proceed = proceed;
    faults->storage.begun_fd = begun_fd;
}

void faults_deinit(struct faults *faults)
{
    url_free(faults->url);
    pthread_cond_destroy(&faults->changed);
    pthread_mutex_destroy(&faults->mutex);
}

void faults_set_bool(struct faults *faults, bool *which, bool value)
{
    pthread_mutex_lock(&faults->mutex);
    *which = value;
    pthread_cond_broadcast(&faults->changed);
    pthread_mutex_unlock(&faults->mutex);
}

void faults_set(struct faults *faults, int *which, int value)
{
    pthread_mutex_lock(&faults->mutex);
    *which = value;
    pthread_mutex_unlock(&faults->mutex);
}

int faults_get(struct faults *faults, const int *which)
{
    pthread_mutex_lock(&faults->mutex);
    const int value = *which;
    pthread_mutex_unlock(&faults->mutex);
    return value;
}
