/* failure.c - what the server's answers mean to the user of a lock.
 *
 * Called by all other files of this storage. SQLSTATE decides, never the text, which comes in the server's language. */
#include "internal.h"

#include <stdio.h>
#include <string.h>

static void copy_line(char *out, size_t size, const char *text)
{
    const size_t length = strcspn(text, "\n"), fits = length < size ? length : size - 1;
    memcpy(out, text, fits);
    out[fits] = '\0';
}

void failure_read(struct postgresql_session *session, const PGresult *result, struct failure *ret)
{
    const char *code = PQresultErrorField(result, PG_DIAG_SQLSTATE),
               *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED),
               *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    snprintf(ret->code, sizeof ret->code, "%s", code ? code : "");
    ret->panic = severity && strcmp(severity, "PANIC") == 0;
    if (text)
        copy_line(ret->text, sizeof ret->text, text);
    else if (session->last_words[0])
        copy_line(ret->text, sizeof ret->text, session->last_words);
    else if (PQstatus(session->connection) == CONNECTION_BAD)
        snprintf(ret->text, sizeof ret->text, "the connection was lost");
    else
        snprintf(ret->text, sizeof ret->text, "no answer within %u ms", session->settings->timeout_ms);
}

bool failure_is_contention(const struct failure *failure)
{
    return strcmp(failure->code, "40001") == 0 || strcmp(failure->code, "40P01") == 0;
}

/* Class 08 is what a pooler says of a connection that it has lost, and it does not know what became of it. 57P02 is
 * said by a server that gives up, whatever it had just done. */
bool failure_is_certain(const struct failure *failure)
{
    return failure->code[0] && !failure->panic && strncmp(failure->code, "08", 2) != 0 &&
           strcmp(failure->code, "57P02") != 0;
}

static const struct {
    const char *code; /* or the beginning of it */
    dlock_status status;
    const char *advice; /* NULL = what the server says will do */
} known[] = {
    {"42501", DLOCK_REFUSED,
     "the role needs SELECT, INSERT, UPDATE, DELETE on the table, and USAGE, UPDATE on its sequence"},
    {"42P01", DLOCK_UNAVAILABLE, "the table or its sequence was dropped while it was in use"},
    {"42", DLOCK_REFUSED, "the table is not as dlock makes it"},
    {"28", DLOCK_REFUSED, NULL},
    {"3D000", DLOCK_REFUSED, "make the database, or correct the URL"},
    {"3F000", DLOCK_REFUSED, "make the schema, or correct the URL"},
    {"22P02", DLOCK_UNAVAILABLE, "a new session will set its numbers ahead first"},
    {"22P05", DLOCK_INVALID, "only a database with the encoding UTF8 can hold every key"},
    {"25006", DLOCK_UNAVAILABLE, "only the primary server, which writes, can keep locks"},
    {"53100", DLOCK_UNAVAILABLE, "there is no space left on the server's disk"},
    {"57014", DLOCK_UNAVAILABLE, "the server's own time limit, or somebody, stopped it"},
    {"55P03", DLOCK_UNAVAILABLE, "somebody keeps the row or the table locked for longer than lock_timeout"},
};

dlock_status failure_explain(const struct postgresql_session *session, const struct failure *failure,
                             dlock_error *error)
{
    const char *server = PQhost(session->connection);
    if (!failure->code[0])
        return dlock_error_set(error, DLOCK_UNAVAILABLE, "server %s: %s", server ? server : "", failure->text);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strncmp(failure->code, known[i].code, strlen(known[i].code)) == 0)
            return dlock_error_set(error, known[i].status, "PostgreSQL answers: %s (SQLSTATE %s)%s%s", failure->text,
                                   failure->code, known[i].advice ? "; " : "", known[i].advice ? known[i].advice : "");
    return dlock_error_set(error, DLOCK_UNAVAILABLE, "PostgreSQL answers: %s (SQLSTATE %s)", failure->text,
                           failure->code);
}

/* ---- connecting */

/* Verbose messages have the code behind the severity: `FATAL:  28P01: text`, in a line of its own or behind what libpq
 * says of the server. */
static const char *find_code(const char *text)
{
    for (const char *colon = strchr(text, ':'); colon; colon = strchr(colon + 1, ':')) {
        const char *code = colon + 1 + strspn(colon + 1, " ");
        if (code > colon + 1 && strspn(code, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5 && code[5] == ':' &&
            code[6] == ' ' && code[7] != ' ') /* behind a severity there are two blanks */
            return code;
    }
    return NULL;
}

/* libpq's own complaints have no code. SYSCALL stands for a connection that broke. */
static bool is_about_tls(const char *text, bool reached_tls)
{
    return strstr(text, "certificate") || (reached_tls && strstr(text, "SSL") && !strstr(text, "SYSCALL"));
}

dlock_status failure_explain_connecting(PGconn *connection, bool reached_tls, dlock_error *error)
{
    const char *text = PQerrorMessage(connection), *code = find_code(text);
    struct failure failure = {0};
    if (code) {
        snprintf(failure.code, sizeof failure.code, "%.5s", code);
        copy_line(failure.text, sizeof failure.text, code + 7);
        const struct postgresql_session session = {.connection = connection};
        return failure_explain(&session, &failure, error);
    }
    copy_line(failure.text, sizeof failure.text, text);
    if (PQconnectionNeedsPassword(connection) || is_about_tls(text, reached_tls))
        return dlock_error_set(error, DLOCK_REFUSED, "%s", failure.text);
    /* What libpq finds wrong before it tries anything leaves no address behind. */
    if (PQsocket(connection) < 0 && strstr(text, "invalid"))
        return dlock_error_set(error, DLOCK_INVALID, "%s", failure.text);
    return dlock_error_set(error, DLOCK_UNAVAILABLE, "%s", failure.text);
}
