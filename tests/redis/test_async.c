/* test_async.c - asynchronous calls that the user's own thread sends and whose answers it reads, over a network that
 * fails or a user who does not look. */
#include "fixture.h"

#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NODES 3

static struct server server;
static struct proxy proxies[NODES]; /* those of one node take the first */
static dlock_factory *factory;
static dlock *lock;

static bool has_key(const char *key)
{
    return strcmp(raw(&server, 0, "EXISTS distributed-locks:%s", key), "1") == 0;
}

static bool readable(int timeout_ms)
{
    struct pollfd fd = {.fd = dlock_factory_fd(factory), .events = POLLIN};
    return poll(&fd, 1, timeout_ms) == 1;
}

/* Waits for one event. */
static dlock_event next_event(void)
{
    dlock_event event;
    while (dlock_factory_events(factory, &event, 1) == 0)
        assert_true(readable(30000));
    return event;
}

static void expect(dlock_event_type type)
{
    const dlock_event event = next_event();
    if (event.type != type)
        fail_msg("event %d instead of %d: %s", event.type, type, event.error.message);
}

static void start_acquire(dlock *of)
{
    dlock_error error;
    assert_call(dlock_acquire_start(of, NULL, NULL, &error), DLOCK_OK, &error);
}

static void start_release(dlock *of)
{
    dlock_error error;
    assert_call(dlock_release_start(of, NULL, &error), DLOCK_OK, &error);
}

static void pair(void)
{
    start_acquire(lock);
    expect(DLOCK_EVENT_ACQUIRED);
    start_release(lock);
    expect(DLOCK_EVENT_RELEASED);
}

/* The connection is made by the first pair. */
static void open_over(dlock_factory *opened)
{
    factory = opened;
    lock = lock_of(factory, "key");
    pair();
}

static int set_up(void **state)
{
    (void)state;
    for (int i = 0; i < NODES; i++)
        raw(&server, i, "FLUSHALL");
    proxies_start(proxies, &server, NODES);
    open_over(factory_open("redis://127.0.0.1:%d?timeout_ms=1000", proxies[0].port));
    return 0;
}

static int set_up_quorum(void **state)
{
    (void)state;
    proxies_start(proxies, &server, NODES);
    open_over(factory_open("redis://127.0.0.1:%d,127.0.0.1:%d,127.0.0.1:%d?restart_guard_ms=0&timeout_ms=1000",
                           proxies[0].port, proxies[1].port, proxies[2].port));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    dlock_free(lock);
    dlock_factory_close(factory);
    proxies_stop(proxies, NODES);
    return 0;
}

/* How often the process' threads besides this one have slept so far. */
static long sleeps_of_others(void)
{
    long all = 0;
    char path[300], line[128];
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    for (struct dirent *task; (task = readdir(tasks));) {
        snprintf(path, sizeof path, "/proc/self/task/%s/status", task->d_name);
        FILE *file = task->d_name[0] == '.' || atoi(task->d_name) == getpid() ? NULL : fopen(path, "r");
        long count;
        while (file && fgets(line, sizeof line, file))
            if (sscanf(line, "voluntary_ctxt_switches: %ld", &count) == 1)
                all += count;
        if (file)
            fclose(file);
    }
    closedir(tasks);
    return all;
}

/* Takes events until the descriptor rests; there are none. A busy server may still answer afterwards. */
static void let_it_rest(void)
{
    dlock_event event;
    for (int i = 0; readable(0); i++) {
        assert_int_equal(dlock_factory_events(factory, &event, 1), 0);
        assert_true(i < 1000);
    }
}

#define PAIRS 200

/* Reopens it without proxies, whose threads would be others. */
static void assert_no_other_thread_has_a_part(dlock_factory *opened, int nodes)
{
    dlock_free(lock);
    dlock_factory_close(factory);
    open_over(opened);
    for (int i = 0; i < nodes; i++) { /* nor where connections are new ones */
        raw(&server, i, "CLIENT KILL TYPE normal");
        for (let_it_rest(); pair(), !strstr(raw(&server, i, "CLIENT LIST"), "cmd=evalsha");)
            ;
    }
    const long before = sleeps_of_others();
    for (int i = 0; i < PAIRS; i++)
        pair();
    assert_in_range(sleeps_of_others() - before, 0, PAIRS);
}

