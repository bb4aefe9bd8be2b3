/* settings.c - see settings.h. Called when a session is opened. */
#include "settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_HOST   "127.0.0.1"
#define DEFAULT_PORT   6379
#define DEFAULT_PREFIX "distributed-locks"
#define TIMEOUT_MAX_MS 600000
#define GUARD_MAX_MS   DLOCK_TTL_MAX_MS
#define DATABASE_MAX   1000000

static bool is_number(const char *text, int64_t min, int64_t max, int64_t *ret)
{
    char *end;
    *ret = strtoll(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && !*end && *ret >= min && *ret <= max;
}

/* Reads a parameter; leaves `ret` alone if it is not there. */
static dlock_status read_number(const dlock_url *url, const char *name, int64_t min, int64_t max, int64_t *ret,
                                dlock_error *error)
{
    const char *text = dlock_url_get(url, name);
    int64_t value;
    if (!text)
        return DLOCK_OK;
    if (!is_number(text, min, max, &value))
        return dlock_error_set(error, DLOCK_INVALID, "the URL's %s is '%.64s'; expected a number from %lld to %lld",
                               name, text, (long long)min, (long long)max);
    *ret = value;
    return DLOCK_OK;
}

/* redis://host/2 and ?db=2 are the same. */
static dlock_status read_database(const dlock_url *url, bool is_unix, uint32_t *ret, dlock_error *error)
{
    int64_t by_path = -1, by_parameter = -1;
    /* Of a URL that was mistyped, the path may be a password, so it is not shown. */
    if (!is_unix && url->path && url->path[0] && strcmp(url->path, "/") != 0 &&
        !is_number(url->path + (url->path[0] == '/'), 0, DATABASE_MAX, &by_path))
        return dlock_error_set(error, DLOCK_INVALID,
                               "the URL's path is not the number of a database; expected / and a number from 0 to %d",
                               DATABASE_MAX);
    const dlock_status status = read_number(url, "db", 0, DATABASE_MAX, &by_parameter, error);
    if (status != DLOCK_OK)
        return status;
    if (by_path >= 0 && by_parameter >= 0 && by_path != by_parameter)
        return dlock_error_set(error, DLOCK_INVALID, "the URL names two databases, %lld and %lld", (long long)by_path,
                               (long long)by_parameter);
    *ret = (uint32_t)(by_path >= 0 ? by_path : by_parameter >= 0 ? by_parameter : 0);
    return DLOCK_OK;
}

static dlock_status read_tls(const dlock_url *url, struct address *address, dlock_error *error)
{
    const char *insecure = dlock_url_get(url, "insecure");
    address->tls = strcmp(url->scheme, "rediss") == 0;
    address->ca = dlock_url_get(url, "ca");
    address->certificate = dlock_url_get(url, "cert");
    address->key = dlock_url_get(url, "key");
    if (!address->tls && (insecure || address->ca || address->certificate || address->key))
        return dlock_error_set(error, DLOCK_INVALID,
                               "ca, cert, key and insecure are of TLS; expected a URL that starts with rediss:");
    if (!address->certificate != !address->key)
        return dlock_error_set(error, DLOCK_INVALID, "the URL has %s; expected cert and key together",
                               address->key ? "key, but no cert" : "cert, but no key");
    if (insecure && strcmp(insecure, "yes") != 0 && strcmp(insecure, "no") != 0)
        return dlock_error_set(error, DLOCK_INVALID, "the URL's insecure is '%.64s'; expected yes or no", insecure);
    address->insecure = insecure && strcmp(insecure, "yes") == 0;
    return DLOCK_OK;
}

static bool is_same(const struct address *a, const struct address *b)
{
    if (a->path || b->path)
        return a->path && b->path && strcmp(a->path, b->path) == 0;
    return strcmp(a->host, b->host) == 0 && a->port == b->port;
}

static dlock_status add(struct settings *settings, struct address address, dlock_error *error)
{
    if (settings->count == NODES_MAX)
        return dlock_error_set(error, DLOCK_INVALID, "too many nodes; expected at most %d", NODES_MAX);
    if (address.path)
        snprintf(address.name, sizeof address.name, "%s", address.path);
    else
        snprintf(address.name, sizeof address.name, strchr(address.host, ':') ? "[%s]:%u" : "%s:%u", address.host,
                 address.port);
    for (size_t i = 0; i < settings->count; i++)
        if (is_same(&settings->addresses[i], &address))
            return dlock_error_set(error, DLOCK_INVALID, "%s is named twice; a quorum needs nodes of their own",
                                   address.name);
    settings->addresses[settings->count++] = address;
    return DLOCK_OK;
}

static dlock_status add_unix(const dlock_url *url, struct settings *settings, struct address *address,
                             dlock_error *error)
{
    if (url->host_count > 0 && (url->host_count > 1 || url->hosts[0].name[0] || url->hosts[0].port))
        return dlock_error_set(error, DLOCK_INVALID, "redis+unix: has no host; expected redis+unix:///path/of/socket");
    if (!url->path || url->path[0] != '/' || !url->path[1])
        return dlock_error_set(
            error, DLOCK_INVALID,
            "redis+unix: needs the absolute path of a socket; expected redis+unix:///path/of/socket");
    address->path = url->path;
    return add(settings, *address, error);
}

static dlock_status add_hosts(const dlock_url *url, struct settings *settings, struct address *address,
                              dlock_error *error)
{
    static const dlock_url_host here = {.name = ""};
    const size_t count = url->host_count ? url->host_count : 1;
    for (size_t i = 0; i < count; i++) {
        const dlock_url_host *host = url->host_count ? &url->hosts[i] : &here;
        address->host = host->name[0] ? host->name : DEFAULT_HOST;
        address->port = host->port ? host->port : DEFAULT_PORT;
        const dlock_status status = add(settings, *address, error);
        if (status != DLOCK_OK)
            return status;
    }
    return DLOCK_OK;
}

/* Reads a number that holds for all nodes; `ret` is `unset` until a URL has it. */
static dlock_status read_common_number(const dlock_url *url, const char *name, int64_t min, int64_t max, int64_t unset,
                                       int64_t *ret, dlock_error *error)
{
    int64_t value = *ret;
    const dlock_status status = read_number(url, name, min, max, &value, error);
    if (status == DLOCK_OK && *ret != unset && value != *ret)
        return dlock_error_set(error, DLOCK_INVALID, "the URLs have different values of %s, %lld and %lld", name,
                               (long long)*ret, (long long)value);
    *ret = value;
    return status;
}

/* What holds for all nodes may stand in any of the URLs, but not differ. */
static dlock_status read_common(const dlock_url *url, struct settings *settings, dlock_error *error)
{
    const char *prefix = dlock_url_get(url, "prefix");
    if (prefix && settings->prefix && strcmp(prefix, settings->prefix) != 0)
        return dlock_error_set(error, DLOCK_INVALID, "the URLs have different prefixes, '%.64s' and '%.64s'",
                               settings->prefix, prefix);
    if (prefix && (!prefix[0] || strlen(prefix) > PREFIX_MAX))
        return dlock_error_set(error, DLOCK_INVALID, "the URL's prefix has %zu bytes; expected 1 to %d", strlen(prefix),
                               PREFIX_MAX);
    if (prefix)
        settings->prefix = prefix;
    int64_t connect_timeout_ms = settings->connect_timeout_ms;
    dlock_status status =
        read_common_number(url, "connect_timeout_ms", 1, TIMEOUT_MAX_MS, 0, &connect_timeout_ms, error);
    settings->connect_timeout_ms = (uint32_t)connect_timeout_ms;
    if (status == DLOCK_OK)
        status =
            read_common_number(url, "restart_guard_ms", 0, GUARD_MAX_MS, GUARD_DEFAULT, &settings->guard_ms, error);
    return status;
}

/* All programs ask the nodes in one order, whatever the order of their URLs. */
static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct address *)a)->name, ((const struct address *)b)->name);
}

dlock_status settings_read(const dlock_url *urls, uint32_t timeout_ms, struct settings *ret, dlock_error *error)
{
    *ret = (struct settings){.guard_ms = GUARD_DEFAULT};
    for (const dlock_url *url = urls; url; url = url->next) {
        const bool is_unix = strcmp(url->scheme, "redis+unix") == 0;
        struct address address = {.user = url->user, .password = url->password};
        dlock_status status = read_common(url, ret, error);
        if (status == DLOCK_OK)
            status = read_database(url, is_unix, &address.database, error);
        if (status == DLOCK_OK)
            status = read_tls(url, &address, error);
        if (status == DLOCK_OK)
            status = is_unix ? add_unix(url, ret, &address, error) : add_hosts(url, ret, &address, error);
        if (status != DLOCK_OK)
            return status;
    }
    if (!ret->prefix)
        ret->prefix = DEFAULT_PREFIX;
    if (!ret->connect_timeout_ms)
        ret->connect_timeout_ms = timeout_ms;
    qsort(ret->addresses, ret->count, sizeof ret->addresses[0], by_name);
    return DLOCK_OK;
}
