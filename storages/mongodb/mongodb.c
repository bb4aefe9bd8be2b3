/* mongodb.c - locks in a collection of MongoDB, or of a server that speaks its protocol: one document per key.
 *
 * Called by the core through dlock_module. What decides is always one change of one document, whose filter says as
 * what it was seen; times are stamped and told by the server. docs/storages.md has the reasons. */
#include "internal.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

/* One grant in so many sweeps; one sweep looks at more documents than come in between. */
#define SWEEP_EVERY 32

/* One request of a batch, and what was found out for it. */
struct item {
    dlock_request *request;
    enum { ITEM_WAITS, ITEM_RUNS, ITEM_ANSWERED } state;
    bool known;      /* `seen` is the document as it was read */
    bool taken;      /* it is no free one */
    uint64_t number; /* of an ACQUIRE: the fence that it has drawn */
    struct record seen;
};

/* The items of one operation that are carried out together. */
struct group {
    struct mongodb_session *session;
    struct item *items[256];
    size_t count;
};

/* ---- sessions -----------------------------------------------------------------------------------------------------
 */

/* libmongoc would write to stderr, which is the program's. Its counters are in a file of shared memory, named by the
 * process, for the tool mongoc-stat; who is killed would leave it behind for ever, so its name is given up at once.
 * libmongoc itself is never cleaned up: a module stays until the end. */
static void initialize_driver(void)
{
    char counters[32];
    mongoc_log_set_handler(NULL, NULL);
    mongoc_init();
    snprintf(counters, sizeof counters, "/mongoc-%ld", (long)getpid());
    shm_unlink(counters);
}

static dlock_status open_session(void *memory, const dlock_url *url, const dlock_storage_options *options,
                                 dlock_error *error)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct mongodb_session *session = memory;
    pthread_once(&once, initialize_driver);
    session->options = options;
    return place_open(session, url, error);
}

static void close_session(void *memory)
{
    struct mongodb_session *session = memory;
    if (session->collection)
        mongoc_collection_destroy(session->collection);
    if (session->client)
        mongoc_client_destroy(session->client);
    free(session->prefix);
}

/* ---- answers ------------------------------------------------------------------------------------------------------
 */

static void answer(struct item *item, dlock_status status)
{
    item->request->status = status;
    item->state = ITEM_ANSWERED;
}

static void answer_failure(const struct mongodb_session *session, struct item *item, bool not_done)
{
    item->request->info = (dlock_info){0};
    item->request->not_done = not_done;
    dlock_request_fail(item->request, session->error.status, "%s", session->error.message);
    item->state = ITEM_ANSWERED;
}

/* Whatever of the group has no answer yet fails for the same reason. `sent`: a change of it may have been made. */
static void fail_group(const struct group *group, bool sent)
{
    for (size_t i = 0; i < group->count; i++)
        if (group->items[i]->state == ITEM_RUNS)
            answer_failure(group->session, group->items[i], group->session->not_done || !sent);
}

/* Does anybody own it, live or not? */
static bool is_owned(const struct record *record)
{
    return record->there && record->info.owner[0];
}

static bool is_mine(const struct item *item)
{
    return is_owned(&item->seen) && strcmp(item->seen.info.owner, item->request->owner) == 0;
}

static bool is_held(const struct record *record, int64_t now)
{
    return is_owned(record) && record_live_at(record, now);
}

/* ---- keys that were taken when this session last asked ------------------------------------------------------------
 */

static uint64_t fingerprint(const char *key)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (; *key; key++)
        hash = (hash ^ (unsigned char)*key) * UINT64_C(1099511628211);
    return hash | 1;
}

static bool was_taken(const struct mongodb_session *session, const char *key)
{
    const uint64_t hash = fingerprint(key);
    for (size_t i = 0; i < TAKEN_KEYS; i++)
        if (session->taken[i] == hash)
            return true;
    return false;
}

static void note_taken(struct mongodb_session *session, const char *key, bool taken)
{
    const uint64_t hash = fingerprint(key);
    for (size_t i = 0; i < TAKEN_KEYS; i++)
        if (session->taken[i] == hash) {
            if (!taken)
                session->taken[i] = 0;
            return;
        }
    if (taken)
        session->taken[session->next_taken++ % TAKEN_KEYS] = hash;
}