static void no_other_thread_has_a_part(void **state)
{
    (void)state;
    assert_no_other_thread_has_a_part(factory_open("redis://127.0.0.1:%d", server_port(&server, 0)), 1);
}

#define MANY 300

static void many_at_once(void **state)
{
    (void)state;
    static dlock *locks[MANY];
    char key[32];
    for (int i = 0; i < MANY; i++) {
        snprintf(key, sizeof key, "many-%d", i);
        locks[i] = lock_of(factory, key);
        start_acquire(locks[i]);
    }
    for (int i = 0; i < MANY; i++)
        expect(DLOCK_EVENT_ACQUIRED);
    for (int i = 0; i < MANY; i++) {
        assert_true(dlock_is_held(locks[i]));
        start_release(locks[i]);
    }
    for (int i = 0; i < MANY; i++)
        expect(DLOCK_EVENT_RELEASED);
    wait_for(strcmp(raw_keys(&server, 0), "distributed-locks#fence") == 0); /* one of several may be late */
    for (int i = 0; i < MANY; i++)
        dlock_free(locks[i]);
}

/* Somebody who only starts calls is served as well, later. */
static void nobody_looks(void **state)
{
    (void)state;
    start_acquire(lock);
    wait_for(has_key("key"));
    dlock_free(lock);
    wait_for(!has_key("key"));
    lock = lock_of(factory, "key");
    pair();
}

static void an_answer_that_takes_long(void **state)
{
    (void)state;
    proxy_hold_replies(&proxies[0], true);
    start_acquire(lock);
    wait_for(has_key("key"));
    assert_false(readable(0));
    assert_false(readable(200)); /* meanwhile it is left to the library's thread */
    proxy_hold_replies(&proxies[0], false);
    expect(DLOCK_EVENT_ACQUIRED);
    start_release(lock);
    expect(DLOCK_EVENT_RELEASED);
}

static void assert_acquire_is_unavailable(void)
{
    const dlock_acquire_options options = {.size = sizeof options, .retries = 1};
    dlock_error error;
    assert_call(dlock_acquire_start(lock, &options, NULL, &error), DLOCK_OK, &error);
    const dlock_event event = next_event();
    assert_int_equal(event.type, DLOCK_EVENT_FAILED);
    assert_int_equal(event.error.status, DLOCK_UNAVAILABLE);
}

/* That ends as it would for one who waits in the call. */
static void a_server_that_hangs(void **state)
{
    (void)state;
    proxy_hold_replies(&proxies[0], true);
    assert_acquire_is_unavailable();
    proxy_hold_replies(&proxies[0], false);
    wait_for(!has_key("key"));
}

/* Who held the key is not known before: the same owner asks again, and is told that it has it. */
static void a_lost_answer(void **state)
{
    (void)state;
    proxy_drop_replies(&proxies[0], 1, PROXY_RST);
    start_acquire(lock);
    expect(DLOCK_EVENT_ACQUIRED);
    assert_non_null(strstr(raw(&server, 0, "GET distributed-locks:key"), dlock_owner(lock)));
    start_release(lock);
    expect(DLOCK_EVENT_RELEASED);
    assert_false(has_key("key"));
}

static void a_byte_at_a_time(void **state)
{
    (void)state;
    proxy_trickle(&proxies[0], true);
    pair();
    proxy_trickle(&proxies[0], false);
}

/* An end of the connection makes the descriptor readable; that must not go on. */
static void an_idle_connection_that_ends(void **state)
{
    (void)state;
    dlock_event event;
    proxy_cut(&proxies[0], PROXY_FIN);
    proxy_pass(&proxies[0]);
    assert_true(readable(30000));
    assert_int_equal(dlock_factory_events(factory, &event, 1), 0);
    assert_false(readable(0));
    pair();
}

