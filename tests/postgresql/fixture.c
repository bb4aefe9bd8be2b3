/* fixture.c - see fixture.h. */
#include "fixture.h"

#include "url.h"

dlock_status try_open(const char *url, uint32_t timeout_ms, void **ret, dlock_error *error)
{
    dlock_url *parsed;
    assert_int_equal(url_parse(url, &parsed, error), DLOCK_OK);
    return opened_new(&dlock_postgresql_storage, parsed, timeout_ms, ret, error);
}

void *open_session(const char *format, ...)
{
    void *session = NULL;
    dlock_error error;
    char url[2400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(url, sizeof url, format, arguments);
    va_end(arguments);
    if (!strstr(url, "prefix="))
        strcat(url, strchr(url, '?') ? "&prefix=" : "?prefix=");
    if (try_open(url, 20000, &session, &error) != DLOCK_OK)
        fail_msg("open: %s", error.message);
    return session;
}

void close_session(void *session)
{
    opened_close(&dlock_postgresql_storage, session);
}

dlock_request ask(void *session, dlock_operation operation, const char *key, const char *owner, uint32_t ttl_ms)
{
    return opened_ask(&dlock_postgresql_storage, session, request_of(operation, key, owner, ttl_ms));
}

void assert_answer(dlock_request request, dlock_status wanted, const char *file, int line)
{
    if (request.status != wanted)
        fail_msg("%s:%d: %s %s", file, line, dlock_status_name(request.status), request.message);
}

uint64_t acquire(void *session, const char *key, const char *owner, uint32_t ttl_ms)
{
    const dlock_request request = ask(session, DLOCK_ACQUIRE, key, owner, ttl_ms);
    assert_status(request, DLOCK_OK);
    return request.info.fence;
}

void assert_holder(void *session, const char *key, const char *owner)
{
    const dlock_request request = ask(session, DLOCK_INSPECT, key, NULL, 0);
    assert_status(request, DLOCK_OK);
    assert_string_equal(request.info.owner, owner);
}

void assert_refused(const char *url, dlock_status status, const char *message)
{
    void *session = NULL;
    dlock_error error = {0};
    const dlock_status answer = try_open(url, 5000, &session, &error);
    if (answer != status)
        fail_msg("%s: %s instead of %s: %s", url, dlock_status_name(answer), dlock_status_name(status), error.message);
    if (!strstr(error.message, message))
        fail_msg("\"%s\" does not say \"%s\"", error.message, message);
    assert_null(strstr(error.message, "s3cret"));
}

void ask_many(void *session, dlock_request *batch, size_t count)
{
    dlock_request *requests[16];
    for (size_t i = 0; i < count; i++)
        requests[i] = &batch[i];
    dlock_postgresql_storage.execute(session, requests, count);
}

/* ---- threads */

static void *carry_out(void *arg)
{
    struct asking *asking = arg;
    ask_many(asking->session, asking->batch, asking->count);
    return NULL;
}

void ask_many_in_thread(struct asking *asking, void *session, dlock_request *batch, size_t count)
{
    asking->session = session;
    asking->batch = batch;
    asking->count = count;
    assert_int_equal(pthread_create(&asking->thread, NULL, carry_out, asking), 0);
}

void ask_in_thread(struct asking *asking, void *session, dlock_operation operation, const char *key, const char *owner,
                   uint32_t ttl_ms)
{
    asking->request = request_of(operation, key, owner, ttl_ms);
    ask_many_in_thread(asking, session, &asking->request, 1);
}

dlock_request answer_of(struct asking *asking)
{
    assert_int_equal(pthread_join(asking->thread, NULL), 0);
    return asking->batch[0];
}

/* ---- libpq alone */

PGconn *connect_as_superuser(struct server *server, int number)
{
    char words[128];
    snprintf(words, sizeof words, "host=127.0.0.1 port=%d user=postgres dbname=dlock", server_port(server, number));
    PGconn *connection = PQconnectdb(words);
    if (PQstatus(connection) != CONNECTION_OK)
        fail_msg("%s", PQerrorMessage(connection));
    return connection;
}

const char *sql(PGconn *connection, const char *format, ...)
{
    static char answer[512];
    char text[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    PGresult *result = PQexec(connection, text);
    const ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        fail_msg("%s: %s", text, PQerrorMessage(connection));
    snprintf(answer, sizeof answer, "%s", PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
    PQclear(result);
    return answer;
}

void wait_until_one_waits_for(PGconn *connection, const char *event)
{
    wait_for(strcmp(sql(connection,
                        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = '%s' AND application_name = 'dlock'",
                        event),
                    "0") != 0);
}