/* ---- reading many -------------------------------------------------------------------------------------------------
 */

static bool note_seen(void *arg, const char *id, const bson_t *document)
{
    struct group *group = arg;
    const size_t prefix = strlen(group->session->prefix);
    for (size_t i = 0; i < group->count; i++) {
        struct item *item = group->items[i];
        if (item->state != ITEM_RUNS || item->seen.there || strncmp(id, group->session->prefix, prefix) != 0 ||
            id[prefix] != ':' || strcmp(id + prefix + 1, item->request->key) != 0)
            continue;
        if (!record_read(group->session, document, &item->seen))
            answer_failure(group->session, item, true);
        break;
    }
    return true;
}

/* Reads, in one command, the documents of all that run and are not known. */
static enum outcome read_group(struct group *group)
{
    bson_t filter = BSON_INITIALIZER, part, ids;
    uint32_t count = 0;
    BSON_APPEND_DOCUMENT_BEGIN(&filter, "_id", &part);
    BSON_APPEND_ARRAY_BEGIN(&part, "$in", &ids);
    for (size_t i = 0; i < group->count; i++) {
        struct item *item = group->items[i];
        char id[ID_SIZE], position[16];
        const char *name;
        if (item->state != ITEM_RUNS || item->known)
            continue;
        record_id(group->session, item->request->key, id);
        bson_uint32_to_string(count++, &name, position, sizeof position);
        BSON_APPEND_UTF8(&ids, name, id);
        item->seen = (struct record){0};
        item->known = true;
    }
    bson_append_array_end(&part, &ids);
    bson_append_document_end(&filter, &part);
    const enum outcome outcome =
        count > 0 ? command_query(group->session, &filter, NULL, note_seen, group) : OUTCOME_DONE;
    bson_destroy(&filter);
    return outcome;
}

/* What was seen has changed since, or may have. */
static void forget_seen(struct group *group)
{
    for (size_t i = 0; i < group->count; i++)
        group->items[i]->known = false;
}

static size_t count_running(const struct group *group)
{
    size_t count = 0;
    for (size_t i = 0; i < group->count; i++)
        count += group->items[i]->state == ITEM_RUNS;
    return count;
}

/* What tells the changes of one batch from all others. */
static int64_t new_batch_number(void)
{
    int64_t number = 0;
    if (getrandom(&number, sizeof number, 0) != sizeof number || number == 0)
        number = dlock_clock_us();
    return number;
}

/* ---- changes of one document --------------------------------------------------------------------------------------
 */

/* Counts the ttl of a live record anew. The server's stamp decides whether it came in time: DONE and false = too late.
 */
static enum outcome renew(struct mongodb_session *session, struct item *item, bool *in_time)
{
    bson_t filter = BSON_INITIALIZER, update = BSON_INITIALIZER;
    struct record now;
    record_append_id(session, &filter, item->request->key);
    record_append_seen(&filter, &item->seen);
    record_renew(&update, &item->seen, item->request->ttl_ms, 0);
    const enum outcome outcome = command_modify(session, &filter, &update, false, &now);
    bson_destroy(&update);
    bson_destroy(&filter);
    *in_time = outcome == OUTCOME_DONE && record_live_at(&now, now.renewed_at);
    return outcome;
}

/* The filter of a document that is free, with a fence that is behind `number`. */
static void append_free(bson_t *filter, uint64_t number)
{
    bson_t fence;
    BSON_APPEND_UTF8(filter, "owner", "");
    BSON_APPEND_DOCUMENT_BEGIN(filter, "fence", &fence);
    BSON_APPEND_INT64(&fence, "$lt", (int64_t)number);
    bson_append_document_end(filter, &fence);
}

/* Writes the owner where there is no document, or a free one. TAKEN: there is another. */
static enum outcome grant_free(struct mongodb_session *session, struct item *item)
{
    bson_t filter = BSON_INITIALIZER, update = BSON_INITIALIZER;
    struct record now;
    record_append_id(session, &filter, item->request->key);
    append_free(&filter, item->number);
    record_grant(&update, item->request->owner, item->request->ttl_ms, item->number);
    const enum outcome outcome = command_modify(session, &filter, &update, true, &now);
    bson_destroy(&update);
    bson_destroy(&filter);
    return outcome == OUTCOME_MISSED ? OUTCOME_TAKEN : outcome;
}

