/* test_access.c - who gets in, and by which way: users and their rights, databases, prefixes, IPv6, sockets, TLS.
 *
 * Whoever does not get in learns at which server and why, and never reads a password in it. */
#include "fixture.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TIMEOUT_MS 20000
#define SECRET     "s3cr3t" /* part of every password here */

/* One with users, one that knows no AUTH, one with TLS, and one whose certificate is for another host. */
static struct server guarded, unguarded, encrypted, elsewhere;

/* Asks for a lock by a URL that does not get in. */
static void assert_kept_out(const char *url, dlock_status status, const char *name, const char *cause)
{
    struct client *client = client_open(TIMEOUT_MS, "%s", url);
    const dlock_request request = client_ask(client, DLOCK_ACQUIRE, "key", "owner", LONG_MS);
    assert_failed(request, status, name, cause);
    assert_null(strstr(request.message, SECRET));
    client_close(client);
}

/* Asks for a lock by a URL that gets in, and looks what the server has meanwhile. */
static void assert_let_in(const char *url)
{
    struct client *client = client_open(TIMEOUT_MS, "%s", url);
    assert_works(client, "key");
    client_close(client);
}

/* ---- users --------------------------------------------------------------------------------------------------------
 */

static const char *url_as(const char *credentials, const char *rest)
{
    static char url[256];
    snprintf(url, sizeof url, "redis://%s%s%s", credentials, name_of(&guarded, 0), rest);
    return url;
}

static void a_password_alone(void **state)
{
    (void)state;
    assert_let_in(guarded.url);
    assert_kept_out(url_as(":wrong-" SECRET "@", ""), DLOCK_REFUSED, name_of(&guarded, 0), "WRONGPASS");
    assert_kept_out(url_as("", ""), DLOCK_REFUSED, name_of(&guarded, 0), "NOAUTH");
}

static void a_user_and_its_password(void **state)
{
    (void)state;
    assert_let_in(url_as("alice:alice-" SECRET "@", ""));
    assert_kept_out(url_as("alice:wrong-" SECRET "@", ""), DLOCK_REFUSED, name_of(&guarded, 0), "WRONGPASS");
    assert_kept_out(url_as("nobody:" SECRET "@", ""), DLOCK_REFUSED, name_of(&guarded, 0), "WRONGPASS");
    assert_kept_out(url_as("olga:olga-" SECRET "@", ""), DLOCK_REFUSED, name_of(&guarded, 0), "WRONGPASS");
}

static void a_password_where_none_is_wanted(void **state)
{
    (void)state;
    char url[128];
    assert_let_in(unguarded.url); /* the server knows the script */
    raw(&unguarded, 0, "FLUSHALL");
    snprintf(url, sizeof url, "redis://:%s@%s", SECRET, name_of(&unguarded, 0));
    assert_kept_out(url, DLOCK_REFUSED, name_of(&unguarded, 0), "AUTH");
    snprintf(url, sizeof url, "redis://bob:%s@%s", SECRET, name_of(&unguarded, 0));
    assert_kept_out(url, DLOCK_REFUSED, name_of(&unguarded, 0), "AUTH");
    assert_string_equal(raw(&unguarded, 0, "DBSIZE"), "0"); /* nor was it done as the user that everybody is there */
}

static void a_database_that_is_not_there(void **state)
{
    (void)state;
    char url[128];
    assert_let_in(unguarded.url);
    raw(&unguarded, 0, "FLUSHALL");
    snprintf(url, sizeof url, "redis://%s/1000000", name_of(&unguarded, 0));
    assert_kept_out(url, DLOCK_REFUSED, name_of(&unguarded, 0), "DB index");
    assert_string_equal(raw(&unguarded, 0, "DBSIZE"), "0");
}

/* The server says so before anything else, and hangs up: that is the answer to AUTH then. */
static void one_client_too_many(void **state)
{
    (void)state;
    struct client *first = client_open(TIMEOUT_MS, "%s", guarded.url);
    assert_works(first, "key");
    raw(&guarded, 0, "CONFIG SET maxclients 1");
    struct client *second = client_open(TIMEOUT_MS, "%s", guarded.url);
    assert_failed(client_ask(second, DLOCK_ACQUIRE, "key", "owner", LONG_MS), DLOCK_UNAVAILABLE, name_of(&guarded, 0),
                  "max number of clients");
    client_close(first);
    client_ask_until(second, DLOCK_OK, DLOCK_ACQUIRE, "key", "owner", LONG_MS);
    assert_status(client_ask(second, DLOCK_RELEASE, "key", "owner", 0), DLOCK_OK);
    client_close(second);
    wait_for(strcmp(raw(&guarded, 0, "CONFIG SET maxclients 1000"), "OK") == 0);
}

