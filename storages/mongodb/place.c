/* place.c - from the URL to a client: what is ours is taken out of it, the rest is a MongoDB connection string.
 *
 * Called by mongodb.c when a session is opened. Nothing is connected here: the first command does that. */
#include "internal.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DEFAULT_DATABASE   "distributed-locks"
#define DEFAULT_COLLECTION "locks"
#define DEFAULT_PREFIX     "distributed-locks"

static const char *const ours[] = {"database", "collection", "prefix", "timeout_ms"};

/* Options of a connection string for which libmongoc has no type, but which it reads. */
static const char *const untyped[] = {
    "authmechanism",    "authmechanismproperties", "authsource", "compressors",
    "readconcernlevel", "readpreferencetags",      "slaveok",    "w",
};

static bool is_one_of(const char *name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}
#define IS_ONE_OF(name, names) is_one_of(name, names, sizeof(names) / sizeof(names)[0])

static bool is_option(const char *name)
{
    char lower[64];
    size_t length = strlen(name);
    if (length >= sizeof lower)
        return false;
    for (size_t i = 0; i <= length; i++)
        lower[i] = (char)tolower((unsigned char)name[i]);
    return mongoc_uri_option_is_utf8(lower) || mongoc_uri_option_is_int32(lower) || mongoc_uri_option_is_int64(lower) ||
           mongoc_uri_option_is_bool(lower) || IS_ONE_OF(lower, untyped);
}

/* libmongoc would pass over an option that it does not know, and so over a typing error. */
static dlock_status check_options(const dlock_url *url, dlock_error *error)
{
    for (size_t i = 0; i < url->parameter_count; i++) {
        const char *name = url->parameters[i].name;
        if (!IS_ONE_OF(name, ours) && !is_option(name))
            return dlock_error_set(error, DLOCK_INVALID,
                                   "the URL has a parameter '%s' that is neither an option of MongoDB connection "
                                   "strings nor one of: database, collection, prefix, timeout_ms",
                                   name);
    }
    return DLOCK_OK;
}

/* Is the name in `pair`, "name=value" with `%` encodings, one of ours? */
static bool pair_is_ours(const char *pair, size_t length)
{
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
        const size_t name = strlen(ours[i]);
        if (length >= name && memcmp(pair, ours[i], name) == 0 && (length == name || pair[name] == '='))
            return true;
    }
    return false;
}

/* The URL without our parameters, and with a slash before the others: one without it is a common form, which libmongoc
 * accepts with a complaint. */
static char *connection_string(const char *text)
{
    const size_t length = strlen(text);
    char *string = malloc(length + 2), *out = string;
    if (!string)
        return NULL;
    const char *query = strchr(text, '?');
    const size_t before = query ? (size_t)(query - text) : length;
    memcpy(out, text, before);
    out += before;
    const char *hosts = strstr(text, "://");
    if (hosts && !memchr(hosts + 3, '/', (size_t)(text + before - hosts - 3)))
        *out++ = '/';
    char separator = '?';
    for (const char *pair = query ? query + 1 : NULL; pair;) {
        const size_t size = strcspn(pair, "&");
        if (size > 0 && !pair_is_ours(pair, size)) {
            *out++ = separator;
            memcpy(out, pair, size);
            out += size;
            separator = '&';
        }
        pair = pair[size] ? pair + size + 1 : NULL;
    }
    *out = '\0';
    return string;
}

/* Does libmongoc's message quote the password, decoded or as it was written? */
static bool shows_password(const dlock_url *url, const char *message)
{
    if (!url->password || !url->password[0])
        return false;
    if (strstr(message, url->password))
        return true;
    const char *end = strrchr(url->text, '@'), *begin = strstr(url->text, "://");
    begin = begin && end ? memchr(begin + 3, ':', (size_t)(end - begin - 3)) : NULL;
    if (!begin)
        return false;
    char *raw = strndup(begin + 1, (size_t)(end - begin - 1));
    const bool shown = !raw || strstr(message, raw);
    free(raw);
    return shown;
}

static dlock_status check_names(const char *database, const char *collection, const char *prefix, dlock_error *error)
{
    const size_t database_length = strlen(database), collection_length = strlen(collection);
    if (database_length == 0 || database_length > 63 || strpbrk(database, "/\\. \"$*<>:|?"))
        return dlock_error_set(error, DLOCK_INVALID,
                               "the database '%.100s' is not a name that MongoDB takes: 1 to 63 bytes without any of "
                               "/ \\ . \" $ * < > : | ? and space",
                               database);
    if (collection_length == 0 || database_length + collection_length > 119 || strchr(collection, '$') ||
        strncmp(collection, "system.", 7) == 0)
        return dlock_error_set(error, DLOCK_INVALID,
                               "the collection '%.150s' is not a name that MongoDB takes: with the database and a dot "
                               "up to 120 bytes, no $, and not system.",
                               collection);
    if (!prefix[0] || strlen(prefix) > PREFIX_MAX)
        return dlock_error_set(error, DLOCK_INVALID, "the prefix has %zu bytes; expected 1 to %d", strlen(prefix),
                               PREFIX_MAX);
    return DLOCK_OK;
}