/* Replaces what was seen, and has expired. */
static enum outcome take_over(struct mongodb_session *session, struct item *item)
{
    bson_t filter = BSON_INITIALIZER, update = BSON_INITIALIZER;
    struct record now;
    record_append_id(session, &filter, item->request->key);
    record_append_seen(&filter, &item->seen);
    record_grant(&update, item->request->owner, item->request->ttl_ms, item->number);
    const enum outcome outcome = command_modify(session, &filter, &update, false, &now);
    bson_destroy(&update);
    bson_destroy(&filter);
    return outcome;
}

/* ---- ACQUIRE ------------------------------------------------------------------------------------------------------
 */

static void answer_granted(struct mongodb_session *session, struct item *item, uint64_t fence, int64_t now)
{
    item->request->info = (dlock_info){.fence = fence};
    answer(item, DLOCK_OK);
    note_taken(session, item->request->key, false);
    if (fence == item->number && fence % SWEEP_EVERY == 0)
        sweep_behind(session, item->request->key, now);
}

static void answer_busy(struct mongodb_session *session, struct item *item, int64_t now)
{
    item->request->info = record_info(&item->seen, now);
    answer(item, DLOCK_BUSY);
    note_taken(session, item->request->key, true);
}

static bool held_by_another(const struct item *item, int64_t now)
{
    return is_held(&item->seen, now) && !is_mine(item);
}

/* One step on what was seen: DONE = it is granted or busy; MISSED = it is no longer so, look again. */
static enum outcome step(struct mongodb_session *session, struct item *item, int64_t *now)
{
    enum outcome outcome;
    if (held_by_another(item, *now)) {
        answer_busy(session, item, *now);
        return OUTCOME_DONE;
    }
    if (is_mine(item) && record_live_at(&item->seen, *now)) {
        bool in_time;
        outcome = renew(session, item, &in_time);
        if (outcome == OUTCOME_DONE && in_time)
            answer_granted(session, item, item->seen.info.fence, *now);
        return outcome == OUTCOME_DONE && !in_time ? OUTCOME_MISSED : outcome;
    }
    if (item->seen.there && item->seen.info.fence >= item->number) {
        /* Others have drawn later, and were faster. */
        outcome = command_draw(session, 1, &item->number, now);
        if (outcome != OUTCOME_DONE)
            return outcome;
    }
    outcome = is_owned(&item->seen) ? take_over(session, item) : grant_free(session, item);
    if (outcome == OUTCOME_DONE)
        answer_granted(session, item, item->number, *now);
    return outcome == OUTCOME_TAKEN ? OUTCOME_MISSED : outcome;
}

/* Each turn that does not answer has lost to another process, so there are few; the time limit ends them. */
static void settle(struct mongodb_session *session, struct item *item, int64_t now)
{
    while (item->state == ITEM_RUNS) {
        enum outcome outcome = step(session, item, &now);
        if (outcome == OUTCOME_FAILED) {
            answer_failure(session, item, session->not_done);
        } else if (item->state == ITEM_RUNS &&
                   command_find(session, item->request->key, &item->seen) == OUTCOME_FAILED) {
            answer_failure(session, item, true);
        }
    }
}

/* Looks first where it may be in vain: at keys that were taken when this session last asked. */
static enum outcome look_first(struct group *group, int64_t *now)
{
    struct group looked = {.session = group->session};
    for (size_t i = 0; i < group->count; i++)
        if (was_taken(group->session, group->items[i]->request->key))
            looked.items[looked.count++] = group->items[i];
    if (looked.count == 0)
        return OUTCOME_DONE;
    enum outcome outcome = command_clock(group->session, now);
    if (outcome == OUTCOME_DONE)
        outcome = read_group(&looked);
    for (size_t i = 0; outcome == OUTCOME_DONE && i < looked.count; i++)
        if (looked.items[i]->state == ITEM_RUNS && held_by_another(looked.items[i], *now))
            answer_busy(group->session, looked.items[i], *now);
    return outcome;
}

