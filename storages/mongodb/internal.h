/* internal.h - what the parts of the MongoDB storage share.
 *
 * mongodb.c decides, and uses the others; docs/storages.md describes the documents and the commands. */
#ifndef DLOCK_STORAGES_MONGODB_INTERNAL_H
#define DLOCK_STORAGES_MONGODB_INTERNAL_H

#include <dlock_storage.h>

#include <mongoc/mongoc.h>

/* The longest `_id`: prefix, colon, key. */
#define PREFIX_MAX 128
#define ID_SIZE    (PREFIX_MAX + 1 + DLOCK_KEY_MAX + 1)

/* A command that gets no answer is repeated once by libmongoc, after it has looked for the primary again: three waits
 * in a row, and before them the commands that it follows. Each has such a part of the operation timeout. */
#define TIME_SHARES 4

/* So many keys a session remembers to have found taken. */
#define TAKEN_KEYS 16

struct mongodb_session {
    const dlock_storage_options *options;
    mongoc_client_t *client;
    mongoc_collection_t *collection;
    char *prefix;
    const char *where; /* "database.collection", for messages; freed with the prefix */
    int64_t started;   /* the call that runs now */
    dlock_error error; /* why the last command failed */
    bool not_done;     /* and it certainly did nothing */
    uint64_t taken[TAKEN_KEYS];
    unsigned next_taken;
};

/* ---- place.c: the URL */

/* Makes the client and the names of `session`. Connects nowhere yet. */
dlock_status place_open(struct mongodb_session *session, const dlock_url *url, dlock_error *error);

/* ---- failure.c */

/* Puts into session->error and session->not_done what a failed command means. */
void failure_set(struct mongodb_session *session, const bson_error_t *cause);

/* ---- record.c: the document of a key */

/* Times are milliseconds of the server's clock. */
struct record {
    bool there;
    dlock_info info; /* owner ("" = it was released), fence, ttl_ms */
    int64_t acquired_at, renewed_at, released_at;
    int64_t due_at; /* the last renewal counts only if it was made until then; INT64_MAX = no renewal yet */
    int64_t batch;
};

/* Reads `document`; false if it is not of this layout: session->error says what is wrong. */
bool record_read(struct mongodb_session *session, const bson_t *document, struct record *ret);

/* A date that the server tells; false if there is none, or one that no clock shows. Then *ret is untouched. */
bool record_read_date(const bson_t *document, const char *name, int64_t *ret);

/* Until when it is held, unless it is released. */
int64_t record_end(const struct record *record);

/* Is it, or was it until its release, live at `now`? */
bool record_live_at(const struct record *record, int64_t now);

/* What users are told of it, at `now`. */
dlock_info record_info(const struct record *record, int64_t now);

void record_id(const struct mongodb_session *session, const char *key, char ret[ID_SIZE]);
void record_append_id(const struct mongodb_session *session, bson_t *filter, const char *key);

/* The filter that only the document as it was read matches. */
void record_append_seen(bson_t *filter, const struct record *seen);

/* The changes, with classic operators only. */
void record_grant(bson_t *update, const char *owner, uint32_t ttl_ms, uint64_t fence);
void record_renew(bson_t *update, const struct record *seen, uint32_t ttl_ms, int64_t batch);
void record_release(bson_t *update, int64_t batch);

/* ---- command.c: one command each */

enum outcome {
    OUTCOME_DONE,
    OUTCOME_MISSED, /* no document matched */
    OUTCOME_TAKEN,  /* E11000: there is one with this _id that does not match */
    OUTCOME_FAILED, /* see session->error */
};

/* findAndModify of one document. *ret is what it is afterwards. */
enum outcome command_modify(struct mongodb_session *session, const bson_t *filter, const bson_t *update, bool upsert,
                            struct record *ret);

/* Draws `count` numbers, of which *last is the greatest; *now is the server's clock before this returns. */
enum outcome command_draw(struct mongodb_session *session, size_t count, uint64_t *last, int64_t *now);

/* The primary's clock, without a write. */
enum outcome command_clock(struct mongodb_session *session, int64_t *now);

/* Reads the document of one key; one that is not there is not `there`. */
enum outcome command_find(struct mongodb_session *session, const char *key, struct record *ret);

/* Calls `each` for documents that match `filter`, until it returns false. Documents with an _id that no key has are
 * passed over. */
enum outcome command_query(struct mongodb_session *session, const bson_t *filter, const bson_t *options,
                           bool (*each)(void *arg, const char *id, const bson_t *document), void *arg);

/* One `update` command of many statements. */
struct batch {
    mongoc_bulk_operation_t *bulk;
    bool failed;
};
struct batch batch_begin(struct mongodb_session *session);
void batch_update(struct batch *batch, const bson_t *filter, const bson_t *update, bool upsert);
void batch_delete(struct batch *batch, const bson_t *filter);

/* Sends it and frees it. If `refused` is not NULL, `refused(arg, index, E11000?)` is called for each statement that the
 * server refused, with session->error set; without it such statements are passed over. */
enum outcome batch_send(struct mongodb_session *session, struct batch *batch,
                        void (*refused)(void *arg, size_t index, bool taken), void *arg);

/* A call begins, and has the operation timeout. */
void command_begin_call(struct mongodb_session *session);

/* ---- sweep.c */

/* Removes documents of keys not used for long, from a stretch behind `key`. */
void sweep_behind(struct mongodb_session *session, const char *key, int64_t now);

/* ---- check.c */

dlock_status check_server(void *session, void (*warn)(void *arg, const char *text), void *arg, dlock_error *error);

#endif
