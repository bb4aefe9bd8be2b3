/* fuzz_bson.c - fuzz target: what MongoDB servers answer, and what would pass for them.
 *
 * Stands in for the calls of libmongoc that ask a server; they give what the input says, and then no answer any more.
 * The first byte says what is done. Then come answers, each a letter and what belongs to it, up to the end of the line:
 *
 *   +FIELDS     a document
 *   -FIELDS     a document, and a failure: its fields `domain` and `code` say which
 *   .           no more documents
 *   =LL BYTES   a document whose fields are these bytes, as many as the two before them say
 *
 * FIELDS are parted by tabs; each is a letter, a name, a colon and what belongs to it: i123 and j123 a number of 8 and
 * of 4 bytes, r1.5 one with a fraction, d123 a date, tTEXT, bBYTES, T, F, n nothing, # the number of the batch that was
 * sent last; {NAME: and [NAME: begin a document and an array, ] ends either. Whatever it is, each request gets one of
 * its statuses, texts end, times are within what they can mean, and a change without an answer may have been made. */
#include "../storages/mongodb/internal.h"
#include "answers.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

dlock_module_function dlock_module;

#define DEPTH_MAX    100
#define REQUESTS_MAX 16

static const dlock_storage_options options = {.timeout_ms = UINT32_MAX};
static char prefix[] = "p";

/* ---- the input ----------------------------------------------------------------------------------------------------
 */

static struct {
    const uint8_t *at;
    size_t left;
    unsigned given;      /* answers */
    bool change_is_open; /* a change of a lock got no answer */
    int64_t batch;
    bson_t document; /* that the cursor is at */
    bson_error_t failure;
} server;

/* The bytes up to `end`, which is passed over too. */
static size_t take_until(const uint8_t **from, size_t *left, int end, const uint8_t **ret)
{
    const uint8_t *found = memchr(*from, end, *left);
    const size_t length = found ? (size_t)(found - *from) : *left;
    *ret = *from;
    *from += length + (found ? 1 : 0);
    *left -= length + (found ? 1 : 0);
    return length;
}

static void append_value(bson_t *document, char type, const char *name, int name_size, const uint8_t *value,
                         size_t size)
{
    char number[32] = "";
    memcpy(number, value, size < sizeof number ? size : sizeof number - 1);
    switch (type) {
    case 'i':
        bson_append_int64(document, name, name_size, strtoll(number, NULL, 10));
        break;
    case 'j':
        bson_append_int32(document, name, name_size, (int32_t)strtol(number, NULL, 10));
        break;
    case 'r':
        bson_append_double(document, name, name_size, strtod(number, NULL));
        break;
    case 'd':
        bson_append_date_time(document, name, name_size, strtoll(number, NULL, 10));
        break;
    case 't':
        bson_append_utf8(document, name, name_size, (const char *)value, (int)size);
        break;
    case 'b':
        bson_append_binary(document, name, name_size, BSON_SUBTYPE_BINARY, value, (uint32_t)size);
        break;
    case '#':
        bson_append_int64(document, name, name_size, server.batch);
        break;
    case 'T':
    case 'F':
        bson_append_bool(document, name, name_size, type == 'T');
        break;
    default:
        bson_append_null(document, name, name_size);
    }
}

