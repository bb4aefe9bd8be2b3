/* factory.c - the functions of dlock.h that take a factory: open, close, look, force, events. */
#include "leftover.h"
#include "lock.h"
#include "options.h"
#include "storages.h"
#include "url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TIMEOUT_PARAMETER "timeout_ms"

/* ---- open and close ---------------------------------------------------------------------------------------------- */

static dlock_status check_storage(const dlock_storage *storage, dlock_error *error)
{
    if (!storage || !storage->open || !storage->close || !storage->execute || !storage->name)
        return dlock_error_set(error, DLOCK_INVALID, "a storage needs a name, open, close and execute");
    if (storage->api != DLOCK_STORAGE_API)
        return dlock_error_set(error, DLOCK_INVALID,
                               "the storage '%s' is made for version %u of the contract; expected %u", storage->name,
                               storage->api, DLOCK_STORAGE_API);
    return DLOCK_OK;
}

/* Makes a factory over `source`; takes over `url` and `where` when it succeeds. */
static dlock_status make(const struct session_source *source, dlock_url *url, char *where,
                         const dlock_factory_options *options, dlock_factory **ret, dlock_error *error)
{
    dlock_factory *core = calloc(1, sizeof *core);
    if (!core)
        return dlock_error_set(error, DLOCK_NOMEM, "out of memory");
    core->source = *source;
    core->source.counts = &core->counts;
    core->folder = getcwd(NULL, 0);
    core->source.options.timeout_ms = options->timeout_ms;
    core->source.options.folder = core->folder;
    core->url = url;
    core->where = where;
    if (options->machine)
        strcpy(core->machine, options->machine);
    else
        owner_machine(core->machine);
    core->defaults = (struct machine_plan){
        .ttl_ms = options->ttl_ms, .retries = options->retries, .interval_ms = options->interval_ms};
    core_init(core, &lock_callbacks);
    *ret = core;
    return DLOCK_OK;
}

static bool known_parameter(const dlock_storage *storage, const char *name)
{
    if (!storage->parameters || strcmp(name, TIMEOUT_PARAMETER) == 0)
        return true;
    for (const char *const *known = storage->parameters; *known; known++)
        if (strcmp(*known, name) == 0)
            return true;
    return false;
}

/* Refuses parameters that nobody would read: they are typing errors. */
static dlock_status check_parameters(const dlock_storage *storage, const dlock_url *url, dlock_error *error)
{
    for (size_t i = 0; i < url->parameter_count; i++) {
        if (known_parameter(storage, url->parameters[i].name))
            continue;
        char known[256] = TIMEOUT_PARAMETER;
        for (const char *const *name = storage->parameters; *name; name++)
            snprintf(known + strlen(known), sizeof known - strlen(known), ", %s", *name);
        return dlock_error_set(error, DLOCK_INVALID, "the URL has a parameter '%s' that %s does not know; it knows: %s",
                               url->parameters[i].name, storage->name, known);
    }
    return DLOCK_OK;
}

/* The URL's timeout_ms serves where the options give none. */
static dlock_status read_timeout(const dlock_url *url, dlock_factory_options *options, dlock_error *error)
{
    const char *text = dlock_url_get(url, TIMEOUT_PARAMETER);
    if (!text || options->timeout_ms)
        return DLOCK_OK;
    char *end;
    const unsigned long value = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || value == 0 || value > UINT32_MAX)
        return dlock_error_set(error, DLOCK_INVALID, "the URL's " TIMEOUT_PARAMETER " is '%s'; expected milliseconds",
                               text);
    options->timeout_ms = (uint32_t)value;
    return DLOCK_OK;
}

static dlock_status read_parameters(const dlock_storage *storage, const dlock_url *urls, dlock_factory_options *options,
                                    dlock_error *error)
{
    dlock_status status = DLOCK_OK;
    for (const dlock_url *url = urls; url && status == DLOCK_OK; url = url->next) {
        status = check_parameters(storage, url, error);
        if (status == DLOCK_OK)
            status = read_timeout(url, options, error);
    }
    return status;
}

