/* test_url.c - URLs of storages: src/url.c. */
#include "url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static dlock_url *parse(const char *text)
{
    dlock_url *url = NULL;
    dlock_error error;
    if (url_parse(text, &url, &error) != DLOCK_OK)
        fail_msg("%s: %s", text, error.message);
    assert_string_equal(url->text, text);
    return url;
}

/* Equal, or both not there. */
static void assert_part(const char *part, const char *wanted)
{
    if (wanted) {
        assert_non_null(part);
        assert_string_equal(part, wanted);
    } else {
        assert_null(part);
    }
}

static void a_file_is_named_in_several_ways(void **state)
{
    (void)state;
    static const struct {
        const char *text, *path;
    } cases[] = {
        {"sqlite:", NULL},
        {"sqlite:rel/path.db", "rel/path.db"},
        {"sqlite:/abs/path.db", "/abs/path.db"},
        {"sqlite:///abs/path.db", "/abs/path.db"},
        {"sqlite://", NULL},
        {"sqlite:////two", "//two"},
        {"sqlite:a%20b%3Fc%25d", "a b?c%d"},
        {"sqlite:/a b/\xc3\xa9#1@x:y", "/a b/\xc3\xa9#1@x:y"},
        {"SQLite:/Abs", "/Abs"},
        {"sqlite:?", NULL},
        {"sqlite:/abs?", "/abs"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dlock_url *url = parse(cases[i].text);
        assert_string_equal(url->scheme, "sqlite");
        assert_part(url->path, cases[i].path);
        assert_null(url->user);
        assert_null(url->password);
        assert_int_equal(url->host_count, 0);
        assert_int_equal(url->parameter_count, 0);
        url_free(url);
    }
}

static void users_and_passwords_are_decoded(void **state)
{
    (void)state;
    static const struct {
        const char *text, *user, *password;
    } cases[] = {
        {"x://h", NULL, NULL},           {"x://u@h", "u", NULL},  {"x://u:@h", "u", ""},
        {"x://:p@h", NULL, "p"},         {"x://u:p@h", "u", "p"}, {"x://u%40v:p%3Aq%2F%3F%40@h", "u@v", "p:q/?@"},
        {"x://u:p@q:r@h", "u", "p@q:r"}, /* not encoded, but clear */
        {"x://@h", NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dlock_url *url = parse(cases[i].text);
        assert_part(url->user, cases[i].user);
        assert_part(url->password, cases[i].password);
        assert_int_equal(url->host_count, 1);
        assert_string_equal(url->hosts[0].name, "h");
        assert_null(url->path);
        url_free(url);
    }
}

static void hosts_are_a_list(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t count;
        dlock_url_host hosts[3];
    } cases[] = {
        {"x://a", 1, {{"a", 0}}},
        {"x://a:1", 1, {{"a", 1}}},
        {"x://a:65535/p", 1, {{"a", 65535}}},
        {"x://a:00080", 1, {{"a", 80}}},
        {"x://:6379", 1, {{"", 6379}}},
        {"x://a,b:2,c", 3, {{"a", 0}, {"b", 2}, {"c", 0}}},
        {"x://u:p@a,:2,[::1]:3/", 3, {{"a", 0}, {"", 2}, {"::1", 3}}},
        {"x://[2001:db8::1],[fe80::1%25eth0]:9", 2, {{"2001:db8::1", 0}, {"fe80::1%eth0", 9}}},
        {"x://%2Fvar%2Frun", 1, {{"/var/run", 0}}},
        {"x://u@/p", 0, {{NULL, 0}}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dlock_url *url = parse(cases[i].text);
        assert_int_equal(url->host_count, cases[i].count);
        for (size_t j = 0; j < url->host_count; j++) {
            assert_string_equal(url->hosts[j].name, cases[i].hosts[j].name);
            assert_int_equal(url->hosts[j].port, cases[i].hosts[j].port);
        }
        url_free(url);
    }
}

static void parameters_are_decoded_and_found(void **state)
{
    (void)state;
    dlock_url *url = parse("x+y://h/p?a=1&b%3D=%26&empty=&path=/x/y,z:1?&c=a=b");
    assert_string_equal(url->scheme, "x+y");
    assert_string_equal(url->path, "/p");
    assert_int_equal(url->parameter_count, 5);
    assert_string_equal(dlock_url_get(url, "a"), "1");
    assert_string_equal(dlock_url_get(url, "b="), "&");
    assert_string_equal(dlock_url_get(url, "empty"), "");
    assert_string_equal(dlock_url_get(url, "path"), "/x/y,z:1?");
    assert_string_equal(dlock_url_get(url, "c"), "a=b");
    assert_null(dlock_url_get(url, "A"));
    assert_null(dlock_url_get(url, ""));
    url_free(url);
}

/* What is refused, and what the message must say. */
static void what_is_wrong_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "sqlite:"},
        {"/x/y.db", "write sqlite:/x/y.db"},
        {"locks.db", "write sqlite:locks.db"},
        {"./a b", "write sqlite:./a b"},
        {"1x:y", "name of a storage"},
        {":x", "name of a storage"},
        {"x://a,,b", "byte 7: a host is missing"},
        {"x://a,", "byte 7: a host is missing"},
        {"x://,a", "byte 5: a host is missing"},
        {"x://a:0", "byte 7: a port is a number from 1 to 65535"},
        {"x://a:65536", "byte 7: a port"},
        {"x://a:99999999999999999999", "byte 7: a port"},
        {"x://a:", "byte 7: a port"},
        {"x://a:1x", "byte 7: a port"},
        {"x://a:-1", "byte 7: a port"},
        {"x://::1", "byte 5: one : is expected"},
        {"x://[::1", "byte 5: [ and ]"},
        {"x://[]", "byte 5: [ and ]"},
        {"x://[a]", "byte 5: [ and ]"},
        {"x://[::1]2", "byte 10: :port"},
        {"x://[::1]:", "byte 11: a port"},
        {"x:a%", "byte 4: two hexadecimal"},
        {"x:a%4", "byte 4: two hexadecimal"},
        {"x:%zz", "byte 3: two hexadecimal"},
        {"x://a%2?b=1", "byte 6: two hexadecimal"},
        {"x:a%00b", "byte 4: %00"},
        {"x:\xff", "byte"},
        {"x:ab\xc3", "bytes 3 to 5 are not valid UTF-8"},
        {"x:%c3%28", "not valid UTF-8"},
        {"x:%ed%a0%80", "not valid UTF-8"},
        {"x:p?a", "byte 5: name=value"},
        {"x:p?=1", "byte 5: name=value"},
        {"x:p?a=1&", "byte 9: name=value"},
        {"x:p?a=1&&b=2", "byte 9: name=value"},
        {"x:p?a=1&b=2&a=3", "byte 13: parameter \"a\" is given twice"},
        {"x:p?a=1&%61=3", "parameter \"a\" is given twice"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dlock_url *url = (dlock_url *)&cases[i];
        dlock_error error;
        assert_int_equal(url_parse(cases[i].text, &url, &error), DLOCK_INVALID);
        assert_ptr_equal(url, &cases[i]); /* untouched */
        assert_int_equal(error.status, DLOCK_INVALID);
        if (!strstr(error.message, cases[i].message))
            fail_msg("%s: \"%s\" does not say \"%s\"", cases[i].text, error.message, cases[i].message);
        assert_int_equal(url_parse(cases[i].text, &url, NULL), DLOCK_INVALID);
    }
}