static enum outcome draw(struct group *group, int64_t *now)
{
    uint64_t last;
    const size_t count = count_running(group);
    const enum outcome outcome = count > 0 ? command_draw(group->session, count, &last, now) : OUTCOME_DONE;
    if (outcome != OUTCOME_DONE || count == 0)
        return outcome;
    uint64_t number = last - count;
    for (size_t i = 0; i < group->count; i++)
        if (group->items[i]->state == ITEM_RUNS)
            group->items[i]->number = ++number;
    return OUTCOME_DONE;
}

static void note_refused(void *arg, size_t index, bool taken)
{
    struct group *sent = arg;
    if (index >= sent->count)
        return;
    if (taken)
        sent->items[index]->taken = true;
    else
        answer_failure(sent->session, sent->items[index], sent->session->not_done);
}

/* Tries those of which nothing is known, as if they were free, in one command. */
static enum outcome grant_all_free(struct group *group, int64_t now)
{
    struct group sent = {.session = group->session};
    for (size_t i = 0; i < group->count; i++)
        if (group->items[i]->state == ITEM_RUNS && !group->items[i]->known)
            sent.items[sent.count++] = group->items[i];
    if (sent.count == 0)
        return OUTCOME_DONE;
    if (sent.count == 1) {
        const enum outcome outcome = grant_free(group->session, sent.items[0]);
        if (outcome == OUTCOME_DONE)
            answer_granted(group->session, sent.items[0], sent.items[0]->number, now);
        return outcome;
    }
    struct batch batch = batch_begin(group->session);
    for (size_t i = 0; i < sent.count; i++) {
        const struct item *item = sent.items[i];
        bson_t filter = BSON_INITIALIZER, update = BSON_INITIALIZER;
        record_append_id(group->session, &filter, item->request->key);
        append_free(&filter, item->number);
        record_grant(&update, item->request->owner, item->request->ttl_ms, item->number);
        batch_update(&batch, &filter, &update, true);
        bson_destroy(&update);
        bson_destroy(&filter);
    }
    const enum outcome outcome = batch_send(group->session, &batch, note_refused, &sent);
    for (size_t i = 0; outcome == OUTCOME_DONE && i < sent.count; i++)
        if (sent.items[i]->state == ITEM_RUNS && !sent.items[i]->taken)
            answer_granted(group->session, sent.items[i], sent.items[i]->number, now);
    return outcome;
}

static void acquire(struct group *group)
{
    int64_t now = 0;
    if (look_first(group, &now) == OUTCOME_FAILED || draw(group, &now) == OUTCOME_FAILED) {
        fail_group(group, false);
        return;
    }
    if (grant_all_free(group, now) == OUTCOME_FAILED) {
        fail_group(group, true);
        return;
    }
    if (read_group(group) == OUTCOME_FAILED) {
        fail_group(group, false);
        return;
    }
    for (size_t i = 0; i < group->count; i++)
        settle(group->session, group->items[i], now);
}

/* ---- EXTEND -------------------------------------------------------------------------------------------------------
 */

/* LOST without a write where that is plain. */
static void answer_strangers(struct group *group)
{
    for (size_t i = 0; i < group->count; i++) {
        struct item *item = group->items[i];
        if (item->state == ITEM_RUNS && (!is_mine(item) || item->seen.renewed_at > item->seen.due_at))
            answer(item, DLOCK_LOST);
    }
}

static void extend_one(struct mongodb_session *session, struct item *item)
{
    bool in_time;
    const enum outcome outcome = renew(session, item, &in_time);
    if (outcome == OUTCOME_FAILED)
        answer_failure(session, item, session->not_done);
    else if (outcome == OUTCOME_DONE)
        answer(item, in_time ? DLOCK_OK : DLOCK_LOST);
}

