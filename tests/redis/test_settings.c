/* test_settings.c - what the URLs of Redis mean: storages/redis/settings.c. */
#include "settings.h"
#include "support.h"
#include "url.h"

#include <stdio.h>
#include <string.h>

static dlock_url *url;
static struct settings settings;
static dlock_error error;

static dlock_status read_text(const char *text)
{
    url_free(url);
    url = NULL;
    error = (dlock_error){0};
    if (url_parse(text, &url, &error) != DLOCK_OK)
        fail_msg("%s: %s", text, error.message);
    memset(&settings, 0x55, sizeof settings);
    return settings_read(url, 5000, &settings, &error);
}

static void accept(const char *text)
{
    if (read_text(text) != DLOCK_OK)
        fail_msg("%s: %s", text, error.message);
}

static int free_url(void **state)
{
    (void)state;
    url_free(url);
    url = NULL;
    return 0;
}

static void assert_text(const char *found, const char *expected)
{
    if (expected) {
        assert_non_null(found);
        assert_string_equal(found, expected);
    } else {
        assert_null(found);
    }
}

static void one_node(void **state)
{
    (void)state;
    static const struct {
        const char *text, *name, *host, *user, *password;
        unsigned port, database;
    } cases[] = {
        {"redis:", "127.0.0.1:6379", "127.0.0.1", NULL, NULL, 6379, 0},
        {"redis://", "127.0.0.1:6379", "127.0.0.1", NULL, NULL, 6379, 0},
        {"redis:///", "127.0.0.1:6379", "127.0.0.1", NULL, NULL, 6379, 0},
        {"redis:///3", "127.0.0.1:6379", "127.0.0.1", NULL, NULL, 6379, 3},
        {"redis:4", "127.0.0.1:6379", "127.0.0.1", NULL, NULL, 6379, 4},
        {"redis://h", "h:6379", "h", NULL, NULL, 6379, 0},
        {"redis://h/", "h:6379", "h", NULL, NULL, 6379, 0},
        {"redis://h:1", "h:1", "h", NULL, NULL, 1, 0},
        {"redis://h:65535/15", "h:65535", "h", NULL, NULL, 65535, 15},
        {"redis://h?db=7", "h:6379", "h", NULL, NULL, 6379, 7},
        {"redis://h/7?db=7", "h:6379", "h", NULL, NULL, 6379, 7},
        {"redis://h/0?db=0", "h:6379", "h", NULL, NULL, 6379, 0},
        {"redis://h/?db=1000000", "h:6379", "h", NULL, NULL, 6379, 1000000},
        {"redis://:hunter22@h", "h:6379", "h", NULL, "hunter22", 6379, 0},
        {"redis://me:hunter22@h:2/1", "h:2", "h", "me", "hunter22", 2, 1},
        {"redis://me@h", "h:6379", "h", "me", NULL, 6379, 0},
        {"redis://me:p%40ss%3A%2F@h", "h:6379", "h", "me", "p@ss:/", 6379, 0},
        {"redis://[::1]", "[::1]:6379", "::1", NULL, NULL, 6379, 0},
        {"redis://[fe80::1%25eth0]:7/2", "[fe80::1%eth0]:7", "fe80::1%eth0", NULL, NULL, 7, 2},
        {"rediss://h", "h:6379", "h", NULL, NULL, 6379, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        accept(cases[i].text);
        const struct address *address = &settings.addresses[0];
        assert_int_equal(settings.count, 1);
        assert_string_equal(address->name, cases[i].name);
        assert_text(address->host, cases[i].host);
        assert_text(address->user, cases[i].user);
        assert_text(address->password, cases[i].password);
        assert_null(address->path);
        assert_int_equal(address->port, cases[i].port);
        assert_int_equal(address->database, cases[i].database);
        assert_int_equal(address->tls, cases[i].text[5] == 's');
        assert_false(address->insecure);
    }
}

static void what_is_not_said(void **state)
{
    (void)state;
    accept("redis:");
    assert_string_equal(settings.prefix, "distributed-locks");
    assert_int_equal(settings.connect_timeout_ms, 5000);
    assert_true(settings.guard_ms == GUARD_DEFAULT);
}

static void a_socket(void **state)
{
    (void)state;
    static const char *const same[] = {"redis+unix:/run/redis.sock?db=2", "redis+unix:///run/redis.sock?db=2"};
    for (size_t i = 0; i < 2; i++) {
        accept(same[i]);
        assert_int_equal(settings.count, 1);
        assert_string_equal(settings.addresses[0].name, "/run/redis.sock");
        assert_string_equal(settings.addresses[0].path, "/run/redis.sock");
        assert_null(settings.addresses[0].host);
        assert_int_equal(settings.addresses[0].database, 2);
    }
    accept("redis+unix://me:hunter22@/run/a%20b.sock");
    assert_string_equal(settings.addresses[0].path, "/run/a b.sock");
    assert_string_equal(settings.addresses[0].user, "me");
    assert_string_equal(settings.addresses[0].password, "hunter22");
    assert_null(strstr(settings.addresses[0].name, "hunter22"));
}

static void several_nodes(void **state)
{
    (void)state;
    accept("redis://me:hunter22@a,b:7,[::1]:8,h/2?prefix=p redis+unix:///s.sock rediss://:other333@c/3?ca=/ca.pem");
    /* Sorted, so that every program has them in one order. */
    static const char *const names[] = {"/s.sock", "[::1]:8", "a:6379", "b:7", "c:6379", "h:6379"};
    static const unsigned databases[] = {0, 2, 2, 2, 3, 2};
    static const char *const passwords[] = {NULL, "hunter22", "hunter22", "hunter22", "other333", "hunter22"};
    assert_int_equal(settings.count, 6);
    for (size_t i = 0; i < 6; i++) {
        assert_string_equal(settings.addresses[i].name, names[i]);
        assert_int_equal(settings.addresses[i].database, databases[i]);
        assert_text(settings.addresses[i].password, passwords[i]);
        assert_text(settings.addresses[i].ca, i == 4 ? "/ca.pem" : NULL);
        assert_int_equal(settings.addresses[i].tls, i == 4);
    }
    assert_string_equal(settings.prefix, "p");
}

static void what_holds_for_all_nodes_may_stand_in_any_url(void **state)
{
    (void)state;
    accept("redis://a redis://b?prefix=p&connect_timeout_ms=70 redis://c?restart_guard_ms=0&prefix=p");
    assert_int_equal(settings.count, 3);
    assert_string_equal(settings.prefix, "p");
    assert_int_equal(settings.connect_timeout_ms, 70);
    assert_int_equal(settings.guard_ms, 0);
    accept("redis://a?connect_timeout_ms=70&restart_guard_ms=9 redis://b?restart_guard_ms=9&connect_timeout_ms=70");
    assert_int_equal(settings.connect_timeout_ms, 70);
    assert_int_equal(settings.guard_ms, 9);
    accept("redis:?connect_timeout_ms=600000&restart_guard_ms=86400000");
    assert_int_equal(settings.connect_timeout_ms, 600000);
    assert_int_equal(settings.guard_ms, 86400000);
}

static void tls(void **state)
{
    (void)state;
    accept("rediss://h?ca=/c/ca.pem&cert=/c/me.pem&key=/c/me.key&insecure=no");
    assert_true(settings.addresses[0].tls);
    assert_false(settings.addresses[0].insecure);
    assert_string_equal(settings.addresses[0].ca, "/c/ca.pem");
    assert_string_equal(settings.addresses[0].certificate, "/c/me.pem");
    assert_string_equal(settings.addresses[0].key, "/c/me.key");
    accept("rediss://h?insecure=yes");
    assert_true(settings.addresses[0].insecure);
}

/* Two hosts whose long names begin alike, or one with two ports, are two nodes. */
static void long_names_of_hosts_are_told_apart(void **state)
{
    (void)state;
    char host[201], text[700];
    memset(host, 'h', sizeof host - 1);
    host[sizeof host - 1] = '\0';
    snprintf(text, sizeof text, "redis://%s:1,%s:2,%sx:1", host, host, host);
    accept(text);
    assert_int_equal(settings.count, 3);
}

static void as_many_nodes_as_can_be(void **state)
{
    (void)state;
    char text[1024] = "redis://h0";
    for (int i = 1; i < NODES_MAX; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), ",h%d", i);
    accept(text);
    assert_int_equal(settings.count, NODES_MAX);
    strcat(text, ",one-more");
    assert_int_equal(read_text(text), DLOCK_INVALID);
    assert_string_equal(error.message, "too many nodes; expected at most 31");
}