static void no_message_holds_a_password(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "x://u:hunter2/@h",  "x://u:hunter2%@h", "x://u:hunter2@h:0",       "x://u:hunter2@[h",       "u:hunter2",
        "x://u:hunter2?@h",  "//u:hunter2@h",    "x://u:hunter2\xff@h",     "x://u:hunter2@a,,b",     "1:hunter2@h",
        "x://u:hunter2@::1", "x://u:hunter2#@:", "x://h?password=hunter2&", "x:?password=hunter2%zz",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        dlock_url *url = NULL;
        dlock_error error = {0};
        url_parse(texts[i], &url, &error);
        assert_null(strstr(error.message, "hunter2"));
        url_free(url);
    }
}

static void a_shown_url_says_all_but_secrets(void **state)
{
    (void)state;
    static const struct {
        const char *text, *shown;
    } cases[] = {
        {"sqlite:", "sqlite:"},
        {"sqlite:/a%20b%25%3F%0A", "sqlite:/a b%25%3F%0A"},
        {"sqlite:////two", "sqlite:////two"},
        {"SQLITE:///x", "sqlite:/x"},
        {"x://u:secret@h:1,[::1]:2/p?a=b&c=d%26", "x://u:***@h:1,[::1]:2/p?a=b&c=d%26"},
        {"x://:secret@h", "x://:***@h"},
        {"x://u@h,g", "x://u@h,g"},
        {"x://u%40v:s@%2Frun", "x://u%40v:***@%2Frun"},
        {"x://[fe80::1%25e]", "x://[fe80::1%25e]"},
        {"x:p?password=s&sslPassword=s&authToken=s&accessKey=s&mode=fast",
         "x:p?password=***&sslPassword=***&authToken=***&accessKey=***&mode=fast"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dlock_url *url = parse(cases[i].text);
        char *shown = url_show(url);
        assert_non_null(shown);
        assert_string_equal(shown, cases[i].shown);
        /* What is shown can be given again. */
        dlock_url *again = parse(shown);
        assert_part(again->path, url->path);
        assert_part(again->user, url->user);
        assert_int_equal(again->host_count, url->host_count);
        url_free(again);
        free(shown);
        url_free(url);
    }
}

static void several_urls_are_a_list(void **state)
{
    (void)state;
    static const char text[] = "x://a/b c  x://:secret@d:7?m=n x+unix:/e";
    dlock_url *url = NULL;
    assert_int_equal(url_parse(text, &url, NULL), DLOCK_OK);
    assert_string_equal(url->text, "x://a/b c");
    assert_string_equal(url->path, "/b c");
    assert_non_null(url->next);
    assert_string_equal(url->next->hosts[0].name, "d");
    assert_string_equal(dlock_url_get(url->next, "m"), "n");
    assert_null(dlock_url_get(url, "m"));
    assert_non_null(url->next->next);
    assert_string_equal(url->next->next->path, "/e");
    assert_null(url->next->next->next);
    char *shown = url_show(url);
    assert_string_equal(shown, "x://a/b c x://:***@d:7?m=n x+unix:/e");
    free(shown);
    url_free(url);
}

static void a_fault_in_a_later_url_is_found(void **state)
{
    (void)state;
    dlock_url *url = NULL;
    dlock_error error;
    assert_int_equal(url_parse("x://a x://b:0", &url, &error), DLOCK_INVALID);
    assert_null(url);
    assert_string_equal(error.message, "URL: byte 13: a port is a number from 1 to 65535");
}

static void free_takes_nothing(void **state)
{
    (void)state;
    url_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_named_in_several_ways),
        cmocka_unit_test(users_and_passwords_are_decoded),
        cmocka_unit_test(hosts_are_a_list),
        cmocka_unit_test(parameters_are_decoded_and_found),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(no_message_holds_a_password),
        cmocka_unit_test(a_shown_url_says_all_but_secrets),
        cmocka_unit_test(several_urls_are_a_list),
        cmocka_unit_test(a_fault_in_a_later_url_is_found),
        cmocka_unit_test(free_takes_nothing),
    };
    return cmocka_run_group_tests_name("url", tests, NULL, NULL);
}