dlock_status dlock_factory_open(const char *url, const dlock_factory_options *options, dlock_factory **ret,
                                dlock_error *error)
{
    if (!ret)
        return dlock_error_set(error, DLOCK_INVALID, "dlock_factory_open needs a place for the factory");
    if (!url || !url[0])
        url = secure_getenv("DLOCK_STORE");
    if (!url || !url[0])
        url = storages_default_url;

    struct session_source source = {0};
    dlock_factory_options complete;
    dlock_url *parsed = NULL;
    char *where = NULL;
    dlock_status status = options_copy_factory(options, &complete, error);
    if (status == DLOCK_OK)
        status = url_parse(url, &parsed, error);
    if (status == DLOCK_OK)
        status = storages_find(parsed, &source.storage, error);
    if (status == DLOCK_OK)
        status = check_storage(source.storage, error);
    if (status == DLOCK_OK)
        status = read_parameters(source.storage, parsed, &complete, error);
    if (status == DLOCK_OK)
        status = options_complete_factory(&complete, error);
    if (status == DLOCK_OK && !(where = url_show(parsed)))
        status = dlock_error_set(error, DLOCK_NOMEM, "out of memory");
    source.url = parsed;
    if (status == DLOCK_OK)
        status = make(&source, parsed, where, &complete, ret, error);
    if (status != DLOCK_OK) {
        free(where);
        url_free(parsed);
    }
    return status;
}

dlock_status dlock_factory_new(const dlock_storage *storage, void *arg, const dlock_factory_options *options,
                               dlock_factory **ret, dlock_error *error)
{
    if (!ret)
        return dlock_error_set(error, DLOCK_INVALID, "dlock_factory_new needs a place for the factory");
    dlock_factory_options complete;
    dlock_status status = check_storage(storage, error);
    if (status == DLOCK_OK)
        status = options_copy_factory(options, &complete, error);
    if (status == DLOCK_OK)
        status = options_complete_factory(&complete, error);
    if (status != DLOCK_OK)
        return status;

    static const dlock_url none = {.text = "", .scheme = ""};
    const struct session_source source = {.storage = storage, .url = &none, .options.arg = arg};
    char *where = strdup(storage->name);
    status = where ? make(&source, NULL, where, &complete, ret, error)
                   : dlock_error_set(error, DLOCK_NOMEM, "out of memory");
    if (status != DLOCK_OK)
        free(where);
    return status;
}

static void abort_calls(dlock_factory *core)
{
    for (dlock *lock = core->locks, *next; lock; lock = next) {
        next = lock->behind;
        lock_abort(lock);
    }
}

/* Releases what is still held, in batches, unless the storage does not answer. */
static void release_held(dlock_factory *core)
{
    struct parcel parcels[16];
    dlock_request *requests[16];
    bool reachable = true;
    dlock *lock = core->locks;
    while (lock && reachable) {
        size_t count = 0;
        for (; lock && count < sizeof parcels / sizeof *parcels; lock = lock->behind) {
            if (lock->machine.state != MACHINE_HELD && lock->machine.state != MACHINE_LOST)
                continue;
            lock_leave(lock);
            lock_fill_parcel(lock, &parcels[count], DLOCK_RELEASE, 0);
            requests[count] = &parcels[count].request;
            count++;
        }
        if (count > 0)
            exchange_carry(&core->exchange, requests, count);
        for (size_t i = 0; i < count; i++)
            reachable = reachable && requests[i]->status != DLOCK_UNAVAILABLE;
    }
}

void dlock_factory_close(dlock_factory *core)
{
    if (!core)
        return;
    if (core_forked(core)) {
        core_free_forked(core);
        return;
    }
    core_lock(core);
    core->closed = true;
    abort_calls(core);
    core_unlock(core);
    core_stop(core);
    core_lock(core);
    release_held(core);
    leftover_close(core);
    lock_drop_all_events(core);
    core->references--;
    core_unlock(core);
}

