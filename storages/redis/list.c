/* list.c - who holds what: finds keys by SCAN, then asks about them like any other INSPECT.
 *
 * KEYS would stop the server for as long as it looks through all of them; SCAN goes piece by piece. */
#include "session.h"

#include "quorum.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INSPECT_MAX 128 /* keys asked about in one batch */

struct scan {
    const char *prefix; /* of names, in front of the key */
    size_t prefix_length;
    char **keys;
    size_t count, room;
    char cursor[24];
    bool out_of_memory;
    const struct node *node;
    dlock_status status; /* of an error reply */
    dlock_error *error;
};

/* Takes over what is meant literally into a pattern of MATCH. */
static void escape(char *ret, const char *text)
{
    for (; *text; text++) {
        if (strchr("*?[]\\^-", *text))
            *ret++ = '\\';
        *ret++ = *text;
    }
    strcpy(ret, "*");
}

static void add(struct scan *scan, const redisReply *name)
{
    if (name->type != REDIS_REPLY_STRING || strlen(name->str) != name->len ||
        strncmp(name->str, scan->prefix, scan->prefix_length) != 0)
        return;
    const char *key = name->str + scan->prefix_length;
    if (!key[0] || strlen(key) > DLOCK_KEY_MAX)
        return;
    if (scan->count == scan->room) {
        const size_t room = scan->room ? scan->room * 2 : 256;
        char **keys = realloc(scan->keys, room * sizeof *keys);
        if (!keys) {
            scan->out_of_memory = true;
            return;
        }
        scan->keys = keys;
        scan->room = room;
    }
    scan->keys[scan->count] = strdup(key);
    if (scan->keys[scan->count])
        scan->count++;
    else
        scan->out_of_memory = true;
}

static void read_page(void *arg, const redisReply *reply)
{
    struct scan *scan = arg;
    const bool page = reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
                      reply->element[0]->type == REDIS_REPLY_STRING && reply->element[1]->type == REDIS_REPLY_ARRAY;
    if (!page) {
        scan->status = session_refuse(scan->node, reply, scan->error);
        return;
    }
    snprintf(scan->cursor, sizeof scan->cursor, "%s", reply->element[0]->str);
    for (size_t i = 0; i < reply->element[1]->elements; i++)
        add(scan, reply->element[1]->element[i]);
}

static dlock_status scan_node(struct redis_session *session, struct node *node, struct scan *scan, const char *pattern)
{
    const char *const words[] = {"SCAN", scan->cursor, "MATCH", pattern, "COUNT", "1000", "TYPE", "string"};
    scan->node = node;
    strcpy(scan->cursor, "0");
    do {
        const int64_t until = dlock_clock_us() + (int64_t)session->options->timeout_ms * 1000;
        if (!session_ask(session, node, until, sizeof words / sizeof *words, words, read_page, scan))
            return dlock_error_set(scan->error, node->status, "%s", node->problem);
        if (scan->out_of_memory)
            return dlock_error_set(scan->error, DLOCK_NOMEM, "out of memory");
    } while (scan->status == DLOCK_OK && strcmp(scan->cursor, "0") != 0);
    return scan->status;
}

/* A key that is held is known to a majority, so it is found by asking so many that no majority is without one of them.
 */
static dlock_status scan_nodes(struct redis_session *session, struct scan *scan, const char *pattern)
{
    const size_t needed = session->node_count - quorum_of(session->node_count) + 1;
    size_t scanned = 0;
    dlock_status status = DLOCK_OK;
    dlock_error *const error = scan->error;
    dlock_error why = {.status = DLOCK_OK};
    scan->error = &why; /* which nobody reads if enough of the others answer */
    for (size_t i = 0; i < session->node_count && scanned < needed; i++) {
        scan->status = DLOCK_OK;
        const dlock_status failed = scan_node(session, &session->nodes[i], scan, pattern);
        if (failed == DLOCK_OK)
            scanned++;
        else
            status = failed;
    }
    scan->error = error;
    return scanned >= needed ? DLOCK_OK : dlock_error_set(error, status, "%s", why.message);
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* SCAN may name a key twice, and nodes name the same. */
static void remove_twins(struct scan *scan)
{
    if (scan->count > 0)
        qsort(scan->keys, scan->count, sizeof *scan->keys, compare);
    size_t kept = 0;
    for (size_t i = 0; i < scan->count; i++) {
        if (kept > 0 && strcmp(scan->keys[kept - 1], scan->keys[i]) == 0)
            free(scan->keys[i]);
        else
            scan->keys[kept++] = scan->keys[i];
    }
    scan->count = kept;
}

static dlock_status inspect_some(struct redis_session *session, char *const *keys, size_t count, bool *more,
                                 bool (*each)(void *arg, const char *key, const dlock_info *info), void *arg,
                                 dlock_error *error)
{
    dlock_request *requests = calloc(count, sizeof *requests), *pointers[INSPECT_MAX] = {NULL};
    if (!requests)
        return dlock_error_set(error, DLOCK_NOMEM, "out of memory");
    for (size_t i = 0; i < count; i++) {
        requests[i] = (dlock_request){.operation = DLOCK_INSPECT, .key = keys[i], .status = DLOCK_UNAVAILABLE};
        pointers[i] = &requests[i];
    }
    round_execute(session, pointers, count);
    dlock_status status = DLOCK_OK;
    for (size_t i = 0; i < count && *more && status == DLOCK_OK; i++) {
        if (requests[i].status != DLOCK_OK)
            status = dlock_error_set(error, requests[i].status, "%s", requests[i].message);
        else if (requests[i].info.owner[0])
            *more = each(arg, keys[i], &requests[i].info);
    }
    free(requests);
    return status;
}

dlock_status list_keys(void *memory, const char *prefix,
                       bool (*each)(void *arg, const char *key, const dlock_info *info), void *arg, dlock_error *error)
{
    struct redis_session *session = memory;
    const size_t size = strlen(session->settings.prefix) + strlen(prefix) + 2;
    char *names = malloc(size), *pattern = malloc(2 * size + 2);
    struct scan scan = {.prefix = names, .error = error};
    dlock_status status = DLOCK_NOMEM;
    if (!names || !pattern) {
        dlock_error_set(error, DLOCK_NOMEM, "out of memory");
        goto end;
    }
    scan.prefix_length = (size_t)snprintf(names, size, "%s:", session->settings.prefix);
    escape(pattern, names);
    escape(pattern + strlen(pattern) - 1, prefix);
    status = scan_nodes(session, &scan, pattern);
    remove_twins(&scan);
    bool more = true;
    for (size_t i = 0; i < scan.count && more && status == DLOCK_OK; i += INSPECT_MAX)
        status = inspect_some(session, scan.keys + i, scan.count - i < INSPECT_MAX ? scan.count - i : INSPECT_MAX,
                              &more, each, arg, error);
end:
    for (size_t i = 0; i < scan.count; i++)
        free(scan.keys[i]);
    free(scan.keys);
    free(names);
    free(pattern);
    return status;
}