static const char *either(const char *first, const char *second)
{
    return first && first[0] ? first : second;
}

/* Keeps the names in one allocation: prefix, and behind it database and collection with a dot between. */
static dlock_status keep_names(struct mongodb_session *session, const char *database, const char *collection,
                               const char *prefix, dlock_error *error)
{
    const dlock_status status = check_names(database, collection, prefix, error);
    if (status != DLOCK_OK)
        return status;
    const size_t size = strlen(prefix) + 1;
    session->prefix = malloc(size + strlen(database) + 1 + strlen(collection) + 1);
    if (!session->prefix)
        return dlock_error_set(error, DLOCK_NOMEM, "out of memory");
    memcpy(session->prefix, prefix, size);
    sprintf(session->prefix + size, "%s.%s", database, collection);
    session->where = session->prefix + size;
    return DLOCK_OK;
}

static void set_limit(mongoc_uri_t *uri, const char *option, int32_t limit)
{
    const int32_t wanted = mongoc_uri_get_option_as_int32(uri, option, 0);
    if (wanted <= 0 || wanted > limit)
        mongoc_uri_set_option_as_int32(uri, option, limit);
}

/* What a majority has confirmed is what no fail-over takes back, and the newest is what the primary has. The server is
 * to give up waiting for the majority before the client gives up waiting for the server: then it can say so. */
static void set_concerns(struct mongodb_session *session, const mongoc_uri_t *uri, int32_t share)
{
    const int64_t wanted = mongoc_uri_get_option_as_int64(uri, MONGOC_URI_WTIMEOUTMS, 0);
    const int32_t limit = share > 10 ? share - share / 10 : share;
    mongoc_write_concern_t *writes = mongoc_write_concern_new();
    mongoc_write_concern_set_wmajority(writes, wanted > 0 && wanted < limit ? (int32_t)wanted : limit);
    mongoc_client_set_write_concern(session->client, writes);
    mongoc_write_concern_destroy(writes);
    mongoc_read_prefs_t *primary = mongoc_read_prefs_new(MONGOC_READ_PRIMARY);
    mongoc_client_set_read_prefs(session->client, primary);
    mongoc_read_prefs_destroy(primary);
    mongoc_read_concern_t *newest = mongoc_read_concern_new();
    mongoc_client_set_read_concern(session->client, newest);
    mongoc_read_concern_destroy(newest);
}

static dlock_status make_client(struct mongodb_session *session, mongoc_uri_t *uri, const char *collection,
                                dlock_error *error)
{
    const int32_t share = (int32_t)(session->options->timeout_ms / TIME_SHARES) + 1;
    set_limit(uri, MONGOC_URI_CONNECTTIMEOUTMS, share);
    set_limit(uri, MONGOC_URI_SOCKETTIMEOUTMS, share);
    set_limit(uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS, share);
    bson_error_t cause;
    session->client = mongoc_client_new_from_uri_with_error(uri, &cause);
    if (!session->client) {
        failure_set(session, &cause);
        *error = session->error;
        return error->status;
    }
    mongoc_client_set_error_api(session->client, MONGOC_ERROR_API_VERSION_2);
    set_concerns(session, uri, share);
    char database[64];
    snprintf(database, sizeof database, "%.*s", (int)strcspn(session->where, "."), session->where);
    session->collection = mongoc_client_get_collection(session->client, database, collection);
    return DLOCK_OK;
}

dlock_status place_open(struct mongodb_session *session, const dlock_url *url, dlock_error *error)
{
    dlock_status status = check_options(url, error);
    if (status != DLOCK_OK)
        return status;
    char *string = connection_string(url->text);
    if (!string)
        return dlock_error_set(error, DLOCK_NOMEM, "out of memory");
    bson_error_t cause = {0};
    mongoc_uri_t *uri = mongoc_uri_new_with_error(string, &cause);
    free(string);
    if (!uri)
        return dlock_error_set(error, DLOCK_INVALID, "not a connection string that libmongoc takes: %s",
                               shows_password(url, cause.message) ? "user or password must be percent-encoded"
                               : cause.message[0]                 ? cause.message
                                                                  : "hosts or options are wrong");
    const char *collection = either(dlock_url_get(url, "collection"), DEFAULT_COLLECTION);
    const char *database =
        either(dlock_url_get(url, "database"), either(mongoc_uri_get_database(uri), DEFAULT_DATABASE));
    status = keep_names(session, database, collection, either(dlock_url_get(url, "prefix"), DEFAULT_PREFIX), error);
    if (status == DLOCK_OK)
        status = make_client(session, uri, collection, error);
    mongoc_uri_destroy(uri);
    return status;
}
