/* test_stream.c - storages/redis/stream.c: waiting for an answer without a poll, and the end of a connection. */
#include "stream.h"
#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

const struct tls_functions *const stream_tls = NULL;

#define PATIENCE_US 20000
#define LONG_US     60000000

static struct stream stream;
static int server;

static int connect_both(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    stream_init(&stream);
    stream.socket = ends[0];
    server = ends[1];
    return 0;
}

static int close_both(void **state)
{
    (void)state;
    stream_close(&stream);
    close(server);
    return 0;
}

static void expect_answer(void)
{
    char bytes[8];
    assert_int_equal(stream_await(&stream, bytes, sizeof bytes, LONG_US), 2);
    assert_memory_equal(bytes, "ok", 2);
}

static void answer(void)
{
    assert_int_equal(send(server, "ok", 2, 0), 2);
}

static void an_answer_that_is_there_is_taken(void **state)
{
    (void)state;
    /* However often it was looked for in vain, whether it is looked for or slept for now. */
    for (unsigned in_vain = 0; in_vain < 200; in_vain++) {
        stream.look.in_vain = in_vain;
        answer();
        expect_answer();
        assert_true(stream.look.in_vain == 0 || stream.look.in_vain == in_vain + 1);
    }
}

/* A server that is far away is hardly looked for, and looked for again when it is near. */
static void where_no_answer_is_found_it_is_hardly_looked_for(void **state)
{
    (void)state;
    char bytes[8];
    for (unsigned i = 1; i <= 20; i++) {
        assert_int_equal(stream_await(&stream, bytes, sizeof bytes, PATIENCE_US), -1);
        assert_int_equal(errno, EAGAIN);
        assert_int_equal(stream.look.in_vain, i);
    }
    int times = 0;
    for (; stream.look.in_vain > 0; times++) {
        answer();
        expect_answer();
    }
    assert_in_range(times, 2, 100);
}

static void *answer_from_afar(void *arg)
{
    answer();
    return arg;
}

static void an_answer_that_comes_later_is_waited_for(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, answer_from_afar, NULL), 0);
        expect_answer();
        pthread_join(thread, NULL);
    }
}

static void the_end_is_told(void **state)
{
    (void)state;
    char bytes[8];
    shutdown(server, SHUT_WR);
    for (unsigned in_vain = 0; in_vain < 20; in_vain++) {
        stream.look.in_vain = in_vain;
        assert_int_equal(stream_await(&stream, bytes, sizeof bytes, LONG_US), 0);
    }
}

/* A reset would let a server forget what it was sent last, and has not read yet. */
static void what_is_unread_does_not_make_the_end_a_reset(void **state)
{
    (void)state;
    char bytes[16384] = {0};
    for (int i = 0; i < 4; i++)
        assert_int_equal(send(server, bytes, sizeof bytes, 0), sizeof bytes);
    assert_int_equal(stream_send(&stream, "last", 4), 4);
    stream_close(&stream);
    assert_int_equal(recv(server, bytes, sizeof bytes, 0), 4);
    assert_int_equal(recv(server, bytes, sizeof bytes, 0), 0);
}

#define stream_test(function) cmocka_unit_test_setup_teardown(function, connect_both, close_both)

int main(void)
{
    const struct CMUnitTest tests[] = {
        stream_test(an_answer_that_is_there_is_taken),
        stream_test(where_no_answer_is_found_it_is_hardly_looked_for),
        stream_test(an_answer_that_comes_later_is_waited_for),
        stream_test(the_end_is_told),
        stream_test(what_is_unread_does_not_make_the_end_a_reset),
    };
    return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
