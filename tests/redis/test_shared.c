/* test_shared.c - requests that share a call of the script (storages/redis/round.c): what is wrong with one of them
 * stays its own. Against a real server, through the API. */
#include "dlock.h"
#include "server.h"

#include <hiredis/hiredis.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define COUNT 40 /* more than one call takes */

static struct server server;
static redisContext *node;
static dlock_factory *factory;
static dlock *locks[COUNT];
static dlock_status statuses[COUNT];

static int start(void **state)
{
    (void)state;
    server_start(&server, "redis", "--acl", "joe on >secret ~distributed-locks:a* ~distributed-locks#fence +@all");
    node = redisConnect("127.0.0.1", server_port(&server, 0));
    assert_true(node && !node->err);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    redisFree(node);
    server_stop(&server);
    return 0;
}

static long long calls(void)
{
    redisReply *reply = redisCommand(node, "INFO commandstats");
    const char *at = strstr(reply->str, "cmdstat_evalsha:calls=");
    const long long count = at ? strtoll(at + strlen("cmdstat_evalsha:calls="), NULL, 10) : 0;
    freeReplyObject(reply);
    return count;
}

/* Takes events until each lock has had one. */
static void wait_for_all(void)
{
    struct pollfd polled = {.fd = dlock_factory_fd(factory), .events = POLLIN};
    for (int ended = 0; ended < COUNT;) {
        dlock_event event;
        if (dlock_factory_events(factory, &event, 1) == 0) {
            poll(&polled, 1, -1);
            continue;
        }
        *(dlock_status *)event.tag = event.error.status;
        ended++;
    }
}

static void acquire_all(const char *user, const char *strange_key)
{
    char url[256], key[32];
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;
    options.retries = 1;
    snprintf(url, sizeof url, "redis://%s127.0.0.1:%d", user, server_port(&server, 0));
    assert_int_equal(dlock_factory_open(url, NULL, &factory, NULL), DLOCK_OK);
    for (int i = 0; i < COUNT; i++) {
        snprintf(key, sizeof key, "a%d", i);
        assert_int_equal(dlock_create(factory, i == COUNT / 2 ? strange_key : key, &locks[i], NULL), DLOCK_OK);
    }
    /* While the server is stopped, all but those of the first batch come together. */
    server_tell(&server, "pause");
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(dlock_acquire_start(locks[i], &options, &statuses[i], NULL), DLOCK_OK);
    server_tell(&server, "resume");
    wait_for_all();
}

static void release_all(void)
{
    for (int i = 0; i < COUNT; i++)
        dlock_free(locks[i]);
    dlock_factory_close(factory);
}

static void all_but_the_strange_one_are_held(void)
{
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(statuses[i], i == COUNT / 2 ? DLOCK_REFUSED : DLOCK_OK);
}

static void requests_share_calls_and_fences_differ(void **state)
{
    (void)state;
    const long long before = calls();
    acquire_all("", "another");
    assert_true(calls() - before < COUNT);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(statuses[i], DLOCK_OK);
        for (int j = 0; j < i; j++)
            assert_true(dlock_fence(locks[i]) != dlock_fence(locks[j]));
    }
    const uint64_t last = dlock_fence(locks[COUNT - 1]);
    assert_int_equal(dlock_release(locks[0], NULL), DLOCK_OK);
    assert_int_equal(dlock_acquire(locks[0], NULL, NULL), DLOCK_OK);
    assert_true(dlock_fence(locks[0]) > last);
    release_all();
}

static void an_error_of_one_stays_its_own(void **state)
{
    (void)state;
    freeReplyObject(redisCommand(node, "HSET distributed-locks:ahash field value"));
    acquire_all("", "ahash");
    all_but_the_strange_one_are_held();
    release_all();
}

static void a_key_that_is_forbidden_does_not_hinder_the_others(void **state)
{
    (void)state;
    acquire_all("joe:secret@", "forbidden");
    all_but_the_strange_one_are_held();
    release_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_share_calls_and_fences_differ),
        cmocka_unit_test(an_error_of_one_stays_its_own),
        cmocka_unit_test(a_key_that_is_forbidden_does_not_hinder_the_others),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