/* Renews all that run in one command, and reads what became of them in another: the answer of the first only counts. */
static enum outcome extend_all(struct group *group)
{
    const int64_t number = new_batch_number();
    struct group sent = {.session = group->session};
    struct batch batch = batch_begin(group->session);
    for (size_t i = 0; i < group->count; i++) {
        struct item *item = group->items[i];
        if (item->state != ITEM_RUNS)
            continue;
        bson_t filter = BSON_INITIALIZER, update = BSON_INITIALIZER;
        record_append_id(group->session, &filter, item->request->key);
        record_append_seen(&filter, &item->seen);
        record_renew(&update, &item->seen, item->request->ttl_ms, number);
        batch_update(&batch, &filter, &update, false);
        bson_destroy(&update);
        bson_destroy(&filter);
        sent.items[sent.count++] = item;
    }
    enum outcome outcome = batch_send(group->session, &batch, note_refused, &sent);
    forget_seen(group);
    if (outcome == OUTCOME_DONE)
        outcome = read_group(group);
    for (size_t i = 0; outcome == OUTCOME_DONE && i < sent.count; i++) {
        struct item *item = sent.items[i];
        if (item->state == ITEM_RUNS && is_mine(item) && item->seen.batch == number)
            answer(item, record_live_at(&item->seen, item->seen.renewed_at) ? DLOCK_OK : DLOCK_LOST);
    }
    return outcome;
}

/* Who finds that the document has changed in between looks again: the owner may have sent the same twice. */
static void extend(struct group *group)
{
    for (; count_running(group) > 0; forget_seen(group)) {
        if (read_group(group) == OUTCOME_FAILED) {
            fail_group(group, false);
            return;
        }
        answer_strangers(group);
        const size_t running = count_running(group);
        if (running > 1 && extend_all(group) == OUTCOME_FAILED) {
            fail_group(group, true);
            return;
        }
        for (size_t i = 0; running == 1 && i < group->count; i++)
            if (group->items[i]->state == ITEM_RUNS)
                extend_one(group->session, group->items[i]);
    }
}

/* ---- RELEASE ------------------------------------------------------------------------------------------------------
 */

/* The stamp of the release says whether the record was still live. */
static void answer_released(struct item *item, const struct record *now)
{
    answer(item, record_live_at(now, now->released_at) ? DLOCK_OK : DLOCK_LOST);
}

static void append_mine(const struct mongodb_session *session, bson_t *filter, const dlock_request *request)
{
    record_append_id(session, filter, request->key);
    BSON_APPEND_UTF8(filter, "owner", request->owner);
}

static void release_one(struct mongodb_session *session, struct item *item)
{
    bson_t filter = BSON_INITIALIZER, update = BSON_INITIALIZER;
    struct record now;
    append_mine(session, &filter, item->request);
    record_release(&update, 0);
    const enum outcome outcome = command_modify(session, &filter, &update, false, &now);
    if (outcome == OUTCOME_FAILED)
        answer_failure(session, item, session->not_done);
    else if (outcome == OUTCOME_DONE)
        answer_released(item, &now);
    else
        answer(item, DLOCK_LOST);
    bson_destroy(&update);
    bson_destroy(&filter);
}

/* As extend_all. The marks of others' later changes are rare, and read as LOST: the safe side. */
static enum outcome release_all(struct group *group)
{
    const int64_t number = new_batch_number();
    struct group sent = {.session = group->session};
    struct batch batch = batch_begin(group->session);
    for (size_t i = 0; i < group->count; i++) {
        if (group->items[i]->state != ITEM_RUNS)
            continue;
        bson_t filter = BSON_INITIALIZER, update = BSON_INITIALIZER;
        append_mine(group->session, &filter, group->items[i]->request);
        record_release(&update, number);
        batch_update(&batch, &filter, &update, false);
        bson_destroy(&update);
        bson_destroy(&filter);
        sent.items[sent.count++] = group->items[i];
    }
    enum outcome outcome = batch_send(group->session, &batch, note_refused, &sent);
    if (outcome == OUTCOME_DONE)
        outcome = read_group(&sent);
    for (size_t i = 0; outcome == OUTCOME_DONE && i < sent.count; i++) {
        struct item *item = sent.items[i];
        if (item->state != ITEM_RUNS)
            continue;
        if (item->seen.there && !is_owned(&item->seen) && item->seen.batch == number)
            answer_released(item, &item->seen);
        else
            answer(item, DLOCK_LOST);
    }
    return outcome;
}

