/* failure.c - what the errors of libmongoc and of the server mean to the user of a lock.
 *
 * Called by place.c and command.c. */
#include "internal.h"

#include <string.h>

/* The server's numbers, which never change. What is not here is no answer that one could rely on. */
static const struct {
    uint32_t code;
    dlock_status status;
    bool not_done;
    const char *text;
} known[] = {
    {13, DLOCK_REFUSED, true, "this user may not read and write it (role readWrite of the database is needed)"},
    {14, DLOCK_REFUSED, true, "a document of another layout is in the way; use another collection or prefix"},
    {18, DLOCK_REFUSED, true, "the server does not accept user and password, or knows the user in another authSource"},
    {20, DLOCK_REFUSED, true, "the server does not allow this operation"},
    {72, DLOCK_REFUSED, true, "the server does not accept the options of the URL"},
    {73, DLOCK_REFUSED, true, "the server does not take this name"},
    {59, DLOCK_REFUSED, true, "the server does not know a command that this storage needs"},
    {115, DLOCK_REFUSED, true, "the server cannot do what this storage needs"},
    {121, DLOCK_REFUSED, true,
     "a validator of the collection refuses the documents of locks; take the validator away, or name another "
     "collection by ?collection="},
    {166, DLOCK_REFUSED, true, "this is a view, which cannot be written; name another collection by ?collection="},
    {301, DLOCK_REFUSED, true, "the server knows no retryable writes; add retryWrites=false to the URL"},
    {10107, DLOCK_UNAVAILABLE, false, "this member is not the primary; name all members and replicaSet= in the URL"},
    {13435, DLOCK_UNAVAILABLE, false, "this member is not the primary; name all members and replicaSet= in the URL"},
    {50, DLOCK_UNAVAILABLE, false, "the server did not finish in time"},
    {64, DLOCK_UNAVAILABLE, false,
     "the primary has written it, but a majority of the members did not confirm it in time (wtimeout)"},
    {100, DLOCK_UNAVAILABLE, false, "the replica set has no majority of members that hold data"},
};

static void set(struct mongodb_session *session, dlock_status status, bool not_done, const char *text,
                const bson_error_t *cause)
{
    session->not_done = not_done;
    const char *where = session->where ? session->where : "mongodb";
    if (text)
        dlock_error_set(&session->error, status, "%s: %s: %s (code %u)", where, text, cause->message, cause->code);
    else
        dlock_error_set(&session->error, status, "%s: %s", where, cause->message);
}

static void set_server_failure(struct mongodb_session *session, const bson_error_t *cause)
{
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].code == cause->code) {
            set(session, known[i].status, known[i].not_done, known[i].text, cause);
            return;
        }
    set(session, DLOCK_UNAVAILABLE, false, "the server answers", cause);
}

/* While it connects, libmongoc reports what the server said of the user as a failure of its own. */
static bool is_about_access(const bson_error_t *cause)
{
    return cause->domain == MONGOC_ERROR_SASL || cause->domain == MONGOC_ERROR_SCRAM ||
           (cause->domain == MONGOC_ERROR_CLIENT && cause->code == MONGOC_ERROR_CLIENT_AUTHENTICATE) ||
           (cause->domain == MONGOC_ERROR_SERVER_SELECTION && strstr(cause->message, "uthentication failed"));
}

void failure_set(struct mongodb_session *session, const bson_error_t *cause)
{
    if (is_about_access(cause)) {
        set(session, DLOCK_REFUSED, true, "the server does not accept user and password", cause);
        return;
    }
    switch (cause->domain) {
    case MONGOC_ERROR_SERVER:
    case MONGOC_ERROR_WRITE_CONCERN:
    case MONGOC_ERROR_COMMAND:
        set_server_failure(session, cause);
        return;
    case MONGOC_ERROR_SERVER_SELECTION:
        set(session, DLOCK_UNAVAILABLE, true, "no primary can be reached", cause);
        return;
    case MONGOC_ERROR_PROTOCOL:
        if (cause->code == MONGOC_ERROR_PROTOCOL_BAD_WIRE_VERSION) {
            set(session, DLOCK_REFUSED, true, "client and server do not understand each other", cause);
            return;
        }
        break;
    default:
        break;
    }
    set(session, DLOCK_UNAVAILABLE, false, "no answer", cause);
}