/* Documents within documents are kept on a stack of their own: how deep they go is up to the input. */
static void read_fields(bson_t *ret, const uint8_t *text, size_t size)
{
    static bson_t parts[DEPTH_MAX];
    bool arrays[DEPTH_MAX] = {false};
    size_t depth = 0;
    bson_init(ret);
    while (size > 0) {
        const uint8_t *field, *name;
        size_t left = take_until(&text, &size, '\t', &field);
        bson_t *document = depth ? &parts[depth - 1] : ret, *outer = depth > 1 ? &parts[depth - 2] : ret;
        const char type = left ? (char)*field : 'n';
        field += left > 0;
        left -= left > 0;
        const int name_size = (int)take_until(&field, &left, ':', &name);
        if (type == ']' && depth > 0) {
            REQUIRE(arrays[--depth] ? bson_append_array_end(outer, document)
                                    : bson_append_document_end(outer, document));
        } else if ((type == '{' || type == '[') && depth < DEPTH_MAX) {
            arrays[depth] = type == '[';
            if (arrays[depth] ? bson_append_array_begin(document, (const char *)name, name_size, &parts[depth])
                              : bson_append_document_begin(document, (const char *)name, name_size, &parts[depth]))
                depth++;
        } else {
            append_value(document, type, (const char *)name, name_size, field, left);
        }
    }
    while (depth-- > 0) {
        bson_t *outer = depth ? &parts[depth - 1] : ret;
        REQUIRE(arrays[depth] ? bson_append_array_end(outer, &parts[depth])
                              : bson_append_document_end(outer, &parts[depth]));
    }
}

/* As libmongoc takes it from the wire: length and end are right, and nothing between them was looked at. */
static void read_bytes(bson_t *ret)
{
    size_t size = server.left >= 2 ? (size_t)(server.at[0] | server.at[1] << 8) : 0;
    server.at += server.left >= 2 ? 2 : server.left;
    server.left -= server.left >= 2 ? 2 : server.left;
    if (size > server.left)
        size = server.left;
    uint8_t *bytes = malloc(size + 5);
    bson_t document;
    REQUIRE(bytes);
    const uint32_t length = BSON_UINT32_TO_LE((uint32_t)size + 5);
    memcpy(bytes, &length, sizeof length);
    memcpy(bytes + 4, server.at, size);
    bytes[size + 4] = 0;
    server.at += size;
    server.left -= size;
    REQUIRE(bson_init_static(&document, bytes, size + 5));
    bson_copy_to(&document, ret);
    free(bytes);
}

static void set_failure(const bson_t *reply)
{
    static const uint32_t domains[] = {
        MONGOC_ERROR_STREAM,           MONGOC_ERROR_SERVER,   MONGOC_ERROR_WRITE_CONCERN, MONGOC_ERROR_COMMAND,
        MONGOC_ERROR_SERVER_SELECTION, MONGOC_ERROR_PROTOCOL, MONGOC_ERROR_SASL,          MONGOC_ERROR_CLIENT};
    uint32_t domain = 0, code = 0;
    const char *text = "no words";
    bson_iter_t field;
    if (bson_iter_init_find(&field, reply, "domain"))
        domain = (uint32_t)bson_iter_as_int64(&field);
    if (bson_iter_init_find(&field, reply, "code"))
        code = (uint32_t)bson_iter_as_int64(&field);
    if (bson_iter_init_find(&field, reply, "errmsg") && BSON_ITER_HOLDS_UTF8(&field))
        text = bson_iter_utf8(&field, NULL);
    bson_set_error(&server.failure, domains[domain % (sizeof domains / sizeof *domains)], code, "%s", text);
}

/* The next answer; false: a failure, which is set, or the end of the documents, with no domain. */
static bool next_answer(bson_t *ret)
{
    const uint8_t *text;
    server.failure = (bson_error_t){0};
    const int kind = server.left ? *server.at++ : 0;
    server.left -= kind ? 1 : server.left;
    if (kind == '=') {
        server.given++;
        read_bytes(ret);
        return true;
    }
    const size_t size = take_until(&server.at, &server.left, '\n', &text);
    if (kind == '+' || kind == '-' || kind == '.') {
        server.given++;
        read_fields(ret, text, kind == '.' ? 0 : size);
        if (kind == '-')
            set_failure(ret);
        return kind == '+';
    }
    server.left = 0;
    bson_init(ret);
    bson_set_error(&server.failure, MONGOC_ERROR_STREAM, MONGOC_ERROR_STREAM_SOCKET, "the server has hung up");
    return false;
}

/* The answer to a command: it has one document, or fails. */
static bool answer_command(bson_t *reply, bson_error_t *error)
{
    const bool done = next_answer(reply) || !server.failure.domain;
    if (!done)
        *error = server.failure;
    return done;
}

