/* command.c - one command of the server each: sent to the primary, awaited, its answer told apart.
 *
 * Called by mongodb.c and sweep.c. Write concern, preference and time limits are those of the client (place.c). */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

#define DUPLICATE_KEY 11000

/* Numbers begin at the server's clock in microseconds; a counter below that was never set. */
#define FIRST_NUMBER INT64_C(1000000000000000)

void command_begin_call(struct mongodb_session *session)
{
    session->started = dlock_clock_us();
    session->not_done = false;
}

/* Is it still early enough for one more command, whatever happens to it? */
static bool has_time(struct mongodb_session *session)
{
    if (dlock_clock_us() - session->started <= (int64_t)session->options->timeout_ms * 1000 / TIME_SHARES)
        return true;
    session->not_done = true;
    dlock_error_set(&session->error, DLOCK_UNAVAILABLE,
                    "%s: the commands before have used up the time; raise timeout_ms (%u ms)", session->where,
                    session->options->timeout_ms);
    return false;
}

static enum outcome fail(struct mongodb_session *session, const bson_error_t *cause)
{
    failure_set(session, cause);
    return OUTCOME_FAILED;
}

/* A write that the primary has made, but too few others: libmongoc calls that a success of some commands. */
static bool concern_failed(const bson_t *reply, bson_error_t *ret)
{
    bson_iter_t at, field;
    if (!bson_iter_init_find(&at, reply, "writeConcernError") || !BSON_ITER_HOLDS_DOCUMENT(&at))
        return false;
    uint32_t code = 64;
    const char *text = "write concern error";
    if (bson_iter_recurse(&at, &field) && bson_iter_find(&field, "code"))
        code = (uint32_t)bson_iter_as_int64(&field);
    if (bson_iter_recurse(&at, &field) && bson_iter_find(&field, "errmsg") && BSON_ITER_HOLDS_UTF8(&field))
        text = bson_iter_utf8(&field, NULL);
    bson_set_error(ret, MONGOC_ERROR_WRITE_CONCERN, code, "%s", text);
    return true;
}

/* Sends findAndModify; *reply is to be destroyed in any case. */
static enum outcome find_and_modify(struct mongodb_session *session, const bson_t *filter, const bson_t *update,
                                    bool upsert, bson_t *reply)
{
    bson_error_t cause = {0};
    if (!has_time(session)) {
        bson_init(reply);
        return OUTCOME_FAILED;
    }
    mongoc_find_and_modify_opts_t *options = mongoc_find_and_modify_opts_new();
    mongoc_find_and_modify_opts_set_update(options, update);
    mongoc_find_and_modify_opts_set_flags(options, MONGOC_FIND_AND_MODIFY_RETURN_NEW |
                                                       (upsert ? MONGOC_FIND_AND_MODIFY_UPSERT : 0));
    const bool done = mongoc_collection_find_and_modify_with_opts(session->collection, filter, options, reply, &cause);
    mongoc_find_and_modify_opts_destroy(options);
    if (concern_failed(reply, &cause))
        return fail(session, &cause);
    if (done)
        return OUTCOME_DONE;
    return cause.domain == MONGOC_ERROR_SERVER && cause.code == DUPLICATE_KEY ? OUTCOME_TAKEN : fail(session, &cause);
}

/* The document in the reply of findAndModify; false if there is none. */
static bool reply_document(const bson_t *reply, bson_t *ret)
{
    bson_iter_t value;
    const uint8_t *data;
    uint32_t length;
    if (!bson_iter_init_find(&value, reply, "value") || !BSON_ITER_HOLDS_DOCUMENT(&value))
        return false;
    bson_iter_document(&value, &length, &data);
    return bson_init_static(ret, data, length);
}

enum outcome command_modify(struct mongodb_session *session, const bson_t *filter, const bson_t *update, bool upsert,
                            struct record *ret)
{
    bson_t reply, document;
    enum outcome outcome = find_and_modify(session, filter, update, upsert, &reply);
    if (outcome == OUTCOME_DONE) {
        if (!reply_document(&reply, &document))
            outcome = OUTCOME_MISSED;
        else if (!record_read(session, &document, ret))
            outcome = OUTCOME_FAILED;
    }
    bson_destroy(&reply);
    return outcome;
}

/* ---- the counter of fences ----------------------------------------------------------------------------------------
 */

/* An _id that no key can have: those are strings. */
static void append_counter_id(const struct mongodb_session *session, bson_t *filter)
{
    bson_t id;
    BSON_APPEND_DOCUMENT_BEGIN(filter, "_id", &id);
    BSON_APPEND_UTF8(&id, "fences", session->prefix);
    bson_append_document_end(filter, &id);
}

