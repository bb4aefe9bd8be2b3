/* storage_memory.c - an example of a storage of your own: locks in the memory of this process, URL `memory:`.
 *
 * Built as the loadable module memory.so; tests/contract runs over it like over any other storage. It keeps threads
 * apart, not processes, so its use is to be read, and to test programs without a file. docs/storages.md explains it. */
#include <dlock_storage.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One record per key that is held. It is found by walking a list: an example need not be fast. */
struct record {
    struct record *next;
    dlock_info info; /* owner, fence, ttl; the times are counted when they are asked for */
    int64_t acquired_at, expires_at;
    char key[DLOCK_KEY_MAX + 1];
};

/* The storage itself. All sessions share it: that is what makes it a storage. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct record *records;
static uint64_t last_fence;

/* A session would be a connection. There is nothing to connect to. */
static dlock_status open_session(void *session, const dlock_url *url, const dlock_storage_options *options,
                                 dlock_error *error)
{
    (void)session, (void)options;
    if (url->host_count > 0 || (url->path && url->path[0]))
        return dlock_error_set(error, DLOCK_INVALID, "memory: takes nothing behind the colon");
    return DLOCK_OK;
}

static void close_session(void *session)
{
    (void)session;
}

static void remove_record(struct record **link)
{
    struct record *record = *link;
    *link = record->next;
    free(record);
}

/* The link to the live record of `key`, or the end of the list. Records that are over go on the way: nothing is left
 * to pile up. */
static struct record **find(const char *key, int64_t now)
{
    struct record **link = &records;
    while (*link) {
        if ((*link)->expires_at <= now)
            remove_record(link);
        else if (strcmp((*link)->key, key) == 0)
            break;
        else
            link = &(*link)->next;
    }
    return link;
}

static dlock_info info_of(const struct record *record, int64_t now)
{
    dlock_info info = record->info;
    info.held_ms = (now - record->acquired_at) / 1000;
    info.remaining_ms = (record->expires_at - now + 999) / 1000; /* rounded up: a live record has time left */
    return info;
}

/* The ttl counts from now, on this storage's clock. */
static void count_ttl_anew(struct record *record, uint32_t ttl_ms, int64_t now)
{
    record->info.ttl_ms = ttl_ms;
    record->expires_at = now + (int64_t)ttl_ms * 1000;
}

static dlock_status acquire(struct record **link, bool mine, dlock_request *request, int64_t now)
{
    struct record *record = *link;
    if (record && !mine) {
        request->info = info_of(record, now);
        return DLOCK_BUSY;
    }
    if (!record) {
        record = calloc(1, sizeof *record);
        if (!record)
            return dlock_request_fail(request, DLOCK_NOMEM, "out of memory");
        snprintf(record->key, sizeof record->key, "%s", request->key);
        snprintf(record->info.owner, sizeof record->info.owner, "%s", request->owner);
        record->info.fence = ++last_fence;
        record->acquired_at = now;
        *link = record;
    }
    /* Here the owner is the one who asks. If it was so before, this is a resend: its answer was lost. */
    count_ttl_anew(record, request->ttl_ms, now);
    request->info.fence = record->info.fence;
    return DLOCK_OK;
}

static dlock_status carry_out(dlock_request *request, int64_t now)
{
    struct record **link = find(request->key, now), *record = *link;
    const bool mine = record && request->owner && strcmp(record->info.owner, request->owner) == 0;
    switch (request->operation) {
    case DLOCK_ACQUIRE:
        return acquire(link, mine, request, now);
    case DLOCK_EXTEND:
        if (!mine)
            return DLOCK_LOST;
        count_ttl_anew(record, request->ttl_ms, now);
        return DLOCK_OK;
    case DLOCK_RELEASE:
        if (!mine)
            return DLOCK_LOST;
        remove_record(link);
        return DLOCK_OK;
    case DLOCK_INSPECT:
        if (record)
            request->info = info_of(record, now);
        return DLOCK_OK;
    case DLOCK_BREAK:
        if (!record)
            return DLOCK_LOST;
        request->info = info_of(record, now);
        remove_record(link);
        return DLOCK_OK;
    }
    return dlock_request_fail(request, DLOCK_UNSUPPORTED, "memory: cannot do that");
}

/* A batch is carried out as one, in its order. The mutex is never held for long, so no time limit is needed. */
static void execute(void *session, dlock_request *const *requests, size_t count)
{
    (void)session;
    pthread_mutex_lock(&mutex);
    const int64_t now = dlock_clock_us(); /* read after waiting: it decides what is over */
    for (size_t i = 0; i < count; i++)
        requests[i]->status = carry_out(requests[i], now);
    pthread_mutex_unlock(&mutex);
}

static dlock_status list(void *session, const char *prefix,
                         bool (*each)(void *arg, const char *key, const dlock_info *info), void *arg,
                         dlock_error *error)
{
    (void)session, (void)error;
    pthread_mutex_lock(&mutex);
    const int64_t now = dlock_clock_us();
    bool more = true;
    for (const struct record *record = records; record && more; record = record->next) {
        const dlock_info info = info_of(record, now);
        if (record->expires_at > now && strncmp(record->key, prefix, strlen(prefix)) == 0)
            more = each(arg, record->key, &info);
    }
    pthread_mutex_unlock(&mutex);
    return DLOCK_OK;
}

static const dlock_storage memory_storage = {
    .api = DLOCK_STORAGE_API,
    .name = "memory",
    .schemes = (const char *const[]){"memory", NULL},
    .parameters = (const char *const[]){NULL}, /* none */
    .capabilities = DLOCK_STORAGE_FENCES,
    .max_sessions = 1, /* they would only wait for each other */
    .open = open_session,
    .close = close_session,
    .execute = execute,
    .list = list,
    /* It cannot watch, so those who wait ask again from time to time. */
};

/* The one symbol that the library looks for in a module. */
DLOCK_API dlock_module_function dlock_module;

const dlock_storage *dlock_module(void)
{
    return &memory_storage;
}
