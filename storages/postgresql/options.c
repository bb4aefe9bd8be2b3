/* options.c - what a URL says: what is ours, and what libpq is told to connect with.
 *
 * Called by postgresql.c and connection.c. Where the URL says nothing, libpq looks where it always does: PGHOST and its
 * like, service files, password files. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES   63  /* longer names the server would cut, without a word */
#define PREFIX_MAX_BYTES 256 /* with a key of 512 it still fits into an entry of an index */

static bool is_ours(const char *name)
{
    static const char *const ours[] = {"prefix", "table", "isolation", "timeout_ms"};
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        if (strcmp(ours[i], name) == 0)
            return true;
    return false;
}

/* Copies one name off *text to `out`, in quotes; stops before a dot. Returns the end of what it wrote, or NULL. */
static char *quote_name(const char **text, char *out)
{
    const char *in = *text;
    const bool quoted = *in == '"';
    size_t length = 0;
    *out++ = '"';
    for (in += quoted; *in && (quoted || *in != '.'); in++) {
        if (*in == '"') {
            if (quoted && in[1] != '"')
                break;
            if (quoted)
                in++;
            *out++ = '"';
        }
        *out++ = *in;
        length++;
    }
    if (quoted && *in++ != '"')
        return NULL;
    *out++ = '"';
    *text = in;
    return length > 0 && length <= NAME_MAX_BYTES ? out : NULL;
}

char *options_quote_table(const char *name)
{
    char *quoted = malloc(2 * strlen(name) + 8);
    if (!quoted)
        return NULL;
    char *end = quote_name(&name, quoted);
    if (end && *name == '.') {
        *end++ = *name++;
        end = quote_name(&name, end);
    }
    if (!end || *name) {
        free(quoted);
        return NULL;
    }
    *end = '\0';
    return quoted;
}

dlock_status options_read(const dlock_url *url, struct options *options, dlock_error *error)
{
    const char *table = dlock_url_get(url, "table"), *isolation = dlock_url_get(url, "isolation"),
               *prefix = dlock_url_get(url, "prefix");
    if (!prefix)
        prefix = "distributed-locks";
    if (strlen(prefix) > PREFIX_MAX_BYTES)
        return dlock_error_set(error, DLOCK_INVALID, "the URL's prefix is longer than %d bytes", PREFIX_MAX_BYTES);
    if (isolation && strcmp(isolation, "repeatable-read") != 0 && strcmp(isolation, "read-committed") != 0)
        return dlock_error_set(error, DLOCK_INVALID,
                               "the URL's isolation is '%s'; expected read-committed or repeatable-read", isolation);
    options->repeatable_read = isolation && strcmp(isolation, "repeatable-read") == 0;
    options->table = options_quote_table(table ? table : "locks");
    if (!options->table)
        return dlock_error_set(error, DLOCK_INVALID,
                               "the URL's table is '%s'; expected NAME or SCHEMA.NAME, each of 1 to %d bytes, and in "
                               "\" if it has a dot or a \" in it",
                               table ? table : "", NAME_MAX_BYTES);
    if (asprintf(&options->prefix, "%s%s", prefix, prefix[0] ? ":" : "") < 0) {
        options->prefix = NULL;
        return dlock_error_set(error, DLOCK_NOMEM, "out of memory");
    }
    return DLOCK_OK;
}

void options_free(struct options *options)
{
    free(options->table);
    free(options->prefix);
    *options = (struct options){0};
}

static void add(struct keywords *keywords, const char *name, const char *value)
{
    keywords->names[keywords->count] = name;
    keywords->values[keywords->count++] = value;
}

/* The names of libpq, and those by which the parts are known elsewhere. */
static const char *keyword_of(const char *name)
{
    static const char *const others[][2] = {{"database", "dbname"}, {"username", "user"}};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (strcmp(others[i][0], name) == 0)
            return others[i][1];
    return name;
}

static bool is_known(const char *keyword)
{
    PQconninfoOption *known = PQconndefaults();
    bool found = !known;
    for (const PQconninfoOption *option = known; option && option->keyword && !found; option++)
        found = strcmp(option->keyword, keyword) == 0;
    PQconninfoFree(known);
    return found;
}

static dlock_status add_parameters(struct keywords *keywords, const dlock_url *url, dlock_error *error)
{
    for (size_t i = 0; i < url->parameter_count; i++) {
        const dlock_url_parameter *parameter = &url->parameters[i];
        const char *name = keyword_of(parameter->name);
        if (is_ours(name))
            continue;
        if (strcmp(name, "ssl") == 0 && strcmp(parameter->value, "true") == 0) { /* libpq takes this in a URL, too */
            add(keywords, "sslmode", "require");
            continue;
        }
        if (!is_known(name))
            return dlock_error_set(error, DLOCK_INVALID,
                                   "the URL has a parameter '%s' that is neither one of libpq's nor one of these: "
                                   "table, prefix, isolation, timeout_ms, database, username",
                                   parameter->name);
        add(keywords, name, parameter->value);
    }
    return DLOCK_OK;
}

size_t options_host_count(const dlock_url *url)
{
    return url->host_count > 0 ? url->host_count : 1;
}

static void add_host(struct keywords *keywords, const dlock_url_host *host)
{
    if (host->name[0])
        add(keywords, "host", host->name);
    if (!host->port)
        return;
    snprintf(keywords->port, sizeof keywords->port, "%u", (unsigned)host->port);
    add(keywords, "port", keywords->port);
}

dlock_status options_keywords(const dlock_url *url, size_t host, struct keywords *ret, dlock_error *error)
{
    const size_t most = url->parameter_count + 9;
    *ret = (struct keywords){.names = calloc(most, sizeof *ret->names), .values = calloc(most, sizeof *ret->values)};
    if (!ret->names || !ret->values) {
        keywords_free(ret);
        return dlock_error_set(error, DLOCK_NOMEM, "out of memory");
    }
    /* Of several of one name libpq takes the last. */
    add(ret, "fallback_application_name", "dlock");
    if (host < url->host_count)
        add_host(ret, &url->hosts[host]);
    if (url->user)
        add(ret, "user", url->user);
    if (url->password)
        add(ret, "password", url->password);
    const char *database = url->path ? url->path + (url->path[0] == '/') : "";
    if (database[0])
        add(ret, "dbname", database);
    const dlock_status status = add_parameters(ret, url, error);
    if (status != DLOCK_OK) {
        keywords_free(ret);
        return status;
    }
    add(ret, "client_encoding", "UTF8");
    return DLOCK_OK;
}

void keywords_free(struct keywords *keywords)
{
    free(keywords->names);
    free(keywords->values);
    keywords->names = keywords->values = NULL;
}
