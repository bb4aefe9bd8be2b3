/* connection.c - the connection with the server, within the operation timeout: no call of libpq here may wait by
 * itself.
 *
 * Called by all other files of this storage. The connection is in libpq's pipeline mode from its opening on. */
#include "internal.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Waits until the connection can be read, or written; false if it is too late. */
static bool wait_for(const struct postgresql_session *session, int64_t deadline, short events)
{
    struct pollfd polled = {.fd = PQsocket(session->connection), .events = events};
    for (;;) {
        const int64_t left = deadline - dlock_clock_us();
        if (left <= 0)
            return false;
        const int count = poll(&polled, 1, (int)((left + 999) / 1000));
        if (count > 0)
            return true;
        if (count < 0 && errno != EINTR)
            return false;
    }
}

/* ---- what the server says without being asked */

static bool has_field(const PGresult *notice, int field, const char *text)
{
    const char *value = PQresultErrorField(notice, field);
    return value && strcmp(value, text) == 0;
}

/* The server answers "done" to a commit that is on its own disk, but that a standby has not confirmed as it should: it
 * was told to stop waiting. All it says of that is a warning. */
static bool is_unconfirmed_commit(const PGresult *notice)
{
    if (!has_field(notice, PG_DIAG_SEVERITY_NONLOCALIZED, "WARNING"))
        return false;
    return has_field(notice, PG_DIAG_SOURCE_FUNCTION, "SyncRepWaitForLSN") ||
           has_field(notice, PG_DIAG_SQLSTATE, "57P01") || has_field(notice, PG_DIAG_SQLSTATE, "57P02");
}

static void receive_notice(void *arg, const PGresult *notice)
{
    struct postgresql_session *session = arg;
    const char *text = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);
    session->unsure |= is_unconfirmed_commit(notice);
    if (text && (has_field(notice, PG_DIAG_SEVERITY_NONLOCALIZED, "FATAL") || session->unsure))
        snprintf(session->last_words, sizeof session->last_words, "%s", text);
}

/* ---- opening */

/* Lets libpq connect, until the deadline. */
static dlock_status await_connection(struct postgresql_session *session, int64_t deadline, dlock_error *error)
{
    PGconn *connection = session->connection;
    bool reached_tls = false;
    PostgresPollingStatusType wanted = PGRES_POLLING_WRITING;
    while (PQstatus(connection) != CONNECTION_BAD) {
        reached_tls |= PQstatus(connection) == CONNECTION_SSL_STARTUP;
        if (!wait_for(session, deadline, wanted == PGRES_POLLING_READING ? POLLIN : POLLOUT))
            return dlock_error_set(error, DLOCK_UNAVAILABLE, "no connection to server %s%s%s within the time given",
                                   PQhost(connection) ? PQhost(connection) : "", ":",
                                   PQport(connection) ? PQport(connection) : "");
        wanted = PQconnectPoll(connection);
        if (wanted == PGRES_POLLING_OK)
            return DLOCK_OK;
        if (wanted == PGRES_POLLING_FAILED)
            break;
    }
    return failure_explain_connecting(connection, reached_tls, error);
}

static dlock_status connect_to(struct postgresql_session *session, const dlock_url *url, size_t host, int64_t deadline,
                               dlock_error *error)
{
    struct keywords keywords;
    dlock_status status = options_keywords(url, host, &keywords, error);
    if (status != DLOCK_OK)
        return status;
    session->connection = PQconnectStartParams(keywords.names, keywords.values, 0);
    keywords_free(&keywords);
    if (!session->connection)
        return dlock_error_set(error, DLOCK_NOMEM, "out of memory");
    PQsetErrorVerbosity(session->connection, PQERRORS_VERBOSE); /* with SQLSTATE, which there is no other way to get */
    PQsetNoticeReceiver(session->connection, receive_notice, session);
    status = await_connection(session, deadline, error);
    if (status == DLOCK_OK &&
        (PQsetnonblocking(session->connection, 1) != 0 || !PQenterPipelineMode(session->connection)))
        status = dlock_error_set(error, DLOCK_UNAVAILABLE, "libpq: %s", PQerrorMessage(session->connection));
    if (status != DLOCK_OK) {
        PQfinish(session->connection);
        session->connection = NULL;
    }
    return status;
}

