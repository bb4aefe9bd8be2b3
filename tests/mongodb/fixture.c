/* fixture.c - see fixture.h. */
#include "fixture.h"

#include "server.h"
#include "storages.h"
#include "url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

const dlock_storage *storage;
struct wire wire;
mongoc_collection_t *documents;
void *watched, *other;

static struct server server;
static dlock_url *server_url;
static mongoc_client_t *client;
static char database[32];
static unsigned test_number;

/* ---- URLs ------------------------------------------------------------------------------------------------------- */

/* The server's URL for this run: not retried by libmongoc, which would mend what the tests break. */
static const char *make_url(const char *more, int port)
{
    static char urls[4][1024];
    static unsigned next;
    char *url = urls[next++ % 4];
    const char *hosts = strstr(server.url, "://") + 3, *at = strrchr(hosts, '@');
    if (at)
        hosts = at + 1;
    const char *rest = hosts + strcspn(hosts, "/?");
    const size_t path = strcspn(rest, "?");
    char place[256];
    if (port)
        snprintf(place, sizeof place, "127.0.0.1:%d", port);
    else
        snprintf(place, sizeof place, "%.*s", (int)(rest - hosts), hosts);
    snprintf(url, sizeof urls[0], "%.*s%s/%.*s?%s%sdatabase=%s&retryWrites=false&retryReads=false%s%s",
             (int)(hosts - server.url), server.url, place, (int)(path > 1 ? path - 1 : 0), rest + 1,
             rest[path] ? rest + path + 1 : "", rest[path] ? "&" : "", database, port ? "&directConnection=true" : "",
             more);
    return url;
}

const char *url_by_proxy(const char *more)
{
    return make_url(more, wire.port);
}

const char *url_direct(const char *more)
{
    return make_url(more, 0);
}

/* ---- the program ------------------------------------------------------------------------------------------------ */

static void skip_all(const char *reason)
{
    printf("1..0 # SKIP %s\n", reason);
    server_stop(&server);
    exit(0);
}

void fixture_start(void)
{
    dlock_error error;
    uint32_t random = 0;
    server_start_or_skip(&server, "mongodb");
    if (url_parse(server.url, &server_url, &error) != DLOCK_OK)
        skip_all(error.message);
    if (strcmp(server_url->scheme, "mongodb") != 0 || dlock_url_get(server_url, "tls"))
        skip_all("the proxy of these tests reads no TLS, and finds no servers by DNS");
    if (storages_find(server_url, &storage, &error) != DLOCK_OK) {
        printf("1..1\nnot ok 1 - %s\n", error.message);
        exit(1);
    }
    if (getrandom(&random, sizeof random, 0) != sizeof random)
        abort();
    snprintf(database, sizeof database, "dlock-test-%08x", random);
    mongoc_init();
    mongoc_log_set_handler(NULL, NULL);
    client = mongoc_client_new(server.url);
    documents = mongoc_client_get_collection(client, database, "locks");
    wire_start(&wire, server_url->hosts[0].name, server_url->hosts[0].port ? server_url->hosts[0].port : 27017);
}

void fixture_stop(void)
{
    mongoc_database_t *made = mongoc_client_get_database(client, database);
    mongoc_database_drop(made, NULL);
    mongoc_database_destroy(made);
    mongoc_collection_destroy(documents);
    mongoc_client_destroy(client);
    wire_stop(&wire);
    url_free(server_url);
    server_stop(&server);
    mongoc_cleanup();
}

bool restart_server(void)
{
    const char *given = getenv("DLOCK_TEST_MONGODB_URL");
    if (given && given[0])
        return false;
    server_tell(&server, "kill");
    server_tell(&server, "start");
    return true;
}

/* ---- sessions --------------------------------------------------------------------------------------------------- */

dlock_status try_open(const char *url, uint32_t timeout_ms, void **ret, dlock_error *error)
{
    dlock_url *parsed;
    const dlock_status status = url_parse(url, &parsed, error);
    return status == DLOCK_OK ? opened_new(storage, parsed, timeout_ms, ret, error) : status;
}

void *open_url(const char *url, uint32_t timeout_ms)
{
    void *session = NULL;
    dlock_error error = {0};
    if (try_open(url, timeout_ms, &session, &error) != DLOCK_OK)
        fail_msg("open %s: %s", url, error.message);
    return session;
}