static bool read_counter(const bson_t *reply, int64_t *number, int64_t *now)
{
    bson_t document;
    bson_iter_t field;
    if (!reply_document(reply, &document) || !bson_iter_init_find(&field, &document, "fence") ||
        !BSON_ITER_HOLDS_NUMBER(&field))
        return false;
    *number = bson_iter_as_int64(&field);
    return record_read_date(&document, "drawn_at", now);
}

static enum outcome change_counter(struct mongodb_session *session, const char *operator, int64_t operand,
                                   int64_t *number, int64_t *now)
{
    bson_t filter = BSON_INITIALIZER, update = BSON_INITIALIZER, fields, reply;
    append_counter_id(session, &filter);
    BSON_APPEND_DOCUMENT_BEGIN(&update, operator, & fields);
    BSON_APPEND_INT64(&fields, "fence", operand);
    bson_append_document_end(&update, &fields);
    BSON_APPEND_DOCUMENT_BEGIN(&update, "$currentDate", &fields);
    BSON_APPEND_BOOL(&fields, "drawn_at", true);
    bson_append_document_end(&update, &fields);
    enum outcome outcome = find_and_modify(session, &filter, &update, true, &reply);
    if (outcome == OUTCOME_DONE && !read_counter(&reply, number, now)) {
        session->not_done = true;
        dlock_error_set(&session->error, DLOCK_REFUSED,
                        "%s: the document with the _id {fences: \"%s\"} is not the counter of this program; use "
                        "another collection or prefix",
                        session->where, session->prefix);
        outcome = OUTCOME_FAILED;
    }
    bson_destroy(&reply);
    bson_destroy(&update);
    bson_destroy(&filter);
    return outcome;
}

enum outcome command_draw(struct mongodb_session *session, size_t count, uint64_t *last, int64_t *now)
{
    int64_t number = 0;
    for (;;) {
        enum outcome outcome = change_counter(session, "$inc", (int64_t)count, &number, now);
        if (outcome == OUTCOME_DONE && number < FIRST_NUMBER + (int64_t)count)
            /* It was just made, by whomever. A collection that is new in place of a dropped one goes on behind its
             * numbers, if the server's clock is right. */
            outcome =
                change_counter(session, "$max", *now * 1000 > FIRST_NUMBER ? *now * 1000 : FIRST_NUMBER, &number, now);
        else if (outcome == OUTCOME_DONE) {
            *last = (uint64_t)number;
            return OUTCOME_DONE;
        }
        if (outcome == OUTCOME_FAILED)
            return outcome;
        /* E11000: two made it at once, and the other was first. */
    }
}

/* ---- reading ------------------------------------------------------------------------------------------------------
 */

/* By its old name, which servers know of every version and make. */
enum outcome command_clock(struct mongodb_session *session, int64_t *now)
{
    bson_t command = BSON_INITIALIZER, reply;
    bson_error_t cause = {0};
    if (!has_time(session))
        return OUTCOME_FAILED;
    BSON_APPEND_INT32(&command, "isMaster", 1);
    const bool done = mongoc_client_command_simple(session->client, "admin", &command, NULL, &reply, &cause);
    bson_destroy(&command);
    enum outcome outcome = OUTCOME_DONE;
    if (!done) {
        outcome = fail(session, &cause);
    } else if (!record_read_date(&reply, "localTime", now)) {
        session->not_done = true;
        dlock_error_set(&session->error, DLOCK_REFUSED, "%s: the server does not tell its time (isMaster.localTime)",
                        session->where);
        outcome = OUTCOME_FAILED;
    }
    bson_destroy(&reply);
    return outcome;
}

enum outcome command_query(struct mongodb_session *session, const bson_t *filter, const bson_t *options,
                           bool (*each)(void *arg, const char *id, const bson_t *document), void *arg)
{
    if (!has_time(session))
        return OUTCOME_FAILED;
    mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(session->collection, filter, options, NULL);
    const bson_t *document;
    bson_iter_t id;
    bool more = true;
    while (more && mongoc_cursor_next(cursor, &document)) {
        if (!bson_iter_init_find(&id, document, "_id") || !BSON_ITER_HOLDS_UTF8(&id))
            continue;
        uint32_t length;
        const char *text = bson_iter_utf8(&id, &length);
        if (strlen(text) == length)
            more = each(arg, text, document);
    }
    bson_error_t cause;
    const enum outcome outcome = mongoc_cursor_error(cursor, &cause) ? fail(session, &cause) : OUTCOME_DONE;
    mongoc_cursor_destroy(cursor);
    return outcome;
}

struct found {
    struct mongodb_session *session;
    struct record *record;
    const char *id;
    bool good;
};