static void a_user_that_may_not_run_scripts(void **state)
{
    (void)state;
    assert_kept_out(url_as("nora:nora-" SECRET "@", ""), DLOCK_REFUSED, name_of(&guarded, 0), "NOPERM");
}

static void a_user_with_keys_of_its_own(void **state)
{
    (void)state;
    assert_kept_out(url_as("kim:kim-" SECRET "@", ""), DLOCK_REFUSED, name_of(&guarded, 0), "NOPERM");
    assert_let_in(url_as("kim:kim-" SECRET "@", "?prefix=kims"));
}

/* Waiters have to poll then, but locks are taken and released. */
static void a_user_that_may_not_publish(void **state)
{
    (void)state;
    struct client *client = client_open(TIMEOUT_MS, "%s", url_as("paul:paul-" SECRET "@", ""));
    assert_works(client, "key");
    assert_status(client_ask(client, DLOCK_ACQUIRE, "key", "owner", LONG_MS), DLOCK_OK);
    assert_status(client_ask(client, DLOCK_BREAK, "key", NULL, 0), DLOCK_OK);
    assert_int_equal(strtol(raw(&guarded, 0, "EXISTS distributed-locks:key"), NULL, 10), 0);
    client_close(client);
}

static bool ignore(void *arg, const char *key, const dlock_info *info)
{
    (void)arg, (void)key, (void)info;
    return true;
}

static void rights_that_only_some_calls_need(void **state)
{
    (void)state;
    struct client *client = client_open(TIMEOUT_MS, "%s", url_as("sam:sam-" SECRET "@", ""));
    assert_works(client, "key");
    dlock_error error = {0};
    assert_int_equal(client->storage->list(client->session, "", ignore, NULL, &error), DLOCK_REFUSED);
    assert_non_null(strstr(error.message, name_of(&guarded, 0)));
    assert_non_null(strstr(error.message, "NOPERM"));
    client_close(client);
}

/* ---- places -------------------------------------------------------------------------------------------------------
 */

static void a_database(void **state)
{
    (void)state;
    struct client *third = client_open(TIMEOUT_MS, "%s/3", guarded.url),
                  *same = client_open(TIMEOUT_MS, "%s?db=3", guarded.url),
                  *other = client_open(TIMEOUT_MS, "%s", guarded.url);
    assert_status(client_ask(third, DLOCK_ACQUIRE, "key", "one", LONG_MS), DLOCK_OK);
    assert_non_null(strstr(raw(&guarded, 0, "INFO keyspace"), "db3:keys=2,"));
    assert_status(client_ask(same, DLOCK_ACQUIRE, "key", "two", LONG_MS), DLOCK_BUSY);
    assert_status(client_ask(other, DLOCK_ACQUIRE, "key", "two", LONG_MS), DLOCK_OK);
    assert_status(client_ask(same, DLOCK_RELEASE, "key", "one", 0), DLOCK_OK);
    assert_status(client_ask(other, DLOCK_RELEASE, "key", "two", 0), DLOCK_OK);
    client_close(third);
    client_close(same);
    client_close(other);
    assert_kept_out(url_as(":" SECRET "%20word@", "/99"), DLOCK_REFUSED, name_of(&guarded, 0), "out of range");
    raw(&guarded, 0, "DEL distributed-locks:key"); /* what went out with the SELECT was done in database 0 */
}

static void a_prefix(void **state)
{
    (void)state;
    struct client *client = client_open(TIMEOUT_MS, "redis://%s?prefix=my*app", name_of(&unguarded, 0)),
                  *other = client_open(TIMEOUT_MS, "redis://%s", name_of(&unguarded, 0));
    raw(&unguarded, 0, "FLUSHALL");
    assert_status(client_ask(client, DLOCK_ACQUIRE, "key", "one", LONG_MS), DLOCK_OK);
    assert_int_equal(strtol(raw(&unguarded, 0, "EXISTS my*app:key my*app#fence"), NULL, 10), 2);
    assert_int_equal(strtol(raw(&unguarded, 0, "DBSIZE"), NULL, 10), 2);
    assert_works(other, "key");
    assert_status(client_ask(client, DLOCK_RELEASE, "key", "one", 0), DLOCK_OK);
    client_close(client);
    client_close(other);
}

