/* check.c - what of a server, or of the collection, weakens locks: for `dlock check`.
 *
 * Called by mongodb.c. What a user may not ask for is passed over. */
#include "internal.h"

#include <stdio.h>
#include <string.h>

struct checker {
    struct mongodb_session *session;
    void (*warn)(void *arg, const char *text);
    void *arg;
};

static bool ask(const struct checker *checker, const char *database, const bson_t *command, bson_t *reply)
{
    bson_error_t ignored;
    return mongoc_client_command_simple(checker->session->client, database, command, NULL, reply, &ignored);
}

static bool ask_admin(const struct checker *checker, const char *name, bson_t *reply)
{
    bson_t command = BSON_INITIALIZER;
    BSON_APPEND_INT32(&command, name, 1);
    const bool answered = ask(checker, "admin", &command, reply);
    bson_destroy(&command);
    return answered;
}

/* The field at `path`, with dots between its parts. */
static bool find_at(const bson_t *document, const char *path, bson_iter_t *ret)
{
    bson_iter_t at;
    return bson_iter_init(&at, document) && bson_iter_find_descendant(&at, path, ret);
}

static bool is_false_at(const bson_t *document, const char *path)
{
    bson_iter_t field;
    return find_at(document, path, &field) && !bson_iter_as_bool(&field);
}

/* FerretDB 1 finds a document, compares it and writes it back in steps of its own: between them another client may do
 * the same, and both have changed it. */
static void check_make(const struct checker *checker)
{
    bson_t reply;
    bson_iter_t field;
    if (ask_admin(checker, "buildInfo", &reply)) {
        const char *version = NULL;
        if (find_at(&reply, "ferretdbVersion", &field) || find_at(&reply, "ferretdb.version", &field))
            version = BSON_ITER_HOLDS_UTF8(&field) ? bson_iter_utf8(&field, NULL) : "";
        if (version && (strncmp(version, "v0.", 3) == 0 || strncmp(version, "v1.", 3) == 0))
            checker->warn(checker->arg, "the server is FerretDB 1, which does not change a document in one step: two "
                                        "who want a key at the same moment can both get it; use FerretDB 2 or MongoDB");
    }
    bson_destroy(&reply);
}

static void check_durability(const struct checker *checker)
{
    bson_t reply;
    if (ask_admin(checker, "serverStatus", &reply) && is_false_at(&reply, "storageEngine.persistent"))
        checker->warn(checker->arg,
                      "the server keeps its data in memory: after a restart every key is free, also those "
                      "that are held");
    bson_destroy(&reply);
    if (ask_admin(checker, "getCmdLineOpts", &reply) && is_false_at(&reply, "parsed.storage.journal.enabled"))
        checker->warn(checker->arg,
                      "the server runs without its journal: a crash may take back a lock that was granted, "
                      "and grant it again");
    bson_destroy(&reply);
}

static void check_replica_set(const struct checker *checker)
{
    bson_t reply;
    if (ask_admin(checker, "replSetGetConfig", &reply) &&
        is_false_at(&reply, "config.writeConcernMajorityJournalDefault"))
        checker->warn(checker->arg, "writeConcernMajorityJournalDefault is false: what a majority has confirmed may be "
                                    "lost if several members crash at once, and a lock granted twice");
    bson_destroy(&reply);
}

static void check_topology(const struct checker *checker)
{
    bson_t reply;
    bson_iter_t field;
    if (ask_admin(checker, "isMaster", &reply)) {
        if (find_at(&reply, "setName", &field))
            check_replica_set(checker);
        else if (find_at(&reply, "msg", &field))
            checker->warn(checker->arg, "this is a sharded cluster: if the collection is sharded, only _id may be the "
                                        "shard key, and fences grow over all keys only if it is not sharded");
        else
            checker->warn(checker->arg,
                          "this is a single server, not a replica set: locks are as safe as its disk, and "
                          "nobody gets one while it is down");
    }
    bson_destroy(&reply);
}

static void check_options(const struct checker *checker, const bson_iter_t *collection)
{
    bson_iter_t options;
    if (!bson_iter_recurse(collection, &options))
        return;
    while (bson_iter_next(&options)) {
        const char *name = bson_iter_key(&options);
        if (strcmp(name, "validator") == 0)
            checker->warn(checker->arg, "the collection has a validator, which must let the documents of locks pass");
        else if (strcmp(name, "capped") == 0 && bson_iter_as_bool(&options))
            checker->warn(checker->arg, "the collection is capped: the server deletes locks when it is full");
        else if (strcmp(name, "collation") == 0)
            checker->warn(checker->arg,
                          "the collection has a collation: keys that it takes for equal exclude each other");
    }
}

static void check_collection(const struct checker *checker)
{
    const char *where = checker->session->where, *dot = strchr(where, '.');
    char database[64];
    bson_t command = BSON_INITIALIZER, filter, reply;
    bson_iter_t options;
    snprintf(database, sizeof database, "%.*s", (int)(dot - where), where);
    BSON_APPEND_INT32(&command, "listCollections", 1);
    BSON_APPEND_DOCUMENT_BEGIN(&command, "filter", &filter);
    BSON_APPEND_UTF8(&filter, "name", dot + 1);
    bson_append_document_end(&command, &filter);
    if (ask(checker, database, &command, &reply) && find_at(&reply, "cursor.firstBatch.0.options", &options))
        check_options(checker, &options);
    bson_destroy(&reply);
    bson_destroy(&command);
}

dlock_status check_server(void *memory, void (*warn)(void *arg, const char *text), void *arg, dlock_error *error)
{
    struct mongodb_session *session = memory;
    const struct checker checker = {.session = session, .warn = warn, .arg = arg};
    int64_t now;
    command_begin_call(session);
    if (command_clock(session, &now) == OUTCOME_FAILED)
        return dlock_error_set(error, session->error.status, "%s", session->error.message);
    check_make(&checker);
    check_topology(&checker);
    check_durability(&checker);
    check_collection(&checker);
    return DLOCK_OK;
}