static void closing_while_a_call_is_out(void **state)
{
    (void)state;
    proxy_hold_replies(&proxies[0], true);
    start_acquire(lock);
    wait_for(has_key("key"));
    dlock_factory_close(factory);
    wait_for(!has_key("key"));
    proxy_hold_replies(&proxies[0], false);
    dlock_free(lock);
    factory = factory_open("redis://127.0.0.1:%d", proxies[0].port);
    lock = lock_of(factory, "key");
}

/* ---- several nodes ------------------------------------------------------------------------------------------------
 */

static void no_other_thread_has_a_part_in_a_quorum(void **state)
{
    (void)state;
    assert_no_other_thread_has_a_part(factory_open("redis://127.0.0.1:%d,127.0.0.1:%d,127.0.0.1:%d?restart_guard_ms=0",
                                                   server_port(&server, 0), server_port(&server, 1),
                                                   server_port(&server, 2)),
                                      NODES);
}

/* What comes when all is decided makes the descriptor readable; that must not go on. */
static void a_node_that_answers_late(void **state)
{
    (void)state;
    for (int slow = 0; slow < NODES; slow++) {
        proxy_hold_replies(&proxies[slow], true);
        for (int i = 0; i < 20; i++)
            pair();
        let_it_rest();
        proxy_hold_replies(&proxies[slow], false);
        assert_true(readable(30000));
        wait_for(proxy_counts(&proxies[slow]).passed_bytes == proxy_counts(&proxies[slow]).reply_bytes);
        let_it_rest();
        pair();
    }
}

static void an_idle_connection_to_a_node_that_ends(void **state)
{
    (void)state;
    for (int node = 0; node < NODES; node++) {
        wait_for(!has_key("key"));
        let_it_rest();
        proxy_cut(&proxies[node], PROXY_FIN);
        proxy_pass(&proxies[node]);
        assert_true(readable(30000));
        let_it_rest();
        pair();
    }
}

static void a_node_that_is_gone(void **state)
{
    (void)state;
    for (int node = 0; node < NODES; node++) {
        proxy_enter(&proxies[node], PROXY_REFUSE);
        proxy_cut(&proxies[node], PROXY_RST);
        for (int i = 0; i < 50; i++)
            pair();
        proxy_pass(&proxies[node]);
        proxy_enter(&proxies[node], PROXY_ACCEPT);
        pair();
    }
}

static void a_majority_that_hangs(void **state)
{
    (void)state;
    proxy_hold_replies(&proxies[0], true);
    proxy_hold_replies(&proxies[1], true);
    assert_acquire_is_unavailable();
    proxy_hold_replies(&proxies[0], false);
    proxy_hold_replies(&proxies[1], false);
    for (int i = 0; i < NODES; i++)
        wait_for(strcmp(raw(&server, i, "EXISTS distributed-locks:key"), "0") == 0);
    pair();
}

#define async_test(function)  cmocka_unit_test_setup_teardown(function, set_up, tear_down)
#define quorum_test(function) cmocka_unit_test_setup_teardown(function, set_up_quorum, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        async_test(no_other_thread_has_a_part),
        async_test(many_at_once),
        async_test(nobody_looks),
        async_test(an_answer_that_takes_long),
        async_test(a_server_that_hangs),
        async_test(a_lost_answer),
        async_test(a_byte_at_a_time),
        async_test(an_idle_connection_that_ends),
        async_test(closing_while_a_call_is_out),
        quorum_test(no_other_thread_has_a_part_in_a_quorum),
        quorum_test(many_at_once),
        quorum_test(nobody_looks),
        quorum_test(a_byte_at_a_time),
        quorum_test(a_node_that_answers_late),
        quorum_test(an_idle_connection_to_a_node_that_ends),
        quorum_test(a_node_that_is_gone),
        quorum_test(a_majority_that_hangs),
    };
    server_start_or_skip(&server, "redis", "--nodes", "3");
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    server_stop(&server);
    return failed;
}