void close_session(void *session)
{
    opened_close(storage, session);
}

/* One grant in 32 sweeps, and this test counts commands: the next 31 do not. */
static void get_the_sweep_over(void)
{
    uint64_t fence;
    do {
        fence = acquire(other, key_of("sweep"), "sweep", LONG_MS);
        assert_status(ask(other, DLOCK_RELEASE, key_of("sweep"), "sweep", 0), DLOCK_OK);
    } while (fence % 32 != 0);
}

int begin_test(void **state)
{
    (void)state;
    test_number++;
    watched = open_url(url_by_proxy(""), 10000);
    other = open_url(url_direct(""), 10000);
    acquire(watched, key_of("warm"), "warm", LONG_MS); /* connects, and makes the counter */
    get_the_sweep_over();
    wire_clear(&wire);
    return 0;
}

int end_test(void **state)
{
    (void)state;
    close_session(watched);
    close_session(other);
    wire_clear(&wire);
    return 0;
}

const char *key_of(const char *name)
{
    static char keys[64][96];
    static unsigned next;
    char *key = keys[next++ % 64];
    snprintf(key, sizeof keys[0], "test %u: %s", test_number, name);
    return key;
}

const char *id_of(const char *key)
{
    static char id[256];
    snprintf(id, sizeof id, "distributed-locks:%s", key);
    return id;
}

/* ---- requests --------------------------------------------------------------------------------------------------- */

dlock_request ask(void *session, dlock_operation operation, const char *key, const char *owner, uint32_t ttl_ms)
{
    return opened_ask(storage, session, request_of(operation, key, owner, ttl_ms));
}

uint64_t acquire(void *session, const char *key, const char *owner, uint32_t ttl_ms)
{
    const dlock_request request = ask(session, DLOCK_ACQUIRE, key, owner, ttl_ms);
    assert_status(request, DLOCK_OK);
    return request.info.fence;
}

dlock_info inspect(void *session, const char *key)
{
    const dlock_request request = ask(session, DLOCK_INSPECT, key, NULL, 0);
    assert_status(request, DLOCK_OK);
    return request.info;
}

/* It may run in the proxy's thread, where a failed assertion would go on with the next test. */
void wait_for_expiry(void *session, const char *key)
{
    const int64_t give_up = dlock_clock_us() + 30000000;
    for (;;) {
        const dlock_request request = ask(session, DLOCK_INSPECT, key, NULL, 0);
        if (request.status != DLOCK_OK || dlock_clock_us() > give_up) {
            fprintf(stderr, "%s does not expire: %s\n", key, request.message);
            abort();
        }
        if (!request.info.owner[0])
            return;
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
}

void assert_answer(dlock_request request, dlock_status wanted, const char *file, int line)
{
    if (request.status != wanted)
        fail_msg("%s:%d: %s instead of %s: %s", file, line, dlock_status_name(request.status),
                 dlock_status_name(wanted), request.message);
}

void assert_names(const char *wanted, const char *file, int line)
{
    char *names = wire_names(&wire);
    if (strcmp(names, wanted) != 0)
        fail_msg("%s:%d: the commands were: %s", file, line, names);
    free(names);
    wire_clear(&wire);
}

/* ---- the collection --------------------------------------------------------------------------------------------- */

static bson_t *document_of(const char *json)
{
    bson_error_t error;
    bson_t *document = bson_new_from_json((const uint8_t *)json, -1, &error);
    if (!document)
        fail_msg("%s: %s", json, error.message);
    return document;
}

void insert(const char *json)
{
    bson_error_t error;
    bson_t *document = document_of(json);
    if (!mongoc_collection_insert_one(documents, document, NULL, NULL, &error))
        fail_msg("insert %s: %s", json, error.message);
    bson_destroy(document);
}

int64_t count(const char *json)
{
    bson_error_t error;
    bson_t *filter = document_of(json);
    const bson_t *document;
    mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(documents, filter, NULL, NULL);
    int64_t found = 0;
    while (mongoc_cursor_next(cursor, &document))
        found++;
    if (mongoc_cursor_error(cursor, &error))
        fail_msg("count %s: %s", json, error.message);
    mongoc_cursor_destroy(cursor);
    bson_destroy(filter);
    return found;
}