static void what_is_wrong_is_said(void **state)
{
    (void)state;
    char long_prefix[400] = "redis:?prefix=";
    memset(long_prefix + strlen(long_prefix), 'p', 257);
    const struct {
        const char *text, *message;
    } cases[] = {
        {"redis://h/x", "the URL's path is not the number of a database; expected / and a number from 0 to 1000000"},
        {"redis://h/-1", "the URL's path is not the number of a database; expected / and a number from 0 to 1000000"},
        {"redis://h/+1", "the URL's path is not the number of a database; expected / and a number from 0 to 1000000"},
        {"redis://h/1/2", "the URL's path is not the number of a database; expected / and a number from 0 to 1000000"},
        {"redis://h//1", "the URL's path is not the number of a database; expected / and a number from 0 to 1000000"},
        {"redis://h/1000001",
         "the URL's path is not the number of a database; expected / and a number from 0 to 1000000"},
        {"redis://h/99999999999999999999",
         "the URL's path is not the number of a database; expected / and a number from 0 to 1000000"},
        {"redis://h?db=", "the URL's db is ''; expected a number from 0 to 1000000"},
        {"redis://h?db=%201", "the URL's db is ' 1'; expected a number from 0 to 1000000"},
        {"redis://h?db=1x", "the URL's db is '1x'; expected a number from 0 to 1000000"},
        {"redis://h/1?db=2", "the URL names two databases, 1 and 2"},
        {"redis+unix:///s?db=x", "the URL's db is 'x'; expected a number from 0 to 1000000"},
        {"redis://h?connect_timeout_ms=0", "the URL's connect_timeout_ms is '0'; expected a number from 1 to 600000"},
        {"redis://h?connect_timeout_ms=600001",
         "the URL's connect_timeout_ms is '600001'; expected a number from 1 to 600000"},
        {"redis://h?restart_guard_ms=-1", "the URL's restart_guard_ms is '-1'; expected a number from 0 to 86400000"},
        {"redis://h?restart_guard_ms=86400001",
         "the URL's restart_guard_ms is '86400001'; expected a number from 0 to 86400000"},
        {"redis://h?restart_guard_ms=off", "the URL's restart_guard_ms is 'off'; expected a number from 0 to 86400000"},
        {"redis://a?prefix=p redis://b?prefix=q", "the URLs have different prefixes, 'p' and 'q'"},
        {"redis://a?connect_timeout_ms=1 redis://b?connect_timeout_ms=2",
         "the URLs have different values of connect_timeout_ms, 1 and 2"},
        {"redis://a?restart_guard_ms=5 redis://b?restart_guard_ms=0",
         "the URLs have different values of restart_guard_ms, 5 and 0"},
        {"redis://h?prefix=", "the URL's prefix has 0 bytes; expected 1 to 256"},
        {long_prefix, "the URL's prefix has 257 bytes; expected 1 to 256"},
        {"redis://h,h", "h:6379 is named twice; a quorum needs nodes of their own"},
        {"redis://h:6379 redis://h/2", "h:6379 is named twice; a quorum needs nodes of their own"},
        {"redis://[::1]:7,[::1]:7", "[::1]:7 is named twice; a quorum needs nodes of their own"},
        {"redis+unix:/s redis+unix:/s", "/s is named twice; a quorum needs nodes of their own"},
        {"redis+unix:", "redis+unix: needs the absolute path of a socket; expected redis+unix:///path/of/socket"},
        {"redis+unix:/", "redis+unix: needs the absolute path of a socket; expected redis+unix:///path/of/socket"},
        {"redis+unix:run/s", "redis+unix: needs the absolute path of a socket; expected redis+unix:///path/of/socket"},
        {"redis+unix://run/s", "redis+unix: has no host; expected redis+unix:///path/of/socket"},
        {"redis+unix://a,b/s", "redis+unix: has no host; expected redis+unix:///path/of/socket"},
        {"redis://h?ca=/ca.pem", "ca, cert, key and insecure are of TLS; expected a URL that starts with rediss:"},
        {"redis://h?cert=/c&key=/k", "ca, cert, key and insecure are of TLS; expected a URL that starts with rediss:"},
        {"redis://h?key=/k", "ca, cert, key and insecure are of TLS; expected a URL that starts with rediss:"},
        {"redis+unix:/s?insecure=yes",
         "ca, cert, key and insecure are of TLS; expected a URL that starts with rediss:"},
        {"rediss://h?cert=/c", "the URL has cert, but no key; expected cert and key together"},
        {"rediss://h?key=/k", "the URL has key, but no cert; expected cert and key together"},
        {"rediss://h?insecure=1", "the URL's insecure is '1'; expected yes or no"},
        {"rediss://h?insecure=", "the URL's insecure is ''; expected yes or no"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (read_text(cases[i].text) != DLOCK_INVALID)
            fail_msg("%s is taken", cases[i].text);
        assert_int_equal(error.status, DLOCK_INVALID);
        assert_string_equal(error.message, cases[i].message);
    }
}

/* What people take for the password, also where they have mistyped the URL so that it is something else. */
static void no_message_shows_a_password(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "redis://:hunter22@h/x",         "redis://me:hunter22@h?db=x",
        "redis://:hunter22@h/1?db=2",    "redis://:hunter22@h,h",
        "redis+unix://:hunter22@/",      "redis+unix://:hunter22@h/s",
        "rediss://:hunter22@h?cert=/c",  "redis:me:hunter22@h/1",
        "redis:/me:hunter22@h",          "redis:///:hunter22@h",
        "redis://:9/hunter22@h",         "redis://me/hunter22@h",
        "redis+unix:me:hunter22@/run/s", "redis://:hunter22@a?prefix=p redis://:hunter22@b?prefix=q",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        url_free(url);
        url = NULL;
        error = (dlock_error){0};
        dlock_status status = url_parse(texts[i], &url, &error);
        if (status == DLOCK_OK)
            status = settings_read(url, 5000, &settings, &error);
        assert_int_equal(status, DLOCK_INVALID);
        if (strstr(error.message, "hunter22"))
            fail_msg("%s: %s", texts[i], error.message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_node),
        cmocka_unit_test(what_is_not_said),
        cmocka_unit_test(a_socket),
        cmocka_unit_test(several_nodes),
        cmocka_unit_test(what_holds_for_all_nodes_may_stand_in_any_url),
        cmocka_unit_test(tls),
        cmocka_unit_test(long_names_of_hosts_are_told_apart),
        cmocka_unit_test(as_many_nodes_as_can_be),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(no_message_shows_a_password),
    };
    return cmocka_run_group_tests_name("settings", tests, NULL, free_url);
}