static void release(struct group *group)
{
    /* "" is how a free document says that nobody owns it. */
    for (size_t i = 0; i < group->count; i++)
        if (!group->items[i]->request->owner[0])
            answer(group->items[i], DLOCK_LOST);
    const size_t running = count_running(group);
    if (running > 1 && release_all(group) == OUTCOME_FAILED)
        fail_group(group, true);
    for (size_t i = 0; running == 1 && i < group->count; i++)
        if (group->items[i]->state == ITEM_RUNS)
            release_one(group->session, group->items[i]);
}

/* ---- INSPECT and BREAK --------------------------------------------------------------------------------------------
 */

static void inspect(struct group *group)
{
    int64_t now;
    if (command_clock(group->session, &now) == OUTCOME_FAILED || read_group(group) == OUTCOME_FAILED) {
        fail_group(group, false);
        return;
    }
    for (size_t i = 0; i < group->count; i++) {
        struct item *item = group->items[i];
        if (item->state != ITEM_RUNS)
            continue;
        if (is_held(&item->seen, now))
            item->request->info = record_info(&item->seen, now);
        answer(item, DLOCK_OK);
    }
}

/* Only as it was seen, so that what is told is what was broken. MISSED = it has changed. */
static enum outcome break_seen(struct mongodb_session *session, struct item *item)
{
    bson_t filter = BSON_INITIALIZER, update = BSON_INITIALIZER;
    struct record now;
    record_append_id(session, &filter, item->request->key);
    record_append_seen(&filter, &item->seen);
    record_release(&update, 0);
    const enum outcome outcome = command_modify(session, &filter, &update, false, &now);
    if (outcome == OUTCOME_DONE && record_live_at(&now, now.released_at)) {
        item->request->info = record_info(&item->seen, now.released_at);
        answer(item, DLOCK_OK);
    } else if (outcome == OUTCOME_DONE) {
        answer(item, DLOCK_LOST);
    }
    bson_destroy(&update);
    bson_destroy(&filter);
    return outcome;
}

static void break_one(struct mongodb_session *session, struct item *item)
{
    while (item->state == ITEM_RUNS) {
        if (command_find(session, item->request->key, &item->seen) == OUTCOME_FAILED)
            answer_failure(session, item, true);
        else if (!is_owned(&item->seen))
            answer(item, DLOCK_LOST);
        else if (break_seen(session, item) == OUTCOME_FAILED)
            answer_failure(session, item, session->not_done);
    }
}

/* ---- batches ------------------------------------------------------------------------------------------------------
 */

static void carry_out(struct group *group, dlock_operation operation)
{
    switch (operation) {
    case DLOCK_ACQUIRE:
        acquire(group);
        return;
    case DLOCK_EXTEND:
        extend(group);
        return;
    case DLOCK_RELEASE:
        release(group);
        return;
    case DLOCK_INSPECT:
        inspect(group);
        return;
    case DLOCK_BREAK:
        for (size_t i = 0; i < group->count; i++)
            break_one(group->session, group->items[i]);
        return;
    }
    dlock_error_set(&group->session->error, DLOCK_UNSUPPORTED, "mongodb: cannot do that");
    fail_group(group, false);
}

static bool has_older(const struct item *items, size_t of)
{
    for (size_t i = 0; i < of; i++)
        if (items[i].state == ITEM_WAITS && strcmp(items[i].request->key, items[of].request->key) == 0)
            return true;
    return false;
}

/* The next group: of what waits, and has nothing older of its key before it, all that want the same as the first. */
static bool form_group(struct group *group, struct item *items, size_t count)
{
    group->count = 0;
    for (size_t i = 0; i < count && group->count < sizeof group->items / sizeof group->items[0]; i++)
        if (items[i].state == ITEM_WAITS && !has_older(items, i) &&
            (group->count == 0 || items[i].request->operation == group->items[0]->request->operation))
            group->items[group->count++] = &items[i];
    for (size_t i = 0; i < group->count; i++)
        group->items[i]->state = ITEM_RUNS;
    return group->count > 0;
}

