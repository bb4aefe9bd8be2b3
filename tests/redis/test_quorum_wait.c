/* test_quorum_wait.c - those who wait for a lock, as the library lets them: they get it when it is released or its ttl
 * is over, on one node and on several of which some are dead or hang, and are not in each other's way for ever.
 *
 * Pauses between two attempts are so long here that only a hint, or the end of the ttl, can be what woke a waiter. */
#include "fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct server nodes; /* three */

struct waiter {
    dlock_factory *factory;
    dlock *lock;
    pthread_t thread;
    atomic_bool done;
    dlock_status status;
    dlock_error error;
};

static void *acquire_and_wait(void *arg)
{
    struct waiter *waiter = arg;
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;
    options.ttl_ms = LONG_MS;
    options.wait_ms = DLOCK_WAIT_FOREVER;
    options.interval_ms = LONG_MS;
    waiter->status = dlock_acquire(waiter->lock, &options, &waiter->error);
    atomic_store(&waiter->done, true);
    return NULL;
}

static void start_waiting(struct waiter *waiter, const char *url)
{
    memset(waiter, 0, sizeof *waiter);
    waiter->factory = factory_open("%s?timeout_ms=%d&restart_guard_ms=0", url, LONG_MS);
    waiter->lock = lock_of(waiter->factory, "key");
    assert_int_equal(pthread_create(&waiter->thread, NULL, acquire_and_wait, waiter), 0);
}

static void finish_waiting(struct waiter *waiter)
{
    wait_for(atomic_load(&waiter->done));
    pthread_join(waiter->thread, NULL);
    assert_call(waiter->status, DLOCK_OK, &waiter->error);
    assert_call(dlock_release(waiter->lock, &waiter->error), DLOCK_OK, &waiter->error);
    dlock_free(waiter->lock);
    dlock_factory_close(waiter->factory);
}

static bool listens(int node)
{
    return strstr(raw(&nodes, node, "PUBSUB NUMSUB distributed-locks:key"), ":key 1") != NULL;
}

static const char *url_of_one(void)
{
    static char url[64];
    snprintf(url, sizeof url, "redis://%s", name_of(&nodes, 0));
    return url;
}

/* Somebody holds the key; another waits, and is told of the release by the nodes from `first` on. */
static void hand_over(const char *url, int first, int last)
{
    struct waiter waiter;
    struct client *holder = client_open(LONG_MS, "%s?restart_guard_ms=0", url);
    assert_status(client_ask(holder, DLOCK_ACQUIRE, "key", "holder", LONG_MS), DLOCK_OK);
    start_waiting(&waiter, url);
    for (int i = first; i <= last; i++)
        wait_for(listens(i));
    assert_status(client_ask(holder, DLOCK_RELEASE, "key", "holder", 0), DLOCK_OK);
    finish_waiting(&waiter);
    client_close(holder);
}

static void a_release_wakes_the_waiter(void **state)
{
    (void)state;
    hand_over(url_of_one(), 0, 0);
    hand_over(nodes.url, 0, 2);
}

static void a_release_wakes_the_waiter_though_a_node_is_dead(void **state)
{
    (void)state;
    server_tell(&nodes, "kill 0");
    hand_over(nodes.url, 1, 2);
    server_tell(&nodes, "start 0");
}

static void a_release_wakes_the_waiter_though_a_node_hangs(void **state)
{
    (void)state;
    server_tell(&nodes, "pause 0");
    hand_over(nodes.url, 1, 2);
    server_tell(&nodes, "resume 0");
}

/* The holder is gone, and nobody will tell. */
static void the_end_of_the_ttl_wakes_the_waiter(void **state)
{
    (void)state;
    for (int dead = 0; dead < 2; dead++) {
        struct waiter waiter;
        const char *url = dead ? nodes.url : url_of_one();
        struct client *holder = client_open(LONG_MS, "%s?restart_guard_ms=0", url);
        const int64_t since = dlock_clock_us();
        assert_status(client_ask(holder, DLOCK_ACQUIRE, "key", "holder", 1000), DLOCK_OK);
        client_close(holder);
        if (dead)
            server_tell(&nodes, "kill 1");
        start_waiting(&waiter, url);
        wait_for(atomic_load(&waiter.done));
        assert_true(dlock_clock_us() - since >= 990000);
        finish_waiting(&waiter);
        if (dead)
            server_tell(&nodes, "start 1");
    }
}

/* ---- contenders ---------------------------------------------------------------------------------------------------
 */

#define TURNS 10

static atomic_int inside;

struct contender {
    pthread_t thread;
    char url[512];
};

static void *take_turns(void *arg)
{
    const struct contender *contender = arg;
    dlock_factory *factory = factory_open("%s", contender->url);
    dlock *lock = lock_of(factory, "contended");
    dlock_acquire_options options = DLOCK_ACQUIRE_OPTIONS_INIT;
    options.ttl_ms = LONG_MS;
    options.wait_ms = DLOCK_WAIT_FOREVER;
    options.interval_ms = 50;
    uint64_t last = 0;
    for (int i = 0; i < TURNS; i++) {
        dlock_error error;
        assert_call(dlock_acquire(lock, &options, &error), DLOCK_OK, &error);
        assert_int_equal(atomic_fetch_add(&inside, 1), 0);
        assert_true(dlock_fence(lock) > last);
        last = dlock_fence(lock);
        atomic_fetch_sub(&inside, 1);
        assert_call(dlock_release(lock, &error), DLOCK_OK, &error);
    }
    dlock_free(lock);
    dlock_factory_close(factory);
    return NULL;
}

/* Two nodes, and each contender gets to one of them first. */
static void two_do_not_block_each_other_for_ever(void **state)
{
    (void)state;
    char names[3][64];
    for (int i = 0; i < 3; i++)
        snprintf(names[i], sizeof names[i], "%s", name_of(&nodes, i));
    for (int count = 2; count <= 3; count++) {
        struct contender contenders[2] = {0};
        for (int i = 0; i < 2; i++) {
            snprintf(contenders[i].url, sizeof contenders[i].url, "redis://%s,%s%s%s?restart_guard_ms=0", names[i],
                     names[1 - i], count > 2 ? "," : "", count > 2 ? names[2] : "");
            assert_int_equal(pthread_create(&contenders[i].thread, NULL, take_turns, &contenders[i]), 0);
        }
        for (int i = 0; i < 2; i++)
            pthread_join(contenders[i].thread, NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_release_wakes_the_waiter),
        cmocka_unit_test(a_release_wakes_the_waiter_though_a_node_is_dead),
        cmocka_unit_test(the_end_of_the_ttl_wakes_the_waiter),
        cmocka_unit_test(two_do_not_block_each_other_for_ever),
        cmocka_unit_test(a_release_wakes_the_waiter_though_a_node_hangs),
    };
    server_start_or_skip(&nodes, "redis", "--nodes", "3");
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    server_stop(&nodes);
    return failed;
}