const char *dlock_factory_where(const dlock_factory *core)
{
    return core ? core->where : "";
}

dlock_status dlock_factory_stats(dlock_factory *core, dlock_stats *ret, dlock_error *error)
{
    if (!core || !ret)
        return dlock_error_set(error, DLOCK_INVALID, "dlock_factory_stats needs a factory, and a place for the counts");
    if (ret->size < sizeof ret->size)
        return dlock_error_set(error, DLOCK_INVALID, "dlock_stats.size is %zu: start from its _INIT macro", ret->size);
    const dlock_status status = core_enter(core, error);
    if (status != DLOCK_OK)
        return status;
    const dlock_stats stats = {.size = ret->size,
                               .requests = atomic_load_explicit(&core->counts.requests, memory_order_relaxed),
                               .batches = atomic_load_explicit(&core->counts.batches, memory_order_relaxed)};
    core_unlock(core);
    memcpy(ret, &stats, ret->size < sizeof stats ? ret->size : sizeof stats);
    return DLOCK_OK;
}

/* ---- look, and force -----------------------------------------------------------------------------------------------
 */

/* Asks one thing about a key. */
static dlock_status ask(dlock_factory *core, dlock_operation operation, const char *verb, const char *key,
                        dlock_info *ret, dlock_error *error)
{
    if (!core)
        return dlock_error_set(error, DLOCK_INVALID, "the factory is NULL");
    dlock_status status = options_check_key(key, error);
    if (status == DLOCK_OK)
        status = core_enter(core, error);
    if (status != DLOCK_OK)
        return status;
    dlock_request request = {.operation = operation, .key = key}, *const requests[] = {&request};
    exchange_carry(&core->exchange, requests, 1);
    if (operation == DLOCK_BREAK && request.status == DLOCK_OK)
        lock_hint_first(core, key);
    core_unlock(core);
    if (request.status == DLOCK_LOST)
        return core_explain(core, error, DLOCK_LOST, verb, key, "nobody holds it");
    if (request.status != DLOCK_OK)
        return core_explain(core, error, request.status, verb, key, "%s",
                            request.message[0] ? request.message : dlock_status_text(request.status));
    if (ret)
        *ret = request.info;
    return DLOCK_OK;
}

dlock_status dlock_inspect(dlock_factory *core, const char *key, dlock_info *ret, dlock_error *error)
{
    if (!ret)
        return dlock_error_set(error, DLOCK_INVALID, "dlock_inspect needs a place for the answer");
    return ask(core, DLOCK_INSPECT, "inspect", key, ret, error);
}

dlock_status dlock_break(dlock_factory *core, const char *key, dlock_info *broken, dlock_error *error)
{
    return ask(core, DLOCK_BREAK, "break", key, broken, error);
}

/* Uses a session of its own for `use`. */
static dlock_status with_session(dlock_factory *core, const char *what,
                                 dlock_status (*use)(const dlock_storage *, void *session, void *arg, dlock_error *),
                                 void *arg, dlock_error *error)
{
    if (!core)
        return dlock_error_set(error, DLOCK_INVALID, "the factory is NULL");
    dlock_status status = core_enter(core, error);
    if (status != DLOCK_OK)
        return status;
    dlock_error why = {.status = DLOCK_OK};
    struct session *session = exchange_borrow(&core->exchange, &why);
    status = why.status;
    if (session) {
        core_unlock(core);
        status = use(core->source.storage, session->memory, arg, &why);
        if (status == DLOCK_UNAVAILABLE)
            session_close(session);
        core_lock(core);
        exchange_return(&core->exchange, session);
    }
    core_unlock(core);
    if (status == DLOCK_OK)
        return DLOCK_OK;
    return dlock_error_set(error, status, "cannot %s %s: %s", what, core->where, why.message);
}