/* ---- in place of libmongoc ----------------------------------------------------------------------------------------
 */

bool mongoc_client_command_simple(mongoc_client_t *client, const char *database, const bson_t *command,
                                  const mongoc_read_prefs_t *preferences, bson_t *reply, bson_error_t *error)
{
    (void)client, (void)preferences;
    REQUIRE(database[0] && !bson_empty(command));
    return answer_command(reply, error);
}

bool mongoc_collection_find_and_modify_with_opts(mongoc_collection_t *collection, const bson_t *query,
                                                 const mongoc_find_and_modify_opts_t *opts, bson_t *reply,
                                                 bson_error_t *error)
{
    bson_iter_t id;
    (void)collection, (void)opts;
    REQUIRE(bson_validate(query, BSON_VALIDATE_NONE, NULL));
    REQUIRE(bson_iter_init_find(&id, query, "_id"));
    const bool done = answer_command(reply, error);
    if (!done && server.failure.domain == MONGOC_ERROR_STREAM && BSON_ITER_HOLDS_UTF8(&id))
        server.change_is_open = true;
    return done;
}

mongoc_cursor_t *mongoc_collection_find_with_opts(mongoc_collection_t *collection, const bson_t *filter,
                                                  const bson_t *opts, const mongoc_read_prefs_t *preferences)
{
    (void)collection, (void)opts, (void)preferences;
    REQUIRE(bson_validate(filter, BSON_VALIDATE_NONE, NULL));
    server.failure = (bson_error_t){0};
    bson_init(&server.document);
    return (mongoc_cursor_t *)&server;
}

bool mongoc_cursor_next(mongoc_cursor_t *cursor, const bson_t **document)
{
    (void)cursor;
    bson_destroy(&server.document);
    *document = &server.document;
    return next_answer(&server.document);
}

bool mongoc_cursor_error(mongoc_cursor_t *cursor, bson_error_t *error)
{
    (void)cursor;
    if (server.failure.domain)
        *error = server.failure;
    return server.failure.domain != 0;
}

void mongoc_cursor_destroy(mongoc_cursor_t *cursor)
{
    (void)cursor;
    bson_destroy(&server.document);
}

mongoc_bulk_operation_t *mongoc_collection_create_bulk_operation_with_opts(mongoc_collection_t *collection,
                                                                           const bson_t *opts)
{
    (void)collection, (void)opts;
    return (mongoc_bulk_operation_t *)&server;
}

bool mongoc_bulk_operation_update_one_with_opts(mongoc_bulk_operation_t *bulk, const bson_t *selector,
                                                const bson_t *document, const bson_t *opts, bson_error_t *error)
{
    bson_iter_t at, batch;
    (void)bulk, (void)opts, (void)error;
    REQUIRE(bson_validate(selector, BSON_VALIDATE_NONE, NULL));
    if (bson_iter_init(&at, document) && bson_iter_find_descendant(&at, "$set.batch", &batch))
        server.batch = bson_iter_as_int64(&batch);
    return true;
}

bool mongoc_bulk_operation_remove_one_with_opts(mongoc_bulk_operation_t *bulk, const bson_t *selector,
                                                const bson_t *opts, bson_error_t *error)
{
    (void)bulk, (void)opts, (void)error;
    REQUIRE(bson_validate(selector, BSON_VALIDATE_NONE, NULL));
    return true;
}

uint32_t mongoc_bulk_operation_execute(mongoc_bulk_operation_t *bulk, bson_t *reply, bson_error_t *error)
{
    (void)bulk;
    return answer_command(reply, error) ? 1 : 0;
}

void mongoc_bulk_operation_destroy(mongoc_bulk_operation_t *bulk)
{
    (void)bulk;
}

/* ---- what the storage makes of them -------------------------------------------------------------------------------
 */