static void ipv6(void **state)
{
    (void)state;
    const int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct sockaddr_in6 here = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    const bool there = fd >= 0 && bind(fd, (const struct sockaddr *)&here, sizeof here) == 0;
    close(fd);
    if (!there)
        skip();
    struct server server;
    server_start(&server, "redis", "--ipv6");
    assert_non_null(strstr(server.url, "[::1]:"));
    assert_let_in(server.url);
    server_tell(&server, "kill");
    assert_kept_out(server.url, DLOCK_UNAVAILABLE, strchr(server.url, '['), "Connection refused");
    server_stop(&server);
}

static void a_socket_in_the_file_system(void **state)
{
    (void)state;
    char path[128], url[256];
    snprintf(path, sizeof path, "%s/redis.sock", server_tell(&guarded, "folder 0"));
    snprintf(url, sizeof url, "redis+unix://:%s%%20word@%s", SECRET, path);
    assert_let_in(url);
    snprintf(url, sizeof url, "redis+unix://%s", path);
    assert_kept_out(url, DLOCK_REFUSED, path, "NOAUTH");
    strcat(path, ".gone");
    snprintf(url, sizeof url, "redis+unix://%s", path);
    assert_kept_out(url, DLOCK_UNAVAILABLE, path, "No such file");
}

/* ---- TLS ----------------------------------------------------------------------------------------------------------
 */

/* A URL of a server with TLS; of the files it takes those of the server's folder. */
static const char *tls_url(struct server *server, const char *host, const char *format, ...)
{
    static char url[1024];
    char folder[256];
    snprintf(folder, sizeof folder, "%s", server_tell(server, "folder"));
    int used = snprintf(url, sizeof url, "rediss://%s:%d?", host, server_port(server, 0));
    for (const char *from = format; *from; from++)
        used +=
            snprintf(url + used, sizeof url - (size_t)used, *from == '@' ? "%s" : "%.1s", *from == '@' ? folder : from);
    return url;
}

static void the_right_authority(void **state)
{
    (void)state;
    assert_let_in(encrypted.url);
    assert_let_in(tls_url(&encrypted, "localhost", "ca=@/ca.pem"));
}

static void a_wrong_authority(void **state)
{
    (void)state;
    assert_kept_out(tls_url(&encrypted, "127.0.0.1", "ca=@/other-ca.pem"), DLOCK_REFUSED, name_of(&encrypted, 0),
                    "certificate is not accepted");
    assert_kept_out(tls_url(&encrypted, "127.0.0.1", ""), DLOCK_REFUSED, name_of(&encrypted, 0),
                    "certificate is not accepted");
}

static void another_host(void **state)
{
    (void)state;
    char name[64];
    assert_kept_out(elsewhere.url, DLOCK_REFUSED, name_of(&elsewhere, 0), "IP address mismatch");
    snprintf(name, sizeof name, "localhost:%d", server_port(&elsewhere, 0));
    assert_kept_out(tls_url(&elsewhere, "localhost", "ca=@/ca.pem"), DLOCK_REFUSED, name, "hostname mismatch");
}

static void an_expired_certificate(void **state)
{
    (void)state;
    char folder[256];
    snprintf(folder, sizeof folder, "%s", server_tell(&encrypted, "folder"));
    assert_string_equal(raw(&encrypted, 0, "CONFIG SET tls-cert-file %s/expired.pem", folder), "OK");
    assert_kept_out(encrypted.url, DLOCK_REFUSED, name_of(&encrypted, 0), "certificate has expired");
    assert_string_equal(raw(&encrypted, 0, "CONFIG SET tls-cert-file %s/server.pem", folder), "OK");
    assert_let_in(encrypted.url);
}

static void insecure_only_when_asked_for(void **state)
{
    (void)state;
    assert_let_in(tls_url(&encrypted, "127.0.0.1", "ca=@/other-ca.pem&insecure=yes"));
    assert_let_in(tls_url(&elsewhere, "127.0.0.1", "insecure=yes"));
    assert_kept_out(tls_url(&elsewhere, "127.0.0.1", "ca=@/ca.pem&insecure=no"), DLOCK_REFUSED, name_of(&elsewhere, 0),
                    "mismatch");
}

