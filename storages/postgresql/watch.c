/* watch.c - waking those who wait for a key, by LISTEN and NOTIFY.
 *
 * Called by the core through dlock_storage, on a session that does nothing else, and never waits: what it sends is
 * answered when watch_hear reads. Who waits listens on the channel of the key and leaves a mark in its row; who
 * frees the key notifies only if there is one, because a commit with a NOTIFY in it waits for every other such commit
 * of the database. A mark that has become old is taken away by whoever frees the key; who still waits renews it then.
 */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A watched key, as it is stored. */
struct watched {
    struct watched *next;
    char key[];
};

/* What was sent, in its order: one transaction each. `key` is that of a mark, NULL = nobody waits for the answer. */
struct sent {
    struct sent *next;
    char *key;
};

struct watch {
    struct watched *keys;
    struct sent *first, **end;
};

/* Through a pooler a session has no connection of its own that could listen. */
int watch_socket(void *memory)
{
    struct postgresql_session *session = memory;
    if (session->pooled)
        return -1;
    if (!session->watch) {
        session->watch = calloc(1, sizeof *session->watch);
        if (!session->watch)
            return -1;
        session->watch->end = &session->watch->first;
    }
    return PQsocket(session->connection);
}

static bool expect(struct watch *watch, const char *key)
{
    struct sent *sent = calloc(1, sizeof *sent);
    if (!sent)
        return false;
    sent->key = key ? strdup(key) : NULL;
    if (key && !sent->key) {
        free(sent);
        return false;
    }
    *watch->end = sent;
    watch->end = &sent->next;
    return true;
}

static bool leave_mark(struct postgresql_session *session, const char *key)
{
    return expect(session->watch, key) && statements_send(session, STATEMENT_MARK, &(struct arguments){.key = key}, 1);
}

static bool send_listen(struct postgresql_session *session, const char *verb, const char *key)
{
    char channel[CHANNEL_SIZE], sql[CHANNEL_SIZE + 16];
    statements_channel(key, channel);
    snprintf(sql, sizeof sql, "%s %s", verb, channel);
    return expect(session->watch, NULL) && PQsendQueryParams(session->connection, sql, 0, NULL, NULL, NULL, NULL, 0) &&
           PQpipelineSync(session->connection);
}

dlock_status watch_add(void *memory, const char *key, dlock_error *error)
{
    struct postgresql_session *session = memory;
    if (watch_socket(session) < 0)
        return dlock_error_set(error, DLOCK_UNAVAILABLE, "nothing can be watched through a pooler");
    const size_t size = strlen(session->options.prefix) + strlen(key) + 1;
    struct watched *watched = malloc(sizeof *watched + size);
    if (!watched)
        return dlock_error_set(error, DLOCK_NOMEM, "out of memory");
    snprintf(watched->key, size, "%s%s", session->options.prefix, key);
    watched->next = session->watch->keys;
    session->watch->keys = watched;
    if (!send_listen(session, "LISTEN", watched->key) || !leave_mark(session, watched->key) ||
        !connection_flush(session)) {
        struct failure failure = {0};
        failure_read(session, NULL, &failure);
        return failure_explain(session, &failure, error);
    }
    return DLOCK_OK;
}

/* Another key may have the same channel. Then its hints fail to come until it is polled for. */
static bool shares_channel(const struct watch *watch, const char *key)
{
    char channel[CHANNEL_SIZE], other[CHANNEL_SIZE];
    statements_channel(key, channel);
    for (const struct watched *each = watch->keys; each; each = each->next) {
        statements_channel(each->key, other);
        if (strcmp(channel, other) == 0)
            return true;
    }
    return false;
}

void watch_remove(void *memory, const char *key)
{
    struct postgresql_session *session = memory;
    if (!session->watch)
        return;
    const size_t prefix = strlen(session->options.prefix);
    struct watched **link = &session->watch->keys;
    while (*link && strcmp((*link)->key + prefix, key) != 0)
        link = &(*link)->next;
    struct watched *watched = *link;
    if (!watched)
        return;
    *link = watched->next;
    if (!shares_channel(session->watch, watched->key) && send_listen(session, "UNLISTEN", watched->key))
        connection_flush(session);
    free(watched);
}

/* ---- reading */

struct hearer {
    void (*hint)(void *arg, const char *key);
    void *arg;
};

static void tell(struct postgresql_session *session, const char *stored, const struct hearer *hearer)
{
    for (const struct watched *each = session->watch->keys; each; each = each->next)
        if (strcmp(each->key, stored) == 0) {
            hearer->hint(hearer->arg, stored + strlen(session->options.prefix));
            return;
        }
}

/* What was sent first is answered. Between LISTEN and the mark a release may have told nobody: that is why whoever
 * waits is told when the mark is there. */
static void settle_sent(struct postgresql_session *session, const struct hearer *hearer)
{
    struct watch *watch = session->watch;
    struct sent *sent = watch->first;
    if (!sent)
        return;
    watch->first = sent->next;
    if (!watch->first)
        watch->end = &watch->first;
    if (sent->key)
        tell(session, sent->key, hearer);
    free(sent->key);
    free(sent);
}

static bool read_results(struct postgresql_session *session, const struct hearer *hearer, struct failure *failure)
{
    unsigned ends = 0; /* in a row: behind the last there is nothing that could come */
    while (session->watch->first && ends < 2 && !PQisBusy(session->connection)) {
        PGresult *result = PQgetResult(session->connection);
        const ExecStatusType status = PQresultStatus(result);
        ends = result ? 0 : ends + 1;
        if (status == PGRES_PIPELINE_SYNC)
            settle_sent(session, hearer);
        const bool failed =
            result && status != PGRES_PIPELINE_SYNC && status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK;
        if (failed)
            failure_read(session, result, failure);
        PQclear(result);
        if (failed)
            return false;
    }
    return true;
}

/* The mark of a key went with its release, so it is left anew before others are told of the next one. */
static bool read_notices(struct postgresql_session *session, const struct hearer *hearer)
{
    bool working = true;
    for (PGnotify *notice; (notice = PQnotifies(session->connection)); PQfreemem(notice)) {
        if (!notice->extra[0])
            continue;
        tell(session, notice->extra + 1, hearer);
        for (const struct watched *each = session->watch->keys; each && notice->extra[0] == '-'; each = each->next)
            if (strcmp(each->key, notice->extra + 1) == 0) {
                working = working && leave_mark(session, each->key);
                break;
            }
    }
    return working && connection_flush(session);
}

dlock_status watch_hear(void *memory, void (*hint)(void *arg, const char *key), void *arg, dlock_error *error)
{
    struct postgresql_session *session = memory;
    const struct hearer hearer = {hint, arg};
    struct failure failure = {0};
    session->last_words[0] = '\0';
    if (session->watch && PQconsumeInput(session->connection) && read_results(session, &hearer, &failure) &&
        read_notices(session, &hearer) && PQstatus(session->connection) == CONNECTION_OK && !session->last_words[0])
        return DLOCK_OK;
    if (!failure.text[0])
        failure_read(session, NULL, &failure);
    return failure_explain(session, &failure, error);
}

void watch_end(struct postgresql_session *session)
{
    struct watch *watch = session->watch;
    if (!watch)
        return;
    for (struct watched *each = watch->keys, *next; each; each = next) {
        next = each->next;
        free(each);
    }
    for (struct sent *each = watch->first, *next; each; each = next) {
        next = each->next;
        free(each->key);
        free(each);
    }
    free(watch);
    session->watch = NULL;
}