static void check_info(const dlock_info *info)
{
    REQUIRE_TEXT(info->owner);
    REQUIRE(info->ttl_ms <= DLOCK_TTL_MAX_MS);
    REQUIRE(info->fence <= INT64_MAX);
    REQUIRE(info->held_ms >= -1);
    REQUIRE(info->remaining_ms >= -1 && info->remaining_ms <= DLOCK_TTL_MAX_MS);
    if (!info->owner[0])
        REQUIRE(info->held_ms == 0 && info->remaining_ms == 0 && info->ttl_ms == 0);
}

static void check_answer(const dlock_request *request, bool alone)
{
    const bool failed = request->status == DLOCK_UNAVAILABLE || request->status == DLOCK_REFUSED;
    REQUIRE_TEXT(request->message);
    check_info(&request->info);
    REQUIRE(failed == (request->message[0] != '\0'));
    REQUIRE(failed || server.given > 0);
    REQUIRE(
        failed || request->status == DLOCK_OK ||
        (request->status == DLOCK_BUSY && request->operation == DLOCK_ACQUIRE) ||
        (request->status == DLOCK_LOST && request->operation != DLOCK_ACQUIRE && request->operation != DLOCK_INSPECT));
    if (request->status == DLOCK_OK && request->operation == DLOCK_ACQUIRE)
        REQUIRE(request->info.fence > 0);
    if (request->status == DLOCK_BUSY || (request->status == DLOCK_OK && request->operation == DLOCK_BREAK))
        REQUIRE(request->info.owner[0] && request->info.fence > 0);
    if (request->status == DLOCK_UNAVAILABLE && alone && server.change_is_open)
        REQUIRE(!request->not_done);
}

static void execute(struct mongodb_session *session, const dlock_operation *operations, const char *const *keys,
                    size_t count)
{
    dlock_request requests[REQUESTS_MAX], *pointers[REQUESTS_MAX];
    for (size_t i = 0; i < count; i++) {
        requests[i] = (dlock_request){.operation = operations[i],
                                      .ttl_ms = 1000,
                                      .key = keys[i],
                                      .owner = "owner:1:2",
                                      .status = DLOCK_UNAVAILABLE};
        pointers[i] = &requests[i];
    }
    server.change_is_open = false;
    dlock_module()->execute(session, pointers, count);
    for (size_t i = 0; i < count; i++)
        check_answer(&requests[i], count == 1);
}

static void execute_many(struct mongodb_session *session)
{
    static const dlock_operation operations[] = {DLOCK_ACQUIRE, DLOCK_ACQUIRE, DLOCK_ACQUIRE, DLOCK_EXTEND,
                                                 DLOCK_EXTEND,  DLOCK_RELEASE, DLOCK_RELEASE, DLOCK_INSPECT,
                                                 DLOCK_INSPECT, DLOCK_BREAK};
    static const char *const keys[] = {"a", "b", "c", "a", "b", "a", "b", "a", "d", "a"};
    execute(session, operations, keys, sizeof operations / sizeof *operations);
}

static bool show(void *arg, const char *key, const dlock_info *info)
{
    (void)arg;
    REQUIRE(key[0] && strlen(key) <= DLOCK_KEY_MAX);
    REQUIRE(info->owner[0]);
    check_info(info);
    return true;
}

static void warn(void *arg, const char *text)
{
    (void)arg;
    REQUIRE(text[0] && strlen(text) < DLOCK_MESSAGE_SIZE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const key = "a";
    struct mongodb_session session = {.options = &options, .prefix = prefix, .where = "db.locks"};
    dlock_error error;
    if (size < 1)
        return 0;
    memset(&server, 0, sizeof server);
    server.at = data + 1;
    server.left = size - 1;
    const dlock_operation operation = (dlock_operation)(data[0] % 8);
    switch (data[0] % 8) {
    case DLOCK_BREAK + 1:
        require_error(dlock_module()->list(&session, "", show, NULL, &error), &error);
        break;
    case DLOCK_BREAK + 2:
        require_error(dlock_module()->check(&session, warn, NULL, &error), &error);
        break;
    case DLOCK_BREAK + 3:
        execute_many(&session);
        break;
    default:
        execute(&session, &operation, &key, 1);
        execute(&session, &operation, &key, 1);
    }
    return 0;
}