static void a_client_certificate(void **state)
{
    (void)state;
    raw(&encrypted, 0, "CONFIG SET tls-auth-clients yes");
    assert_let_in(tls_url(&encrypted, "127.0.0.1", "ca=@/ca.pem&cert=@/client.pem&key=@/client.key"));
    assert_kept_out(encrypted.url, DLOCK_REFUSED, name_of(&encrypted, 0), "certificate required");
    assert_kept_out(tls_url(&encrypted, "127.0.0.1", "ca=@/ca.pem&cert=@/other-ca.pem&key=@/other-ca.key"),
                    DLOCK_REFUSED, name_of(&encrypted, 0), "unknown ca");
    raw(&encrypted, 0, "CONFIG SET tls-auth-clients optional");
}

static void files_that_are_not_there(void **state)
{
    (void)state;
    assert_kept_out(tls_url(&encrypted, "127.0.0.1", "ca=@/gone.pem"), DLOCK_REFUSED, name_of(&encrypted, 0),
                    "/gone.pem");
    assert_kept_out(tls_url(&encrypted, "127.0.0.1", "ca=@/ca.pem&cert=@/gone.pem&key=@/client.key"), DLOCK_REFUSED,
                    name_of(&encrypted, 0), "/gone.pem");
    assert_kept_out(tls_url(&encrypted, "127.0.0.1", "ca=@/ca.pem&cert=@/client.pem&key=@/gone.key"), DLOCK_REFUSED,
                    name_of(&encrypted, 0), "/gone.key");
    assert_kept_out(tls_url(&encrypted, "127.0.0.1", "ca=@/ca.pem&cert=@/client.pem&key=@/server.key"), DLOCK_REFUSED,
                    name_of(&encrypted, 0), "key values mismatch");
}

static void tls_on_one_side_only(void **state)
{
    (void)state;
    char url[128];
    snprintf(url, sizeof url, "redis://%s", name_of(&encrypted, 0));
    assert_kept_out(url, DLOCK_UNAVAILABLE, name_of(&encrypted, 0), "onnection");
    /* A server without TLS waits for the end of a line, which may or may not be in what it takes for one. */
    snprintf(url, sizeof url, "rediss://%s?insecure=yes&connect_timeout_ms=100", name_of(&unguarded, 0));
    assert_kept_out(url, DLOCK_UNAVAILABLE, name_of(&unguarded, 0), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_password_alone),
        cmocka_unit_test(a_user_and_its_password),
        cmocka_unit_test(a_password_where_none_is_wanted),
        cmocka_unit_test(a_database_that_is_not_there),
        cmocka_unit_test(one_client_too_many),
        cmocka_unit_test(a_user_that_may_not_run_scripts),
        cmocka_unit_test(a_user_with_keys_of_its_own),
        cmocka_unit_test(a_user_that_may_not_publish),
        cmocka_unit_test(rights_that_only_some_calls_need),
        cmocka_unit_test(a_database),
        cmocka_unit_test(a_prefix),
        cmocka_unit_test(ipv6),
        cmocka_unit_test(a_socket_in_the_file_system),
        cmocka_unit_test(the_right_authority),
        cmocka_unit_test(a_wrong_authority),
        cmocka_unit_test(another_host),
        cmocka_unit_test(an_expired_certificate),
        cmocka_unit_test(insecure_only_when_asked_for),
        cmocka_unit_test(a_client_certificate),
        cmocka_unit_test(files_that_are_not_there),
        cmocka_unit_test(tls_on_one_side_only),
    };
    raw_login = SECRET " word";
    server_start_or_skip(
        &guarded, "redis", "--password", SECRET " word", "--acl", "alice on >alice-" SECRET " ~* &* +@all", "--acl",
        "olga off >olga-" SECRET " ~* &* +@all", "--acl", "nora on >nora-" SECRET " ~* &* +@all -evalsha", "--acl",
        "kim on >kim-" SECRET " ~kims:* ~kims#fence &* +@all", "--acl",
        "paul on >paul-" SECRET " ~* resetchannels +@all", "--acl", "sam on >sam-" SECRET " ~* &* +@all -scan");
    server_start_or_skip(&unguarded, "redis", "--config", "rename-command AUTH \"\"");
    server_start_or_skip(&encrypted, "redis", "--tls");
    server_start_or_skip(&elsewhere, "redis", "--tls", "--tls-for", "DNS:elsewhere.example,IP:192.0.2.1");
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    server_stop(&guarded);
    server_stop(&unguarded);
    server_stop(&encrypted);
    server_stop(&elsewhere);
    return failed;
}
