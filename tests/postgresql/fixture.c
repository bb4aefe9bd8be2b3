/* fixture.c - see fixture.h. */
#include "fixture.h"

#include "url.h"

/* What a session is opened over must live as long as it does. */
struct opened {
    dlock_url *url;
    dlock_storage_options options;
    _Alignas(max_align_t) char session[];
};

static struct opened *opened_of(void *session)
{
    return (struct opened *)((char *)session - offsetof(struct opened, session));
}

dlock_status try_open(const char *url, uint32_t timeout_ms, void **ret, dlock_error *error)
{
    struct opened *opened = calloc(1, sizeof *opened + dlock_postgresql_storage.session_size);
    assert_non_null(opened);
    opened->options.timeout_ms = timeout_ms;
    dlock_status status = url_parse(url, &opened->url, error);
    assert_int_equal(status, DLOCK_OK);
    status = dlock_postgresql_storage.open(opened->session, opened->url, &opened->options, error);
    if (status == DLOCK_OK)
        *ret = opened->session;
    else
        close_session(opened->session);
    return status;
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
    struct opened *opened = opened_of(session);
    dlock_postgresql_storage.close(session);
    url_free(opened->url);
    free(opened);
}

dlock_request request_of(dlock_operation operation, const char *key, const char *owner, uint32_t ttl_ms)
{
    return (dlock_request){
        .operation = operation, .key = key, .owner = owner, .ttl_ms = ttl_ms, .status = DLOCK_UNAVAILABLE};
}

dlock_request ask(void *session, dlock_operation operation, const char *key, const char *owner, uint32_t ttl_ms)
{
    dlock_request request = request_of(operation, key, owner, ttl_ms);
    dlock_request *const requests[] = {&request};
    dlock_postgresql_storage.execute(session, requests, 1);
    return request;
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

/* ---- threads */

static void *carry_out(void *arg)
{
    struct asking *asking = arg;
    dlock_request *const requests[] = {&asking->request};
    dlock_postgresql_storage.execute(asking->session, requests, 1);
    return NULL;
}

void ask_in_thread(struct asking *asking, void *session, dlock_operation operation, const char *key, const char *owner,
                   uint32_t ttl_ms)
{
    asking->session = session;
    asking->request = request_of(operation, key, owner, ttl_ms);
    assert_int_equal(pthread_create(&asking->thread, NULL, carry_out, asking), 0);
}

dlock_request answer_of(struct asking *asking)
{
    assert_int_equal(pthread_join(asking->thread, NULL), 0);
    return asking->request;
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
