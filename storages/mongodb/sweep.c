/* sweep.c - removes the documents of keys that nobody has used for long.
 *
 * Called by mongodb.c after one grant in some. There is no index on times, and none is needed: a sweep looks at a
 * stretch of keys behind the one just granted, and what is fresh there is swept past when it is granted itself. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

#define SWEEP_COUNT 64

/* Twice the longest ttl: who has drawn a number before a document was last used, and brings it only now, finds its own
 * lease long over (docs/guarantees.md). */
#define UNUSED_MS (2 * (int64_t)DLOCK_TTL_MAX_MS)

struct sweep {
    struct mongodb_session *session;
    struct batch batch;
    const char *prefix, *until; /* whole _ids; `until` may be NULL */
    int64_t now;
    unsigned looked_at, found;
    bool begun;
};

/* Only as it was seen: it may be granted meanwhile. */
static void remove_it(struct sweep *sweep, const char *id, const struct record *record)
{
    bson_t filter = BSON_INITIALIZER;
    if (!sweep->begun)
        sweep->batch = batch_begin(sweep->session);
    sweep->begun = true;
    BSON_APPEND_UTF8(&filter, "_id", id);
    record_append_seen(&filter, record);
    batch_delete(&sweep->batch, &filter);
    bson_destroy(&filter);
}

static bool look_at(void *arg, const char *id, const bson_t *document)
{
    struct sweep *sweep = arg;
    struct record record;
    if (strncmp(id, sweep->prefix, strlen(sweep->prefix)) != 0 || (sweep->until && strcmp(id, sweep->until) >= 0))
        return false;
    sweep->looked_at++;
    if (record_read(sweep->session, document, &record) && record.renewed_at < sweep->now - UNUSED_MS)
        remove_it(sweep, id, &record);
    return true;
}

static enum outcome look_from(struct sweep *sweep, const char *operator, const char * id)
{
    bson_t filter = BSON_INITIALIZER, options = BSON_INITIALIZER, part;
    BSON_APPEND_DOCUMENT_BEGIN(&filter, "_id", &part);
    BSON_APPEND_UTF8(&part, operator, id);
    bson_append_document_end(&filter, &part);
    BSON_APPEND_DOCUMENT_BEGIN(&options, "sort", &part);
    BSON_APPEND_INT32(&part, "_id", 1);
    bson_append_document_end(&options, &part);
    BSON_APPEND_INT64(&options, "limit", SWEEP_COUNT - sweep->looked_at);
    const enum outcome outcome = command_query(sweep->session, &filter, &options, look_at, sweep);
    bson_destroy(&options);
    bson_destroy(&filter);
    return outcome;
}

/* If it fails, that does not matter: the grant stands, and the next sweep comes. */
void sweep_behind(struct mongodb_session *session, const char *key, int64_t now)
{
    char id[ID_SIZE], prefix[ID_SIZE];
    record_id(session, key, id);
    record_id(session, "", prefix);
    struct sweep sweep = {.session = session, .prefix = prefix, .now = now};
    const enum outcome outcome = look_from(&sweep, "$gt", id);
    sweep.until = id;
    if (outcome == OUTCOME_DONE && sweep.looked_at < SWEEP_COUNT)
        look_from(&sweep, "$gte", prefix);
    if (sweep.begun)
        batch_send(session, &sweep.batch, NULL, NULL);
}
