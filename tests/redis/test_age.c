/* test_age.c - which servers are old, by what they answer to INFO: storages/redis/check.c. */
#include "check.h"
#include "support.h"

#include "stream.h"

const struct tls_functions *const stream_tls = NULL;

static void servers_have_an_age(void **state)
{
    (void)state;
    static const struct {
        const char *info, *version;
        enum server_age age;
    } cases[] = {
        {"# Server\r\nredis_version:2.8.24\r\nredis_mode:standalone\r\n", "2.8.24", SERVER_TOO_OLD},
        {"# Server\r\nredis_version:5.0.14\r\n", "5.0.14", SERVER_TOO_OLD},
        {"# Server\r\nredis_version:6.0.20\r\n", "6.0.20", SERVER_OLD},
        {"# Server\r\nredis_version:6.2.14\r\n", "6.2.14", SERVER_CURRENT},
        {"# Server\r\nredis_version:7.0.15\r\n", "7.0.15", SERVER_CURRENT},
        {"# Server\r\nredis_version:10.1.0\r\n", "10.1.0", SERVER_CURRENT},
        {"redis_version:6", "6", SERVER_OLD},
        {"redis_version:255.255.255", "255.255.255", SERVER_CURRENT},
        /* Valkey says which Redis it stands in for, besides its own. */
        {"# Server\r\nredis_version:5.0.0\r\nserver_name:valkey\r\nvalkey_version:8.0.1\r\n", "8.0.1", SERVER_CURRENT},
        /* Only lines of that name count. */
        {"old_redis_version:2.0\r\nredis_version_of:2.0\r\n", NULL, SERVER_CURRENT},
        {"", NULL, SERVER_CURRENT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char version[32] = "";
        assert_int_equal(check_age(cases[i].info, version, sizeof version), cases[i].age);
        if (cases[i].version)
            assert_string_equal(version, cases[i].version);
    }
    char small[4];
    assert_int_equal(check_age("redis_version:5.0.14-rc1", small, sizeof small), SERVER_TOO_OLD);
    assert_string_equal(small, "5.0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(servers_have_an_age)};
    return cmocka_run_group_tests_name("age", tests, NULL, NULL);
}