struct entry {
    char *key;
    dlock_info info;
};

struct listing {
    const char *prefix;
    struct entry *entries;
    size_t count, room;
    bool out_of_memory;
};

static bool add_entry(void *arg, const char *key, const dlock_info *info)
{
    struct listing *listing = arg;
    if (listing->count == listing->room) {
        const size_t room = listing->room ? listing->room * 2 : 64;
        struct entry *entries = realloc(listing->entries, room * sizeof *entries);
        if (!entries) {
            listing->out_of_memory = true;
            return false;
        }
        listing->entries = entries;
        listing->room = room;
    }
    struct entry *entry = &listing->entries[listing->count];
    *entry = (struct entry){.key = strdup(key), .info = *info};
    listing->out_of_memory = !entry->key;
    listing->count += entry->key != NULL;
    return entry->key != NULL;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->key, ((const struct entry *)b)->key);
}

static dlock_status list_session(const dlock_storage *storage, void *session, void *arg, dlock_error *error)
{
    struct listing *listing = arg;
    if (!storage->list)
        return dlock_error_set(error, DLOCK_UNSUPPORTED, "this storage cannot list its keys");
    const dlock_status status = storage->list(session, listing->prefix, add_entry, listing, error);
    return listing->out_of_memory ? dlock_error_set(error, DLOCK_NOMEM, "out of memory") : status;
}

dlock_status dlock_list(dlock_factory *core, const char *prefix,
                        bool (*each)(void *arg, const char *key, const dlock_info *info), void *arg, dlock_error *error)
{
    if (!each)
        return dlock_error_set(error, DLOCK_INVALID, "dlock_list needs a function to call");
    struct listing listing = {.prefix = prefix ? prefix : ""};
    dlock_status status = options_check_prefix(listing.prefix, error);
    if (status == DLOCK_OK)
        status = with_session(core, "list the locks in", list_session, &listing, error);
    if (status == DLOCK_OK) {
        if (listing.count > 0)
            qsort(listing.entries, listing.count, sizeof *listing.entries, by_key);
        for (size_t i = 0; i < listing.count && each(arg, listing.entries[i].key, &listing.entries[i].info); i++)
            ;
    }
    for (size_t i = 0; i < listing.count; i++)
        free(listing.entries[i].key);
    free(listing.entries);
    return status;
}

struct checking {
    void (*warn)(void *arg, const char *text);
    void *arg;
};

static dlock_status check_session(const dlock_storage *storage, void *session, void *arg, dlock_error *error)
{
    struct checking *checking = arg;
    return storage->check ? storage->check(session, checking->warn, checking->arg, error) : DLOCK_OK;
}

dlock_status dlock_check(dlock_factory *core, void (*warn)(void *arg, const char *text), void *arg, dlock_error *error)
{
    if (!warn)
        return dlock_error_set(error, DLOCK_INVALID, "dlock_check needs a function to call");
    struct checking checking = {.warn = warn, .arg = arg};
    return with_session(core, "check", check_session, &checking, error);
}

/* ---- events
 * ---------------------------------------------------------------------------------------------------------- */

int dlock_factory_fd(dlock_factory *core)
{
    if (!core || core_enter(core, NULL) != DLOCK_OK)
        return -1;
    const int descriptor = events_descriptor(&core->events);
    core_unlock(core);
    return descriptor;
}

size_t dlock_factory_events(dlock_factory *core, dlock_event *ret, size_t max)
{
    if (!core || !ret || core_enter(core, NULL) != DLOCK_OK)
        return 0;
    events_hush(&core->events);
    errands_attend(&core->errands);
    errands_read(&core->errands);
    watcher_read(&core->watcher);
    errands_send(&core->errands);
    const size_t count = events_take(&core->events, ret, max);
    core_unlock(core);
    return count;
}