static bool note_found(void *arg, const char *id, const bson_t *document)
{
    struct found *found = arg;
    if (strcmp(id, found->id) == 0) {
        found->good = record_read(found->session, document, found->record);
        return false;
    }
    found->good = false;
    found->session->not_done = true;
    dlock_error_set(&found->session->error, DLOCK_REFUSED,
                    "%s: the collection has a collation that takes the key for another one; name another collection "
                    "by ?collection=",
                    found->session->where);
    return false;
}

enum outcome command_find(struct mongodb_session *session, const char *key, struct record *ret)
{
    char id[ID_SIZE];
    bson_t filter = BSON_INITIALIZER, options = BSON_INITIALIZER;
    struct found found = {.session = session, .record = ret, .id = id, .good = true};
    *ret = (struct record){0};
    record_id(session, key, id);
    BSON_APPEND_UTF8(&filter, "_id", id);
    BSON_APPEND_INT64(&options, "limit", 1);
    BSON_APPEND_BOOL(&options, "singleBatch", true);
    const enum outcome outcome = command_query(session, &filter, &options, note_found, &found);
    bson_destroy(&options);
    bson_destroy(&filter);
    return outcome == OUTCOME_DONE && !found.good ? OUTCOME_FAILED : outcome;
}

/* ---- many statements in one command -------------------------------------------------------------------------------
 */

struct batch batch_begin(struct mongodb_session *session)
{
    bson_t options = BSON_INITIALIZER;
    BSON_APPEND_BOOL(&options, "ordered", false);
    struct batch batch = {.bulk = mongoc_collection_create_bulk_operation_with_opts(session->collection, &options)};
    bson_destroy(&options);
    return batch;
}

void batch_update(struct batch *batch, const bson_t *filter, const bson_t *update, bool upsert)
{
    bson_t options = BSON_INITIALIZER;
    if (upsert)
        BSON_APPEND_BOOL(&options, "upsert", true);
    batch->failed |= !mongoc_bulk_operation_update_one_with_opts(batch->bulk, filter, update, &options, NULL);
    bson_destroy(&options);
}

void batch_delete(struct batch *batch, const bson_t *filter)
{
    batch->failed |= !mongoc_bulk_operation_remove_one_with_opts(batch->bulk, filter, NULL, NULL);
}

/* Tells of each statement that was refused; false if there was none. */
static bool tell_refused(struct mongodb_session *session, const bson_t *reply,
                         void (*refused)(void *arg, size_t index, bool taken), void *arg)
{
    bson_iter_t at, each, field;
    bool any = false;
    if (!bson_iter_init_find(&at, reply, "writeErrors") || !BSON_ITER_HOLDS_ARRAY(&at) ||
        !bson_iter_recurse(&at, &each))
        return false;
    while (bson_iter_next(&each)) {
        bson_error_t cause = {.domain = MONGOC_ERROR_SERVER};
        size_t index = SIZE_MAX;
        if (!BSON_ITER_HOLDS_DOCUMENT(&each) || !bson_iter_recurse(&each, &field))
            continue;
        while (bson_iter_next(&field)) {
            const char *name = bson_iter_key(&field);
            if (strcmp(name, "index") == 0)
                index = (size_t)bson_iter_as_int64(&field);
            else if (strcmp(name, "code") == 0)
                cause.code = (uint32_t)bson_iter_as_int64(&field);
            else if (strcmp(name, "errmsg") == 0 && BSON_ITER_HOLDS_UTF8(&field))
                bson_strncpy(cause.message, bson_iter_utf8(&field, NULL), sizeof cause.message);
        }
        failure_set(session, &cause);
        if (refused)
            refused(arg, index, cause.code == DUPLICATE_KEY);
        any = true;
    }
    return any;
}

enum outcome batch_send(struct mongodb_session *session, struct batch *batch,
                        void (*refused)(void *arg, size_t index, bool taken), void *arg)
{
    bson_t reply = BSON_INITIALIZER;
    bson_error_t cause = {0};
    enum outcome outcome = OUTCOME_FAILED;
    if (batch->failed) {
        session->not_done = true;
        dlock_error_set(&session->error, DLOCK_NOMEM, "libmongoc does not take a statement");
    } else if (has_time(session)) {
        bson_destroy(&reply);
        const uint32_t server = mongoc_bulk_operation_execute(batch->bulk, &reply, &cause);
        bson_iter_t concern, each;
        if (bson_iter_init_find(&concern, &reply, "writeConcernErrors") && BSON_ITER_HOLDS_ARRAY(&concern) &&
            bson_iter_recurse(&concern, &each) && bson_iter_next(&each)) {
            cause.domain = MONGOC_ERROR_WRITE_CONCERN;
            fail(session, &cause);
        } else if (tell_refused(session, &reply, refused, arg) || server != 0) {
            outcome = OUTCOME_DONE;
        } else {
            fail(session, &cause);
        }
    }
    bson_destroy(&reply);
    mongoc_bulk_operation_destroy(batch->bulk);
    return outcome;
}