/* What several servers said, in one message. If one of them may be there later, it is worth trying again. */
static void collect(dlock_error *all, const dlock_error *one, const dlock_url *url, size_t host)
{
    const size_t length = strlen(all->message), room = sizeof all->message - length;
    const char *name = url->hosts[host].name;
    if (snprintf(all->message + length, room, "%s%s: %s", length ? "; " : "", name, one->message) >= (int)room)
        strcpy(all->message + sizeof all->message - 4, "...");
    if (!length || one->status == DLOCK_UNAVAILABLE)
        all->status = one->status;
}

/* Connects to the first of the servers of the URL that will do. */
static dlock_status open_one(struct postgresql_session *session, dlock_error *error)
{
    const dlock_url *url = session->url;
    const size_t count = options_host_count(url);
    dlock_error all = {0}, one;
    for (size_t i = 0; i < count; i++) {
        const int64_t now = dlock_clock_us(), slice = (session->deadline - now) / (int64_t)(count - i);
        dlock_status status = connect_to(session, url, i, now + slice, &one);
        if (status == DLOCK_OK)
            status = table_open(session, &one);
        if (status == DLOCK_OK || count == 1)
            return status == DLOCK_OK ? DLOCK_OK : dlock_error_set(error, status, "%s", one.message);
        PQfinish(session->connection);
        session->connection = NULL;
        statements_free(session);
        collect(&all, &one, url, i);
    }
    return dlock_error_set(error, all.status, "%s", all.message);
}

/* ---- calls */

static bool is_alive(struct postgresql_session *session)
{
    session->last_words[0] = '\0';
    if (!session->connection)
        return false;
    if (PQconsumeInput(session->connection) && PQstatus(session->connection) == CONNECTION_OK)
        PQisBusy(session->connection); /* makes libpq read what came */
    return PQstatus(session->connection) == CONNECTION_OK && !session->last_words[0];
}

/* What the server has ended while nobody used it, by a restart or because it idled, is no news to anybody: nothing was
 * under way, so a new connection is as good. */
dlock_status connection_begin(struct postgresql_session *session, dlock_error *error)
{
    session->deadline = dlock_clock_us() + (int64_t)session->settings->timeout_ms * 1000;
    if (is_alive(session))
        return DLOCK_OK;
    PQfinish(session->connection);
    session->connection = NULL;
    statements_free(session);
    return open_one(session, error);
}

/* ---- talking */

bool connection_flush(struct postgresql_session *session)
{
    return PQflush(session->connection) >= 0;
}

static bool is_readable(void *arg)
{
    char byte;
    return recv(PQsocket(arg), &byte, sizeof byte, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN;
}

/* Waits for more of an answer, with what of the request is not sent yet. */
static bool wait_for_more(struct postgresql_session *session)
{
    const int unsent = PQflush(session->connection);
    if (unsent != 0)
        return unsent > 0 && wait_for(session, session->deadline, POLLIN | POLLOUT);
    const bool there =
        look_begin(&session->look, is_readable, session->connection) || wait_for(session, session->deadline, POLLIN);
    look_end();
    return there;
}

bool connection_get_result(struct postgresql_session *session, PGresult **ret)
{
    PGconn *connection = session->connection;
    while (PQisBusy(connection))
        if (!wait_for_more(session) || !PQconsumeInput(connection))
            return false;
    *ret = PQgetResult(connection);
    return true;
}

bool connection_finish(struct postgresql_session *session, PGresult **ret, struct failure *failure)
{
    PGresult *result, *rows = NULL;
    bool failed = false, ended = false;
    unsigned ends = 0; /* in a row: behind the last there is nothing that could come */
    *failure = (struct failure){0};
    while (!ended && ends < 2 && connection_get_result(session, &result)) {
        ends = result ? 0 : ends + 1;
        switch (PQresultStatus(result)) {
        case PGRES_TUPLES_OK:
            PQclear(rows);
            rows = result;
            continue;
        case PGRES_PIPELINE_SYNC:
            ended = true;
            break;
        case PGRES_COMMAND_OK:
        case PGRES_PIPELINE_ABORTED:
            break;
        default:
            if (result && !failed)
                failure_read(session, result, failure);
            failed |= result != NULL;
        }
        PQclear(result);
    }
    if (!ended && !failed)
        failure_read(session, NULL, failure);
    if (ret && ended && !failed)
        *ret = rows;
    else
        PQclear(rows);
    return ended && !failed;
}