/* After a failure of the connection the rest is not sent: it would only cost the time again. */
static bool is_cut(const struct group *group)
{
    for (size_t i = 0; i < group->count; i++)
        if (group->items[i]->request->status == DLOCK_UNAVAILABLE)
            return true;
    return false;
}

static void execute(void *memory, dlock_request *const *requests, size_t count)
{
    struct mongodb_session *session = memory;
    struct group group = {.session = session};
    struct item one = {0};
    struct item *items = count == 1 ? &one : calloc(count, sizeof *items);
    command_begin_call(session);
    if (!items) {
        for (size_t i = 0; i < count; i++)
            dlock_request_fail(requests[i], DLOCK_NOMEM, "out of memory");
        return;
    }
    for (size_t i = 0; i < count; i++)
        items[i].request = requests[i];
    bool cut = false;
    while (form_group(&group, items, count)) {
        if (cut)
            fail_group(&group, false);
        else
            carry_out(&group, group.items[0]->request->operation);
        cut = cut || is_cut(&group);
    }
    if (items != &one)
        free(items);
}

/* ---- list ---------------------------------------------------------------------------------------------------------
 */

struct listing {
    struct mongodb_session *session;
    const char *from; /* the _id that it begins with */
    int64_t now;
    bool (*each)(void *arg, const char *key, const dlock_info *info);
    void *arg;
    bool failed;
};

static bool list_one(void *arg, const char *id, const bson_t *document)
{
    struct listing *listing = arg;
    struct record record;
    if (strncmp(id, listing->from, strlen(listing->from)) != 0)
        return false;
    const char *key = id + strlen(listing->session->prefix) + 1;
    if (!key[0] || strlen(key) > DLOCK_KEY_MAX)
        return true; /* no lock has such a key, whoever wrote it */
    listing->failed = !record_read(listing->session, document, &record);
    if (listing->failed)
        return false;
    if (!is_held(&record, listing->now))
        return true;
    const dlock_info info = record_info(&record, listing->now);
    return listing->each(listing->arg, key, &info);
}

static dlock_status list(void *memory, const char *prefix,
                         bool (*each)(void *arg, const char *key, const dlock_info *info), void *arg,
                         dlock_error *error)
{
    struct mongodb_session *session = memory;
    char from[ID_SIZE];
    struct listing listing = {.session = session, .from = from, .each = each, .arg = arg};
    command_begin_call(session);
    record_id(session, prefix, from);
    enum outcome outcome = command_clock(session, &listing.now);
    if (outcome == OUTCOME_DONE) {
        bson_t filter = BSON_INITIALIZER, options = BSON_INITIALIZER, part;
        BSON_APPEND_DOCUMENT_BEGIN(&filter, "_id", &part);
        BSON_APPEND_UTF8(&part, "$gte", from);
        bson_append_document_end(&filter, &part);
        BSON_APPEND_DOCUMENT_BEGIN(&options, "sort", &part);
        BSON_APPEND_INT32(&part, "_id", 1);
        bson_append_document_end(&options, &part);
        outcome = command_query(session, &filter, &options, list_one, &listing);
        bson_destroy(&options);
        bson_destroy(&filter);
    }
    if (outcome != OUTCOME_FAILED && !listing.failed)
        return DLOCK_OK;
    return dlock_error_set(error, session->error.status, "%s", session->error.message);
}

static const dlock_storage mongodb_storage = {
    .api = DLOCK_STORAGE_API,
    .name = "mongodb",
    .schemes = (const char *const[]){"mongodb", "mongodb+srv", NULL},
    /* Its parameters are checked in open: libmongoc knows the options of connection strings. */
    .capabilities = DLOCK_STORAGE_FENCES,
    .max_sessions = 4,
    .session_size = sizeof(struct mongodb_session),
    .open = open_session,
    .close = close_session,
    .execute = execute,
    .list = list,
    .check = check_server,
    /* It cannot watch: libmongoc has no descriptor to wait on. See docs/storages.md. */
};

/* The one symbol that the library looks for in a module. */
DLOCK_API dlock_module_function dlock_module;

const dlock_storage *dlock_module(void)
{
    return &mongodb_storage;
}
